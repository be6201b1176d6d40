"""The live widget of networks that learn task after task says in one sentence which argument has the wrong type."""

import pytest
import torch

from companion.foundations.stacks import StackedMLP
from companion.teaching.widgets import live_plasticity
from companion.teaching.widgets.plasticity import RandomLabels, plasticity_path, random_label_points

TASKS = random_label_points(2, passes=2, generator=torch.Generator().manual_seed(0))
NETWORKS = StackedMLP(2, 8, 4, 10)
POINTS, LABELS, ORDER = TASKS


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"tasks": TASKS.stream()}, "tasks is a Stream, but must be a RandomLabels, from random_label_points"),
        ({"tasks": tuple(TASKS)}, "tasks is a tuple, but must be a RandomLabels"),
        ({"tasks": RandomLabels(POINTS.numpy(), LABELS, ORDER)}, "tasks.points is a ndarray, but must be a torch.Tensor"),
        ({"tasks": RandomLabels(POINTS.long(), LABELS, ORDER)}, "tasks.points is a tensor of torch.int64"),
        ({"tasks": RandomLabels(POINTS, LABELS.double(), ORDER)}, "tasks.labels is a tensor of torch.float64"),
        ({"tasks": RandomLabels(POINTS, LABELS, ORDER.double())}, "tasks.order is a tensor of torch.float64"),
        ({"tasks": RandomLabels(POINTS, LABELS.tolist(), ORDER)}, "tasks.labels is a list, but must be a tensor"),
        ({"tasks": RandomLabels(POINTS, LABELS, None)}, "tasks.order is a NoneType, but must be a tensor"),
        ({"networks": torch.nn.Linear(8, 4)}, "networks is a Linear, but must be a StackedMLP"),
        ({"networks": [StackedMLP(None, 8, 4, 10)]}, "networks is a list, but must be a StackedMLP"),
        ({"batch": 8.0}, "batch is 8.0, but must be a whole number"),
        ({"lrs": 0.3}, "lrs is 0.3, but must be a tuple of numbers"),
        ({"lrs": (0.1, "0.3")}, "each of lrs is '0.3', but must be a number"),
        ({"drift_lrs": (0.0, None)}, "each of drift_lrs is None, but must be a number"),
        ({"strengths": (0.0, True)}, "each of strengths is True, but must be a number"),
        ({"posterior_scale": "1"}, "posterior_scale is '1', but must be a number"),
        ({"title": None}, "title is a NoneType, but must be a text"),
        ({"alt": 3}, "alt is a int, but must be a text"),
    ],
)  # fmt: skip
def test_it_refuses_wrong_types(words, sentence):
    usual = {"tasks": TASKS, "networks": NETWORKS, "title": "t", "alt": "a"}
    usual |= words
    with pytest.raises(TypeError, match=sentence):
        live_plasticity(usual.pop("tasks"), usual.pop("networks"), **usual)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"tasks": TASKS.stream()}, "tasks is a Stream, but must be a RandomLabels"),
        ({"networks": None}, "networks is a NoneType, but must be a StackedMLP"),
        ({"steps": 2.5}, "steps is 2.5, but must be a whole number"),
        ({"lr": "fast"}, "lr is a str, but must be a torch.Tensor"),
    ],
)
def test_a_path_refuses_wrong_types(words, sentence):
    usual = {"tasks": TASKS, "networks": NETWORKS, "way": "SGD", "steps": 1} | words
    with pytest.raises(TypeError, match=sentence):
        plasticity_path(**usual)


@pytest.mark.parametrize("name", ["tasks", "size", "inputs", "num_classes", "passes"])
def test_tasks_refuse_sizes_that_are_not_whole(name):
    with pytest.raises(TypeError, match=f"{name} is 2.5, but must be a whole number"):
        random_label_points(**{name: 2.5})


def test_a_path_refuses_an_unknown_way():
    with pytest.raises(
        ValueError, match="way is 'adam', but must be 'soft reset' or 'L2-init' or 'hard reset' or 'SGD'"
    ):
        plasticity_path(TASKS, NETWORKS, "adam")
