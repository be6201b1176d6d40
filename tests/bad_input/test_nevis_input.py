"""Learners on streams of tasks refuse bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`. A learner whose classes are its own, and
only named as ours, is taken here, too.
"""

from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from companion.data.streams.events import PredictionEvent, TaskKind, TrainingEvent
from companion.data.streams.mini import MiniStream
from companion.foundations.networks import ResidualNet
from companion.methods import nevis
from companion.methods.nevis import (
    Learner,
    Recipe,
    ResourceUsage,
    Row,
    body_of,
    dynamic,
    fine_tuning,
    independent,
    knn_error,
    load_body,
    multitask,
    pretrained,
    previous,
    representation,
    run,
    task_error,
)
from tests.bad_input.sentences import assert_refused

NAN, INF = float("nan"), float("inf")
CLASSES, LABELS = TaskKind.CLASSIFICATION, TaskKind.MULTI_LABEL_CLASSIFICATION
STREAM = MiniStream(num_tasks=2)
QUICK = Recipe(steps=1)
net = partial(ResidualNet, 1, width=4, stages=2)
LEARNER, FLOWS = (
    "a Learner, with init, train and predict",
    "a stream of tasks, with events() and get_dataset_by_key(key)",
)
NETWORK, MODULE = "a function of the number of classes, or a network", "a torch.nn.Module"
CHOICE = "a callable (task, bodies, network) -> Start"
SCORES, FEATURES = torch.zeros(4, 3), torch.zeros(4, 2)
TARGET = torch.tensor([0, 1, 2, 0])


def empty() -> Learner:
    """That answers nothing."""
    return Learner(list, lambda event, state, write, **_: (state, ResourceUsage()), lambda event, state: iter(()))


def named(**parts):
    return SimpleNamespace(**{"init": list, "train": len, "predict": len} | parts)


def predicted_unlearned(make):
    learner = make(STREAM, net, QUICK)
    return list(learner.predict(PredictionEvent(f"{STREAM.tasks[1].name}/test"), learner.init()))


def neighbours(features=FEATURES, target=TARGET, queries=FEATURES, answers=TARGET, count=5):
    return knn_error(CLASSES, features, target, queries, answers, 3, count)


TUNERS = {"independent": independent, "previous": previous, "dynamic": dynamic, "multitask": multitask}
TUNERS["fine_tuning"] = lambda stream, network, recipe=None, seed=0: fine_tuning(stream, network, len, recipe, seed)

# each row: a call, the error, the argument that the sentence names, what came, and a word of what is allowed
CASES = {
    # runs
    "run a function": (lambda: run(len, STREAM), TypeError, "learner", "a builtin_function_or_method", LEARNER),
    "run a module": (lambda: run(net(3), STREAM), TypeError, "learner", "a ResidualNet", LEARNER),
    "run nothing": (lambda: run(None, STREAM), TypeError, "learner", "a NoneType", LEARNER),
    "run what cannot predict": (lambda: run(named(predict=None), STREAM), TypeError, "learner", "a SimpleNamespace", LEARNER),
    "run what cannot train": (lambda: run(named(train=1), STREAM), TypeError, "learner", "a SimpleNamespace", LEARNER),
    "run what cannot begin": (lambda: run(named(init=[]), STREAM), TypeError, "learner", "a SimpleNamespace", LEARNER),
    "run over events": (lambda: run(empty(), list(STREAM.events())), TypeError, "stream", "a list", FLOWS),
    "run over nothing": (lambda: run(empty(), None), TypeError, "stream", "a NoneType", FLOWS),
    "run over keys alone": (lambda: run(empty(), SimpleNamespace(get_dataset_by_key=len)), TypeError, "stream", "a SimpleNamespace", FLOWS),
    "run over events alone": (lambda: run(empty(), SimpleNamespace(events=list)), TypeError, "stream", "a SimpleNamespace", FLOWS),
    "no predictions": (lambda: next(run(empty(), STREAM)), ValueError, "predict(event, state)", "without a batch", "an iterator of (batch, output)"),
    # scores
    "a row of scores": (lambda: task_error(CLASSES, SCORES[0], TARGET), ValueError, "output", "of shape (3,)", "of shape (4, num_classes), one row or more"),
    "fewer scores": (lambda: task_error(CLASSES, SCORES[:3], TARGET), ValueError, "output", "of shape (3, 3)", "of shape (4, num_classes)"),
    "no scores": (lambda: task_error(CLASSES, SCORES[:0], TARGET[:0]), ValueError, "output", "of shape (0, 3)", "one row or more"),
    "scores in a box": (lambda: task_error(LABELS, SCORES[None], SCORES), ValueError, "output", "of shape (1, 4, 3)", "of shape (4, num_classes)"),
    "labels in one row": (lambda: task_error(LABELS, SCORES, TARGET.float()), ValueError, "target", "of shape (4,)", "of shape (4, 3), as the output"),
    "a label too many": (lambda: task_error(LABELS, SCORES, torch.ones(4, 4)), ValueError, "target", "of shape (4, 4)", "of shape (4, 3), as the output"),
    "no positive": (lambda: task_error(LABELS, SCORES, SCORES), ValueError, "target", "without a positive", "with a positive of one label at least"),
    "no neighbour": (lambda: neighbours(count=0), ValueError, "neighbours", "0", "at least 1"),
    "half a neighbour": (lambda: neighbours(count=0.5), TypeError, "neighbours", "0.5", "a whole number"),
    "fewer voters": (lambda: neighbours(features=FEATURES[:3]), ValueError, "features", "of shape (3, 2)", "of as many rows as target, as wide as queries"),
    "wider queries": (lambda: neighbours(queries=torch.zeros(4, 3)), ValueError, "features", "of shape (4, 2)", "as wide as queries"),
    "fewer answers": (lambda: neighbours(answers=TARGET[:2]), ValueError, "features", "of shape (4, 2)", "of as many rows as target"),
    # recipes
    "no steps": (lambda: Recipe(steps=0), ValueError, "steps", "0", "at least 1"),
    "half a step": (lambda: Recipe(steps=0.5), TypeError, "steps", "0.5", "a whole number"),
    "steps True": (lambda: Recipe(steps=True), TypeError, "steps", "True", "a whole number"),
    "batch 0": (lambda: Recipe(batch=0), ValueError, "batch", "0", "at least 1"),
    "batch None": (lambda: Recipe(batch=None), TypeError, "batch", "None", "a whole number"),
    "calibration 0": (lambda: Recipe(calibration=0), ValueError, "calibration", "0", "at least 1"),
    "calibration in words": (lambda: Recipe(calibration="all"), TypeError, "calibration", "'all'", "a whole number"),
    "one rate": (lambda: Recipe(learning_rates=0.1), TypeError, "learning_rates", "0.1", "a tuple of numbers, one at least"),
    "no rates": (lambda: Recipe(learning_rates=()), TypeError, "learning_rates", "()", "a tuple of numbers, one at least"),
    "rates in a set": (lambda: Recipe(learning_rates={0.1}), TypeError, "learning_rates", "{0.1}", "a tuple of numbers, one at least"),
    "a rate of 0": (lambda: Recipe(learning_rates=(0.1, 0)), ValueError, "learning_rates", "0", "(0, inf)"),
    "a rate of nan": (lambda: Recipe(learning_rates=(NAN,)), ValueError, "learning_rates", "nan", "(0, inf)"),
    "a rate in words": (lambda: Recipe(learning_rates=("0.1",)), TypeError, "learning_rates", "'0.1'", "(0, inf)"),
    "smoothing 1": (lambda: Recipe(smoothing=1), ValueError, "smoothing", "1", "[0, 1)"),
    "smoothing below 0": (lambda: Recipe(smoothing=-0.1), ValueError, "smoothing", "-0.1", "[0, 1)"),
    "momentum 0": (lambda: Recipe(momentum=0), ValueError, "momentum", "0", "(0, 1)"),
    "momentum 1": (lambda: Recipe(momentum=1.0), ValueError, "momentum", "1.0", "(0, 1)"),
    "weight decay below 0": (lambda: Recipe(weight_decay=-1e-4), ValueError, "weight_decay", "-0.0001", "[0, inf)"),
    "weight decay without end": (lambda: Recipe(weight_decay=INF), ValueError, "weight_decay", "inf", "[0, inf)"),
    "weight decay None": (lambda: Recipe(weight_decay=None), TypeError, "weight_decay", "None", "[0, inf)"),
    # networks
    "a body too short": (lambda: load_body(net(3), body_of(net(3))[:-1]), ValueError, "body", "of 1331 weights", "of 1332, as the network has"),
    "a body of another network": (lambda: load_body(net(3), body_of(net(3, width=5))), ValueError, "body", "of 2035 weights", "of 1332, as the network has"),
    "the body of a convolution": (lambda: body_of(nn.Conv2d(1, 1, 1)), ValueError, "model", "without a linear layer", "a network that ends in one"),
    "a representation of nothing": (lambda: representation(net(3), torch.zeros(0, 1, 8, 8)), ValueError, "images", "of shape (0, 1, 8, 8)", "n >= 1"),
    "a representation of bytes": (lambda: representation(net(3), torch.zeros(2, 1, 8, 8).byte()), TypeError, "images", "torch.uint8", "a floating dtype"),
    "a representation by a function": (lambda: representation(torch.relu, torch.zeros(2, 1, 8, 8)), TypeError, "model", "a builtin_function_or_method", MODULE),
    # learners of their own arguments
    "a choice that is none": (lambda: fine_tuning(STREAM, net, None), TypeError, "choose", "a NoneType", CHOICE),
    "a choice in words": (lambda: fine_tuning(STREAM, net, "last"), TypeError, "choose", "a str", CHOICE),
    "no candidate": (lambda: dynamic(STREAM, net, last=0), ValueError, "last", "0", "at least 1"),
    "half a candidate": (lambda: dynamic(STREAM, net, last=0.5), TypeError, "last", "0.5", "a whole number"),
    "no pictures": (lambda: dynamic(STREAM, net, pictures=0), ValueError, "pictures", "0", "at least 1"),
    "pictures in words": (lambda: dynamic(STREAM, net, pictures="all"), TypeError, "pictures", "'all'", "a whole number"),
    "no neighbours": (lambda: dynamic(STREAM, net, neighbours=0), ValueError, "neighbours", "0", "at least 1"),
    "neighbours None": (lambda: dynamic(STREAM, net, neighbours=None), TypeError, "neighbours", "None", "a whole number"),
    "pretrained by a function": (lambda: pretrained(STREAM, net), TypeError, "model", "a partial", MODULE),
    "pretrained by weights": (lambda: pretrained(STREAM, net(3).state_dict()), TypeError, "model", "a OrderedDict", MODULE),
    "pretrained without head": (lambda: pretrained(STREAM, nn.Conv2d(1, 1, 1)), ValueError, "model", "without a linear layer", "a network that ends in one"),
    "pretrained on nothing": (lambda: pretrained(None, net(3)), TypeError, "stream", "a NoneType", FLOWS),
}  # fmt: skip

for name, make in TUNERS.items():  # arguments that all of them take
    CASES |= {
        f"{name}: a list": (partial(make, [], net), TypeError, "stream", "a list", FLOWS),
        f"{name}: no network": (partial(make, STREAM, None), TypeError, "network", "a NoneType", NETWORK),
        f"{name}: a network in words": (partial(make, STREAM, "small"), TypeError, "network", "a str", NETWORK),
        f"{name}: a convolution": (partial(make, STREAM, nn.Conv2d(1, 1, 1)), ValueError, "model", "without a linear layer", "a network that ends in one"),
        f"{name}: steps": (partial(make, STREAM, net, 60), TypeError, "recipe", "a int", "a Recipe"),
        f"{name}: a recipe in a dictionary": (partial(make, STREAM, net, {"steps": 3}), TypeError, "recipe", "a dict", "a Recipe"),
        f"{name}: seed -1": (partial(make, STREAM, net, None, -1), ValueError, "seed", "-1", "at least 0"),
        f"{name}: half a seed": (partial(make, STREAM, net, None, 0.5), TypeError, "seed", "0.5", "a whole number"),
    }  # fmt: skip
    if name != "fine_tuning":
        CASES[f"{name}: predicted unlearned"] = (
            partial(predicted_unlearned, make), ValueError, "event", f"of {STREAM.tasks[1].name}, which was not learned", "of a task that was"
        )  # fmt: skip


@pytest.mark.parametrize(("call", "error", "argument", "came", "allowed"), CASES.values(), ids=CASES)
def test_one_sentence_says_what_is_wrong(call, error, argument, came, allowed):
    assert_refused(call, error, argument, came, allowed)


# --- files --------------------------------------------------------------------------------------------------------


@dataclass
class OwnState:
    tasks: int = 0


def owner() -> Learner:
    """With a state of a class of its own."""

    def train(event, state, write_checkpoint, *, checkpoint_to_resume=None):
        return OwnState(state.tasks + 1), ResourceUsage(1.0, 1, 1)

    return independent(STREAM, net, QUICK)._replace(init=OwnState, train=train, predict=guesses)


def guesses(event, state):
    data = STREAM.get_dataset_by_key(event.dataset_key)
    for batch in data.builder_fn(shuffle=False).batch(64):
        yield batch, torch.zeros(len(batch.image), data.task_key.metadata.num_classes)


def sentence(learner, stream, file) -> str:
    with pytest.raises(ValueError, match="^checkpoint") as refusal:
        next(run(learner, stream, file))
    return str(refusal.value)


def test_a_file_that_is_no_checkpoint_is_refused_by_its_name(tmp_path):
    file, learner = tmp_path / "run", independent(STREAM, net, QUICK)
    file.write_bytes(b"not a checkpoint")
    assert sentence(learner, STREAM, file).startswith(f"checkpoint {file} is ")
    for content in (b"", b"PK\x03\x04"):
        file.write_bytes(content)
        assert sentence(learner, STREAM, file) == f"checkpoint {file} is unreadable, but must be whole."
    for content in ({"events": []}, [1, 2], torch.zeros(3), net(3).state_dict()):
        torch.save(content, file)
        assert sentence(learner, STREAM, file) == f"checkpoint is {file}, but must be a file that run() wrote."
    assert sentence(learner, STREAM, tmp_path) == f"checkpoint {tmp_path} is unreadable, but must be whole."


def test_a_checkpoint_of_another_stream_is_refused_by_its_name(tmp_path):
    file, learner = tmp_path / "run", independent(STREAM, net, QUICK)
    list(run(learner, STREAM, file))
    for other in (MiniStream(num_tasks=1), MiniStream(num_tasks=2, splits=("dev",))):
        wanted = f"checkpoint is {file}, of another stream, but must be of a run on the same stream."
        assert sentence(independent(other, net, QUICK), other, file) == wanted


def test_a_state_of_an_own_class_is_read_when_the_class_is_named(tmp_path):
    file = tmp_path / "run"
    rows = list(run(owner(), STREAM, file))
    assert sentence(owner(), STREAM, file) == (
        f"checkpoint {file} is with objects of unknown classes, but must be of plain values, or of classes named to "
        "torch.serialization.add_safe_globals."
    )
    with torch.serialization.safe_globals([OwnState]):
        again = run(owner(), STREAM, file)
        assert list(again) == rows
    assert again.state == OwnState(2)


# --- what may come ------------------------------------------------------------------------------------------------


class ForeignLearner(NamedTuple):
    """By the same names, of another package."""

    init: object
    train: object
    predict: object


class ForeignPredictions(NamedTuple):
    batch: object
    output: object


class ForeignUsage(NamedTuple):
    floating_point_operations: float | None = None
    peak_parameter_count: int | None = None
    peak_parameter_size_bytes: int | None = None


def foreign(maker=ForeignLearner):
    def train(event, state, write_checkpoint, *, checkpoint_to_resume=None):
        write_checkpoint({"half": torch.zeros(2)})
        return [*state, event.train_dataset_key], ForeignUsage(5.0, 2, 8)

    def predict(event, state):
        for batch, scores in guesses(event, state):
            yield ForeignPredictions(batch, scores.long().numpy())

    return maker(init=list, train=train, predict=predict)


@pytest.mark.parametrize("maker", [ForeignLearner, SimpleNamespace])
def test_a_learner_of_foreign_classes_runs_unchanged(maker, tmp_path):
    rows = list(run(foreign(maker), STREAM, tmp_path / "run"))
    wrong = [(STREAM.get_dataset_by_key(f"{key.name}/test").builder_fn().whole.label != 0) for key in STREAM.tasks]
    for row, key, each, spent in zip(rows, STREAM.tasks, wrong, (5.0, 10.0), strict=True):
        assert row == Row(key.name, "test", pytest.approx(each.double().mean().item()), spent)
    assert list(run(foreign(maker), STREAM, tmp_path / "run")) == rows


ACCEPTED = {
    "counts of numpy": lambda: dynamic(STREAM, net, Recipe(steps=np.int64(1)), 3, np.int32(2), np.int64(4)),
    "a seed of numpy": lambda: multitask(STREAM, net, QUICK, np.int64(3)),
    "all candidates and all pictures": lambda: dynamic(STREAM, net, QUICK, last=None, pictures=None),
    "rates in a list": lambda: independent(STREAM, net, Recipe(steps=1, learning_rates=[1, np.float32(0.1)])),
    "a trained network for an untrained one": lambda: previous(STREAM, net(7), QUICK),
    "a head without bias": lambda: previous(STREAM, headless(), QUICK),
    "no recipe": lambda: fine_tuning(STREAM, net, lambda task, bodies, fresh: nevis.Start(), None),
}  # fmt: skip


def headless() -> nn.Module:
    model = net(7)
    model.head = nn.Linear(8, 7, bias=False)
    return model


@pytest.mark.parametrize("call", ACCEPTED.values(), ids=ACCEPTED)
def test_what_may_come_is_taken(call):
    rows = list(run(call(), STREAM))
    assert len(rows) == 2
    assert all(0 <= row.error <= 1 for row in rows)


def test_a_refusal_leaves_the_network_as_it_was():
    model = net(3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="body"):
        load_body(model, body_of(net(3))[1:])
    with pytest.raises(ValueError, match="images"):
        representation(model, torch.zeros(0, 1, 8, 8))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    event = TrainingEvent("a/train", "a/train_and_dev", "a/dev")
    with pytest.raises(ValueError, match="dataset_key"):
        independent(STREAM, model, QUICK).train(event, {"names": []}, lambda part: None)
