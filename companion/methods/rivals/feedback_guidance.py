"""Guidance by feedback: at every step try several weights, have a judge score where each lands, keep the best.

The judge sees noisy points, so it must have been made for them, as `density_ratio` is. And it must have seen where the
candidates lead: a discriminator that knows unguided samples alone extrapolates, and the search finds where it errs. So
train it on samples drawn with weights taken at random from the candidates. Each chain gets its own weights, and they
can depend on the point, which a learned weight of class and times cannot. But the choice is greedy, and the point
judged best is not a point drawn from a law.

Source: Papalampidi, Wiles, Ktena, Shtedritski, Bugliarello, Kajic, Albuquerque and Nematzadeh, "Dynamic Classifier-
Free Diffusion Guidance via Online Feedback" (arXiv 2509.16131). Simplified: one judge instead of several whose
weights change with time.

>>> from companion.data.labelled import four_classes
>>> from companion.foundations.diffusion import time_grid
>>> law, generator = four_classes(), torch.Generator().manual_seed(0)
>>> def feedback(x, s, labels):
...     return law.class_log_probs(x, s).gather(1, labels[:, None])[:, 0]
>>> labels, noise, chosen = torch.arange(4), torch.randn(4, 2, generator=generator), []
>>> model = law.conditional, law.unconditional
>>> *_, points = sample_feedback(*model, feedback, (0, 1, 3), labels, noise, time_grid(20), chosen=chosen)
>>> points.shape, len(chosen), chosen[0]            # this judge only asks for more
(torch.Size([4, 2]), 20, tensor([3., 3., 3., 3.]))
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from companion.foundations.conditional import Conditional, Unconditional
from companion.foundations.diffusion import CHURN, as_times, bridge, sample
from companion.foundations.validation import (
    Number,
    require,
    require_batch,
    require_callable,
    require_in,
    require_labels,
    require_like,
)
from companion.methods.guidance import aware, guide

Feedback: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


def sample_feedback(
    conditional: Conditional,
    unconditional: Unconditional,
    feedback: Feedback,
    candidates: Sequence[Number],
    labels: Int[Tensor, " n"],
    x: Float[Tensor, "n *event"],
    times: Float[Tensor, " times"],
    churn: Number = 0.0,
    generator: torch.Generator | None = None,
    *,
    chosen: list[Tensor] | None = None,
) -> Iterator[Float[Tensor, "n *event"]]:
    """Walk `x` down `times`, each chain and step with the candidate weight whose step is scored best; yields every state.

    A step costs one call of each model on n rows, and one call of `feedback` on n rows for each candidate, all at once.

    Args:
        conditional, unconditional: callables (x, t, labels) and (x, t) -> (n, *event), predictions of x0. Called
            without gradients.
        feedback: callable (x_s (rows, *event), s (), labels (rows,)) -> (rows,), more is better. It judges the mean
            of the step, before the churn's noise. Called without gradients, with `labels` once for each candidate.
        candidates: weights to try; where scores are equal the first wins.
        labels: the classes wanted (n,).
        x, times, churn, generator: as `diffusion.sample`.
        chosen: a list that gets the weights (n,) of every step, as it is walked.

    Raises:
        TypeError: `x` is no floating tensor, labels are not whole numbers, or a callable is none.
        ValueError: no candidates, one that is not finite, churn or times out of range; while it walks, answers of
            another shape.
    """
    require_callable("conditional", conditional, "a callable (x, t, labels) -> x0")
    require_callable("unconditional", unconditional, "a callable (x, t) -> x0")
    require_callable("feedback", feedback, "a callable (x, s, labels) -> (n,)")
    row = isinstance(candidates, Sequence)
    require(row, "candidates", f"a {type(candidates).__name__}", "weights in a row, such as (0, 1, 3)", TypeError)
    require(len(candidates) > 0, "candidates", "empty", "one weight or more")
    for candidate in candidates:
        require_in("a candidate", candidate, "(-inf, inf)")
    require_batch("x", x)
    require_labels("labels", labels, len(x))
    require_in("churn", churn, "[0, 1]", CHURN)
    times = as_times(times)
    weights = torch.tensor([float(candidate) for candidate in candidates], dtype=x.dtype, device=x.device)
    repeated = labels.repeat(len(weights))

    @torch.no_grad()
    def denoiser(x: Tensor, s: Tensor, t: Tensor) -> Tensor:
        x_c, x_u = conditional(x, t, labels), unconditional(x, t)
        require_like("conditional(x, t, labels)", x_c, "x", x)
        landed = [bridge(x, guide(x_c, x_u, weight), t, s, churn)[0] for weight in weights]
        scores = feedback(torch.cat(landed), s, repeated)
        shape = f"of shape {tuple(scores.shape)}"
        require(scores.shape == repeated.shape, "feedback(x, s, labels)", shape, f"of shape ({len(repeated)},)")
        best = weights[scores.unflatten(0, (len(weights), len(x))).argmax(0)]
        if chosen is not None:
            chosen.append(best)
        return guide(x_c, x_u, best)

    return sample(aware(denoiser, times.to(x)), x, times, churn, generator)
