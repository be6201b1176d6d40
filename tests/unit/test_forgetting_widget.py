"""The live widget of fixed forgetting computes torch's numbers, and refuses what it cannot show."""

import math
from itertools import pairwise

import pytest
import torch
from agree import assert_agree, doubles

from companion.foundations.linear import ridge
from companion.teaching.widgets import live_forgetting
from companion.teaching.widgets.forgetting import GAMMAS, forgetting_path
from companion.teaching.widgets.recursive import bump_features

GENERATOR = torch.Generator().manual_seed(0)
STEPS = 40
X = torch.rand(STEPS, generator=GENERATOR, dtype=torch.float64)
Y = torch.sin(7 * X) + 0.3 * torch.randn(STEPS, generator=GENERATOR, dtype=torch.float64)
GRID = torch.linspace(0, 1, 31, dtype=torch.float64)
TRUTH = torch.sin(7 * GRID)
DRIFT = torch.sin(7 * GRID + torch.linspace(0, 2, STEPS, dtype=torch.float64)[:, None])


def forgetting(x=X, y=Y, truth=TRUTH, **words):
    return live_forgetting(x, y, truth, **{"title": "t", "alt": "a", **words})


# --- what it carries --------------------------------------------------------------------------------------------------


def test_the_widget_carries_its_stream_in_double_precision_and_its_settings():
    widget = forgetting(
        truth=DRIFT, note="n", bumps=7, gamma=0.9, gammas=(0, 0.9, 1), weight_variance=2, noise_variance=0.3, step=5
    )
    assert (widget.kind, widget.title, widget.alt, widget.note) == ("forgetting", "t", "a", "n")
    for packed, values in ((widget.x, X), (widget.y, Y), (widget.truth, DRIFT)):
        assert torch.equal(doubles(packed), values.flatten())
    assert (widget.steps, widget.grid, widget.step) == (STEPS, 31, 5)
    assert (widget.interval, widget.bumps, widget.width) == ([0.0, 1.0], 7, 1 / 6)
    assert (widget.gammas, widget.gammas_index) == ([0.0, 0.9, 1.0], 1)
    assert (widget.weight_variance, widget.noise_variance) == (2.0, 0.3)


def test_it_starts_after_the_last_point_unless_told_and_its_choices_go_up_to_one():
    widget = forgetting()
    assert widget.step == STEPS
    assert widget.gammas == list(GAMMAS)
    assert widget.gammas[widget.gammas_index] == 0.999
    assert widget.gammas[-1] == 1, "no forgetting"
    ratios = [(1 - one) / (1 - other) for one, other in pairwise(GAMMAS[:-1])]
    assert all(2 <= round(ratio, 6) <= 2.5 for ratio in ratios), "even in log(1 - gamma)"


def test_a_stream_of_float32_is_that_of_the_same_numbers_and_an_interval_scales_the_bumps():
    widget = forgetting(X.float(), Y.float(), TRUTH.float(), interval=(-1, 2), bumps=4)
    assert torch.equal(doubles(widget.x), X.float().double())
    assert (widget.interval, widget.width) == ([-1.0, 2.0], 1.0)
    assert forgetting(width=0.2).width == 0.2


# --- the filter that it compares with ---------------------------------------------------------------------------------


def path(gamma, features=None, weight_variance=0.5, noise_variance=0.09):
    features = bump_features(X, bumps=16) if features is None else features
    return forgetting_path(features, Y, gamma=gamma, weight_variance=weight_variance, noise_variance=noise_variance)


def test_without_forgetting_the_mean_is_ridge_regression_of_all_points_so_far():
    features = bump_features(X, bumps=16)
    means, covariances, _ = path(1.0)
    for step in (1, 17, STEPS):
        rows = features[:step]
        expected = ridge(rows, Y[:step, None], 0.09 / 0.5)[:, 0]
        torch.testing.assert_close(means[step], expected, rtol=1e-9, atol=1e-9)
        information = rows.T @ rows / 0.09 + torch.eye(17, dtype=torch.float64) / 0.5
        torch.testing.assert_close(covariances[step] @ information, torch.eye(17, dtype=torch.float64))


def test_without_forgetting_the_log_densities_add_up_to_the_evidence_of_all_points():
    features = bump_features(X, bumps=16)
    covariance = 0.5 * features @ features.T + 0.09 * torch.eye(STEPS, dtype=torch.float64)
    evidence = torch.distributions.MultivariateNormal(torch.zeros(STEPS, dtype=torch.float64), covariance).log_prob(Y)
    assert path(1.0)[2].sum().item() == pytest.approx(evidence.item(), abs=1e-9)


def test_with_nothing_kept_each_point_meets_the_prior():
    features = bump_features(X, bumps=16)
    means, _, logs = path(0.0)
    variance = 0.5 * features.square().sum(1) + 0.09
    torch.testing.assert_close(logs, -0.5 * (Y**2 / variance + (2 * math.pi * variance).log()))
    torch.testing.assert_close(means[1:], 0.5 * features * (Y / variance)[:, None])


def test_a_smaller_gamma_is_less_sure_everywhere_and_never_surer_than_the_prior_allows():
    on_grid = bump_features(GRID, bumps=16)
    spreads = [torch.einsum("gp,spq,gq->sg", on_grid, path(gamma)[1], on_grid) for gamma in (0.5, 0.9, 0.99, 1.0)]
    for wide, narrow in pairwise(spreads):
        assert (wide[2:] > narrow[2:]).all()
    prior = 0.5 * on_grid.square().sum(1)
    assert (spreads[0] <= prior + 1e-12).all()
    torch.testing.assert_close(spreads[0][0], prior)


# --- the browser's numbers are torch's --------------------------------------------------------------------------------

PATHS = """
const stream = { features: floats(given.features), y: floats(given.y), onGrid: floats(given.grid) };
return given.all.map((words) => f.forgettingPath(stream, words));
"""


@pytest.mark.parametrize("bumps", [3, 16, 32])
@pytest.mark.parametrize(("weight_variance", "noise_variance"), [(0.5, 0.09), (10, 1e-4), (0.01, 3)])
def test_the_filter_agrees_from_nothing_to_everything_kept(front, bumps, weight_variance, noise_variance):
    features, on_grid = bump_features(X, bumps=bumps), bump_features(GRID, bumps=bumps)
    gammas = (0.0, 0.5, 0.98, 0.9999, 1.0)
    shared = {"weightVariance": weight_variance, "noiseVariance": noise_variance}
    words = [{"gamma": gamma, **shared} for gamma in gammas]
    got = front(PATHS, features=features.flatten(), y=Y, grid=on_grid.flatten(), all=words)
    for gamma, own in zip(gammas, got):
        means, covariances, logs = path(gamma, features, weight_variance, noise_variance)
        assert_agree(own["weights"], means)
        assert_agree(own["means"], means @ on_grid.T)
        assert_agree(own["variances"], torch.einsum("gp,spq,gq->sg", on_grid, covariances, on_grid))
        torch.testing.assert_close(torch.tensor(own["logs"], dtype=torch.float64), logs, rtol=1e-8, atol=1e-8)


def test_without_a_grid_the_log_densities_are_the_same(front):
    features = bump_features(X, bumps=16)
    words = [{"gamma": 0.99, "weightVariance": 0.5, "noiseVariance": 0.09}]
    (got,) = front(PATHS, features=features.flatten(), y=Y, grid=[], all=words)
    assert_agree(got["logs"], path(0.99)[2])
    assert got["means"] == []


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"x": X[:, None]}, r"x is of shape \(40, 1\), but must be of shape \(steps,\) with 2 to 400 steps"),
        ({"x": X[:1], "y": Y[:1]}, r"x is of shape \(1,\), but must be"),
        ({"x": X.repeat(11), "y": Y.repeat(11)}, r"x is of shape \(440,\), but must be"),
        ({"y": Y[:-1]}, r"y is of shape \(39,\), but must be of shape \(40,\) like x"),
        ({"y": Y / 0}, "y is not finite in some place, but must be finite numbers"),
        ({"truth": DRIFT[:5]}, r"truth is of shape \(5, 31\), but must be of shape \(grid,\) or \(40, grid\)"),
        ({"truth": TRUTH[:1]}, r"truth is of shape \(1,\), but must be"),
        ({"truth": torch.zeros(202)}, r"truth is of shape \(202,\), but must be .* with a grid of 2 to 201"),
        ({"interval": (0, 0.5)}, "x is outside the interval in some place, but must be from 0 to 0.5"),
        ({"interval": (1, 0)}, r"interval is \(1, 0\), but must be a pair \(low, high\) that rises"),
        ({"bumps": 1}, "bumps is 1, but must be at least 2"),
        ({"bumps": 33}, "bumps is 33, but must be at most 32"),
        ({"width": 0}, r"width is 0, but must be a number in \(0, inf\)"),
        ({"gamma": 0.97}, r"gamma is 0.97, but must be one of \(0.5, "),
        ({"gammas": (0.999,)}, "gammas is 1 numbers, but must be 2 to 25"),
        ({"gammas": (0.9, 0.999, 1.1)}, r"each of gammas is 1.1, but must be a number in \[0, 1\]"),
        ({"gammas": (0.999, 0.9)}, r"gammas is \(0.999, 0.9\), but must be numbers that rise"),
        ({"weight_variance": 0}, r"weight_variance is 0, but must be a number in \(0, 1e4\]"),
        ({"noise_variance": 0}, r"noise_variance is 0, but must be a number in \[1e-4, inf\)"),
        ({"step": -1}, "step is -1, but must be at least 0"),
        ({"step": 41}, "step is 41, but must be at most 40, the points of the stream"),
        ({"title": ""}, "title is empty"),
        ({"alt": " "}, "alt is empty"),
    ],
)
def test_the_widget_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        forgetting(**words)


def test_the_largest_stream_is_not_too_large_to_carry():
    assert forgetting(X.repeat(10), Y.repeat(10), torch.zeros(400, 201)).steps == 400
