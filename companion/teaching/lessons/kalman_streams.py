"""Lesson 06's streams, learners and one way to follow them; `kalman_bench` compares, `kalman_views` shows.

The streams of digits are 3,000 images, seen through 99 frozen random ReLU features of unit norm and a constant (m = 100), row
by row. `follow` takes any learner through one and keeps every row's score.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from companion.data import images
from companion.data.streams import Drift, Stream, digit_stream, drifting, flights
from companion.foundations import linear, online
from companion.foundations.online import OnlineLearner, StreamState, run_stream
from companion.foundations.validation import Number
from companion.methods import kalman
from companion.methods.kalman import KalmanHead, UnitFeatures
from companion.methods.rivals import online as rivals
from companion.methods.rivals.online import (
    ExtendedKalman,
    ForgetfulRidge,
    ResetOnDrift,
    SoftmaxFTRL,
    SoftmaxSGD,
)

SOURCES = (images, drifting, linear, online, kalman, rivals, __name__)
SEEDS = (0, 1, 2, 3, 4)
TUNING_SEEDS = (100, 101)
ROWS, SEGMENT = 3000, 300
BLOCK = 10  # flights that are predicted together
WEIGHT_VARIANCE = 0.1  # so that outputs have by the prior about the variance of centred one-hot targets


# --- streams as features ------------------------------------------------------------------------------------------


def random_features(seed: int, inputs: int = 64, features: int = 99) -> nn.Module:
    """A frozen backbone for images of -1 to 1: random ReLU features, scaled to unit norm, and a constant."""
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(inputs, features, bias=False), nn.ReLU(), UnitFeatures())
    generator = torch.Generator().manual_seed(seed)
    nn.init.normal_(backbone[1].weight, std=inputs**-0.5, generator=generator)
    return backbone.requires_grad_(False)


@cache
def digit_rows(drift: Drift, seed: int, rows: int = ROWS, segment: int = SEGMENT) -> Stream:
    """A stream of digits as features (rows, 100), all drawn from `seed`: the images, their drift and the backbone."""
    stream = digit_stream(rows, drift, segment=segment, generator=torch.Generator().manual_seed(seed))
    middle = images.digits("train").images.mean(0)
    return stream._replace(features=random_features(seed)(1.5 * (stream.features - middle)))


@cache
def flight_rows() -> Stream:
    """The flights as features of unit norm and a constant (41066, 29)."""
    stream = flights()
    return stream._replace(features=UnitFeatures(0.5)(stream.features))


# --- learners -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """One sort of learner.

    Attributes:
        make: (setting, m, K, seed) -> a fresh learner.
        settings: the grid that is tried, each a tuple.
    """

    make: Callable[[Any, int, int, int], OnlineLearner]
    settings: tuple[tuple[Any, ...], ...]


def pairs(first: Iterable[Any], second: Iterable[Any]) -> tuple[tuple[Any, Any], ...]:
    """Every first with every second."""
    second = tuple(second)
    return tuple((a, b) for a in first for b in second)


def _kalman(setting, m: int, num_classes: int, seed: int) -> KalmanHead:
    gamma, noise = setting
    return KalmanHead(m, num_classes, WEIGHT_VARIANCE, noise, gamma)


def _learned(setting, m: int, num_classes: int, seed: int) -> KalmanHead:
    rate, noise = setting
    return KalmanHead(m, num_classes, WEIGHT_VARIANCE, noise, 0.9999, learn_gamma=True, gamma_rate=rate)


def _sgd(setting, m: int, num_classes: int, seed: int) -> SoftmaxSGD:
    rate, replay, memory = setting
    generator = torch.Generator().manual_seed(seed)
    return SoftmaxSGD(m, num_classes, rate, replay=replay, memory=memory, generator=generator)


def _extended(setting, m: int, num_classes: int, seed: int) -> ExtendedKalman:
    gamma, variance = setting
    network = nn.Linear(m, num_classes, bias=False)
    nn.init.zeros_(network.weight)
    return ExtendedKalman(network, num_classes, variance, gamma)


def _detected(setting, m: int, num_classes: int, seed: int) -> ResetOnDrift:
    name, sensitivity, noise = setting
    return ResetOnDrift(KalmanHead(m, num_classes, WEIGHT_VARIANCE, noise), partial(detector, name, sensitivity))


class Rising:
    """A detector that is heeded only when the mean error it watches has gone up: learning itself is a change, too."""

    def __init__(self, watched: Any) -> None:
        self.watched, self.drift_detected = watched, False

    def update(self, x: Number) -> None:
        """Take in one error."""
        before = self.watched.estimation
        self.watched.update(x)
        self.drift_detected = self.watched.drift_detected and self.watched.estimation > before


def detector(name: str, sensitivity: Number) -> Any:
    """A drift detector of river: "ADWIN" by its delta, "Page-Hinkley" by its threshold.

    Raises:
        ImportError: river is not installed (the extra `bench` has it).
    """
    from river import drift

    if name == "ADWIN":
        return Rising(drift.ADWIN(delta=sensitivity, clock=4))
    return drift.PageHinkley(threshold=sensitivity, delta=0.1, mode="up")


NOISES = (0.0003, 0.001, 0.003, 0.01, 0.03)
GAMMAS = (0.99999, 0.99997, 0.9999, 0.9997, 0.9995, 0.999, 0.998, 0.997)
KINDS: dict[str, Kind] = {
    "gamma = 1": Kind(_kalman, pairs((1.0,), NOISES)),
    "gamma learned": Kind(_learned, pairs((1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4), NOISES)),
    "gamma fixed": Kind(_kalman, pairs(GAMMAS, NOISES)),
    "online SGD": Kind(_sgd, tuple((rate, 0, 1) for rate in (0.3, 1.0, 3.0, 10.0))),
    "SGD with replay": Kind(
        _sgd,
        tuple((rate, 8, memory) for rate in (1.0, 3.0, 10.0, 30.0) for memory in (10, 30, 100, 300)),
    ),
    "FTRL": Kind(
        lambda setting, m, num_classes, seed: SoftmaxFTRL(m, num_classes, *setting),
        pairs((1.0, 3.0, 10.0), (0.0, 0.01)),
    ),
    "forgetful ridge": Kind(
        lambda setting, m, num_classes, seed: ForgetfulRidge(m, num_classes, *setting),
        pairs((0.03, 0.1, 0.3), (0.85, 0.9, 0.95, 0.98, 0.99, 1.0)),
    ),
    "reset by a detector": Kind(
        _detected,
        tuple(
            (*each, noise)
            for each in (*pairs(("ADWIN",), (0.05, 0.3)), *pairs(("Page-Hinkley",), (2, 3, 5, 10, 20)))
            for noise in NOISES
        ),
    ),
    "extended Kalman": Kind(_extended, pairs((1.0, 0.9999, 0.999, 0.997, 0.995), (10.0, 30.0, 100.0))),
}


# --- following a stream -------------------------------------------------------------------------------------------


@dataclass
class Trace:
    """What a learner did on a stream.

    Attributes:
        log_prob, correct: of every row (n,), scored before it was learned.
        gamma, alpha: after each block, or empty for learners that have none.
        learner: as it is at the end.
    """

    log_prob: Float[Tensor, " n"]
    correct: Bool[Tensor, " n"]
    gamma: Float[Tensor, " steps"]
    alpha: Float[Tensor, " steps"]
    learner: OnlineLearner

    @property
    def loss(self) -> float:
        """Mean log-loss, in nats."""
        return -self.log_prob.double().mean().item()

    @property
    def accuracy(self) -> float:
        """The share of rows whose most probable class was right."""
        return self.correct.double().mean().item()


def follow(states: Iterable[StreamState]) -> Trace:
    """Exhaust a stream and keep its scores; log-probabilities are kept above -20, so that one row cannot decide."""
    scores, hits, gammas, alphas = [], [], [], []
    for state in states:
        scores.append(state.log_prob)
        hits.append(state.correct)
        if isinstance(state.learner, KalmanHead):
            gammas.append(state.learner.gamma)
            alphas.append(state.learner.alpha)
    gamma, alpha = (torch.stack(values) if values else torch.zeros(0) for values in (gammas, alphas))
    return Trace(torch.cat(scores).clamp_min(-20), torch.cat(hits), gamma, alpha, state.learner)


def run(kind: str, setting: tuple[Any, ...], stream: Stream, seed: int, batch_size: int = 1) -> Trace:
    """A fresh learner of a kind on a stream of features; its Monte Carlo draws come from `seed`."""
    num_classes = 1 + int(stream.labels.max())
    learner = KINDS[kind].make(setting, stream.features.shape[1], num_classes, seed)
    generator = torch.Generator().manual_seed(2000 + seed)
    return follow(run_stream(learner, stream.features, stream.labels, batch_size=batch_size, generator=generator))
