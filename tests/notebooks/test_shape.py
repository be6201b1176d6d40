"""Lessons keep the shape that makes them readable in one sitting, and the tags that tools read."""

import re
import statistics
from dataclasses import dataclass

import pytest
from subjects import (
    EXERCISES,
    FOUNDATIONS,
    LESSONS,
    METHODS,
    SOURCES,
    START,
    code_lines,
    headings,
    line_counts,
    name,
    prose,
    read,
    tagged,
    tags,
    word_count,
)

from companion.classroom.light import code_cells

VOCABULARY = {
    "parameters", "setup", "claim", "widget", "exercise", "check", "solution", "hint",
    "slow", "hide-input", "remove-cell", "raises-exception", "nbval-ignore-output",
}  # fmt: skip
PARAMETERS = 'PROFILE = "lesson"\nSEED = 0\nDEVICE = "auto"'


@dataclass(frozen=True)
class Limits:
    """Code cells, lines of code in all, in one cell and in the median cell, and words of prose."""

    cells: tuple[int, int]
    lines: int
    longest: int
    median: int
    words: tuple[int, int]


LESSON = Limits(cells=(12, 25), lines=180, longest=30, median=8, words=(1500, 2500))
FOUNDATION = Limits(cells=(6, 13), lines=90, longest=30, median=8, words=(750, 1250))
FIRST = Limits(cells=(5, 12), lines=70, longest=20, median=8, words=(250, 1100))
EXERCISE = Limits(cells=(8, 35), lines=200, longest=30, median=8, words=(500, 2500))
PAIR = Limits(cells=(4, 13), lines=100, longest=30, median=8, words=(250, 1250))  # the two exercises of a foundation
LIMITS = {START: FIRST} | dict.fromkeys(METHODS, LESSON) | dict.fromkeys(FOUNDATIONS, FOUNDATION)
LIMITS |= {path: PAIR if path.stem in {one.stem for one in FOUNDATIONS} else EXERCISE for path in EXERCISES}


def outgrown(counts: list[int], words: int, limits: Limits) -> list[str]:
    """Which limits a notebook breaks, in words."""
    measured = {
        "code cells": (len(counts), *limits.cells),
        "lines of code": (sum(counts), 0, limits.lines),
        "lines in the longest cell": (max(counts), 0, limits.longest),
        "lines in the median cell": (statistics.median(counts), 0, limits.median),
        "words": (words, *limits.words),
    }
    return [
        f"{value} {what}, not {low} to {high}"
        for what, (value, low, high) in measured.items()
        if not low <= value <= high
    ]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_size(path):
    assert outgrown(line_counts(path), word_count(path), LIMITS[path]) == []


def test_a_lesson_that_grew_is_refused():
    assert outgrown([8] * 20, 2000, LESSON) == []
    assert outgrown([8] * 23, 2000, LESSON) == ["184 lines of code, not 0 to 180"]
    assert len(outgrown([31] * 26, 2501, LESSON)) == 5


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_tags_are_of_the_vocabulary(path):
    assert {tag for cell in read(path).cells for tag in tags(cell)} <= VOCABULARY


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_it_begins_with_parameters_and_setup(path):
    first, second, *rest = code_cells(read(path))
    assert tags(first) == {"parameters"}
    own = first.source.removeprefix(PARAMETERS).strip().splitlines()  # settings of a lesson, to sweep over
    assert first.source.startswith(PARAMETERS)
    assert all(re.match(r"[a-z_]+ = \S+  # ", line) for line in own)
    assert tags(second) == {"setup"}
    assert not any({"parameters", "setup"} & tags(cell) for cell in rest)


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_at_least_three_widgets_or_one(path):
    assert len(tagged(path, "widget")) >= (3 if path in METHODS else 1)


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_three_to_six_claims_or_half_as_many_each_in_a_tagged_cell(path):
    claims = [cell for cell in code_cells(read(path)) if re.search(r"^\s*claim\(", cell.source, flags=re.MULTILINE)]
    assert claims == tagged(path, "claim")
    fewest, most = (3, 6) if path in METHODS else (2, 3)
    assert fewest <= sum(cell.source.count("claim(") for cell in claims) <= most


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_it_opens_with_what_a_reader_asks_first(path):
    opening = read(path).cells[0].source
    assert opening.startswith("# ")
    for words in ("You will be able to", "You need first", "Minutes", "Paper" if path in METHODS else "Needed by"):
        assert f"**{words}**" in opening


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_its_sections_are_all_there(path):
    found = headings(path)
    assert found[0] == re.sub(r"\s+", " ", found[0])
    of_a_method = ("Rivals at equal cost", "Real data") if path in METHODS else ()
    for words in (*of_a_method, "Where it fails", "Common mistakes", "Exercises", "What to read next"):
        assert any(heading.startswith(words) for heading in found), words


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_cell_installs_or_fetches(path):
    for cell in code_cells(read(path)):
        assert not re.search(r"^\s*[!%]|pip install|https?://|urlopen", cell.source, flags=re.MULTILINE)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_every_code_cell_has_code(path):
    assert all(code_lines(cell) for cell in code_cells(read(path)))


@pytest.mark.parametrize("path", [START, *LESSONS], ids=name)
def test_links_to_notebooks_lead_somewhere(path):
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), target


MEASURED = re.compile(
    r"(?<![\w./])\d*\.\d+(?![\w.])|\d+(?:\.\d+)? ?(?:%|per cent|times (?:as|better|worse|faster|slower))"
)
REFERENCE = re.compile(r"arXiv \d{4}\.\d{4,5}|Proposition \d\.\d|\b\d\d\.\d\b")  # a paper, a place in it, an exercise


def quoted_results(text: str) -> list[str]:
    """What reads like a measured result: a decimal number, a share, a ratio."""
    return MEASURED.findall(REFERENCE.sub(" ", text))


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_prose_leaves_measured_numbers_to_the_claims(path):
    assert quoted_results(prose(path)) == []


def test_a_quoted_result_is_found():
    assert quoted_results("The distance is 0.013, 5 % of the rival's, or 20 times better.") == [
        "0.013",
        "5 %",
        "20 times better",
    ]
    assert quoted_results("With 8 draws and 4 steps (exercise 01.3; arXiv 2502.02483).") == []
