"""Stochastic interpolants between two Gaussian mixtures: the law half way, its score and its velocity, all exact.

`x_s = (1 - s) x0 + s x1 + gamma(s) z` joins a draw of one law, at s = 0, with an independent draw of another, at
s = 1 (Albergo, Boffi and Vanden-Eijnden 2023, arXiv 2303.08797). Points that follow the velocity
`E[dx_s/ds | x_s = x]` have the law of `x_s` at every s: noise may be one end, but need not be.

>>> left, right = (GaussianMixture(torch.tensor([[x, 0.0]]), torch.tensor([0.5])) for x in (-1.0, 1.0))
>>> bridge = MixtureInterpolant(left, right, latent=1.0)
>>> points = left.sample(1000, torch.Generator().manual_seed(0))
>>> *_, moved = transport(bridge.velocity, points, torch.linspace(0, 1, 21))
>>> torch.allclose(moved, points + torch.tensor([2.0, 0.0]), atol=1e-3)
True
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from companion.foundations.mixtures import GaussianMixture
from companion.foundations.validation import (
    Number,
    require,
    require_callable,
    require_count,
    require_floating,
    require_in,
    require_like,
)

Velocity: TypeAlias = Callable[[Tensor, float], Tensor]


class MixtureInterpolant:
    """`x_s = (1 - s) x0 + s x1 + gamma(s) z`, with x0, x1 and z independent and `gamma(s)^2 = latent s (1 - s)`.

    Given the components that x0 and x1 come from, x_s is Gaussian; so its law is a mixture with one component for
    each pair. The latent noise z blurs the law between the ends and leaves the ends alone.

    Args:
        start, end: the laws at s = 0 and s = 1, in one dimension, dtype and device.
        latent: 0 for no latent noise.

    Raises:
        TypeError: an end is no mixture, the dtypes differ, or `latent` is no number.
        ValueError: the ends differ in dimension or device, or `latent` is negative.
    """

    def __init__(self, start: GaussianMixture, end: GaussianMixture, latent: Number = 0.0) -> None:
        for name, law in (("start", start), ("end", end)):
            mixture = isinstance(law, GaussianMixture)
            require(mixture, name, f"a {type(law).__name__}", "a GaussianMixture", TypeError)
        one, other = start.means, end.means
        require(
            other.shape[1] == one.shape[1], "end", f"in {other.shape[1]} dimensions", f"in {one.shape[1]} like start"
        )
        require(other.dtype == one.dtype, "end", f"of {other.dtype}", f"of {one.dtype} like start", TypeError)
        require(other.device == one.device, "end", f"on {other.device}", f"on {one.device} like start")
        require_in("latent", latent, "[0, inf)")
        self.start, self.end, self.latent = start, end, latent

    def sample(self, n: int, s: Number, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """`n` draws of x_s, made as the definition says: two ends and the latent noise."""
        require_count("n", n, 1)
        require_in("s", s, "[0, 1]")
        x0, x1 = self.start.sample(n, generator), self.end.sample(n, generator)
        z = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
        return (1 - s) * x0 + s * x1 + (self.latent * s * (1 - s)) ** 0.5 * z

    def law(self, s: Number) -> GaussianMixture:
        """The law of x_s: one Gaussian for each pair of components, means `(1 - s) m0 + s m1`."""
        require_in("s", s, "[0, 1]")
        means = (1 - s) * self.start.means[:, None] + s * self.end.means
        variances = (1 - s) ** 2 * self.start.stds[:, None] ** 2 + s**2 * self.end.stds**2
        variances = variances + self.latent * s * (1 - s)
        weights = self.start.weights[:, None] * self.end.weights
        return GaussianMixture(means.flatten(0, 1), variances.flatten().sqrt(), weights.flatten())

    def score(self, x: Float[Tensor, "n d"], s: Number) -> Float[Tensor, "n d"]:
        """Gradient of the log density of x_s, `-E[z | x_s = x] / gamma(s)` where there is latent noise."""
        return self.law(s).score(x, 0.0)

    def velocity(self, x: Float[Tensor, "n d"], s: Number) -> Float[Tensor, "n d"]:
        """`b(x, s) = E[x1 - x0 + gamma'(s) z | x_s = x]`, with which the law of x_s obeys `dp/ds + div(b p) = 0`.

        A Gaussian with mean m and variance v has the velocity `m' + (x - m) v' / 2v`; the mixture's is the mean
        over components, each as likely as x makes it. (gamma' is infinite at both ends, but v' is not.)
        """
        law = self.law(s)
        likely, _, _ = law.posterior(x, 0.0)
        drift = (self.end.means - self.start.means[:, None]).flatten(0, 1)
        growth = s * self.end.stds**2 - (1 - s) * self.start.stds[:, None] ** 2 + self.latent * (0.5 - s)
        rate = growth.flatten() / law.stds**2
        return (likely[..., None] * (drift + rate[:, None] * (x[:, None] - law.means))).sum(1)


def transport(
    velocity: Velocity, x: Float[Tensor, "n *event"], times: Float[Tensor, " times"]
) -> Iterator[Float[Tensor, "n *event"]]:
    """Carry `x` along `dx/ds = velocity(x, s)` through `times`, yielding every state: the probability flow.

    Heun's method: two calls of the velocity for each step, an error of second order in the step.

    Args:
        velocity: a callable (x (n, *event), s) -> (n, *event), s a number.
        x: the points at `times[0]`.
        times: one row, strictly rising.

    Raises:
        TypeError: `velocity` cannot be called, `x` or `times` is no floating tensor.
        ValueError: `times` is no row of at least two rising times. Raised at the call, before the first state.
            While it walks: the velocity's answer has not the shape of `x`.
    """
    require_callable("velocity", velocity, "a callable (x, s) -> dx/ds")
    require_floating("x", x)
    require_floating("times", times)
    row = times.ndim == 1 and len(times) >= 2
    require(row, "times", f"of shape {tuple(times.shape)}", "one row of at least two times")
    rising = bool((times[1:] > times[:-1]).all())
    require(rising, "times", [round(value, 4) for value in times.tolist()], "strictly rising")
    return _carry(velocity, x, times.tolist())


def _carry(velocity, x, times):
    yield x
    for s, later in pairwise(times):
        first = velocity(x, s)
        require_like("velocity(x, s)", first, "x", x)
        second = velocity(x + (later - s) * first, later)
        x = x + (later - s) / 2 * (first + second)
        yield x
