"""Exercise 04.5: without its penalty a witness has no units.

>>> trial = try_penalty(1.0, torch.Generator().manual_seed(0), updates=20, points=100)
>>> trial.slope > 0, trial.before > 0
(True, True)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from companion.data.toy import eight_gaussians
from companion.foundations.distances import energy_distance
from companion.foundations.validation import Number
from companion.methods.mmd_flow import FeatureMLP, NoiseConditionalWitness, adaptive_flow, train_witness
from companion.teaching.checks.answers import (
    DOUBLE,
    NotYet,
    StudentFunction,
    describe,
    expect,
    expect_close,
    normal,
    read_function,
    read_number,
    read_parts,
    uniform,
)
from companion.teaching.checks.framework import exercise

SCALE, MEDIAN = "best_scale(mmd2, slopes, penalty)", "median_slope(features, points, direction)"
TERMS, DEGREES = ("MMD^2", "the penalty", "the shrinkage"), (2, 4, 2)
STEP, LEVELS, INNER = 0.1, 25, 4


# What happens


@dataclass(frozen=True)
class Penalised:
    """A witness trained with some penalty, and its flow.

    Attributes:
        slope: median slope between noised and clean points, at level 0.5.
        before, after: energy distances to fresh data at the start and at the end of the adaptive flow.
        repaired: the same at the end, when at each level the step is divided by the median slope at the particles.
    """

    slope: float
    before: float
    after: float
    repaired: float


def try_penalty(penalty: Number, generator: torch.Generator, updates: int = 400, points: int = 1000) -> Penalised:
    """Train a small witness on eight Gaussians, then let particles flow from N(0, I).

    Args:
        penalty: its weight in the loss.
        generator: draws everything but the weights, on its device; they are the same in each call.
        updates: of the witness.
        points: particles, and as many fresh data.
    """
    law, like = eight_gaussians().to(generator.device), {"generator": generator, "device": generator.device}
    witness = NoiseConditionalWitness(_network().to(generator.device))
    for _ in train_witness(witness, law, updates, penalty=penalty, generator=generator):
        pass
    start, fresh = torch.randn(points, 2, **like), law.sample(points, generator)
    level = torch.tensor(0.5, device=generator.device)
    noised = witness.noising.add(fresh, level, torch.randn(points, 2, **like))
    between = torch.lerp(noised, law.sample(points, generator), torch.rand(points, 1, **like))
    direction = witness.mean_features(noised, level) - witness.mean_features(fresh, level)
    slope = _slopes(lambda x: witness(x, level), between, direction).norm(dim=1).median().item()
    levels = witness.noising.levels(LEVELS).to(start)
    *_, plain = adaptive_flow(witness, start, levels, STEP, INNER)
    distances = (_distance(cloud, fresh) for cloud in (start, plain, _repaired_flow(witness, start, levels)))
    return Penalised(slope, *distances)


def _network() -> FeatureMLP:
    """Always the same weights; torch's own random stream is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FeatureMLP(2, num_features=32, width=64)


def _repaired_flow(witness: NoiseConditionalWitness, z: Tensor, levels: Tensor) -> Tensor:
    for level in levels:
        data_mean, _ = witness.remembered(level)
        for _ in range(INNER):
            direction = witness.mean_features(z, level) - data_mean
            slopes = _slopes(lambda x: witness(x, level), z, direction)  # noqa: B023
            z = z - STEP / slopes.norm(dim=1).median() * slopes
    return z


def _slopes(features: Callable[[Tensor], Tensor], points: Tensor, direction: Tensor) -> Tensor:
    points = points.detach().requires_grad_()
    with torch.enable_grad():
        (slopes,) = torch.autograd.grad((features(points) @ direction).sum(), points)
    return slopes


def _distance(cloud: Tensor, fresh: Tensor) -> float:
    """NaN, without a word of it, when particles have flown out of what numbers can hold."""
    return energy_distance(cloud, fresh).item() if bool(cloud.isfinite().all()) else math.nan


# The check


class Units:
    """The student's degrees, best factor and median slope."""

    def __init__(self, degrees: list[float], scale: StudentFunction, median: StudentFunction) -> None:
        self.degrees, self._scale, self._median = degrees, scale, median

    def scale(self, mmd2: float, slopes: Tensor, penalty: float) -> float:
        value = self._scale(mmd2, slopes, penalty)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, float) and value == math.inf:
            return value
        return read_number(value, SCALE)

    def median(self, *case: object) -> float:
        return read_number(self._median(*case), MEDIAN)

    def scales_like(self, formula: Callable[[float, Tensor, float], Tensor], cases: list) -> bool:
        return all(math.isclose(self.scale(*case), float(formula(*case)), rel_tol=1e-5) for case in cases)

    def measures(self, formula: Callable[[Tensor], Tensor], generator: torch.Generator) -> bool:
        """Whether the slope measured is this number of the slopes (n, d)."""
        cases = [_net(generator) for _ in range(3)]
        return all(math.isclose(self.median(*case), float(formula(_slopes(*case))), rel_tol=1e-6) for case in cases)


@exercise(
    "04.5",
    "Turn off the penalty",
    difficulty=4,
    minutes=20,
    equation="the gradient penalty of the objective",
    takeaway="MMD^2 is of degree 2 in the features and only the penalty is of a higher one: it alone says how long a slope is. Without it features grow as long as one trains, and a step has no length.",
)
def units(answer: object) -> Units:
    parts = read_parts(answer, ("degrees", "best_scale", "median_slope"))
    degrees = parts["degrees"]
    if isinstance(degrees, Tensor):
        degrees = degrees.flatten().tolist()
    if not isinstance(degrees, list | tuple) or len(degrees) != len(TERMS):
        raise NotYet(f"Expected degrees to be three numbers, such as [1, 1, 1]; got {describe(degrees)}.", "type")
    numbers = [read_number(degree, f"the degree of {term}") for degree, term in zip(degrees, TERMS)]
    return Units(numbers, read_function(parts["best_scale"], SCALE), read_function(parts["median_slope"], MEDIAN))


@units.requires(
    "a product of features",
    "A kernel is a product of *two* features, so what is linear in the kernel is of degree 2 in the features: MMD^2, "
    "the mean of |phi|^2, and the witness f, as it has features at the point and in the means.",
)
def _(units: Units, generator: torch.Generator) -> None:
    for place in (0, 2):
        expect(units.degrees[place] == 2, f"for {TERMS[place]} you say {units.degrees[place]:g}")


@units.requires(
    "the square of a slope",
    "The witness has degree 2, its slope as well, and the penalty squares the slope.",
)
def _(units: Units, generator: torch.Generator) -> None:
    expect(units.degrees[1] == 4, f"for {TERMS[1]} you say {units.degrees[1]:g}")


def _measured(generator: torch.Generator) -> list[tuple[float, Tensor, float]]:
    """MMD^2, slopes that differ much, and a penalty's weight."""
    cases = []
    for n in (40, 7, 1):
        slopes = normal(generator, n).exp()
        cases.append((uniform(generator, 0.1, 2), slopes, uniform(generator, 0.3, 3)))
    return cases


def _best_square(mmd2: float, slopes: Tensor, penalty: float) -> Tensor:
    """The square of the best factor."""
    return (mmd2 + 2 * penalty * slopes.mean()) / (2 * penalty * slopes.square().mean())


@units.requires(
    "no penalty, no limit",
    "With penalty 0 and a positive MMD^2 nothing holds the features: whatever the factor, a larger one has a smaller "
    "loss. The best one is infinite, `math.inf`.",
)
def _(units: Units, generator: torch.Generator) -> None:
    for mmd2, slopes, _ in _measured(generator):
        came = units.scale(mmd2, slopes, 0.0)
        expect(came == math.inf, f"with penalty 0 you say {came:.3g}")


@units.requires(
    "not the square",
    "You return c^2. MMD^2 and slopes are multiplied by the square of the factor of the features; the factor is its "
    "root.",
)
def _(units: Units, generator: torch.Generator) -> None:
    expect(not units.scales_like(_best_square, _measured(generator)))


@units.requires(
    "MMD² pulls",
    "You make the penalty alone least. Minus MMD^2 pulls, too: it goes on growing where slopes are already 1, so that "
    "the best slopes are longer than 1.",
)
def _(units: Units, generator: torch.Generator) -> None:
    cases = _measured(generator)
    expect(not units.scales_like(lambda a, g, lam: (g.mean() / g.square().mean()).sqrt(), cases))
    expect(not units.scales_like(lambda a, g, lam: g.mean() ** -0.5, cases))
    expect(not units.scales_like(lambda a, g, lam: g.median() ** -0.5, cases))


@units.requires(
    "each slope squared",
    "The penalty is the mean of (c^2 g - 1)^2 over the points. It contains the mean of g^2, which is more than the "
    "square of the mean of g: a few steep places cost much.",
)
def _(units: Units, generator: torch.Generator) -> None:
    def of_the_mean(a: float, g: Tensor, lam: float) -> Tensor:
        return _best_square(a, g.mean(), lam).sqrt()

    expect(not units.scales_like(of_the_mean, _measured(generator)[:2]))


@units.requires(
    "the best factor",
    "Another factor has a smaller loss. With s = c^2 the loss is -s MMD^2 + penalty mean (s g - 1)^2, a parabola in s.",
)
def _(units: Units, generator: torch.Generator) -> None:
    for mmd2, slopes, penalty in _measured(generator):
        came = units.scale(mmd2, slopes, penalty)

        def loss(scale: float) -> float:
            return -(scale**2) * mmd2 + penalty * (scale**2 * slopes - 1).square().mean().item()  # noqa: B023

        better = next((factor for factor in (0.999, 1.001) if loss(factor * abs(came)) < loss(came) - 1e-12), None)
        found = f"yours is {came:.4g}, and {(better or 1) * came:.4g} is better"
        expect(better is None, found)
        expect_close(came, _best_square(mmd2, slopes, penalty).sqrt(), 1e-4, "the best factor")


def _net(generator: torch.Generator, n: int = 9) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """Features, points and a direction, as `median_slope` gets them; a few slopes are far longer than the others."""
    first, second = normal(generator, 3, 16), normal(generator, 16, 4) / 4
    points = normal(generator, n, 3)
    points[0] = 0

    def features(x: Tensor) -> Tensor:
        return torch.sin(x @ first) @ second + x.square() @ first[:, :4]

    return features, points, normal(generator, 4)


@units.requires(
    "one median",
    "The lengths of the slopes come one for each point: of n points n lengths, and their median is the number. Lengths "
    "of rows, not of the whole batch, and no mean, which a few steep places rule.",
)
def _(units: Units, generator: torch.Generator) -> None:
    for formula, found in (
        (lambda slopes: slopes.norm(dim=1).mean(), "you take the mean"),
        (lambda slopes: slopes.norm(), "you take the length of all slopes as one vector"),
        (lambda slopes: slopes.mean(0).norm(), "you take the length of the mean slope"),
        (lambda slopes: slopes.abs().median(), "you take the median of coordinates"),
        (lambda slopes: slopes.square().sum(1).median(), "you take the square of the length"),
    ):
        expect(not units.measures(formula, generator), found)


@units.requires(
    "the sum, not the mean",
    "Your slope becomes smaller with more points: 1/n of it is there. Each row of the gradient of the *sum* of f over "
    "the points is the slope at one point; a mean divides them all.",
)
def _(units: Units, generator: torch.Generator) -> None:
    features, points, direction = _net(generator)
    twice = units.median(features, points.repeat(2, 1), direction)
    expect(not math.isclose(twice, units.median(features, points, direction) / 2, rel_tol=1e-3))


@units.requires(
    "the slope of f",
    "Finite differences of f(x) = <phi(x), direction> say something else. The slope is by the points, and along the "
    "direction that you are given.",
)
def _(units: Units, generator: torch.Generator) -> None:
    for n in (9, 1, 5):
        features, points, direction = _net(generator, n)
        shift = 1e-5 * torch.eye(3, dtype=DOUBLE)
        values = [(features(points + way) - features(points - way)) @ direction / 2e-5 for way in shift]
        expected = torch.stack(values, dim=1).norm(dim=1).median()
        expect_close(units.median(features, points, direction), expected, 1e-5, "the median slope")
