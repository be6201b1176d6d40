"""Lesson 01's comparison over seeds: what each method reaches at 1, 2, 4, ... steps, and what it cost to train.

`compare()` and `compare_digits()` make the stored results "01_few_steps" and "01_digits"; the lesson reads
them with `few_steps_table()` and `digits_table()`. Each unit, a law and a seed, is kept under `runs/` as
soon as it is done, so that a run that was killed goes on from there.

Rivals were tuned on seed 100, which is not compared, and share one setting for both laws. Tried were, not in every
combination: for the denoisers 0.001 to 0.032 (`LEARNING_RATES`), and 0.004, 0.008 and 0.016 at equal cost; for progressive
distillation 0.001 to 0.008 from 16 steps, and 0.004 from 64; for consistency 4 to 64 intervals, on a grid or at any
time, with 0.001 to 0.016; for the GAN 0.001 to 0.008, penalties from 0.02 to 10 and Adam's momentum 0.9 or 0.5, with
both players updated together (they now take turns, at the setting found so).
"""

import copy
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from companion.data import images
from companion.foundations import distances, mixtures
from companion.foundations.diffusion import sample, time_grid
from companion.foundations.distances import energy_distance, noise_floor
from companion.foundations.networks import TimeMLP
from companion.foundations.training import TrainingState
from companion.methods.distributional import DistributionalDenoiser, sample_distributional
from companion.methods.rivals import analytic_variance, consistency, gan, progressive
from companion.methods.rivals.analytic_variance import denoising_errors, sample_analytic
from companion.methods.rivals.consistency import ConsistencyModel, distil_consistency, sample_consistency
from companion.methods.rivals.gan import Critic, GanPair, train_gan
from companion.methods.rivals.progressive import distil
from companion.teaching import results
from companion.teaching.lessons import distributional_diffusion as lesson
from companion.teaching.provenance import source_hash
from companion.teaching.session import Session

SOURCES = (*lesson.SOURCES, lesson, distances, mixtures, analytic_variance, consistency, gan, progressive, __name__)
COMMAND = "python -m companion claims"
SEEDS = (0, 1, 2, 3, 4)
STEPS = (1, 2, 4, 8, 16, 64)
DIGIT_STEPS = (1, 2, 4, 8, 16)
POINTS = 4000

LONGER_RATE = 0.016  # of the standard denoiser at equal training cost
PROGRESSIVE = {"start": 64, "steps": 500, "learning_rate": 0.004}  # updates for each halving
CONSISTENCY = {"intervals": 8, "steps": 2000, "learning_rate": 0.004}
GAN = {"grids": (1, 2, 4, 8), "steps": 2000, "learning_rate": 0.002, "penalty": 0.5}  # a pair for each grid

Sampler = Callable[[Tensor, int, torch.Generator], Tensor]


def compare(seeds: tuple[int, ...] = SEEDS) -> None:
    """Energy distance of every method at every number of steps, for both laws, stored as "01_few_steps"."""
    code = source_hash(*SOURCES)
    units = [(name, seed) for name in lesson.LAWS for seed in seeds]
    rows = {unit: _kept("few_steps", unit, compare_unit, code) for unit in tqdm(units, desc="few steps")}
    data = {"steps": STEPS, "seeds": seeds, "points": POINTS, "laws": {}}
    for name in lesson.LAWS:
        per_seed = [rows[name, seed] for seed in seeds]
        data["laws"][name] = {
            "floor": _floor(name),
            "energy_distance": _by_method(per_seed, "energy_distance"),
            "seconds": _by_method(per_seed, "seconds"),
            "evaluations": _by_method(per_seed, "evaluations"),
            "longer_steps": [row["longer_steps"] for row in per_seed],
        }
    _store("01_few_steps", data, code)


def few_steps_table() -> dict[str, Any]:
    """The stored comparison, summed up over seeds.

    Returns a dict with `steps`, `seeds` and, under `laws` for each law, `floor` (noise of the energy distance),
    `median`, `min` and `max` (method -> one number for each number of steps, None where a method has no
    such sampler), `seconds` and `evaluations` (method -> median cost of training, its teacher's included).
    """
    return _summary(results.load("01_few_steps"), "laws", "energy_distance")


def compare_unit(name: str, seed: int, smoke: bool = False) -> dict[str, Any]:
    """Every method trained on one law with one seed: its distances, its training time and its network evaluations."""
    session = Session("smoke" if smoke else "lesson", seed, torch.device("cpu"))
    data = lesson.law(name)
    ratio = _cost_ratio(name, session)
    samplers, seconds, evaluations = {}, {}, {}

    def trained(method: str, states: Iterator[TrainingState], after: str | None = None) -> None:
        """Run a training and book its cost, on top of that of the model it starts from."""
        with _evaluations() as count:
            started = time.process_time()
            for _ in states:
                pass
            seconds[method] = time.process_time() - started + seconds.get(after, 0.0)
        evaluations[method] = count[0] + evaluations.get(after, 0)

    def rate(settings: dict[str, Any]) -> dict[str, Any]:
        steps = 10 if smoke else settings["steps"]
        generator = torch.Generator().manual_seed(1000 + seed)
        return {"steps": steps, "learning_rate": settings["learning_rate"], "generator": generator}

    standard = lesson.denoising(name, "standard", data, session, seed)
    trained("standard", standard.start(None))
    teacher = standard.model
    samplers["standard DDIM"] = _walker(teacher, churn=0.0)
    samplers["standard DDPM"] = _walker(teacher, churn=1.0)
    samplers["standard DDPM, analytic variance"] = _analytic(teacher, data)

    drawing = lesson.denoising(name, "distributional", data, session, seed)
    trained("distributional", drawing.start(None))
    samplers["distributional"] = _walker(drawing.model, churn=1.0)
    samplers["distributional, churn 0"] = _walker(drawing.model, churn=0.0)

    longer_steps = round(ratio * standard.recipe["steps"])
    changes = {"steps": longer_steps, "learning_rate": LONGER_RATE}
    longer = lesson.denoising(name, "standard", data, session, seed, **changes)
    trained("standard, equal cost", longer.start(None))
    samplers["standard DDIM, equal cost"] = _walker(longer.model, churn=0.0)
    samplers["standard DDPM, equal cost"] = _walker(longer.model, churn=1.0)

    students, before = {}, "standard"
    student, steps = teacher, PROGRESSIVE["start"] // 2
    while steps >= 1:
        previous, student = student, copy.deepcopy(student)
        states = distil(student, previous, data, student_steps=steps, **rate(PROGRESSIVE))
        trained("progressive distillation", states, after=before)
        students[steps], before = student, "progressive distillation"
        steps //= 2
    samplers["progressive distillation"] = _by_grid({n: _walker(model, 0.0) for n, model in students.items()})

    consistent = ConsistencyModel(copy.deepcopy(teacher))
    states = distil_consistency(consistent, teacher, data, intervals=CONSISTENCY["intervals"], **rate(CONSISTENCY))
    trained("consistency model", states, after="standard")
    samplers["consistency model"] = lambda x, n, g: _last(sample_consistency(consistent, x, time_grid(n), g))

    pairs = {}
    for grid in GAN["grids"]:
        pairs[grid] = _gan_pair(seed)
        states = train_gan(pairs[grid], data, time_grid(grid), penalty=GAN["penalty"], **rate(GAN))
        trained("denoising diffusion GAN", states)  # each grid needs its own: the cost is that of one
    samplers["denoising diffusion GAN"] = _by_grid({n: _walker(pair.denoiser, 1.0) for n, pair in pairs.items()})

    table = {method: _distances(sampler, data, seed, smoke) for method, sampler in samplers.items()}
    return {
        "energy_distance": table,
        "seconds": seconds,
        "evaluations": evaluations,
        "longer_steps": longer_steps,
    }


def compare_digits(seeds: tuple[int, ...] = SEEDS) -> None:
    """Kernel distance of both denoisers of the digits over training seeds, stored as "01_digits"."""
    code = source_hash(*SOURCES)
    rows = {seed: _kept("digits", ("digits", seed), digits_unit, code) for seed in tqdm(seeds, desc="digits")}
    session = Session("lesson", 0, torch.device("cpu"))
    per_seed = [rows[seed] for seed in seeds]
    digits = {
        "floor": lesson.judge("digits", session).floor,
        "kernel_distance": _by_method(per_seed, "kernel_distance"),
        "seconds": _by_method(per_seed, "seconds"),
        "evaluations": _by_method(per_seed, "evaluations"),
    }
    data = {"steps": DIGIT_STEPS, "seeds": seeds, "data": {"digits": digits}}
    _store("01_digits", data, code)


def digits_table() -> dict[str, Any]:
    """The stored comparison on digits, summed up over training seeds, as `few_steps_table` under `data`."""
    return _summary(results.load("01_digits"), "data", "kernel_distance")


def digits_unit(name: str, seed: int, smoke: bool = False) -> dict[str, Any]:
    """Both denoisers, and the standard one at equal training cost, trained on the digits with one seed."""
    session = Session("smoke" if smoke else "lesson", seed, torch.device("cpu"))
    judge = lesson.judge(name, session)
    data = images.digits("train").images.flatten(1)
    ratio = _cost_ratio(name, session)
    table, seconds, evaluations = {}, {}, {}
    for method, kind, factor in [
        ("standard", "standard", 1.0),
        ("standard, equal cost", "standard", ratio),
        ("distributional", "distributional", 1.0),
    ]:
        job = lesson.denoising(name, kind, data, session, seed)
        job = lesson.denoising(name, kind, data, session, seed, steps=round(factor * job.recipe["steps"]))
        with _evaluations() as count:
            started = time.process_time()
            for _ in job.start(None):
                pass
            seconds[method] = time.process_time() - started
        evaluations[method] = count[0]
        for churn, suffix in [(0.0, " DDIM"), (1.0, " DDPM")]:
            label = (
                method.replace("standard", "standard" + suffix)
                if kind == "standard"
                else f"{method}, churn {churn:.0f}"
            )
            walk = _walker(job.model, churn)
            generator = torch.Generator().manual_seed(10_000 + seed)
            table[label] = []
            for steps in DIGIT_STEPS:
                noise = torch.randn(64 if smoke else len(judge.held_out), data.shape[1], generator=generator)
                table[label].append(judge(walk(noise, steps, generator)))
    return {"kernel_distance": table, "seconds": seconds, "evaluations": evaluations}


def _kept(folder: str, unit: tuple[str, int], compute: Callable[[str, int], dict], code: str) -> dict[str, Any]:
    """The unit's row, from `runs/` if the same code has already made it there."""
    path = lesson.RUNS / folder / f"{unit[0]}-seed{unit[1]}-{code[:12]}.json"
    if not path.exists():
        row = compute(*unit)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(row), encoding="utf-8")
        partial.replace(path)
    return json.loads(path.read_text(encoding="utf-8"))


def _store(name: str, data: dict[str, Any], code: str) -> None:
    """Store under the hash of the code that ran, which a file edited meanwhile no longer has."""
    if source_hash(*SOURCES) != code:
        raise RuntimeError(f"The code changed while {name!r} was made, so it was not stored: run it again.")
    results.store(name, data, SOURCES, COMMAND)


def _by_method(rows: list[dict[str, Any]], entry: str) -> dict[str, list]:
    """method -> one value for each seed."""
    return {method: [row[entry][method] for row in rows] for method in rows[0][entry]}


def _summary(data: dict[str, Any], group: str, entry: str) -> dict[str, Any]:
    """Median, least and greatest over seeds at each number of steps, and the median cost."""
    summary = {"steps": data["steps"], "seeds": data["seeds"], group: {}}
    for name, part in data[group].items():
        columns = {method: list(zip(*rows, strict=True)) for method, rows in part[entry].items()}
        summary[group][name] = {"floor": part["floor"]} | {
            label: {method: [_over_seeds(pick, values) for values in steps] for method, steps in columns.items()}
            for label, pick in {"median": median, "min": min, "max": max}.items()
        }
        for cost in ("seconds", "evaluations"):
            summary[group][name][cost] = {method: median(values) for method, values in part[cost].items()}
    return summary


def _over_seeds(pick: Callable, values: tuple[float | None, ...]) -> float | None:
    return None if values[0] is None else pick(values)


def _distances(sampler: Sampler, data, seed: int, smoke: bool) -> list[float | None]:
    """Energy distance from fresh points at each of `STEPS`; the same noise and points for every method."""
    n = 100 if smoke else POINTS
    generator = torch.Generator().manual_seed(10_000 + seed)
    row = []
    for steps in STEPS:
        noise, fresh = torch.randn(n, 2, generator=generator), data.sample(n, generator)
        points = sampler(noise, steps, torch.Generator().manual_seed(20_000 + seed))
        row.append(None if points is None else energy_distance(points, fresh).item())
    return row


def _floor(name: str) -> float:
    generator, data = torch.Generator().manual_seed(30_000), lesson.law(name)
    return noise_floor(lambda: data.sample(POINTS, generator)).item()


def _last(states: Iterator[Tensor]) -> Tensor:
    *_, last = states
    return last


def _walker(model: nn.Module, churn: float) -> Sampler:
    """The sampler of a denoiser, of either kind."""
    draws = isinstance(model, DistributionalDenoiser) and model.noise_shape is not None
    if draws:
        return lambda x, steps, generator: _last(sample_distributional(model, x, time_grid(steps), churn, generator))
    walk = torch.no_grad()(lambda x, steps, generator: _last(sample(model, x, time_grid(steps), churn, generator)))
    return walk


def _analytic(model: nn.Module, data) -> Sampler:
    def walk(x: Tensor, steps: int, generator: torch.Generator) -> Tensor:
        times = time_grid(steps)
        errors = denoising_errors(model, data, times, generator=generator)
        return _last(sample_analytic(model, x, times, errors, generator))

    return walk


def _by_grid(samplers: dict[int, Sampler]) -> Sampler:
    """The sampler trained for the number of steps asked for; None where there is none."""
    return lambda x, steps, generator: samplers[steps](x, steps, generator) if steps in samplers else None


def _gan_pair(seed: int) -> GanPair:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = TimeMLP(noise_dim=lesson.POINTS["noise"][0], **lesson.POINTS["network"])
        return GanPair(DistributionalDenoiser(generator, tuple(lesson.POINTS["noise"])), Critic(dim=2))


def _cost_ratio(name: str, session: Session, rounds: int = 5) -> float:
    """Time of an update of the distributional denoiser over one of the standard: the least of alternating rounds."""
    data = lesson.law(name) if name in lesson.LAWS else images.digits("train").images.flatten(1)
    times = {kind: [] for kind in lesson.LOSSES}
    for _ in range(rounds):
        for kind, spent in times.items():
            states = lesson.denoising(name, kind, data, session, 0).start(None)
            next(states)
            started = time.process_time()
            for _ in range(20):
                next(states)
            spent.append(time.process_time() - started)
    return min(times["distributional"]) / min(times["standard"])


@contextmanager
def _evaluations() -> Iterator[list[int]]:
    """Counts the points that networks are asked about, forward passes only."""
    count = [0]

    def hook(module: nn.Module, arguments: tuple, _output: Any) -> None:
        if isinstance(module, TimeMLP | Critic):
            count[0] += len(arguments[0])

    handle = nn.modules.module.register_module_forward_hook(hook)
    try:
        yield count
    finally:
        handle.remove()
