"""Rows of lesson 03: what guidance costs, and what learning its weight costs.

smalldiffusion's classifier-free guidance is handed the very same network. As its velocity is what a flow's sampler
wants, both then compute the same path, and a row refuses to time them unless they do. smalldiffusion asks about the
points with and without their labels in one call of twice the size; ours asks twice. Evaluations count points: they
are the same.
"""

import functools
import statistics
from types import SimpleNamespace

import torch

from companion.data.labelled import LONG_TAIL, four_classes
from companion.foundations.conditional import ConditionalDenoiser, velocity_loss
from companion.foundations.diffusion import time_grid
from companion.foundations.networks import TimeMLP, UNet
from companion.foundations.training import draw_batch, train
from companion.methods.guidance import GuidanceWeights, learn_guidance, sample_guided
from companion.teaching import results
from tests.benchmarks.measure import Result, Row, compare_times, stand_ins

POINTS, STEPS, WEIGHT = 4000, 20, 0.5
INTERVAL = (WEIGHT, 0.2, 0.7)
UPDATES = 40


def base(images: bool = False) -> ConditionalDenoiser:
    """The lesson's network for points, or a small one for images. What its weights are does not matter to its time."""
    torch.manual_seed(0)
    network = UNet(1, noise_channels=8, width=32) if images else TimeMLP(2, 8, width=64, depth=2)
    return ConditionalDenoiser(network, 4).eval()


# --- sampling -------------------------------------------------------------------------------------------------


def start(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)), torch.arange(shape[0]) % 4


def sampler(model, weight, shape: tuple[int, ...] = (POINTS, 2)):
    x, labels = start(shape)

    def run():
        *_, points = sample_guided(model.conditional, model.unconditional, weight, labels, x, time_grid(STEPS))
        return points

    return run


def sampler_smalldiffusion(model, shape: tuple[int, ...] = (POINTS, 2)):
    """Our network as a model of theirs. mu 0 is the deterministic step; what it calls noise is here the velocity."""
    with stand_ins("accelerate", "torchvision"):
        from smalldiffusion import samples
        from smalldiffusion.model import ModelMixin

    class Ours(torch.nn.Module, ModelMixin):
        def __init__(self):
            super().__init__()
            self.model, self.input_dims = model, shape[1:]
            self.cond_embed = SimpleNamespace(null_cond=model.num_classes)

        def forward(self, x, sigma, cond):
            return self.model.velocity(x, sigma, cond)

    theirs, (x, labels) = Ours(), start(shape)

    def run():
        device = SimpleNamespace(device="cpu")
        options = {"mu": 0.0, "cfg_scale": WEIGHT, "xt": x, "cond": labels, "accelerator": device}
        *_, points = samples(theirs, time_grid(STEPS), **options)
        return points

    return run


def compare_with_smalldiffusion(shape: tuple[int, ...] = (POINTS, 2), repeats: int = 25) -> Result:
    model = base(images=len(shape) == 4)
    ours, theirs = sampler(model, WEIGHT, shape), sampler_smalldiffusion(model, shape)
    torch.testing.assert_close(ours(), theirs(), rtol=1e-3, atol=1e-4)
    return compare_times(ours, theirs, repeats)


class Counted:
    """A model that counts the points it is asked about."""

    def __init__(self, model: ConditionalDenoiser) -> None:
        self.model, self.points = model, 0

    def conditional(self, x, t, labels):
        self.points += len(x)
        return self.model.conditional(x, t, labels)

    def unconditional(self, x, t):
        self.points += len(x)
        return self.model.unconditional(x, t)


def evaluations(weight) -> float:
    """Of the network, for each point."""
    counted = Counted(base())
    sampler(counted, weight)()
    return counted.points / POINTS


def compare_evaluations(weight, peer) -> Result:
    ours, theirs = evaluations(weight), evaluations(peer)
    return Result(f"{ours:g} evaluations a point", f"{theirs:g} evaluations a point", f"{ours / theirs:.3f}")


def learned() -> GuidanceWeights:
    torch.manual_seed(0)
    return GuidanceWeights(4)


# --- learning -------------------------------------------------------------------------------------------------


def updates_of_guidance():
    """As in the lesson: 128 points, four particles each, so that the frozen base answers about 1,024 rows."""
    model, law = base(), four_classes(frequencies=LONG_TAIL)
    data, labels = law.sample_labelled(1000, torch.Generator().manual_seed(0))

    def run():
        generator = torch.Generator().manual_seed(0)
        for _ in learn_guidance(model.conditional, model.unconditional, data, labels, UPDATES, generator=generator):
            pass

    return run


def updates_of_the_base():
    """256 points with their labels, a tenth of them dropped, with a gradient for the whole network."""
    law = four_classes(frequencies=LONG_TAIL)
    data, labels = law.sample_labelled(1000, torch.Generator().manual_seed(0))

    def run():
        generator = torch.Generator().manual_seed(0)

        def loss(model):
            rows = draw_batch(torch.arange(len(data)), 256, generator)
            return velocity_loss(model, data[rows], labels[rows], generator=generator)

        for _ in train(base(), loss, UPDATES, generator=generator):
            pass

    return run


# --- quality: read from the lesson's stored comparison, not measured here ------------------------------------


def compare_distances(peer: str) -> Result:
    """Class-mean energy distance with the learned weight and with the best setting of a grid, medians of five seeds."""
    rows = results.load("03_bench")["rows"]["short"]
    ours, theirs = ([row["distance"] for row in rows[method]] for method in ("learned weight", peer))
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    words = [f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})" for values in (ours, theirs)]
    return Result(*words, f"{ratio:.2f}")


def quality_rows() -> list[Row]:
    """What the learned weight reaches on the briefly fine-tuned base of the plane."""
    peers = {"unguided": "", "constant weight": ", best of 11", "limited interval": ", best of 37"}
    return [
        Row(
            f"guidance-quality-{peer.replace(' ', '-')}",
            "distance of guided samples to the data, learned weight, five seeds (stored)",
            peer + grid,
            functools.partial(compare_distances, peer),
            "ratio below 1",
        )
        for peer, grid in peers.items()
    ]


def rows() -> list[Row]:
    sampling = f"{POINTS:,} guided points in {STEPS} steps"
    inside = f"the interval [{INTERVAL[1]}, {INTERVAL[2]}]"
    pictures = (32, 1, 16, 16)
    return [
        Row(
            "guidance-smalldiffusion",
            f"{sampling}, perceptron 2x64, constant weight, time",
            "smalldiffusion samples(cfg_scale), same network, same path",
            compare_with_smalldiffusion,
            "ratio at most 1",
        ),
        Row(
            "guidance-smalldiffusion-images",
            f"{pictures[0]} guided pictures of {pictures[2]}x{pictures[3]} in {STEPS} steps, small UNet, time",
            "smalldiffusion samples(cfg_scale), same network, same path",
            lambda: compare_with_smalldiffusion(pictures, repeats=7),
            "ratio at most 1",
        ),
        Row(
            "guidance-interval-evaluations",
            f"{sampling}, guided only in {inside}, evaluations",
            "constant weight",
            lambda: compare_evaluations(INTERVAL, WEIGHT),
        ),
        Row(
            "guidance-interval-time",
            f"{sampling}, guided only in {inside}, time",
            "constant weight",
            lambda: compare_times(sampler(base(), INTERVAL), sampler(base(), WEIGHT), 25),
            "ratio below 1",
        ),
        Row(
            "guidance-learned-time",
            f"{sampling}, learned weight, time",
            "constant weight",
            lambda: compare_times(sampler(base(), learned()), sampler(base(), WEIGHT), 25),
            "more work: a network of weights",
        ),
        Row(
            "guidance-unguided-time",
            f"{sampling}, constant weight, time",
            "the conditional model alone (weight 0)",
            lambda: compare_times(sampler(base(), WEIGHT), sampler(base(), 0), 25),
            "about 2, its evaluations",
        ),
        Row(
            "guidance-learning",
            f"{UPDATES} updates of the learned weight, 128 points of 4 particles, time",
            f"{UPDATES} updates of the base itself, 256 points",
            lambda: compare_times(updates_of_guidance(), updates_of_the_base(), 15),
            "more work: 1,024 rows against 256",
        ),
        *quality_rows(),
    ]
