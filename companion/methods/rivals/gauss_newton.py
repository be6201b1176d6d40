"""Gauss-Newton: the network linearised in all its weights at once, and the damped least-squares problem solved exactly.

With residuals r of a batch (rows times outputs) and their Jacobian J, of what the network gives by all its parameters,
a step is

    d = (J'J/n + damping I)^-1 J'r/n = J'(JJ' + n damping I)^-1 r,

solved by Cholesky with the smaller of the two systems. A linear network is done in one step. What it costs: J has
(n outputs) x (parameters) entries, all of them stored. For the last layer alone J holds the features, and the step is
the proximal one of lesson 05: Gauss-Newton is what the closed form is when every layer is linearised.

Source: Levenberg 1944 and Marquardt 1963 for the damping; Korbit, Adeoye, Bemporad and Zanon, "Exact Gauss-Newton
Optimization for Training Deep Neural Networks" (2024, arXiv 2405.14402), for the second system on batches.
Simplified: no momentum and no line search.

>>> from companion.foundations.networks import MLP
>>> generator, _ = torch.Generator().manual_seed(0), torch.manual_seed(0)
>>> x = 4 * torch.rand(64, 1, generator=generator) - 2
>>> y = torch.sin(3 * x)
>>> backbone = nn.Sequential(MLP(1, 16, width=16, depth=1), nn.Tanh())
>>> for state in train_gauss_newton(backbone, (x, y), steps=30, adapt=True, generator=generator):
...     pass
>>> bool((state.predict(x) - y).square().mean() < 1e-3)
True
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from companion.foundations.linear import require_solved
from companion.foundations.validation import Number, require, require_count, require_in
from companion.methods.last_layer import (
    LastLayerState,
    Pairs,
    _batch,
    _peek,
    _require_pairs,
    _require_resume,
    _restore,
    _saved,
    with_bias,
)
from companion.methods.rivals.joint import JointLayer

RAISE, LOWER = 2.0, 3.0  # what damping is multiplied by after a poor step, and divided by after a good one
POOR, GOOD = 0.25, 0.75  # gains below and above which it changes
LEAST, MOST = 1e-10, 1e10  # where adapted damping stays


def train_gauss_newton(
    backbone: nn.Module,
    data: Pairs,
    steps: int,
    *,
    damping: Number = 1e-2,
    adapt: bool = False,
    batch_size: int | None = None,
    learning_rate: Number = 1.0,
    bias: bool = True,
    every: int = 10,
    generator: torch.Generator | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[LastLayerState]:
    """Train all layers, the last one included, by exact damped Gauss-Newton steps on batches.

    The last layer starts as `nn.Linear` does.

    Args:
        backbone, data, steps, batch_size, bias, every, resume: as `last_layer.train_last_layer`. Each row must be worked
            out by itself: no batch normalisation, no dropout in training.
        damping: above 0, means the same for every batch size. In float32 damping far below 1e-4 may be lost to rounding.
        adapt: change the damping after each step by its gain, what the loss of the batch fell by over what the linear
            network promised: below 0.25 twice as much, above 0.75 a third. A step after which the loss is larger, or
            whose system could not be solved, is not taken. Meant for large batches: a small one is promised, and keeps,
            more than the data give.
        learning_rate: what the step is multiplied by, in (0, 1].
        generator: draws the batches and the last layer's start, on the device of the data.

    Raises:
        TypeError, ValueError: bad arguments, raised at the call.
        torch.linalg.LinAlgError: some solve failed (with `adapt`, the loss was not finite); raised when the next state
            is due.
    """
    require(isinstance(backbone, nn.Module), "backbone", f"a {type(backbone).__name__}", "a torch.nn.Module", TypeError)
    require_count("steps", steps, 1)
    _require_pairs("data", data, batch_size, batch_size)
    require_in("damping", damping, "(0, inf)")
    require_in("learning_rate", learning_rate, "(0, 1]")
    require_count("every", every, 1)
    _require_resume(resume, {"backbone", "damped layer", "step", "generator"}, steps, generator)

    features, targets = _peek(backbone, data, bias, generator)
    zeros = torch.zeros(features.shape[1], targets.shape[1], dtype=features.dtype, device=features.device)
    layer = _DampedLayer(zeros, damping, generator)
    for parameter in backbone.parameters():
        allowed = f"of {features.dtype}, like its features"
        require(parameter.dtype == features.dtype, "backbone", f"one with parameters of {parameter.dtype}", allowed)
    parts = {"backbone": backbone, "damped layer": layer}
    return _train(parts, data, steps, adapt, batch_size, learning_rate, bias, every, generator, resume)


class _DampedLayer(JointLayer):
    """The last layer and the damping, which is adapted and must be resumed with it."""

    damping: Tensor

    def __init__(self, weights: Float[Tensor, "p k"], damping: Number, generator: torch.Generator | None) -> None:
        super().__init__(weights, rows=1, generator=generator)
        self.register_buffer("damping", weights.new_tensor(damping))


def _train(parts, data, steps, adapt, batch_size, learning_rate, bias, every, generator, resume):
    backbone, layer = parts["backbone"], parts["damped layer"]
    done = _restore(parts, resume, generator)

    def resumable() -> dict[str, Any]:
        return _saved(parts, step, generator)

    def loss_at(moved: dict[str, Tensor]) -> Float[Tensor, ""]:
        return 0.5 * (targets - _outputs(backbone, moved, x, bias)).square().sum(1).mean()

    backbone.train()
    for step in range(done + 1, steps + 1):
        x, y = _batch(data, batch_size, generator)
        targets = y.flatten(0, -2)
        parameters = {name: value for name, value in backbone.named_parameters() if value.requires_grad}
        parameters = {f"backbone.{name}": value.detach() for name, value in parameters.items()}
        parameters["weights"] = layer.weights
        with torch.no_grad():
            slopes, outputs = jacobian(backbone, parameters, x, bias)
            residuals = targets - outputs
            loss = 0.5 * residuals.square().sum(1).mean()
            move, status = gauss_newton_step(slopes, residuals, layer.damping)
            moved = _add(parameters, learning_rate * move)
            if adapt:
                left = residuals - learning_rate * (slopes @ move).view_as(residuals)
                gain = (loss - loss_at(moved)) / (loss - 0.5 * left.square().sum(1).mean())
                taken = (status == 0) & (gain > 0)
                moved = {name: torch.where(taken, moved[name], value) for name, value in parameters.items()}
                lower, higher = taken & (gain > GOOD), ~(taken & (gain >= POOR))
                factor = torch.where(higher, RAISE, torch.where(lower, 1 / LOWER, 1.0))
                layer.damping.mul_(factor).clamp_(LEAST, MOST)
                status = (~loss.isfinite()).to(status)
            layer.note(status)
            for name, value in parameters.items():
                value.copy_(moved[name])
        if step % every == 0 or step == steps:
            require_solved(layer.status)
            if step == steps:
                backbone.eval()
            yield LastLayerState(step, loss, backbone, layer.weights, bias, resumable)


def jacobian(
    backbone: nn.Module, parameters: dict[str, Tensor], x: Tensor, bias: bool = True
) -> tuple[Float[Tensor, "nk q"], Float[Tensor, "n k"]]:
    """The Jacobian of what the network gives for inputs (b, ...) by all its q parameters, and what it gives (n, k).

    Args:
        backbone: inputs (b, ...) -> features (b, ..., p), every row by itself.
        parameters: name -> value, "weights" for the last layer and "backbone.NAME" for the others.
        x: inputs (b, ...).
        bias: append a column of ones to the features.
    """

    def of_one(parameters: dict[str, Tensor], one: Tensor) -> tuple[Tensor, Tensor]:
        outputs = _outputs(backbone, parameters, one[None], bias)
        return outputs, outputs

    slopes, outputs = vmap(jacrev(of_one, has_aux=True), in_dims=(None, 0))(parameters, x)
    columns = [slopes[name].reshape(outputs.numel(), -1) for name in parameters]
    return torch.cat(columns, dim=1), outputs.flatten(0, 1)


def gauss_newton_step(
    slopes: Float[Tensor, "nk q"], residuals: Float[Tensor, "n k"], damping: Number | Float[Tensor, ""]
) -> tuple[Float[Tensor, " q"], Tensor]:
    """`(J'J/n + damping I)^-1 J'r/n` by the smaller of two systems, and the status of its factorisation."""
    penalty, flat = len(residuals) * damping, residuals.flatten()[:, None]
    wide = slopes.shape[1] > slopes.shape[0]
    system, right = (slopes @ slopes.T, flat) if wide else (slopes.T @ slopes, slopes.T @ flat)
    system.diagonal().add_(penalty)
    factor, status = torch.linalg.cholesky_ex(system)
    step = torch.cholesky_solve(right, factor)
    return (slopes.T @ step if wide else step)[:, 0], status


def _outputs(backbone: nn.Module, parameters: dict[str, Tensor], x: Tensor, bias: bool) -> Float[Tensor, "n k"]:
    changed = {name.removeprefix("backbone."): value for name, value in parameters.items() if name != "weights"}
    features = functional_call(backbone, changed, (x,)).flatten(0, -2)
    return (with_bias(features) if bias else features) @ parameters["weights"]


def _add(parameters: dict[str, Tensor], step: Float[Tensor, " q"]) -> dict[str, Tensor]:
    pieces = step.split([value.numel() for value in parameters.values()])
    return {name: value + piece.view_as(value) for (name, value), piece in zip(parameters.items(), pieces)}
