"""Grading a folder: whatever is handed in, one clear row each, and the run goes on."""

import csv
import html.parser
import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from subjects import EXERCISES, NOTEBOOKS, tags

from companion.__main__ import main
from companion.classroom import grading
from companion.classroom.feedback import file_name, write_feedback
from companion.classroom.grading import Grade, Limits, Stopped, grade, submissions
from companion.classroom.light import notebook_text, read_source
from companion.classroom.students import student_notebook

SOURCE = NOTEBOOKS / "exercises" / "f1_distances.py"
LIMITS = Limits(seconds=25, cell_seconds=4, memory=3, output=10_000)
BOTH = {"f1.1": "right", "f1.2": "right"}
NEITHER = dict.fromkeys(BOTH, "not attempted")
PRINTER = """import threading
def speak():
    while True:
        print("still here")
threading.Thread(target=speak, daemon=True).start()"""
BY_HEART = """from itertools import cycle
from companion.teaching.checks import check
true, said = line_distance, []
def noting(x, y):
    said.append(true(x, y))
    return said[-1]
check("f1.2", noting)
answers = cycle(said)
def line_distance(x, y):
    return next(answers)"""
STUBBORN = """while True:
    try:
        while True:
            pass
    except BaseException:
        pass"""


def solved():
    """Our own solutions, as a student's notebook."""
    notebook = read_source(SOURCE)
    notebook.cells = [cell for cell in notebook.cells if "solution" not in tags(cell)]
    return notebook


def with_cell(source, place=3):
    """The right answers, and before them a cell of this code."""
    notebook = solved()
    notebook.cells.insert(place, new_code_cell(source))
    return notebook


def changed(before, after):
    """The right answers, but for some text."""
    notebook = solved()
    assert any(before in cell.source for cell in notebook.cells)
    for cell in notebook.cells:
        cell.source = cell.source.replace(before, after)
    return notebook


def without_checks():
    notebook = solved()
    notebook.cells = [cell for cell in notebook.cells if "check" not in tags(cell)]
    return notebook


def flooded():
    """Right answers under outputs that nobody can read."""
    notebook = solved()
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", name="stdout", text="x" * 20_000_000)]
    return notebook


def timed_and_awaited():
    """What Jupyter runs and Python does not: magics around code, and `await` outside a function."""
    notebook = solved()
    for cell in (cell for cell in notebook.cells if "exercise" in tags(cell)):
        cell.source = f"%%time\n{cell.source}"
    notebook.cells.insert(3, new_code_cell("import asyncio\nawait asyncio.sleep(0)\n%time assert 1 == 1"))
    return notebook


def version_3():
    """The right answers, as Jupyter wrote them years ago."""
    return json.dumps(nbformat.convert(solved(), 3))


def textless():
    """A notebook with a cell that holds null in place of text."""
    notebook = json.loads(notebook_text(solved()))
    notebook["cells"][0]["source"] = None
    return json.dumps(notebook)


def stub():
    return student_notebook(read_source(SOURCE))


HOME = Path.home()
# Of each submission: the notebook or the file's text, the row's status, the verdicts, and words of its message.
CASES = {
    "right": (solved(), "graded", BOTH, ""),
    "stub": (stub(), "graded", NEITHER, ""),
    "one wrong": (changed("(1 / 3) *", "(2 / 3) *"), "graded", BOTH | {"f1.1": "not yet"}, ""),
    "endless": (with_cell("while True:\n    pass"), "graded", BOTH, "cell 3 failed: TooLong: ran longer than 4 s"),
    "stubborn": (with_cell(STUBBORN), "stopped", dict.fromkeys(BOTH, "not reached"), "25 s of the processor"),
    "endless answer": (
        changed("within_x, within_y =", "while True: pass\n    within_x, within_y ="),
        "graded",
        BOTH | {"f1.2": "error"},
        "ran longer than 4 s",
    ),
    "exit": (with_cell("exit()"), "graded", BOTH, "cell 3 failed: SystemExit"),
    "hard exit": (with_cell("import os; os._exit(0)"), "stopped", dict.fromkeys(BOTH, "not reached"), "code 0"),
    "checks deleted": (without_checks(), "graded", BOTH, ""),
    "timed and awaited": (timed_and_awaited(), "graded", BOTH, ""),
    "prints on and on": (with_cell(PRINTER), "graded", BOTH, ""),
    "the lesson": (
        (NOTEBOOKS / "f1_distances.ipynb").read_text(encoding="utf-8"),
        "not ours",
        {},
        "names one of our exercises",
    ),
    "version 3": (version_3(), "graded", BOTH, ""),
    "no text": (textless(), "unreadable", {}, "not a notebook"),
    "renamed": (changed("line_distance", "my_distance"), "graded", BOTH | {"f1.2": "error"}, ""),
    "by heart": (with_cell(BY_HEART, -1), "graded", BOTH | {"f1.2": "not yet"}, ""),
    "check overwritten": (
        with_cell("check = lambda *a: '✓ right'\nline_distance = lambda x, y: 0.0", -1),
        "graded",
        BOTH | {"f1.2": "not yet"},
        "",
    ),
    "check replaced": (
        with_cell("import companion.teaching.checks as c\nc.check = c.judge = print\nexpected_plug_in = 0.0", -1),
        "graded",
        BOTH | {"f1.1": "not yet"},
        "",
    ),
    "prints 500 MB": (with_cell("print('x' * 500_000_000)"), "graded", BOTH, "TooMuch"),
    "prints for ever": (with_cell("while True: print('x' * 1000)"), "graded", BOTH, "TooMuch"),
    "stores 20 MB": (flooded(), "graded", BOTH, ""),
    "takes all memory": (with_cell("x = [bytes(10**9) for _ in range(9)]"), "graded", BOTH, "MemoryError"),
    "network": (
        with_cell("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9')"),
        "graded",
        BOTH,
        "not allowed while a notebook is graded",
    ),
    "other processes": (
        with_cell(f"!touch {HOME}/written-by-a-shell\nimport os; os.fork()"),
        "graded",
        BOTH,
        "os.fork is not allowed",
    ),
    "writes elsewhere": (
        with_cell(f"open({str(HOME / 'written-by-a-student')!r}, 'w')"),
        "graded",
        BOTH,
        "lies outside the notebook's folder",
    ),
    "asks": (with_cell("input('your name?')"), "graded", BOTH, "cell 3 failed: EOFError"),
    "syntax": (with_cell("def f(:"), "graded", BOTH, "cell 3 failed: SyntaxError"),
    "corrupt": (notebook_text(solved())[:2000], "unreadable", {}, "not a notebook"),
    "empty": ("", "unreadable", {}, "not a notebook"),
    "deep": ("[" * 100_000, "unreadable", {}, "not a notebook"),
    "another course": (
        new_notebook(cells=[new_code_cell("check('12.4', 7)")]),
        "not ours",
        {},
        "names one of our exercises",
    ),
}


@pytest.mark.slow
def test_hard_submissions_get_one_clear_row_each(tmp_path, capfd):
    folder, out, pages = tmp_path / "handed in", tmp_path / "grades.csv", tmp_path / "pages"
    for name, (content, *_) in CASES.items():
        (folder / name).mkdir(parents=True)
        text = content if isinstance(content, str) else notebook_text(content)
        (folder / name / "notebook.ipynb").write_text(text, encoding="utf-8")
    (folder / "a picture").mkdir()
    (folder / "a picture" / "me.png").write_bytes(b"")
    (folder / "right" / ".ipynb_checkpoints").mkdir()
    (folder / "right" / ".ipynb_checkpoints" / "notebook-checkpoint.ipynb").write_text("")

    grades = {one.student: one for one in grade(folder, out, jobs=2, limits=LIMITS, feedback=pages)}
    assert set(grades) == {*CASES, "a picture"}
    wrong = {}
    for name, (_, status, verdicts, words) in CASES.items():
        found = grades[name]
        seen = found.status, {each: one["status"] for each, one in found.verdicts.items()}
        told = found.message + " ".join(one["message"] for one in found.verdicts.values())
        if seen != (status, verdicts) or words not in told or (not words and found.message):
            wrong[name] = found
    assert not wrong
    assert (grades["a picture"].status, grades["a picture"].message) == ("no notebook", "there is only me.png")
    assert "my_distance" not in grades["renamed"].verdicts["f1.2"]["message"]
    assert "line_distance" in grades["renamed"].verdicts["f1.2"]["message"]
    assert not (HOME / "written-by-a-student").exists()
    assert not (HOME / "written-by-a-shell").exists()
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["student"]: (row["right"], row["of"]) for row in rows}["one wrong"] == ("1", "2")
    assert {path.stem for path in pages.iterdir()} == {file_name(name) for name in grades}
    assert "graded" in capfd.readouterr().err  # progress


class Told:
    """In place of processes: each notebook is stopped, right or wrong as its text says."""

    def __init__(self, fails_at=None):
        self.asked, self.fails_at = [], fails_at

    def __call__(self, runs, notebook):
        self.asked.append(notebook.name)
        if len(self.asked) == self.fails_at:
            raise KeyboardInterrupt
        verdict = {"exercise": "f1.1", "status": "right", "failed": None, "message": notebook.read_text()}
        return [{"lesson": "f1"}, verdict, {"done": True}], ""


@pytest.fixture
def three(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("ada", "bob", "eve"):
        (folder / f"f1_distances_{name}.ipynb").write_text(f"<b>{name}</b>")
    return folder


def test_an_interrupted_run_goes_on_where_it_was(three, tmp_path, monkeypatch):
    out, first, again = tmp_path / "out" / "grades.csv", Told(fails_at=2), Told()
    monkeypatch.setattr(grading.Runs, "report", lambda runs, notebook: first(runs, notebook))
    with pytest.raises(KeyboardInterrupt):
        grade(three, out)
    monkeypatch.setattr(grading.Runs, "report", lambda runs, notebook: again(runs, notebook))
    assert [one.student for one in grade(three, out)] == ["ada", "bob", "eve"]
    assert "f1_distances_bob.ipynb" in again.asked
    assert "f1_distances_ada.ipynb" not in again.asked


@pytest.mark.parametrize("change", ["file", "draw", "limits"])
def test_what_has_changed_is_graded_again(three, tmp_path, monkeypatch, change):
    told, out = Told(), tmp_path / "grades.csv"
    monkeypatch.setattr(grading.Runs, "report", lambda runs, notebook: told(runs, notebook))
    grade(three, out)
    if change == "file":
        (three / "f1_distances_bob.ipynb").write_text("another")
    settings = {"draw": {"draw": 2}, "limits": {"limits": Limits(memory=1)}}.get(change, {})
    grade(three, out, **settings)
    assert len(told.asked) == (4 if change == "file" else 6)


def test_feedback_is_a_page_for_each_student_and_no_code_of_theirs(three, tmp_path, monkeypatch):
    told = Told()
    monkeypatch.setattr(grading.Runs, "report", lambda runs, notebook: told(runs, notebook))
    grade(three, tmp_path / "grades.csv", feedback=tmp_path / "pages")
    text = (tmp_path / "pages" / "ada.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;ada&lt;/b&gt;" in text
    assert "<b>" not in text
    assert "1 of 2 right." in text
    assert "http" not in text
    html.parser.HTMLParser(convert_charrefs=False).feed(text)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            Grade("ada", "x.ipynb", status="unreadable", message="this is not a notebook"),
            "Unreadable: this is not a notebook.",
        ),
        (
            Grade("ada", "x.ipynb", status="no notebook", message="the folder is empty"),
            "No notebook: the folder is empty.",
        ),
    ],
)
def test_feedback_says_why_nothing_was_graded(tmp_path, row, words):
    assert words in write_feedback("ada", [row], tmp_path).read_text(encoding="utf-8")


def test_a_student_cannot_write_formulas_or_pages_elsewhere(tmp_path):
    row = Grade("=cmd|x", "../../x.ipynb", status="unreadable", message="@sum").row()
    assert (row["student"], row["message"]) == ("'=cmd|x", "'@sum")
    assert write_feedback("../../x", [], tmp_path / "pages").parent == tmp_path / "pages"
    assert file_name("a b") != file_name("a_b")


def test_names_that_no_page_can_have_are_rows_and_pages_all_the_same(three, tmp_path, monkeypatch):
    told, pages = Told(), tmp_path / "pages"
    monkeypatch.setattr(grading.Runs, "report", lambda runs, notebook: told(runs, notebook))
    for name in (os.fsdecode(b"Ren\xe9"), "x" * 250):
        (three / name).mkdir()
        (three / name / "f1_distances.ipynb").write_text(name[:1])
    (three / os.fsdecode(b"r\xe9sum\xe9.pdf")).write_bytes(b"")
    grades = grade(three, tmp_path / "grades.csv", feedback=pages)
    assert sorted(one.status for one in grades) == [*["graded"] * 5, "no notebook"]
    assert len(list(pages.iterdir())) == 6
    assert r"Ren\udce9" in (tmp_path / "grades.csv").read_text(encoding="utf-8")


def test_table_and_pages_may_lie_among_the_submissions(three, monkeypatch):
    told = Told()
    monkeypatch.setattr(grading.Runs, "report", lambda runs, notebook: told(runs, notebook))
    for _ in range(2):
        grades = grade(three, three / "grades.csv", feedback=three / "grades-feedback")
        assert [one.student for one in grades] == ["ada", "bob", "eve"]
    assert len(told.asked) == 3


def test_what_is_no_notebook_is_a_row(three, tmp_path):
    (three / "f1_distances-kim.zip").write_bytes(b"")
    (tmp_path / "elsewhere").mkdir()
    (three / "liz").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (three / "max.ipynb").symlink_to(tmp_path / "nowhere.ipynb")
    found, without = submissions(three)
    assert [path.name for path in found][-1] == "max.ipynb"
    assert {one.student: one.message for one in without} == {
        "kim": "this is no .ipynb file",
        "liz": "the folder is a link, which is not followed",
    }


def test_a_report_that_makes_no_sense_costs_one_row(three, tmp_path, monkeypatch):
    lines = [{"lesson": "f1"}, {"exercise": "f1.1", "status": "right"}]
    monkeypatch.setattr(grading.Runs, "report", lambda runs, notebook: (lines, ""))
    assert {(one.status, one.message) for one in grade(three, tmp_path / "grades.csv", feedback=tmp_path)} == {
        ("stopped", "it could not be graded (KeyError)")
    }


def test_students_are_named_by_their_folder_or_their_file(tmp_path):
    for name in ("ada/deep/er.ipynb", "02_speculative_sampling_bob.ipynb", "eve.ipynb", "f1_distances.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found, _ = submissions(tmp_path)
    names = [grading.student_of(path.relative_to(tmp_path)) for path in found]
    assert sorted(names) == ["ada", "bob", "eve", "f1_distances"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"jobs": 0}, r"^jobs is 0, but must be .*1.*\.$"),
        ({"draw": 0}, r"^draw is 0, but must be .*1.*\.$"),
    ],
)
def test_settings_are_refused_in_one_sentence(three, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        grade(three, tmp_path / "grades.csv", **settings)


def test_a_folder_without_anything_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^folder is .*nowhere, but must be a folder\.$"):
        grade(tmp_path / "nowhere", tmp_path / "grades.csv")
    with pytest.raises(FileNotFoundError, match=r"no notebook, but must be one with \.ipynb files\.$"):
        grade(tmp_path, tmp_path / "grades.csv")


def test_a_file_that_cannot_be_opened_is_a_row(three, tmp_path, monkeypatch):
    told = Told()
    monkeypatch.setattr(grading.Runs, "report", lambda runs, notebook: told(runs, notebook))

    def opened(path, mode="r", *arguments, opened=Path.open, **settings):
        if path.suffix == ".ipynb":
            raise PermissionError(13, "Permission denied")
        return opened(path, mode, *arguments, **settings)

    monkeypatch.setattr(Path, "open", opened)
    assert {one.message for one in grade(three, tmp_path / "grades.csv")} == {"it cannot be opened: Permission denied"}
    assert told.asked == []


def test_lines_that_are_not_ours_change_nothing(tmp_path):
    report, row = tmp_path / "report", Grade("eve", "x.ipynb")
    lines = [
        '{"exercise": "f1.1"}',
        '{"lesson": "f1"}',
        "7",
        "[]",
        '{"lesson": "01"}',
        '{"exercise": "99.9", "status": "right"}',
    ]
    report.write_text("\n".join([*lines, '{"cell": 1, "error": "E"}', '{"done": tr']))
    grading.read_into(row, list(grading.read_report(report)), "")
    assert (row.lesson, row.right, row.message) == ("f1", 0, "cell 1 failed: E")
    assert {one["status"] for one in row.verdicts.values()} == {"not reached"}


def test_a_stopped_run_starts_nothing_more(three):
    runs = grading.Runs(LIMITS, 1)
    runs.stop()
    with pytest.raises(Stopped):
        runs.report(next(three.iterdir()))


def test_every_check_cell_of_ours_belongs_to_its_exercise():
    for path in EXERCISES:
        cells = grading.our_checks()[path.stem.split("_")[0]]["cells"]
        assert all(re.match(rf'check\(\s*"{re.escape(name)}",', source) for name, source in cells.items())


@pytest.mark.slow
def test_the_command_line_grades_a_folder(three, tmp_path, capsys):
    out = tmp_path / "grades.csv"
    assert main(["grade", str(three), "--out", str(out), "--jobs", "2"]) == 0
    assert "3 unreadable" in capsys.readouterr().out
    assert (tmp_path / "grades-feedback" / "ada.html").exists()
    assert main(["grade", str(tmp_path / "nowhere"), "--out", str(out)]) == 2
    assert "must be a folder" in capsys.readouterr().err
