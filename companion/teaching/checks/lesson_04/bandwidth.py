"""Exercise 04.1: the bandwidth at which the force between two Gaussians is largest."""

import math
from collections.abc import Callable
from numbers import Real

import torch

from companion.methods.mmd_flow import best_bandwidth, gaussian_force
from companion.teaching.checks.answers import (
    DOUBLE,
    Crashed,
    StudentFunction,
    describe,
    expect,
    expect_close,
    read_function,
    read_number,
    read_parts,
    uniform,
)
from companion.teaching.checks.framework import exercise

BEST, BLIND = "best(distance, std, dimension)", "blind(std, dimension)"
Case = tuple[float, float, int]


class Bandwidths:
    """The student's best bandwidth, and the distance below which there is none."""

    def __init__(self, best: StudentFunction, blind: StudentFunction) -> None:
        self._best, self._blind = best, blind

    def best(self, *case: float) -> float:
        return read_number(self._best(*case), BEST)

    def blind(self, *case: float) -> float:
        return read_number(self._blind(*case), BLIND)

    def best_of_near(self, *case: float) -> float:
        """The best bandwidth where roots of negative numbers are likely: every mishap is said in one way."""
        try:
            value = self._best(*case)
        except Crashed as error:
            expect(False, f"at a distance of {case[0]:.3g} it stops with {str(error).split(',')[0]}")
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            value = value.item()
        finite = isinstance(value, Real) and math.isfinite(value)
        expect(finite, f"at a distance of {case[0]:.3g} it gives {describe(value)}")
        return float(value)

    def follows(self, formula: Callable[..., float], cases: list[Case]) -> bool:
        """Whether the best bandwidth is this formula."""
        return all(abs(self.best(*case) - formula(*case)) < 1e-5 * max(1, formula(*case)) for case in cases)


@exercise(
    "04.1",
    "The best bandwidth",
    difficulty=3,
    minutes=15,
    equation="the adaptive bandwidth of two Gaussians",
    takeaway="The force is largest where bandwidth^2 + 2 std^2 = distance^2 / (d + 2): wide when far, narrow when near, and below sqrt(2 (d + 2)) std no bandwidth is narrow enough.",
)
def bandwidths(answer: object) -> Bandwidths:
    parts = read_parts(answer, ("best", "blind"))
    return Bandwidths(read_function(parts["best"], BEST), read_function(parts["blind"], BLIND))


def _far(generator: torch.Generator) -> list[Case]:
    """Cases in which there is a best bandwidth, with and without d / 2 a whole number."""
    cases = []
    for dimension in (1, 2, 3, 10):
        std = uniform(generator, 0.1, 0.5)
        cases.append((uniform(generator, 1.5, 4) * math.sqrt(2 * (dimension + 2)) * std, std, dimension))
    return cases


def _root(square: float) -> float:
    return math.sqrt(max(square, 0))


def of_the_bare_kernel(distance: float, std: float, dimension: int) -> float:
    """The best bandwidth of exp(-|x - y|^2 / (2 bandwidth^2)), without bandwidth^-d before it."""
    b = 2 * (dimension + 2) * std**2 + distance**2
    return _root((b + _root(b**2 - 16 * std**2 * distance**2)) / 4 - 2 * std**2)


@bandwidths.requires(
    "normalised kernel",
    "That is the best bandwidth of the bare kernel exp(-|x - y|^2 / (2 a^2)). This one has a^-d before it, so that "
    "its integral does not depend on a; it makes wide kernels weak, and the dimension matters.",
)
def _(bandwidths: Bandwidths, generator: torch.Generator) -> None:
    cases = _far(generator)
    expect(not bandwidths.follows(of_the_bare_kernel, cases))
    expect(not bandwidths.follows(lambda r, s, d: _root(r**2 / 2 - 2 * s**2), cases))
    expect(not bandwidths.follows(lambda r, s, d: r / math.sqrt(2), cases))


@bandwidths.requires(
    "a slope",
    "You made E k(X, Y) itself largest, at v = r^2/d. Particles feel its *slope*: the derivative of exp(-r^2/(2v)) by r "
    "brings another 1/v, and d becomes d + 2.",
)
def _(bandwidths: Bandwidths, generator: torch.Generator) -> None:
    cases = _far(generator)
    expect(not bandwidths.follows(lambda r, s, d: _root(r**2 / d - 2 * s**2), cases))
    expect(not bandwidths.follows(lambda r, s, d: r / math.sqrt(d), cases))
    expect(not bandwidths.follows(lambda r, s, d: _root(r**2 / (d + 1) - 2 * s**2), cases), "you have d + 1")


@bandwidths.requires(
    "a length",
    "You return the square of the bandwidth. A length must double when all lengths are doubled.",
)
def _(bandwidths: Bandwidths, generator: torch.Generator) -> None:
    doubled = [bandwidths.best(2 * r, 2 * s, d) / (bandwidths.best(r, s, d) or 1) for r, s, d in _far(generator)]
    expect(not all(abs(ratio - 4) < 1e-5 for ratio in doubled))


@bandwidths.requires(
    "their own spread",
    "A difference of one point from each Gaussian has variance 2 s^2, s^2 from each. The kernel adds its own, so "
    "v = a^2 + 2 s^2: what the Gaussians have themselves, the kernel need not bring.",
)
def _(bandwidths: Bandwidths, generator: torch.Generator) -> None:
    cases = _far(generator)
    for factor, found in ((0, "yours does not depend on s"), (1, "you take off s^2 only"), (-2, "you add it")):
        expect(not bandwidths.follows(lambda r, s, d: _root(r**2 / (d + 2) - factor * s**2), cases), found)  # noqa: B023
    linear = bandwidths.follows(lambda r, s, d: r / math.sqrt(d + 2) - math.sqrt(2) * s, cases)
    expect(not linear, "you take off standard deviations; variances add")


@bandwidths.requires(
    "too near",
    "When the Gaussians are near, r^2 < 2 (d + 2) s^2, the force only grows as the kernel narrows, and the best "
    "bandwidth is 0. A negative square has no root: cut it off at 0 first.",
)
def _(bandwidths: Bandwidths, generator: torch.Generator) -> None:
    for distance, std, dimension in ((0.1, 0.5, 2), (0.0, 1.0, 1), (1.2, 0.4, 8)):
        came = bandwidths.best_of_near(distance, std, dimension)
        expect(abs(came) < 1e-6, f"at distance {distance:g}, std {std:g} and d = {dimension} it gives {came:.3g}")


@bandwidths.requires(
    "largest force",
    "Another bandwidth has a larger force. Its logarithm is -(d/2 + 1) log v - r^2/(2v) plus what does not depend on "
    "the bandwidth: set the derivative by v to 0, then undo v = a^2 + 2 s^2.",
)
def _(bandwidths: Bandwidths, generator: torch.Generator) -> None:
    for distance, std, dimension in _far(generator):
        grid = torch.linspace(0, 2 * distance, 20_001, dtype=DOUBLE)
        largest = grid[gaussian_force(distance, std, grid, dimension).argmax()].item()
        came = bandwidths.best(distance, std, dimension)
        found = f"at distance {distance:.3g}, std {std:.3g} and d = {dimension} yours is {came:.4g}"
        expect(abs(came - largest) < 3e-4 * distance, f"{found}, and {largest:.4g} has the largest")
        expect_close(came, best_bandwidth(distance, std, dimension), 1e-4, "the best bandwidth")


@bandwidths.requires(
    "where it begins",
    "The best bandwidth becomes positive at another distance: solve r^2/(d + 2) = 2 s^2 for r. In high dimension "
    "that is far, about sqrt(2 d) s, which is how far apart two draws of *one* Gaussian are.",
)
def _(bandwidths: Bandwidths, generator: torch.Generator) -> None:
    for _, std, dimension in _far(generator):
        came = bandwidths.blind(std, dimension)
        expect(came > 0, f"for std {std:.3g} and d = {dimension} you say {came:.4g}")
        below, above = (best_bandwidth(factor * came, std, dimension) for factor in (0.999, 1.001))
        found = f"for std {std:.3g} and d = {dimension} you say {came:.4g}"
        expect(below == 0, f"{found}, where the best bandwidth is already {below:.3g}")
        expect(above > 0, f"{found}, where it is still 0")
