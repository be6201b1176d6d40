# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises: diffusion in two dimensions
#
# Two exercises for [lesson f2](../f2_diffusion_in_two_dimensions.ipynb), each checked as you go.
#
# - **You will practise** following an error of the start through a sampler, and turning Bayes' rule into a denoiser.
# - **You need** the lesson, Gaussians, and PyTorch's broadcasting.
# - **Minutes**: 25 in all. Take them in any order.
# - **How**: put your answer in place of the dots, run the cell, then run its check. A check tries your answer on random inputs and names the first property that fails. Two hints wait below each exercise.

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import torch

from companion.teaching import begin, check

session = begin(PROFILE, SEED, DEVICE)

# %% [markdown]
# ## f2.1 · Predict the leak
#
# Difficulty 3/5 · 10 minutes · shift of the mean
#
# The data are $\mathcal N(\mu, s^2)$ in each coordinate, with $\mu = 5$ and $s = 9/4$. The schedule leaks: it ends at $T = 3/4$, where $\alpha_T = 1/4$ of the signal is left and $\sigma_T = 3/4$. The sampler does not know; it starts from pure noise, $\mathcal N(0, \sigma_T^2)$, and walks down with very many steps and the exact posterior mean.
#
# What is the mean of the samples at churn 0 (DDIM), and at churn 1 (DDPM)? Guess first: which is nearer to 5? Then derive both, to three digits.

# %% tags=["exercise"]
means_at_churn_0_and_1 = (
    ### BEGIN SOLUTION
    5 * (1 - 3 / 5),
    5 * (1 - (3 / 5) ** 2),
    ### END SOLUTION
)

# %% tags=["check"]
check("f2.1", means_at_churn_0_and_1)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# At $T$ the noised data have mean $\alpha_T\mu$ and variance $v_T$, where $v_t = \alpha_t^2 s^2 + \sigma_t^2$. DDIM with tiny steps keeps $(x_t - \alpha_t\mu)/\sqrt{v_t}$ as it is. Where does a point that starts at 0 end? (The numbers make a 3-4-5 triangle.)
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# DDPM with tiny steps retraces the noising, so given its start $x_T$ it ends at a *draw from the posterior* of $x_0$. The mean of that is $\mu + \frac{\alpha_T s^2}{v_T}(x_T - \alpha_T\mu)$. Average it over the start.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# Let $\rho = \alpha_T s/\sqrt{v_T}$, the correlation of $x_0$ and $x_T$; here $\frac{9}{16} : \frac{15}{16} = \frac35$. At churn 0 a point at 0 lies $\alpha_T\mu/\sqrt{v_T}$ widths below the mean and stays so many widths below: it ends at $\mu - s\,\alpha_T\mu/\sqrt{v_T} = \mu(1-\rho)$. At churn 1 the average of the posterior mean is $\mu - \frac{\alpha_T^2 s^2}{v_T}\mu = \mu(1-\rho^2)$. Between them the mean is $\mu(1-\rho^{1+e^2})$ at churn $e$: fresh noise wears the memory of the start away, but it does not close the leak. `companion.foundations.one_gaussian.leaky_mean` has the formula.
#
# </details>

# %% [markdown]
# ## f2.2 · The posterior mean of a mixture
#
# Difficulty 3/5 · 15 minutes · Bayes' rule
#
# Write the perfect denoiser. The data are a mixture of $k$ round Gaussians, $\sum_j w_j\,\mathcal N(\mu_j, s_j^2 I)$, and $x_t = \alpha_t x_0 + \sigma_t\varepsilon$ with $\alpha_t = 1-t$ and $\sigma_t = t$. Return
#
# $$\mathbb E[x_0\mid x_t = x] = \sum_j \Pr(j\mid x)\;\Big(\mu_j + \frac{\alpha_t s_j^2}{v_j}\,(x - \alpha_t\mu_j)\Big), \qquad v_j = \alpha_t^2 s_j^2 + \sigma_t^2 ,$$
#
# where $\Pr(j\mid x)$ is proportional to $w_j$ times the density of $\mathcal N(\alpha_t\mu_j, v_j I)$ at $x$. It must not break down far from all clusters.


# %% tags=["exercise"]
def posterior_mean(x, t, means, stds, weights):
    """From points x (n, d), a number t, means (k, d), stds (k,) and weights (k,): posterior means (n, d)."""
    ### BEGIN SOLUTION
    alpha, sigma = 1 - t, t
    variance = alpha**2 * stds**2 + sigma**2
    away = x[:, None] - alpha * means
    square = away.square().sum(2)
    log_density = -square / (2 * variance) - x.shape[1] / 2 * variance.log()
    likely = torch.softmax(weights.log() + log_density, dim=1)
    each = means + (alpha * stds**2 / variance)[:, None] * away
    return (likely[..., None] * each).sum(1)
    ### END SOLUTION


# %% tags=["check"]
check("f2.2", posterior_mean)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# `x[:, None] - alpha * means` has the shape (n, k, d): every point against every component. Its square, summed over the last axis, is what the densities need.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The log density of $\mathcal N(\alpha\mu, vI)$ in $d$ dimensions is $-|x-\alpha\mu|^2/2v - \frac d2\log v$ and a constant. Add $\log w_j$, and `softmax` over $j$ gives $\Pr(j\mid x)$ without ever forming a density.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# Given the component, $x_0$ and $x_t$ are jointly Gaussian, and the mean of one given the other is a straight line: the gain $\alpha s^2/v$ is their covariance over the variance of $x_t$. The components are then averaged with the weights that Bayes' rule gives. Far away every density is 0 in floating point, but their logarithms are not, and softmax only looks at differences. Put this function into a sampler and you have the lesson's figures of steps and leaks. `GaussianMixture.denoise` in the package does the same.
#
# </details>
