"""Exercise 09.5: the same function with other norms, so that the weakest filters are the wrong ones.

>>> generator = torch.Generator().manual_seed(0)
>>> block, images = speaking_block(generator), normal(generator, 8, 3, 6, 6)
>>> by_norm, at_random = damage(block, images, 0.5, generator)
>>> 0 < by_norm < 2 * at_random
True
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

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
)
from companion.teaching.checks.framework import exercise
from companion.teaching.checks.lesson_09.cutting import Block, cut_of, respond

RESCALED = "rescaled(weight1, mean, variance, factors)"
FACTORS = "factors(weight1, scale, shift, mean, variance, weight2)"
ODDS = "odds(ratio)"
HIDDEN, CHANNELS, OUTPUTS, SIDE = 16, 3, 4, 6
PROBLEMS, DRAWS = 48, 6
WORSE = 1.4  # what the norm must lose against random draws
Scaled = tuple[Float[Tensor, "h c 3 3"], Float[Tensor, " h"], Float[Tensor, " h"]]


def speaking_block(generator: torch.Generator) -> Block:
    """Filters of different norms; how much each matters differs far more, and has nothing to do with its norm."""
    norms = torch.exp(0.5 * normal(generator, HIDDEN))
    directions = normal(generator, HIDDEN, CHANNELS, 3, 3)
    weight1 = norms[:, None, None, None] * directions / directions.flatten(1).norm(dim=1)[:, None, None, None]
    scale = torch.exp(0.5 * normal(generator, HIDDEN))
    weight2 = normal(generator, OUTPUTS, HIDDEN, 3, 3) * torch.exp(normal(generator, HIDDEN))[:, None, None]
    mean = norms * normal(generator, HIDDEN)
    variance = norms**2 * (0.8 + 0.4 * torch.rand(HIDDEN, generator=generator, dtype=DOUBLE))
    return Block(weight1, scale, 0.3 * normal(generator, HIDDEN), mean, variance, weight2)


def rescale(block: Block, factors: Float[Tensor, " h"]) -> Block:
    """The same function, each filter's weights times a factor."""
    weight1, mean, variance = block.weight1 * factors[:, None, None, None], block.mean * factors, block.variance
    return block._replace(weight1=weight1, mean=mean, variance=variance * factors**2)


def damage(
    block: Block, images: Float[Tensor, "n c s s"], ratio: float, generator: torch.Generator, draws: int = DRAWS
) -> tuple[float, float]:
    """The mean squared change of the output over its mean square: pruned by the norm, and in the mean over random draws."""
    whole = respond(block, images, eps=0.0)

    def lost(strengths: Tensor | None) -> float:
        return ((respond(cut_of(block, ratio, strengths), images, eps=0.0) - whole).square().mean()).item()

    filters, scale = len(block.scale), whole.square().mean().item()
    drawn = [lost(torch.rand(filters, generator=generator, dtype=DOUBLE)) for _ in range(draws)]
    return lost(None) / scale, sum(drawn) / draws / scale


def mean_damage(find: Callable[..., Tensor], generator: torch.Generator, ratio: float = 0.5) -> tuple[float, float]:
    """`damage`, in the mean over some blocks, each rescaled with the factors that `find` gives for its six tensors."""
    found = []
    for _ in range(PROBLEMS):
        block = speaking_block(generator)
        disguised = rescale(block, find(*block))
        found.append(damage(disguised, normal(generator, 8, CHANNELS, SIDE, SIDE), ratio, generator))
    return tuple(sum(column) / len(found) for column in zip(*found))


class Disguise:
    """The student's three functions."""

    def __init__(self, rescaled: StudentFunction, factors: StudentFunction, odds: StudentFunction) -> None:
        self._rescaled, self._factors, self._odds = rescaled, factors, odds

    def rescaled(self, block: Block, factors: Float[Tensor, " h"]) -> Scaled:
        value = self._rescaled(block.weight1, block.mean, block.variance, factors)
        if not isinstance(value, list | tuple) or len(value) != 3:
            raise NotYet(f"Return weight1, mean and variance; {RESCALED} gave {describe(value)}.", "three tensors")
        parts = zip(("weight1", "mean", "variance"), value)
        return tuple(_tensor(part, getattr(block, name), name, "three tensors") for name, part in parts)

    def factors(self, block: Block) -> Float[Tensor, " h"]:
        return _tensor(self._factors(*block), block.scale, FACTORS, "positive factors")

    def odds(self, ratio: float) -> tuple[float, float]:
        value = self._odds(ratio)
        if isinstance(value, Tensor) and tuple(value.shape) == (2,):
            value = value.tolist()
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise NotYet(f"Return two numbers, kind and unkind; {ODDS} gave {describe(value)}.", "kind odds")
        return read_number(value[0], "the kind one"), read_number(value[1], "the unkind one")


def _tensor(value: object, like: Tensor, what: str, failed: str) -> Tensor:
    try:
        return expect_tensor(value, tuple(like.shape), like.dtype, what).detach()
    except NotYet as error:
        raise NotYet(f"{error}.", failed) from None


@exercise(
    "09.5",
    "Make the controls win",
    difficulty=4,
    minutes=20,
    equation="weight magnitude as the criterion, and random pruning as its control",
    takeaway="In front of a batch norm the length of a filter means nothing to the function, so its norm is only as good as the training that made it: a penalty on the weights lets those shrink that are of no use. And the more is cut, the less it matters what is cut, so always draw the random control.",
)
def disguise(answer: object) -> Disguise:
    parts = read_parts(answer, ("rescaled", "factors", "odds"))
    return Disguise(
        read_function(parts["rescaled"], RESCALED),
        read_function(parts["factors"], FACTORS),
        read_function(parts["odds"], ODDS),
    )


def _drawn(generator: torch.Generator) -> tuple[Block, Float[Tensor, " h"]]:
    return speaking_block(generator), torch.exp(normal(generator, HIDDEN))


@disguise.requires(
    "three tensors",
    "Return the rescaled weights, mean and variance. Each filter has one factor, for all its inputs and its whole "
    "kernel.",
)
def _(disguise: Disguise, generator: torch.Generator) -> None:
    for _ in range(2):
        block, factors = _drawn(generator)
        came, right = disguise.rescaled(block, factors)[0], rescale(block, factors).weight1
        expect(not torch.allclose(came, block.weight1), "your weights stay as they were")
        expect_close(came, right, 1e-9, "a weight")


@disguise.requires(
    "the same function",
    "The batch norm subtracts the mean and divides by the root of the variance. A convolution a times as large has "
    "a mean a times as large, and a variance a^2 times as large.",
)
def _(disguise: Disguise, generator: torch.Generator) -> None:
    for _ in range(3):
        block, factors = _drawn(generator)
        weight1, mean, variance = disguise.rescaled(block, factors)
        right = rescale(block, factors)
        for wrong, words in (
            (block.mean, "your mean stays as it was"),
            (block.mean / factors, "your mean is divided by the factors"),
            (block.mean * factors**2, "your mean goes with their squares"),
        ):
            expect(not torch.allclose(mean, wrong), words)
        for wrong, words in (
            (block.variance, "your variance stays as it was"),
            (block.variance * factors, "your variance goes with the factors, as a standard deviation does"),
            (block.variance * factors.sqrt(), "your variance goes with the roots of the factors"),
            (block.variance / factors**2, "your variance is divided by the squares"),
        ):
            expect(not torch.allclose(variance, wrong), words)
        images = normal(generator, 4, CHANNELS, SIDE, SIDE)
        came = respond(block._replace(weight1=weight1, mean=mean, variance=variance), images, eps=0.0)
        expect_close(came, respond(block, images, eps=0.0), 1e-7, "an output")
        for name, mine in (("mean", mean), ("variance", variance)):
            expect_close(mine, getattr(right, name), 1e-7, f"a {name}")


@disguise.requires(
    "positive factors",
    "Return one finite factor above 0 for each filter. A factor below 0 turns a channel over before the ReLU, and "
    "the function is another.",
)
def _(disguise: Disguise, generator: torch.Generator) -> None:
    for _ in range(2):
        found = disguise.factors(speaking_block(generator))
        expect(bool(found.isfinite().all()), "one of yours is not finite")
        expect(bool((found > 0).all()), f"one of yours is {found.min():.3g}")


@disguise.requires(
    "other filters go",
    "Factors that leave the order of the norms change nothing, for pruning only asks which are smallest.",
)
def _(disguise: Disguise, generator: torch.Generator) -> None:
    same = 0
    for _ in range(PROBLEMS):
        block = speaking_block(generator)
        before, after = (
            each.weight1.flatten(1).norm(dim=1) for each in (block, rescale(block, disguise.factors(block)))
        )
        same += torch.equal(before.argsort(stable=True), after.argsort(stable=True))
    expect(same < PROBLEMS, "the order of your norms is the old one, in all blocks")


@disguise.requires(
    "random wins",
    "Pruned by the norm, the disguised block must lose 1.4 times what it loses with random filters, or more, in the "
    "mean over blocks and draws. Which filters matter to the output? How strongly does the batch norm let a channel "
    "speak, and how strongly is it read? Those must look weak.",
)
def _(disguise: Disguise, generator: torch.Generator) -> None:
    by_norm, at_random = mean_damage(lambda *block: disguise.factors(Block(*block)), generator)
    expect(by_norm > 0.5 * at_random, f"it loses {by_norm / at_random:.2f} times as much: your factors help the norm")
    expect(by_norm >= WORSE * at_random, f"it loses {by_norm / at_random:.2f} times as much")


# In numbers


@disguise.requires(
    "kind odds",
    "Filters whose shares of the output lie evenly from 0 to 1: the weakest part r of them has the sum r^2 / 2, and "
    "random ones have r times the whole, which is 1/2.",
)
def _(disguise: Disguise, generator: torch.Generator) -> None:
    ratios = (0.25, 0.5, 0.75, 0.9)
    came = [disguise.odds(ratio)[0] for ratio in ratios]
    for formula, words in (
        (lambda r: r**2 / 2, "yours is what goes, not over what random pruning loses"),
        (lambda r: r**2, "yours is over the whole, not over what random pruning loses"),
        (lambda r: 1 / r, "yours is the inverse"),
        (lambda r: 2 - r, "you have the two the other way round"),
        (lambda r: r / 2, "the weakest have the mean r / 2, but the random ones have 1 / 2"),
    ):
        expect(not all(math.isclose(value, formula(r), abs_tol=1e-9) for value, r in zip(came, ratios)), words)
    for value, ratio in zip(came, ratios):
        expect_close(value, ratio, 1e-9, f"at ratio {ratio} the kind one")


@disguise.requires(
    "unkind odds",
    "Now the strongest part r goes. Its sum is the whole, 1/2, without that of the weakest 1 - r. Take it over what "
    "random pruning loses, r / 2.",
)
def _(disguise: Disguise, generator: torch.Generator) -> None:
    ratios = (0.25, 0.5, 0.75, 0.9)
    came = [disguise.odds(ratio)[1] for ratio in ratios]
    for formula, words in (
        (lambda r: (1 - (1 - r) ** 2) / 2, "yours is what goes, not over what random pruning loses"),
        (lambda r: 1 - (1 - r) ** 2, "yours is over the whole, not over what random pruning loses"),
        (lambda r: 1 / r, "what is lost is not all there is: the weakest 1 - r stay, and they have something"),
        (lambda r: 1 + r, "the more goes, the closer random pruning comes, for it takes nearly all as well"),
        (lambda r: 1 - r, "yours is that of the filters that stay"),
    ):
        expect(not all(math.isclose(value, formula(r), abs_tol=1e-9) for value, r in zip(came, ratios)), words)
    for value, ratio in zip(came, ratios):
        expect_close(value, 2 - ratio, 1e-9, f"at ratio {ratio} the unkind one")
