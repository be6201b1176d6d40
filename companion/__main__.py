"""`python -m companion ...`: what the Makefile calls."""

from __future__ import annotations  # an old Python, too, reads this file and says that it is old

import argparse
import importlib
import inspect
import os
import pkgutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from companion import readiness


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m companion", description="Open the lessons, teach with them, and make again what is generated."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    if Path(__file__).with_name("classroom").is_dir():  # a student's pack has none
        add_classroom(commands)

    command = commands.add_parser("lab", help="open JupyterLab on the first notebook")
    command.add_argument("options", nargs="*", metavar="OPTION", help="of JupyterLab, after --, such as -- --port=9000")
    command.set_defaults(run=run_lab)

    command = commands.add_parser("claims", help="make the stored comparisons again (long)")
    command.add_argument("lessons", nargs="*", metavar="MODULE", help="of companion.teaching.lessons; all by default")
    command.set_defaults(run=lambda options: run_lessons(options, "compare"))

    command = commands.add_parser("checkpoints", help="train again what ships with the package (long)")
    command.add_argument("lessons", nargs="*", metavar="MODULE", help="of companion.teaching.lessons; all by default")
    command.set_defaults(run=lambda options: run_lessons(options, "rebuild_checkpoints"))

    command = commands.add_parser("nevis", help="make lesson 10's comparison of learners again, resumable (hours)")
    command.add_argument("--jobs", type=int, default=1, metavar="N", help="processes, one core each")
    command.add_argument("--folder", type=Path, default=None, metavar="FOLDER", help="where finished runs lie")
    command.set_defaults(run=run_nevis)

    command = commands.add_parser("doctor", help="say what keeps the lessons from running, and what mends it")
    command.set_defaults(run=run_doctor)

    options = parser.parse_args(arguments)
    if options.run is not run_doctor and (old := readiness.too_old()):
        print(f"{old}.", file=sys.stderr)
        return 1
    try:
        return options.run(options)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("companion"):
            raise
        print(f"{error.name} is missing: `python -m companion doctor` says how to install it.", file=sys.stderr)
        return 2


def add_classroom(commands: argparse._SubParsersAction) -> None:
    """The commands of whoever makes the notebooks and the book, and teaches with them."""
    command = commands.add_parser("sync", help="make notebook pairs and student notebooks again")
    command.add_argument(
        "--check", action="store_true", help="write nothing: say what is out of step, and fail if anything is"
    )
    command.add_argument("--force", action="store_true", help="execute every notebook, changed or not")
    command.add_argument(
        "lessons", nargs="*", metavar="LESSON", help="whose notebooks to execute, such as 05; all by default"
    )
    command.set_defaults(run=run_sync)

    command = commands.add_parser("new-lesson", help="write a new lesson, in every place that a lesson needs")
    command.add_argument("number", metavar="NUMBER", help="the next that is free, such as 11")
    command.add_argument("slug", metavar="SLUG", help="of its files and its module, such as moving_averages")
    command.add_argument("title", metavar="TITLE", help='short, such as "Moving averages"')
    command.add_argument("--arxiv", required=True, metavar="NUMBER", help="of its paper, such as 2502.02483")
    command.add_argument("--paper", required=True, metavar="TITLE", help="the paper's title")
    command.add_argument("--authors", required=True, metavar="NAMES", help='"Last, First and Last, First"')
    command.add_argument(
        "--part", default="tasks", metavar="PART", help="what moves: samples, data or tasks (the default)"
    )
    command.add_argument("--sight", metavar="WORDS", help="what one will see, in half a sentence")
    command.set_defaults(run=run_new_lesson)

    command = commands.add_parser("book", help="build the book")
    command.add_argument("--lenient", action="store_true", help="let warnings pass")
    command.set_defaults(run=run_book)

    command = commands.add_parser("students", help="write the student pack into a new folder")
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new or empty folder")
    command.set_defaults(run=run_students)

    command = commands.add_parser("grade", help="grade a folder of submissions; stopped, it goes on where it was")
    command.add_argument(
        "folder", type=Path, metavar="FOLDER", help="of submissions: a folder for each student, or files"
    )
    command.add_argument("--out", type=Path, required=True, metavar="TABLE", help="the table, grades.csv")
    command.add_argument("--jobs", type=int, default=1, metavar="N", help="submissions at a time")
    command.add_argument("--feedback", type=Path, metavar="FOLDER", help="of a page for each student; beside the table")
    command.add_argument("--draw", type=int, default=1, metavar="N", help="which random inputs checks draw")
    for name, unit in (("seconds", "a submission"), ("cell-seconds", "a cell or a check"), ("memory", "GiB")):
        command.add_argument(f"--{name}", type=float, metavar="X", help=f"limit: {unit}")
    command.set_defaults(run=run_grade)

    command = commands.add_parser("seeds", help="run the lessons with five seeds and keep what they claim (an hour)")
    command.add_argument("lessons", nargs="*", metavar="LESSON", help="such as 05; all by default")
    command.add_argument("--jobs", type=int, default=1, metavar="N", help="notebooks at a time")
    command.set_defaults(run=run_seeds)

    command = commands.add_parser("sweep", help="run a notebook over a grid of parameters; stopped, it goes on")
    command.add_argument("notebook", type=Path, metavar="NOTEBOOK", help="an .ipynb file, or a lesson's .py")
    command.add_argument(
        *("-p", "--parameter"),
        action="append",
        default=[],
        nargs=2,
        metavar=("NAME", "VALUES"),
        help="a parameter and its values, such as 0..31 or 0.001,0.002; each further -p multiplies the runs",
    )
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where runs, table and plot go")
    command.add_argument(
        "--jobs", type=int, default=os.cpu_count(), metavar="N", help="processes here; one on each core"
    )
    command.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a running Dask cluster, such as tcp://10.0.0.5:8786"
    )
    command.add_argument("--cell-seconds", type=float, default=600.0, metavar="X", help="limit: a cell")
    command.set_defaults(run=run_sweep)

    command = commands.add_parser("nbgrader", help="write a course for nbgrader into a new folder")
    command.add_argument("--out", type=Path, required=True, metavar="COURSE", help="a new or empty folder")
    command.set_defaults(run=run_nbgrader)


def run_sync(options: argparse.Namespace) -> int:
    from companion.classroom.sync import SyncFailed, drift, sync

    if not options.check:
        try:
            written = sync(force=options.force, lessons=options.lessons)
        except (SyncFailed, ValueError) as error:
            print(error, file=sys.stderr)
            return 1
        print(f"{len(written)} files written." if written else "Everything was in step.")
        return 0
    found = drift()
    print("\n".join([*found, "Run `make sync`."]) if found else "Everything is in step.")
    return 1 if found else 0


def run_new_lesson(options: argparse.Namespace) -> int:
    from companion.classroom import new_lesson

    names = ("number", "slug", "title", "arxiv", "paper", "authors", "part", "sight")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    try:
        written = new_lesson.write(new_lesson.plan_of(**given))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(path.relative_to(new_lesson.ROOT).as_posix() for path in written))
    print(f"{len(written)} files written. " + new_lesson.NEXT.format(number=options.number))
    return 0


def run_book(options: argparse.Namespace) -> int:
    from companion.classroom.book import BookFailed, build

    try:
        print(f"The book is at {build(strict=not options.lenient)}")
    except BookFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run_students(options: argparse.Namespace) -> int:
    from companion.classroom.pack import write_pack
    from companion.classroom.sync import ROOT

    try:
        written = write_pack(ROOT, options.out)
    except FileExistsError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"The pack, with {len(written)} notebooks of exercises, is at {options.out}.")
    return 0


def run_grade(options: argparse.Namespace) -> int:
    from companion.classroom.grading import Limits, grade

    named = {name: getattr(options, name) for name in ("seconds", "cell_seconds", "memory")}
    limits = Limits(**{name: value for name, value in named.items() if value is not None})
    pages = options.feedback or options.out.with_name(f"{options.out.stem}-feedback")
    try:
        grades = grade(options.folder, options.out, options.jobs, limits, options.draw, pages)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"Stopped. What was graded is in {options.out}; the same command goes on.", file=sys.stderr)
        return 130
    counts = Counter(one.status for one in grades)
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    print(f"{told}. The table is {options.out}, what each student is told is in {pages}.")
    return 0


def run_seeds(options: argparse.Namespace) -> int:
    from companion.classroom.claims_table import make

    try:
        found = make(options.lessons, options.jobs)
    except ModuleNotFoundError as error:
        print(missing_of_sweep(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped. Finished runs are in book/claims.json; the same command goes on.", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    fallen = [
        f"{name}, seed {seed}: {claim['claim']}"
        for name, kept in found.items()
        for seed, claims in kept["seeds"].items()
        for claim in claims
        if not claim["held"]
    ]
    print("\n".join(fallen) or "Every claim held with every seed.")
    return 1 if fallen else 0


def run_sweep(options: argparse.Namespace) -> int:
    try:
        from companion.classroom import sweep

        values = sweep.parse_parameters(options.parameter)
        runs = sweep.sweep(options.notebook, values, options.out, options.jobs, options.scheduler, options.cell_seconds)
    except ModuleNotFoundError as error:
        print(missing_of_sweep(error), file=sys.stderr)
        return 2
    except (OSError, TypeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"Stopped. Finished runs are in {options.out}; the same command goes on.", file=sys.stderr)
        return 130
    if told := sweep.failures(runs, options.out):
        print(told, file=sys.stderr)
    failed = sum(run["status"] == "failed" for run in runs)
    again = "; the same command tries these again" if failed else ""
    print(
        f"{len(runs) - failed} of {len(runs)} runs done, {failed} failed{again}. In {options.out}: {sweep.TABLE}, {sweep.PLOT}."
    )
    return 1 if failed else 0


def missing_of_sweep(error: ModuleNotFoundError) -> str:
    return f'{error.name} is missing: a sweep needs `python -m pip install -c constraints.txt -e ".[lab,sweep]"`.'


def run_nbgrader(options: argparse.Namespace) -> int:
    from companion.classroom.nbgrader_course import write_course
    from companion.classroom.sync import ROOT

    try:
        written = write_course(ROOT / "notebooks" / "exercises", options.out)
    except FileExistsError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(written)} assignments are in {options.out}. There, `nbgrader generate_assignment NAME` makes one.")
    return 0


def run_lab(options: argparse.Namespace) -> int:
    from companion import lab

    lab.start(options.options)
    return 0


def run_lessons(options: argparse.Namespace, name: str) -> int:
    """Call every function of the lessons' modules that is called `name`, or `name_...`, and needs no argument."""
    for label, function in lesson_functions(name, options.lessons):
        print(f"{label}()", flush=True)
        function()
    return 0


def run_nevis(options: argparse.Namespace) -> int:
    """Lesson 10's comparison, shared among processes; what is finished is not made again."""
    from companion.teaching.lessons import task_stream_bench

    if options.jobs < 1:
        print(f"--jobs is {options.jobs}, but must be at least 1.", file=sys.stderr)
        return 2
    folder = options.folder or task_stream_bench.FOLDER
    for budget in task_stream_bench.PLAN:
        task_stream_bench.compare_rates(folder, options.jobs, [budget])
        task_stream_bench.compare_streams(folder, options.jobs, [budget])
    return 0


def lesson_functions(name: str, modules: list[str] | None = None) -> Iterator[tuple[str, Callable[[], None]]]:
    """The functions `name` and `name_...` of `companion.teaching.lessons`' modules, with their full names, in
    the order in which each module has them: a later one may need what an earlier one stored.

    Raises:
        SystemExit: a module that does not exist.
    """
    from companion.teaching import lessons

    known = sorted(module.name for module in pkgutil.iter_modules(lessons.__path__))
    if unknown := set(modules or []) - set(known):
        raise SystemExit(f"MODULE is {', '.join(sorted(unknown))}, but must be among {', '.join(known)}.")
    for module in modules or known:
        loaded = importlib.import_module(f"{lessons.__name__}.{module}")
        members = inspect.getmembers(loaded, inspect.isfunction)
        for label, function in sorted(members, key=lambda each: inspect.unwrap(each[1]).__code__.co_firstlineno):
            own = function.__module__ == loaded.__name__
            free = all(part.default is not part.empty for part in inspect.signature(function).parameters.values())
            if own and free and (label == name or label.startswith(f"{name}_")):
                yield f"{module}.{label}", function


def run_doctor(options: argparse.Namespace) -> int:
    from companion import doctor

    return 0 if doctor.report() else 1


if __name__ == "__main__":
    sys.exit(main())
