"""What soft reset is compared with: each step by hand, penalties by autograd, what noise does in the long run, and that a
silent neuron can be drawn anew without a change of what the network says.

Seeds are fixed, numbers are compared in double precision.
"""

import copy
import math

import pytest
import torch
from agree import close, normal, seeded
from torch import nn

from companion.foundations.stacks import StackedMLP, cross_entropy
from companion.methods.rivals.plasticity import (
    DormantReset,
    HardReset,
    L2Init,
    OnlineSGD,
    ShrinkAndPerturb,
    SpectralRegularisation,
)
from companion.methods.soft_reset import initial_std

DOUBLE = {"dtype": torch.float64}
CLASSES = 4
each_shape = pytest.mark.parametrize("runs", [None, 3])


def network(runs: int | None = None, seed: int = 0, width: int = 6, depth: int = 2, **settings) -> StackedMLP:
    """Its biases are not 0, as they would be at the start of a life."""
    model = StackedMLP(runs, 3, CLASSES, width, depth, generator=seeded(seed), **DOUBLE, **settings)
    for place, layer in enumerate(model.layers):
        layer.bias.data = 0.3 * normal(*layer.bias.shape, seed=seed + place)
    return model


def batch_of(runs: int | None = None, seed: int = 0, b: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    lead = () if runs is None else (runs,)
    return normal(*lead, b, 3, seed=seed), torch.randint(CLASSES, (*lead, b), generator=seeded(seed))


def slope_of(model, batch, penalty=None) -> torch.Tensor:
    """Of the mean loss of each run and what is added to it, in one row for each."""
    loss = cross_entropy(model, batch).mean(-1).sum()
    if penalty is not None:
        loss = loss + penalty(model).sum()
    parts = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([part.flatten(0 if model.runs is None else 1) for part in parts], -1)


def without_loss(model, batch):
    """A loss without a slope."""
    return 0 * cross_entropy(model, batch)


# --- gradient descent ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("updates", [1, 3])
def test_gradient_descent_is_that_of_torch(updates):
    ours, model = OnlineSGD(network(), 0.4, updates=updates), network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.4)
    for seed in range(5):
        ours.step(cross_entropy, batch_of(seed=seed))
        for _ in range(updates):
            optimizer.zero_grad()
            cross_entropy(model, batch_of(seed=seed)).mean().backward()
            optimizer.step()
        close(ours.theta, nn.utils.parameters_to_vector(model.parameters()).detach(), 1e-15)


@each_shape
@pytest.mark.parametrize("updates", [1, 2])
def test_a_pull_to_the_start_by_hand(runs, updates):
    """theta - lr (slope of L + strength / 2 ||theta - theta_0||^2), with a strength for each run."""
    model = network(runs)
    strength = 0.7 if runs is None else torch.tensor([0.7, 0.0, 2.0], **DOUBLE)
    column = strength if runs is None else strength[:, None]
    trainer = L2Init(model, 0.3, strength, updates=updates, runs=runs)
    start = trainer.theta.clone()
    for seed in range(4):
        batch = batch_of(runs, seed)
        hand = copy.deepcopy(model)
        theta = trainer.theta.clone()
        for _ in range(updates):
            theta = theta - 0.3 * (slope_of(hand, batch) + column * (theta - start))
            parts = theta.split(trainer.sizes, -1)
            for each, part in zip(hand.parameters(), parts, strict=True):
                each.data = part.reshape(each.shape)
        trainer.step(cross_entropy, batch)
        close(trainer.theta, theta, 1e-13)
    assert (trainer.theta - start).norm() > 0.1


def test_a_pull_alone_leads_back_to_the_start():
    trainer = L2Init(network(), 0.5, 1.0)
    start = trainer.theta.clone()
    trainer.theta.add_(normal(len(start)))
    away = (trainer.theta - start).norm()
    for _ in range(3):
        trainer.step(without_loss, batch_of())
    close((trainer.theta - start).norm(), away / 8, 1e-12)


# --- shrink and perturb -------------------------------------------------------------------------------------------


@each_shape
@pytest.mark.parametrize("updates", [1, 2])
def test_shrink_and_perturb_by_hand(runs, updates):
    """Once for each batch, after its gradient steps, by the widths of the initialisation."""
    model = network(runs)
    shrink, perturb = (0.9, 0.2) if runs is None else (torch.tensor([0.9, 1.0, 0.5], **DOUBLE), 0.2)
    stds = [
        std.expand_as(each) for std, each in zip(initial_std(model, runs).values(), model.parameters(), strict=True)
    ]
    widths = torch.cat([std.flatten(0 if runs is None else 1) for std in stds], -1)
    plain = OnlineSGD(copy.deepcopy(model), 0.3, updates=updates, runs=runs)
    trainer = ShrinkAndPerturb(model, 0.3, shrink, perturb, updates=updates, runs=runs, generator=seeded(4))
    draws, column = seeded(4), shrink if runs is None else shrink[:, None]
    for seed in range(3):
        plain.step(cross_entropy, batch_of(runs, seed))
        plain.theta.copy_(column * plain.theta + 0.2 * widths * torch.randn(widths.shape, generator=draws, **DOUBLE))
        trainer.step(cross_entropy, batch_of(runs, seed))
        close(trainer.theta, plain.theta, 1e-13)


def test_in_the_long_run_noise_and_shrinking_balance():
    """Without a slope theta becomes N(0, (perturb init_std)^2 / (1 - shrink^2))."""
    model = StackedMLP(None, 3, CLASSES, 60, 2, generator=seeded(), **DOUBLE)
    trainer = ShrinkAndPerturb(model, 0.3, 0.8, 0.5, generator=seeded(1))
    stds = initial_std(model)
    widths = torch.cat([stds[name].expand_as(each).flatten() for name, each in model.named_parameters()])
    for _ in range(60):
        trainer.after(batch_of())
    standard = trainer.theta / (0.5 * widths / math.sqrt(1 - 0.8**2))
    n = len(standard)
    assert standard.mean().abs() < 4 / n**0.5
    assert (standard.square().mean() - 1).abs() < 4 * (2 / n) ** 0.5


def test_nothing_shrunk_and_nothing_perturbed_is_gradient_descent():
    ours, plain = ShrinkAndPerturb(network(), 0.3, 1, 0, generator=seeded()), OnlineSGD(network(), 0.3)
    for seed in range(3):
        for trainer in (ours, plain):
            trainer.step(cross_entropy, batch_of(seed=seed))
    assert torch.equal(ours.theta, plain.theta)


# --- hard reset ---------------------------------------------------------------------------------------------------


@each_shape
def test_a_hard_reset_draws_everything_anew_and_goes_on_learning(runs):
    trainer, plain = (
        kind(network(runs, width=40), 0.3, runs=runs, generator=seeded(5)) for kind in (HardReset, OnlineSGD)
    )
    for seed in range(3):
        for each in (trainer, plain):
            each.step(cross_entropy, batch_of(runs, seed))
    assert torch.equal(trainer.theta, plain.theta)  # nothing happens by itself
    ends = []
    for _ in range(2):
        before = trainer.theta.clone()
        trainer.boundary()
        ends.append(trainer.theta.clone())
        assert torch.equal(trainer.theta, trainer.flat([each.detach() for each in trainer.model.parameters()]))
        for layer, old, variance in zip(
            trainer.model.layers, trainer.split(before)[::2], (2 / 3, 2 / 40, 1 / 40), strict=True
        ):
            weight, n = layer.weight.detach(), layer.weight.numel()
            assert not bool((weight == old.view(weight.shape)).any())
            assert not layer.bias.any()
            assert (weight.square().mean() / variance - 1).abs() < 5 * (2 / n) ** 0.5
            assert weight.mean().abs() < 5 * (variance / n) ** 0.5
    assert not torch.equal(*ends)
    again = HardReset(network(runs, width=40), 0.3, runs=runs, generator=seeded(5))
    again.boundary()
    assert torch.equal(again.theta, ends[0])
    trainer.step(cross_entropy, batch_of(runs))
    assert not torch.equal(trainer.theta, ends[1])


def test_a_hard_reset_of_one_network_is_a_fresh_network():
    trainer = HardReset(network(), 0.3, generator=seeded(5))
    trainer.boundary()
    fresh = StackedMLP(None, 3, CLASSES, 6, generator=seeded(5), **DOUBLE)
    for each, wanted in zip(trainer.model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(each, wanted)


# --- spectral regularisation --------------------------------------------------------------------------------------


def spectral_penalty(model) -> torch.Tensor:
    """Exactly, by singular values."""
    total = 0
    for layer in model.layers:
        sigma = torch.linalg.matrix_norm(layer.weight, ord=2)
        total = total + (sigma.square() - 1).square() + layer.bias.square().sum(-1).square()
    return total


@each_shape
def test_the_spectral_slope_is_that_of_the_largest_singular_values(runs):
    model = network(runs)
    strength = 0.1 if runs is None else torch.tensor([0.1, 0.0, 0.7], **DOUBLE)
    trainer = SpectralRegularisation(model, 0.3, strength, runs=runs, generator=seeded())
    for _ in range(2000):
        found = trainer.penalty()
    column = strength if runs is None else strength[:, None]
    exact = slope_of(model, batch_of(runs), spectral_penalty) - slope_of(model, batch_of(runs))
    close(found, column * exact, 1e-9)
    assert exact.norm() > 1


def test_a_spectral_step_by_hand():
    """The power iteration goes on by one step with each update."""
    trainer = SpectralRegularisation(network(), 0.3, 0.05, updates=2, generator=seeded(2))
    draws, rights = seeded(2), []
    for layer in trainer.model.layers:
        right = torch.randn(layer.weight.shape[1], generator=draws, **DOUBLE)
        rights.append(right / right.norm())
    for seed in range(3):
        hand, batch = copy.deepcopy(trainer.model), batch_of(seed=seed)
        for _ in range(2):
            slopes = slope_of(hand, batch).split(trainer.sizes)
            for place, layer in enumerate(hand.layers):
                weight, bias = layer.weight.data, layer.bias.data
                left = weight @ rights[place]
                left = left / left.norm()
                sigma = (weight.T @ left).norm()
                rights[place] = weight.T @ left / sigma
                pull = 4 * (sigma**2 - 1) * sigma * torch.outer(left, rights[place])
                layer.weight.data = weight - 0.3 * (slopes[2 * place].view_as(weight) + 0.05 * pull)
                layer.bias.data = bias - 0.3 * (slopes[2 * place + 1] + 0.05 * 4 * bias.square().sum() * bias)
        trainer.step(cross_entropy, batch)
        for own, each in zip(trainer.model.parameters(), hand.parameters(), strict=True):
            close(own, each, 1e-12)


def test_the_penalty_alone_leads_to_singular_values_of_1_and_no_biases():
    model = network()
    trainer = SpectralRegularisation(model, 0.05, 1.0, generator=seeded())
    before = spectral_penalty(model).item()
    for _ in range(1500):
        trainer.learn(without_loss, batch_of())
    assert before > 1
    assert spectral_penalty(model).item() < 1e-3
    for layer in model.layers:
        close(torch.linalg.svdvals(layer.weight.detach())[0], torch.ones((), **DOUBLE), 1e-2)


# --- neurons that went silent -------------------------------------------------------------------------------------


def silence(model: StackedMLP, place: int, neuron: int, run=...) -> None:
    """A neuron that never speaks for inputs of a usual size."""
    with torch.no_grad():
        model.layers[place].bias[run, neuron] = -1e3


@pytest.mark.parametrize("threshold", [0, 0.05])
def test_a_dead_neuron_starts_anew_and_the_network_says_what_it_said(threshold):
    model, x = network(width=9), normal(200, 3, seed=5)
    for layer, more in zip(model.layers, (1, 8), strict=False):
        layer.bias.data += more  # all others speak
    silence(model, 0, 4)
    silence(model, 1, 2)
    for activations, neuron in zip(model.activations(x), (4, 2), strict=False):
        assert (activations.mean(0) <= threshold * activations.mean()).nonzero().tolist() == [[neuron]]
    before, said = copy.deepcopy(model), model(x)
    trainer = DormantReset(model, 0, threshold, period=1, generator=seeded(8))
    trainer.step(cross_entropy, (x, torch.zeros(200, dtype=torch.long)))
    first, second, last = model.layers
    draws = seeded(8)
    fresh = [torch.randn(each.weight.shape, generator=draws, **DOUBLE) for each in (first, second)]
    close(first.weight[4], math.sqrt(2 / 3) * fresh[0][4], 1e-14)
    close(second.weight[2, torch.arange(9) != 4], math.sqrt(2 / 9) * fresh[1][2, torch.arange(9) != 4], 1e-14)
    assert first.bias[4] == second.bias[2] == 0
    assert not second.weight[torch.arange(9) != 2, 4].any()  # the other one was drawn, and is not heard
    assert not last.weight[:, 2].any()
    close(model(x), said, 1e-12)
    for layer, old, incoming, outgoing in zip(model.layers, before.layers, (4, 2, None), (None, 4, 2), strict=True):
        rows = torch.arange(len(layer.weight)) != (-1 if incoming is None else incoming)
        columns = torch.arange(layer.weight.shape[1]) != (-1 if outgoing is None else outgoing)
        assert torch.equal(layer.weight[rows][:, columns], old.weight[rows][:, columns])
        assert torch.equal(layer.bias[rows], old.bias[rows])
    assert bool((model.activations(x)[0][:, 4] > 0).any())  # it speaks again


@pytest.mark.parametrize("threshold", [0.1, 0.5, 1.0])
def test_silent_is_who_speaks_less_than_a_part_of_the_mean_of_the_layer(threshold):
    model = network(width=12)
    x, labels = batch_of(b=50)
    wanted = []
    for activations in model.activations(x)[:-1]:
        mean = activations.detach().mean(0)
        wanted.append(mean <= threshold * mean.mean())
    DormantReset(model, 0, threshold, period=1, generator=seeded()).step(cross_entropy, (x, labels))
    heard = [~wanted[1], slice(None)]  # a silent neuron of the next layer is drawn anew, with all that leads to it
    for silent, rows, layer in zip(wanted, heard, list(model.layers)[1:], strict=True):
        assert torch.equal((layer.weight[rows] == 0).all(0), silent)
    assert 0 < sum(silent.sum() for silent in wanted) < 24


def test_what_a_batch_does_not_wake_is_judged_after_the_gradient_step():
    """A look at the network as the batch has left it."""
    seen = []

    class Seen(DormantReset):
        def after(self, batch):
            seen.append(self.theta.clone())
            super().after(batch)

    trainer, plain = Seen(network(), 0.3, 0, 1, generator=seeded()), OnlineSGD(network(), 0.3)
    trainer.step(cross_entropy, batch_of())
    plain.step(cross_entropy, batch_of())
    assert torch.equal(seen[0], plain.theta)


def test_each_run_of_a_stack_has_its_own_silent_neurons_and_threshold():
    model = network(3, width=9, depth=1)
    silence(model, 0, 4, run=1)
    x = normal(3, 200, 3, seed=5) * torch.tensor([100.0, 1, 1], **DOUBLE)[:, None, None]  # each has its own mean
    mean = model.activations(x)[0].detach().mean(-2)
    thresholds = torch.tensor([0.0, 0.0, 0.6], **DOUBLE)
    wanted = mean <= thresholds[:, None] * mean.mean(-1, keepdim=True)
    assert wanted[1].tolist() == [place == 4 for place in range(9)]
    assert wanted[2].any()
    trainer = DormantReset(model, 0, thresholds, 1, runs=3, generator=seeded())
    trainer.step(cross_entropy, (x, torch.zeros(3, 200, dtype=torch.long)))
    assert torch.equal((model.layers[1].weight == 0).all(1), wanted)
    assert not model.layers[0].bias[wanted].any()


def test_it_looks_once_in_a_period():
    model = network(width=9)
    trainer = DormantReset(model, 0, 0, period=3, generator=seeded())
    for step in range(1, 8):
        silence(model, 0, 4)
        trainer.step(cross_entropy, batch_of())
        assert (model.layers[0].bias[4] == 0) == (step % 3 == 0)


def test_who_speaks_is_left_alone():
    ours, plain = DormantReset(network(), 0.3, 0, 1, generator=seeded()), OnlineSGD(network(), 0.3)
    x, labels = batch_of(b=300)
    assert all(bool((each > 0).any(0).all()) for each in plain.model.activations(x)[:-1])
    for trainer in (ours, plain):
        trainer.step(cross_entropy, (x, labels))
    assert torch.equal(ours.theta, plain.theta)
