"""The live widgets of the closed-form last layer say in one sentence which argument has the wrong type."""

import pytest
import torch

from companion.teaching.widgets import live_recursive, live_valley

NUMBERS = torch.linspace(0.0, 1.0, 12)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"x": [0.0, 1.0]}, "x is a list, but must be a torch.Tensor"),
        ({"y": torch.arange(12)}, "y is a tensor of torch.int64, but must be a tensor of a floating dtype"),
        ({"ridge": "small"}, "ridge is 'small', but must be a number"),
        ({"theta": None}, "theta is None, but must be a number"),
        ({"weight": None}, "weight is None, but must be a number"),
        ({"learning_rates": (0.2, "1")}, "each of learning_rates is '1', but must be a number"),
        ({"steps": 20.5}, "steps is 20.5, but must be a whole number"),
        ({"thetas": 8}, r"thetas is 8, but must be a pair \(low, high\)"),
        ({"weights": (0, 1, 2)}, r"weights is \(0, 1, 2\), but must be a pair \(low, high\)"),
        ({"title": None}, "title is a NoneType, but must be a text"),
        ({"alt": 3}, "alt is a int, but must be a text"),
    ],
)
def test_the_valley_refuses_wrong_types(words, sentence):
    usual = {"x": NUMBERS, "y": NUMBERS, "title": "t", "alt": "a"}
    with pytest.raises(TypeError, match=sentence):
        live_valley(**{**usual, **words})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"x": NUMBERS.view(3, 4).numpy()}, "x is a ndarray, but must be a torch.Tensor"),
        ({"y": torch.zeros(3, 4, dtype=torch.bool)}, "y is a tensor of torch.bool, but must be a tensor of a floating"),
        ({"truth": lambda x: x}, "truth is a function, but must be a torch.Tensor"),
        ({"interval": 1.0}, r"interval is 1.0, but must be a pair \(low, high\)"),
        ({"interval": (0, "1")}, "each end of interval is '1', but must be a number"),
        ({"bumps": 4.0}, "bumps is 4.0, but must be a whole number"),
        ({"width": "narrow"}, "width is 'narrow', but must be a number"),
        ({"batch_size": 2.0}, "batch_size is 2.0, but must be a whole number"),
        ({"strengths": ("0.1",)}, "each of strengths is '0.1', but must be a number"),
        ({"forgetting": True}, "forgetting is True, but must be a number"),
        ({"title": 1}, "title is a int, but must be a text"),
        ({"alt": None}, "alt is a NoneType, but must be a text"),
    ],
)
def test_the_recursion_refuses_wrong_types(words, sentence):
    usual = {"x": NUMBERS.view(3, 4), "y": NUMBERS.view(3, 4), "truth": NUMBERS, "title": "t", "alt": "a"}
    with pytest.raises(TypeError, match=sentence):
        live_recursive(**{**usual, **words})
