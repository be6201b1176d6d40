"""Lesson 10's comparison: every learner at every budget through five streams.

`compare_rates()` makes a stored result "10_rates_STEPS" for each number of steps: each learner's rate, chosen on the first
third of two streams that are reported nowhere. `compare_streams()` makes "10_streams_BUDGET" for each budget: all runs.
Both need hours of one core, so `python -m companion nevis --jobs 2 --folder runs/nevis` shares the runs among processes
and writes each to a file as soon as it is there: killed at any moment, the next call makes only what is missing. A stored
result whose code has not changed is not made again.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch
from tqdm.auto import tqdm

from companion.teaching import results
from companion.teaching.lessons.task_stream import BUDGETS, KINDS, SEEDS, SOURCES, TASKS, run_of
from companion.teaching.provenance import source_hash
from companion.teaching.writing import write_whole

COMMAND = "python -m companion nevis"
FOLDER = Path("runs") / "nevis"
TUNING_SEEDS, TUNING_TASKS = (101, 102), 36
TUNED = tuple(dict.fromkeys(kind.tuned_as for kind in KINDS.values() if kind.tuned_as))
FIRST_RATES = {"whole": 0.025, "pretrained": 0.025, "dynamic_pretrained": 0.025}  # where the search for a rate begins
FIRST_RATE = 0.1
NO_RATE = 1.0  # of a learner that takes no steps
STEPPING = tuple(kind for kind in KINDS if KINDS[kind].tuned_as)  # more steps change nothing for the others
PLAN = {"15": tuple(KINDS), "60": STEPPING, "4 x 15": ("independent", "previous", "dynamic")}  # who meets which budget


class Job(NamedTuple):
    """One run."""

    kind: str
    budget: str
    rate: float
    seed: int
    tasks: int = TASKS


def compare_rates(folder: Path = FOLDER, jobs: int = 1, budgets: Sequence[str] = tuple(PLAN)) -> None:
    """Each tuned learner's rate for each number of steps: "10_rates_15" and so on.

    From a first rate, the one for fewer steps if there is one, the search goes on by factors of 2 until the best, by the
    mean error of two streams' first 36 tasks, has a worse one on either side. "chosen" has the best by kind, "tried" all of
    them with their errors.
    """
    before: dict[str, float] = {}
    wanted = {steps_of(budget) for budget in budgets}
    for steps in sorted({steps_of(budget) for budget in PLAN}, key=int):
        name = f"10_rates_{steps}"
        if not is_stored(name):
            if steps not in wanted:
                continue
            tried = tuned(steps, before, folder, jobs)
            chosen = {kind: min(errors, key=errors.get) for kind, errors in tried.items()}
            data = {"seeds": TUNING_SEEDS, "tasks": TUNING_TASKS, "chosen": chosen, "tried": tried}
            results.store(name, data, SOURCES, COMMAND)
        before = results.load(name)["chosen"]


def tuned(steps: str, before: dict[str, float], folder: Path, jobs: int) -> dict[str, dict[float, float]]:
    """For each kind the rates that were tried at a number of steps, with their mean errors."""
    met = {kind for budget, kinds in PLAN.items() if steps_of(budget) == steps for kind in kinds}
    kinds = [kind for kind in TUNED if kind in met]
    tried: dict[str, dict[float, float]] = {kind: {} for kind in kinds}
    first = {kind: before.get(kind, FIRST_RATES.get(kind, FIRST_RATE)) for kind in kinds}
    wanted = {kind: [rate * 2.0**power for power in (-1, 0, 1)] for kind, rate in first.items()}
    while any(wanted.values()):
        calls = [
            Job(kind, steps, rate, seed, TUNING_TASKS)
            for kind, rates in wanted.items()
            for rate in rates
            for seed in TUNING_SEEDS
        ]
        found = dict(all_runs(calls, folder, jobs, f"rates at {steps} steps"))
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


def compare_streams(folder: Path = FOLDER, jobs: int = 1, budgets: Sequence[str] = tuple(PLAN)) -> None:
    """Every learner through every stream: "10_streams_15" and so on, for each budget.

    One entry a run, with its kind, budget, rate and seed, and by task "errors", "sources" (the place of the task it started
    from, or -1), and "trained" and "searched" in GFLOP; "training" and "search" are the operations of the whole run.
    """
    for budget in budgets:
        if is_stored(name_of(budget)):
            continue
        chosen = results.load(f"10_rates_{steps_of(budget)}")["chosen"]
        calls = [
            Job(kind, budget, chosen.get(KINDS[kind].tuned_as, NO_RATE), seed)
            for kind in PLAN[budget]
            for seed in SEEDS
        ]
        found = dict(all_runs(calls, folder, jobs, f"streams at {budget} steps"))
        results.store(name_of(budget), [call._asdict() | summary(found[call]) for call in calls], SOURCES, COMMAND)


def steps_of(budget: str) -> str:
    """The number of steps of a budget's trials, by which its rate is chosen."""
    return str(BUDGETS[budget].steps)


def name_of(budget: str) -> str:
    """A budget's stored result."""
    return f"10_streams_{budget.replace(' ', '')}"


def is_stored(name: str) -> bool:
    """Whether there is such a result, made by the code that is here."""
    try:
        results.load(name)
    except (FileNotFoundError, results.StaleResult):
        return False
    return True


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
    write_whole(path_of(call, own), json.dumps(make(*call)))
