"""Light notebooks: the .ipynb beside each .py, executed, with its text outputs and nothing else.

Images, the state of widgets, progress bars and times are left out, and cells are numbered by their place:
the file is small, is the same when it is made again, and holds all that nbval compares.
"""

import copy
import hashlib
import os
import re
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

KERNEL = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
WIDGET = "application/vnd.jupyter.widget-view+json"
TEXT = ("text/plain", "text/markdown", "text/html", "text/latex")
QUIET = ["--IPKernelApp.log_level=50"]  # a kernel's warnings are about every kernel on this machine
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")


class NotebookError(RuntimeError):
    """A notebook seemed to run, but holds an error."""


def read_source(path: Path) -> NotebookNode:
    """The notebook of a py:percent file, its cells numbered, with our kernel and no outputs."""
    notebook = jupytext.read(path, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(KERNEL)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return numbered(notebook)


def numbered(notebook: NotebookNode) -> NotebookNode:
    """`notebook` with its cells' ids made from their places, in place."""
    for place, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"cell-{place:02d}"
    return notebook


def notebook_text(notebook: NotebookNode) -> str:
    """What is written to the file."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def light_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """The text among a cell's outputs: what it printed, first and in one piece, then what it showed.

    Errors keep their name and message. Widgets go; of a figure the words stay ("<Figure size ...>"); addresses in
    memory, which differ in every run, lose their digits.
    """
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    kept = [nbformat.v4.new_output("stream", name="stdout", text=ADDRESS.sub("0x", printed))] if printed else []
    for output in outputs:
        if output.output_type == "error":
            kept.append(nbformat.v4.new_output("error", ename=output.ename, evalue=output.evalue, traceback=[]))
        elif output.output_type in ("display_data", "execute_result") and WIDGET not in output.data:
            data = {kind: ADDRESS.sub("0x", _joined(output.data[kind])) for kind in TEXT if kind in output.data}
            if data:
                count = {"execution_count": output.execution_count} if output.output_type == "execute_result" else {}
                kept.append(nbformat.v4.new_output(output.output_type, data=data, **count))
    return kept


def light(source: NotebookNode, executed: NotebookNode, key: str) -> NotebookNode:
    """The cells of `source` with the text outputs of `executed`, whose code cells are the same.

    `key` says which code ran: see `code_key`.
    """
    notebook = copy.deepcopy(source)
    notebook.metadata["companion"] = {"code": key}
    for cell, ran in zip(code_cells(notebook), code_cells(executed), strict=True):
        cell.execution_count = ran.execution_count
        cell.outputs = light_outputs(ran.outputs)
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", ()))


def code_key(source: NotebookNode, modules_hash: str) -> str:
    """A hash of the code of a notebook and of the modules it uses: where it is the same, nothing need run again."""
    digest = hashlib.sha256(modules_hash.encode())
    for cell in code_cells(source):
        digest.update(f"\n# %% {cell.metadata.get('tags', [])}\n{cell.source}".encode())
    return digest.hexdigest()


def execute(notebook: NotebookNode, folder: Path, timeout: int = 600) -> NotebookNode:
    """A copy of `notebook`, run in `folder` on one thread with every frame drawn.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
        NotebookError: an error was caught by a widget and is only to be seen in its state.
    """
    notebook = copy.deepcopy(notebook)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        extra_arguments=QUIET,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=os.environ | {"COMPANION_FRAMES": "all", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"})
    if found := errors(notebook):
        raise NotebookError("A cell that seemed to succeed holds an error: " + "; ".join(found))
    return notebook


def errors(notebook: NotebookNode) -> list[str]:
    """Errors in an executed notebook's outputs and in the state of its widgets, where no runner looks."""
    found = []
    for cell in code_cells(notebook):
        found += [] if "raises-exception" in tags(cell) else _errors_among(cell.outputs)
    widgets = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    for widget in widgets.values():
        found += _errors_among(widget.get("state", {}).get("outputs") or [])
    return found


def _errors_among(outputs: list) -> list[str]:
    return [f"{one.get('ename')}: {one.get('evalue')}" for one in outputs if one.get("output_type") == "error"]


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
