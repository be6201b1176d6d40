"""Lesson 09's networks: how they learned 68 classes of pictures, and where they come from.

"strong" and "weak" are the same network, trained with a strong and a weak penalty on its weights; "full" is for a GPU.
The first two come with the package, in half precision.
"""

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from companion.data.pictures import classes_of, pictures
from companion.foundations.residual import ExpandedResidualNet
from companion.foundations.training import TrainingState, train
from companion.teaching.checkpoints import checkpoint_path, load_or_train, resumable, run, save_checkpoint
from companion.teaching.session import Session

Kind = Literal["strong", "weak", "full"]
SOURCES = (
    "companion.data.images",
    "companion.data.pictures",
    "companion.foundations.networks",
    "companion.foundations.residual",
    "companion.foundations.training",
    __name__,
)
SHIPPED_SEEDS = {"strong": (0, 1, 2, 3, 4), "weak": (0,)}
SHARES = {"letters": 0.45, "print": 0.15, "shapes": 0.15, "textures": 0.1, "clothes": 0.15}  # of a batch
FIRST = dict(zip(SHARES, accumulate((classes_of(family) for family in SHARES), initial=0)))
CLASSES = sum(classes_of(family) for family in SHARES)
RECIPES: dict[str, dict[str, Any]] = {
    "strong": {"network": {}, "steps": 4000, "batch": 64, "learning_rate": 3e-3, "penalty": 3e-3},
    "weak": {"network": {}, "steps": 4000, "batch": 64, "learning_rate": 3e-3, "penalty": 1e-4},
    "full": {
        "network": {"width": 64, "stages": 3},
        "steps": 20000,
        "batch": 512,
        "learning_rate": 3e-3,
        "penalty": 3e-3,
    },
}
AVERAGE_DECAY = 0.99


def pretrained(kind: Kind, session: Session) -> ExpandedResidualNet:
    """A trained network of the lesson, on the session's device.

    A seed for which none ships takes one that does; "full" is trained here, in minutes on a GPU, and saved under
    `runs/` as it goes.
    """
    recipe = RECIPES[kind]
    if kind == "full":
        model = fresh(kind, session.seed, session.device)
        path = Path("runs") / f"09-full-seed{session.seed}.pt"
        states = resumable(lambda saved: training_of(model, kind, session.seed, resume=saved), path, every=500)
        return load_or_train("09-full", model, lambda: states, recipe, SOURCES, session.seed)
    seed = SHIPPED_SEEDS[kind][session.seed % len(SHIPPED_SEEDS[kind])]
    model = fresh(kind, seed, session.device)
    return load_or_train(f"09-{kind}", model, lambda: training_of(model, kind, seed), recipe, SOURCES, seed)


def fresh(kind: Kind, seed: int, device: torch.device | str = "cpu") -> ExpandedResidualNet:
    """An untrained network; the same seed gives the same weights on any device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ExpandedResidualNet(num_classes=CLASSES, **RECIPES[kind]["network"]).to(device)


def mixed_batch(
    n: int, split: str = "train", generator: torch.Generator | None = None
) -> tuple[Float[Tensor, "m 1 16 16"], Int[Tensor, " m"]]:
    """About `n` pictures of all the classes that the networks learn, and their labels; drawn on the CPU."""
    images, labels = [], []
    for family, share in SHARES.items():
        own = torch.randint(classes_of(family), (max(1, round(n * share)),), generator=generator)
        images.append(pictures(family, own, split, generator))
        labels.append(own + FIRST[family])
    return torch.cat(images), torch.cat(labels)


def training_of(
    model: torch.nn.Module, kind: Kind, seed: int, resume: dict[str, Any] | None = None, **changes: Any
) -> Iterator[TrainingState]:
    """The training of a network on new pictures in every batch; `changes` replace settings of its recipe."""
    recipe = RECIPES[kind] | changes
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(1000 + seed)

    def loss(model: torch.nn.Module) -> Tensor:
        images, labels = mixed_batch(recipe["batch"], "train", generator)
        squares = torch.stack([each.square().sum() for each in model.parameters()]).sum()
        return cross_entropy(model(images.to(device)), labels.to(device)) + recipe["penalty"] / 2 * squares

    return train(model, loss, recipe["steps"], recipe["learning_rate"], AVERAGE_DECAY, generator, resume)


def rebuild_checkpoints() -> None:
    """Train the networks that ship, on the CPU (a quarter of an hour on one core), and write them."""
    for kind, seeds in SHIPPED_SEEDS.items():
        for seed in seeds:
            rebuild(kind, seed)


def rebuild(kind: Kind, seed: int) -> None:
    """Train one network and write it; what was interrupted goes on from where it was saved."""
    model, path = fresh(kind, seed), Path("runs") / f"09-{kind}-seed{seed}.pt"
    states = resumable(lambda saved: training_of(model, kind, seed, resume=saved), path, every=1000)
    run(states, RECIPES[kind]["steps"], f"{kind}, seed {seed}")
    save_checkpoint(checkpoint_path(f"09-{kind}", seed), model.half(), RECIPES[kind], SOURCES)
    path.unlink(missing_ok=True)
