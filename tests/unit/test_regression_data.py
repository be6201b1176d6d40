"""Regression problems with a known answer: what is drawn has the stated moments, and what is hidden does what it must."""

import dataclasses
import math

import pytest
import torch
from agree import seeded
from scipy.stats import kstest, norm

from companion.data.regression import Confounded, SineWaves

CHANCE = 1e-3


def mean_within_noise(values: torch.Tensor, expected: float = 0.0) -> bool:
    """Whether the mean of independent values is the expected one, to five standard errors."""
    values = values.double().flatten()
    return bool((values.mean() - expected).abs() < 5 * values.std() / len(values) ** 0.5)


# --- sums of sines --------------------------------------------------------------------------------------------


def test_a_function_is_the_stated_sum_of_sines():
    law = SineWaves(inputs=3, outputs=2, waves=4, frequency=1.5, seed=3)
    generator = seeded(3)
    omega = 1.5 * torch.randn(3, 4, generator=generator)
    phase = 2 * math.pi * torch.rand(4, generator=generator)
    amplitude = torch.randn(4, 2, generator=generator) / 2
    x = torch.randn(7, 3, generator=seeded())
    wanted = torch.zeros(7, 2)
    for wave in range(4):
        wanted += torch.sin(x @ omega[:, wave] + phase[wave])[:, None] * amplitude[wave]
    torch.testing.assert_close(law(x), wanted)


def test_over_all_functions_the_value_at_a_point_has_mean_0_and_variance_one_half_whatever_the_waves():
    x = torch.tensor([[0.3, -0.7]])
    for waves in (1, 6):
        values = torch.cat([SineWaves(waves=waves, outputs=10, seed=seed)(x) for seed in range(500)])
        assert mean_within_noise(values.mean(1))
        assert mean_within_noise(values.square().mean(1), 0.5)


def test_over_all_functions_two_points_agree_as_a_gaussian_kernel_says():
    """The mean of f(x) f(y) is exp(-frequency^2 |x - y|^2 / 2) / 2, which says how fast functions change."""
    x, y = torch.tensor([[0.3, -0.7]]), torch.tensor([[0.1, -0.4]])
    for frequency in (0.5, 4.0):
        laws = [SineWaves(frequency=frequency, outputs=10, seed=seed) for seed in range(500)]
        products = torch.cat([law(x) * law(y) for law in laws]).mean(1)
        wanted = 0.5 * math.exp(-0.5 * frequency**2 * (x - y).square().sum().item())
        assert mean_within_noise(products, wanted)
    steady = SineWaves(frequency=0)
    torch.testing.assert_close(steady(x), steady(y))


def test_outputs_are_functions_of_their_own():
    values = SineWaves(outputs=3)(2 * torch.rand(500, 2, generator=seeded()) - 1)
    correlation = torch.corrcoef(values.T)
    assert (correlation - torch.eye(3)).abs().max() < 0.99
    assert bool((values.std(0) > 0.05).all())


def test_the_seed_alone_draws_the_function():
    x, before = torch.randn(5, 2, generator=seeded()), torch.random.get_rng_state()
    law = SineWaves(seed=4)
    first = law(x)
    law.sample(10, seeded(9))
    assert torch.equal(law(x), first)
    assert torch.equal(SineWaves(seed=4, noise=0.5)(x), first)
    assert not torch.equal(SineWaves(seed=5)(x), first)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert law == SineWaves(seed=4)


def test_inputs_are_uniform_and_targets_are_the_function_with_noise_of_the_stated_size():
    law, n = SineWaves(inputs=3, outputs=2, noise=0.3), 20_000
    x, y = law.sample(n, seeded(1))
    assert (x.shape, y.shape) == ((n, 3), (n, 2))
    for column in x.T:
        assert kstest(column.numpy(), "uniform", (-1, 2)).pvalue > CHANCE
    noise = (y - law(x)) / 0.3
    for column in noise.T:
        assert kstest(column.numpy(), "norm").pvalue > CHANCE
    assert mean_within_noise(noise[:, 0] * noise[:, 1])
    assert mean_within_noise(noise[:, 0] * x[:, 0])
    assert mean_within_noise(x[:, 0] * x[:, 1])


def test_without_noise_targets_are_the_function():
    law = SineWaves(noise=0)
    x, y = law.sample(10, seeded())
    assert torch.equal(y, law(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_function_keeps_the_dtype_of_its_inputs(dtype):
    law, x = SineWaves(), torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    assert law(x.to(dtype)).dtype == dtype
    torch.testing.assert_close(law(x.to(dtype)).double(), law(x), rtol=0, atol=1e-5)
    assert law.sample(3, seeded())[1].dtype == torch.float32
    x.requires_grad_()
    assert torch.autograd.gradcheck(law, x)


@pytest.mark.parametrize("law", [SineWaves(), Confounded()], ids=["sines", "confounded"])
def test_samples_repeat_with_their_generator_and_draw_from_no_other(law):
    before = torch.random.get_rng_state()
    first, generator = law.sample(10, seeded()), seeded()
    again, later = law.sample(10, generator), law.sample(10, generator)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(again[0], later[0])
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(0)
    assert all(torch.equal(one, other) for one, other in zip(first, law.sample(10), strict=True))


def test_laws_cannot_be_changed_and_have_the_lessons_sizes():
    for law, name in ((SineWaves(), "noise"), (Confounded(), "confounding")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(law, name, 2.0)
    assert dataclasses.astuple(SineWaves()) == (2, 5, 6, 2.0, 0.01, 0)
    assert dataclasses.astuple(Confounded()) == (1.0, 0.1)


# --- a confounded cause ---------------------------------------------------------------------------------------

N = 100_000
SPREAD = 1 + 0.1**2  # variance of what moves the treatment besides the instrument


def rows(**settings) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Instrument (n, 2), treatment (n,) and outcome (n,)."""
    z, x, y = Confounded(**settings).sample(N, seeded())
    return z.double(), x[:, 0].double(), y[:, 0].double()


def test_rows_have_two_instruments_one_treatment_and_one_outcome_in_single_precision():
    drawn = Confounded().sample(4, seeded())
    assert [part.shape for part in drawn] == [(4, 2), (4, 1), (4, 1)]
    assert all(part.dtype == torch.float32 for part in drawn)
    assert drawn.instrument is drawn[0]
    assert drawn.treatment is drawn[1]
    assert drawn.outcome is drawn[2]


def test_what_would_happen_if_the_treatment_were_set_is_its_sine():
    treatment = torch.linspace(-4, 4, 9)
    for law in (Confounded(), Confounded(confounding=-3)):
        for shape in ((9,), (9, 1), (3, 3)):
            assert torch.equal(law.structural(treatment.view(shape)), treatment.view(shape).sin())


def test_instruments_are_uniform_and_the_treatment_is_the_first_with_the_hidden_cause_and_noise():
    z, x, _ = rows()
    for column in z.T:
        assert kstest(column.numpy(), "uniform", (-3, 6)).pvalue > CHANCE
    assert mean_within_noise(z[:, 0] * z[:, 1])
    moved = (x - z[:, 0]) / SPREAD**0.5
    assert kstest(moved.numpy(), "norm").pvalue > CHANCE
    assert mean_within_noise(x.square(), 3 + SPREAD)


@pytest.mark.parametrize("confounding", [0, 1, -2.5])
def test_the_outcome_is_the_structure_with_the_hidden_cause_and_noise(confounding):
    z, x, y = rows(confounding=confounding)
    left, hidden = y - x.sin(), x - z[:, 0]
    assert mean_within_noise(left)
    assert mean_within_noise(left.square(), confounding**2 + 0.1**2)
    assert mean_within_noise(left * hidden, confounding)
    without_noise = Confounded(confounding, noise=0).sample(1000, seeded())
    cause = without_noise.treatment - without_noise.instrument[:, :1]
    torch.testing.assert_close(without_noise.outcome, without_noise.treatment.sin() + confounding * cause)


def test_the_noise_of_treatment_and_outcome_are_two():
    """With a large noise the hidden cause is still all that treatment and outcome share."""
    z, x, y = rows(noise=2.0)
    moved, left = x - z[:, 0], y - x.sin()
    assert mean_within_noise(moved.square(), 1 + 4)
    assert mean_within_noise(left.square(), 1 + 4)
    assert mean_within_noise(moved * left, 1)


def test_neither_instrument_has_to_do_with_the_hidden_cause_or_another_way_to_the_outcome():
    z, x, y = rows(confounding=2)
    for instrument in z.T:
        for power in (1, 2, 3):
            assert mean_within_noise(instrument**power * (x - z[:, 0]))
            assert mean_within_noise(instrument**power * (y - x.sin()))


def test_the_second_instrument_moves_nothing():
    z, x, y = rows()
    useless = z[:, 1]
    for values in (x, y, x.sin(), x.square() - x.square().mean(), z[:, 0]):
        for power in (1, 3):
            assert mean_within_noise(useless**power * values)
    useful = z[:, 0] * x
    assert mean_within_noise(useful, 3)


@pytest.mark.parametrize("confounding", [0, 1, -2.5])
def test_a_line_fitted_to_treatment_and_outcome_is_off_by_the_confounding_over_the_treatments_variance(confounding):
    """cov(x, y) = E x sin(x) + confounding, worked out with e + noise ~ N(0, s) and z ~ U[-3, 3]."""
    _, x, y = rows(confounding=confounding)
    slope = torch.cov(torch.stack([x, y]))[0, 1] / x.var()
    of_z, cosine = (math.sin(3) - 3 * math.cos(3)) / 3, math.sin(3) / 3  # E z sin(z), E cos(z)
    right = math.exp(-SPREAD / 2) * (of_z + SPREAD * cosine) / (3 + SPREAD)
    wanted = right + confounding / (3 + SPREAD)
    assert slope.item() == pytest.approx(wanted, abs=0.01 * (1 + abs(confounding)))
    if confounding:
        assert abs(slope.item() - right) > 0.2


@pytest.mark.parametrize("confounding", [0, 1, -2.5])
def test_the_slope_that_the_instrument_tells_does_not_feel_the_confounding(confounding):
    """cov(z, y) / cov(z, x) = exp(-s / 2) E z sin(z) / 3."""
    z, x, y = rows(confounding=confounding)
    wanted = math.exp(-SPREAD / 2) * (math.sin(3) - 3 * math.cos(3)) / 3 / 3
    found = (z[:, 0] * y).mean() / (z[:, 0] * x).mean()
    assert found.item() == pytest.approx(wanted, abs=0.01 * (1 + abs(confounding)))


def test_regression_finds_the_sine_and_what_it_can_tell_of_the_hidden_cause():
    """E[y | x] - sin(x) is E[e | x], for a normal e between x - 3 and x + 3; and it is 0 where nothing confounds."""
    for confounding in (0.0, 1.0):
        _, x, y = rows(confounding=confounding, noise=0)
        for low in torch.arange(-4, 4, 0.5).tolist():
            inside = (x >= low) & (x < low + 0.5)
            ends = x[inside].numpy() - 3, x[inside].numpy() + 3
            expected = (norm.pdf(ends[0]) - norm.pdf(ends[1])) / (norm.cdf(ends[1]) - norm.cdf(ends[0]))
            gap = y[inside] - x[inside].sin() - confounding * torch.from_numpy(expected)
            assert gap.mean().abs() < 5 * confounding / inside.sum() ** 0.5 + 1e-7
        if confounding:
            assert (y - x.sin())[x > 3].mean() > 1
