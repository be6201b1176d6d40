"""The live widget of networks that learn task after task: what it carries, what it refuses, what it teaches, and that the
browser's networks learn as torch's do."""

import math

import numpy as np
import pytest
import torch
from agree import assert_agree, doubles

from companion.foundations.stacks import StackedMLP, cross_entropy
from companion.teaching.widgets import live_plasticity
from companion.teaching.widgets.plasticity import (
    WAYS,
    RandomLabels,
    _require_tasks,
    plasticity_path,
    random_label_points,
)


def tasks_of(tasks=5, seed=0, **words):
    return random_label_points(tasks, generator=torch.Generator().manual_seed(seed), **words)


def stack(runs=5, inputs=8, outputs=4, width=24, seed=0, **words):
    return StackedMLP(runs, inputs, outputs, width, generator=torch.Generator().manual_seed(100 + seed), **words)


TASKS, NETWORKS = tasks_of(), stack()
POINTS, LABELS, ORDER = TASKS
EVERY = 80  # steps of a task


def plasticity(tasks=TASKS, networks=NETWORKS, **words):
    return live_plasticity(tasks, networks, **{"title": "t", "alt": "a", **words})


def numbers_of(networks, place):
    return torch.cat([each[place].detach().flatten() for each in networks.parameters()]).double()


# --- the tasks --------------------------------------------------------------------------------------------------------


def test_each_task_names_the_same_points_anew_and_shows_each_of_them_once_in_a_pass():
    tasks = tasks_of(200)
    assert tasks.points.shape == (32, 8)
    assert torch.equal(tasks.order.sort(-1).values, torch.arange(32).expand(200, 20, 32))
    shares = torch.nn.functional.one_hot(tasks.labels, 4).double().mean((0, 1))
    torch.testing.assert_close(shares, torch.full((4,), 0.25, dtype=torch.float64), rtol=0, atol=0.03)
    assert (tasks.labels[1:] == tasks.labels[:-1]).double().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (tasks.order[:, 1:] == tasks.order[:, :-1]).double().mean().item() == pytest.approx(1 / 32, abs=0.005)
    again = tasks_of(200)
    assert all(torch.equal(one, other) for one, other in zip(tasks, again))


def test_the_stream_has_the_labels_of_its_task_row_by_row():
    features, labels, changes = TASKS.stream()
    assert changes == (640, 1280, 1920, 2560)
    for row in (0, 31, 639, 640, 1777, 3199):
        task, rest = divmod(row, 640)
        point = ORDER[task, rest // 32, rest % 32]
        assert torch.equal(features[row], POINTS[point])
        assert labels[row] == LABELS[task, point]


# --- what it carries --------------------------------------------------------------------------------------------------


def test_it_carries_its_tasks_its_networks_and_its_settings():
    widget = plasticity(note="n", batch=16, lr=0.1, drift_lr=0, strength=0.03, posterior_scale=0.5)
    assert (widget.kind, widget.title, widget.alt, widget.note) == ("plasticity", "t", "a", "n")
    assert torch.equal(doubles(widget.points), POINTS.double().flatten())
    assert list(widget.labels) == LABELS.flatten().tolist()
    assert list(widget.order) == ORDER.flatten().tolist()
    weights = torch.from_numpy(np.frombuffer(widget.weights, "<f4").copy()).view(5, -1)
    for place, own in enumerate(weights):
        assert torch.equal(own.double(), numbers_of(NETWORKS, place))
    assert widget.sizes == [8, 24, 24, 4]
    assert (widget.tasks, widget.passes, widget.batch, widget.posterior_scale) == (5, 20, 16, 0.5)
    assert widget.lrs[widget.lrs_index] == 0.1
    assert widget.drift_lrs[widget.drift_lrs_index] == 0
    assert widget.strengths[widget.strengths_index] == 0.03


def test_a_page_can_carry_forty_tasks():
    widget = plasticity(tasks_of(40), stack(40))
    assert sum(map(len, (widget.points, widget.labels, widget.order, widget.weights))) < 200_000


# --- the reference ----------------------------------------------------------------------------------------------------


def test_without_drift_or_pull_all_but_the_hard_reset_are_plain_gradient_descent():
    words = {"steps": 100, "drift_lr": 0, "strength": 0}
    plain, *others = (plasticity_path(TASKS, NETWORKS, way, **words) for way in ("SGD", "soft reset", "L2-init"))
    for other in others:
        assert torch.equal(other.theta, plain.theta)
        assert torch.equal(other.accuracy, plain.accuracy)
    hard = plasticity_path(TASKS, NETWORKS, "hard reset", **words)
    assert torch.equal(hard.accuracy[:EVERY], plain.accuracy[:EVERY])
    assert not torch.equal(hard.theta, plain.theta)


@pytest.mark.parametrize("way", WAYS)
def test_a_step_is_the_paper_s_by_hand(way):
    """The first step of the second task, from the weights before it."""
    before = plasticity_path(TASKS, NETWORKS, way, steps=EVERY, drift_lr=0.01, posterior_scale=0.5).theta
    after = plasticity_path(TASKS, NETWORKS, way, steps=EVERY + 1, drift_lr=0.01, posterior_scale=0.5)
    start = numbers_of(NETWORKS, 0)
    rows = ORDER[1, 0, :8]
    model = StackedMLP(None, 8, 4, 24, dtype=torch.float64)
    parameters = list(model.parameters())

    def put(theta):
        torch.nn.utils.vector_to_parameters(theta, parameters)

    def loss(theta):
        put(theta)
        return cross_entropy(model, (POINTS[rows].double(), LABELS[1, rows])).sum()

    def slope(theta):
        return torch.cat([each.flatten() for each in torch.autograd.grad(loss(theta), parameters)])

    theta = numbers_of(NETWORKS, 1) if way == "hard reset" else before
    put(theta)
    right = (model(POINTS[rows].double()).argmax(-1) == LABELS[1, rows]).double().mean()
    assert after.accuracy[EVERY] == right, "scored before it is learned"
    rate = torch.full_like(theta, 0.3)
    if way == "soft reset":
        gamma, at = torch.ones_like(theta), 0
        for layer, size in enumerate((8 * 24 + 24, 24 * 24 + 24, 24 * 4 + 4)):
            own = slice(at, at + size)
            chosen = (1 - 0.01 * (slope(theta)[own] * (theta - start)[own]).sum()).clamp(0, 1)
            assert after.gammas[EVERY, layer] == pytest.approx(chosen.item(), abs=1e-12)
            gamma[own], at = chosen, at + size
        assert gamma.min() < 1
        theta = gamma * theta + (1 - gamma) * start
        rate = 0.3 * (gamma.square() + (1 - gamma.square()) / 0.25)
    direction = slope(theta) / 8
    if way == "L2-init":
        direction += 0.01 * (theta - start)
    torch.testing.assert_close(after.theta, theta - rate * direction, rtol=0, atol=1e-12)


def test_known_points_and_silent_neurons_are_counted_over_all_points():
    path = plasticity_path(TASKS, NETWORKS, "SGD", lr=0.8)
    model = StackedMLP(None, 8, 4, 24, dtype=torch.float64)
    torch.nn.utils.vector_to_parameters(path.theta, model.parameters())
    first, second, logits = model.activations(POINTS.double())
    assert torch.equal(path.known, logits.argmax(-1) == LABELS[4])
    silent = [all(own[i, j] == 0 for i in range(32)) for own in (first, second) for j in range(24)]
    assert path.silent == pytest.approx(sum(silent) / 48)
    assert 0 < sum(silent) < 48


# --- the browser's networks learn as torch's do -----------------------------------------------------------------------

WORLD = """
const { points, labels, order, weights, ...sizes } = given.world;
const world = f.makeTasks({
  ...sizes, points: floats(points), labels: Uint8Array.from(labels), order: Uint8Array.from(order), weights: Float32Array.from(weights),
});
"""


def world(tasks, networks, batch=8):
    weights = _require_tasks(tasks, networks, batch)
    widget = live_plasticity(tasks, networks, title="t", alt="a", batch=batch)
    return {
        "sizes": list(widget.sizes), "passes": widget.passes, "batch": batch, "points": tasks.points.double().flatten().tolist(),
        "labels": list(widget.labels), "order": list(widget.order), "weights": weights.flatten().tolist(),
    }  # fmt: skip


def settings(lr=0.3, drift_lr=0.005, strength=0.01, posterior_scale=1.0):
    return {"lr": lr, "driftRate": drift_lr, "strength": strength, "posteriorScale": posterior_scale}


PATH = (
    WORLD
    + """
const run = f.startRun(world, given.way, given.settings), thetas = [], looks = [];
for (const step of given.steps) {
  while (run.step < step) f.learnBatch(run);
  thetas.push(run.theta.slice());
  looks.push(f.lookAtAll(run, Math.floor((step - 1) / world.taskSteps)));
}
return { thetas, looks, hits: run.hits, gammas: run.gammas };
"""
)

# A rounding error grows as the weights move. Over a few hundred steps it stays far below what is asked for; over thousands
# it may decide whether a neuron is silent, and from there on two correct runs differ.
STEPS = (1, 79, 80, 81, 160, 250)


def assert_learns_alike(front, way, tasks, networks, steps=STEPS, batch=8, **words):
    last = steps[-1]
    got = front(PATH, world=world(tasks, networks, batch), way=way, settings=settings(**words), steps=list(steps))
    for step, theta, look in zip(steps, got["thetas"], got["looks"]):
        path = plasticity_path(tasks, networks, way, steps=step, batch=batch, **words)
        assert_agree(theta, path.theta)
        assert look["known"] == path.known.tolist()
        assert look["silent"] == pytest.approx(path.silent, abs=1e-12)
    hits = torch.tensor(got["hits"][: last + 1])
    assert torch.equal(hits.diff().double() / batch, path.accuracy)
    depth = path.gammas.shape[1]
    assert_agree(got["gammas"][: last * depth], path.gammas)
    return path


@pytest.mark.parametrize("way", WAYS)
def test_each_method_learns_alike(front, way):
    path = assert_learns_alike(front, way, TASKS, NETWORKS)
    assert path.accuracy[40:80].mean() > 0.8, "something is learned"
    assert (path.gammas.min() < 0.95) == (way == "soft reset")


@pytest.mark.parametrize(
    "words", [{"drift_lr": 0.1}, {"drift_lr": 0.02, "posterior_scale": 0.5, "lr": 0.1}, {"drift_lr": 0.0, "lr": 0.8}]
)
def test_soft_reset_learns_alike_with_other_settings(front, words):
    path = assert_learns_alike(front, "soft reset", TASKS, NETWORKS, steps=(80, 120), **words)
    assert path.gammas.min() < 1 or words["drift_lr"] == 0
    assert path.gammas.min() == 0 or words["drift_lr"] != 0.1, "so large a step goes all the way"


@pytest.mark.parametrize("strength", [0.0, 0.1])
def test_l2_init_learns_alike_with_other_strengths(front, strength):
    assert_learns_alike(front, "L2-init", TASKS, NETWORKS, steps=(100,), strength=strength, lr=0.2)


@pytest.mark.parametrize(("depth", "classes", "batch", "inputs"), [(1, 2, 4, 3), (3, 3, 16, 5), (2, 4, 32, 1)])
def test_other_shapes_learn_alike(front, depth, classes, batch, inputs):
    tasks = tasks_of(3, inputs=inputs, num_classes=classes, passes=5)
    networks = stack(3, inputs, classes, 10, depth=depth)
    every = 5 * 32 // batch
    for way in WAYS:
        path = assert_learns_alike(front, way, tasks, networks, steps=(every, 2 * every + 1), batch=batch)
        assert path.gammas.shape[1] == depth + 1


SEEK = (
    WORLD
    + """
const run = f.startRun(world, given.way, given.settings), thetas = [run.theta.slice()];
while (run.done < given.last) { f.learnBatch(run); thetas.push(run.theta.slice()); }
const [hits, gammas] = [run.hits.slice(), run.gammas.slice()];
const found = given.steps.map((step) => {
  f.seekRun(run, step);
  return run.step === step && run.theta.every((value, i) => value === thetas[step][i]);
});
f.seekRun(run, run.done);
f.learnBatch(run);
const same = (one, other) => one.slice(0, given.last).every((value, i) => value === other[i]);
return { found, done: run.done, isSame: same(hits, run.hits) && same(gammas, run.gammas) };
"""
)


@pytest.mark.parametrize("way", WAYS)
def test_any_step_that_was_done_is_found_again_whichever_way_it_is_reached(front, way):
    steps = [0, 170, 171, 80, 79, 160, 33, 32, 170, 0, 161, 1]
    got = front(SEEK, world=world(TASKS, NETWORKS), way=way, settings=settings(), last=171, steps=steps)
    assert got == {"found": [True] * len(steps), "done": 172, "isSame": True}


# --- what it teaches --------------------------------------------------------------------------------------------------

WHOLE = (
    WORLD
    + """
return Object.fromEntries(given.ways.map((way) => {
  const run = f.startRun(world, way, given.settings);
  while (run.done < world.steps) f.learnBatch(run);
  return [way, { hits: run.hits, gammas: run.gammas, silent: f.lookAtAll(run, world.tasks - 1).silent }];
}));
"""
)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sgd_loses_its_plasticity_and_soft_reset_finds_the_boundaries_that_nobody_tells(front, seed):
    got = front(WHOLE, world=world(tasks_of(30, seed), stack(30, seed=seed)), ways=list(WAYS), settings=settings())
    accuracy = {way: torch.tensor(own["hits"]).diff().double().view(30, EVERY).mean(1) / 8 for way, own in got.items()}
    first, last = ({way: each[part].mean() for way, each in accuracy.items()} for part in (slice(5), slice(-5, None)))
    assert last["SGD"] < first["SGD"] - 0.3
    assert got["SGD"]["silent"] > 0.3
    for way in ("soft reset", "L2-init", "hard reset"):
        assert last[way] > first[way] - 0.08
        assert got[way]["silent"] < 0.15
    gammas = torch.tensor(got["soft reset"]["gammas"], dtype=torch.float64).view(30, EVERY, 3)[1:].mean((0, 2))
    assert gammas[0] < 0.95, "on the first batch of a task"
    assert gammas[EVERY // 2 :].min() > 0.995
    assert all(min(own["gammas"]) == 1 for way, own in got.items() if way != "soft reset")


def test_so_large_a_drift_rate_resets_within_tasks_and_learns_less(front):
    given = {"world": world(tasks_of(12), stack(12)), "ways": ["soft reset"]}
    usual, large = (front(WHOLE, **given, settings=settings(drift_lr=rate))["soft reset"] for rate in (0.005, 0.1))
    inside = [torch.tensor(own["gammas"]).view(12, EVERY, 3)[:, EVERY // 4 :].min().item() for own in (usual, large)]
    assert inside[1] < 0.5 < 0.9 < inside[0]
    assert large["hits"][-1] < usual["hits"][-1]


# --- what it refuses --------------------------------------------------------------------------------------------------


def changed(points=POINTS, labels=LABELS, order=ORDER):
    return {"tasks": RandomLabels(points, labels, order)}


def with_nan():
    networks = stack()
    networks.layers[1].bias.data[2, 3] = math.nan
    return networks


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (changed(POINTS[0]), r"tasks.points is of shape \(8,\), but must be \(n, p\) with n from 2 to 64"),
        ({"tasks": tasks_of(size=96)}, r"tasks.points is of shape \(96, 8\), but must be"),
        (changed(POINTS / 0), "tasks.points is not finite in some place, but must be finite numbers"),
        (changed(labels=LABELS[:, :-1]), r"tasks.labels is of shape \(5, 31\), but must be of shape \(tasks, 32\), one"),
        (changed(labels=LABELS + 1), "tasks.labels is outside in some row, but must be from 0 to 3"),
        (changed(order=ORDER[1:]), r"tasks.order is of shape \(4, 20, 32\), but must be of shape \(5, passes, 32\)"),
        (changed(order=ORDER[:, :0]), r"tasks.order is of shape \(5, 0, 32\), but must be of shape"),
        (changed(order=ORDER + 1), "tasks.order is outside in some row, but must be from 0 to 31"),
        (changed(order=ORDER * 0), "tasks.order is without some point in a pass, but must be each point once in each pass"),
        ({"networks": stack(4)}, "networks is a stack of 4, but must be a stack of 5, one for each task"),
        ({"networks": stack(None)}, "networks is a stack of 1, but must be a stack of 5"),
        ({"networks": stack(inputs=7)}, "networks is for 7 inputs, but must be for 8, as the points have"),
        ({"networks": stack(outputs=5)}, "networks is with 5 outputs, but must be with 2 to 4"),
        ({"networks": stack(outputs=3)}, "tasks.labels is outside in some row, but must be from 0 to 2"),
        ({"networks": stack(depth=4)}, "networks is of 5 layers, but must be of 2 to 4"),
        ({"networks": stack(layer_norm=True)}, "networks is with layer norm, but must be without"),
        ({"networks": with_nan()}, "networks is not finite in some place, but must be made of finite numbers"),
        ({"networks": stack(width=120)}, "steps times numbers of a network is .*, but must be at most 4e\\+06: fewer tasks"),
        ({"tasks": tasks_of(20, passes=1), "networks": stack(20, width=90)}, "tasks and networks is .* bytes, but must be at most 700000"),
        ({"batch": 12}, "batch is 12, but must be a divisor of 32, the number of points"),
        ({"batch": 0}, "batch is 0, but must be at least 1"),
        ({"lr": 0.4}, r"lr is 0.4, but must be one of \(0.03, "),
        ({"lrs": (0, 0.3)}, r"each of lrs is 0, but must be a number in \(0, 10\]"),
        ({"lrs": (0.3,)}, "lrs is 1 numbers, but must be 2 to 12 numbers"),
        ({"lrs": (0.3, 0.1)}, r"lrs is \(0.3, 0.1\), but must be numbers that rise"),
        ({"drift_lr": 1}, r"drift_lr is 1, but must be one of \(0.0, "),
        ({"drift_lrs": (-1, 0.005)}, r"each of drift_lrs is -1, but must be a number in \[0, 10\]"),
        ({"strength": 1}, r"strength is 1, but must be one of \(0.0, "),
        ({"strengths": (0.01, 11)}, r"each of strengths is 11, but must be a number in \[0, 10\]"),
        ({"posterior_scale": 0}, r"posterior_scale is 0, but must be a number in \[0.1, 1\]"),
        ({"title": ""}, "title is empty"),
        ({"alt": " "}, "alt is empty"),
    ],
)  # fmt: skip
def test_it_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        plasticity(**words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"steps": 0}, "steps is 0, but must be at least 1"),
        ({"steps": 401}, "steps is 401, but must be at most 400"),
        ({"lr": -1}, "lr is -1, but must be a finite number from 0 on"),
        ({"posterior_scale": 2}, "posterior_scale is 2, but must be from 1e-06 to 1"),
    ],
)
def test_a_path_refuses_what_it_cannot_follow(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        plasticity_path(TASKS, NETWORKS, **{"way": "soft reset", **words})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"tasks": 0}, "tasks is 0, but must be at least 1"),
        ({"size": 0}, "size is 0, but must be at least 1"),
        ({"inputs": 0}, "inputs is 0, but must be at least 1"),
        ({"passes": 0}, "passes is 0, but must be at least 1"),
        ({"num_classes": 1}, "num_classes is 1, but must be at least 2"),
    ],
)
def test_tasks_need_points_inputs_passes_and_classes(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        random_label_points(**words)
