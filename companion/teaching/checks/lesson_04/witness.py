"""Exercises 04.2 and 04.4: the slope of a witness without autograd, and MMD^2 from sums of features."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from companion.foundations.distances import mmd2, rbf
from companion.methods.mmd_flow import witness_slope
from companion.teaching.checks.answers import (
    DOUBLE,
    NotYet,
    StudentFunction,
    expect,
    expect_close,
    expect_no_autograd,
    expect_tensor,
    normal,
    read_function,
    uniform,
)
from companion.teaching.checks.framework import exercise

# 04.2 The slope of the witness

Slope = Callable[[Tensor, Tensor, Tensor, float], Tensor]
SLOPE = "slope(points, particles, data, bandwidth)"


@exercise(
    "04.2",
    "The slope of the witness",
    difficulty=2,
    minutes=15,
    equation="the witness of Arbel et al. (2019)",
    takeaway="Data pull, particles push, each with a force that fades beyond a bandwidth. In closed form the flow needs no graph, and one product of matrices a cloud.",
)
def slope(answer: object) -> StudentFunction:
    return read_function(answer, SLOPE)


Clouds = tuple[Tensor, Tensor, Tensor, float]


def _clouds(generator: torch.Generator, k: int = 4, n: int = 5, m: int = 7, dim: int = 3) -> Clouds:
    """Points, particles, data and a bandwidth that is not 1."""
    points, particles, data = (normal(generator, rows, dim) for rows in (k, n, m))
    return points, particles + 0.5, data - 0.5, uniform(generator, 1.3, 2.0)


def _half(points: Tensor, cloud: Tensor, bandwidth: float, scale: float = 2.0) -> Tensor:
    """The slope of mean k(cloud, .) at the points, for the kernel exp(-|.|^2 / (scale bandwidth^2)), times h^2."""
    difference = points[:, None] - cloud
    weight = (-difference.square().sum(-1) / (scale * bandwidth**2)).exp()
    return -(weight[..., None] * difference).mean(1)


def _right(points: Tensor, particles: Tensor, data: Tensor, bandwidth: float) -> Tensor:
    return (_half(points, particles, bandwidth) - _half(points, data, bandwidth)) / bandwidth**2


def _is(slope: Slope, formula: Slope, generator: torch.Generator) -> bool:
    """Whether the student's slope is this formula."""
    cases = [_clouds(generator), _clouds(generator, k=6, n=9, m=2, dim=2)]
    return all(torch.allclose(slope(*case).to(DOUBLE), formula(*case), rtol=1e-6, atol=1e-9) for case in cases)


@slope.requires("a slope for each point", "Return one vector for each point, (b, d), in the dtype of the points.")
def _(slope: Slope, generator: torch.Generator) -> None:
    for dtype, rows in ((DOUBLE, (4, 5, 7)), (torch.float32, (1, 6, 3)), (DOUBLE, (3, 1, 1))):
        *clouds, bandwidth = _clouds(generator, *rows)
        expect_tensor(slope(*(cloud.to(dtype) for cloud in clouds), bandwidth), (rows[0], 3), dtype, SLOPE)


@slope.requires(
    "without autograd",
    "It needs autograd. The exercise is to do without: the derivative of an exponential is the exponential times the "
    "derivative of what stands in it.",
)
def _(slope: StudentFunction, generator: torch.Generator) -> None:
    expect_no_autograd(slope, *_clouds(generator))


@slope.requires(
    "both clouds",
    "Yours depends on one of the two clouds only. Without the push between particles all of them fall to where the "
    "data are densest; without the pull of the data they fly apart.",
)
def _(slope: Slope, generator: torch.Generator) -> None:
    points, particles, data, bandwidth = _clouds(generator)
    here = slope(points, particles, data, bandwidth)
    expect(not torch.allclose(here, slope(points, particles + 0.3, data, bandwidth)), "particles make no difference")
    expect(not torch.allclose(here, slope(points, particles, data + 0.3, bandwidth)), "data make no difference")


@slope.requires(
    "means, each its own",
    "With every particle twice, or every data point twice, the slope must stay the same. The witness is a difference of "
    "two *means*: with sums, or one number of rows for both, the larger cloud wins, even where both have one law.",
)
def _(slope: Slope, generator: torch.Generator) -> None:
    points, particles, data, bandwidth = _clouds(generator)
    here = slope(points, particles, data, bandwidth)
    expect_close(slope(points, particles.repeat(2, 1), data, bandwidth), here, 1e-9, "with every particle twice one")
    expect_close(slope(points, particles, data.repeat(2, 1), bandwidth), here, 1e-9, "with every data point twice one")


@slope.requires(
    "upwards",
    "It points the wrong way: particles that go *down* it would flee from the data. The witness is the mean over "
    "particles minus the mean over data, and the kernel falls with the distance: a minus comes from the exponent.",
)
def _(slope: Slope, generator: torch.Generator) -> None:
    expect(not _is(slope, lambda *case: -_right(*case), generator))
    expect(not _is(slope, lambda *case: -_right(*case) * case[3] ** 2, generator), "and 1/h^2 is missing")


@slope.requires(
    "push and pull",
    "Data and particles act with the same sign. They must be opposed: where both clouds are one, the slope is 0 and "
    "the flow rests.",
)
def _(slope: Slope, generator: torch.Generator) -> None:
    points, cloud, _, bandwidth = _clouds(generator)
    expect_close(slope(points, cloud, cloud, bandwidth), torch.zeros(4, 3), 1e-9, "for equal clouds a coordinate")


@slope.requires(
    "one over the square",
    "The derivative of -|x - z|^2 / (2 h^2) brings 1/h^2. Without it, or with 1/h, a step means another length at "
    "each bandwidth.",
)
def _(slope: Slope, generator: torch.Generator) -> None:
    expect(not _is(slope, lambda *case: _right(*case) * case[3] ** 2, generator))
    expect(not _is(slope, lambda *case: _right(*case) * case[3], generator), "you have 1/h")
    expect(not _is(slope, lambda *case: _right(*case) / 2, generator), "the 2 of 2 h^2 goes with the derivative")


@slope.requires(
    "no factor 2",
    "That is twice the slope: the derivative of MMD^2 by a particle has a 2, the flow of this lesson leaves it to "
    "the step. The derivative of |x - z|^2 has one, too, and the 2 of 2 h^2 takes it away.",
)
def _(slope: Slope, generator: torch.Generator) -> None:
    expect(not _is(slope, lambda *case: 2 * _right(*case), generator))


@slope.requires(
    "the exponent",
    "The kernel is another one: exp(-|x - z|^2 / (2 h^2)), with the square of the distance, the square of h, and a 2.",
)
def _(slope: Slope, generator: torch.Generator) -> None:
    def with_kernel(weight: Callable[[Tensor, float], Tensor]) -> Slope:
        def formula(points: Tensor, particles: Tensor, data: Tensor, bandwidth: float) -> Tensor:
            total = torch.zeros_like(points)
            for cloud, sign in ((particles, -1), (data, 1)):
                difference = points[:, None] - cloud
                total = total + sign * (weight(difference.norm(dim=-1), bandwidth)[..., None] * difference).mean(1)
            return total / bandwidth**2

        return formula

    expect(not _is(slope, with_kernel(lambda r, h: (-(r**2) / h**2).exp()), generator), "the 2 is missing")
    expect(not _is(slope, with_kernel(lambda r, h: (-r / (2 * h**2)).exp()), generator), "the distance is not squared")
    expect(not _is(slope, with_kernel(lambda r, h: (-(r**2) / (2 * h)).exp()), generator), "h is not squared")


@slope.requires(
    "the witness's slope",
    "Finite differences of the witness say something else. For each cloud it is the mean of "
    "-(x - z) k(z, x) / h^2 over the cloud's points z, with k itself as the weight, neither normalised nor rooted.",
)
def _(slope: Slope, generator: torch.Generator) -> None:
    for case in (_clouds(generator), _clouds(generator, k=2, n=3, m=3, dim=5), _clouds(generator, n=1, dim=1)):
        *clouds, bandwidth = case
        expect_close(slope(*case), witness_slope(*clouds, rbf(bandwidth)), 1e-7, "a coordinate")


# 04.4 MMD^2 from sums

SQUARED = "squared_mmd(clean, noised)"


@exercise(
    "04.4",
    "MMD² from sums",
    difficulty=3,
    minutes=15,
    equation="MMD in the objective of the witness",
    takeaway="Two sums of features and two sums of squares are enough: unbiased at any size, sometimes below 0, and of cost n p instead of n^2 p.",
)
def squared(answer: object) -> StudentFunction:
    return read_function(answer, SQUARED)


def _features(generator: torch.Generator, n: int = 5, m: int = 8, p: int = 3) -> tuple[Tensor, Tensor]:
    return normal(generator, n, p) + 0.4, 1.3 * normal(generator, m, p) - 0.2


def _linear(a: Tensor, b: Tensor) -> Tensor:
    return a @ b.T


def _apart(features: Tensor, divide_by: float | None = None) -> Tensor:
    """The sum of <phi_i, phi_j> over i != j, by default as a mean."""
    n = len(features)
    pairs = features.sum(0).square().sum() - features.square().sum()
    return pairs / (n * (n - 1) if divide_by is None else divide_by)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a.mean(0) @ b.mean(0)


def _gives(squared: StudentFunction, formula: Callable[[Tensor, Tensor], Tensor], generator: torch.Generator) -> bool:
    """Whether the student's number is this formula."""
    cases = [_features(generator), _features(generator, 9, 3, 2)]
    return all(abs(squared(*case).item() - formula(*case).item()) < 1e-8 for case in cases)


@squared.requires("one number", "Return one number, a tensor without axes, in the dtype of the features.")
def _(squared: StudentFunction, generator: torch.Generator) -> None:
    for dtype in (DOUBLE, torch.float32):
        clean, noised = _features(generator)
        expect_tensor(squared(clean.to(dtype), noised.to(dtype)), (), dtype, SQUARED)


class LargestTensor(TorchFunctionMode):
    """Remembers how many numbers the largest tensor made inside it has, and counts calls."""

    size, calls = 0, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.calls += 1
        if isinstance(result, Tensor):
            self.size = max(self.size, result.numel())
        return result


@squared.requires(
    "sums alone",
    "That looks at every pair. Because the kernel is linear, a sum over all pairs is a square of one sum, "
    "sum_ij <phi_i, phi_j> = |sum_i phi_i|^2: n p numbers instead of n^2.",
)
def _(squared: StudentFunction, generator: torch.Generator) -> None:
    n, p = 1000, 2
    with LargestTensor() as watched:
        squared(*_features(generator, n, n, p))
    expect(watched.size <= 10 * n * p, f"for {n} points and {p} features you make a tensor of {watched.size} numbers")
    expect(watched.calls < n, f"for {n} points you call torch {watched.calls} times")


@squared.requires(
    "sign",
    "That is minus MMD^2. The witness's *loss* is minus MMD^2, since the features shall tell the clouds apart; the "
    "distance itself grows with them.",
)
def _(squared: StudentFunction, generator: torch.Generator) -> None:
    expect(not _gives(squared, lambda *case: -mmd2(*case, _linear), generator))


@squared.requires(
    "own pairs",
    "You pair points with themselves: |mean difference|^2 is biased. Even for two clouds of one law it has the mean "
    "(variance)/n + (variance)/m, and the witness would earn it by making features noisy.",
)
def _(squared: StudentFunction, generator: torch.Generator) -> None:
    def biased(clean: Tensor, noised: Tensor) -> Tensor:
        return (clean.mean(0) - noised.mean(0)).square().sum()

    def kept(clean: Tensor, noised: Tensor) -> Tensor:
        within = sum(cloud.sum(0).square().sum() / (len(cloud) * (len(cloud) - 1)) for cloud in (clean, noised))
        return within - 2 * _cross(clean, noised)

    expect(not _gives(squared, biased, generator))
    expect(not _gives(squared, kept, generator), "divided by n (n - 1), but they are still in the sum")


@squared.requires(
    "number of pairs",
    "The sums within hold n (n - 1) pairs, as own pairs are taken out: divide by that many, each cloud by its own.",
)
def _(squared: StudentFunction, generator: torch.Generator) -> None:
    def with_counts(count: Callable[[int, int], float]) -> Callable[[Tensor, Tensor], Tensor]:
        def formula(clean: Tensor, noised: Tensor) -> Tensor:
            n, m = len(clean), len(noised)
            return _apart(clean, count(n, m)) + _apart(noised, count(m, n)) - 2 * _cross(clean, noised)

        return formula

    expect(not _gives(squared, with_counts(lambda n, m: n**2), generator), "you divide by n^2")
    expect(not _gives(squared, with_counts(lambda n, m: n * (n - 1) / 2), generator), "each pair is in the sum twice")

    def with_one_size(clean: Tensor, noised: Tensor) -> Tensor:
        n = len(clean)
        return _apart(clean) + _apart(noised, n * (n - 1)) - 2 * clean.sum(0) @ noised.sum(0) / n**2

    expect(not _gives(squared, with_one_size, generator), "you count the rows of one cloud for both")


@squared.requires(
    "the cross term",
    "Minus *twice* the mean of <phi(x_i), phi(x~_j)>, over all n m pairs: no clean point is a noised one, so none is "
    "left out. With another factor the distance of a cloud to itself is not 0.",
)
def _(squared: StudentFunction, generator: torch.Generator) -> None:
    for factor, found in ((1, "you take it once"), (0, "you leave it out"), (-2, "you add it"), (4, "you take 4")):
        formula = lambda a, b: _apart(a) + _apart(b) - factor * _cross(a, b)  # noqa: B023, E731
        expect(not _gives(squared, formula, generator), found)


@squared.requires(
    "below 0",
    "An unbiased estimate of a number near 0 must be negative about half the time. Cut off at 0 it is biased again, and "
    "has no slope there.",
)
def _(squared: StudentFunction, generator: torch.Generator) -> None:
    for _ in range(20):
        case = normal(generator, 6, 3), normal(generator, 5, 3)
        came, expected = squared(*case).item(), mmd2(*case, _linear).item()
        cut = expected < -1e-6 and (came == 0 or abs(came + expected) < 1e-8)
        expect(not cut, f"where it is {expected:.3g} yours is {came:.3g}")


@squared.requires(
    "features apart",
    "The p features must stay apart until they are multiplied: <phi, phi'> is a sum of products, not a product of "
    "sums. Sum over the rows first, then square, then sum over the features.",
)
def _(squared: StudentFunction, generator: torch.Generator) -> None:
    clean, noised = _features(generator)
    nothing = torch.zeros(len(clean), 2, dtype=DOUBLE), torch.zeros(len(noised), 2, dtype=DOUBLE)
    wider = squared(*(torch.cat(pair, 1) for pair in zip((clean, noised), nothing)))
    expect_close(wider, squared(clean, noised), 1e-9, "with two features more that are always 0 the number")
    single = sum(squared(clean[:, [j]], noised[:, [j]]) for j in range(3))
    expect_close(squared(clean, noised), single, 1e-8, "for three features the number, against their three numbers,")


@squared.requires(
    "unbiased MMD²",
    "A loop over all pairs, without a point and itself, says something else: the mean within one cloud plus the mean "
    "within the other, minus twice the mean between them.",
)
def _(squared: StudentFunction, generator: torch.Generator) -> None:
    for sizes in ((5, 8, 3), (2, 2, 1), (30, 4, 6)):
        case = _features(generator, *sizes)
        expect_close(squared(*case), mmd2(*case, _linear), 1e-8, "MMD^2")


@squared.requires(
    "a loss",
    "The features have no slope, or another one: features are learned from this number. No `.item()`, `.detach()` or "
    "`no_grad`.",
)
def _(squared: StudentFunction, generator: torch.Generator) -> None:
    features = [cloud.requires_grad_() for cloud in _features(generator)]
    value = squared(*features)
    if not value.requires_grad:
        raise NotYet("its gradient is cut off")
    expected = torch.autograd.grad(mmd2(*features, _linear), features)
    for came, wanted in zip(torch.autograd.grad(value, features, allow_unused=True), expected):
        expect(came is not None, "it has none in one of the two clouds")
        expect_close(came, wanted, 1e-7, "a derivative")
