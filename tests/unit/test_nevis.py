"""Learners on streams of tasks against training, operations and choices worked out again.

Streams are of a few tasks with a few pictures. What a learner says that it spent is what torch counts while it learns; a run
that was killed, at whatever moment, ends as one that was not.
"""

import copy
import itertools
import math
import signal
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from agree import close, normal, seeded
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.nn.functional import one_hot
from torch.utils.flop_counter import FlopCounterMode
from toy_tasks import CLASSES, LABELS, SIZES, WIDTH, Tiny, ToyStream, same, training_events

from companion.data.streams.events import (
    Dataset,
    DatasetBuilder,
    MiniBatch,
    PredictionEvent,
    TaskKind,
    TrainingEvent,
)
from companion.data.streams.mini import MiniStream
from companion.foundations.networks import ResidualNet
from companion.methods import nevis
from companion.methods.nevis import (
    Learner,
    Meter,
    Predictions,
    Recipe,
    ResourceUsage,
    Row,
    Start,
    average_precision,
    body_of,
    calibrate,
    dynamic,
    fine_tuning,
    fit,
    generator_of,
    head_weights,
    independent,
    knn_error,
    load_body,
    load_head,
    logits_of,
    make,
    multitask,
    predictions,
    pretrained,
    previous,
    rate_at,
    representation,
    run,
    search_operations,
    task_data,
    task_error,
    task_loss,
    usage_of,
    whole_of,
)
from companion.methods.pruning import count_flops, head_of

RECIPE = Recipe(steps=3, batch=8, calibration=16)
TWO_RATES = Recipe(steps=2, batch=8, learning_rates=(0.05, 0.2), calibration=16)
CPU = torch.device("cpu")


def trained_elsewhere(seed: int = 7, classes: int = 5) -> nn.Module:
    """A network with weights and statistics that are nobody's default."""
    model = make(Tiny, classes, seed, 99)
    with torch.no_grad():
        for each in model.state_dict().values():
            if each.is_floating_point():
                each.add_(0.1 * torch.rand(each.shape, generator=seeded(each.numel())))
    return model


LEARNERS = {
    "independent": lambda stream, recipe=RECIPE, seed=0: independent(stream, Tiny, recipe, seed),
    "previous": lambda stream, recipe=RECIPE, seed=0: previous(stream, Tiny, recipe, seed),
    "dynamic": lambda stream, recipe=RECIPE, seed=0: dynamic(stream, Tiny, recipe, seed),
    "pretrained": lambda stream, recipe=RECIPE, seed=0: pretrained(stream, trained_elsewhere(), recipe, seed),
    "multitask": lambda stream, recipe=RECIPE, seed=0: multitask(stream, Tiny, recipe, seed),
}
each_learner = pytest.mark.parametrize("name", LEARNERS)


def trained(learner, stream, events: int | None = None):
    """The state after training on the first tasks, without predictions, with what each used."""
    state, used = learner.init(), []
    for event in itertools.islice((each for each in stream.events() if isinstance(each, TrainingEvent)), events):
        state, usage = learner.train(event, state, lambda part: None)
        used.append(usage)
    return state, used


# --- the interface ------------------------------------------------------------------------------------------------

amounts = st.one_of(st.none(), st.integers(0, 10**15))
usages = st.builds(ResourceUsage, amounts, amounts, amounts)


def test_operations_add_up_and_of_peaks_the_higher_counts():
    used = ResourceUsage(5.0, 7, 20).combine(ResourceUsage(3.0, 9, 10))
    assert used == ResourceUsage(8.0, 9, 20)
    assert ResourceUsage() == ResourceUsage(None, None, None)


@given(usages, usages, usages)
def test_usages_combine_in_any_order_and_what_is_not_known_stays_unknown(first, second, third):
    assert first.combine(second) == second.combine(first)
    assert first.combine(second).combine(third) == first.combine(second.combine(third))
    for name in ("floating_point_operations", "peak_parameter_count", "peak_parameter_size_bytes"):
        unknown = None in (getattr(first, name), getattr(second, name))
        assert (getattr(first.combine(second), name) is None) == unknown


def test_names_and_order_are_those_of_the_reference_implementation():
    assert Learner._fields == ("init", "train", "predict")
    assert Predictions._fields == ("batch", "output")
    assert ResourceUsage.__match_args__ == (
        "floating_point_operations",
        "peak_parameter_count",
        "peak_parameter_size_bytes",
    )
    assert Row._fields == ("task", "split", "error", "floating_point_operations")


def diary(stream, usage=lambda learned: ResourceUsage(10.0 * learned, learned, 100 // learned)):
    """A learner that notes what it is led through, and always says the class whose number is that of tasks learned."""

    def train(event, state, write_checkpoint, *, checkpoint_to_resume=None):
        assert checkpoint_to_resume is None
        state = [*state, event.train_dataset_key]
        return state, usage(len(state))

    def predict(event, state):
        dataset = stream.get_dataset_by_key(event.dataset_key)
        for batch in dataset.builder_fn(shuffle=False).batch(5):
            scores = torch.zeros(len(batch.image), dataset.task_key.metadata.num_classes)
            scores[:, len(state) % scores.shape[1]] = 1
            yield Predictions(batch, scores)

    return Learner(list, train, predict)


def test_events_are_met_in_their_order_and_each_prediction_gives_a_row():
    stream = ToyStream(0, 1, 2, splits=("dev", "test"))
    going = run(diary(stream), stream)
    rows = []
    for place in range(3):
        for split in ("dev", "test"):
            rows.append(next(going))
            assert going.state == [f"task {earlier}/train" for earlier in range(place + 1)]
            spent = sum(10.0 * learned for learned in range(1, place + 2))
            assert going.usage == ResourceUsage(spent, place + 1, 100)
            labels = stream.tasks[f"task {place}"][1][split].label
            wrong = (labels != (place + 1) % 3).double().mean().item()
            assert rows[-1] == Row(f"task {place}", split, pytest.approx(wrong, abs=1e-12), spent)
    with pytest.raises(StopIteration):
        next(going)
    assert [row.floating_point_operations for row in rows] == sorted(row.floating_point_operations for row in rows)


def test_nothing_is_learned_before_it_is_asked_for():
    stream = ToyStream(0, 1)
    going = run(diary(stream), stream)
    assert going.state is None
    assert going.usage == ResourceUsage(0.0, 0, 0)
    next(going)
    assert going.state == ["task 0/train"]


def test_a_learner_that_does_not_tell_its_operations_gives_rows_without():
    stream = ToyStream(0, 1, 2)
    told = [ResourceUsage(4.0, 1, 1), ResourceUsage(), ResourceUsage(4.0, 1, 1)]
    going = run(diary(stream, lambda learned: told[learned - 1]), stream)
    assert [row.floating_point_operations for row in going] == [4.0, None, None]
    assert going.usage == ResourceUsage()


# --- a kill at any moment -----------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def killed_at(learner: Learner, moment: int) -> Learner:
    """The learner, stopped at the `moment`-th of: before training, behind each checkpoint within, behind training, in predicting."""
    ticks = itertools.count()

    def tick():
        if next(ticks) == moment:
            raise Killed

    def train(event, state, write_checkpoint, *, checkpoint_to_resume=None):
        def write(part):
            write_checkpoint(part)
            tick()

        tick()
        result = learner.train(event, state, write, checkpoint_to_resume=checkpoint_to_resume)
        tick()
        return result

    def predict(event, state):
        yield from learner.predict(event, state)
        tick()

    return Learner(learner.init, train, predict)


@each_learner
def test_a_run_that_was_killed_at_any_moment_goes_on_to_the_same_end(name, tmp_path):
    stream = ToyStream(0, (1, LABELS, 3))
    learner = LEARNERS[name](stream, TWO_RATES)
    whole = run(learner, stream)
    rows = list(whole)
    for moment in itertools.count():
        file = tmp_path / str(moment) / "run.pt"
        try:
            list(run(killed_at(learner, moment), stream, file))
        except Killed:
            again = run(learner, stream, file)
            assert list(again) == rows
            assert same(again.state, whole.state)
            assert again.usage == whole.usage
        else:
            break
    assert moment == 2 * 4  # before training, behind a trial, behind training, in predicting


@each_learner
def test_a_run_that_was_left_after_any_row_goes_on_to_the_same_end(name, tmp_path):
    stream = ToyStream(0, 1, splits=("dev", "test"))
    learner = LEARNERS[name](stream)
    whole = run(learner, stream, tmp_path / "whole")
    rows = list(whole)
    for count in range(len(rows) + 1):
        file = str(tmp_path / f"{count}.pt")
        assert list(itertools.islice(run(learner, stream, file), count)) == rows[:count]
        again = run(LEARNERS[name](stream), stream, file)
        assert list(again) == rows
        assert same(again.state, whole.state)
        assert again.usage == whole.usage
    assert list(run(learner, stream)) == rows


@pytest.mark.parametrize("name", ["previous", "multitask"])
def test_what_was_written_is_not_done_again(name, tmp_path, monkeypatch):
    stream, recipe = ToyStream(0, 1), Recipe(steps=1, batch=8, learning_rates=(0.1, 0.2, 0.3))
    starts, trains = "_fit_all" if name == "multitask" else "fit", []
    original = getattr(nevis, starts)
    monkeypatch.setattr(nevis, starts, lambda *given: trains.append(given) or original(*given))
    learner = LEARNERS[name](stream, recipe)
    done = {0: 0, 1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 5, 8: 5, 9: 6}  # trials behind what the file holds
    for moment, behind in done.items():
        file = tmp_path / str(moment)
        with pytest.raises(Killed):
            list(run(killed_at(learner, moment), stream, file))
        trains.clear()
        assert len(list(run(learner, stream, file))) == 2
        assert len(trains) == 6 - behind


def test_a_choice_that_was_written_is_not_made_again(tmp_path):
    stream, chosen = ToyStream(0, 1), []

    def choose(task, bodies, fresh):
        chosen.append(task.name)
        return Start()

    learner = fine_tuning(stream, Tiny, choose, TWO_RATES)
    with pytest.raises(Killed):
        list(run(killed_at(learner, 1), stream, tmp_path / "run"))
    list(run(learner, stream, tmp_path / "run"))
    assert chosen == ["task 0", "task 1"]


DYING = """
import os, signal, sys
from functools import partial
from companion.data.streams.mini import MiniStream
from companion.foundations.networks import ResidualNet
from companion.methods.nevis import Recipe, previous, run

stream = MiniStream(num_tasks=2)
learner = previous(stream, partial(ResidualNet, 1, width=4, stages=2), Recipe(steps=2, learning_rates=(0.05, 0.2)))

def train(event, state, write_checkpoint, **options):
    def write(part):
        write_checkpoint(part)
        if state["names"]:
            os.kill(os.getpid(), signal.SIGKILL)

    return learner.train(event, state, write, **options)

for row in run(learner._replace(train=train), stream, sys.argv[1]):
    print(row.task, flush=True)
"""


def test_a_process_that_was_killed_goes_on_in_another(tmp_path):
    file = tmp_path / "run.pt"
    done = subprocess.run([sys.executable, "-c", DYING, str(file)], capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    stream = MiniStream(num_tasks=2)
    assert done.stdout.split() == [stream.tasks[0].name]
    learner = previous(stream, partial(ResidualNet, 1, width=4, stages=2), Recipe(steps=2, learning_rates=(0.05, 0.2)))
    again, whole = run(learner, stream, file), run(learner, stream)
    assert list(again) == list(whole)
    assert same(again.state, whole.state)


def test_a_file_is_never_half_written(tmp_path, monkeypatch):
    stream = ToyStream(0, 1)
    learner = LEARNERS["previous"](stream)
    rows = list(run(learner, stream))
    whole = torch.save
    for saves in range(4):
        file, count = tmp_path / f"{saves}.pt", itertools.count()

        def save(saved, path, file=file, count=count, saves=saves):
            assert path != file
            if next(count) < saves:
                return whole(saved, path)
            path.write_bytes(b"half of it")
            raise OSError("disk full")

        monkeypatch.setattr(torch, "save", save)
        with pytest.raises(OSError, match="disk full"):
            list(run(learner, stream, file))
        monkeypatch.setattr(torch, "save", whole)
        assert file.exists() == (saves > 0)
        if saves:
            assert len(torch.load(file)["events"]) == saves
        assert list(run(learner, stream, file)) == rows
        assert [each.name for each in tmp_path.iterdir() if each.name.startswith(file.name)] == [file.name]


def test_a_longer_stream_goes_on_from_a_shorter_one(tmp_path):
    file, stream = tmp_path / "run", ToyStream(0, 1, 2)
    assert len(list(run(LEARNERS["previous"](ToyStream(0, 1)), ToyStream(0, 1), file))) == 2
    assert list(run(LEARNERS["previous"](stream), stream, file)) == list(run(LEARNERS["previous"](stream), stream))


OTHERS = {
    "other tasks": lambda: MiniStream(num_tasks=2),
    "fewer tasks": lambda: ToyStream(0),
    "more splits": lambda: ToyStream(0, 1, splits=("dev", "test")),
    "no tasks": lambda: ToyStream(),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_a_checkpoint_of_another_stream_is_refused_and_stays(other, tmp_path):
    file, stream = tmp_path / "run", ToyStream(0, 1)
    list(run(diary(stream), stream, file))
    before = file.read_bytes()
    with pytest.raises(ValueError, match="of another stream, but must be of a run on the same stream"):
        list(run(diary(other()), other(), file))
    assert file.read_bytes() == before


@pytest.mark.parametrize("part", [0, 4, 100, 0.5, 0.99])
def test_a_torn_file_is_refused(part, tmp_path):
    file, stream = tmp_path / "run", ToyStream(0)
    list(run(diary(stream), stream, file))
    content = file.read_bytes()
    file.write_bytes(content[: part if isinstance(part, int) else int(part * len(content))])
    with pytest.raises(ValueError, match="is unreadable, but must be whole"):
        next(run(diary(stream), stream, file))


@pytest.mark.parametrize("content", [b"\x80", b"hello", b"not a checkpoint"])
def test_another_file_is_refused(content, tmp_path):
    file = tmp_path / "run"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is unreadable, but must be whole"):
        next(run(diary(ToyStream(0)), ToyStream(0), file))


class TwiceStream(ToyStream):
    """Its first task comes again at the end, with other pictures to learn from."""

    def events(self):
        yield from super().events()
        yield TrainingEvent("task 0/dev", "task 0/train_and_dev", "task 0/dev")
        yield PredictionEvent("task 0/test")


@each_learner
def test_a_task_that_comes_twice_is_predicted_by_what_was_learned_last(name):
    stream, event = TwiceStream(0, (1, LABELS, 4)), PredictionEvent("task 0/test")
    learner = LEARNERS[name](stream)
    state, _ = trained(learner, stream)

    def predicted(spoiled):
        heads = [torch.zeros_like(head) if place == spoiled else head for place, head in enumerate(state["heads"])]
        (found,) = learner.predict(event, state | {"heads": heads})
        return found.output

    assert torch.equal(predicted(0), predicted(None))
    assert not torch.equal(predicted(2), predicted(None))


# --- a learner of the reference's interface -----------------------------------------------------------------------


class ClassMeans:
    """Written for the reference: events, keys, batches and predictions by its names, and numbers in numpy."""

    def __init__(self, get_dataset_by_key, as_numpy: bool) -> None:
        self.get_dataset_by_key, self.as_numpy = get_dataset_by_key, as_numpy

    def init(self):
        return {}

    def train(self, event, state, write_checkpoint, *, checkpoint_to_resume=None):
        dataset = self.get_dataset_by_key(event.train_and_dev_dataset_key)
        key = dataset.task_key
        sums, counts = np.zeros((key.metadata.num_classes, 64)), np.zeros((key.metadata.num_classes, 1))
        for batch in dataset.builder_fn(shuffle=True, start=0, end=dataset.num_examples).batch(batch_size=7):
            pictures = np.asarray(batch.image).reshape(len(batch.image), -1)
            if key.kind is TaskKind.MULTI_LABEL_CLASSIFICATION:
                shown = np.asarray(batch.multi_label_one_hot)
            else:
                shown = np.eye(key.metadata.num_classes)[np.asarray(batch.label)]
            sums, counts = sums + shown.T @ pictures, counts + shown.sum(0)[:, None]
            write_checkpoint(None)
        state = state | {key.name: torch.from_numpy(sums / counts)}
        return state, ResourceUsage(floating_point_operations=2.0 * sums.size * dataset.num_examples)

    def predict(self, event, state):
        dataset = self.get_dataset_by_key(dataset_key=event.dataset_key)
        for batch in dataset.builder_fn(shuffle=False).batch(5):
            means = state[dataset.task_key.name].numpy()
            pictures = np.asarray(batch.image).reshape(len(batch.image), 1, -1)
            scores = -((pictures - means) ** 2).sum(2)
            if self.as_numpy:
                label, labels = (None if each is None else each.numpy() for each in batch[1:])
                yield Predictions(batch=SimpleNamespace(label=label, multi_label_one_hot=labels), output=scores)
            else:
                yield Predictions(batch=batch, output=torch.from_numpy(scores))


class WithBoth(ToyStream):
    """Has the training and development pictures together, too."""

    def get_dataset_by_key(self, dataset_key):
        if not dataset_key.endswith("train_and_dev"):
            return super().get_dataset_by_key(dataset_key)
        parts = [whole_of(super(WithBoth, self).get_dataset_by_key(dataset_key.replace("train_and_dev", split)))
                 for split in ("train", "dev")]  # fmt: skip
        both = MiniBatch(*(None if each[0] is None else torch.cat(each) for each in zip(*parts)))
        return Dataset(DatasetBuilder(both, 0), self.tasks[dataset_key.partition("/")[0]][0], len(both.image))


@pytest.mark.parametrize("as_numpy", [False, True], ids=["tensors", "numpy"])
def test_a_learner_written_for_the_reference_runs_unchanged(as_numpy, tmp_path):
    stream = WithBoth(0, (1, LABELS, 4), 2)
    means = ClassMeans(stream.get_dataset_by_key, as_numpy)
    going = run(Learner(means.init, means.train, means.predict), stream, tmp_path / "run")
    rows = list(going)
    assert [row.floating_point_operations for row in rows] == [2.0 * 64 * 34 * total for total in (3, 7, 10)]
    for row, (name, (key, data)) in zip(rows, stream.tasks.items(), strict=True):
        images, test = torch.cat([data["train"].image, data["dev"].image]).flatten(1).double(), data["test"]
        target = torch.cat([data["train"].target, data["dev"].target])
        shown = one_hot(target, 3) if key.kind is CLASSES else target
        centres = torch.stack([images[shown[:, place] == 1].mean(0) for place in range(key.metadata.num_classes)])
        scores = -torch.cdist(test.image.flatten(1).double(), centres).square()
        if key.kind is CLASSES:
            wanted = 1 - accuracy_score(test.label, scores.argmax(1))
        else:
            wanted = 1 - average_precision_score(test.multi_label_one_hot, scores)
        assert row[:3] == (name, "test", pytest.approx(wanted, abs=1e-12))
    with pytest.raises(ValueError, match="predict"):
        next(run(Learner(means.init, means.train, lambda event, state: iter(())), stream))


# --- scores -------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6), n=st.integers(1, 30), classes=st.integers(2, 6))
def test_the_error_of_classes_is_the_share_of_wrong_answers(seed, n, classes):
    scores, labels = normal(n, classes, seed=seed), torch.randint(classes, (n,), generator=seeded(seed))
    assert task_error(CLASSES, scores, labels) == pytest.approx(1 - accuracy_score(labels, scores.argmax(1)), abs=1e-12)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 30), labels=st.integers(1, 5), levels=st.integers(1, 8))
def test_the_error_of_labels_is_one_less_the_mean_average_precision(seed, n, labels, levels):
    """Few levels make many equal scores."""
    draws = seeded(seed)
    scores = torch.randint(levels, (n, labels), generator=draws).double()
    target = (torch.rand(n, labels, generator=draws) < 0.4).double()
    target[0, 0] = 1
    held = target.sum(0) > 0  # a label without a positive has no precision, and is left out
    wanted = average_precision_score(target[:, held].numpy(), scores[:, held].numpy(), average="macro")
    assert task_error(LABELS, scores, target) == pytest.approx(1 - wanted, abs=1e-12)
    alone = average_precision_score(target[:, 0].numpy(), scores[:, 0].numpy())
    assert average_precision(scores[:, 0], target[:, 0]) == pytest.approx(alone, abs=1e-12)


def test_average_precision_by_hand():
    scores, target = torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([1.0, 0.0, 1.0, 0.0])
    assert average_precision(scores, target) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert average_precision(torch.zeros(4), target) == pytest.approx(1 / 2)
    assert average_precision(-scores, target) == pytest.approx((1 / 2 + 2 / 4) / 2)


@pytest.mark.parametrize("n", [30, 5, 4, 1])
@pytest.mark.parametrize("seed", range(4))
def test_neighbours_vote_as_in_scikit_learn(seed, n):
    features, queries = normal(n, 3, seed=seed), normal(12, 3, seed=seed + 50)
    labels = torch.randint(4, (n,), generator=seeded(seed))
    answers = torch.randint(4, (12,), generator=seeded(seed + 1))
    wanted = 1 - KNeighborsClassifier(min(5, n)).fit(features, labels).score(queries, answers)
    assert knn_error(CLASSES, features, labels, queries, answers, 4) == pytest.approx(wanted, abs=1e-12)
    if n > 2:
        wanted = 1 - KNeighborsClassifier(3).fit(features, labels).score(queries, answers)
        assert knn_error(CLASSES, features, labels, queries, answers, 4, 3) == pytest.approx(wanted, abs=1e-12)


def test_of_equal_votes_the_first_class_counts():
    features, labels = torch.arange(4.0)[:, None], torch.tensor([2, 1, 1, 2])
    for answer in (0, 1, 2):
        error = knn_error(CLASSES, features, labels, torch.zeros(1, 1), torch.tensor([answer]), 3)
        assert error == float(answer != 1)


def test_labels_are_voted_on_by_the_share_of_neighbours_that_have_them():
    features, queries = normal(20, 3), normal(9, 3, seed=1)
    target, answers = (normal(20, 4, seed=2) > 0).double(), (normal(9, 4, seed=3) > 0).double()
    nearest = (queries[:, None] - features).square().sum(2).argsort(1)[:, :5]
    shares = torch.stack([target[rows].mean(0) for rows in nearest])
    wanted = 1 - average_precision_score(answers, shares)
    assert knn_error(LABELS, features, target, queries, answers, 4) == pytest.approx(wanted, abs=1e-12)


def test_half_precision_votes_as_single_precision_does():
    features, queries, labels = normal(20, 3).bfloat16(), normal(9, 3, seed=1).bfloat16(), torch.arange(20) % 3
    errors = [knn_error(CLASSES, features.to(dtype), labels, queries.to(dtype), torch.arange(9) % 3, 3)
              for dtype in (torch.bfloat16, torch.float32)]  # fmt: skip
    assert errors[0] == errors[1]


# --- networks and their parts -------------------------------------------------------------------------------------


def test_a_body_holds_all_weights_and_statistics_but_the_head():
    first, second = trained_elsewhere(1, 5), trained_elsewhere(2, 3)
    head = head_weights(second)
    body = body_of(first)
    load_body(second, body)
    parts = {name: value for name, value in first.state_dict().items() if value.is_floating_point()}
    assert len(body) == sum(value.numel() for name, value in parts.items() if not name.startswith("head"))
    for name, value in second.state_dict().items():
        if not name.startswith("head") and value.is_floating_point():
            assert torch.equal(value, parts[name])
    assert torch.equal(head_weights(second), head)
    assert torch.equal(body_of(second), body)
    assert not body.requires_grad
    images = torch.randn(6, 1, 8, 8, generator=seeded())
    with torch.no_grad():
        assert torch.equal(second.eval().features(images), first.eval().features(images))
    body.zero_()  # a copy
    assert body_of(first).abs().sum() > 0


def test_a_head_holds_weights_and_bias_and_is_written_back():
    first, second = trained_elsewhere(1, 3), make(Tiny, 3, 0, 0)
    head = head_weights(first)
    assert torch.equal(head[:, :-1], first.head.weight)
    assert torch.equal(head[:, -1], first.head.bias)
    assert not head_weights(second).any()
    load_head(second, head)
    assert torch.equal(second.head.weight, first.head.weight)
    assert torch.equal(second.head.bias, first.head.bias)


class Sloppy(nn.Module):
    """A network with dropout and two linear layers."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 6))
        self.drop, self.out = nn.Dropout(0.5), nn.Linear(6, classes)

    def features(self, x):
        return self.drop(self.inner(x))

    def forward(self, x):
        return self.out(self.features(x))


@pytest.mark.parametrize("model", [ResidualNet(1, 3, width=4, stages=2), Sloppy()], ids=["residual", "with dropout"])
def test_a_representation_is_what_the_head_is_given(model):
    images = torch.randn(9, 1, 8, 8, generator=seeded())
    plain, own = copy.deepcopy(model).eval(), copy.deepcopy(model).eval()
    for each in own.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.train()
    with torch.no_grad():
        assert torch.equal(representation(copy.deepcopy(model), images), own.features(images))
        assert torch.equal(representation(copy.deepcopy(model), images, own_statistics=False), plain.features(images))
    asked = copy.deepcopy(model).train()
    before = body_of(asked)
    assert not representation(asked, images, own_statistics=False).requires_grad
    assert torch.equal(body_of(asked), before)
    assert not any(each.training for each in asked.modules())
    assert not head_of(asked)[1]._forward_pre_hooks


def test_no_hook_is_left_when_a_network_fails():
    model = trained_elsewhere()
    with pytest.raises(RuntimeError, match="channels"):
        representation(model, torch.zeros(2, 3, 8, 8))
    assert not model.head._forward_pre_hooks


@given(steps=st.integers(1, 300))
def test_rates_warm_up_over_a_tenth_and_fall_along_half_a_cosine(steps):
    warm = max(1, round(steps / 10))
    for step in {0, warm - 1, warm, steps // 2, steps - 1} & set(range(steps)):
        half = (1 + math.cos(math.pi * step / steps)) / 2
        assert rate_at(step, steps) == pytest.approx(half * (step + 1) / warm if step < warm else half, abs=1e-15)


def test_rates_at_known_steps():
    assert [rate_at(step, 2) for step in (0, 1)] == pytest.approx([1.0, 0.5])
    assert rate_at(0, 40) == pytest.approx(1 / 4)
    assert rate_at(1, 40) == pytest.approx((1 + math.cos(math.pi / 40)) / 4)
    assert rate_at(20, 40) == pytest.approx(0.5)
    assert rate_at(39, 40) == pytest.approx((1 - math.cos(math.pi / 40)) / 2)


def test_losses_by_hand():
    logits, labels, target = normal(5, 3), torch.tensor([0, 2, 1, 1, 0]), (normal(5, 3, seed=1) > 0).double()
    log_probs = logits - logits.logsumexp(1, keepdim=True)
    smooth = 0.8 * one_hot(labels, 3).double() + 0.2 / 3
    close(task_loss(CLASSES, logits, labels, 0.2), -(smooth * log_probs).sum(1).mean())
    close(task_loss(CLASSES, logits, labels), -log_probs[torch.arange(5), labels].mean())
    of_one = (1 + logits.exp()).log() - target * logits
    close(task_loss(LABELS, logits, target, 0.2), of_one.mean())


def test_a_new_network_is_the_same_for_the_same_seed_and_place_and_has_a_head_of_zeros():
    first = make(Tiny, 3, 1, 2)
    assert same(dict(make(Tiny, 3, 1, 2).state_dict()), dict(first.state_dict()))
    assert not head_weights(first).any()
    for seed, place in ((1, 3), (2, 2), (0, 0)):
        assert not torch.equal(body_of(make(Tiny, 3, seed, place)), body_of(first))
    given_one = trained_elsewhere()
    copied = make(given_one, 4, 0, 0)
    assert copied is not given_one
    assert torch.equal(body_of(copied), body_of(given_one))
    assert head_weights(copied).shape == (4, WIDTH + 1)
    assert not head_weights(copied).any()


def test_a_task_is_what_the_training_event_names():
    stream = ToyStream(0, (1, LABELS, 4))
    for event, (name, (key, data)) in zip(training_events(stream), stream.tasks.items(), strict=True):
        task = task_data(stream, event, Tiny(3).double())
        assert (task.name, task.kind, task.num_classes) == (name, key.kind, key.metadata.num_classes)
        assert torch.equal(task.images, data["train"].image.double())
        assert torch.equal(task.dev_images, data["dev"].image.double())
        for target, wanted in ((task.target, data["train"].target), (task.dev_target, data["dev"].target)):
            assert torch.equal(target, wanted.double() if key.kind is LABELS else wanted)


def test_pictures_are_judged_in_evaluation_mode_whatever_their_number(monkeypatch):
    monkeypatch.setattr(nevis, "JUDGED", 4)
    stream, model = ToyStream(0), trained_elsewhere().train()
    data = stream.get_dataset_by_key("task 0/test")
    wanted = copy.deepcopy(model).eval()(whole_of(data).image).detach()
    found = list(predictions(model, data))
    assert [len(each.output) for each in found] == [4, 4, 4, 2]
    close(torch.cat([each.output for each in found]), wanted, 1e-5)
    assert torch.equal(torch.cat([each.batch.label for each in found]), whole_of(data).label)
    close(logits_of(model, whole_of(data).image), wanted, 1e-5)
    assert not found[0].output.requires_grad


# --- training, written out again ----------------------------------------------------------------------------------


def smoothed(kind, logits, target, smoothing):
    if kind is LABELS:
        return (logits.exp().log1p() - target * logits).mean()
    count = logits.shape[1]
    smooth = (1 - smoothing) * one_hot(target, count).to(logits) + smoothing / count
    return -(smooth * logits.log_softmax(1)).sum(1).mean()


class NesterovByHand:
    def __init__(self, parameters, recipe, rate) -> None:
        self.parameters, self.recipe, self.rate = list(parameters), recipe, rate
        self.speeds = {}

    def step(self, loss, step: int) -> None:
        slopes = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        steps, mu = self.recipe.steps, self.recipe.momentum
        warm = min(1.0, (step + 1) / max(1, round(steps / 10)))
        rate = self.rate * warm * (1 + math.cos(math.pi * step / steps)) / 2
        with torch.no_grad():
            for place, (each, slope) in enumerate(zip(self.parameters, slopes, strict=True)):
                if slope is None:
                    continue
                slope = slope + self.recipe.weight_decay * each
                speed = mu * self.speeds[place] + slope if place in self.speeds else slope.clone()
                self.speeds[place] = speed
                each -= rate * (slope + mu * speed)


def set_statistics(model, images) -> None:
    """By one pass in which the running statistics take the whole of the batch's."""
    model.eval()
    for each in model.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.momentum = 1.0
            each.train()
    with torch.no_grad():
        model(images)
    model.eval()


RECIPES = {
    "as it is": Recipe(steps=12, batch=8, calibration=10),
    "more smoothing, decay and less momentum": Recipe(
        steps=25, batch=5, smoothing=0.3, weight_decay=0.05, momentum=0.5, calibration=200
    ),
    "no smoothing, all pictures": Recipe(steps=3, batch=100, smoothing=0, weight_decay=0),
}


def double_net(classes: int) -> nn.Module:
    return Tiny(classes).double()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("kind", [CLASSES, LABELS])
def test_a_task_is_learned_as_written_out(recipe, kind):
    """Batches, loss, momentum, decay, rates, statistics and predictions, in double precision."""
    stream = ToyStream((3, kind, 4))
    learner = independent(stream, double_net, recipe, seed=2)
    state, _ = trained(learner, stream)
    model, (event,) = make(double_net, 4, 2, 0), training_events(stream)
    task = task_data(stream, event, model)
    model.train()
    optimizer, size = NesterovByHand(model.parameters(), recipe, 0.05), min(recipe.batch, 24)
    draws = torch.randint(24, (recipe.steps, size), generator=generator_of(2, 0, 0, CPU))
    for step, rows in enumerate(draws):
        optimizer.step(smoothed(kind, model(task.images[rows]), task.target[rows], recipe.smoothing), step)
    set_statistics(model, task.images[: recipe.calibration])
    close(state["bodies"][0], body_of(model))
    close(state["heads"][0], head_weights(model))
    (found,) = learner.predict(PredictionEvent("task 0/test"), state)
    close(found.output, model(whole_of(stream.get_dataset_by_key("task 0/test")).image.double()).detach())


def test_several_tasks_are_learned_at_once_as_written_out():
    """Two steps' batches, the new head and an old one, in double precision; statistics are those of the task predicted."""
    recipe = Recipe(steps=12, batch=8, calibration=10, weight_decay=0.01)
    stream = ToyStream((0, CLASSES, 3), (1, LABELS, 4), (2, CLASSES, 5), sizes=SIZES | {"train": 30})
    learner = multitask(stream, double_net, recipe, seed=3)
    body, heads, tasks, state = None, [], [], learner.init()
    for place, event in enumerate(training_events(stream)):
        state, _ = learner.train(event, state, lambda part: None)
        count = (3, 4, 5)[place]
        model = make(double_net, count, 3, 0)
        if body is not None:
            load_body(model, body)
        task = task_data(stream, event, model)
        own = [each.clone().requires_grad_() for each in heads]
        draws = generator_of(3, place, 0, CPU)
        others = torch.randint(place, (12,), generator=draws) if place else [0] * 12
        rows = torch.randint(30, (12, 8), generator=draws)
        shares = torch.rand((12, 8), generator=draws)
        model.train()
        weights = [head[:, :-1].detach().clone().requires_grad_() for head in own]
        biases = [head[:, -1].detach().clone().requires_grad_() for head in own]
        parameters = [*model.parameters(), *(each for pair in zip(weights, biases) for each in pair)]
        optimizer = NesterovByHand(parameters, recipe, 0.05)
        for step in range(12):
            chosen, other = rows[step], int(others[step])
            loss = smoothed(task.kind, model(task.images[chosen]), task.target[chosen], 0.1)
            if place:
                old, again = tasks[other], (shares[step] * 30).long()
                logits = model.features(old.images[again]) @ weights[other].T + biases[other]
                loss = loss + smoothed(old.kind, logits, old.target[again], 0.1)
            optimizer.step(loss, step)
        set_statistics(model, task.images[:10])
        body, tasks = body_of(model), [*tasks, task]
        heads = [torch.cat([w, b[:, None]], 1).detach() for w, b in zip(weights, biases)] + [head_weights(model)]
        close(state["body"], body)
        for found, wanted in zip(state["heads"], heads, strict=True):
            close(found, wanted)
    for place, task in enumerate(tasks):
        key = f"task {place}/test"
        (found,) = learner.predict(PredictionEvent(key), state)
        model = make(double_net, task.num_classes, 0, 0)
        load_body(model, body)
        load_head(model, heads[place])
        set_statistics(model, task.images[:10])
        close(found.output, model(whole_of(stream.get_dataset_by_key(key)).image.double()).detach())


@pytest.mark.parametrize("kind", [CLASSES, LABELS])
@pytest.mark.parametrize("name", ["independent", "multitask"])
def test_of_several_trials_the_best_on_the_development_pictures_is_kept(name, kind):
    """Each from the same start, with batches of its own; of equal ones the first."""
    rates = (1e-6, 0.3, 0.02, 0.02)
    kept = set()
    for seed in range(4):
        stream, recipe = ToyStream((seed, kind, 4), noise=2.0), Recipe(steps=6, batch=8, learning_rates=rates)
        state, _ = trained(LEARNERS[name](stream, recipe), stream)
        errors, bodies = [], []
        for trial, rate in enumerate(rates):
            model = make(Tiny, 4, 0, 0)
            task = task_data(stream, training_events(stream)[0], model)
            draws = generator_of(0, 0, trial, CPU)
            if name == "multitask":
                nevis._fit_all(model, [], task, [], recipe, rate, draws, Meter())
            else:
                fit(model, task, recipe, rate, draws, Meter())
            errors.append(task_error(kind, logits_of(model, task.dev_images), task.dev_target))
            bodies.append(body_of(model))
        best = errors.index(min(errors))
        kept.add(best)
        assert torch.equal(state["body"] if name == "multitask" else state["bodies"][0], bodies[best])
        assert len({tuple(body[:9].tolist()) for body in bodies}) == 4
    assert len(kept) > 1


# --- operations ---------------------------------------------------------------------------------------------------


def operations(classes: int, training: bool = False, model=None) -> int:
    """Of one toy picture."""
    return count_flops(model or Tiny(classes), torch.zeros(1, 1, 8, 8), training)


def test_a_meter_counts_once_for_each_size_and_multiplies():
    meter, images = Meter(), torch.randn(7, 1, 8, 8)
    for classes in (3, 5, 3):
        for training in (False, True):
            model = Tiny(classes)
            assert meter(model, images, training) == count_flops(model, images, training)
            assert meter(model, images[:1], training) == operations(classes, training)
    assert meter(Tiny(3), torch.randn(3, 1, 6, 6)) == count_flops(Tiny(3), torch.randn(3, 1, 6, 6))
    assert len(meter._known) == 5


@pytest.mark.parametrize("rates", [(0.05,), (0.05, 0.1), (0.1, 0.2, 0.3)])
@pytest.mark.parametrize("name", ["independent", "previous", "pretrained"])
def test_operations_are_all_updates_of_all_trials_the_statistics_and_the_development_pictures(name, rates):
    recipe = Recipe(steps=5, batch=7, learning_rates=rates, calibration=16)
    stream = ToyStream((0, CLASSES, 3), (1, LABELS, 4), (2, CLASSES, 6))
    going, total = run(LEARNERS[name](stream, recipe), stream), 0
    for row, classes in zip(going, (3, 4, 6), strict=True):
        judged = 10 if len(rates) > 1 else 0
        trial = 5 * 7 * operations(classes, True) + (16 + judged) * operations(classes)
        total += len(rates) * trial
        assert row.floating_point_operations == total
        assert going.state["training"][-1] == len(rates) * trial
    assert going.state["search"] == [0, 0, 0]
    assert search_operations(going.state) == 0


def test_small_tasks_cost_what_they_have():
    """Fewer pictures than a batch, or than the statistics may take."""
    stream = ToyStream(0, 1, sizes=SIZES | {"train": 6})
    recipe = Recipe(steps=5, batch=16, calibration=100)
    _, used = trained(independent(stream, Tiny, recipe), stream)
    assert [each.floating_point_operations for each in used] == [5 * 6 * operations(3, True) + 6 * operations(3)] * 2


@pytest.mark.parametrize(("last", "pictures"), [(20, 300), (2, 300), (1, 6), (None, None), (None, 15)])
def test_the_search_costs_a_pass_of_every_candidate_and_the_distances(last, pictures):
    stream = ToyStream(0, (1, CLASSES, 4), (2, LABELS, 4), 3)
    learner = dynamic(stream, Tiny, RECIPE, last=last, pictures=pictures)
    state, used = trained(learner, stream)
    shown, asked = min(24, pictures or 24), min(10, pictures or 10)
    for place, classes in enumerate((3, 4, 4, 3)):
        candidates = 1 + min(place, last or place) if place else 0
        wanted = candidates * ((shown + asked) * operations(classes) + 2 * shown * asked * WIDTH)
        assert state["search"][place] == wanted
        assert state["training"][place] == 3 * 8 * operations(classes, True) + 16 * operations(classes)
        assert used[place].floating_point_operations == wanted + state["training"][place]
    assert search_operations(state) == sum(state["search"])


def test_a_state_that_tells_of_no_search_has_none():
    assert [search_operations(state) for state in (None, [], {}, {"names": ["a"]})] == [0.0] * 4
    assert search_operations({"search": [1.5, 2.0]}) == 3.5


@pytest.mark.parametrize("recipe", [RECIPE, TWO_RATES], ids=["one rate", "two rates"])
@each_learner
def test_what_is_told_is_what_torch_counts_while_it_learns(name, recipe):
    """After a first run, so that the meter, which runs the network itself, knows all sizes."""
    stream = ToyStream(0, 1, (2, LABELS, 3))
    learner = LEARNERS[name](stream, recipe)
    trained(learner, stream)
    state = learner.init()
    for place, event in enumerate(training_events(stream)):
        with FlopCounterMode(display=False) as counter:
            state, used = learner.train(event, state, lambda part: None)
        unseen = 0  # distances are no matrix product here
        if name == "dynamic" and place:
            unseen = (place + 1) * 2 * 24 * 10 * WIDTH
        if name == "multitask" and place:  # a replayed picture goes through the new head, too, but not back
            unseen = -len(recipe.learning_rates) * recipe.steps * 8 * 2 * WIDTH * 3
        assert used.floating_point_operations == counter.get_total_flops() + unseen


def test_several_tasks_at_once_cost_twice_as_much_after_the_first():
    stream = ToyStream(0, 1, 2)
    (alone, *_), together = (
        trained(LEARNERS["independent"](stream), stream)[1],
        trained(LEARNERS["multitask"](stream), stream)[1],
    )
    update, statistics = 3 * 8 * operations(3, True), 16 * operations(3)
    assert [each.floating_point_operations for each in together] == [
        update + statistics, 2 * update + statistics, 2 * update + statistics
    ]  # fmt: skip
    assert alone.floating_point_operations == together[0].floating_point_operations


def test_a_small_new_task_is_joined_by_whole_batches_of_the_old():
    stream, small = ToyStream(0, 1), ToyStream(0, 1, sizes=SIZES | {"train": 5})
    stream.tasks["task 1"] = small.tasks["task 1"]
    used = trained(LEARNERS["multitask"](stream), stream)[1]
    assert used[1].floating_point_operations == 3 * (5 + 8) * operations(3, True) + 5 * operations(3)


def test_parameters_that_are_kept_and_their_size():
    stream = ToyStream(0, (1, CLASSES, 4), 2)
    body, heads = len(body_of(Tiny(3))), [3 * (WIDTH + 1), 4 * (WIDTH + 1), 3 * (WIDTH + 1)]
    _, used = trained(LEARNERS["previous"](stream), stream)
    for place, each in enumerate(used):
        count = (place + 2) * body + sum(heads[: place + 1])  # of all tasks, and the network at work
        assert (each.peak_parameter_count, each.peak_parameter_size_bytes) == (count, 4 * count)
    _, used = trained(LEARNERS["multitask"](stream), stream)
    assert [each.peak_parameter_count for each in used] == [2 * body + sum(heads[: place + 1]) for place in range(3)]
    assert usage_of(3, [torch.zeros(2, 3), torch.zeros(4).double()]) == ResourceUsage(3.0, 10, 24 + 32)


# --- where learners start -----------------------------------------------------------------------------------------


@pytest.fixture
def starts(monkeypatch):
    """(body, head, rate) of every network at the moment that it begins to learn."""
    seen = []
    for name in ("fit", "_fit_all"):
        original = getattr(nevis, name)

        def spy(model, *given, original=original, name=name):
            rate = given[2] if name == "fit" else given[4]
            seen.append(SimpleNamespace(body=body_of(model), head=head_weights(model), rate=rate, given=given))
            return original(model, *given)

        monkeypatch.setattr(nevis, name, spy)
    return seen


def test_independent_learners_start_untrained(starts):
    stream = ToyStream(0, (1, CLASSES, 4), 2)
    state, _ = trained(independent(stream, Tiny, TWO_RATES, seed=5), stream)
    assert state["sources"] == [None] * 3
    for number, start in enumerate(starts):
        assert torch.equal(start.body, body_of(make(Tiny, 3, 5, number // 2)))
        assert not start.head.any()
        assert start.rate == TWO_RATES.learning_rates[number % 2]


def test_to_an_independent_learner_earlier_tasks_do_not_matter():
    streams = ToyStream(0, 1, 2), ToyStream((5, LABELS, 4), 6, 2)
    (first, _), (second, _) = (trained(LEARNERS["independent"](stream), stream) for stream in streams)
    assert torch.equal(first["bodies"][2], second["bodies"][2])
    assert torch.equal(first["heads"][2], second["heads"][2])
    third = (
        trained(LEARNERS["previous"](streams[0]), streams[0])[0],
        trained(LEARNERS["previous"](streams[1]), streams[1])[0],
    )
    assert not torch.equal(third[0]["bodies"][2], third[1]["bodies"][2])


def test_previous_starts_from_the_last_network_in_every_trial(starts):
    stream = ToyStream(0, (1, LABELS, 4), 2)
    state, _ = trained(previous(stream, Tiny, TWO_RATES), stream)
    assert state["sources"] == [None, 0, 1]
    wanted = [body_of(make(Tiny, 3, 0, 0)), state["bodies"][0], state["bodies"][1]]
    for number, start in enumerate(starts):
        assert torch.equal(start.body, wanted[number // 2])
        assert not start.head.any()
        assert len(start.head) == (3, 4, 3)[number // 2]


def test_pretrained_starts_from_the_given_network_which_stays_as_it_is(starts):
    stream, model = ToyStream(0, (1, CLASSES, 4), 2), trained_elsewhere().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = run(pretrained(stream, model, RECIPE), stream)
    assert len(list(state)) == 3
    assert state.state["sources"] == [None] * 3
    for start in starts:
        assert torch.equal(start.body, body_of(model))
        assert not start.head.any()
    assert same(dict(model.state_dict()), before)
    assert model.training
    assert all(each.grad is None for each in model.parameters())


def test_one_network_goes_on_with_its_weights_and_heads(starts):
    stream = ToyStream(0, (1, LABELS, 4), 2)
    learner = multitask(stream, Tiny, TWO_RATES)
    state = learner.init()
    for place, event in enumerate(training_events(stream)):
        before = state
        state, _ = learner.train(event, state, lambda part: None)
        for start in starts[2 * place :]:
            wanted = body_of(make(Tiny, 3, 0, 0)) if place == 0 else before["body"]
            assert torch.equal(start.body, wanted)
            assert not start.head.any()
            beside = [task.name for task, _ in start.given[2]]
            assert set(beside) <= {f"task {earlier}" for earlier in range(place)}
            assert len(beside) == (TWO_RATES.steps if place else 0)
        assert [len(head) for head in state["heads"]] == [3, 4, 3][: place + 1]
        assert state["names"] == [f"task {earlier}" for earlier in range(place + 1)]
        assert not same(before, state)


def test_what_chooses_sees_the_task_all_bodies_and_an_untrained_network_that_it_may_spoil(starts):
    stream, seen, other = ToyStream(0, 1, 2), [], body_of(trained_elsewhere())

    def choose(task, bodies, fresh):
        seen.append((task, list(bodies), body_of(fresh)))
        load_body(fresh, other)
        return (Start(), Start(other, 0, 500), Start(None, None, 7))[len(bodies)]

    state, used = trained(fine_tuning(stream, Tiny, choose, RECIPE), stream)
    for place, (task, bodies, fresh) in enumerate(seen):
        assert task.name == f"task {place}"
        assert same(bodies, state["bodies"][:place])
        assert torch.equal(fresh, body_of(make(Tiny, 3, 0, place)))
        assert torch.equal(starts[place].body, other if place == 1 else fresh)
    assert state["sources"] == [None, 0, None]
    assert state["search"] == [0, 500, 7]
    assert [each.floating_point_operations - state["training"][0] for each in used] == [0, 500, 7]


# --- the search for a start ---------------------------------------------------------------------------------------


def state_of(bodies) -> dict:
    """Of a learner that met so many tasks."""
    filled = {"names": [f"earlier {place}" for place in range(len(bodies))], "bodies": list(bodies)}
    others = {"heads": torch.zeros(3, WIDTH + 1), "sources": None, "training": 0.0, "search": 0.0}
    return filled | {name: [value] * len(bodies) for name, value in others.items()}


def random_bodies(count: int, seed: int = 0) -> list[torch.Tensor]:
    """Of networks that were never trained: some see a task better than others."""
    bodies = [body_of(make(Tiny, 3, 50 + seed, place)) for place in range(count)]
    return [body * (1 + normal(len(body), seed=place).float()) for place, body in enumerate(bodies)]


def vote_errors(stream, bodies, place: int, pictures: int | None = None) -> list[float]:
    """By scikit-learn, of each body and of the untrained network at the end."""
    _, data = stream.tasks["task 0"]
    (images, labels, _), (queries, answers, _) = (MiniBatch(*(x if x is None else x[:pictures] for x in data[split])) for split in ("train", "dev"))  # fmt: skip
    errors = []
    for body in [*bodies, body_of(make(Tiny, 3, 0, place))]:
        model = make(Tiny, 3, 0, place)
        load_body(model, body)
        model.train()
        with torch.no_grad():
            features, asked = model.features(images), model.features(queries)
        errors.append(1 - KNeighborsClassifier(5).fit(features, labels).score(asked, answers))
    return errors


@pytest.mark.parametrize(("last", "pictures"), [(20, 300), (None, None), (2, 300), (3, 12)])
def test_the_candidate_with_the_best_vote_is_taken(last, pictures, starts):
    winners = set()
    for seed in range(8):
        stream, bodies = ToyStream(seed, noise=1.2), random_bodies(4, seed)
        starts.clear()
        learner = dynamic(stream, Tiny, Recipe(steps=1, batch=4), last=last, pictures=pictures)
        state, _ = learner.train(training_events(stream)[0], state_of(bodies), lambda part: None)
        *errors, untrained = vote_errors(stream, bodies, 4, pictures)
        first = max(0, 4 - (last or 4))
        best = min(errors[first:])
        newest = max(place for place in range(first, 4) if errors[place] == best)
        source = None if untrained < best else newest
        assert state["sources"][-1] == source
        wanted = body_of(make(Tiny, 3, 0, 4)) if source is None else bodies[source]
        assert torch.equal(starts[0].body, wanted)
        winners.add(source)
    assert len(winners) >= 2


def test_of_equal_candidates_the_newest_is_taken_and_the_untrained_last():
    stream = ToyStream(0)
    fresh = body_of(make(Tiny, 3, 0, 3))
    blind = torch.zeros_like(fresh)
    for bodies, source in {"new": ([fresh, fresh, fresh], 2), "old": ([fresh, fresh, blind], 1)}.values():
        learner = dynamic(stream, Tiny, Recipe(steps=1, batch=4))
        assert vote_errors(stream, [fresh, blind], 3)[0] < vote_errors(stream, [fresh, blind], 3)[1]
        state, _ = learner.train(training_events(stream)[0], state_of(bodies), lambda part: None)
        assert state["sources"][-1] == source


def test_an_untrained_network_is_taken_where_the_others_see_nothing(starts):
    stream = ToyStream(0)
    blind = torch.zeros_like(body_of(Tiny(3)))
    learner = dynamic(stream, Tiny, Recipe(steps=1, batch=4))
    state, _ = learner.train(training_events(stream)[0], state_of([blind, blind]), lambda part: None)
    assert state["sources"][-1] is None
    assert state["search"][-1] > 0
    assert torch.equal(starts[0].body, body_of(make(Tiny, 3, 0, 2)))


def test_a_task_that_comes_again_starts_from_its_own_network():
    stream = ToyStream(4, 5, 4, noise=1.5, sizes={"train": 60, "dev": 60, "test": 10})
    state, _ = trained(dynamic(stream, Tiny, Recipe(steps=60, batch=16)), stream)
    assert state["sources"][0] is None
    assert state["sources"][2] == 0


def test_the_number_of_neighbours_matters_and_is_that_of_the_vote(monkeypatch):
    stream, asked = ToyStream(0, 1), []
    original = nevis.knn_error
    monkeypatch.setattr(nevis, "knn_error", lambda *given: asked.append(given[6]) or original(*given))
    trained(dynamic(stream, Tiny, RECIPE, neighbours=3), stream)
    assert asked == [3, 3]


# --- predictions --------------------------------------------------------------------------------------------------


@each_learner
def test_every_task_that_was_learned_can_be_predicted_later(name):
    """By its own head, and what tunes a network a task answers as it did at first."""
    stream = ToyStream(0, (1, LABELS, 4), (2, CLASSES, 5))
    learner = LEARNERS[name](stream)
    going = run(learner, stream)
    first = {row.task: row.error for row in going}
    for place, count in enumerate((3, 4, 5)):
        key = f"task {place}/test"
        (found,) = learner.predict(PredictionEvent(key), going.state)
        assert found.output.shape == (14, count)
        data = whole_of(stream.get_dataset_by_key(key))
        error = task_error(stream.tasks[f"task {place}"][0].kind, found.output, data.target)
        if name != "multitask" or place == 2:
            assert error == first[f"task {place}"]


def test_a_state_is_not_changed_by_predicting():
    for name in LEARNERS:
        stream = ToyStream(0, 1)
        learner = LEARNERS[name](stream)
        state, _ = trained(learner, stream)
        before = copy.deepcopy(state)
        list(learner.predict(PredictionEvent("task 0/test"), state))
        assert same(state, before)


def test_statistics_are_those_of_the_first_training_pictures():
    stream, model = ToyStream(0), trained_elsewhere(classes=3)
    task = task_data(stream, training_events(stream)[0], model)
    by_hand = copy.deepcopy(model)
    set_statistics(by_hand, task.images[:9])
    spent = calibrate(model, task, Recipe(calibration=9), Meter())
    close(body_of(model), body_of(by_hand), 1e-6)
    assert spent == 9 * operations(3)


# --- what runs depend on ------------------------------------------------------------------------------------------


@each_learner
def test_a_seed_makes_a_run_and_another_seed_another(name):
    stream = ToyStream(0, 1)
    torch.manual_seed(1)
    first, again = (run(LEARNERS[name](stream), stream) for _ in range(2))
    rows = list(first)
    torch.manual_seed(2)
    assert list(again) == rows
    assert same(again.state, first.state)
    other, _ = trained(LEARNERS[name](stream, seed=1), stream)
    ours, theirs = ((state.get("bodies") or [state["body"]]) for state in (first.state, other))
    assert not any(torch.equal(one, two) for one, two in zip(ours, theirs, strict=True))


@each_learner
def test_global_random_numbers_are_left_alone(name):
    stream = ToyStream(0, (1, LABELS, 3))
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    list(run(LEARNERS[name](stream, TWO_RATES), stream))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


@each_learner
def test_double_precision_is_kept(name):
    stream = ToyStream(0, (1, LABELS, 3))
    make_learner = {"pretrained": lambda: pretrained(stream, trained_elsewhere().double(), RECIPE)}
    learner = make_learner.get(name, lambda: getattr(nevis, name)(stream, double_net, RECIPE))()
    going = run(learner, stream)
    assert all(0 <= row.error <= 1 for row in going)
    kept = [*going.state.get("bodies", [going.state.get("body")]), *going.state["heads"]]
    assert {each.dtype for each in kept} == {torch.float64}
    (found,) = learner.predict(PredictionEvent("task 0/test"), going.state)
    assert found.output.dtype == torch.float64


def test_more_steps_learn_a_task():
    stream = ToyStream(0)
    errors = [next(run(independent(stream, Tiny, Recipe(steps=steps)), stream)).error for steps in (1, 60)]
    assert errors[1] < errors[0] - 0.2


@each_learner
def test_the_stream_of_the_lesson_is_learned_by_all(name):
    stream = MiniStream(num_tasks=3, splits=("dev_test", "test"))
    rows = list(run(LEARNERS[name](stream, Recipe(steps=2)), stream))
    assert [row.task for row in rows[::2]] == [key.name for key in stream.tasks]
    assert [row.split for row in rows] == ["dev_test", "test"] * 3
    assert all(0 <= row.error <= 1 for row in rows)
    spent = [row.floating_point_operations for row in rows]
    assert spent == sorted(spent)
    assert spent[0] > 0
