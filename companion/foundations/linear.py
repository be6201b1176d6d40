"""Least squares with a memory: ridge regression towards a prior, and its recursive form with forgetting.

Rows are samples: features F (n, p), targets Y (n, k), weights W (p, k), prediction F W. Everything here is one step of
the same algebra: a prior with a precision, a batch of rows, a posterior mean.

>>> generator = torch.Generator().manual_seed(0)
>>> features = torch.randn(100, 3, generator=generator, dtype=torch.float64)
>>> targets = features @ torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
>>> ridge(features, targets, 1e-9).squeeze().round(decimals=3)
tensor([1., 2., 3.], dtype=torch.float64)
>>> memory = RecursiveLeastSquares(torch.zeros(3, 1, dtype=torch.float64), penalty=1e-9)
>>> for rows, values in zip(features.split(10), targets.split(10)):
...     memory.update(rows, values)
>>> memory.weights.squeeze().round(decimals=3)
tensor([1., 2., 3.], dtype=torch.float64)
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from companion.foundations.validation import Number, require, require_floating, require_in

LEAST_BLOCK = 64  # columns of a block of F'F
SINGULAR = (
    "The least-squares system is not positive definite: raise the penalty above 0, solve in float64, or look for "
    "features that are not finite."
)


def ridge(
    features: Float[Tensor, "n p"],
    targets: Float[Tensor, "n k"],
    penalty: Number,
    prior: Float[Tensor, "p k"] | None = None,
) -> Float[Tensor, "p k"]:
    """The W that minimises `|Y - F W|^2 + penalty |W - prior|^2`.

    Solved by Cholesky with the smaller of the p x p and the n x n system, as a step away from the prior:
    `prior + (F'F + penalty I)^-1 F'(Y - F prior)`, or `prior + F'(FF' + penalty I)^-1 (Y - F prior)`.

    Args:
        features: F (n, p).
        targets: Y (n, k).
        penalty: weight of the prior, counted in rows; 0 is least squares (with n < p the solution nearest to the prior).
        prior: where to start from (p, k); 0 unless given.

    Raises:
        TypeError: a tensor that is not floating, or a penalty that is no number.
        ValueError: shapes that do not fit, or a negative penalty.
        torch.linalg.LinAlgError: the system is singular (reading this waits for the device; `ridge_ex` does not).
    """
    weights, status = ridge_ex(features, targets, penalty, prior)
    require_solved(status)
    return weights


def ridge_ex(
    features: Float[Tensor, "n p"],
    targets: Float[Tensor, "n k"],
    penalty: Number,
    prior: Float[Tensor, "p k"] | None = None,
) -> tuple[Float[Tensor, "p k"], Int[Tensor, ""]]:
    """`ridge` that does not wait for the device: (weights, status), status 0 where the system was solved.

    Where status is not 0, the weights mean nothing; `require_solved` turns it into an error when it suits you.
    Differentiable in everything but the penalty. Half-precision input is solved in float32.

    Raises:
        TypeError, ValueError: as `ridge`.
    """
    require_rows(features, targets)
    require_in("penalty", penalty, "[0, inf)")
    dtype = features.dtype
    features, targets = _at_least_float32(features), _at_least_float32(targets)
    if prior is not None:
        require_weights("prior", prior, features, targets)
        prior = prior.to(features)
        targets = targets - predict(features, prior)
    rows, columns = features.shape
    if columns <= rows:
        step, status = _solve(_gram(features), penalty, _moments(features, targets))
    else:
        step, status = _solve(_gram(features.T), penalty, targets)
        step = _moments(features, step)
    return (step if prior is None else prior + step).to(dtype), status


def require_solved(status: Int[Tensor, ""]) -> None:
    """Raise one sentence unless `status`, from `ridge_ex` or `update_ex`, is 0. This waits for the device.

    Raises:
        torch.linalg.LinAlgError: the system was singular.
    """
    if status.item():
        raise torch.linalg.LinAlgError(SINGULAR)


class RecursiveLeastSquares(nn.Module):
    """Ridge regression that takes its rows batch by batch and may forget old ones.

    It keeps the weights W and the information A (p, p), at first `penalty` times the identity. A batch F, Y gives

        A <- forgetting A + (1 - forgetting) penalty I + F'F,   W <- W + A^-1 F'(Y - F W).

    Without forgetting (1) W is after every batch the ridge solution of all rows so far. With `forgetting` 0 nothing but W
    is remembered: a proximal step. Between them rows count less by this factor with every later batch, while the prior's
    share does not fade, so A stays positive definite. As a Kalman filter: covariance A^-1, unit observation noise; what
    is forgotten is what the filter adds to the covariance before it sees a batch (Haykin, Adaptive Filter Theory, on
    recursive least squares; the lasting share of the prior is known there as a leak).

    Args:
        weights: the start (p, k), which is the prior's mean, too; not changed.
        penalty: weight of the prior, counted in rows; above 0.
        forgetting: in [0, 1].

    Raises:
        TypeError: weights that are no floating tensor.
        ValueError: weights that are no (p, k), or a number out of range.
    """

    weights: Tensor
    information: Tensor

    def __init__(self, weights: Float[Tensor, "p k"], penalty: Number, forgetting: Number = 1.0) -> None:
        super().__init__()
        require_floating("weights", weights)
        require(weights.ndim == 2, "weights", f"of shape {tuple(weights.shape)}", "of shape (p, k)")
        require_in("penalty", penalty, "(0, inf)")
        require_in("forgetting", forgetting, "[0, 1]")
        self.penalty, self.forgetting = penalty, forgetting
        weights = _at_least_float32(weights)
        self.register_buffer("weights", weights.detach().clone())
        identity = torch.eye(len(weights), dtype=weights.dtype, device=weights.device)
        self.register_buffer("information", penalty * identity)

    def update(self, features: Float[Tensor, "n p"], targets: Float[Tensor, "n k"]) -> None:
        """Take a batch in.

        Raises:
            TypeError, ValueError: rows that do not fit.
            torch.linalg.LinAlgError: features that are not finite, or too large for the dtype.
        """
        require_solved(self.update_ex(features, targets))

    @torch.no_grad()
    def update_ex(self, features: Float[Tensor, "n p"], targets: Float[Tensor, "n k"]) -> Int[Tensor, ""]:
        """`update` that does not wait for the device: its status, 0 where the system was solved."""
        require_rows(features, targets)
        require_weights("weights", self.weights, features, targets)
        features, targets = features.to(self.weights), targets.to(self.weights)
        self.information.mul_(self.forgetting).addmm_(features.T, features)
        lasting = (1 - self.forgetting) * self.penalty
        self.information.diagonal().add_(lasting)
        residuals = targets - predict(features, self.weights)
        step, status = _solve(self.information, 0, _moments(features, residuals))
        self.weights.add_(step)
        return status


def predict(features: Float[Tensor, "n p"], weights: Float[Tensor, "p k"]) -> Float[Tensor, "n k"]:
    """F W. With few outputs a CPU multiplies the transposes several times faster."""
    return (weights.T @ features.T).T


def _moments(features: Float[Tensor, "n p"], targets: Float[Tensor, "n k"]) -> Float[Tensor, "p k"]:
    """F'Y, the quicker way round, too."""
    return (targets.T @ features).T


def _gram(features: Float[Tensor, "n p"]) -> Float[Tensor, "p p"]:
    """F'F. Where no graph is wanted only blocks of its lower half are multiplied: Cholesky reads no others."""
    if torch.is_grad_enabled() and features.requires_grad:
        return features.T @ features
    columns = features.shape[1]
    width = max(LEAST_BLOCK, columns // 4)
    product = features.new_zeros(columns, columns)
    for start in range(0, columns, width):
        block = slice(start, start + width)
        torch.mm(features[:, start:].T, features[:, block], out=product[start:, block])
    return product


def _solve(
    system: Float[Tensor, "m m"], penalty: Number, right: Float[Tensor, "m k"]
) -> tuple[Float[Tensor, "m k"], Int[Tensor, ""]]:
    """(system + penalty I)^-1 right, and the status of the factorisation."""
    if penalty:
        system.diagonal().add_(penalty)
    factor, status = torch.linalg.cholesky_ex(system)
    return torch.cholesky_solve(right, factor), status


def _at_least_float32(value: Tensor) -> Tensor:
    return value.to(torch.promote_types(value.dtype, torch.float32))


def require_rows(features: Tensor, targets: Tensor) -> None:
    """Raise unless these are features (n, p) and targets (n, k) of one floating dtype on one device."""
    require_floating("features", features)
    require_floating("targets", targets)
    came = f"of shape {tuple(features.shape)}"
    require(features.ndim == 2 and features.numel() > 0, "features", came, "of shape (n, p), n and p at least 1")
    fits = targets.ndim == 2 and len(targets) == len(features)
    require(
        fits,
        "targets",
        f"of shape {tuple(targets.shape)}",
        f"of shape ({len(features)}, k), one row for each of features",
    )
    same = f"of {features.dtype} on {features.device} like features"
    alike = targets.dtype == features.dtype and targets.device == features.device
    require(alike, "targets", f"of {targets.dtype} on {targets.device}", same)


def require_weights(name: str, weights: Tensor, features: Tensor, targets: Tensor) -> None:
    """Raise unless `weights` are a floating (p, k) for these rows, on their device; the dtype may be another."""
    require_floating(name, weights)
    shape = (features.shape[1], targets.shape[1])
    require(weights.shape == shape, name, f"of shape {tuple(weights.shape)}", f"of shape {shape}")
    require(weights.device == features.device, name, f"on {weights.device}", f"on {features.device} like features")
