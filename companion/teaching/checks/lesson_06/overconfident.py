"""Exercise 06.5: a filter that believes too much, by either of its two variances, and one that knows how wrong it is.

>>> trial = try_filter(1.0, 0.09, torch.Generator().manual_seed(0), rows=150)
>>> trial.error > trial.believed
True
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from companion.foundations.validation import Number
from companion.methods.kalman import KalmanHead
from companion.teaching.checks.answers import DOUBLE, NotYet, describe, expect, read_number, read_parts
from companion.teaching.checks.framework import exercise

ROWS, STREAMS, STD = 300, 8, 0.3
NOISE, GAMMA = STD**2, 0.9995
NAMES = ("stubborn", "gullible", "honest")
TOO_SURE, WITHIN, USEFUL = 10, 1.5, 0.04


@dataclass(frozen=True)
class Tracking:
    """A filter on a curve that moves.

    Attributes:
        truth: the first stream's curve at x = 0, when each row comes (rows,).
        mean, std: what the filter believes of it, just before it sees the row (rows,).
        error: mean squared error of its predictions at the rows, without the first third of them, over all streams.
        believed: the mean variance that it gave these predictions.
    """

    truth: Float[Tensor, " rows"]
    mean: Float[Tensor, " rows"]
    std: Float[Tensor, " rows"]
    error: float
    believed: float

    @property
    def ratio(self) -> float:
        """How many times as large the error is as the filter believes."""
        return self.error / self.believed


@torch.no_grad()
def try_filter(gamma: Number, noise_variance: Number, generator: torch.Generator, rows: int = ROWS) -> Tracking:
    """Follow sin(2 pi (x + start + 3/4 t)), t from 0 to 1, from noisy rows at random x, by a constant and two waves.

    Eight streams with the same x, and with starts and noise of their own, are the outputs of one `KalmanHead`.

    Args:
        gamma: of the filter.
        noise_variance: of the filter; that of the rows is 0.09.
        generator: draws the streams.
        rows: of each stream.
    """
    like = {"generator": generator, "dtype": DOUBLE}
    x, start = 2 * math.pi * torch.rand(rows, 1, **like), torch.rand(STREAMS, **like)
    phase = 2 * math.pi * (start + 0.75 * torch.linspace(0, 1, rows, dtype=DOUBLE)[:, None])
    truth = (x + phase).sin()
    targets = truth + STD * torch.randn(rows, STREAMS, **like)
    features, zero = _waves(x), _waves(torch.zeros(1, 1, dtype=DOUBLE))
    head = KalmanHead(3, STREAMS, noise_variance=noise_variance, gamma=gamma)
    means, variances = [], []
    for row, target in zip(features[:, None], targets[:, None]):
        for values, value in zip((means, variances), head.predict(torch.cat([row, zero]))):
            values.append(value)
        head.update(row, target)
    mean, variance, late = torch.stack(means), torch.stack(variances), slice(rows // 3, None)
    error = (mean[:, 0] - truth)[late].square().mean().item()
    believed = variance[late, 0].mean().item()
    return Tracking(phase[:, 0].sin(), mean[:, 1, 0], variance[:, 1].sqrt(), error, believed)


def _waves(x: Float[Tensor, "n 1"]) -> Float[Tensor, "n 3"]:
    return torch.cat([torch.ones_like(x), x.sin(), x.cos()], dim=1)


class Choice:
    """The student's settings, each a gamma and a noise variance; each filter runs once."""

    def __init__(self, **settings: tuple[float, float]) -> None:
        self.settings, self._trials = settings, {}

    def measured(self, name: str) -> tuple[float, float]:
        """How many times too large the error is, and the error: over fresh streams of two seeds."""
        if name not in self._trials:
            generators = (torch.Generator().manual_seed(60_005 + seed) for seed in range(2))
            self._trials[name] = [try_filter(*self.settings[name], generator) for generator in generators]
        trials = self._trials[name]
        error = sum(trial.error for trial in trials)
        return error / sum(trial.believed for trial in trials), error / len(trials)


@exercise(
    "06.5",
    "Break it: too sure",
    difficulty=2,
    minutes=15,
    equation="the two variances of the model",
    takeaway="A filter never looks at its errors to say how sure it is: its variance follows from gamma, the noise variance and the features alone. It is right only if those two are.",
)
def choice(answer: object) -> Choice:
    parts = read_parts(answer, NAMES)
    honest = parts["honest"]
    honest = honest.flatten().tolist() if isinstance(honest, Tensor) else honest
    if not isinstance(honest, list | tuple) or len(honest) != 2:
        raise NotYet(f"Expected honest to be a gamma and a noise variance; got {describe(honest)}.", "type")
    return Choice(
        stubborn=(read_number(parts["stubborn"], "stubborn"), NOISE),
        gullible=(GAMMA, read_number(parts["gullible"], "gullible")),
        honest=(read_number(honest[0], "the gamma of honest"), read_number(honest[1], "the noise variance of honest")),
    )


def _expect_too_sure(choice: Choice, name: str) -> None:
    ratio, _ = choice.measured(name)
    expect(ratio >= TOO_SURE, f"its error is {ratio:.3g} times what it believes, expected at least {TOO_SURE}")


@choice.requires("in range", "Choose each gamma from 0 to 1, and each noise variance from 0.00001 to 10.")
def _(choice: Choice, generator: torch.Generator) -> None:
    for name, (gamma, noise) in choice.settings.items():
        expect(0 <= gamma <= 1, f"the gamma of {name} is {gamma:g}")
        expect(1e-5 <= noise <= 10, f"the noise variance of {name} is {noise:g}")


@choice.requires(
    "stubborn",
    "The stubborn filter must be sure of a curve that has long moved on. It believes in a world that stands still, so every "
    "row, however old, makes it surer. A smaller gamma does the reverse: it doubts more than it need.",
)
def _(choice: Choice, generator: torch.Generator) -> None:
    _expect_too_sure(choice, "stubborn")


@choice.requires(
    "gullible",
    "The gullible filter must take noise for news. Believing that rows are nearly exact, it runs after each of them, and is sure "
    "of where it arrives. A larger noise variance makes it doubt the rows, and itself.",
)
def _(choice: Choice, generator: torch.Generator) -> None:
    _expect_too_sure(choice, "gullible")


@choice.requires(
    "error as believed",
    "The honest filter must be about as wrong as it thinks. The rows have a noise variance of 0.09, so begin there, and move "
    "gamma: up if it doubts too much, down if it is too sure.",
)
def _(choice: Choice, generator: torch.Generator) -> None:
    ratio, _ = choice.measured("honest")
    words = f"its error is {ratio:.3g} times what it believes, expected {1 / WITHIN:.2g} to {WITHIN}"
    expect(1 / WITHIN <= ratio <= WITHIN, words)


@choice.requires(
    "and of use",
    "It knows how wrong it is, and it is rather wrong: two mistakes hold the balance, a belief that rows are nearly exact and "
    "a gamma that throws them away at once. Being calibrated is not being good; ask for both.",
)
def _(choice: Choice, generator: torch.Generator) -> None:
    _, error = choice.measured("honest")
    expect(error <= USEFUL, f"its squared error is {error:.3g}, expected at most {USEFUL}")
