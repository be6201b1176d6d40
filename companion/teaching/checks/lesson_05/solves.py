"""Exercises 05.2 and 05.3: the smaller of two systems, and what a proximal step does at either end of its strength."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from companion.methods.last_layer import proximal_last_layer
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

Step = Callable[[Tensor, Tensor, Tensor, float], Tensor]

# 05.2 The smaller of two systems

PROXIMAL = "proximal(features, targets, previous, strength)"


@exercise(
    "05.2",
    "The smaller of two systems",
    difficulty=3,
    minutes=15,
    equation="the proximal step of Algorithm 1",
    takeaway="F' passes through the inverse: (F'F + c I)^-1 F' = F' (FF' + c I)^-1. So a step costs the cube of rows or of features, whichever are fewer, and a small batch never sees a matrix of features times features.",
)
def proximal(answer: object) -> StudentFunction:
    return read_function(answer, PROXIMAL)


def _batch(generator: torch.Generator, b: int = 9, p: int = 4, k: int = 2) -> tuple[Tensor, Tensor, Tensor, float]:
    """Features (b, p), targets (b, k), previous (p, k) and a strength that matters."""
    features, targets, previous = normal(generator, b, p), normal(generator, b, k), normal(generator, p, k)
    return features, targets, previous, uniform(generator, 0.2, 0.8)


def _tall_and_wide(generator: torch.Generator) -> list[tuple[Tensor, Tensor, Tensor, float]]:
    return [_batch(generator), _batch(generator, 4, 7, 3), _batch(generator, 5, 5, 1), _batch(generator, 1, 6, 2)]


def _by_features(features: Tensor, targets: Tensor, previous: Tensor, strength: float, rows: float = 1) -> Tensor:
    """The p x p form, with the strength in other units on request."""
    b, p = features.shape
    system = features.T @ features / b + strength / rows * torch.eye(p, dtype=DOUBLE)
    return torch.linalg.solve(system, features.T @ targets / b + strength / rows * previous)


def _is(step: Step, formula: Step, cases: list) -> bool:
    return all(torch.allclose(step(*case).to(DOUBLE), formula(*case), rtol=1e-6, atol=1e-9) for case in cases)


class LargestTensor(TorchFunctionMode):
    """Remembers how many numbers the largest tensor made inside it has, parts of a decomposition included."""

    size = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        parts = result if isinstance(result, tuple) else (result,)
        self.size = max([self.size, *(part.numel() for part in parts if isinstance(part, Tensor))])
        return result


@proximal.requires(
    "a last layer",
    "Return the new W, as large as the previous one, (p, k), in the dtype of the features, whether there are more rows "
    "or more features.",
)
def _(proximal: StudentFunction, generator: torch.Generator) -> None:
    for dtype, sizes in ((DOUBLE, (6, 3, 2)), (torch.float32, (3, 8, 1)), (DOUBLE, (4, 4, 3)), (DOUBLE, (1, 5, 1))):
        *tensors, strength = _batch(generator, *sizes)
        came = proximal(*(tensor.to(dtype) for tensor in tensors), strength)
        expect_tensor(came, sizes[1:], dtype, PROXIMAL)


@proximal.requires(
    "content stays",
    "Where the previous W fits the batch already, nothing should move. In the form with b rows the previous W goes in "
    "through the residual: solve for Y - F W_prev, not for Y, then add what comes out to W_prev.",
)
def _(proximal: StudentFunction, generator: torch.Generator) -> None:
    for name, sizes in (("more rows than features", (9, 4, 2)), ("fewer", (4, 7, 3))):
        features, _, previous, strength = _batch(generator, *sizes)
        came = proximal(features, features @ previous, previous, strength)
        expect_close(came, previous, 1e-7, f"with {name}, an entry of W")


@proximal.requires(
    "counted in rows",
    "With every row twice the answer must stay, as errors are a mean. FF' is a sum, and so the strength goes beside it "
    "as b times strength: FF' + b strength I, or FF'/b + strength I with the residual over b.",
)
def _(proximal: StudentFunction, generator: torch.Generator) -> None:
    for name, sizes in (("more rows than features", (9, 4, 2)), ("fewer", (3, 7, 3))):
        features, targets, previous, strength = _batch(generator, *sizes)
        once = proximal(features, targets, previous, strength)
        twice = proximal(features.repeat(2, 1), targets.repeat(2, 1), previous, strength)
        expect_close(twice, once, 1e-7, f"with {name} and every row twice, an entry of W")


@proximal.requires(
    "no p by p",
    "That makes a matrix of features times features for a batch of a few rows. Push F' through the inverse: "
    "(F'F + c I)^-1 F' = F' (FF' + c I)^-1, and the system is b by b.",
)
def _(proximal: StudentFunction, generator: torch.Generator) -> None:
    b, p = 4, 1500
    with LargestTensor() as watched:
        proximal(*_batch(generator, b, p, 2))
    expect(watched.size <= 10 * b * p, f"for {b} rows and {p} features you make a tensor of {watched.size} numbers")


@proximal.requires(
    "no b by b",
    "That makes a matrix of rows times rows where features are few. For a neural operator every grid point is a row: "
    "thousands of them and a few dozen features. Look at the shape, and take the smaller system.",
)
def _(proximal: StudentFunction, generator: torch.Generator) -> None:
    b, p = 1500, 4
    with LargestTensor() as watched:
        proximal(*_batch(generator, b, p, 2))
    expect(watched.size <= 10 * b * p, f"for {b} rows and {p} features you make a tensor of {watched.size} numbers")


@proximal.requires(
    "strength is not rate",
    "You divide by the strength where you should multiply. A large strength holds W, a small one lets it go.",
)
def _(proximal: StudentFunction, generator: torch.Generator) -> None:
    for sizes in ((9, 4, 2), (4, 7, 3)):
        features, targets, previous, _ = _batch(generator, *sizes)
        near, far = (
            (proximal(features, targets, previous, strength) - previous).norm().item() for strength in (1e4, 1e-2)
        )
        expect(near < 0.1 * far, f"at strength 10000 W moves by {near:.3g}, at 0.01 by {far:.3g}")


@proximal.requires(
    "the proximal step",
    "Another W has a lower |Y - F W|^2 / 2b + strength/2 |W - W_prev|^2: its slope, F'(F W - Y)/b + strength (W - W_prev), "
    "is not 0 at yours.",
)
def _(proximal: StudentFunction, generator: torch.Generator) -> None:
    for case in _tall_and_wide(generator):
        features, targets, previous, strength = case
        b, p = features.shape
        expected = proximal_last_layer(features, targets, previous, strength)
        expect_close(proximal(*case), expected, 1e-7, f"with {b} rows and {p} features, an entry of W")


# 05.3 Both ends of the strength

LEFT, CAUTIOUS = "left(eigenvalue, strength)", "cautious(eigenvalue, lost)"
QUANTITIES = (
    "the batch's loss, for small strengths",
    "the features' slope, for small strengths",
    "the way that W goes, for large strengths",
    "the distance from a gradient step of rate 1/strength, for large strengths",
)
POWERS = (2, 1, -1, -2)


class Ends:
    """The student's powers, the share of a residual that is left, and the strength that is cautious enough."""

    def __init__(self, powers: list[float], left: StudentFunction, cautious: StudentFunction) -> None:
        self.powers, self._left, self._cautious = powers, left, cautious

    def left(self, eigenvalue: float, strength: float) -> float:
        return read_number(self._left(eigenvalue, strength), LEFT)

    def cautious(self, eigenvalue: float, lost: float) -> float:
        return read_number(self._cautious(eigenvalue, lost), CAUTIOUS)

    def leaves(self, formula: Callable[[float, float], float], cases: list[tuple[float, float]]) -> bool:
        return all(abs(self.left(*case) - formula(*case)) < 1e-6 * max(1, abs(formula(*case))) for case in cases)

    def takes(self, formula: Callable[[float, float], float], cases: list[tuple[float, float]]) -> bool:
        return all(abs(self.cautious(*case) - formula(*case)) < 1e-6 * max(1, abs(formula(*case))) for case in cases)


@exercise(
    "05.3",
    "Both ends of the strength",
    difficulty=2,
    minutes=10,
    equation="the proximal step of Algorithm 1, and its limits",
    takeaway="Weak, the step learns the batch by heart and leaves the backbone nothing to feel. Strong, it is a gradient step of rate 1/strength. In between, strength/(strength + eigenvalue) of the residual is left in each direction.",
)
def ends(answer: object) -> Ends:
    parts = read_parts(answer, ("powers", "left", "cautious"))
    powers = parts["powers"]
    if isinstance(powers, Tensor):
        powers = powers.flatten().tolist()
    if not isinstance(powers, list | tuple) or len(powers) != len(POWERS):
        raise NotYet(f"Expected powers to be four numbers, such as [0, 0, 0, 0]; got {describe(powers)}.", "type")
    numbers = [read_number(power, f"the power of {name}") for power, name in zip(powers, QUANTITIES)]
    return Ends(numbers, read_function(parts["left"], LEFT), read_function(parts["cautious"], CAUTIOUS))


def measured_powers(generator: torch.Generator, b: int = 5, p: int = 9, k: int = 2) -> list[float]:
    """The four powers of the strength, measured on a batch with fewer rows than features."""
    features, targets, previous, _ = _batch(generator, b, p, k)

    def quantities(strength: float) -> list[Tensor]:
        weights = proximal_last_layer(features, targets, previous, strength)
        residual = targets - features @ weights
        slope = -residual @ weights.T / b
        step = features.T @ (targets - features @ previous) / b / strength
        loss = residual.square().sum() / (2 * b)
        return [loss, slope.norm(), (weights - previous).norm(), (weights - previous - step).norm()]

    weak, weaker = quantities(1e-6), quantities(1e-7)
    strong, stronger = quantities(1e4), quantities(1e5)
    small = [(a / b).log10().item() for a, b in zip(weak[:2], weaker[:2])]
    return small + [(b / a).log10().item() for a, b in zip(strong[2:], stronger[2:])]


def _expect_power(ends: Ends, place: int, generator: torch.Generator) -> None:
    came = measured_powers(generator)[place]
    found = f"you say {ends.powers[place]:g}; measured on a random batch it is {came:.2f}, for {QUANTITIES[place]}"
    expect(abs(ends.powers[place] - POWERS[place]) < 1e-6, found)


@ends.requires(
    "learned by heart",
    "With fewer rows than features some W fits every row. As the strength goes to 0 the residual goes to 0 in proportion, "
    "and the loss is its square: batch after batch is learned by heart.",
)
def _(ends: Ends, generator: torch.Generator) -> None:
    _expect_power(ends, 0, generator)


@ends.requires(
    "nothing to feel",
    "The slope in the features is -(residual) W'/b. W stays finite, so it goes as the residual does: at the batch's own "
    "solution the backbone learns nothing. That is why Algorithm 1 takes its slope at the *previous* W.",
)
def _(ends: Ends, generator: torch.Generator) -> None:
    _expect_power(ends, 1, generator)


@ends.requires(
    "the first order",
    "When the strength is large, F'F/b beside it hardly counts: W moves by F'(Y - F W_prev)/b, divided by the strength.",
)
def _(ends: Ends, generator: torch.Generator) -> None:
    _expect_power(ends, 2, generator)


@ends.requires(
    "the next order",
    "Expand (F'F/b + strength I)^-1 in 1/strength: I/strength - (F'F/b)/strength^2 and so on. The first term is the gradient "
    "step; what is left begins with the second.",
)
def _(ends: Ends, generator: torch.Generator) -> None:
    _expect_power(ends, 3, generator)


def _eigenvalues(generator: torch.Generator) -> list[tuple[float, float]]:
    return [(uniform(generator, 0.01, 10), uniform(generator, 0.05, 3)) for _ in range(4)]


@ends.requires(
    "what is left",
    "`left` gives the share that is *taken*. It should be 1 for a very large strength, where nothing happens, and 0 for "
    "none, where the batch is fitted.",
)
def _(ends: Ends, generator: torch.Generator) -> None:
    expect(not ends.leaves(lambda e, s: e / (e + s), _eigenvalues(generator)))


@ends.requires(
    "one solve",
    "Write Y - F W with W = W_prev + F'(FF' + b strength I)^-1 (Y - F W_prev). In a direction in which FF'/b has the "
    "eigenvalue e, the residual is multiplied by 1 - e/(e + strength). `left` gives something else.",
)
def _(ends: Ends, generator: torch.Generator) -> None:
    cases = _eigenvalues(generator)
    expect(not ends.leaves(lambda e, s: (s / (e + s)) ** 2, cases), "you give the share of the loss, its square")
    expect(not ends.leaves(lambda e, s: 1 - e / s, cases), "1 - e/strength is what a gradient step leaves")
    for _ in range(2):
        features, targets, previous, strength = _batch(generator, 4, 7, 1)
        values, directions = torch.linalg.eigh(features @ features.T / 4)
        before = directions.T @ (targets - features @ previous)
        after = directions.T @ (targets - features @ proximal_last_layer(features, targets, previous, strength))
        for eigenvalue, share in zip(values.tolist(), (after / before)[:, 0].tolist()):
            found = f"where e is {eigenvalue:.3g} and the strength {strength:.3g}, the share left"
            expect_close(ends.left(eigenvalue, strength), share, 1e-6, found)


@ends.requires(
    "cautious enough",
    "At your strength another share is lost. Solve strength/(strength + e) = 1 - lost for the strength. Of all directions "
    "the one with the largest eigenvalue loses most, so it is enough to look at that one.",
)
def _(ends: Ends, generator: torch.Generator) -> None:
    cases = [(uniform(generator, 0.1, 10), uniform(generator, 0.02, 0.9)) for _ in range(5)]
    expect(not ends.takes(lambda e, lost: e / lost, cases), "e/lost is right for a gradient step of rate 1/strength")
    expect(not ends.takes(lambda e, lost: e * lost / (1 - lost), cases), "you let it *keep* the share that it may lose")
    for eigenvalue, lost in cases:
        strength = ends.cautious(eigenvalue, lost)
        came = eigenvalue / (eigenvalue + strength) if strength + eigenvalue else 1.0
        found = f"with e = {eigenvalue:.3g} you take {strength:.3g}, and the share lost"
        expect_close(came, lost, 1e-6, found)
