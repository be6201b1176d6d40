"""Student notebooks: the exercises without their solutions.

The solution file is the source. A region between `### BEGIN SOLUTION` and `### END SOLUTION` becomes a stub,
as nbgrader's ClearSolutions does it, and a cell tagged `solution` goes.

>>> print(stub("def double(x):\\n    ### BEGIN SOLUTION\\n    return 2 * x\\n    ### END SOLUTION"))
def double(x):
    ...  # your code here
"""

from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_notebook

from companion.classroom.light import KERNEL, notebook_text, numbered, read_source, tags

NUMBERED = "[0-9f][0-9]_*"  # 01_slug of a method, f1_slug of a foundation
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
STUB = "...  # your code here"


def stub(code: str) -> str:
    """`code` with each solution region replaced by one line, as far in as the region was.

    Raises:
        ValueError: a region within a region, or one that does not begin or end.
    """
    kept, inside = [], False
    for line in code.splitlines():
        if BEGIN in line:
            if inside:
                raise ValueError(f"code has a second {BEGIN!r} before {END!r}, but solutions must not nest.")
            kept.append(line[: len(line) - len(line.lstrip())] + STUB)
            inside = True
        elif END in line:
            if not inside:
                raise ValueError(f"code has {END!r} without {BEGIN!r}, but each solution must begin.")
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        raise ValueError(f"code has {BEGIN!r} without {END!r}, but each solution must end.")
    return "\n".join(kept)


def student_notebook(source: NotebookNode) -> NotebookNode:
    """The student's notebook of an exercise source: stubs for solutions, no outputs."""
    cells = []
    for cell in source.cells:
        if "solution" in tags(cell):
            continue
        if cell.cell_type == "code":
            cell = NotebookNode(cell | {"source": stub(cell.source), "outputs": [], "execution_count": None})
        cells.append(cell)
    return numbered(new_notebook(cells=cells, metadata=KERNEL))


def write_students(exercises: Path, out: Path) -> list[Path]:
    """Write the student notebook of every source in the folder `exercises` into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for source in sorted(exercises.glob(f"{NUMBERED}.py")):
        written.append(out / f"{source.stem}.ipynb")
        written[-1].write_text(notebook_text(student_notebook(read_source(source))), encoding="utf-8")
    return written
