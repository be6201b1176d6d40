"""Lesson 08's models: what they are, how they were trained on 24 plays, and where they come from.

"small" and "large" are transformers, "window" is a perceptron over the last eight characters, which the browser can train,
and "full" is for a GPU. All but the last come with the package.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from companion.data.text import SYMBOLS, encode, learned
from companion.foundations.language import Transformer, WindowMLP
from companion.foundations.training import TrainingState, train
from companion.teaching.checkpoints import checkpoint_path, load_or_train, resumable, run, save_checkpoint
from companion.teaching.session import Session

Size = Literal["small", "large", "window", "full"]
SOURCES = (
    "companion.data.text",
    "companion.foundations.language",
    "companion.foundations.training",
    __name__,
)
SHIPPED_SEEDS = {"small": (0, 1, 2, 3, 4), "large": (0,), "window": (0,)}
RECIPES: dict[str, dict[str, Any]] = {
    "small": {"network": {"width": 64, "depth": 2}, "steps": 8000, "batch": 16, "window": 128, "learning_rate": 4e-3},
    "large": {"network": {"width": 96, "depth": 3}, "steps": 8000, "batch": 16, "window": 128, "learning_rate": 3e-3},
    "window": {"network": {}, "steps": 6000, "batch": 16, "window": 128, "learning_rate": 4e-3},
    "full": {"network": {"width": 384, "depth": 6}, "steps": 5000, "batch": 64, "window": 256, "learning_rate": 1e-3},
}
AVERAGE_DECAY = 0.99


def reader(size: Size, session: Session) -> nn.Module:
    """A trained model of the lesson, on the session's device.

    A seed for which none ships takes one that does; "full" is trained here, in minutes on a GPU, and saved under `runs/`
    as it goes.
    """
    recipe = RECIPES[size]
    if size == "full":
        model = fresh(size, session.seed, session.device)
        path = Path("runs") / f"08-full-seed{session.seed}.pt"
        states = resumable(lambda saved: training_of(model, size, session.seed, resume=saved), path, every=500)
        return load_or_train("08-full", model, lambda: states, recipe, SOURCES, session.seed)
    seed = SHIPPED_SEEDS[size][session.seed % len(SHIPPED_SEEDS[size])]
    model = fresh(size, seed, session.device)
    return load_or_train(f"08-{size}", model, lambda: training_of(model, size, seed), recipe, SOURCES, seed)


def fresh(size: Size, seed: int, device: torch.device | str = "cpu") -> nn.Module:
    """An untrained model; the same seed gives the same weights on any device."""
    build = WindowMLP if size == "window" else Transformer
    return build(SYMBOLS, **RECIPES[size]["network"], generator=torch.Generator().manual_seed(seed)).to(device)


def training_of(
    model: nn.Module, size: Size, seed: int, resume: dict[str, Any] | None = None, **changes: Any
) -> Iterator[TrainingState]:
    """The training of a model on windows of the plays; `changes` replace settings of its recipe."""
    recipe = RECIPES[size] | changes
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(1000 + seed)
    windows = encode(learned()).to(device).unfold(0, recipe["window"] + 1, 1)

    def loss(model: nn.Module) -> torch.Tensor:
        rows = torch.randint(len(windows), (recipe["batch"],), generator=generator, device=device)
        text = windows[rows]
        return cross_entropy(model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())

    return train(model, loss, recipe["steps"], recipe["learning_rate"], AVERAGE_DECAY, generator, resume)


def rebuild_checkpoints() -> None:
    """Train the models that ship, on the CPU (three quarters of an hour on one core), and write them."""
    for size, seeds in SHIPPED_SEEDS.items():
        for seed in seeds:
            rebuild(size, seed)


def rebuild(size: Size, seed: int) -> None:
    """Train one model and write it; what was interrupted goes on from where it was saved."""
    model, path = fresh(size, seed), Path("runs") / f"08-{size}-seed{seed}.pt"
    states = resumable(lambda saved: training_of(model, size, seed, resume=saved), path, every=1000)
    run(states, RECIPES[size]["steps"], f"{size}, seed {seed}")
    save_checkpoint(checkpoint_path(f"08-{size}", seed), model, RECIPES[size], SOURCES)
    path.unlink(missing_ok=True)
