"""The Kalman filter, its streams and its rivals refuse bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from companion.data.streams import digit_stream, moving_classes
from companion.foundations.online import OnlineLearner, centred_one_hot, run_stream
from companion.foundations.validation import require_resume
from companion.methods.kalman import KalmanHead, UnitFeatures, average_log_softmax
from companion.methods.rivals.online import ExtendedKalman, ForgetfulRidge, ResetOnDrift, SoftmaxFTRL, SoftmaxSGD
from tests.bad_input.sentences import assert_refused

F, Y, L = torch.ones(6, 3), torch.zeros(6, 2), torch.tensor([0, 1, 1, 0, 1, 0])
MEAN, VARIANCE, SCALE, NOISE = torch.zeros(6, 2), torch.ones(6), torch.ones(()), torch.zeros(4, 6, 2)
NAN, INF = float("nan"), float("inf")


def head(**settings) -> KalmanHead:
    return KalmanHead(3, 2, **settings)


def backbone(p: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, p)


def walk(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.1)


def stream(learner=None, features=F, labels=L, **options):
    return run_stream(head() if learner is None else learner, features, labels, **options)


def tuned(module=None, **options):
    module = backbone() if module is None else module
    return stream(backbone=module, optimizer=walk(module), **options)


def average(mean=MEAN, variance=VARIANCE, scale=SCALE, noise=NOISE):
    return average_log_softmax(mean, variance, scale, noise)


class Nameless(OnlineLearner):
    """A learner that does not say how many classes it has."""

    def log_probabilities(self, features, generator=None):
        return torch.zeros(len(features), 2)


SAVED, WITH_GENERATOR = (
    next(stream(every=2, generator=generator)).state_dict() for generator in (None, torch.Generator().manual_seed(0))
)
ROWS = "of shape (b, 3) with at least one row"
ONE_EACH = "of shape (6,), one label for each row"
STATE = "a state's state_dict()"
WORDS = "'abrupt' or 'slow' or 'none'"
MODULE = "a torch.nn.Module"

CASES = {
    # one-hot rows
    "one class": (lambda: centred_one_hot(L, 1), ValueError, "num_classes", "1", "at least 2"),
    "two and a half classes": (lambda: centred_one_hot(L, 2.5), TypeError, "num_classes", "2.5", "a whole number"),
    "labels a list": (lambda: centred_one_hot([0, 1], 2), TypeError, "labels", "a list", "a tensor of whole numbers"),
    "labels of numbers": (lambda: centred_one_hot(L.float(), 2), TypeError, "labels", "float32", "a tensor of whole numbers"),
    "labels of truth": (lambda: centred_one_hot(L > 0, 2), TypeError, "labels", "bool", "a tensor of whole numbers"),
    "labels of a table": (lambda: centred_one_hot(L[None], 2), ValueError, "labels", "(1, 6)", "one row"),
    "a label too many": (lambda: centred_one_hot(L + 1, 2), ValueError, "labels", "outside in some row", "from 0 to 1"),
    "a label below 0": (lambda: centred_one_hot(L - 1, 2), ValueError, "labels", "outside in some row", "from 0 to 1"),
    # streams
    "learn with None": (lambda: run_stream(None, F, L), TypeError, "learner", "a NoneType", "an OnlineLearner"),
    "learn with a network": (lambda: stream(backbone()), TypeError, "learner", "a Linear", "an OnlineLearner"),
    "learn with a class": (lambda: stream(KalmanHead), TypeError, "learner", "a ABCMeta", "an OnlineLearner"),
    "stream of a list": (lambda: stream(features=[[1.0]]), TypeError, "features", "a list", "a torch.Tensor"),
    "stream of integers": (lambda: stream(features=F.long()), TypeError, "features", "int64", "floating"),
    "stream of numbers": (lambda: stream(features=F[:, 0]), ValueError, "features", "(6,)", "(n, ...) with at least one row"),
    "stream of nothing": (lambda: stream(features=F[:0], labels=L[:0]), ValueError, "features", "(0, 3)", "at least one row"),
    "classes unknown": (lambda: stream(Nameless()), ValueError, "num_classes", "None", "given for a learner that has no num_classes"),
    "one class in a stream": (lambda: stream(num_classes=1), ValueError, "num_classes", "1", "at least 2"),
    "half a class in a stream": (lambda: stream(num_classes=2.5), TypeError, "num_classes", "2.5", "a whole number"),
    "one output in a stream": (lambda: stream(KalmanHead(3, 1)), ValueError, "num_classes", "1", "at least 2"),
    "stream with a list of labels": (lambda: stream(labels=[0] * 6), TypeError, "labels", "a list", "a tensor of whole numbers"),
    "stream of targets": (lambda: stream(labels=L.float()), TypeError, "labels", "float32", "a tensor of whole numbers"),
    "stream of few labels": (lambda: stream(labels=L[:5]), ValueError, "labels", "(5,)", ONE_EACH),
    "stream of one-hot labels": (lambda: stream(labels=Y.long()), ValueError, "labels", "(6, 2)", ONE_EACH),
    "stream of another class": (lambda: stream(labels=L + 1), ValueError, "labels", "outside in some row", "from 0 to 1"),
    "stream of a class below 0": (lambda: stream(labels=-L), ValueError, "labels", "outside in some row", "from 0 to 1"),
    "stream by no rows": (lambda: stream(batch_size=0), ValueError, "batch_size", "0", "at least 1"),
    "stream by half a row": (lambda: stream(batch_size=0.5), TypeError, "batch_size", "0.5", "a whole number"),
    "stream by True": (lambda: stream(batch_size=True), TypeError, "batch_size", "True", "a whole number"),
    "every 0": (lambda: stream(every=0), ValueError, "every", "0", "at least 1"),
    "every None": (lambda: stream(every=None), TypeError, "every", "None", "a whole number"),
    "a function for a backbone": (lambda: stream(backbone=torch.tanh, optimizer=1), TypeError, "backbone", "builtin_function", MODULE),
    "a class for a backbone": (lambda: stream(backbone=nn.Linear, optimizer=1), TypeError, "backbone", "a type", MODULE),
    "a backbone alone": (lambda: stream(backbone=backbone()), ValueError, "optimizer", "None", "given exactly when a backbone is"),
    "an optimizer alone": (lambda: stream(optimizer=walk(backbone())), ValueError, "optimizer", "given", "given exactly when a backbone is"),
    "resume a word": (lambda: stream(resume="there"), ValueError, "resume", "a str without all it needs", STATE),
    "resume from nothing": (lambda: stream(resume={}), ValueError, "resume", "a dict without all it needs", STATE),
    "resume without the backbone": (lambda: tuned(resume=SAVED), ValueError, "resume", "a dict without all it needs", STATE),
    "resume from the end": (lambda: stream(batch_size=3, resume=SAVED), ValueError, "resume", "at step 2", "before the last step, 2"),
    "resume with a new generator": (lambda: stream(resume=SAVED, generator=torch.Generator()), ValueError, "generator", "torch", "exactly when"),
    "resume without its generator": (lambda: stream(resume=WITH_GENERATOR), ValueError, "generator", "None", "exactly when"),
    "a backbone of other features": (lambda: next(tuned(backbone(4))), ValueError, "features", "(1, 4)", ROWS),
    # what a resume needs
    "needed a list": (lambda: require_resume([], {"step"}, 9, None), ValueError, "resume", "a list without all it needs", STATE),
    "needed more": (lambda: require_resume({"step": 1, "generator": None}, {"step", "generator", "w"}, 9, None), ValueError, "resume", "a dict", STATE),
    "needed no generator": (lambda: require_resume({"step": 1, "generator": None}, {"step"}, 9, torch.Generator()), ValueError, "generator", "torch", "exactly when it was given"),
    "needed an earlier step": (lambda: require_resume({"step": 9, "generator": None}, {"step"}, 9, None), ValueError, "resume", "at step 9", "before the last step, 9"),
    # the head
    "no features": (lambda: KalmanHead(0, 2), ValueError, "num_features", "0", "at least 1"),
    "half a feature": (lambda: KalmanHead(0.5, 2), TypeError, "num_features", "0.5", "a whole number"),
    "no outputs": (lambda: KalmanHead(3, 0), ValueError, "num_classes", "0", "at least 1"),
    "outputs None": (lambda: KalmanHead(3, None), TypeError, "num_classes", "None", "a whole number"),
    "weight_variance 0": (lambda: head(weight_variance=0), ValueError, "weight_variance", "0", "(0, inf)"),
    "weight_variance nan": (lambda: head(weight_variance=NAN), ValueError, "weight_variance", "nan", "(0, inf)"),
    "weight_variance a tensor": (lambda: head(weight_variance=SCALE), TypeError, "weight_variance", "tensor(1.)", "(0, inf)"),
    "noise_variance 0": (lambda: head(noise_variance=0), ValueError, "noise_variance", "0", "(0, inf)"),
    "noise_variance inf": (lambda: head(noise_variance=INF), ValueError, "noise_variance", "inf", "(0, inf)"),
    "noise_variance a word": (lambda: head(noise_variance="loud"), TypeError, "noise_variance", "'loud'", "(0, inf)"),
    "gamma below 0": (lambda: head(gamma=-0.1), ValueError, "gamma", "-0.1", "[0, 1]"),
    "gamma above 1": (lambda: head(gamma=1.01), ValueError, "gamma", "1.01", "[0, 1]"),
    "gamma nan": (lambda: head(gamma=NAN), ValueError, "gamma", "nan", "[0, 1]"),
    "gamma None": (lambda: head(gamma=None), TypeError, "gamma", "None", "[0, 1]"),
    "gamma learned from 0": (lambda: head(gamma=0, learn_gamma=True), ValueError, "gamma", "0", "(0, 1]"),
    "gamma_rate -1": (lambda: head(gamma_rate=-1), ValueError, "gamma_rate", "-1", "[0, inf)"),
    "gamma_rate a list": (lambda: head(gamma_rate=[1]), TypeError, "gamma_rate", "[1]", "[0, inf)"),
    "alpha 0": (lambda: head(alpha=0), ValueError, "alpha", "0", "(0, inf)"),
    "alpha inf": (lambda: head(alpha=INF), ValueError, "alpha", "inf", "(0, inf)"),
    "alpha True": (lambda: head(alpha=True), TypeError, "alpha", "True", "(0, inf)"),
    "alpha_rate -1": (lambda: head(alpha_rate=-1), ValueError, "alpha_rate", "-1", "[0, inf)"),
    "alpha_rate None": (lambda: head(alpha_rate=None), TypeError, "alpha_rate", "None", "[0, inf)"),
    "samples 0": (lambda: head(samples=0), ValueError, "samples", "0", "at least 1"),
    "samples 1.5": (lambda: head(samples=1.5), TypeError, "samples", "1.5", "a whole number"),
    "dtype of half": (lambda: head(dtype=torch.float16), ValueError, "dtype", "torch.float16", "torch.float32 or torch.float64"),
    "dtype of integers": (lambda: head(dtype=torch.long), ValueError, "dtype", "torch.int64", "torch.float32 or torch.float64"),
    "dtype a word": (lambda: head(dtype="float64"), ValueError, "dtype", "float64", "torch.float32 or torch.float64"),
    "dtype None": (lambda: head(dtype=None), ValueError, "dtype", "None", "torch.float32 or torch.float64"),
    # its predictions
    "predict a list": (lambda: head().predict([[1.0]]), TypeError, "features", "a list", "a torch.Tensor"),
    "predict integers": (lambda: head().predict(F.long()), TypeError, "features", "int64", "floating"),
    "predict one row": (lambda: head().predict(F[0]), ValueError, "features", "(3,)", ROWS),
    "predict nothing": (lambda: head().predict(F[:0]), ValueError, "features", "(0, 3)", ROWS),
    "predict other features": (lambda: head().predict(F[:, :2]), ValueError, "features", "(6, 2)", ROWS),
    "predict images": (lambda: head().predict(F[None]), ValueError, "features", "(1, 6, 3)", ROWS),
    "score a list": (lambda: head().log_prob([[1.0]], L), TypeError, "features", "a list", "a torch.Tensor"),
    "score other features": (lambda: head().log_prob(F[:, :2], L), ValueError, "features", "(6, 2)", ROWS),
    "score a list of labels": (lambda: head().log_prob(F, [0] * 6), TypeError, "labels", "a list", "a tensor of whole numbers"),
    "score targets": (lambda: head().log_prob(F, Y), TypeError, "labels", "float32", "a tensor of whole numbers"),
    "score few labels": (lambda: head().log_prob(F, L[:5]), ValueError, "labels", "(5,)", ONE_EACH),
    "score another class": (lambda: head().log_prob(F, L + 1), ValueError, "labels", "outside in some row", "from 0 to 1"),
    "score without draws": (lambda: head().log_prob(F, L, samples=0), ValueError, "samples", "0", "at least 1"),
    "table of integers": (lambda: head().log_probabilities(F.long()), TypeError, "features", "int64", "floating"),
    "table of one row": (lambda: head().log_probabilities(F[0]), ValueError, "features", "(3,)", ROWS),
    "table of half a draw": (lambda: head().log_probabilities(F, samples=0.5), TypeError, "samples", "0.5", "a whole number"),
    "density of a list": (lambda: head().log_density([[1.0]], Y), TypeError, "features", "a list", "a torch.Tensor"),
    "density of labels": (lambda: head().log_density(F, L), TypeError, "targets", "int64", "floating"),
    "density of few targets": (lambda: head().log_density(F, Y[:5]), ValueError, "targets", "(5, 2)", "of shape (6, k)"),
    "density of one output": (lambda: head().log_density(F, Y[:, :1]), ValueError, "targets", "(6, 1)", "of shape (b, 2)"),
    "density of three outputs": (lambda: head().log_density(F, F), ValueError, "targets", "(6, 3)", "of shape (b, 2)"),
    "density of other features": (lambda: head().log_density(F[:, :2], Y), ValueError, "features", "(6, 2)", ROWS),
    "density of another dtype": (lambda: head().log_density(F, Y.double()), ValueError, "targets", "float64", "like features"),
    # its updates
    "update with a list": (lambda: head().update([[1.0]], Y), TypeError, "features", "a list", "a torch.Tensor"),
    "update with integers": (lambda: head().update(F.long(), Y), TypeError, "features", "int64", "floating"),
    "update with labels": (lambda: head().update(F, L), TypeError, "targets", "int64", "floating"),
    "update with None": (lambda: head().update(F, None), TypeError, "targets", "a NoneType", "a torch.Tensor"),
    "update with one row": (lambda: head().update(F[0], Y), ValueError, "features", "(3,)", "(n, p)"),
    "update with nothing": (lambda: head().update(F[:0], Y[:0]), ValueError, "features", "(0, 3)", "n and p at least 1"),
    "update with other features": (lambda: head().update(F[:, :2], Y), ValueError, "features", "(6, 2)", ROWS),
    "update with few targets": (lambda: head().update(F, Y[:5]), ValueError, "targets", "(5, 2)", "one row for each of features"),
    "update with flat targets": (lambda: head().update(F, Y[:, 0]), ValueError, "targets", "(6,)", "of shape (6, k)"),
    "update with one output": (lambda: head().update(F, Y[:, :1]), ValueError, "targets", "(6, 1)", "of shape (b, 2)"),
    "update with three outputs": (lambda: head().update(F, F), ValueError, "targets", "(6, 3)", "of shape (b, 2)"),
    "update of two dtypes": (lambda: head().update(F, Y.double()), ValueError, "targets", "float64", "of torch.float32 on cpu like features"),
    # features of unit norm
    "constant 0": (lambda: UnitFeatures(0), ValueError, "constant", "0", "(0, inf)"),
    "constant nan": (lambda: UnitFeatures(NAN), ValueError, "constant", "nan", "(0, inf)"),
    "constant None": (lambda: UnitFeatures(None), TypeError, "constant", "None", "(0, inf)"),
    "unit norm of a list": (lambda: UnitFeatures()([1.0]), TypeError, "features", "a list", "a torch.Tensor"),
    "unit norm of integers": (lambda: UnitFeatures()(F.long()), TypeError, "features", "int64", "floating"),
    # the average softmax
    "mean a list": (lambda: average(mean=[[0.0]]), TypeError, "mean", "a list", "a torch.Tensor"),
    "mean of integers": (lambda: average(mean=MEAN.long()), TypeError, "mean", "int64", "floating"),
    "mean of one row": (lambda: average(mean=MEAN[0]), ValueError, "mean", "(2,)", "of shape (b, K)"),
    "variance a number": (lambda: average(variance=1.0), TypeError, "variance", "a float", "a torch.Tensor"),
    "variance of other rows": (lambda: average(variance=VARIANCE[:5]), ValueError, "variance", "(5,)", "of shape (6,)"),
    "variance of every output": (lambda: average(variance=MEAN), ValueError, "variance", "(6, 2)", "of shape (6,)"),
    "scale a number": (lambda: average(scale=5.0), TypeError, "scale", "a float", "a torch.Tensor"),
    "noise None": (lambda: average(noise=None), TypeError, "noise", "a NoneType", "a torch.Tensor"),
    "noise of one draw": (lambda: average(noise=NOISE[0]), ValueError, "noise", "(6, 2)", "of shape (s, 6, 2)"),
    "noise of other outputs": (lambda: average(noise=NOISE[..., :1]), ValueError, "noise", "(4, 6, 1)", "of shape (s, 6, 2)"),
    # drifting data
    "no points": (lambda: moving_classes(0), ValueError, "n", "0", "at least 1"),
    "half a point": (lambda: moving_classes(0.5), TypeError, "n", "0.5", "a whole number"),
    "points by a word": (lambda: moving_classes(9, "sudden"), ValueError, "drift", "'sudden'", WORDS),
    "points by None": (lambda: moving_classes(9, None), ValueError, "drift", "None", WORDS),
    "points by a list": (lambda: moving_classes(9, ["slow"]), ValueError, "drift", "['slow']", WORDS),
    "segment 0": (lambda: moving_classes(9, segment=0), ValueError, "segment", "0", "at least 1"),
    "segment 1.5": (lambda: moving_classes(9, segment=1.5), TypeError, "segment", "1.5", "a whole number"),
    "turns inf": (lambda: moving_classes(9, turns=INF), ValueError, "turns", "inf", "(-inf, inf)"),
    "turns None": (lambda: moving_classes(9, turns=None), TypeError, "turns", "None", "(-inf, inf)"),
    "one moving class": (lambda: moving_classes(9, num_classes=1), ValueError, "num_classes", "1", "at least 2"),
    "half a moving class": (lambda: moving_classes(9, num_classes=2.5), TypeError, "num_classes", "2.5", "a whole number"),
    "std 0": (lambda: moving_classes(9, std=0), ValueError, "std", "0", "(0, inf)"),
    "std a word": (lambda: moving_classes(9, std="wide"), TypeError, "std", "'wide'", "(0, inf)"),
    "no digits": (lambda: digit_stream(0), ValueError, "n", "0", "at least 1"),
    "digits by a word": (lambda: digit_stream(9, "fast"), ValueError, "drift", "'fast'", WORDS),
    "digits in no segment": (lambda: digit_stream(9, segment=-1), ValueError, "segment", "-1", "at least 1"),
    "digits turned by nan": (lambda: digit_stream(9, turns=NAN), ValueError, "turns", "nan", "(-inf, inf)"),
    "digits turned by a word": (lambda: digit_stream(9, turns="once"), TypeError, "turns", "'once'", "(-inf, inf)"),
    # rivals: gradient steps
    "steps of no features": (lambda: SoftmaxSGD(0, 2, 0.1), ValueError, "num_features", "0", "at least 1"),
    "steps of one class": (lambda: SoftmaxSGD(3, 1, 0.1), ValueError, "num_classes", "1", "at least 2"),
    "steps of half a class": (lambda: SoftmaxSGD(3, 2.5, 0.1), TypeError, "num_classes", "2.5", "a whole number"),
    "steps of rate 0": (lambda: SoftmaxSGD(3, 2, 0), ValueError, "learning_rate", "0", "(0, inf)"),
    "steps of a word": (lambda: SoftmaxSGD(3, 2, "slow"), TypeError, "learning_rate", "'slow'", "(0, inf)"),
    "replay -1": (lambda: SoftmaxSGD(3, 2, 0.1, replay=-1), ValueError, "replay", "-1", "at least 0"),
    "replay True": (lambda: SoftmaxSGD(3, 2, 0.1, replay=True), TypeError, "replay", "True", "a whole number"),
    "memory 0": (lambda: SoftmaxSGD(3, 2, 0.1, memory=0), ValueError, "memory", "0", "at least 1"),
    "memory None": (lambda: SoftmaxSGD(3, 2, 0.1, memory=None), TypeError, "memory", "None", "a whole number"),
    # rivals: the regularised leader
    "leader of no features": (lambda: SoftmaxFTRL(0, 2, 0.1), ValueError, "num_features", "0", "at least 1"),
    "leader of one class": (lambda: SoftmaxFTRL(3, 1, 0.1), ValueError, "num_classes", "1", "at least 2"),
    "leader of rate inf": (lambda: SoftmaxFTRL(3, 2, INF), ValueError, "rate", "inf", "(0, inf)"),
    "leader of no rate": (lambda: SoftmaxFTRL(3, 2, None), TypeError, "rate", "None", "(0, inf)"),
    "leader pushed": (lambda: SoftmaxFTRL(3, 2, 0.1, -1), ValueError, "l2", "-1", "[0, inf)"),
    "leader pulled by a word": (lambda: SoftmaxFTRL(3, 2, 0.1, "much"), TypeError, "l2", "'much'", "[0, inf)"),
    # rivals: ridge that forgets
    "ridge of no features": (lambda: ForgetfulRidge(0, 2, 1, 1), ValueError, "num_features", "0", "at least 1"),
    "ridge of one class": (lambda: ForgetfulRidge(3, 1, 1, 1), ValueError, "num_classes", "1", "at least 2"),
    "ridge of penalty 0": (lambda: ForgetfulRidge(3, 2, 0, 1), ValueError, "penalty", "0", "(0, inf)"),
    "ridge of penalty None": (lambda: ForgetfulRidge(3, 2, None, 1), TypeError, "penalty", "None", "(0, inf)"),
    "ridge that gains": (lambda: ForgetfulRidge(3, 2, 1, 1.1), ValueError, "forgetting", "1.1", "[0, 1]"),
    "ridge that forgets a word": (lambda: ForgetfulRidge(3, 2, 1, "soon"), TypeError, "forgetting", "'soon'", "[0, 1]"),
    "ridge of alpha 0": (lambda: ForgetfulRidge(3, 2, 1, 1, alpha=0), ValueError, "alpha", "0", "(0, inf)"),
    "ridge of alpha_rate -1": (lambda: ForgetfulRidge(3, 2, 1, 1, alpha_rate=-1), ValueError, "alpha_rate", "-1", "[0, inf)"),
    # rivals: all weights
    "extend a function": (lambda: ExtendedKalman(torch.tanh, 2), TypeError, "network", "builtin_function", MODULE),
    "extend None": (lambda: ExtendedKalman(None, 2), TypeError, "network", "a NoneType", MODULE),
    "extend to one class": (lambda: ExtendedKalman(backbone(), 1), ValueError, "num_classes", "1", "at least 2"),
    "extend with weight_variance 0": (lambda: ExtendedKalman(backbone(), 3, 0), ValueError, "weight_variance", "0", "(0, inf)"),
    "extend with gamma 2": (lambda: ExtendedKalman(backbone(), 3, gamma=2), ValueError, "gamma", "2", "[0, 1]"),
    "extend with gamma None": (lambda: ExtendedKalman(backbone(), 3, gamma=None), TypeError, "gamma", "None", "[0, 1]"),
    "extend with jitter 0": (lambda: ExtendedKalman(backbone(), 3, jitter=0), ValueError, "jitter", "0", "(0, inf)"),
    # rivals: starting anew
    "reset a network": (lambda: ResetOnDrift(backbone(), list), TypeError, "head", "a Linear", "a KalmanHead"),
    "reset None": (lambda: ResetOnDrift(None, list), TypeError, "head", "a NoneType", "a KalmanHead"),
    "reset by a detector": (lambda: ResetOnDrift(head(), 3), TypeError, "detector", "a int", "a callable () -> detector"),
    "reset by None": (lambda: ResetOnDrift(head(), None), TypeError, "detector", "a NoneType", "a callable () -> detector"),
}  # fmt: skip


@pytest.mark.parametrize("call, error, argument, came, allowed", CASES.values(), ids=CASES.keys())  # noqa: PT006
def test_refused_with_one_sentence_that_names_argument_what_came_and_what_is_allowed(
    call, error, argument, came, allowed
):
    assert_refused(call, error, argument, came, allowed)


def test_a_stream_that_is_refused_has_moved_nothing():
    """It is refused at the call, before a state is asked for."""
    learner, module = head(), backbone()
    before = copy.deepcopy((learner.state_dict(), module.state_dict()))
    parts = {"backbone": module, "optimizer": walk(module)}
    for options in ({"batch_size": 0}, {"every": 0}, {"resume": {}}, {"labels": L + 1}, {"num_classes": 1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            stream(learner, **parts, **options)
    for part, kept in zip((learner, module), before, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in part.state_dict().items())


def test_an_update_that_is_refused_has_changed_nothing():
    kept = head(gamma=0.5)
    before = copy.deepcopy(kept.state_dict())
    for features, targets in ((F[:, :2], Y), (F, F), (F, Y[:5]), (F, Y.double()), (F[:0], Y[:0])):
        with pytest.raises(ValueError, match="but must be"):
            kept.update(features, targets)
    assert all(torch.equal(value, before[name]) for name, value in kept.state_dict().items())


def test_what_a_resume_needs_is_asked_of_no_fresh_start():
    require_resume(None, {"step", "weights"}, 1, torch.Generator())
    require_resume({"step": 8, "generator": None, "more": 1}, {"step"}, 9, None)
    generator = torch.Generator()
    require_resume({"step": 0, "generator": generator.get_state()}, {"step", "generator"}, 1, generator)


def test_a_setting_that_does_not_exist_is_named():
    for call in (
        lambda: head(delta=0.1),
        lambda: stream(learning_rate=0.1),
        lambda: SoftmaxSGD(3, 2, 0.1, momentum=0.9),
    ):
        with pytest.raises(TypeError, match="delta|learning_rate|momentum"):
            call()


def test_numbers_of_numpy_and_whole_numbers_do_as_well():
    random, targets = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), centred_one_hot(L, np.int64(2))
    ours = head(
        weight_variance=np.float64(2), noise_variance=np.float32(0.5), gamma=np.float64(0.5), alpha=2, gamma_rate=1
    )
    other = head(weight_variance=2, noise_variance=0.5, gamma=0.5, alpha=2.0)
    for each in (ours, other):
        each.update(random, targets)
    assert torch.equal(ours.mean, other.mean)
    assert torch.equal(ours.covariance, other.covariance)
    assert len(list(stream(batch_size=np.int64(4), every=np.int64(1)))) == 2
    assert len(moving_classes(np.int64(7), segment=np.int64(2), std=1).changes) == 3
    assert stream(labels=L.to(torch.uint8)) is not None
