"""Rows of lesson 05: what a last layer costs that is solved, against one that is walked, and against other solvers.

Every comparison of two ways to one answer refuses to time them unless the answers agree.
"""

import functools

import torch
from torch import nn

from companion.foundations.linear import RecursiveLeastSquares, ridge
from companion.foundations.networks import MLP
from companion.methods.last_layer import Mode, closed_form_loss, squared_loss, train_closed_form
from tests.benchmarks.measure import Result, Row, compare_times

INPUTS, WIDTH, OUTPUTS = 8, 256, 10
ROWS, BATCH, STEPS = 5000, 512, 20
PENALTY = 1.0
SIZES = {"tall": (20_000, 256), "wide": (256, 4096)}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def agree(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert (ours - theirs).norm() < 1e-3 * theirs.norm(), "the two ways lead to different numbers"


# --- one step of training: each function returns the task, which is STEPS of them -----------------------------------


def backbone() -> nn.Module:
    """Three hidden layers of WIDTH, and as many features."""
    torch.manual_seed(0)
    return nn.Sequential(MLP(INPUTS, WIDTH, WIDTH, depth=3), nn.SiLU())


def data() -> tuple[torch.Tensor, torch.Tensor]:
    return normal(ROWS, INPUTS), normal(ROWS, OUTPUTS, seed=1)


def steps_closed_form(mode: Mode = "proximal"):
    module, pairs, generator = backbone(), data(), torch.Generator().manual_seed(0)
    settings = {"learning_rate": 1e-3, "optimizer": torch.optim.SGD, "every": STEPS, "ridge": 1e-3}

    def run():
        for _ in train_closed_form(module, pairs, STEPS, mode, batch_size=BATCH, generator=generator, **settings):
            pass

    return run


def steps_of_all_layers():
    """What everybody writes."""
    model, (x, y), generator = nn.Sequential(backbone(), nn.Linear(WIDTH, OUTPUTS)), data(), torch.Generator()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def run():
        for _ in range(STEPS):
            index = torch.randint(ROWS, (BATCH,), generator=generator)
            loss = 0.5 * (model(x[index]) - y[index]).square().sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


# --- solvers --------------------------------------------------------------------------------------------------------


def rows_of(size: str) -> tuple[torch.Tensor, torch.Tensor]:
    n, p = SIZES[size]
    return normal(n, p), normal(n, OUTPUTS, seed=1)


def compare_with_scikit_learn(size: str) -> Result:
    from sklearn.linear_model import Ridge

    features, targets = rows_of(size)
    model, arrays = Ridge(alpha=PENALTY, fit_intercept=False, solver="cholesky"), (features.numpy(), targets.numpy())
    agree(ridge(features, targets, PENALTY), torch.as_tensor(model.fit(*arrays).coef_).T)
    return compare_times(lambda: ridge(features, targets, PENALTY), lambda: model.fit(*arrays))


def compare_with_lstsq(size: str) -> Result:
    features, targets = rows_of(size)
    agree(ridge(features, targets, 0), torch.linalg.lstsq(features, targets).solution)
    return compare_times(lambda: ridge(features, targets, 0), lambda: torch.linalg.lstsq(features, targets))


def last_layer() -> tuple[torch.Tensor, torch.Tensor]:
    return normal(BATCH, WIDTH), normal(BATCH, OUTPUTS, seed=1)


def step_curvlinops(kfac: bool):
    """A damped Newton step of the last layer from 0, where a sum of squares has the gradient `-2 F'Y` and, for each
    output, the curvature `2 F'F`: with twice the penalty as damping it ends at the ridge solution. KFAC has `F'F / n`,
    which for one layer and this loss is exact; factors of the outputs, which would cost it time, are the identity."""
    from curvlinops import (
        CGInverseLinearOperator,
        FisherType,
        GGNLinearOperator,
        KFACInverseLinearOperator,
        KFACLinearOperator,
    )
    from curvlinops.examples import IdentityLinearOperator

    features, targets = last_layer()
    layer, loss = nn.Linear(WIDTH, OUTPUTS, bias=False), nn.MSELoss(reduction="sum")
    nn.init.zeros_(layer.weight)
    problem = (layer, loss, [layer.weight], [(features, targets)])

    def solved_by_ggn(gradient):
        curvature = GGNLinearOperator(*problem, check_deterministic=False)
        damping = 2 * PENALTY * IdentityLinearOperator([layer.weight.shape], features.device, features.dtype)
        return CGInverseLinearOperator(curvature + damping, tolerance=1e-4) @ [gradient]

    def solved_by_kfac(gradient):
        curvature = KFACLinearOperator(*problem, check_deterministic=False, fisher_type=FisherType.FORWARD_ONLY)
        return KFACInverseLinearOperator(curvature, damping=(PENALTY / BATCH, 0.0)) @ [gradient / (2 * BATCH)]

    def run():
        (gradient,) = torch.autograd.grad(loss(layer(features), targets), layer.weight)
        (step,) = (solved_by_kfac if kfac else solved_by_ggn)(gradient)
        return -step.T

    return run


def compare_with_curvlinops(kfac: bool) -> Result:
    (features, targets), theirs = last_layer(), step_curvlinops(kfac)
    agree(ridge(features, targets, PENALTY), theirs())
    return compare_times(lambda: ridge(features, targets, PENALTY), theirs, 15)


def compare_gradients() -> Result:
    features, targets = normal(BATCH, WIDTH).requires_grad_(), normal(BATCH, OUTPUTS, seed=1)
    size = 0.1

    def envelope():
        return torch.autograd.grad(closed_form_loss(features, targets, size), features)[0]

    def through():
        weights = ridge(features, targets, BATCH * size)
        loss = squared_loss(features, weights, targets) + 0.5 * size * weights.square().sum()
        return torch.autograd.grad(loss, features)[0]

    agree(envelope(), through())
    return compare_times(envelope, through, 15)


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(normal(BATCH, WIDTH, seed=seed), normal(BATCH, OUTPUTS, seed=seed + 50)) for seed in range(5)]


def recursion(forgetting: float = 0.95):
    shown, prior = batches(), torch.zeros(WIDTH, OUTPUTS)

    def run():
        memory = RecursiveLeastSquares(prior, PENALTY, forgetting)
        for features, targets in shown:
            memory.update_ex(features, targets)
        return memory.weights

    return run


def kalman_filter(forgetting: float = 0.95):
    """The same filter in the textbook's form: a covariance, which a batch needs no inverse of."""
    shown, prior, identity = batches(), torch.zeros(WIDTH, OUTPUTS), torch.eye(WIDTH)
    lasting = (1 - forgetting) * PENALTY * identity

    def run():
        mean, covariance = prior, identity / PENALTY
        for features, targets in shown:
            covariance = torch.linalg.inv(forgetting * torch.linalg.inv(covariance) + lasting)
            cross = covariance @ features.T
            gain = torch.linalg.solve(features @ cross + torch.eye(BATCH), cross, left=False)
            mean = mean + gain @ (targets - features @ mean)
            covariance = covariance - gain @ cross.T
        return mean

    return run


def compare_filters() -> Result:
    ours, theirs = recursion(), kalman_filter()
    agree(ours(), theirs())
    return compare_times(ours, theirs)


def rows() -> list[Row]:
    step = f"{STEPS} closed-form steps, mode {{}}, MLP 3x{WIDTH}, p = {WIDTH}, batch {BATCH}{{}}, time"
    every = "SGD on all layers of the same network"
    found = []
    for mode in ("full", "proximal", "recursive"):
        forward = "" if mode == "full" else ", second forward pass included"
        found.append(
            Row(
                f"last-layer-{mode}",
                step.format(mode, forward),
                every,
                lambda mode=mode: compare_times(steps_closed_form(mode), steps_of_all_layers(), 15),
                "ratio at most 1.5" if mode == "proximal" else "more work: a solve in each step",
            )
        )
    for size, (n, p) in SIZES.items():
        task = f"ridge regression, {n:,} rows of {p:,} features, {OUTPUTS} outputs, penalty {{}}, time"
        found += [
            Row(
                f"ridge-{size}",
                task.format(PENALTY),
                "scikit-learn Ridge(fit_intercept=False, solver='cholesky')",
                functools.partial(compare_with_scikit_learn, size),
                "ratio at most 1",
            ),
            Row(
                f"ridge-lstsq-{size}",
                task.format(0),
                "torch.linalg.lstsq",
                functools.partial(compare_with_lstsq, size),
                "ratio at most 1",
            ),
        ]
    for key, label, kfac in (
        ("last-layer-ggn", "curvlinops GGN, conjugate gradients to a residual of 1e-4", False),
        ("last-layer-kfac", "curvlinops KFAC and its inverse, exact for one layer", True),
    ):
        found.append(
            Row(
                key,
                f"closed-form step of a last layer, batch {BATCH}, p = {WIDTH}, {OUTPUTS} outputs, penalty {PENALTY}, time",
                f"{label}, same weights after it",
                functools.partial(compare_with_curvlinops, kfac),
                "ratio at most 1",
            )
        )
    return [
        *found,
        Row(
            "last-layer-envelope",
            f"reduced loss of {BATCH} rows of {WIDTH} features and its envelope gradient, time",
            "autograd through the solve, same gradient",
            compare_gradients,
            "ratio below 1",
        ),
        Row(
            "recursive-update",
            f"5 batches of {BATCH} rows of {WIDTH} features by recursive least squares, forgetting 0.95, time",
            "the same as a Kalman filter of covariances, written out",
            compare_filters,
        ),
    ]
