"""Exact distances of mixtures against integrals, moments and samples."""

import math

import pytest
import torch
from scipy import integrate
from scipy.stats import norm

from companion.foundations.distances import energy_distance, mmd2, rbf
from companion.foundations.exact_distances import exact_energy_distance, exact_mmd2, mean_distance, project
from companion.foundations.mixtures import GaussianMixture


def mixture(seed: int, dimension: int, components: int = 3) -> GaussianMixture:
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(components, dimension, generator=generator, dtype=torch.float64)
    stds, weights = 0.2 + torch.rand(2, components, generator=generator, dtype=torch.float64)
    return GaussianMixture(means, stds, weights)


def cumulative(law: GaussianMixture, place: float) -> float:
    chances = norm.cdf((place - law.means[:, 0].numpy()) / law.stds.numpy())
    return float((law.weights.numpy() * chances).sum())


@pytest.mark.parametrize("seed", range(3))
def test_on_the_line_it_is_twice_the_integral_of_squared_gaps_of_the_distribution_functions(seed):
    p, q = mixture(seed, 1), mixture(seed + 10, 1)
    expected, _ = integrate.quad(lambda z: 2 * (cumulative(p, z) - cumulative(q, z)) ** 2, -9, 9, limit=200)
    assert exact_energy_distance(p, q).item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("gap", [0.0, 0.3, 2.0, 40.0])
def test_in_the_plane_the_mean_distance_is_its_integral(gap):
    """|N((gap, 0), v I)| is the mean over angles and radii of a Gaussian."""
    p = GaussianMixture(torch.tensor([[gap, 0.0]], dtype=torch.float64), torch.tensor([0.8], dtype=torch.float64))
    q = GaussianMixture(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0.6], dtype=torch.float64))  # v = 1

    def over_angles(radius):
        angles = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.float64)[:-1]
        return torch.hypot(gap + radius * angles.cos(), radius * angles.sin()).mean().item()

    expected, _ = integrate.quad(lambda r: over_angles(r) * r * math.exp(-(r**2) / 2), 0, 12)
    assert mean_distance(p, q).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dimension", [1, 2])
def test_samples_come_out_as_the_exact_energy_distance(dimension):
    p, q, generator = mixture(1, dimension), mixture(2, dimension), torch.Generator().manual_seed(0)
    draws = torch.stack([energy_distance(p.sample(300, generator), q.sample(300, generator)) for _ in range(40)])
    assert (draws.mean() - exact_energy_distance(p, q)).abs() < 4 * draws.std() / math.sqrt(40)
    assert draws.std() < draws.mean()  # so that the line above says something


@pytest.mark.parametrize(("dimension", "bandwidth"), [(1, 0.3), (2, 1.0), (5, 2.0)])
def test_samples_come_out_as_the_exact_mmd(dimension, bandwidth):
    p, q, generator = mixture(1, dimension), mixture(2, dimension), torch.Generator().manual_seed(0)
    kernel = rbf(bandwidth)
    draws = torch.stack([mmd2(p.sample(300, generator), q.sample(300, generator), kernel) for _ in range(40)])
    assert (draws.mean() - exact_mmd2(p, q, bandwidth)).abs() < 4 * draws.std() / math.sqrt(40)
    assert draws.std() < draws.mean()


def test_two_unit_gaussians_have_the_textbook_values():
    p, q = (GaussianMixture(torch.tensor([[place]]).double(), torch.ones(1).double()) for place in (0.0, 2.0))
    apart = 2 / math.sqrt(math.pi) * math.exp(-1) + 2 * math.erf(1)
    assert exact_energy_distance(p, q).item() == pytest.approx(2 * apart - 4 / math.sqrt(math.pi))
    assert exact_mmd2(p, q, 1).item() == pytest.approx(2 / math.sqrt(3) * (1 - math.exp(-2 / 3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_law_is_at_distance_0_from_itself_and_dtypes_are_kept(dtype):
    p = mixture(0, 2).to(dtype)
    for value in (exact_energy_distance(p, p), exact_mmd2(p, p, 0.5)):
        assert value.dtype == dtype
        assert value.item() == pytest.approx(0, abs=1e-6)


def test_the_distance_in_the_plane_is_the_mean_of_slices_times_half_pi():
    p, q = mixture(3, 2), mixture(4, 2)
    angles = math.pi * torch.arange(400, dtype=torch.float64) / 400
    slices = [exact_energy_distance(project(p, u), project(q, u)) for u in torch.stack([angles.cos(), angles.sin()], 1)]
    assert math.pi / 2 * torch.stack(slices).mean().item() == pytest.approx(
        exact_energy_distance(p, q).item(), rel=1e-6
    )


def test_a_projection_has_the_law_of_projected_draws():
    p, direction = mixture(5, 3), torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    line, drawn = project(p, direction), p.sample(200_000, torch.Generator().manual_seed(0)) @ direction
    for moment in (1, 2):
        exact = line.weights @ (line.means[:, 0] if moment == 1 else line.means[:, 0] ** 2 + line.stds**2)
        powers = drawn**moment
        assert (powers.mean() - exact).abs() < 4 * powers.std() / math.sqrt(len(drawn))
