"""Exact distances refuse bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import pytest
import torch

from companion.foundations.exact_distances import exact_energy_distance, exact_mmd2, mean_distance, project
from companion.foundations.mixtures import GaussianMixture
from tests.bad_input.sentences import assert_refused


def law(dimension=2):
    return GaussianMixture(torch.zeros(1, dimension), torch.ones(1))


# each row: a call, the error, the argument that the sentence names, what came, and a word of what is allowed
CASES = {
    "a sample": (lambda: exact_energy_distance(torch.zeros(3, 2), law()), TypeError, "p", "a Tensor", "GaussianMixture"),
    "nothing beside it": (lambda: exact_mmd2(law(), None, 1.0), TypeError, "q", "a NoneType", "GaussianMixture"),
    "two dimensions": (lambda: mean_distance(law(1), law(2)), ValueError, "q.means", "(1, 2)", "like p.means"),
    "two dtypes": (lambda: mean_distance(law(), law().to(torch.float64)), TypeError, "q.means", "float64", "float32"),
    "space": (lambda: exact_energy_distance(law(3), law(3)), ValueError, "p", "in 3 dimensions", "in the plane"),
    "no bandwidth": (lambda: exact_mmd2(law(), law(), 0), ValueError, "bandwidth", "0", "(0, inf)"),
    "a word": (lambda: exact_mmd2(law(), law(), "median"), TypeError, "bandwidth", "'median'", "a number"),
    "not a law": (lambda: project([1.0], torch.ones(1)), TypeError, "law", "a list", "GaussianMixture"),
    "too short": (lambda: project(law(), torch.ones(3)), ValueError, "direction", "(3,)", "(2,)"),
    "no direction": (lambda: project(law(), torch.zeros(2)), ValueError, "direction", "0 everywhere", "somewhere else"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "argument", "came", "allowed"), CASES.values(), ids=CASES)
def test_one_sentence_says_what_is_wrong(call, error, argument, came, allowed):
    assert_refused(call, error, argument, came, allowed)
