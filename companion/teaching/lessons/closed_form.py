"""Lesson 05: the tasks, the ways to find their last layer, and what is measured on the way.

Tasks: "sines", a function of the plane with five outputs; "digits", ten classes with squared loss; "diabetes", where nothing
helps; "darcy", a neural operator, and "fine darcy", the same on a finer grid. `deep_iv` has data of its own: `confounded`.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from companion.data import darcy, images, regression
from companion.data.darcy import Darcy
from companion.data.regression import Confounded, Rows, SineWaves
from companion.foundations import fourier, linear, networks
from companion.foundations.fourier import FourierOperator2d
from companion.foundations.networks import MLP
from companion.foundations.validation import Number, require
from companion.methods import last_layer
from companion.methods.last_layer import (
    FullSolve,
    LastLayerState,
    ProximalStep,
    RecursiveStep,
    train_last_layer,
)
from companion.methods.rivals import first_layer, gauss_newton, joint
from companion.methods.rivals.first_layer import solve_first_layer
from companion.methods.rivals.gauss_newton import train_gauss_newton
from companion.methods.rivals.joint import GradientStep, JointLayer, MovingAverage, ThroughSolve

SOURCES = (darcy, images, regression, fourier, linear, networks, last_layer, first_layer, gauss_newton, joint, __name__)
SEEDS = (0, 1, 2, 3, 4)
TUNING_SEEDS = (100, 101)


# --- tasks --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """Something to learn, and how far off a prediction is.

    Attributes:
        train, test: inputs (n, ...) and targets (n, ..., k).
        backbone: makes an untrained one from torch's global random state.
        error: (predictions, targets) -> what is shown: half the squared error, or for "darcy" the relative one.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    backbone: Callable[[], nn.Module]
    error: Callable[[Tensor, Tensor], float]

    @property
    def device(self) -> torch.device:
        return self.train[0].device

    def to(self, device: torch.device | str) -> "Task":
        """The same task on another device."""
        train, test = (tuple(part.to(device) for part in pair) for pair in (self.train, self.test))
        return replace(self, train=train, test=test)

    def fresh(self, seed: int) -> nn.Module:
        """An untrained backbone on the task's device, drawn from `seed` without touching the global random state."""
        return seeded(self.backbone, seed).to(self.device)

    def error_of(self, predict: Callable[[Tensor], Tensor]) -> float:
        """Of what `predict` gives for the test inputs."""
        return self.error(predict(self.test[0]), self.test[1])


def half_squared(predictions: Float[Tensor, "n k"], targets: Float[Tensor, "n k"]) -> float:
    """Half the squared error, summed over outputs, mean over rows: what is trained."""
    return 0.5 * (predictions - targets).square().sum(-1).mean().item()


def relative(predictions: Float[Tensor, "n h w 1"], targets: Float[Tensor, "n h w 1"]) -> float:
    """The norm of the error of a field over the norm of the field, mean over fields."""
    error, size = ((predictions - targets).flatten(1).norm(dim=1), targets.flatten(1).norm(dim=1))
    return (error / size).mean().item()


@cache
def task(name: str, seed: int = 0) -> Task:
    """A task whose data, or whose split of them, are drawn from `seed`."""
    require(name in TASKS, "name", repr(name), " or ".join(map(repr, TASKS)))
    return TASKS[name](seed)


def _sines(seed: int) -> Task:
    law, generator = SineWaves(seed=seed), torch.Generator().manual_seed(7000 + seed)
    train, (x, _) = law.sample(1000, generator), law.sample(1000, generator)
    return Task(train, (x, law(x)), partial(perceptron, 2, 2, 48), half_squared)


def _digits(seed: int) -> Task:
    train, test = images.digits("train", seed), images.digits("test", seed)
    mean = train.images.mean(0)
    pairs = [((part.images - mean).flatten(1) / 2, one_hot(part.labels)) for part in (train, test)]
    return Task(*pairs, partial(perceptron, 64, 1, 48), half_squared)


def _diabetes(seed: int) -> Task:
    from sklearn.datasets import load_diabetes

    raw = load_diabetes()
    x, y = torch.from_numpy(raw.data).float(), torch.from_numpy(raw.target).float()[:, None]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    kept = order[:300]
    x, y = ((part - part[kept].mean(0)) / part[kept].std(0) for part in (x, y))
    pairs = [(x[rows], y[rows]) for rows in (kept, order[300:])]
    return Task(*pairs, partial(perceptron, 10, 1, 24, width=32), half_squared)


def _darcy(seed: int, size: int = 16, fields: int = 500, **settings: int) -> Task:
    permeability, pressure = Darcy(size).sample(fields + 100, torch.Generator().manual_seed(seed))
    x = ((permeability - 7.5) / 4.5)[..., None]
    y = (pressure / pressure[:fields].std())[..., None]
    backbone = partial(FourierOperator2d, 1, 32, **settings)
    return Task((x[:fields], y[:fields]), (x[fields:], y[fields:]), backbone, relative)


TASKS: dict[str, Callable[[int], Task]] = {
    "sines": _sines,
    "digits": _digits,
    "diabetes": _diabetes,
    "darcy": _darcy,
    "fine darcy": partial(_darcy, size=64, fields=1000, width=32, modes=12),  # of the profile `full`
}


def perceptron(inputs: int, depth: int, features: int, width: int = 64) -> nn.Module:
    """A perceptron whose features have passed a SiLU."""
    return nn.Sequential(MLP(inputs, features, width, depth), nn.SiLU())


def one_hot(labels: Tensor) -> Tensor:
    return nn.functional.one_hot(labels, 10).float()


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


# --- ways to train ------------------------------------------------------------------------------------------------


def train_by(
    method: str,
    given: Task,
    seed: int,
    steps: int,
    batch_size: int | None,
    learning_rate: Number,
    setting: Any = None,
    cosine: bool = False,
    every: int = 20,
) -> Iterator[LastLayerState]:
    """Train on a task by one of `METHODS`; `setting` is what that method has beside the learning rate."""
    require(method in METHODS, "method", repr(method), " or ".join(map(repr, METHODS)))
    generator = torch.Generator(given.device).manual_seed(1000 + seed)
    common = {"batch_size": batch_size, "learning_rate": learning_rate, "every": every, "generator": generator}
    backbone = given.fresh(seed)
    if method == "Gauss-Newton":
        adapt = batch_size is None
        return train_gauss_newton(backbone, given.train, steps, damping=setting, adapt=adapt, **common)
    if method == "first layer":
        solve_first_layer(backbone, setting)
    rule, optimizer = METHODS[method]
    layer = rule(setting, generator)
    return train_last_layer(backbone, given.train, steps, layer, optimizer=optimizer, cosine=cosine, **common)


def in_double(rule: type[FullSolve], ridge: Number) -> Callable[[Tensor, int], FullSolve]:
    """A full solve in float64: in float32 it fails where the ridge is as small as the best ones are."""
    return lambda weights, rows: rule(weights.double(), rows, ridge)


ADAM, SGD = torch.optim.Adam, torch.optim.SGD
# What each method's setting means stands beside it; where nothing stands it is a ridge, a strength, or none.
METHODS: dict[str, Any] = {
    "SGD": (lambda setting, generator: partial(JointLayer, generator=generator), SGD),
    "Adam": (lambda setting, generator: partial(JointLayer, generator=generator), ADAM),
    "Adam, W at its own rate": (  # (what the learning rate is multiplied by for W, ridge of its start)
        lambda setting, generator: partial(JointLayer, rate_factor=setting[0], ridge=setting[1], generator=generator),
        ADAM,
    ),
    "Adam, gradient step on W": (  # (strength, ridge of its start); the rate is one over the strength
        lambda setting, generator: partial(GradientStep, rate=1 / setting[0], ridge=setting[1]),
        ADAM,
    ),
    "full solve, SGD": (lambda setting, generator: in_double(FullSolve, setting), SGD),
    "full solve, Adam": (lambda setting, generator: in_double(FullSolve, setting), ADAM),
    "proximal, SGD": (lambda setting, generator: partial(ProximalStep, strength=setting), SGD),
    "proximal, Adam": (lambda setting, generator: partial(ProximalStep, strength=setting), ADAM),
    "recursive, Adam": (  # (strength, forgetting)
        lambda setting, generator: partial(RecursiveStep, strength=setting[0], forgetting=setting[1]),
        ADAM,
    ),
    "moving average, Adam": (  # (ridge, keep)
        lambda setting, generator: partial(MovingAverage, ridge=setting[0], keep=setting[1]),
        ADAM,
    ),
    "through the solve, Adam": (lambda setting, generator: in_double(ThroughSolve, setting), ADAM),
    "first layer": (lambda setting, generator: partial(JointLayer, generator=generator), ADAM),  # damping
    "Gauss-Newton": None,  # damping
}


def follow(states: Iterable[LastLayerState], given: Task) -> tuple[list[int], list[float], list[float]]:
    """Exhaust a training: the steps, CPU seconds of training and test errors of its states.

    Ends early where the error is no longer finite or a system can no longer be solved: that last error is infinite.
    """
    path, seconds, states = ([], [], []), 0.0, iter(states)
    while True:
        began = time.process_time()
        try:
            state = next(states, None)
        except torch.linalg.LinAlgError:
            state, error = None, float("inf")
            if path[0]:
                path[2][-1] = error
        seconds += time.process_time() - began
        if state is None:
            return path
        error = given.error_of(state.predict)
        finite = error == error and error < float("inf")
        for column, value in zip(path, (state.step, seconds, error if finite else float("inf"))):
            column.append(value)
        if not finite:
            return path


# --- instrumental variables ---------------------------------------------------------------------------------------


def confounded(seed: int, n: int = 1000) -> tuple[Rows, Rows]:
    """Rows for the first and the second stage."""
    generator = torch.Generator().manual_seed(8000 + seed)
    return Confounded().sample(n, generator), Confounded().sample(n, generator)


def bounded(inputs: int, features: int = 16) -> nn.Module:
    """Features of an instrument or a treatment, in (-1, 1)."""
    return nn.Sequential(MLP(inputs, features, 32, 2), nn.Tanh())


def structural_error(predict: Callable[[Tensor], Tensor], seed: int) -> float:
    """Mean squared error of a structural function at 2,000 treatments as they come."""
    x = Confounded().sample(2000, torch.Generator().manual_seed(9000 + seed)).treatment
    return (predict(x) - Confounded().structural(x)).square().mean().item()
