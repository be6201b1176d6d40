"""The bridge keeps every marginal, and the sampler is exact where the theory says that it is."""

from itertools import pairwise

import pytest
import torch
from agree import seeded
from hypothesis import assume, given
from hypothesis import strategies as st

from companion.data.toy import eight_gaussians, two_gaussians
from companion.foundations.diffusion import (
    add_noise,
    alpha,
    as_times,
    bridge,
    bridge_weights,
    sample,
    sigma,
    time_grid,
)
from companion.foundations.distances import energy_distance, noise_floor

churns = st.floats(0.0, 1.0)
times = st.floats(0.0, 1.0)


def coefficients(step, t: float, s: float, churn: float) -> tuple[float, float, float]:
    """Weights of x_t and x0 in the mean of a bridge, and its variance, read off basis vectors."""
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    noisy, std = step(one, zero, t, s, churn)
    clean, _ = step(zero, one, t, s, churn)
    return noisy.item(), clean.item(), (std**2).item()


def keeps_the_marginal(step, t: float, s: float, churn: float) -> bool:
    """If x_t = alpha_t x0 + sigma_t noise then x_s must be alpha_s x0 with variance sigma_s^2 around it."""
    noisy, clean, variance = coefficients(step, t, s, churn)
    mean_kept = abs(noisy * (1 - t) + clean - (1 - s)) < 1e-9
    variance_kept = abs(noisy**2 * t**2 + variance - s**2) < 1e-9
    return mean_kept and variance_kept


def test_the_schedule_runs_from_data_to_noise():
    t = torch.tensor([0.0, 0.25, 1.0])
    assert alpha(t).tolist() == [1.0, 0.75, 0.0]
    assert sigma(t).tolist() == [0.0, 0.25, 1.0]


@given(steps=st.integers(1, 50))
def test_a_time_grid_falls_in_equal_steps_from_one_to_zero(steps):
    times = time_grid(steps)
    assert len(times) == steps + 1
    assert (times[0], times[-1]) == (1, 0)
    torch.testing.assert_close(times.diff(), torch.full((steps,), -1 / steps, dtype=torch.float64))
    assert time_grid(2, 0.8, 0.2).tolist() == pytest.approx([0.8, 0.5, 0.2])


@pytest.mark.parametrize(
    "row",
    [(1.0, 0.5, 0.25), [0.75, 0.0], time_grid(7).numpy(), time_grid(7), torch.tensor([0.5, 0.125])],
    ids=["tuple", "list", "array", "grid", "tensor"],
)
def test_a_samplers_times_may_come_as_any_row_and_keep_their_values(row):
    came = as_times(row)
    assert came.tolist() == [float(value) for value in row]
    if torch.is_tensor(row):
        assert came is row


@given(rows=st.lists(st.floats(0, 1, width=32), min_size=2, max_size=6, unique=True))
def test_a_samplers_times_are_taken_falling_and_in_no_other_order(rows):
    falling = sorted(rows, reverse=True)
    assert as_times(falling).tolist() == falling
    for wrong in (sorted(rows), [falling[0], *falling], [1.5, *falling], [*falling, -0.1]):
        with pytest.raises(ValueError, match="^times is .* strictly falling within"):
            as_times(wrong)


@given(t=times)
def test_noising_mixes_data_and_noise_row_by_row(t):
    x0, noise = torch.full((3, 2), 2.0), torch.full((3, 2), -1.0)
    assert add_noise(x0, t, noise).flatten().tolist() == pytest.approx([2 * (1 - t) - t] * 6, abs=1e-6)
    each = add_noise(x0, torch.tensor([0.0, t, 1.0]), noise)
    torch.testing.assert_close(each[0], x0[0])
    torch.testing.assert_close(each[1], add_noise(x0, t, noise)[1])
    torch.testing.assert_close(each[2], noise[2])


@given(t=times, s=times, churn=churns)
def test_the_bridge_keeps_every_marginal_for_every_churn(t, s, churn):
    assume(s < t)
    assume(t > 1e-3)
    assert keeps_the_marginal(bridge, t, s, churn)


def rows_of_times(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Times t and s < t, rows of 20, among them the whole way from noise to data."""
    pairs = torch.rand(2, 20, generator=seeded(seed), dtype=torch.float64).sort(0, descending=True).values
    pairs[:, 0] = torch.tensor([1.0, 0.0])
    return pairs[0], pairs[1]


@given(churn=churns, seed=st.integers(0, 99))
def test_the_bridges_weights_take_a_noised_point_to_a_noised_point(churn, seed):
    """With x_t = alpha_t x0 + sigma_t noise, x_s must be alpha_s x0 plus Gaussian noise of variance sigma_s^2."""
    t, s = rows_of_times(seed)
    noisy, clean, std = bridge_weights(t, s, churn)
    torch.testing.assert_close(noisy * alpha(t) + clean, alpha(s))
    torch.testing.assert_close(noisy**2 * sigma(t) ** 2 + std**2, sigma(s) ** 2)


def test_churn_enters_the_bridges_weights_squared():
    """By hand, from pure noise at t = 1 to s = 1/2 with churn 1/2: three quarters of the old noise stay in place."""
    noisy, clean, std = bridge_weights(torch.tensor(1.0).double(), torch.tensor(0.5).double(), 0.5)
    assert noisy.item() == pytest.approx(0.5 * 0.75)
    assert clean.item() == pytest.approx(0.5)
    assert std.item() == pytest.approx(0.5 * (1 - 0.75**2) ** 0.5)


def test_points_noised_to_a_time_and_carried_over_the_bridge_have_the_law_noised_to_the_next():
    law, n, t, s = eight_gaussians(), 1000, 0.8, 0.3
    generator = seeded()

    def noised(time):
        clean = law.sample(n, generator)
        return clean, add_noise(clean, time, torch.randn(n, 2, generator=generator))

    x0, x_t = noised(t)
    floor = noise_floor(lambda: noised(s)[1], repeats=10)
    for churn in (0.0, 0.6, 1.0):
        noisy, clean, std = bridge_weights(torch.tensor(t), torch.tensor(s), churn)
        x_s = noisy * x_t + clean * x0 + std * torch.randn(n, 2, generator=generator)
        assert energy_distance(x_s, noised(s)[1]) < 4 * floor
        assert energy_distance(noisy * x_t + x0, noised(s)[1]) > 10 * floor  # a wrong weight is noticed


@given(churn=churns, seed=st.integers(0, 99))
def test_the_bridge_is_its_weights_applied(churn, seed):
    t, s = rows_of_times(seed)
    x_t, x0 = torch.randn(2, 20, 3, 2, generator=seeded(seed), dtype=torch.float64)
    mean, std = bridge(x_t, x0, t, s, churn)
    noisy, clean, weight_of_noise = bridge_weights(t, s, churn)
    torch.testing.assert_close(mean, noisy[:, None, None] * x_t + clean[:, None, None] * x0)
    torch.testing.assert_close(std, weight_of_noise)


def test_a_bridge_with_the_ratio_of_variances_breaks_the_marginal():
    """Reading (sigma_s^2 / sigma_t^2)^j where the ratio of standard deviations is meant is an easy mistake."""

    def wrong(x_t, x0, t, s, churn):
        r = {(i, j): ((1 - t) / (1 - s)) ** i * (s**2 / t**2) ** j for i in range(3) for j in range(3)}
        e = churn**2
        mean = (e * r[1, 2] + (1 - e) * r[0, 1]) * x_t + (1 - s) * (1 - e * r[2, 2] - (1 - e) * r[1, 1]) * x0
        return mean, torch.tensor(s * (1 - (e * r[1, 1] + 1 - e) ** 2) ** 0.5)

    assert keeps_the_marginal(bridge, 0.8, 0.4, 0.7)
    assert not keeps_the_marginal(wrong, 0.8, 0.4, 0.7)


@given(t=st.floats(0.01, 1.0), s=times)
def test_without_churn_the_bridge_is_ddim_a_straight_line_from_x_t_to_x0(t, s):
    assume(s < t)
    x0, noise = torch.tensor([[1.0, -2.0]]).double(), torch.tensor([[0.5, 0.3]]).double()
    mean, std = bridge(add_noise(x0, t, noise), x0, t, s, 0.0)
    assert std == 0
    torch.testing.assert_close(mean, add_noise(x0, s, noise))


@given(t=st.floats(0.01, 1.0), s=times)
def test_with_full_churn_the_bridge_is_the_posterior_of_ddpm(t, s):
    """Bayes' rule: x_t given x_s is Gaussian with weight a and variance v, x_s given x0 has variance s^2."""
    assume(1e-3 < s < t)
    a = (1 - t) / (1 - s)
    v = t**2 - a**2 * s**2
    precision = a**2 / v + 1 / s**2
    noisy, clean, variance = coefficients(bridge, t, s, 1.0)
    assert variance == pytest.approx(1 / precision, rel=1e-6)
    assert noisy == pytest.approx(a / v / precision, rel=1e-6)
    assert clean == pytest.approx((1 - s) / s**2 / precision, rel=1e-6)


@given(churn=churns, t=st.floats(0.01, 1.0))
def test_the_bridge_to_time_zero_ends_in_the_clean_point(churn, t):
    x_t, x0 = torch.tensor([[3.0, 1.0]]), torch.tensor([[-1.0, 2.0]])
    mean, std = bridge(x_t, x0, t, 0.0, churn)
    assert torch.equal(mean, x0)
    assert std == 0


@given(churn=churns)
def test_each_row_and_each_image_may_have_its_own_times(churn):
    x_t, x0 = torch.randn(2, 4, 3, 2, 2, generator=seeded(), dtype=torch.float64)
    t, s = torch.tensor([0.3, 0.5, 0.9, 1.0]).double(), torch.tensor([0.0, 0.1, 0.85, 0.2]).double()
    mean, std = bridge(x_t, x0, t, s, churn)
    assert std.shape == (4,)
    for i in range(4):
        mean_alone, std_alone = bridge(x_t[i : i + 1], x0[i : i + 1], t[i].item(), s[i].item(), churn)
        torch.testing.assert_close(mean[i : i + 1], mean_alone)
        torch.testing.assert_close(std[i], std_alone)


def drawing(law, generator):
    """The perfect distributional denoiser."""
    return lambda x, t: law.sample_posterior(x, t, generator)


@pytest.mark.parametrize("churn", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_exact_posterior_draws_give_the_exact_law_at_every_state_on_any_grid(steps, churn):
    law, n, generator = eight_gaussians(), 1000, seeded()
    grid = time_grid(steps)
    states = list(sample(drawing(law, generator), torch.randn(n, 2, generator=generator), grid, churn, generator))
    assert len(states) == steps + 1
    for s, state in zip(grid, states, strict=True):

        def truth(s=s):
            return add_noise(law.sample(n, generator), s, torch.randn(n, 2, generator=generator))

        assert energy_distance(state, truth()) < 4 * noise_floor(truth, repeats=10)
    assert energy_distance(states[-1], law.denoise(states[0], 1.0)) > 1  # the mean is far: the test can tell


def test_an_uneven_grid_is_as_exact():
    law, n, generator = two_gaussians(), 1000, seeded()
    grid = torch.tensor([1.0, 0.97, 0.2, 0.15, 0.0])
    *_, points = sample(drawing(law, generator), torch.randn(n, 2, generator=generator), grid, 1.0, generator)
    assert energy_distance(points, law.sample(n, generator)) < 4 * noise_floor(lambda: law.sample(n, generator))


@pytest.mark.parametrize("churn", [0.0, 0.5, 1.0])
def test_with_the_exact_mean_many_steps_reach_the_law_and_few_do_not(churn):
    law, n, generator = eight_gaussians(), 1000, seeded()
    floor = noise_floor(lambda: law.sample(n, generator))

    def error(steps):
        noise = torch.randn(n, 2, generator=generator)
        *_, points = sample(law.denoise, noise, time_grid(steps), churn, generator)
        return energy_distance(points, law.sample(n, generator)).item()

    errors = [error(steps) for steps in (1, 2, 100)]
    assert errors[0] > 100 * floor
    assert errors[0] > errors[1] > 10 * floor
    assert errors[2] < 4 * floor


def test_the_first_state_is_the_start_and_the_last_the_denoisers_clean_point():
    law, x = two_gaussians(), torch.randn(5, 2, generator=seeded())
    clean = []

    def denoiser(x, t):
        clean.append(law.denoise(x, t))
        return clean[-1]

    states = list(sample(denoiser, x, time_grid(3), 1.0, seeded()))
    assert states[0] is x
    assert states[-1] is clean[-1]
    assert len(states) == 4


def test_each_step_is_the_bridge_and_the_denoiser_is_asked_at_the_falling_times():
    law, x, asked = two_gaussians(), torch.randn(5, 2, generator=seeded()), []

    def denoiser(x, t):
        asked.append(t.item())
        return law.denoise(x, t)

    grid = torch.tensor([1.0, 0.7, 0.1, 0.05])
    states = list(sample(denoiser, x, grid, 0.0))
    assert asked == pytest.approx([1.0, 0.7, 0.1])
    for (t, s), (before, after) in zip(pairwise(grid), pairwise(states), strict=True):
        torch.testing.assert_close(after, bridge(before, law.denoise(before, t), t, s, 0.0)[0])


def test_a_grid_that_stops_early_leaves_the_noise_of_its_last_time():
    law, n, generator = two_gaussians(), 1000, seeded()
    *_, x = sample(
        drawing(law, generator), torch.randn(n, 2, generator=generator), time_grid(3, 1.0, 0.3), 1.0, generator
    )

    def truth():
        return add_noise(law.sample(n, generator), 0.3, torch.randn(n, 2, generator=generator))

    assert energy_distance(x, truth()) < 4 * noise_floor(truth)


@pytest.mark.parametrize("event", [(2,), (1, 4, 4), (3, 2, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_walk_as_points_do_in_their_dtype(event, dtype):
    x = torch.randn(4, *event, generator=seeded(), dtype=dtype)
    states = list(sample(lambda x, t: 0.5 * x, x, time_grid(3), 1.0, seeded()))
    flat = list(sample(lambda x, t: 0.5 * x, x.flatten(1), time_grid(3), 1.0, seeded()))
    assert all(state.shape == x.shape and state.dtype == dtype for state in states)
    assert torch.equal(states[-1].flatten(1), flat[-1])


def test_the_same_generator_walks_the_same_way_and_the_global_seed_is_left_alone():
    law, x, before = two_gaussians(), torch.randn(5, 2, generator=seeded()), torch.get_rng_state()

    def end(seed):
        *_, state = sample(law.denoise, x, time_grid(4), 1.0, seeded(seed))
        return state

    assert torch.equal(end(1), end(1))
    assert not torch.equal(end(1), end(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_sampler_is_lazy_and_leaves_its_start_unchanged():
    x = torch.randn(5, 2, generator=seeded())
    copy, calls = x.clone(), []
    states = sample(lambda x, t: calls.append(t) or 0.5 * x, x, time_grid(10), 1.0, seeded())
    assert calls == []
    next(states), next(states)
    assert len(calls) == 1
    assert torch.equal(x, copy)
