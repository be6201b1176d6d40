"""The flows of lesson 04 refuse bad input with one sentence: the argument, what came, what is allowed.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import numpy as np
import pytest
import torch
from torch import nn

from companion.data.hidden_plane import HiddenPlane
from companion.data.toy import eight_gaussians
from companion.foundations.distances import rbf
from companion.methods.mmd_flow import (
    FeatureMLP,
    NoiseConditionalWitness,
    VarianceExploding,
    VariancePreserving,
    adaptive_flow,
    annealed,
    approximate_flow,
    best_bandwidth,
    gaussian_force,
    kale,
    kale_flow,
    mmd_flow,
    riesz,
    scaled_rbf,
    train_witness,
    witness_loss,
    witness_slope,
)
from tests.bad_input.sentences import assert_refused

Z, Y, NAN, INF = torch.ones(4, 2), torch.zeros(5, 2), float("nan"), float("inf")
CUBE = torch.zeros(4, 3, 2)
PHI = torch.ones(4, 3)


def witness(remembers: bool = True, noising=None, **options) -> NoiseConditionalWitness:
    torch.manual_seed(0)
    module = NoiseConditionalWitness(FeatureMLP(2, 3, 4, 1, **options), noising)
    if remembers:
        module.remember(Y, torch.Generator().manual_seed(0))
    return module


WITNESS, FORGETFUL = witness(), witness(remembers=False)
LEVELS = WITNESS.noising.levels(3)
LEVEL, GROUPS = torch.tensor(0.5), torch.full((4,), 0.5)


class Named(nn.Module):
    def __init__(self, num_features) -> None:
        super().__init__()
        self.num_features = num_features


def flat(a, b):
    return torch.zeros(len(a), len(b))


def one_row(a, b):
    return a[:1] @ b.T


def flow(particles=Z, target=Y, kernel=None, step=0.1, steps=3, **options):
    return mmd_flow(particles, target, rbf(1.0) if kernel is None else kernel, step, steps, **options)


def slope(points=Z, particles=Z, target=Y, kernel=None):
    return witness_slope(points, particles, target, rbf(1.0) if kernel is None else kernel)


def loss(witness=WITNESS, clean=CUBE, other=CUBE, levels=GROUPS, **options):
    return witness_loss(witness, clean, other, levels, **options)


def train(witness=FORGETFUL, data=Y, steps=3, **options):
    return train_witness(witness, data, steps, **options)


def adapt(witness=WITNESS, particles=Z, levels=LEVELS, step=0.1, inner_steps=2, **options):
    return adaptive_flow(witness, particles, levels, step, inner_steps, **options)


def raised(witness=WITNESS, particles=Z, levels=LEVELS, step=0.1, inner_steps=2, **options):
    return kale_flow(witness, particles, levels, step, inner_steps, **options)


def alone(witness=WITNESS, particles=Z, levels=LEVELS, **options):
    return approximate_flow(witness, particles, levels, **options)


def end(states):
    *_, last = states
    return last


CASES = {
    # bandwidths and forces
    "distance below 0": (lambda: best_bandwidth(-1, 0.3, 2), ValueError, "distance", "-1", "[0, inf) or a tensor"),
    "distance nan": (lambda: best_bandwidth(NAN, 0.3, 2), ValueError, "distance", "nan", "[0, inf)"),
    "distance a word": (lambda: best_bandwidth("far", 0.3, 2), TypeError, "distance", "'far'", "[0, inf)"),
    "distance a list": (lambda: best_bandwidth([1, 2], 0.3, 2), TypeError, "distance", "[1, 2]", "or a tensor"),
    "std below 0": (lambda: best_bandwidth(1, -0.3, 2), ValueError, "std", "-0.3", "[0, inf)"),
    "std None": (lambda: best_bandwidth(1, None, 2), TypeError, "std", "None", "[0, inf)"),
    "dimension 0": (lambda: best_bandwidth(1, 0.3, 0), ValueError, "dimension", "0", "at least 1"),
    "dimension 2.5": (lambda: best_bandwidth(1, 0.3, 2.5), TypeError, "dimension", "2.5", "a whole number"),
    "force at distance -1": (lambda: gaussian_force(-1, 0.3, 1, 2), ValueError, "distance", "-1", "[0, inf)"),
    "force with std inf": (lambda: gaussian_force(1, INF, 1, 2), ValueError, "std", "inf", "[0, inf)"),
    "force with bandwidth -1": (lambda: gaussian_force(1, 0.3, -1, 2), ValueError, "bandwidth", "-1", "[0, inf)"),
    "force with a flag": (lambda: gaussian_force(1, 0.3, True, 2), TypeError, "bandwidth", "True", "[0, inf)"),
    "force of points": (lambda: gaussian_force(1, 0, 0, 2), ValueError, "(std, bandwidth)", "(0, 0)", "not both 0"),
    "force in dimension 0": (lambda: gaussian_force(1, 0.3, 1, 0), ValueError, "dimension", "0", "at least 1"),
    # kernels
    "scaled_rbf of 0": (lambda: scaled_rbf(0), ValueError, "bandwidth", "0", "(0, inf)"),
    "scaled_rbf of a tensor": (lambda: scaled_rbf(LEVEL), TypeError, "bandwidth", "tensor(0.5", "(0, inf)"),
    "riesz 0": (lambda: riesz(0), ValueError, "exponent", "0", "(0, 2)"),
    "riesz 2": (lambda: riesz(2), ValueError, "exponent", "2", "(0, 2)"),
    "riesz a word": (lambda: riesz("one"), TypeError, "exponent", "'one'", "(0, 2)"),
    "annealed from 0": (lambda: annealed(0, 1, 3), ValueError, "wide", "0", "(0, inf)"),
    "annealed from inf": (lambda: annealed(INF, 1, 3), ValueError, "wide", "inf", "(0, inf)"),
    "annealed to -1": (lambda: annealed(1, -1, 3), ValueError, "narrow", "-1", "(0, inf)"),
    "annealed to None": (lambda: annealed(1, None, 3), TypeError, "narrow", "None", "(0, inf)"),
    "annealed in no step": (lambda: annealed(4, 1, 0), ValueError, "steps", "0", "at least 1"),
    "annealed in 2.5 steps": (lambda: annealed(4, 1, 2.5), TypeError, "steps", "2.5", "a whole number"),
    "annealed by name": (lambda: annealed(4, 1, 3, "rbf"), TypeError, "kernel", "str", "(bandwidth) -> kernel"),
    # the flow of a kernel
    "flow of a list": (lambda: flow([[0.0, 0.0]]), TypeError, "particles", "list", "torch.Tensor"),
    "flow of integers": (lambda: flow(Z.long()), TypeError, "particles", "int64", "floating"),
    "flow of one flat point": (lambda: flow(Z[0]), ValueError, "particles", "(2,)", "(n, d)"),
    "flow of no particle": (lambda: flow(Z[:0]), ValueError, "particles", "(0, 2)", "n >= 1"),
    "flow to a law": (lambda: flow(target=eight_gaussians()), TypeError, "target", "GaussianMixture", "torch.Tensor"),
    "flow to nothing": (lambda: flow(target=Y[:0]), ValueError, "target", "(0, 2)", "n >= 1"),
    "flow to another dimension": (lambda: flow(target=PHI), ValueError, "target", "(4, 3)", "(m, 2) like particles"),
    "flow to another dtype": (lambda: flow(target=Y.double()), TypeError, "target", "float64", "float32 like particles"),
    "step 0": (lambda: flow(step=0), ValueError, "step", "0", "(0, inf)"),
    "step nan": (lambda: flow(step=NAN), ValueError, "step", "nan", "(0, inf)"),
    "step a schedule": (lambda: flow(step=[1, 2, 3]), TypeError, "step", "[1, 2, 3]", "(0, inf)"),
    "steps -1": (lambda: flow(steps=-1), ValueError, "steps", "-1", "at least 0"),
    "steps 2.5": (lambda: flow(steps=2.5), TypeError, "steps", "2.5", "a whole number"),
    "kernel a number": (lambda: flow(kernel=1.0), TypeError, "kernel", "float", "(a, b) -> (n, m)"),
    "kernel by its name": (lambda: flow(kernel="rbf"), TypeError, "kernel", "str", "(a, b) -> (n, m)"),
    "two kernels for three steps": (lambda: flow(kernel=[flat, flat]), ValueError, "kernel", "of 2", "each of 3"),
    "a schedule of bandwidths": (lambda: flow(kernel=[1, 2, 3]), TypeError, "kernel", "int", "a row of such"),
    "noise -1": (lambda: flow(noise=-1), ValueError, "noise", "-1", "[0, inf)"),
    "noise a word": (lambda: flow(noise=None), TypeError, "noise", "None", "[0, inf)"),
    "a schedule of two noises": (lambda: flow(noise=[0.1, 0.2]), ValueError, "noise", "of 2", "each of 3"),
    "one noise of three below 0": (lambda: flow(noise=[0.1, 0.2, -0.1]), ValueError, "noise", "-0.1", "[0, inf)"),
    "noise -1 and no step": (lambda: flow(steps=0, noise=-1), ValueError, "noise", "-1", "[0, inf)"),
    "no kernel and no step": (lambda: flow(steps=0, kernel=3), TypeError, "kernel", "int", "(a, b) -> (n, m)"),
    "a kernel of one row": (lambda: end(flow(kernel=one_row)), ValueError, "kernel(a, b)", "(1, 4)", "(4, 4)"),
    "a kernel without a slope": (lambda: end(flow(kernel=flat)), TypeError, "kernel(a, b)", "gradient", "differentiable"),
    # slopes
    "slope at a list": (lambda: slope([[0.0, 0.0]]), TypeError, "points", "list", "torch.Tensor"),
    "slope in another dimension": (lambda: slope(PHI), ValueError, "particles", "(4, 2)", "(m, 3) like points"),
    "slope of no particle": (lambda: slope(particles=Z[:0]), ValueError, "particles", "(0, 2)", "n >= 1"),
    "slope to nothing": (lambda: slope(target=Y[:0]), ValueError, "target", "(0, 2)", "n >= 1"),
    "slope to another dimension": (lambda: slope(target=PHI), ValueError, "target", "(4, 3)", "(m, 2) like particles"),
    "slope to another dtype": (lambda: slope(target=Y.double()), TypeError, "target", "float64", "float32"),
    "slope of a number": (lambda: slope(kernel=1.0), TypeError, "kernel", "float", "(a, b) -> (n, m)"),
    "slope of one row": (lambda: slope(kernel=one_row), ValueError, "kernel(a, b)", "(1, 4)", "(4, 4)"),
    # noise levels
    "low 0": (lambda: VariancePreserving(0.0), ValueError, "low", "0.0", "(0, 1)"),
    "low a word": (lambda: VariancePreserving("low"), TypeError, "low", "'low'", "(0, 1)"),
    "high 1.5": (lambda: VariancePreserving(0.1, 1.5), ValueError, "high", "1.5", "(0, 1]"),
    "high None": (lambda: VariancePreserving(0.1, None), TypeError, "high", "None", "(0, 1]"),
    "high below low": (lambda: VariancePreserving(0.5, 0.2), ValueError, "(low, high)", "(0.5, 0.2)", "low < high"),
    "one level": (lambda: VariancePreserving(0.5, 0.5), ValueError, "(low, high)", "(0.5, 0.5)", "low < high"),
    "exploding low 0": (lambda: VarianceExploding(0.0), ValueError, "low", "0.0", "(0, inf)"),
    "exploding low nan": (lambda: VarianceExploding(NAN), ValueError, "low", "nan", "(0, inf)"),
    "exploding high inf": (lambda: VarianceExploding(0.1, INF), ValueError, "high", "inf", "(0, inf)"),
    "exploding downwards": (lambda: VarianceExploding(3.0, 0.1), ValueError, "(low, high)", "(3.0, 0.1)", "low < high"),
    "data_std 0": (lambda: VarianceExploding(data_std=0), ValueError, "data_std", "0", "(0, inf)"),
    "data_std a tensor": (lambda: VarianceExploding(data_std=LEVEL), TypeError, "data_std", "tensor(0.5", "(0, inf)"),
    "no level": (lambda: VariancePreserving().levels(0), ValueError, "count", "0", "at least 1"),
    "2.5 levels": (lambda: VarianceExploding().levels(2.5), TypeError, "count", "2.5", "a whole number"),
    # features and witnesses
    "features of no dimension": (lambda: FeatureMLP(0), ValueError, "dim", "0", "at least 1"),
    "no features": (lambda: FeatureMLP(2, 0), ValueError, "num_features", "0", "at least 1"),
    "width 0": (lambda: FeatureMLP(2, width=0), ValueError, "width", "0", "at least 1"),
    "depth 1.5": (lambda: FeatureMLP(2, depth=1.5), TypeError, "depth", "1.5", "a whole number"),
    "waves -1": (lambda: FeatureMLP(2, waves=-1), ValueError, "waves", "-1", "at least 0"),
    "features of another dimension": (lambda: WITNESS(PHI, LEVEL), ValueError, "x", "(4, 3)", "(n, 2)"),
    "features of pictures": (lambda: WITNESS(CUBE, LEVEL), ValueError, "x", "(4, 3, 2)", "(n, 2)"),
    "a network that is a function": (lambda: NoiseConditionalWitness(flat), TypeError, "network", "function", "num_features"),
    "a network that does not say": (lambda: NoiseConditionalWitness(nn.Linear(2, 3)), TypeError, "network", "Linear", "num_features"),
    "a network of no feature": (lambda: NoiseConditionalWitness(Named(0)), TypeError, "network", "Named", "num_features"),
    "a network of many": (lambda: NoiseConditionalWitness(Named([3])), TypeError, "network", "Named", "num_features"),
    "noising by its name": (lambda: witness(noising="vp"), TypeError, "noising", "str", "VariancePreserving"),
    "noising a class": (lambda: witness(noising=VarianceExploding), TypeError, "noising", "type", "VarianceExploding"),
    "remember nothing": (lambda: FORGETFUL.remember(Y[:0]), ValueError, "data", "(0, 2)", "n >= 1"),
    "remember None": (lambda: FORGETFUL.remember(None), TypeError, "data", "NoneType", "a tensor, a law"),
    "remember integers": (lambda: FORGETFUL.remember(Y.long()), TypeError, "data", "int64", "floating"),
    "remember one flat point": (lambda: FORGETFUL.remember(Y[0]), ValueError, "data", "(2,)", "(n, d)"),
    "remember no rows": (lambda: FORGETFUL.remember(Y, rows=0), ValueError, "rows", "0", "at least 1"),
    "remember half a row": (lambda: FORGETFUL.remember(Y, rows=0.5), TypeError, "rows", "0.5", "a whole number"),
    # the loss
    "loss of a list": (lambda: loss(clean=[CUBE]), TypeError, "clean", "list", "torch.Tensor"),
    "loss of integers": (lambda: loss(clean=CUBE.long(), other=CUBE.long()), TypeError, "clean", "int64", "floating"),
    "loss of rows without groups": (lambda: loss(clean=Z, other=Z), ValueError, "(clean, other)", "(4, 2)", "(levels, n, *event)"),
    "loss of one point": (lambda: loss(clean=CUBE[:, :1], other=CUBE[:, :1]), ValueError, "(clean, other)", "(4, 1, 2)", "n >= 2"),
    "loss of unequal groups": (lambda: loss(other=CUBE[:3]), ValueError, "(clean, other)", "(3, 3, 2)", "both"),
    "loss of unequal events": (lambda: loss(other=CUBE[..., :1]), ValueError, "other", "(4, 3, 1)", "like clean"),
    "loss of two dtypes": (lambda: loss(other=CUBE.double()), TypeError, "other", "float64", "like clean"),
    "loss at a number": (lambda: loss(levels=0.5), TypeError, "levels", "float", "torch.Tensor"),
    "loss at a level too few": (lambda: loss(levels=GROUPS[:3]), ValueError, "levels", "(3,)", "(4,)"),
    "loss with penalty -1": (lambda: loss(penalty=-1), ValueError, "penalty", "-1", "[0, inf)"),
    "loss with shrinkage nan": (lambda: loss(shrinkage=NAN), ValueError, "shrinkage", "nan", "[0, inf)"),
    # training
    "train a network": (lambda: train(FeatureMLP(2)), TypeError, "witness", "FeatureMLP", "a NoiseConditionalWitness"),
    "train for no step": (lambda: train(steps=0), ValueError, "steps", "0", "at least 1"),
    "train for half a step": (lambda: train(steps=0.5), TypeError, "steps", "0.5", "a whole number"),
    "penalty -1": (lambda: train(penalty=-1), ValueError, "penalty", "-1", "[0, inf)"),
    "penalty a word": (lambda: train(penalty="one-sided"), TypeError, "penalty", "'one-sided'", "[0, inf)"),
    "shrinkage inf": (lambda: train(shrinkage=INF), ValueError, "shrinkage", "inf", "[0, inf)"),
    "batch_size 1": (lambda: train(batch_size=1), ValueError, "batch_size", "1", "at least 2"),
    "batch_size 12.5": (lambda: train(batch_size=12.5), TypeError, "batch_size", "12.5", "a whole number"),
    "levels_per_step 0": (lambda: train(levels_per_step=0), ValueError, "levels_per_step", "0", "at least 1"),
    "learning_rate 0": (lambda: train(learning_rate=0), ValueError, "learning_rate", "0", "(0, inf)"),
    "resume from nothing": (lambda: train(resume={}), ValueError, "resume", "dict", "TrainingState.state_dict()"),
    "train on None": (lambda: next(train(data=None)), TypeError, "data", "NoneType", "a tensor, a law"),
    "train on nothing": (lambda: next(train(data=Y[:0])), ValueError, "data", "(0, 2)", "at least one row"),
    "train on integers": (lambda: next(train(data=Y.long())), TypeError, "data", "int64", "floating"),
    "train in another dimension": (lambda: next(train(data=PHI)), ValueError, "x", "(768, 3)", "(n, 2)"),
    # flows of a witness
    "flow of a network": (lambda: adapt(FeatureMLP(2)), TypeError, "witness", "FeatureMLP", "a NoiseConditionalWitness"),
    "adaptive flow of a list": (lambda: adapt(particles=[[0.0, 0.0]]), TypeError, "particles", "list", "torch.Tensor"),
    "adaptive flow of integers": (lambda: adapt(particles=Z.long()), TypeError, "particles", "int64", "floating"),
    "adaptive flow of no particle": (lambda: adapt(particles=Z[:0]), ValueError, "particles", "(0, 2)", "n >= 1"),
    "adaptive flow in another dtype": (lambda: adapt(particles=Z.double()), TypeError, "particles", "float64", "float32 like"),
    "levels a number": (lambda: adapt(levels=25), TypeError, "levels", "int", "torch.Tensor"),
    "levels a list": (lambda: adapt(levels=[0.5, 0.1]), TypeError, "levels", "list", "torch.Tensor"),
    "levels whole": (lambda: adapt(levels=torch.ones(3, dtype=torch.long)), TypeError, "levels", "int64", "floating"),
    "levels none": (lambda: adapt(levels=LEVELS[:0]), ValueError, "levels", "(0,)", "at least one level"),
    "levels in a column": (lambda: adapt(levels=LEVELS[:, None]), ValueError, "levels", "(3, 1)", "one row"),
    "levels a point": (lambda: adapt(levels=LEVEL), ValueError, "levels", "()", "one row"),
    "levels too high": (lambda: adapt(levels=1.1 * LEVELS), ValueError, "levels", "outside", "from 0.05 to 1"),
    "levels too low": (lambda: adapt(levels=LEVELS - 0.01), ValueError, "levels", "outside", "from 0.05 to 1"),
    "levels nan": (lambda: adapt(levels=NAN * LEVELS), ValueError, "levels", "outside", "from 0.05 to 1"),
    "adaptive step 0": (lambda: adapt(step=0), ValueError, "step", "0", "(0, inf)"),
    "adaptive step None": (lambda: adapt(step=None), TypeError, "step", "None", "(0, inf)"),
    "inner_steps 0": (lambda: adapt(inner_steps=0), ValueError, "inner_steps", "0", "at least 1"),
    "inner_steps 0.5": (lambda: adapt(inner_steps=0.5), TypeError, "inner_steps", "0.5", "a whole number"),
    "nothing remembered": (lambda: adapt(FORGETFUL), ValueError, "data", "None", "given"),
    "data of another dimension": (lambda: adapt(data=PHI), ValueError, "data", "(4, 3)", "(m, 2) like particles"),
    "data of another dtype": (lambda: adapt(data=Y.double()), TypeError, "data", "float64", "float32 like particles"),
    "no data": (lambda: adapt(data=Y[:0]), ValueError, "data", "(0, 2)", "n >= 1"),
    "data a word": (lambda: adapt(data="digits"), TypeError, "data", "str", "a tensor, a law"),
    "data of another law": (lambda: adapt(data=HiddenPlane(3)), ValueError, "data", "(4096, 3)", "(m, 2) like particles"),
    "lam 0": (lambda: raised(lam=0), ValueError, "lam", "0", "(0, inf)"),
    "lam inf": (lambda: raised(lam=INF), ValueError, "lam", "inf", "(0, inf)"),
    "lam a word": (lambda: raised(lam="small"), TypeError, "lam", "'small'", "(0, inf)"),
    "kale flow of a network": (lambda: raised(FeatureMLP(2)), TypeError, "witness", "FeatureMLP", "a NoiseConditionalWitness"),
    "kale flow with step -1": (lambda: raised(step=-1), ValueError, "step", "-1", "(0, inf)"),
    "kale flow without data": (lambda: raised(FORGETFUL), ValueError, "data", "None", "given"),
    "kale flow beyond its levels": (lambda: raised(levels=2 * LEVELS), ValueError, "levels", "outside", "from 0.05 to 1"),
    "share 0": (lambda: alone(share=0), ValueError, "share", "0", "(0, inf)"),
    "share nan": (lambda: alone(share=NAN), ValueError, "share", "nan", "(0, inf)"),
    "share None": (lambda: alone(share=None), TypeError, "share", "None", "(0, inf)"),
    "alone without a memory": (lambda: alone(FORGETFUL), ValueError, "data", "None", "remembers none"),
    "alone upwards": (lambda: alone(levels=LEVELS.flip(0)), ValueError, "levels", "rising", "falling"),
    "alone beyond its levels": (lambda: alone(levels=2 * LEVELS), ValueError, "levels", "outside", "from 0.05 to 1"),
    "alone from integers": (lambda: alone(particles=Z.long()), TypeError, "particles", "int64", "floating"),
    # KALE
    "kale of a list": (lambda: kale([PHI], PHI), TypeError, "data", "list", "torch.Tensor"),
    "kale of integers": (lambda: kale(PHI.long(), PHI), TypeError, "data", "int64", "floating"),
    "kale of no data": (lambda: kale(PHI[:0], PHI), ValueError, "data", "(0, 3)", "n >= 1"),
    "kale of no particle": (lambda: kale(PHI, PHI[:0]), ValueError, "particles", "(0, 3)", "n >= 1"),
    "kale of other features": (lambda: kale(PHI, Z), ValueError, "particles", "(4, 2)", "(m, 3) like data"),
    "kale of pictures": (lambda: kale(CUBE, CUBE), ValueError, "data", "(4, 3, 2)", "(n, p)"),
    "kale of two dtypes": (lambda: kale(PHI, PHI.double()), TypeError, "particles", "float64", "float32 like data"),
    "kale with lam 0": (lambda: kale(PHI, PHI, 0), ValueError, "lam", "0", "(0, inf)"),
    "kale with lam None": (lambda: kale(PHI, PHI, None), TypeError, "lam", "None", "(0, inf)"),
    "kale with no iteration": (lambda: kale(PHI, PHI, 1.0, 0), ValueError, "iterations", "0", "at least 1"),
    "kale with 2.5 iterations": (lambda: kale(PHI, PHI, 1.0, 2.5), TypeError, "iterations", "2.5", "a whole number"),
    # the hidden plane
    "a plane in a plane": (lambda: HiddenPlane(2), ValueError, "dimension", "2", "at least 3"),
    "a plane in 3.5": (lambda: HiddenPlane(3.5), TypeError, "dimension", "3.5", "a whole number"),
    "seed -1": (lambda: HiddenPlane(3, seed=-1), ValueError, "seed", "-1", "at least 0"),
    "seed None": (lambda: HiddenPlane(3, seed=None), TypeError, "seed", "None", "a whole number"),
    "std 0 of a Gaussian": (lambda: HiddenPlane(3, std=0), ValueError, "std", "0", "(0, inf)"),
    "no sample": (lambda: HiddenPlane(3).sample(0), ValueError, "n", "0", "at least 1"),
    "the plane of other points": (lambda: HiddenPlane(3).plane(Z), ValueError, "points", "(4, 2)", "(n, 3)"),
    "the plane of one flat point": (lambda: HiddenPlane(3).plane(PHI[0]), ValueError, "points", "(3,)", "(n, 3)"),
    "the plane of a list": (lambda: HiddenPlane(3).plane([[0.0] * 3]), TypeError, "points", "list", "torch.Tensor"),
    "the plane of integers": (lambda: HiddenPlane(3).plane(PHI.long()), TypeError, "points", "int64", "floating"),
}  # fmt: skip


@pytest.mark.parametrize("call, error, argument, came, allowed", CASES.values(), ids=CASES.keys())  # noqa: PT006
def test_refused_with_one_sentence_that_names_argument_what_came_and_what_is_allowed(
    call, error, argument, came, allowed
):
    assert_refused(call, error, argument, came, allowed)


@pytest.mark.parametrize(
    "options", [{"penalty": -1}, {"shrinkage": -1}, {"batch_size": 1}, {"levels_per_step": 0}], ids=str
)
def test_training_that_is_refused_has_moved_nothing(options):
    module = witness(remembers=False)
    before = [value.clone() for value in module.state_dict().values()]
    with pytest.raises(ValueError, match=next(iter(options))):
        train(module, **options)
    assert all(torch.equal(now, then) for now, then in zip(module.state_dict().values(), before, strict=True))


def test_one_kernel_and_one_noise_or_rows_of_them_and_numbers_of_numpy():
    ends = [
        end(flow(kernel=kernel, step=step, noise=noise))
        for kernel in (rbf(1.0), [rbf(1.0)] * 3, (rbf(np.float64(1.0)),) * 3)
        for step, noise in ((0.1, 0), (np.float64(0.1), [0, 0.0, np.float32(0)]))
    ]
    assert all(torch.equal(points, ends[0]) for points in ends)
    assert torch.equal(end(flow(steps=0, kernel=flat)), Z)
    assert best_bandwidth(np.float64(4), np.float32(0.3), 2) == pytest.approx(1.9545, abs=5e-5)
    assert kale(PHI, PHI, np.float32(0.5), np.int64(3)).value.abs() < 1e-6


def test_levels_may_be_in_any_order_for_all_but_independent_particles_and_touch_the_ends():
    for noising in (VariancePreserving(), VarianceExploding(1, 3, 2), VarianceExploding(0.1, 30.0)):
        module = witness(noising=noising)
        for levels in (noising.levels(4), noising.levels(4).float(), noising.levels(4).flip(0), noising.levels(1)):
            assert end(adapt(module, levels=levels)).shape == Z.shape
            assert end(raised(module, levels=levels)).shape == Z.shape
        assert len(list(alone(module, levels=noising.levels(4).float()))) == 4
        assert len(list(alone(module, levels=noising.levels(1)))) == 1


def test_a_witness_that_remembers_nothing_flows_when_data_are_given():
    for data in (Y, eight_gaussians(), lambda n, generator: torch.zeros(n, 2)):
        assert end(adapt(FORGETFUL, data=data)).shape == Z.shape
        assert end(raised(FORGETFUL, data=data)).shape == Z.shape
