"""Small networks, each on one screen: perceptrons for points, a U-Net and a residual classifier for images.

>>> denoiser = TimeMLP(dim=2, noise_dim=2)
>>> x, t, noise = torch.zeros(5, 2), torch.tensor(0.5), torch.zeros(5, 2)
>>> denoiser(x, t, noise).shape
torch.Size([5, 2])
"""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from companion.foundations.diffusion import Time, as_time
from companion.foundations.validation import require, require_count


class MLP(nn.Sequential):
    """Perceptron `inputs -> width (depth times) -> outputs` with SiLU between the layers."""

    def __init__(self, inputs: int, outputs: int, width: int = 64, depth: int = 3) -> None:
        for name, value in {"inputs": inputs, "outputs": outputs, "width": width, "depth": depth}.items():
            require_count(name, value, 1)
        sizes = [inputs] + [width] * depth
        hidden = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.SiLU())]
        super().__init__(*hidden, nn.Linear(width, outputs))


def time_features(t: Float[Tensor, " n"], waves: int = 6) -> Float[Tensor, "n {2*waves+1}"]:
    """`t` itself with sines and cosines of `pi 2^(k/2) t`: smooth enough for small networks."""
    angle = t[:, None] * torch.pi * 2 ** (torch.arange(waves, dtype=t.dtype, device=t.device) / 2)
    return torch.cat([t[:, None], angle.sin(), angle.cos()], dim=1)


def _require_noise(noise: Tensor | None, shape: tuple[int, ...] | None) -> None:
    """Noise must come exactly when the network has an entry for it (`shape` is not None)."""
    came = "None" if noise is None else f"of shape {tuple(noise.shape)}"
    allowed = "None, as this network takes no noise" if shape is None else f"of shape {shape}"
    require((None if noise is None else tuple(noise.shape)) == shape, "noise", came, allowed)


class TimeMLP(nn.Module):
    """Denoiser of points: (x (n, dim), t, noise (n, noise_dim)) -> (n, dim).

    With `noise_dim = 0` it takes no noise and is an ordinary denoiser.
    """

    def __init__(self, dim: int, noise_dim: int = 0, width: int = 64, depth: int = 3, waves: int = 6) -> None:
        super().__init__()
        require_count("noise_dim", noise_dim, 0)
        self.dim, self.noise_dim, self.waves = dim, noise_dim, waves
        self.net = MLP(dim + 2 * waves + 1 + noise_dim, dim, width, depth)

    def forward(
        self, x: Float[Tensor, "n dim"], t: Time, noise: Float[Tensor, "n noise_dim"] | None = None
    ) -> Float[Tensor, "n dim"]:
        require(x.ndim == 2 and x.shape[1] == self.dim, "x", f"of shape {tuple(x.shape)}", f"of shape (n, {self.dim})")
        _require_noise(noise, (len(x), self.noise_dim) if self.noise_dim else None)
        time = time_features(as_time(t, x).reshape(-1), self.waves)
        # The first layer of (x, time, noise), part by part: a time that all rows share is worked out once.
        first, *layers = self.net
        from_x, from_time, from_noise = first.weight.T.split([self.dim, time.shape[1], self.noise_dim])
        hidden = torch.addmm(first.bias + time @ from_time, x, from_x)
        if noise is not None:
            hidden = torch.addmm(hidden, noise, from_noise)
        for layer in layers:
            hidden = layer(hidden)
        return hidden


class ResidualBlock(nn.Module):
    """Two convolutions with a shortcut; the *hidden* channels between them can be pruned without changing the output's size."""

    def __init__(self, channels: int, outputs: int, hidden: int | None = None, stride: int = 1) -> None:
        super().__init__()
        hidden = hidden or outputs
        self.conv1 = nn.Conv2d(channels, hidden, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        same = stride == 1 and channels == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, outputs, 1, stride, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k i j"]:
        inner = self.norm1(self.conv1(x)).relu()
        return (self.norm2(self.conv2(inner)) + self.shortcut(x)).relu()


class ResidualNet(nn.Module):
    """Small residual classifier of images (n, in_channels, h, w) -> logits (n, num_classes).

    `features` gives the representation (n, width * 2**(stages - 1)) before the linear `head`.
    """

    def __init__(
        self, in_channels: int = 1, num_classes: int = 10, width: int = 16, stages: int = 3, blocks: int = 1
    ) -> None:
        super().__init__()
        sizes = {
            "in_channels": in_channels,
            "num_classes": num_classes,
            "width": width,
            "stages": stages,
            "blocks": blocks,
        }
        for name, value in sizes.items():
            require_count(name, value, 1)
        self.in_channels = in_channels
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        widths = [width * 2**stage for stage in range(stages)]
        self.blocks = nn.ModuleList()
        channels = width
        for stage, outputs in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                self.blocks.append(ResidualBlock(channels, outputs, stride=stride))
                channels = outputs
        self.head = nn.Linear(channels, num_classes)

    def features(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p"]:
        _require_images(x, self.in_channels)
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return x.mean((2, 3))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        return self.head(self.features(x))


def _require_images(x: Tensor, channels: int) -> None:
    images = x.ndim == 4 and x.shape[1] == channels
    require(images, "x", f"of shape {tuple(x.shape)}", f"of shape (n, {channels}, height, width)")


class _TimedBlock(nn.Module):
    """Residual block of the U-Net: group norm, SiLU, 3x3 convolution, twice, with the time added between."""

    def __init__(self, channels: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = (
            nn.GroupNorm(math.gcd(8, channels), channels),
            nn.Conv2d(channels, outputs, 3, padding=1),
        )
        self.norm2, self.conv2 = nn.GroupNorm(math.gcd(8, outputs), outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.time = nn.Linear(embedding, 2 * outputs)
        self.shortcut = nn.Identity() if channels == outputs else nn.Conv2d(channels, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.time(embedding)[..., None, None].chunk(2, dim=1)
        inner = self.conv1(nn.functional.silu(self.norm1(x)))
        inner = self.norm2(inner) * (1 + scale) + shift
        return self.shortcut(x) + self.conv2(nn.functional.silu(inner))


class UNet(nn.Module):
    """Denoiser of images: (x (n, channels, h, w), t, noise (n, noise_channels, h, w)) -> (n, channels, h, w).

    Each level halves the picture and doubles the width; height and width must be multiples of
    `2 ** (levels - 1)`. The noise of a distributional denoiser enters as extra channels.
    """

    def __init__(
        self, channels: int = 1, noise_channels: int = 0, width: int = 32, levels: int = 2, waves: int = 8
    ) -> None:
        super().__init__()
        sizes = {"channels": channels, "width": width, "levels": levels}
        for name, value in sizes.items():
            require_count(name, value, 1)
        require_count("noise_channels", noise_channels, 0)
        self.channels, self.noise_channels, self.waves, self.levels = channels, noise_channels, waves, levels
        widths = [width * 2**level for level in range(levels)]
        embedding = 4 * width
        self.embed = MLP(2 * waves + 1, embedding, embedding, depth=1)
        self.stem = nn.Conv2d(channels + noise_channels, width, 3, padding=1)
        sizes_of_levels = list(pairwise([width, *widths]))
        self.down = nn.ModuleList(_TimedBlock(before, after, embedding) for before, after in sizes_of_levels)
        self.middle = _TimedBlock(widths[-1], widths[-1], embedding)
        self.up = nn.ModuleList(_TimedBlock(2 * after, before, embedding) for before, after in sizes_of_levels)
        self.head = nn.Sequential(
            nn.GroupNorm(math.gcd(8, width), width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1)
        )

    def forward(
        self, x: Float[Tensor, "n c h w"], t: Time, noise: Float[Tensor, "n z h w"] | None = None
    ) -> Float[Tensor, "n c h w"]:
        _require_images(x, self.channels)
        _require_noise(noise, (len(x), self.noise_channels, *x.shape[2:]) if self.noise_channels else None)
        multiple = 2 ** (self.levels - 1)
        fits = x.shape[-1] % multiple == 0 and x.shape[-2] % multiple == 0
        require(fits, "x", f"of {x.shape[-2]}x{x.shape[-1]} pixels", f"of a height and width divisible by {multiple}")
        embedding = self.embed(time_features(as_time(t, x).reshape(-1), self.waves))
        x = self.stem(x if noise is None else torch.cat([x, noise], dim=1))
        skips = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.avg_pool2d(x, 2), embedding)
            skips.append(x)
        x = self.middle(x, embedding)
        for level, block in reversed(list(enumerate(self.up))):
            x = block(torch.cat([x, skips[level]], dim=1), embedding)
            if level > 0:
                x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.head(x)
