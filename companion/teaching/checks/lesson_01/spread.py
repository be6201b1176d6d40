"""Exercises 01.1, 01.2 and 01.4: how wide is the best model, and when does the score not care?"""

from collections.abc import Callable

import torch
from torch import Tensor

from companion.methods.distributional import expected_score
from companion.teaching.checks.answers import (
    DOUBLE,
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

# 01.1 The best spread at lambda = 1/2


@exercise(
    "01.1",
    "Predict the spread",
    difficulty=2,
    minutes=10,
    equation="eq. (12)",
    takeaway="With half the repulsion the best model is not half as wide as the data, but 0.378 times: far too sure of itself.",
)
def half_repulsion(answer: object) -> float:
    return read_number(answer)


@half_repulsion.requires(
    "range", "A standard deviation is not negative, and repulsion below 1 cannot make the model wider than the data."
)
def _(spread: float, generator: torch.Generator) -> None:
    expect(0 <= spread <= 1, f"got {spread:.3g}")


@half_repulsion.requires(
    "some repulsion",
    "Only lambda = 0 collapses to a point, the median. With lambda = 1/2 the first small step away from it is repaid: "
    "the repulsion grows like s, the cost only like s^2.",
)
def _(spread: float, generator: torch.Generator) -> None:
    expect(spread > 0.02)


@half_repulsion.requires(
    "factor 1/2",
    "The model of spread 1 is the data's own law, and it is the best only at lambda = 1. If a derivation led you here, "
    "it lost the 1/2 in front of the repulsion: the score subtracts lambda/2 times E|X - X'|.",
)
def _(spread: float, generator: torch.Generator) -> None:
    expect(spread < 0.97)


@half_repulsion.requires("root", "This is the variance s^2 of the best model. Its spread is the root of that.")
def _(spread: float, generator: torch.Generator) -> None:
    expect(abs(spread - 1 / 7) > 0.005)


@half_repulsion.requires(
    "two draws",
    "The difference of two draws varies more than one draw: X - X' has variance 2 s^2, not s^2. Without that 2 the "
    "repulsion is too weak and the model too narrow.",
)
def _(spread: float, generator: torch.Generator) -> None:
    expect(abs(spread - 15**-0.5) > 0.005)


@half_repulsion.requires(
    "not linear",
    "The best spread is not lambda itself: it falls faster. Set the derivative of the expected score with respect to s to zero.",
)
def _(spread: float, generator: torch.Generator) -> None:
    expect(abs(spread - 0.5) > 0.01)


@half_repulsion.requires("best", "Another spread has a smaller expected score. Give three digits.")
def _(spread: float, generator: torch.Generator) -> None:
    grid = torch.linspace(0, 1, 100_001, dtype=DOUBLE)
    best = grid[expected_score(grid, lam=0.5).argmin()].item()
    wider = "wider" if spread < best else "narrower"
    expect(abs(spread - best) < 0.002, f"at {spread:.3g}, a slightly {wider} model does better")


# 01.2 The best spread for every lambda and beta


@exercise(
    "01.2",
    "The spread for every λ and β",
    difficulty=3,
    minutes=10,
    equation="eq. (12)",
    takeaway="Your formula minimises the score for every lambda and beta tried. Towards beta = 2, ever less missing repulsion collapses the model.",
)
def best_spread(answer: object) -> Callable[[float, float], float]:
    function = read_function(answer, "best_spread(lam, beta)")
    return lambda lam, beta: read_number(function(lam, beta), "best_spread(lam, beta)")


@best_spread.requires(
    "strictly proper",
    "With the whole repulsion, lambda = 1, the score is strictly proper for every beta below 2: the best spread is the "
    "data's own, 1. Any other value would make an honest model lose.",
)
def _(spread: Callable[[float, float], float], generator: torch.Generator) -> None:
    for beta in (uniform(generator, 0.2, 1.8) for _ in range(4)):
        expect_close(spread(1.0, beta), 1, 1e-6, f"best_spread(1, {beta:.2f})")


@best_spread.requires(
    "median",
    "Without repulsion nothing keeps the draws apart: as lambda falls to 0 the best model shrinks to the median.",
)
def _(spread: Callable[[float, float], float], generator: torch.Generator) -> None:
    for beta in (uniform(generator, 0.5, 1.8) for _ in range(4)):
        value = spread(1e-8, beta)
        expect(abs(value) < 1e-3, f"best_spread(1e-8, {beta:.2f}) came out as {value:.3g}, expected nearly 0")


@best_spread.requires(
    "beta matters",
    "Your formula gives the same spread for every beta. The nearer beta is to 2, the less a draw gains by moving away "
    "from the others, so the narrower the best model.",
)
def _(spread: Callable[[float, float], float], generator: torch.Generator) -> None:
    expect(abs(spread(0.6, 0.5) - spread(0.6, 1.5)) > 1e-3)


@best_spread.requires("root", "This is the variance s^2 of the best model. Its spread is the root of that.")
def _(spread: Callable[[float, float], float], generator: torch.Generator) -> None:
    def beats(candidate: float, lam: float, beta: float) -> bool:
        return _is_best(candidate, lam, beta) is None

    pairs = [(uniform(generator, 0.3, 0.9), uniform(generator, 0.3, 1.7)) for _ in range(4)]
    values = [spread(*pair) for pair in pairs]
    variances = all(v > 0 and beats(v**0.5, *pair) and not beats(v, *pair) for v, pair in zip(values, pairs))
    expect(not variances)


@best_spread.requires(
    "best", "Another spread has a smaller expected score, so this is not where its derivative is zero."
)
def _(spread: Callable[[float, float], float], generator: torch.Generator) -> None:
    for _ in range(6):
        lam, beta = uniform(generator, 0.3, 0.95), uniform(generator, 0.3, 1.7)
        value = spread(lam, beta)
        expect(value > 0, f"best_spread({lam:.2f}, {beta:.2f}) came out as {value:.3g}")
        better = _is_best(value, lam, beta)
        expect(
            better is None,
            f"for lambda = {lam:.2f} and beta = {beta:.2f} you say {value:.3g}; a {better} model does better",
        )


def _is_best(spread: float, lam: float, beta: float) -> str | None:
    """None where the expected score is smallest within 1%, else the side on which it is smaller."""
    narrower, here, wider = expected_score(torch.tensor([0.99, 1, 1.01], dtype=DOUBLE) * spread, lam, beta).tolist()
    if wider < here:
        return "wider"
    return "narrower" if narrower < here else None


# 01.4 Break it: beta = 2


MODELS = ("narrow", "wide", "score_left")


@exercise(
    "01.4",
    "Break it: β = 2",
    difficulty=3,
    minutes=10,
    equation="eq. (12)",
    takeaway="At beta = 2 the spread cancels and only |mean - y|^2 is left: regression again, whatever the repulsion. That is why beta stays below 2.",
)
def blind_score(answer: object) -> dict[str, StudentFunction]:
    parts = read_parts(answer, MODELS)
    signatures = ("narrow(n, generator)", "wide(n, generator)", "score_left(mean, y)")
    return {name: read_function(parts[name], signature) for name, signature in zip(MODELS, signatures)}


def _draws(models: dict[str, StudentFunction], generator: torch.Generator, n: int = 20_000) -> tuple[Tensor, Tensor]:
    """Draws of the narrow and of the wide model, in double precision."""
    return tuple(
        expect_tensor(models[name](n, generator), (n, 2), None, f"{name}({n}, generator)").detach().to(DOUBLE)
        for name in MODELS[:2]
    )


def _quadratic_score(draws: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """`energy_score_loss` at beta = 2, lambda = 1 of many draws (m, d) for each y (k, d), and its standard error.

    The mean over pairs of |x - x'|^2 is twice the unbiased variance, so it needs no pairs.
    """
    centre, variance = draws.mean(0), draws.var(0)
    offset = centre - y
    score = (draws - y[:, None]).square().sum(-1).mean(1) - variance.sum()
    error = 2 * (offset.square() * variance).sum(1).sqrt() / len(draws) ** 0.5 + 2 * variance.sum() / len(draws)
    return score, error


def _gap(models: dict[str, StudentFunction], generator: torch.Generator, y: Tensor) -> tuple[Tensor, Tensor]:
    """Score of the wide model minus that of the narrow one, for each y, and five standard errors."""
    narrow, wide = (_quadratic_score(draws, y) for draws in _draws(models, generator))
    return wide[0] - narrow[0], 5 * (wide[1].square() + narrow[1].square()).sqrt()


@blind_score.requires("draws", "A model here is a function that returns n draws in the plane, (n, 2).")
def _(models: dict[str, StudentFunction], generator: torch.Generator) -> None:
    for n in (3, 50):
        for draws in _draws(models, generator, n):
            expect(draws.isfinite().all(), "some draws are not finite")


@blind_score.requires(
    "generator",
    "The same generator in the same state must give the same draws: pass it on to torch.randn(..., generator=generator). "
    "A hidden global seed makes an experiment that nobody can repeat in parts.",
)
def _(models: dict[str, StudentFunction], generator: torch.Generator) -> None:
    state = generator.get_state()
    first = _draws(models, generator, 20)
    torch.rand(7)  # moves the global stream, which must not matter
    second = _draws(models, generator.set_state(state), 20)
    expect(all(torch.equal(a, b) for a, b in zip(first, second)))


@blind_score.requires(
    "spread",
    "The two models must differ in spread, or there is nothing to be blind to: make wide at least twice as wide as narrow.",
)
def _(models: dict[str, StudentFunction], generator: torch.Generator) -> None:
    narrow, wide = (draws.std(0).mean().item() for draws in _draws(models, generator))
    expect(wide > 0.1, f"wide has standard deviation {wide:.2f}; take at least 0.2")
    expect(wide > 1.9 * narrow, f"their standard deviations are {narrow:.2f} and {wide:.2f}")
    expect(
        wide <= 4,
        f"wide has standard deviation {wide:.2f}; stay below 3, so that differences can be heard above the noise",
    )


@blind_score.requires(
    "same score",
    "The wide model scores differently from the narrow one, on average over data around 0. What of a model, beside its spread, enters |x - y|^2?",
)
def _(models: dict[str, StudentFunction], generator: torch.Generator) -> None:
    y = normal(generator, 4, 2)
    gap, noise = _gap(models, generator, torch.cat([y, -y]))
    expect(gap.mean().abs() <= noise.mean(), f"the difference is {gap.mean():.2g}")


@blind_score.requires(
    "same for all data",
    "The two models tie on average over data around 0, but not for each y: their means lie on opposite sides, at the same "
    "distance. Find two that tie wherever y lies.",
)
def _(models: dict[str, StudentFunction], generator: torch.Generator) -> None:
    gap, noise = _gap(models, generator, 2 * normal(generator, 8, 2))
    expect((gap.abs() <= noise).all(), f"for one y the difference is {gap[gap.abs().argmax()]:.2g}")


@blind_score.requires(
    "what is left",
    "score_left must give the expected score at beta = 2, lambda = 1 from the model's mean alone, one value for each y. "
    "Write E|X - y|^2 with the variance of X, then E|X - X'|^2, and see what cancels.",
)
def _(models: dict[str, StudentFunction], generator: torch.Generator) -> None:
    for _ in range(3):
        mean, y = normal(generator, 2), 2 * normal(generator, 5, 2)
        left = models["score_left"](mean, y)
        expect_tensor(left, (5,), None, "score_left(mean of shape (2,), y of shape (5, 2))")
        expect_close(left, (mean - y).square().sum(1), 1e-4, "score_left")
