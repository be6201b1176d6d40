"""The live widget of how probable a batch is after a drift, for a classifier with two weights."""

import math

import torch
import traitlets
from jaxtyping import Float
from torch import Tensor

from companion.foundations.validation import Number, require, require_count, require_floating, require_in
from companion.teaching.widgets.base import Widget, double_bytes, require_words

FEWEST_POINTS, MOST_POINTS = 12, 24
DRAWS = 64  # of the belief
DRIFT_LRS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
PLACES = 100  # of the curve, and of the slider of s between 0 and 1
NARROWEST = 0.1
FLIPS_PLACES = 20  # of the slider of wrong labels between 0 and 1
MOST_FLIPS = 0.5  # share of wrong labels: beyond, the task is the opposite one
LONGEST = 10.0  # weights: beyond, a wrong label is so improbable that no other can be seen


class LiveEvidence(Widget):
    """The widget that `live_evidence` makes."""

    points = traitlets.Bytes().tag(sync=True)
    uniforms = traitlets.Bytes().tag(sync=True)
    noise = traitlets.Bytes().tag(sync=True)
    weights = traitlets.List(traitlets.Float()).tag(sync=True)
    most = traitlets.Int().tag(sync=True)
    rows = traitlets.Int().tag(sync=True)
    angle = traitlets.Int().tag(sync=True)
    places = traitlets.Int().tag(sync=True)
    flips_places = traitlets.Int().tag(sync=True)
    flips_index = traitlets.Int().tag(sync=True)
    most_flips_index = traitlets.Int().tag(sync=True)
    scale_index = traitlets.Int().tag(sync=True)
    least_scale_index = traitlets.Int().tag(sync=True)
    drift_lrs = traitlets.List(traitlets.Float()).tag(sync=True)
    drift_lrs_index = traitlets.Int().tag(sync=True)


def live_evidence(
    points: Tensor,
    uniforms: Tensor | None = None,
    *,
    title: str,
    alt: str,
    note: str = "",
    weights: tuple[Number, Number] = (2.6, 1.5),
    angle: int = 60,
    flips: Number = 0.0,
    rows: int | None = None,
    posterior_scale: Number = 0.5,
    drift_lr: Number = 0.01,
    drift_lrs: tuple[Number, ...] = DRIFT_LRS,
    seed: int = 0,
) -> LiveEvidence:
    """How probable the labels of a batch are after a drift by gamma, and what one gradient step on gamma makes of it.

    A logistic classifier with two weights and no bias has learned a task whose labels are the sides of a line. The reader
    turns the task: the labels of the batch are the sides of a line at that angle, some of them wrong. To the left lie the
    batch, the line of the network and those of draws of its belief, N(weights, s^2 I), before and after the drift; to the
    right J(gamma), the log-probability of the labels after a drift towards N(0, I), by 64 even draws, with its slope at 1, where
    `SoftReset` starts, and what one step of it reaches. `turned_labels` and `evidence_curve` are what the browser computes.

    Args:
        points: the batch (n, 2), 12 to 24 rows; the reader chooses how many are used, from the first on.
        uniforms: (n,) numbers in [0, 1]; a label is wrong where its number is below the share of wrong labels. None for
            evenly spread ones, so that each place of that slider gives another label.
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        weights: of the classifier; not both 0, of a length up to 10.
        angle: of the new task against the old, in degrees, a multiple of 5 from 0 to 180.
        flips: share of wrong labels, 0 to 0.5, moved to the nearest twentieth.
        rows: of the batch, 1 to n; None for all.
        posterior_scale: s, the belief's width over that of the start, from 0.1 to 1, moved to the nearest hundredth.
        drift_lr: of the step on gamma, one of `drift_lrs`.
        drift_lrs: of the slider, in this order.
        seed: of the draws, and of the order of the uniform numbers where none are given.

    Raises:
        TypeError: points or uniforms that are no floating tensors, weights that are no pair, a number that is none, or a
            title or alt that is no text.
        ValueError: shapes that do not fit, values that are not finite or out of range, a drift_lr that is not among the
            choices, or an empty title or alt.
    """
    require_words(title, alt)
    require_floating("points", points)
    fits = points.ndim == 2 and FEWEST_POINTS <= len(points) <= MOST_POINTS and points.shape[1] == 2
    wanted = f"of shape (n, 2) with {FEWEST_POINTS} to {MOST_POINTS} rows"
    require(fits, "points", f"of shape {tuple(points.shape)}", wanted)
    require(bool(points.isfinite().all()), "points", "not finite in some place", "finite numbers")
    require(bool((points != 0).any()), "points", "0 everywhere", "points of which some are not 0")
    require_count("seed", seed, 0)
    if uniforms is None:
        order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))
        uniforms = (order.double() + 0.5) / len(points)
    _require_uniforms(points, uniforms)
    _require_weights(weights)
    require_count("angle", angle, 0)
    require(angle <= 180 and angle % 5 == 0, "angle", angle, "a multiple of 5 from 0 to 180")
    require_in("flips", flips, f"[0, {MOST_FLIPS}]")
    rows = len(points) if rows is None else rows
    require_count("rows", rows, 1)
    require(rows <= len(points), "rows", rows, f"at most {len(points)}, the points of the batch")
    require_in("posterior_scale", posterior_scale, f"[{NARROWEST}, 1]")
    listed = isinstance(drift_lrs, tuple | list) and len(drift_lrs) >= 2
    require(listed, "drift_lrs", repr(drift_lrs), "a tuple of at least two numbers", TypeError)
    for choice in drift_lrs:
        require_in("each of drift_lrs", choice, "(0, inf)")
    require(drift_lr in drift_lrs, "drift_lr", drift_lr, f"one of {tuple(drift_lrs)}")
    return LiveEvidence(
        kind="evidence", title=title, alt=alt, note=note, points=double_bytes(points), uniforms=double_bytes(uniforms),
        noise=double_bytes(evidence_noise(seed)), weights=[float(number) for number in weights], most=len(points),
        rows=rows, angle=angle, places=PLACES, flips_places=FLIPS_PLACES, flips_index=round(FLIPS_PLACES * flips),
        most_flips_index=round(FLIPS_PLACES * MOST_FLIPS), scale_index=round(PLACES * posterior_scale),
        least_scale_index=round(PLACES * NARROWEST), drift_lrs=[float(choice) for choice in drift_lrs],
        drift_lrs_index=drift_lrs.index(drift_lr),
    )  # fmt: skip


def evidence_noise(seed: int = 0) -> Float[Tensor, "draws 2"]:
    """The widget's draws of the belief: standard normal, spread evenly (Sobol), each with its opposite, so that few do."""
    even = torch.quasirandom.SobolEngine(2, scramble=True, seed=seed).draw(DRAWS // 2, dtype=torch.float64)
    half = torch.special.ndtri(even.clamp(1e-9, 1 - 1e-9))
    return torch.cat([half, -half])


def turned_labels(
    points: Float[Tensor, "n 2"],
    uniforms: Float[Tensor, " n"],
    *,
    weights: tuple[Number, Number],
    angle: Number,
    flips: Number = 0.0,
) -> Float[Tensor, " n"]:
    """Labels 1 and -1: on which side of the task's line each point lies, the opposite where its uniform number is below
    `flips`. The task points along the weights, turned anticlockwise by `angle` degrees; a point on the line gets 1.

    Raises:
        TypeError, ValueError: not one uniform number in [0, 1] for each point, weights that are no pair or both 0, or a
            number that is none or out of range.
    """
    require_floating("points", points)
    _require_uniforms(points, uniforms)
    _require_weights(weights)
    require_in("angle", angle, "(-inf, inf)")
    require_in("flips", flips, "[0, 1]")
    direction = math.atan2(weights[1], weights[0]) + math.radians(angle)
    side = points[:, 0] * math.cos(direction) + points[:, 1] * math.sin(direction)
    one = torch.ones_like(side)
    return torch.where(side >= 0, one, -one) * torch.where(uniforms < flips, -one, one)


@torch.no_grad()
def evidence_curve(
    points: Float[Tensor, "n 2"],
    labels: Float[Tensor, " n"],
    noise: Float[Tensor, "draws 2"],
    gammas: Float[Tensor, " gammas"],
    *,
    weights: tuple[Number, Number],
    posterior_scale: Number,
) -> tuple[Float[Tensor, " gammas"], Float[Tensor, " gammas"]]:
    """J(gamma), the log-probability of a batch's labels after a drift by gamma, and dJ/dgamma.

        p(y | x, theta) = 1 / (1 + exp(-y theta . x))
        theta' = gamma weights + sqrt(gamma^2 s^2 + 1 - gamma^2) eps,  J = log mean over eps of prod_i p(y_i | x_i, theta')

    that is `SoftReset.log_evidence` of this model with the start N(0, I).

    Args:
        points, labels: the batch; labels are 1 or -1.
        noise: the draws of eps.
        gammas: in [0, 1].
        weights: of the classifier.
        posterior_scale: s, in (0, 1].

    Raises:
        TypeError, ValueError: tensors that are not floating, labels that are not 1 or -1, gammas outside [0, 1], or a
            number that is none or out of range.
    """
    for name, values in {"points": points, "labels": labels, "noise": noise, "gammas": gammas}.items():
        require_floating(name, values)
    require(bool((labels.abs() == 1).all()), "labels", "another number in some row", "1 or -1")
    require(bool(((gammas >= 0) & (gammas <= 1)).all()), "gammas", "outside in some place", "in [0, 1]")
    _require_weights(weights)
    require_in("posterior_scale", posterior_scale, "(0, 1]")
    mean = points.new_tensor(weights)
    gamma = gammas[:, None, None]
    width = (gamma.square() * posterior_scale**2 + 1 - gamma.square()).sqrt()
    theta = gamma * mean + width * noise  # (gammas, draws, 2)
    change = mean + gamma * (posterior_scale**2 - 1) / width * noise  # d theta' / d gamma
    margins = labels * (theta @ points.T)
    log_probs = torch.nn.functional.logsigmoid(margins).sum(-1)
    gradients = (labels * (-margins).sigmoid()) @ points  # of each draw's log-probability in theta'
    slopes = (gradients * change).sum(-1)
    return log_probs.logsumexp(-1) - math.log(len(noise)), (log_probs.softmax(-1) * slopes).sum(-1)


def _require_uniforms(points: Tensor, uniforms: object) -> None:
    require_floating("uniforms", uniforms)
    fits = uniforms.shape == points.shape[:1]
    require(fits, "uniforms", f"of shape {tuple(uniforms.shape)}", f"of shape ({len(points)},), one for each point")
    require(bool(((uniforms >= 0) & (uniforms <= 1)).all()), "uniforms", "outside in some row", "in [0, 1]")


def _require_weights(weights: object) -> None:
    two = isinstance(weights, tuple | list) and len(weights) == 2
    require(two, "weights", repr(weights), "a pair of numbers", TypeError)
    for number in weights:
        require_in("each of weights", number, "(-inf, inf)")
    length = math.hypot(*weights)
    require(0 < length <= LONGEST, "weights", f"of length {length:.3g}", f"of a length above 0, up to {LONGEST:g}")
