"""Ridge regression and its recursive form against other ways to the same numbers.

Those are scikit-learn, a least-squares routine, inverses written out, and a textbook Kalman filter in terms of
covariances, which shares no formula with ours. Seeds are fixed; what is not random is compared in double precision.
"""

import copy
import io
import itertools

import pytest
import torch
from agree import close, eye, normal
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from companion.foundations import linear
from companion.foundations.linear import SINGULAR, RecursiveLeastSquares, require_solved, ridge, ridge_ex

SHAPES = pytest.mark.parametrize(("n", "p"), [(30, 5), (5, 30), (7, 7), (8, 7), (7, 8), (1, 4), (4, 1), (1, 1)])
PENALTIES = pytest.mark.parametrize("penalty", [1e-3, 1, 250.0])
FORGETTING = pytest.mark.parametrize("forgetting", [0, 0.3, 0.95, 1])


def problem(n: int, p: int, k: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, targets and a prior."""
    return normal(n, p, seed=seed), normal(n, k, seed=seed + 100), normal(p, k, seed=seed + 200)


# --- ridge ----------------------------------------------------------------------------------------------------


@SHAPES
@PENALTIES
def test_both_systems_and_scikit_learn_have_the_same_solution(n, p, penalty):
    features, targets, _ = problem(n, p)
    found = ridge(features, targets, penalty)
    assert found.shape == (p, 2)
    close(found, torch.linalg.inv(features.T @ features + penalty * eye(p)) @ features.T @ targets)
    close(found, features.T @ torch.linalg.inv(features @ features.T + penalty * eye(n)) @ targets)
    theirs = Ridge(alpha=penalty, fit_intercept=False).fit(features.numpy(), targets.numpy()).coef_
    close(found, torch.as_tensor(theirs).reshape(2, p).T)


@SHAPES
@PENALTIES
def test_a_prior_is_as_good_as_rows_that_say_it(n, p, penalty):
    features, targets, prior = problem(n, p)
    rows = torch.cat([features, penalty**0.5 * eye(p)])
    values = torch.cat([targets, penalty**0.5 * prior])
    close(ridge(features, targets, penalty, prior), torch.linalg.lstsq(rows, values).solution)


@given(
    n=st.integers(1, 12), p=st.integers(1, 12), k=st.integers(1, 3), power=st.floats(-3, 3), seed=st.integers(0, 999)
)
def test_where_it_ends_the_loss_is_flat(n, p, k, power, seed):
    features, targets, prior = problem(n, p, k, seed)
    weights = ridge(features, targets, 10**power, prior)
    slope = features.T @ (features @ weights - targets) + 10**power * (weights - prior)
    assert slope.norm() < 1e-8 * (1 + (features.T @ targets).norm() + 10**power * prior.norm())


@pytest.mark.parametrize(("n", "p"), [(30, 5), (6, 6), (5, 30)])
def test_without_a_penalty_it_is_least_squares_and_with_few_rows_what_is_nearest_to_the_prior(n, p):
    features, targets, prior = problem(n, p)
    close(ridge(features, targets, 0), torch.linalg.pinv(features) @ targets, 1e-7)
    found = ridge(features, targets, 0, prior)
    close(found, prior + torch.linalg.pinv(features) @ (targets - features @ prior), 1e-7)
    if n < p:
        close(features @ found, targets)
        _, _, axes = torch.linalg.svd(features)
        close(axes[n:] @ found, axes[n:] @ prior)


def test_a_heavy_prior_wins_and_a_prior_that_fits_is_left_alone():
    features, targets, prior = problem(20, 4)
    assert (ridge(features, targets, 1e12, prior) - prior).abs().max() < 1e-9
    assert (ridge(features, targets, 1e12)).abs().max() < 1e-9
    for penalty in (0, 1e-3, 10):
        close(ridge(features, features @ prior, penalty, prior), prior)
    assert (ridge(features, features @ prior, 10) - prior).abs().max() > 0.1


def test_the_smaller_system_is_solved(monkeypatch):
    factorise, sizes = torch.linalg.cholesky_ex, []

    def spy(system):
        sizes.append(system.shape)
        return factorise(system)

    monkeypatch.setattr(linear.torch.linalg, "cholesky_ex", spy)
    for n, p in ((9, 4), (4, 9), (5, 5)):
        ridge(*problem(n, p)[:2], 1.0)
    assert sizes == [(4, 4), (4, 4), (5, 5)]


@pytest.mark.parametrize(("n", "p"), [(6, 3), (3, 6), (4, 4)])
@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_it_is_differentiable_in_features_targets_and_prior(n, p, penalty):
    inputs = [value.requires_grad_() for value in problem(n, p)]
    assert torch.autograd.gradcheck(lambda *given: ridge(given[0], given[1], penalty, given[2]), inputs)
    assert torch.autograd.gradcheck(lambda *given: ridge(*given, penalty), inputs[:2])
    assert torch.autograd.gradgradcheck(lambda *given: ridge(*given, penalty), inputs[:2])


@pytest.mark.parametrize(("n", "p"), [(12, 3), (3, 12)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_solution_has_the_dtype_of_the_features_and_half_precision_is_solved_in_single(n, p, dtype):
    features, targets, prior = (value.to(dtype) for value in problem(n, p))
    found, status = ridge_ex(features, targets, 0.5, prior)
    assert found.dtype == dtype
    assert status == 0
    exact = ridge(features.double(), targets.double(), 0.5, prior.double())
    at_least_single = torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(found, exact.to(dtype), rtol=0, atol=8 * exact.abs().max() * torch.finfo(dtype).eps)
    inputs = (value.to(at_least_single) for value in (features, targets))
    single = ridge(*inputs, 0.5, prior.to(at_least_single))
    assert torch.equal(found, single.to(dtype))


def test_a_prior_may_have_another_dtype():
    features, targets, prior = problem(12, 3)
    single = ridge(features.float(), targets.float(), 0.5, prior)
    assert single.dtype == torch.float32
    assert torch.equal(single, ridge(features.float(), targets.float(), 0.5, prior.float()))
    close(ridge(features, targets, 0.5, prior.float()), ridge(features, targets, 0.5, prior), 1e-6)


def test_inputs_stay_as_they_were_and_there_is_a_graph_only_where_one_was():
    for n, p in ((6, 3), (3, 6)):
        inputs = problem(n, p)
        copies = [value.clone() for value in inputs]
        weights = ridge(inputs[0], inputs[1], 2.0, inputs[2])
        assert all(torch.equal(value, copied) for value, copied in zip(inputs, copies, strict=True))
        assert not weights.requires_grad
        assert ridge(inputs[0].requires_grad_(), inputs[1], 2.0).requires_grad


def singular_problems() -> dict[str, tuple[torch.Tensor, torch.Tensor, float]]:
    features, targets, _ = problem(8, 3)
    broken = features.clone()
    broken[4, 1] = float("nan")
    endless = features.clone()
    endless[4, 1] = float("inf")
    return {
        "no features": (0 * features, targets, 0.0),
        "a feature that is 0": (features * torch.tensor([1.0, 0, 1]).double(), targets, 0.0),
        "equal rows": (features[:1].expand(2, 3).contiguous(), targets[:2], 0.0),
        "not a number": (broken, targets, 1.0),
        "not a number in few rows": (broken.T.contiguous(), normal(3, 2), 1.0),
        "infinite": (endless, targets, 1.0),
        "too large for single precision": (1e30 * features.float(), targets.float(), 1.0),
    }


@pytest.mark.parametrize("name", singular_problems())
def test_what_cannot_be_solved_has_a_status_and_is_refused_in_one_sentence(name):
    features, targets, penalty = singular_problems()[name]
    weights, status = ridge_ex(features, targets, penalty)
    assert weights.shape == (features.shape[1], 2)
    assert status > 0
    for call in (lambda: ridge(features, targets, penalty), lambda: require_solved(status)):
        with pytest.raises(torch.linalg.LinAlgError) as refusal:
            call()
        assert str(refusal.value) == SINGULAR
    assert SINGULAR.count(".") == 1
    assert "\n" not in SINGULAR


def test_a_status_of_0_says_that_all_is_well():
    features, targets, prior = problem(8, 3)
    for options in ((1.0,), (0,), (0.1, prior)):
        weights, status = ridge_ex(features, targets, *options)
        assert status.shape == ()
        assert status.dtype == torch.int32
        assert status == 0
        require_solved(status)
        assert torch.equal(weights, ridge(features, targets, *options))


# --- recursive least squares: what it equals ------------------------------------------------------------------


def memory_of(prior: torch.Tensor, penalty: float = 0.7, forgetting: float = 1.0) -> RecursiveLeastSquares:
    return RecursiveLeastSquares(prior, penalty, forgetting)


def batches_of(sizes, p: int, k: int = 2, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [problem(size, p, k, seed + 10 * place)[:2] for place, size in enumerate(sizes)]


def together(batches) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.cat(parts) for parts in zip(*batches, strict=True))


@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    p=st.integers(1, 6),
    k=st.integers(1, 3),
    power=st.floats(-2, 2),
    seed=st.integers(0, 999),
)
def test_without_forgetting_it_is_ridge_on_all_rows_after_every_batch_however_they_are_split(sizes, p, k, power, seed):
    prior, batches = normal(p, k, seed=seed + 5), batches_of(sizes, p, k, seed)
    memory = memory_of(prior, 10**power)
    for seen in range(1, len(batches) + 1):
        memory.update(*batches[seen - 1])
        features, targets = together(batches[:seen])
        close(memory.weights, ridge(features, targets, 10**power, prior), 1e-8)
        close(memory.information, 10**power * eye(p) + features.T @ features, 1e-9)


def test_without_forgetting_the_order_does_not_matter_and_with_it_it_does():
    batches, prior = batches_of([3, 5, 2, 4], 4), normal(4, 2)
    for forgetting, same in ((1, True), (0.9, False), (0, False)):
        ends = []
        for order in itertools.permutations(batches):
            memory = memory_of(prior, 0.7, forgetting)
            for batch in order:
                memory.update(*batch)
            ends.append(memory.weights)
        apart = max((end - ends[0]).abs().max() for end in ends)
        assert (apart < 1e-12) == same
        assert same or apart > 1e-3


@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    p=st.integers(1, 6),
    power=st.floats(-2, 2),
    seed=st.integers(0, 999),
)
def test_with_forgetting_0_every_batch_is_a_ridge_towards_the_weights_before_it(sizes, p, power, seed):
    weights = normal(p, 2, seed=seed + 5)
    memory = memory_of(weights, 10**power, 0)
    for features, targets in batches_of(sizes, p, seed=seed):
        memory.update(features, targets)
        weights = ridge(features, targets, 10**power, weights)
        close(memory.weights, weights, 1e-8)
        close(memory.information, 10**power * eye(p) + features.T @ features, 1e-9)


@FORGETTING
def test_the_information_is_the_lasting_prior_and_the_rows_each_faded_by_its_age(forgetting):
    memory, batches = memory_of(normal(3, 2), 0.7, forgetting), batches_of([2, 4, 1, 3, 2], 3)
    close(memory.information, 0.7 * eye(3))
    for seen in range(1, len(batches) + 1):
        memory.update(*batches[seen - 1])
        faded = sum(forgetting ** (seen - 1 - t) * batches[t][0].T @ batches[t][0] for t in range(seen))
        close(memory.information, 0.7 * eye(3) + faded)


@FORGETTING
def test_an_update_by_hand(forgetting):
    prior = normal(4, 2)
    memory, weights, information = memory_of(prior, 0.7, forgetting), prior, 0.7 * eye(4)
    for features, targets in batches_of([2, 6, 1, 3], 4):
        memory.update(features, targets)
        information = forgetting * information + (1 - forgetting) * 0.7 * eye(4) + features.T @ features
        weights = weights + torch.linalg.inv(information) @ features.T @ (targets - features @ weights)
        close(memory.information, information)
        close(memory.weights, weights)


@FORGETTING
@pytest.mark.parametrize("sizes", [[1, 1, 1, 1, 1, 1], [5, 2, 9]])
def test_it_is_a_kalman_filter_of_weights_that_are_measured_with_noise_of_variance_1(forgetting, sizes):
    """A filter in the textbook's form: covariances P, innovations of covariance S, gains K, one measured row each."""
    prior, penalty = normal(4, 2), 0.7
    memory = memory_of(prior, penalty, forgetting)
    mean, covariance = prior, eye(4) / penalty
    for features, targets in batches_of(sizes, 4):
        predicted = torch.linalg.inv(forgetting * torch.linalg.inv(covariance) + (1 - forgetting) * penalty * eye(4))
        added = predicted - covariance  # the noise of the state
        assert torch.linalg.eigvalsh(added)[0] > -1e-10
        covariance = covariance + added
        for row, value in zip(features, targets, strict=True):
            innovation = 1 + row @ covariance @ row
            gain = covariance @ row / innovation
            mean = mean + torch.outer(gain, value - row @ mean)
            covariance = covariance - innovation * torch.outer(gain, gain)
        memory.update(features, targets)
        close(memory.weights, mean)
        close(torch.linalg.inv(memory.information), covariance)


def test_a_filter_of_a_static_state_adds_nothing():
    memory = memory_of(normal(3, 2), 0.7, 1)
    before = memory.information.clone()
    for features, targets in batches_of([1, 1], 3):
        memory.update(features, targets)
        close(memory.information - before, features.T @ features)
        before = memory.information.clone()


def test_what_is_forgotten_lets_it_follow_a_line_that_turns():
    def error(forgetting):
        memory = RecursiveLeastSquares(torch.zeros(2, 1, dtype=torch.float64), 1e-3, forgetting)
        for t in range(200):
            slope = torch.tensor([[1.0 if t < 100 else -1.0], [0.5]], dtype=torch.float64)
            features = normal(4, 2, seed=t)
            memory.update(features, features @ slope + 0.1 * normal(4, 1, seed=t + 1000))
        return (memory.weights - slope).norm()

    assert error(0.8) < 0.1
    assert error(1) > 0.5


# --- recursive least squares: how it is kept ------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("forgetting", "dtype"), [(1, torch.float64), (0.5, torch.float32), (0.99, torch.float32), (0, torch.float32)]
)
def test_after_thousands_of_updates_along_one_direction_the_information_is_still_definite(forgetting, dtype):
    memory = RecursiveLeastSquares(torch.zeros(3, 1, dtype=dtype), 0.1, forgetting)
    features = torch.tensor([[3.0, 4.0, 0.0]], dtype=dtype)
    targets = torch.ones(1, 1, dtype=dtype)
    worst = torch.zeros((), dtype=torch.int32)
    for _ in range(4_000):
        worst = torch.maximum(worst, memory.update_ex(features, targets))
    assert worst == 0
    assert memory.information[2, 2].item() == pytest.approx(0.1, rel=1e-3)
    assert torch.linalg.eigvalsh(memory.information.double())[0].item() == pytest.approx(0.1, rel=1e-2)
    torch.testing.assert_close(features @ memory.weights, targets, rtol=0, atol=0.01)


@given(seed=st.integers(0, 999), forgetting=st.floats(0, 1), power=st.floats(-2, 1))
def test_no_direction_is_ever_less_certain_than_the_prior(seed, forgetting, power):
    memory = memory_of(normal(4, 1, seed=seed), 10**power, forgetting)
    for features, targets in batches_of([1, 2, 1, 1, 3], 4, 1, seed):
        memory.update(features, targets)
        assert torch.linalg.eigvalsh(memory.information)[0] > 10**power * (1 - 1e-9) - 1e-12
        close(memory.information, memory.information.T.contiguous())


def test_its_start_is_copied_and_it_has_no_graph():
    prior, (features, targets) = normal(3, 2).requires_grad_(), problem(5, 3)[:2]
    before = prior.detach().clone()
    memory = memory_of(prior)
    memory.update(features.requires_grad_(), targets.requires_grad_())
    assert torch.equal(prior, before)
    assert not memory.weights.requires_grad
    assert not memory.information.requires_grad
    assert list(memory.parameters()) == []
    assert not torch.equal(memory.weights, before)


def test_an_update_changes_no_batch():
    batch = problem(5, 3)[:2]
    copies = [value.clone() for value in batch]
    memory_of(normal(3, 2)).update(*batch)
    assert all(torch.equal(value, copied) for value, copied in zip(batch, copies, strict=True))


@FORGETTING
def test_a_saved_memory_goes_on_bit_for_bit(forgetting):
    batches = batches_of([4, 3, 5, 2], 3)
    through = memory_of(normal(3, 2), 0.7, forgetting)
    for batch in batches[:2]:
        through.update(*batch)
    file = io.BytesIO()
    torch.save(through.state_dict(), file)
    file.seek(0)
    other = memory_of(torch.zeros(3, 2, dtype=torch.float64), 0.7, forgetting)
    other.load_state_dict(torch.load(file, weights_only=True))
    copied = copy.deepcopy(through)
    for batch in batches[2:]:
        for memory in (through, other, copied):
            memory.update(*batch)
    for memory in (other, copied):
        assert torch.equal(memory.weights, through.weights)
        assert torch.equal(memory.information, through.information)
    assert set(through.state_dict()) == {"weights", "information"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_it_keeps_at_least_single_precision_and_takes_batches_of_any(dtype):
    prior, (features, targets) = normal(3, 2).to(dtype), problem(5, 3)[:2]
    memory = memory_of(prior)
    kept = torch.promote_types(dtype, torch.float32)
    assert memory.weights.dtype == memory.information.dtype == kept
    memory.update(features.half(), targets.half())
    wanted = ridge(features.half().to(kept), targets.half().to(kept), 0.7, prior.to(kept))
    torch.testing.assert_close(memory.weights, wanted, rtol=1e-4, atol=1e-5)
    assert memory.double().weights.dtype == torch.float64


def test_forgetting_is_off_unless_it_is_asked_for():
    (features, targets), prior = problem(5, 3)[:2], normal(3, 2)
    memory = RecursiveLeastSquares(prior, 0.7)
    assert memory.forgetting == 1
    assert memory.penalty == 0.7
    memory.update(features, targets)
    memory.update(features, targets)
    close(memory.weights, ridge(torch.cat([features] * 2), torch.cat([targets] * 2), 0.7, prior))


def test_features_that_are_not_finite_have_a_status_and_are_refused():
    features, targets = problem(5, 3)[:2]
    features[1, 1] = float("nan")
    assert memory_of(normal(3, 2)).update_ex(features, targets) > 0
    with pytest.raises(torch.linalg.LinAlgError) as refusal:
        memory_of(normal(3, 2)).update(features, targets)
    assert str(refusal.value) == SINGULAR
    fine = memory_of(normal(3, 2)).update_ex(*problem(5, 3)[:2])
    assert fine.shape == ()
    assert fine == 0
