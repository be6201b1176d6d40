"""Speculative sampling against exact laws: the coupling, its discrete ancestor, and whole paths of the sampler.

Seeds are fixed, so a run is the same every time. A law that is right is asked for a p-value above `CHANCE`; a
wrong one must fall below `IMPOSSIBLE`, so that there is a wide gap between what passes and what does not.
"""

import itertools
import math
from dataclasses import dataclass, field

import pytest
import torch
from agree import normal, seeded
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest, norm

from companion.data.toy import eight_gaussians, two_gaussians
from companion.foundations.diffusion import bridge, expand_time, sample, time_grid
from companion.methods.speculative import (
    acceptance_probability,
    aimed_residuals,
    reflection_coupling,
    speculate,
    speculative_sample,
    speculative_tokens,
    transition_residuals,
)

CHANCE, IMPOSSIBLE = 1e-3, 1e-6
LAW = eight_gaussians().to(torch.float64)
GRID = time_grid(20)


def normality(values: torch.Tensor) -> float:
    """Kolmogorov and Smirnov's p-value of the values, all of them pooled, as draws of N(0, 1)."""
    return kstest(values.flatten().double().numpy(), "norm").pvalue


# --- couplings that people write by mistake -------------------------------------------------------------------

MISTAKES = ("always keep", "redraw", "wrong sign", "mean over dimensions", "half square left out", "not reflected")


def mistaken(mistake: str | None, generator: torch.Generator | None = None):
    """The reflection coupling as a beginner would write it, with one mistake in it, or None."""

    def coupling(draft, draft_mean, target_mean, std, uniform):
        std = torch.as_tensor(std, dtype=draft.dtype)
        fixed = std == 0
        scale = expand_time(torch.where(fixed, 1.0, std), draft)
        noise, gap = (draft - draft_mean) / scale, (draft_mean - target_mean) / scale
        along, square = (noise * gap).flatten(1).sum(1), gap.square().flatten(1).sum(1)
        log_ratio = {
            "always keep": torch.full_like(along, math.inf),
            "wrong sign": along - square / 2,
            "mean over dimensions": (-along - square / 2) / draft[0].numel(),
            "half square left out": -along,
        }.get(mistake, -along - square / 2)
        accepted = (uniform.log() <= log_ratio) | fixed
        mirrored = noise - expand_time(2 * along / torch.where(square == 0, 1.0, square), draft) * gap
        if mistake == "redraw":
            mirrored = torch.randn(noise.shape, generator=generator, dtype=noise.dtype)
        value = target_mean + scale * (noise if mistake == "not reflected" else mirrored)
        value = torch.where(expand_time(accepted, draft), draft, value)
        return torch.where(expand_time(fixed, draft), target_mean, value), accepted

    return coupling


# --- the coupling of two Gaussians ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Coupled:
    """One call on n rows whose means lie `distance` standard deviations apart, each in a direction of its own."""

    draft: torch.Tensor
    draft_mean: torch.Tensor
    target_mean: torch.Tensor
    std: torch.Tensor
    direction: torch.Tensor
    value: torch.Tensor
    accepted: torch.Tensor


def couple(coupling, event: tuple[int, ...], distance: float, n: int = 20_000, seed: int = 0) -> Coupled:
    draft_mean, direction, noise = (normal(n, *event, seed=10 * seed + part) for part in range(3))
    direction = direction / expand_time(direction.flatten(1).norm(dim=1), direction)
    std = 0.2 + torch.rand(n, generator=seeded(10 * seed + 3), dtype=torch.float64)
    scale = expand_time(std, noise)
    target_mean, draft = draft_mean - distance * scale * direction, draft_mean + scale * noise
    uniform = torch.rand(n, generator=seeded(10 * seed + 4), dtype=torch.float64)
    value, accepted = coupling(draft, draft_mean, target_mean, std, uniform)
    return Coupled(draft, draft_mean, target_mean, std, direction, value, accepted)


def has_the_target_law(coupling, event: tuple[int, ...], distance: float) -> bool:
    """Standardised under the target: normal along the means' line, across it, and on the diagonal between."""
    case = couple(coupling, event, distance)
    residual = ((case.value - case.target_mean) / expand_time(case.std, case.value)).flatten(1)
    along_line = case.direction.flatten(1)
    along = (residual * along_line).sum(1)
    if residual.shape[1] == 1:
        return normality(along) > CHANCE
    across_line = normal(*residual.shape, seed=99)
    across_line = across_line - (across_line * along_line).sum(1, keepdim=True) * along_line
    across = (residual * across_line).sum(1) / across_line.norm(dim=1)
    laws = [normality(part) > CHANCE for part in (along, across, (along + across) / math.sqrt(2), residual)]
    covariance, n = torch.cov(residual.T), len(residual)
    error = (covariance - torch.eye(len(covariance), dtype=torch.float64)).abs()
    pairs = len(covariance) ** 2
    return all(laws) and bool(error.max() < norm.isf(CHANCE / pairs) * math.sqrt(2 / n))


@pytest.mark.parametrize("distance", [0.1, 0.7, 1.5, 4.0])
@pytest.mark.parametrize("event", [(1,), (2,), (50,), (3, 2, 4)], ids=str)
def test_values_have_the_target_law_and_drafts_are_kept_as_often_as_theory_says(event, distance):
    assert has_the_target_law(reflection_coupling, event, distance)
    kept = couple(reflection_coupling, event, distance).accepted.double()
    expected = 2 * norm.cdf(-distance / 2)
    assert abs(kept.mean().item() - expected) < 4 * math.sqrt(expected * (1 - expected) / len(kept))


@pytest.mark.parametrize("event", [(2,), (3, 2, 4)], ids=str)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_in_the_coupling_shows_in_the_law_of_its_values(mistake, event):
    assert has_the_target_law(mistaken(None), event, 1.5)
    assert not has_the_target_law(mistaken(mistake, seeded(5)), event, 1.5)


@pytest.mark.parametrize("event", [(1,), (2,), (3, 2, 4)], ids=str)
def test_kept_drafts_are_untouched_and_rejected_ones_are_mirrored_half_way_between_the_means(event):
    case = couple(reflection_coupling, event, 1.5, n=500)
    assert 50 < case.accepted.sum() < 450
    assert torch.equal(case.value[case.accepted], case.draft[case.accepted])
    middle = (case.draft_mean + case.target_mean) / 2
    beyond = ((case.draft - middle) * case.direction).flatten(1).sum(1)
    mirrored = case.draft - 2 * expand_time(beyond, case.draft) * case.direction
    torch.testing.assert_close(case.value[~case.accepted], mirrored[~case.accepted])


def test_a_draft_is_kept_exactly_while_the_log_of_the_uniform_is_below_the_log_ratio_of_the_densities():
    case = couple(reflection_coupling, (3,), 1.2, n=200)

    def log_density(mean):
        return norm.logpdf(case.draft, mean, case.std[:, None]).sum(1)

    ratio = torch.as_tensor(log_density(case.target_mean) - log_density(case.draft_mean))
    possible = ratio < 0
    for hair, keeps in ((-1e-9, True), (1e-9, False)):
        uniform = (ratio[possible] + hair).exp()
        rows = (case.draft, case.draft_mean, case.target_mean, case.std)
        _, accepted = reflection_coupling(*(row[possible] for row in rows), uniform)
        assert bool((accepted == keeps).all())


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-53])
def test_equal_means_keep_every_draft(uniform):
    draft, mean = normal(100, 3), normal(100, 3, seed=1)
    value, accepted = reflection_coupling(draft, mean, mean, 0.5, torch.full((100,), uniform, dtype=torch.float64))
    assert bool(accepted.all())
    assert torch.equal(value, draft)


def test_without_noise_the_value_is_the_targets_mean_and_counts_as_kept():
    draft, draft_mean, target_mean = (normal(4, 3, seed=seed) for seed in range(3))
    target_mean[1] = draft_mean[1]
    last_moment = torch.full((4,), 1 - 2**-53, dtype=torch.float64)
    for std in (0, 0.0, torch.zeros(()), torch.zeros(4)):
        value, accepted = reflection_coupling(draft, draft_mean, target_mean, std, last_moment)
        assert torch.equal(value, target_mean)
        assert bool(accepted.all())


def test_each_row_has_its_own_std_and_one_number_serves_all():
    draft, draft_mean, target_mean = (normal(5, 2, 3, seed=seed) for seed in range(3))
    std, uniform = torch.tensor([0.0, 0.1, 0.7, 1.0, 30.0]).double(), torch.rand(5, generator=seeded()).double()
    value, accepted = reflection_coupling(draft, draft_mean, target_mean, std, uniform)
    for row in range(5):
        one = slice(row, row + 1)
        for alone in (std[row].item(), std[row], std[one]):
            rows = (draft[one], draft_mean[one], target_mean[one], alone, uniform[one])
            torch.testing.assert_close(reflection_coupling(*rows), (value[one], accepted[one]), rtol=0, atol=0)


def test_single_and_double_precision_decide_and_land_alike():
    case = couple(reflection_coupling, (50,), 1.5)
    uniform = torch.rand(len(case.draft), generator=seeded(4), dtype=torch.float64)
    single = [part.float() for part in (case.draft, case.draft_mean, case.target_mean, case.std)]
    value, accepted = reflection_coupling(*single, uniform)
    double_value, double_accepted = reflection_coupling(*(part.double() for part in single), uniform)
    assert value.dtype == torch.float32
    assert torch.equal(accepted, double_accepted)
    torch.testing.assert_close(value, double_value.float())


def test_in_200_000_dimensions_the_decision_is_that_of_exact_sums_and_a_sum_in_single_precision_decides_otherwise():
    """Every gap is small against the noise, at most 0.15 of it, and yet the means lie 40 standard deviations apart.

    The draft stands about half way between them, so that its log-ratio is the small difference of two sums of about
    750. The uniform is put a hair to either side of it. All points are multiples of 1/1024, far from 0: their
    differences are exact even in single precision, so that the sums alone decide.
    """
    n, d, fine, std = 40, 200_000, 1024, 0.06
    gap = torch.randint(-9, 10, (n, d), generator=seeded(1)) / fine
    noise = (normal(n, d) * std * fine).round() / fine - (gap / 2 * fine).round() / fine
    target_mean = 200.0 + torch.randint(0, 5, (n, d), generator=seeded(2))
    draft_mean = target_mean + gap
    draft = (draft_mean + noise).float()

    def log_ratio(dtype, rows=slice(None)):
        noise, gap = ((difference / std)[rows] for difference in (double_noise.to(dtype), double_gap.to(dtype)))
        return -(noise * gap).sum(1) - gap.square().sum(1) / 2

    double_noise, double_gap = draft.double() - draft_mean.double(), draft_mean.double() - target_mean.double()
    exact = log_ratio(torch.float64)
    possible = exact < -0.1  # above 0 every uniform keeps the draft
    assert possible.sum() > 10
    assert (double_gap / std).norm(dim=1).min() > 35
    rows = [part[possible] for part in (draft, draft_mean, target_mean)]
    single = log_ratio(torch.float32, possible)
    fooled = 0
    for hair, keeps in ((-1e-6, True), (1e-6, False)):
        uniform = (exact[possible] + hair).exp()
        _, accepted = reflection_coupling(*rows, std, uniform)
        assert bool((accepted == keeps).all())
        fooled += ((uniform.log() <= single) != keeps).sum().item()
    assert fooled > possible.sum() / 2


def test_acceptance_is_the_overlap_of_the_two_gaussians_in_closed_form_and_by_quadrature():
    distance = torch.linspace(0, 40, 81, dtype=torch.float64)
    expected = torch.as_tensor(2 * norm.cdf(-distance / 2))
    torch.testing.assert_close(acceptance_probability(distance), expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(acceptance_probability(-distance), expected, rtol=1e-9, atol=0)
    grid = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    for gap in (0.0, 0.3, 1.0, 5.0):
        smaller = torch.as_tensor(norm.pdf(grid)).minimum(torch.as_tensor(norm.pdf(grid, gap)))
        overlap = torch.trapezoid(smaller, grid)
        torch.testing.assert_close(acceptance_probability(torch.tensor(gap).double()), overlap, rtol=1e-5, atol=1e-8)
    assert acceptance_probability(torch.zeros(2, 3)).tolist() == [[1.0] * 3] * 2


# --- the discrete ancestor ------------------------------------------------------------------------------------

TARGET = torch.tensor([0.5, 0.2, 0.2, 0.1, 0.0], dtype=torch.float64)
DRAFT = torch.tensor([0.1, 0.2, 0.3, 0.1, 0.3], dtype=torch.float64)


def fit(tokens: torch.Tensor, probs: torch.Tensor) -> float:
    """Chi-square p-value of the tokens' counts; 0 when a token came that cannot, 1 when only one can."""
    counts, possible = torch.bincount(tokens.flatten(), minlength=len(probs)), probs > 0
    if counts[~possible].any() or possible.sum() == 1:
        return float(not counts[~possible].any())
    return chisquare(counts[possible].numpy(), (len(tokens.flatten()) * probs[possible]).numpy()).pvalue


def rows_of(probs: torch.Tensor, n: int) -> torch.Tensor:
    return probs.expand(n, -1)


def test_tokens_have_the_targets_law_and_as_many_are_kept_as_the_histograms_overlap():
    n = 100_000
    tokens, accepted = speculative_tokens(rows_of(TARGET, n), rows_of(DRAFT, n), generator=seeded())
    assert fit(tokens, TARGET) > CHANCE
    overlap = TARGET.minimum(DRAFT).sum().item()
    assert overlap == pytest.approx(1 - (TARGET - DRAFT).abs().sum().item() / 2)
    assert abs(accepted.double().mean().item() - overlap) < 4 * math.sqrt(overlap * (1 - overlap) / n)


def test_a_given_draft_is_kept_with_the_ratio_of_its_probabilities_and_else_replaced_by_what_was_left_out():
    n = 50_000
    left_out = (TARGET - DRAFT).clamp_min(0) / (TARGET - DRAFT).clamp_min(0).sum()
    for token in range(5):
        draft = torch.full((n,), token)
        tokens, accepted = speculative_tokens(rows_of(TARGET, n), rows_of(DRAFT, n), draft, seeded(token))
        keep = min(1.0, (TARGET[token] / DRAFT[token]).item())
        assert abs(accepted.double().mean().item() - keep) <= 4 * math.sqrt(keep * (1 - keep) / n)
        assert bool((tokens[accepted] == token).all())
        if keep < 1:
            assert fit(tokens[~accepted], left_out) > CHANCE


def test_drawing_a_rejected_token_afresh_from_the_target_gives_another_law():
    n = 20_000
    tokens, accepted = speculative_tokens(rows_of(TARGET, n), rows_of(DRAFT, n), generator=seeded())
    fresh = torch.multinomial(TARGET, n, replacement=True, generator=seeded(1))
    assert fit(tokens, TARGET) > CHANCE
    assert fit(torch.where(accepted, tokens, fresh), TARGET) < IMPOSSIBLE


@given(v=st.integers(1, 6), seed=st.integers(0, 99))
def test_equal_rows_reject_nothing(v, seed):
    probs = torch.rand(7, v, generator=seeded(seed)).softmax(1)
    assert bool(speculative_tokens(probs, probs, generator=seeded(seed))[1].all())


def test_rows_may_have_any_shape_and_each_has_its_own_law():
    target = torch.stack([TARGET, DRAFT]).expand(20_000, 2, 5)
    draft = torch.stack([DRAFT, TARGET]).expand(20_000, 2, 5)
    tokens, accepted = speculative_tokens(target, draft, generator=seeded())
    assert tokens.shape == accepted.shape == (20_000, 2)
    assert fit(tokens[:, 0], TARGET) > CHANCE
    assert fit(tokens[:, 1], DRAFT) > CHANCE
    token, kept = speculative_tokens(TARGET, DRAFT, generator=seeded())
    assert token.shape == kept.shape == ()


def test_two_words_of_a_bigram_model_written_through_a_window_have_their_exact_joint_law():
    """And a second word that is kept although the first was rejected, so that it followed another, has not."""
    n, v, generator = 100_000, 3, seeded()
    target, draft = (torch.rand(v, v, generator=seeded(s)).double().mul(4).softmax(1) for s in (1, 2))
    first = torch.zeros(n, dtype=torch.long)
    drafted = [first]
    for _ in range(2):
        drafted.append(torch.multinomial(draft[drafted[-1]], 1, generator=generator)[:, 0])
    before = torch.stack(drafted[:2], 1)
    tokens, accepted = speculative_tokens(target[before], draft[before], torch.stack(drafted[1:], 1), generator)
    again, _ = speculative_tokens(target[tokens[:, 0]], draft[tokens[:, 0]], generator=generator)
    second = torch.where(accepted[:, 0], tokens[:, 1], again)

    joint = (target[0][:, None] * target).flatten()
    assert 0.1 < accepted[:, 0].double().mean() < 0.9
    assert fit(v * tokens[:, 0] + second, joint) > CHANCE
    assert fit(v * tokens[:, 0] + tokens[:, 1], joint) < IMPOSSIBLE


def test_tokens_repeat_with_their_generator_and_leave_the_global_seed_alone():
    before = torch.get_rng_state()
    runs = [speculative_tokens(rows_of(TARGET, 99), rows_of(DRAFT, 99), generator=seeded(s))[0] for s in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(torch.get_rng_state(), before)


# --- the sampler: its law -------------------------------------------------------------------------------------


def shifted(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """A draft model that is neither right nor useless."""
    return 0.9 * LAW.denoise(x, t) + 0.1


def as_images(denoiser, event: tuple[int, ...]):
    return lambda x, t: denoiser(x.flatten(1), t).unflatten(1, event)


def run_exactly(n: int = 1000, seed: int = 0, grid=GRID, **options):
    generator = seeded(seed)
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return speculative_sample(LAW.denoise, x, grid, generator=generator, **options)


def exactness(path: torch.Tensor, churn: float = 1.0, denoiser=LAW.denoise, grid=GRID) -> tuple[float, float]:
    """p-values of a path's transition residuals, and of their part along the last move of the target's answer."""
    tests = (transition_residuals, aimed_residuals)
    return tuple(normality(test(denoiser, path, grid, churn)) for test in tests)


@pytest.mark.parametrize("churn", [0.5, 1.0])
@pytest.mark.parametrize("window", [1, 2, 8])
@pytest.mark.parametrize(
    "options",
    [{"freeze": "prediction"}, {"freeze": "drift"}, {"draft": shifted}],
    ids=["frozen prediction", "frozen drift", "draft model"],
)
def test_every_step_of_every_path_is_an_exact_draw_of_the_targets_step(options, window, churn):
    run = run_exactly(window=window, churn=churn, **options)
    assert min(exactness(run.path, churn)) > CHANCE
    if window > 1:
        assert run.acceptance < 0.98  # drafts were rejected: there was something to get wrong


@pytest.mark.parametrize("window", [2, 8])
@pytest.mark.parametrize("mistake", ["always keep", "redraw", "wrong sign"])
def test_the_residuals_of_a_path_reject_the_wrong_samplers(mistake, window):
    """Aimed along the last move of the target's answer: pooled over all directions, `redraw` hides among 1000 chains.

    Its pooled p-values are 0.41 and 0.02 for windows 2 and 8; aimed, 2e-8 and 2e-15. The others are below 1e-45.
    """
    run = run_exactly(window=window, coupling=mistaken(mistake, seeded(9)))
    _, aimed = exactness(run.path)
    assert aimed < IMPOSSIBLE


def permutation_p_value(x: torch.Tensor, y: torch.Tensor, relabellings: int = 199) -> float:
    """Share of random relabellings of the pooled points whose energy distance is at least that of (x, y)."""
    points = torch.cat([x, y]).float()
    side = torch.cat([torch.full((len(x),), 1 / len(x)), torch.full((len(y),), -1 / len(y))])
    shuffled = [side[torch.randperm(len(side), generator=seeded(seed))] for seed in range(relabellings)]
    sides = torch.stack([side, *shuffled], dim=1)
    distances = -(sides * (torch.cdist(points, points) @ sides)).sum(0)
    return (distances >= distances[0]).double().mean().item()


def test_the_last_states_do_not_tell_the_sampler_that_keeps_everything_but_its_path_does():
    """Why the test above is about paths.

    No draft is ever verified, and yet, of 2000 samples each, energy permutation tests against the plain sampler's
    see nothing: p = 0.56, 0.41 and 0.14 for three seeds. The aimed residuals of the same runs: p below 1e-90.
    """
    grid, ends, paths = time_grid(100), [], []
    for seed in range(3):
        run = run_exactly(2000, seed, grid, coupling=mistaken("always keep"))
        assert run.acceptance == 1
        *_, plain = sample(LAW.denoise, normal(2000, 2, seed=50 + seed), grid, 1.0, seeded(60 + seed))
        ends.append(permutation_p_value(run.sample, plain))
        paths.append(normality(aimed_residuals(LAW.denoise, run.path, grid)))
    assert sorted(ends)[1] > 0.05
    assert max(paths) < IMPOSSIBLE


def test_the_permutation_test_itself_can_tell_two_laws_apart():
    x, y = normal(500, 2), normal(500, 2, seed=1)
    assert permutation_p_value(x, y) > 0.01
    assert permutation_p_value(x, 1.3 * y) == 1 / 200


@pytest.mark.parametrize("event", [(1, 1, 2), (2, 1, 1)], ids=str)
def test_images_are_sampled_as_the_points_they_flatten_to(event):
    x = normal(300, 2)
    options = {"times": GRID, "window": 4}
    flat = speculative_sample(LAW.denoise, x, **options, generator=seeded(1))
    images = speculative_sample(as_images(LAW.denoise, event), x.unflatten(1, event), **options, generator=seeded(1))
    assert images.path.shape == (21, 300, *event)
    assert torch.equal(images.path.flatten(2), flat.path)
    assert torch.equal(images.rounds, flat.rounds)
    residuals = transition_residuals(as_images(LAW.denoise, event), images.path, GRID)
    assert torch.equal(residuals.flatten(2), transition_residuals(LAW.denoise, flat.path, GRID))


def test_colour_images_with_a_denoiser_of_their_own_are_exact_in_every_pixel():
    """Each image's answer is pulled to its own mean over pixels, so that all of its dimensions hang together."""

    def denoiser(x, t):
        scale = expand_time(1 - t, x) if t.ndim else 1 - t
        return (2 * scale * x + x.flatten(1).mean(1).reshape(-1, 1, 1, 1)).tanh()

    run = speculative_sample(denoiser, normal(200, 3, 4, 4), GRID, 4, generator=seeded(1))
    assert run.acceptance < 0.95
    assert min(exactness(run.path, denoiser=denoiser)) > CHANCE


def test_single_precision_is_exact_too_and_stays_single():
    law, x = eight_gaussians(), normal(1000, 2, dtype=torch.float32)
    run = speculative_sample(law.denoise, x, GRID, 8, generator=seeded(1))
    assert run.sample.dtype == run.path.dtype == torch.float32
    assert min(exactness(run.path, denoiser=law.denoise)) > CHANCE


def test_a_grid_of_uneven_steps_that_stops_early_is_exact_to_its_last_step():
    grid = torch.tensor([0.99, 0.9, 0.88, 0.7, 0.4, 0.39, 0.2, 0.05])
    run = run_exactly(grid=grid, window=4)
    assert transition_residuals(LAW.denoise, run.path, grid).shape == (7, 1000, 2)
    assert min(exactness(run.path, grid=grid)) > CHANCE


# --- the sampler: its count of calls --------------------------------------------------------------------------


@dataclass
class Spy:
    """A denoiser that writes down how many points each call brought."""

    denoiser: object = LAW.denoise
    points: list[int] = field(default_factory=list)

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        assert t.shape == (len(x),)
        self.points.append(len(x))
        return self.denoiser(x, t)


def replay(accepted: torch.Tensor, window: int, frozen: bool) -> tuple[int, int]:
    """Rounds and evaluations of one chain, counted by hand from which of its steps kept their draft.

    Where the target's answer is known already, the first step of a window is exact and must have been kept.
    """
    steps, position, rounds, evaluations, known = len(accepted), 0, 0, 0, False
    while position < steps:
        if frozen and not known:
            rounds, evaluations, known = rounds + 1, evaluations + 1, True
            continue
        assert accepted[position] or not known
        drafted = min(window, steps - position)
        asked = min(drafted, steps - 1 - position) + (not known)
        rounds, evaluations = rounds + (asked > 0), evaluations + asked
        missed = [ahead for ahead in range(drafted) if not accepted[position + ahead]]
        position += missed[0] + 1 if missed else drafted
        known = not missed
    return rounds, evaluations


@pytest.mark.parametrize("window", [1, 3, 8, 50])
@pytest.mark.parametrize("draft", [None, shifted], ids=["frozen", "model"])
def test_rounds_and_evaluations_are_what_the_target_saw(draft, window):
    target = Spy()
    run = speculative_sample(target, normal(50, 2), GRID, window, draft=draft, generator=seeded(1))
    assert run.evaluations == sum(target.points)
    assert run.rounds.max() == len(target.points)
    counted = [replay(chain, window, draft is None) for chain in run.accepted.T]
    assert run.rounds.tolist() == [rounds for rounds, _ in counted]
    assert run.evaluations == sum(evaluations for _, evaluations in counted)


def test_chains_finish_at_different_times_and_are_asked_about_no_longer():
    target = Spy()
    run = speculative_sample(target, normal(200, 2), GRID, 8, generator=seeded(1))
    assert run.rounds.min() < run.rounds.max()
    finished = run.rounds < run.rounds.max()
    assert target.points[-1] <= 8 * (~finished).sum()


def test_a_chain_of_a_batch_needs_as_many_rounds_as_a_chain_alone():
    alone = torch.cat([run_exactly(1, seed).rounds for seed in range(150)]).double()
    together = run_exactly(4000, 1).rounds.double()
    error = math.sqrt(alone.var() / len(alone) + together.var() / len(together))
    assert abs(alone.mean() - together.mean()) < 4 * error


def test_the_rounds_of_a_draft_model_are_counted_beside_those_of_the_target():
    target, draft = Spy(), Spy(shifted)
    run = speculative_sample(target, normal(1, 2), GRID, 8, draft=draft, generator=seeded(1))
    assert run.rounds.item() == len(target.points)
    assert run.draft_rounds.item() == len(draft.points)
    assert set(draft.points) == {1}


def test_a_frozen_draft_asks_nobody_but_the_target():
    assert run_exactly(20).draft_rounds.tolist() == [0] * 20


@pytest.mark.parametrize("churn", [0.3, 1.0])
@pytest.mark.parametrize("freeze", ["prediction", "drift"])
def test_a_window_of_one_is_the_slow_sampler_of_k_rounds(freeze, churn):
    run = run_exactly(100, window=1, churn=churn, freeze=freeze)
    assert run.rounds.tolist() == [20] * 100
    assert run.evaluations == 20 * 100
    assert run.acceptance == 1


def useless(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.full_like(x, 1e6)


@given(
    steps=st.integers(1, 12),
    window=st.integers(1, 20),
    churn=st.floats(0.05, 1.0),
    draft=st.sampled_from([None, shifted, useless]),
    freeze=st.sampled_from(["prediction", "drift"]),
    end=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 99),
)
def test_no_chain_ever_needs_more_rounds_than_there_are_steps(steps, window, churn, draft, freeze, end, seed):
    x, grid = normal(8, 2, seed=seed), time_grid(steps, end=end)
    run = speculative_sample(
        LAW.denoise, x, grid, window, churn=churn, draft=draft, freeze=freeze, generator=seeded(seed)
    )
    assert run.rounds.min() >= 1
    assert run.rounds.max() <= steps
    assert run.evaluations >= steps * len(x)
    assert bool(run.path.isfinite().all())


@pytest.mark.parametrize("seed", range(5))
def test_at_100_steps_a_window_of_8_needs_at_most_half_the_rounds_but_more_evaluations(seed):
    run = run_exactly(500, seed, time_grid(100), window=8)
    assert run.rounds.max() <= 50
    assert run.evaluations > 500 * 100


@pytest.mark.parametrize("steps", [1, 2, 8, 9, 20])
@pytest.mark.parametrize("window", [1, 4, 7, 50])
def test_a_perfect_draft_is_always_kept_and_each_call_gains_a_window(steps, window):
    """The target is asked at K points in all: window + 1 of them in the first call, window in each that follows."""
    grid, x = time_grid(steps), normal(30, 2)
    run = speculative_sample(LAW.denoise, x, grid, window, draft=LAW.denoise, generator=seeded(1))
    assert run.acceptance == 1
    assert run.rounds.tolist() == [max(1, math.ceil((steps - 1) / window))] * 30
    assert run.evaluations == steps * 30


@pytest.mark.parametrize("window", [1, 4, 7, 50])
def test_where_the_targets_answer_never_moves_the_frozen_draft_is_perfect(window):
    run = speculative_sample(lambda x, t: torch.ones_like(x), normal(30, 2), GRID, window, generator=seeded(1))
    assert run.acceptance == 1
    assert run.rounds.tolist() == [1 + math.ceil(19 / window)] * 30
    assert run.evaluations == 20 * 30


@pytest.mark.parametrize("freeze", ["prediction", "drift"])
def test_a_frozen_draft_goes_on_to_the_old_answer_or_in_the_old_direction(freeze):
    """Seen by the coupling: where each step's draft was drawn, against the bridge written out."""
    grid, n = torch.tensor([1.0, 0.9, 0.7, 0.65, 0.3], dtype=torch.float64), 20
    seen, means = [], []

    def spy(draft, draft_mean, target_mean, std, uniform):
        seen.append(draft_mean)
        return reflection_coupling(draft, draft_mean, target_mean, std, uniform)

    x = normal(n, 2)
    states = speculate(LAW.denoise, x, grid, 4, generator=seeded(1), freeze=freeze, coupling=spy)
    while not seen:
        state = next(states)
    answer = LAW.denoise(x, grid[0])
    exact, _ = bridge(x, answer, grid[0], grid[1], 1.0)
    for y, t, s in zip(state.window.states[:-1], grid[:-1], grid[1:], strict=True):
        along = y + (exact - x) * (s - t) / (grid[1] - grid[0])
        means.append(along if freeze == "drift" else bridge(y, answer, t, s, 1.0)[0])
    torch.testing.assert_close(seen[0], torch.cat(means))


def test_every_drafted_step_is_verified_with_a_uniform_of_its_own():
    """One for a whole window looks right step by step; but once a draft was kept with it, it is likely to be small."""
    uniforms = []

    def spy(draft, draft_mean, target_mean, std, uniform):
        assert len(uniform) == len(draft)
        uniforms.extend(uniform.tolist())
        return reflection_coupling(draft, draft_mean, target_mean, std, uniform)

    run_exactly(100, coupling=spy)
    assert len(set(uniforms)) == len(uniforms) > 100 * 20
    assert kstest(uniforms, "uniform").pvalue > CHANCE


def test_of_a_drafted_step_as_many_are_kept_as_theory_says():
    """The second step of the first window: its means are known from the path, and every chain drafts it."""
    x, answer, grid = normal(5000, 2), LAW.denoise(normal(5000, 2), GRID[0]), GRID
    run = speculative_sample(LAW.denoise, x, grid, 2, generator=seeded(1))
    first = run.path[1]
    target_mean, std = bridge(first, LAW.denoise(first, grid[1]), grid[1], grid[2], 1.0)
    draft_mean, _ = bridge(first, answer, grid[1], grid[2], 1.0)
    expected = acceptance_probability((draft_mean - target_mean).norm(dim=1) / std)
    error = (expected * (1 - expected)).sum().sqrt() / 5000
    assert bool(run.accepted[0].all())
    assert (run.accepted[1].double().mean() - expected.mean()).abs() < 4 * error


# --- the sampler: its manners ---------------------------------------------------------------------------------


def test_a_path_runs_from_the_start_to_the_targets_last_answer():
    x = normal(50, 2)
    run = speculative_sample(LAW.denoise, x, GRID, 8, generator=seeded(1))
    assert run.path.shape == (21, 50, 2)
    assert torch.equal(run.path[0], x)
    assert torch.equal(run.path[-1], run.sample)
    torch.testing.assert_close(run.sample, LAW.denoise(run.path[-2], GRID[-2]))
    assert bool(run.accepted[-1].all())


def test_one_step_is_the_targets_answer():
    x = normal(9, 2)
    run = speculative_sample(LAW.denoise, x, time_grid(1), 8, generator=seeded(1))
    torch.testing.assert_close(run.sample, LAW.denoise(x, 1.0))
    assert run.rounds.tolist() == [1] * 9


def test_the_same_generator_gives_the_same_run_and_the_global_seed_is_left_alone():
    before = torch.get_rng_state()
    for draft in (None, shifted):
        runs = [
            speculative_sample(LAW.denoise, normal(9, 2), GRID, draft=draft, generator=seeded(s)) for s in (0, 0, 1)
        ]
        assert torch.equal(runs[0].path, runs[1].path)
        assert torch.equal(runs[0].rounds, runs[1].rounds)
        assert not torch.equal(runs[0].path, runs[2].path)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_its_path_a_run_is_the_same():
    kept, forgotten = (run_exactly(50, keep_path=keep) for keep in (True, False))
    assert forgotten.path is None
    assert torch.equal(kept.sample, forgotten.sample)
    assert torch.equal(kept.accepted, forgotten.accepted)
    assert (kept.evaluations, kept.rounds.tolist()) == (forgotten.evaluations, forgotten.rounds.tolist())


def test_the_start_is_not_changed():
    x = normal(9, 2)
    copy = x.clone()
    speculative_sample(LAW.denoise, x, GRID, generator=seeded())
    assert torch.equal(x, copy)


@pytest.mark.parametrize("draft", [None, "model"])
def test_no_gradients_are_tracked_and_the_callers_setting_returns(draft):
    weight, x = torch.ones((), dtype=torch.float64, requires_grad=True), normal(4, 2).requires_grad_()
    model = None if draft is None else lambda x, t: weight * x
    target = lambda x, t: weight * LAW.denoise(x, t)  # noqa: E731
    run = speculative_sample(target, x, GRID, draft=model, generator=seeded())
    assert not run.sample.requires_grad
    assert not run.path.requires_grad
    for state in speculate(target, x, GRID, draft=model, generator=seeded()):
        assert torch.is_grad_enabled()
        assert not state.x.requires_grad
    for residuals in (transition_residuals, aimed_residuals):
        assert not residuals(target, run.path.requires_grad_(), GRID).requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_may_work_in_another_precision_than_the_chain(dtype):
    """A network in half precision, or an exact law in double, leaves a chain in single precision in single."""
    law = LAW.to(torch.float32)

    def model(x, t):
        return law.denoise(x, t).to(dtype)

    start = normal(50, 2, dtype=torch.float32)
    for draft in (None, model):
        run = speculative_sample(model, start, GRID, draft=draft, generator=seeded())
        assert run.sample.dtype == run.path.dtype == torch.float32
        assert torch.isfinite(run.path).all()
        assert transition_residuals(model, run.path, GRID).dtype == torch.float32


def test_a_window_longer_than_the_path_ends_where_the_path_does():
    runs = [run_exactly(50, window=window) for window in (20, 21, 10**6)]
    assert torch.equal(runs[0].path, runs[1].path)
    assert torch.equal(runs[0].path, runs[2].path)


@pytest.mark.parametrize("draft", [None, shifted], ids=["frozen", "model"])
def test_the_states_on_the_way_add_up(draft):
    n, window, x = 60, 5, normal(60, 2)
    whole = speculative_sample(LAW.denoise, x, GRID, window, draft=draft, generator=seeded(1))
    position, stood = torch.zeros(n, dtype=torch.long), x.clone()
    rounds, evaluations, seen = torch.zeros(n, dtype=torch.long), 0, 0
    for state in speculate(LAW.denoise, x, GRID, window, draft=draft, generator=seeded(1)):
        gained = state.position - position
        asked = state.rounds - rounds
        assert bool(((asked == 0) | (asked == 1)).all())
        assert state.evaluations >= evaluations + asked.sum()
        if state.window is None:
            assert bool((gained == 0).all())
            assert torch.equal(state.x, stood)
        else:
            drafted, m = state.window, len(state.window.chains)
            chains, last = drafted.chains, (drafted.moved - 1, torch.arange(m))
            still = torch.ones(n, dtype=torch.bool).index_fill(0, chains, False)
            assert bool((gained[still] == 0).all())
            assert torch.equal(gained[chains], drafted.moved)
            assert torch.equal(drafted.start, position[chains])
            assert torch.equal(drafted.states[0], stood[chains])
            assert torch.equal(drafted.lengths, (20 - drafted.start).clamp(max=window))
            assert len(drafted.states) == drafted.lengths.max() + 1
            assert bool((drafted.moved >= 1).all() and (drafted.moved <= drafted.lengths).all())
            assert torch.equal(drafted.rejected, ~state.accepted[drafted.start + last[0], chains])
            for column, chain in enumerate(chains):
                kept = drafted.moved[column] - drafted.rejected[column].long()
                begin = drafted.start[column]
                ended = int(begin + drafted.moved[column] == 20)  # the last step is the target's answer, not a draft
                walked = state.path[begin : begin + kept + 1 - ended, chain]
                assert torch.equal(walked, drafted.states[: kept + 1 - ended, column])
        assert torch.equal(state.x, state.path[state.position, torch.arange(n)])
        position, stood = state.position.clone(), state.x.clone()
        rounds, evaluations, seen = state.rounds.clone(), state.evaluations, seen + 1
    assert position.tolist() == [20] * n
    assert torch.equal(stood, whole.sample)
    assert torch.equal(rounds, whole.rounds)
    assert evaluations == whole.evaluations
    assert seen >= whole.rounds.max() + 1


def test_nothing_is_asked_before_the_first_round():
    target = Spy()
    states = speculate(target, normal(9, 2), GRID)
    first = next(states)
    assert target.points == []
    assert (first.evaluations, first.position.tolist(), first.window) == (0, [0] * 9, None)
    next(states)
    assert target.points == [9]


# --- the residuals themselves ---------------------------------------------------------------------------------


@pytest.mark.parametrize("churn", [0.2, 1.0])
def test_the_plain_samplers_steps_have_standard_normal_residuals(churn):
    path = torch.stack(list(sample(LAW.denoise, normal(1000, 2), GRID, churn, seeded(1))))
    assert min(exactness(path, churn)) > CHANCE


def test_residuals_are_the_noise_that_went_in_and_steps_without_noise_are_left_out():
    grid, noise, x = time_grid(5), normal(5, 40, 2), normal(40, 2, seed=1)
    path = [x]
    for k in range(5):
        mean, std = bridge(path[-1], LAW.denoise(path[-1], grid[k]), grid[k], grid[k + 1], 0.6)
        path.append(mean + std * noise[k])
    path = torch.stack(path)
    torch.testing.assert_close(transition_residuals(LAW.denoise, path, grid, 0.6), noise[:4])
    torch.testing.assert_close(transition_residuals(LAW.denoise, path[:5], grid[:5], 0.6), noise[:4])


def test_aimed_residuals_are_the_noise_along_the_last_move_of_the_targets_answer():
    path = torch.stack(list(sample(LAW.denoise, normal(40, 2), GRID, 1.0, seeded(1))))
    residuals, aimed = transition_residuals(LAW.denoise, path, GRID), aimed_residuals(LAW.denoise, path, GRID)
    answers = torch.stack([LAW.denoise(x, t) for x, t in zip(path[:-1], GRID[:-1], strict=True)])
    for k, chain in itertools.product(range(1, 19), range(40)):
        moved = answers[k, chain] - answers[k - 1, chain]
        assert aimed[k - 1, chain].item() == pytest.approx((residuals[k, chain] @ moved / moved.norm()).item())
    assert aimed.shape == (18, 40)


def test_aimed_residuals_are_finite_where_the_answer_does_not_move():
    path = torch.stack(list(sample(lambda x, t: torch.ones_like(x), normal(9, 2), GRID, 1.0, seeded(1))))
    assert bool(aimed_residuals(lambda x, t: torch.ones_like(x), path, GRID).isfinite().all())


def test_a_path_of_another_model_or_another_churn_is_noticed():
    path = torch.stack(list(sample(LAW.denoise, normal(1000, 2), GRID, 1.0, seeded(1))))
    other = two_gaussians().to(torch.float64).denoise
    assert normality(transition_residuals(other, path, GRID)) < IMPOSSIBLE
    assert normality(transition_residuals(LAW.denoise, path, GRID, 0.5)) < IMPOSSIBLE
