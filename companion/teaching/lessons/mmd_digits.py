"""Lesson 04 on digits, over seeds: every start, every rival. `compare_digits()` makes the stored result "04_digits".

Settings of flows are chosen as in `mmd_bench`; rivals that are trained have settings found on a seed used nowhere else.
"""

import time
from collections.abc import Iterator
from typing import Any

import torch
from tqdm.auto import tqdm

from companion.methods.rivals import critic_flow as critics
from companion.methods.rivals import one_pass_gan, sliced_energy
from companion.methods.rivals.critic_flow import PointCritic, critic_flow
from companion.methods.rivals.one_pass_gan import Generator, OnePassPair, train_one_pass
from companion.methods.rivals.sliced_energy import sliced_energy_flow
from companion.teaching import results
from companion.teaching.lessons import distributional_diffusion, mmd_bench
from companion.teaching.lessons.deep_mmd import classifier_judge, gaussian_fit, judge, levels_from, start, witness
from companion.teaching.lessons.mmd_bench import (
    SEEDS,
    diffusion_row,
    kernel_flows,
    last,
    nearest_row,
    row_of,
    seconds_of,
    seeded,
    witness_flows,
    witness_seconds,
)
from companion.teaching.session import Session

SOURCES = (
    *mmd_bench.SOURCES,
    *distributional_diffusion.SOURCES,
    distributional_diffusion,
    critics,
    one_pass_gan,
    sliced_energy,
    __name__,
)
COMMAND = "python -m companion claims mmd_digits"

DISTANCES = (1.0, 2.0, 5.0, 10.0)  # from which particles start, in standard deviations of a pixel's noise
FAR = 5.0
CRITIC_STEPS = {"wasserstein": (1.0, 100), "kl": (1.0, 100)}
ADVERSARIAL = {"logistic": {"steps": 3000}, "wasserstein": {"steps": 3000}}
PIXELS = 64


def compare_digits(seeds: tuple[int, ...] = SEEDS, n: int = 500) -> None:
    """Digits, stored as "04_digits": the levels against the best single one from near and far, and all rivals from far.

    Every row has the distance of pixels from held-out digits, lesson 01's distance in a classifier's features
    ("classifier", of images clipped to [-1, 1]), the nearest-train ratio, the share of copies (nearer to a training image
    than half of what is usual), and the coverage of the held-out digits.
    """
    seen = classifier_judge(Session("lesson", 0, torch.device("cpu")))
    judged = judge("digits")
    data: dict[str, Any] = {"seeds": seeds, "floor": judged.floor(n), "classifier_floor": seen.floor}
    data |= {"distances": DISTANCES, "from": {}, "rows": {}, "training": witness_seconds("digits")}
    for seed in tqdm(seeds, desc="digits"):
        model = witness("digits", Session("lesson", seed, torch.device("cpu")))
        for distance in DISTANCES:
            z = start("digits", seed, n, distance)
            rows = dict(witness_flows(model, levels_from("digits", distance), z, judged, seen))
            for method, row in rows.items():
                data["from"].setdefault(method, {}).setdefault(f"{distance:g}", []).append(row)
            if distance == FAR:
                rows |= dict(kernel_flows("digits", z, judged, seen)) | dict(_digit_rivals(seed, z, judged, seen))
                rows["start"] = row_of(judged, z, seen=seen)
                for method, row in rows.items():
                    data["rows"].setdefault(method, []).append(row)
    results.store("04_digits", data, SOURCES, COMMAND)


def _digit_rivals(seed, z, judged, seen) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is trained to make digits with or against an adversary, a diffusion model, and what costs nothing."""
    target = judged.train
    generator = torch.Generator().manual_seed(2000 + seed)
    sliced = {
        length: sliced_energy_flow(z, target, length, 100, momentum=0.9, generator=generator)
        for length in (0.3, 1.0, 3.0)
    }
    yield "sliced energy", nearest_row(judged, sliced, seen)
    yield "diffusion", diffusion_row("digits", seed, z, judged, seen)
    for loss, settings in ADVERSARIAL.items():
        pair = seeded(lambda: OnePassPair(Generator(PIXELS, 64, 128), PointCritic(PIXELS, 128)), seed)
        seconds = seconds_of(train_one_pass(pair, target, loss=loss, generator=generator, **settings))
        with torch.no_grad():
            drawn = pair.generator.sample(len(z), generator)
        yield (
            {"logistic": "GAN", "wasserstein": "Wasserstein GAN"}[loss],
            row_of(judged, drawn, seconds, 0.0, None, seen),
        )
    for divergence, (length, steps) in CRITIC_STEPS.items():
        critic = seeded(lambda: PointCritic(PIXELS, 128), seed)
        began = time.process_time()
        cloud = last(critic_flow(z, target, critic, length, steps, divergence=divergence, generator=generator))
        name = {"wasserstein": "Wasserstein critic", "kl": "variational KL critic"}[divergence]
        yield name, row_of(judged, cloud, 0.0, time.process_time() - began, None, seen)
    yield "Gaussian fit", row_of(judged, gaussian_fit(target, len(z), generator), seen=seen)
    yield "copies of training digits", row_of(judged, target[: len(z)], seen=seen)
