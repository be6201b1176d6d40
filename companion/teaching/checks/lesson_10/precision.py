"""Exercise 10.4: the error of a task with several labels.

>>> scores, target = torch.tensor([[0.9], [0.8], [0.1]]), torch.tensor([[1.0], [0.0], [1.0]])
>>> round(error_of(scores, target), 4)
0.1667
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from companion.teaching.checks.answers import (
    StudentFunction,
    expect,
    expect_close,
    normal,
    read_function,
    read_number,
    read_parts,
)
from companion.teaching.checks.framework import exercise

ERROR = "map_error(scores, target)"
SAME = 0.75  # the error of equal scores, with shares of 0.4 and 0.1
Column = Callable[[Tensor, Tensor], float]


def precision_of(scores: Float[Tensor, " n"], target: Float[Tensor, " n"]) -> float:
    """A label's average precision: at every threshold, the precision times what recall gains."""
    total, before = 0.0, 0.0
    for threshold in scores.unique().flip(0):
        chosen = scores >= threshold
        recall = (target[chosen].sum() / target.sum()).item()
        total += target[chosen].mean().item() * (recall - before)
        before = recall
    return total


def error_of(scores: Float[Tensor, "n k"], target: Float[Tensor, "n k"], column: Column = precision_of) -> float:
    """1 - the mean over the labels that have a positive."""
    labels = [place for place in range(target.shape[1]) if bool(target[:, place].any())]
    return 1 - sum(column(scores[:, place], target[:, place]) for place in labels) / len(labels)


class Precision:
    """The student's function and their number."""

    def __init__(self, error: StudentFunction, same: float) -> None:
        self._error, self.same = error, same

    def __call__(self, scores: Tensor, target: Tensor) -> float:
        return read_number(self._error(scores, target), ERROR)


@exercise(
    "10.4",
    "Several labels at once",
    difficulty=3,
    minutes=20,
    equation="the paper's error of several labels, 1 - mean average precision",
    takeaway="Average precision asks for order only: at every threshold the precision, weighted with what recall gains. Equal scores cannot be told apart, so they share a threshold; a label without positives has no recall, so it says nothing. And what chance gets is the share of positives, not one half.",
)
def precision(answer: object) -> Precision:
    parts = read_parts(answer, ("map_error", "same"))
    return Precision(read_function(parts["map_error"], ERROR), read_number(parts["same"], "same"))


def _labels(generator: torch.Generator, n: int, k: int) -> Float[Tensor, "n k"]:
    """Some positives and some negatives of each label; their share falls from label to label."""
    shares = torch.linspace(0.6, 0.25, k, dtype=torch.float64)
    target = (torch.rand(n, k, generator=generator, dtype=torch.float64) < shares).double()
    target[0], target[1] = 1.0, 0.0
    return target


def _task(generator: torch.Generator, n: int = 14, k: int = 3) -> tuple[Tensor, Tensor]:
    """Scores without ties that say something about the labels; each label's have a size of their own."""
    target = _labels(generator, n, k)
    scores = (normal(generator, n, k) + target) * torch.tensor([1.0, 3.0, 0.3, 2.0][:k], dtype=torch.float64)
    return scores + torch.tensor([0.0, 2.0, -1.0, 1.0][:k], dtype=torch.float64), target


def _compare(
    error: Precision, cases: Sequence[tuple[Tensor, Tensor]], suspects: Sequence[tuple[Callable, str]], what: str
) -> None:
    came = [error(*case) for case in cases]
    for formula, words in suspects:
        wrong = [formula(*case) for case in cases]
        right = all(abs(value - error_of(*case)) < 1e-6 for value, case in zip(wrong, cases))
        same = all(abs(value - mine) < 1e-5 for value, mine in zip(wrong, came))
        expect(right or not same, words)
    for mine, case in zip(came, cases):
        expect_close(mine, error_of(*case), 1e-5, what)


def _ranked(scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Precision and recall after each picture, best first, and whether it is a positive."""
    found = target[scores.argsort(descending=True, stable=True)]
    return found.cumsum(0) / torch.arange(1, len(found) + 1), found.cumsum(0) / found.sum(), found


def _roc(scores: Tensor, target: Tensor) -> float:
    ahead = scores[target > 0.5][:, None] > scores[target < 0.5][None]
    return ahead.double().mean().item()


def _trapezoids(scores: Tensor, target: Tensor) -> float:
    precision, recall, _ = _ranked(scores, target)
    precision, recall = torch.cat([precision[:1] * 0 + 1, precision]), torch.cat([recall[:1] * 0, recall])
    return torch.trapezoid(precision, recall).item()


def _interpolated(scores: Tensor, target: Tensor) -> float:
    precision, _, found = _ranked(scores, target)
    best = precision.flip(0).cummax(0).values.flip(0)
    return (best * found).sum().item() / found.sum().item()


def _mean_precision(scores: Tensor, target: Tensor) -> float:
    return _ranked(scores, target)[0].mean().item()


def _unweighted(scores: Tensor, target: Tensor) -> float:
    precision, _, found = _ranked(scores, target)
    return (precision * found).mean().item()


def _threshold(scores: Tensor, target: Tensor) -> float:
    chosen = scores > 0
    return (target[chosen].sum() / chosen.sum().clamp_min(1)).item()


def _accuracy(scores: Tensor, target: Tensor) -> float:
    return ((scores > 0) == (target > 0.5)).double().mean().item()


@precision.requires(
    "a perfect order",
    "If all positives of each label stand before its negatives, every precision is 1, and the *error* is 0.",
)
def _(error: Precision, generator: torch.Generator) -> None:
    for k in (1, 3):
        target = _labels(generator, 12, k)
        scores = target + 0.5 * torch.rand(12, k, generator=generator, dtype=torch.float64)
        came = error(scores, target)
        expect(abs(came - 1) > 1e-6, "yours is the precision itself, or goes by the lowest scores first")
        expect_close(came, 0.0, 1e-6, "with a perfect order the error")


@precision.requires(
    "each label alone",
    "Each label has an order, and an average precision, of its own; then the mean over labels. Scores of different labels "
    "need not go together, and a rare label counts as much as a frequent one.",
)
def _(error: Precision, generator: torch.Generator) -> None:
    cases = [_task(generator, k=k) for k in (2, 3, 4)]
    suspects = (
        (
            lambda scores, target: error_of(scores.reshape(-1, 1), target.reshape(-1, 1)),
            "yours puts the scores of all labels in one order",
        ),
        (lambda scores, target: error_of(scores.T, target.T), "yours has an order for each picture"),
        (
            lambda scores, target: (
                1 - sum(precision_of(s, t) * t.sum().item() for s, t in zip(scores.T, target.T)) / target.sum().item()
            ),
            "yours weighs the labels with their positives",
        ),
        (lambda scores, target: error_of(scores[:, :1], target[:, :1]), "yours is that of the first label"),
    )
    came = [error(*case) for case in cases]
    for formula, words in suspects:
        expect(not all(abs(mine - formula(*case)) < 1e-5 for mine, case in zip(came, cases)), words)


@precision.requires(
    "precision at each gain",
    "Go through a label's pictures from the highest score down. Whenever a positive comes, recall gains 1 over the number of "
    "positives: add the precision so far times that.",
)
def _(error: Precision, generator: torch.Generator) -> None:
    cases = [_task(generator, k=k) for k in (1, 1, 1, 1, 2, 3)]
    suspects = tuple(
        (lambda scores, target, column=column: error_of(scores, target, column), words)
        for column, words in (
            (_roc, "yours is the area under the ROC curve"),
            (_trapezoids, "yours joins the points by straight lines, which flatters"),
            (_interpolated, "yours takes the best precision from there on, as some benchmarks do"),
            (_mean_precision, "yours is the mean precision of all places: only those where recall gains count"),
            (_unweighted, "yours divides by the number of pictures: a gain is 1 over the number of *positives*"),
            (_threshold, "yours is the precision at a single threshold"),
            (_accuracy, "yours is the accuracy at a threshold"),
            (lambda scores, target: precision_of(-scores, target), "yours goes by the lowest scores first"),
        )
    )
    _compare(error, cases, suspects, "the error")


@precision.requires(
    "labels without positives",
    "A label that no picture has cannot gain recall: its precision is 0 over 0. Leave it out of the mean; counted as 0 it "
    "would be an error that no learner can mend, and as 1 a present.",
)
def _(error: Precision, generator: torch.Generator) -> None:
    cases = []
    for k in (2, 3, 4):
        scores, target = _task(generator, k=k)
        target[:, k // 2] = 0.0
        cases.append((scores, target))

    def counted(value: float) -> Callable:
        def formula(scores: Tensor, target: Tensor) -> float:
            k, empty = target.shape[1], int((target.sum(0) == 0).sum())
            return 1 - ((1 - error_of(scores, target)) * (k - empty) + value * empty) / k

        return formula

    suspects = ((counted(0.0), "yours counts it as 0"), (counted(1.0), "yours counts it as 1"))
    _compare(error, cases, suspects, "with a label that no picture has the error")


@precision.requires(
    "equal scores",
    "Pictures with equal scores stand on one threshold: they come all at once, and precision and recall are taken after all "
    "of them. Otherwise the result hangs on the order in which the pictures are stored.",
)
def _(error: Precision, generator: torch.Generator) -> None:
    cases = []
    for _ in range(4):
        scores, target = _task(generator, 16, 2)
        cases.append((scores.round(), target))
    suspects = (
        (
            lambda scores, target: error_of(*_told_apart(scores, target, lambda t: -torch.arange(len(t)).double())),
            "yours takes them one by one, in their order",
        ),
        (
            lambda scores, target: error_of(*_told_apart(scores, target, lambda t: t)),
            "yours has the positives among them first",
        ),
        (
            lambda scores, target: error_of(*_told_apart(scores, target, lambda t: -t)),
            "yours has the positives among them last",
        ),
    )
    _compare(error, cases, suspects, "with equal scores the error")
    for scores, target in cases:
        order = torch.randperm(len(scores), generator=generator)
        what = "with the same pictures in another order the error"
        expect_close(error(scores[order], target[order]), error_of(scores, target), 1e-5, what)


def _told_apart(scores: Tensor, target: Tensor, bonus: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Equal scores moved apart by a little."""
    moved = torch.stack([bonus(column) for column in target.T], dim=1)
    rows = torch.arange(len(scores)).double()[:, None]
    return scores + 1e-3 * moved - 1e-6 * rows, target


@precision.requires(
    "what chance gets",
    "With equal scores there is one threshold, with all pictures on it. Its precision is the label's share of positives, and "
    "its gain in recall 1.",
)
def _(error: Precision, generator: torch.Generator) -> None:
    for wrong, words in (
        (0.5, "that would be chance under the ROC curve, or the sum of the shares"),
        (0.25, "yours is the mean precision: the error is 1 minus that"),
        (1.0, "a learner that says nothing still has the share of positives right"),
        (0.0, "no order is not a perfect one"),
        (0.6, "yours is that of the first label"),
        (0.9, "yours is that of the second label"),
    ):
        expect(abs(error.same - wrong) > 1e-6, words)
    expect_close(error.same, SAME, 1e-6, "same")
