"""Stochastic interpolants against their definition, the transport equation, and diffusion as a special case."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from companion.foundations.diffusion import time_grid
from companion.foundations.interpolants import MixtureInterpolant, transport
from companion.foundations.mixtures import GaussianMixture
from tests.unit.agree import close, normal, seeded


def mixture(k: int, seed: int, d: int = 2) -> GaussianMixture:
    uniform = torch.rand(2, k, generator=seeded(seed), dtype=torch.float64)
    return GaussianMixture(1.5 * normal(k, d, seed=seed + 50), 0.3 + uniform[0], 0.2 + uniform[1])


def flow(latent: float = 1.0, seed: int = 0, d: int = 2) -> MixtureInterpolant:
    return MixtureInterpolant(mixture(2, seed, d), mixture(3, seed + 1, d), latent)


@given(s=st.floats(0.02, 0.98), latent=st.floats(0, 4), seed=st.integers(0, 20))
def test_velocity_and_law_obey_the_transport_equation(s, latent, seed):
    """dp/ds + div(b p) = 0, with dp/ds by central differences and the divergence by differentiation."""
    bridge, x, step = flow(latent, seed), normal(4, 2, seed=seed).requires_grad_(), 1e-5
    change = (bridge.law(s + step).log_prob(x).exp() - bridge.law(s - step).log_prob(x).exp()) / (2 * step)
    current = bridge.velocity(x, s) * bridge.law(s).log_prob(x).exp()[:, None]
    divergence = sum(torch.autograd.grad(current[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(2))
    torch.testing.assert_close(change, -divergence, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("s", [0.0, 1.0])
def test_the_ends_are_the_two_laws_whatever_the_latent_noise(s):
    bridge, x = flow(3.0), normal(5, 2)
    end = bridge.end if s else bridge.start
    close(bridge.law(s).log_prob(x), end.log_prob(x))
    close(bridge.score(x, s), end.score(x, 0.0))
    assert bridge.velocity(x, s).isfinite().all()


@given(s=st.floats(0.02, 0.98))
def test_with_noise_at_one_end_it_is_the_diffusion_of_the_other(s):
    """x_s is the noisy point at t = 1 - s, and the velocity `E[x0 - noise | x_t]` is `(E[x0 | x_t] - x_t) / t`."""
    noise = GaussianMixture(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    law, x = mixture(3, 7), normal(5, 2)
    bridge, t = MixtureInterpolant(noise, law), 1 - s
    close(bridge.score(x, s), law.score(x, t), 1e-8)
    close(bridge.velocity(x, s), (law.denoise(x, t) - x) / t, 1e-8)


@pytest.mark.parametrize("s", [0.0, 0.3, 1.0])
def test_draws_have_the_mean_and_the_width_of_the_law(s):
    bridge, n = flow(2.0), 40_000
    draws, law = bridge.sample(n, s, seeded()), bridge.law(s)
    mean = law.weights @ law.means
    variance = law.weights @ (law.stds[:, None] ** 2 + law.means**2) - mean**2
    assert ((draws.mean(0) - mean).abs() < 5 * (variance / n).sqrt()).all()
    torch.testing.assert_close(draws.var(0), variance, rtol=0.05, atol=0)


def test_one_gaussian_is_carried_by_the_exact_map_to_second_order():
    """Between two Gaussians a point keeps its place, measured in widths of the law."""
    ends = [GaussianMixture(normal(1, 3, seed=i), torch.tensor([std]).double()) for i, std in enumerate((0.5, 2.0))]
    x = ends[0].sample(6, seeded())
    exact = ends[1].means + 4 * (x - ends[0].means)

    def error(steps):
        *_, moved = transport(MixtureInterpolant(*ends, 1.0).velocity, x, torch.linspace(0, 1, steps + 1).double())
        return (moved - exact).abs().max().item()

    assert error(64) < 2e-3
    assert 3 < error(32) / error(64) < 5


def test_transported_points_have_the_law_half_way_and_at_the_end():
    bridge, n = flow(1.0), 8000
    states = list(transport(bridge.velocity, bridge.start.sample(n, seeded()), torch.linspace(0, 1, 41).double()))
    for s, points in ((0.5, states[20]), (1.0, states[-1])):
        law = bridge.law(s)
        mean = law.weights @ law.means
        second = law.weights @ (law.stds[:, None] ** 2 + law.means**2)
        assert ((points.mean(0) - mean).abs() < 5 * points.std(0) / n**0.5).all()
        torch.testing.assert_close(points.square().mean(0), second, rtol=0.08, atol=0)


def test_single_precision_stays_single():
    single = MixtureInterpolant(*(mixture(2, seed).to(torch.float32) for seed in (0, 1)), 1.0)
    x = single.sample(4, 0.5, seeded())
    assert x.dtype == single.velocity(x, 0.5).dtype == single.score(x, 0.5).dtype == torch.float32
    *_, moved = transport(single.velocity, x, time_grid(4).flip(0))
    assert moved.dtype == torch.float32
