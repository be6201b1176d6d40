"""Widgets of speculative sampling and of guidance say in one sentence which argument has the wrong type."""

import pytest
import torch

from companion.data import toy
from companion.foundations.conditional import ConditionalDenoiser
from companion.foundations.networks import TimeMLP
from companion.methods.guidance import GuidanceWeights
from companion.teaching.widgets import live_coupling, live_guidance, live_speculation


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


BASE, WEIGHTS = ConditionalDenoiser(TimeMLP(2, 8), 2), GuidanceWeights(2)
PERCEPTRON = torch.nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"models": {"it": BASE}}, "it is a ConditionalDenoiser, but must be a pair"),
        ({"models": {"it": (BASE, WEIGHTS, WEIGHTS)}}, "it is 3 things, but must be a pair"),
        ({"models": {"it": (TimeMLP(2, 8), WEIGHTS)}}, "it is with a TimeMLP, but must be with a ConditionalDenoiser"),
        ({"models": {"it": (BASE, 0.5)}}, "it is with a float, but must be with a GuidanceWeights"),
        (
            {"models": {"it": (ConditionalDenoiser(PERCEPTRON, 2), WEIGHTS)}},
            "it is a Linear, but must be a TimeMLP or hold one",
        ),
        ({"models": [(BASE, WEIGHTS)]}, "models is a list, but must be a mapping"),
        ({"data": [[0.0, 0.0]]}, "data is a list, but must be a torch.Tensor"),
        ({"labels": [0, 1] * 5}, "labels is a list, but must be a tensor of whole numbers"),
        ({"labels": torch.zeros(10)}, "labels is a tensor of torch.float32, but must be a tensor of whole numbers"),
        ({"points": 4.0}, "points is 4.0, but must be a whole number"),
        ({"weight": "much"}, "weight is 'much', but must be a number"),
        ({"interval": 0.5}, r"interval is 0.5, but must be \(low, high\)"),
        ({"interval": (0.2, None)}, "interval's low or high is None, but must be a number"),
        ({"step_choices": (20, 40.5)}, "each of step_choices is 40.5, but must be a whole number"),
        ({"limit": None}, "limit is None, but must be a number"),
        ({"title": None}, "title is a NoneType, but must be a text"),
    ],
)
def test_guidance_refuses_wrong_types(words, sentence):
    usual = {"models": {"it": (BASE, WEIGHTS)}, "data": torch.zeros(10, 2), "labels": torch.arange(10) % 2}
    with pytest.raises(TypeError, match=sentence):
        live_guidance(**{**usual, "points": 4, "title": "t", "alt": "a", **words})


def test_guidance_refuses_an_interval_of_one_number():
    with pytest.raises(ValueError, match=r"interval is \(0.5,\), but must be \(low, high\)"):
        live_guidance(
            {"it": (BASE, WEIGHTS)},
            torch.zeros(10, 2),
            torch.arange(10) % 2,
            points=4,
            title="t",
            alt="a",
            interval=(0.5,),
        )
