"""Training on several processes, each with a GPU of its own, with the loops that train on one.

Every process runs the same loop from the same seed, so all draw the same batch. In each call of the network a process
computes only its share of the rows; outputs are exchanged, and the loss sees the whole batch. Gradients are averaged. So
the numbers are those of one process, up to rounding, for any loss: also for one that compares the rows of a batch with each
other, as a kernel distance does, where the mean of the processes' own losses would be another loss.

Without other processes nothing changes:

>>> from companion.foundations.training import train
>>> model = torch.nn.Linear(1, 1)
>>> x = torch.linspace(-1, 1, 50)[:, None]
>>> with share_rows(model):
...     for state in train(model, lambda model: (model(x) - 3 * x).square().mean(), steps=300, learning_rate=0.1):
...         pass
>>> state.step, round(model.weight.item(), 2)
(300, 3.0)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from companion.foundations.validation import require

MIXES_ROWS = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


def world_size() -> int:
    """How many processes train together: those of torch.distributed's default group, or 1."""
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if ready else 1


@contextmanager
def share_rows(model: nn.Module, network: nn.Module | None = None) -> Iterator[None]:
    """Inside this context, the processes share the rows of every call of `network` that is made for a gradient.

    All processes must make the same calls. What runs under `torch.no_grad()`, as samplers do, is not shared: a single
    process may do it.

    Args:
        model: all that is trained; its gradients are averaged over the processes.
        network: the part of it whose rows are shared, the model itself by default. It takes tensors that have a row for
            each row of the first one, or no rows, and returns one tensor of as many rows. Each row's output must depend
            on that row alone, and all random numbers come from outside.

    Raises:
        TypeError: no modules.
        ValueError: `network` is no part of `model`, or has batch norm or dropout; the processes start from other weights
            than each other, or give the network other batches.
    """
    network = model if network is None else network
    for name, module in {"model": model, "network": network}.items():
        require(isinstance(module, nn.Module), name, f"a {type(module).__name__}", "a torch.nn.Module", TypeError)
    require(any(part is network for part in model.modules()), "network", "another module", "model or a part of it")
    for part in network.modules():
        mixes = isinstance(part, MIXES_ROWS)
        require(not mixes, "network", f"with a {type(part).__name__}", "without batch norm and without dropout")
    if world_size() == 1:
        yield
        return
    _require_same("model", [*model.parameters(), *model.buffers()])
    rows = _SharedRows()
    handles = [
        network.register_forward_pre_hook(rows.take, with_kwargs=True),
        network.register_forward_hook(rows.give_back),
        *(parameter.register_hook(_mean) for parameter in model.parameters() if parameter.requires_grad),
    ]
    try:
        yield
    finally:
        rows.active = False  # copies of the network, such as a running average, keep the hooks
        for handle in handles:
            handle.remove()


class _SharedRows:
    """The two hooks around a call: one keeps a process's rows of what goes in, the other brings all rows together."""

    def __init__(self) -> None:
        self.active, self.checked, self.n = True, False, 0

    def take(self, _: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
        if not (self.active and torch.is_grad_enabled()):
            return None
        given = [*args, *kwargs.values()]
        draws = any(isinstance(each, torch.Generator) for each in given)
        require(not draws, "network", "given a torch.Generator", "a part of the model that draws nothing itself")
        tensors = [each for each in given if isinstance(each, Tensor)]
        has_rows = bool(tensors) and tensors[0].ndim > 0 and len(tensors[0]) > 0
        require(has_rows, "network", "called without rows", "called with a tensor of at least one row")
        self.n = len(tensors[0])
        if not self.checked:
            _require_same("batch", tensors)
            self.checked = True
        return tuple(map(self._own, args)), {name: self._own(each) for name, each in kwargs.items()}

    def give_back(self, _: nn.Module, args: tuple, output: Any) -> Tensor | None:
        if not (self.active and torch.is_grad_enabled()):
            return None
        fits = isinstance(output, Tensor) and output.ndim > 0 and len(output) == -(-self.n // world_size())
        came = f"of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        require(fits, "what network returns", came, "one tensor with a row for each row it was given")
        return _All.apply(output)[: self.n]

    def _own(self, given: Any) -> Any:
        if not isinstance(given, Tensor) or given.ndim == 0 or len(given) != self.n:
            return given
        left_over = -self.n % world_size()
        if left_over:  # the first rows stand in for those that lack; what comes out of them is dropped
            given = given[torch.arange(self.n + left_over, device=given.device) % self.n]
        return _Own.apply(given)

    def __deepcopy__(self, memo: dict) -> "_SharedRows":
        return self  # a copy of the network stops sharing when the network does


# Gradients of all rows are the same on every process. Gradients of a process's own rows carry the number of processes as a
# factor, so that the mean over processes is right for weights that the network used as for those that the loss used itself,
# in a penalty. Each function is the other's derivative, so second derivatives work, too.


class _Own(torch.autograd.Function):
    """All rows, as many for each process -> those of this one."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return rows.chunk(world_size())[torch.distributed.get_rank()].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _All.apply(gradient) / world_size()


class _All(torch.autograd.Function):
    """The rows of this process -> those of all."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(world_size())]
        torch.distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Own.apply(gradient) * world_size()


def _mean(gradient: Tensor) -> Tensor:
    """The mean of the processes' gradients."""
    gradient = (gradient / world_size()).contiguous()
    torch.distributed.all_reduce(gradient)
    return gradient


def _require_same(what: str, tensors: list[Tensor]) -> None:
    """Raise on every process unless all hold the same numbers, told by their sums."""
    real = [torch.view_as_real(each) if each.is_complex() else each for each in map(Tensor.detach, tensors)]
    sums = torch.stack([each.double().sum() for each in real])
    of_all = [torch.empty_like(sums) for _ in range(world_size())]
    torch.distributed.all_gather(of_all, sums)
    same = all(torch.equal(of_all[0], each) for each in of_all)
    require(same, what, "not the same on all processes", "drawn from the same seed, on devices of one kind")
