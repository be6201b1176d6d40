"""What soft reset is compared with (lesson 07): other ways to keep a network able to learn.

All are `StreamTrainer`s, plain gradient descent with something added: a pull towards the start (`L2Init`), a little
shrinking and noise in each step (`ShrinkAndPerturb`), largest singular values near 1 (`SpectralRegularisation`), neurons
that went silent drawn anew (`DormantReset`), or everything drawn anew when somebody says that a task ends (`HardReset`).

>>> generator = torch.Generator().manual_seed(0)
>>> trainer = L2Init(StackedMLP(None, 2, 2, generator=generator), lr=0.5, strength=1e-3)
>>> for _ in range(50):
...     x = torch.randn(16, 2, generator=generator)
...     loss = trainer.step(cross_entropy, (x, (x[:, 0] > 0).long()))
>>> bool(loss < 0.3)
True
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from companion.foundations.stacks import LossFunction, Setting, StackedMLP, StreamTrainer, cross_entropy
from companion.foundations.validation import require, require_count
from companion.methods.soft_reset import initial_std

__all__ = [
    "DormantReset",
    "HardReset",
    "L2Init",
    "OnlineSGD",
    "ShrinkAndPerturb",
    "SpectralRegularisation",
    "StackedMLP",
    "cross_entropy",
]


class OnlineSGD(StreamTrainer):
    """theta <- theta - lr (grad L(theta) + what `penalty` adds), `updates` times for each batch, then `after`.

    Args:
        updates: gradient steps on each batch.
        model, lr, runs, generator: as in `StreamTrainer`.

    Raises:
        TypeError, ValueError: bad arguments.
    """

    def __init__(
        self,
        model: StackedMLP | torch.nn.Module,
        lr: Setting,
        *,
        updates: int = 1,
        runs: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(model, lr, runs=runs, generator=generator)
        require_count("updates", updates, 1)
        self.updates = updates

    def learn(self, loss_fn: LossFunction, batch: Any) -> None:
        """Descend on a batch; arguments as in `step`."""
        for _ in range(self.updates):
            gradient = self.gradient(loss_fn, batch)
            penalty = self.penalty()
            if penalty is not None:
                gradient += penalty
            self.theta.addcmul_(self.lr, gradient, value=-1)
        self.after(batch)

    def penalty(self) -> Float[Tensor, "*runs P"] | None:
        """Gradient of what is added to the loss; None: nothing."""
        return None

    def after(self, batch: Any) -> None:
        """What else is done to the parameters after a batch."""


class L2Init(OnlineSGD):
    """Gradient descent on L + strength / 2 ||theta - theta_0||^2.

    Source: S. Kumar, H. Marklund, B. Van Roy, "Maintaining Plasticity in Continual Learning via Regenerative
    Regularization" (arXiv 2308.11958).

    Args:
        strength: of the pull towards the parameters as they are now, at the start.
        model, lr, updates, runs, generator: as in `OnlineSGD`.

    Raises:
        TypeError, ValueError: bad arguments.
    """

    def __init__(self, model: torch.nn.Module, lr: Setting, strength: Setting, **options: Any) -> None:
        super().__init__(model, lr, **options)
        self.strength, self.start = self.setting("strength", strength), self.theta.clone()

    def penalty(self) -> Float[Tensor, "*runs P"]:
        """strength (theta - theta_0)."""
        return self.strength * (self.theta - self.start)


class ShrinkAndPerturb(OnlineSGD):
    """After each batch theta <- shrink theta + perturb init_std eps, eps standard normal.

    Source: J. T. Ash, R. P. Adams, "On Warm-Starting Neural Network Training", NeurIPS 2020, there once before each new
    training; in each step as by S. Dohare and others, "Loss of plasticity in deep continual learning", Nature 2024.

    Args:
        shrink: in [0, 1].
        perturb: noise in units of the standard deviations of the initialisation.
        model, lr, updates, runs, generator: as in `OnlineSGD`.

    Raises:
        TypeError, ValueError: bad arguments.
    """

    def __init__(self, model: torch.nn.Module, lr: Setting, shrink: Setting, perturb: Setting, **options: Any) -> None:
        super().__init__(model, lr, **options)
        stds = initial_std(model, self.runs)
        widths = self.flat([stds[name].expand_as(each) for name, each in zip(self.names, self.parameters)])
        self.shrink, self.width = self.setting("shrink", shrink, 0.0, 1.0), self.setting("perturb", perturb) * widths

    def after(self, batch: Any) -> None:
        """Shrink, and perturb."""
        self.theta.mul_(self.shrink).addcmul_(self.width, self.noise())


class HardReset(OnlineSGD):
    """Draws the whole network anew when `boundary` is called: somebody has to know when.

    Args:
        model: a `StackedMLP`, whose `reset_parameters` draws it.
        lr, updates, runs, generator: as in `OnlineSGD`.

    Raises:
        TypeError, ValueError: bad arguments.
    """

    def __init__(self, model: StackedMLP, lr: Setting, **options: Any) -> None:
        _require_stack(model)
        super().__init__(model, lr, **options)

    def boundary(self) -> None:
        """A new task begins."""
        self.model.reset_parameters(self.generator)


class SpectralRegularisation(OnlineSGD):
    """Gradient descent on L + strength sum over layers [ (sigma^2 - 1)^2 + ||bias||^4 ], sigma a weight's largest singular value.

    sigma is followed by one step of power iteration per update.

    Source: A. Lewandowski and others, "Learning Continually by Spectral Regularization", ICLR 2025 (arXiv 2406.06811), with
    its exponent k = 2.

    Args:
        strength: of the penalty.
        model: a `StackedMLP`.
        lr, updates, runs, generator: as in `OnlineSGD`.

    Raises:
        TypeError, ValueError: bad arguments.
    """

    def __init__(self, model: StackedMLP, lr: Setting, strength: Setting, **options: Any) -> None:
        _require_stack(model)
        super().__init__(model, lr, **options)
        self.strength = self.setting("strength", strength)
        self._right = []
        for layer in model.layers:
            weight = layer.weight
            shape = (*weight.shape[:-2], weight.shape[-1], 1)
            draw = torch.randn(shape, generator=self.generator, device=weight.device, dtype=weight.dtype)
            self._right.append(torch.nn.functional.normalize(draw, dim=-2))

    @torch.no_grad()
    def penalty(self) -> Float[Tensor, "*runs P"]:
        """4 strength (sigma^2 - 1) sigma u v' of each weight, 4 strength ||b||^2 b of each bias."""
        parts = []
        for place, layer in enumerate(self.model.layers):
            left = torch.nn.functional.normalize(layer.weight @ self._right[place], dim=-2)
            right = layer.weight.mT @ left
            sigma = torch.linalg.vector_norm(right, dim=-2, keepdim=True)
            self._right[place] = right / sigma.clamp_min(1e-30)
            parts.append(4 * (sigma.square() - 1) * sigma * (left @ self._right[place].mT))
            parts.append(4 * layer.bias.square().sum(-1, keepdim=True) * layer.bias)
        return self.strength * self.flat(parts)


class DormantReset(OnlineSGD):
    """Every `period` batches, hidden neurons that are all but silent start anew: incoming weights drawn, outgoing ones 0.

    A neuron is silent if its mean activation over the batch is at most `threshold` times the mean of its layer.

    Source: G. Sokar, R. Agarwal, P. S. Castro, U. Evci, "The Dormant Neuron Phenomenon in Deep Reinforcement Learning",
    ICML 2023 (ReDo).

    Args:
        threshold: tau.
        period: batches between two looks.
        model: a `StackedMLP`; a batch is (x, labels).
        lr, updates, runs, generator: as in `OnlineSGD`.

    Raises:
        TypeError, ValueError: bad arguments.
    """

    def __init__(self, model: StackedMLP, lr: Setting, threshold: Setting, period: int = 50, **options: Any) -> None:
        _require_stack(model)
        super().__init__(model, lr, **options)
        require_count("period", period, 1)
        self.threshold, self.period, self.seen = self.setting("threshold", threshold), period, 0

    @torch.no_grad()
    def after(self, batch: Any) -> None:
        """Look for silent neurons, when it is time."""
        self.seen += 1
        if self.seen % self.period:
            return
        layers, hidden = self.model.layers, self.model.activations(batch[0])[:-1]
        for before, after, activations in zip(layers, layers[1:], hidden):
            score = activations.abs().mean(-2)
            silent = score <= self.threshold * score.mean(-1, keepdim=True)
            std = (2 / before.weight.shape[-1]) ** 0.5
            draw = torch.randn(
                before.weight.shape, generator=self.generator, device=score.device, dtype=before.weight.dtype
            )
            before.weight.copy_(torch.where(silent[..., None], std * draw, before.weight))
            before.bias.masked_fill_(silent, 0)
            after.weight.masked_fill_(silent[..., None, :], 0)


def _require_stack(model: object) -> None:
    require(isinstance(model, StackedMLP), "model", f"a {type(model).__name__}", "a StackedMLP", TypeError)
