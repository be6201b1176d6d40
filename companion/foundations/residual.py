"""A residual network whose blocks are wide inside: what filter pruning is for.

>>> import torch
>>> model = ExpandedResidualNet(num_classes=5)
>>> model(torch.zeros(2, 1, 16, 16)).shape, model.head.in_features
(torch.Size([2, 5]), 32)
"""

from torch import nn

from companion.foundations.networks import ResidualBlock, ResidualNet
from companion.foundations.validation import require_count


class ExpandedResidualNet(ResidualNet):
    """`ResidualNet` with `expansion` times as many hidden channels in each block as it puts out, behind a stem that halves the
    picture's sides."""

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        width: int = 16,
        stages: int = 2,
        blocks: int = 2,
        expansion: int = 4,
    ) -> None:
        require_count("expansion", expansion, 1)
        super().__init__(in_channels, num_classes, width, stages, blocks)
        self.stem.append(nn.MaxPool2d(2))
        for place, block in enumerate(self.blocks):
            channels, outputs, stride = block.conv1.in_channels, block.conv2.out_channels, block.conv1.stride[0]
            self.blocks[place] = ResidualBlock(channels, outputs, expansion * outputs, stride)
