"""What a check is made of: exercises, properties, verdicts, and the care with which answers are called.

An exercise is a function that reads the answer, decorated; its properties are functions of what was read.
Both say what is wrong with the helpers `expect...`, which raise; `judge` turns that into a verdict.

>>> from companion.teaching.checks.answers import expect_close, read_function
>>> @exercise("99.1", "Twice", difficulty=1, minutes=1, equation="none", takeaway="Doubling is linear.")
... def twice(answer):
...     return read_function(answer, "twice(x)")
>>> @twice.requires("linear", "Twice a sum is the sum of the doubles.")
... def _(twice, generator):
...     a, b = torch.randn(2, 5, generator=generator)
...     expect_close(twice(a + b), twice(a) + twice(b), 1e-5, "twice(a + b)")
>>> judge(twice, lambda x: 2 * x)
✓ 99.1 · right. Doubling is linear.
>>> judge(twice, lambda x: x**0)
✗ 99.1 · not yet (linear). Twice a sum is the sum of the doubles. (twice(a + b) came out as 1, expected 2.)
>>> del REGISTRY["99.1"]
"""

import html
import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from companion.foundations.validation import require
from companion.teaching.checks.answers import Crashed, NotAttempted, NotYet, require_attempt

Status = Literal["not attempted", "error", "not yet", "right"]
MARKS = {"not attempted": "○", "error": "!", "not yet": "✗", "right": "✓"}


@dataclass(frozen=True)
class Verdict:
    """What a check says about an answer.

    Attributes:
        exercise: its id.
        status: "not attempted", "error", "not yet" or "right".
        message: what fails and why that matters, or what the right answer shows.
        failed: the name of the property that fails, when the status is "not yet".
    """

    exercise: str
    status: Status
    message: str
    failed: str | None = None

    def __repr__(self) -> str:
        return f"{MARKS[self.status]} {self._headline()}. {self.message}"

    def _headline(self) -> str:
        return f"{self.exercise} · {self.status}" + (f" ({self.failed})" if self.failed else "")

    def _repr_html_(self) -> str:
        """The same words with a rule at their side; colours and fonts are the page's, so that every theme is legible."""
        return (
            '<div class="lim-verdict" role="status" style="border-left: 0.25em solid currentColor; '
            'padding: 0.25em 0.75em; margin: 0.5em 0; max-width: 48em">'
            f'<span aria-hidden="true">{MARKS[self.status]}</span> <strong>{html.escape(self._headline())}</strong>'
            f"<br>{html.escape(self.message)}</div>"
        )


@dataclass(frozen=True)
class Property:
    """One thing that every right answer has.

    Attributes:
        name: two or three words.
        why: what failing it means and why that matters.
        test: called with what the exercise's reader returned and a fresh generator; raises `NotYet`.
    """

    name: str
    why: str
    test: Callable[[object, torch.Generator], None] = field(repr=False)


@dataclass(frozen=True)
class Exercise:
    """One exercise and its check.

    Attributes:
        id: lesson and number, "01.3".
        title: as in the notebook's header.
        difficulty: 1 to 5.
        minutes: to solve it.
        equation: of the paper, "eq. (12)".
        takeaway: what a right answer shows; the message of the verdict "right".
        read: turns the raw answer into what the properties test.
        properties: tried in order; the first that fails is reported.
    """

    id: str
    title: str
    difficulty: int
    minutes: int
    equation: str
    takeaway: str
    read: Callable[[object], object] = field(repr=False)
    properties: list[Property] = field(default_factory=list, repr=False)

    @property
    def lesson(self) -> str:
        return self.id.split(".")[0]

    @property
    def header(self) -> str:
        """The two lines that open the exercise in its notebook."""
        return (
            f"## {self.id} · {self.title}\n\nDifficulty {self.difficulty}/5 · {self.minutes} minutes · {self.equation}"
        )

    def requires(self, name: str, why: str) -> Callable:
        """Decorator of a test: add it as a property."""

        def add(test: Callable[[object, torch.Generator], None]) -> Callable[[object, torch.Generator], None]:
            require(name not in {known.name for known in self.properties}, "name", repr(name), f"new in {self.id}")
            self.properties.append(Property(name, why, test))
            return test

        return add


REGISTRY: dict[str, Exercise] = {}


def exercise(
    exercise_id: str, title: str, *, difficulty: int, minutes: int, equation: str, takeaway: str
) -> Callable[[Callable[[object], object]], Exercise]:
    """Decorator of a reader: register an exercise; `.requires` of the result adds what it must hold."""
    require(exercise_id not in REGISTRY, "exercise_id", repr(exercise_id), "new")
    require(difficulty in range(1, 6), "difficulty", difficulty, "1, 2, 3, 4 or 5")

    def register(read: Callable[[object], object]) -> Exercise:
        REGISTRY[exercise_id] = Exercise(exercise_id, title, difficulty, minutes, equation, takeaway, read)
        return REGISTRY[exercise_id]

    return register


def judge(exercise: Exercise, answer: object, draw: int = 0) -> Verdict:
    """Read the answer and try the properties in order, each with its own fixed seed.

    The random inputs are those of `draw`: 0 for students, others for whoever grades them.

    The global random streams and torch's settings are put back afterwards, whatever the answer does to them.
    """

    def verdict(status: Status, message: str, failed: str | None = None) -> Verdict:
        return Verdict(exercise.id, status, message, failed)

    step = "type"
    try:
        with _settings_kept():
            require_attempt(answer)
            read = exercise.read(answer)
            for prop in exercise.properties:
                step = prop.name
                seed = zlib.crc32(f"{exercise.id} {prop.name}{f' {draw}' if draw else ''}".encode())
                try:
                    prop.test(read, torch.Generator().manual_seed(seed))
                except NotYet as found:
                    if found.failed is not None:
                        raise
                    return verdict("not yet", f"{prop.why} ({found}.)" if str(found) else prop.why, prop.name)
    except NotAttempted as missing:
        return verdict("not attempted", str(missing))
    except NotYet as found:
        return verdict("not yet", str(found), found.failed or step)
    except Crashed as error:
        return verdict("error", str(error))
    except Exception as error:  # an answer so odd that a property stumbled over it
        return verdict(
            "error", f"Your answer could not be read while testing '{step}'. {type(error).__name__}: {error}"
        )
    return verdict("right", exercise.takeaway)


@contextmanager
def _settings_kept() -> Iterator[None]:
    numpy_state, python_state = np.random.get_state(), random.getstate()
    dtype = torch.get_default_dtype()
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        torch.set_default_dtype(dtype)
