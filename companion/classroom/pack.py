"""The student pack: a folder with all that a student needs, and nothing of the solutions.

It holds the lessons, the exercises with stubs, the package (with its data) that they import, and the files that set up an
environment. Sources of exercises, instructors' pages, the book and the classroom's own tools stay behind.
"""

import json
import re
import shutil
import tomllib
from pathlib import Path

import nbformat

from companion import __version__
from companion.classroom.light import notebook_text
from companion.classroom.students import NUMBERED, write_students
from companion.foundations.validation import require

LEFT_OUT = shutil.ignore_patterns("__pycache__", "classroom")
COPIED = ("constraints.txt", "LICENSE")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)#]+)[^)]*\)")
README = Path(__file__).with_name("pack_readme.md")
ENVIRONMENT = """# conda env create -f environment.yml (run it in this folder), then: conda activate learning-in-motion
name: learning-in-motion
channels: [conda-forge]
dependencies:
  - python=3.11
  - pip
  - pip:
      - -c constraints.txt
      - -e .[lab]
"""


def write_pack(root: Path, out: Path) -> list[Path]:
    """Write the student pack of a repository.

    Args:
        root: the repository.
        out: a folder that does not exist yet, or is empty: nobody's answers are written over.

    Returns:
        The notebooks that a student works in.

    Raises:
        FileExistsError: there is something in `out`.
    """
    require_new(out)
    lessons = out / "notebooks"
    shutil.copytree(root / "companion", out / "companion", ignore=LEFT_OUT)
    for name in COPIED:
        shutil.copy(root / name, out / name)
    (out / "environment.yml").write_text(ENVIRONMENT, encoding="utf-8")
    (out / "pyproject.toml").write_text(project(root / "pyproject.toml"), encoding="utf-8")
    shutil.copy(README, out / "README.md")
    lessons.mkdir()
    for path in sorted((root / "notebooks").glob(f"{NUMBERED}.ipynb")):
        shutil.copy(path, lessons / path.name)
    written = write_students(root / "notebooks" / "exercises", lessons / "student")
    for path in lessons.rglob("*.ipynb"):
        loosen_links(path)
    return written


def require_new(out: Path) -> None:
    """A `FileExistsError` unless there is no such folder, or nothing in it."""
    is_new = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    require(is_new, "out", str(out), "new or empty", FileExistsError)


def project(original: Path) -> str:
    """A pyproject.toml for the package alone, with what Lab needs, from the repository's.

    >>> from companion.classroom.sync import ROOT
    >>> tomllib.loads(project(ROOT / "pyproject.toml"))["project"]["name"]
    'learning-in-motion'
    """
    found = tomllib.loads(original.read_text(encoding="utf-8"))
    kept = {name: found["project"][name] for name in ("name", "requires-python", "dependencies")}
    lines = ["[build-system]", *_lines(found["build-system"])]
    lines += ["", "[project]", f'version = "{__version__}"', *_lines(kept)]
    lines += ["", "[project.optional-dependencies]", *_lines({"lab": found["project"]["optional-dependencies"]["lab"]})]
    for part in ("packages.find", "package-data"):
        table = found["tool"]["setuptools"]
        for key in part.split("."):
            table = table[key]
        lines += ["", f"[tool.setuptools.{part}]", *_lines(table)]
    return "\n".join(lines) + "\n"


def _lines(table: dict[str, object]) -> list[str]:
    """Strings and lists of strings are written in TOML as in JSON."""
    return [f"{key} = {json.dumps(value)}" for key, value in table.items()]


def loosen_links(path: Path) -> None:
    """Turn links of a notebook to files that are not in the pack into their words."""
    notebook = nbformat.read(path, as_version=4)

    def kept(found: re.Match) -> str:
        return found[0] if (path.parent / found[2]).exists() else found[1]

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(kept, cell.source)
    path.write_text(notebook_text(notebook), encoding="utf-8")
