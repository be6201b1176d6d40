"""The live widget of pruned filters says in one sentence which argument has the wrong type."""

import pytest
import torch
from sentences import assert_refused
from torch import nn

from companion.foundations.residual import ExpandedResidualNet
from companion.teaching.widgets import live_filters

MODEL = ExpandedResidualNet(1, 3, width=5, stages=1, blocks=1, expansion=4)
EXAMPLE = torch.zeros(1, 1, 8, 8)
OTHER = ExpandedResidualNet(1, 3, width=5, stages=1, blocks=1, expansion=4)
OTHER.blocks[0] = nn.Conv2d(5, 5, 1)
FINE = {"kept": [0.5], "estimated": [0.5]}


@pytest.mark.parametrize(
    ("words", "argument", "came", "allowed"),
    [
        ({"models": MODEL}, "models", "a ExpandedResidualNet", "a mapping from names to networks"),
        ({"models": [MODEL]}, "models", "a list", "a mapping from names to networks"),
        ({"models": {0: MODEL}}, "each name of models", "0", "a text"),
        ({"models": {"a": None}}, "models['a']", "a NoneType", "a ResidualNet"),
        ({"models": {"a": nn.Linear(2, 2)}}, "models['a']", "a Linear", "a ResidualNet"),
        ({"models": {"a": OTHER}}, "models['a']", "with a Conv2d", "a ResidualNet whose blocks are ResidualBlocks"),
        ({"example": None}, "example", "a NoneType", "a torch.Tensor"),
        ({"example": EXAMPLE.numpy()}, "example", "a ndarray", "a torch.Tensor"),
        ({"example": EXAMPLE.long()}, "example", "torch.int64", "floating"),
        ({"ratios": 0.5}, "ratios", "0.5", "a tuple of numbers"),
        ({"ratios": (0, "0.5")}, "each of ratios", "'0.5'", "a number in [0, 1)"),
        ({"ratios": (False, 0.5)}, "each of ratios", "False", "a number in [0, 1)"),
        ({"generator": 0}, "generator", "a int", "None or a torch.Generator"),
        ({"left": [FINE]}, "left", "a list", "None or a mapping from networks to accuracies"),
        ({"left": {"a": [FINE]}}, "left['a']", "a list", "a mapping from criteria to accuracies"),
        ({"left": {"a": {"l2": [FINE]}}}, "left['a']['l2']", "a list", "a mapping from ratios to accuracies"),
        ({"left": {"a": {"l2": {0.5: [0.5]}}}}, "left['a']['l2'][0.5]", "a list", "a mapping from measures to"),
        ({"left": {"a": {"l2": {"half": FINE}}}}, "each ratio of left['a']['l2']", "'half'", "a number in [0, 1)"),
        ({"left": {"a": {"l2": {None: FINE}}}}, "each ratio of left['a']['l2']", "None", "a number in [0, 1)"),
        (
            {"left": {"a": {"l2": {0.5: FINE | {"kept": 0.5}}}}},
            "left['a']['l2'][0.5]['kept']",
            "a float",
            "a list of numbers, one for each seed",
        ),
        (
            {"left": {"a": {"l2": {0.5: FINE | {"kept": ["1"]}}}}},
            "each of left['a']['l2'][0.5]['kept']",
            "'1'",
            "a number in [0, 1]",
        ),
        ({"title": None}, "title", "a NoneType", "a text"),
        ({"alt": 3}, "alt", "a int", "a text"),
    ],
)
def test_it_refuses_wrong_types(words, argument, came, allowed):
    usual = {"models": {"a": MODEL}, "example": EXAMPLE, "title": "t", "alt": "a", "ratios": (0, 0.5)} | words
    models, example = usual.pop("models"), usual.pop("example")
    assert_refused(lambda: live_filters(models, example, **usual), TypeError, argument, came, allowed)


@pytest.mark.parametrize(
    ("words", "argument", "came", "allowed"),
    [
        ({"criterion": "L2"}, "criterion", "'L2'", "'l2' or 'l1' or 'random'"),
        ({"order": "norm"}, "order", "'norm'", "'strength' or 'network'"),
        ({"example": EXAMPLE.expand(2, -1, -1, -1)}, "example", "of shape (2, 1, 8, 8)", "one picture"),
        ({"example": EXAMPLE[0]}, "example", "of shape (1, 8, 8)", "one picture, of shape (1, c, h, w)"),
    ],
)
def test_it_refuses_unknown_choices_and_other_shapes(words, argument, came, allowed):
    usual = {"example": EXAMPLE, "title": "t", "alt": "a", "ratios": (0, 0.5)} | words
    example = usual.pop("example")
    assert_refused(lambda: live_filters({"a": MODEL}, example, **usual), ValueError, argument, came, allowed)


@pytest.mark.parametrize("name", ["ratio", "network", "criterion", "order"])
def test_choices_of_another_type_are_not_offered(name):
    words = {"title": "t", "alt": "a", "ratios": (0, 0.5)} | {name: "2"}
    assert_refused(lambda: live_filters({"a": MODEL}, EXAMPLE, **words), ValueError, name, "2", "")
