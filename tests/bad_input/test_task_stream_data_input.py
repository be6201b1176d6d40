"""Lesson 10's stream of tasks refuses bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import numpy as np
import pytest
import torch

from companion.data.streams.events import Examples, MiniBatch
from companion.data.streams.mini import MiniStream
from tests.bad_input.sentences import assert_refused

STREAM = MiniStream(3)
FIRST = next(iter(STREAM.events())).train_dataset_key.rpartition("/")[0]
EXAMPLES = Examples(MiniBatch(torch.zeros(4, 1, 16, 16), torch.zeros(4, dtype=torch.long), None))
KEY = f"a key of this stream, such as {FIRST}/train"
SOME = "some of train, dev, train_and_dev, dev_test, test"


# each row: a call, the error, the argument that the sentence names, what came, and a word of what is allowed
CASES = {
    "no task": (lambda: MiniStream(0), ValueError, "num_tasks", "0", "at least 1"),
    "tasks below none": (lambda: MiniStream(-2), ValueError, "num_tasks", "-2", "at least 1"),
    "half a task": (lambda: MiniStream(2.5), TypeError, "num_tasks", "2.5", "a whole number"),
    "a task that is true": (lambda: MiniStream(True), TypeError, "num_tasks", "True", "a whole number"),
    "tasks without a number": (lambda: MiniStream(None), TypeError, "num_tasks", "None", "a whole number"),
    "a negative seed": (lambda: MiniStream(2, seed=-1), ValueError, "seed", "-1", "at least 0"),
    "a seed that is a word": (lambda: MiniStream(2, seed="0"), TypeError, "seed", "'0'", "a whole number"),
    "an unknown split": (lambda: MiniStream(2, splits=("valid",)), ValueError, "splits", "('valid',)", SOME),
    "one split unknown": (lambda: MiniStream(2, splits=("test", "tests")), ValueError, "splits", "'tests'", SOME),
    "no split": (lambda: MiniStream(2, splits=()), ValueError, "splits", "()", SOME),
    "a split that is a word": (lambda: MiniStream(2, splits="test"), ValueError, "splits", "'test'", SOME),
    "a key of another family": (lambda: STREAM.get_dataset_by_key("000-faces/test"), ValueError, "dataset_key", "'000-faces/test'", KEY),
    "a key of a later task": (lambda: STREAM.get_dataset_by_key("003-digits/test"), ValueError, "dataset_key", "'003-digits/test'", KEY),
    "a key of an unknown split": (lambda: STREAM.get_dataset_by_key(f"{FIRST}/valid"), ValueError, "dataset_key", f"'{FIRST}/valid'", KEY),
    "a key without a split": (lambda: STREAM.get_dataset_by_key(FIRST), ValueError, "dataset_key", f"'{FIRST}'", KEY),
    "a key without zeros": (lambda: STREAM.get_dataset_by_key(f"{FIRST[2:]}/test"), ValueError, "dataset_key", f"'{FIRST[2:]}/test'", KEY),
    "a key of other digits": (lambda: STREAM.get_dataset_by_key("²-digits/test"), ValueError, "dataset_key", "'²-digits/test'", KEY),
    "an empty key": (lambda: STREAM.get_dataset_by_key(""), ValueError, "dataset_key", "''", KEY),
    "a key that is a number": (lambda: STREAM.get_dataset_by_key(0), ValueError, "dataset_key", "0", KEY),
    "a key that is none": (lambda: STREAM.get_dataset_by_key(None), ValueError, "dataset_key", "None", KEY),
    "batches of nothing": (lambda: EXAMPLES.batch(0), ValueError, "batch_size", "0", "at least 1"),
    "batches of half a picture": (lambda: EXAMPLES.batch(0.5), TypeError, "batch_size", "0.5", "a whole number"),
    "batches without a size": (lambda: EXAMPLES.batch(None), TypeError, "batch_size", "None", "a whole number"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "argument", "came", "allowed"), CASES.values(), ids=CASES)
def test_one_sentence_says_what_is_wrong(call, error, argument, came, allowed):
    assert_refused(call, error, argument, came, allowed)


def test_a_refusal_leaves_the_stream_as_it_was():
    with pytest.raises(ValueError, match="dataset_key"):
        STREAM.get_dataset_by_key("nothing")
    assert STREAM.get_dataset_by_key(f"{FIRST}/train").num_examples >= 50


def test_a_seed_of_numpy_is_a_seed():
    (first,), (second,) = MiniStream(1, np.int64(3)).tasks, MiniStream(np.int64(1), 3).tasks
    assert first == second
