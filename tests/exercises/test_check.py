"""What `check` promises whatever the exercise: a verdict for every answer, and nothing changed behind the student's back."""

import html.parser
import math
import random
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from companion.foundations.diffusion import bridge
from companion.methods.distributional import energy_score_loss
from companion.teaching.checks import Verdict, check, exercises

FUNCTIONS = ("01.2", "01.3", "01.5")
IDS = [exercise.id for exercise in exercises()]


def step(x_t, x0, t, s, churn, noise):
    mean, std = bridge(x_t, x0, t, s, churn)
    return mean + std * noise


def test_an_unknown_exercise_is_refused_with_the_known_ones():
    for name in ("01.99", 1.1, None):
        with pytest.raises(ValueError, match=r"^exercise_id is .*, but must be one of 01\.1, 01\.2, .*\.$"):
            check(name, 0.5)


@pytest.mark.parametrize("exercise", IDS)
@pytest.mark.parametrize("stub", [None, ..., [...], {"narrow": ..., "wide": 1}])
def test_dots_and_none_are_not_attempted(exercise, stub):
    assert check(exercise, stub).status == "not attempted"


def raise_not_implemented(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize("exercise", FUNCTIONS)
@pytest.mark.parametrize("stub", [lambda *a: None, lambda *a: ..., raise_not_implemented])
def test_functions_without_a_body_are_not_attempted(exercise, stub):
    assert check(exercise, stub).status == "not attempted"


def test_a_missing_part_is_named():
    empty = {"narrow": lambda n, generator: None, "wide": lambda n, generator: None, "score_left": lambda mean, y: None}
    verdict = check("01.4", empty)
    assert verdict.status == "not attempted"
    assert "narrow" in verdict.message


def test_nothing_returned_later_is_a_mistake_not_a_stub():
    verdict = check("01.5", lambda *given: step(*given) if given[4] > 0 else None)
    assert (verdict.status, verdict.failed) == ("not yet", "returns")
    assert "churn = 0" in verdict.message


STUDENT = """
def helper(x):
    return x @ torch.ones(7)

def energy_score(predictions, target, beta, lam):
    total = 0
    return helper(predictions)
"""


def test_a_crash_is_reported_with_its_line_in_the_students_code():
    cell = {"torch": torch}
    exec(compile(STUDENT, "/tmp/ipykernel_1/2.py", "exec"), cell)
    verdict = check("01.3", cell["energy_score"])
    assert verdict.status == "error"
    assert verdict.message.startswith("RuntimeError: ")
    assert "at line 3 of your code" in verdict.message
    assert "predictions of shape (4, 6, 2)" in verdict.message
    assert "\n" not in verdict.message


def calls_the_library_wrongly(x_t, x0, t, s, churn, noise):
    return bridge(x_t, x0, s, t, churn)


def test_a_crash_inside_a_library_is_traced_to_the_students_call():
    verdict = check("01.5", calls_the_library_wrongly)
    line = calls_the_library_wrongly.__code__.co_firstlineno + 1
    assert verdict.status == "error"
    assert f"line {line} of your code (`return bridge(x_t, x0, s, t, churn)`)" in verdict.message
    assert "ValueError: (t, s) is" in verdict.message


def recurse(lam, beta):
    return recurse(lam, beta)


@pytest.mark.parametrize(
    ("exercise", "answer", "error"),
    [
        ("01.2", lambda lam: lam, "TypeError"),
        ("01.2", lambda lam, beta: 1 / 0, "ZeroDivisionError"),
        ("01.2", lambda lam, beta: missing, "NameError"),
        ("01.2", lambda lam, beta: sys.exit(), "SystemExit"),
        ("01.2", recurse, "RecursionError"),
        ("01.3", lambda predictions, target, beta, lam: predictions + torch.ones(99), "RuntimeError"),
        ("01.5", lambda *given: given[9], "IndexError"),
    ],
)
def test_crashes_are_errors(exercise, answer, error):
    verdict = check(exercise, answer)
    assert verdict.status == "error"
    assert error in verdict.message


class Odd:
    """An answer that answers nothing."""

    def __repr__(self):
        raise RuntimeError("no words")

    def __eq__(self, other):
        raise RuntimeError("no equals")

    __hash__ = None


def odd_answers():
    yield from (Odd(), object(), [], {}, "", b"", 1j, True, math.inf, np.nan, np.zeros(0), torch.zeros(0), torch.eye(2))
    yield from (id, Odd, lambda *a: Odd(), lambda *a: "right", lambda *a: a, lambda *a: torch.zeros(3, 3, 3))
    yield from (
        lambda *a: np.array(1.0),
        lambda *a: torch.tensor(1),
        lambda *a: torch.tensor(math.nan),
        torch.nn.Linear(1, 1),
    )


@pytest.mark.parametrize("exercise", IDS)
def test_no_answer_makes_a_check_raise_or_passes_by_being_odd(exercise):
    for answer in odd_answers():
        verdict = check(exercise, answer)
        assert verdict.status in ("error", "not yet"), verdict
        assert verdict.message
        assert not re.search(r"\n| at 0x", verdict.message), verdict  # the same in every run, and on one line
        if verdict.status == "not yet":
            assert verdict.failed


def changes_target(predictions, target, beta, lam):
    value = energy_score_loss(predictions, target, beta, lam)
    target.zero_()
    return value


def test_an_answer_that_writes_into_its_inputs_is_told_which():
    verdict = check("01.3", changes_target)
    assert (verdict.status, verdict.failed) == ("not yet", "inputs untouched")
    assert "changes target" in verdict.message


def test_the_global_streams_and_settings_are_left_alone():
    def meddles(lam, beta):
        torch.manual_seed(0), np.random.seed(0), random.seed(0)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        return 0.5

    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    expected = torch.rand(3), np.random.rand(3), random.random()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    check("01.2", meddles)
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])
    assert random.random() == expected[2]


def test_a_check_says_the_same_every_time_wherever_the_global_seed_is():
    for answer in (lambda lam, beta: lam**0.5, lambda lam, beta: min(lam, 1.0)):
        torch.manual_seed(1)
        first = check("01.2", answer)
        torch.manual_seed(2)
        assert check("01.2", answer) == first


def test_an_answer_for_one_input_only_is_caught():
    """Every property draws inputs of its own, so what was learned from the first is not enough."""
    seen = []

    def remembers(predictions, target, beta, lam):
        seen.append((predictions.double(), target.double()))
        torch.manual_seed(0)
        return energy_score_loss(*seen[0], beta, lam).to(predictions.dtype)

    assert check("01.3", remembers).status == "not yet"
    assert not any(torch.equal(seen[0][1], later) for _, later in seen[2:])


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.opened, self.styles, self.words = [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.opened.append(tag)
        self.styles += dict(attributes).get("style", "")

    def handle_data(self, data):
        self.words += data


def test_a_verdict_shows_the_same_words_as_text_and_as_html():
    verdict = Verdict("01.3", "not yet", "a < b & c", "sign")
    assert repr(verdict) == "✗ 01.3 · not yet (sign). a < b & c"
    page = Tags(verdict._repr_html_())
    assert page.words == repr(verdict).replace("(sign). ", "(sign)")
    assert set(page.opened) == {"div", "span", "strong", "br"}


def test_a_verdict_takes_its_colours_from_the_page():
    for status in ("not attempted", "error", "not yet", "right"):
        styles = Tags(Verdict("01.1", status, "words")._repr_html_()).styles
        assert "currentColor" in styles
        assert not re.search(r"#[0-9a-fA-F]{3}|rgb|background|(^|[;\s])color\s*:", styles)


def test_verdicts_are_one_line_and_the_same_in_another_process():
    code = "from companion.teaching.checks import check; print(repr(check('01.2', lambda lam, beta: lam**0.5 + beta)))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    assert other.stdout == repr(check("01.2", lambda lam, beta: lam**0.5 + beta)) + "\n"


def test_the_registry_tells_a_grader_what_it_needs():
    found = exercises("01")
    assert [exercise.id for exercise in found] == [f"01.{number}" for number in range(1, len(found) + 1)]
    assert exercises("99") == []
    for exercise in found:
        assert exercise.lesson == "01"
        assert exercise.title
        assert exercise.equation
        assert exercise.takeaway.endswith(".")
        assert 1 <= exercise.difficulty <= 5
        assert 1 <= exercise.minutes <= 30
        assert len(exercise.properties) >= 3
        for prop in exercise.properties:
            assert prop.why.endswith((".", "?")), prop.name
            assert len(prop.name.split()) <= 4
