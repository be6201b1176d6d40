"""Regression problems whose answer is known: sums of sines, and a cause that a hidden one disturbs.

>>> generator = torch.Generator().manual_seed(0)
>>> inputs, targets = SineWaves().sample(5, generator)
>>> inputs.shape, targets.shape
(torch.Size([5, 2]), torch.Size([5, 5]))
>>> confounded = Confounded().sample(5, generator)
>>> confounded.instrument.shape, confounded.treatment.shape, confounded.outcome.shape
(torch.Size([5, 2]), torch.Size([5, 1]), torch.Size([5, 1]))
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from companion.foundations.validation import Number, require, require_count, require_floating, require_in


@dataclass(frozen=True)
class SineWaves:
    """Targets that are sums of sines of the inputs, with Gaussian noise; `seed` draws the function.

    Output j is `sum_i A_ij sin(omega_i x + b_i)` with omega ~ N(0, frequency^2 I), b uniform over a period and A ~ N(0, 1/waves).
    Inputs are uniform on [-1, 1]^inputs.

    Attributes:
        inputs, outputs, waves: how many of each.
        frequency: standard deviation of the components of omega.
        noise: standard deviation of what is added to each target.
        seed: of the function.
    """

    inputs: int = 2
    outputs: int = 5
    waves: int = 6
    frequency: Number = 2.0
    noise: Number = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("inputs", "outputs", "waves"):
            require_count(name, getattr(self, name), 1)
        require_count("seed", self.seed, 0)
        for name in ("frequency", "noise"):
            require_in(name, getattr(self, name), "[0, inf)")

    @cached_property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(int(self.seed))
        frequencies = self.frequency * torch.randn(self.inputs, self.waves, generator=generator)
        phases = 2 * math.pi * torch.rand(self.waves, generator=generator)
        return frequencies, phases, torch.randn(self.waves, self.outputs, generator=generator) / self.waves**0.5

    def __call__(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
        """The targets without noise."""
        require_floating("x", x)
        fits = x.ndim == 2 and x.shape[1] == self.inputs
        require(fits, "x", f"of shape {tuple(x.shape)}", f"of shape (n, {self.inputs})")
        frequencies, phases, amplitudes = (part.to(x) for part in self._parts)
        return torch.sin(x @ frequencies + phases) @ amplitudes

    def sample(
        self, n: int, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n inputs"], Float[Tensor, "n outputs"]]:
        """Inputs and noisy targets, on the generator's device."""
        require_count("n", n, 1)
        device = "cpu" if generator is None else generator.device
        x = 2 * torch.rand(n, self.inputs, generator=generator, device=device) - 1
        return x, self(x) + self.noise * torch.randn(n, self.outputs, generator=generator, device=device)


class Rows(NamedTuple):
    """instrument (n, 2), treatment (n, 1), outcome (n, 1)."""

    instrument: Float[Tensor, "n 2"]
    treatment: Float[Tensor, "n 1"]
    outcome: Float[Tensor, "n 1"]


@dataclass(frozen=True)
class Confounded:
    """A treatment x and an outcome y that share a hidden cause e, and an instrument z that moves x alone.

        z ~ U[-3, 3]^2,  e ~ N(0, 1),  x = z_1 + e + noise,  y = sin(x) + confounding e + noise

    The mean of y given x is not sin(x), since a large x comes with a large e. The second instrument moves nothing.

    After the design `sin` in the code of Xu et al., "Learning Deep Features in Instrumental Variable Regression", ICLR 2021
    (arXiv 2010.07154).

    Attributes:
        confounding: what e adds to the outcome; 0 makes regression right.
        noise: standard deviation of the noise of x and of y.
    """

    confounding: Number = 1.0
    noise: Number = 0.1

    def __post_init__(self) -> None:
        require_in("confounding", self.confounding, "(-inf, inf)")
        require_in("noise", self.noise, "[0, inf)")

    def structural(self, treatment: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """What the outcome would be on average if the treatment were set to these values."""
        require_floating("treatment", treatment)
        return torch.sin(treatment)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Rows:
        """Independent rows, on the generator's device."""
        require_count("n", n, 1)
        device = "cpu" if generator is None else generator.device
        z = 6 * torch.rand(n, 2, generator=generator, device=device) - 3
        hidden, of_x, of_y = torch.randn(3, n, 1, generator=generator, device=device)
        x = z[:, :1] + hidden + self.noise * of_x
        return Rows(z, x, self.structural(x) + self.confounding * hidden + self.noise * of_y)
