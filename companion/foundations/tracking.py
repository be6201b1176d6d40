"""Following a mean that moves, one noisy number at a time: how large a step is best, exactly; and regret.

The mean wanders, m_{t+1} = m_t + d_t with d_t of variance q; what is seen is y_t = m_t + e_t with e_t of variance r. The
tracker predicts p_t, then sees y_t, then moves, p_{t+1} = p_t + a (y_t - p_t): a step of stochastic gradient descent on the
squared error. The best constant rate a is the steady gain of the Kalman filter of this model (R. E. Kalman, "A New Approach
to Linear Filtering and Prediction Problems", 1960; J. F. Muth, "Optimal Properties of Exponentially Weighted Forecasts",
1960).

>>> best_rate(drift_variance=1 / 2, noise_variance=1.0), tracking_error(0.5, 1 / 2, 1.0)
(0.5, 1.0)
>>> generator = torch.Generator().manual_seed(0)
>>> mean, observations = wandering_mean(2000, 1 / 2, runs=20, generator=generator)
>>> predictions = track(observations, 0.5)
>>> round((predictions - mean)[:, 100:].square().mean().item(), 1)
1.0
>>> bool((regret(observations, predictions) < 0).all())
True
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from companion.foundations.validation import Number, require, require_count, require_floating, require_in


def wandering_mean(
    n: int,
    drift_variance: Number,
    noise_variance: Number = 1.0,
    *,
    runs: int = 1,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Float[Tensor, "runs n"], Float[Tensor, "runs n"]]:
    """A mean that starts at 0 and takes a Gaussian step each time, and a noisy observation of each: two of (runs, n).

    Args:
        n: observations of a run.
        drift_variance: q, of a step of the mean; 0: it stays.
        noise_variance: r, of an observation.
        runs: independent streams.
        generator: of all draws; the streams lie on its device.
        dtype: of the streams.

    Raises:
        TypeError, ValueError: a number out of range.
    """
    require_count("n", n, 1)
    require_count("runs", runs, 1)
    _require_variances(drift_variance, noise_variance)
    device = "cpu" if generator is None else generator.device
    steps, noise = torch.randn(2, runs, n, generator=generator, device=device, dtype=dtype)
    steps[:, 0] = 0
    mean = math.sqrt(drift_variance) * steps.cumsum(1)
    return mean, mean + math.sqrt(noise_variance) * noise


def track(
    observations: Float[Tensor, "*runs n"], rate: Number | Float[Tensor, " n"], start: Number = 0.0
) -> Float[Tensor, "*runs n"]:
    """What a tracker predicts for each observation before it sees it: p_{t+1} = p_t + a_t (y_t - p_t).

    Args:
        observations: y, in the order of time along the last axis.
        rate: a in [0, 1], or one for each step (n,); 1, 1/2, 1/3, ... gives the running mean.
        start: p_1.

    Raises:
        TypeError, ValueError: observations that are none, or a rate out of range or of another length.
    """
    require_floating("observations", observations)
    rows = observations.ndim >= 1 and observations.shape[-1] > 0
    require(rows, "observations", f"of shape {tuple(observations.shape)}", "of shape (..., n) with n >= 1")
    n = observations.shape[-1]
    if isinstance(rate, Tensor):
        require_floating("rate", rate)
        require(rate.shape == (n,), "rate", f"of shape {tuple(rate.shape)}", f"a number or of shape ({n},)")
        inside = rate.device.type != "cpu" or bool(((rate >= 0) & (rate <= 1)).all())
        require(inside, "rate", "outside in some step", "from 0 to 1")
        rates = rate.unbind()
    else:
        require_in("rate", rate, "[0, 1]")
        rates = (rate,) * n
    require_in("start", start, "(-inf, inf)")
    prediction = torch.full_like(observations[..., 0], start)
    predictions = []
    for seen, step in zip(observations.unbind(-1), rates):
        predictions.append(prediction)  # the test comes first
        prediction = prediction + step * (seen - prediction)
    return torch.stack(predictions, -1)


def tracking_error(
    rate: Number | Float[Tensor, "*shape"], drift_variance: Number, noise_variance: Number = 1.0
) -> float | Float[Tensor, "*shape"]:
    """Expected squared distance of prediction and mean after many steps: (q + a^2 r) / (a (2 - a)).

    It is what stays as it is under V <- (1 - a)^2 V + q + a^2 r: the tracker lags behind, q / (a (2 - a)), and follows the
    noise, a r / (2 - a). The expected squared error on the next observation is r more.

    Args:
        rate: a in (0, 1].
        drift_variance, noise_variance: q and r.

    Raises:
        TypeError, ValueError: a number out of range.
    """
    if isinstance(rate, Tensor):
        require_floating("rate", rate)
        inside = rate.device.type != "cpu" or bool(((rate > 0) & (rate <= 1)).all())
        require(inside, "rate", "outside in some place", "in (0, 1]")
    else:
        require_in("rate", rate, "(0, 1]")
    _require_variances(drift_variance, noise_variance)
    return (drift_variance + rate * rate * noise_variance) / (rate * (2 - rate))


def best_rate(drift_variance: Number, noise_variance: Number = 1.0) -> float:
    """The rate of the smallest tracking error, the steady gain of a Kalman filter: (sqrt(s^2 + 4 s) - s) / 2 with s = q / r.

    Raises:
        TypeError, ValueError: variances that are not positive numbers (without drift, no constant rate is best; without
            noise, it is 1).
    """
    require_in("drift_variance", drift_variance, "(0, inf)")
    require_in("noise_variance", noise_variance, "(0, inf)")
    ratio = drift_variance / noise_variance
    return 2 / (1 + math.sqrt(1 + 4 / ratio))  # the same, without the difference of near numbers


def regret(
    observations: Float[Tensor, "*runs n"], predictions: Float[Tensor, "*runs n"], changes: Sequence[int] = ()
) -> Float[Tensor, "*runs"]:
    """Sum of squared errors, minus that of the best constant in hindsight, or of the best one for each segment.

    Args:
        observations, predictions: in the order of time along the last axis; each prediction made before its observation.
        changes: where each segment but the first begins, rising; () compares with one constant for all. With changes the
            regret is never smaller than without, and without it may be negative.

    Raises:
        TypeError, ValueError: streams of different shapes, or changes that do not rise from 1 to n - 1.
    """
    require_floating("observations", observations)
    require_floating("predictions", predictions)
    shape = tuple(observations.shape)
    rows = observations.ndim >= 1 and observations.shape[-1] > 0
    require(rows, "observations", f"of shape {shape}", "of shape (..., n) with n >= 1")
    require(
        predictions.shape == observations.shape,
        "predictions",
        f"of shape {tuple(predictions.shape)}",
        f"of shape {shape} like observations",
    )
    ends = [0, *changes, shape[-1]]
    rising = all(isinstance(end, int) for end in ends) and all(low < high for low, high in pairwise(ends))
    require(rising, "changes", repr(tuple(changes)), f"whole numbers that rise from 1 to {shape[-1] - 1}")
    suffered = (observations - predictions).square().sum(-1)
    parts = [observations[..., low:high] for low, high in pairwise(ends)]
    return suffered - sum((part - part.mean(-1, keepdim=True)).square().sum(-1) for part in parts)


def _require_variances(drift_variance: Number, noise_variance: Number) -> None:
    require_in("drift_variance", drift_variance, "[0, inf)")
    require_in("noise_variance", noise_variance, "[0, inf)")
