"""Lesson 07's comparisons over five seeds.

`compare_labels()` and `compare_permuted()` make the stored results "07_labels" and "07_permuted": every kind of trainer, each
with the best of 72 settings, by its mean accuracy before learning on two seeds of their own: 24 drawn from the kind's
ranges, then 24 around the best of those, and 24 nearer to the best of all. `compare_elsewhere()` makes "07_elsewhere", where the settings of "07_permuted" meet
streams that they were not tuned for; `compare_rates()` makes "07_rates", how much the step of gamma and the strength of
L2-init matter; `compare_flights()` makes "07_flights", flights as they departed.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from companion.data.streams import flight_days
from companion.foundations.validation import Number
from companion.teaching import results
from companion.teaching.lessons import kalman_bench, plasticity
from companion.teaching.lessons.kalman_bench import BLOCK, TUNED_UNTIL, by_day
from companion.teaching.lessons.plasticity import KINDS, SEEDS, StreamName, Trace, run

SOURCES = (*plasticity.SOURCES, __name__)
FLIGHT_SOURCES = (*SOURCES, kalman_bench)
COMMAND = "python -m companion claims plasticity_bench"
TUNING_SEEDS = (100, 101)
DRAWS = 24  # in each round
REACHES = (1.0, 1 / 6, 1 / 16)  # of the rounds: how far from the best so far, in parts of a range
TUNING_TASKS = 20
TASKS: dict[str, int] = {"labels": 60, "permuted": 40, "still": 40, "returning": 40}
ELSEWHERE: tuple[StreamName, ...] = ("still", "returning")
FLIGHTS = ("online SGD", "layer norm", "shrink & perturb", "L2-init", "soft reset", "soft reset, layer norm")
Setting = dict[str, Number]


# --- tuning -------------------------------------------------------------------------------------------------------


def draws(kind: str, generator: torch.Generator, near: Setting | None, reach: Number) -> list[Setting]:
    """Settings of a kind, even on a log scale: from its ranges, or within a part of each range from one of them."""
    found = []
    for _ in range(DRAWS):
        setting = {}
        for name, (low, high) in KINDS[kind].ranges.items():
            low, high = math.log(low), math.log(high)
            if near is not None:
                middle, far = math.log(near[name]), reach * (high - low)
                low, high = max(low, middle - far), min(high, middle + far)
            setting[name] = float(f"{math.exp(low + torch.rand((), generator=generator).item() * (high - low)):.4g}")
        found.append(setting)
    return found


def tune(kind: str, name: StreamName, what: str = "accuracy", **options: Any) -> list[tuple[Setting, float]]:
    """72 settings with their mean accuracy (or loss), the best first."""
    generator, sign = torch.Generator().manual_seed(0), -1 if what == "loss" else 1
    tried: list[tuple[Setting, float]] = []
    for reach in REACHES:
        settings = draws(kind, generator, tried[0][0] if tried else None, reach)
        trace = run(kind, settings, name, TUNING_SEEDS, **options)
        means = getattr(trace, what).mean(0).view(len(settings), -1).mean(1)
        tried += [(setting, value) for setting, value in zip(settings, means.tolist()) if math.isfinite(value)]
        tried.sort(key=lambda each: -sign * each[1])
    return tried


# --- the two streams of the table ---------------------------------------------------------------------------------


def compare_labels(seeds: Sequence[int] = SEEDS) -> None:
    """The same digits under new random labels: "07_labels"."""
    compare("labels", seeds)


def compare_permuted(seeds: Sequence[int] = SEEDS) -> None:
    """Digits with permuted pixels: "07_permuted"."""
    compare("permuted", seeds)


def compare(name: StreamName, seeds: Sequence[int]) -> None:
    rows = {}
    for kind in tqdm(KINDS, desc=name):
        tried = tune(kind, name, tasks=TUNING_TASKS)
        trace = run(kind, [tried[0][0]], name, seeds, tasks=TASKS[name])
        rows[kind] = {"chosen": tried[0][0], "tried": tried} | summary(trace, TASKS[name])
    results.store(f"07_{name}", {"seeds": seeds, "draws": DRAWS * len(REACHES), "rows": rows}, SOURCES, COMMAND)


def summary(trace: Trace, tasks: int) -> dict[str, Any]:
    """Accuracies of all seeds, over all tasks and over the last ten; the curve over tasks; gamma by its age."""
    by_task = trace.by_task(tasks)
    found: dict[str, Any] = {
        "accuracy": trace.accuracy.mean(0).tolist(),
        "late": by_task[-10:].mean(0).tolist(),
        "curve": by_task.mean(1).tolist(),
    }
    if trace.gamma:
        aged = {name: gamma.double().unflatten(0, (tasks, -1))[1:] for name, gamma in trace.gamma.items()}
        whole = torch.stack(list(aged.values())).mean(0)
        found["gamma by age"] = {name: each.mean((0, 2)).tolist() for name, each in aged.items()}
        found["gamma at a change"] = whole[:, 0].mean(0).tolist()
        found["gamma inside"] = whole[:, whole.shape[1] // 2 :].mean((0, 1)).tolist()
        found["changes found"] = found_changes(whole).tolist()
    return found


def found_changes(gamma: Float[Tensor, "tasks batches runs"]) -> Float[Tensor, " runs"]:
    """The share of tasks whose first batch has a lower gamma than any batch of the task's second half."""
    return (gamma[:, 0] < gamma[:, gamma.shape[1] // 2 :].amin(1)).double().mean(0)


# --- elsewhere ----------------------------------------------------------------------------------------------------


def compare_elsewhere(seeds: Sequence[int] = SEEDS) -> None:
    """The settings for permuted digits, where nothing changes and where old tasks come back: "07_elsewhere"."""
    stored = results.load("07_permuted")["rows"]
    found: dict[str, Any] = {}
    for name in ELSEWHERE:
        traces = {kind: run(kind, [stored[kind]["chosen"]], name, seeds) for kind in tqdm(KINDS, desc=name)}
        found[name] = {kind: trace.accuracy.mean(0).tolist() for kind, trace in traces.items()}
    results.store("07_elsewhere", {"seeds": seeds, "rows": found}, SOURCES, COMMAND)


def compare_rates(seeds: Sequence[int] = SEEDS) -> None:
    """Accuracy on random labels as one setting is moved away from its best: "07_rates"."""
    stored, factors = results.load("07_labels")["rows"], [2.0**power for power in range(-5, 6)]
    rows = {}
    for kind, moved in tqdm((("soft reset", "drift_lr"), ("L2-init", "strength"))):
        chosen = stored[kind]["chosen"]
        settings = [chosen | {moved: factor * chosen[moved]} for factor in factors]
        trace = run(kind, settings, "labels", seeds, tasks=TUNING_TASKS)
        rows[kind] = trace.accuracy.mean(0).view(len(settings), -1).tolist()
    results.store("07_rates", {"seeds": seeds, "factors": factors, "rows": rows}, SOURCES, COMMAND)


def compare_flights(seeds: Sequence[int] = SEEDS) -> None:
    """Late or not: settings from the first 10,000 flights, log-loss of the rest in blocks of ten: "07_flights".

    The noise is that of days: the standard error of the mean difference of a day's loss to that of soft reset, for the mean
    over seeds.
    """
    rows: dict[str, Any] = {}
    losses: dict[str, Tensor] = {}
    for kind in tqdm(FLIGHTS, desc="flights"):
        tried = tune(kind, "flights", "loss", rows=slice(TUNED_UNTIL), batch=BLOCK)
        trace = run(kind, [tried[0][0]], "flights", seeds, batch=BLOCK)
        later = slice(TUNED_UNTIL // BLOCK, None)
        losses[kind] = trace.loss[later].double().mean(1)
        rows[kind] = {
            "chosen": tried[0][0],
            "loss": trace.loss[later].mean(0).tolist(),
            "accuracy": trace.accuracy[later].mean(0).tolist(),
        }
        if trace.gamma:
            gamma = torch.stack(list(trace.gamma.values())).mean(0)[:, 0]
            rows[kind]["gamma"] = gamma[: len(gamma) // 20 * 20].view(-1, 20).mean(1).tolist()
    days = flight_days()[TUNED_UNTIL::BLOCK][: len(losses["soft reset"])]
    for kind, row in rows.items():
        apart = by_day(losses[kind] - losses["soft reset"], days)
        row["apart"], row["error"] = apart.mean().item(), (apart.std() / len(apart) ** 0.5).item()
    results.store("07_flights", {"seeds": seeds, "rows": rows}, FLIGHT_SOURCES, COMMAND)
