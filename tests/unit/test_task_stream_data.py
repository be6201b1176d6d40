"""Lesson 10's stream of tasks: what the interface promises, that nothing is learned and judged at once, and that the tasks can
be learned.
"""

import itertools
from functools import cache

import pytest
import torch
from agree import seeded
from torch.nn.functional import avg_pool2d

from companion.data import pictures as drawings
from companion.data.images import LabelledImages
from companion.data.streams import mini as module
from companion.data.streams.events import (
    Dataset,
    DatasetBuilder,
    Examples,
    MiniBatch,
    PredictionEvent,
    TaskKey,
    TaskKind,
    TaskMetadata,
    TaskStream,
    TrainingEvent,
)
from companion.data.streams.mini import BANDS, ENTERS, FAMILIES, SPLITS, MiniStream
from companion.methods.nevis import knn_error

SEEDS = range(5)
BLANK = 0.1  # the standard deviation of a picture with nothing to see, at most
each_seed = pytest.mark.parametrize("seed", SEEDS)
each_family = pytest.mark.parametrize("family", FAMILIES)


@cache
def whole(seed: int) -> MiniStream:
    return MiniStream(seed=seed)


def data_of(stream: MiniStream, name: str) -> dict[str, MiniBatch]:
    """All pictures of a task, by split."""
    return {split: stream.get_dataset_by_key(f"{name}/{split}").builder_fn.whole for split in SPLITS}


@cache
def tasks_of(seed: int) -> list[tuple[str, TaskKey, dict[str, MiniBatch]]]:
    """Family, key and pictures of each task."""
    stream = whole(seed)
    return [(family, key, data_of(stream, key.name)) for family, key in zip(stream.families, stream.tasks, strict=True)]


def rows_of(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def ramp(n: int = 10, classes: int = 3) -> MiniBatch:
    """Pictures that are told apart by any of their pixels."""
    return MiniBatch(torch.arange(float(n)).view(n, 1, 1, 1).expand(n, 1, 2, 2), torch.arange(n) % classes, None)


# --- events, keys and data sets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (TrainingEvent, ("train_dataset_key", "train_and_dev_dataset_key", "dev_dataset_key")),
        (PredictionEvent, ("dataset_key",)),
        (TaskMetadata, ("num_classes",)),
        (TaskKey, ("name", "kind", "metadata")),
        (MiniBatch, ("image", "label", "multi_label_one_hot")),
        (Dataset, ("builder_fn", "task_key", "num_examples")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_fields_have_the_reference_interfaces_names_and_order(kind, fields):
    assert kind._fields == fields


def test_kinds_of_tasks_are_the_reference_interfaces():
    assert [(kind.name, kind.value) for kind in TaskKind] == [("CLASSIFICATION", 0), ("MULTI_LABEL_CLASSIFICATION", 1)]


def test_a_target_is_whichever_there_is():
    labels, one_hot = torch.tensor([1, 0]), torch.eye(2)
    assert torch.equal(MiniBatch(torch.zeros(2, 1, 2, 2), labels, None).target, labels)
    assert torch.equal(MiniBatch(torch.zeros(2, 1, 2, 2), None, one_hot).target, one_hot)


def test_a_builder_gives_a_region_in_its_order():
    builder = DatasetBuilder(ramp(), seed=0)
    for start, end, wanted in ((None, None, range(10)), (2, 7, range(2, 7)), (None, 3, range(3)), (8, None, (8, 9))):
        examples = builder(shuffle=False, start=start, end=end)
        assert len(examples) == len(list(wanted))
        assert [int(example.image[0, 0, 0]) for example in examples] == list(wanted)


def test_a_region_is_shuffled_within_itself_and_always_alike():
    builder = DatasetBuilder(ramp(100), seed=3)
    orders = [
        [int(example.image[0, 0, 0]) for example in builder(shuffle=True, start=20, end=60)]
        for _ in range(2)
    ]  # fmt: skip
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == list(range(20, 60))
    assert orders[0] != list(range(20, 60))
    other = [int(example.image[0, 0, 0]) for example in DatasetBuilder(ramp(100), 4)(shuffle=True, start=20, end=60)]
    assert other != orders[0]


def test_pictures_keep_their_labels_when_they_are_shuffled():
    (batch,) = DatasetBuilder(ramp(50), seed=0)(shuffle=True).batch(50)
    assert torch.equal(batch.image[:, 0, 0, 0].long() % 3, batch.label)


@pytest.mark.parametrize(("size", "sizes"), [(4, [4, 4, 2]), (5, [5, 5]), (10, [10]), (99, [10]), (1, [1] * 10)])
def test_batches_are_so_large_and_the_last_one_what_is_left(size, sizes):
    batches = list(DatasetBuilder(ramp(), seed=0)().batch(size))
    assert [len(batch.label) for batch in batches] == sizes
    assert torch.equal(torch.cat([batch.image for batch in batches]), ramp().image)
    assert torch.equal(torch.cat([batch.label for batch in batches]), ramp().label)


def test_examples_come_one_by_one_as_often_as_asked():
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    examples = Examples(MiniBatch(ramp(2).image, None, labels))
    for _ in range(2):
        first, second = examples
        assert first.image.shape == (1, 2, 2)
        assert first.label is None
        assert torch.equal(second.multi_label_one_hot, labels[1])
    single = next(iter(Examples(ramp(2))))
    assert single.label.shape == ()
    assert single.multi_label_one_hot is None


# --- the stream ---------------------------------------------------------------------------------------------------


def test_a_stream_trains_on_each_task_then_asks_for_its_splits():
    stream = MiniStream(4, splits=("dev_test", "test"))
    assert isinstance(stream, TaskStream)
    names = [key.name for key in stream.tasks]
    events = list(stream.events())
    assert events == list(stream.events())
    assert len(events) == 12
    parts = [events[first : first + 3] for first in range(0, 12, 3)]
    for name, (training, *predictions) in zip(names, parts, strict=True):
        assert training == TrainingEvent(f"{name}/train", f"{name}/train_and_dev", f"{name}/dev")
        assert predictions == [PredictionEvent(f"{name}/dev_test"), PredictionEvent(f"{name}/test")]


def test_a_data_set_is_its_keys():
    stream = MiniStream(2)
    for key in stream.tasks:
        for split in SPLITS:
            dataset = stream.get_dataset_by_key(f"{key.name}/{split}")
            assert dataset.task_key == key
            assert dataset.num_examples == len(dataset.builder_fn()) == len(list(dataset.builder_fn()))


def test_names_say_place_and_family():
    names = [key.name for key in whole(0).tasks]
    assert names == [f"{place:03d}-{family.replace(' ', '_')}" for place, family in enumerate(whole(0).families)]


def test_a_stream_repeats_itself_and_a_shorter_one_is_its_beginning():
    long, again, short = MiniStream(12, seed=3), MiniStream(12, seed=3), MiniStream(5, seed=3)
    before = torch.random.get_rng_state()
    assert again.tasks == long.tasks
    assert short.tasks == long.tasks[:5]
    assert short.families == long.families[:5]
    assert list(short.events()) == list(long.events())[:10]
    late = data_of(MiniStream(12, seed=3), long.tasks[11].name)  # made before any other
    for stream, places in ((again, range(12)), (short, range(5))):
        for place in places:
            name = long.tasks[place].name
            for split in SPLITS:
                ours, others = (each.get_dataset_by_key(f"{name}/{split}").builder_fn.whole for each in (long, stream))
                assert torch.equal(ours.image, others.image)
                assert torch.equal(ours.target, others.target)
    assert torch.equal(late["test"].image, data_of(long, long.tasks[11].name)["test"].image)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seeds_differ():
    assert len({whole(seed).families for seed in SEEDS}) == 5


@each_seed
def test_a_hundred_tasks_of_seven_families_or_more(seed):
    families = whole(seed).families
    assert len(families) == len(whole(seed).tasks) >= 100
    assert len(set(families)) >= 7


def test_families_enter_at_their_places_and_not_before():
    firsts = {family: [] for family in FAMILIES}
    for seed in range(200):
        families = MiniStream(60, seed).families
        for family, places in firsts.items():
            places.append(families.index(family) if family in families else 60)
    assert {family: min(places) for family, places in firsts.items()} == ENTERS


# --- its pictures -------------------------------------------------------------------------------------------------


@each_seed
def test_sizes_are_as_promised(seed):
    for family, key, data in tasks_of(seed):
        size = {split: len(data[split].image) for split in SPLITS}
        assert 50 <= size["train"] <= 1000
        assert size["train_and_dev"] == size["train"] + size["dev"]
        if family == "faces":  # there are two hundred stored portraits
            assert size["train"] <= 96
            assert (size["dev"], size["dev_test"], size["test"]) == (24, 40, 40)
        else:
            held_out = 100 if family == "digits" else 200
            assert (size["dev"], size["dev_test"], size["test"]) == (max(20, size["train"] // 5), held_out, held_out)
        if family == "digits":
            assert size["train"] <= 60 * key.metadata.num_classes


def test_sizes_span_the_range_evenly_on_a_logarithmic_scale():
    sizes = [
        len(data["train"].image)
        for seed in SEEDS
        for family, _, data in tasks_of(seed)
        if family in ("shapes", "gratings")
    ]
    below = sum(size < (50 * 1000) ** 0.5 for size in sizes) / len(sizes)
    assert 0.3 < below < 0.7
    assert min(sizes) < 80 < 700 < max(sizes)


@each_seed
def test_every_picture_is_standardised_but_a_blank_one(seed):
    blank = 0
    for family, _, data in tasks_of(seed):
        for split in SPLITS:
            images = data[split].image
            assert images.shape[1:] == (1, 16, 16)
            assert images.dtype == torch.float32
            assert images.isfinite().all()
            assert images.mean((1, 2, 3)).abs().max() < 1e-4
            std = images.std((1, 2, 3))
            flat = std < BLANK
            assert ((std[~flat] - 1).abs() < 0.02).all()
            assert not flat.any() or family in ("textures", "several labels")
            blank += int(flat.sum())
            if family == "several labels":  # blank is what has no label, unless noise is added
                assert not bool(data[split].multi_label_one_hot[flat].any())
    assert blank < 1000


@each_seed
def test_every_class_is_there_to_be_learned_and_labels_are_in_range(seed):
    for _, key, data in tasks_of(seed):
        count = key.metadata.num_classes
        assert count >= 2
        for split in SPLITS:
            label, one_hot = data[split].label, data[split].multi_label_one_hot
            if key.kind is TaskKind.CLASSIFICATION:
                assert one_hot is None
                assert label.dtype == torch.int64
                assert label.shape == (len(data[split].image),)
                assert 0 <= int(label.min()) <= int(label.max()) < count
                if split in ("train", "train_and_dev"):
                    assert len(label.unique()) == count
            else:
                assert label is None
                assert one_hot.shape == (len(data[split].image), count)
                assert set(one_hot.unique().tolist()) == {0.0, 1.0}
                positives = one_hot.sum(0)
                assert (positives > 0).all()
                assert (positives < len(one_hot)).all()


@each_seed
def test_the_kind_goes_with_the_family(seed):
    for family, key, _ in tasks_of(seed):
        assert (key.kind is TaskKind.MULTI_LABEL_CLASSIFICATION) == (family == "several labels")


def test_train_and_dev_is_both_in_turn():
    for _, _, data in tasks_of(0):
        both = torch.cat([data["train"].image, data["dev"].image])
        assert torch.equal(data["train_and_dev"].image, both)
        assert torch.equal(data["train_and_dev"].target, torch.cat([data["train"].target, data["dev"].target]))


# --- what is learned is not judged ----------------------------------------------------------------------------------


@each_seed
def test_no_picture_is_learned_and_judged(seed):
    """None that is not blank."""
    for _, _, data in tasks_of(seed):
        seen = {split: rows_of(data[split].image[data[split].image.std((1, 2, 3)) > BLANK]) for split in SPLITS}
        assert not seen["train"] & seen["dev"]
        assert not seen["train_and_dev"] & (seen["test"] | seen["dev_test"])


def test_regions_of_photographs_do_not_overlap(monkeypatch):
    """Photographs whose pixels say how far across they are give pictures of their band alone."""
    widths = (384, 448, 512, 600)
    across = [torch.linspace(0, 1, width).expand(200, width) for width in widths] * 4
    monkeypatch.setattr(module, "_photographs", lambda: across)
    monkeypatch.setattr(module, "_standard", lambda images: images)
    for seed in range(6):
        _, data = module._textures(400, seeded(seed))
        for split, (left, right) in BANDS.items():
            image = data[split].image
            assert left - 0.002 <= float(image.min())
            assert float(image.max()) <= right + 0.002
    edges = sorted(BANDS.values())
    assert edges[0][0] == 0
    assert edges[-1][1] == 1
    assert all(before[1] == after[0] for before, after in itertools.pairwise(edges))


def test_photographs_are_wide_enough_for_a_region_of_each_band():
    for photograph in module._photographs():
        height, width = photograph.shape
        assert max(height, width) <= module.LONGEST
        assert height >= 3 * module.SIZE
        for left, right in BANDS.values():
            assert round(right * width) - round(left * width) >= 3 * module.SIZE
        assert 0 <= float(photograph.min()) < float(photograph.max()) <= 1


def test_no_portrait_changes_its_split(monkeypatch):
    """Portraits whose pixels are their number."""
    numbered = torch.arange(200.0).view(200, 1, 1, 1).expand(200, 1, 16, 16)
    labels = module._portraits()[1]
    monkeypatch.setattr(module, "_portraits", lambda: (numbered, labels))
    monkeypatch.setattr(module, "_standard", lambda images: images)
    shown = {split: set() for split in ("train", "dev", "dev_test", "test")}
    for seed in range(20):
        _, data = module._faces(50 + 10 * seed, seeded(seed))
        for split, places in shown.items():
            found = data[split].image[:, 0, 0, 0].long()
            assert len(found.unique()) == len(found)
            assert torch.equal(data[split].label, labels[found])
            places |= set(found.tolist())
    assert sorted(place for places in shown.values() for place in places) == list(range(200))


def test_portraits_are_half_faces_and_never_in_another_order():
    images, labels = module._portraits()
    assert labels.bincount().tolist() == [100, 100]
    module._portraits.cache_clear()
    torch.manual_seed(11)
    again, _ = module._portraits()
    assert torch.equal(images, again)
    assert len(rows_of(images)) == 200


@pytest.mark.parametrize(("family", "loader"), [("digits", "_upsampled"), ("clothes", "_clothes")])
def test_digits_and_clothes_keep_to_the_split_of_their_file(monkeypatch, family, loader):
    """The file's pictures are marked: those for training dark, those held out light."""
    original, asked = getattr(drawings, loader), []
    marked = {
        split: LabelledImages(torch.full_like(original(split).images, value), original(split).labels)
        for split, value in (("train", 0.2), ("test", 0.8))
    }

    def noted(images, found, labels, generator):
        asked.append((float(images[0, 0, 0, 0]), len(labels)))
        return images[: len(labels)]

    monkeypatch.setattr(drawings, loader, marked.__getitem__)
    monkeypatch.setattr(drawings, "_chosen", noted)
    _, data = module._DRAW[family](100, seeded(2))
    size = {split: len(batch.image) for split, batch in data.items()}
    learned, judged = asked
    assert learned == (pytest.approx(0.2), size["train"] + size["dev"])
    assert judged == (pytest.approx(0.8), size["dev_test"] + size["test"])


@pytest.mark.parametrize("family", ["digits", "clothes"])
def test_no_file_picture_is_in_train_and_dev(monkeypatch, family):
    """Their one draw repeats no picture while its class has enough."""
    monkeypatch.setattr(drawings, "_moved", lambda images, *arguments, **options: avg_pool2d(images, 2))
    monkeypatch.setattr(module, "pictures", lambda family, *call: drawings.FAMILIES[family][1](*call))
    for seed in range(3):
        _, data = module._DRAW[family](120, seeded(seed))
        train, dev = rows_of(data["train"].image), rows_of(data["dev"].image)
        assert not train & dev
        assert not (train | dev) & (rows_of(data["dev_test"].image) | rows_of(data["test"].image))


# --- families can be learned, and are not learned already -----------------------------------------------------------


def spectrum(images: torch.Tensor) -> torch.Tensor:
    return torch.fft.rfft2(images).abs().flatten(1)


def vote(key: TaskKey, data: dict[str, MiniBatch], features) -> float:
    learned, asked = data["train_and_dev"], data["test"]
    seen, queries = features(learned.image), features(asked.image)
    return knn_error(key.kind, seen, learned.target, queries, asked.target, key.metadata.num_classes)


def chance(data: dict[str, MiniBatch]) -> float:
    """The error of who always says what is most common in the test, or of scores that say nothing of the labels."""
    test = data["test"]
    if test.label is None:
        return 1 - test.multi_label_one_hot.mean().item()
    return 1 - test.label.bincount().max().item() / len(test.label)


@each_family
def test_a_vote_of_neighbours_is_better_than_chance_and_not_perfect(family):
    """Of pixels, or of spectra where pictures of a class are shifted: the better of the two, in the mean of a stream's tasks."""
    tasks = [(key, data) for own, key, data in tasks_of(0) if own == family]
    assert len(tasks) >= 5
    by_chance = sum(chance(data) for _, data in tasks) / len(tasks)
    errors = [
        sum(vote(key, data, features) for key, data in tasks) / len(tasks)
        for features in (lambda images: images.flatten(1), spectrum)
    ]
    assert min(errors) < 0.8 * by_chance
    assert max(errors) > 0.02


def test_labels_that_are_shuffled_cannot_be_learned():
    """The measure of the test above: without the right labels it is at chance."""
    votes = []
    for family, key, data in tasks_of(0):
        if family == "clothes":
            order = torch.randperm(len(data["train_and_dev"].image), generator=seeded())
            mixed = data["train_and_dev"]._replace(label=data["train_and_dev"].label[order])
            votes.append(vote(key, data | {"train_and_dev": mixed}, spectrum) - chance(data))
    assert sum(votes) / len(votes) > -0.05
