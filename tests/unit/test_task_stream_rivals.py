"""Means of the last networks, and heads by ridge regression against scikit-learn, on streams of a few small tasks."""

import pytest
import torch
from agree import close, normal, seeded
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, average_precision_score
from torch import nn
from torch.nn.functional import one_hot
from torch.utils.flop_counter import FlopCounterMode
from toy_tasks import CLASSES, LABELS, WIDTH, Tiny, ToyStream, same

from companion.data.streams.events import (
    MiniBatch,
    PredictionEvent,
    TrainingEvent,
)
from companion.data.streams.mini import MiniStream
from companion.methods import nevis
from companion.methods.nevis import Recipe, TaskData, body_of, head_weights, make, previous, run, search_operations
from companion.methods.pruning import count_flops
from companion.methods.rivals.task_streams import closed_form, solved_head, soup

RECIPE = Recipe(steps=3, batch=8, calibration=16)
PENALTIES = (1e-3, 0.3, 30.0)


def toy(*tasks, seed=0, noise=1.5):
    """A stream of noisy tasks in double precision; the kind and number of classes or labels of each."""
    sizes = {"train": 30, "dev": 20, "test": 14}
    stream = ToyStream(*((100 * seed + place, *task) for place, task in enumerate(tasks)), noise=noise, sizes=sizes)
    for _, data in stream.tasks.values():
        for split, batch in data.items():
            data[split] = MiniBatch(
                *(part.double() if torch.is_tensor(part) and part.is_floating_point() else part for part in batch)
            )
    return stream


THREE = ((CLASSES, 3), (LABELS, 4), (CLASSES, 5))


def double(classes: int) -> nn.Module:
    return Tiny(classes).double()


def trained_elsewhere() -> nn.Module:
    """With weights and statistics that are nobody's default."""
    model = make(double, 7, 3, 99)
    with torch.no_grad():
        for each in model.state_dict().values():
            if each.is_floating_point():
                each.add_(0.1 * torch.rand(each.shape, generator=seeded(each.numel())))
    return model


def trained(learner, stream):
    """The states after each training event, with what each used."""
    states, used = [learner.init()], []
    for event in stream.events():
        if isinstance(event, TrainingEvent):
            state, usage = learner.train(event, states[-1], lambda part: None)
            states.append(state)
            used.append(usage)
    return states[1:], used


# --- the mean of the last networks --------------------------------------------------------------------------------


@pytest.fixture
def starts(monkeypatch):
    """(body, head) of every network at the moment that it begins to learn."""
    seen, original = [], nevis.fit

    def spy(model, *given):
        seen.append((body_of(model), head_weights(model)))
        return original(model, *given)

    monkeypatch.setattr(nevis, "fit", spy)
    return seen


@pytest.mark.parametrize("last", [1, 2, 4, 100])
def test_a_soup_starts_from_the_mean_of_the_last_networks(last, starts):
    stream = toy(*THREE, (CLASSES, 3), (LABELS, 3), (CLASSES, 2))
    learner = soup(stream, double, RECIPE, seed=4, last=last)
    states, used = trained(learner, stream)
    assert torch.equal(starts[0][0], body_of(make(double, 3, 4, 0)))
    for place in range(1, 6):
        earlier = states[place - 1]["bodies"][max(0, place - last) :]
        assert len(earlier) == min(place, last)
        close(starts[place][0], sum(earlier) / len(earlier), 1e-12)
    assert not any(head.any() for _, head in starts)
    assert states[-1]["sources"] == [None] * 6
    assert states[-1]["search"] == [0] * 6
    assert search_operations(states[-1]) == 0
    example = torch.zeros(1, 1, 8, 8).double()
    for each, count in zip(used, (3, 4, 5, 3, 3, 2), strict=True):
        update, judged = (count_flops(double(count), example, training) for training in (True, False))
        assert each.floating_point_operations == 3 * 8 * update + 16 * judged


def test_a_soup_of_one_is_the_last_network():
    stream = toy(*THREE)
    rows = list(run(soup(stream, double, RECIPE, last=1), stream))
    assert rows == list(run(previous(stream, double, RECIPE), stream))
    states = [
        trained(soup(stream, double, RECIPE), stream)[0][-1],
        trained(soup(stream, double, RECIPE, last=4), stream)[0][-1],
    ]
    assert same(*states)
    assert not same(states[0], trained(soup(stream, double, RECIPE, last=1), stream)[0][-1])


# --- heads by ridge regression ------------------------------------------------------------------------------------


def as_task(kind, features, target, count):
    return TaskData("one", kind, count, features[..., None, None], target, features[..., None, None], target)


def by_scikit_learn(features, shown, penalty):
    """Scikit-learn leaves the intercept free, too."""
    spread = (features - features.mean(0)).square().mean().item()
    found = Ridge(alpha=penalty * len(features) * spread).fit(features.numpy(), shown.double().numpy())
    return torch.from_numpy(found.coef_), torch.from_numpy(found.intercept_)


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 30),
    count=st.integers(2, 5),
    penalty=st.sampled_from([1e-3, 0.1, 10.0]),
    kind=st.sampled_from([CLASSES, LABELS]),
)
def test_heads_are_ridge_regression_with_a_free_bias(seed, n, count, penalty, kind):
    features = 3 * normal(n, 6, seed=seed) + 2
    labels, target = torch.randint(count, (n,), generator=seeded(seed)), (normal(n, count, seed=seed) > 0).double()
    task = as_task(kind, features, labels if kind is CLASSES else target, count)
    head = solved_head(features, task, penalty)
    weights, bias = by_scikit_learn(features, one_hot(labels, count) if kind is CLASSES else target, penalty)
    assert head.shape == (count, 7)
    close(head[:, :-1], weights, 1e-8)
    close(head[:, -1], bias, 1e-8)


def test_the_penalty_does_not_depend_on_the_scale_of_the_representation():
    features, labels = normal(20, 6), torch.arange(20) % 3
    task = as_task(CLASSES, features, labels, 3)
    first, second = solved_head(features, task, 0.1), solved_head(1000 * features, task, 0.1)
    close(first[:, :-1], 1000 * second[:, :-1], 1e-9)
    close(first[:, -1], second[:, -1], 1e-9)


def features_by_hand(model, images, statistics):
    """Of a copy whose running statistics are those of one batch."""
    own = make(model, 2, 0, 0).eval()
    for each in own.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.momentum = 1.0
            each.train()
    with torch.no_grad():
        own(statistics)
        own.eval()
        return own.features(images), body_of(own)


@pytest.mark.parametrize("seed", range(4))
def test_the_penalty_with_the_lowest_error_on_the_development_pictures_is_kept(seed):
    """On a network with the statistics of the task's first pictures."""
    stream, model = toy(*THREE, seed=seed), trained_elsewhere()
    learner = closed_form(stream, model, PENALTIES, Recipe(calibration=16))
    states, _ = trained(learner, stream)
    for place, (_, (key, data)) in enumerate(stream.tasks.items()):
        images, train, dev, test = data["train"].image, data["train"], data["dev"], data["test"]
        features, body = features_by_hand(model, images, images[:16])
        queries, asked = (features_by_hand(model, each.image, images[:16])[0] for each in (dev, test))
        count = key.metadata.num_classes
        shown = one_hot(train.label, count) if key.kind is CLASSES else train.multi_label_one_hot

        def error(scores, batch, kind=key.kind):
            if kind is CLASSES:
                return 1 - accuracy_score(batch.label, scores.argmax(1))
            return 1 - average_precision_score(batch.multi_label_one_hot, scores)

        heads = [by_scikit_learn(features, shown, penalty) for penalty in PENALTIES]
        errors = [error(queries @ weights.T + bias, dev) for weights, bias in heads]
        weights, bias = heads[min(range(3), key=lambda place: round(errors[place], 12))]
        close(states[place]["heads"][place], torch.cat([weights, bias[:, None]], 1), 1e-7)
        close(states[place]["bodies"][place], body)
        (found,) = learner.predict(PredictionEvent(f"{key.name}/test"), states[-1])
        close(found.output, asked @ weights.T + bias, 1e-7)


def test_every_penalty_wins_somewhere_and_of_equal_ones_the_first():
    """The test above would not see a choice that is always the same."""
    kept, seeds = set(), range(8)
    for seed in seeds:
        stream, model = toy((CLASSES, 5), seed=seed, noise=3.0), trained_elsewhere()
        alone = [trained(closed_form(stream, model, (each,)), stream)[0][0]["heads"][0] for each in PENALTIES]
        chosen = trained(closed_form(stream, model, PENALTIES), stream)[0][0]["heads"][0]
        kept.add(next(place for place, head in enumerate(alone) if torch.equal(head, chosen)))
    assert len(kept) >= 2
    twice = trained(closed_form(stream, model, (0.1, 0.1 * (1 + 1e-12))), stream)[0][0]["heads"][0]
    assert torch.equal(twice, trained(closed_form(stream, model, (0.1,)), stream)[0][0]["heads"][0])


@pytest.mark.parametrize("penalties", [(0.1,), PENALTIES])
def test_solving_costs_the_passes_the_normal_equations_and_their_solutions(penalties):
    stream, model = toy(*THREE), trained_elsewhere()
    learner = closed_form(stream, model, penalties, RECIPE)
    going, total = run(learner, stream), 0
    for row, count in zip(going, (3, 4, 5), strict=True):
        one = count_flops(double(count), torch.zeros(1, 1, 8, 8).double())
        solving = 2 * 30 * WIDTH * (WIDTH + count) + WIDTH**3 / 3
        total += (16 + 30 + 20) * one + len(penalties) * solving
        assert row.floating_point_operations == pytest.approx(total, rel=1e-15)
    assert sum(going.state["training"]) == pytest.approx(total, rel=1e-15)


def test_passes_are_what_torch_counts_while_it_solves():
    stream, model = toy(*THREE), trained_elsewhere()
    learner = closed_form(stream, model, (0.1,), RECIPE)
    trained(learner, stream)  # the meter runs the network itself, once for each size
    for event, count in zip(list(stream.events())[::2], (3, 4, 5), strict=True):
        with FlopCounterMode(display=False) as counter:
            _, used = learner.train(event, learner.init(), lambda part: None)
        products = (
            2 * 30 * WIDTH * (WIDTH + count) + 2 * 20 * WIDTH * count + 2 * WIDTH * count
        )  # and dev scores, and the bias
        solving = 2 * 30 * WIDTH * (WIDTH + count) + WIDTH**3 / 3
        assert used.floating_point_operations - solving == counter.get_total_flops() - products


def test_the_network_stays_as_it_is_but_for_its_statistics():
    stream, model = toy(*THREE), trained_elsewhere().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states, used = trained(closed_form(stream, model, PENALTIES, RECIPE), stream)
    assert same(dict(model.state_dict()), before)
    assert model.training
    assert all(each.grad is None for each in model.parameters())
    for place, body in enumerate(states[-1]["bodies"]):
        own = make(model, 2, 0, 0)
        nevis.load_body(own, body)
        assert all(torch.equal(one, other) for one, other in zip(own.inner.parameters(), model.inner.parameters()))
        assert not torch.equal(own.inner[1].running_mean, model.inner[1].running_mean)
        assert states[-1]["heads"][place].shape == ((3, 4, 5)[place], WIDTH + 1)
    numbers = sum(each.numel() for each in model.parameters()) + (3 + 4 + 5) * (WIDTH + 1)
    assert (used[-1].peak_parameter_count, used[-1].peak_parameter_size_bytes) == (numbers, 8 * numbers)


# --- both ---------------------------------------------------------------------------------------------------------

LEARNERS = {
    "soup": lambda stream: soup(stream, double, RECIPE, last=2),
    "closed form": lambda stream: closed_form(stream, trained_elsewhere(), PENALTIES, RECIPE),
}
each_learner = pytest.mark.parametrize("make_learner", LEARNERS.values(), ids=LEARNERS)


@each_learner
def test_a_run_that_was_left_goes_on_to_the_same_end(make_learner, tmp_path):
    stream = toy(*THREE)
    whole = run(make_learner(stream), stream)
    rows = list(whole)
    for count in range(3):
        file = tmp_path / str(count)
        going = run(make_learner(stream), stream, file)
        assert [next(going) for _ in range(count)] == rows[:count]
        again = run(make_learner(stream), stream, file)
        assert list(again) == rows
        assert same(again.state, whole.state)
        assert again.usage == whole.usage


@each_learner
def test_global_random_numbers_do_not_matter(make_learner):
    stream, runs = toy(*THREE), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        runs.append(list(run(make_learner(stream), stream)))
    assert runs[0] == runs[1]


def test_another_seed_makes_another_soup():
    stream = toy(*THREE)
    bodies = [trained(soup(stream, double, RECIPE, seed=seed), stream)[0][-1]["bodies"] for seed in (0, 1)]
    assert not any(map(torch.equal, *bodies))


def test_the_stream_of_the_lesson_is_learned_by_both():
    stream, model = MiniStream(num_tasks=3), trained_elsewhere().float()
    for learner in (soup(stream, Tiny, RECIPE), closed_form(stream, model)):
        rows = list(run(learner, stream))
        assert [row.task for row in rows] == [key.name for key in stream.tasks]
        assert all(0 <= row.error <= 1 for row in rows)
