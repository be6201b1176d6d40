"""Exercise 07.1: how wide a belief is after some drifts, and what an average with a fresh draw does instead."""

from collections.abc import Callable

import torch

from companion.teaching.checks.answers import (
    StudentFunction,
    expect,
    expect_close,
    read_function,
    read_number,
    read_parts,
    uniform,
)
from companion.teaching.checks.framework import exercise

STD_AFTER = "std_after(std, init_std, gamma, k)"
GAMMA = 0.9
MIXED = ((1 - GAMMA) / (1 + GAMMA)) ** 0.5
Width = Callable[[float, float, float, int], float]


class Widths:
    """The student's standard deviation after k drifts, and the one at which averages settle."""

    def __init__(self, std_after: StudentFunction, mixed: float) -> None:
        self._std_after, self.mixed = std_after, mixed

    def __call__(self, std: float, init_std: float, gamma: float, k: int) -> float:
        return read_number(self._std_after(std, init_std, gamma, k), STD_AFTER)

    def widens_like(self, formula: Width, generator: torch.Generator) -> bool:
        """Whether the student's function is this formula, at some random places with k >= 2."""
        for k in (2, 3, 5):
            place = *_widths(generator), uniform(generator, 0.6, 0.9), k
            if abs(self(*place) - formula(*place)) > 1e-9:
                return False
        return True


@exercise(
    "07.1",
    "How wide after k drifts?",
    difficulty=2,
    minutes=10,
    equation="the drift of the weights, an Ornstein-Uhlenbeck step",
    takeaway="k drifts are one, with gamma^k, and the law of the start is the one that they leave alone. An average with a fresh draw is not a drift: it brings too little noise, and would shrink a network with every batch.",
)
def widths(answer: object) -> Widths:
    parts = read_parts(answer, ("std_after", "mixed"))
    return Widths(read_function(parts["std_after"], STD_AFTER), read_number(parts["mixed"], "mixed"))


def _widths(generator: torch.Generator) -> tuple[float, float]:
    """A belief's standard deviation and the start's, the second clearly larger."""
    return uniform(generator, 0.2, 0.6), uniform(generator, 1.2, 2.5)


@widths.requires(
    "a standard deviation",
    "In other units, with both widths ten times as large, the answer must be ten times as large. A variance would be a hundred "
    "times as large: square both widths first, add, and take the root last.",
)
def _(widths: Widths, generator: torch.Generator) -> None:
    for k in (1, 4):
        std, init_std = _widths(generator)
        came, unit = widths(10 * std, 10 * init_std, 0.8, k), widths(std, init_std, 0.8, k)
        expect_close(came, 10 * unit, 1e-9, f"with k = {k}, in units ten times as small, the width")


@widths.requires(
    "no drift, no change",
    "With k = 0, or with gamma = 1, nothing has happened to the weights, and the belief is as wide as before.",
)
def _(widths: Widths, generator: torch.Generator) -> None:
    for gamma, k in ((0.7, 0), (1.0, 1), (1.0, 6), (0.0, 0)):
        std, init_std = _widths(generator)
        expect_close(
            widths(std, init_std, gamma, k), std, 1e-9, f"with gamma = {gamma:g} and k = {k}, from {std:.3g} the width"
        )


@widths.requires(
    "the limit",
    "After very many drifts nothing is left of where the belief began: its width is init_std, whatever std was. Each drift "
    "shrinks what is there, the noise of former drifts included, and adds noise anew, of variance (1 - gamma^2) init_std^2.",
)
def _(widths: Widths, generator: torch.Generator) -> None:
    for gamma in (0.5, 0.9):
        std, init_std = _widths(generator)
        came = widths(std, init_std, gamma, 2000) / init_std
        for settled, words in (
            (0.0, "yours adds no noise"),
            (((1 - gamma) / (1 + gamma)) ** 0.5, "the noise of yours has the variance (1 - gamma)^2"),
            ((1 / (1 + gamma)) ** 0.5, "the noise of yours has the variance 1 - gamma"),
            ((1 - gamma**2) ** 0.5, "yours adds noise only once"),
        ):
            expect(abs(came - settled) > 1e-6, f"with gamma = {gamma:g} it becomes {came:.3g} init_std: {words}")
        expect_close(came, 1.0, 1e-6, f"with gamma = {gamma:g}, after 2,000 drifts the width over init_std")


@widths.requires(
    "the start stays",
    "A belief that has the width of the start has it after each drift as well: the noise brings just what shrinking takes. It "
    "is *variances* that add up, not standard deviations.",
)
def _(widths: Widths, generator: torch.Generator) -> None:
    for k in (1, 2, 7):
        _, init_std = _widths(generator)
        gamma = uniform(generator, 0.3, 0.9)
        came = widths(init_std, init_std, gamma, k) / init_std
        expect_close(came, 1.0, 1e-9, f"with k = {k} and gamma = {gamma:.3g} the width over init_std")


@widths.requires(
    "drifts follow each other",
    "Some drifts, and then some more from where those have led, must be as wide as all of them at once. What holds for a single "
    "drift, or near gamma = 1 alone, does not add up.",
)
def _(widths: Widths, generator: torch.Generator) -> None:
    for first, second in ((1, 1), (3, 4), (5, 2)):
        std, init_std = _widths(generator)
        gamma = uniform(generator, 0.6, 0.9)
        came = widths(widths(std, init_std, gamma, first), init_std, gamma, second)
        expect_close(
            came, widths(std, init_std, gamma, first + second), 1e-9, f"with k = {first}, and then {second}, the width"
        )


@widths.requires(
    "the law of the drift",
    "Take a weight with the standard deviation std, and drift it: the variance of gamma theta is gamma^2 std^2. So gamma^(2k) of "
    "the belief's variance is left after k drifts, and the start's variance has the rest.",
)
def _(widths: Widths, generator: torch.Generator) -> None:
    for formula, words in (
        (lambda s, f, g, k: (g**k * s**2 + (1 - g**k) * f**2) ** 0.5, "in yours gamma is not squared"),
        (lambda s, f, g, k: g**k * s + (1 - g**k) * f, "yours goes evenly from one width to the other"),
    ):
        expect(not widths.widens_like(formula, generator), words)
    for gamma, k in ((0.95, 1), (0.8, 3), (0.5, 6), (0.0, 2), (0.99, 100)):
        for std in (0.0, _widths(generator)[0], 3.0):
            _, init_std = _widths(generator)
            came, expected = widths(std, init_std, gamma, k), after(std, init_std, gamma, k)
            expect_close(came, expected, 1e-9, f"with gamma = {gamma:g} and k = {k}, from {std:.3g} the width")


def after(std: float, init_std: float, gamma: float, k: int) -> float:
    """The width after k drifts."""
    left = gamma ** (2 * k)
    return (left * std**2 + (1 - left) * init_std**2) ** 0.5


@widths.requires(
    "where averages settle",
    "Both draws are independent, so an average has the variance 0.9^2 v + 0.1^2 init_std^2. It settles where that is v again. "
    "Solve for v, and take the root.",
)
def _(widths: Widths, generator: torch.Generator) -> None:
    mixed = widths.mixed
    for wrong, words in (
        (MIXED**2, "that is the variance"),
        (0.19**0.5, "that is what the noise of one drift has"),
        (1.0, "so it would be if the average were a drift"),
        (0.1, "that is what one fresh draw brings, and those of former batches are still there in part"),
    ):
        expect(abs(mixed - wrong) > 2e-3, f"you say {mixed:.3g}; {words}")
    expect(abs(mixed - MIXED) < 2e-3, f"you say {mixed:.4g}")
