"""Closed-form first layer: the first layer's weights move so that what it gives moves as if it could by itself.

The gradient of a linear layer's weight is the gradient of its outputs Z = X W' + bias times its inputs, so that large or
correlated inputs make large steps. Here the outputs take the gradient step, and W follows as closely as it can: with
the gradient G of Z (n, out), the damped least-squares fit of a change of Z by -rate n G, per row and mean, is

    gradient of W <- G'X (X'X/n + damping I)^-1.

Any optimizer takes it from there. The inputs are fixed, and so is the matrix, but for the batch that is drawn.

Source: Petersen, Borgelt and Ermon, "TrAct: Making First-layer Pre-Activations Trainable", NeurIPS 2024 (arXiv
2410.23970), which is made for images and damps by 0.1. Simplified: linear layers only.

>>> from companion.foundations.networks import MLP
>>> backbone = solve_first_layer(MLP(2, 8), damping=0.1)
>>> backbone
MLP(
  (0): SolvedFirst(inputs=2, outputs=64, damping=0.1)
  (1): SiLU()
  (2): Linear(in_features=64, out_features=64, bias=True)
  (3): SiLU()
  (4): Linear(in_features=64, out_features=64, bias=True)
  (5): SiLU()
  (6): Linear(in_features=64, out_features=8, bias=True)
)
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from companion.foundations.linear import ridge_ex
from companion.foundations.validation import Number, require, require_in


def solve_first_layer(module: nn.Module, damping: Number = 0.1) -> nn.Module:
    """Give the first linear layer of a module, in the order of its registration, the gradient above.

    Changed in place and returned; parameters and the names in its `state_dict` stay. Do this before an optimizer or
    `train_last_layer` gets it.

    Args:
        module: the backbone.
        damping: above 0. Large damping is the usual gradient divided by it; without it outputs would move as freely as a
            linear layer lets them.

    Raises:
        TypeError, ValueError: no module, one without an `nn.Linear`, or damping out of range.
    """
    require(isinstance(module, nn.Module), "module", f"a {type(module).__name__}", "a torch.nn.Module", TypeError)
    require_in("damping", damping, "(0, inf)")
    again = any(isinstance(part, SolvedFirst) for part in module.modules())
    require(not again, "module", "one whose first layer is solved already", "changed only once")
    name = next((name for name, part in module.named_modules() if isinstance(part, nn.Linear)), None)
    require(name is not None, "module", f"a {type(module).__name__} without one", "a module with an nn.Linear")
    solved = SolvedFirst(module.get_submodule(name), damping)
    if not name:
        return solved
    parent, _, own = name.rpartition(".")
    setattr(module.get_submodule(parent), own, solved)
    return module


class SolvedFirst(nn.Module):
    """A linear layer (n, ..., inputs) -> (n, ..., outputs) whose weight is given the solved gradient.

    Its outputs, the gradients of its bias and of its inputs are those of `nn.Linear`. Every row counts, all but the last
    axis. Where the system cannot be solved (inputs that are not finite, or far too large for the damping and the dtype)
    the gradient is NaN.

    Args:
        linear: the layer it stands for, whose parameters it takes over.
        damping: above 0.
    """

    def __init__(self, linear: nn.Linear, damping: Number = 0.1) -> None:
        super().__init__()
        require(isinstance(linear, nn.Linear), "linear", f"a {type(linear).__name__}", "an nn.Linear", TypeError)
        require_in("damping", damping, "(0, inf)")
        self.damping = damping
        self.weight = linear.weight
        self.register_parameter("bias", linear.bias)

    def forward(self, x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        return _Solved.apply(x, self.weight, self.bias, self.damping)

    def extra_repr(self) -> str:
        outputs, inputs = self.weight.shape
        return f"inputs={inputs}, outputs={outputs}, damping={self.damping}"


class _Solved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, damping):
        ctx.save_for_backward(x, weight)
        ctx.damping, ctx.bias = damping, bias is not None
        return nn.functional.linear(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        x, weight = ctx.saved_tensors
        of_x = slope @ weight if ctx.needs_input_grad[0] else None
        x, slope = x.reshape(-1, x.shape[-1]), slope.reshape(-1, slope.shape[-1])
        solved, status = ridge_ex(x, slope, len(x) * ctx.damping)  # of the smaller system, inputs or rows
        of_weight = torch.where(status == 0, len(x) * solved.T, torch.nan)
        return of_x, of_weight, slope.sum(0) if ctx.bias else None, None
