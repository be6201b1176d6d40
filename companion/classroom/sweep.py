"""Run a notebook over a grid of parameters, on this machine or on a running cluster, and collect what it claims and records.

`python -m companion sweep NOTEBOOK -p SEED 0..31 --out FOLDER` executes the notebook once for each point of the grid, in
processes of Dask's `distributed`. Each run is kept in FOLDER as soon as it ends, under a hash of the notebook's code, of the
modules that it uses and of its parameters: stopped at any moment, the same command goes on. Workers need no file of this
machine, since notebooks travel both ways.

>>> parse_values("SEED", "0..3"), parse_values("rate", "0.1,1,auto")
([0, 1, 2, 3], [0.1, 1, 'auto'])
"""

import ast
import hashlib
import importlib
import io
import itertools
import json
import logging
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from nbformat import NotebookNode
from tqdm.auto import tqdm

from companion.classroom.light import code_cells, notebook_text, read_source, tags
from companion.classroom.runs import execute_run
from companion.classroom.sync import key_of
from companion.foundations.validation import require, require_count, require_in
from companion.teaching import figures
from companion.teaching.writing import write_whole

MOST = 10_000  # runs of a grid
COLUMNS = ("run", "status", "seconds", "kind", "name", "held", "value", "number", "error")
SECONDS = 600.0  # that a cell may take
PATIENCE = 20  # seconds that a scheduler has to answer
RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
TABLE, PLOT = "results.parquet", "summary.png"


# The grid


def parse_parameters(pairs: Iterable[Sequence[str]]) -> dict[str, list[Any]]:
    """The values of each parameter; a parameter that is named twice is refused with a `ValueError`."""
    values: dict[str, list[Any]] = {}
    for name, text in pairs:
        require(name not in values, "a parameter", f"{name}, twice", "named once, with all its values")
        values[name] = parse_values(name, text)
    return values


def parse_values(name: str, text: str) -> list[Any]:
    """The values of a parameter, as they are written on the command line.

    Parts between commas are whole numbers, numbers, `true`, `false`, `none` or words; `0..31` stands for all whole numbers
    from 0 to 31.

    Raises:
        ValueError: no value, one value twice, or a range that leads nowhere.
    """
    values: list[Any] = []
    for part in map(str.strip, text.split(",")):
        require(bool(part), name, repr(text), "values between commas, such as 0..31 or 0.001,0.002")
        if ends := RANGE.fullmatch(part):
            first, last = map(int, ends.groups())
            require(first <= last, name, part, "a range that goes up, such as 0..31")
            require(last - first < MOST, name, part, f"a range of at most {MOST} numbers")
            values += range(first, last + 1)
        else:
            values.append(_value(part))
    twice = [value for place, value in enumerate(values) if repr(value) in map(repr, values[:place])]
    require(not twice, name, f"{text}, with {twice[0]} twice" if twice else "", "different values")
    return values


def _value(text: str) -> Any:
    if text.lower() in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def grid(values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination, the last parameter moving fastest.

    Raises:
        ValueError: there are too many.
    """
    runs = math.prod(map(len, values.values()))
    require(runs <= MOST, "the grid", f"{runs} runs", f"at most {MOST}")
    return [dict(zip(values, point)) for point in itertools.product(*values.values())]


def read_notebook(path: Path) -> NotebookNode:
    """A notebook without its outputs, from an .ipynb file or a py:percent file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: this is no notebook, or its code is no Python.
    """
    require(path.is_file(), "notebook", str(path), "a file", FileNotFoundError)
    try:
        notebook = read_source(path) if path.suffix == ".py" else nbformat.read(path, as_version=4)
        for cell in code_cells(notebook):
            cell.outputs, cell.execution_count = [], None
        notebook.metadata.pop("widgets", None)
        key_of(notebook), parameters_of(notebook)
    except Exception as error:  # whatever a parser makes of what is no notebook
        allowed = "a Jupyter notebook, or a py:percent file, of Python"
        told = next(iter(str(error).splitlines()), "")
        require(False, "notebook", f"{path} ({type(error).__name__}: {told})", allowed)
    return notebook


def parameters_of(notebook: NotebookNode) -> list[str]:
    """The names that the cell with the tag "parameters" sets."""
    cells = [ast.parse(cell.source) for cell in code_cells(notebook) if "parameters" in tags(cell)]
    nodes = [node for cell in cells for node in ast.walk(cell) if isinstance(node, ast.Name)]
    return [node.id for node in nodes if isinstance(node.ctx, ast.Store)]


# The runs


@dataclass(frozen=True)
class Task:
    """A run to be made: a notebook's text, its `key_of`, the folder that its kernel starts in, and parameters."""

    source: str
    key: str
    folder: Path
    parameters: dict[str, Any]

    @property
    def name(self) -> str:
        """Under which the run is kept."""
        return hashlib.sha256(json.dumps([self.key, self.parameters], sort_keys=True).encode()).hexdigest()[:24]


def tasks_of(notebook: NotebookNode, folder: Path, points: Iterable[dict[str, Any]]) -> list[Task]:
    """A task for each point of a grid."""
    source, key = notebook_text(notebook), key_of(notebook)
    return [Task(source, key, folder.resolve(), point) for point in points]


def outcomes(
    tasks: Sequence[Task], jobs: int = 1, scheduler: str | None = None, cell_seconds: float = SECONDS
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Make runs, and yield the place of each among `tasks` with what `execute_run` says of it, as they end.

    Where a worker dies, what it was running is run by another. A run that takes several workers down with it has failed.

    Args:
        tasks: the runs to make.
        jobs: processes on this machine, each with one run at a time.
        scheduler: the address of a running cluster, to be used in place of this machine.
        cell_seconds: that a cell may take.

    Raises:
        ConnectionError: the scheduler is not there, or no longer.
    """
    if not tasks:
        return
    from distributed import as_completed

    with connected(min(jobs, len(tasks)), scheduler) as client:
        waiting = {
            client.submit(
                execute_run, task.source, task.parameters, task.key, str(task.folder), cell_seconds, pure=False
            ): place
            for place, task in enumerate(tasks)
        }
        for future in as_completed(list(waiting)):
            require(
                future.status in ("finished", "error"), "the scheduler", "gone", "there to the end", ConnectionError
            )
            error = future.exception()
            yield waiting.pop(future), future.result() if error is None else lost(error)
            future.release()


def lost(error: BaseException) -> dict[str, Any]:
    """The outcome of a run of which nothing came back."""
    failure = {"cell": None, "error": f"{type(error).__name__}: {error}", "traceback": []}
    return {"status": "failed", "seconds": None, "claims": [], "records": [], "failure": failure, "notebook": None}


@contextmanager
def connected(jobs: int, scheduler: str | None) -> Iterator[Any]:
    """A Dask client: of processes on this machine, which nobody else can reach, or of a running cluster."""
    from distributed import Client, LocalCluster

    for name in ("distributed", "distributed.client"):  # what went wrong is said once, in the end
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if scheduler is None:
        local = {"dashboard_address": "127.0.0.1:0", "silence_logs": logging.ERROR}
        with LocalCluster(n_workers=jobs, threads_per_worker=1, **local) as cluster, Client(cluster) as client:
            yield client
        return
    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        require(False, "scheduler", f"{scheduler} ({error})", "the address of a running one", ConnectionError)
    with client:
        if not client.scheduler_info()["workers"]:
            tqdm.write(f"The scheduler at {scheduler} has no worker yet: waiting for one.")
        yield client


def sweep(
    path: Path,
    values: Mapping[str, Sequence[Any]],
    out: Path,
    jobs: int = 1,
    scheduler: str | None = None,
    cell_seconds: float = SECONDS,
) -> list[dict[str, Any]]:
    """Run a notebook at every point of a grid that is not kept in `out` yet, then write the table and the plot.

    Args:
        path: of the notebook.
        values: of each parameter.
        out: the folder of the sweep.
        jobs, scheduler, cell_seconds: as for `outcomes`.

    Returns:
        For each point its `run` (the name under which it is kept), its `parameters` and what `execute_run` said, without
        the notebook.

    Raises:
        FileNotFoundError: there is no such notebook.
        ValueError: it is none, or it has no such parameter, or a number is out of its range.
        ConnectionError: the scheduler is not there, or no longer.
        ModuleNotFoundError: a package of the extra `sweep` is missing.
    """
    require_count("jobs", jobs, 1)
    require_in("cell_seconds", cell_seconds, "(0, inf)")
    notebook = read_notebook(path)
    known = parameters_of(notebook)
    require(bool(known), "notebook", f"{path}, without parameters", 'one with a cell that is tagged "parameters"')
    require(bool(values), "the grid", "empty", f"over some of {', '.join(known)}")
    for name in values:
        require(name in known, "a parameter", name, f"among those of {path.name}: {', '.join(known)}")
        require(name not in COLUMNS, "a parameter", name, f"no column of the table: {', '.join(COLUMNS)}")
    for needed in ("distributed", "papermill", "pyarrow"):  # look for missing packages now, not after the runs
        importlib.import_module(needed)
    tasks = tasks_of(notebook, path.parent, grid(values))
    write_whole(out / "runs" / "writable", "")  # look for a folder that is not, now, too
    (out / "runs" / "writable").unlink()
    kept = {task.name: stored(out, task.name) for task in tasks}
    missing = [task for task in tasks if (kept[task.name] or {}).get("status") != "done"]
    with (
        tqdm(total=len(tasks), initial=len(tasks) - len(missing), unit="run") as progress,
        closing(outcomes(missing, jobs, scheduler, cell_seconds)) as ended,
    ):
        for place, outcome in ended:
            kept[missing[place].name] = keep(out, path.name, missing[place], outcome)
            progress.update()
    runs = [kept[task.name] for task in tasks]
    write_table(runs, out / TABLE)
    write_plot(runs, path.stem, out / PLOT)
    return runs


def stored(out: Path, name: str) -> dict[str, Any] | None:
    """What is kept of a run; None, too, if a machine that went down left its file unfinished."""
    path = out / "runs" / f"{name}.json"
    with suppress(FileNotFoundError, json.JSONDecodeError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def keep(out: Path, notebook: str, task: Task, outcome: dict[str, Any]) -> dict[str, Any]:
    """Write a run into the folder of the sweep: its notebook, and then what is known of it, which says that it is there."""
    kept = {"run": task.name, "of": notebook, "parameters": task.parameters} | outcome
    text = kept.pop("notebook")
    if text is not None:
        write_whole(out / "runs" / f"{task.name}.ipynb", text)
    write_whole(out / "runs" / f"{task.name}.json", json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return kept


# What came of them


def failures(runs: Sequence[dict[str, Any]], out: Path, most: int = 20) -> str:
    """What to tell of the runs that failed: their parameters, the cell, and the end of its traceback."""
    failed = [run for run in runs if run["status"] == "failed"]
    lines = []
    for run in failed[:most]:
        told = run["failure"]
        where = "" if told["cell"] is None else f" in code cell {told['cell']} of {out / 'runs' / run['run']}.ipynb"
        lines += ["", f"{settings(run['parameters'])}: failed{where}"]
        lines += [f"    {line}" for line in told["traceback"] or [told["error"]]]
    if len(failed) > most:
        lines += ["", f"And {len(failed) - most} more: the table has them all."]
    return "\n".join(lines)


def settings(parameters: Mapping[str, Any]) -> str:
    """Parameters in one line.

    >>> settings({"SEED": 3, "rate": 0.5})
    'SEED = 3, rate = 0.5'
    """
    return ", ".join(f"{name} = {value}" for name, value in parameters.items())


def rows_of(run: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a run in the table: one for each claim and record, or one without either."""
    common = {"run": run["run"], "status": run["status"], "seconds": run["seconds"]} | {
        "error": run["failure"] and run["failure"]["error"]
    }
    claims = [
        {"kind": "claim", "name": one["claim"], "held": one["held"], "value": one["value"]} for one in run["claims"]
    ]
    records = [{"kind": "record", "name": one["name"], "value": one["value"]} for one in run["records"]]
    return [
        run["parameters"] | common | row | {"number": number_of(row.get("value", ""))}
        for row in [*claims, *records] or [{}]
    ]


def number_of(text: str) -> float | None:
    """The number that a text is.

    >>> number_of("0.5"), number_of("a: 1, b: 2")
    (0.5, None)
    """
    try:
        return float(text)
    except ValueError:
        return None


def write_table(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """The rows of all runs as Parquet: the parameters, then `COLUMNS`."""
    import pyarrow
    from pyarrow import parquet

    rows = [row for run in runs for row in rows_of(run)]
    kinds = {"seconds": pyarrow.float64(), "held": pyarrow.bool_(), "number": pyarrow.float64()}
    arrays = {name: pyarrow.array(_alike([row[name] for row in rows])) for name in runs[0]["parameters"]}
    arrays |= {
        name: pyarrow.array([row.get(name) for row in rows], kinds.get(name, pyarrow.string())) for name in COLUMNS
    }
    content = io.BytesIO()
    parquet.write_table(pyarrow.table(arrays), content)
    write_whole(path, content.getvalue())


def _alike(values: list[Any]) -> list[Any]:
    """Values of one type, for one column: as they are, as numbers, or else as text."""
    present = [value for value in values if value is not None]
    if len({type(value) for value in present}) <= 1:
        return values
    if {type(value) for value in present} == {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values]


def write_plot(runs: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """One picture: how often each claim held, and each recorded number against the first parameter that varies, a curve for
    each value of the second."""
    done = [run for run in runs if run["status"] == "done"]
    claims = grouped((one["claim"], one["held"]) for run in done for one in run["claims"])
    numbers = grouped(
        (one["name"], (run["parameters"], number))
        for run in done
        for one in run["records"]
        if (number := number_of(one["value"])) is not None and math.isfinite(number)
    )
    labels = [textwrap.fill(words, 52) for words in claims]
    heights = [1 + 0.17 * sum(1.6 + label.count("\n") for label in labels)] if claims else []
    heights += [2.8] * (len(numbers) or not claims)
    figure, axes = figures.panels(1, len(heights), (9, sum(heights) / len(heights)), height_ratios=heights)
    figure.get_layout_engine().set(h_pad=0.15)  # inches: a panel's label is not the next one's title
    axes[0].set_title(f"{title}: {len(done)} of {len(runs)} runs came to their end")
    if claims:
        draw_claims(axes[0], labels, [sum(held) for held in claims.values()], len(done))
    for panel, (name, points) in zip(axes[bool(claims) :], numbers.items()):
        draw_numbers(panel, name, points, [run["parameters"] for run in runs])
    if not claims and not numbers:
        axes[0].set_axis_off()
        axes[0].text(0.5, 0.5, "Nothing was claimed, and no number recorded.", ha="center", va="center")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=160, facecolor="white")
    write_whole(path, content.getvalue())


def grouped(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, list[Any]]:
    """The second parts of pairs by their first, in the order in which these come.

    >>> grouped([("a", 1), ("b", 2), ("a", 3)])
    {'a': [1, 3], 'b': [2]}
    """
    found: dict[Any, list[Any]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def draw_claims(axes: Axes, labels: Sequence[str], held: Sequence[int], runs: int) -> None:
    """A bar for each claim, the first at the top; where a claim was not reached it did not hold."""
    heights = [1 + label.count("\n") for label in labels]
    middles = [-sum(heights[:place]) - 0.6 * place - height / 2 for place, height in enumerate(heights)]
    axes.barh(middles, [1] * len(labels), 0.7, color=figures.EXACT, alpha=0.25)
    axes.barh(middles, [count / runs for count in held], 0.7, color=figures.LEARNED)
    for middle, count in zip(middles, held):
        axes.text(1.02, middle, f"{count} of {runs}", va="center", fontsize=10)
    axes.set_yticks(middles, labels, fontsize=9)
    axes.set(xlim=(0, 1.18), ylim=(middles[-1] - heights[-1] / 2 - 0.4, 0.4), xticks=[0, 0.5, 1])
    axes.set_xlabel("share of the runs in which the claim held")
    axes.tick_params(left=False)


def draw_numbers(axes: Axes, name: str, points: Sequence[tuple[dict, float]], grid: Sequence[dict[str, Any]]) -> None:
    """A recorded number: its median, with the range as a band, over the runs with the same value of the first parameter
    that varies, and of the second where that has no more values than there are colours."""
    choices = {one: list(dict.fromkeys(point[one] for point in grid)) for one in grid[0]}
    vary = [one for one in choices if len(choices[one]) > 1] or list(choices)
    first = vary[0]
    second = vary[1] if len(vary) > 1 and len(choices[vary[1]]) <= len(figures.CYCLE) else None
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in choices[first])
    for value, colour in zip(choices[second] if second else [None], figures.CYCLE):
        at = grouped(
            (point[first] if numeric else choices[first].index(point[first]), number)
            for point, number in points
            if second is None or point[second] == value
        )
        places = sorted(at)
        figures.band(axes, places, [at[place] for place in places], colour, settings({second: value}))
    if not numeric:
        axes.set_xticks(range(len(choices[first])), [str(value) for value in choices[first]])
    elif all(isinstance(value, int) for value in choices[first]):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if second is not None:
        axes.legend(fontsize=9, frameon=False)
    axes.set(xlabel=first, ylabel=textwrap.fill(name, 28))
    axes.grid(True)
