"""What the exercises about a belief have in common: it is drawn at random, drifted and updated."""

from collections.abc import Iterable

import torch
from torch import Tensor

from companion.teaching.checks.answers import DOUBLE, Belief, normal


def random_belief(generator: torch.Generator, m: int = 4, k: int = 2) -> Belief:
    """A mean, and a covariance with correlations, below that of a prior of variance 1 in most directions."""
    root = normal(generator, m, m)
    return normal(generator, m, k), 0.3 * root @ root.T / m + 0.1 * torch.eye(m, dtype=DOUBLE)


def drifted(mean: Tensor, covariance: Tensor, gamma: float, weight_variance: float) -> Belief:
    """The belief after one drift."""
    noise = (1 - gamma**2) * weight_variance * torch.eye(len(covariance), dtype=covariance.dtype)
    return gamma * mean, gamma**2 * covariance + noise


def absorbed(
    mean: Tensor, covariance: Tensor, features: Tensor, targets: Tensor, noise: float | Tensor, rows: float = 1
) -> Belief:
    """The belief after a block; `noise` is the variance of each row times `rows`, or the whole matrix of the rows."""
    matrix = noise * rows * torch.eye(len(features), dtype=DOUBLE) if isinstance(noise, float) else noise
    gain = torch.linalg.solve(features @ covariance @ features.T + matrix, features @ covariance).T
    return mean + gain @ (targets - features @ mean), covariance - gain @ features @ covariance


def alike(came: Iterable[Tensor], expected: Iterable[Tensor]) -> bool:
    """Whether all tensors are equal up to rounding."""
    return all(torch.allclose(a.detach().to(DOUBLE), b, rtol=1e-6, atol=1e-9) for a, b in zip(came, expected))
