"""Lesson 03's bases: networks that are imperfect in the natural way that guidance can repair.

A network learns all points without their classes; then every class starts from that answer, and fine-tuning on labelled
points, of which some classes have few, takes each of them part of the way. "short" stops there. "long" goes on to the end.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from companion.data import images, labelled
from companion.data.labelled import LONG_TAIL, four_classes, long_tailed
from companion.foundations import conditional, diffusion, mixtures, networks, training
from companion.foundations.conditional import ConditionalDenoiser, LabelledMixture, velocity_loss
from companion.foundations.networks import TimeMLP, UNet
from companion.foundations.training import draw_batch, train
from companion.foundations.validation import require
from companion.teaching.checkpoints import checkpoint_path, load_or_train, resumable, run, save_checkpoint
from companion.teaching.session import Session

SOURCES = (conditional, diffusion, mixtures, networks, training, labelled, images, __name__)
RUNS = Path("runs")  # in the reader's folder: where a long training is saved as it goes

SHIPPED_SEEDS = (0, 1, 2, 3, 4)
STAGES = ("short", "long")
POINTS = {
    "network": {"dim": 2, "noise_dim": 8, "width": 64, "depth": 2},
    "batch_size": 256,
    "pretraining": {"steps": 1500, "learning_rate": 0.002},
    "fine_tuning": {"short": 250, "long": 2000, "learning_rate": 0.005},
}
DIGITS = {
    "network": {"dim": 64, "noise_dim": 16, "width": 128, "depth": 3},
    "batch_size": 128,
    "pretraining": {"steps": 3000, "learning_rate": 0.002},
    "fine_tuning": {"short": 1200, "long": 6000, "learning_rate": 0.003},
}
FASHION = {
    "network": {"noise_channels": 8, "width": 64, "levels": 3},
    "batch_size": 128,
    "pretraining": {"steps": 10_000, "learning_rate": 0.001},
    "fine_tuning": {"short": 1000, "long": 5000, "learning_rate": 0.0002},
}
RECIPES = {"points": POINTS, "digits": DIGITS, "fashion": FASHION}
SMOKE_FASHION = {"network": {"noise_channels": 8, "width": 8, "levels": 2}, "batch_size": 8, "updates": 2}
TRAINING_POINTS = 1000
TAIL_RATIO = 0.7  # of the digits' and fashion images' labelled classes: each as frequent as the one before, times this


def training_set(
    name: str, seed: int, device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, "n *event"], Int[Tensor, " n"]]:
    """What a base of "points", "digits" or "fashion" sees with labels: few points, and rare classes among them."""
    generator = torch.Generator().manual_seed(9000 + seed)
    if name == "points":
        points, labels = long_tailed_law().sample_labelled(TRAINING_POINTS, generator)
    else:
        pictures, labels = _pictures(name)
        kept = long_tailed(labels, TAIL_RATIO, generator)
        points, labels = pictures[kept], labels[kept]
    return points.to(device), labels.to(device)


def long_tailed_law() -> LabelledMixture:
    """Four classes, the last eight times as rare as the first."""
    return four_classes(frequencies=LONG_TAIL)


def base(name: str, stage: str, session: Session) -> ConditionalDenoiser:
    """A frozen base of "points" or "digits", fine-tuned "short" or "long"; at `full`, of "fashion" images.

    Those of points come with the package for the seeds in `SHIPPED_SEEDS`, that of digits for seed 0; another
    seed is trained here (about 10 s on points), or at `smoke` takes a shipped one. Fashion's unconditional training
    is saved under `runs/` as it goes.

    Raises:
        ValueError: another name or stage.
    """
    require(name in RECIPES, "name", repr(name), " or ".join(map(repr, RECIPES)))
    require(stage in STAGES, "stage", repr(stage), " or ".join(map(repr, STAGES)))
    if name == "fashion":
        return _fashion_base(stage, session)
    return _ready(name, stage, _seed(name, session), session.device)


def data_of(name: str, session: Session) -> tuple[Float[Tensor, "n *event"], Int[Tensor, " n"]]:
    """The labelled points that `base` was fine-tuned on."""
    return training_set(name, _seed(name, session), session.device)


def _seed(name: str, session: Session) -> int:
    if name == "digits":
        return 0
    return session.seed % len(SHIPPED_SEEDS) if session.profile == "smoke" and name == "points" else session.seed


def rebuild_checkpoints() -> None:
    """Train the bases that ship, on the CPU."""
    jobs = [("points", stage, seed) for seed in SHIPPED_SEEDS for stage in STAGES] + [("digits", "short", 0)]
    for name, stage, seed in jobs:
        model = fresh(name, RECIPES[name]["network"], seed)
        run(training_of(model, name, stage, seed), name=f"03-{name}-{stage}, seed {seed}")
        save_checkpoint(checkpoint_path(f"03-{name}-{stage}", seed), model, RECIPES[name], SOURCES)


def training_of(model: ConditionalDenoiser, name: str, stage: str, seed: int) -> Iterator[Any]:
    """Without classes, then from there with them: yields after every update."""
    recipe, device = RECIPES[name], next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(1000 + seed)
    yield from pretrain(model, name, recipe, generator, seed)
    model.forget_classes()
    updates, rate = recipe["fine_tuning"][stage], recipe["fine_tuning"]["learning_rate"]
    yield from fine_tune(model, *training_set(name, seed, device), updates, rate, recipe["batch_size"], generator)


def pretrain(
    model: ConditionalDenoiser,
    name: str,
    recipe: dict[str, Any],
    generator: torch.Generator,
    seed: int,
    resume: dict[str, Any] | None = None,
) -> Iterator[training.TrainingState]:
    """Learn the points without their classes: images need no label for this, so all of the training split serve."""
    device = next(model.parameters()).device
    points = training_set(name, seed)[0] if name == "points" else _pictures(name)[0]
    points = points.to(device)
    nobody = torch.zeros(recipe["batch_size"], dtype=torch.long, device=device)

    def loss(model: ConditionalDenoiser) -> Tensor:
        return velocity_loss(model, draw_batch(points, recipe["batch_size"], generator), nobody, 1.0, generator)

    return train(model, loss, **recipe["pretraining"], generator=generator, resume=resume)


def fine_tune(
    model: ConditionalDenoiser,
    points: Float[Tensor, "rows *event"],
    labels: Int[Tensor, " rows"],
    updates: int,
    learning_rate: float,
    batch_size: int,
    generator: torch.Generator,
) -> Iterator[Tensor]:
    """Plain gradient descent with momentum on labelled points, a tenth of them shown without; yields each loss."""
    optimizer = torch.optim.SGD(model.parameters(), learning_rate, momentum=0.9)
    rows = torch.arange(len(points), device=points.device)
    for _ in range(updates):
        chosen = draw_batch(rows, batch_size, generator)
        loss = velocity_loss(model, points[chosen], labels[chosen], 0.1, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield loss.detach()


def _ready(name: str, stage: str, seed: int, device: torch.device) -> ConditionalDenoiser:
    recipe = RECIPES[name]
    model = fresh(name, recipe["network"], seed).to(device)
    states = lambda: training_of(model, name, stage, seed)  # noqa: E731
    return load_or_train(f"03-{name}-{stage}", model, states, recipe, SOURCES, seed).requires_grad_(False)


def _fashion_base(stage: str, session: Session) -> ConditionalDenoiser:
    recipe = FASHION if session.profile != "smoke" else FASHION | SMOKE_FASHION
    model = fresh("fashion", recipe["network"], session.seed).to(session.device)
    generator = session.generator(1)
    if "updates" in recipe:
        few = recipe["updates"]
        recipe = recipe | {"pretraining": {"steps": few, "learning_rate": 0.001}}
        updates = few
    else:
        updates = recipe["fine_tuning"][stage]
    steps = recipe["pretraining"]["steps"]
    start = lambda resume: pretrain(model, "fashion", recipe, generator, session.seed, resume)  # noqa: E731
    run(resumable(start, RUNS / f"03-fashion-{steps}-seed{session.seed}.pt", every=500), steps, "fashion, all")
    model.forget_classes()
    rate, batch = recipe["fine_tuning"]["learning_rate"], recipe["batch_size"]
    tuned = fine_tune(model, *training_set("fashion", session.seed, session.device), updates, rate, batch, generator)
    run(tuned, updates, "fashion, by class")
    return model.eval().requires_grad_(False)


def fresh(name: str, settings: dict[str, Any], seed: int) -> ConditionalDenoiser:
    """A fresh model, drawn from `seed` without touching the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = UNet(**settings) if name == "fashion" else TimeMLP(**settings)
        classes = 4 if name == "points" else 10
        return ConditionalDenoiser(network, classes, settings["noise_channels" if name == "fashion" else "noise_dim"])


def _pictures(name: str) -> tuple[Tensor, Tensor]:
    """Training images of the digits as rows of 64 pixels, or of the fashion images as they are, and their labels."""
    pictures, labels = images.digits("train") if name == "digits" else images.fashion("train")
    return (pictures.flatten(1) if name == "digits" else pictures), labels
