"""Time and memory of two ways to do one thing, so that they can be compared fairly.

Times alternate (ours, peer, ours, peer, ...) so that a machine that slows down slows both; the ratio is
that of the medians. Memory is measured in a fresh process for each side.
"""

import importlib
import importlib.util
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import MagicMock

import torch

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Row:
    """One line of the table.

    Attributes:
        key: short name, unique; `run.py KEY` measures this row alone.
        what: the task, with its size.
        peer: what ours is compared with.
        measure: a callable () -> Result, which may raise ImportError when the peer is not installed.
        wanted: the result that the project promises, in words; empty where there is no promise.
    """

    key: str
    what: str
    peer: str
    measure: Callable[[], "Result"]
    wanted: str = ""


@dataclass
class Result:
    """Ours and the peer's number in words, and ours divided by the peer's."""

    ours: str
    peer: str
    ratio: str


@contextmanager
def stand_ins(*names: str) -> Iterator[None]:
    """Empty modules for those of `names` that are not installed, while a peer is imported that uses nothing of them."""
    missing = [name for name in names if name not in sys.modules and importlib.util.find_spec(name) is None]
    sys.modules.update({name: MagicMock() for name in missing})
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


def seconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def side_by_side(ours: float, peer: float, unit: str) -> Result:
    """Two whole numbers of a unit."""
    return Result(f"{ours:.0f} {unit}", f"{peer:.0f} {unit}", f"{ours / peer:.2f}")


def processor() -> str:
    """The CPU's name where Linux tells it, else its kind."""
    listed = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", listed.read_text() if listed.exists() else "", flags=re.M)
    return found[1] if found else platform.machine()


def compare_times(
    ours: Callable[[], object], peer: Callable[[], object], repeats: int = 7, warm: bool = False
) -> Result:
    """Medians of alternating repeats, after one of each to warm up (unless the caller has done so)."""
    if not warm:
        seconds(ours), seconds(peer)
    pairs = [(seconds(ours), seconds(peer)) for _ in range(repeats)]
    mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Result(milliseconds(mine), milliseconds(theirs), f"{mine / theirs:.2f}")


def compare_memory(module: str, ours: str, peer: str) -> Result:
    """Peak memory above the inputs; `ours` and `peer` name functions of `module` that return (prepare, task)."""
    mine, theirs = (_peak_in_a_process(module, name) for name in (ours, peer))
    return Result(f"{mine:.0f} MB", f"{theirs:.0f} MB", f"{mine / theirs:.3f}")


def milliseconds(value: float) -> str:
    return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.2f} s"


def _peak_in_a_process(module: str, name: str) -> float:
    getattr(importlib.import_module(module), name)(100)  # a missing peer is noticed here, before a process is started
    code = f"from tests.benchmarks.measure import peak_of; from {module} import {name}; peak_of({name})"
    command = [sys.executable, "-c", f"import torch; torch.set_num_threads({torch.get_num_threads()}); {code}"]
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(answer.stdout.split()[-1])


def peak_of(task: Callable[..., Callable[[], object]]) -> None:
    """Print how many MB the process grew at most while the task ran, after a small one has warmed it up."""
    import psutil

    task(100)()
    run = task()
    process, done, peak = psutil.Process(), threading.Event(), 0
    before = process.memory_info().rss

    def watch():
        nonlocal peak
        while not done.is_set():
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    print((peak - before) / 1e6)
