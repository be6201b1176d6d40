"""What a stream of tasks is made of: events in time, keys for data, and the data sets behind the keys.

Names, fields and their order are those of the NEVIS reference implementation, so that a learner written for its
interface runs here. Its data are tensors, though: pictures (n, channels, height, width) instead of TensorFlow's.

>>> event = TrainingEvent("000-digits/train", "000-digits/train_and_dev", "000-digits/dev")
>>> event.dev_dataset_key, PredictionEvent("000-digits/test").dataset_key
('000-digits/dev', '000-digits/test')

Source: Bornschein et al., "NEVIS'22: A Stream of 100 Tasks Sampled from 30 Years of Computer Vision Research" (2023),
JMLR 24(308), arXiv 2211.11747, sections 3 and 4.
"""

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from companion.foundations.validation import require_count


class TrainingEvent(NamedTuple):
    """A task to be learned: keys of its training pictures, of those with the development pictures, and of these alone."""

    train_dataset_key: str
    train_and_dev_dataset_key: str
    dev_dataset_key: str


class PredictionEvent(NamedTuple):
    """A data set to be predicted."""

    dataset_key: str


Event: TypeAlias = TrainingEvent | PredictionEvent


class TaskKind(Enum):
    """What is asked of a picture: its class, or which of several labels it has."""

    CLASSIFICATION = 0
    MULTI_LABEL_CLASSIFICATION = 1


class TaskMetadata(NamedTuple):
    """`num_classes` classes, or labels."""

    num_classes: int


class TaskKey(NamedTuple):
    """A task's name, kind and metadata."""

    name: str
    kind: TaskKind
    metadata: TaskMetadata


class MiniBatch(NamedTuple):
    """Pictures with what is to be said of them; without the axis n, one example.

    Attributes:
        image: (n, channels, height, width).
        label: (n,), classes from 0; None for a multi-label task.
        multi_label_one_hot: (n, num_classes), 1 where a picture has the label; None for a task with classes.
    """

    image: Float[Tensor, "*n c h w"]
    label: Int[Tensor, "*n"] | None
    multi_label_one_hot: Float[Tensor, "*n k"] | None

    @property
    def target(self) -> Int[Tensor, "*n"] | Float[Tensor, "*n k"]:
        """Whichever there is of classes and labels."""
        return self.multi_label_one_hot if self.label is None else self.label


class Examples:
    """The examples of a data set in some order: iterate for single ones, or take them in batches.

    Args:
        whole: all of them as one batch.
    """

    def __init__(self, whole: MiniBatch) -> None:
        self.whole = whole

    def __len__(self) -> int:
        return len(self.whole.image)

    def __iter__(self) -> Iterator[MiniBatch]:
        return (_rows(self.whole, place) for place in range(len(self)))

    def batch(self, batch_size: int) -> Iterator[MiniBatch]:
        """So many at a time; the last batch may have fewer.

        Raises:
            ValueError: a batch below 1.
        """
        require_count("batch_size", batch_size, 1)
        return (_rows(self.whole, slice(first, first + batch_size)) for first in range(0, len(self), batch_size))


def _rows(batch: MiniBatch, rows: int | slice | Tensor) -> MiniBatch:
    return MiniBatch(*(None if part is None else part[rows] for part in batch))


class DatasetBuilder(NamedTuple):
    """Gives a data set's examples, as often as it is asked.

    Attributes:
        whole: all examples.
        seed: of the order in which they come when they are shuffled.
    """

    whole: MiniBatch
    seed: int

    def __call__(self, *, shuffle: bool = False, start: int | None = None, end: int | None = None) -> Examples:
        """Those from `start` to `end`; shuffled within that region, always in the same order."""
        part = _rows(self.whole, slice(start, end))
        if shuffle:
            generator = torch.Generator().manual_seed(self.seed)
            part = _rows(part, torch.randperm(len(part.image), generator=generator))
        return Examples(part)


class Dataset(NamedTuple):
    """A handle for a data set.

    Attributes:
        builder_fn: `builder_fn(shuffle=..., start=..., end=...)` gives its `Examples`.
        task_key: of its task.
        num_examples: how many there are.
    """

    builder_fn: DatasetBuilder
    task_key: TaskKey
    num_examples: int


@runtime_checkable
class TaskStream(Protocol):
    """A stream of tasks: any object with these two methods."""

    def events(self) -> Iterable[Event]:
        """The events in their order; always the same."""

    def get_dataset_by_key(self, dataset_key: str) -> Dataset:
        """The data set of a key that an event holds."""
