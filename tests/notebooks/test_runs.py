"""Every notebook runs with other parameters than its own, in seconds, with no network: lessons, and what students get."""

import os

import jupytext
import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell
from subjects import EXERCISES, LESSONS, START, name, tags

from companion.classroom.light import code_cells, errors, read_source
from companion.teaching.checks import exercises


def smoke_run(notebook, folder, file):
    """The notebook as papermill leaves it, run at `smoke` with another seed."""
    jupytext.write(notebook, file)
    parameters = {"PROFILE": "smoke", "SEED": 3, "DEVICE": "cpu"}
    finished = papermill.execute_notebook(
        file, None, parameters=parameters, cwd=folder, progress_bar=False, kernel_name="python3"
    )
    assert any("injected-parameters" in tags(cell) for cell in finished.cells)
    assert all(cell.execution_count for cell in code_cells(finished))
    assert errors(finished) == []
    return finished


@pytest.mark.slow
@pytest.mark.parametrize("path", [START, *LESSONS], ids=name)
def test_smoke_run(path, tmp_path):
    smoke_run(read_source(path), path.parent, tmp_path / f"{path.stem}.ipynb")


@pytest.mark.slow
@pytest.mark.parametrize("path", EXERCISES, ids=name)
def test_a_student_notebook_runs_in_its_pack_and_every_check_reads_not_attempted(path, pack, tmp_path, monkeypatch):
    """The solutions run at their own size, for the book."""
    monkeypatch.setenv("PYTHONPATH", str(pack), prepend=os.pathsep)
    notebook = nbformat.read(pack / "notebooks" / "student" / f"{path.stem}.ipynb", as_version=4)
    notebook.cells.append(new_code_cell("import companion\ncompanion.__file__"))
    finished = smoke_run(notebook, pack / "notebooks" / "student", tmp_path / f"{path.stem}.ipynb")
    assert finished.cells[-1].outputs[0].data["text/plain"] == repr(str(pack / "companion" / "__init__.py"))
    shown = [cell.outputs[0].data["text/plain"] for cell in finished.cells if "check" in tags(cell)]
    names = [exercise.id for exercise in exercises(path.stem[:2])]
    assert [text.split(". ")[0] for text in shown] == [f"○ {each} · not attempted" for each in names]
