"""Adaptive guidance: constant guidance, dropped for good once both predictions point the same way.

Where the class is decided, the unconditional model says what the conditional one does, and asking it is wasted.
What is compared is the direction in which each would step. In this schedule DDIM moves along the velocity
`(x - x0) / sigma`, so we compare velocities. (The paper's models step along the predicted noise, and that is
compared there. Here the predicted noise `(x - alpha x0) / sigma` is x itself at t = 1 whatever the model: its cosine
begins at 1, and guidance would be dropped before it began.)

Source: Castillo, Kohler, Perez, Perez, Pumarola, Ghanem, Arbelaez and Thabet, "Adaptive Guidance: Training-free
Acceleration of Conditional Diffusion Models", AAAI 2025 (arXiv 2312.12487). Simplified: no searched policy and no
LinearAG, which replaces unconditional calls by fits to earlier ones. It is meant to save calls, not to improve on
constant guidance. In two dimensions, unlike in an image's many, directions also agree by chance.

>>> from companion.data.labelled import four_classes
>>> from companion.foundations.diffusion import time_grid
>>> law, generator = four_classes(), torch.Generator().manual_seed(0)
>>> labels, noise = torch.arange(4), torch.randn(4, 2, generator=generator)
>>> *_, points = sample_adaptive(law.conditional, law.unconditional, 1.0, labels, noise, time_grid(20))
>>> points.shape
torch.Size([4, 2])
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from companion.foundations.conditional import Conditional, Unconditional
from companion.foundations.diffusion import as_times, sample
from companion.foundations.validation import (
    Number,
    require_batch,
    require_callable,
    require_in,
    require_labels,
    require_like,
)
from companion.methods.guidance import guide


def sample_adaptive(
    conditional: Conditional,
    unconditional: Unconditional,
    weight: Number,
    labels: Int[Tensor, " n"],
    x: Float[Tensor, "n *event"],
    times: Float[Tensor, " times"],
    threshold: Number = 0.99,
    churn: Number = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "n *event"]]:
    """Walk `x` down `times` with a constant weight; chains whose predictions agree go on unguided; yields every state.

    A chain's guidance ends, for this step and all later ones, when the cosine between its conditional and its
    unconditional velocity has reached `threshold`. The unconditional model is called on the rows that are still guided
    and not at all when none is: at most n rows a step, beside the n of the conditional model. Which rows they
    are is read at every step, so that a GPU's queue is waited for once a step.

    Args:
        conditional, unconditional: callables (x, t, labels) and (x, t) -> (rows, *event), predictions of x0. Called
            without gradients.
        weight: a number.
        labels: the classes wanted (n,).
        x, times, churn, generator: as `diffusion.sample`.
        threshold: of the cosine. Above 1 guidance is never dropped; at -1 it never begins.

    Raises:
        TypeError: `x` is no floating tensor, labels are not whole numbers, or a callable is none.
        ValueError: a weight or threshold that is not finite, churn or times out of range; while it walks, answers of
            another shape.
    """
    require_callable("conditional", conditional, "a callable (x, t, labels) -> x0")
    require_callable("unconditional", unconditional, "a callable (x, t) -> x0")
    require_in("weight", weight, "(-inf, inf)")
    require_in("threshold", threshold, "(-inf, inf)")
    require_batch("x", x)
    require_labels("labels", labels, len(x))
    guided = torch.arange(len(x), device=x.device)

    @torch.no_grad()
    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        nonlocal guided
        x0 = conditional(x, t, labels)
        require_like("conditional(x, t, labels)", x0, "x", x)
        if len(guided) == 0:
            return x0
        rows, x_c = x[guided], x0[guided]
        x_u = unconditional(rows, t)
        require_like("unconditional(x, t)", x_u, "x", rows)
        apart = agreement(rows, x_c, x_u) < threshold
        guided, x_c, x_u = guided[apart], x_c[apart], x_u[apart]
        return x0.index_copy(0, guided, guide(x_c, x_u, weight).to(x0))

    return sample(denoiser, x, as_times(times), churn, generator)


def agreement(
    x: Float[Tensor, "n *event"], x_c: Float[Tensor, "n *event"], x_u: Float[Tensor, "n *event"]
) -> Float[Tensor, " n"]:
    """Cosine between the two velocities, those of `x - x_c` and `x - x_u`, from -1 to 1."""
    return torch.cosine_similarity((x - x_c).flatten(1), (x - x_u).flatten(1), dim=1).clamp(-1, 1)
