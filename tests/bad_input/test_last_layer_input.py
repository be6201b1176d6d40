"""Least squares and the closed-form last layer refuse bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from companion.foundations.linear import RecursiveLeastSquares, ridge, ridge_ex
from companion.methods.last_layer import (
    LastLayer,
    closed_form_loss,
    deep_iv,
    proximal_last_layer,
    solve_last_layer,
    train_closed_form,
    train_last_layer,
    with_bias,
)
from tests.bad_input.sentences import assert_refused

F, Y, W = torch.ones(6, 3), torch.zeros(6, 2), torch.zeros(3, 2)
X = torch.linspace(-1, 1, 12).reshape(6, 2)
NAN, INF = float("nan"), float("inf")


class Constant(nn.Module):
    """A backbone that gives what it was told to, whatever it is shown."""

    def __init__(self, value) -> None:
        super().__init__()
        self.value, self.weight = value, nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.value


def backbone(inputs: int = 2, p: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(inputs, p)


def memory(weights=W, penalty=1.0, forgetting=0.9):
    return RecursiveLeastSquares(weights, penalty, forgetting)


def train(module=None, data=(X, Y), steps=3, *rest, **options):
    return train_closed_form(backbone() if module is None else module, data, steps, *rest, **options)


def plain(module=None, data=(X, Y), steps=3, layer=LastLayer, **options):
    return train_last_layer(backbone() if module is None else module, data, steps, layer, **options)


def stages(phi=None, psi=None, first=(X, X), second=(X, Y), steps=3, **options):
    phi = backbone() if phi is None else phi
    return deep_iv(phi, backbone() if psi is None else psi, first, second, steps, **options)


def draw(n, generator):
    return torch.ones(n, 2), torch.zeros(n, 2)


def last(states):
    *_, state = states
    return state


SAVED, WITH_GENERATOR = (
    next(train(mode="proximal", every=2, generator=generator)).state_dict()
    for generator in (None, torch.Generator().manual_seed(0))
)
SAVED_IV = next(stages(every=2)).state_dict()
ROWS = "of shape (6, k), one row for each of features"
PAIR = "a pair of tensors (inputs, targets), or a callable"
STATE = "a state's state_dict()"
TWO = "a pair of numbers, one for each stage"
WALK = "a callable (parameters, lr=...) -> optimizer"

CASES = {
    # ridge
    "features a list": (lambda: ridge([[1.0]], Y, 1), TypeError, "features", "a list", "a torch.Tensor"),
    "features of integers": (lambda: ridge(F.long(), Y, 1), TypeError, "features", "int64", "floating"),
    "features of one row": (lambda: ridge(F[0], Y, 1), ValueError, "features", "(3,)", "(n, p)"),
    "features of a grid": (lambda: ridge(F[None], Y, 1), ValueError, "features", "(1, 6, 3)", "(n, p)"),
    "no rows": (lambda: ridge(F[:0], Y[:0], 1), ValueError, "features", "(0, 3)", "n and p at least 1"),
    "no features": (lambda: ridge(F[:, :0], Y, 1), ValueError, "features", "(6, 0)", "n and p at least 1"),
    "targets None": (lambda: ridge(F, None, 1), TypeError, "targets", "a NoneType", "a torch.Tensor"),
    "targets of integers": (lambda: ridge(F, Y.long(), 1), TypeError, "targets", "int64", "floating"),
    "targets in one row": (lambda: ridge(F, Y[:, 0], 1), ValueError, "targets", "(6,)", ROWS),
    "targets too few": (lambda: ridge(F, Y[:5], 1), ValueError, "targets", "(5, 2)", ROWS),
    "targets of a grid": (lambda: ridge(F, Y[..., None], 1), ValueError, "targets", "(6, 2, 1)", ROWS),
    "targets of another dtype": (lambda: ridge(F, Y.double(), 1), ValueError, "targets", "float64", "of torch.float32 on cpu like features"),
    "targets elsewhere": (lambda: ridge(F, Y.to("meta"), 1), ValueError, "targets", "on meta", "on cpu like features"),
    "penalty -1": (lambda: ridge(F, Y, -1), ValueError, "penalty", "-1", "[0, inf)"),
    "penalty nan": (lambda: ridge(F, Y, NAN), ValueError, "penalty", "nan", "[0, inf)"),
    "penalty inf": (lambda: ridge(F, Y, INF), ValueError, "penalty", "inf", "[0, inf)"),
    "penalty None": (lambda: ridge(F, Y, None), TypeError, "penalty", "None", "[0, inf)"),
    "penalty True": (lambda: ridge(F, Y, True), TypeError, "penalty", "True", "[0, inf)"),
    "penalty a tensor": (lambda: ridge(F, Y, torch.tensor(1.0)), TypeError, "penalty", "tensor(1.)", "[0, inf)"),
    "prior a number": (lambda: ridge(F, Y, 1, 0.0), TypeError, "prior", "a float", "a torch.Tensor"),
    "prior of integers": (lambda: ridge(F, Y, 1, W.long()), TypeError, "prior", "int64", "floating"),
    "prior upside down": (lambda: ridge(F, Y, 1, W.T), ValueError, "prior", "(2, 3)", "of shape (3, 2)"),
    "prior of one output": (lambda: ridge(F, Y, 1, W[:, :1]), ValueError, "prior", "(3, 1)", "of shape (3, 2)"),
    "prior elsewhere": (lambda: ridge(F, Y, 1, W.to("meta")), ValueError, "prior", "on meta", "on cpu like features"),
    "ridge_ex of a list": (lambda: ridge_ex([1], Y, 1), TypeError, "features", "a list", "a torch.Tensor"),
    "ridge_ex of few targets": (lambda: ridge_ex(F, Y[:5], 1), ValueError, "targets", "(5, 2)", ROWS),
    "ridge_ex with penalty -1": (lambda: ridge_ex(F, Y, -1), ValueError, "penalty", "-1", "[0, inf)"),
    "ridge_ex with a wrong prior": (lambda: ridge_ex(F, Y, 1, W[:2]), ValueError, "prior", "(2, 2)", "of shape (3, 2)"),
    # recursive least squares
    "memory of a list": (lambda: memory([[0.0]]), TypeError, "weights", "a list", "a torch.Tensor"),
    "memory of integers": (lambda: memory(W.long()), TypeError, "weights", "int64", "floating"),
    "memory of one row": (lambda: memory(W[0]), ValueError, "weights", "(2,)", "of shape (p, k)"),
    "memory of a grid": (lambda: memory(W[None]), ValueError, "weights", "(1, 3, 2)", "of shape (p, k)"),
    "memory without a penalty": (lambda: memory(penalty=0), ValueError, "penalty", "0", "(0, inf)"),
    "memory with a penalty of inf": (lambda: memory(penalty=INF), ValueError, "penalty", "inf", "(0, inf)"),
    "memory with a word": (lambda: memory(penalty="weak"), TypeError, "penalty", "'weak'", "(0, inf)"),
    "forgetting below 0": (lambda: memory(forgetting=-0.1), ValueError, "forgetting", "-0.1", "[0, 1]"),
    "forgetting above 1": (lambda: memory(forgetting=1.01), ValueError, "forgetting", "1.01", "[0, 1]"),
    "forgetting nan": (lambda: memory(forgetting=NAN), ValueError, "forgetting", "nan", "[0, 1]"),
    "forgetting None": (lambda: memory(forgetting=None), TypeError, "forgetting", "None", "[0, 1]"),
    "update with a list": (lambda: memory().update([[1.0]], Y), TypeError, "features", "a list", "a torch.Tensor"),
    "update with no rows": (lambda: memory().update(F[:0], Y[:0]), ValueError, "features", "(0, 3)", "n and p at least 1"),
    "update with few targets": (lambda: memory().update(F, Y[:5]), ValueError, "targets", "(5, 2)", ROWS),
    "update of two dtypes": (lambda: memory().update(F, Y.double()), ValueError, "targets", "float64", "like features"),
    "update of other features": (lambda: memory().update(X, Y), ValueError, "weights", "(3, 2)", "of shape (2, 2)"),
    "update of other outputs": (lambda: memory().update(F, F), ValueError, "weights", "(3, 2)", "of shape (3, 3)"),
    "update elsewhere": (lambda: memory().update(F.to("meta"), Y.to("meta")), ValueError, "weights", "on cpu", "on meta"),
    "update_ex of other outputs": (lambda: memory().update_ex(F, F), ValueError, "weights", "(3, 2)", "of shape (3, 3)"),
    # one solve
    "solve a list": (lambda: solve_last_layer([[1.0]], Y, 1), TypeError, "features", "a list", "a torch.Tensor"),
    "solve integers": (lambda: solve_last_layer(F.long(), Y, 1), TypeError, "features", "int64", "floating"),
    "solve a grid": (lambda: solve_last_layer(F[None], Y, 1), ValueError, "features", "(1, 6, 3)", "(n, p)"),
    "solve few targets": (lambda: solve_last_layer(F, Y[:5], 1), ValueError, "targets", "(5, 2)", ROWS),
    "solve for None": (lambda: solve_last_layer(F, None, 1), TypeError, "targets", "a NoneType", "a torch.Tensor"),
    "solve with ridge -1": (lambda: solve_last_layer(F, Y, -1), ValueError, "ridge", "-1", "[0, inf)"),
    "solve with ridge nan": (lambda: solve_last_layer(F, Y, NAN), ValueError, "ridge", "nan", "[0, inf)"),
    "solve with a word": (lambda: solve_last_layer(F, Y, "little"), TypeError, "ridge", "'little'", "[0, inf)"),
    "solve with a tensor": (lambda: solve_last_layer(F, Y, torch.ones(())), TypeError, "ridge", "tensor(1.)", "[0, inf)"),
    "step of a list": (lambda: proximal_last_layer([1.0], Y, W, 1), TypeError, "features", "a list", "a torch.Tensor"),
    "step with few targets": (lambda: proximal_last_layer(F, Y[:5], W, 1), ValueError, "targets", "(5, 2)", ROWS),
    "step from another shape": (lambda: proximal_last_layer(F, Y, W.T, 1), ValueError, "previous", "(2, 3)", "of shape (3, 2)"),
    "step from a list": (lambda: proximal_last_layer(F, Y, [0.0], 1), TypeError, "previous", "a list", "a torch.Tensor"),
    "step from nothing": (lambda: proximal_last_layer(F, Y, None, 1), TypeError, "previous", "a NoneType", "a torch.Tensor"),
    "step of strength -1": (lambda: proximal_last_layer(F, Y, W, -1), ValueError, "strength", "-1", "[0, inf)"),
    "step of strength inf": (lambda: proximal_last_layer(F, Y, W, INF), ValueError, "strength", "inf", "[0, inf)"),
    "step of strength None": (lambda: proximal_last_layer(F, Y, W, None), TypeError, "strength", "None", "[0, inf)"),
    "loss of a list": (lambda: closed_form_loss([F], Y, 1), TypeError, "features", "a list", "a torch.Tensor"),
    "loss of integers": (lambda: closed_form_loss(F, Y.long(), 1), TypeError, "targets", "int64", "floating"),
    "loss for a list": (lambda: closed_form_loss(F, [0.0], 1), TypeError, "targets", "a list", "a torch.Tensor"),
    "loss of a grid": (lambda: closed_form_loss(F[None], Y, 1), ValueError, "features", "(1, 6, 3)", "(n, p)"),
    "loss with ridge -1": (lambda: closed_form_loss(F, Y, -1), ValueError, "ridge", "-1", "[0, inf)"),
    "loss with ridge None": (lambda: closed_form_loss(F, Y, None), TypeError, "ridge", "None", "[0, inf)"),
    "bias of a list": (lambda: with_bias([1.0]), TypeError, "features", "a list", "a torch.Tensor"),
    "bias of integers": (lambda: with_bias(F.long()), TypeError, "features", "int64", "floating"),
    "bias of a number": (lambda: with_bias(torch.tensor(1.0)), ValueError, "features", "()", "(..., p)"),
    # training
    "train a function": (lambda: train(torch.tanh), TypeError, "backbone", "builtin_function_or_method", "a torch.nn.Module"),
    "train a class": (lambda: train(nn.Linear), TypeError, "backbone", "a type", "a torch.nn.Module"),
    "train on None": (lambda: train(data=None), TypeError, "data", "a NoneType", PAIR),
    "train on a tensor": (lambda: train(data=X), TypeError, "data", "a Tensor", PAIR),
    "train on a list": (lambda: train(data=[X, Y]), TypeError, "data", "a list", PAIR),
    "train on three tensors": (lambda: train(data=(X, Y, Y)), TypeError, "data", "a tuple", PAIR),
    "train on arrays": (lambda: train(data=(X.numpy(), Y.numpy())), TypeError, "data", "a tuple", PAIR),
    "train on labels": (lambda: train(data=(X, Y.long())), TypeError, "data[1]", "int64", "floating"),
    "train on fewer targets": (lambda: train(data=(X, Y[:5])), ValueError, "data", "(6, 2) and (5, 2)", "of as many rows"),
    "train on flat targets": (lambda: train(data=(X, Y[:, 0])), ValueError, "data", "(6, 2) and (6,)", "targets (rows, ..., k)"),
    "train on nothing": (lambda: train(data=(X[:0], Y[:0])), ValueError, "data", "(0, 2) and (0, 2)", "at least one"),
    "train on a number": (lambda: train(data=(X[0, 0], Y)), ValueError, "data", "() and (6, 2)", "inputs (rows, ...)"),
    "a callable without a size": (lambda: train(data=draw), ValueError, "batch_size", "None", "as data is a callable"),
    "batch_size 0": (lambda: train(batch_size=0), ValueError, "batch_size", "0", "at least 1"),
    "batch_size 2.5": (lambda: train(batch_size=2.5), TypeError, "batch_size", "2.5", "a whole number"),
    "batch_size True": (lambda: train(batch_size=True), TypeError, "batch_size", "True", "a whole number"),
    "no step": (lambda: train(steps=0), ValueError, "steps", "0", "at least 1"),
    "half a step": (lambda: train(steps=0.5), TypeError, "steps", "0.5", "a whole number"),
    "mode of a word": (lambda: train(mode="newton"), ValueError, "mode", "'newton'", "one of 'full', 'proximal', 'recursive'"),
    "mode None": (lambda: train(mode=None), ValueError, "mode", "None", "one of 'full', 'proximal', 'recursive'"),
    "mode a list": (lambda: train(mode=["full"]), ValueError, "mode", "['full']", "one of 'full', 'proximal', 'recursive'"),
    "ridge -1": (lambda: train(ridge=-1), ValueError, "ridge", "-1", "[0, inf)"),
    "ridge None": (lambda: train(ridge=None), TypeError, "ridge", "None", "[0, inf)"),
    "strength 0": (lambda: train(mode="proximal", strength=0), ValueError, "strength", "0", "(0, inf)"),
    "strength inf": (lambda: train(mode="recursive", strength=INF), ValueError, "strength", "inf", "(0, inf)"),
    "strength a tensor": (lambda: train(strength=torch.ones(())), TypeError, "strength", "tensor(1.)", "(0, inf)"),
    "forgetting 2": (lambda: train(mode="recursive", forgetting=2), ValueError, "forgetting", "2", "[0, 1]"),
    "forgetting a word": (lambda: train(forgetting="soon"), TypeError, "forgetting", "'soon'", "[0, 1]"),
    "solve_dtype a word": (lambda: train(solve_dtype="float64"), TypeError, "solve_dtype", "'float64'", "a floating torch.dtype"),
    "solve_dtype of integers": (lambda: train(solve_dtype=torch.long), TypeError, "solve_dtype", "torch.int64", "a floating torch.dtype"),
    "learning_rate 0": (lambda: train(learning_rate=0), ValueError, "learning_rate", "0", "(0, inf)"),
    "learning_rate nan": (lambda: train(learning_rate=NAN), ValueError, "learning_rate", "nan", "(0, inf)"),
    "optimizer a word": (lambda: train(optimizer="adam"), TypeError, "optimizer", "a str", WALK),
    "optimizer None": (lambda: train(optimizer=None), TypeError, "optimizer", "a NoneType", WALK),
    "every 0": (lambda: train(every=0), ValueError, "every", "0", "at least 1"),
    "every 1.5": (lambda: train(every=1.5), TypeError, "every", "1.5", "a whole number"),
    "resume a word": (lambda: train(resume="there"), ValueError, "resume", "a str", STATE),
    "resume from nothing": (lambda: train(resume={}), ValueError, "resume", "a dict without all it needs", STATE),
    "resume of two stages": (lambda: train(resume=SAVED_IV), ValueError, "resume", "a dict without all it needs", STATE),
    "resume from the end": (lambda: train(steps=2, resume=SAVED), ValueError, "resume", "at step 2", "before the last step, 2"),
    "resume with a new generator": (lambda: train(resume=SAVED, generator=torch.Generator()), ValueError, "generator", "torch", "exactly when"),
    "resume without its generator": (lambda: train(resume=WITH_GENERATOR), ValueError, "generator", "None", "exactly when"),
    "features a tuple": (lambda: train(Constant((F, F))), ValueError, "what backbone gives", "a tuple", "features (b, ..., p)"),
    "features without rows": (lambda: train(Constant(F[0])), ValueError, "what backbone gives", "(3,)", "features (b, ..., p)"),
    "whole features": (lambda: train(Constant(F.long())), TypeError, "what backbone gives", "int64", "floating"),
    "features of other rows": (lambda: train(Constant(F)), ValueError, "backbone", "giving features of shape (6, 3)", "(1, 'p')"),
    "features of a grid of another shape": (lambda: train(data=(X[:, None], Y)), ValueError, "backbone", "(1, 1, 3)", "(1, 'p')"),
    # any rule
    "rule a word": (lambda: plain(layer="full"), TypeError, "layer", "a str", "a callable (weights, rows) -> LastLayer"),
    "rule of nothing": (lambda: plain(layer=lambda weights, rows: None), TypeError, "layer", "giving a NoneType", "giving a LastLayer"),
    "rule of a network": (lambda: plain(layer=lambda weights, rows: backbone()), TypeError, "layer", "giving a Linear", "giving a LastLayer"),
    "rule for a function": (lambda: plain(torch.tanh), TypeError, "backbone", "builtin_function_or_method", "a torch.nn.Module"),
    "rule for no step": (lambda: plain(steps=0), ValueError, "steps", "0", "at least 1"),
    "rule without data": (lambda: plain(data=None), TypeError, "data", "a NoneType", PAIR),
    "rule with rate inf": (lambda: plain(learning_rate=INF), ValueError, "learning_rate", "inf", "(0, inf)"),
    "rule with every 0": (lambda: plain(every=0), ValueError, "every", "0", "at least 1"),
    "rule with no walk": (lambda: plain(optimizer=1), TypeError, "optimizer", "a int", WALK),
    "rule with no resume": (lambda: plain(resume=[]), ValueError, "resume", "a list", STATE),
    # two stages
    "phi a function": (lambda: stages(torch.tanh), TypeError, "instrument_backbone", "builtin_function", "a torch.nn.Module"),
    "psi a function": (lambda: stages(psi=torch.tanh), TypeError, "treatment_backbone", "builtin_function", "a torch.nn.Module"),
    "first a tensor": (lambda: stages(first=X), TypeError, "first", "a Tensor", PAIR),
    "first of labels": (lambda: stages(first=(X, X.long())), TypeError, "first[1]", "int64", "floating"),
    "first of other rows": (lambda: stages(first=(X, X[:5])), ValueError, "first", "(6, 2) and (5, 2)", "of as many rows"),
    "first a callable": (lambda: stages(first=draw), ValueError, "batch_size", "None", "as first is a callable"),
    "second None": (lambda: stages(second=None), TypeError, "second", "a NoneType", PAIR),
    "second of labels": (lambda: stages(second=(X, Y.long())), TypeError, "second[1]", "int64", "floating"),
    "second of flat outcomes": (lambda: stages(second=(X, Y[:, 0])), ValueError, "second", "(6, 2) and (6,)", "targets (rows, ..., k)"),
    "second a callable": (lambda: stages(second=draw), ValueError, "batch_size", "None", "as second is a callable"),
    "stages of no step": (lambda: stages(steps=0), ValueError, "steps", "0", "at least 1"),
    "stages of no rows": (lambda: stages(batch_size=0), ValueError, "batch_size", "0", "at least 1"),
    "one strength": (lambda: stages(strengths=0.1), ValueError, "strengths", "0.1", TWO),
    "strengths in a list": (lambda: stages(strengths=[0.1, 0.1]), ValueError, "strengths", "[0.1, 0.1]", TWO),
    "three strengths": (lambda: stages(strengths=(0.1,) * 3), ValueError, "strengths", "(0.1, 0.1, 0.1)", TWO),
    "first strength 0": (lambda: stages(strengths=(0, 0.1)), ValueError, "strengths", "0", "(0, inf)"),
    "second strength nan": (lambda: stages(strengths=(0.1, NAN)), ValueError, "strengths", "nan", "(0, inf)"),
    "second strength None": (lambda: stages(strengths=(0.1, None)), TypeError, "strengths", "None", "(0, inf)"),
    "inner_steps 0": (lambda: stages(inner_steps=0), ValueError, "inner_steps", "0", "at least 1"),
    "inner_steps 1.5": (lambda: stages(inner_steps=1.5), TypeError, "inner_steps", "1.5", "a whole number"),
    "stages with rate 0": (lambda: stages(learning_rate=0), ValueError, "learning_rate", "0", "(0, inf)"),
    "stages with a word": (lambda: stages(optimizer="adam"), TypeError, "optimizer", "a str", WALK),
    "stages with every 0": (lambda: stages(every=0), ValueError, "every", "0", "at least 1"),
    "stages from nothing": (lambda: stages(resume={}), ValueError, "resume", "a dict without all it needs", STATE),
    "stages from a last layer": (lambda: stages(resume=SAVED), ValueError, "resume", "a dict without all it needs", STATE),
    "stages from the end": (lambda: stages(steps=2, resume=SAVED_IV), ValueError, "resume", "at step 2", "before the last step, 2"),
    "stages with a new generator": (lambda: stages(resume=SAVED_IV, generator=torch.Generator()), ValueError, "generator", "torch", "exactly when"),
    "phi without rows": (lambda: stages(Constant(F[0])), ValueError, "what instrument_backbone gives", "(3,)", "features (b, "),
    "psi without rows": (lambda: stages(psi=Constant(F[0])), ValueError, "what treatment_backbone gives", "(3,)", "features (b, "),
    "psi whole": (lambda: stages(psi=Constant(F.long())), TypeError, "what treatment_backbone gives", "int64", "floating"),
}  # fmt: skip


@pytest.mark.parametrize("call, error, argument, came, allowed", CASES.values(), ids=CASES.keys())  # noqa: PT006
def test_refused_with_one_sentence_that_names_argument_what_came_and_what_is_allowed(
    call, error, argument, came, allowed
):
    assert_refused(call, error, argument, came, allowed)


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"strength": 0}, {"batch_size": 0}, {"every": 0}, {"resume": {}}], ids=str
)
def test_training_that_is_refused_has_moved_nothing(options):
    module = backbone().eval()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match=next(iter(options))):
        train(module, **options)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not module.training


def test_an_update_that_is_refused_has_changed_nothing():
    kept = memory()
    before = copy.deepcopy(kept.state_dict())
    for features, targets in ((X, Y), (F, F), (F, Y[:5]), (F, Y.double())):
        with pytest.raises(ValueError, match="but must be"):
            kept.update(features, targets)
    assert all(torch.equal(value, before[name]) for name, value in kept.state_dict().items())


def test_a_setting_that_does_not_exist_is_named():
    with pytest.raises(TypeError, match="learning_rates"):
        train(learning_rates=0.1)


def test_numbers_of_numpy_and_whole_numbers_do_as_well():
    random = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ridge(random, Y + 1, np.float64(2)), ridge(random, Y + 1, 2))
    assert torch.equal(solve_last_layer(random, Y + 1, np.float32(0.5)), solve_last_layer(random, Y + 1, 0.5))
    kept = memory(penalty=np.float64(2), forgetting=np.float32(0.5))
    kept.update(random, Y + 1)
    other = memory(penalty=2, forgetting=0.5)
    other.update(random, Y + 1)
    assert torch.equal(kept.weights, other.weights)
    for mode in ("full", "proximal", "recursive"):
        numbers = {"ridge": np.float64(1), "strength": np.float32(1), "forgetting": np.int64(1), "every": np.int64(1)}
        ends = [
            last(train(None, (X, Y + X), np.int64(2), mode, batch_size=np.int64(4), generator=g, **numbers))
            for g in (torch.Generator().manual_seed(0), torch.Generator().manual_seed(0))
        ]
        assert torch.equal(ends[0].weights, ends[1].weights)


def test_inputs_may_be_whole_and_batches_larger_than_the_data():
    words = torch.randint(5, (6,), generator=torch.Generator().manual_seed(0))
    module = nn.Embedding(5, 3)
    for mode in ("full", "proximal", "recursive"):
        state = last(train(module, (words, Y + 1), 2, mode, batch_size=50, ridge=0.1))
        assert state.predict(words).shape == (6, 2)
    state = last(stages(first=draw, second=draw, batch_size=50, strengths=(1, 1)))
    assert state.predict(X).shape == (6, 2)
