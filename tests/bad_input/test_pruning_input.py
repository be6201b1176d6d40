"""Pruning, counting and the curves refuse bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from companion.foundations.residual import ExpandedResidualNet
from companion.methods.pruning import (
    accuracy_compute_curve,
    count_flops,
    filters_kept,
    head_of,
    prunable_filters,
    prune_filters,
    reestimate_batch_norm,
    with_head,
)
from tests.bad_input.sentences import assert_refused

NAN, INF = float("nan"), float("inf")
IMAGES, LABELS = torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
MODULE, FLOATING = "a torch.nn.Module", "a tensor of a floating dtype"
PRUNABLE = "a network with prunable convolutions"
CRITERION, STRENGTHS = '"l2", "l1", "random" or a callable', "a tensor of shape (8,)"
ENDS = "a network that ends in one"
BUDGET = 10.0**6


def model(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return ExpandedResidualNet(1, classes, width=4, stages=1, blocks=1, expansion=2)


def pruned(given=None, ratio=0.5, criterion="l2", example=IMAGES, **options):
    return prune_filters(model() if given is None else given, ratio, criterion, example, **options)


def task(images=IMAGES, labels=LABELS, classes=3, name="few", test=(IMAGES, LABELS)):
    return SimpleNamespace(name=name, train=(images, labels), test=test, num_classes=classes)


def curve(given=None, tasks=None, budgets=(BUDGET,), **options):
    return accuracy_compute_curve(
        model() if given is None else given, [task()] if tasks is None else tasks, budgets, **options
    )


def state(**options) -> dict:
    return next(curve(**options)).state_dict()


def resumed(*given, saved=None, **options):
    return curve(*given, resume=state() if saved is None else saved, **options)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def stale():
    points = list(curve(budgets=(BUDGET, 2 * BUDGET)))
    return points[0].state_dict()


# each row: a call, the error, the argument that the sentence names, what came, and a word of what is allowed
CASES = {
    # pruning
    "prune a function": (lambda: pruned(len), TypeError, "model", "a builtin_function_or_method", MODULE),
    "prune a state": (lambda: pruned(model().state_dict()), TypeError, "model", "a OrderedDict", MODULE),
    "prune a perceptron": (lambda: pruned(nn.Linear(2, 2)), ValueError, "model", "without a convolution", PRUNABLE),
    "prune two convolutions": (lambda: pruned(nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1), nn.Flatten())), ValueError, "model", "without a convolution that feeds only convolutions", PRUNABLE),
    "prune all": (lambda: pruned(ratio=1), ValueError, "ratio", "1", "[0, 1)"),
    "prune less than nothing": (lambda: pruned(ratio=-0.1), ValueError, "ratio", "-0.1", "[0, 1)"),
    "prune in percent": (lambda: pruned(ratio=50), ValueError, "ratio", "50", "[0, 1)"),
    "prune nan": (lambda: pruned(ratio=NAN), ValueError, "ratio", "nan", "[0, 1)"),
    "prune a word": (lambda: pruned(ratio="half"), TypeError, "ratio", "'half'", "[0, 1)"),
    "prune None": (lambda: pruned(ratio=None), TypeError, "ratio", "None", "[0, 1)"),
    "prune True": (lambda: pruned(ratio=True), TypeError, "ratio", "True", "[0, 1)"),
    "prune a tensor": (lambda: pruned(ratio=torch.tensor(0.5)), TypeError, "ratio", "tensor(0.5000)", "[0, 1)"),
    "prune the last filter": (lambda: pruned(ratio=0.9), ValueError, "ratio", "0.9", "small enough to leave one of 8"),
    "prune one of one": (lambda: filters_kept(1, 0.001), ValueError, "ratio", "0.001", "small enough to leave one of 1"),
    "an unknown criterion": (lambda: pruned(criterion="L2"), ValueError, "criterion", "'L2'", CRITERION),
    "a criterion that is a number": (lambda: pruned(criterion=2), TypeError, "criterion", "a int", "a callable from weights"),
    "no criterion": (lambda: pruned(criterion=None), TypeError, "criterion", "a NoneType", "a callable from weights"),
    "strengths of every weight": (lambda: pruned(criterion=torch.abs), ValueError, "criterion(weights)", "of shape (8, 4, 3, 3)", STRENGTHS),
    "one strength": (lambda: pruned(criterion=lambda weight: weight.sum()), ValueError, "criterion(weights)", "of shape ()", STRENGTHS),
    "strengths in a list": (lambda: pruned(criterion=lambda weight: [1.0] * 8), ValueError, "criterion(weights)", "a list", STRENGTHS),
    "an example of bytes": (lambda: pruned(example=IMAGES.byte()), TypeError, "example", "torch.uint8", FLOATING),
    "an example of numpy": (lambda: pruned(example=IMAGES.numpy()), TypeError, "example", "a ndarray", "a torch.Tensor"),
    "an example of colours": (lambda: pruned(example=torch.zeros(1, 3, 8, 8)), ValueError, "x", "of shape (1, 3, 8, 8)", "(n, 1, height, width)"),
    "prunable filters of nothing": (lambda: prunable_filters(None), TypeError, "model", "a NoneType", MODULE),
    "prunable filters of a perceptron": (lambda: prunable_filters(nn.Linear(2, 2)), ValueError, "model", "without a convolution", PRUNABLE),
    # operations and statistics
    "count a function": (lambda: count_flops(torch.relu, IMAGES), TypeError, "model", "a builtin_function_or_method", MODULE),
    "count on a shape": (lambda: count_flops(model(), (1, 1, 8, 8)), TypeError, "example", "a tuple", "a torch.Tensor"),
    "count on whole numbers": (lambda: count_flops(model(), IMAGES.long()), TypeError, "example", "torch.int64", FLOATING),
    "statistics of a function": (lambda: reestimate_batch_norm(torch.relu, IMAGES), TypeError, "model", "a builtin_function_or_method", MODULE),
    "statistics of nothing": (lambda: reestimate_batch_norm(model(), IMAGES[:0]), ValueError, "images", "of shape (0, 1, 8, 8)", "n >= 1"),
    "statistics of bytes": (lambda: reestimate_batch_norm(model(), IMAGES.byte()), TypeError, "images", "torch.uint8", FLOATING),
    "statistics in no batch": (lambda: reestimate_batch_norm(model(), IMAGES, 0), ValueError, "batch", "0", "at least 1"),
    "statistics in half a batch": (lambda: reestimate_batch_norm(model(), IMAGES, 0.5), TypeError, "batch", "0.5", "a whole number"),
    # heads
    "a head of one class": (lambda: with_head(model(), 1), ValueError, "num_classes", "1", "at least 2"),
    "a head of half a class": (lambda: with_head(model(), 2.5), TypeError, "num_classes", "2.5", "a whole number"),
    "a head on a convolution": (lambda: with_head(nn.Conv2d(1, 1, 1), 2), ValueError, "model", "without a linear layer", ENDS),
    "the head of a convolution": (lambda: head_of(nn.Conv2d(1, 1, 1)), ValueError, "model", "without a linear layer", ENDS),
    # curves
    "a curve of a function": (lambda: curve(torch.relu), TypeError, "model", "a builtin_function_or_method", MODULE),
    "a curve without head": (lambda: curve(nn.Conv2d(1, 2, 1)), ValueError, "model", "without a linear layer", ENDS),
    "a curve of too small a head": (lambda: curve(model(2), new_head=False), ValueError, "model", "with a head of 2 classes", "at least 3"),
    "no tasks": (lambda: curve(tasks=[]), ValueError, "tasks", "empty", "at least one"),
    "a task of one class": (lambda: curve(tasks=[task(labels=0 * LABELS, classes=1)]), ValueError, "tasks['few'].num_classes", "1", "at least 2"),
    "a task that is a pair": (lambda: curve(tasks=[(IMAGES, LABELS)]), TypeError, "each of tasks", "a tuple", "a task"),
    "a second task that is none": (lambda: curve(tasks=[task(), None]), TypeError, "each of tasks", "a NoneType", "a task"),
    "a label too many": (lambda: curve(tasks=[task(labels=LABELS + 1)]), ValueError, "tasks['few'].train[1]", "outside in some row", "from 0 to 2"),
    "a negative label": (lambda: curve(tasks=[task(labels=LABELS - 1)]), ValueError, "tasks['few'].train[1]", "outside in some row", "from 0 to 2"),
    "a test label too many": (lambda: curve(tasks=[task(test=(IMAGES, LABELS + 1))]), ValueError, "tasks['few'].test[1]", "outside in some row", "from 0 to 2"),
    "labels of fewer pictures": (lambda: curve(tasks=[task(labels=LABELS[:3])]), ValueError, "tasks['few'].train[1]", "(3,)", "(4,)"),
    "floating labels": (lambda: curve(tasks=[task(labels=LABELS.float())]), TypeError, "tasks['few'].train[1]", "torch.float32", "whole numbers"),
    "pictures of bytes": (lambda: curve(tasks=[task(images=IMAGES.byte())]), TypeError, "tasks['few'].train[0]", "torch.uint8", FLOATING),
    "no test pictures": (lambda: curve(tasks=[task(test=(IMAGES[:0], LABELS[:0]))]), ValueError, "tasks['few'].test[0]", "(0, 1, 8, 8)", "n >= 1"),
    "no budgets": (lambda: curve(budgets=[]), ValueError, "budgets", "empty", "at least one number"),
    "a budget of nothing": (lambda: curve(budgets=[0, 1]), ValueError, "budgets", "0", "(0, inf)"),
    "a budget without end": (lambda: curve(budgets=[1.0, INF]), ValueError, "budgets", "inf", "(0, inf)"),
    "a budget of nan": (lambda: curve(budgets=[NAN]), ValueError, "budgets", "nan", "(0, inf)"),
    "a budget in words": (lambda: curve(budgets=["10M"]), TypeError, "budgets", "'10M'", "(0, inf)"),
    "budgets that fall": (lambda: curve(budgets=[2.0, 1.0]), ValueError, "budgets", "[2.0, 1.0]", "rising"),
    "budgets that stay": (lambda: curve(budgets=[1.0, 2.0, 2.0]), ValueError, "budgets", "[1.0, 2.0, 2.0]", "rising"),
    "an optimiser in words": (lambda: curve(optimizer="SGD"), TypeError, "optimizer", "a str", "a callable from parameters"),
    "an optimiser of another model": (lambda: curve(optimizer=torch.optim.SGD(model().parameters())), TypeError, "optimizer", "a SGD", "a callable from parameters"),
    "batch 0": (lambda: curve(batch=0), ValueError, "batch", "0", "at least 1"),
    "batch None": (lambda: curve(batch=None), TypeError, "batch", "None", "a whole number"),
    "calibration 0": (lambda: curve(calibration=0), ValueError, "calibration", "0", "at least 1"),
    "half a calibration": (lambda: curve(calibration=0.5), TypeError, "calibration", "0.5", "a whole number"),
    # going on
    "resume a path": (lambda: resumed(saved="saved.pt"), ValueError, "resume", "a str without all it needs", "a CurvePoint.state_dict()"),
    "resume a model": (lambda: resumed(saved=model().state_dict()), ValueError, "resume", "a OrderedDict without all it needs", "a CurvePoint.state_dict()"),
    "resume nothing": (lambda: resumed(saved={}), ValueError, "resume", "a dict without all it needs", "a CurvePoint.state_dict()"),
    "resume other budgets": (lambda: resumed(budgets=(2 * BUDGET,)), ValueError, "resume", "of a call with other tasks or settings", "of a call with the same"),
    "resume another task": (lambda: resumed(tasks=[task(name="other")]), ValueError, "resume", "other tasks or settings", "the same"),
    "resume more tasks": (lambda: resumed(tasks=[task(), task()]), ValueError, "resume", "other tasks or settings", "the same"),
    "resume another batch": (lambda: resumed(batch=2), ValueError, "resume", "other tasks or settings", "the same"),
    "resume another calibration": (lambda: resumed(calibration=2), ValueError, "resume", "other tasks or settings", "the same"),
    "resume without new head": (lambda: resumed(new_head=False), ValueError, "resume", "other tasks or settings", "the same"),
    "resume with a generator": (lambda: resumed(generator=generator()), ValueError, "generator", "torch._C.Generator", "exactly when it was given"),
    "resume without generator": (lambda: resumed(saved=state(generator=generator())), ValueError, "generator", "None", "exactly when it was given"),
    "the state of an earlier point": (stale, ValueError, "state_dict()", "asked after later points", "asked before the next"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "argument", "came", "allowed"), CASES.values(), ids=CASES)
def test_one_sentence_says_what_is_wrong(call, error, argument, came, allowed):
    assert_refused(call, error, argument, came, allowed)


ACCEPTED = {
    "a whole ratio": lambda: pruned(ratio=0),
    "a ratio of numpy": lambda: pruned(ratio=np.float64(0.5)),
    "a criterion of the user's": lambda: pruned(criterion=lambda weight: weight.flatten(1).amax(1)),
    "strengths of whole numbers": lambda: pruned(criterion=lambda weight: torch.arange(len(weight))),
    "budgets in an array": lambda: list(curve(budgets=np.array([BUDGET, 2 * BUDGET]))),
    "whole budgets": lambda: list(curve(budgets=[1, 2])),
    "tasks in a tuple": lambda: list(curve(tasks=(task(), task()))),
    "an own head of more classes": lambda: list(curve(model(5), new_head=False)),
    "a resume of the last point": lambda: list(resumed()),
    "small whole labels": lambda: list(curve(tasks=[task(labels=LABELS.int(), test=(IMAGES, LABELS.to(torch.int16)))])),
}


@pytest.mark.parametrize("call", ACCEPTED.values(), ids=ACCEPTED)
def test_what_may_come_is_taken(call):
    call()


def test_a_refusal_leaves_model_and_generator_as_they_were():
    own, drawn = model(), generator()
    before, state = {name: value.clone() for name, value in own.state_dict().items()}, drawn.get_state()
    for ratio in (0.9, 1.0):
        with pytest.raises(ValueError, match="ratio"):
            prune_filters(own, ratio, "l2", IMAGES, drawn)
    with pytest.raises(ValueError, match="budgets"):
        accuracy_compute_curve(own, [task()], [2.0, 1.0], generator=drawn)
    assert torch.equal(drawn.get_state(), state)
    torch.testing.assert_close(dict(own.state_dict()), before, rtol=0, atol=0)
    assert own.training
