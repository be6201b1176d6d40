"""Stochastic interpolants refuse bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import pytest
import torch

from companion.foundations.interpolants import MixtureInterpolant, transport
from companion.foundations.mixtures import GaussianMixture
from tests.bad_input.sentences import assert_refused


def law(d=2, dtype=torch.float32):
    return GaussianMixture(torch.zeros(1, d, dtype=dtype), torch.ones(1, dtype=dtype))


def flow():
    return MixtureInterpolant(law(), law())


def walk(velocity):
    return list(transport(velocity, torch.zeros(3, 2), torch.linspace(0, 1, 3)))


# each row: a call, the error, the argument that the sentence names, what came, and a word of what is allowed
CASES = {
    "no mixture": (lambda: MixtureInterpolant(law(), torch.zeros(3, 2)), TypeError, "end", "a Tensor", "a GaussianMixture"),
    "two dimensions and three": (lambda: MixtureInterpolant(law(2), law(3)), ValueError, "end", "3 dimensions", "2 like start"),
    "two dtypes": (lambda: MixtureInterpolant(law(), law(dtype=torch.float64)), TypeError, "end", "float64", "float32 like start"),
    "negative latent": (lambda: MixtureInterpolant(law(), law(), -1.0), ValueError, "latent", "-1.0", "[0, inf)"),
    "beyond the end": (lambda: flow().law(1.5), ValueError, "s", "1.5", "[0, 1]"),
    "a draw before the start": (lambda: flow().sample(3, -0.1), ValueError, "s", "-0.1", "[0, 1]"),
    "no draws": (lambda: flow().sample(0, 0.5), ValueError, "n", "0", "at least 1"),
    "no velocity": (lambda: walk(0.5), TypeError, "velocity", "a float", "a callable"),
    "another shape": (lambda: walk(lambda x, s: x[:1]), ValueError, "velocity(x, s)", "(1, 2)", "(3, 2)"),
    "whole numbers": (lambda: transport(flow().velocity, torch.zeros(3, 2, dtype=torch.long), torch.linspace(0, 1, 3)), TypeError, "x", "torch.int64", "floating"),
    "a list of times": (lambda: transport(flow().velocity, torch.zeros(3, 2), [0.0, 1.0]), TypeError, "times", "a list", "a torch.Tensor"),
    "one time": (lambda: transport(flow().velocity, torch.zeros(3, 2), torch.ones(1)), ValueError, "times", "(1,)", "at least two times"),
    "falling times": (lambda: transport(flow().velocity, torch.zeros(3, 2), torch.tensor([1.0, 0.0])), ValueError, "times", "[1.0, 0.0]", "strictly rising"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "argument", "came", "allowed"), CASES.values(), ids=CASES)
def test_one_sentence_says_what_is_wrong(call, error, argument, came, allowed):
    assert_refused(call, error, argument, came, allowed)
