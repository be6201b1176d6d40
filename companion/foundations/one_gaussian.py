"""One Gaussian, noised and sampled back: what the sampler does to its mean and width, in closed form.

For data `N(mean, std^2 I)` the exact posterior mean is linear in the noisy point, so every step of the sampler is
linear too and nothing need be drawn. All of it is told by one angle, `tan(angle) = sigma(t) / (alpha(t) std)`: a step
of DDIM multiplies the width, in units of what it should be, by the cosine of the angle that it crosses.

>>> from companion.foundations.diffusion import time_grid
>>> moments = sampled_moments(time_grid(2), mean=0.0, std=1.0)
>>> round(moments.std, 6)      # two steps through t = 1/2 cross twice 45 degrees
0.5
>>> best = sampled_moments(equal_angles(8, std=2.0), mean=0.0, std=2.0)
>>> round(best.std / 2.0, 4) == round(math.cos(math.pi / 16) ** 8, 4)
True
>>> round(leaky_mean(5.0, std=2.25, start=0.75), 6)     # a schedule that ends at t = 3/4 still holds signal
2.0
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from companion.foundations.diffusion import CHURN, alpha, as_times, bridge_weights, sigma
from companion.foundations.validation import Number, require_count, require_in


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of a cloud, in each coordinate."""

    mean: float
    std: float


def angle(t: Float[Tensor, " *n"], std: Number = 1.0) -> Float[Tensor, " *n"]:
    """The angle of noise over signal, `atan(sigma(t) / (alpha(t) std))`: 0 at t = 0, pi/2 at t = 1.

    Its cosine is the correlation of x_0 and x_t for data of this standard deviation.

    Raises:
        TypeError, ValueError: `std` is no positive number.
    """
    require_in("std", std, "(0, inf)")
    return torch.atan2(sigma(t), alpha(t) * std)


def equal_angles(steps: int, std: Number = 1.0) -> Float[Tensor, "{steps+1}"]:
    """The times, from 1 down to 0, that split the quarter turn into equal angles; for `std = 1` the cosine schedule.

    Of all grids with so many steps this one keeps most of a Gaussian's width at churn 0, `cos(pi / 2 steps)^steps`.

    Raises:
        TypeError, ValueError: fewer than one step, or `std` is no positive number.
    """
    require_count("steps", steps, 1)
    require_in("std", std, "(0, inf)")
    turn = torch.linspace(math.pi / 2, 0, steps + 1, dtype=torch.float64)
    times = std * turn.sin() / (turn.cos() + std * turn.sin())
    times[0], times[-1] = 1.0, 0.0  # not a rounding error away
    return times


def sampled_moments(times: Float[Tensor, " times"], mean: Number, std: Number, churn: Number = 0.0) -> Moments:
    """Mean and width of what `diffusion.sample` makes of pure noise `N(0, sigma^2)` with the exact denoiser.

    Args:
        times: strictly falling; they may start below 1, as a leaky schedule does, and end above 0.
        mean, std: of the data, in one coordinate.
        churn: 0 (DDIM) to 1 (DDPM).

    Raises:
        TypeError, ValueError: times do not fall or leave [0, 1]; a number is outside its range.
    """
    require_in("mean", mean, "(-inf, inf)")
    require_in("std", std, "(0, inf)")
    require_in("churn", churn, "[0, 1]", CHURN)
    times = as_times(times).to(torch.float64)
    centre, variance = 0.0, sigma(times[0]).item() ** 2
    for t, s in pairwise(times):
        gain = (alpha(t) * std**2 / (alpha(t) ** 2 * std**2 + sigma(t) ** 2)).item()
        noisy, clean, fresh = (weight.item() for weight in bridge_weights(t, s, churn))
        slope = noisy + clean * gain
        centre = slope * centre + clean * (1 - gain * alpha(t).item()) * mean
        variance = slope**2 * variance + fresh**2
    return Moments(centre, math.sqrt(variance))


def leaky_mean(mean: Number, std: Number, start: Number, churn: Number = 0.0) -> float:
    """Mean of the samples when ever smaller steps start from pure noise at `start` < 1, where signal is left.

    The noised data there have the mean `alpha mean`, pure noise has 0. Measured in widths of the noised law this
    error survives DDIM whole, and a share `cos(angle)^churn^2` of it survives fresh noise, so

        mean of the samples = mean (1 - cos(angle(start))^(1 + churn^2)).

    Raises:
        TypeError, ValueError: a number is outside its range.
    """
    require_in("mean", mean, "(-inf, inf)")
    require_in("start", start, "(0, 1]")
    require_in("churn", churn, "[0, 1]", CHURN)
    correlation = angle(torch.tensor(start, dtype=torch.float64), std).cos().item()
    return mean * (1 - correlation ** (1 + churn**2))
