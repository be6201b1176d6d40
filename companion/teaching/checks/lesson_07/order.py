"""Exercise 07.4: a stream is scored before it is learned, and what a score may have seen.

>>> def blind(model, batches, trainer):
...     return [0.1 for _ in batches]
>>> round(score_on_noise(blind, torch.Generator().manual_seed(0)), 3)
0.1
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from companion.methods.soft_reset import SoftReset, StackedMLP, cross_entropy
from companion.teaching.checks.answers import (
    DOUBLE,
    NotYet,
    StudentFunction,
    describe,
    expect,
    expect_close,
    normal,
    read_function,
    read_number,
    read_parts,
)
from companion.teaching.checks.framework import exercise

SCORES = "stream_scores(model, batches, trainer)"
CLASSES = 10
Batch: TypeAlias = tuple[Tensor, Tensor]
Loop: TypeAlias = Callable[[StackedMLP, Sequence[Batch], "SteppedReset"], Any]


class SteppedReset(SoftReset):
    """Soft reset whose step is taken in three parts, in the order in which you call them, on the cross-entropy."""

    @torch.no_grad()
    def choose(self, batch: Batch) -> None:
        """Choose gamma by a batch; the weights stay."""
        present = self.theta.clone()
        with torch.enable_grad():
            self._gamma = self._best_gamma(cross_entropy, batch, present)
        self.theta.copy_(present)

    def drift(self) -> None:
        """Let the weights drift by the gamma that was chosen last."""
        self._lerp(self.theta.clone(), self._gamma, out=self.theta)

    def descend(self, batch: Batch) -> None:
        """A gradient step on a batch, with the learning rate that goes with gamma."""
        self._descend(cross_entropy, batch)


# Streams and loops


def fresh(
    generator: torch.Generator, inputs: int = 8, classes: int = CLASSES, drift_lr: float = 50.0
) -> tuple[StackedMLP, SteppedReset]:
    """A network at its start and its trainer, with a gamma for each weight."""
    model = StackedMLP(None, inputs, classes, width=32, generator=generator, dtype=DOUBLE)
    return model, SteppedReset(model, 1.0, drift_lr, 0.8, per="parameter", samples=0)


def noise(generator: torch.Generator, count: int, rows: int = 16) -> list[Batch]:
    """Batches of ten classes whose labels are drawn without regard to anything; no row comes twice."""
    return [(normal(generator, rows, 8), torch.randint(CLASSES, (rows,), generator=generator)) for _ in range(count)]


def learnable(generator: torch.Generator, count: int, rows: int = 6) -> list[Batch]:
    """Batches of three classes whose labels follow from four features."""
    rule = normal(generator, 4, 3)
    features = [normal(generator, rows, 4) for _ in range(count)]
    return [(x, (x @ rule).argmax(1)) for x in features]


def score_on_noise(loop: Loop, generator: torch.Generator, count: int = 150) -> float:
    """The mean of the scores that a loop gives to batches of pure noise."""
    model, trainer = fresh(generator)
    scores = loop(model, noise(generator, count), trainer)
    return float(torch.as_tensor(scores).mean())


@torch.no_grad()
def accuracy(model: StackedMLP, batch: Batch) -> Tensor:
    """The share of a batch that the network has right, as it is."""
    x, labels = batch
    return (model(x).argmax(-1) == labels).to(DOUBLE).mean()


def in_order(model: StackedMLP, batches: Sequence[Batch], trainer: SteppedReset, order: str) -> Float[Tensor, " n"]:
    """Scores of a loop whose steps for each batch are "s", score, "c", choose, "d", drift, and "g", descend."""
    scores = []
    for batch in batches:
        for step in order:
            if step == "s":
                scores.append(accuracy(model, batch))
            elif step == "c":
                trainer.choose(batch)
            elif step == "d":
                trainer.drift()
            else:
                trainer.descend(batch)
    return torch.stack(scores)


def run(loop: Loop | str, batches: list[Batch], *sizes: int) -> tuple[Float[Tensor, " n"], Float[Tensor, " P"]]:
    """Scores of a loop, or of steps in an order, and the weights that it leaves; always from the same start."""
    model, trainer = fresh(torch.Generator().manual_seed(70_004), *sizes)
    scores = in_order(model, batches, trainer, loop) if isinstance(loop, str) else loop(model, batches, trainer)
    return scores, trainer.theta


# The check


class Scoring:
    """The student's guess and their loop."""

    def __init__(self, honest: float, loop: StudentFunction) -> None:
        self.honest, self._loop = honest, loop

    def __call__(self, model: StackedMLP, batches: list[Batch], trainer: SteppedReset) -> Float[Tensor, " n"]:
        value = self._loop(model, list(batches), trainer)
        if isinstance(value, list | tuple | np.ndarray):
            value = torch.tensor([read_number(each, "each score") for each in value], dtype=DOUBLE)
        fits = isinstance(value, Tensor) and value.is_floating_point() and tuple(value.shape) == (len(batches),)
        if not fits:
            words = f"for {len(batches)} batches {SCORES} gave {describe(value)}"
            raise NotYet(f"Return the share of right answers of each batch, (n,); {words}.", "a score a batch")
        return value.detach().to(DOUBLE)


@exercise(
    "07.4",
    "The order of a step",
    difficulty=2,
    minutes=10,
    equation="score, choose gamma, drift, descend",
    takeaway="Score first: gamma is chosen by the labels, so already the drifted network has seen them. On labels that are pure noise a loop may not do better than chance, and that is a test which costs nothing.",
)
def scoring(answer: object) -> Scoring:
    parts = read_parts(answer, ("honest", "stream_scores"))
    return Scoring(read_number(parts["honest"], "honest"), read_function(parts["stream_scores"], SCORES))


@scoring.requires(
    "by chance",
    "Labels are drawn evenly from ten classes, whatever the rows look like, and no row comes twice. However much a network has "
    "learned, how often does any answer to the next one come true?",
)
def _(scoring: Scoring, generator: torch.Generator) -> None:
    expect(abs(scoring.honest - 0.1) <= 0.02, f"you say {scoring.honest:.3g}")


@scoring.requires(
    "a score a batch",
    "Give for each batch the share of its rows whose largest logit is that of the label: a number from 0 to 1.",
)
def _(scoring: Scoring, generator: torch.Generator) -> None:
    for rows in (1, 6):
        batches = learnable(generator, 20, rows)
        came, expected = (run(loop, batches, 4, 3)[0] for loop in (scoring, "scdg"))
        expect(not torch.allclose(1 - came, expected), "yours is the share of wrong answers")
        came = came * rows
        expect_close(came, came.round().clamp(0, rows), 1e-5, f"in a batch of {rows} the number of right answers")


@scoring.requires(
    "no luck on noise",
    "On labels of ten classes that are pure noise a loop scores far above 0.1: it looked at the labels before it answered. Gamma "
    "is chosen by the labels, so not only the gradient step gives them away, but the drift before it as well.",
)
def _(scoring: Scoring, generator: torch.Generator) -> None:
    batches = noise(generator, 100)
    came, _ = run(scoring, batches)
    for order, words in (
        ("cdsg", "you score between the drift and the gradient step"),
        ("cdgs", "you score when the batch has been learned"),
    ):
        expect(not torch.allclose(came, run(order, batches)[0]), words)
    mean = came.mean().item()
    expect(mean < 0.14, f"the mean score is {mean:.3f}")


@scoring.requires(
    "nothing from later",
    "Other batches later on must leave the earlier scores as they are. A network that has been through the whole stream, or a "
    "mean over all rows, has seen what was yet to come.",
)
def _(scoring: Scoring, generator: torch.Generator) -> None:
    batches, others = learnable(generator, 24), learnable(generator, 24)
    scores, _ = run(scoring, batches, 4, 3)
    for at in (6, 12, 18):
        later = [*batches[:at], *((5 - 2 * x, labels) for x, labels in others[at:])]
        moved = (run(scoring, later, 4, 3)[0] - scores)[:at].abs().max().item()
        expect(moved < 1e-9, f"with other batches from number {at} on, an earlier score changes by {moved:.3g}")


@scoring.requires(
    "each batch is learned",
    "After its score each batch is learned, once: gamma is chosen by it, then the weights drift by that gamma, and from there "
    "comes the gradient step. Your loop leaves other weights behind.",
)
def _(scoring: Scoring, generator: torch.Generator) -> None:
    batches = learnable(generator, 20, 2)
    _, came = run(scoring, batches, 4, 3)
    for order, words in (
        ("s", "yours takes no gradient step, and all stays where it began"),
        ("sg", "yours takes gradient steps alone, and gamma stays 1"),
        ("scg", "yours does not drift"),
        ("sdcg", "you drift by the gamma of the batch before"),
        ("scgd", "you drift after the gradient step, and pull back what has just been learned"),
        ("sgcd", "you begin with the gradient step, and gamma is chosen by weights that know the batch"),
        ("scdgg", "you take two gradient steps on each batch"),
        ("scdgcdg", "you learn each batch twice"),
    ):
        expect(not torch.allclose(came, run(order, batches, 4, 3)[1], rtol=1e-6, atol=1e-9), words)
    expect_close(came, run("scdg", batches, 4, 3)[1], 1e-6, "a weight at the end")


@scoring.requires(
    "the network as it is",
    "Each batch is scored by the network that has learned all batches before it, the last of them included, and by nothing older.",
)
def _(scoring: Scoring, generator: torch.Generator) -> None:
    batches = learnable(generator, 30)
    came, _ = run(scoring, batches, 4, 3)
    expect(not torch.allclose(came, run("s", batches, 4, 3)[0]), "yours is the network at its start, for all batches")
    expect_close(came, run("scdg", batches, 4, 3)[0], 1e-6, "a score")
