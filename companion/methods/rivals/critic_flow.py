"""Critic flow: particles climb a critic that is trained again at every step. An adversary, and no generator.

The critic is trained for a few updates to tell the cloud from the data, then every particle goes up its slope. As the
cloud moves, the critic must follow: there is no level to look up, and what was learned at the start is forgotten at
the end. Two critics:

- "wasserstein": steep by 1 between the clouds and otherwise as different on them as can be. Gulrajani, Ahmed,
  Arjovsky, Dumoulin and Courville, "Improved Training of Wasserstein GANs", NeurIPS 2017 (arXiv 1704.00028), eq. (3);
  Arjovsky, Chintala and Bottou 2017.
- "kl": the log of how many times denser the data are than the particles. Its slope is the velocity of the gradient
  flow of KL(particles || data). Fan, Zhang, Taghvaei and Chen, "Variational Wasserstein gradient flow", ICML 2022
  (arXiv 2112.02424), with the data as reference law. Simplified: one step of Euler, where they solve a proximal
  problem with a second network.

>>> from companion.data.toy import eight_gaussians
>>> law, generator = eight_gaussians(), torch.Generator().manual_seed(0)
>>> start = torch.randn(500, 2, generator=generator)
>>> *_, points = critic_flow(start, law, PointCritic(dim=2), falling(0.05, 10), steps=10, generator=generator)
>>> points.shape
torch.Size([500, 2])
"""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from companion.foundations.networks import MLP
from companion.foundations.training import Data, draw_batch
from companion.foundations.validation import (
    Number,
    require,
    require_batch,
    require_count,
    require_in,
    require_same_event,
)
from companion.methods.rivals.gan import MOMENTA, _update

PENALTIES = {"wasserstein": 1.0, "kl": 0.1}  # of the critics' slopes, where none is asked for
EXPONENT = 10.0  # beyond it, e^u goes on as a straight line: a far cloud must not blow the critic up


class PointCritic(nn.Module):
    """A perceptron that gives points one number: (n, dim) -> (n,).

    Raises:
        ValueError: a size below 1, or points of another dimension.
    """

    def __init__(self, dim: int, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.dim = dim
        self.net = MLP(dim, 1, width, depth)

    def forward(self, x: Float[Tensor, "n dim"]) -> Float[Tensor, " n"]:
        require(x.ndim == 2 and x.shape[1] == self.dim, "x", f"of shape {tuple(x.shape)}", f"of shape (n, {self.dim})")
        return self.net(x)[:, 0]


def critic_flow(
    particles: Float[Tensor, "n *event"],
    data: Data,
    critic: nn.Module,
    step: Number | Sequence[Number],
    steps: int,
    inner_steps: int = 5,
    *,
    divergence: str = "wasserstein",
    penalty: Number | None = None,
    batch_size: int = 256,
    learning_rate: Number = 2e-3,
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "n *event"]]:
    """Train the critic, let all particles climb it, and again; yields every cloud, the start first.

    Args:
        particles: the start (n, *event).
        data: a tensor (rows, *event), a law, or a callable (n, generator) -> (n, *event).
        critic: (n, *event) -> (n,), smooth; trained in place, for this cloud only, and kept from step to step.
        step: how far a particle goes for a slope of 1, positive: a number, or one for each step. A critic is steep at the
            end, too, so with one length throughout particles go on trembling: see `falling`.
        steps: of the particles.
        inner_steps: updates of the critic before each of them.
        divergence: "wasserstein" or "kl".
        penalty: "wasserstein": of (slope - 1)^2, 1 when None (the paper's images have 10); "kl": half of that of
            slope^2, 0.1 when None (0 is the exact log ratio, and overfits). Taken between a particle and a data point.
        batch_size: particles, and as many data, in an update.
        learning_rate: of Adam, throughout.
        generator: draws the batches, on the device of the data.

    Raises:
        TypeError: clouds or critic of the wrong kind or dtype.
        ValueError: an unknown divergence, or a number out of range. Raised at the call; a critic that does not give one
            number for each point, or data that do not fit, are refused at the first step.
    """
    require_batch("particles", particles)
    if isinstance(data, Tensor):
        require_same_event("particles", particles, "data", data)
    require_critic("critic", critic, "particles", particles)
    require_count("steps", steps, 0)
    lengths = tuple(step) if isinstance(step, Sequence) else (step,) * steps
    require(len(lengths) == steps, "step", f"a schedule of {len(lengths)}", f"one number, or one for each of {steps}")
    for one in lengths or (step,):
        require_in("step", one, "(0, inf)")
    require_count("inner_steps", inner_steps, 1)
    require(divergence in tuple(PENALTIES), "divergence", repr(divergence), '"wasserstein" or "kl"')
    penalty = PENALTIES[divergence] if penalty is None else penalty
    require_in("penalty", penalty, "[0, inf)")
    require_count("batch_size", batch_size, 1)
    require_in("learning_rate", learning_rate, "(0, inf)")
    loss = {"wasserstein": wasserstein_loss, "kl": kl_loss}[divergence]
    return _critic_flow(
        particles.detach(), data, critic, lengths, inner_steps, loss, penalty, batch_size, learning_rate, generator
    )


def _critic_flow(z, data, critic, lengths, inner_steps, loss, penalty, batch_size, learning_rate, generator):
    yield z
    optimizer = torch.optim.Adam(critic.parameters(), learning_rate, MOMENTA)
    for length in lengths:
        for _ in range(inner_steps):
            true, drawn = draw_batch(data, batch_size, generator), draw_batch(z, batch_size, generator)
            require_same_event("particles", z, "data", true)
            with torch.enable_grad():
                _update(optimizer, loss(critic, true, drawn, penalty, generator))
        z = z + length * critic_slope(critic, z)
        yield z


def falling(step: Number, steps: int) -> tuple[float, ...]:
    """`steps` lengths that fall from `step` to nearly 0 along half a cosine, as learning rates do.

    Raises:
        TypeError, ValueError: a step that is not positive, or fewer than one.
    """
    require_in("step", step, "(0, inf)")
    require_count("steps", steps, 1)
    return tuple(step * (1 + math.cos(math.pi * index / steps)) / 2 for index in range(steps))


def critic_slope(critic: nn.Module, points: Float[Tensor, "n *event"]) -> Float[Tensor, "n *event"]:
    """The slope of the critic at each point.

    Raises:
        ValueError: the critic does not give one number for each point.
    """
    points = points.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(critic_values(critic, points).sum(), points)
    return slope


def wasserstein_loss(
    critic: nn.Module,
    true: Float[Tensor, "n *event"],
    drawn: Float[Tensor, "n *event"],
    penalty: Number,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Mean critic of the drawn less that of the true, plus `penalty` times the mean of (slope - 1)^2 between them.

    With slopes of at most 1 minus the smallest such difference is the Wasserstein distance.
    """
    loss = critic_values(critic, drawn).mean() - critic_values(critic, true).mean()
    if penalty > 0:
        loss = loss + penalty * (_slopes_between(critic, true, drawn, generator) - 1).square().mean()
    return loss


def kl_loss(
    critic: nn.Module,
    true: Float[Tensor, "n *event"],
    drawn: Float[Tensor, "n *event"],
    penalty: Number,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """`E_drawn c + E_true e^-c`, plus half the penalty times the mean squared slope between them.

    Without a penalty the least value is 1 - KL(drawn || true), at c = log true density - log drawn density.
    """
    exponent = -critic_values(critic, true)
    near = exponent.clamp(max=EXPONENT).exp()
    loss = critic_values(critic, drawn).mean() + (near + math.exp(EXPONENT) * (exponent - EXPONENT).clamp_min(0)).mean()
    if penalty > 0:
        loss = loss + penalty / 2 * _slopes_between(critic, true, drawn, generator).square().mean()
    return loss


def _slopes_between(critic, true, drawn, generator):
    """Lengths of the critic's slope at random points between pairs, for training."""
    share = torch.rand(len(true), generator=generator, dtype=true.dtype, device=true.device)
    between = torch.lerp(drawn.detach(), true, share.view(-1, *[1] * (true.ndim - 1))).requires_grad_()
    (slope,) = torch.autograd.grad(critic_values(critic, between).sum(), between, create_graph=True)
    return slope.flatten(1).norm(dim=1)


def critic_values(critic: nn.Module, points: Float[Tensor, "n *event"]) -> Float[Tensor, " n"]:
    """The critic at each point.

    Raises:
        ValueError: it does not give one number for each.
    """
    values = critic(points)
    wanted = (len(points),)
    require(values.shape == wanted, "critic(x)", f"of shape {tuple(values.shape)}", f"of shape {wanted}")
    return values


def require_critic(argument: str, critic: object, other: str, like: Tensor) -> None:
    """Raise unless `critic` is a module with something to train, of the dtype of `like`, which `other` names."""
    require(isinstance(critic, nn.Module), argument, f"a {type(critic).__name__}", "a torch.nn.Module", TypeError)
    trainable = [parameter for parameter in critic.parameters() if parameter.requires_grad]
    require(bool(trainable), argument, "without a parameter to train", "trainable")
    dtype = trainable[0].dtype
    require(dtype == like.dtype, argument, f"of {dtype}", f"of {like.dtype} like {other}", TypeError)
