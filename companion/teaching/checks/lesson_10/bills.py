"""Exercise 10.1: what a run costs, before it is run.

>>> bill_of([(100, 20)], steps=15, batch=16, trials=1, calibration=128, training=3, forward=1)
820
>>> round(SHARE, 3), round(DEARER, 3)
(0.151, 1.261)
"""

import math
from collections.abc import Callable, Sequence

import torch

from companion.teaching.checks.answers import (
    StudentFunction,
    expect,
    expect_close,
    read_function,
    read_number,
    read_parts,
)
from companion.teaching.checks.framework import exercise

BILL = "bill(tasks, steps, batch, trials, calibration, training, forward)"
SHARE = 128 / (15 * 16 * 3 + 128)
DEARER = 4 * (15 * 16 * 3 + 128 + 100) / (60 * 16 * 3 + 128)
Tasks = list[tuple[int, int]]
Formula = Callable[..., float]


def bill_of(tasks: Tasks, steps: int, batch: int, trials: int, calibration: int, training: int, forward: int) -> int:
    """Operations of the independent learner's run; `tasks` has each task's training and development pictures."""
    asked = trials if trials > 1 else 0
    return sum(
        trials * (steps * min(batch, pictures) * training + min(calibration, pictures) * forward)
        + asked * dev * forward
        for pictures, dev in tasks
    )


class Bills:
    """The student's function and their two numbers."""

    def __init__(self, bill: StudentFunction, share: float, dearer: float) -> None:
        self._bill, self.share, self.dearer = bill, share, dearer

    def __call__(self, tasks: Tasks, *recipe: int) -> float:
        return read_number(self._bill(list(tasks), *recipe), BILL)


@exercise(
    "10.1",
    "The bill before the run",
    difficulty=2,
    minutes=15,
    equation="section 4, operations as the second score",
    takeaway="A run's bill is known before it starts. Steps times batch is what one thinks of; the pass for the batch norms' statistics is a fixed price that weighs the more the fewer the steps, and every trial is paid, not only the one that is kept.",
)
def bills(answer: object) -> Bills:
    parts = read_parts(answer, ("bill", "share", "dearer"))
    return Bills(
        read_function(parts["bill"], BILL), read_number(parts["share"], "share"), read_number(parts["dearer"], "dearer")
    )


def _between(low: int, high: int, generator: torch.Generator) -> int:
    return int(torch.randint(low, high, (), generator=generator))


def _recipe(generator: torch.Generator, **fixed: int) -> tuple[int, ...]:
    """Steps, batch, trials, calibration and the operations of a training and of a forward picture."""
    drawn = {
        "steps": _between(5, 40, generator),
        "batch": _between(5, 20, generator),
        "trials": _between(2, 6, generator),
        "calibration": _between(21, 40, generator),
        "training": _between(301, 500, generator),
        "forward": _between(101, 150, generator),
    }
    return tuple((drawn | fixed).values())


def _tasks(generator: torch.Generator, count: int = 1, fewest: int = 50) -> Tasks:
    return [(_between(fewest, fewest + 50, generator), _between(21, 40, generator)) for _ in range(count)]


def _compare(bills: Bills, cases: Sequence[tuple], suspects: Sequence[tuple[Formula, str]], what: str) -> None:
    """Refuse the wrong formulas by name, then all that is not the bill."""
    came = [bills(*case) for case in cases]
    for formula, words in suspects:
        same = all(math.isclose(mine, formula(*case), rel_tol=1e-9) for mine, case in zip(came, cases))
        right = all(math.isclose(bill_of(*case), formula(*case), rel_tol=1e-9) for case in cases)
        expect(right or not same, words)
    for mine, case in zip(came, cases):
        expect_close(mine, bill_of(*case), 1e-9, what)


@bills.requires(
    "updates",
    "An update shows `batch` pictures to the network, forward and backward, which is `training` operations each. "
    "There are `steps` of them.",
)
def _(bills: Bills, generator: torch.Generator) -> None:
    cases = [(_tasks(generator), *_recipe(generator, trials=1, forward=0)) for _ in range(3)]
    suspects = (
        (lambda tasks, s, b, t, c, up, f: s * up, "yours shows one picture a step"),
        (lambda tasks, s, b, t, c, up, f: tasks[0][0] * s * up, "yours shows all pictures in every step"),
        (lambda tasks, s, b, t, c, up, f: tasks[0][0] * up, "yours shows each picture once, whatever the steps"),
        (lambda tasks, s, b, t, c, up, f: 3 * s * b * up, "`training` is forward and backward already"),
        (lambda tasks, s, b, t, c, up, f: 0, "yours takes the forward operations for an update"),
    )
    _compare(bills, cases, suspects, "without forward passes the bill of one task")


@bills.requires(
    "small tasks",
    "A task with fewer pictures than a batch has batches of all its pictures: no picture stands in a batch that the task "
    "cannot fill.",
)
def _(bills: Bills, generator: torch.Generator) -> None:
    cases = [(_tasks(generator, fewest=4), *_recipe(generator, batch=60, trials=1, forward=0)) for _ in range(3)]
    suspects = ((lambda tasks, s, b, t, c, up, f: s * b * up, "yours has batches that are larger than the task"),)
    _compare(bills, cases, suspects, "with a batch of 60 and fewer pictures the bill of one task")


@bills.requires(
    "statistics",
    "When a trial has ended, at most `calibration` of the task's training pictures are shown once more, forward, for the "
    "batch norms' statistics. A single trial asks nothing of the development pictures: there is nothing to choose.",
)
def _(bills: Bills, generator: torch.Generator) -> None:
    recipes = [_recipe(generator, trials=1, training=0) for _ in range(3)]
    cases = [(_tasks(generator, fewest=fewest), *each) for fewest, each in zip((50, 60, 2), recipes)]
    cases.append((((7, 30),), *_recipe(generator, trials=1, training=0)))
    suspects = (
        (lambda tasks, s, b, t, c, up, f: 0, "yours leaves this pass out"),
        (lambda tasks, s, b, t, c, up, f: tasks[0][0] * f, "yours shows all training pictures"),
        (lambda tasks, s, b, t, c, up, f: c * f, "yours shows more pictures than the smallest task has"),
        (lambda tasks, s, b, t, c, up, f: s * min(c, tasks[0][0]) * f, "yours pays it with every step"),
        (
            lambda tasks, s, b, t, c, up, f: (min(c, tasks[0][0]) + tasks[0][1]) * f,
            "yours shows the development pictures, too",
        ),
    )
    _compare(bills, cases, suspects, "without updates the bill of one trial")


@bills.requires(
    "every trial",
    "With several trials each of them pays its updates, its statistics, and a forward pass over the development pictures, "
    "by which the best is chosen. Those that lose were paid, too.",
)
def _(bills: Bills, generator: torch.Generator) -> None:
    cases = [(_tasks(generator), *_recipe(generator)) for _ in range(3)]

    def parts(tasks, s, b, t, c, up, f):
        (pictures, dev) = tasks[0]
        return s * min(b, pictures) * up, min(c, pictures) * f, dev * f

    def sums(weigh):
        return lambda *case: sum(factor * part for factor, part in zip(weigh(case[3]), parts(*case)))

    suspects = (
        (sums(lambda t: (1, 1, 1)), "yours pays the trial that is kept alone"),
        (sums(lambda t: (1, 1, 0)), "yours pays one trial, and no choice"),
        (sums(lambda t: (t, t, 0)), "yours leaves out the development pictures"),
        (sums(lambda t: (t, t, 1)), "yours shows the development pictures to one trial"),
        (sums(lambda t: (t, 1, t)), "yours takes the statistics once, for the trial that is kept"),
        (sums(lambda t: (t, t, t - 1)), "yours leaves one trial unjudged"),
    )
    _compare(bills, cases, suspects, "with several trials the bill of one task")


@bills.requires(
    "the whole stream",
    "A run pays every task of the stream. They differ in size, so each has a bill of its own.",
)
def _(bills: Bills, generator: torch.Generator) -> None:
    cases = [(_tasks(generator, count), *_recipe(generator)) for count in (2, 3, 5)]
    suspects = (
        (lambda tasks, *recipe: bill_of(tasks, *recipe) / len(tasks), "yours is the mean of a task"),
        (lambda tasks, *recipe: bill_of(tasks[-1:], *recipe), "yours is that of the last task"),
        (lambda tasks, *recipe: bill_of(tasks[:1], *recipe), "yours is that of the first task"),
        (lambda tasks, *recipe: bill_of(tasks[:1], *recipe) * len(tasks), "yours takes all tasks to be like the first"),
        (
            lambda tasks, *recipe: bill_of([tuple(map(sum, zip(*tasks)))], *recipe),
            "yours takes the stream for one large task",
        ),
    )
    _compare(bills, cases, suspects, "the bill of several tasks")


@bills.requires(
    "the fixed price",
    "15 updates of 16 pictures at 3 units are 720, and 128 pictures forward are 128. The share is of their *sum*.",
)
def _(bills: Bills, generator: torch.Generator) -> None:
    for wrong, words in (
        (128 / 720, "yours is over the updates alone"),
        (128 / (15 * 16 + 128), "yours has a training picture as dear as a forward one"),
        (500 / 1220, "yours shows all 500 pictures"),
        (1 - SHARE, "yours is the updates' share"),
        (100 * SHARE, "yours is in per cent: leave it a share"),
        (228 / 948, "yours shows the development pictures, though a single trial has nothing to choose"),
    ):
        expect(abs(bills.share - wrong) > 2e-3 * wrong, words)
    expect_close(bills.share / SHARE, 1, 1e-2, "your share over the right one")


@bills.requires(
    "trials against steps",
    "As many updates in four trials as in one: the updates cost the same, but statistics and development pictures are paid "
    "four times, against statistics once.",
)
def _(bills: Bills, generator: torch.Generator) -> None:
    long = 60 * 16 * 3 + 128
    for wrong, words in (
        (1.0, "yours leaves out all but the updates"),
        (4 * 848 / long, "yours has no development pictures"),
        (1 / DEARER, "yours is the other way round"),
        (DEARER - 1, "yours is what is paid on top: give the ratio itself"),
        (4 * 948 / (long + 100), "yours judges the single trial, too"),
        (948 / long, "yours pays one of the four trials"),
    ):
        expect(abs(bills.dearer - wrong) > 2e-3 * wrong, words)
    expect_close(bills.dearer / DEARER, 1, 1e-2, "your ratio over the right one")
