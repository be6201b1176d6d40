"""Make again whatever is generated from the sources, and say what is out of step.

    notebooks/NN_slug.py            -> notebooks/NN_slug.ipynb              executed, light
    notebooks/exercises/NN_slug.py  -> notebooks/exercises/NN_slug.ipynb    executed, light
                                    -> notebooks/student/NN_slug.ipynb      stubs for solutions

A notebook is executed only when its code, or that of a module of `companion` it uses, has changed; new prose
is copied into the pair without running anything.
"""

import ast
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import nbformat
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from companion.classroom.light import NotebookError, code_cells, code_key, execute, light, notebook_text, read_source
from companion.classroom.students import NUMBERED, student_notebook
from companion.foundations.validation import require
from companion.teaching.provenance import source_hash

ROOT = Path(__file__).resolve().parents[2]


class SyncFailed(RuntimeError):
    """Some notebooks did not run; the others are in step."""


def _lesson(path: Path) -> str:
    return path.stem.split("_")[0]


def sources(notebooks: Path) -> list[Path]:
    """The py:percent files that have a pair: lessons first, then exercises."""
    return sorted(notebooks.glob(f"{NUMBERED}.py")) + sorted((notebooks / "exercises").glob(f"{NUMBERED}.py"))


def sync(
    root: Path = ROOT, force: bool = False, say: Callable[[str], None] = print, lessons: Sequence[str] = ()
) -> list[Path]:
    """Bring every generated file in step with its source, and return those that were written.

    Args:
        root: the repository.
        force: execute every notebook, changed or not.
        say: is told what happens, a line at a time.
        lessons: whose notebooks are executed, such as "05"; all when empty. The others keep the pairs that they have.

    Raises:
        ValueError: a lesson without notebooks.
        SyncFailed: a notebook did not run, and keeps its old pair; the others are done all the same.
    """
    notebooks = root / "notebooks"
    written, failed = [], []

    def write(path: Path, text: str) -> None:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(path)
            say(f"wrote {path.relative_to(root).as_posix()}")

    known = dict.fromkeys(_lesson(path) for path in sources(notebooks))
    require(set(lessons) <= set(known), "lessons", ", ".join(lessons), "among " + ", ".join(known))
    for path in sources(notebooks):
        if lessons and _lesson(path) not in lessons:
            continue
        source = read_source(path)
        key, pair = key_of(source), path.with_suffix(".ipynb")
        ran = None if force else executed_with(pair, key)
        if ran is None:
            say(f"executing {path.relative_to(root).as_posix()}")
            try:
                ran = execute(source, path.parent)
            except (CellExecutionError, NotebookError) as error:
                say(str(error))
                failed.append(path.relative_to(root).as_posix())
                continue
        write(pair, notebook_text(light(source, ran, key)))
    for path, text in student_texts(notebooks).items():
        write(path, text)
    for path in orphans(notebooks):
        path.unlink()
        written.append(path)
        say(f"removed {path.relative_to(root).as_posix()}")
    if failed:
        raise SyncFailed(f"These did not run: {', '.join(failed)}.")
    return written


def drift(root: Path = ROOT, in_use: bool = False) -> list[str]:
    """One sentence for each generated file that is not what its source says; nothing is executed.

    Args:
        root: the repository.
        in_use: let pass what JupyterLab saves while one reads and answers: outputs, and students' notebooks.
    """
    notebooks, found = root / "notebooks", []
    for path in sources(notebooks):
        name, pair, source = path.relative_to(root).as_posix(), path.with_suffix(".ipynb"), read_source(path)
        key = key_of(source)
        ran = executed_with(pair, key)
        if not pair.exists():
            found.append(f"{name} has no pair.")
        elif ran is None:
            found.append(f"{name}, or a module it uses, has other code than its pair ran with.")
        elif in_use and words(ran) == words(source):
            continue
        elif pair.read_text(encoding="utf-8") != notebook_text(light(source, ran, key)):
            found.append(f"{name} has other cells than its pair.")
    for path, text in {} if in_use else student_texts(notebooks).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            found.append(f"{path.relative_to(root).as_posix()} is not what its exercises give.")
    return found + [f"{path.relative_to(root).as_posix()} has no source." for path in orphans(notebooks)]


def words(notebook: NotebookNode) -> list[tuple[str, str]]:
    """What somebody wrote in a notebook: its cells without outputs and metadata."""
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def student_texts(notebooks: Path) -> dict[Path, str]:
    """What the student notebooks must hold."""
    return {
        notebooks / "student" / f"{path.stem}.ipynb": notebook_text(student_notebook(read_source(path)))
        for path in sorted((notebooks / "exercises").glob(f"{NUMBERED}.py"))
    }


def orphans(notebooks: Path) -> list[Path]:
    """Generated notebooks whose source is gone."""
    pairs = [path for path in notebooks.glob(f"{NUMBERED}.ipynb") if not path.with_suffix(".py").exists()]
    for folder in ("exercises", "student"):
        found = (notebooks / folder).glob(f"{NUMBERED}.ipynb")
        pairs += [path for path in found if not (notebooks / "exercises" / f"{path.stem}.py").exists()]
    return sorted(pairs)


def executed_with(pair: Path, key: str) -> NotebookNode | None:
    """The pair, if it was executed with the code that `key` stands for."""
    if not pair.exists():
        return None
    notebook = nbformat.read(pair, as_version=4)
    ran = all(cell.execution_count is not None for cell in code_cells(notebook) if cell.source)
    return notebook if ran and notebook.metadata.get("companion", {}).get("code") == key else None


def key_of(source: NotebookNode) -> str:
    """`code_key` of a notebook, with the modules that it uses."""
    code = "\n".join(
        line for cell in code_cells(source) for line in cell.source.splitlines() if line.lstrip()[:1] not in "%!"
    )
    return code_key(source, source_hash(*used_modules(code)))


def used_modules(code: str) -> set[str]:
    """The modules of `companion` that `code` imports, and those that these import, and so on.

    >>> sorted(used_modules("from companion.data import toy"))[:2]
    ['companion', 'companion.data']
    """
    found, waiting = set(), set(_imported(code))
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if name in found or path is None:
            continue
        found.add(name)
        waiting |= _imported(path.read_text(encoding="utf-8")) - found
    return found


@cache  # by the text: notebooks share most of their modules
def _imported(code: str) -> frozenset[str]:
    """Every dotted name of `companion` that `code` may import, packages and the names taken from them included."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(
        ".".join(parts[:end])
        for parts in (name.split(".") for name in names)
        for end in range(1, len(parts) + 1)
        if parts[0] == "companion"
    )


def _file(name: str) -> Path | None:
    """The file of a module of this package, by its dotted name."""
    path = ROOT.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
