"""What a batch costs each trainer of lesson 07, measured side by side: `compare_costs()` makes the stored result "07_costs"."""

import time
from statistics import median

from tqdm.auto import tqdm

from companion.foundations.stacks import cross_entropy
from companion.teaching import results
from companion.teaching.lessons import plasticity
from companion.teaching.lessons.plasticity import BATCH, KINDS, SEEDS, stream, trainer_of

SOURCES = (*plasticity.SOURCES, __name__)
COMMAND = "python -m companion claims plasticity_costs"
REPEATS, STEPS = 9, 100


def compare_costs(repeats: int = REPEATS) -> None:
    """CPU milliseconds to learn one batch of 16 digits with one network 64-64-64-10, its scoring left out, for each kind."""
    stored, found = results.load("07_labels")["rows"], stream("labels", 0, 1)
    batch = found.features[None, :BATCH], found.labels[None, :BATCH]
    measured: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in tqdm(range(repeats), desc="costs"):
        for kind in KINDS:
            trainer = trainer_of(kind, [stored[kind]["chosen"]], SEEDS[:1], 64, 10)
            began = time.process_time()
            for _ in range(STEPS):
                trainer.learn(cross_entropy, batch)
            measured[kind].append(1000 * (time.process_time() - began) / STEPS)
    results.store("07_costs", {kind: median(values) for kind, values in measured.items()}, SOURCES, COMMAND)
