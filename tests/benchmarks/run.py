"""Measure every row and write the tables: `python tests/benchmarks/run.py [KEY ...]`.

A lesson adds rows by adding a module `lesson_NN.py` with `rows() -> list[Row]` to this folder; the widgets, the suite and
the book have one each, too. A module is a section, headed by its docstring's first line. Nothing here is asserted: the
tables are for reading, and a peer that is not installed is named so. A row that fails says why, the others go on, and the
exit code is 1. All sides run with one thread, or with `OMP_NUM_THREADS`. With KEYs, only those
rows are measured and printed. Without, the stored tables are replaced once all rows are there.
"""

import argparse
import importlib
import os
import platform
import sys
import tomllib
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch reads it: two cores are noisier than one

import torch  # noqa: E402
from packaging.requirements import Requirement  # noqa: E402

from companion.teaching.writing import write_whole  # noqa: E402
from tests.benchmarks.measure import ROOT, Result, Row, processor  # noqa: E402

TABLE = [
    "| what | ours | peer | peer's | ratio | wanted | repeat with |",
    "| --- | --- | --- | --- | --- | --- | --- |",
]
# Beside the extra `bench`, which also holds what some of them need.
PEERS = (
    "curvlinops-for-pytorch",
    "filterpy",
    "ipywidgets",
    "matplotlib",
    "nbconvert",
    "scikit-learn",
    "smalldiffusion",
)
FAILED = "failed: "


def sections() -> dict[str, list[Row]]:
    """The rows of each module, by its heading."""
    names = [*sorted(path.stem for path in HERE.glob("lesson_*.py")), "widgets", "suite", "book"]
    modules = [importlib.import_module(f"tests.benchmarks.{name}") for name in names]
    return {heading(module.__doc__): module.rows() for module in modules}


def heading(docstring: str) -> str:
    """The first line of a module's docstring as a heading.

    >>> heading("Rows of the book: how long its builds take.")
    'The book: how long its builds take'
    """
    words = docstring.splitlines()[0].removeprefix("Rows of ").removesuffix(".")
    return words[0].upper() + words[1:]


def all_rows() -> list[Row]:
    return [row for rows in sections().values() for row in rows]


def measure(row: Row) -> Result:
    try:
        return row.measure()
    except ModuleNotFoundError as missing:
        return Result("", "peer not installed", f"({missing.name or missing})")
    except Exception as error:
        says = " ".join(f"{type(error).__name__}: {error}".replace("`", "'").split())
        return Result(f"{FAILED}`{says[:200]}`", "", "")


def line(row: Row, result: Result) -> str:
    command = f"`python tests/benchmarks/run.py {row.key}`"
    ratio = f"**{result.ratio}**" if result.ratio else ""
    cells = [row.what, result.ours, row.peer, result.peer, ratio, row.wanted, command]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def introduction() -> list[str]:
    threads = torch.get_num_threads()
    return [
        "# Benchmarks",
        "",
        "Ratios are ours divided by the peer's, so below 1 we are faster or smaller. Medians of alternating "
        f"repeats in one run, where a row says nothing else; {threads} thread{'s' * (threads > 1)} for every side; "
        f"PyTorch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, "
        f"{os.cpu_count()} cores of {processor()}.",
    ]


def versions() -> str:
    """Those of the packages that we are compared with."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    names = {Requirement(line).name for line in extras["bench"]}.union(PEERS)
    return f"Versions: {', '.join(f'{name} {version(name)}' for name in sorted(names, key=str.lower))}."


def version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("keys", nargs="*", help="rows to measure; all when none is named")
    parser.add_argument("--out", type=Path, default=HERE / "results.md", help="where the whole table is stored")
    options = parser.parse_args(arguments)
    tables = sections()
    keys = [row.key for rows in tables.values() for row in rows]
    unknown = sorted(set(options.keys) - set(keys))
    if unknown:
        parser.error(f"unknown row {unknown[0]!r}; the rows are {', '.join(keys)}")

    lines, failed = [], False

    def say(*new: str) -> None:
        lines.extend(new)
        print("\n".join(new), flush=True)

    say(*introduction())
    for title, rows in tables.items():
        chosen = [row for row in rows if row.key in options.keys or not options.keys]
        if chosen:
            say("", f"## {title}", "", *TABLE)
        for row in chosen:
            result = measure(row)
            failed |= result.ours.startswith(FAILED)
            say(line(row, result))
    say("", versions())
    if not options.keys:
        write_whole(options.out, "\n".join(lines) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
