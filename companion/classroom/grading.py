"""Grade a folder of submissions: each in a process of its own, one clear row each.

`python -m companion grade FOLDER --out grades.csv` looks for notebooks under FOLDER, runs the code cells of each with limits
on time, memory and output, and then gives the student's answers to the checks of our own notebook, on inputs drawn anew. So
a check that was deleted or overwritten changes nothing, and an answer that is right on the student's draws only is found
out. What was graded is kept beside the table: stopped at any moment, the next call goes on from there. `answer_runner` says
what its limits can do and what they cannot.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from companion.classroom.feedback import write_feedback
from companion.classroom.light import read_source, tags
from companion.classroom.students import NUMBERED
from companion.classroom.sync import ROOT
from companion.foundations.validation import require, require_count
from companion.teaching import checks
from companion.teaching.checks import exercises
from companion.teaching.provenance import source_hash
from companion.teaching.writing import write_whole

COLUMNS = ("student", "file", "lesson", "right", "of", "status", "seconds", "exercises", "message")
STARTUP = 60.0  # seconds that a process may take on top, to import what it needs
NOT_REACHED = {"status": "not reached", "failed": None, "message": "The notebook was stopped before."}


@dataclass(frozen=True)
class Limits:
    """What a submission may take.

    Attributes:
        seconds: in all, of the clock and of the processor.
        cell_seconds: for one cell, or one check.
        memory: GiB of data.
        output: characters that a cell, or a check, may print.
    """

    seconds: float = 600.0
    cell_seconds: float = 60.0
    memory: float = 4.0
    output: int = 1_000_000


@dataclass
class Grade:
    """A row: a submission, and what became of it.

    Attributes:
        student: the folder that it was in, or what its file's name says beside the lesson.
        file: its path in the folder of submissions.
        lesson: "01"; empty if it is none of ours.
        status: "graded"; "stopped", by a limit or by itself, where what had been judged counts; "unreadable"; "not ours";
            "no notebook".
        message: one sentence, empty if all went well.
        seconds: on the clock.
        verdicts: for each exercise its status, the property that failed, and the message.
    """

    student: str
    file: str
    lesson: str = ""
    status: str = "graded"
    message: str = ""
    seconds: float = 0.0
    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def right(self) -> int:
        """How many exercises are right."""
        return sum(one["status"] == "right" for one in self.verdicts.values())

    def row(self) -> dict[str, Any]:
        """What stands in the table."""
        told = [f"{name} {one['status']}{_property(one)}" for name, one in self.verdicts.items()]
        values = {"right": self.right, "of": len(self.verdicts), "seconds": round(self.seconds, 1)}
        words = {"exercises": "; ".join(told)} | {
            name: getattr(self, name) for name in ("student", "file", "lesson", "status", "message")
        }
        return values | {name: plain(text) for name, text in words.items()}


def _property(verdict: dict[str, Any]) -> str:
    return f" ({verdict['failed']})" if verdict["failed"] else ""


def plain(text: str) -> str:
    """Text that no spreadsheet takes for a formula.

    >>> plain("=1+1")
    "'=1+1"
    """
    return "'" + text if text.startswith(("=", "+", "-", "@")) else text


def grade(
    folder: Path,
    out: Path,
    jobs: int = 1,
    limits: Limits = Limits(),
    draw: int = 1,
    feedback: Path | None = None,
) -> list[Grade]:
    """Grade every notebook under a folder, and write the table after each, so that nothing is lost.

    A notebook in a folder belongs to the student that the folder (the first below FOLDER) is named after; one that lies in
    FOLDER itself, to the student that its name says beside the lesson.

    Args:
        folder: of submissions.
        out: the table, as CSV; what is graded is kept in a folder beside it, with `.parts` at its end.
        jobs: submissions at a time.
        limits: of each.
        draw: which random inputs checks draw; students have 0.
        feedback: a folder for an HTML page for each student; None: none are written.

    Returns:
        The grades, in the order of their files; students without a notebook come last.

    Raises:
        FileNotFoundError: there is no such folder, or nothing in it.
        ValueError: `jobs` or `draw` below 1.
        OSError: this is neither Linux nor macOS.
    """
    require(os.name == "posix", "the system", os.name, "Linux or macOS, or a container: the limits need it", OSError)
    require_count("jobs", jobs, 1)
    require_count("draw", draw, 1)
    kept = out.with_name(out.name + ".parts")
    found, without = submissions(folder, [path for path in (out, kept, feedback) if path is not None])
    kept.mkdir(parents=True, exist_ok=True)
    grades: dict[Path, Grade] = {}

    def written() -> list[Grade]:
        rows = [*(grades[path] for path in found if path in grades), *without]
        write_table(rows, out)
        return rows

    def tell(student: str) -> None:
        rows = [row for row in written() if row.student == student]
        if feedback is not None:
            write_feedback(student, rows, feedback)

    written()
    for one in without:
        tell(one.student)
    with Runs(limits, draw) as runs, ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(remembered, path, folder, kept, runs): path for path in found}
        try:
            for done in tqdm(as_completed(waiting), total=len(found), desc="graded", unit="notebook"):
                one = grades[waiting[done]] = done.result()
                tell(one.student)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            runs.stop()
            raise
    return written()


def submissions(folder: Path, ours: Sequence[Path] = ()) -> tuple[list[Path], list[Grade]]:
    """The notebooks under a folder, without Jupyter's own copies, and a row for whoever handed in none.

    Args:
        folder: of submissions.
        ours: files and folders that are none, wherever they lie.
    """
    require(folder.is_dir(), "folder", str(folder), "a folder", FileNotFoundError)
    left_out = {path.resolve() for path in ours if folder.resolve() in path.resolve().parents}
    seen = [
        path
        for path in sorted(folder.rglob("*"))
        if not _hidden(path.relative_to(folder)) and left_out.isdisjoint([path.resolve(), *path.resolve().parents])
    ]
    found = [path for path in seen if path.suffix.lower() == ".ipynb" and not path.is_dir()]
    owners = {path.relative_to(folder).parts[0] for path in found}
    without = []
    for path in (path for path in seen if path.parent == folder and path.name not in owners):
        inside = [file.relative_to(path).as_posix() for file in seen if path in file.parents and file.is_file()]
        if not path.is_dir():
            message = "this is no .ipynb file"
        elif path.is_symlink():
            message = "the folder is a link, which is not followed"
        else:
            message = f"there is only {', '.join(inside[:5])}" if inside else "the folder is empty"
        without.append(Grade(student_of(path.relative_to(folder)), path.name, status="no notebook", message=message))
    what = f"{folder}, in which there is no notebook"
    require(bool(found or without), "folder", what, "one with .ipynb files", FileNotFoundError)
    return found, without


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def student_of(path: Path) -> str:
    """Whose a submission is, by its path in the folder of submissions.

    >>> student_of(Path("ada/01_distributional_diffusion.ipynb")), student_of(Path("01_distributional_diffusion-ada.ipynb"))
    ('ada', 'ada')
    """
    if len(path.parts) > 1:
        return path.parts[0]
    stem = next((one["stem"] for one in our_checks().values() if one["stem"] in path.stem), "")
    return path.stem.replace(stem, "").strip(" _-") or path.stem


@cache
def our_checks() -> dict[str, dict[str, Any]]:
    """Of our exercise notebooks, by lesson: the `stem` of the file, and the check `cells` by exercise."""
    found = {}
    for path in sorted((ROOT / "notebooks" / "exercises").glob(f"{NUMBERED}.py")):
        lesson = path.stem.split("_")[0]
        cells = [cell.source for cell in read_source(path).cells if "check" in tags(cell)]
        found[lesson] = {
            "stem": path.stem,
            "cells": dict(zip((one.id for one in exercises(lesson)), cells, strict=True)),
        }
    return found


# The processes


class Stopped(Exception):
    """All runs were stopped; this one's result counts for nothing."""


class Runs:
    """Starts a process for each submission, and stops them when all must stop.

    Args:
        limits: of each.
        draw: which random inputs checks draw.
    """

    def __init__(self, limits: Limits, draw: int) -> None:
        self.limits, self.draw = limits, draw
        names = [f"{checks.__name__}.{module.name}" for module in pkgutil.walk_packages(checks.__path__)]
        code = source_hash(*names, __name__, "companion.classroom.answer_runner")
        self.key = json.dumps([asdict(limits), draw, our_checks(), code])
        self._lock, self._alive, self._stopped = threading.Lock(), set(), False

    def __enter__(self) -> "Runs":
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill what runs, and start nothing more."""
        with self._lock:
            self._stopped, alive = True, list(self._alive)
        for process in alive:
            _kill(process)

    def report(self, notebook: Path) -> tuple[list[dict[str, Any]], str]:
        """What the process of a notebook reported, line by line, and why it ended before its end; "" if it did not.

        Raises:
            Stopped: all were stopped meanwhile.
        """
        job = {"notebook": str(notebook.resolve()), "checks": our_checks(), "draw": self.draw} | asdict(self.limits)
        with tempfile.TemporaryDirectory(prefix="graded-", ignore_cleanup_errors=True) as place:
            report, work = Path(place) / "report.jsonl", Path(place) / "work"
            work.mkdir()
            ended = self._wait(self._start(report, work), json.dumps(job))
            lines = list(read_report(report))
        if self._stopped:
            raise Stopped
        return lines, "" if lines and "done" in lines[-1] else ended

    def _start(self, report: Path, work: Path) -> subprocess.Popen:
        command = [sys.executable, "-m", "companion.classroom.answer_runner", str(report)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "PYTHONSAFEPATH": "1"}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "COMPANION_FRAMES": "one", "TMPDIR": str(work)}
        with self._lock:
            if self._stopped:
                raise Stopped
            process = subprocess.Popen(
                command,
                cwd=work,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                text=True,
            )
            self._alive.add(process)
        return process

    def _wait(self, process: subprocess.Popen, job: str) -> str:
        """Until it ends or has had its time; why it ended."""
        limit = f"{self.limits.seconds:g} s"
        try:
            process.communicate(job, timeout=self.limits.seconds + STARTUP)
            code = process.returncode
        except subprocess.TimeoutExpired:
            return f"it ran longer than {limit}"
        finally:
            _kill(process)
            with self._lock:
                self._alive.discard(process)
        if code == -signal.SIGXCPU:
            return f"it took more than {limit} of the processor"
        return f"its process was ended by signal {-code}" if code < 0 else f"it ended its own process, with code {code}"


def _kill(process: subprocess.Popen) -> None:
    """It, and whatever it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# Rows


def remembered(path: Path, folder: Path, kept: Path, runs: Runs) -> Grade:
    """The grade of a submission: read, if the same file was graded before in the same way; else made, and written."""
    inside = path.relative_to(folder)
    row = Grade(student_of(inside), inside.as_posix())
    try:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        row.status, row.message = "unreadable", f"it cannot be opened: {error.strerror}"
        return row
    key = f"{content} {inside} {runs.key}".encode("utf-8", "surrogatepass")
    stored = kept / f"{hashlib.sha256(key).hexdigest()[:24]}.json"
    if stored.exists():
        return Grade(**json.loads(stored.read_text(encoding="utf-8")))
    began = time.monotonic()
    try:
        read_into(row, *runs.report(path))
    except Stopped:
        raise
    except Exception as error:  # whatever a report may hold: this row, and not the run
        row.status, row.message = "stopped", f"it could not be graded ({type(error).__name__})"
    row.seconds = time.monotonic() - began
    write_whole(stored, json.dumps(asdict(row)))
    return row


def read_report(report: Path) -> Iterator[dict[str, Any]]:
    """What the process wrote; a line that was cut off, or that is not ours, is left out."""
    if report.exists():
        for line in report.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError, RecursionError):
                found = json.loads(line)
                if isinstance(found, dict):
                    yield found


def read_into(row: Grade, lines: Sequence[dict[str, Any]], ended: str) -> None:
    """Put what a process reported into a row."""
    failed = []
    for line in lines:
        if "unreadable" in line:
            row.status, row.message = "unreadable", f"this is not a notebook, or a damaged one ({line['unreadable']})"
        elif "lesson" in line and line["lesson"] is None:
            row.status, row.message = "not ours", "no header and no check in it names one of our exercises"
        elif line.get("lesson") in our_checks() and not row.lesson:
            row.lesson = line["lesson"]
            row.verdicts = {one.id: dict(NOT_REACHED) for one in exercises(row.lesson)}
        elif "cell" in line:
            failed.append(line)
        elif line.get("exercise") in row.verdicts:
            row.verdicts[line["exercise"]] = {name: line[name] and str(line[name]) for name in NOT_REACHED}
    if ended:
        row.status, row.message = "stopped", f"{ended}; what had been judged counts"
    elif failed:
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        row.message = f"cell {failed[0]['cell']} failed{more}: {failed[0]['error']}"


def write_table(rows: Sequence[Grade], out: Path) -> None:
    """The table, as CSV, whole or not at all."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS)
    table.writeheader()
    table.writerows(one.row() for one in rows)
    write_whole(out, text.getvalue())
