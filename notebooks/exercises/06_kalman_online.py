# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises: a Kalman filter for online classification
#
# Six exercises for [lesson 06](../06_kalman_online.ipynb), each checked as you go.
#
# - **You will practise** saying how long a filter remembers, deriving its predict step and absorbing a block of rows at once. Then learning how much to forget, making a filter too sure of itself, and finding out whether a score is honest.
# - **You need** the lesson, Gaussian vectors under linear maps, and the derivative of a Gaussian's log-density.
# - **Minutes**: 90 in all, 10 to 20 each. They build on each other in order, but each can be done alone.
# - **How**: put your answer in place of the dots, run the cell, then run its check. A check tries your answer on random inputs and names the first property that fails. Use it as often as you like. Two hints wait below each exercise.
#
# As in the lesson, rows are samples: features $\Phi$ $(b, m)$, targets $Y$ $(b, K)$. A belief is a mean $M$ $(m, K)$ and a covariance $A$ $(m, m)$, which all columns of the weights share. The prior is $\mathcal N(0, \sigma_w^2 I)$ with $\sigma_w^2$ the `weight_variance`; the targets have the `noise_variance` $\sigma^2$.

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import math

import torch

from companion.methods.kalman import KalmanHead
from companion.teaching import begin, check, figures
from companion.teaching.checks.lesson_06.leak import (
    moved_by_later_rows,
    one_by_one,
    score_on_noise,
    total_probability,
)
from companion.teaching.checks.lesson_06.overconfident import try_filter

session = begin(PROFILE, SEED, DEVICE)

# %% [markdown]
# ## 06.1 · How long does a filter remember?
#
# Difficulty 2/5 · 10 minutes · the drift of the weights
#
# Between two rows the weights drift, and the filter's covariance becomes
#
# $$A \leftarrow \gamma^2 A + (1 - \gamma^2)\,\sigma_w^2 I .$$
#
# What has been learned is $B = \sigma_w^2 I - A$: it is 0 at the prior. Then no more rows come, and the filter drifts on. Answer before you compute.
#
# 1. `steps`: with $\gamma = 0.99$, after how many steps is $1/e$ of $B$ left?
# 2. `gamma`: with which $\gamma$ does that take 5,000 steps?
# 3. `added`: a filter of $m = 100$ features with $\sigma_w^2 = 1$ knows all its weights for sure, so $A = 0$. After one drift with $\gamma = 0.99$, what is the sum of the variances of the 100 weights?

# %% tags=["exercise"]
memory = {
    ### BEGIN SOLUTION
    "steps": -1 / (2 * math.log(0.99)),
    "gamma": math.exp(-1 / 10_000),
    "added": 100 * (1 - 0.99**2),
    ### END SOLUTION
}

# %% tags=["check"]
check("06.1", memory)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Put $A = \sigma_w^2 I - B$ into the drift. What does $B$ become? Do it $n$ times.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# $\gamma^{2n} = 1/e$ means $2n \log\gamma = -1$. For `added`: the noise is a multiple of the identity, and the sum of the variances is the trace.
#
# </details>

# %% [markdown]
# Now let rows come: unit vectors in random directions, with a noise variance of 0.1. The mean variance of 100 weights, from the prior on.

# %%
rows = session.pick(smoke=20, lesson=400)
generator = session.generator(device="cpu")
directions = torch.nn.functional.normalize(torch.randn(rows, 100, generator=generator), dim=1)
figure, (axes,) = figures.panels(1, size=(6.5, 3))
for gamma, colour in ((0.99, figures.RIVAL), (0.999, figures.LEARNED), (0.9999, figures.EXACT)):
    head, doubt = KalmanHead(100, 1, gamma=gamma), []
    for row in directions[:, None]:
        head.update(row, torch.zeros(1, 1))
        doubt.append(head.covariance.trace().item() / 100)
    axes.plot(doubt, color=colour, label=f"gamma = {gamma}")
axes.set_xlabel("rows")
axes.set_ylabel("mean variance of a weight")
axes.set_ylim(0, 1)
axes.legend()
alt = "With gamma 0.9999 the variance falls below a tenth of the prior's; with 0.99 it stays at two thirds and more."
figures.describe(figure, alt)

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# $\sigma_w^2 I - \gamma^2 A - (1 - \gamma^2)\sigma_w^2 I = \gamma^2 (\sigma_w^2 I - A)$, so $B$ becomes $\gamma^2 B$, in every direction. After $n$ steps $\gamma^{2n}$ of it is left, and $n = -1/(2 \log\gamma) \approx 1/(2(1 - \gamma))$: 50 steps for 0.99, and 5,000 for 0.9999. The mean is multiplied by $\gamma$ only, and takes twice as long.
#
# *Why so fast?* The drift adds $(1 - \gamma^2)\sigma_w^2 = 0.0199$ in each of 100 directions, whether rows point there or not: 1.99 in all. A row points in *one* direction. It can take away no more than the variance there. From weights that were known for sure, a unit row takes $0.0199^2/(0.0199 + 0.1) = 0.0033$ of the 1.99. So with 100 features and $\gamma = 0.99$ a filter never gets far from its prior, as the figure shows. The more features, the closer to 1 must $\gamma$ be. The method learns $\delta = -2 \log\gamma$, with small steps: a $\delta$ of 0.0002 is 5,000 steps.
#
# </details>

# %% [markdown]
# ## 06.2 · The predict step
#
# Difficulty 2/5 · 10 minutes · the drift of the weights, which preserves their variance
#
# Each column of the weights moves by $w_n = \gamma\, w_{n-1} + \varepsilon_n$. The noise $\varepsilon_n$ is Gaussian, independent of all before, and alike in all directions. It is just so strong that weights which have the law $\mathcal N(0, \sigma_w^2 I)$ have it after the drift as well.
#
# 06.1 took the new covariance for granted. Derive it from this law, and the new mean as well: you believe $\mathcal N(M, A)$ before the drift. First find the variance of the noise.


# %% tags=["exercise"]
def drift(mean, covariance, gamma, weight_variance):
    """Mean (m, K) and covariance (m, m) after one drift."""
    ### BEGIN SOLUTION
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return gamma * mean, gamma**2 * covariance + (1 - gamma**2) * weight_variance * identity
    ### END SOLUTION


# %% tags=["check"]
check("06.2", drift)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# If $w$ has the covariance $A$, then $\gamma w$ has $\gamma^2 A$. Covariances of independent terms add up.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Let the noise have the variance $q$. From $\gamma^2 \sigma_w^2 + q = \sigma_w^2$ you get $q$; then put $A$ in the place of $\sigma_w^2 I$.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# $q = (1 - \gamma^2)\sigma_w^2$, the mean becomes $\gamma M$, and the covariance $\gamma^2 A + (1 - \gamma^2)\sigma_w^2 I$. Two drifts are one: means are multiplied by $\gamma_1\gamma_2$, and $\gamma_2^2 (1 - \gamma_1^2) + 1 - \gamma_2^2 = 1 - (\gamma_1\gamma_2)^2$.
#
# Here is a trap. $\gamma A + (1 - \gamma)\sigma_w^2 I$ also leaves the prior as it is, changes nothing at $\gamma = 1$, forgets all at $\gamma = 0$, and two of it are one. Only the law of $\gamma w$ tells you that it is wrong: it would go with a mean that is multiplied by $\sqrt\gamma$. And without noise, $\gamma^2 A$ alone makes a filter that sees nothing ever surer.
#
# </details>

# %% [markdown]
# ## 06.3 · A block at once
#
# Difficulty 3/5 · 15 minutes · the Kalman update, for a block of rows
#
# Rows often come in blocks of $b$. For one row the Kalman update is, with $S = \sigma^2 + \phi^\top A\, \phi$,
#
# $$M \leftarrow M + A \phi\, (y - M^\top \phi)^\top / S, \qquad A \leftarrow A - A \phi\, \phi^\top A / S .$$
#
# 1. `absorb`: the same for a block, without a loop over rows, and equal to that loop. Nothing larger than $b \times b$ is to be inverted.
# 2. `per_row`: weights drift once before a block. With `gamma` and blocks of `rows` rows, which gamma for each row forgets as much, if you take single rows instead?


# %% tags=["exercise"]
def absorb(mean, covariance, features, targets, noise_variance):
    """Mean (m, K) and covariance (m, m) after features (b, m) and targets (b, K)."""
    ### BEGIN SOLUTION
    reach = features @ covariance
    identity = torch.eye(len(features), dtype=features.dtype, device=features.device)
    gain = torch.linalg.solve(reach @ features.T + noise_variance * identity, reach).T
    return mean + gain @ (targets - features @ mean), covariance - gain @ reach
    ### END SOLUTION


def per_row(gamma, rows):
    """The gamma of a single row, a number."""
    ### BEGIN SOLUTION
    return gamma ** (1 / rows)
    ### END SOLUTION


# %% tags=["check"]
check("06.3", {"absorb": absorb, "per_row": per_row})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# What was a number is now a matrix of rows by rows: $S = \Phi A\, \Phi^\top + \sigma^2 I_b$. Division by it becomes a solve.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# With the gain $G = A\, \Phi^\top S^{-1}$ $(m, b)$: add $G (Y - \Phi M)$ to the mean, and take $G\, \Phi A$ away from the covariance. $G^\top$ is `torch.linalg.solve(S, features @ covariance)`. For `per_row` see "two are one" in 06.2.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# Given the weights, rows are independent. So conditioning on all of them at once is conditioning on one after the other, in any order. The off-diagonal entries of $\Phi A\, \Phi^\top$ say what one row tells of another; leave them out, and a row that comes twice is news twice. In information form $A^{-1}$ becomes $A^{-1} + \Phi^\top \Phi / \sigma^2$, so from the prior the mean is $(\Phi^\top \Phi + \frac{\sigma^2}{\sigma_w^2} I)^{-1} \Phi^\top Y$: ridge regression with the ridge $\sigma^2/\sigma_w^2$.
#
# *One drift a block.* The answer is $\gamma^{1/b}$. In silence it forgets as much, and yet it is another filter: with single rows, the first of them is already a little forgotten when the last one comes. A gamma belongs to its block size.
#
# </details>

# %% [markdown]
# ## 06.4 · Learn to forget
#
# Difficulty 4/5 · 20 minutes · the gradient step on delta
#
# How much to forget is learned from each row before it is absorbed. Write $\gamma = e^{-\delta/2}$ with $\delta \ge 0$. Take a regression with one output, and the belief $(M, A)$ after the previous row. By it, the target $y$ of the row $\phi$ had the log-density
#
# $$\ell(\delta) = \log \mathcal N\big(y \mid \gamma\, M^\top \phi,\;\; \gamma^2 \phi^\top A\, \phi + (1 - \gamma^2)\,\sigma_w^2 |\phi|^2 + \sigma^2\big) .$$
#
# Take one step uphill, $\delta \leftarrow \max\big(0,\; \delta + \text{rate} \cdot \ell'(\delta)\big)$. $M$ and $A$ are constants. By hand it is three lines; autograd is welcome as a check.


# %% tags=["exercise"]
def delta_step(delta, rate, mean, covariance, features, target, weight_variance, noise_variance):
    """The new delta, a number, from mean (m, 1), covariance (m, m), features (1, m) and target (1, 1).

    Tensors are float64.
    """
    ### BEGIN SOLUTION
    gamma, mu0 = math.exp(-delta / 2), features @ mean
    v0, c = features @ covariance @ features.T, weight_variance * features.square().sum()
    variance = gamma**2 * v0 + (1 - gamma**2) * c + noise_variance
    error = target - gamma * mu0
    of_mean, of_variance = -gamma / 2 * mu0, gamma**2 * (c - v0)
    slope = error / variance * of_mean + 0.5 * (error**2 / variance - 1) / variance * of_variance
    return max(0.0, delta + rate * slope.item())
    ### END SOLUTION


# %% tags=["check"]
check("06.4", delta_step)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# With $e = y - \mu$ and the variance $S$, $\log \mathcal N = -\frac{e^2}{2S} - \frac12 \log 2\pi S$. Its derivatives are $e/S$ by $\mu$, and $\frac12 (e^2/S - 1)/S$ by $S$. Both $\mu$ and $S$ depend on $\delta$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# $\mathrm d\gamma/\mathrm d\delta = -\gamma/2$ and $\mathrm d\gamma^2/\mathrm d\delta = -\gamma^2$. So $\mu' = -\frac\gamma2 M^\top \phi$ and $S' = \gamma^2 (\sigma_w^2 |\phi|^2 - \phi^\top A\, \phi)$.
#
# </details>

# %% [markdown]
# With 06.2 and 06.3 it is a whole filter. Here it follows a sine whose sign flips twice, from single noisy rows.

# %%
count = session.pick(smoke=30, lesson=450)
generator, exact = session.generator(device="cpu"), {"dtype": torch.float64}
x = 2 * math.pi * torch.rand(count, 1, generator=generator, **exact)
truth = torch.where(torch.arange(count) // 150 % 2 == 0, 1, -1)[:, None] * x.sin()
features = torch.cat([torch.ones_like(x), x.sin(), x.cos()], dim=1)
targets = truth + 0.3 * torch.randn(count, 1, generator=generator, **exact)


def follow(rate, delta):
    """Deltas along the stream, and the mean squared error of the predictions."""
    mean, covariance, deltas, errors = torch.zeros(3, 1, **exact), torch.eye(3, **exact), [], []
    for row, target, goal in zip(features[:, None], targets[:, None], truth):
        errors.append((math.exp(-delta / 2) * row @ mean - goal).square().item())
        delta = delta_step(delta, rate, mean, covariance, row, target, 1.0, 0.09)
        mean, covariance = drift(mean, covariance, math.exp(-delta / 2), 1.0)
        mean, covariance = absorb(mean, covariance, row, target, 0.09)
        deltas.append(delta)
    return deltas, sum(errors) / count


# %%
figure, (axes,) = figures.panels(1, size=(6.5, 3))
one = torch.ones(1, 1)
tried = delta_step(0.1, 0.1, one, one, one, one, 1.0, 1.0), drift(one, one, 1.0, 1.0), absorb(one, one, one, one, 1.0)
if all(answer is not None for answer in tried):  # once they are written
    for rate, delta, colour in ((1e-4, 0.001, figures.LEARNED), (0, 0.001, figures.RIVAL), (0, 0.0, figures.EXACT)):
        deltas, error = follow(rate, delta)
        axes.plot(deltas, color=colour, label=f"rate {rate:g}, from delta {delta:g}")
        print(f"rate {rate:g}, from delta {delta:g}: squared error {error:.3f}")
    axes.set_ylim(-0.002, 0.06)
    axes.legend(loc="upper right")
axes.set_xlabel("rows")
axes.set_ylabel("delta")
alt = "The learned delta leaps at each change of sign and then falls slowly; the other two stay where they began."
figures.describe(figure, alt)

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# A filter is surer than its prior where rows have been, so $c = \sigma_w^2 |\phi|^2$ is above $v_0 = \phi^\top A\, \phi$, and $S' > 0$: a larger $\delta$ widens the prediction. Is that worth it? The factor $e^2/S - 1$ says so: yes, when the squared error is above what was believed, and no when below. The term of the mean adds: if the truth lies nearer to 0 than the prediction, a shorter memory would have predicted better.
#
# A step looks at one row only. Back through time it does not go: $M$ and $A$ depend on former deltas, too, and are taken as they are. The clip is needed. In quiet times most rows say *less*, and at $\delta = 0$ the filter is plain Bayes. In classification the same step is taken on the log of an average softmax.
#
# </details>

# %% [markdown]
# ## 06.5 · Break it: too sure
#
# Difficulty 2/5 · 15 minutes · the two variances of the model
#
# A filter follows a sine that moves to the left, three quarters of a turn in 300 rows. The rows have noise of variance 0.09. It gives each prediction a variance. Compare it with its squared error.


# %% tags=["nbval-ignore-output"]
def show(gamma, noise_variance):
    """The first of eight streams at x = 0, and what the filter believes of it; error and belief over all."""
    trial = try_filter(gamma, noise_variance, session.generator(device="cpu"), session.pick(smoke=30, lesson=300))
    figure, (axes,) = figures.panels(1, size=(6.5, 3))
    axes.plot(trial.truth, color=figures.EXACT, label="truth")
    axes.plot(trial.mean, color=figures.LEARNED, label="belief, one standard deviation")
    low, high = trial.mean - trial.std, trial.mean + trial.std
    axes.fill_between(range(len(low)), low, high, color=figures.LEARNED, alpha=0.2, linewidth=0)
    axes.set_title(f"gamma {gamma:g}, noise variance {noise_variance:g}")
    axes.set_ylim(-2.5, 2.5)
    axes.legend(loc="lower right")
    print(f"squared error {trial.error:.4f}, believed {trial.believed:.4f}: {trial.ratio:.2f} times as large")
    return figures.describe(figure, "The truth at one place, and the belief about it with its band, row after row.")


show(gamma=0.99, noise_variance=0.09)

# %% [markdown]
# This one is wrong by much less than it believes. Find settings for three others:
#
# - `stubborn`, a gamma. With the right noise variance of 0.09, the squared error is at least 10 times what the filter believes, its mean variance.
# - `gullible`, a noise variance. With $\gamma = 0.9995$ the same happens, for another reason.
# - `honest`, a gamma and a noise variance. Error and belief agree within a factor of 1.5, and the squared error is at most 0.04.
#
# Gammas go from 0 to 1, noise variances from 0.00001 to 10.

# %% tags=["exercise"]
choice = {
    ### BEGIN SOLUTION
    "stubborn": 1.0,
    "gullible": 0.0001,
    "honest": (0.9993, 0.09),
    ### END SOLUTION
}

# %% tags=["check"]
check("06.5", choice)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Two things make the variance of a belief small: to think that the world stands still, and to think that rows are exact. The first is gamma's, the second the noise variance's.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# For `honest` keep 0.09 and try `show(0.998, 0.09)` and `show(0.9997, 0.09)` in a cell of your own. The one you look for lies between.
#
# </details>

# %% tags=["nbval-ignore-output"]
stubborn = choice.get("stubborn", ...) if isinstance(choice, dict) else ...
show(gamma=stubborn, noise_variance=0.09) if stubborn is not ... else None

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# *Stubborn*: with $\gamma = 1$ the variance goes like $3 \sigma^2/n$ for 3 features, whatever the errors are. The filter averages over a curve that has gone round, and is sure of the average. *Gullible*: the variance goes down with the noise variance, while the error goes *up*, as the filter follows the noise. Here a larger gamma, such as 0.9999, would lower the error, and yet make the filter more overconfident: its variance falls faster than its error.
#
# *Honest*: there is a whole line of settings with a ratio of 1, from (0.9993, 0.09) down to (0.99, 0.001). On it the two mistakes of a low gamma and a low noise variance cancel in the ratio. They do not cancel in the error, which is three times as large at that end. A calibrated filter need not be a good one. And (0.99, 0.09), where we began, is neither: it throws away rows that it could use, and doubts more than it is wrong. The log-probability of the targets counts both, and this is why the method learns from it.
#
# </details>

# %% [markdown]
# ## 06.6 · Find the leak
#
# Difficulty 3/5 · 20 minutes · test-then-train: predict, adapt, drift, absorb
#
# On a stream each row is a test first, and a lesson then. Here are four loops that score a stream. What do they say of pure noise, where nobody can do better than $-\log 2$ for long? (`one_by_one` gives each row with its label and its centred one-hot target, as a block of one.)


# %%
def loop_a(head, features, labels, generator):
    scores = []
    for row, label, target in one_by_one(head, features, labels):
        head.update(row, target)
        scores.append(head.log_prob(row, label, generator).detach())
    return torch.cat(scores)


def loop_b(head, features, labels, generator):
    scores = []
    for row, label, target in one_by_one(head, features, labels):
        scores.append(head.log_prob(row, label, generator).detach())
        head.update(row, target)
    return torch.cat(scores)


def loop_c(head, features, labels, generator):
    return loop_b(head, (features - features.mean(0)) / features.std(0), labels, generator)


def loop_d(head, features, labels, generator):
    scores = []
    for row, label, target in one_by_one(head, features, labels):
        head.adapt(head.log_prob(row, label, generator))
        scores.append(head.log_prob(row, label, generator).detach())
        head.update(row, target)
    return torch.cat(scores)


# %%
size = session.pick(smoke=40, lesson=200)
for loop in (loop_a, loop_b, loop_c, loop_d):
    score = score_on_noise(loop, session.generator(device="cpu"), size)
    print(f"{loop.__name__}: {score:.3f} on noise, by chance {-math.log(2):.3f}")

# %% [markdown]
# 1. `words`: of each loop, A to D, has the score of a row seen that row's `"label"`, something of `"later"` rows, or `"nothing"` that it should not?
# 2. `prequential`: the loop of the lesson. For each row: score it, adapt gamma and alpha by that score, then update. Call `head.log_prob` once a row, as each call draws anew.
#
# You have `head.log_prob(features, labels, generator)` $(b,)$, `head.adapt(log_prob)`, which takes the gradient step, `head.update(features, targets)`, which drifts and absorbs, and `head.num_classes`. `centred_one_hot(labels, head.num_classes, features.dtype)` gives targets $(n, K)$. Here $b = 1$.


# %% tags=["exercise"]
from companion.methods.kalman import centred_one_hot

words = [  # of loops A, B, C, D
    ### BEGIN SOLUTION
    "label",
    "nothing",
    "later",
    "label",
    ### END SOLUTION
]


def prequential(head, features, labels, generator):
    """The log-probability of each row's label (n,), from features (n, m) and labels (n,)."""
    ### BEGIN SOLUTION
    targets = centred_one_hot(labels, head.num_classes, features.dtype)
    scores = []
    for row, label, target in zip(features[:, None], labels[:, None], targets[:, None]):
        log_prob = head.log_prob(row, label, generator)
        scores.append(log_prob.detach())
        head.adapt(log_prob)
        head.update(row, target)
    return torch.cat(scores)
    ### END SOLUTION


# %% tags=["check"]
check("06.6", {"words": words, "prequential": prequential})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Go through each loop with one row in mind, and mark the line where its label is used first. Is the score taken above that line? For the features, ask which rows are in them.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Begin from `loop_b`, which scores in time but does not adapt. Keep what `head.log_prob` returns: a detached copy is the score, and the tensor itself goes to `head.adapt`, before the update.
#
# </details>

# %% [markdown]
# Two finer tests. *Total*: run the loop three times, with each of three labels for one row, and add up the probabilities that it gave them. *Later*: change all rows from some row on, and see by how much a score before it moves.

# %%
for loop in (loop_a, loop_b, loop_c, loop_d):
    total, moved = (test(loop, session.generator(device="cpu")) for test in (total_probability, moved_by_later_rows))
    print(f"{loop.__name__}: total {total:.4f}, moved by later rows {moved:.4f}")

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# *A* absorbs first: noise unmasks it. *D* takes a gradient step on gamma and alpha, by the label that it is about to score. The gain is small, and noise does not show it: D is hardly better there than an honest loop that adapts. But the probabilities of all labels that might have come must sum to 1, and D's do not. *C* passes both, for it takes nothing from labels; the scale of its features comes from rows that are yet to come. *B* is honest, and never learns gamma or alpha.
#
# So no single test will do, and reading the order of the lines is the best of them. Two leaks even this exercise cannot see: to choose a fixed gamma, a noise variance or a rate by the score on the stream that you report, and to report the best of many seeds.
#
# By the way, do targets have to be centred? One-hot targets add the same vector to every column of $M$, which a softmax does not feel. The scores are the same. Centred, the columns of $M$ add up to 0, as they do at the prior's mean.
#
# </details>

# %% [markdown]
# ## What to read next
#
# - **Back to the lesson**: [its section on failures](../06_kalman_online.ipynb) shows where a learned gamma gives nothing.
# - **The method**: Titsias et al., *Kalman Filter for Online Classification of Non-Stationary Data*, ICLR 2024, arXiv 2306.08448.
# - **Filters in general**: Särkkä and Svensson, *Bayesian Filtering and Smoothing*, 2nd edition.
# - **Scores of predictions made in time**: Dawid (1984), *Statistical Theory: The Prequential Approach*.
