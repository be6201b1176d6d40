"""What foundation f3 works out on a line and in the plane, against exact answers."""

import pytest
import torch

from companion.data.labelled import four_classes
from companion.foundations.conditional import LabelledMixture
from companion.teaching.lessons import exact_guidance_views as views
from companion.teaching.session import Session

LINE = views.line_law()
SESSION = Session("smoke", 0, torch.device("cpu"))


def moments(density):
    mean = torch.trapezoid(views.GRID * density, views.GRID)
    return mean.item(), torch.trapezoid((views.GRID - mean).square() * density, views.GRID).item()


def one_gaussian_each(std_c=0.5, std_u=1.0):
    """A class N(1, std_c^2) whose data are, but for a sliver, N(0, std_u^2): Gaussian powers are known."""
    means, stds = torch.tensor([[0.0], [1.0]]).double(), torch.tensor([std_u, std_c]).double()
    return LabelledMixture(means, stds, torch.tensor([0, 1]), torch.tensor([1.0, 1e-12]).double())


def test_without_a_weight_the_sharpened_density_is_the_class():
    expected = LINE.given(1).log_prob(views.GRID[:, None]).exp()
    torch.testing.assert_close(views.sharpened(LINE, 0), expected, atol=1e-9, rtol=0)


def test_at_weight_minus_one_it_is_all_data():
    expected = LINE.log_prob(views.GRID[:, None], 0.3).exp()
    torch.testing.assert_close(views.sharpened(LINE, -1, 0.3), expected, atol=1e-9, rtol=0)


def test_powers_of_gaussians_add_precisions():
    precision = 2 / 0.25 - 1
    mean, variance = moments(views.sharpened(one_gaussian_each(), 1.0))
    assert (mean, variance) == pytest.approx((8 / precision, 1 / precision), abs=1e-4)


@pytest.mark.parametrize("t", [0, 0.02, 0.5, 1])
def test_noising_a_class_gives_its_noised_density(t):
    expected = LINE.given(1).log_prob(views.GRID[:, None], t).exp()
    torch.testing.assert_close(views.noised(views.sharpened(LINE, 0), t), expected, atol=1e-4, rtol=0)


def test_the_two_orders_agree_at_both_ends_and_nowhere_between():
    apart = [
        views.total_variation(views.noised(views.sharpened(LINE, 1), t), views.sharpened(LINE, 1, t))
        for t in (0, 0.3, 0.6, 1)
    ]
    assert max(apart[0], apart[3]) < 1e-4
    assert min(apart[1:3]) > 0.04


def test_the_law_of_the_noise_itself_is_normal():
    expected = (-views.GRID.square() / 2).exp()
    assert views.total_variation(views.density_at(views.NOISE), views.normalised(expected)) < 1e-3


def test_a_stretch_and_a_shift_of_the_noise_are_read_off_exactly():
    assert moments(views.density_at(0.5 + 0.7 * views.NOISE)) == pytest.approx((0.5, 0.49), abs=1e-3)


def test_the_sampler_is_right_without_a_weight_and_astray_with_one_but_the_right_score_arrives():
    def astray(walk, weight):
        return views.total_variation(views.density_at(walk(LINE, weight)[-1]), views.sharpened(LINE, weight))

    assert astray(views.guided_walk, 0) < 0.02
    assert astray(views.guided_walk, 1) > 0.25
    assert astray(views.right_walk, 1) < 0.02


def test_total_variation_of_densities_far_apart_is_one():
    near, far = (views.normalised((-((views.GRID - centre) ** 2) / 0.02).exp()) for centre in (-3, 3))
    assert views.total_variation(near, far) == pytest.approx(1)
    assert views.total_variation(near, near) == 0


def test_spread_of_a_standard_gaussian():
    points = torch.randn(1500, 2, generator=torch.Generator().manual_seed(0))
    assert views.spread(points) == pytest.approx(torch.pi**0.5, rel=0.05)


def test_figures_say_what_to_look_for():
    law, weights = four_classes(0.8, 0.3), (0, 2)
    rows = views.what_happens(law, weights, SESSION, count=200)
    assert rows["guided"]["out"][1] > rows["sharpened"]["out"][1]
    assert rows["guided"]["spread"][1] < rows["sharpened"]["spread"][1]
    for figure in (views.bayes_figure(law, 0, 0.4), views.what_happens_figure(weights, rows)):
        assert len(figure.alt) > 40
    assert len(views.beside_figure(law, views.tilts(law, 60), 1.0, SESSION).axes) == 2
    walk = views.guided_walk(LINE, 1.0, steps=10)
    assert "t = 0.5" in views.midway_figure(LINE, walk, 1.0, 0.5).axes[0].get_title()


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: views.line_law(-1), "distance is -1, but must be a number in"),
        (lambda: views.line_law(std=0.0), "std is 0.0, but must be a number in"),
        (lambda: views.sharpened(four_classes(), 1), "law is of 2 dimension"),
        (lambda: views.sharpened(LINE, -2), "weight is -2, but must be"),
        (lambda: views.noised(views.sharpened(LINE, 0), 0.001), "t is 0.001, but must be 0, or at least 0.01"),
        (lambda: views.right_walk(LINE, 1.0, 200), "steps is 200, but must be at most 100"),
        (lambda: views.density_at(-views.NOISE), "state is falling somewhere"),
        (lambda: views.midway_figure(LINE, [views.NOISE] * 11, 1.0, 0.33), "t is 0.33, but must be a whole number"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(ask, words):
    with pytest.raises(ValueError, match=words):
        ask()
