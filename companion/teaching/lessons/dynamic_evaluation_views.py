"""What lesson 08 shows beside its cells: texts as they were read, and the stored comparisons. Changing a view
makes no result stale."""

import math
import time
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from IPython.display import Markdown

from companion.data.text import Style, encode, passages
from companion.methods.dynamic_evaluation import evaluate_stream
from companion.teaching import figures, results
from companion.teaching.lessons.dynamic_evaluation import JOURNEY, KINDS, STYLES, Reading, Setting
from companion.teaching.lessons.readers import reader
from companion.teaching.session import Session
from companion.teaching.widgets.reading import running_mean

WORDS: dict[Style, str] = {
    "plays": "plays, modern spelling",
    "folio": "plays, spelling of 1623",
    "bible": "King James Bible",
    "docs": "Python's documentation",
    "code": "Python code",
}
SHORT: dict[Style, str] = {"plays": "plays", "folio": "folio", "bible": "Bible", "docs": "docs", "code": "code"}
LINES = {
    "small": (figures.EXACT, "s--", "static"),
    "large": (figures.INK, "D--", "static, three times the weights"),
    "Adam": (figures.LEARNED, "o-", "learns all weights"),
    "LoRA": (figures.THIRD, "^-", "learns adapters"),
    "cache": (figures.RIVAL, "v-", "static, with a cache"),
}
RUNNING = 400  # characters, of running means


# --- live readings ------------------------------------------------------------------------------------------------


def journey_figure(readings: dict[str, Reading], part: int, styles: Sequence[Style] = JOURNEY) -> figures.Picture:
    """Running loss of a static and a learning reader, and what learning has won so far."""
    figure, (above, below) = figures.panels(1, rows=2, size=(7.6, 2.6), sharex=True)
    static, learning = readings.values()
    for (name, reading), colour in zip(readings.items(), (figures.EXACT, figures.LEARNED)):
        mean = running_mean(reading.bits.double(), RUNNING)
        shown = range(min(RUNNING, part) // 2, len(mean))  # the first means are of few characters
        above.plot(shown, mean[shown.start :], color=colour, linewidth=1.6, label=name)
    won = (static.bits - learning.bits).double().cumsum(0) / 1000
    below.plot(won, color=figures.LEARNED, linewidth=1.6)
    for place, style in enumerate(styles):
        for axes in (above, below):
            axes.axvline(place * part, color=figures.EXACT, linewidth=0.9, alpha=0.7, zorder=0)
        above.text((place + 0.5) * part, 1.02, SHORT[style], ha="center", transform=above.get_xaxis_transform())
    above.set(ylabel="bits per character", ylim=(1, None), xlim=(0, len(won)))
    above.legend(loc="upper left")
    below.set(xlabel="character", ylabel="kilobits won", ylim=(min(0, won.min().item()), None))
    alt = "Bits per character along a text that goes from plays to an old spelling, to documentation, code and back. The static reader's loss is two to three times as high in documentation and code; that of the learning reader leaps up at each change and falls. What it has won grows fastest there, and little in the plays."
    return figures.describe(figure, alt)


# --- stored comparisons -------------------------------------------------------------------------------------------


def rows_of(style: Style) -> dict[str, Any]:
    """All kinds in one style."""
    return results.load("08_styles")["rows"][style]


def chosen(kind: str, style: Style) -> Setting:
    """The setting that a kind was given in a style."""
    return rows_of(style)[kind]["chosen"]


def travelling(kind: str) -> Setting:
    """The setting that a kind was given on journeys."""
    return results.load("08_journeys")["rows"][kind]["chosen"]


def gains(style: Style, kind: str, base: str = "static") -> list[float]:
    """For each seed by which part a kind's loss is below another's."""
    rows = rows_of(style)
    return [1 - one / other for one, other in zip(rows[kind]["bits"], rows[base]["bits"])]


def styles_table(kinds: Sequence[str] | None = None, styles: Sequence[Style] = STYLES) -> Markdown:
    """Bits per character of kinds in styles, medians over five seeds with half of their range; costs beside them."""
    lines = [
        "| what is learned | " + " | ".join(SHORT[style] for style in styles) + " | MFLOP a character |",
        "|:--|" + "--:|" * (len(styles) + 1),
    ]
    for kind in kinds or KINDS:
        cells = [results.spread(rows_of(style)[kind]["bits"]) for style in styles]
        lines.append(f"| {KINDS[kind].words} | {' | '.join(cells)} | {rows_of(styles[0])[kind]['flops'] / 1e6:.2f} |")
    return Markdown("\n".join(lines))


def gains_table(kinds: Sequence[str], styles: Sequence[Style]) -> Markdown:
    """By how many percent the loss is below the static reader's, medians over five seeds."""
    lines = ["| what is learned | " + " | ".join(SHORT[style] for style in styles) + " | cost |"]
    lines.append("|:--|" + "--:|" * (len(styles) + 1))
    static = rows_of(styles[0])["static"]["flops"]
    for kind in kinds:
        cells = [f"{100 * median(gains(style, kind)):.1f} %" for style in styles]
        cost = rows_of(styles[0])[kind]["flops"] / static
        lines.append(f"| {KINDS[kind].words} | {' | '.join(cells)} | {cost:.2f} × |")
    return Markdown("\n".join(lines))


def best_rates() -> dict[Style, float]:
    """Adam's best rate in each style."""
    return {style: chosen("Adam", style)["lr"] for style in STYLES}


def rates_figure() -> figures.Picture:
    """Loss of learning by Adam, relative to the static reader's on the same passages, against the rate."""
    stored = results.load("08_styles")
    figure, (axes,) = figures.panels(1, size=(6.4, 3.4))
    colours = (figures.EXACT, figures.FOURTH, figures.THIRD, figures.LEARNED, figures.RIVAL)
    for style, colour in zip(STYLES, colours):
        ((_, static),) = stored["rows"][style]["static"]["tried"]
        relative = [bits / static for bits in stored["crossed"][style]]
        axes.plot(stored["crossed"]["rates"], relative, "o-", color=colour, markersize=4, label=WORDS[style])
    axes.axhline(1, color=figures.EXACT, linestyle=":", linewidth=1.4, zorder=0)
    axes.set(xscale="log", xlabel="learning rate of Adam", ylabel="bits, static = 1", ylim=(0.45, 1.45))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    alt = "Plays: the loss is a little below that of the static reader for small rates, and rises above it at a thousandth. Documentation and code: it falls far below, with its minimum at rates several times as large."
    return figures.describe(figure, alt)


def contexts() -> dict[str, Any]:
    """The stored comparison of contexts."""
    return results.load("08_contexts")["rows"]


def frontier_figure(styles: Sequence[Style] = ("plays", "docs", "code")) -> figures.Picture:
    """Loss against cost, each line from the shortest to the longest context."""
    figure, axes = figures.panels(len(styles), size=(3.3, 3.6))
    for panel, style in zip(axes, styles):
        for name, (colour, line, label) in LINES.items():
            rows = contexts()[style][name].values()
            bits = [median(row["bits"]) for row in rows]
            panel.plot([row["flops"] / 1e6 for row in rows], bits, line, color=colour, markersize=5, label=label)
            if "cached" in next(iter(rows)):
                cheaper = [row["cached"] / 1e6 for row in rows]
                panel.plot(cheaper, bits, line[0], color=colour, markersize=5, fillstyle="none", linestyle="none")
        panel.set(xscale="log", xlabel="MFLOP a character", title=SHORT[style])
        panel.set_xticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
        panel.minorticks_off()
    axes[0].set(ylabel="bits per character")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    alt = "Loss against operations for each character, with a logarithmic axis. A longer context moves the static lines right and hardly down. Learning lies far below them in documentation and code, at about three times their cost for the same context; with the shortest contexts it costs less than a static reader with the longest."
    return figures.describe(figure, alt)


def strides_table(styles: Sequence[Style] = ("plays", "docs", "code")) -> Markdown:
    """Bits per character for each stride, with the rate that was best for it."""
    rows = results.load("08_strides")["rows"]
    lines = ["| characters a step | " + " | ".join(SHORT[style] for style in styles) + " | MFLOP a character |"]
    lines.append("|--:|" + "--:|" * (len(styles) + 1))
    for stride in rows[styles[0]]:
        found = [rows[style][stride] for style in styles]
        cells = [f"{results.spread(row['bits'])} ({row['chosen']:g})" for row in found]
        lines.append(f"| {stride} | {' | '.join(cells)} | {found[0]['flops'] / 1e6:.2f} |")
    return Markdown("\n".join(lines))


def journeys() -> dict[str, Any]:
    """The stored comparison of journeys."""
    return results.load("08_journeys")["rows"]


def parts_table() -> Markdown:
    """Bits per character in each part of a journey, medians over five seeds."""
    lines = ["| what is learned | " + " | ".join(SHORT[style] for style in JOURNEY) + " | whole journey |"]
    lines.append("|:--|" + "--:|" * (len(JOURNEY) + 1))
    for kind, row in journeys().items():
        cells = [f"{median(part):.2f}" for part in zip(*row["parts"])]
        lines.append(f"| {KINDS[kind].words} | {' | '.join(cells)} | {results.spread(row['bits'])} |")
    return Markdown("\n".join(lines))


def fine_tuned() -> dict[str, Any]:
    """The stored comparison with readers that were trained on the style before."""
    return results.load("08_fine_tuned")["rows"]


def fine_tuned_table() -> Markdown:
    """Trained on the style before, or not; static, or learning on. MFLOP a character, those of the training included."""
    rows = fine_tuned()
    lines = ["| | " + " | ".join(SHORT[style] for style in rows) + " | MFLOP a character |"]
    lines.append("|:--|" + "--:|" * (len(rows) + 1))
    for kind, words in (("static", "static"), ("Adam", "learns on")):
        plain = {style: rows_of(style)[kind] for style in rows}
        for label, found in (
            (f"as it came, {words}", plain),
            (f"fine-tuned, {words}", {s: r[kind] for s, r in rows.items()}),
        ):
            cells = [results.spread(row["bits"]) for row in found.values()]
            trained = max(row["flops"] for row in rows.values()) if label.startswith("fine") else 0
            cost = found[next(iter(rows))]["flops"] + trained
            lines.append(f"| {label} | {' | '.join(cells)} | {cost / 1e6:.2f} |")
    return Markdown("\n".join(lines))


# --- what the widgets start from ------------------------------------------------------------------------------------


def samples(length: int = 2400) -> dict[str, str]:
    """A beginning of a passage in each style, by its name."""
    return {WORDS[style]: passages(style, [1])[0][:length] for style in STYLES}


# --- at GPU size --------------------------------------------------------------------------------------------------


def large_run(session: Session, style: Style = "code", length: int = 16_000) -> str:
    """A transformer of 11 million weights, trained on the plays, reads a passage: static, all weights, adapters."""
    model = reader("full", session)
    tokens = encode(passages(style, [session.seed % 5])[0])[:length].to(session.device)
    lines = ["| | bits per character | characters a second |", "|:--|--:|--:|"]
    ways: dict[str, dict[str, Any]] = {
        "static": {},
        "all weights": {"optimizer": partial(torch.optim.Adam, lr=1e-4)},
        "adapters": {"optimizer": partial(torch.optim.Adam, lr=3e-3), "parameters": "lora", "rank": 8},
    }
    for name, options in ways.items():
        began = time.perf_counter()
        generator = session.generator(7)
        bits = evaluate_stream(model, tokens, 192, 64, generator=generator, **options).log_loss.mean() / math.log(2)
        found = bits.item()
        lines.append(f"| {name} | {found:.2f} | {len(tokens) / (time.perf_counter() - began):.0f} |")
    return "\n".join(lines)
