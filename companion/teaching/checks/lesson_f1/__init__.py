"""Checks of foundation f1, distances between clouds."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from companion.foundations.distances import energy_distance
from companion.teaching.checks.answers import (
    StudentFunction,
    expect,
    expect_close,
    expect_tensor,
    normal,
    read_function,
    read_number,
)
from companion.teaching.checks.framework import exercise

# f1.1 The plug-in's bias

FEW, MANY, APART = 10, 40, 1 / 3  # points in each cloud, and E|X - X'| of two uniform points
BIAS = APART * (1 / FEW + 1 / MANY)


def _near(value: float, *others: float) -> bool:
    return any(abs(value - other) < 0.01 * abs(other) for other in others)


@exercise(
    "f1.1",
    "How far from itself?",
    difficulty=2,
    minutes=10,
    equation="the V-statistic",
    takeaway="The plug-in sees 1/24 where the truth is 0, and most of it comes from the smaller cloud. Leave self-pairs out, or compare at equal n only.",
)
def plug_in_bias(answer: object) -> float:
    return read_number(answer)


@plug_in_bias.requires(
    "not unbiased",
    "The true distance is 0, but the plug-in's expectation is not: each point is also paired with itself, at distance 0, "
    "which makes both clouds look tighter than they are.",
)
def _(value: float, generator: torch.Generator) -> None:
    expect(abs(value) > 1e-6)


@plug_in_bias.requires(
    "sign",
    "Self-pairs make the mean distance *within* a cloud too small, and that mean is subtracted: the bias is above 0.",
)
def _(value: float, generator: torch.Generator) -> None:
    expect(value > 0, f"got {value:.3g}")


@plug_in_bias.requires(
    "both clouds",
    "That is what one of the two clouds adds. Both are paired with themselves, and each adds its own part.",
)
def _(value: float, generator: torch.Generator) -> None:
    expect(not _near(value, APART / FEW, APART / MANY))


@plug_in_bias.requires(
    "counted once",
    "Twice too much. Of the n^2 ordered pairs within a cloud, n are self-pairs: a share of 1/n, not 2/n. The factor 2 of "
    "the formula stands before the cross term, which has no self-pairs.",
)
def _(value: float, generator: torch.Generator) -> None:
    expect(not _near(value, 2 * BIAS))


@plug_in_bias.requires(
    "each its own size",
    "The clouds differ in size, and no common size replaces both: the bias is a sum of 1/n and 1/m, and the smaller cloud "
    "makes most of it.",
)
def _(value: float, generator: torch.Generator) -> None:
    sizes = (FEW + MANY, (FEW + MANY) / 2)
    expect(not _near(value, *(part * APART / size for part in (1, 2) for size in sizes)))


@plug_in_bias.requires(
    "mean distance",
    "1/n + 1/m is there, but not the mean distance of two points that it multiplies: for two uniform points on [0, 1] "
    "integrate |x - x'| over the square.",
)
def _(value: float, generator: torch.Generator) -> None:
    share = 1 / FEW + 1 / MANY
    expect(not _near(value, *(share * apart for apart in (1, 1 / 2, 1 / 4, 1 / 6, 1 / math.sqrt(6), 1 / 12))))


@plug_in_bias.requires(
    "n, not n - 1",
    "Nearly: the share of self-pairs among all n^2 pairs is 1/n. The n - 1 belongs to the estimate that leaves them out.",
)
def _(value: float, generator: torch.Generator) -> None:
    expect(not _near(value, APART * (1 / (FEW - 1) + 1 / (MANY - 1))))


@plug_in_bias.requires(
    "value",
    "Count, in each of the three sums, the pairs of two different points: their expectation is E|X - X'|; the rest is 0. "
    "Give three digits.",
)
def _(value: float, generator: torch.Generator) -> None:
    expect(abs(value - BIAS) < 2e-4, f"got {value:.4g}")


# f1.2 The energy distance on a line, by sorting


@exercise(
    "f1.2",
    "A distance by sorting",
    difficulty=3,
    minutes=20,
    equation="energy distance on a slice",
    takeaway="A sort in place of all pairs, without bias: averaged over directions it is the energy distance in any dimension, up to a constant.",
)
def line_distance(answer: object) -> StudentFunction:
    return read_function(answer, "line_distance(x, y)")


def _places(generator: torch.Generator, n: int = 9, m: int = 6) -> tuple[Tensor, Tensor]:
    """Two clouds on a line, unsorted, of different sizes, spreads and places."""
    return normal(generator, n), 2 * normal(generator, m) + 0.7


def _exact(x: Tensor, y: Tensor) -> Tensor:
    return energy_distance(x[:, None], y[:, None])


def _within(x: Tensor) -> Tensor:
    """The mean over pairs of different places."""
    return torch.pdist(x[:, None]).mean()


@line_distance.requires("one number", "A distance is one number, a tensor without axes, in the dtype of the places.")
def _(distance: StudentFunction, generator: torch.Generator) -> None:
    for dtype in (torch.float64, torch.float32):
        x, y = (places.to(dtype) for places in _places(generator))
        expect_tensor(distance(x, y), (), dtype, "the distance")


@line_distance.requires(
    "order does not matter",
    "A cloud has no order: the same places in another order must give the same distance. Sort before you weigh.",
)
def _(distance: StudentFunction, generator: torch.Generator) -> None:
    x, y = _places(generator)
    value = distance(x, y)
    expect_close(distance(x.sort().values, y.sort().values), value, 1e-9, "for sorted places, the distance")


@line_distance.requires(
    "moves along",
    "Move both clouds by the same step and the distance must stay. Yours changes: the weights 2i - n + 1 must add up to 0 "
    "(i counts from 0).",
)
def _(distance: StudentFunction, generator: torch.Generator) -> None:
    x, y = _places(generator)
    expect_close(distance(x + 5, y + 5), distance(x, y), 1e-8, "after a step of 5, the distance")


@line_distance.requires(
    "scale",
    "Stretch the line by 2 and |x - y| doubles, so the distance doubles too. Yours does not: no squares, no roots.",
)
def _(distance: StudentFunction, generator: torch.Generator) -> None:
    x, y = _places(generator)
    expect_close(distance(2 * x, 2 * y), 2 * distance(x, y), 1e-8, "at twice the scale, the distance")


@line_distance.requires("symmetric", "The distance from x to y is that from y to x, whatever their sizes.")
def _(distance: StudentFunction, generator: torch.Generator) -> None:
    x, y = _places(generator)
    expect_close(distance(y, x), distance(x, y), 1e-9, "with x and y exchanged, the distance")


@line_distance.requires(
    "sign",
    "Two clouds far apart must be at a large positive distance: pairs between count for it, pairs within against it.",
)
def _(distance: StudentFunction, generator: torch.Generator) -> None:
    x, y = _places(generator)
    value = float(distance(x, y + 100))
    expect(value > 0, f"two clouds 100 apart came out as {value:.3g}")


@line_distance.requires(
    "unbiased",
    "Yours is the V-statistic: it divides the pairs within a cloud by n^2, self-pairs included, and so is above 0 on average "
    "for equal laws. Divide by the number of pairs of different points.",
)
def _(distance: StudentFunction, generator: torch.Generator) -> None:
    def plug_in(x: Tensor, y: Tensor) -> Tensor:
        return _exact(x, y) + _within(x) / len(x) + _within(y) / len(y)

    _expect_not(plug_in, distance, generator)


@line_distance.requires(
    "pairs counted once",
    "The sum over sorted places counts each pair once, so the mean over n (n - 1)/2 pairs divides by half of n (n - 1). Your pairs within a cloud weigh half as much as they should.",
)
def _(distance: StudentFunction, generator: torch.Generator) -> None:
    _expect_not(lambda x, y: _exact(x, y) + (_within(x) + _within(y)) / 2, distance, generator)


@line_distance.requires(
    "between",
    "Far apart, the distance must grow by 2 for each step of 1 between the clouds: E|X - Y| enters twice, as a mean over the "
    "n m pairs between them. Pouring both clouds together counts the pairs within as well: take them off.",
)
def _(distance: StudentFunction, generator: torch.Generator) -> None:
    x, y = _places(generator)
    grown = float(distance(x, y + 101)) - float(distance(x, y + 100))
    expect(abs(grown - 2) < 1e-6, f"it grows by {grown:.4g}")

    def poured(x: Tensor, y: Tensor) -> Tensor:
        n, m = len(x), len(y)
        return _exact(x, y) + (n * (n - 1) * _within(x) + m * (m - 1) * _within(y)) / (n * m)

    _expect_not(poured, distance, generator)


@line_distance.requires(
    "below 0",
    "Of two clouds of one law an unbiased estimate is often below 0, or its mean could not be 0. Yours never is: clipping or taking the size makes it biased again.",
)
def _(distance: StudentFunction, generator: torch.Generator) -> None:
    clouds = [normal(generator, 2, 12) for _ in range(40)]
    lowest = min(clouds, key=lambda pair: float(_exact(*pair)))
    value = float(distance(*lowest))
    expect(value < 0, f"{value:.3g} for clouds whose estimate is {float(_exact(*lowest)):.3g}")


@line_distance.requires(
    "value",
    "The energy distance is twice the mean |x - y| less the mean over different pairs within x and within y.",
)
def _(distance: StudentFunction, generator: torch.Generator) -> None:
    for n, m in ((2, 2), (9, 6), (30, 80)):
        x, y = _places(generator, n, m)
        expect_close(distance(x, y), _exact(x, y), 1e-8, f"for {n} and {m} places, the distance")


class _Largest(TorchFunctionMode):
    """The size of the largest tensor made inside it."""

    size = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.size = max(self.size, result.numel())
        return result


@line_distance.requires(
    "no matrix of pairs",
    "Your way visits every pair: with a hundred times the points it needs ten thousand times the memory. Sorting needs n.",
)
def _(distance: StudentFunction, generator: torch.Generator) -> None:
    x, y = _places(generator, 400, 300)
    with _Largest() as watch:
        distance(x, y)
    expect(watch.size <= 10 * 700, f"a tensor of {watch.size:,} numbers for 700 places")


def _expect_not(
    mistake: Callable[[Tensor, Tensor], Tensor], distance: StudentFunction, generator: torch.Generator
) -> None:
    """Fail when `distance` makes this mistake on every input tried."""
    clouds = [_places(generator, n, m) for n, m in ((9, 6), (5, 12), (20, 20))]
    expect(not all(abs(float(distance(x, y)) - float(mistake(x, y))) < 1e-8 for x, y in clouds))
