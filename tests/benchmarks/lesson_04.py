"""Rows of lesson 04: what a step of a flow of particles costs, with a kernel and with learned features.

geomloss gets the same clouds and the same kernel. Its loss is half of MMD^2 and its gradient has a 1/n, so that n
times its gradient is the slope that we follow; a row refuses to time the two unless the step leads to the same cloud.
geomloss also works out the kernel within the data, on which no particle depends: its loss has it, a step needs it not.
"""

import functools

import torch

from companion.data.hidden_plane import HiddenPlane
from companion.data.toy import eight_gaussians
from companion.foundations.distances import Kernel, pairwise_distance, rbf
from companion.methods.mmd_flow import (
    FeatureMLP,
    NoiseConditionalWitness,
    adaptive_flow,
    kale_flow,
    mmd_flow,
    riesz,
    witness_slope,
)
from companion.methods.rivals.sliced_energy import sliced_energy_flow, sliced_energy_slope
from tests.benchmarks.measure import Result, Row, compare_memory, compare_times

POINTS, MANY = 5000, 20_000
STEP = 0.5
BANDWIDTHS = {2: 0.5, 64: 8.0}
INNER_STEPS = 20
SLICES = 64


def clouds(n: int, dim: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain noise, and the data of the lesson in that dimension."""
    generator = torch.Generator().manual_seed(0)
    law = eight_gaussians() if dim == 2 else HiddenPlane(dim)
    return torch.randn(n, dim, generator=generator), law.sample(n, generator)


# --- one step of the flow of a kernel: each function returns the task ---------------------------------------------


def step_ours(n: int = POINTS, dim: int = 2, kernel: Kernel | None = None):
    (z, target), kernel = clouds(n, dim), rbf(BANDWIDTHS[dim]) if kernel is None else kernel

    def run():
        _, after = mmd_flow(z, target, kernel, STEP, 1)
        return after

    return run


def step_geomloss(n: int = POINTS, dim: int = 2, energy: bool = False):
    from geomloss import SamplesLoss

    z, target = clouds(n, dim)
    loss = SamplesLoss("energy" if energy else "gaussian", blur=BANDWIDTHS[dim], backend="tensorized")

    def run():
        points = z.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(points, target), points)
        return z - STEP * n * gradient

    return run


def compare_with_geomloss(dim: int, energy: bool = False) -> Result:
    ours = step_ours(dim=dim, kernel=riesz() if energy else None)
    theirs, start = step_geomloss(dim=dim, energy=energy), clouds(POINTS, dim)[0]
    moved = (ours() - start).norm()
    assert (ours() - theirs()).norm() < 1e-3 * moved, "the two steps lead to different clouds"
    return compare_times(ours, theirs, 9)


def step_ours_many(n: int = MANY):
    return step_ours(n)


def all_distances(n: int = MANY):
    """What a step would need at least that holds all pairs at once."""
    z, target = clouds(n)
    return lambda: pairwise_distance(z, target)


def step_sliced(n: int = POINTS, dim: int = 2):
    (z, target), generator = clouds(n, dim), torch.Generator().manual_seed(0)

    def run():
        _, after = sliced_energy_flow(z, target, STEP, 1, SLICES, generator=generator)
        return after

    return run


def compare_with_slices(dim: int) -> Result:
    z, target = clouds(500, dim)
    exact = witness_slope(z, z, target, riesz())
    estimate = sliced_energy_slope(z, target, 20_000, torch.Generator().manual_seed(0))
    assert (estimate - exact).norm() < 0.1 * exact.norm(), "many slices do not have the slope of the kernel"
    return compare_times(step_ours(dim=dim, kernel=riesz()), step_sliced(dim=dim), 9)


# --- steps of the flow of a witness -------------------------------------------------------------------------------


def witness(dim: int = 64) -> NoiseConditionalWitness:
    """The lesson's features. What its weights are does not matter to its time."""
    torch.manual_seed(0)
    module = NoiseConditionalWitness(FeatureMLP(dim)).eval()
    module.remember(clouds(100, dim)[1], torch.Generator().manual_seed(0))
    return module


def steps_of_a_witness(flow=adaptive_flow, n: int = POINTS, dim: int = 64):
    module, (z, _) = witness(dim), clouds(n, dim)
    level = module.noising.levels(3)[1:2]

    def run():
        *_, end = flow(module, z, level, 0.1, INNER_STEPS)
        return end

    return run


def slopes_of_its_network(n: int = POINTS, dim: int = 64):
    """The features, and the slope of one fixed function of them at each point: no flow can do with less."""
    module, (z, _) = witness(dim), clouds(n, dim)
    position, weights = torch.tensor(0.5), torch.ones(module.network.num_features)

    def run():
        for _ in range(INNER_STEPS):
            points = z.detach().requires_grad_()
            torch.autograd.grad((module.network(points, position) @ weights).sum(), points)

    return run


def rows() -> list[Row]:
    here = __name__
    step = f"a step of the flow of a kernel, {POINTS:,} particles and {POINTS:,} points in {{}} dimensions, {{}}"
    inner = f"{INNER_STEPS} steps of the adaptive flow of {POINTS:,} particles in 64 dimensions, no data, time"
    found = []
    for dim in (2, 64):
        for name, energy in {"gaussian": False, "energy": True}.items():
            found.append(
                Row(
                    f"flow-{name}-{dim}d",
                    step.format(dim, f"{name} kernel") + ", time",
                    f"gradient of geomloss SamplesLoss('{name}', backend='tensorized'), same cloud after it",
                    functools.partial(compare_with_geomloss, dim, energy),
                    "ratio at most 1",
                )
            )
        found.append(
            Row(
                f"flow-sliced-{dim}d",
                step.format(dim, "energy kernel") + ", time",
                f"sliced energy flow, {SLICES} slices, right on average only",
                functools.partial(compare_with_slices, dim),
                "more work: exact",
            )
        )
    return [
        *found,
        Row(
            "flow-memory",
            step.format(2, "gaussian kernel") + ", peak memory above the inputs",
            "gradient of geomloss SamplesLoss('gaussian', backend='tensorized')",
            lambda: compare_memory(here, "step_ours", "step_geomloss"),
            "ratio below 1",
        ),
        Row(
            "flow-memory-many",
            f"such a step with {MANY:,} particles and {MANY:,} points, peak memory above the inputs",
            "the matrix of all distances alone, without a gradient",
            lambda: compare_memory(here, "step_ours_many", "all_distances"),
            "ours under 200 MB",
        ),
        Row(
            "flow-adaptive",
            inner,
            "the slopes of its network alone, forward and backward",
            lambda: compare_times(steps_of_a_witness(), slopes_of_its_network(), 15),
            "about 1, its network",
        ),
        Row(
            "flow-kale",
            inner.replace("the adaptive flow", "the KALE flow"),
            "of the adaptive flow",
            lambda: compare_times(steps_of_a_witness(kale_flow), steps_of_a_witness(), 15),
            "more work: every particle's weight in the dual problem",
        ),
    ]
