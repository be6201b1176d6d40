"""Exercise 01.3: the energy score, eq. (12) and (15), without a loop."""

from collections.abc import Callable

import torch
from torch import Tensor

from companion.methods.distributional import energy_score_loss
from companion.teaching.checks.answers import (
    StudentFunction,
    TorchCalls,
    expect,
    expect_close,
    expect_tensor,
    normal,
    read_function,
    uniform,
)
from companion.teaching.checks.framework import exercise

# 01.3 The energy score without a loop


@exercise(
    "01.3",
    "The energy score without a loop",
    difficulty=3,
    minutes=15,
    equation="eq. (12) and (15)",
    takeaway="This is the loss that the lesson trains with: unbiased for every number of draws, safe to differentiate, and one pass for all pairs.",
)
def energy_score(answer: object) -> StudentFunction:
    return read_function(answer, "energy_score(predictions, target, beta, lam)")


def _cloud(generator: torch.Generator, draws: int = 4, points: int = 6, dim: int = 2) -> tuple[Tensor, Tensor]:
    """Draws (m, n, d) that miss their targets (n, d), and the targets."""
    return normal(generator, draws, points, dim) + 1, 2 * normal(generator, points, dim)


@energy_score.requires(
    "one number",
    "A loss is one number, in the dtype of its inputs, and it stays a tensor: a float or an array has no gradient.",
)
def _(score: StudentFunction, generator: torch.Generator) -> None:
    for dtype in (torch.float64, torch.float32):
        predictions, target = (part.to(dtype) for part in _cloud(generator))
        expect_tensor(score(predictions, target, 1.0, 1.0), (), dtype, "the score")


@energy_score.requires(
    "mean over points",
    "The score of a batch is the mean over its points: the same points twice must score the same, or the learning rate would depend on the size of the batch.",
)
def _(score: StudentFunction, generator: torch.Generator) -> None:
    predictions, target = _cloud(generator)
    twice = torch.cat([predictions, predictions], dim=1), torch.cat([target, target])
    expect_close(score(*twice, 1.0, 0.0), score(predictions, target, 1.0, 0.0), 1e-9, "the score of every point twice")


@energy_score.requires(
    "mean over draws",
    "The first term is the mean over the m draws: the same draws twice must leave it alone, or more draws would be another loss.",
)
def _(score: StudentFunction, generator: torch.Generator) -> None:
    predictions, target = _cloud(generator)
    twice = torch.cat([predictions, predictions])
    expect_close(
        score(twice, target, 1.0, 0.0),
        score(predictions, target, 1.0, 0.0),
        1e-9,
        "without repulsion, every draw twice",
    )


@energy_score.requires(
    "distance to the power",
    "At twice the scale the score must be 2^beta as large, because distances enter to the power beta. A squared distance "
    "needs its root first (or the power beta/2).",
)
def _(score: StudentFunction, generator: torch.Generator) -> None:
    predictions, target = _cloud(generator)
    for beta in (1.0, uniform(generator, 0.3, 1.7), 2.0):
        before, after = (score(scale * predictions, scale * target, beta, 0.0) for scale in (1, 2))
        expect_close(after / before, 2**beta, 1e-6, f"at beta = {beta:.2f} the ratio")


@energy_score.requires(
    "Euclidean distance",
    "Turning the plane must not change the score: the distance is |a - b| over the coordinates of one point, the last axis, "
    "the root of a sum of squares.",
)
def _(score: StudentFunction, generator: torch.Generator) -> None:
    predictions, target = _cloud(generator, dim=3)
    turn, _ = torch.linalg.qr(normal(generator, 3, 3))
    turned = score(predictions @ turn, target @ turn, 1.0, 0.0)
    expect_close(turned, score(predictions, target, 1.0, 0.0), 1e-6, "the score after a turn")


@energy_score.requires(
    "first term", "Without repulsion (lambda = 0) the score is the mean of |x0 - xh|^beta over draws and points."
)
def _(score: StudentFunction, generator: torch.Generator) -> None:
    for draws, points, dim in ((2, 3, 1), (5, 4, 2), (3, 7, 5)):
        predictions, target = _cloud(generator, draws, points, dim)
        beta = uniform(generator, 0.3, 1.7)
        expected = energy_score_loss(predictions, target, beta, lam=0.0)
        expect_close(score(predictions, target, beta, 0.0), expected, 1e-6, f"with {draws} draws of {points} points")


def _repulsion(score: Callable, predictions: Tensor, target: Tensor, beta: float = 1.0) -> float:
    """What lambda = 1 takes off the score."""
    return float(score(predictions, target, beta, 0.0) - score(predictions, target, beta, 1.0))


@energy_score.requires(
    "repulsion", "Your score has no second term: lambda changes nothing, and the best model is a point, the median."
)
def _(score: StudentFunction, generator: torch.Generator) -> None:
    expect(abs(_repulsion(score, *_cloud(generator))) > 1e-9)


@energy_score.requires(
    "sign",
    "Your score does not push draws apart, it pulls them together: the second term is subtracted, so that draws at a "
    "distance from each other score better.",
)
def _(score: StudentFunction, generator: torch.Generator) -> None:
    expect(_repulsion(score, *_cloud(generator)) > 0)


def _repulsion_ratios(score: Callable, generator: torch.Generator) -> list[tuple[int, float]]:
    """For some numbers of draws, the repulsion divided by what it should be."""
    clouds = [_cloud(generator, draws) for draws in (2, 3, 5)]
    return [(len(c[0]), _repulsion(score, *c) / _repulsion(energy_score_loss, *c)) for c in clouds]


@energy_score.requires(
    "unbiased",
    "Your mean over pairs counts each draw with itself, at distance 0: a V-statistic. It is too small, by the factor (m - 1)/m, "
    "so few draws repel too little and the model comes out too narrow. Divide by m (m - 1), not m^2.",
)
def _(score: StudentFunction, generator: torch.Generator) -> None:
    ratios = _repulsion_ratios(score, generator)
    for factor in (1, 2):  # with or without the 1/2
        expect(not all(abs(ratio - factor * (m - 1) / m) < 1e-6 for m, ratio in ratios))


@energy_score.requires(
    "factor 1/2",
    "Your repulsion is twice too strong: it is lambda/2 times the mean distance of two draws. Without the 1/2, at "
    "lambda = 1, spreading out pays without end.",
)
def _(score: StudentFunction, generator: torch.Generator) -> None:
    expect(not all(abs(ratio - 2) < 1e-6 for _, ratio in _repulsion_ratios(score, generator)))


@energy_score.requires(
    "pairs counted once",
    "Your repulsion is half of what it should be. Over ordered pairs (j, j') and (j', j) the sum is divided by m (m - 1); "
    "over pairs j < j' only, by half of that.",
)
def _(score: StudentFunction, generator: torch.Generator) -> None:
    expect(not all(abs(ratio - 0.5) < 1e-6 for _, ratio in _repulsion_ratios(score, generator)))


@energy_score.requires(
    "second term",
    "The repulsion is lambda/2 times the mean of |xh_j - xh_j'|^beta over all pairs of different draws of the same point.",
)
def _(score: StudentFunction, generator: torch.Generator) -> None:
    for draws, points, dim in ((2, 3, 1), (5, 4, 2), (3, 7, 5)):
        predictions, target = _cloud(generator, draws, points, dim)
        beta, lam = uniform(generator, 0.3, 1.7), uniform(generator, 0.2, 0.9)
        expected = energy_score_loss(predictions, target, beta, lam)
        what = f"the score with {draws} draws, beta = {beta:.2f} and lambda = {lam:.2f}"
        expect_close(score(predictions, target, beta, lam), expected, 1e-6, what)


def _gradient(score: Callable, predictions: Tensor, target: Tensor, beta: float) -> Tensor:
    """Of the score with respect to the predictions."""
    predictions = predictions.clone().requires_grad_()
    value = score(predictions, target, beta, 1.0)
    expect(value.requires_grad, "the score comes without one")
    return torch.autograd.grad(value, predictions)[0]


@energy_score.requires(
    "gradient",
    "A loss must let the gradient through to the draws, in both terms: no .item(), .detach(), numpy or no_grad on the way.",
)
def _(score: StudentFunction, generator: torch.Generator) -> None:
    predictions, target = _cloud(generator)
    gradient, expected = (_gradient(function, predictions, target, 1.0) for function in (score, energy_score_loss))
    finite = gradient.isfinite()  # the next property is about the others
    expect_close(gradient[finite], expected[finite], 1e-6, "a gradient")


@energy_score.requires(
    "gradient at distance 0",
    "At distance 0 a root has infinite slope, and 0 times infinity is NaN: one such pair ruins the whole network. Leave a "
    "draw's distance to itself out before the root or the power, and take norms with torch.linalg.vector_norm, which is "
    "safe where two draws coincide.",
)
def _(score: StudentFunction, generator: torch.Generator) -> None:
    predictions, target = _cloud(generator)
    for beta in (1.0, 0.5):
        expect(
            _gradient(score, predictions, target, beta).isfinite().all(),
            f"at beta = {beta:g} the gradient is not finite",
        )
    predictions[1] = predictions[0]
    finite = _gradient(score, predictions, target, 1.0).isfinite().all()
    expect(finite, "where two draws coincide the gradient is not finite")


@energy_score.requires(
    "no loop",
    "The score is right, but it asks torch more often when there are more draws or points: a Python loop. On a GPU each "
    "such call waits for the last one. Give the draws two axes, (m, 1, n, d) and (1, m, n, d), and subtract once.",
)
def _(score: StudentFunction, generator: torch.Generator) -> None:
    def calls(draws: int, points: int) -> int:
        predictions, target = _cloud(generator, draws, points)
        with TorchCalls() as counter:
            score(predictions, target, 1.0, 1.0)
        return counter.count

    few, many = calls(3, 4), calls(8, 13)
    expect(many <= few, f"{few} calls for 3 draws of 4 points, {many} for 8 draws of 13")
