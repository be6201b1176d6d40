"""Samplers under suspicion, for exercise 02.4: one of three is right, and their samples do not tell which.

>>> walk = suspect("B", 50, torch.Generator().manual_seed(0))
>>> walk.path.shape, walk.means.shape, walk.stds.shape
(torch.Size([101, 50, 2]), torch.Size([100, 50, 2]), torch.Size([100]))
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from companion.data.toy import eight_gaussians
from companion.foundations.diffusion import bridge_weights, time_grid
from companion.foundations.validation import require
from companion.methods.speculative import Coupling, reflection_coupling, speculative_sample
from companion.teaching.lessons.wrong_couplings import wrong_couplings

STEPS, WINDOW = 100, 8
SUSPECTS = {"A": "redraw after a rejection", "B": "exact", "C": "accept everything"}


class Walk(NamedTuple):
    """What a sampler did, and what the target would have it do.

    Attributes:
        path: (K + 1, n, d) all states, the start first.
        means: (K, n, d) the target's mean of path[k + 1], given path[k].
        stds: (K,) the target's standard deviation of each step.
    """

    path: Float[Tensor, "K1 n d"]
    means: Float[Tensor, "K n d"]
    stds: Float[Tensor, " K"]


def suspect(name: str, n: int, generator: torch.Generator) -> Walk:
    """`n` chains of sampler "A", "B" or "C": eight Gaussians, 100 steps, drafts in windows of 8.

    Raises:
        ValueError: another name.
    """
    require(name in SUSPECTS, "name", repr(name), "one of 'A', 'B', 'C'")
    law = eight_gaussians().to(device=generator.device, dtype=torch.float64)
    times = time_grid(STEPS).to(generator.device)
    start = torch.randn(n, 2, generator=generator, dtype=torch.float64, device=generator.device)
    verify = couplings(generator)[SUSPECTS[name]]
    # A frozen drift is the draft that errs more, so that more depends on its verification.
    run = speculative_sample(law.denoise, start, times, WINDOW, generator=generator, freeze="drift", coupling=verify)
    noisy, clean, stds = bridge_weights(times[:-1], times[1:], churn=1.0)
    answers = torch.stack([law.denoise(x, t) for x, t in zip(run.path, times[:-1])])
    return Walk(run.path, noisy[:, None, None] * run.path[:-1] + clean[:, None, None] * answers, stds)


def couplings(generator: torch.Generator) -> dict[str, Coupling]:
    """The right one and the wrong ones, all called as `reflection_coupling`."""
    return {"exact": reflection_coupling, **wrong_couplings(generator)}


def random_walk(
    generator: torch.Generator,
    coupling: Callable[..., tuple[Tensor, Tensor]],
    *,
    n: int = 1000,
    steps: int = 30,
    dim: int = 2,
    distance: float = 0.6,
    only: int | None = None,
) -> Walk:
    """A chain with a made-up target, whose drafts miss it by `distance` standard deviations, verified by `coupling`.

    The last step has no noise. `only` is the one step at which drafts miss; all of them when None.
    """

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    stds = torch.cat([0.2 + torch.rand(steps - 1, generator=generator, dtype=torch.float64), torch.zeros(1).double()])
    turn, offset = torch.linalg.qr(randn(dim, dim))[0], randn(dim)
    path, means = [2 * randn(n, dim)], []
    for step, std in enumerate(stds):
        mean = 0.9 * path[-1] @ turn + torch.sin(path[-1]) + offset
        direction = torch.nn.functional.normalize(randn(n, dim), dim=1)
        missed = distance if only in (None, step) else 0.0
        draft_mean = mean + missed * std * direction
        draft = draft_mean + std * randn(n, dim)
        uniform = torch.rand(n, generator=generator, dtype=torch.float64)
        value, _ = coupling(draft, draft_mean, mean, std, uniform)
        path.append(value), means.append(mean)
    return Walk(torch.stack(path), torch.stack(means), stds)
