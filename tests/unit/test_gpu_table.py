"""The table of a GPU: what is counted, what is left empty, and what the stored one holds."""

import math
import re

import pytest
import torch

from tests.benchmarks import gpu
from tests.loops import LOOPS

LESSONS = {loop.lesson for loop in LOOPS.values()}  # those that have an inner loop


def cells(lines: list[str], head: list[str]) -> list[dict[str, str]]:
    """The rows of the table with this head; columns of one name are numbered."""
    first = lines.index(f"| {' | '.join(head)} |")
    names = [f"{name} {head[:place].count(name)}" for place, name in enumerate(head)]
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(names, line.strip("| ").split(" | "), strict=True)))
    return rows


def assert_honest(lines: list[str], gpu_there: bool) -> None:
    """A row for each lesson; the GPU's columns are empty exactly when there was none, and the text says so."""
    times, variants = cells(lines, gpu.TIME_HEAD), cells(lines, gpu.VARIANT_HEAD)
    assert len(times) == len(variants) == len(LOOPS)
    assert {row["lesson 0"] for row in times} == LESSONS
    assert (gpu.NO_GPU in "\n".join(lines)) == (not gpu_there)
    for row in times:
        assert re.fullmatch(r"[\d.,e+]+ m?s", row["CPU 0"]), row
        of_gpu = [row["GPU 0"], row["of its ceiling 1"], row["speed-up 0"]]
        assert (of_gpu != [gpu.EMPTY] * 3) == gpu_there
    for row in variants:
        assert gpu_there or all(value == gpu.EMPTY for name, value in row.items() if name.startswith("GPU"))


@pytest.mark.slow
def test_the_table_is_made_on_this_machine_at_small_sizes():
    lines = gpu.page(list(LOOPS), quick=True)
    assert_honest(lines, torch.cuda.is_available())
    assert "shows that it runs, and nothing else" in "\n".join(lines)
    precision = {row["result 0"]: row for row in cells(lines, gpu.PRECISION_HEAD)}
    assert float(precision["U-Net, output"]["float32 0"]) < 1e-5
    assert 1e-4 < float(precision["U-Net, output"]["bf16 autocast 0"]) < 0.1
    for name in ("energy distance of near clouds", "solved last layer", "Kalman filter, mean"):
        assert precision[name]["bf16 autocast safe 0"] == "no"


def test_the_stored_table_has_every_lesson_and_no_number_that_was_not_measured():
    lines = (gpu.HERE / "gpu.md").read_text(encoding="utf-8").splitlines()
    assert_honest(lines, gpu.NO_GPU not in "\n".join(lines))
    assert "Small sizes" not in "\n".join(lines)
    assert [row["a step 0"] for row in cells(lines, gpu.TIME_HEAD)] == [loop.words() for loop in LOOPS.values()]


def test_operations_are_counted_with_those_that_torch_leaves_out():
    a, b = torch.randn(20, 3), torch.randn(30, 3)
    square = torch.eye(6, dtype=torch.float64)
    tasks = {
        "a product": (lambda: a @ b.T, 2 * 20 * 30 * 3),
        "distances": (lambda: torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist"), 3 * 20 * 30 * 3),
        "a factor": (lambda: torch.linalg.cholesky_ex(square), 6**3 // 3),
        "two triangles": (lambda: torch.cholesky_solve(square[:, :2], square), 2 * 6 * 6 * 2),
        "one triangle": (lambda: torch.linalg.solve_triangular(square, square[:, :2], upper=False), 6 * 6 * 2),
        "a root": (lambda: torch.linalg.qr(torch.cat([square, square]), mode="r"), 2 * 36 * (3 * 12 - 6) // 3),
    }
    for what, (task, wanted) in tasks.items():
        assert gpu.counted(task) == wanted, what


def test_energy_distance_is_counted_pair_by_pair():
    """All pairs between the clouds, and within each those of blocks against themselves and what comes after."""
    n = 200
    step = LOOPS["distance"].make("cpu", points=n).step
    assert 3 * 2 * 2 * n * n <= gpu.counted(step) <= 3 * 2 * 3 * n * n + 3 * 2 * 2


def test_a_share_is_of_the_nearer_ceiling():
    best = gpu.Ceilings(arithmetic=100.0, half=200.0, memory=10.0)
    assert gpu.share(1.0, gpu.Found(1.0, 50), best) == "50% arithmetic"
    assert gpu.share(9.0, gpu.Found(1.0, 50), best) == "90% memory"


def test_a_variant_pays_only_where_it_is_clearly_faster():
    found = {
        "fast": {"cpu": gpu.Found(1.0, 1, {"compile": 0.5})},
        "same": {"cpu": gpu.Found(1.0, 1, {"compile": 0.95})},
        "broken": {"cpu": gpu.Found(1.0, 1, {"compile": "InductorError"})},
        "none": {"cpu": gpu.Found(1.0, 1)},
    }
    assert gpu.paying(found, "cpu", "compile") == "fast (of 3 loops)"
    assert gpu.paying(found, "cuda", "compile") == "not measured"
    assert [gpu.ratio(each["cpu"], "compile") for each in found.values()] == [
        "0.50",
        "0.95",
        "fails: InductorError",
        "–",
    ]
    assert gpu.ratio(None, "compile") == gpu.EMPTY


def test_the_time_of_a_step_is_that_of_one_step():
    calls = []
    gpu.median_time(lambda: calls.append(math.factorial(2000)), "cpu")
    one = gpu.median_time(lambda: math.factorial(2000), "cpu")
    ten = gpu.median_time(lambda: [math.factorial(2000) for _ in range(10)], "cpu")
    assert 4 < ten / one < 25
    assert len(calls) > 7  # a short step is repeated


def test_an_unknown_loop_is_refused_by_name(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gpu.py", "flight"])
    with pytest.raises(SystemExit):
        gpu.main()
    assert "unknown loop 'flight'; the loops are training, distance" in capsys.readouterr().err
