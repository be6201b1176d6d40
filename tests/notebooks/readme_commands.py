"""Every command of the README and of the book's page 'On your own model', and how a test runs it.

Most run as they stand, on less. Not run is what would fetch packages, for want of a network, or take hours: it is read by
the program's own parser where that can be had, and held against the files that it names.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import nbformat
import yaml
from accelerate.commands.launch import launch_command_parser
from subjects import NOTEBOOKS, ROOT

from companion import __main__ as entry
from companion.classroom import sweep
from companion.teaching import full_size

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def run(words, folder=ROOT, **options):
    """A program, with this Python for any other: it must succeed. Returns what it says."""
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        words, cwd=folder, env=os.environ | path, capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def as_it_stands(command, folder):
    run(shlex.split(command))


# -- make --

# A Python that installs nothing, and writes down what it is asked for.
SCRIBE = """#!/bin/sh
echo "$*" >> calls.txt
"""


def make(*wanted):
    """Run make for real, in a folder whose Python is a scribe; each of `wanted` must be asked for, in this order."""

    def check(command, folder):
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        python = folder / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(SCRIBE)
        python.chmod(0o755)
        (folder / ".venv" / "pyvenv.cfg").touch()
        run(shlex.split(command), folder)
        calls = (folder / "calls.txt").read_text()
        assert re.search(".*".join(rf"{re.escape(words)}\b" for words in wanted), calls, flags=re.S), calls
        for lab in re.findall("^(-m companion lab .*)$", calls, flags=re.M):
            assert_lab_opens_the_first_notebook(shlex.split(lab), folder)

    return check


# -- JupyterLab --


def lab(command, folder):
    assert_lab_opens_the_first_notebook(shlex.split(command)[1:], folder)


def assert_lab_opens_the_first_notebook(arguments, folder):
    """Start JupyterLab in the repository, without a browser, and look where it would send one."""
    command = [sys.executable, *arguments, *([] if "--" in arguments else ["--"])]
    command += ["--no-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"]
    runtime = folder / "RUNTIME"
    own = {f"JUPYTER_{name}_DIR": str(folder / name) for name in ("RUNTIME", "CONFIG", "DATA")}
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=os.environ | own, stdout=log, stderr=log)
        try:
            end = time.monotonic() + 120
            while "</html>" not in (text := "".join(page.read_text() for page in runtime.glob("jpserver-*-open.html"))):
                assert server.poll() is None, (folder / "lab.log").read_text()
                assert time.monotonic() < end, (folder / "lab.log").read_text()
                time.sleep(0.2)
        finally:
            server.terminate()
            server.wait(timeout=60)
    assert re.search(r"/lab/tree/(notebooks/)?00_start_here\.ipynb\?token=", text), text


# -- environments --


def venv(command, folder):
    """As it stands but for pip, which would take seconds; then whether its Python is the one that is used."""
    words = shlex.split(command)
    assert re.fullmatch(r"python3(\.11)?", words[0])
    run([sys.executable, *words[1:], "--without-pip"], folder)


def activate(command, folder):
    venv("python3 -m venv .venv", folder)
    found = run(["sh", "-ec", f'{command}; python -c "import sys; print(sys.prefix)"'], folder)
    assert Path(found.strip()).resolve() == (folder / ".venv").resolve()


def pip_is_there(command, folder):
    run([sys.executable, *shlex.split(command)[1:], "--version"])


def pip_install(command, folder):
    """Not run: an extra that exists, of this folder, under constraints that exist."""
    words = shlex.split(command)
    options = words[words.index("install") + 1 :]
    assert words[: words.index("install")] in (["pip"], ["python", "-m", "pip"])
    names = dict(zip(options[::2], options[1::2], strict=True))
    assert set(names) <= {"-c", "-e"}
    (extras,) = re.fullmatch(r"\.(?:\[(.*)\])?", names["-e"]).groups()
    assert set(extras.split(",") if extras else []) <= set(PROJECT["optional-dependencies"])
    assert "-c" not in names or (ROOT / names["-c"]).exists()


def conda_create(command, folder):
    """Not run: there may be no conda. What the file installs, test_repository compares with the lock."""
    assert shlex.split(command) == ["conda", "env", "create", "-f", "environment.yml"]
    assert (ROOT / "environment.yml").exists()


def conda_activate(command, folder):
    assert shlex.split(command) == ["conda", "activate", CONDA["name"]]


# -- python -m companion --


def read_by_parser(command, name):
    """The options that `python -m companion` reads from a command, which is not run."""
    *start, module = shlex.split(command)[:3]
    assert (start, module) == (["python", "-m"], "companion")
    seen, original = [], getattr(entry, name)
    setattr(entry, name, lambda options: seen.append(options) or 0)
    try:
        assert entry.main(shlex.split(command)[3:]) == 0
    finally:
        setattr(entry, name, original)
    return seen[0]


def companion(*words):
    """`python -m companion`, in this process."""
    assert entry.main([str(word) for word in words]) == 0


def into(name):
    """As it stands, but into the test's folder; a file or folder must be there then."""

    def check(command, folder):
        words = shlex.split(command)
        assert (words[:3], words[-2:]) == (["python", "-m", "companion"], ["--out", name])
        companion(*words[3:-1], folder / name)
        assert any((folder / name).iterdir())

    return check


def grade(command, folder):
    """Of one student, who has handed in one notebook as it was given out."""
    ada, table = folder / "FOLDER" / "ada", folder / "grades.csv"
    ada.mkdir(parents=True)
    shutil.copy(NOTEBOOKS / "student" / "f1_distances.ipynb", ada)
    assert command == "python -m companion grade FOLDER --out grades.csv"
    companion("grade", folder / "FOLDER", "--out", table)
    assert "ada" in table.read_text()


def sweep_over(command, folder):
    """Its grid is read and counted; then one point of it runs, of a notebook that has the lesson's parameters and no more."""
    options = read_by_parser(command, "run_sweep")
    grid = sweep.parse_parameters(options.parameter)
    assert {name: len(values) for name, values in grid.items()} == {"SEED": 32, "drift_lr": 2}
    lesson = nbformat.read(ROOT / options.notebook, 4)
    lesson.cells = [cell for cell in lesson.cells if "parameters" in cell.metadata.get("tags", [])]
    short, runs = folder / options.notebook.name, folder / options.out
    nbformat.write(lesson, short)
    point = [word for name, values in grid.items() for word in ("-p", name, values[0])]
    companion("sweep", short, *point, "--out", runs, "--jobs", 1)
    assert {path.name for path in runs.iterdir()} >= {sweep.TABLE, sweep.PLOT}


def nevis(command, folder):
    """Hours: only read."""
    assert read_by_parser(command, "run_nevis").jobs == 2


def full_sizes(command, folder):
    """Four GPUs: read by accelerate, then by the module. test_several_processes runs both, with two processes on a CPU."""
    program, launch, *words = shlex.split(command)
    assert (program, launch) == ("accelerate", "launch")
    options = launch_command_parser().parse_args(words)
    assert (options.multi_gpu, options.num_processes, options.module) == (True, 4, True)
    assert options.training_script == full_size.__name__
    assert set(options.training_script_args) <= set(full_size.LESSONS)


COMMANDS = {
    "make lab": make("-c constraints.txt -e .[lab", "-m companion lab"),
    "make test": make("-c constraints.txt -e .[lab,book,test", "tests/run.py"),
    "make book": make("-c constraints.txt -e .[lab,book,test", "-m companion book"),
    "make help": as_it_stands,
    "python3 -m venv .venv": venv,
    "python3.11 -m venv .venv": venv,
    ". .venv/bin/activate": activate,
    ".venv/bin/python -m pip": pip_is_there,
    'python -m pip install -c constraints.txt -e ".[lab]"': pip_install,
    "pip install -e .": pip_install,
    'python -m pip install -c constraints.txt -e ".[lab,sweep]"': pip_install,
    'pip install -e ".[hf]"': pip_install,
    'pip install -e ".[several]"': pip_install,
    "conda env create -f environment.yml": conda_create,
    "conda activate learning-in-motion": conda_activate,
    "python -m companion lab": lab,
    ".venv/bin/python -m companion doctor": lambda command, folder: companion(*shlex.split(command)[3:]),
    "python -m companion students --out FOLDER": into("FOLDER"),
    "python -m companion nbgrader --out COURSE": into("COURSE"),
    "python -m companion grade FOLDER --out grades.csv": grade,
    "python -m companion sweep notebooks/07_soft_reset.ipynb -p SEED 0..31 -p drift_lr 0.001,0.002 --out runs/": sweep_over,
    "python -m companion nevis --jobs 2": nevis,
    "accelerate launch --multi_gpu --num_processes 4 -m companion.teaching.full_size 01": full_sizes,
}
