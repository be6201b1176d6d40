"""Exercise 09.1: what is left of a block's operations when a share of its hidden filters goes.

>>> basic_of(width=16, hidden=64, side=8, stride=1, ratio=0.75) / basic_of(16, 64, 8, 1, 0.0)
0.25
>>> bottleneck_of(width=256, hidden=64, side=8, stride=1, ratio=0.5) / bottleneck_of(256, 64, 8, 1, 0.0)
0.36764705882352944
"""

import math
from collections.abc import Callable, Sequence

import torch

from companion.teaching.checks.answers import (
    StudentFunction,
    expect,
    expect_close,
    read_function,
    read_number,
    read_parts,
    uniform,
)
from companion.teaching.checks.framework import exercise

BASIC, NECK = (f"{name}_flops(width, hidden, side, stride, ratio)" for name in ("basic", "bottleneck"))
CHEAPER = "cheaper(fixed, ratio)"
LEFT = 6.25 / 17
Case = tuple[int, int, int, int, float]
Formula = Callable[..., float]


def kept_of(hidden: int, ratio: float) -> int:
    """How many filters stay."""
    return int(hidden * (1 - ratio))


def basic_of(width: int, hidden: int, side: int, stride: int, ratio: float) -> int:
    """Two 3 x 3 convolutions, the first of them with the stride."""
    return 2 * 2 * 9 * width * kept_of(hidden, ratio) * (side // stride) ** 2


def bottleneck_of(width: int, hidden: int, side: int, stride: int, ratio: float) -> int:
    """A 1 x 1, a 3 x 3 with the stride, and a 1 x 1 convolution."""
    kept, after = kept_of(hidden, ratio), side // stride
    return 2 * (width * kept * side**2 + 9 * kept**2 * after**2 + kept * width * after**2)


def cheaper_of(fixed: float, ratio: float) -> float:
    """How many updates the price of one buys."""
    return 1 / (fixed + (1 - fixed) * (1 - ratio))


class Operations:
    """The student's counts, and their two numbers."""

    def __init__(self, basic: StudentFunction, neck: StudentFunction, cheaper: StudentFunction, left: float) -> None:
        self._basic, self._neck, self._cheaper, self.left = basic, neck, cheaper, left

    def basic(self, *case: float) -> float:
        return read_number(self._basic(*case), BASIC)

    def neck(self, *case: float) -> float:
        return read_number(self._neck(*case), NECK)

    def cheaper(self, fixed: float, ratio: float) -> float:
        return read_number(self._cheaper(fixed, ratio), CHEAPER)


def _like(count: Formula, formula: Formula, cases: Sequence[tuple[float, ...]]) -> bool:
    """Whether the student's count is this formula."""
    return all(math.isclose(count(*case), formula(*case), rel_tol=1e-9) for case in cases)


def _case(generator: torch.Generator, stride: int = 1, ratio: float = 0.0) -> Case:
    """A block whose hidden filters can be halved four times, and one that comes in with an even side."""
    width, sixteens, half = (
        int(torch.randint(low, high, (), generator=generator)) for low, high in ((3, 40), (2, 7), (2, 9))
    )
    return width, 16 * sixteens, 2 * half, stride, ratio


def _words(case: Case) -> str:
    return "with width {}, {} hidden filters, side {}, stride {} and ratio {:.4g} yours".format(*case)


@exercise(
    "09.1",
    "What pruning saves",
    difficulty=2,
    minutes=15,
    equation="the cost of a block without a share of its hidden filters",
    takeaway="A convolution's operations are proportional to its inputs times its outputs. Where only one of them is pruned they fall as 1 - r, and where both are, between two hidden layers, as its square. What nothing prunes sets the limit to what all of this saves.",
)
def operations(answer: object) -> Operations:
    parts = read_parts(answer, ("basic_flops", "bottleneck_flops", "left", "cheaper"))
    return Operations(
        read_function(parts["basic_flops"], BASIC),
        read_function(parts["bottleneck_flops"], NECK),
        read_function(parts["cheaper"], CHEAPER),
        read_number(parts["left"], "left"),
    )


# The basic block


@operations.requires(
    "a convolution",
    "At each place of its output a k x k convolution multiplies k^2 inputs of each channel for every filter, and "
    "sums them up: 2 k^2 c_in c_out operations. There are side^2 places, and the block has two such convolutions.",
)
def _(operations: Operations, generator: torch.Generator) -> None:
    cases = [_case(generator) for _ in range(3)]
    for formula, words in (
        (lambda w, h, s, *_: 18 * w * h * s**2, "half of it: a product and its sum are two operations, or one layer"),
        (lambda w, h, s, *_: 4 * w * h * s**2, "that of kernels of a single place, not of 3 x 3"),
        (lambda w, h, s, *_: 36 * w * h * s, "in proportion to the side, but a picture has side^2 places"),
        (lambda w, h, s, *_: 36 * w * h, "for a single place"),
        (lambda w, h, s, *_: 18 * h * (w + h) * s**2, "with a second layer from hidden to hidden"),
        (lambda w, h, s, *_: 36 * w * h * (s - 2) ** 2, "without padding"),
    ):
        expect(not _like(operations.basic, formula, cases), f"yours is {words}")
    for case in cases:
        expect_close(operations.basic(*case), basic_of(*case), 1e-9, _words(case))


@operations.requires(
    "after the stride",
    "A convolution with stride 2 computes only every second place in both directions. What follows it sees the "
    "smaller picture, so in a basic block *both* layers have (side / 2)^2 places.",
)
def _(operations: Operations, generator: torch.Generator) -> None:
    cases = [_case(generator, stride=2) for _ in range(3)]
    for formula, words in (
        (lambda w, h, s, *_: 36 * w * h * s**2, "yours does not look at the stride"),
        (lambda w, h, s, *_: 18 * w * h * s**2, "yours divides by the stride once, not in both directions"),
        (lambda w, h, s, *_: 22.5 * w * h * s**2, "one of your two layers has the places of before"),
    ):
        expect(not _like(operations.basic, formula, cases), words)
    for case in cases:
        expect_close(operations.basic(*case), basic_of(*case), 1e-9, _words(case))


@operations.requires(
    "once in each layer",
    "The first layer loses filters, the second loses the inputs that they wrote. Each of the two is proportional to "
    "the hidden filters, once, so the block falls as 1 - r. Its width stays.",
)
def _(operations: Operations, generator: torch.Generator) -> None:
    for ratio in (0.25, 0.5, 0.75):
        case = _case(generator, 1, ratio)
        came = operations.basic(*case) / basic_of(*case[:4], 0.0)
        for share, words in (
            (1.0, "yours is what it was"),
            ((1 - ratio) ** 2, "yours falls as the square"),
            (1 - ratio / 2, "only one of your two layers gets smaller"),
        ):
            expect(not math.isclose(came, share, rel_tol=1e-9), words)
        expect(ratio == 0.5 or not math.isclose(came, ratio, rel_tol=1e-9), "yours is what goes, not what stays")
        expect_close(came, 1 - ratio, 1e-9, f"with ratio {ratio} the share that is left")


@operations.requires(
    "whole filters",
    "A filter stays or goes. Of h filters int(h (1 - r)) stay: rounded down, so that at least a share r goes.",
)
def _(operations: Operations, generator: torch.Generator) -> None:
    for hidden, ratio in ((10, 0.75), (11, 0.5), (7, 0.125), (23, 0.9375)):
        width, _, side, stride, _ = _case(generator, 2)
        case = width, hidden, side, stride, ratio
        filters = operations.basic(*case) / basic_of(width, 1, side, stride, 0.0)
        expected = kept_of(hidden, ratio)
        expect_close(filters, expected, 1e-9, f"with {hidden} filters and ratio {ratio} the number that stays")


# The bottleneck


@operations.requires(
    "three layers",
    "A bottleneck's 1 x 1 layers go from the width to the hidden filters and back, and the 3 x 3 between them from "
    "hidden to hidden. The first comes before the stride.",
)
def _(operations: Operations, generator: torch.Generator) -> None:
    cases = [_case(generator, stride) for stride in (1, 1, 2, 2)]
    for formula, words in (
        (
            lambda w, h, s, n, _: 2 * h * (2 * w + 9 * h) * (s // n) ** 2,
            "your first layer has the places of after the stride",
        ),
        (lambda w, h, s, n, _: 2 * h * (w * s**2 + (w + h) * (s // n) ** 2), "your middle layer is 1 x 1"),
        (
            lambda w, h, s, n, _: 2 * h * (w * s**2 + (9 * w + w) * (s // n) ** 2),
            "your middle layer goes from width to hidden",
        ),
        (lambda w, h, s, n, _: bottleneck_of(w, h, s, n, 0) / 2, "a product and its sum are two operations"),
        (lambda w, h, s, n, _: 2 * h * (2 * w + 9 * h) * s**2, "yours does not look at the stride"),
    ):
        expect(not _like(operations.neck, formula, cases), words)
    for case in cases:
        expect_close(operations.neck(*case), bottleneck_of(*case), 1e-9, _words(case))


@operations.requires(
    "squared in the middle",
    "The middle layer loses filters *and* inputs, since both of its sides are hidden: (1 - r)^2. The outer two have "
    "one side on the residual stream, whose width stays: 1 - r.",
)
def _(operations: Operations, generator: torch.Generator) -> None:
    cases = [_case(generator, stride, ratio) for stride, ratio in ((1, 0.25), (2, 0.5), (1, 0.75))]

    def dense(*case: float) -> float:
        return bottleneck_of(*case[:4], 0.0)

    for formula, words in (
        (dense, "yours is what it was"),
        (lambda *case: (1 - case[4]) * dense(*case), "all three of your layers fall as 1 - r"),
        (lambda *case: (1 - case[4]) ** 2 * dense(*case), "all three of your layers fall as the square"),
    ):
        expect(not _like(operations.neck, formula, cases), words)
    for case in (*cases, (24, 11, 8, 2, 0.75), (9, 15, 6, 1, 0.5)):
        expect_close(operations.neck(*case), bottleneck_of(*case), 1e-9, _words(case))


@operations.requires(
    "what is left",
    "With the width 4 h the three layers have 4, 9 and 4 parts of h^2. Halve the outer ones, quarter the middle "
    "one, and divide by 17.",
)
def _(operations: Operations, generator: torch.Generator) -> None:
    came = operations.left
    for wrong, words in (
        (0.5, "as in a basic block: the middle layer falls further"),
        (0.25, "as if every layer fell as the square"),
        (1 - LEFT, "which is what goes"),
        (3.25 / 11, "as if the width were h"),
        (2.25 / 17, "which is the middle layer alone"),
    ):
        expect(abs(came - wrong) > 5e-3, f"you say {came:.3g}, {words}")
    expect(abs(came - LEFT) <= 5e-3, f"you say {came:.3g}")


@operations.requires(
    "what nothing prunes",
    "The share that is fixed costs what it did, and of the rest 1 - r is left. One over their sum says how many "
    "updates one used to cost. Try fixed = 0 and 1, and ratio = 0.",
)
def _(operations: Operations, generator: torch.Generator) -> None:
    cases = [(0.0, 0.5), (1.0, 0.9), (0.3, 0.0), *((uniform(generator, 0.05, 0.6), r) for r in (0.5, 0.75, 0.9))]
    for formula, words in (
        (lambda fixed, r: 1 / (1 - r), "yours forgets what is fixed"),
        (lambda fixed, r: fixed + (1 - fixed) * (1 - r), "yours is the price of one update, not how many it buys"),
        (lambda fixed, r: (1 - fixed) / (1 - r) + fixed, "you add up what the parts gain; add up what they cost"),
        (lambda fixed, r: 1 / (fixed + (1 - r)), "yours has the fixed share on top, not as a part of the whole"),
    ):
        expect(not _like(operations.cheaper, formula, cases), words)
    for fixed, ratio in cases:
        came, expected = operations.cheaper(fixed, ratio), cheaper_of(fixed, ratio)
        expect_close(came, expected, 1e-9, f"with fixed = {fixed:.3g} and ratio {ratio} the number of updates")
