"""Exercise 04.3: no single bandwidth serves a near start and a far one.

>>> trial = try_flow(0.0, 0.5, torch.Generator().manual_seed(0), points=60, steps=20)
>>> trial.start.shape, trial.end.shape, trial.after < trial.before
(torch.Size([60, 2]), torch.Size([60, 2]), True)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from companion.data.toy import eight_gaussians
from companion.foundations.distances import Kernel, energy_distance
from companion.foundations.validation import Number
from companion.methods.mmd_flow import annealed, mmd_flow, scaled_rbf
from companion.teaching.checks.answers import expect, read_number, read_parts
from companion.teaching.checks.framework import exercise

POINTS, STEPS = 200, 100
NAMES = ("near", "far", "narrow", "wide")
ARRIVED, BLURRED, THERE, STALLED = 0.005, 0.02, 0.1, 0.75


@dataclass(frozen=True)
class Trial:
    """What a kernel flow does from one start.

    Attributes:
        before, after: energy distances to the data that the flow is given; the last is a little below 0 when it arrives.
        start, end, data: the clouds (points, 2).
    """

    before: float
    after: float
    start: Float[Tensor, "n 2"]
    end: Float[Tensor, "n 2"]
    data: Float[Tensor, "n 2"]


def try_flow(
    distance: Number,
    bandwidth: Number | tuple[Number, Number],
    generator: torch.Generator,
    points: int = POINTS,
    steps: int = STEPS,
) -> Trial:
    """A flow of particles that start around (distance, 0), with a standard deviation of 0.5, to eight Gaussians.

    Args:
        distance: of the start from the middle of the data.
        bandwidth: of `scaled_rbf`; or a pair, from wide to narrow.
        generator: draws data and start, on its device.
        points: particles, and as many data.
        steps: of length 1.
    """
    data = eight_gaussians().to(generator.device).sample(points, generator)
    noise = torch.randn(points, 2, generator=generator, device=generator.device)
    start = 0.5 * noise + torch.tensor([float(distance), 0.0], device=generator.device)
    kernel: Kernel | tuple[Kernel, ...]
    kernel = annealed(*bandwidth, steps) if isinstance(bandwidth, tuple) else scaled_rbf(bandwidth)
    *_, end = mmd_flow(start, data, kernel, 1.0, steps)
    return Trial(energy_distance(start, data).item(), energy_distance(end, data).item(), start, end, data)


class Starts:
    """The student's two starts and two bandwidths; each flow runs once."""

    def __init__(self, **numbers: float) -> None:
        self.numbers, self._trials = numbers, {}

    def trial(self, start: str, bandwidth: str) -> Trial:
        if (start, bandwidth) not in self._trials:
            numbers = self.numbers[start], self.numbers[bandwidth]
            self._trials[start, bandwidth] = try_flow(*numbers, torch.Generator().manual_seed(40_003))
        return self._trials[start, bandwidth]


@exercise(
    "04.3",
    "Break it: one bandwidth for all starts",
    difficulty=2,
    minutes=15,
    equation="the flow of a fixed kernel",
    takeaway="Each of your bandwidths fails where the other serves. From wide to narrow, one schedule does both, and the noise level of the paper is such a schedule.",
)
def starts(answer: object) -> Starts:
    parts = read_parts(answer, NAMES)
    return Starts(**{name: read_number(parts[name], name) for name in NAMES})


@starts.requires(
    "in range",
    "Choose distances from 0 to 12 and bandwidths from 0.05 to 16, the near start nearer than the far one and the "
    "narrow kernel narrower than the wide one.",
)
def _(starts: Starts, generator: torch.Generator) -> None:
    near, far, narrow, wide = (starts.numbers[name] for name in NAMES)
    expect(0 <= near < far <= 12, f"your starts are at {near:g} and {far:g}")
    expect(0.05 <= narrow < wide <= 16, f"your bandwidths are {narrow:g} and {wide:g}")


@starts.requires(
    "the narrow one arrives",
    "From the near start the narrow kernel must arrive, and yours does not. Either the start is not near enough for "
    "this bandwidth, or the kernel is so narrow that most particles meet no data, or it is too wide for eight "
    "separate Gaussians.",
)
def _(starts: Starts, generator: torch.Generator) -> None:
    after = starts.trial("near", "narrow").after
    expect(after <= ARRIVED, f"its distance is {after:.3f} after {STEPS} steps, expected at most {ARRIVED}")


@starts.requires(
    "the wide one is blurred",
    "From the near start your wide kernel arrives, too. One that is wide enough to be blind to details leaves the eight "
    "Gaussians blurred, and many more steps hardly help.",
)
def _(starts: Starts, generator: torch.Generator) -> None:
    after = starts.trial("near", "wide").after
    expect(after >= BLURRED, f"its distance is {after:.3f} after {STEPS} steps, expected at least {BLURRED}")


@starts.requires(
    "the narrow one stalls",
    "From the far start the narrow kernel gets on its way. Its force fades as r exp(-r^2 / (2 h^2)): go further out, "
    "or narrow it.",
)
def _(starts: Starts, generator: torch.Generator) -> None:
    trial = starts.trial("far", "narrow")
    found = f"its distance goes from {trial.before:.2f} to {trial.after:.2f}"
    expect(trial.after >= STALLED * trial.before, f"{found}, expected to keep {STALLED:.0%} of it")


@starts.requires(
    "the wide one gets there",
    "From the far start your wide kernel does not get there either: for so far a way it is still too narrow.",
)
def _(starts: Starts, generator: torch.Generator) -> None:
    after = starts.trial("far", "wide").after
    expect(after <= THERE, f"its distance is {after:.2f} after {STEPS} steps, expected at most {THERE}")
