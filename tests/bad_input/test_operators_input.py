"""Fourier operators, porous squares and regression data refuse bad input: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import numpy as np
import pytest
import torch

from companion.data.darcy import Darcy, solve
from companion.data.regression import Confounded, SineWaves
from companion.foundations.fourier import FourierOperator, FourierOperator1d, FourierOperator2d, SpectralConvolution
from tests.bad_input.sentences import assert_refused

NAN, INF = float("nan"), float("inf")
LINE, SQUARE = FourierOperator1d(2, 3, 4, 3, 1), FourierOperator2d(1, 3, 4, 3, 1)
A, X = torch.ones(5, 5), torch.zeros(4, 2)


def sized(**sizes):
    return FourierOperator(**({"inputs": 1, "features": 3, "axes": 1} | sizes))


def spoiled(value: float) -> torch.Tensor:
    permeability = A.clone()
    permeability[1, 3] = value
    return permeability


CASES = {
    # operators
    "no inputs": (lambda: sized(inputs=0), ValueError, "inputs", "0", "at least 1"),
    "inputs 1.5": (lambda: sized(inputs=1.5), TypeError, "inputs", "1.5", "a whole number"),
    "no features": (lambda: sized(features=0), ValueError, "features", "0", "at least 1"),
    "features None": (lambda: sized(features=None), TypeError, "features", "None", "a whole number"),
    "no axes": (lambda: sized(axes=0), ValueError, "axes", "0", "at least 1"),
    "axes True": (lambda: sized(axes=True), TypeError, "axes", "True", "a whole number"),
    "width 0": (lambda: sized(width=0), ValueError, "width", "0", "at least 1"),
    "width a word": (lambda: sized(width="wide"), TypeError, "width", "'wide'", "a whole number"),
    "no modes": (lambda: sized(modes=0), ValueError, "modes", "0", "at least 1"),
    "modes 2.5": (lambda: sized(modes=2.5), TypeError, "modes", "2.5", "a whole number"),
    "depth 0": (lambda: sized(depth=0), ValueError, "depth", "0", "at least 1"),
    "depth -1": (lambda: sized(depth=-1), ValueError, "depth", "-1", "at least 1"),
    "a line of no features": (lambda: FourierOperator1d(1, 0), ValueError, "features", "0", "at least 1"),
    "a square without modes": (lambda: FourierOperator2d(1, 3, modes=0), ValueError, "modes", "0", "at least 1"),
    "a convolution of no channel": (lambda: SpectralConvolution(0, 3, 1), ValueError, "width", "0", "at least 1"),
    "a convolution of no mode": (lambda: SpectralConvolution(2, 0, 1), ValueError, "modes", "0", "at least 1"),
    "a convolution of half an axis": (lambda: SpectralConvolution(2, 3, 0.5), TypeError, "axes", "0.5", "a whole number"),
    "fields a list": (lambda: LINE([[[0.0, 0.0]] * 8]), TypeError, "fields", "a list", "a torch.Tensor"),
    "fields whole": (lambda: LINE(torch.zeros(1, 8, 2).long()), TypeError, "fields", "int64", "floating"),
    "fields complex": (lambda: LINE(torch.zeros(1, 8, 2) + 0j), TypeError, "fields", "complex64", "floating"),
    "one field without a batch": (lambda: LINE(torch.zeros(8, 2)), ValueError, "fields", "(8, 2)", "of shape (b, grid, 2)"),
    "a square for a line": (lambda: LINE(torch.zeros(1, 8, 8, 2)), ValueError, "fields", "(1, 8, 8, 2)", "of shape (b, grid, 2)"),
    "a line for a square": (lambda: SQUARE(torch.zeros(1, 8, 1)), ValueError, "fields", "(1, 8, 1)", "of shape (b, grid, grid, 1)"),
    "channels first": (lambda: SQUARE(torch.zeros(2, 1, 8, 8)), ValueError, "fields", "(2, 1, 8, 8)", "of shape (b, grid, grid, 1)"),
    "a number": (lambda: SQUARE(torch.zeros(())), ValueError, "fields", "()", "of shape (b, grid, grid, 1)"),
    "no fields": (lambda: LINE(torch.zeros(0, 8, 2)), ValueError, "fields", "(0, 8, 2)", "b at least 1"),
    "a grid too small": (lambda: LINE(torch.zeros(1, 5, 2)), ValueError, "fields", "(1, 5, 2)", "at least 6 points along each axis, for 3 modes"),
    "a grid too small along one axis": (lambda: SQUARE(torch.zeros(1, 9, 5, 1)), ValueError, "fields", "(1, 9, 5, 1)", "at least 6 points"),
    "a grid too small along the other": (lambda: SQUARE(torch.zeros(1, 5, 9, 1)), ValueError, "fields", "(1, 5, 9, 1)", "at least 6 points"),
    # porous squares
    "size 1": (lambda: Darcy(1), ValueError, "size", "1", "at least 2"),
    "size 16.0": (lambda: Darcy(16.0), TypeError, "size", "16.0", "a whole number"),
    "low 0": (lambda: Darcy(low=0), ValueError, "low", "0", "(0, inf)"),
    "low a tensor": (lambda: Darcy(low=torch.tensor(3.0)), TypeError, "low", "tensor(3.)", "(0, inf)"),
    "high inf": (lambda: Darcy(high=INF), ValueError, "high", "inf", "(0, inf)"),
    "high None": (lambda: Darcy(high=None), TypeError, "high", "None", "(0, inf)"),
    "no square": (lambda: Darcy().sample(0), ValueError, "n", "0", "at least 1"),
    "half a square": (lambda: Darcy().sample(0.5), TypeError, "n", "0.5", "a whole number"),
    "permeability a list": (lambda: solve([[1.0] * 3] * 3), TypeError, "permeability", "a list", "a torch.Tensor"),
    "permeability an array": (lambda: solve(np.ones((3, 3))), TypeError, "permeability", "a ndarray", "a torch.Tensor"),
    "permeability whole": (lambda: solve(A.long()), TypeError, "permeability", "int64", "floating"),
    "permeability of a line": (lambda: solve(A[0]), ValueError, "permeability", "(5,)", "(side, side), side at least 3"),
    "permeability of many": (lambda: solve(A[None]), ValueError, "permeability", "(1, 5, 5)", "(side, side), side at least 3"),
    "permeability of an oblong": (lambda: solve(A[:4]), ValueError, "permeability", "(4, 5)", "(side, side), side at least 3"),
    "permeability of an edge": (lambda: solve(A[:2, :2]), ValueError, "permeability", "(2, 2)", "side at least 3"),
    "permeability 0 at a point": (lambda: solve(spoiled(0)), ValueError, "permeability", "not positive", "above 0 and finite"),
    "permeability below 0": (lambda: solve(spoiled(-1)), ValueError, "permeability", "not positive", "above 0 and finite"),
    "permeability nan": (lambda: solve(spoiled(NAN)), ValueError, "permeability", "not positive", "above 0 and finite"),
    "permeability inf": (lambda: solve(spoiled(INF)), ValueError, "permeability", "not finite", "above 0 and finite"),
    "source with its edge": (lambda: solve(A, A), ValueError, "source", "(5, 5)", "a number or of shape (3, 3)"),
    "source of one row": (lambda: solve(A, A[0, :3]), ValueError, "source", "(3,)", "a number or of shape (3, 3)"),
    "source a word": (lambda: solve(A, "one"), TypeError, "source", "'one'", "a number"),
    "source nan": (lambda: solve(A, NAN), ValueError, "source", "nan", "(-inf, inf)"),
    # sums of sines
    "sines of nothing": (lambda: SineWaves(inputs=0), ValueError, "inputs", "0", "at least 1"),
    "no outputs": (lambda: SineWaves(outputs=0), ValueError, "outputs", "0", "at least 1"),
    "waves 2.5": (lambda: SineWaves(waves=2.5), TypeError, "waves", "2.5", "a whole number"),
    "frequency -1": (lambda: SineWaves(frequency=-1), ValueError, "frequency", "-1", "[0, inf)"),
    "frequency a word": (lambda: SineWaves(frequency="high"), TypeError, "frequency", "'high'", "[0, inf)"),
    "noise -0.1": (lambda: SineWaves(noise=-0.1), ValueError, "noise", "-0.1", "[0, inf)"),
    "noise nan": (lambda: SineWaves(noise=NAN), ValueError, "noise", "nan", "[0, inf)"),
    "seed -1": (lambda: SineWaves(seed=-1), ValueError, "seed", "-1", "at least 0"),
    "seed None": (lambda: SineWaves(seed=None), TypeError, "seed", "None", "a whole number"),
    "no row": (lambda: SineWaves().sample(0), ValueError, "n", "0", "at least 1"),
    "rows True": (lambda: SineWaves().sample(True), TypeError, "n", "True", "a whole number"),
    "sine of a list": (lambda: SineWaves()([[0.0, 0.0]]), TypeError, "x", "a list", "a torch.Tensor"),
    "sine of integers": (lambda: SineWaves()(X.long()), TypeError, "x", "int64", "floating"),
    "sine of one flat row": (lambda: SineWaves()(X[0]), ValueError, "x", "(2,)", "of shape (n, 2)"),
    "sine of other inputs": (lambda: SineWaves(inputs=3)(X), ValueError, "x", "(4, 2)", "of shape (n, 3)"),
    # a confounded cause
    "confounding inf": (lambda: Confounded(INF), ValueError, "confounding", "inf", "(-inf, inf)"),
    "confounding None": (lambda: Confounded(None), TypeError, "confounding", "None", "(-inf, inf)"),
    "confounded with noise -1": (lambda: Confounded(noise=-1), ValueError, "noise", "-1", "[0, inf)"),
    "confounded with no number": (lambda: Confounded(noise="some"), TypeError, "noise", "'some'", "[0, inf)"),
    "no confounded row": (lambda: Confounded().sample(0), ValueError, "n", "0", "at least 1"),
    "2.5 confounded rows": (lambda: Confounded().sample(2.5), TypeError, "n", "2.5", "a whole number"),
    "structure of a number": (lambda: Confounded().structural(1.0), TypeError, "treatment", "a float", "a torch.Tensor"),
    "structure of integers": (lambda: Confounded().structural(X.long()), TypeError, "treatment", "int64", "floating"),
}  # fmt: skip


@pytest.mark.parametrize("call, error, argument, came, allowed", CASES.values(), ids=CASES.keys())  # noqa: PT006
def test_refused_with_one_sentence_that_names_argument_what_came_and_what_is_allowed(
    call, error, argument, came, allowed
):
    assert_refused(call, error, argument, came, allowed)


def test_the_edges_of_what_is_allowed_and_numbers_of_numpy_do():
    assert LINE(torch.zeros(1, 6, 2)).shape == (1, 6, 3)
    assert SQUARE(torch.zeros(1, 6, 7, 1)).shape == (1, 6, 7, 3)
    assert sized(width=np.int64(2), modes=np.int64(1), depth=1)(torch.zeros(1, 2, 1)).shape == (1, 2, 3)
    permeability, pressure = Darcy(np.int64(2), low=np.float32(2), high=2).sample(1)
    assert torch.equal(permeability, torch.full((1, 2, 2), 2.0))
    assert bool((pressure > 0).all())
    assert solve(A[:3, :3], np.float64(-1)).item() == pytest.approx(-1 / 16)
    assert SineWaves(1, 1, 1, frequency=0, noise=0, seed=np.int64(3)).sample(1)[0].shape == (1, 1)
    assert Confounded(-1, np.float32(0)).sample(np.int64(2)).outcome.shape == (2, 1)
