"""Exercises 02.1 and 02.2: how much of a draft can be kept, and what replaces the rest."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from companion.teaching.checks.answers import (
    DOUBLE,
    StudentFunction,
    expect,
    expect_close,
    expect_tensor,
    normal,
    read_function,
    read_number,
    uniform,
)
from companion.teaching.checks.framework import exercise

# 02.1 Predict what is kept

Share = Callable[[float, int], float]


@exercise(
    "02.1",
    "Predict what is kept",
    difficulty=2,
    minutes=10,
    equation="Proposition 3.1",
    takeaway="400 dimensions that each miss by a tenth keep 0.32 of the drafts, one dimension 0.96: only the length of the whole miss counts, and it grows with the root of the dimension.",
)
def share_kept(answer: object) -> Share:
    function = read_function(answer, "share_kept(gap, dimensions)")
    return lambda gap, dimensions: read_number(function(gap, dimensions), "share_kept(gap, dimensions)")


def _half(distance: float) -> float:
    """2 Phi(-distance / 2)."""
    return math.erfc(distance / 8**0.5)


def _misses(generator: torch.Generator, least: int = 1) -> list[tuple[float, int]]:
    """Some gaps and numbers of dimensions whose |D| is between 0.5 and 3."""
    sizes = [least + int(torch.randint(60, (), generator=generator)) for _ in range(5)]
    return [(uniform(generator, 0.5, 3) / size**0.5, size) for size in sizes]


def _always(share: Share, formula: Share, generator: torch.Generator, least: int = 1) -> bool:
    """Whether the student's share is what `formula` gives."""
    return all(abs(share(*miss) - formula(*miss)) < 1e-4 for miss in _misses(generator, least))


@share_kept.requires(
    "share rejected", "This is the share that is rejected, the total variation distance. The share kept is 1 minus it."
)
def _(share: Share, generator: torch.Generator) -> None:
    expect(not _always(share, lambda gap, dimensions: 1 - _half(gap * dimensions**0.5), generator))
    expect(abs(share(0.0, 1)) > 1e-6 or abs(share(8.0, 1) - 1) > 1e-3)


@share_kept.requires(
    "no gap", "Where the means agree the two laws are one: every draft is kept, so the share is 1 in any dimension."
)
def _(share: Share, generator: torch.Generator) -> None:
    for dimensions in (1, 3, 400):
        expect_close(share(0.0, dimensions), 1, 1e-6, f"share_kept(0, {dimensions})")


@share_kept.requires("a share", "The share of the drafts that are kept is a number from 0 to 1.")
def _(share: Share, generator: torch.Generator) -> None:
    for gap, dimensions in _misses(generator):
        value = share(gap, dimensions)
        expect(0 <= value <= 1, f"share_kept({gap:.2f}, {dimensions}) came out as {value:.3g}")


@share_kept.requires(
    "either sign",
    "A mean too low by a tenth is as bad as one too high: the share depends on the size of the gap, not on its sign.",
)
def _(share: Share, generator: torch.Generator) -> None:
    for gap, dimensions in _misses(generator):
        what = f"share_kept({-gap:.2f}, {dimensions})"
        expect_close(share(-gap, dimensions), share(gap, dimensions), 1e-6, what)


@share_kept.requires(
    "half the gap",
    "The two densities cross half way between the means. Each Gaussian's tail beyond that point begins half a "
    "gap from its mean, not a whole one.",
)
def _(share: Share, generator: torch.Generator) -> None:
    expect(not _always(lambda gap, _: share(gap, 1), lambda gap, _: _half(2 * gap), generator))


@share_kept.requires(
    "one dimension",
    "In one dimension the share kept is the area under both densities at once, the integral of the smaller one. Draw "
    "both, find where they cross, and add up the two tails.",
)
def _(share: Share, generator: torch.Generator) -> None:
    for gap in (uniform(generator, 0.1, 3) for _ in range(4)):
        grid = torch.linspace(-12, 12 + gap, 200_001, dtype=DOUBLE)
        lower = torch.minimum(-grid.square() / 2, -(grid - gap).square() / 2).exp() / math.tau**0.5
        expect_close(share(gap, 1), torch.trapezoid(lower, grid), 1e-3, f"share_kept({gap:.2f}, 1)")


@share_kept.requires(
    "dimensions matter",
    "Your share does not depend on the number of dimensions. Every further dimension that misses makes the two "
    "clouds easier to tell apart.",
)
def _(share: Share, generator: torch.Generator) -> None:
    expect(abs(share(0.3, 1) - share(0.3, 50)) > 1e-3)


@share_kept.requires(
    "one decision",
    "You multiply the shares of the single dimensions, as if each decided for itself and all had to agree. The best "
    "coupling takes one decision about the whole vector, and keeps far more.",
)
def _(share: Share, generator: torch.Generator) -> None:
    expect(not _always(share, lambda gap, dimensions: _half(gap) ** dimensions, generator, least=2))


@share_kept.requires(
    "length of the miss",
    "Turn the axes until the first one points from one mean to the other: all other dimensions now agree. What is "
    "left is one dimension with a gap as long as the vector from mean to mean, the root of a sum of squares.",
)
def _(share: Share, generator: torch.Generator) -> None:
    for gap, dimensions in _misses(generator, least=2):
        expected = share(gap * dimensions**0.5, 1)
        expect_close(share(gap, dimensions), expected, 1e-4, f"share_kept({gap:.3f}, {dimensions})")


# 02.2 What replaces a rejected token


@exercise(
    "02.2",
    "What replaces a rejected token",
    difficulty=2,
    minutes=10,
    equation="the ancestor, Leviathan et al. (2023), Algorithm 1",
    takeaway="Kept drafts bring min(p, q), replacements bring exactly the rest of q, and the sum is the target's law, however bad the draft.",
)
def replacement(answer: object) -> StudentFunction:
    return read_function(answer, "replacement(target_probs, draft_probs)")


def _laws(generator: torch.Generator, rows: int = 6, tokens: int = 5) -> tuple[Tensor, Tensor]:
    """Probabilities of a target and of a draft, (rows, tokens)."""
    return tuple((1.5 * normal(generator, rows, tokens)).softmax(1) for _ in range(2))


@replacement.requires(
    "shape", "The answer holds probabilities: one for each token of each row, in the shape and dtype of the target's."
)
def _(replacement: StudentFunction, generator: torch.Generator) -> None:
    for dtype, shape in ((torch.float64, (6, 5)), (torch.float32, (3, 9))):
        laws = (probs.to(dtype) for probs in _laws(generator, *shape))
        expect_tensor(replacement(*laws), shape, dtype, "the answer")


@replacement.requires(
    "no negative shares",
    "A probability is not negative. Where the draft holds more than the target, nothing is missing: the share is 0 "
    "there.",
)
def _(replacement: StudentFunction, generator: torch.Generator) -> None:
    lowest = replacement(*_laws(generator)).min()
    expect(not lowest < 0, f"the least is {lowest:.3g}")


@replacement.requires(
    "sums to one",
    "The shares of a row must sum to 1 before one can draw from them. What the draft left out sums to the row's "
    "share of rejections: divide by that, row by row.",
)
def _(replacement: StudentFunction, generator: torch.Generator) -> None:
    sums = replacement(*_laws(generator)).sum(1)
    expect_close(sums, torch.ones(6), 1e-6, "the sum of a row")


def _output(replacement: StudentFunction, target: Tensor, draft: Tensor) -> Tensor:
    """The law of what comes out: kept drafts, and replacements of the others."""
    kept = torch.minimum(target, draft)
    return kept + (1 - kept.sum(1, keepdim=True)) * replacement(target, draft)


@replacement.requires(
    "not the target again",
    "You draw from the target after a rejection. That sounds safe, but the kept drafts have brought part of the "
    "target's law already: what comes out is min(p, q) + (1 - share kept) q, too much where the draft was generous.",
)
def _(replacement: StudentFunction, generator: torch.Generator) -> None:
    target, draft = _laws(generator)
    expect(not torch.allclose(replacement(target, draft), target))


@replacement.requires(
    "wrong side",
    "You replace a rejected token by one of those that the draft proposes too often. They were just rejected: "
    "missing are those that it proposes too rarely.",
)
def _(replacement: StudentFunction, generator: torch.Generator) -> None:
    target, draft = _laws(generator)
    surplus = (draft - target).clamp_min(0)
    expect(not torch.allclose(replacement(target, draft), surplus / surplus.sum(1, keepdim=True)))


@replacement.requires(
    "only what is missing",
    "Where the draft holds more than the target, kept drafts alone bring all that the target wants. A replacement "
    "must never go there, or that token comes out too often.",
)
def _(replacement: StudentFunction, generator: torch.Generator) -> None:
    target, draft = _laws(generator)
    share = torch.where(draft > target, replacement(target, draft), 0).max()
    expect(share < 1e-9, f"one such token gets the share {share:.2g}")


@replacement.requires(
    "the target's law",
    "What comes out, kept drafts and replacements together, must have the target's probabilities. The replacement "
    "goes to the right tokens, but not in proportion to what each still lacks.",
)
def _(replacement: StudentFunction, generator: torch.Generator) -> None:
    for rows, tokens in ((6, 5), (2, 30)):
        target, draft = _laws(generator, rows, tokens)
        expect_close(_output(replacement, target, draft), target, 1e-6, "a token's probability")


@replacement.requires(
    "equal rows",
    "Where draft and target agree nothing is rejected, and what is left out sums to 0: 0/0 is not a number, and "
    "drawing from it stops the program. Return any probabilities for such a row, the target's own for example.",
)
def _(replacement: StudentFunction, generator: torch.Generator) -> None:
    target, draft = _laws(generator)
    draft[2] = target[2]
    answer = replacement(target, draft)
    expect(answer.isfinite().all(), "some shares are not finite")
    expect_close(answer.sum(1), torch.ones(6), 1e-6, "the sum of a row")
    expect_close(_output(replacement, target, draft), target, 1e-6, "a token's probability")
