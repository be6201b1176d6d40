"""The live widget of fixed forgetting says in one sentence which argument has the wrong type."""

import pytest
import torch

from companion.teaching.widgets import live_forgetting
from companion.teaching.widgets.forgetting import forgetting_path

NUMBERS = torch.linspace(0.0, 1.0, 12)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"x": [0.0, 1.0]}, "x is a list, but must be a torch.Tensor"),
        ({"y": torch.arange(12)}, "y is a tensor of torch.int64, but must be a tensor of a floating dtype"),
        ({"truth": lambda x: x}, "truth is a function, but must be a torch.Tensor"),
        ({"interval": 1.0}, r"interval is 1.0, but must be a pair \(low, high\)"),
        ({"interval": (0, "1")}, "each end of interval is '1', but must be a number"),
        ({"bumps": 4.0}, "bumps is 4.0, but must be a whole number"),
        ({"width": "narrow"}, "width is 'narrow', but must be a number"),
        ({"gammas": 0.9}, "gammas is 0.9, but must be a tuple of numbers"),
        ({"gammas": (0.5, "1")}, "each of gammas is '1', but must be a number"),
        ({"weight_variance": None}, "weight_variance is None, but must be a number"),
        ({"noise_variance": True}, "noise_variance is True, but must be a number"),
        ({"step": 2.0}, "step is 2.0, but must be a whole number"),
        ({"title": None}, "title is a NoneType, but must be a text"),
        ({"alt": 3}, "alt is a int, but must be a text"),
    ],
)
def test_the_widget_refuses_wrong_types(words, sentence):
    usual = {"x": NUMBERS, "y": NUMBERS, "truth": NUMBERS, "title": "t", "alt": "a"}
    with pytest.raises(TypeError, match=sentence):
        live_forgetting(**{**usual, **words})


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        ({"gamma": "1"}, TypeError, "gamma is '1', but must be a number"),
        ({"gamma": 1.1}, ValueError, r"gamma is 1.1, but must be a number in \[0, 1\]"),
        ({"noise_variance": 0}, ValueError, r"noise_variance is 0, but must be a number in \(0, inf\)"),
        ({"features": torch.zeros(12, 3, dtype=torch.int64)}, TypeError, "features is a tensor of torch.int64, but"),
        ({"targets": torch.zeros(11)}, ValueError, r"targets is of shape \(11,\), but must be of shape \(12,\)"),
    ],
)
def test_the_reference_refuses_what_it_cannot_filter(words, error, sentence):
    usual = {"features": torch.zeros(12, 3), "targets": torch.zeros(12), "gamma": 0.9}
    words = {**usual, **words}
    with pytest.raises(error, match=sentence):
        forgetting_path(words.pop("features"), words.pop("targets"), **words)
