"""Runs one student's notebook in a process of its own, and judges its answers. `grading` starts it.

A job comes as JSON on standard input: where the notebook is, our own check cells, limits, and the draw of what checks draw.
What is found goes, line by line, to the file that is the only argument, one JSON object a line, so that what was found
before a process is stopped is not lost.

This keeps honest mistakes from doing harm: it stops endless loops, floods of output, files that Python opens for writing
elsewhere, other processes and the network. It is no prison: code that *wants* out gets out. Grade strangers' code in a container.
"""

import ast
import asyncio
import contextlib
import dataclasses
import inspect
import io
import json
import math
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

EXERCISE = re.compile(
    r"""(?:\bcheck\(\s*["']|^## )([f\d]\d)\.\d+(?:["']| · )""", re.M
)  # a check, or an exercise's header
FORBIDDEN = (
    "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname",
    "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn",
    "os.kill", "os.killpg",
)  # fmt: skip
CHANGES = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.truncate",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.chown",
)
STREAMS = []  # a thread that the student's code left behind may still print to its own
FILE_SIZE = 50 * 2**20  # bytes that a file of the student's may have


class TooLong(BaseException):
    """A cell or a check ran longer than it may; not an `Exception`, so that a loop around a `try` does not swallow it."""


class TooMuch(RuntimeError):
    """More was printed than anybody reads."""


class Bounded(io.TextIOBase):
    """A text stream that counts what is written to it and keeps nothing."""

    encoding = "utf-8"

    def __init__(self, most: int) -> None:
        self.left = most

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.left -= len(text)
        if self.left < 0:
            raise TooMuch("it printed more than it may")
        return len(text)


class Shell:
    """In place of IPython's shell: magics that run code run it; others, and shell commands, do nothing.

    Args:
        run: runs code among the student's names.
    """

    RUNS = ("time", "capture", "prun")

    def __init__(self, run: Callable[[str], None]) -> None:
        self.run = run

    def run_cell_magic(self, name: str, line: str, cell: str) -> None:
        if name in self.RUNS:
            self.run(cell)

    def run_line_magic(self, name: str, line: str, *more: object) -> None:
        if name in self.RUNS:
            self.run(line)

    def __getattr__(self, name: str):
        return lambda *arguments, **settings: None


def main() -> int:
    job = json.load(sys.stdin)
    with open(sys.argv[1], "a", encoding="utf-8") as report:
        run(job, report)
        tell(report, {"done": True})
    os._exit(0)  # threads that the student's code left behind must not keep this process


def tell(report: TextIO, line: dict[str, Any]) -> None:
    report.write(json.dumps(line) + "\n")
    report.flush()


def run(job: dict[str, Any], report: TextIO) -> None:
    """Read, find out whose lesson it is, run, judge."""
    limit_memory(job["memory"])
    try:
        texts, cells = read_cells(Path(job["notebook"]))
    except Exception as error:  # whatever a parser makes of what is no notebook
        tell(report, {"unreadable": type(error).__name__})
        return
    lesson = lesson_of(texts, job["checks"])
    tell(report, {"lesson": lesson})
    if lesson is None:
        return
    judges = judges_of(lesson, job["draw"])
    guard(Path.cwd(), job["seconds"])
    scope = run_cells(cells, job["cell_seconds"], job["output"], report)
    judge_all(job["checks"][lesson], judges, scope, job["cell_seconds"], job["output"], report)


def read_cells(path: Path) -> tuple[list[str], list[str]]:
    """The texts of all cells of a notebook of any version, and of its code cells alone.

    One of version 4 is read as it is: nbformat takes longer to import than to read it.

    Raises:
        Exception: whatever a file makes of this that is no notebook.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    if notebook["nbformat"] != 4:
        import nbformat

        notebook = nbformat.read(path, as_version=4)
    cells = [(cell["cell_type"], text_of(cell["source"])) for cell in notebook["cells"]]
    return [source for _, source in cells], [source for kind, source in cells if kind == "code"]


def text_of(source: str | list[str]) -> str:
    """A cell's source, which a file holds whole or in lines; a `TypeError` if it is neither."""
    return source if isinstance(source, str) else "".join(source)


def lesson_of(texts: list[str], checks: dict[str, dict]) -> str | None:
    """The lesson whose exercises a notebook names most often."""
    named = [name for text in texts for name in EXERCISE.findall(text) if name in checks]
    return max(sorted(set(named)), key=named.count, default=None)


def judges_of(lesson: str, draw: int) -> dict[str, Any]:
    """For each exercise a function that judges an answer; made before the student's code runs, so that what that code
    does to `check` or to the registry of exercises changes nothing here. From then on nothing need be imported that
    writes files or starts processes."""
    import matplotlib.pyplot  # noqa: F401

    import companion.teaching  # noqa: F401
    from companion.teaching.checks import exercises
    from companion.teaching.checks.framework import judge

    kept = [dataclasses.replace(each, properties=list(each.properties)) for each in exercises(lesson)]
    return {each.id: lambda answer, each=each: judge(each, answer, draw) for each in kept}


# Limits


def limit_memory(gigabytes: float) -> None:
    """From now on this process may have so much data."""
    resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 2**30),) * 2)


def guard(folder: Path, seconds: float) -> None:
    """From now on: so many seconds of processor, nothing written outside the folder, no other process and no network."""
    most = math.ceil(time.process_time() + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (most, most + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    inside, own = os.path.realpath(folder), os.getpid()

    def allowed(path: object) -> bool:
        if isinstance(path, int) or path is None:
            return True
        found = os.path.realpath(os.fsdecode(path))
        return found == inside or found.startswith((inside + os.sep, "/dev/"))

    def watch(event: str, arguments: tuple) -> None:
        if event in FORBIDDEN and not (event == "os.kill" and arguments[0] == own):
            raise PermissionError(f"{event} is not allowed while a notebook is graded")
        if event == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR) if isinstance(flags, int) else set(mode or "") & set("wax+")
            if writes and not allowed(path):
                raise PermissionError(f"{path!r} lies outside the notebook's folder")
        elif event in CHANGES and not all(allowed(path) for path in arguments[: 2 if event == "os.rename" else 1]):
            raise PermissionError(f"{arguments[0]!r} lies outside the notebook's folder")

    sys.addaudithook(watch)


@contextlib.contextmanager
def timed(seconds: float) -> Iterator[None]:
    """Raise `TooLong` in the code within when it takes longer, and again each second, should that be swallowed."""

    def stop(number: int, frame: object) -> None:
        raise TooLong(f"ran longer than {seconds:g} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def quiet(most: int) -> Iterator[None]:
    """What the code within prints goes nowhere, and not more than so many characters of it."""
    stream = Bounded(most)
    STREAMS.append(stream)
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        yield


# Running and judging


def run_cells(cells: list[str], seconds: float, output: int, report: TextIO) -> dict[str, Any]:
    """Run code cells in order; one that fails is reported, and the next one runs. Returns the names they made."""
    from IPython.core.inputtransformer2 import TransformerManager

    transform = TransformerManager().transform_cell
    scope: dict[str, Any] = {"__name__": "__main__", "display": lambda *shown, **settings: None}

    def execute(source: str, name: str = "<magic>") -> None:
        code = compile(transform(source), name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        waited_for = eval(code, scope)
        if inspect.iscoroutine(waited_for):
            asyncio.run(waited_for)

    scope["get_ipython"] = lambda: Shell(execute)
    for place, source in enumerate(cells, 1):
        try:
            with quiet(output), timed(seconds):
                execute(source, f"<cell {place}>")
        except BaseException as error:  # SystemExit, KeyboardInterrupt and TooLong, too
            tell(report, {"cell": place, "error": worded(error)})
    return scope


def judge_all(checks: dict, judges: dict, scope: dict, seconds: float, output: int, report: TextIO) -> None:
    """Give each answer to its check: the cell of our own notebook, with the student's names and our `check`."""
    for name, source in checks["cells"].items():

        def check(exercise: str, answer: object, name: str = name):
            return judges[name](answer)

        try:
            with quiet(output), timed(seconds):
                found = eval(source, {**scope, "check": check})
            line = {"status": found.status, "failed": found.failed, "message": found.message}
        except NameError as error:
            line = {"status": "error", "failed": None, "message": f"{error}. The check looks for this name: keep it."}
        except BaseException as error:
            line = {"status": "error", "failed": None, "message": worded(error)}
        tell(report, {"exercise": name} | line)


def worded(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
