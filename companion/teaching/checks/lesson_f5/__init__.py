"""Checks of foundation f5, learning on a stream."""

import torch

from companion.foundations.tracking import regret, track
from companion.teaching.checks.answers import (
    NotYet,
    StudentFunction,
    expect,
    expect_close,
    expect_tensor,
    normal,
    read_function,
    read_number,
    read_parts,
    uniform,
)
from companion.teaching.checks.framework import exercise

# f5.1 The best rate

BEST_RATE, BEST_ERROR = 1 / 3, 3.0  # of a drift of variance 1 and a noise of variance 6


@exercise(
    "f5.1",
    "The best rate",
    difficulty=3,
    minutes=10,
    equation="V(a)",
    takeaway="A third of the way at each step: the noise has six times the variance of the drift, yet the rate is not 1/6, since errors of many steps pile up.",
)
def best_rate(answer: object) -> tuple[float, float]:
    if not isinstance(answer, list | tuple) or len(answer) != 2:
        raise NotYet("Expected two numbers: the best rate and the error V that it leaves.", "type")
    return read_number(answer[0], "the rate"), read_number(answer[1], "the error")


@best_rate.requires(
    "a rate",
    "A rate of 0 never moves and one above 1 jumps past what was seen: the best is between 0 and 1. Here the noise is larger than the drift, so it is below one half.",
)
def _(answer: tuple[float, float], generator: torch.Generator) -> None:
    expect(0 < answer[0] < 0.5, f"yours is {answer[0]:.3g}")


@best_rate.requires(
    "errors pile up",
    "q / r, or q / (q + r), compares one step of drift with one observation. But the tracker's own error is larger than one step of drift: what was missed before is still there. So the best rate is larger.",
)
def _(answer: tuple[float, float], generator: torch.Generator) -> None:
    expect(answer[0] > 0.2, f"yours is {answer[0]:.3g}")


@best_rate.requires(
    "not the limit",
    "The root of q / r is the limit for slow drift. Here the drift is not slow: use the whole formula.",
)
def _(answer: tuple[float, float], generator: torch.Generator) -> None:
    expect(abs(answer[0] - 6**-0.5) > 0.01, f"yours is {answer[0]:.3g}")


@best_rate.requires(
    "best rate", "A slightly other rate has a smaller V(a). Set the derivative of V(a) to zero, or try a few."
)
def _(answer: tuple[float, float], generator: torch.Generator) -> None:
    expect(abs(answer[0] - BEST_RATE) < 2e-3, f"yours is {answer[0]:.4g}")


@best_rate.requires(
    "test first",
    "V is the error of the prediction, made before the observation. Yours is the error after it was learned: it is smaller by the drift that is still to come.",
)
def _(answer: tuple[float, float], generator: torch.Generator) -> None:
    expect(abs(answer[1] - (BEST_ERROR - 1)) > 0.02, f"yours is {answer[1]:.3g}")


@best_rate.requires(
    "distance from the mean",
    "V is the squared distance of the prediction from the mean. Yours has the noise of the next observation in it, r more, which nobody can predict.",
)
def _(answer: tuple[float, float], generator: torch.Generator) -> None:
    expect(abs(answer[1] - (BEST_ERROR + 6)) > 0.02, f"yours is {answer[1]:.3g}")


@best_rate.requires("error", "The rate is right; put it into V(a), with both terms, lag and noise.")
def _(answer: tuple[float, float], generator: torch.Generator) -> None:
    expect(abs(answer[1] - BEST_ERROR) < 0.02, f"yours is {answer[1]:.4g}")


# f5.2 Test, then train, then regret


@exercise(
    "f5.2",
    "Test, then train, then regret",
    difficulty=3,
    minutes=15,
    equation="R_T",
    takeaway="Each prediction knew only the past, and the regret says whom it is compared with: one constant, or one for each segment.",
)
def tracker_and_regret(answer: object) -> dict[str, StudentFunction]:
    parts = read_parts(answer, ("predictions", "regret"))
    return {
        "predictions": read_function(parts["predictions"], "predictions(y, rate)"),
        "regret": read_function(parts["regret"], "regret(y, p, changes)"),
    }


Parts = dict[str, StudentFunction]


@tracker_and_regret.requires("one prediction a row", "Each row is predicted once: n predictions, in the dtype of y.")
def _(parts: Parts, generator: torch.Generator) -> None:
    for n, dtype in ((7, torch.float64), (1, torch.float32)):
        expect_tensor(parts["predictions"](normal(generator, n).to(dtype), 0.3), (n,), dtype, "the predictions")


@tracker_and_regret.requires(
    "test first",
    "The prediction of a row must not know that row: yours changes when y_t does. Keep the prediction before you learn. Scored otherwise, coin flips look predictable.",
)
def _(parts: Parts, generator: torch.Generator) -> None:
    y = normal(generator, 12)
    for place in (0, 5, 11):
        other = y.clone()
        other[place:] += 3
        seen = torch.as_tensor(parts["predictions"](y, 0.4))[: place + 1]
        expect_close(
            torch.as_tensor(parts["predictions"](other, 0.4))[: place + 1],
            seen,
            1e-9,
            f"with other rows from {place} on, a prediction up to it",
        )


@tracker_and_regret.requires("first guess", "Before any row the guess is 0, and it is the first prediction.")
def _(parts: Parts, generator: torch.Generator) -> None:
    expect_close(torch.as_tensor(parts["predictions"](normal(generator, 5), 0.4))[0], 0.0, 1e-9, "the first prediction")


@tracker_and_regret.requires(
    "rate",
    "The prediction goes a share `rate` of the way to what was seen: at rate 1 it repeats the last row, at rate 0 it never moves. If yours does the opposite, rate and 1 - rate are exchanged.",
)
def _(parts: Parts, generator: torch.Generator) -> None:
    y = normal(generator, 8)
    expect_close(parts["predictions"](y, 1.0)[1:], y[:-1], 1e-9, "at rate 1, a prediction")
    expect_close(parts["predictions"](y, 0.0), torch.zeros_like(y), 1e-9, "at rate 0, a prediction")


@tracker_and_regret.requires("weights fade", "The row k + 1 steps back has weight a (1 - a)^k in a prediction.")
def _(parts: Parts, generator: torch.Generator) -> None:
    y, rate = normal(generator, 20), uniform(generator, 0.2, 0.8)
    expect_close(parts["predictions"](y, rate), track(y, rate), 1e-6, f"at rate {rate:.2f}, a prediction")


@tracker_and_regret.requires(
    "hindsight",
    "The best constant is the mean of all rows of the stream, known only afterwards. Predicting it throughout has regret 0.",
)
def _(parts: Parts, generator: torch.Generator) -> None:
    y = normal(generator, 10) + 2
    expect_close(parts["regret"](y, y.mean().expand(10), ()), 0.0, 1e-6, "the regret of the best constant")


@tracker_and_regret.requires(
    "sum", "Regret is a sum over rows: the same stream twice has twice the regret. Yours does not double."
)
def _(parts: Parts, generator: torch.Generator) -> None:
    y, p = normal(generator, 2, 9)
    once, twice = parts["regret"](y, p, ()), parts["regret"](torch.cat([y, y]), torch.cat([p, p]), ())
    expect_close(twice, 2 * torch.as_tensor(once), 1e-6, "the regret of everything twice")


@tracker_and_regret.requires(
    "squared errors", "Both sums are of squared errors: your predictions' minus the comparator's, in this order."
)
def _(parts: Parts, generator: torch.Generator) -> None:
    y, p = normal(generator, 2, 9)
    expect_close(parts["regret"](y, p, ()), regret(y, p), 1e-6, "the regret")


@tracker_and_regret.requires(
    "may be negative",
    "Where the mean moves, a learner that moves beats every constant, and its static regret is below 0. Do not cut it off, and take no absolute value.",
)
def _(parts: Parts, generator: torch.Generator) -> None:
    y = torch.cat([normal(generator, 10) - 5, normal(generator, 10) + 5])
    p = torch.cat([y.new_full((10,), -5.0), y.new_full((10,), 5.0)])
    expect_close(parts["regret"](y, p, ()), regret(y, p), 1e-6, "the regret of a learner that moved in time")


@tracker_and_regret.requires(
    "segments",
    "With changes each segment has a constant of its own: its own mean, from a change up to, not including, the next; the last goes to the end of the stream.",
)
def _(parts: Parts, generator: torch.Generator) -> None:
    y, p = normal(generator, 2, 15)
    y = y + torch.repeat_interleave(torch.tensor([-4.0, 3.0, 9.0], dtype=y.dtype), torch.tensor([4, 5, 6]))
    expect_close(parts["regret"](y, p, (4, 9)), regret(y, p, (4, 9)), 1e-6, "with changes at 4 and 9, the regret")
