"""Lesson 02: its small draft models, its tests of exactness, and its comparisons over seeds.

The targets are lesson 01's standard denoisers. The draft models are denoisers of the same data with far smaller
networks, trained by the same recipe. `compare()`, `compare_limits()` and `compare_rivals()` make the stored results
"02_rounds", "02_limits" and "02_rivals".

Few-step samplers choose their grid, `time_grid(steps) ** power`, and their churn on seed 100, which is not
compared, separately for every number of steps: on points by how far the width of the modes is from the truth (the energy
distance hardly tells them apart), on digits by the kernel distance. Picard's tolerances are shown side by side.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from statistics import mean
from typing import Any

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor, nn
from tqdm.auto import tqdm

from companion.data import images, toy
from companion.foundations import diffusion, distances, mixtures, networks, training
from companion.foundations.diffusion import Denoiser, sample, time_grid
from companion.foundations.distances import energy_distance, noise_floor, pairwise_distance
from companion.foundations.mixtures import GaussianMixture
from companion.foundations.validation import Number, require
from companion.methods import distributional, speculative
from companion.methods.rivals import picard
from companion.methods.rivals.picard import sample_picard
from companion.methods.speculative import SpeculativeRun, aimed_residuals, speculative_sample
from companion.teaching import results
from companion.teaching.checkpoints import checkpoint_path, load_or_train, run, save_checkpoint
from companion.teaching.lessons import distributional_diffusion as denoisers
from companion.teaching.session import Session

MODELS = (diffusion, networks, training, distributional, toy, images)
SOURCES = (*MODELS, distances, mixtures, speculative, picard, denoisers, __name__)
COMMAND = "python -m companion claims"
SEEDS = (0, 1, 2, 3, 4)
TUNING_SEED = 100

DRAFTS = {
    "eight_gaussians": {"dim": 2, "width": 16, "depth": 2},
    "digits": {"dim": 64, "width": 32, "depth": 1},
}
KINDS = ("frozen prediction", "frozen drift", "small model")
GRID = {"steps": (50, 100, 500), "windows": (2, 4, 8, 16)}
WINDOWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
DIMENSIONS = (2, 8, 32, 128, 512, 2048, 8192, 32768)
CHURNS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
FEW_STEPS = (10, 20, 30)
POWERS = (1.0, 1.5, 2.0, 3.0)
NARROW = 0.05  # std of the modes in the comparison with rivals: a sampler that cuts corners blurs or shrinks them


# --- models -------------------------------------------------------------------------------------------------------


def draft_model(name: str, session: Session) -> nn.Module:
    """The small draft of "eight_gaussians" (seeds 0 to 4 ship) or "digits" (seed 0 ships), ready for use.

    Raises:
        ValueError: another name.
    """
    require(name in DRAFTS, "name", repr(name), " or ".join(map(repr, DRAFTS)))
    smoke_seed = session.seed % len(denoisers.SHIPPED_SEEDS)
    seed = 0 if name == "digits" else smoke_seed if session.profile == "smoke" else session.seed
    job = _drafting(name, seed, session.device)
    return load_or_train(job.name, job.model, lambda: job.start(None), job.recipe, MODELS, seed)


def rebuild_checkpoints() -> None:
    """Train the drafts that ship, on the CPU."""
    for name, seed in [("eight_gaussians", seed) for seed in denoisers.SHIPPED_SEEDS] + [("digits", 0)]:
        job = _drafting(name, seed, torch.device("cpu"))
        run(job.start(None), job.recipe["steps"], f"{job.name}, seed {seed}")
        save_checkpoint(checkpoint_path(job.name, seed), job.model, job.recipe, MODELS)


def _drafting(name: str, seed: int, device: torch.device) -> denoisers.Training:
    session = Session("lesson", seed, device)
    points = name in denoisers.LAWS
    data = denoisers.law(name, device) if points else images.digits("train").images.flatten(1).to(device)
    job = denoisers.denoising(name, "standard", data, session, seed, network=DRAFTS[name])
    return replace(job, name=f"02-{name}-draft")


# --- is it exact? -------------------------------------------------------------------------------------------------


def step_p_value(denoiser: Denoiser, path: Float[Tensor, "K1 n *event"], times: Tensor, churn: Number = 1.0) -> float:
    """Kolmogorov and Smirnov's p-value for `aimed_residuals` of a path being standard normal."""
    residuals = aimed_residuals(denoiser, path, times, churn)
    return float(stats.kstest(residuals.flatten().double().cpu().numpy(), "norm").pvalue)


def sample_p_value(
    x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], generator: torch.Generator, permutations: int = 499
) -> float:
    """Permutation p-value of the energy distance between two clouds of equal size (Székely and Rizzo 2013)."""
    n = len(x)
    together = torch.cat([x, y]).double()
    apart = pairwise_distance(together, together)
    signs = torch.ones(2 * n, permutations + 1, dtype=apart.dtype, device=apart.device)
    signs[n:, 0] = -1
    for column in range(1, permutations + 1):
        chosen = torch.randperm(2 * n, generator=generator, device=generator.device)[:n]
        signs[chosen.to(apart.device), column] = -1
    distance = -(signs * (apart @ signs)).sum(0)
    return (distance >= distance[0]).double().mean().item()


# --- what it costs ------------------------------------------------------------------------------------------------


def wall_clock(
    rounds: Number, evaluations: Number, draft_rounds: Number, point_cost: Number, draft_cost: Number
) -> float:
    """Time of one chain by a simple model of latency, in calls of the target on one point.

    A call on b points takes `1 + point_cost (b - 1)`, a call of the draft `draft_cost`.

    Args:
        rounds, evaluations, draft_rounds: of one chain, on average.
        point_cost: 0 where the batch is free, 1 where points are worked through one after another.
        draft_cost: of the draft model; a frozen draft makes no calls.
    """
    return rounds + point_cost * (evaluations - rounds) + draft_cost * draft_rounds


def speed_ups(
    drafts: dict[str, dict[str, list]], windows: list[int], steps: int, point_cost: Number, draft_cost: Number
) -> dict[str, list[float]]:
    """For each draft and window of a stored comparison, the slow sampler's time over ours, by `wall_clock`."""
    return {
        kind: [
            steps / wall_clock(*(mean(counts[name][place]) for name in COUNTS), point_cost, draft_cost)
            for place in range(len(windows))
        ]
        for kind, counts in drafts.items()
    }


COUNTS = ("rounds", "evaluations", "draft_rounds")


def compare(seeds: tuple[int, ...] = SEEDS, chains: int = 1000) -> None:
    """Rounds against steps, window and draft, stored as "02_rounds"."""
    exact = {
        str(steps): [[_exact_counts(seed, steps, window, chains) for seed in seeds] for window in GRID["windows"]]
        for steps in tqdm(GRID["steps"], desc="rounds")
    }
    drafts = {
        name: {
            kind: _columns([[_draft_counts(name, kind, seed, window, chains) for seed in seeds] for window in WINDOWS])
            for kind in tqdm(KINDS, desc=f"drafts, {name}")
        }
        for name in DRAFTS
    }
    data = {
        "seeds": seeds,
        "chains": chains,
        "windows": GRID["windows"],
        "exact": {steps: _columns(rows) for steps, rows in exact.items()},
        "draft_windows": WINDOWS,
        "draft_steps": 100,
        "drafts": drafts,
    }
    results.store("02_rounds", data, SOURCES, COMMAND)


def compare_limits(seeds: tuple[int, ...] = SEEDS, steps: int = 100, window: int = 8) -> None:
    """Rounds against dimension and churn, stored as "02_limits"."""
    by_dimension = {
        kind: [[_dimension_counts(kind, d, seed, steps, window) for seed in seeds] for d in DIMENSIONS]
        for kind in tqdm(("separated modes", "one broad Gaussian"), desc="dimension")
    }
    by_churn = {
        name: [[_churn_counts(name, churn, seed, steps, window) for seed in seeds] for churn in CHURNS]
        for name in tqdm(DRAFTS, desc="churn")
    }
    data = {
        "seeds": seeds,
        "steps": steps,
        "window": window,
        "dimensions": DIMENSIONS,
        "by_dimension": {kind: _columns(rows) for kind, rows in by_dimension.items()},
        "churns": CHURNS,
        "by_churn": {name: _columns(rows) for name, rows in by_churn.items()},
    }
    results.store("02_limits", data, SOURCES, COMMAND)


def compare_rivals(seeds: tuple[int, ...] = SEEDS, steps: int = 100, chains: int = 4000) -> None:
    """What each fast sampler costs and how far it lands from data and slow sampler, stored as "02_rivals"."""
    data: dict[str, Any] = {"seeds": seeds, "steps": steps, "settings": {}, "rows": {}}
    for name, judge, target, start in (_narrow_points(chains), _digits()):
        settings = _tuned(judge, target, start)
        methods = _rivals(target, steps, settings)
        rows = {method: [] for method in methods}
        for seed, (method, sampler) in tqdm(list(itertools.product(seeds, methods.items())), desc=f"rivals, {name}"):
            generator = torch.Generator().manual_seed(20_000 + seed)
            points, counts = sampler(start(generator), generator)
            rows[method].append(counts | judge(points, generator))
        data["rows"][name] = {method: _columns([units]) for method, units in rows.items()}
        data["settings"][name] = {
            str(few): {"power": power, "churn": churn} for few, (power, churn) in settings.items()
        }
        data["rows"][name]["floor"] = judge(None, torch.Generator().manual_seed(30_000))
    results.store("02_rivals", data, SOURCES, COMMAND)


def counts(run: SpeculativeRun) -> dict[str, float]:
    """Of one chain, on average: rounds, evaluations, draft_rounds; and the worst chain's rounds."""
    return {
        "rounds": run.rounds.double().mean().item(),
        "evaluations": run.evaluations / len(run.sample),
        "draft_rounds": run.draft_rounds.double().mean().item(),
        "acceptance": run.acceptance,
        "most_rounds": run.rounds.max().item(),
    }


def _columns(rows: list[list[dict[str, float]]]) -> dict[str, list[list[float]]]:
    """count -> for each setting, one value for each seed."""
    return {name: [[unit[name] for unit in units] for units in rows] for name in rows[0][0]}


def _exact_counts(seed: int, steps: int, window: int, chains: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(10_000 + seed)
    start = torch.randn(chains, 2, generator=generator)
    law = toy.eight_gaussians()
    return counts(speculative_sample(law.denoise, start, time_grid(steps), window, generator=generator))


def _draft_counts(name: str, kind: str, seed: int, window: int, chains: int) -> dict[str, float]:
    """A trained target with one of `KINDS`. On digits there is one target: only the samples follow the seed."""
    session = Session("lesson", seed, torch.device("cpu"))
    target = denoisers.digits_models(session) if name == "digits" else denoisers.models(name, session)
    generator = torch.Generator().manual_seed(11_000 + seed)
    start = torch.randn(chains // 4 if name == "digits" else chains, DRAFTS[name]["dim"], generator=generator)
    draft = draft_model(name, session) if kind == "small model" else None
    freeze = "drift" if kind == "frozen drift" else "prediction"
    grid = time_grid(100)
    return counts(
        speculative_sample(target.standard, start, grid, window, draft=draft, generator=generator, freeze=freeze)
    )


def broad_or_separated(kind: str, dimension: int, generator: torch.Generator) -> GaussianMixture:
    """Two laws in many dimensions: eight narrow modes at distance sqrt(d) / 2 from 0, or one standard Gaussian."""
    if kind == "one broad Gaussian":
        return GaussianMixture(torch.zeros(1, dimension), torch.ones(1))
    directions = nn.functional.normalize(torch.randn(8, dimension, generator=generator))
    return GaussianMixture(dimension**0.5 / 2 * directions, torch.full((8,), 0.15))


def _dimension_counts(kind: str, dimension: int, seed: int, steps: int, window: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(12_000 + seed)
    law = broad_or_separated(kind, dimension, generator)
    start = torch.randn(max(2, min(200, 2**15 // dimension)), dimension, generator=generator)
    run = speculative_sample(law.denoise, start, time_grid(steps), window, generator=generator, keep_path=False)
    return counts(run)


def _churn_counts(name: str, churn: float, seed: int, steps: int, window: int) -> dict[str, float]:
    session = Session("lesson", seed, torch.device("cpu"))
    target = denoisers.digits_models(session).standard if name == "digits" else toy.eight_gaussians().denoise
    generator = torch.Generator().manual_seed(13_000 + seed)
    start = torch.randn(200, DRAFTS[name]["dim"], generator=generator)
    return counts(speculative_sample(target, start, time_grid(steps), window, churn, generator=generator))


Start = Callable[[torch.Generator], Tensor]
Judge = Callable[[Tensor | None, torch.Generator], dict[str, float]]


def _narrow_points(chains: int) -> tuple[str, Judge, Denoiser, Start]:
    law = toy.eight_gaussians(std=NARROW)

    def judge(points: Tensor | None, generator: torch.Generator) -> dict[str, float]:
        if points is None:
            return {"distance": noise_floor(lambda: law.sample(chains, generator)).item()}
        width = mode_width(law, points)
        distance = energy_distance(points, law.sample(chains, generator)).item()
        return {"distance": distance, "width": width, "error": abs(width - 1)}

    return "points", judge, law.denoise, lambda generator: torch.randn(chains, 2, generator=generator)


def _digits() -> tuple[str, Judge, Denoiser, Start]:
    session = Session("lesson", 0, torch.device("cpu"))
    features, target = denoisers.judge("digits", session), denoisers.digits_models(session).standard

    def judge(points: Tensor | None, generator: torch.Generator) -> dict[str, float]:
        distance = features.floor if points is None else features(points)
        return {"distance": distance, "error": distance}

    count = len(features.held_out)
    return "digits", judge, target, lambda generator: torch.randn(count, 64, generator=generator)


def mode_width(law: GaussianMixture, points: Float[Tensor, "n d"]) -> float:
    """Root mean square distance of points from their mode, over that of the law itself: 1 is right.

    Points further than eight standard deviations from every mode are left out.
    """
    distance, nearest = pairwise_distance(points, law.means).min(1)
    std = law.stds[nearest]
    near = distance < 8 * std
    return ((distance / std)[near].square().mean() / points.shape[1]).sqrt().item()


def _walk(target: Denoiser, start: Tensor, times: Tensor, churn: float, generator: torch.Generator) -> Tensor:
    with torch.no_grad():
        *_, points = sample(target, start, times, churn, generator)
    return points


def _tuned(judge: Judge, target: Denoiser, start: Start) -> dict[int, tuple[float, float]]:
    """For each small number of steps the power of the grid and the churn with the smallest error."""

    def error(few: int, power: float, churn: float) -> float:
        generator = torch.Generator().manual_seed(TUNING_SEED)
        total = [
            judge(_walk(target, start(generator), time_grid(few) ** power, churn, generator), generator)["error"]
            for _ in range(3)
        ]
        return mean(total)

    settings = list(itertools.product(POWERS, (0.0, 0.5, 1.0)))
    return {few: min(settings, key=lambda setting: error(few, *setting)) for few in FEW_STEPS}


def _rivals(target: Denoiser, steps: int, settings: dict[int, tuple[float, float]]) -> dict[str, Callable]:
    """method -> a callable (start, generator) -> points and what one chain cost."""

    def plain(few: int, power: float, churn: float) -> Callable:
        def sampler(start: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
            points = _walk(target, start, time_grid(few) ** power, churn, generator)
            return points, {"rounds": float(few), "evaluations": float(few)}

        return sampler

    def speculation(window: int) -> Callable:
        def sampler(start: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
            run = speculative_sample(target, start, time_grid(steps), window, generator=generator, keep_path=False)
            return run.sample, {name: counts(run)[name] for name in ("rounds", "evaluations")}

        return sampler

    def correction(window: int, tolerance: float) -> Callable:
        def sampler(start: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
            run = sample_picard(target, start, time_grid(steps), window, tolerance, generator=generator)
            cost = {"rounds": run.rounds.double().mean().item(), "evaluations": run.evaluations / len(start)}
            return run.sample, cost

        return sampler

    methods = {f"the slow sampler, {steps} steps": plain(steps, 1.0, 1.0)}
    methods |= {f"speculative, window {window}": speculation(window) for window in (8, 16)}
    methods |= {f"Picard, tolerance {tolerance:g}": correction(16, tolerance) for tolerance in (0.001, 0.01, 0.1, 1.0)}
    methods |= {f"DDIM, {few} steps": plain(few, 1.0, 0.0) for few in FEW_STEPS}
    methods |= {f"DDPM, {few} steps": plain(few, 1.0, 1.0) for few in FEW_STEPS}
    return methods | {f"tuned, {few} steps": plain(few, *settings[few]) for few in FEW_STEPS}
