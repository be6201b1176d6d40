"""The inner loops of the ten lessons, at the size of their `full` profile or near it, on any device.

`tests/benchmarks/gpu.py` measures them, `tests/unit/test_no_sync.py` looks for waits in them, and `test_cuda.py` runs them on
a GPU. A loop is made on a device and then asked for one step after the other:

>>> LOOPS["distance"].make("cpu", points=100).step() is not None
True

On the device "meta" tensors have shapes and no values: a step costs nothing there and fails if it reads one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from companion.data.streams.events import TaskKind
from companion.foundations.conditional import ConditionalDenoiser, velocity_loss
from companion.foundations.diffusion import sample, time_grid
from companion.foundations.distances import energy_distance
from companion.foundations.fourier import FourierOperator2d
from companion.foundations.language import Transformer
from companion.foundations.networks import UNet
from companion.foundations.online import run_stream
from companion.foundations.residual import ExpandedResidualNet
from companion.foundations.stacks import StackedMLP, cross_entropy
from companion.foundations.training import draw_batch, train
from companion.methods.distributional import DistributionalDenoiser, train_distributional
from companion.methods.dynamic_evaluation import evaluate_stream
from companion.methods.guidance import GuidanceWeights, draw_times, sample_guided, self_consistency_loss
from companion.methods.kalman import KalmanHead
from companion.methods.last_layer import train_closed_form
from companion.methods.mmd_flow import (
    NoiseConditionalWitness,
    VarianceExploding,
    mmd_flow,
    scaled_rbf,
    train_witness,
)
from companion.methods.nevis import Meter, Recipe, TaskData, fit
from companion.methods.pruning import _FineTuning, prune_filters
from companion.methods.soft_reset import SoftReset
from companion.methods.speculative import reflection_coupling
from companion.teaching.lessons.deep_mmd import ImageFeatures


@contextmanager
def rounded_products(allowed: bool) -> Iterator[None]:
    """Whether a GPU may round factors to TF32, which torch allows by default in convolutions only."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def never_waiting() -> Iterator[None]:
    """Within this block it is an error if the host waits for a GPU."""
    try:
        torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


MANY = 1_000_000  # steps, of a training that is never finished

# How often a training step reads or writes each weight, beside the activations: forward 1, backward 1 and the gradient
# written 1; then SGD reads gradient and weight and writes the weight, its momentum is read and written, Adam reads four
# rows and writes three, and the running average of `training.train` reads two and writes one.
SGD, MOMENTUM, ADAM, AVERAGED = 3 + 3, 3 + 5, 3 + 7, 3 + 10


class Work(NamedTuple):
    """A loop that is ready.

    Attributes:
        step: one step of it.
        bytes: that a step must read and write even if all that lies in between stayed in a cache: weights and what an
            optimiser keeps of them, inputs, outputs. Activations are left out.
    """

    step: Callable[[], Any]
    bytes: float


@dataclass(frozen=True)
class Loop:
    """One inner loop.

    Attributes:
        lesson: its number.
        what: a step in words; sizes stand in braces.
        work: (device, wrap, **sizes) -> `Work`. `wrap` is applied to the part that a compiler could take: a network or a
            kernel.
        sizes: of the table.
        small: of the tests.
        compiles: whether `wrap` is used; not where another loop has asked the same of the same network.
        network: whether the work is a network's, so that half precision may serve.
        uploads: copies from the host that a step makes on "meta".
    """

    lesson: str
    what: str
    work: Callable[..., Work]
    sizes: dict[str, int]
    small: dict[str, int]
    compiles: bool = True
    network: bool = True
    uploads: int = 0

    def make(self, device: str = "cpu", wrap: Callable[[Any], Any] = lambda part: part, **sizes: int) -> Work:
        """The loop on a device, at the sizes of the table or at others; the same draws at every call."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.work(device, wrap, **self.sizes | sizes)

    def words(self, **sizes: int) -> str:
        return self.what.format(**{name: f"{size:,}" for name, size in (self.sizes | sizes).items()})


def compiled(part: Any) -> Any:
    """`torch.compile`, in place for a network: training loops copy it, and look at what it is."""
    if not isinstance(part, nn.Module):
        return torch.compile(part)
    part.compile()
    return part


def drawn(device: str, seed: int = 1) -> torch.Generator | None:
    """A generator on the device; "meta" has none."""
    return None if device == "meta" else torch.Generator(device).manual_seed(seed)


def forever(start: Callable[[], Iterator[Any]]) -> Callable[[], Any]:
    """The next state of an iterator, which starts anew when it ends."""

    def states() -> Iterator[Any]:
        while True:
            yield from start()

    return partial(next, states())


def walk(states: Iterator[Any]) -> Iterator[Any]:
    """Without the first state, the start, for which nothing is done."""
    return islice(states, 1, None)


def size_of(*parts: Tensor | nn.Module) -> int:
    """Bytes of tensors, or of all weights of a network."""
    tensors = [each for part in parts for each in (part.parameters() if isinstance(part, nn.Module) else [part])]
    return sum(each.numel() * each.element_size() for each in tensors)


# --- the loops ----------------------------------------------------------------------------------------------------


def training(device, wrap, batch, population, width, levels, side):
    network = wrap(UNet(noise_channels=1, width=width, levels=levels).to(device))
    model = DistributionalDenoiser(network, (1, side, side))
    images = torch.randn(4 * batch, 1, side, side).to(device)
    states = train_distributional(model, images, MANY, population=population, batch_size=batch, generator=drawn(device))
    return Work(partial(next, states), AVERAGED * size_of(network) + (2 + 3 * population) * size_of(images) / 4)


def distance(device, wrap, points):
    x, y = torch.randn(points, 2).to(device), 0.1 + torch.randn(points, 2).to(device)
    return Work(lambda: energy_distance(x, y), size_of(x, y))


def sampling(device, wrap, images, width, levels, side):
    network = wrap(UNet(width=width, levels=levels).to(device).eval().requires_grad_(False))
    start, generator = torch.randn(images, 1, side, side).to(device), drawn(device)
    step = forever(lambda: walk(sample(network, start, time_grid(1000), 1.0, generator)))
    return Work(step, size_of(network) + 3 * size_of(start))


def coupling(device, wrap, images, side):
    draft, draft_mean = (torch.randn(images, 1, side, side).to(device) for _ in range(2))
    target_mean = draft_mean + 0.05
    std, uniform = torch.full((images,), 0.5, device=device), torch.rand(images).to(device)
    couple = wrap(reflection_coupling)
    return Work(lambda: couple(draft, draft_mean, target_mean, std, uniform), 4 * size_of(draft))


def guided(device, wrap, images, width, levels, side):
    network = UNet(noise_channels=8, width=width, levels=levels).to(device)
    model = ConditionalDenoiser(network, 10).to(device).eval().requires_grad_(False)
    labels, start = torch.arange(images).to(device) % 10, torch.randn(images, 1, side, side).to(device)
    weights = GuidanceWeights(10).to(device).requires_grad_(False)
    times = time_grid(1000)
    step = forever(lambda: walk(sample_guided(model.conditional, model.unconditional, weights, labels, start, times)))
    return Work(step, 2 * size_of(model) + 6 * size_of(start))


def base(device, wrap, batch, width, levels, side):
    network = UNet(noise_channels=8, width=width, levels=levels).to(device)
    model = ConditionalDenoiser(network, 10).to(device)
    images, generator = torch.randn(4 * batch, 1, side, side).to(device), drawn(device)
    nobody = torch.zeros(batch, dtype=torch.long, device=device)

    def loss(model):
        return velocity_loss(model, draw_batch(images, batch, generator), nobody, 1.0, generator)

    states = train(model, loss, MANY, generator=generator)
    return Work(partial(next, states), AVERAGED * size_of(model) + 5 * size_of(images) / 4)


def weights(device, wrap, batch, population, width, levels, side):
    network = UNet(noise_channels=8, width=width, levels=levels).to(device)
    model = ConditionalDenoiser(network, 10).to(device).eval().requires_grad_(False)
    images, generator = torch.randn(batch, 1, side, side).to(device), drawn(device)
    labels = torch.arange(batch).to(device) % 10

    def loss(weights):
        times = draw_times(batch, 0.1, 0.005, images, generator)
        given = (weights, images, labels, *times, population)
        return self_consistency_loss(model.conditional, model.unconditional, *given, generator=generator)

    states = train(GuidanceWeights(10).to(device), loss, MANY, generator=generator)
    return Work(partial(next, states), 2 * size_of(model) + (1 + 6 * population) * size_of(images))


def flow(device, wrap, points):
    cloud, target, kernel = torch.randn(points, 2).to(device), torch.randn(points, 2).to(device), wrap(scaled_rbf(1.0))
    return Work(forever(lambda: walk(mmd_flow(cloud, target, kernel, 0.1, 1000))), 3 * size_of(cloud) + size_of(target))


def witness(device, wrap, batch, width, side):
    network = wrap(ImageFeatures(width=width).to(device))
    model = NoiseConditionalWitness(network, VarianceExploding()).to(device)
    images = torch.randn(4 * batch, 1, side, side).to(device)
    states = train_witness(model, images, MANY, batch_size=batch, generator=drawn(device))
    return Work(partial(next, states), AVERAGED * size_of(network) + size_of(images))


def closed_form(device, wrap, batch, side, width, modes, every):
    operator = wrap(FourierOperator2d(1, 32, width=width, modes=modes).to(device))
    fields = torch.randn(4 * batch, side, side, 1).to(device)
    pair, settings = (fields, fields.cumsum(1) / side), {"batch_size": batch, "every": every}
    states = train_closed_form(operator, pair, MANY, "proximal", **settings, generator=drawn(device))
    return Work(partial(next, states), every * (ADAM * size_of(operator) + size_of(fields)))


def kalman(device, wrap, rows, features, every):
    x = nn.functional.normalize(torch.randn(20 * every * rows, features), dim=1).to(device)
    labels, settings = torch.arange(len(x)).to(device) % 10, {"batch_size": rows, "every": every}

    def start():
        head = KalmanHead(features, 10, 0.1, 1e-3, 0.9999, learn_gamma=True, dtype=torch.float32, device=device)
        return run_stream(head, x, labels, **settings, generator=drawn(device))

    belief = 4 * features * (features + 10)  # the root and the mean, in float32; drift and update read and write them
    return Work(forever(start), every * 4 * belief + size_of(x) / 20)


def soft_reset(device, wrap, batch, inputs, width):
    model = wrap(StackedMLP(1, inputs, 10, width).to(device))
    x, labels = torch.randn(1, batch, inputs).to(device), (torch.arange(batch).to(device) % 10)[None]
    settings = (torch.full((1,), value, device=device) for value in (0.1, 1e-4, 1.0, 0.03))
    trainer = SoftReset(model, *settings, runs=1, generator=drawn(device))
    # For each weight: 3 forward and 2 backward passes; 2 gradients, the noise and the weights of before, written and read;
    # the width, its change and the start read; the weights written with noise, drifted and learned.
    touched = 5 + 2 * 4 + 3 + 3
    return Work(lambda: trainer.step(cross_entropy, (x, labels)), touched * size_of(model) + size_of(x))


def reading(device, wrap, width, depth, context, stride):
    model = wrap(Transformer(96, width, depth).to(device))
    tokens = (torch.arange(context + 200 * stride) % 95).to(device)
    adam = partial(torch.optim.Adam, lr=1e-4)
    step = forever(lambda: iter(evaluate_stream(model, tokens, context, stride, adam, in_place=True)))
    return Work(step, ADAM * size_of(model))


def pruned(device, wrap, batch, width, stages, cut):
    whole = ExpandedResidualNet(num_classes=10, width=width, stages=stages)
    images, labels = torch.randn(4 * batch, 1, 16, 16).to(device), torch.arange(4 * batch).to(device) % 10
    model = wrap(prune_filters(whole, cut / 100, example=torch.zeros(1, 1, 16, 16)).to(device))
    task = SimpleNamespace(train=(images, labels))
    tuning = _FineTuning(model, task, partial(torch.optim.SGD, lr=0.02), batch, batch, drawn(device))
    step = lambda: tuning.learn(tuning.judging + (tuning.steps + 1) * tuning.each_step)  # noqa: E731 (one update more)
    return Work(step, SGD * size_of(model) + size_of(images) / 4)


def fitting(device, wrap, batch, width, steps):
    model = wrap(ExpandedResidualNet(num_classes=10, width=width, expansion=1).to(device))
    images, labels = torch.randn(4 * batch, 1, 16, 16).to(device), torch.arange(4 * batch).to(device) % 10
    task = TaskData("some", TaskKind.CLASSIFICATION, 10, images, labels, images[:batch], labels[:batch])
    recipe, meter = Recipe(steps, batch, (0.02,)), Meter()
    generator = drawn("cpu" if device == "meta" else device)
    meter(model, images, training=True), meter(model, images)  # counted once for all tasks
    return Work(
        lambda: fit(model, task, recipe, 0.02, generator, meter),
        steps * (MOMENTUM * size_of(model) + size_of(images) / 4) + size_of(images),
    )


FULL, TINY = {"width": 64, "levels": 3, "side": 32}, {"width": 8, "levels": 2, "side": 8}
LOOPS = {
    "training": Loop(
        "01",
        "training step of the distributional U-Net (width {width}, {levels} levels), {batch} images of {side}², "
        "population {population}",
        training,
        {"batch": 4, "population": 8} | FULL,
        {"batch": 4, "population": 2} | TINY,
    ),
    "distance": Loop(
        "01",
        "energy distance, {points} against {points} points in the plane",
        distance,
        {"points": 20_000},
        {"points": 200},
        compiles=False,
        network=False,
    ),
    "sampling": Loop(
        "02",
        "step of the sampler, U-Net of lesson 01, {images} images of {side}²",
        sampling,
        {"images": 32} | FULL,
        {"images": 3} | TINY,
    ),
    "coupling": Loop(
        "02",
        "reflection coupling of {images} images of {side}²",
        coupling,
        {"images": 2048, "side": 32},
        {"images": 5, "side": 8},
        network=False,
    ),
    "base": Loop(
        "03",
        "training step of the base of classes, U-Net, {batch} images of {side}²",
        base,
        {"batch": 16} | FULL,
        {"batch": 4} | TINY,
        compiles=False,
    ),
    "guided": Loop(
        "03",
        "guided step with learned weights, U-Net, {images} images of {side}²",
        guided,
        {"images": 16} | FULL,
        {"images": 3} | TINY,
        compiles=False,
    ),
    "weights": Loop(
        "03",
        "update of the learned weights, U-Net, {batch} images of {side}², population {population}",
        weights,
        {"batch": 4, "population": 4} | FULL,
        {"batch": 2, "population": 2} | TINY,
        compiles=False,
    ),
    "flow": Loop(
        "04",
        "step of the flow of a Gaussian kernel, {points} particles, {points} points in the plane",
        flow,
        {"points": 20_000},
        {"points": 200},
        network=False,
    ),
    "witness": Loop(
        "04",
        "training step of the witness of images, two levels of {batch} images of {side}², width {width}",
        witness,
        {"batch": 32, "width": 64, "side": 32},
        {"batch": 3, "width": 4, "side": 8},
    ),
    "closed form": Loop(
        "05",
        "{every} × a proximal step of the Fourier operator, {batch} fields of {side}², width {width}, {modes} modes",
        closed_form,
        {"batch": 20, "side": 64, "width": 32, "modes": 12, "every": 1},
        {"batch": 3, "side": 10, "width": 8, "modes": 5, "every": 2},
    ),
    "kalman": Loop(
        "06",
        "{every} blocks of {rows} rows through the Kalman filter of a head of {features} features, kept as a root",
        kalman,
        {"rows": 32, "features": 1024, "every": 2},
        {"rows": 4, "features": 6, "every": 2},
        compiles=False,
        network=False,
    ),
    "soft reset": Loop(
        "07",
        "batch of {batch} for a soft reset of the perceptron {inputs}-{width}-{width}-10",
        soft_reset,
        {"batch": 16, "inputs": 1024, "width": 1024},
        {"batch": 4, "inputs": 6, "width": 8},
    ),
    "reading": Loop(
        "08",
        "block of {stride} characters after {context}, read and learned by the transformer of width {width}, depth {depth}",
        reading,
        {"width": 384, "depth": 6, "context": 192, "stride": 64},
        {"width": 16, "depth": 2, "context": 5, "stride": 4},
    ),
    "pruned": Loop(
        "09",
        "update of the residual net of width {width}, {stages} stages, {cut}% of its filters cut, {batch} pictures",
        pruned,
        {"batch": 32, "width": 64, "stages": 3, "cut": 50},
        {"batch": 4, "width": 4, "stages": 2, "cut": 50},
        uploads=1,  # the rows of an update: "meta" has no generator, and they are drawn on the CPU
    ),
    "fitting": Loop(
        "10",
        "{steps} updates of a task of the stream, network of width {width}, {batch} pictures each, and its calibration",
        fitting,
        {"batch": 64, "width": 64, "steps": 5},
        {"batch": 4, "width": 4, "steps": 2},
        uploads=1,  # the rows of all updates, as above
    ),
}
