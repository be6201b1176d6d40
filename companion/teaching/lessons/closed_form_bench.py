"""Lesson 05's comparisons over five seeds, each with its rivals, settings and costs.

`compare_full()`, `compare_128()` and `compare_16()` make the stored results "05_full", "05_128" and "05_16", of the sines at three
batch sizes; `compare_real()`, `compare_darcy()`, `compare_instruments()` and `compare_widths()` make "05_real", "05_darcy",
"05_instruments" and "05_widths". Settings are the best of a grid on two seeds of their own (data, start and batches), by
the geometric mean of the test errors at the end, for every method alike; methods with two settings are given more of them.
The grids are what is left of wider ones, three times as large for most methods, in which the other settings were worse.
What is reported comes from other seeds. Plain gradient descent is different: the rates at which it is stable depend on the
seed, so methods with SGD have the best setting of the grid on each seed, in hindsight, which favours them. Seconds are CPU
seconds of training alone.
"""

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from statistics import median
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from companion.data.regression import Confounded
from companion.foundations.validation import Number
from companion.methods.last_layer import closed_form_loss, deep_iv, solve_last_layer, train_closed_form, with_bias
from companion.teaching import results
from companion.teaching.lessons import closed_form
from companion.teaching.lessons.closed_form import (
    SEEDS,
    TUNING_SEEDS,
    Task,
    bounded,
    confounded,
    follow,
    seeded,
    structural_error,
    task,
    train_by,
)

SOURCES = (*closed_form.SOURCES, __name__)
COMMAND = "python -m companion claims closed_form_bench"
LAST = 4  # states at the end of a training whose median error is its final one
PLACES = 18  # of a stored path

Grid = Sequence[tuple[float, Any]]


def grid(rates: Sequence[Number], settings: Sequence[Any] = (None,)) -> tuple[tuple[Number, Any], ...]:
    """Every learning rate with every setting."""
    return tuple(itertools.product(rates, settings))


def pairs(first: Sequence[Any], second: Sequence[Any]) -> tuple[tuple[Any, Any], ...]:
    """Every first setting with every second one."""
    return tuple(itertools.product(first, second))


# --- one study: methods tuned on two seeds, followed on five others ------------------------------------------------


def study(
    name: str,
    batch_size: int | None,
    steps: int,
    grids: dict[str, Grid],
    *,
    cosine: bool = False,
    every: int = 20,
    seeds: Sequence[int] = SEEDS,
    own_steps: dict[str, int] | None = None,
    score: Callable[[Any, Task], float] | None = None,
) -> dict[str, Any]:
    """Rows of all methods on a task. Levels to be reached are Adam's and SGD's own final errors on the same seed.

    Args:
        own_steps: of methods that are given fewer steps than the others.
        score: of the last state on a task, stored beside the error.
    """
    rows: dict[str, Any] = {}
    levels: dict[str, list[float]] = {}
    for method, settings in tqdm(grids.items(), desc=f"{name}, batch {batch_size}{', cosine' if cosine else ''}"):
        length = (own_steps or {}).get(method, steps)
        often = every if length == steps else max(1, every * length // steps)
        run = partial(followed, method, name, batch_size, length, cosine, often)
        if method.endswith("SGD"):
            chosen = [min(settings, key=lambda setting, seed=seed: run(seed, *setting)["final"]) for seed in seeds]
        else:
            tried = {setting: [run(seed, *setting)["final"] for seed in TUNING_SEEDS] for setting in settings}
            chosen = [min(tried, key=lambda setting, tried=tried: geometric_mean(tried[setting]))] * len(seeds)
        runs = [run(seed, *setting, score) for seed, setting in zip(seeds, chosen)]
        levels.setdefault(method, [each["final"] for each in runs])
        rows[method] = {
            "chosen": chosen,
            "tried": len(settings),
            "edge": max(rate for rate, _ in chosen) == max(rate for rate, _ in settings),
            "steps": length,
            "final": [kept(each["final"]) for each in runs],
            "milliseconds": median(1000 * each["seconds"][-1] / each["step"][-1] for each in runs),
            "path": summary(runs),
        }
        for goal in [goal for goal in ("SGD", "Adam") if goal in levels]:
            reached = [first_below(each, level) for each, level in zip(runs, levels[goal])]
            rows[method][f"steps to {goal}"] = [None if place is None else place[0] for place in reached]
            rows[method][f"seconds to {goal}"] = [None if place is None else place[1] for place in reached]
        if score is not None:
            rows[method]["score"] = [each["score"] for each in runs]
    return {"batch": batch_size, "steps": steps, "cosine": cosine, "seeds": seeds, "rows": rows}


def geometric_mean(values: Sequence[Number]) -> float:
    """Infinite where one is: a setting must work on every seed that it is tuned on."""
    return float("inf") if max(values) == float("inf") else math.prod(values) ** (1 / len(values))


def followed(method, name, batch_size, steps, cosine, every, seed, rate, setting, score=None) -> dict[str, Any]:
    """One training, its path and its final error."""
    given, final_state = task(name, seed), deque(maxlen=1)

    def watched(states):
        for state in states:
            final_state.append(state)
            yield state

    states = train_by(method, given, seed, steps, batch_size, rate, setting, cosine, every)
    step, seconds, error = follow(watched(states), given)
    run = {"step": step, "seconds": seconds, "error": error, "final": median(error[-LAST:] or [float("inf")])}
    return run if score is None else run | {"score": score(final_state[0], given) if final_state else None}


def first_below(run: dict[str, Any], level: Number) -> tuple[int, Number] | None:
    """(step, seconds) of the first state whose error is not above the level."""
    return next(((s, t) for s, t, e in zip(run["step"], run["seconds"], run["error"]) if e <= level), None)


def summary(runs: Sequence[dict[str, Any]]) -> list[list[Number]]:
    """[step, seconds, median error, least, most] of the runs at places evenly spread over the logarithm of the steps."""
    length = min(len(run["step"]) for run in runs)
    places = torch.logspace(0, torch.log10(torch.tensor(length)), PLACES).round().int().unique() - 1 if length else ()
    found = []
    for place in map(int, places):
        errors = [run["error"][place] for run in runs]
        if max(errors) < float("inf"):
            seconds = median(run["seconds"][place] for run in runs)
            found.append([runs[0]["step"][place], seconds, median(errors), min(errors), max(errors)])
    return found


def kept(value: Number) -> Number | None:
    """A number for the file; None where a training did not stay finite."""
    return value if value < float("inf") else None


# --- sines: all methods, three batch sizes, two schedules ---------------------------------------------------------

ADAM_RATES = (3e-3, 1e-2, 3e-2, 1e-1)
MIDDLE = (1e-2, 3e-2)
FULL: dict[str, Grid] = {
    "SGD": grid((0.3, 1.0, 1.5)),
    "Adam": grid(ADAM_RATES),
    "Adam, W at its own rate": grid(MIDDLE, ((0.3, 1e-2), (0.3, 1.0), (1.0, 1.0))),
    "Adam, gradient step on W": grid((1e-3, 3e-3), pairs((10.0, 30.0), (1e-2,))),
    "full solve, SGD": grid((10.0, 30.0, 100.0), (1e-6,)),
    "full solve, Adam": grid(MIDDLE, (1e-6, 1e-5)),
    "through the solve, Adam": grid(MIDDLE, (1e-6,)),
    "proximal, Adam": grid(MIDDLE, (1e-3, 1e-2)),
    "first layer": grid(MIDDLE, (0.3,)),
}
MEDIUM: dict[str, Grid] = {
    "SGD": grid((0.3, 1.0, 2.0)),
    "Adam": grid(ADAM_RATES),
    "Adam, W at its own rate": grid((3e-3, 1e-2, 3e-2), pairs((0.3, 1.0), (1.0,))),
    "Adam, gradient step on W": grid((3e-3, 1e-2), pairs((3.0, 10.0), (1.0,))),
    "full solve, Adam": grid((3e-3, 1e-2), (1e-4, 1e-3)),
    "proximal, SGD": grid((3.0, 10.0, 30.0), (1e-2,)),
    "proximal, Adam": grid(MIDDLE, (1e-2, 1e-1, 1.0)),
    "recursive, Adam": grid(MIDDLE, ((1e-3, 0.5), (1e-2, 0.5), (1e-1, 0.8))),
    "moving average, Adam": grid((3e-3, 1e-2), pairs((1e-2,), (0.8, 0.95))),
    "first layer": grid((3e-3, 1e-2), (0.3,)),
    "Gauss-Newton": grid((1.0,), (1e-2, 1e-1)),
}
SMALL: dict[str, Grid] = {
    "SGD": grid((0.2, 0.5, 1.0)),
    "Adam": grid(ADAM_RATES),
    "Adam, W at its own rate": grid((3e-3, 1e-2, 3e-2), pairs((0.3, 1.0), (1.0,))),
    "Adam, gradient step on W": grid((3e-3, 1e-2), pairs((10.0, 30.0), (1.0,))),
    "full solve, Adam": grid((3e-3, 1e-2), (1e-2, 1e-1)),
    "proximal, SGD": grid((1.0, 2.0, 4.0), (0.1, 1.0)),
    "proximal, Adam": grid((3e-3, 1e-2, 3e-2), (1.0, 3.0)),
    "recursive, Adam": grid(MIDDLE, ((1e-2, 0.9), (1e-1, 0.9))),
    "moving average, Adam": grid((3e-3,), pairs((1e-1,), (0.8, 0.95))),
    "first layer": grid((3e-3, 1e-2), (0.03,)),
    "Gauss-Newton": grid((0.3,), (1e-2, 1e-1)),
}
ONCE = ("through the solve, Adam", "moving average, Adam", "first layer", "Gauss-Newton")  # with a constant rate only


def compare_full(seeds: Sequence[int] = SEEDS) -> None:
    """The sines with all rows in every step, with a constant rate and along a cosine: "05_full"."""
    results.store("05_full", both_schedules(None, 600, FULL, seeds), SOURCES, COMMAND)


def compare_128(seeds: Sequence[int] = SEEDS) -> None:
    """The sines with batches of 128: "05_128"."""
    results.store("05_128", both_schedules(128, 1000, MEDIUM, seeds, {"Gauss-Newton": 200}), SOURCES, COMMAND)


def compare_16(seeds: Sequence[int] = SEEDS) -> None:
    """The sines with batches of 16, fewer than there are features: "05_16"."""
    results.store("05_16", both_schedules(16, 1500, SMALL, seeds, {"Gauss-Newton": 600}), SOURCES, COMMAND)


def both_schedules(batch_size, steps, grids, seeds, own_steps=None) -> dict[str, Any]:
    """A study of the sines with a constant learning rate, and one of most methods along a cosine."""
    falling = {method: each for method, each in grids.items() if method not in ONCE}
    return {
        "constant": study("sines", batch_size, steps, grids, seeds=seeds, own_steps=own_steps),
        "cosine": study("sines", batch_size, steps, falling, cosine=True, seeds=seeds),
    }


# --- digits, and diabetes where nothing helps ---------------------------------------------------------------------

LARGE = (3e-2, 1e-1)
DIGITS: dict[str, Grid] = {
    "SGD": grid((0.3, 1.0, 3.0)),
    "Adam": grid(ADAM_RATES),
    "Adam, W at its own rate": grid(LARGE, pairs((0.03, 0.1), (10.0,))),
    "Adam, gradient step on W": grid(LARGE, pairs((10.0, 30.0, 100.0), (10.0,))),
    "full solve, Adam": grid((1e-2, 1e-1), (1e-2, 1e-1)),
    "proximal, SGD": grid((3.0, 10.0), (0.1, 1.0)),
    "proximal, Adam": grid(LARGE, (10.0, 30.0, 100.0)),
    "recursive, Adam": grid(LARGE, ((0.1, 0.9), (1.0, 0.9), (10.0, 0.9))),
}
DIABETES: dict[str, Grid] = {
    "SGD": grid((0.01, 0.03, 0.1, 0.3)),
    "Adam": grid((3e-4, 1e-3, 3e-3)),
    "proximal, Adam": grid((3e-4, 1e-3, 3e-3), (0.1, 1.0, 10.0)),
}


def wrong(state: Any, given: Task) -> float:
    """The share of test images whose largest output is not their class."""
    x, y = given.test
    return (state.predict(x).argmax(1) != y.argmax(1)).double().mean().item()


def compare_real(seeds: Sequence[int] = SEEDS) -> None:
    """Digits with squared loss, batches of 128 and 16, both schedules; diabetes beside linear ridge: "05_real"."""
    data = {}
    for batch_size, cosine in itertools.product((128, 16), (False, True)):
        name = f"digits {batch_size}" + (", cosine" if cosine else "")
        data[name] = study("digits", batch_size, 600, DIGITS, cosine=cosine, seeds=seeds, score=wrong)
    data["diabetes"] = study("diabetes", 128, 200, DIABETES, every=5, seeds=seeds)
    data["diabetes"]["rows"]["linear ridge"] = {"final": [linear_ridge(task("diabetes", seed)) for seed in seeds]}
    results.store("05_real", data, SOURCES, COMMAND)


def linear_ridge(given: Task) -> float:
    """The error of ridge regression on the inputs, with the best of four ridges."""
    (x, y), _ = given.train, given.test
    weights = [solve_last_layer(with_bias(x), y, ridge) for ridge in (1e-3, 1e-2, 1e-1, 1.0)]
    return min(given.error_of(lambda x, w=w: with_bias(x) @ w) for w in weights)


# --- a neural operator --------------------------------------------------------------------------------------------

DARCY: dict[str, Grid] = {
    "SGD": grid((0.3, 1.0)),
    "Adam": grid((1e-2, 2e-2, 3e-2)),
    "Adam, W at its own rate": grid((1e-2, 2e-2), ((0.3, 1e-2),)),
    "Adam, gradient step on W": grid((1e-2, 2e-2), ((10.0, 1e-2),)),
    "proximal, Adam": grid((1e-2, 2e-2), (1e-3,)),
}


def compare_darcy(seeds: Sequence[int] = SEEDS) -> None:
    """A Fourier neural operator on Darcy flow, 16 x 16, batches of 20 fields, both schedules: "05_darcy"."""
    data = {}
    for cosine in (False, True):
        name = "cosine" if cosine else "constant"
        data[name] = study("darcy", 20, 400, DARCY, cosine=cosine, every=20, seeds=seeds)
    results.store("05_darcy", data, SOURCES, COMMAND)


# --- instrumental variables ---------------------------------------------------------------------------------------

IV_STEPS, IV_BATCH = 600, 500
IV_ROWS = 5000
IV_SEEDS = (100, 101, 102)  # for the settings
REFIT = 1e-3


def compare_instruments(seeds: Sequence[int] = SEEDS) -> None:
    """The structural function of `Confounded` by regression, by two stages of polynomials, and by deep features: "05_instruments".

    Settings are the best on three other seeds, by the error that is reported: nobody could choose them so well without
    knowing the answer. That holds for all rows alike.
    """
    data: dict[str, Any] = {"seeds": seeds, "rows": {}}
    for name, (method, settings) in tqdm(IV_METHODS.items(), desc="instruments"):
        tried = [(median(method(seed, *setting)[0] for seed in IV_SEEDS), setting) for setting in settings]
        setting = min(tried)[1]
        runs = [method(seed, *setting) for seed in seeds]
        data["rows"][name] = {
            "setting": setting,
            "tried": len(settings),
            "error": [error for error, _ in runs],
            "seconds": median(seconds for _, seconds in runs),
        }
    data["zero"] = [structural_error(torch.zeros_like, seed) for seed in seeds]
    results.store("05_instruments", data, SOURCES, COMMAND)


def timed(fit: Callable[[], Callable[[Tensor], Tensor]], seed: int) -> tuple[float, float]:
    """The error of the structural function that `fit` finds, and its CPU seconds."""
    began = time.process_time()
    predict = fit()
    seconds = time.process_time() - began
    return structural_error(predict, seed), seconds


def by_regression(seed: int, confounding: float, ridge: float) -> tuple[float, float]:
    """The outcome regressed on the treatment, all rows of both stages."""
    law = Confounded(confounding)
    rows = law.sample(2 * IV_ROWS, torch.Generator().manual_seed(8000 + seed))
    psi = seeded(partial(bounded, 1), seed)

    def fit():
        data = (rows.treatment, rows.outcome)
        generator = torch.Generator().manual_seed(seed)
        settings = {"ridge": ridge, "learning_rate": 3e-3, "cosine": True, "batch_size": 1000, "generator": generator}
        return last(train_closed_form(psi, data, IV_STEPS, "full", **settings)).predict

    return timed(fit, seed)


def by_polynomials(seed: int, degree: int, of_instrument: int) -> tuple[float, float]:
    """Two-stage least squares with Hermite polynomials of the treatment, and of each instrument."""
    first, second = confounded(seed, IV_ROWS)

    def powers(x: Float[Tensor, "n d"], degree: int) -> Float[Tensor, "n p"]:
        orders = range(1, degree + 1)
        hermite = torch.special.hermite_polynomial_he
        return torch.stack([hermite(x.double() / 2, order) / 2 ** (order / 2) for order in orders], -1).flatten(1)

    def fit():
        instruments = [with_bias(powers(rows.instrument, of_instrument)) for rows in (first, second)]
        u = two_stages(*instruments, powers(first.treatment, degree), second.outcome.double(), 1e-6)
        return lambda x: (with_bias(powers(x, degree)) @ u).to(x)

    return timed(fit, seed)


def two_stages(
    first: Float[Tensor, "n p"],
    second: Float[Tensor, "m p"],
    treatment: Float[Tensor, "n q"],
    outcome: Float[Tensor, "m k"],
    ridge: float,
) -> Float[Tensor, "r k"]:
    """The last layer of the second stage, from features of the instruments and of the treatment."""
    v = solve_last_layer(first, treatment, ridge)
    return solve_last_layer(with_bias(second @ v), outcome, ridge)


def by_deep_features(
    seed: int, proximal: bool, refit: bool, strengths: tuple[float, float], rate: float
) -> tuple[float, float]:
    """`deep_iv`, its last layers kept or, with `refit`, solved once more on all rows at the end."""
    kept_error, solved_error, seconds = deep_features(seed, proximal, strengths, rate)
    return solved_error if refit else kept_error, seconds


@cache
def deep_features(seed: int, proximal: bool, strengths: tuple[float, float], rate: float) -> tuple[float, float, float]:
    """The structural errors without and with a last solve on all rows, and CPU seconds."""
    first, second = confounded(seed, IV_ROWS)
    phi, psi = seeded(partial(bounded, 2), seed), seeded(partial(bounded, 1), seed + 50)
    began = time.process_time()
    states = deep_iv(
        phi, psi, first[:2], (second.instrument, second.outcome), IV_STEPS, batch_size=IV_BATCH, strengths=strengths,
        proximal=proximal, learning_rate=rate, cosine=True, generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    state, seconds = last(states), time.process_time() - began
    with torch.no_grad():
        instruments = [with_bias(phi(rows.instrument)) for rows in (first, second)]
        u = two_stages(*instruments, psi(first.treatment), second.outcome, REFIT)
        solved = structural_error(lambda x: with_bias(psi(x)) @ u, seed)
    return structural_error(state.predict, seed), solved, seconds


def last(states: Iterable) -> Any:
    return deque(states, maxlen=1).pop()


RATES = (3e-3, 1e-2)
PAIRS = ((0.03, 0.1), (0.1, 0.3))
RIDGES = ((0.1, 0.01), (0.1, 0.1))
IV_METHODS: dict[str, tuple[Callable, list[tuple]]] = {
    "regression on the treatment": (by_regression, [(1.0, ridge) for ridge in (1e-4, 1e-2)]),
    "polynomials, two stages": (by_polynomials, grid((3, 5, 7), (5, 7))),
    "deep, ridge of each batch": (
        by_deep_features,
        [(False, False, *each) for each in itertools.product(RIDGES, RATES)],
    ),
    "deep, ridge of each batch, refit": (
        by_deep_features,
        [(False, True, *each) for each in itertools.product(RIDGES, RATES)],
    ),
    "deep, proximal": (by_deep_features, [(True, False, *each) for each in itertools.product(PAIRS, RATES)]),
    "deep, proximal, refit": (by_deep_features, [(True, True, *each) for each in itertools.product(PAIRS, RATES)]),
    "nothing hidden: regression": (by_regression, [(0.0, ridge) for ridge in (1e-4, 1e-2)]),
}


# --- width --------------------------------------------------------------------------------------------------------

WIDTHS = (2, 4, 8, 16, 32, 128, 512)
WIDTH_STEPS, WIDTH_RATE, WIDTH_RIDGE = 1000, 1.0, 1e-4


def compare_widths(seeds: Sequence[int] = SEEDS) -> None:
    """The reduced loss of one hidden layer along gradient descent, for several widths and starts: "05_widths"."""
    x, y = width_data()
    data: dict[str, Any] = {"seeds": seeds, "widths": WIDTHS, "steps": WIDTH_STEPS, "rows": {}}
    for width in tqdm(WIDTHS, desc="widths"):
        data["rows"][str(width)] = [width_path(width, seed) for seed in seeds]
    with torch.no_grad():
        wide = closed_form_loss(tanh_features(*random_neurons(50_000, seeds[0]), x), y, WIDTH_RIDGE)
    data["wide at the start"], data["zero"] = wide.item(), 0.5 * y.square().mean().item()
    results.store("05_widths", data, SOURCES, COMMAND)


def width_data(n: int = 40) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n 1"]]:
    """Two periods of a sine."""
    x = torch.linspace(-1, 1, n, dtype=torch.float64)[:, None]
    return x, torch.sin(4 * torch.pi * x)


def random_neurons(width: int, seed: int) -> tuple[Float[Tensor, "1 p"], Float[Tensor, " p"]]:
    generator = torch.Generator().manual_seed(seed)
    slopes = 2 * torch.randn(1, width, generator=generator, dtype=torch.float64)
    return slopes, torch.randn(width, generator=generator, dtype=torch.float64)


def tanh_features(slopes: Tensor, shifts: Tensor, x: Float[Tensor, "n 1"]) -> Float[Tensor, "n p"]:
    """Features whose kernel has a limit for many neurons: each is divided by the root of their number."""
    return torch.tanh(x @ slopes + shifts) / slopes.shape[1] ** 0.5


def width_path(width: int, seed: int, steps: int = WIDTH_STEPS) -> dict[str, Any]:
    """Reduced losses along the descent, and how much the kernel of the features has changed at the end.

    The rate grows with the width, so that a neuron's speed does not depend on how many others there are.
    """
    (x, y), neurons = width_data(), [part.requires_grad_() for part in random_neurons(width, seed)]
    kernels, path = [], []
    for step in range(steps + 1):
        features = tanh_features(*neurons, x)
        loss = closed_form_loss(features, y, WIDTH_RIDGE)
        if step % (steps // 20) == 0:
            path.append(loss.item())
        if step in (0, steps):
            kernels.append((features @ features.T).detach())
        with torch.no_grad():
            for part, slope in zip(neurons, torch.autograd.grad(loss, neurons)):
                part.sub_(WIDTH_RATE * width * slope)
    change = (kernels[1] - kernels[0]).norm() / kernels[0].norm()
    return {"loss": path, "kernel change": change.item()}
