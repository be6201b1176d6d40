"""Closed-form last layer: descend on the backbone alone, for the best last layer is known.

With squared loss and a linear last layer, `f(x) = phi_theta(x) W`, the best W for given features is a ridge solution. Put
it in, and what is left is a loss of the backbone alone. Its gradient is that of the ordinary loss at the solved W: how W
would move with theta does not enter, since the loss is flat in W there (the envelope theorem). Batches smaller than the
features are wide make the solve over-fit; a proximal step, which stays near the previous W, repairs that.

Source: "Closed-Form Last Layer Optimization" (2025, arXiv 2510.04606): the reduced loss and its envelope gradient, the
proximal step of Algorithm 1, and instrumental variables with both stages in closed form, after deep feature
instrumental-variable regression (Xu et al., ICLR 2021). Formulas were worked out anew from published descriptions. The
recursive mode is ours: `foundations.linear.RecursiveLeastSquares` in place of the proximal step.

>>> from companion.foundations.networks import MLP
>>> generator, _ = torch.Generator().manual_seed(0), torch.manual_seed(0)
>>> x = 4 * torch.rand(256, 1, generator=generator) - 2
>>> y = torch.sin(3 * x)
>>> backbone = nn.Sequential(MLP(1, 32, width=32, depth=1), nn.Tanh())
>>> for state in train_closed_form(backbone, (x, y), steps=100, mode="full"):
...     pass
>>> bool((state.predict(x) - y).square().mean() < 1e-3)
True
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from companion.foundations.fourier import FourierOperator1d, FourierOperator2d  # noqa: F401  whose last layer is solved
from companion.foundations.linear import (
    RecursiveLeastSquares,
    predict,
    require_rows,
    require_solved,
    require_weights,
    ridge,
    ridge_ex,
)
from companion.foundations.validation import (
    Number,
    require,
    require_callable,
    require_count,
    require_floating,
    require_in,
)

Pairs: TypeAlias = tuple[Tensor, Tensor] | Callable[[int, torch.Generator | None], tuple[Tensor, Tensor]]
Mode: TypeAlias = Literal["full", "proximal", "recursive"]
MODES = ("full", "proximal", "recursive")


# --- one solve ----------------------------------------------------------------------------------------------------


def solve_last_layer(
    features: Float[Tensor, "n p"], targets: Float[Tensor, "n k"], ridge: Number
) -> Float[Tensor, "p k"]:
    """The best last layer for these features: `(F'F/n + ridge I)^-1 F'Y/n`.

    It minimises `|Y - F W|^2 / 2n + ridge/2 |W|^2`. Append a column of ones (`with_bias`) for a bias.

    Args:
        features: F (n, p).
        targets: Y (n, k).
        ridge: not negative.

    Raises:
        TypeError, ValueError: as `foundations.linear.ridge`, which this is with the penalty n times `ridge`.
        torch.linalg.LinAlgError: the system is singular.
    """
    return _ridge("ridge", features, targets, ridge)


def proximal_last_layer(
    features: Float[Tensor, "b p"], targets: Float[Tensor, "b k"], previous: Float[Tensor, "p k"], strength: Number
) -> Float[Tensor, "p k"]:
    """The best last layer for a batch that stays near the previous one (the update of W in Algorithm 1).

    `(F'F/b + strength I)^-1 (F'Y/b + strength previous)`, the minimum of
    `|Y - F W|^2 / 2b + strength/2 |W - previous|^2`. Large strengths keep W where it was, and move it to first order as a
    gradient step of rate 1/strength does; small ones solve for the batch alone.

    Args:
        features: F (b, p).
        targets: Y (b, k).
        previous: W before this batch (p, k).
        strength: not negative; means the same for every batch size.

    Raises:
        TypeError, ValueError: as `foundations.linear.ridge`.
        torch.linalg.LinAlgError: the system is singular.
    """
    require_rows(features, targets)
    require_weights("previous", previous, features, targets)
    return _ridge("strength", features, targets, strength, previous)


def _ridge(name: str, features: Tensor, targets: Tensor, value: Number, prior: Tensor | None = None) -> Tensor:
    require_floating("features", features)
    require_in(name, value, "[0, inf)")
    return ridge(features, targets, len(features) * value, prior)


def squared_loss(
    features: Float[Tensor, "n p"], weights: Float[Tensor, "p k"], targets: Float[Tensor, "n k"]
) -> Float[Tensor, ""]:
    """`|Y - F W|^2 / 2n`: half the squared error, summed over outputs, mean over rows."""
    return 0.5 * (targets - predict(features, weights)).square().sum(1).mean()


def closed_form_loss(features: Float[Tensor, "n p"], targets: Float[Tensor, "n k"], ridge: Number) -> Float[Tensor, ""]:
    """The reduced loss `|Y - F W|^2 / 2n + ridge/2 |W|^2` at the solved W, with the envelope gradient.

    The solve has no graph, and needs none: the gradient of the whole with respect to features and targets is that at
    fixed W, exactly (Theorem 1). Only the first derivative is right; a second one would need the graph.

    Args:
        features: F (n, p), with or without a graph.
        targets: Y (n, k).
        ridge: not negative.

    Raises:
        TypeError, ValueError, torch.linalg.LinAlgError: as `solve_last_layer`.
    """
    require_floating("features", features)
    require_floating("targets", targets)
    weights = solve_last_layer(features.detach(), targets.detach(), ridge)
    return squared_loss(features, weights, targets) + 0.5 * ridge * weights.square().sum()


def with_bias(features: Float[Tensor, "*rows p"]) -> Float[Tensor, "*rows p+1"]:
    """The features with a column of ones, so that the last row of W is a bias."""
    require_floating("features", features)
    require(features.ndim > 0, "features", "of shape ()", "of shape (..., p)")
    return torch.cat([features, features.new_ones(*features.shape[:-1], 1)], dim=-1)


# --- last layers --------------------------------------------------------------------------------------------------


class LastLayer(nn.Module):
    """W (p, k) and the rule that moves it. `train_last_layer` calls `first`, `before` and `after`; a rule overrides some.

    Parameters of the module (a rule may make W one) are trained with the backbone's. `status` gathers what the solves
    report, without waiting for the device.

    Args:
        weights: the start (p, k).
        rows: of a batch; what the precision of a prior is counted in.
    """

    weights: Tensor
    status: Tensor
    second_forward = False  # whether `after` wants features of the new backbone

    def __init__(self, weights: Float[Tensor, "p k"], rows: int) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.register_buffer("status", torch.zeros((), dtype=torch.int32, device=weights.device))

    def first(self, features: Float[Tensor, "n p"], targets: Float[Tensor, "n k"]) -> None:
        """Once, with the features of the first batch, before any step."""

    def before(self, features: Float[Tensor, "n p"], targets: Float[Tensor, "n k"]) -> Float[Tensor, "p k"]:
        """The W that the backbone's step uses; the features come with their graph."""
        return self.weights

    def after(self, features: Float[Tensor, "n p"], targets: Float[Tensor, "n k"]) -> None:
        """After the backbone's step, with the new features of the same batch if `second_forward` is set."""

    def note(self, status: Int[Tensor, ""]) -> None:
        """Remember the worst status of a solve."""
        torch.maximum(self.status, status, out=self.status)


class FullSolve(LastLayer):
    """W solved anew for every batch before the backbone's step; meant for a batch that is all of the data."""

    def __init__(self, weights: Float[Tensor, "p k"], rows: int, ridge: Number = 1e-5) -> None:
        super().__init__(weights, rows)
        self.ridge = ridge

    @torch.no_grad()
    def before(self, features, targets):
        weights, status = ridge_ex(features.to(self.weights), targets.to(self.weights), len(features) * self.ridge)
        self.weights.copy_(weights)
        self.note(status)
        return self.weights.to(features)


class ProximalStep(LastLayer):
    """Algorithm 1: the backbone's step with the previous W, then a proximal solve with the new features."""

    second_forward = True

    def __init__(self, weights: Float[Tensor, "p k"], rows: int, strength: Number = 0.1) -> None:
        super().__init__(weights, rows)
        self.strength = strength

    def first(self, features, targets):
        self.after(features, targets)

    @torch.no_grad()
    def after(self, features, targets):
        penalty = len(features) * self.strength
        weights, status = ridge_ex(features.to(self.weights), targets.to(self.weights), penalty, self.weights)
        self.weights.copy_(weights)
        self.note(status)


class RecursiveStep(LastLayer):
    """As `ProximalStep`, with recursive least squares: what older batches said about W is forgotten only slowly.

    Their features were those of older backbones; `forgetting` says how soon that matters. 0 is `ProximalStep`.
    """

    second_forward = True

    def __init__(
        self, weights: Float[Tensor, "p k"], rows: int, strength: Number = 0.1, forgetting: Number = 0.9
    ) -> None:
        super().__init__(weights, rows)
        self.memory = RecursiveLeastSquares(weights, rows * strength, forgetting)
        del self.weights

    @property
    def weights(self) -> Tensor:
        return self.memory.weights

    def first(self, features, targets):
        self.note(self.memory.update_ex(features.to(self.weights), targets.to(self.weights)))

    def after(self, features, targets):
        self.first(features, targets)


# --- training -----------------------------------------------------------------------------------------------------


@dataclass
class LastLayerState:
    """One moment of training.

    Attributes:
        step: backbone updates made so far, counted from 1.
        loss: of the step's batch before the update, a detached () tensor on the backbone's device.
        backbone: the network being trained, inputs -> features.
        weights: the last layer W; its last row is the bias, if there is one.
        bias: whether a column of ones is appended to the features.
    """

    step: int
    loss: Tensor
    backbone: nn.Module
    weights: Tensor
    bias: bool
    _resumable: Callable[[], dict[str, Any]]

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """The outputs (n, ..., k) for inputs (n, ...)."""
        features = self.backbone(x)
        return (with_bias(features) if self.bias else features) @ self.weights.to(features)

    def state_dict(self) -> dict[str, Any]:
        """Everything that `resume` needs to go on as if training had never stopped."""
        return self._resumable()


def train_closed_form(
    backbone: nn.Module,
    data: Pairs,
    steps: int,
    mode: Mode = "full",
    *,
    batch_size: int | None = None,
    ridge: Number = 1e-5,
    strength: Number = 0.1,
    forgetting: Number = 0.9,
    solve_dtype: torch.dtype | None = None,
    **settings: Any,
) -> Iterator[LastLayerState]:
    """Train a backbone whose last layer is solved, not walked to.

    Args:
        backbone: trained in place; a module from inputs (b, ...) to features (b, ..., p). Rows of the solve are all but
            the last axis: every grid point, for a neural operator.
        data: a pair of tensors, inputs (rows, ...) and targets (rows, ..., k), of which batches are drawn with
            replacement; or a callable (n, generator) -> such a pair.
        steps: updates of the backbone in all, those before a resume included.
        mode: "full", W solved before each step (for a batch that is all of the data: on a batch with fewer rows than
            features it over-fits and fails); "proximal", Algorithm 1; "recursive", recursive least squares.
        batch_size: None for all of the data in every step.
        ridge: of mode "full", not negative. In float32 a ridge of about 1e-6 of the features' mean square is lost to
            rounding, and training may end in an error: solve in float64 then, with `solve_dtype`.
        strength: of the other modes, above 0. The smaller the batch, the larger it should be.
        forgetting: of mode "recursive", in [0, 1].
        solve_dtype: dtype of W and of the solve; None: that of the features.
        settings: `learning_rate`, `optimizer`, `cosine`, `bias`, `every`, `generator`, `resume`, as `train_last_layer`.

    Raises:
        TypeError, ValueError: bad arguments, raised at the call.
        torch.linalg.LinAlgError: some solve failed; raised when the next state is due.
    """
    require(mode in MODES, "mode", repr(mode), f"one of {', '.join(map(repr, MODES))}")
    require_in("ridge", ridge, "[0, inf)")
    require_in("strength", strength, "(0, inf)")
    require_in("forgetting", forgetting, "[0, 1]")
    floating = solve_dtype is None or (isinstance(solve_dtype, torch.dtype) and solve_dtype.is_floating_point)
    require(floating, "solve_dtype", repr(solve_dtype), "a floating torch.dtype, or None", TypeError)

    def layer(weights: Tensor, rows: int) -> LastLayer:
        weights = weights if solve_dtype is None else weights.to(solve_dtype)
        if mode == "full":
            return FullSolve(weights, rows, ridge)
        if mode == "proximal":
            return ProximalStep(weights, rows, strength)
        return RecursiveStep(weights, rows, strength, forgetting)

    return train_last_layer(backbone, data, steps, layer, batch_size=batch_size, **settings)


def train_last_layer(
    backbone: nn.Module,
    data: Pairs,
    steps: int,
    layer: Callable[[Float[Tensor, "p k"], int], LastLayer],
    *,
    batch_size: int | None = None,
    learning_rate: Number = 1e-2,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    cosine: bool = False,
    bias: bool = True,
    every: int = 10,
    generator: torch.Generator | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[LastLayerState]:
    """Descend on the squared loss with any rule for the last layer: solved ones, and the rivals' walked ones.

    The host never waits for the device between two states, so a GPU runs `every` steps in one go.

    Args:
        backbone, data, steps, batch_size: as `train_closed_form`.
        layer: a callable (zeros (p, k), rows of a batch) -> `LastLayer`.
        learning_rate: of the optimizer, at the first step.
        optimizer: a class or callable (parameters, lr=...) -> optimizer, `torch.optim.SGD` or `Adam`, say.
        cosine: let the learning rate fall to 0 along half a cosine; constant otherwise.
        bias: append a column of ones to the features.
        every: steps between two states; the last step always yields one.
        generator: draws the batches, and the layer's start if it has a random one, on the device of the data.
        resume: a `LastLayerState.state_dict()`.

    Raises:
        TypeError, ValueError: bad arguments, raised at the call.
        torch.linalg.LinAlgError: some solve failed; raised when the next state is due.
    """
    require(isinstance(backbone, nn.Module), "backbone", f"a {type(backbone).__name__}", "a torch.nn.Module", TypeError)
    require_count("steps", steps, 1)
    _require_pairs("data", data, batch_size, batch_size)
    require_in("learning_rate", learning_rate, "(0, inf)")
    require_callable("optimizer", optimizer, "a callable (parameters, lr=...) -> optimizer")
    require_callable("layer", layer, "a callable (weights, rows) -> LastLayer")
    require_count("every", every, 1)
    _require_resume(resume, {"backbone", "layer", "optimizer", "schedule", "step", "generator"}, steps, generator)

    features, targets = _peek(backbone, data, bias, generator)
    samples = len(data[0]) if batch_size is None else batch_size
    zeros = torch.zeros(features.shape[1], targets.shape[1], dtype=features.dtype, device=features.device)
    last_layer = layer(zeros, samples * len(features))
    require(
        isinstance(last_layer, LastLayer),
        "layer",
        f"giving a {type(last_layer).__name__}",
        "giving a LastLayer",
        TypeError,
    )
    parameters = [{"params": list(backbone.parameters())}, *last_layer_groups(last_layer, learning_rate)]
    descent = optimizer(parameters, lr=learning_rate)
    parts = {
        "backbone": backbone,
        "layer": last_layer,
        "optimizer": descent,
        "schedule": _schedule(descent, steps, cosine),
    }
    return _train(parts, data, steps, batch_size, bias, every, generator, resume)


def last_layer_groups(layer: LastLayer, learning_rate: Number) -> list[dict[str, Any]]:
    """Parameter groups of a walked layer; its `rate_factor`, if it has one, multiplies the learning rate."""
    walked = list(layer.parameters())
    return [{"params": walked, "lr": learning_rate * getattr(layer, "rate_factor", 1.0)}] if walked else []


def _train(parts, data, steps, batch_size, bias, every, generator, resume):
    backbone, layer, optimizer = parts["backbone"], parts["layer"], parts["optimizer"]
    done = _restore(parts, resume, generator)

    def resumable() -> dict[str, Any]:
        return _saved(parts, step, generator)

    backbone.train()
    for step in range(done + 1, steps + 1):
        x, y = _batch(data, batch_size, generator)
        targets = y.flatten(0, -2)
        features = _rows(backbone, x, bias)
        if step == 1:
            layer.first(features.detach(), targets)
        loss = squared_loss(features, layer.before(features, targets).to(features), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        parts["schedule"].step()
        if layer.second_forward:
            with torch.no_grad():
                features = _rows(backbone, x, bias)
        layer.after(features.detach(), targets)
        if step % every == 0 or step == steps:
            require_solved(layer.status)
            if step == steps:
                backbone.eval()
            yield LastLayerState(step, loss.detach(), backbone, layer.weights, bias, resumable)


def _rows(backbone: nn.Module, x: Tensor, bias: bool) -> Float[Tensor, "n p"]:
    """The features of every sample and grid point, one a row."""
    features = backbone(x).flatten(0, -2)
    return with_bias(features) if bias else features


def _peek(backbone: nn.Module, data: Pairs, bias: bool, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """The features and targets of one sample, for their sizes; refused if they do not fit."""
    x, y = _one(data, generator)
    features = _features_of_one("backbone", backbone, x)
    came = f"giving features of shape {tuple(features.shape)}"
    allowed = f"giving features of shape {(*y.shape[:-1], 'p')} for targets of shape {tuple(y.shape)}"
    require(features.shape[:-1] == y.shape[:-1], "backbone", came, allowed)
    rows = features.flatten(0, -2)
    return (with_bias(rows) if bias else rows), y.flatten(0, -2)


def _one(data: Pairs, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    return (data[0][:1], data[1][:1]) if isinstance(data, tuple) else data(1, generator)


@torch.no_grad()
def _features_of_one(name: str, backbone: nn.Module, x: Tensor) -> Tensor:
    training = backbone.training
    features = backbone.eval()(x)
    backbone.train(training)
    whole = isinstance(features, Tensor) and features.ndim >= 2
    came = f"of shape {tuple(features.shape)}" if isinstance(features, Tensor) else f"a {type(features).__name__}"
    require(whole, f"what {name} gives", came, "features (b, ..., p)")
    require_floating(f"what {name} gives", features)
    return features


def _batch(data: Pairs, n: int | None, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    if not isinstance(data, tuple):
        return data(n, generator)
    if n is None:
        return data
    x, y = data
    index = torch.randint(len(x), (n,), generator=generator, device=x.device)
    return x[index], y[index]


def _schedule(optimizer: torch.optim.Optimizer, steps: int, cosine: bool) -> torch.optim.lr_scheduler.LRScheduler:
    if cosine:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def _saved(parts: dict[str, Any], step: int, generator: torch.Generator | None) -> dict[str, Any]:
    saved = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
    return saved | {"step": step, "generator": None if generator is None else generator.get_state()}


def _restore(parts: dict[str, Any], resume: dict[str, Any] | None, generator: torch.Generator | None) -> int:
    """Load what was saved; the step it was saved at, 0 for none."""
    if not resume:
        return 0
    for name, part in parts.items():
        part.load_state_dict(resume[name])
    if generator is not None:
        generator.set_state(resume["generator"].cpu())
    return resume["step"]


def _require_resume(resume: Any, needed: set[str], steps: int, generator: torch.Generator | None) -> None:
    if resume is None:
        return
    whole = isinstance(resume, dict) and resume.keys() >= needed
    require(whole, "resume", f"a {type(resume).__name__} without all it needs", "a state's state_dict()")
    both = (resume["generator"] is None) == (generator is None)
    require(both, "generator", repr(generator), "given exactly when it was given before the resume")
    require(resume["step"] < steps, "resume", f"at step {resume['step']}", f"before the last step, {steps}")


def _require_pairs(name: str, data: Any, batch_size: int | None, needed: int | None) -> None:
    if batch_size is not None:
        require_count("batch_size", batch_size, 1)
    if callable(data):
        require(needed is not None, "batch_size", "None", f"a number of rows, as {name} is a callable")
        return
    pair = isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, Tensor) for part in data)
    require(pair, name, f"a {type(data).__name__}", "a pair of tensors (inputs, targets), or a callable", TypeError)
    x, y = data
    require_floating(f"{name}[1]", y)
    came = f"of shapes {tuple(x.shape)} and {tuple(y.shape)}"
    fits = x.ndim >= 1 and y.ndim >= 2 and len(x) == len(y) > 0
    require(fits, name, came, "inputs (rows, ...) and targets (rows, ..., k) of as many rows, at least one")


# --- instrumental variables ---------------------------------------------------------------------------------------


@dataclass
class IVState:
    """One moment of instrumental-variable training.

    Attributes:
        step: updates of the treatment's backbone made so far, counted from 1.
        losses: of both stages at this step's batches, detached (2,).
        backbone: of the treatment, psi.
        weights: u (q + 1, k), the last layer of the second stage; its last row is the bias.
    """

    step: int
    losses: Tensor
    backbone: nn.Module
    weights: Tensor
    _resumable: Callable[[], dict[str, Any]]

    @torch.no_grad()
    def predict(self, treatment: Tensor) -> Tensor:
        """The structural function at treatments (n, ...): (n, k)."""
        features = with_bias(self.backbone(treatment))
        return features @ self.weights.to(features)

    def state_dict(self) -> dict[str, Any]:
        """Everything that `resume` needs to go on as if training had never stopped."""
        return self._resumable()


def deep_iv(
    instrument_backbone: nn.Module,
    treatment_backbone: nn.Module,
    first: Pairs,
    second: Pairs,
    steps: int,
    *,
    batch_size: int | None = None,
    strengths: tuple[Number, Number] = (0.1, 0.1),
    proximal: bool = True,
    inner_steps: int = 2,
    learning_rate: Number = 3e-3,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    cosine: bool = False,
    every: int = 10,
    generator: torch.Generator | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[IVState]:
    """Deep feature instrumental-variable regression, the last layers of both stages in closed form.

    Outcome y = f(treatment) + noise, where the noise also moves the treatment: regressing y on it is wrong. An instrument
    moves the treatment and has no other way to y. With features phi of the instrument and psi of the treatment,

        stage 1: V = argmin |psi(x) - phi(z) V|^2,   stage 2: u = argmin |y - [phi(z) V, 1] u|^2,   f(x) = [psi(x), 1] u.

    A step: `inner_steps` updates of phi with V solved (envelope gradient); then one of psi, whose gradient passes through
    V, since V depends on psi through its targets, and not through u (envelope). `proximal` keeps V and u near their
    previous values, so minibatches serve and no last fit to all the data is needed.

    Args:
        instrument_backbone: phi, (b, ...) -> (b, p). A column of ones is appended to all features.
        treatment_backbone: psi, (b, ...) -> (b, q). Bound it (Tanh): stage 1 has psi as its target.
        first: a pair (instruments, treatments) of as many rows, or a callable, as in `train_closed_form`.
        second: a pair (instruments, outcomes (rows, k)); other rows than `first`, or the same.
        steps: updates of psi in all.
        batch_size: of either stage; None for all rows.
        strengths: of the proximal steps of V and u, or their ridges if `proximal` is off.
        proximal: as said.
        inner_steps, learning_rate, optimizer, cosine, every, generator, resume: as `train_last_layer`.

    Raises:
        TypeError, ValueError: bad arguments, raised at the call.
        torch.linalg.LinAlgError: some solve failed; raised when the next state is due.
    """
    for name, backbone in {
        "instrument_backbone": instrument_backbone,
        "treatment_backbone": treatment_backbone,
    }.items():
        require(isinstance(backbone, nn.Module), name, f"a {type(backbone).__name__}", "a torch.nn.Module", TypeError)
    _require_pairs("first", first, batch_size, batch_size)
    _require_pairs("second", second, batch_size, batch_size)
    require_count("steps", steps, 1)
    two = isinstance(strengths, tuple) and len(strengths) == 2
    require(two, "strengths", repr(strengths), "a pair of numbers, one for each stage")
    for strength in strengths:
        require_in("strengths", strength, "(0, inf)")
    require_count("inner_steps", inner_steps, 1)
    require_in("learning_rate", learning_rate, "(0, inf)")
    require_callable("optimizer", optimizer, "a callable (parameters, lr=...) -> optimizer")
    require_count("every", every, 1)
    needed = {
        "phi",
        "psi",
        "descent of phi",
        "descent of psi",
        "schedule of phi",
        "schedule of psi",
        "layers",
        "step",
        "generator",
    }
    _require_resume(resume, needed, steps, generator)
    z, x = _one(first, generator)
    q = _features_of_one("treatment_backbone", treatment_backbone, x).shape[1]
    of_instrument = with_bias(_features_of_one("instrument_backbone", instrument_backbone, z))
    v = of_instrument.new_zeros(of_instrument.shape[1], q)
    stages = _Stages(v, v.new_zeros(q + 1, _one(second, generator)[1].shape[1]), strengths, proximal)
    parts: dict[str, Any] = {"phi": instrument_backbone, "psi": treatment_backbone, "layers": stages}
    for name, length in {"phi": steps * inner_steps, "psi": steps}.items():
        parts[f"descent of {name}"] = optimizer(parts[name].parameters(), lr=learning_rate)
        parts[f"schedule of {name}"] = _schedule(parts[f"descent of {name}"], length, cosine)
    return _deep_iv(parts, first, second, steps, batch_size, inner_steps, every, generator, resume)


class _Stages(nn.Module):
    """V and u, the last layers of the two stages, and how their solves went."""

    def __init__(self, v: Float[Tensor, "p q"], u: Float[Tensor, "r k"], strengths, proximal: bool) -> None:
        super().__init__()
        self.strengths, self.proximal = strengths, proximal
        self.register_buffer("v", v)
        self.register_buffer("u", u)
        self.register_buffer("status", torch.zeros((), dtype=torch.int32, device=v.device))

    def solve_v(self, features: Float[Tensor, "n p"], targets: Float[Tensor, "n q"]) -> Float[Tensor, "p q"]:
        return self._solve(features, targets, self.strengths[0], self.v)

    def solve_u(self, features: Float[Tensor, "n r"], targets: Float[Tensor, "n k"]) -> Float[Tensor, "r k"]:
        return self._solve(features, targets, self.strengths[1], self.u)

    def _solve(self, features, targets, strength, previous):
        weights, status = ridge_ex(features, targets, len(features) * strength, previous if self.proximal else None)
        torch.maximum(self.status, status, out=self.status)
        return weights


def _deep_iv(parts, first, second, steps, batch_size, inner_steps, every, generator, resume):
    phi, psi, stages = parts["phi"], parts["psi"], parts["layers"]
    done = _restore(parts, resume, generator)

    def resumable() -> dict[str, Any]:
        return _saved(parts, step, generator)

    def descend(name: str, loss: Tensor) -> None:
        parts[f"descent of {name}"].zero_grad(set_to_none=True)
        loss.backward()
        parts[f"descent of {name}"].step()
        parts[f"schedule of {name}"].step()

    phi.train()
    psi.train()
    for step in range(done + 1, steps + 1):
        (z1, x1), (z2, y2) = _batch(first, batch_size, generator), _batch(second, batch_size, generator)
        with torch.no_grad():
            targets = psi(x1)
        for _ in range(inner_steps):
            features = with_bias(phi(z1))
            with torch.no_grad():
                v = stages.solve_v(features, targets)
            first_loss = squared_loss(features, v, targets)
            descend("phi", first_loss)
        with torch.no_grad():
            instruments, others = with_bias(phi(z1)), with_bias(phi(z2))
        fitted = with_bias(others @ stages.solve_v(instruments, psi(x1)))
        with torch.no_grad():
            u = stages.solve_u(fitted, y2)
        second_loss = squared_loss(fitted, u, y2)
        descend("psi", second_loss)
        with torch.no_grad():
            stages.v.copy_(stages.solve_v(instruments, psi(x1)))
            stages.u.copy_(stages.solve_u(with_bias(others @ stages.v), y2))
        if step % every == 0 or step == steps:
            require_solved(stages.status)
            if step == steps:
                phi.eval()
                psi.eval()
            losses = torch.stack([first_loss.detach(), second_loss.detach()])
            yield IVState(step, losses, psi, stages.u, resumable)
