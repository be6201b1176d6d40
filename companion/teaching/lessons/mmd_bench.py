"""Lesson 04's comparisons over seeds: kernels from every start, and the hidden plane. Digits are in `mmd_digits`.

`compare_starts()` and `compare_hidden()` make the stored results "04_starts" and "04_hidden". Settings of flows are chosen on
the points that judge them, the best of a grid for each seed: that favours all of them, the largest grid most. What is
trained (critics, generators, diffusion) has settings that were searched on some of the same seeds, which favours it, too.
Seconds are CPU seconds, of training and of sampling.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from companion.foundations import conditional
from companion.foundations.conditional import ConditionalDenoiser, velocity_loss
from companion.foundations.diffusion import sample, time_grid
from companion.foundations.distances import Kernel
from companion.foundations.networks import TimeMLP
from companion.foundations.training import draw_batch, train
from companion.foundations.validation import Number
from companion.methods.mmd_flow import (
    adaptive_flow,
    annealed,
    approximate_flow,
    kale_flow,
    mmd_flow,
    riesz,
    scaled_rbf,
)
from companion.methods.rivals import critic_flow as critics
from companion.methods.rivals import gan, one_pass_gan, sliced_energy
from companion.methods.rivals.critic_flow import PointCritic, critic_flow, falling
from companion.methods.rivals.one_pass_gan import Generator, OnePassPair, train_one_pass
from companion.methods.rivals.sliced_energy import sliced_energy_flow
from companion.teaching import results
from companion.teaching.lessons import deep_mmd
from companion.teaching.lessons.deep_mmd import (
    INNER_STEPS,
    LEVELS,
    SHIPPED_SEEDS,
    Judge,
    fresh,
    judge,
    levels_from,
    start,
    training_of,
    training_set,
    witness,
)
from companion.teaching.session import Session

SOURCES = (*deep_mmd.SOURCES, conditional, gan, critics, one_pass_gan, sliced_energy, __name__)
COMMAND = "python -m companion claims mmd_bench"
SEEDS = SHIPPED_SEEDS

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
KERNEL_STEPS = (1.0, 3.0)
WIDE, NARROW = 8.0, 0.2
ANNEALED_STEP = 2.0
ENERGY_STEP = 3.0
NOISES = (0.3, 1.0)

SINGLE_LEVELS = 9  # of the grid from which the best single level is chosen
FLOW_STEPS = (0.01, 0.03, 0.1, 0.3)


# --- every kernel from every start --------------------------------------------------------------------------------


def starts(seed: int, n: int = 300) -> dict[str, Float[Tensor, "n 2"]]:
    """Where particles come from in the plane: noise as wide as the data, wide noise, and a spot far to one side."""
    noise = torch.randn(3, n, 2, generator=torch.Generator().manual_seed(5000 + seed))
    return {"noise": noise[0], "wide noise": 5 * noise[1], "one side": 0.3 * noise[2] + torch.tensor([12.0, 0.0])}


def kernels(steps: int = 100) -> dict[str, Kernel | Sequence[Kernel]]:
    """The fixed bandwidths, the annealed one, and the energy kernel, which has none."""
    fixed = {f"{bandwidth:g}": scaled_rbf(bandwidth) for bandwidth in BANDWIDTHS}
    return fixed | {"annealed": annealed(WIDE, NARROW, steps), "energy": riesz()}


def compare_starts(seeds: tuple[int, ...] = SEEDS, n: int = 300, steps: int = 100) -> None:
    """Kernel flows in the plane, stored as "04_starts".

    A fixed bandwidth gets the better of two step lengths for each start, and in rows of its own the better of two noises,
    too; the annealed and the energy kernel have one step length for all.
    """
    data: dict[str, Any] = {"seeds": seeds, "bandwidths": BANDWIDTHS, "floor": judge("plane").floor(n), "rows": {}}
    for seed in tqdm(seeds, desc="starts"):
        judged, target = judge("plane", seed), training_set("plane", seed)[:1000]
        for (name, kernel), (place, z) in itertools.product(kernels(steps).items(), starts(seed, n).items()):
            lengths = {"annealed": (ANNEALED_STEP,), "energy": (ENERGY_STEP,)}.get(name, KERNEL_STEPS)
            clouds = [last(mmd_flow(z, target, kernel, length, steps)) for length in lengths]
            data["rows"].setdefault(name, {}).setdefault(place, []).append(min(map(judged.distance, clouds)))
        for (place, z), bandwidth in itertools.product(starts(seed, n).items(), BANDWIDTHS[1:4]):
            tried = []
            for level, length in itertools.product(NOISES, KERNEL_STEPS):
                noises = [level * (1 - step / steps) for step in range(steps)]
                generator = torch.Generator().manual_seed(seed)
                flow = mmd_flow(z, target, scaled_rbf(bandwidth), length, steps, noises, generator)
                tried.append(judged.distance(last(flow)))
            data["rows"].setdefault(f"{bandwidth:g}, noise", {}).setdefault(place, []).append(min(tried))
        data.setdefault("start", []).append({place: judged.distance(z) for place, z in starts(seed, n).items()})
    results.store("04_starts", data, SOURCES, COMMAND)


# --- the hidden plane ---------------------------------------------------------------------------------------------

GRIDS: dict[str, dict[str, Sequence]] = {
    "hidden": {
        "bandwidths": (2.2, 3.0, 4.0),
        "steps": (100.0, 300.0),
        "schedules": ((4.0, 3.0), (6.0, 3.0)),
        "annealed steps": (30.0, 100.0),
        "energy steps": (10.0, 30.0),
    },
    "digits": {
        "bandwidths": (8.0, 16.0, 32.0),
        "steps": (0.3, 1.0, 3.0),
        "schedules": ((32.0, 8.0), (32.0, 4.0), (32.0, 2.0)),
        "annealed steps": (1.0, 2.0),
        "energy steps": (3.0, 10.0),
    },
}
# Critics: (first step length, steps, learning rate, penalty).
RIVALS: dict[str, dict[str, Sequence]] = {
    "hidden": {
        "sliced energy": (3.0, 10.0),
        "wasserstein": ((0.3, 200, 0.002, 1.0), (0.1, 200, 0.002, 1.0)),
        "kl": ((0.1, 100, 0.002, 0.03), (0.1, 100, 0.002, 0.1)),
    },
    "digits": {
        "sliced energy": (0.3, 1.0, 3.0),
        "wasserstein": ((0.3, 200, 0.004, 1.0), (1.0, 200, 0.004, 1.0)),
        "kl": ((1.0, 200, 0.004, 3.0), (3.0, 200, 0.002, 10.0)),
    },
}
GANS: dict[str, dict[str, Any]] = {
    "logistic": {"steps": 2000, "learning_rate": 0.002, "penalty": 2.0, "batch_size": 128},
    "wasserstein": {"steps": 1000, "learning_rate": 0.005, "penalty": 1.0, "critic_steps": 2, "batch_size": 128},
}
DIFFUSION = {"steps": 10_000, "learning_rate": 0.004}
LONG = 300  # steps of the kernel flows that are given more time
EVERY = 20  # steps between two points of a path


def compare_hidden(seeds: tuple[int, ...] = SEEDS, n: int = 500) -> None:
    """Distance in the hidden plane and nearest-train ratio along every flow, stored as "04_hidden"."""
    floor = judge("hidden", seeds[0]).floor(n)
    data: dict[str, Any] = {"seeds": seeds, "floor": floor, "rows": {}, "training": witness_seconds("hidden")}
    for seed in tqdm(seeds, desc="hidden plane"):
        session, judged = Session("lesson", seed, torch.device("cpu")), judge("hidden", seed)
        z = start("hidden", seed, n)
        rows = dict(witness_flows(witness("hidden", session), levels_from("hidden"), z, judged))
        rows |= dict(kernel_flows("hidden", z, judged))
        rows |= dict(trained_rivals("hidden", seed, z, judged))
        rows["start"] = row_of(judged, z)
        for method, row in rows.items():
            data["rows"].setdefault(method, []).append(row)
    results.store("04_hidden", data, SOURCES, COMMAND)


def witness_flows(model, levels, z, judged, seen=None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything that one witness can do from one start; step lengths are the best of the grid."""
    for name, flow in {"adaptive": adaptive_flow, "KALE": kale_flow}.items():
        flows = {length: flow(model, z, levels, length, INNER_STEPS) for length in FLOW_STEPS}
        best = nearest_row(judged, flows, seen)
        again = flow(model, z, levels, best["setting"], INNER_STEPS)
        yield name, best | {"path": path_of(judged, list(again))}
    single = {
        (level.item(), length): adaptive_flow(model, z, level.expand(LEVELS), length, INNER_STEPS)
        for level, length in itertools.product(model.noising.levels(SINGLE_LEVELS), FLOW_STEPS)
    }
    yield "single level", nearest_row(judged, single, seen)
    shares = {share: approximate_flow(model, z, levels, share) for share in (0.6, 0.75, 0.85, 1.0)}
    yield "independent particles", nearest_row(judged, shares, seen)


def kernel_flows(
    name: str, z: Float[Tensor, "n d"], judged: Judge, seen: Callable | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kernel flows in data space: the best setting after 100 steps, and the same one on to 300 steps, as a path."""
    grid, target = GRIDS[name], judged.train
    fixed = itertools.product(grid["bandwidths"], grid["steps"])
    families: dict[str, dict[Any, tuple[Kernel, float]]] = {
        "fixed bandwidth": {(h, length): (scaled_rbf(h), length) for h, length in fixed},
        "energy": {length: (riesz(), length) for length in grid["energy steps"]},
    }
    for family, settings in families.items():
        flows = {setting: mmd_flow(z, target, *pair, 100) for setting, pair in settings.items()}
        best = nearest_row(judged, flows, seen)
        began = time.process_time()
        clouds = list(mmd_flow(z, target, *settings[best["setting"]], LONG))
        seconds = time.process_time() - began
        yield family, best | {"path": path_of(judged, clouds)}
        yield f"{family}, {LONG} steps", row_of(judged, clouds[-1], 0.0, seconds, best["setting"], seen)
    schedules = {
        (*ends, length): mmd_flow(z, target, annealed(*ends, 100), length, 100)
        for ends, length in itertools.product(grid["schedules"], grid["annealed steps"])
    }
    yield "annealed", nearest_row(judged, schedules, seen)


def trained_rivals(
    name: str, seed: int, z: Float[Tensor, "n d"], judged: Judge, seen: Callable | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Critics retrained at every step, generators, a diffusion model; and sliced energy, which trains nothing.

    A critic is trained for one cloud, so its seconds count as sampling.
    """
    settings, target, dimension = RIVALS[name], judged.train, z.shape[1]
    generator = torch.Generator().manual_seed(2000 + seed)
    sliced = {
        length: sliced_energy_flow(z, target, length, 100, momentum=0.9, generator=generator)
        for length in settings["sliced energy"]
    }
    yield "sliced energy", nearest_row(judged, sliced, seen)
    for divergence, title in {"wasserstein": "Wasserstein critic", "kl": "variational KL critic"}.items():
        flows = {}
        for length, steps, rate, penalty in settings[divergence]:
            critic = seeded(lambda: PointCritic(dimension, 128), seed)
            flows[length, penalty] = critic_flow(
                z, target, critic, falling(length, steps), steps, divergence=divergence,
                penalty=penalty, learning_rate=rate, generator=generator,
            )  # fmt: skip
        yield title, nearest_row(judged, flows, seen)
    for loss, title in {"logistic": "GAN", "wasserstein": "Wasserstein GAN"}.items():
        pair = seeded(lambda: OnePassPair(Generator(dimension, 32, 128), PointCritic(dimension, 128)), seed)
        training = train_one_pass(pair, target, loss=loss, generator=generator, **GANS[loss])
        seconds, began = seconds_of(training), time.process_time()
        with torch.no_grad():
            drawn = pair.generator.sample(len(z), generator)
        yield title, row_of(judged, drawn, seconds, time.process_time() - began, None, seen)
    yield "diffusion", diffusion_row(seed, z, judged, seen)


def diffusion_row(seed, z, judged, seen=None) -> dict[str, Any]:
    """A diffusion model about as large as the witness, trained for about as long, 100 steps of DDIM."""
    model = seeded(lambda: ConditionalDenoiser(TimeMLP(z.shape[1], 8, width=128), 1, 8), seed)
    generator, target = torch.Generator().manual_seed(3000 + seed), judged.train

    def loss(model: ConditionalDenoiser) -> Tensor:
        points = draw_batch(target, 256, generator)
        return velocity_loss(model, points, torch.zeros(len(points), dtype=torch.long), 1.0, generator)

    seconds = seconds_of(train(model, loss, **DIFFUSION, generator=generator))
    noise, began = torch.randn(z.shape, generator=generator), time.process_time()
    with torch.no_grad():
        cloud = last(sample(model.unconditional, noise, time_grid(100)))
    return row_of(judged, cloud, seconds, time.process_time() - began, None, seen)


# --- rows ---------------------------------------------------------------------------------------------------------


def nearest_row(judged: Judge, flows: dict[Any, Iterable[Tensor]], seen: Callable | None = None) -> dict[str, Any]:
    """The row of the flow that ends nearest to the fresh points; with a classifier's judge, its own best, too."""
    rows = []
    for setting, flow in flows.items():
        began = time.process_time()
        cloud = last(flow)
        if cloud.isfinite().all():
            rows.append(row_of(judged, cloud, 0.0, time.process_time() - began, setting, seen))
    best = min(rows, key=lambda row: row["distance"])
    return best if seen is None else best | {"best_classifier": min(row["classifier"] for row in rows)}


def path_of(judged: Judge, clouds: Sequence[Tensor]) -> list[list[Number]]:
    """(step, distance, nearest-train ratio) of every so many clouds of a flow."""
    return [[step, judged.distance(clouds[step]), judged.ratio(clouds[step])] for step in range(0, len(clouds), EVERY)]


def row_of(
    judged: Judge,
    points: Float[Tensor, "n d"],
    training: float = 0.0,
    sampling: float = 0.0,
    setting: Any = None,
    seen: Callable | None = None,
) -> dict[str, Any]:
    """What is stored of a cloud."""
    row = {"distance": judged.distance(points), "ratio": judged.ratio(points)}
    row |= {"training": training, "sampling": sampling, "setting": setting}
    if seen is not None:
        row |= {"classifier": seen(points), "coverage": judged.coverage(points)}
        row["copies"] = (judged.nearest(points) < 0.5).double().mean().item()
    return row


def last(states: Iterable[Tensor]) -> Tensor:
    return deque(states, maxlen=1).pop()


def seconds_of(states: Iterable) -> float:
    """Exhaust a training; the CPU seconds that it took."""
    began = time.process_time()
    deque(states, maxlen=0)
    return time.process_time() - began


def witness_seconds(name: str) -> float:
    """CPU seconds of training one witness, measured on the first seed."""
    return seconds_of(training_of(fresh(name, SEEDS[0]), name, SEEDS[0]))


def seeded(make: Callable[[], torch.nn.Module], seed: int) -> torch.nn.Module:
    """A fresh network, drawn from `seed` without touching the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
