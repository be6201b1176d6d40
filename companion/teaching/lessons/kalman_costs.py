"""What a row costs each learner of lesson 06, measured side by side: `compare_costs()` makes the stored result "06_costs"."""

import time
from statistics import median

from tqdm.auto import tqdm

from companion.teaching import results
from companion.teaching.lessons import kalman_streams
from companion.teaching.lessons.kalman_streams import KINDS, digit_rows, run

SOURCES = (*kalman_streams.SOURCES, __name__)
COMMAND = "python -m companion claims kalman_costs"
REPEATS = 5
ROWS = 300


def compare_costs(repeats: int = REPEATS) -> None:
    """CPU milliseconds a row of test and training, for each kind, on digits with m = 100 and K = 10."""
    stored, stream = results.load("06_abrupt")["rows"], digit_rows("abrupt", 0, rows=ROWS)
    measured: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in tqdm(range(repeats), desc="costs"):
        for kind in KINDS:
            began = time.process_time()
            run(kind, tuple(stored[kind]["chosen"]), stream, 0)
            measured[kind].append(1000 * (time.process_time() - began) / ROWS)
    results.store("06_costs", {kind: median(values) for kind, values in measured.items()}, SOURCES, COMMAND)
