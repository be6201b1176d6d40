"""The rivals of the closed-form last layer against exact answers: loops written out, least squares, Jacobians by autograd.

Backbones are small and in double precision where numbers are compared. Seeds are fixed. What is said to learn, or to
fail, does so for five seeds.
"""

import io
import itertools
import math
from functools import partial

import pytest
import torch
from agree import eye, last, normal, seeded, weights_of
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from companion.foundations.linear import SINGULAR
from companion.foundations.networks import MLP
from companion.methods.last_layer import (
    FullSolve,
    ProximalStep,
    closed_form_loss,
    last_layer_groups,
    proximal_last_layer,
    solve_last_layer,
    squared_loss,
    train_last_layer,
    with_bias,
)
from companion.methods.rivals.first_layer import SolvedFirst, solve_first_layer
from companion.methods.rivals.gauss_newton import gauss_newton_step, jacobian, train_gauss_newton
from companion.methods.rivals.joint import GradientStep, JointLayer, MovingAverage, ThroughSolve

SGD, Adam = torch.optim.SGD, torch.optim.Adam
momentum = partial(SGD, momentum=0.9)
each_seed = pytest.mark.parametrize("seed", range(5))


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def tanh_backbone(inputs: int = 2, p: int = 6, seed: int = 0, width: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(MLP(inputs, p, width, 1), nn.Tanh()).double()


def pairs(n: int = 20, k: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    x = normal(n, 2, seed=seed)
    return x, torch.sin(2 * x @ normal(2, k, seed=seed + 1))


class Frozen(SGD):
    """It walks nowhere, so that features stay what they are."""

    def step(self, closure=None):
        pass


def snapshots(states) -> list[tuple]:
    """What each state held when it came: W and the backbone move on."""
    return [(state.step, state.loss.clone(), state.weights.clone(), weights_of(state.backbone)) for state in states]


def assert_identical(ours, theirs) -> None:
    assert len(ours) == len(theirs) > 0
    for (step, *values), (other, *others) in zip(ours, theirs, strict=True):
        assert step == other
        assert all(torch.equal(a, b) for a, b in zip(values, others, strict=True))


def train(rule, seed: int = 0, data=None, steps: int = 5, **settings):
    """Every state of a run, full batch unless told."""
    data = pairs() if data is None else data
    return train_last_layer(tanh_backbone(seed=seed), data, steps, rule, **({"every": 1} | settings))


def halved(error: torch.Tensor) -> torch.Tensor:
    return 0.5 * error.square().sum(1).mean()


# --- a last layer that walks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_factor", [1.0, 0.2])
@pytest.mark.parametrize("optimizer", [SGD, momentum, Adam], ids=["sgd", "momentum", "adam"])
def test_a_joint_layer_is_plain_training_of_a_linear_layer(optimizer, rate_factor):
    x, y = pairs()
    start = JointLayer(torch.zeros(7, 2, dtype=torch.float64), 20, generator=seeded(3)).weights.clone()
    model = nn.Sequential(tanh_backbone(), nn.Linear(6, 2).double())
    model[1].weight.data, model[1].bias.data = start[:-1].T.contiguous(), start[-1].clone()
    groups = [{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 0.05 * rate_factor}]
    descent, losses = optimizer(groups, lr=0.05), []
    for _ in range(6):
        losses.append(halved(model(x) - y))
        descent.zero_grad()
        losses[-1].backward()
        descent.step()
    rule = partial(JointLayer, rate_factor=rate_factor, generator=seeded(3))
    states = train(rule, steps=6, optimizer=optimizer, learning_rate=0.05)
    ours = snapshots(states)
    close(torch.stack([loss for _, loss, *_ in ours]), torch.stack(losses).detach())
    close(ours[-1][2], torch.cat([model[1].weight.T, model[1].bias[None]]).detach())
    close(ours[-1][3], weights_of(model[0]))


def test_a_joint_layer_starts_as_a_linear_layer_does():
    zeros = torch.zeros(400, 50, dtype=torch.float64)
    start = JointLayer(zeros, 8, generator=seeded()).weights
    torch.manual_seed(0)
    linear = nn.Linear(400, 50, dtype=torch.float64).weight
    assert start.abs().max() <= 400**-0.5
    assert start.abs().max() > 0.99 * linear.abs().max()
    assert start.std() == pytest.approx(linear.std().item(), rel=0.02)
    assert start.mean().abs() < 4 * start.std() / math.sqrt(start.numel())
    assert torch.equal(start, JointLayer(zeros + 5, 8, generator=seeded()).weights)
    assert not torch.equal(start, JointLayer(zeros, 8, generator=seeded(1)).weights)
    assert not zeros.any()


def test_a_joint_layer_may_start_solved():
    (x, y), backbone = pairs(), tanh_backbone()
    rule = partial(JointLayer, ridge=0.1, generator=seeded())
    state = next(train(rule, optimizer=Frozen))
    close(state.weights, solve_last_layer(with_bias(backbone(x)).detach(), y, 0.1))
    close(state.loss, halved(state.predict(x) - y))
    through = snapshots(train(rule, optimizer=SGD))
    assert all(not torch.equal(a[2], b[2]) for a, b in itertools.pairwise(through))


def test_only_the_joint_layer_is_in_the_optimizer():
    zeros = torch.zeros(3, 2)
    (group,) = last_layer_groups(JointLayer(zeros, 4, rate_factor=0.5), 0.1)
    assert group["lr"] == pytest.approx(0.05)
    assert [value.shape for value in group["params"]] == [(3, 2)]
    for rule in (GradientStep, ThroughSolve, MovingAverage):
        assert last_layer_groups(rule(zeros, 4), 0.1) == []


# --- a gradient step in the place of the solve ----------------------------------------------------------------


@pytest.mark.parametrize("ridge", [None, 0.2])
@pytest.mark.parametrize("optimizer", [SGD, Adam], ids=["sgd", "adam"])
def test_the_gradient_step_by_hand(optimizer, ridge):
    """The backbone goes first with the previous W, then W steps with the new features of the same batch."""
    x, y = pairs()

    def by_hand(fresh: bool):
        backbone = tanh_backbone()
        descent = optimizer(backbone.parameters(), lr=0.05)
        features = with_bias(backbone(x)).detach()
        weights = 0.3 * features.T @ y / 20 if ridge is None else solve_last_layer(features, y, ridge)
        for _ in range(5):
            features = with_bias(backbone(x))
            loss = halved(features @ weights - y)
            descent.zero_grad()
            loss.backward()
            descent.step()
            features = with_bias(backbone(x)).detach() if fresh else features.detach()
            weights = weights - 0.3 * features.T @ (features @ weights - y) / 20
        return torch.cat([weights.flatten(), weights_of(backbone)])

    state = last(train(partial(GradientStep, rate=0.3, ridge=ridge), optimizer=optimizer, learning_rate=0.05))
    ours = torch.cat([state.weights.flatten(), weights_of(state.backbone)])
    close(ours, by_hand(fresh=True))
    assert (ours - by_hand(fresh=False)).norm() > 1e-4 * ours.norm()


def test_it_is_the_proximal_step_of_the_inverse_strength_to_first_order():
    def apart(rate: float) -> float:
        step, solve = (
            last(train(rule, steps=3, optimizer=SGD, learning_rate=0.1)).weights
            for rule in (partial(GradientStep, rate=rate), partial(ProximalStep, strength=1 / rate))
        )
        return ((step - solve).norm() / step.norm()).item()

    assert apart(1e-2) < 0.1
    assert apart(1e-3) == pytest.approx(apart(1e-2) / 10, rel=0.2)


@each_seed
def test_too_large_a_rate_diverges_where_the_solve_does_not(seed):
    """A step of rate above 2 over the largest curvature of W overshoots; no strength makes the solve do so."""
    (x, y), backbone = pairs(seed=seed), tanh_backbone(seed=seed)
    features = with_bias(backbone(x)).detach()
    limit = 2 / torch.linalg.eigvalsh(features.T @ features / 20)[-1].item()
    settings = {"seed": seed, "data": (x, y), "steps": 200, "optimizer": Frozen}
    for rate, settles in ((0.9 * limit, True), (1.1 * limit, False)):
        losses = [state.loss for state in train(partial(GradientStep, rate=rate), **settings)]
        assert (losses[-1] < losses[0]) == settles
        losses = [state.loss for state in train(partial(ProximalStep, strength=1 / rate), **settings)]
        assert losses[-1] < losses[0]


# --- through the solve ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "p"), [(20, 6), (4, 12)])
@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_the_gradient_through_the_solve_is_the_envelope_gradient(n, p, ridge):
    features, targets = normal(n, p).requires_grad_(), normal(n, 2, seed=1)
    weights = ThroughSolve(torch.zeros(p, 2, dtype=torch.float64), n, ridge).before(features, targets)
    (through,) = torch.autograd.grad(squared_loss(features, weights, targets), features)
    moment = features.T @ features / n + ridge * eye(p)
    solved = torch.linalg.solve(moment, features.T @ targets / n)
    reduced = squared_loss(features, solved, targets) + 0.5 * ridge * solved.square().sum()
    (exact,) = torch.autograd.grad(reduced, features, retain_graph=True)
    (envelope,) = torch.autograd.grad(closed_form_loss(features, targets, ridge), features)
    close(weights, solved.detach())
    close(through, exact)
    close(through, envelope)
    without_the_ridge = torch.autograd.grad(squared_loss(features, solved, targets), features)[0]
    assert (through - without_the_ridge).norm() > 1e-6 * through.norm()


def test_through_the_solve_or_not_training_is_the_same():
    runs = [snapshots(train(partial(rule, ridge=0.1), learning_rate=0.05)) for rule in (FullSolve, ThroughSolve)]
    for solved, through in zip(*runs, strict=True):
        for ours, theirs in zip(solved[1:], through[1:], strict=True):
            close(ours, theirs)


def test_only_the_one_keeps_its_graph():
    features, targets = normal(9, 4).requires_grad_(), normal(9, 2)
    layers = [rule(torch.zeros(4, 2, dtype=torch.float64), 9, 0.1) for rule in (FullSolve, ThroughSolve)]
    assert [layer.before(features, targets).requires_grad for layer in layers] == [False, True]
    assert not layers[1].weights.requires_grad
    assert not layers[1].before(features.detach(), targets).requires_grad


def test_a_solve_that_fails_is_told():
    data = (torch.ones(4, 2), torch.ones(4, 1))
    backbone = nn.Linear(2, 3, bias=False)
    nn.init.ones_(backbone.weight)
    with pytest.raises(torch.linalg.LinAlgError, match=SINGULAR):
        last(train_last_layer(backbone, data, 2, partial(ThroughSolve, ridge=0)))


# --- the average of solutions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 0.6])
def test_the_average_by_hand(keep):
    """Backbone first, then the average with the solution for the new features."""
    (x, y), backbone = pairs(), tanh_backbone()
    descent = SGD(backbone.parameters(), lr=0.05)
    weights = solve_last_layer(with_bias(backbone(x)).detach(), y, 0.1)
    for _ in range(5):
        loss = halved(with_bias(backbone(x)) @ weights - y)
        descent.zero_grad()
        loss.backward()
        descent.step()
        weights = keep * weights + (1 - keep) * solve_last_layer(with_bias(backbone(x)).detach(), y, 0.1)
    state = last(train(partial(MovingAverage, ridge=0.1, keep=keep), optimizer=SGD, learning_rate=0.05))
    close(state.weights, weights)
    close(weights_of(state.backbone), weights_of(backbone))


def test_with_fixed_features_it_is_the_mean_of_the_solutions():
    x, y = pairs(40)
    rule = partial(MovingAverage, ridge=0.1, keep=0.5)
    batches, generator = [], seeded(4)
    for _ in range(3):
        batches.append(torch.randint(40, (9,), generator=generator))
    features = with_bias(tanh_backbone()(x)).detach()
    solutions = [solve_last_layer(features[rows], y[rows], 0.1) for rows in batches]
    wanted = (0.125 + 0.125) * solutions[0] + 0.25 * solutions[1] + 0.5 * solutions[2]
    state = last(train(rule, data=(x, y), steps=3, batch_size=9, optimizer=Frozen, generator=seeded(4)))
    close(state.weights, wanted)


@each_seed
def test_the_average_spoils_a_rate_that_the_proximal_step_bears(seed):
    data, sizes = pairs(200, seed=seed), {"seed": seed, "p": 16, "width": 32}
    rules = (partial(ProximalStep, strength=0.1), partial(MovingAverage, ridge=1e-3, keep=0.95))
    settings = {"batch_size": 40, "optimizer": SGD, "learning_rate": 1.0}
    proximal, average = (
        last(train_last_layer(tanh_backbone(**sizes), data, 200, rule, generator=seeded(seed), **settings))
        for rule in rules
    )
    x, y = data
    assert halved(proximal.predict(x) - y) < 0.6 * halved(average.predict(x) - y)


# --- every rule -----------------------------------------------------------------------------------------------

RULES = {
    "joint": lambda seed: partial(JointLayer, rate_factor=0.5, generator=seeded(seed)),
    "joint, solved first": lambda seed: partial(JointLayer, ridge=0.1, generator=seeded(seed)),
    "gradient step": lambda seed: partial(GradientStep, rate=0.2),
    "gradient step, solved first": lambda seed: partial(GradientStep, rate=0.2, ridge=0.1),
    "through the solve": lambda seed: partial(ThroughSolve, ridge=0.1),
    "moving average": lambda seed: partial(MovingAverage, ridge=0.1, keep=0.8),
}
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def reloaded(saved):
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@each_rule
@pytest.mark.parametrize("optimizer", [momentum, Adam], ids=["momentum", "adam"])
def test_each_rule_resumes_bit_for_bit(rule, optimizer):
    def run(seed, **resume):
        generator = seeded(seed)
        settings = {"batch_size": 12, "optimizer": optimizer, "learning_rate": 0.02, "every": 2, "cosine": True}
        return train(rule(seed), seed, pairs(40), 9, generator=generator, **settings, **resume)

    through, saved = [], None
    for state in run(0):
        through += snapshots([state])
        if state.step == 4:
            saved = reloaded(state.state_dict())
    assert_identical(snapshots(run(7, resume=saved)), through[2:])


@each_rule
@pytest.mark.parametrize("bias", [True, False])
def test_each_rule_learns_and_gives_weights_without_a_graph(rule, bias):
    x, y = pairs(60)
    states = list(train(rule(0), data=(x, y), steps=300, learning_rate=0.02, every=50, bias=bias))
    assert states[-1].loss < 0.2 * halved(y)
    assert states[-1].weights.shape == (6 + bias, 2)
    assert not states[-1].weights.requires_grad
    assert not states[-1].predict(x).requires_grad
    states[-1].weights.numpy()


@each_rule
def test_grid_points_are_rows(rule):
    """A backbone of points gives on a grid what it gives on the points in one column."""
    x, y = normal(5, 4, 2), normal(5, 4, 3, seed=1)
    runs = [
        last(train(rule(0), data=data, steps=3, learning_rate=0.05))
        for data in ((x, y), (x.reshape(20, 2), y.reshape(20, 3)))
    ]
    close(runs[0].weights, runs[1].weights)
    close(runs[0].predict(x).reshape(20, 3), runs[1].predict(x.reshape(20, 2)))


@pytest.mark.parametrize(
    "rule", [RULES["gradient step, solved first"], RULES["moving average"], RULES["through the solve"]]
)
def test_features_of_half_precision_are_solved_for_weights_of_single(rule):
    zeros = torch.zeros(4, 2)
    layer = rule(0)(zeros, 9)
    features, targets = normal(9, 4).bfloat16(), normal(9, 2).bfloat16()
    layer.first(features, targets)
    layer.before(features, targets)
    layer.after(features, targets)
    assert layer.weights.dtype == torch.float32
    assert layer.weights.any()
    assert layer.status == 0


# --- Gauss-Newton: one step -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "q"), [(6, 20), (20, 6), (8, 8)])
@pytest.mark.parametrize("size", [1e-3, 2.0])
def test_both_systems_give_the_step(rows, q, size):
    slopes, residuals = normal(2 * rows, q), normal(rows, 2, seed=1)
    wanted = torch.linalg.inv(slopes.T @ slopes / rows + size * eye(q)) @ slopes.T @ residuals.flatten() / rows
    step, status = gauss_newton_step(slopes, residuals, size)
    close(step, wanted, 1e-8)
    assert status == 0
    close(gauss_newton_step(slopes, residuals, torch.tensor(size, dtype=torch.float64))[0], step)


def start_of(seed: int, p: int, k: int) -> torch.Tensor:
    return JointLayer(torch.zeros(p, k, dtype=torch.float64), 1, generator=seeded(seed)).weights


@pytest.mark.parametrize("n", [4, 40])
@pytest.mark.parametrize("bias", [True, False])
def test_with_features_that_do_not_move_it_is_the_proximal_step(n, bias):
    x, y = normal(n, 5), normal(n, 3, seed=1)
    features = with_bias(x) if bias else x
    state = last(train_gauss_newton(nn.Identity(), (x, y), 1, damping=0.3, bias=bias, generator=seeded(2)))
    start = start_of(2, features.shape[1], 3)
    close(state.weights, proximal_last_layer(features, y, start, 0.3))
    close(state.loss, squared_loss(features, start, y))


def test_one_step_solves_a_linear_problem():
    """Features that are a fixed linear map of what is trained, in both layers' places: here W alone, and any y."""
    x, y = normal(30, 5), normal(30, 2, seed=1)
    fit = with_bias(x) @ torch.linalg.lstsq(with_bias(x), y).solution
    state = last(train_gauss_newton(nn.Identity(), (x, y), 1, damping=1e-10))
    close(state.predict(x), fit, 1e-7)
    half = last(train_gauss_newton(nn.Identity(), (x, y), 1, damping=1e-10, learning_rate=0.5, generator=seeded()))
    start = with_bias(x) @ start_of(0, 6, 2)
    close(half.predict(x), 0.5 * (start + fit), 1e-7)


class Tanh(nn.Module):
    """tanh(slope x), of one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, x):
        return torch.tanh(self.slope * x)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_the_step_of_two_parameters_by_hand(n):
    x, y, backbone = normal(n, 1), normal(n, 1, seed=1), Tanh()
    weight = start_of(3, 1, 1).item()
    inner = torch.tanh(0.7 * x)
    slopes = torch.cat([weight * x * (1 - inner**2), inner], dim=1)
    step = torch.linalg.inv(slopes.T @ slopes / n + 0.1 * eye(2)) @ slopes.T @ (y - weight * inner) / n
    state = last(train_gauss_newton(backbone, (x, y), 1, damping=0.1, bias=False, generator=seeded(3)))
    close(backbone.slope.detach() - 0.7, step[0, 0])
    close(state.weights[0, 0] - weight, step[1, 0])


class Convolution(nn.Module):
    """Curves (b, c, points) -> features of every point (b, points, p)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3, padding=1, dtype=torch.float64)

    def forward(self, x):
        return torch.tanh(self.conv(x)).movedim(1, -1)


@pytest.mark.parametrize(
    ("backbone", "shape"), [(tanh_backbone(), (5, 2)), (Convolution(), (3, 2, 6))], ids=["points", "curves"]
)
@pytest.mark.parametrize("bias", [True, False])
def test_the_jacobian_is_that_of_autograd(backbone, shape, bias):
    x = normal(*shape, seed=5)
    names = ["weights", *(f"backbone.{name}" for name, _ in backbone.named_parameters())]
    p = backbone(x).shape[-1] + bias
    values = [normal(p, 3, seed=6), *(value.detach() for value in backbone.parameters())]

    def network(weights, *parameters):
        own = dict(zip((name for name, _ in backbone.named_parameters()), parameters, strict=True))
        features = torch.func.functional_call(backbone, own, (x,)).flatten(0, -2)
        return (with_bias(features) if bias else features) @ weights

    slopes, outputs = jacobian(backbone, dict(zip(names, values, strict=True)), x, bias)
    wanted = torch.autograd.functional.jacobian(network, tuple(values))
    close(outputs, network(*values))
    close(slopes, torch.cat([part.reshape(outputs.numel(), -1) for part in wanted], dim=1))


# --- Gauss-Newton: training -----------------------------------------------------------------------------------


def by_hand(data, steps: int, damping: float, seed: int = 0, adapt: bool = False, rate: float = 1.0):
    """Levenberg and Marquardt's loop on one flat vector: (losses, vector, dampings, how often a step was refused)."""
    (x, y), backbone = data, tanh_backbone(seed=seed)
    shapes = {name: value.shape for name, value in backbone.named_parameters()}
    flat = torch.cat([*(value.detach().flatten() for value in backbone.parameters()), start_of(seed, 7, 2).flatten()])

    def network(flat):
        pieces = flat.split([*(shape.numel() for shape in shapes.values()), 14])
        own = {name: piece.view(shape) for (name, shape), piece in zip(shapes.items(), pieces)}
        return with_bias(torch.func.functional_call(backbone, own, (x,))) @ pieces[-1].view(7, 2)

    losses, dampings, refused = [], [], 0
    for _ in range(steps):
        slopes = torch.autograd.functional.jacobian(network, flat).flatten(0, 1)
        residuals = (y - network(flat)).flatten()
        losses.append(residuals.square().sum() / (2 * len(x)))
        moment = slopes.T @ slopes / len(x) + damping * eye(len(flat))
        step = rate * torch.linalg.solve(moment, slopes.T @ residuals / len(x))
        if adapt:
            promised = losses[-1] - (residuals - slopes @ step).square().sum() / (2 * len(x))
            gain = (losses[-1] - halved(network(flat + step) - y)) / promised
            dampings.append(damping)
            if gain > 0.75:
                damping /= 3
            elif gain < 0.25:
                damping *= 2
            if gain <= 0:
                refused += 1
                continue
        flat = flat + step
    return losses, flat, dampings, refused


@pytest.mark.parametrize("n", [10, 80])
def test_constant_damping_by_hand(n):
    losses, flat, *_ = by_hand(pairs(n), 5, 0.05)
    ours = snapshots(train_gauss_newton(tanh_backbone(), pairs(n), 5, damping=0.05, every=1, generator=seeded()))
    close(torch.stack([loss for _, loss, *_ in ours]), torch.stack(losses), 1e-8)
    close(torch.cat([ours[-1][3], ours[-1][2].flatten()]), flat, 1e-8)


@pytest.mark.parametrize(("n", "damping", "rate"), [(10, 1e-5, 1.0), (80, 1e-4, 1.0), (80, 1.0, 1.0), (80, 1.0, 0.5)])
def test_adapted_damping_by_hand(n, damping, rate):
    losses, flat, dampings, refused = by_hand(pairs(n), 12, damping, adapt=True, rate=rate)
    assert max(dampings) > min(dampings)
    states = train_gauss_newton(
        tanh_backbone(), pairs(n), 12, damping=damping, adapt=True, learning_rate=rate, every=1, generator=seeded()
    )
    ours, found = [], [damping]
    for state in states:
        ours += snapshots([state])
        found.append(state.state_dict()["damped layer"]["damping"].item())
    assert found[:-1] == pytest.approx(dampings, rel=1e-6)
    close(torch.stack([loss for _, loss, *_ in ours]), torch.stack(losses), 1e-6)
    close(torch.cat([ours[-1][3], ours[-1][2].flatten()]), flat, 1e-5)
    if damping < 1:
        assert refused > 0


@each_seed
def test_adapted_steps_on_all_data_never_raise_the_loss(seed):
    settings = {"damping": 1e-6, "every": 1, "generator": seeded(seed)}
    states = train_gauss_newton(tanh_backbone(seed=seed), pairs(40, seed=seed), 40, adapt=True, **settings)
    losses = [state.loss.item() for state in states]
    assert all(after <= before for before, after in itertools.pairwise(losses))
    assert losses[-1] < 0.5 * losses[0]


def test_damping_means_the_same_for_every_number_of_rows():
    x, y = pairs(15)
    runs = [
        last(train_gauss_newton(tanh_backbone(), data, 3, damping=0.1, generator=seeded()))
        for data in ((x, y), (x.repeat(3, 1), y.repeat(3, 1)))
    ]
    close(runs[0].weights, runs[1].weights, 1e-8)
    close(weights_of(runs[0].backbone), weights_of(runs[1].backbone), 1e-8)


@each_seed
def test_thirty_steps_do_what_two_hundred_of_adam_do_not(seed):
    """On a small smooth problem and all of its data, in steps: a step costs far more."""
    data, sizes = pairs(60, seed=seed), {"seed": seed, "p": 16, "width": 16}
    newton = train_gauss_newton(tanh_backbone(**sizes), data, 30, adapt=True, generator=seeded(seed))
    rule = partial(JointLayer, generator=seeded(seed))
    adam = [
        last(train_last_layer(tanh_backbone(**sizes), data, 200, rule, learning_rate=rate)).loss
        for rate in (3e-3, 1e-2, 3e-2)
    ]
    assert last(newton).loss < 0.5 * min(adam)


@pytest.mark.parametrize("adapt", [True, False])
def test_gauss_newton_resumes_bit_for_bit(adapt):
    def run(seed, **resume):
        settings = {"batch_size": 12, "damping": 0.1, "adapt": adapt, "every": 2, "generator": seeded(seed)}
        return train_gauss_newton(tanh_backbone(seed=seed), pairs(40), 9, **settings, **resume)

    through, saved = [], None
    for state in run(0):
        through += snapshots([state])
        if state.step == 4:
            saved = reloaded(state.state_dict())
    assert [step for step, *_ in through] == [2, 4, 6, 8, 9]
    assert_identical(snapshots(run(7, resume=saved)), through[2:])


def test_batches_are_drawn_from_a_tensor_or_a_callable():
    x, y = pairs(40)

    def draw(n, generator):
        rows = torch.randint(40, (n,), generator=generator)
        return x[rows], y[rows]

    settings = {"batch_size": 6, "damping": 0.1}
    found = last(train_gauss_newton(tanh_backbone(), (x, y), 4, generator=seeded(), **settings))
    other = last(train_gauss_newton(tanh_backbone(), (x, y), 4, generator=seeded(1), **settings))
    assert not torch.equal(found.weights, other.weights)
    asked = []
    called = train_gauss_newton(
        tanh_backbone(), lambda n, generator: asked.append(n) or draw(n, generator), 4, generator=seeded(), **settings
    )
    assert last(called).loss.isfinite()
    assert asked[-4:] == [6] * 4


def test_parameters_that_are_frozen_stay():
    backbone = tanh_backbone()
    first = backbone[0][0].weight.requires_grad_(False)
    before, others = first.clone(), backbone[0][2].weight.clone()
    last(train_gauss_newton(backbone, pairs(), 3, damping=0.1))
    assert torch.equal(first, before)
    assert not torch.equal(backbone[0][2].weight, others)
    assert all(value.grad is None for value in backbone.parameters())


def test_gauss_newton_trains_and_leaves_the_backbone_ready_for_use():
    backbone, modes = tanh_backbone().eval(), []
    backbone.register_forward_hook(lambda module, *_: modes.append(module.training))
    states = train_gauss_newton(backbone, pairs(), 3, damping=0.1, every=1)
    modes.clear()
    next(states)
    assert all(modes)
    assert len(modes) > 0
    state = last(states)
    assert not backbone.training
    assert not state.weights.requires_grad
    assert not state.predict(pairs()[0]).requires_grad


def equal_rows(dtype: torch.dtype = torch.float32):
    """Rows that are all alike: a system of rank one, which only damping makes regular."""
    return torch.ones(30, 2, dtype=dtype), torch.ones(30, 2, dtype=dtype)


def test_a_system_that_cannot_be_solved_is_told():
    backbone = tanh_backbone().float()
    with pytest.raises(torch.linalg.LinAlgError, match=SINGULAR):
        last(train_gauss_newton(backbone, equal_rows(), 3, damping=1e-12))


def test_adapted_damping_goes_up_where_the_system_cannot_be_solved():
    backbone = tanh_backbone().float()
    states = train_gauss_newton(backbone, equal_rows(), 60, damping=1e-10, adapt=True, every=1, generator=seeded())
    found = [(state.loss.item(), state.state_dict()["damped layer"]["damping"].item()) for state in states]
    assert found[0][1] == pytest.approx(2e-10)
    assert found[0][0] == found[1][0]
    assert found[-1][0] < 1e-6 * found[0][0]


@pytest.mark.parametrize("adapt", [True, False])
def test_data_that_are_not_finite_are_told(adapt):
    x, y = pairs()
    y[3, 0] = math.nan
    x[4, 1] = math.nan
    with pytest.raises(torch.linalg.LinAlgError, match=SINGULAR):
        last(train_gauss_newton(tanh_backbone(), (x, y), 3, damping=0.1, adapt=adapt))


# --- the first layer ------------------------------------------------------------------------------------------


def gradients(layer, x, slope):
    x = x.clone().requires_grad_()
    outputs = layer(x)
    wanted = [x, *layer.parameters()]
    return outputs, dict(zip(["x", "weight", "bias"], torch.autograd.grad(outputs, wanted, slope)))


@pytest.mark.parametrize("shape", [(30, 4), (3, 4), (5, 6, 4), (4, 4), (2, 3, 2, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_only_the_gradient_of_the_weight_changes_and_to_the_formula(shape, bias):
    torch.manual_seed(0)
    linear = nn.Linear(4, 3, bias=bias).double()
    x, slope = normal(*shape), normal(*shape[:-1], 3, seed=1)
    outputs, usual = gradients(linear, x, slope)
    ours, solved = gradients(SolvedFirst(linear, 0.2), x, slope)
    assert torch.equal(ours, outputs)
    rows = x.reshape(-1, 4)
    close(solved["weight"], usual["weight"] @ torch.linalg.inv(rows.T @ rows / len(rows) + 0.2 * eye(4)), 1e-8)
    for name in usual.keys() - {"weight"}:
        close(solved[name], usual[name])
    assert usual.keys() == solved.keys()


@given(n=st.integers(1, 9), inputs=st.integers(1, 9), power=st.floats(-2, 2), seed=st.integers(0, 999))
def test_it_is_the_damped_fit_of_a_step_of_the_outputs(n, inputs, power, seed):
    """-gradient of W minimises |X D' + n G|^2 / n + damping |D|^2: its slope in D is 0."""
    x, slope, damping = normal(n, inputs, seed=seed), normal(n, 2, seed=seed + 1), 10**power
    linear = nn.Linear(inputs, 2).double()
    _, found = gradients(SolvedFirst(linear, damping), x, slope)
    change = (-found["weight"]).requires_grad_()
    misfit = (x @ change.T + n * slope).square().sum() / n + damping * change.square().sum()
    (flat,) = torch.autograd.grad(misfit, change)
    assert flat.norm() < 1e-8 * (1 + misfit.detach())


def test_where_the_layer_can_the_outputs_move_as_if_they_were_parameters():
    x, slope = normal(3, 8), normal(3, 5, seed=1)
    _, found = gradients(SolvedFirst(nn.Linear(8, 5, bias=False).double(), 1e-10), x, slope)
    close(x @ found["weight"].T, 3 * slope, 1e-6)


def test_large_damping_is_the_usual_gradient_over_it():
    torch.manual_seed(0)
    linear, x, slope = nn.Linear(4, 3).double(), normal(30, 4), normal(30, 3, seed=1)
    usual, solved = (gradients(layer, x, slope)[1]["weight"] for layer in (linear, SolvedFirst(linear, 1e8)))
    close(1e8 * solved, usual, 1e-6)


def test_one_step_of_rate_one_solves_a_linear_problem():
    """The outputs' step lands on the targets, and the weight's fit to it is least squares."""
    x, y = normal(30, 4), normal(30, 2, seed=1)
    layer = SolvedFirst(nn.Linear(4, 2, bias=False).double(), 1e-10)
    halved(layer(x) - y).backward()
    SGD(layer.parameters(), lr=1.0).step()
    close(layer.weight.detach().T, torch.linalg.lstsq(x, y).solution, 1e-7)


@each_seed
def test_inputs_may_be_mixed(seed):
    """Without damping a layer of mixed inputs, with the mixing undone in its weight, learns the same. A usual one does not."""
    (x, y), mixing = pairs(30, seed=seed), normal(2, 2, seed=seed + 9) + 2 * eye(2)

    def run(mixed: bool, solved: bool):
        backbone = tanh_backbone(seed=seed)
        inputs = x
        if mixed:
            inputs = x @ mixing
            first = backbone[0][0]
            first.weight.data = torch.linalg.solve(mixing, first.weight.data.T).T.contiguous()
        if solved:
            solve_first_layer(backbone, damping=1e-10)
        rule = partial(JointLayer, generator=seeded(seed))
        states = train_last_layer(backbone, (inputs, y), 20, rule, optimizer=SGD, learning_rate=0.1, every=1)
        return torch.stack([state.loss for state in states])

    close(run(True, True), run(False, True), 1e-6)
    assert (run(True, False) - run(False, False)).abs().max() > 1e-3


def test_the_first_layer_is_the_first_however_deep_it_sits():
    backbone = nn.Sequential(nn.Tanh(), nn.Sequential(MLP(2, 5), nn.Tanh()), nn.Linear(5, 6))
    names, parameters = list(backbone.state_dict()), list(backbone.parameters())
    assert solve_first_layer(backbone, 0.5) is backbone
    assert isinstance(backbone[1][0][0], SolvedFirst)
    assert backbone[1][0][0].damping == 0.5
    assert sum(isinstance(part, SolvedFirst) for part in backbone.modules()) == 1
    assert list(backbone.state_dict()) == names
    assert all(ours is theirs for ours, theirs in zip(backbone.parameters(), parameters, strict=True))
    alone = nn.Linear(3, 2)
    assert solve_first_layer(alone).weight is alone.weight


def test_inputs_that_are_not_finite_give_no_gradient():
    x = normal(30, 4)
    x[2, 1] = math.inf
    _, found = gradients(SolvedFirst(nn.Linear(4, 3).double()), x, normal(30, 3))
    assert found["weight"].isnan().all()


def test_nor_do_inputs_that_lose_the_damping():
    x, linear = torch.full((30, 4), 1e4), nn.Linear(4, 3)
    _, found = gradients(SolvedFirst(linear, 1e-6), x, torch.ones(30, 3))
    assert found["weight"].isnan().all()
    _, found = gradients(SolvedFirst(linear, 1e4), x, torch.ones(30, 3))
    assert found["weight"].isfinite().all()


@each_rule
def test_it_goes_with_every_rule_of_the_last_layer(rule):
    backbone = solve_first_layer(tanh_backbone())
    x, y = pairs(60)
    state = last(train_last_layer(backbone, (x, y), 300, rule(0), learning_rate=0.02))
    assert state.loss < 0.2 * halved(y)


@pytest.mark.slow
@each_seed
def test_it_learns_faster_where_inputs_are_lopsided(seed):
    """One input has 30 times the spread of the other, which matters as much: SGD, the best rate of each."""
    (x, y), spread = pairs(60, seed=seed), torch.tensor([1.0, 1 / 30], dtype=torch.float64)

    def run(solved: bool, rate: float) -> float:
        backbone = tanh_backbone(seed=seed)
        if solved:
            solve_first_layer(backbone, damping=1e-4)
        rule = partial(JointLayer, generator=seeded(seed))
        states = train_last_layer(backbone, (x * spread, y), 200, rule, optimizer=SGD, learning_rate=rate)
        loss = last(states).loss.item()
        return loss if math.isfinite(loss) else math.inf

    rates = (0.1, 0.3, 1.0)
    usual, solved = (min(run(kind, rate) for rate in rates) for kind in (False, True))
    assert solved < 0.8 * usual
