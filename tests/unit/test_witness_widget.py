"""The live witness carries what its flow needs, computes torch's numbers, and refuses what it cannot show."""

import numpy as np
import pytest
import torch

from companion.data import toy
from companion.foundations.distances import energy_distance
from companion.methods.mmd_flow import (
    FeatureMLP,
    NoiseConditionalWitness,
    VarianceExploding,
    VariancePreserving,
    adaptive_flow,
    train_witness,
)
from companion.teaching.widgets import live_witness

NOISINGS = {
    "preserving": VariancePreserving(),
    "preserving, short of 1": VariancePreserving(low=0.1, high=0.9),
    "exploding": VarianceExploding(high=4.0, data_std=1.5),
}
NETWORKS = {
    "usual": {"num_features": 32, "width": 64},
    "odd": {"num_features": 7, "width": 30, "depth": 3, "waves": 2},  # a width that four does not divide
    "flat": {"num_features": 1, "width": 5, "depth": 1, "waves": 0},
}


def cloud(n, seed=0, scale=1.0):
    return scale * torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


def trained(noising=None, network=None, steps=1):
    """A witness of the eight Gaussians, trained so long."""
    torch.manual_seed(0)
    witness = NoiseConditionalWitness(FeatureMLP(2, **network or {"num_features": 8, "width": 16}), noising)
    generator = torch.Generator().manual_seed(0)
    for _ in train_witness(witness, toy.eight_gaussians(), steps, generator=generator):
        pass
    return witness


@pytest.fixture(scope="module")
def witness():
    return trained()


@pytest.fixture
def show(witness):
    def make(of=witness, **words):
        usual = {"starts": {"near": cloud(20)}, "data": cloud(50, 1), "title": "t", "alt": "a"}
        return live_witness(of, **{**usual, **words})

    return make


# --- what it carries --------------------------------------------------------------------------------------------------


def test_it_carries_the_weights_the_clean_means_and_the_points_and_little_else(witness, show):
    starts = {"near": cloud(20), "far": 4 + cloud(31)}
    widget = show(starts=starts, note="n", step=0.2, position=0.25, levels=10, inner_steps=3, limit=5)
    assert (widget.kind, widget.title, widget.alt, widget.note) == ("witness", "t", "a", "n")
    assert (widget.position, widget.levels, widget.inner_steps, widget.limit) == (0.25, 10, 3, 5.0)
    assert widget.step_choices[widget.steps_index] == 0.2
    sizes = [widget.network[name] for name in ("width", "depth", "features", "waves")]
    assert sizes == [16, 2, 8, 6]
    count = sum(parameter.numel() for parameter in witness.network.parameters())
    assert len(widget.network["weights"]) == 4 * count
    means = np.frombuffer(widget.means, "<f4").reshape(65, 8)
    np.testing.assert_array_equal(means, witness.clean_means.numpy())
    np.testing.assert_array_equal(np.frombuffer(widget.reference, "<f4").reshape(50, 2), cloud(50, 1).numpy())
    assert [start["name"] for start in widget.starts] == ["near", "far"]
    for start, points in zip(widget.starts, starts.values(), strict=True):
        np.testing.assert_array_equal(np.frombuffer(start["points"], "<f4").reshape(-1, 2), points.numpy())


def test_the_noising_travels_with_it(show):
    assert show().noising == {"explodes": False, "low": 0.05, "high": 1.0, "data_std": 1.0}
    exploding = show(trained(VarianceExploding(0.2, 5, data_std=1.5)))
    assert exploding.noising == {"explodes": True, "low": 0.2, "high": 5.0, "data_std": 1.5}


def test_a_window_that_is_not_given_holds_the_data_and_every_start(show):
    starts = {"near": cloud(20), "far": cloud(20, 2) - 7}
    assert max(points.abs().max().item() for points in starts.values()) < show(starts=starts).limit < 11
    assert 100 < show(data=torch.tensor([[0.0, 100.0]] * 4)).limit < 110


def test_double_precision_and_a_usual_lessons_size_fit(show):
    large = trained(network={"num_features": 64, "width": 128}).double()
    widget = show(large, starts={name: cloud(400, seed).double() for seed, name in enumerate("ab")})
    parts = [widget.network["weights"], widget.means, widget.reference, *(start["points"] for start in widget.starts)]
    assert sum(map(len, parts)) < 250_000


def test_the_noise_floor_is_what_fresh_points_of_the_law_would_measure(show):
    law, generator = toy.eight_gaussians(), torch.Generator().manual_seed(7)
    floor = show(data=law.sample(600, generator), starts={"near": cloud(100)}).floor
    fresh = [energy_distance(law.sample(100, generator), law.sample(500, generator)) for _ in range(40)]
    assert 0.6 < floor / torch.stack(fresh).std().item() < 1.6


# --- its numbers are torch's ------------------------------------------------------------------------------------------

GIVEN = """
const { network, noising, values } = given;
const witness = f.makeWitness(network, noising, Float32Array.from(given.weights), Float32Array.from(given.means));
"""


@pytest.fixture
def on_witness(front):
    """Run JavaScript on a widget's witness and some values."""

    def call(widget, body, **values):
        network = {name: value for name, value in widget.network.items() if name != "weights"}
        floats = {
            name: np.frombuffer(packed, "<f4").tolist()
            for name, packed in {"weights": widget.network["weights"], "means": widget.means}.items()
        }
        return front(GIVEN + body, network=network, noising=widget.noising, values=values, **floats)

    return call


def assert_agree(got, expected):
    """To a hundred thousandth of the largest."""
    got = torch.as_tensor(got, dtype=expected.dtype).view(expected.shape)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("noising", NOISINGS.values(), ids=NOISINGS)
def test_levels_and_positions_agree(on_witness, show, noising):
    positions = torch.linspace(0, 1, 41, dtype=torch.float64)
    got = on_witness(
        show(trained(noising)),
        """return values.positions.map((position) => {
          const level = f.levelAt(noising, position);
          return [level, f.positionOf(noising, level), f.unitOf(noising, level)];
        });""",
        positions=positions.tolist(),
    )
    levels = noising.at(positions).clamp(noising.low, noising.high).float()
    expected = torch.stack([levels, noising.position(levels), noising.unit(levels, 2)], dim=1)
    torch.testing.assert_close(torch.tensor(got, dtype=torch.float32), expected, rtol=1e-6, atol=2e-6)


OBSERVE = """
const { particles, level, points } = values, count = particles.length / 2;
const cloud = f.makeCloud(witness, count), field = f.observe(witness, particles, level, cloud);
const slopes = f.slopesOf(witness, field, cloud, new Float64Array(2 * count));
const own = particles.slice(0, 2), one = f.makeCloud(witness, 1);
const other = f.makeCloud(witness, points.length / 2, false);
const seen = f.witnessAt(witness, field, points, other, new Float64Array(other.count));
return { apart: field.apart, gap: field.gap, slopes, seen, alone: f.observe(witness, own, level, one).apart };
"""


@pytest.mark.parametrize("position", [0.0, 0.37, 1.0])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("noising", NOISINGS.values(), ids=NOISINGS)
def test_features_witness_and_slopes_agree(on_witness, show, noising, network, position):
    witness = trained(noising, network, steps=10)
    particles, points = 2 + cloud(33, 3, 1.5), cloud(20, 4, 2.5)  # to one side: their features are not the data's
    level = noising.at(torch.tensor(position, dtype=torch.float64)).clamp(noising.low, noising.high).float()
    clean, _ = witness.remembered(level)
    apart = witness.mean_features(particles, level) - clean
    at = particles.clone().requires_grad_()
    (slopes,) = torch.autograd.grad((witness(at, level) @ apart).sum(), at)
    got = on_witness(
        show(witness), OBSERVE,
        particles=particles.flatten().tolist(), level=level.item(), points=points.flatten().tolist(),
    )  # fmt: skip
    with torch.no_grad():
        assert_agree(torch.tensor(got["alone"]) + clean, witness(particles[:1], level)[0])
        assert_agree(got["apart"], apart)
        assert_agree(got["seen"], witness(points, level) @ apart)
    assert_agree(got["gap"], apart.square().sum())
    assert_agree(got["slopes"], slopes)


@pytest.mark.parametrize("noising", NOISINGS.values(), ids=NOISINGS)
def test_a_whole_adaptive_flow_agrees(on_witness, show, noising):
    witness, start, levels = trained(noising, steps=300), cloud(40, 5, 1.5), noising.levels(6)
    got = on_witness(
        show(witness),
        """const cloud = f.makeCloud(witness, values.start.length / 2), slope = new Float64Array(values.start.length);
        const particles = Float64Array.from(values.start);
        for (let level = 0; level < 6; level++) {
          for (let step = 0; step < 3; step++) {
            f.flowStep(witness, particles, f.levelAt(noising, 1 - level / 5), 0.1, cloud, slope);
          }
        }
        return particles;""",
        start=start.flatten().tolist(),
    )
    *_, expected = adaptive_flow(witness, start, levels, step=0.1, inner_steps=3)
    assert (expected - start).norm(dim=1).mean() > 0.2, "they move"
    assert_agree(torch.tensor(got).view(40, 2) - start, expected - start)


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"starts": {}}, "starts is empty, but must be at least one start"),
        ({"starts": {"far": cloud(401)}}, "far is 401 particles, but must be at most 400"),
        ({"starts": {"near": cloud(9), "far": cloud(1)}}, "far is 1 points, but must be at least 2"),
        ({"starts": {"far": torch.zeros(9, 3)}}, r"far is of shape \(9, 3\), but must be points in the plane"),
        ({"starts": {"far": torch.zeros(2)}}, r"far is of shape \(2,\), but must be points in the plane, \(n, 2\)"),
        ({"starts": {"far": cloud(9) / 0}}, "far is not finite in some row, but must be finite points"),
        ({"data": cloud(3)}, "data is 3 points, but must be at least 4"),
        ({"data": torch.zeros(4, 9, 2)}, r"data is of shape \(4, 9, 2\), but must be points in the plane, \(n, 2\)"),
        ({"data": torch.full((9, 2), torch.nan)}, "data is not finite in some row"),
        ({"data": cloud(90_000)}, r"witness and data is \d+ bytes, but must be at most 700000: fewer points or"),
        ({"step": 0.3}, r"step is 0.3, but must be one of \(0.02, 0.05, 0.1, 0.2, 0.4\)"),
        ({"step_choices": (0, 0.1)}, r"each of step_choices is 0, but must be a number in \(0, inf\)"),
        ({"levels": 0}, "levels is 0, but must be at least 1"),
        ({"inner_steps": 0}, "inner_steps is 0, but must be at least 1"),
        ({"position": 1.5}, r"position is 1.5, but must be a number in \[0, 1\]"),
        ({"limit": 0}, r"limit is 0, but must be a number in \(0, inf\)"),
        ({"title": ""}, "title is empty"),
        ({"alt": " "}, "alt is empty"),
    ],
)
def test_it_refuses_what_it_cannot_show(show, words, sentence):
    with pytest.raises(ValueError, match=sentence):
        show(**words)


def test_it_refuses_a_witness_that_remembers_nothing_or_is_not_of_the_plane(show):
    with pytest.raises(ValueError, match="witness is without memory of its data, but must be one that remembers"):
        show(NoiseConditionalWitness(FeatureMLP(2)))
    with pytest.raises(ValueError, match="witness is of 3 dimensions, but must be of the plane, dim 2"):
        show(NoiseConditionalWitness(FeatureMLP(3)))
