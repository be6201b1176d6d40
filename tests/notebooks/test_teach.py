"""Each lesson has a page for whoever teaches it: two plans without a gap, what to discuss, and every exercise."""

import re

import pytest
from subjects import LESSONS, ROOT, name

from companion.teaching import curriculum
from companion.teaching.checks import exercises

SECTIONS = (
    "What students take away",
    "The one idea to get across",
    "45 minutes",
    "90 minutes",
    "Questions to ask, and wrong answers to expect",
    "To discuss",
    "The exercises",
    "Grading",
)
KNOWN = {exercise.id for exercise in exercises()}


def sections(text: str) -> dict[str, str]:
    """The text below each heading, by the heading up to its colon."""
    parts = re.split(r"^## ([^:\n]+).*$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def plan(text: str) -> list[tuple[int, int]]:
    """From which minute to which each row of a plan goes."""
    return [(int(start), int(end)) for start, end in re.findall(r"^\| (\d+)–(\d+) ", text, flags=re.M)]


@pytest.fixture(params=LESSONS, ids=name)
def page(request) -> tuple[str, str]:
    lesson = request.param.stem
    return lesson.split("_")[0], (ROOT / "book" / "teach" / f"{lesson}.md").read_text(encoding="utf-8")


def test_its_sections_are_all_there(page):
    assert set(SECTIONS) <= sections(page[1]).keys()


def test_its_plans_have_no_gap(page):
    """The longer one may go on from a row of the shorter."""
    found = sections(page[1])
    short, long = plan(found["45 minutes"]), plan(found["90 minutes"])
    for rows, minutes in (short, 45), (long, 90):
        assert [end for _, end in rows] == [*(start for start, _ in rows[1:]), minutes]
    assert short[0][0] == 0
    assert long[0][0] in {0, *(start for start, _ in short)}


def test_it_speaks_of_each_exercise_and_of_none_that_is_not_there(page):
    lesson, text = page
    asked = set(re.findall(rf"(?<![\d.])((?:{'|'.join(curriculum.LESSONS)})\.\d)(?!\d)", text))
    assert asked <= KNOWN
    assert {exercise.id for exercise in exercises(lesson)} <= asked
