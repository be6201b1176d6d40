"""The live widget of attention, and the functions behind it, say in one sentence which argument they cannot take."""

import math

import pytest
import torch
from sentences import assert_refused

from companion.teaching.widgets import live_attention
from companion.teaching.widgets.attention import (
    attention_predictions,
    attention_tokens,
    gradient_line,
    longest_step,
    softmax_tokens,
)

X = torch.linspace(-1, 1, 9)
Y = 2 * X + 1
POINTS = torch.stack([X, Y], dim=1)


@pytest.mark.parametrize(
    ("words", "error", "argument", "came", "allowed"),
    [
        ({"points": POINTS.tolist()}, TypeError, "points", "a list", "a torch.Tensor"),
        ({"points": POINTS.long()}, TypeError, "points", "torch.int64", "a floating dtype"),
        ({"points": POINTS[:7]}, ValueError, "points", "of shape (7, 2)", "(n, 2) with 8 to 16 rows"),
        ({"points": POINTS.T}, ValueError, "points", "of shape (2, 9)", "(n, 2) with 8 to 16 rows"),
        ({"points": POINTS * math.inf}, ValueError, "points", "outside in some place", "from -10 to 10"),
        ({"points": POINTS * 0 + 1}, ValueError, "points", "of a spread 0 in x", "a spread of at least 0.1"),
        ({"title": None}, TypeError, "title", "a NoneType", "a text"),
        ({"title": " "}, ValueError, "title", "empty", "a text"),
        ({"alt": 3}, TypeError, "alt", "a int", "a text"),
        ({"step": "long"}, TypeError, "step", "'long'", "a number in [0, inf)"),
        ({"step": True}, TypeError, "step", "True", "a number in [0, inf)"),
        ({"step": math.nan}, ValueError, "step", "nan", "a number in [0, inf)"),
        ({"step": math.inf}, ValueError, "step", "inf", "a number in [0, inf)"),
        ({"step": 3.0}, ValueError, "step", "3.0", "at most 2.3 for these points"),
        ({"layers": 2.0}, TypeError, "layers", "2.0", "a whole number"),
        ({"layers": None}, TypeError, "layers", "None", "a whole number"),
        ({"layers": 21}, ValueError, "layers", "21", "at most 20"),
        ({"attention": None}, ValueError, "attention", "None", "'linear' or 'softmax'"),
        ({"attention": "Linear"}, ValueError, "attention", "'Linear'", "'linear' or 'softmax'"),
        ({"temperature": None}, TypeError, "temperature", "None", "a number in [0.01, 100]"),
        ({"temperature": 0}, ValueError, "temperature", "0", "a number in [0.01, 100]"),
    ],
)
def test_the_widget_refuses(words, error, argument, came, allowed):
    words = {"points": POINTS, "title": "t", "alt": "a", **words}
    assert_refused(lambda: live_attention(words.pop("points"), **words), error, argument, came, allowed)


SHARED = [
    ({"x": X.tolist()}, TypeError, "x", "a list", "a torch.Tensor"),
    ({"x": X.long()}, TypeError, "x", "torch.int64", "a floating dtype"),
    ({"x": X[:0], "y": Y[:0]}, ValueError, "x", "of shape (0,)", "one row with at least one number"),
    ({"x": POINTS}, ValueError, "x", "of shape (9, 2)", "one row with at least one number"),
    ({"y": Y[:8]}, ValueError, "y", "of shape (8,)", "of shape (9,) like x"),
    ({"y": Y.bool()}, TypeError, "y", "torch.bool", "a floating dtype"),
]
STEPS = [
    ({"step": -1}, ValueError, "step", "-1", "a number in [0, inf)"),
    ({"step": None}, TypeError, "step", "None", "a number in [0, inf)"),
    ({"layers": -1}, ValueError, "layers", "-1", "at least 0"),
    ({"layers": 1.5}, TypeError, "layers", "1.5", "a whole number"),
]
ASKED = [
    ({"queries": 3.0}, TypeError, "queries", "a float", "a torch.Tensor"),
    ({"queries": X.long()}, TypeError, "queries", "torch.int64", "a floating dtype"),
    ({"queries": POINTS}, ValueError, "queries", "of shape (9, 2)", "one row"),
]


@pytest.mark.parametrize(("words", "error", "argument", "came", "allowed"), [*SHARED, *STEPS])
def test_the_line_refuses(words, error, argument, came, allowed):
    words = {"x": X, "y": Y, "step": 0.1, "layers": 1, **words}
    assert_refused(lambda: gradient_line(**words), error, argument, came, allowed)


@pytest.mark.parametrize("function", [attention_predictions, attention_tokens])
@pytest.mark.parametrize(("words", "error", "argument", "came", "allowed"), [*SHARED, *ASKED, *STEPS])
def test_attention_refuses(function, words, error, argument, came, allowed):
    words = {"x": X, "y": Y, "queries": X, "step": 0.1, "layers": 1, **words}
    assert_refused(lambda: function(**words), error, argument, came, allowed)


@pytest.mark.parametrize(
    ("words", "error", "argument", "came", "allowed"),
    [
        *SHARED,
        *ASKED,
        ({"temperature": 0}, ValueError, "temperature", "0", "a number in (0, inf)"),
        ({"temperature": "warm"}, TypeError, "temperature", "'warm'", "a number in (0, inf)"),
    ],
)
def test_the_softmax_refuses(words, error, argument, came, allowed):
    words = {"x": X, "y": Y, "queries": X, "temperature": 1.0, **words}
    assert_refused(lambda: softmax_tokens(**words), error, argument, came, allowed)


@pytest.mark.parametrize(("words", "error", "argument", "came", "allowed"), SHARED[:4])
def test_the_longest_step_refuses(words, error, argument, came, allowed):
    assert_refused(lambda: longest_step(words["x"]), error, argument, came, allowed)
