"""Rivals of dynamic evaluation refuse bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import numpy as np
import pytest
import torch
from torch import nn

from companion.foundations.language import WindowMLP
from companion.methods.dynamic_evaluation import evaluate_stream
from companion.methods.rivals.reading import KrauseRule, gradient_squares, hidden_states, neural_cache
from tests.bad_input.sentences import assert_refused

NAN, INF = float("nan"), float("inf")
TOKENS = torch.arange(12) % 5
MODEL = WindowMLP(5, 2, 3, 4)
LOSSES, HIDDEN, TARGETS = torch.ones(6), torch.ones(6, 3), torch.arange(6)


def squares(**changes):
    return gradient_squares(**{"model": MODEL, "tokens": TOKENS, "window": 4, "count": 2} | changes)


def rule(**changes):
    return KrauseRule(**{"params": [nn.Parameter(torch.ones(2))], "squares": [torch.ones(2)], "lr": 0.1} | changes)


def cache(**changes):
    given = {"log_loss": LOSSES, "hidden": HIDDEN, "targets": TARGETS, "sharpness": 1.0, "mix": 0.5}
    return neural_cache(**given | changes)


def reading():
    return evaluate_stream(MODEL, TOKENS, 2, 3)


def begun():
    found = reading()
    next(iter(found))
    return found


CASES = {
    "squares of no model": (lambda: squares(model=3), TypeError, "model", "a int", "a torch.nn.Module"),
    "squares of words": (lambda: squares(tokens="text"), TypeError, "tokens", "a str", "whole numbers"),
    "squares of numbers": (lambda: squares(tokens=torch.ones(9)), TypeError, "tokens", "float32", "whole numbers"),
    "squares of rows": (lambda: squares(tokens=TOKENS[None]), ValueError, "tokens", "(1, 12)", "one row"),
    "window 0": (lambda: squares(window=0), ValueError, "window", "0", "at least 1"),
    "window 1.5": (lambda: squares(window=1.5), TypeError, "window", "1.5", "a whole number"),
    "count 0": (lambda: squares(count=0), ValueError, "count", "0", "at least 1"),
    "short text": (lambda: squares(window=12), ValueError, "tokens", "12 of them", "more than the 12"),
    "lr below 0": (lambda: rule(lr=-0.1), ValueError, "lr", "-0.1", "[0, inf)"),
    "lr nan": (lambda: rule(lr=NAN), ValueError, "lr", "nan", "[0, inf)"),
    "lr in words": (lambda: rule(lr="small"), TypeError, "lr", "'small'", "a number"),
    "decay below 0": (lambda: rule(decay=-1), ValueError, "decay", "-1", "[0, inf)"),
    "eps 0": (lambda: rule(eps=0), ValueError, "eps", "0", "(0, inf)"),
    "squares of other shapes": (
        lambda: rule(squares=[torch.ones(3)]),
        ValueError,
        "squares",
        "other shapes",
        "one for",
    ),
    "too few squares": (lambda: rule(squares=[]), ValueError, "squares", "other shapes", "one for each parameter"),
    "losses of whole numbers": (lambda: cache(log_loss=TARGETS), TypeError, "log_loss", "int64", "floating dtype"),
    "hidden of another length": (lambda: cache(hidden=HIDDEN[:5]), ValueError, "hidden", "(5, 3)", "(6, d)"),
    "hidden in one row": (lambda: cache(hidden=LOSSES), ValueError, "hidden", "(6,)", "(6, d)"),
    "hidden no tensor": (lambda: cache(hidden=[1.0]), TypeError, "hidden", "a list", "a torch.Tensor"),
    "targets of another length": (lambda: cache(targets=TARGETS[:5]), ValueError, "targets", "(5,)", "(6,)"),
    "sharpness below 0": (lambda: cache(sharpness=-1), ValueError, "sharpness", "-1", "[0, inf)"),
    "sharpness without end": (lambda: cache(sharpness=INF), ValueError, "sharpness", "inf", "[0, inf)"),
    "mix 1": (lambda: cache(mix=1), ValueError, "mix", "1", "[0, 1)"),
    "mix nan": (lambda: cache(mix=NAN), ValueError, "mix", "nan", "[0, 1)"),
    "size 0": (lambda: cache(size=0), ValueError, "size", "0", "at least 1"),
    "no reading": (lambda: hidden_states(MODEL, "hidden"), TypeError, "reading", "a WindowMLP", "a StreamResult"),
    "no such layer": (lambda: hidden_states(reading(), "norm"), ValueError, "layer", "'norm'", "the name of a module"),
    "a reading that has begun": (
        lambda: hidden_states(begun(), "hidden"),
        ValueError,
        "reading",
        "partly",
        "not begun",
    ),
}


@pytest.mark.parametrize(("call", "error", "argument", "came", "allowed"), CASES.values(), ids=CASES.keys())
def test_refused_with_one_sentence(call, error, argument, came, allowed):
    assert_refused(call, error, argument, came, allowed)


def test_a_refused_layer_leaves_no_hook():
    with pytest.raises(ValueError, match="partly"):
        hidden_states(begun(), "hidden")
    assert not MODEL.hidden._forward_hooks


def test_ends_of_what_is_allowed_are_allowed():
    assert torch.equal(cache(mix=np.float64(0), sharpness=0, size=np.int64(1)), LOSSES)
    rule(lr=0, decay=np.float32(0))
    squares(window=11, count=np.int64(1))
