"""How far apart are two clouds of points? Unbiased estimates, differentiable, at bounded memory.

Energy distance and maximum mean discrepancy are both means of a kernel over pairs of points. The means
are U-statistics (a point is never paired with itself), so their expectation is the true distance for
every sample size, and near 0 an estimate can be slightly negative. `noise_floor` says how near 0 is noise.

>>> x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [1.0]])
>>> energy_distance(x, y)                    # 2 * 1 - 2 - 0
tensor(0.)
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from companion.foundations.validation import Number, require, require_count, require_in, require_same_event

Kernel: TypeAlias = Callable[[Tensor, Tensor], Tensor]

PAIRS_AT_ONCE = 2**21  # 8 MB of float32: measured fastest on two cores, and small on any device
EXACT_DIFFERENCES_UP_TO = 32  # dimensions; above, the matrix-product form of cdist is many times faster


def distance_power(square: Float[Tensor, "*any"], beta: Number) -> Float[Tensor, "*any"]:
    """`|d|^beta` from squared distances, exact at 0 and with gradient 0 there (where it is not finite)."""
    if beta == 2:
        return square
    positive = square > 0
    safe = torch.where(positive, square, torch.ones_like(square))
    power = safe.sqrt() if beta == 1 else safe.pow(beta / 2)
    return torch.where(positive, power, torch.zeros_like(square))


def pairwise_distance(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Euclidean distances between all rows; by differences, not products, up to 32 dimensions, so that near points stay exact."""
    exact = a.shape[1] <= EXACT_DIFFERENCES_UP_TO
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist" if exact else "use_mm_for_euclid_dist")


def energy_distance(
    x: Float[Tensor, "n *event"], y: Float[Tensor, "m *event"], beta: Number = 1.0
) -> Float[Tensor, ""]:
    """Unbiased squared energy distance `2 E|X-Y|^beta - E|X-X'|^beta - E|Y-Y'|^beta` (Székely and Rizzo 2013).

    Zero in expectation exactly when both clouds come from one law (0 < beta < 2); at beta = 2 it only
    compares means. Runs in blocks of pairs: 100,000 points need no more memory than 2,000.

    Args:
        x, y: clouds of at least two points each; event axes are flattened.
        beta: exponent in (0, 2].

    Raises:
        TypeError: not floating tensors of one dtype.
        ValueError: shapes disagree, fewer than two points, or beta out of range.
    """
    require_in("beta", beta, "(0, 2]")

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        distance = pairwise_distance(a, b)
        return distance if beta == 1 else distance_power(distance.square(), beta)

    return 0 - _contrast(x, y, kernel)  # a bare minus would turn 0 into -0


def mmd2(x: Float[Tensor, "n *event"], y: Float[Tensor, "m *event"], kernel: Kernel) -> Float[Tensor, ""]:
    """Unbiased squared maximum mean discrepancy, `E k(X,X') + E k(Y,Y') - 2 E k(X,Y)` (Gretton et al. 2012, eq. (3)).

    Args:
        x, y: clouds of at least two points each; event axes are flattened.
        kernel: a callable (a (n, d), b (m, d)) -> (n, m), such as `rbf(1.0)`.

    Raises:
        TypeError: not floating tensors of one dtype, or `kernel` cannot be called.
        ValueError: shapes disagree, fewer than two points, or `kernel` gives no (n, m) matrix.
    """
    require(callable(kernel), "kernel", f"a {type(kernel).__name__}", "a callable (a, b) -> (n, m)", TypeError)
    return _contrast(x, y, kernel)


def rbf(bandwidth: Number) -> Kernel:
    """The Gaussian kernel `exp(-|a - b|^2 / (2 bandwidth^2))`, not normalised."""
    require_in("bandwidth", bandwidth, "(0, inf)")
    return lambda a, b: (pairwise_distance(a, b).square() / (-2 * bandwidth**2)).exp()


def rational_quadratic(scale: Number = 1.0, exponent: Number = 1.0) -> Kernel:
    """The kernel `(1 + |a - b|^2 / (2 exponent scale^2))^-exponent`: many bandwidths at once, with heavy tails."""
    require_in("scale", scale, "(0, inf)")
    require_in("exponent", exponent, "(0, inf)")
    return lambda a, b: (1 + pairwise_distance(a, b).square() / (2 * exponent * scale**2)).pow(-exponent)


def noise_floor(
    draw: Callable[[], Tensor], distance: Callable[[Tensor, Tensor], Tensor] = energy_distance, repeats: int = 20
) -> Float[Tensor, ""]:
    """Standard deviation of `distance` between two independent clouds of one law: what is below it is noise.

    `draw` returns a fresh cloud at each call.
    """
    require(callable(draw), "draw", f"a {type(draw).__name__}", "a callable that returns a cloud", TypeError)
    require_count("repeats", repeats, 2)
    return torch.stack([distance(draw(), draw()) for _ in range(repeats)]).std()


def _contrast(x: Tensor, y: Tensor, kernel: Kernel) -> Tensor:
    """Mean kernel within x, plus within y, minus twice between them."""
    require_same_event("x", x, "y", y)
    for name, cloud in {"x": x, "y": y}.items():
        require(len(cloud) >= 2, name, f"{len(cloud)} point(s)", "at least 2 points")
    x, y = x.flatten(1), y.flatten(1)
    return (_mean_within(x, kernel) + _mean_within(y, kernel) - 2 * _mean_between(x, y, kernel)).to(x.dtype)


def _sum(kernel: Kernel, a: Tensor, b: Tensor) -> Tensor:
    """Sum of one block in float64; its gradient recomputes the block instead of keeping it."""

    def total(a: Tensor, b: Tensor) -> Tensor:
        values = kernel(a, b)
        shape = (len(a), len(b))
        require(values.shape == shape, "kernel(a, b)", f"of shape {tuple(values.shape)}", f"of shape {shape}")
        return values.sum(dtype=torch.float64)

    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad):
        return checkpoint(total, a, b, use_reentrant=False)
    return total(a, b)


def _blocks(x: Tensor, columns: int) -> range:
    return range(0, len(x), max(1, min(len(x), PAIRS_AT_ONCE // columns)))


def _mean_between(x: Tensor, y: Tensor, kernel: Kernel) -> Tensor:
    blocks = _blocks(x, len(y))
    return sum(_sum(kernel, x[i : i + blocks.step], y) for i in blocks) / (len(x) * len(y))


def _mean_within(x: Tensor, kernel: Kernel) -> Tensor:
    """Each pair once: a block of rows against itself, and twice against the rows after it."""
    total = 0.0
    blocks = _blocks(x, len(x))
    for i in blocks:
        rows, later = x[i : i + blocks.step], x[i + blocks.step :]
        total = total + _sum(lambda a, b: kernel(a, b).fill_diagonal_(0), rows, rows)
        if len(later):
            total = total + 2 * _sum(kernel, rows, later)
    return total / (len(x) * (len(x) - 1))
