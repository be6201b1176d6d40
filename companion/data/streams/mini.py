"""NEVIS-mini: a stream of a hundred small tasks of vision, from data that come with packages and from drawings.

Each task is drawn from a family: handwritten digits, photographs told apart by their texture, gratings, shapes, printed
glyphs, faces, clothes, counting, and shapes with several labels at once. Families enter the stream as time goes on.
Every task has its own classes, size, turn, sign and noise, and five data sets: train, dev, train_and_dev, dev_test and
test. Between what a task learns from and what it is judged by no photograph, digit, garment, face or region of a
photograph is shared.

>>> stream = MiniStream(num_tasks=3)
>>> [key.name for key in stream.tasks]
['000-gratings', '001-textures', '002-digits']
>>> training, prediction = list(stream.events())[:2]
>>> stream.get_dataset_by_key(prediction.dataset_key).num_examples
200
"""

import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate

from companion.data.pictures import SHAPES, SIZE, _drawings, classes_of, pictures
from companion.data.streams.events import (
    Dataset,
    DatasetBuilder,
    Event,
    MiniBatch,
    PredictionEvent,
    TaskKey,
    TaskKind,
    TaskMetadata,
    TrainingEvent,
)
from companion.foundations.validation import require, require_count

ENTERS = {  # the place of the first task that a family may have
    "digits": 0,
    "textures": 0,
    "gratings": 0,
    "shapes": 10,
    "glyphs": 15,
    "faces": 20,
    "clothes": 30,
    "counts": 40,
    "several labels": 50,
}
FAMILIES = tuple(ENTERS)
SPLITS = ("train", "dev", "train_and_dev", "dev_test", "test")
FEWEST, MOST = 50, 1000  # training pictures
HELD_OUT = 200  # pictures of dev_test, and of test
PHOTOGRAPHS = (
    "brick.png",
    "grass.png",
    "gravel.png",
    "camera.png",
    "coins.png",
    "moon.png",
    "page.png",
    "text.png",
    "cell.png",
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "retina.jpg",
)
LONGEST = 600  # pixels of a photograph's longer side, after it was made smaller
LOOKS, FLAT = 16, 0.02  # a region that varies less is passed over, so many times at most
BANDS = {"train": (0.0, 0.5), "dev": (0.5, 0.65), "dev_test": (0.65, 0.8), "test": (0.8, 1.0)}  # of its width


class MiniStream:
    """A stream of small tasks, (n, 1, 16, 16) float32 pictures of mean 0 and standard deviation 1 each.

    Task number `place` depends on `seed` and `place` only: a shorter stream is the beginning of a longer one.

    Args:
        num_tasks: how many.
        seed: of all tasks.
        splits: what is to be predicted after each task was learned, of `SPLITS`.

    Raises:
        TypeError, ValueError: numbers out of range, or an unknown split.
    """

    def __init__(self, num_tasks: int = 108, seed: int = 0, splits: Sequence[str] = ("test",)) -> None:
        require_count("num_tasks", num_tasks, 1)
        require_count("seed", seed, 0)
        known = not isinstance(splits, str) and len(splits) > 0 and all(split in SPLITS for split in splits)
        require(known, "splits", repr(splits), "some of " + ", ".join(SPLITS))
        self.num_tasks, self.seed, self.splits = num_tasks, seed, tuple(splits)
        self.families = tuple(_family(seed, place) for place in range(num_tasks))
        self._made: dict[int, _Task] = {}

    @property
    def tasks(self) -> list[TaskKey]:
        """All tasks' keys, in time. The first time this makes all tasks, in seconds."""
        return [self._task(place).key for place in range(self.num_tasks)]

    def events(self) -> Iterator[Event]:
        """For each task a `TrainingEvent`, then a `PredictionEvent` for each of `splits`."""
        for place, family in enumerate(self.families):
            name = _name(place, family)
            yield TrainingEvent(f"{name}/train", f"{name}/train_and_dev", f"{name}/dev")
            for split in self.splits:
                yield PredictionEvent(f"{name}/{split}")

    def get_dataset_by_key(self, dataset_key: str) -> Dataset:
        """A task's data set; the task is made when it is first asked for.

        Raises:
            ValueError: no task of this stream has such a key.
        """
        name, _, split = str(dataset_key).rpartition("/")
        number = name.partition("-")[0]
        place = int(number) if number.isdecimal() else -1
        known = 0 <= place < self.num_tasks and name == _name(place, self.families[place]) and split in SPLITS
        allowed = f"a key of this stream, such as {_name(0, self.families[0])}/train"
        require(known, "dataset_key", repr(dataset_key), allowed)
        task = self._task(place)
        return Dataset(DatasetBuilder(task.data[split], place), task.key, len(task.data[split].image))

    def _task(self, place: int) -> "_Task":
        if place not in self._made:
            self._made[place] = _make(self.seed, place)
        return self._made[place]


class _Task(NamedTuple):
    key: TaskKey
    data: dict[str, MiniBatch]


def _name(place: int, family: str) -> str:
    return f"{place:03d}-{family.replace(' ', '_')}"


def _generator(seed: int, place: int) -> torch.Generator:
    return torch.Generator().manual_seed(1_000_003 * int(seed) + place)


def _family(seed: int, place: int) -> str:
    entered = [family for family in FAMILIES if ENTERS[family] <= place]
    return entered[_whole(len(entered), _generator(seed, place))]


def _make(seed: int, place: int) -> _Task:
    generator = _generator(seed, place)
    entered = [family for family in FAMILIES if ENTERS[family] <= place]
    family = entered[_whole(len(entered), generator)]
    size = round(FEWEST * (MOST / FEWEST) ** torch.rand((), generator=generator).item())
    turns, sign = (0, 0, 1, 2)[_whole(4, generator)], (1, 1, 1, -1, -1)[_whole(5, generator)]
    noise = (0.0, 0.2, 0.5)[_whole(3, generator)]
    num_classes, drawn = _DRAW[family](size, generator)

    def seen(batch: MiniBatch) -> MiniBatch:
        image = sign * torch.rot90(batch.image, turns, (2, 3))
        return batch._replace(image=_standard(image + noise * torch.randn(image.shape, generator=generator)))

    data = {split: seen(batch) for split, batch in drawn.items()}
    both = [data["train"], data["dev"]]
    parts = zip(*both)
    data["train_and_dev"] = MiniBatch(*(None if part[0] is None else torch.cat(part) for part in parts))
    kind = TaskKind.CLASSIFICATION if data["train"].label is not None else TaskKind.MULTI_LABEL_CLASSIFICATION
    return _Task(TaskKey(_name(place, family), kind, TaskMetadata(num_classes)), data)


# --- families: each gives its number of classes, and the pictures of the four splits -------------------------------


def _drawn(family: str, classes: Int[Tensor, " k"], sizes: dict[str, int], generator: torch.Generator):
    """Pictures of some classes of a family of `companion.data.pictures`.

    Train and dev come from one draw, dev_test and test from another, so that no file's picture is in both unless its
    class has too few.
    """
    data = {}
    for source, (first, second) in {"train": ("train", "dev"), "test": ("dev_test", "test")}.items():
        labels = torch.randint(len(classes), (sizes[first] + sizes[second],), generator=generator)
        images = pictures(family, classes[labels], source, generator)
        for split, rows in ((first, slice(sizes[first])), (second, slice(sizes[first], None))):
            data[split] = MiniBatch(images[rows], labels[rows], None)
    return len(classes), data


def _sizes(size: int, held_out: int = HELD_OUT) -> dict[str, int]:
    return {"train": size, "dev": max(20, size // 5), "dev_test": held_out, "test": held_out}


def _known(families: Sequence[str], fewest: int, most: int, size: int, generator: torch.Generator):
    family = families[_whole(len(families), generator)]
    count = min(_between(fewest, most, generator), classes_of(family))
    return _drawn(family, torch.randperm(classes_of(family), generator=generator)[:count], _sizes(size), generator)


def _digits(size: int, generator: torch.Generator):
    count = _between(3, 10, generator)  # of 1,200 for training, half of those of these classes
    return _drawn(
        "digits", torch.randperm(10, generator=generator)[:count], _sizes(min(size, 60 * count), 100), generator
    )


def _clothes(size: int, generator: torch.Generator):
    return _known(("clothes", "other_clothes"), 3, 5, size, generator)


def _glyphs(size: int, generator: torch.Generator):
    return _known(("letters", "print", "other_letters", "greek", "cyrillic", "symbols"), 4, 10, size, generator)


def _shapes(size: int, generator: torch.Generator):
    return _known(("shapes", "other_shapes"), 3, 8, size, generator)


def _each(size: int, draw) -> dict[str, MiniBatch]:
    """The four splits by one function (split, number of pictures) -> (images, labels)."""
    data = {}
    for split, count in _sizes(size).items():
        images, labels = draw(split, count)
        one_hot = labels.is_floating_point()
        data[split] = MiniBatch(_standard(images), None if one_hot else labels, labels if one_hot else None)
    return data


def _gratings(size: int, generator: torch.Generator):
    count = _between(2, 8, generator)
    waves, by_length = 2 + 4 * _unit((), generator), _unit((), generator) < 0.4
    x, y = _grid()

    def draw(split: str, n: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(count, (n,), generator=generator)
        angle = math.pi * (_unit((n,), generator) if by_length else (labels + 0.3 * _unit((n,), generator)) / count)
        length = waves * (1 + 0.35 * labels) if by_length else waves * (1 + 0.5 * _unit((n,), generator))
        angle, length, phase = (each[:, None, None] for each in (angle, length, 2 * math.pi * _unit((n,), generator)))
        return torch.sin(length * (x * angle.cos() + y * angle.sin()) + phase)[:, None], labels

    return count, _each(size, draw)


def _textures(size: int, generator: torch.Generator):
    count = _between(3, 8, generator)
    chosen = torch.randperm(len(PHOTOGRAPHS), generator=generator)[:count]
    side = SIZE * _between(1, 3, generator)

    def draw(split: str, n: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(count, (n,), generator=generator)
        places, crops = _unit((n, LOOKS, 2), generator), torch.empty(n, 1, side, side)
        for row, (label, looks) in enumerate(zip(labels.tolist(), places.tolist())):
            photograph = _photographs()[chosen[label]]
            first, last = (round(edge * photograph.shape[1]) for edge in BANDS[split])
            for down, across in looks:
                top, left = int(down * (len(photograph) - side + 1)), first + int(across * (last - first - side + 1))
                crops[row, 0] = photograph[top : top + side, left : left + side]
                if crops[row].std() > FLAT:
                    break
        return avg_pool2d(crops, side // SIZE), labels

    return count, _each(size, draw)


def _faces(size: int, generator: torch.Generator):
    images, labels = _portraits()
    ends = {"train": (0, 96), "dev": (96, 120), "dev_test": (120, 160), "test": (160, 200)}
    data = {}
    for split, (first, end) in ends.items():
        order = first + torch.randperm(end - first, generator=generator)
        order = order[:size] if split == "train" else order
        mirrored = torch.rand(len(order), generator=generator) < 0.5
        shown = torch.where(mirrored[:, None, None, None], images[order].flip(3), images[order])
        data[split] = MiniBatch(_standard(shown), labels[order], None)
    return 2, data


def _counts(size: int, generator: torch.Generator):
    count = _between(3, 5, generator)
    x, y = _grid()

    def draw(split: str, n: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(count, (n,), generator=generator)
        cell = torch.rand(n, 9, generator=generator).argsort(1)[:, :count]  # each disc in a cell of its own
        across = (cell % 3 - 1) * 0.62 + 0.16 * _unit((n, count), generator) - 0.08
        down = (cell // 3 - 1) * 0.62 + 0.16 * _unit((n, count), generator) - 0.08
        radius = 0.15 + 0.1 * _unit((n, count), generator)
        distance = torch.hypot(x - across[..., None, None], y - down[..., None, None])
        discs = ((radius[..., None, None] - distance) * SIZE / 2 + 0.5).clamp(0, 1)
        shown = torch.arange(count) <= labels[:, None]
        return (discs * shown[..., None, None]).amax(1, keepdim=True), labels

    return count, _each(size, draw)


def _several_labels(size: int, generator: torch.Generator):
    count = _between(3, 5, generator)
    chosen = _drawings(SHAPES)[torch.randperm(len(SHAPES), generator=generator)[:count]]

    def draw(split: str, n: int) -> tuple[Tensor, Tensor]:
        labels = (torch.rand(n, count, generator=generator) < 0.4).float()
        scale, turn = 1.8 + 0.8 * _unit((n, count), generator), 0.5 * _unit((n, count), generator) - 0.25
        shift = scale[..., None] * (1.1 * _unit((n, count, 2), generator) - 0.55)
        rows = [
            torch.stack([turn.cos() * scale, -turn.sin() * scale, shift[..., 0]], dim=-1),
            torch.stack([turn.sin() * scale, turn.cos() * scale, shift[..., 1]], dim=-1),
        ]
        places = affine_grid(torch.stack(rows, dim=-2).flatten(0, 1), [n * count, 1, 32, 32], align_corners=False)
        placed = grid_sample(chosen.repeat(n, 1, 1)[:, None], places, align_corners=False)
        shown = placed.view(n, count, 32, 32) * labels[..., None, None]
        return avg_pool2d(shown.amax(1, keepdim=True), 2), labels

    return count, _each(size, draw)


_DRAW = {
    "digits": _digits,
    "textures": _textures,
    "gratings": _gratings,
    "shapes": _shapes,
    "glyphs": _glyphs,
    "faces": _faces,
    "clothes": _clothes,
    "counts": _counts,
    "several labels": _several_labels,
}


# --- what they are drawn from --------------------------------------------------------------------------------------


def _whole(end: int, generator: torch.Generator) -> int:
    """A number from 0 to end - 1."""
    return int(torch.randint(end, (), generator=generator))


def _between(fewest: int, most: int, generator: torch.Generator) -> int:
    return fewest + _whole(most - fewest + 1, generator)


def _unit(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator)


def _standard(images: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
    return (images - images.mean((1, 2, 3), keepdim=True)) / (images.std((1, 2, 3), keepdim=True) + 1e-3)


def _grid() -> tuple[Tensor, Tensor]:
    """x and y of every pixel, from -1 to 1."""
    line = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    return line.expand(SIZE, SIZE), line[:, None].expand(SIZE, SIZE)


def _folder() -> Path:
    """Where scikit-image keeps its pictures."""
    import skimage

    return Path(skimage.__file__).parent / "data"


@cache
def _photographs() -> list[Float[Tensor, "h w"]]:
    from PIL import Image

    grey = []
    for name in PHOTOGRAPHS:
        with Image.open(_folder() / name) as photograph:
            smaller = photograph.convert("L")
            scale = min(1, LONGEST / max(smaller.size))
            width, height = (round(side * scale) for side in smaller.size)
            smaller = smaller.resize((width, height), Image.Resampling.BOX) if scale < 1 else smaller
            grey.append(torch.from_numpy(np.array(smaller)).float() / 255)
    return grey


@cache
def _portraits() -> tuple[Float[Tensor, "200 1 16 16"], Int[Tensor, "200"]]:
    """Faces (1) and what is none (0), in an order that never changes, so that no face changes its split."""
    stored = torch.from_numpy(np.load(_folder() / "lfw_subset.npy")).float()[:, None]
    order = torch.randperm(len(stored), generator=torch.Generator().manual_seed(0))
    small = interpolate(stored, size=(SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
    return small[order], (order < 100).long()
