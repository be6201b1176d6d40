"""Fourier neural operators against Fourier sums written out, and what one operator gives on grids of several sizes."""

import copy
import io
import math

import pytest
import torch
from agree import normal, seeded
from torch import nn

from companion.foundations.fourier import (
    FourierOperator,
    FourierOperator1d,
    FourierOperator2d,
    SpectralConvolution,
    positions,
)
from companion.methods.last_layer import train_closed_form

TAU = 2 * math.pi
each_number_of_axes = pytest.mark.parametrize("axes", [1, 2, 3])


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-11) -> None:
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def convolution(axes: int, width: int = 3, modes: int = 3, seed: int = 0) -> SpectralConvolution:
    torch.manual_seed(seed)
    return SpectralConvolution(width, modes, axes).double()


def operator(axes: int, inputs: int = 2, features: int = 4, seed: int = 0, modes: int = 3) -> FourierOperator:
    torch.manual_seed(seed)
    return FourierOperator(inputs, features, axes, width=5, modes=modes, depth=2).double()


def waves(frequencies: torch.Tensor, grid: int) -> torch.Tensor:
    """exp(2 pi i k j / grid), a row for each frequency k, a column for each point j."""
    return torch.exp(1j * TAU * frequencies[:, None] * torch.arange(grid).double() / grid)


# --- the spectral convolution ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [6, 7, 16])
@pytest.mark.parametrize("modes", [1, 2, 3])
def test_on_a_line_it_multiplies_the_lowest_coefficients_of_the_fourier_sum(n, modes):
    layer, fields = convolution(1, modes=modes), normal(2, n, 3)
    wave = waves(torch.arange(modes).double(), n)
    coefficients = torch.einsum("kj,bjc->bkc", wave.conj(), fields + 0j) / n
    weights = torch.complex(layer.weights[0, ..., 0], layer.weights[0, ..., 1])
    moved = torch.einsum("bkc,kcd->bkd", coefficients, weights)
    twice = torch.tensor([1.0] + [2.0] * (modes - 1)).double()  # a mode and the one of its negative frequency
    wanted = torch.einsum("kj,bkd,k->bjd", wave, moved, twice + 0j).real
    close(layer(fields), wanted)


@pytest.mark.parametrize("grid", [(6, 6), (9, 6), (8, 11)])
@pytest.mark.parametrize("modes", [1, 3])
def test_on_a_square_it_keeps_low_modes_of_both_signs_along_the_first_axis(grid, modes):
    layer, fields = convolution(2, modes=modes), normal(2, *grid, 3)
    first = waves(torch.cat([torch.arange(modes), torch.arange(-modes, 0)]).double(), grid[0])
    second = waves(torch.arange(modes).double(), grid[1])
    coefficients = torch.einsum("ki,lj,bijc->bklc", first.conj(), second.conj(), fields + 0j) / math.prod(grid)
    weights = torch.complex(*torch.cat([layer.weights[0], layer.weights[1]]).unbind(-1))
    moved = torch.einsum("bklc,klcd->bkld", coefficients, weights)
    twice = torch.tensor([1.0] + [2.0] * (modes - 1)).double()
    wanted = torch.einsum("ki,lj,bkld,l->bijd", first, second, moved, twice + 0j).real
    close(layer(fields), wanted)


@each_number_of_axes
def test_with_unit_matrices_it_passes_what_is_made_of_kept_modes_and_nothing_else(axes):
    layer, grid = convolution(axes, width=1, modes=3), (12,) * axes
    layer.weights.data.zero_()[..., 0] = 1
    places = torch.meshgrid(*[torch.arange(12).double() / 12] * axes, indexing="ij")
    for axis, place in enumerate(places):
        for frequency in range(6):
            for wave in (torch.cos, torch.sin):
                fields = wave(TAU * frequency * place).reshape(1, *grid, 1)
                found = layer(fields)
                if frequency < 3:
                    close(found, fields)
                elif frequency == 3 and axis < axes - 1:
                    close(found, fields / 2)  # of the frequencies 3 and -3 only -3 is kept
                else:
                    close(found, torch.zeros_like(fields))


def test_it_is_the_circular_convolution_with_the_kernel_that_its_weights_are_the_modes_of():
    n, modes, kernel = 10, 3, normal(10, 2, 2)
    spectrum = torch.fft.fft(kernel, dim=0)
    spectrum[modes : n - modes + 1] = 0
    kernel = torch.fft.ifft(spectrum, dim=0).real
    layer, fields = convolution(1, 2, modes), normal(4, n, 2, seed=1)
    layer.weights.data[0] = torch.view_as_real(spectrum[:modes])
    wanted = torch.zeros_like(fields)
    for place in range(n):
        for other in range(n):
            wanted[:, place] += fields[:, other] @ kernel[(place - other) % n]
    close(layer(fields), wanted)


@each_number_of_axes
def test_it_commutes_with_shifts_and_is_linear(axes):
    layer, grid = convolution(axes), (7, 6, 8)[:axes]
    fields, others = normal(2, *grid, 3), normal(2, *grid, 3, seed=1)
    for axis in range(1, 1 + axes):
        close(layer(fields.roll(2, axis)), layer(fields).roll(2, axis))
        assert (layer(fields.flip(axis)) - layer(fields).flip(axis)).abs().max() > 0.01
    close(layer(2 * fields - 3 * others), 2 * layer(fields) - 3 * layer(others))


@each_number_of_axes
def test_it_gives_one_function_on_every_grid(axes):
    """A field of few waves, on a grid and on finer ones of which every other point, or third, is a point of the first."""
    layer, coarse = convolution(axes, modes=4), (8, 9, 10)[:axes]

    def field(scale: int) -> torch.Tensor:
        places = torch.meshgrid(
            *[torch.arange(scale * size).double() / (scale * size) for size in coarse], indexing="ij"
        )
        angles = TAU * torch.stack(places, dim=-1) @ torch.tensor([[1.0, -2, 3], [2, 0, 1], [-1, 3, 2]]).double()[:axes]
        return torch.sin(angles + torch.arange(3))[None]

    found = layer(field(1))
    for scale in (2, 3):
        every = (slice(None), *[slice(None, None, scale)] * axes)
        close(layer(field(scale))[every], found)


@each_number_of_axes
def test_its_parameters_are_one_matrix_for_each_kept_mode(axes):
    layer = convolution(axes, width=3, modes=2)
    assert [name for name, _ in layer.named_parameters()] == ["weights"]
    assert layer.weights.numel() == 2 ** (axes - 1) * 2**axes * 3 * 3 * 2
    fields = normal(2, *[5] * axes, 3)
    layer(fields).square().sum().backward()
    felt = layer.weights.grad.abs().flatten(1 + axes).sum(-1)
    assert bool((felt > 0).all())


@pytest.mark.parametrize("width", [32, 64])
def test_its_weights_start_so_that_wide_layers_begin_small(width):
    """Of noise on 16 points 3 modes are kept: 1 with the real part of its weight, 2 twice with both parts."""
    torch.manual_seed(0)
    found = SpectralConvolution(width, 3, 1)(normal(300, 16, width, dtype=torch.float32)).square().mean().item()
    assert found == pytest.approx((1 + 2 * 2 * 2) / (16 * width), rel=0.05)


@pytest.mark.parametrize("grid", [(6,), (7,), (5, 6), (4, 7)])
def test_its_gradients_are_right(grid):
    layer, fields = convolution(len(grid), width=2, modes=2), normal(2, *grid, 2).requires_grad_()
    weights = layer.weights.detach().clone().requires_grad_()

    def forward(fields, weights):
        return torch.func.functional_call(layer, {"weights": weights}, (fields,))

    assert torch.autograd.gradcheck(forward, (fields, weights))


# --- the operator ---------------------------------------------------------------------------------------------


def test_positions_run_from_0_to_1_along_each_axis_and_are_those_of_every_field():
    places = positions(torch.zeros(3, 5, 3, 7))
    assert places.shape == (3, 5, 3, 2)
    assert torch.equal(places[0], places[2])
    close(places[1, :, 2, 0], torch.tensor([0, 0.25, 0.5, 0.75, 1]))
    close(places[1, 4, :, 1], torch.tensor([0, 0.5, 1]))
    assert positions(torch.zeros(1, 4, 1).double()).dtype == torch.float64


@pytest.mark.parametrize("grid", [(7,), (6, 9)])
def test_it_is_layers_of_both_kinds_between_a_lift_and_a_projection(grid):
    model, fields = operator(len(grid)), normal(2, *grid, 2)
    gelu = nn.functional.gelu
    state = model.lift(torch.cat([fields, positions(fields)], dim=-1))
    assert len(model.spectral) == len(model.pointwise) == 2
    for spectral, pointwise in zip(model.spectral, model.pointwise, strict=True):
        state = gelu(spectral(state) + state @ pointwise.weight.T + pointwise.bias)
    close(model(fields), gelu(state @ model.project.weight.T + model.project.bias))


def test_on_a_line_and_on_a_square_it_is_the_operator_of_one_axis_and_of_two():
    for kind, axes, grid in ((FourierOperator1d, 1, (9,)), (FourierOperator2d, 2, (9, 8))):
        torch.manual_seed(0)
        ours = kind(2, 4, width=5, modes=3, depth=2).double()
        theirs = operator(axes)
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        fields = normal(2, *grid, 2)
        assert torch.equal(ours(fields), theirs(fields))
    assert (FourierOperator1d(1, 1).modes, FourierOperator2d(1, 1).modes) == (8, 5)
    assert all(len(kind(1, 1).spectral) == 3 for kind in (FourierOperator1d, FourierOperator2d))
    assert all(kind(1, 1).lift.out_features == 16 for kind in (FourierOperator1d, FourierOperator2d))


@each_number_of_axes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_have_the_grid_of_the_fields_and_the_dtype_of_the_weights(axes, dtype):
    model, grid = operator(axes).to(dtype), (6, 9, 7)[:axes]
    features = model(normal(2, *grid, 2, dtype=dtype))
    assert features.shape == (2, *grid, 4)
    assert features.dtype == dtype
    exact = copy.deepcopy(model).double()(normal(2, *grid, 2, dtype=dtype).double())
    torch.testing.assert_close(features, exact.to(dtype))  # as close as the dtype allows


@each_number_of_axes
def test_every_input_every_position_and_every_weight_matters(axes):
    model, grid = operator(axes), (6, 7, 8)[:axes]
    fields = normal(1, *grid, 2).requires_grad_()
    model(fields).square().sum().backward()
    assert bool((fields.grad != 0).all())
    for name, parameter in model.named_parameters():
        assert bool((parameter.grad != 0).any()), name
    for axis in range(1, 1 + axes):
        moved = model(fields.roll(1, axis)) - model(fields).roll(1, axis)
        assert moved.abs().max() > 1e-3, "the position along this axis is not seen"


def test_it_sees_the_whole_field():
    """A feature changes when the field does at the far end."""
    model, fields = operator(2), torch.zeros(1, 12, 12, 2).double()
    moved = fields.clone()
    moved[0, 0, 0] = 5
    assert ((model(moved) - model(fields))[0, 6, 6].abs() > 1e-4).all()


@each_number_of_axes
def test_every_field_is_worked_out_by_itself(axes):
    model, grid = operator(axes), (6, 7, 6)[:axes]
    fields, order = normal(4, *grid, 2), torch.tensor([2, 0, 3, 1])
    close(model(fields[order]), model(fields)[order])
    close(model(fields[2:3]), model(fields)[2:3])


def test_fields_stay_as_they_were():
    model, fields = operator(2), normal(2, 6, 6, 2)
    before = fields.clone()
    model(fields)
    assert torch.equal(fields, before)


@pytest.mark.parametrize("grid", [(5,), (4, 5)])
def test_the_gradients_of_all_its_weights_are_right(grid):
    torch.manual_seed(0)
    model = FourierOperator(1, 2, len(grid), width=2, modes=2, depth=2).double()
    names, values = zip(*model.named_parameters(), strict=True)
    fields = normal(1, *grid, 1).requires_grad_()

    def forward(fields, *values):
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (fields,))

    assert torch.autograd.gradcheck(forward, (fields, *values), fast_mode=True)


@each_number_of_axes
def test_a_saved_operator_is_the_same_operator(axes):
    model, file = operator(axes), io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = operator(axes, seed=1)
    fields = normal(2, *[6] * axes, 2)
    assert not torch.equal(other(fields), model(fields))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(fields), model(fields))
    assert torch.equal(copy.deepcopy(model)(fields), model(fields))


@pytest.mark.parametrize("axes", [1, 2])
def test_features_on_finer_grids_tend_to_those_of_one_function(axes):
    """Positions end at 1 on every grid, so that grids agree only up to the distance of their points."""
    model = operator(axes)
    gaps = []
    for size in (16, 32, 64):
        found = []
        for grid in (size, 2 * size):
            places = torch.meshgrid(*[torch.arange(grid).double() / grid] * axes, indexing="ij")
            field = torch.stack([torch.sin(TAU * sum(places)), torch.cos(2 * TAU * places[0])], dim=-1)
            found.append(model(field[None]))
        every = (slice(None), *[slice(None, None, 2)] * axes)
        gaps.append((found[1][every] - found[0]).abs().mean().item())
    assert gaps[0] < 2e-3
    assert gaps[0] / gaps[1] > 1.7
    assert gaps[1] / gaps[2] > 1.7


# --- with a solved last layer ---------------------------------------------------------------------------------


def periodic(n: int, size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random sums of four waves without a mean, and their antiderivatives without a mean."""
    place = torch.arange(size) / size
    frequency = torch.arange(1.0, 5)
    angles = TAU * frequency[:, None] * place
    a, b = torch.randn(2, n, 4, generator=seeded(seed))
    fields = a @ torch.cos(angles) + b @ torch.sin(angles)
    integrals = (a / (TAU * frequency)) @ torch.sin(angles) - (b / (TAU * frequency)) @ torch.cos(angles)
    return fields[..., None], 10 * integrals[..., None]


def relative(predicted: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((predicted - wanted).norm() / wanted.norm()).item()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_with_a_solved_last_layer_it_learns_to_integrate_on_grids_that_it_has_not_seen(seed):
    torch.manual_seed(seed)
    backbone = FourierOperator1d(1, 16, width=8, modes=6, depth=2)
    states = train_closed_form(backbone, periodic(100, 32, seed), 60, ridge=1e-6)
    *_, state = states
    for size in (16, 32, 64, 96):
        fields, wanted = periodic(50, size, seed + 100)
        assert relative(state.predict(fields), wanted) < 0.06


def test_where_the_features_are_the_modes_the_solved_last_layer_is_the_operator():
    """One Fourier layer that integrates: what is left for the last layer is to find a factor."""
    torch.manual_seed(0)
    layer = SpectralConvolution(1, 6, 1).double()
    layer.weights.data.zero_()
    frequency = torch.arange(1, 6).double()
    layer.weights.data[0, 1:, 0, 0, 1] = -1 / (TAU * frequency)  # 1 / (2 pi i k)
    fields, integrals = (part.double() for part in periodic(20, 32, 0))
    sgd = {"optimizer": torch.optim.SGD, "learning_rate": 1e-12}
    *_, state = train_closed_form(layer, (fields, integrals), 1, ridge=1e-6, **sgd)
    torch.testing.assert_close(state.weights, torch.tensor([[10.0], [0.0]]).double(), rtol=1e-3, atol=1e-6)
    fields, integrals = (part.double() for part in periodic(20, 80, 1))
    torch.testing.assert_close(state.predict(fields), integrals, rtol=0, atol=1e-3)
