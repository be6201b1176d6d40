"""Learned guidance: how far to push a sample towards its class, chosen by the model for each class and pair of times.

Classifier-free guidance moves the conditional prediction away from the unconditional one, `x_c + w (x_c - x_u)`.
Read as a corrector of an imperfect model, w has a right value: the one for which a guided step from time t lands,
in law, where noising the data to time s does. That is a loss, and here a small network learns w from it, as a function
of the class and of both times. The model itself stays frozen.

Source: Galashov, Pokle, Doucet, Gretton, Delbracio and De Bortoli, "Learn to Guide Your Diffusion Model" (arXiv 2510.00815).
Numbers of equations below are that paper's. w = 0 is the unguided model (libraries often call 1 + w the scale).
Classifier-free guidance itself is Ho and Salimans (2022, arXiv 2207.12598).

>>> from companion.data.labelled import four_classes
>>> from companion.foundations.diffusion import time_grid
>>> law, generator = four_classes(), torch.Generator().manual_seed(0)
>>> data, labels = law.sample_labelled(1000, generator)
>>> model = law.conditional, law.unconditional           # exact, so the right weight is 0
>>> for state in learn_guidance(*model, data, labels, steps=10, generator=generator):
...     pass
>>> noise = torch.randn(1000, 2, generator=generator)
>>> *_, points = sample_guided(*model, state.model, labels, noise, time_grid(20))
>>> points.shape
torch.Size([1000, 2])
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from companion.foundations.conditional import Conditional, Unconditional
from companion.foundations.diffusion import (
    CHURN,
    Denoiser,
    Time,
    add_noise,
    as_time,
    as_times,
    bridge,
    expand_time,
    sample,
)
from companion.foundations.distances import pairwise_power
from companion.foundations.networks import MLP, time_features
from companion.foundations.training import TrainingState, draw_batch, train
from companion.foundations.validation import (
    Number,
    require,
    require_batch,
    require_callable,
    require_count,
    require_floating,
    require_in,
    require_labels,
    require_like,
)

Schedule: TypeAlias = Callable[[Tensor, Time, Time], Tensor]
Interval: TypeAlias = tuple[Number, Number, Number]
Weight: TypeAlias = Number | Interval | Schedule
Reward: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Loss: TypeAlias = Callable[..., Tensor]

ROUNDING = 1e-6  # of a grid's times, at the ends of an interval
OUTPUTS = {"softplus": nn.functional.softplus, "relu": nn.functional.relu, "signed": nn.Identity()}


def guide(
    x_c: Float[Tensor, "n *event"], x_u: Float[Tensor, "n *event"], weight: Number | Float[Tensor, "*n"]
) -> Float[Tensor, "n *event"]:
    """The guided prediction `x_c + weight (x_c - x_u)`: 0 leaves the conditional one as it is, -1 gives the other.

    Args:
        x_c, x_u: conditional and unconditional predictions of the clean point, (n, *event).
        weight: a number, or one for each row (n,).

    Raises:
        TypeError: not floating tensors, or a weight that is neither a number nor a tensor.
        ValueError: shapes disagree.
    """
    require_like("x_c", x_c, "x_u", x_u)
    if not torch.is_tensor(weight):
        require_in("weight", weight, "(-inf, inf)")
        return x_c + weight * (x_c - x_u)
    fits = weight.ndim == 0 or weight.shape == x_c.shape[:1]
    require(fits, "weight", f"of shape {tuple(weight.shape)}", f"a number or of shape ({len(x_c)},)")
    return x_c + expand_time(weight.to(x_c), x_c) * (x_c - x_u)


class GuidanceWeights(nn.Module):
    """The learned weight: (labels (n,), s, t) -> (n,), not negative unless asked for; a small perceptron.

    It sees which class, and for both times t itself with one sine and one cosine: low frequencies, since a sampler
    asks for steps shorter than any it was trained on.

    Args:
        num_classes: labels run from 0 to num_classes - 1.
        width, depth: of the perceptron.
        start: weight at the beginning, for every class and time, nearly; positive.
        output: what keeps the weight from being negative. "softplus" has a gradient everywhere. "relu", the paper's,
            can reach 0 for good: where some classes want no weight, it may die for all. "signed" lets the weight fall
            below 0, towards the unconditional prediction.

    Raises:
        ValueError: fewer than one class, a start that is not positive, or another output.
    """

    def __init__(
        self,
        num_classes: int,
        width: int = 32,
        depth: int = 2,
        start: Number = 0.5,
        output: Literal["softplus", "relu", "signed"] = "softplus",
    ) -> None:
        super().__init__()
        require_count("num_classes", num_classes, 1)
        require_in("start", start, "(0, inf)")
        require(output in OUTPUTS, "output", repr(output), " or ".join(map(repr, OUTPUTS)))
        self.num_classes, self.output = num_classes, output
        self.net = MLP(num_classes + 2 * 3, 1, width, depth)
        with torch.no_grad():
            self.net[-1].weight.mul_(0.1)
            self.net[-1].bias.fill_(start + math.log(-math.expm1(-start)) if output == "softplus" else start)

    def forward(self, labels: Int[Tensor, " n"], s: Time, t: Time) -> Float[Tensor, " n"]:
        require_labels("labels", labels, classes=self.num_classes)
        which = nn.functional.one_hot(labels.long(), self.num_classes).to(self.net[0].weight)
        times = [time_features(as_time(time, which).reshape(-1), waves=1).expand(len(which), -1) for time in (s, t)]
        raw = self.net(torch.cat([which, *times], dim=1))[:, 0]
        return OUTPUTS[self.output](raw)


def guided_step(
    conditional: Conditional,
    unconditional: Unconditional,
    weight: Number | Float[Tensor, " n"],
    x_t: Float[Tensor, "n *event"],
    labels: Int[Tensor, " n"],
    s: Time,
    t: Time,
    churn: Number = 0.0,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n *event"]:
    """Push `x_t` from time t down to s by one guided step; gradients reach `weight` alone.

    Args:
        conditional, unconditional: callables (x, t, labels) and (x, t) -> (n, *event), predictions of x0.
        weight: a number, or one for each row (n,).
        x_t, labels: points at time t (n, *event), and their classes (n,).
        s, t: numbers, or one for each row.
        churn: 0 (DDIM) to 1 (DDPM).
        generator: draws the churn's noise, on the device of `x_t`.

    Raises:
        TypeError, ValueError: as `guide` and `diffusion.bridge`.
    """
    _require_model(conditional, unconditional)
    with torch.no_grad():
        x_c, x_u = conditional(x_t, t, labels), unconditional(x_t, t)
    mean, std = bridge(x_t, guide(x_c, x_u, weight), t, s, churn)
    return mean if churn == 0 else mean + expand_time(std, mean) * _noise_like(mean, generator)


def self_consistency_loss(
    conditional: Conditional,
    unconditional: Unconditional,
    weights: Schedule,
    x0: Float[Tensor, "n *event"],
    labels: Int[Tensor, " n"],
    s: Float[Tensor, " n"],
    t: Float[Tensor, " n"],
    population: int = 4,
    beta: Number = 1.0,
    lam: Number = 1.0,
    generator: torch.Generator | None = None,
    *,
    churn: Number = 0.0,
) -> Float[Tensor, ""]:
    """Does a guided step from t to s land where noising the same clean point to s does? Eq. (19) to (22).

    For every clean point, m particles noised to t are pushed to s by the guided step, and m others are noised to s
    directly, *with noise of their own*. Between pushed (x~) and noised (x) it is the generalised energy score

        (1/m^2) sum_jk |x~_j - x_k|^beta  -  lam / (2 m (m - 1)) sum_{j != k} |x~_j - x~_k|^beta

    With one shared noise it would be a regression on the clean point, whose best weight is 0 when the
    conditional prediction is right whatever that does to the law. Gradients reach `weights` alone.

    Args:
        conditional, unconditional: callables (x, t, labels) and (x, t) -> (rows, *event), predictions of x0. Called
            on m n rows, without gradients.
        weights: callable (labels (n,), s (n,), t (n,)) -> (n,), such as `GuidanceWeights`; all particles of a point
            share its weight.
        x0, labels: clean points (n, *event) and their classes (n,).
        s, t: times of each row, 0 <= s < t <= 1 (not read).
        population: m, at least 2, or 1 when lam is 0.
        beta: exponent in (0, 2].
        lam: weight of the repulsion in [0, 1].
        generator: draws all noise, on the device of `x0`.
        churn: of the guided step, 0 (DDIM, the paper's) to 1 (DDPM).

    Raises:
        TypeError: not floating tensors, labels that are not whole numbers, or a callable that is none.
        ValueError: shapes disagree, population, beta, lam or churn out of range.
    """
    _require_model(conditional, unconditional)
    _require_pairs(weights, x0, labels, s, t)
    _require_score(population, beta, lam, churn)
    x0s, ss, ts, classes = (value.repeat_interleave(population, dim=0) for value in (x0, s, t, labels))
    noised = add_noise(x0s, ss, _noise_like(x0s, generator))
    x_t = add_noise(x0s, ts, _noise_like(x0s, generator))
    weight = weights(labels, s, t).repeat_interleave(population, dim=0)
    pushed = guided_step(conditional, unconditional, weight, x_t, classes, ss, ts, churn, generator)
    noised, pushed = (points.flatten(1).unflatten(0, (len(x0), population)) for points in (noised, pushed))
    score = pairwise_power(pushed, noised, beta, exact=True).mean((1, 2))
    if lam > 0:
        pairs = pairwise_power(pushed, pushed, beta, exact=True).sum((1, 2))
        score = score - lam / 2 * pairs / (population * (population - 1))
    return score.mean()


def reward_loss(
    conditional: Conditional,
    unconditional: Unconditional,
    weights: Schedule,
    reward: Reward,
    x0: Float[Tensor, "n *event"],
    labels: Int[Tensor, " n"],
    s: Float[Tensor, " n"],
    t: Float[Tensor, " n"],
    generator: torch.Generator | None = None,
    *,
    churn: Number = 0.0,
) -> Float[Tensor, ""]:
    """Minus the reward of where guided steps lead: from t to s, and from there in one jump to the clean point.

    Clean points are noised to t and pushed to s by the guided step; the guided prediction there, with the weight of a
    step too short to see, stands for the sample that the reward judges. Gradients reach `weights` through both, and
    the model's own parameters if they ask for any: freeze them.

    Args:
        reward: callable (x0 (n, *event), labels (n,)) -> (n,), differentiable in x0.
        conditional, unconditional: as in `self_consistency_loss`, differentiable in x.
        weights, x0, labels, s, t, generator, churn: as in `self_consistency_loss`.

    Raises:
        TypeError, ValueError: as `self_consistency_loss`; or rewards that are not one number for each row.
    """
    _require_model(conditional, unconditional)
    _require_pairs(weights, x0, labels, s, t)
    require_callable("reward", reward, "a callable (x0, labels) -> (n,)")
    x_t = add_noise(x0, t, _noise_like(x0, generator))
    x_s = guided_step(conditional, unconditional, weights(labels, s, t), x_t, labels, s, t, churn, generator)
    clean = guide(conditional(x_s, s, labels), unconditional(x_s, s), weights(labels, s, s))
    earned = reward(clean, labels)
    shape = f"of shape {tuple(earned.shape)}"
    require(earned.shape == labels.shape, "reward(x0, labels)", shape, f"of shape ({len(labels)},), one for each row")
    return -earned.mean()


def learn_guidance(
    conditional: Conditional,
    unconditional: Unconditional,
    data: Float[Tensor, "rows *event"],
    labels: Int[Tensor, " rows"],
    steps: int,
    reward: Reward | None = None,
    reward_weight: Number = 0.0,
    *,
    weights: nn.Module | None = None,
    loss: Loss = self_consistency_loss,
    batch_size: int = 128,
    population: int = 4,
    beta: Number = 1.0,
    lam: Number = 1.0,
    gap: Number = 0.1,
    margin: Number = 0.005,
    churn: Number = 0.0,
    learning_rate: Number = 3e-3,
    generator: torch.Generator | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[TrainingState]:
    """Learn the weight of a frozen model from data: `self_consistency_loss` at random pairs of times, plus a reward.

    Batches hold all classes equally often. With e = `margin` and d = `gap`, s is uniform on [e, 1 - e - d] and
    t - s on [d, 1 - e - s]. The loss is `loss + reward_weight * reward_loss`.

    Args:
        conditional, unconditional: the model; see `self_consistency_loss`. With a reward, freeze its parameters first
            (`requires_grad_(False)`), or they gather gradients.
        data, labels: clean points (rows, *event) and their classes (rows,), on the model's device.
        steps: updates.
        reward: callable (x0, labels) -> (n,), or None.
        reward_weight: at least 0; not the exponent of a tilted law, and not comparable with one.
        weights: what to train, a module called as `GuidanceWeights`; a fresh one of as many classes as there are labels
            when None.
        loss: called as `self_consistency_loss`, churn included.
        batch_size: clean points of a batch, rounded up to as many of each class; the model sees 2 `population` times as
            many.
        population, beta, lam, churn: of the loss.
        gap: shortest step trained on, in (0, 1).
        margin: kept from both ends of time, where predictions say nothing, in (0, 1); gap + 2 margin < 1.
        learning_rate: of Adam, at the first step.
        generator: draws batches, times and noise, on the device of `data`.
        resume: a `TrainingState.state_dict()`.

    Yields:
        A `TrainingState` for each update; `state.model` is the `GuidanceWeights`.

    Raises:
        TypeError: `data` is not a floating tensor, labels are not whole numbers, or a callable is none.
        ValueError: shapes disagree, a class without points, a number out of range, or a reward weight without a
            reward. Raised at the call.
    """
    _require_model(conditional, unconditional)
    require_batch("data", data)
    require_labels("labels", labels, len(data))
    present = labels.unique().tolist()
    require(present == list(range(len(present))), "labels", present, "0, 1, 2 and so on, each class with a point")
    require(reward is None or callable(reward), "reward", f"a {type(reward).__name__}", "None or a callable", TypeError)
    require_in("reward_weight", reward_weight, "[0, inf)")
    require(reward is not None or reward_weight == 0, "reward_weight", reward_weight, "0 when there is no reward")
    require_callable("loss", loss, "called as self_consistency_loss")
    require_count("batch_size", batch_size, 1)
    _require_score(population, beta, lam, churn)
    require_in("gap", gap, "(0, 1)")
    require_in("margin", margin, "(0, 1)")
    require(gap + 2 * margin < 1, "(gap, margin)", (gap, margin), "such that gap + 2 margin < 1")
    if weights is None:
        with torch.random.fork_rng(devices=[]):  # fresh weights follow the generator, not the global state
            drawn = torch.randint(2**31, (1,), generator=generator, device=data.device)
            torch.default_generator.manual_seed(int(drawn))
            weights = GuidanceWeights(len(present)).to(data)
    trainable = isinstance(weights, nn.Module)
    require(trainable, "weights", f"a {type(weights).__name__}", "a GuidanceWeights or another module", TypeError)
    require(
        any(p.requires_grad for p in weights.parameters()), "weights", "frozen", "a module with parameters to train"
    )
    known = getattr(weights, "num_classes", len(present))
    require(known >= len(present), "weights", f"of {known} classes", f"of the {len(present)} classes of the labels")
    rows = [(labels == label).nonzero()[:, 0] for label in present]
    settings = {"population": population, "beta": beta, "lam": lam}

    def batch_loss(weights: nn.Module) -> Tensor:
        chosen = torch.cat([draw_batch(own, -(-batch_size // len(rows)), generator) for own in rows])
        batch = data[chosen], labels[chosen], *draw_times(len(chosen), gap, margin, data, generator)
        value = loss(conditional, unconditional, weights, *batch, **settings, generator=generator, churn=churn)
        if reward_weight > 0:
            earned = reward_loss(conditional, unconditional, weights, reward, *batch, generator, churn=churn)
            value = value + reward_weight * earned
        return value

    return train(weights, batch_loss, steps, learning_rate, generator=generator, resume=resume)


def draw_times(
    n: int, gap: Number, margin: Number, like: Tensor, generator: torch.Generator | None = None
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """`n` pairs s < t at least `gap` apart and `margin` from both ends, as `learn_guidance` draws them.

    They have the dtype and device of `like`.
    """
    first, second = torch.rand(2, n, generator=generator, dtype=like.dtype, device=like.device)
    s = margin + first * (1 - 2 * margin - gap)
    return s, s + gap + second * (1 - margin - gap - s)


def sample_guided(
    conditional: Conditional,
    unconditional: Unconditional,
    weight: Weight,
    labels: Int[Tensor, " n"],
    x: Float[Tensor, "n *event"],
    times: Float[Tensor, " times"],
    churn: Number = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "n *event"]]:
    """Walk `x` down `times` with guided predictions, yielding every state: first `x` itself, last the sample.

    Args:
        conditional, unconditional: callables (x, t, labels) and (x, t) -> (n, *event), predictions of x0. Called
            without gradients; the second only where the weight is not known to be 0.
        weight: a number; or an interval (w, low, high), w where low <= t <= high and 0 elsewhere; or a callable
            (labels, s, t) -> (n,), such as a trained `GuidanceWeights`. (For a weight of each row:
            `lambda labels, s, t: weights`.)
        labels: the classes wanted (n,).
        x: the start, noise at `times[0]`.
        times: strictly falling, within [0, 1].
        churn: 0 (DDIM) to 1 (DDPM).
        generator: draws the churn's noise, on the device of `x`.

    Raises:
        TypeError: `x` is no floating tensor, labels are not whole numbers, or `weight` is none of the three.
        ValueError: shapes disagree, an interval that is not within [0, 1], churn or times out of range. Raised at
            the call.
    """
    _require_model(conditional, unconditional)
    require_batch("x", x)
    require_labels("labels", labels, len(x))
    times = as_times(times)
    schedule = _schedule(weight)

    def denoiser(x: Tensor, s: Tensor, t: Tensor, value: Number | None) -> Tensor:
        x_c = conditional(x, t, labels)
        if value == 0:
            return x_c
        return guide(x_c, unconditional(x, t), schedule(labels, s, t) if value is None else value)

    values = [None] * (len(times) - 1)
    if not callable(weight):
        values = [schedule(t) for t in times[:-1].tolist()]
    return _without_gradients(sample(aware(denoiser, times.to(x), values), x, times, churn, generator))


def aware(denoiser: Callable[..., Tensor], times: Float[Tensor, " times"], *more: list) -> Denoiser:
    """A denoiser for one walk of `diffusion.sample` down `times` out of one that also asks where its step ends.

    `denoiser(x, s, t, *values)` is called once for each step, in their order, with the step's end s and its start t,
    and the step's own entry of each list in `more`. Give it `times` on the points' device and of their dtype: moved
    step by step, they would hold up a GPU in each.
    """
    steps = iter(list(zip(times[1:], *more, strict=True)))

    def ordinary(x: Tensor, t: Tensor) -> Tensor:
        step = next(steps, None)
        require(step is not None, "times", f"of {len(times) - 1} steps", "those of the walk, which has more")
        s, *values = step
        return denoiser(x, s, t, *values)

    return ordinary


def _schedule(weight: Weight) -> Callable:
    """A callable as it is; a number or an interval as a function of t, a number too."""
    if callable(weight):
        return weight
    if isinstance(weight, tuple | list):
        require(len(weight) == 3, "weight", f"{len(weight)} numbers", "an interval (w, low, high)")
        value, low, high = weight
        require_in("the interval's w", value, "(-inf, inf)")
        for end in (low, high):
            require_in("the interval's low or high", end, "[0, 1]")
        require(low < high, "(low, high)", (low, high), "rising")
        return lambda t: value if low - ROUNDING <= t <= high + ROUNDING else 0
    allowed = "a number, an interval (w, low, high) or a callable (labels, s, t)"
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    require(number, "weight", f"a {type(weight).__name__}", allowed, TypeError)
    require_in("weight", weight, "(-inf, inf)")
    return lambda t: weight


def _without_gradients(states: Iterator[Tensor]) -> Iterator[Tensor]:
    while True:
        with torch.no_grad():
            state = next(states, None)
        if state is None:
            return
        yield state


def _noise_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def _require_model(conditional: object, unconditional: object) -> None:
    require_callable("conditional", conditional, "a callable (x, t, labels) -> x0")
    require_callable("unconditional", unconditional, "a callable (x, t) -> x0")


def _require_score(population: object, beta: object, lam: object, churn: object) -> None:
    require_count("population", population, 1)
    require_in("beta", beta, "(0, 2]")
    require_in("lam", lam, "[0, 1]")
    require(population >= 2 or lam == 0, "population", population, "at least 2, or 1 when lam is 0")
    require_in("churn", churn, "[0, 1]", CHURN)


def _require_pairs(weights: object, x0: object, labels: object, s: object, t: object) -> None:
    require_callable("weights", weights, "a callable (labels, s, t) -> (n,)")
    require_batch("x0", x0)
    require_labels("labels", labels, len(x0))
    for name, times in {"s": s, "t": t}.items():
        require_floating(name, times)
        fits = times.shape == x0.shape[:1]
        require(fits, name, f"of shape {tuple(times.shape)}", f"of shape ({len(x0)},), one time for each row")
