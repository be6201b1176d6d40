"""Following a moving mean against what is known exactly; regret against its definition."""

import pytest
import torch
from agree import seeded

from companion.foundations.linear import ridge
from companion.foundations.tracking import best_rate, regret, track, tracking_error, wandering_mean


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_predictions_are_fading_sums_of_what_came_before(dtype):
    y, a = torch.randn(3, 9, generator=seeded(), dtype=dtype), 0.3
    found = track(y, a, start=2.0)
    assert found.dtype == dtype
    for t in range(9):
        weights = a * (1 - a) ** torch.arange(t - 1, -1, -1, dtype=dtype)
        torch.testing.assert_close(found[:, t], y[:, :t] @ weights + 2 * (1 - a) ** t)


def test_rates_of_one_over_t_give_the_running_mean_which_is_least_squares():
    y = torch.randn(30, generator=seeded(), dtype=torch.float64)
    found = track(y, 1 / torch.arange(1, 31, dtype=torch.float64))
    fitted = ridge(torch.ones(29, 1, dtype=torch.float64), y[:29, None], 0.0)[0, 0]
    torch.testing.assert_close(found[29], fitted)


@pytest.mark.parametrize(("drift", "noise"), [(0.01, 1.0), (1.0, 6.0), (4.0, 0.5)])
def test_the_best_rate_is_the_gain_where_a_kalman_filter_settles(drift, noise):
    variance = 1.0
    for _ in range(2000):
        gain = variance / (variance + noise)
        variance = (1 - gain) * variance + drift
    assert best_rate(drift, noise) == pytest.approx(gain)
    assert tracking_error(gain, drift, noise) == pytest.approx(variance)
    for factor in (0.9, 1.1):
        assert tracking_error(min(1.0, factor * gain), drift, noise) > variance


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
def test_the_error_of_gradient_descent_is_the_exact_one(rate):
    mean, y = wandering_mean(2000, 0.2, 2.0, runs=50, generator=seeded(), dtype=torch.float64)
    found = (track(y, rate) - mean)[:, 200:].square().mean().item()
    assert found == pytest.approx(tracking_error(rate, 0.2, 2.0), rel=0.06)


def test_the_error_takes_a_tensor_of_rates():
    rates = torch.tensor([0.2, 0.7], dtype=torch.float64)
    expected = torch.tensor([tracking_error(0.2, 0.3), tracking_error(0.7, 0.3)], dtype=torch.float64)
    torch.testing.assert_close(tracking_error(rates, 0.3), expected)


def test_streams_start_at_zero_and_have_the_variances_they_say():
    mean, y = wandering_mean(500, 0.5, 2.0, runs=200, generator=seeded())
    assert bool((mean[:, 0] == 0).all())
    assert mean.diff(dim=1).var().item() == pytest.approx(0.5, rel=0.03)
    assert (y - mean).var().item() == pytest.approx(2.0, rel=0.03)
    still, _ = wandering_mean(5, 0.0, generator=seeded())
    assert bool((still == 0).all())


def test_regret_is_what_a_search_over_constants_finds():
    y, p = torch.randn(2, 4, 12, generator=seeded(), dtype=torch.float64)
    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)

    def least(rows):
        return (rows[..., None] - grid).square().sum(-2).amin(-1)

    suffered = (y - p).square().sum(-1)
    torch.testing.assert_close(regret(y, p), suffered - least(y), atol=1e-5, rtol=0)
    parts = least(y[:, :5]) + least(y[:, 5:])
    torch.testing.assert_close(regret(y, p, (5,)), suffered - parts, atol=1e-5, rtol=0)
    assert bool((regret(y, p, (5,)) >= regret(y, p)).all())


def test_static_regret_is_negative_for_who_moves_in_time():
    y = torch.cat([torch.full((5,), -1.0), torch.full((5,), 1.0)])
    assert regret(y, y).item() == -10
    assert regret(y, y, (5,)).item() == 0
