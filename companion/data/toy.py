"""Laws in the plane, each with `.sample(n, generator) -> (n, 2)`; mixtures come with exact answers.

>>> eight_gaussians().sample(3, torch.Generator().manual_seed(0)).shape
torch.Size([3, 2])
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from companion.foundations.mixtures import GaussianMixture
from companion.foundations.validation import Number, require_count, require_in


def eight_gaussians(radius: Number = 2.0, std: Number = 0.15) -> GaussianMixture:
    """Eight equal Gaussians on a circle."""
    require_in("radius", radius, "[0, inf)")
    require_in("std", std, "(0, inf)")
    angle = torch.arange(8) * math.pi / 4
    return GaussianMixture(radius * torch.stack([angle.cos(), angle.sin()], dim=1), torch.full((8,), std))


def two_gaussians(distance: Number = 2.0, std: Number = 0.3) -> GaussianMixture:
    """Two equal Gaussians at `-distance/2` and `+distance/2` on the horizontal axis."""
    require_in("distance", distance, "[0, inf)")
    require_in("std", std, "(0, inf)")
    means = torch.tensor([[-distance / 2, 0.0], [distance / 2, 0.0]])
    return GaussianMixture(means, torch.full((2,), std))


@dataclass(frozen=True)
class Checkerboard:
    """The dark squares of a 4x4 board on [-2, 2]^2: a law with edges and no density formula that is smooth."""

    device: str = "cpu"

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n 2"]:
        require_count("n", n, 1)
        column, row = (torch.randint(high, (n,), generator=generator, device=self.device) for high in (4, 2))
        corner = torch.stack([column - 2, 2 * row + column % 2 - 2], dim=1)
        return corner + torch.rand(n, 2, generator=generator, device=self.device)


@dataclass(frozen=True)
class TwoMoons:
    """Two interleaved half circles with Gaussian noise of standard deviation `std`."""

    std: Number = 0.1
    device: str = "cpu"

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n 2"]:
        require_count("n", n, 1)
        angle = math.pi * torch.rand(n, generator=generator, device=self.device)
        lower = torch.randint(2, (n, 1), generator=generator, device=self.device)
        upper = torch.stack([angle.cos(), angle.sin()], dim=1)
        arc = torch.where(lower == 1, torch.tensor([1.0, 0.5], device=self.device) - upper, upper)
        centre = torch.tensor([0.5, 0.25], device=self.device)
        return 1.5 * (arc - centre) + self.std * torch.randn(n, 2, generator=generator, device=self.device)
