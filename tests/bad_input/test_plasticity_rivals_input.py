"""What soft reset is compared with refuses bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from companion.foundations.stacks import StackedMLP, cross_entropy
from companion.methods.rivals.plasticity import (
    DormantReset,
    HardReset,
    L2Init,
    OnlineSGD,
    ShrinkAndPerturb,
    SpectralRegularisation,
)
from tests.bad_input.sentences import assert_refused

NAN, INF = float("nan"), float("inf")
BATCH = torch.ones(6, 3), torch.tensor([0, 1, 1, 0, 1, 0])
MODULE = "a torch.nn.Module"
TENSOR = "a torch.Tensor"
RUNS = "a number, or of shape (2,)"

# the least that each takes besides a model and a learning rate
KINDS = {
    "SGD": (OnlineSGD, {}),
    "L2-init": (L2Init, {"strength": 0.1}),
    "shrink & perturb": (ShrinkAndPerturb, {"shrink": 0.9, "perturb": 0.1}),
    "hard": (HardReset, {}),
    "spectral": (SpectralRegularisation, {"strength": 0.1}),
    "dormant": (DormantReset, {"threshold": 0.1}),
}


def network(runs: int | None = None) -> StackedMLP:
    return StackedMLP(runs, 3, 2, 4, 1, generator=torch.Generator().manual_seed(0))


def made(name: str, model=None, lr=0.1, **settings):
    kind, least = KINDS[name]
    return kind(network() if model is None else model, lr, **least | settings)


def stacked(name: str, **settings):
    return made(name, network(2), runs=2, **settings)


def of_two_dtypes() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2).double())


def mean_loss(model, batch):
    return cross_entropy(model, batch).mean()


def loss_of_logits(model, batch):
    return -model(batch[0])


CASES = {
    "a pull of nan": (lambda: made("L2-init", strength=NAN), ValueError, "strength", "nan", "from 0"),
    "a push": (lambda: made("L2-init", strength=-0.1), ValueError, "strength", "-0.1", "from 0"),
    "a pull of None": (lambda: made("L2-init", strength=None), TypeError, "strength", "a NoneType", TENSOR),
    "pulls of other runs": (lambda: stacked("L2-init", strength=torch.ones(3)), ValueError, "strength", "(3,)", RUNS),
    "a push in a run": (lambda: stacked("L2-init", strength=torch.tensor([1, -1.0])), ValueError, "strength", "in some run", "from 0"),
    "shrink 1.1": (lambda: made("shrink & perturb", shrink=1.1), ValueError, "shrink", "1.1", "from 0 to 1"),
    "shrink -0.1": (lambda: made("shrink & perturb", shrink=-0.1), ValueError, "shrink", "-0.1", "from 0 to 1"),
    "shrink a word": (lambda: made("shrink & perturb", shrink="some"), TypeError, "shrink", "a str", TENSOR),
    "shrink of other runs": (lambda: stacked("shrink & perturb", shrink=torch.ones(1)), ValueError, "shrink", "(1,)", RUNS),
    "shrink 2 in a run": (lambda: stacked("shrink & perturb", shrink=torch.tensor([1, 2.0])), ValueError, "shrink", "in some run", "to 1"),
    "perturb -0.1": (lambda: made("shrink & perturb", perturb=-0.1), ValueError, "perturb", "-0.1", "from 0"),
    "perturb inf": (lambda: made("shrink & perturb", perturb=INF), ValueError, "perturb", "inf", "from 0"),
    "perturb None": (lambda: made("shrink & perturb", perturb=None), TypeError, "perturb", "a NoneType", TENSOR),
    "perturb nan in a run": (lambda: stacked("shrink & perturb", perturb=torch.tensor([0, NAN])), ValueError, "perturb", "in some run", "from 0"),
    "spectral -1": (lambda: made("spectral", strength=-1), ValueError, "strength", "-1", "from 0"),
    "spectral True": (lambda: made("spectral", strength=True), TypeError, "strength", "a bool", TENSOR),
    "spectral of other runs": (lambda: stacked("spectral", strength=torch.ones(2, 1)), ValueError, "strength", "(2, 1)", RUNS),
    "threshold -0.1": (lambda: made("dormant", threshold=-0.1), ValueError, "threshold", "-0.1", "from 0"),
    "threshold nan": (lambda: made("dormant", threshold=NAN), ValueError, "threshold", "nan", "from 0"),
    "threshold None": (lambda: made("dormant", threshold=None), TypeError, "threshold", "a NoneType", TENSOR),
    "threshold of other runs": (lambda: stacked("dormant", threshold=torch.ones(3)), ValueError, "threshold", "(3,)", RUNS),
    "period 0": (lambda: made("dormant", period=0), ValueError, "period", "0", "at least 1"),
    "period 1.5": (lambda: made("dormant", period=1.5), TypeError, "period", "1.5", "a whole number"),
}  # fmt: skip
for name in KINDS:
    CASES |= {
        f"{name}: model None": (lambda name=name: KINDS[name][0](None, 0.1, **KINDS[name][1]), TypeError, "model", "a NoneType", "a "),
        f"{name}: a stack of other runs": (lambda name=name: made(name, network(3), runs=2), ValueError, "model", "(3, 4, 3)", "a stack of 2 runs"),
        f"{name}: no stack": (lambda name=name: made(name, runs=2), ValueError, "model", "(4, 3)", "a stack of 2 runs"),
        f"{name}: runs 0": (lambda name=name: made(name, runs=0), ValueError, "runs", "0", "at least 1"),
        f"{name}: updates 0": (lambda name=name: made(name, updates=0), ValueError, "updates", "0", "at least 1"),
        f"{name}: updates 1.5": (lambda name=name: made(name, updates=1.5), TypeError, "updates", "1.5", "a whole number"),
        f"{name}: lr -1": (lambda name=name: made(name, lr=-1), ValueError, "lr", "-1", "from 0"),
        f"{name}: lr nan": (lambda name=name: made(name, lr=NAN), ValueError, "lr", "nan", "from 0"),
        f"{name}: lr None": (lambda name=name: made(name, lr=None), TypeError, "lr", "a NoneType", TENSOR),
        f"{name}: lr of other runs": (lambda name=name: stacked(name, lr=torch.ones(3)), ValueError, "lr", "(3,)", RUNS),
        f"{name}: lr inf in a run": (lambda name=name: stacked(name, lr=torch.tensor([1, INF])), ValueError, "lr", "in some run", "from 0"),
        f"{name}: loss None": (lambda name=name: made(name).step(None, BATCH), TypeError, "loss_fn", "a NoneType", "a callable (model, batch) -> losses"),
        f"{name}: a mean loss": (lambda name=name: made(name).step(mean_loss, BATCH), ValueError, "loss_fn(model, batch)", "of shape ()", "of shape (b,)"),
        f"{name}: a mean loss to learn": (lambda name=name: made(name).learn(mean_loss, BATCH), ValueError, "loss_fn(model, batch)", "of shape ()", "of shape (b,)"),
        f"{name}: logits": (lambda name=name: made(name).step(loss_of_logits, BATCH), ValueError, "loss_fn(model, batch)", "(6, 2)", "of shape (b,)"),
        f"{name}: one loss for a stack": (lambda name=name: stacked(name).step(lambda model, batch: model(batch[0]).sum((0, 2)), BATCH), ValueError, "loss_fn(model, batch)", "(6,)", "of shape (2, b)"),
    }  # fmt: skip
for name in ("SGD", "L2-init", "shrink & perturb"):  # for any module
    CASES |= {
        f"{name}: a function": (lambda name=name: made(name, torch.tanh), TypeError, "model", "builtin_function", MODULE),
        f"{name}: nothing to learn": (lambda name=name: made(name, nn.ReLU()), ValueError, "model", "without parameters", "a module with some"),
        f"{name}: two dtypes": (lambda name=name: made(name, of_two_dtypes()), ValueError, "model", "several sorts", "of one dtype"),
    }  # fmt: skip
for name in ("hard", "spectral", "dormant"):  # for the networks of the lesson alone
    CASES[f"{name}: another module"] = (
        lambda name=name: made(name, nn.Linear(3, 2)), TypeError, "model", "a Linear", "a StackedMLP"
    )  # fmt: skip


@pytest.mark.parametrize("call, error, argument, came, allowed", CASES.values(), ids=CASES.keys())  # noqa: PT006
def test_refused_with_one_sentence_that_names_argument_what_came_and_what_is_allowed(
    call, error, argument, came, allowed
):
    assert_refused(call, error, argument, came, allowed)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("loss_fn", [None, mean_loss, loss_of_logits])
def test_a_step_that_is_refused_has_changed_nothing(name, loss_fn):
    trainer = made(name, generator=torch.Generator().manual_seed(0))
    trainer.step(cross_entropy, BATCH)
    before, draws = copy.deepcopy(trainer.model.state_dict()), trainer.generator.get_state()
    for call in (trainer.step, trainer.learn):
        with pytest.raises((TypeError, ValueError), match="but must be"):
            call(loss_fn, BATCH)
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    assert torch.equal(trainer.generator.get_state(), draws)


@pytest.mark.parametrize("name", KINDS)
def test_a_setting_that_does_not_exist_is_named(name):
    with pytest.raises(TypeError, match="momentum"):
        made(name, momentum=0.9)


@pytest.mark.parametrize("name", KINDS)
def test_ends_of_what_is_allowed_are_allowed(name):
    settings = {each: np.float64(0) for each in KINDS[name][1]}
    trainer = made(name, lr=0, updates=np.int64(2), **settings, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        assert trainer.step(cross_entropy, BATCH).isfinite()
