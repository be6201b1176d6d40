"""The rivals of pruning refuse bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import pytest
import torch
from torch import nn

from companion.foundations.networks import ResidualNet
from companion.methods.rivals.transfer import distillation_loss, fit_probe, prune_channels, shrinking_loss
from tests.bad_input.sentences import assert_refused

NAN, INF = float("nan"), float("inf")
IMAGES, LABELS = torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
FLOATING, NETWORK = "a tensor of a floating dtype", "a network of images"


def model(classes: int = 3) -> ResidualNet:
    torch.manual_seed(0)
    return ResidualNet(1, classes, width=4, stages=2, blocks=1)


def probe(given=None, images=IMAGES, labels=LABELS, classes=3, **options):
    return fit_probe(model() if given is None else given, images, labels, classes, **options)


def pressed(given=None, ratio=0.5, **options):
    return shrinking_loss(model() if given is None else given, ratio, **options)


def distilled(student=None, teacher=None, images=IMAGES, temperature=2.0):
    return distillation_loss(student or model(), teacher or model(), images, temperature)


# each row: a call, the error, the argument that the sentence names, what came, and a word of what is allowed
CASES = {
    # channels
    "channels of another network": (lambda: prune_channels(nn.Conv2d(1, 2, 1), 0.5), TypeError, "model", "a Conv2d", "a ResidualNet"),
    "channels of a class": (lambda: prune_channels(ResidualNet, 0.5), TypeError, "model", "a type", "a ResidualNet"),
    "all channels": (lambda: prune_channels(model(), 1), ValueError, "ratio", "1", "[0, 1)"),
    "channels below none": (lambda: prune_channels(model(), -0.5), ValueError, "ratio", "-0.5", "[0, 1)"),
    "channels of nan": (lambda: prune_channels(model(), NAN), ValueError, "ratio", "nan", "[0, 1)"),
    "channels by word": (lambda: prune_channels(model(), "half"), TypeError, "ratio", "'half'", "[0, 1)"),
    "no channel left": (lambda: prune_channels(model(), 0.8), ValueError, "ratio", "0.8", "small enough to leave one of 4"),
    # probes
    "a probe of a function": (lambda: probe(torch.relu), TypeError, "model", "a builtin_function_or_method", "a torch.nn.Module"),
    "a probe without head": (lambda: probe(nn.Conv2d(1, 2, 1)), ValueError, "model", "without a linear layer", "a network that ends in one"),
    "a probe of bytes": (lambda: probe(images=IMAGES.byte()), TypeError, "images", "torch.uint8", FLOATING),
    "a probe of nothing": (lambda: probe(images=IMAGES[:0]), ValueError, "images", "(0, 1, 8, 8)", "n >= 1"),
    "a probe of fewer labels": (lambda: probe(labels=LABELS[:3]), ValueError, "labels", "(3,)", "(4,)"),
    "a probe of a label too many": (lambda: probe(labels=LABELS + 1), ValueError, "labels", "outside in some row", "from 0 to 2"),
    "a probe of floating labels": (lambda: probe(labels=LABELS.float()), TypeError, "labels", "torch.float32", "whole numbers"),
    "a probe of one class": (lambda: probe(labels=0 * LABELS, classes=1), ValueError, "num_classes", "1", "at least 2"),
    "a probe of classes in words": (lambda: probe(classes="three"), TypeError, "num_classes", "'three'", "a whole number"),
    "a probe of penalty -1": (lambda: probe(penalty=-1), ValueError, "penalty", "-1", "[0, inf)"),
    "a probe of penalty nan": (lambda: probe(penalty=NAN), ValueError, "penalty", "nan", "[0, inf)"),
    "a probe without end": (lambda: probe(penalty=INF), ValueError, "penalty", "inf", "[0, inf)"),
    "a probe of no iterations": (lambda: probe(iterations=0), ValueError, "iterations", "0", "at least 1"),
    "a probe of half an iteration": (lambda: probe(iterations=0.5), TypeError, "iterations", "0.5", "a whole number"),
    # pressing
    "pressing a function": (lambda: pressed(torch.relu), TypeError, "model", "a builtin_function_or_method", "a torch.nn.Module"),
    "pressing a perceptron": (lambda: pressed(nn.Linear(2, 2)), ValueError, "model", "without a convolution", "a network with prunable convolutions"),
    "pressing all": (lambda: pressed(ratio=1.0), ValueError, "ratio", "1.0", "[0, 1)"),
    "pressing the last": (lambda: pressed(ratio=0.8), ValueError, "ratio", "0.8", "small enough to leave one of 4"),
    "pressing by word": (lambda: pressed(ratio="half"), TypeError, "ratio", "'half'", "[0, 1)"),
    "pressing without strength": (lambda: pressed(strength=0), ValueError, "strength", "0", "(0, inf)"),
    "pressing backwards": (lambda: pressed(strength=-1.0), ValueError, "strength", "-1.0", "(0, inf)"),
    "pressing None": (lambda: pressed(strength=None), TypeError, "strength", "None", "(0, inf)"),
    "pressing on bytes": (lambda: pressed(example=IMAGES.byte()), TypeError, "example", "torch.uint8", FLOATING),
    # distillation
    "a student that is a tensor": (lambda: distilled(student=[1]), TypeError, "student", "a list", NETWORK),
    "a teacher that is a state": (lambda: distilled(teacher=model().state_dict()), TypeError, "teacher", "a OrderedDict", NETWORK),
    "a teacher of other classes": (lambda: distilled(teacher=model(4)), ValueError, "teacher", "with logits (4, 4)", "with (4, 3), as the student"),
    "distilling bytes": (lambda: distilled(images=IMAGES.byte()), TypeError, "images", "torch.uint8", FLOATING),
    "distilling nothing": (lambda: distilled(images=IMAGES[:0]), ValueError, "images", "(0, 1, 8, 8)", "n >= 1"),
    "distilling in the cold": (lambda: distilled(temperature=0), ValueError, "temperature", "0", "(0, inf)"),
    "distilling below": (lambda: distilled(temperature=-1.0), ValueError, "temperature", "-1.0", "(0, inf)"),
    "distilling at nan": (lambda: distilled(temperature=NAN), ValueError, "temperature", "nan", "(0, inf)"),
    "distilling at a tensor": (lambda: distilled(temperature=torch.tensor(2.0)), TypeError, "temperature", "tensor(2.)", "(0, inf)"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "argument", "came", "allowed"), CASES.values(), ids=CASES)
def test_one_sentence_says_what_is_wrong(call, error, argument, came, allowed):
    assert_refused(call, error, argument, came, allowed)


ACCEPTED = {
    "no channels": lambda: prune_channels(model(), 0),
    "a probe without penalty": lambda: probe(penalty=0),
    "a probe of small labels": lambda: probe(labels=LABELS.to(torch.uint8)),
    "pressing nothing": lambda: pressed(ratio=0)(model()),
    "a student that is a function": lambda: distilled(student=lambda images: images.flatten(1)[:, :3]),
}


@pytest.mark.parametrize("call", ACCEPTED.values(), ids=ACCEPTED)
def test_what_may_come_is_taken(call):
    call()
