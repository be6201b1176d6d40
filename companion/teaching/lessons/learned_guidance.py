"""Lesson 03: weights learned for a base, the exam that samples sit, and the laws that a reward tilts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from companion.data.labelled import four_classes
from companion.foundations import diffusion, distances
from companion.foundations.conditional import (
    Conditional,
    LabelledMixture,
    Unconditional,
)
from companion.foundations.diffusion import add_noise, time_grid
from companion.foundations.distances import energy_distance
from companion.foundations.validation import Number
from companion.methods import guidance
from companion.methods.guidance import (
    GuidanceWeights,
    Reward,
    Schedule,
    Weight,
    guided_step,
    learn_guidance,
    sample_guided,
)
from companion.teaching.checkpoints import run
from companion.teaching.lessons import guidance_bases
from companion.teaching.session import Session

SOURCES = (*guidance_bases.SOURCES, distances, guidance, __name__)
UPDATES = 400  # of the learned weights
STEPS = 20


@runtime_checkable
class Model(Protocol):
    """Whatever predicts the clean point with a class and without: a base, or an exact law."""

    def conditional(self, x: Tensor, t: diffusion.Time, labels: Tensor) -> Tensor: ...

    def unconditional(self, x: Tensor, t: diffusion.Time) -> Tensor: ...


# --- learned weights ----------------------------------------------------------------------------------------------


def learned_weights(
    model: Model,
    data: tuple[Float[Tensor, "rows *event"], Int[Tensor, " rows"]],
    session: Session,
    output: str = "softplus",
    **settings: Any,
) -> GuidanceWeights:
    """The weights that `learn_guidance` finds for a model in `UPDATES` updates, behind a progress bar.

    Args:
        model: the base.
        data: clean points and their labels.
        session: says the seed.
        output: of `GuidanceWeights`.
        settings: of `learn_guidance`.
    """
    points, labels = data
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(session.seed)
        weights = GuidanceWeights(int(labels.max()) + 1, output=output).to(points)
    settings = {"steps": UPDATES, **settings}
    states = learn_guidance(
        model.conditional,
        model.unconditional,
        points,
        labels,
        weights=weights,
        generator=session.generator(30),
        **settings,
    )
    run(states, settings["steps"], "weights")
    return weights.requires_grad_(False)


def shared_noise_loss(
    conditional: Conditional,
    unconditional: Unconditional,
    weights: Schedule,
    x0: Float[Tensor, "n *event"],
    labels: Int[Tensor, " n"],
    s: Float[Tensor, " n"],
    t: Float[Tensor, " n"],
    population: int = 4,
    beta: Number = 2.0,
    lam: Number = 0.0,
    generator: torch.Generator | None = None,
    *,
    churn: Number = 0.0,
) -> Float[Tensor, ""]:
    """The square loss whose pushed and noised particles share their noise: a regression, wrong on purpose.

    Called as `self_consistency_loss`; population, beta and lam are not used.
    """
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    x_t, x_s = add_noise(x0, t, noise), add_noise(x0, s, noise)
    weight = weights(labels, s, t)
    pushed = guided_step(conditional, unconditional, weight, x_t, labels, s, t, churn, generator)
    return (pushed - x_s).flatten(1).square().sum(1).mean()


def constant_by_class(values: Float[Tensor, " classes"]) -> Schedule:
    """A schedule that knows the class and not the time."""
    return lambda labels, s, t: values.to(labels.device)[labels]


# --- the exam -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exam:
    """One start for all samplers, and fresh data to judge them by: the mean over classes of an energy distance.

    Attributes:
        labels: (n,) the classes asked for, as many of each.
        start: (n, *event) noise.
        references: fresh data of each class, or what `view` makes of them.
        view: what is compared instead of the points themselves: features, say.
    """

    labels: Int[Tensor, " n"]
    start: Float[Tensor, "n *event"]
    references: list[Tensor]
    view: Callable[[Tensor], Tensor] = lambda points: points

    def by_class(self, points: Float[Tensor, "n *event"]) -> Float[Tensor, " classes"]:
        """The energy distance of each class's points from its reference."""
        seen = self.view(points)
        pairs = ((seen[self.labels == label], reference) for label, reference in enumerate(self.references))
        return torch.stack([energy_distance(own, reference) for own, reference in pairs]).cpu()

    def __call__(self, points: Float[Tensor, "n *event"]) -> float:
        """The mean over classes."""
        return self.by_class(points).mean().item()

    def sample(
        self,
        model: Model,
        weight: Weight,
        steps: int = STEPS,
        churn: Number = 0.0,
    ) -> Float[Tensor, "n *event"]:
        """Guided samples from the common start; fresh noise of the churn is common, too."""
        generator = torch.Generator(self.start.device).manual_seed(7)
        walk = sample_guided(
            model.conditional, model.unconditional, weight, self.labels, self.start, time_grid(steps), churn, generator
        )
        *_, points = walk
        return points

    def of(self, model: Model, weight: Weight, steps: int = STEPS) -> float:
        """The distance that a weight reaches."""
        return self(self.sample(model, weight, steps))


def exam(law: LabelledMixture, seed: int = 0, n: int = 1000) -> Exam:
    """`n` points of each class against twice as many fresh ones."""
    generator = torch.Generator(law.means.device).manual_seed(5000 + seed)
    labels = torch.arange(law.num_classes, device=law.means.device).repeat_interleave(n)
    start = torch.randn(len(labels), law.means.shape[1], generator=generator, device=law.means.device)
    return Exam(labels, start, [law.given(label).sample(2 * n, generator) for label in range(law.num_classes)])


def floor(law: LabelledMixture, n: int = 1000, repeats: int = 20) -> float:
    """Standard deviation of the exam's distance when the samples are the law's own: nothing below it can be told apart."""
    generator = torch.Generator().manual_seed(4000)
    judge = exam(law, 0, n)
    return torch.tensor([judge(law.sample_given(judge.labels, generator)) for _ in range(repeats)]).std().item()


@dataclass(frozen=True)
class Blurred:
    """An exact model whose conditional answer has gone only a share of the way: `k x_u + (1 - k) x_c`.

    The weight that repairs it is `k / (1 - k)`, for every class and time.
    """

    law: LabelledMixture
    blur: float

    def conditional(self, x: Tensor, t: diffusion.Time, labels: Tensor) -> Tensor:
        return self.law.conditional(x, t, labels).lerp(self.law.unconditional(x, t), self.blur)

    def unconditional(self, x: Tensor, t: diffusion.Time) -> Tensor:
        return self.law.unconditional(x, t)


# --- rewards ------------------------------------------------------------------------------------------------------


def overlapping_law() -> LabelledMixture:
    """Four classes that overlap, so that a reward for looking like one's class has something to gain."""
    return four_classes(separation=0.6, std=0.3)


def alignment(law: LabelledMixture) -> Reward:
    """The reward `log p(class | x)`: how surely a perfect classifier recognises the point."""
    return lambda x, labels: law.class_log_probs(x).gather(1, labels[:, None])[:, 0]


def far_out(x: Float[Tensor, "n 2"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """A reward for lying far from the middle, whatever the class: `tanh |x|`."""
    return x.norm(dim=1).tanh()


def right_half(x: Float[Tensor, "n 2"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """A reward for lying to the right, whatever the class: `log sigmoid(4 x_1)`."""
    return nn.functional.logsigmoid(4 * x[:, 0])


@dataclass(frozen=True)
class TiltedLaw:
    """The law `p(x | class) exp(strength reward(x))`, worked out on a fine grid of the plane.

    For the reward `log p(class | x)` this is the powered density `p(x | class)^(1 + strength) / p(x)^strength`, up to
    a factor: what constant guidance is often said to sample.
    """

    law: LabelledMixture
    label: int
    reward: Reward
    limit: float = 3.5
    cells: int = 350
    most: float = 2000.0

    @cached_property
    def grid(self) -> Float[Tensor, "m 2"]:
        middle = (torch.arange(self.cells, dtype=torch.float64) + 0.5) * 2 * self.limit / self.cells - self.limit
        return torch.cartesian_prod(middle, middle)

    @cached_property
    def rewards(self) -> Float[Tensor, " m"]:
        labels = torch.full((len(self.grid),), self.label)
        return self.reward(self.grid, labels)

    @cached_property
    def plain(self) -> Float[Tensor, " m"]:
        return self.law.given(self.label).to(torch.float64).log_prob(self.grid)

    def probabilities(self, strength: Number) -> Float[Tensor, " m"]:
        """Of the cells."""
        return (self.plain + strength * self.rewards).softmax(0)

    def mean_reward(self, strength: Number) -> float:
        return (self.probabilities(strength) * self.rewards).sum().item()

    def strength_for(self, mean_reward: Number) -> float:
        """The strength at which the tilted law earns `mean_reward`, by bisection, from 0 to `most`."""
        low, high = 0.0, self.most
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self.mean_reward(middle) < mean_reward else (low, middle)
        return (low + high) / 2

    def sample(self, n: int, strength: Number, generator: torch.Generator) -> Float[Tensor, "n 2"]:
        chosen = torch.multinomial(self.probabilities(strength), n, replacement=True, generator=generator)
        inside = torch.rand(n, 2, generator=generator) - 0.5
        return self.grid[chosen].float() + inside * 2 * self.limit / self.cells


def against_tilt(
    tilted: list[TiltedLaw], points: Float[Tensor, "n 2"], labels: Int[Tensor, " n"]
) -> dict[str, list[float]]:
    """For each class: the mean reward of its points, the tilt that earns as much, and their distance from it.

    Keys: "reward", "strength", "from_tilted" (energy distance to the tilted law of equal mean reward) and
    "from_class" (to the class's own law).
    """
    rows: dict[str, list[float]] = {"reward": [], "strength": [], "from_tilted": [], "from_class": []}
    for tilt in tilted:
        own = points[labels == tilt.label].cpu()
        reward = tilt.reward(own, labels[labels == tilt.label].cpu()).mean().item()
        strength = tilt.strength_for(reward)
        generator = torch.Generator().manual_seed(6000 + tilt.label)
        rows["reward"].append(reward)
        rows["strength"].append(strength)
        rows["from_tilted"].append(energy_distance(own, tilt.sample(2 * len(own), strength, generator)).item())
        rows["from_class"].append(
            energy_distance(own, tilt.law.given(tilt.label).sample(2 * len(own), generator)).item()
        )
    return rows
