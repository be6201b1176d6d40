"""Lesson 04 on digits, over seeds: every start, every rival. `compare_digits()` makes the stored result "04_digits".

Settings are chosen as in `mmd_bench`.
"""

from typing import Any

import torch
from tqdm.auto import tqdm

from companion.teaching import results
from companion.teaching.lessons import distributional_diffusion, mmd_bench
from companion.teaching.lessons.deep_mmd import classifier_judge, gaussian_fit, judge, levels_from, start, witness
from companion.teaching.lessons.mmd_bench import (
    SEEDS,
    kernel_flows,
    row_of,
    trained_rivals,
    witness_flows,
    witness_seconds,
)
from companion.teaching.session import Session

SOURCES = (
    *mmd_bench.SOURCES,
    *distributional_diffusion.SOURCES,
    distributional_diffusion,
    __name__,
)
COMMAND = "python -m companion claims mmd_digits"

DISTANCES = (1.0, 2.0, 5.0, 10.0)  # from which particles start, in standard deviations of a pixel's noise
FAR = 5.0


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
                rows |= dict(kernel_flows("digits", z, judged, seen))
                rows |= dict(trained_rivals("digits", seed, z, judged, seen))
                fit = gaussian_fit(judged.train, n, torch.Generator().manual_seed(2500 + seed))
                others = {"start": z, "Gaussian fit": fit, "copies of training digits": judged.train[:n]}
                rows |= {name: row_of(judged, points, seen=seen) for name, points in others.items()}
                for method, row in rows.items():
                    data["rows"].setdefault(method, []).append(row)
    results.store("04_digits", data, SOURCES, COMMAND)
