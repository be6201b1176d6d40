"""One style for every figure: exact in grey, learned in blue, rival in orange.

The colours are Okabe and Ito's, told apart by readers with any colour vision; backgrounds are
transparent and inks dark, so that a page in dark mode can invert a figure.

>>> figure, axes = panels(2)
>>> scatter(axes[0], torch.zeros(3, 2), LEARNED, title="three points")
"""

import io
from collections.abc import Sequence
from statistics import median

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from companion.foundations.validation import Number

EXACT, LEARNED, RIVAL, THIRD, FOURTH, INK = "#8c8c8c", "#0072b2", "#d55e00", "#009e73", "#aa4499", "#262626"
CYCLE = [LEARNED, RIVAL, THIRD, FOURTH, "#56b4e9", EXACT]

STYLE = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 12.5,
    "axes.titlesize": 13,
    "axes.labelsize": 12.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": matplotlib.cycler(color=CYCLE),
    "lines.linewidth": 2.2,
    "legend.frameon": False,
    "legend.fontsize": 11.5,
    "grid.color": "#b0b0b0",
    "grid.linewidth": 0.6,
    "grid.alpha": 0.5,
}


class Picture(Figure):
    """A figure that shows itself sharply in a notebook, with a text for who cannot see it (`describe`)."""

    alt = "Figure"

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=2 * self.dpi)
        width, height = (round(side * self.dpi) for side in self.get_size_inches())
        data = {"image/png": buffer.getvalue(), "text/plain": self.alt}
        return data, {"image/png": {"width": width, "height": height, "alt": self.alt}, "needs_background": "light"}


def describe(figure: Picture, alt: str) -> Picture:
    """The figure, with `alt`: what to look for, said to who cannot see it."""
    figure.alt = alt
    return figure


def use_style() -> None:
    """Make the style the default of this process."""
    matplotlib.rcParams.update(STYLE)


def panels(
    columns: int, rows: int = 1, size: tuple[Number, Number] = (3.1, 3.1), **subplots
) -> tuple[Picture, Sequence[Axes]]:
    """A figure outside pyplot (nothing to close, nothing shown twice) and its axes, row by row in one list."""
    with matplotlib.rc_context(STYLE):
        figure = Picture(figsize=(size[0] * columns, size[1] * rows))
        axes = figure.subplots(rows, columns, squeeze=False, **subplots)
    return figure, list(axes.flat)


def scatter(
    axes: Axes,
    points: torch.Tensor,
    colour: str = LEARNED,
    size: Number = 5,
    opacity: Number = 0.5,
    limit: Number | None = 3.0,
    title: str | None = None,
    label: str | None = None,
) -> None:
    """Points (n, 2) in a square window of half-width `limit`, without ticks: positions, not numbers, matter."""
    x, y = points.detach().cpu().unbind(1)
    axes.scatter(x, y, s=size, c=colour, alpha=opacity, linewidths=0, label=label)
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)
    if limit is not None:
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
    if title is not None:
        axes.set_title(title)


def image_grid(axes: Axes, images: torch.Tensor, columns: int = 8, title: str | None = None) -> None:
    """Grey images (n, 1, h, w) in [-1, 1] as one sheet, `columns` to a row."""
    images = images[: len(images) // columns * columns, 0].detach().cpu().clamp(-1, 1)
    padded = torch.nn.functional.pad(images, (0, 1, 0, 1), value=float("nan"))
    rows = padded.unflatten(0, (-1, columns)).permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
    axes.imshow(rows[:-1, :-1].numpy(), cmap="Greys", vmin=-1, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if title is not None:
        axes.set_title(title)


def band(axes: Axes, places: Sequence[Number], rows: Sequence[Sequence[float]], colour: str, label: str) -> None:
    """Median over seeds with the range as a band; `rows` holds the values of all seeds at each place."""
    axes.plot(places, [median(values) for values in rows], "o-", markersize=4, color=colour, label=label)
    low, high = [min(values) for values in rows], [max(values) for values in rows]
    axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)


def ring(centre: tuple[Number, Number], radius: Number, colour: str) -> Circle:
    """A circle to add to axes."""
    return Circle(centre, radius, fill=False, edgecolor=colour, linewidth=2)


def against_steps(
    axes: Axes,
    curves: dict[str, dict[int, Sequence[float]]],
    colours: dict[str, str] | None = None,
    floor: Number | None = None,
    ylabel: str = "energy distance to the data",
) -> None:
    """Median over seeds against the number of steps, with the range as a band, both axes logarithmic.

    `curves[name][steps]` holds one value for each seed. A distance estimated at or below 0 is drawn at a
    tenth of the noise floor's height: below the floor nothing can be told apart.
    """
    lowest = 1e-5 if floor is None else floor / 10
    for name, curve in curves.items():
        steps = sorted(curve)
        values = torch.tensor([list(curve[step]) for step in steps], dtype=torch.float64).clamp_min(lowest)
        colour = (colours or {}).get(name)
        (line,) = axes.plot(steps, values.median(1).values, marker="o", markersize=4, label=name, color=colour)
        axes.fill_between(steps, values.amin(1), values.amax(1), color=line.get_color(), alpha=0.15, linewidth=0)
    if floor is not None:
        axes.axhline(floor, color=EXACT, linestyle="--", linewidth=1.5, label="noise floor")
    axes.set(xscale="log", yscale="log", xlabel="sampling steps", ylabel=ylabel)
    ticks = sorted({step for curve in curves.values() for step in curve})
    axes.set_xticks(ticks, [str(step) for step in ticks])
    axes.minorticks_off()
    axes.grid(True)
