"""The live widget of a Kalman filter with fixed forgetting, on a function of one variable that drifts."""

import torch
import traitlets
from jaxtyping import Float
from torch import Tensor

from companion.foundations.validation import Number, require, require_count, require_floating, require_in
from companion.methods.kalman import KalmanHead
from companion.teaching.widgets.base import require_choices, require_rising, require_words
from companion.teaching.widgets.recursive import LiveFunction, function_traits

MOST_STEPS, MOST_GRID, MOST_GAMMAS = 400, 201, 25  # beyond, a moving slider would wait for its numbers
GAMMAS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999, 1.0)


class LiveForgetting(LiveFunction):
    """The widget that `live_forgetting` makes."""

    step = traitlets.Int().tag(sync=True)
    gammas = traitlets.List(traitlets.Float()).tag(sync=True)
    gammas_index = traitlets.Int().tag(sync=True)
    weight_variance = traitlets.Float().tag(sync=True)
    noise_variance = traitlets.Float().tag(sync=True)


def live_forgetting(
    x: Tensor,
    y: Tensor,
    truth: Tensor,
    *,
    title: str,
    alt: str,
    note: str = "",
    interval: tuple[Number, Number] = (0.0, 1.0),
    bumps: int = 16,
    width: Number | None = None,
    gamma: Number = 0.999,
    gammas: tuple[Number, ...] = GAMMAS,
    weight_variance: Number = 1.0,
    noise_variance: Number = 0.1,
    step: int | None = None,
) -> LiveForgetting:
    """A Kalman filter that takes one point after the other: set by hand how much it keeps, and scrub through the steps.

    The features are Gaussian bumps and a column of ones, the filter is `methods.kalman.KalmanHead` from its prior. Beside
    the belief about the function lie its error and the standard deviation that the filter believes, both root mean squares
    over the interval; where the second is below the first, the filter is overconfident. Below, the mean log-density that
    each point had before it was absorbed, at every gamma, without the first quarter of the points. `forgetting_path` is
    what the browser computes.

    Args:
        x, y: the stream (steps,), 2 to 400 points, one a step.
        truth: the function without noise on an even grid of at most 201 places over `interval`, ends included: (grid,)
            where it stays the same, (steps, grid) where it drifts.
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        interval: where x may lie.
        bumps, width: how many, 2 to 32, and their standard deviation; None for the distance between two.
        gamma: at the start, one of `gammas`.
        gammas: of the slider, 2 to 25 that rise, in [0, 1].
        weight_variance: of the prior, at most 1e4.
        noise_variance: of y, at least 1e-4.
        step: on show at the start; None for the last.

    Raises:
        TypeError: a stream or a truth that is no floating tensor, a number that is none, or a title or alt that is no
            text.
        ValueError: shapes that do not fit, values that are not finite or outside the interval, a gamma that is not among
            the choices, a number out of range, more than 0.7 MB in all, or an empty title or alt.
    """
    require_words(title, alt)
    require_floating("x", x)
    fits = x.ndim == 1 and 2 <= len(x) <= MOST_STEPS
    require(fits, "x", f"of shape {tuple(x.shape)}", f"of shape (steps,) with 2 to {MOST_STEPS} steps")
    function = function_traits(x, y, truth, interval, bumps, width)
    came = f"of shape {tuple(truth.shape)}"
    require(truth.shape[-1] <= MOST_GRID, "truth", came, f"one with a grid of 2 to {MOST_GRID}")
    require_choices("gamma", gamma, gammas, "[0, 1]", MOST_GAMMAS)
    require_rising("gammas", gammas)
    require_in("weight_variance", weight_variance, "(0, 1e4]")
    require_in("noise_variance", noise_variance, "[1e-4, inf)")
    steps = len(x)
    step = steps if step is None else step
    require_count("step", step, 0)
    require(step <= steps, "step", step, f"at most {steps}, the points of the stream")
    return LiveForgetting(
        kind="forgetting", title=title, alt=alt, note=note, **function, step=step,
        gammas=[float(choice) for choice in gammas], gammas_index=gammas.index(gamma),
        weight_variance=float(weight_variance), noise_variance=float(noise_variance),
    )  # fmt: skip


@torch.no_grad()
def forgetting_path(
    features: Float[Tensor, "steps p"],
    targets: Float[Tensor, " steps"],
    *,
    gamma: Number,
    weight_variance: Number = 1.0,
    noise_variance: Number = 0.1,
) -> tuple[Float[Tensor, "states p"], Float[Tensor, "states p p"], Float[Tensor, " steps"]]:
    """The belief of `KalmanHead` before the first and after each point, and the log-density of each point before it.

    Returns the means of the weights, their covariances and the log-densities, in float64.

    Raises:
        TypeError, ValueError: as `KalmanHead`, or not one target for each row.
    """
    require_floating("features", features)
    require_floating("targets", targets)
    fits = targets.shape == features.shape[:1]
    require(fits, "targets", f"of shape {tuple(targets.shape)}", f"of shape ({len(features)},), one for each row")
    head = KalmanHead(features.shape[-1], 1, weight_variance, noise_variance, gamma)
    means, covariances, log_densities = [head.mean[:, 0].clone()], [head.covariance.clone()], []
    for row, target in zip(features[:, None], targets[:, None, None]):
        log_densities.append(head.log_density(row, target))  # test, by the belief as it drifts by now
        head.update(row, target)  # then train
        means.append(head.mean[:, 0].clone())
        covariances.append(head.covariance.clone())
    return torch.stack(means), torch.stack(covariances), torch.cat(log_densities)
