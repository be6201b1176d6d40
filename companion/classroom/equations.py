"""Which line of the code is which equation: `book/equations.yml`, found in the sources, as a page of the book.

The sources are read as text: a line that has moved is found where it is now; one that is gone, or there twice, is refused.

>>> first = entries()[0]
>>> first.lesson, locate(first).path
('f1', 'companion/foundations/distances.py')
"""

import ast
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path

import yaml

from companion.classroom.reference import file_of, source_link
from companion.classroom.sync import ROOT
from companion.foundations.validation import require
from companion.teaching.curriculum import LESSONS

FILE = "book/equations.yml"

OPENING = """# Equations and code

Each lesson names the equations that it uses. This page leads from a paper's equation, algorithm or theorem to the line of
the package that works it out. Each number of a line is a link to it, in the book's pages of source.

Where a result has no number here, we do not know one: not all of the papers' full texts were at hand, and a number is not
guessed. Then the result has a name instead. Without a paper beside it, a result is the lesson's own paper's.
"""


@dataclass(frozen=True)
class Entry:
    """An equation and where it is worked out.

    Attributes:
        lesson: "f1" of a foundation, "01" of a method.
        paper: key of `book/references.bib`.
        result: the paper's number of it, or a name.
        says: what it says.
        code: dotted name of a function, method or class.
        line: a piece of its code that is in it once.
    """

    lesson: str
    paper: str
    result: str
    says: str
    code: str
    line: str


@dataclass(frozen=True)
class Place:
    """A line: the file's path from the repository's root, and its number, from 1."""

    path: str
    number: int


def entries(root: Path = ROOT) -> list[Entry]:
    """All that the file holds, in its order.

    Raises:
        ValueError: an entry with other fields, or one that is no text.
    """
    wanted = [field.name for field in fields(Entry)]
    found = yaml.safe_load((root / FILE).read_text(encoding="utf-8"))
    for number, entry in enumerate(found, start=1):
        whole = (
            isinstance(entry, dict) and list(entry) == wanted and all(isinstance(each, str) for each in entry.values())
        )
        if not whole:
            raise ValueError(f"Entry {number} of {FILE} is {entry!r}, but must have the texts {', '.join(wanted)}.")
    return [Entry(**entry) for entry in found]


def locate(entry: Entry, root: Path = ROOT) -> Place:
    """The line that an entry speaks of. Docstrings are no code.

    Raises:
        ValueError: no such module, name or line, or more than one.
    """
    path, names = _module(entry, root)
    text = path.read_text(encoding="utf-8")
    tree = node = ast.parse(text)
    for name in names:
        own = [each for each in node.body if getattr(each, "name", None) == name]
        if len(own) != 1:
            raise ValueError(f"code is {entry.code!r}, but {name!r} must be defined there once, not {len(own)} times.")
        (node,) = own
    silent = {
        line for each in ast.walk(tree) if _is_docstring(each) for line in range(each.lineno, each.end_lineno + 1)
    }
    lines = text.splitlines()
    inside = [number for number in range(node.lineno, node.end_lineno + 1) if number not in silent]
    times = [number for number in inside for _ in range(lines[number - 1].count(entry.line))]
    if len(times) != 1:
        raise ValueError(
            f"line is {entry.line!r}, but must be in the code of {entry.code} once, not {len(times)} times."
        )
    return Place(path.relative_to(root).as_posix(), times[0])


def _module(entry: Entry, root: Path) -> tuple[Path, list[str]]:
    """The file of an entry's module, and the names that lead on from there."""
    parts = entry.code.split(".")
    for end in range(len(parts) - 1, 0, -1):
        path = file_of(".".join(parts[:end]), root)
        if path.is_file():
            return path, parts[end:]
    raise ValueError(f"code is {entry.code!r}, but must begin with a module that exists.")


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def page(root: Path = ROOT) -> str:
    """The page: a table for each lesson, in the order of the file.

    Raises:
        ValueError: as `entries` and `locate`, or an entry of a lesson that does not exist.
    """
    lessons = groupby(entries(root), key=lambda entry: entry.lesson)
    return "\n".join([OPENING, *(_table(lesson, list(own), root) for lesson, own in lessons)])


def _table(lesson: str, own: list[Entry], root: Path) -> str:
    require(lesson in LESSONS, "lesson", repr(lesson), "among " + ", ".join(LESSONS))
    about = LESSONS[lesson]
    paper = own[0].paper if lesson.isdigit() else None  # a foundation has none of its own
    opening = f"[{about.title}](../../notebooks/{about.stem}.ipynb)" + (f", on {{cite:t}}`{paper}`" if paper else "")
    rows = ["| result | what it says | where it is worked out |", "| --- | --- | --- |"]
    for entry in own:
        place = locate(entry, root)
        module = place.path.removesuffix(".py").replace("/", ".")
        cited = entry.result if entry.paper == paper else f"{entry.result}, {{cite:t}}`{entry.paper}`"
        link = source_link(module, f"line {place.number}", place.number, up="../../")
        rows.append(
            f"| {cited} | {entry.says} | `{place.path}`, {link}, in `{entry.code.removeprefix(f'{module}.')}` |"
        )
    return "\n".join([f"## Lesson {lesson}", "", opening, "", *rows, ""])
