"""Exercise 10.5: a setting chosen on the tasks that judge it.

>>> tuning = torch.tensor([[0.30, 0.20, 0.40], [0.25, 0.20, 0.30]])
>>> test = torch.tensor([[0.10, 0.30, 0.20], [0.50, 0.35, 0.25]])
>>> honest_of(tuning, test, last=2)[0], leaked_of(tuning, test, last=2)[0]
(1, 0)
>>> round(honest_of(tuning, test, 2)[1] - leaked_of(tuning, test, 2)[1], 4)
0.05
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from companion.teaching.checks.answers import (
    NotYet,
    StudentFunction,
    describe,
    expect,
    expect_close,
    normal,
    read_function,
    read_number,
    read_parts,
)
from companion.teaching.checks.framework import exercise

HONEST, LEAKED, OPTIMISM = (f"{name}(tuning, test, last)" for name in ("honest", "leaked", "optimism"))
TASKS_NEEDED = 32  # 0.1 / sqrt(pi n) < 0.01
Report = tuple[int | float, float]
Formula = Callable[[Tensor, Tensor, int], Report]


def _report(chosen_by: Tensor, reported: Tensor) -> Report:
    """The first row with the lowest mean of one table, and its mean in another."""
    place = int(chosen_by.mean(1).argmin())
    return place, reported[place].mean().item()


def honest_of(tuning: Float[Tensor, "r s"], test: Float[Tensor, "r t"], last: int) -> Report:
    """The rate that another stream chose, and its error on the last tasks."""
    return _report(tuning, test[:, -last:])


def leaked_of(tuning: Float[Tensor, "r s"], test: Float[Tensor, "r t"], last: int) -> Report:
    """The rate that the last tasks chose, and its error on them."""
    return _report(test[:, -last:], test[:, -last:])


class Leaks:
    """The student's three functions and their number."""

    def __init__(self, honest: StudentFunction, leaked: StudentFunction, optimism: StudentFunction, needed: float):
        self._honest, self._leaked, self._optimism, self.needed = honest, leaked, optimism, needed

    def honest(self, *case: object) -> Report:
        return self._pair(self._honest(*case), HONEST)

    def leaked(self, *case: object) -> Report:
        return self._pair(self._leaked(*case), LEAKED)

    def optimism(self, *case: object) -> float:
        return read_number(self._optimism(*case), OPTIMISM)

    @staticmethod
    def _pair(value: object, name: str) -> Report:
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise NotYet(f"Expected {name} to give a place and an error; got {describe(value)}.", "two things")
        return tuple(read_number(part, words) for part, words in zip(value, ("the place", "the error")))


@exercise(
    "10.5",
    "Leak the last tasks",
    difficulty=3,
    minutes=15,
    equation="the paper's rule that the last years are for the report alone",
    takeaway="The lowest of several noisy means is lower than it deserves. A rate chosen on the tasks that judge it never reports more than an honest one, even if all rates are equally good; so choose on another stream, or on early tasks, and look at the last ones once.",
)
def leaks(answer: object) -> Leaks:
    parts = read_parts(answer, ("honest", "leaked", "optimism", "tasks_needed"))
    functions = (
        read_function(parts[name], words)
        for name, words in (("honest", HONEST), ("leaked", LEAKED), ("optimism", OPTIMISM))
    )
    return Leaks(*functions, read_number(parts["tasks_needed"], "tasks_needed"))


def _tables(generator: torch.Generator, rates: int = 5) -> tuple[Tensor, Tensor, int]:
    """Errors in which tuning tasks, early tasks, last tasks and all of them have a best rate of their own each."""
    while True:
        tuning = 0.3 + 0.1 * normal(generator, rates, 7)
        test = 0.3 + 0.1 * normal(generator, rates, 11)
        test[:, :6] += 0.05
        last = int(torch.randint(3, 6, (), generator=generator))
        parts = tuning, test[:, :-last], test[:, -last:], test, test[:, :last]
        best = [int(part.mean(1).argmin()) for part in parts]
        both = int(torch.cat([tuning, test], 1).mean(1).argmin())
        if len(set(best[:3])) == 3 and best[3] not in (best[0], best[2]) and both != best[0] and best[4] != best[0]:
            return tuning.clamp(0.01, 0.99), test.clamp(0.01, 0.99), last


def _compare(
    came: Sequence[Report], cases: Sequence, right: Formula, suspects: Sequence, which: int, what: str
) -> None:
    """Compare one of (place, error); refuse the wrong ones by name."""
    for formula, words in suspects:
        same = all(abs(mine[which] - formula(*case)[which]) < 1e-6 for mine, case in zip(came, cases))
        expect(not same, words)
    for mine, case in zip(came, cases):
        expect_close(mine[which], right(*case)[which], 1e-6, what)


@leaks.requires(
    "the honest choice",
    "The rate with the lowest *mean* error over all tasks of the tuning stream. Nothing of the test stream may be in the choice.",
)
def _(leaks: Leaks, generator: torch.Generator) -> None:
    cases = [_tables(generator) for _ in range(4)]
    came = [leaks.honest(*case) for case in cases]
    suspects = (
        (lambda a, b, n: _report(b[:, -n:], b[:, -n:]), "yours looks at the last tasks"),
        (lambda a, b, n: _report(b, b), "yours looks at the test stream"),
        (
            lambda a, b, n: _report(b[:, :-n], b),
            "yours chooses on the test stream's early tasks, not on the other stream",
        ),
        (lambda a, b, n: _report(torch.cat([a, b], 1), b), "yours looks at both streams"),
        (lambda a, b, n: _report(-a, b), "yours takes the highest error"),
        (lambda a, b, n: _report(a[:, -n:], b), "yours looks at the tuning stream's last tasks only"),
        (lambda a, b, n: (float(a.argmin() // a.shape[1]), 0.0), "yours takes the rate of the lowest single error"),
        (lambda a, b, n: (honest_of(a, b, n)[0] + 1, 0.0), "yours counts rates from 1"),
    )
    _compare(came, cases, honest_of, suspects, 0, "the place of the rate")


@leaks.requires(
    "the honest report",
    "What is reported is the chosen rate's mean error on the `last` tasks of the *test* stream.",
)
def _(leaks: Leaks, generator: torch.Generator) -> None:
    cases = [_tables(generator) for _ in range(4)]
    came = [leaks.honest(*case) for case in cases]
    suspects = (
        (lambda a, b, n: _report(a, a), "yours reports the error on the tasks that chose"),
        (lambda a, b, n: _report(a, b), "yours reports the whole test stream"),
        (lambda a, b, n: _report(a, b[:, :n]), "yours reports the *first* tasks"),
        (lambda a, b, n: _report(a, b[:, -1:]), "yours reports the last task alone"),
        (lambda a, b, n: leaked_of(a, b, n), "yours reports the lowest error there is, not that of the chosen rate"),
        (lambda a, b, n: (0, 1 - honest_of(a, b, n)[1]), "yours is an accuracy"),
    )
    _compare(came, cases, honest_of, suspects, 1, "the reported error")


@leaks.requires(
    "the leaked choice",
    "Who leaks chooses by the mean error on the `last` tasks of the test stream: the very tasks of the report.",
)
def _(leaks: Leaks, generator: torch.Generator) -> None:
    cases = [_tables(generator) for _ in range(4)]
    came = [leaks.leaked(*case) for case in cases]
    suspects = (
        (honest_of, "yours chooses on the tuning stream: that is no leak"),
        (lambda a, b, n: _report(b, b), "yours chooses on the whole test stream"),
        (lambda a, b, n: _report(b[:, :-n], b), "yours chooses on the tasks before the last: that is no leak"),
        (lambda a, b, n: _report(torch.cat([a, b], 1), b), "yours looks at both streams"),
        (lambda a, b, n: _report(-b[:, -n:], b), "yours takes the highest error"),
    )
    _compare(came, cases, leaked_of, suspects, 0, "the place of the rate")


@leaks.requires(
    "the leaked report",
    "One rate is chosen for all of the last tasks, and its mean error on them is reported. The best rate of each task would "
    "be another leak, and a larger one.",
)
def _(leaks: Leaks, generator: torch.Generator) -> None:
    cases = [_tables(generator) for _ in range(4)]
    came = [leaks.leaked(*case) for case in cases]
    suspects = (
        (lambda a, b, n: (0, b[:, -n:].amin(0).mean().item()), "yours has the best rate for each task"),
        (lambda a, b, n: (0, b[:, -n:].min().item()), "yours is the lowest error of a single task"),
        (lambda a, b, n: _report(b[:, -n:], a), "yours reports the tuning stream"),
        (lambda a, b, n: _report(b[:, -n:], b), "yours reports the whole test stream"),
        (honest_of, "yours is the honest rate's error"),
    )
    _compare(came, cases, leaked_of, suspects, 1, "the reported error")


@leaks.requires(
    "equal rates",
    "Of rates with equal means the first counts.",
)
def _(leaks: Leaks, generator: torch.Generator) -> None:
    errors = (1 + torch.randint(8, (4, 6), generator=generator).double()) / 16
    errors[1] = errors[3] = 1 / 32  # means without rounding
    for name, function in (("honest", leaks.honest), ("leaked", leaks.leaked)):
        expect_close(function(errors, errors, 4)[0], 1, 1e-9, f"with the rates 1 and 3 alike, the place in {name}")


@leaks.requires(
    "too low, never too high",
    "The leaked report is the lowest mean of all rates, so the honest one can only be above it. The optimism is by how much: "
    "0 or more.",
)
def _(leaks: Leaks, generator: torch.Generator) -> None:
    cases = [_tables(generator) for _ in range(4)]
    came = [(leaks.optimism(*case), 0.0) for case in cases]

    def gap(a: Tensor, b: Tensor, n: int) -> Report:
        return honest_of(a, b, n)[1] - leaked_of(a, b, n)[1], 0.0

    suspects = (
        (lambda *case: (-gap(*case)[0], 0.0), "yours has the sign of the other side: it is below 0"),
        (lambda *case: (gap(*case)[0] / leaked_of(*case)[1], 0.0), "yours is a share"),
        (lambda *case: (gap(*case)[0] / honest_of(*case)[1], 0.0), "yours is a share"),
        (
            lambda a, b, n: (a.mean(1).min().item() - leaked_of(a, b, n)[1], 0.0),
            "yours compares errors on different tasks: both reports are about the last tasks of the test stream",
        ),
    )
    _compare(came, cases, gap, suspects, 0, "the optimism")
    same = cases[0][1]
    expect_close(leaks.optimism(same[:, -4:], same, 4), 0.0, 1e-9, "with the last tasks for tuning, the optimism")


@leaks.requires(
    "how many tasks",
    "A mean over n tasks has the deviation 0.1 over the root of n, and the lower of two such means lies that over the root of "
    "pi too low. Solve 0.1 / sqrt(pi n) < 0.01, and round up.",
)
def _(leaks: Leaks, generator: torch.Generator) -> None:
    for wrong, words in (
        (100, "yours leaves out pi"),
        (31, "with 31 tasks it is a little more than 0.01"),
        (4, "yours does not square"),
        (10, "yours does not square, and leaves out pi"),
        (6, "the deviation of a mean falls with the *root* of n"),
        (315, "yours has pi on the other side"),
        (64, "yours is for the difference of the two"),
    ):
        expect(leaks.needed != wrong, words)
    expect_close(leaks.needed, TASKS_NEEDED, 1e-9, "tasks_needed")
