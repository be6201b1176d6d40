"""How far apart are two clouds of points? Unbiased estimates, differentiable, at bounded memory.

Energy distance and maximum mean discrepancy are both means of a kernel over pairs of points. The means
are U-statistics (a point is never paired with itself), so their expectation is the true distance for
every sample size, and near 0 an estimate can be slightly negative. `noise_floor` says how near 0 is noise.

>>> x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [1.0]])
>>> energy_distance(x, y)                    # 2 * 1 - 2 - 0
tensor(0.)
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from companion.foundations.validation import (
    Number,
    require,
    require_callable,
    require_count,
    require_in,
    require_same_event,
)

Kernel: TypeAlias = Callable[[Tensor, Tensor], Tensor]

PAIRS_AT_ONCE = 2**20  # 4 MB of float32: measured fastest with and without gradients, and small on any device
EXACT_DIFFERENCES_UP_TO = 32  # dimensions; above, the matrix-product form of cdist is many times faster


def distance_power(square: Float[Tensor, "*any"], beta: Number) -> Float[Tensor, "*any"]:
    """`|d|^beta` from squared distances, exact at 0 and with gradient 0 there (where it is not finite)."""
    if beta == 2:
        return square
    positive = square > 0
    safe = torch.where(positive, square, torch.ones_like(square))
    power = safe.sqrt() if beta == 1 else safe.pow(beta / 2)
    return torch.where(positive, power, torch.zeros_like(square))


def pairwise_distance(
    a: Float[Tensor, "*batch n d"], b: Float[Tensor, "*batch m d"], exact: bool | None = None
) -> Float[Tensor, "*batch n m"]:
    """Euclidean distances between all rows, with gradient 0 where two rows are one.

    `exact` takes differences, so that near points keep their distance; otherwise products of the matrices,
    many times faster in high dimension. None: exact up to 32 dimensions. Half precision is worked out in float32.
    """
    if exact is None:
        exact = a.shape[-1] <= EXACT_DIFFERENCES_UP_TO
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    mode = "donot_use_mm_for_euclid_dist" if exact else "use_mm_for_euclid_dist"
    return torch.cdist(a.to(dtype), b.to(dtype), compute_mode=mode)


def pairwise_power(
    a: Float[Tensor, "*batch n d"], b: Float[Tensor, "*batch m d"], beta: Number, exact: bool | None = None
) -> Float[Tensor, "*batch n m"]:
    """`|a - b|^beta` between all rows, as `pairwise_distance`."""
    distance = pairwise_distance(a, b, exact)
    return distance if beta == 1 else distance_power(distance.square(), beta)


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
    return 0 - _contrast(x, y, lambda a, b: pairwise_power(a, b, beta))  # a bare minus would turn 0 into -0


def mmd2(x: Float[Tensor, "n *event"], y: Float[Tensor, "m *event"], kernel: Kernel) -> Float[Tensor, ""]:
    """Unbiased squared maximum mean discrepancy, `E k(X,X') + E k(Y,Y') - 2 E k(X,Y)` (Gretton et al. 2012, eq. (3)).

    Args:
        x, y: clouds of at least two points each; event axes are flattened.
        kernel: a callable (a (n, d), b (m, d)) -> (n, m), such as `rbf(1.0)`. Gradients reach the points,
            once; to train a kernel, let what is trained move the points: `mmd2(net(x), net(y), rbf(1.0))`.

    Raises:
        TypeError: not floating tensors of one dtype, or `kernel` cannot be called.
        ValueError: shapes disagree, fewer than two points, or `kernel` gives no (n, m) matrix.
    """
    require_callable("kernel", kernel, "a callable (a, b) -> (n, m)")
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
    require_callable("draw", draw, "a callable that returns a cloud")
    require_count("repeats", repeats, 2)
    return torch.stack([distance(draw(), draw()) for _ in range(repeats)]).std()


def _contrast(x: Tensor, y: Tensor, kernel: Kernel) -> Tensor:
    """Mean kernel within x, plus within y, minus twice between them."""
    require_same_event("x", x, "y", y)
    for name, cloud in {"x": x, "y": y}.items():
        require(len(cloud) >= 2, name, f"{len(cloud)} point(s)", "at least 2 points")
    x, y = x.flatten(1), y.flatten(1)
    trainable = _values(kernel, x[:1].detach(), y[:1].detach()).requires_grad
    require(not trainable, "kernel", "itself to be trained", "fixed (let what is trained move the points instead)")
    return _Contrast.apply(x, y, kernel).to(x.dtype)


class _Contrast(torch.autograd.Function):
    """The contrast, block by block. A block's gradient is worked out with its value, so no block is kept."""

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, kernel: Kernel) -> Tensor:
        clouds, wanted = (x.detach(), y.detach()), ctx.needs_input_grad[:2]
        gradients = [torch.zeros_like(cloud) if need else None for cloud, need in zip(clouds, wanted, strict=True)]
        total = torch.zeros((), dtype=torch.float64, device=x.device)
        for weight, sides, without_diagonal in _blocks(len(x), len(y)):
            blocks = [clouds[side][rows].requires_grad_(wanted[side]) for side, rows in sides]
            with torch.set_grad_enabled(any(block.requires_grad for block in blocks)):
                values = _values(kernel, *blocks)
                value = values.sum(dtype=torch.float64)
                if without_diagonal:
                    value = value - values.diagonal().sum(dtype=torch.float64)
            total += weight * value.detach()
            if value.requires_grad:
                moved = [(block, side, rows) for block, (side, rows) in zip(blocks, sides, strict=True) if wanted[side]]
                slopes = torch.autograd.grad(value, [block for block, _, _ in moved])
                for slope, (_, side, rows) in zip(slopes, moved, strict=True):
                    gradients[side][rows].add_(slope, alpha=weight)
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, y = (None if gradient is None else slope.to(gradient.dtype) * gradient for gradient in ctx.saved_tensors)
        return x, y, None


def _values(kernel: Kernel, a: Tensor, b: Tensor) -> Tensor:
    values, shape = kernel(a, b), (len(a), len(b))
    require(values.shape == shape, "kernel(a, b)", f"of shape {tuple(values.shape)}", f"of shape {shape}")
    return values


def _blocks(n: int, m: int) -> Iterator[tuple[float, tuple[tuple[int, slice], tuple[int, slice]], bool]]:
    """The contrast as a weighted sum over blocks: (weight, (cloud, its rows) twice, whether to leave out the diagonal).

    Cloud 0 is x, 1 is y. Within a cloud each pair comes once: a block of rows against itself, and twice
    against the rows after it.
    """
    for rows in _cut(n, m):
        yield -2 / (n * m), ((0, rows), (1, slice(m))), False
    for cloud, size in enumerate((n, m)):
        for rows in _cut(size, size):
            yield 1 / (size * (size - 1)), ((cloud, rows), (cloud, rows)), True
            if rows.stop < size:
                yield 2 / (size * (size - 1)), ((cloud, rows), (cloud, slice(rows.stop, size))), False


def _cut(n: int, columns: int) -> Iterator[slice]:
    step = max(1, PAIRS_AT_ONCE // columns)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))
