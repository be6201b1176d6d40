"""Run the tests in groups: `make test`, or `python tests/run.py [--fast] [GROUP ...]`.

Groups differ in how Python runs: with jaxtyping's import hook or without, with sockets or without, as notebooks
or as modules. All of them run, even if one fails; the exit code is 0 only if all passed. In every group
PYTHONPATH leads to a `sitecustomize` that lets Python connect to this machine only.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "build" / "tests"
HOOK = "--jaxtyping-packages=companion,beartype.beartype"
NO_SOCKETS = ["--disable-socket", "--allow-unix-socket"]
TWO_WORKERS = ["-n", "2", "--dist", "loadfile"]  # cells of a notebook, and fixtures of a file, stay together
NBVAL = ["--nbval", "-p", "tests.notebooks.nbval_light", "--nbval-sanitize-with", "tests/notebooks/sanitize.cfg"]
NBVAL += ["--nbval-cell-timeout", "300"]

GROUPS = {
    "unit": ["tests/unit", HOOK, *NO_SOCKETS, "-n", "2", "--dist", "worksteal"],
    "bad_input": [
        "tests/bad_input",
        *NO_SOCKETS,
        "-n",
        "2",
        "--dist",
        "worksteal",
    ],  # without the hook, which would speak first
    "exercises": ["tests/exercises", "-n", "2", "--dist", "worksteal"],
    "notebooks": ["tests/notebooks", "-n", "2", "--dist", "worksteal"],
    "nbval": ["notebooks", "--ignore=notebooks/student", "--ignore=notebooks/exercises", *NBVAL, *TWO_WORKERS],
    "book": ["tests/book", "-n", "2", "--dist", "worksteal"],
    "lab": ["tests/lab", "-n", "2", "--dist", "worksteal"],  # each worker has a JupyterLab of its own
}
FAST = ("unit", "bad_input", "exercises", "notebooks")
BROWSER = ("book", "lab")
COUNTS = ("tests", "failures", "errors", "skipped")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/run.py", description="Run the tests in groups.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"some of {', '.join(GROUPS)}; all by default")
    parser.add_argument("--fast", action="store_true", help=f"only {', '.join(FAST)}, without what is marked slow")
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"GROUP is {', '.join(sorted(unknown))}, but must be among {', '.join(GROUPS)}")
    chosen = [name for name in GROUPS if name in (options.groups or (FAST if options.fast else GROUPS))]
    began = time.monotonic()
    rows = [run(name, options.fast) for name in chosen]
    print_summary(rows)
    return close(rows, time.monotonic() - began)


def run(name: str, fast: bool) -> dict:
    """Run one group and return its row of the summary."""
    print(f"\n{name}", flush=True)
    began = time.monotonic()
    row = {"name": name, "note": ""} | dict.fromkeys(COUNTS, 0)
    if name in BROWSER and not browser():
        row["note"] = "needs Chromium: install it (on Debian, `apt-get install chromium`), or name it in CHROMIUM."
        row["errors"] = 1
        print(f"This group {row['note']}")
        return row | {"code": 1, "seconds": 0.0}
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", *GROUPS[name], "-q", f"--junitxml={report}", "--durations=3"]
    command += ["-m", "not slow"] if fast else []
    code = subprocess.run(command, cwd=ROOT, env=environment(), check=False).returncode
    if report.exists():
        suite = ElementTree.parse(report).getroot().find("testsuite")
        row |= {count: int(suite.get(count, 0)) for count in COUNTS}
    row["errors"] += code != 0 and row["failures"] + row["errors"] == 0  # stopped, or found nothing to run
    return row | {"code": code, "seconds": time.monotonic() - began}


def environment() -> dict[str, str]:
    """One thread for each worker, Jupyter's paths in this environment, and no network."""
    ours = {
        "PYTHONPATH": str(ROOT / "tests" / "notebooks" / "offline"),
        "OMP_NUM_THREADS": "1",
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    return os.environ | ours | ({"CHROMIUM": browser()} if browser() else {})


def browser() -> str | None:
    """Chromium's program: the one that CHROMIUM names, else the one on the path."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else shutil.which("chromium") or shutil.which("chromium-browser")


def print_summary(rows: list[dict]) -> None:
    print(f"\n{'group':12} {'seconds':>8} {'tests':>6} {'failed':>7}  result")
    for row in rows:
        result = "passed" if row["code"] == 0 else row["note"] or "FAILED"
        print(f"{row['name']:12} {row['seconds']:8.1f} {row['tests']:6} {row['failures'] + row['errors']:7}  {result}")
    print(flush=True)


def close(rows: list[dict], seconds: float) -> int:
    """Print the sum of the groups as pytest closes, and return the exit code."""
    total = {count: sum(row[count] for row in rows) for count in COUNTS}
    failed = total["failures"] + total["errors"]
    passed = max(0, total["tests"] - failed - total["skipped"])
    parts = [(failed, "failed"), (passed, "passed"), (total["skipped"], "skipped")]
    words = ", ".join(f"{count} {word}" for count, word in parts if count) or "no tests ran"
    print(f" {words} in {seconds:.2f}s ".center(80, "="), flush=True)
    return 0 if all(row["code"] == 0 for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
