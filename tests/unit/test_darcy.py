"""Flow through a porous square against solutions in closed form, and the law that permeabilities are drawn from."""

import dataclasses
import itertools
import math

import pytest
import torch
from agree import close, seeded

from companion.data import darcy
from companion.data.darcy import Darcy, solve

PI = math.pi


def square(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Both coordinates of side x side points, edge included."""
    line = torch.linspace(0, 1, side, dtype=torch.float64)
    return torch.meshgrid(line, line, indexing="ij")


def inner(field: torch.Tensor) -> torch.Tensor:
    return field[1:-1, 1:-1]


def rough(side: int = 9, seed: int = 0) -> torch.Tensor:
    """Permeabilities from 0.1 to 10, each point its own."""
    return 10 ** (2 * torch.rand(side, side, generator=seeded(seed), dtype=torch.float64) - 1)


# --- the pressure ---------------------------------------------------------------------------------------------


def errors(permeability, pressure, source, sides=(9, 17, 33)) -> list[float]:
    """The largest error on grids of which each has half the distance of the one before."""
    found = []
    for side in sides:
        x, y = square(side)
        error = solve(permeability(x, y), inner(source(x, y))) - inner(pressure(x, y))
        found.append(error.abs().max().item())
    return found


def test_half_the_distance_is_a_quarter_of_the_error():
    """a = 1 + x + y^2 / 2 and u = sin(pi x) sin(2 pi y), with the source that makes them a solution."""

    def permeability(x, y):
        return 1 + x + y**2 / 2

    def pressure(x, y):
        return torch.sin(PI * x) * torch.sin(2 * PI * y)

    def source(x, y):
        of_x = PI * torch.cos(PI * x) * torch.sin(2 * PI * y)
        of_y = 2 * PI * torch.sin(PI * x) * torch.cos(2 * PI * y)
        return 5 * PI**2 * permeability(x, y) * pressure(x, y) - of_x - y * of_y

    found = errors(permeability, pressure, source)
    assert found[-1] < 5e-3
    for coarse, fine in itertools.pairwise(found):
        assert 3.6 < coarse / fine < 4.4


def test_where_the_permeability_is_constant_it_is_the_sine_series():
    """u = sum of 16 / (pi^4 k l (k^2 + l^2)) sin(pi k x) sin(pi l y) over odd k and l."""

    def pressure(x, y):
        odd = torch.arange(1, 200, 2, dtype=torch.float64)
        amplitudes = 16 / (PI**4 * odd[:, None] * odd * (odd[:, None] ** 2 + odd**2))
        return torch.sin(PI * x[:, :1] * odd) @ amplitudes @ torch.sin(PI * y[:1].T * odd).T

    found = errors(lambda x, y: torch.ones_like(x), pressure, lambda x, y: torch.ones_like(x))
    assert found[-1] < 1e-4
    for coarse, fine in itertools.pairwise(found):
        assert 3.4 < coarse / fine < 4.4
    assert solve(torch.ones(33, 33))[15, 15].item() == pytest.approx(0.07367, abs=1e-4)


def test_a_source_of_one_wave_has_a_pressure_of_that_wave_exactly():
    """What the five-point scheme makes of sines is known for every grid."""
    side = 12
    x, y = square(side)
    wave = torch.sin(2 * PI * x) * torch.sin(3 * PI * y)
    eigenvalue = sum(4 * (side - 1) ** 2 * math.sin(k * PI / (2 * (side - 1))) ** 2 for k in (2, 3))
    close(solve(torch.full((side, side), 5.0).double(), inner(wave)), inner(wave) / (5 * eigenvalue))


def test_one_inner_point_by_hand():
    """Four flows to the edge, each through the harmonic mean of two permeabilities, at a distance of 1/2."""
    permeability = torch.tensor([[9.0, 1.0, 9.0], [3.0, 2.0, 6.0], [9.0, 4.0, 9.0]])
    means = [2 * 2 * other / (2 + other) for other in (1, 3, 6, 4)]
    found = solve(permeability, 7.0)
    assert found.shape == (1, 1)
    assert found.item() == pytest.approx(7 / (4 * sum(means)))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("contrast", [4.0, 1000.0])
def test_where_the_permeability_jumps_between_two_points_the_flow_goes_on(axis, contrast):
    """u = sin(2 pi x) sin(pi y) / a, whose flow is smooth though a jumps at x = 1/2: the source does not know of a."""

    def permeability(x, y):
        return torch.where((x if axis == 0 else y) < 0.5, 1.0, contrast).double()

    def wave(x, y):
        return torch.sin(2 * PI * (x if axis == 0 else y)) * torch.sin(PI * (y if axis == 0 else x))

    found = errors(
        permeability,
        lambda x, y: wave(x, y) / permeability(x, y),
        lambda x, y: 5 * PI**2 * wave(x, y),
        sides=(10, 20, 40),
    )
    assert found[-1] < 5e-3
    for (coarse, fine), (points, more) in zip(itertools.pairwise(found), ((9, 19), (19, 39)), strict=True):
        assert coarse / fine == pytest.approx((more / points) ** 2, rel=0.1)


def test_what_flows_out_through_the_edge_is_what_the_source_gives():
    side, permeability = 9, rough()
    source = torch.rand(side - 2, side - 2, generator=seeded(1), dtype=torch.float64)
    padded = torch.nn.functional.pad(solve(permeability, source), (1, 1, 1, 1))
    out = 0.0
    for edge in (0, -1):
        within = 1 if edge == 0 else -2
        for a, u in ((permeability, padded), (permeability.T, padded.T)):
            mean = 2 * a[edge] * a[within] / (a[edge] + a[within])
            out += (mean * u[within])[1:-1].sum().item()
    assert out == pytest.approx(source.sum().item() / (side - 1) ** 2)


@pytest.mark.parametrize("seed", range(5))
def test_pressure_is_positive_and_largest_where_the_source_is(seed):
    permeability, source = rough(11, seed), torch.zeros(9, 9)
    assert bool((solve(permeability) > 0).all())
    source[2 + seed, 7 - seed] = 1
    pressure = solve(permeability, source)
    assert bool((pressure > 0).all())
    assert pressure.argmax().item() == (2 + seed) * 9 + 7 - seed
    assert bool((solve(2 * permeability) < solve(permeability)).all())


def test_it_is_linear_in_the_source_and_falls_with_the_permeability():
    permeability = rough()
    first, second = torch.rand(2, 7, 7, generator=seeded(), dtype=torch.float64)
    close(solve(permeability, 2 * first - 3 * second), 2 * solve(permeability, first) - 3 * solve(permeability, second))
    close(solve(4 * permeability, first), solve(permeability, first) / 4)
    close(solve(permeability), solve(permeability, torch.ones(7, 7)))
    close(solve(permeability, 3), 3 * solve(permeability))
    assert solve(permeability, 0).abs().max() == 0


def test_what_a_source_at_one_point_does_at_another_is_what_it_does_the_other_way_round():
    permeability, points = rough(), torch.eye(49).view(49, 7, 7)
    table = torch.stack([solve(permeability, point).flatten() for point in points])
    close(table, table.T.contiguous())


def test_turning_the_square_turns_the_pressure():
    permeability = rough()
    source = torch.rand(7, 7, generator=seeded(), dtype=torch.float64)
    pressure = solve(permeability, source)
    for turn in (lambda field: field.T, lambda field: field.flip(0), lambda field: field.flip(1)):
        turned = turn(permeability).contiguous()
        close(solve(turned, turn(source)), turn(pressure).contiguous())
        assert (turned - permeability).abs().max() > 1


def test_corners_do_not_matter_and_all_other_points_do():
    permeability = rough(5)
    pressure = solve(permeability)
    for row in range(5):
        for column in range(5):
            changed = permeability.clone()
            changed[row, column] *= 2
            corner = row in (0, 4) and column in (0, 4)
            assert ((solve(changed) - pressure).abs().max() < 1e-12) == corner


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_it_is_solved_in_double_precision_and_changes_nothing(dtype):
    permeability = (1 + torch.rand(6, 6, generator=seeded())).to(dtype)
    source, before = torch.ones(4, 4), permeability.clone()
    pressure = solve(permeability, source)
    assert pressure.dtype == torch.float64
    close(pressure, solve(permeability.double()), 1e-13)
    assert torch.equal(permeability, before)
    assert torch.equal(source, torch.ones(4, 4))


# --- the law --------------------------------------------------------------------------------------------------


def test_a_sample_is_two_values_at_the_inner_points_and_their_pressure():
    permeability, pressure = Darcy(7, low=0.5, high=4).sample(5, seeded())
    assert permeability.shape == pressure.shape == (5, 7, 7)
    assert permeability.dtype == pressure.dtype == torch.float32
    assert set(permeability.unique().tolist()) == {0.5, 4.0}
    assert bool((pressure > 0).all())


def test_it_is_high_where_a_sum_of_waves_is_above_0():
    permeability, _ = Darcy(6).sample(3, seeded())
    noise, (x, y) = torch.randn(3, 8, 8, generator=seeded()), square(8)
    field = torch.zeros(3, 8, 8).double()
    for k in range(8):
        for m in range(8):
            length = 2 ** ((k > 0) / 2 + (m > 0) / 2)
            wave = length * torch.cos(PI * k * x) * torch.cos(PI * m * y) / (PI**2 * (k**2 + m**2) + 9)
            field += noise[:, k, m, None, None] * wave
    assert torch.equal(permeability == 12, field[:, 1:-1, 1:-1] > 0)


def test_the_pressure_is_that_of_the_permeability_edge_included(monkeypatch):
    seen = []

    def spy(permeability):
        seen.append(permeability)
        return solve(permeability)

    monkeypatch.setattr(darcy, "solve", spy)
    permeability, pressure = Darcy(6).sample(4, seeded())
    assert len(seen) == 4
    for whole, part, found in zip(seen, permeability, pressure, strict=True):
        assert whole.shape == (8, 8)
        assert whole.dtype == torch.float64
        assert torch.equal(inner(whole).float(), part)
        assert torch.equal(found, solve(whole).float())


def test_samples_repeat_with_their_generator_and_draw_from_no_other():
    law, before = Darcy(5), torch.random.get_rng_state()
    first, generator = law.sample(6, seeded()), seeded()
    again, later = law.sample(6, generator), law.sample(6, generator)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(again[0], later[0])
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_two_values_scale_the_pressure_and_swap_with_the_sign():
    permeability, pressure = Darcy(6).sample(3, seeded())
    other, less = Darcy(6, low=6, high=24).sample(3, seeded())
    close(other, 2 * permeability)
    close(less, pressure / 2, 1e-6)
    swapped, _ = Darcy(6, low=12, high=3).sample(3, seeded())
    close(swapped, 15 - permeability)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Darcy().size = 8
    assert dataclasses.astuple(Darcy()) == (16, 3.0, 12.0)


def covariance(points: torch.Tensor, unit: float = 2.0, shift: float = 9.0) -> torch.Tensor:
    """Of a field with the covariance (-Laplace + shift)^-2 at points (m, 2), from its eigenfunctions.

    They are products of 1 and the sqrt(2) cos(pi k x); `unit` is the 2 under the root.
    """
    waves = torch.arange(200, dtype=torch.float64)
    variances = (PI**2 * (waves[:, None] ** 2 + waves**2) + shift) ** -2
    lengths = torch.where(waves > 0, unit, 1.0)
    first, second = (torch.cos(PI * points[:, axis, None] * waves) for axis in (0, 1))
    weights = variances * lengths[:, None] * lengths
    return torch.einsum("kl,ik,jk,il,jl->ij", weights, first, first, second, second)


def agreement(covariance: torch.Tensor) -> torch.Tensor:
    """The mean product of the signs of two Gaussians: 2 / pi times the arcsine of their correlation."""
    scale = covariance.diagonal().rsqrt()
    return 2 / PI * torch.asin((covariance * scale[:, None] * scale).clamp(-1, 1))


def test_signs_agree_as_those_of_the_stated_gaussian_field(monkeypatch):
    """High is as frequent as low at every point, and two points agree as their covariance says."""
    monkeypatch.setattr(darcy, "solve", lambda permeability: permeability[1:-1, 1:-1])
    n, size = 20_000, 14
    signs = (Darcy(size).sample(n, seeded())[0].double() - 7.5) / 4.5
    assert torch.equal(signs.abs(), torch.ones_like(signs))
    noise = 5 / n**0.5
    assert signs.mean(0).abs().max() < noise
    rows = [(1, 1), (1, 8), (3, 3), (5, 12), (7, 7), (8, 7), (11, 2), (14, 1), (14, 14), (10, 10)]
    points = torch.tensor(rows, dtype=torch.float64) / (size + 1)
    chosen = torch.stack([signs[:, row - 1, column - 1] for row, column in rows], dim=1)
    found = chosen.T @ chosen / n
    torch.testing.assert_close(found, agreement(covariance(points)), rtol=0, atol=noise)
    for wrong in ({"unit": 1.0}, {"shift": 3.0}, {"shift": 27.0}):
        assert (found - agreement(covariance(points, **wrong))).abs().max() > 2 * noise


def test_a_finer_grid_has_the_same_law(monkeypatch):
    """How often the middle and the point halfway to an edge agree does not depend on the grid."""
    monkeypatch.setattr(darcy, "solve", lambda permeability: permeability[1:-1, 1:-1])
    found = []
    for size in (7, 15, 31):
        permeability, _ = Darcy(size).sample(8000, seeded(size))
        middle, other = (permeability[:, (size + 1) * place // 4 - 1, (size + 1) // 2 - 1] for place in (2, 3))
        found.append((middle == other).double().mean().item())
    assert max(found) - min(found) < 5 * (0.25 / 8000) ** 0.5
