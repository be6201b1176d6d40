"""Points with classes: four of them in the plane, and training sets in which some classes are rare.

>>> law = four_classes()
>>> points, labels = law.sample_labelled(5, torch.Generator().manual_seed(0))
>>> points.shape, law.num_classes
(torch.Size([5, 2]), 4)
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from companion.foundations.conditional import LabelledMixture
from companion.foundations.validation import Number, require, require_in, require_labels

LONG_TAIL = (0.55, 0.25, 0.13, 0.07)


def four_classes(
    separation: Number = 1.0, std: Number = 0.25, frequencies: Sequence[Number] | None = None
) -> LabelledMixture:
    """Four classes on a circle, two Gaussians each, side by side along the circle.

    Args:
        separation: 1 puts the classes 1.2 from the middle, their two Gaussians 0.6 to either side.
        std: of each Gaussian.
        frequencies: of the classes, such as `LONG_TAIL`; equal when None.

    Raises:
        TypeError, ValueError: a separation or std that is not positive, or not four frequencies.
    """
    require_in("separation", separation, "(0, inf)")
    require_in("std", std, "(0, inf)")
    four = frequencies is None or (isinstance(frequencies, Sequence) and len(frequencies) == 4)
    require(four, "frequencies", repr(frequencies), "four numbers in a row, or None")
    angle = torch.arange(4).repeat_interleave(2) * math.pi / 2
    side = 0.6 * torch.tensor([-1.0, 1.0]).repeat(4)
    means = torch.stack([1.2 * angle.cos() - side * angle.sin(), 1.2 * angle.sin() + side * angle.cos()], dim=1)
    weights = torch.ones(8) if frequencies is None else torch.tensor(frequencies).float().repeat_interleave(2)
    return LabelledMixture(
        separation * means, torch.full((8,), float(std)), torch.arange(4).repeat_interleave(2), weights
    )


def long_tailed(
    labels: Int[Tensor, " n"], ratio: Number = 0.6, generator: torch.Generator | None = None
) -> Int[Tensor, " kept"]:
    """Rows of a labelled set to keep so that each class is `ratio` times as frequent as the one before.

    Class 0 is kept whole; at least one row of every class stays.

    Raises:
        TypeError: labels that are not whole numbers.
        ValueError: labels of another shape, or a ratio outside (0, 1].
    """
    require_labels("labels", labels)
    require(len(labels) > 0, "labels", "empty", "at least one")
    require_in("ratio", ratio, "(0, 1]")
    order = torch.randperm(len(labels), generator=generator, device=labels.device)
    kept = []
    for label in range(int(labels.max()) + 1):
        rows = order[labels[order] == label]
        kept.append(rows[: max(1, round(len(rows) * ratio**label))])
    return torch.cat(kept)
