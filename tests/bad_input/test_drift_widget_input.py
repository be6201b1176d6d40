"""The live widgets of the drift and of the evidence say in one sentence which argument has the wrong type."""

import pytest
import torch

from companion.teaching.widgets import live_drift, live_evidence
from companion.teaching.widgets.drift import drift_path
from companion.teaching.widgets.evidence import evidence_curve, turned_labels

POINTS = torch.ones(12, 2)
UNIFORMS = torch.linspace(0.0, 1.0, 12)
WORDS = [
    ({"title": None}, "title is a NoneType, but must be a text"),
    ({"alt": 3}, "alt is a int, but must be a text"),
    ({"weights": 1.0}, "weights is 1.0, but must be a pair of numbers"),
    ({"weights": (1.0, 2.0, 3.0)}, r"weights is \(1.0, 2.0, 3.0\), but must be a pair of numbers"),
    ({"weights": (1.0, "2")}, "each of weights is '2', but must be a number"),
    ({"posterior_scale": "wide"}, "posterior_scale is 'wide', but must be a number"),
    ({"seed": 0.5}, "seed is 0.5, but must be a whole number"),
]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        *WORDS,
        ({"init_mean": torch.zeros(2)}, r"init_mean is tensor\(\[0., 0.\]\), but must be a pair of numbers"),
        ({"init_mean": (None, 0)}, "each of init_mean is None, but must be a number"),
        ({"init_std": [1.0]}, r"init_std is \[1.0\], but must be a pair of numbers"),
        ({"init_std": (True, 1)}, "each of init_std is True, but must be a number"),
        ({"gamma": None}, "gamma is None, but must be a number"),
    ],
)
def test_the_drift_refuses_wrong_types(words, sentence):
    with pytest.raises(TypeError, match=sentence):
        live_drift(**{"title": "t", "alt": "a", **words})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        *WORDS,
        ({"points": [[0.0, 1.0]] * 12}, "points is a list, but must be a torch.Tensor"),
        ({"points": POINTS.long()}, "points is a tensor of torch.int64, but must be a tensor of a floating dtype"),
        ({"uniforms": 0.5}, "uniforms is a float, but must be a torch.Tensor"),
        ({"uniforms": UNIFORMS.bool()}, "uniforms is a tensor of torch.bool, but must be"),
        ({"angle": 45.0}, "angle is 45.0, but must be a whole number"),
        ({"flips": "few"}, "flips is 'few', but must be a number"),
        ({"rows": 6.0}, "rows is 6.0, but must be a whole number"),
        ({"drift_lrs": 0.01}, "drift_lrs is 0.01, but must be a tuple of at least two numbers"),
        ({"drift_lrs": (0.01,)}, r"drift_lrs is \(0.01,\), but must be a tuple of at least two numbers"),
        ({"drift_lrs": (0.01, "1")}, "each of drift_lrs is '1', but must be a number"),
    ],
)
def test_the_evidence_refuses_wrong_types(words, sentence):
    words = {"points": POINTS, "uniforms": UNIFORMS, "title": "t", "alt": "a", **words}
    with pytest.raises(TypeError, match=sentence):
        live_evidence(words.pop("points"), words.pop("uniforms"), **words)


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        ({"gammas": [1.5]}, ValueError, r"gamma is 1.5, but must be a number in \[0, 1\]"),
        ({"gammas": [0.5] * 3}, ValueError, "noise is for 2 drifts, but must be for at least 3, one for each gamma"),
        ({"posterior_scale": 0}, ValueError, r"posterior_scale is 0, but must be a number in \(0, inf\)"),
        ({"noise": torch.ones(3, 4, 2).long()}, TypeError, "noise is a tensor of torch.int64, but must be"),
    ],
)
def test_the_path_refuses_what_it_cannot_drift(words, error, sentence):
    usual = {"noise": torch.zeros(3, 4, 2), "posterior_scale": 0.5, "gammas": [0.5]}
    words = {**usual, **words}
    with pytest.raises(error, match=sentence):
        drift_path(torch.ones(2), torch.zeros(2), torch.ones(2), words.pop("noise"), **words)


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        ({"points": POINTS.long()}, TypeError, "points is a tensor of torch.int64, but must be"),
        ({"labels": torch.zeros(12)}, ValueError, "labels is another number in some row, but must be 1 or -1"),
        ({"labels": torch.ones(12).long()}, TypeError, "labels is a tensor of torch.int64, but must be"),
        ({"noise": torch.zeros(4, 2).bool()}, TypeError, "noise is a tensor of torch.bool, but must be"),
        ({"gammas": torch.tensor([0.5, 1.1])}, ValueError, r"gammas is outside in some place, but must be in \[0, 1\]"),
        ({"weights": (0.0, 0.0)}, ValueError, "weights is of length 0, but must be of a length above 0"),
        ({"posterior_scale": 2}, ValueError, r"posterior_scale is 2, but must be a number in \(0, 1\]"),
    ],
)
def test_the_curve_refuses_what_it_cannot_weigh(words, error, sentence):
    usual = {
        "points": POINTS, "labels": torch.ones(12), "noise": torch.zeros(4, 2), "gammas": torch.ones(1),
        "weights": (1.0, 2.0), "posterior_scale": 0.5,
    }  # fmt: skip
    words = {**usual, **words}
    with pytest.raises(error, match=sentence):
        evidence_curve(*[words.pop(name) for name in ("points", "labels", "noise", "gammas")], **words)


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        ({"uniforms": UNIFORMS[:3]}, ValueError, r"uniforms is of shape \(3,\), but must be of shape \(12,\)"),
        ({"angle": "right"}, TypeError, "angle is 'right', but must be a number"),
        ({"flips": 1.5}, ValueError, r"flips is 1.5, but must be a number in \[0, 1\]"),
        ({"weights": 3}, TypeError, "weights is 3, but must be a pair of numbers"),
    ],
)
def test_the_labels_refuse_what_is_no_task(words, error, sentence):
    words = {"uniforms": UNIFORMS, "weights": (1.0, 2.0), "angle": 10, "flips": 0.1, **words}
    with pytest.raises(error, match=sentence):
        turned_labels(POINTS, words.pop("uniforms"), **words)
