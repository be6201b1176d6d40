"""A training loop that is a generator: it yields its state, so that a lesson can plot it, stop it or resume it.

>>> model = torch.nn.Linear(1, 1)
>>> x = torch.linspace(-1, 1, 50)[:, None]
>>> for state in train(model, lambda model: (model(x) - 3 * x).square().mean(), steps=300, learning_rate=0.1):
...     pass
>>> state.step, round(model.weight.item(), 2)
(300, 3.0)
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from companion.foundations.validation import Number, require, require_callable, require_count, require_in


@runtime_checkable
class Law(Protocol):
    """Anything that samples: a mixture, a toy, a wrapped data set."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor: ...


Data: TypeAlias = Tensor | Law | Callable[[int, torch.Generator | None], Tensor]

RESUMABLE = {"model", "averaged", "optimizer", "schedule", "step", "generator"}


def draw_batch(data: Data, n: int, generator: torch.Generator | None = None) -> Tensor:
    """`n` rows of `data`: fresh draws of a law or a callable, rows with replacement of a tensor.

    Raises:
        TypeError: `data` is none of these.
        ValueError: `n` is below 1, or the tensor has no rows.
    """
    require_count("n", n, 1)
    if isinstance(data, Tensor):
        require(data.ndim >= 1 and len(data) > 0, "data", f"of shape {tuple(data.shape)}", "of at least one row")
        return data[torch.randint(len(data), (n,), generator=generator, device=data.device)]
    if isinstance(data, Law):
        return data.sample(n, generator)
    require(
        callable(data), "data", f"a {type(data).__name__}", "a tensor, a law with .sample, or a callable", TypeError
    )
    return data(n, generator)


@dataclass
class TrainingState:
    """One moment of training.

    Attributes:
        step: updates made so far, counted from 1.
        loss: the batch's loss, a detached () tensor on the model's device (reading it waits for the device).
        model: the network being trained.
        averaged: its running average, which samples better; the last state's `model` holds the same weights.
    """

    step: int
    loss: Tensor
    model: nn.Module
    averaged: nn.Module
    _resumable: Callable[[], dict[str, Any]]

    def state_dict(self) -> dict[str, Any]:
        """Everything that `train(..., resume=...)` needs to go on as if it had never stopped."""
        return self._resumable()


def train(
    model: nn.Module,
    loss: Callable[[nn.Module], Tensor],
    steps: int,
    learning_rate: Number = 2e-3,
    average_decay: Number = 0.995,
    generator: torch.Generator | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[TrainingState]:
    """Minimise `loss(model)` with Adam, a cosine schedule and an exponential average of the weights.

    Args:
        model: trained in place; after the last state it holds the averaged weights.
        loss: a callable that draws its own batch and returns a scalar.
        steps: updates in all, those before a resume included.
        learning_rate: at the first step; it falls to 0 along half a cosine.
        average_decay: of the average, reached by a warm-up so that early weights are forgotten.
        generator: the one that `loss` draws from, saved and restored with the rest.
        resume: a `TrainingState.state_dict()`.

    Raises:
        TypeError: `model` is no module, or `loss` cannot be called.
        ValueError: no steps, a learning rate that is not positive, a decay outside [0, 1), or a resume
            from beyond `steps`, raised at the call; later, a loss that is no scalar.
    """
    require_count("steps", steps, 1)
    require_in("learning_rate", learning_rate, "(0, inf)")
    require_in("average_decay", average_decay, "[0, 1)")
    require(isinstance(model, nn.Module), "model", f"a {type(model).__name__}", "a torch.nn.Module", TypeError)
    require_callable("loss", loss, "a callable (model) -> scalar")
    saved = resume is None or (isinstance(resume, dict) and resume.keys() >= RESUMABLE)
    require(saved, "resume", f"a {type(resume).__name__} without all it needs", "a TrainingState.state_dict()")
    if resume:
        both = (resume["generator"] is None) == (generator is None)
        require(both, "generator", repr(generator), "given exactly when it was given before the resume")
    done = resume["step"] if resume else 0
    require(done < steps, "resume", f"at step {done}", f"before the last step, {steps}")
    return _train(model, loss, steps, learning_rate, average_decay, generator, resume)


def _train(model, loss, steps, learning_rate, average_decay, generator, resume):
    averaged = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    done = 0
    if resume:
        done = resume["step"]
        for name, part in {"model": model, "averaged": averaged, "optimizer": optimizer, "schedule": schedule}.items():
            part.load_state_dict(resume[name])
        if generator is not None:
            generator.set_state(resume["generator"].cpu())

    def resumable() -> dict[str, Any]:
        parts = {"model": model, "averaged": averaged, "optimizer": optimizer, "schedule": schedule}
        saved = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
        return saved | {"step": step, "generator": None if generator is None else generator.get_state()}

    pairs = list(zip(averaged.parameters(), model.parameters(), strict=True))
    model.train()
    for step in range(done + 1, steps + 1):
        value = loss(model)
        require(value.ndim == 0, "loss(model)", f"of shape {tuple(value.shape)}", "a scalar")
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        schedule.step()
        decay = min(average_decay, step / (step + 10))
        with torch.no_grad():
            for average, parameter in pairs:
                average.lerp_(parameter, 1 - decay)
            for average, buffer in zip(averaged.buffers(), model.buffers(), strict=True):
                average.copy_(buffer)
        if step == steps:
            model.load_state_dict(averaged.state_dict())
            model.eval()
        yield TrainingState(step, value.detach(), model, averaged, resumable)
