"""Build the book: one call, no network, the path of its first page back.

The lessons are executed here at their default profile, with every frame of every widget drawn, one on each core, and kept
in a cache: a build in which no code changed runs none of them again.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from companion.classroom import book_pages
from companion.classroom.sync import sources

ROOT = Path(__file__).resolve().parents[2]
CODE = ("companion/*.py", "companion/[!_]*/**/*.*")
TEXT = (
    "CITATION.cff",
    "book/_config.yml",
    "book/_toc.yml",
    "book/*.*",
    "book/teach/*.*",
    "book/_ext/*.py",
    "book/_static/**/*.*",
    "tests/benchmarks/*.md",
)
LESSONS = ("notebooks/*.py", "notebooks/*.ipynb", "notebooks/*/*.py", "notebooks/*/*.ipynb")


class BookFailed(RuntimeError):
    """The book has a warning or an error; the build printed it."""


def fingerprint(root: Path, patterns: tuple[str, ...]) -> str:
    """A hash of the files that match, their names and contents, and of the tools' versions."""
    found = sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()})
    digest = hashlib.sha256()
    for tool in ("jupyter-book", "sphinx-book-theme", "myst-nb"):
        digest.update(f"{tool} {metadata.version(tool)}\n".encode())
    for path in found:
        if "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def build(strict: bool = True, root: Path = ROOT) -> Path:
    """Build the book unless it is fresh, and return its first page, `book/_build/html/index.html`.

    Args:
        strict: a warning fails the build, once all of it has run.
        root: the repository.

    Raises:
        FileNotFoundError: `root` holds no book, as where `companion` was installed without the repository.
        BookFailed: a cell failed, or with `strict` a warning came.
    """
    root = Path(root)
    if not (root / "book" / "_config.yml").exists():
        raise FileNotFoundError(f"root is {root}, but must be the repository, which holds book/_config.yml.")
    folder = root / "book" / "_build"
    page = folder / "html" / "index.html"
    code, whole = fingerprint(root, CODE), fingerprint(root, (*CODE, *TEXT, *LESSONS))
    stamps = {"code": folder / "code.sha256", "whole": folder / "whole.sha256"}
    if page.exists() and _read(stamps["whole"]) == whole:
        return page
    stamps["whole"].unlink(missing_ok=True)
    if _read(stamps["code"]) != code:  # what the lessons import has changed: they run again
        shutil.rmtree(folder / ".jupyter_cache", ignore_errors=True)
    shutil.rmtree(folder / "html", ignore_errors=True)  # no page of a lesson that was renamed stays behind
    folder.mkdir(parents=True, exist_ok=True)
    stamps["code"].write_text(code)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", ".", "--all"]
    command += ["--config", "book/_config.yml", "--toc", "book/_toc.yml", "--path-output", "book", "-n", "--keep-going"]
    command += ["-W"] if strict else []
    environment = os.environ | {"COMPANION_FRAMES": "all", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    environment |= {"OMP_NUM_THREADS": "1"}  # a lesson on each core: with more threads they stand in each other's way
    execution = [sys.executable, "-m", "companion.classroom.execution", str(folder / ".jupyter_cache")]
    with subprocess.Popen([*execution, *map(str, sources(root / "notebooks"))], cwd=root, env=environment):
        book_pages.write(root)  # while the lessons run
    finished = subprocess.run(command, cwd=root, env=environment, check=False)
    if finished.returncode != 0 or not page.exists():
        raise BookFailed("The book did not build: see the warnings above.")
    stamps["whole"].write_text(whole)
    return page


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None
