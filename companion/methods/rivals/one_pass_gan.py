"""A GAN of points: one pass of a generator draws a point, and a critic says what is wrong with it.

Two losses:

- "logistic": the critic is a classifier, the generator maximises the log odds that it is fooled (Goodfellow et al.
  2014, the non-saturating loss), and the critic's slope at true points is penalised (R1; Mescheder, Geiger and Nowozin,
  ICML 2018, arXiv 1801.04406).
- "wasserstein": the critic of `critic_flow`, several updates of it for one of the generator (Gulrajani et al. 2017,
  arXiv 1704.00028, Algorithm 1). There particles climb the critic; here a network learns where they would go.

The optimisers, their memory and the average of the weights are those of `rivals.gan`.

>>> from companion.data.toy import eight_gaussians
>>> from companion.methods.rivals.critic_flow import PointCritic
>>> law, generator = eight_gaussians(), torch.Generator().manual_seed(0)
>>> pair = OnePassPair(Generator(dim=2, noise_dim=4), PointCritic(dim=2))
>>> for state in train_one_pass(pair, law, steps=10, generator=generator):
...     pass
>>> pair.generator.sample(100, generator).shape
torch.Size([100, 2])
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from companion.foundations.networks import MLP
from companion.foundations.training import Data, TrainingState, draw_batch
from companion.foundations.validation import (
    Number,
    require,
    require_count,
    require_in,
    require_same_event,
)
from companion.methods.rivals.critic_flow import critic_values, require_critic, wasserstein_loss
from companion.methods.rivals.gan import AVERAGE_DECAY, MOMENTA, _update

DEFAULTS = {"logistic": (0.5, 1), "wasserstein": (1.0, 2)}  # of each loss: penalty, updates of the critic
RESUMABLE = {
    "model",
    "averaged",
    "critic",
    "generator net",
    "critic schedule",
    "generator schedule",
    "step",
    "generator",
}


class Generator(nn.Module):
    """Noise to points in one pass: (noise (n, noise_dim)) -> (n, dim), a perceptron. It is a law: it samples.

    Raises:
        ValueError: a size below 1, or noise of another dimension.
    """

    def __init__(self, dim: int, noise_dim: int, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        require_count("dim", dim, 1)
        require_count("noise_dim", noise_dim, 1)
        self.noise_dim = noise_dim
        self.net = MLP(noise_dim, dim, width, depth)

    def forward(self, noise: Float[Tensor, "n noise_dim"]) -> Float[Tensor, "n dim"]:
        fits = noise.ndim == 2 and noise.shape[1] == self.noise_dim
        require(fits, "noise", f"of shape {tuple(noise.shape)}", f"of shape (n, {self.noise_dim})")
        return self.net(noise)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n dim"]:
        """`n` points that gradients can go back through."""
        require_count("n", n, 1)
        weight = next(self.parameters())
        noise = torch.randn(n, self.noise_dim, generator=generator, dtype=weight.dtype, device=weight.device)
        return self(noise)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n dim"]:
        """`n` points; `generator` draws the noise, on the device of the weights."""
        return self.draw(n, generator)


class OnePassPair(nn.Module):
    """A generator and its critic, trained together.

    Args:
        generator: a module with `.draw(n, generator) -> (n, *event)`, such as `Generator`.
        critic: (n, *event) -> (n,), such as `PointCritic`.
    """

    def __init__(self, generator: nn.Module, critic: nn.Module) -> None:
        super().__init__()
        drawn = getattr(generator, "draw", None)
        require(callable(drawn), "generator", f"a {type(generator).__name__}", "a module that can .draw", TypeError)
        self.generator, self.critic = generator, critic


def train_one_pass(
    pair: OnePassPair,
    data: Data,
    steps: int,
    *,
    loss: str = "logistic",
    penalty: Number | None = None,
    critic_steps: int | None = None,
    batch_size: int = 256,
    learning_rate: Number = 2e-3,
    generator: torch.Generator | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[TrainingState]:
    """Train the generator to draw points that its critic takes for data.

    Args:
        pair: trained in place; after the last state it holds the averaged weights.
        data: a tensor (rows, *event), a law, or a callable (n, generator) -> (n, *event).
        steps: updates of the generator, those before a resume included.
        loss: "logistic" or "wasserstein".
        penalty: of the critic's slope: "logistic", half of that of slope^2 at data, 0.5 when None; "wasserstein", of
            (slope - 1)^2 between a drawn point and a data point, 1 when None.
        critic_steps: updates of the critic for each of the generator; 1 for "logistic" and 2 for "wasserstein" when None
            (the paper has 5 for images).
        batch_size: drawn points, and as many data, in an update.
        learning_rate: of both players, at the first step; it falls to 0 along half a cosine.
        generator: draws batches and noise, on the device of data and weights.
        resume: a `TrainingState.state_dict()`.

    Yields:
        A `TrainingState` for each update of the generator; its loss is the critic's.

    Raises:
        TypeError: `pair` is no `OnePassPair`, or data of another dtype.
        ValueError: an unknown loss, numbers out of range, or a resume that does not fit. Raised at the call; data of
            another shape than drawn points are refused at the first step.
    """
    require(isinstance(pair, OnePassPair), "pair", f"a {type(pair).__name__}", "a OnePassPair", TypeError)
    require_count("steps", steps, 1)
    require(loss in tuple(DEFAULTS), "loss", repr(loss), '"logistic" or "wasserstein"')
    penalty = DEFAULTS[loss][0] if penalty is None else penalty
    critic_steps = DEFAULTS[loss][1] if critic_steps is None else critic_steps
    require_in("penalty", penalty, "[0, inf)")
    require_count("critic_steps", critic_steps, 1)
    require_count("batch_size", batch_size, 1)
    require_in("learning_rate", learning_rate, "(0, inf)")
    if isinstance(data, Tensor):
        require_critic("pair", pair, "data", data)
    saved = resume is None or (isinstance(resume, dict) and resume.keys() >= RESUMABLE)
    require(saved, "resume", f"a {type(resume).__name__} without all it needs", "a TrainingState.state_dict()")
    if resume:
        both = (resume["generator"] is None) == (generator is None)
        require(both, "generator", repr(generator), "given exactly when it was given before the resume")
    done = resume["step"] if resume else 0
    require(done < steps, "resume", f"at step {done}", f"before the last step, {steps}")
    return _train(pair, data, steps, loss, penalty, critic_steps, batch_size, learning_rate, generator, resume)


def _train(pair, data, steps, loss, penalty, critic_steps, batch_size, learning_rate, generator, resume):
    averaged = copy.deepcopy(pair).requires_grad_(False)
    players = [torch.optim.Adam(net.parameters(), learning_rate, MOMENTA) for net in (pair.critic, pair.generator)]
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(player, steps) for player in players]
    parts = {"model": pair, "averaged": averaged, "critic": players[0], "generator net": players[1]}
    parts |= {"critic schedule": schedules[0], "generator schedule": schedules[1]}
    done = 0
    if resume:
        done = resume["step"]
        for name, part in parts.items():
            part.load_state_dict(resume[name])
        if generator is not None:
            generator.set_state(resume["generator"].cpu())

    def resumable() -> dict[str, Any]:
        saved = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
        return saved | {"step": step, "generator": None if generator is None else generator.get_state()}

    pair.train()
    for step in range(done + 1, steps + 1):
        for _ in range(critic_steps):
            true = draw_batch(data, batch_size, generator)
            with torch.no_grad():
                drawn = pair.generator.draw(batch_size, generator)
            require_same_event("drawn points", drawn, "data", true)
            value = critic_loss(pair.critic, true, drawn, loss, penalty, generator)
            _update(players[0], value)
        _update(players[1], generator_loss(pair.critic, pair.generator.draw(batch_size, generator), loss))
        for schedule in schedules:
            schedule.step()
        decay = min(AVERAGE_DECAY, step / (step + 10))
        with torch.no_grad():
            for average, parameter in zip(averaged.parameters(), pair.parameters(), strict=True):
                average.lerp_(parameter, 1 - decay)
            for average, buffer in zip(averaged.buffers(), pair.buffers(), strict=True):
                average.copy_(buffer)
        if step == steps:
            pair.load_state_dict(averaged.state_dict())
            pair.eval()
        yield TrainingState(step, value.detach(), pair, averaged, resumable)


def critic_loss(
    critic: nn.Module,
    true: Float[Tensor, "n *event"],
    drawn: Float[Tensor, "n *event"],
    loss: str,
    penalty: Number,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """What the critic minimises: telling true points from drawn ones, and the penalty of its slope."""
    if loss == "wasserstein":
        return wasserstein_loss(critic, true, drawn, penalty, generator)
    true = true.detach().requires_grad_(penalty > 0)
    logit = critic_values(critic, true)
    value = softplus(-logit).mean() + softplus(critic_values(critic, drawn)).mean()
    if penalty > 0:
        (slope,) = torch.autograd.grad(logit.sum(), true, create_graph=True)
        value = value + penalty / 2 * slope.flatten(1).square().sum(1).mean()
    return value


def generator_loss(critic: nn.Module, drawn: Float[Tensor, "n *event"], loss: str) -> Float[Tensor, ""]:
    """What the generator minimises: mean -log odds of being fooled, softly; or minus the mean critic."""
    values = critic_values(critic, drawn)
    return softplus(-values).mean() if loss == "logistic" else -values.mean()
