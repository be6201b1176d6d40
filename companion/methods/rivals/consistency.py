"""Consistency distillation: learn to jump from anywhere on an ODE path straight to its end.

Neighbouring points of a path must get the same answer, and at time 0 the answer is the point itself.
The teacher supplies neighbours by one step of its ODE.

Source: Song, Dhariwal, Chen and Sutskever, "Consistency Models", ICML 2023 (arXiv 2303.01469): the
parametrisation of Section 3, Algorithm 2 for distillation, Algorithm 1 for sampling. The target is the
student itself without gradient, as Song and Dhariwal (ICLR 2024, arXiv 2310.14189) advise, not an average of it.

>>> from companion.data.toy import eight_gaussians
>>> from companion.foundations.diffusion import time_grid
>>> from companion.foundations.networks import TimeMLP
>>> law, generator = eight_gaussians(), torch.Generator().manual_seed(0)
>>> model = ConsistencyModel(TimeMLP(dim=2))
>>> for state in distil_consistency(model, law.denoise, law, steps=10, generator=generator):
...     pass
>>> noise = torch.randn(100, 2, generator=generator)
>>> *_, points = sample_consistency(model, noise, time_grid(2), generator=generator)
>>> points.shape
torch.Size([100, 2])
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from companion.foundations.diffusion import Denoiser, Time, add_noise, alpha, as_time, bridge, expand_time, sigma
from companion.foundations.training import Data, TrainingState, draw_batch, train
from companion.foundations.validation import Number, require_count, require_floating


class ConsistencyModel(nn.Module):
    """`f(x, t) = alpha(t) x + sigma(t) network(x, t)`: at t = 0 it is the identity, whatever the network (eq. (5))."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Float[Tensor, "n *event"], t: Time) -> Float[Tensor, "n *event"]:
        t = as_time(t, x)
        return expand_time(alpha(t), x) * x + expand_time(sigma(t), x) * self.network(x, t)


def distil_consistency(
    model: ConsistencyModel,
    teacher: Denoiser,
    data: Data,
    steps: int,
    intervals: int = 32,
    batch_size: int = 256,
    learning_rate: Number = 2e-3,
    generator: torch.Generator | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[TrainingState]:
    """Train `model` to give both ends of a short step of the teacher's ODE the same answer.

    Args:
        model: trained in place.
        teacher: a denoiser, (x, t (n,)) -> (n, *event). It is only called.
        data: a tensor, a law or a callable.
        steps: updates, each of four network calls and one backward pass.
        intervals: of the time grid; few bring the answer home fast, many keep it exact.
        batch_size, learning_rate, generator, resume: as `train_distributional`.

    Raises:
        ValueError: a count below 1, or as `training.train`. Raised at the call.
    """
    require_count("intervals", intervals, 1)
    require_count("batch_size", batch_size, 1)

    def loss(model: ConsistencyModel) -> Tensor:
        x0 = draw_batch(data, batch_size, generator)
        index = torch.randint(1, intervals + 1, (batch_size,), generator=generator, device=x0.device)
        t, s = index.to(x0.dtype) / intervals, (index - 1).to(x0.dtype) / intervals
        x = add_noise(x0, t, torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device))
        with torch.no_grad():
            target = model(ode_step(teacher, x, t, s), s)
        return (model(x, t) - target).square().flatten(1).sum(1).mean()

    return train(model, loss, steps, learning_rate, generator=generator, resume=resume)


def ode_step(
    teacher: Denoiser, x: Float[Tensor, "n *event"], t: Float[Tensor, " n"], s: Float[Tensor, " n"]
) -> Float[Tensor, "n *event"]:
    """One step of Heun's method along the teacher's path from t to s: DDIM with the mean of both ends' clean points.

    In this schedule DDIM is Euler's method for `dx/dt = (x - x0) / t`; at s = 0, where that is not
    defined, the step is DDIM itself.
    """
    first = teacher(x, t)
    landed, _ = bridge(x, first, t, s)
    later = s.clamp_min(torch.finfo(x.dtype).tiny)
    slope = ((x - first) / expand_time(t, x) + (landed - teacher(landed, s)) / expand_time(later, x)) / 2
    return torch.where(expand_time(s, x) > 0, x + expand_time(s - t, x) * slope, landed)


def sample_consistency(
    model: Denoiser,
    x: Float[Tensor, "n *event"],
    times: Float[Tensor, " times"],
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "n *event"]]:
    """Jump to the end, noise again to the next time, jump again (Algorithm 1); yields every state.

    Args:
        model: (x, t ()) -> clean point.
        x, times, generator: as `diffusion.sample`.

    Raises:
        TypeError: `x` is not a floating tensor. Raised at the call.
    """
    require_floating("x", x)
    return _walk(model, x, times.to(x), generator)


@torch.no_grad()
def _walk(model, x, times, generator):
    yield x
    for t, s in pairwise(times):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        x = add_noise(model(x, t), s, noise)
        yield x
