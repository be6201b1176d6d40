"""The live widgets of the closed-form last layer compute torch's numbers, and refuse what they cannot show."""

import math

import pytest
import torch
from agree import assert_agree, doubles

from companion.foundations.linear import ridge
from companion.teaching.widgets import live_recursive, live_valley
from companion.teaching.widgets.recursive import bump_features, recursive_weights
from companion.teaching.widgets.valley import valley_paths

GENERATOR = torch.Generator().manual_seed(0)
X = 4 * torch.rand(40, generator=GENERATOR, dtype=torch.float64) - 2
Y = torch.cos(4 * X) + 0.1 * torch.randn(40, generator=GENERATOR, dtype=torch.float64)
STEPS, MOST = 12, 9
BATCH_X = torch.rand(STEPS, MOST, generator=GENERATOR, dtype=torch.float64)
BATCH_Y = torch.sin(7 * BATCH_X) + 0.2 * torch.randn(STEPS, MOST, generator=GENERATOR, dtype=torch.float64)
TRUTH = torch.sin(7 * torch.linspace(0, 1, 31, dtype=torch.float64))


def valley(x=X, y=Y, **words):
    return live_valley(x, y, **{"title": "t", "alt": "a", **words})


def recursive(x=BATCH_X, y=BATCH_Y, truth=TRUTH, **words):
    return live_recursive(x, y, truth, **{"title": "t", "alt": "a", **words})


# --- what they carry --------------------------------------------------------------------------------------------------


def test_the_valley_carries_its_data_in_double_precision_and_its_settings():
    widget = valley(
        note="n", ridge=0.1, theta=3, weight=-1, learning_rate=0.5, steps=20, thetas=(1, 6), weights=(-2, 2)
    )
    assert (widget.kind, widget.title, widget.alt, widget.note) == ("valley", "t", "a", "n")
    assert torch.equal(doubles(widget.x), X)
    assert torch.equal(doubles(widget.y), Y)
    assert (widget.ridge, widget.weight, widget.steps) == (0.1, -1.0, 20)
    assert (widget.thetas, widget.weights) == ([1.0, 6.0], [-2.0, 2.0])
    assert widget.rates[widget.rates_index] == 0.5
    assert widget.theta_index / widget.places == pytest.approx(0.4)


def test_a_valley_of_float32_data_is_that_of_the_same_numbers():
    assert torch.equal(doubles(valley(X.float(), Y.float()).x), X.float().double())


def test_the_recursion_carries_its_batches_and_its_settings():
    widget = recursive(note="n", bumps=7, batch_size=4, strength=0.03, forgetting=0.9)
    assert (widget.kind, widget.title, widget.alt, widget.note) == ("recursive", "t", "a", "n")
    for packed, values in ((widget.x, BATCH_X), (widget.y, BATCH_Y), (widget.truth, TRUTH)):
        assert torch.equal(doubles(packed), values.flatten())
    assert (widget.steps, widget.most, widget.grid, widget.batch_size) == (STEPS, MOST, 31, 4)
    assert (widget.interval, widget.bumps, widget.width) == ([0.0, 1.0], 7, 1 / 6)
    assert widget.strengths[widget.strengths_index] == 0.03
    assert (widget.forgets, widget.forgetting) == (True, 0.9)


def test_a_recursion_starts_with_whole_batches_and_without_forgetting_unless_told():
    widget = recursive()
    assert (widget.batch_size, widget.forgets, widget.forgetting) == (MOST, False, 0.0)
    assert recursive(forgetting=0).forgets, "a slider that starts from 0 is a slider"
    drifting = TRUTH.expand(STEPS, -1)
    assert len(recursive(truth=drifting).truth) == 8 * STEPS * 31


# --- the descents that they compare with ------------------------------------------------------------------------------


def test_on_the_valley_no_other_weight_is_better():
    _, closed = valley_paths(X, Y, theta=2.7, learning_rate=0.5, steps=15, ridge=0.05)
    theta, w = closed[:, :1], closed[:, 1:]

    def loss(w):
        return 0.5 * (Y - w * torch.cos(theta * X)).square().mean(1) + 0.025 * w.squeeze() ** 2

    assert (loss(w) < torch.minimum(loss(w + 1e-4), loss(w - 1e-4))).all()


def test_the_envelope_step_is_the_step_through_the_solve():
    def reduced(theta):
        features = torch.cos(theta * X)[:, None]
        w = ridge(features, Y[:, None], 40 * 0.05)
        return 0.5 * (Y[:, None] - features @ w).square().mean() + 0.025 * w.square().sum()

    _, closed = valley_paths(X, Y, theta=2.7, learning_rate=0.5, steps=15, ridge=0.05)
    for now, after in zip(closed[:-1, 0], closed[1:, 0]):
        theta = now.clone().requires_grad_()
        (slope,) = torch.autograd.grad(reduced(theta), theta)
        torch.testing.assert_close(after, now - 0.5 * slope, rtol=0, atol=1e-12)


def test_without_forgetting_the_weights_are_those_of_all_points_and_with_a_large_strength_they_stay():
    features = bump_features(BATCH_X, bumps=7)
    seen = features[:5, :4].flatten(0, 1), BATCH_Y[:5, :4].flatten()[:, None]
    weights = recursive_weights(features, BATCH_Y, batch_size=4, strength=0.01, forgetting=1.0)
    torch.testing.assert_close(weights[5], ridge(*seen, 0.04).squeeze(), rtol=1e-9, atol=1e-9)
    assert recursive_weights(features, BATCH_Y, batch_size=4, strength=1e9).abs().max() < 1e-7


def test_bumps_are_one_at_their_centres_and_the_last_feature_is_one_everywhere():
    features = bump_features(torch.linspace(-2, 4, 5, dtype=torch.float64), interval=(-2, 4), bumps=5)
    torch.testing.assert_close(features.diagonal(), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(features[:, 1:2].log(), torch.tensor([[-0.5], [0], [-0.5], [-2], [-4.5]]).double())
    assert (features[:, 5] == 1).all()


# --- the browser's numbers are torch's --------------------------------------------------------------------------------

PATHS = """
const data = f.makeValley(floats(given.x), floats(given.y), given.ridge);
return f.valleyPaths(data, given);
"""


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize(
    ("theta", "weight", "rate"), [(2.7, 0.0, 0.2), (3.4, -1.0, 1.0), (0.0, 1.5, 0.05), (5.1, 0.3, 2.0)]
)
def test_both_descents_agree(front, theta, weight, rate, ridge):
    words = {"theta": theta, "weight": weight, "steps": 100, "ridge": ridge}
    got = front(PATHS, x=X, y=Y, rate=rate, **words)
    expected = dict(zip(("joint", "closed"), valley_paths(X, Y, learning_rate=rate, **words)))
    for name, path in expected.items():
        thetas, weights = path.T
        assert_agree(got[name]["thetas"], thetas)
        assert_agree(got[name]["weights"], weights)
        residuals = Y - weights[:, None] * torch.cos(thetas[:, None] * X)
        assert_agree(got[name]["losses"], 0.5 * residuals.square().mean(1) + 0.5 * ridge * weights**2)
    assert (expected["joint"] - expected["closed"]).abs().max() > 0.05, "they differ"


def test_the_solved_weight_agrees(front):
    thetas = torch.linspace(-1, 8, 19, dtype=torch.float64)
    body = """const data = f.makeValley(floats(given.x), floats(given.y), 0.2);
    return given.thetas.map((theta) => f.solveWeight(data, theta));"""
    expected = [ridge(torch.cos(theta * X)[:, None], Y[:, None], 40 * 0.2).item() for theta in thetas]
    assert_agree(front(body, x=X, y=Y, thetas=thetas), torch.tensor(expected, dtype=torch.float64), 1e-12)


@pytest.mark.parametrize(("interval", "width"), [((0, 1), None), ((-1, 2.5), 0.1)])
def test_bump_features_agree(front, interval, width):
    expected = bump_features(BATCH_X, interval=interval, bumps=6, width=width)
    widget = recursive(interval=interval, bumps=6, width=width)
    words = {name: getattr(widget, name) for name in ("interval", "bumps", "width")}
    assert_agree(
        front("return f.bumpFeatures(floats(given.x), given.words);", x=BATCH_X.flatten(), words=words), expected, 1e-13
    )


def test_cholesky_agrees(front):
    rows = torch.randn(9, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    system, right = rows.T @ rows, rows[0]
    got = front("return f.solveCholesky(floats(given.a), floats(given.b));", a=system.tril().flatten(), b=right)
    assert_agree(got, torch.linalg.solve(system, right), 1e-10)


WEIGHTS = """
const batches = { features: floats(given.features), y: floats(given.y), steps: given.steps, most: given.most };
return given.all.map((words) => f.recursiveWeights(batches, words));
"""


@pytest.mark.parametrize("batch", [1, 4, MOST])
def test_the_recursion_agrees_from_interpolation_to_a_frozen_layer_and_from_nothing_to_everything_kept(front, batch):
    features = bump_features(BATCH_X, bumps=20)
    strengths, forgettings = (1e-5, 0.1, 1e4), (0.0, 0.37, 0.95, 1.0)
    words = [
        {"batch": batch, "strength": strength, "forgetting": forgetting}
        for strength in strengths
        for forgetting in forgettings
    ]
    got = front(WEIGHTS, features=features.flatten(), y=BATCH_Y.flatten(), steps=STEPS, most=MOST, all=words)
    for own, states in zip(words, got):
        expected = recursive_weights(
            features, BATCH_Y, batch_size=batch, strength=own["strength"], forgetting=own["forgetting"]
        )
        assert_agree(states, expected)


def test_a_batch_alone_is_its_ridge_solution(front):
    features = bump_features(BATCH_X, bumps=20)
    words = [{"batch": 4, "strength": 0.01, "forgetting": 0, "isAlone": True}]
    (got,) = front(WEIGHTS, features=features.flatten(), y=BATCH_Y.flatten(), steps=STEPS, most=MOST, all=words)
    alone = [ridge(rows[:4], values[:4, None], 0.04)[:, 0] for rows, values in zip(features, BATCH_Y)]
    assert_agree(got, torch.stack([torch.zeros(21, dtype=torch.float64), *alone]))


# --- what they refuse -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"x": X[:, None]}, r"x is of shape \(40, 1\), but must be of shape \(n,\)"),
        ({"y": Y[:-1]}, "y is 39 numbers, but must be 40, one for each of x"),
        ({"y": Y / 0}, "y is not finite in some place, but must be finite numbers"),
        ({"x": X[:1], "y": Y[:1]}, "x is 1 points, but must be 2 to 400"),
        ({"x": X.repeat(11), "y": Y.repeat(11)}, "x is 440 points, but must be 2 to 400"),
        ({"ridge": -1}, r"ridge is -1, but must be a number in \[0, inf\)"),
        ({"theta": 9}, r"theta is 9, but must be a number in \[0.0, 8.0\]"),
        ({"weight": 2}, r"weight is 2, but must be a number in \[-1.5, 1.5\]"),
        ({"learning_rate": 0.3}, r"learning_rate is 0.3, but must be one of \(0.01, "),
        ({"learning_rates": (0, 0.2)}, r"each of learning_rates is 0, but must be a number in \(0, inf\)"),
        ({"steps": 9}, "steps is 9, but must be at least 10"),
        ({"steps": 301}, "steps is 301, but must be at most 300"),
        ({"thetas": (2, 1)}, r"thetas is \(2, 1\), but must be a pair \(low, high\) that rises"),
        ({"weights": (0, math.inf)}, r"each end of weights is inf, but must be a number in \(-inf, inf\)"),
        ({"title": ""}, "title is empty"),
        ({"alt": " "}, "alt is empty"),
    ],
)
def test_the_valley_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        valley(**words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"x": BATCH_X.flatten()}, r"x is of shape \(108,\), but must be of shape \(steps, most\)"),
        ({"x": BATCH_X[:1]}, r"x is of shape \(1, 9\), but must be of 2 to 100 steps with 1 to 64 points each"),
        ({"x": BATCH_X.repeat(1, 8)}, r"x is of shape \(12, 72\), but must be of 2 to 100 steps"),
        ({"y": BATCH_Y[:, :-1]}, r"y is of shape \(12, 8\), but must be of shape \(12, 9\) like x"),
        ({"y": BATCH_Y / 0}, "y is not finite in some place"),
        (
            {"truth": TRUTH.expand(5, -1)},
            r"truth is of shape \(5, 31\), but must be of shape \(grid,\) or \(12, grid\)",
        ),
        ({"truth": TRUTH[:1]}, r"truth is of shape \(1,\), but must be"),
        ({"truth": torch.zeros(12, 8000)}, r"x, y and truth is \d+ bytes, but must be at most 700000: a coarser grid"),
        ({"interval": (0, 0.5)}, "x is outside the interval in some place, but must be from 0 to 0.5"),
        ({"interval": (1, 0)}, r"interval is \(1, 0\), but must be a pair \(low, high\) that rises"),
        ({"bumps": 1}, "bumps is 1, but must be at least 2"),
        ({"bumps": 33}, "bumps is 33, but must be at most 32"),
        ({"width": 0}, r"width is 0, but must be a number in \(0, inf\)"),
        ({"batch_size": 0}, "batch_size is 0, but must be at least 1"),
        ({"batch_size": 10}, "batch_size is 10, but must be at most 9, the points of a step"),
        ({"strength": 0.2}, r"strength is 0.2, but must be one of \(1e-05, "),
        ({"strengths": (0, 0.1)}, r"each of strengths is 0, but must be a number in \[1e-8, inf\)"),
        ({"forgetting": 1.1}, r"forgetting is 1.1, but must be a number in \[0, 1\]"),
        ({"title": " "}, "title is empty"),
        ({"alt": ""}, "alt is empty"),
    ],
)
def test_the_recursion_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        recursive(**words)
