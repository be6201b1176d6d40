"""What keeps the lessons from running here, in plain words, and the command that mends it: `python -m companion doctor`.

Like `readiness`, this needs nothing but Python itself, and reads in an old Python, too.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from companion import readiness

ROOT = Path(__file__).resolve().parents[1]
FINE, NOTE, WRONG = "fine", "note", "wrong"
PORT = 8888  # where JupyterLab begins to look for a free one
SHOWN = 3  # of a long list


class Finding(NamedTuple):
    """What a check found.

    Attributes:
        level: FINE; NOTE, if the lessons run all the same; or WRONG.
        told: a sentence, without its full stop.
        mend: what to do about it, with its command.
    """

    level: str
    told: str
    mend: str = ""


def report(root: Path = ROOT, say: Callable[[str], None] = print) -> bool:
    """Tell what is here, what is missing and what mends it, as it is found; return whether the lessons can run."""
    wrong, mend = 0, ""
    say(f"Python {platform.python_version()} on {platform.system()}, {os.cpu_count()} cores, in {sys.prefix}")
    for finding in checkup(root):
        if mend and finding.mend != mend:  # once below all that it mends
            say(f"        {mend}.")
        mend = finding.mend
        say(f"  {finding.told}" if finding.level == FINE else f"{finding.level + ':':7} {finding.told}.")
        wrong += finding.level == WRONG
    if mend:
        say(f"        {mend}.")
    if wrong:
        ask = ".venv/bin/python" if by_make(root) and not in_environment() else this_python()
        say(f"Not ready: {wrong} to mend. Then ask again: `{ask} -m companion doctor`.")
    else:
        opens = make_lab(root) if by_make(root) else f"{this_python()} -m companion lab"
        say(f"Ready: `{opens}` opens the first notebook.")
    return not wrong


def checkup(root: Path = ROOT) -> Iterator[Finding]:
    """Every finding; what can only be looked at with the packages waits until they are there."""
    waiting = [python, packages, torch_build, versions, ports, folders, kernel, notebooks, stored]
    while waiting:
        check = waiting.pop(0)
        found = []
        try:
            for finding in check(root):
                found.append(finding)
                yield finding
        except Exception as error:  # a doctor goes on: what it cannot look at is a finding
            name = check.__name__
            yield Finding(WRONG, f"The check of {name} stopped with {type(error).__name__}: {error}", undo(root))
        lacks = any(finding.level == WRONG for finding in found)
        if lacks and check is python:
            return
        if lacks and check in (packages, torch_build):
            waiting = [later for later in waiting if later in (versions, ports, folders)]


# -- commands ------------------------------------------------------------------------------------------


def has_make(root: Path) -> bool:
    """Whether this is the repository: what students get has no Makefile."""
    return (root / "Makefile").exists()


def in_environment() -> bool:
    """Whether this Python is that of an environment, of venv's or conda's."""
    return sys.prefix != sys.base_prefix or sys.prefix == os.environ.get("CONDA_PREFIX")


def by_make(root: Path) -> bool:
    """Whether make looks after this Python, which it marks, or will after the one that it makes."""
    return has_make(root) and (not in_environment() or (Path(sys.prefix) / ".created").exists())


def make_lab(root: Path) -> str:
    """How make opens the lessons with this Python."""
    elsewhere = in_environment() and Path(sys.prefix).resolve() != (root / ".venv").resolve()
    return f"make lab VENV={shlex.quote(sys.prefix)}" if elsewhere else "make lab"


def this_python() -> str:
    """This Python's program as a shell takes it here."""
    program = Path(sys.executable)
    return shlex.quote(str(program.relative_to(Path.cwd()) if Path.cwd() in program.parents else program))


def install(root: Path) -> str:
    """The command that installs what is missing."""
    if not (root / "constraints.txt").exists():  # installed from a wheel
        return f'{this_python()} -m pip install "learning-in-motion[lab]"'
    if in_environment():
        return f'{this_python()} -m pip install -c constraints.txt -e ".[lab]"'
    if has_make(root):
        return "make lab"
    return f'{this_python()} -m venv .venv && .venv/bin/python -m pip install -c constraints.txt -e ".[lab]"'


def undo(root: Path) -> str:
    return "Run `git status companion notebooks` to see what was edited" if has_make(root) else "Take a new pack"


# -- checks --------------------------------------------------------------------------------------------


def python(root: Path = ROOT) -> Iterator[Finding]:
    """Its version, and whether it is the one that is meant."""
    newest = ".".join(map(str, readiness.NEWEST))
    old = readiness.too_old()
    if old:
        use = "make lab PYTHON=/path/to/python3.13" if has_make(root) else "/path/to/python3.13 -m venv .venv"
        yield Finding(WRONG, old, f"Install Python 3.11 to {newest}, then run `{use}`")
        return
    if sys.version_info[:2] > readiness.NEWEST:
        told = f"Python {platform.python_version()} is newer than what is tested, which ends with {newest}"
        yield Finding(NOTE, told, f"If a package is missing for it, install Python {newest} and start anew with that")
    here = Path(sys.prefix).resolve()
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        active = os.environ.get(variable)
        if active and Path(active).resolve() != here:
            told = f"The active environment ({variable}) is {active}, but this Python is that of {here}"
            yield Finding(NOTE, told, f"For that one run `{shlex.quote(active)}/bin/python -m companion doctor`")
    made = root / ".venv" / "bin" / "python"
    if made.exists() and made.parents[1].resolve() != here:
        told = f"This folder has an environment of its own, .venv, but this Python is that of {here}"
        yield Finding(NOTE, told, "For that one run `.venv/bin/python -m companion doctor`")


def packages(root: Path = ROOT) -> Iterator[Finding]:
    """What a lesson imports."""
    mend, ending = f"Run `{install(root)}` in this folder", " is not installed"
    absent = []
    for fine, told in readiness.findings():
        if told.endswith(ending):
            absent.append(told[: -len(ending)])
        else:
            yield Finding(FINE, told) if fine else Finding(WRONG, told, mend)
    if absent:
        yield Finding(WRONG, f"Not installed: {', '.join(absent)}", mend)


def torch_build(root: Path = ROOT) -> Iterator[Finding]:
    """Whether torch computes, and whether it is the build for this machine."""
    again = f"Run `{this_python()} -m pip install --force-reinstall -c constraints.txt torch`"
    try:
        import torch

        total = torch.ones(2).sum().item()
    except ModuleNotFoundError:  # `packages` has said so
        return
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        yield Finding(WRONG, f"torch does not compute: {error}", again)
        return
    if total != 2:
        yield Finding(WRONG, f"torch adds 1 and 1 to {total}", again)
    elif torch.cuda.is_available():
        yield Finding(FINE, f"torch uses {torch.cuda.get_device_name()} where DEVICE or the profile `full` asks for it")
    elif not has_gpu():
        build = "its build for CUDA runs on the CPU" if torch.version.cuda else "its build is for the CPU"
        yield Finding(FINE, f"torch finds no GPU and needs none: {build}")
    elif torch.version.cuda:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        why = "its driver may be too old" if hidden is None else f"CUDA_VISIBLE_DEVICES is {hidden!r}"
        told = f"This machine has a GPU, which torch's build for CUDA {torch.version.cuda} cannot use: {why}"
        yield Finding(NOTE, told, "Run `nvidia-smi` to see it, or go on: the lessons run on the CPU")
    else:
        told = "This machine has a GPU, but torch's build is for the CPU, where the lessons run as well"
        yield Finding(NOTE, told, f"To use the GPU: {again[0].lower()}{again[1:]}, whose usual build on Linux has CUDA")


def has_gpu() -> bool:
    """Whether there is a GPU of NVIDIA's, whatever torch thinks of it."""
    return os.path.exists("/proc/driver/nvidia/version") or shutil.which("nvidia-smi") is not None


def versions(root: Path = ROOT) -> Iterator[Finding]:
    """What is installed in another version than the tested one, in one line."""
    lock = root / "constraints.txt"
    if not lock.exists() or (has_make(root) and not in_environment()):  # make will bring its own
        return
    other, same = [], 0
    for name, pinned in re.findall(r"^([\w.-]+)==([\w.]+)", lock.read_text(encoding="utf-8"), flags=re.MULTILINE):
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:  # of an extra that is not needed here
            continue
        same += found.partition("+")[0] == pinned
        if found.partition("+")[0] != pinned:
            other.append(f"{name} {found} ({pinned})")
    if other:
        told = f"Other versions than the tested ones in constraints.txt: {shortened(other)}"
        yield Finding(NOTE, told, f"Should something fail, run `{install(root)}` in this folder")
    elif same:
        yield Finding(FINE, f"{same} packages in the versions of constraints.txt")


def shortened(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def kernel(root: Path = ROOT) -> Iterator[Finding]:
    """Whether the kernel that notebooks ask for, python3, is this Python, and finds `companion`."""
    from jupyter_client.kernelspec import KernelSpecManager

    spec = KernelSpecManager().get_kernel_spec("python3")
    usual = {"python", "python3", f"python3.{sys.version_info[1]}"}  # for these Jupyter takes the Python it runs in
    program = sys.executable if spec.argv[0] in usual else spec.argv[0]
    code = "import sys; print(sys.prefix); import companion; print(companion.__file__)"
    folder = root / "notebooks" if (root / "notebooks").is_dir() else tempfile.gettempdir()
    try:
        done = subprocess.run(
            [program, "-c", code],
            cwd=folder,
            env={**os.environ, **spec.env},
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        told = f"The kernel python3 of {spec.resource_dir} does not start {program}: {error}"
        yield Finding(WRONG, told, mended_kernel(root, Path(spec.resource_dir)))
        return
    prefix, *imported = done.stdout.splitlines() or [""]
    if prefix != sys.prefix:
        told = f"The kernel python3 of {spec.resource_dir} runs {program}, not this Python"
        yield Finding(WRONG, told, mended_kernel(root, Path(spec.resource_dir)))
    elif not imported:
        told = f"The kernel python3 does not find companion: {(done.stderr.splitlines() or ['no reason given'])[-1]}"
        yield Finding(WRONG, told, f"Run `{install(root)}` in this folder")
    elif Path(imported[0]).resolve().parents[1] != root.resolve():
        told = f"Notebooks import companion from {Path(imported[0]).parents[1]}, not from this folder"
        yield Finding(NOTE, told, f"To change that, run `{install(root)}` in this folder")
    else:
        yield Finding(FINE, "the kernel python3 is this Python, and finds companion")


def mended_kernel(root: Path, resources: Path) -> str:
    """What makes Jupyter take this Python's kernel."""
    if Path(sys.prefix).resolve() in resources.resolve().parents:  # ours, but it leads elsewhere: a moved folder, say
        return f"Run `{this_python()} -m ipykernel install --sys-prefix`"
    given = os.environ.get("JUPYTER_PATH", "").split(os.pathsep)
    listed = any(path and Path(path).resolve() in resources.resolve().parents for path in given)
    command = "unset JUPYTER_PATH" if listed else "export JUPYTER_PREFER_ENV_PATH=1"
    return f"Run `{command}` before you start Jupyter" + (
        f", or run `{make_lab(root)}`, which does so" if by_make(root) else ""
    )


def ports(root: Path = ROOT, port: int = PORT) -> Iterator[Finding]:
    """Whether JupyterLab can be reached."""
    try:
        bind(0)
    except OSError as error:
        told = f"No port of this machine (127.0.0.1) can be opened, so a browser cannot reach JupyterLab: {error}"
        yield Finding(WRONG, told, "Run `ip link set lo up` as administrator, or leave the sandbox that forbids it")
        return
    try:
        bind(port)
    except OSError:
        told = f"Port {port} is taken, by another JupyterLab perhaps: this one will take the next that is free"
        args = (
            f"{make_lab(root)} LAB_ARGS=--port=9000"
            if by_make(root)
            else f"{this_python()} -m companion lab -- --port=9000"
        )
        yield Finding(NOTE, told, f"To choose one, run `{args}`")
    else:
        yield Finding(FINE, f"port {port} is free")


def bind(port: int) -> None:
    """Open a port and close it again, as a server would."""
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        probe.listen()


def folders(root: Path = ROOT) -> Iterator[Finding]:
    """Whether files can be written where they will be."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        told = "No folder for temporary files can be written, which kernels need"
        yield Finding(
            WRONG, told, 'Run `mkdir -p "$HOME/tmp" && export TMPDIR="$HOME/tmp"`, with free disk space there'
        )
        return
    if not writable(root / "notebooks"):
        told = f"{root} cannot be written: lessons run, but what you change in a notebook cannot be saved"
        yield Finding(NOTE, told, f"To keep your work, run `cp -r {shlex.quote(str(root))} COPY` and work there")
    home = jupyter_home()
    if writable(home):
        yield Finding(FINE, f"temporary files go to {tempfile.gettempdir()}, Jupyter's to {home}")
    else:
        level = NOTE if by_make(root) else WRONG
        told = f"{home}, where Jupyter keeps the files of running kernels, cannot be written"
        safe = f", or run `{make_lab(root)}`, which keeps them elsewhere" if by_make(root) else ""
        yield Finding(level, told, 'Run `export HOME="$(mktemp -d)"` before you start Jupyter' + safe)


def jupyter_home() -> Path:
    """Where Jupyter keeps what it writes while it runs."""
    try:
        from jupyter_core.paths import jupyter_runtime_dir
    except ImportError:
        return Path(os.path.expanduser("~"))
    return Path(jupyter_runtime_dir())


def writable(folder: Path) -> bool:
    """Whether a file can be made in `folder`, or in what is there of the way to it. Asked by making one: what
    the permissions say is not the whole of it on a read-only disk, nor for an administrator."""
    while not os.path.lexists(folder):
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def notebooks(root: Path = ROOT) -> Iterator[Finding]:
    """Whether each .ipynb is what its .py gives, and ran with the code that is here."""
    if not (root / "notebooks" / "00_start_here.ipynb").exists():
        told = f"There are no lessons in {root / 'notebooks'}"
        yield Finding(NOTE, told, "Run this in the folder of the repository, or of your pack")
        return
    if not Path(__file__).with_name("classroom").is_dir():  # a student's pack has notebooks only, the student's own
        return
    from companion.classroom.sync import drift

    found = drift(root, in_use=True)
    for told in found[:SHOWN]:
        more = f" (and {len(found) - SHOWN} more such)" if told is found[:SHOWN][-1] and len(found) > SHOWN else ""
        keep = "if you edited code: it writes the .ipynb again. What you ran or answered in an .ipynb would be lost"
        yield Finding(NOTE, told.rstrip(".") + more, f"Run `make sync` {keep}")
    if not found:
        yield Finding(FINE, "notebooks are in step with their sources and with the code")


def stored(root: Path = ROOT, folder: Path | None = None) -> Iterator[Finding]:
    """Whether stored results and trained weights are those of the code that is here."""
    from companion.teaching import checkpoints, results

    folder = folder or results.FILES
    paths = sorted(folder.glob("*.json")) + sorted(folder.glob("*.safetensors"))
    old = 0
    for path in paths:
        try:
            if path.suffix == ".json":
                results.load(path.stem, folder)
            elif not checkpoints.is_current(path):
                raise checkpoints.CheckpointError("is stale (the code that made it has changed)")
        except results.StaleResult as error:
            told, _, mend = str(error).partition(", so run ")
            finding = Finding(WRONG, told, f"Run {mend.rstrip('.')}, or undo the edit")
        except checkpoints.CheckpointError as error:
            told = f"The trained model {path.name} {error}: its lesson trains it again each time"
            finding = Finding(NOTE, told, "Run `make checkpoints`, or undo the edit" if has_make(root) else undo(root))
        except (ValueError, KeyError, ImportError) as error:
            told = f"The stored result {path.name} cannot be used: {type(error).__name__}: {error}"
            finding = Finding(WRONG, told, undo(root))
        else:
            continue
        old += 1
        yield finding
    if not old:
        yield Finding(FINE, f"{len(paths)} stored results and trained models are of the code that is here")
