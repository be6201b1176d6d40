"""Rows of lesson 06: steps of the Kalman head against filters that are general, on one stream.

A state of filterpy and of dynamax is one vector, so K classes need K filters. filterpy also runs if its state is a matrix with
all classes as columns, which shares the covariance as ours does; dynamax follows a single class here. No pair is timed unless the two ways lead to the same numbers (to seven digits: dynamax adds a little to variances).
"""

import functools

import numpy as np
import torch

from companion.methods.kalman import KalmanHead, average_log_softmax, run_stream
from companion.methods.rivals.online import SoftmaxSGD
from tests.benchmarks.measure import Result, Row, compare_times

FEATURES, CLASSES, BLOCKS = 256, 10, 20
GAMMA, NOISE = 0.9999, 0.1


def stream(batch_size: int, blocks: int = BLOCKS) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (blocks, b, m) of unit norm and targets (blocks, b, K)."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(blocks, batch_size, FEATURES, generator=generator, dtype=torch.float64)
    targets = torch.randn(blocks, batch_size, CLASSES, generator=generator, dtype=torch.float64)
    return features / features.norm(dim=-1, keepdim=True), targets


def agree(ours: torch.Tensor, theirs: object) -> None:
    theirs = torch.as_tensor(np.array(theirs, dtype=np.float64))
    assert (ours - theirs).norm() < 1e-7 * theirs.norm(), "the two ways lead to different numbers"


def ours(batch_size: int, blocks: int = BLOCKS, **settings):
    features, targets = stream(batch_size, blocks)

    def run():
        head = KalmanHead(FEATURES, CLASSES, noise_variance=NOISE, gamma=GAMMA, **settings)
        for rows, values in zip(features, targets):
            head.update(rows, values)
        return head.mean

    return run


def with_filterpy(batch_size: int, blocks: int = BLOCKS, columns: int = CLASSES):
    """One filter for so many columns at a time, until all classes are done."""
    from filterpy.kalman import KalmanFilter

    features, targets = (part.numpy() for part in stream(batch_size, blocks))

    def run_columns(targets):
        peer = KalmanFilter(dim_x=FEATURES, dim_z=batch_size)
        peer.x, peer.P = np.zeros((FEATURES, targets.shape[-1])), np.eye(FEATURES)
        peer.F, peer.Q = GAMMA * np.eye(FEATURES), (1 - GAMMA**2) * np.eye(FEATURES)
        peer.R = NOISE * np.eye(batch_size)
        for rows, values in zip(features, targets):
            peer.predict()
            peer.update(values, H=rows)
        return peer.x

    parts = np.split(targets, CLASSES // columns, axis=-1)
    return lambda: np.concatenate([run_columns(part) for part in parts], axis=1)


def with_dynamax(batch_size: int, blocks: int = BLOCKS):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    from dynamax.linear_gaussian_ssm import LinearGaussianSSM, lgssm_filter

    features, targets = (jnp.asarray(part.numpy()) for part in stream(batch_size, blocks))
    identity = jnp.eye(FEATURES)
    model = LinearGaussianSSM(FEATURES, batch_size)
    parameters, _ = model.initialize(
        jax.random.PRNGKey(0),
        initial_mean=jnp.zeros(FEATURES),
        initial_covariance=identity,
        dynamics_weights=GAMMA * identity,
        dynamics_bias=jnp.zeros(FEATURES),
        dynamics_covariance=(1 - GAMMA**2) * identity,
        emission_weights=features,
        emission_bias=jnp.zeros(batch_size),
        emission_covariance=NOISE * jnp.eye(batch_size),
    )
    one_class = jax.jit(lambda values: lgssm_filter(parameters, values).filtered_means[-1])
    return lambda: one_class(targets[:, :, 0]).block_until_ready()


def compare_with_filterpy(ours_by: int, theirs_by: int, columns: int) -> Result:
    """The same rows, in blocks of ours and of theirs; blocks of different sizes drift differently, so only speed is compared."""
    rows = BLOCKS * ours_by
    mine, theirs = ours(ours_by), with_filterpy(theirs_by, rows // theirs_by, columns)
    if ours_by == theirs_by:
        agree(mine(), theirs())
    return compare_times(mine, theirs)


def compare_with_dynamax() -> Result:
    mine, theirs = ours(32), with_dynamax(32)
    agree(mine()[:, 0], theirs())
    return compare_times(mine, theirs)


def compare_forms() -> Result:
    root, plain = ours(32, square_root=True), ours(32)
    agree(root(), plain())
    return compare_times(root, plain)


def whole_step(learner, features, labels):
    def run():
        for _ in run_stream(learner, features, labels, every=len(labels)):
            pass

    return run


def compare_with_sgd() -> Result:
    """Predict, adapt and absorb, row by row, against a gradient step on softmax regression."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(100, 100, generator=generator) / 10
    labels = torch.randint(CLASSES, (100,), generator=generator)
    head = KalmanHead(100, CLASSES, gamma=0.9999, learn_gamma=True)
    return compare_times(
        whole_step(head, features, labels), whole_step(SoftmaxSGD(100, CLASSES, 1.0), features, labels)
    )


def compare_prediction() -> Result:
    """The Monte Carlo softmax of 1,000 rows against the softmax of the mean."""
    generator = torch.Generator().manual_seed(0)
    mean, noise = torch.randn(1000, CLASSES, generator=generator), torch.randn(32, 1000, CLASSES, generator=generator)
    variance, scale = torch.rand(1000, generator=generator), torch.tensor(5.0)
    return compare_times(
        lambda: average_log_softmax(mean, variance, scale, noise), lambda: torch.log_softmax(scale * mean, -1)
    )


def rows() -> list[Row]:
    what = f"Kalman update of a last layer, m = {FEATURES}, K = {CLASSES}, {BLOCKS} blocks of 32, time"
    return [
        Row(
            "kalman-filterpy",
            what,
            "filterpy's KalmanFilter, the same blocks, a filter for each class",
            functools.partial(compare_with_filterpy, 32, 32, 1),
            "ratio at most 0.2",
        ),
        Row(
            "kalman-filterpy-columns",
            what,
            "one filterpy filter, the same blocks, all classes as columns of its state",
            functools.partial(compare_with_filterpy, 32, 32, CLASSES),
            "ratio at most 0.2",
        ),
        Row(
            "kalman-filterpy-rows",
            what,
            "one filterpy filter, row by row, all classes as columns of its state",
            functools.partial(compare_with_filterpy, 32, 1, CLASSES),
            "ratio at most 0.2",
        ),
        Row(
            "kalman-dynamax",
            what,
            "dynamax's lgssm_filter, compiled, the same blocks, one class only",
            compare_with_dynamax,
            "ratio below 1",
        ),
        Row(
            "kalman-square-root",
            f"{what}, in square-root form",
            "our covariance form",
            compare_forms,
            "more work: a QR decomposition a block, for single precision",
        ),
        Row(
            "kalman-stream",
            "100 rows of a stream, test then train, gamma and alpha learned, m = 100, K = 10, time",
            "the same loop with SGD on softmax regression",
            compare_with_sgd,
            "more work: a covariance, and draws for gamma and alpha",
        ),
        Row(
            "kalman-softmax",
            "average softmax of 1,000 rows, K = 10, 32 draws given, time",
            "the softmax of the mean",
            compare_prediction,
            "about 32, its draws",
        ),
    ]
