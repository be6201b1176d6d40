"""Exercise 03.6: a reward that guidance can game, tried with a small trainer.

>>> trial = try_reward(sure_of_the_class, torch.Generator().manual_seed(0), points=100, updates=5)
>>> trial.guided.shape, trial.tilted.shape
(torch.Size([400, 2]), torch.Size([400, 2]))
"""

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from companion.foundations.diffusion import time_grid
from companion.foundations.distances import energy_distance
from companion.methods.guidance import Reward, learn_guidance, sample_guided
from companion.teaching.checks.answers import StudentFunction, expect, expect_tensor, normal, read_function
from companion.teaching.checks.framework import exercise
from companion.teaching.lessons.learned_guidance import TiltedLaw, overlapping_law

STRENGTH, STEPS = 0.4, 20
RAISED, AWAY = 0.1, 0.06


def sure_of_the_class(x0: Float[Tensor, "n 2"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The reward p(class | x): how sure a perfect classifier is."""
    return overlapping_law().to(x0).class_log_probs(x0).gather(1, labels[:, None])[:, 0].exp()


@dataclass(frozen=True)
class Trial:
    """What guidance learned from a reward does, beside the law that it should go to.

    Attributes:
        before, after: mean rewards of unguided and of guided samples, from the same noise.
        distance: energy distance of the guided samples to the tilted law, mean over classes; the noise is about .002.
        guided: (4 points, 2) guided samples, class by class.
        tilted: (4 points, 2) draws of p(x|c) exp(g R), g such that the mean reward of each class is that of `guided`.
    """

    before: float
    after: float
    distance: float
    guided: Float[Tensor, "n 2"]
    tilted: Float[Tensor, "n 2"]


def try_reward(reward: Reward, generator: torch.Generator, points: int = 500, updates: int = 150) -> Trial:
    """Learn weights from self-consistency and this reward, for an exact model, and see where they lead.

    Args:
        reward: callable (x0 (n, 2), labels (n,)) -> (n,), in [0, 1], differentiable in x0.
        generator: draws everything, on its device.
        points: samples of each class.
        updates: of the weights.
    """
    law = overlapping_law().to(generator.device)
    data, labels = law.sample_labelled(1000, generator)
    model = law.conditional, law.unconditional
    *_, state = learn_guidance(
        *model, data, labels, updates, reward, STRENGTH, beta=1.5, learning_rate=1e-2, generator=generator
    )
    wanted = torch.arange(4, device=generator.device).repeat_interleave(points)
    noise = torch.randn(4 * points, 2, generator=generator, device=generator.device)
    *_, plain = sample_guided(*model, 0.0, wanted, noise, time_grid(STEPS))
    *_, guided = sample_guided(*model, state.model, wanted, noise, time_grid(STEPS))
    with torch.no_grad():
        before, after = (reward(samples, wanted).double().mean().item() for samples in (plain, guided))
    clouds, tilted = guided.chunk(4), []
    for label, cloud in enumerate(clouds):
        tilt = TiltedLaw(law, label, reward)
        strength = tilt.strength_for(reward(cloud, wanted[wanted == label]).double().mean().item())
        tilted.append(tilt.sample(points, strength, generator))
    distance = sum(energy_distance(*pair).item() for pair in zip(clouds, tilted)) / 4
    return Trial(before, after, distance, guided, torch.cat(tilted))


class Candidate:
    """The student's reward, tried once."""

    def __init__(self, function: StudentFunction) -> None:
        self.function = function

    def __call__(self, x0: Tensor, labels: Tensor) -> Tensor:
        return self.function(x0, labels)

    @functools.cached_property
    def trial(self) -> Trial:
        return try_reward(self, torch.Generator().manual_seed(30_006))


@exercise(
    "03.6",
    "A reward that is gamed",
    difficulty=3,
    minutes=10,
    equation="the reward loss",
    takeaway="Your reward rose, and the samples went where the tilted law does not go. A scalar weight moves samples along x_c - x_u only: what earns the reward there is taken, whether or not the data would have had it so.",
)
def gamed(answer: object) -> Candidate:
    return Candidate(read_function(answer, "reward(x0, labels)"))


def _questions(generator: torch.Generator, n: int = 200) -> tuple[Tensor, Tensor]:
    return 1.2 * normal(generator, n, 2).float(), torch.randint(4, (n,), generator=generator)


@gamed.requires("one number a row", "Return one floating number for each row, a tensor (n,).")
def _(reward: Candidate, generator: torch.Generator) -> None:
    for n in (5, 1):
        expect_tensor(reward(*_questions(generator, n)), (n,), None, "the rewards")


@gamed.requires(
    "from 0 to 1",
    "Keep the reward between 0 and 1, with a sigmoid for example. One that grows without limit may outgrow the "
    "energy score: then the weights run away, and that is no game.",
)
def _(reward: Candidate, generator: torch.Generator) -> None:
    x0, labels = _questions(generator, 1000)
    rewards = torch.cat([reward(scale * x0, labels).detach() for scale in (0.1, 1.0, 10.0)])
    low, high = rewards.min().item(), rewards.max().item()
    expect(low >= -1e-6 and high <= 1 + 1e-6, f"yours goes from {low:.3g} to {high:.3g}")


@gamed.requires(
    "a slope",
    "The reward has no slope: weights are learned from its gradient. A threshold, a rounding or a constant is flat "
    "almost everywhere. Make the step smooth.",
)
def _(reward: Candidate, generator: torch.Generator) -> None:
    x0, labels = _questions(generator)
    rewards = reward(x0.requires_grad_(), labels)
    expect(rewards.requires_grad, "its gradient is cut off")
    (slope,) = torch.autograd.grad(rewards.sum(), x0)
    expect(slope.isfinite().all(), "some slopes are not finite")
    expect(slope.abs().max() > 1e-4)


@gamed.requires(
    "raised",
    "The learned weights do not raise it enough. Guidance moves a sample along x_c - x_u, away from the other classes "
    "and never back. A reward that asks for another direction in most classes gets weights near 0: half a plane, one "
    "side of a class, or the middle.",
)
def _(reward: Candidate, generator: torch.Generator) -> None:
    trial = reward.trial
    found = f"the mean reward goes from {trial.before:.3f} to {trial.after:.3f}, expected a rise of {RAISED}"
    expect(trial.after - trial.before >= RAISED, found)


@gamed.requires(
    "away from the tilted law",
    "The reward rises, and honestly: the samples stay near the data's own law tilted by it. So it is with p(class|x), "
    "whose gradient is just the direction of guidance. Reward something that only goes along with the class, and that "
    "samples can have too much of.",
)
def _(reward: Candidate, generator: torch.Generator) -> None:
    distance = reward.trial.distance
    expect(distance >= AWAY, f"their energy distance is {distance:.3f}, expected at least {AWAY}")
