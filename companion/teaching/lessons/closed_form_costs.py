"""What a step of each method of lesson 05 costs, measured side by side: `compare_costs()` makes the stored result "05_costs".

The comparisons take long, and what else a machine does meanwhile would show in their seconds. So costs are measured apart:
all methods of a study in turn, a few times over, and the median of what a step takes.
"""

from statistics import median

from tqdm.auto import tqdm

from companion.teaching import results
from companion.teaching.lessons import closed_form
from companion.teaching.lessons.closed_form import follow, task, train_by

SOURCES = (*closed_form.SOURCES, __name__)
COMMAND = "python -m companion claims closed_form_costs"
STUDIES = (
    ("05_full", "constant", "sines"),
    ("05_128", "constant", "sines"),
    ("05_16", "constant", "sines"),
    ("05_real", "digits 128", "digits"),
    ("05_real", "digits 16", "digits"),
    ("05_darcy", "constant", "darcy"),
)
REPEATS = 5
STEPS = 40
FIRST = 10  # steps that are not counted: buffers are made, caches filled


def compare_costs(repeats: int = REPEATS) -> None:
    """CPU milliseconds a step, for each study and method, on the first seed."""
    data: dict[str, dict[str, float]] = {}
    for result, part, name in tqdm(STUDIES, desc="costs"):
        study, given = results.load(result)[part], task(name, 0)
        methods = {method: row["chosen"][0] for method, row in study["rows"].items() if "chosen" in row}
        measured: dict[str, list[float]] = {method: [] for method in methods}
        for _ in range(repeats):
            for method, (rate, setting) in methods.items():
                states = train_by(method, given, 0, STEPS, study["batch"], rate, setting, every=FIRST)
                step, seconds, _ = follow(states, given)
                measured[method].append(1000 * (seconds[-1] - seconds[0]) / (step[-1] - step[0]))
        data[f"{result}, {part}"] = {method: median(values) for method, values in measured.items()}
    results.store("05_costs", data, SOURCES, COMMAND)
