"""Distances against closed forms, brute force and SciPy."""

import math
import weakref
from itertools import product

import pytest
import torch
from agree import seeded
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist
from sklearn.gaussian_process.kernels import RBF, RationalQuadratic

from companion.foundations import distances
from companion.foundations.distances import energy_distance, mmd2, noise_floor, rational_quadratic, rbf

betas = st.sampled_from([0.1, 0.5, 1.0, 1.5, 2.0])


def clouds(n: int, m: int, d: int, seed: int = 0, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = seeded(seed)
    x = torch.randn(n, d, generator=generator, dtype=dtype)
    return x, 1.5 * torch.randn(m, d, generator=generator, dtype=dtype) + 0.3


def energy_by_loops(x: torch.Tensor, y: torch.Tensor, beta: float) -> torch.Tensor:
    """The definition, pair by pair, a point never with itself."""

    def mean(pairs):
        return torch.stack([(a - b).norm() ** beta for a, b in pairs]).mean()

    within = [[(c[i], c[j]) for i, j in product(range(len(c)), repeat=2) if i != j] for c in (x, y)]
    return 2 * mean(product(x, y)) - mean(within[0]) - mean(within[1])


def energy_of_gaussians(first: float, second: float, beta: float, dim: int) -> float:
    """Exact energy distance of N(0, first^2 I) and N(0, second^2 I): E|N(0, v I)|^beta is a Gamma ratio."""

    def moment(variance):
        return (2 * variance) ** (beta / 2) * math.gamma((dim + beta) / 2) / math.gamma(dim / 2)

    return 2 * moment(first**2 + second**2) - moment(2 * first**2) - moment(2 * second**2)


@given(n=st.integers(2, 6), m=st.integers(2, 6), d=st.integers(1, 4), beta=betas, seed=st.integers(0, 99))
def test_energy_distance_is_the_mean_over_pairs(n, m, d, beta, seed):
    x, y = clouds(n, m, d, seed)
    torch.testing.assert_close(energy_distance(x, y, beta), energy_by_loops(x, y, beta))


@pytest.mark.parametrize("d", [1, 2, 32, 33, 200])
def test_energy_distance_agrees_with_scipy_in_every_dimension(d):
    x, y = clouds(150, 90, d)
    expected = 2 * cdist(x, y).mean() - pdist(x).mean() - pdist(y).mean()
    assert energy_distance(x, y).item() == pytest.approx(expected, rel=1e-10)
    assert energy_distance(x.float(), y.float()).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("beta", [0.5, 1.0, 1.5])
def test_energy_distance_of_gaussians_has_the_closed_form(beta):
    generator = seeded(1)
    draws = [
        energy_distance(torch.randn(500, 3, generator=generator), 2 * torch.randn(500, 3, generator=generator), beta)
        for _ in range(30)
    ]
    draws = torch.stack(draws)
    error = (draws.mean() - energy_of_gaussians(1.0, 2.0, beta, dim=3)).abs()
    assert error < 4 * draws.std() / math.sqrt(len(draws))
    assert draws.std() < 0.1 * draws.mean()  # so that the line above says something


def test_at_beta_two_energy_distance_compares_means_only():
    x, y = clouds(200, 200, 2)
    same_mean = 5 * (y - y.mean(0)) + x.mean(0)
    sampling_error = (x.var(0) / 200 + same_mean.var(0) / 200).sum()
    torch.testing.assert_close(energy_distance(x, same_mean, 2.0), -2 * sampling_error)
    torch.testing.assert_close(
        energy_distance(x, y, 2.0), 2 * (x.mean(0) - y.mean(0)).square().sum() - 2 * (x.var(0) + y.var(0)).sum() / 200
    )


def test_energy_distance_is_unbiased_and_a_v_statistic_is_not():
    """Coins with p = 0.3 and 0.6: the expectation over all 16 outcomes of two throws each is exactly 2 (p - q)^2."""
    p, q = 0.3, 0.6
    unbiased, with_self_pairs = 0.0, 0.0
    for throws in product([0.0, 1.0], repeat=4):
        x, y = torch.tensor(throws).double().reshape(2, 2, 1)
        chance = math.prod(p if a else 1 - p for a in throws[:2]) * math.prod(q if a else 1 - q for a in throws[2:])
        unbiased += chance * energy_distance(x, y).item()
        within = (torch.cdist(x, x).mean() + torch.cdist(y, y).mean()).item()  # self-pairs counted: the V-statistic
        with_self_pairs += chance * (2 * torch.cdist(x, y).mean().item() - within)
    assert unbiased == pytest.approx(2 * (p - q) ** 2)
    assert with_self_pairs > 2 * unbiased


@given(beta=betas, seed=st.integers(0, 99), scale=st.floats(0.1, 10))
def test_energy_distance_ignores_motions_and_scales_with_power_beta(beta, seed, scale):
    x, y = clouds(5, 7, 3, seed)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=seeded(seed), dtype=torch.float64)).Q
    moved = energy_distance(x @ rotation + 4.0, y @ rotation + 4.0, beta)
    torch.testing.assert_close(moved, energy_distance(x, y, beta))
    torch.testing.assert_close(energy_distance(scale * x, scale * y, beta), scale**beta * moved)
    torch.testing.assert_close(energy_distance(y, x, beta), energy_distance(x, y, beta))


def test_near_points_far_from_the_origin_keep_their_distance():
    """Distances through products of coordinates lose them: the usual fast way gives nonsense here."""
    x = 1000 + 1e-2 * torch.arange(64.0).reshape(32, 2)
    exact = torch.cdist(x.double(), x.double())
    torch.testing.assert_close(distances.pairwise_distance(x, x).double(), exact, rtol=1e-2, atol=1e-3)
    by_products = torch.cdist(x, x, compute_mode="use_mm_for_euclid_dist").double()
    assert (by_products - exact).abs().max() > 0.1


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 1.5, 2.0])
def test_gradient_is_that_of_the_mean_over_pairs(beta):
    x, y = clouds(5, 4, 2)
    ours, loops = x.clone().requires_grad_(), x.clone().requires_grad_()
    energy_distance(ours, y, beta).backward()
    energy_by_loops(loops, y, beta).backward()
    torch.testing.assert_close(ours.grad, loops.grad)


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("d", [2, 64])
def test_gradient_is_finite_where_points_coincide(beta, d):
    x = torch.zeros(4, d, requires_grad=True)
    value = energy_distance(x, torch.zeros(3, d), beta)
    value.backward()
    assert value == 0
    assert (x.grad == 0).all()


def test_the_power_of_a_distance_is_exact_at_zero():
    """A clamp at 1e-12 would give 0.25 instead of 0 at beta = 0.1."""
    square = torch.tensor([0.0, 4.0])
    assert distances.distance_power(square, 0.1).tolist() == pytest.approx([0.0, 2**0.1])
    assert square.clamp_min(1e-12).pow(0.05)[0] > 0.2


@pytest.mark.parametrize("pairs", [1, 7, 64, 10**9])
@pytest.mark.parametrize("kernel", [None, rbf(0.7), rational_quadratic(1.0, 0.5)], ids=["energy", "rbf", "rq"])
def test_blocks_change_nothing_but_memory(monkeypatch, pairs, kernel):
    def value_and_gradient():
        x, y = clouds(13, 9, 2)
        x.requires_grad_()
        value = energy_distance(x, y, 0.5) if kernel is None else mmd2(x, y, kernel)
        return value.detach(), torch.autograd.grad(value, x)[0]

    expected = value_and_gradient()
    monkeypatch.setattr(distances, "PAIRS_AT_ONCE", pairs)
    torch.testing.assert_close(value_and_gradient(), expected)


@pytest.mark.parametrize("needs_gradient", [False, True])
def test_memory_is_bounded_no_block_is_larger_than_allowed(monkeypatch, needs_gradient):
    monkeypatch.setattr(distances, "PAIRS_AT_ONCE", 5000)
    blocks = []

    def kernel(a, b):
        blocks.append(len(a) * len(b))
        return torch.cdist(a, b)

    saved = []

    def remember(tensor):
        packed = tensor.detach()  # itself, an output would keep itself alive
        saved.append(weakref.ref(packed))
        return packed

    x, y = clouds(1000, 700, 2)  # a matrix of all pairs of the two would take 5.6 MB
    x.requires_grad_(needs_gradient)
    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        value = mmd2(x, y, kernel)
    assert max(blocks) <= 5000
    assert sum(blocks) < 1000 * 700 + 0.6 * (1000**2 + 700**2)  # each pair once, but within the diagonal blocks
    kept = [tensor() for tensor in saved if tensor() is not None]
    assert sum(tensor.nbytes for tensor in kept) < 1e5  # what the gradient keeps is as large as the points
    assert value.requires_grad is bool(kept) is needs_gradient


def test_gradients_reach_both_clouds_and_stop_where_they_are_not_asked_for():
    x, y = clouds(5, 4, 2)
    both = [x.clone().requires_grad_(), y.clone().requires_grad_()]
    loops = [x.clone().requires_grad_(), y.clone().requires_grad_()]
    (3 * energy_distance(*both)).backward()
    (3 * energy_by_loops(*loops, 1.0)).backward()
    for ours, expected in zip(both, loops, strict=True):
        torch.testing.assert_close(ours.grad, expected.grad)
    assert not energy_distance(x, y).requires_grad
    with torch.no_grad():
        assert not energy_distance(*both).requires_grad


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(rbf(0.7), RBF(0.7)), (rational_quadratic(0.6, 1.7), RationalQuadratic(0.6, 1.7))],
    ids=["rbf", "rational_quadratic"],
)
def test_mmd_kernels_agree_with_scikit_learn_and_a_point_never_meets_itself(ours, theirs):
    x, y = clouds(20, 30, 3)
    torch.testing.assert_close(ours(x, y), torch.from_numpy(theirs(x.numpy(), y.numpy())))

    def within(cloud):
        matrix = theirs(cloud.numpy())
        return (matrix.sum() - matrix.trace()) / (len(cloud) * (len(cloud) - 1))

    expected = within(x) + within(y) - 2 * theirs(x.numpy(), y.numpy()).mean()
    assert mmd2(x, y, ours).item() == pytest.approx(expected)


def test_mmd_of_gaussians_has_the_closed_form():
    bandwidth, shift, generator = 1.2, 0.8, seeded(2)

    def expectation(distance):
        """E k(X, X + distance + noise) in the plane: the kernel convolved with N(0, 2 I)."""
        variance = bandwidth**2 + 2
        return bandwidth**2 / variance * math.exp(-(distance**2) / (2 * variance))

    draws = []
    for _ in range(30):
        x = torch.randn(400, 2, generator=generator)
        y = torch.randn(400, 2, generator=generator) + torch.tensor([shift, 0.0])
        draws.append(mmd2(x, y, rbf(bandwidth)))
    draws = torch.stack(draws)
    error = (draws.mean() - 2 * (expectation(0.0) - expectation(shift))).abs()
    assert error < 4 * draws.std() / math.sqrt(len(draws)) < 0.2 * draws.mean()


def test_images_are_points():
    x, y = clouds(6, 5, 12)
    images = (x.reshape(6, 3, 2, 2), y.reshape(5, 3, 2, 2))
    assert energy_distance(*images) == energy_distance(x, y)
    assert mmd2(*images, rbf(1.0)) == mmd2(x, y, rbf(1.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_answer_has_the_dtype_of_the_points(dtype):
    x, y = clouds(6, 5, 2, dtype=dtype)
    assert energy_distance(x, y).dtype == dtype
    assert mmd2(x, y, rbf(1.0)).dtype == dtype


def test_the_noise_floor_separates_equal_laws_from_unequal_ones():
    generator = seeded(3)

    def draw(scale=1.0):
        return scale * torch.randn(300, 2, generator=generator)

    floor = noise_floor(draw)
    equal = torch.stack([energy_distance(draw(), draw()) for _ in range(20)])
    assert (equal.abs() < 4 * floor).all()
    assert equal.min() < 0 < equal.max()  # unbiased: on both sides of 0
    assert energy_distance(draw(), draw(1.5)) > 4 * floor
    assert noise_floor(draw, lambda x, y: mmd2(x, y, rbf(1.0))) > 0


def test_half_precision_is_worked_out_in_single():
    x, y = clouds(50, 40, 3, dtype=torch.float32)
    for dtype in (torch.bfloat16, torch.float16):
        rounded = energy_distance(x.to(dtype).float(), y.to(dtype).float())
        ours = energy_distance(x.to(dtype), y.to(dtype))
        assert ours.dtype == dtype
        torch.testing.assert_close(ours, rounded.to(dtype))
