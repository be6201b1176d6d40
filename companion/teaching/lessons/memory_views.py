"""What foundation f4 shows beside its cells: beliefs about two weights, a direction that falls silent, three ways to forget.

Rows are samples and targets come in columns, as in `companion.foundations.linear`. All columns of a stream share the
features, so they share the covariance, and one run of a filter tracks all of them. The prior of a weight is N(0, 1), the
noise variance is `NOISE`.

>>> stream = wandering_stream(40, 4, torch.Generator().manual_seed(0), silence=(10, 30))
>>> track = follow(stream, "exponential", memory=8)
>>> bool(track.covariances[29, 1, 1] > 5 * track.covariances[9, 1, 1])
True
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from companion.foundations.linear import require_rows
from companion.foundations.validation import Number, require, require_count, require_in
from companion.methods.kalman import KalmanHead
from companion.methods.rivals.online import ForgetfulRidge
from companion.teaching import figures

NOISE = 0.25  # variance of a target's noise; the prior variance of a weight is 1
WANDERING = 40  # rows in which a true weight forgets all but 1/e of its variance
AWAY = 5.0  # where the second half of the columns lives, in standard deviations of the prior
WAYS = {"exponential": figures.RIVAL, "with a leak": figures.THIRD, "OU drift": figures.LEARNED}
DASHES = {"with a leak": (0, (3, 2))}  # it lies over the exponential way where the prior hardly counts


class Stream(NamedTuple):
    """Rows in order, and the weights that made them.

    Attributes:
        features: (rows, 2).
        weights: the truth, row by row (rows, 2, k); the second half of the columns lives far from the prior.
        targets: (rows, k).
        silence: from which row to which the second feature is 0; (0, 0) for never.
    """

    features: Float[Tensor, "rows 2"]
    weights: Float[Tensor, "rows 2 k"]
    targets: Float[Tensor, "rows k"]
    silence: tuple[int, int]


class Track(NamedTuple):
    """What a filter believed after each row.

    Attributes:
        means: (rows, 2, k).
        covariances: of each column (rows, 2, 2).
    """

    means: Float[Tensor, "rows 2 k"]
    covariances: Float[Tensor, "rows 2 2"]


def wandering_stream(rows: int, columns: int, generator: torch.Generator, silence: tuple[int, int] = (0, 0)) -> Stream:
    """Rows of two Gaussian features whose true weights wander around a centre with variance 1, by Ornstein-Uhlenbeck steps.

    The centre is 0, as the prior says, for the first half of the columns, and `AWAY` for the second.

    Args:
        rows: how many.
        columns: k, even: targets with weights of their own.
        generator: of everything; in double precision on its device.
        silence: from which row to which the second feature is 0.

    Raises:
        TypeError, ValueError: no rows, an odd number of columns, or a silence that does not fit into the rows.
    """
    require_count("rows", rows, 1)
    require_count("columns", columns, 2)
    require(columns % 2 == 0, "columns", columns, "even")
    start, end = silence
    require(0 <= start <= end <= rows, "silence", silence, f"two rising numbers from 0 to {rows}")
    like = {"generator": generator, "dtype": torch.float64, "device": generator.device}
    features = torch.randn(rows, 2, **like)
    features[start:end, 1] = 0
    kept = 1 - 1 / WANDERING
    weights = [torch.randn(2, columns, **like)]
    for noise in torch.randn(rows - 1, 2, columns, **like):
        weights.append(kept**0.5 * weights[-1] + (1 - kept) ** 0.5 * noise)
    truth = torch.stack(weights)
    truth[:, :, columns // 2 :] += AWAY
    targets = torch.einsum("np,npk->nk", features, truth) + NOISE**0.5 * torch.randn(rows, columns, **like)
    return Stream(features, truth, targets, silence)


def follow(stream: Stream, way: str, memory: Number) -> Track:
    """Filter a stream row by row: forget, then absorb. Each way keeps the share `1 - 1/memory` from row to row.

    Args:
        stream: what comes.
        way: of `WAYS`. "exponential" divides the covariance by the share; "with a leak" is `ForgetfulRidge`, whose prior
            does not fade; "OU drift" is `KalmanHead` with gamma, the root of the share.
        memory: rows, above 1.

    Raises:
        TypeError, ValueError: an unknown way, or a memory out of range.
    """
    require(way in WAYS, "way", repr(way), "one of " + ", ".join(WAYS))
    require_in("memory", memory, "(1, inf)")
    kept, columns, device = 1 - 1 / memory, stream.targets.shape[1], stream.features.device
    ridge = ForgetfulRidge(2, columns, NOISE, kept, device=device)
    gamma = kept**0.5 if way == "OU drift" else 1.0
    head = KalmanHead(2, columns, noise_variance=NOISE, gamma=gamma, device=device)
    means, covariances = [], []
    for row, target in zip(stream.features[:, None], stream.targets[:, None]):
        if way == "with a leak":
            ridge.update(row, target)
            means.append(ridge.memory.weights.clone())
            covariances.append(ridge.memory.information.clone())
            continue
        if way == "exponential":
            head.covariance.div_(kept)
        head.update(row, target)
        means.append(head.mean.clone())
        covariances.append(head.covariance.clone())
    beliefs = torch.stack(covariances)
    return Track(torch.stack(means), NOISE * torch.linalg.inv(beliefs) if way == "with a leak" else beliefs)


def tracking_error(stream: Stream, track: Track, burn_in: int = 20) -> tuple[float, float]:
    """Mean squared distance of the belief's mean from the true weights, after the first rows: (near the prior, far away)."""
    errors = (track.means - stream.weights).square().sum(1)[burn_in:].mean(0)
    near, far = errors.chunk(2)
    return near.mean().item(), far.mean().item()


def doubt_and_error(stream: Stream, track: Track) -> tuple[float, float]:
    """Of the silent weight at the end of the silence: the variance that the filter gives it, and its mean squared error.

    Over the columns near the prior.
    """
    last = stream.silence[1] - 1
    near = stream.targets.shape[1] // 2
    error = (track.means[last, 1, :near] - stream.weights[last, 1, :near]).square().mean().item()
    return track.covariances[last, 1, 1].item(), error


# --- figures ------------------------------------------------------------------------------------------------------


def posterior_figure(
    features: Float[Tensor, "n 2"],
    targets: Float[Tensor, "n 1"],
    truth: Float[Tensor, " 2"],
    counts: Sequence[int] = (0, 1, 2, 30),
) -> Figure:
    """The belief about two weights after the first rows: its ellipse shrinks across the directions that rows asked about.

    Raises:
        TypeError, ValueError: rows that do not fit.
    """
    require_rows(features, targets)
    figure, axes = figures.panels(len(counts), size=(2.2, 2.5))
    for axis, count in zip(axes, counts):
        head = KalmanHead(2, 1, noise_variance=NOISE, device=features.device)
        if count:
            head.update(features[:count], targets[:count])
        _weight_plane(axis, 2.6, f"rows: {count}" if count else "no row yet: the prior")
        if count and count <= 2:
            for row in torch.nn.functional.normalize(features[:count].cpu(), dim=1):
                axis.annotate(
                    "", xy=(1.7 * row).tolist(), xytext=(0, 0), arrowprops={"arrowstyle": "->", "color": figures.INK}
                )
        _ellipse(axis, head.mean[:, 0], head.covariance, figures.LEARNED)
        axis.plot(*truth.cpu(), "o", color=figures.EXACT, markersize=6)
    alt = (
        "A circle, the prior; after one row, whose direction is an arrow, a flat ellipse across the arrow; after two a small "
        "ellipse; after thirty a dot on the true weights."
    )
    return figures.describe(figure, alt)


def added_figure(variances: Float[Tensor, " n"], added: Mapping[str, Float[Tensor, " n"]]) -> Figure:
    """What each way of forgetting adds to a variance, against the variance; the prior's variance is 1."""
    figure, (axis,) = figures.panels(1, size=(6.2, 3.2))
    axis.axhline(0, color=figures.EXACT, linewidth=1)
    axis.axvline(1, color=figures.EXACT, linestyle="--", linewidth=1.5)
    for way, values in added.items():
        axis.plot(variances, values, color=WAYS[way], linestyle=DASHES.get(way, "-"), label=way)
    axis.text(0.98, 1.0, "prior", transform=axis.get_xaxis_transform(), ha="right", va="top", color=figures.INK)
    axis.set(xlabel="variance of a direction, before", ylabel="variance added")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    alt = (
        "Variance added against variance. Exponential: a line that rises from 0 without end. OU drift: a line that falls and "
        "is 0 at the prior. With a leak: a hump, 0 at 0 and at the prior."
    )
    return figures.describe(figure, alt)


def ellipses_figure(stream: Stream, tracks: Mapping[str, Track]) -> Figure:
    """The beliefs of several filters about one column: before, in and at the end of the silence, and ten rows after it."""
    start, end = stream.silence
    later = min(end + 10, len(stream.features))
    moments = {
        "before": start,
        "a quarter in": start + (end - start) // 4,
        "at its end": end,
        "ten rows later": later,
    }
    figure, axes = figures.panels(4, size=(2.2, 3.0))
    for axis, (name, rows) in zip(axes, moments.items()):
        _weight_plane(axis, 3.4, name)
        for way, track in tracks.items():
            _ellipse(
                axis, track.means[rows - 1, :, 0], track.covariances[rows - 1], WAYS[way], DASHES.get(way, "-"), way
            )
        axis.plot(*stream.weights[rows - 1, :, 0].cpu(), "o", color=figures.EXACT, markersize=6, zorder=5)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    alt = (
        "Ellipses about two weights. Before the silence all are small. In it each grows upwards, the silent direction: that "
        "of exponential forgetting leaves the window, that of the OU drift becomes the prior's width. Afterwards all are small."
    )
    return figures.describe(figure, alt)


def silence_figure(stream: Stream, track: Track, way: str) -> Figure:
    """The belief at the end of the silence, and the silent weight row after row with a band of two standard deviations."""
    start, end = stream.silence
    figure, (left, right) = figures.panels(2, size=(3.6, 3.1), width_ratios=(1, 1.6))
    _weight_plane(left, 4, "at the end of the silence")
    _ellipse(left, track.means[end - 1, :, 0], track.covariances[end - 1], WAYS[way])
    left.plot(*stream.weights[end - 1, :, 0].cpu(), "o", color=figures.EXACT, markersize=6)
    rows = range(len(stream.features))
    mean, spread = track.means[:, 1, 0].cpu(), 2 * track.covariances[:, 1, 1].sqrt().cpu()
    right.axvspan(start, end, color=figures.EXACT, alpha=0.15, linewidth=0)
    right.plot(rows, stream.weights[:, 1, 0].cpu(), color=figures.EXACT)
    right.plot(rows, mean, color=WAYS[way])
    right.fill_between(rows, mean - spread, mean + spread, color=WAYS[way], alpha=0.2, linewidth=0)
    right.set(xlabel="row", ylabel="weight 2", ylim=(-5, 5), title="silent where shaded")
    return figure


def tracking_figure(errors: Mapping[str, Mapping[str, Mapping[Number, float]]]) -> Figure:
    """Tracking error against memory, one panel for each world: `errors[world][way][memory]`."""
    figure, axes = figures.panels(len(errors), size=(2.9, 3.5), sharey=True)
    for axis, (world, ways) in zip(axes, errors.items()):
        for way, curve in ways.items():
            line = {"color": WAYS[way], "linestyle": DASHES.get(way, "-")}
            axis.plot(list(curve), list(curve.values()), marker="o", markersize=4, label=way, **line)
        ticks = list(next(iter(ways.values())))
        axis.set(xscale="log", yscale="log", xlabel="memory, rows", title=world)
        axis.set_xticks(ticks, [str(tick) for tick in ticks]), axis.minorticks_off()
        axis.grid(True)
    axes[0].set_ylabel("squared error")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    alt = (
        "Error against memory in three worlds. Where all directions are asked the valleys are about equally deep. With a "
        "silent direction the OU drift's is the deepest; with the truth far from the prior the drift is far above the others."
    )
    return figures.describe(figure, alt)


def _weight_plane(axis: Axes, limit: Number, title: str) -> None:
    axis.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel="weight 1", title=title)
    axis.set(xticks=[0], yticks=[0], ylabel="weight 2")
    axis.title.set_fontsize(11.5)
    _ellipse(axis, torch.zeros(2), torch.eye(2), figures.EXACT, "--", dot=False)


def _ellipse(
    axis: Axes,
    mean: Float[Tensor, " 2"],
    covariance: Float[Tensor, "2 2"],
    colour: str,
    style: str | tuple = "-",
    label: str | None = None,
    dot: bool = True,
) -> None:
    """Two standard deviations around a mean, which is a dot."""
    turn = torch.linspace(0, 2 * torch.pi, 121, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(covariance.double().cpu())
    outline = 2 * vectors @ (values.clamp_min(0).sqrt()[:, None] * torch.stack([turn.cos(), turn.sin()]))
    width = 2 if dot else 1.2
    axis.plot(*(mean.double().cpu()[:, None] + outline), color=colour, label=label, linestyle=style, linewidth=width)
    if dot:
        axis.plot(*mean.cpu(), ".", color=colour)
