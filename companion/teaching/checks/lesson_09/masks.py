"""Exercise 09.3: filters that are silenced instead of cut.

>>> generator = torch.Generator().manual_seed(0)
>>> before, after = compare("D", generator), compare("D", generator, steps=3)
>>> before < 1e-6 < after
True
"""

import copy
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from companion.foundations.networks import ResidualBlock
from companion.methods.pruning import count_flops, cut_channels
from companion.teaching.checks.answers import (
    DOUBLE,
    NotYet,
    StudentFunction,
    describe,
    expect,
    expect_close,
    normal,
    read_function,
    read_number,
    read_parts,
)
from companion.teaching.checks.framework import exercise

MASK = "mask(block, kept)"
CHANNELS, HIDDEN, SIDE = 4, 8, 6
Silencer = Callable[[ResidualBlock, Int[Tensor, " k"]], None]
WORK = {"masked": 1.0, "cut": 0.25, "scattered": 1.0}


def random_block(generator: torch.Generator, hidden: int = HIDDEN) -> ResidualBlock:
    """A block in double precision whose batch norms have something to say."""
    block = ResidualBlock(CHANNELS, CHANNELS, hidden).to(DOUBLE)
    with torch.no_grad():
        for each in (block.conv1, block.conv2):
            each.weight.copy_(0.3 * normal(generator, *each.weight.shape))
        for each in (block.norm1, block.norm2):
            size = each.num_features
            each.weight.copy_(0.5 + torch.rand(size, generator=generator, dtype=DOUBLE))
            each.running_var.copy_(0.5 + torch.rand(size, generator=generator, dtype=DOUBLE))
            each.bias.copy_(normal(generator, size))
            each.running_mean.copy_(normal(generator, size))
    return block.eval()


def cut_block(block: ResidualBlock, kept: Int[Tensor, " k"]) -> ResidualBlock:
    """A copy without the other hidden filters."""
    block = copy.deepcopy(block)
    for each in (block.conv1, block.norm1):
        cut_channels(each, kept)
    cut_channels(block.conv2, kept, inputs=True)
    return block


# Four ways to silence the filters that are not kept, in place.


def _gone(block: ResidualBlock, kept: Int[Tensor, " k"]) -> Tensor:
    gone = torch.ones(block.norm1.num_features, dtype=torch.bool)
    gone[kept] = False
    return gone


@torch.no_grad()
def _weights(block: ResidualBlock, kept: Int[Tensor, " k"]) -> None:
    block.conv1.weight[_gone(block, kept)] = 0.0


@torch.no_grad()
def _scale(block: ResidualBlock, kept: Int[Tensor, " k"]) -> None:
    block.norm1.weight[_gone(block, kept)] = 0.0


@torch.no_grad()
def _scale_and_shift(block: ResidualBlock, kept: Int[Tensor, " k"]) -> None:
    block.norm1.weight[_gone(block, kept)] = 0.0
    block.norm1.bias[_gone(block, kept)] = 0.0


@torch.no_grad()
def _readers(block: ResidualBlock, kept: Int[Tensor, " k"]) -> None:
    block.conv2.weight[:, _gone(block, kept)] = 0.0


WAYS: dict[str, Silencer] = dict(zip("ABCD", (_weights, _scale, _scale_and_shift, _readers)))
SILENT, LASTING = {"C", "D"}, {"C"}
LOUD = {
    "A": "without weights a filter gives 0, from which the batch norm takes its mean, and to which it adds its shift",
    "B": "with the scale 0 the batch norm still adds its shift, which is above 0 for some channels",
}


def compare(way: str, generator: torch.Generator, steps: int = 0) -> float:
    """The largest difference between a block with silenced filters and the cut block, in evaluation mode.

    Args:
        way: "A" to "D".
        generator: draws the block and what it learns.
        steps: of gradient descent, for both blocks, on the same pictures, before they are compared.
    """
    masked, kept = random_block(generator), torch.tensor([0, 3, 6])
    small = cut_block(masked, kept)
    WAYS[way](masked, kept)
    images, targets = normal(generator, 2, 16, CHANNELS, SIDE, SIDE)
    for block in (masked, small):
        _learn(block, images, targets, steps)
    with torch.no_grad():
        return (masked(images) - small(images)).abs().max().item()


def _learn(block: nn.Module, images: Tensor, targets: Tensor, steps: int) -> None:
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    block.train()
    for _ in range(steps):
        optimizer.zero_grad()
        (block(images) - targets).square().mean().backward()
        optimizer.step()
    block.eval()


class Masks:
    """The student's mask, what they count, and which ways they trust."""

    def __init__(self, mask: StudentFunction, work: dict[str, float], silent: set[str], lasting: set[str]) -> None:
        self._mask, self.work, self.silent, self.lasting = mask, work, silent, lasting

    def __call__(self, block: ResidualBlock, kept: Int[Tensor, " k"]) -> ResidualBlock:
        """A masked copy; its mode is that of the block."""
        value = self._mask(copy.deepcopy(block), kept)
        if not isinstance(value, ResidualBlock):
            raise NotYet(f"Return the block; {MASK} gave {describe(value)}.", "the same size")
        return value.train(block.training)


@exercise(
    "09.3",
    "Why a mask saves nothing",
    difficulty=3,
    minutes=15,
    equation="structured pruning, against masks and single weights",
    takeaway="A silenced filter is computed as before, and then multiplied by zero. Only tensors that are smaller save operations, and only whole filters make them smaller. A mask is good for trying out what a cut would do, if the batch norm's shift is masked as well.",
)
def masks(answer: object) -> Masks:
    parts = read_parts(answer, ("mask", "work", "silent", "lasting"))
    work = read_parts(parts["work"], tuple(WORK))
    return Masks(
        read_function(parts["mask"], MASK),
        {name: read_number(work[name], name) for name in WORK},
        *(_read_ways(parts[name], name) for name in ("silent", "lasting")),
    )


def _read_ways(value: object, what: str) -> set[str]:
    names = list(value.replace(",", " ").split()) if isinstance(value, str) else value
    known = isinstance(names, set | frozenset | list | tuple) and all(isinstance(name, str) for name in names)
    found = {name.strip().upper() for name in names} if known else set()
    if not known or not found <= set(WAYS):
        shown = describe(value) if not known else ", ".join(repr(name) for name in sorted(found - set(WAYS)))
        raise NotYet(f"Expected {what} to be a set of letters from 'A' to 'D'; got {shown}.", "type")
    return found


def _cases(generator: torch.Generator) -> Sequence[tuple[ResidualBlock, Int[Tensor, " k"]]]:
    places = ([0, 3, 6], [1, 2, 4, 5, 7], [5], list(range(HIDDEN)))
    return [(random_block(generator), torch.tensor(kept)) for kept in places]


def _answers(block: nn.Module, images: Float[Tensor, "n c s s"]) -> Float[Tensor, "n c s s"]:
    with torch.no_grad():
        return block(images)


@masks.requires(
    "the same size",
    "A mask leaves all tensors as large as they were, and only sets numbers to zero. Cutting was 09.2.",
)
def _(masks: Masks, generator: torch.Generator) -> None:
    for block, kept in _cases(generator):
        came = {name: tuple(value.shape) for name, value in masks(block, kept).state_dict().items()}
        for name, value in block.state_dict().items():
            shape = tuple(value.shape)
            expect(came.get(name) == shape, f"{name} of shape {shape} became {came.get(name, 'nothing')}")


@masks.requires(
    "what the cut block says",
    "In evaluation mode the masked block must answer as the one without these filters. A filter with zero weights "
    "still speaks: its batch norm gives shift - mean scale / std, whatever the picture. Silence it behind the batch "
    "norm.",
)
def _(masks: Masks, generator: torch.Generator) -> None:
    images = normal(generator, 3, CHANNELS, SIDE, SIDE)
    for block, kept in _cases(generator):
        masked, right = masks(block, kept), _answers(cut_block(block, kept), images)
        came = _answers(masked, images)
        if len(kept) < HIDDEN:
            gone = torch.tensor([place for place in range(HIDDEN) if place not in kept.tolist()])
            others = _answers(cut_block(block, gone), images)
            expect(not torch.allclose(came, others), "you silence those that are kept")
            expect(not torch.allclose(came, _answers(block, images)), "yours says what the whole block says")
            for way, words in LOUD.items():
                loud = copy.deepcopy(block)
                WAYS[way](loud, kept)
                said = _answers(loud, images)
                expect(torch.allclose(said, right) or not torch.allclose(came, said), words)
        expect_close(came, right, 1e-9, f"with {len(kept)} of {HIDDEN} filters kept an output")


@masks.requires(
    "in training, too",
    "With batch statistics the mean of a silenced filter is another than in evaluation mode, so it must be silent "
    "without the running statistics' help.",
)
def _(masks: Masks, generator: torch.Generator) -> None:
    images = normal(generator, 3, CHANNELS, SIDE, SIDE)
    for block, kept in _cases(generator):
        block.train()
        masked, small = masks(block, kept), cut_block(block, kept)
        what = f"in training mode, with {len(kept)} of {HIDDEN} filters kept, an output"
        expect_close(_answers(masked, images), _answers(small, images), 1e-9, what)


@masks.requires(
    "what is counted",
    "A convolution multiplies what it is given, zeros too. At 75 % only the cut block has fewer filters to compute; "
    "and zeros that lie scattered hardly ever fill a whole filter, so that there is nothing to cut.",
)
def _(masks: Masks, generator: torch.Generator) -> None:
    for name, expected in WORK.items():
        came = masks.work[name]
        expect(name == "cut" or abs(came - 0.25) > 1e-2, f"{name}: zeros are multiplied like other numbers")
        expect(name != "cut" or abs(came - 0.0625) > 1e-3, f"{name}: a basic block falls once as 1 - r, as in 09.1")
        expect(abs(came - expected) <= 1e-2, f"{name}: you say {came:.3g}")


@masks.requires(
    "which are silent",
    "Some ways leave the batch norm's shift, or its running mean, to speak. `compare` shows which: the difference "
    "should be rounding.",
)
def _(masks: Masks, generator: torch.Generator) -> None:
    for way in sorted(LOUD):
        expect(way not in masks.silent, f"{way} is loud: {LOUD[way]}")
    for way in sorted(SILENT):
        expect(way in masks.silent, f"{way} is missing: its filters reach nothing")


@masks.requires(
    "which last",
    "After some steps the masked block should still say what the cut block says that has learned the same. That is "
    "so where no gradient reaches what was set to zero, or what was set to zero hides the rest for good. Where is "
    "the slope of a ReLU zero?",
)
def _(masks: Masks, generator: torch.Generator) -> None:
    loud = masks.lasting & set(LOUD)
    expect(not loud, f"{next(iter(sorted(loud)), '')} does not even begin alike")
    expect(
        "D" not in masks.lasting, "D: the second convolution's gradient needs only what it reads, so zeros grow back"
    )
    expect("C" in masks.lasting, "C is missing: scale and shift at zero put each place where the ReLU has no slope")


def flops_left(way: str, ratio: float = 0.75, generator: torch.Generator | None = None) -> float:
    """Which share of a block's operations a counter finds after "masked", "cut" or "scattered" pruning."""
    block, example = ResidualBlock(16, 16, 64), torch.zeros(1, 16, 8, 8)
    kept = torch.arange(64 - round(64 * ratio))
    whole = count_flops(block, example)
    if way == "masked":
        _scale_and_shift(block, kept)
    elif way == "cut":
        block = cut_block(block, kept)
    else:
        weights = torch.randn(64, 144, generator=generator)
        alive = weights.abs() > weights.abs().flatten().quantile(ratio)
        block = cut_block(block, alive.any(1).nonzero().flatten())
    return count_flops(block, example) / whole
