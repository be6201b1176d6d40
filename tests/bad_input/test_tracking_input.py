"""Following a mean refuses bad input with one sentence: argument, what came, what may come."""

import pytest
import torch

from companion.foundations.tracking import best_rate, regret, track, tracking_error, wandering_mean
from tests.bad_input.sentences import assert_refused

Y = torch.ones(2, 5)
CASES = {
    "no rows": (lambda: wandering_mean(0, 1.0), ValueError, "n", "0", "at least 1"),
    "runs": (lambda: wandering_mean(3, 1.0, runs=1.5), TypeError, "runs", "1.5", "a whole number"),
    "negative drift": (lambda: wandering_mean(3, -1.0), ValueError, "drift_variance", "-1.0", "[0, inf)"),
    "a list": (lambda: track([1.0], 0.5), TypeError, "observations", "a list", "a torch.Tensor"),
    "whole numbers": (lambda: track(torch.ones(3).long(), 0.5), TypeError, "observations", "int64", "floating"),
    "empty": (lambda: track(torch.ones(2, 0), 0.5), ValueError, "observations", "(2, 0)", "n >= 1"),
    "rate above 1": (lambda: track(Y, 1.5), ValueError, "rate", "1.5", "[0, 1]"),
    "rates of another length": (lambda: track(Y, torch.ones(4)), ValueError, "rate", "(4,)", "(5,)"),
    "a rate above 1": (lambda: track(Y, 2 * torch.ones(5)), ValueError, "rate", "outside", "from 0 to 1"),
    "start": (lambda: track(Y, 0.5, start="0"), TypeError, "start", "'0'", "a number"),
    "no rate": (lambda: tracking_error(0.0, 1.0), ValueError, "rate", "0.0", "(0, 1]"),
    "a rate of 0": (lambda: tracking_error(torch.zeros(2), 1.0), ValueError, "rate", "outside", "(0, 1]"),
    "noise": (lambda: tracking_error(0.5, 1.0, -1.0), ValueError, "noise_variance", "-1.0", "[0, inf)"),
    "no drift": (lambda: best_rate(0.0), ValueError, "drift_variance", "0.0", "(0, inf)"),
    "no noise": (lambda: best_rate(1.0, 0.0), ValueError, "noise_variance", "0.0", "(0, inf)"),
    "predictions": (lambda: regret(Y, torch.ones(5)), ValueError, "predictions", "(5,)", "(2, 5)"),
    "predictions missing": (lambda: regret(Y, None), TypeError, "predictions", "NoneType", "a torch.Tensor"),
    "change at the end": (lambda: regret(Y, Y, (5,)), ValueError, "changes", "(5,)", "from 1 to 4"),
    "falling changes": (lambda: regret(Y, Y, (3, 2)), ValueError, "changes", "(3, 2)", "rise"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_says_what_is_wrong(case):
    assert_refused(*CASES[case])
