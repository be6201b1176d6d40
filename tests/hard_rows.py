"""Rows on which a covariance is easily lost to rounding, and how far a filter is from losing it."""

import math

import pytest
import torch

from companion.methods.kalman import KalmanHead


def badly_conditioned(rows: int, m: int, dtype: torch.dtype, seed: int, plane: torch.Tensor) -> torch.Tensor:
    """Rows near a 3-dimensional subspace."""
    draws = torch.randn(rows, 3 + m, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return draws[:, :3] @ plane + 1e-3 * draws[:, 3:]


def least(head: KalmanHead) -> float:
    """The smallest eigenvalue of the covariance: of the product of the root in double precision, if there is one."""
    belief = head.belief.double()
    covariance = belief @ belief.T if head.square_root else belief
    return torch.linalg.eigvalsh((covariance + covariance.T) / 2)[0].item() if belief.isfinite().all() else -math.inf


HARD = {"static": (1, 1e-4), "drifting": (0.999, 1e-6)}
each_hard = pytest.mark.parametrize(("gamma", "noise"), HARD.values(), ids=HARD)
