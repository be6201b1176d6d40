"""Exercise 06.3: a block of rows at once, the same as row by row."""

from collections.abc import Callable

import torch
from torch import Tensor

from companion.methods.last_layer import solve_last_layer
from companion.teaching.checks.answers import (
    DOUBLE,
    Belief,
    Crashed,
    StudentFunction,
    TorchCalls,
    expect,
    expect_close,
    normal,
    read_belief,
    read_function,
    read_number,
    read_parts,
    uniform,
)
from companion.teaching.checks.framework import exercise
from companion.teaching.checks.lesson_06.beliefs import absorbed, alike, random_belief

ABSORB, PER_ROW = "absorb(mean, covariance, features, targets, noise_variance)", "per_row(gamma, rows)"
Case = tuple[Tensor, Tensor, Tensor, Tensor, float]


class Block:
    """The student's block update, and their gamma for each row."""

    def __init__(self, absorb: StudentFunction, per_row: StudentFunction) -> None:
        self._absorb, self._per_row = absorb, per_row

    def absorb(self, mean: Tensor, covariance: Tensor, features: Tensor, targets: Tensor, noise: float) -> Belief:
        return read_belief(self._absorb(mean, covariance, features, targets, noise), mean, ABSORB)

    def per_row(self, gamma: float, rows: int) -> float:
        return read_number(self._per_row(gamma, rows), PER_ROW)

    def absorbs_like(self, formula: Callable[..., Belief], generator: torch.Generator) -> bool:
        cases = [_case(generator), _case(generator, 7, 3, 1)]
        return all(alike(self.absorb(*case), formula(*case)) for case in cases)

    def row_by_row(self, mean: Tensor, covariance: Tensor, features: Tensor, targets: Tensor, noise: float) -> Belief:
        for row, target in zip(features[:, None], targets[:, None]):
            mean, covariance = self.absorb(mean, covariance, row, target, noise)
        return mean, covariance


@exercise(
    "06.3",
    "A block at once",
    difficulty=3,
    minutes=15,
    equation="the Kalman update, for a block of rows",
    takeaway="A block is absorbed exactly, with one system of rows by rows, and from the prior it is ridge regression. What a block changes is when the weights may drift: once, not once a row.",
)
def block(answer: object) -> Block:
    parts = read_parts(answer, ("absorb", "per_row"))
    return Block(read_function(parts["absorb"], ABSORB), read_function(parts["per_row"], PER_ROW))


def _case(generator: torch.Generator, b: int = 3, m: int = 4, k: int = 2) -> Case:
    """A belief, features, targets and a noise variance that is neither its root nor its square."""
    belief = random_belief(generator, m, k)
    return *belief, normal(generator, b, m), normal(generator, b, k), uniform(generator, 0.2, 0.6)


@block.requires(
    "a mean and a covariance",
    "Let `absorb` return two tensors, the mean (m, K) and the covariance (m, m), in the dtype that came, for any number of "
    "rows.",
)
def _(block: Block, generator: torch.Generator) -> None:
    for dtype, sizes in ((DOUBLE, (3, 4, 2)), (torch.float32, (6, 2, 1)), (DOUBLE, (1, 5, 3)), (DOUBLE, (1, 1, 1))):
        *tensors, noise = _case(generator, *sizes)
        block.absorb(*(tensor.to(dtype) for tensor in tensors), noise)


@block.requires(
    "by surprise alone",
    "Targets that are just what was predicted, Phi times the mean, must leave the mean where it is. The gain belongs before "
    "the surprise, Y - Phi mean, not before the targets.",
)
def _(block: Block, generator: torch.Generator) -> None:
    mean, covariance, features, _, noise = _case(generator)
    came, _ = block.absorb(mean, covariance, features, features @ mean, noise)
    expect_close(came, mean, 1e-7, "an entry of the mean")


@block.requires(
    "surer after it",
    "Every block takes doubt away, and as much whatever its targets are: A - G Phi A. The result is symmetric, as a "
    "covariance is.",
)
def _(block: Block, generator: torch.Generator) -> None:
    mean, covariance, features, targets, noise = _case(generator)
    _, came = block.absorb(mean, covariance, features, targets, noise)
    _, other = block.absorb(mean, covariance, features, targets + 1, noise)
    expect_close(came.T, came, 1e-9, "mirrored an entry of the covariance")
    expect_close(other, came, 1e-9, "with other targets an entry of the covariance")
    most = torch.linalg.eigvalsh(came - covariance)[-1].item()
    expect(most < 1e-9, f"in some direction the variance grows by {most:.3g}")
    before, after = covariance.trace().item(), came.trace().item()
    expect(after < before - 1e-6, f"the sum of the variances goes from {before:.3g} to {after:.3g}")


@block.requires(
    "the noise variance",
    "The spread of one target is phi' A phi + noise_variance. Without the second term a filter takes each row word for word, "
    "noise and all.",
)
def _(block: Block, generator: torch.Generator) -> None:
    one = torch.ones(1, 1, dtype=DOUBLE)
    for noise in (0.25, 3.0):
        mean, covariance = block.absorb(0 * one, one, one, one, noise)
        found = f"believing N(0, 1) and observing 1 with a noise variance of {noise:g}"
        expect_close(mean, one / (1 + noise), 1e-7, f"{found}, the mean")
        expect_close(covariance, noise * one / (1 + noise), 1e-7, f"{found}, the variance")


@block.requires(
    "noise on the diagonal",
    "Each row has noise of its own: noise_variance I, of rows times rows. Added as a number it goes into every entry, and says "
    "that all rows are wrong together. Divided by their number, it says that a long block is less noisy.",
)
def _(block: Block, generator: torch.Generator) -> None:
    expect(not block.absorbs_like(absorbed_with_one_noise, generator), "in yours it is in every entry")
    for power, words in ((-1, "divided by"), (1, "multiplied by")):
        formula = lambda *case: absorbed(*case, rows=len(case[2]) ** power)  # noqa: B023, E731
        expect(not block.absorbs_like(formula, generator), f"in yours it is {words} the number of rows")


def absorbed_with_one_noise(
    mean: Tensor, covariance: Tensor, features: Tensor, targets: Tensor, noise: float
) -> Belief:
    """As if all rows of a block shared one error."""
    b = len(features)
    return absorbed(mean, covariance, features, targets, torch.full((b, b), noise, dtype=DOUBLE))


@block.requires(
    "one row knows another",
    "Your rows do not take notice of each other. After the first row is absorbed the second is less of a surprise, and less of "
    "it is still unknown: the same news must not be counted twice. That is what the off-diagonal entries of Phi A Phi' are for.",
)
def _(block: Block, generator: torch.Generator) -> None:
    cases = [_case(generator), _case(generator, 7, 3, 1)]
    for stale, words in (
        ("both", "each row is taken by the mean and the covariance from before the block"),
        ("covariance", "each row is taken with the covariance from before the block"),
        ("mean", "each row's surprise is that by the mean from before the block"),
    ):
        found = all(alike(block.absorb(*case)[:1], [mean_of_rows_apart(*case, stale)]) for case in cases)
        expect(not found, words)


def mean_of_rows_apart(
    mean: Tensor, covariance: Tensor, features: Tensor, targets: Tensor, noise: float, stale: str
) -> Tensor:
    """The mean after row upon row, where "both", the "mean" or the "covariance" stay as before the block."""
    after, doubt = mean, covariance
    for row, target in zip(features[:, None], targets[:, None]):
        gain = doubt @ row.T / (row @ doubt @ row.T + noise)
        after = after + gain @ (target - row @ (after if stale == "covariance" else mean))
        doubt = doubt - gain @ row @ doubt if stale == "mean" else doubt
    return after


@block.requires(
    "ridge from the prior",
    "From the prior N(0, weight_variance I), one block gives ridge regression: the W with the least "
    "|Y - Phi W|^2 + noise_variance/weight_variance |W|^2. Yours is another, and another model has been fitted.",
)
def _(block: Block, generator: torch.Generator) -> None:
    for b, m in ((1, 4), (3, 4), (9, 3)):
        _, _, features, targets, noise = _case(generator, b, m)
        variance = uniform(generator, 0.5, 2)
        came, _ = block.absorb(
            torch.zeros(m, 2, dtype=DOUBLE), variance * torch.eye(m, dtype=DOUBLE), features, targets, noise
        )
        expected = solve_last_layer(features, targets, noise / variance / b)
        expect_close(came, expected, 1e-7, f"with {b} rows and {m} features an entry of the mean")


@block.requires(
    "row by row",
    "From a belief that already has correlations, a block must be the same as its rows one after the other, each with the "
    "mean and the covariance that the row before has left.",
)
def _(block: Block, generator: torch.Generator) -> None:
    for sizes in ((2, 4, 2), (6, 3, 1)):
        case = _case(generator, *sizes)
        for expected in (block.row_by_row(*case), absorbed(*case)):
            for name, came, wanted in zip(("mean", "covariance"), block.absorb(*case), expected):
                expect_close(came, wanted, 1e-7, f"with {sizes[0]} rows and {sizes[1]} features an entry of the {name}")


@block.requires(
    "one system",
    "A block is one system, of rows by rows, without a loop over the rows. What is known for sure has variance 0, so A need not "
    "have an inverse. Only S, rows by rows, is inverted.",
)
def _(block: Block, generator: torch.Generator) -> None:
    case = _case(generator, 200, 2)
    with TorchCalls() as watched:
        block.absorb(*case)
    expect(watched.count < 200, f"you call torch {watched.count} times for 200 rows")
    mean, covariance, *rows = _case(generator)
    sure = torch.zeros_like(covariance)
    try:
        belief = block.absorb(mean, sure, *rows)
    except Crashed as error:
        expect(False, f"with a covariance of zeros it stops with {str(error).split(',')[0]}")
    for name, came, before in zip(("mean", "covariance"), belief, (mean, sure)):
        expect_close(came, before, 1e-7, f"with a covariance of zeros an entry of the {name}")


@block.requires(
    "one drift a block",
    "Drifts multiply: `rows` of them, each with your gamma, must forget just as much as one with the gamma of the block. A "
    "gamma that is right for blocks of 10 forgets ten times too fast when you use it for single rows.",
)
def _(block: Block, generator: torch.Generator) -> None:
    for gamma, rows in ((0.9, 10), (0.99, 3), (0.5, 2), (0.97, 1)):
        came = block.per_row(gamma, rows)
        expect(came >= 0, f"for gamma = {gamma} and blocks of {rows} you say {came:.3g}")
        expect_close(came**rows, gamma, 1e-7, f"with {came:.6g} for each of {rows} rows, the gamma of the block")
