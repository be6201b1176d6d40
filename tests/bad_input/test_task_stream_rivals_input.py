"""Soups and heads in closed form refuse bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from companion.data.streams.events import PredictionEvent
from companion.data.streams.mini import MiniStream
from companion.foundations.networks import ResidualNet
from companion.methods.nevis import Recipe, run
from companion.methods.rivals.task_streams import closed_form, soup
from tests.bad_input.sentences import assert_refused

NAN, INF = float("nan"), float("inf")
STREAM, QUICK = MiniStream(num_tasks=2), Recipe(steps=1)
net = partial(ResidualNet, 1, width=4, stages=2)
MODEL = net(7)
FLOWS = "a stream of tasks, with events() and get_dataset_by_key(key)"
NETWORK, ENDS = "a function of the number of classes, or a network", "a network that ends in one"


def predicted_unlearned(learner):
    return list(learner.predict(PredictionEvent(f"{STREAM.tasks[1].name}/test"), learner.init()))


UNLEARNED = f"of {STREAM.tasks[1].name}, which was not learned"

# each row: a call, the error, the argument that the sentence names, what came, and a word of what is allowed
CASES = {
    "a soup of none": (lambda: soup(STREAM, net, last=0), ValueError, "last", "0", "at least 1"),
    "a soup of half": (lambda: soup(STREAM, net, last=0.5), TypeError, "last", "0.5", "a whole number"),
    "a soup of all": (lambda: soup(STREAM, net, last=None), TypeError, "last", "None", "a whole number"),
    "a soup on a list": (lambda: soup([], net), TypeError, "stream", "a list", FLOWS),
    "a soup of nothing": (lambda: soup(STREAM, None), TypeError, "network", "a NoneType", NETWORK),
    "a soup of convolutions": (lambda: soup(STREAM, nn.Conv2d(1, 1, 1)), ValueError, "model", "without a linear layer", ENDS),
    "a soup by steps": (lambda: soup(STREAM, net, 60), TypeError, "recipe", "a int", "a Recipe"),
    "a soup of seed -1": (lambda: soup(STREAM, net, seed=-1), ValueError, "seed", "-1", "at least 0"),
    "a soup of half a seed": (lambda: soup(STREAM, net, seed=0.5), TypeError, "seed", "0.5", "a whole number"),
    "a soup predicted unlearned": (lambda: predicted_unlearned(soup(STREAM, net)), ValueError, "event", UNLEARNED, "of a task that was"),
    "solved on a list": (lambda: closed_form([], MODEL), TypeError, "stream", "a list", FLOWS),
    "solved on nothing": (lambda: closed_form(STREAM, None), TypeError, "model", "a NoneType", "a torch.nn.Module"),
    "solved on weights": (lambda: closed_form(STREAM, MODEL.state_dict()), TypeError, "model", "a OrderedDict", "a torch.nn.Module"),
    "solved on a function": (lambda: closed_form(STREAM, lambda classes: MODEL), TypeError, "model", "a function", "a torch.nn.Module"),
    "solved on convolutions": (lambda: closed_form(STREAM, nn.Conv2d(1, 1, 1)), ValueError, "model", "without a linear layer", ENDS),
    "solved by steps": (lambda: closed_form(STREAM, MODEL, recipe=60), TypeError, "recipe", "a int", "a Recipe"),
    "no penalty": (lambda: closed_form(STREAM, MODEL, ()), ValueError, "penalties", "empty", "at least one number"),
    "a penalty of 0": (lambda: closed_form(STREAM, MODEL, (0.1, 0)), ValueError, "penalties", "0", "(0, inf)"),
    "a penalty below 0": (lambda: closed_form(STREAM, MODEL, (-0.1,)), ValueError, "penalties", "-0.1", "(0, inf)"),
    "a penalty of nan": (lambda: closed_form(STREAM, MODEL, (NAN,)), ValueError, "penalties", "nan", "(0, inf)"),
    "a penalty without end": (lambda: closed_form(STREAM, MODEL, (INF,)), ValueError, "penalties", "inf", "(0, inf)"),
    "a penalty in words": (lambda: closed_form(STREAM, MODEL, ("0.1",)), TypeError, "penalties", "'0.1'", "(0, inf)"),
    "a penalty True": (lambda: closed_form(STREAM, MODEL, [True]), TypeError, "penalties", "True", "(0, inf)"),
    "solved and predicted unlearned": (lambda: predicted_unlearned(closed_form(STREAM, MODEL)), ValueError, "event", UNLEARNED, "of a task that was"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "argument", "came", "allowed"), CASES.values(), ids=CASES)
def test_one_sentence_says_what_is_wrong(call, error, argument, came, allowed):
    assert_refused(call, error, argument, came, allowed)


ACCEPTED = {
    "a soup of numpy's four": lambda: soup(STREAM, net, QUICK, last=np.int64(4)),
    "a soup of a trained network": lambda: soup(STREAM, MODEL, QUICK),
    "penalties in a list": lambda: closed_form(STREAM, MODEL, [0.1, 1]),
    "penalties in an array": lambda: closed_form(STREAM, MODEL, np.array([0.1, 1.0])),
}


@pytest.mark.parametrize("call", ACCEPTED.values(), ids=ACCEPTED)
def test_what_may_come_is_taken(call):
    rows = list(run(call(), STREAM))
    assert len(rows) == 2
    assert all(0 <= row.error <= 1 for row in rows)


def test_a_refusal_leaves_the_network_as_it_was():
    before = {name: value.clone() for name, value in MODEL.state_dict().items()}
    with pytest.raises(ValueError, match="penalties"):
        closed_form(STREAM, MODEL, (0.0,))
    assert all(torch.equal(value, before[name]) for name, value in MODEL.state_dict().items())
