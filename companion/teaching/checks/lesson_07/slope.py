"""Exercise 07.3: the slope of gamma, from the gradient that a batch has anyway, and the step that gamma takes."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from companion.methods.soft_reset import StackedMLP, cross_entropy
from companion.teaching.checks.answers import (
    DOUBLE,
    NotYet,
    StudentFunction,
    describe,
    expect,
    expect_close,
    normal,
    read_function,
    read_number,
    read_parts,
    uniform,
)
from companion.teaching.checks.framework import exercise

SLOPE, NEXT = "gamma_slope(gradients, thetas, init_means, batch_size)", "next_gamma(slope, drift_lr)"
Layers = list[list[Tensor]]  # for each layer its tensors, such as a weight and a bias
Case = tuple[Layers, Layers, Layers, int]
SIZES = (((5, 3), (5,)), ((4, 5), (4,)), ((2, 4),))


class Slopes:
    """The student's slope of each layer's gamma, and their step of a gamma."""

    def __init__(self, slope: StudentFunction, next_gamma: StudentFunction) -> None:
        self._slope, self._next_gamma = slope, next_gamma

    def __call__(self, gradients: Layers, thetas: Layers, init_means: Layers, batch_size: int) -> list[float]:
        given = [copied(layers) for layers in (gradients, thetas, init_means)]
        value = self._slope(*given, batch_size)
        for name, layers, before in zip(self._slope.arguments, given, (gradients, thetas, init_means)):
            if not all(torch.equal(a, b) for pair in zip(layers, before) for a, b in zip(*pair)):
                words = "which the step that follows needs as they are. Make new tensors instead."
                raise NotYet(f"gamma_slope changes {name}, {words}", "inputs untouched")
        if isinstance(value, Tensor | np.ndarray) and value.ndim == 1:
            value = value.tolist()
        count = len(thetas)
        if not isinstance(value, list | tuple) or len(value) != count:
            came = f"{len(value)} things" if isinstance(value, list | tuple) else describe(value)
            words = f"for {count} layers, with {sum(map(len, thetas))} tensors in all, {SLOPE} gave {came}"
            raise NotYet(f"Return a list with one number for each layer; {words}.", "one for each layer")
        return [read_number(each, "each slope") for each in value]

    def next_gamma(self, slope: float, drift_lr: float) -> float:
        return read_number(self._next_gamma(torch.tensor(slope, dtype=DOUBLE), drift_lr), NEXT)

    def slopes_like(self, formula: Callable[[Tensor, Tensor, Tensor, int], Tensor], generator: torch.Generator) -> bool:
        """Whether each slope is the sum of this formula over the layer's tensors."""
        for _ in range(3):
            case = random_case(generator)
            if not np.allclose(self(*case), slopes(*case, formula=formula), rtol=1e-8):
                return False
        return True


@exercise(
    "07.3",
    "What a batch says of gamma",
    difficulty=4,
    minutes=20,
    equation="the gradient of the predictive likelihood at gamma = 1",
    takeaway="gamma leaves 1 exactly when the way downhill of the new batch has a part that leads back to the start. It costs one inner product with a gradient, and its size goes with the rows of the batch: another batch size asks for another drift_lr.",
)
def slope(answer: object) -> Slopes:
    parts = read_parts(answer, ("gamma_slope", "next_gamma"))
    return Slopes(read_function(parts["gamma_slope"], SLOPE), read_function(parts["next_gamma"], NEXT))


def copied(layers: Layers) -> Layers:
    return [[each.clone() for each in layer] for layer in layers]


def random_case(
    generator: torch.Generator, sizes: Sequence[Sequence[tuple[int, ...]]] = SIZES, batch_size: int = 7
) -> Case:
    """Gradients, weights and starts of layers of these sizes."""
    drawn = [[[normal(generator, *size) for size in layer] for layer in sizes] for _ in range(3)]
    return *drawn, batch_size


def of_tensor(gradient: Tensor, theta: Tensor, start: Tensor, batch_size: int) -> Tensor:
    """What one tensor adds to the slope of its layer's gamma."""
    return -batch_size * (gradient * (theta - start)).sum()


def slopes(
    gradients: Layers,
    thetas: Layers,
    init_means: Layers,
    batch_size: int,
    formula: Callable[[Tensor, Tensor, Tensor, int], Tensor] = of_tensor,
) -> list[float]:
    """For each layer the sum of a formula over its tensors."""
    layers = zip(gradients, thetas, init_means)
    return [float(sum(formula(*tensors, batch_size) for tensors in zip(*layer))) for layer in layers]


# The slope


@slope.requires(
    "one for each layer",
    "A layer has one gamma, which its weights and its biases share: add up what they say. Other layers do not matter to it.",
)
def _(slope: Slopes, generator: torch.Generator) -> None:
    for sizes in (SIZES, (((3, 2), (3,)),), (((2, 2),), ((4, 2), (4,)))):
        slope(*random_case(generator, sizes))
    case = random_case(generator)
    came, (gradients, thetas, init_means, batch_size) = slope(*case), case
    for place in range(len(thetas)):
        others = [*range(place), *range(place + 1, len(thetas))]
        moved = copied(thetas)
        moved[place] = [each + 1 for each in moved[place]]
        after = slope(gradients, moved, init_means, batch_size)
        words = f"with other weights in layer {place + 1}, the slope of another layer"
        expect_close([after[i] for i in others], [came[i] for i in others], 1e-9, words)


@slope.requires(
    "from the start",
    "It is theta - init_mean that gamma shrinks. Weights that are where they began have nowhere to go, and their slope is 0, "
    "whatever the gradient is.",
)
def _(slope: Slopes, generator: torch.Generator) -> None:
    gradients, thetas, _, batch_size = random_case(generator)
    came = slope(gradients, thetas, copied(thetas), batch_size)
    expect_close(came, [0.0] * len(came), 1e-9, "at the start the slope of a layer")


@slope.requires(
    "the sign",
    "J is a log-likelihood: it goes *up* where the loss goes down. Where the way downhill leads back to the start, the batch would "
    "be likelier with a smaller gamma, and the slope is negative. Away from the start it is positive.",
)
def _(slope: Slopes, generator: torch.Generator) -> None:
    for way in (1, -1):
        _, thetas, init_means, batch_size = random_case(generator)
        gradients = [[way * (a - b) for a, b in zip(*layer)] for layer in zip(thetas, init_means)]
        leads = "back to the start" if way == 1 else "away from the start"
        for came in slope(gradients, thetas, init_means, batch_size):
            expect(-way * came > 0, f"where downhill leads {leads}, a slope is {came:.3g}")


@slope.requires(
    "all rows of the batch",
    "J has the log-probability of *all* labels of the batch, the summed loss, and you have the gradient of the mean. Twice as "
    "many rows say twice as much.",
)
def _(slope: Slopes, generator: torch.Generator) -> None:
    found = "in yours the batch size does not count"
    expect(not slope.slopes_like(lambda g, t, s, b: of_tensor(g, t, s, 1), generator), found)
    gradients, thetas, init_means, _ = random_case(generator)
    once = slope(gradients, thetas, init_means, 1)
    for rows in (4, 16):
        came = np.divide(slope(gradients, thetas, init_means, rows), once)
        expect_close(
            came, np.full(len(once), rows), 1e-7, f"with {rows} rows for one, the slope grows by a factor that"
        )


@slope.requires(
    "a sum over the layer",
    "By the chain rule each number adds its own product, -(gradient of the summed loss) (theta - init_mean). A mean over the "
    "numbers of a layer, or a product of lengths, is another thing.",
)
def _(slope: Slopes, generator: torch.Generator) -> None:
    for formula, words in (
        (lambda g, t, s, b: of_tensor(g, t, s, b) / g.numel(), "yours takes a mean over each tensor"),
        (lambda g, t, s, b: -b * g.sum() * (t - s).sum(), "yours multiplies two sums"),
        (lambda g, t, s, b: of_tensor(g, t, s, b) if g.ndim == 2 else torch.zeros(()), "yours leaves the biases out"),
    ):
        expect(not slope.slopes_like(formula, generator), words)
    case = random_case(generator)
    numbers = [sum(each.numel() for each in layer) for layer in case[1]]
    means = [total / count for total, count in zip(slopes(*case), numbers)]
    expect(not np.allclose(slope(*case), means, rtol=1e-8), "yours takes a mean over the layer")


@slope.requires(
    "the slope of J",
    "For a small network and a batch, the log-likelihood was computed on both sides of gamma = 1, by one layer's gamma at a time. "
    "Your slope is not the one that it has there.",
)
def _(slope: Slopes, generator: torch.Generator) -> None:
    for rows in (1, 6):
        model = StackedMLP(None, 3, 4, width=5, depth=2, generator=generator, dtype=DOUBLE)
        batch = normal(generator, rows, 3), torch.randint(4, (rows,), generator=generator)
        for layer in model.layers:
            layer.bias.data.copy_(0.5 * normal(generator, len(layer.bias)))  # from 0 a ReLU would sit on its edge
        thetas = [[each.detach().clone() for each in layer.parameters()] for layer in model.layers]
        init_means = [[each + 0.3 * normal(generator, *each.shape) for each in layer] for layer in thetas]
        grads = torch.autograd.grad(cross_entropy(model, batch).mean(), list(model.parameters()))
        gradients = [list(grads[2 * place : 2 * place + 2]) for place in range(len(thetas))]
        expected = [slope_of_likelihood(model, batch, thetas, init_means, place) for place in range(len(thetas))]
        came = slope(gradients, thetas, init_means, rows)
        expect_close(came, expected, 1e-5, f"for a batch of {rows} the slope of a layer")


@torch.no_grad()
def slope_of_likelihood(
    model: StackedMLP, batch: tuple[Tensor, Tensor], thetas: Layers, init_means: Layers, place: int, by: float = 1e-6
) -> float:
    """The slope at gamma = 1 of the log-likelihood of a batch, by the gamma of one layer, from both sides of it."""
    layer, values = list(model.layers[place].parameters()), []
    for gamma in (1 + by, 1 - by):
        for parameter, theta, start in zip(layer, thetas[place], init_means[place]):
            parameter.copy_(start + gamma * (theta - start))
        values.append(-cross_entropy(model, batch).sum().item())
    for parameter, theta in zip(layer, thetas[place]):
        parameter.copy_(theta)
    return (values[0] - values[1]) / (2 * by)


# The step


@slope.requires(
    "begins at one",
    "For each batch gamma begins at 1 anew, at no drift. A batch that asks for nothing, with the slope 0, leaves it there.",
)
def _(slope: Slopes, generator: torch.Generator) -> None:
    for drift_lr in (0.002, 0.1):
        expect_close(slope.next_gamma(0.0, drift_lr), 1.0, 1e-9, f"with the slope 0 and drift_lr = {drift_lr} gamma")


@slope.requires(
    "up the slope",
    "From 1, gamma goes by drift_lr times the slope: one step of gradient *ascent* on the log-likelihood.",
)
def _(slope: Slopes, generator: torch.Generator) -> None:
    for _ in range(4):
        drift_lr, by = uniform(generator, 0.001, 0.01), -uniform(generator, 0.1, 0.9)
        came = slope.next_gamma(by / drift_lr, drift_lr)
        words = f"with a slope of {by / drift_lr:.4g} and drift_lr = {drift_lr:.3g} gamma"
        expect_close(came, 1 + by, 1e-9, words)


@slope.requires(
    "between 0 and 1",
    "A gamma above 1 would push the weights away from their start and make the noise's variance negative; one below 0 would throw "
    "them to its other side. Where the step leads beyond an end, gamma is that end.",
)
def _(slope: Slopes, generator: torch.Generator) -> None:
    for by, end in ((0.2, 1.0), (-3.0, 0.0), (5.0, 1.0), (-1.001, 0.0)):
        drift_lr = uniform(generator, 0.001, 0.01)
        came = slope.next_gamma(by / drift_lr, drift_lr)
        expect_close(came, end, 1e-9, f"where the step leads to {1 + by:.4g}, gamma")
