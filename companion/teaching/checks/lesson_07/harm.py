"""Exercise 07.5: streams on which a reset does harm, and a drift rate that resets where nothing has changed.

>>> trial = try_drift(0.01, torch.Generator().manual_seed(0), still=60, moved=10)
>>> trial.at_change < trial.inside
True
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from companion.foundations.validation import Number, require
from companion.methods.soft_reset import SoftReset, StackedMLP
from companion.teaching.checks.answers import NotYet, describe, expect, read_number, read_parts
from companion.teaching.checks.framework import exercise
from companion.teaching.lessons.plasticity import StreamName, batches, follow, run

STREAMS: dict[str, tuple[StreamName, float, int]] = {  # by name: the lesson's stream, a learning rate, tasks
    "labels": ("labels", 1.2, 8),
    "pixels": ("permuted", 1.2, 5),
    "slow pixels": ("permuted", 0.1, 5),
    "turns": ("returning", 0.4, 5),
    "still": ("still", 0.4, 5),
}
HURTS = {"slow pixels", "turns", "still"}
KEPT = {
    "slow pixels": "with a learning rate of 0.1 nothing has broken, and what a network knows of digits is of use under new pixels",
    "turns": "what was learned two tasks ago is needed again",
    "still": "what was learned is needed on and on",
}
BROKEN = {
    "labels": "nothing that was learned is of use again, and at a learning rate of 1.2 the network has become unable to learn",
    "pixels": "at a learning rate of 1.2 the network has become unable to learn, which costs more than what is lost",
}
RUNS, POINTS, ROWS, STILL, MOVED = 8, 32, 8, 100, 40
INSIDE, CALM, FOUND = 0.98, 0.996, 0.9


def reset_gain(name: str, seed: int, tasks: int | None = None) -> tuple[float, float]:
    """Mean accuracy before learning on a stream of the exercise: without resets, and with one at each change.

    Args:
        name: "labels", "pixels", "slow pixels", "turns" or "still".
        seed: of the stream and the network.
        tasks: that follow each other; None: as many as `STREAMS` says.

    Raises:
        ValueError: another name.
    """
    require(name in STREAMS, "name", repr(name), "one of " + ", ".join(map(repr, STREAMS)))
    stream, lr, count = STREAMS[name]
    kinds = ("online SGD", "hard reset")
    return tuple(
        run(kind, [{"lr": lr}], stream, (seed,), tasks=tasks or count).accuracy.mean().item() for kind in kinds
    )


@dataclass(frozen=True)
class Trial:
    """Soft reset on points that are learned by heart, until they get new labels.

    Attributes:
        accuracy: of each batch, before it was learned, mean over eight streams (batches,).
        gamma: mean over layers and streams (batches,).
        change: the first batch with new labels.
    """

    accuracy: Float[Tensor, " batches"]
    gamma: Float[Tensor, " batches"]
    change: int

    @property
    def inside(self) -> float:
        """The mean gamma while nothing changes."""
        return self.gamma[: self.change].mean().item()

    @property
    def at_change(self) -> float:
        """gamma at the first batch with new labels."""
        return self.gamma[self.change].item()


def try_drift(drift_lr: Number, generator: torch.Generator, still: int = STILL, moved: int = MOVED) -> Trial:
    """Eight streams: 32 points with random labels of four classes, in batches of 8; later the same points with new labels.

    Args:
        drift_lr: of soft reset, with a gamma for each of three layers and a learning rate of 0.5.
        generator: draws points, labels and networks.
        still: batches with the first labels.
        moved: batches with the new ones.
    """
    points = torch.randn(RUNS, POINTS, 8, generator=generator)
    labels = torch.randint(4, (2, RUNS, POINTS), generator=generator)
    passes = -(-(still + moved) * ROWS // POINTS)
    order = torch.cat([torch.randperm(POINTS, generator=generator) for _ in range(passes)])[: (still + moved) * ROWS]
    seen = torch.cat([labels[0][:, order[: still * ROWS]], labels[1][:, order[still * ROWS :]]], 1)
    trainer = SoftReset(
        StackedMLP(RUNS, 8, 4, width=32, generator=generator), 0.5, float(drift_lr), runs=RUNS, samples=0
    )
    *_, trace = follow(trainer, batches(points[:, order], seen, ROWS), still + moved)
    return Trial(trace.accuracy.mean(1), torch.stack(list(trace.gamma.values())).mean((0, 2)), still)


class Harm:
    """The student's streams and drift rates; each rate runs once."""

    def __init__(self, hurts: set[str], jumpy: float, careful: float) -> None:
        self.hurts, self.rates, self._trials = hurts, {"jumpy": jumpy, "careful": careful}, {}

    def measured(self, name: str) -> Trial:
        if name not in self._trials:
            self._trials[name] = try_drift(self.rates[name], torch.Generator().manual_seed(70_005))
        return self._trials[name]


@exercise(
    "07.5",
    "Break it: a reset too many",
    difficulty=2,
    minutes=15,
    equation="the drift rate, and hard resets",
    takeaway="A reset throws away what was learned together with what was broken. It pays where the second weighs more, which depends on the learning rate as much as on the stream; and a drift rate that is too high takes the noise of small batches for a change.",
)
def harm(answer: object) -> Harm:
    parts = read_parts(answer, ("hurts", "jumpy", "careful"))
    return Harm(_read_names(parts["hurts"]), *(read_number(parts[name], name) for name in ("jumpy", "careful")))


def _read_names(value: object) -> set[str]:
    names = [value] if isinstance(value, str) else value
    known = isinstance(names, set | frozenset | list | tuple) and all(isinstance(name, str) for name in names)
    found = {" ".join(name.lower().split()) for name in names} if known else set()
    if not known or not found <= set(STREAMS):
        choices = ", ".join(repr(name) for name in STREAMS)
        shown = describe(value) if not known else ", ".join(repr(name) for name in sorted(found - set(STREAMS)))
        raise NotYet(f"Expected hurts to be a set of names out of {choices}; got {shown}.", "type")
    return found


@harm.requires(
    "what a reset loses",
    "On one more of these streams a reset does harm. Ask of each what a network that is not reset still has, and can use, when "
    "the next task begins.",
)
def _(harm: Harm, generator: torch.Generator) -> None:
    for name in sorted(HURTS, reverse=True):
        expect(name in harm.hurts, f"'{name}' is missing: {KEPT[name]}")


@harm.requires(
    "what a reset mends",
    "On one of these streams a reset helps. Where a network has stopped learning, there is little to lose.",
)
def _(harm: Harm, generator: torch.Generator) -> None:
    for name in sorted(BROKEN):
        expect(name not in harm.hurts, f"you name '{name}': {BROKEN[name]}")


@harm.requires("in range", "Choose drift rates above 0, up to 10.")
def _(harm: Harm, generator: torch.Generator) -> None:
    for name, rate in harm.rates.items():
        expect(0 < rate <= 10, f"{name} is {rate:g}")


@harm.requires(
    "jumpy",
    "The jumpy rate must reset while nothing changes. The gradient of a batch of 8 is noisy, and half of the time it points back to "
    "the start by chance. How far gamma then goes is drift_lr times that.",
)
def _(harm: Harm, generator: torch.Generator) -> None:
    inside = harm.measured("jumpy").inside
    expect(inside < INSIDE, f"with {harm.rates['jumpy']:g} the mean gamma before the change is {inside:.4f}")


@harm.requires(
    "it finds the change",
    "The careful rate must not be deaf: at the first batch with new labels gamma should fall to 0.9 or less, in the mean over the "
    "layers. A step that is too small does not get there.",
)
def _(harm: Harm, generator: torch.Generator) -> None:
    at_change = harm.measured("careful").at_change
    expect(at_change <= FOUND, f"with {harm.rates['careful']:g} gamma at the change is {at_change:.3f}")


@harm.requires(
    "and nothing else",
    "The careful rate finds the change, and others that are none: before it the mean gamma should be at least 0.996. A smaller "
    "step lets less through of what is noise.",
)
def _(harm: Harm, generator: torch.Generator) -> None:
    inside = harm.measured("careful").inside
    expect(inside >= CALM, f"with {harm.rates['careful']:g} the mean gamma before the change is {inside:.4f}")
