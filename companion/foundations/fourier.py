"""Fourier neural operators: networks from functions to functions, on a grid of any size.

A layer multiplies the lowest Fourier modes of its channels by learned matrices and adds what a linear layer gives at every
point; both work on finer grids with the same weights. Channels come last, so that what an operator gives is a row of
features at every grid point, and a last linear layer on them can be solved (`methods.last_layer`).

Source: Li, Kovachki, Azizzadenesheli et al., "Fourier Neural Operator for Parametric Partial Differential Equations", ICLR
2021 (arXiv 2010.08895). Simplified: no padding of fields that are not periodic, and no normalisation of the inputs.

>>> operator = FourierOperator2d(inputs=1, features=32, width=16, modes=5)
>>> operator(torch.zeros(7, 16, 16, 1)).shape, operator(torch.zeros(7, 24, 20, 1)).shape
(torch.Size([7, 16, 16, 32]), torch.Size([7, 24, 20, 32]))
"""

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from companion.foundations.validation import require, require_count, require_floating


class SpectralConvolution(nn.Module):
    """Fields (b, *grid, width) -> the same shape: the lowest modes, each times a complex matrix of its own.

    Args:
        width: channels.
        modes: kept of each axis, counted from 0; of all axes but the last those of negative frequency, too.
        axes: of the grid.
    """

    def __init__(self, width: int, modes: int, axes: int) -> None:
        super().__init__()
        for name, value in {"width": width, "modes": modes, "axes": axes}.items():
            require_count(name, value, 1)
        self.modes, self.axes = modes, axes
        low, high = slice(None, modes), slice(-modes, None)
        self.corners = [(*signs, low) for signs in itertools.product((low, high), repeat=axes - 1)]
        shape = (len(self.corners), *[modes] * axes, width, width, 2)  # the last axis: real and imaginary part
        self.weights = nn.Parameter(torch.randn(shape) / width)

    def forward(self, fields: Float[Tensor, "b *grid width"]) -> Float[Tensor, "b *grid width"]:
        grid, places = fields.shape[1:-1], tuple(range(1, 1 + self.axes))
        spectrum = torch.fft.rfftn(fields, dim=places)
        moved = torch.zeros_like(spectrum)
        for corner, weights in zip(self.corners, torch.view_as_complex(self.weights)):
            kept = (slice(None), *corner)
            moved[kept] = (spectrum[kept].unsqueeze(-2) @ weights).squeeze(-2)
        return torch.fft.irfftn(moved, s=grid, dim=places)


class FourierOperator(nn.Module):
    """Fields (b, *grid, inputs) -> features (b, *grid, features).

    The position of every point, from 0 to 1 along each axis, is appended to its inputs.

    Args:
        inputs: channels of the fields.
        features: channels that come out, after a GELU: what a last linear layer is solved on.
        axes: of the grid.
        width: channels inside.
        modes: kept of each axis; a grid must have at least twice as many points along it.
        depth: Fourier layers.

    Raises:
        TypeError, ValueError: sizes that are no whole numbers from 1; at the call, fields of another shape or no floats.
    """

    def __init__(self, inputs: int, features: int, axes: int, width: int = 16, modes: int = 5, depth: int = 3) -> None:
        super().__init__()
        for name, value in {"inputs": inputs, "features": features, "depth": depth}.items():
            require_count(name, value, 1)
        self.inputs, self.axes, self.modes = inputs, axes, modes
        self.spectral = nn.ModuleList(SpectralConvolution(width, modes, axes) for _ in range(depth))
        self.pointwise = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.lift = nn.Linear(inputs + axes, width)
        self.project = nn.Linear(width, features)

    def forward(self, fields: Float[Tensor, "b *grid inputs"]) -> Float[Tensor, "b *grid features"]:
        require_floating("fields", fields)
        came = f"of shape {tuple(fields.shape)}"
        fits = fields.ndim == self.axes + 2 and len(fields) > 0 and fields.shape[-1] == self.inputs
        wanted = f"of shape (b, {', '.join('grid' for _ in range(self.axes))}, {self.inputs}), b at least 1"
        require(fits, "fields", came, wanted)
        enough = min(fields.shape[1:-1]) >= 2 * self.modes
        require(enough, "fields", came, f"of at least {2 * self.modes} points along each axis, for {self.modes} modes")
        state = self.lift(torch.cat([fields, positions(fields)], dim=-1))
        for spectral, pointwise in zip(self.spectral, self.pointwise):
            state = nn.functional.gelu(spectral(state) + pointwise(state))
        return nn.functional.gelu(self.project(state))


class FourierOperator1d(FourierOperator):
    """`FourierOperator` of functions on a line: (b, n, inputs) -> (b, n, features)."""

    def __init__(self, inputs: int, features: int, width: int = 16, modes: int = 8, depth: int = 3) -> None:
        super().__init__(inputs, features, 1, width, modes, depth)


class FourierOperator2d(FourierOperator):
    """`FourierOperator` of functions on a square: (b, h, w, inputs) -> (b, h, w, features)."""

    def __init__(self, inputs: int, features: int, width: int = 16, modes: int = 5, depth: int = 3) -> None:
        super().__init__(inputs, features, 2, width, modes, depth)


def positions(fields: Float[Tensor, "b *grid inputs"]) -> Float[Tensor, "b *grid axes"]:
    """Where each grid point is, from 0 to 1 along every axis, ends included; for every field the same."""
    grid: Sequence[int] = fields.shape[1:-1]
    lines = [torch.linspace(0, 1, size, dtype=fields.dtype, device=fields.device) for size in grid]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1).expand(len(fields), *grid, len(grid))
