"""Exercise 09.2: a block's hidden filters cut out of all that knows of them.

>>> block = telling_block(torch.Generator().manual_seed(0))
>>> [tuple(part.shape) for part in cut_of(block, 0.5)]
[(4, 3, 3, 3), (4,), (4,), (4,), (4,), (5, 4, 3, 3)]
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d

from companion.teaching.checks.answers import (
    NotYet,
    StudentFunction,
    describe,
    expect,
    expect_close,
    normal,
    read_function,
    uniform,
)
from companion.teaching.checks.framework import exercise

CUT = "cut(weight1, scale, shift, mean, variance, weight2, ratio)"
HIDDEN = 9  # three strong filters, three with a single weight, three weak
CASES = ((9, 0.25), (9, 0.625), (8, 0.5), (9, 0.0), (7, 0.4375))


class Block(NamedTuple):
    """The tensors that know of a block's hidden filters: first convolution, its batch norm, second convolution."""

    weight1: Float[Tensor, "h c 3 3"]
    scale: Float[Tensor, " h"]
    shift: Float[Tensor, " h"]
    mean: Float[Tensor, " h"]
    variance: Float[Tensor, " h"]
    weight2: Float[Tensor, "o h 3 3"]


def respond(block: Block, images: Float[Tensor, "n c s s"], eps: float = 1e-5) -> Float[Tensor, "n o s s"]:
    """What the block's second convolution gives, in evaluation mode."""
    block = Block(*block)
    inner = batch_norm(
        conv2d(images, block.weight1, padding=1), block.mean, block.variance, block.scale, block.shift, eps=eps
    )
    return conv2d(inner.relu(), block.weight2, padding=1)


def select(block: Block, kept: Tensor) -> Block:
    """The block with these filters alone."""
    return Block(*(part[kept] for part in block[:5]), block.weight2[:, kept])


def cut_of(block: Block, ratio: float, strengths: Tensor | None = None) -> Block:
    """Without the weakest share; by default strength is the norm of a filter's weights."""
    if strengths is None:
        strengths = block.weight1.flatten(1).norm(dim=1)
    return select(block, strongest(strengths, int(len(strengths) * (1 - ratio))))


def strongest(strengths: Float[Tensor, " h"], count: int) -> Tensor:
    """The places of the `count` largest, in their order."""
    return strengths.argsort(descending=True, stable=True)[:count].sort().values


def telling_block(generator: torch.Generator, hidden: int = HIDDEN, channels: int = 3, outputs: int = 5) -> Block:
    """Filters whose order by the norm is another than by the sum of sizes, by the largest weight, or by what follows.

    A third has many weights of middling size, a third a single large one, and a third many small ones.
    """
    weights = []
    for place in range(hidden):
        size = uniform(generator, 0.9, 1.1)
        signs = torch.where(normal(generator, channels, 3, 3) > 0, 1.0, -1.0).to(torch.float64)
        if place % 3 == 1:  # one large weight, below zero
            signs = torch.zeros_like(signs)
            signs[place % channels, 1, 1] = -1.0
        norm = (3.0, 1.5, 0.5)[place % 3] * size
        weights.append(signs * norm / signs.norm())
    weight1 = torch.stack(weights)[torch.randperm(hidden, generator=generator)]
    norms = weight1.flatten(1).norm(dim=1)
    scale, variance = (0.5 + torch.rand(2, hidden, generator=generator, dtype=torch.float64)).unbind()
    weight2 = normal(generator, outputs, hidden, 3, 3) / norms[:, None, None] ** 2
    return Block(weight1, scale / norms**2, normal(generator, hidden), normal(generator, hidden), variance, weight2)


class Cut:
    """The student's function."""

    def __init__(self, function: StudentFunction) -> None:
        self._function = function

    def __call__(self, block: Block, ratio: float) -> Block:
        value = self._function(*block, ratio)
        if not isinstance(value, list | tuple) or len(value) != 6:
            raise NotYet(f"Return six tensors, in the order that they came in; got {describe(value)}.", "six tensors")
        for name, part, came in zip(Block._fields, block, value):
            fits = isinstance(came, Tensor) and came.ndim == part.ndim and came.dtype == part.dtype
            if not fits:
                words = f"a tensor with {part.ndim} axes and {part.dtype}"
                raise NotYet(f"Expected {name} to be {words}; got {describe(came)}.", "six tensors")
        return Block(*(part.detach() for part in value))


@exercise(
    "09.2",
    "Cut a block right",
    difficulty=3,
    minutes=20,
    equation="structured pruning of convolutional filters, zero-shot",
    takeaway="A filter is known in six places: its weights, four numbers of its batch norm, and the inputs of the convolution that reads it. Cut all six at the same places and the block is what it was without those filters, without any data.",
)
def cut(answer: object) -> Cut:
    return Cut(read_function(answer, CUT))


def _found(cut: Cut, case: tuple[int, float], generator: torch.Generator) -> tuple[Block, Block, Block]:
    """A block, what the student makes of it, and what it should be."""
    hidden, ratio = case
    block = telling_block(generator, hidden)
    return block, cut(block, ratio), cut_of(block, ratio)


def _rows(weight: Tensor, whole: Tensor) -> list[int]:
    """The places of these filters in the whole block; -1 for one that is none of them."""
    same = (weight[:, None] == whole[None]).flatten(2).all(2)
    return [int(row.nonzero()[0]) if bool(row.any()) else -1 for row in same]


@cut.requires(
    "six tensors",
    "The block keeps its width: the first convolution its inputs, the second its outputs, and kernels their sides. "
    "Filters are the first axis of the first convolution's weights and the *second* axis of the second's.",
)
def _(cut: Cut, generator: torch.Generator) -> None:
    for case in CASES:
        block, came, _ = _found(cut, case, generator)
        for name, axis in (("weight1", 0), ("weight2", 1)):
            before, after = (list(getattr(each, name).shape) for each in (block, came))
            others = [size for place, size in enumerate(after) if place != axis]
            fits = others == [size for place, size in enumerate(before) if place != axis]
            expect(fits, f"{name} of shape {tuple(before)} became {tuple(after)}")


@cut.requires(
    "how many stay",
    "Of h filters int(h (1 - ratio)) stay, rounded down, and all six tensors must agree about it.",
)
def _(cut: Cut, generator: torch.Generator) -> None:
    for case in CASES:
        _, came, expected = _found(cut, case, generator)
        count = len(expected.scale)
        for name, part in zip(Block._fields, came):
            left = part.shape[1] if name == "weight2" else len(part)
            expect(left == count, f"of {case[0]} filters at ratio {case[1]} {left} stay in {name}, expected {count}")


@cut.requires(
    "the strongest stay",
    "A filter's strength is the L2 norm of all its weights: the square root of the sum of their squares, over its "
    "inputs and its kernel. Those with the largest norms stay.",
)
def _(cut: Cut, generator: torch.Generator) -> None:
    for case in CASES:
        block, came, expected = _found(cut, case, generator)
        rows, count = set(_rows(came.weight1, block.weight1)), len(expected.scale)
        expect(-1 not in rows, "one of your filters is none of the whole block's: nothing is to be scaled or mixed")
        flat = block.weight1.flatten(1)
        if count < case[0]:
            for strengths, words in (
                (-flat.norm(dim=1), "those that you keep have the smallest norms"),
                (flat.abs().sum(1), "yours goes by the sum of their sizes, the L1 norm"),
                (flat.abs().amax(1), "yours goes by the largest weight"),
                (flat.sum(1), "yours goes by the sum of the weights, where signs cancel"),
                (torch.arange(case[0], 0, -1).double(), "you keep the first filters"),
            ):
                others = set(strongest(strengths, count).tolist())
                right = set(_rows(expected.weight1, block.weight1))
                expect(rows != others or others == right, words)
        norms = flat.norm(dim=1)
        gone = [norms[row].item() for row in range(case[0]) if row not in rows]
        worst = min(norms[row].item() for row in rows)
        better = max(gone, default=0.0)
        expect(better <= worst, f"a filter of norm {better:.3g} goes and one of norm {worst:.3g} stays")


@cut.requires(
    "in their order",
    "Filters that stay keep their order. Sorted by strength, all six tensors would have to be sorted alike, and the "
    "small block could no longer be laid beside the whole one.",
)
def _(cut: Cut, generator: torch.Generator) -> None:
    for case in CASES:
        block, came, _ = _found(cut, case, generator)
        rows = _rows(came.weight1, block.weight1)
        expect(rows == sorted(rows), f"yours are the filters number {', '.join(map(str, rows))}, from 0")


@cut.requires(
    "batch norm follows",
    "Four numbers of the batch norm belong to each filter: scale, shift, running mean and running variance. Those "
    "of the filters that stay go with them, as they are: in evaluation mode a wrong statistic shifts the channel, "
    "and nothing complains.",
)
def _(cut: Cut, generator: torch.Generator) -> None:
    for case in CASES:
        block, came, expected = _found(cut, case, generator)
        count = len(expected.scale)
        for name in ("scale", "shift", "mean", "variance"):
            mine, right, whole = (getattr(each, name) for each in (came, expected, block))
            new = torch.full_like(right, float(name in ("scale", "variance")))
            for wrong, words in ((whole[:count], "that of the first filters"), (new, "that of a new batch norm")):
                expect(torch.equal(right, wrong) or not torch.equal(mine, wrong), f"your {name} is {words}")
            expect(torch.equal(mine, right), f"with ratio {case[1]} {name} is not that of the filters that stay")


@cut.requires(
    "dead filters",
    "If all filters that go are dead, with zero weights, mean and shift, then the cut block must answer as the "
    "whole one does. Which input of the second convolution did a dead filter write?",
)
def _(cut: Cut, generator: torch.Generator) -> None:
    for ratio in (0.25, 0.5, 0.75):
        block = _with_dead(telling_block(generator, 8), int(8 * ratio))
        came, images = cut(block, ratio), normal(generator, 2, 3, 6, 6)
        size = len(came.scale)
        for part, words in ((block.weight2[:, :size], "the first"), (block.weight2[:, -size:], "the last")):
            expect(not torch.equal(came.weight2, part), f"your second convolution keeps {words} {size} inputs")
        what = f"with {int(8 * ratio)} of 8 filters dead an output"
        expect_close(respond(came, images), respond(block, images), 1e-9, what)


def _with_dead(block: Block, count: int) -> Block:
    """With some of eight filters that say nothing; those that do are neither the first nor the last."""
    dead = [1, 6, 3, 4, 2, 5][:count]
    parts = [part.clone() for part in block]
    for place in (0, 2, 3):
        parts[place][dead] = 0.0
    return Block(*parts)


@cut.requires(
    "nothing but cut",
    "What stays, stays as it is. To make up for the filters that are gone, by a factor say, as dropout does, "
    "changes what the others say; zero-shot pruning leaves that to fine-tuning.",
)
def _(cut: Cut, generator: torch.Generator) -> None:
    for case in CASES:
        _, came, expected = _found(cut, case, generator)
        for name, mine, right in zip(Block._fields, came, expected):
            expect_close(mine, right, 1e-12, f"with {case[0]} filters and ratio {case[1]} a number in {name}")
