"""The student pack: all that a student needs, and nothing of the solutions."""

import re
import subprocess
import sys
import tomllib

import nbformat
import pytest
from subjects import EXERCISES, ROOT, START, read, tags

from companion.__main__ import main
from companion.classroom.pack import write_pack
from companion.classroom.students import BEGIN, END


def solution_lines():
    """The lines that a student is to write, long enough to be nobody else's."""
    for path in EXERCISES:
        for cell in read(path).cells:
            inside = False
            for line in cell.source.splitlines():
                if BEGIN in line or END in line:
                    inside = BEGIN in line
                elif inside and len(line.strip()) > 30:
                    yield line.strip()


def test_it_holds_what_a_student_needs(pack):
    names = {path.name for path in pack.iterdir()}
    assert names == {
        "LICENSE",
        "README.md",
        "companion",
        "constraints.txt",
        "environment.yml",
        "notebooks",
        "pyproject.toml",
    }
    students = {path.stem for path in (pack / "notebooks" / "student").iterdir()}
    assert students == {path.stem for path in EXERCISES}
    assert (pack / "notebooks" / f"{START.stem}.ipynb").exists()
    assert (pack / "companion" / "data" / "files" / "LICENSES.md").exists()
    assert not (pack / "companion" / "classroom").exists()


def test_it_holds_nothing_of_the_solutions(pack):
    texts = {
        path: path.read_text(encoding="utf-8") for path in pack.rglob("*") if path.suffix in (".ipynb", ".md", ".yml")
    }
    cells = [cell.source for path in texts if path.suffix == ".ipynb" for cell in nbformat.read(path, 4).cells]
    everything = "\n".join([*cells, *(text for path, text in texts.items() if path.suffix != ".ipynb")])
    lines = list(solution_lines())
    assert len(lines) > 100
    assert [line for line in lines if line in everything] == []
    explained = [cell.source for path in EXERCISES for cell in read(path).cells if "solution" in tags(cell)]
    assert explained
    assert [text for text in explained if text.splitlines()[2] in everything] == []
    assert not any("SOLUTION" in text for text in [everything])
    assert not list(pack.rglob("how-to-teach*"))


def test_links_lead_to_what_is_there(pack):
    for path in pack.rglob("*.ipynb"):
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == "markdown":
                for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", re.sub(r"\$[^$]*\$|`[^`]*`", "", cell.source)):
                    assert (path.parent / target).exists(), (path.name, target)


def test_its_project_file_installs_the_package_and_lab(pack):
    ours, theirs = (tomllib.loads((folder / "pyproject.toml").read_text()) for folder in (ROOT, pack))
    assert theirs["project"]["dependencies"] == ours["project"]["dependencies"]
    assert theirs["project"]["optional-dependencies"] == {"lab": ours["project"]["optional-dependencies"]["lab"]}
    (torch,) = re.findall(r"^torch==(.+)$", (pack / "constraints.txt").read_text(), flags=re.M)
    assert f"torch {torch} " in (pack / "README.md").read_text()
    assert theirs["tool"]["setuptools"]["package-data"] == ours["tool"]["setuptools"]["package-data"]


@pytest.mark.slow
def test_its_commands_are_those_that_a_student_can_use(pack):
    def run(*arguments):
        command = [sys.executable, "-m", "companion", *arguments]
        return subprocess.run(command, cwd=pack, capture_output=True, text=True, check=False)

    ready = run("doctor")
    assert ready.returncode == 0
    assert "make" not in ready.stdout
    assert "grade" not in run("--help").stdout


def test_nothing_is_written_over(tmp_path, capsys):
    (tmp_path / "answer.ipynb").write_text("mine")
    with pytest.raises(FileExistsError, match=r"^out is .*, but must be new or empty\.$"):
        write_pack(ROOT, tmp_path)
    assert main(["students", "--out", str(tmp_path)]) == 2
    assert "must be new or empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["answer.ipynb"]
