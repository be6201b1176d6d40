"""The live widget of a network that is pruned says in one sentence which argument has the wrong type."""

import pytest
import torch
from sentences import assert_refused

from companion.foundations.networks import ResidualNet
from companion.foundations.residual import ExpandedResidualNet
from companion.teaching.widgets import live_pruned

MODEL = ExpandedResidualNet(num_classes=3, width=2, stages=1, blocks=1)
IMAGES = torch.zeros(2, 1, 16, 16)


def shown(**words):
    usual = {"model": MODEL, "images": IMAGES, "names": ["a", "b"], "calibration": IMAGES, "classes": ["x", "y", "z"]}
    usual |= {"title": "t", "alt": "a", "ratios": (0.0, 0.5)} | words
    return live_pruned(usual.pop("model"), usual.pop("images"), usual.pop("names"), **usual)


@pytest.mark.parametrize(
    ("words", "argument", "came", "allowed"),
    [
        ({"model": ResidualNet(1, 3, 4)}, "model", "a ResidualNet", "an ExpandedResidualNet"),
        ({"model": MODEL.state_dict()}, "model", "a OrderedDict", "an ExpandedResidualNet"),
        ({"model": None}, "model", "a NoneType", "an ExpandedResidualNet"),
        ({"images": IMAGES.numpy()}, "images", "a ndarray", "a torch.Tensor"),
        ({"images": IMAGES.byte()}, "images", "torch.uint8", "floating"),
        ({"images": [IMAGES[0], IMAGES[1]]}, "images", "a list", "a torch.Tensor"),
        ({"calibration": None}, "calibration", "a NoneType", "a torch.Tensor"),
        ({"calibration": IMAGES.long()}, "calibration", "torch.int64", "floating"),
        ({"names": "ab"}, "names", "a str", "a list of texts"),
        ({"names": None}, "names", "a NoneType", "a list of texts"),
        ({"names": ["a", 2]}, "each of names", "2", "a text"),
        ({"classes": "xyz"}, "classes", "a str", "a list of texts"),
        ({"classes": ["x", "y", None]}, "each of classes", "None", "a text"),
        ({"ratios": 0.5}, "ratios", "0.5", "a tuple of numbers"),
        ({"ratios": (0.0, "0.5")}, "each of ratios", "'0.5'", "a number"),
        ({"ratios": (False, 0.5)}, "each of ratios", "False", "a number"),
        ({"generator": 0}, "generator", "a int", "a torch.Generator or None"),
        ({"title": None}, "title", "a NoneType", "a text"),
        ({"alt": 3}, "alt", "a int", "a text"),
    ],
)
def test_it_refuses_wrong_types(words, argument, came, allowed):
    assert_refused(lambda: shown(**words), TypeError, argument, came, allowed)


@pytest.mark.parametrize(
    ("words", "argument", "came", "allowed"),
    [
        ({"ratio": "half"}, "ratio", "half", "one of (0.0, 0.5)"),
        ({"ratio": None}, "ratio", "None", "one of (0.0, 0.5)"),
        ({"criterion": None}, "criterion", "None", "'l2' or 'random'"),
        ({"criterion": torch.norm}, "criterion", "norm", "'l2' or 'random'"),
        ({"criterion": "l1"}, "criterion", "'l1'", "'l2' or 'random'"),
        ({"images": torch.zeros(16, 16)}, "images", "of shape (16, 16)", "(n, 1, 16, 16)"),
        ({"images": IMAGES[:, 0]}, "images", "of shape (2, 16, 16)", "(n, 1, 16, 16)"),
        ({"images": IMAGES[..., 1:]}, "images", "of shape (2, 1, 16, 15)", "(n, 1, 16, 16)"),
        ({"calibration": IMAGES.expand(2, 2, 16, 16)}, "calibration", "of shape (2, 2, 16, 16)", "(n, 1, 16, 16)"),
    ],
)
def test_it_refuses_unknown_choices_and_other_shapes(words, argument, came, allowed):
    assert_refused(lambda: shown(**words), ValueError, argument, came, allowed)
