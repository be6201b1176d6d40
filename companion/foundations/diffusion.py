"""Noising and denoising: one schedule, one bridge, one sampler.

`x_t = alpha(t) x0 + sigma(t) noise` with `alpha(t) = 1 - t` and `sigma(t) = t`: data at t = 0, noise at
t = 1 (the interpolation schedule of flow matching; eq. (3) of Distributional Diffusion Models).
`bridge` is the Gaussian step from time t down to s given a clean point; its `churn` says how much fresh
noise the step draws: 0 is DDIM, 1 is DDPM, and every value between keeps the same marginals.

>>> from companion.data.toy import eight_gaussians
>>> law, generator = eight_gaussians(), torch.Generator().manual_seed(0)
>>> noise = torch.randn(1000, 2, generator=generator)
>>> *_, points = sample(law.denoise, noise, time_grid(100), churn=1.0, generator=generator)
>>> points.shape
torch.Size([1000, 2])
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from companion.foundations.validation import (
    Number,
    require,
    require_callable,
    require_count,
    require_floating,
    require_in,
    require_like,
)

Time: TypeAlias = float | int | Float[Tensor, ""] | Float[Tensor, " n"]
Denoiser: TypeAlias = Callable[[Tensor, Tensor], Tensor]

CHURN = ", from 0 (DDIM) to 1 (DDPM)"


def alpha(t: Time) -> Time:
    """Weight of the data at time `t`, 1 at t = 0 and 0 at t = 1."""
    return 1 - t


def sigma(t: Time) -> Time:
    """Standard deviation of the noise at time `t`, 0 at t = 0 and 1 at t = 1."""
    return t


def as_time(t: Time, like: Tensor) -> Tensor:
    """`t` as a tensor, () or (n,), with the dtype and device of `like` (n, *event).

    Raises:
        TypeError: neither a number nor a tensor.
        ValueError: a number outside [0, 1], or a tensor of another shape. (The values of a tensor are
            not read: on a GPU that would stall the queue.)
    """
    if not torch.is_tensor(t):
        require_in("t", t, "[0, 1]", f" or a tensor of shape () or ({len(like)},)")
        return torch.as_tensor(t, dtype=like.dtype, device=like.device)
    fits = t.ndim == 0 or t.shape == like.shape[:1]
    require(fits, "t", f"of shape {tuple(t.shape)}", f"a number or of shape ({len(like)},), one time for each row")
    return t.to(like)


def expand_time(value: Tensor, like: Tensor) -> Tensor:
    """A per-time `value`, () or (n,), shaped to multiply `like` (n, *event)."""
    return value if value.ndim == 0 else value.reshape(-1, *[1] * (like.ndim - 1))


def time_grid(steps: int, start: Number = 1.0, end: Number = 0.0) -> Float[Tensor, "{steps+1}"]:
    """`steps` equal steps from `start` down to `end`, in float64: `steps + 1` times.

    Raises:
        ValueError: fewer than one step, or the times do not fall within [0, 1].
    """
    require_count("steps", steps, 1)
    require(0 <= end < start <= 1, "(start, end)", (start, end), "times with 0 <= end < start <= 1")
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


def as_times(times: object) -> Float[Tensor, " times"]:
    """A sampler's times as one row: at least two, strictly falling within [0, 1].

    Raises:
        TypeError: no row.
        ValueError: fewer than two, not falling, or outside [0, 1].
    """
    row = hasattr(times, "__len__") and not isinstance(times, str)
    require(row, "times", repr(times), "a row of times, such as time_grid(10)", TypeError)
    times = torch.as_tensor(times)
    require(
        times.ndim == 1 and len(times) >= 2, "times", f"of shape {tuple(times.shape)}", "one row of at least two times"
    )
    falling = bool((times[1:] < times[:-1]).all() and times[0] <= 1 and times[-1] >= 0)
    require(falling, "times", [round(value, 4) for value in times.tolist()], "strictly falling within [0, 1]")
    return times


def add_noise(x0: Float[Tensor, "n *event"], t: Time, noise: Float[Tensor, "n *event"]) -> Float[Tensor, "n *event"]:
    """The noisy point `x_t = alpha(t) x0 + sigma(t) noise`; `t` is a number or one time for each row.

    Raises:
        TypeError: not floating tensors.
        ValueError: shapes disagree, or `t` is neither in [0, 1] nor one time for each row.
    """
    require_like("noise", noise, "x0", x0)
    t = as_time(t, x0)
    return expand_time(alpha(t), x0) * x0 + expand_time(sigma(t), x0) * noise


def bridge_weights(
    t: Float[Tensor, " *n"], s: Float[Tensor, " *n"], churn: Number = 0.0
) -> tuple[Float[Tensor, " *n"], Float[Tensor, " *n"], Float[Tensor, " *n"]]:
    """What multiplies `x_t`, `x0` and the fresh noise in the step from time t down to s.

    With `r_ij = (alpha_t / alpha_s)^i (sigma_s / sigma_t)^j` and e = churn (Distributional Diffusion
    Models, eq. (4); Song et al. 2021, DDIM), the step is `noisy x_t + clean x0 + std noise`, where

        noisy = e^2 r12 + (1 - e^2) r01
        clean = alpha_s (1 - e^2 r22 - (1 - e^2) r11)
        std   = sigma_s sqrt(1 - (e^2 r11 + 1 - e^2)^2)

    Args:
        t, s: tensors of times of one shape, 0 <= s < t <= 1 (not read: on a GPU that would stall the queue).
        churn: e above, 0 (DDIM, no fresh noise) to 1 (DDPM).

    Raises:
        ValueError: churn outside [0, 1].
    """
    require_in("churn", churn, "[0, 1]", CHURN)
    r11 = alpha(t) / alpha(s) * sigma(s) / sigma(t)
    r01 = sigma(s) / sigma(t)
    stochastic = churn**2
    correlation = stochastic * r11 + (1 - stochastic)
    noisy = r01 * correlation
    clean = alpha(s) * (1 - stochastic * r11**2 - (1 - stochastic) * r11)
    return noisy, clean, sigma(s) * (1 - correlation**2).clamp_min(0).sqrt()


def bridge(
    x_t: Float[Tensor, "n *event"], x0: Float[Tensor, "n *event"], t: Time, s: Time, churn: Number = 0.0
) -> tuple[Float[Tensor, "n *event"], Float[Tensor, ""] | Float[Tensor, " n"]]:
    """Mean and standard deviation of `x_s` given `x_t` and `x0`, for s < t: `bridge_weights`, applied.

    If `x_t` has the noised law of `x0`, so has `x_s`, whatever the churn. At s = 0 the mean is `x0`
    and the std is 0.

    Args:
        x_t: noisy points (n, *event) at time `t`.
        x0: clean points of the same shape.
        t, s: numbers, or one for each row (n,).
        churn: 0 (DDIM, no fresh noise) to 1 (DDPM).

    Returns:
        The mean (n, *event) and the std, () or (n,).

    Raises:
        TypeError: not floating tensors.
        ValueError: shapes disagree, churn outside [0, 1], or numbers with s >= t. (Times that are tensors
            are not read, which on a GPU would stall the queue; `sample` checks its whole grid once.)
    """
    require_like("x0", x0, "x_t", x_t)
    require_in("churn", churn, "[0, 1]", CHURN)
    if not (torch.is_tensor(t) or torch.is_tensor(s)):
        require(0 <= s < t <= 1, "(t, s)", (t, s), "times with 0 <= s < t <= 1")
    noisy, clean, std = bridge_weights(as_time(t, x_t), as_time(s, x_t), churn)
    return expand_time(noisy, x_t) * x_t + expand_time(clean, x_t) * x0, std


def sample(
    denoiser: Denoiser,
    x: Float[Tensor, "n *event"],
    times: Float[Tensor, " times"],
    churn: Number = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "n *event"]]:
    """Walk `x` down `times`, yielding every state: first `x` itself, last the sample.

    Each step asks the denoiser for a clean point and crosses the `bridge` to it. With
    `denoiser = E[x0 | x_t]` this is DDIM (churn 0) or DDPM (churn 1); with a denoiser that *draws*
    x0 given x_t and churn 1 it is Algorithm 2 of Distributional Diffusion Models.

    Args:
        denoiser: a callable (x (n, *event), t ()) -> (n, *event), its clean point for `x` at time `t`.
        x: the start, noise at `times[0]`.
        times: strictly falling, within [0, 1]; see `time_grid`.
        churn: 0 (DDIM) to 1 (DDPM).
        generator: draws the churn's noise, on the device of `x`.

    Raises:
        TypeError: `x` is not a floating tensor, `times` is no row, `denoiser` cannot be called.
        ValueError: times do not fall or leave [0, 1]; churn outside [0, 1]. Raised at the call, before
            the first state. While it walks: the denoiser's answer has not the shape of `x`.
    """
    require_callable("denoiser", denoiser, "a callable (x, t) -> x0")
    require_floating("x", x)
    require_in("churn", churn, "[0, 1]", CHURN)
    times = as_times(times)
    ends_clean = bool(times[-1] == 0)
    return _walk(denoiser, x, times.to(x), ends_clean, churn, generator)


def _walk(denoiser, x, times, ends_clean, churn, generator):
    yield x
    for index in range(len(times) - 1):
        t, s = times[index], times[index + 1]
        x0 = denoiser(x, t)
        require_like("denoiser(x, t)", x0, "x", x)
        if ends_clean and index == len(times) - 2:
            x = x0
        else:
            x, std = bridge(x, x0, t, s, churn)
            if churn > 0:
                x = x + std * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        yield x
