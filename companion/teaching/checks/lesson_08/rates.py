"""Exercise 08.6: learning rates that hold on one text and not on another, and resets that forget.

>>> gain("code", 0, 0.1, 400) > 0
True
"""

from functools import cache, partial

import torch
from jaxtyping import Int
from torch import Tensor, nn

from companion.data.text import Style, encode, passages
from companion.foundations.validation import Number, require_count
from companion.methods.dynamic_evaluation import evaluate_stream
from companion.teaching.checks.answers import NotYet, describe, expect, read_number, read_parts
from companion.teaching.checks.framework import exercise
from companion.teaching.lessons.readers import reader
from companion.teaching.session import Session

PASSAGES = (5, 6)  # that the check measures on
CHARACTERS, WINDOW = 4000, 16
SAVED, WORSE, REFERENCE = 0.2, 0.05, 0.1
QUICK = 0.19  # what a careful rate must save: a little less than the exercise asks for, since passages differ
KEPT = (0.25, 0.5)


def gain(
    style: Style,
    number: int,
    lr: Number,
    characters: int = CHARACTERS,
    decay: Number = 0.0,
    reset_every: int | None = None,
) -> float:
    """The share of the static loss that the perceptron saves if it learns while it reads a passage.

    Args:
        style: of the text, "code" or "plays" say.
        number: of the passage, 0 to 6.
        lr: of plain gradient descent.
        characters: how many of the passage are read.
        decay: part of the way back to the start after each block.
        reset_every: blocks after which all is forgotten; None never.

    Raises:
        TypeError, ValueError: an argument outside what is said here.
    """
    require_count("characters", characters, WINDOW + 1)
    tokens = _tokens(style, number, characters)
    learned = evaluate_stream(
        _model(),
        tokens,
        WINDOW,
        WINDOW,
        partial(torch.optim.SGD, lr=lr),
        decay=decay,
        reset_every=reset_every,
    )
    return 1 - learned.log_loss.mean().item() / _static(style, number, characters)


@cache
def _model() -> nn.Module:
    return reader("window", Session("lesson", 0, torch.device("cpu")))


@cache
def _static(style: Style, number: int, characters: int) -> float:
    return evaluate_stream(_model(), _tokens(style, number, characters), WINDOW, WINDOW).log_loss.mean().item()


def _tokens(style: Style, number: int, characters: int) -> Int[Tensor, " t"]:
    return encode(passages(style, [number])[0][:characters])


@cache
def elsewhere(style: Style, lr: float, reset_every: int | None = None) -> float:
    """The mean gain on the passages that the student has not been told to try."""
    return sum(gain(style, number, lr, reset_every=reset_every) for number in PASSAGES) / len(PASSAGES)


class Rates:
    """The student's two rates and their interval between resets."""

    def __init__(self, bold: float, careful: float, forgetful: int) -> None:
        self.bold, self.careful, self.forgetful = bold, careful, forgetful


@exercise(
    "08.6",
    "A rate for another text",
    difficulty=3,
    minutes=15,
    equation="the learning rate, decay and resets",
    takeaway="The best rate for a foreign text destroys what the model knows of a familiar one, so a rate that was tuned on one stream says little about another. A smaller one is safe on both, and frequent resets lose most of what was gained.",
)
def rates(answer: object) -> Rates:
    parts = read_parts(answer, ("bold", "careful", "forgetful"))
    forgetful = read_number(parts["forgetful"], "forgetful")
    if forgetful != round(forgetful):
        raise NotYet(f"Expected forgetful to be a whole number of blocks; got {describe(parts['forgetful'])}.", "type")
    return Rates(*(read_number(parts[name], name) for name in ("bold", "careful")), int(forgetful))


@rates.requires(
    "in range",
    "Choose learning rates above 0, up to 10, and at least 1 block between resets.",
)
def _(rates: Rates, generator: torch.Generator) -> None:
    for name in ("bold", "careful"):
        rate = getattr(rates, name)
        expect(0 < rate <= 10, f"{name} is {rate:g}")
    expect(rates.forgetful >= 1, f"forgetful is {rates.forgetful}")


@rates.requires(
    "bold abroad",
    "On programs the bold rate should save at least 20 % of the static loss. Too small a rate learns too little before the text ends; "
    "with too large a one each block throws away what the blocks before it taught.",
)
def _(rates: Rates, generator: torch.Generator) -> None:
    found = elsewhere("code", rates.bold)
    expect(found >= SAVED, f"with {rates.bold:g} it saves {100 * found:.1f} % on programs that you have not seen")


@rates.requires(
    "reckless at home",
    "On plays, which the model knows, the bold rate should cost 5 % or more. Go further up: what programs still bear well, plays do not.",
)
def _(rates: Rates, generator: torch.Generator) -> None:
    found = elsewhere("plays", rates.bold)
    expect(found <= -WORSE, f"with {rates.bold:g} the gain on plays is {100 * found:.1f} %")


@rates.requires(
    "careful, and still quick",
    "On programs the careful rate, too, should save at least 20 %, with a margin: passages differ.",
)
def _(rates: Rates, generator: torch.Generator) -> None:
    found = elsewhere("code", rates.careful)
    expect(found >= QUICK, f"with {rates.careful:g} it saves {100 * found:.1f} % on programs that you have not seen")


@rates.requires(
    "nothing lost at home",
    "On plays the careful rate should not lose against the static model. The steps are too long where there is little to learn.",
)
def _(rates: Rates, generator: torch.Generator) -> None:
    found = elsewhere("plays", rates.careful)
    expect(found >= 0, f"with {rates.careful:g} the gain on plays is {100 * found:.1f} %")


@rates.requires(
    "forget on purpose",
    "With the learning rate 0.1 and resets, between a quarter and a half of the gain on programs should be left. What is learned in a "
    "few blocks is little, and all of it is lost at each reset.",
)
def _(rates: Rates, generator: torch.Generator) -> None:
    kept = elsewhere("code", REFERENCE, rates.forgetful) / elsewhere("code", REFERENCE)
    low, high = KEPT
    expect(low <= kept <= high, f"with resets every {rates.forgetful} blocks {100 * kept:.0f} % of it is left")
