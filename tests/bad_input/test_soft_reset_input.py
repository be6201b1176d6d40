"""Soft reset, its stacks and its streams refuse bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from companion.data.streams import permuted_digits, random_label_digits
from companion.foundations.stacks import StackedMLP, cross_entropy
from companion.methods.soft_reset import BayesianSoftReset, SoftReset, drift, initial_std, learning_rate_rise
from tests.bad_input.sentences import assert_refused

NAN, INF = float("nan"), float("inf")
ONES = torch.ones(4)
BATCH = torch.ones(6, 3), torch.tensor([0, 1, 1, 0, 1, 0])
BATCHES = torch.ones(2, 6, 3), BATCH[1].repeat(2, 1)
MODULE = "a torch.nn.Module"
GENERATOR = "given exactly when it was given before"


def network(runs: int | None = None, **sizes) -> StackedMLP:
    sizes = {"inputs": 3, "outputs": 2, "width": 4, "depth": 1} | sizes
    return StackedMLP(runs, **sizes, generator=torch.Generator().manual_seed(0))


def soft(model=None, lr=0.1, drift_lr=0.01, kind=SoftReset, **settings):
    return kind(network() if model is None else model, lr, drift_lr, **settings)


def stacked(lr=0.1, drift_lr=0.01, **settings):
    return soft(network(2), lr, drift_lr, runs=2, **settings)


def bayesian(**settings):
    return soft(kind=BayesianSoftReset, **settings)


def drifted(mean=ONES, std=ONES, init_mean=ONES, init_std=ONES, gamma=0.5):
    return drift(mean, std, init_mean, init_std, gamma)


def without_weights() -> nn.Module:
    module = nn.Linear(3, 2)
    for each in module.parameters():
        each.requires_grad_(False)
    return module


def of_two_dtypes() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2).double())


def of_a_number() -> nn.Module:
    module = network(2)
    module.scale = nn.Parameter(torch.ones(()))
    return module


def mean_loss(model, batch):
    return cross_entropy(model, batch).mean()


def loss_of_all_runs(model, batch):
    return cross_entropy(model, batch).sum(0)


def loss_of_logits(model, batch):
    return -model(batch[0])


def wrong_answers(model, batch):
    return (model(batch[0]).argmax(-1) != batch[1]).long()


def state(**changes):
    return soft().state_dict() | changes


def stds(value):
    return {name: value for name, _ in network().named_parameters()}


def loaded(came, trainer=None):
    (soft() if trainer is None else trainer).load_state_dict(came)


# what is refused at the call of a trainer's methods, alike for the three
CALLS = {
    "step": lambda trainer, loss_fn, batch: trainer.step(loss_fn, batch),
    "score": lambda trainer, loss_fn, batch: trainer.score(loss_fn, batch),
    "learn": lambda trainer, loss_fn, batch: trainer.learn(loss_fn, batch),
    "evidence": lambda trainer, loss_fn, batch: trainer.log_evidence(loss_fn, batch, 0.5),
}
LOSSES = {
    "None": (None, TypeError, "loss_fn", "a NoneType", "a callable (model, batch) -> losses"),
    "a tensor": (ONES, TypeError, "loss_fn", "a Tensor", "a callable (model, batch) -> losses"),
    "a list": (lambda model, batch: [1.0], TypeError, "loss_fn(model, batch)", "a list", "a torch.Tensor"),
    "None given": (lambda model, batch: None, TypeError, "loss_fn(model, batch)", "a NoneType", "a torch.Tensor"),
    "whole numbers": (wrong_answers, TypeError, "loss_fn(model, batch)", "int64", "floating"),
    "a mean": (mean_loss, ValueError, "loss_fn(model, batch)", "of shape ()", "of shape (b,), one for each example"),
    "logits": (loss_of_logits, ValueError, "loss_fn(model, batch)", "(6, 2)", "of shape (b,), one for each example"),
}
STACKED_LOSSES = {
    "a mean": (mean_loss, ValueError, "loss_fn(model, batch)", "of shape ()", "of shape (2, b), one for each example"),
    "no runs": (loss_of_all_runs, ValueError, "loss_fn(model, batch)", "(6,)", "of shape (2, b), one for each example"),
    "logits": (loss_of_logits, ValueError, "loss_fn(model, batch)", "(2, 6, 2)", "of shape (2, b)"),
    "other runs": (
        lambda model, batch: cross_entropy(model, batch)[:1], ValueError, "loss_fn(model, batch)", "(1, 6)", "of shape (2, b)"
    ),
}  # fmt: skip

CASES = {
    # the drift of a belief
    "mean a number": (lambda: drifted(mean=1.0), TypeError, "mean", "a float", "a torch.Tensor"),
    "mean of integers": (lambda: drifted(mean=ONES.long()), TypeError, "mean", "int64", "floating"),
    "std a number": (lambda: drifted(std=1.0), TypeError, "std", "a float", "a torch.Tensor"),
    "std of integers": (lambda: drifted(std=ONES.long()), TypeError, "std", "int64", "floating"),
    "std below 0": (lambda: drifted(std=-ONES), ValueError, "std", "negative somewhere", "0 or above"),
    "std nan": (lambda: drifted(std=NAN * ONES), ValueError, "std", "negative somewhere", "0 or above"),
    "init_mean None": (lambda: drifted(init_mean=None), TypeError, "init_mean", "a NoneType", "a torch.Tensor"),
    "init_mean of integers": (lambda: drifted(init_mean=ONES.long()), TypeError, "init_mean", "int64", "floating"),
    "init_std a list": (lambda: drifted(init_std=[1.0]), TypeError, "init_std", "a list", "a torch.Tensor"),
    "init_std of truth": (lambda: drifted(init_std=ONES > 0), TypeError, "init_std", "bool", "floating"),
    "init_std below 0": (lambda: drifted(init_std=ONES - 2), ValueError, "init_std", "negative somewhere", "0 or above"),
    "gamma above 1": (lambda: drifted(gamma=1.01), ValueError, "gamma", "1.01", "[0, 1]"),
    "gamma below 0": (lambda: drifted(gamma=-1), ValueError, "gamma", "-1", "[0, 1]"),
    "gamma nan": (lambda: drifted(gamma=NAN), ValueError, "gamma", "nan", "[0, 1]"),
    "gamma None": (lambda: drifted(gamma=None), TypeError, "gamma", "None", "[0, 1]"),
    "gamma True": (lambda: drifted(gamma=True), TypeError, "gamma", "True", "[0, 1]"),
    "gamma of integers": (lambda: drifted(gamma=ONES.long()), TypeError, "gamma", "int64", "floating"),
    "gamma above 1 somewhere": (lambda: drifted(gamma=torch.tensor([0.1, 0.2, 1.1, 1])), ValueError, "gamma", "outside somewhere", "[0, 1]"),
    "gamma below 0 somewhere": (lambda: drifted(gamma=torch.tensor([0.1, 0.2, -0.1, 1])), ValueError, "gamma", "outside somewhere", "[0, 1]"),
    "gamma nan somewhere": (lambda: drifted(gamma=NAN * ONES), ValueError, "gamma", "outside somewhere", "[0, 1]"),
    # stacked networks
    "runs 0": (lambda: network(0), ValueError, "runs", "0", "at least 1"),
    "runs a half": (lambda: network(0.5), TypeError, "runs", "0.5", "a whole number"),
    "runs True": (lambda: network(True), TypeError, "runs", "True", "a whole number"),
    "inputs 0": (lambda: network(inputs=0), ValueError, "inputs", "0", "at least 1"),
    "inputs None": (lambda: network(inputs=None), TypeError, "inputs", "None", "a whole number"),
    "outputs 0": (lambda: network(2, outputs=0), ValueError, "outputs", "0", "at least 1"),
    "outputs 2.0": (lambda: network(outputs=2.0), TypeError, "outputs", "2.0", "a whole number"),
    "width 0": (lambda: network(width=0), ValueError, "width", "0", "at least 1"),
    "width a list": (lambda: network(width=[4]), TypeError, "width", "[4]", "a whole number"),
    "depth 0": (lambda: network(2, depth=0), ValueError, "depth", "0", "at least 1"),
    "depth a word": (lambda: network(depth="deep"), TypeError, "depth", "'deep'", "a whole number"),
    # the model of a trainer
    "reset None": (lambda: SoftReset(None, 0.1, 0.1), TypeError, "model", "a NoneType", MODULE),
    "reset a function": (lambda: SoftReset(torch.tanh, 0.1, 0.1), TypeError, "model", "builtin_function", MODULE),
    "reset a class": (lambda: soft(StackedMLP), TypeError, "model", "a type", MODULE),
    "reset nothing": (lambda: soft(nn.ReLU()), ValueError, "model", "without parameters that learn", "a module with some"),
    "reset what is frozen": (lambda: soft(without_weights()), ValueError, "model", "without parameters that learn", "a module with some"),
    "two dtypes": (lambda: soft(of_two_dtypes()), ValueError, "model", "several sorts", "of one dtype on one device"),
    "a module for a stack": (lambda: soft(nn.Linear(3, 2), runs=4), ValueError, "model", "weight of shape (2, 3)", "a stack of 4 runs"),
    "a stack of other runs": (lambda: soft(network(3), runs=2), ValueError, "model", "layers.0.weight of shape (3, 4, 3)", "a stack of 2 runs"),
    "a stack with a number": (lambda: soft(of_a_number(), runs=2), ValueError, "model", "scale of shape ()", "a stack of 2 runs"),
    "a perceptron for a stack": (lambda: soft(network(), runs=2), ValueError, "model", "layers.0.weight of shape (4, 3)", "a stack of 2 runs"),
    "no runs": (lambda: soft(network(2), runs=0), ValueError, "runs", "0", "at least 1"),
    "half a run": (lambda: soft(network(2), runs=0.5), TypeError, "runs", "0.5", "a whole number"),
    # its settings
    "lr below 0": (lambda: soft(lr=-0.1), ValueError, "lr", "-0.1", "from 0"),
    "lr nan": (lambda: soft(lr=NAN), ValueError, "lr", "nan", "from 0"),
    "lr inf": (lambda: soft(lr=INF), ValueError, "lr", "inf", "from 0"),
    "lr None": (lambda: soft(lr=None), TypeError, "lr", "a NoneType", "a torch.Tensor"),
    "lr a word": (lambda: soft(lr="fast"), TypeError, "lr", "a str", "a torch.Tensor"),
    "lr True": (lambda: soft(lr=True), TypeError, "lr", "a bool", "a torch.Tensor"),
    "lr a list": (lambda: stacked(lr=[0.1, 0.2]), TypeError, "lr", "a list", "a torch.Tensor"),
    "lr of integers": (lambda: stacked(lr=torch.tensor([1, 2])), TypeError, "lr", "int64", "floating"),
    "lr of other runs": (lambda: stacked(lr=torch.ones(3)), ValueError, "lr", "of shape (3,)", "a number, or of shape (2,)"),
    "lr of a column": (lambda: stacked(lr=torch.ones(2, 1)), ValueError, "lr", "of shape (2, 1)", "a number, or of shape (2,)"),
    "lr below 0 in a run": (lambda: stacked(lr=torch.tensor([0.1, -0.1])), ValueError, "lr", "out of range in some run", "from 0"),
    "lr nan in a run": (lambda: stacked(lr=torch.tensor([0.1, NAN])), ValueError, "lr", "out of range in some run", "from 0"),
    "lr inf in a run": (lambda: stacked(lr=torch.tensor([0.1, INF])), ValueError, "lr", "out of range in some run", "from 0"),
    "lr of runs without runs": (lambda: soft(lr=torch.ones(2)), ValueError, "lr", "of shape (2,)", "a number"),
    "drift_lr below 0": (lambda: soft(drift_lr=-1), ValueError, "drift_lr", "-1", "from 0"),
    "drift_lr nan": (lambda: soft(drift_lr=NAN), ValueError, "drift_lr", "nan", "from 0"),
    "drift_lr None": (lambda: soft(drift_lr=None), TypeError, "drift_lr", "a NoneType", "a torch.Tensor"),
    "drift_lr of other runs": (lambda: stacked(drift_lr=torch.ones(1)), ValueError, "drift_lr", "of shape (1,)", "of shape (2,)"),
    "posterior_scale 0": (lambda: soft(posterior_scale=0), ValueError, "posterior_scale", "0", "from 1e-06 to 1"),
    "posterior_scale 1.1": (lambda: soft(posterior_scale=1.1), ValueError, "posterior_scale", "1.1", "from 1e-06 to 1"),
    "posterior_scale nan": (lambda: soft(posterior_scale=NAN), ValueError, "posterior_scale", "nan", "from 1e-06 to 1"),
    "posterior_scale None": (lambda: soft(posterior_scale=None), TypeError, "posterior_scale", "a NoneType", "a torch.Tensor"),
    "posterior_scale above 1 in a run": (lambda: stacked(posterior_scale=torch.tensor([0.5, 2])), ValueError, "posterior_scale", "in some run", "to 1"),
    "posterior_scale of other runs": (lambda: stacked(posterior_scale=torch.ones(3)), ValueError, "posterior_scale", "(3,)", "of shape (2,)"),
    "init_scale 0": (lambda: soft(init_scale=0), ValueError, "init_scale", "0", "from 1e-06"),
    "init_scale -1": (lambda: soft(init_scale=-1), ValueError, "init_scale", "-1", "from 1e-06"),
    "init_scale inf": (lambda: soft(init_scale=INF), ValueError, "init_scale", "inf", "from 1e-06"),
    "init_scale a word": (lambda: soft(init_scale="wide"), TypeError, "init_scale", "a str", "a torch.Tensor"),
    "init_scale 0 in a run": (lambda: stacked(init_scale=torch.tensor([0.5, 0])), ValueError, "init_scale", "in some run", "from 1e-06"),
    "per weight": (lambda: soft(per="weight"), ValueError, "per", "'weight'", "'model' or 'layer' or 'parameter'"),
    "per None": (lambda: soft(per=None), ValueError, "per", "None", "'model' or 'layer' or 'parameter'"),
    "per a list": (lambda: soft(per=["layer"]), ValueError, "per", "['layer']", "'model' or 'layer' or 'parameter'"),
    "center elsewhere": (lambda: soft(center="mean"), ValueError, "center", "'mean'", "'initial' or 'zero'"),
    "center 0": (lambda: soft(center=0), ValueError, "center", "0", "'initial' or 'zero'"),
    "drift_steps 0": (lambda: soft(drift_steps=0), ValueError, "drift_steps", "0", "at least 1"),
    "drift_steps 1.5": (lambda: soft(drift_steps=1.5), TypeError, "drift_steps", "1.5", "a whole number"),
    "samples -1": (lambda: soft(samples=-1), ValueError, "samples", "-1", "at least 0"),
    "samples None": (lambda: soft(samples=None), TypeError, "samples", "None", "a whole number"),
    "update_steps 0": (lambda: soft(update_steps=0), ValueError, "update_steps", "0", "at least 1"),
    "update_steps True": (lambda: soft(update_steps=True), TypeError, "update_steps", "True", "a whole number"),
    "init_std of nobody": (lambda: soft(init_std={}), ValueError, "init_std", "without layers.0.weight, layers.0.bias", "given for each parameter"),
    "init_std of some": (lambda: soft(nn.Linear(3, 2), init_std={"weight": ONES[0]}), ValueError, "init_std", "without bias", "given for each parameter"),
    # the settings of a belief
    "std_lr below 0": (lambda: bayesian(std_lr=-0.1), ValueError, "std_lr", "-0.1", "from 0"),
    "std_lr nan": (lambda: bayesian(std_lr=NAN), ValueError, "std_lr", "nan", "from 0"),
    "std_lr None": (lambda: bayesian(std_lr=None), TypeError, "std_lr", "a NoneType", "a torch.Tensor"),
    "std_lr of other runs": (lambda: stacked(kind=BayesianSoftReset, std_lr=torch.ones(3)), ValueError, "std_lr", "(3,)", "of shape (2,)"),
    "temperature below 0": (lambda: bayesian(temperature=-1), ValueError, "temperature", "-1", "from 0"),
    "temperature inf": (lambda: bayesian(temperature=INF), ValueError, "temperature", "inf", "from 0"),
    "temperature a word": (lambda: bayesian(temperature="cold"), TypeError, "temperature", "a str", "a torch.Tensor"),
    "temperature nan in a run": (lambda: stacked(kind=BayesianSoftReset, temperature=torch.tensor([0, NAN])), ValueError, "temperature", "in some run", "from 0"),
    "a belief per weight": (lambda: bayesian(per="weight"), ValueError, "per", "'weight'", "'model' or 'layer' or 'parameter'"),
    "a belief about None": (lambda: BayesianSoftReset(None, 0.1, 0.1), TypeError, "model", "a NoneType", MODULE),
    "a belief of half a sample": (lambda: bayesian(samples=0.5), TypeError, "samples", "0.5", "a whole number"),
    # the evidence
    "evidence of gamma 2": (lambda: soft().log_evidence(cross_entropy, BATCH, 2), ValueError, "gamma", "2", "from 0 to 1"),
    "evidence of gamma -1": (lambda: soft().log_evidence(cross_entropy, BATCH, -1), ValueError, "gamma", "-1", "from 0 to 1"),
    "evidence of gamma nan": (lambda: soft().log_evidence(cross_entropy, BATCH, NAN), ValueError, "gamma", "nan", "from 0 to 1"),
    "evidence of gamma None": (lambda: soft().log_evidence(cross_entropy, BATCH, None), TypeError, "gamma", "a NoneType", "a torch.Tensor"),
    "evidence of other runs": (lambda: stacked().log_evidence(cross_entropy, BATCHES, ONES), ValueError, "gamma", "(4,)", "of shape (2,)"),
    "evidence of gamma 2 in a run": (lambda: stacked().log_evidence(cross_entropy, BATCHES, torch.tensor([0.5, 2])), ValueError, "gamma", "in some run", "to 1"),
    "gamma with other shapes": (lambda: drift(*[ONES] * 4, torch.ones(3)), ValueError, "mean", "gamma (3,)", "broadcast"),
    "rise of a number": (lambda: learning_rate_rise(0.5, 1.0), TypeError, "gamma", "a float", "a torch.Tensor"),
    "stds of a number": (lambda: initial_std(3), TypeError, "model", "a int", "a torch.nn.Module"),
    "stds of other runs": (lambda: initial_std(network(), 7), ValueError, "model", "of shape", "a stack of 7 runs"),
    "generator 3": (lambda: soft(generator=3), TypeError, "generator", "a int", "a torch.Generator or None"),
    "stds a list": (lambda: soft(init_std=[1.0]), TypeError, "init_std", "a list", "a mapping"),
    "init_std of floats": (lambda: soft(init_std=stds(1.0)), TypeError, "init_std['layers.0.weight']", "a float", "a torch.Tensor"),
    "stds of 0": (lambda: soft(init_std=stds(torch.zeros(()))), ValueError, "init_std['layers.0.weight']", "not above 0", "above 0"),
    "stds below 0": (lambda: soft(init_std=stds(-torch.ones(()))), ValueError, "init_std['layers.0.weight']", "not above 0", "above 0"),
    "init_std of a shape": (lambda: soft(init_std=stds(torch.ones(17))), ValueError, "init_std['layers.0.weight']", "(17,)", "broadcast"),
    # saved states
    "state None": (lambda: loaded(None), TypeError, "state", "a NoneType", "a trainer's state_dict()"),
    "state of another kind": (lambda: loaded(bayesian().state_dict()), ValueError, "state", "a BayesianSoftReset", "a SoftReset"),
    "state of nothing": (lambda: loaded({}), ValueError, "state", "[]", "['generator', 'init_mean', 'init_std', 'kind', 'std']"),
    "state of a model": (lambda: loaded(nn.Linear(3, 2).state_dict()), ValueError, "state", "['bias', 'weight']", "['generator', 'init_mean'"),
    "state with more": (lambda: loaded(state(step=3)), ValueError, "state", "'step'", "['generator', 'init_mean'"),
    "state of another model": (lambda: loaded(state(), soft(network(width=5))), ValueError, "state['init_mean']", "of shape (26,)", "of shape (32,)"),
    "state of a stack": (lambda: loaded(state(), stacked()), ValueError, "state['init_mean']", "of shape (26,)", "of shape (2, 26)"),
    "state with a short std": (lambda: loaded(state(std=ONES)), ValueError, "state['std']", "of shape (4,)", "of shape (26,)"),
    "state without a generator": (lambda: loaded(state(), soft(generator=torch.Generator())), ValueError, "generator", "torch", GENERATOR),
    "state with a generator": (lambda: loaded(soft(generator=torch.Generator()).state_dict()), ValueError, "generator", "None", GENERATOR),
    # streams of tasks
    "no tasks": (lambda: random_label_digits(0), ValueError, "tasks", "0", "at least 1"),
    "half a task": (lambda: random_label_digits(0.5), TypeError, "tasks", "0.5", "a whole number"),
    "tasks of no digits": (lambda: random_label_digits(2, size=0), ValueError, "size", "0", "at least 1"),
    "tasks of all digits and one": (lambda: random_label_digits(2, size=1798), ValueError, "size", "1798", "at most 1797"),
    "tasks of a word": (lambda: random_label_digits(2, size="all"), TypeError, "size", "'all'", "a whole number"),
    "no epochs": (lambda: random_label_digits(2, epochs=0), ValueError, "epochs", "0", "at least 1"),
    "epochs None": (lambda: random_label_digits(2, epochs=None), TypeError, "epochs", "None", "a whole number"),
    "no permutations": (lambda: permuted_digits(-1), ValueError, "tasks", "-1", "at least 1"),
    "permutations True": (lambda: permuted_digits(True), TypeError, "tasks", "True", "a whole number"),
    "permutations of no digits": (lambda: permuted_digits(2, size=0), ValueError, "size", "0", "at least 1"),
    "permutations of too many": (lambda: permuted_digits(2, size=5000), ValueError, "size", "5000", "at most 1797"),
    "permutations of half a digit": (lambda: permuted_digits(2, size=0.5), TypeError, "size", "0.5", "a whole number"),
    "cycle 0": (lambda: permuted_digits(2, cycle=0), ValueError, "cycle", "0", "at least 1"),
    "cycle 1.5": (lambda: permuted_digits(2, cycle=1.5), TypeError, "cycle", "1.5", "a whole number"),
}  # fmt: skip
for name, call in CALLS.items():
    for what, (loss_fn, *expected) in LOSSES.items():
        CASES[f"{name}: {what}"] = (lambda call=call, fn=loss_fn: call(soft(), fn, BATCH), *expected)
        CASES[f"{name} of a belief: {what}"] = (lambda call=call, fn=loss_fn: call(bayesian(), fn, BATCH), *expected)
    for what, (loss_fn, *expected) in STACKED_LOSSES.items():
        CASES[f"{name} of a stack: {what}"] = (lambda call=call, fn=loss_fn: call(stacked(), fn, BATCHES), *expected)


@pytest.mark.parametrize("call, error, argument, came, allowed", CASES.values(), ids=CASES.keys())  # noqa: PT006
def test_refused_with_one_sentence_that_names_argument_what_came_and_what_is_allowed(
    call, error, argument, came, allowed
):
    assert_refused(call, error, argument, came, allowed)


@pytest.mark.parametrize("make", [soft, bayesian], ids=["point", "belief"])
@pytest.mark.parametrize("loss_fn", [None, mean_loss, loss_of_logits, wrong_answers])
def test_a_step_that_is_refused_has_changed_nothing(make, loss_fn):
    trainer = make(generator=torch.Generator().manual_seed(0))
    trainer.step(cross_entropy, BATCH)
    before = copy.deepcopy((trainer.model.state_dict(), trainer.state_dict(), trainer.gammas))
    with pytest.raises((TypeError, ValueError), match="but must be"):
        trainer.step(loss_fn, BATCH)
    after = trainer.model.state_dict(), trainer.state_dict(), trainer.gammas
    for now, then in zip(after, before, strict=True):
        assert all(torch.equal(value, then[name]) for name, value in now.items() if name != "kind")


def test_a_state_that_is_refused_has_changed_nothing():
    """Not even the part of it that would have fitted."""
    trainer = soft(generator=torch.Generator().manual_seed(0))
    fitting = trainer.state_dict() | {"init_mean": torch.zeros(26)}
    before = trainer.state_dict()
    for came in (fitting | {"std": ONES}, fitting | {"generator": None}, {**fitting, "more": ONES}):
        with pytest.raises(ValueError, match="but must be"):
            trainer.load_state_dict(came)
        assert all(torch.equal(value, before[name]) for name, value in trainer.state_dict().items() if name != "kind")


def test_a_model_that_is_refused_has_not_been_moved():
    model = nn.Linear(3, 2)
    before = [each.data_ptr() for each in model.parameters()]
    with pytest.raises(ValueError, match="a stack of 4 runs"):
        SoftReset(model, 0.1, 0.1, runs=4)
    assert [each.data_ptr() for each in model.parameters()] == before


def test_a_setting_that_does_not_exist_is_named():
    for call in (lambda: soft(momentum=0.9), lambda: bayesian(momentum=0.9), lambda: random_label_digits(2, cycle=1)):
        with pytest.raises(TypeError, match="momentum|cycle"):
            call()


def test_ends_of_what_is_allowed_are_allowed():
    """Whole numbers for numbers, a tensor without axes for a number, counts of numpy, gammas 0 and 1."""
    trainers = [
        soft(lr=1, drift_lr=0, posterior_scale=1, init_scale=1e-6, samples=np.int64(1), drift_steps=np.int64(2)),
        soft(lr=torch.tensor(1.0), drift_lr=np.float64(0), posterior_scale=torch.tensor(1.0), init_scale=1e-6),
    ]
    for trainer in trainers:
        for _ in range(3):
            trainer.step(cross_entropy, BATCH)
        for gamma in (0, 1, 0.0, 1.0, torch.tensor(0.5)):
            assert all(each.isfinite() for each in trainer.log_evidence(cross_entropy, BATCH, gamma))
    assert torch.equal(trainers[0].theta, trainers[1].theta)
    still = soft(lr=0, drift_lr=0)
    before = still.theta.clone()
    still.step(cross_entropy, BATCH)
    assert torch.equal(still.theta, before)
    for gamma in (0, 1, torch.zeros(4), torch.ones(4)):
        drifted(std=0 * ONES, gamma=gamma)
    assert len(random_label_digits(np.int64(2), size=np.int64(3), epochs=np.int64(1)).labels) == 6
    assert len(permuted_digits(2, size=1797, cycle=np.int64(5)).labels) == 2 * 1797
