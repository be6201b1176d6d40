"""Exercise 05.6: how much of a gain was the solve?

>>> losses = try_layers("digits", torch.Generator().manual_seed(0), steps=10)
>>> sorted(losses), losses["joint"] > 0
(['control', 'joint', 'solved'], True)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from companion.data.images import digits
from companion.data.regression import SineWaves
from companion.foundations.networks import MLP
from companion.methods.last_layer import LastLayer, ProximalStep, proximal_last_layer, squared_loss, train_last_layer
from companion.methods.rivals.joint import GradientStep, JointLayer
from companion.teaching.checks.answers import (
    DOUBLE,
    StudentFunction,
    expect,
    expect_close,
    expect_tensor,
    normal,
    read_function,
    read_number,
    read_parts,
    read_words,
    uniform,
)
from companion.teaching.checks.framework import exercise

CONTROL = "control(features, targets, previous, strength)"
SHARE = "share(joint, control, solved)"
WORDS, TRUTH = ("step", "solve"), ("step", "solve")


# What happens


@dataclass(frozen=True)
class Task:
    """Rates and strengths are chosen from a small grid for each rule; of two about as good, the steadier over seeds.

    Attributes:
        batch_size, depth: of the training and of its backbone, 64 wide with 48 features.
        joint: learning rate of Adam on all layers.
        solved: learning rate and strength of the proximal step, with Adam on the backbone.
        control: learning rate of Adam on the backbone, and rate of the gradient step on W.
    """

    batch_size: int
    depth: int
    joint: float
    solved: tuple[float, float]
    control: tuple[float, float]


TASKS = {
    "digits": Task(16, 1, 0.01, (0.01, 10.0), (0.01, 0.1)),
    "sines": Task(128, 2, 0.01, (0.01, 0.01), (0.01, 0.01)),
}


def try_layers(name: str, generator: torch.Generator, steps: int = 400) -> dict[str, float]:
    """Losses on fresh rows with three rules for the last layer; the same data and the same start for all.

    Args:
        name: "digits", 8x8 images against one-hot labels in batches of 16; or "sines", sums of sines in batches of 128.
        generator: draws data, start and batches, on its device.
        steps: of training.

    Returns:
        "joint", Adam on all layers; "solved", Adam on the backbone and a proximal step; "control", Adam on the backbone
        and a gradient step in the place of the solve. Means over the last fifth of training.
    """
    task, device = TASKS[name], generator.device
    seed = int(torch.randint(2**31, (), generator=generator, device=device))
    train, fresh = _digits(seed, device) if name == "digits" else _sines(generator)
    layers: dict[str, tuple[float, Callable[[Tensor, int], LastLayer]]] = {
        "joint": (task.joint, partial(JointLayer, generator=generator)),
        "control": (task.control[0], partial(GradientStep, rate=task.control[1])),
        "solved": (task.solved[0], partial(ProximalStep, strength=task.solved[1])),
    }
    start, results = generator.get_state(), {}
    for rule, (rate, layer) in layers.items():
        generator.set_state(start)
        backbone = _backbone(train[0].shape[1], task.depth, seed).to(device)
        settings = {"learning_rate": rate, "every": max(1, steps // 20), "generator": generator}
        training = train_last_layer(backbone, train, steps, layer, batch_size=task.batch_size, **settings)
        losses = [_loss(state.predict(fresh[0]), fresh[1]) for state in training]
        last = losses[-max(1, len(losses) // 5) :]
        results[rule] = sum(last) / len(last)
    return results


def _digits(seed: int, device: torch.device) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    def pair(split: str) -> tuple[Tensor, Tensor]:
        data = digits(split, seed)
        return data.images.flatten(1).to(device), nn.functional.one_hot(data.labels, 10).float().to(device)

    return pair("train"), pair("test")


def _sines(generator: torch.Generator) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return SineWaves().sample(1000, generator), SineWaves().sample(1000, generator)


def _backbone(inputs: int, depth: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(MLP(inputs, 48, width=64, depth=depth), nn.SiLU())


def _loss(outputs: Tensor, targets: Tensor) -> float:
    return 0.5 * (outputs - targets).square().sum(1).mean().item()


# The check


class Ablation:
    """The student's control, their share, and a word for each task."""

    def __init__(self, control: StudentFunction, share: StudentFunction, words: tuple[str, ...]) -> None:
        self.control, self._share, self.words = control, share, words

    def share(self, joint: Tensor, control: Tensor, solved: Tensor) -> float:
        value = self._share(joint, control, solved)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, float) and math.isnan(value):
            return value
        return read_number(value, SHARE)

    def shares_like(self, formula: Callable[[Tensor, Tensor, Tensor], Tensor], generator: torch.Generator) -> bool:
        cases = [_losses(generator) for _ in range(3)]
        return all(math.isclose(self.share(*case), float(formula(*case)), rel_tol=1e-6) for case in cases)

    def steps_like(self, formula: Callable[..., Tensor], generator: torch.Generator) -> bool:
        cases = [_batch(generator), _batch(generator, 9, 4, 2)]
        return all(torch.allclose(self.control(*case).to(DOUBLE), formula(*case), 1e-6, 1e-9) for case in cases)


@exercise(
    "05.6",
    "What did the solve do?",
    difficulty=3,
    minutes=15,
    equation="Algorithm 1, with its solve left out",
    takeaway="A gain over the usual way is not yet a gain of the part you are proud of. Take that part out and keep all else: on digits nearly everything stays, on sines nothing.",
)
def ablation(answer: object) -> Ablation:
    parts = read_parts(answer, ("control", "share", "words"))
    functions = read_function(parts["control"], CONTROL), read_function(parts["share"], SHARE)
    return Ablation(*functions, read_words(parts["words"], 2, WORDS))


def _batch(generator: torch.Generator, b: int = 5, p: int = 7, k: int = 3) -> tuple[Tensor, Tensor, Tensor, float]:
    features, targets, previous = normal(generator, b, p), normal(generator, b, k), normal(generator, p, k)
    return features, targets, previous, uniform(generator, 2, 5)


def _slope(features: Tensor, targets: Tensor, previous: Tensor) -> Tensor:
    return features.T @ (features @ previous - targets) / len(features)


def _losses(generator: torch.Generator, seeds: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Losses over seeds, of which `solved` is lower on average, though not by the same in each."""
    joint, control, solved = (torch.rand(seeds, generator=generator, dtype=DOUBLE) for _ in range(3))
    return joint + 1.5, control + 1.0, 0.5 * solved + 0.4


@ablation.requires("a last layer, too", "Let `control` return the new W, (p, k), in the dtype of the features.")
def _(ablation: Ablation, generator: torch.Generator) -> None:
    for dtype, sizes in ((DOUBLE, (6, 3, 2)), (torch.float32, (3, 8, 1)), (DOUBLE, (1, 5, 1))):
        *tensors, strength = _batch(generator, *sizes)
        came = ablation.control(*(tensor.to(dtype) for tensor in tensors), strength)
        expect_tensor(came, sizes[1:], dtype, CONTROL)


@ablation.requires(
    "no solve in it",
    "The control still solves. It must do all else, and not that. Take one step along the slope at the previous W, with "
    "nothing inverted but a number.",
)
def _(ablation: Ablation, generator: torch.Generator) -> None:
    expect(not ablation.steps_like(proximal_last_layer, generator))

    def ridge(features: Tensor, targets: Tensor, previous: Tensor, strength: float) -> Tensor:
        return proximal_last_layer(features, targets, 0 * previous, strength)

    expect(not ablation.steps_like(ridge, generator), "it is the batch's own ridge solution")


@ablation.requires(
    "one over the strength",
    "A strength is the inverse of a rate. With the strength itself as the rate a strong one leaps, where the proximal step "
    "hardly moves.",
)
def _(ablation: Ablation, generator: torch.Generator) -> None:
    features, targets, previous, _ = _batch(generator)
    ways = [(ablation.control(features, targets, previous, s) - previous).norm().item() for s in (10.0, 1000.0)]
    expect(ways[1] <= ways[0] / 50, f"at strength 1000 it goes {ways[1]:.3g} far, at 10 {ways[0]:.3g}")


@ablation.requires(
    "downhill",
    "The control must lower the loss of the batch, and yours does not. The slope is F'(F W - Y)/b, and the step goes against it.",
)
def _(ablation: Ablation, generator: torch.Generator) -> None:
    features, targets, previous, _ = _batch(generator)
    after = ablation.control(features, targets, previous, 1000.0)
    losses = [squared_loss(features, weights, targets).item() for weights in (previous, after)]
    expect(losses[1] < losses[0], f"at strength 1000 the batch's loss goes from {losses[0]:.5g} to {losses[1]:.5g}")


@ablation.requires(
    "its first order",
    "For a large strength the control must go the way of the proximal step, up to a relative error of order 1/strength, or "
    "two things have changed at once. The loss is half a mean over rows: F'(F W - Y)/b, with b and without a 2.",
)
def _(ablation: Ablation, generator: torch.Generator) -> None:
    for factor, found in ((2, "it goes twice as far"), (0.5, "it goes half as far")):
        formula = lambda f, y, w, s: w - factor * _slope(f, y, w) / s  # noqa: B023, E731
        expect(not ablation.steps_like(formula, generator), found)
    summed = ablation.steps_like(lambda f, y, w, s: w - len(f) * _slope(f, y, w) / s, generator)
    expect(not summed, "it sums over rows")
    for sizes in ((5, 7, 3), (9, 4, 2)):
        *case, _ = _batch(generator, *sizes)
        came = ablation.control(*case, 1e6) - case[2]
        expected = proximal_last_layer(*case, 1e6) - case[2]
        away = ((came - expected).norm() / expected.norm()).item()
        expect(away < 1e-3, f"at strength 1,000,000 the two steps differ by {away:.2g} of their length")
    for case in (_batch(generator), _batch(generator, 9, 4, 2)):
        features, targets, previous, strength = case
        expected = previous - _slope(features, targets, previous) / strength
        expect_close(ablation.control(*case), expected, 1e-7, "an entry of W")


@ablation.requires(
    "from joint to solved",
    "A share of the gain: 0 where the control is as bad as joint training, and 1 where it is as good as the solve. What is "
    "below the line is the whole gain, joint minus solved.",
)
def _(ablation: Ablation, generator: torch.Generator) -> None:
    joint, *_ = _losses(generator)
    solved = joint - uniform(generator, 0.3, 0.6)
    expect_close(ablation.share(joint, joint, solved), 0.0, 1e-7, "for a control that is the joint training, it")
    expect_close(ablation.share(joint, solved, solved), 1.0, 1e-7, "for a control that is the solve, it")
    half = ablation.share(joint, (joint + solved) / 2, solved)
    expect_close(half, 0.5, 1e-7, "for a control half-way between, it")


@ablation.requires(
    "not cut off",
    "A control may be worse than joint training, or better than the solve: below 0 and above 1 are findings, and a share "
    "that is cut off hides them.",
)
def _(ablation: Ablation, generator: torch.Generator) -> None:
    joint, *_ = _losses(generator)
    solved = joint - uniform(generator, 0.3, 0.6)
    for factor in (-0.7, 1.6):
        control = joint + factor * (solved - joint)
        expect_close(ablation.share(joint, control, solved), factor, 1e-7, "it")


@ablation.requires(
    "means first",
    "Take means of the losses over seeds, then divide once. In a seed in which the gain is nearly 0 a share of its own is huge "
    "and says nothing, and it would rule the mean of shares.",
)
def _(ablation: Ablation, generator: torch.Generator) -> None:
    expect(
        not ablation.shares_like(lambda j, c, s: ((j - c) / (j - s)).mean(), generator), "yours is the mean of shares"
    )
    expect(
        not ablation.shares_like(lambda j, c, s: ((j - c) / (j - s)).median(), generator),
        "yours is the median of shares",
    )
    medians = ablation.shares_like(lambda j, c, s: (j.median() - c.median()) / (j.median() - s.median()), generator)
    expect(not medians, "you take medians, which hide a seed that failed")
    for _ in range(3):
        joint, control, solved = _losses(generator)
        expected = (joint.mean() - control.mean()) / (joint.mean() - solved.mean())
        expect_close(ablation.share(joint, control, solved), expected, 1e-6, "the share")


@ablation.requires(
    "no gain, no share",
    "Where the solve is no better than joint training there is nothing to have a share of. Give `math.nan`: any number "
    "would be read as a finding.",
)
def _(ablation: Ablation, generator: torch.Generator) -> None:
    joint, control, _ = _losses(generator)
    for other, found in ((joint, "no better"), (joint + 0.1, "worse")):
        came = ablation.share(joint, control, other)
        expect(math.isnan(came), f"where the solve is {found} you say {came:.3g}")


@ablation.requires(
    "what it was",
    'Look at the share of each task in the table. Near 1, the control has the gain, and it was the "step": the last layer '
    'wants its own rule. Near 0 or below, it was the "solve".',
)
def _(ablation: Ablation, generator: torch.Generator) -> None:
    for name, word, truth in zip(TASKS, ablation.words, TRUTH, strict=True):
        expect(word == truth, f"of {name} you say {word!r}")
