"""`check("01.3", answer)`: is an exercise solved, and if not, which property fails and why that matters?

The checks of a lesson are one module here. Each exercise has a reader, which turns what the student wrote
into something to test, and a list of named properties, tried in order over random inputs.

>>> check("01.1", ...)
○ 01.1 · not attempted. Put your answer in place of the dots, run its cell, then this one.
>>> check("01.1", 0.5)
✗ 01.1 · not yet (not linear). The best spread is not lambda itself: it falls faster. Set the derivative of the expected score with respect to s to zero.
>>> [exercise.id for exercise in exercises(lesson="01")][:3]
['01.1', '01.2', '01.3']
"""

from companion.foundations.validation import require
from companion.teaching.checks import (  # noqa: F401  (reading a lesson's module registers its exercises)
    lesson_01,
    lesson_02,
    lesson_03,
    lesson_04,
    lesson_05,
    lesson_06,
    lesson_07,
    lesson_08,
    lesson_09,
    lesson_10,
    lesson_f1,
    lesson_f2,
    lesson_f3,
    lesson_f4,
    lesson_f5,
)
from companion.teaching.checks.framework import REGISTRY, Exercise, Property, Verdict, judge

__all__ = ["Exercise", "Property", "Verdict", "check", "exercises"]


def check(exercise_id: str, answer: object, draw: int = 0) -> Verdict:
    """Judge an answer; a mistake in it is a verdict, never an exception.

    Args:
        exercise_id: such as "01.3".
        answer: what the exercise asks for: a number, a function, times, words.
        draw: which random inputs it is tried on; whoever grades takes others than 0.

    Returns:
        A `Verdict` that shows itself: *not attempted*, *error*, *not yet* or *right*.

    Raises:
        ValueError: an exercise that does not exist.
    """
    known = isinstance(exercise_id, str) and exercise_id in REGISTRY
    require(known, "exercise_id", repr(exercise_id), "one of " + ", ".join(sorted(REGISTRY)))
    return judge(REGISTRY[exercise_id], answer, draw)


def exercises(lesson: str | None = None) -> list[Exercise]:
    """All exercises, or those of one lesson ("01"), in order."""
    return [REGISTRY[name] for name in sorted(REGISTRY) if lesson is None or REGISTRY[name].lesson == lesson]
