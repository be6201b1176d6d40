"""Rows whose law changes in time: at once, slowly, not at all, or as it happened at three airports.

>>> stream = moving_classes(600, "abrupt", generator=torch.Generator().manual_seed(0))
>>> stream.features.shape, stream.changes
(torch.Size([600, 2]), (150, 300, 450))
>>> turning = digit_stream(1000, "slow", generator=torch.Generator().manual_seed(0))
>>> turning.features.shape, len(turning.labels.unique())
(torch.Size([1000, 1, 8, 8]), 10)
>>> len(flights().labels)
41066
"""

import math
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from companion.data.images import _all_digits
from companion.foundations.validation import Number, require, require_count, require_in

FILES = Path(__file__).parent.parent / "files"
Drift: TypeAlias = Literal["abrupt", "slow", "none"]
DRIFTS = ("abrupt", "slow", "none")


class Stream(NamedTuple):
    """features (n, ...) in the order of time, labels (n,), and the rows from which on another law holds."""

    features: Float[Tensor, "n ..."]
    labels: Int[Tensor, " n"]
    changes: tuple[int, ...] = ()


def moving_classes(
    n: int,
    drift: Drift = "abrupt",
    *,
    segment: int = 150,
    turns: Number = 1.0,
    num_classes: int = 3,
    std: Number = 0.55,
    generator: torch.Generator | None = None,
) -> Stream:
    """Points in the plane, from Gaussian classes whose centres stand evenly on a circle of radius 1.5.

    Args:
        n: rows.
        drift: "abrupt": every `segment` rows the classes change places, each to another place; "slow": the circle turns
            evenly; "none": nothing moves.
        segment: rows between two abrupt changes.
        turns: of the circle over all rows, when slow.
        num_classes: K, at least 2.
        std: of each class.
        generator: of all draws; the rows lie on its device.

    Raises:
        TypeError, ValueError: a number out of range, or an unknown drift.
    """
    _require_stream(n, drift, segment, turns)
    require_count("num_classes", num_classes, 2)
    require_in("std", std, "(0, inf)")
    device = "cpu" if generator is None else generator.device
    places = torch.randint(num_classes, (n,), generator=generator, device=device)
    angle = 2 * math.pi * places / num_classes
    if drift == "slow":
        angle = angle + 2 * math.pi * turns * torch.arange(n, device=device) / n
    centres = 1.5 * torch.stack([angle.cos(), angle.sin()], dim=1)
    points = centres + std * torch.randn(n, 2, generator=generator, device=device)
    labels, changes = _relabelled(places, drift, segment, num_classes, generator)
    return Stream(points, labels, changes)


def digit_stream(
    n: int,
    drift: Drift = "abrupt",
    *,
    segment: int = 300,
    turns: Number = 1.0,
    generator: torch.Generator | None = None,
) -> Stream:
    """Handwritten digits (n, 1, 8, 8) in [-1, 1], drawn with replacement from all 1,797 of scikit-learn's `load_digits`.

    Args:
        n: rows.
        drift: "abrupt": every `segment` rows the digits get other names, by a permutation that leaves none in place;
            "slow": the images turn evenly; "none": nothing changes.
        segment, turns, generator: as `moving_classes`.

    Raises:
        TypeError, ValueError: a number out of range, or an unknown drift.
    """
    _require_stream(n, drift, segment, turns)
    images, labels = _all_digits()
    device = "cpu" if generator is None else generator.device
    index = torch.randint(len(images), (n,), generator=generator, device=device)
    images, labels = images.to(device)[index], labels.to(device)[index]
    if drift == "slow":
        images = _turned(images, 2 * math.pi * turns * torch.arange(n, device=device) / n)
    labels, changes = _relabelled(labels, drift, segment, 10, generator)
    return Stream(images, labels, changes)


@cache
def flights() -> Stream:
    """41,066 departures from New York in 2013, in the order of their scheduled time: late by more than 15 minutes (1) or not.

    Every 8th flight that did depart, from the file that `scripts/build_data.py` makes; see `LICENSES.md` beside it. A row
    holds what is known before departure: hour of the day as two waves, day of the week as two waves, distance, temperature,
    wind, visibility and rain at the airport, each standardised over the first 2,000 rows, then ones for the airport and the
    carrier. Weather that is missing is at its mean.
    """
    columns = _flight_columns()
    hour, day = (
        2 * math.pi * columns[name].double() / period for name, period in {"minute": 1440, "weekday": 7}.items()
    )
    numbers = torch.stack(
        [hour.sin(), hour.cos(), day.sin(), day.cos()]
        + [columns[name].double() for name in ("distance", "temperature", "wind", "visibility", "rain")],
        dim=1,
    )
    seen = numbers[:2000]
    mean, std = seen.nanmean(0), (seen - seen.nanmean(0)).square().nanmean(0).sqrt()
    numbers = ((numbers - mean) / std).nan_to_num(0).clamp(-4, 4)
    sorts = [torch.nn.functional.one_hot(columns[name].long()).double() for name in ("airport", "carrier")]
    return Stream(torch.cat([numbers, *sorts], dim=1).float(), columns["late"].long())


def flight_days() -> Int[Tensor, " n"]:
    """The day of 2013 of each row of `flights()`, counted from 1."""
    return _flight_columns()["day"].long()


@cache
def _flight_columns() -> dict[str, Tensor]:
    with np.load(FILES / "flights_2013.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def _require_stream(n: int, drift: str, segment: int, turns: Number) -> None:
    require_count("n", n, 1)
    require(drift in DRIFTS, "drift", repr(drift), " or ".join(map(repr, DRIFTS)))
    require_count("segment", segment, 1)
    require_in("turns", turns, "(-inf, inf)")


def _relabelled(
    labels: Tensor, drift: str, segment: int, num_classes: int, generator: torch.Generator | None
) -> tuple[Tensor, tuple[int, ...]]:
    """Labels under a permutation that is composed with another derangement from each change on; where the changes are."""
    if drift != "abrupt":
        return labels, ()
    changes = tuple(range(segment, len(labels), segment))
    names, found = torch.arange(num_classes, device=labels.device), [labels[:segment]]
    for start in changes:
        names = names[_derangement(num_classes, generator)]
        found.append(names[labels[start : start + segment]])
    return torch.cat(found), changes


def _derangement(n: int, generator: torch.Generator | None) -> Tensor:
    """A permutation of n without a fixed point: a cycle through all places in random order."""
    device = "cpu" if generator is None else generator.device
    order = torch.randperm(n, generator=generator, device=device)
    moved = torch.empty_like(order)
    moved[order] = order.roll(1)
    return moved


def _turned(images: Float[Tensor, "n 1 h w"], angle: Float[Tensor, " n"]) -> Float[Tensor, "n 1 h w"]:
    """Each image turned by its angle in radians, around its middle; the corners that come in are black (-1)."""
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    affine = torch.stack([torch.stack([cosine, -sine, zero], 1), torch.stack([sine, cosine, zero], 1)], 1)
    grid = torch.nn.functional.affine_grid(affine, list(images.shape), align_corners=False)
    return torch.nn.functional.grid_sample(images + 1, grid, align_corners=False) - 1
