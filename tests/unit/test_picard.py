"""Picard iteration against the slow sampler that it should converge to, driven by the same noise."""

import pytest
import torch
from agree import seeded
from hypothesis import given
from hypothesis import strategies as st

from companion.data.toy import eight_gaussians
from companion.foundations.diffusion import bridge, time_grid
from companion.foundations.distances import energy_distance, noise_floor
from companion.methods.rivals.picard import sample_picard

LAW = eight_gaussians().to(torch.float64)
UNEVEN = torch.tensor([1.0, 0.9, 0.88, 0.5, 0.2, 0.05], dtype=torch.float64)


def start(n: int = 200, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(n, 2, generator=seeded(), dtype=dtype)


def slow(denoiser, x, times, churn=1.0, generator=None):
    """The slow sampler's last states, with all noise drawn beforehand as the fast one draws it."""
    noise = torch.randn(len(times) - 1, *x.shape, generator=generator, dtype=x.dtype)
    for t, s, fresh in zip(times[:-1], times[1:], noise, strict=True):
        mean, std = bridge(x, denoiser(x, t), t, s, churn)
        x = mean + std * fresh
    return x


@pytest.mark.parametrize("times", [time_grid(1), time_grid(2), time_grid(30), UNEVEN], ids=["1", "2", "30", "uneven"])
@pytest.mark.parametrize("window", [1, 3, 8, 100])
def test_without_tolerance_the_samples_are_those_of_the_slow_sampler_with_the_same_noise(window, times):
    for churn in (0.4, 1.0):
        run = sample_picard(LAW.denoise, start(), times, window, 0.0, churn, seeded(1))
        torch.testing.assert_close(run.sample, slow(LAW.denoise, start(), times, churn, seeded(1)))
        assert run.rounds.max() < len(times)


@given(
    steps=st.integers(1, 12),
    window=st.integers(1, 20),
    tolerance=st.sampled_from([0, 1e-3, 0.1, 10.0]),
    churn=st.floats(0.05, 1.0),
    seed=st.integers(0, 99),
)
def test_no_chain_needs_more_rounds_than_there_are_steps_nor_fewer_than_its_windows(
    steps, window, tolerance, churn, seed
):
    run = sample_picard(LAW.denoise, start(8), time_grid(steps), window, tolerance, churn, seeded(seed))
    assert run.rounds.max() <= steps
    assert run.rounds.min() * window >= steps
    assert bool(run.sample.isfinite().all())


@pytest.mark.parametrize("tolerance", [0.0, 10.0])
def test_a_window_of_one_is_the_slow_sampler_whatever_the_tolerance(tolerance):
    run = sample_picard(LAW.denoise, start(), time_grid(20), 1, tolerance, generator=seeded(1))
    torch.testing.assert_close(run.sample, slow(LAW.denoise, start(), time_grid(20), generator=seeded(1)))
    assert run.rounds.tolist() == [20] * 200
    assert run.evaluations == 20 * 200


@pytest.mark.parametrize("window", [3, 8, 20])
def test_where_the_answer_never_moves_the_window_slides_past_all_it_has_seen_settle(window):
    """The second time a state is reached it has not moved; only a first look costs a round of its own."""

    def denoiser(x, t):
        return torch.ones_like(x)

    run = sample_picard(denoiser, start(), time_grid(20), window, 0.0, generator=seeded(1))
    torch.testing.assert_close(run.sample, slow(denoiser, start(), time_grid(20), generator=seeded(1)))
    assert run.rounds.max() <= 2 + 20 // window


def test_a_larger_tolerance_needs_fewer_rounds_and_strays_further_from_the_slow_samplers_path():
    exact = slow(LAW.denoise, start(1000), time_grid(50), generator=seeded(1))
    runs = [
        sample_picard(LAW.denoise, start(1000), time_grid(50), 8, tolerance, generator=seeded(1))
        for tolerance in (0.0, 0.1, 1.0)
    ]
    rounds = [run.rounds.double().mean().item() for run in runs]
    strayed = [(run.sample - exact).norm(dim=1).mean().item() for run in runs]
    assert 50 > rounds[0] > 1.5 * rounds[1] > 1.5 * rounds[2]
    assert strayed[0] < 1e-9 < 0.01 < strayed[1] < strayed[2] / 2


def test_a_large_tolerance_ends_in_another_law():
    n, grid, generator = 2000, time_grid(20), seeded(2)
    data, floor = LAW.sample(n, generator), noise_floor(lambda: LAW.sample(n, generator), repeats=10)
    exact, biased = (
        energy_distance(sample_picard(LAW.denoise, start(n), grid, 8, tolerance, generator=seeded(1)).sample, data)
        for tolerance in (0.0, 3.0)
    )
    assert exact < 3 * floor
    assert biased > 6 * floor


def test_rounds_and_evaluations_are_what_the_model_saw():
    points = []

    def spy(x, t):
        assert t.shape == (len(x),)
        points.append(len(x))
        return LAW.denoise(x, t)

    run = sample_picard(spy, start(), time_grid(30), 8, 0.1, generator=seeded(1))
    assert run.rounds.max() == len(points)
    assert run.evaluations == sum(points)
    assert run.rounds.min() < run.rounds.max()


def test_images_walk_as_points_do_in_single_precision_too():
    def denoiser(x, t):
        return (3 * x).tanh()

    x = torch.randn(6, 3, 2, 4, generator=seeded())
    run = sample_picard(denoiser, x, time_grid(10), 4, 0.1, generator=seeded(1))
    flat = sample_picard(denoiser, x.flatten(1), time_grid(10), 4, 0.1, generator=seeded(1))
    assert run.sample.dtype == torch.float32
    assert torch.equal(run.sample.flatten(1), flat.sample)
    assert torch.equal(run.rounds, flat.rounds)


def test_the_same_generator_gives_the_same_run_and_start_seed_and_gradients_are_left_alone():
    before, x, weight = torch.get_rng_state(), start(), torch.ones((), dtype=torch.float64, requires_grad=True)
    runs = [
        sample_picard(lambda x, t: weight * LAW.denoise(x, t), x, time_grid(10), generator=seeded(s)) for s in (0, 0, 1)
    ]
    assert torch.equal(runs[0].sample, runs[1].sample)
    assert not torch.equal(runs[0].sample, runs[2].sample)
    assert not runs[0].sample.requires_grad
    assert torch.equal(x, start())
    assert torch.equal(torch.get_rng_state(), before)
