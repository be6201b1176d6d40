"""The live widget of the drift computes torch's numbers, and refuses what it cannot show."""

import math

import pytest
import torch
from agree import assert_agree, close, normal

from companion.methods.soft_reset import drift, learning_rate_rise
from companion.teaching.widgets import live_drift
from companion.teaching.widgets.base import MOST_BYTES
from companion.teaching.widgets.drift import DRIFTS, PARTICLES, drift_path

WEIGHTS = torch.tensor([2.0, 1.2], dtype=torch.float64)
MEAN = torch.tensor([-0.5, 0.3], dtype=torch.float64)
STD = torch.tensor([1.0, 0.7], dtype=torch.float64)
NOISE = normal(13, 40, 2)
GAMMAS = [0.9, 0.2, 1.0, 0.75, 0.0, 0.99]


def widget(**words):
    return live_drift(**{"title": "t", "alt": "a", **words})


def path(gammas, scale=0.4, noise=NOISE):
    return drift_path(WEIGHTS, MEAN, STD, noise, posterior_scale=scale, gammas=gammas)


# --- what it carries --------------------------------------------------------------------------------------------------


def test_the_widget_carries_its_laws_its_noise_and_the_places_of_its_sliders():
    made = widget(
        note="n", weights=(1, 2), init_mean=(3, 4), init_std=(5, 6.5), posterior_scale=0.256, gamma=0.834, seed=3
    )
    assert (made.kind, made.title, made.alt, made.note) == ("drift", "t", "a", "n")
    assert (made.weights, made.init_mean, made.init_std) == ([1.0, 2.0], [3.0, 4.0], [5.0, 6.5])
    assert (made.gamma_index, made.scale_index, made.least_scale_index, made.places) == (83, 26, 10, 100)
    assert (made.particles, made.drifts) == (PARTICLES, DRIFTS)
    noise = torch.randn(DRIFTS + 1, PARTICLES, 2, generator=torch.Generator().manual_seed(3))
    assert torch.equal(torch.frombuffer(bytearray(made.noise), dtype=torch.float32), noise.flatten())
    assert len(made.noise) < MOST_BYTES


def test_the_same_seed_gives_the_same_particles_and_another_seed_gives_others():
    assert widget(seed=1).noise == widget(seed=1).noise != widget(seed=2).noise


# --- the path that it compares with -----------------------------------------------------------------------------------


def test_many_drifts_are_one_drift_by_the_product_of_their_gammas():
    means, stds, _ = path(GAMMAS[:4])
    expected = drift(WEIGHTS, 0.4 * STD, MEAN, STD, math.prod(GAMMAS[:4]))
    close(means[-1], expected[0])
    close(stds[-1], expected[1])
    assert len(means) == len(stds) == 5


def test_no_drift_moves_no_particle_and_a_full_one_draws_it_from_the_start():
    _, _, particles = path([1.0, 0.0])
    close(particles[0], WEIGHTS + 0.4 * STD * NOISE[0])
    close(particles[1], particles[0])
    close(particles[2], MEAN + STD * NOISE[2])


def test_the_particles_have_the_law_of_the_belief_and_stay_in_that_of_the_start():
    noise = normal(9, 40_000, 2, seed=1)
    means, stds, particles = path([0.7] * 8, noise=noise)
    for mean, std, cloud in zip(means, stds, particles):
        assert ((cloud.mean(0) - mean).abs() < 5 * std / 200).all()
        torch.testing.assert_close(cloud.std(0), std, rtol=0.02, atol=0)
    from_start = drift_path(MEAN, MEAN, STD, noise, posterior_scale=1.0, gammas=[0.3, 0.8])
    close(from_start[0], MEAN.expand(3, 2))
    close(from_start[1], STD.expand(3, 2))
    torch.testing.assert_close(from_start[2].std(1), STD.expand(3, 2), rtol=0.02, atol=0)


# --- the browser's numbers are torch's --------------------------------------------------------------------------------

PATH = """
const world = { weights: given.weights, start: { mean: given.mean, std: given.std }, noise: floats(given.noise), particles: given.particles };
return given.all.map((state) => f.driftPath(world, state));
"""


@pytest.mark.parametrize("scale", [0.1, 0.4, 1.0])
def test_beliefs_and_particles_agree_from_no_drift_to_many(front, scale):
    all_gammas = [[], [0.7], [0.0], [1.0], GAMMAS, [0.95] * 12]
    got = front(
        PATH, weights=WEIGHTS, mean=MEAN, std=STD, noise=NOISE.flatten(), particles=NOISE.shape[1],
        all=[{"scale": scale, "gammas": gammas} for gammas in all_gammas],
    )  # fmt: skip
    for gammas, own in zip(all_gammas, got):
        means, stds, particles = path(gammas, scale)
        assert len(own["beliefs"]) == len(gammas) + 1
        assert_agree([belief["mean"] for belief in own["beliefs"]], means)
        assert_agree([belief["std"] for belief in own["beliefs"]], stds)
        assert_agree(own["cloud"], particles[-1])


def test_one_drift_of_a_belief_is_that_of_the_method(front):
    body = "return given.gammas.map((gamma) => f.driftBelief(given.belief, given.start, gamma));"
    gammas = [0.0, 0.3, 0.95, 1.0]
    belief = {"mean": WEIGHTS.tolist(), "std": [0.2, 1.7]}
    got = front(body, belief=belief, start={"mean": MEAN.tolist(), "std": STD.tolist()}, gammas=gammas)
    for gamma, own in zip(gammas, got):
        mean, std = drift(WEIGHTS, torch.tensor([0.2, 1.7], dtype=torch.float64), MEAN, STD, gamma)
        assert_agree(own["mean"], mean)
        assert_agree(own["std"], std)


def test_the_width_and_the_rise_of_the_learning_rate_are_those_of_the_method(front):
    body = "return given.pairs.map(([gamma, scale]) => f.driftWidth(gamma, scale));"
    pairs = [[gamma, scale] for gamma in (0.0, 0.35, 0.9, 1.0) for scale in (0.1, 0.4, 1.0)]
    for (gamma, scale), own in zip(pairs, front(body, pairs=pairs)):
        exact = torch.tensor(gamma, dtype=torch.float64)
        assert own["rise"] == pytest.approx(learning_rate_rise(exact, scale).item(), abs=1e-8)
        _, std = drift(exact, exact * 0 + scale, exact * 0, exact * 0 + 1, gamma)
        assert own["width"] == pytest.approx(std.item(), abs=1e-8)


def test_a_clouds_width_is_its_standard_deviation_over_the_starts(front):
    cloud = path([0.5])[2][-1]
    got = front(
        "return f.cloudWidths(floats(given.cloud), { std: given.std });", cloud=cloud.flatten(), std=STD.tolist()
    )
    assert_agree(got, cloud.std(0) / STD)


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"weights": (math.nan, 0)}, "each of weights is nan, but must be a number in"),
        ({"weights": (51, 0)}, "weights is 51 standard deviations from init_mean, but must be at most 50 away"),
        ({"init_mean": (0, math.inf)}, "each of init_mean is inf, but must be a number in"),
        ({"init_std": (1, 0)}, r"each of init_std is 0, but must be a number in \[0.01, 100\]"),
        ({"init_std": (1, 21)}, r"init_std is \(1, 21\), but must be two numbers within a factor of 20"),
        ({"posterior_scale": 0.05}, r"posterior_scale is 0.05, but must be a number in \[0.1, 1\]"),
        ({"posterior_scale": 1.1}, r"posterior_scale is 1.1, but must be a number in \[0.1, 1\]"),
        ({"gamma": -0.1}, r"gamma is -0.1, but must be a number in \[0, 1\]"),
        ({"seed": -1}, "seed is -1, but must be at least 0"),
        ({"title": ""}, "title is empty"),
        ({"alt": " "}, "alt is empty"),
    ],
)
def test_the_widget_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        widget(**words)
