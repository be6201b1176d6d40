"""The pruned network, and the operations counted, are those of other libraries."""

import jaxtyping
import pytest
import torch
from torch import nn

from companion.foundations.residual import ExpandedResidualNet
from companion.methods.pruning import count_flops, prune_filters

IMAGES = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def network(seed=0):
    torch.manual_seed(seed)
    model = ExpandedResidualNet(num_classes=5).eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight.data.uniform_(0.5, 1.5)
            norm.bias.data.normal_()
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return model


def torch_pruned(model, ratio):
    """The same filters cut out by torch-pruning."""
    import torch_pruning

    hidden = {block.conv1 for block in model.blocks}
    others = [each for each in model.modules() if isinstance(each, nn.Conv2d | nn.Linear) and each not in hidden]
    torch_pruning.pruner.MagnitudePruner(
        model,
        IMAGES[:1],
        importance=torch_pruning.importance.MagnitudeImportance(p=2, group_reduction="first"),
        pruning_ratio=ratio,
        ignored_layers=others,
        root_module_types=[nn.Conv2d],
    ).step()
    return model


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_outputs_and_operations_are_those_of_torch_pruning(ratio):
    ours, theirs = prune_filters(network(), ratio, example=IMAGES), torch_pruned(network(), ratio)
    assert [block.conv1.out_channels for block in ours.blocks] == [block.conv1.out_channels for block in theirs.blocks]
    assert count_flops(ours, IMAGES) == count_flops(theirs, IMAGES)
    torch.testing.assert_close(ours(IMAGES), theirs(IMAGES), rtol=0, atol=1e-5)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.9])
def test_operations_are_twice_what_fvcore_counts_for_convolutions_and_linear_layers(ratio, monkeypatch):
    from fvcore.nn import FlopCountAnalysis

    model = prune_filters(network(), ratio, example=IMAGES)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # fvcore traces, and then sizes are no numbers
    counted = FlopCountAnalysis(model, IMAGES).unsupported_ops_warnings(False).by_operator()
    assert count_flops(model, IMAGES) == 2 * (counted["conv"] + counted["linear"])
