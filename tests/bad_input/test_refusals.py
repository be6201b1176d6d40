"""Bad input is refused at the door with one sentence: the argument, what came, what is allowed.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import numpy as np
import pytest
import torch

from companion.data import images, toy
from companion.foundations import diffusion, distances, mixtures, networks, training, validation
from companion.methods import distributional
from tests.bad_input.sentences import assert_refused

X, Y, DRAWS = torch.zeros(4, 2), torch.ones(3, 2), torch.zeros(2, 4, 2)
IMAGES = torch.zeros(2, 1, 8, 8)
LAW = toy.two_gaussians()
PLAIN = distributional.DistributionalDenoiser(networks.TimeMLP(dim=2), None)
NOISY = distributional.DistributionalDenoiser(networks.TimeMLP(dim=2, noise_dim=3), (3,))
LINE = torch.nn.Linear(2, 1)
GRID = diffusion.time_grid(2)


def exhaust(states):
    for _ in states:
        pass


def saved_state(generator=None):
    return next(training.train(LINE, lambda model: model(X).sum(), 3, generator=generator)).state_dict()


def score(predictions=DRAWS, target=X, **options):
    return distributional.energy_score_loss(predictions, target, **options)


def train_line(**options):
    return training.train(**{"model": LINE, "loss": lambda model: model(X).sum(), "steps": 3} | options)


def train_points(**options):
    return distributional.train_distributional(**{"model": NOISY, "data": X, "steps": 3} | options)


# each row: a call, the error, the argument that the sentence names, what came, and a word of what is allowed
CASES = {
    # validation
    "require_same_event of a vector": (lambda: validation.require_same_event("x", X[0], "y", Y), ValueError, "x", "(2,)", "(n, d)"),
    # distances
    "energy_distance of lists": (lambda: distances.energy_distance([[1.0]], Y), TypeError, "x", "list", "torch.Tensor"),
    "energy_distance of arrays": (lambda: distances.energy_distance(X, np.ones((3, 2))), TypeError, "y", "ndarray", "torch.Tensor"),
    "energy_distance of integers": (lambda: distances.energy_distance(X.long(), Y), TypeError, "x", "int64", "floating"),
    "energy_distance of vectors": (lambda: distances.energy_distance(X[:, 0], Y), ValueError, "x", "(4,)", "(n, d)"),
    "energy_distance across dimensions": (lambda: distances.energy_distance(X, torch.ones(3, 5)), ValueError, "y", "(3, 5)", "(m, 2)"),
    "energy_distance across image sizes": (lambda: distances.energy_distance(IMAGES, torch.zeros(2, 1, 4, 4)), ValueError, "y", "(2, 1, 4, 4)", "(m, 1, 8, 8)"),
    "energy_distance across dtypes": (lambda: distances.energy_distance(X, Y.double()), TypeError, "y", "float64", "float32"),
    "energy_distance of one point": (lambda: distances.energy_distance(X, Y[:1]), ValueError, "y", "1 point", "at least 2"),
    "energy_distance at beta 0": (lambda: distances.energy_distance(X, Y, 0.0), ValueError, "beta", "0.0", "(0, 2]"),
    "energy_distance at beta 3": (lambda: distances.energy_distance(X, Y, 3), ValueError, "beta", "3", "(0, 2]"),
    "energy_distance at beta nan": (lambda: distances.energy_distance(X, Y, float("nan")), ValueError, "beta", "nan", "(0, 2]"),
    "energy_distance at beta '1'": (lambda: distances.energy_distance(X, Y, "1"), TypeError, "beta", "'1'", "(0, 2]"),
    "mmd2 of one point": (lambda: distances.mmd2(X[:1], Y, distances.rbf(1)), ValueError, "x", "1 point", "at least 2"),
    "mmd2 with a bandwidth for a kernel": (lambda: distances.mmd2(X, Y, 1.0), TypeError, "kernel", "float", "callable"),
    "mmd2 with a kernel of the wrong shape": (lambda: distances.mmd2(X, Y, lambda a, b: torch.zeros(3)), ValueError, "kernel(a, b)", "(3,)", "(1, 1)"),
    "mmd2 with a kernel to be trained": (lambda: distances.mmd2(X, Y, lambda a, b: torch.cdist(a, b) * LINE.bias), ValueError, "kernel", "itself to be trained", "fixed"),
    "rbf of width 0": (lambda: distances.rbf(0.0), ValueError, "bandwidth", "0.0", "(0, inf)"),
    "rbf of no number": (lambda: distances.rbf(None), TypeError, "bandwidth", "None", "(0, inf)"),
    "rational_quadratic of negative scale": (lambda: distances.rational_quadratic(-1.0), ValueError, "scale", "-1.0", "(0, inf)"),
    "rational_quadratic of exponent 0": (lambda: distances.rational_quadratic(1.0, 0), ValueError, "exponent", "0", "(0, inf)"),
    "noise_floor from one repeat": (lambda: distances.noise_floor(lambda: X, repeats=1), ValueError, "repeats", "1", "at least 2"),
    "noise_floor of a cloud": (lambda: distances.noise_floor(X), TypeError, "draw", "Tensor", "callable"),
    # mixtures
    "mixture of lists": (lambda: mixtures.GaussianMixture([[0.0]], torch.ones(1)), TypeError, "means", "list", "torch.Tensor"),
    "mixture of integers": (lambda: mixtures.GaussianMixture(torch.zeros(1, 1), torch.ones(1).long()), TypeError, "stds", "int64", "floating"),
    "mixture of flat means": (lambda: mixtures.GaussianMixture(torch.zeros(3), torch.ones(3)), ValueError, "means", "(3,)", "(k, d)"),
    "mixture with too few stds": (lambda: mixtures.GaussianMixture(X, torch.ones(3)), ValueError, "stds", "(3,)", "(4,)"),
    "mixture with std 0": (lambda: mixtures.GaussianMixture(X, torch.tensor([1.0, 0, 1, 1])), ValueError, "stds", "[1.0, 0.0, 1.0, 1.0]", "positive"),
    "mixture with too many weights": (lambda: mixtures.GaussianMixture(X, torch.ones(4), torch.ones(5)), ValueError, "weights", "(5,)", "(4,)"),
    "mixture with a negative weight": (lambda: mixtures.GaussianMixture(Y, torch.ones(3), torch.tensor([1.0, -1, 1])), ValueError, "weights", "-1.0", "non-negative"),
    "mixture with weights all 0": (lambda: mixtures.GaussianMixture(Y, torch.ones(3), torch.zeros(3)), ValueError, "weights", "0.0", "not all 0"),
    "mixture.sample of none": (lambda: LAW.sample(0), ValueError, "n", "0", "at least 1"),
    "mixture.sample of half a point": (lambda: LAW.sample(2.5), TypeError, "n", "2.5", "whole number"),
    "mixture.log_prob in another dimension": (lambda: LAW.log_prob(torch.zeros(4, 1)), ValueError, "x", "(4, 1)", "(n, 2)"),
    "mixture.score of one flat point": (lambda: LAW.score(torch.zeros(2), 0.5), ValueError, "x", "(2,)", "(n, 2)"),
    "mixture.denoise of a list": (lambda: LAW.denoise([[0.0, 0.0]], 0.5), TypeError, "x", "list", "torch.Tensor"),
    "mixture.denoise at time 2": (lambda: LAW.denoise(X, 2.0), ValueError, "t", "2.0", "[0, 1]"),
    "mixture.posterior at too few times": (lambda: LAW.posterior(X, torch.zeros(3)), ValueError, "t", "(3,)", "(4,)"),
    "mixture.sample_posterior at no time": (lambda: LAW.sample_posterior(X, None), TypeError, "t", "None", "[0, 1]"),
    # diffusion
    "time_grid of no step": (lambda: diffusion.time_grid(0), ValueError, "steps", "0", "at least 1"),
    "time_grid of 2.5 steps": (lambda: diffusion.time_grid(2.5), TypeError, "steps", "2.5", "whole number"),
    "time_grid that rises": (lambda: diffusion.time_grid(5, 0.0, 1.0), ValueError, "(start, end)", "(0.0, 1.0)", "0 <= end < start <= 1"),
    "add_noise of another shape": (lambda: diffusion.add_noise(X, 0.5, torch.zeros(2)), ValueError, "noise", "(2,)", "(4, 2)"),
    "add_noise to integers": (lambda: diffusion.add_noise(X.long(), 0.5, X), TypeError, "x0", "int64", "floating"),
    "add_noise at a negative time": (lambda: diffusion.add_noise(X, -0.1, X), ValueError, "t", "-0.1", "[0, 1]"),
    "add_noise at a word": (lambda: diffusion.add_noise(X, "now", X), TypeError, "t", "'now'", "[0, 1]"),
    "add_noise at too many times": (lambda: diffusion.add_noise(X, torch.zeros(4, 2), X), ValueError, "t", "(4, 2)", "(4,)"),
    "bridge with churn 1.5": (lambda: diffusion.bridge(X, X, 0.5, 0.2, 1.5), ValueError, "churn", "1.5", "0 (DDIM) to 1 (DDPM)"),
    "bridge upwards": (lambda: diffusion.bridge(X, X, 0.2, 0.5), ValueError, "(t, s)", "(0.2, 0.5)", "0 <= s < t <= 1"),
    "bridge to another shape": (lambda: diffusion.bridge(X, Y, 0.5, 0.2), ValueError, "x0", "(3, 2)", "(4, 2)"),
    "bridge at too few times": (lambda: diffusion.bridge(X, X, torch.ones(3), 0.2), ValueError, "t", "(3,)", "(4,)"),
    "sample without a denoiser": (lambda: diffusion.sample(None, X, GRID), TypeError, "denoiser", "NoneType", "callable"),
    "sample from integers": (lambda: diffusion.sample(LAW.denoise, X.long(), GRID), TypeError, "x", "int64", "floating"),
    "sample with a number of steps": (lambda: diffusion.sample(LAW.denoise, X, 50), TypeError, "times", "50", "time_grid"),
    "sample at one time": (lambda: diffusion.sample(LAW.denoise, X, torch.ones(1)), ValueError, "times", "(1,)", "at least two"),
    "sample upwards": (lambda: diffusion.sample(LAW.denoise, X, GRID.flip(0)), ValueError, "times", "[0.0, 0.5, 1.0]", "strictly falling"),
    "sample twice at one time": (lambda: diffusion.sample(LAW.denoise, X, torch.tensor([1, 0.5, 0.5, 0])), ValueError, "times", "[1.0, 0.5, 0.5, 0.0]", "strictly falling"),
    "sample from beyond time 1": (lambda: diffusion.sample(LAW.denoise, X, torch.tensor([80.0, 1.0, 0.0])), ValueError, "times", "80.0", "[0, 1]"),
    "sample with churn -1": (lambda: diffusion.sample(LAW.denoise, X, GRID, churn=-1), ValueError, "churn", "-1", "[0, 1]"),
    "sample with a denoiser of another shape": (lambda: exhaust(diffusion.sample(lambda x, t: x[:1], X, GRID)), ValueError, "denoiser(x, t)", "(1, 2)", "(4, 2)"),
    # networks
    "MLP of width 0": (lambda: networks.MLP(2, 2, width=0), ValueError, "width", "0", "at least 1"),
    "MLP of half a layer": (lambda: networks.MLP(2, 2, depth=0.5), TypeError, "depth", "0.5", "whole number"),
    "TimeMLP of noise -1": (lambda: networks.TimeMLP(2, noise_dim=-1), ValueError, "noise_dim", "-1", "at least 0"),
    "TimeMLP in another dimension": (lambda: networks.TimeMLP(3)(X, 0.5), ValueError, "x", "(4, 2)", "(n, 3)"),
    "TimeMLP without its noise": (lambda: NOISY.network(X, 0.5), ValueError, "noise", "None", "(4, 3)"),
    "TimeMLP with unwanted noise": (lambda: PLAIN.network(X, 0.5, X), ValueError, "noise", "(4, 2)", "None"),
    "TimeMLP with too little noise": (lambda: NOISY.network(X, 0.5, X), ValueError, "noise", "(4, 2)", "(4, 3)"),
    "ResidualNet of no stage": (lambda: networks.ResidualNet(stages=0), ValueError, "stages", "0", "at least 1"),
    "ResidualNet on colour": (lambda: networks.ResidualNet()(torch.zeros(2, 3, 8, 8)), ValueError, "x", "(2, 3, 8, 8)", "(n, 1, height, width)"),
    "UNet of no level": (lambda: networks.UNet(levels=0), ValueError, "levels", "0", "at least 1"),
    "UNet on flat images": (lambda: networks.UNet()(X, 0.5), ValueError, "x", "(4, 2)", "(n, 1, height, width)"),
    "UNet on odd images": (lambda: networks.UNet()(torch.zeros(2, 1, 7, 8), 0.5), ValueError, "x", "7x8", "divisible by 2"),
    "UNet without its noise": (lambda: networks.UNet(noise_channels=1)(IMAGES, 0.5), ValueError, "noise", "None", "(2, 1, 8, 8)"),
    "UNet at too few times": (lambda: networks.UNet()(IMAGES, torch.zeros(3)), ValueError, "t", "(3,)", "(2,)"),
    # training
    "draw_batch of a path": (lambda: training.draw_batch("data.csv", 3), TypeError, "data", "str", "a law with .sample"),
    "draw_batch of no row": (lambda: training.draw_batch(X, 0), ValueError, "n", "0", "at least 1"),
    "draw_batch from no row": (lambda: training.draw_batch(X[:0], 3), ValueError, "data", "(0, 2)", "at least one row"),
    "train for no step": (lambda: train_line(steps=0), ValueError, "steps", "0", "at least 1"),
    "train a function": (lambda: train_line(model=torch.sin), TypeError, "model", "builtin_function_or_method", "torch.nn.Module"),
    "train without a loss": (lambda: train_line(loss=torch.zeros(())), TypeError, "loss", "Tensor", "callable"),
    "train at rate 0": (lambda: train_line(learning_rate=0.0), ValueError, "learning_rate", "0.0", "(0, inf)"),
    "train with decay 1": (lambda: train_line(average_decay=1.0), ValueError, "average_decay", "1.0", "[0, 1)"),
    "train with a loss for each row": (lambda: exhaust(train_line(loss=lambda model: model(X)[:, 0])), ValueError, "loss(model)", "(4,)", "scalar"),
    "resume from weights alone": (lambda: train_line(resume=LINE.state_dict()), ValueError, "resume", "OrderedDict", "state_dict()"),
    "resume from a path": (lambda: train_line(resume="model.pt"), ValueError, "resume", "str", "state_dict()"),
    "resume beyond the end": (lambda: train_line(steps=1, resume=saved_state()), ValueError, "resume", "step 1", "before the last step, 1"),
    "resume without the generator": (lambda: train_line(resume=saved_state(torch.Generator())), ValueError, "generator", "None", "before the resume"),
    # distributional
    "energy score of lists": (lambda: score([[0.0]]), TypeError, "predictions", "list", "torch.Tensor"),
    "energy score of integers": (lambda: score(target=X.long()), TypeError, "target", "int64", "floating"),
    "energy score without a population axis": (lambda: score(X), ValueError, "predictions", "(4, 2)", "(m, 4, 2)"),
    "energy score of axes in the wrong order": (lambda: score(torch.zeros(4, 5, 2)), ValueError, "predictions", "(4, 5, 2)", "(m, 4, 2)"),
    "energy score of one draw": (lambda: score(X[None]), ValueError, "predictions", "1 draw", "1 when lam is 0"),
    "energy score at beta 0": (lambda: score(beta=0), ValueError, "beta", "0", "(0, 2]"),
    "energy score at beta 2.5": (lambda: score(beta=2.5), ValueError, "beta", "2.5", "(0, 2]"),
    "energy score at lam 2": (lambda: score(lam=2.0), ValueError, "lam", "2.0", "[0, 1]"),
    "energy score at lam None": (lambda: score(lam=None), TypeError, "lam", "None", "[0, 1]"),
    "energy score with too few weights": (lambda: score(weight=torch.ones(3)), ValueError, "weight", "(3,)", "(4,)"),
    "energy score with a number for weights": (lambda: score(weight=0.5), TypeError, "weight", "float", "torch.Tensor"),
    "optimal_spread at lam -1": (lambda: distributional.optimal_spread(-1.0), ValueError, "lam", "-1.0", "[0, 1]"),
    "optimal_spread at beta 2": (lambda: distributional.optimal_spread(1.0, 2.0), ValueError, "beta", "2.0", "does not depend on the spread"),
    "expected_score of a number": (lambda: distributional.expected_score(0.5), TypeError, "spread", "float", "torch.Tensor"),
    "expected_score in no dimension": (lambda: distributional.expected_score(torch.ones(2), dim=0), ValueError, "dim", "0", "at least 1"),
    "expected_score at beta -1": (lambda: distributional.expected_score(torch.ones(2), beta=-1.0), ValueError, "beta", "-1.0", "(0, 2]"),
    "denoiser of a function": (lambda: distributional.DistributionalDenoiser(torch.sin, (2,)), TypeError, "network", "builtin_function_or_method", "torch.nn.Module"),
    "denoiser with a number for a noise shape": (lambda: distributional.DistributionalDenoiser(LINE, 2), TypeError, "noise_shape", "2", "(2,)"),
    "denoiser with a negative noise length": (lambda: distributional.DistributionalDenoiser(LINE, (-2,)), ValueError, "each length in noise_shape", "-2", "at least 1"),
    "denoiser with noise of another shape": (lambda: NOISY(X, 0.5, noise=X), ValueError, "noise", "(4, 2)", "(4, 3)"),
    "denoiser with unwanted noise": (lambda: PLAIN(X, 0.5, noise=X), ValueError, "noise", "given", "None"),
    "no draws": (lambda: NOISY.draws(X, 0.5, 0), ValueError, "population", "0", "at least 1"),
    "draws at too few times": (lambda: NOISY.draws(X, torch.zeros(3), 2), ValueError, "t", "(3,)", "(4,)"),
    "train a bare network": (lambda: train_points(model=NOISY.network), TypeError, "model", "TimeMLP", "DistributionalDenoiser"),
    "train on nothing": (lambda: exhaust(train_points(data=None)), TypeError, "data", "NoneType", "a law with .sample"),
    "train with a population of 1": (lambda: train_points(population=1), ValueError, "population", "1", "1 when lam is 0"),
    "train with a population of 0": (lambda: train_points(population=0), ValueError, "population", "0", "at least 1"),
    "train on empty batches": (lambda: train_points(batch_size=0), ValueError, "batch_size", "0", "at least 1"),
    "train at beta 0": (lambda: train_points(beta=0.0), ValueError, "beta", "0.0", "(0, 2]"),
    "train at lam '1'": (lambda: train_points(lam="1"), TypeError, "lam", "'1'", "[0, 1]"),
    "train with weights that are a tensor": (lambda: train_points(weight=torch.ones(4)), TypeError, "weight", "Tensor", "callable"),
    "train for -1 steps": (lambda: train_points(steps=-1), ValueError, "steps", "-1", "at least 1"),
    "sample_distributional with no model": (lambda: distributional.sample_distributional(None, X, GRID), TypeError, "model", "NoneType", "callable"),
    "sample_distributional upwards": (lambda: distributional.sample_distributional(NOISY, X, GRID.flip(0)), ValueError, "times", "[0.0, 0.5, 1.0]", "strictly falling"),
    "sample_distributional with churn 2": (lambda: distributional.sample_distributional(NOISY, X, GRID, 2.0), ValueError, "churn", "2.0", "[0, 1]"),
    "sample_distributional from integers": (lambda: distributional.sample_distributional(NOISY, X.long(), GRID), TypeError, "x", "int64", "floating"),
    # data
    "eight Gaussians of std 0": (lambda: toy.eight_gaussians(std=0.0), ValueError, "std", "0.0", "(0, inf)"),
    "two Gaussians at a negative distance": (lambda: toy.two_gaussians(distance=-1.0), ValueError, "distance", "-1.0", "[0, inf)"),
    "no point of the checkerboard": (lambda: toy.Checkerboard().sample(0), ValueError, "n", "0", "at least 1"),
    "half a point of the moons": (lambda: toy.TwoMoons().sample(0.5), TypeError, "n", "0.5", "whole number"),
    "digits for validation": (lambda: images.digits("valid"), ValueError, "split", "'valid'", '"train" or "test"'),
    "digits with a negative seed": (lambda: images.digits(seed=-1), ValueError, "seed", "-1", "at least 0"),
    "fashion for nothing": (lambda: images.fashion(None), ValueError, "split", "None", '"train" or "test"'),
}  # fmt: skip


@pytest.mark.parametrize("call, error, argument, came, allowed", CASES.values(), ids=CASES.keys())  # noqa: PT006
def test_refused_with_one_sentence_that_names_argument_what_came_and_what_is_allowed(
    call, error, argument, came, allowed
):
    assert_refused(call, error, argument, came, allowed)


def test_refusals_of_samplers_and_training_come_at_the_call_not_at_the_first_state():
    """A generator function would keep silent until it is first asked; these calls are never asked."""
    with pytest.raises(ValueError, match="churn"):
        distributional.sample_distributional(NOISY, X, GRID, churn=5.0)
    with pytest.raises(ValueError, match="steps"):
        train_points(steps=0)
