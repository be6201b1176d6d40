"""The rivals of deep MMD gradient flow refuse bad input with one sentence: argument, what came, what is allowed.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import pytest
import torch
from torch import nn

from companion.methods.rivals.critic_flow import PointCritic, critic_flow, falling
from companion.methods.rivals.one_pass_gan import Generator, OnePassPair, train_one_pass
from companion.methods.rivals.sliced_energy import slice_constant, sliced_energy_flow, sliced_energy_slope
from tests.bad_input.sentences import assert_refused

X = torch.zeros(4, 2)
DATA = torch.ones(6, 2)
IMAGES = torch.zeros(4, 1, 8, 8)


class Law:
    """A law of points of three numbers."""

    def sample(self, n, generator=None):
        return torch.zeros(n, 3)


class OneForAll(nn.Module):
    """A critic that gives one number, whatever came."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return (x @ self.weight).mean()


def sliced(particles=X, target=DATA, step=0.1, steps=2, **options):
    return sliced_energy_flow(particles, target, step, steps, **options)


def critics(particles=X, data=DATA, critic=None, step=0.1, steps=2, **options):
    return critic_flow(particles, data, PointCritic(2) if critic is None else critic, step, steps, **options)


def pair(dim=2):
    return OnePassPair(Generator(dim, 3, 8, 1), PointCritic(dim, 8, 1))


def gan(one=None, data=DATA, steps=2, **options):
    return train_one_pass(pair() if one is None else one, data, steps, **options)


def saved(step, generator):
    names = ("model", "averaged", "critic", "generator net", "critic schedule", "generator schedule")
    return dict.fromkeys(names) | {"step": step, "generator": generator}


FLOWS = {"sliced": sliced, "critic": critics}

# what both flows refuse: options of the call, the error, the argument that the sentence names, what came, what may
SHARED = {
    "whole numbers for particles": ({"particles": X.long()}, TypeError, "particles", "int64", "floating"),
    "no particles": ({"particles": X[:0]}, ValueError, "particles", "(0, 2)", "n >= 1"),
    "one particle, not in a row": ({"particles": X[0]}, ValueError, "particles", "(2,)", "(n, d)"),
    "a step of nothing": ({"step": 0}, ValueError, "step", "0", "(0, inf)"),
    "a step without end": ({"step": float("inf")}, ValueError, "step", "inf", "(0, inf)"),
    "a step that is a word": ({"step": "long", "steps": 4}, TypeError, "step", "'", "a number"),
    "minus one step": ({"steps": -1}, ValueError, "steps", "-1", "at least 0"),
    "half a step": ({"steps": 0.5}, TypeError, "steps", "0.5", "a whole number"),
}  # fmt: skip

CASES = {
    # sliced energy
    "target of three numbers": (lambda: sliced(target=torch.ones(6, 3)), ValueError, "target", "(6, 3)", "like particles"),
    "target of another precision": (lambda: sliced(target=DATA.double()), TypeError, "target", "float64", "float32"),
    "no target": (lambda: sliced(target=DATA[:0]), ValueError, "target", "(0, 2)", "n >= 1"),
    "a list for a target": (lambda: sliced(target=[1.0]), TypeError, "target", "list", "a torch.Tensor"),
    "no slices": (lambda: sliced(slices=0), ValueError, "slices", "0", "at least 1"),
    "half a slice": (lambda: sliced(slices=2.5), TypeError, "slices", "2.5", "a whole number"),
    "all of the velocity": (lambda: sliced(momentum=1.0), ValueError, "momentum", "1.0", "[0, 1)"),
    "momentum below 0": (lambda: sliced(momentum=-0.1), ValueError, "momentum", "-0.1", "[0, 1)"),
    "a schedule of sliced steps": (lambda: sliced(step=[0.1, 0.1]), TypeError, "step", "[0.1, 0.1]", "a number"),
    "a slope without slices": (lambda: sliced_energy_slope(X, DATA, 0), ValueError, "slices", "0", "at least 1"),
    "a slope of no particles": (lambda: sliced_energy_slope(X[:0], DATA), ValueError, "particles", "(0, 2)", "n >= 1"),
    "no dimension": (lambda: slice_constant(0), ValueError, "dimension", "0", "at least 1"),
    # critic flow
    "data of three numbers": (lambda: critics(data=torch.ones(6, 3)), ValueError, "data", "(6, 3)", "like particles"),
    "data of another precision": (lambda: critics(data=DATA.double()), TypeError, "data", "float64", "float32"),
    "a function for a critic": (lambda: critics(critic=torch.sum), TypeError, "critic", "builtin", "a torch.nn.Module"),
    "a critic with nothing to learn": (lambda: critics(critic=nn.Flatten(0)), ValueError, "critic", "without a parameter", "trainable"),
    "a frozen critic": (lambda: critics(critic=PointCritic(2).requires_grad_(False)), ValueError, "critic", "without a parameter", "trainable"),
    "a critic of another precision": (lambda: critics(critic=PointCritic(2).double()), TypeError, "critic", "float64", "float32 like particles"),
    "a schedule too short": (lambda: critics(step=[0.1]), ValueError, "step", "a schedule of 1", "one for each of 2"),
    "a schedule with a hole": (lambda: critics(step=[0.1, 0.0]), ValueError, "step", "0.0", "(0, inf)"),
    "a critic that is not trained": (lambda: critics(inner_steps=0), ValueError, "inner_steps", "0", "at least 1"),
    "an unknown divergence": (lambda: critics(divergence="js"), ValueError, "divergence", "'js'", '"wasserstein" or "kl"'),
    "a divergence that is a list": (lambda: critics(divergence=["kl"]), ValueError, "divergence", "['kl']", '"wasserstein" or "kl"'),
    "a penalty below 0": (lambda: critics(penalty=-1), ValueError, "penalty", "-1", "[0, inf)"),
    "an empty batch": (lambda: critics(batch_size=0), ValueError, "batch_size", "0", "at least 1"),
    "a rate of nothing": (lambda: critics(learning_rate=0), ValueError, "learning_rate", "0", "(0, inf)"),
    "a critic of no dimension": (lambda: PointCritic(0), ValueError, "inputs", "0", "at least 1"),
    "points of three numbers": (lambda: PointCritic(2)(torch.zeros(4, 3)), ValueError, "x", "(4, 3)", "(n, 2)"),
    "falling from nothing": (lambda: falling(0, 3), ValueError, "step", "0", "(0, inf)"),
    "falling in no step": (lambda: falling(0.1, 0), ValueError, "steps", "0", "at least 1"),
    # a GAN
    "a generator of no points": (lambda: Generator(0, 2), ValueError, "dim", "0", "at least 1"),
    "a generator without noise": (lambda: Generator(2, 0), ValueError, "noise_dim", "0", "at least 1"),
    "noise of two numbers": (lambda: Generator(2, 3)(X), ValueError, "noise", "(4, 2)", "(n, 3)"),
    "no samples": (lambda: Generator(2, 3).sample(0), ValueError, "n", "0", "at least 1"),
    "a network that cannot draw": (lambda: OnePassPair(nn.Linear(2, 2), PointCritic(2)), TypeError, "generator", "Linear", "can .draw"),
    "no pair": (lambda: gan(Generator(2, 3)), TypeError, "pair", "Generator", "OnePassPair"),
    "a frozen pair": (lambda: gan(pair().requires_grad_(False)), ValueError, "pair", "without a parameter", "trainable"),
    "a pair of another precision": (lambda: gan(pair().double()), TypeError, "pair", "float64", "float32 like data"),
    "no updates": (lambda: gan(steps=0), ValueError, "steps", "0", "at least 1"),
    "an unknown loss": (lambda: gan(loss="hinge"), ValueError, "loss", "'hinge'", '"logistic" or "wasserstein"'),
    "a loss that is a list": (lambda: gan(loss=["hinge"]), ValueError, "loss", "['hinge']", '"logistic" or "wasserstein"'),
    "a negative penalty": (lambda: gan(penalty=-0.5), ValueError, "penalty", "-0.5", "[0, inf)"),
    "no updates of the critic": (lambda: gan(critic_steps=0), ValueError, "critic_steps", "0", "at least 1"),
    "an empty batch of the pair": (lambda: gan(batch_size=0), ValueError, "batch_size", "0", "at least 1"),
    "a rate below 0": (lambda: gan(learning_rate=-1e-3), ValueError, "learning_rate", "-0.001", "(0, inf)"),
    "a resume of something else": (lambda: gan(resume={"step": 1}), ValueError, "resume", "dict", "state_dict()"),
    "a resume from the end": (lambda: gan(resume=saved(2, None)), ValueError, "resume", "at step 2", "before the last step, 2"),
    "a resume without its generator": (lambda: gan(resume=saved(1, torch.zeros(1))), ValueError, "generator", "None", "given exactly when"),
}  # fmt: skip

# what is only seen on the way
WALKS = {
    "a law of three numbers": (lambda: critics(data=Law()), "data", "(256, 3)", "like particles"),
    "a critic of pairs": (lambda: critics(critic=nn.Linear(2, 2)), "critic(x)", "(256, 2)", "(256,)"),
    "one number for all": (lambda: critics(critic=OneForAll()), "critic(x)", "()", "(256,)"),
    "images for a pair of points": (lambda: gan(data=IMAGES), "data", "(256, 1, 8, 8)", "like drawn points"),
    "a law for a pair of points": (lambda: gan(data=Law()), "data", "(256, 3)", "like drawn points"),
    "a critic of pairs in a pair": (
        lambda: gan(OnePassPair(Generator(2, 3), nn.Linear(2, 2)), loss="wasserstein"), "critic(x)", "(256, 2)", "(256,)",
    ),
    "the same, by odds": (lambda: gan(OnePassPair(Generator(2, 3), nn.Linear(2, 2))), "critic(x)", "(256, 2)", "(256,)"),
}  # fmt: skip


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("case", SHARED)
def test_both_flows_refuse_it_at_the_call(flow, case):
    options, error, *sentence = SHARED[case]
    assert_refused(lambda: FLOWS[flow](**options), error, *sentence)


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_at_the_call(case):
    call, error, *sentence = CASES[case]
    assert_refused(call, error, *sentence)


@pytest.mark.parametrize("case", WALKS)
def test_what_does_not_fit_is_refused_at_the_first_step(case):
    call, *sentence = WALKS[case]
    states = call()
    assert_refused(lambda: list(states), ValueError, *sentence)
