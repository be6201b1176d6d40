"""Exercise 05.1: the reduced loss as a function of a kernel, and its slope without autograd."""

from collections.abc import Callable

import torch
from torch import Tensor

from companion.teaching.checks.answers import (
    DOUBLE,
    StudentFunction,
    expect,
    expect_close,
    expect_no_autograd,
    expect_tensor,
    normal,
    read_function,
    read_parts,
    uniform,
)
from companion.teaching.checks.framework import exercise

REDUCED, SLOPE = "reduced(kernel, targets, ridge)", "slope(features, targets, ridge)"
Case = tuple[Tensor, Tensor, float]


class Envelope:
    """The student's reduced loss and its slope."""

    def __init__(self, reduced: StudentFunction, slope: StudentFunction) -> None:
        self._reduced, self.slope = reduced, slope

    def reduced(self, features: Tensor, targets: Tensor, ridge: float) -> Tensor:
        return self._reduced(features @ features.T, targets, ridge)

    def slope_is(self, formula: Callable[[Tensor, Tensor, float], Tensor], generator: torch.Generator) -> bool:
        """Whether the student's slope is this formula, on tall and on wide features."""
        cases = [_case(generator), _case(generator, 4, 9, 3)]
        return all(_alike(self.slope(*case), formula(*case)) for case in cases)

    def reduced_is(self, formula: Callable[[Tensor, Tensor, float], Tensor], generator: torch.Generator) -> bool:
        cases = [_case(generator), _case(generator, 4, 9, 3)]
        return all(_alike(self.reduced(*case), formula(*case)) for case in cases)


@exercise(
    "05.1",
    "The slope that needs no graph",
    difficulty=3,
    minutes=15,
    equation="the envelope theorem (Theorem 1)",
    takeaway="The loss sees the features only through their kernel, and its slope is that of the plain loss at the solved W: what W itself would do drops out, since W is already best.",
)
def envelope(answer: object) -> Envelope:
    parts = read_parts(answer, ("reduced", "slope"))
    return Envelope(read_function(parts["reduced"], REDUCED), read_function(parts["slope"], SLOPE))


def _case(generator: torch.Generator, n: int = 12, p: int = 4, k: int = 2) -> Case:
    """Features (n, p), targets (n, k), and a ridge that matters."""
    return normal(generator, n, p), 1 + normal(generator, n, k), uniform(generator, 0.1, 0.5)


def _alike(came: object, expected: Tensor) -> bool:
    same = isinstance(came, Tensor) and came.shape == expected.shape
    return same and torch.allclose(came.detach().to(DOUBLE), expected, rtol=1e-6, atol=1e-9)


def _weights(features: Tensor, targets: Tensor, penalty: float) -> Tensor:
    """The minimum of |Y - F W|^2 + penalty |W|^2."""
    system = features.T @ features + penalty * torch.eye(features.shape[1], dtype=DOUBLE)
    return torch.linalg.solve(system, features.T @ targets)


def _value(features: Tensor, targets: Tensor, ridge: float, penalty: float | None = None, shrink: float = 1) -> Tensor:
    """The loss at W, solved with another penalty or counted with another shrinkage on request."""
    n = len(features)
    weights = _weights(features, targets, n * ridge if penalty is None else penalty)
    fit = (targets - features @ weights).square().sum() / (2 * n)
    return fit + shrink * ridge / 2 * weights.square().sum()


def _slope(features: Tensor, targets: Tensor, ridge: float, penalty: float | None = None) -> Tensor:
    weights = _weights(features, targets, len(features) * ridge if penalty is None else penalty)
    return -(targets - features @ weights) @ weights.T / len(features)


# The reduced loss


@envelope.requires("one number", "Let `reduced` return one number, a tensor without axes, in the dtype of the kernel.")
def _(envelope: Envelope, generator: torch.Generator) -> None:
    for dtype, sizes in ((DOUBLE, (6, 3, 2)), (torch.float32, (5, 8, 1))):
        features, targets, ridge = _case(generator, *sizes)
        expect_tensor(envelope.reduced(features.to(dtype), targets.to(dtype), ridge), (), dtype, REDUCED)


@envelope.requires(
    "counted in rows",
    "The ridge stands beside a *mean* over rows. In a sum over rows it weighs n times as much: the system is "
    "K + n ridge I, and `slope` must solve with n ridge, too. Else a larger data set means another ridge.",
)
def _(envelope: Envelope, generator: torch.Generator) -> None:
    def with_ridge(features: Tensor, targets: Tensor, ridge: float) -> Tensor:
        system = features @ features.T + ridge * torch.eye(len(features), dtype=DOUBLE)
        return ridge / 2 * (targets * torch.linalg.solve(system, targets)).sum()

    expect(not envelope.reduced_is(with_ridge, generator), "`reduced` has K + ridge I")
    other = envelope.reduced_is(lambda f, y, ridge: with_ridge(f, y, ridge) / len(f), generator)
    expect(not other, "`reduced` has K + ridge I")
    expect(not envelope.slope_is(lambda f, y, ridge: _slope(f, y, ridge, ridge), generator), "`slope` has ridge alone")


@envelope.requires(
    "with its shrinkage",
    "`reduced` is the squared error alone. The loss has ridge/2 |W|^2, too, and it is the *whole* of it that W makes "
    "least: leave a part out, and W is no longer where that is flat.",
)
def _(envelope: Envelope, generator: torch.Generator) -> None:
    expect(not envelope.reduced_is(lambda *case: _value(*case, shrink=0), generator))
    expect(not envelope.reduced_is(lambda *case: _value(*case, shrink=2), generator), "you have ridge |W|^2")


@envelope.requires(
    "the factor before",
    "The number is a multiple of the right one. With A = (K + n ridge I)^-1 Y the residual is n ridge A and W is F'A: "
    "put both into the loss, and ridge/2 tr(Y'A) is left, with no n.",
)
def _(envelope: Envelope, generator: torch.Generator) -> None:
    cases = [_case(generator), _case(generator, 4, 9, 3), _case(generator, 20, 3, 1)]
    ratios = [envelope.reduced(*case).item() / _value(*case).item() for case in cases]
    for factor, found in ((2, "it is twice as large"), (-1, "its sign is turned")):
        expect(not all(abs(ratio - factor) < 1e-6 for ratio in ratios), found)
    rows = all(
        abs(ratio / ratios[0] * len(cases[0][0]) / len(case[0]) - 1) < 1e-6 for ratio, case in zip(ratios, cases)
    )
    expect(not rows, "it grows with n")
    fewer = all(
        abs(ratio / ratios[0] * len(case[0]) / len(cases[0][0]) - 1) < 1e-6 for ratio, case in zip(ratios, cases)
    )
    expect(not fewer, "it falls with n")


@envelope.requires(
    "the reduced loss",
    "The least value of |Y - F W|^2 / 2n + ridge/2 |W|^2 is another number. It is ridge/2 times the sum of Y * A, with "
    "A = (K + n ridge I)^-1 Y, over rows and outputs.",
)
def _(envelope: Envelope, generator: torch.Generator) -> None:
    for sizes in ((12, 4, 2), (3, 10, 3), (1, 1, 1)):
        case = _case(generator, *sizes)
        expect_close(envelope.reduced(*case), _value(*case), 1e-7, "the reduced loss")


# Its slope


@envelope.requires(
    "a slope for each", "Let `slope` return one number for each feature of each row, (n, p), in their dtype."
)
def _(envelope: Envelope, generator: torch.Generator) -> None:
    for dtype, sizes in ((DOUBLE, (6, 3, 2)), (torch.float32, (5, 8, 1))):
        features, targets, ridge = _case(generator, *sizes)
        came = envelope.slope(features.to(dtype), targets.to(dtype), ridge)
        expect_tensor(came, (*sizes[:2],), dtype, SLOPE)


@envelope.requires(
    "without autograd",
    "It needs autograd. The point of the theorem is that there is nothing to differentiate: solve for W, then use the "
    "slope of the plain loss at that W.",
)
def _(envelope: Envelope, generator: torch.Generator) -> None:
    expect_no_autograd(envelope.slope, *_case(generator))


@envelope.requires(
    "downhill",
    "It points the wrong way. The residual is Y - F W, and F stands in it with a minus: features that move along "
    "(Y - F W) W' make the residual *smaller*.",
)
def _(envelope: Envelope, generator: torch.Generator) -> None:
    expect(not envelope.slope_is(lambda *case: -_slope(*case), generator))
    expect(not envelope.slope_is(lambda *case: -_slope(*case) * len(case[0]), generator), "and 1/n is missing")


@envelope.requires(
    "a mean over rows",
    "The loss is a mean over rows, with a half before the square. So a row's slope has 1/n, and the half goes with the "
    "2 of the derivative.",
)
def _(envelope: Envelope, generator: torch.Generator) -> None:
    for factor, found in ((2, "it is twice as large"), (0.5, "it is half as large")):
        expect(not envelope.slope_is(lambda *case: factor * _slope(*case), generator), found)  # noqa: B023
    expect(not envelope.slope_is(lambda *case: len(case[0]) * _slope(*case), generator), "1/n is missing")
    mean = envelope.slope_is(lambda f, y, ridge: _slope(f, y, ridge) / y.shape[1], generator)
    expect(not mean, "you take the mean over outputs; the loss has their sum")


@envelope.requires(
    "no ridge term",
    "You add a term of the ridge to the slope. ridge/2 |W|^2 holds no features, so at fixed W it has no slope in them; "
    "and that W moves with them does not count, which is the theorem.",
)
def _(envelope: Envelope, generator: torch.Generator) -> None:
    for share, found in ((lambda f: 1, "ridge F"), (lambda f: 1 / len(f), "ridge F/n")):
        formula = lambda f, y, ridge: _slope(f, y, ridge) + ridge * share(f) * f  # noqa: B023, E731
        expect(not envelope.slope_is(formula, generator), f"you add {found}")


@envelope.requires(
    "the best W",
    "At your W the loss is not flat, so the theorem does not hold there. W has to be the minimum for *these* features, "
    "(F'F/n + ridge I)^-1 F'Y/n, ridge and all.",
)
def _(envelope: Envelope, generator: torch.Generator) -> None:
    cases = [_case(generator), _case(generator, 15, 3, 1)]  # with a minimum of its own even without a ridge
    bare = all(_alike(envelope.slope(*case), _slope(*case, 0)) for case in cases)
    expect(not bare, "yours has no ridge")

    def correlation(features: Tensor, targets: Tensor, ridge: float) -> Tensor:
        weights = features.T @ targets / len(features)
        return -(targets - features @ weights) @ weights.T / len(features)

    expect(not envelope.slope_is(correlation, generator), "yours is F'Y/n, a gradient step from 0")


@envelope.requires(
    "turns with the features",
    "Turn all features, F -> F Q with Q orthogonal. The kernel is the same, W turns back, and nothing can be learned "
    "from it: the slope must turn as the features do.",
)
def _(envelope: Envelope, generator: torch.Generator) -> None:
    features, targets, ridge = _case(generator)
    turn = torch.linalg.qr(normal(generator, 4, 4)).Q
    expected = envelope.slope(features, targets, ridge) @ turn
    expect_close(envelope.slope(features @ turn, targets, ridge), expected, 1e-7, "a slope of turned features")


@envelope.requires(
    "the envelope slope",
    "Autograd through the whole solve says something else. At fixed W the loss has the slope -(Y - F W) W'/n, a product "
    "of what is left of each row and how much each feature counts; at the best W, that is all.",
)
def _(envelope: Envelope, generator: torch.Generator) -> None:
    for sizes in ((12, 4, 2), (3, 10, 3), (1, 1, 1)):
        features, targets, ridge = _case(generator, *sizes)
        leaf = features.clone().requires_grad_()
        (through,) = torch.autograd.grad(_value(leaf, targets, ridge), leaf)
        expect_close(envelope.slope(features, targets, ridge), through, 1e-7, "a slope")
