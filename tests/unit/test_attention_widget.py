"""Layers of linear attention are steps of gradient descent, the softmax's is none, and the browser computes torch's numbers."""

import math
from itertools import pairwise

import pytest
import torch
from agree import assert_agree, close, doubles, normal

from companion.teaching.widgets import live_attention
from companion.teaching.widgets.attention import (
    FEWEST_POINTS,
    MOST_POINTS,
    TEMPERATURES,
    attention_predictions,
    attention_tokens,
    gradient_line,
    longest_step,
    softmax_tokens,
)
from companion.teaching.widgets.base import MOST_BYTES

X = normal(11, seed=1) + 0.4
Y = 0.8 * X - 0.6 + 0.5 * normal(11, seed=2)
QUERIES = torch.linspace(-4, 4, 9, dtype=torch.float64)
POINTS = torch.stack([X, Y], dim=1)


def widget(points=POINTS, **words):
    return live_attention(points, **{"title": "t", "alt": "a", **words})


def loss(weights, x=X, y=Y):
    return 0.5 * (weights[0] * x + weights[1] - y).square().mean()


def least_squares(x, y):
    return torch.linalg.lstsq(torch.stack([x, torch.ones_like(x)], dim=1), y[:, None]).solution[:, 0]


# --- what it carries --------------------------------------------------------------------------------------------------


def test_the_widget_carries_its_points_and_the_places_of_its_sliders():
    made = widget(note="n", step=0.3, layers=7, attention="softmax", temperature=0.48)
    assert (made.kind, made.title, made.alt, made.note) == ("attention", "t", "a", "n")
    assert torch.equal(doubles(made.points).view(-1, 2), POINTS)
    assert (made.layers, made.most_layers, made.attention) == (7, 20, "softmax")
    assert made.step_index * made.step_unit == pytest.approx(0.3, abs=0.5 * made.step_unit)
    assert made.temperatures == list(TEMPERATURES)
    assert made.temperatures[made.temperatures_index] == 0.5
    assert len(made.points) < MOST_BYTES
    assert (widget().layers, widget().attention) == (1, "linear")
    assert widget().temperatures[widget().temperatures_index] == 1.0


@pytest.mark.parametrize("scale", [0.05, 0.5, 1.0, 4.0])
def test_the_step_starts_at_a_quarter_of_the_longest_and_goes_a_little_beyond_it(scale):
    points = POINTS * torch.tensor([scale, 1.0], dtype=torch.float64)
    made = widget(points)
    longest = longest_step(X * scale)
    assert made.step_unit * made.step_index == pytest.approx(longest / 4, abs=0.51 * made.step_unit)
    last = made.step_unit * made.step_places
    assert 1.15 * longest <= last < 1.15 * longest + 1.0001 * made.step_unit
    assert 57 <= made.step_places <= 150
    assert float(f"{made.step_unit:.0e}") == made.step_unit
    assert f"{made.step_unit:.0e}"[0] in "125"
    assert widget(points, step=last).step_index == made.step_places


def test_a_temperature_is_moved_to_the_nearest_place_by_ratio():
    for temperature, place in [(0.01, 0.01), (1.4, 1.0), (1.45, 2.0), (8.3, 7.0), (8.4, 10.0), (100, 100.0)]:
        made = widget(temperature=temperature)
        assert made.temperatures[made.temperatures_index] == place
    ratios = [high / low for low, high in pairwise(TEMPERATURES)]
    assert min(ratios) > 1.3
    assert max(ratios) <= 2


@pytest.mark.parametrize("scale", [0.05, 1.0, 4.0])
def test_the_plane_holds_all_points_and_the_line_0_with_room_around_them(scale):
    made = widget(POINTS * torch.tensor([scale, 1.0], dtype=torch.float64))
    low, high = made.across
    assert low < X.min() * scale < X.max() * scale < high
    assert high - low < 1.4 * (X.max() - X.min()) * scale
    bottom, top = made.up
    assert bottom < min(0, Y.min()) < max(0, Y.max()) < top
    for (start, end), move in zip((made.across, made.up), made.moves):
        assert start / move == pytest.approx(round(start / move), abs=1e-6)
        assert 100 <= (end - start) / move < 260
    assert len(made.queries) == 13
    gaps = {round(b - a, 9) for a, b in pairwise(made.queries)}
    assert len(gaps) == 1
    assert made.queries[0] - low == pytest.approx(high - made.queries[-1])
    assert low < made.queries[0] < made.queries[-1] < high


def test_points_below_and_above_0_alone_have_the_line_0_in_the_plane():
    for sign in (-1, 1):
        made = widget(torch.stack([X, sign * (1 + Y.abs())], dim=1))
        assert made.up[0] < 0 < made.up[1]


def test_as_few_and_as_many_points_as_are_allowed_are_taken():
    for n in (FEWEST_POINTS, MOST_POINTS):
        assert len(doubles(widget(normal(n, 2).float()).points)) == 2 * n


# --- gradient descent -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0.0, 0.1, 0.7, 3.0])
def test_the_line_is_that_of_gradient_descent_on_the_loss(step):
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    for layers in range(6):
        close(gradient_line(X, Y, step, layers), weights.detach(), 1e-12)
        (gradient,) = torch.autograd.grad(loss(weights), weights)
        weights = (weights - step * gradient).detach().requires_grad_()


def test_below_the_longest_step_it_comes_to_least_squares_and_above_it_does_not():
    longest, best = longest_step(X), least_squares(X, Y)
    close(gradient_line(X, Y, 0.99 * longest, 3000), best, 1e-8)
    losses = [loss(gradient_line(X, Y, 1.01 * longest, layers)).item() for layers in (0, 400, 800)]
    assert losses[0] < losses[1] < losses[2]


# --- attention is gradient descent ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 9, 16])
@pytest.mark.parametrize("layers", [0, 1, 2, 7, 20])
def test_layers_of_attention_predict_what_the_line_of_as_many_steps_predicts(n, layers):
    for seed in range(4):
        x, y = 2 * normal(n, seed=seed), normal(n, seed=seed + 50)
        for share in (0.1, 0.6, 0.98):
            step = share * longest_step(x)
            slope, intercept = gradient_line(x, y, step, layers)
            predicted = attention_predictions(x, y, QUERIES, step, layers)
            torch.testing.assert_close(predicted, slope * QUERIES + intercept, rtol=0, atol=1e-12)


def test_they_agree_where_both_diverge():
    step = 1.15 * longest_step(X)
    slope, intercept = gradient_line(X, Y, step, 20)
    assert slope.abs() > 20
    close(attention_predictions(X, Y, QUERIES, step, 20), slope * QUERIES + intercept, 1e-12)


def test_one_layer_takes_the_change_of_the_weights_times_x_from_each_y():
    """Proposition 1: y_j <- y_j - D (x_j, 1), with D the step of gradient descent from 0."""
    step = 0.4
    (gradient,) = torch.autograd.grad(loss(weights := torch.zeros(2).double().requires_grad_()), weights)
    slope, intercept = -step * gradient
    before, after = attention_tokens(X, Y, QUERIES, step, 1)
    places = torch.cat([X, QUERIES])
    close(before, torch.stack([places, torch.ones(20).double(), torch.cat([Y, torch.zeros(9).double()])], dim=1), 0)
    close(after[:, 2], before[:, 2] - slope * places - intercept, 1e-14)
    assert (after[:, 2] - before[:, 2]).abs().max() > 0.1


def test_the_tokens_of_the_context_hold_the_residuals_and_keep_their_place():
    states = attention_tokens(X, Y, QUERIES, 0.3, 8)
    assert states.shape == (9, 20, 3)
    for layers, tokens in enumerate(states):
        assert torch.equal(tokens[:, :2], states[0][:, :2])
        slope, intercept = gradient_line(X, Y, 0.3, layers)
        close(tokens[: len(X), 2], Y - slope * X - intercept, 1e-12)
    close(-states[-1, len(X) :, 2], attention_predictions(X, Y, QUERIES, 0.3, 8), 0)


def test_a_query_is_answered_alike_whatever_else_is_asked():
    alone = [attention_predictions(X, Y, QUERIES[k : k + 1], 0.3, 5) for k in range(len(QUERIES))]
    close(torch.cat(alone), attention_predictions(X, Y, QUERIES, 0.3, 5), 1e-13)
    assert attention_predictions(X, Y, QUERIES[:0], 0.3, 5).shape == (0,)


def test_single_precision_stays_single():
    assert gradient_line(X.float(), Y.float(), 0.3, 2).dtype == torch.float32
    assert attention_predictions(X.float(), Y.float(), QUERIES.float(), 0.3, 2).dtype == torch.float32


# --- attention with the softmax is not --------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.05, 1.0, 30.0])
def test_the_softmax_layer_is_a_kernel_smoother(temperature):
    before, after = softmax_tokens(X, Y, QUERIES, temperature)
    close(before, attention_tokens(X, Y, QUERIES, 0.3, 0)[0], 0)
    places = torch.cat([X, QUERIES])
    kernel = (places[:, None] * X / temperature - (places[:, None] * X / temperature).amax(1, keepdim=True)).exp()
    mean = kernel @ Y / kernel.sum(1)
    close(after[:, 2], before[:, 2] - mean, 1e-12)
    assert torch.equal(after[:, :2], before[:, :2])
    assert ((Y.min() - 1e-12 <= mean) & (mean <= Y.max() + 1e-12)).all()


def test_a_cold_softmax_repeats_the_outermost_point_and_a_warm_one_the_mean():
    def predict(temperature):
        return -softmax_tokens(X, Y, QUERIES, temperature)[-1, len(X) :, 2]

    close(predict(1e-3)[[0, -1]], torch.stack([Y[X.argmin()], Y[X.argmax()]]), 1e-9)
    close(predict(1e9), Y.mean().expand(9), 1e-7)
    close(predict(1e-3)[4:5], Y.mean()[None], 1e-12)  # at x = 0 every point counts alike


def test_the_softmax_leaves_every_line():
    """The predictions of a line have no second differences; those of the softmax do, and no step is among them."""
    predicted = -softmax_tokens(X, Y, QUERIES, 0.5)[-1, len(X) :, 2]
    assert predicted.diff().diff().abs().max() > 0.1
    linear = attention_predictions(X, Y, QUERIES, 0.5, 1)
    assert linear.diff().diff().abs().max() < 1e-12


# --- the browser's numbers are torch's --------------------------------------------------------------------------------

DATA = "const data = { x: given.x, y: given.y, queries: given.queries };"


@pytest.mark.parametrize("step", [0.0, 0.25, 1.0])
def test_lines_and_tokens_agree_at_every_layer(front, step):
    got = front(
        DATA + "return [f.gradientLines(data, given), f.attentionTokens(data, given)];",
        x=X, y=Y, queries=QUERIES, step=step, layers=20,
    )  # fmt: skip
    lines, states = got
    assert_agree(lines, torch.stack([gradient_line(X, Y, step, layers) for layers in range(21)]))
    assert_agree(states, attention_tokens(X, Y, QUERIES, step, 20))


def test_the_browsers_own_attention_and_line_agree(front):
    """Without torch between them: what the reader is shown as the largest difference."""
    got = front(
        DATA
        + """
        const lines = f.gradientLines(data, given), states = f.attentionTokens(data, given);
        return states.map((tokens, layer) => Math.max(...tokens.slice(data.x.length).map(([x, , y]) => Math.abs(-y - lines[layer][0] * x - lines[layer][1]))));
        """,
        x=X, y=Y, queries=QUERIES, step=0.5, layers=20,
    )  # fmt: skip
    assert len(got) == 21
    assert max(got) < 1e-13


@pytest.mark.parametrize("temperature", [0.01, 0.5, 100.0])
def test_the_softmax_agrees_at_each_temperature(front, temperature):
    got = front(
        DATA + "return f.softmaxTokens(data, given.temperature);",
        x=X, y=Y, queries=QUERIES, temperature=temperature,
    )  # fmt: skip
    assert_agree(got, softmax_tokens(X, Y, QUERIES, temperature))


def test_the_layer_of_any_matrices_is_that_of_torch(front):
    """The formula of the layer with full matrices, of which the widget's are diagonal."""
    W_Q, W_K, W_V, P = normal(4, 3, 3, seed=9)
    tokens = normal(7, 3, seed=8)
    for temperature in (None, 0.7):
        got = front(
            "const [query, key, value, projection] = given.matrices;"
            "return f.attend(given.tokens, 5, { query, key, value, projection }, given.temperature);",
            matrices=[W_Q.tolist(), W_K.tolist(), W_V.tolist(), P.tolist()], tokens=tokens, temperature=temperature,
        )  # fmt: skip
        wanted = []
        for token in tokens:
            products = torch.stack([(W_K @ seen) @ (W_Q @ token) for seen in tokens[:5]])
            shares = products if temperature is None else (products / temperature).softmax(0)
            wanted.append(token + P @ sum(share * (W_V @ seen) for share, seen in zip(shares, tokens[:5])))
        assert_agree(got, torch.stack(wanted))


def test_losses_least_squares_and_the_longest_step_agree(front):
    got = front(
        DATA + "const best = f.leastSquaresLine(data);"
        "return { best, least: f.halfMeanSquare(f.lineResiduals(data, best)), zero: f.halfMeanSquare(data.y), longest: f.longestStep(data.x) };",
        x=X, y=Y, queries=[],
    )  # fmt: skip
    assert_agree(got["best"], least_squares(X, Y))
    assert got["least"] == pytest.approx(loss(least_squares(X, Y)).item(), abs=1e-12)
    assert got["zero"] == pytest.approx(loss(torch.zeros(2)).item(), abs=1e-12)
    assert got["longest"] == pytest.approx(longest_step(X), abs=1e-12)


def test_points_at_one_x_have_a_level_best_line(front):
    best = front("return f.leastSquaresLine(given);", x=[0.3] * 8, y=list(range(8)))
    assert best == pytest.approx([0, 3.5])


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        (normal(7, 2), r"points is of shape \(7, 2\), but must be of shape \(n, 2\) with 8 to 16 rows"),
        (normal(17, 2), r"points is of shape \(17, 2\), but must be of shape \(n, 2\) with 8 to 16 rows"),
        (normal(8, 3), r"points is of shape \(8, 3\), but must be of shape \(n, 2\)"),
        (normal(10), r"points is of shape \(10,\), but must be of shape \(n, 2\)"),
        (
            POINTS.index_fill(0, torch.tensor([2]), math.nan),
            "points is outside in some place, but must be from -10 to 10",
        ),
        (POINTS.index_fill(0, torch.tensor([2]), -10.1), "points is outside in some place, but must be from -10 to 10"),
        (POINTS * torch.tensor([0.01, 1]), "points is of a spread .* in x, but must be of a spread of at least 0.1"),
        (
            POINTS * torch.tensor([1, 0.01]),
            r"points is of \|y\| up to .*, but must be of a \|y\| of at least 0.1 somewhere",
        ),
    ],
)
def test_the_widget_refuses_points_that_it_cannot_show(points, sentence):
    with pytest.raises(ValueError, match=sentence):
        widget(points)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"step": -0.1}, r"step is -0.1, but must be a number in \[0, inf\)"),
        ({"step": 9.0}, r"step is 9.0, but must be at most [\d.]+ for these points"),
        ({"layers": -1}, "layers is -1, but must be at least 0"),
        ({"layers": 21}, "layers is 21, but must be at most 20"),
        ({"temperature": 0.001}, r"temperature is 0.001, but must be a number in \[0.01, 100\]"),
        ({"temperature": 101}, r"temperature is 101, but must be a number in \[0.01, 100\]"),
        ({"title": ""}, "title is empty"),
        ({"alt": " "}, "alt is empty"),
    ],
)
def test_the_widget_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        widget(**words)
