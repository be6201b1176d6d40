"""Predictor-corrector guidance: an unguided step, then Langevin steps that sharpen at the new noise level.

Constant guidance is often said to sample the powered density `p(x | c)^(1 + w) / p(x)^w`. It does not. Its score at
time t, the guided one, is that of the powered *noised* densities `p_t(x | c)^(1 + w) / p_t(x)^w`, and no diffusion
joins these to each other. Langevin steps at each noise level follow them all the same.

With the score in terms of the guided clean point, `(alpha x0 - x) / sigma^2`, a Langevin step of size step sigma^2 is

    x + step / 2 (alpha x0 - x) + sqrt(step) sigma noise

Source: Bradley and Nakkiran, "Classifier-Free Guidance is a Predictor-Corrector" (arXiv 2408.09000), Algorithm 1. With
one correction as large as a DDPM step's noise, a DDIM predictor and ever more steps, it becomes DDPM with constant
guidance of *half* the weight.

>>> from companion.data.labelled import four_classes
>>> from companion.foundations.diffusion import time_grid
>>> law, generator = four_classes(), torch.Generator().manual_seed(0)
>>> labels, noise = torch.arange(4), torch.randn(4, 2, generator=generator)
>>> model, start = (law.conditional, law.unconditional), (labels, noise, time_grid(20))
>>> *_, points = sample_predictor_corrector(*model, 1.0, *start, corrections=3, generator=generator)
>>> points.shape
torch.Size([4, 2])
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from companion.foundations.conditional import Conditional, Unconditional
from companion.foundations.diffusion import CHURN, alpha, as_times, bridge, sigma
from companion.foundations.validation import (
    Number,
    require_batch,
    require_callable,
    require_count,
    require_in,
    require_labels,
    require_like,
)
from companion.methods.guidance import guide


def sample_predictor_corrector(
    conditional: Conditional,
    unconditional: Unconditional,
    weight: Number,
    labels: Int[Tensor, " n"],
    x: Float[Tensor, "n *event"],
    times: Float[Tensor, " times"],
    corrections: int = 1,
    step: Number | None = None,
    churn: Number = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "n *event"]]:
    """Walk `x` down `times` unguided, with Langevin steps on the powered density after each step; yields every state.

    K steps with m corrections cost K + m (K - 1) calls of the conditional model and m (K - 1) of the unconditional
    one, on n rows each: there are no corrections at time 0.

    Args:
        conditional, unconditional: callables (x, t, labels) and (x, t) -> (n, *event), predictions of x0. Called
            without gradients.
        weight: w, of the powered density; 0 corrects the conditional law itself.
        labels: the classes wanted (n,).
        x, times, churn, generator: as `diffusion.sample`; the generator also draws the noise of the corrections.
        corrections: Langevin steps after each step, 0 for none.
        step: size of a Langevin step in units of sigma^2, the same at all times; None takes the paper's choice, as
            much noise as DDPM's step from t to s, `1 - (alpha_t sigma_s / (alpha_s sigma_t))^2`. The powered density
            is up to 1 + w times as sharp as the noise: only far below 1 / (1 + w) is the step's own error small.

    Raises:
        TypeError: `x` is no floating tensor, labels or corrections are not whole numbers, or a callable is none.
        ValueError: a weight that is not finite, a step outside (0, 1], churn or times out of range; while it walks,
            answers of another shape.
    """
    require_callable("conditional", conditional, "a callable (x, t, labels) -> x0")
    require_callable("unconditional", unconditional, "a callable (x, t) -> x0")
    require_in("weight", weight, "(-inf, inf)")
    require_batch("x", x)
    require_labels("labels", labels, len(x))
    require_count("corrections", corrections, 0)
    if step is not None:
        require_in("step", step, "(0, 1]", ", or None")
    require_in("churn", churn, "[0, 1]", CHURN)
    times = as_times(times)
    ends_clean = bool(times[-1] == 0)
    walk = times.to(x), corrections, step, ends_clean, churn, generator
    return _walk(conditional, unconditional, weight, labels, x, *walk)


def _walk(conditional, unconditional, weight, labels, x, times, corrections, step, ends_clean, churn, generator):
    def noise() -> Tensor:
        return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)

    yield x
    for index, (t, s) in enumerate(pairwise(times), 1):
        with torch.no_grad():
            x0 = conditional(x, t, labels)
            require_like("conditional(x, t, labels)", x0, "x", x)
            x, std = bridge(x, x0, t, s, churn)
            if churn > 0:
                x = x + std * noise()
            size = torch.as_tensor(step).to(x) if step is not None else _as_large_as_ddpm(t, s)
            for _ in range(0 if ends_clean and index == len(times) - 1 else corrections):
                x0 = guide(conditional(x, s, labels), unconditional(x, s), weight)
                x = x + size / 2 * (alpha(s) * x0 - x) + size.sqrt() * sigma(s) * noise()
        yield x


def _as_large_as_ddpm(t: Tensor, s: Tensor) -> Tensor:
    return 1 - (alpha(t) * sigma(s) / (alpha(s) * sigma(t))) ** 2
