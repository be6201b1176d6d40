"""Answers to the exercises of every lesson: wrong ones get the hint that fits, other right ones pass.

A lesson's answers are the lists WRONG, of (exercise, mistake, answer, failed property), and RIGHT, of (exercise,
answer), of its module `test_lesson_NN.py`. Checks draw random inputs, the same ones each time; the answers in DRAWN are
right on others, too (all of RIGHT, where a lesson has no such list), and wrong answers to the exercises in STEADY, if there
are any, get the same hint there.
"""

import importlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from companion.teaching.checks import check, exercises

LESSONS = sorted(path.stem for path in Path(__file__).parent.glob("test_lesson_*.py"))
ANSWERS = [importlib.import_module(name) for name in LESSONS]
WRONG = [row for lesson in ANSWERS for row in lesson.WRONG]
RIGHT = [row for lesson in ANSWERS for row in lesson.RIGHT]
DRAWN = [row for lesson in ANSWERS for row in getattr(lesson, "DRAWN", lesson.RIGHT)]
STEADY = {name for lesson in ANSWERS for name in getattr(lesson, "STEADY", ())}
FEWEST = {"08": 8, "09": 15, "10": 15}  # wrong answers to each exercise of a lesson; 7 elsewhere


def names(rows):
    """How a test names answers: by their exercise, and by the mistake or their place in the list."""
    return [f"{row[0]} {row[1] if len(row) > 2 else place}" for place, row in enumerate(rows)]


@pytest.mark.parametrize(("exercise", "mistake", "answer", "failed"), WRONG, ids=names(WRONG))
def test_a_wrong_answer_gets_the_hint_that_fits(exercise, mistake, answer, failed):
    verdict = check(exercise, answer)
    assert (verdict.status, verdict.failed) == ("not yet", failed), verdict


@pytest.mark.slow
@pytest.mark.parametrize(("exercise", "mistake", "answer", "failed"), WRONG, ids=names(WRONG))
def test_a_wrong_answer_is_wrong_on_other_draws(exercise, mistake, answer, failed):
    verdict = check(exercise, answer, draw=1)
    assert verdict.status != "right"
    assert verdict.failed == failed or exercise not in STEADY, verdict


@pytest.mark.parametrize(("exercise", "answer"), RIGHT, ids=names(RIGHT))
def test_another_way_to_be_right_passes(exercise, answer):
    verdict = check(exercise, answer)
    assert verdict.status == "right", verdict


@pytest.mark.parametrize("draw", range(1, 6))
@pytest.mark.parametrize(("exercise", "answer"), DRAWN, ids=names(DRAWN))
def test_a_right_answer_passes_on_other_draws(exercise, answer, draw):
    verdict = check(exercise, answer, draw)
    assert verdict.status == "right", verdict


def by_heart(answer, tapes=None):
    """An answer whose functions note what they return; given these notes, one that says the same again, whatever is asked."""
    if isinstance(answer, dict):
        return {name: by_heart(part, tapes and tapes[name]) for name, part in answer.items()}
    if not callable(answer):
        return answer
    if tapes is not None:
        said = iter(tapes.said)
        return lambda *asked: next(said)

    def noting(*asked):
        noting.said.append(answer(*asked))
        return noting.said[-1]

    noting.said = []
    return noting


def has_functions(answer):
    return any(map(has_functions, answer.values())) if isinstance(answer, dict) else callable(answer)


# 02.4 asks for p-values, and those of other walks look alike; 10.6 is a learner on three streams, the same each time.
ALIKE = ("02.4", "10.6")
WITH_FUNCTIONS = {row[0]: row for row in reversed(RIGHT) if has_functions(row[1]) and row[0] not in ALIKE}


@pytest.mark.parametrize(("exercise", "answer"), WITH_FUNCTIONS.values(), ids=WITH_FUNCTIONS)
def test_an_answer_that_knows_its_draws_by_heart_fails_on_others(exercise, answer):
    noting = by_heart(answer)
    assert check(exercise, noting).status == "right"
    assert check(exercise, by_heart(answer, noting), draw=1).status != "right"


ODD = (
    False,
    -1,
    -1.5,
    "x",
    [],
    {},
    (1, 2),
    torch.zeros(3),
    np.zeros((2, 2)),
    lambda: None,
    object(),
    math.nan,
    True,
    {1: 2},
)
FIRST_RIGHT = {row[0]: row for row in reversed(RIGHT)}


@pytest.mark.parametrize(("exercise", "answer"), FIRST_RIGHT.values(), ids=FIRST_RIGHT)
def test_answers_of_any_type_get_a_verdict(exercise, answer):
    for odd in (*ODD, nn.Linear(1, 1)):
        given = [odd, lambda *case, odd=odd: odd] if callable(answer) else [odd]
        for part in answer if isinstance(answer, dict) else ():
            given.append(answer | {part: odd})
            if callable(answer[part]):
                given.append(answer | {part: lambda *case, odd=odd: odd})
        for each in given:
            assert check(exercise, each).status in ("not yet", "error"), each


@pytest.mark.parametrize(
    "exercise", [one for name in LESSONS for one in exercises(name[-2:])], ids=lambda exercise: exercise.id
)
def test_every_property_catches_somebody(exercise):
    caught = {failed for name, _, _, failed in WRONG if name == exercise.id}
    assert caught >= {prop.name for prop in exercise.properties}
    assert len([row for row in WRONG if row[0] == exercise.id]) >= FEWEST.get(exercise.lesson, 7)


def test_every_exercise_belongs_to_a_lesson_whose_answers_are_here():
    assert {one.lesson for one in exercises()} == {name[-2:] for name in LESSONS}


def test_each_wrong_answer_has_a_name_of_its_own():
    names = [row[:2] for row in WRONG]
    assert len(set(names)) == len(names)
    assert all(mistake for _, mistake in names)
