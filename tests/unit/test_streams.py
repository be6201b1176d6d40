"""Streams whose law changes: at the stated rows, by the stated turn, or not at all; tasks that follow each other; and three
airports as they were.

Seeds are fixed.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from agree import seeded
from scipy.stats import chi2_contingency, chisquare, kstest
from sklearn.datasets import load_digits

from companion.data import streams
from companion.data.streams import (
    Stream,
    digit_stream,
    flights,
    moving_classes,
    permuted_digits,
    random_label_digits,
)

CHANCE = 1e-3
each_seed = pytest.mark.parametrize("seed", range(5))


def places_of(points: torch.Tensor, classes: int) -> torch.Tensor:
    """The nearest of the places that stand evenly on a circle."""
    angle = torch.atan2(points[:, 1], points[:, 0])
    return (angle * classes / (2 * math.pi)).round().long() % classes


def names_by_segment(labels: torch.Tensor, truth: torch.Tensor, segment: int, classes: int) -> list[list[int]]:
    """In each whole segment, the label that each place (or digit) has; all its rows must agree."""
    found = []
    for start in range(0, len(labels) - segment + 1, segment):
        rows = slice(start, start + segment)
        names = [set(labels[rows][truth[rows] == place].tolist()) for place in range(classes)]
        assert all(len(name) == 1 for name in names)
        found.append([name.pop() for name in names])
    return found


# --- classes that change places -------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 5])
@each_seed
def test_every_class_changes_its_place_at_each_change_and_only_there(classes, seed):
    n, segment = 1050, 150
    stream = moving_classes(n, "abrupt", segment=segment, num_classes=classes, std=0.05, generator=seeded(seed))
    assert stream.changes == tuple(range(150, 1050, 150))
    names = names_by_segment(stream.labels, places_of(stream.features, classes), segment, classes)
    assert len(names) == 7
    assert names[0] == list(range(classes))
    for before, after in itertools.pairwise(names):
        assert sorted(after) == list(range(classes))
        assert all(old != new for old, new in zip(before, after, strict=True))


def test_changes_are_drawn():
    """Three classes can change all their places in two ways only; five in many."""
    ways = {}
    for classes in (3, 5):
        stream = moving_classes(8000, "abrupt", segment=100, num_classes=classes, std=0.02, generator=seeded())
        names = names_by_segment(stream.labels, places_of(stream.features, classes), 100, classes)
        moves = [tuple(after.index(name) for name in before) for before, after in itertools.pairwise(names)]
        ways[classes] = set(moves)
        assert len({tuple(name) for name in names}) > 2
    assert len(ways[3]) == 2
    assert len(ways[5]) > 15


@pytest.mark.parametrize("make", [moving_classes, digit_stream])
@pytest.mark.parametrize(
    ("n", "segment", "changes"), [(10, 4, (4, 8)), (8, 4, (4,)), (9, 4, (4, 8)), (4, 4, ()), (3, 4, ()), (3, 1, (1, 2))]
)
def test_changes_are_every_segment_and_not_at_the_end(make, n, segment, changes):
    stream = make(n, "abrupt", segment=segment, generator=seeded())
    assert stream.changes == changes
    assert len(stream.features) == len(stream.labels) == n
    for drift in ("slow", "none"):
        assert make(n, drift, segment=segment, generator=seeded()).changes == ()


@pytest.mark.parametrize("classes", [2, 4])
def test_where_nothing_moves_classes_are_normal_around_places_on_a_circle(classes):
    points, labels, _ = moving_classes(20_000, "none", num_classes=classes, std=0.3, generator=seeded(3))
    assert chisquare(labels.bincount(minlength=classes).numpy()).pvalue > CHANCE
    angle = 2 * math.pi * labels.double() / classes
    left = (points - 1.5 * torch.stack([angle.cos(), angle.sin()], 1)) / 0.3
    for half in (left[:10_000], left[10_000:]):
        for column in half.T:
            assert kstest(column.numpy(), "norm").pvalue > CHANCE
        assert torch.corrcoef(half.T)[0, 1].abs() < 0.05


@pytest.mark.parametrize("turns", [1, -0.5, 2.25])
def test_slowly_the_circle_turns_evenly(turns):
    n = 30_000
    points, labels, _ = moving_classes(n, "slow", turns=turns, std=0.3, generator=seeded(1))
    for part in range(6):
        rows = slice(part * n // 6, part * n // 6 + 500)
        angle = 2 * math.pi * (labels[rows] / 3 + turns * torch.arange(n)[rows] / n)
        centres = 1.5 * torch.stack([angle.cos(), angle.sin()], 1)
        left = (points[rows] - centres) / 0.3
        for column in left.T:
            assert kstest(column.numpy(), "norm").pvalue > CHANCE
    late = points[-500:][labels[-500:] == 0].mean(0)
    assert math.cos(math.atan2(late[1], late[0]) - 2 * math.pi * turns) > 0.99


def test_slow_by_no_turn_is_none_and_abrupt_changes_labels_alone():
    for make in (moving_classes, digit_stream):
        still = make(700, "none", generator=seeded(2))
        torch.testing.assert_close(make(700, "slow", turns=0, generator=seeded(2)).features, still.features)
        abrupt = make(700, "abrupt", segment=200, generator=seeded(2))
        assert torch.equal(abrupt.features, still.features)
        assert torch.equal(abrupt.labels[:200], still.labels[:200])
        assert not bool((abrupt.labels[200:400] == still.labels[200:400]).any())


@pytest.mark.parametrize("drift", ["abrupt", "slow", "none"])
@pytest.mark.parametrize("make", [moving_classes, digit_stream])
def test_streams_repeat_with_their_generator_and_draw_from_no_other(make, drift):
    before, generator = torch.random.get_rng_state(), seeded()
    first, again, later = (
        make(300, drift, segment=100, generator=seeded()),
        *(make(300, drift, segment=100, generator=generator) for _ in range(2)),
    )
    assert isinstance(first, Stream)
    assert torch.equal(first.features, again.features)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(again.features, later.features)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(0)
    assert torch.equal(make(300, drift, segment=100).features, first.features)
    assert first.features.dtype == torch.float32
    assert first.labels.dtype == torch.int64


# --- digits ---------------------------------------------------------------------------------------------------


def stored_digits() -> tuple[torch.Tensor, torch.Tensor]:
    raw = load_digits()
    return torch.from_numpy(raw.images).float()[:, None] / 8 - 1, torch.from_numpy(raw.target)


def test_digits_are_those_of_scikit_learn_drawn_with_replacement():
    images, names = stored_digits()
    stream = digit_stream(4000, "none", generator=seeded())
    assert stream.features.shape == (4000, 1, 8, 8)
    known = {image.numpy().tobytes(): name for image, name in zip(images, names.tolist())}
    assert len(known) == 1797
    drawn = [image.numpy().tobytes() for image in stream.features]
    assert [known[image] for image in drawn] == stream.labels.tolist()
    expected = 1797 * (1 - math.exp(-4000 / 1797))  # so many of them, of 4,000 draws
    assert len(set(drawn)) == pytest.approx(expected, abs=60)
    assert chisquare(stream.labels.bincount().numpy(), names.bincount().numpy() * 4000 / 1797).pvalue > CHANCE
    assert (stream.features.min(), stream.features.max()) == (-1, 1)


@each_seed
def test_every_digit_gets_another_name_at_each_change(seed):
    truth = digit_stream(1500, "none", generator=seeded(seed)).labels
    stream = digit_stream(1500, "abrupt", generator=seeded(seed))
    assert stream.changes == (300, 600, 900, 1200)
    names = names_by_segment(stream.labels, truth, 300, 10)
    assert names[0] == list(range(10))
    for before, after in itertools.pairwise(names):
        assert sorted(after) == list(range(10))
        assert all(old != new for old, new in zip(before, after, strict=True))


def test_images_turn_evenly_and_a_quarter_is_exact():
    """Four rows in one turn: by 0, 90, 180 and 270 degrees, all in one direction."""
    for turns, direction in ((1, 1), (-1, -1)):
        still = digit_stream(4, "none", generator=seeded(5)).features
        turned = digit_stream(4, "slow", turns=turns, generator=seeded(5)).features
        for quarter in range(4):
            wanted = torch.rot90(still[quarter], direction * quarter, (1, 2))
            torch.testing.assert_close(turned[quarter], wanted, rtol=0, atol=1e-5)
    labels = digit_stream(50, "slow", generator=seeded(5)).labels
    assert torch.equal(labels, digit_stream(50, "none", generator=seeded(5)).labels)


def test_a_full_turn_gives_an_image_back_and_no_turn_leaves_it():
    images, _ = stored_digits()
    for turns in (0, 1, -1, 3):
        angle = torch.full((len(images),), 2 * math.pi * turns)
        torch.testing.assert_close(streams.drifting._turned(images, angle), images, rtol=0, atol=1e-4)
    half = streams.drifting._turned(images, torch.full((len(images),), math.pi))
    torch.testing.assert_close(half, images.flip(2, 3), rtol=0, atol=1e-4)
    slanted = streams.drifting._turned(images, torch.full((len(images),), math.pi / 5))
    assert slanted.min() >= -1 - 1e-5
    assert slanted.max() <= 1 + 1e-5
    corners = streams.drifting._turned(torch.ones(1, 1, 8, 8), torch.tensor([math.pi / 4]))[0, 0]
    assert corners[0, 0] == -1  # what comes in is black
    assert corners[4, 4].item() == pytest.approx(1)


# --- tasks that follow each other -----------------------------------------------------------------------------


def of_tasks(stream: Stream, tasks: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images in one row each, and labels, of each task."""
    pixels = stream.features.flatten(1).chunk(tasks)
    return list(zip(pixels, stream.labels.chunk(tasks), strict=True))


def table_of(pixels: torch.Tensor, labels: torch.Tensor) -> dict[bytes, int]:
    """The one label of each image."""
    found: dict[bytes, set[int]] = {}
    for image, label in zip(pixels, labels.tolist(), strict=True):
        found.setdefault(image.numpy().tobytes(), set()).add(label)
    assert all(len(names) == 1 for names in found.values())
    return {image: names.pop() for image, names in found.items()}


@pytest.mark.parametrize(("tasks", "size", "epochs"), [(1, 1, 1), (1, 20, 3), (4, 16, 1), (3, 50, 2)])
def test_a_task_of_random_labels_shows_each_digit_once_in_each_epoch_under_one_label(tasks, size, epochs):
    stream = random_label_digits(tasks, size=size, epochs=epochs, generator=seeded())
    assert isinstance(stream, Stream)
    assert stream.features.shape == (tasks * epochs * size, 1, 8, 8)
    assert stream.labels.shape == (tasks * epochs * size,)
    assert stream.changes == tuple(task * epochs * size for task in range(1, tasks))
    names = set(table_of(*of_tasks(stream, tasks)[0]))
    assert len(names) == size
    for pixels, labels in of_tasks(stream, tasks):
        assert set(table_of(pixels, labels)) == names  # the same digits in each task
        for epoch in pixels.chunk(epochs):
            assert {image.numpy().tobytes() for image in epoch} == names


def test_each_epoch_has_its_own_order_and_each_task_its_own_labels():
    stream = random_label_digits(6, size=60, epochs=3, generator=seeded())
    tables = [table_of(*task) for task in of_tasks(stream, 6)]
    for one, other in itertools.combinations(tables, 2):
        same = sum(one[image] == other[image] for image in one)
        assert same < 20  # of 60; 6 by chance
    epochs = stream.features.chunk(18)
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(epochs, 2))


def test_random_labels_are_even_and_have_nothing_to_do_with_the_digit():
    stream = random_label_digits(40, size=300, epochs=1, generator=seeded(2))
    assert chisquare(stream.labels.bincount(minlength=10).numpy()).pvalue > CHANCE
    images, names = stored_digits()
    known = {image.numpy().tobytes(): name for image, name in zip(images, names.tolist())}
    truth = torch.tensor([known[image.numpy().tobytes()] for image in stream.features])
    together = torch.zeros(10, 10).index_put_((truth, stream.labels), torch.ones(len(truth)), accumulate=True)
    assert chi2_contingency(together.numpy()).pvalue > CHANCE


@each_seed
def test_digits_for_random_labels_are_chosen_from_all(seed):
    images, names = stored_digits()
    known = {image.numpy().tobytes(): name for image, name in zip(images, names.tolist())}
    stream = random_label_digits(1, size=600, epochs=1, generator=seeded(seed))
    chosen = [known[image.numpy().tobytes()] for image in stream.features]
    assert chisquare(np.bincount(chosen), np.bincount(names) * 600 / 1797).pvalue > CHANCE
    assert len(table_of(*of_tasks(random_label_digits(1, size=1797, epochs=1), 1)[0])) == 1797


def test_a_seed_chooses_its_own_digits_for_random_labels():
    chosen = [
        {
            image.numpy().tobytes()
            for image in random_label_digits(1, size=100, epochs=1, generator=seeded(seed)).features
        }
        for seed in (0, 1)
    ]
    assert len(chosen[0] & chosen[1]) < 30  # by chance about six


def permutation_of(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The one permutation under which all rows are stored digits with these labels: pixel i shows what was at its i-th place."""
    images, names = stored_digits()
    images = images.flatten(1)
    by_pixels: dict[bytes, list[int]] = {}
    for row, image in enumerate(images.sort(1).values):
        by_pixels.setdefault(image.numpy().tobytes(), []).append(row)
    rows = [by_pixels[image.numpy().tobytes()] for image in pixels.sort(1).values]
    sure = [place for place, found in enumerate(rows) if len(found) == 1]
    assert len(sure) > 0.9 * len(rows)
    originals = images[[rows[place][0] for place in sure]]
    assert torch.equal(names[[rows[place][0] for place in sure]], labels[sure])
    fits = torch.cdist(pixels[sure].T, originals.T) == 0
    assert bool(fits.any(1).all())
    return fits


@pytest.mark.parametrize("cycle", [None, 1, 2, 3, 9])
def test_each_task_sees_digits_through_one_permutation_of_their_pixels(cycle):
    tasks, size = 5, 400
    stream = permuted_digits(tasks, size=size, cycle=cycle, generator=seeded())
    assert stream.features.shape == (tasks * size, 1, 8, 8)
    assert stream.changes == (400, 800, 1200, 1600)
    fits = [permutation_of(pixels, labels) for pixels, labels in of_tasks(stream, tasks)]
    for first, one in enumerate(fits):
        busy = one.sum(1) == 1  # the corners are black in all digits: they could have changed places
        assert busy.sum() > 50
        assert len(set(one[busy].float().argmax(1).tolist())) == busy.sum()
        for second, other in enumerate(fits):
            again = first == second if cycle is None else first % cycle == second % cycle
            same = (one[busy] & other[busy]).any(1).double().mean()
            assert same == 1 if again else same < 0.3


def test_each_task_draws_its_digits_anew_without_replacement():
    images, _ = stored_digits()
    stream = permuted_digits(3, size=300, cycle=1, generator=seeded())
    tables = [set(table_of(*task)) for task in of_tasks(stream, 3)]
    assert [len(table) for table in tables] == [300] * 3
    for one, other in itertools.combinations(tables, 2):
        assert len(one & other) == pytest.approx(300 * 300 / 1797, abs=30)
    everything = permuted_digits(1, size=1797, generator=seeded())
    assert torch.equal(everything.features.flatten().sort().values, images.flatten().sort().values)


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: random_label_digits(3, size=40, epochs=2, **options),
        lambda **options: permuted_digits(3, size=80, **options),
    ],
    ids=["labels", "pixels"],
)
def test_tasks_repeat_with_their_generator_and_draw_from_no_other(make):
    before, generator = torch.random.get_rng_state(), seeded()
    first, again, later = make(generator=seeded()), make(generator=generator), make(generator=generator)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first.features, again.features)
    assert torch.equal(first.labels, again.labels)
    assert first.changes == again.changes
    assert not torch.equal(again.features, later.features)
    torch.manual_seed(0)
    assert torch.equal(make().features, first.features)
    assert (first.features.dtype, first.labels.dtype) == (torch.float32, torch.int64)
    assert first.features.min() == -1
    assert first.features.max() == 1


def test_sizes_of_tasks_are_those_of_the_lesson_unless_told():
    labels, pixels = random_label_digits(generator=seeded()), permuted_digits(generator=seeded())
    assert (len(labels.labels), len(labels.changes), labels.changes[0]) == (60 * 15 * 160, 59, 15 * 160)
    assert (len(pixels.labels), len(pixels.changes), pixels.changes[0]) == (40 * 1600, 39, 1600)


# --- three airports -------------------------------------------------------------------------------------------


def columns() -> dict[str, np.ndarray]:
    with np.load(streams.drifting.FILES / "flights_2013.npz") as stored:
        return {name: stored[name] for name in stored.files}


def test_flights_are_rows_of_numbers_then_one_airport_and_one_carrier():
    features, labels, changes = flights()
    airports, carriers = len(set(columns()["airport"])), len(set(columns()["carrier"]))
    assert airports == 3
    assert features.shape == (41_066, 9 + airports + carriers)
    assert (features.dtype, labels.dtype, changes) == (torch.float32, torch.int64, ())
    assert features.isfinite().all()
    assert features.abs().max() <= 4
    for ones, stored in ((features[:, 9:12], "airport"), (features[:, 12:], "carrier")):
        assert set(ones.unique().tolist()) == {0, 1}
        assert bool((ones.sum(1) == 1).all())
        assert torch.equal(ones.argmax(1), torch.from_numpy(columns()[stored]).long())


def test_numbers_are_standardised_by_the_first_rows_alone_and_what_is_missing_is_at_their_mean():
    """What comes later is not known at the start."""
    features, stored = flights().features.double(), columns()
    for place in range(4):
        assert features[:2000, place].mean().abs() < 1e-5
        assert features[:2000, place].square().mean().item() == pytest.approx(1, abs=1e-4)
    for place, name in enumerate(["distance", "temperature", "wind", "visibility", "rain"], 4):
        values = torch.from_numpy(stored[name].astype(float))
        missing = values.isnan()
        assert not features[missing, place].any()
        seen = values[:2000][~missing[:2000]]
        wanted = ((values - seen.mean()) / seen.std(correction=0))[~missing].clamp(-4, 4)
        torch.testing.assert_close(features[~missing, place], wanted, rtol=1e-4, atol=1e-4)
    assert features[:, 5].mean() > 1  # the year begins in winter


def test_hour_and_weekday_are_waves_of_their_periods():
    features, stored = flights().features.double(), columns()
    for first, name, period in ((0, "minute", 1440), (2, "weekday", 7)):
        turn = 2 * math.pi * torch.from_numpy(stored[name].astype(float)) / period
        for place, wave in ((first, turn.sin()), (first + 1, turn.cos())):
            wanted = (wave - wave[:2000].mean()) / wave[:2000].std(correction=0)
            torch.testing.assert_close(features[:, place], wanted.clamp(-4, 4), rtol=1e-4, atol=1e-4)


def test_about_one_flight_in_five_is_late():
    labels = flights().labels
    assert set(labels.unique().tolist()) == {0, 1}
    assert labels.double().mean().item() == pytest.approx(0.219, abs=0.0005)
    assert torch.equal(labels, torch.from_numpy(columns()["late"]).long())


def test_flights_are_in_the_order_of_their_scheduled_time_which_does_not_tell_who_was_late():
    stored = columns()
    time = stored["day"].astype(int) * 1440 + stored["minute"]
    assert bool((np.diff(stored["day"].astype(int)) >= 0).all())
    assert bool((np.diff(time) >= 0).all())
    assert (stored["day"].min(), stored["day"].max()) == (1, 365)
    assert np.array_equal((stored["day"].astype(int)) % 7, stored["weekday"].astype(int) % 7)  # 1 January was a Tuesday
    keys = list(zip(time.tolist(), stored["airport"].tolist(), stored["carrier"].tolist(), strict=True))
    assert keys == sorted(keys)  # equal times go by airport and carrier, not by who left first


def test_flights_are_read_once():
    assert flights() is flights()
