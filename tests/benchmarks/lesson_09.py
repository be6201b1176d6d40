"""Rows of lesson 09: pruning against torch-pruning, counting against fvcore, and what a cut and a mask save."""

import functools
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from companion.foundations.residual import ExpandedResidualNet
from companion.methods.pruning import SGD, count_flops, prune_filters
from tests.benchmarks.measure import Result, Row, compare_times
from tests.unit.test_pruning_peers import torch_pruned

RATIO, BATCH = 0.75, 32
IMAGES = torch.randn(BATCH, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def network(width: int = 16, stages: int = 2) -> ExpandedResidualNet:
    """The lesson's network, untrained."""
    torch.manual_seed(0)
    return ExpandedResidualNet(width=width, stages=stages).eval()


def same(ours: nn.Module, theirs: nn.Module) -> None:
    """Raise unless both have the same operations and outputs."""
    assert count_flops(ours, IMAGES) == count_flops(theirs, IMAGES)
    torch.testing.assert_close(ours(IMAGES), theirs(IMAGES), rtol=0, atol=1e-4)


def compare_pruning(width: int, stages: int) -> Result:
    same(prune_filters(network(width, stages), RATIO, example=IMAGES), torch_pruned(network(width, stages), RATIO))
    return compare_times(
        lambda: prune_filters(network(width, stages), RATIO, example=IMAGES[:1]),
        lambda: torch_pruned(network(width, stages), RATIO),
    )


def compare_pruned_steps() -> Result:
    """A step of what we leave against one of what torch-pruning leaves."""
    ours = prune_filters(network(), RATIO, example=IMAGES)
    theirs = torch_pruned(network(), RATIO)
    return compare_times(training(ours), training(theirs))


def training(model: nn.Module, steps: int = 20) -> Callable:
    """Some steps of SGD with momentum on a batch."""
    labels, optimizer = torch.arange(BATCH) % 10, SGD(model.train().parameters())

    def run():
        for _ in range(steps):
            optimizer.zero_grad()
            cross_entropy(model(IMAGES), labels).backward()
            optimizer.step()

    return run


def compare_sizes(ratio: float) -> Result:
    return compare_times(training(prune_filters(network(), ratio, example=IMAGES)), training(network()))


def compare_with_masks() -> Result:
    """A forward pass of the cut network against one with torch's masks on the same filters."""
    from torch.nn.utils import prune

    cut, masked = prune_filters(network(), RATIO, example=IMAGES), network()
    for block in masked.blocks:
        prune.ln_structured(block.conv1, "weight", amount=RATIO, n=2, dim=0)
    forward = lambda model: lambda: [model(IMAGES) for _ in range(20)]  # noqa: E731
    with torch.no_grad():
        return compare_times(forward(cut), forward(masked))


def compare_counting() -> Result:
    from fvcore.nn import FlopCountAnalysis

    model = network()
    theirs = lambda: FlopCountAnalysis(model, IMAGES[:1]).unsupported_ops_warnings(False).by_operator()  # noqa: E731
    assert count_flops(model, IMAGES[:1]) == 2 * (theirs()["conv"] + theirs()["linear"])
    return compare_times(lambda: count_flops(model, IMAGES[:1]), theirs)


def rows() -> list[Row]:
    size = "residual network of 166,000 weights"
    part = functools.partial
    return [
        Row("prune", f"three quarters of the filters cut, {size}, time", "torch-pruning, the same filters",
            part(compare_pruning, 16, 2), "ratio at most 1"),
        Row("prune-large", "three quarters of the filters cut, residual network of 11 million weights, time",
            "torch-pruning, the same filters", part(compare_pruning, 64, 3), "ratio at most 1"),
        Row("prune-steps", f"20 steps on 32 pictures, {size}, three quarters cut by us, time",
            "the same, cut by torch-pruning", compare_pruned_steps, "about 1"),
        Row("prune-half", f"20 steps on 32 pictures, {size}, half cut, time", "nothing cut", part(compare_sizes, 0.5),
            "operations: 0.50"),
        Row("prune-quarter", f"20 steps on 32 pictures, {size}, three quarters cut, time", "nothing cut",
            part(compare_sizes, 0.75), "operations: 0.26"),
        Row("prune-mask", f"20 forward passes of 32 pictures, {size}, three quarters cut, time",
            "the same filters masked by torch.nn.utils.prune", compare_with_masks, "ratio below 1"),
        Row("prune-count", f"operations counted, {size}, time", "fvcore's FlopCountAnalysis", compare_counting,
            "ratio below 1"),
    ]  # fmt: skip
