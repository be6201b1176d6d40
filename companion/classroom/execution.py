"""Execute the lessons for the book, several at once: `python -m companion.classroom.execution CACHE PATH ...`.

What ran goes into the cache that the book is built from; a notebook that is there already does not run again. One that fails
is left to the build, which runs it once more and says what was wrong. The build finds what ran by its code cells, tags and
all, so they must be the page's own: `read` is the reader of jupyter-cache that pyproject.toml names, and the page is made
with the same `fold_solutions`.
"""

import re
import sys
from pathlib import Path

import jupytext
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from companion.classroom.light import tags
from companion.classroom.students import BEGIN, END, stub

FORMAT = "py:percent"
READER = {"name": "learning-in-motion", "type": "plugin"}
CONFIG = Path("book") / "_config.yml"


def read(path: str) -> NotebookNode:
    """The notebook of a py:percent file as its page in the book has it."""
    notebook = jupytext.read(path, fmt=FORMAT)
    notebook.cells = fold_solutions(notebook.cells)
    return jupytext.reads(jupytext.writes(notebook, fmt=FORMAT), fmt=FORMAT)


def fold_solutions(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Each exercise as a reader wants it: the stub, the hints, the solution folded, why, and what the check says.

    In the notebook the check comes before the hints, where a student runs it. Here the solution has to run
    before its check, and its reader should meet the hints first.
    """
    folded, place = [], 0
    while place < len(cells):
        cell, place = cells[place], place + 1
        if BEGIN not in cell.source:
            folded.append(cell)
            continue
        after = {"hint": [], "solution": [], "check": []}
        while place < len(cells) and (kind := after.keys() & tags(cells[place])):
            after[kind.pop()].append(cells[place])
            place += 1
        for check in after["check"]:  # its praise tells the answer
            check.metadata["tags"] = sorted({*tags(check), "hide-output"})
            check.metadata["mystnb"] = {"code_prompt_show": "Show the verdict", "code_prompt_hide": "Hide the verdict"}
        shown = new_markdown_cell(f"```python\n{stub(cell.source)}\n```")
        cell.source = re.sub(rf"^[ \t]*({BEGIN}|{END})[ \t]*\n?", "", cell.source, flags=re.M).rstrip()
        cell.metadata["tags"] = sorted({*tags(cell), "hide-input"})
        cell.metadata["mystnb"] = {"code_prompt_show": "Show a solution", "code_prompt_hide": "Hide the solution"}
        folded += [shown, *after["hint"], cell, *after["solution"], *after["check"]]
    return folded


def execute(cache: Path, paths: list[Path]) -> None:
    """Run py:percent notebooks, one process on each core, in their own folders. To be called in the repository's folder.

    Args:
        cache: the folder of executed notebooks, made if need be.
        paths: of the notebooks.
    """
    from jupyter_cache import get_cache
    from jupyter_cache.executors import load_executor

    seconds = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["execute"]["timeout"]  # that a cell may take
    executed = get_cache(cache)
    for path in paths:
        executed.add_nb_to_project(str(path), read_data=READER)
    load_executor("local-parallel", executed).run_and_cache(timeout=seconds)


if __name__ == "__main__":
    cache, *paths = map(Path, sys.argv[1:])
    execute(cache, paths)
