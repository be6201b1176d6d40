"""Exercise 08.5: what a token costs, read only or learned as well, in floating point operations.

>>> from functools import partial
>>> model, tokens = Transformer(symbols=11, width=16, depth=1, heads=2), torch.zeros(30, dtype=torch.long)
>>> online = measured_flops(model, tokens, 10, 10, partial(torch.optim.SGD, lr=0.1))
>>> online / measured_flops(model, tokens, 10, 10)
3.0
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from companion.foundations.language import Transformer
from companion.methods.dynamic_evaluation import MakeOptimizer, Parameters, evaluate_stream
from companion.teaching.checks.answers import (
    StudentFunction,
    expect,
    expect_close,
    read_function,
    read_number,
    read_parts,
)
from companion.teaching.checks.framework import exercise

FORWARD = "forward_flops(width, depth, symbols, length)"
TOKEN = "token_flops(width, depth, symbols, context, stride, learns)"
EQUAL = "equal_context(context, stride)"
Formula = Callable[..., float]


def measured_flops(
    model: Transformer,
    tokens: Int[Tensor, " t"],
    context: int,
    stride: int,
    optimizer: MakeOptimizer | None = None,
    parameters: Parameters = "all",
    rank: int = 4,
) -> int:
    """Floating point operations of `evaluate_stream`, in all, with attention written out as products of matrices.

    So every one of them is counted, whatever fused kernel the device has for attention.
    """
    with sdpa_kernel(SDPBackend.MATH):
        return evaluate_stream(model, tokens, context, stride, optimizer, parameters, rank=rank).flops


def forward_of(width: int, depth: int, symbols: int, length: int) -> int:
    """Linear layers, of 12 width^2 weights a block and the head's, and attention's two products."""
    weights = 12 * width**2 * depth + width * symbols
    return 2 * weights * length + 4 * length**2 * width * depth


def token_of(width: int, depth: int, symbols: int, context: int, stride: int, learns: bool) -> float:
    """For each new token."""
    return (3 if learns else 1) * forward_of(width, depth, symbols, context + stride - 1) / stride


class Compute:
    """The student's counts."""

    def __init__(
        self, forward: StudentFunction, token: StudentFunction, equal: StudentFunction, adapters: float
    ) -> None:
        self._forward, self._token, self._equal, self.adapters = forward, token, equal, adapters

    def forward(self, *sizes: int) -> float:
        return read_number(self._forward(*sizes), FORWARD)

    def token(self, *case: int) -> float:
        return read_number(self._token(*case), TOKEN)

    def equal(self, context: int, stride: int) -> float:
        return read_number(self._equal(context, stride), EQUAL)

    def forward_like(self, formula: Formula, cases: Sequence[tuple[int, ...]]) -> bool:
        return all(math.isclose(self.forward(*case), formula(*case), rel_tol=1e-9) for case in cases)

    def token_like(self, formula: Formula, cases: Sequence[tuple[int, ...]]) -> bool:
        return all(math.isclose(self.token(*case), formula(*case), rel_tol=1e-9) for case in cases)


@exercise(
    "08.5",
    "Count the operations",
    difficulty=4,
    minutes=20,
    equation="compute for each new token",
    takeaway="A backward pass costs two forward passes, so learning while reading costs three times as much as reading, and about twice as much with small adapters. The same money buys a static reader more than three times the context, with attention's own part left out: that is the rival to beat.",
)
def compute(answer: object) -> Compute:
    parts = read_parts(answer, ("forward_flops", "token_flops", "equal_context", "adapters"))
    return Compute(
        read_function(parts["forward_flops"], FORWARD),
        read_function(parts["token_flops"], TOKEN),
        read_function(parts["equal_context"], EQUAL),
        read_number(parts["adapters"], "adapters"),
    )


def _sizes(generator: torch.Generator) -> tuple[int, int, int, int]:
    """Width, depth, symbols and length."""
    width, depth, symbols, length = (
        int(torch.randint(low, high, (), generator=generator)) for low, high in ((2, 7), (1, 4), (5, 60), (4, 30))
    )
    return 4 * width, depth, symbols, length


# The forward pass


@compute.requires(
    "the head",
    "The head turns `width` numbers into `symbols` logits at every place, once, whatever the depth is. The embedding only looks rows up "
    "and multiplies nothing.",
)
def _(compute: Compute, generator: torch.Generator) -> None:
    for _ in range(3):
        width, _, symbols, length = _sizes(generator)
        came = compute.forward(width, 3, symbols + 1, length) - compute.forward(width, 3, symbols, length)
        expected = 2 * width * length
        for times, words in (
            (2, "so the embedding is in it, too"),
            (3, "so the head is in it once a block"),
            (0.5, "but a multiplication with its sum is two operations"),
        ):
            expect(abs(came - times * expected) > 1e-6, f"one symbol more costs {came:g}, {words}")
        expect_close(came, float(expected), 1e-9, f"with width {width} and {length} places one symbol more")


@compute.requires(
    "attention",
    "Beside its linear layers, attention has two products in each block: all queries with all keys, and the shares with the values. "
    "Each is 2 length^2 width operations, over all heads together. It grows with the *square* of the length.",
)
def _(compute: Compute, generator: torch.Generator) -> None:
    for depth in (1, 2, 3):
        width, _, symbols, length = _sizes(generator)
        came = compute.forward(width, depth, symbols, 2 * length) - 2 * compute.forward(width, depth, symbols, length)
        expected = 8 * length**2 * width * depth
        for times, words in (
            (0, "missing: yours grows evenly with the length"),
            (0.5, "half of what it should be: two products, 2 operations each, and no half left out for causality"),
            (0.25, "a quarter of what it should be"),
            (2, "twice what it should be"),
        ):
            expect(abs(came - times * expected) > 1e-6, f"its part is {words}")
        expect_close(came, float(expected), 1e-9, "with twice the length, what is more than twice the operations")


@compute.requires(
    "the linear layers",
    "A layer of a x b weights takes 2 a b operations at each place. A block has 3 width^2 weights for queries, keys and values, width^2 "
    "for `mix`, and 4 width^2 twice in its perceptron. Biases and norms do not count.",
)
def _(compute: Compute, generator: torch.Generator) -> None:
    cases = [_sizes(generator) for _ in range(3)]
    for weights, words in (
        (4, "the perceptron is missing in yours"),
        (8, "attention's layers are missing in yours, or one of the perceptron's"),
        (11, "`mix` is missing in yours"),
        (10, "two of queries, keys and values are missing in yours"),
        (6, "your perceptron is not four times as wide inside"),
        (24, "yours has twice as many operations, or weights"),
    ):
        wrong = lambda w, d, s, n, weights=weights: forward_of(w, d, s, n) + 2 * (weights - 12) * w**2 * d * n  # noqa: E731
        expect(not compute.forward_like(wrong, cases), words)
    for case in cases:
        words = "with width {}, depth {}, {} symbols and {} places yours".format(*case)
        expect_close(compute.forward(*case), float(forward_of(*case)), 1e-9, words)


# For each new token


@compute.requires(
    "shared by the new tokens",
    "A block's window has context + stride - 1 inputs, and all of them are computed, for `stride` new tokens. So divide by the stride: if "
    "context and stride are alike, each token passes through the model nearly twice.",
)
def _(compute: Compute, generator: torch.Generator) -> None:
    cases = [(*_sizes(generator)[:3], context, stride) for context, stride in ((16, 16), (24, 5), (4, 9))]
    for formula, words in (
        (lambda w, d, s, c, n: forward_of(w, d, s, c + n - 1), "yours is that of the whole block"),
        (lambda w, d, s, c, n: forward_of(w, d, s, c + n - 1) / (c + n - 1), "yours is shared by old tokens, too"),
        (lambda w, d, s, c, n: forward_of(w, d, s, c + n) / n, "your windows are one input too long"),
        (lambda w, d, s, c, n: forward_of(w, d, s, c) / n, "your windows have `context` inputs"),
        (lambda w, d, s, c, n: forward_of(w, d, s, n) / n, "your windows have no context"),
    ):
        expect(not compute.token_like(lambda *case, f=formula: f(*case[:5]), [(*case, False) for case in cases]), words)
    for case in cases:
        words = "with width {}, depth {}, {} symbols, context {} and stride {} a token that is only read".format(*case)
        expect_close(compute.token(*case, False), token_of(*case, False), 1e-9, words)


@compute.requires(
    "three times",
    "For each product of the forward pass the backward pass has two, one for the gradient of each of its factors: of the weights, and of "
    "what came in. They are as large as the first, and the forward pass is needed, too.",
)
def _(compute: Compute, generator: torch.Generator) -> None:
    for context, stride in ((16, 16), (24, 5)):
        case = (*_sizes(generator)[:3], context, stride)
        came = compute.token(*case, True) / token_of(*case, False)
        for times, words in ((1, "as much as"), (2, "twice as much as")):
            expect(abs(came - times) > 1e-9, f"in yours a token that is learned costs {words} one that is read")
        expect_close(came, 3.0, 1e-9, "a token that is learned, over one that is read,")


@compute.requires(
    "the same money",
    "With attention's own part left out a token costs in proportion to the inputs of its window over the stride. A static reader with the "
    "context c needs c + stride - 1 of them; set that to three times context + stride - 1.",
)
def _(compute: Compute, generator: torch.Generator) -> None:
    cases = ((16, 16), (8, 3), (64, 16), (5, 1))
    came = [compute.equal(*case) for case in cases]
    for formula, words in (
        (lambda c, s: 3 * c, "yours is three times the context: the block's own inputs count as well"),
        (lambda c, s: 3 * (c + s - 1), "yours are the inputs of the window, of which stride - 1 are the block's own"),
        (lambda c, s: 3 * c + 2 * s, "your windows have context + stride inputs, one too many"),
        (lambda c, s: 3 * c + 3 * (s - 1), "yours forgets that the static reader's window holds its block, too"),
    ):
        expect(not all(abs(value - formula(*case)) < 1e-9 for value, case in zip(came, cases)), words)
    for value, (context, stride) in zip(came, cases):
        expected = float(3 * context + 2 * (stride - 1))
        expect_close(value, expected, 1e-9, f"with context {context} and stride {stride} the static context")


@compute.requires(
    "what adapters save",
    "Frozen weights need no gradient, so one of the two products goes: the other, the gradient of what came in, has to be carried down "
    "to the lowest adapter all the same. Add the forward pass.",
)
def _(compute: Compute, generator: torch.Generator) -> None:
    came = compute.adapters
    for wrong, words in (
        (1, "so the backward pass would cost nothing"),
        (3, "so adapters would save nothing"),
        (1.5, "so half of a forward pass would be enough to go back"),
    ):
        expect(abs(came - wrong) > 0.02, f"you say {came:g}, {words}")
    expect(abs(came - 2) <= 0.02, f"you say {came:g}")
