"""The live widget of a labelled stream: what it carries, what it refuses, and its reference in torch."""

import math

import pytest
import torch
from agree import assert_agree, doubles

from companion.data.streams import Stream, moving_classes
from companion.foundations.linear import ridge
from companion.foundations.online import centred_one_hot
from companion.methods.kalman import KalmanHead, average_log_softmax
from companion.teaching.widgets import live_stream
from companion.teaching.widgets.stream import plane_bumps, stream_path

NOISE = torch.randn(12, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def moving(drift, n=90, seed=0, **words):
    return moving_classes(n, drift, segment=30, generator=torch.Generator().manual_seed(seed), **words)


STREAMS = {"abrupt": moving("abrupt"), "none": moving("none")}
POINTS, LABELS, _ = STREAMS["none"]


def stream(streams=STREAMS, noise=NOISE, **words):
    return live_stream(streams, noise, **{"title": "t", "alt": "a", **words})


def rows(name="abrupt", **words):
    return plane_bumps(STREAMS[name].features.double(), **words), STREAMS[name].labels


# --- what it carries --------------------------------------------------------------------------------------------------


def test_it_carries_its_streams_its_draws_and_its_settings():
    widget = stream(
        note="n", half_width=2.5, side=5, weight_variance=2, noise_variance=0.3, alpha=4, alpha_rate=0, gamma_rate=1e-5,
        gamma=0.999, learned=False,
    )  # fmt: skip
    assert (widget.kind, widget.title, widget.alt, widget.note) == ("stream", "t", "a", "n")
    assert [own["name"] for own in widget.streams] == ["abrupt", "none"]
    for own, (points, labels, changes) in zip(widget.streams, STREAMS.values()):
        assert torch.equal(doubles(own["points"]), points.double().flatten())
        assert list(own["labels"]) == labels.tolist()
        assert own["changes"] == list(changes)
    assert torch.equal(doubles(widget.noise), NOISE.flatten())
    assert (widget.rows, widget.classes) == (90, 3)
    assert (widget.half_width, widget.side, widget.width) == (2.5, 5, 1.25)
    assert (widget.weight_variance, widget.noise_variance, widget.alpha, widget.alpha_rate) == (2.0, 0.3, 4.0, 0.0)
    assert widget.gamma_rates[widget.gamma_rates_index] == 1e-5
    assert widget.gammas[widget.gammas_index] == 0.999
    assert not widget.learned


def test_a_page_can_carry_the_largest_one():
    streams = {drift: moving(drift, n=1000) for drift in ("abrupt", "slow", "none")}
    widget = stream(streams)
    carried = sum(len(own["points"]) + len(own["labels"]) for own in widget.streams) + len(widget.noise)
    assert carried < 100_000


# --- the reference ----------------------------------------------------------------------------------------------------


def test_bumps_are_one_at_their_centres_and_the_last_feature_is_one_everywhere():
    along = torch.linspace(-2, 2, 3, dtype=torch.float64)
    features = plane_bumps(torch.cartesian_prod(along, along), half_width=2, side=3)
    torch.testing.assert_close(features[:, :9].diagonal(), torch.ones(9, dtype=torch.float64))
    torch.testing.assert_close(features[0, 1].log(), torch.tensor(-0.5, dtype=torch.float64))
    torch.testing.assert_close(features[0, 4].log(), torch.tensor(-1.0, dtype=torch.float64))
    assert (features[:, 9] == 1).all()


def test_a_path_that_never_forgets_is_ridge_regression_and_scores_each_row_before_it_learns_it():
    features, labels = rows()
    words = {"num_classes": 3, "gamma": 1.0, "noise_variance": 0.2, "alpha_rate": 0}
    path = stream_path(features, labels, NOISE, **words)
    targets = centred_one_hot(labels, 3, torch.float64)
    torch.testing.assert_close(path.mean, ridge(features, targets, 0.2), rtol=0, atol=1e-9)
    assert path.log_prob[0] == pytest.approx(average_log_softmax(
        torch.zeros(1, 3, dtype=torch.float64), features[:1].square().sum(1), torch.tensor(5.0).double(), NOISE[:, None],
    )[0, labels[0]].item())  # fmt: skip
    other = labels.clone()
    other[50] = (labels[50] + 1) % 3
    changed = stream_path(features, other, NOISE, **words)
    assert torch.equal(changed.log_prob[:50], path.log_prob[:50])
    assert (changed.log_prob[50:] != path.log_prob[50:]).all()


def test_the_first_step_of_what_is_learned_is_the_slope_of_its_log_probability():
    features, labels = rows()
    start = {"num_classes": 3, "gamma": 0.99, "alpha": 4.0}
    path = stream_path(features[:3], labels[:3], NOISE, learn=True, gamma_rate=1e-3, alpha_rate=0.02, **start)
    constant = {**start, "gamma_rate": 0, "alpha_rate": 0}

    def after_two(delta, alpha):
        """Of the third row, with the first two learned as they were."""
        head = KalmanHead(37, 3, gamma=math.exp(-path.delta[0].item() / 2), learn_gamma=True)
        for row, label, own in zip(features[:2], labels[:2], path.delta[:2]):
            head.delta.data.copy_(own)
            head.update(row[None], centred_one_hot(label[None], 3, torch.float64))
        head.delta.data.fill_(delta)
        mean, variance = head.predict(features[2:3])
        scale = torch.tensor(alpha, dtype=torch.float64)
        return average_log_softmax(mean, variance, scale, NOISE[:, None])[0, labels[2]].item()

    delta, alpha = path.delta[1].item(), path.alpha[1].item()
    assert path.log_prob[2] == pytest.approx(after_two(delta, alpha), abs=1e-12)
    slope = (after_two(delta + 1e-5, alpha) - after_two(delta - 1e-5, alpha)) / 2e-5
    assert (path.delta[2] - delta).item() == pytest.approx(1e-3 * slope, rel=1e-5)
    slope = (after_two(delta, alpha * math.exp(1e-5)) - after_two(delta, alpha * math.exp(-1e-5))) / 2e-5
    assert path.alpha[2].log().item() - math.log(alpha) == pytest.approx(0.02 * slope, rel=1e-5)
    assert (
        stream_path(features, labels, NOISE, learn=True, **constant).delta == path.delta[0] * 0 - 2 * math.log(0.99)
    ).all()


def test_learned_forgetting_beats_none_where_classes_change_places_and_costs_little_where_they_stay():
    orders = torch.cat(
        [NOISE[:5, order] for order in ([0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [2, 1, 0], [1, 0, 2])]
    )
    losses = {}
    for drift in ("abrupt", "none"):
        found = moving_classes(300, drift, segment=100, generator=torch.Generator().manual_seed(2))
        features = plane_bumps(found.features.double())
        for learn in (True, False):
            path = stream_path(features, found.labels, orders, num_classes=3, learn=learn, gamma_rate=1e-4)
            losses[drift, learn] = -path.log_prob.mean().item()
            if learn and drift == "abrupt":
                assert path.delta[105:140].mean() > 3 * path.delta[70:100].mean(), "it forgets faster after the change"
    assert losses["abrupt", True] < 0.6 * losses["abrupt", False]
    assert losses["none", True] < losses["none", False] + 0.05


# --- the browser's numbers are torch's --------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "width"), [(6, None), (2, 0.7), (8, 2.0)])
def test_the_bumps_agree(front, side, width):
    widget = stream(half_width=2.5, side=side, width=width)
    bumps = {"halfWidth": widget.half_width, "side": widget.side, "width": widget.width}
    got = front(
        "return f.planeBumps(floats(given.points), given.bumps);", points=POINTS.double().flatten(), bumps=bumps
    )
    assert_agree(got, plane_bumps(POINTS.double(), half_width=2.5, side=side, width=width), 1e-13)


PATH = """
const stream = { features: floats(given.features), labels: Uint8Array.from(given.labels), classes: given.classes };
const path = f.streamPath(stream, floats(given.noise), given.words, 10);
return { ...path, kept: null };
"""


@pytest.mark.parametrize(
    ("gamma", "learn", "rate", "alpha_rate"),
    [
        (1.0, True, 1e-4, 1e-2),
        (0.999, True, 3e-3, 1e-2),
        (0.99, True, 1e-5, 0.0),
        (1.0, False, 0, 1e-2),
        (0.997, False, 0, 1e-2),
        (0.9, False, 0, 0.0),
    ],
)
def test_a_whole_stream_agrees(front, gamma, learn, rate, alpha_rate):
    found = moving_classes(600, "abrupt", generator=torch.Generator().manual_seed(3))
    assert_path_agrees(front, found, NOISE, gamma, learn, rate, alpha_rate)


@pytest.mark.parametrize("classes", [2, 4])
def test_other_numbers_of_classes_agree(front, classes):
    found = moving("slow", num_classes=classes)
    noise = torch.randn(32, classes, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert_path_agrees(front, found, noise, 1.0, True, 1e-3, 1e-2)


def assert_path_agrees(front, found, noise, gamma, learn, rate, alpha_rate):
    features = plane_bumps(found.features.double())
    words = {"delta": -2 * math.log(gamma), "rate": rate, "alpha": 4, "alphaRate": alpha_rate}
    words |= {"weightVariance": 1.5, "noiseVariance": 0.2}
    given = {"features": features.flatten(), "labels": found.labels, "noise": noise.flatten(), "words": words}
    got = front(PATH, classes=noise.shape[1], **given)
    settings = {"weight_variance": 1.5, "noise_variance": 0.2, "alpha": 4, "alpha_rate": alpha_rate}
    settings |= {"num_classes": noise.shape[1], "gamma": gamma, "learn": learn, "gamma_rate": rate}
    expected = stream_path(features, found.labels, noise, **settings)
    assert_agree(got["logProb"], expected.log_prob)
    assert_agree(got["deltas"], expected.delta)
    assert_agree(got["alphas"], expected.alpha)
    assert_agree(got["belief"]["mean"], expected.mean)
    assert torch.equal(torch.tensor(got["predicted"]) == found.labels, expected.correct)
    if learn:
        assert expected.delta.std() > 0, "something was learned"


MAP = """
const stream = { features: floats(given.features), labels: Uint8Array.from(given.labels), classes: 3 };
const noise = floats(given.noise), path = f.streamPath(stream, noise, given.words, 10), at = f.replay(stream, path, given.words, 10);
const grid = { features: floats(given.grid), lengths: floats(given.lengths) };
return given.steps.map((step) => {
  const now = step ? { delta: path.deltas[step - 1], alpha: path.alphas[step - 1] } : given.words;
  return f.chancesOn(grid, at(step), { ...given.words, ...now }, noise);
});
"""


def test_the_map_of_any_row_agrees_whichever_way_it_is_reached(front):
    features, labels = rows()
    grid = plane_bumps(6 * torch.rand(20, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64) - 3)
    words = {"delta": 0.0, "rate": 1e-3, "alpha": 5, "alphaRate": 1e-2, "weightVariance": 1, "noiseVariance": 0.1}
    steps = [0, 1, 57, 58, 51, 90, 89, 20, 3]
    given = {"features": features.flatten(), "labels": labels, "noise": NOISE.flatten(), "words": words, "steps": steps}
    got = front(MAP, grid=grid.flatten(), lengths=grid.square().sum(1), **given)
    for step, chances in zip(steps, got):
        head, path = KalmanHead(37, 3, learn_gamma=True), None
        if step:
            path = stream_path(features[:step], labels[:step], NOISE, num_classes=3, learn=True, gamma_rate=1e-3)
            for row, label, delta in zip(features, labels, path.delta):
                head.delta.data.copy_(delta)
                head.update(row[None], centred_one_hot(label[None], 3, torch.float64))
        alpha = path.alpha[-1] if step else torch.tensor(5.0, dtype=torch.float64)
        mean, variance = head.predict(grid)
        expected = average_log_softmax(mean, variance, alpha, NOISE[:, None].expand(-1, 20, -1)).exp()
        assert_agree(chances, expected.detach())


# --- what it refuses --------------------------------------------------------------------------------------------------


def only(points=POINTS, labels=LABELS, changes=()):
    return {"streams": {"s": Stream(points, labels, changes)}}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"streams": {}}, "streams is 0 of them, but must be 1 to 4 of them"),
        ({"streams": dict.fromkeys("abcde", STREAMS["none"])}, "streams is 5 of them, but must be 1 to 4 of them"),
        ({"streams": {" ": STREAMS["none"]}}, "a stream's name is empty, but must be a text"),
        ({"streams": {"a": moving("none"), "b": moving("none", n=80)}}, "streams is of 80 and 90 rows, but must be of the same"),
        (only(POINTS[:1], LABELS[:1]), "streams is of 1 rows, but must be of 2 to 1000"),
        ({"streams": {"s": moving("none", n=1001)}}, "streams is of 1001 rows, but must be of 2 to 1000"),
        (only(POINTS[:, :1]), r"streams\['s'\].features is of shape \(90, 1\), but must be points in the plane, \(n, 2\)"),
        (only(POINTS / 0), r"streams\['s'\].features is not finite in some place, but must be finite numbers"),
        (only(labels=LABELS[:-1]), r"streams\['s'\].labels is of shape \(89,\), but must be of shape \(90,\)"),
        (only(labels=LABELS + 1), r"streams\['s'\].labels"),
        (only(changes=(-3,)), r"each of streams\['s'\].changes is -3, but must be at least 0"),
        ({"noise": NOISE[0]}, r"noise is of shape \(3,\), but must be of shape \(s, K\) with s from 1 to 32 and K from 2 to 4"),
        ({"noise": NOISE.repeat(3, 1)}, r"noise is of shape \(36, 3\), but must be"),
        ({"noise": NOISE[:, :1]}, r"noise is of shape \(12, 1\), but must be"),
        ({"noise": NOISE / 0}, "noise is not finite in some place"),
        ({"half_width": 0}, r"half_width is 0, but must be a number in \(0, inf\)"),
        ({"side": 1}, "side is 1, but must be at least 2"),
        ({"side": 9}, "side is 9, but must be at most 8"),
        ({"width": 0}, r"width is 0, but must be a number in \(0, inf\)"),
        ({"weight_variance": 0}, r"weight_variance is 0, but must be a number in \(0, inf\)"),
        ({"noise_variance": -1}, r"noise_variance is -1, but must be a number in \(0, inf\)"),
        ({"alpha": 0}, r"alpha is 0, but must be a number in \(0, inf\)"),
        ({"alpha_rate": -1}, r"alpha_rate is -1, but must be a number in \[0, inf\)"),
        ({"gamma_rate": 0.5}, r"gamma_rate is 0.5, but must be one of \(1e-06, "),
        ({"gamma_rates": (0, 1e-4)}, r"each of gamma_rates is 0, but must be a number in \(0, inf\)"),
        ({"gamma_rates": (1e-4,)}, "gamma_rates is 1 numbers, but must be 2 to 12 numbers"),
        ({"gamma": 0.98}, r"gamma is 0.98, but must be one of \(0.9, "),
        ({"gammas": (0.99, 1.1)}, r"each of gammas is 1.1, but must be a number in \(0, 1\]"),
        ({"gammas": (0.99, *[1.0] * 12)}, "gammas is 13 numbers, but must be 2 to 12 numbers"),
        ({"title": ""}, "title is empty"),
        ({"alt": " "}, "alt is empty"),
    ],
)  # fmt: skip
def test_it_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        stream(**words)


def test_bumps_need_points_in_the_plane():
    with pytest.raises(ValueError, match="side is 9, but must be at most 8"):
        plane_bumps(POINTS, side=9)
