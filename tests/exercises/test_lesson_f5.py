"""Every check of foundation f5 lets the solution pass, and each of its properties catches a wrong answer that people give."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from companion.foundations.tracking import best_rate, regret, track, tracking_error
from companion.teaching.checks import check
from companion.teaching.checks.lesson_f5 import BEST_ERROR, BEST_RATE


def parts(predictions=track, regret=regret):
    return {"predictions": predictions, "regret": regret}


def after_learning(y, rate):
    return track(torch.cat([y, y[:1]]), rate)[1:]


def one_more(y, rate):
    return track(torch.cat([y, y[:1]]), rate)


def started_at_the_first_row(y, rate):
    return track(y, rate, start=float(y[0]))


def started_at_one(y, rate):
    return track(y, rate, start=1.0)


def two_steps(y, rate):
    """Right at rates 0 and 1, but what has been learned fades twice as fast."""
    return track(y, 1 - (1 - rate) ** 2)


def running_mean(y, rate):
    return track(y, 1 / torch.arange(1, len(y) + 1, dtype=y.dtype))


def with_a_sign(y, rate):
    guess, made = torch.zeros_like(y[0]), []
    for seen in y:
        made.append(guess)
        guess = guess - rate * (seen - guess)
    return torch.stack(made)


def kept_segments(y, p, changes):
    """The rows before the first change are forgotten when there are some."""
    ends = [*changes, len(y)] if changes else [0, len(y)]
    best = sum((y[a:b] - y[a:b].mean()).square().sum() for a, b in pairwise(ends))
    return (y - p).square().sum() - best


def changes_late(y, p, changes):
    return regret(y, p, [change + 1 for change in changes])


WRONG = [
    ("f5.1", "one share of noise", (1 / 6, 3.0), "errors pile up"),
    ("f5.1", "drift over both", (1 / 7, 3.0), "errors pile up"),
    ("f5.1", "the root", (6**-0.5, 3.0), "not the limit"),
    ("f5.1", "the share that is kept", (2 / 3, 3.0), "a rate"),
    ("f5.1", "r over q", (6, 3.0), "a rate"),
    ("f5.1", "no step", (0, 3.0), "a rate"),
    ("f5.1", "rounded", (0.3, 3.0), "best rate"),
    ("f5.1", "after learning", (1 / 3, 2.0), "test first"),
    ("f5.1", "with the noise", (1 / 3, 9.0), "distance from the mean"),
    ("f5.1", "the root of the error", (1 / 3, 3**0.5), "error"),
    ("f5.1", "the lag alone", (1 / 3, 1.8), "error"),
    ("f5.1", "one number", 1 / 3, "type"),
    ("f5.1", "a word", ("a third", 3.0), "type"),
    ("f5.1", "no number", (math.nan, 3.0), "type"),
    ("f5.2", "train, then test", parts(after_learning), "test first"),
    ("f5.2", "the mean of everything", parts(lambda y, rate: y.mean().expand(len(y))), "test first"),
    ("f5.2", "starts at the answer", parts(started_at_the_first_row), "test first"),
    ("f5.2", "one too many", parts(one_more), "one prediction a row"),
    ("f5.2", "in numpy", parts(lambda y, rate: track(y, rate).numpy()), "one prediction a row"),
    ("f5.2", "starts at one", parts(started_at_one), "first guess"),
    ("f5.2", "shares exchanged", parts(lambda y, rate: track(y, 1 - rate)), "rate"),
    ("f5.2", "the sign of the step", parts(with_a_sign), "rate"),
    ("f5.2", "the rate ignored", parts(running_mean), "rate"),
    ("f5.2", "two steps a row", parts(two_steps), "weights fade"),
    ("f5.2", "no comparator", parts(regret=lambda y, p, changes: (y - p).square().sum()), "hindsight"),
    (
        "f5.2",
        "compared with the last row",
        parts(regret=lambda y, p, changes: (y - p).square().sum() - (y - y[-1]).square().sum()),
        "hindsight",
    ),
    ("f5.2", "a mean over rows", parts(regret=lambda y, p, changes: regret(y, p, changes) / len(y)), "sum"),
    ("f5.2", "comparator minus learner", parts(regret=lambda y, p, changes: -regret(y, p, changes)), "squared errors"),
    (
        "f5.2",
        "absolute errors",
        parts(regret=lambda y, p, changes: (y - p).abs().sum() - (y - y.mean()).abs().sum()),
        "squared errors",
    ),
    (
        "f5.2",
        "never negative",
        parts(regret=lambda y, p, changes: regret(y, p, changes).clamp_min(0)),
        "may be negative",
    ),
    ("f5.2", "an absolute value", parts(regret=lambda y, p, changes: regret(y, p, changes).abs()), "may be negative"),
    ("f5.2", "changes ignored", parts(regret=lambda y, p, changes: regret(y, p)), "segments"),
    ("f5.2", "one row late", parts(regret=changes_late), "segments"),
    ("f5.2", "the first segment lost", parts(regret=kept_segments), "segments"),
    ("f5.2", "a tuple", (track, regret), "type"),
]

RIGHT = [
    ("f5.1", [0.333, 3]),
    ("f5.1", (torch.tensor(1 / 3), np.float64(3.0))),
    ("f5.2", parts()),
    ("f5.2", parts(regret=lambda y, p, changes: float(regret(y, p, changes)))),
]


def test_the_key_is_the_minimum():
    assert best_rate(1.0, 6.0) == pytest.approx(BEST_RATE)
    assert tracking_error(BEST_RATE, 1.0, 6.0) == pytest.approx(BEST_ERROR)


def test_a_stub_reads_not_attempted():
    assert check("f5.1", ...).status == check("f5.2", parts(lambda y, rate: ...)).status == "not attempted"
