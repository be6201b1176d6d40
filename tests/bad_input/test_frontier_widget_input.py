"""The live widget of error against compute says in one sentence which argument has the wrong type."""

import numpy as np
import pytest
import torch
from sentences import assert_refused

from companion.teaching.widgets import live_frontier

POINT = {"budget": "15", "errors": {"all": [0.5, 0.25]}, "training": 1e10, "search": 0.0}
POINTS = {"independent": [POINT], "dynamic": [POINT, POINT | {"budget": "60"}]}


def call(**words):
    usual = {"points": POINTS, "title": "t", "alt": "a"} | words
    return live_frontier(usual.pop("points"), **usual)


def changed(**entries):
    return {"points": {**POINTS, "dynamic": [POINT, {**POINT, "budget": "60", **entries}]}}


HERE = "points['dynamic'][1]"


@pytest.mark.parametrize(
    ("words", "argument", "came", "allowed"),
    [
        ({"points": [POINT]}, "points", "a list", "a mapping from names to lists of mappings"),
        ({"points": None}, "points", "a NoneType", "a mapping from names to lists of mappings"),
        ({"points": {0: [POINT]}}, "each name of points", "0", "a text"),
        ({"points": {"a": POINT}}, "points['a']", "a dict", "a tuple or list of mappings"),
        ({"points": {"a": [0.5]}}, "points['a'][0]", "a float", "a mapping"),
        (changed(budget=60), f"{HERE}['budget']", "60", "a text"),
        (changed(training="1e10"), f"{HERE}['training']", "'1e10'", "a number in (0, inf)"),
        (changed(training=True), f"{HERE}['training']", "True", "a number"),
        (changed(training=torch.tensor(1e10)), f"{HERE}['training']", "tensor", "a number"),
        (changed(search=None), f"{HERE}['search']", "None", "a number in [0, inf)"),
        (changed(errors=[0.5, 0.25]), f"{HERE}['errors']", "a list", "a mapping from parts of the stream"),
        (changed(errors=torch.ones(2)), f"{HERE}['errors']", "a Tensor", "to the errors of the seeds"),
        (changed(errors={"all": None}), f"{HERE}['errors']['all']", "a NoneType", "numbers, one for each seed"),
        (changed(errors={"all": "0.5"}), f"{HERE}['errors']['all']", "a str", "a tensor, an array or a list"),
        (changed(errors={"all": [0.5, "a"]}), f"{HERE}['errors']['all']", "no row of numbers", "numbers"),
        (changed(errors={"all": [0.5, [0.5]]}), f"{HERE}['errors']['all']", "a list", "numbers"),
        (changed(errors={"all": torch.full((2,), 0.5j)}), f"{HERE}['errors']['all']", "complex", "real numbers"),
        (
            {"points": {"a": [POINT | {"errors": {0: [0.5]}}]}},
            "each part of points['a'][0]['errors']",
            "0",
            "a text",
        ),
        ({"shown": "dynamic"}, "shown", "a str", "a tuple or list of names"),
        ({"shown": [0]}, "each of shown", "0", "a text"),
        ({"reference": 0}, "reference", "0", "a text"),
        ({"counted": 1}, "counted", "1", "True or False"),
        ({"counted": None}, "counted", "None", "True or False"),
        ({"title": None}, "title", "a NoneType", "a text"),
        ({"alt": 3}, "alt", "a int", "a text"),
        ({"note": None}, "note", "None", "a text"),
    ],
)
def test_it_refuses_wrong_types(words, argument, came, allowed):
    assert_refused(lambda: call(**words), TypeError, argument, came, allowed)


@pytest.mark.parametrize(
    ("words", "argument", "came", "allowed"),
    [
        (changed(errors={"all": [50, 25]}), f"{HERE}['errors']['all']", "outside [0, 1]", "errors from 0 to 1"),
        (changed(errors={"all": 0.5}), f"{HERE}['errors']['all']", "of shape ()", "of shape (seeds,)"),
        (changed(errors={"All": [0.5, 0.25]}), f"{HERE}['errors']", "of the parts ['All']", "of the parts ['all']"),
        (changed(budget="15"), "points['dynamic']", "of budgets ['15', '15']", "of budgets that differ"),
        (changed(training=-1e10), f"{HERE}['training']", "-10000000000.0", "a number in (0, inf)"),
        ({"points": {"a": [{"budget": "15"}]}}, "points['a'][0]", "without errors and training", "a mapping with"),
        ({"reference": "soup"}, "reference", "'soup'", "'independent' or 'dynamic'"),
        ({"shown": ["soup"]}, "each of shown", "'soup'", "'independent' or 'dynamic'"),
    ],
)
def test_it_refuses_percents_and_unknown_names(words, argument, came, allowed):
    assert_refused(lambda: call(**words), ValueError, argument, came, allowed)


def test_arrays_and_tuples_are_rows_too():
    for row in (np.array([0.5, 0.25]), (0.5, 0.25), torch.tensor([0.5, 0.25])):
        assert call(**changed(errors={"all": row})).errors == call().errors
    assert call(points={"a": (POINT,)}, shown=("a",)).shown == [0]
