"""Exercise 09.4: networks of different sizes at the same compute.

>>> dense = Curve(torch.tensor([0.2, 0.4, 0.5]), step=100, overhead=10)
>>> small = Curve(torch.tensor([0.1, 0.3, 0.4, 0.45, 0.6, 0.62]), step=25, overhead=5)
>>> updates_of(130, dense), updates_of(130, small)
(1, 5)
>>> round(gain_of(130, small, dense), 6)
2.0
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from companion.teaching.checks.answers import (
    DOUBLE,
    NotYet,
    StudentFunction,
    expect,
    expect_close,
    expect_tensor,
    read_function,
    read_number,
    read_parts,
)
from companion.teaching.checks.framework import exercise

UPDATES, GAIN, ENVELOPE = "updates(budget, curve)", "gain(budget, small, dense)", "envelope(budgets, curves)"
OVERTAKES = 110


@dataclass(frozen=True)
class Curve:
    """How a network learned.

    Attributes:
        accuracy: (n,), after 1, 2, ..., n updates.
        step: operations of an update.
        overhead: operations of one pass for the batch norms' statistics, paid once, when there are updates.
    """

    accuracy: Float[Tensor, " n"]
    step: int
    overhead: int


Gain = Callable[[int, Curve, Curve], float]


def updates_of(budget: int, curve: Curve) -> int:
    """How many whole updates a budget pays."""
    return max(0, (budget - curve.overhead) // curve.step)


def accuracy_of(budget: int, curve: Curve) -> float:
    """The accuracy that a budget buys; nan where it is too small for an update."""
    count = updates_of(budget, curve)
    return curve.accuracy[min(count, len(curve.accuracy)) - 1].item() if count else math.nan


def gain_of(budget: int, small: Curve, dense: Curve) -> float:
    """By which share the small network is more accurate."""
    return accuracy_of(budget, small) / accuracy_of(budget, dense) - 1


def envelope_of(budgets: Sequence[int], curves: Sequence[Curve]) -> Float[Tensor, " m"]:
    """The lowest error at each budget."""
    rows = torch.tensor([[1 - accuracy_of(budget, curve) for curve in curves] for budget in budgets], dtype=DOUBLE)
    lowest = rows.nan_to_num(nan=math.inf).amin(1)
    return torch.where(lowest.isinf(), math.nan, lowest)


class Budgets:
    """The student's three functions and their number."""

    def __init__(
        self, updates: StudentFunction, gain: StudentFunction, envelope: StudentFunction, overtakes: float
    ) -> None:
        self._updates, self._gain, self._envelope, self.overtakes = updates, gain, envelope, overtakes

    def updates(self, budget: int, curve: Curve) -> float:
        return read_number(self._updates(budget, curve), UPDATES)

    def gain(self, budget: int, small: Curve, dense: Curve) -> float:
        value = self._gain(budget, small, dense)
        return math.nan if _is_nan(value) else read_number(value, GAIN)

    def envelope(self, budgets: list[int], curves: list[Curve]) -> Float[Tensor, " m"]:
        value = self._envelope(list(budgets), list(curves))
        if isinstance(value, list | tuple):
            value = torch.tensor([math.nan if _is_nan(each) else read_number(each, "each error") for each in value])
        try:
            return expect_tensor(value, (len(budgets),), None, ENVELOPE).detach().to(DOUBLE)
        except NotYet as error:
            raise NotYet(f"{error}.", "an error a budget") from None


def _is_nan(value: object) -> bool:
    try:
        return math.isnan(value)  # numbers, and tensors of one element
    except (TypeError, ValueError, RuntimeError):
        return False


@exercise(
    "09.4",
    "At equal compute",
    difficulty=3,
    minutes=20,
    equation="accuracy against compute, and its lower envelope",
    takeaway="At equal compute the small network has made more updates. The gain is a ratio of two curves at one budget, not at one step; it is undefined where the dense network cannot move at all, and it is gone where the dense network's lower final error takes over.",
)
def budgets(answer: object) -> Budgets:
    parts = read_parts(answer, ("updates", "gain", "envelope", "overtakes"))
    functions = (
        read_function(parts[name], words)
        for name, words in (("updates", UPDATES), ("gain", GAIN), ("envelope", ENVELOPE))
    )
    return Budgets(*functions, read_number(parts["overtakes"], "overtakes"))


def _curve(generator: torch.Generator, count: int, step: int, overhead: int) -> Curve:
    """A curve that rises on the whole, and falls back after every second update."""
    made = torch.arange(1, count + 1, dtype=DOUBLE)
    noise = torch.rand(count, generator=generator, dtype=DOUBLE)
    rise = 1 - torch.exp(-made / (0.4 * count))
    return Curve(0.35 + 0.4 * rise + 0.1 * noise - 0.25 * (made % 2 == 0), step, overhead)


def _pair(generator: torch.Generator) -> tuple[Curve, Curve]:
    """A small network and a dense one, four times as dear, with twelve updates each; none of it is round."""
    step, overhead = (int(torch.randint(low, high, (), generator=generator)) for low, high in ((31, 60), (11, 30)))
    return _curve(generator, 12, step, overhead), _curve(generator, 12, 4 * step + 1, 4 * overhead + 3)


# Updates


@budgets.requires(
    "whole updates",
    "The pass for the batch norms' statistics is paid first, once, and each update costs `step`. What is left at "
    "the end pays no part of an update: round down. A budget that is used up to the last operation is enough.",
)
def _(budgets: Budgets, generator: torch.Generator) -> None:
    curves = [each for _ in range(3) for each in _pair(generator)]
    cases = [
        (curve.overhead + count * curve.step + more, curve)
        for curve in curves
        for count, more in ((1, 0), (3, curve.step // 2 + 3), (4, 3), (6, curve.step - 1), (10, 0))
    ]
    for formula, words in (
        (lambda b, c: b // c.step, "yours leaves out the overhead"),
        (lambda b, c: (b - c.overhead) / c.step, "yours counts parts of an update"),
        (lambda b, c: math.ceil((b - c.overhead) / c.step), "yours rounds up"),
        (lambda b, c: round((b - c.overhead) / c.step), "yours rounds to the nearest"),
        (lambda b, c: b // (c.step + c.overhead), "yours pays the overhead with every update"),
        (lambda b, c: (b - c.overhead - 1) // c.step, "yours leaves an update that could just be paid"),
    ):
        expect(not all(math.isclose(budgets.updates(*case), formula(*case)) for case in cases), words)
    for budget, curve in cases:
        what = f"with {budget} operations, {curve.step} an update and {curve.overhead} once, the number of updates"
        expect_close(budgets.updates(budget, curve), updates_of(budget, curve), 1e-9, what)


@budgets.requires(
    "none is the least",
    "With less than one update and the overhead there are no updates: 0, not fewer.",
)
def _(budgets: Budgets, generator: torch.Generator) -> None:
    for curve in _pair(generator):
        for budget in (2, curve.overhead - 5, curve.overhead, curve.overhead + curve.step - 1):
            what = f"with {budget} operations, {curve.step} an update and {curve.overhead} once, the number of updates"
            expect_close(budgets.updates(budget, curve), 0.0, 1e-9, what)


# The gain


@budgets.requires(
    "a relative gain",
    "The gain is the small network's accuracy over the dense one's, minus 1: 0 if they are alike, 0.2 for 20 % "
    "more. Of errors, or of differences, it would be another number.",
)
def _(budgets: Budgets, generator: torch.Generator) -> None:
    for small, dense in (
        tuple(Curve(_curve(generator, 1, 40, 10).accuracy, 40, 10) for _ in range(2)) for _ in range(3)
    ):
        a, b = small.accuracy.item(), dense.accuracy.item()
        came = budgets.gain(60, small, dense)
        for wrong, words in (
            (a - b, "yours is the difference"),
            (b / a - 1, "yours has them the other way round"),
            (a / b, "yours is the ratio itself: take 1 off"),
            ((1 - b) / (1 - a) - 1, "yours is the ratio of errors"),
            (1 - (1 - a) / (1 - b), "yours is what the error loses"),
            (math.log(a / b), "yours is the ratio's logarithm"),
            (100 * (a / b - 1), "yours is in per cent: leave it a share"),
        ):
            expect(abs(came - wrong) > 1e-9, words)
        expect_close(came, a / b - 1, 1e-9, f"with one update each, accuracies {a:.3f} and {b:.3f}, the gain")


@budgets.requires(
    "at equal compute",
    "Each network is judged after as many updates as *it* can pay from this budget: at the last point that it has "
    "reached, which for k updates is the one in place k - 1.",
)
def _(budgets: Budgets, generator: torch.Generator) -> None:
    cases = []
    for count in (1, 2, 3):
        small, dense = _pair(generator)
        cases.append(
            (dense.overhead + count * dense.step, Curve(small.accuracy, 3 * small.step, small.overhead), dense)
        )
    for formula, words in (
        (_at_equal_steps, "yours compares them after equally many updates"),
        (_one_late, "yours reads the curve one place too far: its first point is after *one* update"),
        (_best_so_far, "yours takes the best point so far, but nobody knows on the way that it will be the best"),
        (_interpolated, "yours reads between two points: a part of an update buys nothing"),
    ):
        same = all(math.isclose(budgets.gain(*case), formula(*case), rel_tol=1e-9) for case in cases)
        right = all(math.isclose(gain_of(*case), formula(*case), rel_tol=1e-9) for case in cases)
        expect(right or not same, words)
    for budget, small, dense in cases:
        what = f"with {updates_of(budget, small)} and {updates_of(budget, dense)} updates the gain"
        expect_close(budgets.gain(budget, small, dense), gain_of(budget, small, dense), 1e-9, what)


def _at_equal_steps(budget: int, small: Curve, dense: Curve) -> float:
    place = updates_of(budget, dense) - 1
    return (small.accuracy[place] / dense.accuracy[place] - 1).item()


def _one_late(budget: int, small: Curve, dense: Curve) -> float:
    a, b = (each.accuracy[min(updates_of(budget, each), len(each.accuracy) - 1)] for each in (small, dense))
    return (a / b - 1).item()


def _best_so_far(budget: int, small: Curve, dense: Curve) -> float:
    a, b = (each.accuracy[: updates_of(budget, each)].max() for each in (small, dense))
    return (a / b - 1).item()


def _interpolated(budget: int, small: Curve, dense: Curve) -> float:
    found = []
    for each in (small, dense):
        place = min((budget - each.overhead) / each.step - 1, len(each.accuracy) - 1)
        low = int(place)
        high = min(low + 1, len(each.accuracy) - 1)
        found.append(each.accuracy[low] + (place - low) * (each.accuracy[high] - each.accuracy[low]))
    return (found[0] / found[1] - 1).item()


@budgets.requires(
    "nothing to compare",
    "Where one of the two cannot pay a single update there is no gain: return math.nan. Its first point is beyond "
    "the budget, and chance is no result; with either the gain would be as large as one likes.",
)
def _(budgets: Budgets, generator: torch.Generator) -> None:
    small, dense = _pair(generator)
    for first, second, who in ((small, dense, "the dense network"), (dense, small, "the small network")):
        for budget in (small.overhead + small.step, dense.overhead + dense.step - 1):
            came = budgets.gain(budget, first, second)
            expect(math.isnan(came), f"{who} has no update with {budget} operations, and you say {came:.3g}")


@budgets.requires(
    "the end of a curve",
    "A budget may pay more updates than a curve has. Its last point stays: the curve has settled there.",
)
def _(budgets: Budgets, generator: torch.Generator) -> None:
    for _ in range(2):
        small, dense = _pair(generator)
        for budget in (dense.overhead + 6 * dense.step, dense.overhead + 40 * dense.step):
            what = (
                f"with {updates_of(budget, small)} and {updates_of(budget, dense)} updates, 12 in each curve, the gain"
            )
            expect_close(budgets.gain(budget, small, dense), gain_of(budget, small, dense), 1e-9, what)


# The envelope


@budgets.requires(
    "an error a budget",
    "Return a row with one number for each budget, the *error* there, 1 - accuracy.",
)
def _(budgets: Budgets, generator: torch.Generator) -> None:
    curve = _pair(generator)[0]
    spent = [curve.overhead + count * curve.step for count in (1, 2, 5, 9)]
    came, right = budgets.envelope(spent, [curve]), envelope_of(spent, [curve])
    expect(not torch.allclose(came, 1 - right), "yours are accuracies")
    expect_close(came, right, 1e-6, "with a single network an error")


@budgets.requires(
    "the best at each",
    "At each budget the envelope is the lowest error among the networks that can pay an update there, each at its "
    "own number of updates. Where none can, it is nan.",
)
def _(budgets: Budgets, generator: torch.Generator) -> None:
    small, dense = _pair(generator)
    middle = _curve(generator, 12, 2 * small.step + 1, 2 * small.overhead)
    alone = [dense.overhead + count * dense.step for count in (1, 2, 3, 4)]
    spent = [5, small.overhead + 2 * small.step, *alone, dense.overhead + 20 * dense.step]
    _compare(budgets, alone, [dense])
    _compare(budgets, spent, [dense, small, middle])
    came = budgets.envelope(spent, [dense, small, middle])[0]
    expect(bool(came.isnan()), f"with 5 operations no network learns, and you say {came.item():.3g}")


def _compare(budgets: Budgets, spent: list[int], curves: list[Curve]) -> None:
    """With the lowest errors, where any network can pay."""
    rows = torch.tensor([[1 - accuracy_of(budget, each) for each in curves] for budget in spent], dtype=DOUBLE)
    there = ~rows.isnan().all(1)
    rows, affordable = rows[there], [budget for budget, ok in zip(spent, there.tolist()) if ok]
    came, right = budgets.envelope(spent, curves)[there], rows.nan_to_num(math.inf).amin(1)
    for wrong, words in (
        (rows.nan_to_num(-math.inf).amax(1), "yours is the highest error"),
        (rows.nanmean(1), "yours is the mean over the networks"),
        (right.cummin(0).values, "yours never rises: it takes the best of smaller budgets, too"),
        (rows.amin(1), "yours is nan wherever one of the networks cannot pay"),
        (rows[:, 0], "yours is the first network alone"),
    ):
        same, equal = (torch.allclose(each, wrong, rtol=1e-6, equal_nan=True) for each in (came, right))
        expect(equal or not same, words)
    for budget, mine, wanted in zip(affordable, came, right):
        expect_close(mine, wanted, 1e-6, f"with {budget} operations the lowest error")


@budgets.requires(
    "where the dense one wins",
    "A budget of B dense updates pays 4 B of the small network's. Set 0.1 + 0.8 / (1 + B / 10) = 0.15 + 0.75 / (1 + "
    "4 B / 10), multiply out, and leave B = 0 aside.",
)
def _(budgets: Budgets, generator: torch.Generator) -> None:
    came = budgets.overtakes
    for wrong, words in (
        (440, "which is what the small network has made by then"),
        (0, "as if both had made equally many updates: then the dense one is better from the first on"),
    ):
        expect(abs(came - wrong) > 1, f"you say {came:g}, {words}")
    expect(abs(came - OVERTAKES) <= 1, f"you say {came:g}, where the errors are {_errors(came)}")


def _errors(budget: float) -> str:
    if budget < 0:
        return "those of no update"
    dense, small = 0.1 + 0.8 / (1 + budget / 10), 0.15 + 0.75 / (1 + 4 * budget / 10)
    return f"{dense:.4f} for the dense and {small:.4f} for the small network"
