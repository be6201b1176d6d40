"""The live widget of accuracy against compute: several ways to come from a pretrained network to a task, and who wins at a budget."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import traitlets
from jaxtyping import Float
from torch import Tensor

from companion.foundations.validation import Number, require, require_count, require_in
from companion.teaching.widgets.base import (
    MOST_BYTES,
    Widget,
    as_numbers,
    double_bytes,
    require_label,
    require_list,
    require_one,
    require_rising,
    require_shares,
    require_shown,
    require_words,
)

MOST_WAYS, MOST_GROUPS, MOST_BUDGETS, MOST_TASKS, LONGEST_NAME = 14, 6, 24, 24, 40  # beyond, there is no room
SHOWN_AS = ("accuracy", "error", "error (log)")
ACROSS = ("logarithmic", "linear")
NEEDED = ("accuracy", "steps", "group")


class LiveCurves(Widget):
    """The widget that `live_curves` makes."""

    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    groups = traitlets.List(traitlets.Int()).tag(sync=True)
    tasks = traitlets.List(traitlets.Unicode()).tag(sync=True)
    budgets = traitlets.List(traitlets.Float()).tag(sync=True)
    seeds = traitlets.Int().tag(sync=True)
    accuracy = traitlets.Bytes().tag(sync=True)
    steps = traitlets.List(traitlets.List(traitlets.Int())).tag(sync=True)
    firsts = traitlets.List(traitlets.Int()).tag(sync=True)
    reference_index = traitlets.Int().tag(sync=True)
    shown = traitlets.List(traitlets.Int()).tag(sync=True)
    task_index = traitlets.Int().tag(sync=True)
    budget_index = traitlets.Int().tag(sync=True)
    shown_as_index = traitlets.Int().tag(sync=True)
    across_index = traitlets.Int().tag(sync=True)


def live_curves(
    ways: Mapping[str, Mapping[str, Any]],
    budgets: Sequence[Number],
    *,
    title: str,
    alt: str,
    reference: str,
    note: str = "",
    tasks: Sequence[str] = (),
    shown: Sequence[str] | None = None,
    task: str | None = None,
    budget: Number | None = None,
    shown_as: str = "accuracy",
    across: str = "logarithmic",
) -> LiveCurves:
    """Accuracy against compute for several ways, the best of them at each budget, and all of them in their order at one budget.

    A line is the mean of the seeds, its band goes from the lowest seed to the highest, and the pale line behind is the best of
    the ways on show. A way begins where it can afford to learn anything; before, nothing of it is drawn, and the list says
    that it cannot afford one update. Nothing is interpolated: the budget moves along those that were measured.

    Args:
        ways: 2 to 14, by their names of at most 40 characters. Each is a mapping with

            - "accuracy": shares from 0 to 1, (seeds, tasks, budgets), a tensor, an array or nested lists;
            - "steps": updates made at each budget, whole numbers, which may fall where batches grow; None for a way that makes none, as where
              only a head is fitted;
            - "group": ways of one group, such as "pruned", have one hue; at most 6 groups,
              the reference aside, which is black or white;
            - "spent", if it is there and not None: operations used at each budget. Then a way begins where it spends some;
              otherwise where it makes a first update, or at once where "steps" is None.

            Other entries are not looked at, so a row of a stored result needs a group only.
        budgets: 2 to 24 numbers of operations, rising.
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        reference: the way that the others are compared with; it is always on show.
        tasks: the tasks' names, for a list of them; without, only their mean is shown.
        shown: the ways on show at the start; all when None.
        task: the task at the start; the mean of all when None.
        budget: the budget at the start, one of `budgets`; the one in the middle when None.
        shown_as: what is drawn at the start, "accuracy", "error" or "error (log)".
        across: the axis of compute at the start, "logarithmic" or "linear".

    Raises:
        TypeError: a mapping, sequence, name or number that is none, or a title or alt that is no text.
        ValueError: shapes that do not fit, shares outside [0, 1], budgets that fall, an unknown name, too many or too
            few of something, or an empty title or alt.
    """
    require_words(title, alt)
    require(isinstance(note, str), "note", repr(note), "a text", TypeError)
    budgets = _require_budgets(budgets)
    names, accuracy = _require_ways(ways, len(budgets))
    firsts = [_first(name, way, len(budgets)) for name, way in ways.items()]
    require_one("reference", reference, names)
    groups = list(dict.fromkeys(way["group"] for way in ways.values()))
    hues = len({way["group"] for name, way in ways.items() if name != reference})
    require(hues <= MOST_GROUPS, "ways", f"of {hues} groups", f"of at most {MOST_GROUPS} groups, the reference aside")
    tasks = _require_tasks(tasks, accuracy.shape[2])
    shown = names if shown is None else require_shown(shown, names)
    if task is not None:
        require(len(tasks) > 0, "task", repr(task), "None, as there are no tasks")
        require_one("task", task, tasks)
    budget = budgets[len(budgets) // 2] if budget is None else budget
    require_in("budget", budget, "(0, inf)")
    require(budget in budgets, "budget", budget, "one of budgets")
    require_one("shown_as", shown_as, SHOWN_AS)
    require_one("across", across, ACROSS)
    none = [0] * len(budgets)
    return LiveCurves(
        kind="curves", title=title, alt=alt, note=note, names=names, tasks=tasks, budgets=budgets, seeds=accuracy.shape[1],
        accuracy=double_bytes(accuracy), firsts=firsts, groups=[groups.index(way["group"]) for way in ways.values()],
        steps=[none if way["steps"] is None else [int(count) for count in way["steps"]] for way in ways.values()],
        reference_index=names.index(reference), shown=[k for k, name in enumerate(names) if name in (*shown, reference)],
        task_index=0 if task is None else 1 + tasks.index(task), budget_index=budgets.index(budget),
        shown_as_index=SHOWN_AS.index(shown_as), across_index=ACROSS.index(across),
    )  # fmt: skip


def _require_budgets(budgets: object) -> list[float]:
    require_list("budgets", budgets, "numbers")
    counted = f"{len(budgets)} numbers"
    require(2 <= len(budgets) <= MOST_BUDGETS, "budgets", counted, f"2 to {MOST_BUDGETS} numbers")
    for budget in budgets:
        require_in("each of budgets", budget, "(0, inf)")
    require_rising("budgets", budgets)
    return [float(budget) for budget in budgets]


def _require_ways(ways: object, length: int) -> tuple[list[str], Float[Tensor, "ways seeds tasks budgets"]]:
    """Their names and shares; raise unless they can be shown beside each other."""
    came = f"a {type(ways).__name__}"
    require(isinstance(ways, Mapping), "ways", came, "a mapping from names to mappings", TypeError)
    require(2 <= len(ways) <= MOST_WAYS, "ways", f"{len(ways)} ways", f"2 to {MOST_WAYS} ways")
    shares: list[Tensor] = []
    for name, way in ways.items():
        require_label("each name of ways", name, LONGEST_NAME)
        argument = f"ways[{name!r}]"
        require(isinstance(way, Mapping), argument, f"a {type(way).__name__}", "a mapping", TypeError)
        missing = [key for key in NEEDED if key not in way]
        require(not missing, argument, f"without {' and '.join(missing)}", f"a mapping with {', '.join(NEEDED)}")
        require_label(f"{argument}['group']", way["group"], LONGEST_NAME)
        shares.append(_shares_of(f"{argument}['accuracy']", way["accuracy"], length))
        shape, first = tuple(shares[-1].shape), tuple(shares[0].shape)
        require(shape == first, f"{argument}['accuracy']", f"of shape {shape}", f"of shape {first}, as the first")
    accuracy = torch.stack(shares)
    size = 4 * 8 * accuracy.numel() // 3  # in base64, as a page stores it
    require(size <= MOST_BYTES, "ways", f"{size} bytes", f"at most {MOST_BYTES} bytes: fewer seeds or tasks")
    return list(ways), accuracy


def _shares_of(argument: str, values: object, length: int) -> Float[Tensor, "seeds tasks budgets"]:
    wanted = "shares of shape (seeds, tasks, budgets), a tensor or nested lists"
    accuracy = as_numbers(argument, values, "table", wanted)
    shape = tuple(accuracy.shape)
    fits = accuracy.ndim == 3 and accuracy.shape[2] == length and accuracy.numel() > 0
    require(fits, argument, f"of shape {shape}", f"of shape (seeds, tasks, {length})")
    require_shares(argument, accuracy, "shares")
    return accuracy


def _first(name: str, way: Mapping[str, Any], length: int) -> int:
    """The first budget at which a way learns anything; raise if what it does, or spends, falls back to 0."""
    steps, spent = way["steps"], way.get("spent")
    for key, values in {"steps": steps, "spent": spent}.items():
        if values is None:
            continue
        argument = f"ways[{name!r}][{key!r}]"
        require_list(argument, values, "numbers, or None")
        require(len(values) == length, argument, f"{len(values)} numbers", f"{length} numbers, one for each budget")
        for value in values:
            if key == "steps":
                require_count(f"each of {argument}", value, 0)
            else:
                require_in(f"each of {argument}", value, "[0, inf)")
        stays = all(after > 0 for before, after in pairwise(values) if before > 0)
        require(stays, argument, "0 after a budget where it is not", "0 at the first budgets alone")
    told = steps if spent is None else spent
    return 0 if told is None else sum(value == 0 for value in told)


def _require_tasks(tasks: object, count: int) -> list[str]:
    require_list("tasks", tasks, "names")
    for name in tasks:
        require_label("each of tasks", name, LONGEST_NAME)
    require(len(set(tasks)) == len(tasks), "tasks", list(tasks), "names that differ")
    wanted = f"{count} names, one for each task, or none"
    require(len(tasks) in (0, count), "tasks", f"{len(tasks)} names", wanted)
    require(len(tasks) <= MOST_TASKS, "tasks", f"{len(tasks)} names", f"at most {MOST_TASKS} names")
    return list(tasks)
