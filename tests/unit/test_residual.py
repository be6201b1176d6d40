"""The wide residual network: its shapes, that it is a residual network of ours, and that every weight matters."""

import pytest
import torch
from agree import normal
from torch import nn

from companion.foundations.networks import ResidualBlock, ResidualNet
from companion.foundations.residual import ExpandedResidualNet
from companion.methods.pruning import count_flops, prunable_filters


@pytest.mark.parametrize(
    ("in_channels", "classes", "width", "stages", "blocks", "expansion"),
    [(1, 10, 16, 2, 2, 4), (3, 2, 4, 3, 1, 1), (2, 5, 6, 1, 3, 2)],
)
def test_blocks_are_wide_inside_by_the_expansion(in_channels, classes, width, stages, blocks, expansion):
    model = ExpandedResidualNet(in_channels, classes, width, stages, blocks, expansion)
    outputs = [width * 2**stage for stage in range(stages) for _ in range(blocks)]
    inputs = [width, *outputs[:-1]]
    strides = [2 if stage > 0 and block == 0 else 1 for stage in range(stages) for block in range(blocks)]
    assert len(model.blocks) == len(outputs)
    for block, before, after, stride in zip(model.blocks, inputs, outputs, strides, strict=True):
        assert isinstance(block, ResidualBlock)
        assert block.conv1.weight.shape == (expansion * after, before, 3, 3)
        assert block.norm1.num_features == expansion * after
        assert block.conv2.weight.shape == (after, expansion * after, 3, 3)
        assert block.conv1.stride == (stride, stride)
        assert isinstance(block.shortcut, nn.Identity) == (before == after)
    images = torch.zeros(3, in_channels, 16, 12)
    assert model(images).shape == (3, classes)
    assert model.features(images).shape == (3, outputs[-1])
    assert prunable_filters(model, images) == {
        f"blocks.{place}.conv1": expansion * after for place, after in enumerate(outputs)
    }


def test_the_stem_halves_the_sides():
    model = ExpandedResidualNet(width=4, stages=1)
    assert model.stem(torch.zeros(2, 1, 16, 10)).shape == (2, 4, 8, 5)
    assert model.features(torch.zeros(2, 1, 2, 2)).shape == (2, 4)


def test_the_parts_are_put_together_as_they_are_named():
    torch.manual_seed(0)
    model, images = ExpandedResidualNet(1, 3, width=4, stages=2, blocks=1).double().eval(), normal(2, 1, 8, 8)
    h = model.stem(images)
    for block in model.blocks:
        inner = block.norm1(block.conv1(h)).relu()
        h = (block.norm2(block.conv2(inner)) + block.shortcut(h)).relu()
    torch.testing.assert_close(model(images), model.head(h.mean((2, 3))), rtol=0, atol=0)


def test_it_is_a_residual_network_of_ours():
    assert isinstance(ExpandedResidualNet(), ResidualNet)
    one = ExpandedResidualNet(1, 10, 8, 2, 1, expansion=1).state_dict()
    other = ResidualNet(1, 10, 8, 2, 1).state_dict()
    assert {name: value.shape for name, value in one.items()} == {name: value.shape for name, value in other.items()}


def test_every_weight_matters():
    torch.manual_seed(0)
    model = ExpandedResidualNet(1, 4, width=4)
    model(normal(5, 1, 16, 16, dtype=torch.float32)).square().sum().backward()
    assert all(each.grad is not None and (each.grad != 0).any() for each in model.parameters())


def test_hidden_channels_are_most_of_the_operations():
    """What is outside of the blocks is the stem and the head."""
    model, image = ExpandedResidualNet(width=8, stages=1, blocks=2, expansion=4), torch.zeros(1, 1, 16, 16)
    stem, head, block = 2 * 9 * 8 * 256, 2 * 8 * 10, 2 * (2 * 9 * 8 * 32 * 64)
    assert count_flops(model, image) == stem + head + 2 * block
