"""The same exercises under nbgrader: what it generates, and what it gives for a right, a wrong and an empty answer."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from subjects import EXERCISES

from companion.__main__ import main
from companion.classroom.light import tags
from companion.classroom.students import STUB

LESSON = "f1_distances"


@pytest.fixture
def course(tmp_path):
    assert main(["nbgrader", "--out", str(tmp_path / "course")]) == 0
    return tmp_path / "course"


def test_every_lesson_is_an_assignment_that_nbgrader_can_read(course):
    from nbgrader.nbgraderformat import MetadataValidator

    assert {path.name for path in (course / "source").iterdir()} == {path.stem for path in EXERCISES}
    for path in sorted((course / "source").rglob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        MetadataValidator().validate_nb(notebook)
        marked = [cell.metadata.nbgrader for cell in notebook.cells if "nbgrader" in cell.metadata]
        names = [each.grade_id for each in marked]
        assert len(set(names)) == len(names)
        answers, checks = ([n.split("-", 1)[1] for n in names if n.startswith(kind)] for kind in ("answer", "check"))
        assert answers == checks
        assert not any("solution" in tags(cell) for cell in notebook.cells)


def test_a_course_is_not_written_over(course, capsys):
    assert main(["nbgrader", "--out", str(course)]) == 2
    assert "must be new or empty" in capsys.readouterr().err


@pytest.mark.slow
def test_right_wrong_and_empty_submissions_are_graded(course, monkeypatch):
    from nbgrader.api import Gradebook
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import PyFileConfigLoader

    monkeypatch.setenv(
        "PATH", str(Path(sys.executable).parent), prepend=os.pathsep
    )  # nbgrader calls `alembic` by its name
    config = PyFileConfigLoader("nbgrader_config.py", path=str(course)).load_config()
    config.CourseDirectory.root = str(course)
    nbgrader = NbGraderAPI(config=config)
    assert nbgrader.generate_assignment(LESSON)["success"]
    release = course / "release" / LESSON / f"{LESSON}.ipynb"
    text = release.read_text(encoding="utf-8")
    assert STUB in text
    assert "HIDDEN" not in text
    assert "SOLUTION" not in text
    source = nbformat.read(course / "source" / LESSON / f"{LESSON}.ipynb", as_version=4)
    given = {
        "right": {"answer-f1-1": "expected_plug_in = 1 / 24", "answer-f1-2": None},
        "wrong": {
            "answer-f1-1": "expected_plug_in = 0.0",
            "answer-f1-2": "def line_distance(x, y):\n    return x.mean() - y.mean()",
        },
        "empty": {},
    }
    for student, answers in given.items():
        notebook = nbformat.read(release, as_version=4)
        solutions = {
            cell.metadata.nbgrader.grade_id: cell.source for cell in source.cells if "nbgrader" in cell.metadata
        }
        for cell in notebook.cells:
            name = cell.metadata.get("nbgrader", {}).get("grade_id")
            if name in answers:
                cell.source = answers[name] or solutions[name]
        folder = course / "submitted" / student / LESSON
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / release.name)
        assert nbgrader.autograde(LESSON, student)["success"]
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        scores = {one.student.id: (one.score, one.max_score) for one in book.assignment_submissions(LESSON)}
    assert scores == {"right": (2, 2), "wrong": (0, 2), "empty": (0, 2)}
