"""Every notebook runs with other parameters than its own, in seconds, with no network."""

import jupytext
import papermill
import pytest
from subjects import SOURCES, name

from companion.classroom.light import code_cells, errors, read_source


@pytest.mark.slow
@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_smoke_run(path, tmp_path):
    notebook = tmp_path / f"{path.stem}.ipynb"
    jupytext.write(read_source(path), notebook)
    parameters = {"PROFILE": "smoke", "SEED": 3, "DEVICE": "cpu"}
    finished = papermill.execute_notebook(
        notebook, None, parameters=parameters, cwd=path.parent, progress_bar=False, kernel_name="python3"
    )
    assert any("injected-parameters" in cell.metadata.get("tags", []) for cell in finished.cells)
    assert all(cell.execution_count for cell in code_cells(finished))
    assert errors(finished) == []
    checked = [cell for cell in finished.cells if "check" in cell.metadata.get("tags", [])]
    assert all(" · right. " in cell.outputs[0].data["text/plain"] for cell in checked)
