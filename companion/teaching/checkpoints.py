"""Trained weights that come with the package, and retraining when they do not fit.

A checkpoint is a safetensors file beside this module. Its metadata say which recipe, code and seed made
it. What fits is loaded; what is missing is trained; what is corrupt or stale says so and is trained.
Nothing is written when a lesson runs: `python -m companion checkpoints` rebuilds the files.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from companion.foundations.training import TrainingState
from companion.foundations.validation import require_count
from companion.teaching import progress
from companion.teaching.provenance import module_name, source_hash
from companion.teaching.writing import whole

FILES = Path(__file__).parent / "files"


class CheckpointError(Exception):
    """A checkpoint that cannot be used, and why, in a few words."""


def checkpoint_path(name: str, seed: int, folder: Path = FILES) -> Path:
    """Where the checkpoint `name` of `seed` lies, if there is one."""
    return folder / f"{name}-seed{seed}.safetensors"


def load_or_train(
    name: str,
    model: nn.Module,
    states: Callable[[], Iterator[TrainingState]],
    recipe: dict[str, Any],
    sources: Iterable[ModuleType | str],
    seed: int = 0,
    folder: Path = FILES,
) -> nn.Module:
    """`model` with the shipped weights if there are any that fit, else trained here, with a progress bar.

    Args:
        name: of the checkpoint.
        model: untrained; filled in place, on its own device.
        states: starts the training of `model` and returns its states.
        recipe: the settings that `states` uses, of JSON types: another recipe makes the file stale.
        sources: the modules whose code shapes the result: other code makes the file stale.
        seed: that the training draws from.
        folder: where checkpoints lie.

    Returns:
        `model`, in evaluation mode.

    Warns:
        UserWarning: the file is corrupt or stale, which of the two, and that training starts.
    """
    path = checkpoint_path(name, seed, folder)
    if path.exists():
        try:
            return load_checkpoint(path, model, recipe, sources)
        except CheckpointError as reason:
            warnings.warn(f"Checkpoint {path.name} {reason}, so the model is trained again.", stacklevel=2)
    run(states(), recipe.get("steps"), name)
    return model.eval()


def run(states: Iterator[TrainingState], steps: int | None = None, name: str = "") -> None:
    """Exhaust a training iterator behind a progress bar."""
    for _ in tqdm(states, total=steps, desc=name, leave=False):
        pass


def save_checkpoint(path: Path, model: nn.Module, recipe: dict[str, Any], sources: Iterable[ModuleType | str]) -> None:
    """Write the weights of `model`, with what made them, in one atomic step."""
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    made = {
        "recipe": recipe,
        "sources": sorted(module_name(source) for source in sources),
        "source_hash": source_hash(*sources),
        "weights_hash": _weights_hash(weights),
    }
    with whole(path) as unfinished:
        save_file(
            weights, unfinished, {"made": json.dumps(made, sort_keys=True)}
        )  # one entry: their order is not fixed
        unfinished.chmod(0o644)


def load_checkpoint(
    path: Path, model: nn.Module, recipe: dict[str, Any], sources: Iterable[ModuleType | str]
) -> nn.Module:
    """Fill `model` from `path` and return it in evaluation mode.

    Raises:
        CheckpointError: the file is truncated, corrupt, or made by another recipe or other code.
    """
    weights, made = read_checkpoint(path)
    if made["recipe"] != json.loads(json.dumps(recipe)):
        raise CheckpointError("is stale (it was made with other settings)")
    if made["source_hash"] != source_hash(*sources):
        raise CheckpointError("is stale (the code that made it has changed)")
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise CheckpointError("is stale (it holds another network)") from None
    return model.eval()


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of a file, verified, and what made them: recipe, sources and hashes.

    Raises:
        CheckpointError: the file is truncated or corrupt.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            made = json.loads((stored.metadata() or {}).get("made", "{}"))
            weights = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError):
        raise CheckpointError("is truncated or corrupt (it cannot be read)") from None
    if made.get("weights_hash") != _weights_hash(weights):
        raise CheckpointError("is corrupt (its weights do not match their hash)")
    return weights, made


def is_current(path: Path) -> bool:
    """Whether the code that made the checkpoint is still the code that is here."""
    _, made = read_checkpoint(path)
    return made["source_hash"] == source_hash(*made["sources"])


def resumable(
    states: Callable[[dict[str, Any] | None], Iterator[TrainingState]], path: Path, every: int
) -> Iterator[TrainingState]:
    """The states of a long training that survives being killed: run it again and it goes on, bit for bit.

    Every `every` steps the state is saved to `path` in one atomic step; a call that finds the file resumes
    from it. The file stays when training ends, so nothing is lost before its result is safe: delete it then.

    Args:
        states: starts the training from a `TrainingState.state_dict()`, or from the beginning when None.
        path: of the file.
        every: steps between saves.

    Raises:
        ValueError: `every` is below 1. Raised at the call.
    """
    require_count("every", every, 1)
    return _resumable(states, Path(path), every)


def _resumable(states, path, every):
    waiting = None  # the state to save once we know that it is not the last, from which nothing can resume
    for state in states(progress.load(path)):
        if waiting is not None:
            progress.save(waiting, path)
        yield state
        waiting = state.state_dict() if state.step % every == 0 else None


def _weights_hash(weights: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
