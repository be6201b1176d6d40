"""How far apart are two Gaussian mixtures, exactly? What estimates from samples should come out as.

The difference of a draw of one mixture and a draw of another is a mixture of Gaussians again, so a mean of a kernel
over pairs is a sum of Gaussian means. That of the Gaussian kernel is a Gaussian integral, in every dimension; that of
the distance is the mean of a folded normal on the line and of Rice's distribution in the plane (S. O. Rice,
"Mathematical Analysis of Random Noise", Bell System Technical Journal, 1945).

>>> near, far = (GaussianMixture(torch.tensor([[place]]), torch.ones(1)) for place in (0.0, 100.0))
>>> exact_energy_distance(near, far)                    # 2 * 100 - 4 / sqrt(pi)
tensor(197.7433)
>>> exact_mmd2(near, far, bandwidth=1.0)                # 2 / sqrt(3): the kernel sees no pair across
tensor(1.1547)
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from companion.foundations.mixtures import GaussianMixture
from companion.foundations.validation import Number, require, require_in, require_same_event


def mean_distance(p: GaussianMixture, q: GaussianMixture) -> Float[Tensor, ""]:
    """`E|X - Y|` of independent draws X of p and Y of q, on the line or in the plane.

    With m the distance of two means and v the sum of their variances, a pair of components has

        line    sqrt(2 v / pi) exp(-m^2 / (2 v)) + m erf(m / sqrt(2 v))
        plane   sqrt(pi v / 2) ((1 + z) I0(z / 2) + z I1(z / 2)) exp(-z / 2),   z = m^2 / (2 v).

    Raises:
        TypeError: not two mixtures of one dtype.
        ValueError: not of one dimension, or not of dimension 1 or 2.
    """
    _require_mixtures(p, q)
    dimension = p.means.shape[1]
    require(dimension in (1, 2), "p", f"in {dimension} dimensions", "on the line or in the plane")
    square, variance, weight = _pairs(p, q)
    z = square / (2 * variance)
    if dimension == 1:
        mean = (2 * variance / math.pi).sqrt() * (-z).exp() + square.sqrt() * z.sqrt().erf()
    else:
        bessel = (1 + z) * torch.special.i0e(z / 2) + z * torch.special.i1e(z / 2)  # each with its exp(-z/2)
        mean = (math.pi * variance / 2).sqrt() * bessel
    return (weight * mean).sum().to(p.means.dtype)


def exact_energy_distance(p: GaussianMixture, q: GaussianMixture) -> Float[Tensor, ""]:
    """`2 E|X-Y| - E|X-X'| - E|Y-Y'|` (Székely and Rizzo 2013), on the line or in the plane.

    What `distances.energy_distance` of samples is in expectation.

    Raises:
        TypeError, ValueError: as `mean_distance`.
    """
    return 2 * mean_distance(p, q) - mean_distance(p, p) - mean_distance(q, q)


def exact_mmd2(p: GaussianMixture, q: GaussianMixture, bandwidth: Number) -> Float[Tensor, ""]:
    """`E k(X,X') + E k(Y,Y') - 2 E k(X,Y)` (Gretton et al. 2012, Lemma 6) of the kernel `distances.rbf(bandwidth)`.

    In d dimensions, with h the bandwidth, a pair of components has the mean kernel

        (h^2 / (h^2 + v))^(d/2) exp(-m^2 / (2 (h^2 + v))).

    What `distances.mmd2` of samples is in expectation.

    Raises:
        TypeError: not two mixtures of one dtype, or a bandwidth that is no number.
        ValueError: not of one dimension, or a bandwidth that is not positive.
    """
    _require_mixtures(p, q)
    require_in("bandwidth", bandwidth, "(0, inf)")

    def mean_kernel(first: GaussianMixture, second: GaussianMixture) -> Tensor:
        square, variance, weight = _pairs(first, second)
        wide = bandwidth**2 + variance
        return (weight * (bandwidth**2 / wide) ** (first.means.shape[1] / 2) * (-square / (2 * wide)).exp()).sum()

    return (mean_kernel(p, p) + mean_kernel(q, q) - 2 * mean_kernel(p, q)).to(p.means.dtype)


def project(law: GaussianMixture, direction: Float[Tensor, " d"]) -> GaussianMixture:
    """The law of `<direction, X>` on the line, for X drawn of `law`.

    Raises:
        TypeError: not a mixture.
        ValueError: a direction that is no row of d numbers, or 0.
    """
    require(isinstance(law, GaussianMixture), "law", f"a {type(law).__name__}", "a GaussianMixture", TypeError)
    d = law.means.shape[1]
    require(direction.shape == (d,), "direction", f"of shape {tuple(direction.shape)}", f"of shape ({d},)")
    length = direction.norm()
    require(bool(length > 0), "direction", "0 everywhere", "somewhere else")
    return GaussianMixture((law.means @ direction)[:, None], law.stds * length, law.weights)


def _pairs(p: GaussianMixture, q: GaussianMixture) -> tuple[Tensor, Tensor, Tensor]:
    """For each pair of components: squared distance of the means, sum of the variances, weight; in double precision."""
    square = (p.means[:, None].double() - q.means.double()).square().sum(-1)
    variance = p.stds.double().square()[:, None] + q.stds.double().square()
    return square, variance, p.weights.double()[:, None] * q.weights.double()


def _require_mixtures(p: object, q: object) -> None:
    for name, law in {"p": p, "q": q}.items():
        require(isinstance(law, GaussianMixture), name, f"a {type(law).__name__}", "a GaussianMixture", TypeError)
    require_same_event("p.means", p.means, "q.means", q.means)
