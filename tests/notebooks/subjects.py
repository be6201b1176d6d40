"""The sources of the notebooks, read once, and how they are measured."""

import re
from functools import cache
from pathlib import Path

from nbformat import NotebookNode

from companion.classroom.light import code_cells, read_source, tags
from companion.classroom.students import NUMBERED

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
START = NOTEBOOKS / "00_start_here.py"
FOUNDATIONS = sorted(NOTEBOOKS.glob("f[0-9]_*.py"))
METHODS = sorted(path for path in NOTEBOOKS.glob("[0-9][0-9]_*.py") if path != START)
LESSONS = [*FOUNDATIONS, *METHODS]
EXERCISES = sorted((NOTEBOOKS / "exercises").glob(f"{NUMBERED}.py"))
SOURCES = [START, *LESSONS, *EXERCISES]

read = cache(read_source)


def name(path: Path) -> str:
    """How a test names a notebook."""
    return path.relative_to(NOTEBOOKS).with_suffix("").as_posix()


def tagged(path: Path, tag: str) -> list[NotebookNode]:
    return [cell for cell in read(path).cells if tag in tags(cell)]


def code_lines(cell: NotebookNode) -> int:
    """Lines that are neither empty nor only a comment."""
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in cell.source.splitlines())


def line_counts(path: Path) -> list[int]:
    return [code_lines(cell) for cell in code_cells(read(path))]


def prose(path: Path) -> str:
    """The text of the markdown cells, without code, mathematics and the addresses of links."""
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    for pattern in (r"```.*?```", r"\$\$.*?\$\$", r"\$[^$\n]+\$", r"`[^`\n]*`", r"(?<=\])\([^)\s]*\)", r"<!--.*?-->"):
        text = re.sub(pattern, " ", text, flags=re.DOTALL)
    return text


def word_count(path: Path) -> int:
    return len(re.findall(r"[^\W\d_][\w'’-]*", prose(path)))


def headings(path: Path) -> list[str]:
    cells = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    return re.findall(r"^#{1,3} +(.+?) *$", "\n".join(cells), flags=re.MULTILINE)


def formulas(path: Path) -> list[str]:
    """What stands between dollars in the markdown cells, outside of code."""
    text = "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    text = re.sub(r"```.*?```|`[^`\n]*`", " ", text, flags=re.DOTALL)
    return re.findall(r"\$\$?([^$]+)\$\$?", text)


def assert_links_lead_to_notebooks(text: str) -> None:
    links = re.findall(r"\]\((?:\.\./)+notebooks/([\w./-]+)\)", text)
    assert links
    assert {link for link in links if not (NOTEBOOKS / link).exists()} == set()
