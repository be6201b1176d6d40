"""Lesson 10's comparison: every learner at every budget through five streams.

`compare_rates()` makes the stored result "10_rates": each learner's rate at each budget, chosen on the first third of two
streams that are reported nowhere. `compare_streams()` makes "10_streams": all runs. Both need hours of one core, so
`python -m companion nevis --jobs 2 --folder runs/nevis` shares the runs among processes and writes each to a file as
soon as it is there: killed at any moment, the next call makes only what is missing.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch
from tqdm.auto import tqdm

from companion.data.streams.mini import MiniStream
from companion.teaching import results
from companion.teaching.lessons.task_stream import KINDS, SEEDS, SOURCES, TASKS, run_of
from companion.teaching.provenance import source_hash

COMMAND = "python -m companion nevis"
FOLDER = Path("runs") / "nevis"
TUNING_SEEDS, TUNING_TASKS = (101, 102), 36
TUNED = tuple(dict.fromkeys(kind.tuned_as for kind in KINDS.values() if kind.tuned_as))
FIRST_RATES = {"whole": 0.025, "pretrained": 0.025, "dynamic_pretrained": 0.025}  # where the search for a rate begins
FIRST_RATE = 0.1
PLAN = (
    ("15", tuple(KINDS)),
    ("60", tuple(kind for kind in KINDS if kind != "closed_form")),
)
RATE_OF = {"4 x 15": "15", "4 x 60": "60"}  # budgets of several trials take them around another's rate


class Job(NamedTuple):
    """One run."""

    kind: str
    budget: str
    rate: float
    seed: int
    tasks: int = TASKS


def compare_rates(folder: Path = FOLDER, jobs: int = 1) -> None:
    """Each tuned learner's rate for each number of steps: "10_rates".

    From a first rate the search goes on by factors of 2 until the best, by the mean error of two streams' first 36 tasks,
    has a worse one on either side. "chosen" has the best by budget and kind, "tried" all of them with their errors.
    """
    budgets = sorted({RATE_OF.get(budget, budget) for budget, _ in PLAN}, key=int)
    chosen: dict[str, dict[str, float]] = {}
    tried: dict[str, dict[str, dict[float, float]]] = {}
    for budget in budgets:
        tried[budget] = tuned(budget, chosen, folder, jobs)
        chosen[budget] = {kind: min(errors, key=errors.get) for kind, errors in tried[budget].items()}
    data = {"seeds": TUNING_SEEDS, "tasks": TUNING_TASKS, "chosen": chosen, "tried": tried}
    results.store("10_rates", data, SOURCES, COMMAND)


def tuned(budget: str, chosen: dict[str, dict[str, float]], folder: Path, jobs: int) -> dict[str, dict[float, float]]:
    """For each kind the rates that were tried at a budget, with their mean errors."""
    kinds = [
        kind for kind in TUNED if any(kind in allowed for name, allowed in PLAN if RATE_OF.get(name, name) == budget)
    ]
    before = list(chosen.values())[-1] if chosen else {}
    tried: dict[str, dict[float, float]] = {kind: {} for kind in kinds}
    wanted = {
        kind: [before.get(kind, FIRST_RATES.get(kind, FIRST_RATE)) * 2.0**power for power in (-1, 0, 1)]
        for kind in kinds
    }
    while any(wanted.values()):
        calls = [
            Job(kind, budget, rate, seed, TUNING_TASKS)
            for kind, rates in wanted.items()
            for rate in rates
            for seed in TUNING_SEEDS
        ]
        found = dict(all_runs(calls, folder, jobs, f"rates at {budget} steps"))
        for call in calls:
            errors = [mean(found[call._replace(seed=seed)]["errors"]) for seed in TUNING_SEEDS]
            tried[call.kind][call.rate] = mean(errors)
        wanted = {kind: beyond(errors) for kind, errors in tried.items()}
    return {kind: dict(sorted(errors.items())) for kind, errors in tried.items()}


def beyond(errors: dict[float, float]) -> list[float]:
    """What to try next: a rate beyond the best, if the best is the lowest or the highest so far."""
    best = min(errors, key=errors.get)
    return [
        rate for rate in (best / 2, best * 2) if rate not in errors and (best == min(errors) or best == max(errors))
    ]


def compare_streams(folder: Path = FOLDER, jobs: int = 1) -> None:
    """Every learner through every stream: "10_streams".

    "families" has each seed's families in time; "runs" one entry a run, with its kind, budget, rate and seed, and by task
    "errors" and "sources" (the place of the task it started from, or -1); "training" and "search" are the operations of
    the whole run, "spent" what both had come to after each task.
    """
    chosen = results.load("10_rates")["chosen"]
    calls = [
        Job(kind, budget, rate_for(kind, budget, chosen), seed)
        for budget, kinds in PLAN
        for kind in kinds
        for seed in SEEDS
    ]
    found = dict(all_runs(calls, folder, jobs, "streams"))
    runs = [call._asdict() | summary(found[call]) for call in calls]
    families = {seed: MiniStream(TASKS, seed).families for seed in SEEDS}
    results.store("10_streams", {"families": families, "runs": runs}, SOURCES, COMMAND)


def rate_for(kind: str, budget: str, chosen: dict[str, dict[str, float]]) -> float:
    """A kind's rate at a budget; 0 for one that has none."""
    tuned_as = KINDS[kind].tuned_as
    return 0.0 if tuned_as is None else chosen[RATE_OF.get(budget, budget)][tuned_as]


def summary(run: dict[str, list]) -> dict[str, Any]:
    """What is stored of a run, small: errors of four digits, operations of the whole run."""
    return {
        "errors": [round(error, 4) for error in run["errors"]],
        "sources": run["sources"],
        "training": sum(run["training"]),
        "search": sum(run["search"]),
        "searched": [round(each / 1e9, 3) for each in run["search"]],
        "trained": [round(each / 1e9, 3) for each in run["training"]],
    }


# --- runs that survive ----------------------------------------------------------------------------------------------


def all_runs(calls: Iterable[Job], folder: Path, jobs: int, label: str) -> Iterator[tuple[Job, dict[str, list]]]:
    """Every call with its run, read from the folder or made by so many processes and written there."""
    own = Path(folder) / source_hash(*SOURCES)[:12]
    own.mkdir(parents=True, exist_ok=True)
    calls = list(dict.fromkeys(calls))
    missing = [call for call in calls if not path_of(call, own).exists()]
    bar = tqdm(total=len(calls), initial=len(calls) - len(missing), desc=label)
    for _ in made(missing, own, jobs):
        bar.update()
    bar.close()
    for call in calls:
        yield call, json.loads(path_of(call, own).read_text(encoding="utf-8"))


def made(missing: list[Job], own: Path, jobs: int) -> Iterator[None]:
    """Make runs, here or in other processes, one thread each."""
    if jobs == 1:
        for call in missing:
            make_run(call, own)
            yield
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for done in as_completed([pool.submit(make_run, call, own) for call in missing]):
            done.result()
            yield


def path_of(call: Job, own: Path) -> Path:
    """The file of a run, in the folder of the code that made it."""
    return own / (", ".join(str(part) for part in call) + ".row")


def make_run(call: Job, own: Path, make: Callable[..., dict[str, list]] = run_of) -> None:
    """Make a run and write it in one atomic step."""
    path = path_of(call, own)
    content = json.dumps(make(*call))
    unfinished = path.with_name(path.name + ".partial")
    unfinished.write_text(content, encoding="utf-8")
    os.replace(unfinished, path)
