"""Exercise 08.2: the windows in which a text is read, each target once."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from companion.teaching.checks.answers import (
    NotYet,
    StudentFunction,
    describe,
    expect,
    expect_close,
    read_function,
    read_number,
    read_parts,
)
from companion.teaching.checks.framework import exercise

WINDOWS, MEAN = "windows(tokens, context, stride)", "mean_context(context, stride)"
Window = tuple[Int[Tensor, " l"], Int[Tensor, " s"]]
SIZES = ((40, 8, 8), (41, 8, 4), (30, 5, 7), (23, 3, 10), (9, 8, 1), (17, 1, 1), (20, 16, 30))
EVEN = ((40, 8, 8), (29, 5, 8), (30, 4, 2))  # texts whose last block is full


class Windows:
    """The student's windows, each read as two lists of places in a text whose tokens are all different."""

    def __init__(self, windows: StudentFunction, mean: StudentFunction) -> None:
        self._windows, self._mean = windows, mean

    def __call__(self, count: int, context: int, stride: int) -> list[tuple[list[int], list[int]]]:
        tokens = torch.arange(count) + 100
        value = self._windows(tokens, context, stride)
        if not isinstance(value, list | tuple):
            raise NotYet(
                f"Return a list of pairs (inputs, targets); {WINDOWS} gave {describe(value)}.", "a pair a block"
            )
        return [self._read(pair) for pair in value]

    def _read(self, pair: object) -> tuple[list[int], list[int]]:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise NotYet(f"Each block is a pair (inputs, targets); got {describe(pair)}.", "a pair a block")
        rows = [_row(part) for part in pair]
        if any(row is None for row in rows):
            raise NotYet(
                f"Inputs and targets are rows of tokens, (l,) and (s,); got {describe(pair)}.", "a pair a block"
            )
        return [token - 100 for token in rows[0]], [token - 100 for token in rows[1]]

    def mean(self, context: int, stride: int) -> float:
        return read_number(self._mean(context, stride), MEAN)


def _row(part: object) -> list[int] | None:
    if isinstance(part, Tensor | np.ndarray):
        part = part.tolist() if part.ndim == 1 else None
    whole = isinstance(part, list | tuple) and all(isinstance(token, int | np.integer) for token in part)
    return [int(token) for token in part] if whole else None


@exercise(
    "08.2",
    "Windows over a text",
    difficulty=2,
    minutes=10,
    equation="blocks of stride tokens, each after context tokens",
    takeaway="Every token after the first context is a target exactly once, and its own block's earlier tokens are context for it, too. So a long stride is cheap and its later targets see more, but a block that is one token short, or scored twice, changes the number that you report.",
)
def windows(answer: object) -> Windows:
    parts = read_parts(answer, ("windows", "mean_context"))
    return Windows(read_function(parts["windows"], WINDOWS), read_function(parts["mean_context"], MEAN))


def blocks(count: int, context: int, stride: int) -> list[tuple[list[int], list[int]]]:
    """The places of inputs and targets."""
    places = range(count)
    ends = [(start, min(start + stride, count)) for start in range(context, count, stride)]
    return [(list(places[start - context : stop - 1]), list(places[start:stop])) for start, stop in ends]


@windows.requires(
    "a pair a block",
    "Return one pair (inputs, targets) for each block. A text of 40 tokens with a context and a stride of 8 has 4 blocks, since the "
    "first 8 tokens are context only.",
)
def _(windows: Windows, generator: torch.Generator) -> None:
    for case in EVEN:
        came, expected = len(windows(*case)), len(blocks(*case))
        expect(came == expected, f"for {_words(case)} there are {came} blocks, expected {expected}")


@windows.requires(
    "targets once",
    "Every token after the first context is a target once, in its order. A token that is scored twice counts twice, and the second "
    "time it has been learned already; one that is left out flatters or harms by chance.",
)
def _(windows: Windows, generator: torch.Generator) -> None:
    for count, context, stride in EVEN:
        case, targets = (count, context, stride), [part for _, part in windows(count, context, stride)]
        for part in targets:
            expect(len(part) != stride - 1, f"for {_words(case)} a block has {len(part)} targets, one too few")
        flat = [place for part in targets for place in part]
        twice = sorted({place for place in flat if flat.count(place) > 1})
        expect(not twice, f"for {_words(case)} token number {next(iter(twice), 0)} is a target more than once")
        missing = [place for place in range(context, count) if place not in flat]
        expect(not missing, f"for {_words(case)} token number {next(iter(missing), 0)}, from 0, is never a target")
        early = [place for place in flat if place < context]
        expect(not early, f"for {_words(case)} token number {next(iter(early), 0)}, from 0, is context only")
        expect(flat == list(range(context, count)), f"for {_words(case)} the targets are not in the order of the text")


@windows.requires(
    "the end of the text",
    "If the stride does not divide what is to be read, the last block is shorter. Its tokens are part of the text: score them.",
)
def _(windows: Windows, generator: torch.Generator) -> None:
    for count, context, stride in SIZES:
        flat = [place for _, part in windows(count, context, stride) for place in part]
        words = _words((count, context, stride))
        expect(len(flat) > 0 and max(flat) == count - 1, f"for {words} the last target is not the last token")
        expect(
            flat == list(range(context, count)), f"for {words} the targets are not those from {context} to {count - 1}"
        )


@windows.requires(
    "no target among the inputs",
    "A logit predicts the *next* token, so the last target is no input of its block: inputs end one token earlier than targets. "
    "Otherwise the logits and the targets are shifted against each other, or the answer is in sight.",
)
def _(windows: Windows, generator: torch.Generator) -> None:
    for case in SIZES:
        for inputs, targets in windows(*case):
            last = max(inputs, default=targets[-1] - 1)  # no inputs: the next property says so
            expect(last != targets[-1], f"for {_words(case)} the last target is among the inputs")
            expect(
                last == targets[-1] - 1, f"for {_words(case)} the inputs end at {last}, the targets at {targets[-1]}"
            )


@windows.requires(
    "the whole context",
    "The first target of a block has `context` tokens before it: inputs begin `context` tokens before the first target. In a shorter "
    "last block, too.",
)
def _(windows: Windows, generator: torch.Generator) -> None:
    for case in (*SIZES, _drawn(generator)):
        for inputs, targets in windows(*case):
            words, came = (
                f"for {_words(case)} the first target, number {targets[0]},",
                targets[0] - min(inputs, default=targets[0]),
            )
            expect(came == case[1], f"{words} has {came} tokens before it, expected {case[1]}")
        expect(windows(*case) == blocks(*case), f"for {_words(case)} the inputs are not one piece of the text")


def _drawn(generator: torch.Generator) -> tuple[int, int, int]:
    """Tokens, context and stride that nobody knows by heart."""
    context, stride, more = torch.randint(2, 12, (3,), generator=generator).tolist()
    return context + 3 * stride + more, context, stride


def _words(case: tuple[int, int, int]) -> str:
    return "{} tokens, context {} and stride {}".format(*case)


def means_like(windows: Windows, formula: Callable[[int, int], float]) -> bool:
    """Whether the student's mean is this formula."""
    return all(abs(windows.mean(*case) - formula(*case)) < 1e-9 for case in ((8, 8), (16, 4), (5, 9)))


@windows.requires(
    "what a target sees",
    "The first target of a block is predicted from `context` tokens, the next from one more, the last from context + stride - 1. The mean "
    "of evenly spaced numbers is that of the first and the last.",
)
def _(windows: Windows, generator: torch.Generator) -> None:
    for formula, words in (
        (lambda context, stride: context, "yours is what the first target sees"),
        (lambda context, stride: context + stride - 1, "yours is what the last target sees"),
        (
            lambda context, stride: context + stride / 2,
            "yours counts a target as its own context, half a token too much",
        ),
        (lambda context, stride: (context + stride - 1) / 2, "yours is half of what the last target sees"),
    ):
        expect(not means_like(windows, formula), words)
    for context, stride in ((16, 16), (64, 8), (1, 1), (3, 10), _drawn(generator)[1:]):
        seen = [target - min(inputs) for inputs, part in blocks(context + stride, context, stride) for target in part]
        came, expected = windows.mean(context, stride), sum(seen) / len(seen)
        expect_close(came, expected, 1e-9, f"with context {context} and stride {stride} the mean")
