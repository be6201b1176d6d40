"""Rows of lesson 01: distances, samplers and the scoring rule.

The peers are read as they come. smalldiffusion imports accelerate and torchvision, of which its sampler
and its perceptron use nothing: where they are missing, empty stand-ins let it be imported, and the
sampler is handed the one attribute (`.device`) that it reads of an accelerator.
"""

import importlib.util
import statistics
import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

import torch

from companion.data.toy import eight_gaussians
from companion.foundations.diffusion import sample, time_grid
from companion.foundations.distances import energy_distance
from companion.foundations.networks import TimeMLP
from companion.methods.distributional import (
    DistributionalDenoiser,
    energy_score_loss,
    sample_distributional,
    train_distributional,
)
from tests.benchmarks.measure import Result, Row, compare_memory, compare_times

POINTS = 20_000
WIDTH, DEPTH = 64, 3


# --- energy distance: each function takes the number of points and returns the task ---------------------------


def clouds(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 2, generator=generator), torch.randn(n, 2, generator=generator) + 0.1


def distance_ours(n=POINTS):
    x, y = clouds(n)
    return lambda: energy_distance(x, y)


def distance_geomloss(n=POINTS):
    """Half of ours, with a point paired with itself too. Its online backend needs KeOps and a compiler."""
    from geomloss import SamplesLoss

    x, y = clouds(n)
    loss = SamplesLoss("energy", backend="tensorized")
    return lambda: loss(x, y)


def distance_pot(n=POINTS):
    """POT's cost matrices, as its own energy terms are made of, on the same torch tensors."""
    import ot

    x, y = clouds(n)

    def mean(a, b):
        return ot.dist(a, b, metric="euclidean").mean()

    return lambda: 2 * mean(x, y) - mean(x, x) - mean(y, y)


def distance_gradient_ours(n=POINTS):
    return _with_gradient(energy_distance, n)


def distance_gradient_geomloss(n=POINTS):
    from geomloss import SamplesLoss

    return _with_gradient(SamplesLoss("energy", backend="tensorized"), n)


def _with_gradient(distance, n):
    x, y = clouds(n)
    x.requires_grad_()
    return lambda: torch.autograd.grad(distance(x, y), x)


def compare_distances(ours, peer, n: int = POINTS) -> Result:
    """A small problem warms both up: the peers take long at full size."""
    ours(100)(), peer(100)()
    return compare_times(ours(n), peer(n), repeats=5, warm=True)


# --- sampling -------------------------------------------------------------------------------------------------


def sampler_ours(churn: float, noise_dim: int = 0):
    """10,000 points in 50 steps; with noise, a distributional denoiser that draws at every step."""
    network = TimeMLP(2, noise_dim, WIDTH, DEPTH).eval()
    x, generator, grid = torch.randn(10_000, 2), torch.Generator().manual_seed(0), time_grid(50)

    def run():
        if noise_dim:
            *_, points = sample_distributional(DistributionalDenoiser(network, (noise_dim,)), x, grid, churn, generator)
        else:
            with torch.no_grad():
                *_, points = sample(network, x, grid, churn, generator)
        return points

    return run


def sampler_smalldiffusion(mu: float):
    """The same size and number of steps; mu 0 is DDIM, 0.5 is DDPM."""
    for name in ("accelerate", "torchvision"):
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            sys.modules[name] = MagicMock()
    from smalldiffusion import ScheduleLogLinear, TimeInputMLP, samples

    network = TimeInputMLP(dim=2, hidden_dims=(WIDTH,) * DEPTH)
    x, sigmas = 10 * torch.randn(10_000, 2), ScheduleLogLinear(200).sample_sigmas(50)

    def run():
        *_, points = samples(network, sigmas, mu=mu, xt=x, accelerator=SimpleNamespace(device="cpu"))
        return points

    return run


# --- the scoring rule: value and gradient ---------------------------------------------------------------------

POPULATION = 8


def score_task(loss, batch: int, dim: int):
    generator = torch.Generator().manual_seed(0)
    predictions = torch.randn(POPULATION, batch, dim, generator=generator, requires_grad=True)
    target = torch.randn(batch, dim, generator=generator)
    return lambda: torch.autograd.grad(loss(predictions, target), predictions)


def score_scoringrules(predictions, target):
    from scoringrules import es_ensemble

    return es_ensemble(target, predictions, m_axis=0, estimator="fair", backend="torch").mean()


def score_engression(predictions, target):
    from engression.loss_func import energy_loss

    return energy_loss(target, list(predictions), verbose=False)


def compare_scores(peer, batch: int, dim: int) -> Result:
    """Also refuses to compare what is not equal."""
    ours, theirs = (score_task(loss, batch, dim) for loss in (energy_score_loss, peer))
    torch.testing.assert_close(ours(), theirs(), rtol=1e-3, atol=1e-6)
    return compare_times(ours, theirs, repeats=51)


# --- training -------------------------------------------------------------------------------------------------


def training(population: int, steps: int = 40):
    """`steps` updates at batch 256; the standard denoiser is population 1, squared error, no noise."""
    law = eight_gaussians()
    distributional = {"population": population, "beta": 1.0, "lam": 1.0}
    standard = {"population": 1, "beta": 2.0, "lam": 0.0}

    def run():
        noise_dim = 2 if population > 1 else 0
        model = DistributionalDenoiser(TimeMLP(2, noise_dim, WIDTH, DEPTH), (2,) if noise_dim else None)
        options = distributional if population > 1 else standard
        for _ in train_distributional(model, law, steps, generator=torch.Generator().manual_seed(0), **options):
            pass

    return run


# --- the live widget ------------------------------------------------------------------------------------------


def live_step(points: int = 300, repeats: int = 101) -> Result:
    """Median time of one step of both networks of the shipped live widget, in Chromium, beside a frame at 60 Hz."""
    from companion.teaching.widgets import live_sampler
    from companion.teaching.widgets.base import front_end
    from tests.browser import open_browser

    models = {"standard": TimeMLP(2, 0, WIDTH, DEPTH), "distributional": TimeMLP(2, 8, WIDTH, DEPTH)}
    widget = live_sampler(models, torch.zeros(2, 2), title="live", alt="live", points=points)
    networks = []
    for network in widget.networks:
        weights = torch.frombuffer(bytearray(network["weights"]), dtype=torch.float32).tolist()
        networks.append({**network, "weights": weights})
    with open_browser() as browser:
        times = browser.new_page().evaluate(LIVE_STEP, [front_end(), networks, points, repeats])
    milliseconds, frame = statistics.median(times), 1000 / 60
    return Result(f"{milliseconds:.1f} ms", f"{frame:.1f} ms", f"{milliseconds / frame:.2f}")


LIVE_STEP = """async ([text, specs, points, repeats]) => {
    const front = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
    const networks = specs.map((spec) => front.makeNetwork(spec, Float32Array.from(spec.weights), points));
    const work = networks.map(front.makeWork), random = front.normals(1), times = [];
    for (let k = 0; k < repeats; k++) {
        const clouds = networks.map(() => random.fill(new Float32Array(2 * points)));
        const began = performance.now();
        networks.forEach((network, i) => front.step(network, clouds[i], 0.8, 0.6, 1, random, work[i]));
        times.push(performance.now() - began);
    }
    return times;
}"""


def rows() -> list[Row]:
    here = __name__ if __name__ != "__main__" else "tests.benchmarks.lesson_01"
    distance = f"energy distance, {POINTS:,} against {POINTS:,} points in the plane"
    sampling = f"10,000 points in 50 steps, perceptron {DEPTH}x{WIDTH}"
    score = f"energy score, population {POPULATION}, value and gradient"
    return [
        Row(
            "distance-geomloss",
            distance + ", time",
            "geomloss SamplesLoss('energy')",
            lambda: compare_distances(distance_ours, distance_geomloss),
            "ratio at most 1",
        ),
        Row(
            "distance-pot",
            distance + ", time",
            "POT ot.dist",
            lambda: compare_distances(distance_ours, distance_pot),
            "ratio at most 1",
        ),
        Row(
            "distance-gradient",
            "energy distance with its gradient, 5,000 against 5,000 points, time",
            "geomloss SamplesLoss('energy')",
            lambda: compare_distances(distance_gradient_ours, distance_gradient_geomloss, 5000),
            "ratio at most 1",
        ),
        Row(
            "distance-memory-geomloss",
            distance + ", peak memory above the inputs",
            "geomloss SamplesLoss('energy')",
            lambda: compare_memory(here, "distance_ours", "distance_geomloss"),
            "ours under 1 GB",
        ),
        Row(
            "distance-memory-pot",
            distance + ", peak memory above the inputs",
            "POT ot.dist",
            lambda: compare_memory(here, "distance_ours", "distance_pot"),
            "ours under 1 GB",
        ),
        Row(
            "distance-memory-gradient",
            distance + " with its gradient, peak memory above the inputs",
            "geomloss SamplesLoss('energy')",
            lambda: compare_memory(here, "distance_gradient_ours", "distance_gradient_geomloss"),
            "ours under 1 GB",
        ),
        Row(
            "sampler-ddim",
            sampling + ", DDIM",
            "smalldiffusion samples(mu=0)",
            lambda: compare_times(sampler_ours(0.0), sampler_smalldiffusion(0.0), 15),
            "ratio at most 1",
        ),
        Row(
            "sampler-ddpm",
            sampling + ", DDPM",
            "smalldiffusion samples(mu=0.5)",
            lambda: compare_times(sampler_ours(1.0), sampler_smalldiffusion(0.5), 15),
            "ratio at most 1",
        ),
        Row(
            "sampler-distributional",
            sampling + ", distributional (noise in, churn 1)",
            "smalldiffusion samples(mu=0.5)",
            lambda: compare_times(sampler_ours(1.0, noise_dim=2), sampler_smalldiffusion(0.5), 15),
        ),
        *[
            Row(
                f"score-{name}-{batch}x{dim}",
                f"{score}, batch {batch} in {dim} dimensions",
                label,
                lambda peer=peer, batch=batch, dim=dim: compare_scores(peer, batch, dim),
            )
            for name, label, peer in (
                ("scoringrules", "scoringrules es_ensemble (torch, fair)", score_scoringrules),
                ("engression", "engression energy_loss", score_engression),
            )
            for batch, dim in ((256, 2), (256, 784))
        ],
        Row(
            "training-cost",
            "one training step of the distributional denoiser, population 8, batch 256",
            "our standard denoiser, same network without noise",
            lambda: compare_times(training(8), training(1)),
            "below 8, its number of draws",
        ),
        Row(
            "live-step",
            "live widget in Chromium, one step of 300 points with both networks",
            "one frame at 60 Hz",
            live_step,
            "ratio at most 1",
        ),
    ]
