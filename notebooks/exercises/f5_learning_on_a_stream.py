# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises: learning on a stream
#
# Two exercises for [foundation f5](../f5_learning_on_a_stream.ipynb), each checked as you go.
#
# - **You will practise** to find the best rate for a drift, and to write a tracker that is tested before it learns, and its regret.
# - **You need** the lesson, a derivative or a little patience, and indexing in PyTorch.
# - **Minutes**: 25 in all, 10 and 15. Take them in any order.
# - **How**: put your answer in place of the dots, run the cell, then run its check. A check names the first property that fails. Use it as often as you like. Two hints wait below each exercise.

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import torch

from companion.teaching import begin, check

session = begin(PROFILE, SEED, DEVICE)

# %% [markdown]
# ## f5.1 · The best rate
#
# Difficulty 3/5 · 10 minutes · V(a)
#
# A mean wanders by steps of variance $q = 1$. What you see of it has noise of variance $r = 6$. You predict it by $p_{t+1} = p_t + a\,(y_t - p_t)$. After many steps the squared distance of prediction and mean is, on average,
#
# $$V(a) = \frac{q + a^2 r}{a\,(2-a)} .$$
#
# Which rate $a$ is best, and what is $V$ there? Guess first: one sixth, since the noise is six times as large? More? Less? Then derive it. Both are simple numbers.

# %% tags=["exercise"]
rate_and_error = (
    ### BEGIN SOLUTION
    1 / 3,
    3.0,
    ### END SOLUTION
)

# %% tags=["check"]
check("f5.1", rate_and_error)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# The derivative of a quotient is zero where numerator over denominator equals the ratio of their derivatives: here where $V(a) = \frac{2ar}{2-2a} = \frac{a r}{1-a}$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Put both together: $(q + a^2 r)(1-a) = a^2 r\,(2-a)$, which is $a^2 r + a q - q = 0$. A quadratic equation; take its positive root.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# The equation is $6a^2 + a - 1 = 0$, so $a = \frac{-1+\sqrt{25}}{12} = \frac13$, and $V = \frac{ar}{1-a} = 3$. The prediction's error has variance 3, the noise 6: so of each surprise a share $\frac{3}{3+6} = \frac13$ is due to the tracker, and that is how far it should move. This is the Kalman gain. The rate is above $q/r = \frac16$, since the error is not one step of drift but what is left of all of them. The package has both as `companion.foundations.tracking.best_rate` and `tracking_error`.
#
# </details>

# %% [markdown]
# ## f5.2 · Test, then train, then regret
#
# Difficulty 3/5 · 15 minutes · R_T
#
# Write two functions. The first takes a stream $y$ (a tensor of shape (n,)) and gives what the tracker of f5.1 predicts for each row *before* it sees it; the first guess is 0. The second takes the stream, any predictions $p$ for it, and where the law changed, and gives the regret: squared errors of $p$, summed, minus those of the best constant in hindsight. With `changes = (4, 9)` each of the segments 0–3, 4–8 and 9 to the end has a best constant of its own; with `()` there is one for all.


# %% tags=["exercise"]
def predictions(y, rate):
    """What is predicted for each row of y (n,), before it is seen: (n,)."""
    ### BEGIN SOLUTION
    guess, made = torch.zeros_like(y[0]), []
    for seen in y:
        made.append(guess)
        guess = guess + rate * (seen - guess)
    return torch.stack(made)
    ### END SOLUTION


def regret(y, p, changes):
    """Sum of squared errors of p (n,), minus that of the best constant for each segment: a tensor with one number."""
    ### BEGIN SOLUTION
    segments = y.tensor_split(list(changes))
    best = sum((part - part.mean()).square().sum() for part in segments)
    return (y - p).square().sum() - best
    ### END SOLUTION


# %% tags=["check"]
check("f5.2", {"predictions": predictions, "regret": regret})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# In the loop two lines matter, and their order: first keep the guess in a list, then move it. At the end `torch.stack` makes one tensor of the list.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The constant with the smallest sum of squared errors is the mean. `y.tensor_split([4, 9])` cuts the stream; by hand, put 0 before the changes and n behind them, and take `y[low:high]` for two neighbours.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# The prediction of a row is kept before the row is used, so it cannot have copied the answer. The comparator, on the other hand, *may* look ahead: that is what "in hindsight" means. One constant for all is a weak opponent where the mean moves, so the static regret can be negative. With a constant for each segment the opponent can only become stronger, and the regret only larger. The package has both as `companion.foundations.tracking.track` and `regret`.
#
# </details>

# %% [markdown]
# ## What to read next
#
# - **Back to the lesson**: [f5](../f5_learning_on_a_stream.ipynb), and then lesson [06](../06_kalman_online.ipynb), where the rate is no longer given.
# - **The filter behind f5.1**: Kalman (1960), *A new approach to linear filtering and prediction problems*.
