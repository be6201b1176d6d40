"""The scoring rule, its optimum, and a trained distributional denoiser, against closed forms and naive loops."""

import math
from itertools import combinations

import pytest
import scoringrules
import torch
from agree import seeded
from hypothesis import given
from hypothesis import strategies as st

from companion.data.toy import eight_gaussians, two_gaussians
from companion.foundations.diffusion import add_noise, sample, time_grid
from companion.foundations.distances import energy_distance, noise_floor
from companion.foundations.networks import TimeMLP, UNet
from companion.methods.distributional import (
    DistributionalDenoiser,
    energy_score_loss,
    expected_score,
    optimal_spread,
    sample_distributional,
    train_distributional,
)

betas = st.sampled_from([0.1, 0.5, 1.0, 1.5, 2.0])
lams = st.floats(0.0, 1.0)


def case(m: int, n: int, *event: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = seeded(seed)
    predictions = torch.randn(m, n, *event, generator=generator, dtype=torch.float64)
    return predictions, torch.randn(n, *event, generator=generator, dtype=torch.float64)


def loss_by_loops(predictions, target, beta, lam, weight=None):
    """Equations (12) and (15), term by term."""
    m, n = predictions.shape[:2]
    scores = []
    for i in range(n):
        pull = sum((target[i] - predictions[j, i]).norm() ** beta for j in range(m)) / m
        pairs = [(j, k) for j in range(m) for k in range(m) if j != k]
        push = sum((predictions[j, i] - predictions[k, i]).norm() ** beta for j, k in pairs) / (m * (m - 1))
        scores.append((pull - lam / 2 * push) * (1 if weight is None else weight[i]))
    return sum(scores) / n


def score_with_self_pairs(predictions, target):
    """The V-statistic that a careless mean over all m^2 pairs gives."""
    pull = (predictions - target).norm(dim=-1).mean()
    return pull - 0.5 * (predictions[:, None] - predictions[None]).norm(dim=-1).mean()


# --- the loss -------------------------------------------------------------------------------------------------


@given(m=st.integers(2, 5), n=st.integers(1, 4), d=st.integers(1, 3), beta=betas, lam=lams, seed=st.integers(0, 99))
def test_loss_is_the_energy_score_term_by_term(m, n, d, beta, lam, seed):
    predictions, target = case(m, n, d, seed=seed)
    torch.testing.assert_close(
        energy_score_loss(predictions, target, beta, lam), loss_by_loops(predictions, target, beta, lam)
    )


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 1.5, 2.0])
def test_gradient_of_the_loss_is_that_of_the_loops(beta):
    predictions, target = case(4, 3, 2)
    ours, loops = predictions.clone().requires_grad_(), predictions.clone().requires_grad_()
    energy_score_loss(ours, target, beta, 0.7).backward()
    loss_by_loops(loops, target, beta, 0.7).backward()
    torch.testing.assert_close(ours.grad, loops.grad)


def test_loss_agrees_with_the_fair_energy_score_of_scoringrules_and_not_with_its_biased_one():
    predictions, target = case(6, 50, 3)

    def theirs(estimator):
        score = scoringrules.es_ensemble(target, predictions, m_axis=0, estimator=estimator, backend="torch")
        return score.mean()

    ours = energy_score_loss(predictions, target)
    torch.testing.assert_close(ours, theirs("fair"))
    torch.testing.assert_close(score_with_self_pairs(predictions, target), theirs("nrg"))
    assert theirs("nrg") > ours + 0.1


@given(m=st.integers(1, 4), seed=st.integers(0, 99))
def test_at_beta_two_without_repulsion_it_is_the_usual_squared_error(m, seed):
    predictions, target = case(m, 5, 3, seed=seed)
    squared_error = (predictions - target).square().sum(-1).mean()
    torch.testing.assert_close(energy_score_loss(predictions, target, beta=2.0, lam=0.0), squared_error)


def test_the_loss_is_unbiased_in_the_number_of_draws():
    """Averaged over every subset of m of 6 draws, it is the loss of all 6; with self-pairs it is not."""
    predictions, target = case(6, 4, 2)
    whole = energy_score_loss(predictions, target)
    for m in (2, 3, 5):
        subsets = [predictions[list(chosen)] for chosen in combinations(range(6), m)]
        torch.testing.assert_close(torch.stack([energy_score_loss(p, target) for p in subsets]).mean(), whole)
        biased = torch.stack([score_with_self_pairs(p, target) for p in subsets]).mean()
        assert biased > whole + 0.05


def test_at_beta_two_and_full_repulsion_the_spread_is_not_identified():
    """Spreading the draws about their mean moves the finite-sample loss by its own estimation error only."""
    spread = torch.tensor([0.0, 0.5, 1.0, 1.5])
    torch.testing.assert_close(expected_score(spread, 1.0, 2.0), torch.full((4,), 2.0))
    assert expected_score(spread, 1.0, 1.0).std() > 0.05
    generator, n = seeded(), 20_000
    target, draws = torch.randn(n, 2, generator=generator), torch.randn(8, n, 2, generator=generator)
    for s in spread:
        scores = torch.stack(
            [energy_score_loss(s * d, t, 2.0) for d, t in zip(draws.chunk(20, 1), target.chunk(20), strict=True)]
        )
        assert (scores.mean() - 2).abs() < 4 * scores.std() / math.sqrt(20)


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 1.5, 2.0])
def test_gradient_is_finite_where_draws_meet_each_other_and_the_target(beta):
    predictions = torch.zeros(4, 3, 2, requires_grad=True)
    value = energy_score_loss(predictions, torch.zeros(3, 2), beta)
    value.backward()
    assert value == 0
    assert (predictions.grad == 0).all()


def test_weights_multiply_each_points_score():
    predictions, target = case(3, 4, 2)
    weight = torch.tensor([0.0, 1.0, 2.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(
        energy_score_loss(predictions, target, 1.0, 0.8, weight), loss_by_loops(predictions, target, 1.0, 0.8, weight)
    )
    torch.testing.assert_close(
        energy_score_loss(predictions, target, weight=torch.ones_like(weight)), energy_score_loss(predictions, target)
    )


def test_images_score_as_the_points_they_flatten_to():
    predictions, target = case(3, 4, 2, 3, 5)
    assert energy_score_loss(predictions, target) == energy_score_loss(predictions.flatten(2), target.flatten(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loss_has_the_dtype_of_the_draws(dtype):
    predictions, target = case(3, 4, 2)
    ours = energy_score_loss(predictions.to(dtype), target.to(dtype))
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.double(), energy_score_loss(predictions, target), rtol=1e-5, atol=1e-6)


# --- what the loss prefers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("beta", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_expected_score_is_smallest_at_the_optimal_spread_in_any_dimension(lam, beta, dim):
    spreads = torch.linspace(0.001, 2, 20_001, dtype=torch.float64)
    best = spreads[expected_score(spreads, lam, beta, dim).argmin()]
    assert optimal_spread(lam, beta) == pytest.approx(best.item(), abs=2e-4)


def test_optimal_spread_at_beta_one_is_lam_over_root_two_minus_lam_squared():
    for lam in (0.0, 0.3, 0.5, 0.9, 1.0):
        assert optimal_spread(lam) == pytest.approx(lam / math.sqrt(2 - lam**2))
    assert [round(optimal_spread(lam), 3) for lam in (0.0, 0.5, 0.9, 1.0)] == [0.0, 0.378, 0.825, 1.0]


@given(lam=st.floats(0.01, 0.99), beta=st.floats(0.1, 1.9))
def test_without_full_repulsion_the_best_model_is_too_narrow(lam, beta):
    assert optimal_spread(lam, beta) < 1 == optimal_spread(1.0, beta)
    assert optimal_spread(lam / 2, beta) < optimal_spread(lam, beta) or lam ** (2 / (2 - beta)) < 1e-12


@pytest.mark.parametrize(("lam", "beta", "dim"), [(1.0, 1.0, 2), (0.5, 0.5, 3), (0.9, 1.5, 1), (1.0, 2.0, 2)])
def test_expected_score_is_the_mean_of_the_loss(lam, beta, dim):
    generator, spread = seeded(), 0.6
    losses = []
    for _ in range(20):
        target = torch.randn(10_000, dim, generator=generator)
        draws = spread * torch.randn(8, 10_000, dim, generator=generator)
        losses.append(energy_score_loss(draws, target, beta, lam))
    losses = torch.stack(losses)
    error = (losses.mean() - expected_score(torch.tensor(spread), lam, beta, dim)).abs()
    assert error < 4 * losses.std() / math.sqrt(20) < 0.02


# --- the denoiser --------------------------------------------------------------------------------------------


def small_model(seed: int = 0) -> DistributionalDenoiser:
    torch.manual_seed(seed)
    return DistributionalDenoiser(TimeMLP(dim=2, noise_dim=2, width=32, depth=2), noise_shape=(2,))


def test_each_call_is_a_fresh_draw_and_given_noise_is_used():
    model, x, generator = small_model(), torch.randn(5, 2, generator=seeded()), seeded()
    assert not torch.equal(model(x, 0.5, generator), model(x, 0.5, generator))
    assert torch.equal(model(x, 0.5, seeded(1)), model(x, 0.5, seeded(1)))
    noise = torch.randn(5, 2, generator=seeded(1))
    assert torch.equal(model(x, 0.5, noise=noise), model(x, 0.5, seeded(1)))


def test_a_population_of_draws_is_one_pass_with_fresh_noise_and_each_rows_own_time():
    model, x, t = small_model(), torch.randn(5, 2, generator=seeded()), torch.rand(5, generator=seeded(2))
    draws = model.draws(x, t, 3, seeded(1))
    noise = torch.randn(15, 2, generator=seeded(1)).reshape(3, 5, 2)
    for j in range(3):
        torch.testing.assert_close(draws[j], model(x, t, noise=noise[j]))
    assert model.draws(x, 0.5, 4).shape == (4, 5, 2)


def test_a_denoiser_without_noise_wraps_an_ordinary_network():
    model, x = DistributionalDenoiser(TimeMLP(dim=2), noise_shape=None), torch.randn(5, 2, generator=seeded())
    assert torch.equal(model(x, 0.5), model.network(x, 0.5))
    draws = model.draws(x, 0.5, 2)
    torch.testing.assert_close(draws[0], draws[1])


def test_images_train_and_sample_like_points():
    model = DistributionalDenoiser(UNet(channels=1, noise_channels=1, width=8), noise_shape=(1, 8, 8))
    images = torch.randn(16, 1, 8, 8, generator=seeded())
    *_, state = train_distributional(model, images, steps=2, population=2, batch_size=4, generator=seeded())
    assert state.loss.isfinite()
    *_, drawn = sample_distributional(model, images, time_grid(2), generator=seeded())
    assert drawn.shape == images.shape


def test_double_precision_trains_and_samples():
    model, law = small_model().double(), two_gaussians().to(torch.float64)
    *_, state = train_distributional(model, law, steps=2, generator=seeded())
    x = torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    *_, drawn = sample_distributional(model, x, time_grid(2), generator=seeded())
    assert state.loss.dtype == drawn.dtype == torch.float64


# --- training ------------------------------------------------------------------------------------------------


def test_population_one_without_noise_trains_the_standard_denoiser():
    """The same code path, step by step: noise a batch, predict, squared error."""
    torch.manual_seed(0)
    model = DistributionalDenoiser(TimeMLP(dim=2, width=16, depth=1), noise_shape=None)
    law, start = two_gaussians(), {name: value.clone() for name, value in model.state_dict().items()}
    first = next(train_distributional(model, law, 5, population=1, beta=2.0, lam=0.0, generator=seeded(3)))

    plain, generator = TimeMLP(dim=2, width=16, depth=1), seeded(3)
    plain.load_state_dict({name.removeprefix("network."): value for name, value in start.items()})
    x0, t = law.sample(256, generator), torch.rand(256, generator=generator)
    prediction = plain(add_noise(x0, t, torch.randn(256, 2, generator=generator)), t)
    torch.testing.assert_close(first.loss, (prediction - x0).square().sum(1).mean().detach())


def test_the_weight_is_a_function_of_the_times():
    def first_loss(weight):
        return next(train_distributional(small_model(), two_gaussians(), 5, weight=weight, generator=seeded())).loss

    torch.testing.assert_close(first_loss(lambda t: 3 * torch.ones_like(t)), 3 * first_loss(None))
    assert first_loss(lambda t: t) < first_loss(None)


def test_training_is_reproducible_and_leaves_the_global_seed_alone():
    def losses():
        model = small_model()
        before = torch.get_rng_state()
        values = [state.loss for state in train_distributional(model, two_gaussians(), 4, generator=seeded())]
        assert torch.equal(torch.get_rng_state(), before)
        return torch.stack(values)

    assert torch.equal(losses(), losses())


def test_a_resumed_training_is_bit_identical_to_an_uninterrupted_one():
    def run(model, generator, resume=None):
        return train_distributional(model, two_gaussians(), 8, population=3, generator=generator, resume=resume)

    whole = small_model()
    losses = [state.loss for state in run(whole, seeded())]

    before = run(small_model(), seeded())
    for _ in range(5):
        state = next(before)
    saved = state.state_dict()
    resumed = small_model(seed=9)
    rest = [state.loss for state in run(resumed, seeded(77), saved)]
    assert torch.equal(torch.stack(rest), torch.stack(losses[5:]))
    for ours, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.fixture(scope="module")
def trained():
    """A distributional and a standard denoiser of one size, both trained for 400 steps on two Gaussians."""
    torch.manual_seed(0)
    law = two_gaussians()
    distributional = DistributionalDenoiser(TimeMLP(dim=2, noise_dim=2), noise_shape=(2,))
    standard = DistributionalDenoiser(TimeMLP(dim=2), noise_shape=None)
    for _ in train_distributional(distributional, law, 400, population=4, generator=seeded()):
        pass
    for _ in train_distributional(standard, law, 400, population=1, beta=2.0, lam=0.0, generator=seeded()):
        pass
    return law, distributional, standard


@pytest.mark.parametrize("steps", [1, 2])
def test_in_few_steps_the_distributional_denoiser_is_five_times_nearer_to_the_data(trained, steps):
    law, distributional, standard = trained
    generator = seeded(5)
    truth, noise = law.sample(2000, generator), torch.randn(2000, 2, generator=generator)

    def error(model):
        *_, points = sample_distributional(model, noise, time_grid(steps), generator=generator)
        return energy_distance(points, truth).item()

    floor = noise_floor(lambda: law.sample(2000, generator), repeats=5).item()
    assert error(standard) > 5 * (max(error(distributional), 0) + floor)


def test_the_trained_denoiser_has_learned_mean_and_spread_of_the_posterior(trained):
    law, distributional, standard = trained
    x, t = torch.tensor([[0.0, 0.0], [0.6, 0.2], [-1.0, 0.5]]), 0.7
    with torch.no_grad():
        draws = distributional.draws(x, t, 4000, seeded())
        mean = standard(x, t)
    generator = seeded(1)
    exact = torch.stack([law.sample_posterior(x, t, generator) for _ in range(4000)])
    torch.testing.assert_close(mean, law.denoise(x, t), atol=0.15, rtol=0)
    torch.testing.assert_close(draws.mean(0), law.denoise(x, t), atol=0.15, rtol=0)
    torch.testing.assert_close(draws.std(0), exact.std(0), atol=0.15, rtol=0)
    assert exact.std(0)[0, 0] > 0.8  # a spread that the standard denoiser does not know of


# --- sampling ------------------------------------------------------------------------------------------------


def test_sampling_is_the_diffusion_sampler_with_a_denoiser_that_draws():
    law, x = eight_gaussians(), torch.randn(50, 2, generator=seeded())

    def ours(generator):
        return list(sample_distributional(law.sample_posterior, x, time_grid(3), 0.5, generator))

    def by_hand(generator):
        return list(sample(lambda x, t: law.sample_posterior(x, t, generator), x, time_grid(3), 0.5, generator))

    for one, other in zip(ours(seeded(1)), by_hand(seeded(1)), strict=True):
        assert torch.equal(one, other)


def test_sampling_keeps_no_gradient_and_leaves_gradients_switched_on():
    states = sample_distributional(
        small_model(), torch.randn(5, 2, generator=seeded()), time_grid(3), generator=seeded()
    )
    for state in states:
        assert not state.requires_grad
        assert torch.is_grad_enabled()


def test_without_churn_the_samples_are_still_random():
    law, x = two_gaussians(), torch.zeros(200, 2)
    *_, points = sample_distributional(law.sample_posterior, x, time_grid(2), 0.0, seeded())
    assert points.std(0).min() > 0.2
