"""Networks to prune, each with what there is to prune in it, told by hand."""

from collections.abc import Callable, Iterable

import torch
from agree import seeded
from torch import nn

from companion.foundations.networks import ResidualNet
from companion.foundations.residual import ExpandedResidualNet


class Bottleneck(nn.Module):
    """Three convolutions inside each block, activations in place."""

    def __init__(self, width: int = 6, hidden: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, width, 3, padding=1)
        self.conv1, self.norm1 = nn.Conv2d(width, hidden, 1), nn.BatchNorm2d(hidden)
        self.conv2, self.norm2 = nn.Conv2d(hidden, hidden, 3, padding=1), nn.BatchNorm2d(hidden)
        self.conv3, self.norm3 = nn.Conv2d(hidden, width, 1), nn.BatchNorm2d(width)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(width, classes)

    def forward(self, x):
        x = self.relu(self.stem(x))
        inner = self.relu(self.norm1(self.conv1(x)))
        inner = self.norm3(self.conv3(self.relu(self.norm2(self.conv2(inner)))))
        inner += x
        return self.head(self.relu(inner).mean((2, 3)))


class Mobile(nn.Module):
    """An inverted bottleneck: the middle convolution is depthwise."""

    def __init__(self, width: int = 4, hidden: int = 10, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU6())
        self.block = nn.Sequential(
            nn.Conv2d(width, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(width, classes))

    def forward(self, x):
        x = self.stem(x)
        return self.head(x + self.block(x))


class PreActivation(nn.Module):
    """The norm and the activation come before each convolution."""

    def __init__(self, width: int = 4, hidden: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, width, 3, padding=1)
        self.norm1, self.conv1 = nn.BatchNorm2d(width), nn.Conv2d(width, hidden, 3, padding=1)
        self.norm2, self.conv2 = nn.BatchNorm2d(hidden), nn.Conv2d(hidden, width, 3, padding=1)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.stem(x)
        inner = self.conv1(self.norm1(x).relu())
        x = x + self.conv2(torch.nn.functional.relu(self.norm2(inner)))
        return self.head(x.mean((2, 3)))


def plain() -> nn.Module:
    """No shortcut at all: every convolution but the first and the last."""
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1, padding_mode="circular"),
        nn.BatchNorm2d(8),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 10, 3, padding=1, padding_mode="circular", bias=False),
        nn.ReLU(inplace=True),
        nn.Dropout2d(0.1),
        nn.Conv2d(10, 5, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    )


# each: how it is made, and its prunable convolutions with the norms (and depthwise convolutions) behind and the reader
NETS: dict[str, tuple[Callable[[], nn.Module], dict[str, tuple[list[str], str]]]] = {
    "ours": (
        lambda: ExpandedResidualNet(2, 3, width=4, stages=2, blocks=1, expansion=2),
        {f"blocks.{place}.conv1": ([f"blocks.{place}.norm1"], f"blocks.{place}.conv2") for place in range(2)},
    ),
    "narrow": (
        lambda: ResidualNet(2, 3, width=4, stages=2, blocks=2),
        {f"blocks.{place}.conv1": ([f"blocks.{place}.norm1"], f"blocks.{place}.conv2") for place in range(4)},
    ),
    "bottleneck": (Bottleneck, {"conv1": (["norm1"], "conv2"), "conv2": (["norm2"], "conv3")}),
    "mobile": (Mobile, {"block.0": (["block.1", "block.3", "block.4"], "block.6")}),
    "pre-activation": (PreActivation, {"conv1": (["norm2"], "conv2")}),
    "plain": (plain, {"2": (["3"], "6"), "6": ([], "9")}),
}


def lively(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in double precision and evaluation mode, with no two filters and no two channels' norms the same."""
    generator = seeded(seed)
    model = model.double().eval()
    with torch.no_grad():
        for each in model.parameters():
            each.normal_(0, 0.4, generator=generator)
        for each in model.modules():
            if isinstance(each, nn.BatchNorm2d) and each.running_mean is not None:
                each.running_mean.normal_(0, 0.5, generator=generator)
                each.running_var.uniform_(0.5, 2, generator=generator)
                each.num_batches_tracked.fill_(7)
    return model


def net(name: str, seed: int = 0) -> nn.Module:
    return lively(NETS[name][0](), seed)


def some_pictures(n: int = 5, side: int = 8, seed: int = 1, channels: int = 2) -> torch.Tensor:
    return torch.randn(n, channels, side, side, generator=seeded(seed), dtype=torch.float64)


def strongest(strengths: torch.Tensor, ratio: float) -> list[int]:
    """Places of the `int(h * (1 - ratio))` largest, rising."""
    order = sorted(range(len(strengths)), key=lambda place: -strengths[place].item())
    return sorted(order[: int(len(strengths) * (1 - ratio))])


def silence(model: nn.Module, reader: str, rows: Iterable[int]) -> None:
    """Let a layer hear nothing of some of its inputs."""
    with torch.no_grad():
        model.get_submodule(reader).weight[:, list(rows)] = 0


def others(kept: list[int], count: int) -> list[int]:
    return [place for place in range(count) if place not in kept]
