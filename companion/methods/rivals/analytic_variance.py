"""Reverse steps with the right variance: DDPM whose noise also covers what the denoiser cannot know.

The step to time s mixes in the clean point with some weight w. A standard denoiser puts the posterior's
mean in its place, so the step misses w^2 times the posterior's variance. That variance, averaged over
x_t, is the denoiser's mean squared error, which data can measure. The step's law stays Gaussian: right
in its first two moments, wrong in its shape.

Source: Bao, Li, Zhu and Zhang, "Analytic-DPM: an Analytic Estimate of the Optimal Reverse Variance in
Diffusion Probabilistic Models", ICLR 2022 (arXiv 2201.06503), Theorem 1, with the variance estimated in the clean
point's space instead of the score's. Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic
Models", ICML 2021 (arXiv 2102.09672), learn the variance instead, one for each coordinate.

>>> from companion.data.toy import eight_gaussians
>>> from companion.foundations.diffusion import time_grid
>>> law, generator = eight_gaussians(), torch.Generator().manual_seed(0)
>>> times = time_grid(4)
>>> errors = denoising_errors(law.denoise, law, times, n=2000, generator=generator)
>>> noise = torch.randn(1000, 2, generator=generator)
>>> *_, points = sample_analytic(law.denoise, noise, times, errors, generator=generator)
>>> points.shape
torch.Size([1000, 2])
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from companion.foundations.diffusion import Denoiser, add_noise, alpha, bridge, sigma
from companion.foundations.training import Data, draw_batch
from companion.foundations.validation import require, require_count, require_floating


@torch.no_grad()
def denoising_errors(
    denoiser: Denoiser,
    data: Data,
    times: Float[Tensor, " times"],
    n: int = 10_000,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " steps"]:
    """Mean squared error of the denoiser, for each coordinate, at every time that a step starts from.

    For the perfect denoiser this is `E[trace Cov[x0 | x_t]] / dim`, the mean posterior variance.

    Args:
        denoiser: (x (n, *event), t ()) -> (n, *event).
        data: what it was trained on, a tensor, a law or a callable.
        times: the sampler's grid; the last time needs no error.
        n: points for each time.
        generator: draws points and noise.

    Raises:
        ValueError: `n` is below 1, or fewer than two times.
    """
    require_count("n", n, 1)
    require(
        times.ndim == 1 and len(times) >= 2, "times", f"of shape {tuple(times.shape)}", "one row of at least two times"
    )
    errors = []
    for t in times[:-1]:
        x0 = draw_batch(data, n, generator)
        noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
        t = t.to(x0)
        errors.append((denoiser(add_noise(x0, t, noise), t) - x0).square().mean())
    return torch.stack(errors)


def sample_analytic(
    denoiser: Denoiser,
    x: Float[Tensor, "n *event"],
    times: Float[Tensor, " times"],
    errors: Float[Tensor, " steps"],
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "n *event"]]:
    """DDPM with the optimal isotropic variance, as `diffusion.sample`; yields every state.

    The variance of the step is that of the bridge plus `w^2 errors`, with w the weight of the clean point
    in the bridge's mean (Analytic-DPM, Theorem 1). At the last step the bridge is sure and w is 1, so all
    of the noise is the denoiser's error.

    Args:
        denoiser, x, times, generator: as `diffusion.sample`.
        errors: of `denoising_errors` on the same times.

    Raises:
        TypeError: `x` is not a floating tensor.
        ValueError: not one error for each step. Raised at the call.
    """
    require_floating("x", x)
    fits = errors.shape == (len(times) - 1,)
    require(fits, "errors", f"of shape {tuple(errors.shape)}", f"of shape ({len(times) - 1},), one for each step")
    return _walk(denoiser, x, times.to(x), errors.to(x), generator)


@torch.no_grad()
def _walk(denoiser, x, times, errors, generator):
    yield x
    for (t, s), error in zip(pairwise(times), errors, strict=True):
        mean, std = bridge(x, denoiser(x, t), t, s, churn=1.0)
        std = (std**2 + clean_weight(t, s) ** 2 * error).sqrt()
        x = mean + std * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        yield x


def clean_weight(t: Float[Tensor, ""], s: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Weight of the clean point in the mean of the churn-1 bridge, `alpha_s (1 - r22)`."""
    return alpha(s) * (1 - (alpha(t) / alpha(s) * sigma(s) / sigma(t)) ** 2)
