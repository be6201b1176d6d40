"""Soft parameter reset: how far back to its start a network should go, decided by the next batch.

A network that learns from a stream may stop being able to. Between two batches its weights are supposed to drift towards
the law that they were first drawn from, by an Ornstein-Uhlenbeck step: gamma = 1 leaves them where they are, gamma = 0
draws them anew. How far, is chosen for each batch by the probability that the drifted belief gives the labels of that
batch, by a gradient step on gamma that starts at 1. Then the batch is learned, from the drifted weights, at a learning rate
that grows with the drift. Nobody says where one task ends and another begins.

Source: A. Galashov, M. K. Titsias, A. Gyorgy, C. Lyle, R. Pascanu, Y. W. Teh, M. Sahani, "Non-Stationary Learning of Neural
Networks with Automatic Soft Parameter Reset", NeurIPS 2024 (arXiv 2411.04034). The gradient of gamma through the
parameters' own gradient, and the averaged form of the proximal step, are ours.

>>> generator = torch.Generator().manual_seed(0)
>>> model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
>>> trainer = SoftReset(model, lr=0.5, drift_lr=0.002, generator=generator)
>>> for _ in range(50):
...     x = torch.randn(16, 2, generator=generator)
...     loss = trainer.step(cross_entropy, (x, (x[:, 0] > 0).long()))
>>> bool(loss < 0.3), [name for name in trainer.gammas]
(True, ['0', '2'])
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from companion.foundations.stacks import LossFunction, Setting, StackedMLP, StreamTrainer, cross_entropy
from companion.foundations.validation import (
    Number,
    require,
    require_broadcast,
    require_count,
    require_floating,
    require_in,
    require_runs,
    require_stds,
)

__all__ = [
    "BayesianSoftReset",
    "SoftReset",
    "StackedMLP",
    "cross_entropy",
    "drift",
    "initial_std",
    "learning_rate_rise",
]

GRANULARITIES = ("model", "layer", "parameter")


def drift(
    mean: Float[Tensor, "*#event"],
    std: Float[Tensor, "*#event"],
    init_mean: Float[Tensor, "*#event"],
    init_std: Float[Tensor, "*#event"],
    gamma: Float[Tensor, "*#event"] | Number,
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """One Ornstein-Uhlenbeck step of a Gaussian belief towards the law of the start.

        theta' | theta ~ N(gamma theta + (1 - gamma) init_mean, (1 - gamma^2) init_std^2)
        theta ~ N(mean, std^2)   =>   theta' ~ N(gamma mean + (1 - gamma) init_mean, gamma^2 std^2 + (1 - gamma^2) init_std^2)

    gamma = 1: nothing happens; gamma = 0: a fresh draw of the start. The law of the start itself does not move. (Lesson 06
    writes gamma = exp(-delta / 2), the paper of this one exp(-delta).)

    Args:
        mean, std: of the belief; all arguments broadcast.
        init_mean, init_std: of the law of the start.
        gamma: in [0, 1].

    Returns:
        Mean and standard deviation after the step.

    Raises:
        TypeError, ValueError: a tensor that is not floating, a negative std, or gamma outside [0, 1] (values are read on a
            CPU only).
    """
    for name, value in {"mean": mean, "std": std, "init_mean": init_mean, "init_std": init_std}.items():
        require_floating(name, value)
    for name, value in {"std": std, "init_std": init_std}.items():
        if value.device.type == "cpu":
            require(bool((value >= 0).all()), name, "negative somewhere", "0 or above")
    if isinstance(gamma, Tensor):
        require_floating("gamma", gamma)
        inside = gamma.device.type != "cpu" or bool(((gamma >= 0) & (gamma <= 1)).all())
        require(inside, "gamma", "outside somewhere", "in [0, 1]")
    else:
        require_in("gamma", gamma, "[0, 1]")
        gamma = torch.as_tensor(gamma, dtype=mean.dtype, device=mean.device)
    parts = {"mean": mean, "std": std, "init_mean": init_mean, "init_std": init_std, "gamma": gamma}
    require_broadcast(**parts)
    drifted, spread = _drift(*parts.values())
    shape = torch.broadcast_shapes(drifted.shape, spread.shape)
    return drifted.expand(shape), spread.expand(shape)


def _drift(mean: Tensor, std: Tensor, init_mean: Tensor, init_std: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    square = gamma.square()
    return torch.lerp(init_mean, mean, gamma), (square * std.square() + (1 - square) * init_std.square()).sqrt()


def learning_rate_rise(gamma: Tensor, posterior_scale: Tensor | Number) -> Tensor:
    """By what the learning rate is multiplied after a drift: gamma^2 + (1 - gamma^2) / posterior_scale^2.

    It is the variance of the drifted belief over that of the belief before, posterior_scale^2 times the start's: what is
    less certain may move further. 1 for gamma = 1, and 1 / posterior_scale^2 for gamma = 0.

    Raises:
        TypeError: gamma is no floating tensor.
    """
    require_floating("gamma", gamma)
    square = gamma.square()
    return square + (1 - square) / posterior_scale**2


def initial_std(model: nn.Module, runs: int | None = None) -> dict[str, Tensor]:
    """For each parameter the standard deviation of the law it was drawn from, judged by the model as it is at its start.

    Tensors with two axes or more (besides that of the runs): the root mean square of their values. Vectors, such as biases,
    which often start at 0: 1 / sqrt(fan-in) of the weight of their layer, or 1 / sqrt(length) in a layer without one. The
    same for a weight that is 0.

    Returns:
        By name, tensors () or (R,) with trailing axes of size 1, so that they broadcast to the parameters.

    Raises:
        TypeError, ValueError: no module, or no stack of so many runs.
    """
    require(isinstance(model, nn.Module), "model", f"a {type(model).__name__}", "a torch.nn.Module", TypeError)
    require_runs(model, runs)
    lead = 0 if runs is None else 1
    found: dict[str, Tensor] = {}
    for prefix, layer in model.named_modules():
        own = {name: each.detach() for name, each in layer.named_parameters(recurse=False)}
        fan_ins = [math.prod(each.shape[lead + 1 :]) for each in own.values() if each.ndim >= lead + 2]
        for name, each in own.items():
            axes = tuple(range(lead, each.ndim))
            fan_in = fan_ins[0] if fan_ins else math.prod(each.shape[lead:])
            std = each.new_full(each.shape[:lead] + (1,) * len(axes), fan_in**-0.5)
            if len(axes) >= 2:
                size = each.square().mean(axes, keepdim=True).sqrt()
                std = torch.where(size > 0, size, std)
            found[f"{prefix}.{name}" if prefix else name] = std
    return found


class SoftReset(StreamTrainer):
    """Gradient descent on a stream, from weights that go part of the way back to their start before each batch.

        score      loss of the batch by theta, before anything is learned from it
        gamma      J(gamma) = log E exp(-L(theta'))  under the drifted belief,  gamma <- clip(gamma + drift_lr dJ/dgamma, 0, 1)
        drift      theta <- gamma theta + (1 - gamma) init_mean
        gradient   theta <- theta - lr (gamma^2 + (1 - gamma^2) / posterior_scale^2) grad L(theta)

    in this order. L is the *summed* loss of the batch for gamma, and the *mean* loss for the gradient. The belief is
    N(theta, (posterior_scale init_std)^2); the start's law N(init_mean, init_std^2), with `init_scale` times the standard
    deviations of the network's initialisation. A gamma needs no backward pass of its own: its gradient is that of the
    parameters, along their way back.

    A model in training mode with batch norm counts each of the passes in its running statistics.

    Args:
        model: as it is at the start of its life; changed in place.
        lr: learning rate.
        drift_lr: step of gamma, on the summed log-likelihood. Too large a step resets within tasks.
        posterior_scale: s in (0, 1], the belief's width over that of the start; below 1 the learning rate rises after a drift.
        init_scale: f, the assumed width of the start over that of the initialisation.
        per: one gamma for the "model", for each "layer" (a module that owns parameters), or for each single "parameter".
        drift_steps: K, steps of each gamma, from 1, with the same noise.
        samples: M draws of the drifted belief in J; 0: its mean, as if it had no width (`init_scale` then counts for nothing).
        update_steps: gradients of a proximal update, theta' - rate * (mean of the gradients met so far); 1 is the plain step.
        center: where the drift leads: to the "initial" weights or to "zero".
        init_std: standard deviations of the initialisation by name of parameter, instead of `initial_std(model)`.
        runs: R if the model is a stack; lr, drift_lr, posterior_scale and init_scale may then be tensors (R,).
        generator: of the noise, on the parameters' device.

    Raises:
        TypeError, ValueError: bad arguments.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: Setting,
        drift_lr: Setting,
        posterior_scale: Setting = 1.0,
        init_scale: Setting = 0.03,
        per: Literal["model", "layer", "parameter"] = "layer",
        *,
        drift_steps: int = 1,
        samples: int = 1,
        update_steps: int = 1,
        center: Literal["initial", "zero"] = "initial",
        init_std: Mapping[str, Tensor] | None = None,
        runs: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(model, lr, runs=runs, generator=generator)
        require(per in GRANULARITIES, "per", repr(per), " or ".join(map(repr, GRANULARITIES)))
        require(center in ("initial", "zero"), "center", repr(center), "'initial' or 'zero'")
        for name, value, least in (
            ("drift_steps", drift_steps, 1),
            ("samples", samples, 0),
            ("update_steps", update_steps, 1),
        ):
            require_count(name, value, least)
        self.drift_lr = self.setting("drift_lr", drift_lr)
        self.posterior_scale = self.setting("posterior_scale", posterior_scale, 1e-6, 1.0)
        self.init_scale = self.setting("init_scale", init_scale, 1e-6)
        self.per, self.drift_steps, self.samples, self.update_steps = per, drift_steps, samples, update_steps
        stds = initial_std(model, runs) if init_std is None else init_std
        require(
            isinstance(stds, Mapping),
            "init_std",
            f"a {type(stds).__name__}",
            "a mapping of names to tensors",
            TypeError,
        )
        require_stds(stds, self.names, self.parameters)
        self.init_mean = self.theta.clone() if center == "initial" else torch.zeros_like(self.theta)
        widths = [stds[name].to(each).expand_as(each) for name, each in zip(self.names, self.parameters)]
        self.init_std = self.init_scale * self.flat(widths)
        self._groups = self._group()
        self._gamma = self._ones()
        self._believe(self.posterior_scale * self.init_std)

    def _group(self) -> dict[str, int]:
        """How many numbers of theta each gamma serves, in their order."""
        sizes: dict[str, int] = {}
        for name, size in zip(self.names, self.sizes):
            group = {"model": "model", "parameter": name}.get(self.per) or name.rpartition(".")[0] or "."
            sizes[group] = sizes.get(group, 0) + size
        return sizes

    @property
    def gammas(self) -> dict[str, Tensor]:
        """Of the last batch: for each layer, or "model", a number or (R,); for each parameter a tensor of its shape.

        Layers have the names of their modules; "." is the model itself, where it owns parameters.
        """
        if self.per == "parameter":
            return {
                name: part.view(each.shape)
                for name, part, each in zip(self.names, self.split(self._gamma), self.parameters)
            }
        return dict(zip(self._groups, self._gamma.unbind(-1)))

    def _believe(self, std: Float[Tensor, "*runs P"]) -> None:
        """Let this be the width of the belief; beside it, how fast a drift would widen it at gamma = 1."""
        self.std, self._widening = std, (std.square() - self.init_std.square()) / std

    # --- the four steps -------------------------------------------------------------------------------------------

    def learn(self, loss_fn: LossFunction, batch: Any) -> None:
        """Choose gamma by a batch, drift, and learn the batch; arguments as in `step`."""
        present = self.theta.clone()
        try:
            self._gamma = self._best_gamma(loss_fn, batch, present)
            self._lerp(present, self._gamma, out=self.theta)
            self._descend(loss_fn, batch)
        except BaseException:  # a loss that fails must not leave noise in the model
            self.theta.copy_(present)
            raise

    def _descend(self, loss_fn: LossFunction, batch: Any) -> None:
        """theta' - rate * (mean of the gradients at theta' and at the points that it led to)."""
        rate = self.lr * learning_rate_rise(self._gamma, self.posterior_scale)
        start = self.theta.clone() if self.update_steps > 1 else self.theta
        for done in range(1, self.update_steps + 1):
            gradient = self.gradient(loss_fn, batch)
            total = gradient if done == 1 else total + gradient
            pieces = zip(self._pieces(start), self._each(rate), self._pieces(total), self._pieces(self.theta))
            for begin, each, slope, theta in pieces:
                torch.addcmul(begin, each, slope, value=-1 / done, out=theta)

    def log_evidence(
        self, loss_fn: LossFunction, batch: Any, gamma: Setting
    ) -> tuple[Float[Tensor, "*runs"], Float[Tensor, "*runs"]]:
        """J(gamma), the log-probability of a batch under the belief after a drift by one gamma for all, and dJ/dgamma.

        Args:
            loss_fn, batch: as in `step`; `loss_fn` must be a negative log-likelihood.
            gamma: in [0, 1].

        Returns:
            Both by `samples` draws of the belief, which the generator gives; the model is left as it is.
        """
        present = self.theta.clone()
        gammas = self.setting("gamma", gamma, 0.0, 1.0) * self._ones()
        try:
            log_prob, slope = self._evidence(loss_fn, batch, present, gammas, self._noises())
        finally:
            self.theta.copy_(present)
        return log_prob, slope.sum(-1)

    def _best_gamma(self, loss_fn: LossFunction, batch: Any, present: Tensor) -> Float[Tensor, "*runs gammas"]:
        """What the batch asks for; leaves noise in theta."""
        gamma, noises = self._ones(), self._noises()
        for step in range(self.drift_steps):
            _, slope = self._evidence(loss_fn, batch, present, gamma if step else None, noises)
            gamma = torch.addcmul(gamma, self.drift_lr, slope).clamp_(0, 1)
        return gamma

    def _evidence(
        self,
        loss_fn: LossFunction,
        batch: Any,
        present: Float[Tensor, "*runs P"],
        gamma: Float[Tensor, "*runs gammas"] | None,
        noises: Sequence[Float[Tensor, "*runs P"] | None],
    ) -> tuple[Float[Tensor, "*runs"], Float[Tensor, "*runs gammas"]]:
        """J at gamma, or at 1 if it is None, and its gradient; leaves noise in theta.

        For each draw of noise theta' = mean + width noise, and d theta' / d gamma = present - init_mean + widening noise;
        None is no noise.
        """
        mean = present if gamma is None else self._lerp(present, gamma)
        width, widening = self._widths(gamma)
        way, log_probs, slopes = present - self.init_mean, [], []
        for noise in noises:
            if noise is None:
                self.theta.copy_(mean)
            else:
                torch.addcmul(mean, width, noise, out=self.theta)
            log_prob = -self.losses(loss_fn, batch).sum(-1)
            gradient = self.flat(torch.autograd.grad(log_prob.sum(), self.parameters))
            log_probs.append(log_prob.detach())
            change = way if noise is None else torch.addcmul(way, widening, noise)
            slopes.append(self._summed(gradient.mul_(change)))
        if len(noises) == 1:
            return log_probs[0], slopes[0]
        stacked = torch.stack(log_probs)
        weights = stacked.softmax(0)
        return stacked.logsumexp(0) - math.log(len(noises)), (weights[..., None] * torch.stack(slopes)).sum(0)

    def _noises(self) -> list[Float[Tensor, "*runs P"] | None]:
        return [self.noise() for _ in range(self.samples)] or [None]

    # --- widths and gammas ----------------------------------------------------------------------------------------

    def _widths(
        self, gamma: Float[Tensor, "*runs gammas"] | None
    ) -> tuple[Float[Tensor, "*runs P"], Float[Tensor, "*runs P"]]:
        """The width of the belief after a drift by gamma (None: 1), and its derivative in gamma."""
        if gamma is None:
            return self.std, self._widening
        spread = self._spread(gamma)
        _, width = _drift(self.theta, self.std, self.init_mean, self.init_std, spread)
        return width, spread * (self.std.square() - self.init_std.square()) / width

    def _lerp(self, present: Tensor, gamma: Tensor, out: Tensor | None = None) -> Float[Tensor, "*runs P"]:
        """From init_mean (gamma = 0) to the present (gamma = 1)."""
        out = torch.empty_like(present) if out is None else out
        pieces = zip(self._pieces(self.init_mean), self._pieces(present), self._each(gamma), self._pieces(out))
        for start, end, weight, found in pieces:
            torch.lerp(start, end, weight, out=found)
        return out

    def _pieces(self, vector: Float[Tensor, "*runs P"]) -> Sequence[Tensor]:
        """The parts of a vector that have one gamma each; the whole of it where each number has its own."""
        return [vector] if self.per == "parameter" else vector.split(list(self._groups.values()), -1)

    def _each(self, of_gammas: Float[Tensor, "*runs gammas"]) -> Sequence[Tensor]:
        """What goes with each of the pieces."""
        return [of_gammas] if self.per == "parameter" else of_gammas.split(1, -1)

    def _ones(self) -> Float[Tensor, "*runs gammas"]:
        count = self.theta.shape[-1] if self.per == "parameter" else len(self._groups)
        return self.theta.new_ones((*self.theta.shape[:-1], count))

    def _spread(self, of_gammas: Float[Tensor, "*runs gammas"]) -> Float[Tensor, "*runs #P"]:
        """What each gamma has, for all numbers that it serves."""
        if self.per == "parameter":
            return of_gammas
        parts = zip(self._each(of_gammas), self._groups.values())
        return torch.cat([each.expand(*each.shape[:-1], size) for each, size in parts], -1)

    def _summed(self, changes: Float[Tensor, "*runs P"]) -> Float[Tensor, "*runs gammas"]:
        """Over all numbers that share a gamma."""
        if self.per == "parameter":
            return changes
        return torch.stack([piece.sum(-1) for piece in self._pieces(changes)], -1)

    # --- saving ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What a resumed stream needs besides the model's own state_dict(): the law of the start, and the generator."""
        state = None if self.generator is None else self.generator.get_state()
        kept = {name: getattr(self, name).clone() for name in ("init_mean", "init_std", "std")}
        return {"kind": type(self).__name__, "generator": state} | kept

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            TypeError, ValueError: no state, or that of another sort of trainer, or of another model.
        """
        wanted = {"kind", "generator", "init_mean", "init_std", "std"}
        require(isinstance(state, Mapping), "state", f"a {type(state).__name__}", "a trainer's state_dict()", TypeError)
        require(set(state) == wanted, "state", f"with {sorted(state)}", f"with {sorted(wanted)}")
        kind = type(self).__name__
        require(state["kind"] == kind, "state", f"that of a {state['kind']}", f"that of a {kind}")
        both = (state["generator"] is None) == (self.generator is None)
        require(both, "generator", repr(self.generator), "given exactly when it was given before")
        kept = {name: state[name] for name in ("init_mean", "init_std", "std")}
        for name, value in kept.items():
            came, own = tuple(value.shape), tuple(self.theta.shape)
            require(came == own, f"state[{name!r}]", f"of shape {came}", f"of shape {own}")
        for name, value in kept.items():
            getattr(self, name).copy_(value)
        self._believe(self.std)
        if self.generator is not None:
            self.generator.set_state(state["generator"].cpu())


class BayesianSoftReset(SoftReset):
    """Soft reset of a Gaussian belief about each weight: the model's parameters are the means, `std` their widths.

    A batch is learned by `update_steps` gradient steps, from the drifted belief (mean', std'), on

        F(mean, std) = E L(mean + std eps) + temperature sum [ (mean - mean')^2 / (2 std'^2) + std^2 / (2 std'^2) - log std ]
        mean    <- mean - lr std'^2 / (posterior_scale init_std)^2  dF/dmean
        log std <- log std - std_lr dF/dlog std

    with one draw of eps a step, so that a step with std at its start is that of `SoftReset`. A batch is scored by the means.

    Args:
        std_lr: step of the log-widths.
        temperature: weight of the divergence from the drifted belief.
        model, lr, drift_lr, posterior_scale, init_scale, per, and the rest: as in `SoftReset`; std starts at
            posterior_scale init_std.

    Raises:
        TypeError, ValueError: bad arguments.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: Setting,
        drift_lr: Setting,
        posterior_scale: Setting = 1.0,
        init_scale: Setting = 0.1,
        per: Literal["model", "layer", "parameter"] = "layer",
        *,
        std_lr: Setting = 0.1,
        temperature: Setting = 1e-3,
        **options: Any,
    ) -> None:
        super().__init__(model, lr, drift_lr, posterior_scale, init_scale, per, **options)
        self.std_lr = self.setting("std_lr", std_lr)
        self.temperature = self.setting("temperature", temperature)

    def learn(self, loss_fn: LossFunction, batch: Any) -> None:
        """Choose gamma by a batch, drift the belief, and learn the batch; arguments as in `step`."""
        present = self.theta.clone()
        try:
            self._gamma = self._best_gamma(loss_fn, batch, present)
            mean, std = self._improved(loss_fn, batch, self._lerp(present, self._gamma), self._widths(self._gamma)[0])
        except BaseException:
            self.theta.copy_(present)
            raise
        self.theta.copy_(mean)
        self._believe(std)

    def _improved(
        self, loss_fn: LossFunction, batch: Any, start: Float[Tensor, "*runs P"], width: Float[Tensor, "*runs P"]
    ) -> tuple[Float[Tensor, "*runs P"], Float[Tensor, "*runs P"]]:
        """Mean and width after gradient steps on F from the drifted belief; leaves noise in theta."""
        rate = self.lr / (self.posterior_scale * self.init_std).square()
        pull = (rate * self.temperature).clamp_max(1)  # the quadratic part alone would be overshot beyond 1
        mean, log_std = start, width.log()
        for _ in range(self.update_steps):
            noise, std = self.noise(), log_std.exp()
            torch.addcmul(mean, std, noise, out=self.theta)
            gradient = self.gradient(loss_fn, batch)
            mean = mean - rate * width.square() * gradient - pull * (mean - start)
            slope = gradient * noise * std + self.temperature * ((std / width).square() - 1)
            log_std = log_std - self.std_lr * slope
        return mean, log_std.exp()
