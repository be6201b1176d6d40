"""Rows of lesson 02: rounds of speculative sampling, what they cost in evaluations, and its bookkeeping.

No public package samples this way, so the peers are our own: the plain sampler, which waits for as many calls as
it takes steps, and Picard iteration. Rounds are counted, not timed, and do not depend on the machine. A call
that many points share is worth its wait only where a batch costs little more than a point; the row
of plain times shows what happens on a CPU, where it does not.
"""

import statistics
import time
from collections.abc import Callable

import torch

from companion.data.toy import eight_gaussians
from companion.foundations.diffusion import Denoiser, sample, time_grid
from companion.foundations.networks import UNet
from companion.methods.rivals.picard import sample_picard
from companion.methods.speculative import reflection_coupling, speculative_sample
from companion.teaching.lessons.distributional_diffusion import FASHION
from tests.benchmarks.measure import Result, Row, compare_times

CHAINS, SEEDS = 1000, range(5)
WINDOWS = (2, 4, 8, 16)
PROMISED = WINDOWS.index(8)
IMAGES = (8, 3, 32, 32)
SIZES = {"small": {"width": 32, "levels": 2}, "lesson 01's": FASHION["network"]}


# --- rounds and evaluations: counted over five seeds, as shares of K and of K evaluations a chain -------------


def shares(sampler: Callable, steps: int, window: int) -> tuple[float, float, float]:
    """Median over seeds of the chains' mean rounds, then the largest of any chain, and the median of evaluations."""
    law, grid, rounds, largest, evaluations = eight_gaussians(), time_grid(steps), [], [], []
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        run = sampler(law.denoise, torch.randn(CHAINS, 2, generator=generator), grid, window, generator=generator)
        rounds.append(run.rounds.double().mean().item() / steps)
        largest.append(run.rounds.max().item() / steps)
        evaluations.append(run.evaluations / (CHAINS * steps))
    return statistics.median(rounds), max(largest), statistics.median(evaluations)


def in_words(sampler: Callable, steps: int) -> tuple[str, list[float]]:
    rounds, largest, evaluations = zip(*[shares(sampler, steps, window) for window in WINDOWS], strict=True)

    def listed(values):
        return ", ".join(f"{value:.2f}" for value in values)

    words = f"rounds / K {listed(rounds)} (largest chain {listed(largest)}); evaluations / K {listed(evaluations)}"
    return words, list(rounds)


def compare_rounds_with_plain(steps: int) -> Result:
    """The ratio is that of window 8; the plain sampler's numbers are what its loop does."""
    words, rounds = in_words(speculative_sample, steps)
    return Result(words, "rounds / K 1; evaluations / K 1", f"{rounds[PROMISED]:.2f}")


def compare_rounds_with_picard(steps: int) -> Result:
    """Ours draws the exact law; Picard's at this tolerance is near it. The ratio is that of window 8."""
    ours, rounds = in_words(speculative_sample, steps)
    theirs, picard = in_words(sample_picard, steps)
    return Result(ours, theirs, f"{rounds[PROMISED] / picard[PROMISED]:.2f}")


# --- time -----------------------------------------------------------------------------------------------------


class Timed:
    """A denoiser that adds up the seconds spent in it."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.seconds = denoiser, 0.0

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        began = time.perf_counter()
        answer = self.denoiser(x, t)
        self.seconds += time.perf_counter() - began
        return answer


def unet(width: int, levels: int) -> UNet:
    """What its weights are does not matter to its time."""
    torch.manual_seed(0)
    return UNet(IMAGES[1], width=width, levels=levels).eval()


def overhead(network: UNet, window: int = 4, steps: int = 10, repeats: int = 5) -> Result:
    """Ours: seconds of a run outside the target, all of them. Peer: those inside. The ratio is the overhead."""
    grid, pairs = time_grid(steps), []
    x = torch.randn(IMAGES, generator=torch.Generator().manual_seed(0))
    for repeat in range(repeats + 1):
        target = Timed(network)
        began = time.perf_counter()
        speculative_sample(target, x, grid, window, generator=torch.Generator().manual_seed(repeat))
        pairs.append((time.perf_counter() - began - target.seconds, target.seconds))
    outside, inside = (statistics.median(side) for side in zip(*pairs[1:], strict=True))  # the first warms up
    return Result(f"{1000 * outside:,.0f} ms", f"{1000 * inside:,.0f} ms", f"{outside / inside:.3f}")


def compare_coupling_with_the_target() -> Result:
    """On the same images: one coupling, and one evaluation of the network whose answers it couples."""
    generator = torch.Generator().manual_seed(0)
    draft, draft_mean, target_mean = torch.randn(3, *IMAGES, generator=generator)
    std, uniform = torch.rand(2, IMAGES[0], generator=generator)
    network = unet(**SIZES["small"])

    @torch.no_grad()
    def evaluate():
        return network(draft, uniform)

    return compare_times(
        lambda: reflection_coupling(draft, draft_mean, target_mean, std, uniform), evaluate, repeats=51
    )


def compare_times_with_plain(steps: int = 100, window: int = 8) -> Result:
    law, grid = eight_gaussians(), time_grid(steps)
    x = torch.randn(CHAINS, 2, generator=torch.Generator().manual_seed(0))

    def plain():
        for _ in sample(law.denoise, x, grid, 1.0, torch.Generator().manual_seed(1)):
            pass

    def speculative():
        speculative_sample(law.denoise, x, grid, window, generator=torch.Generator().manual_seed(1))

    return compare_times(speculative, plain, repeats=15)


def rows() -> list[Row]:
    windows = f"windows {', '.join(map(str, WINDOWS))}"
    setting = f"eight Gaussians, {windows}; medians of {len(SEEDS)} seeds of {CHAINS:,} chains; ratio of window 8"
    size = "x".join(map(str, IMAGES))
    wanted = {100: "ratio at most 0.5, no chain above 1"}
    return [
        *[
            Row(
                f"speculative-rounds-{steps}",
                f"speculative sampling, K = {steps}, {setting}",
                "our plain sampler",
                lambda steps=steps: compare_rounds_with_plain(steps),
                wanted.get(steps, "no chain above 1"),
            )
            for steps in (50, 100, 500)
        ],
        Row(
            "speculative-picard",
            f"speculative sampling, K = 100, {setting}",
            "our Picard iteration, at its default tolerance, not exact",
            lambda: compare_rounds_with_picard(100),
        ),
        *[
            Row(
                f"speculative-overhead-{key}",
                f"speculative sampling of {size} images, K = 10, window 4: time outside the target",
                f"time inside the target, {name} UNet ({', '.join(f'{k} {v}' for k, v in SIZES[name].items())})",
                lambda name=name: overhead(unet(**SIZES[name])),
                "ratio below 0.10",
            )
            for key, name in (("small", "small"), ("unet", "lesson 01's"))
        ],
        Row(
            "speculative-coupling",
            f"one reflection coupling of {size} images, time",
            "one evaluation of the small UNet on them",
            compare_coupling_with_the_target,
        ),
        Row(
            "speculative-time",
            f"speculative sampling of {CHAINS:,} points on this CPU, K = 100, window 8, time",
            "our plain sampler",
            compare_times_with_plain,
            "at most its evaluations and couplings: the rounds are saved where rows are computed at once, as on a GPU",
        ),
    ]
