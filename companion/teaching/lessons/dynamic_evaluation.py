"""Lesson 08's readers on lesson 08's texts: every way to remember, by name, and one run of it.

`read(kind, setting, ...)` reads one text; `text_of` gives a passage, and `journey` a text that changes its style five times.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from companion.data.text import Style, encode, learned, passages
from companion.foundations.validation import Number, require
from companion.methods.dynamic_evaluation import evaluate_stream
from companion.methods.rivals import reading
from companion.methods.rivals.reading import KrauseRule, gradient_squares, hidden_states, neural_cache
from companion.teaching.lessons import readers
from companion.teaching.lessons.readers import Size, reader
from companion.teaching.session import Session

SOURCES = (*readers.SOURCES, "companion.methods.dynamic_evaluation", reading, __name__)
SEEDS = (0, 1, 2, 3, 4)  # a seed is a model, trained from that seed, and a passage
TUNING_PASSAGES = (5, 6)
STYLES: tuple[Style, ...] = ("plays", "folio", "bible", "docs", "code")
CONTEXT, STRIDE = 64, 16
LENGTH = 6000  # characters of a passage that are read
RESET_EVERY = 64  # blocks
BUDGET = 9  # settings of each kind
JOURNEY: tuple[Style, ...] = ("plays", "folio", "docs", "code", "docs", "plays")
PART = 3000  # characters of each part of a journey
SQUARES = 200  # windows of the training text, for the gradients' usual size
Setting = dict[str, Number]


@dataclass(frozen=True)
class Kind:
    """A way to read: what is learned and how, and the settings among which the best is looked for.

    Attributes:
        words: for tables.
        grid: by setting, the values that are tried, each with each.
        options: (setting, model) -> arguments of `evaluate_stream`.
    """

    words: str
    grid: dict[str, tuple[float, ...]]
    options: Callable[[Setting, nn.Module], dict[str, Any]] = lambda setting, model: {}


def _spread(low: float, high: float, count: int) -> tuple[float, ...]:
    """Numbers at equal ratios, two digits each."""
    return tuple(float(f"{low * (high / low) ** (place / (count - 1)):.2g}") for place in range(count))


def _adam(setting: Setting, model: nn.Module, **options: Any) -> dict[str, Any]:
    return {"optimizer": partial(torch.optim.Adam, lr=setting["lr"], fused=True)} | options


def _krause(setting: Setting, model: nn.Module) -> dict[str, Any]:
    usual = _usual_squares(model)
    return {"optimizer": lambda params: KrauseRule(params, usual, setting["lr"], setting["decay"])}


KINDS: dict[str, Kind] = {
    "static": Kind("learns nothing", {}),
    "SGD": Kind(
        "all weights, SGD",
        {"lr": _spread(1e-3, 0.3, BUDGET)},
        lambda setting, model: {"optimizer": partial(torch.optim.SGD, lr=setting["lr"])},
    ),
    "Adam": Kind("all weights, Adam", {"lr": _spread(3e-5, 1e-2, BUDGET)}, _adam),
    "MLP": Kind("perceptrons only, Adam", {"lr": _spread(1e-4, 2e-2, BUDGET)}, partial(_adam, parameters="mlp")),
    "LoRA": Kind("adapters of rank 4, Adam", {"lr": _spread(5e-4, 5e-2, BUDGET)}, partial(_adam, parameters="lora")),
    "decay": Kind(
        "all weights, Adam, decay",
        {"lr": (3e-4, 1e-3, 3e-3), "decay": (3e-4, 3e-3, 3e-2)},
        lambda setting, model: _adam(setting, model, decay=setting["decay"]),
    ),
    "reset": Kind(
        f"all weights, Adam, reset every {RESET_EVERY} blocks",
        {"lr": _spread(3e-5, 1e-2, BUDGET)},
        partial(_adam, reset_every=RESET_EVERY),
    ),
    "Krause": Kind("all weights, Krause's rule", {"lr": (1e-5, 3e-5, 1e-4), "decay": (1e-4, 1e-3, 1e-2)}, _krause),
    "cache": Kind("nothing; a cache", {"sharpness": (4.0, 8.0, 16.0), "mix": (0.15, 0.4, 0.7)}),
    "Adam and cache": Kind(
        "all weights, Adam; a cache", {"lr": (3e-4, 1e-3, 3e-3), "sharpness": (8.0,), "mix": (0.15, 0.4, 0.7)}, _adam
    ),
}


@dataclass(frozen=True)
class Reading:
    """A text that was read.

    Attributes:
        bits: of each scored character, before it was learned.
        flops: for each scored character.
        model: as it was at the end.
    """

    bits: Float[Tensor, " s"]
    flops: float
    model: nn.Module


def read(
    kind: str,
    setting: Setting,
    tokens: Int[Tensor, " t"],
    session: Session,
    context: int = CONTEXT,
    stride: int = STRIDE,
    size: Size = "small",
    model: nn.Module | None = None,
) -> Reading:
    """Read a text in one of the `KINDS` of ways.

    Args:
        kind: its name.
        setting: a value for each name of its grid.
        tokens: the text; the first `context` tokens are not scored.
        session: its seed chooses the model and draws the adapters.
        context, stride: of `evaluate_stream`.
        size: of the reader.
        model: another one, in place of the session's reader.

    Raises:
        ValueError: an unknown kind, or a setting without what it needs.
    """
    require(kind in KINDS, "kind", repr(kind), "one of " + ", ".join(KINDS))
    needed = KINDS[kind].grid.keys()
    require(setting.keys() >= needed, "setting", repr(setting), "with " + " and ".join(needed))
    model = reader(size, session) if model is None else model
    options = KINDS[kind].options(setting, model)
    result = evaluate_stream(model, tokens, context, stride, generator=session.generator(7, "cpu"), **options)
    if "mix" not in needed:
        return Reading(result.log_loss / math.log(2), result.flops / len(result.log_loss), result.model)
    seen = hidden_states(result, "norm")
    loss = neural_cache(*seen, setting["sharpness"], setting["mix"])
    asked = seen.hidden.shape[1] * len(loss)  # 2 d for each kept state, half of the text on average
    return Reading(loss / math.log(2), result.flops / len(loss) + asked, result.model)


@lru_cache(maxsize=1)
def _usual_squares(model: nn.Module) -> list[Tensor]:
    """Mean squares of the gradients on the training text."""
    generator = torch.Generator().manual_seed(0)
    return list(gradient_squares(model, _learned(), CONTEXT + STRIDE, SQUARES, generator).values())


@cache
def _learned() -> Int[Tensor, " t"]:
    return encode(learned())


# --- texts --------------------------------------------------------------------------------------------------------


def text_of(style: Style, number: int, length: int = LENGTH, context: int = CONTEXT) -> Int[Tensor, " t"]:
    """The first `length` characters of a passage that are scored, with `context` before them that are not.

    The scored characters are the same for every context up to 128.
    """
    first = 128 - context
    return encode(passages(style, [number])[0])[first : 128 + length]


def journey(number: int, part: int = PART, styles: Sequence[Style] = JOURNEY) -> Int[Tensor, " t"]:
    """Parts of passages, one after the other; a style that comes again goes on where it was left.

    The first `CONTEXT` characters are context, then each part has `part`.
    """
    used = dict.fromkeys(styles, 0)
    pieces = []
    for place, style in enumerate(styles):
        length = part + (CONTEXT if place == 0 else 0)
        pieces.append(passages(style, [number])[0][used[style] : used[style] + length])
        used[style] += length
    return encode("".join(pieces))
