"""Exercise 10.2: the search for a start has a price, too.

>>> cost_of(train=400, dev=80, stored=3, last=20, forward=1000, width=32, pictures=300)
7664000
>>> round(SAVED, 2), DEARER_FROM
(3.82, 3)
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

COST = "search_cost(train, dev, stored, last, forward, width, pictures)"
SAVED = 21 * (300 + 100) / (11 * (100 + 100))
DEARER_FROM = 3
Case = tuple[int, int, int, int | None, int, int, int | None]
Formula = Callable[..., float]


def cost_of(
    train: int,
    dev: int,
    stored: int,
    last: int | None,
    forward: int,
    width: int,
    pictures: int | None,
    *,
    more: int = 1,
    each: int = 2,
) -> int:
    """Operations of one search: `more` candidates than stored ones, `each` operations for a part of a distance."""
    if stored == 0:
        return 0
    candidates = (stored if last is None else min(stored, last)) + more
    shown, asked = (count if pictures is None else min(count, pictures) for count in (train, dev))
    return candidates * ((shown + asked) * forward + each * shown * asked * width)


class Searches:
    """The student's function and their two numbers."""

    def __init__(self, cost: StudentFunction, saved: float, dearer_from: float) -> None:
        self._cost, self.saved, self.dearer_from = cost, saved, dearer_from

    def __call__(self, *case: int | None) -> float:
        return read_number(self._cost(*case), COST)


@exercise(
    "10.2",
    "Meter the search",
    difficulty=2,
    minutes=15,
    equation="the paper's learner Dynamic",
    takeaway="Every candidate sees every picture that is shown, so the search grows with the store while training stays what it is: after a few tasks choosing costs more than learning. Fewer pictures and fewer candidates save in proportion, distances as the square.",
)
def searches(answer: object) -> Searches:
    parts = read_parts(answer, ("search_cost", "saved", "dearer_from"))
    return Searches(
        read_function(parts["search_cost"], COST),
        read_number(parts["saved"], "saved"),
        read_number(parts["dearer_from"], "dearer_from"),
    )


def _case(generator: torch.Generator, **fixed: int | None) -> Case:
    """Pictures and candidates that no limit touches."""

    def between(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    drawn = {
        "train": between(100, 200),
        "dev": between(30, 60),
        "stored": between(3, 9),
        "last": 20,
        "forward": between(1000, 2000),
        "width": between(20, 40),
        "pictures": 300,
    }
    return tuple((drawn | fixed).values())


def _compare(searches: Searches, cases: Sequence[Case], suspects: Sequence[tuple[Formula, str]]) -> None:
    came = [searches(*case) for case in cases]
    for formula, words in suspects:
        same = all(math.isclose(mine, formula(*case), rel_tol=1e-9) for mine, case in zip(came, cases))
        right = all(math.isclose(cost_of(*case), formula(*case), rel_tol=1e-9) for case in cases)
        expect(right or not same, words)
    for mine, case in zip(came, cases):
        words = "with train {}, dev {}, stored {}, last {}, forward {}, width {} and pictures {} the cost"
        expect_close(mine, cost_of(*case), 1e-9, words.format(*case))


@searches.requires(
    "both sets are shown",
    "Each candidate is shown the training pictures, which vote, and the development pictures, which are voted on, each "
    "once and forward only.",
)
def _(searches: Searches, generator: torch.Generator) -> None:
    cases = [_case(generator, width=0) for _ in range(3)]
    suspects = []
    for more in (0, 1):
        suspects += [
            (lambda a, b, k, last, f, w, p, more=more: (k + more) * a * f, "yours shows the training pictures alone"),
            (
                lambda a, b, k, last, f, w, p, more=more: (k + more) * b * f,
                "yours shows the development pictures alone",
            ),
            (lambda a, b, k, last, f, w, p, more=more: (k + more) * a * b * f, "yours shows each pair of pictures"),
            (lambda a, b, k, last, f, w, p, more=more: 3 * (k + more) * (a + b) * f, "nothing is trained in a search"),
        ]
    suspects.append((lambda a, b, k, last, f, w, p: (a + b) * f, "yours shows them to one network only"))
    _compare_but_for_candidates(searches, cases, suspects)


def _compare_but_for_candidates(searches: Searches, cases: Sequence[Case], suspects: Sequence) -> None:
    """As `_compare`, but leave one candidate more or less to the next property."""
    came = [searches(*case) for case in cases]
    for more in (0, 2):
        if all(math.isclose(mine, cost_of(*case, more=more), rel_tol=1e-9) for mine, case in zip(came, cases)):
            return
    _compare(searches, cases, suspects)


@searches.requires(
    "the untrained, too",
    "The untrained network is a candidate: it is shown the pictures as the stored ones are. So there is one candidate more "
    "than there are stored networks.",
)
def _(searches: Searches, generator: torch.Generator) -> None:
    cases = [_case(generator, width=0) for _ in range(3)]
    suspects = (
        (lambda *case: cost_of(*case, more=0), "yours has the stored ones alone"),
        (lambda *case: cost_of(*case, more=2), "yours has one too many"),
    )
    _compare(searches, cases, suspects)


@searches.requires(
    "distances",
    "A vote needs the distance of each development picture to each training picture: two operations for each of `width` "
    "numbers, for every candidate anew, since each has its own representation.",
)
def _(searches: Searches, generator: torch.Generator) -> None:
    cases = [_case(generator, forward=0) for _ in range(3)]
    suspects = (
        (lambda *case: 0, "yours leaves them out"),
        (lambda a, b, k, last, f, w, p: (k + 1) * a * b * w, "a difference's square and its sum are two operations"),
        (lambda a, b, k, last, f, w, p: 2 * a * b * w, "yours computes them once, for all candidates"),
        (lambda a, b, k, last, f, w, p: 2 * (k + 1) * a * b, "yours has representations of a single number"),
        (lambda a, b, k, last, f, w, p: 2 * (k + 1) * (a + b) * w, "yours has a distance a picture, not a pair"),
        (lambda a, b, k, last, f, w, p: 2 * (k + 1) * (a + b) ** 2 * w, "yours compares all pictures with all"),
        (lambda a, b, k, last, f, w, p: 2 * (k + 1) * a * a * w, "yours compares training pictures with each other"),
        (lambda a, b, k, last, f, w, p: 10 * (k + 1) * b * w, "the five nearest are known only when all are measured"),
    )
    _compare(searches, cases, suspects)


@searches.requires(
    "at most so many",
    "At most `pictures` of the training pictures are shown, and at most `pictures` of the development pictures: each set has "
    "the limit for itself, in passes and in distances. None is no limit.",
)
def _(searches: Searches, generator: torch.Generator) -> None:
    cases = [_case(generator, pictures=pictures) for pictures in (70, 80, 20, 25, None)]

    def limited(shown: Callable[[int, int, int], tuple[int, int]], measured: Callable | None = None) -> Formula:
        def formula(a, b, k, last, f, w, p):
            p = max(a, b) if p is None else p
            first, second = shown(a, b, p)
            left, right = (measured or shown)(a, b, p)
            return (k + 1) * ((first + second) * f + 2 * left * right * w)

        return formula

    def both(a, b, p):
        return min(a, p), min(b, p)

    def neither(a, b, p):
        return a, b

    suspects = (
        (limited(neither), "yours does not look at the limit"),
        (limited(lambda a, b, p: (p, p)), "yours shows more pictures than there are"),
        (limited(lambda a, b, p: (min(a, p), b)), "yours limits the training pictures alone"),
        (limited(both, neither), "yours measures distances between pictures that were never shown"),
        (limited(neither, both), "yours limits the distances alone"),
    )
    _compare(searches, cases, suspects)


@searches.requires(
    "the newest only",
    "Of the stored networks at most the `last` newest are candidates, and the untrained one comes on top. None is no limit.",
)
def _(searches: Searches, generator: torch.Generator) -> None:
    cases = [_case(generator, stored=stored, last=last) for stored, last in ((30, 20), (12, 10), (50, None), (5, 5))]
    suspects = (
        (lambda a, b, k, last, *rest: cost_of(a, b, k, None, *rest), "yours asks all that are stored"),
        (
            lambda a, b, k, last, *rest: cost_of(a, b, k if last is None else last, None, *rest),
            "yours has candidates that do not exist",
        ),
        (
            lambda a, b, k, last, *rest: cost_of(
                a, b, k + 1 if last is None else min(k + 1, last), None, *rest, more=0
            ),
            "yours counts the untrained one among the last",
        ),
    )
    _compare(searches, cases, suspects)
    few = [_case(generator, stored=stored, last=20) for stored in (1, 2)]
    _compare(
        searches,
        few,
        ((lambda a, b, k, last, *rest: cost_of(a, b, last, None, *rest), "yours has candidates that do not exist"),),
    )


@searches.requires(
    "nothing to choose",
    "At the first task nothing is stored. The untrained network is the only candidate, so nobody asks it anything: 0.",
)
def _(searches: Searches, generator: torch.Generator) -> None:
    for last in (20, None):
        expect_close(searches(*_case(generator, stored=0, last=last)), 0.0, 1e-9, "with nothing stored the cost")


@searches.requires(
    "what a small search saves",
    "21 candidates with 300 + 100 pictures against 11 with 100 + 100. The limit cuts the training pictures to a third, but "
    "there were never more than 100 development pictures.",
)
def _(searches: Searches, generator: torch.Generator) -> None:
    for wrong, words in (
        (1 / SAVED, "yours is the other way round"),
        (20 * 400 / (10 * 200), "yours forgets the untrained candidate"),
        (21 * 600 / (11 * 200), "yours shows 300 development pictures where there are 100"),
        (21 * 300 / (11 * 100), "yours leaves out the development pictures"),
        (2.0, "yours leaves the candidates as they are, or the pictures"),
        (61 * 400 / (61 * 200), "yours asks all 60"),
        (21 * 600 / (11 * 600), "yours leaves the pictures as they are"),
    ):
        expect(abs(searches.saved - wrong) > 2e-3 * wrong, words)
    expect_close(searches.saved / SAVED, 1, 1e-2, "your factor over the right one")


@searches.requires(
    "dearer than training",
    "One candidate costs 200 + 40 = 240 units, training 15 x 16 x 3 + 128 = 848. Three candidates are 720 and four are "
    "960: with how many *stored* networks are there four?",
)
def _(searches: Searches, generator: torch.Generator) -> None:
    for wrong, words in (
        (4, "that is the number of candidates, with the untrained one"),
        (2, "three candidates still cost less"),
        (5, "with 3 stored networks there are four candidates, and 960 is more than 848 already"),
    ):
        expect(searches.dearer_from != wrong, words)
    expect_close(searches.dearer_from, DEARER_FROM, 1e-9, "dearer_from")
