"""Resampling instead of guidance: many chains of one class, and copies of those that lie where data do.

The model walks down unguided. If `ratio(x, t)` is how many times denser the noised data are at x than the model's own
states, particles weighted by it have the law of the data: from time t to s a weight grows by
`ratio(x_s, s) / ratio(x_t, t)`. When few particles carry the weight, they are drawn again by it. No unconditional
model is needed; a judge of the ratio is (`density_ratio` learns one). Only what the model reaches can be copied.

Source: Liu, Zhang, Jaakkola and Chang, "Correcting Diffusion Generation through Resampling", CVPR 2024 (arXiv
2312.06038), a particle filter. Simplified: a learned ratio of class and point alone (theirs also counts detected
objects), systematic draws, and only when the effective sample size is under half.

>>> from companion.data.labelled import LONG_TAIL, four_classes
>>> from companion.foundations.diffusion import time_grid
>>> law, generator = four_classes(), torch.Generator().manual_seed(0)
>>> labels, noise = torch.arange(4).repeat(100), torch.randn(400, 2, generator=generator)
>>> def nothing(x, t, labels):                      # the model is right already: the ratio is 1 everywhere
...     return torch.zeros(len(x))
>>> *_, points = sample_resampled(law.conditional, nothing, labels, noise, time_grid(20), generator=generator)
>>> points.shape
torch.Size([400, 2])
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from companion.foundations.conditional import Conditional
from companion.foundations.diffusion import CHURN, Time, as_times, bridge
from companion.foundations.validation import (
    Number,
    require,
    require_batch,
    require_callable,
    require_in,
    require_labels,
    require_like,
)

LogRatio: TypeAlias = Callable[[Tensor, Time, Tensor], Tensor]

ENOUGH = 0.5  # of the particles: resample when the effective sample size is smaller


def sample_resampled(
    conditional: Conditional,
    log_ratio: LogRatio,
    labels: Int[Tensor, " n"],
    x: Float[Tensor, "n *event"],
    times: Float[Tensor, " times"],
    churn: Number = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "n *event"]]:
    """Walk `x` down `times` without guidance, resampling the particles of each class by `log_ratio`; yields every state.

    A step costs one call of the model and one of `log_ratio`. The particles are drawn again when their effective
    sample size is under half their number, and at the last step whatever it is: the last state is a sample with equal
    weights. (A state before it need not be one: its weights are kept for later.) `x` counts as a sample of the
    noised data, with ratio 1.

    Copies part again only by fresh noise. At churn 0, which is allowed, they never do: the sample holds points several
    times. So do copies made at the last step, whatever the churn.

    Args:
        conditional: callable (x, t, labels) -> (n, *event), the prediction of x0.
        log_ratio: callable (x, t (), labels) -> (n,), the log density of the noised data over that of the model's
            states, given the class. Constants of a class and time do not matter.
        labels: the classes wanted (n,); all rows of one class are particles of one filter.
        x, times, generator: as `diffusion.sample`; the generator also draws one number for each class and step.
        churn: 0 (DDIM) to 1 (DDPM).

    Raises:
        TypeError: `x` is no floating tensor, labels are not whole numbers, or a callable is none.
        ValueError: churn or times out of range; while it walks, answers of another shape.
    """
    require_callable("conditional", conditional, "a callable (x, t, labels) -> x0")
    require_callable("log_ratio", log_ratio, "a callable (x, t, labels) -> (n,)")
    require_batch("x", x)
    require_labels("labels", labels, len(x))
    require_in("churn", churn, "[0, 1]", CHURN)
    return _walk(conditional, log_ratio, labels, x, as_times(times).to(x), churn, generator)


def _walk(conditional, log_ratio, labels, x, times, churn, generator):
    filters = [(labels == label).nonzero()[:, 0] for label in labels.unique()]
    log_weights = before = x.new_zeros(len(x), dtype=torch.float64)
    yield x
    for step, (t, s) in enumerate(pairwise(times), 1):
        with torch.no_grad():
            x0 = conditional(x, t, labels)
            require_like("conditional(x, t, labels)", x0, "x", x)
            x, std = bridge(x, x0, t, s, churn)
            if churn > 0:
                x = x + std * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            after = log_ratio(x, s, labels)
            shape = f"of shape {tuple(after.shape)}"
            require(after.shape == labels.shape, "log_ratio(x, t, labels)", shape, f"of shape ({len(labels)},)")
            log_weights = log_weights + after.double() - before
            ancestors = torch.arange(len(x), device=x.device)
            uniforms = torch.rand(len(filters), generator=generator, dtype=torch.float64, device=x.device)
            for rows, uniform in zip(filters, uniforms, strict=True):
                weights = log_weights[rows].softmax(0)
                few = weights.square().sum() * len(rows) > 1 / ENOUGH  # effective sample size: 1 / sum of squares
                few = few | (step == len(times) - 1)
                ancestors[rows] = torch.where(few, rows[systematic(weights, uniform)], rows)  # no wait for `few`
                log_weights[rows] = torch.where(few, 0, log_weights[rows])
            x, before = x[ancestors], after.double()[ancestors]
        yield x


def systematic(weights: Float[Tensor, " n"], uniform: Float[Tensor, ""]) -> Int[Tensor, " n"]:
    """Rows drawn by their weights, which sum to 1: row i comes `n weights_i` times, rounded down or up.

    One uniform number places all n draws, 1/n apart. Equal weights give every row once.
    """
    n = len(weights)
    points = (torch.arange(n, dtype=weights.dtype, device=weights.device) + uniform) / n
    return torch.searchsorted(weights.cumsum(0), points, right=True).clamp(max=n - 1)
