"""Answers to the exercises of every lesson: wrong ones get the hint that fits, other right ones pass.

A lesson's answers are the lists WRONG, of (exercise, mistake, answer, failed property), and RIGHT, of (exercise,
answer), of its module `test_lesson_NN.py`. Checks draw random inputs, the same ones each time; the answers in DRAWN are
right on others, too (all of RIGHT, where a lesson has no such list), and wrong answers to the exercises in STEADY, if there
are any, get the same hint there.
"""

import importlib
from pathlib import Path

import pytest

from companion.teaching.checks import check, exercises
from companion.teaching.checks.framework import REGISTRY, judge

LESSONS = sorted(path.stem for path in Path(__file__).parent.glob("test_lesson_*.py"))
ANSWERS = [importlib.import_module(name) for name in LESSONS]
WRONG = [row for lesson in ANSWERS for row in lesson.WRONG]
RIGHT = [row for lesson in ANSWERS for row in lesson.RIGHT]
DRAWN = [row for lesson in ANSWERS for row in getattr(lesson, "DRAWN", lesson.RIGHT)]
STEADY = [row for lesson in ANSWERS for row in lesson.WRONG if row[0] in getattr(lesson, "STEADY", ())]
FEWEST = {"08": 8, "09": 15, "10": 15}  # wrong answers to each exercise of a lesson; 7 elsewhere


def names(rows):
    """How a test names answers: by their exercise, and by the mistake or their place in the list."""
    return [f"{row[0]} {row[1] if len(row) > 2 else place}" for place, row in enumerate(rows)]


@pytest.mark.parametrize(("exercise", "mistake", "answer", "failed"), WRONG, ids=names(WRONG))
def test_a_wrong_answer_gets_the_hint_that_fits(exercise, mistake, answer, failed):
    verdict = check(exercise, answer)
    assert (verdict.status, verdict.failed) == ("not yet", failed), verdict


@pytest.mark.slow
@pytest.mark.parametrize(("exercise", "mistake", "answer", "failed"), STEADY, ids=names(STEADY))
def test_a_wrong_answer_gets_the_same_hint_on_other_draws(exercise, mistake, answer, failed):
    assert judge(REGISTRY[exercise], answer, draw=1).failed == failed


@pytest.mark.parametrize(("exercise", "answer"), RIGHT, ids=names(RIGHT))
def test_another_way_to_be_right_passes(exercise, answer):
    verdict = check(exercise, answer)
    assert verdict.status == "right", verdict


@pytest.mark.parametrize("draw", range(1, 6))
@pytest.mark.parametrize(("exercise", "answer"), DRAWN, ids=names(DRAWN))
def test_a_right_answer_passes_on_other_draws(exercise, answer, draw):
    verdict = judge(REGISTRY[exercise], answer, draw)
    assert verdict.status == "right", verdict


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
