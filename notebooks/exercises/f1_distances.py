# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises: how far apart are two clouds?
#
# Two exercises for [foundation f1](../f1_distances.ipynb), each checked as you go.
#
# - **You will practise** predicting the bias of a plug-in estimate, and measuring a distance on a line without a matrix of pairs.
# - **You need** the lesson, one integral, and `sort` of PyTorch.
# - **Minutes**: 30 in all.
# - **How**: put your answer in place of the dots, run the cell, then run its check. A check names the first property that fails. Two hints wait below each exercise.

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import torch

from companion.teaching import begin, check

session = begin(PROFILE, SEED, DEVICE)

# %% [markdown]
# ## f1.1 · How far from itself?
#
# Difficulty 2/5 · 10 minutes · the V-statistic
#
# Somebody measures the energy distance between 40 points and 10 points with the plug-in estimate,
#
# $$V = \frac{2}{nm}\sum_{i,j} |x_i - y_j| - \frac{1}{n^2}\sum_{i,i'} |x_i - x_{i'}| - \frac{1}{m^2}\sum_{j,j'} |y_j - y_{j'}|, \qquad n = 40,\ m = 10.$$
#
# Unknown to them, both samples are uniform on $[0, 1]$. What is the expectation of $V$? Guess first: is it 0? Then derive it, to three digits.

# %% tags=["exercise"]
expected_plug_in = (
    ### BEGIN SOLUTION
    (1 / 3) * (1 / 40 + 1 / 10)
    ### END SOLUTION
)

# %% tags=["check"]
check("f1.1", expected_plug_in)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Write $\mu = \mathbb E|X - X'|$ for two different points. In each of the three sums, how many pairs have expectation $\mu$, and how many are exactly 0?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Of the $n^2$ pairs within a cloud, $n$ are a point with itself, so that mean is $\frac{n-1}{n}\mu$. For two uniform points $\mu = \int_0^1\!\int_0^1 |x - x'|\,dx\,dx' = \frac13$.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# The cross term has expectation $2\mu$, the two others $\mu(1 - \frac1n)$ and $\mu(1 - \frac1m)$. What is left is $\mu(\frac1n + \frac1m) = \frac13 \cdot \frac18 = \frac1{24}$. The smaller cloud makes most of it: take more points of one law only, and the estimate stays biased by what the other lacks. The U-statistic divides the same two sums by $n(n-1)$ and $m(m-1)$, and nothing is left.
#
# </details>

# %% [markdown]
# ## f1.2 · A distance by sorting
#
# Difficulty 3/5 · 20 minutes · energy distance on a slice
#
# On a line no matrix of pairs is needed. Sort $n$ points into $x_{(0)} \le \dots \le x_{(n-1)}$. The point $x_{(i)}$ is the larger one in $i$ pairs and the smaller one in $n - 1 - i$, so
#
# $$\sum_{i < i'} |x_i - x_{i'}| = \sum_{i=0}^{n-1} (2i - n + 1)\, x_{(i)}.$$
#
# Write the *unbiased* energy distance of two clouds on a line with this sum. The pairs *between* the clouds need an idea: what do you get from both clouds pooled into one?


# %% tags=["exercise"]
def line_distance(x, y):
    """The unbiased energy distance of points (n,) and (m,) on a line: a tensor of shape ()."""

    ### BEGIN SOLUTION
    def pairs(points):
        n = len(points)
        weights = 2 * torch.arange(n, device=points.device) - n + 1
        return (weights * points.sort().values).sum()

    n, m = len(x), len(y)
    within_x, within_y = pairs(x), pairs(y)
    between = pairs(torch.cat([x, y])) - within_x - within_y
    return 2 * between / (n * m) - 2 * within_x / (n * (n - 1)) - 2 * within_y / (m * (m - 1))
    ### END SOLUTION


# %% tags=["check"]
check("f1.2", line_distance)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# The pairs of the pooled cloud are of three kinds: within x, within y, and between. You can compute all but the last directly.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The sum above counts each pair *once*. A mean over different pairs within x divides it by $n(n-1)/2$; a mean over pairs between the clouds divides by $nm$.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# Pooling and taking off what lies within leaves the $nm$ pairs between. Divided by their numbers of pairs, the three sums become means, and $D$ is twice the mean between the clouds less the two means within. A sort costs $n \log n$: a million points are no trouble, where their pairs would fill terabytes. Averaged over many random directions and multiplied by the constant of the dimension ($\pi/2$ in the plane), `line_distance` estimates the energy distance there. Sliced methods live on that.
#
# </details>

# %% [markdown]
# ## What to read next
#
# - **Back to the lesson**: [its section on slices](../f1_distances.ipynb) uses f1.2.
# - **The score behind the distance**: [exercises of lesson 01](01_distributional_diffusion.ipynb).
# - Hertrich, Wald, Altekrüger and Hagemann (2024), *Generative Sliced MMD Flows with Riesz Kernels*: sorting, with gradients.
