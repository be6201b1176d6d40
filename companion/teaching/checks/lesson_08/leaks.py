"""Exercise 08.4: six readers that report a loss, of which some have seen what they predict.

>>> generator = torch.Generator().manual_seed(0)
>>> tokens = torch.randint(8, (300,), generator=generator)
>>> loss = READERS["D"](small_reader(8, generator), tokens, context=16, stride=8, lr=0.2)
>>> loss < math.log(8)
True
"""

import copy
import math
from collections.abc import Callable

import torch
from jaxtyping import Int
from torch import Tensor, nn

from companion.foundations.language import WindowMLP
from companion.methods.dynamic_evaluation import log_losses
from companion.teaching.checks.answers import (
    NotYet,
    StudentFunction,
    describe,
    expect,
    expect_close,
    read_function,
    read_number,
    read_parts,
)
from companion.teaching.checks.framework import exercise
from companion.teaching.checks.lesson_08.loop import follow, of_new_tokens

FLOOR, REPORTED, NOISE = "floor(symbols)", "reported(symbols, context, stride)", "noise(count, symbols, generator)"
Reader = Callable[[nn.Module, Tensor, int, int, float], float]


def small_reader(symbols: int, generator: torch.Generator) -> WindowMLP:
    """An untrained perceptron over the last four symbols, whose hidden neurons tell them apart well."""
    model = WindowMLP(symbols, order=4, embedding=8, width=64, generator=generator)
    with torch.no_grad():
        model.embed.weight.mul_(10)
        model.hidden.weight.mul_(3)
        model.head.weight.zero_()  # it begins with an even guess
    return model


# Each takes (model, tokens, context, stride, lr), leaves the model alone, and reports one number, in nats a token.


def _whole_windows(model: nn.Module, tokens: Tensor, context: int, stride: int, lr: float) -> float:
    """Honest steps; the mean is over every loss of every window."""
    return torch.cat(follow(copy.deepcopy(model), tokens, context, stride, lr)).mean().item()


def _in_order(model: nn.Module, tokens: Tensor, context: int, stride: int, lr: float) -> float:
    """Score, then learn."""
    return _new(copy.deepcopy(model), tokens, context, stride, lr)


def _learns_old(model: nn.Module, tokens: Tensor, context: int, stride: int, lr: float) -> float:
    """Scores the new tokens, then learns the whole window."""
    return _new(copy.deepcopy(model), tokens, context, stride, lr, over="all")


def _learns_first(model: nn.Module, tokens: Tensor, context: int, stride: int, lr: float) -> float:
    """Learns a block, then scores it."""
    return _new(copy.deepcopy(model), tokens, context, stride, lr, score="after")


def _never(model: nn.Module, tokens: Tensor, context: int, stride: int, lr: float) -> float:
    """Learns nothing."""
    return _new(copy.deepcopy(model), tokens, context, stride, 0.0)


def _shifted(model: nn.Module, tokens: Tensor, context: int, stride: int, lr: float) -> float:
    """Scores, then learns; but each output is compared with the token that went in at its place."""
    model, losses = copy.deepcopy(model), []
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for start in range(context, len(tokens), stride):
        text, new = tokens[None, start - context : start + stride], min(stride, len(tokens) - start)
        loss = log_losses(model(text), text)[0, -new:]
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.cat(losses).mean().item()


def _new(model: nn.Module, tokens: Tensor, context: int, stride: int, lr: float, **options: str) -> float:
    losses = follow(model, tokens, context, stride, lr, **options)
    return of_new_tokens(losses, len(tokens), context, stride).mean().item()


READERS: dict[str, Reader] = dict(
    zip("ABCDEF", (_whole_windows, _in_order, _learns_old, _learns_first, _never, _shifted))
)
LEAKS = {"A", "D", "F"}
SEEN = {
    "A": "each of its windows holds old tokens, which it has learned from, and their losses are in its mean",
    "D": "it takes the step on a block before it scores it",
    "F": "the tokens that it predicts are among its inputs, and it learns to copy them",
}
CLEAN = {
    "B": "it scores each block and learns it then",
    "C": "it *learns* from old tokens again and again, which may be unwise, but what it reports are new tokens, scored before",
    "E": "it never learns",
}


class Leaks:
    """What the student says of noise, how they make it, and whom they accuse."""

    def __init__(
        self, floor: StudentFunction, reported: StudentFunction, noise: StudentFunction, leaks: set[str]
    ) -> None:
        self._floor, self._reported, self._noise, self.leaks = floor, reported, noise, leaks

    def floor(self, symbols: int) -> float:
        return read_number(self._floor(symbols), FLOOR)

    def reported(self, symbols: int, context: int, stride: int) -> float:
        return read_number(self._reported(symbols, context, stride), REPORTED)

    def noise(self, count: int, symbols: int, generator: torch.Generator) -> Int[Tensor, " t"]:
        value = self._noise(count, symbols, generator)
        whole = isinstance(value, Tensor) and not value.is_floating_point() and tuple(value.shape) == (count,)
        if not whole or value.dtype == torch.bool:
            raise NotYet(f"Expected {NOISE} to be whole numbers ({count},); got {describe(value)}.", "a row of symbols")
        return value.long()

    def reports_like(self, formula: Callable[[int, int, int], float]) -> bool:
        cases = (8, 16, 8), (5, 3, 10), (97, 64, 16)
        return all(math.isclose(self.reported(*case), formula(*case), rel_tol=1e-6) for case in cases)


@exercise(
    "08.4",
    "Who has seen the answer?",
    difficulty=3,
    minutes=15,
    equation="the loss of new tokens only, before the step",
    takeaway="On noise no honest reader is below log K, so a test that costs a minute finds most leaks: a step before the score, a target among the inputs, old tokens in the mean. Old tokens in the *step* are no leak; what counts is what is reported, and what the model had learned by then.",
)
def leaks(answer: object) -> Leaks:
    parts = read_parts(answer, ("floor", "reported", "noise", "leaks"))
    functions = (
        read_function(parts[name], words)
        for name, words in (("floor", FLOOR), ("reported", REPORTED), ("noise", NOISE))
    )
    return Leaks(*functions, _read_names(parts["leaks"]))


def _read_names(value: object) -> set[str]:
    names = list(value.replace(",", " ").split()) if isinstance(value, str) else value
    known = isinstance(names, set | frozenset | list | tuple) and all(isinstance(name, str) for name in names)
    found = {name.strip().upper() for name in names} if known else set()
    if not known or not found <= set(READERS):
        shown = describe(value) if not known else ", ".join(repr(name) for name in sorted(found - set(READERS)))
        raise NotYet(f"Expected leaks to be a set of letters from 'A' to 'F'; got {shown}.", "type")
    return found


@leaks.requires(
    "the floor",
    "Of K symbols that come evenly, whatever came before, each has the probability 1/K. Who says so pays -log(1/K) nats for every "
    "token, and who says anything else pays more in the mean.",
)
def _(leaks: Leaks, generator: torch.Generator) -> None:
    for symbols in (2, 8, 97, int(torch.randint(10, 90, (), generator=generator))):
        came = leaks.floor(symbols)
        expect(
            not math.isclose(came, math.log2(symbols), rel_tol=1e-6), "yours is in bits, and the readers report nats"
        )
        expect(not math.isclose(came, symbols, rel_tol=1e-6), "yours is the perplexity: the loss is its logarithm")
        expect_close(came, math.log(symbols), 1e-6, f"for {symbols} symbols the floor")


@leaks.requires(
    "old and new tokens",
    "A window has context + stride - 1 inputs, and a loss for each. `stride` of them are of new tokens, which are noise; the others "
    "are old, and a perfect memory has them for nothing. Take the mean over the window.",
)
def _(leaks: Leaks, generator: torch.Generator) -> None:
    for formula, words in (
        (lambda k, c, s: math.log(k), "you leave out that old tokens cost nothing"),
        (lambda k, c, s: math.log(k) * (c - 1) / (c + s - 1), "yours has the share of the old tokens"),
        (lambda k, c, s: math.log(k) * s / (c + s), "you count context + stride losses in a window, one too many"),
        (lambda k, c, s: math.log(k) / (c + s - 1), "you count a single new token in a window"),
        (lambda k, c, s: s / (c + s - 1), "yours is the share of the new tokens, without what each of them costs"),
    ):
        expect(not leaks.reports_like(formula), words)
    for symbols, context, stride in ((8, 16, 8), (5, 1, 4), (97, 64, 16), (3, 7, 1)):
        came, expected = leaks.reported(symbols, context, stride), math.log(symbols) * stride / (context + stride - 1)
        expect_close(came, expected, 1e-6, f"for {symbols} symbols, context {context} and stride {stride} the mean")


# The noise


@leaks.requires(
    "a row of symbols",
    "Give `count` whole numbers from 0 to symbols - 1, all of which may come.",
)
def _(leaks: Leaks, generator: torch.Generator) -> None:
    for symbols in (2, 5, 9):
        tokens = leaks.noise(400, symbols, generator)
        low, high = int(tokens.min()), int(tokens.max())
        expect(low >= 0 and high < symbols, f"for {symbols} symbols yours are from {low} to {high}")
        missing = sorted(set(range(symbols)) - set(tokens.tolist()))
        expect(not missing, f"for {symbols} symbols {next(iter(missing), 0)} never comes")


@leaks.requires(
    "from the generator",
    "Draw from the generator that comes in: the same seed must give the same noise, and another seed other noise. A test that cannot be "
    "repeated convinces nobody.",
)
def _(leaks: Leaks, generator: torch.Generator) -> None:
    first, again, other = (leaks.noise(200, 6, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    expect(torch.equal(first, again), "with the same seed yours differs")
    expect(not torch.equal(first, other), "with another seed yours is the same")


@leaks.requires(
    "even",
    "All symbols must be equally likely. Otherwise an honest reader learns which are frequent, and falls below log K without a leak.",
)
def _(leaks: Leaks, generator: torch.Generator) -> None:
    symbols, count = 5, 8000
    shares = leaks.noise(count, symbols, generator).bincount(minlength=symbols) / count
    worst = int((shares - 1 / symbols).abs().argmax())
    allowed = 8 * math.sqrt(0.16 / count)
    expect(
        abs(shares[worst] - 1 / symbols) < allowed,
        f"symbol {worst} of 5 comes in {100 * shares[worst]:.1f} % of the places",
    )


@leaks.requires(
    "no memory",
    "What came before must say nothing of what comes next: no order, no period, no symbol held back until the others have come. An honest "
    "reader would learn that, rightly.",
)
def _(leaks: Leaks, generator: torch.Generator) -> None:
    symbols, count = 4, 2000
    tokens = leaks.noise(count, symbols, generator)
    for lag in range(1, count // 2 + 1):
        same = (tokens[lag:] == tokens[:-lag]).float().mean().item()
        allowed = 6 * math.sqrt(0.1875 / (count - lag))
        expect(
            abs(same - 0.25) < allowed,
            f"a symbol is that of {lag} places before in {100 * same:.0f} % of all cases, not 25 %",
        )
    pairs = (symbols * tokens[:-1] + tokens[1:]).bincount(minlength=symbols**2) / (count - 1)
    allowed = 6 * math.sqrt(0.0625 / count)
    expect(bool(((pairs - symbols**-2).abs() < allowed).all()), "some symbols follow others too often")
    counts = torch.stack([leaks.noise(40, symbols, generator).bincount(minlength=symbols)[0] for _ in range(30)])
    expect(
        bool((counts != counts[0]).any()), "each symbol comes equally often in every text, so the last ones can be told"
    )


# The readers


@leaks.requires(
    "who leaks",
    "One more of them is below log K on noise, by more than chance, and nobody foresees noise. Let it read yours.",
)
def _(leaks: Leaks, generator: torch.Generator) -> None:
    for name in sorted(LEAKS, reverse=True):
        expect(name in leaks.leaks, f"{name} is missing: {SEEN[name]}")


@leaks.requires(
    "who does not",
    "You accuse a reader that is honest: on noise it is not below log K. To learn unwisely is no leak.",
)
def _(leaks: Leaks, generator: torch.Generator) -> None:
    for name in sorted(CLEAN):
        expect(name not in leaks.leaks, f"{name}: {CLEAN[name]}")
