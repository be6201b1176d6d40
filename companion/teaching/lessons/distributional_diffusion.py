"""Lesson 01: its denoisers, standard and distributional, on points, on digits and, at `full`, on fashion images.

The two of a pair share a network, a batch size, a number of updates and a data set; each has the learning
rate that suited it best on a seed used nowhere else: on points and digits out of `LEARNING_RATES`, while those of
the fashion images and of the classifiers were chosen without a search. What differs is the loss: regression on
one prediction, or the energy score of eight draws.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from companion.data import images, toy
from companion.foundations import diffusion, distances, networks, training
from companion.foundations.distances import Kernel, mmd2, pairwise_distance, rational_quadratic
from companion.foundations.networks import ResidualNet, TimeMLP, UNet
from companion.foundations.training import Data, Law, TrainingState, draw_batch, train
from companion.foundations.validation import require
from companion.methods import distributional
from companion.methods.distributional import DistributionalDenoiser, train_distributional
from companion.teaching.checkpoints import checkpoint_path, load_or_train, resumable, run, save_checkpoint
from companion.teaching.session import Session

SOURCES = (diffusion, distances, networks, training, distributional, toy, images)
RUNS = Path("runs")  # in the reader's folder: where a long training is saved as it goes

LAWS = ("eight_gaussians", "checkerboard")
SHIPPED_SEEDS = (0, 1, 2, 3, 4)
LEARNING_RATES = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032)  # the grid of points and digits
LOSSES = {
    "standard": {"population": 1, "beta": 2.0, "lam": 0.0},
    "distributional": {"population": 8, "beta": 1.0, "lam": 1.0},
}
POINTS = {"network": {"dim": 2, "width": 64, "depth": 3}, "noise": [8], "steps": 4000, "batch_size": 256}
DIGITS = {"network": {"dim": 64, "width": 128, "depth": 3}, "noise": [16], "steps": 2000, "batch_size": 128}
FASHION = {"network": {"width": 64, "levels": 3}, "noise": [1, 32, 32], "steps": 10_000, "batch_size": 128}
RATES = {
    "points": {"standard": 0.008, "distributional": 0.016},
    "digits": {"standard": 0.008, "distributional": 0.004},
    "fashion": {"standard": 0.001, "distributional": 0.001},
}
FEATURES = {
    "digits": {"network": {"width": 8}, "steps": 400, "batch_size": 128, "learning_rate": 0.005},
    "fashion": {"network": {"width": 16}, "steps": 2000, "batch_size": 128, "learning_rate": 0.005},
}
SMOKE = {"steps": 30, "batch_size": 32}
SMOKE_FASHION = {"network": {"width": 8, "levels": 2}, "steps": 5, "batch_size": 8}


class Pair(NamedTuple):
    """Two denoisers of one data set: `standard` predicts the mean of the clean point, `distributional` draws it."""

    standard: DistributionalDenoiser
    distributional: DistributionalDenoiser


@dataclass(frozen=True)
class Training:
    """A model that could be trained: its name, its settings and how it starts, from the beginning or a saved state."""

    name: str
    model: nn.Module
    recipe: dict[str, Any]
    start: Callable[[dict[str, Any] | None], Iterator[TrainingState]]


def law(name: str, device: torch.device | str = "cpu") -> Law:
    """The law in the plane called `name`, one of `LAWS`.

    Raises:
        ValueError: another name.
    """
    require(name in LAWS, "law", repr(name), " or ".join(map(repr, LAWS)))
    return toy.Checkerboard(str(device)) if name == "checkerboard" else toy.eight_gaussians().to(device)


def models(name: str, session: Session) -> Pair:
    """Both denoisers of a law in the plane.

    Those of the seeds in `SHIPPED_SEEDS` come with the package; another seed is trained here (about 30 s), or
    at `smoke` takes the weights of a shipped one.
    """
    seed = session.seed % len(SHIPPED_SEEDS) if session.profile == "smoke" else session.seed
    return _pair(name, law(name, session.device), session, seed)


def digits_models(session: Session) -> Pair:
    """Both denoisers of the 8x8 digits, as rows of 64 pixels.

    They are always those of seed 0, which ship with the package: only the samples follow the session's seed.
    The stored result "01_digits" compares over training seeds.
    """
    return _pair("digits", images.digits("train").images.flatten(1).to(session.device), session, 0)


def _pair(name: str, data: Data, session: Session, seed: int) -> Pair:
    session = replace(session, profile="lesson")  # shipped weights are those of the whole recipe, at every profile
    return Pair(*(_ready(denoising(name, kind, data, session, seed), seed) for kind in LOSSES))


def fashion_models(session: Session) -> Pair:
    """Both U-Nets of the 32x32 fashion images, for `full` on a GPU; nothing ships, so they are trained.

    Training is saved under `runs/` every 500 updates, and goes on from there when the lesson runs again.
    """
    data = images.fashion("train").images.to(session.device)
    pair = []
    for kind in LOSSES:
        job = denoising("fashion", kind, data, session, session.seed)
        path = RUNS / f"{job.name}-{job.recipe['steps']}-seed{session.seed}.pt"
        run(resumable(job.start, path, every=500), job.recipe["steps"], job.name)
        pair.append(job.model.eval())
    return Pair(*pair)


@dataclass(frozen=True)
class Judge:
    """The kernel distance between images and held-out ones, on the features of a classifier of the training split.

    Like the kernel inception distance, but small: unbiased squared MMD with a rational quadratic kernel as
    wide as the median distance of the held-out features.
    """

    classifier: ResidualNet
    held_out: Float[Tensor, "n p"]
    kernel: Kernel
    floor: float

    def __call__(self, samples: Float[Tensor, "n *event"]) -> float:
        """Distance of `samples`, clipped to [-1, 1], from the held-out images; `floor` is its noise."""
        return mmd2(_features(self.classifier, samples), self.held_out, self.kernel).item()


def judge(name: str, session: Session) -> Judge:
    """The judge of "digits" (shipped) or "fashion" (trained here, for a few updates only at `smoke`).

    `floor` is the standard deviation of the distance between 20 pairs of disjoint clouds of real images, each
    as large as the held-out split.

    Raises:
        ValueError: another name.
    """
    train_split, test_split = _splits(name)
    classifier = _ready(classifying(name, train_split, session), 0)
    seen, held_out = (_features(classifier, split.images.to(session.device)) for split in (train_split, test_split))
    kernel = rational_quadratic(pairwise_distance(held_out, held_out).median().item())
    real, n = torch.cat([seen, held_out]), len(held_out)
    generator = session.generator(900, "cpu")
    distances = []
    for _ in range(20):
        order = torch.randperm(len(real), generator=generator).to(real.device)
        distances.append(mmd2(real[order[:n]], real[order[n : 2 * n]], kernel))
    return Judge(classifier, held_out, kernel, torch.stack(distances).std().item())


def rebuild_checkpoints() -> None:
    """Train all that ships, on the CPU, and write it beside `companion.teaching.checkpoints`."""
    session = Session("lesson", 0, torch.device("cpu"))
    digits = images.digits("train")
    jobs = [
        (denoising(name, kind, law(name), session, seed), seed)
        for seed in SHIPPED_SEEDS for name in LAWS for kind in LOSSES
    ]  # fmt: skip
    jobs += [(denoising("digits", kind, digits.images.flatten(1), session, 0), 0) for kind in LOSSES]
    jobs += [(classifying("digits", digits, session), 0)]
    for job, seed in jobs:
        run(job.start(None), job.recipe["steps"], f"{job.name}, seed {seed}")
        save_checkpoint(checkpoint_path(job.name, seed), job.model, job.recipe, SOURCES)


def denoising(name: str, kind: str, data: Data, session: Session, seed: int, **changes: Any) -> Training:
    """The training of one denoiser of `data`: a law's name, "digits" or "fashion", and a kind of `LOSSES`.

    `changes` replace settings of the recipe, as a comparison at another cost needs.
    """
    family = "points" if name in LAWS else name
    recipe = {"points": POINTS, "digits": DIGITS, "fashion": FASHION}[family]
    recipe = recipe | LOSSES[kind] | {"learning_rate": RATES[family][kind]}
    smoke = SMOKE_FASHION if family == "fashion" else SMOKE
    recipe = recipe | session.pick(smoke=smoke, lesson={}) | changes
    noise_shape = tuple(recipe["noise"]) if kind == "distributional" else None
    model = DistributionalDenoiser(_network(family, recipe["network"], noise_shape, seed), noise_shape)
    model.to(session.device)
    settings = {key: value for key, value in recipe.items() if key not in ("network", "noise")}

    def start(resume: dict[str, Any] | None = None) -> Iterator[TrainingState]:
        generator = torch.Generator(session.device).manual_seed(1000 + seed)  # another stream than the weights'
        return train_distributional(model, data, **settings, generator=generator, resume=resume)

    return Training(f"01-{name}-{kind}", model, recipe, start)


def classifying(name: str, split: images.LabelledImages, session: Session) -> Training:
    """The training of the classifier whose features judge; always that of seed 0."""
    recipe = FEATURES[name] | (session.pick(smoke=SMOKE, lesson={}) if name == "fashion" else {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ResidualNet(**recipe["network"]).to(session.device)
    data = images.LabelledImages(split.images.to(session.device), split.labels.to(session.device))

    def start(resume: dict[str, Any] | None = None) -> Iterator[TrainingState]:
        generator = torch.Generator(session.device).manual_seed(0)
        indices = torch.arange(len(data.labels), device=session.device)

        def loss(model: nn.Module) -> Tensor:
            rows = draw_batch(indices, recipe["batch_size"], generator)
            return nn.functional.cross_entropy(model(data.images[rows]), data.labels[rows])

        return train(model, loss, recipe["steps"], recipe["learning_rate"], generator=generator, resume=resume)

    return Training(f"01-{name}-features", model, recipe, start)


def _ready(job: Training, seed: int) -> nn.Module:
    return load_or_train(job.name, job.model, lambda: job.start(None), job.recipe, SOURCES, seed)


def _network(family: str, settings: dict[str, Any], noise_shape: tuple[int, ...] | None, seed: int) -> nn.Module:
    """A fresh network, its weights drawn from `seed` without touching the global random state."""
    noise = 0 if noise_shape is None else noise_shape[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if family == "fashion":
            return UNet(noise_channels=noise, **settings)
        return TimeMLP(noise_dim=noise, **settings)


def _splits(name: str) -> tuple[images.LabelledImages, images.LabelledImages]:
    require(name in FEATURES, "name", repr(name), " or ".join(map(repr, FEATURES)))
    loader = {"digits": images.digits, "fashion": images.fashion}[name]
    return loader("train"), loader("test")


@torch.no_grad()
def _features(classifier: ResidualNet, samples: Float[Tensor, "n *event"]) -> Float[Tensor, "n p"]:
    """Features of images, or of rows of pixels of square images, in batches."""
    side = round(samples[0].numel() ** 0.5)
    pictures = samples.reshape(-1, 1, side, side).clamp(-1, 1)
    return torch.cat([classifier.features(batch) for batch in pictures.split(500)])
