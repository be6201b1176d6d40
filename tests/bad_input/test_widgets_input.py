"""Widgets of speculative sampling say in one sentence which argument has the wrong type."""

import pytest
import torch

from companion.data import toy
from companion.teaching.widgets import live_coupling, live_speculation


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"target_mean": "0"}, "target_mean is '0', but must be a number"),
        ({"std": None}, "std is None, but must be a number"),
        ({"points": 2.0}, "points is 2.0, but must be a whole number"),
        ({"title": None}, "title is a NoneType, but must be a text"),
    ],
)
def test_the_coupling_refuses_wrong_types(words, sentence):
    with pytest.raises(TypeError, match=sentence):
        live_coupling(**{"title": "t", "alt": "a", **words})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"law": toy.TwoMoons()}, "law is a TwoMoons, but must be a GaussianMixture"),
        ({"data": [[0.0, 0.0]]}, "data is a list, but must be a torch.Tensor"),
        ({"step_choices": (50, 60.5)}, "each of step_choices is 60.5, but must be a whole number"),
        ({"churn": "much"}, "churn is 'much', but must be a number"),
        ({"alt": 3}, "alt is a int, but must be a text"),
    ],
)
def test_the_speculative_chain_refuses_wrong_types(words, sentence):
    usual = {"law": toy.eight_gaussians(), "data": torch.zeros(5, 2), "title": "t", "alt": "a"}
    with pytest.raises(TypeError, match=sentence):
        live_speculation(**{**usual, **words})
