"""Exercises 03.1 and 03.2: the weight that repairs a prediction, and what a guided prediction is and costs."""

from collections.abc import Callable

import torch
from torch import Tensor

from companion.data.labelled import four_classes
from companion.foundations.diffusion import time_grid
from companion.methods.guidance import sample_guided
from companion.teaching.checks.answers import (
    DOUBLE,
    NotYet,
    StudentFunction,
    describe,
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

# 03.1 The weight that repairs

SHARES = (0.9, 0.5, 0.25)
BEST = "best_weight(x0, x_c, x_u)"


class Repair:
    """The student's three weights and their regression."""

    def __init__(self, weights: list[float], function: StudentFunction) -> None:
        self.weights, self.function = weights, function

    def best(self, *points: Tensor) -> float:
        value = self.function(*points)
        single = not isinstance(value, torch.Tensor) or value.numel() == 1
        expect(single, f"{BEST} came out as {describe(value)}, expected one number for all rows")
        return read_number(value, BEST)

    def predicts(self, formula: Callable[[float], float]) -> bool:
        """Whether the three weights are those of a formula in the share."""
        return all(abs(weight - formula(share)) < 0.006 for weight, share in zip(self.weights, SHARES))

    def follows(self, formula: Callable[[Tensor, Tensor, Tensor], Tensor], generator: torch.Generator) -> bool:
        """Whether the regression is this formula, on three sets of points."""
        cases = [_points(generator) for _ in range(3)]
        return all(abs(self.best(*case) - formula(*case).item()) < 1e-4 for case in cases)


@exercise(
    "03.1",
    "The weight that repairs",
    difficulty=2,
    minutes=10,
    equation="Appendix C.1",
    takeaway="A prediction that went the share a of its way wants 1/a - 1. In general the weight is a regression of the error on x_c - x_u, and 0 where no error points along it.",
)
def repair(answer: object) -> Repair:
    parts = read_parts(answer, ("repairs", "best_weight"))
    weights = parts["repairs"]
    if isinstance(weights, torch.Tensor):
        weights = weights.flatten().tolist()
    if not isinstance(weights, list | tuple) or len(weights) != len(SHARES):
        raise NotYet(f"Expected repairs to be three weights, such as [0, 0, 0]; got {describe(weights)}.", "type")
    numbers = [read_number(weight, f"the weight for share {share}") for weight, share in zip(weights, SHARES)]
    return Repair(numbers, read_function(parts["best_weight"], BEST))


def _points(generator: torch.Generator, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
    """Clean points and two predictions, none of them exact; the lengths of x_c - x_u differ much from row to row."""
    shape = shape or (40, 3)
    x0, error, d = (normal(generator, *shape) for _ in range(3))
    lengths = 0.2 + 2 * torch.rand(shape[0], *[1] * (len(shape) - 1), generator=generator, dtype=DOUBLE)
    x_c = x0 + 0.3 * error - uniform(generator, 0.2, 0.8) * lengths * d
    return x0, x_c, x_c - lengths * d


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)


def _regression(x0: Tensor, x_c: Tensor, x_u: Tensor) -> Tensor:
    d = x_c - x_u
    return _dot(x0 - x_c, d).sum() / _dot(d, d).sum()


@repair.requires(
    "missing share",
    "The share 1 - a of the way is missing, yes. But a weight counts in units of x_c - x_u, and that is itself only "
    "the share a of the way: the less the model has learned, the shorter its unit.",
)
def _(repair: Repair, generator: torch.Generator) -> None:
    expect(not repair.predicts(lambda share: 1 - share))


@repair.requires(
    "not the scale",
    "From x_u it takes 1/a times x_c - x_u to reach x*. Guidance starts at x_c, where one of them is done: "
    "1 + w = 1/a. Libraries often call 1 + w the scale.",
)
def _(repair: Repair, generator: torch.Generator) -> None:
    expect(not repair.predicts(lambda share: 1 / share))


@repair.requires(
    "repairs",
    "Put x_c = x_u + a (x* - x_u) into x_c + w (x_c - x_u). The factor of x* - x_u must be 1.",
)
def _(repair: Repair, generator: torch.Generator) -> None:
    for weight, share in zip(repair.weights, SHARES):
        right = abs(weight - (1 / share - 1)) < 0.006
        expect(right, f"with your weight {weight:.3g} the share {share} becomes {(1 + weight) * share:.3g}")


@repair.requires(
    "one number", "All rows share one weight: the mean of a product over the rows, divided by another mean."
)
def _(repair: Repair, generator: torch.Generator) -> None:
    repair.best(*_points(generator))


@repair.requires(
    "from x_c",
    "You regress x0 - x_u, which is the way from the unconditional prediction: its factor is 1 + w. Guidance adds to "
    "x_c, so what is left to explain is x0 - x_c.",
)
def _(repair: Repair, generator: torch.Generator) -> None:
    expect(not repair.follows(lambda x0, x_c, x_u: 1 + _regression(x0, x_c, x_u), generator))


@repair.requires(
    "sign",
    "The sign is turned: the way still to go is x0 - x_c, and d = x_c - x_u points from the unconditional to the "
    "conditional prediction. Your weight would go back.",
)
def _(repair: Repair, generator: torch.Generator) -> None:
    expect(not repair.follows(lambda x0, x_c, x_u: -_regression(x0, x_c, x_u), generator))


@repair.requires(
    "ratio of means",
    "You divide in each row and take the mean of the ratios. A row in which both predictions nearly agree says "
    "little about the weight, but its ratio is huge. Divide the two means, once.",
)
def _(repair: Repair, generator: torch.Generator) -> None:
    def of_rows(x0: Tensor, x_c: Tensor, x_u: Tensor) -> Tensor:
        d = x_c - x_u
        return (_dot(x0 - x_c, d) / _dot(d, d)).mean()

    expect(not repair.follows(of_rows, generator))


@repair.requires(
    "a share",
    "Where x_c has gone the share a of the way from x_u to x0 in every row, the weight is 1/a - 1, as in the first "
    "part. Is the *squared* length of d in the denominator?",
)
def _(repair: Repair, generator: torch.Generator) -> None:
    for share in (uniform(generator, 0.2, 0.9) for _ in range(3)):
        x0, _, x_u = _points(generator)
        found = repair.best(x0, x_u + share * (x0 - x_u), x_u)
        expect_close(found, 1 / share - 1, 1e-6, f"the weight for the share {share:.2f}")


@repair.requires(
    "overshoot",
    "A conditional prediction may go too far. Then the error points back, and the best weight is negative. (The "
    "paper's weight, kept from being negative, could only stay at 0.)",
)
def _(repair: Repair, generator: torch.Generator) -> None:
    x0, _, x_u = _points(generator)
    expect_close(repair.best(x0, x_u + 1.6 * (x0 - x_u), x_u), -0.375, 1e-6, "for the share 1.6 the weight")


@repair.requires(
    "exact prediction",
    "Here x_c is the exact posterior mean. Points scatter about it in all directions, with no preference for "
    "x_c - x_u, so the errors cancel in the mean of <x0 - x_c, d> and the best weight is 0.",
)
def _(repair: Repair, generator: torch.Generator) -> None:
    law = four_classes().to(DOUBLE)
    x0, labels = law.sample_labelled(40_000, generator)
    x_t = 0.4 * x0 + 0.6 * normal(generator, *x0.shape)
    found = repair.best(x0, law.conditional(x_t, 0.6, labels), law.unconditional(x_t, 0.6))
    expect(abs(found) < 0.05, f"with 40,000 points the weight came out as {found:.3f}")


@repair.requires(
    "least squares",
    "The weight that makes the mean of |x0 - x_c - w d|^2 least is mean <x0 - x_c, d> / mean |d|^2, the products "
    "summed over all coordinates of a row.",
)
def _(repair: Repair, generator: torch.Generator) -> None:
    for shape in ((40, 3), (1, 2), (6, 1, 4, 4)):
        case = _points(generator, *shape)
        expect_close(repair.best(*case), _regression(*case), 1e-6, f"for points of shape {shape} the weight")


# 03.2 The guided prediction, its interval and its price

GUIDED, LIMITED = "guided(x_c, x_u, weight)", "limited(t, weight, low, high)"
EVALUATIONS = "evaluations(times, weight, low, high)"


class Guidance:
    """The student's three functions."""

    def __init__(self, guided: StudentFunction, limited: StudentFunction, evaluations: StudentFunction) -> None:
        self.guided, self.limited, self._evaluations = guided, limited, evaluations

    def evaluations(self, *settings: object) -> float:
        return read_number(self._evaluations(*settings), EVALUATIONS)


@exercise(
    "03.2",
    "The guided prediction and its price",
    difficulty=2,
    minutes=10,
    equation="the ancestor, Ho and Salimans (2022)",
    takeaway="A guided step asks the model twice, an unguided one once. An interval saves the second call where the weight is 0, and a learned weight can be different in every row at no further call.",
)
def guidance(answer: object) -> Guidance:
    parts = read_parts(answer, ("guided", "limited", "evaluations"))
    signatures = {"guided": GUIDED, "limited": LIMITED, "evaluations": EVALUATIONS}
    return Guidance(**{name: read_function(parts[name], signature) for name, signature in signatures.items()})


def _predictions(generator: torch.Generator, *shape: int, dtype: torch.dtype = DOUBLE) -> list[Tensor]:
    """x_c, x_u and a weight for each row."""
    weight = 0.2 + 3 * torch.rand(shape[0], generator=generator, dtype=DOUBLE)
    return [value.to(dtype) for value in (normal(generator, *shape), normal(generator, *shape), weight)]


def _guided(x_c: Tensor, x_u: Tensor, weight: Tensor) -> Tensor:
    return x_c + weight.reshape(-1, *[1] * (x_c.ndim - 1)) * (x_c - x_u)


@guidance.requires(
    "weight 0",
    "With weight 0 guidance leaves the conditional prediction as it is. If yours gives x_u, that is the other "
    "convention, x_u + scale (x_c - x_u), in which the scale is 1 + w.",
)
def _(guidance: Guidance, generator: torch.Generator) -> None:
    x_c, x_u, weight = _predictions(generator, 5, 5)
    came = expect_tensor(guidance.guided(x_c, x_u, 0 * weight), (5, 5), DOUBLE, GUIDED)
    expect_close(came, x_c, 1e-9, "a coordinate with weight 0")


@guidance.requires(
    "away from x_u",
    "You go towards the unconditional prediction: weight 1 should lead to 2 x_c - x_u, and only weight -1 to x_u. "
    "Guidance goes on in the direction from x_u to x_c.",
)
def _(guidance: Guidance, generator: torch.Generator) -> None:
    x_c, x_u, weight = _predictions(generator, 5, 5)
    came = guidance.guided(x_c, x_u, torch.ones_like(weight))
    expect(not torch.allclose(came, x_u))


@guidance.requires(
    "a weight for each row",
    "The weight (n,) belongs to the rows. With as many rows as coordinates, `weight * (x_c - x_u)` runs and is wrong: "
    "broadcasting aligns the last axes, so the weights go to the coordinates. Give them axes of length 1 behind.",
)
def _(guidance: Guidance, generator: torch.Generator) -> None:
    case = _predictions(generator, 5, 5)
    expect_close(guidance.guided(*case), _guided(*case), 1e-9, "a coordinate")


@guidance.requires(
    "images",
    "For images (n, channels, height, width) the weight needs three axes behind its own. `weight[:, None]` has one, "
    "and lands on the height if that happens to be n: `weight.reshape(-1, *[1] * (x_c.ndim - 1))` fits any event.",
)
def _(guidance: Guidance, generator: torch.Generator) -> None:
    case = _predictions(generator, 4, 1, 4, 4, dtype=torch.float32)
    came = expect_tensor(guidance.guided(*case), (4, 1, 4, 4), torch.float32, GUIDED)
    expect_close(came, _guided(*case), 1e-5, "a pixel")


def _interval(generator: torch.Generator) -> tuple[float, float, float]:
    """A weight and an interval that ends at eighths, where floating point is exact."""
    low = int(torch.randint(1, 4, (), generator=generator)) / 8
    return uniform(generator, 0.5, 2), low, low + 3 / 8


@guidance.requires(
    "weights of a batch",
    "For times (n,) return weights (n,), in the dtype of the times: `torch.where` chooses for all rows at once. "
    "Booleans do not do as weights.",
)
def _(guidance: Guidance, generator: torch.Generator) -> None:
    for n, dtype in ((7, DOUBLE), (1, torch.float32)):
        t = torch.rand(n, generator=generator, dtype=DOUBLE).to(dtype)
        expect_tensor(guidance.limited(t, *_interval(generator)), (n,), dtype, LIMITED)


@guidance.requires(
    "off outside",
    "Outside the interval there is no guidance: the weight is 0 there, and w inside.",
)
def _(guidance: Guidance, generator: torch.Generator) -> None:
    weight, low, high = _interval(generator)
    for name, start, end, expected in (("below", 0, low, 0), ("above", high, 1, 0), ("inside", low, high, weight)):
        t = start + (end - start) * (0.05 + 0.9 * torch.rand(9, generator=generator, dtype=DOUBLE))
        expect_close(guidance.limited(t, weight, low, high), torch.full_like(t, expected), 1e-9, f"{name}, a weight")


@guidance.requires(
    "both ends",
    "Both ends belong to the interval, low <= t <= high. Samplers step on round times, so the ends are met, and a "
    "step more or less shows.",
)
def _(guidance: Guidance, generator: torch.Generator) -> None:
    weight, low, high = _interval(generator)
    ends = torch.tensor([low, high], dtype=DOUBLE)
    expect_close(guidance.limited(ends, weight, low, high), torch.full_like(ends, weight), 1e-9, "the weight at an end")


def _counted(steps: int, weight: float, low: float, high: float) -> int:
    """Calls of the model in a walk of the package's sampler."""
    law, calls = four_classes(), []

    def counted(function: Callable) -> Callable:
        return lambda *inputs: (calls.append(1), function(*inputs))[1]

    model = counted(law.conditional), counted(law.unconditional)
    for _ in sample_guided(*model, (weight, low, high), torch.zeros(1).long(), torch.zeros(1, 2), time_grid(steps)):
        pass
    return len(calls)


def _counts(guidance: Guidance, cases: list[tuple[int, float, float, float]]) -> None:
    for steps, weight, low, high in cases:
        came, expected = guidance.evaluations(time_grid(steps), weight, low, high), _counted(steps, weight, low, high)
        what = f"with {steps} steps and the interval from {low:g} to {high:g} you count {came:g} calls"
        expect(came == expected, f"{what}, expected {expected}")


@guidance.requires(
    "every step asks once",
    "Steps outside the interval are no gift: each asks for the conditional prediction. And K + 1 times make K steps.",
)
def _(guidance: Guidance, generator: torch.Generator) -> None:
    weight, low, high = _interval(generator)
    came = guidance.evaluations(time_grid(16), weight, low, high)
    expect(came not in (7, 14), f"you count {came:g} calls for 16 steps, 7 of them guided")
    expect(came != 17 + 7, f"you count {came:g} calls for 16 steps, 7 of them guided")


@guidance.requires(
    "second call saved",
    "Where the weight is 0 the unconditional prediction is multiplied by 0, and nobody needs to ask for it. A "
    "weight of 0 costs no more than no guidance.",
)
def _(guidance: Guidance, generator: torch.Generator) -> None:
    weight, low, high = _interval(generator)
    came = guidance.evaluations(time_grid(16), weight, low, high)
    expect(came != 32, f"you count {came:g} calls for 16 steps, 7 of them guided")
    _counts(guidance, [(16, 0.0, low, high)])


@guidance.requires(
    "where steps start",
    "The prediction is made where a step starts. The last time, 0, starts none: whether the interval reaches down "
    "to it makes no difference, and at the other end the first step starts at time 1.",
)
def _(guidance: Guidance, generator: torch.Generator) -> None:
    weight, low, high = _interval(generator)
    for interval, slip in (((weight, 0.0, high), 1), ((weight, low, 1.0), -1)):
        came, expected = guidance.evaluations(time_grid(16), *interval), _counted(16, *interval)
        found = f"with 16 steps and the interval from {interval[1]:g} to {interval[2]:g} you count {came:g} calls"
        expect(came != expected + slip, f"{found}, expected {expected}")


@guidance.requires(
    "calls of the sampler",
    "One call for each step, and one more where low <= t <= high at its start.",
)
def _(guidance: Guidance, generator: torch.Generator) -> None:
    weight, low, high = _interval(generator)
    _counts(guidance, [(16, weight, 0.0, high), (16, weight, low, 1.0), (8, weight, 0.0, 1.0)])
    _counts(guidance, [(steps, *_interval(generator)) for steps in (8, 16, 64)])
