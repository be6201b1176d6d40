"""Gaussian mixtures against torch.distributions, automatic differentiation and Bayes' rule by quadrature."""

import pytest
import torch
from agree import seeded
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from companion.data.toy import eight_gaussians
from companion.foundations.diffusion import add_noise
from companion.foundations.distances import energy_distance, noise_floor
from companion.foundations.mixtures import GaussianMixture

times = st.floats(0.01, 1.0)


def random_mixture(k: int = 3, d: int = 2, seed: int = 0) -> GaussianMixture:
    generator = seeded(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    return GaussianMixture(4 * uniform(k, d) - 2, 0.1 + uniform(k), 0.1 + uniform(k))


def noised(law: GaussianMixture, t: float) -> MixtureSameFamily:
    """The law of (1 - t) x0 + t noise, built from PyTorch's own parts."""
    std = ((1 - t) ** 2 * law.stds**2 + t**2).sqrt()
    components = Independent(Normal((1 - t) * law.means, std[:, None].expand_as(law.means)), 1)
    return MixtureSameFamily(Categorical(law.weights), components)


def points(n: int = 6, d: int = 2, seed: int = 1) -> torch.Tensor:
    return 2 * torch.randn(n, d, generator=seeded(seed), dtype=torch.float64)


@given(k=st.integers(1, 4), d=st.integers(1, 3), t=st.floats(0.0, 1.0), seed=st.integers(0, 99))
def test_log_prob_is_that_of_torch_distributions_at_every_time(k, d, t, seed):
    law, x = random_mixture(k, d, seed), points(d=d, seed=seed)
    torch.testing.assert_close(law.log_prob(x, t), noised(law, t).log_prob(x))


@given(d=st.integers(1, 3), t=st.floats(0.0, 1.0), seed=st.integers(0, 99))
def test_score_is_the_gradient_of_the_log_density_even_at_time_zero(d, t, seed):
    law, x = random_mixture(d=d, seed=seed), points(d=d, seed=seed).requires_grad_()
    (gradient,) = torch.autograd.grad(law.log_prob(x, t).sum(), x)
    torch.testing.assert_close(law.score(x.detach(), t), gradient)


@given(t=times, seed=st.integers(0, 99))
def test_score_and_denoiser_obey_tweedies_formula(t, seed):
    law, x = random_mixture(seed=seed), points(seed=seed)
    torch.testing.assert_close((1 - t) * law.denoise(x, t), x + t**2 * law.score(x, t))


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_posterior_is_bayes_rule_by_quadrature(t):
    law = random_mixture(k=3, d=1)
    x = torch.tensor([[0.7]], dtype=torch.float64)
    grid = torch.linspace(-8, 8, 20001, dtype=torch.float64)[:, None]
    likelihood = Normal((1 - t) * grid[:, 0], torch.tensor(t, dtype=torch.float64)).log_prob(x[0, 0])
    density = (law.log_prob(grid) + likelihood).exp()
    density = density / torch.trapezoid(density, grid[:, 0])

    weights, means, stds = law.posterior(x, t)
    ours = MixtureSameFamily(Categorical(weights[0]), Normal(means[0, :, 0], stds)).log_prob(grid[:, 0]).exp()
    torch.testing.assert_close(ours, density, rtol=1e-6, atol=1e-8)
    mean = torch.trapezoid(density * grid[:, 0], grid[:, 0])
    torch.testing.assert_close(law.denoise(x, t)[0, 0], mean)


@pytest.mark.parametrize("t", [0.2, 0.6, 1.0])
def test_denoised_point_is_the_mean_of_posterior_draws(t):
    law, x, n = random_mixture(), points(4), 20_000
    generator = seeded()
    draws = torch.stack([law.sample_posterior(row.expand(n, 2), t, generator) for row in x])
    error = (draws.mean(1) - law.denoise(x, t)).abs()
    assert (error < 4.5 * draws.std(1) / n**0.5).all()


@pytest.mark.parametrize("t", [0.2, 0.6, 1.0])
def test_posterior_draws_of_noised_data_have_the_law_of_the_data(t):
    """And posterior means have not: they shrink to the middle."""
    law, generator = eight_gaussians(), seeded()
    floor = noise_floor(lambda: law.sample(1000, generator))
    clean = law.sample(1000, generator)
    x_t = add_noise(clean, t, torch.randn(1000, 2, generator=generator))
    fresh = law.sample(1000, generator)
    assert energy_distance(law.sample_posterior(x_t, t, generator), fresh) < 4 * floor
    if t > 0.5:
        assert energy_distance(law.denoise(x_t, t), fresh) > 50 * floor


def test_at_time_one_the_posterior_is_the_law_itself():
    law, x = random_mixture(), points()
    weights, means, stds = law.posterior(x, 1.0)
    torch.testing.assert_close(weights, law.weights.expand_as(weights))
    torch.testing.assert_close(means, law.means.expand_as(means))
    torch.testing.assert_close(stds, law.stds)


def test_near_time_zero_the_posterior_is_the_point_itself():
    law, x = random_mixture(), points()
    torch.testing.assert_close(law.denoise(x, 1e-4), x, atol=1e-3, rtol=0)
    torch.testing.assert_close(law.sample_posterior(x, 1e-4, seeded()), x, atol=1e-3, rtol=0)


def test_each_row_may_have_its_own_time():
    law, x = random_mixture(), points(5)
    t = torch.tensor([0.1, 0.3, 0.5, 0.7, 1.0], dtype=torch.float64)
    rows = [(x[i : i + 1], t[i].item()) for i in range(5)]
    torch.testing.assert_close(law.log_prob(x, t), torch.cat([law.log_prob(*row) for row in rows]))
    torch.testing.assert_close(law.score(x, t), torch.cat([law.score(*row) for row in rows]))
    torch.testing.assert_close(law.denoise(x, t), torch.cat([law.denoise(*row) for row in rows]))
    for together, alone in zip(
        law.posterior(x, t), zip(*(law.posterior(*row) for row in rows), strict=True), strict=True
    ):
        torch.testing.assert_close(together, torch.stack(alone).reshape(together.shape))
    assert law.sample_posterior(x, t, seeded()).shape == x.shape


def test_samples_have_the_mixtures_mean_covariance_and_weights():
    law, n = (
        GaussianMixture(torch.tensor([[-2.0, 0.0], [2.0, 1.0]]), torch.tensor([0.3, 0.5]), torch.tensor([1.0, 3.0])),
        40_000,
    )
    x = law.sample(n, seeded())
    mean = law.weights @ law.means
    assert ((x.mean(0) - mean).abs() < 4.5 * x.std(0) / n**0.5).all()
    centred = law.means - mean
    covariance = (law.weights * law.stds**2).sum() * torch.eye(2) + centred.T @ (law.weights[:, None] * centred)
    torch.testing.assert_close(torch.cov(x.T), covariance, atol=0.05, rtol=0)
    assert (x[:, 0] > 0).float().mean().item() == pytest.approx(0.75, abs=0.01)


def test_weights_are_normalised_equal_by_default_and_may_be_zero():
    means, stds = torch.tensor([[0.0], [5.0]]), torch.tensor([1.0, 1.0])
    assert GaussianMixture(means, stds).weights.tolist() == [0.5, 0.5]
    assert GaussianMixture(means, stds, torch.tensor([2.0, 6.0])).weights.tolist() == [0.25, 0.75]
    only_first = GaussianMixture(means, stds, torch.tensor([1.0, 0.0]))
    assert only_first.sample(1000, seeded()).max() < 5
    x = torch.tensor([[0.5]])
    torch.testing.assert_close(only_first.score(x, 0.0), -x)


def test_float32_stays_float32_and_agrees_with_float64():
    law, x = random_mixture(), points()
    single = law.to(torch.float32)
    assert single.sample(3, seeded()).dtype == torch.float32
    for name in ("log_prob", "score", "denoise"):
        ours = getattr(single, name)(x.float(), 0.3)
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), getattr(law, name)(x, 0.3), rtol=1e-4, atol=1e-4)
    assert single.sample_posterior(x.float(), 0.3, seeded()).dtype == torch.float32


def test_score_in_float32_survives_small_times_where_tweedies_formula_does_not():
    law, x, t = random_mixture(), points(), 1e-3
    single, exact = law.to(torch.float32), law.score(x, t)
    tweedie = ((1 - t) * single.denoise(x.float(), t) - x.float()) / t**2
    assert (single.score(x.float(), t) - exact).abs().max() < 1e-3 * exact.abs().max()
    assert (tweedie - exact).abs().max() > 1e-3 * exact.abs().max()


def test_the_same_generator_gives_the_same_points():
    law, x = random_mixture(), points()
    assert torch.equal(law.sample(9, seeded(4)), law.sample(9, seeded(4)))
    assert not torch.equal(law.sample(9, seeded(4)), law.sample(9, seeded(5)))
    assert torch.equal(law.sample_posterior(x, 0.5, seeded(4)), law.sample_posterior(x, 0.5, seeded(4)))


def test_drawing_leaves_the_global_seed_alone():
    law, x, before = random_mixture(), points(), torch.get_rng_state()
    law.sample(3, seeded())
    law.sample_posterior(x, 0.5, seeded())
    assert torch.equal(torch.get_rng_state(), before)
