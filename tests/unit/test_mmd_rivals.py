"""The rivals of deep MMD gradient flow against answers that are known exactly."""

import math
from itertools import islice, pairwise

import pytest
import torch
from agree import last, seeded
from torch import nn

from companion.data.toy import eight_gaussians
from companion.foundations import distances
from companion.foundations.distances import energy_distance
from companion.methods.mmd_flow import mmd_flow, riesz, witness_slope
from companion.methods.rivals.critic_flow import (
    EXPONENT,
    PointCritic,
    critic_flow,
    critic_slope,
    falling,
    kl_loss,
    wasserstein_loss,
)
from companion.methods.rivals.one_pass_gan import (
    Generator,
    OnePassPair,
    critic_loss,
    generator_loss,
    train_one_pass,
)
from companion.methods.rivals.sliced_energy import slice_constant, sliced_energy_flow, sliced_energy_slope

LAW = eight_gaussians()


def normal(n, *event, seed=0, dtype=torch.float64):
    return torch.randn(n, *event, generator=seeded(seed), dtype=dtype)


def clouds(dim, n=40, m=50):
    """Particles and data with every kind of tie: two particles, two data, and a particle and a datum in one place."""
    z, y = normal(n, dim), normal(m, dim, seed=1) + 0.5
    z[1], y[1], z[2] = z[0], y[0], y[2]
    return z, y


class Linear(nn.Module):
    """The critic <w, x> + b of events of any shape."""

    def __init__(self, weight, bias=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.as_tensor(weight, dtype=torch.float64))
        self.bias = nn.Parameter(torch.tensor(bias, dtype=torch.float64))

    def forward(self, x):
        return x.flatten(1) @ self.weight + self.bias


class Table(nn.Module):
    """A "generator" of images (1, 2, 2): it shifts and scales noise."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1, 2, 2, dtype=torch.float64))

    def draw(self, n, generator=None):
        return torch.randn(n, 1, 2, 2, generator=generator, dtype=torch.float64) + self.shift


def critic_of_points(dim=2, seed=0, dtype=torch.float64, width=32):
    torch.manual_seed(seed)
    return PointCritic(dim, width).to(dtype)


# Sliced energy flow


def test_the_constant_of_slices_on_the_line_in_the_plane_and_in_space():
    assert [slice_constant(dim) for dim in (1, 2, 3)] == pytest.approx([1, math.pi / 2, 2], rel=1e-12)
    assert slice_constant(4000) == pytest.approx(math.sqrt(math.pi * 2000), rel=1e-3)


def test_a_length_is_the_constant_times_its_mean_length_on_a_random_line():
    lines = nn.functional.normalize(normal(200_000, 10), dim=1)
    vector = normal(10, seed=1)
    assert slice_constant(10) * (lines @ vector).abs().mean() == pytest.approx(vector.norm().item(), rel=0.01)


def test_on_the_line_one_slice_gives_the_slope_of_the_kernel():
    z, y = clouds(1)
    torch.testing.assert_close(sliced_energy_slope(z, y, 1, seeded()), witness_slope(z, z, y, riesz(1)))


@pytest.mark.parametrize("dim", [2, 10])
def test_slices_estimate_the_slope_of_the_kernel_without_bias(dim):
    """Forty estimates of 500 slices: their mean is off by no more than its own standard error explains."""
    (z, y), generator = clouds(dim), seeded(2)
    exact = witness_slope(z, z, y, riesz(1))
    estimates = torch.stack([sliced_energy_slope(z, y, 500, generator) for _ in range(40)])
    error, standard = estimates.mean(0) - exact, estimates.std(0) / math.sqrt(40)
    assert standard.mean() < 0.01 * exact.norm(dim=1).mean()
    assert (error / standard).square().mean() < 1.5  # 1 in expectation
    wrong = estimates.mean(0) * slice_constant(dim + 1) / slice_constant(dim) - exact
    assert (wrong / standard).square().mean() > 3  # the constant of the next dimension, 5% off where d = 10


def test_twice_the_slices_halve_the_variance_of_a_slope():
    (z, y), generator = clouds(10), seeded(2)
    few, many = (
        torch.stack([sliced_energy_slope(z, y, slices, generator) for _ in range(200)]).var(0).mean()
        for slices in (8, 16)
    )
    assert few / many == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [2, 64])
def test_particles_in_one_place_stay_in_one_place(dim, dtype):
    # 24 of them: a product of matrices may round the rows left over from its blocks another way, and then there are no ties
    together, data = normal(1, dim, dtype=dtype).repeat(24, 1), normal(20, dim, seed=1, dtype=dtype)
    moved = last(sliced_energy_flow(together, data, 0.5, 3, 32, generator=seeded()))
    assert torch.equal(moved, moved[:1].expand_as(moved))
    assert (moved[0] - together[0]).norm() > 0.1


def test_slices_in_blocks_give_the_same_slope(monkeypatch):
    z, y = clouds(3)
    whole = sliced_energy_slope(z, y, 50, seeded())
    monkeypatch.setattr(distances, "PAIRS_AT_ONCE", 4 * (len(z) + len(y)) + 1)
    torch.testing.assert_close(sliced_energy_slope(z, y, 50, seeded()), whole)


def test_a_step_has_the_units_of_the_kernel_flow():
    z, y = clouds(2)
    sliced = last(sliced_energy_flow(z, y, 0.3, 4, 20_000, generator=seeded()))
    exact = last(mmd_flow(z, y, riesz(1), 0.3, 4))
    assert (sliced - exact).norm(dim=1).mean() < 0.02 * (exact - z).norm(dim=1).mean()


def test_momentum_keeps_a_share_of_the_last_velocity():
    """On the line slopes are exact, so the recursion can be written down."""
    z, y = clouds(1)
    slope = lambda points: witness_slope(points, points, y, riesz(1))  # noqa: E731
    first, second, third = islice(sliced_energy_flow(z, y, 0.2, 2, 3, momentum=0.7, generator=seeded()), 3)
    assert torch.equal(first, z)
    velocity = slope(z)
    torch.testing.assert_close(second, z - 0.2 * velocity)
    torch.testing.assert_close(third, second - 0.2 * (0.7 * velocity + slope(second)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sliced_flow_keeps_shape_and_dtype_and_repeats_itself(dtype):
    z, y = normal(6, 1, 2, 3, dtype=dtype), normal(7, 1, 2, 3, seed=1, dtype=dtype)
    before = z.clone()
    runs = [list(sliced_energy_flow(z, y, 0.5, 3, 8, 0.5, seeded(seed))) for seed in (1, 1, 2)]
    assert [len(run) for run in runs] == [4, 4, 4]
    assert all(cloud.shape == z.shape and cloud.dtype == dtype for cloud in runs[0])
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not torch.equal(runs[0][-1], runs[2][-1])
    assert torch.equal(z, before)
    flat = last(sliced_energy_flow(z.flatten(1), y.flatten(1), 0.5, 3, 8, 0.5, seeded(1)))
    assert torch.equal(runs[0][-1].flatten(1), flat)


# Critic flow


def test_the_wasserstein_loss_of_a_linear_critic():
    true, drawn, weight = normal(30, 2, 2), normal(30, 2, 2, seed=1) + 1, normal(4, seed=2)
    difference = (drawn.flatten(1).mean(0) - true.flatten(1).mean(0)) @ weight
    loss = wasserstein_loss(Linear(weight), true, drawn, 3.0, seeded())
    torch.testing.assert_close(loss.detach(), difference + 3.0 * (weight.norm() - 1) ** 2)
    torch.testing.assert_close(wasserstein_loss(Linear(weight), true, drawn, 0).detach(), difference)


def test_slopes_are_taken_on_the_way_between_the_clouds():
    """The critic x^2/2 has slope x: with all drawn at 1 and all true at 3, slopes are uniform in [1, 3]."""

    class Square(nn.Module):
        def forward(self, x):
            return x[:, 0].square() / 2

    true, drawn = torch.full((200_000, 1), 3.0), torch.full((200_000, 1), 1.0)
    loss = wasserstein_loss(Square(), true, drawn, 1.0, seeded())
    assert loss.item() == pytest.approx(1 / 2 - 9 / 2 + 4 / 3, rel=0.01)  # E (u - 1)^2 = 4/3
    loss = kl_loss(Square(), true, drawn, 1.0, seeded())
    assert loss.item() == pytest.approx(1 / 2 + math.exp(-9 / 2) + 13 / 6, rel=0.01)  # E u^2 / 2 = 13/6


def test_the_kl_loss_is_least_at_the_log_ratio_and_then_one_minus_the_divergence():
    """Drawn from N(0, 1), true from N(1, 1): the log ratio is x - 1/2, the divergence 1/2."""
    drawn, true = normal(400_000, 1), normal(400_000, 1, seed=1) + 1
    critic = Linear([1.0], -0.5)
    loss = kl_loss(critic, true, drawn, 0)
    loss.backward()
    assert loss.item() == pytest.approx(1 / 2, abs=0.01)
    assert critic.weight.grad.abs().item() < 0.01
    assert critic.bias.grad.abs().item() < 0.01
    for other in (Linear([0.8], -0.5), Linear([1.2], -0.5), Linear([1.0], -0.3), Linear([1.0], -0.7)):
        assert kl_loss(other, true, drawn, 0) > loss + 0.005


def test_the_kl_loss_of_a_hopeless_critic_is_finite_and_still_pulls():
    critic = Linear([0.0], -1000.0)
    loss = kl_loss(critic, normal(10, 1), normal(10, 1, seed=1), 0)
    loss.backward()
    assert loss.item() == pytest.approx(-1000 + math.exp(EXPONENT) * (1 + 1000 - EXPONENT))
    assert critic.bias.grad.item() == pytest.approx(1 - math.exp(EXPONENT))


def test_particles_go_up_the_slope_of_the_critic():
    class Bowl(nn.Module):
        def forward(self, x):
            return -x.square().flatten(1).sum(1) / 2

    z = normal(5, 2, 3)
    torch.testing.assert_close(critic_slope(Bowl(), z), -z)


@pytest.mark.parametrize(("critic", "tolerance"), [("linear", 0.005), ("network", 0.06)])
def test_a_wasserstein_critic_between_far_gaussians_is_as_steep_as_1_towards_the_data(critic, tolerance):
    """Exactly 1 + distance / (2 penalty), where (slope - 1)^2 balances what a steeper critic gains on the way."""
    z, away = 0.1 * normal(400, 2), torch.tensor([4.0, 3.0], dtype=torch.float64)
    data = 0.1 * normal(400, 2, seed=1) + away
    critic = Linear([0.1, 0.1]) if critic == "linear" else critic_of_points(width=16)
    settings = {"penalty": 50, "learning_rate": 5e-3, "batch_size": 128, "generator": seeded()}
    _, moved = critic_flow(z, data, critic, 0.5, 1, 500, **settings)
    slope = (moved - z) / 0.5
    assert slope.norm(dim=1).mean() == pytest.approx(1 + 5 / (2 * 50), abs=tolerance)
    assert ((slope @ away / 5) / slope.norm(dim=1)).mean() > 0.98


@pytest.mark.parametrize("critic", ["linear", "network"])
def test_a_kl_critic_between_gaussians_learns_the_log_ratio(critic):
    """Particles N(0, I), data N(mu, I): the log ratio is mu x - |mu|^2 / 2, and its slope mu everywhere."""
    mu = torch.tensor([1.0, 0.5], dtype=torch.float64)
    z, data = normal(4000, 2), lambda n, generator: torch.randn(n, 2, generator=generator, dtype=mu.dtype) + mu
    critic = Linear([0.0, 0.0]) if critic == "linear" else critic_of_points(width=16)
    settings = {"divergence": "kl", "penalty": 0, "batch_size": 1000, "learning_rate": 5e-3, "generator": seeded()}
    _, moved = critic_flow(z, data, critic, 0.5, 1, 400, **settings)
    exact = z @ mu - mu @ mu / 2
    with torch.no_grad():
        error = (critic(z) - exact).square().mean().sqrt()
    assert error < 0.15 * exact.std()
    assert ((moved - z) / 0.5 - mu).norm(dim=1).mean() < 0.15 * mu.norm()


def test_a_critic_that_is_never_penalised_gets_steeper_than_one_that_is():
    """Clouds 10 apart hardly overlap, so their log ratio is steep."""
    z, data = normal(200, 2), normal(200, 2, seed=1) + 7
    settings = {"divergence": "kl", "batch_size": 64, "learning_rate": 5e-3}
    moves = []
    for penalty in (0, 10):
        flow = critic_flow(
            z, data, critic_of_points(width=8), 1.0, 1, 300, penalty=penalty, **settings, generator=seeded()
        )
        moves.append((last(flow) - z).norm(dim=1).mean())
    assert moves[0] > 3 * moves[1]


def test_every_step_has_its_own_length():
    """A critic that hardly learns has one slope, so particles move by the schedule."""
    z, critic = normal(5, 2), Linear([0.6, 0.8])
    lengths = [0.5, 0.1, 0.25]
    flow = list(critic_flow(z, normal(5, 2, seed=1), critic, lengths, 3, 1, learning_rate=1e-12, generator=seeded()))
    for before, after, length in zip(flow, flow[1:], lengths):
        torch.testing.assert_close(after - before, length * torch.tensor([0.6, 0.8], dtype=torch.float64).expand(5, 2))


def test_falling_lengths_end_near_0():
    lengths = falling(2.0, 10)
    assert lengths[0] == 2.0
    assert lengths[5] == pytest.approx(1.0)
    assert all(a > b > 0 for a, b in pairwise(lengths))
    assert falling(0.3, 1) == (0.3,)


@pytest.mark.parametrize("divergence", ["wasserstein", "kl"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_critic_flow_keeps_shape_and_dtype_and_repeats_itself(dtype, divergence):
    class OfImages(PointCritic):
        def forward(self, x):
            return super().forward(x.flatten(1))

    z, data = normal(6, 1, 2, 3, dtype=dtype).requires_grad_(), normal(7, 1, 2, 3, seed=1, dtype=dtype)
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        critic = OfImages(6, width=8).to(dtype)
        with torch.no_grad():  # as inside a lesson's plot
            runs.append(list(critic_flow(z, data, critic, 0.1, 3, 2, divergence=divergence, generator=seeded(seed))))
    assert [len(run) for run in runs] == [4, 4, 4]
    assert torch.equal(runs[0][0], z)
    assert all(cloud.shape == z.shape and cloud.dtype == dtype and not cloud.requires_grad for cloud in runs[0])
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not torch.equal(runs[0][-1], runs[2][-1])
    assert z.grad is None


def test_a_critic_flow_that_is_stopped_has_trained_no_further():
    critic, asked = critic_of_points(), []

    def data(n, generator):
        asked.append(n)
        return normal(n, 2)

    flow = critic_flow(normal(10, 2), data, critic, 0.1, 100, 4, batch_size=16, generator=seeded())
    assert asked == []
    next(flow), next(flow), next(flow)
    assert asked == [16] * 8


# A GAN of one pass


def test_a_blind_critic_has_the_loss_of_two_coins_and_the_generator_that_of_one():
    blind, points = Linear([0.0, 0.0]), normal(10, 2)
    assert critic_loss(blind, points, points, "logistic", 0.5).item() == pytest.approx(2 * math.log(2))
    assert generator_loss(blind, points, "logistic").item() == pytest.approx(math.log(2))
    assert generator_loss(Linear([0.0, 0.0], 3.0), points, "wasserstein").item() == pytest.approx(-3)


def test_r1_is_half_the_squared_slope_at_true_points():
    class Square(nn.Module):
        def forward(self, x):
            return x.square().sum(1)

    true, drawn = normal(10, 2), normal(10, 2, seed=1)
    with_penalty, without = (critic_loss(Square(), true, drawn, "logistic", penalty) for penalty in (3.0, 0))
    torch.testing.assert_close(with_penalty - without, 3.0 / 2 * (2 * true).square().sum(1).mean())


def test_the_wasserstein_critic_is_that_of_the_critic_flow():
    critic, true, drawn = critic_of_points(), normal(10, 2), normal(10, 2, seed=1)
    ours = critic_loss(critic, true, drawn, "wasserstein", 2.0, seeded())
    assert torch.equal(ours, wasserstein_loss(critic, true, drawn, 2.0, seeded()))


def test_a_generator_still_learns_where_the_critic_is_sure():
    """The non-saturating loss: where the log odds are -30, log(1 - D) would send no gradient."""
    drawn = normal(10, 2).requires_grad_()
    critic = Linear([1.0, 0.0], -30.0)
    generator_loss(critic, drawn, "logistic").backward()
    torch.testing.assert_close(drawn.grad[:, 0], torch.full((10,), -0.1, dtype=torch.float64))


@pytest.mark.parametrize("loss", ["logistic", "wasserstein"])
def test_a_resumed_pair_goes_on_as_if_it_had_never_stopped(loss):
    def start(resume=None):
        torch.manual_seed(0)
        pair = OnePassPair(Generator(2, 3, width=8), PointCritic(2, width=8))
        return pair, train_one_pass(pair, LAW, 8, loss=loss, generator=seeded(99 if resume else 1), resume=resume)

    straight, states = start()
    saved = [state.state_dict() for state in states if state.step == 3]
    resumed, states = start(saved[0])
    assert [state.step for state in states] == [4, 5, 6, 7, 8]
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_a_pair_ends_with_its_average_and_training_repeats_itself():
    pairs = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        pair = OnePassPair(Generator(2, 3, width=8), PointCritic(2, width=8))
        state = last(train_one_pass(pair, LAW, 4, generator=seeded(seed)))
        assert state.model is pair
        assert not pair.training
        assert not state.loss.requires_grad
        for name, value in pair.state_dict().items():
            assert torch.equal(value, state.averaged.state_dict()[name])
        pairs.append(pair.generator.sample(5, seeded()))
    assert torch.equal(pairs[0], pairs[1])
    assert not torch.equal(pairs[0], pairs[2])


def test_the_rates_of_both_players_fall_to_0_along_half_a_cosine():
    pair = OnePassPair(Generator(2, 3, width=8), PointCritic(2, width=8))
    for state in train_one_pass(pair, LAW, 4, learning_rate=0.1, generator=seeded()):
        saved, wanted = state.state_dict(), 0.1 * (1 + math.cos(math.pi * state.step / 4)) / 2
        rates = [saved[player]["param_groups"][0]["lr"] for player in ("critic", "generator net")]
        assert rates == pytest.approx([wanted, wanted], abs=1e-9)


@pytest.mark.parametrize(
    ("loss", "critic_steps", "wanted"), [("logistic", None, 1), ("wasserstein", None, 2), ("logistic", 3, 3)]
)
def test_the_critic_is_updated_so_many_times_for_each_update_of_the_generator(loss, critic_steps, wanted):
    asked = []

    def data(n, generator):
        asked.append(n)
        return LAW.sample(n, generator)

    pair = OnePassPair(Generator(2, 3, width=8), PointCritic(2, width=8))
    for _ in train_one_pass(pair, data, 4, loss=loss, critic_steps=critic_steps, batch_size=16, generator=seeded()):
        pass
    assert asked == [16] * 4 * wanted


def test_samples_of_a_generator_repeat_themselves_in_its_dtype():
    generator = Generator(dim=3, noise_dim=2).double()
    points = generator.sample(7, seeded())
    assert points.shape == (7, 3)
    assert points.dtype == torch.float64
    assert not points.requires_grad
    assert torch.equal(points, generator.sample(7, seeded()))
    assert torch.equal(points, generator(normal(7, 2)).detach())


@pytest.mark.parametrize("loss", ["logistic", "wasserstein"])
def test_a_pair_of_images_finds_where_they_are(loss):
    """A generator that can only shift its noise finds the shift of the data."""
    pair, shift = OnePassPair(Table(), Linear([0.0] * 4)), torch.tensor([[[1.0, -1.0], [0.5, 0.0]]]).double()
    settings = {"loss": loss, "penalty": 5.0, "critic_steps": 5, "batch_size": 64, "learning_rate": 0.02}
    for _ in train_one_pass(pair, normal(4000, 1, 2, 2) + shift, 300, **settings, generator=seeded()):
        pass
    assert (pair.generator.shift - shift).abs().max() < 0.2


# All of them, on eight Gaussians


def by_slices(start, data):
    return last(sliced_energy_flow(start, data, 0.5, 60, 32, momentum=0.5, generator=seeded(2)))


def by_critic(divergence, step):
    def move(start, data):
        torch.manual_seed(0)
        settings = {"divergence": divergence, "learning_rate": 5e-3, "batch_size": 128, "generator": seeded(2)}
        return last(critic_flow(start, data, PointCritic(2), falling(step, 60), 60, **settings))

    return move


def by_gan(loss, steps):
    def draw(start, data):
        torch.manual_seed(0)
        pair = OnePassPair(Generator(2, 2), PointCritic(2))
        for _ in train_one_pass(pair, data, steps, loss=loss, batch_size=128, learning_rate=5e-3, generator=seeded(2)):
            pass
        return pair.generator.sample(len(start), seeded(3))

    return draw


RIVALS = {
    "slices": by_slices,
    "wasserstein": by_critic("wasserstein", 0.1),
    "kl": by_critic("kl", 0.05),
    "logistic gan": by_gan("logistic", 300),
    "wasserstein gan": by_gan("wasserstein", 150),
}


@pytest.mark.parametrize("rival", RIVALS)
def test_every_rival_comes_much_nearer_to_eight_gaussians_than_it_started(rival):
    start, data, fresh = normal(500, 2, dtype=torch.float32), LAW.sample(2000, seeded(4)), LAW.sample(2000, seeded(5))
    points = RIVALS[rival](start, data)
    assert energy_distance(points, fresh) < energy_distance(start, fresh) / 5
