"""Exercises 02.5 and 02.6: how far a window carries, and how long it should be."""

import functools

import torch
from torch import Tensor

from companion.data.toy import eight_gaussians
from companion.foundations.diffusion import time_grid
from companion.methods.speculative import speculative_sample
from companion.teaching.checks.answers import (
    DOUBLE,
    NotYet,
    StudentFunction,
    TorchCalls,
    describe,
    expect,
    normal,
    read_function,
    read_number,
)
from companion.teaching.checks.framework import exercise

# 02.5 How far did each chain come?


@exercise(
    "02.5",
    "How far did each chain come?",
    difficulty=2,
    minutes=10,
    equation="Algorithm 3",
    takeaway="Kept drafts up to the first miss, and the reflected point that replaces it: every chain of the batch moves on by at least one step, each at its own pace.",
)
def steps_gained(answer: object) -> StudentFunction:
    return read_function(answer, "steps_gained(kept, lengths)")


def _windows(generator: torch.Generator, longest: int = 6, chains: int = 300) -> tuple[Tensor, Tensor, Tensor]:
    """Which drafts were kept (longest, chains), how many there were (chains,), and how many steps that gains (chains,)."""
    kept = torch.rand(longest, chains, generator=generator) < 0.75
    lengths = torch.randint(1, longest + 1, (chains,), generator=generator)
    return kept, lengths, _gained(kept, lengths)


def _gained(kept: Tensor, lengths: Tensor) -> Tensor:
    drafted = torch.arange(len(kept))[:, None] < lengths
    return torch.minimum((kept & drafted).long().cumprod(0).sum(0) + 1, lengths)


@steps_gained.requires(
    "one count a chain",
    "Return one whole number for each chain, a tensor of integers (n,): it will be added to a position.",
)
def _(steps_gained: StudentFunction, generator: torch.Generator) -> None:
    for longest, chains in ((6, 9), (5, 1)):
        kept, lengths, _ = _windows(generator, longest, chains)
        gained = steps_gained(kept, lengths)
        fits = isinstance(gained, torch.Tensor) and gained.shape == (chains,)
        fits = fits and not gained.is_floating_point() and gained.dtype != torch.bool
        expect(fits, f"Expected an integer tensor of shape ({chains},); got {describe(gained)}")


def _whole_windows(generator: torch.Generator, missed: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Chains that drafted all the window, with a miss in it or without one."""
    kept, _, _ = _windows(generator)
    kept[:, ::2] = True
    kept = kept[:, ~kept.all(0) if missed else kept.all(0)]
    lengths = torch.full((kept.shape[1],), len(kept))
    return kept, lengths, _gained(kept, lengths)


def _show(column: Tensor, came: Tensor, wanted: Tensor) -> str:
    drafts = " ".join("kept" if one else "missed" for one in column.tolist())
    return f"for the drafts '{drafts}' you count {came}, expected {wanted}"


@steps_gained.requires(
    "reflected step counts",
    "The draft that is not kept is replaced by its reflected point, an exact draw of the target. That step is done, "
    "too: a chain that misses at its first draft gains 1. With 0 it would stand still and might never arrive.",
)
def _(steps_gained: StudentFunction, generator: torch.Generator) -> None:
    kept, lengths, expected = _whole_windows(generator, missed=True)
    gained = steps_gained(kept, lengths)
    short = (gained < expected).nonzero()[:1, 0]
    expect(len(short) == 0, "".join(_show(kept[:, at], gained[at], expected[at]) for at in short))


@steps_gained.requires(
    "stops at the miss",
    "What comes after the first miss was drafted from a point where the chain never was. Those drafts are lost, "
    "even if each would be kept.",
)
def _(steps_gained: StudentFunction, generator: torch.Generator) -> None:
    kept, lengths, expected = _whole_windows(generator, missed=True)
    gained = steps_gained(kept, lengths)
    long = (gained > expected).nonzero()[:1, 0]
    expect(len(long) == 0, "".join(_show(kept[:, at], gained[at], expected[at]) for at in long))


@steps_gained.requires(
    "all kept",
    "A chain whose drafts are all kept gains just as many steps as it drafted: there is no reflected point to add, "
    "and no first miss to look for (`argmax` answers 0 where there is none).",
)
def _(steps_gained: StudentFunction, generator: torch.Generator) -> None:
    kept, lengths, expected = _whole_windows(generator, missed=False)
    gained = steps_gained(kept, lengths)
    expect(torch.equal(gained.long(), expected), f"for {len(kept)} kept drafts you count {gained[0]}")


@steps_gained.requires(
    "shorter windows",
    "Near its end a chain drafts fewer steps than the window has rows. What `kept` holds in the rows "
    "j >= lengths[i] of column i means nothing: it neither counts nor is a miss.",
)
def _(steps_gained: StudentFunction, generator: torch.Generator) -> None:
    kept, lengths, expected = _windows(generator)
    gained = steps_gained(kept, lengths)
    off = (gained != expected).nonzero()[:1, 0]
    found = "".join(
        f"{_show(kept[: lengths[at], at], gained[at], expected[at])}, in a window of 6 rows" for at in off.tolist()
    )
    expect(len(off) == 0, found)


@steps_gained.requires(
    "no loop",
    "The counts are right, but a Python loop runs over the chains: on a GPU every single one waits for the last. Let "
    "`cumprod` along the window find the first miss of all chains at once.",
)
def _(steps_gained: StudentFunction, generator: torch.Generator) -> None:
    def calls(chains: int) -> TorchCalls:
        kept, lengths, _ = _windows(generator, chains=chains)
        with TorchCalls() as calls:
            steps_gained(kept, lengths)
        return calls

    few, many = calls(3), calls(40)
    expect(many.count <= few.count, f"{few.count} calls of torch for 3 chains, {many.count} for 40")
    expect(not many.listed, "`tolist` moves the work from torch to Python")


# 02.6 A window for each machine

COSTS = (0.04, 0.2, 1.0)
STEPS, CHAINS, LONGEST = 100, 600, 64
ENOUGH = 1.05
COMPARED = (1, 2, 4, 8, 10, 12, 16, 20, 24)


@functools.lru_cache(maxsize=LONGEST)
def rounds_and_points(window: int) -> tuple[float, float]:
    """Rounds and evaluations of a chain, means over chains: eight Gaussians, 100 steps, frozen draft."""
    generator = torch.Generator().manual_seed(20_000)
    law, start = eight_gaussians().to(DOUBLE), normal(generator, CHAINS, 2)
    run = speculative_sample(law.denoise, start, time_grid(STEPS), window=window, generator=generator, keep_path=False)
    return run.rounds.double().mean().item(), run.evaluations / CHAINS


def time_taken(window: int, cost: float) -> float:
    """In calls with one point, when every further point of a call costs `cost` of one."""
    rounds, points = rounds_and_points(window)
    return rounds + cost * (points - rounds)


def best_window(cost: float) -> int:
    """Of some windows the one that takes the least time."""
    return min(COMPARED, key=lambda window: time_taken(window, cost))


def _lost(window: int, cost: float) -> float:
    """How many times as long as with the best window it takes."""
    return time_taken(window, cost) / time_taken(best_window(cost), cost)


def _explain(window: int, cost: float) -> str:
    took, more = time_taken(window, cost), _lost(window, cost) - 1
    return f"at cost {cost:g} your window of {window} takes the time of {took:.1f} calls, {more:.0%} more than the best"


@exercise(
    "02.6",
    "A window for each machine",
    difficulty=1,
    minutes=10,
    equation="Algorithm 3 and eq. (7)",
    takeaway="With room to spare the chain arrives nearly 5 times as fast, with little room 2.6 times, with none no faster at all. Speculation buys time with work, so it pays only where work is cheap.",
)
def windows(answer: object) -> list[int]:
    if isinstance(answer, torch.Tensor):
        answer = answer.tolist()
    refused = NotYet(f"Expected three windows, whole numbers such as [8, 8, 8]; got {describe(answer)}.", "type")
    if not isinstance(answer, list | tuple) or len(answer) != 3:
        raise refused
    numbers = [read_number(one, "a window") for one in answer]
    if not all(one == one // 1 for one in numbers):
        raise refused
    return [int(one) for one in numbers]


@windows.requires(
    "from 1 to 64", "A window holds at least the next step. And more than 64 of 100 steps need not be tried here."
)
def _(windows: list[int], generator: torch.Generator) -> None:
    expect(all(1 <= window <= LONGEST for window in windows), f"yours are {windows}")


@windows.requires(
    "room to spare",
    "The more a further point costs, the fewer drafts are worth their risk of being lost, so the shorter the "
    "window. The order of the costs is 0.04, 0.2, 1.",
)
def _(windows: list[int], generator: torch.Generator) -> None:
    expect(windows == sorted(windows, reverse=True), f"yours are {windows}")


@windows.requires(
    "no room at all",
    "On the last machine a further point costs as much as a call of its own, so the time is the number of points, "
    "and every lost draft is lost time. The slow sampler needs 100 points. Can you need fewer?",
)
def _(windows: list[int], generator: torch.Generator) -> None:
    expect(_lost(windows[2], COSTS[2]) <= ENOUGH, _explain(windows[2], COSTS[2]))


@windows.requires(
    "too short",
    "A window of yours ends while most of its drafts are still kept. A longer one waits fewer times, for a few more "
    "points.",
)
def _(windows: list[int], generator: torch.Generator) -> None:
    for window, cost in zip(windows[:2], COSTS):
        expect(_lost(window, cost) <= ENOUGH or window > best_window(cost), _explain(window, cost))


@windows.requires(
    "lost drafts",
    "A window of yours is too long. It may need the fewest rounds, but after the first miss all its drafts are "
    "lost, and each was a point that the machine had to work on. Count the points, too.",
)
def _(windows: list[int], generator: torch.Generator) -> None:
    for window, cost in zip(windows[:2], COSTS):
        expect(_lost(window, cost) <= ENOUGH, _explain(window, cost))
