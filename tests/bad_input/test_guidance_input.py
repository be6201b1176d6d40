"""Learned guidance refuses bad input with one sentence: the argument, what came, what is allowed.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import numpy as np
import pytest
import torch
from torch import nn

from companion.data.labelled import four_classes, long_tailed
from companion.foundations.conditional import ConditionalDenoiser, LabelledMixture, velocity_loss
from companion.foundations.diffusion import time_grid
from companion.foundations.networks import TimeMLP
from companion.methods.guidance import (
    GuidanceWeights,
    aware,
    guide,
    guided_step,
    learn_guidance,
    reward_loss,
    sample_guided,
    self_consistency_loss,
)
from tests.bad_input.sentences import assert_refused

LAW, GRID = four_classes(), time_grid(5)
X, LABELS = torch.zeros(4, 2), torch.arange(4)
S, T = torch.full((4,), 0.2), torch.full((4,), 0.6)
WEIGHTS, NETWORK = GuidanceWeights(4), ConditionalDenoiser(TimeMLP(2, 8), 4)
NAN = float("nan")


def constant(labels, s, t):
    return torch.ones(len(labels))


def first_coordinate(x0, labels):
    return x0[:, 0]


def step(x=X, labels=LABELS, weight=0.5, s=0.2, t=0.6, conditional=LAW.conditional, **options):
    return guided_step(conditional, LAW.unconditional, weight, x, labels, s, t, **options)


def loss(
    x0=X,
    labels=LABELS,
    s=S,
    t=T,
    conditional=LAW.conditional,
    unconditional=LAW.unconditional,
    weights=constant,
    **options,
):
    return self_consistency_loss(conditional, unconditional, weights, x0, labels, s, t, **options)


def reward(x0=X, labels=LABELS, s=S, t=T, reward=first_coordinate, weights=constant, conditional=LAW.conditional):
    return reward_loss(conditional, LAW.unconditional, weights, reward, x0, labels, s, t)


def learn(data=X, labels=LABELS, steps=3, conditional=LAW.conditional, unconditional=LAW.unconditional, **options):
    return learn_guidance(conditional, unconditional, data, labels, steps, **options)


def walk(
    x=X, labels=LABELS, weight=0.5, times=GRID, conditional=LAW.conditional, unconditional=LAW.unconditional, churn=0.0
):
    return sample_guided(conditional, unconditional, weight, labels, x, times, churn)


def end(**options):
    *_, points = walk(**options)
    return points


def mixture(means=X, stds=S, classes=LABELS, weights=None):
    return LabelledMixture(means, stds, classes, weights)


def train(x0=X, labels=LABELS, drop=0.1):
    return velocity_loss(NETWORK, x0, labels, drop)


# each row: a call, the error, the argument that the sentence names, what came, and a word of what is allowed
CASES = {
    # the guided prediction
    "predictions of another shape": (lambda: guide(X, X[:1], 1.0), ValueError, "x_c", "(4, 2)", "(1, 2) like x_u"),
    "predictions of integers": (lambda: guide(X.long(), X, 1.0), TypeError, "x_c", "int64", "floating"),
    "other predictions of integers": (lambda: guide(X, X.long(), 1.0), TypeError, "x_u", "int64", "floating"),
    "predictions as a list": (lambda: guide([[0.0]], X, 1.0), TypeError, "x_c", "list", "torch.Tensor"),
    "weight a word": (lambda: guide(X, X, "strong"), TypeError, "weight", "'strong'", "a number"),
    "weight None": (lambda: guide(X, X, None), TypeError, "weight", "None", "a number"),
    "weight nan": (lambda: guide(X, X, NAN), ValueError, "weight", "nan", "(-inf, inf)"),
    "weight infinite": (lambda: guide(X, X, float("inf")), ValueError, "weight", "inf", "(-inf, inf)"),
    "weights for too few rows": (lambda: guide(X, X, S[:3]), ValueError, "weight", "(3,)", "(4,)"),
    "weights for every dimension": (lambda: guide(X, X, X), ValueError, "weight", "(4, 2)", "(4,)"),
    "weights in a column": (lambda: guide(X, X, S[:, None]), ValueError, "weight", "(4, 1)", "(4,)"),
    # the learned weight
    "no class": (lambda: GuidanceWeights(0), ValueError, "num_classes", "0", "at least 1"),
    "half a class": (lambda: GuidanceWeights(2.5), TypeError, "num_classes", "2.5", "whole number"),
    "start at 0": (lambda: GuidanceWeights(4, start=0), ValueError, "start", "0", "(0, inf)"),
    "start below 0": (lambda: GuidanceWeights(4, start=-0.5, output="signed"), ValueError, "start", "-0.5", "(0, inf)"),
    "start as a word": (lambda: GuidanceWeights(4, start="0.5"), TypeError, "start", "'0.5'", "(0, inf)"),
    "another output": (lambda: GuidanceWeights(4, output="exp"), ValueError, "output", "'exp'", "'softplus' or 'relu'"),
    "no width": (lambda: GuidanceWeights(4, width=0), ValueError, "width", "0", "at least 1"),
    "no depth": (lambda: GuidanceWeights(4, depth=0), ValueError, "depth", "0", "at least 1"),
    "a label too large": (lambda: WEIGHTS(LABELS + 1, 0.1, 0.2), ValueError, "labels", "outside", "from 0 to 3"),
    "a label below 0": (lambda: WEIGHTS(LABELS - 1, 0.1, 0.2), ValueError, "labels", "outside", "from 0 to 3"),
    "labels that are floats": (lambda: WEIGHTS(LABELS.float(), 0.1, 0.2), TypeError, "labels", "float32", "whole numbers"),
    "labels as a list": (lambda: WEIGHTS([0, 1], 0.1, 0.2), TypeError, "labels", "list", "whole numbers"),
    "labels in a column": (lambda: WEIGHTS(LABELS[:, None], 0.1, 0.2), ValueError, "labels", "(4, 1)", "one row"),
    "a class that the weights lack": (lambda: WEIGHTS(LABELS + 9, 0.1, 0.2), ValueError, "labels", "outside", "from 0 to"),
    "a time beyond 1": (lambda: WEIGHTS(LABELS, 0.1, 1.5), ValueError, "t", "1.5", "[0, 1]"),
    "times for too few rows": (lambda: WEIGHTS(LABELS, S[:3], T), ValueError, "t", "(3,)", "(4,)"),
    # one step
    "a step upwards": (lambda: step(s=0.6, t=0.2), ValueError, "(t, s)", "(0.2, 0.6)", "0 <= s < t <= 1"),
    "a step with churn 2": (lambda: step(churn=2.0), ValueError, "churn", "2.0", "[0, 1]"),
    "a step of integers": (lambda: step(X.long()), TypeError, "x", "int64", "floating"),
    "a step with a weight too few": (lambda: step(weight=S[:3]), ValueError, "weight", "(3,)", "(4,)"),
    "a step with a label too few": (lambda: step(labels=LABELS[:3]), ValueError, "labels", "(3,)", "(4,)"),
    # the loss
    "no conditional": (lambda: loss(conditional=None), TypeError, "conditional", "NoneType", "(x, t, labels) -> x0"),
    "no unconditional": (lambda: loss(unconditional=0.5), TypeError, "unconditional", "float", "(x, t) -> x0"),
    "weights a number": (lambda: loss(weights=0.5), TypeError, "weights", "float", "(labels, s, t) -> (n,)"),
    "x0 a list": (lambda: loss([[0.0, 0.0]]), TypeError, "x0", "list", "torch.Tensor"),
    "x0 of integers": (lambda: loss(X.long()), TypeError, "x0", "int64", "floating"),
    "x0 one flat point": (lambda: loss(X[0]), ValueError, "x0", "(2,)", "(n, d)"),
    "x0 of no point": (lambda: loss(X[:0]), ValueError, "x0", "(0, 2)", "n >= 1"),
    "labels of the loss as floats": (lambda: loss(labels=S), TypeError, "labels", "float32", "whole numbers"),
    "labels of the loss as flags": (lambda: loss(labels=S > 0), TypeError, "labels", "bool", "whole numbers"),
    "a label too few": (lambda: loss(labels=LABELS[:3]), ValueError, "labels", "(3,)", "(4,)"),
    "s a number": (lambda: loss(s=0.2), TypeError, "s", "float", "torch.Tensor"),
    "s of integers": (lambda: loss(s=LABELS), TypeError, "s", "int64", "floating"),
    "t for one row": (lambda: loss(t=T[:1]), ValueError, "t", "(1,)", "(4,), one time for each row"),
    "t without an axis": (lambda: loss(t=T[0]), ValueError, "t", "()", "(4,)"),
    "population 0": (lambda: loss(population=0), ValueError, "population", "0", "at least 1"),
    "population 1 with repulsion": (lambda: loss(population=1), ValueError, "population", "1", "at least 2, or 1 when lam is 0"),
    "population 2.5": (lambda: loss(population=2.5), TypeError, "population", "2.5", "whole number"),
    "beta 0": (lambda: loss(beta=0), ValueError, "beta", "0", "(0, 2]"),
    "beta 2.5": (lambda: loss(beta=2.5), ValueError, "beta", "2.5", "(0, 2]"),
    "beta nan": (lambda: loss(beta=NAN), ValueError, "beta", "nan", "(0, 2]"),
    "lam -0.1": (lambda: loss(lam=-0.1), ValueError, "lam", "-0.1", "[0, 1]"),
    "lam 1.1": (lambda: loss(lam=1.1), ValueError, "lam", "1.1", "[0, 1]"),
    "churn 1.5": (lambda: loss(churn=1.5), ValueError, "churn", "1.5", "[0, 1]"),
    "churn None": (lambda: loss(churn=None), TypeError, "churn", "None", "[0, 1]"),
    "weights in columns": (lambda: loss(weights=lambda labels, s, t: X), ValueError, "weight", "(16, 2)", "(16,)"),
    "a model of another shape": (lambda: loss(conditional=lambda x, t, labels: x[:1]), ValueError, "x_c", "(1, 2)", "(16, 2) like x_u"),
    # the reward
    "no reward": (lambda: reward(reward=None), TypeError, "reward", "NoneType", "(x0, labels) -> (n,)"),
    "one reward for all": (lambda: reward(reward=lambda x0, labels: x0.sum()), ValueError, "reward(x0, labels)", "()", "(4,), one for each row"),
    "a reward for each number": (lambda: reward(reward=lambda x0, labels: x0), ValueError, "reward(x0, labels)", "(4, 2)", "(4,)"),
    "a reward of integers": (lambda: reward(X.long()), TypeError, "x0", "int64", "floating"),
    "a reward without weights": (lambda: reward(weights=None), TypeError, "weights", "NoneType", "(labels, s, t)"),
    "a reward with a label too few": (lambda: reward(labels=LABELS[:3]), ValueError, "labels", "(3,)", "(4,)"),
    "a reward with a time too few": (lambda: reward(t=T[:3]), ValueError, "t", "(3,)", "(4,)"),
    "a reward without a model": (lambda: reward(conditional=NETWORK.num_classes), TypeError, "conditional", "int", "callable"),
    # learning
    "learn without a conditional": (lambda: learn(conditional=NETWORK.num_classes), TypeError, "conditional", "int", "callable"),
    "learn without an unconditional": (lambda: learn(unconditional=X), TypeError, "unconditional", "Tensor", "callable"),
    "learn from a law": (lambda: learn(LAW), TypeError, "data", "LabelledMixture", "torch.Tensor"),
    "learn from integers": (lambda: learn(X.long()), TypeError, "data", "int64", "floating"),
    "learn from nothing": (lambda: learn(X[:0], LABELS[:0]), ValueError, "data", "(0, 2)", "n >= 1"),
    "learn with flags": (lambda: learn(labels=S > 0), TypeError, "labels", "bool", "whole numbers"),
    "learn with a label too few": (lambda: learn(labels=LABELS[:3]), ValueError, "labels", "(3,)", "(4,)"),
    "learn with a class left out": (lambda: learn(labels=2 * LABELS), ValueError, "labels", "[0, 2, 4, 6]", "each class with a point"),
    "learn with labels from 1 on": (lambda: learn(labels=LABELS + 1), ValueError, "labels", "[1, 2, 3, 4]", "0, 1, 2 and so on"),
    "learn with the label -1": (lambda: learn(labels=LABELS - 1), ValueError, "labels", "[-1, 0, 1, 2]", "0, 1, 2 and so on"),
    "learn for no step": (lambda: learn(steps=0), ValueError, "steps", "0", "at least 1"),
    "learn for half a step": (lambda: learn(steps=0.5), TypeError, "steps", "0.5", "whole number"),
    "learn for a reward by its name": (lambda: learn(reward="clip"), TypeError, "reward", "str", "None or a callable"),
    "reward weight below 0": (lambda: learn(reward=first_coordinate, reward_weight=-1), ValueError, "reward_weight", "-1", "[0, inf)"),
    "reward weight without a reward": (lambda: learn(reward_weight=0.1), ValueError, "reward_weight", "0.1", "0 when there is no reward"),
    "weights a float": (lambda: learn(weights=0.5), TypeError, "weights", "float", "a GuidanceWeights"),
    "weights a function": (lambda: learn(weights=constant), TypeError, "weights", "function", "a GuidanceWeights"),
    "loss by its name": (lambda: learn(loss="l2"), TypeError, "loss", "str", "self_consistency_loss"),
    "batch_size 0": (lambda: learn(batch_size=0), ValueError, "batch_size", "0", "at least 1"),
    "batch_size 12.5": (lambda: learn(batch_size=12.5), TypeError, "batch_size", "12.5", "whole number"),
    "gap 0": (lambda: learn(gap=0), ValueError, "gap", "0", "(0, 1)"),
    "gap 1": (lambda: learn(gap=1.0), ValueError, "gap", "1.0", "(0, 1)"),
    "margin 0": (lambda: learn(margin=0), ValueError, "margin", "0", "(0, 1)"),
    "margin as a word": (lambda: learn(margin="small"), TypeError, "margin", "'small'", "(0, 1)"),
    "no room between the margins": (lambda: learn(gap=0.5, margin=0.25), ValueError, "(gap, margin)", "(0.5, 0.25)", "gap + 2 margin < 1"),
    "learning_rate 0": (lambda: learn(learning_rate=0), ValueError, "learning_rate", "0", "(0, inf)"),
    "resume from nothing": (lambda: learn(resume={}), ValueError, "resume", "dict", "TrainingState.state_dict()"),
    # guided walks
    "walk without a conditional": (lambda: walk(conditional=None), TypeError, "conditional", "NoneType", "callable"),
    "walk without an unconditional": (lambda: walk(unconditional=None), TypeError, "unconditional", "NoneType", "callable"),
    "walk from a list": (lambda: walk([[0.0, 0.0]]), TypeError, "x", "list", "torch.Tensor"),
    "walk from integers": (lambda: walk(X.long()), TypeError, "x", "int64", "floating"),
    "walk from one flat point": (lambda: walk(X[0]), ValueError, "x", "(2,)", "(n, d)"),
    "walk to a class": (lambda: walk(labels=3), TypeError, "labels", "int", "whole numbers"),
    "walk to a label too few": (lambda: walk(labels=LABELS[:3]), ValueError, "labels", "(3,)", "(4,)"),
    "walk with a flag": (lambda: walk(weight=True), TypeError, "weight", "bool", "a number, an interval"),
    "walk with a word": (lambda: walk(weight="strong"), TypeError, "weight", "str", "a number, an interval"),
    "walk with a tensor": (lambda: walk(weight=S), TypeError, "weight", "Tensor", "a callable (labels, s, t)"),
    "walk with nothing": (lambda: walk(weight=None), TypeError, "weight", "NoneType", "a number, an interval"),
    "walk with nan": (lambda: walk(weight=NAN), ValueError, "weight", "nan", "(-inf, inf)"),
    "interval of two": (lambda: walk(weight=(0.2, 0.8)), ValueError, "weight", "2 numbers", "(w, low, high)"),
    "interval with nan": (lambda: walk(weight=(NAN, 0.2, 0.8)), ValueError, "the interval's w", "nan", "(-inf, inf)"),
    "interval with a word": (lambda: walk(weight=("strong", 0.2, 0.8)), TypeError, "the interval's w", "'strong'", "(-inf, inf)"),
    "interval below 0": (lambda: walk(weight=(1, -0.1, 0.8)), ValueError, "the interval's low or high", "-0.1", "[0, 1]"),
    "interval beyond 1": (lambda: walk(weight=(1, 0.2, 80.0)), ValueError, "the interval's low or high", "80.0", "[0, 1]"),
    "interval upside down": (lambda: walk(weight=(1, 0.8, 0.2)), ValueError, "(low, high)", "(0.8, 0.2)", "rising"),
    "interval of one time": (lambda: walk(weight=(1, 0.5, 0.5)), ValueError, "(low, high)", "(0.5, 0.5)", "rising"),
    "walk upwards": (lambda: walk(times=GRID.flip(0)), ValueError, "times", "[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]", "strictly falling"),
    "walk for a number of steps": (lambda: walk(times=20), TypeError, "times", "20", "time_grid"),
    "walk with churn 1.5": (lambda: walk(churn=1.5), ValueError, "churn", "1.5", "[0, 1]"),
    "walk with weights in columns": (lambda: end(weight=lambda labels, s, t: X), ValueError, "weight", "(4, 2)", "(4,)"),
    "walk with a weight too few": (lambda: end(weight=lambda labels, s, t: S[:3]), ValueError, "weight", "(3,)", "(4,)"),
    "walk with a class too many": (lambda: end(weight=GuidanceWeights(3)), ValueError, "labels", "outside", "from 0 to 2"),
    "a conditional of another shape": (lambda: end(conditional=lambda x, t, labels: x[:1]), ValueError, "x_c", "(1, 2)", "(4, 2) like x_u"),
    "a conditional of another shape, unguided": (lambda: end(weight=0, conditional=lambda x, t, labels: x[:1]), ValueError, "denoiser(x, t)", "(1, 2)", "(4, 2)"),
    "an unconditional of arrays": (lambda: end(unconditional=lambda x, t: x.numpy()), TypeError, "x_u", "ndarray", "torch.Tensor"),
    # labelled mixtures
    "classes as a list": (lambda: mixture(classes=[0, 1, 2, 3]), TypeError, "classes", "list", "whole numbers"),
    "classes as floats": (lambda: mixture(classes=S), TypeError, "classes", "float32", "whole numbers"),
    "a class too few": (lambda: mixture(classes=LABELS[:3]), ValueError, "classes", "(3,)", "(4,)"),
    "a class left out": (lambda: mixture(classes=2 * LABELS), ValueError, "classes", "[0, 2, 4, 6]", "each with a component"),
    "classes from 1 on": (lambda: mixture(classes=LABELS + 1), ValueError, "classes", "[1, 2, 3, 4]", "numbered 0, 1, 2"),
    "stds of 0": (lambda: mixture(stds=0 * S), ValueError, "stds", "[0.0, 0.0, 0.0, 0.0]", "positive"),
    "the law of class 4": (lambda: LAW.given(4), ValueError, "label", "4", "from 0 to 3"),
    "the law of class -1": (lambda: LAW.given(-1), ValueError, "label", "-1", "at least 0"),
    "the law of half a class": (lambda: LAW.given(0.5), TypeError, "label", "0.5", "a whole number"),
    "samples of class 4": (lambda: LAW.sample_given(LABELS + 4), ValueError, "labels", "outside", "from 0 to 3"),
    "exact in class 4": (lambda: LAW.conditional(X, 0.5, LABELS + 4), ValueError, "labels", "outside", "from 0 to 3"),
    "no labelled sample": (lambda: LAW.sample_labelled(0), ValueError, "n", "0", "at least 1"),
    "samples of a list": (lambda: LAW.sample_given([0, 1]), TypeError, "labels", "list", "whole numbers"),
    "samples of floats": (lambda: LAW.sample_given(S), TypeError, "labels", "float32", "whole numbers"),
    "exact with a label too few": (lambda: LAW.conditional(X, 0.5, LABELS[:3]), ValueError, "labels", "(3,)", "(4,)"),
    "exact with floats": (lambda: LAW.conditional(X, 0.5, S), TypeError, "labels", "float32", "whole numbers"),
    "exact beyond time 1": (lambda: LAW.conditional(X, 1.5, LABELS), ValueError, "t", "1.5", "[0, 1]"),
    "exact in three dimensions": (lambda: LAW.conditional(torch.zeros(4, 3), 0.5, LABELS), ValueError, "x", "(4, 3)", "(n, 2)"),
    "a classifier of lists": (lambda: LAW.class_log_probs([[0.0, 0.0]]), TypeError, "x", "list", "torch.Tensor"),
    # networks
    "a network that is a function": (lambda: ConditionalDenoiser(constant, 4), TypeError, "network", "function", "torch.nn.Module"),
    "a network of no class": (lambda: ConditionalDenoiser(TimeMLP(2, 8), 0), ValueError, "num_classes", "0", "at least 1"),
    "an embedding of nothing": (lambda: ConditionalDenoiser(TimeMLP(2, 8), 4, 0), ValueError, "embedding", "0", "at least 1"),
    "an embedding of another size": (lambda: ConditionalDenoiser(TimeMLP(2, 3), 4).unconditional(X, 0.5), ValueError, "noise", "(4, 8)", "(4, 3)"),
    "a network without an entry": (lambda: ConditionalDenoiser(TimeMLP(2), 4).unconditional(X, 0.5), ValueError, "noise", "(4, 8)", "takes no noise"),
    "a network asked with floats": (lambda: NETWORK.conditional(X, 0.5, S), TypeError, "labels", "float32", "whole numbers"),
    "a network asked with a label too few": (lambda: NETWORK.conditional(X, 0.5, LABELS[:3]), ValueError, "labels", "(3,)", "(4,)"),
    "a network asked about a list": (lambda: NETWORK.conditional([[0.0, 0.0]], 0.5, LABELS), TypeError, "x", "list", "torch.Tensor"),
    "a network asked about one flat point": (lambda: NETWORK.unconditional(X[0], 0.5), ValueError, "x", "(2,)", "(n, d)"),
    "a network asked beyond time 1": (lambda: NETWORK.unconditional(X, 80.0), ValueError, "t", "80.0", "[0, 1]"),
    # their loss
    "train on integers": (lambda: train(X.long()), TypeError, "x0", "int64", "floating"),
    "train on one flat point": (lambda: train(X[0]), ValueError, "x0", "(2,)", "(n, d)"),
    "train with floats": (lambda: train(labels=S), TypeError, "labels", "float32", "whole numbers"),
    "train with a label too few": (lambda: train(labels=LABELS[:3]), ValueError, "labels", "(3,)", "(4,)"),
    "drop 1.5": (lambda: train(drop=1.5), ValueError, "drop", "1.5", "[0, 1]"),
    "drop -0.1": (lambda: train(drop=-0.1), ValueError, "drop", "-0.1", "[0, 1]"),
    "drop None": (lambda: train(drop=None), TypeError, "drop", "None", "[0, 1]"),
    # data
    "separation 0": (lambda: four_classes(0), ValueError, "separation", "0", "(0, inf)"),
    "std -1": (lambda: four_classes(std=-1), ValueError, "std", "-1", "(0, inf)"),
    "std as a word": (lambda: four_classes(std="narrow"), TypeError, "std", "'narrow'", "(0, inf)"),
    "three frequencies": (lambda: four_classes(frequencies=(1, 1, 1)), ValueError, "frequencies", "(1, 1, 1)", "four numbers in a row"),
    "one frequency": (lambda: four_classes(frequencies=5), ValueError, "frequencies", "5", "four numbers in a row"),
    "a frequency below 0": (lambda: four_classes(frequencies=(1, 1, 1, -1)), ValueError, "weights", "-1.0", "non-negative"),
    "a long tail of a list": (lambda: long_tailed([0, 1, 2]), TypeError, "labels", "list", "whole numbers"),
    "a long tail of floats": (lambda: long_tailed(S), TypeError, "labels", "float32", "whole numbers"),
    "a long tail in a column": (lambda: long_tailed(LABELS[:, None]), ValueError, "labels", "(4, 1)", "one row"),
    "a long tail of a number": (lambda: long_tailed(5), TypeError, "labels", "int", "whole numbers"),
    "a long tail of nothing": (lambda: long_tailed(LABELS[:0]), ValueError, "labels", "empty", "at least one"),
    "a step of a list": (lambda: guided_step([], LAW.unconditional, 0.0, X, LABELS, 0.1, 0.2), TypeError, "conditional", "list", "a callable"),
    "ratio 0": (lambda: long_tailed(LABELS, 0), ValueError, "ratio", "0", "(0, 1]"),
    "ratio 1.5": (lambda: long_tailed(LABELS, 1.5), ValueError, "ratio", "1.5", "(0, 1]"),
}  # fmt: skip


@pytest.mark.parametrize("call, error, argument, came, allowed", CASES.values(), ids=CASES.keys())  # noqa: PT006
def test_refused_with_one_sentence_that_names_argument_what_came_and_what_is_allowed(
    call, error, argument, came, allowed
):
    assert_refused(call, error, argument, came, allowed)


AT_THE_CALL = [{"steps": 0}, {"gap": 2.0}, {"weights": 1}, {"reward_weight": 1}, {"batch_size": 0}, {"loss": None}]
LATER = [{"population": 0}, {"beta": 3.0}, {"lam": 2.0}, {"churn": 2.0}]


@pytest.mark.parametrize("options", AT_THE_CALL, ids=lambda options: next(iter(options)))
def test_learning_refuses_at_the_call_not_at_the_first_update(options):
    """A generator function would keep silent until it is first asked; this one is never asked."""
    with pytest.raises((TypeError, ValueError), match=next(iter(options))):
        learn(**options)


@pytest.mark.parametrize("options", LATER, ids=lambda options: next(iter(options)))
def test_learning_refuses_the_settings_of_its_loss_at_the_call_too(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        learn(**options)


@pytest.mark.parametrize("options", LATER, ids=lambda options: next(iter(options)))
def test_settings_of_the_loss_are_refused_before_anything_has_moved(options):
    weights = GuidanceWeights(4)
    before = [parameter.clone() for parameter in weights.parameters()]
    with pytest.raises(ValueError, match=next(iter(options))):
        next(learn(weights=weights, **options))
    assert all(torch.equal(now, then) for now, then in zip(weights.parameters(), before, strict=True))


@pytest.mark.parametrize(
    "options", [{"weight": None}, {"weight": (1, 2, 3)}, {"times": 5}, {"churn": -1}, {"labels": X}, {"x": X[:0]}], ids=str
)  # fmt: skip
def test_a_walk_refuses_at_the_call_not_at_the_first_state(options):
    with pytest.raises((TypeError, ValueError), match=r"^.* is .*, but must be .*\.$"):
        walk(**options)


def test_weights_may_be_numbers_of_numpy_and_times_a_list_or_an_array():
    ends = [end(weight=weight) for weight in (0.5, np.float64(0.5), (np.float32(0.5), 0, np.float64(1.0)), [0.5, 0, 1])]
    ends += [end(times=times) for times in (GRID.tolist(), tuple(GRID.tolist()), GRID.numpy())]
    assert all(torch.equal(points, ends[0]) for points in ends)
    assert torch.equal(guide(X + 1, X, np.float32(0.5)), X + 1.5)
    assert end(times=[1, 0]).shape == (4, 2)


def test_any_module_may_be_trained_in_the_place_of_the_perceptron():
    class PerClass(nn.Module):
        def __init__(self):
            super().__init__()
            self.level = nn.Parameter(torch.full((4,), 0.5))

        def forward(self, labels, s, t):
            return self.level[labels]

    *_, state = learn(weights=PerClass())
    assert bool((state.model.level != 0.5).any())


def test_a_denoiser_that_knows_its_steps_refuses_lists_of_another_length():
    with pytest.raises(ValueError, match="shorter"):
        aware(constant, GRID, [1, 2])
