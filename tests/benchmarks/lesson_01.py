"""Rows of lesson 01: distances, samplers, training and the scoring rule.

The peers are read as they come. smalldiffusion imports accelerate and torchvision, of which its sampler
and its perceptron use nothing: where they are missing, empty stand-ins let it be imported, and the
sampler and the training loop are handed the three attributes that they read of an accelerator.

Nearly all of a sampler's time is its network's. diffusers gets ours, so that its rows compare the loops alone;
smalldiffusion gets its own, of the same width and depth.
"""

import contextlib
import functools
import io
import statistics
from types import SimpleNamespace

import torch

from companion.data.toy import eight_gaussians
from companion.foundations.diffusion import add_noise, alpha, sample, sigma, time_grid
from companion.foundations.distances import energy_distance, mmd2, rbf
from companion.foundations.networks import TimeMLP
from companion.foundations.training import train
from companion.methods.distributional import (
    DistributionalDenoiser,
    energy_score_loss,
    sample_distributional,
    train_distributional,
)
from companion.teaching.lessons.distributional_diffusion import models
from companion.teaching.session import begin
from tests.benchmarks.measure import Result, Row, compare_memory, compare_times, stand_ins

POINTS = 20_000
BANDWIDTH = 1.0
SAMPLES, SAMPLER_STEPS = 10_000, 50
WIDTH, DEPTH = 64, 3
ACCELERATOR = SimpleNamespace(device="cpu", prepare=lambda *parts: parts, backward=lambda loss: loss.backward())


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


# --- squared MMD, of unlike points of a cloud, by each package ------------------------------------------------


def mmd_ours(x, y):
    return mmd2(x, y, rbf(BANDWIDTH))


def mmd_geomloss(x, y):
    """Twice its loss, which pairs each point with itself, too: `compare_mmd` takes these pairs out of its answer."""
    from geomloss import SamplesLoss

    return 2 * SamplesLoss("gaussian", blur=BANDWIDTH, backend="tensorized")(x, y)


def mmd_pot(x, y):
    """POT's matrices of squared distances through the kernel."""
    import ot

    def kernel(a, b):
        return (ot.dist(a, b) / (-2 * BANDWIDTH**2)).exp()

    def within(a):
        return (kernel(a, a).sum() - len(a)) / (len(a) * (len(a) - 1))

    return within(x) + within(y) - 2 * kernel(x, y).mean()


def compare_mmd(peer, gradient: bool, n: int = 5000) -> Result:
    """Value, or value and gradient. Refuses to compare what is not equal, on fewer points."""
    x, y = clouds(500)
    ours, theirs = mmd_ours(x.requires_grad_(), y), peer(x, y)
    if peer is mmd_geomloss:
        theirs = (len(x) * theirs - 2 + 2 * rbf(BANDWIDTH)(x, y).mean()) / (len(x) - 1)
    for mine, other in ((ours, theirs), (torch.autograd.grad(ours, x), torch.autograd.grad(theirs, x))):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-6)

    x, y = clouds(n)
    if not gradient:
        return compare_times(lambda: mmd_ours(x, y), lambda: peer(x, y))
    x.requires_grad_()
    return compare_times(lambda: torch.autograd.grad(mmd_ours(x, y), x), lambda: torch.autograd.grad(peer(x, y), x))


# --- sampling -------------------------------------------------------------------------------------------------


def perceptron_and_start(noise_dim: int = 0) -> tuple[TimeMLP, torch.Tensor, torch.Tensor]:
    """The lesson's standard denoiser, or an untrained one that takes noise; where to start, and the grid of times."""
    x, grid = torch.randn(SAMPLES, 2, generator=torch.Generator().manual_seed(0)), time_grid(SAMPLER_STEPS)
    if noise_dim:
        return TimeMLP(2, noise_dim, WIDTH, DEPTH).eval(), x, grid
    return models("eight_gaussians", begin(device="cpu")).standard.network, x, grid


def sampler_ours(churn: float, noise_dim: int = 0):
    """With noise, a distributional denoiser that draws at every step."""
    (network, x, grid), generator = perceptron_and_start(noise_dim), torch.Generator().manual_seed(0)

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
    with stand_ins("accelerate", "torchvision"):
        from smalldiffusion import ScheduleLogLinear, TimeInputMLP, samples

    network = TimeInputMLP(dim=2, hidden_dims=(WIDTH,) * DEPTH)
    x, sigmas = 10 * torch.randn(SAMPLES, 2), ScheduleLogLinear(200).sample_sigmas(SAMPLER_STEPS)

    def run():
        *_, points = samples(network, sigmas, mu=mu, xt=x, accelerator=ACCELERATOR)
        return points

    return run


def sampler_flow_diffusers():
    """Euler's method along the velocity `(x - x0) / t`, which is DDIM on our schedule."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    (network, x, grid), scheduler = perceptron_and_start(), FlowMatchEulerDiscreteScheduler()

    @torch.no_grad()
    def run():
        points = x
        scheduler.set_timesteps(sigmas=grid[:-1].tolist())
        for time in scheduler.timesteps:
            t = time / scheduler.config.num_train_timesteps
            velocity = (points - network(points, t)) / t
            points = scheduler.step(velocity, time, points).prev_sample
        return points

    return run


def sampler_diffusers(name: str):
    """DDIMScheduler or DDPMScheduler. Theirs keep `alpha^2 + sigma^2` at 1: they get the betas that have our ratio of
    data and noise, and the network gets their points at our scale. The draws are the same, too."""
    import diffusers

    (network, x, grid), generator = perceptron_and_start(), torch.Generator().manual_seed(0)
    times = grid[:-1].flip(0)
    scales = (alpha(times) ** 2 + sigma(times) ** 2).sqrt()
    kept = (alpha(times) / scales) ** 2
    betas = 1 - kept / torch.cat([torch.ones(1), kept[:-1]])
    scheduler = getattr(diffusers, name)(
        SAMPLER_STEPS, trained_betas=betas.tolist(), prediction_type="sample", clip_sample=False
    )
    times, scales = times.float(), scales.float()

    @torch.no_grad()
    def run():
        points = x
        scheduler.set_timesteps(SAMPLER_STEPS)
        for step in scheduler.timesteps:
            x0 = network(scales[step] * points, times[step])
            points = scheduler.step(x0, step, points, generator=generator).prev_sample
        return points

    return run


def compare_with_diffusers(scheduler: str, churn: float) -> Result:
    """Refuses to compare samplers that do not end at the same points, of a law some units wide."""
    ours = sampler_ours(churn)
    theirs = sampler_flow_diffusers() if scheduler.startswith("Flow") else sampler_diffusers(scheduler)
    torch.testing.assert_close(ours(), theirs(), rtol=0, atol=2e-3)
    return compare_times(ours, theirs, 15)


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


def training_plain(steps: int = 40):
    """The loop alone, with a squared error: what is trained is the standard denoiser, too."""
    law = eight_gaussians()

    def run():
        generator = torch.Generator().manual_seed(0)

        def loss(network):
            x0 = law.sample(256, generator)
            t, noise = torch.rand(256, generator=generator), torch.randn(256, 2, generator=generator)
            return (network(add_noise(x0, t, noise), t) - x0).square().sum(1).mean()

        for _ in train(TimeMLP(2, 0, WIDTH, DEPTH), loss, steps, generator=generator):
            pass

    return run


def training_smalldiffusion(steps: int = 40):
    """Its perceptron of the same width and depth; each batch is drawn from the law when its turn comes, as ours."""
    with stand_ins("accelerate", "torchvision"):
        from smalldiffusion import ScheduleLogLinear, TimeInputMLP, training_loop

    law, schedule = eight_gaussians(), ScheduleLogLinear(200)

    def run():
        generator = torch.Generator().manual_seed(0)
        batches = (law.sample(256, generator) for _ in range(steps))
        network = TimeInputMLP(dim=2, hidden_dims=(WIDTH,) * DEPTH)
        with contextlib.redirect_stderr(io.StringIO()):  # its bar of progress
            for _ in training_loop(batches, network, schedule, ACCELERATOR, epochs=1):
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
    sampling = f"{SAMPLES:,} points in {SAMPLER_STEPS} steps, perceptron {DEPTH}x{WIDTH}"
    training_steps = f"40 training steps of a standard denoiser, perceptron {DEPTH}x{WIDTH}, batch 256"
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
        *[
            Row(
                f"mmd-{'gradient-' * gradient}{name}",
                f"squared MMD, gaussian kernel, {'with its gradient, ' * gradient}5,000 against 5,000 points in the plane, time",
                f"{label}, same value and gradient",
                functools.partial(compare_mmd, peer, gradient),
                "ratio at most 1",
            )
            for gradient in (False, True)
            for name, label, peer in (
                ("geomloss", "geomloss SamplesLoss('gaussian')", mmd_geomloss),
                ("pot", "POT ot.dist through the kernel", mmd_pot),
            )
        ],
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
            "about 1: its network takes a draw of noise, too",
        ),
        *[
            Row(
                f"sampler-{key}-diffusers",
                f"{sampling}, {'DDPM' if churn else 'DDIM'}",
                f"diffusers {scheduler}, same network, same points after it",
                functools.partial(compare_with_diffusers, scheduler, churn),
                "about 1, its network",
            )
            for key, scheduler, churn in (
                ("flow", "FlowMatchEulerDiscreteScheduler", 0.0),
                ("ddim", "DDIMScheduler", 0.0),
                ("ddpm", "DDPMScheduler", 1.0),
            )
        ],
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
            "training-smalldiffusion",
            f"{training_steps}, our `train` with a squared error, time",
            "smalldiffusion training_loop, its perceptron of the same width and depth",
            lambda: compare_times(training_plain(), training_smalldiffusion(), 25),
            "about 1",
        ),
        Row(
            "training-smalldiffusion-score",
            f"{training_steps}, our `train_distributional` with population 1, beta 2, time",
            "smalldiffusion training_loop, its perceptron of the same width and depth",
            lambda: compare_times(training(1), training_smalldiffusion(), 25),
            "about 1.1: the score takes distances, which a squared error does not need",
        ),
        Row(
            "live-step",
            "live widget in Chromium, one step of 300 points with both networks",
            "one frame at 60 Hz",
            live_step,
            "ratio at most 1",
        ),
    ]
