"""What the sampler makes of one Gaussian, in closed form, against the rules on paper and against the sampler."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from companion.foundations.diffusion import sample, time_grid
from companion.foundations.mixtures import GaussianMixture
from companion.foundations.one_gaussian import angle, equal_angles, leaky_mean, sampled_moments
from tests.unit.agree import seeded

widths = st.floats(0.1, 10)


@given(steps=st.integers(1, 12), std=widths)
def test_at_churn_zero_each_step_multiplies_the_width_by_the_cosine_of_its_angle(steps, std):
    times = time_grid(steps)
    turns = angle(times, std)
    expected = (turns[:-1] - turns[1:]).cos().prod().item()
    assert sampled_moments(times, 0.0, std).std / std == pytest.approx(expected, abs=1e-9)


@given(steps=st.integers(1, 12), std=widths)
def test_equal_angles_are_equal_and_the_best_grid(steps, std):
    times = equal_angles(steps, std)
    turns = angle(times, std)
    torch.testing.assert_close(turns[:-1] - turns[1:], torch.full((steps,), math.pi / 2 / steps).double())
    best = sampled_moments(times, 0.0, std).std
    assert best / std == pytest.approx(math.cos(math.pi / 2 / steps) ** steps, abs=1e-9)
    assert best >= sampled_moments(time_grid(steps), 0.0, std).std - 1e-9


def test_for_unit_width_equal_angles_are_the_cosine_schedule():
    times = equal_angles(6)
    scale = ((1 - times) ** 2 + times**2).sqrt()
    expected = torch.linspace(math.pi / 2, 0, 7, dtype=torch.float64).cos()
    torch.testing.assert_close((1 - times) / scale, expected)


@pytest.mark.parametrize("churn", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("start", [0.7, 1.0])
def test_the_moments_are_those_of_the_sampler(start, churn):
    law = GaussianMixture(torch.tensor([[2.0]]).double(), torch.tensor([1.5]).double())
    generator, n, times = seeded(), 40_000, time_grid(5, start=start)
    noise = start * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    *_, ends = sample(law.denoise, noise, times, churn, generator)
    moments = sampled_moments(times, 2.0, 1.5, churn)
    assert abs(ends.mean().item() - moments.mean) < 5 * moments.std / n**0.5
    assert ends.std().item() == pytest.approx(moments.std, rel=0.02)


@given(std=widths, start=st.floats(0.3, 0.99), churn=st.floats(0, 1))
def test_with_ever_smaller_steps_a_leak_moves_the_mean_to_the_formula(std, start, churn):
    exact = leaky_mean(1.0, std, start, churn)
    coarse, fine = (abs(sampled_moments(time_grid(k, start=start), 1.0, std, churn).mean - exact) for k in (100, 400))
    assert fine < 0.02
    assert fine <= coarse / 2 + 1e-6


@pytest.mark.parametrize("churn", [0.0, 0.5, 1.0])
def test_no_leak_no_shift(churn):
    assert leaky_mean(3.0, 2.0, 1.0, churn) == pytest.approx(3.0)
    assert sampled_moments(time_grid(3), 3.0, 2.0, churn).mean == pytest.approx(3.0)


def test_at_churn_one_a_leak_leaves_the_average_posterior_mean():
    law = GaussianMixture(torch.tensor([[3.0]]).double(), torch.tensor([2.0]).double())
    start = torch.zeros(1, 1).double()  # the posterior mean is linear, so the average over noise is its value at 0
    assert leaky_mean(3.0, 2.0, 0.8, 1.0) == pytest.approx(law.denoise(start, 0.8).item())
