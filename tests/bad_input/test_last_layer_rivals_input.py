"""The rivals of the closed-form last layer refuse bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

from functools import partial

import pytest
import torch
from torch import nn

from companion.methods.last_layer import train_last_layer
from companion.methods.rivals.first_layer import SolvedFirst, solve_first_layer
from companion.methods.rivals.gauss_newton import train_gauss_newton
from companion.methods.rivals.joint import GradientStep, JointLayer, MovingAverage, ThroughSolve
from tests.bad_input.sentences import assert_refused

X, Y, W = torch.linspace(-1, 1, 12).reshape(6, 2), torch.zeros(6, 2), torch.zeros(3, 2)
NAN, INF = float("nan"), float("inf")


def backbone() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(2, 3)


def newton(module=None, data=(X, Y), steps=3, **options):
    return train_gauss_newton(backbone() if module is None else module, data, steps, **options)


def joint(**options):
    return train_last_layer(backbone(), (X, Y), 3, partial(JointLayer, **options))


def draw(n, generator):
    return torch.ones(n, 2), torch.zeros(n, 2)


class Double(nn.Module):
    """Parameters of one dtype, features of another."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3).double()

    def forward(self, x):
        return self.linear(x.double()).float()


class Waves(nn.Module):
    """Complex parameters, real features."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 3, dtype=torch.complex64))

    def forward(self, x):
        return (x.to(torch.complex64) @ self.weight).real


SAVED = next(newton(every=2)).state_dict()
WITH_GENERATOR = next(newton(every=2, generator=torch.Generator())).state_dict()
WALKED = next(train_last_layer(backbone(), (X, Y), 3, JointLayer, every=2)).state_dict()
PAIR = "a pair of tensors (inputs, targets), or a callable"
STATE = "a state's state_dict()"

CASES = {
    # rules of the last layer
    "rate_factor 0": (lambda: JointLayer(W, 6, rate_factor=0), ValueError, "rate_factor", "0", "(0, inf)"),
    "rate_factor nan": (lambda: JointLayer(W, 6, rate_factor=NAN), ValueError, "rate_factor", "nan", "(0, inf)"),
    "rate_factor a word": (lambda: JointLayer(W, 6, rate_factor="slow"), TypeError, "rate_factor", "'slow'", "(0, inf)"),
    "rate_factor in training": (lambda: joint(rate_factor=-1.0), ValueError, "rate_factor", "-1.0", "(0, inf)"),
    "joint with ridge 0": (lambda: JointLayer(W, 6, ridge=0), ValueError, "ridge", "0", "(0, inf)"),
    "joint with a word": (lambda: JointLayer(W, 6, ridge="solved"), TypeError, "ridge", "'solved'", "(0, inf)"),
    "joint with True": (lambda: JointLayer(W, 6, ridge=True), TypeError, "ridge", "True", "(0, inf)"),
    "rate 0": (lambda: GradientStep(W, 6, rate=0), ValueError, "rate", "0", "(0, inf)"),
    "rate inf": (lambda: GradientStep(W, 6, rate=INF), ValueError, "rate", "inf", "(0, inf)"),
    "rate None": (lambda: GradientStep(W, 6, rate=None), TypeError, "rate", "None", "(0, inf)"),
    "step with ridge -1": (lambda: GradientStep(W, 6, ridge=-1), ValueError, "ridge", "-1", "(0, inf)"),
    "through with ridge -1": (lambda: ThroughSolve(W, 6, ridge=-1), ValueError, "ridge", "-1", "[0, inf)"),
    "through with None": (lambda: ThroughSolve(W, 6, ridge=None), TypeError, "ridge", "None", "[0, inf)"),
    "average with ridge 0": (lambda: MovingAverage(W, 6, ridge=0), ValueError, "ridge", "0", "(0, inf)"),
    "average with a tensor": (lambda: MovingAverage(W, 6, ridge=W[0, 0]), TypeError, "ridge", "tensor(0.)", "(0, inf)"),
    "keep all": (lambda: MovingAverage(W, 6, keep=1), ValueError, "keep", "1", "[0, 1)"),
    "keep -0.1": (lambda: MovingAverage(W, 6, keep=-0.1), ValueError, "keep", "-0.1", "[0, 1)"),
    "keep a word": (lambda: MovingAverage(W, 6, keep="most"), TypeError, "keep", "'most'", "[0, 1)"),
    # Gauss-Newton
    "a function": (lambda: newton(torch.tanh), TypeError, "backbone", "builtin_function_or_method", "a torch.nn.Module"),
    "a class": (lambda: newton(nn.Linear), TypeError, "backbone", "a type", "a torch.nn.Module"),
    "of two dtypes": (lambda: newton(Double()), ValueError, "backbone", "parameters of torch.float64", "of torch.float32, like its features"),
    "complex": (lambda: newton(Waves()), ValueError, "backbone", "parameters of torch.complex64", "of torch.float32, like its features"),
    "on None": (lambda: newton(data=None), TypeError, "data", "a NoneType", PAIR),
    "on a list": (lambda: newton(data=[X, Y]), TypeError, "data", "a list", PAIR),
    "on labels": (lambda: newton(data=(X, Y.long())), TypeError, "data[1]", "int64", "floating"),
    "on fewer targets": (lambda: newton(data=(X, Y[:5])), ValueError, "data", "(6, 2) and (5, 2)", "of as many rows"),
    "on flat targets": (lambda: newton(data=(X, Y[:, 0])), ValueError, "data", "(6, 2) and (6,)", "targets (rows, ..., k)"),
    "on a grid of targets": (lambda: newton(data=(X, Y[:, None])), ValueError, "backbone", "giving features of shape (1, 3)", "(1, 1, 'p')"),
    "a callable without a size": (lambda: newton(data=draw), ValueError, "batch_size", "None", "as data is a callable"),
    "no step": (lambda: newton(steps=0), ValueError, "steps", "0", "at least 1"),
    "half a step": (lambda: newton(steps=0.5), TypeError, "steps", "0.5", "a whole number"),
    "batch_size 0": (lambda: newton(batch_size=0), ValueError, "batch_size", "0", "at least 1"),
    "damping 0": (lambda: newton(damping=0), ValueError, "damping", "0", "(0, inf)"),
    "damping nan": (lambda: newton(damping=NAN), ValueError, "damping", "nan", "(0, inf)"),
    "damping a tensor": (lambda: newton(damping=torch.ones(())), TypeError, "damping", "tensor(1.)", "(0, inf)"),
    "damping None": (lambda: newton(damping=None), TypeError, "damping", "None", "(0, inf)"),
    "learning_rate 0": (lambda: newton(learning_rate=0), ValueError, "learning_rate", "0", "(0, 1]"),
    "learning_rate 2": (lambda: newton(learning_rate=2), ValueError, "learning_rate", "2", "(0, 1]"),
    "learning_rate a word": (lambda: newton(learning_rate="full"), TypeError, "learning_rate", "'full'", "(0, 1]"),
    "every 0": (lambda: newton(every=0), ValueError, "every", "0", "at least 1"),
    "resume a word": (lambda: newton(resume="there"), ValueError, "resume", "a str", STATE),
    "resume from nothing": (lambda: newton(resume={}), ValueError, "resume", "a dict without all it needs", STATE),
    "resume of another method": (lambda: newton(resume=WALKED), ValueError, "resume", "a dict without all it needs", STATE),
    "resume by another method": (lambda: train_last_layer(backbone(), (X, Y), 3, JointLayer, resume=SAVED), ValueError, "resume", "a dict without all it needs", STATE),
    "resume at the end": (lambda: newton(steps=2, resume=SAVED), ValueError, "resume", "at step 2", "before the last step, 2"),
    "resume without": (lambda: newton(resume=WITH_GENERATOR), ValueError, "generator", "None", "given exactly when"),
    "resume with": (lambda: newton(resume=SAVED, generator=torch.Generator()), ValueError, "generator", "torch", "given exactly when"),
    # the first layer
    "first layer of a function": (lambda: solve_first_layer(torch.tanh), TypeError, "module", "builtin_function", "a torch.nn.Module"),
    "first layer of None": (lambda: solve_first_layer(None), TypeError, "module", "a NoneType", "a torch.nn.Module"),
    "first layer of none": (lambda: solve_first_layer(nn.Tanh()), ValueError, "module", "a Tanh without one", "with an nn.Linear"),
    "first layer damped by 0": (lambda: solve_first_layer(backbone(), 0), ValueError, "damping", "0", "(0, inf)"),
    "first layer damped by None": (lambda: solve_first_layer(backbone(), None), TypeError, "damping", "None", "(0, inf)"),
    "first layer twice": (
        lambda: solve_first_layer(solve_first_layer(nn.Sequential(backbone(), nn.Linear(3, 3)))),
        ValueError, "module", "solved already", "changed only once",
    ),
    "a convolution": (lambda: SolvedFirst(nn.Conv1d(2, 3, 1)), TypeError, "linear", "a Conv1d", "an nn.Linear"),
    "damped by -1": (lambda: SolvedFirst(backbone(), -1), ValueError, "damping", "-1", "(0, inf)"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "argument", "came", "allowed"), CASES.values(), ids=CASES.keys())
def test_bad_input_is_refused_in_one_sentence(call, error, argument, came, allowed):
    assert_refused(call, error, argument, came, allowed)


def test_what_is_refused_changes_nothing():
    module = nn.Sequential(backbone(), nn.Linear(3, 3))
    with pytest.raises(ValueError, match="damping"):
        solve_first_layer(module, -1)
    assert isinstance(module[0], nn.Linear)


@pytest.mark.parametrize(
    "good",
    [
        lambda: joint(rate_factor=1, ridge=1),
        lambda: train_last_layer(backbone(), (X, Y), 3, partial(GradientStep, rate=1)),
        lambda: train_last_layer(backbone(), (X, Y), 3, partial(ThroughSolve, ridge=1)),
        lambda: train_last_layer(backbone(), (X, Y), 3, partial(MovingAverage, ridge=1, keep=0)),
        lambda: newton(damping=1, learning_rate=1),
        lambda: newton(data=draw, batch_size=4, adapt=True, generator=torch.Generator()),
        lambda: newton(resume=SAVED),
        lambda: train_last_layer(solve_first_layer(backbone(), 1), (X, Y), 3, JointLayer),
    ],
)
def test_whole_numbers_and_the_edges_are_good_input(good):
    *_, state = good()
    assert state.step == 3
    assert state.loss.isfinite()
