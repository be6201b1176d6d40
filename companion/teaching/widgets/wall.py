"""The live widget of a stream of tasks: a wall of pictures in time, and how every learner has done so far."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import traitlets
from jaxtyping import Float, UInt8
from torch import Tensor

from companion.foundations.validation import require, require_count
from companion.teaching.widgets.base import (
    MOST_BYTES,
    Widget,
    as_numbers,
    double_bytes,
    require_label,
    require_list,
    require_shares,
    require_shown,
    require_words,
)

FEWEST_TASKS, MOST_TASKS, MOST_FAMILIES, MOST_LEARNERS = 2, 160, 10, 12  # beyond, there is no room
MOST_PICTURES, LARGEST_SIDE = 16, 32
LONGEST_NAME, LONGEST_FAMILY, LONGEST_CAPTION = 40, 24, 12
NEEDED = ("name", "family", "classes", "train", "labels", "pictures", "captions")


class LiveWall(Widget):
    """The widget that `live_wall` makes."""

    tasks = traitlets.List(traitlets.Unicode()).tag(sync=True)
    families = traitlets.List(traitlets.Unicode()).tag(sync=True)
    family_of = traitlets.List(traitlets.Int()).tag(sync=True)
    classes = traitlets.List(traitlets.Int()).tag(sync=True)
    train = traitlets.List(traitlets.Int()).tag(sync=True)
    several = traitlets.List(traitlets.Int()).tag(sync=True)
    pictures = traitlets.Bytes().tag(sync=True)
    shape = traitlets.List(traitlets.Int()).tag(sync=True)
    captions = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    learners = traitlets.List(traitlets.Unicode()).tag(sync=True)
    errors = traitlets.Bytes().tag(sync=True)
    shown = traitlets.List(traitlets.Int()).tag(sync=True)
    reference_index = traitlets.Int().tag(sync=True)
    place = traitlets.Int().tag(sync=True)


def live_wall(
    tasks: Sequence[Mapping[str, Any]],
    learners: Mapping[str, Any],
    *,
    title: str,
    alt: str,
    note: str = "",
    shown: Sequence[str] | None = None,
    place: int = 0,
) -> LiveWall:
    """A stream of tasks as a wall of pictures in time, which the reader scrubs, with the errors of learners so far.

    The wall shows one picture of each task, line by line; tasks that are not met yet are pale. Of the current task
    there are its pictures and what it asks; of each learner its error on this task, the mean of its errors so far, and
    by how much that is ahead of the reference's.

    Args:
        tasks: 2 to 160 of them, in time. Each is a mapping with

            - "name": at most 40 characters;
            - "family": at most 24 characters; at most 10 families in all;
            - "classes": how many, at least 2;
            - "train": training pictures, at least 1;
            - "labels": True where a picture may have several labels at once;
            - "pictures": (m, h, w), uint8, a tensor or an array, black is 0; m from 1 to 16, h and w up to 32, alike in
              all tasks. The first one is the task's picture on the wall;
            - "captions": m texts of at most 12 characters, the label or labels of each picture; they may be empty.

            Other entries are not looked at.
        learners: 1 to 12, by their names of at most 40 characters: the error on each task, from 0 to 1, in time.
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        shown: the learners on show at the start, all when None. The first of them is the reference and stays on show.
        place: the task at the start, counted from 0.

    Raises:
        TypeError: a sequence, mapping, table, name or number that is none, or a title or alt that is no text.
        ValueError: too many or too few of something, shapes that do not fit, errors outside [0, 1], an unknown name,
            more than 0.7 MB, or an empty title or alt.
    """
    require_words(title, alt)
    require(isinstance(note, str), "note", repr(note), "a text", TypeError)
    pictures = _require_tasks(tasks)
    families = list(dict.fromkeys(task["family"] for task in tasks))
    allowed = f"of at most {MOST_FAMILIES} families"
    require(len(families) <= MOST_FAMILIES, "tasks", f"of {len(families)} families", allowed)
    errors = _require_learners(learners, len(tasks))
    names = list(learners)
    shown = names if shown is None else _require_shown(shown, names)
    require_count("place", place, 0)
    require(place < len(tasks), "place", place, f"at most {len(tasks) - 1}, the last task")
    captions = [list(task["captions"]) for task in tasks]
    size = 4 * (pictures.size + 8 * errors.numel()) // 3 + len(json.dumps(captions))  # in base64, as a page stores it
    require(size <= MOST_BYTES, "tasks", f"{size} bytes", f"at most {MOST_BYTES} bytes: fewer or smaller pictures")
    return LiveWall(
        kind="wall", title=title, alt=alt, note=note,
        tasks=[task["name"] for task in tasks], families=families,
        family_of=[families.index(task["family"]) for task in tasks],
        classes=[int(task["classes"]) for task in tasks], train=[int(task["train"]) for task in tasks],
        several=[int(task["labels"]) for task in tasks],
        pictures=pictures.tobytes(), shape=list(pictures.shape[1:]), captions=captions,
        learners=names, errors=double_bytes(errors), shown=[k for k, name in enumerate(names) if name in shown],
        reference_index=names.index(shown[0]), place=int(place),
    )  # fmt: skip


def _require_tasks(tasks: object) -> UInt8[np.ndarray, "tasks m h w"]:
    """Their pictures; raise unless all that a task needs is there."""
    require_list("tasks", tasks, "mappings")
    allowed = f"{FEWEST_TASKS} to {MOST_TASKS} tasks"
    require(FEWEST_TASKS <= len(tasks) <= MOST_TASKS, "tasks", f"{len(tasks)} tasks", allowed)
    pictures: list[np.ndarray] = []
    for place, task in enumerate(tasks):
        argument = f"tasks[{place}]"
        require(isinstance(task, Mapping), argument, f"a {type(task).__name__}", "a mapping", TypeError)
        missing = [key for key in NEEDED if key not in task]
        require(not missing, argument, f"without {' and '.join(missing)}", f"a mapping with {', '.join(NEEDED)}")
        require_label(f"{argument}['name']", task["name"], LONGEST_NAME)
        require_label(f"{argument}['family']", task["family"], LONGEST_FAMILY)
        require_count(f"{argument}['classes']", task["classes"], 2)
        require_count(f"{argument}['train']", task["train"], 1)
        several = task["labels"]
        told = isinstance(several, bool | np.bool_)
        require(told, f"{argument}['labels']", repr(several), "True or False: several labels at once or not", TypeError)
        pictures.append(_require_pictures(f"{argument}['pictures']", task["pictures"]))
        shape, first = pictures[-1].shape, pictures[0].shape
        require(
            shape == first, f"{argument}['pictures']", f"of shape {shape}", f"of shape {first}, as the first task's"
        )
        _require_captions(f"{argument}['captions']", task["captions"], len(pictures[-1]))
    return np.stack(pictures)


def _require_pictures(argument: str, pictures: object) -> UInt8[np.ndarray, "m h w"]:
    table = isinstance(pictures, Tensor | np.ndarray)
    require(table, argument, f"a {type(pictures).__name__}", "a tensor or an array of uint8", TypeError)
    whole = pictures.dtype in (torch.uint8, np.uint8)
    require(whole, argument, f"of {pictures.dtype}", "a tensor or an array of uint8", TypeError)
    values = pictures.detach().cpu().numpy() if isinstance(pictures, Tensor) else pictures
    fits = values.ndim == 3 and 0 < len(values) <= MOST_PICTURES
    fits = fits and all(0 < side <= LARGEST_SIDE for side in values.shape[1:])
    allowed = f"of shape (m, h, w), m from 1 to {MOST_PICTURES}, h and w from 1 to {LARGEST_SIDE}"
    require(fits, argument, f"of shape {tuple(values.shape)}", allowed)
    return values


def _require_captions(argument: str, captions: object, count: int) -> None:
    require_list(argument, captions, "texts")
    require(len(captions) == count, argument, f"{len(captions)} texts", f"{count} texts, one for each picture")
    for caption in captions:
        require(isinstance(caption, str), f"each of {argument}", repr(caption), "a text", TypeError)
        short = len(caption) <= LONGEST_CAPTION
        require(short, f"each of {argument}", repr(caption), f"a text of at most {LONGEST_CAPTION} characters")


def _require_learners(learners: object, count: int) -> Float[Tensor, "learners tasks"]:
    """Their errors; raise unless each has one for each task."""
    came = f"a {type(learners).__name__}"
    require(isinstance(learners, Mapping), "learners", came, "a mapping from names to errors", TypeError)
    allowed = f"1 to {MOST_LEARNERS} learners"
    require(1 <= len(learners) <= MOST_LEARNERS, "learners", f"{len(learners)} learners", allowed)
    rows: list[Tensor] = []
    for name, values in learners.items():
        require_label("each name of learners", name, LONGEST_NAME)
        rows.append(_require_errors(f"learners[{name!r}]", values, count))
    return torch.stack(rows)


def _require_errors(argument: str, values: object, count: int) -> Float[Tensor, " tasks"]:
    errors = as_numbers(argument, values, "row", "errors, one for each task, a list or a tensor")
    shape = tuple(errors.shape)
    require(shape == (count,), argument, f"of shape {shape}", f"of shape ({count},), one error for each task")
    require_shares(argument, errors, "errors")
    return errors


def _require_shown(shown: object, names: Sequence[str]) -> list[str]:
    found = require_shown(shown, names)
    require(len(found) > 0, "shown", "empty", "at least one name: the first is the reference")
    return found
