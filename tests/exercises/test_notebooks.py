"""The exercise notebooks: solutions are right, stubs not attempted, headers say what the registry says.

What the committed solutions show is what a kernel says: they run for the book, and are compared there.
"""

import math
import re
from functools import partial
from pathlib import Path

import nbformat
import pytest
import torch

from companion.classroom.light import read_source, tags
from companion.classroom.students import NUMBERED, STUB, student_notebook
from companion.teaching.checks import check, exercises

FOLDER = Path(__file__).parents[2] / "notebooks" / "exercises"
SOURCES = sorted(FOLDER.glob(f"{NUMBERED}.py"))
each_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in tags(cell)]


def verdicts(notebook):
    """The text of what each check cell shows, by exercise."""
    outputs = [output for cell in tagged(notebook, "check") for output in cell.outputs]
    shown = [output.data["text/plain"] for output in outputs]
    return {text.split()[1]: text for text in shown}


def names(path):
    return [exercise.id for exercise in exercises(path.stem[:2])]


def test_there_are_exercises():
    assert SOURCES
    assert all(names(path) for path in SOURCES)


@each_source
def test_every_solution_is_right_in_its_notebook(path):
    shown = verdicts(nbformat.read(path.with_suffix(".ipynb"), as_version=4))
    assert list(shown) == names(path)
    assert all(text.startswith(f"✓ {name} · right. ") for name, text in shown.items()), shown


@each_source
def test_in_the_student_notebook_every_solution_is_a_stub(path):
    student = student_notebook(read_source(path))
    stubs = [cell.source for cell in tagged(student, "exercise")]
    assert stubs
    assert all(STUB in source for source in stubs)
    assert not any("SOLUTION" in cell.source for cell in student.cells)


@each_source
def test_solutions_are_judged_right_without_a_notebook_too(path):
    """As when graded, on other draws: only the exercise cells and what they import."""
    source = read_source(path)
    scope = {"math": math, "torch": torch, "check": partial(check, draw=1)}
    for cell in tagged(source, "exercise"):
        exec(cell.source, scope)
    for cell in tagged(source, "check"):
        verdict = eval(cell.source, scope)
        assert verdict.status == "right", verdict


@each_source
def test_headers_agree_with_the_registry(path):
    text = "\n\n".join(cell.source for cell in read_source(path).cells if cell.cell_type == "markdown")
    headers = re.findall(r"^## [\df]\d\.\d+ · .*\n\nDifficulty .*$", text, flags=re.M)
    assert headers == [exercise.header for exercise in exercises(path.stem[:2])]


@each_source
def test_the_minutes_it_announces_are_the_sum(path):
    text = read_source(path).cells[0].source
    announced = int(re.search(r"\*\*Minutes\*\*: (\d+) in all", text)[1])
    assert announced == sum(exercise.minutes for exercise in exercises(path.stem[:2]))


@each_source
def test_each_exercise_has_a_stub_a_check_two_hints_and_an_explanation(path):
    notebook = read_source(path)
    count = len(names(path))
    for tag in ("exercise", "check", "hint", "solution"):
        assert len(tagged(notebook, tag)) == count, tag
    for cell in tagged(notebook, "hint"):
        assert re.findall(r"<summary>(.*?)</summary>", cell.source) == ["Hint 1", "Hint 2"]
    for cell in tagged(notebook, "hint") + tagged(notebook, "solution"):
        assert cell.source.count("<details>") == cell.source.count(
            "\n\n</details>"
        )  # a blank line, or Markdown is not read
        assert all(line.endswith("</summary>") for line in cell.source.splitlines() if line.startswith("<details>"))
        assert "</summary>\n\n" in cell.source
