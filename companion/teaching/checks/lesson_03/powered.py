"""Exercise 03.3: guidance does not sample the powered density."""

from collections.abc import Callable

import torch
from torch import Tensor

from companion.foundations.diffusion import time_grid
from companion.methods.guidance import sample_guided
from companion.teaching.checks.answers import (
    DOUBLE,
    NotYet,
    StudentFunction,
    describe,
    expect,
    expect_close,
    read_function,
    read_number,
    read_parts,
    read_words,
    uniform,
)
from companion.teaching.checks.framework import exercise

POWERED, SAMPLED = "powered(mean, v_c, v_u, weight)", "sampled(mean, v_c, v_u, weight, times)"
Moments = tuple[float, float]
Case = tuple[float, float, float, float]


class Laws:
    """The student's two laws, each a mean and a variance, and which one they say is narrower."""

    def __init__(self, powered: StudentFunction, sampled: StudentFunction, narrower: str) -> None:
        self._powered, self._sampled, self.narrower = powered, sampled, narrower

    def powered(self, *case: float) -> Moments:
        return _pair(self._powered(*case), POWERED)

    def sampled(self, *case: object) -> Moments:
        return _pair(self._sampled(*case), SAMPLED)


@exercise(
    "03.3",
    "Not the powered density",
    difficulty=3,
    minutes=15,
    equation="Bradley and Nakkiran (2025), section 3",
    takeaway="The sampler's law is not the powered one: it goes further out and is narrower. With many short steps its variance is v_c (v_c / v_u)^w, for v_c = 1, v_u = 2 and w = 1 a half instead of two thirds.",
)
def laws(answer: object) -> Laws:
    parts = read_parts(answer, ("powered", "sampled", "narrower"))
    functions = read_function(parts["powered"], POWERED), read_function(parts["sampled"], SAMPLED)
    (word,) = read_words(parts["narrower"], 1, ("powered", "sampled"))
    return Laws(*functions, word)


def _pair(value: object, what: str) -> Moments:
    if isinstance(value, torch.Tensor) and value.shape == (2,):
        value = value.tolist()
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise NotYet(f"Expected {what} to be a pair, mean and variance; got {describe(value)}.", "type")
    return read_number(value[0], "the mean"), read_number(value[1], "the variance")


def _cases(generator: torch.Generator) -> list[Case]:
    """Mean, v_c, v_u and weight: a class inside a broader Gaussian."""
    cases = []
    for _ in range(4):
        v_u = uniform(generator, 0.8, 2.5)
        mean, share, weight = uniform(generator, 0.4, 1.5), uniform(generator, 0.2, 0.7), uniform(generator, 0.5, 2.5)
        cases.append((mean, share * v_u, v_u, weight))
    return cases


def _always(function: Callable, formula: Callable, cases: list) -> bool:
    """Whether the student's mean and variance are those of a formula; None in it matches any."""
    for case in cases:
        for came, wrong in zip(function(*case), formula(*case)):
            if wrong is not None and abs(came - wrong) > 1e-4 * max(1, abs(wrong)):
                return False
    return True


def powered_moments(mean: float, v_c: float, v_u: float, weight: float) -> Moments:
    """Of N(mean, v_c)^(1 + weight) / N(0, v_u)^weight, normalised."""
    precision = (1 + weight) / v_c - weight / v_u
    return (1 + weight) * mean / v_c / precision, 1 / precision


def sampled_moments(mean: float, v_c: float, v_u: float, weight: float, times: Tensor, churn: float = 0.0) -> Moments:
    """Of what `sample_guided` makes of N(0, 1), without sampling: its steps are linear, so two points tell them."""

    def posterior_mean(x: Tensor, t: Tensor, prior: float, variance: float) -> Tensor:
        a = 1 - t
        return prior + a * variance / (a**2 * variance + t**2) * (x - a * prior)

    def conditional(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return posterior_mean(x, t, mean, v_c)

    def unconditional(x: Tensor, t: Tensor) -> Tensor:
        return posterior_mean(x, t, 0.0, v_u)

    probes, labels = torch.tensor([[0.0], [1.0]], dtype=DOUBLE), torch.zeros(2).long()
    *_, ends = sample_guided(conditional, unconditional, weight, labels, probes, times)
    at_0, at_1 = ends.flatten().tolist()
    return at_0, (at_1 - at_0) ** 2


@laws.requires(
    "no power",
    "With weight 0 the powered density is the class itself, N(mean, v_c). The powers are 1 + w of the class and w of "
    "all data, w being 0 without guidance.",
)
def _(laws: Laws, generator: torch.Generator) -> None:
    for mean, v_c, v_u, _ in _cases(generator):
        expect_close(laws.powered(mean, v_c, v_u, 0.0)[0], mean, 1e-6, "the mean")
        variance = laws.powered(mean, v_c, v_u, 0.0)[1]
        expect(abs(variance - v_c**0.5) > 1e-6 or abs(v_c - 1) < 1e-3, "the second number is a standard deviation")
        expect_close(variance, v_c, 1e-6, "the variance")


@laws.requires(
    "precisions add",
    "You combine the variances. Powers multiply the logarithm of a density, whose curvature is one over the "
    "variance: (1 + w)/v_c - w/v_u is the new precision.",
)
def _(laws: Laws, generator: torch.Generator) -> None:
    cases = _cases(generator)
    expect(not _always(laws.powered, lambda m, c, u, w: (None, (1 + w) * c - w * u), cases))
    expect(not _always(laws.powered, lambda m, c, u, w: (None, c ** (1 + w) / u**w), cases))
    expect(not _always(laws.powered, lambda m, c, u, w: (None, c / (1 + w)), cases), "all data are missing")


@laws.requires(
    "the mean moves",
    "Complete the square. The class pulls to its mean with (1 + w)/v_c, all data push away from 0, and the mean is "
    "the first pull divided by the new precision: beyond the class's mean, but not (1 + w) times as far.",
)
def _(laws: Laws, generator: torch.Generator) -> None:
    cases = _cases(generator)
    expect(not _always(laws.powered, lambda m, c, u, w: (m, None), cases), "yours stays where it is")
    expect(not _always(laws.powered, lambda m, c, u, w: ((1 + w) * m, None), cases))


@laws.requires(
    "powered density",
    "Integrated on a fine grid, p(x|c)^(1 + w) / p(x)^w has another mean or variance than yours.",
)
def _(laws: Laws, generator: torch.Generator) -> None:
    for mean, v_c, v_u, weight in _cases(generator):
        grid = torch.linspace(-40, 40, 400_001, dtype=DOUBLE)
        log = -(1 + weight) * (grid - mean).square() / (2 * v_c) + weight * grid.square() / (2 * v_u)
        density = (log - log.max()).exp()
        centre = (grid * density).sum() / density.sum()
        variance = ((grid - centre).square() * density).sum() / density.sum()
        for came, expected, what in zip(laws.powered(mean, v_c, v_u, weight), (centre, variance), ("mean", "variance")):
            expect_close(came, expected, 1e-4, f"for weight {weight:.2f} the {what}")


def _walks(generator: torch.Generator, *steps: int) -> list[tuple]:
    return [(*case, time_grid(number)) for case in _cases(generator) for number in steps]


@laws.requires(
    "not by formula",
    "Your second law is the powered density again. That the sampler draws from it is what the exercise doubts: "
    "start with mean 0 and variance 1, and take both through the steps.",
)
def _(laws: Laws, generator: torch.Generator) -> None:
    walks = _walks(generator, 8)
    expect(not _always(laws.sampled, lambda *walk: powered_moments(*walk[:4]), walks))


@laws.requires(
    "these steps",
    "The last mean and variance depend on the times: a walk of few steps ends elsewhere than one of many. Take the "
    "two numbers through every step from times[i] to times[i + 1].",
)
def _(laws: Laws, generator: torch.Generator) -> None:
    changed = []
    for case in _cases(generator):
        few, many = (laws.sampled(*case, time_grid(steps))[1] for steps in (4, 40))
        changed.append(abs(few - many) >= 1e-3 * abs(many))
    expect(any(changed), "after 4 steps and after 40 the variance is the same")


@laws.requires(
    "no draws",
    "Called twice, `sampled` answers differently: it draws samples. Every step is linear, x becomes k x + h, so it "
    "takes a mean to k mean + h and a variance to k^2 variance, exactly.",
)
def _(laws: Laws, generator: torch.Generator) -> None:
    walk = _walks(generator, 8)[0]
    torch.manual_seed(0)
    first = laws.sampled(*walk)
    torch.manual_seed(1)
    expect(laws.sampled(*walk) == first)


@laws.requires(
    "one step",
    "In one step from 1 to 0 every point goes to the guided prediction at time 1. The noise says nothing there, so "
    "x_c is the class's mean and x_u is 0: all land on (1 + w) mean, with variance 0.",
)
def _(laws: Laws, generator: torch.Generator) -> None:
    for mean, v_c, v_u, weight in _cases(generator):
        centre, variance = laws.sampled(mean, v_c, v_u, weight, time_grid(1))
        expect_close(centre, (1 + weight) * mean, 1e-6, f"for weight {weight:.2f} the mean")
        expect_close(variance, 0, 1e-6, f"for weight {weight:.2f} the variance")


@laws.requires(
    "variance",
    "The second number is the standard deviation of the sampler's law, or went through the steps like one: where x "
    "becomes k x, the variance becomes k^2 times as large.",
)
def _(laws: Laws, generator: torch.Generator) -> None:
    walks = _walks(generator, 6, 20)
    expect(not _always(laws.sampled, lambda *walk: (None, sampled_moments(*walk)[1] ** 0.5), walks))


@laws.requires(
    "the guided sampler",
    "The sampler of the package ends elsewhere. The posterior mean of N(m, v) given x_t is "
    "m + a v / (a^2 v + t^2) (x_t - a m) with a = 1 - t, and a step goes to "
    "(s/t) x_t + (1 - s - (1 - t) s/t) times the guided prediction.",
)
def _(laws: Laws, generator: torch.Generator) -> None:
    for walk in _walks(generator, 3, 20):
        for came, expected, what in zip(laws.sampled(*walk), sampled_moments(*walk), ("mean", "variance")):
            expect_close(came, expected, 1e-5, f"after {len(walk[4]) - 1} steps the {what}")


@laws.requires(
    "narrower",
    "Both laws are right, but look at their variances again, for 20 steps or for 1000: which is the smaller one?",
)
def _(laws: Laws, generator: torch.Generator) -> None:
    expect(laws.narrower == "sampled")
