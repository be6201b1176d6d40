"""The views of foundation lesson f2: what they draw is what the formulas say."""

import pytest
import torch

from companion.data.toy import eight_gaussians
from companion.foundations.diffusion import time_grid
from companion.foundations.one_gaussian import leaky_mean, sampled_moments
from companion.teaching.lessons import diffusion_views as views
from companion.teaching.session import Session

session = Session("lesson", 0, torch.device("cpu"))


@pytest.mark.parametrize(("start", "churn"), [(0.7, 0.0), (0.7, 1.0), (1.0, 0.0)])
def test_leaky_samples_have_the_mean_of_the_formula(start, churn):
    one, _ = views.off_centre()
    samples = views.leaky_samples(one, start, churn, session.generator(), 8000)
    for found, mean in zip(samples.mean(0).tolist(), one.means[0].tolist()):
        assert abs(found - leaky_mean(mean, one.stds[0].item(), start, churn)) < 0.03


@pytest.mark.parametrize("churn", [0.0, 1.0])
def test_leaky_samples_have_the_width_that_pure_noise_of_the_last_level_ends_with(churn):
    one, _ = views.off_centre()
    samples = views.leaky_samples(one, 0.7, churn, session.generator(), 8000)
    wanted = sampled_moments(time_grid(100, start=0.7), 0.0, one.stds[0].item(), churn).std
    torch.testing.assert_close(samples.std(0), torch.full((2,), wanted), rtol=0.03, atol=0)


def test_both_laws_of_the_leak_have_one_mean():
    one, ring = views.off_centre()
    torch.testing.assert_close(ring.weights @ ring.means, one.means[0])


def test_noise_is_like_its_points():
    x = torch.zeros(5, 3, dtype=torch.float64)
    noise = views.noise_like(x, session.generator())
    assert (noise.shape, noise.dtype) == (x.shape, x.dtype)


def test_every_figure_draws_and_says_what_to_look_for():
    law, generator = eight_gaussians(), session.generator()
    drawn = [
        views.fields_figure(law, (0.1, 0.9), generator),
        views.width_figure(2.0, session.generator, points=200),
        views.copies_figure(law, generator, examples=5, points=20),
    ]
    assert all(len(figure.alt) > 40 for figure in drawn)
    assert len(views.walks_figure(law, 3, 0.5, session.generator, points=20).axes) == 2
    assert len(views.leak_figure(0.7, 1.0, session.generator, points=20).axes) == 2
