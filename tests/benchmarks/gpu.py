"""Measure the inner loops of all lessons on the CPU and on a GPU: `python tests/benchmarks/gpu.py [KEY ...] [--quick]`.

Every loop of `tests/loops.py` runs at one size on both devices, in float32, in bfloat16 by autocast and compiled. What a
device could do at best is measured in the same run: a large product of matrices, and a large copy. Without a GPU its cells
stay empty; nothing is estimated. With KEYs only those loops are measured and printed, and the stored table is left alone.
"""

import argparse
import platform
import statistics
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from companion.foundations.distances import energy_distance  # noqa: E402
from companion.foundations.fourier import FourierOperator2d  # noqa: E402
from companion.foundations.language import Transformer  # noqa: E402
from companion.foundations.networks import UNet  # noqa: E402
from companion.foundations.residual import ExpandedResidualNet  # noqa: E402
from companion.foundations.stacks import StackedMLP  # noqa: E402
from companion.methods.dynamic_evaluation import COUNTED  # noqa: E402
from companion.methods.kalman import KalmanHead  # noqa: E402
from companion.methods.last_layer import solve_last_layer  # noqa: E402
from companion.methods.mmd_flow import scaled_rbf, witness_slope  # noqa: E402
from tests.benchmarks.measure import milliseconds, processor, seconds  # noqa: E402
from tests.loops import LOOPS, Loop, compiled, rounded_products  # noqa: E402

EMPTY, FAILS = "–", "fails"
NO_GPU = "There was no GPU on the machine that made this table: its columns are empty."
PAYS = 0.9  # a variant pays where its time is below this share of float32's
# bfloat16 is called safe where it changes a network's result by less than the first share, which is five of its roundings,
# and any other by less than the second.
SAFE, EXACT = 0.02, 1e-4
TIME_OF_A_REPEAT = 0.02  # seconds: shorter steps are repeated, so that a GPU's queue fills


# --- operations that torch's counter leaves out: 2 for a product and its sum, 1 for what stands alone --------------


def _pairs(a, b, *_, **__) -> int:
    """Differences, squares and sums of all pairs of rows (`cdist` without products of matrices)."""
    return 3 * prod(a) * b[-2]


def _cholesky(a, *_, **__) -> int:
    return a[-1] ** 3 // 3


def _cholesky_solve(right, factor, *_, **__) -> int:
    return 2 * factor[-1] ** 2 * right[-1]


def _triangular(factor, right, *_, **__) -> int:
    return factor[-1] ** 2 * right[-1]


def _qr(a, *_, **__) -> int:
    rows, columns = a[-2:]
    return 2 * columns**2 * (3 * rows - columns) // 3


ATEN = torch.ops.aten
COUNTS = COUNTED | {
    ATEN._cdist_forward: _pairs,
    ATEN._cdist_backward: lambda slopes, a, b, *_, **__: _pairs(a, b),
    ATEN.linalg_cholesky_ex: _cholesky,
    ATEN.cholesky_solve: _cholesky_solve,
    ATEN.linalg_solve_triangular: _triangular,
    ATEN.linalg_qr: _qr,
}


def counted(step: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False, custom_mapping=COUNTS) as counter:
        step()
    return counter.get_total_flops()


# --- time ---------------------------------------------------------------------------------------------------------


def wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def median_time(step: Callable[[], Any], device: str, quick: bool = False) -> float:
    """Seconds of a step that has run before: the median of repeats, each ending when the device has finished."""

    def run(calls: int) -> None:
        for _ in range(calls):
            step()
        wait_for(device)

    wait_for(device)
    once = seconds(partial(run, 1))
    if quick:
        return once
    calls = min(100, max(1, int(TIME_OF_A_REPEAT / once)))
    repeats = 1 if once > 2 else 3 if once > 0.5 else 7
    return statistics.median([seconds(partial(run, calls)) / calls for _ in range(repeats)])


class Ceilings(NamedTuple):
    """What a device reaches at best: operations a second in float32 and in bfloat16, bytes a second in a copy."""

    arithmetic: float
    half: float
    memory: float

    def or_better(self, other: "Ceilings | None") -> "Ceilings":
        """The higher of each: a machine is not at its best all the time."""
        return self if other is None else Ceilings(*map(max, self, other))


def ceilings(device: str, quick: bool = False) -> Ceilings:
    """Measured by a product of square matrices, and by a copy of more than a cache holds: the fastest of some."""
    side, numbers = (128, 2**16) if quick else (8192, 2**28) if device == "cuda" else (1024, 2**25)

    def fastest(task: Callable[[], Any]) -> float:
        return min(median_time(task, device, quick) for _ in range(2))

    speeds = []
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        torch.mm(a, b, out=out)
        speeds.append(2 * side**3 / fastest(partial(torch.mm, a, b, out=out)))
    source = torch.zeros(numbers, device=device)
    ends = torch.ones_like(source)
    return Ceilings(*speeds, 2 * 4 * numbers / fastest(partial(ends.copy_, source)))


# --- one loop on one device ---------------------------------------------------------------------------------------


@dataclass
class Found:
    """A loop on a device: seconds of a step in float32, and its operations; seconds or an error's name of each variant."""

    time: float
    flops: int
    variants: dict[str, float | str] = field(default_factory=dict)


def variants_of(loop: Loop, device: str, quick: bool) -> list[str]:
    names = ["TF32"] if device == "cuda" else []
    names += ["bf16"] if loop.network else []
    return names + (["compile"] if loop.compiles and not quick else [])


def measured(loop: Loop, device: str, quick: bool, variant: str | None = None) -> tuple[float, int]:
    """Seconds of a step and its operations, which are counted in float32 only."""
    step = loop.make(device, compiled if variant == "compile" else lambda part: part, **sizes_of(loop, quick)).step

    def once() -> None:
        # around each step, not around the loop: within one context the cast weights are kept, also when they have changed
        with torch.autocast(device, torch.bfloat16) if variant == "bf16" else nullcontext():
            step()

    with rounded_products(variant == "TF32"):
        once()  # the first call sets up, and a compiler may look twice
        flops = 0 if variant else counted(once)
        if variant == "compile":
            once()
        return median_time(once, device, quick), flops


def found_on(loop: Loop, device: str, quick: bool) -> Found:
    found = Found(*measured(loop, device, quick))
    for variant in variants_of(loop, device, quick):
        torch.compiler.reset()
        try:
            found.variants[variant], _ = measured(loop, device, quick, variant)
        except Exception as error:  # whatever a compiler or a cast may raise: the table says that it does
            found.variants[variant] = type(error).__name__
    return found


def sizes_of(loop: Loop, quick: bool) -> dict[str, int]:
    return loop.small if quick else loop.sizes


# --- precision ----------------------------------------------------------------------------------------------------


def precisions(quick: bool = False) -> list[list[str]]:
    """Relative errors against float64, on the CPU: in float32, with autocast to bfloat16, with inputs rounded to it."""
    rows = []
    networks, others = results(quick)
    for what, result in (networks | others).items():
        reference = result(torch.float64, unchanged)
        errors = [error_of(partial(result, torch.float32, given), reference) for given in (unchanged, rounded)]
        with torch.autocast("cpu", torch.bfloat16):
            errors.insert(1, error_of(partial(result, torch.float32, unchanged), reference))
        judged, limit = (errors[1:2], SAFE) if what in networks else (errors[1:], EXACT)
        safe = "yes" if all(isinstance(error, float) and error < limit for error in judged) else "no"
        rows.append([what, *(error if isinstance(error, str) else f"{error:.1e}" for error in errors), safe])
    return rows


def unchanged(given: Tensor) -> Tensor:
    return given


def rounded(given: Tensor) -> Tensor:
    return given.bfloat16().to(given.dtype)


def error_of(result: Callable[[], Tensor], reference: Tensor) -> float | str:
    """Relative to the reference; or the name of the error that comes instead."""
    try:
        return ((result().double() - reference).norm() / reference.norm()).item()
    except RuntimeError as error:
        return f"{FAILS}: {type(error).__name__}"


Result = Callable[[torch.dtype, Callable[[Tensor], Tensor]], Tensor]


def results(quick: bool) -> tuple[dict[str, Result], dict[str, Result]]:
    """Networks and the rest: by name, (dtype, what is done to the inputs) -> a result as one row of numbers."""
    many, few = (200, 4) if quick else (2000, 32)
    unet, net = (
        partial(UNet, width=8 if quick else 64, levels=3),
        partial(ExpandedResidualNet, width=8 if quick else 64),
    )
    perceptron = partial(StackedMLP, None, 64, 10, 16 if quick else 1024)
    operator = partial(FourierOperator2d, 1, 32, width=8 if quick else 32, modes=5)
    images, fields, rows = partial(normal, few, 1, 16, 16), partial(normal, 2, 16, 16, 1), partial(normal, few, 64)
    reader = partial(Transformer, 96, 32 if quick else 384, 2 if quick else 6)
    networks = {
        "U-Net, output": partial(output, unet, images, t=0.5),
        "U-Net, gradient": partial(gradient, unet, images, mean_square, t=0.5),
        "residual net, logits": partial(output, net, images),
        "residual net, gradient": partial(gradient, net, images, classes),
        "perceptron, logits": partial(output, perceptron, rows),
        "perceptron, gradient": partial(gradient, perceptron, rows, classes),
        "Fourier operator, output": partial(output, operator, fields),
        "Fourier operator, gradient": partial(gradient, operator, fields, mean_square),
        "transformer, logits": partial(reading, reader, False),
        "transformer, gradient": partial(reading, reader, True),
    }
    others = {
        "energy distance of near clouds": partial(distance, many),
        "slope of an MMD flow": partial(slope, many),
        "solved last layer": partial(solved, many),
        "Kalman filter, mean": partial(filtered, "mean"),
        "Kalman filter, covariance": partial(filtered, "covariance"),
    }
    return networks, others


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(make: Callable[[], nn.Module], dtype: torch.dtype) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().to(dtype)


def output(make, inputs, dtype, given, **more) -> Tensor:
    with torch.no_grad():
        return made(make, dtype)(given(inputs().to(dtype)), **more).flatten()


def gradient(make, inputs, loss, dtype, given, **more) -> Tensor:
    model = made(make, dtype)
    return flat_gradient(model, loss(model(given(inputs().to(dtype)), **more)))


def mean_square(values: Tensor) -> Tensor:
    return values.square().mean()


def classes(logits: Tensor) -> Tensor:
    return cross_entropy(logits, torch.arange(len(logits)) % logits.shape[1])


def flat_gradient(model: nn.Module, loss: Tensor) -> Tensor:
    wanted = list(model.parameters())
    found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    return torch.cat([each.flatten() for each in found])


def reading(make, learns: bool, dtype, given) -> Tensor:
    model, tokens = made(make, dtype), (torch.arange(65)[None] * 7) % 95
    logits = model(tokens[:, :-1])
    if not learns:
        return logits.detach().flatten()
    return flat_gradient(model, cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()))


def distance(many: int, dtype, given) -> Tensor:
    return energy_distance(given(normal(many, 2).to(dtype)), given(0.1 + normal(many, 2, seed=1).to(dtype)))[None]


def slope(many: int, dtype, given) -> Tensor:
    cloud, target = (given(normal(many, 2, seed=seed).to(dtype)) for seed in range(2))
    return witness_slope(cloud, cloud, target, scaled_rbf(1.0)).flatten()


def solved(many: int, dtype, given) -> Tensor:
    features, targets = normal(many, 64).sigmoid(), normal(many, 3, seed=1)
    return solve_last_layer(given(features.to(dtype)), given(targets.to(dtype)), 1e-3).flatten()


def filtered(what: str, dtype, given) -> Tensor:
    head = KalmanHead(32, 3, 0.1, 1e-3, 0.999, dtype=dtype)
    for seed in range(20):
        rows = nn.functional.normalize(normal(8, 32, seed=seed), dim=1)
        head.update(given(rows.to(dtype)), given(normal(8, 3, seed=100 + seed).to(dtype)))
    return getattr(head, what).flatten()


# --- the tables ---------------------------------------------------------------------------------------------------


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def ratio(found: Found | None, variant: str) -> str:
    value = None if found is None else found.variants.get(variant)
    if isinstance(value, str):
        return f"{FAILS}: {value}"
    return EMPTY if value is None else f"{value / found.time:.2f}"


def large(number: float, unit: str) -> str:
    for power, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= power:
            return f"{number / power:.3g} {prefix}{unit}"
    return f"{number:.0f} {unit}"


def share(moved: float, found: Found, best: Ceilings) -> str:
    """Of the nearer ceiling: a step cannot be faster than its operations, nor than its bytes."""
    arithmetic, memory = found.flops / found.time / best.arithmetic, moved / found.time / best.memory
    return f"{100 * max(arithmetic, memory):.0f}% {'arithmetic' if arithmetic >= memory else 'memory'}"


def row_of(key: str, quick: bool, found: dict[str, Found], best: dict[str, Ceilings]) -> list[str]:
    """A loop's line in the table of times."""
    loop, sizes = LOOPS[key], sizes_of(LOOPS[key], quick)
    moved, flops = loop.make("meta", **sizes).bytes, found["cpu"].flops
    cells = [loop.lesson, loop.words(**sizes), large(flops, "FLOP") if flops else EMPTY, large(moved, "B")]
    for device in ("cpu", "cuda"):
        there = found.get(device)
        cells += [milliseconds(there.time), share(moved, there, best[device])] if there else [EMPTY] * 2
    return [*cells, f"**{found['cpu'].time / found['cuda'].time:.1f}**" if "cuda" in found else EMPTY]


def variants_row(key: str, found: dict[str, Found]) -> list[str]:
    """A loop's line in the table of variants."""
    cpu, gpu = found["cpu"], found.get("cuda")
    ratios = [
        *(ratio(cpu, name) for name in ("bf16", "compile")),
        *(ratio(gpu, name) for name in ("TF32", "bf16", "compile")),
    ]
    return [LOOPS[key].lesson, key, *ratios]


def paying(found: dict[str, dict[str, Found]], device: str, variant: str) -> str:
    """Which loops a variant makes clearly faster."""
    values = {key: there[device] for key, there in found.items() if device in there}
    tried = {key: each.variants[variant] for key, each in values.items() if variant in each.variants}
    if not tried:
        return "not measured"
    good = [key for key, value in tried.items() if isinstance(value, float) and value < PAYS * values[key].time]
    return f"{', '.join(good) or 'nowhere'} (of {len(tried)} loops)"


TIME_HEAD = ["lesson", "a step", "operations", "bytes", "CPU", "of its ceiling", "GPU", "of its ceiling", "speed-up"]
UNITS = ("FLOP", "FLOP", "B")  # of a device's ceilings
VARIANT_HEAD = ["lesson", "loop", "CPU, bf16", "CPU, compiled", "GPU, TF32", "GPU, bf16", "GPU, compiled"]
PRECISION_HEAD = ["result", "float32", "bf16 autocast", "inputs rounded to bf16", "bf16 autocast safe"]


def page(keys: list[str], quick: bool, show: Callable[[str], None] = lambda line: None) -> list[str]:
    """The whole text; `show` is given each line of the measurements when it is there."""
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    best: dict[str, Ceilings] = {}
    found: dict[str, dict[str, Found]] = {}
    for key in keys:
        for device in devices:
            with rounded_products(False):
                best[device] = ceilings(device, quick).or_better(best.get(device))
        found[key] = {device: found_on(LOOPS[key], device, quick) for device in devices}
        show(f"{key}: {found[key]}")
    times = [row_of(key, quick, there, best) for key, there in found.items()]
    variants = [variants_row(key, there) for key, there in found.items()]
    threads = torch.get_num_threads()
    gpu = torch.cuda.get_device_name() if "cuda" in devices else None
    reached = {device: [f"{large(*each)}/s" for each in zip(best[device], UNITS)] for device in devices}
    ceiling_rows = [[name, *reached.get(device, [EMPTY] * 3)] for device, name in (("cpu", "CPU"), ("cuda", "GPU"))]
    return [
        "# On a GPU",
        "",
        f"PyTorch {torch.__version__}, Python {platform.python_version()}; CPU: {processor()}, {threads} "
        f"thread{'s' * (threads > 1)}; GPU: {gpu or EMPTY}. {'' if gpu else NO_GPU}".strip(),
        *(["", "Small sizes, one repeat: this shows that it runs, and nothing else."] if quick else []),
        "",
        "A step of each lesson's inner loop, at the same size on both devices: medians, in float32 without TF32. Operations "
        "are counted by torch (products of matrices, convolutions, attention) and by formula (distances, factorisations); "
        "elementwise work is left out. Bytes are those of weights, of what an optimiser keeps, of inputs and outputs, each as often "
        "as it must be read or written; activations are left out. So a share of the ceiling is a lower bound.",
        "",
        *table(TIME_HEAD, times),
        "",
        "## Ceilings",
        "",
        "Measured in the same run, before each loop, and the best of all kept: the product of two large square matrices, and a "
        "large copy.",
        "",
        *table(["", "float32", "bfloat16", "copy"], ceiling_rows),
        "",
        "## Variants",
        "",
        "Time of a step divided by that in float32: below 1 is faster. *bf16* is autocast around each step; *TF32* rounds "
        "the factors of products, which torch does in convolutions by default; *compiled* is `torch.compile` of the network or "
        "kernel, without the time that compiling takes. Empty where there is nothing to compile, where another loop has "
        "compiled the same network, or where the work is no network's.",
        "",
        *table(VARIANT_HEAD, variants),
        "",
        f"Clearly faster, below {PAYS} of the time, on the CPU: compiled, {paying(found, 'cpu', 'compile')}; bf16, "
        f"{paying(found, 'cpu', 'bf16')}. On the GPU: compiled, {paying(found, 'cuda', 'compile')}; bf16, "
        f"{paying(found, 'cuda', 'bf16')}.",
        "",
        "## Precision",
        "",
        "How far a result is from that in float64, as a share of its norm; measured on the CPU. "
        f"Half precision is called safe where autocast changes a network's result by less than {SAFE:.0%}, and where "
        f"neither it nor rounded inputs change any other by more than {EXACT:g}. "
        "`pairwise_distance` works half precision out in float32, and `KalmanHead` and the solves do so, too; but what was "
        "rounded before is lost. Within autocast the filter fails and the solve is less exact: leave both outside.",
        "",
        *table(PRECISION_HEAD, precisions(quick)),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("keys", nargs="*", help="loops to measure; all when none is named")
    parser.add_argument("--quick", action="store_true", help="small sizes, once, nothing compiled")
    parser.add_argument("--out", type=Path, default=HERE / "gpu.md", help="where the whole table is stored")
    arguments = parser.parse_args()
    unknown = set(arguments.keys) - set(LOOPS)
    if unknown:
        parser.error(f"unknown loop {sorted(unknown)[0]!r}; the loops are {', '.join(LOOPS)}")
    chosen = [key for key in LOOPS if key in arguments.keys or not arguments.keys]
    lines = page(chosen, arguments.quick, partial(print, flush=True))
    print("\n".join(lines))
    if not arguments.keys:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
