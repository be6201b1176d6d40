# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises: least squares with a memory
#
# Two exercises for [foundation f4](../f4_least_squares_with_a_memory.ipynb), each checked as you go.
#
# - **You will practise** predicting what two ways to forget do in a direction about which nothing is heard, and taking a row back out of a belief.
# - **You need** the lesson, powers and logarithms, and matrix products in PyTorch.
# - **Minutes**: 25 in all, 10 and 15. Take them in any order.
# - **How**: put your answer in place of the dots, run the cell, then run its check. A check tries your answer and names the first property that fails. Use it as often as you like. Two hints wait below each exercise.
#
# As in the lesson, rows are samples. A belief is a mean $M$ $(p, k)$ and a covariance $A$ $(p, p)$, which all columns of the weights share.

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import math

import torch

from companion.foundations.linear import ridge
from companion.teaching import begin, check, figures

session = begin(PROFILE, SEED, DEVICE)

# %% [markdown]
# ## f4.1 · What a silence does
#
# Difficulty 2/5 · 10 minutes · the two ways to forget
#
# Two filters, one weight. The prior's variance is 1, the noise variance is 1. The first filter forgets exponentially with $g = 0.9$; the second drifts with $\gamma^2 = 0.9$. Guess each answer, then compute it; two digits are enough.
#
# 1. `settled`: rows with the feature 1 come for ever. Where does the variance of the *first* filter settle, just after each row? (Its information is then as many rows as it remembers.)
# 2. `faded`: now both have the variance 0.01, and *no* more rows come. What is the variance of the first filter after 20 steps?
# 3. `drifted`: and that of the second?
# 4. `passed`: from the variance 0.01, without rows, after how many steps does the first doubt the weight more than the prior did?

# %% tags=["exercise"]
silence = {
    ### BEGIN SOLUTION
    "settled": 1 - 0.9,
    "faded": 0.01 * 0.9**-20,
    "drifted": 1 - 0.9**20 * (1 - 0.01),
    "passed": math.log(0.01) / math.log(0.9),
    ### END SOLUTION
}

# %% tags=["check"]
check("f4.1", silence)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Work with the information $1/A$ for the first two: each step multiplies it by $g$, and a row with the feature 1 then adds 1. For the drift work with what has been learned, $1 - A$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Settled means $1/A = g/A + 1$. In silence $A$ is multiplied by $1/g$ twenty times, and $1 - A$ by $\gamma^2$ twenty times. For `passed`, solve $0.01\,g^{-n} = 1$.
#
# </details>

# %% [markdown]
# Here are both, from the variance 0.01 on, without a row.

# %%
steps = torch.arange(61)
figure, (axes,) = figures.panels(1, size=(6, 3))
axes.plot(steps, 0.01 * 0.9**-steps, color=figures.RIVAL, label="exponential")
axes.plot(steps, 1 - 0.9**steps * 0.99, color=figures.LEARNED, label="OU drift")
axes.axhline(1, color=figures.EXACT, linestyle="--", label="prior")
axes.set(xlabel="steps of silence", ylabel="variance", ylim=(0, 3))
axes.legend()
figures.describe(
    figure, "The drift rises at once and levels off at the prior; exponential doubt starts late and bursts."
)

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# $1/A = g/A + 1$ gives $1/A = 1/(1-g) = 10$ rows, and the variance is $1/10$. In silence the first filter's variance is $0.01 \cdot 0.9^{-20} \approx 0.082$, and the second's $1 - 0.9^{20} \cdot 0.99 \approx 0.88$. *At first the drift forgets much faster*: it adds most where most is known, and exponential forgetting adds there almost nothing. After 44 steps it is the other way round: the one has passed the prior and goes on for ever, the other has arrived. So the same share, 0.9, is not the same forgetting.
#
# </details>

# %% [markdown]
# ## f4.2 · Take a row back
#
# Difficulty 3/5 · 15 minutes · Woodbury's identity, with a minus sign
#
# Another way to forget is a **window**: each row counts in full until it is so many rows old, and then not at all. So an old row must be taken out of the belief again, as if it had never come. Here is how a row came in:


# %%
def absorb(mean, covariance, feature, target, noise_variance):
    """Mean (p, k) and covariance (p, p) after one row (1, p) and its targets (1, k)."""
    reach = covariance @ feature.T
    gain = reach / (noise_variance + feature @ reach)
    return mean + gain @ (target - feature @ mean), covariance - gain @ reach.T


# %% [markdown]
# Write `release`, which undoes it. Absorbing added $\phi\phi^\top/\sigma^2$ to the information; now it must be *subtracted*. As before, at a cost of $O(p^2)$: no inverse, and no system of $p\times p$.


# %% tags=["exercise"]
def release(mean, covariance, feature, target, noise_variance):
    """Mean (p, k) and covariance (p, p) without the row (1, p) and its targets (1, k)."""
    ### BEGIN SOLUTION
    reach = covariance @ feature.T
    gain = reach / (noise_variance - feature @ reach)
    return mean - gain @ (target - feature @ mean), covariance + gain @ reach.T
    ### END SOLUTION


# %% tags=["check"]
check("f4.2", release)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# $A^{-1} - \phi\phi^\top/\sigma^2$ is what absorbing would give if $\sigma^2$ were another number. Which?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Put $-\sigma^2$ in the place of $\sigma^2$, everywhere. That is all: the gain becomes $A\phi/(\phi^\top A\phi - \sigma^2)$, whose denominator is negative.
#
# </details>

# %% [markdown]
# A window of 30 rows over a weight that jumps, beside ridge regression on the same 30 rows.

# %%
count, width = session.pick(smoke=60, lesson=150), 30
generator = session.generator(device="cpu")
exact = {"dtype": torch.float64}
draw = {"generator": generator, **exact}
features = torch.randn(count, 2, **draw)
truth = torch.where(torch.arange(count) < count // 2, 1.0, -1.0).double()
targets = features[:, :1] * truth[:, None] + 0.3 * torch.randn(count, 1, **draw)


def window(last):
    """Run to row `last`: the first weight, row by row, and the final mean."""
    mean, covariance, path = torch.zeros(2, 1, **exact), torch.eye(2, **exact), []
    for row in range(last):
        mean, covariance = absorb(mean, covariance, features[row, None], targets[row, None], 0.09)
        if row >= width:
            old = row - width
            mean, covariance = release(mean, covariance, features[old, None], targets[old, None], 0.09)
        path.append(mean[0].item())
    return path, mean


# %%
one = torch.ones(1, 1)
figure, (axes,) = figures.panels(1, size=(6, 3))
axes.plot(truth, color=figures.EXACT, label="truth")
if release(one, one / 2, one, one, 1.0) is not None:  # once it is written
    path, mean = window(count)
    again = ridge(features[-width:], targets[-width:], 0.09)
    axes.plot(path, color=figures.LEARNED, label="window of 30 rows")
    print(f"from ridge on the last rows: {(mean - again).abs().max():.1g}")
axes.set(xlabel="row", ylabel="weight 1")
axes.legend()
figures.describe(figure, "The window follows the jump of the weight in a ramp, and is done after thirty rows.")

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# Woodbury's identity holds for any $\sigma^2$ other than 0 that leaves something to invert, also for a negative one. So releasing *is* absorbing with the noise variance $-\sigma^2$. The denominator $\sigma^2 - \phi^\top A\phi$ is positive for every row that was absorbed: after it, $\phi^\top A\phi$ is below $\sigma^2$. For a row that never came it may be negative, and then you get a "covariance" with negative variances: take back only what you gave.
#
# A window forgets everything at the same age, and keeps the prior in full, so it cannot wind up. Its price is that it must keep its rows. And rounding errors stay for ever, since nothing fades: solve anew from time to time.
#
# </details>

# %% [markdown]
# ## What to read next
#
# - **Back to the lesson**: [its section on failures](../f4_least_squares_with_a_memory.ipynb).
# - **A block at once, and the drift's law**: exercises 06.2 and 06.3 of [lesson 06](06_kalman_online.ipynb).
