"""Data whose interest lies in two directions of many: eight Gaussians in a hidden plane, plain noise in all others.

>>> law = HiddenPlane(dimension=64)
>>> points = law.sample(5, torch.Generator().manual_seed(0))
>>> points.shape, law.plane(points).shape
(torch.Size([5, 64]), torch.Size([5, 2]))
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from companion.data.toy import eight_gaussians
from companion.foundations.validation import Number, require, require_count, require_floating, require_in

RADIUS = 2.0


@dataclass(frozen=True)
class HiddenPlane:
    """Eight Gaussians on a circle of radius 2 in a plane, N(0, 1) in all other directions, rotated as `seed` says.

    In the plane the standard deviation of a coordinate is about 1.4, elsewhere 1.

    Attributes:
        dimension: of the points, at least 3.
        seed: of the rotation.
        std: of each Gaussian.
    """

    dimension: int = 64
    seed: int = 0
    std: Number = 0.14

    def __post_init__(self) -> None:
        require_count("dimension", self.dimension, 3)
        require_count("seed", self.seed, 0)
        require_in("std", self.std, "(0, inf)")

    @cached_property
    def rotation(self) -> Float[Tensor, "d d"]:
        """Orthogonal; the first two rows span the plane."""
        normal = torch.randn(self.dimension, self.dimension, generator=torch.Generator().manual_seed(self.seed))
        return torch.linalg.qr(normal)[0]

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """`n` points, on the CPU."""
        inside = eight_gaussians(RADIUS, self.std).sample(n, generator)
        outside = torch.randn(n, self.dimension - 2, generator=generator)
        return torch.cat([inside, outside], dim=1) @ self.rotation

    def plane(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n 2"]:
        """The two coordinates of points that matter.

        Raises:
            ValueError: points of another dimension.
        """
        require_floating("points", points)
        fits = points.ndim == 2 and points.shape[1] == self.dimension
        require(fits, "points", f"of shape {tuple(points.shape)}", f"of shape (n, {self.dimension})")
        return points @ self.rotation[:2].T.to(points)
