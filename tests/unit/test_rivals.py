"""Each rival against an answer that is known exactly."""

import math

import pytest
import torch
from agree import last, seeded
from torch import nn

from companion.data.toy import eight_gaussians, two_gaussians
from companion.foundations.diffusion import add_noise, bridge, sample, time_grid
from companion.foundations.distances import energy_distance
from companion.foundations.mixtures import GaussianMixture
from companion.foundations.networks import TimeMLP
from companion.methods.distributional import DistributionalDenoiser, sample_distributional
from companion.methods.rivals.analytic_variance import clean_weight, denoising_errors, sample_analytic
from companion.methods.rivals.consistency import ConsistencyModel, distil_consistency, ode_step, sample_consistency
from companion.methods.rivals.gan import Critic, GanPair, critic_loss, noisy_pair, train_gan
from companion.methods.rivals.progressive import distil, two_step_target

LAW = eight_gaussians()


def exhaust(states) -> None:
    for _ in states:
        pass


def one_gaussian(mean: float = 1.5, std: float = 0.5) -> GaussianMixture:
    return GaussianMixture(torch.tensor([[mean]], dtype=torch.float64), torch.tensor([std], dtype=torch.float64))


# Analytic variance


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9, 1.0])
def test_denoising_error_is_the_mean_posterior_variance(t):
    """The error of the exact denoiser, from data, against the posterior's own variance."""
    times = torch.tensor([t, 0.0], dtype=torch.float64)
    (error,) = denoising_errors(LAW.denoise, LAW, times, n=40_000, generator=seeded())

    x0 = LAW.sample(40_000, seeded(1))
    x = add_noise(x0, t, torch.randn(x0.shape, generator=seeded(2)))
    weights, means, stds = LAW.posterior(x, t)
    mean = (weights[..., None] * means).sum(1, keepdim=True)
    spread = (weights * (means - mean).square().mean(-1)).sum(1)
    variance = spread + (weights * stds**2).sum(1)
    assert error.item() == pytest.approx(variance.mean().item(), rel=0.03)


def test_one_analytic_step_has_the_mean_and_variance_of_the_data():
    """At t = 1 the denoiser knows only the mean; DDPM's single step would be a point."""
    law = two_gaussians()
    times = time_grid(1)
    errors = denoising_errors(law.denoise, law, times, n=40_000, generator=seeded())
    x = last(sample_analytic(law.denoise, torch.randn(40_000, 2, generator=seeded(1)), times, errors, seeded(2)))
    data = law.sample(40_000, seeded(3))
    assert x.mean(0) == pytest.approx(data.mean(0), abs=0.03)
    total = data.var(0).sum().item()  # isotropic: the total variance is right, its direction is not
    assert x.var(0).sum().item() == pytest.approx(total, rel=0.03)


def test_analytic_ddpm_is_exact_for_one_gaussian_on_any_grid_where_ddpm_is_not():
    law = one_gaussian()
    times = torch.tensor([1.0, 0.7, 0.2, 0.0], dtype=torch.float64)
    errors = torch.stack([law.posterior(torch.zeros(1, 1, dtype=torch.float64), t)[2][0] ** 2 for t in times[:-1]])
    noise = torch.randn(60_000, 1, generator=seeded(), dtype=torch.float64)
    analytic = last(sample_analytic(law.denoise, noise, times, errors, seeded(1)))
    plain = last(sample(law.denoise, noise, times, churn=1.0, generator=seeded(1)))
    assert analytic.mean().item() == pytest.approx(1.5, abs=0.01)
    assert analytic.std().item() == pytest.approx(0.5, rel=0.01)
    assert plain.std().item() < 0.45


def test_clean_weight_is_the_weight_in_the_bridge():
    x, t, s = torch.zeros(1, 1), torch.tensor(0.8), torch.tensor(0.3)
    mean, _ = bridge(x, torch.ones(1, 1), t, s, churn=1.0)
    assert clean_weight(t, s).item() == pytest.approx(mean.item(), rel=1e-6)


def test_analytic_variance_beats_plain_ddpm_at_two_steps():
    noise, data, times = torch.randn(4000, 2, generator=seeded()), LAW.sample(4000, seeded(1)), time_grid(2)
    errors = denoising_errors(LAW.denoise, LAW, times, n=10_000, generator=seeded(2))
    analytic = last(sample_analytic(LAW.denoise, noise, times, errors, seeded(3)))
    plain = last(sample(LAW.denoise, noise, times, churn=1.0, generator=seeded(3)))
    assert energy_distance(analytic, data) < 0.5 * energy_distance(plain, data)


# Progressive distillation


@pytest.mark.parametrize("student_steps", [1, 2, 8])
def test_a_student_step_to_the_target_lands_where_two_ddim_steps_do(student_steps):
    law = eight_gaussians().to(torch.float64)
    index = torch.randint(1, student_steps + 1, (200,), generator=seeded()).double()
    x = torch.randn(200, 2, generator=seeded(1), dtype=torch.float64)
    target = two_step_target(law.denoise, x, index, student_steps)
    t, end = index / student_steps, (index - 1) / student_steps
    landed, _ = bridge(x, target, t, end)
    for row in range(len(x)):
        grid = torch.linspace(t[row], end[row], 3, dtype=torch.float64)
        taken = last(sample(law.denoise, x[row : row + 1], grid))
        assert torch.allclose(landed[row : row + 1], taken, atol=1e-9)


def test_a_distilled_student_lands_where_two_ddim_steps_of_the_exact_denoiser_do():
    torch.manual_seed(0)
    student, noise = TimeMLP(dim=2), torch.randn(2000, 2, generator=seeded())
    exhaust(distil(student, LAW.denoise, LAW, student_steps=1, steps=500, learning_rate=0.016, generator=seeded(1)))
    with torch.no_grad():
        one_step = last(sample(student, noise, time_grid(1)))
    two_steps, one_of_teacher = (last(sample(LAW.denoise, noise, time_grid(n))) for n in (2, 1))
    missed = (one_step - two_steps).square().sum(1).mean()
    assert missed < 0.02 * (one_of_teacher - two_steps).square().sum(1).mean()


# Consistency models


def test_consistency_model_is_the_identity_at_time_zero():
    torch.manual_seed(0)
    model, x = ConsistencyModel(TimeMLP(dim=2)), torch.randn(50, 2, generator=seeded())
    assert torch.equal(model(x, 0.0), x)
    assert not torch.allclose(model(x, 0.5), x)


def test_ode_step_is_of_second_order():
    """For one Gaussian the path is known: x_t = alpha mean + sqrt(alpha^2 std^2 + sigma^2) z."""
    law, z = one_gaussian(), torch.tensor([[0.7]], dtype=torch.float64)

    def on_path(t: float):
        return (1 - t) * 1.5 + ((1 - t) ** 2 * 0.25 + t**2) ** 0.5 * z

    errors = []
    for h in (0.1, 0.05):
        t, s = (torch.tensor([value], dtype=torch.float64) for value in (0.6, 0.6 - h))
        errors.append((ode_step(law.denoise, on_path(0.6), t, s) - on_path(0.6 - h)).abs().item())
    assert errors[0] / errors[1] > 6  # local error of order 3: a factor 8; DDIM would have 4


def test_a_consistency_model_jumps_where_the_steps_of_its_teacher_end():
    law, intervals = GaussianMixture(torch.tensor([[1.5]]), torch.tensor([0.5])), 4
    torch.manual_seed(0)
    model = ConsistencyModel(TimeMLP(dim=1, width=32))
    states = distil_consistency(model, law.denoise, law, 500, intervals, learning_rate=0.004, generator=seeded())
    exhaust(states)
    z = torch.randn(1000, 1, generator=seeded(1))
    for start in range(1, intervals + 1):
        t = start / intervals
        x = walked = (1 - t) * 1.5 + ((1 - t) ** 2 * 0.25 + t**2) ** 0.5 * z
        for index in range(start, 0, -1):
            t, s = (torch.full((1000,), i / intervals) for i in (index, index - 1))
            walked = ode_step(law.denoise, walked, t, s)
        with torch.no_grad():
            assert (model(x, start / intervals) - walked).abs().mean() < 0.05


def test_consistency_sampling_noises_again_between_jumps():
    """With a model that always answers 3, every state on the way is 3 noised to its own time."""
    states = list(
        sample_consistency(lambda x, t: torch.full_like(x, 3.0), torch.zeros(20_000, 1), time_grid(4), seeded())
    )
    assert len(states) == 5
    for t, x in zip((0.75, 0.5, 0.25), states[1:4], strict=True):
        assert x.mean().item() == pytest.approx(3 * (1 - t), abs=0.02)
        assert x.std().item() == pytest.approx(t, rel=0.02)
    assert torch.equal(states[-1], torch.full((20_000, 1), 3.0))


# Denoising diffusion GAN


def test_a_true_pair_has_the_laws_of_both_times_and_their_covariance():
    x0 = torch.full((100_000, 1), 2.0)
    t, s = torch.full((100_000,), 0.8), torch.full((100_000,), 0.3)
    earlier, later = noisy_pair(x0, t, s, seeded())
    assert earlier.mean().item() == pytest.approx(0.7 * 2, abs=0.01)
    assert later.mean().item() == pytest.approx(0.2 * 2, abs=0.02)
    covariance = torch.cov(torch.cat([earlier, later], dim=1).T)
    ratio = 0.2 / 0.7
    expected = torch.tensor([[0.09, ratio * 0.09], [ratio * 0.09, 0.64]])
    assert torch.allclose(covariance, expected, atol=0.01)


class Simple(nn.Module):
    """A critic that looks at nothing but the sum of x_s."""

    def __init__(self, slope: float = 0.0):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, earlier, x, t):
        return self.slope * earlier.sum(1)


def test_a_blind_critic_has_the_loss_of_two_coins():
    x, t = torch.randn(10, 2, generator=seeded()), torch.ones(10)
    assert critic_loss(Simple(0.0), x, x, x, t, penalty=1.0).item() == pytest.approx(2 * math.log(2), rel=1e-6)


def test_the_penalty_is_half_the_squared_slope_of_the_critic():
    x, t = torch.randn(10, 2, generator=seeded()), torch.ones(10)
    plain, punished = (critic_loss(Simple(2.0), x, x, x, t, penalty=penalty).item() for penalty in (0.0, 0.5))
    assert punished - plain == pytest.approx(0.5 / 2 * (2**2 + 2**2), rel=1e-5)


def test_a_resumed_gan_goes_on_as_if_it_had_never_stopped():
    def start(resume=None):
        torch.manual_seed(0)
        pair = GanPair(DistributionalDenoiser(TimeMLP(2, noise_dim=2, width=8), (2,)), Critic(2, width=8))
        generator = torch.Generator().manual_seed(99 if resume else 1)
        return pair, train_gan(pair, LAW, time_grid(2), steps=12, generator=generator, resume=resume)

    straight, states = start()
    saved = [state.state_dict() for state in states if state.step == 5]
    resumed, states = start(saved[0])
    exhaust(states)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_a_gan_step_draws_both_modes_where_the_standard_step_draws_their_mean():
    law, times = two_gaussians(), time_grid(1)
    torch.manual_seed(0)
    pair = GanPair(DistributionalDenoiser(TimeMLP(2, noise_dim=2, width=32), (2,)), Critic(dim=2, width=32))
    exhaust(train_gan(pair, law, times, steps=600, learning_rate=0.004, penalty=1.0, generator=seeded()))
    noise, data = torch.randn(2000, 2, generator=seeded(1)), law.sample(2000, seeded(2))
    drawn = last(sample_distributional(pair.denoiser, noise, times, generator=seeded(3)))
    exact_mean = last(sample(law.denoise, noise, times))
    assert energy_distance(drawn, data) < 0.2 * energy_distance(exact_mean, data)
    assert 0.3 < (drawn[:, 0] > 0).float().mean() < 0.7
