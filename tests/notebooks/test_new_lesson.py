"""`python -m companion new-lesson`: what it refuses, where it writes, and that the lesson passes the tests."""

import doctest
import os
import re
import shutil
import subprocess
import sys

import pytest
from subjects import ROOT

from companion.__main__ import main
from companion.classroom import new_lesson
from companion.classroom.new_lesson import plan_of
from companion.teaching.curriculum import DATA, LESSONS, SAMPLES, TASKS

NUMBER = new_lesson.next_number()
SLUG, TITLE = "placeholder_lesson", "Placeholder lesson"  # no real lesson will be called so
GIVEN = {
    "number": NUMBER,
    "slug": SLUG,
    "title": TITLE,
    "arxiv": "2403.99999",
    "paper": "Placeholders: A Study",
    "authors": "Müller, Jo and Roe, Jane",
}
COMMAND = [
    "new-lesson",
    *list(GIVEN.values())[:3],
    *(each for name in ("arxiv", "paper", "authors") for each in (f"--{name}", GIVEN[name])),
]
WHOLE_FILES = ("book/index.md", "book/_toc.yml", "README.md", "book/glossary.md", "companion/teaching/curriculum.py")


@pytest.fixture
def repository(tmp_path, tracked):
    """A copy of what is in the repository, without what is generated and without weights."""
    for path in tracked:
        if path.suffix in (".py", ".md", ".yml", ".bib", ".js"):
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return tmp_path


def text_of(root, name):
    return (root / name).read_text(encoding="utf-8")


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"number": "05"}, f"number is '05', but must be '{NUMBER}', the next that is free."),
        ({"number": "99"}, f"number is '99', but must be '{NUMBER}', the next that is free."),
        ({"slug": "Moving-Averages"}, "slug is 'Moving-Averages', but must be small letters"),
        ({"slug": "class"}, "slug is 'class', but must be"),
        ({"slug": "../averages"}, "slug is '../averages', but must be"),
        ({"title": "moving | averages"}, "title is 'moving | averages', but must be a capital letter"),
        ({"title": "Distances"}, "title is 'Distances', but must be another than those of the lessons."),
        ({"arxiv": "2403.1"}, "arxiv is '2403.1', but must be a number like 2502.02483."),
        ({"arxiv": "2413.00001"}, "arxiv is '2413.00001', but must be"),
        ({"paper": "A {Study}"}, "paper is 'A {Study}', but must be one line of plain text"),
        ({"authors": "Jo Doe, Jane Roe, Jim Poe"}, "authors is 'Jo Doe, Jane Roe, Jim Poe', but must be 'Last, First"),
        ({"part": "worlds"}, "part is 'worlds', but must be one of samples, data, tasks."),
        ({"sight": " "}, "sight is ' ', but must be one line"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(changes, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}") as refused:
        plan_of(**GIVEN | changes)
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"arxiv": "2502.02483"},
            "arxiv is '2502.02483', but must be that of a paper which book/references.bib lacks.",
        ),
        ({"title": "Belief"}, "title is 'Belief', but must be no term of the glossary."),
        ({"slug": "nevis"}, "companion/methods/nevis.py is there already, but must be free: take another slug."),
    ],
)
def test_what_is_taken_is_refused_and_nothing_is_written(repository, changes, sentence):
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        new_lesson.write(plan_of(**GIVEN | changes), repository)
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before


def test_a_file_without_the_place_is_named(repository):
    (repository / "book" / "_static" / "landing.js").write_text("// other code\n")
    sentence = r"^book/_static/landing\.js is without .*, but must have it: the new lesson goes there\.$"
    with pytest.raises(ValueError, match=sentence):
        new_lesson.write(plan_of(**GIVEN), repository)


def test_the_command_says_in_one_line_what_is_wrong(capsys):
    assert main([*COMMAND[:1], "05", *COMMAND[2:]]) == 2
    assert capsys.readouterr().err == f"number is '05', but must be '{NUMBER}', the next that is free.\n"


# --- where it writes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "caption"), [("samples", SAMPLES), ("data", DATA), ("tasks", TASKS)])
def test_it_stands_last_in_its_part_and_nothing_else_changes(repository, part, caption):
    before = {name: text_of(repository, name).splitlines() for name in WHOLE_FILES}
    written = new_lesson.write(plan_of(**GIVEN, part=part), repository)
    assert all("<<" not in re.sub(">>> .*", "", path.read_text(encoding="utf-8")) for path in written[:9])
    last = [one for one in LESSONS.values() if one.part == caption][-1]
    for name in ("README.md", "book/_toc.yml", "book/index.md"):
        text = text_of(repository, name)
        assert 0 < text.index(last.stem) < text.index(f"{NUMBER}_{SLUG}"), name
        later = [SAMPLES, DATA, TASKS][[SAMPLES, DATA, TASKS].index(caption) + 1 :]
        others = [one.stem for one in LESSONS.values() if one.part in later]
        assert all(text.index(f"{NUMBER}_{SLUG}") < text.index(stem) for stem in others), name
    for name, lines in before.items():
        gone = set(lines) - set(text_of(repository, name).splitlines())
        assert len(gone) <= (4 if name.endswith("curriculum.py") else 1), (name, gone)


def test_a_row_has_the_columns_that_its_neighbour_has():
    plan, last = plan_of(**GIVEN), [one for one in LESSONS.values() if one.part == TASKS][-1]
    row = f"| ![small](a/{last.stem}.webp) | {last.id} [NEVIS](notebooks/{last.stem}.ipynb) | [22](https://arxiv.org/abs/22) | {last.read} + {last.exercises} | other |\n"
    found = new_lesson.in_readme(f"# Title\n\n{row}\nMore.\n", plan)
    assert found.splitlines()[3] == (
        f"| | {NUMBER} [{TITLE}](notebooks/{NUMBER}_{SLUG}.ipynb) | [2403.99999](https://arxiv.org/abs/2403.99999) | 30 + 30 | |"
    )


def test_examples_run():
    assert doctest.testmod(new_lesson).failed == 0


# --- that the lesson passes the tests -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_new_lesson_passes_the_tests(tmp_path, tracked):
    """In a copy of the repository. What needs the whole book, or five seeds of every lesson, is left to who writes one."""
    copy = tmp_path / "a copy"
    for path in tracked:
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    paths = [copy, copy / "tests" / "notebooks" / "offline"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}

    def run(*command):
        ran = subprocess.run(
            [sys.executable, "-m", *command], cwd=copy, env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
        return ran.stdout

    assert "make sync" in run("companion", *COMMAND)
    run("companion", "sync", NUMBER)
    run("ruff", "check", ".")
    run("ruff", "format", "--check", ".")
    method = [f"tests/unit/test_{SLUG}.py", "--jaxtyping-packages=companion,beartype.beartype"]
    full = f"tests/unit/test_full_profiles.py::test_the_full_part_of_a_lesson_runs[{NUMBER}]"
    for tests in ([*method, full], [f"tests/bad_input/test_{SLUG}_input.py"]):
        assert " passed" in run("pytest", "-q", "-p", "no:cacheprovider", *tests)
    names = (
        "shape",
        "curriculum",
        "equations",
        "notation",
        "teach",
        "book_pages",
        "imports",
        "repository",
        "runs",
        "readme",
    )
    files = [f"tests/notebooks/test_{name}.py" for name in names]
    of_all = "knows_every or course_takes or has_the_tables or books_order or row_for_each or terms or more_than_half or unique"
    mine = f"{SLUG} or {NUMBER}-follow or {NUMBER}.1 or {NUMBER}.2 or {NUMBER}.3 or one_way or linked or start_here or table_is_the_curriculums or every_picture"
    chosen = f"({mine} or {of_all}) and not (smoke_run[00 or student_notebook_runs)"
    assert " passed" in run("pytest", "-q", "-p", "no:cacheprovider", "tests/exercises", *files, "-k", chosen)
