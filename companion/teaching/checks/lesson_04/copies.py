"""Exercise 04.6: which cloud was copied?

>>> training, fresh, clouds = three_clouds(torch.Generator().manual_seed(0))
>>> training.shape, fresh.shape, list(clouds)
(torch.Size([1000, 64]), torch.Size([500, 64]), ['A', 'B', 'C'])
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from companion.data.hidden_plane import HiddenPlane
from companion.teaching.checks.answers import (
    StudentFunction,
    expect,
    expect_close,
    normal,
    read_function,
    read_number,
    read_parts,
    read_words,
)
from companion.teaching.checks.framework import exercise

RATIO = "ratio(points, training, fresh)"
WORDS, TRUTH = ("new", "copied", "elsewhere"), ("copied", "new", "elsewhere")
JITTER = 0.1


def three_clouds(generator: torch.Generator) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Training points and fresh ones of a hidden plane in 64 dimensions, and three clouds of unknown origin.

    Returns:
        training (1000, 64), fresh (500, 64), and a dict of clouds (500, 64) named A, B and C.
    """
    law, like = HiddenPlane(64), {"generator": generator, "device": generator.device}
    training, fresh, new = (law.sample(n, generator) for n in (1000, 500, 500))
    moved = training[torch.randperm(1000, **like)[:500]] + JITTER * torch.randn(500, 64, **like)
    return training, fresh, {"A": moved, "B": new, "C": torch.randn(500, 64, **like)}


class Copies:
    """The student's ratio and their words for the three clouds."""

    def __init__(self, ratio: StudentFunction, words: tuple[str, ...]) -> None:
        self._ratio, self.words = ratio, words

    def ratio(self, *clouds: Tensor) -> float:
        return read_number(self._ratio(*clouds), RATIO)

    def follows(self, formula: Callable[[Tensor, Tensor, Tensor], Tensor], generator: torch.Generator) -> bool:
        """Whether the student's number is this formula."""
        cases = [_clouds(generator, n) for n in (7, 12, 31)]
        return all(math.isclose(self.ratio(*case), float(formula(*case)), rel_tol=1e-5) for case in cases)


@exercise(
    "04.6",
    "Which cloud was copied?",
    difficulty=2,
    minutes=10,
    equation="the nearest-train ratio",
    takeaway="Copies pass every test of distance to the data. And a ratio of 1 does not mean good: noise has it, too. So a lesson about samples shows both numbers.",
)
def copies(answer: object) -> Copies:
    parts = read_parts(answer, ("ratio", "words"))
    return Copies(read_function(parts["ratio"], RATIO), read_words(parts["words"], 3, WORDS))


def _clouds(generator: torch.Generator, n: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """Points, some of them far out, training points, and fresh ones; odd numbers and even ones."""
    points = normal(generator, n, 3)
    points[: n // 4] *= 10
    return points, normal(generator, 2 * n, 3), 1.5 * normal(generator, n + 2, 3)


def _nearest(points: Tensor, others: Tensor) -> Tensor:
    return torch.cdist(points, others).amin(1)


def _reference(points: Tensor, training: Tensor, fresh: Tensor) -> Tensor:
    """With torch's median, the lower of the two in the middle."""
    return _nearest(points, training).median() / _nearest(fresh, training).median()


def _interpolated(points: Tensor, training: Tensor, fresh: Tensor) -> Tensor:
    """With the mean of the two in the middle, as numpy's."""
    return _nearest(points, training).quantile(0.5) / _nearest(fresh, training).quantile(0.5)


@copies.requires(
    "in units of fresh data",
    "Divide by what fresh data have. A bare distance says nothing: in 64 dimensions even new points of the same law are "
    "8 or 9 away from the nearest training point, in the plane a few hundredths.",
)
def _(copies: Copies, generator: torch.Generator) -> None:
    points, training, fresh = _clouds(generator)
    scaled = copies.ratio(3 * points, 3 * training, 3 * fresh) / copies.ratio(points, training, fresh)
    expect(abs(scaled - 1) < 1e-4, f"with everything 3 times as large it becomes {scaled:.3g} times as large")
    changes = abs(copies.ratio(points, training, 2 * fresh) - copies.ratio(points, training, fresh)) > 1e-9
    expect(changes, "it does not depend on the fresh points")


@copies.requires(
    "whose nearest",
    "You look for the nearest *particle* of each training point. Nearly all training points are left alone when a few "
    "are copied, and you see nothing. Start from each particle: which training point is nearest to it?",
)
def _(copies: Copies, generator: torch.Generator) -> None:
    def turned(points: Tensor, training: Tensor, fresh: Tensor) -> Tensor:
        return _nearest(training, points).median() / _nearest(training, fresh).median()

    def half_turned(points: Tensor, training: Tensor, fresh: Tensor) -> Tensor:
        return _nearest(training, points).median() / _nearest(fresh, training).median()

    expect(not copies.follows(turned, generator))
    expect(not copies.follows(half_turned, generator))


@copies.requires(
    "small for copies",
    "Copies must have nearly 0, and yours do not. A copied point has one training point at its side; it is that one "
    "which counts, the *nearest*. And the ratio is the points' distance over that of fresh data, not the other way.",
)
def _(copies: Copies, generator: torch.Generator) -> None:
    _, training, fresh = _clouds(generator)
    moved = training[:9] + 1e-5 * normal(generator, 9, 3)
    came = copies.ratio(moved, training, fresh)
    expect(abs(came) < 1e-3, f"for nine training points, hardly moved, it is {came:.3g}")


@copies.requires(
    "median",
    "You take the mean. A few particles that went astray are far from everything, and hide as many copies as you "
    "like. The median says how it is for a typical particle.",
)
def _(copies: Copies, generator: torch.Generator) -> None:
    points, training, fresh = _clouds(generator, 20)
    points[: len(points) // 4] *= 1000
    came = copies.ratio(points, training, fresh)
    expect(came < 100, f"with a quarter of the particles very far away it is {came:.3g}")


@copies.requires(
    "fresh to training",
    "The unit must be measured as the particles are: from each fresh point to the nearest *training* point. Distances "
    "among fresh or among training points are another number, as there are more or fewer of them.",
)
def _(copies: Copies, generator: torch.Generator) -> None:
    _, training, fresh = _clouds(generator)
    expect_close(copies.ratio(fresh, training, fresh), 1.0, 1e-4, "for the fresh points themselves it")


@copies.requires(
    "nearest-train ratio",
    "The median over particles of the distance to the nearest training point, over the median of the same for fresh "
    "points, is another number: distances, not squares, and one median for each cloud.",
)
def _(copies: Copies, generator: torch.Generator) -> None:
    for n in (7, 15, 33):
        case = _clouds(generator, n)
        came, allowed = copies.ratio(*case), (_reference(*case).item(), _interpolated(*case).item())
        close = any(math.isclose(came, value, rel_tol=1e-4) for value in allowed)
        expect(close, f"it came out as {came:.4g}, expected {allowed[0]:.4g}")


@copies.requires(
    "new or copied",
    "Look at your ratios again. Where particles are much nearer to training points than fresh data are, they were made "
    "from them. Fresh data have 1.",
)
def _(copies: Copies, generator: torch.Generator) -> None:
    expect("copied" in copies.words, "you call none of them copied")
    expect(copies.words[0] == "copied", f"you call A {copies.words[0]}")


@copies.requires(
    "both numbers",
    "Two clouds have a ratio of about 1. Only one of them is where the data are: the signal distance tells them "
    "apart. Not to be near training points is no merit of its own.",
)
def _(copies: Copies, generator: torch.Generator) -> None:
    expect(copies.words == TRUTH, f"you call B {copies.words[1]} and C {copies.words[2]}")
