"""The live widget of transfers: which earlier task's network each task of a stream started from, as a graph in time."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
import traitlets
from jaxtyping import Float, UInt8
from torch import Tensor

from companion.foundations.validation import require, require_count
from companion.teaching.widgets.base import (
    Widget,
    as_numbers,
    double_bytes,
    require_label,
    require_list,
    require_shares,
    require_words,
)

FEWEST_TASKS, MOST_TASKS, MOST_FAMILIES, MOST_LEARNERS, LARGEST = 2, 160, 10, 6, 32  # beyond, there is no room
LONGEST_NAME, LONGEST_FAMILY, LONGEST_START = 40, 24, 16  # letters
START = "untrained"


class LiveTransfers(Widget):
    """The widget that `live_transfers` makes."""

    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    families = traitlets.List(traitlets.Unicode()).tag(sync=True)
    family_of = traitlets.List(traitlets.Int()).tag(sync=True)
    thumbnails = traitlets.Bytes().tag(sync=True)
    shapes = traitlets.List(traitlets.List(traitlets.Int())).tag(sync=True)
    learners = traitlets.List(traitlets.Unicode()).tag(sync=True)
    starts = traitlets.List(traitlets.Unicode()).tag(sync=True)
    sources = traitlets.List(traitlets.List(traitlets.Int())).tag(sync=True)
    errors = traitlets.Bytes().tag(sync=True)
    references = traitlets.Bytes().tag(sync=True)
    learner_index = traitlets.Int().tag(sync=True)
    place = traitlets.Int().tag(sync=True)


def live_transfers(
    tasks: Sequence[Mapping[str, Any]],
    learners: Mapping[str, Mapping[str, Any]],
    *,
    title: str,
    alt: str,
    note: str = "",
    learner: str | None = None,
    place: int | None = None,
) -> LiveTransfers:
    """A graph in time: one row a family, one mark a task, and an arc from the task whose network another one started from.

    The reader moves through the stream, and the graph grows. A task's chain of sources back to its first, and all that
    descends from it, stand out. Below are that chain with its pictures, the errors with and without transfer, how many tasks
    started from their own family, from another or untrained, and a matrix of families.

    Args:
        tasks: 2 to 160, in time. Each is a mapping with

            - "name": at most 40 characters;
            - "family": at most 24 characters; at most 10 families;
            - "thumbnail", for all tasks or for none: a picture of uint8, (h, w), h and w at most 32.

        learners: 1 to 6, by their names of at most 40 characters. Each is a mapping with

            - "sources": for each task the place of the earlier task whose network it started from, or -1 where it started
              from none;
            - "errors": for each task, in [0, 1];
            - "reference", if it is there and not None: for each task the error of a learner without transfer, in [0, 1];
            - "start", if it is there: how a task starts that has no source, "pretrained" for example; at most 16
              characters, "untrained" without.

            Other entries are not looked at, in tasks and learners.
        title, alt, note: above the picture; what to look for, for who cannot see it; below all.
        learner: whose transfers are shown at the start; the first when None.
        place: of the task at the start, from 0; the last when None.

    Raises:
        TypeError: a mapping, sequence, name, number or picture that is none, or a title or alt that is no text.
        ValueError: too many or too few of something, lengths or shapes that do not fit, a source that is not earlier, errors
            outside [0, 1], an unknown learner or place, or an empty title or alt.
    """
    require_words(title, alt)
    require(isinstance(note, str), "note", repr(note), "a text", TypeError)
    _require_tasks(tasks)
    families = list(dict.fromkeys(task["family"] for task in tasks))
    counted = f"of {len(families)} families"
    require(len(families) <= MOST_FAMILIES, "tasks", counted, f"of at most {MOST_FAMILIES} families")
    pictures = _require_thumbnails(tasks)
    _require_learners(learners, len(tasks))
    if learner is not None:
        require(isinstance(learner, str), "learner", repr(learner), "a text", TypeError)
        require(learner in learners, "learner", repr(learner), " or ".join(map(repr, learners)))
    if place is not None:
        require_count("place", place, 0)
        require(place < len(tasks), "place", place, f"at most {len(tasks) - 1}, that of the last task")
    names, tables = list(learners), [_tables(name, each, len(tasks)) for name, each in learners.items()]
    return LiveTransfers(
        kind="transfers", title=title, alt=alt, note=note, names=[task["name"] for task in tasks], families=families,
        family_of=[families.index(task["family"]) for task in tasks], shapes=[list(each.shape) for each in pictures],
        thumbnails=b"".join(each.contiguous().numpy().tobytes() for each in pictures),
        learners=names, starts=[each.get("start", START) for each in learners.values()],
        sources=[[int(source) for source in each["sources"]] for each in learners.values()],
        errors=double_bytes(torch.stack([errors for errors, _ in tables])),
        references=double_bytes(torch.stack([reference for _, reference in tables])),
        learner_index=0 if learner is None else names.index(learner), place=len(tasks) - 1 if place is None else int(place),
    )  # fmt: skip


def _require_tasks(tasks: object) -> None:
    """Raise unless there is a fit number of them, each with a name and a family."""
    require_list("tasks", tasks, "mappings")
    counted = f"{len(tasks)} tasks"
    require(FEWEST_TASKS <= len(tasks) <= MOST_TASKS, "tasks", counted, f"{FEWEST_TASKS} to {MOST_TASKS} tasks")
    for place, task in enumerate(tasks):
        argument = f"tasks[{place}]"
        _require_entries(argument, task, ("name", "family"))
        require_label(f"{argument}['name']", task["name"], LONGEST_NAME)
        require_label(f"{argument}['family']", task["family"], LONGEST_FAMILY)


def _require_thumbnails(tasks: Sequence[Mapping[str, Any]]) -> list[UInt8[Tensor, "h w"]]:
    """One of each task, or none; raise if some are no pictures, or only some are there."""
    given = [task.get("thumbnail") is not None for task in tasks]
    if not any(given):
        return []
    counted = f"with {sum(given)} thumbnails of {len(tasks)}"
    require(all(given), "tasks", counted, "with a thumbnail for each task, or none")
    return [_require_picture(f"tasks[{place}]['thumbnail']", task["thumbnail"]) for place, task in enumerate(tasks)]


def _require_picture(argument: str, picture: object) -> UInt8[Tensor, "h w"]:
    is_table = isinstance(picture, Tensor | np.ndarray)
    came = f"a {type(picture).__name__}" + (f" of {picture.dtype}" if is_table else "")
    is_bytes = is_table and picture.dtype in (torch.uint8, np.dtype(np.uint8))
    require(is_bytes, argument, came, "a tensor or array of uint8", TypeError)
    shape = tuple(picture.shape)
    fits = len(shape) == 2 and all(1 <= side <= LARGEST for side in shape)
    require(fits, argument, f"of shape {shape}", f"of shape (h, w), each from 1 to {LARGEST}")
    return torch.as_tensor(np.array(picture)) if isinstance(picture, np.ndarray) else picture.detach().cpu()


def _require_learners(learners: object, length: int) -> None:
    """Raise unless there is a fit number of them, with sources that come earlier."""
    came = f"a {type(learners).__name__}"
    require(isinstance(learners, Mapping), "learners", came, "a mapping from names to mappings", TypeError)
    counted = f"{len(learners)} learners"
    require(1 <= len(learners) <= MOST_LEARNERS, "learners", counted, f"1 to {MOST_LEARNERS} learners")
    for name, learner in learners.items():
        require_label("each name of learners", name, LONGEST_NAME)
        argument = f"learners[{name!r}]"
        _require_entries(argument, learner, ("sources", "errors"))
        require_label(f"{argument}['start']", learner.get("start", START), LONGEST_START)
        _require_sources(f"{argument}['sources']", learner["sources"], length)


def _require_sources(argument: str, sources: object, length: int) -> None:
    require_list(argument, sources, "whole numbers")
    require(len(sources) == length, argument, f"{len(sources)} numbers", f"{length} numbers, one for each task")
    for place, source in enumerate(sources):
        each = f"{argument}[{place}]"
        whole = isinstance(source, Integral) and not isinstance(source, bool)
        require(whole, each, repr(source), "a whole number", TypeError)
        allowed = f"-1, or the place of an earlier task, at most {place - 1}" if place else "-1: no task is earlier"
        require(-1 <= source < place, each, source, allowed)


def _tables(name: str, learner: Mapping[str, Any], length: int) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """A learner's errors, and those without transfer, not a number where there are none."""
    argument, reference = f"learners[{name!r}]", learner.get("reference")
    errors = _require_errors(f"{argument}['errors']", learner["errors"], length)
    if reference is None:
        return errors, torch.full_like(errors, torch.nan)
    return errors, _require_errors(f"{argument}['reference']", reference, length)


def _require_errors(argument: str, values: object, length: int) -> Float[Tensor, " n"]:
    errors = as_numbers(argument, values, "row", "errors, a tensor or list")
    shape = tuple(errors.shape)
    require(shape == (length,), argument, f"of shape {shape}", f"of shape ({length},), one error for each task")
    require_shares(argument, errors, "errors")
    return errors


def _require_entries(argument: str, given: object, needed: Sequence[str]) -> None:
    """Raise unless something is a mapping with all that is needed."""
    require(isinstance(given, Mapping), argument, f"a {type(given).__name__}", "a mapping", TypeError)
    missing = [key for key in needed if key not in given]
    require(not missing, argument, f"without {' and '.join(missing)}", f"a mapping with {' and '.join(needed)}")
