"""The closed forms of one Gaussian refuse bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import pytest
import torch

from companion.foundations.diffusion import time_grid
from companion.foundations.one_gaussian import angle, equal_angles, leaky_mean, sampled_moments
from tests.bad_input.sentences import assert_refused

# each row: a call, the error, the argument that the sentence names, what came, and a word of what is allowed
CASES = {
    "no width": (lambda: angle(torch.tensor(0.5), 0.0), ValueError, "std", "0.0", "(0, inf)"),
    "no steps": (lambda: equal_angles(0), ValueError, "steps", "0", "at least 1"),
    "half a step": (lambda: equal_angles(1.5), TypeError, "steps", "1.5", "a whole number"),
    "negative width": (lambda: equal_angles(3, -1.0), ValueError, "std", "-1.0", "(0, inf)"),
    "rising times": (lambda: sampled_moments(torch.tensor([0.0, 1.0]), 0.0, 1.0), ValueError, "times", "[0.0, 1.0]", "strictly falling"),
    "a mean of two": (lambda: sampled_moments(time_grid(2), torch.zeros(2), 1.0), TypeError, "mean", "tensor", "a number"),
    "too much churn": (lambda: sampled_moments(time_grid(2), 0.0, 1.0, 2.0), ValueError, "churn", "2.0", "[0, 1]"),
    "a start at data": (lambda: leaky_mean(1.0, 1.0, 0.0), ValueError, "start", "0.0", "(0, 1]"),
    "a start beyond noise": (lambda: leaky_mean(1.0, 1.0, 1.2), ValueError, "start", "1.2", "(0, 1]"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "argument", "came", "allowed"), CASES.values(), ids=CASES)
def test_one_sentence_says_what_is_wrong(call, error, argument, came, allowed):
    assert_refused(call, error, argument, came, allowed)
