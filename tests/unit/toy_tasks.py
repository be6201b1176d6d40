"""A small network, and a stream of a few small tasks, that learners of `companion.methods.nevis` are tried on."""

import torch
from agree import seeded
from torch import nn
from torch.nn.functional import one_hot

from companion.data.streams.events import (
    Dataset,
    DatasetBuilder,
    MiniBatch,
    PredictionEvent,
    TaskKey,
    TaskKind,
    TaskMetadata,
    TrainingEvent,
)

CLASSES, LABELS = TaskKind.CLASSIFICATION, TaskKind.MULTI_LABEL_CLASSIFICATION
SIZES = {"train": 24, "dev": 10, "test": 14}
WIDTH = 6  # of the representation


class Tiny(nn.Module):
    """Two convolutions with their norms, and a head: what learns quickly."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        first = nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()
        self.inner = nn.Sequential(*first, nn.Conv2d(4, WIDTH, 3, 2, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU())
        self.head = nn.Linear(WIDTH, classes)

    def features(self, x):
        return self.inner(x).mean((2, 3))

    def forward(self, x):
        return self.head(self.features(x))


class ToyStream:
    """Tasks of small pictures, each class or label with a pattern of its own; tasks of equal seeds have equal pictures.

    Args:
        tasks: a seed, or (seed, kind, number of classes), of each.
    """

    def __init__(self, *tasks, splits=("test",), noise=0.7, sizes=SIZES) -> None:
        self.splits, self.tasks = splits, {}
        for place, task in enumerate(tasks):
            seed, kind, count = task if isinstance(task, tuple) else (task, CLASSES, 3)
            name, draws = f"task {place}", seeded(seed + 1000)
            patterns = torch.randn(count, 1, 8, 8, generator=draws)
            data = {split: self._drawn(size, kind, patterns, noise, draws) for split, size in sizes.items()}
            self.tasks[name] = TaskKey(name, kind, TaskMetadata(count)), data

    @staticmethod
    def _drawn(size, kind, patterns, noise, draws):
        labels = (torch.rand(size, len(patterns), generator=draws) < 0.5).float()
        labels[0] = 1
        if kind is CLASSES:
            labels = one_hot(torch.randint(len(patterns), (size,), generator=draws), len(patterns)).float()
        images = (labels @ patterns.flatten(1)).view(-1, 1, 8, 8)
        images = images + noise * torch.randn(images.shape, generator=draws)
        return MiniBatch(images, labels.argmax(1), None) if kind is CLASSES else MiniBatch(images, None, labels)

    def events(self):
        for name in self.tasks:
            yield TrainingEvent(f"{name}/train", f"{name}/train_and_dev", f"{name}/dev")
            for split in self.splits:
                yield PredictionEvent(f"{name}/{split}")

    def get_dataset_by_key(self, dataset_key):
        name, _, split = dataset_key.rpartition("/")
        key, data = self.tasks[name]
        return Dataset(DatasetBuilder(data[split], 0), key, len(data[split].image))


def same(first, second) -> bool:
    """Whether two nested values are equal, bit for bit."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def training_events(stream):
    return [event for event in stream.events() if isinstance(event, TrainingEvent)]
