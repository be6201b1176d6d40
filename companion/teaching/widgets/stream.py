"""The live widget of a stream of labelled points: a Kalman filter over a last layer classifies each before it learns it."""

from typing import NamedTuple

import torch
import traitlets
from jaxtyping import Bool, Float, Int
from torch import Tensor

from companion.data.streams import Stream
from companion.foundations.online import centred_one_hot
from companion.foundations.validation import (
    Number,
    require,
    require_count,
    require_floating,
    require_in,
    require_labels,
)
from companion.methods.kalman import KalmanHead, average_log_softmax
from companion.teaching.widgets.base import Widget, double_bytes, require_choices, require_words

MOST_STREAMS, MOST_ROWS, MOST_SIDE, MOST_DRAWS, MOST_CHOICES = 4, 1000, 8, 32, 12  # beyond, a control would be slow
MOST_CLASSES = 4  # that have a colour
GAMMAS = (0.9, 0.97, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 1.0)
GAMMA_RATES = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)


class LiveStream(Widget):
    """The widget that `live_stream` makes."""

    streams = traitlets.List(traitlets.Dict()).tag(sync=True)
    rows = traitlets.Int().tag(sync=True)
    noise = traitlets.Bytes().tag(sync=True)
    classes = traitlets.Int().tag(sync=True)
    half_width = traitlets.Float().tag(sync=True)
    side = traitlets.Int().tag(sync=True)
    width = traitlets.Float().tag(sync=True)
    weight_variance = traitlets.Float().tag(sync=True)
    noise_variance = traitlets.Float().tag(sync=True)
    alpha = traitlets.Float().tag(sync=True)
    alpha_rate = traitlets.Float().tag(sync=True)
    gamma_rates = traitlets.List(traitlets.Float()).tag(sync=True)
    gamma_rates_index = traitlets.Int().tag(sync=True)
    gammas = traitlets.List(traitlets.Float()).tag(sync=True)
    gammas_index = traitlets.Int().tag(sync=True)
    learned = traitlets.Bool().tag(sync=True)


def live_stream(
    streams: dict[str, Stream],
    noise: Tensor,
    *,
    title: str,
    alt: str,
    note: str = "",
    half_width: Number = 3.0,
    side: int = 6,
    width: Number | None = None,
    weight_variance: Number = 1.0,
    noise_variance: Number = 0.1,
    alpha: Number = 5.0,
    alpha_rate: Number = 1e-2,
    gamma_rate: Number = 1e-4,
    gamma_rates: tuple[Number, ...] = GAMMA_RATES,
    gamma: Number = 0.99,
    gammas: tuple[Number, ...] = GAMMAS,
    learned: bool = True,
) -> LiveStream:
    """Labelled points that come one by one, each classified before it is learned: play them, and change how fast is forgotten.

    The features are Gaussian bumps on an even grid and a one (`plane_bumps`); what learns is `methods.kalman.KalmanHead`,
    with gamma learned from 1 on, or fixed by hand. The plane shows the class probabilities for the next point. Beside it
    lie the memory 1 / (1 - gamma), and the log-loss of the last rows for the learned gamma, for gamma = 1, and for the
    constant of `gammas` that turns out best over all rows. `stream_path` is what the browser computes.

    Args:
        streams: one to four with their names, of the same length, 2 to 1,000 rows: points in the plane (n, 2), labels from 0.
        noise: (s, K) standard normal draws of the Monte Carlo softmax, the same at every row; s up to 32, K from 2 to 4.
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        half_width: of the square that is shown and covered with bumps.
        side, width: bumps along each side, 2 to 8, and their standard deviation; None for the distance between two.
        weight_variance, noise_variance: of the filter.
        alpha, alpha_rate: scale of the softmax at the start, and the rate at which it is learned.
        gamma_rate: of the learned gamma at the start, one of `gamma_rates`.
        gamma_rates: of the slider.
        gamma: of the gamma by hand at the start, one of `gammas`.
        gammas: of the slider, and of the best constant; in (0, 1].
        learned: whether it starts with gamma learned.

    Raises:
        TypeError: streams or noise of another type, a number that is none, or a title or alt that is no text.
        ValueError: shapes that do not fit, values that are not finite, too many or too few of something, a rate or a gamma
            that is not among its choices, a number out of range, or an empty title, alt or name.
    """
    require_words(title, alt)
    require_floating("noise", noise)
    fits = noise.ndim == 2 and 1 <= noise.shape[0] <= MOST_DRAWS and 2 <= noise.shape[1] <= MOST_CLASSES
    wanted = f"of shape (s, K) with s from 1 to {MOST_DRAWS} and K from 2 to {MOST_CLASSES}"
    require(fits, "noise", f"of shape {tuple(noise.shape)}", wanted)
    require(bool(noise.isfinite().all()), "noise", "not finite in some place", "finite numbers")
    require(
        isinstance(streams, dict), "streams", f"a {type(streams).__name__}", "a dict of names and streams", TypeError
    )
    require(1 <= len(streams) <= MOST_STREAMS, "streams", f"{len(streams)} of them", f"1 to {MOST_STREAMS} of them")
    for name, stream in streams.items():
        _require_stream(name, stream, noise.shape[1])
    lengths = sorted({len(stream.labels) for stream in streams.values()})
    require(len(lengths) == 1, "streams", f"of {' and '.join(map(str, lengths))} rows", "of the same length")
    require(2 <= lengths[0] <= MOST_ROWS, "streams", f"of {lengths[0]} rows", f"of 2 to {MOST_ROWS}")
    width = _width(half_width, side, width)
    numbers = {"weight_variance": weight_variance, "noise_variance": noise_variance, "alpha": alpha}
    for name, value in numbers.items():
        require_in(name, value, "(0, inf)")
    require_in("alpha_rate", alpha_rate, "[0, inf)")
    choices = {"gamma_rate": (gamma_rate, gamma_rates, "(0, inf)"), "gamma": (gamma, gammas, "(0, 1]")}
    for name, (start, among, interval) in choices.items():
        require_choices(name, start, among, interval, MOST_CHOICES)
    require(isinstance(learned, bool), "learned", repr(learned), "True or False", TypeError)
    return LiveStream(
        kind="stream", title=title, alt=alt, note=note, rows=lengths[0], noise=double_bytes(noise), classes=noise.shape[1],
        streams=[
            {
                "name": name, "points": double_bytes(stream.features), "labels": bytes(stream.labels.tolist()),
                "changes": list(stream.changes),
            }
            for name, stream in streams.items()
        ],
        half_width=float(half_width), side=side, width=width, weight_variance=float(weight_variance),
        noise_variance=float(noise_variance), alpha=float(alpha), alpha_rate=float(alpha_rate),
        gamma_rates=[float(choice) for choice in gamma_rates], gamma_rates_index=gamma_rates.index(gamma_rate),
        gammas=[float(choice) for choice in gammas], gammas_index=gammas.index(gamma), learned=learned,
    )  # fmt: skip


def plane_bumps(
    points: Float[Tensor, "*batch 2"], *, half_width: Number = 3.0, side: int = 6, width: Number | None = None
) -> Float[Tensor, "*batch features"]:
    """Gaussian bumps `exp(-|x - centre|^2 / 2 width^2)`, side x side centres evenly over a square around 0, then a one.

    Args:
        points: (..., 2).
        half_width: of the square; the outer centres lie on its edge.
        side: centres along each side, 2 to 8.
        width: standard deviation; the distance between two centres when None.

    Raises:
        TypeError, ValueError: points of another shape or type, or a number out of range.
    """
    require_floating("points", points)
    require(points.shape[-1:] == (2,), "points", f"of shape {tuple(points.shape)}", "points in the plane, (..., 2)")
    width = _width(half_width, side, width)
    along = torch.linspace(-half_width, half_width, side, dtype=points.dtype, device=points.device)
    centres = torch.cartesian_prod(along, along)
    away = (points[..., None, :] - centres) / width
    return torch.cat([torch.exp(-0.5 * away.square().sum(-1)), torch.ones_like(points[..., :1])], dim=-1)


class StreamPath(NamedTuple):
    """Of each row: its log-probability and whether it was predicted, delta and alpha after it; the mean after all."""

    log_prob: Float[Tensor, " n"]
    correct: Bool[Tensor, " n"]
    delta: Float[Tensor, " n"]
    alpha: Float[Tensor, " n"]
    mean: Float[Tensor, "m K"]


def stream_path(
    features: Float[Tensor, "n m"],
    labels: Int[Tensor, " n"],
    noise: Float[Tensor, "s K"],
    *,
    num_classes: int,
    gamma: Number = 1.0,
    learn: bool = False,
    gamma_rate: Number = 1e-4,
    alpha: Number = 5.0,
    alpha_rate: Number = 1e-2,
    weight_variance: Number = 1.0,
    noise_variance: Number = 0.1,
) -> StreamPath:
    """A `KalmanHead` taken through a stream row by row, test then train, every row scored with the same draws.

    Raises:
        TypeError, ValueError: as `KalmanHead` and its calls.
    """
    head = KalmanHead(
        features.shape[1], num_classes, weight_variance, noise_variance, gamma, learn,
        gamma_rate=gamma_rate, alpha=alpha, alpha_rate=alpha_rate, dtype=features.dtype,
    )  # fmt: skip
    targets = centred_one_hot(labels, num_classes, features.dtype)
    found = []
    for row, label, target in zip(features, labels, targets):
        mean, variance = head.predict(row[None])
        (log_probabilities,) = average_log_softmax(mean, variance, head.log_alpha.exp(), noise[:, None])
        head.adapt(log_probabilities[label, None])
        head.update(row[None], target[None])
        correct = log_probabilities.detach().argmax() == label
        found.append((log_probabilities[label].detach(), correct, head.delta.detach().clone(), head.alpha))
    return StreamPath(*map(torch.stack, zip(*found)), head.mean.clone())


def _require_stream(name: str, stream: Stream, classes: int) -> None:
    require(isinstance(name, str), "a stream's name", repr(name), "a text", TypeError)
    require(bool(name.strip()), "a stream's name", "empty", "a text")
    argument = f"streams[{name!r}]"
    require(
        isinstance(stream, Stream), argument, f"a {type(stream).__name__}", "a companion.data.streams.Stream", TypeError
    )
    points, labels, changes = stream
    require_floating(f"{argument}.features", points)
    plane = points.ndim == 2 and points.shape[1] == 2
    require(plane, f"{argument}.features", f"of shape {tuple(points.shape)}", "points in the plane, (n, 2)")
    require(bool(points.isfinite().all()), f"{argument}.features", "not finite in some place", "finite numbers")
    require_labels(f"{argument}.labels", labels, len(points), classes)
    for change in changes:
        require_count(f"each of {argument}.changes", change, 0)


def _width(half_width: Number, side: int, width: Number | None) -> float:
    """The bumps' width, checked with what it depends on."""
    require_in("half_width", half_width, "(0, inf)")
    require_count("side", side, 2)
    require(side <= MOST_SIDE, "side", side, f"at most {MOST_SIDE}")
    if width is None:
        return 2 * half_width / (side - 1)
    require_in("width", width, "(0, inf)")
    return float(width)
