"""Picard iteration: guess a stretch of the path, ask the model about all of it at once, correct it, and repeat.

Source: Shih, Belkhale, Ermon, Sadigh and Anari, "Parallel Sampling of Diffusion Models", NeurIPS 2023 (arXiv
2305.16317), Algorithm 1, on this suite's bridge: all noise is drawn beforehand, and the linear part of
a step is crossed exactly, so that only the model's answers are iterated. What converges is the path that the
slow sampler would take with the same noise; where it stops early, at `tolerance`, it has not quite got there.

>>> from companion.data.toy import eight_gaussians
>>> from companion.foundations.diffusion import time_grid
>>> law, generator = eight_gaussians(), torch.Generator().manual_seed(0)
>>> noise = torch.randn(1000, 2, generator=generator)
>>> run = sample_picard(law.denoise, noise, time_grid(100), window=8, generator=generator)
>>> run.sample.shape, bool(run.rounds.max() <= 100)
(torch.Size([1000, 2]), True)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from companion.foundations.diffusion import Denoiser, as_times, bridge_weights, expand_time
from companion.foundations.validation import (
    Number,
    require_batch,
    require_callable,
    require_count,
    require_in,
    require_like,
)


@dataclass(frozen=True)
class PicardRun:
    """What `sample_picard` returns.

    Attributes:
        sample: (n, *event) the last states.
        rounds: (n,) calls of the model that waited for each other, for each chain: at most K.
        evaluations: points at which the model was evaluated, over all chains.
    """

    sample: Float[Tensor, "n *event"]
    rounds: Int[Tensor, " n"]
    evaluations: int


@torch.no_grad()
def sample_picard(
    denoiser: Denoiser,
    x: Float[Tensor, "n *event"],
    times: Float[Tensor, " K1"],
    window: int = 8,
    tolerance: Number = 0.1,
    churn: Number = 1.0,
    generator: torch.Generator | None = None,
) -> PicardRun:
    """Walk `x` down `times`, correcting a sliding window of states all at once (Algorithm 1).

    Each round asks the model about every state of the window and takes all its steps again. The window
    slides past the states that this moved by at most `tolerance` standard deviations of their step's noise (root
    mean square over dimensions), and always past its first, whose step is the slow sampler's own: so there are at most
    K rounds. States that come into view are guessed with the last answer. At tolerance 0 the samples
    are those of `diffusion.sample` with the same noise, up to rounding; above it they are biased.

    Args:
        denoiser: a callable (x (m, *event), t (m,)) -> (m, *event), the clean point expected for each row.
        x: the start (n, *event), noise at `times[0]`.
        times: K + 1 of them, strictly falling within [0, 1].
        window: most states corrected at a time, at least 1.
        tolerance: at least 0, in standard deviations of the step.
        churn: in (0, 1].
        generator: draws the noise of the whole path, (K, n, *event), beforehand, on the device of `x`.

    Raises:
        TypeError: `x` is not a floating tensor, `times` is no row, `denoiser` cannot be called.
        ValueError: window below 1, a negative tolerance, churn outside (0, 1], or times do not fall.
    """
    require_callable("denoiser", denoiser, "a callable (x, t) -> x0")
    require_batch("x", x)
    require_count("window", window, 1)
    require_in("tolerance", tolerance, "[0, inf)")
    require_in("churn", churn, "(0, 1]")
    times = as_times(times).double().cpu()
    weights = torch.stack(bridge_weights(times[:-1], times[1:], churn), dim=1).to(x)
    times, steps = times.to(x), len(times) - 1
    noise = torch.randn(steps, *x.shape, generator=generator, dtype=x.dtype, device=x.device)

    path = x.expand(steps + 1, *x.shape).clone()  # the guess so far; states up to `position` are settled
    position, rounds = torch.zeros(len(x), dtype=torch.long), torch.zeros(len(x), dtype=torch.long)
    evaluations = 0
    while bool((position < steps).any()):
        chains = (position < steps).nonzero()[:, 0]
        ahead = torch.arange(min(window, steps))[:, None]
        index = position[chains] + ahead
        inside = index < steps
        points = path[index[inside], chains.expand_as(index)[inside]]
        answered = denoiser(points, times[index[inside].to(x.device)])
        require_like("denoiser(x, t)", answered, "x", points)
        answers = points.new_zeros(*index.shape, *x.shape[1:])
        answers[inside] = answered.to(points.dtype)
        rounds[chains] += 1
        evaluations += len(points)

        state, moves = path[position[chains], chains], []
        for step in range(2 * len(index)):  # beyond the window with its last answer: where the next one will look
            k = (position[chains] + step).clamp(max=steps - 1)
            noisy, clean, std = (expand_time(weight, state) for weight in weights[k.to(x.device)].unbind(1))
            after = noisy * state + clean * answers[min(step, len(answers) - 1)] + std * noise[k, chains]
            moves.append(((after - path[k + 1, chains]) / std).flatten(1).square().mean(1).sqrt())
            within = position[chains] + step < steps
            path[k[within] + 1, chains[within]] = after[within]
            state = after
        still = torch.stack(moves[: len(index)]).cpu() <= tolerance
        position[chains] += 1 + (still & (index + 1 < steps))[: len(index) - 1].long().cumprod(0).sum(0)
    return PicardRun(path[-1], rounds.to(x.device), evaluations)
