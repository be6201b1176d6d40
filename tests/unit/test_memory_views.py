"""Foundation f4: filters that forget in three ways, against exact answers."""

import pytest
import torch

from companion.foundations.linear import ridge
from companion.teaching.lessons import memory_views as views


def stream(rows=60, silence=(20, 50), columns=6):
    return views.wandering_stream(rows, columns, torch.Generator().manual_seed(0), silence)


def test_true_weights_keep_their_variance_and_half_of_them_live_far_away():
    made = views.wandering_stream(200, 2000, torch.Generator().manual_seed(0))
    near, far = made.weights.chunk(2, dim=2)
    for part, centre in ((near, 0.0), (far, views.AWAY)):
        assert part[-1].mean().item() == pytest.approx(centre, abs=0.1)
        assert part[-1].var().item() == pytest.approx(1, abs=0.15)
    kept = (near[-1] * near[-1 - views.WANDERING]).mean().item()
    assert kept == pytest.approx((1 - 1 / views.WANDERING) ** (views.WANDERING / 2), abs=0.1)


def test_the_second_feature_is_silent_where_it_should_be():
    features = stream().features
    assert (features[20:50, 1] == 0).all()
    assert (features[:20, 1] != 0).all()
    assert (features[50:, 1] != 0).all()


def test_exponential_forgetting_is_ridge_on_rows_that_fade():
    made = stream()
    mean = views.follow(made, "exponential", 10).means[-1]
    root = 0.9 ** (torch.arange(59, -1, -1, dtype=torch.float64)[:, None] / 2)
    expected = ridge(root * made.features, root * made.targets, views.NOISE * 0.9**60)
    assert torch.allclose(mean, expected, atol=1e-9)


def test_in_silence_each_way_moves_the_variance_as_its_formula_says():
    made, kept, steps = stream(), 0.9, 30
    for way in views.WAYS:
        variances = views.follow(made, way, 10).covariances[:, 1, 1]
        before, after = variances[19].item(), variances[49].item()
        if way == "OU drift":  # what correlation with the first weight takes away is little
            assert after == pytest.approx(1 - kept**steps * (1 - before), rel=0.02)
            assert after < 1
        elif way == "exponential":
            assert after == pytest.approx(before / kept**steps, rel=0.2)
        else:
            assert 1 / after == pytest.approx(1 + kept**steps * (1 / before - 1), rel=0.2)
            assert after < 1


def test_the_drift_goes_home_and_the_others_stay():
    made = stream()
    for way, factor in (("exponential", 1.0), ("with a leak", 1.0), ("OU drift", 0.9**15)):
        means = views.follow(made, way, 10).means[:, 1]
        assert (means[49] - factor * means[19]).abs().max() < 0.35 * means[19].abs().max() + 0.1


def test_errors_are_those_of_the_means():
    made = stream()
    track = views.Track(made.weights + 0.5, torch.eye(2, dtype=torch.float64).expand(60, 2, 2))
    assert views.tracking_error(made, track) == pytest.approx((0.5, 0.5))
    assert views.doubt_and_error(made, track) == pytest.approx((1.0, 0.25))


def test_figures_are_described():
    made = stream()
    tracks = {way: views.follow(made, way, 8) for way in views.WAYS}
    errors = {"a world": {way: {4: 1.0, 8: 2.0} for way in views.WAYS}}
    variance = torch.linspace(0.1, 1, 5)
    pictures = [
        views.posterior_figure(made.features, made.targets[:, :1], made.weights[0, :, 0]),
        views.added_figure(variance, dict.fromkeys(views.WAYS, variance)),
        views.ellipses_figure(made, tracks),
        views.tracking_figure(errors),
    ]
    assert all(len(picture.alt) > 40 for picture in pictures)
    assert len(views.silence_figure(made, tracks["OU drift"], "OU drift").axes) == 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: stream(rows=0, silence=(0, 0)), "rows is 0"),
        (lambda: stream(columns=3), "columns is 3"),
        (lambda: stream(silence=(30, 70)), "silence is"),
        (lambda: views.follow(stream(), "by heart", 10), "way is 'by heart'"),
        (lambda: views.follow(stream(), "OU drift", 1), "memory is 1"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
