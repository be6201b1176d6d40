"""Every notebook runs with other parameters than its own, in seconds, with no network: lessons, and what students get."""

import jupytext
import papermill
import pytest
from subjects import EXERCISES, LESSONS, START, name, tags

from companion.classroom.light import code_cells, errors, read_source
from companion.classroom.students import student_notebook
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
def test_a_student_notebook_runs_to_the_end_and_every_check_reads_not_attempted(path, tmp_path):
    """The solutions run at their own size, for the book."""
    finished = smoke_run(student_notebook(read_source(path)), path.parent, tmp_path / f"{path.stem}.ipynb")
    shown = [cell.outputs[0].data["text/plain"] for cell in finished.cells if "check" in tags(cell)]
    names = [exercise.id for exercise in exercises(path.stem[:2])]
    assert [text.split(". ")[0] for text in shown] == [f"○ {each} · not attempted" for each in names]
