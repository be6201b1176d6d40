"""Exercise 06.4: one gradient step on what is forgotten."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from companion.teaching.checks.answers import (
    StudentFunction,
    expect,
    expect_close,
    normal,
    read_function,
    read_number,
    uniform,
)
from companion.teaching.checks.framework import exercise
from companion.teaching.checks.lesson_06.beliefs import random_belief

STEP = "delta_step(delta, rate, mean, covariance, features, target, weight_variance, noise_variance)"
Case = tuple[float, float, Tensor, Tensor, Tensor, Tensor, float, float]


class DeltaStep:
    """The student's step."""

    def __init__(self, function: StudentFunction) -> None:
        self._step = function

    def __call__(self, *case: float | Tensor) -> float:
        return read_number(self._step(*case), "delta_step")

    def steps_like(self, slope: Callable[["Row"], float], generator: torch.Generator) -> bool:
        for _ in range(4):
            case = _case(generator)
            expected = case[0] + case[1] * slope(Row(*case))
            if not math.isclose(self(*case), expected, rel_tol=1e-6):
                return False
        return True


@exercise(
    "06.4",
    "Learn to forget",
    difficulty=4,
    minutes=20,
    equation="the gradient step on delta",
    takeaway="A row that was harder to predict than the filter believed raises delta, a row that came as expected lowers it. So a filter forgets at a change, and remembers again afterwards, without being told.",
)
def delta_step(answer: object) -> DeltaStep:
    return DeltaStep(read_function(answer, STEP))


class Row:
    """What the slope at one row is made of: gamma, the undrifted mu0 and v0, c = weight_variance |phi|^2, and the noise."""

    def __init__(
        self,
        delta: float,
        rate: float,
        mean: Tensor,
        covariance: Tensor,
        features: Tensor,
        target: Tensor,
        weight_variance: float,
        noise_variance: float,
    ) -> None:
        self.gamma = math.exp(-delta / 2)
        self.mu0, self.v0 = (features @ mean).item(), (features @ covariance @ features.T).item()
        self.weight_variance, self.noise = weight_variance, noise_variance
        self.c = weight_variance * features.square().sum().item()
        self.target = target.item()

    @property
    def error(self) -> float:
        return self.target - self.gamma * self.mu0

    @property
    def spread(self) -> float:
        """The variance of the target before it is seen."""
        return self.gamma**2 * self.v0 + (1 - self.gamma**2) * self.c + self.noise

    def slope(
        self, of_mean: float | None = None, of_variance: float | None = None, spread: float | None = None
    ) -> float:
        """Of the log-density of the target, by delta; on request with other derivatives of its mean and its variance."""
        of_mean = -self.gamma * self.mu0 / 2 if of_mean is None else of_mean
        of_variance = self.gamma**2 * (self.c - self.v0) if of_variance is None else of_variance
        spread = self.spread if spread is None else spread
        return self.error / spread * of_mean + 0.5 * (self.error**2 / spread - 1) / spread * of_variance

    def slope_by_gamma(self) -> float:
        return self.slope() / (-self.gamma / 2)

    def slope_with(self, c: float) -> float:
        """The slope, had the drift added (1 - gamma^2) c."""
        kept, fresh = self.gamma**2 * self.v0, (1 - self.gamma**2) * c
        return self.slope(of_variance=self.gamma**2 * c - kept, spread=kept + fresh + self.noise)


def _case(generator: torch.Generator, m: int = 3, delta: float | None = None, rate: float = 1e-3) -> Case:
    """A row as `Row` takes it; delta is so large that no step of this rate comes near 0."""
    mean, covariance = random_belief(generator, m, 1)
    delta = uniform(generator, 0.1, 0.6) if delta is None else delta
    features, target = normal(generator, 1, m), 1.5 * normal(generator, 1, 1)
    return delta, rate, mean, covariance, features, target, uniform(generator, 1, 2), uniform(generator, 0.3, 0.6)


def _row(generator: torch.Generator, surprise: float, delta: float, rate: float) -> Case:
    """A row whose target lies `surprise` standard deviations from its prediction, from a belief surer than the prior."""
    *start, target, weight_variance, noise = _case(generator, delta=delta, rate=rate)
    start[3] = 0.05 * start[3]
    row = Row(*start, target, weight_variance, noise)
    sign = -1 if row.mu0 > 0 else 1  # on the side of 0, where a shorter memory would have predicted
    target = torch.full_like(target, row.gamma * row.mu0 + sign * surprise * row.spread**0.5)
    return *start, target, weight_variance, noise


@delta_step.requires(
    "never below zero",
    "A delta below 0 is a gamma above 1: the weights would grow at every step, and the added variance be negative. Where the "
    "step would lead below 0, delta is 0: max(0, ...).",
)
def _(step: DeltaStep, generator: torch.Generator) -> None:
    for surprise in (0.0, 0.0, 5.0):
        case = _row(generator, surprise, delta=0.01, rate=10.0)
        came, unclipped = step(*case), case[0] + case[1] * Row(*case).slope()
        expect(came >= 0, f"from 0.01 with a rate of 10, delta is {came:.3g}")
        expect(
            not math.isclose(came, -unclipped, rel_tol=1e-6), "you take the absolute value, which may throw it far up"
        )


@delta_step.requires(
    "by delta, not by gamma",
    "You have the slope by gamma. It is delta that takes the step: gamma = exp(-delta/2), so the chain rule brings the factor "
    "-gamma/2, and with it another sign.",
)
def _(step: DeltaStep, generator: torch.Generator) -> None:
    expect(not step.steps_like(lambda row: row.slope_by_gamma(), generator))
    expect(not step.steps_like(lambda row: -row.slope_by_gamma(), generator), "only the sign is right")


@delta_step.requires(
    "mean and variance",
    "gamma is in both, in the mean gamma mu0 and in the variance gamma^2 v0 + (1 - gamma^2) c. The slope has a term of each: a "
    "larger delta pulls the prediction towards 0, and makes it less sure.",
)
def _(step: DeltaStep, generator: torch.Generator) -> None:
    found = "in yours the variance does not depend on delta"
    expect(not step.steps_like(lambda row: row.slope(of_variance=0.0), generator), found)
    expect(
        not step.steps_like(lambda row: row.slope(of_mean=0.0), generator), "in yours the mean does not depend on delta"
    )


@delta_step.requires(
    "what the drift adds",
    "The variance of the prediction is gamma^2 v0 + (1 - gamma^2) weight_variance |phi|^2. Without the second term forgetting "
    "would make the filter *surer*, and it would never pay.",
)
def _(step: DeltaStep, generator: torch.Generator) -> None:
    expect(not step.steps_like(lambda row: row.slope_with(0.0), generator), "yours has the first term alone")
    found = "in yours the second term has no |phi|^2"
    expect(not step.steps_like(lambda row: row.slope_with(row.weight_variance), generator), found)


@delta_step.requires(
    "the noise is in it",
    "It is the *target* that is scored, and its variance is that of the prediction plus noise_variance.",
)
def _(step: DeltaStep, generator: torch.Generator) -> None:
    expect(not step.steps_like(lambda row: row.slope(spread=row.spread - row.noise), generator), "yours leaves it out")


@delta_step.requires(
    "uphill",
    "A step must raise the log-density that this target had. A row far from its prediction should raise delta, so that the "
    "filter forgets; one that came as expected should lower it.",
)
def _(step: DeltaStep, generator: torch.Generator) -> None:
    for _ in range(3):
        case = _row(generator, surprise=5.0, delta=0.02, rate=1e-4)
        came = step(*case)
        expect(came > 0.02, f"5 standard deviations off, and delta goes from 0.02 to {came:.6g}")
        case = _row(generator, surprise=0.0, delta=0.5, rate=1e-4)
        came = step(*case)
        expect(came < 0.5, f"just as expected, and delta goes from 0.5 to {came:.6g}")


@delta_step.requires(
    "the slope",
    "The step is not rate times the slope of log N(target | gamma mu0, v + noise_variance) by delta, at the delta that came and "
    "with the mean and covariance that came as constants.",
)
def _(step: DeltaStep, generator: torch.Generator) -> None:
    expect(not step.steps_like(lambda row: 2 * row.slope(), generator), "it is twice as long")
    expect(not step.steps_like(lambda row: 0.5 * row.slope(), generator), "it is half as long")
    cases = [_case(generator, m) for m in (3, 1, 5) for _ in range(2)]
    cases += [_row(generator, surprise=4.0, delta=0.0, rate=1e-3)]  # at 0, and away from it
    for case in cases:
        expected = Row(*case).slope()
        came = (step(*case) - case[0]) / case[1]
        expect_close(came, expected, 2e-4, f"from delta = {case[0]:.3g} the step over the rate")
