"""Exercise f2.2: the posterior mean of a mixture."""

import torch
from torch import Tensor

from companion.foundations.mixtures import GaussianMixture
from companion.teaching.checks.answers import (
    DOUBLE,
    StudentFunction,
    expect,
    expect_close,
    expect_tensor,
    normal,
    read_function,
    uniform,
)
from companion.teaching.checks.framework import exercise


@exercise(
    "f2.2",
    "The posterior mean of a mixture",
    difficulty=3,
    minutes=15,
    equation="Bayes' rule",
    takeaway="Your function is the perfect denoiser of any mixture of round Gaussians: what a network trained with squared "
    "error tries to become.",
)
def posterior_mean(answer: object) -> StudentFunction:
    return read_function(answer, "posterior_mean(x, t, means, stds, weights)")


def _law(generator: torch.Generator, k: int = 3, d: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Means, stds and weights of a random mixture."""
    rand = torch.rand(2, k, generator=generator, dtype=DOUBLE)
    weights = 0.2 + rand[1]
    return 1.5 * normal(generator, k, d), 0.2 + rand[0], weights / weights.sum()


@posterior_mean.requires("shape", "A denoiser maps points to points: the shape and the dtype of x come back.")
def _(denoise: StudentFunction, generator: torch.Generator) -> None:
    for n, k, d, dtype in ((7, 3, 2, torch.float64), (1, 4, 5, torch.float32)):
        law = [part.to(dtype) for part in _law(generator, k, d)]
        expect_tensor(denoise(normal(generator, n, d).to(dtype), 0.5, *law), (n, d), dtype, "posterior_mean(...)")


@posterior_mean.requires(
    "data at t = 0", "Without noise the point itself is the answer. As t falls to 0 the posterior mean must come to x."
)
def _(denoise: StudentFunction, generator: torch.Generator) -> None:
    x = normal(generator, 5, 2)
    expect_close(denoise(x, 1e-4, *_law(generator)), x, 2e-3, "at t = 0.0001 a coordinate")


@posterior_mean.requires(
    "one Gaussian",
    "For a single Gaussian the answer is m + gain (x - alpha m), with gain = alpha s^2 / (alpha^2 s^2 + sigma^2): the noisy "
    "point is compared with the shrunken mean alpha m, and all these are variances.",
)
def _(denoise: StudentFunction, generator: torch.Generator) -> None:
    for _ in range(3):
        law, t, x = _law(generator, k=1), uniform(generator, 0.2, 0.8), normal(generator, 5, 2)
        expect_close(denoise(x, t, *law), GaussianMixture(*law).denoise(x, t), 1e-6, f"at t = {t:.2f} a coordinate")


@posterior_mean.requires(
    "prior weights",
    "At t = 1 the noisy point says nothing, so the components keep the weights of the data: the answer is their mean.",
)
def _(denoise: StudentFunction, generator: torch.Generator) -> None:
    means, stds, weights = _law(generator)
    expected = (weights @ means).expand(5, 2)
    expect_close(denoise(normal(generator, 5, 2), 1.0, means, stds, weights), expected, 1e-6, "at t = 1 a coordinate")


@posterior_mean.requires(
    "Bayes' weights",
    "Near one of two far clusters the other one is out of the question, however heavy in the data. Weigh each component by "
    "weight times density of x, and divide by the sum.",
)
def _(denoise: StudentFunction, generator: torch.Generator) -> None:
    means = torch.tensor([[-4.0, 0.0], [4.0, 0.0]], dtype=DOUBLE)
    stds, weights = torch.full((2,), 0.3, dtype=DOUBLE), torch.tensor([0.9, 0.1], dtype=DOUBLE)
    found = denoise(0.8 * means[1:], 0.2, means, stds, weights)
    expect_close(found, means[1:], 1e-3, "on top of the right cluster a coordinate")


@posterior_mean.requires(
    "an average",
    "Half way between two equal clusters both are as likely, and the mean is half way too. Yours takes sides: average, do "
    "not choose the likeliest.",
)
def _(denoise: StudentFunction, generator: torch.Generator) -> None:
    means = torch.tensor([[-1.0, 0.5], [1.0, 0.5]], dtype=DOUBLE)
    equal = torch.full((2,), 0.5, dtype=DOUBLE)
    for shift in (-0.02, 0.02):
        x = torch.tensor([[shift, 0.25]], dtype=DOUBLE)
        found = denoise(x, 0.5, means, equal, equal)
        expect_close(found, GaussianMixture(means, equal, equal).denoise(x, 0.5), 1e-3, "in the middle a coordinate")


@posterior_mean.requires(
    "width in the density",
    "A wide component spreads its probability thin: a Gaussian's density has the factor v^(-d/2), v the variance of the "
    "noised component. Without it, or with d forgotten, wide components win too often.",
)
def _(denoise: StudentFunction, generator: torch.Generator) -> None:
    weights = torch.full((2,), 0.5, dtype=DOUBLE)
    stds = torch.tensor([0.1, 2.0], dtype=DOUBLE)
    for d in (1, 2, 4):
        means, x = normal(generator, 2, d), 0.3 * normal(generator, 4, d)
        expected = GaussianMixture(means, stds, weights).denoise(x, 0.4)
        expect_close(denoise(x, 0.4, means, stds, weights), expected, 1e-6, f"in {d} dimensions a coordinate")


@posterior_mean.requires(
    "far away",
    "Far from all clusters every density underflows to 0, and 0/0 is not a number. Keep logarithms, and let softmax divide.",
)
def _(denoise: StudentFunction, generator: torch.Generator) -> None:
    law, x = _law(generator), 200 * normal(generator, 4, 2)
    found = denoise(x, 0.1, *law)
    expect(torch.as_tensor(found).isfinite().all(), "far away some coordinates are not finite")
    expect_close(found, GaussianMixture(*law).denoise(x, 0.1), 1e-6, "far away a coordinate")
