"""Many runs in one loop: networks stacked along a leading axis, and what takes such a stack through a stream.

A stack holds R independent copies of a network: each parameter has a leading axis R, a batch is (R, b, ...), and its losses
are (R, b). Since the copies never meet, one backward pass of the summed losses gives each its own gradient. Seeds and
settings of a comparison become rows of the stack. Without `runs` everything below works on an ordinary module.

>>> generator = torch.Generator().manual_seed(0)
>>> stack = StackedMLP(runs=3, inputs=2, outputs=4, width=8, generator=generator)
>>> x, labels = torch.randn(3, 16, 2, generator=generator), torch.randint(4, (3, 16), generator=generator)
>>> cross_entropy(stack, (x, labels)).shape
torch.Size([3, 16])
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from companion.foundations.validation import (
    Number,
    require,
    require_callable,
    require_count,
    require_floating,
    require_runs,
)

Setting: TypeAlias = Number | Float[Tensor, " runs"]  # one for all runs, or one for each
LossFunction: TypeAlias = Callable[[nn.Module, Any], Tensor]  # (model, batch) -> losses of the examples, (b,) or (R, b)


class StackedMLP(nn.Module):
    """R perceptrons `inputs -> width (depth times) -> outputs` with ReLU: (R, b, inputs) -> (R, b, outputs).

    Weights are (R, out, in), drawn from N(0, 2 / in), those of the last layer from N(0, 1 / in); biases (R, out) are 0.

    Args:
        runs: R; None for one ordinary perceptron, without the leading axis.
        inputs, outputs, width, depth: sizes.
        layer_norm: normalise each hidden layer before its ReLU, without parameters of its own.
        generator: of the draws; the parameters lie on its device.
        dtype: of the parameters.

    Raises:
        TypeError, ValueError: a size that is not a whole number from 1.
    """

    def __init__(
        self,
        runs: int | None,
        inputs: int,
        outputs: int,
        width: int = 64,
        depth: int = 2,
        *,
        layer_norm: bool = False,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = {"inputs": inputs, "outputs": outputs, "width": width, "depth": depth}
        for name, value in sizes.items() if runs is None else {"runs": runs, **sizes}.items():
            require_count(name, value, 1)
        self.runs, self.layer_norm = runs, layer_norm
        lead = () if runs is None else (runs,)
        device = "cpu" if generator is None else generator.device
        self.layers = nn.ModuleList()
        for fan_in, fan_out in pairwise([inputs] + [width] * depth + [outputs]):
            layer = nn.Module()
            layer.weight = nn.Parameter(torch.empty(*lead, fan_out, fan_in, device=device, dtype=dtype))
            layer.bias = nn.Parameter(torch.empty(*lead, fan_out, device=device, dtype=dtype))
            self.layers.append(layer)
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all parameters anew."""
        for place, layer in enumerate(self.layers):
            gain = 1 if place == len(self.layers) - 1 else 2
            layer.weight.normal_(std=math.sqrt(gain / layer.weight.shape[-1]), generator=generator)
            layer.bias.zero_()

    def activations(self, x: Float[Tensor, "*runs b inputs"]) -> list[Float[Tensor, "*runs b _"]]:
        """What each layer gives, hidden ones after their ReLU; the logits come last."""
        found = []
        for place, layer in enumerate(self.layers):
            x = x @ layer.weight.mT + layer.bias.unsqueeze(-2)
            if place < len(self.layers) - 1:
                x = (nn.functional.layer_norm(x, x.shape[-1:]) if self.layer_norm else x).relu()
            found.append(x)
        return found

    def forward(self, x: Float[Tensor, "*runs b inputs"]) -> Float[Tensor, "*runs b outputs"]:
        return self.activations(x)[-1]


def cross_entropy(
    model: nn.Module, batch: tuple[Float[Tensor, "..."], Int[Tensor, "*runs b"]]
) -> Float[Tensor, "*runs b"]:
    """Minus the log-probability of each label under the softmax of the model's logits."""
    x, labels = batch
    return -model(x).log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


class StreamTrainer(ABC):
    """Takes a model through a stream, test then train: `step` scores a batch by the model as it is, then learns it.

    The model's parameters become views of one tensor, `theta`, as `torch.nn.utils.vector_to_parameters` makes them: a step
    on all of them is one operation. So move the model to its device and dtype first.

    Args:
        model: changed in place.
        lr: learning rate, on the mean loss of a batch.
        runs: R if the model is a stack, whose losses are (R, b); None for an ordinary module with losses (b,).
        generator: of all draws, on the parameters' device.

    Attributes:
        theta: all parameters that learn, (P,), or (R, P) for a stack.
        names, sizes: of the parameters, in the order of theta.

    Raises:
        TypeError, ValueError: a model without parameters, or with parameters of several dtypes or devices; a stack whose
            parameters have no leading axis R; a setting out of range.
    """

    def __init__(
        self, model: nn.Module, lr: Setting, *, runs: int | None = None, generator: torch.Generator | None = None
    ) -> None:
        require(isinstance(model, nn.Module), "model", f"a {type(model).__name__}", "a torch.nn.Module", TypeError)
        named = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
        require(len(named) > 0, "model", "without parameters that learn", "a module with some")
        if generator is not None:
            fits = isinstance(generator, torch.Generator)
            require(fits, "generator", f"a {type(generator).__name__}", "a torch.Generator or None", TypeError)
        sorts = {(each.dtype, each.device) for _, each in named}
        require(len(sorts) == 1, "model", "with parameters of several sorts", "of one dtype on one device")
        require_runs(model, runs)
        self.model, self.runs, self.generator = model, runs, generator
        self.names, self.parameters = [name for name, _ in named], [each for _, each in named]
        self.sizes = [each[0].numel() if runs else each.numel() for each in self.parameters]
        self._share()
        self.lr = self.setting("lr", lr)

    def _share(self) -> None:
        """Make the parameters views of theta."""
        self.theta = self.flat([each.detach() for each in self.parameters])
        for each, view in zip(self.parameters, self.split(self.theta)):
            each.data = view.view(each.shape)

    def __deepcopy__(self, memo: dict[int, Any]) -> "StreamTrainer":
        """A trainer of its own model; the parameters of a copied module would be no views any more."""
        found = memo[id(self)] = object.__new__(type(self))
        for name, value in self.__dict__.items():
            generator = isinstance(value, torch.Generator)
            found.__dict__[name] = value.clone_state() if generator else copy.deepcopy(value, memo)
        found._share()
        return found

    def flat(self, parts: Sequence[Tensor]) -> Float[Tensor, "*runs P"]:
        """One tensor for all parameters, from one for each."""
        lead = self.parameters[0].shape[: 0 if self.runs is None else 1]
        return torch.cat([each.reshape(*lead, -1) for each in parts], -1)

    def split(self, vector: Float[Tensor, "*runs P"]) -> tuple[Float[Tensor, "*runs _"], ...]:
        """The part of each parameter."""
        return vector.split(self.sizes, -1)

    def noise(self) -> Float[Tensor, "*runs P"]:
        """A standard normal number for each number in theta."""
        like = self.theta
        return torch.randn(like.shape, generator=self.generator, device=like.device, dtype=like.dtype)

    def setting(self, name: str, value: Setting, low: Number = 0.0, high: Number = math.inf) -> Tensor:
        """A number from `low` to `high`, ends included, as a tensor () or (R, 1), to multiply theta.

        Raises:
            TypeError, ValueError: it is none, or out of range, or not one for each run.
        """
        like = self.theta
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number:
            require_floating(name, value)
        shape = () if number or value.ndim == 0 or self.runs is None else (self.runs,)
        found = torch.as_tensor(value, dtype=like.dtype, device=like.device)
        allowed = "a number" if self.runs is None else f"a number, or of shape ({self.runs},)"
        require(tuple(found.shape) == shape, name, f"of shape {tuple(found.shape)}", allowed)
        if number or value.device.type == "cpu":  # on a GPU that would wait for the queue
            inside = bool(((found >= low) & (found <= high)).all()) and bool(found.isfinite().all())
            allowed = f"a finite number from {low:g} on" if high == math.inf else f"from {low:g} to {high:g}"
            require(inside, name, value if number else "out of range in some run", allowed)
        return found if found.ndim == 0 else found[:, None]

    def step(self, loss_fn: LossFunction, batch: Any) -> Float[Tensor, "*runs"]:
        """Score a batch, then learn it.

        Args:
            loss_fn: (model, batch) -> losses of the examples, (b,), or (R, b) for a stack.
            batch: whatever `loss_fn` takes.

        Returns:
            The mean loss before anything was learned from the batch.
        """
        score = self.score(loss_fn, batch)
        self.learn(loss_fn, batch)
        return score

    @torch.no_grad()
    def score(self, loss_fn: LossFunction, batch: Any) -> Float[Tensor, "*runs"]:
        """The mean loss of a batch by the model as it is."""
        return self.losses(loss_fn, batch).mean(-1)

    @abstractmethod
    def learn(self, loss_fn: LossFunction, batch: Any) -> None:
        """Learn a batch whose labels are known by now; arguments as in `step`."""

    def gradient(self, loss_fn: LossFunction, batch: Any) -> Float[Tensor, "*runs P"]:
        """Of the mean loss of a batch."""
        total = self.losses(loss_fn, batch).mean(-1).sum()
        return self.flat(torch.autograd.grad(total, self.parameters))

    def losses(self, loss_fn: LossFunction, batch: Any) -> Float[Tensor, "*runs b"]:
        """Of the examples of a batch.

        Raises:
            TypeError, ValueError: `loss_fn` cannot be called, or gives something else than a loss for each example.
        """
        require_callable("loss_fn", loss_fn, "a callable (model, batch) -> losses")
        losses = loss_fn(self.model, batch)
        require_floating("loss_fn(model, batch)", losses)
        axes, lead = ("(b,)", ()) if self.runs is None else (f"({self.runs}, b)", (self.runs,))
        fits = losses.ndim == len(lead) + 1 and tuple(losses.shape[:-1]) == lead
        require(
            fits, "loss_fn(model, batch)", f"of shape {tuple(losses.shape)}", f"of shape {axes}, one for each example"
        )
        return losses
