"""The live widget of error against compute on a stream of tasks: the learners at each budget, with the search counted or not, and the frontier."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import traitlets
from jaxtyping import Float
from torch import Tensor

from companion.foundations.validation import require, require_in
from companion.teaching.widgets.base import (
    Widget,
    as_numbers,
    double_bytes,
    require_label,
    require_list,
    require_one,
    require_shares,
    require_shown,
    require_words,
)

MOST_LEARNERS, MOST_POINTS, MOST_PARTS, MOST_SEEDS = 14, 8, 4, 10  # beyond, there is no room; at most 36 kB of errors
LONGEST_NAME, LONGEST_BUDGET = 40, 12
NEEDED = ("budget", "errors", "training", "search")


class LiveFrontier(Widget):
    """The widget that `live_frontier` makes."""

    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    parts = traitlets.List(traitlets.Unicode()).tag(sync=True)
    budgets = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    training = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    search = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    seeds = traitlets.Int().tag(sync=True)
    errors = traitlets.Bytes().tag(sync=True)
    reference_index = traitlets.Int().tag(sync=True)
    shown = traitlets.List(traitlets.Int()).tag(sync=True)
    counted = traitlets.Bool().tag(sync=True)


def live_frontier(
    points: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    title: str,
    alt: str,
    note: str = "",
    shown: Sequence[str] | None = None,
    reference: str | None = None,
    counted: bool = False,
) -> LiveFrontier:
    """Error against operations for several learners at several budgets, and the frontier of those on show.

    A point is a learner at a budget. It is on the frontier if no other point on show is as good in both, error and
    operations, and better in one. The operations are those of the whole stream, whatever part of it the errors are of:
    of training alone, or of training and of the search for a start. Points beyond the reader's limit take no part. The
    list below has each learner at the one of its points within the limit that has the lowest error.

    Args:
        points: 1 to 14 learners, by their names of at most 40 characters. Each is a list of 1 to 8 mappings, one for
            each budget, with

            - "budget": a text of at most 12 characters, such as "60" or "4 x 15"; no two of a learner are equal;
            - "errors": for each part of the stream, by its name, the mean error of each seed, from 0 to 1: 1 to 10
              numbers, a tensor, an array or a list. There are 1 to 4 parts, named in at most 40 characters; all points
              have the same ones, and as many seeds;
            - "training": operations of training on the whole stream, above 0;
            - "search": operations of the search for a start on the whole stream, 0 for who does not search.

            Other entries are not looked at.
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        shown: the learners on show at the start; all when None.
        reference: the learner that the others are compared with, on show or not; the first when None.
        counted: whether the search is counted at the start.

    Raises:
        TypeError: a mapping, sequence, name or number that is none, a `counted` that is neither True nor False, or a
            title, alt or note that is no text.
        ValueError: too many or too few of something, an entry that is missing, parts or seeds that differ, errors
            outside [0, 1], operations out of range, an unknown name, or an empty title or alt.
    """
    require_words(title, alt)
    require(isinstance(note, str), "note", repr(note), "a text", TypeError)
    require(isinstance(counted, bool), "counted", repr(counted), "True or False", TypeError)
    names, parts, errors = _require_points(points)
    reference = names[0] if reference is None else reference
    require_one("reference", reference, names)
    shown = names if shown is None else require_shown(shown, names)
    each = list(points.values())
    return LiveFrontier(
        kind="frontier", title=title, alt=alt, note=note, names=names, parts=parts, counted=counted,
        budgets=[[point["budget"] for point in own] for own in each],
        training=[[float(point["training"]) for point in own] for own in each],
        search=[[float(point["search"]) for point in own] for own in each],
        seeds=errors.shape[2], errors=double_bytes(errors), reference_index=names.index(reference),
        shown=[k for k, name in enumerate(names) if name in shown],
    )  # fmt: skip


def _require_points(points: object) -> tuple[list[str], list[str], Float[Tensor, "points parts seeds"]]:
    """The names of the learners and of the parts, and all errors; raise unless they can be shown beside each other."""
    require(
        isinstance(points, Mapping),
        "points",
        f"a {type(points).__name__}",
        "a mapping from names to lists of mappings",
        TypeError,
    )
    fits = 1 <= len(points) <= MOST_LEARNERS
    require(fits, "points", f"of {len(points)} learners", f"of 1 to {MOST_LEARNERS} learners")
    parts: list[str] | None = None
    tables: list[Float[Tensor, "parts seeds"]] = []
    for name, own in points.items():
        require_label("each name of points", name, LONGEST_NAME)
        argument = f"points[{name!r}]"
        require_list(argument, own, "mappings")
        require(1 <= len(own) <= MOST_POINTS, argument, f"{len(own)} mappings", f"1 to {MOST_POINTS} mappings")
        for place, point in enumerate(own):
            inner = f"{argument}[{place}]"
            _require_point(inner, point)
            parts = _require_parts(f"{inner}['errors']", point["errors"]) if parts is None else parts
            tables.append(_require_errors(f"{inner}['errors']", point["errors"], parts, tables))
        budgets = [point["budget"] for point in own]
        require(len(set(budgets)) == len(budgets), argument, f"of budgets {budgets}", "of budgets that differ")
    return list(points), parts or [], torch.stack(tables)


def _require_point(argument: str, point: object) -> None:
    """Raise unless a point has a budget, operations, and a mapping of errors."""
    require(isinstance(point, Mapping), argument, f"a {type(point).__name__}", "a mapping", TypeError)
    missing = [key for key in NEEDED if key not in point]
    require(not missing, argument, f"without {' and '.join(missing)}", f"a mapping with {', '.join(NEEDED)}")
    require_label(f"{argument}['budget']", point["budget"], LONGEST_BUDGET)
    require_in(f"{argument}['training']", point["training"], "(0, inf)")
    require_in(f"{argument}['search']", point["search"], "[0, inf)")
    errors, allowed = point["errors"], "a mapping from parts of the stream to the errors of the seeds"
    require(isinstance(errors, Mapping), f"{argument}['errors']", f"a {type(errors).__name__}", allowed, TypeError)


def _require_parts(argument: str, errors: Mapping) -> list[str]:
    """The parts of the stream, which the first point names; raise if there are none or too many."""
    require(1 <= len(errors) <= MOST_PARTS, argument, f"of {len(errors)} parts", f"of 1 to {MOST_PARTS} parts")
    for part in errors:
        require_label(f"each part of {argument}", part, LONGEST_NAME)
    return list(errors)


def _require_errors(
    argument: str, errors: Mapping, parts: list[str], before: list[Float[Tensor, "parts seeds"]]
) -> Float[Tensor, "parts seeds"]:
    """The errors of a point; raise unless they are shares, of the parts and as many seeds as the points before have."""
    require(
        errors.keys() == set(parts), argument, f"of the parts {list(errors)}", f"of the parts {parts}, as the first"
    )
    rows = [_require_row(f"{argument}[{part!r}]", errors[part]) for part in parts]
    seeds = before[0].shape[1] if before else len(rows[0])
    for part, row in zip(parts, rows):
        require(len(row) == seeds, f"{argument}[{part!r}]", f"of {len(row)} seeds", f"of {seeds} seeds, as the first")
    return torch.stack(rows)


def _require_row(argument: str, values: object) -> Float[Tensor, " seeds"]:
    """The errors of the seeds in double precision on the CPU; raise unless they are 1 to 10 shares."""
    wanted = "numbers, one for each seed: a tensor, an array or a list"
    row = as_numbers(argument, values, "row", wanted, real="real numbers, one for each seed")
    fits = row.ndim == 1 and 1 <= len(row) <= MOST_SEEDS
    require(fits, argument, f"of shape {tuple(row.shape)}", f"of shape (seeds,), 1 to {MOST_SEEDS} seeds")
    require_shares(argument, row, "errors")
    return row
