"""The live widget of accuracy against compute says in one sentence which argument has the wrong type."""

import numpy as np
import pytest
import torch
from sentences import assert_refused

from companion.teaching.widgets import live_curves

BUDGETS = [1e9, 2e9, 4e9]
WAY = {"accuracy": torch.full((2, 2, 3), 0.5), "steps": [0, 1, 2], "group": "pruned"}
WAYS = {"whole": WAY, "half": WAY}


def call(**words):
    usual = {"ways": WAYS, "budgets": BUDGETS, "reference": "whole", "title": "t", "alt": "a"} | words
    ways, budgets = usual.pop("ways"), usual.pop("budgets")
    return live_curves(ways, budgets, **usual)


def changed(**entries):
    return {"ways": {**WAYS, "half": {**WAY, **entries}}}


@pytest.mark.parametrize(
    ("words", "argument", "came", "allowed"),
    [
        ({"ways": [WAY, WAY]}, "ways", "a list", "a mapping from names to mappings"),
        ({"ways": None}, "ways", "a NoneType", "a mapping from names to mappings"),
        ({"ways": {0: WAY, 1: WAY}}, "each name of ways", "0", "a text"),
        ({"ways": WAYS | {"half": WAY["accuracy"]}}, "ways['half']", "a Tensor", "a mapping"),
        (changed(group=0), "ways['half']['group']", "0", "a text"),
        (changed(accuracy=None), "ways['half']['accuracy']", "a NoneType", "shares of shape (seeds, tasks, budgets)"),
        (changed(accuracy="0.5"), "ways['half']['accuracy']", "a str", "shares of shape"),
        (changed(accuracy=[[[0.5] * 3, [0.5] * 2]] * 2), "ways['half']['accuracy']", "a list", "nested lists"),
        (changed(accuracy=[[["a"] * 3] * 2] * 2), "ways['half']['accuracy']", "no table of numbers", "shares of shape"),
        (changed(accuracy=torch.full((2, 2, 3), 0.5j)), "ways['half']['accuracy']", "complex", "real numbers"),
        (changed(steps=torch.tensor([0, 1, 2])), "ways['half']['steps']", "a Tensor", "a tuple or list of numbers"),
        (changed(steps=4), "ways['half']['steps']", "a int", "a tuple or list of numbers, or None"),
        (changed(steps=[0, 1.5, 2]), "each of ways['half']['steps']", "1.5", "a whole number"),
        (changed(steps=[0, True, 2]), "each of ways['half']['steps']", "True", "a whole number"),
        (changed(spent=4e9), "ways['half']['spent']", "a float", "a tuple or list of numbers"),
        (changed(spent=[0, None, 2]), "each of ways['half']['spent']", "None", "a number"),
        ({"budgets": 1e9}, "budgets", "a float", "a tuple or list of numbers"),
        ({"budgets": torch.tensor(BUDGETS)}, "budgets", "a Tensor", "a tuple or list of numbers"),
        ({"budgets": np.array(BUDGETS)}, "budgets", "a ndarray", "a tuple or list of numbers"),
        ({"budgets": [1e9, "2e9", 4e9]}, "each of budgets", "'2e9'", "a number"),
        ({"budget": "1e9"}, "budget", "'1e9'", "a number"),
        ({"budget": True}, "budget", "True", "a number"),
        ({"tasks": "greek"}, "tasks", "a str", "a tuple or list of names"),
        ({"tasks": [0, 1]}, "each of tasks", "0", "a text"),
        ({"task": 1, "tasks": ["greek", "digits"]}, "task", "1", "a text"),
        ({"reference": 0}, "reference", "0", "a text"),
        ({"shown": "whole"}, "shown", "a str", "a tuple or list of names"),
        ({"shown": [0]}, "each of shown", "0", "a text"),
        ({"shown_as": None}, "shown_as", "None", "a text"),
        ({"across": 1}, "across", "1", "a text"),
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
        (changed(accuracy=0.5), "ways['half']['accuracy']", "of shape ()", "of shape (seeds, tasks, 3)"),
        (
            changed(accuracy=[[[50, 60, 70]] * 2] * 2),
            "ways['half']['accuracy']",
            "outside [0, 1]",
            "shares from 0 to 1",
        ),
        ({"reference": "dense"}, "reference", "'dense'", "'whole' or 'half'"),
        ({"tasks": ["greek", "greek"]}, "tasks", "['greek', 'greek']", "names that differ"),
    ],
)
def test_it_refuses_percents_and_unknown_names(words, argument, came, allowed):
    assert_refused(lambda: call(**words), ValueError, argument, came, allowed)


def test_arrays_and_tuples_are_tables_too():
    table = np.full((2, 2, 3), 0.5)
    plain = call(**changed(accuracy=table, steps=(0, 1, 2), spent=(0.0, 1.0, 2.0)), budgets=tuple(BUDGETS))
    assert plain.accuracy == call().accuracy
    assert plain.steps == [[0, 1, 2]] * 2
