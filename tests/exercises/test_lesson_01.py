"""Every check of lesson 01 lets the solution pass, and each of its properties catches a wrong answer that people give."""

import math

import pytest
import torch

from companion.data.toy import eight_gaussians
from companion.foundations.diffusion import bridge, sample, time_grid
from companion.foundations.distances import energy_distance
from companion.methods.distributional import energy_score_loss, optimal_spread
from companion.teaching.checks.lesson_01.sampling import schedule_distance
from companion.teaching.checks.lesson_01.spread import _quadratic_score

norm = torch.linalg.vector_norm


# 01.2


def spread_of(shrink):
    """A formula whose only freedom is q."""
    return lambda lam, beta: math.sqrt(shrink(lam, beta) / (2 - shrink(lam, beta)))


def spread_without_two(lam, beta):
    shrink = lam ** (2 / (2 - beta))
    return math.sqrt(shrink / (3 - 2 * shrink))


# 01.3


def pair_mean(predictions, beta=1.0):
    """The mean over pairs of different draws, (n,), safe to differentiate."""
    first, second = torch.triu_indices(len(predictions), len(predictions), offset=1)
    return norm(predictions[first] - predictions[second], dim=-1).pow(beta).mean()


def first_term(predictions, target, beta):
    return norm(predictions - target, dim=-1).pow(beta).mean()


def score_as_float(predictions, target, beta, lam):
    return energy_score_loss(predictions, target, beta, lam).item()


def score_in_numpy(predictions, target, beta, lam):
    return energy_score_loss(predictions, target, beta, lam).detach().numpy()


def score_for_each_point(predictions, target, beta, lam):
    return norm(predictions - target, dim=-1).pow(beta).mean(0)


def score_in_double(predictions, target, beta, lam):
    return energy_score_loss(predictions.double(), target.double(), beta, lam)


def score_summed_over_points(predictions, target, beta, lam):
    return len(target) * energy_score_loss(predictions, target, beta, lam)


def score_summed_over_draws(predictions, target, beta, lam):
    return len(predictions) * first_term(predictions, target, beta) - lam / 2 * pair_mean(predictions, beta)


def score_without_root(predictions, target, beta, lam):
    return (predictions - target).square().sum(-1).pow(beta).mean() - lam / 2 * pair_mean(predictions, 2 * beta)


def score_of_coordinates(predictions, target, beta, lam):
    return (predictions - target).abs().sum(-1).pow(beta).mean() - lam / 2 * pair_mean(predictions, beta)


def score_with_norm_over_draws(predictions, target, beta, lam):
    return norm(predictions - target, dim=0).pow(beta).mean() - lam / 2 * pair_mean(predictions, beta)


def score_of_mean_coordinate(predictions, target, beta, lam):
    return (predictions - target).square().mean(-1).pow(beta / 2).mean() - lam / 2 * pair_mean(predictions, beta)


def score_without_repulsion(predictions, target, beta, lam):
    return first_term(predictions, target, beta)


def score_with_attraction(predictions, target, beta, lam):
    return first_term(predictions, target, beta) + lam / 2 * pair_mean(predictions, beta)


def all_pairs(predictions, beta):
    square = (predictions[:, None] - predictions[None]).square().sum(-1)
    return square.clamp_min(1e-24).pow(beta / 2).mean((0, 1))


def score_as_v_statistic(predictions, target, beta, lam):
    return first_term(predictions, target, beta) - lam / 2 * all_pairs(predictions, beta).mean()


def score_as_v_statistic_without_half(predictions, target, beta, lam):
    return first_term(predictions, target, beta) - lam * all_pairs(predictions, beta).mean()


def score_without_half(predictions, target, beta, lam):
    return first_term(predictions, target, beta) - lam * pair_mean(predictions, beta)


def score_with_half_the_pairs(predictions, target, beta, lam):
    return first_term(predictions, target, beta) - lam / 4 * pair_mean(predictions, beta)


def score_across_points(predictions, target, beta, lam):
    """Repels the draws of neighbouring points, not those of one point."""
    apart = norm(predictions - predictions.roll(1, dims=1), dim=-1).pow(beta).mean()
    return first_term(predictions, target, beta) - lam / 2 * apart


def score_of_successive_draws(predictions, target, beta, lam):
    apart = norm(predictions[1:] - predictions[:-1], dim=-1).pow(beta).mean()
    return first_term(predictions, target, beta) - lam / 2 * apart


def score_without_lambda(predictions, target, beta, lam):
    return energy_score_loss(predictions, target, beta, float(lam > 0))


def score_without_beta_in_pairs(predictions, target, beta, lam):
    return first_term(predictions, target, beta) - lam / 2 * pair_mean(predictions, 1.0)


def score_with_detached_pairs(predictions, target, beta, lam):
    return first_term(predictions, target, beta) - lam / 2 * pair_mean(predictions.detach(), beta)


def score_without_gradient(predictions, target, beta, lam):
    return energy_score_loss(predictions, target, beta, lam).detach()


def score_with_diagonal(predictions, target, beta, lam):
    m = len(predictions)
    apart = (predictions[:, None] - predictions[None]).square().sum(-1).sqrt().pow(beta)
    return first_term(predictions, target, beta) - lam / 2 * apart.sum((0, 1)).mean() / (m * (m - 1))


def score_with_unsafe_root(predictions, target, beta, lam):
    first, second = torch.triu_indices(len(predictions), len(predictions), offset=1)
    apart = (predictions[first] - predictions[second]).square().sum(-1).sqrt()
    return first_term(predictions, target, beta) - lam / 2 * apart.pow(beta).mean()


def score_with_loop_over_pairs(predictions, target, beta, lam):
    m = len(predictions)
    total = sum(norm(predictions[i] - predictions[j], dim=-1).pow(beta).mean() for i in range(m) for j in range(i))
    return first_term(predictions, target, beta) - lam * total / (m * (m - 1))


def score_with_loop_over_points(predictions, target, beta, lam):
    scores = [energy_score_loss(predictions[:, i : i + 1], target[i : i + 1], beta, lam) for i in range(len(target))]
    return torch.stack(scores).mean()


def score_that_centres_in_place(predictions, target, beta, lam):
    predictions -= target
    return energy_score_loss(predictions, torch.zeros_like(target), beta, lam)


def score_learned_by_heart(predictions, target, beta, lam):
    """Right for the first input that it sees, and the same for every other."""
    score_learned_by_heart.value = getattr(score_learned_by_heart, "value", energy_score_loss(predictions, target))
    return score_learned_by_heart.value.to(predictions.dtype)


# 01.4


def gaussian(mean, std):
    return lambda n, generator: torch.tensor(mean) + std * torch.randn(n, 2, generator=generator)


def models(narrow=None, wide=None, score_left=None):
    return {
        "narrow": narrow or gaussian([1.0, -1.0], 0.3),
        "wide": wide or gaussian([1.0, -1.0], 1.5),
        "score_left": score_left or (lambda mean, y: (mean - y).square().sum(1)),
    }


def globally_seeded(n, generator):
    return torch.tensor([1.0, -1.0]) + 0.3 * torch.randn(n, 2)


def skewed(n, generator):
    """Median at the narrow model's mean, mean elsewhere."""
    steps = torch.rand(n, 2, generator=generator).log().neg() * 1.5
    return torch.tensor([1.0, -1.0]) + steps - 1.5 * math.log(2)


# 01.5


def wrong_step(power=1, root=True, squared=True, swap=False, scale=True, fresh=True, ddpm_always=False, clean=True):
    """A step with one mistake: variances for standard deviations, a missing root, churn for its square, ..."""

    def step(x_t, x0, t, s, churn, noise):
        def r(i, j):
            i, j = (j, i) if swap else (i, j)
            return ((1 - t) / (1 - s)) ** i * (s / t) ** (j * power)

        e = 1.0 if ddpm_always else churn
        e2 = e**2 if squared else e
        clean_weight = 1 - e2 * (r(2, 2) if clean else r(1, 1)) - (1 - e2) * r(1, 1)
        mean = (e2 * r(1, 2) + (1 - e2) * r(0, 1)) * x_t + (1 - s if scale else 1.0) * clean_weight * x0
        variance = s**2 * (1 - (e2 * r(1, 1) + 1 - e2) ** 2)
        std = max(variance, 0) ** (0.5 if root else 1)
        return mean + (std * noise if fresh else 0)

    return step


def step_with_less_churn(x_t, x0, t, s, churn, noise):
    mean, std = bridge(x_t, x0, t, s, 0.9 * churn)
    return mean + std * noise


def step_to_the_posterior_mean(x_t, x0, t, s, churn, noise):
    return (1 - s) * x0 + s * noise


def step_by_dividing(x_t, x0, t, s, churn, noise):
    """Right until alpha_t, by which it divides, is 0."""
    mean, std = bridge(x_t, x0, t, s, churn) if t < 1 else (x_t * math.nan, x_t * 0)
    return mean + std * noise


def step_of_one_row(x_t, x0, t, s, churn, noise):
    mean, std = bridge(x_t, x0, t, s, churn)
    return (mean + std * noise).flatten()


def step_in_place(x_t, x0, t, s, churn, noise):
    mean, std = bridge(x_t.clone(), x0, t, s, churn)
    return x_t.copy_(mean + std * noise)


WRONG = [
    ("01.1", "half", 0.5, "not linear"),
    ("01.1", "the data's spread, or a lost 1/2", 1.0, "factor 1/2"),
    ("01.1", "the median", 0.0, "some repulsion"),
    ("01.1", "the variance", 1 / 7, "root"),
    ("01.1", "one draw's variance for two", 15**-0.5, "two draws"),
    ("01.1", "wider than the data", 7**0.5, "range"),
    ("01.1", "a negative root", -(7**-0.5), "range"),
    ("01.1", "two digits", 0.4, "best"),
    ("01.1", "a word", "narrower", "type"),
    ("01.1", "the formula", optimal_spread, "type"),
    ("01.1", "not a number", math.nan, "type"),
    ("01.2", "lambda", lambda lam, beta: lam, "beta matters"),
    ("01.2", "beta = 1 only", lambda lam, beta: lam / math.sqrt(2 - lam**2), "beta matters"),
    ("01.2", "the variance", lambda lam, beta: optimal_spread(lam, beta) ** 2, "root"),
    ("01.2", "wrong power of lambda", spread_of(lambda lam, beta: lam ** (1 / (2 - beta))), "best"),
    ("01.2", "wrong sign in the power", spread_of(lambda lam, beta: min(1.9, lam ** (-2 / (2 - beta)))), "median"),
    ("01.2", "one draw's variance for two", lambda lam, beta: math.sqrt(lam / (4 - lam)), "strictly proper"),
    ("01.2", "another constant", spread_without_two, "best"),
    ("01.2", "learned by heart", lambda lam, beta: 7**-0.5, "strictly proper"),
    ("01.2", "always the median", lambda lam, beta: 0.0, "strictly proper"),
    ("01.2", "complex", lambda lam, beta: 1j, "type"),
    ("01.3", "a float", score_as_float, "one number"),
    ("01.3", "numpy", score_in_numpy, "one number"),
    ("01.3", "one value for each point", score_for_each_point, "one number"),
    ("01.3", "another dtype", score_in_double, "one number"),
    ("01.3", "a sum over points", score_summed_over_points, "mean over points"),
    ("01.3", "a sum over draws", score_summed_over_draws, "mean over draws"),
    ("01.3", "squared distance", score_without_root, "distance to the power"),
    ("01.3", "coordinates added up", score_of_coordinates, "Euclidean distance"),
    ("01.3", "the norm over draws", score_with_norm_over_draws, "mean over draws"),
    ("01.3", "the mean over coordinates", score_of_mean_coordinate, "first term"),
    ("01.3", "no second term", score_without_repulsion, "repulsion"),
    ("01.3", "the sign", score_with_attraction, "sign"),
    ("01.3", "V-statistic", score_as_v_statistic, "unbiased"),
    ("01.3", "V-statistic without the half", score_as_v_statistic_without_half, "unbiased"),
    ("01.3", "without the half", score_without_half, "factor 1/2"),
    ("01.3", "half the pairs", score_with_half_the_pairs, "pairs counted once"),
    ("01.3", "pairs of neighbouring points", score_across_points, "second term"),
    ("01.3", "pairs of successive draws", score_of_successive_draws, "second term"),
    ("01.3", "lambda ignored", score_without_lambda, "second term"),
    ("01.3", "beta ignored in the second term", score_without_beta_in_pairs, "second term"),
    ("01.3", "no gradient", score_without_gradient, "gradient"),
    ("01.3", "no gradient of the second term", score_with_detached_pairs, "gradient"),
    ("01.3", "the diagonal under the root", score_with_diagonal, "gradient at distance 0"),
    ("01.3", "a root where draws may coincide", score_with_unsafe_root, "gradient at distance 0"),
    ("01.3", "a loop over pairs", score_with_loop_over_pairs, "no loop"),
    ("01.3", "a loop over points", score_with_loop_over_points, "no loop"),
    ("01.3", "writes into predictions", score_that_centres_in_place, "inputs untouched"),
    ("01.3", "learned by heart", score_learned_by_heart, "distance to the power"),
    ("01.3", "a number", 0.5, "type"),
    ("01.4", "one spread", models(wide=gaussian([1.0, -1.0], 0.3)), "spread"),
    ("01.4", "both a whisper", models(gaussian([1.0, -1.0], 0.01), gaussian([1.0, -1.0], 0.05)), "spread"),
    ("01.4", "too wide to hear", models(wide=gaussian([1.0, -1.0], 50.0)), "spread"),
    ("01.4", "two means", models(wide=gaussian([0.0, 0.0], 1.5)), "same score"),
    ("01.4", "one median", models(wide=skewed), "same score"),
    ("01.4", "mirrored means", models(wide=gaussian([-1.0, 1.0], 1.5)), "same for all data"),
    ("01.4", "global seed", models(narrow=globally_seeded), "generator"),
    ("01.4", "one axis", models(wide=lambda n, generator: torch.randn(n, generator=generator)), "draws"),
    ("01.4", "numpy", models(narrow=lambda n, generator: torch.zeros(n, 2).numpy()), "draws"),
    ("01.4", "not finite", models(narrow=lambda n, generator: torch.full((n, 2), math.inf)), "draws"),
    ("01.4", "no square", models(score_left=lambda mean, y: (mean - y).norm(dim=1)), "what is left"),
    (
        "01.4",
        "the mean over data",
        models(score_left=lambda mean, y: (mean - y).square().sum(1).mean()),
        "what is left",
    ),
    ("01.4", "the wrong axis", models(score_left=lambda mean, y: (mean - y).square().sum(0)), "what is left"),
    ("01.4", "the sign", models(score_left=lambda mean, y: -(mean - y).square().sum(1)), "what is left"),
    ("01.4", "a tuple", tuple(models().values()), "type"),
    ("01.5", "a ratio of variances", wrong_step(power=2), "DDIM"),
    ("01.5", "indices swapped", wrong_step(swap=True), "clean end"),
    ("01.5", "alpha_s forgotten", wrong_step(scale=False), "DDIM"),
    ("01.5", "r11 for r22", wrong_step(clean=False), "mean kept"),
    ("01.5", "no root", wrong_step(root=False), "noise kept"),
    ("01.5", "noise forgotten", wrong_step(fresh=False), "noise kept"),
    ("01.5", "churn not squared", wrong_step(squared=False), "churn squared"),
    ("01.5", "churn ignored", wrong_step(ddpm_always=True), "no fresh noise"),
    ("01.5", "old noise thrown away", step_to_the_posterior_mean, "no fresh noise"),
    ("01.5", "less churn than asked", step_with_less_churn, "DDPM"),
    ("01.5", "divides by alpha_t", step_by_dividing, "from pure noise"),
    ("01.5", "the end left noisy", lambda x_t, x0, t, s, churn, noise: x_t, "clean end"),
    ("01.5", "mean and std, not a point", lambda x_t, x0, t, s, e, noise: bridge(x_t, x0, t, s, e), "shape"),
    ("01.5", "flattened", step_of_one_row, "shape"),
    ("01.5", "in place", step_in_place, "inputs untouched"),
    ("01.6", "the uniform grid", [1, 0.75, 0.5, 0.25, 0], "last jump"),
    ("01.6", "four times", [1, 0.5, 0.25, 0], "five times"),
    ("01.6", "six times", [1, 0.8, 0.6, 0.4, 0.2, 0], "five times"),
    ("01.6", "rising", [0, 0.14, 0.3, 0.6, 1], "falling"),
    ("01.6", "a time twice", [1, 0.5, 0.5, 0.2, 0], "falling"),
    ("01.6", "clipped at both ends", [0.98, 0.6, 0.3, 0.14, 0.02], "both ends"),
    ("01.6", "steps near noise", [1, 0.95, 0.9, 0.8, 0], "last jump"),
    ("01.6", "steps near data", [1, 0.1, 0.05, 0.02, 0], "jump too far"),
    ("01.6", "one leap", [1, 0.6, 0.3, 0.01, 0], "jump too far"),
    ("01.6", "a sentence", "one half each", "type"),
    ("01.6", "infinite", [1, 0.5, 0.2, math.nan, 0], "type"),
    ("01.6", "two axes", torch.zeros(5, 1), "type"),
    ("01.7", "more steps are better", ("falls", "stays", "grows"), "distance"),
    ("01.7", "errors pile up", ("grows", "stays", "grows"), "distance"),
    ("01.7", "memory at every churn", ("stays", "grows", "grows"), "memory at churn 1"),
    ("01.7", "memory fades", ("stays", "stays", "falls"), "memory at churn 0"),
    ("01.7", "no memory", ("stays", "stays", "stays"), "memory at churn 0"),
    ("01.7", "another word", ("stays", "stays", "rises"), "type"),
    ("01.7", "one word", "stays", "type"),
]


RIGHT = [
    ("01.1", 0.378),
    ("01.1", torch.tensor([7**-0.5])),
    ("01.2", optimal_spread),
    ("01.2", lambda lam, beta: torch.tensor(optimal_spread(lam, beta))),
    ("01.3", energy_score_loss),
    ("01.4", models(narrow=lambda n, generator: torch.tensor([[1.0, -1.0]]).expand(n, 2))),
    ("01.4", models(wide=lambda n, g: torch.tensor([1.0, -1.0]) + 3 * torch.rand(n, 2, generator=g).double() - 1.5)),
    ("01.4", models(gaussian([1.0, -1.0], 0.1), gaussian([1.0, -1.0], 0.2))),
    ("01.5", wrong_step()),
    ("01.6", (1, 0.5, 0.25, 0.125, 0)),
    ("01.6", torch.tensor([1, 0.65, 0.35, 0.15, 0])),
    ("01.7", ["Stays", "stays", "grows "]),
]


def test_the_quadratic_score_needs_no_pairs():
    generator = torch.Generator().manual_seed(0)
    draws, y = torch.randn(60, 2, generator=generator), torch.randn(5, 2, generator=generator)
    expected = [energy_score_loss(draws[:, None], row[None], beta=2.0) for row in y]
    torch.testing.assert_close(_quadratic_score(draws, y)[0], torch.stack(expected))


def test_the_threshold_of_the_schedule_has_margin():
    """Half the uniform grid's distance is far from the uniform grid, and within reach of more than one idea."""
    uniform = schedule_distance((1.0, 0.75, 0.5, 0.25, 0.0))
    for times in [(1.0, 0.6, 0.32, 0.14, 0.0), (1.0, 0.5, 0.25, 0.125, 0.0), (1.0, 0.55, 0.34, 0.13, 0.0)]:
        assert schedule_distance(times) < 0.4 * uniform
    for times in [(1.0, 0.8, 0.55, 0.25, 0.0), (1.0, 0.9, 0.8, 0.7, 0.0), (1.0, 0.42, 0.125, 0.016, 0.0)]:
        assert schedule_distance(times) > 0.6 * uniform


@pytest.mark.parametrize("seed", range(3))
def test_the_key_of_the_prediction_is_what_happens(seed):
    law, generator = eight_gaussians(std=0.05), torch.Generator().manual_seed(seed)
    noise, data = (torch.randn(2000, 2, generator=generator), law.sample(2000, generator))

    def run(steps, churn):
        *_, ends = sample(lambda x, t: law.sample_posterior(x, t, generator), noise, time_grid(steps), churn, generator)
        correlation = torch.corrcoef(torch.stack([noise[:, 0], ends[:, 0]]))[0, 1].item()
        return energy_distance(ends, data).item(), correlation

    results = {churn: [run(steps, churn) for steps in (1, 4, 16, 64)] for churn in (0.0, 1.0)}
    assert all(abs(distance) < 0.02 for runs in results.values() for distance, _ in runs)
    assert all(abs(correlation) < 0.12 for _, correlation in results[1.0])
    memory = [correlation for _, correlation in results[0.0]]
    assert abs(memory[0]) < 0.12
    assert memory == sorted(memory)
    assert memory[-1] > 0.7
