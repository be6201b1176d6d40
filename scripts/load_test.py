"""How many students does a machine hold? `python scripts/load_test.py --students 20`

Starts JupyterLab with the settings of a class (scripts/hub/jupyter_server_config.py) on this machine, gives each student a
copy of a lesson and a kernel, and runs all of them at once, through the same addresses that a browser uses. Reports how long
it took, what memory each student needed and what failed; then leaves the notebooks open and waits until the idle kernels
have been stopped. Prints Markdown. Linux only: memory is read from /proc.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketClientConnection, websocket_connect

from companion.classroom.lab_server import LabServer, serving

ROOT = Path(__file__).resolve().parents[1]
LESSON = ROOT / "notebooks" / "01_distributional_diffusion.ipynb"
CONFIG = ROOT / "scripts" / "hub" / "jupyter_server_config.py"
CULL_INTERVAL = 5  # seconds between looks for idle kernels, in this test


@dataclass
class Memory:
    """The most memory that a process was seen to use, in MiB.

    Attributes:
        shared_fairly: proportional set size: pages that processes share count for each in part. Sums are right.
        alone: resident set size at its peak: as if nothing were shared. What a container of its own needs.
    """

    shared_fairly: float = 0.0
    alone: float = 0.0

    def look(self, process: int) -> float:
        """Note what the process uses now, and return it (PSS); 0 if it has ended."""
        now = 0.0
        with suppress(OSError):
            now = kibibytes(f"/proc/{process}/smaps_rollup", "Pss") / 1024
            self.shared_fairly = max(self.shared_fairly, now)
            self.alone = max(self.alone, kibibytes(f"/proc/{process}/status", "VmHWM") / 1024)
        return now


@dataclass
class Student:
    """One student's notebook while it runs."""

    kernel: str = ""
    seconds: float = 0.0
    failed: str = ""
    memory: Memory = field(default_factory=Memory)


async def ask(server: LabServer, path: str, body: dict | None = None) -> dict | list:
    """A request to its REST interface: GET, or POST when there is a body."""
    answer = await AsyncHTTPClient().fetch(
        f"{server.address}/api/{path}",
        method="GET" if body is None else "POST",
        headers={"Authorization": f"token {server.token}"},
        body=None if body is None else json.dumps(body),
        connect_timeout=300,
        request_timeout=300,
    )
    return json.loads(answer.body)


async def channels_of(server: LabServer, kernel: str) -> WebSocketClientConnection:
    """The connection over which a notebook talks with its kernel."""
    address = f"{server.address.replace('http', 'ws')}/api/kernels/{kernel}/channels?token={server.token}"
    return await websocket_connect(address, connect_timeout=120, max_message_size=2**30)


def kibibytes(path: str, name: str) -> int:
    """The number behind `name:` in a file of /proc."""
    for line in Path(path).read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def process_of(kernel: str) -> int | None:
    """The process of a kernel: its connection file bears the kernel's name."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"kernel-{kernel}.json".encode() in path.read_bytes():
                return int(path.parent.name)
    return None


def cells_of(notebook: Path, profile: str) -> list[str]:
    """The code of a notebook's cells, at the profile."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return [source.replace('PROFILE = "lesson"', f'PROFILE = "{profile}"') for source in code]


@contextmanager
def class_server(folder: Path, idle_seconds: int) -> Iterator[LabServer]:
    """JupyterLab on `folder/notebooks`, with the class's settings but for the times after which idle things are stopped."""
    options = {
        "config": CONFIG,
        "MappingKernelManager.cull_idle_timeout": idle_seconds,
        "MappingKernelManager.cull_interval": CULL_INTERVAL,
    }
    apart = {
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    with serving(folder, options, apart) as server:
        yield server


async def study(
    server: LabServer, student: Student, notebook: str, cells: list[str], limit: float
) -> WebSocketClientConnection | None:
    """Open a notebook, run its cells one after the other, and leave it open."""
    began, channels = time.monotonic(), None
    session = {"path": notebook, "name": notebook, "type": "notebook", "kernel": {"name": "python3"}}
    try:
        async with asyncio.timeout(limit):
            student.kernel = (await ask(server, "sessions", session))["kernel"]["id"]
            channels = await channels_of(server, student.kernel)
            for number, source in enumerate(cells):
                if error := await run_cell(channels, source):
                    student.failed = f"cell {number}: {error}"
                    break
    except TimeoutError:
        student.failed = f"not finished after {limit:.0f} s"
    except Exception as error:  # the server refused, or is gone: the others go on
        student.failed = f"{type(error).__name__}: {error}"
    student.seconds = time.monotonic() - began
    return channels


async def run_cell(channels: WebSocketClientConnection, source: str) -> str:
    """Run one cell, take all that it shows, and return its error, if any."""
    asked = uuid.uuid4().hex
    header = {"msg_id": asked, "msg_type": "execute_request", "username": "", "session": asked, "version": "5.3"}
    content = {"code": source, "silent": False, "store_history": True, "allow_stdin": False, "stop_on_error": True}
    request = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
    await channels.write_message(json.dumps(request))
    replied = idle = False
    error = ""
    while not (replied and idle):
        message = await channels.read_message()
        if message is None:
            return "the connection was closed"
        if isinstance(message, bytes):  # with buffers: what a widget shows
            continue
        message = json.loads(message)
        if message["parent_header"].get("msg_id") != asked:
            continue
        kind, said = message["header"]["msg_type"], message["content"]
        replied = replied or kind == "execute_reply"
        idle = idle or (kind == "status" and said["execution_state"] == "idle")
        if kind == "error":
            error = f"{said['ename']}: {said['evalue']}"
    return error


async def watch(server: LabServer, of_server: Memory, students: list[Student], sums: list[float]) -> None:
    """Note the memory of each process every two seconds, and the sum of all, until cancelled."""
    processes: dict[str, int] = {}
    while True:
        now = of_server.look(server.process)
        for student in students:
            if student.kernel and student.kernel not in processes and (process := process_of(student.kernel)):
                processes[student.kernel] = process
            if student.kernel in processes:
                now += student.memory.look(processes[student.kernel])
        sums.append(now)
        await asyncio.sleep(2)


async def culled(server: LabServer, students: list[Student], limit: float) -> tuple[int, float]:
    """How many of the students' kernels were stopped, processes and all, and after how many seconds the last was."""
    began = time.monotonic()
    while time.monotonic() < began + limit:
        running = {kernel["id"] for kernel in await ask(server, "kernels")}
        left = [each for each in students if each.kernel in running or process_of(each.kernel)]
        if not left:
            break
        await asyncio.sleep(1)
    return len(students) - len(left), time.monotonic() - began


async def load(options: argparse.Namespace, folder: Path) -> tuple[str, bool]:
    """Run the test in `folder`, and return its report and whether all went well."""
    cells = cells_of(options.notebook, options.profile)
    students, of_server, sums = [Student() for _ in range(options.students)], Memory(), []
    for number in range(options.students):
        home = folder / "notebooks" / f"student-{number + 1}"
        home.mkdir(parents=True)
        shutil.copy(options.notebook, home)
    with class_server(folder, options.idle_seconds) as server:
        watching = asyncio.create_task(watch(server, of_server, students, sums))
        began = time.monotonic()
        paths = [f"student-{number + 1}/{options.notebook.name}" for number in range(options.students)]
        open_notebooks = await asyncio.gather(
            *(study(server, each, path, cells, options.limit) for each, path in zip(students, paths))
        )
        seconds = time.monotonic() - began
        await asyncio.sleep(2)  # one more look
        watching.cancel()
        gone, waited = await culled(server, students, options.idle_seconds + 60)
        for channels in filter(None, open_notebooks):
            channels.close()
    well = gone == len(students) and not any(each.failed for each in students)
    return report(options, students, of_server, max(sums), seconds, gone, waited), well


def report(
    options: argparse.Namespace,
    students: list[Student],
    of_server: Memory,
    most: float,
    seconds: float,
    gone: int,
    waited: float,
) -> str:
    """The results as Markdown."""
    fair, alone = ([getattr(each.memory, name) for each in students] for name in ("shared_fairly", "alone"))
    times = [each.seconds for each in students]
    processor = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "unknown",
    )
    total = kibibytes("/proc/meminfo", "MemTotal") / 2**20
    failures = [f"- student {number + 1}: {each.failed}" for number, each in enumerate(students) if each.failed]
    lines = [
        f"Students at once: {len(students)}, each running `{options.notebook.stem}` at `{options.profile}`.",
        f"Machine: {len(os.sched_getaffinity(0))} cores ({processor}), {total:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}.",
        "",
        "| | median | largest |",
        "| --- | ---: | ---: |",
        f"| memory of a student's kernel, what is shared split fairly (PSS) | {statistics.median(fair):.0f} MiB | {max(fair):.0f} MiB |",
        f"| memory of a student's kernel, as if alone (peak RSS) | {statistics.median(alone):.0f} MiB | {max(alone):.0f} MiB |",
        f"| seconds from opening the notebook to its last cell | {statistics.median(times):.0f} | {max(times):.0f} |",
        "",
        f"- All had finished after {seconds:.0f} s; {len(failures)} failed.",
        f"- The server itself: {of_server.shared_fairly:.0f} MiB (PSS). All together, at most: {most / 1024:.1f} GiB (PSS).",
        f"- Kernels stopped for being idle more than {options.idle_seconds} s, with their notebooks still open: {gone} of "
        f"{len(students)}, {waited:.0f} s after the last had finished.",
        *failures,
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 if no student's notebook failed and all idle kernels were stopped."""
    parser = argparse.ArgumentParser(prog="scripts/load_test.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("--students", type=int, default=20, help="kernels at once (20)")
    parser.add_argument("--profile", choices=["smoke", "lesson"], default="lesson", help="size of the lesson (lesson)")
    parser.add_argument("--notebook", type=Path, default=LESSON, help="the notebook to run (lesson 01)")
    parser.add_argument("--idle-seconds", type=int, default=20, help="after which a kernel is idle, here (20)")
    parser.add_argument("--limit", type=float, default=1800, help="seconds that a student may take (1800)")
    parser.add_argument("--out", type=Path, help="write the report to this file, too")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        text, well = asyncio.run(load(options, Path(folder)))
    print(text, end="")
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
