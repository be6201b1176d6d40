"""Exercise f4.2: take a row back out of a belief."""

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from companion.teaching.checks.answers import (
    DOUBLE,
    Belief,
    StudentFunction,
    expect,
    expect_close,
    normal,
    read_belief,
    read_function,
    uniform,
)
from companion.teaching.checks.framework import exercise

RELEASE = "release(mean, covariance, feature, target, noise_variance)"
DEAR = ("inv", "solve", "cholesky", "lstsq", "eig", "svd", "qr", "lu_")


class Release:
    """The student's function."""

    def __init__(self, function: StudentFunction) -> None:
        self._function = function

    def __call__(self, mean: Tensor, covariance: Tensor, feature: Tensor, target: Tensor, noise: float) -> Belief:
        return read_belief(self._function(mean, covariance, feature, target, noise), mean, RELEASE)


@exercise(
    "f4.2",
    "Take a row back",
    difficulty=3,
    minutes=15,
    equation="Woodbury's identity, with a minus sign",
    takeaway="Releasing a row is absorbing it with a negative noise variance. With both a filter slides a window over its rows, at the cost of two products a row.",
)
def release(answer: object) -> Release:
    return Release(read_function(answer, RELEASE))


class Dear(TorchFunctionMode):
    """Sees whether a matrix as large as the covariance is inverted, solved with or decomposed."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.seen = size, ""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        large = any(isinstance(value, Tensor) and value.shape[-2:] == (self.size, self.size) for value in args)
        if large and any(word in name for word in DEAR):
            self.seen = name.removeprefix("linalg_")
        return function(*args, **(kwargs or {}))


def absorbed(mean: Tensor, covariance: Tensor, feature: Tensor, target: Tensor, noise: float) -> Belief:
    """The belief after a row."""
    reach = covariance @ feature.T
    gain = reach / (noise + feature @ reach)
    return mean + gain @ (target - feature @ mean), covariance - gain @ reach.T


def _belief(generator: torch.Generator, p: int, k: int) -> Belief:
    """A mean, and a covariance with correlations."""
    root = normal(generator, p, p)
    return normal(generator, p, k), root @ root.T / p + 0.1 * torch.eye(p, dtype=DOUBLE)


def _row(generator: torch.Generator, p: int, k: int) -> tuple[Tensor, Tensor, float]:
    """A feature, its targets and a noise variance that is neither its root nor its square."""
    return normal(generator, 1, p), normal(generator, 1, k), uniform(generator, 0.2, 0.6)


@release.requires(
    "a mean and a covariance",
    "Let `release` return two tensors, the mean (p, k) and the covariance (p, p), in the dtype that came.",
)
def _(release: Release, generator: torch.Generator) -> None:
    for dtype, (p, k) in ((DOUBLE, (4, 2)), (torch.float32, (3, 1)), (DOUBLE, (1, 1))):
        feature, target, noise = _row(generator, p, k)
        mean, covariance = absorbed(*_belief(generator, p, k), feature, target, noise)
        release(*(value.to(dtype) for value in (mean, covariance, feature, target)), noise)


@release.requires(
    "doubt comes back",
    "Without a row less is known, so along its feature the variance must grow. Yours does not: to take information away, add "
    "to the covariance.",
)
def _(release: Release, generator: torch.Generator) -> None:
    feature, target, noise = _row(generator, 3, 2)
    mean, covariance = absorbed(*_belief(generator, 3, 2), feature, target, noise)
    _, came = release(mean, covariance, feature, target, noise)
    before, after = ((feature @ part @ feature.T).item() for part in (covariance, came))
    expect(after > before + 1e-9, f"along the feature it goes from {before:.3g} to {after:.3g}")


@release.requires(
    "how much doubt",
    "With one weight all are numbers: 1/A - phi^2/noise_variance is the information without the row. In Woodbury's identity the "
    "minus sign belongs in the denominator, too, and the noise there is a variance.",
)
def _(release: Release, generator: torch.Generator) -> None:
    one = torch.ones(1, 1, dtype=DOUBLE)
    for noise, size in ((0.5, 1.0), (3.0, 2.0)):
        mean, covariance = absorbed(0 * one, one, size * one, one, noise)
        _, came = release(mean, covariance, size * one, one, noise)
        words = f"a prior of variance 1, and the row {size:g} with noise variance {noise:g} absorbed and released: the variance"
        expect_close(came, one, 1e-7, words)


@release.requires(
    "the mean goes back",
    "The mean must lose just what the row gave it. It moves against the surprise, target - feature @ mean, by a gain that has "
    "the new denominator; the surprise is that of the belief you were given.",
)
def _(release: Release, generator: torch.Generator) -> None:
    one = torch.ones(1, 1, dtype=DOUBLE)
    for prior, noise, size, target in ((0.0, 0.5, 1.0, 1.0), (2.0, 3.0, 2.0, -1.0)):
        row = size * one, target * one, noise
        came, _ = release(*absorbed(prior * one, one, *row), *row)
        words = f"a belief with the mean {prior:g} absorbed the row {size:g} with the target {target:g} and released it: the mean"
        expect_close(came, prior * one, 1e-7, words)


@release.requires(
    "in every direction",
    "With one weight it is right; with more, directions hang together. The covariance changes by the outer product of A phi with "
    "itself, and the mean along A phi, not along phi.",
)
def _(release: Release, generator: torch.Generator) -> None:
    for p, k in ((2, 1), (4, 2), (7, 3)):
        belief, row = _belief(generator, p, k), _row(generator, p, k)
        for name, came, wanted in zip(("mean", "covariance"), release(*absorbed(*belief, *row), *row), belief):
            expect_close(came, wanted, 1e-7, f"with {p} weights an entry of the {name} that was there before the row")


@release.requires(
    "no large system",
    "The belief is right, but dear: an inverse, a solve or a decomposition of p x p costs O(p^3) for every row. Woodbury needs "
    "products, and division by a number.",
)
def _(release: Release, generator: torch.Generator) -> None:
    p = 6
    row = _row(generator, p, 2)
    mean, covariance = absorbed(*_belief(generator, p, 2), *row)
    with Dear(p) as calls:
        release(mean, covariance, *row)
    expect(not calls.seen, f"yours calls {calls.seen} on a matrix of {p} x {p}")
