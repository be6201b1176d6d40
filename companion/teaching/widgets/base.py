"""The front end's text, the traits that all widgets have, and the controls of `explore`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import anywidget
import numpy as np
import torch
import traitlets

from companion.foundations.mixtures import GaussianMixture
from companion.foundations.validation import Number, require, require_count, require_in

FRONT = Path(__file__).parent / "front"
MOST_BYTES = 700_000  # of one widget: a page carries several
STYLES = (
    "style.css",
    "guidance.css",
    "witness.css",
    "last_layer.css",
    "kalman.css",
    "soft_reset.css",
    "dynamic_evaluation.css",
    "pruning.css",
    "nevis_wall.css",
    "nevis_frontier.css",
    "nevis_transfers.css",
)
SCRIPTS = (
    "interface.js", "numerics.js", "frames.js", "particles.js", "live.js", "speculation.js", "guidance.js", "witness.js",
    "axes.js", "valley.js", "recursive.js", "kalman.js", "forgetting.js", "stream.js",
    "drift.js", "evidence.js", "plasticity.js", "attention.js", "reader.js", "reading.js",
    "curves.js", "filters.js", "pruned.js", "wall.js", "frontier.js", "transfers.js", "render.js",
)  # fmt: skip


def front_end() -> str:
    """The one module that renders every widget: the styles as one string, then the scripts in order."""
    styles, scripts = ("\n".join((FRONT / name).read_text() for name in names) for names in (STYLES, SCRIPTS))
    return f"const CSS = {json.dumps(styles)};\n{scripts}"


class Widget(anywidget.AnyWidget):
    """What every widget of the suite carries: its kind, a title, a text for who cannot see it, and a note."""

    _esm = front_end()
    kind = traitlets.Unicode().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title!r})"


@dataclass(frozen=True)
class Slider:
    """Numbers from `low` to `high`, stored at `steps` places; between them a kernel draws the exact figure.

    Args:
        low, high: the ends, low < high.
        default: where it starts, moved to the nearest place; the middle when None.
        steps: stored places, at least 2.
        logarithmic: places at equal ratios; both ends positive.
        label: shown; the argument's name when None.

    Raises:
        ValueError: the ends do not rise, fewer than 2 steps, or a logarithmic slider that reaches 0.
    """

    low: Number
    high: Number
    default: Number | None = None
    steps: int = 11
    logarithmic: bool = False
    label: str | None = None

    def __post_init__(self) -> None:
        require(self.low < self.high, "(low, high)", (self.low, self.high), "rising")
        require_count("steps", self.steps, 2)
        require(not self.logarithmic or self.low > 0, "low", self.low, "positive on a logarithmic slider")
        inside = self.default is None or self.low <= self.default <= self.high
        require(inside, "default", self.default, f"from {self.low} to {self.high}")

    @property
    def values(self) -> list[float]:
        space = np.geomspace if self.logarithmic else np.linspace
        return space(self.low, self.high, self.steps).tolist()

    @property
    def index(self) -> int:
        wanted = self.values[self.steps // 2] if self.default is None else self.default
        return int(np.argmin(np.abs(np.array(self.values) - wanted)))

    def value_at(self, position: Number) -> float:
        """The number at a place of the grid, or between two."""
        values = self.values
        low, high = values[int(np.floor(position))], values[int(np.ceil(position))]
        part = position - np.floor(position)
        return float(low * (high / low) ** part if self.logarithmic else low + part * (high - low))

    def describe(self, name: str) -> dict:
        texts = [f"{value:.3g}" for value in self.values]
        return {
            "kind": "range",
            "label": self.label or name,
            "values": self.values,
            "texts": texts,
            "index": self.index,
            "continuous": True,
            "logarithmic": self.logarithmic,
        }


@dataclass(frozen=True)
class Choice:
    """A few values: a slider over them when they are numbers, a drop-down list otherwise.

    Args:
        options: at least two.
        default: one of them; the first when None.
        label: shown; the argument's name when None.

    Raises:
        ValueError: fewer than two options, or a default that is not among them.
    """

    options: Sequence
    default: object = None
    label: str | None = None

    def __post_init__(self) -> None:
        require(len(self.options) >= 2, "options", list(self.options), "at least two values")
        known = self.default is None or self.default in self.options
        require(known, "default", repr(self.default), f"one of {list(self.options)}")

    @property
    def values(self) -> list:
        return list(self.options)

    @property
    def index(self) -> int:
        return 0 if self.default is None else self.values.index(self.default)

    def value_at(self, position: Number) -> object:
        """The option at a place."""
        return self.values[round(position)]

    def describe(self, name: str) -> dict:
        numeric = all(isinstance(option, int | float) for option in self.options)
        return {
            "kind": "range" if numeric else "select",
            "label": self.label or name,
            "values": self.values,
            "texts": [f"{option:.4g}" if numeric else str(option) for option in self.options],
            "index": self.index,
            "continuous": False,
            "logarithmic": False,
        }


def require_choices(name: str, chosen: object, choices: object, interval: str, most: int) -> None:
    """Raise unless `choices` is a tuple of 2 to `most` numbers in an interval, and `chosen`, an argument `name`, one of them."""
    listed = isinstance(choices, tuple | list)
    require(listed, f"{name}s", repr(choices), "a tuple of numbers", TypeError)
    require(2 <= len(choices) <= most, f"{name}s", f"{len(choices)} numbers", f"2 to {most} numbers")
    for choice in choices:
        require_in(f"each of {name}s", choice, interval)
    require(chosen in choices, name, chosen, f"one of {tuple(choices)}")


def require_rising(name: str, choices: Sequence[Number]) -> None:
    """Raise unless the numbers of an argument rise."""
    rising = all(one < other for one, other in pairwise(choices))
    require(rising, name, tuple(choices), "numbers that rise")


def require_words(title: str, alt: str) -> None:
    """Raise unless both are texts that say something."""
    for name, words in {"title": title, "alt": alt}.items():
        require(isinstance(words, str), name, f"a {type(words).__name__}", "a text", TypeError)
        require(bool(words.strip()), name, "empty", "a text: not every reader sees the picture")


def require_list(argument: str, values: object, of: str) -> None:
    """Raise unless `values` is a tuple or list; `of` says of what, "numbers"."""
    listed = isinstance(values, tuple | list)
    require(listed, argument, f"a {type(values).__name__}", f"a tuple or list of {of}", TypeError)


def require_label(argument: str, text: object, most: int) -> None:
    """Raise unless `text` says something in at most so many characters."""
    require(isinstance(text, str), argument, repr(text), "a text", TypeError)
    fits = len(text.strip()) > 0 and len(text) <= most
    require(fits, argument, repr(text), f"a text of 1 to {most} characters")


def require_one(argument: str, chosen: object, names: Sequence[str]) -> None:
    """Raise unless `chosen` is one of some names."""
    require(isinstance(chosen, str), argument, repr(chosen), "a text", TypeError)
    known = " or ".join(map(repr, names)) if len(names) <= 3 else f"one of the {len(names)} names"
    require(chosen in names, argument, repr(chosen), known)


def require_shown(shown: object, names: Sequence[str]) -> list[str]:
    """The argument `shown` as a list; raise unless it is a tuple or list of some names."""
    require_list("shown", shown, "names")
    for name in shown:
        require_one("each of shown", name, names)
    return list(shown)


def as_numbers(argument: str, values: object, form: str, wanted: str, real: str | None = None) -> torch.Tensor:
    """Values in double precision on the CPU; raise unless they are real numbers in a `form`, "row" or "table".

    `wanted` says what was expected in place of anything else, and `real` in place of complex numbers.
    """
    is_complex = isinstance(values, torch.Tensor) and values.is_complex()
    require(not is_complex, argument, "a complex tensor", real or f"a {form} of real numbers", TypeError)
    try:
        return torch.as_tensor(values, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        came = f"a {type(values).__name__} that is no {form} of numbers"
        raise TypeError(f"{argument} is {came}, but must be {wanted}.") from None


def require_shares(argument: str, values: torch.Tensor, of: str) -> None:
    """Raise unless all values are from 0 to 1; `of` says what they are, "errors"."""
    inside = bool(((values >= 0) & (values <= 1)).all())
    require(inside, argument, "outside [0, 1] or not finite in some place", f"{of} from 0 to 1")


def require_ends(argument: str, ends: object) -> None:
    """Raise unless `ends` is a pair of finite numbers that rises."""
    pair = isinstance(ends, tuple | list) and len(ends) == 2
    require(pair, argument, repr(ends), "a pair (low, high)", TypeError)
    for end in ends:
        require_in(f"each end of {argument}", end, "(-inf, inf)")
    require(ends[0] < ends[1], argument, tuple(ends), "a pair (low, high) that rises")


def as_points(cloud: torch.Tensor, argument: str) -> torch.Tensor:
    """A cloud as float32 on the CPU; raise unless it is (..., 2)."""
    require(torch.is_tensor(cloud), argument, f"a {type(cloud).__name__}", "a torch.Tensor", TypeError)
    require(cloud.shape[-1:] == (2,), argument, f"of shape {tuple(cloud.shape)}", "points in the plane, (..., 2)")
    return cloud.detach().to("cpu", torch.float32)


def plane_mixture(law: object) -> dict[str, list]:
    """A mixture's means, stds and weights for the front end; raise unless it is one in the plane."""
    require(isinstance(law, GaussianMixture), "law", f"a {type(law).__name__}", "a GaussianMixture", TypeError)
    require(law.means.shape[1] == 2, "law", f"in {law.means.shape[1]} dimensions", "in the plane")
    return {name: getattr(law, name).double().tolist() for name in ("means", "stds", "weights")}


def float_bytes(values: torch.Tensor) -> bytes:
    """Little-endian float32, row by row."""
    return values.detach().to("cpu", torch.float32).contiguous().numpy().astype("<f4").tobytes()


def double_bytes(values: torch.Tensor) -> bytes:
    """Little-endian float64, row by row."""
    return values.detach().to("cpu", torch.float64).contiguous().numpy().astype("<f8").tobytes()
