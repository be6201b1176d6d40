"""Exercises 01.5 to 01.7: steps, schedules and perfect draws."""

import functools
import itertools
import math

import torch

from companion.data.toy import eight_gaussians
from companion.foundations.diffusion import add_noise, bridge, sample, time_grid
from companion.foundations.distances import energy_distance
from companion.teaching.checks.answers import (
    DOUBLE,
    NotYet,
    StudentFunction,
    expect,
    expect_close,
    expect_tensor,
    normal,
    read_function,
    read_words,
    uniform,
)
from companion.teaching.checks.framework import exercise

# 01.5 One step across the bridge


@exercise(
    "01.5",
    "One step across the bridge",
    difficulty=3,
    minutes=10,
    equation="eq. (4)",
    takeaway="Every churn keeps the law at every time; churn only says how much of the old noise is replaced by new.",
)
def bridge_step(answer: object) -> StudentFunction:
    return read_function(answer, "step(x_t, x0, t, s, churn, noise)")


def _times(generator: torch.Generator) -> tuple[float, float]:
    """t and s < t, away from the ends."""
    t = uniform(generator, 0.5, 0.95)
    return t, uniform(generator, 0.1, 0.8) * t


def _coefficients(step: StudentFunction, t: float, s: float, churn: float) -> list[float]:
    """What the step multiplies x_t, x0 and the noise with."""
    units = torch.eye(3, dtype=DOUBLE)
    return [step(*(u.reshape(1, 1) for u in unit[:2]), t, s, churn, unit[2].reshape(1, 1)).item() for unit in units]


def _marginal(step: StudentFunction, generator: torch.Generator) -> list[tuple[str, float, float, float]]:
    """For some times and churns: where, the mean's factor of x0, the std of x_s, and s."""
    found = []
    for churn in (0.0, 0.5, 1.0):
        t, s = _times(generator)
        of_x, of_x0, of_noise = _coefficients(step, t, s, churn)
        where = f"from t = {t:.2f} to s = {s:.2f} with churn {churn:g}"
        found.append((where, of_x * (1 - t) + of_x0, math.hypot(of_x * t, of_noise), s))
    return found


@bridge_step.requires("shape", "A step maps points to points: the shape and dtype of x_t come back.")
def _(step: StudentFunction, generator: torch.Generator) -> None:
    for shape, dtype in (((7, 2), torch.float64), ((3, 1, 4, 4), torch.float32)):
        x_t, x0, noise = (normal(generator, *shape).to(dtype) for _ in range(3))
        expect_tensor(step(x_t, x0, 0.7, 0.3, 0.5, noise), shape, dtype, "x_s")


@bridge_step.requires(
    "clean end",
    "The step to s = 0 arrives at data. There alpha = 1 and sigma = 0, so every r_ij with j > 0 vanishes and x0 is left, "
    "whatever the churn. If not: the first index of r is the power of the alphas, the second that of the sigmas.",
)
def _(step: StudentFunction, generator: torch.Generator) -> None:
    x_t, x0, noise = normal(generator, 3, 6, 2)
    for churn in (0.0, 0.6, 1.0):
        expect_close(
            step(x_t, x0, uniform(generator, 0.3, 1.0), 0.0, churn, noise),
            x0,
            1e-9,
            f"with churn {churn:g}, a coordinate",
        )


@bridge_step.requires(
    "no fresh noise",
    "At churn 0 the step draws nothing: DDIM keeps the noise that x_t came with. Yours depends on fresh noise there.",
)
def _(step: StudentFunction, generator: torch.Generator) -> None:
    x_t, x0, one, other = normal(generator, 4, 6, 2)
    t, s = _times(generator)
    expect_close(step(x_t, x0, t, s, 0.0, one), step(x_t, x0, t, s, 0.0, other), 1e-9, "with other noise, a coordinate")


@bridge_step.requires(
    "DDIM",
    "At churn 0, a point x_t = alpha_t x0 + sigma_t eps must go to alpha_s x0 + sigma_s eps, with the same eps. If it does "
    "not: sigma_s/sigma_t is a ratio of standard deviations, not of variances, and x0 is multiplied by alpha_s.",
)
def _(step: StudentFunction, generator: torch.Generator) -> None:
    x0, eps = normal(generator, 2, 6, 2)
    t, s = _times(generator)
    expected = add_noise(x0, s, eps)
    expect_close(
        step(add_noise(x0, t, eps), x0, t, s, 0.0, eps),
        expected,
        1e-6,
        f"from t = {t:.2f} to s = {s:.2f}, a coordinate",
    )


@bridge_step.requires(
    "mean kept",
    "If x_t has the noised law, so must x_s: its mean given x0 is alpha_s x0. Yours has another, so the cloud drifts at every step.",
)
def _(step: StudentFunction, generator: torch.Generator) -> None:
    for where, mean, _, s in _marginal(step, generator):
        expect_close(mean, 1 - s, 1e-6, f"{where}, the factor of x0")


@bridge_step.requires(
    "noise kept",
    "If x_t has the noised law, so must x_s: its standard deviation given x0 is sigma_s. Too little and the sampler "
    "believes in details that are not there; too much and they blur. The formula gives a variance: noise is multiplied by its root.",
)
def _(step: StudentFunction, generator: torch.Generator) -> None:
    for where, _, std, s in _marginal(step, generator):
        expect_close(std, s, 1e-6, f"{where}, the standard deviation")


@bridge_step.requires(
    "DDPM",
    "At churn 1 the step is Bayes' rule for the forward process, the law of x_s given x_t and x0, and that rule fixes how "
    "much fresh noise it draws. Yours draws another amount.",
)
def _(step: StudentFunction, generator: torch.Generator) -> None:
    for _ in range(3):
        t, s = _times(generator)
        shrink = (1 - t) / (1 - s)
        precision = 1 / s**2 + shrink**2 / (t**2 - shrink**2 * s**2)
        fresh = abs(_coefficients(step, t, s, 1.0)[2])
        expect_close(fresh, precision**-0.5, 1e-6, f"from t = {t:.2f} to s = {s:.2f}, the std of the fresh noise")


@bridge_step.requires(
    "churn squared", "Both ends of churn are right, but not the way between them: the formulas hold its square, e^2."
)
def _(step: StudentFunction, generator: torch.Generator) -> None:
    x_t, x0, noise = normal(generator, 3, 6, 2)
    for _ in range(3):
        (t, s), churn = _times(generator), uniform(generator, 0.2, 0.8)
        mean, std = bridge(x_t, x0, t, s, churn)
        expect_close(
            step(x_t, x0, t, s, churn, noise), mean + std * noise, 1e-6, f"with churn {churn:.2f}, a coordinate"
        )


@bridge_step.requires(
    "from pure noise",
    "The first step starts at t = 1, where alpha_t = 0: dividing by alpha_t, or by 1 - t, fails there.",
)
def _(step: StudentFunction, generator: torch.Generator) -> None:
    x_t, x0, noise = normal(generator, 3, 6, 2)
    for churn in (0.0, 1.0):
        mean, std = bridge(x_t, x0, 1.0, 0.6, churn)
        expect_close(step(x_t, x0, 1.0, 0.6, churn, noise), mean + std * noise, 1e-6, "a coordinate")


# 01.6 Four steps well spent


SCHEDULE_POINTS, SCHEDULE_SEEDS = 3000, 3


@functools.lru_cache(maxsize=64)
def schedule_distance(times: tuple[float, ...]) -> float:
    """Mean energy distance to eight narrow Gaussians of DDPM with the exact denoiser, over fixed seeds.

    Every schedule meets the same noise, so that two can be compared more finely than each is known.
    """
    law = eight_gaussians(std=0.05).to(DOUBLE)
    total = 0.0
    for seed in range(SCHEDULE_SEEDS):
        generator = torch.Generator().manual_seed(10_000 + seed)
        data = law.sample(SCHEDULE_POINTS, generator)
        noise = normal(generator, SCHEDULE_POINTS, 2)
        *_, points = sample(law.denoise, noise, torch.tensor(times, dtype=DOUBLE), churn=1.0, generator=generator)
        total += energy_distance(points, data).item()
    return total / SCHEDULE_SEEDS


def _relative_distance(times: tuple[float, ...]) -> float:
    return schedule_distance(times) / schedule_distance(tuple(time_grid(4).tolist()))


@exercise(
    "01.6",
    "Four steps well spent",
    difficulty=2,
    minutes=10,
    equation="Algorithm 2",
    takeaway="Less than half the uniform grid's distance at the same cost: times that shrink by ratios leave the last step, which nothing mends, little to blur.",
)
def schedule(answer: object) -> tuple[float, ...]:
    try:
        times = torch.as_tensor(answer, dtype=DOUBLE)
    except (TypeError, ValueError, RuntimeError):
        times = torch.empty(0, 0)
    if times.ndim != 1 or not bool(times.isfinite().all()):
        raise NotYet("Expected the times as one list of five numbers, such as [1, ..., 0].", "type")
    return tuple(times.tolist())


@schedule.requires(
    "five times", "Four steps join five times, both ends included: every step needs a time to leave and one to reach."
)
def _(times: tuple[float, ...], generator: torch.Generator) -> None:
    expect(len(times) == 5, f"got {len(times)}, which makes {max(len(times) - 1, 0)} steps")


@schedule.requires(
    "falling",
    "Time runs from noise to data here: t = 1 is noise, t = 0 is data, so each time is smaller than the one before.",
)
def _(times: tuple[float, ...], generator: torch.Generator) -> None:
    expect(all(later < earlier for earlier, later in itertools.pairwise(times)))


@schedule.requires(
    "both ends",
    "The sampler starts from pure noise, which is t = 1, and must arrive at clean points, t = 0. Stop earlier and the "
    "samples keep their noise; start later and the first input has the wrong law.",
)
def _(times: tuple[float, ...], generator: torch.Generator) -> None:
    expect(times[0] == 1 and times[-1] == 0, f"yours run from {times[0]:g} to {times[-1]:g}")


ENOUGH = 0.5


def _compare(times: tuple[float, ...]) -> str:
    return f"your distance is {_relative_distance(times):.2f} times the uniform grid's; at most {ENOUGH:g} is wanted"


@schedule.requires(
    "last jump",
    "Nothing mends the last step: it puts every point at its posterior mean, and yours starts where neighbouring modes are "
    "still confused, so that points land between them, where no data live. Take the last step from a smaller t.",
)
def _(times: tuple[float, ...], generator: torch.Generator) -> None:
    expect(_relative_distance(times) <= ENOUGH or times[3] <= 0.16, _compare(times))


@schedule.requires(
    "jump too far",
    "One of your steps goes too far. It puts a mean in place of a draw, and only as much of that error is mended later as "
    "the noise left at its end can cover. Share the way out more evenly, in ratios rather than in differences.",
)
def _(times: tuple[float, ...], generator: torch.Generator) -> None:
    t, s = max(itertools.pairwise(times[:4]), key=lambda pair: pair[0] / pair[1])
    expect(_relative_distance(times) <= ENOUGH, f"{_compare(times)}; look at the step from {t:g} to {s:g}")


# 01.7 Perfect draws


WORDS = ("falls", "stays", "grows")


@exercise(
    "01.7",
    "Perfect draws",
    difficulty=3,
    minutes=5,
    equation="Algorithm 2",
    takeaway="Exact draws give the exact law on any grid. Steps and churn only decide how much of its start a sample remembers.",
)
def perfect_draws(answer: object) -> tuple[str, ...]:
    return read_words(answer, 3, WORDS)


@perfect_draws.requires(
    "distance",
    "The draw of x0 given x_t and the bridge to x_s make a pair with exactly the right law, and so does every later pair: "
    "no error is made, so there is none for smaller steps to reduce, or for more steps to pile up.",
)
def _(words: tuple[str, ...], generator: torch.Generator) -> None:
    expect(words[0] == "stays", f"you say that the distance {words[0]}")


@perfect_draws.requires(
    "memory at churn 1",
    "At churn 1 the steps retrace the forward process, and in that process x_1 is pure noise: it knows nothing of x_0. So "
    "nor does x_0 of x_1, on any grid.",
)
def _(words: tuple[str, ...], generator: torch.Generator) -> None:
    expect(words[1] == "stays", f"you say that the correlation {words[1]}")


@perfect_draws.requires(
    "memory at churn 0",
    "With one step the sample is a draw that cannot know its start. With many, each draw is trusted for a small step only "
    "and their randomness averages out: what is left is a flow without noise, where the start decides the end.",
)
def _(words: tuple[str, ...], generator: torch.Generator) -> None:
    expect(words[2] == "grows", f"you say that the correlation {words[2]}")
