"""One run of a notebook with parameters, by papermill, and what can be read from it: claims, records, and where it failed.

The workers of a sweep call `execute_run`. They need this package with the extra `sweep`, and no file of whoever asks.
"""

import math
import os
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from companion.classroom.light import QUIET, code_cells, errors, notebook_text, tags
from companion.classroom.sync import key_of
from companion.teaching.claims import ClaimFailed
from companion.teaching.records import KIND

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
FELL = ClaimFailed.__name__
ANSI = re.compile(r"\x1b\[[0-9;]*m")
BUSY = 120  # seconds that a kernel may take to start, or to hand over what a cell printed
LINES = 8  # of a traceback that are kept


def execute_run(source: str, parameters: dict[str, Any], key: str, folder: str, cell_seconds: float) -> dict[str, Any]:
    """Execute a notebook, in a kernel of its own on one thread, and say what became of it.

    A claim that falls ends its cell and not the run. Any other error ends it.

    Args:
        source: the text of an .ipynb file.
        parameters: set after the cell that is tagged "parameters".
        key: `key_of` the notebook where the sweep was begun.
        folder: in which the kernel starts, where there is such a folder; else an empty one.
        cell_seconds: that a cell may take.

    Returns:
        Of JSON types: `status`, "done" or "failed"; `seconds`; `claims`; `records`; `failure`, with the `cell`, the `error`
        and the end of its `traceback`, or None; and the text of the executed `notebook`.

    Raises:
        RuntimeError: this machine has other code of the package.
    """
    import papermill

    notebook = nbformat.reads(source, as_version=4)
    if key_of(notebook) != key:
        raise RuntimeError("a worker has other code of the package than the machine that asks it")
    os.environ.update(ENVIRONMENT)  # the kernel has the worker's: papermill hands on none
    began, stopped = time.monotonic(), None
    with tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True) as place:
        asked, executed = Path(place) / "source.ipynb", Path(place) / "executed.ipynb"
        asked.write_text(source, encoding="utf-8")
        try:
            papermill.execute_notebook(
                asked,
                executed,
                parameters=parameters,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                execution_timeout=math.ceil(cell_seconds),
                start_timeout=BUSY,
                iopub_timeout=BUSY,
                allow_error_names=[FELL],
                extra_arguments=QUIET,
                resources={"metadata": {"path": folder if Path(folder).is_dir() else place}},  # `cwd` is for one thread
            )
        except papermill.PapermillExecutionError:
            pass  # the notebook holds it
        except Exception as error:  # the kernel died, or a cell took too long
            stopped = error
        if executed.exists():
            notebook = papermill.execute.remove_error_markers(nbformat.read(executed, as_version=4))
    for name in ("input_path", "output_path"):
        notebook.metadata.get("papermill", {}).pop(name, None)
    failure = failure_of(notebook, stopped)
    return {
        "status": "failed" if failure else "done",
        "seconds": round(time.monotonic() - began, 2),
        "claims": [claim for cell in code_cells(notebook) for claim in claims_of(cell)],
        "records": [found for cell in code_cells(notebook) for found in records_of(cell)],
        "failure": failure,
        "notebook": notebook_text(notebook),
    }


def claims_of(cell: NotebookNode) -> list[dict[str, Any]]:
    """What an executed cell claims, one that fell last."""
    fallen = [output.evalue for output in cell.outputs if output.output_type == "error" and output.ename == FELL]
    printed = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
    return [read_claim(line) for line in [*printed.splitlines(), *fallen] if line[:2] in ("✓ ", "✗ ")]


def read_claim(line: str) -> dict[str, Any]:
    """The parts of a line that `claim` printed.

    >>> read_claim("✓ one and one make two [2]")
    {'claim': 'one and one make two', 'held': True, 'value': '2'}
    """
    words, _, value = line[2:].partition(" [")
    return {"claim": words, "held": line[0] == "✓", "value": value.removesuffix("]")}


def records_of(cell: NotebookNode) -> list[dict[str, str]]:
    """What an executed cell records, each with its `name` and its `value` as text."""
    shown = [output.metadata for output in cell.outputs if output.output_type == "display_data"]
    return [dict(metadata[KIND]) for metadata in shown if KIND in metadata]


def failure_of(notebook: NotebookNode, stopped: Exception | None = None) -> dict[str, Any] | None:
    """The first error of an executed notebook that is no fallen claim; None if there is none.

    Args:
        notebook: as far as it was executed.
        stopped: what ended it without an error in a cell.
    """
    if stopped is not None:  # before the errors: the interrupt of a cell that took too long is one
        begun = [cell for cell in code_cells(notebook) if cell.metadata.get("papermill", {}).get("start_time")]
        return _failure(f"{type(stopped).__name__}: {stopped}".splitlines()[0], len(begun) or None)
    for number, cell in enumerate(code_cells(notebook), 1):
        for output in cell.outputs:
            expected = output.get("ename") == FELL or "raises-exception" in tags(cell)
            if output.output_type == "error" and not expected:
                return _failure(f"{output.ename}: {output.evalue}", number, output.traceback)
    hidden = [error for error in errors(notebook) if not error.startswith(f"{FELL}:")]
    return _failure(f"in a widget, {'; '.join(hidden)}") if hidden else None


def _failure(error: str, cell: int | None = None, traceback: Sequence[str] = ()) -> dict[str, Any]:
    lines = ANSI.sub("", "\n".join(traceback)).splitlines()
    return {"cell": cell, "error": error, "traceback": [line for line in lines if line.strip(" -")][-LINES:]}
