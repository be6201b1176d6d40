"""Exercise 05.4: proximal strengths that break training, serve it, and stop it.

>>> trial = try_strength(1.0, 16, torch.Generator().manual_seed(0), steps=20)
>>> len(trial.losses), trial.final < trial.constant
(20, True)
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from companion.data.regression import SineWaves
from companion.foundations.networks import MLP
from companion.foundations.validation import Number
from companion.methods.last_layer import squared_loss, train_closed_form
from companion.teaching.checks.answers import expect, read_number, read_parts
from companion.teaching.checks.framework import exercise

ROWS, FRESH, FEATURES, STEPS, STATES = 1000, 500, 48, 250, 20
SMALL, LARGE = 16, 256
NAMES = ("weak", "good", "strong")
BROKEN, LEARNED, SLOW, FINE = 0.5, 0.015, 0.1, 0.005


@dataclass(frozen=True)
class Trial:
    """What training with one strength comes to.

    Attributes:
        losses: on fresh rows, at `STATES` moments of training; infinite from where a solve failed.
        constant: the loss of the best constant, to compare with.
    """

    losses: list[float]
    constant: float

    @property
    def final(self) -> float:
        """The mean of the last quarter, as single batches shake the last value."""
        last = self.losses[-max(1, len(self.losses) // 4) :]
        return sum(last) / len(last)


def try_strength(strength: Number, batch_size: int, generator: torch.Generator, steps: int = STEPS) -> Trial:
    """Algorithm 1 on sums of sines: plain gradient steps of rate 1 on a small backbone of 48 features and a bias.

    Args:
        strength: of the proximal step.
        batch_size: rows of a batch, of 1,000.
        generator: draws data and batches, on its device; the backbone's start is the same in each call.
        steps: of training.
    """
    device, law = generator.device, SineWaves()
    data, (x, y) = law.sample(ROWS, generator), law.sample(FRESH, generator)
    constant = squared_loss(torch.ones_like(y[:, :1]), y.mean(0, keepdim=True), y).item()
    settings = {"learning_rate": 1.0, "optimizer": torch.optim.SGD, "every": max(1, steps // STATES)}
    backbone, losses = _backbone().to(device), []
    training = train_closed_form(
        backbone, data, steps, "proximal", batch_size=batch_size, strength=strength, generator=generator, **settings
    )
    try:
        for state in training:
            loss = 0.5 * (state.predict(x) - y).square().sum(1).mean().item()
            losses.append(loss if math.isfinite(loss) else math.inf)
    except torch.linalg.LinAlgError:  # numbers too large, or features all alike
        losses += [math.inf] * (STATES - len(losses))
    return Trial(losses, constant)


def _backbone() -> nn.Module:
    """Always the same weights; torch's own random stream is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(MLP(2, FEATURES, width=64, depth=2), nn.Tanh())


class Strengths:
    """The student's three strengths; each training runs once."""

    def __init__(self, **numbers: float) -> None:
        self.numbers, self._trials = numbers, {}

    def final(self, name: str, batch_size: int) -> float:
        if (name, batch_size) not in self._trials:
            generator = torch.Generator().manual_seed(50_004)
            self._trials[name, batch_size] = try_strength(self.numbers[name], batch_size, generator)
        return self._trials[name, batch_size].final


@exercise(
    "05.4",
    "Break it: too weak for the batch",
    difficulty=2,
    minutes=15,
    equation="Algorithm 1",
    takeaway="A strength that is fine for a batch wider than the features ruins one that is narrower. And too strong only wastes time: it fails slowly, and never breaks.",
)
def strengths(answer: object) -> Strengths:
    parts = read_parts(answer, NAMES)
    return Strengths(**{name: read_number(parts[name], name) for name in NAMES})


@strengths.requires(
    "in range",
    "Choose strengths from 1e-8 to 10000, the weak one below the good one and that below the strong one.",
)
def _(strengths: Strengths, generator: torch.Generator) -> None:
    weak, good, strong = (strengths.numbers[name] for name in NAMES)
    expect(1e-8 <= weak < good < strong <= 1e4, f"yours are {weak:g}, {good:g} and {strong:g}")


@strengths.requires(
    "the good one learns",
    "With batches of 16 the good one must learn, and yours does not. Too weak, W follows each batch; too strong, it hardly "
    "moves in 250 steps. Eigenvalues of the features are the scale to think in.",
)
def _(strengths: Strengths, generator: torch.Generator) -> None:
    final = strengths.final("good", SMALL)
    expect(final <= LEARNED, f"its loss on fresh rows is {final:.3g} at the end, expected at most {LEARNED}")


@strengths.requires(
    "the weak one breaks",
    "With batches of 16 your weak strength still learns something. Go further down: a W that fits 16 rows with 49 features "
    "is large and fits no others, and the next step of the backbone is taken with it.",
)
def _(strengths: Strengths, generator: torch.Generator) -> None:
    final = strengths.final("weak", SMALL)
    expect(final >= BROKEN, f"its loss on fresh rows is {final:.3g} at the end, expected at least {BROKEN}")


@strengths.requires(
    "not for rounding",
    "With batches of 256 your weak strength should learn well, and does not: it is so weak that the solve fails in float32. "
    "What should break training here is the small batch alone.",
)
def _(strengths: Strengths, generator: torch.Generator) -> None:
    final = strengths.final("weak", LARGE)
    expect(final <= FINE, f"its loss on fresh rows is {final:.3g} at the end, expected at most {FINE}")


@strengths.requires(
    "the strong one waits",
    "Your strong strength gets there in 250 steps. It is a learning rate of 1/strength for W: make that so small that 250 "
    "steps are not enough.",
)
def _(strengths: Strengths, generator: torch.Generator) -> None:
    final = strengths.final("strong", SMALL)
    expect(final >= SLOW, f"its loss on fresh rows is {final:.3g} at the end, expected at least {SLOW}")
