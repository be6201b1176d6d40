"""Sweeps: a notebook over a grid, in processes that may die, each run made once."""

import json
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress

import matplotlib.image
import nbformat
import psutil
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from pyarrow import parquet

from companion.__main__ import main
from companion.classroom import runs, sweep
from companion.classroom.light import light_outputs
from companion.classroom.sync import ROOT, key_of
from companion.teaching import records

SIZE = 'SEED = 0\nrate = 0.1\nmode = "plain"'
CLAIMS = 'print(f"✓ the seed is a number [{SEED}]")\nprint("✗✓"[SEED % 2 == 0] + " the seed is even")'
RECORD = f"""from IPython.display import publish_display_data
for name, value in (("loss", rate * SEED), ("size", float("inf"))):
    publish_display_data({{}}, {{"{records.KIND}": {{"name": name, "value": str(value)}}}})"""
BEGUN = 'with open("begun.txt", "a") as file:\n    file.write(f"{SEED} ")'


def write_notebook(path, *sources):
    cells = [new_code_cell(source, id=f"cell-{place}") for place, source in enumerate((SIZE, *sources))]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(new_notebook(cells=cells), path)
    return path


@pytest.fixture
def notebook(tmp_path):
    return write_notebook(tmp_path / "tiny.ipynb", CLAIMS, RECORD)


# The grid


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0..3", [0, 1, 2, 3]),
        ("-2..0", [-2, -1, 0]),
        ("5..5,7", [5, 7]),
        ("0.001,0.002", [0.001, 0.002]),
        ("1, 1.5 ,1e-3", [1, 1.5, 0.001]),
        ("true,False,none", [True, False, None]),
        ("smoke,lesson", ["smoke", "lesson"]),
        ("0...3", ["0...3"]),
    ],
)
def test_values_are_read_as_they_are_written(text, values):
    found = sweep.parse_values("x", text)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"^x is '', but must be values between commas, such as 0\.\.31 or 0\.001,0\.002\.$"),
        ("1,,2", r"^x is '1,,2', but must be values"),
        ("3..1", r"^x is 3\.\.1, but must be a range that goes up, such as 0\.\.31\.$"),
        ("0..99999999999", r"^x is 0\.\.99999999999, but must be a range of at most 10000 numbers\.$"),
        ("0..3,2", r"^x is 0\.\.3,2, with 2 twice, but must be different values\.$"),
    ],
)
def test_values_that_mean_nothing_are_refused_in_one_sentence(text, message):
    with pytest.raises(ValueError, match=message):
        sweep.parse_values("x", text)


def test_a_grid_has_every_combination_once_and_not_too_many():
    assert sweep.grid({"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]
    with pytest.raises(ValueError, match=r"^the grid is 1000000 runs, but must be at most 10000\.$"):
        sweep.grid({"a": range(1000), "b": range(1000)})


def refused(capsys, *arguments):
    """What the command line says on its way out: one line."""
    assert main(["sweep", *map(str, arguments)]) == 2
    (told,) = (line for line in capsys.readouterr().err.splitlines() if line and not line.startswith("  0%"))
    return told


def test_what_a_notebook_has_no_place_for_is_refused_in_one_sentence(notebook, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    assert refused(capsys, notebook, "-p", "lr", "1", *out) == (
        "a parameter is lr, but must be among those of tiny.ipynb: SEED, rate, mode."
    )
    assert refused(capsys, notebook, *out) == "the grid is empty, but must be over some of SEED, rate, mode."
    assert "a parameter is SEED, twice" in refused(capsys, notebook, "-p", "SEED", "1", "-p", "SEED", "2", *out)
    assert "jobs is 0" in refused(capsys, notebook, "-p", "SEED", "1", *out, "--jobs", "0")
    assert "cell_seconds is 0" in refused(capsys, notebook, "-p", "SEED", "1", *out, "--cell-seconds", "0")
    assert not (tmp_path / "out").exists()


def test_what_is_no_notebook_is_refused_in_one_sentence(tmp_path, capsys):
    out, path = ("--out", tmp_path / "out"), tmp_path / "other.ipynb"
    assert "other.ipynb, but must be a file." in refused(capsys, path, "-p", "SEED", "1", *out)
    path.write_text("{}")
    assert "but must be a Jupyter notebook" in refused(capsys, path, "-p", "SEED", "1", *out)
    write_notebook(path, "def f(:")
    assert "(SyntaxError: invalid syntax" in refused(capsys, path, "-p", "SEED", "1", *out)
    nbformat.write(new_notebook(cells=[new_code_cell("SEED = 0")]), path)
    assert "without parameters, but must be one with a cell that is tagged" in refused(
        capsys, path, "-p", "SEED", "1", *out
    )


def test_a_name_that_is_a_column_of_the_table_is_no_parameter(tmp_path):
    path = write_notebook(tmp_path / "tiny.ipynb")
    book = nbformat.read(path, as_version=4)
    book.cells[0].source += "\nseconds = 1"
    nbformat.write(book, path)
    with pytest.raises(ValueError, match=r"^a parameter is seconds, but must be no column of the table: run, "):
        sweep.sweep(path, {"seconds": [1]}, tmp_path)


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_named(notebook, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sweep, "PATIENCE", 1)
    told = refused(capsys, notebook, "-p", "SEED", "1", "--out", tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9")
    assert told.startswith("scheduler is tcp://127.0.0.1:9 (")


def test_the_lessons_have_the_parameters_that_the_book_sweeps():
    lesson = sweep.read_notebook(ROOT / "notebooks" / "07_soft_reset.ipynb")
    assert sweep.parameters_of(lesson) == ["PROFILE", "SEED", "DEVICE", "drift_lr"]
    source = sweep.read_notebook(ROOT / "notebooks" / "07_soft_reset.py")
    assert key_of(source) == key_of(lesson)


# Runs


class Worker:
    """In place of workers: says what each run came to, and remembers which were asked for."""

    def __init__(self, fails=()):
        self.asked, self.fails, self.stops_after = [], fails, None

    def __call__(self, tasks, jobs, scheduler, cell_seconds):
        for place, task in enumerate(tasks):
            if place == self.stops_after:
                raise KeyboardInterrupt
            seed, rate = task.parameters["SEED"], task.parameters.get("rate", 0.1)
            self.asked.append(seed)
            claims = [{"claim": "a number", "held": True, "value": str(seed)}]
            claims += [{"claim": "even", "held": seed % 2 == 0, "value": ""}]
            outcome = {"status": "done", "seconds": 1.5, "claims": claims, "failure": None, "notebook": task.source}
            outcome["records"] = [{"name": "loss", "value": str(rate * seed)}, {"name": "size", "value": "inf"}]
            if seed in self.fails:
                failure = {
                    "cell": 3,
                    "error": "ZeroDivisionError: no",
                    "traceback": ["line 1", "ZeroDivisionError: no"],
                }
                outcome |= {"status": "failed", "claims": [], "records": [], "failure": failure}
            yield place, outcome


@pytest.fixture
def worker(monkeypatch):
    worker = Worker()
    monkeypatch.setattr(sweep, "outcomes", worker)
    return worker


def test_a_stopped_sweep_goes_on_where_it_was(notebook, tmp_path, worker, capsys):
    command = ["sweep", str(notebook), "-p", "SEED", "0..3", "--out", str(tmp_path / "out")]
    worker.stops_after = 2
    assert main(command) == 130
    assert "the same command goes on" in capsys.readouterr().err
    worker.stops_after = None
    assert main(command) == 0
    assert worker.asked == [0, 1, 2, 3]
    assert main([*command[:4], "2..5", *command[5:]]) == 0  # a wider grid makes what is new
    assert worker.asked == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("change", ["code", "parameter", "prose"])
def test_what_has_changed_is_run_again_and_prose_is_not_code(notebook, tmp_path, worker, change):
    values = {"SEED": [0, 1]}
    sweep.sweep(notebook, values, tmp_path / "out")
    if change == "parameter":
        values["rate"] = [0.2]
    else:
        book = nbformat.read(notebook, as_version=4)
        book.cells.append(new_code_cell("1") if change == "code" else nbformat.v4.new_markdown_cell("words"))
        nbformat.write(book, notebook)
    sweep.sweep(notebook, values, tmp_path / "out")
    assert len(worker.asked) == (2 if change == "prose" else 4)


def test_failed_runs_are_reported_cost_no_other_and_are_tried_again(notebook, tmp_path, worker, capsys):
    command = ["sweep", str(notebook), "-p", "SEED", "0..3", "-p", "rate", "0.5", "--out", str(tmp_path / "out")]
    worker.fails = (1,)
    assert main(command) == 1
    told = capsys.readouterr()
    assert "SEED = 1, rate = 0.5: failed in code cell 3 of " in told.err
    assert "    line 1\n    ZeroDivisionError: no" in told.err
    assert "3 of 4 runs done, 1 failed" in told.out
    rows = parquet.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    assert [(row["SEED"], row["kind"], row["error"]) for row in rows if row["status"] == "failed"] == [
        (1, None, "ZeroDivisionError: no")
    ]
    worker.fails = ()
    assert main(command) == 0
    assert worker.asked == [0, 1, 2, 3, 1]


def test_the_table_holds_claims_and_records_in_long_form(notebook, tmp_path, worker):
    sweep.sweep(notebook, {"SEED": [2, 3], "rate": [0.5, 1]}, tmp_path)
    table = parquet.read_table(tmp_path / "results.parquet")
    assert table.column_names == ["SEED", "rate", *sweep.COLUMNS]
    assert [str(table.schema.field(name).type) for name in ("SEED", "rate", "held", "number")] == [
        "int64",
        "double",
        "bool",
        "double",
    ]
    rows = [row for row in table.to_pylist() if (row["SEED"], row["rate"]) == (3, 0.5)]
    assert [tuple(row[name] for name in ("kind", "name", "held", "value", "number")) for row in rows] == [
        ("claim", "a number", True, "3", 3.0),
        ("claim", "even", False, "", None),
        ("record", "loss", None, "1.5", 1.5),
        ("record", "size", None, "inf", float("inf")),
    ]
    assert len({row["run"] for row in table.to_pylist()}) == 4


def test_values_of_several_types_are_a_column_of_text(notebook, tmp_path, worker):
    sweep.sweep(notebook, {"SEED": [0], "mode": ["plain", 1, None]}, tmp_path)
    table = parquet.read_table(tmp_path / "results.parquet")
    assert sorted({str(value) for value in table["mode"].to_pylist()}) == ["1", "None", "plain"]


@pytest.mark.parametrize("values", [{"SEED": [0, 1, 2], "rate": [0.1, 0.2]}, {"SEED": [3]}])
def test_the_plot_shows_how_often_each_claim_held_and_each_number(notebook, tmp_path, worker, values, monkeypatch):
    drawn = {}
    for name in ("draw_claims", "draw_numbers"):
        monkeypatch.setattr(sweep, name, recorded(getattr(sweep, name), drawn))
    sweep.sweep(notebook, values, tmp_path)
    image = matplotlib.image.imread(tmp_path / "summary.png")
    assert min(image.shape[:2]) > 300
    assert (image[..., :3].min(axis=2) < 0.5).mean() > 0.005  # not blank
    axes, labels, held, number_of_runs = drawn["draw_claims"]
    seeds = values["SEED"] * len(values.get("rate", [1]))
    assert (labels, held, number_of_runs) == (
        ["a number", "even"],
        [len(seeds), sum(seed % 2 == 0 for seed in seeds)],
        len(seeds),
    )
    axes, name, *_ = drawn["draw_numbers"]
    assert (axes.get_xlabel(), name) == ("SEED", "loss")
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    if "rate" in values:
        assert lines == {"rate = 0.1": [0, 0.1, 0.2], "rate = 0.2": [0, 0.2, 0.4]}


def recorded(function, calls):
    def recording(*arguments):
        calls[function.__name__] = arguments
        return function(*arguments)

    return recording


def test_words_are_marked_on_the_axis_and_nothing_is_said_of_nothing(tmp_path):
    run = {"status": "done", "claims": [], "records": [{"name": "loss", "value": "1"}], "seconds": 1.0, "failure": None}
    both = [run | {"parameters": {"mode": mode}} for mode in ("plain", "fancy")]
    sweep.write_plot(both, "words", tmp_path / "words.png")
    sweep.write_plot([one | {"records": []} for one in both], "nothing", tmp_path / "nothing.png")
    assert matplotlib.image.imread(tmp_path / "words.png").std() > 0.02
    assert matplotlib.image.imread(tmp_path / "nothing.png").std() > 0.02


class Shell:
    """In place of a notebook's."""

    def __init__(self):
        self.display_pub, self.published = self, []

    def publish(self, data, metadata):
        self.published.append((data, metadata[records.KIND]))


def test_a_record_is_an_output_that_shows_nothing(monkeypatch):
    shell = Shell()
    monkeypatch.setattr(records, "get_ipython", lambda: shell)
    for value in (1, 0.1, float("nan"), True, "word", torch.tensor(2.5), torch.tensor([[3]])):
        records.record("x", value)
    assert [found["value"] for _, found in shell.published] == ["1", "0.1", "nan", "True", "word", "2.5", "3"]
    assert all(data == {} for data, _ in shell.published)
    output = nbformat.v4.new_output("display_data", {}, metadata={records.KIND: {"name": "x", "value": "1"}})
    assert light_outputs([output]) == []
    assert runs.records_of(new_code_cell("", outputs=[output])) == [{"name": "x", "value": "1"}]


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("", 1, ValueError, r"^name is '', but must be a text that is not empty\.$"),
        (1, 1, TypeError, r"^name is a int, but must be a text\.$"),
        ("x", None, TypeError, r"^value is a NoneType, but must be a number, "),
        ("x", torch.zeros(2), TypeError, r"^value is of shape \(2,\), but must be a number, "),
    ],
)
def test_what_is_no_record_is_refused_in_one_sentence(name, value, error, message):
    with pytest.raises(error, match=message):
        records.record(name, value)


def run_once(tmp_path, *sources, seconds=60.0, **parameters):
    path = write_notebook(tmp_path / "one.ipynb", *sources)
    (task,) = sweep.tasks_of(sweep.read_notebook(path), tmp_path, [parameters])
    return runs.execute_run(task.source, task.parameters, task.key, str(task.folder), seconds)


@pytest.mark.slow
def test_a_run_has_its_parameters_and_goes_on_after_a_claim_that_fell(tmp_path):
    (tmp_path / "data.txt").write_text("here")
    taught = "from companion.teaching import claim\nfrom companion.teaching.records import record"
    outcome = run_once(
        tmp_path,
        taught,
        'claim("the rate is small", rate < 0.3, rate)\nclaim("never reached", True)',
        'record("rate", rate)\nrecord("read", open("data.txt").read())\nclaim("and on", True)',
        rate=0.4,
    )
    assert (outcome["status"], outcome["failure"]) == ("done", None)
    assert [(one["claim"], one["held"], one["value"]) for one in outcome["claims"]] == [
        ("the rate is small", False, "0.4"),
        ("and on", True, ""),
    ]
    assert outcome["records"] == [{"name": "rate", "value": "0.4"}, {"name": "read", "value": "here"}]
    executed = nbformat.reads(outcome["notebook"], as_version=4)
    assert "injected-parameters" in executed.cells[1].metadata["tags"]
    assert str(tmp_path) not in json.dumps(executed.metadata)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import os\nos.kill(os.getpid(), 9)", "DeadKernelError: Kernel died"),
        ("import time\ntime.sleep(60)", "CellTimeoutError: A cell timed out"),
    ],
)
def test_a_run_that_fails_says_in_which_cell_and_keeps_what_came_before(tmp_path, source, error):
    seconds = 5.0 if "sleep" in source else 60.0
    outcome = run_once(tmp_path, CLAIMS, source, "print('✓ not reached')", seconds=seconds, SEED=2)
    assert outcome["status"] == "failed"
    assert outcome["failure"]["cell"] == 4  # the parameters that papermill put in are the second
    assert outcome["failure"]["error"].startswith(error)
    assert [one["claim"] for one in outcome["claims"]] == ["the seed is a number", "the seed is even"]
    if source == "1 / 0":
        assert outcome["failure"]["traceback"][-2:] == ["----> 1 1 / 0", "ZeroDivisionError: division by zero"]


def test_a_worker_with_other_code_refuses(notebook):
    source = notebook.read_text(encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"^a worker has other code of the package than the machine that asks it$"):
        runs.execute_run(source, {"SEED": 1}, "0" * 64, ".", 1.0)


# Real processes


@contextmanager
def started(*arguments, **settings):
    """A process that is killed in the end."""
    process = subprocess.Popen([sys.executable, "-m", *map(str, arguments)], **settings)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_worker_and_then_a_killed_sweep_cost_no_result(tmp_path, capfd):
    path, out, address = write_notebook(tmp_path / "tiny.ipynb", BEGUN, SLEEP, CLAIMS), tmp_path / "out", tmp_path / "s"
    here = ("--host", "127.0.0.1", "--no-dashboard")
    with ExitStack() as stack:

        def start(*arguments):
            return stack.enter_context(started(*arguments, cwd=tmp_path, stderr=subprocess.DEVNULL))

        start("dask", "scheduler", *here, "--port", "0", "--scheduler-file", address)
        wait_for(lambda: address.exists() and address.read_text())
        scheduler = json.loads(address.read_text())["address"]
        first, _ = (start("dask", "worker", scheduler, *here, "--no-nanny", "--nthreads", "1") for _ in range(2))
        command = ["sweep", str(path), "-p", "SEED", "0..5", "--out", str(out), "--scheduler", scheduler]
        whole = start("companion", *command)
        wait_for(lambda: len(kept(out)) >= 1 and len(begun(tmp_path)) >= len(kept(out)) + 2)
        first.kill()  # with a run in the middle
        wait_for(lambda: len(kept(out)) >= 3)
        whole.send_signal(signal.SIGKILL)
        whole.wait()
        before = kept(out)
        assert 3 <= len(before) < 6
        assert main(command) == 0
    after = kept(out)
    assert len(after) == 6
    assert before.items() <= after.items()  # none of these was written again
    rows = parquet.read_table(out / "results.parquet").to_pylist()
    assert sorted(row["SEED"] for row in rows if row["name"] == "the seed is even") == [*range(6)]
    assert {row["held"] for row in rows if row["SEED"] in (1, 3, 5) and row["name"] == "the seed is even"} == {False}
    assert len(begun(tmp_path)) > 6  # something had been cut, and was begun again
    assert "6/6" in capfd.readouterr().err  # progress


SLEEP = "import time\ntime.sleep(0.6)"


def kept(out):
    """When each finished run was written."""
    return {path.name: path.stat().st_mtime_ns for path in (out / "runs").glob("*.json")}


def begun(folder):
    path = folder / "begun.txt"
    return path.read_text().split() if path.exists() else []


@pytest.mark.slow
def test_processes_of_this_machine_need_nothing_set_up_and_only_it_reaches_them(tmp_path, capsys, monkeypatch):
    listening = set()

    @contextmanager
    def watched(*arguments, connected=sweep.connected):
        before = set(psutil.Process().children(recursive=True))
        with connected(*arguments) as client:
            for each in {psutil.Process(), *psutil.Process().children(recursive=True)} - before:
                with suppress(psutil.Error):
                    listening.update(place.laddr.ip for place in each.net_connections() if place.status == "LISTEN")
            yield client

    monkeypatch.setattr(sweep, "connected", watched)
    path, out = write_notebook(tmp_path / "tiny.ipynb", CLAIMS, RECORD, "1 / (SEED - 1)"), tmp_path / "out"
    assert main(["sweep", str(path), "-p", "SEED", "0..2", "--out", str(out), "--jobs", "1"]) == 1
    assert "SEED = 1: failed in code cell 5 of " in capsys.readouterr().err
    rows = parquet.read_table(out / "results.parquet").to_pylist()
    assert [(row["SEED"], row["number"]) for row in rows if row["name"] == "loss"] == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert {row["SEED"] for row in rows if row["status"] == "failed"} == {1}
    assert len(list((out / "runs").glob("*.ipynb"))) == 3
    assert (out / "summary.png").exists()
    assert listening == {"127.0.0.1"}
