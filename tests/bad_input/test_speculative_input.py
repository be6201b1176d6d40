"""Speculative sampling and Picard iteration refuse bad input with one sentence: argument, what came, what is allowed.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`. So does a test at
the end of what the hook would forbid.
"""

import numpy as np
import pytest
import torch

from companion.data.toy import eight_gaussians
from companion.foundations.diffusion import as_times, bridge_weights, time_grid
from companion.methods.rivals.picard import sample_picard
from companion.methods.speculative import (
    acceptance_probability,
    aimed_residuals,
    reflection_coupling,
    speculate,
    speculative_sample,
    speculative_tokens,
    transition_residuals,
)
from tests.bad_input.sentences import assert_refused

LAW, GRID = eight_gaussians(), time_grid(5)
X, ROW = torch.zeros(4, 2), torch.full((4,), 0.5)
PATH = torch.zeros(6, 4, 2)
FAIR = torch.full((3, 4), 0.25)
LOGITS = torch.tensor([[2.0, -1.0, 0.5, 0.0]]).expand(3, 4)


def run(x=X, times=GRID, denoiser=LAW.denoise, sampler=speculative_sample, **options):
    return sampler(denoiser, x, times, **options)


def couple(draft=X, draft_mean=X, target_mean=X, std=1.0, uniform=ROW):
    return reflection_coupling(draft, draft_mean, target_mean, std, uniform)


def first_row(x, t):
    """An answer for one point only, whatever came."""
    return x[:1]


# each row: a call, the error, the argument that the sentence names, what came, and a word of what is allowed
CASES = {
    # what the hook of the other tests would refuse first
    "no coupling": (lambda: run(coupling=None), TypeError, "coupling", "NoneType", "reflection_coupling"),
    "tokens as a list": (lambda: speculative_tokens(FAIR, FAIR, [0, 1, 2]), TypeError, "draft", "list", "whole numbers"),
    "tokens that are floats": (lambda: speculative_tokens(FAIR, FAIR, torch.zeros(3)), TypeError, "draft", "float32", "whole numbers"),
    "tokens that are flags": (lambda: speculative_tokens(FAIR, FAIR, torch.ones(3).bool()), TypeError, "draft", "bool", "whole numbers"),
    "a token too many": (lambda: speculative_tokens(FAIR, FAIR, torch.tensor([0, 4, 1])), ValueError, "draft", "outside", "tokens from 0 to 3"),
    "a path of nothing": (lambda: transition_residuals(LAW.denoise, None, GRID), TypeError, "path", "NoneType", "torch.Tensor"),
    "a path without noise": (lambda: transition_residuals(LAW.denoise, PATH[:2], time_grid(1)), ValueError, "times", "0 steps", "at least 1"),
    "a path with one noisy step": (lambda: aimed_residuals(LAW.denoise, PATH[:3], time_grid(2)), ValueError, "times", "1 steps", "at least 2"),
    # the sampler
    "churn 0": (lambda: run(churn=0.0), ValueError, "churn", "0.0", "without fresh noise (0) a step is a point, and two points that differ cannot be coupled"),
    "churn 1.5": (lambda: run(churn=1.5), ValueError, "churn", "1.5", "(0, 1]"),
    "churn nan": (lambda: run(churn=float("nan")), ValueError, "churn", "nan", "(0, 1]"),
    "churn 'full'": (lambda: run(churn="full"), TypeError, "churn", "'full'", "(0, 1]"),
    "window 0": (lambda: run(window=0), ValueError, "window", "0", "at least 1"),
    "window 2.5": (lambda: run(window=2.5), TypeError, "window", "2.5", "whole number"),
    "window None": (lambda: run(window=None), TypeError, "window", "None", "whole number"),
    "times that rise": (lambda: run(times=GRID.flip(0)), ValueError, "times", "[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]", "strictly falling"),
    "times that stand still": (lambda: run(times=torch.tensor([1.0, 0.5, 0.5])), ValueError, "times", "[1.0, 0.5, 0.5]", "strictly falling"),
    "times beyond 1": (lambda: run(times=torch.tensor([80.0, 0.0])), ValueError, "times", "80.0", "[0, 1]"),
    "a number of steps": (lambda: run(times=100), TypeError, "times", "100", "time_grid"),
    "one time": (lambda: run(times=torch.ones(1)), ValueError, "times", "(1,)", "at least two"),
    "no denoiser": (lambda: run(denoiser=None), TypeError, "denoiser", "NoneType", "callable"),
    "a denoiser of another shape": (lambda: run(denoiser=first_row), ValueError, "denoiser(x, t)", "(1, 2)", "(4, 2)"),
    "a denoiser of arrays": (lambda: run(denoiser=lambda x, t: x.numpy()), TypeError, "denoiser(x, t)", "ndarray", "torch.Tensor"),
    "a denoiser of integers": (lambda: run(denoiser=lambda x, t: x.long()), TypeError, "denoiser(x, t)", "int64", "floating"),
    "a draft that is a tensor": (lambda: run(draft=X), TypeError, "draft", "Tensor", "None or a callable"),
    "a draft by its name": (lambda: run(draft="frozen"), TypeError, "draft", "str", "None or a callable"),
    "a draft of another shape": (lambda: run(draft=first_row), ValueError, "draft(x, t)", "(1, 2)", "(4, 2)"),
    "x a list": (lambda: run([[0.0, 0.0]]), TypeError, "x", "list", "torch.Tensor"),
    "x of integers": (lambda: run(X.long()), TypeError, "x", "int64", "floating"),
    "x one flat point": (lambda: run(X[0]), ValueError, "x", "(2,)", "(n, d)"),
    "x of no chain": (lambda: run(X[:0]), ValueError, "x", "(0, 2)", "n >= 1"),
    "freeze the noise": (lambda: run(freeze="noise"), ValueError, "freeze", "'noise'", "'prediction' or 'drift'"),
    # the coupling
    "draft of integers": (lambda: couple(X.long()), TypeError, "draft", "int64", "floating"),
    "draft without a batch axis": (lambda: couple(ROW, ROW, ROW), ValueError, "draft", "(4,)", "(n, d)"),
    "draft_mean of another shape": (lambda: couple(draft_mean=torch.zeros(2)), ValueError, "draft_mean", "(2,)", "(4, 2)"),
    "draft_mean a number": (lambda: couple(draft_mean=0.0), TypeError, "draft_mean", "float", "torch.Tensor"),
    "target_mean of another shape": (lambda: couple(target_mean=X[:1]), ValueError, "target_mean", "(1, 2)", "(4, 2)"),
    "std negative": (lambda: couple(std=-0.1), ValueError, "std", "-0.1", "[0, inf)"),
    "std None": (lambda: couple(std=None), TypeError, "std", "None", "[0, inf)"),
    "std for too few rows": (lambda: couple(std=torch.ones(3)), ValueError, "std", "(3,)", "(4,)"),
    "std for every dimension": (lambda: couple(std=torch.ones(4, 2)), ValueError, "std", "(4, 2)", "(4,)"),
    "uniform one number": (lambda: couple(uniform=0.5), TypeError, "uniform", "float", "torch.Tensor"),
    "uniform for too few rows": (lambda: couple(uniform=ROW[:3]), ValueError, "uniform", "(3,)", "(4,)"),
    "uniform for every dimension": (lambda: couple(uniform=X), ValueError, "uniform", "(4, 2)", "(4,)"),
    "distance a number": (lambda: acceptance_probability(1.0), TypeError, "distance", "float", "torch.Tensor"),
    "distance whole": (lambda: acceptance_probability(torch.tensor([1])), TypeError, "distance", "int64", "floating"),
    # tokens
    "logits of the target": (lambda: speculative_tokens(LOGITS, FAIR), ValueError, "target_probs", "no distribution", "sum to 1"),
    "logits of the draft": (lambda: speculative_tokens(FAIR, LOGITS), ValueError, "draft_probs", "no distribution", "sum to 1"),
    "log probabilities": (lambda: speculative_tokens(FAIR.log(), FAIR.log()), ValueError, "target_probs", "no distribution", "non-negative"),
    "counts": (lambda: speculative_tokens(4 * FAIR, FAIR), ValueError, "target_probs", "no distribution", "sum to 1"),
    "whole counts": (lambda: speculative_tokens(FAIR.long(), FAIR), TypeError, "target_probs", "int64", "floating"),
    "probabilities nan": (lambda: speculative_tokens(FAIR, FAIR * float("nan")), ValueError, "draft_probs", "no distribution", "sum to 1"),
    "another vocabulary": (lambda: speculative_tokens(FAIR, torch.full((3, 5), 0.2)), ValueError, "draft_probs", "(3, 5)", "(3, 4)"),
    "probability of one number": (lambda: speculative_tokens(torch.tensor(1.0), torch.tensor(1.0)), ValueError, "target_probs", "number", "(*n, v)"),
    "too few drafted tokens": (lambda: speculative_tokens(FAIR, FAIR, torch.zeros(2).long()), ValueError, "draft", "(2,)", "(3,)"),
    # residuals
    "a path of points": (lambda: transition_residuals(LAW.denoise, X, GRID), ValueError, "path", "(4, 2)", "(6, n, *event)"),
    "a path too short": (lambda: transition_residuals(LAW.denoise, PATH[:5], GRID), ValueError, "path", "(5, 4, 2)", "a state for each time"),
    "a path too short, aimed": (lambda: aimed_residuals(LAW.denoise, PATH[:5], GRID), ValueError, "path", "(5, 4, 2)", "a state for each time"),
    "a path of integers": (lambda: transition_residuals(LAW.denoise, PATH.long(), GRID), TypeError, "path", "int64", "floating"),
    "a path that was not kept": (lambda: transition_residuals(LAW.denoise, None, GRID), TypeError, "path", "NoneType", "torch.Tensor"),
    "residuals without churn": (lambda: transition_residuals(LAW.denoise, PATH, GRID, 0.0), ValueError, "churn", "0.0", "(0, 1]"),
    "residuals upwards": (lambda: transition_residuals(LAW.denoise, PATH, GRID.flip(0)), ValueError, "times", "[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]", "strictly falling"),
    "residuals of another shape": (lambda: transition_residuals(first_row, PATH, GRID), ValueError, "denoiser(x, t)", "(1, 2)", "(4, 2)"),
    # what the sampler stands on
    "as_times of a number": (lambda: as_times(50), TypeError, "times", "50", "a row of times"),
    "as_times of a word": (lambda: as_times("linear"), TypeError, "times", "'linear'", "a row of times"),
    "as_times of rows": (lambda: as_times([[1.0, 0.0]]), ValueError, "times", "(1, 2)", "one row"),
    "as_times that end below 0": (lambda: as_times([1.0, -0.5]), ValueError, "times", "[1.0, -0.5]", "[0, 1]"),
    "bridge_weights with churn 2": (lambda: bridge_weights(ROW, ROW / 2, 2), ValueError, "churn", "2", "0 (DDIM) to 1 (DDPM)"),
    # Picard iteration
    "picard without churn": (lambda: run(sampler=sample_picard, churn=0), ValueError, "churn", "0", "(0, 1]"),
    "picard with window 0": (lambda: run(sampler=sample_picard, window=0), ValueError, "window", "0", "at least 1"),
    "picard with half a state": (lambda: run(sampler=sample_picard, window=0.5), TypeError, "window", "0.5", "whole number"),
    "picard with a negative tolerance": (lambda: run(sampler=sample_picard, tolerance=-0.1), ValueError, "tolerance", "-0.1", "[0, inf)"),
    "picard with no tolerance": (lambda: run(sampler=sample_picard, tolerance=None), TypeError, "tolerance", "None", "[0, inf)"),
    "picard upwards": (lambda: run(times=GRID.flip(0), sampler=sample_picard), ValueError, "times", "[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]", "strictly falling"),
    "picard from integers": (lambda: run(X.long(), sampler=sample_picard), TypeError, "x", "int64", "floating"),
    "picard from one flat point": (lambda: run(X[0], sampler=sample_picard), ValueError, "x", "(2,)", "(n, d)"),
    "picard without a denoiser": (lambda: run(denoiser=GRID, sampler=sample_picard), TypeError, "denoiser", "Tensor", "callable"),
    "picard with a denoiser of another shape": (lambda: run(denoiser=first_row, sampler=sample_picard), ValueError, "denoiser(x, t)", "(1, 2)", "(20, 2)"),
}  # fmt: skip


@pytest.mark.parametrize("call, error, argument, came, allowed", CASES.values(), ids=CASES.keys())  # noqa: PT006
def test_refused_with_one_sentence_that_names_argument_what_came_and_what_is_allowed(
    call, error, argument, came, allowed
):
    assert_refused(call, error, argument, came, allowed)


@pytest.mark.parametrize(
    "options", [{"churn": 0}, {"window": 0}, {"times": 5}, {"draft": 1}, {"freeze": None}], ids=lambda o: next(iter(o))
)
def test_refusals_come_at_the_call_not_at_the_first_state(options):
    """A generator function would keep silent until it is first asked; this one is never asked."""
    with pytest.raises((TypeError, ValueError), match=next(iter(options))):
        run(sampler=speculate, **options)


@pytest.mark.parametrize("sampler", [speculative_sample, sample_picard])
def test_times_may_come_as_a_list_or_an_array(sampler):
    times = [1.0, 0.75, 0.5, 0.25, 0.0]
    ends = [
        run(times=row, sampler=sampler, generator=torch.Generator().manual_seed(0)).sample
        for row in (times, tuple(times), np.array(times), np.array(times, dtype=np.float32), torch.tensor(times))
    ]
    assert all(torch.equal(end, ends[0]) for end in ends)
