"""Rows of the suite: how long the lessons' notebooks take to be tested.

Ours is the group `nbval` of `tests/run.py`, which runs the committed lessons at lesson size in two workers and compares what
they print with what is stored. A user without it would call `jupyter nbconvert --execute` for each notebook, which compares
nothing: one after another, or as many at a time as we have workers. Each side runs once, with one thread a process, and every
notebook must pass. `NOTEBOOKS` names them, so that the code can be tried on few.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from tests.benchmarks.measure import ROOT, Row, seconds, side_by_side
from tests.run import GROUPS, environment

NOTEBOOKS = tuple(sorted((ROOT / "notebooks").glob("*.ipynb")))
_, *OPTIONS = GROUPS["nbval"]
WORKERS = 2


def variables() -> dict[str, str]:
    """What the tests' processes find in their environment, with `companion` from this folder."""
    ours = environment()
    return ours | {"PYTHONPATH": os.pathsep.join([ours["PYTHONPATH"], str(ROOT)])}


@cache
def nbval() -> float:
    """Seconds of the group, as `tests/run.py nbval` runs it."""
    command = [sys.executable, "-m", "pytest", *map(str, NOTEBOOKS), *OPTIONS, "-q"]
    return seconds(lambda: run(command))


def nbconvert(notebook: Path) -> float:
    """Seconds of one notebook, with the start of its process and of its kernel."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", str(notebook)]
        return seconds(lambda: run([*command, "--output-dir", folder]))


@cache
def one_by_one() -> list[float]:
    return [nbconvert(notebook) for notebook in NOTEBOOKS]


def together() -> float:
    with ThreadPoolExecutor(WORKERS) as pool:
        return seconds(lambda: list(pool.map(nbconvert, NOTEBOOKS)))


def run(command: list[str]) -> None:
    """Run a command; raise with the end of what it said if it failed."""
    done = subprocess.run(command, cwd=ROOT, env=variables(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[2]} failed: {' '.join((done.stdout + done.stderr).split())[-300:]}")


def rows() -> list[Row]:
    suite = f"test of {len(NOTEBOOKS)} notebooks, nbval with {WORKERS} workers, one run, time"
    lesson = f"a notebook executed alone at lesson size, {len(NOTEBOOKS)} notebooks"
    limit = "the project's limit"
    return [
        Row(
            "suite-one-by-one",
            suite,
            "jupyter nbconvert --execute, one after another, nothing compared",
            lambda: side_by_side(nbval(), sum(one_by_one()), "s"),
            "ratio below 1",
        ),
        Row(
            "suite-together",
            suite,
            f"jupyter nbconvert --execute, {WORKERS} at a time, nothing compared",
            lambda: side_by_side(nbval(), together(), "s"),
        ),
        Row(
            "suite-lesson",
            f"{lesson}, mean time",
            limit,
            lambda: side_by_side(statistics.mean(one_by_one()), 30, "s"),
            "ratio at most 1",
        ),
        Row(
            "suite-longest",
            f"{lesson}, longest time",
            limit,
            lambda: side_by_side(max(one_by_one()), 60, "s"),
            "ratio at most 1",
        ),
    ]
