"""Exercise f2.1: where does a sampler end that starts from pure noise on a schedule with signal left?"""

import math

import torch

from companion.foundations.diffusion import time_grid
from companion.foundations.one_gaussian import sampled_moments
from companion.teaching.checks.answers import NotYet, describe, expect, expect_close, read_number
from companion.teaching.checks.framework import exercise

MEAN, STD, START = 5.0, 2.25, 0.75
ALPHA, SIGMA = 1 - START, START
VARIANCE = ALPHA**2 * STD**2 + SIGMA**2
SHARE = ALPHA * STD / math.sqrt(VARIANCE)

Pair = tuple[float, float]


@exercise(
    "f2.1",
    "Predict the leak",
    difficulty=3,
    minutes=10,
    equation="shift of the mean",
    takeaway="DDIM carries the whole error of its start to the end, three fifths of the mean here; fresh noise forgets part "
    "of it, and three fifths of three fifths are left.",
)
def leaky_means(answer: object) -> Pair:
    if not isinstance(answer, list | tuple) or len(answer) != 2:
        raise NotYet(f"Expected two numbers, the means at churn 0 and at churn 1; got {describe(answer)}.", "type")
    return read_number(answer[0], "the mean at churn 0"), read_number(answer[1], "the mean at churn 1")


def _near(value: float, other: float) -> bool:
    return abs(value - other) < 0.006


@leaky_means.requires(
    "some shift",
    "The data's own mean, 5, would come out if the sampler began from noised data. Pure noise has mean 0 where noised data "
    "have 5/4, and neither sampler forgets all of that.",
)
def _(means: Pair, generator: torch.Generator) -> None:
    expect(not any(_near(value, MEAN) for value in means))


@leaky_means.requires(
    "towards zero",
    "The start is nearer to 0 than noised data are, so the samples end nearer to 0 too: between 0 and 5.",
)
def _(means: Pair, generator: torch.Generator) -> None:
    for value in means:
        expect(0 < value < MEAN, f"got {value:.3g}")


@leaky_means.requires("mean, not shift", "This is how far the mean moves. Asked for is where it ends: 5 minus that.")
def _(means: Pair, generator: torch.Generator) -> None:
    expect(not (_near(means[0], MEAN * SHARE) and _near(means[1], MEAN * SHARE**2)))


@leaky_means.requires(
    "width counts",
    "The width s of the data is missing from your formula. The error of the start counts in widths of the noised law, "
    "and at the end a width is s: wide data move further.",
)
def _(means: Pair, generator: torch.Generator) -> None:
    without = ALPHA / math.hypot(ALPHA, SIGMA)
    expect(not any(_near(means[0], MEAN * (1 - share)) for share in (without, ALPHA)))


@leaky_means.requires(
    "root", "You divided by the variance of the noised law. A distance counts in standard deviations, its root."
)
def _(means: Pair, generator: torch.Generator) -> None:
    expect(not _near(means[0], MEAN * (1 - ALPHA * STD / VARIANCE)))


@leaky_means.requires(
    "fresh noise forgets",
    "At churn 1 fresh noise replaces part of the noise that the sampler came with, and with it part of the error: the mean "
    "ends nearer to 5 than at churn 0.",
)
def _(means: Pair, generator: torch.Generator) -> None:
    expect(means[1] > means[0] + 0.01, f"you say {means[0]:.3g} at churn 0 and {means[1]:.3g} at churn 1")


@leaky_means.requires(
    "churn 0", "Run with very many steps, DDIM ends elsewhere: a point keeps its place, in widths of the cloud."
)
def _(means: Pair, generator: torch.Generator) -> None:
    expect_close(means[0], _limit(0.0), 0.003, "the mean at churn 0")


@leaky_means.requires(
    "churn 1",
    "Run with very many steps, DDPM ends elsewhere. It draws from the posterior given its start: average the posterior "
    "mean over pure noise.",
)
def _(means: Pair, generator: torch.Generator) -> None:
    expect_close(means[1], _limit(1.0), 0.003, "the mean at churn 1")


def _limit(churn: float) -> float:
    """The mean after a thousand steps, worked out step by step."""
    return sampled_moments(time_grid(1000, start=START), MEAN, STD, churn).mean
