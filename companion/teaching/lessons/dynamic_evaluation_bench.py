"""Lesson 08's comparisons over five seeds. A seed is a model, trained from it, with a passage of its own in each style.

`compare_styles()` makes the stored result "08_styles": every kind of reading in every style, each with the best of nine settings,
by the mean bits per character on two other passages of that style; and what each setting does elsewhere, in "tried".
`compare_contexts()` makes "08_contexts", loss and cost for each context, static and learning, and for a larger model;
`compare_strides()` makes "08_strides", how often to learn; `compare_fine_tuned()` makes "08_fine_tuned", readers that were trained
on the style before; `compare_journeys()` makes "08_journeys", texts that change their style five times.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from companion.data.text import Style, encode, passages
from companion.foundations.training import train
from companion.methods.dynamic_evaluation import evaluate_stream
from companion.teaching import results
from companion.teaching.lessons import dynamic_evaluation
from companion.teaching.lessons.dynamic_evaluation import (
    CONTEXT,
    JOURNEY,
    KINDS,
    PART,
    SEEDS,
    STRIDE,
    STYLES,
    TUNING_PASSAGES,
    Reading,
    Setting,
    journey,
    read,
    text_of,
)
from companion.teaching.lessons.readers import reader
from companion.teaching.session import Session

SOURCES = (*dynamic_evaluation.SOURCES, __name__)
COMMAND = "python -m companion claims dynamic_evaluation_bench"
TUNING_LENGTH = 3000
CONTEXTS = (4, 8, 16, 32, 64, 112)
STRIDES = (4, 8, 16, 32, 64)
SHOWN: tuple[Style, ...] = ("plays", "docs", "code")
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
TRAVELLERS = ("static", "Adam", "MLP", "LoRA", "decay", "reset", "cache", "Adam and cache")
TUNING_PART = 1500
STEPS = 100  # characters, of the curves of a journey
FINE_TUNINGS = tuple(product((100, 300, 1000), (1e-3, 3e-3)))  # updates, learning rate


def session_of(seed: int) -> Session:
    """A session at `lesson` size on the CPU."""
    return Session("lesson", seed, torch.device("cpu"))


def settings_of(kind: str) -> list[Setting]:
    """All settings of a kind's grid."""
    grid = KINDS[kind].grid
    return [dict(zip(grid, values)) for values in product(*grid.values())]


def tune(kind: str, texts: Sequence[Tensor], model: nn.Module, **options: Any) -> list[tuple[Setting, float]]:
    """Every setting of a kind, with its mean bits per character on some texts, the best first."""
    tried = []
    for setting in settings_of(kind):
        bits = [read(kind, setting, text, session_of(0), model=model, **options).bits.mean().item() for text in texts]
        if math.isfinite(sum(bits)):
            tried.append((setting, sum(bits) / len(bits)))
    return sorted(tried, key=lambda each: each[1])


def row_of(readings: Sequence[Reading]) -> dict[str, Any]:
    """Bits per character of each seed, and the cost."""
    return {"bits": [each.bits.mean().item() for each in readings], "flops": readings[0].flops}


# --- styles -------------------------------------------------------------------------------------------------------


def compare_styles(seeds: Sequence[int] = SEEDS) -> None:
    """Every kind in every style: "08_styles".

    "tried" has for each kind all settings with their bits on the tuning passages, the best first; "crossed" has for Adam's
    rates the bits on the tuning passages of every style, in the order of the grid.
    """
    rows: dict[str, Any] = {}
    crossed: dict[str, Any] = {"rates": KINDS["Adam"].grid["lr"]}
    model = reader("small", session_of(0))
    for style in STYLES:
        texts = [text_of(style, number, TUNING_LENGTH) for number in TUNING_PASSAGES]
        rows[style] = {}
        for kind in tqdm(KINDS, desc=style):
            tried = tune(kind, texts, model)
            found = [read(kind, tried[0][0], text_of(style, seed), session_of(seed)) for seed in seeds]
            rows[style][kind] = {"chosen": tried[0][0], "tried": tried} | row_of(found)
        crossed[style] = [bits for _, bits in sorted(rows[style]["Adam"]["tried"], key=lambda each: each[0]["lr"])]
    results.store("08_styles", {"seeds": seeds, "rows": rows, "crossed": crossed}, SOURCES, COMMAND)


# --- contexts and strides -----------------------------------------------------------------------------------------


def compare_contexts(seeds: Sequence[int] = SEEDS) -> None:
    """Loss and cost against the context, with the settings of context 64: "08_contexts".

    "small" and "large" are models that learn nothing; "large" is one model on all passages. "cached" is what a static model
    would cost if it kept keys and values and read each character once: one window's operations, for each of its characters.
    """
    chosen = {style: row for style, row in results.load("08_styles")["rows"].items()}
    rows: dict[str, Any] = {}
    for style in tqdm(SHOWN, desc="contexts"):
        rows[style] = {name: {} for name in ("small", "large", "Adam", "LoRA", "cache")}
        for context in CONTEXTS:
            texts = [text_of(style, seed, context=context) for seed in seeds]
            for name, found in rows[style].items():
                kind = {"small": "static", "large": "static"}.get(name, name)
                size = "large" if name == "large" else "small"
                readings = [
                    read(kind, chosen[style][kind]["chosen"], text, session_of(seed), context, size=size)
                    for seed, text in zip(seeds, texts)
                ]
                found[context] = row_of(readings)
                if kind == "static":
                    found[context]["cached"] = cached_flops(size, context)
    results.store("08_contexts", {"seeds": seeds, "stride": STRIDE, "rows": rows}, SOURCES, COMMAND)


def cached_flops(size: str, context: int) -> float:
    """Operations for each character, if a window of `context` characters before each is kept and never read again."""
    model, tokens = reader(size, session_of(0)), torch.zeros(2 * context + 1, dtype=torch.long)
    return evaluate_stream(model, tokens[: context + 1], context, 1).flops / context


def compare_strides(seeds: Sequence[int] = SEEDS) -> None:
    """How often to learn, each stride with the best of five rates: "08_strides"."""
    rows: dict[str, Any] = {}
    model = reader("small", session_of(0))
    for style in tqdm(SHOWN, desc="strides"):
        texts = [text_of(style, number, TUNING_LENGTH) for number in TUNING_PASSAGES]
        rows[style] = {}
        for stride in STRIDES:
            tried = []
            for rate in RATES:
                found = [read("Adam", {"lr": rate}, text, session_of(0), stride=stride, model=model) for text in texts]
                tried.append((rate, sum(each.bits.mean().item() for each in found) / len(found)))
            tried.sort(key=lambda each: each[1])
            setting = {"lr": tried[0][0]}
            readings = [read("Adam", setting, text_of(style, seed), session_of(seed), stride=stride) for seed in seeds]
            rows[style][stride] = {"chosen": tried[0][0], "tried": tried} | row_of(readings)
    results.store("08_strides", {"seeds": seeds, "context": CONTEXT, "rows": rows}, SOURCES, COMMAND)


# --- readers that were trained on the style before ----------------------------------------------------------------


def compare_fine_tuned(seeds: Sequence[int] = SEEDS) -> None:
    """Trained on two other passages of the style, then static, or learning on: "08_fine_tuned".

    The training is the best of six by the last quarter of those passages, which it has not seen then; the rate of learning on is the
    best of five by the same quarter. "flops" are those of the training, for each character that is read afterwards.
    """
    rows: dict[str, Any] = {}
    for style in tqdm(SHOWN, desc="fine-tuned"):
        texts = [encode(text) for text in passages(style, TUNING_PASSAGES)]
        seen, held = [text[: 3 * len(text) // 4] for text in texts], [text[3 * len(text) // 4 :] for text in texts]
        judged = {each: bits_of(tuned(0, seen, *each), held) for each in FINE_TUNINGS}
        best = min(judged, key=judged.get)
        model = tuned(0, seen, *best)
        rates = {rate: bits_of(model, held, rate) for rate in RATES}
        rate = min(rates, key=rates.get)
        found: dict[str, list[Reading]] = {"static": [], "Adam": []}
        for seed in seeds:
            model, text = tuned(seed, texts, *best), text_of(style, seed)
            found["static"].append(read("static", {}, text, session_of(seed), model=model))
            found["Adam"].append(read("Adam", {"lr": rate}, text, session_of(seed), model=model))
        cost = training_flops(best[0]) / len(text_of(style, 0)[CONTEXT:])
        tried = {"training": [[*each, bits] for each, bits in judged.items()], "rates": list(rates.items())}
        rows[style] = {"updates": best[0], "lr": best[1], "rate": rate, "tried": tried, "flops": cost}
        rows[style] |= {kind: row_of(readings) for kind, readings in found.items()}
    results.store("08_fine_tuned", {"seeds": seeds, "rows": rows}, SOURCES, COMMAND)


def tuned(seed: int, texts: Sequence[Tensor], updates: int, lr: float, batch: int = 8) -> nn.Module:
    """The reader of a seed after some updates on random windows of texts."""
    model = copy.deepcopy(reader("small", session_of(seed)))
    generator = torch.Generator().manual_seed(3000 + seed)
    windows = torch.cat([text.unfold(0, CONTEXT + STRIDE + 1, 1) for text in texts])

    def loss(model: nn.Module) -> Tensor:
        text = windows[torch.randint(len(windows), (batch,), generator=generator)]
        return cross_entropy(model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())

    for _ in train(model, loss, updates, lr, 0.9, generator):
        pass
    return model


def training_flops(updates: int, batch: int = 8) -> int:
    """Operations of `tuned`: forward and backward, counted on one window."""
    tokens = torch.zeros(CONTEXT + STRIDE + 1, dtype=torch.long)
    plain = lambda parameters: torch.optim.SGD(parameters, lr=0.0)  # noqa: E731
    return updates * batch * evaluate_stream(reader("small", session_of(0)), tokens, 1, CONTEXT + STRIDE, plain).flops


def bits_of(model: nn.Module, texts: Sequence[Tensor], rate: float | None = None) -> float:
    """Mean bits per character on texts, static, or learning by Adam."""
    kind, setting = ("static", {}) if rate is None else ("Adam", {"lr": rate})
    return sum(read(kind, setting, text, session_of(0), model=model).bits.mean().item() for text in texts) / len(texts)


# --- journeys -----------------------------------------------------------------------------------------------------


def compare_journeys(seeds: Sequence[int] = SEEDS) -> None:
    """A text that changes its style five times, every kind with the best of nine settings on another: "08_journeys"."""
    rows = {}
    model, text = reader("small", session_of(0)), journey(TUNING_PASSAGES[0], TUNING_PART)
    for kind in tqdm(TRAVELLERS, desc="journeys"):
        tried = tune(kind, [text], model)
        readings = [read(kind, tried[0][0], journey(seed), session_of(seed)) for seed in seeds]
        bits = torch.stack([each.bits for each in readings])
        rows[kind] = {"chosen": tried[0][0], "tried": tried, "curve": list(curve(bits))} | row_of(readings)
        rows[kind]["parts"] = bits.unflatten(1, (len(JOURNEY), PART)).mean(2).tolist()
    results.store("08_journeys", {"seeds": seeds, "styles": JOURNEY, "part": PART, "rows": rows}, SOURCES, COMMAND)


def curve(bits: Float[Tensor, "seeds s"]) -> Iterator[float]:
    """Means over seeds and over a hundred characters."""
    yield from bits.unflatten(1, (-1, STEPS)).mean((0, 2)).tolist()
