"""What lesson 06 shows beside its cells: streams, gamma in time, and the stored comparisons. Changing a view makes no result stale."""

import math
import time
from collections.abc import Sequence
from statistics import mean, median
from typing import Any

import torch
from IPython.display import Markdown
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from torch import Tensor

from companion.data.streams import Drift, Stream, digit_stream, flight_days, moving_classes
from companion.foundations.validation import Number
from companion.methods.kalman import KalmanHead, average_log_softmax, run_stream
from companion.teaching import figures, progress, results
from companion.teaching.lessons.kalman_bench import HINDSIGHT, POINTS, STREAMS, TUNED_UNTIL
from companion.teaching.lessons.kalman_streams import ROWS, SEGMENT, WEIGHT_VARIANCE, Trace, random_features

NAMES = {
    "gamma learned": "Kalman, γ learned",
    "gamma = 1": "Kalman, γ = 1",
    "gamma fixed": "Kalman, γ fixed",
    HINDSIGHT: "Kalman, γ fixed in hindsight",
    "reset by a detector": "Kalman, γ = 1, reset by a detector",
    "extended Kalman": "extended Kalman filter, γ fixed",
    "forgetful ridge": "ridge with fixed forgetting",
}
WORDS = {"abrupt": "new names every 300 rows", "slow": "turning", "none": "stationary"}
LINES = {
    "gamma learned": (figures.LEARNED, "-"),
    HINDSIGHT: (figures.EXACT, "--"),
    "online SGD": (figures.RIVAL, "-"),
    "forgetful ridge": (figures.THIRD, "-"),
    "reset by a detector": (figures.FOURTH, "-"),
    "gamma = 1": (figures.INK, ":"),
}


# --- streams ------------------------------------------------------------------------------------------------------


def wandering_curve(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """240 noisy points, one at a time, of a curve that drifts and then jumps: x, y (240,) and the truth (240, 101)."""
    steps = torch.arange(240)
    shift = 0.15 * (steps / 120).clamp_max(1) + 0.3 * (steps >= 144)

    def curve(x: Tensor, shift: Tensor) -> Tensor:
        return torch.sin(2 * math.pi * (x + shift)) + 0.5 * torch.sin(6 * math.pi * (x + shift))

    x = torch.rand(240, generator=generator)
    y = curve(x, shift) + 0.3 * torch.randn(240, generator=generator)
    return x, y, curve(torch.linspace(0, 1, 101), shift[:, None])


def plane_streams(rows: int = 600) -> dict[str, Stream]:
    """Three classes in the plane: that change places, that turn, that stay."""
    names: dict[str, Drift] = {"abrupt changes": "abrupt", "slow turning": "slow", "no change": "none"}
    seeded = (torch.Generator().manual_seed(0) for _ in names)
    return {name: moving_classes(rows, drift, generator=each) for (name, drift), each in zip(names.items(), seeded)}


def even_draws(num_classes: int, draws: int = 32) -> Float[Tensor, "draws K"]:
    """Normal draws that are spread evenly (Sobol's): as few as 32 average a softmax to two digits."""
    uniform = torch.quasirandom.SobolEngine(num_classes, scramble=True, seed=0).draw(draws, dtype=torch.float64)
    return torch.special.ndtri(uniform)


def turning_figure(seed: int) -> figures.Picture:
    """One image in a hundred of the slow stream, in the order of time."""
    stream = digit_stream(ROWS, "slow", generator=torch.Generator().manual_seed(seed))
    figure, (axes,) = figures.panels(1, size=(7.4, 1.7))
    figures.image_grid(axes, stream.features[:: ROWS // 30], columns=15)
    alt = "Thirty digits in two rows. The first stand upright, those in the middle are upside down, the last upright again."
    return figures.describe(figure, alt)


# --- gamma in time, and calibration -------------------------------------------------------------------------------


def gamma_figure(learned: Trace, static: Trace, changes: Sequence[int], window: int = 50) -> figures.Picture:
    """1 - gamma after each row, and the share of right answers among the last `window`, with and without forgetting."""
    figure, (above, below) = figures.panels(1, rows=2, size=(7.6, 2.2), sharex=True)
    above.plot(1 - learned.gamma, color=figures.LEARNED, linewidth=1.4)
    above.set(ylabel="1 − γ", title="What is forgotten from row to row", ylim=(0, None))
    for trace, colour, label in ((static, figures.RIVAL, "γ = 1"), (learned, figures.LEARNED, "γ learned")):
        below.plot(running(trace.correct.double(), window), color=colour, label=label, linewidth=1.6)
    below.set(xlabel="row", ylabel="right answers", ylim=(0, 1), title=f"Among the last {window} rows")
    below.legend(loc="upper left", bbox_to_anchor=(1, 1))
    for axes in (above, below):
        mark_changes(axes, changes)
    alt = "One minus gamma leaps up within some tens of rows after each of the grey lines where the digits get new names, and takes about two hundred rows to fall back to zero. With gamma learned the right answers recover after each line; with gamma 1 they sink and stay low."
    return figures.describe(figure, alt)


def mark_changes(axes: Axes, changes: Sequence[int]) -> None:
    for change in changes:
        axes.axvline(change, color=figures.EXACT, linewidth=0.9, alpha=0.7, zorder=0)


def running(values: Float[Tensor, " n"], window: int) -> Float[Tensor, " n"]:
    """The mean of the last `window` values; nothing before there are as many."""
    sums = values.cumsum(0)
    sums[window:] = sums[window:] - sums[:-window]
    sums[: window - 1] = float("nan")
    return sums / window


def calibration_figure(
    means: Float[Tensor, "n K"], variances: Float[Tensor, " n"], labels: Int[Tensor, " n"], alpha: Number
) -> figures.Picture:
    """Reliability at one alpha, and the mean log-loss at all: with the belief's variance, and as if W were certain."""
    noise = torch.randn(32, *means.shape, generator=torch.Generator().manual_seed(0), dtype=means.dtype)

    def log_probabilities(scale: Number, certain: bool = False) -> Tensor:
        spread = torch.zeros_like(variances) if certain else variances
        return average_log_softmax(means, spread, torch.tensor(float(scale), dtype=means.dtype), noise)

    figure, (left, right) = figures.panels(2, size=(4.0, 3.5))
    confidence, predicted = log_probabilities(alpha).exp().max(1)
    places, shares, sizes = reliability(confidence, predicted == labels)
    left.plot([0, 1], [0, 1], color=figures.EXACT, linewidth=1.5)
    left.plot(places, shares, color=figures.LEARNED, linewidth=1.5)
    left.scatter(places, shares, s=[8 + 400 * size for size in sizes], color=figures.LEARNED, alpha=0.7, linewidths=0)
    left.set(xlim=(0, 1.03), ylim=(0, 1.03), xlabel="probability it gave", ylabel="share that was right")
    left.set_title(f"α = {alpha:g}")
    scales = torch.logspace(0, 2, 17).tolist()
    for certain, colour, label in (
        (True, figures.RIVAL, "as if W were certain"),
        (False, figures.LEARNED, "average softmax"),
    ):
        losses = [label_loss(log_probabilities(scale, certain), labels) for scale in scales]
        right.plot(scales, losses, color=colour, label=label)
    right.plot([alpha], [label_loss(log_probabilities(alpha), labels)], "o", color=figures.LEARNED)
    right.set(xscale="log", xlabel="α", ylabel="mean log-loss", ylim=(0, 3))
    right.legend(loc="upper left")
    return figure


def label_loss(log_probabilities: Float[Tensor, "n K"], labels: Int[Tensor, " n"]) -> float:
    """Mean log-loss of the labels."""
    return -log_probabilities.gather(1, labels[:, None]).mean().item()


def reliability(
    confidence: Float[Tensor, " n"], right: Tensor, bins: int = 8
) -> tuple[list[float], list[float], list[float]]:
    """For bins of confidence that are not empty: mean confidence, share of right answers, share of the rows."""
    place = (confidence * bins).long().clamp_max(bins - 1)
    inside = [place == each for each in range(bins) if (place == each).any()]
    return (
        [confidence[rows].mean().item() for rows in inside],
        [right[rows].double().mean().item() for rows in inside],
        [rows.double().mean().item() for rows in inside],
    )


# --- numbers of the stored comparisons ----------------------------------------------------------------------------


def stream_rows(drift: Drift) -> dict[str, Any]:
    """All kinds on one stream."""
    return results.load(f"06_{drift}")["rows"]


def chosen(kind: str, drift: Drift) -> tuple[Any, ...]:
    """The setting that a kind was given on a stream."""
    return tuple(stream_rows(drift)[kind]["chosen"])


def values(drift: Drift, kind: str, what: str = "loss") -> list[Number]:
    """Of each seed."""
    return stream_rows(drift)[kind][what]


def over(drift: Drift, kind: str, other: str) -> list[float]:
    """For each seed the loss of one kind over that of another."""
    return [one / two for one, two in zip(values(drift, kind), values(drift, other))]


def more_right(drift: Drift, kind: str, other: str) -> list[float]:
    """For each seed by how much the share of right answers of one kind is above that of another."""
    return [one - two for one, two in zip(values(drift, kind, "accuracy"), values(drift, other, "accuracy"))]


def bold(kind: str) -> str:
    """What a kind is called in tables, in bold for the method of the lesson."""
    name = NAMES.get(kind, kind)
    return f"**{name}**" if kind == "gamma learned" else f"*{name}*" if kind == HINDSIGHT else name


def streams_table() -> Markdown:
    """Medians over five seeds on the three streams of digits, each kind with its own setting for each."""
    stored, costs = {drift: stream_rows(drift) for drift in STREAMS}, results.load("06_costs")
    lines = [
        "| | abrupt: loss | right, % | slow: loss | right, % | none: loss | right, % | ms a row |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for kind in sorted(stored["abrupt"], key=lambda kind: -median(stored["abrupt"][kind]["loss"])):
        cells = []
        for drift in STREAMS:
            row = stored[drift][kind]
            cells += [f"{median(row['loss']):.3f}", f"{100 * median(row['accuracy']):.1f}"]
        cells.append(f"{costs[kind]:.2f}" if kind in costs else "")
        lines.append(f"| {bold(kind)} | " + " | ".join(cells) + " |")
    return Markdown("\n".join(lines))


def together_table() -> Markdown:
    """Medians over five seeds with one setting for all three streams, and their mean."""
    rows = results.load("06_together")["rows"]
    lines = ["| one setting for all | abrupt | slow | none | mean |", "|:--|--:|--:|--:|--:|"]
    for kind in sorted(rows, key=lambda kind: -mean(together(kind))):
        losses = [f"{median(rows[kind]['loss'][drift]):.3f}" for drift in STREAMS]
        lines.append(f"| {bold(kind)} | " + " | ".join([*losses, f"{median(together(kind)):.3f}"]) + " |")
    return Markdown("\n".join(lines))


def together(kind: str) -> list[float]:
    """For each seed the mean loss over the three streams, with one setting for all."""
    losses = results.load("06_together")["rows"][kind]["loss"]
    return [mean(each) for each in zip(*(losses[drift] for drift in STREAMS))]


def curves_figure() -> figures.Picture:
    """The summed log-loss of the seeds' mean on two streams, minus that of SGD; and the loss by age since a change."""
    figure, axes = figures.panels(3, size=(3.6, 3.5))
    places = torch.linspace(0, ROWS - 1, POINTS)
    for panel, drift in zip(axes, ("abrupt", "slow")):
        rows = stream_rows(drift)
        for kind, (colour, style) in LINES.items():
            ahead = torch.tensor(rows[kind]["curve"]) - torch.tensor(rows["online SGD"]["curve"])
            panel.plot(places, ahead, style, color=colour, label=NAMES.get(kind, kind))
        panel.set(xlabel="row", title=WORDS[drift])
    axes[0].set_ylabel("log-loss so far, minus SGD's")
    axes[0].set_ylim(-2300, 800)
    rows, age = stream_rows("abrupt"), torch.arange(0, SEGMENT, 5) + 2.5
    for kind, (colour, style) in LINES.items():
        axes[2].plot(age, rows[kind]["loss by age"], style, color=colour, linewidth=1.6)
    axes[2].set(xlabel="rows since the change", ylabel="log-loss of a row", ylim=(0, None), title="after a change")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    alt = "Summed log-loss minus that of SGD. Where names change, the reset falls furthest, then ridge, hindsight and learned gamma, close together; gamma 1 rises. Where digits turn, ridge falls furthest and the reset least, and gamma 1 stays near SGD. Right: after a change the loss of a row starts high and falls within a hundred rows, soonest with the reset; with gamma 1 it stays high."
    return figures.describe(figure, alt)


# --- a backbone that learns, and flights --------------------------------------------------------------------------


def backbone_table() -> Markdown:
    """Medians over five seeds on turning digits, by features trained on upright ones."""
    rows = results.load("06_backbone")["rows"]
    lines = ["| | loss | right, % |", "|:--|--:|--:|"]
    for name, row in sorted(rows.items(), key=lambda each: -median(each[1]["loss"])):
        words = f"**{name}**" if name.startswith("Kalman") else name
        lines.append(f"| {words} | {median(row['loss']):.3f} | {100 * median(row['accuracy']):.1f} |")
    return Markdown("\n".join(lines))


def backbone_losses(name: str) -> list[Number]:
    """Of each seed."""
    return results.load("06_backbone")["rows"][name]["loss"]


def flights_table() -> Markdown:
    """The flights after the first 10,000: log-loss, right answers, and how far each is from gamma learned."""
    stored = results.load("06_flights")
    lines = ["| | loss | right, % | loss minus that of γ learned, by days |", "|:--|--:|--:|--:|"]
    late = stored["late"]
    entropy = -(late * math.log(late) + (1 - late) * math.log(1 - late))
    lines.append(f"| *the share of late flights, known in advance* | {entropy:.4f} | {100 * (1 - late):.1f} | |")
    for kind, row in sorted(stored["rows"].items(), key=lambda each: -each[1]["loss"]):
        apart = "" if kind == "gamma learned" else f"{row['apart']:+.4f} ± {row['error']:.4f}"
        lines.append(f"| {bold(kind)} | {row['loss']:.4f} | {100 * row['accuracy']:.1f} | {apart} |")
    return Markdown("\n".join(lines))


def flights_apart(kind: str) -> tuple[Number, Number]:
    """How much higher a kind's loss is than that of gamma learned, by days, and the standard error."""
    row = results.load("06_flights")["rows"][kind]
    return row["apart"], row["error"]


def flight_setting(kind: str) -> tuple[Any, ...]:
    """What a kind was given, from the first 10,000 flights."""
    return tuple(results.load("06_flights")["rows"][kind]["chosen"])


def flights_figure(trace: Trace, late: Int[Tensor, " n"]) -> figures.Picture:
    """How many flights were late from week to week, and what was forgotten meanwhile."""
    days = flight_days()[: len(late)]
    figure, (above, below) = figures.panels(1, rows=2, size=(7.6, 2.0), sharex=True)
    above.plot(days, running(late.double(), 500), color=figures.EXACT)
    above.set(ylabel="late", ylim=(0, None), title="Share of late departures among the last 500")
    blocks = days[torch.linspace(0, len(days) - 1, len(trace.gamma)).long()]
    below.plot(blocks, 1 - trace.gamma, color=figures.LEARNED, linewidth=1.4)
    below.axvline(float(days[TUNED_UNTIL]), color=figures.INK, linestyle=":", linewidth=1)
    below.set(xlabel="day of 2013", ylabel="1 − γ", ylim=(0, None), title="What is forgotten from block to block")
    alt = "The share of late departures moves between a twentieth and a half through the year. One minus gamma rises for some fifty days, then stays within a narrow range and does not follow it."
    return figures.describe(figure, alt)


def large_stream(
    device: torch.device | str, seed: int, rows: int = 100_000, features: int = 1023
) -> tuple[float, float]:
    """Turning digits through many random features, in blocks of 32, on a device: rows a second, and the mean log-loss.

    Saved under `runs/` every 500 blocks; if it is stopped, it goes on from there. The speed is that of this call.
    """
    stream = digit_stream(rows, "slow", generator=torch.Generator().manual_seed(seed))
    backbone = random_features(seed, features=features).to(device)
    seen = torch.cat([backbone(part.to(device)) for part in stream.features.split(10_000)])
    on_cuda = torch.device(device).type == "cuda"
    dtype = torch.float32 if on_cuda else torch.float64
    settings = {"noise_variance": 1e-3, "gamma": 0.9999, "learn_gamma": True, "dtype": dtype, "device": device}
    head = KalmanHead(features + 1, 10, WEIGHT_VARIANCE, **settings)
    path = progress.RUNS / f"06-{rows}-{features}-{head.mean.device.type}-seed{seed}.pt"
    saved = progress.load(path)
    scores = [] if saved is None else [saved["scores"].to(device)]
    before = sum(map(len, scores))
    generator, began = torch.Generator(device).manual_seed(seed), time.perf_counter()
    labels = stream.labels.to(device)
    states = run_stream(head, seen, labels, batch_size=32, every=500, generator=generator, resume=saved)
    for state in states:
        scores.append(state.log_prob)
        if state.rows < rows:  # from the last state nothing goes on
            progress.save(state.state_dict() | {"scores": torch.cat(scores)}, path)
    loss = -torch.cat(scores).double().mean().item()  # waits for the device
    speed = (rows - before) / (time.perf_counter() - began)
    path.unlink(missing_ok=True)
    return speed, loss
