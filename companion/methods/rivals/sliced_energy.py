"""Sliced energy flow: the flow of the kernel -|x - y| by sorting projections, with no matrix of pairs.

A distance is a constant times its mean length on a random line. So the slope of the energy distance is a mean over
lines of slopes in one dimension, and there a point only has to know how many points lie on either side of it: a sort.
A step over n particles and m data takes O(slices (n + m) log(n + m)), and its direction is right on average.

Source: Hertrich, Wald, Altekrüger and Hagemann, "Generative Sliced MMD Flows with Riesz Kernels", ICLR 2024 (arXiv
2305.11463): Theorem 1 (slices), Section 3 (sorting), Section 4 (momentum). They then teach networks the steps; here
the particles walk themselves.

>>> from companion.data.toy import eight_gaussians
>>> from companion.foundations.distances import energy_distance
>>> law, generator = eight_gaussians(), torch.Generator().manual_seed(0)
>>> data, start = law.sample(500, generator), torch.randn(500, 2, generator=generator)
>>> *_, points = sliced_energy_flow(start, data, step=1.0, steps=50, generator=generator)
>>> bool(energy_distance(points, data) < energy_distance(start, data) / 10)
True
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from companion.foundations import distances
from companion.foundations.validation import Number, require_batch, require_count, require_in, require_same_event


def sliced_energy_flow(
    particles: Float[Tensor, "n *event"],
    target: Float[Tensor, "m *event"],
    step: Number,
    steps: int,
    slices: int = 64,
    momentum: Number = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "n *event"]]:
    """Move particles down the sliced energy distance, with new slices at every step; yields every cloud, the start first.

        v <- momentum v + slope(z),   z <- z - step v.

    The step has the units of `mmd_flow(particles, target, riesz(1), step, steps)`; with momentum a constant slope is
    followed 1 / (1 - momentum) times as fast.

    Args:
        particles: the start (n, *event).
        target: data (m, *event).
        step: length of a step, positive.
        steps: how many.
        slices: random lines in each step; the error of a slope falls with their root and grows with that of d.
        momentum: what is kept of the last velocity, in [0, 1).
        generator: draws the lines, on the device of the particles.

    Raises:
        TypeError: clouds that are not floating tensors of one dtype.
        ValueError: shapes disagree, or a number out of range. Raised at the call.
    """
    _require_clouds(particles, target, slices)
    require_in("step", step, "(0, inf)")
    require_count("steps", steps, 0)
    require_in("momentum", momentum, "[0, 1)")
    return _sliced_energy_flow(particles.detach(), target.detach(), step, steps, slices, momentum, generator)


def _sliced_energy_flow(z, target, step, steps, slices, momentum, generator):
    yield z
    shape, data = z.shape, target.flatten(1)
    velocity = torch.zeros_like(z.flatten(1))
    for _ in range(steps):
        cloud = z.flatten(1)
        velocity = momentum * velocity + _slope(cloud, data, slices, generator)
        z = (cloud - step * velocity).view(shape)
        yield z


def sliced_energy_slope(
    particles: Float[Tensor, "n d"],
    target: Float[Tensor, "m d"],
    slices: int = 64,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n d"]:
    """An unbiased estimate, at the particles, of the slope of `mean_j |y_j - z| - mean_i |z_i - z|`.

    That is `mmd_flow.witness_slope(particles, particles, target, riesz(1))`. Points in one place do not push each other.
    Works in blocks of slices, so that memory does not grow with their number.

    Raises:
        TypeError, ValueError: as `sliced_energy_flow`; or points that are no rows.
    """
    _require_clouds(particles, target, slices)
    return _slope(particles.detach().flatten(1), target.detach().flatten(1), slices, generator).view(particles.shape)


def slice_constant(dimension: int) -> float:
    """c with `|x| = c E|<u, x>|` for u uniform on the unit sphere: `sqrt(pi) G((d + 1) / 2) / G(d / 2)`, G for gamma.

    1 on the line, pi/2 in the plane, 2 in space, and about sqrt(pi d / 2) further on.

    Raises:
        TypeError, ValueError: not a whole number from 1.
    """
    require_count("dimension", dimension, 1)
    return math.sqrt(math.pi) * math.exp(math.lgamma((dimension + 1) / 2) - math.lgamma(dimension / 2))


def _slope(z: Tensor, data: Tensor, slices: int, generator: torch.Generator | None) -> Tensor:
    lines = torch.randn(slices, z.shape[1], generator=generator, dtype=z.dtype, device=z.device)
    lines = lines / lines.norm(dim=1, keepdim=True)
    slope = torch.zeros_like(z)
    for block in lines.split(max(1, distances.PAIRS_AT_ONCE // (len(z) + len(data)))):
        slope.addmm_(_rise(block @ z.T, block @ data.T).T, block)
    return slope * (slice_constant(z.shape[1]) / slices)


def _rise(places: Tensor, data: Tensor) -> Tensor:
    """On each line, the slope of the mean distance to the data less that to the other particles, at each particle."""
    ordered, order = places.sort(dim=1)  # ordered questions are answered faster
    rise = _balance(ordered, data.sort(dim=1).values) - _balance(ordered, ordered)
    return torch.empty_like(places).scatter_(1, order, rise)


def _balance(places: Tensor, row: Tensor) -> Tensor:
    """The share of an ordered row below each place less the share above; what lies at the place counts for neither."""
    below, not_above = (torch.searchsorted(row, places, right=right) for right in (False, True))
    return (below + not_above - row.shape[1]).to(places.dtype) / row.shape[1]


def _require_clouds(particles: object, target: object, slices: object) -> None:
    require_same_event("particles", particles, "target", target)
    require_batch("particles", particles)
    require_batch("target", target)
    require_count("slices", slices, 1)
