# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises: guidance of an exact model
#
# Two exercises for [the lesson](../f3_guidance.ipynb), each checked as you go.
#
# - **You will practise** telling the two orders of sharpening and noising apart by hand, and writing the guided prediction from a classifier.
# - **You need** the lesson, Bayes' rule, and PyTorch's `autograd`.
# - **Minutes**: 25 in all. Each can be done alone.
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
# ## f3.1 · Three boxes, two orders
#
# Difficulty 2/5 · 10 minutes · Bradley and Nakkiran (2025), section 3
#
# Diffusion without calculus. A point lies in one of three boxes A, B, C, each as likely. A classifier says how likely it is of class $c$ in each box:
#
# $$p(c|A) = 1, \qquad p(c|B) = \tfrac12, \qquad p(c|C) = 0.$$
#
# *Noise* leaves a point where it is with chance three quarters; else it puts it into a box drawn evenly from all three. We guide with $w = 1$. What is the share of box A
#
# 1. if you **sharpen** the clean boxes, $q(x) \propto p(x)\,p(c|x)^2$, and **then noise** $q$?
# 2. if you **noise** both the law of all data, $p$, and that of the class, $p(\cdot|c)$, and **then sharpen** the noised boxes, $p_t(x)\,p_t(c|x)^2$, as guidance does?
#
# Guess first which is larger. Then compute both by hand, as fractions or to three digits.

# %% tags=["exercise"]
share_of_A = {
    "sharpened_then_noised": (
        ### BEGIN SOLUTION
        3 / 4 * 4 / 5 + 1 / 4 * 1 / 3
        ### END SOLUTION
    ),
    "noised_then_sharpened": (
        ### BEGIN SOLUTION
        (7 / 8) ** 2 / ((7 / 8) ** 2 + (1 / 2) ** 2 + (1 / 8) ** 2)
        ### END SOLUTION
    ),
}

# %% tags=["check"]
check("f3.1", share_of_A)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# A sharpened law is a table of three numbers that add up to 1: divide by their sum. Squaring $1, \tfrac12, 0$ gives $1, \tfrac14, 0$. What does the noise make of a share $q$? It becomes $\tfrac34 q + \tfrac14 \cdot \tfrac13$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Noise leaves $p_t(x)$ even. And the noised classifier is a mean over where the point may have come from: in box A, three quarters of $p(c|A)$ plus a quarter of the mean over all boxes, which is one half.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# Sharpened, the boxes hold $\tfrac45, \tfrac15, 0$; noise makes $\tfrac34\cdot\tfrac45 + \tfrac1{12} = \tfrac{41}{60}$ of A. In the other order the noised classifier says $\tfrac78, \tfrac12, \tfrac18$. Squared and divided by their sum, A gets $\tfrac{49}{66}$, which is more.
#
# So at this noise level guidance works with a law that leans further to the sure box than the noised $q$ does. A point of the class that is found in box C was put there by noise: the class has no clean point in C. Sharpened first, C still holds a twelfth. Noised first, guidance takes C for a box of doubtful points and almost empties it. A mean of squares is not the square of a mean.
#
# </details>

# %% [markdown]
# ## f3.2 · Guide by a classifier
#
# Difficulty 3/5 · 15 minutes · Dhariwal and Nichol (2021), section 4.2
#
# A model of all data predicts clean points `x0`, and a classifier of noisy points gives `log_probs(x, t)`, the logarithms of $p_t(c|x)$ for every class, of shape `(n, classes)`. Write the guided prediction of the clean points. In scores it is
#
# $$\nabla\log p_t(x) + (1+w)\,\nabla\log p_t(c|x),$$
#
# and a prediction belongs to a score by Tweedie's formula, with $\alpha = 1-t$ and $\sigma = t$:
#
# $$\hat x_0 = \frac{x + \sigma^2\, \text{score}}{\alpha}.$$
#
# Row $i$ is guided to its own class, `labels[i]`. Let `torch.autograd` find the gradient. The result must not require gradients.


# %% tags=["exercise"]
def guided(x0, log_probs, x, t, labels, weight):
    """Guided clean points (n, d): from predictions x0 (n, d), log_probs, points x (n, d), labels (n,), numbers t, weight."""
    ### BEGIN SOLUTION
    x = x.detach().requires_grad_()
    own = log_probs(x, t).gather(1, labels[:, None])
    (gradient,) = torch.autograd.grad(own.sum(), x)
    return x0 + (1 + weight) * t**2 / (1 - t) * gradient
    ### END SOLUTION


# %% tags=["check"]
check("f3.2", guided)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# `values.gather(1, labels[:, None])` picks from each row the column of its label. A row's log probability depends on its own point alone, so the gradient of the *sum* holds every row's gradient.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Something added to the score moves the clean point by $\sigma^2/\alpha$ times as much. The first term of the score is in `x0` already.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# `x0` is Tweedie's formula of $\nabla \log p_t(x)$. Adding $(1+w)\,\nabla\log p_t(c|x)$ to the score adds $(1+w)\,\sigma^2/\alpha$ times that gradient to the clean point. By Bayes' rule $x_c - x_u$ is $\sigma^2/\alpha$ times the gradient, so the result is $x_u + (1+w)(x_c - x_u) = x_c + w\,(x_c - x_u)$: classifier-free guidance. The check compares the two on random mixtures.
#
# With *learned* models they part. The classifier may be fooled by directions that no data take, and two networks have two errors. And at $t = 1$ the formula is 0/0; the package asks no classifier nearer to it than a thousandth.
#
# </details>
