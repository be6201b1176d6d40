"""The pictures of lesson 09 refuse bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import numpy as np
import pytest
import torch

from companion.data.pictures import classes_of, few_labels, pictures
from tests.bad_input.sentences import assert_refused

LABELS = torch.tensor([0, 1, 2])
INSIDE = "whole numbers from 0 to 7"


# each row: a call, the error, the argument that the sentence names, what came, and a word of what is allowed
CASES = {
    "an unknown family": (lambda: classes_of("faces"), ValueError, "family", "'faces'", "one of letters, print"),
    "a family that is None": (lambda: classes_of(None), ValueError, "family", "None", "one of letters, print"),
    "pictures of an unknown family": (lambda: pictures("Digits", LABELS), ValueError, "family", "'Digits'", "digits"),
    "pictures of a family's number": (lambda: pictures(3, LABELS), ValueError, "family", "3", "digits"),
    "pictures of a list": (lambda: pictures("shapes", [0, 1]), TypeError, "labels", "a list", "a tensor of whole numbers"),
    "pictures of an array": (lambda: pictures("shapes", np.arange(3)), TypeError, "labels", "a ndarray", "a tensor of whole numbers"),
    "pictures of floating labels": (lambda: pictures("shapes", LABELS.float()), TypeError, "labels", "torch.float32", "a tensor of whole numbers"),
    "pictures of a mask": (lambda: pictures("shapes", LABELS > 0), TypeError, "labels", "torch.bool", "a tensor of whole numbers"),
    "pictures of bytes": (lambda: pictures("shapes", LABELS.byte()), TypeError, "labels", "torch.uint8", "torch.int64"),
    "pictures of small whole numbers": (lambda: pictures("shapes", LABELS.int()), TypeError, "labels", "torch.int32", "torch.int64"),
    "pictures of a table": (lambda: pictures("shapes", LABELS[None]), ValueError, "labels", "(1, 3)", "one row"),
    "pictures of nothing": (lambda: pictures("shapes", LABELS[:0]), ValueError, "labels", "empty or outside", INSIDE),
    "pictures of a label too many": (lambda: pictures("shapes", LABELS + 6), ValueError, "labels", "empty or outside", INSIDE),
    "pictures of a negative label": (lambda: pictures("shapes", LABELS - 1), ValueError, "labels", "empty or outside", INSIDE),
    "pictures of an unknown split": (lambda: pictures("digits", LABELS, "valid"), ValueError, "split", "'valid'", '"train" or "test"'),
    "drawn pictures of an unknown split": (lambda: pictures("shapes", LABELS, None), ValueError, "split", "None", '"train" or "test"'),
    "a task of an unknown family": (lambda: few_labels("faces"), ValueError, "family", "'faces'", "one of letters"),
    "a task of one class": (lambda: few_labels("shapes", 1), ValueError, "classes", "1", "at least 2"),
    "a task of half a class": (lambda: few_labels("shapes", 2.5), TypeError, "classes", "2.5", "a whole number"),
    "a task without labels": (lambda: few_labels("shapes", labels=0), ValueError, "labels", "0", "at least 1"),
    "a task of all labels": (lambda: few_labels("shapes", labels=None), TypeError, "labels", "None", "a whole number"),
    "a task with nothing held out": (lambda: few_labels("shapes", held_out=0), ValueError, "held_out", "0", "at least 1"),
    "a task with half held out": (lambda: few_labels("shapes", held_out=0.5), TypeError, "held_out", "0.5", "a whole number"),
    "a negative seed": (lambda: few_labels("shapes", seed=-1), ValueError, "seed", "-1", "at least 0"),
    "a seed that is a generator": (lambda: few_labels("shapes", seed=torch.Generator()), TypeError, "seed", "torch._C.Generator", "a whole number"),
}  # fmt: skip


def assert_names(call, error, argument, came, allowed):
    """As `assert_refused`, but a sentence that lists all families may be longer."""
    if argument != "family":
        return assert_refused(call, error, argument, came, allowed)
    with pytest.raises(error) as refusal:
        call()
    message = str(refusal.value)
    assert message.startswith(f"family is {came}, but must be one of letters, print")
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize(("call", "error", "argument", "came", "allowed"), CASES.values(), ids=CASES)
def test_one_sentence_says_what_is_wrong(call, error, argument, came, allowed):
    assert_names(call, error, argument, came, allowed)


def test_more_classes_than_there_are_is_all():
    assert few_labels("shapes", 100, 1, 1).num_classes == 8
