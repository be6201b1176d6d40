"""Lesson 07's streams, networks and trainers, and one way to take a stack of runs through a stream.

The network is a perceptron 64-64-64-10; a batch has 16 digits, flattened, minus the mean digit (minus the mean pixel,
where pixels are permuted). `run` takes one kind of
trainer, with a setting for each run, through the streams of several seeds at once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from companion.data import images
from companion.data.streams import Stream, drifting, flights, permuted_digits, random_label_digits, tasks
from companion.foundations import stacks
from companion.foundations.stacks import StackedMLP, StreamTrainer, cross_entropy
from companion.foundations.validation import Number
from companion.methods import soft_reset
from companion.methods.rivals import plasticity as rivals
from companion.methods.rivals.plasticity import (
    DormantReset,
    HardReset,
    L2Init,
    OnlineSGD,
    ShrinkAndPerturb,
    SpectralRegularisation,
)
from companion.methods.soft_reset import BayesianSoftReset, SoftReset

SOURCES = (images, drifting, tasks, stacks, soft_reset, rivals, __name__)
SEEDS = (0, 1, 2, 3, 4)
BATCH = 16
WIDTH = 64
StreamName: TypeAlias = Literal["labels", "permuted", "still", "returning", "flights"]
Range: TypeAlias = tuple[Number, Number]


# --- streams ------------------------------------------------------------------------------------------------------


@cache
def stream(name: StreamName, seed: int, tasks: int | None = None) -> Stream:
    """Rows (n, 64) of a seed; "labels" has 60 tasks of 150 batches, the others of digits 40 of 100.

    "labels": the same 160 digits under new random labels; "permuted": digits with permuted pixels; "still": one permutation
    only; "returning": two that take turns; "flights": departures of 2013 (n, 27), the same for each seed.
    """
    generator = torch.Generator().manual_seed(1000 + seed)
    if name == "flights":
        return flights()
    middle = images.digits("train").images.mean(0)
    if name == "labels":
        found = random_label_digits(tasks or 60, generator=generator)
    else:
        cycle = {"permuted": None, "still": 1, "returning": 2}[name]
        found, middle = permuted_digits(tasks or 40, cycle=cycle, generator=generator), middle.mean()
    return found._replace(features=((found.features - middle) / 2).flatten(1))


# --- trainers -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """One sort of trainer.

    Attributes:
        make: (model, lr, ..., runs=, generator=) -> a trainer.
        ranges: of each setting, from which tuning draws evenly on a log scale.
        gradients: of a batch, taken for each batch.
        layer_norm: whether the network has it.
    """

    make: Callable[..., StreamTrainer]
    ranges: dict[str, Range]
    gradients: int = 1
    layer_norm: bool = False


RATE: dict[str, Range] = {"lr": (0.03, 2)}
PULL: dict[str, Range] = {**RATE, "strength": (1e-4, 0.03)}
SOFT: dict[str, Range] = {**RATE, "drift_lr": (2e-4, 2e-2), "posterior_scale": (0.2, 1), "init_scale": (1e-4, 0.3)}


def _shrinking(model: StackedMLP, lr: Tensor, decay: Tensor, perturb: Tensor, **options: Any) -> ShrinkAndPerturb:
    return ShrinkAndPerturb(model, lr, 1 - decay, perturb, **options)


KINDS: dict[str, Kind] = {
    "online SGD": Kind(OnlineSGD, RATE),
    "layer norm": Kind(OnlineSGD, RATE, layer_norm=True),
    "hard reset": Kind(HardReset, RATE),
    "shrink & perturb": Kind(_shrinking, {**RATE, "decay": (1e-4, 3e-2), "perturb": (1e-3, 0.3)}),
    "dormant neurons": Kind(partial(DormantReset, period=15), {**RATE, "threshold": (3e-3, 0.5)}),
    "spectral": Kind(SpectralRegularisation, PULL),
    "L2-init": Kind(L2Init, PULL),
    "L2-init, layer norm": Kind(L2Init, PULL, layer_norm=True),
    "L2-init, layer norm, 2 steps": Kind(partial(L2Init, updates=2), PULL, gradients=2, layer_norm=True),
    "L2-init, 2 steps": Kind(partial(L2Init, updates=2), PULL, gradients=2),
    "L2-init, 4 steps": Kind(partial(L2Init, updates=4), PULL, gradients=4),
    "soft reset": Kind(SoftReset, SOFT, gradients=2),
    "soft reset, no noise": Kind(
        partial(SoftReset, samples=0), {name: SOFT[name] for name in SOFT if name != "init_scale"}, gradients=2
    ),
    "soft reset, one gamma": Kind(partial(SoftReset, per="model"), {**SOFT, "drift_lr": (5e-5, 5e-3)}, gradients=2),
    "soft reset, gamma per weight": Kind(
        partial(SoftReset, per="parameter"), {**SOFT, "drift_lr": (1e-2, 30)}, gradients=2
    ),
    "soft reset, layer norm": Kind(SoftReset, SOFT, gradients=2, layer_norm=True),
    "soft reset, proximal": Kind(partial(SoftReset, update_steps=3), SOFT, gradients=4),
    "soft reset, Bayesian": Kind(
        BayesianSoftReset, {**SOFT, "std_lr": (0.01, 1), "temperature": (1e-5, 0.1)}, gradients=2
    ),
}


# --- runs ---------------------------------------------------------------------------------------------------------


@dataclass
class Trace:
    """What a stack of R runs did on a stream.

    Attributes:
        accuracy, loss: of each batch, before it was learned (batches, R).
        gamma: chosen for each batch, by name of the layer, (batches, R) each; none for trainers without.
        trainer: as it is at the end.
    """

    accuracy: Float[Tensor, "batches runs"]
    loss: Float[Tensor, "batches runs"]
    gamma: dict[str, Float[Tensor, "batches runs"]] = field(default_factory=dict)
    trainer: StreamTrainer | None = None

    def by_task(self, tasks: int) -> Float[Tensor, "tasks runs"]:
        """Mean accuracy of each task."""
        return self.accuracy.unflatten(0, (tasks, -1)).mean(1)


def networks(
    seeds: Sequence[int], copies: int, inputs: int, outputs: int, layer_norm: bool, width: int = WIDTH
) -> StackedMLP:
    """A stack of `copies * len(seeds)` networks; those of a seed start alike, whatever else is in the stack."""
    generators = [torch.Generator().manual_seed(7 + seed) for seed in seeds]
    singles = [StackedMLP(None, inputs, outputs, width, layer_norm=layer_norm, generator=each) for each in generators]
    stack = StackedMLP(copies * len(seeds), inputs, outputs, width, layer_norm=layer_norm)
    with torch.no_grad():
        for own, *each in zip(stack.parameters(), *(single.parameters() for single in singles)):
            own.copy_(torch.stack(each).repeat(copies, *[1] * (own.ndim - 1)))
    return stack


def trainer_of(
    kind: str, settings: Sequence[dict[str, Number]], seeds: Sequence[int], inputs: int, outputs: int
) -> Any:
    """A fresh trainer of a stack: every setting with every seed, the seeds of one setting together."""
    sort = KINDS[kind]
    model = networks(seeds, len(settings), inputs, outputs, sort.layer_norm)
    values = {
        name: torch.tensor([float(setting[name]) for setting in settings]).repeat_interleave(len(seeds))
        for name in sort.ranges
    }
    runs = len(settings) * len(seeds)
    return sort.make(model, **values, runs=runs, generator=torch.Generator().manual_seed(5 + seeds[0]))


def run(
    kind: str,
    settings: Sequence[dict[str, Number]],
    name: StreamName,
    seeds: Sequence[int],
    *,
    tasks: int | None = None,
    rows: slice = slice(None),
    batch: int = BATCH,
    progress: bool = False,
) -> Trace:
    """A kind on a stream, every setting with every seed; runs are ordered by setting, then by seed.

    A trainer that resets by hand is told of the true changes.
    """
    streams = [stream(name, seed, tasks) for seed in seeds]
    features = torch.stack([each.features[rows] for each in streams])
    labels = torch.stack([each.labels[rows] for each in streams])
    trainer = trainer_of(kind, settings, seeds, features.shape[-1], 2 if name == "flights" else 10)
    changes = {change // batch for change in streams[0].changes}
    steps = features.shape[1] // batch
    *_, last = follow(trainer, batches(features, labels, batch, len(settings)), steps, changes, progress=progress)
    return last


def batches(
    features: Float[Tensor, "seeds n p"], labels: Int[Tensor, "seeds n"], batch: int, copies: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """In the order of time, each repeated for the settings of a stack; rows that fill no batch at the end are left out."""
    for start in range(0, features.shape[1] - batch + 1, batch):
        rows = slice(start, start + batch)
        yield features[:, rows].repeat(copies, 1, 1), labels[:, rows].repeat(copies, 1)


def follow(
    trainer: StreamTrainer,
    stream: Iterator[tuple[Tensor, Tensor]],
    steps: int,
    changes: set[int] = frozenset(),
    *,
    every: int | None = None,
    progress: bool = False,
) -> Iterator[Trace]:
    """Test then train: each batch is scored by the model as it is, then learned.

    Yields the trace so far after each `every` batches, if given, and at the end.
    """
    accuracy, loss, gammas = [], [], []
    for step, (x, labels) in enumerate(tqdm(stream, total=steps, disable=not progress, leave=False)):
        if step in changes and isinstance(trainer, HardReset):
            trainer.boundary()
        with torch.no_grad():
            log_probs = trainer.model(x).log_softmax(-1)
            accuracy.append((log_probs.argmax(-1) == labels).to(x.dtype).mean(-1))
            loss.append(-log_probs.gather(-1, labels[..., None]).mean((-2, -1)))
        trainer.learn(cross_entropy, (x, labels))
        if isinstance(trainer, SoftReset) and trainer.per != "parameter":
            gammas.append(trainer.gammas)
        if step == steps - 1 or (every and (step + 1) % every == 0):
            gamma = {name: torch.stack([each[name] for each in gammas]) for name in (gammas[0] if gammas else {})}
            yield Trace(torch.stack(accuracy), torch.stack(loss), gamma, trainer)
