"""Flow through a random porous square: from where it is permeable to the pressure, solved by finite volumes.

>>> permeability, pressure = Darcy(size=8).sample(3, torch.Generator().manual_seed(0))
>>> permeability.shape, pressure.shape, bool((pressure > 0).all())
(torch.Size([3, 8, 8]), torch.Size([3, 8, 8]), True)
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from companion.foundations.validation import Number, require, require_count, require_floating, require_in


@dataclass(frozen=True)
class Darcy:
    """`-div(a grad u) = 1` on the unit square, u = 0 on its edge; a takes two values, by the sign of a smooth Gaussian field.

    The Gaussian field has the covariance (-Laplace + 9)^-2 with zero flux through the edge, much as in the data sets that
    neural operators are compared on (Li et al., ICLR 2021).

    Attributes:
        size: grid points along each axis, not counting the edge; point i lies at i / (size + 1).
        low, high: the two values of a; above 0.
    """

    size: int = 16
    low: Number = 3.0
    high: Number = 12.0

    def __post_init__(self) -> None:
        require_count("size", self.size, 2)
        for name in ("low", "high"):
            require_in(name, getattr(self, name), "(0, inf)")

    def sample(
        self, n: int, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n size size"], Float[Tensor, "n size size"]]:
        """Permeability a and pressure u of n squares, float32, on the CPU."""
        require_count("n", n, 1)
        side = self.size + 2  # with the edge
        waves = torch.arange(side)
        size = math.pi**2 * (waves[:, None] ** 2 + waves**2) + 9
        noise = torch.randn(n, side, side, generator=generator) / size
        lengths = torch.where(waves > 0, 2**0.5, 1.0)  # of unit mean square on [0, 1]
        cosines = lengths * torch.cos(math.pi * torch.linspace(0, 1, side)[:, None] * waves)
        field = cosines @ noise @ cosines.T
        permeability = torch.where(field > 0, float(self.high), float(self.low))
        pressure = torch.stack([solve(each) for each in permeability.double()])
        return permeability[:, 1:-1, 1:-1], pressure.float()


def solve(
    permeability: Float[Tensor, "side side"], source: Number | Float[Tensor, "m m"] = 1.0
) -> Float[Tensor, "m m"]:
    """The pressure at the side - 2 inner points of each axis for a permeability at all side x side points, edge included.

    What flows between two neighbours is their difference in pressure times the harmonic mean of their permeabilities.
    Second order in the distance of the points where the permeability is smooth. Solved in float64 on the CPU, by scipy.

    Raises:
        TypeError: no floating tensor, or a source that is no number.
        ValueError: not square, fewer than 3 points along an axis, a permeability that is not positive, or a source of
            another shape.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import spsolve

    require_floating("permeability", permeability)
    came = f"of shape {tuple(permeability.shape)}"
    square = permeability.ndim == 2 and permeability.shape[0] == permeability.shape[1] >= 3
    require(square, "permeability", came, "of shape (side, side), side at least 3")
    positive = bool(((permeability > 0) & permeability.isfinite()).all())
    require(positive, "permeability", "not positive or not finite in some place", "above 0 and finite")
    side = len(permeability)
    inside = (side - 2, side - 2)
    if isinstance(source, Tensor):
        require(source.shape == inside, "source", f"of shape {tuple(source.shape)}", f"a number or of shape {inside}")
    else:
        require_in("source", source, "(-inf, inf)")
    a = permeability.double().numpy()
    number = np.arange(side**2).reshape(side, side)
    rows, columns, values = [], [], []
    for here, there in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        flow = (2 * a[here] * a[there] / (a[here] + a[there])).ravel() * (side - 1) ** 2
        first, second = number[here].ravel(), number[there].ravel()
        rows += [first, second, first, second]
        columns += [first, second, second, first]
        values += [flow, flow, -flow, -flow]
    system = coo_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))).tocsc()
    inner = number[1:-1, 1:-1].ravel()  # the pressure is 0 at all others
    right = np.broadcast_to(np.asarray(source, dtype=float), inside).ravel()
    return torch.from_numpy(spsolve(system[inner][:, inner], right)).view(inside)
