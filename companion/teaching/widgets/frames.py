"""`explore`: a figure that answers to sliders, with a kernel and without one."""

import inspect
import io
import itertools
import math
import os
from collections.abc import Callable

import traitlets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from companion.foundations.validation import Number, require
from companion.teaching.widgets.base import MOST_BYTES, Choice, Slider, Widget

MOST_FRAMES = 40
DOTS_PER_INCH = 110
STORE_ALL = "COMPANION_FRAMES"  # set to "all" where nobody will be there to ask for the missing frames


class Explore(Widget):
    """The widget that `explore` makes.

    Attributes:
        controls: for each slider its label, values, texts and default, in the order of the grid.
        frames: WebP pictures in row-major order of the grid; empty where not drawn yet.
        size: of a picture, in pixels.
    """

    controls = traitlets.List().tag(sync=True)
    frames = traitlets.List(traitlets.Bytes()).tag(sync=True)
    size = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, draw: Callable[..., Figure], sliders: dict[str, Slider | Choice], **texts: str) -> None:
        self._draw, self._sliders = draw, sliders
        controls = [slider.describe(name) for name, slider in sliders.items()]
        places = [range(len(control["values"])) for control in controls]
        total = math.prod(len(axis) for axis in places)
        allowed = f"at most {MOST_FRAMES}: fewer steps or sliders, or a live widget"
        require(total <= MOST_FRAMES, "sliders", f"a grid of {total} frames", allowed)
        default = tuple(control["index"] for control in controls)
        needed = {default, tuple(axis[0] for axis in places), tuple(axis[-1] for axis in places)}
        everywhere = os.environ.get(STORE_ALL) == "all"
        frames = [self._frame(place) if everywhere or place in needed else b"" for place in itertools.product(*places)]
        weight = sum(map(len, frames)) * total / sum(map(bool, frames))
        allowed = f"at most {MOST_BYTES}: fewer frames, or fewer marks in each"
        require(weight <= MOST_BYTES, "frames", f"about {weight:.0f} bytes", allowed)
        size = list(Image.open(io.BytesIO(next(filter(None, frames)))).size)
        super().__init__(kind="frames", controls=controls, frames=frames, size=size, **texts)
        self.on_msg(self._answer)

    def _frame(self, positions: tuple[Number, ...]) -> bytes:
        values = {name: slider.value_at(at) for (name, slider), at in zip(self._sliders.items(), positions)}
        figure = self._draw(**values)
        require(
            isinstance(figure, Figure), "draw", f"returning a {type(figure).__name__}", "returning a Figure", TypeError
        )
        return picture(figure)

    def _answer(self, _: object, message: dict, __: object) -> None:
        """Reply to the front end; a draw that fails says so in the widget, where its reader is."""
        if message["type"] == "hello":
            self.send({"type": "alive"})
            return
        shape = [len(control["values"]) for control in self.controls]
        filling = message["type"] == "fill"
        positions = _unravel(message["place"], shape) if filling else message["positions"]
        stored = all(float(at).is_integer() for at in positions)
        place = _ravel([int(at) for at in positions], shape) if stored else None
        try:
            frame = self._frame(tuple(positions))
        except Exception as error:
            self.send({"type": "error", "text": f"{type(error).__name__}: {error}"})
            return
        self.send({"type": "frame", "place": place, "positions": None if filling else positions}, [frame])


def explore(
    draw: Callable[..., Figure],
    *,
    title: str | None = None,
    alt: str | None = None,
    note: str = "",
    **sliders: Slider | Choice,
) -> Explore:
    """A figure with sliders.

    Executed for the book or a test (`COMPANION_FRAMES=all`) it draws every frame of the grid at once; in a
    live session the ends and the default, and the rest when they are asked for or nobody moves anything. An
    exception in `draw` fails the cell.

    Args:
        draw: called with one value for each slider; returns a matplotlib Figure.
        title: above the sliders; from the function's name when None.
        alt: what to look for, for who cannot see it; the first line of draw's docstring when None.
        note: below the figure.
        sliders: a `Slider` or `Choice` for each argument of `draw`.

    Raises:
        TypeError: `draw` does not return a Figure, or a slider is neither.
        ValueError: no slider, a slider that draw does not take, too many frames, or too many bytes.

    >>> def line(slope):
    ...     "A line through the origin."
    ...     figure = Figure(figsize=(2, 2))
    ...     figure.subplots().plot([0, 1], [0, slope])
    ...     return figure
    >>> widget = explore(line, slope=Slider(-1, 1, steps=3))
    >>> len(widget.frames), widget.alt
    (3, 'A line through the origin.')
    """
    require(len(sliders) > 0, "sliders", "none", "at least one Slider or Choice")
    for name, slider in sliders.items():
        require(
            isinstance(slider, Slider | Choice), name, f"a {type(slider).__name__}", "a Slider or a Choice", TypeError
        )
    try:
        inspect.signature(draw).bind(**sliders)
    except TypeError as error:
        raise ValueError(f"sliders are {', '.join(sliders)}, but must be the arguments of draw ({error}).") from None
    name = getattr(draw, "__name__", "figure").strip("_").replace("_", " ")
    described = (inspect.getdoc(draw) or f"A figure of {name} that answers to {', '.join(sliders)}.").splitlines()[0]
    return Explore(draw, sliders, title=title or name.capitalize(), alt=alt or described, note=note)


def picture(figure: Figure) -> bytes:
    """A figure as WebP with a transparent background."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(DOTS_PER_INCH)
    canvas.draw()
    buffer = io.BytesIO()
    Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).save(buffer, "WEBP", quality=80, method=3)
    return buffer.getvalue()


def _ravel(places: list[int], shape: list[int]) -> int:
    total = 0
    for place, length in zip(places, shape):
        total = total * length + place
    return total


def _unravel(place: int, shape: list[int]) -> list[int]:
    places = []
    for length in reversed(shape):
        place, at = divmod(place, length)
        places.append(at)
    return places[::-1]
