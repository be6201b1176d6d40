"""The live widget of a loss with one backbone parameter: its valley, and the descents with and without a solved last layer."""

import torch
import traitlets
from jaxtyping import Float
from torch import Tensor

from companion.foundations.linear import ridge as ridge_regression
from companion.foundations.validation import Number, require, require_count, require_floating, require_in
from companion.teaching.widgets.base import Widget, double_bytes, require_ends, require_words

MOST_POINTS = 400
MOST_STEPS = 300  # more would not be seen one by one in the seconds that a play takes
PLACES = 400  # of the slider of theta


class LiveValley(Widget):
    """The widget that `live_valley` makes."""

    x = traitlets.Bytes().tag(sync=True)
    y = traitlets.Bytes().tag(sync=True)
    ridge = traitlets.Float().tag(sync=True)
    thetas = traitlets.List(traitlets.Float()).tag(sync=True)
    theta_index = traitlets.Int().tag(sync=True)
    places = traitlets.Int().tag(sync=True)
    weights = traitlets.List(traitlets.Float()).tag(sync=True)
    weight = traitlets.Float().tag(sync=True)
    rates = traitlets.List(traitlets.Float()).tag(sync=True)
    rates_index = traitlets.Int().tag(sync=True)
    steps = traitlets.Int().tag(sync=True)


def live_valley(
    x: Tensor,
    y: Tensor,
    *,
    title: str,
    alt: str,
    note: str = "",
    ridge: Number = 0.0,
    theta: Number = 1.0,
    weight: Number = 0.0,
    learning_rate: Number = 0.2,
    learning_rates: tuple[Number, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
    steps: int = 100,
    thetas: tuple[Number, Number] = (0.0, 8.0),
    weights: tuple[Number, Number] = (-1.5, 1.5),
) -> LiveValley:
    """The loss of `w cos(theta x)` over (theta, w): drag theta and see w solved again; let two descents run from there.

    The loss is `mean (y - w cos(theta x))^2 / 2 + ridge/2 w^2`; its valley is the w that is best for each theta. The joint
    descent moves theta and w by their gradients, from `weight`; closed form moves theta by the envelope gradient and
    solves for w. `valley_paths` is what the browser computes.

    Args:
        x, y: the data (n,), 2 to 400 points.
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        ridge: not negative.
        theta: of the slider at the start, in `thetas`; moved to the slider's nearest place.
        weight: where the joint descent's w starts, whatever theta; in `weights`.
        learning_rate: of both descents at the start, one of `learning_rates`.
        learning_rates: of the slider.
        steps: of both descents, 10 to 300.
        thetas, weights: the window, each with a lower and an upper end.

    Raises:
        TypeError: data that are no floating tensors, a number that is none, or a title or alt that is no text.
        ValueError: data not finite or not as many x as y, too few or too many of them, a learning rate not among the
            choices, a number out of range, ends that do not rise, or an empty title or alt.
    """
    require_words(title, alt)
    for name, values in {"x": x, "y": y}.items():
        require_floating(name, values)
        require(values.ndim == 1, name, f"of shape {tuple(values.shape)}", "of shape (n,)")
        require(bool(values.isfinite().all()), name, "not finite in some place", "finite numbers")
    require(len(x) == len(y), "y", f"{len(y)} numbers", f"{len(x)}, one for each of x")
    require(2 <= len(x) <= MOST_POINTS, "x", f"{len(x)} points", f"2 to {MOST_POINTS}")
    require_in("ridge", ridge, "[0, inf)")
    for name, ends in {"thetas": thetas, "weights": weights}.items():
        require_ends(name, ends)
    require_in("theta", theta, f"[{thetas[0]}, {thetas[1]}]")
    require_in("weight", weight, f"[{weights[0]}, {weights[1]}]")
    for rate in learning_rates:
        require_in("each of learning_rates", rate, "(0, inf)")
    require(learning_rate in learning_rates, "learning_rate", learning_rate, f"one of {tuple(learning_rates)}")
    require_count("steps", steps, 10)
    require(steps <= MOST_STEPS, "steps", steps, f"at most {MOST_STEPS}")
    return LiveValley(
        kind="valley", title=title, alt=alt, note=note, x=double_bytes(x), y=double_bytes(y), ridge=float(ridge),
        thetas=[float(end) for end in thetas], places=PLACES,
        theta_index=round(PLACES * (theta - thetas[0]) / (thetas[1] - thetas[0])),
        weights=[float(end) for end in weights], weight=float(weight), rates=[float(rate) for rate in learning_rates],
        rates_index=learning_rates.index(learning_rate), steps=steps,
    )  # fmt: skip


def valley_paths(
    x: Float[Tensor, " n"],
    y: Float[Tensor, " n"],
    *,
    theta: Number,
    weight: Number = 0.0,
    learning_rate: Number = 0.2,
    steps: int = 100,
    ridge: Number = 0.0,
) -> tuple[Float[Tensor, "points 2"], Float[Tensor, "points 2"]]:
    """The (theta, w) of joint descent and of closed form, at the start and after each step, in float64.

    Both start at `theta`, the first with w at `weight`, the second with w solved. The gradients are torch's own.

    Raises:
        TypeError: data that are no floating tensors, or a ridge that is no number.
        ValueError: not as many x as y, or a negative ridge.
        torch.linalg.LinAlgError: without ridge, a theta at which all features are 0.
    """
    x, y = x.double(), y.double()

    def loss(theta: Tensor, w: Tensor) -> Tensor:
        return 0.5 * (y - w * torch.cos(theta * x)).square().mean() + 0.5 * ridge * w**2

    def solve(theta: Tensor) -> Tensor:
        return ridge_regression(torch.cos(theta * x)[:, None], y[:, None], len(x) * ridge).squeeze()

    def slopes(*point: Tensor) -> Tensor:
        point = [coordinate.clone().requires_grad_() for coordinate in point]
        return torch.stack(torch.autograd.grad(loss(*point), point))

    joint = torch.tensor([theta, weight], dtype=torch.float64)
    closed = joint[0]  # theta alone, for w is solved
    paths = [joint], [torch.stack([closed, solve(closed)])]
    for _ in range(steps):
        joint = joint - learning_rate * slopes(*joint)
        closed = closed - learning_rate * slopes(closed, solve(closed))[0]  # the envelope gradient
        paths[0].append(joint)
        paths[1].append(torch.stack([closed, solve(closed)]))
    return torch.stack(paths[0]), torch.stack(paths[1])
