"""Exercise 08.1: what it costs to learn while reading, for a reader that does nothing but count."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from companion.teaching.checks.answers import (
    DOUBLE,
    StudentFunction,
    expect,
    expect_close,
    read_function,
    read_number,
    read_parts,
    uniform,
)
from companion.teaching.checks.framework import exercise

BITS, GAIN = "text_bits(counts, weights)", "expected_gain(p, strength, n)"
SHARE, TOSSES, PAYS_AFTER, WORTH = 0.6, 300, 72, 6.0
RULE = 119  # where n KL overtakes (1/2) log n
Bits = Callable[[Tensor, Tensor], float]


class Price:
    """The student's two functions and two numbers."""

    def __init__(self, bits: StudentFunction, gain: StudentFunction, pays_after: float, patient: float) -> None:
        self._bits, self._gain, self.pays_after, self.patient = bits, gain, pays_after, patient

    def bits(self, counts: Int[Tensor, " K"], weights: Float[Tensor, " K"]) -> float:
        return read_number(self._bits(counts, weights), BITS)

    def gain(self, p: float, strength: float, n: int) -> float:
        return read_number(self._gain(p, strength, n), GAIN)

    def costs_like(self, formula: Bits, generator: torch.Generator) -> bool:
        """Whether the student's cost is this formula, for some random counts."""
        cases = [_case(generator, size) for size in (2, 3, 5)]
        return all(math.isclose(self.bits(*case), formula(*case), rel_tol=1e-6) for case in cases)


@exercise(
    "08.1",
    "The price of learning",
    difficulty=3,
    minutes=20,
    equation="the cumulative log-loss, of a reader that counts",
    takeaway="Learning has a price, about half the logarithm of the text's length for each number that is learned, and a gain that grows with the length and with how foreign the text is. Little shift and a short text: not worth it, unless the reader is slow to believe.",
)
def price(answer: object) -> Price:
    parts = read_parts(answer, ("text_bits", "expected_gain", "pays_after", "patient"))
    return Price(
        read_function(parts["text_bits"], BITS),
        read_function(parts["expected_gain"], GAIN),
        *(read_number(parts[name], name) for name in ("pays_after", "patient")),
    )


def _case(generator: torch.Generator, size: int) -> tuple[Int[Tensor, " K"], Float[Tensor, " K"]]:
    counts = torch.randint(2, 9, (size,), generator=generator)
    return counts, 0.5 + 2 * torch.rand(size, generator=generator, dtype=DOUBLE)


def read_aloud(counts: Int[Tensor, " K"], weights: Float[Tensor, " K"], learn: bool = True) -> float:
    """Bits of a text with these counts, token by token; without learning on request."""
    weights, total = weights.clone(), 0.0
    for symbol in torch.repeat_interleave(torch.arange(len(counts)), counts).tolist():
        total -= math.log2(weights[symbol] / weights.sum())
        weights[symbol] += int(learn)
    return total


def gain_of(p: float, strength: float, n: int) -> float:
    """The expected gain in bits."""
    seen = torch.arange(n + 1, dtype=DOUBLE)
    size = torch.tensor(float(n), dtype=DOUBLE)
    ways = (size + 1).lgamma() - (seen + 1).lgamma() - (size - seen + 1).lgamma()
    shares = (ways + torch.xlogy(seen, p) + torch.xlogy(size - seen, 1 - p)).exp()
    start = torch.tensor(float(strength), dtype=DOUBLE)
    cost = (2 * start + n).lgamma() - (2 * start).lgamma() + 2 * start.lgamma()
    cost = cost - (start + seen).lgamma() - (start + size - seen).lgamma()
    return n - (shares * cost).sum().item() / math.log(2)


# The cost of a text


@price.requires(
    "nothing read, nothing paid",
    "A text without tokens costs nothing, and one of a single token costs minus the base-2 logarithm of its probability at the "
    "start, its weight over the sum of *all* weights. Only when it has been scored is it counted.",
)
def _(price: Price, generator: torch.Generator) -> None:
    for size in (2, 4):
        counts, weights = _case(generator, size)
        expect_close(price.bits(0 * counts, weights), 0.0, 1e-6, "the cost of no text")
        counts = torch.eye(size, dtype=torch.long)[1]
        came, weight, total = price.bits(counts, weights), weights[1].item(), weights.sum().item()
        for wrong, words in (
            (math.log(total / weight), "yours is in nats: divide by log 2"),
            (-math.log2(total / weight), "yours has the wrong sign"),
            (math.log2((total + 1) / (weight + 1)), "yours counts the token before it scores it"),
            (0.0, "yours are the frequencies of the text itself, which no reader knows before"),
        ):
            expect(abs(came - wrong) > 1e-6, f"for a single token {words}")
        expect_close(came, math.log2(total / weight), 1e-6, "the cost of one token")


@price.requires(
    "scored, then learned",
    "Each token is paid for with the weights as they are, and then the weight of its symbol grows by 1, for the tokens that follow. The "
    "total is that of the text itself, so nothing is taken off for the number of its orders.",
)
def _(price: Price, generator: torch.Generator) -> None:
    fixed = price.costs_like(lambda *case: read_aloud(*case, learn=False), generator)
    expect(not fixed, "yours learns nothing")
    for size in (2, 3, 6):
        counts, weights = _case(generator, size)
        expect_close(price.bits(counts, weights), read_aloud(counts, weights), 1e-5, f"for {size} symbols the cost")


@price.requires(
    "symbols that never come",
    "A symbol with the count 0 costs nothing itself, but its weight stays in the sum: it takes probability from the others.",
)
def _(price: Price, generator: torch.Generator) -> None:
    for _ in range(3):
        counts, weights = _case(generator, 4)
        counts[2] = 0
        expect_close(price.bits(counts, weights), read_aloud(counts, weights), 1e-5, "the cost")


# The expected gain


@price.requires(
    "no gain at the first token",
    "Before it has read anything the counting reader says 1/2 as well, so with n = 1 the expected gain is 0, whatever the coin. The "
    "fixed reader pays exactly 1 bit a token.",
)
def _(price: Price, generator: torch.Generator) -> None:
    for p in (0.5, 0.8):
        expect_close(price.gain(p, uniform(generator, 0.5, 4), 1), 0.0, 1e-5, f"with n = 1 and p = {p} the gain")


@price.requires(
    "nothing to learn, nothing to gain",
    "If p is 1/2 the fixed reader is right already, and learning can only cost: the gain is negative. Take what the fixed reader "
    "pays minus what the learner pays.",
)
def _(price: Price, generator: torch.Generator) -> None:
    for n in (2, 10):
        came = price.gain(0.5, uniform(generator, 0.5, 3), n)
        expect(came < -1e-5, f"with p = 0.5 and n = {n} yours is {came:.4g}")


@price.requires(
    "an average over texts",
    "Average the cost over how often the first symbol may come, from 0 to n times, each with its probability, "
    "C(n, k) p^k (1 - p)^(n - k). The cost at the *expected* count is another number: the cost is no linear function of it.",
)
def _(price: Price, generator: torch.Generator) -> None:
    for p, n in ((0.6, 2), (0.75, 5), (0.9, 20), (0.3, 12)):
        strength = uniform(generator, 0.5, 6)
        came, expected = price.gain(p, strength, n), gain_of(p, strength, n)
        excess = n * (1 + p * math.log2(p) + (1 - p) * math.log2(1 - p))
        expect(abs(came - excess) > 1e-6, "yours is n times the divergence: it leaves out what learning costs")
        expect(not math.isclose(came, expected / n, rel_tol=1e-6), "yours is the gain for one token, not for the text")
        expect(not math.isclose(came, expected * math.log(2), rel_tol=1e-6), "yours is in nats")
        expect_close(came, expected, 1e-5, f"with p = {p}, strength {strength:.3g} and n = {n} the gain")


# The numbers


@price.requires(
    "when it pays",
    "Go through n = 1, 2, 3, ... with p = 0.6 and strength 1, and take the first n > 1 from which on the expected gain stays above 0.",
)
def _(price: Price, generator: torch.Generator) -> None:
    came = price.pays_after
    expect(abs(came - RULE) > 3, f"you say {came:g}: so says the rule of thumb, which leaves out a constant")
    expect(
        abs(came - PAYS_AFTER) <= 1, f"you say {came:g}, where the gain is {gain_of(SHARE, 1, _whole(came)):.3f} bits"
    )


def _whole(n: float) -> int:
    return min(max(round(n), 0), 5000)


@price.requires(
    "slow enough",
    "A strength is above 0. This one should never lose in expectation, for no n from 1 to 300. A larger one believes less of the "
    "first few tokens, which are mostly chance.",
)
def _(price: Price, generator: torch.Generator) -> None:
    expect(price.patient > 0, f"you say {price.patient:g}")
    worst = min(range(1, TOSSES + 1), key=lambda n: gain_of(SHARE, price.patient, n))
    loss = -gain_of(SHARE, price.patient, worst)
    expect(loss < 1e-3, f"with {price.patient:g} the expected loss after {worst} tokens is {loss:.3f} bits")


@price.requires(
    "not too slow",
    "A reader that hardly moves never loses, and never wins. With p = 0.6 yours should have gained 6 bits after 300 tokens.",
)
def _(price: Price, generator: torch.Generator) -> None:
    came = gain_of(SHARE, price.patient, TOSSES)
    expect(came >= WORTH, f"with {price.patient:g} it is {came:.2f} bits")
