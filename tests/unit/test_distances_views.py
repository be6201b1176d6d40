"""What foundation f1 shows: its estimates agree with exact values, its figures say what to look for."""

import math

import pytest
import torch
from agree import seeded

from companion.foundations.distances import energy_distance, mmd2, noise_floor, rbf
from companion.foundations.exact_distances import exact_energy_distance, exact_mmd2
from companion.foundations.mixtures import GaussianMixture
from companion.methods.distributional import expected_score
from companion.teaching.lessons import distances_views as views


def test_turned_modes_have_equal_means_and_covariances_and_are_another_law():
    law, turned = views.modes(4), views.modes(4, 45)
    torch.testing.assert_close(law.means.T @ law.means, turned.means.T @ turned.means)
    torch.testing.assert_close(law.means.mean(0), turned.means.mean(0), atol=1e-6, rtol=0)
    assert exact_energy_distance(law, turned) > 0.1
    assert exact_energy_distance(law, views.modes(4, 90)).item() == pytest.approx(0, abs=1e-6)


def test_all_distances_are_of_the_same_clouds():
    law = views.modes(2)
    twice = views.repeat(law, law, 10, 4, [energy_distance, energy_distance], seeded())
    assert twice.shape == (2, 4)
    assert torch.equal(*twice)
    assert twice[0].std() > 0


def test_a_floor_is_the_noise_floor_of_its_bandwidth():
    law = views.modes(4)
    floors = views.mmd_floors(law, 20, (0.5, 2.0), 10, seeded())
    generator = seeded()
    expected = noise_floor(lambda: law.sample(20, generator), lambda x, y: mmd2(x, y, rbf(2.0)), 10).item()
    assert floors[2.0] == pytest.approx(expected)
    seen = views.in_floors(law, views.modes(4, 45), floors)
    assert seen[0.5] == pytest.approx(exact_mmd2(law, views.modes(4, 45), 0.5).item() / floors[0.5])


@pytest.mark.parametrize("spread", [0.3, 1.0, 1.7])
def test_the_regret_of_the_energy_score_is_half_the_energy_distance(spread):
    centre = torch.zeros(1, 2, dtype=torch.float64)
    forecast, truth = (GaussianMixture(centre, torch.tensor([s], dtype=torch.float64)) for s in (spread, 1.0))
    score, honest = expected_score(torch.tensor([spread, 1.0], dtype=torch.float64))
    assert (score - honest).item() == pytest.approx(exact_energy_distance(forecast, truth).item() / 2, abs=1e-12)


def test_a_shift_sinks_to_the_floor_as_dimensions_are_added():
    first, last = views.floors_by_dimension((1, 256), 30, 20, seeded())
    assert first > 3 * last


def test_figures_say_what_to_look_for():
    law, turned = views.modes(2), views.modes(2, 90)
    angles = torch.linspace(0, math.pi, 5)
    drawn = [
        views.bias_figure({4: torch.randn(2, 9), 8: torch.randn(2, 9)}, 1.0),
        views.floor_figure(law, turned, {5: 0.2, 10: 0.1}, 4, seeded()),
        views.bandwidth_figure(law, turned, 0.5, {0.1: 1.0, 0.5: 1.0}, 20, seeded()),
        views.scores_figure(20, seeded()),
        views.slices_figure(angles, angles.sin(), law, turned),
        views.dimensions_figure((1, 4), (5.0, 2.0)),
    ]
    assert len({figure.alt for figure in drawn} - {"Figure"}) == len(drawn)
