"""Rows of lesson 07: what a step of soft reset costs over one of gradient descent, and many runs in a stack over one by one.

The scoring pass is left out on both sides: whoever streams makes it anyway. A step of soft reset takes two gradients. On the
small perceptron what counts is the number of operations, each with its fixed cost, more than their size: a step is 160 of
them, 124 for the gradients, against 68 of descent. So a ratio of 2.2 holds for images, and not there.
"""

import functools
from collections.abc import Callable

import torch
from torch import nn

from companion.foundations.stacks import StackedMLP, cross_entropy
from companion.methods.rivals.plasticity import OnlineSGD
from companion.methods.soft_reset import BayesianSoftReset, SoftReset
from tests.benchmarks.measure import Result, Row, compare_times

STEPS = 20


def perceptron() -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    """The lesson's network and a batch of its stream."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), batch(16, 64)


def convolutional() -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    """A network of 28,000 weights for images of 28x28, and 64 of them."""
    layers = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1600, 10)), batch(64, 1, 28, 28)


def batch(size: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, *shape, generator=generator), torch.randint(10, (size,), generator=generator)


def descent(make: Callable) -> Callable:
    """Steps of torch's own SGD."""
    model, data = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def run():
        for _ in range(STEPS):
            optimizer.zero_grad()
            cross_entropy(model, data).mean().backward()
            optimizer.step()

    return run


def soft(make: Callable, sort: type[SoftReset] = SoftReset, **options) -> Callable:
    model, data = make()
    trainer = sort(model, lr=1e-3, drift_lr=1e-4, **options)

    def run():
        for _ in range(STEPS):
            trainer.learn(cross_entropy, data)

    return run


def compare_step(make: Callable, sort: type[SoftReset] = SoftReset, **options) -> Result:
    return compare_times(soft(make, sort, **options), descent(make))


def compare_stack(runs: int) -> Result:
    """Soft reset of so many networks, in one stack and one after the other."""
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(runs, 16, 64, generator=generator), torch.randint(10, (runs, 16), generator=generator)
    stacked = SoftReset(StackedMLP(runs, 64, 10, generator=generator), 1e-3, 1e-4, runs=runs)
    singles = [SoftReset(StackedMLP(None, 64, 10, generator=generator), 1e-3, 1e-4) for _ in range(runs)]

    def one_by_one():
        for place, trainer in enumerate(singles):
            trainer.learn(cross_entropy, (x[place], labels[place]))

    return compare_times(lambda: stacked.learn(cross_entropy, (x, labels)), one_by_one)


def compare_with_sgd_class() -> Result:
    """Our plain descent on one vector of parameters against torch's own."""
    model, data = perceptron()
    trainer = OnlineSGD(model, 1e-3)

    def run():
        for _ in range(STEPS):
            trainer.learn(cross_entropy, data)

    return compare_times(run, descent(perceptron))


def rows() -> list[Row]:
    small, images = "perceptron 64-64-64-10, batch of 16", "convolutions 32 and 64 on 28x28, batch of 64"
    sgd = "torch.optim.SGD"
    part = functools.partial
    return [
        Row("soft-step-images", f"learning step of soft reset, one sample for γ, {images}, time", sgd,
            part(compare_step, convolutional), "ratio at most 2.2"),
        Row("soft-step", f"learning step of soft reset, one sample for γ, {small}, time", sgd,
            part(compare_step, perceptron), "about 2.35: 160 operations against 68"),
        Row("soft-step-mean", f"the same without noise, {small}, time", sgd,
            part(compare_step, perceptron, samples=0), "more work: two gradients, not one"),
        Row("soft-step-proximal", f"proximal step, three updates, {small}, time", sgd,
            part(compare_step, perceptron, update_steps=3), "about 4"),
        Row("soft-step-bayesian", f"Bayesian step, {small}, time", sgd,
            part(compare_step, perceptron, BayesianSoftReset), "more work: a width for each weight, two gradients"),
        Row("soft-sgd", f"our plain step on one vector of parameters, {small}, time", sgd, compare_with_sgd_class,
            "about 1"),
        Row("soft-stack", "a step of soft reset of 32 networks, one stack, time", "our trainers, one by one",
            part(compare_stack, 32), "ratio at most 0.5"),
    ]  # fmt: skip
