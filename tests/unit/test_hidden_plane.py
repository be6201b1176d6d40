"""The hidden plane: the rotation hides eight Gaussians exactly, and `plane` finds them again."""

import dataclasses

import pytest
import torch
from agree import seeded
from scipy.stats import kstest

from companion.data.hidden_plane import RADIUS, HiddenPlane
from companion.data.toy import eight_gaussians
from companion.foundations.distances import energy_distance, noise_floor
from companion.foundations.training import Law, draw_batch

CHANCE = 1e-3


@pytest.mark.parametrize("dimension", [3, 7, 64])
def test_the_rotation_is_orthogonal_and_its_seed_alone_says_which(dimension):
    rotation = HiddenPlane(dimension).rotation
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(dimension), rtol=0, atol=1e-5)
    torch.rand(5)
    assert torch.equal(HiddenPlane(dimension, std=0.3).rotation, rotation)
    other = HiddenPlane(dimension, seed=1).rotation
    assert (other[:2] - rotation[:2]).abs().max() > 0.1
    assert (rotation[:2].abs() > 1e-4).all(), "the plane lies along no axis"


@pytest.mark.parametrize("dimension", [3, 64])
def test_the_plane_of_a_sample_is_a_sample_of_eight_gaussians_and_the_rest_is_plain_noise(dimension):
    law, n = HiddenPlane(dimension, seed=2, std=0.2), 3000
    points = law.sample(n, seeded())
    assert points.shape == (n, dimension)
    torch.testing.assert_close(law.plane(points), eight_gaussians(RADIUS, 0.2).sample(n, seeded()), rtol=0, atol=1e-5)
    outside = points @ law.rotation[2:].T
    assert outside.shape == (n, dimension - 2)
    for column in outside.T[:3]:
        assert kstest(column.numpy(), "norm").pvalue > CHANCE
    if dimension > 3:
        covariance = torch.cov(outside.T)
        torch.testing.assert_close(covariance, torch.eye(dimension - 2), rtol=0, atol=5 / n**0.5 * 1.5)


def test_a_coordinate_of_the_plane_has_a_standard_deviation_of_about_1_4():
    law = HiddenPlane(5)
    stds = law.plane(law.sample(20_000, seeded())).std(0)
    torch.testing.assert_close(stds, torch.full((2,), (RADIUS**2 / 2 + law.std**2) ** 0.5), rtol=0.02, atol=0)


def test_plane_coordinates_keep_the_precision_of_the_points_and_only_measure():
    law = HiddenPlane(6)
    points = law.sample(4, seeded()).double()
    flat = law.plane(points)
    assert flat.dtype == torch.float64
    back = flat @ law.rotation[:2].double()
    torch.testing.assert_close(law.plane(points - back), torch.zeros(4, 2).double(), rtol=0, atol=1e-5)


def test_samples_repeat_with_their_generator_and_draw_from_no_other():
    law, before = HiddenPlane(8), torch.random.get_rng_state()
    first, generator = law.sample(10, seeded()), seeded()
    assert torch.equal(first, law.sample(10, generator))
    assert not torch.equal(first, law.sample(10, generator))
    assert torch.equal(before, torch.random.get_rng_state())


def test_it_is_a_law_that_training_can_draw_from_and_that_cannot_be_changed():
    law = HiddenPlane(4)
    assert isinstance(law, Law)
    assert torch.equal(draw_batch(law, 5, seeded()), law.sample(5, seeded()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        law.dimension = 5


def test_two_samples_are_as_near_as_noise_and_plain_noise_is_not():
    law, generator = HiddenPlane(64), seeded()
    floor = noise_floor(lambda: law.plane(law.sample(500, generator)))
    same = energy_distance(law.plane(law.sample(500, generator)), law.plane(law.sample(500, generator)))
    noise = energy_distance(law.plane(torch.randn(500, 64, generator=generator)), law.plane(law.sample(500, generator)))
    assert same.abs() < 4 * floor
    assert noise > 20 * floor
