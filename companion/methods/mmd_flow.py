"""Deep MMD gradient flow: move particles down a witness that was trained at every noise level, with no adversary.

The maximum mean discrepancy between a cloud and the data has a *witness*, the function that tells them apart best;
particles that follow its slope become data. A fixed kernel sees only as far as its bandwidth. So learn features at every
level of the forward noise: there a network tells clean data from noised data, a game against nobody. To sample, use
the levels from noisy to clean, as the particles come nearer.

Source: Galashov, De Bortoli and Gretton, "Deep MMD Gradient Flow Without Adversarial Training" (ICLR 2025, arXiv
2405.06780). The flow of a fixed kernel and its noise injection: Arbel, Korba, Salim and Gretton (NeurIPS 2019). KALE:
Glaser, Arbel and Gretton (NeurIPS 2021). Formulas were worked out anew from the published descriptions.

>>> from companion.data.toy import eight_gaussians
>>> law, generator = eight_gaussians(), torch.Generator().manual_seed(0)
>>> from companion.foundations.distances import energy_distance
>>> data, start = law.sample(500, generator), torch.randn(500, 2, generator=generator)
>>> *_, points = mmd_flow(start, data, scaled_rbf(0.5), step=2.0, steps=50)
>>> bool(energy_distance(points, data) < energy_distance(start, data) / 10)
True
>>> witness = NoiseConditionalWitness(FeatureMLP(dim=2))
>>> for state in train_witness(witness, data, steps=10, generator=generator):
...     pass
>>> *_, points = adaptive_flow(witness, start, witness.noising.levels(10), step=0.1, inner_steps=4)  # no data
>>> points.shape
torch.Size([500, 2])
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from companion.foundations import distances
from companion.foundations.distances import Kernel, distance_power, pairwise_distance, rbf
from companion.foundations.networks import time_features
from companion.foundations.training import Data, TrainingState, draw_batch, train
from companion.foundations.validation import (
    Number,
    require,
    require_batch,
    require_callable,
    require_count,
    require_floating,
    require_in,
    require_same_event,
)

CELLS = 64  # a witness remembers mean features at this many levels and one more
EXPONENT = 30.0  # largest that KALE raises e to
ROUNDING = 1e-5  # of levels, at the ends of a witness's range


# --- kernels, and the flow of a kernel ----------------------------------------------------------------------------


def best_bandwidth(distance: Number | Tensor, std: Number | Tensor, dimension: int) -> float | Tensor:
    """The bandwidth at which the force between two equal Gaussians is largest; 0 when they are too near for any.

    P = N(0, std^2 I) and Q = N(mu, std^2 I) with |mu| = `distance`, under the *normalised* kernel
    `bandwidth^-d exp(-|x - y|^2 / (2 bandwidth^2))`:

        argmax |grad_mu MMD^2| = sqrt(max(0, distance^2 / (d + 2) - 2 std^2)).

    Args:
        distance, std: numbers, or tensors that broadcast; not negative.
        dimension: d, at least 1.

    Raises:
        TypeError, ValueError: not such numbers.
    """
    _require_not_negative("distance", distance)
    _require_not_negative("std", std)
    require_count("dimension", dimension, 1)
    square = distance**2 / (dimension + 2) - 2 * std**2
    return square.clamp_min(0).sqrt() if torch.is_tensor(square) else math.sqrt(max(square, 0.0))


def gaussian_force(
    distance: Number | Tensor, std: Number | Tensor, bandwidth: Number | Tensor, dimension: int
) -> float | Tensor:
    """`|grad_mu MMD^2|` of the setting of `best_bandwidth`: `2 distance v^(-d/2 - 1) exp(-distance^2 / (2 v))`.

    v is `bandwidth^2 + 2 std^2`.

    Args:
        distance, std, bandwidth: numbers, or tensors that broadcast; not negative, bandwidth and std not both 0.
        dimension: d, at least 1.

    Raises:
        TypeError, ValueError: not such numbers.
    """
    for name, value in {"distance": distance, "std": std, "bandwidth": bandwidth}.items():
        _require_not_negative(name, value)
    require_count("dimension", dimension, 1)
    v = bandwidth**2 + 2 * std**2
    require(torch.is_tensor(v) or v > 0, "(std, bandwidth)", (std, bandwidth), "not both 0")
    log_v = v.log() if torch.is_tensor(v) else math.log(v)
    exponent = -(distance**2) / (2 * v) - (dimension / 2 + 1) * log_v
    return 2 * distance * (exponent.exp() if torch.is_tensor(exponent) else math.exp(exponent))


def scaled_rbf(bandwidth: Number) -> Kernel:
    """`bandwidth^2 exp(-|a - b|^2 / (2 bandwidth^2))`: near by, its force is the difference of the points.

    So with a step of 1 a cloud crosses a short way to the data in about one step, whatever the bandwidth.
    """
    kernel = rbf(bandwidth)
    return lambda a, b: bandwidth**2 * kernel(a, b)


def riesz(exponent: Number = 1.0) -> Kernel:
    """The kernel `-|a - b|^exponent`, whose MMD^2 is the energy distance: no bandwidth, and it sees any distance."""
    require_in("exponent", exponent, "(0, 2)")
    return lambda a, b: -distance_power(pairwise_distance(a, b).square(), exponent)


def annealed(
    wide: Number, narrow: Number, steps: int, kernel: Callable[[Number], Kernel] = scaled_rbf
) -> tuple[Kernel, ...]:
    """`steps` kernels, their bandwidths from `wide` to `narrow` by equal factors: a schedule for `mmd_flow`.

    Raises:
        TypeError, ValueError: bandwidths that are not positive, no steps, or `kernel` cannot be called.
    """
    require_in("wide", wide, "(0, inf)")
    require_in("narrow", narrow, "(0, inf)")
    require_count("steps", steps, 1)
    require_callable("kernel", kernel, "a callable (bandwidth) -> kernel")
    return tuple(kernel(wide * (narrow / wide) ** (index / max(steps - 1, 1))) for index in range(steps))


def mmd_flow(
    particles: Float[Tensor, "n *event"],
    target: Float[Tensor, "m *event"],
    kernel: Kernel | Sequence[Kernel],
    step: Number,
    steps: int,
    noise: Number | Sequence[Number] = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "n *event"]]:
    """Gradient flow of MMD^2 in steps of Euler, yielding every cloud, the start first (Arbel et al. 2019).

    Each particle goes down the witness of the current cloud, without the factor 2 of the squared distance:

        z <- z - step grad f(z + noise u),   f(z) = mean_i k(z_i, z) - mean_j k(y_j, z),   u ~ N(0, I).

    Works in blocks of pairs, so that 100,000 points need no more memory than 2,000.

    Args:
        particles: the start (n, *event).
        target: data (m, *event).
        kernel: a callable (a (n, d), b (m, d)) -> (n, m), differentiable in a; or a schedule, one such for each step.
        step: length of a step, positive.
        steps: how many.
        noise: injected where the slope is taken: a standard deviation, or one for each step.
        generator: draws the noise, on the device of the particles.

    Raises:
        TypeError: clouds that are not floating tensors of one dtype, or `kernel` is no kernel.
        ValueError: shapes disagree, a schedule of another length, or a number out of range. Raised at the call; a
            kernel that gives no (n, m) matrix is refused at the first step.
    """
    require_same_event("particles", particles, "target", target)
    require_batch("particles", particles)
    require_batch("target", target)
    require_in("step", step, "(0, inf)")
    require_count("steps", steps, 0)
    kernels = tuple(kernel) if isinstance(kernel, Sequence) else (kernel,) * steps
    require(len(kernels) == steps, "kernel", f"a schedule of {len(kernels)}", f"one kernel, or one for each of {steps}")
    for one in kernels or (kernel,):
        require_callable("kernel", one, "a callable (a, b) -> (n, m), or a row of such")
    noises = tuple(noise) if isinstance(noise, Sequence) else (noise,) * steps
    require(len(noises) == steps, "noise", f"a schedule of {len(noises)}", f"one number, or one for each of {steps}")
    for one in noises or (noise,):
        require_in("noise", one, "[0, inf)")
    return _mmd_flow(particles.detach(), target.detach(), kernels, step, noises, generator)


def _mmd_flow(z, target, kernels, step, noises, generator):
    yield z
    shape, data = z.shape, target.flatten(1)
    for kernel, noise in zip(kernels, noises, strict=True):
        cloud = z.flatten(1)
        points = cloud
        if noise > 0:
            points = cloud + noise * torch.randn(cloud.shape, generator=generator, dtype=z.dtype, device=z.device)
        z = (cloud - step * witness_slope(points, cloud, data, kernel)).view(shape)
        yield z


def witness_slope(
    points: Float[Tensor, "k d"], particles: Float[Tensor, "n d"], target: Float[Tensor, "m d"], kernel: Kernel
) -> Float[Tensor, "k d"]:
    """The slope of the witness `mean_i k(z_i, .) - mean_j k(y_j, .)` at `points`, in blocks of bounded memory.

    Raises:
        TypeError, ValueError: clouds that do not fit, or `kernel(a, b)` is not of shape (rows of a, rows of b).
    """
    require_same_event("points", points, "particles", particles)
    require_same_event("particles", particles, "target", target)
    require_batch("particles", particles)
    require_batch("target", target)
    require_callable("kernel", kernel, "a callable (a, b) -> (n, m)")
    slope = torch.zeros_like(points)
    for cloud, weight in ((particles, 1 / len(particles)), (target, -1 / len(target))):
        rows = max(1, distances.PAIRS_AT_ONCE // len(cloud))
        for start in range(0, len(points), rows):
            block = points[start : start + rows].detach().requires_grad_()
            with torch.enable_grad():
                values = kernel(block, cloud)
                shape, wanted = tuple(values.shape), (len(block), len(cloud))
                require(shape == wanted, "kernel(a, b)", f"of shape {shape}", f"of shape {wanted}")
                require(values.requires_grad, "kernel(a, b)", "without a gradient", "differentiable in a", TypeError)
                (gradient,) = torch.autograd.grad(values.sum(), block)
            slope[start : start + rows].add_(gradient, alpha=weight)
    return slope


# --- noise levels -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VariancePreserving:
    """The forward noise `sqrt(1 - level^2) x0 + level noise`: from data to N(0, I). A level is the noise's std.

    Slopes are counted in the units of the data, so `unit` is 1.

    Attributes:
        low, high: the levels that a witness learns, 0 < low < high <= 1.
    """

    low: Number = 0.05
    high: Number = 1.0

    def __post_init__(self) -> None:
        require_in("low", self.low, "(0, 1)")
        require_in("high", self.high, "(0, 1]")
        require(self.low < self.high, "(low, high)", (self.low, self.high), "levels with low < high")

    def add(
        self, x0: Float[Tensor, "n *event"], level: Float[Tensor, "*n"], noise: Float[Tensor, "n *event"]
    ) -> Float[Tensor, "n *event"]:
        """Clean points at a level, () or (n,)."""
        level = _shaped(level, x0)
        return (1 - level**2).clamp_min(0).sqrt() * x0 + level * noise

    def at(self, position: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The level at a position from 0 (low) to 1 (high): equal angles, of which the level is the sine."""
        low, high = math.asin(self.low), math.asin(self.high)
        return (low + (high - low) * position).sin()

    def position(self, level: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The inverse of `at`."""
        low, high = math.asin(self.low), math.asin(self.high)
        return (level.clamp(self.low, self.high).asin() - low) / (high - low)

    def levels(self, count: int) -> Float[Tensor, " {count}"]:
        """`count` levels at equal positions, from high down to low."""
        return _falling(self, count)

    def unit(self, level: Float[Tensor, "*n"], dimension: int) -> Float[Tensor, "*n"]:
        """The length in which slopes are measured."""
        return torch.ones_like(level)

    def spread(self, level: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """What a noised coordinate is divided by before the network sees it."""
        return torch.ones_like(level)


@dataclass(frozen=True)
class VarianceExploding:
    """The forward noise `x0 + level noise`: from data to far away. A level is the noise's std.

    At a level the noise is about `level sqrt(d)` long; that length is the `unit` in which slopes and steps are counted.

    Attributes:
        low, high: the levels that a witness learns, 0 < low < high.
        data_std: of a coordinate of the data, roughly.
    """

    low: Number = 0.1
    high: Number = 3.0
    data_std: Number = 1.0

    def __post_init__(self) -> None:
        require_in("low", self.low, "(0, inf)")
        require_in("high", self.high, "(0, inf)")
        require(self.low < self.high, "(low, high)", (self.low, self.high), "levels with low < high")
        require_in("data_std", self.data_std, "(0, inf)")

    def add(
        self, x0: Float[Tensor, "n *event"], level: Float[Tensor, "*n"], noise: Float[Tensor, "n *event"]
    ) -> Float[Tensor, "n *event"]:
        """Clean points at a level, () or (n,)."""
        return x0 + _shaped(level, x0) * noise

    def at(self, position: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The level at a position from 0 (low) to 1 (high), by equal factors."""
        return self.low * (math.log(self.high / self.low) * position).exp()

    def position(self, level: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The inverse of `at`."""
        return (level.clamp(self.low, self.high) / self.low).log() / math.log(self.high / self.low)

    def levels(self, count: int) -> Float[Tensor, " {count}"]:
        """`count` levels at equal positions, from high down to low."""
        return _falling(self, count)

    def unit(self, level: Float[Tensor, "*n"], dimension: int) -> Float[Tensor, "*n"]:
        """The length in which slopes are measured: `level sqrt(d)`."""
        return level * math.sqrt(dimension)

    def spread(self, level: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """What a noised coordinate is divided by before the network sees it: its standard deviation."""
        return (level**2 + self.data_std**2).sqrt()


Noising: TypeAlias = VariancePreserving | VarianceExploding


def _falling(noising: Noising, count: int) -> Tensor:
    require_count("count", count, 1)
    return noising.at(torch.linspace(1, 0, count, dtype=torch.float64)).clamp(noising.low, noising.high)


def _shaped(level: Tensor, like: Tensor) -> Tensor:
    return level if level.ndim == 0 else level.reshape(-1, *[1] * (like.ndim - 1))


# --- the witness --------------------------------------------------------------------------------------------------


class FeatureMLP(nn.Module):
    """Features of points: (x (n, dim), position () or (n,)) -> (n, num_features); a position is a level's place in [0, 1].

    A perceptron whose `depth` hidden layers add to what comes in (with plain layers, features of different levels
    agree less and the flow loses its way from one to the next).

    Args:
        dim: of the points.
        num_features: p.
        width, depth: of the hidden layers.
        waves: sines, and as many cosines, of the position.
        scale: how many times larger than usual the first weights of x begin. More finds fine structure sooner in few
            dimensions; in many it gets in the way.

    Raises:
        TypeError, ValueError: counts below 1 (waves: 0), or a scale that is not positive.
    """

    def __init__(
        self,
        dim: int,
        num_features: int = 64,
        width: int = 128,
        depth: int = 2,
        waves: int = 6,
        scale: Number = 1.0,
    ) -> None:
        super().__init__()
        require_in("scale", scale, "(0, inf)")
        sizes = {"dim": dim, "num_features": num_features, "width": width, "depth": depth}
        for name, value in sizes.items():
            require_count(name, value, 1)
        require_count("waves", waves, 0)
        self.dim, self.num_features, self.waves = dim, num_features, waves
        self.from_x = nn.Linear(dim, width)
        with torch.no_grad():
            self.from_x.weight.mul_(scale)
        self.from_position = nn.Linear(2 * waves + 1, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, num_features)

    def forward(self, x: Float[Tensor, "n dim"], position: Float[Tensor, "*n"]) -> Float[Tensor, "n num_features"]:
        require(x.ndim == 2 and x.shape[1] == self.dim, "x", f"of shape {tuple(x.shape)}", f"of shape (n, {self.dim})")
        state = silu(self.from_x(x) + self.from_position(time_features(position.reshape(-1), self.waves)))
        for layer in self.hidden:
            state = state + silu(layer(state))
        return self.head(state)


class NoiseConditionalWitness(nn.Module):
    """Features that depend on the noise level, with a linear kernel on them: `k_t(x, y) = <phi(x, t), phi(y, t)>`.

    The witness between particles and data is then `f_t(x) = <phi(x, t), mean phi(particles, t) - mean phi(data, t)>`:
    of the data, all that a flow needs is one mean for each level.

    Args:
        network: callable (x (n, *event), position () or (n,)) -> (n, p), with p as its attribute `num_features`;
            see `FeatureMLP`. For a flow it must be differentiable, and for training twice so: SiLU, not ReLU.
        noising: the forward noise and its levels.
    """

    def __init__(self, network: nn.Module, noising: Noising | None = None) -> None:
        super().__init__()
        features = getattr(network, "num_features", None)
        require(
            isinstance(features, int) and features > 0 and isinstance(network, nn.Module),
            "network", f"a {type(network).__name__}", "a module with an attribute num_features", TypeError,
        )  # fmt: skip
        require(
            noising is None or isinstance(noising, Noising),
            "noising", f"a {type(noising).__name__}", "a VariancePreserving or VarianceExploding", TypeError,
        )  # fmt: skip
        self.network, self.noising = network, VariancePreserving() if noising is None else noising
        self.register_buffer("clean_means", torch.zeros(CELLS + 1, features))
        self.register_buffer("noised_means", torch.zeros(CELLS + 1, features))
        self.register_buffer("remembers", torch.tensor(False))

    def forward(self, x: Float[Tensor, "n *event"], level: Float[Tensor, "*n"]) -> Float[Tensor, "n p"]:
        """The features of points at a level, () or (n,)."""
        level = level.to(x)
        return self.network(x / _shaped(self.noising.spread(level), x), self.noising.position(level))

    @torch.no_grad()
    def remember(self, data: Data, generator: torch.Generator | None = None, rows: int = 4096) -> None:
        """Keep the mean features of the data, clean and noised, at `CELLS + 1` levels: no flow needs the data then.

        Args:
            data: a tensor, all of whose rows count; or a law or callable, of which `rows` points are drawn.
            generator: draws them, and the noise.
            rows: as said; also how many points the network sees at once.
        """
        require_count("rows", rows, 1)
        points = data if isinstance(data, Tensor) else draw_batch(data, rows, generator)
        require_batch("data", points)
        for cell in range(CELLS + 1):
            level = self.noising.at(torch.tensor(cell / CELLS, dtype=points.dtype, device=points.device))
            self.clean_means[cell] = self._mean(points, level, rows)
            noise = torch.randn(points.shape, generator=generator, dtype=points.dtype, device=points.device)
            self.noised_means[cell] = self._mean(self.noising.add(points, level, noise), level, rows)
        self.remembers.fill_(True)

    def remembered(self, level: Float[Tensor, ""]) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
        """The mean features (of clean data, of noised data) at a level, interpolated between the remembered ones."""
        place = self.noising.position(level) * CELLS
        below = place.floor().clamp(0, CELLS - 1)
        index = torch.stack([below, below + 1]).long()
        share = (place - below).to(self.clean_means)
        return tuple(torch.lerp(*means[index], share) for means in (self.clean_means, self.noised_means))

    @torch.no_grad()
    def mean_features(self, points: Float[Tensor, "n *event"], level: Float[Tensor, ""]) -> Float[Tensor, " p"]:
        """The mean features of a cloud at a level."""
        return self._mean(points, level, 4096)

    def _mean(self, points: Tensor, level: Tensor, rows: int) -> Tensor:
        return torch.stack([self(block, level).sum(0) for block in points.split(rows)]).sum(0) / len(points)


def witness_loss(
    witness: NoiseConditionalWitness,
    clean: Float[Tensor, "levels n *event"],
    other: Float[Tensor, "levels n *event"],
    levels: Float[Tensor, " levels"],
    penalty: Number = 1.0,
    shrinkage: Number = 0.01,
    one_sided: bool = True,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Minus MMD^2 between clean data and noised data, with a penalty on the witness's slope between them.

    For each level t, with x clean, x~ the noised `other` and m, m~ the means of their features (the paper's objective):

        -MMD_u^2 + penalty mean max(0, unit |grad f_t(u x + (1 - u) x~)| - 1)^2 + shrinkage (mean |phi(x)|^2 + mean |phi(x~)|^2)

    MMD_u^2 is unbiased, f_t = <phi, m~ - m>, u uniform. The penalty fixes the units of f; the paper's is two-sided,
    `(|grad f_t| - 1)^2`, which small batches can meet with their own noise.

    Args:
        witness: what is trained.
        clean, other: independent clean points for each level (levels, n, *event); the others are noised here.
        levels: one for each group (levels,).
        penalty, shrinkage: weights, not negative.
        one_sided: punish only slopes above 1.
        generator: draws the noise and u.
    """
    require_same_event("clean", clean, "other", other)
    groups_fit = clean.ndim >= 3 and clean.shape == other.shape and clean.shape[1] >= 2
    came = f"of shapes {tuple(clean.shape)} and {tuple(other.shape)}"
    require(groups_fit, "(clean, other)", came, "both (levels, n, *event) with n >= 2")
    require_floating("levels", levels)
    require(levels.shape == clean.shape[:1], "levels", f"of shape {tuple(levels.shape)}", f"of shape ({len(clean)},)")
    require_in("penalty", penalty, "[0, inf)")
    require_in("shrinkage", shrinkage, "[0, inf)")
    groups, n = clean.shape[:2]
    like = {"generator": generator, "dtype": clean.dtype, "device": clean.device}
    each = levels.repeat_interleave(n)
    x, y = clean.flatten(0, 1), other.flatten(0, 1)
    noised = witness.noising.add(y, each, torch.randn(y.shape, **like))
    mixed = torch.rand(len(x), **like)
    between = torch.lerp(noised, x, _shaped(mixed, x)).detach().requires_grad_(penalty > 0)
    features = witness(torch.cat([x, noised, between]), each.repeat(3))
    of_clean, of_noised, of_between = features.unflatten(0, (3, groups, n))
    sum_clean, sum_noised = of_clean.sum(1), of_noised.sum(1)
    within = sum(
        (total.square().sum(1) - each_one.square().sum((1, 2))) / (n * (n - 1))
        for total, each_one in ((sum_clean, of_clean), (sum_noised, of_noised))
    )
    squared_mmd = within - 2 * (sum_clean * sum_noised).sum(1) / n**2
    loss = -squared_mmd.mean() + shrinkage * (of_clean.square().sum(2).mean() + of_noised.square().sum(2).mean())
    if penalty > 0:
        direction = (sum_noised - sum_clean) / n
        values = (of_between * direction[:, None]).sum()
        (slope,) = torch.autograd.grad(values, between, create_graph=True)
        length = witness.noising.unit(each, x[0].numel()) * slope.flatten(1).norm(dim=1)
        excess = length - 1
        loss = loss + penalty * (excess.clamp_min(0) if one_sided else excess).square().mean()
    return loss


def train_witness(
    witness: NoiseConditionalWitness,
    data: Data,
    steps: int,
    *,
    penalty: Number = 1.0,
    shrinkage: Number = 0.01,
    one_sided: bool = True,
    batch_size: int = 128,
    levels_per_step: int = 2,
    learning_rate: Number = 2e-3,
    generator: torch.Generator | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[TrainingState]:
    """Train the features at random noise levels, `witness_loss`; at the last step the witness remembers the data's means.

    There is no generator and no adversary: the noised data do not react to the witness.

    Args:
        witness: trained in place.
        data: a tensor (rows, *event), a law, or a callable (n, generator) -> (n, *event).
        steps: updates.
        penalty, shrinkage, one_sided: of `witness_loss`.
        batch_size: clean points, and as many noised ones, for each level; at least 2.
        levels_per_step: noise levels in an update, drawn at uniform positions.
        learning_rate: of Adam, at the first step.
        generator: draws batches, levels and noise, on the device of the data.
        resume: a `TrainingState.state_dict()`.

    Raises:
        TypeError, ValueError: bad numbers, raised at the call; or as `training.train`.
    """
    require(
        isinstance(witness, NoiseConditionalWitness),
        "witness", f"a {type(witness).__name__}", "a NoiseConditionalWitness", TypeError,
    )  # fmt: skip
    require_in("penalty", penalty, "[0, inf)")
    require_in("shrinkage", shrinkage, "[0, inf)")
    require_count("batch_size", batch_size, 2)
    require_count("levels_per_step", levels_per_step, 1)

    def loss(witness: NoiseConditionalWitness) -> Tensor:
        points = draw_batch(data, 2 * levels_per_step * batch_size, generator)
        require_batch("data", points)
        clean, other = points.unflatten(0, (2, levels_per_step, batch_size))
        position = torch.rand(levels_per_step, generator=generator, dtype=points.dtype, device=points.device)
        levels = witness.noising.at(position)
        return witness_loss(witness, clean, other, levels, penalty, shrinkage, one_sided, generator)

    states = train(witness, loss, steps, learning_rate, generator=generator, resume=resume)
    return _train_witness(witness, states, data, steps, generator)


def _train_witness(witness, states, data, steps, generator):
    for state in states:
        if state.step == steps:
            witness.remember(data, generator)
        yield state


# --- flows of a witness -------------------------------------------------------------------------------------------


def adaptive_flow(
    witness: NoiseConditionalWitness,
    particles: Float[Tensor, "n *event"],
    levels: Float[Tensor, " levels"],
    step: Number,
    inner_steps: int,
    data: Data | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "n *event"]]:
    """Move particles down the witness between them and the data, level by level; yields every cloud, the start first.

    At each level t, `inner_steps` times (the paper's noise-adaptive flow; `unit` is 1 for `VariancePreserving`):

        z <- z - step unit_t^2 grad f_t(z),   f_t(z) = <phi(z, t), mean_i phi(z_i, t) - mean_j phi(x_j, t)>.

    Args:
        witness: trained; frozen or not, it gathers no gradients.
        particles: the start (n, *event).
        levels: a row of noise levels, usually `witness.noising.levels(n)`; one level repeated is the flow of a fixed kernel.
        step: length of a step. Slopes are near 1, so a particle moves about `step` in a step (times `unit`): step times
            inner_steps times levels must cover the way.
        inner_steps: steps at each level.
        data: where the mean features come from; None: those that the witness remembers.
        generator: draws from `data` when it is a law.

    Raises:
        TypeError: particles that are no floating tensor, or levels that are no row.
        ValueError: levels outside the witness's own, a number out of range, or `data` None and nothing remembered.
            Raised at the call.
    """
    levels, cloud = _require_flow(witness, particles, levels, step, inner_steps, data, generator)
    return _flow(witness, particles.detach(), levels, step, inner_steps, cloud, _down)


def kale_flow(
    witness: NoiseConditionalWitness,
    particles: Float[Tensor, "n *event"],
    levels: Float[Tensor, " levels"],
    step: Number,
    inner_steps: int,
    lam: Number = 1.0,
    data: Data | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "n *event"]]:
    """`adaptive_flow` down KALE instead of MMD^2: `z <- z + step unit_t^2 (1 + lam) e^h(z) grad h(z)`, h of `kale`.

    Args:
        witness, particles, levels, step, inner_steps, data, generator: as `adaptive_flow`.
        lam: of `kale`. Where data are much denser than particles e^h is large: small lam wants small steps. For large
            lam, `(1 + lam) h` is minus the witness of MMD and the flow is `adaptive_flow`.

    Raises:
        TypeError, ValueError: as `adaptive_flow`, or lam not positive.
    """
    levels, cloud = _require_flow(witness, particles, levels, step, inner_steps, data, generator)
    require_in("lam", lam, "(0, inf)")

    def direction(features: Tensor, mean: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        weights = _kale_weights(mean, features, lam, 5, before)
        rate = (1 + lam) * (features @ weights).clamp(max=EXPONENT).exp()
        return -weights, rate, weights

    return _flow(witness, particles.detach(), levels, step, inner_steps, cloud, direction)


def approximate_flow(
    witness: NoiseConditionalWitness,
    particles: Float[Tensor, "n *event"],
    levels: Float[Tensor, " levels"],
    share: Number = 0.85,
) -> Iterator[Float[Tensor, "n *event"]]:
    """Independent particles: the cloud's mean features are replaced by those of *noised data*, remembered as well.

    Each particle then walks alone, down `<phi(z, t), mean phi(x~_t, t) - mean phi(x, t)>`. That field does not vanish
    where the cloud arrives, so a step must be as long as what is left to go: from level t to the next level s

        z <- z - share (1 - s / t) unit_t^2 grad f(z),

    for slopes near 1 `share` times the noise that the level loses.

    Args:
        witness: one that remembers its data.
        particles: the start, noise at `levels[0]`.
        levels: falling noise levels; there is one step fewer.
        share: of the decrement; a number to be tuned to about .05.

    Raises:
        TypeError, ValueError: as `adaptive_flow`.
    """
    require_in("share", share, "(0, inf)")
    levels, _ = _require_flow(witness, particles, levels, share, 1, None, None)
    require(bool((levels.diff() <= 0).all()), "levels", "rising in some place", "falling")
    return _approximate_flow(witness, particles.detach(), levels, share)


def _approximate_flow(witness, z, levels, share):
    yield z
    for level, following in itertools.pairwise(levels):
        clean, noised = witness.remembered(level)
        slope, _ = _slope(witness, z, level, lambda features, *_: (noised - clean, None, None))  # noqa: B023
        z = z - share * (1 - following / level) * witness.noising.unit(level, z[0].numel()) ** 2 * slope
        yield z


def _down(features: Tensor, mean: Tensor, before: None) -> tuple[Tensor, None, None]:
    """The direction of the MMD flow, for all particles the same."""
    return features.mean(0) - mean, None, None


def _flow(witness, z, levels, step, inner_steps, cloud, direction):
    yield z
    for level in levels:
        mean = witness.remembered(level)[0] if cloud is None else witness.mean_features(cloud, level)
        unit, before = witness.noising.unit(level, z[0].numel()), None
        for _ in range(inner_steps):
            slope, before = _slope(witness, z, level, direction, mean, before)
            z = z.detach() - step * unit**2 * slope
            yield z


def _slope(witness, z, level, direction, mean=None, before=None):
    """The slope at each particle of `rate <phi(z), w>`, where `direction(features, mean, before)` gives w and rates."""
    z = z.detach().requires_grad_()
    with torch.enable_grad():
        features = witness(z, level)
        w, rate, before = direction(features.detach(), mean, before)
        values = features @ w
        (slope,) = torch.autograd.grad((values if rate is None else rate * values).sum(), z)
    return slope, before


def _require_flow(witness, particles, levels, step, inner_steps, data, generator):
    """The levels, like the particles, and the cloud of data or None."""
    require(
        isinstance(witness, NoiseConditionalWitness),
        "witness", f"a {type(witness).__name__}", "a NoiseConditionalWitness", TypeError,
    )  # fmt: skip
    require_batch("particles", particles)
    wanted = witness.clean_means.dtype
    require(particles.dtype == wanted, "particles", f"of {particles.dtype}", f"of {wanted} like the witness", TypeError)
    require_in("step", step, "(0, inf)")
    require_count("inner_steps", inner_steps, 1)
    require_floating("levels", levels)
    row = levels.ndim == 1 and len(levels) > 0
    require(row, "levels", f"of shape {tuple(levels.shape)}", "one row of at least one level")
    low, high = witness.noising.low, witness.noising.high
    inside = bool(((levels >= low * (1 - ROUNDING)) & (levels <= high * (1 + ROUNDING))).all())
    require(inside, "levels", "outside in some place", f"levels from {low:g} to {high:g}, those of the witness")
    cloud = None
    if data is None:
        require(bool(witness.remembers), "data", "None", "given, as the witness remembers none")
    else:
        cloud = data if isinstance(data, Tensor) else draw_batch(data, 4096, generator)
        require_same_event("particles", particles, "data", cloud)
        require_batch("data", cloud)
    return levels.to(particles), cloud


# --- KALE ---------------------------------------------------------------------------------------------------------


class Kale(NamedTuple):
    """value: KALE, a scalar; weights: (p,) of the features, the function h that reaches it."""

    value: Float[Tensor, ""]
    weights: Float[Tensor, " p"]


def kale(data: Float[Tensor, "n p"], particles: Float[Tensor, "m p"], lam: Number = 1.0, iterations: int = 20) -> Kale:
    """KL approximate lower bound estimate, by features (Glaser et al. 2021), with h linear in them:

        KALE = (1 + lam) max_h { 1 + E_data h - E_particles e^h - lam/2 |h|^2 },   h = <w, phi>.

    KALE / (1 + lam) is a lower bound of KL(data || particles), for the true laws. Concave in w: Newton's method, the
    best of several step lengths each time, without waiting for the device.

    Args:
        data, particles: their features (n, p) and (m, p). For gradients in either, hold `weights` fixed (envelope).
        lam: of the penalty, positive.
        iterations: of Newton's method.

    Raises:
        TypeError, ValueError: features that do not fit, or numbers out of range.
    """
    require_same_event("data", data, "particles", particles)
    for name, features in {"data": data, "particles": particles}.items():
        rows = features.ndim == 2 and len(features) > 0
        require(rows, name, f"of shape {tuple(features.shape)}", "features of shape (n, p), n >= 1")
    require_in("lam", lam, "(0, inf)")
    require_count("iterations", iterations, 1)
    with torch.no_grad():
        weights = _kale_weights(data.mean(0), particles, lam, iterations, None)
    return Kale((1 + lam) * _kale_objective(data.mean(0), particles, lam, weights[:, None])[0], weights)


def _kale_weights(mean, features, lam, iterations, start):
    """Newton's method in the weights, from `start` or 0."""
    w = torch.zeros_like(mean) if start is None else start
    ridge = lam * torch.eye(len(w), dtype=w.dtype, device=w.device)
    lengths = 0.5 ** torch.arange(10, dtype=w.dtype, device=w.device)
    for _ in range(iterations):
        density = (features @ w).clamp(max=EXPONENT).exp() / len(features)
        gradient = mean - density @ features - lam * w
        curvature = (features * density[:, None]).T @ features + ridge
        step = torch.cholesky_solve(gradient[:, None], torch.linalg.cholesky_ex(curvature).L)
        candidates = torch.cat([w[:, None], w[:, None] + step * lengths], dim=1)
        best = _kale_objective(mean, features, lam, candidates).argmax()
        w = candidates.index_select(1, best[None])[:, 0]
    return w


def _kale_objective(mean, features, lam, weights):
    """1 + E h - E e^h - lam/2 |h|^2 for each column of `weights` (p, k)."""
    density = (features @ weights).clamp(max=EXPONENT).exp().mean(0)
    value = 1 + mean @ weights - density - lam / 2 * weights.square().sum(0)
    return value.nan_to_num(nan=-torch.inf)  # a step that failed loses against standing still


def _require_not_negative(argument: str, value: object) -> None:
    """Numbers from 0; of tensors the values are not read."""
    if not torch.is_tensor(value):
        require_in(argument, value, "[0, inf)", " or a tensor")
