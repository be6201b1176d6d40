"""Denoising diffusion GAN: a drawing denoiser trained against a critic instead of a scoring rule.

The generator draws a clean point from (x_t, t, noise) and the bridge brings it to time s. A critic that
sees the pair (x_s, x_t) tells such steps from true ones. It is sampled as a distributional denoiser, on
the grid that it was trained for.

Source: Xiao, Kreis and Vahdat, "Tackling the Generative Learning Trilemma with Denoising Diffusion GANs",
ICLR 2022 (arXiv 2112.07804): the non-saturating loss of Section 3 with the R1 penalty on true pairs
(Mescheder, Geiger and Nowozin 2018). Two players need two optimisers, so the loop is its own.

>>> from companion.data.toy import eight_gaussians
>>> from companion.foundations.diffusion import time_grid
>>> from companion.foundations.networks import TimeMLP
>>> from companion.methods.distributional import DistributionalDenoiser, sample_distributional
>>> law, generator = eight_gaussians(), torch.Generator().manual_seed(0)
>>> pair = GanPair(DistributionalDenoiser(TimeMLP(dim=2, noise_dim=2), (2,)), Critic(dim=2))
>>> for state in train_gan(pair, law, time_grid(2), steps=10, generator=generator):
...     pass
>>> noise = torch.randn(100, 2, generator=generator)
>>> *_, points = sample_distributional(pair.denoiser, noise, time_grid(2), generator=generator)
>>> points.shape
torch.Size([100, 2])
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from companion.foundations.diffusion import add_noise, alpha, bridge, expand_time, sigma
from companion.foundations.networks import MLP, time_features
from companion.foundations.training import Data, TrainingState, draw_batch
from companion.foundations.validation import Number, require, require_count
from companion.methods.distributional import DistributionalDenoiser

MOMENTA = (0.5, 0.9)  # of Adam, for both players: less memory than usual, as the opponent keeps moving
AVERAGE_DECAY = 0.995


class Critic(nn.Module):
    """Logit that a pair (x_s (n, dim), x_t (n, dim)) at times t is true, for points."""

    def __init__(self, dim: int, width: int = 64, depth: int = 3, waves: int = 6) -> None:
        super().__init__()
        self.waves = waves
        self.net = MLP(2 * dim + 2 * waves + 1, 1, width, depth)

    def forward(
        self, earlier: Float[Tensor, "n dim"], x: Float[Tensor, "n dim"], t: Float[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        return self.net(torch.cat([earlier, x, time_features(t, self.waves)], dim=1))[:, 0]


class GanPair(nn.Module):
    """A generator and its critic, trained together.

    Args:
        denoiser: the generator, a denoiser that draws.
        critic: (x_s (n, *event), x_t (n, *event), t (n,)) -> logits (n,).
    """

    def __init__(self, denoiser: DistributionalDenoiser, critic: nn.Module) -> None:
        super().__init__()
        self.denoiser, self.critic = denoiser, critic


def train_gan(
    pair: GanPair,
    data: Data,
    times: Float[Tensor, " times"],
    steps: int,
    penalty: Number = 0.5,
    batch_size: int = 256,
    learning_rate: Number = 2e-3,
    generator: torch.Generator | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[TrainingState]:
    """Train the generator's steps along `times` to be taken for true ones.

    Args:
        pair: trained in place.
        data: a tensor, a law or a callable.
        times: the sampler's grid, from 1 to 0.
        steps: updates of each network; a pair of them is one call of the generator, three of the critic, and
            the critic's slope.
        penalty: of the critic's squared gradient at true pairs (R1).
        batch_size, learning_rate, generator, resume: as `train_distributional`.

    Raises:
        ValueError: a count below 1, a negative penalty, fewer than two times, or as `training.train`.
    """
    require_count("batch_size", batch_size, 1)
    require_count("steps", steps, 1)
    require(learning_rate > 0, "learning_rate", learning_rate, "positive")
    require(penalty >= 0, "penalty", penalty, "at least 0")
    require(
        times.ndim == 1 and len(times) >= 2, "times", f"of shape {tuple(times.shape)}", "one row of at least two times"
    )

    done = resume["step"] if resume else 0
    require(done < steps, "resume", f"at step {done}", f"before the last step, {steps}")
    return _train(pair, data, times, steps, penalty, batch_size, learning_rate, generator, resume)


def _train(pair, data, times, steps, penalty, batch_size, learning_rate, generator, resume):
    averaged = copy.deepcopy(pair).requires_grad_(False)
    critic, denoiser = (torch.optim.Adam(p.parameters(), learning_rate, MOMENTA) for p in (pair.critic, pair.denoiser))
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(player, steps) for player in (critic, denoiser)]
    parts = {"model": pair, "averaged": averaged, "critic": critic, "denoiser": denoiser}
    parts |= {"critic schedule": schedules[0], "denoiser schedule": schedules[1]}
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
        x0 = draw_batch(data, batch_size, generator)
        grid = times.to(x0)
        index = torch.randint(len(times) - 1, (batch_size,), generator=generator, device=x0.device)
        t, s = grid[index], grid[index + 1]
        true, x = noisy_pair(x0, t, s, generator)
        drawn = cross(pair.denoiser(x, t, generator), x, t, s, generator)

        loss = critic_loss(pair.critic, true, drawn.detach(), x, t, penalty)
        _update(critic, loss)
        _update(denoiser, softplus(-pair.critic(drawn, x, t)).mean())
        for schedule in schedules:
            schedule.step()
        decay = min(AVERAGE_DECAY, step / (step + 10))
        with torch.no_grad():
            for average, parameter in zip(averaged.parameters(), pair.parameters(), strict=True):
                average.lerp_(parameter, 1 - decay)
        if step == steps:
            pair.load_state_dict(averaged.state_dict())
            pair.eval()
        yield TrainingState(step, loss.detach(), pair, averaged, resumable)


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step for one player; what the loss sends to the other is dropped at its next step."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def critic_loss(
    critic: nn.Module,
    true: Float[Tensor, "n *event"],
    drawn: Float[Tensor, "n *event"],
    x: Float[Tensor, "n *event"],
    t: Float[Tensor, " n"],
    penalty: Number,
) -> Float[Tensor, ""]:
    """Logistic loss of telling true x_s from drawn ones given x_t, and half the penalty times the squared slope at true ones."""
    true = true.detach().requires_grad_(penalty > 0)
    logit = critic(true, x, t)
    loss = softplus(-logit).mean() + softplus(critic(drawn, x, t)).mean()
    if penalty > 0:
        (slope,) = torch.autograd.grad(logit.sum(), true, create_graph=True)
        loss = loss + penalty / 2 * slope.square().flatten(1).sum(1).mean()
    return loss


def noisy_pair(
    x0: Float[Tensor, "n *event"], t: Float[Tensor, " n"], s: Float[Tensor, " n"], generator: torch.Generator | None
) -> tuple[Float[Tensor, "n *event"], Float[Tensor, "n *event"]]:
    """(x_s, x_t) of the forward process: noise to s, then on to t."""
    first, second = torch.randn(2, *x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    earlier = add_noise(x0, s, first)
    ratio = alpha(t) / alpha(s)
    added = (sigma(t) ** 2 - (ratio * sigma(s)) ** 2).sqrt()
    return earlier, expand_time(ratio, x0) * earlier + expand_time(added, x0) * second


def cross(x0, x, t, s, generator):
    """A draw of x_s on the churn-1 bridge from x_t to x0, one step for each row."""
    mean, std = bridge(x, x0, t, s, churn=1.0)
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return mean + expand_time(std, x) * noise
