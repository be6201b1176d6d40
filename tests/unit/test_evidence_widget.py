"""The live widget of a batch's evidence computes torch's numbers, and refuses what it cannot show."""

import math
from itertools import pairwise

import pytest
import torch
from agree import assert_agree, close, doubles, normal, seeded
from torch import nn

from companion.methods.soft_reset import SoftReset
from companion.teaching.widgets import live_evidence
from companion.teaching.widgets.evidence import DRIFT_LRS, evidence_curve, evidence_noise, turned_labels

POINTS = normal(24, 2)
UNIFORMS = torch.rand(24, generator=seeded(1), dtype=torch.float64)
WEIGHTS = (2.6, 1.5)
GAMMAS = torch.linspace(0, 1, 11, dtype=torch.float64)
NOISE = evidence_noise()


def widget(points=POINTS, uniforms=UNIFORMS, **words):
    return live_evidence(points, uniforms, **{"title": "t", "alt": "a", **words})


def labels(angle, flips=0.0, rows=24, points=POINTS, weights=WEIGHTS):
    return turned_labels(points[:rows], UNIFORMS[:rows], weights=weights, angle=angle, flips=flips)


def curve(own, scale=0.5, gammas=GAMMAS, noise=NOISE, weights=WEIGHTS):
    return evidence_curve(POINTS[: len(own)], own, noise, gammas, weights=weights, posterior_scale=scale)


# --- what it carries --------------------------------------------------------------------------------------------------


def test_the_widget_carries_its_batch_in_double_precision_and_its_settings():
    made = widget(
        note="n", weights=(1, -2), angle=45, flips=0.124, rows=7, posterior_scale=0.333, drift_lr=1,
        drift_lrs=(0.5, 1, 2), seed=4,
    )  # fmt: skip
    assert (made.kind, made.title, made.alt, made.note) == ("evidence", "t", "a", "n")
    for packed, values in ((made.points, POINTS), (made.uniforms, UNIFORMS), (made.noise, evidence_noise(4))):
        assert torch.equal(doubles(packed), values.flatten())
    assert (made.weights, made.most, made.rows, made.angle, made.places) == ([1.0, -2.0], 24, 7, 45, 100)
    assert (made.flips_index, made.most_flips_index, made.flips_places) == (2, 10, 20)
    assert (made.scale_index, made.least_scale_index) == (33, 10)
    assert (made.drift_lrs, made.drift_lrs_index) == ([0.5, 1.0, 2.0], 1)


def test_it_starts_with_all_rows_unless_told():
    made = widget(POINTS[:12].float(), UNIFORMS[:12].float())
    assert (made.most, made.rows) == (12, 12)
    assert torch.equal(doubles(made.points), POINTS[:12].float().double().flatten())
    assert made.drift_lrs[made.drift_lrs_index] == 0.01
    assert made.drift_lrs == list(DRIFT_LRS)


def test_without_numbers_of_its_own_each_place_of_wrong_labels_adds_one():
    for seed in range(3):
        made = widget(uniforms=None, seed=seed)
        uniforms = doubles(made.uniforms)
        wrong = [int((uniforms < place / made.flips_places).sum()) for place in range(made.most_flips_index + 1)]
        assert wrong[0] == 0
        assert wrong[-1] == 12
        assert all(more - few in (1, 2) for few, more in pairwise(wrong))
    assert widget(uniforms=None, seed=1).uniforms != widget(uniforms=None, seed=2).uniforms


def test_the_draws_have_the_mean_and_nearly_the_covariance_of_their_law():
    for seed in range(5):
        noise = evidence_noise(seed)
        close(noise.mean(0), torch.zeros(2, dtype=torch.float64))
        torch.testing.assert_close(noise.T @ noise / len(noise), torch.eye(2, dtype=torch.float64), rtol=0, atol=0.3)


# --- the curve that it compares with ----------------------------------------------------------------------------------


def test_the_labels_of_the_same_task_are_the_networks_and_those_of_the_opposite_task_its_errors():
    said = (POINTS @ torch.tensor(WEIGHTS, dtype=torch.float64)).sign()
    assert torch.equal(labels(0), said)
    assert torch.equal(labels(180), -said)
    crossed = (POINTS @ torch.tensor([-1.5, 2.6], dtype=torch.float64)).sign()
    assert torch.equal(labels(90), crossed), "anticlockwise"


def test_a_larger_share_of_wrong_labels_keeps_those_of_a_smaller():
    few, many = (labels(0, flips) != labels(0) for flips in (0.1, 0.4))
    assert torch.equal(few, UNIFORMS < 0.1)
    assert torch.equal(many, UNIFORMS < 0.4)
    assert (many | ~few).all()


class Logistic(nn.Module):
    """A classifier with two weights and no bias."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(WEIGHTS, dtype=torch.float64))

    def forward(self, x):
        return x @ self.weight


def logistic_loss(model, batch):
    x, y = batch
    return nn.functional.softplus(-y * model(x))


@pytest.mark.parametrize("angle", [0, 60, 180])
def test_the_curve_and_its_slope_are_those_of_the_method(angle):
    one = {"weight": torch.ones((), dtype=torch.float64)}
    words = {"posterior_scale": 0.3, "init_scale": 1.0, "per": "model", "samples": 16, "center": "zero"}
    own = labels(angle, 0.1)
    for gamma in (0.0, 0.4, 0.9, 1.0):
        trainer = SoftReset(Logistic(), 0.1, 0.01, **words, init_std=one, generator=seeded(7))
        expected = trainer.log_evidence(logistic_loss, (POINTS, own), gamma)
        generator = seeded(7)
        noise = torch.stack([torch.randn(2, generator=generator, dtype=torch.float64) for _ in range(16)])
        got = curve(own, 0.3, torch.tensor([gamma], dtype=torch.float64), noise)
        close(torch.cat(got), torch.stack(expected))


@pytest.mark.parametrize(("angle", "flips", "rows"), [(0, 0.0, 24), (60, 0.2, 24), (180, 0.0, 5), (90, 0.1, 1)])
def test_the_slope_is_the_derivative_of_the_curve(angle, flips, rows):
    own = labels(angle, flips, rows)
    gammas = GAMMAS.clone().requires_grad_()
    mean, square = torch.tensor(WEIGHTS, dtype=torch.float64), gammas[:, None, None].square()
    theta = gammas[:, None, None] * mean + (square * 0.16 + 1 - square).sqrt() * NOISE
    log_probs = nn.functional.logsigmoid(own * (theta @ POINTS[:rows].T)).sum(-1)
    values = (log_probs.exp().mean(-1)).log()
    (slopes,) = torch.autograd.grad(values.sum(), gammas)
    got = curve(own, 0.4)
    close(got[0], values.detach())
    close(got[1], slopes)


def test_the_same_task_asks_for_no_drift_and_a_turned_one_for_more_the_more_rows_it_shows():
    same, turned, opposite = (curve(labels(angle)) for angle in (0, 60, 180))
    assert same[1][-1] > 0
    assert same[0].argmax() == len(GAMMAS) - 1
    assert opposite[1][-1] < turned[1][-1] < 0
    assert opposite[0].argmax() == 0
    assert 0 < turned[0].argmax() < len(GAMMAS) - 1
    slopes = [curve(labels(180, rows=rows))[1][-1].item() for rows in (1, 6, 12, 24)]
    assert slopes == sorted(slopes, reverse=True)


def test_a_batch_of_the_same_task_with_a_few_wrong_labels_asks_for_a_small_drift():
    own = labels(0, flips=0.1)
    assert (own != labels(0)).sum() == 2
    values, slopes = curve(own)
    assert curve(labels(90))[1][-1] < slopes[-1] < 0
    assert 0.5 < GAMMAS[values.argmax()] < 1


# --- the browser's numbers are torch's --------------------------------------------------------------------------------

LABELS = """
const world = { points: floats(given.points), uniforms: floats(given.uniforms), weights: given.weights };
return given.all.map((state) => f.turnedLabels(world, state));
"""
CURVE = """
const batch = { points: floats(given.points), labels: floats(given.labels), noise: floats(given.noise), weights: given.weights };
return given.gammas.map((gamma) => f.evidenceAt(batch, { scale: given.scale, gamma }));
"""


@pytest.mark.parametrize("weights", [WEIGHTS, (-1.0, 0.3), (0.5, -4.0)])
def test_the_labels_agree_at_every_angle_and_share_of_errors(front, weights):
    all_states = [{"angle": angle, "flips": flips} for angle in range(0, 181, 15) for flips in (0, 0.2, 0.5)]
    got = front(LABELS, points=POINTS.flatten(), uniforms=UNIFORMS, weights=weights, all=all_states)
    for state, own in zip(all_states, got):
        assert_agree(own, labels(**state, weights=weights))


def test_a_point_on_the_line_and_a_number_at_the_share_count_the_same_way(front):
    points = torch.tensor([[0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    uniforms = torch.tensor([0.25, 0.125], dtype=torch.float64)
    (got,) = front(
        LABELS, points=points.flatten(), uniforms=uniforms, weights=[1, 0], all=[{"angle": 0, "flips": 0.25}]
    )
    assert got == turned_labels(points, uniforms, weights=(1, 0), angle=0, flips=0.25).tolist() == [1, -1]


@pytest.mark.parametrize("weights", [WEIGHTS, (-6.0, 8.0)])
@pytest.mark.parametrize(("angle", "rows"), [(0, 24), (60, 24), (180, 24), (90, 1), (120, 7)])
@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0])
def test_the_curve_and_its_slope_agree(front, weights, angle, rows, scale):
    own = labels(angle, 0.1, rows, weights=weights)
    got = front(
        CURVE, points=POINTS.flatten(), labels=own, noise=NOISE.flatten(), weights=weights, scale=scale,
        gammas=GAMMAS.tolist(),
    )  # fmt: skip
    values, slopes = curve(own, scale, weights=weights)
    assert_agree([at["value"] for at in got], values)
    assert_agree([at["slope"] for at in got], slopes)


def test_one_step_of_gamma_stays_between_0_and_1(front):
    body = "return given.pairs.map(([slope, rate]) => f.steppedGamma(slope, rate));"
    pairs = [[3.0, 0.1], [-3.0, 0.1], [-300.0, 0.1], [0.0, 0.1]]
    expected = [min(1.0, max(0.0, 1 + rate * slope)) for slope, rate in pairs]
    assert front(body, pairs=pairs) == pytest.approx(expected)
    assert expected == pytest.approx([1, 0.7, 0, 1])


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"points": POINTS[:, :1]}, r"points is of shape \(24, 1\), but must be of shape \(n, 2\) with 12 to 24 rows"),
        ({"points": POINTS[:11]}, r"points is of shape \(11, 2\), but must be"),
        ({"points": POINTS.repeat(2, 1)}, r"points is of shape \(48, 2\), but must be"),
        ({"points": POINTS / 0}, "points is not finite in some place, but must be finite numbers"),
        ({"points": 0 * POINTS}, "points is 0 everywhere, but must be points of which some are not 0"),
        ({"uniforms": UNIFORMS[:-1]}, r"uniforms is of shape \(23,\), but must be of shape \(24,\)"),
        ({"uniforms": 2 * UNIFORMS}, r"uniforms is outside in some row, but must be in \[0, 1\]"),
        ({"uniforms": UNIFORMS * math.nan}, "uniforms is outside in some row"),
        ({"weights": (0, 0)}, "weights is of length 0, but must be of a length above 0, up to 10"),
        ({"weights": (8, 7)}, "weights is of length 10.6, but must be"),
        ({"weights": (math.inf, 1)}, "each of weights is inf, but must be"),
        ({"angle": -5}, "angle is -5, but must be at least 0"),
        ({"angle": 185}, "angle is 185, but must be a multiple of 5 from 0 to 180"),
        ({"angle": 42}, "angle is 42, but must be a multiple of 5 from 0 to 180"),
        ({"flips": 0.6}, r"flips is 0.6, but must be a number in \[0, 0.5\]"),
        ({"rows": 0}, "rows is 0, but must be at least 1"),
        ({"rows": 25}, "rows is 25, but must be at most 24, the points of the batch"),
        ({"posterior_scale": 0}, r"posterior_scale is 0, but must be a number in \[0.1, 1\]"),
        ({"drift_lr": 0.3}, r"drift_lr is 0.3, but must be one of \(0.001, "),
        ({"drift_lrs": (0, 0.01)}, r"each of drift_lrs is 0, but must be a number in \(0, inf\)"),
        ({"seed": -1}, "seed is -1, but must be at least 0"),
        ({"title": ""}, "title is empty"),
        ({"alt": " "}, "alt is empty"),
    ],
)
def test_the_widget_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        widget(**words)
