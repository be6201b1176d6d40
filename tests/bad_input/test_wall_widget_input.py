"""The live widget of a stream of tasks says in one sentence which argument has the wrong type."""

import numpy as np
import pytest
import torch
from sentences import assert_refused

from companion.teaching.widgets import live_wall

PICTURES = torch.zeros(2, 3, 3, dtype=torch.uint8)
TASK = {"name": "one", "family": "digits", "classes": 4, "train": 50, "labels": False, "pictures": PICTURES, "captions": ["a", "b"]}  # fmt: skip
TASKS = [TASK, TASK, TASK]
LEARNERS = {"independent": [0.5, 0.4, 0.3], "dynamic": [0.5, 0.2, 0.1]}


def call(**words):
    usual = {"tasks": TASKS, "learners": LEARNERS, "title": "t", "alt": "a"} | words
    tasks, learners = usual.pop("tasks"), usual.pop("learners")
    return live_wall(tasks, learners, **usual)


def changed(**entries):
    return {"tasks": [TASK, TASK | entries, TASK]}


def learned(values):
    return {"learners": LEARNERS | {"dynamic": values}}


@pytest.mark.parametrize(
    ("words", "argument", "came", "allowed"),
    [
        ({"tasks": None}, "tasks", "a NoneType", "a tuple or list of mappings"),
        ({"tasks": dict(enumerate(TASKS))}, "tasks", "a dict", "a tuple or list of mappings"),
        ({"tasks": [TASK, "two", TASK]}, "tasks[1]", "a str", "a mapping"),
        (changed(name=1), "tasks[1]['name']", "1", "a text"),
        (changed(family=None), "tasks[1]['family']", "None", "a text"),
        (changed(classes=4.0), "tasks[1]['classes']", "4.0", "a whole number"),
        (changed(classes=True), "tasks[1]['classes']", "True", "a whole number"),
        (changed(train="50"), "tasks[1]['train']", "'50'", "a whole number"),
        (changed(labels=1), "tasks[1]['labels']", "1", "True or False"),
        (changed(labels=None), "tasks[1]['labels']", "None", "True or False"),
        (changed(pictures=None), "tasks[1]['pictures']", "a NoneType", "a tensor or an array of uint8"),
        (changed(pictures=PICTURES.tolist()), "tasks[1]['pictures']", "a list", "a tensor or an array of uint8"),
        (changed(pictures=PICTURES.float()), "tasks[1]['pictures']", "of torch.float32", "a tensor or an array of uint8"),
        (changed(pictures=PICTURES.numpy() / 2), "tasks[1]['pictures']", "of float64", "a tensor or an array of uint8"),
        (changed(captions="ab"), "tasks[1]['captions']", "a str", "a tuple or list of texts"),
        (changed(captions=["a", 1]), "each of tasks[1]['captions']", "1", "a text"),
        ({"learners": [LEARNERS["dynamic"]]}, "learners", "a list", "a mapping from names to errors"),
        ({"learners": None}, "learners", "a NoneType", "a mapping from names to errors"),
        ({"learners": {0: LEARNERS["dynamic"]}}, "each name of learners", "0", "a text"),
        (learned(None), "learners['dynamic']", "a NoneType that is no row of numbers", "errors, one for each task"),
        (learned("0.5"), "learners['dynamic']", "a str that is no row of numbers", "errors, one for each task"),
        (learned([0.5, "a", 0.1]), "learners['dynamic']", "a list that is no row of numbers", "errors, one for each task"),
        (learned([[0.5], 0.2, 0.1]), "learners['dynamic']", "a list that is no row", "errors, one for each task"),
        (learned(torch.full((3,), 0.5j)), "learners['dynamic']", "a complex tensor", "a row of real numbers"),
        ({"shown": "dynamic"}, "shown", "a str", "a tuple or list of names"),
        ({"shown": [0]}, "each of shown", "0", "a text"),
        ({"place": 1.0}, "place", "1.0", "a whole number"),
        ({"place": True}, "place", "True", "a whole number"),
        ({"title": None}, "title", "a NoneType", "a text"),
        ({"alt": 3}, "alt", "a int", "a text"),
        ({"note": None}, "note", "None", "a text"),
    ],
)  # fmt: skip
def test_it_refuses_wrong_types(words, argument, came, allowed):
    assert_refused(lambda: call(**words), TypeError, argument, came, allowed)


@pytest.mark.parametrize(
    ("words", "argument", "came", "allowed"),
    [
        (learned(0.5), "learners['dynamic']", "of shape ()", "of shape (3,), one error for each task"),
        (learned([50, 20, 10]), "learners['dynamic']", "outside [0, 1]", "errors from 0 to 1"),
        (learned([0.5, 0.2]), "learners['dynamic']", "of shape (2,)", "of shape (3,), one error for each task"),
        (
            changed(pictures=PICTURES[:1]),
            "tasks[1]['pictures']",
            "(1, 3, 3)",
            "of shape (2, 3, 3), as the first task's",
        ),
        (changed(pictures=PICTURES[:, None]), "tasks[1]['pictures']", "(2, 1, 3, 3)", "of shape (m, h, w)"),
        ({"shown": ["Dynamic"]}, "each of shown", "'Dynamic'", "'independent' or 'dynamic'"),
        ({"place": 3}, "place", "3", "at most 2, the last task"),
    ],
)
def test_it_refuses_percents_unknown_names_and_shapes_that_differ(words, argument, came, allowed):
    assert_refused(lambda: call(**words), ValueError, argument, came, allowed)


def test_arrays_and_tuples_are_tables_too():
    plain = call(tasks=tuple(TASKS), **learned(np.array([0.5, 0.2, 0.1])))
    assert plain.errors == call().errors
    arrays = changed(pictures=np.zeros((2, 3, 3), np.uint8), captions=("a", "b"))
    assert call(**arrays).pictures == call().pictures
