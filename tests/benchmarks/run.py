"""Measure every row and write the table: `python tests/benchmarks/run.py [KEY ...]`.

A lesson adds rows by adding a module `lesson_NN.py` with `rows() -> list[Row]` to this folder; the book has one,
too. Nothing here is asserted: the table is for reading, and a peer that is not installed is named so. All sides run
with the same number of threads, PyTorch's default or `OMP_NUM_THREADS`. With KEYs, only those rows are
measured and printed, and the stored table is left alone.
"""

import argparse
import importlib
import platform
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import torch  # noqa: E402

from tests.benchmarks.measure import Result, Row  # noqa: E402


def all_rows() -> list[Row]:
    names = [*sorted(path.stem for path in HERE.glob("lesson_*.py")), "book"]
    return [row for name in names for row in importlib.import_module(f"tests.benchmarks.{name}").rows()]


def measure(row: Row) -> Result:
    try:
        return row.measure()
    except ImportError as missing:
        return Result("", "peer not installed", f"({missing.name or missing})")


def line(row: Row, result: Result) -> str:
    command = f"`python tests/benchmarks/run.py {row.key}`"
    cells = [row.what, result.ours, row.peer, result.peer, f"**{result.ratio}**", row.wanted, command]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("keys", nargs="*", help="rows to measure; all when none is named")
    parser.add_argument("--out", type=Path, default=HERE / "results.md", help="where the whole table is stored")
    arguments = parser.parse_args()
    rows = all_rows()
    unknown = set(arguments.keys) - {row.key for row in rows}
    if unknown:
        parser.error(f"unknown row {sorted(unknown)[0]!r}; the rows are {', '.join(row.key for row in rows)}")
    chosen = [row for row in rows if row.key in arguments.keys or not arguments.keys]

    threads = torch.get_num_threads()
    header = [
        "# Benchmarks",
        "",
        "Ratios are ours divided by the peer's, so below 1 we are faster or smaller. Medians of alternating "
        f"repeats in one run; {threads} thread{'s' * (threads > 1)} for every side; PyTorch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}.",
        "",
        "| what | ours | peer | peer's | ratio | wanted | repeat with |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(header), flush=True)
    lines = []
    for row in chosen:
        lines.append(line(row, measure(row)))
        print(lines[-1], flush=True)
    if not arguments.keys:
        arguments.out.write_text("\n".join([*header, *lines]) + "\n")


if __name__ == "__main__":
    main()
