"""Lesson 04: witnesses for three data sets, the starts that particles come from, and what judges where they end.

"plane": eight Gaussians. "hidden": the same in a hidden plane of 64 dimensions. "digits": 8x8 images as rows of 64 pixels.
The first two start from N(0, I) and their noise preserves variance; digits start from wide noise, and theirs explodes.
At `full` there are fashion images, too, with a convolutional network of features.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from companion.data import hidden_plane, images, toy
from companion.data.hidden_plane import HiddenPlane
from companion.data.toy import eight_gaussians
from companion.foundations import diffusion, distances, networks, training
from companion.foundations.distances import energy_distance, pairwise_distance
from companion.foundations.networks import time_features
from companion.foundations.training import TrainingState
from companion.foundations.validation import require
from companion.methods import mmd_flow
from companion.methods.mmd_flow import (
    FeatureMLP,
    NoiseConditionalWitness,
    VarianceExploding,
    VariancePreserving,
    train_witness,
)
from companion.teaching.checkpoints import checkpoint_path, load_or_train, resumable, run, save_checkpoint
from companion.teaching.lessons import distributional_diffusion
from companion.teaching.session import Session

SOURCES = (diffusion, distances, networks, training, toy, hidden_plane, images, mmd_flow, __name__)
RUNS = Path("runs")  # in the reader's folder: where a long training is saved as it goes

SHIPPED_SEEDS = (0, 1, 2, 3, 4)
RECIPES: dict[str, dict[str, Any]] = {
    "plane": {
        "network": {"dim": 2, "num_features": 64, "width": 64, "scale": 3.0},
        "steps": 3000,
        "learning_rate": 0.008,
        "shrinkage": 0.001,
    },
    "hidden": {"network": {"dim": 64, "num_features": 64, "width": 128}, "steps": 3000},
    "digits": {
        "network": {"dim": 64, "num_features": 64, "width": 128},
        "steps": 2500,
        "learning_rate": 0.004,
        "shrinkage": 0.001,
    },
    "fashion": {"network": {"num_features": 128, "width": 64}, "steps": 20_000, "batch_size": 256},
}
SMOKE_FASHION = {"network": {"num_features": 8, "width": 8}, "steps": 2, "batch_size": 4}
NOISINGS = {
    "plane": VariancePreserving(),
    "hidden": VariancePreserving(),
    "digits": VarianceExploding(low=0.1, high=10.0, data_std=0.65),
    "fashion": VarianceExploding(low=0.1, high=10.0, data_std=0.7),
}
TRAINING_POINTS = {"plane": 2000, "hidden": 4000}
LEVELS, INNER_STEPS = 25, 4  # of a flow, unless said otherwise: 100 steps
NEAREST = 5  # neighbours that make the ball of a held-out image, for coverage


# --- data and starts ----------------------------------------------------------------------------------------------


def training_set(name: str, seed: int = 0, device: torch.device | str = "cpu") -> Float[Tensor, "n *event"]:
    """What a witness of `name` is trained on, drawn from the seed; images are always the same."""
    require(name in RECIPES, "name", repr(name), " or ".join(map(repr, RECIPES)))
    if name in TRAINING_POINTS:
        points = law(name, seed).sample(TRAINING_POINTS[name], torch.Generator().manual_seed(9000 + seed))
    else:
        points = images.digits("train").images.flatten(1) if name == "digits" else images.fashion("train").images
    return points.to(device)


def law(name: str, seed: int = 0):
    """The law behind "plane" or "hidden"; the seed turns the hidden plane."""
    return eight_gaussians(2.0, 0.14) if name == "plane" else HiddenPlane(seed=seed)


def start(name: str, seed: int = 0, n: int = 500, distance: float | None = None) -> Float[Tensor, "n *event"]:
    """Where particles come from: N(0, I), or for images their mean with noise of std `distance` (the highest level)."""
    generator = torch.Generator().manual_seed(5000 + seed)
    if name in TRAINING_POINTS:
        return torch.randn(n, 2 if name == "plane" else 64, generator=generator)
    mean = training_set(name).mean(0)
    std = NOISINGS[name].high if distance is None else distance
    return mean + std * torch.randn(n, *mean.shape, generator=generator)


def levels_from(name: str, distance: float | None = None, count: int = LEVELS) -> Float[Tensor, " levels"]:
    """The falling levels of a flow that starts `distance` away; None: all the way from the highest."""
    noising = NOISINGS[name]
    return (noising if distance is None else replace(noising, high=distance)).levels(count)


# --- witnesses ----------------------------------------------------------------------------------------------------


def witness(name: str, session: Session) -> NoiseConditionalWitness:
    """The trained witness of "plane", "hidden", "digits" or, at `full`, "fashion".

    Those of `SHIPPED_SEEDS` come with the package, fashion's apart; another seed is trained here (up to half a
    minute), or at `smoke` takes a shipped one. Fashion's training is saved under `runs/` as it goes.
    """
    if name == "fashion":
        return _fashion_witness(session)
    seed = session.seed % len(SHIPPED_SEEDS) if session.profile == "smoke" else session.seed
    model = fresh(name, seed).to(session.device)
    states = lambda: training_of(model, name, seed)  # noqa: E731
    return load_or_train(f"04-{name}", model, states, RECIPES[name], SOURCES, seed).requires_grad_(False)


def fresh(name: str, seed: int, settings: dict[str, Any] | None = None) -> NoiseConditionalWitness:
    """An untrained witness, drawn from `seed` without touching the global random state."""
    settings = RECIPES[name]["network"] if settings is None else settings
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ImageFeatures(**settings) if name == "fashion" else FeatureMLP(**settings)
        return NoiseConditionalWitness(network, NOISINGS[name])


def training_of(model: NoiseConditionalWitness, name: str, seed: int, **changes: Any) -> Iterator[TrainingState]:
    """The training of a witness; `changes` replace settings of `train_witness`."""
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(1000 + seed)
    settings = {key: value for key, value in RECIPES[name].items() if key != "network"} | changes
    return train_witness(model, training_set(name, seed, device), **settings, generator=generator)


def rebuild_checkpoints() -> None:
    """Train all witnesses that ship, on the CPU, and write them beside `companion.teaching.checkpoints`."""
    for name in ("plane", "hidden", "digits"):
        for seed in SHIPPED_SEEDS:
            model = fresh(name, seed)
            run(training_of(model, name, seed), RECIPES[name]["steps"], f"{name}, seed {seed}")
            save_checkpoint(checkpoint_path(f"04-{name}", seed), model, RECIPES[name], SOURCES)


class ImageFeatures(nn.Module):
    """Features of images, (x (n, 1, h, w), position () or (n,)) -> (n, num_features): four convolutions, halving three times."""

    def __init__(self, num_features: int = 128, width: int = 64) -> None:
        super().__init__()
        self.num_features = num_features
        widths = (width, width, 2 * width, 4 * width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=1 if place == 0 else 2, padding=1)
            for place, (before, after) in enumerate(zip((1, *widths[:-1]), widths, strict=True))
        )
        self.positions = nn.ModuleList(nn.Linear(13, after) for after in widths)
        self.head = nn.Linear(4 * width, num_features)

    def forward(self, x: Float[Tensor, "n 1 h w"], position: Float[Tensor, "*n"]) -> Float[Tensor, "n p"]:
        time = time_features(position.reshape(-1))
        for convolution, embed in zip(self.convolutions, self.positions, strict=True):
            x = nn.functional.silu(convolution(x) + embed(time)[..., None, None])
        return self.head(x.mean((2, 3)))


def _fashion_witness(session: Session) -> NoiseConditionalWitness:
    recipe = session.pick(smoke=SMOKE_FASHION, lesson=RECIPES["fashion"])
    model = fresh("fashion", session.seed, recipe["network"]).to(session.device)
    data, generator = training_set("fashion", session.seed, session.device), session.generator(1)
    settings = {key: value for key, value in recipe.items() if key != "network"}
    begin = lambda resume: train_witness(model, data, **settings, generator=generator, resume=resume)  # noqa: E731
    path = RUNS / f"04-fashion-{recipe['steps']}-seed{session.seed}.pt"
    run(resumable(begin, path, every=500), recipe["steps"], "fashion")
    return model.eval().requires_grad_(False)


# --- judges -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judge:
    """What a cloud is judged by. Distances are unbiased energy distances.

    Attributes:
        train: the points that a flow could copy.
        fresh: points of the same law that it never saw.
        hidden: the law of a hidden plane, or None.
    """

    train: Float[Tensor, "n d"]
    fresh: Float[Tensor, "m d"]
    hidden: HiddenPlane | None = None

    def distance(self, points: Float[Tensor, "k d"]) -> float:
        """Energy distance from the fresh points; in the hidden plane, where there is one (no method knows it)."""
        see = (lambda cloud: cloud) if self.hidden is None else self.hidden.plane
        return energy_distance(see(points), see(self.fresh)).item()

    def nearest(self, points: Float[Tensor, "k d"]) -> Float[Tensor, " k"]:
        """How far each point is from the nearest training point, over the median of fresh points: 0 is a copy."""
        return _nearest(points, self.train) / self._usual

    def ratio(self, points: Float[Tensor, "k d"]) -> float:
        """The nearest-train ratio, the median of `nearest`: 1 is like fresh data, less is memorising."""
        return self.nearest(points).median().item()

    def coverage(self, points: Float[Tensor, "k d"]) -> float:
        """The share of fresh points with a point no farther than their fifth neighbour among themselves."""
        return (pairwise_distance(self.fresh, points).amin(1) <= self._radii).double().mean().item()

    @cached_property
    def _usual(self) -> Tensor:
        return _nearest(self.fresh, self.train).median()

    @cached_property
    def _radii(self) -> Tensor:
        return pairwise_distance(self.fresh, self.fresh).kthvalue(NEAREST + 1, dim=1).values

    def floor(self, n: int = 500, repeats: int = 20) -> float:
        """Standard deviation of the distance between fresh points and as many others as particles: of the law itself."""
        generator = torch.Generator().manual_seed(4000)
        real = torch.cat([self.train, self.fresh])
        distances = []
        for _ in range(repeats):
            order = torch.randperm(len(real), generator=generator)
            halves = replace(self, fresh=real[order[n : n + len(self.fresh)]])
            distances.append(halves.distance(real[order[:n]]))
        return torch.tensor(distances).std().item()


def judge(name: str, seed: int = 0) -> Judge:
    """The judge of "plane", "hidden" (2,000 fresh points) or "digits" (597 held out)."""
    require(name in ("plane", "hidden", "digits"), "name", repr(name), '"plane", "hidden" or "digits"')
    if name == "digits":
        return Judge(training_set(name), images.digits("test").images.flatten(1))
    points = law(name, seed).sample(2000, torch.Generator().manual_seed(7000 + seed))
    return Judge(training_set(name, seed), points, law(name, seed) if name == "hidden" else None)


def classifier_judge(session: Session) -> distributional_diffusion.Judge:
    """Lesson 01's judge of digits: a kernel distance in a classifier's features, of images clipped to [-1, 1]."""
    return distributional_diffusion.judge("digits", session)


def gaussian_fit(points: Float[Tensor, "rows d"], n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
    """Draws of the Gaussian with the mean and covariance of the points: a reference that costs nothing."""
    factor = torch.linalg.cholesky(torch.cov(points.T) + 1e-4 * torch.eye(points.shape[1]))
    return points.mean(0) + torch.randn(n, points.shape[1], generator=generator) @ factor.T


def _nearest(points: Tensor, others: Tensor) -> Tensor:
    return pairwise_distance(points, others).amin(1)
