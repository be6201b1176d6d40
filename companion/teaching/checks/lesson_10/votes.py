"""Exercise 10.3: a start chosen by a vote of nearest neighbours.

>>> features, target = torch.tensor([[0.0], [1.0], [2.0], [3.0], [10.0]]), torch.tensor([0, 0, 1, 1, 1])
>>> error_of(features, target, torch.tensor([[0.5]]), torch.tensor([0]), 2)
1.0
>>> winner_of(0.3, [0.3, 0.2, 0.2, 0.4]), winner_of(0.1, [0.3, 0.2])
(2, -1)
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

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

VOTE, WINNER = "vote_error(features, target, queries, answers, num_classes)", "winner(untrained, errors)"
UNTRAINED = -1
Case = tuple[Float[Tensor, "n p"], Int[Tensor, " n"], Float[Tensor, "m p"], Int[Tensor, " m"], int]
Formula = Callable[..., float]


def error_of(
    features: Float[Tensor, "n p"],
    target: Int[Tensor, " n"],
    queries: Float[Tensor, "m p"],
    answers: Int[Tensor, " m"],
    num_classes: int,
    neighbours: int = 5,
) -> float:
    """Share of queries that their nearest neighbours get wrong; of equal votes the first class counts."""
    nearest = torch.cdist(queries, features).topk(min(neighbours, len(features)), largest=False).indices
    return (_counted(target, nearest, num_classes).argmax(1) != answers).double().mean().item()


def winner_of(untrained: float, errors: Sequence[float]) -> int:
    """The place of the start, the newest of the best; -1: the untrained network, if it is better than all."""
    best = min(errors, default=math.inf)
    return UNTRAINED if untrained < best else max(place for place, error in enumerate(errors) if error == best)


class Votes:
    """The student's two functions."""

    def __init__(self, vote: StudentFunction, winner: StudentFunction) -> None:
        self._vote, self._winner = vote, winner

    def vote(self, *case: object) -> float:
        return read_number(self._vote(*case), VOTE)

    def winner(self, untrained: float, errors: Sequence[float]) -> float:
        return read_number(self._winner(untrained, list(errors)), WINNER)


@exercise(
    "10.3",
    "The vote",
    difficulty=3,
    minutes=20,
    equation="the paper's learner Dynamic",
    takeaway="A vote of neighbours asks a representation what it knows about the new task, without a head and without a step. Development pictures ask and training pictures answer; and at equal votes a network that has learned something goes before one that has not.",
)
def votes(answer: object) -> Votes:
    parts = read_parts(answer, ("vote_error", "winner"))
    return Votes(read_function(parts["vote_error"], VOTE), read_function(parts["winner"], WINNER))


def _counted(target: Int[Tensor, " n"], nearest: Int[Tensor, "m k"], num_classes: int) -> Float[Tensor, "m c"]:
    """How many of each query's neighbours are of each class."""
    return one_hot(target, num_classes).double()[nearest].sum(1)


def _task(
    generator: torch.Generator, n: int = 60, m: int = 40, classes: int = 3, width: int = 4, apart: float = 1.3
) -> Case:
    """Clouds that overlap and lie off the centre."""
    centres = apart * normal(generator, classes, width) + 2

    def drawn(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(classes, (count,), generator=generator)
        return centres[labels] + normal(generator, count, width), labels

    return (*drawn(n), *drawn(m), classes)


def _compare(votes: Votes, cases: Sequence[Case], suspects: Sequence[tuple[Formula, str]], what: str) -> None:
    came = [votes.vote(*case) for case in cases]
    for formula, words in suspects:
        wrong = [formula(*case) for case in cases]
        right = all(abs(value - error_of(*case)) < 1e-6 for value, case in zip(wrong, cases))
        same = all(abs(value - mine) < 1e-6 for value, mine in zip(wrong, came))
        expect(right or not same, words)
    for mine, case in zip(came, cases):
        expect_close(mine, error_of(*case), 1e-6, what)


def _by(score: Callable[[Tensor, Tensor], Tensor], neighbours: int = 5) -> Formula:
    """The error of a vote of those with the highest score of (queries, features)."""

    def formula(features, target, queries, answers, num_classes):
        nearest = score(queries, features).topk(neighbours).indices
        return (_counted(target, nearest, num_classes).argmax(1) != answers).double().mean().item()

    return formula


def _near(queries: Tensor, features: Tensor) -> Tensor:
    return -torch.cdist(queries, features)


@votes.requires(
    "dev asks, train votes",
    "Training pictures vote on development pictures. The other way round the few would vote on the many; and among the "
    "training pictures each would be its own nearest neighbour.",
)
def _(votes: Votes, generator: torch.Generator) -> None:
    cases = [_task(generator, n, m, classes=2, apart=0.7) for n, m in ((60, 30), (40, 50), (70, 20))]
    suspects = (
        (lambda a, b, c, d, k: error_of(c, d, a, b, k), "in yours the development pictures vote"),
        (lambda a, b, c, d, k: error_of(a, b, a, b, k), "in yours the training pictures are asked about themselves"),
        (lambda a, b, c, d, k: error_of(c, d, c, d, k), "in yours the development pictures are asked about themselves"),
        (
            lambda a, b, c, d, k: error_of(torch.cat([a, c]), torch.cat([b, d]), c, d, k),
            "in yours the development pictures vote, too, each on itself",
        ),
    )
    came = [votes.vote(*case) for case in cases]
    for formula, words in suspects:
        expect(not all(abs(mine - formula(*case)) < 1e-6 for mine, case in zip(came, cases)), words)


@votes.requires(
    "an error",
    "The result is the share of the development pictures that the vote gets *wrong*: 0 for classes that lie far apart.",
)
def _(votes: Votes, generator: torch.Generator) -> None:
    features, target, queries, answers, classes = _task(generator)
    far = 50 * torch.eye(classes, features.shape[1], dtype=features.dtype)
    case = features + far[target], target, queries + far[answers], answers, classes
    came = votes.vote(*case)
    expect(abs(came - 1) > 1e-6, "yours is the accuracy")
    expect(abs(came - len(answers)) > 1e-6, "yours is the number of right answers")
    expect_close(came, 0.0, 1e-6, "with classes far apart the error")
    wrong = (*case[:3], (answers + 1) % classes, classes)
    expect(abs(votes.vote(*wrong) - len(answers)) > 1e-6, "yours is the number of wrong answers, not their share")
    expect_close(votes.vote(*wrong), 1.0, 1e-6, "with each answer another class the error")


@votes.requires(
    "the five nearest",
    "The five training pictures with the smallest Euclidean distance vote, with one vote each.",
)
def _(votes: Votes, generator: torch.Generator) -> None:
    cases = [_task(generator, m=80, classes=2, apart=0.5) for _ in range(4)]  # five votes on two are never equal
    suspects = (
        (_by(_near, 1), "yours asks the nearest alone"),
        (_by(_near, 3), "yours asks three"),
        (_by(_near, 4), "yours asks four"),
        (_by(_near, 6), "yours asks six"),
        (_by(_near, 60), "yours asks all"),
        (
            _by(lambda q, f: torch.cdist(q, f)),
            "yours asks the *farthest*: topk takes the largest unless told otherwise",
        ),
        (_by(lambda q, f: q @ f.T), "yours goes by the inner product, where long rows win"),
        (
            _by(lambda q, f: (q / q.norm(dim=1, keepdim=True)) @ (f / f.norm(dim=1, keepdim=True)).T),
            "yours goes by the angle",
        ),
        (_by(lambda q, f: -torch.cdist(q, f, p=1)), "yours goes by the sum of differences, not Euclid's distance"),
        (_by_distance, "in yours near neighbours have a louder voice"),
        (_by_middles, "yours asks the classes' means"),
    )
    _compare(votes, cases, suspects, "for a random task the error")


def _by_distance(features, target, queries, answers, num_classes) -> float:
    near = torch.cdist(queries, features).topk(5, largest=False)
    voices = one_hot(target, num_classes).double()[near.indices] / near.values[..., None].clamp_min(1e-9)
    return (voices.sum(1).argmax(1) != answers).double().mean().item()


def _by_middles(features, target, queries, answers, num_classes) -> float:
    middles = torch.stack([features[target == place].mean(0) for place in range(num_classes)])
    return (torch.cdist(queries, middles).argmin(1) != answers).double().mean().item()


@votes.requires(
    "equal votes",
    "With two votes each for two classes, the class with the lower number counts. `argmax` of the counts does that; the "
    "nearest neighbour's class, or the last, would be another rule.",
)
def _(votes: Votes, generator: torch.Generator) -> None:
    places = torch.tensor([[0.1], [0.2], [0.3], [0.4], [0.5], [9.0], [9.5]], dtype=torch.float64)
    asked = torch.zeros(1, 1, dtype=torch.float64)
    for classes, right in (
        ([2, 2, 1, 1, 0, 2, 2], 1),
        ([3, 1, 3, 1, 2, 3, 3], 1),
        ([2, 0, 3, 2, 0, 2, 2], 0),
        ([1, 2, 1, 2, 0, 0, 0], 1),
    ):
        target = torch.tensor(classes)
        came = [votes.vote(places, target, asked, torch.tensor([answer]), 4) for answer in range(4)]
        found = next((answer for answer, error in enumerate(came) if error < 0.5), None)
        shown = ", ".join(str(each) for each in classes[:5])
        expect(found == right, f"neighbours of the classes {shown} made yours say {found}, expected {right}")


@votes.requires(
    "few pictures",
    "A task may show fewer than five training pictures. Then all of them vote.",
)
def _(votes: Votes, generator: torch.Generator) -> None:
    for n in (1, 3, 4):
        case = _task(generator, n, 20, classes=2)
        expect_close(votes.vote(*case), error_of(*case), 1e-6, f"with {n} training pictures the error")


@votes.requires(
    "the best start",
    "The stored network with the lowest error is the start. `errors` are in time, the oldest first, and what is asked for is "
    "a place in it.",
)
def _(votes: Votes, generator: torch.Generator) -> None:
    came = []
    for _ in range(4):
        errors = (torch.randperm(40, generator=generator)[:8] + 1.0).div(100).tolist()
        errors[0], errors[-1] = 0.5, 0.6
        came.append((votes.winner(0.9, errors), errors))
    for wrong, words in (
        (lambda errors: errors.index(max(errors)), "yours takes the highest error"),
        (lambda errors: min(errors), "yours is the error, not its place"),
        (lambda errors: errors[::-1].index(min(errors)), "yours counts from the newest"),
        (lambda errors: len(errors) - 1, "yours takes the newest, whatever it says"),
        (lambda errors: errors.index(min(errors)) + 1, "yours counts from 1, or has the untrained one at 0"),
        (lambda errors: UNTRAINED, "yours always takes the untrained network"),
    ):
        expect(not all(abs(mine - wrong(errors)) < 1e-9 for mine, errors in came), words)
    for mine, errors in came:
        expect_close(mine, winner_of(0.9, errors), 1e-9, "the place of the best")


@votes.requires(
    "the newest of equals",
    "On few development pictures equal errors are common. Of equal ones the newest counts: it has met more tasks. "
    "`errors.index(min(errors))` would be the oldest.",
)
def _(votes: Votes, generator: torch.Generator) -> None:
    for errors in ([0.2, 0.3, 0.2, 0.4], [0.1, 0.1, 0.1], [0.5, 0.25, 0.25, 0.5, 0.3]):
        expect_close(votes.winner(0.9, errors), winner_of(0.9, errors), 1e-9, f"of the errors {errors} the start")


@votes.requires(
    "untrained if better",
    "The untrained network is the start, -1, only if its error is *lower* than all others. At equal errors a stored network is.",
)
def _(votes: Votes, generator: torch.Generator) -> None:
    for untrained, errors in (
        (0.2, [0.3, 0.2, 0.4]),
        (0.1, [0.3, 0.2, 0.4]),
        (0.0, [0.0, 0.0]),
        (0.25, [0.2, 0.3]),
        (0.35, [0.4, 0.36, 0.5]),
    ):
        what = f"with the untrained one at {untrained} and the others at {errors} the start"
        expect_close(votes.winner(untrained, errors), winner_of(untrained, errors), 1e-9, what)


@votes.requires(
    "the first task",
    "At the first task nothing is stored, so the untrained network is the start: -1, without an error.",
)
def _(votes: Votes, generator: torch.Generator) -> None:
    expect_close(votes.winner(0.4, []), UNTRAINED, 1e-9, "without a stored network the start")
