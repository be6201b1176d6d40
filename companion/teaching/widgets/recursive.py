"""The live widget of a last layer that is solved batch by batch: proximal strength, batch size and forgetting."""

import torch
import traitlets
from jaxtyping import Float
from torch import Tensor

from companion.foundations.linear import RecursiveLeastSquares
from companion.foundations.validation import Number, require, require_count, require_floating, require_in
from companion.teaching.widgets.base import MOST_BYTES, Widget, double_bytes, require_ends, require_words

MOST_STEPS, MOST_BATCH, MOST_BUMPS = 100, 64, 32  # beyond, a moving slider would wait for its numbers
STRENGTHS = (*(float(f"{digit}e{power}") for power in range(-5, 4) for digit in (1, 3)), 1e4)


class LiveFunction(Widget):
    """What a widget carries that learns a function on Gaussian bumps step by step: points, the truth and the bumps."""

    x = traitlets.Bytes().tag(sync=True)
    y = traitlets.Bytes().tag(sync=True)
    truth = traitlets.Bytes().tag(sync=True)
    steps = traitlets.Int().tag(sync=True)
    grid = traitlets.Int().tag(sync=True)
    interval = traitlets.List(traitlets.Float()).tag(sync=True)
    bumps = traitlets.Int().tag(sync=True)
    width = traitlets.Float().tag(sync=True)


class LiveRecursive(LiveFunction):
    """The widget that `live_recursive` makes."""

    most = traitlets.Int().tag(sync=True)
    batch_size = traitlets.Int().tag(sync=True)
    strengths = traitlets.List(traitlets.Float()).tag(sync=True)
    strengths_index = traitlets.Int().tag(sync=True)
    forgets = traitlets.Bool().tag(sync=True)
    forgetting = traitlets.Float().tag(sync=True)


def live_recursive(
    x: Tensor,
    y: Tensor,
    truth: Tensor,
    *,
    title: str,
    alt: str,
    note: str = "",
    interval: tuple[Number, Number] = (0.0, 1.0),
    bumps: int = 20,
    width: Number | None = None,
    batch_size: int | None = None,
    strength: Number = 0.1,
    strengths: tuple[Number, ...] = STRENGTHS,
    forgetting: Number | None = None,
) -> LiveRecursive:
    """A last layer on fixed features that takes one batch after the other: scrub through the steps, change how it learns.

    The features are Gaussian bumps and a column of ones, the solve is `foundations.linear.RecursiveLeastSquares` from W = 0
    with the penalty b lambda for a batch of b points. Beside the fit lie that of each batch alone (ridge towards 0, the
    same penalty, nothing remembered) and that of all points so far (no forgetting); below, the mean error of the later half
    of the steps at every strength, or at every forgetting where that has a slider. `recursive_weights` is what the browser
    computes.

    Args:
        x, y: the batches (steps, most), 2 to 100 steps of 1 to 64 points; the reader chooses how many of a step's
            points are used, from the first on.
        truth: the function without noise on an even grid over `interval`, ends included: (grid,) where it stays the
            same, (steps, grid) where it drifts.
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        interval: where x may lie.
        bumps, width: how many, 2 to 32, and their standard deviation; None for the distance between two.
        batch_size: at the start; None for all points of a step.
        strength: lambda at the start, one of `strengths`.
        strengths: of the slider, in this order; at least 1e-8, so that float64 can solve.
        forgetting: None for a proximal step (0, and no slider); else what its slider starts from, in [0, 1].

    Raises:
        TypeError: batches or a truth that are no floating tensors, a number that is none, or a title or alt that is no
            text.
        ValueError: shapes that do not fit, values that are not finite or outside the interval, a strength that is not
            among the choices, a number out of range, more than 0.7 MB in all, or an empty title or alt.
    """
    require_words(title, alt)
    require_floating("x", x)
    came = f"of shape {tuple(x.shape)}"
    require(x.ndim == 2, "x", came, "of shape (steps, most)")
    steps, most = x.shape
    fits = 2 <= steps <= MOST_STEPS and 1 <= most <= MOST_BATCH
    require(fits, "x", came, f"of 2 to {MOST_STEPS} steps with 1 to {MOST_BATCH} points each")
    function = function_traits(x, y, truth, interval, bumps, width)
    batch_size = most if batch_size is None else batch_size
    require_count("batch_size", batch_size, 1)
    require(batch_size <= most, "batch_size", batch_size, f"at most {most}, the points of a step")
    for choice in strengths:
        require_in("each of strengths", choice, "[1e-8, inf)")
    require(strength in strengths, "strength", strength, f"one of {tuple(strengths)}")
    if forgetting is not None:
        require_in("forgetting", forgetting, "[0, 1]")
    return LiveRecursive(
        kind="recursive", title=title, alt=alt, note=note, **function, most=most, batch_size=batch_size,
        strengths=[float(choice) for choice in strengths], strengths_index=strengths.index(strength),
        forgets=forgetting is not None, forgetting=float(forgetting or 0),
    )  # fmt: skip


def function_traits(
    x: Tensor, y: Tensor, truth: Tensor, interval: tuple[Number, Number], bumps: int, width: Number | None
) -> dict:
    """The traits of a `LiveFunction`, all checked but for the shape of `x`, whose first axis are the steps.

    Raises:
        TypeError, ValueError: as `live_recursive`.
    """
    for name, values in {"x": x, "y": y, "truth": truth}.items():
        require_floating(name, values)
        require(bool(values.isfinite().all()), name, "not finite in some place", "finite numbers")
    require(y.shape == x.shape, "y", f"of shape {tuple(y.shape)}", f"of shape {tuple(x.shape)} like x")
    rows = truth.ndim == 1 or (truth.ndim == 2 and len(truth) == len(x))
    wanted = f"of shape (grid,) or ({len(x)}, grid) with a grid of at least 2"
    require(rows and truth.shape[-1] >= 2, "truth", f"of shape {tuple(truth.shape)}", wanted)
    width = _width(interval, bumps, width)
    low, high = interval
    inside = bool(((x >= low) & (x <= high)).all())
    require(inside, "x", "outside the interval in some place", f"from {low} to {high}")
    carried = 8 * (x.numel() + y.numel() + truth.numel())
    require(carried <= MOST_BYTES, "x, y and truth", f"{carried} bytes", f"at most {MOST_BYTES}: a coarser grid")
    packed = {name: double_bytes(values) for name, values in {"x": x, "y": y, "truth": truth}.items()}
    ends = [float(low), float(high)]
    return {**packed, "steps": len(x), "grid": truth.shape[-1], "interval": ends, "bumps": bumps, "width": width}


def bump_features(
    x: Float[Tensor, "*batch"],
    *,
    interval: tuple[Number, Number] = (0.0, 1.0),
    bumps: int = 20,
    width: Number | None = None,
) -> Float[Tensor, "*batch features"]:
    """Gaussian bumps `exp(-(x - centre)^2 / 2 width^2)` with even centres over the interval, then a column of ones.

    Raises:
        TypeError: a number that is none.
        ValueError: an interval that does not rise, fewer than 2 bumps or more than 32, or a width that is not positive.
    """
    width = _width(interval, bumps, width)
    centres = torch.linspace(interval[0], interval[1], bumps, dtype=x.dtype, device=x.device)
    away = (x[..., None] - centres) / width
    return torch.cat([torch.exp(-0.5 * away.square()), torch.ones_like(x[..., None])], dim=-1)


def recursive_weights(
    features: Float[Tensor, "steps most p"],
    targets: Float[Tensor, "steps most"],
    *,
    batch_size: int,
    strength: Number,
    forgetting: Number = 0.0,
) -> Float[Tensor, "states p"]:
    """W before the first and after each batch of `RecursiveLeastSquares`, from W = 0 with the penalty b lambda.

    Raises:
        TypeError, ValueError, torch.linalg.LinAlgError: as `RecursiveLeastSquares`.
    """
    memory = RecursiveLeastSquares(features.new_zeros(features.shape[-1], 1), batch_size * strength, forgetting)
    states = [memory.weights.clone()]
    for rows, values in zip(features[:, :batch_size], targets[:, :batch_size, None]):
        memory.update(rows, values)
        states.append(memory.weights.clone())
    return torch.stack(states)[..., 0]


def _width(interval: tuple[Number, Number], bumps: int, width: Number | None) -> float:
    """The bumps' width, checked with what it depends on."""
    require_ends("interval", interval)
    low, high = interval
    require_count("bumps", bumps, 2)
    require(bumps <= MOST_BUMPS, "bumps", bumps, f"at most {MOST_BUMPS}")
    if width is None:
        return (high - low) / (bumps - 1)
    require_in("width", width, "(0, inf)")
    return float(width)
