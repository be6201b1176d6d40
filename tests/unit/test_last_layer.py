"""The closed-form last layer against exact answers: gradients through the solve, loops written out, two-stage
least squares, and what must not change.

Backbones are small and in double precision where numbers are compared. Seeds are fixed. What is said to learn, or to
fail, does so for five seeds.
"""

import copy
import functools
import io
import math

import pytest
import torch
from agree import close, eye, last, normal, seeded, weights_of
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from companion.foundations import linear
from companion.foundations.linear import SINGULAR
from companion.foundations.networks import MLP
from companion.methods import last_layer as method
from companion.methods.last_layer import (
    LastLayer,
    closed_form_loss,
    deep_iv,
    last_layer_groups,
    proximal_last_layer,
    solve_last_layer,
    squared_loss,
    train_closed_form,
    train_last_layer,
    with_bias,
)

MODES = {
    "full": {"mode": "full", "ridge": 1e-2},
    "proximal": {"mode": "proximal", "strength": 0.3},
    "recursive": {"mode": "recursive", "strength": 0.3, "forgetting": 0.8},
    "recursive, nothing forgotten": {"mode": "recursive", "strength": 0.3, "forgetting": 1},
    "recursive, all forgotten": {"mode": "recursive", "strength": 0.3, "forgetting": 0},
}
each_mode = pytest.mark.parametrize("settings", MODES.values(), ids=MODES.keys())
momentum = functools.partial(torch.optim.SGD, momentum=0.9)
each_seed = pytest.mark.parametrize("seed", range(5))


def tanh_backbone(inputs: int = 2, p: int = 6, seed: int = 0, width: int = 8, depth: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(MLP(inputs, p, width, depth), nn.Tanh()).double()


def pairs(n: int = 20, k: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    x = normal(n, 2, seed=seed)
    return x, torch.sin(2 * x @ normal(2, k, seed=seed + 1))


class Frozen(torch.optim.SGD):
    """It walks nowhere, so that features stay what they are."""

    def step(self, closure=None):
        pass


def snapshots(states) -> list[tuple]:
    """What each state held when it came: W and the backbone move on."""
    return [(state.step, state.loss, state.weights.clone(), weights_of(state.backbone)) for state in states]


def assert_identical(ours, theirs) -> None:
    assert len(ours) == len(theirs) > 0
    for (step, *values), (other, *others) in zip(ours, theirs, strict=True):
        assert step == other
        assert all(torch.equal(a, b) for a, b in zip(values, others, strict=True))


# --- one solve ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "p"), [(30, 5), (5, 30), (7, 7), (1, 3), (3, 1)])
@pytest.mark.parametrize("size", [1e-4, 0.3, 20])
def test_solves_by_hand(n, p, size):
    features, targets, previous = normal(n, p), normal(n, 2, seed=1), normal(p, 2, seed=2)
    moment, cross = features.T @ features / n, features.T @ targets / n
    close(solve_last_layer(features, targets, size), torch.linalg.inv(moment + size * eye(p)) @ cross, 1e-8)
    proximal = torch.linalg.inv(moment + size * eye(p)) @ (cross + size * previous)
    close(proximal_last_layer(features, targets, previous, size), proximal, 1e-8)


@given(n=st.integers(1, 9), p=st.integers(1, 9), power=st.floats(-2, 2), seed=st.integers(0, 999))
def test_solves_minimise_their_losses(n, p, power, seed):
    features, targets, previous = normal(n, p, seed=seed), normal(n, 2, seed=seed + 1), normal(p, 2, seed=seed + 2)
    size = 10**power
    for weights, origin in (
        (solve_last_layer(features, targets, size), torch.zeros_like(previous)),
        (proximal_last_layer(features, targets, previous, size), previous),
    ):
        weights.requires_grad_()
        loss = squared_loss(features, weights, targets) + 0.5 * size * (weights - origin).square().sum()
        (slope,) = torch.autograd.grad(loss, weights)
        assert slope.norm() < 1e-9 * (1 + size) * (1 + previous.norm())


def test_sizes_mean_the_same_for_every_number_of_rows():
    features, targets, previous = normal(4, 6), normal(4, 2, seed=1), normal(6, 2, seed=2)
    more, again = features.repeat(3, 1), targets.repeat(3, 1)
    close(solve_last_layer(more, again, 0.2), solve_last_layer(features, targets, 0.2))
    close(proximal_last_layer(more, again, previous, 0.2), proximal_last_layer(features, targets, previous, 0.2))
    close(closed_form_loss(more, again, 0.2), closed_form_loss(features, targets, 0.2))


@pytest.mark.parametrize(("b", "p"), [(5, 12), (30, 12)])
def test_a_strong_proximal_step_is_a_gradient_step_of_rate_1_over_its_strength(b, p):
    features, targets, previous = normal(b, p), normal(b, 2, seed=1), normal(p, 2, seed=2)
    slope = features.T @ (features @ previous - targets) / b
    largest = torch.linalg.eigvalsh(features.T @ features / b)[-1]
    gaps = []
    for strength in (1e2, 1e3, 1e4, 1e5):
        moved = proximal_last_layer(features, targets, previous, strength) - previous
        gaps.append((moved + slope / strength).norm() / moved.norm())
        assert gaps[-1] <= largest / strength
    ratios = torch.stack(gaps[:-1]) / torch.stack(gaps[1:])
    assert bool(((ratios > 8) & (ratios < 10.1)).all())
    assert (proximal_last_layer(features, targets, previous, 1e9) - previous).norm() < 1e-6


def test_a_weak_proximal_step_fits_a_small_batch_so_that_its_gradient_vanishes_and_moves_no_further_than_it_must():
    features, targets, previous = normal(5, 12), normal(5, 2, seed=1), normal(12, 2, seed=2)
    nearest = previous + torch.linalg.pinv(features) @ (targets - features @ previous)
    for strength in (1e-6, 1e-9, 0):
        weights = proximal_last_layer(features, targets, previous, strength)
        assert (features @ weights - targets).norm() < 10 * strength + 1e-10
        assert (weights - nearest).norm() < 10 * strength + 1e-10
        inputs = features.clone().requires_grad_()
        (slope,) = torch.autograd.grad(squared_loss(inputs, weights, targets), inputs)
        assert slope.norm() < 10 * strength + 1e-10
    enough = normal(30, 12)
    assert (enough @ proximal_last_layer(enough, normal(30, 2, seed=1), previous, 0) - normal(30, 2, seed=1)).norm() > 1


def test_half_the_squared_error_is_summed_over_outputs_and_averaged_over_rows():
    features, weights = torch.ones(4, 1), torch.tensor([[1.0, 2.0]])
    targets = torch.zeros(4, 2)
    targets[0, 0] = 3
    assert squared_loss(features, weights, targets).item() == pytest.approx((3 * 1 + 4 + 4 * 4) / 8)
    assert squared_loss(features, weights, targets).shape == ()


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3), (2, 4, 5, 3)], ids=str)
def test_a_column_of_ones_comes_last(shape):
    features = normal(*shape, dtype=torch.float32).requires_grad_()
    extended = with_bias(features)
    assert extended.shape == (*shape[:-1], shape[-1] + 1)
    assert extended.dtype == torch.float32
    assert torch.equal(extended[..., :-1], features)
    assert bool((extended[..., -1] == 1).all())
    assert extended.requires_grad


def test_a_bias_is_the_last_row_and_is_found():
    features = normal(50, 3)
    targets = features @ normal(3, 2, seed=1) + torch.tensor([[5.0, -7.0]]).double()
    found = solve_last_layer(with_bias(features), targets, 0)
    close(found[-1], torch.tensor([5.0, -7.0]).double())


# --- the reduced loss and its gradient ------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "p"), [(30, 5), (5, 30), (6, 6)])
@pytest.mark.parametrize("ridge", [1e-3, 0.1, 3])
def test_the_reduced_loss_sees_the_features_through_their_kernel_only(n, p, ridge):
    features, targets = normal(n, p).requires_grad_(), normal(n, 2, seed=1).requires_grad_()
    loss = closed_form_loss(features, targets, ridge)
    assert loss.shape == ()
    inverse = torch.linalg.inv(features.detach() @ features.detach().T + n * ridge * eye(n))
    dual = inverse @ targets.detach()
    close(loss.detach(), 0.5 * ridge * torch.trace(targets.detach().T @ dual), 1e-9)
    of_features, of_targets = torch.autograd.grad(loss, (features, targets))
    close(of_features, -ridge * dual @ dual.T @ features.detach(), 1e-9)
    close(of_targets, ridge * dual, 1e-9)


def through_the_solve(features: torch.Tensor, targets: torch.Tensor, ridge: float) -> tuple:
    """The squared loss at the solved W, and the ridge's share, both with the graph of the solve."""
    n, p = features.shape
    weights = torch.linalg.solve(features.T @ features / n + ridge * eye(p), features.T @ targets / n)
    return 0.5 * (targets - features @ weights).square().sum() / n, 0.5 * ridge * weights.square().sum()


@pytest.mark.parametrize(("n", "p"), [(40, 8), (8, 40)])
@pytest.mark.parametrize("ridge", [1e-3, 0.3])
@each_seed
def test_the_envelope_gradient_is_that_through_the_solve_to_ten_digits(n, p, ridge, seed):
    backbone = tanh_backbone(p=p, seed=seed, depth=2)
    x, targets = pairs(n, seed=seed)
    parameters = list(backbone.parameters())
    envelope = torch.autograd.grad(closed_form_loss(with_bias(backbone(x)), targets, ridge), parameters)
    loss, share = through_the_solve(with_bias(backbone(x)), targets, ridge)
    for ours, theirs in zip(envelope, torch.autograd.grad(loss + share, parameters, retain_graph=True), strict=True):
        assert (ours - theirs).abs().max() < 1e-10
    without = torch.autograd.grad(loss, parameters)  # the ridge must be in both
    assert max((a - b).abs().max() for a, b in zip(envelope, without, strict=True)) > 1e-4 * ridge


def test_the_reduced_loss_has_no_graph_through_its_solve_and_is_the_least_there_is():
    features, targets = normal(20, 5), normal(20, 2, seed=1)
    assert not closed_form_loss(features, targets, 0.1).requires_grad
    best = solve_last_layer(features, targets, 0.1)
    features, targets = features.requires_grad_(), targets.requires_grad_()
    loss = closed_form_loss(features, targets, 0.1)
    for seed in range(5):
        other = best + 0.1 * normal(5, 2, seed=seed)
        assert squared_loss(features, other, targets) + 0.05 * other.square().sum() > loss
    names, node = [], [loss.grad_fn]
    while node:
        step = node.pop()
        names.append(type(step).__name__)
        node += [parent for parent, _ in step.next_functions if parent is not None]
    assert not any("Cholesky" in name or "Solve" in name for name in names)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_solves_keep_the_dtype_of_the_features(dtype):
    features, targets, previous = (value.to(dtype) for value in (normal(9, 3), normal(9, 2), normal(3, 2)))
    exact = solve_last_layer(features.double(), targets.double(), 0.1)
    for found in (
        solve_last_layer(features, targets, 0.1),
        proximal_last_layer(features, targets, torch.zeros_like(previous), 0.1),
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=4 * torch.finfo(dtype).eps)
    assert closed_form_loss(features, targets, 0.1).dtype == dtype


def test_what_cannot_be_solved_is_refused():
    features, targets = torch.zeros(5, 3), torch.ones(5, 2)
    for call in (
        lambda: solve_last_layer(features, targets, 0),
        lambda: proximal_last_layer(features, targets, torch.zeros(3, 2), 0),
        lambda: closed_form_loss(features, targets, 0),
        lambda: solve_last_layer(features * float("nan"), targets, 1),
    ):
        with pytest.raises(torch.linalg.LinAlgError) as refusal:
            call()
        assert str(refusal.value) == SINGULAR


# --- training: what a step is ---------------------------------------------------------------------------------


def train(backbone, data, steps=6, **settings):
    return train_closed_form(backbone, data, steps, **({"every": 1, "learning_rate": 0.1} | settings))


def loop_by_hand(backbone, x, y, steps, bias, mode, ridge=0.0, strength=0.0, forgetting=0.0):
    """Stochastic gradient descent with momentum; in mode "full" the gradient goes through the solve."""
    walk = momentum(backbone.parameters(), lr=0.1)
    n = len(x)

    def features():
        ones = torch.ones(n, 1, dtype=torch.float64)
        return torch.cat([backbone(x), ones], dim=1) if bias else backbone(x)

    p = features().shape[1]
    weights, information = torch.zeros(p, y.shape[1], dtype=torch.float64), n * strength * eye(p)

    def solve(rows):
        nonlocal weights, information
        rows = rows.detach()
        if mode == "proximal":
            system = rows.T @ rows / n + strength * eye(p)
            weights = torch.linalg.solve(system, rows.T @ y / n + strength * weights)
        if mode == "recursive":
            information = forgetting * information + (1 - forgetting) * n * strength * eye(p) + rows.T @ rows
            weights = weights + torch.linalg.solve(information, rows.T @ (y - rows @ weights))

    solve(features())
    for step in range(1, steps + 1):
        rows = features()
        if mode == "full":
            weights = torch.linalg.solve(rows.T @ rows / n + ridge * eye(p), rows.T @ y / n)
        loss = 0.5 * (y - rows @ weights).square().sum() / n
        walk.zero_grad()
        (loss + 0.5 * ridge * weights.square().sum()).backward()
        walk.step()
        weights = weights.detach()
        solve(features())
        yield step, loss.detach(), weights, weights_of(backbone)


@each_mode
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n", [20, 4], ids=["many rows", "few rows"])
def test_training_is_the_loop_written_out(settings, bias, n):
    x, y = pairs(n)
    ours = snapshots(train(tanh_backbone(), (x, y), bias=bias, optimizer=momentum, **settings))
    theirs = list(loop_by_hand(tanh_backbone(), x, y, 6, bias, **settings))
    assert len(ours) == len(theirs) == 6
    for (step, *values), (other, *others) in zip(ours, theirs, strict=True):
        assert step == other
        for value, wanted in zip(values, others, strict=True):
            close(value, wanted, 1e-9)


def test_all_forgotten_is_the_proximal_step():
    data, rates = pairs(), {"strength": 0.3, "optimizer": momentum}
    proximal = snapshots(train(tanh_backbone(), data, mode="proximal", **rates))
    forgetful = snapshots(train(tanh_backbone(), data, mode="recursive", forgetting=0, **rates))
    for (_, *values), (_, *others) in zip(proximal, forgetful, strict=True):
        for value, other in zip(values, others, strict=True):
            close(value, other)


def test_where_features_rest_and_nothing_is_forgotten_the_end_is_ridge_on_all_that_was_seen():
    data, seen = pairs(40), []

    def batches(n, generator):
        index = torch.randint(40, (n,), generator=generator)
        seen.append(index)
        return data[0][index], data[1][index]

    backbone = tanh_backbone()
    settings = {"mode": "recursive", "strength": 0.2, "forgetting": 1, "optimizer": Frozen, "generator": seeded()}
    state = last(train(backbone, batches, batch_size=8, **settings))
    seen = torch.cat([seen[1], *seen[1:]])  # after a peek at one row, the first batch makes the first W, too
    features = with_bias(backbone(data[0])).detach()[seen]
    close(state.weights, linear.ridge(features, data[1][seen], 8 * 0.2))


@each_mode
def test_every_point_of_a_grid_is_a_row(settings):
    torch.manual_seed(0)
    head = nn.Linear(2, 5).double()
    x, y = normal(4, 3, 2, 2), normal(4, 3, 2, 3, seed=1)
    grid = snapshots(train(copy.deepcopy(head), (x, y), **settings))
    backbone = copy.deepcopy(head)
    states, rows = train(backbone, (x.flatten(0, 2), y.flatten(0, 2)), **settings), []
    for state in states:
        rows += snapshots([state])
    for (step, *values), (other, *others) in zip(grid, rows, strict=True):
        assert step == other
        for value, wanted in zip(values, others, strict=True):
            close(value, wanted)
    predicted = state.predict(x)
    assert predicted.shape == (4, 3, 2, 3)
    close(predicted.flatten(0, 2), state.predict(x.flatten(0, 2)))


def test_a_recursive_prior_counts_the_grid_points_of_a_batch():
    seen = []

    class Spy(LastLayer):
        def __init__(self, weights, rows):
            super().__init__(weights, rows)
            seen.append((tuple(weights.shape), weights.abs().sum().item(), rows))

    x, y, backbone = normal(4, 3, 2, 2), normal(4, 3, 2, 3), nn.Linear(2, 5).double()
    for bias, batch_size in ((True, None), (False, None), (True, 2), (True, 9)):
        train_last_layer(backbone, (x, y), 1, Spy, bias=bias, batch_size=batch_size)
    assert seen == [((6, 3), 0, 24), ((5, 3), 0, 24), ((6, 3), 0, 12), ((6, 3), 0, 54)]


class Counting(nn.Module):
    """Counts its forward passes, and whether it was in training mode, with a graph or without."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.passes = nn.Linear(2, 3).double(), []

    def forward(self, x):
        self.passes.append((len(x), self.training, torch.is_grad_enabled()))
        return self.inner(x)


@each_mode
def test_a_step_is_one_forward_pass_or_two_the_second_without_a_graph(settings):
    backbone = Counting()
    last(train(backbone, pairs(), 3, **settings))
    step = [(20, True, True)] if settings["mode"] == "full" else [(20, True, True), (20, True, False)]
    assert backbone.passes == [(1, False, False), *step * 3]


def test_the_full_solve_of_a_state_is_that_of_the_backbone_before_the_step():
    """What a state predicts with is one step older than its backbone."""
    backbone, (x, y) = tanh_backbone(), pairs()
    before = backbone(x).detach()
    for state in train(backbone, (x, y), ridge=0.1, learning_rate=1e-2):
        close(state.weights, solve_last_layer(with_bias(before), y, 0.1))
        before = backbone(x).detach()


# --- training: batches, states, settings ----------------------------------------------------------------------


class Recorder(LastLayer):
    """Keeps what it is shown."""

    second_forward = True

    def __init__(self, weights, rows) -> None:
        super().__init__(weights, rows)
        self.seen = []

    def first(self, features, targets):
        self.seen.append(("first", features, targets))

    def before(self, features, targets):
        self.seen.append(("before", features, targets))
        return self.weights + 1

    def after(self, features, targets):
        self.seen.append(("after", features, targets))


def record(data, steps=3, **settings) -> tuple[nn.Module, Recorder]:
    backbone, kept = nn.Linear(1, 1, bias=False).double(), []

    def layer(weights, rows):
        kept.append(Recorder(weights, rows))
        return kept[0]

    last(train_last_layer(backbone, data, steps, layer, bias=False, **({"learning_rate": 0.1} | settings)))
    return backbone, kept[0]


def test_a_rule_sees_the_first_features_then_each_step_those_before_and_after_it():
    x = normal(10, 1)
    _, rule = record((x, x), optimizer=Frozen)
    assert [name for name, *_ in rule.seen] == ["first", "before", "after", "before", "after", "before", "after"]
    assert all(features.requires_grad == (name == "before") for name, features, _ in rule.seen)
    _, rule = record((x, x), optimizer=torch.optim.SGD)
    features = [shown.detach() for _, shown, _ in rule.seen]
    assert torch.equal(features[0], features[1])
    assert torch.equal(features[2], features[3])
    assert (features[2] - features[1]).abs().max() > 1e-3


def test_a_rule_without_a_second_forward_pass_sees_the_features_of_the_step_again_without_their_graph(monkeypatch):
    monkeypatch.setattr(Recorder, "second_forward", False)
    x = normal(10, 1)
    _, rule = record((x, x), optimizer=torch.optim.SGD)
    for (name, features, _), (other, again, _) in zip(rule.seen[1::2], rule.seen[2::2], strict=True):
        assert (name, other) == ("before", "after")
        assert torch.equal(features, again)
        assert not again.requires_grad


def test_batches_are_pairs_of_rows_drawn_with_replacement_from_the_generator_alone():
    x = torch.arange(1.0, 31).double()[:, None]
    state = torch.random.get_rng_state()
    backbone, rule = record((x, -x), 40, batch_size=6, optimizer=Frozen, generator=seeded(3))
    backbone = backbone.weight.item()
    assert not torch.equal(torch.random.get_rng_state(), state)  # the layer of this test draws its start
    state = torch.random.get_rng_state()
    draws, generator = [], seeded(3)
    for place, (name, features, targets) in enumerate(rule.seen[1:]):
        close(features.detach(), -backbone * targets)
        if name == "before":
            index = torch.randint(30, (6,), generator=generator)
            assert torch.equal(targets, -x[index])
            draws.append(index)
        else:
            assert torch.equal(targets, rule.seen[place][2])
    assert any(len(index.unique()) < 6 for index in draws)
    assert len(torch.cat(draws).unique()) == 30
    assert torch.equal(torch.random.get_rng_state(), state)


def test_without_a_batch_size_each_step_has_all_rows_in_their_order_and_nothing_is_drawn():
    x, generator = normal(7, 1), seeded(3)
    state = generator.get_state()
    _, rule = record((x, -x), generator=generator)
    assert all(torch.equal(targets, -x) for _, _, targets in rule.seen)
    assert torch.equal(generator.get_state(), state)


def test_a_callable_is_asked_for_one_row_and_then_for_a_batch_a_step():
    asked, generator = [], seeded()

    def draw(n, given):
        asked.append((n, given))
        return torch.ones(n, 1).double(), torch.ones(n, 1).double()

    record(draw, 4, batch_size=5, generator=generator)
    assert asked == [(1, generator)] + [(5, generator)] * 4


@each_mode
def test_one_seed_gives_one_course_and_another_seed_another(settings):
    data = pairs()
    runs = [
        snapshots(train(tanh_backbone(), data, batch_size=5, generator=seeded(seed), **settings)) for seed in (0, 0, 1)
    ]
    assert_identical(runs[0], runs[1])
    assert not torch.equal(runs[0][-1][3], runs[2][-1][3])


@pytest.mark.parametrize(
    ("steps", "every", "wanted"), [(25, 10, [10, 20, 25]), (20, 10, [10, 20]), (3, 10, [3]), (3, 1, [1, 2, 3])]
)
def test_states_come_every_so_many_steps_and_at_the_last(steps, every, wanted):
    states = list(train(tanh_backbone(), pairs(), steps, every=every))
    assert [state.step for state in states] == wanted
    alone = list(train(tanh_backbone(), pairs(), steps, every=1))
    for state in states:
        assert torch.equal(state.loss, alone[state.step - 1].loss)
        assert state.loss.shape == ()
        assert not state.loss.requires_grad
    assert torch.equal(weights_of(states[-1].backbone), weights_of(alone[-1].backbone))


@each_mode
def test_it_is_lazy_may_be_left_early_and_ends_in_evaluation_mode(settings):
    backbone, data = tanh_backbone(), pairs()
    start = weights_of(backbone)
    states = train(backbone, data, 3, **settings)
    assert torch.equal(weights_of(backbone), start)
    assert backbone.training
    state = next(states)
    assert not torch.equal(weights_of(backbone), start)
    assert state.backbone is backbone
    assert backbone.training
    stopped = weights_of(backbone)
    next(train(backbone.eval(), data, 3, **settings))
    assert backbone.training
    states.close()
    backbone.eval()
    train(backbone, data, 3, **settings)
    assert not backbone.training
    assert not torch.equal(weights_of(backbone), stopped)
    last(train(backbone, data, 3, **settings))
    assert not backbone.training


def test_predictions_have_the_bias_if_there_is_one_and_no_graph():
    x, y = pairs()
    for bias in (True, False):
        backbone = tanh_backbone()
        state = last(train(backbone, (x, y), 3, bias=bias, mode="proximal"))
        assert state.bias == bias
        assert state.weights.shape == (7 if bias else 6, 2)
        with torch.no_grad():
            wanted = backbone(x) @ state.weights[:6] + (state.weights[6] if bias else 0)
        predicted = state.predict(x)
        assert not predicted.requires_grad
        close(predicted, wanted)


class Rates(torch.optim.SGD):
    """Keeps the rates that it walked with."""

    def __init__(self, parameters, lr) -> None:
        super().__init__(parameters, lr=lr)
        self.rates = []
        made.append(self)

    def step(self, closure=None):
        self.rates.append([group["lr"] for group in self.param_groups])
        return super().step(closure)


made: list[Rates] = []


class Walked(LastLayer):
    """A last layer that walks with the backbone, three times as fast."""

    rate_factor = 3.0

    def __init__(self, weights, rows) -> None:
        super().__init__(weights, rows)
        del self.weights
        self.weights = nn.Parameter(normal(*weights.shape, seed=9))


def half_a_cosine(steps: int) -> list[float]:
    return [0.1 * (1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)]


def test_the_rate_is_constant_or_falls_along_half_a_cosine_for_every_group():
    for cosine, wanted in ((False, [0.1] * 7), (True, half_a_cosine(7))):
        made.clear()
        last(train(tanh_backbone(), pairs(), 7, optimizer=Rates, cosine=cosine))
        assert [rate for (rate,) in made[0].rates] == pytest.approx(wanted)
        made.clear()
        last(train_last_layer(tanh_backbone(), pairs(), 7, Walked, learning_rate=0.1, optimizer=Rates, cosine=cosine))
        for (rate, of_layer), expected in zip(made[0].rates, wanted, strict=True):
            assert rate == pytest.approx(expected)
            assert of_layer == pytest.approx(3 * expected)


def test_a_walked_last_layer_is_plain_training_of_both():
    backbone, (x, y), weights = tanh_backbone(), pairs(), normal(7, 2, seed=9).requires_grad_()
    groups = [{"params": list(backbone.parameters())}, {"params": [weights], "lr": 0.3}]
    optimizer, losses = torch.optim.Adam(groups, lr=0.1), []
    for _ in range(5):
        losses.append(0.5 * (with_bias(backbone(x)) @ weights - y).square().sum(1).mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    ours = snapshots(train_last_layer(tanh_backbone(), (x, y), 5, Walked, learning_rate=0.1, every=1))
    close(torch.stack([loss for _, loss, *_ in ours]), torch.stack(losses).detach())
    close(ours[-1][2], weights)
    close(ours[-1][3], weights_of(backbone))


def test_solved_layers_have_no_group_and_walked_ones_one_with_their_rate():
    zeros = torch.zeros(3, 2)
    for layer in (method.FullSolve(zeros, 4), method.ProximalStep(zeros, 4), method.RecursiveStep(zeros, 4)):
        assert last_layer_groups(layer, 0.1) == []
    walked = Walked(zeros, 4)
    (group,) = last_layer_groups(walked, 0.1)
    assert group["params"][0] is walked.weights
    assert group["lr"] == pytest.approx(0.3)
    Walked.rate_factor, kept = 1.0, Walked.rate_factor
    try:
        assert last_layer_groups(walked, 0.1)[0]["lr"] == 0.1
        del Walked.rate_factor
        assert last_layer_groups(walked, 0.1)[0]["lr"] == 0.1
    finally:
        Walked.rate_factor = kept


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, momentum], ids=["adam", "momentum"])
@pytest.mark.parametrize("cosine", [True, False], ids=["cosine", "constant"])
@pytest.mark.parametrize("rule", [*MODES.values(), Walked], ids=[*MODES, "walked"])
def test_training_resumes_bit_for_bit(rule, optimizer, cosine):
    data, settings = pairs(40), {"batch_size": 6, "optimizer": optimizer, "cosine": cosine, "every": 2}

    def run(seed, **resume):
        course = settings | resume | {"generator": seeded(seed)}
        if isinstance(rule, dict):
            return train(tanh_backbone(seed=seed), data, 9, **rule, **course)
        return train_last_layer(tanh_backbone(seed=seed), data, 9, rule, **course)

    through, saved = [], None
    for state in run(0):
        through += snapshots([state])
        if state.step == 4:
            file = io.BytesIO()
            torch.save(state.state_dict(), file)
            file.seek(0)
            saved = torch.load(file, weights_only=True)
    assert saved["step"] == 4
    assert_identical(snapshots(run(7, resume=saved)), through[2:])


def test_a_saved_state_stays_what_it_was_and_needs_no_generator():
    states = train(tanh_backbone(), pairs(), 4, mode="recursive")
    saved = next(states).state_dict()
    copied = copy.deepcopy(saved)
    through = snapshots(states)
    assert saved["generator"] is None
    for part in ("backbone", "layer"):
        assert all(torch.equal(saved[part][name], copied[part][name]) for name in copied[part])
    assert_identical(snapshots(train(tanh_backbone(seed=3), pairs(), 4, mode="recursive", resume=saved)), through)


# --- training: precision and failures -------------------------------------------------------------------------


@each_mode
def test_the_last_layer_may_be_solved_in_more_digits_than_its_backbone_has(settings):
    x, y = pairs(200)
    runs = {}
    for dtype, solve_dtype in ((torch.float32, None), (torch.float32, torch.float64), (torch.float64, None)):
        backbone = tanh_backbone().to(dtype)
        state = last(train(backbone, (x.to(dtype), y.to(dtype)), solve_dtype=solve_dtype, **settings))
        assert state.weights.dtype == (solve_dtype or dtype)
        assert state.predict(x.to(dtype)).dtype == state.loss.dtype == dtype
        runs[dtype, solve_dtype] = state.predict(x.to(dtype))
    exact = runs.pop((torch.float64, None))
    for predicted in runs.values():
        torch.testing.assert_close(predicted.double(), exact, rtol=0, atol=1e-3)


@each_mode
def test_targets_may_have_more_digits_than_the_backbone(settings):
    x, y = pairs()
    states = [last(train(tanh_backbone().float(), (x.float(), values), **settings)) for values in (y, y.float())]
    assert all(state.weights.dtype == torch.float32 for state in states)
    torch.testing.assert_close(states[0].weights, states[1].weights, rtol=1e-3, atol=1e-3)


@each_mode
def test_a_penalty_that_single_precision_loses_is_kept_in_double(settings):
    """Two equal features, which only the penalty tells apart; all else is exact, for their square sum is 64."""
    backbone, x = nn.Linear(1, 2, bias=False), normal(64, 1, dtype=torch.float32).sign()
    backbone.weight.data = torch.tensor([[1.0], [1.0]])
    settings = settings | {"ridge": 1e-9, "strength": 1e-9, "optimizer": Frozen, "bias": False}
    state = last(train(backbone, (x, 4 * x), 1, solve_dtype=torch.float64, **settings))
    torch.testing.assert_close(state.weights, torch.full((2, 1), 2.0, dtype=torch.float64), rtol=1e-5, atol=1e-5)
    with pytest.raises(torch.linalg.LinAlgError):
        last(train(backbone, (x, 4 * x), 1, **settings))


@each_mode
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_trains(settings, dtype):
    x, y = (value.to(dtype) for value in pairs(50))
    states = train(tanh_backbone().to(dtype), (x, y), 20, optimizer=momentum, **settings)
    losses = [state.loss.item() for state in states]
    assert losses[-1] < losses[0]


def broken_once(at: int):
    """Batches of which one has a number that is not finite; the peek at one row is not counted."""
    asked = []

    def draw(n, generator):
        x, y = pairs(max(n, 1), seed=len(asked))
        asked.append(n)
        if len(asked) == at + 1:
            x = x * float("inf")
        return x, y

    return draw


@each_mode
def test_a_solve_that_fails_is_told_at_the_next_state_even_if_later_ones_succeed(settings):
    torch.manual_seed(0)
    for at, arrives in ((3, 1), (5, 1), (6, 2)):
        states = train(
            nn.Linear(2, 3).double(), broken_once(at), 10, batch_size=8, every=5, optimizer=Frozen, **settings
        )
        for _ in range(arrives - 1):
            next(states)
        with pytest.raises(torch.linalg.LinAlgError) as refusal:
            next(states)
        assert str(refusal.value) == SINGULAR


def test_the_worst_status_is_remembered():
    layer = LastLayer(torch.zeros(2, 1), 3)
    assert layer.status == 0
    for status, wanted in ((0, 0), (2, 2), (0, 2), (1, 2), (3, 3)):
        layer.note(torch.tensor(status, dtype=torch.int32))
        assert layer.status == wanted
    assert layer.second_forward is False
    assert torch.equal(layer.before(torch.ones(3, 2), torch.ones(3, 1)), torch.zeros(2, 1))


# --- training: what it is good for ----------------------------------------------------------------------------


def sines(seed: int, n: int = 400) -> tuple:
    """Five random sines of two inputs: pairs to train on, and as many others."""
    x = 2 * torch.rand(2 * n, 2, generator=seeded(seed)) - 1
    phases = 2 * math.pi * torch.rand(5, generator=seeded(seed + 50))
    y = torch.sin(x @ (2 * normal(2, 5, seed=seed, dtype=torch.float32)) + phases)
    return (x[:n], y[:n]), (x[n:], y[n:])


def of_sines(seed: int, p: int = 48) -> nn.Module:
    return tanh_backbone(p=p, seed=seed, width=64, depth=2).float()


def error(state, data) -> float:
    return 0.5 * (state.predict(data[0]) - data[1]).square().sum(1).mean().item()


def jointly(seed: int, data: tuple, steps: int, rate: float) -> float:
    """The loss that Adam on all layers has reached."""
    model = nn.Sequential(of_sines(seed), nn.Linear(48, 5))
    optimizer, (x, y) = torch.optim.Adam(model.parameters(), lr=rate), data
    for _ in range(steps + 1):
        loss = 0.5 * (model(x) - y).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.slow
@each_seed
def test_on_all_data_it_gets_further_in_300_steps_than_adam_on_all_layers(seed):
    data, _ = sines(seed)
    joint = min(jointly(seed, data, 300, rate) for rate in (3e-3, 1e-2))
    state = last(train_closed_form(of_sines(seed), data, 300, learning_rate=1e-2))
    assert error(state, data) < 0.3 * joint


@pytest.mark.slow
@each_seed
def test_where_batches_are_smaller_than_the_width_solving_each_alone_fails_and_a_proximal_step_repairs_it(seed):
    data, others = sines(seed)
    settings = {"batch_size": 16, "learning_rate": 1e-2}

    def reached(**rule):
        states = train_closed_form(of_sines(seed), data, 200, generator=seeded(seed), **rule, **settings)
        return error(last(states), others)

    alone = min(reached(ridge=ridge) for ridge in (1e-4, 1e-2))
    assert reached(mode="proximal", strength=1.0) < 0.5 * alone
    assert reached(mode="recursive", strength=0.3) < 0.5 * alone


def test_the_gradient_of_a_batch_that_is_fitted_alone_vanishes():
    """Why solving small batches alone fails: their loss is nearly 0 whatever the backbone is."""
    (x, y), _ = sines(0)
    backbone, found = of_sines(0).double(), {}
    for rows in (16, 400):
        loss = closed_form_loss(backbone(x[:rows].double()), y[:rows].double(), 1e-12)
        slopes = torch.autograd.grad(loss, list(backbone.parameters()))
        found[rows] = loss.item(), max(slope.abs().max().item() for slope in slopes)
    for few, many in zip(found[16], found[400], strict=True):
        assert few < many / 100


# --- instrumental variables -----------------------------------------------------------------------------------


def linear_instruments(n: int = 300, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Instruments of two dimensions, treatments, outcomes of two: all linear and Gaussian, and confounded."""
    instruments, hidden = normal(n, 2, seed=seed), normal(n, 1, seed=seed + 1)
    treatments = instruments @ torch.tensor([[1.0], [0.5]]).double() + hidden + 0.2 * normal(n, 1, seed=seed + 2)
    noise = hidden + 0.1 * normal(n, 1, seed=seed + 3)
    outcomes = treatments @ torch.tensor([[2.0, -1.0]]).double() + 3 + noise @ torch.ones(1, 2).double()
    return instruments, treatments, outcomes


def identity(size: int) -> nn.Module:
    module = nn.Linear(size, size, bias=False).double()
    module.weight.data = eye(size)
    return module


def resting(first, second, steps=1, **settings):
    """Training of features that are the inputs and stay so."""
    return last(deep_iv(identity(2), identity(1), first, second, steps, optimizer=Frozen, **settings))


def columns(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)


def test_with_features_that_are_the_inputs_it_is_two_stage_least_squares():
    z, x, y = linear_instruments()
    state = resting((z, x), (z, y), strengths=(1e-14, 1e-14), proximal=False)
    projection = columns(z) @ torch.linalg.pinv(columns(z))
    wanted = torch.linalg.solve(columns(x).T @ projection @ columns(x), columns(x).T @ projection @ y)
    close(state.weights, wanted, 1e-9)
    truth = torch.tensor([[2.0, -1.0], [3.0, 3.0]]).double()
    naive = torch.linalg.lstsq(columns(x), y).solution
    assert (wanted - truth).abs().max() < 0.15
    assert (naive - truth).abs().max() > 0.3
    close(state.predict(x), columns(x) @ wanted, 1e-8)
    assert not state.predict(x).requires_grad


@pytest.mark.parametrize("strengths", [(0.3, 0.02), (0.02, 0.3)])
def test_its_ridges_are_those_of_the_two_stages_and_the_stages_may_have_other_rows(strengths):
    (z, x, _), (other, _, y) = linear_instruments(), linear_instruments(200, seed=50)
    state = resting((z, x), (other, y), strengths=strengths, proximal=False)
    ours = columns(z)
    v = torch.linalg.solve(ours.T @ ours / 300 + strengths[0] * eye(3), ours.T @ x / 300)
    fitted = columns(columns(other) @ v)
    u = torch.linalg.solve(fitted.T @ fitted / 200 + strengths[1] * eye(2), fitted.T @ y / 200)
    close(state.weights, u)
    close(state.losses[0], 0.5 * (x - ours @ v).square().sum() / 300)
    close(state.losses[1], 0.5 * (y - fitted @ u).square().sum() / 200)


def test_proximal_steps_of_both_stages_walk_to_two_stage_least_squares():
    z, x, y = linear_instruments()
    wanted = resting((z, x), (z, y), strengths=(1e-14, 1e-14), proximal=False).weights
    gaps = [(resting((z, x), (z, y), steps).weights - wanted).abs().max().item() for steps in (1, 3, 10, 100)]
    assert gaps[0] > 0.1
    assert sorted(gaps, reverse=True) == gaps
    assert gaps[-1] < 1e-9


def both_backbones(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    return tanh_backbone(2, 5, seed), tanh_backbone(1, 4, seed + 1)


def stages_by_hand(phi, psi, first, second, steps, strengths, proximal, inner_steps):
    """All gradients go through all solves; the penalties are in the losses."""
    walks = [momentum(module.parameters(), lr=0.1) for module in (phi, psi)]
    (z, x), (other, y) = first, second
    v, u = torch.zeros(6, 4).double(), torch.zeros(5, y.shape[1]).double()

    def stage(features, targets, strength, previous):
        n, p = features.shape
        origin = previous if proximal else torch.zeros_like(previous)
        system = features.T @ features / n + strength * eye(p)
        weights = torch.linalg.solve(system, features.T @ targets / n + strength * origin)
        loss = 0.5 * (targets - features @ weights).square().sum() / n
        return weights, loss, loss + 0.5 * strength * (weights - origin).square().sum()

    def walk(place, total):
        walks[place].zero_grad()
        total.backward()
        walks[place].step()

    for step in range(1, steps + 1):
        for _ in range(inner_steps):
            _, first_loss, total = stage(columns(phi(z)), psi(x).detach(), strengths[0], v)
            walk(0, total)
        solved, _, _ = stage(columns(phi(z)).detach(), psi(x), strengths[0], v)
        fitted = columns(columns(phi(other)).detach() @ solved)
        _, second_loss, total = stage(fitted, y, strengths[1], u)
        walk(1, total)
        v = stage(columns(phi(z)), psi(x), strengths[0], v)[0].detach()
        u = stage(columns(columns(phi(other)) @ v), y, strengths[1], u)[0].detach()
        losses = torch.stack([first_loss, second_loss]).detach()
        yield step, losses, u, weights_of(phi), weights_of(psi)


def iv_snapshots(states, phi) -> list[tuple]:
    return [(s.step, s.losses, s.weights.clone(), weights_of(phi), weights_of(s.backbone)) for s in states]


@pytest.mark.parametrize("proximal", [True, False])
@pytest.mark.parametrize("inner_steps", [1, 3])
def test_its_gradients_are_those_through_both_solves(proximal, inner_steps):
    (z, x, _), (other, _, y) = linear_instruments(30), linear_instruments(25, seed=50)
    settings = {"strengths": (0.2, 0.05), "proximal": proximal, "inner_steps": inner_steps}
    phi, psi = both_backbones()
    options = {"learning_rate": 0.1, "optimizer": momentum, "every": 1}
    ours = iv_snapshots(deep_iv(phi, psi, (z, x), (other, y), 4, **settings, **options), phi)
    theirs = list(stages_by_hand(*both_backbones(), (z, x), (other, y), 4, **settings))
    assert len(ours) == len(theirs) == 4
    for (step, *values), (wanted, *others) in zip(ours, theirs, strict=True):
        assert step == wanted
        for value, by_hand in zip(values, others, strict=True):
            close(value, by_hand, 1e-9)


def test_the_second_stage_has_no_gradient_for_the_features_of_the_instrument():
    (z, x, y), (phi, psi) = linear_instruments(30), both_backbones()
    last(deep_iv(phi, psi, (z, x), (z, y), 1, inner_steps=1, optimizer=Frozen, proximal=False, strengths=(0.2, 0.1)))
    loss, share = through_the_solve(columns(phi(z)), psi(x).detach(), 0.2)
    for parameter, slope in zip(phi.parameters(), torch.autograd.grad(loss + share, phi.parameters()), strict=True):
        close(parameter.grad, slope)


def confounded_sine(seed: int, n: int = 1000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """y = sin(x) + 3 e, where e moves x, too."""
    z, hidden = 6 * torch.rand(n, 1, generator=seeded(seed)) - 3, normal(n, 1, seed=seed + 1)
    hidden = hidden.float()
    x = z + hidden + 0.1 * normal(n, 1, seed=seed + 2).float()
    return z, x, torch.sin(x) + 3 * hidden


@each_seed
@pytest.mark.parametrize("settings", [{}, {"proximal": False, "strengths": (0.01, 0.01)}], ids=["proximal", "ridges"])
def test_it_finds_a_structural_function_that_regression_misses(seed, settings):
    (z, x, _), (other, again, y) = confounded_sine(seed), confounded_sine(seed + 100)
    phi, psi, plain = (tanh_backbone(1, 16, 10 * seed + part, 32).float() for part in range(3))
    grid = torch.linspace(-2.5, 2.5, 200)[:, None]
    found = last(deep_iv(phi, psi, (z, x), (other, y), 40, **settings)).predict(grid)
    naive = last(train_closed_form(plain, (again, y), 100, ridge=1e-3)).predict(grid)
    assert found.shape == grid.shape
    missed = (naive - grid.sin()).square().mean()
    assert missed > 0.2
    assert (found - grid.sin()).square().mean() < 0.5 * missed


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, momentum], ids=["adam", "momentum"])
@pytest.mark.parametrize("cosine", [True, False], ids=["cosine", "constant"])
@pytest.mark.parametrize("proximal", [True, False], ids=["proximal", "ridges"])
def test_both_stages_resume_bit_for_bit(optimizer, cosine, proximal):
    z, x, y = linear_instruments(40)
    settings = {"batch_size": 12, "optimizer": optimizer, "cosine": cosine, "proximal": proximal, "every": 2}

    def run(seed, **resume):
        phi, psi = both_backbones(seed)
        states = deep_iv(phi, psi, (z, x), (z, y), 7, **settings, **resume, generator=seeded(seed))
        return phi, states

    through, saved = [], None
    phi, states = run(0)
    for state in states:
        through += iv_snapshots([state], phi)
        if state.step == 4:
            file = io.BytesIO()
            torch.save(state.state_dict(), file)
            file.seek(0)
            saved = torch.load(file, weights_only=True)
    phi, states = run(5, resume=saved)
    assert_identical(iv_snapshots(states, phi), through[2:])


def test_both_stages_draw_their_own_batches_from_the_generator_alone():
    z, x, y = linear_instruments(40)
    drawn = {"first": [], "second": []}

    def draw(name, other):
        def batch(n, generator):
            index = torch.randint(40, (n,), generator=generator)
            drawn[name].append((n, index))
            return z[index], other[index]

        return batch

    def courses(first, second):
        before = torch.random.get_rng_state()
        for seed in (0, 0, 1):
            phi, psi = both_backbones()
            torch.random.set_rng_state(before)
            states = deep_iv(phi, psi, first, second, 4, batch_size=12, every=1, generator=seeded(seed))
            yield iv_snapshots(states, phi)
            assert torch.equal(torch.random.get_rng_state(), before)

    once, again, other = courses((z, x), (z, y))
    assert_identical(once, again)
    assert not torch.equal(once[-1][2], other[-1][2])
    list(courses(draw("first", x), draw("second", y)))
    for batches in drawn.values():
        assert [n for n, _ in batches[:5]] == [1, 12, 12, 12, 12]
    assert not torch.equal(drawn["first"][1][1], drawn["second"][1][1])


def test_inner_steps_rates_and_states():
    z, x, y = linear_instruments(40)
    for cosine in (True, False):
        made.clear()
        phi, psi = (module.eval() for module in both_backbones())
        options = {"learning_rate": 0.1, "optimizer": Rates, "cosine": cosine, "inner_steps": 3, "every": 2}
        states = deep_iv(phi, psi, (z, x), (z, y), 5, **options)
        steps = []
        for state in states:
            steps.append(state.step)
            assert state.backbone is psi
            assert state.losses.shape == (2,)
            assert not state.losses.requires_grad
            assert state.weights.shape == (5, 2)
            assert phi.training == psi.training == (state.step < 5)
        assert steps == [2, 4, 5]
        of_phi, of_psi = ([rate for (rate,) in walk.rates] for walk in made)
        assert of_phi == pytest.approx(half_a_cosine(15) if cosine else [0.1] * 15)
        assert of_psi == pytest.approx(half_a_cosine(5) if cosine else [0.1] * 5)


def test_settings_that_are_not_given():
    steps = {"learning_rate": 3e-3, "optimizer": torch.optim.Adam, "cosine": False, "every": 10}
    z, x, y = linear_instruments(40)
    runs = []
    for settings in ({}, steps | {"strengths": (0.1, 0.1), "proximal": True, "inner_steps": 2, "batch_size": None}):
        phi, psi = both_backbones()
        runs.append(iv_snapshots(deep_iv(phi, psi, (z, x), (z, y), 15, **settings), phi))
    assert_identical(*runs)
    steps |= {"learning_rate": 1e-2, "bias": True, "batch_size": None, "solve_dtype": None}
    for mode, others in {
        "full": {"ridge": 1e-5},
        "proximal": {"strength": 0.1},
        "recursive": {"strength": 0.1, "forgetting": 0.9},
    }.items():
        default = {} if mode == "full" else {"mode": mode}
        runs = [
            snapshots(train_closed_form(tanh_backbone(), pairs(), 15, **settings))
            for settings in (default, steps | others | {"mode": mode})
        ]
        assert [step for step, *_ in runs[0]] == [10, 15]
        assert_identical(*runs)


@pytest.mark.parametrize("proximal", [True, False])
@pytest.mark.parametrize("which", ["first", "second"])
def test_a_failed_solve_of_either_stage_is_told_at_the_next_state(proximal, which):
    def data(name):
        asked = []

        def draw(n, generator):
            z, x, y = linear_instruments(n, seed=len(asked))
            asked.append(n)
            if name == which and len(asked) == 4:
                z = z * float("inf")
            return z, (x if name == "first" else y)

        return draw

    settings = {"batch_size": 12, "every": 5, "optimizer": Frozen, "proximal": proximal}
    states = deep_iv(identity(2), identity(1), data("first"), data("second"), 5, **settings)
    with pytest.raises(torch.linalg.LinAlgError) as refusal:
        next(states)
    assert str(refusal.value) == SINGULAR
