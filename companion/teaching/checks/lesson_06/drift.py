"""Exercise 06.2: the predict step of the filter, derived from how the weights move."""

import torch
from torch import Tensor

from companion.teaching.checks.answers import (
    DOUBLE,
    Belief,
    StudentFunction,
    expect,
    expect_close,
    read_belief,
    read_function,
    uniform,
)
from companion.teaching.checks.framework import exercise
from companion.teaching.checks.lesson_06.beliefs import drifted, random_belief

DRIFT = "drift(mean, covariance, gamma, weight_variance)"


class Drift:
    """The student's drift."""

    def __init__(self, function: StudentFunction) -> None:
        self._drift = function

    def __call__(self, mean: Tensor, covariance: Tensor, gamma: float, weight_variance: float) -> Belief:
        return read_belief(self._drift(mean, covariance, gamma, weight_variance), mean, DRIFT)


@exercise(
    "06.2",
    "The predict step",
    difficulty=2,
    minutes=10,
    equation="the drift of the weights, which preserves their variance",
    takeaway="A drift is one number, gamma, and it composes: two drifts are one whose gamma is their product. Without data a belief goes home to the prior, and stays there.",
)
def drift(answer: object) -> Drift:
    return Drift(read_function(answer, DRIFT))


@drift.requires(
    "a mean and a covariance",
    "Return two tensors, the mean (m, K) and the covariance (m, m), in the dtype that came. The m x m matrix is there once "
    "for all K columns.",
)
def _(drift: Drift, generator: torch.Generator) -> None:
    for dtype, sizes in ((DOUBLE, (4, 2)), (torch.float32, (3, 1)), (DOUBLE, (1, 3))):
        mean, covariance = (part.to(dtype) for part in random_belief(generator, *sizes))
        drift(mean, covariance, 0.9, 0.5)


@drift.requires(
    "nothing at one",
    "With gamma = 1 the weights stand still, so neither mean nor covariance may change: this is plain Bayesian regression.",
)
def _(drift: Drift, generator: torch.Generator) -> None:
    belief = random_belief(generator)
    for name, came, before in zip(("mean", "covariance"), drift(*belief, 1.0, 0.7), belief):
        expect_close(came, before, 1e-9, f"an entry of the {name}")


@drift.requires(
    "the mean shrinks once",
    "w_n is gamma w_(n-1) plus noise of mean 0, and a mean is linear: it is multiplied by gamma, once. The square is for "
    "variances.",
)
def _(drift: Drift, generator: torch.Generator) -> None:
    mean, covariance = random_belief(generator)
    for gamma in (0.6, 0.9):
        came, _ = drift(mean, covariance, gamma, 0.7)
        expect(not torch.allclose(came, mean, atol=1e-9), "the mean stays where it was")
        expect(not torch.allclose(came, gamma**2 * mean, atol=1e-9), "it is multiplied by gamma^2")
        expect_close(came, gamma * mean, 1e-7, f"with gamma = {gamma} an entry of the mean")


@drift.requires(
    "the prior stays",
    "Weights drawn from the prior N(0, weight_variance I) must still look drawn from it after a drift: the noise brings just "
    "what shrinking takes from their variance. Otherwise a filter without data grows ever surer, or ever less sure.",
)
def _(drift: Drift, generator: torch.Generator) -> None:
    for gamma in (0.6, 0.9):
        variance = uniform(generator, 0.3, 3)
        prior = variance * torch.eye(4, dtype=DOUBLE)
        _, came = drift(torch.zeros(4, 1, dtype=DOUBLE), prior, gamma, variance)
        for noise, words in (
            (0.0, "yours adds no noise"),
            (1 - gamma, "the noise of yours has 1 - gamma, or one gamma is not squared"),
            ((1 - gamma) ** 2, "the noise of yours has (1 - gamma)^2"),
        ):
            expect(not torch.allclose(came, (gamma**2 + noise) * prior, rtol=1e-7), words)
        expect_close(came / variance, prior / variance, 1e-7, "relative to weight_variance an entry of the covariance")


@drift.requires(
    "two are one",
    "Two drifts in a row must be one drift whose gamma is the product: the weights do not know how often you look. What holds "
    "for gamma near 1 only, such as 2 (1 - gamma) for 1 - gamma^2, does not add up.",
)
def _(drift: Drift, generator: torch.Generator) -> None:
    belief, variance = random_belief(generator), uniform(generator, 0.3, 3)
    for first, second in ((0.7, 0.7), (0.9, 0.6)):
        twice, once = (
            drift(*drift(*belief, first, variance), second, variance),
            drift(*belief, first * second, variance),
        )
        for name, came, whole in zip(("mean", "covariance"), twice, once):
            expect_close(came, whole, 1e-7, f"after drifts of {first} and {second} an entry of the {name}")


@drift.requires(
    "all forgotten at zero",
    "With gamma = 0 nothing of the old weights is left: the mean is 0 and the covariance weight_variance I, whatever they were. "
    "Nothing may be divided by gamma.",
)
def _(drift: Drift, generator: torch.Generator) -> None:
    mean, covariance = random_belief(generator)
    came = drift(mean, covariance, 0.0, 0.7)
    expect_close(came[0], 0 * mean, 1e-9, "an entry of the mean")
    expect_close(came[1], 0.7 * torch.eye(4, dtype=DOUBLE), 1e-9, "an entry of the covariance")


@drift.requires(
    "the law of the drift",
    "The variance of gamma w is gamma^2 times that of w, for A and for what the noise makes up for. With one gamma in both "
    "places the prior stays, too, but memory lasts twice as long as the weights allow.",
)
def _(drift: Drift, generator: torch.Generator) -> None:
    for m, gamma in ((4, 0.95), (3, 0.5), (1, 0.8)):
        belief, variance = random_belief(generator, m), uniform(generator, 0.3, 3)
        for name, came, expected in zip(
            ("mean", "covariance"), drift(*belief, gamma, variance), drifted(*belief, gamma, variance)
        ):
            expect_close(came, expected, 1e-7, f"with gamma = {gamma} an entry of the {name}")
