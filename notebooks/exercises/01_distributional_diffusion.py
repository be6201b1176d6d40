# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises: distributional diffusion
#
# Seven exercises for [lesson 01](../01_distributional_diffusion.ipynb), each checked as you go.
#
# - **You will practise** deriving the spread of the best model, writing the energy score so that a GPU likes it, breaking it, crossing the bridge with churn, and spending four steps well.
# - **You need** the lesson, some calculus, and PyTorch's broadcasting.
# - **Minutes**: 70 in all, 5 to 15 each. Take them in any order; 01.2 builds on 01.1.
# - **How**: put your answer in place of the dots, run the cell, then run its check. A check tries your answer on random inputs and names the first property that fails. Use it as often as you like. Two hints wait below each exercise.

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import math

import torch

from companion.data import toy
from companion.foundations.diffusion import sample, time_grid
from companion.foundations.distances import energy_distance
from companion.teaching import Slider, begin, check, explore, figures

session = begin(PROFILE, SEED, DEVICE)

# %% [markdown]
# ## 01.1 · Predict the spread
#
# Difficulty 2/5 · 10 minutes · eq. (12)
#
# The clean points are $x_0 \sim \mathcal N(0, I)$, and a model draws $X \sim \mathcal N(0, s^2 I)$; $X'$ is a second, independent draw of the model. Trained with the whole repulsion, $\lambda = 1$, the best spread is the data's own, $s = 1$. Somebody halves the repulsion. Now the loss is, at $\beta = 1$ and $\lambda = \tfrac12$,
#
# $$S(s) = \mathbb E|X - x_0| - \frac{\lambda}{2}\, \mathbb E|X - X'| .$$
#
# Which $s$ is best? Guess first: still 1, one half, something else, a single point? Then derive it, to three digits.

# %% tags=["exercise"]
best_spread_at_half = (
    ### BEGIN SOLUTION
    0.5 / math.sqrt(2 - 0.5**2)
    ### END SOLUTION
)

# %% tags=["check"]
check("01.1", best_spread_at_half)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# $X - x_0$ and $X - X'$ are both Gaussian with mean 0. What are their variances? And $\mathbb E|\mathcal N(0, vI)| = c\sqrt v$, with a constant $c$ that does not matter here.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# $S(s)/c = \sqrt{1 + s^2} - \frac{\lambda}{2}\sqrt{2 s^2}$. Set its derivative to zero and solve for $s^2$.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# The derivative is zero where $s/\sqrt{1+s^2} = \lambda/\sqrt2$, so $s^2 = \lambda^2/(2-\lambda^2)$. At $\lambda = \tfrac12$ that is $s = 1/\sqrt7$: half the repulsion leaves far less than half of the variance. Such samples look clean, because each is near the middle of what is possible. They are too sure of themselves.
#
# </details>

# %% [markdown]
# ## 01.2 · The spread for every λ and β
#
# Difficulty 3/5 · 10 minutes · eq. (12)
#
# Same data, same model, but now distances enter to the power $\beta$, with $0 < \beta < 2$. Write the best spread as a function of $\lambda$ and $\beta$. You may use $\mathbb E|\mathcal N(0, vI)|^\beta = c\,v^{\beta/2}$. Before you derive: as $\beta$ grows towards 2 with $\lambda$ fixed below 1, does the best model become wider or narrower?


# %% tags=["exercise"]
def best_spread(lam, beta):
    """Standard deviation of the best model, from two numbers: one number."""
    ### BEGIN SOLUTION
    shrink = lam ** (2 / (2 - beta))
    return math.sqrt(shrink / (2 - shrink))
    ### END SOLUTION


# %% tags=["check"]
check("01.2", best_spread)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Write $v = s^2$ and differentiate $(1+v)^{\beta/2} - \frac{\lambda}{2}(2v)^{\beta/2}$ with respect to $v$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Zero derivative means $\left(\frac{1+v}{v}\right)^{\beta/2-1} = \lambda\, 2^{\beta/2-1}$. Take the power $\frac{1}{\beta/2-1} = -\frac{2}{2-\beta}$ of both sides.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# The power gives $\frac{1+v}{v} = 2/q$ with $q = \lambda^{2/(2-\beta)}$, so $v = q/(2-q)$. Since $q$ falls as $\beta$ grows, the model becomes *narrower*: near $\beta = 2$ the least missing repulsion collapses it. A small $\beta$ forgives a $\lambda$ below 1. The package has the formula as `companion.methods.distributional.optimal_spread`.
#
# </details>

# %% [markdown]
# ## 01.3 · The energy score without a loop
#
# Difficulty 3/5 · 15 minutes · eq. (12) and (15)
#
# Write the loss that lesson 01 trains with. For $n$ clean points and $m$ draws for each,
#
# $$\frac1n \sum_{i=1}^n \Big[ \frac1m \sum_{j} |x_{0,i} - \hat x_{j,i}|^\beta - \frac{\lambda}{2m(m-1)} \sum_{j \ne j'} |\hat x_{j,i} - \hat x_{j',i}|^\beta \Big].$$
#
# No Python loop over draws or points. And the gradient must stay finite, at $\beta = 1$ even where two draws coincide.


# %% tags=["exercise"]
def energy_score(predictions, target, beta, lam):
    """The loss from predictions (m, n, d) and target (n, d): a tensor with one number."""
    ### BEGIN SOLUTION
    first, second = torch.triu_indices(len(predictions), len(predictions), offset=1)
    to_target = torch.linalg.vector_norm(predictions - target, dim=-1)
    apart = torch.linalg.vector_norm(predictions[first] - predictions[second], dim=-1)
    return to_target.pow(beta).mean() - lam / 2 * apart.pow(beta).mean()
    ### END SOLUTION


# %% tags=["check"]
check("01.3", energy_score)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# `predictions - target` broadcasts (m, n, d) against (n, d). The distance of two points is a norm over the *last* axis only.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# For the pairs, either subtract `predictions[None]` from `predictions[:, None]` and leave out the diagonal, or take each pair once with `torch.triu_indices(m, m, offset=1)`. The sum over $j \ne j'$ divided by $m(m-1)$ is then just a mean.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# The distance of two draws does not depend on their order, so the mean over all pairs $j \ne j'$ is the mean over pairs $j < j'$: half the work, and no draw ever meets itself. That matters twice. A mean over all $m^2$ pairs is biased towards 0, which is a hidden $\lambda < 1$ (exercise 01.1 says what that does). And at distance 0 the root has no slope: one diagonal in the graph can turn every gradient into `nan`. Memory grows as $m^2 n d$, which is fine for the handful of draws that the method needs.
#
# </details>

# %% [markdown]
# ## 01.4 · Break it: β = 2
#
# Difficulty 3/5 · 10 minutes · eq. (12)
#
# "Squared distances are smooth, and with $\lambda = 1$ we keep the repulsion", says a colleague, and sets $\beta = 2$. Show that this score is blind: write two models of points in the plane, `wide` at least twice as wide as `narrow`, with the same expected score whatever the data $y$. Then write what the score still sees: its expected value at $y$, from the mean of the model alone.


# %% tags=["exercise"]
def narrow(n, generator):
    """n draws (n, 2) of the narrow model; pass the generator on."""
    ### BEGIN SOLUTION
    return torch.tensor([1.0, 0.0]) + 0.2 * torch.randn(n, 2, generator=generator)
    ### END SOLUTION


def wide(n, generator):
    """n draws (n, 2) of the wide model, standard deviation from 0.2 to 3."""
    ### BEGIN SOLUTION
    return torch.tensor([1.0, 0.0]) + 2.0 * torch.randn(n, 2, generator=generator)
    ### END SOLUTION


def score_left(mean, y):
    """Expected score of a model with this mean (2,), for each row of y (k, 2): (k,)."""
    ### BEGIN SOLUTION
    return (mean - y).square().sum(dim=1)
    ### END SOLUTION


# %% tags=["check"]
check("01.4", {"narrow": narrow, "wide": wide, "score_left": score_left})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Split the first term into what the mean does and what the spread does: $\mathbb E|X - y|^2 = |\mathbb E X - y|^2 + \operatorname{tr} \operatorname{Cov} X$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Two independent draws differ by $\mathbb E|X - X'|^2 = 2 \operatorname{tr} \operatorname{Cov} X$. Half of that is subtracted.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# The spread enters both terms and cancels. What is left is $|\mathbb E X - y|^2$: any two models with one mean tie, even if one of them is a single point. So at $\beta = 2$ the score is *proper* (the truth is among the best) but not *strictly* proper, and training finds the posterior mean again with noise that means nothing. Below 2 the power is concave in the squared distance, and the cancelling stops.
#
# </details>

# %% [markdown]
# ## 01.5 · One step across the bridge
#
# Difficulty 3/5 · 10 minutes · eq. (4)
#
# Given a clean point $x_0$, the sampler goes from $x_t$ down to $x_s$, $s < t$. With $\alpha_t = 1 - t$, $\sigma_t = t$, churn $e$ and $r_{ij} = (\alpha_t/\alpha_s)^i (\sigma_s/\sigma_t)^j$, the step is Gaussian:
#
# $$\text{mean} = \big(e^2 r_{12} + (1-e^2)\, r_{01}\big)\, x_t + \alpha_s \big(1 - e^2 r_{22} - (1-e^2)\, r_{11}\big)\, x_0,$$
#
# $$\text{variance} = \sigma_s^2 \Big(1 - \big(e^2 r_{11} + 1 - e^2\big)^2\Big).$$
#
# Write it. Then convince yourself on paper that at churn 0 nothing random is left, and that at $s = 0$ the answer is $x_0$.


# %% tags=["exercise"]
def step(x_t, x0, t, s, churn, noise):
    """x_s from x_t, x0 and standard normal noise, all (n, *event); t, s and churn are numbers."""

    ### BEGIN SOLUTION
    def r(i, j):
        return ((1 - t) / (1 - s)) ** i * (s / t) ** j

    fresh = churn**2
    mean = (fresh * r(1, 2) + (1 - fresh) * r(0, 1)) * x_t
    mean = mean + (1 - s) * (1 - fresh * r(2, 2) - (1 - fresh) * r(1, 1)) * x0
    variance = s**2 * (1 - (fresh * r(1, 1) + 1 - fresh) ** 2)
    return mean + math.sqrt(variance) * noise
    ### END SOLUTION


# %% tags=["check"]
check("01.5", step)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Write $r_{ij}$ as a small function of i and j inside `step`. The noise is multiplied by a standard deviation, not by a variance.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Test it by hand at churn 0. Put $x_t = \alpha_t x_0 + \sigma_t \varepsilon$ into the mean: the result must be $\alpha_s x_0 + \sigma_s \varepsilon$.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# Put $x_t = \alpha_t x_0 + \sigma_t \varepsilon$ into the step. The factor of $x_0$ becomes $\alpha_s$. The old noise keeps the weight $\sigma_s\kappa$ with $\kappa = e^2 r_{11} + 1 - e^2$, the new noise gets $\sigma_s\sqrt{1 - \kappa^2}$, and the squares add up to $\sigma_s^2$. So $x_s$ has the right law for *every* churn: churn only exchanges old noise for new.
#
# </details>

# %% [markdown]
# ## 01.6 · Four steps well spent
#
# Difficulty 2/5 · 10 minutes · Algorithm 2
#
# The *standard* sampler puts the posterior mean where a draw should be. With four calls of the denoiser it pays to choose their times. Here the data are eight narrow Gaussians and the denoiser is exact, so all that goes wrong is due to the steps (churn 1). Move the slider: it bends the uniform grid. Where do the points between the modes come from?

# %% tags=["widget"]
law = toy.eight_gaussians(std=0.05).to(session.device)
points, seeds = session.pick(smoke=(500, 1), lesson=(3000, 3))


def four_steps(times):
    """Samples of the standard sampler, and their energy distance to the data, a mean over seeds."""
    total = 0.0
    for seed in range(seeds):
        generator = session.generator(seed)
        start = torch.randn(points, 2, generator=generator, device=session.device)
        data = law.sample(points, generator)
        *_, samples = sample(law.denoise, start, torch.tensor(times), churn=1.0, generator=generator)
        total += energy_distance(samples, data).item()
    return samples, total / seeds


def bent_grid(power):
    """Four steps with the exact mean: on the uniform grid, power 1, points lie between the modes; at power 1.5 few do."""
    times = (time_grid(4) ** power).tolist()
    samples, distance = four_steps(times)
    figure, (axes,) = figures.panels(1, size=(4.2, 4.2))
    title = f"power {power:g}\nenergy distance {distance:.4f}"
    figures.scatter(axes, samples[:1200], figures.RIVAL, size=4, limit=2.5, title=title)
    return figure


power = Slider(0.5, 3, default=1, steps=6, label="Power of the uniform grid")
explore(bent_grid, title="Where four steps lead", power=power)

# %% [markdown]
# Now choose five times, from 1 down to 0, whose energy distance is at most half that of the uniform grid `[1, 0.75, 0.5, 0.25, 0]`. `four_steps(times)[1]` measures a schedule of yours, as the check does with other noise.

# %% tags=["exercise"]
times = (
    ### BEGIN SOLUTION
    [1.0, 0.6, 0.32, 0.14, 0.0]
    ### END SOLUTION
)

# %% tags=["check"]
check("01.6", times)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Look at the last step: at $s = 0$ the sample *is* the posterior mean, and no later step mends it. From which $t$ on does $x_t$ tell neighbouring modes apart? Their centres lie about $1.5\,(1-t)$ apart, and the noise has standard deviation $t$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Equal differences are not equal difficulty. Try equal *ratios*: each inner time about half of the one before.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# At $t = 0.25$ a point half way between two modes is little more than two standard deviations from either, so the uniform grid's last step sends some points to the middle, where no data live. From a smaller $t$ it meets no doubt. But one may not go there in a single leap either: a step leaves the error of its mean behind, and the next can repair it only while the noise $\sigma_s$ that remains covers it. Times that fall by ratios balance the two. A schedule is a patch for a missing posterior: with draws instead of means, exercise 01.7 will say how much the times matter.
#
# </details>

# %% [markdown]
# ## 01.7 · Perfect draws
#
# Difficulty 3/5 · 5 minutes · Algorithm 2
#
# Now the sampler uses *draws* of the exact posterior, `law.sample_posterior`, on uniform grids of 1, 2, 4, … 64 steps. Predict before you look. As the number of steps grows, what happens to
#
# 1. the energy distance to the data, at churn 1,
# 2. the correlation between a sample and the noise it started from, at churn 1,
# 3. the same correlation at churn 0?
#
# Answer with three words, each `"falls"`, `"stays"` or `"grows"`.

# %% tags=["exercise"]
prediction = (
    ### BEGIN SOLUTION
    "stays",
    "stays",
    "grows",
    ### END SOLUTION
)

# %% tags=["check"]
check("01.7", prediction)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# With one step, from $t = 1$ to 0: what does the posterior at $t = 1$ know of $x_1$?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# At churn 1 the sampler walks the noising process backwards: the pair (start, sample) has the law of $(x_1, x_0)$. At churn 0 a small step changes $x$ by little, so the randomness of one draw has little weight, and that of very many averages out.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# A draw $x_0$ and its $x_t$ are an exact pair, the bridge makes $(x_0, x_s)$ an exact pair, and so on: the law is right on any grid and for any churn. What differs is the coupling of start and end. At churn 1 it is that of the noising process, in which $x_1$ has forgotten $x_0$ entirely. At churn 0 it goes from independence (one step) towards a deterministic flow (very many), in which the start decides the end. The figure below shows it.
#
# </details>

# %% [markdown]
# Predicted? Then look.

# %%
number, grid = session.pick(smoke=500, lesson=2000), [1, 2, 4, 8, 16, 32, 64]
generator = session.generator()
noise = torch.randn(number, 2, generator=generator, device=session.device)
data = law.sample(number, generator)


def run(steps, churn):
    """Energy distance to the data, and correlation with the start, of exact posterior draws."""
    *_, ends = sample(lambda x, t: law.sample_posterior(x, t, generator), noise, time_grid(steps), churn, generator)
    return energy_distance(ends, data).item(), torch.corrcoef(torch.stack([noise[:, 0], ends[:, 0]]))[0, 1].item()


figure, axes = figures.panels(2, size=(3.6, 3.1))
for churn, colour in [(1.0, figures.LEARNED), (0.0, figures.RIVAL)]:
    distance, correlation = zip(*[run(steps, churn) for steps in grid])
    axes[0].plot(grid, distance, "o-", color=colour, label=f"churn {churn:g}")
    axes[1].plot(grid, correlation, "o-", color=colour, label=f"churn {churn:g}")
axes[0].set(title="energy distance to the data", ylim=(-0.02, 0.1))
axes[1].set(title="correlation with the start", ylim=(-0.1, 1))
for axis in axes:
    axis.set(xscale="log", xlabel="steps")
    axis.set_xticks(grid, grid), axis.minorticks_off()
axes[1].legend()
figures.describe(
    figure,
    "As steps grow, the distance stays near 0 for both churns; the correlation stays near 0 at churn 1 and rises at churn 0.",
)

# %% [markdown]
# ## What to read next
#
# - **Back to the lesson**: [its section on failures](../01_distributional_diffusion.ipynb) shows what remains of this when the draws are learned instead of exact.
# - **The proof behind 01.1 to 01.4**: Gneiting and Raftery (2007), *Strictly proper scoring rules, prediction, and estimation*, on the energy score and why $\beta < 2$.
# - **The bridge of 01.5**: Song, Meng and Ermon (2021), *Denoising diffusion implicit models*.
# - **Schedules, as in 01.6**: Karras, Aittala, Aila and Laine (2022), *Elucidating the design space of diffusion-based generative models*.
