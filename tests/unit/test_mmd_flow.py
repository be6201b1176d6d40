"""The flows of lesson 04 against exact answers: closed forms, loops written out, and what must not change.

A witness here has a small smooth network in double precision, or the identity for features, with which everything
can be worked out by hand. Seeds are fixed; an estimate may be four standard errors off.
"""

import copy
import itertools
import math

import pytest
import torch
from agree import normal, seeded
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import kstest
from torch import nn

from companion.data.toy import eight_gaussians
from companion.foundations import distances
from companion.foundations.distances import energy_distance, mmd2, rational_quadratic, rbf
from companion.foundations.networks import time_features
from companion.foundations.training import draw_batch
from companion.methods import mmd_flow as method
from companion.methods.mmd_flow import (
    CELLS,
    FeatureMLP,
    NoiseConditionalWitness,
    VarianceExploding,
    VariancePreserving,
    adaptive_flow,
    annealed,
    approximate_flow,
    best_bandwidth,
    gaussian_force,
    kale,
    kale_flow,
    mmd_flow,
    riesz,
    scaled_rbf,
    train_witness,
    witness_loss,
    witness_slope,
)

CHANCE = 1e-3
KERNELS = {
    "rbf": lambda: rbf(0.7),
    "scaled_rbf": lambda: scaled_rbf(1.3),
    "riesz": riesz,
    "riesz 1.5": lambda: riesz(1.5),
    "rational_quadratic": lambda: rational_quadratic(0.8, 0.5),
}
NOISINGS = {
    "preserving": VariancePreserving(),
    "preserving up to .9": VariancePreserving(0.2, 0.9),
    "exploding": VarianceExploding(),
    "exploding far": VarianceExploding(0.5, 20.0, data_std=0.6),
}
each_kernel = pytest.mark.parametrize("kernel", [make() for make in KERNELS.values()], ids=KERNELS.keys())
each_noising = pytest.mark.parametrize("noising", NOISINGS.values(), ids=NOISINGS.keys())


def double(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


class Smooth(nn.Module):
    """Three features that bend, turn with the position, and whose weights can be trained."""

    num_features = 3

    def __init__(self, dim: int, seed: int = 0, size: float = 1.0) -> None:
        super().__init__()
        self.first = nn.Parameter(normal(dim, 5, seed=seed))
        self.turn = nn.Parameter(normal(1, 5, seed=seed + 1))
        self.second = nn.Parameter(size * normal(5, 3, seed=seed + 2))
        self.seen = []

    def forward(self, x, position):
        self.seen.append((x.detach(), position.detach()))
        return torch.tanh(x.flatten(1) @ self.first + position.reshape(-1, 1) * self.turn) @ self.second


class Identity(nn.Module):
    """Features that are the coordinates, times one more than `turn` times the position."""

    def __init__(self, dim: int, turn: float = 0.0) -> None:
        super().__init__()
        self.num_features, self.turn = dim, turn

    def forward(self, x, position):
        return x.flatten(1) * (1 + self.turn * position.reshape(-1, 1))


def smooth(dim: int = 2, noising=None, size: float = 1.0) -> NoiseConditionalWitness:
    return NoiseConditionalWitness(Smooth(dim, size=size), noising).double()


def levels_of(witness: NoiseConditionalWitness, count: int = 4) -> torch.Tensor:
    return witness.noising.levels(count)


# --- bandwidths and forces ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distance", "std", "dimension"),
    [(1.0, 0.3, 2), (2.0, 0.3, 2), (4.0, 0.3, 2), (3, 0, 1), (3.0, 0.5, 5), (10.0, 0.7, 10), (30.0, 1.0, 64)],
)
def test_the_best_bandwidth_is_where_a_grid_finds_the_largest_force_to_three_digits(distance, std, dimension):
    best = best_bandwidth(distance, std, dimension)
    grid = torch.linspace(best / 3, 3 * best, 20_001, dtype=torch.float64)
    found = grid[gaussian_force(distance, std, grid, dimension).argmax()].item()
    assert found == pytest.approx(best, rel=5e-4)
    for other in (0.99 * best, 1.01 * best):
        assert gaussian_force(distance, std, other, dimension) < gaussian_force(distance, std, best, dimension)


@pytest.mark.parametrize(("distance", "best"), [(1, 0.2646), (2, 0.9055), (4, 1.9545), (0.5, 0)])
def test_the_best_bandwidths_of_the_lesson(distance, best):
    assert best_bandwidth(distance, 0.3, 2) == pytest.approx(best, abs=5e-5)


@given(std=st.floats(0.01, 5), share=st.floats(0, 1), dimension=st.integers(1, 100))
def test_gaussians_that_are_near_want_the_narrowest_kernel(std, share, dimension):
    distance = 0.999 * share * std * math.sqrt(2 * (dimension + 2))
    assert best_bandwidth(distance, std, dimension) == 0
    grid = torch.linspace(0, 5 * std, 200, dtype=torch.float64)
    forces = gaussian_force(distance, std, grid, dimension)
    assert forces.argmax() == 0


@given(scale=st.floats(0.1, 10), distance=st.floats(0, 10), std=st.floats(0, 2), dimension=st.integers(1, 20))
def test_a_best_bandwidth_is_a_length(scale, distance, std, dimension):
    scaled = best_bandwidth(scale * distance, scale * std, dimension)
    assert scaled == pytest.approx(scale * best_bandwidth(distance, std, dimension), rel=1e-6, abs=1e-6 * scale)


def test_distances_and_stds_may_be_tensors():
    distances_, stds = torch.tensor([0.5, 1.0, 4.0]).double(), torch.tensor([[0.3], [0.1]]).double()
    best = best_bandwidth(distances_, stds, 2)
    force = gaussian_force(distances_, stds, torch.tensor(0.4).double(), 2)
    assert best.shape == force.shape == (2, 3)
    for (row, std), (column, distance) in itertools.product(enumerate([0.3, 0.1]), enumerate([0.5, 1.0, 4.0])):
        assert best[row, column].item() == pytest.approx(best_bandwidth(distance, std, 2))
        assert force[row, column].item() == pytest.approx(gaussian_force(distance, std, 0.4, 2))
    assert best_bandwidth(4.0, torch.tensor(0.3), 2).item() == pytest.approx(1.9545, abs=5e-5)
    assert isinstance(best_bandwidth(4, 0.3, 2), float)
    assert isinstance(gaussian_force(4, 0.3, 1, 2), float)


@given(
    distance=st.floats(0, 5), std=st.floats(0.1, 2), bandwidth=st.floats(0.1, 3), dimension=st.integers(1, 12)
)  # fmt: skip
def test_the_force_is_the_slope_of_the_squared_mmd_of_two_gaussians(distance, std, bandwidth, dimension):
    """In closed form: for a difference N(mu, 2 std^2) the mean of the kernel is v^(-d/2) exp(-|mu|^2 / (2 v))."""
    mu = torch.zeros(dimension, dtype=torch.float64)
    mu[0] = distance
    mu.requires_grad_()
    v = bandwidth**2 + 2 * std**2
    mean_kernel = lambda shift: v ** (-dimension / 2) * torch.exp(-shift.square().sum() / (2 * v))  # noqa: E731
    squared = 2 * mean_kernel(torch.zeros(())) - 2 * mean_kernel(mu)
    (slope,) = torch.autograd.grad(squared, mu)
    force = gaussian_force(distance, std, bandwidth, dimension)
    assert force == pytest.approx(slope.norm().item(), rel=1e-9, abs=1e-12)
    assert slope[0] >= 0


def test_the_force_agrees_with_samples_under_the_normalised_kernel():
    distance, std, bandwidth, dimension = 1.2, 0.5, 0.8, 3
    forces = []
    for seed in range(12):
        noise = normal(2, 600, dimension, seed=seed)
        mu = torch.tensor([distance, 0, 0], dtype=torch.float64, requires_grad=True)
        normalised = lambda a, b: bandwidth**-dimension * rbf(bandwidth)(a, b)  # noqa: E731
        (slope,) = torch.autograd.grad(mmd2(std * noise[0], mu + std * noise[1], normalised), mu)
        forces.append(slope[0])
    forces = torch.stack(forces)
    error = forces.std() / len(forces) ** 0.5
    assert error < 0.03 * forces.mean()
    assert (forces.mean() - gaussian_force(distance, std, bandwidth, dimension)).abs() < 4 * error


@pytest.mark.parametrize("bandwidth", [1e-5, 1e-3, 0.02])
def test_a_tiny_bandwidth_in_many_dimensions_has_no_force_left(bandwidth):
    for distance, value in itertools.product((1.0, double(1.0)), (bandwidth, double(bandwidth))):
        assert gaussian_force(distance, 0, value, 64) == pytest.approx(0, abs=1e-9)
        assert gaussian_force(0 * distance, 0.1, value, 3) == 0


# --- kernels --------------------------------------------------------------------------------------------------


def test_kernels_by_hand():
    a, b = normal(5, 3), normal(4, 3, seed=1)
    square = (a[:, None] - b).square().sum(2)
    torch.testing.assert_close(scaled_rbf(0.6)(a, b), 0.36 * (-square / 0.72).exp())
    torch.testing.assert_close(riesz()(a, b), -square.sqrt())
    torch.testing.assert_close(riesz(0.5)(a, b), -(square**0.25))


@given(bandwidth=st.floats(0.3, 30), seed=st.integers(0, 99))
def test_near_by_the_force_of_the_scaled_kernel_is_the_difference_whatever_the_bandwidth(bandwidth, seed):
    target = normal(1, 3, seed=seed)
    point = target + 0.001 * bandwidth * normal(1, 3, seed=seed + 1)
    torch.testing.assert_close(
        witness_slope(point, point, target, scaled_rbf(bandwidth)), point - target, rtol=1e-4, atol=0
    )


def test_the_squared_mmd_of_the_riesz_kernel_is_the_energy_distance():
    x, y = normal(20, 2), normal(30, 2, seed=1) + 1
    for beta in (0.5, 1.0, 1.7):
        torch.testing.assert_close(mmd2(x, y, riesz(beta)), energy_distance(x, y, beta))


def test_an_annealed_schedule_goes_from_wide_to_narrow_by_equal_factors():
    apart = torch.tensor([[0.0], [1.0]])
    kernels = annealed(4, 0.25, 5, rbf)
    assert isinstance(kernels, tuple)
    bandwidths = [(-2 * kernel(apart[:1], apart[1:]).log()).rsqrt().item() for kernel in kernels]
    assert bandwidths == pytest.approx([4, 2, 1, 0.5, 0.25], rel=1e-4)
    (only,) = annealed(4, 0.25, 1)
    torch.testing.assert_close(only(apart, apart), scaled_rbf(4)(apart, apart))


# --- the slope of a witness -----------------------------------------------------------------------------------


def slope_by_hand(points, particles, target, kernel):
    """One point at a time, by autograd of the witness as it is written."""
    rows = []
    for row in points:
        point = row[None].clone().requires_grad_()
        value = kernel(point, particles).mean() - kernel(point, target).mean()
        rows.append(torch.autograd.grad(value, point)[0])
    return torch.cat(rows)


@each_kernel
@pytest.mark.parametrize("dim", [1, 2, 40])
def test_the_slope_is_that_of_the_witness_as_it_is_written(kernel, dim):
    points, particles, target = (dim**-0.5 * normal(n, dim, seed=n) for n in (5, 7, 9))
    target = target + 0.3
    slope = witness_slope(points, particles, target, kernel)
    torch.testing.assert_close(slope, slope_by_hand(points, particles, target, kernel))
    assert slope.norm(dim=1).min() > 0.01
    single = witness_slope(points.float(), particles.float(), target.float(), kernel)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), slope, rtol=1e-4, atol=1e-5)


@each_kernel
def test_the_slope_at_the_particles_is_n_halves_of_the_gradient_of_the_biased_squared_mmd(kernel):
    particles, target = normal(6, 2).requires_grad_(), normal(9, 2, seed=1) + 0.5
    biased = kernel(particles, particles).mean() + kernel(target, target).mean() - 2 * kernel(particles, target).mean()
    (gradient,) = torch.autograd.grad(biased, particles)
    torch.testing.assert_close(witness_slope(particles, particles, target, kernel), 3 * gradient)


@each_kernel
def test_particles_that_lie_on_each_other_or_on_data_push_nothing(kernel):
    target = normal(6, 2)
    particles = torch.cat([target[:2], target[:1], normal(2, 2, seed=1)])
    slope = witness_slope(particles, particles, target, kernel)
    assert bool(slope.isfinite().all())
    torch.testing.assert_close(slope[0], slope[2], rtol=0, atol=1e-12)
    for row, point in enumerate(particles):
        apart = [cloud[(cloud - point).norm(dim=1) > 0] for cloud in (particles, target)]
        point = point[None].clone().requires_grad_()
        value = kernel(point, apart[0]).sum() / 5 - kernel(point, apart[1]).sum() / 6
        torch.testing.assert_close(slope[row], torch.autograd.grad(value, point)[0][0])


@each_kernel
@pytest.mark.parametrize(("pairs", "rows"), [(20, 2), (45, 5), (12, 1), (1, 1)])
def test_blocks_are_bounded_and_change_nothing(kernel, monkeypatch, pairs, rows):
    points, particles, target = normal(23, 2), normal(9, 2, seed=1), normal(7, 2, seed=2)
    whole, asked = witness_slope(points, particles, target, kernel), []

    def spy(a, b):
        asked.append((len(a), len(b)))
        return kernel(a, b)

    monkeypatch.setattr(distances, "PAIRS_AT_ONCE", pairs)
    torch.testing.assert_close(witness_slope(points, particles, target, spy), whole, rtol=1e-10, atol=1e-12)
    assert all(a * b <= max(pairs, b) for a, b in asked)
    assert {b for _, b in asked} == {9, 7}
    assert max(a for a, b in asked if b == 9) == rows
    for size in (9, 7):
        assert sum(a for a, b in asked if b == size) == 23


def test_a_slope_is_no_part_of_a_graph_and_needs_none_around_it():
    points = normal(4, 2).requires_grad_()
    with torch.no_grad():
        slope = witness_slope(points, points, points + 1, riesz())
    assert not slope.requires_grad
    assert points.grad is None
    torch.testing.assert_close(slope, witness_slope(points, points, points + 1, riesz()))


# --- the flow of a kernel -------------------------------------------------------------------------------------


def test_one_particle_walks_to_one_target_in_closed_form():
    z, y = torch.tensor([[3.0, 4.0]]).double(), torch.zeros(1, 2).double()
    for kernel, length in ((scaled_rbf(2.0), lambda r: r * math.exp(-(r**2) / 8)), (riesz(), lambda r: 1.0)):
        radius = 5.0
        for state in mmd_flow(z, y, kernel, 0.3, 6):
            torch.testing.assert_close(state, radius * torch.tensor([[0.6, 0.8]]).double())
            radius -= 0.3 * length(radius)


@each_kernel
def test_a_flow_is_the_chain_of_its_steps_from_the_start_on(kernel):
    z, target = normal(6, 2), normal(8, 2, seed=1) + 1
    states = list(mmd_flow(z, target, kernel, 0.4, 5))
    assert len(states) == 6
    assert torch.equal(states[0], z)
    for before, after in itertools.pairwise(states):
        torch.testing.assert_close(after, before - 0.4 * slope_by_hand(before, before, target, kernel))
    assert [len(list(mmd_flow(z, target, kernel, 0.4, steps))) for steps in (0, 1)] == [1, 2]


def test_each_step_has_the_kernel_and_the_noise_of_its_schedule():
    z, target = normal(6, 2), normal(8, 2, seed=1) + 1
    kernels, noises = [scaled_rbf(2), riesz(), rbf(0.5)], [0.5, 0, 0.2]
    states = list(mmd_flow(z, target, kernels, 0.4, 3, noises, seeded(5)))
    generator = seeded(5)
    for kernel, noise, (before, after) in zip(kernels, noises, itertools.pairwise(states), strict=True):
        *_, alone = mmd_flow(before, target, kernel, 0.4, 1, noise, generator)
        assert torch.equal(alone, after)
    again = list(mmd_flow(z, target, tuple(kernels), 0.4, 3, tuple(noises), seeded(5)))
    assert all(torch.equal(a, b) for a, b in zip(states, again, strict=True))
    several = list(mmd_flow(z, target, annealed(3, 0.5, 7), 0.4, 7))
    for kernel, (before, after) in zip(annealed(3, 0.5, 7), itertools.pairwise(several), strict=True):
        torch.testing.assert_close(after, before - 0.4 * witness_slope(before, before, target, kernel))


@pytest.mark.parametrize("event", [(2,), (1, 2, 2)], ids=str)
def test_noise_moves_the_place_where_the_slope_is_taken_and_not_the_cloud(event):
    z, target, kernel = normal(6, *event), normal(8, *event, seed=1) + 1, scaled_rbf(1.5)
    draws = seeded(3)
    states = list(mmd_flow(z, target, kernel, 0.4, 3, noise=0.7, generator=seeded(3)))
    for before, after in itertools.pairwise(states):
        cloud = before.flatten(1)
        elsewhere = cloud + 0.7 * torch.randn(cloud.shape, generator=draws, dtype=torch.float64)
        moved = cloud - 0.4 * slope_by_hand(elsewhere, cloud, target.flatten(1), kernel)
        torch.testing.assert_close(after, moved.unflatten(1, event))


def test_noise_comes_from_the_generator_alone_and_without_noise_nothing_is_drawn():
    z, target, generator = normal(6, 2), normal(8, 2, seed=1), seeded(3)
    before, state = torch.random.get_rng_state(), generator.get_state()
    list(mmd_flow(z, target, riesz(), 0.4, 3, generator=generator))
    assert torch.equal(generator.get_state(), state)
    first = list(mmd_flow(z, target, riesz(), 0.4, 3, 0.5, generator))[-1]
    assert not torch.equal(generator.get_state(), state)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(first, list(mmd_flow(z, target, riesz(), 0.4, 3, 0.5, generator))[-1])


@each_kernel
def test_pictures_flow_as_their_rows_do_and_inputs_stay_as_they_were(kernel):
    z, target = normal(5, 3, 2, 2), normal(7, 3, 2, 2, seed=1) + 1
    z, target = z.to(memory_format=torch.channels_last).requires_grad_(), target.requires_grad_()
    copies = z.detach().clone(), target.detach().clone()
    pictures = list(mmd_flow(z, target, kernel, 0.4, 3, 0.1, seeded()))
    flat = mmd_flow(copies[0].flatten(1), copies[1].flatten(1), kernel, 0.4, 3, 0.1, seeded())
    for picture, row in zip(pictures, flat, strict=True):
        assert picture.shape == (5, 3, 2, 2)
        assert not picture.requires_grad
        torch.testing.assert_close(picture.flatten(1), row)
    assert torch.equal(z, copies[0])
    assert torch.equal(target, copies[1])
    assert z.grad is None
    assert target.grad is None


@each_kernel
def test_equal_clouds_stay_where_they_are(kernel):
    target = normal(30, 2)
    assert witness_slope(target.flip(0), target.flip(0), target, kernel).abs().max() < 1e-15
    *_, end = mmd_flow(target.flip(0), target, kernel, 0.5, 3)
    jitter = 3 * 0.5 / 30  # of -|x - y|, where a point is pushed by its double however near that is
    torch.testing.assert_close(end, target.flip(0), rtol=0, atol=jitter if kernel(end[:1], end[:1]) == 0 else 1e-12)


@given(seed=st.integers(0, 99), angle=st.floats(0, 6.3), name=st.sampled_from(sorted(KERNELS)))
def test_a_flow_turns_and_shifts_with_its_clouds_and_has_no_order(seed, angle, name):
    z, target, kernel = normal(5, 2, seed=seed), normal(6, 2, seed=seed + 1), KERNELS[name]()
    turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    turn = torch.tensor(turn, dtype=torch.float64)
    shift = normal(2, seed=seed + 2)
    *_, end = mmd_flow(z, target, kernel, 0.3, 3)
    *_, other = mmd_flow((z @ turn.T + shift).flip(0), (target @ turn.T + shift).roll(2, 0), kernel, 0.3, 3)
    torch.testing.assert_close(other.flip(0), end @ turn.T + shift, rtol=1e-8, atol=1e-8)


def test_a_small_step_goes_down_and_the_flow_arrives():
    law = eight_gaussians()
    target, z = law.sample(300, seeded()), normal(300, 2, seed=1, dtype=torch.float32)
    values = [energy_distance(state, target).item() for state in mmd_flow(z, target, riesz(), 0.5, 40)]
    assert all(after < before for before, after in itertools.pairwise(values[:10]))
    *_, end = mmd_flow(z, target, annealed(2, 0.2, 100), 2.0, 100)
    assert energy_distance(end, law.sample(300, seeded(2))) < values[0] / 20


# --- noise levels ---------------------------------------------------------------------------------------------


@each_noising
def test_positions_run_from_low_to_high_and_back(noising):
    positions = torch.linspace(0, 1, 101, dtype=torch.float64)
    levels = noising.at(positions)
    assert bool((levels.diff() > 0).all())
    assert levels[0].item() == pytest.approx(noising.low)
    assert levels[-1].item() == pytest.approx(noising.high)
    torch.testing.assert_close(noising.position(levels), positions, rtol=0, atol=1e-7)
    torch.testing.assert_close(noising.position(levels[3]), positions[3])
    beyond = torch.tensor([noising.low / 2, 2 * noising.high]).double()
    torch.testing.assert_close(noising.position(beyond), torch.tensor([0.0, 1.0]).double())


def test_levels_stand_at_equal_angles_or_equal_factors():
    angles = VariancePreserving(0.1, 0.8).levels(7).asin()
    torch.testing.assert_close(angles.diff(), angles.diff()[:1].expand(6))
    assert angles[0].sin().item() == pytest.approx(0.8)
    factors = VarianceExploding(0.1, 8.0).levels(7).log()
    torch.testing.assert_close(factors.diff(), factors.diff()[:1].expand(6))
    assert factors.exp()[-1].item() == pytest.approx(0.1)


@each_noising
@pytest.mark.parametrize("count", [1, 2, 25])
def test_levels_fall_from_high_to_low_and_never_leave_the_range(noising, count):
    levels = noising.levels(count)
    assert levels.shape == (count,)
    assert levels.dtype == torch.float64
    assert bool((levels.diff() < 0).all())
    assert levels[0].item() == pytest.approx(noising.high, rel=1e-14)
    assert count == 1 or levels[-1].item() == pytest.approx(noising.low, rel=1e-14)
    assert noising.low <= levels.min()
    assert levels.max() <= noising.high


@each_noising
@pytest.mark.parametrize("event", [(2,), (1, 2, 3)], ids=str)
def test_noise_is_added_by_hand_with_one_level_or_one_for_each_row(noising, event):
    x0, noise, levels = normal(4, *event), normal(4, *event, seed=1), levels_of_range(noising)
    keep = (1 - levels**2).clamp_min(0).sqrt() if isinstance(noising, VariancePreserving) else torch.ones(4).double()
    rows = noising.add(x0, levels, noise)
    assert rows.shape == x0.shape
    for row in range(4):
        by_hand = keep[row] * x0[row] + levels[row] * noise[row]
        torch.testing.assert_close(rows[row], by_hand)
        torch.testing.assert_close(noising.add(x0, levels[row], noise)[row], by_hand)


def levels_of_range(noising) -> torch.Tensor:
    return torch.linspace(noising.low, noising.high, 4, dtype=torch.float64)


def test_one_noising_keeps_a_variance_of_1_and_ends_in_plain_noise_and_the_other_adds_to_it():
    noising, noise, level = VariancePreserving(), normal(50_000), 0.6
    x0 = normal(50_000, seed=1)
    assert noising.add(x0, double(level), noise).var().item() == pytest.approx(1, abs=0.03)
    x0 = x0 + 3
    kept = noising.add(x0, double(level), noise)
    assert kept.mean().item() == pytest.approx(0.8 * 3, abs=0.02)
    assert torch.equal(noising.add(x0, double(1.0), noise), noise)
    exploded = VarianceExploding().add(x0, double(2.0), noise)
    assert exploded.mean().item() == pytest.approx(3, abs=0.05)
    assert exploded.var().item() == pytest.approx(5, abs=0.15)


def test_units_and_spreads():
    levels = torch.tensor([0.5, 2.0]).double()
    exploding, preserving = VarianceExploding(data_std=0.4), VariancePreserving()
    torch.testing.assert_close(exploding.unit(levels, 16), 4 * levels)
    torch.testing.assert_close(exploding.spread(levels), (levels**2 + 0.16).sqrt())
    assert preserving.unit(levels / 2, 16).tolist() == preserving.spread(levels / 2).tolist() == [1, 1]
    noised = exploding.add(0.4 * normal(50_000), levels[1], normal(50_000, seed=1))
    assert noised.std().item() == pytest.approx(exploding.spread(levels[1]).item(), rel=0.02)


# --- features -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 3])
def test_the_perceptron_by_hand(depth):
    torch.manual_seed(0)
    net = FeatureMLP(3, num_features=4, width=8, depth=depth, waves=2).double()
    x, position = normal(5, 3), torch.linspace(0, 1, 5).double()
    bend = lambda value: value * value.sigmoid()  # noqa: E731
    state = bend(net.from_x(x) + net.from_position(time_features(position, 2)))
    assert len(net.hidden) == depth
    for layer in net.hidden:
        state = state + bend(layer(state))
    features = net(x, position)
    assert features.shape == (5, net.num_features) == (5, 4)
    torch.testing.assert_close(features, net.head(state))
    torch.testing.assert_close(net(x, position[2])[2], features[2])
    assert (net(x, position[0]) - net(x, position[4])).abs().max() > 1e-3


def test_features_can_be_differentiated_twice():
    torch.manual_seed(0)
    net, x = FeatureMLP(2, 3, 8).double(), normal(3, 2).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: net(x, double(0.3)), x)


@each_noising
@pytest.mark.parametrize("event", [(2,), (1, 2, 3)], ids=str)
def test_a_witness_shows_its_network_points_of_spread_1_and_positions(noising, event):
    witness = smooth(math.prod(event), noising)
    x, levels = normal(4, *event), levels_of_range(noising)
    features = witness(x, levels)
    seen, position = witness.network.seen[-1]
    torch.testing.assert_close(position, torch.as_tensor(noising.position(levels)))
    for row in range(4):
        torch.testing.assert_close(seen[row], x[row] / noising.spread(levels[row]))
        torch.testing.assert_close(witness(x, levels[row])[row], features[row])


def test_a_witness_in_single_precision_takes_the_levels_of_its_noising():
    torch.manual_seed(0)
    witness, x = NoiseConditionalWitness(FeatureMLP(2)), normal(4, 2, dtype=torch.float32)
    for level in (*witness.noising.levels(3), witness.noising.levels(4)):
        features = witness(x, level)
        assert features.dtype == torch.float32
        torch.testing.assert_close(features, witness(x, level.float()))
    assert witness.mean_features(x, witness.noising.levels(3)[1]).dtype == torch.float32


# --- what a witness remembers ---------------------------------------------------------------------------------


@each_noising
def test_remembered_means_are_exact_where_they_were_taken_and_interpolated_between(noising):
    witness, data = smooth(2, noising), normal(200, 2) + 0.5
    assert not witness.remembers
    witness.remember(data, seeded(4))
    assert witness.remembers
    draws = seeded(4)
    for cell in range(CELLS + 1):
        level = noising.at(double(cell / CELLS))
        noised = noising.add(data, level, torch.randn(200, 2, generator=draws, dtype=torch.float64))
        for found, cloud in zip(witness.remembered(level), (data, noised), strict=True):
            torch.testing.assert_close(found, witness(cloud, level).mean(0), rtol=0, atol=1e-7)
            torch.testing.assert_close(found, witness.mean_features(cloud, level), rtol=0, atol=1e-7)
    for cell, share in ((0, 0.5), (10, 0.25), (63, 0.75)):
        for found, means in zip(
            witness.remembered(noising.at(double((cell + share) / CELLS))),
            (witness.clean_means, witness.noised_means),
            strict=True,
        ):
            torch.testing.assert_close(found, (1 - share) * means[cell] + share * means[cell + 1], rtol=0, atol=1e-7)
    between = noising.at(double(20.5 / CELLS))
    torch.testing.assert_close(witness.remembered(between)[0], witness.mean_features(data, between), rtol=0, atol=1e-3)
    beyond = [witness.remembered(double(level))[0] for level in (noising.low / 2, 2 * noising.high)]
    torch.testing.assert_close(beyond, [witness.clean_means[0], witness.clean_means[-1]])


def test_remembering_shows_the_network_so_many_rows_at_once_and_no_data_are_left_out():
    witness, other, data = smooth(), smooth(), normal(50, 2)
    witness.remember(data, seeded(), rows=7)
    other.remember(data, seeded())
    assert max(len(x) for x, _ in witness.network.seen) == 7
    for name in ("clean_means", "noised_means"):
        torch.testing.assert_close(getattr(witness, name), getattr(other, name))


def test_of_a_law_so_many_points_are_drawn_with_the_generator():
    law, witness, other = eight_gaussians().to(torch.float64), smooth(), smooth()
    generator = seeded()
    witness.remember(law, seeded(), rows=30)
    other.remember(law.sample(30, generator), generator, rows=30)
    assert torch.equal(witness.clean_means, other.clean_means)
    assert torch.equal(witness.noised_means, other.noised_means)
    witness.remember(lambda n, generator: law.sample(n, generator), seeded(), rows=30)
    assert torch.equal(witness.clean_means, other.clean_means)


def test_memories_are_saved_with_the_weights_and_hold_no_gradient():
    witness, fresh = smooth(), smooth()
    witness.remember(normal(20, 2), seeded())
    fresh.load_state_dict(copy.deepcopy(witness.state_dict()))
    assert fresh.remembers
    assert torch.equal(fresh.noised_means, witness.noised_means)
    assert not witness.clean_means.requires_grad
    assert not witness.mean_features(normal(20, 2), double(0.5)).requires_grad


# --- the loss of a witness ------------------------------------------------------------------------------------


def loss_by_hand(witness, clean, other, levels, penalty, shrinkage, one_sided, generator):
    """Level by level and pair by pair; noise and mixtures are drawn as the loss draws them."""
    noise = torch.randn(clean.flatten(0, 1).shape, generator=generator, dtype=clean.dtype).view(clean.shape)
    mixed = torch.rand(clean[:, :, 0].numel() // clean[0, 0, 0].numel(), generator=generator, dtype=clean.dtype)
    groups, n = clean.shape[:2]
    noising, total = witness.noising, 0.0
    for group, level in enumerate(levels):
        x, y = clean[group], noising.add(other[group], level, noise[group])
        a, b = witness(x, level), witness(y, level)
        within = [f[i] @ f[j] for f in (a, b) for i in range(n) for j in range(n) if i != j]
        between = [a[i] @ b[j] for i in range(n) for j in range(n)]
        squared = sum(within) / (n * (n - 1)) - 2 * sum(between) / n**2
        total = total - squared / groups
        total = total + shrinkage / groups * (sum(f @ f for f in a) / n + sum(f @ f for f in b) / n)
        for row in range(n):
            u = mixed[group * n + row]
            point = (u * x[row] + (1 - u) * y[row])[None].detach().requires_grad_()
            value = (witness(point, level)[0] * (b.mean(0) - a.mean(0))).sum()
            (slope,) = torch.autograd.grad(value, point, create_graph=True)
            excess = noising.unit(level, point.numel()) * slope.norm() - 1
            if not one_sided or excess > 0:
                total = total + penalty * excess**2 / (groups * n)
    return total


def groups_of(count: int, n: int, *event: int) -> tuple[torch.Tensor, torch.Tensor]:
    return normal(count, n, *event) + 0.5, normal(count, n, *event, seed=1) + 0.5


@each_noising
@pytest.mark.parametrize("one_sided", [True, False])
@pytest.mark.parametrize(("penalty", "shrinkage"), [(1, 0.01), (0, 0.3), (0.7, 0), (0, 0)])
@pytest.mark.parametrize("event", [(2,), (1, 2, 1)], ids=str)
def test_the_loss_and_its_gradient_are_those_of_a_loop(noising, one_sided, penalty, shrinkage, event):
    witness, (clean, other) = smooth(2, noising, size=2.0), groups_of(3, 4, *event)
    levels = noising.at(torch.tensor([0.9, 0.2, 0.5]).double())
    values = [
        loss(witness, clean, other, levels, penalty, shrinkage, one_sided, seeded(3))
        for loss in (witness_loss, loss_by_hand)
    ]
    torch.testing.assert_close(*values)
    gradients = [torch.autograd.grad(value, witness.network.parameters()) for value in values]
    torch.testing.assert_close(*gradients)
    assert all(bool((gradient != 0).any()) for gradient in gradients[0])


def test_some_slopes_of_the_loop_above_exceed_1_and_some_do_not():
    """Or the penalty of one side would be that of both, or none."""
    witness, (clean, other) = smooth(size=2.0), groups_of(3, 4, 2)
    levels = VariancePreserving().at(torch.tensor([0.9, 0.2, 0.5]).double())
    none, one, both = (
        witness_loss(witness, clean, other, levels, penalty, 0, one_sided, seeded(3)).item()
        for penalty, one_sided in ((0, True), (1, True), (1, False))
    )
    assert none + 0.01 < one < both - 0.01


def test_without_its_weights_the_loss_is_minus_the_unbiased_squared_mmd_with_a_linear_kernel():
    witness, (clean, other) = smooth(2), groups_of(3, 50, 2)
    levels = torch.tensor([0.9, 0.2, 0.5]).double()
    noised = witness.noising.add(other.flatten(0, 1), levels.repeat_interleave(50), normal(150, 2, seed=3))
    found = witness_loss(witness, clean, other, levels, 0, 0, generator=seeded(3))
    clouds = zip(clean, noised.view(3, 50, 2), levels, strict=True)
    each = [mmd2(witness(x, level), witness(y, level), lambda a, b: a @ b.T) for x, y, level in clouds]
    torch.testing.assert_close(found, -torch.stack(each).mean())


def test_between_equal_laws_it_is_zero_on_average():
    """Plain noise stays plain noise under the forward noise that keeps the variance."""
    witness, levels = smooth(2), torch.linspace(0.1, 1, 2000).double()
    clean, other = normal(2000, 4, 2), normal(2000, 4, 2, seed=1)
    values = [witness_loss(witness, *pair, 0, 0, generator=seeded(row)) for row, pair in enumerate(
        zip(clean.split(20), other.split(20), levels.split(20), strict=True))]  # fmt: skip
    values = torch.stack(values).detach()
    error = values.std() / len(values) ** 0.5
    assert values.mean().abs() < 4 * error
    bias = 2 * witness(clean.flatten(0, 1), double(0.5)).var(0).sum() / 4
    assert bias > 20 * error, "a biased estimate would be seen"


def test_the_loss_repeats_with_its_generator_and_draws_from_no_other():
    witness, (clean, other), before = smooth(2), groups_of(1, 4, 2), torch.random.get_rng_state()
    levels, generator = torch.tensor([0.5]).double(), seeded()
    first = witness_loss(witness, clean, other, levels, generator=generator)
    assert torch.equal(first, witness_loss(witness, clean, other, levels, generator=seeded()))
    assert not torch.equal(first, witness_loss(witness, clean, other, levels, generator=generator))
    assert torch.equal(before, torch.random.get_rng_state())


# --- training -------------------------------------------------------------------------------------------------


def learn(seed: int = 0, steps: int = 6, data=None, batch_size: int = 16, **options):
    """Training of a small perceptron on eight Gaussians, and the witness itself."""
    torch.manual_seed(1)
    witness = NoiseConditionalWitness(FeatureMLP(2, 8, 16))
    data = eight_gaussians().sample(200, seeded(9)) if data is None else data
    return witness, train_witness(witness, data, steps, batch_size=batch_size, generator=seeded(seed), **options)


def weights_of(witness) -> list[torch.Tensor]:
    return [value.clone() for value in witness.state_dict().values()]


def test_training_lowers_the_loss_and_the_witness_remembers_only_at_the_end():
    witness, states = learn(steps=200, batch_size=64)
    losses, remembered = [], []
    for state in states:
        losses.append(state.loss.item())
        remembered.append(bool(state.model.remembers))
    assert state.model is witness
    assert remembered == [False] * 199 + [True]
    assert sum(losses[-50:]) < sum(losses[:50]) - 5
    data = eight_gaussians().sample(200, seeded(9))
    level = witness.noising.levels(4)[1].float()
    torch.testing.assert_close(witness.remembered(level)[0], witness.mean_features(data, level), rtol=0, atol=2e-3)
    assert not witness.training


def test_training_repeats_with_its_generator_and_draws_from_no_other():
    runs = []
    for seed in (0, 0, 1):
        witness, states = learn(seed)
        before = torch.random.get_rng_state()
        runs.append([state.loss for state in states] + weights_of(witness))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(*runs[:2], strict=True))
    assert not torch.equal(runs[0][0], runs[2][0])


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_training_resumes_bit_for_bit(stop):
    witness, states = learn()
    through, saved = [], None
    for state in states:
        through.append(state.loss)
        if state.step == stop:
            saved = state.state_dict()
    other, states = learn(seed=7, resume=saved)
    losses = [state.loss for state in states]
    assert torch.equal(torch.stack(losses), torch.stack(through[stop:]))
    assert all(torch.equal(a, b) for a, b in zip(weights_of(witness), weights_of(other), strict=True))


def test_training_hands_its_settings_and_fresh_groups_to_the_loss(monkeypatch):
    calls = []

    def spy(witness, clean, other, levels, *settings):
        calls.append((clean, other, levels, settings))
        return witness_loss(witness, clean, other, levels, *settings)

    monkeypatch.setattr(method, "witness_loss", spy)
    noising, generator = VarianceExploding(0.2, 5.0), seeded()
    settings = {"penalty": 0.5, "shrinkage": 0.2, "one_sided": False, "levels_per_step": 3}
    torch.manual_seed(1)
    witness = NoiseConditionalWitness(FeatureMLP(2, 4, 8, 1), noising)
    data = torch.arange(4000.0)[:, None].expand(-1, 2)
    for _ in train_witness(witness, data, 100, batch_size=5, generator=generator, **settings):
        pass
    for clean, other, _, given_settings in calls:
        assert clean.shape == other.shape == (3, 5, 2)
        assert given_settings == (0.5, 0.2, False, generator)
        rows = torch.cat([clean, other]).flatten(0, 1)[:, 0]
        assert len(rows.unique()) > 25, "groups share no points"
    positions = noising.position(torch.cat([levels for *_, levels, _ in calls]))
    assert len(positions) == 300
    assert kstest(positions.numpy(), "uniform").pvalue > CHANCE


def test_training_takes_a_law_or_a_callable_for_data_and_double_precision():
    law = eight_gaussians()
    runs = []
    for data in (law, law.sample):
        _, states = learn(data=data)
        runs.append(torch.stack([state.loss for state in states]))
    assert torch.equal(*runs)
    witness = NoiseConditionalWitness(FeatureMLP(2, 4, 8)).double()
    *_, state = train_witness(witness, law.to(torch.float64), 2, batch_size=4, generator=seeded())
    assert state.loss.dtype == witness.clean_means.dtype == torch.float64


# --- flows of a witness ---------------------------------------------------------------------------------------


def flow_by_hand(witness, z, levels, step, inner_steps, data):
    """By autograd of the witness as it is written, one particle at a time."""
    states = [z]
    for level in levels:
        for _ in range(inner_steps):
            direction = witness(z, level).mean(0) - witness(data, level).mean(0)
            rows = []
            for row in z:
                point = row[None].clone().requires_grad_()
                value = (witness(point, level)[0] * direction.detach()).sum()
                rows.append(torch.autograd.grad(value, point)[0])
            z = z - step * witness.noising.unit(level, z[0].numel()) ** 2 * torch.cat(rows)
            states.append(z)
    return states


@each_noising
@pytest.mark.parametrize("event", [(2,), (1, 2, 2)], ids=str)
def test_the_adaptive_flow_is_that_of_a_loop(noising, event):
    witness = smooth(math.prod(event), noising, size=0.1)
    z, data, levels = normal(5, *event), normal(7, *event, seed=1) + 1, noising.levels(3)
    states = list(adaptive_flow(witness, z, levels, 0.2, 2, data))
    assert len(states) == 1 + 3 * 2
    assert torch.equal(states[0], z)
    torch.testing.assert_close(states, flow_by_hand(witness, z, levels, 0.2, 2, data))
    again = list(adaptive_flow(witness, z, levels, 0.2, 2, data))
    assert all(torch.equal(a, b) for a, b in zip(states, again, strict=True))


def test_a_single_level_repeated_is_the_flow_of_one_fixed_kernel():
    witness, z, data = smooth(), normal(5, 2), normal(7, 2, seed=1) + 1
    level = double(0.4)
    kernel = lambda a, b: witness(a, level) @ witness(b, level).T  # noqa: E731
    fixed = list(mmd_flow(z, data, kernel, 0.1, 6))
    for levels, inner_steps in ((level.expand(6), 1), (level[None], 6), (level.expand(2), 3)):
        torch.testing.assert_close(list(adaptive_flow(witness, z, levels, 0.1, inner_steps, data)), fixed)


@pytest.mark.parametrize("noising", [VariancePreserving(), VarianceExploding(0.2, 2.0, data_std=0.5)], ids=str)
def test_with_the_coordinates_for_features_the_mean_goes_to_that_of_the_data_geometrically(noising):
    """f(z) = <z, difference of the means> / spread^2: all particles move alike, and only their mean has a goal."""
    witness = NoiseConditionalWitness(Identity(3), noising).double()
    z, data = normal(5, 3) + 4, normal(7, 3, seed=1)
    gap, deviations = z.mean(0) - data.mean(0), z - z.mean(0)
    states = adaptive_flow(witness, z, noising.levels(4), 0.1, 2, data)
    torch.testing.assert_close(next(states), z)
    for level, state in zip(noising.levels(4).repeat_interleave(2), states, strict=True):
        factor = 0.1 if isinstance(noising, VariancePreserving) else 0.1 * level**2 * 3 / (level**2 + 0.25)
        gap = (1 - factor) * gap
        torch.testing.assert_close(state - state.mean(0), deviations)
        torch.testing.assert_close(state.mean(0) - data.mean(0), gap)


def test_the_features_of_each_level_are_used_at_that_level():
    witness = NoiseConditionalWitness(Identity(2, turn=2.0), VariancePreserving()).double()
    z, data, levels = normal(5, 2) + 4, normal(7, 2, seed=1), torch.tensor([1.0, 0.05, 0.6]).double()
    factors = 1 - 0.05 * (1 + 2 * witness.noising.position(levels)) ** 2
    *_, end = adaptive_flow(witness, z, levels, 0.05, 1, data)
    torch.testing.assert_close(end.mean(0) - data.mean(0), factors.prod() * (z.mean(0) - data.mean(0)))


@each_noising
def test_without_data_the_remembered_means_lead_to_nearly_the_same_place(noising):
    witness, z, data = smooth(2, noising, size=0.3), normal(5, 2), normal(70, 2, seed=1) + 1
    witness.remember(data, seeded())
    *_, remembered = adaptive_flow(witness, z, noising.levels(6), 0.2, 2)
    *_, given_data = adaptive_flow(witness, z, noising.levels(6), 0.2, 2, data)
    assert (given_data - z).norm() > 0.1
    assert (remembered - given_data).norm() < 0.01 * (given_data - z).norm()
    assert not torch.equal(remembered, given_data)
    *_, other_data = adaptive_flow(witness, z, noising.levels(6), 0.2, 2, data - 2)
    assert (other_data - given_data).norm() > 0.1 * (given_data - z).norm(), "data that are given come first"


def test_of_a_law_the_flow_draws_its_data_once():
    witness, z, law = smooth(), normal(5, 2), eight_gaussians().to(torch.float64)
    for flow in (adaptive_flow, kale_flow):
        *_, found = flow(witness, z, levels_of(witness), 0.1, 2, data=law, generator=seeded())
        *_, given_data = flow(witness, z, levels_of(witness), 0.1, 2, data=draw_batch(law, 4096, seeded()))
        assert torch.equal(found, given_data)


def flows(witness, z, levels):
    yield from adaptive_flow(witness, z, levels, 0.1, 2)
    yield from kale_flow(witness, z, levels, 0.1, 2, 0.5)
    yield from approximate_flow(witness, z, levels)


@pytest.mark.parametrize("frozen", [True, False])
def test_flows_gather_no_gradients_leave_the_start_as_it_was_and_run_without_them(frozen):
    witness, z = smooth().requires_grad_(not frozen), normal(5, 2).requires_grad_()
    witness.remember(normal(20, 2, seed=1), seeded())
    start = z.detach().clone()
    states = list(flows(witness, z, levels_of(witness)))
    assert not any(state.requires_grad for state in states)
    assert all(parameter.grad is None for parameter in (z, *witness.parameters()))
    assert torch.equal(z, start)
    with torch.no_grad():
        torch.testing.assert_close(list(flows(witness, z, levels_of(witness))), states)


def test_a_flow_in_single_precision_takes_levels_in_double_precision():
    torch.manual_seed(0)
    witness, z = NoiseConditionalWitness(FeatureMLP(2, 4, 8)), normal(5, 2, dtype=torch.float32)
    witness.remember(z + 1, seeded())
    for state in flows(witness, z, witness.noising.levels(3)):
        assert state.dtype == torch.float32
    half_way = list(adaptive_flow(witness, z, witness.noising.levels(3).float(), 0.1, 2))
    torch.testing.assert_close(half_way, list(adaptive_flow(witness, z, witness.noising.levels(3), 0.1, 2)))


def test_a_witness_trained_for_a_few_seconds_leads_a_cloud_to_the_data():
    law = eight_gaussians()
    torch.manual_seed(0)
    witness = NoiseConditionalWitness(FeatureMLP(2, 32, 32))
    for _ in train_witness(witness, law, 300, batch_size=64, generator=seeded()):
        pass
    z, fresh = normal(500, 2, dtype=torch.float32), law.sample(2000, seeded(1))
    before = energy_distance(z, fresh)
    levels = witness.noising.levels(20)
    for flow in (adaptive_flow, kale_flow):
        *_, end = flow(witness, z, levels, 0.1, 4)
        assert energy_distance(end, fresh) < before / 4
    *_, end = approximate_flow(witness, z, levels)
    assert energy_distance(end, fresh) < before / 2


# --- independent particles ------------------------------------------------------------------------------------


@each_noising
@pytest.mark.parametrize("share", [0.85, 0.3])
def test_independent_particles_go_down_the_witness_of_noised_data(noising, share):
    witness, z, levels = smooth(2, noising, size=0.3), normal(5, 2), noising.levels(4)
    witness.remember(normal(50, 2, seed=1), seeded())
    states = list(approximate_flow(witness, z, levels, share))
    assert len(states) == 4
    assert torch.equal(states[0], z)
    for state, after, (level, following) in zip(states, states[1:], itertools.pairwise(levels)):
        clean, noised = witness.remembered(level)
        points = state.clone().requires_grad_()
        (slope,) = torch.autograd.grad((witness(points, level) @ (noised - clean)).sum(), points)
        length = share * (level - following) / level * noising.unit(level, 2) ** 2
        torch.testing.assert_close(after, state - length * slope)
        assert (after - state).norm() > 1e-5


def test_each_of_them_walks_as_if_it_were_alone():
    witness, z = smooth(), normal(6, 2)
    witness.remember(normal(50, 2, seed=1), seeded())
    *_, together = approximate_flow(witness, z, levels_of(witness, 6))
    for row in range(6):
        *_, alone = approximate_flow(witness, z[row : row + 1], levels_of(witness, 6))
        torch.testing.assert_close(alone[0], together[row])
    *_, cloud = adaptive_flow(witness, z, levels_of(witness, 6), 0.1, 1)
    *_, alone = adaptive_flow(witness, z[:1], levels_of(witness, 6), 0.1, 1)
    assert (alone[0] - cloud[0]).norm() > 1e-3, "the others do not"


def test_their_share_is_0_85_unless_said_otherwise():
    witness, z = smooth(), normal(6, 2)
    witness.remember(normal(50, 2, seed=1), seeded())
    ends = [list(approximate_flow(witness, z, levels_of(witness), *share))[-1] for share in ((), (0.85,), (0.9,))]
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


# --- KALE -----------------------------------------------------------------------------------------------------


def objective(data, particles, lam, w):
    return 1 + (data @ w).mean() - (particles @ w).exp().mean() - lam / 2 * w @ w


@given(inside=st.integers(0, 10), outside=st.integers(0, 10), lam=st.floats(0.01, 10))
def test_with_the_indicator_of_a_set_kale_solves_one_equation(inside, outside, lam):
    """p and q, the shares of data and particles in the set: p = q e^w + lam w."""
    p, q = inside / 10, outside / 10
    data, particles = ((torch.arange(10) < count).double()[:, None] for count in (inside, outside))
    w = brentq(lambda w: p - q * math.exp(w) - lam * w, -100 / lam, 100)
    found = kale(data, particles, lam)
    assert found.weights.item() == pytest.approx(w, abs=1e-6)
    value = (1 + lam) * (1 + p * w - (q * math.exp(w) + 1 - q) - lam / 2 * w**2)
    assert found.value.item() == pytest.approx(value, abs=1e-8)
    if q == 0:
        assert found.value.item() == pytest.approx((1 + lam) * p**2 / (2 * lam))


def test_where_features_tell_nothing_apart_kale_is_0():
    constant = torch.ones(5, 1).double()
    assert kale(constant, constant[:3]).value.item() == pytest.approx(0, abs=1e-12)
    same = normal(20, 3)
    assert kale(same, same.flip(0), 0.1).value.item() == pytest.approx(0, abs=1e-12)
    assert kale(same, same.flip(0), 0.1).weights.norm() < 1e-9


@given(seed=st.integers(0, 99), lam=st.floats(0.05, 20), size=st.floats(0.1, 3))
def test_at_the_optimum_kale_has_no_slope_and_no_other_function_reaches_more(seed, lam, size):
    data, particles = size * normal(30, 4, seed=seed) + 0.3, size * normal(40, 4, seed=seed + 1)
    found = kale(data, particles, lam)
    w = found.weights.clone().requires_grad_()
    value = objective(data, particles, lam, w)
    assert torch.autograd.grad(value, w)[0].norm() < 1e-6
    assert found.value.item() == pytest.approx((1 + lam) * value.item())
    for step in 0.01 * normal(5, 4, seed=seed + 2):
        assert (1 + lam) * objective(data, particles, lam, found.weights + step) < found.value
    assert found.value >= 0


counts = st.lists(st.integers(0, 8), min_size=4, max_size=4)


@given(p=counts, q=counts, lam=st.floats(0.001, 10), seed=st.integers(0, 99))
def test_kale_over_one_plus_lam_is_a_lower_bound_of_kl_and_falls_with_lam(p, q, lam, seed):
    """On laws of four states, whose samples here are the laws themselves, with features drawn at random."""
    p, q = torch.tensor(p) + 0, torch.tensor(q) + 1
    p[0] += 1
    states, features = torch.arange(4), normal(4, 3, seed=seed)
    shares = p / p.sum(), q / q.sum()
    kl = sum(a * math.log(a / b) for a, b in zip(*(share.tolist() for share in shares), strict=True) if a > 0)
    clouds = [features[states.repeat_interleave(count)] for count in (p, q)]
    values = [kale(*clouds, weight).value.item() / (1 + weight) for weight in (lam, 2 * lam)]
    assert -1e-9 <= values[1] <= values[0] + 1e-9 <= kl + 1e-6


def test_with_one_feature_for_each_state_kale_is_kl_itself():
    p, q = torch.tensor([1, 5, 2, 4]), torch.tensor([3, 3, 5, 1])
    clouds = [torch.eye(4).double().repeat_interleave(count, 0) for count in (p, q)]
    kl = (p / 12 * ((p / 12) / (q / 12)).log()).sum().item()
    found = kale(*clouds, 1e-7)
    assert found.value.item() == pytest.approx(kl, abs=1e-5)
    torch.testing.assert_close(found.weights.float(), (p / q).log(), rtol=0, atol=1e-4)


def test_with_quadratic_features_kale_comes_near_to_the_kl_of_two_gaussians_from_below():
    grid = torch.special.ndtri((torch.arange(50_000, dtype=torch.float64) + 0.5) / 50_000)
    features = lambda x: torch.stack([torch.ones_like(x), x, x**2], dim=1)  # noqa: E731
    clouds = features(0.8 * grid + 0.5), features(grid)
    kl = math.log(1 / 0.8) + (0.8**2 + 0.5**2) / 2 - 0.5
    values = [kale(*clouds, lam).value.item() / (1 + lam) for lam in (1e-6, 0.01, 0.1, 1)]
    assert values[0] == pytest.approx(kl, rel=2e-3)
    assert all(a > b + 1e-3 for a, b in itertools.pairwise(values))
    backwards = kale(*clouds[::-1], 1e-6).value.item()
    assert backwards == pytest.approx(math.log(0.8) + (1 + 0.25) / (2 * 0.64) - 0.5, rel=0.1), "KL is not symmetric"
    assert backwards > 1.2 * kl


def test_for_large_lam_kale_is_half_of_the_squared_mmd_and_its_function_minus_the_witness():
    data, particles = normal(30, 4) + 0.3, normal(40, 4, seed=1)
    difference = data.mean(0) - particles.mean(0)
    found = kale(data, particles, 1e6)
    torch.testing.assert_close((1 + 1e6) * found.weights, difference, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.value, difference.square().sum() / 2, rtol=1e-4, atol=1e-6)


def test_gradients_of_kale_hold_its_function_fixed():
    data, particles = (normal(30, 4) + 0.3).requires_grad_(), normal(40, 4, seed=1).requires_grad_()
    found = kale(data, particles, 0.4)
    assert not found.weights.requires_grad
    slopes = torch.autograd.grad(found.value, (data, particles))
    torch.testing.assert_close(slopes[0], (1.4 / 30 * found.weights).expand(30, 4))
    rate = (particles @ found.weights).exp()[:, None]
    torch.testing.assert_close(slopes[1], -1.4 / 40 * rate * found.weights)
    nudge = 1e-5 * normal(40, 4, seed=2)
    values = [kale(data, particles + sign * nudge, 0.4).value for sign in (1, -1)]
    torch.testing.assert_close((values[0] - values[1]) / 2, (slopes[1] * nudge).sum(), rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-6, 10, 1e3, 1e6])
@pytest.mark.parametrize("lam", [1e-4, 1, 1e4])
def test_extreme_features_give_a_finite_answer_no_worse_than_doing_nothing(size, lam, dtype):
    data, particles = size * (normal(30, 4, dtype=dtype) + 1), size * normal(40, 4, seed=1, dtype=dtype)
    for clouds in ((data, particles), (data, particles - 9 * size), (data[:1], particles[:1])):
        value, weights = kale(*clouds, lam)
        assert value.isfinite()
        assert bool(weights.isfinite().all())
        assert value >= -1e-5


def test_newtons_method_goes_on_where_it_stopped():
    data, particles = 2 * normal(30, 4) + 1, 2 * normal(40, 4, seed=1)
    mean, lam, whole = data.mean(0), 0.01, kale(data, particles, 0.01).weights
    first = method._kale_weights(mean, particles, lam, 2, None)
    assert (first - whole).norm() > 1e-3
    torch.testing.assert_close(
        method._kale_weights(mean, particles, lam, 2, first), method._kale_weights(mean, particles, lam, 4, None)
    )
    values = [kale(data, particles, lam, iterations).value for iterations in (1, 2, 3, 20)]
    assert all(a < b for a, b in itertools.pairwise(values))


@each_noising
def test_a_step_of_its_flow_goes_down_the_gradient_of_kale(noising):
    witness, z, data = smooth(2, noising, size=0.4), normal(6, 2), normal(9, 2, seed=1) + 0.5
    lam, step = 0.3, 0.05
    states = list(kale_flow(witness, z, noising.levels(3), step, 2, lam, data))
    assert len(states) == 1 + 3 * 2
    assert torch.equal(states[0], z)
    for level, before, after in zip(noising.levels(3).repeat_interleave(2), states, states[1:]):
        points = before.clone().requires_grad_()
        value = kale(witness(data, level).detach(), witness(points, level), lam).value
        (gradient,) = torch.autograd.grad(value, points)
        torch.testing.assert_close(after, before - step * noising.unit(level, 2) ** 2 * 6 * gradient)
        assert (after - before).norm() > 1e-4


def test_for_large_lam_its_flow_is_the_adaptive_flow_and_its_lam_is_1_unless_said_otherwise():
    witness, z, data = smooth(), normal(6, 2), normal(9, 2, seed=1) + 0.5
    ends = {
        lam: list(kale_flow(witness, z, levels_of(witness), 0.1, 2, *lam, data=data))[-1]
        for lam in ((1e7,), (1.0,), (), (0.5,))
    }
    *_, adaptive = adaptive_flow(witness, z, levels_of(witness), 0.1, 2, data)
    torch.testing.assert_close(ends[(1e7,)], adaptive, rtol=1e-5, atol=1e-5)
    assert torch.equal(ends[()], ends[(1.0,)])
    assert (ends[()] - ends[(0.5,)]).norm() > 1e-3
    assert (ends[()] - adaptive).norm() > 1e-3


def test_the_scale_multiplies_the_first_weights_of_x_and_nothing_else():
    networks = []
    for scale in (1.0, 3.0):
        torch.manual_seed(0)
        networks.append(FeatureMLP(2, 3, 4, scale=scale))
    plain, scaled = (dict(network.named_parameters()) for network in networks)
    for name, value in plain.items():
        assert torch.equal(scaled[name], 3 * value if name == "from_x.weight" else value)
    with pytest.raises(ValueError, match="scale is 0"):
        FeatureMLP(2, scale=0)
