"""A course for nbgrader, made of the same exercises: `python -m companion nbgrader --out COURSE`.

Each lesson becomes an assignment with nbgrader's marks: an exercise's cell is a solution that it clears, and the check below
it an automatic test worth one point. In the test that students get, checks draw what they draw in class; the hidden part,
which `nbgrader autograde` puts back, draws anew.

>>> print(automatic_test('check("01.1", best_spread)', 1))
verdict = check("01.1", best_spread)
### BEGIN HIDDEN TESTS
verdict = check("01.1", best_spread, draw=1)
### END HIDDEN TESTS
assert verdict.status == "right", verdict
verdict
"""

import ast
import re
from pathlib import Path

from nbformat import NotebookNode

from companion.classroom.light import notebook_text, read_source, tags
from companion.classroom.pack import require_new
from companion.classroom.students import NUMBERED, STUB

CONFIG = f"""c = get_config()
c.CourseDirectory.course_id = "learning-in-motion"
c.ClearSolutions.code_stub = {{"python": "{STUB}"}}
c.ExecutePreprocessor.timeout = 600
c.ExecutePreprocessor.kernel_name = "python3"
"""
TEST = """verdict = {asked}
### BEGIN HIDDEN TESTS
verdict = {again}
### END HIDDEN TESTS
assert verdict.status == "right", verdict
verdict"""


def write_course(exercises: Path, out: Path, draw: int = 1) -> list[Path]:
    """Write nbgrader's configuration and the sources of its assignments.

    Args:
        exercises: the folder of our exercises with their solutions.
        out: the course's folder, new or empty.
        draw: which random inputs the hidden tests draw.

    Returns:
        The sources, one for each lesson.

    Raises:
        FileExistsError: there is something in `out`.
    """
    require_new(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    written = []
    for path in sorted(exercises.glob(f"{NUMBERED}.py")):
        written.append(out / "source" / path.stem / f"{path.stem}.ipynb")
        written[-1].parent.mkdir(parents=True)
        written[-1].write_text(notebook_text(assignment(read_source(path), draw)), encoding="utf-8")
    return written


def assignment(source: NotebookNode, draw: int = 1) -> NotebookNode:
    """The notebook of an exercise source as nbgrader wants it; explanations of solutions go."""
    source.cells = [cell for cell in source.cells if "solution" not in tags(cell)]
    answers, checks = ([cell for cell in source.cells if kind in tags(cell)] for kind in ("exercise", "check"))
    for answer, check in zip(answers, checks, strict=True):
        name = re.search(r"""check\(\s*["']([^"']+)""", check.source)[1].replace(".", "-")
        check.source = automatic_test(check.source, draw)
        _mark(answer, f"answer-{name}", solution=True)
        _mark(check, f"check-{name}", grade=True, locked=True, points=1)
    return source


def automatic_test(check: str, draw: int) -> str:
    """A check cell that fails, as nbgrader wants it, where the answer is not right."""
    call = ast.parse(check, mode="eval").body
    call.keywords.append(ast.keyword("draw", ast.Constant(draw)))
    return TEST.format(asked=check, again=ast.unparse(call).replace("'", '"'))


def _mark(cell: NotebookNode, name: str, **kind: object) -> None:
    """nbgrader's metadata, of its third schema."""
    plain = {"grade": False, "locked": False, "solution": False, "task": False}
    cell.metadata["nbgrader"] = plain | {"schema_version": 3, "grade_id": name, "cell_type": "code"} | kind
