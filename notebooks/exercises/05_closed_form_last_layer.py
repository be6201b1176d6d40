# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises: closed-form last layer
#
# Seven exercises for [lesson 05](../05_closed_form_last_layer.ipynb), each checked as you go.
#
# - **You will practise** writing the slope of a solved loss without a graph, solving the smaller of two systems, and finding the limits of a proximal step. Then breaking it, reading a recursion as a filter, testing whether a solve was what helped, and undoing the harm of a hidden cause.
# - **You need** the lesson, derivatives of matrix products, and the inverse of a sum of matrices.
# - **Minutes**: 105 in all, 10 to 20 each. They build on each other in order, but each can be done alone.
# - **How**: put your answer in place of the dots, run the cell, then run its check. A check tries your answer on random inputs and names the first property that fails. Use it as often as you like. Two hints wait below each exercise.
#
# Rows are samples, as in the lesson; its $\Phi$ is $F$ here: features $F$ $(n, p)$, targets $Y$ $(n, k)$, last layer $W$ $(p, k)$. Checks write F' for $F^\top$.

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import math

import torch

from companion.data.regression import Confounded
from companion.methods.last_layer import proximal_last_layer, solve_last_layer, squared_loss, with_bias
from companion.teaching import begin, check, figures
from companion.teaching.checks.lesson_05.ablation import try_layers
from companion.teaching.checks.lesson_05.strengths import try_strength

session = begin(PROFILE, SEED, DEVICE)

# %% [markdown]
# ## 05.1 · The slope that needs no graph
#
# Difficulty 3/5 · 15 minutes · the envelope theorem (Theorem 1)
#
# For given features the best last layer is known. Put it in, and a loss of the features alone is left, with $\beta > 0$ (`ridge`):
#
# $$\mathcal L^\star(F) = \min_W\; \tfrac{1}{2n} |Y - F W|^2 + \tfrac{\beta}{2} |W|^2 .$$
#
# 1. `reduced`: the value of $\mathcal L^\star$, from the kernel $K = F F^\top$ alone. Your function never sees $F$, nor $W$.
# 2. `slope`: the derivative of $\mathcal L^\star$ by each entry of $F$, without autograd. $W$ depends on $F$. Does that matter?


# %% tags=["exercise"]
def reduced(kernel, targets, ridge):
    """The reduced loss, a tensor without axes, from K (n, n) and Y (n, k)."""
    ### BEGIN SOLUTION
    n = len(kernel)
    identity = torch.eye(n, dtype=kernel.dtype, device=kernel.device)
    solved = torch.linalg.solve(kernel + n * ridge * identity, targets)
    return ridge / 2 * (targets * solved).sum()
    ### END SOLUTION


def slope(features, targets, ridge):
    """Its derivatives by the features, (n, p)."""
    ### BEGIN SOLUTION
    n, p = features.shape
    identity = torch.eye(p, dtype=features.dtype, device=features.device)
    weights = torch.linalg.solve(features.T @ features + n * ridge * identity, features.T @ targets)
    return -(targets - features @ weights) @ weights.T / n
    ### END SOLUTION


# %% tags=["check"]
check("05.1", {"reduced": reduced, "slope": slope})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Show first that $W = F^\top A$ with $A = (K + n\beta I)^{-1} Y$. Then $F W = K A$, and the residual $Y - K A$ is a multiple of $A$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# By the chain rule $\mathrm d\mathcal L^\star/\mathrm dF$ is the slope at fixed $W$ plus $\partial\mathcal L/\partial W$ times what $W$ does. How large is $\partial\mathcal L/\partial W$ at the minimum? At fixed $W$, the derivative of $\frac{1}{2n}|Y - F W|^2$ is residual times $W^\top$.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# The residual is $n\beta A$. So $\mathcal L^\star = \frac{n\beta^2}{2} |A|^2 + \frac\beta2 \operatorname{tr}(A^\top K A) = \frac\beta2 \operatorname{tr}\big(A^\top (n\beta I + K) A\big) = \frac\beta2 \operatorname{tr}(Y^\top A)$. The features count only through their inner products: turned or mirrored, they are as good.
#
# *The slope.* $\partial\mathcal L/\partial W = 0$ at the best $W$, so the second term of the chain rule is 0 whatever $W$ does, and $-\frac1n (Y - F W) W^\top$ is all. From the kernel form you get the same: $-\frac\beta2 \operatorname{tr}(A^\top \mathrm dK\, A)$ with $\mathrm dK = \mathrm dF\, F^\top + F\, \mathrm dF^\top$ is $-\beta A A^\top F = -\frac1n (n\beta A)(F^\top A)^\top$. A graph through the solve would find these numbers, too, with more work and more memory.
#
# It hangs on $W$ being *the* minimum: another ridge in the solve than in the loss, or a $W$ of older features, and the second term is back.
#
# </details>

# %% [markdown]
# ## 05.2 · The smaller of two systems
#
# Difficulty 3/5 · 15 minutes · the proximal step of Algorithm 1
#
# The proximal step of strength $\lambda$ (`strength`) for a batch of $b$ rows, from $W_0$ (`previous`; `W_prev` in the checks), is
#
# $$W = \big(\tfrac1b F^\top F + \lambda I_p\big)^{-1} \big(\tfrac1b F^\top Y + \lambda W_0\big) .$$
#
# That is a $p \times p$ system. With 16 rows and 4,000 features it is 250 times as wide as it need be. Write a step that solves a $b \times b$ system when $b < p$, and the $p \times p$ one otherwise. It must never make a matrix of the larger size.


# %% tags=["exercise"]
def proximal(features, targets, previous, strength):
    """The new W (p, k), from features (b, p), targets (b, k), and the previous W."""
    ### BEGIN SOLUTION
    b, p = features.shape
    residual = targets - features @ previous
    size = min(b, p)
    penalty = b * strength * torch.eye(size, dtype=features.dtype, device=features.device)
    if p <= b:
        return previous + torch.linalg.solve(features.T @ features + penalty, features.T @ residual)
    return previous + features.T @ torch.linalg.solve(features @ features.T + penalty, residual)
    ### END SOLUTION


# %% tags=["check"]
check("05.2", proximal)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Write the step as $W_0$ and a correction: $W - W_0 = (F^\top F + b\lambda I_p)^{-1} F^\top (Y - F W_0)$. Now start from $F^\top (F F^\top + c I_b) = (F^\top F + c I_p) F^\top$, and multiply by both inverses.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# $(F^\top F + c I_p)^{-1} F^\top = F^\top (F F^\top + c I_b)^{-1}$, with $c = b\lambda$. In your code $F^\top$ stands before `torch.linalg.solve` in one case, and in its right side in the other.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# $F^\top$ passes through the inverse, and the identity in it changes size. The cost falls from $p^3 + b p^2$ to $b^3 + b^2 p$. The second form says something, too: $W - W_0 = F^\top(\dots)$ is a sum of the *rows of the batch*. In directions of $W$ that no row of the batch has, a proximal step moves nothing, at any strength.
#
# </details>

# %% [markdown]
# ## 05.3 · Both ends of the strength
#
# Difficulty 2/5 · 10 minutes · the proximal step of Algorithm 1, and its limits
#
# A batch of $b$ rows with $p > b$ features in general position, and a proximal step of strength $\lambda$ from $W_0$. Answer before you compute.
#
# 1. `powers`: each of these goes like a power of $\lambda$. Which? For $\lambda \to 0$: the loss of the batch, $\frac{1}{2b}|Y - F W|^2$, and the length of its slope in the features at the solved $W$. For $\lambda \to \infty$: the length of $W - W_0$, and the distance between $W$ and a gradient step of rate $1/\lambda$.
# 2. `left`: in a direction in which $\frac1b F F^\top$ has the eigenvalue $e$, which share of the residual is left after the step?
# 3. `cautious`: which strength takes just the share `lost` of the residual there?

# %% tags=["exercise"]
powers = [
    ### BEGIN SOLUTION
    2,
    1,
    -1,
    -2,
    ### END SOLUTION
]


def left(eigenvalue, strength):
    """The share of the residual that is left, a number."""
    ### BEGIN SOLUTION
    return strength / (strength + eigenvalue)
    ### END SOLUTION


def cautious(eigenvalue, lost):
    """The strength at which the share `lost` goes, a number."""
    ### BEGIN SOLUTION
    return eigenvalue * (1 - lost) / lost
    ### END SOLUTION


# %% tags=["check"]
check("05.3", {"powers": powers, "left": left, "cautious": cautious})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# From 05.2, $Y - F W = \big(I - F F^\top (F F^\top + b\lambda I)^{-1}\big)(Y - F W_0) = \lambda\,\big(\tfrac1b F F^\top + \lambda I\big)^{-1} (Y - F W_0)$. The first two powers, `left` and `cautious`, are in it.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# For large $\lambda$, $(M + \lambda I)^{-1} = \frac1\lambda I - \frac{1}{\lambda^2} M + \dots$ with $M = \frac1b F^\top F$. The gradient of $\frac{1}{2b}|Y - F W|^2$ at $W_0$ is $-\frac1b F^\top (Y - F W_0)$.
#
# </details>

# %% [markdown]
# Here are steps for 30 batches of 16 rows, each from the same previous $W$, with 49 random features. What a weak step gains on its batch it pays for elsewhere.

# %%
generator = session.generator(device="cpu")
hidden, offset = torch.randn(2, 48, generator=generator), torch.randn(48, generator=generator)
x = 2 * torch.rand(1480, 2, generator=generator) - 1
features = with_bias(torch.tanh(x @ hidden + offset))
targets = torch.sin(3 * x[:, :1]) + 0.1 * torch.randn(1480, 1, generator=generator)
start = solve_last_layer(features[480:680], targets[480:680], 3.0)  # from other rows, with a heavy ridge
fresh, strengths, losses = slice(680, None), torch.logspace(-5, 3, 17), []
for strength in strengths.tolist():
    pairs = []
    for i in range(0, 480, 16):
        batch = slice(i, i + 16)
        weights = proximal_last_layer(features[batch], targets[batch], start, strength)
        pairs.append([squared_loss(features[rows], weights, targets[rows]) for rows in (batch, fresh)])
    losses.append(torch.tensor(pairs).mean(0))
figure, (axes,) = figures.panels(1, size=(6.5, 3))
for values, colour, label in zip(torch.stack(losses).T, (figures.RIVAL, figures.LEARNED), ("batch", "fresh rows")):
    axes.loglog(strengths, values, color=colour, label=label)
axes.set_xlabel("strength")
axes.set_ylabel("loss after one step")
axes.legend()
alt = "The loss of the batch falls towards weak strengths; that of fresh rows is least in the middle."
figures.describe(figure, alt)

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# With $p > b$ all eigenvalues of $\frac1b F F^\top$ are above 0, so the residual goes like $\lambda$ and the loss like $\lambda^2$: the batch is learned by heart. The slope in the features is $-\frac1b(Y - F W)W^\top$ and goes like $\lambda$ as well. A backbone that is asked at the solved $W$ feels nothing of a small batch. Algorithm 1 asks it at the *previous* $W$, and then solves.
#
# For strong steps $W - W_0 = \frac1\lambda G - \frac{1}{\lambda^2} M G + \dots$ with $G = \frac1b F^\top (Y - F W_0)$: a gradient step of rate $1/\lambda$, and an error of the next order.
#
# The share left is $\lambda/(\lambda + e)$, so a direction is learned when $e$ is above $\lambda$, and is left when below. `cautious` is $\lambda = e\,(1 - \text{lost})/\text{lost}$; at $\lambda = e$ one half goes. A gradient step leaves $1 - e/\lambda$, which is below $-1$ as soon as $\lambda < e/2$: it overshoots where the solve cannot.
#
# </details>

# %% [markdown]
# ## 05.4 · Break it: too weak for the batch
#
# Difficulty 2/5 · 15 minutes · Algorithm 1
#
# Algorithm 1 in batches of 16, with a backbone of 48 features and a bias, on sums of sines. The backbone takes 250 plain gradient steps of rate 1. Losses are on fresh rows. A constant has a loss of about 0.9; below 0.015 the sines are learned as well as so few steps allow. Both strengths here get there, or nearly.


# %% tags=["nbval-ignore-output"]
def show(strengths, batch_sizes=(16,)):
    """Losses while training with each strength, a panel for each batch size."""
    steps = session.pick(smoke=40, lesson=250)
    figure, axes = figures.panels(len(batch_sizes), size=(4.5, 3))
    for place, batch_size in zip(axes, batch_sizes):
        for strength in strengths:
            trial = try_strength(strength, batch_size, session.generator(), steps)
            at = [(i + 1) * steps / len(trial.losses) for i in range(len(trial.losses))]
            place.semilogy(at, trial.losses, label=f"strength {strength:g}")
            print(f"batches of {batch_size}, strength {strength:g}: {trial.final:.4f} at the end")
        place.axhline(trial.constant, color=figures.EXACT)
        place.set_title(f"batches of {batch_size}")
        place.legend()
    alt = "Losses on fresh rows against steps, a line for each strength; a constant's loss in grey."
    return figures.describe(figure, alt)


show(strengths=(0.3, 10))

# %% [markdown]
# Find three strengths, from $10^{-8}$ to 10,000, such that
#
# - with batches of 16 the *weak* one breaks training: a loss of at least 0.5 at the end;
# - with batches of 256 the same *weak* one serves well: at most 0.005;
# - with batches of 16 the *good* one learns: at most 0.015;
# - with batches of 16 the *strong* one has not learned after 250 steps: at least 0.1.
#
# Give three numbers under the keys `"weak"`, `"good"` and `"strong"`.

# %% tags=["exercise"]
choice = {
    ### BEGIN SOLUTION
    "weak": 0.0005,
    "good": 1,
    "strong": 1000,
    ### END SOLUTION
}

# %% tags=["check"]
check("05.4", choice)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# A batch of 16 rows has 16 directions, and the features have 49. A batch of 256 has them all. Which of the two needs a previous $W$ to lean on?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Try `show(strengths=(0.001, 0.03, 1, 30, 1000), batch_sizes=(16, 256))` in a cell of your own. Too weak by far is another failure, one of float32: if 256 rows fail as well, go up again.
#
# </details>

# %% [markdown]
# Now your weak one and your strong one, with both batches.

# %% tags=["nbval-ignore-output"]
chosen = [choice.get(name, ...) if isinstance(choice, dict) else ... for name in ("weak", "strong")]
show(chosen, batch_sizes=(16, 256)) if ... not in chosen else None

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# *Weak, 16 rows*: after each batch $W$ fits those rows exactly. For it to do so along directions with tiny eigenvalues, it must be large, and it is wrong everywhere else. The next backbone step is taken with that $W$ on other rows: large residuals times a large $W$ is a huge slope, and some twenty such steps push nearly every feature to the flat ends of its tanh. From there little comes back, and the loss is a constant's or worse. Without the tanh it would be `nan`.
#
# *Weak, 256 rows*: with five rows for each feature, $\frac1b F^\top F$ itself holds $W$, and the strength hardly counts. So "small enough" has no meaning without the batch. *Strong*: a learning rate of $1/\lambda$ for $W$ in the directions whose eigenvalue is below $\lambda$. It is slow with any batch, and safe with any.
#
# Between them lie about two powers of ten that serve. When in doubt, begin strong: a slow run tells you what to change, a dead one does not.
#
# </details>

# %% [markdown]
# ## 05.5 · The filter behind the recursion
#
# Difficulty 4/5 · 20 minutes · recursive least squares with a lasting prior
#
# `RecursiveLeastSquares` keeps the information $A$, at first $\beta I$ (`penalty` $\beta$, `forgetting` $g$), and takes a batch with
#
# $$A \leftarrow g A + (1 - g)\beta I + F^\top F, \qquad W \leftarrow W + A^{-1} F^\top (Y - F W) .$$
#
# Read it as a Kalman filter: $W$ is believed to be Gaussian, each of its columns with the covariance $P = A^{-1}$, and each target is a row of $F W$ plus noise of variance 1.
#
# 1. `update`: mean and covariance after a batch, in covariance form. With the gain $G = P F^\top (F P F^\top + I)^{-1}$, the only inverse is one of rows times rows (any form that gives the same is accepted).
# 2. `forget`: the covariance just before a batch, so that `forget` and then `update` do what the recursion does.
# 3. `drift`: another way to forget. The weights themselves move, $W \leftarrow \gamma W + \text{noise}$ with `keep` $\gamma$, and the noise is such that the prior $\mathcal N(0, I/\beta)$ stays as it is. Mean and covariance after it.


# %% tags=["exercise"]
def update(mean, covariance, features, targets):
    """Mean (p, k) and covariance (p, p) after features (n, p) and targets (n, k)."""
    ### BEGIN SOLUTION
    reach = features @ covariance
    identity = torch.eye(len(features), dtype=features.dtype, device=features.device)
    gain = torch.linalg.solve(reach @ features.T + identity, reach).T
    return mean + gain @ (targets - features @ mean), covariance - gain @ reach
    ### END SOLUTION


def forget(covariance, forgetting, penalty):
    """The covariance (p, p) after the recursion's forgetting."""
    ### BEGIN SOLUTION
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return torch.linalg.solve(forgetting * identity + (1 - forgetting) * penalty * covariance, covariance)
    ### END SOLUTION


def drift(mean, covariance, keep, penalty):
    """Mean (p, k) and covariance (p, p) after a drift towards the prior."""
    ### BEGIN SOLUTION
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return keep * mean, keep**2 * covariance + (1 - keep**2) / penalty * identity
    ### END SOLUTION


# %% tags=["check"]
check("05.5", {"update": update, "forget": forget, "drift": drift})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# `update`: add $G$ times the surprise to the mean, and take $G F P$ off the covariance. `forget`: which information is there before $F^\top F$ is added? Its inverse is the covariance.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# $(g P^{-1} + (1 - g)\beta I)^{-1} = (g I + (1 - g)\beta P)^{-1} P$, which needs no $P^{-1}$. For `drift`: the variance of $\gamma W$ is $\gamma^2$ times that of $W$. Which variance must the noise have, if $1/\beta$ shall stay $1/\beta$?
#
# </details>

# %% [markdown]
# One weight is observed 40 times, and then no more. Grey is the true weight; blue is what each filter believes, with one standard deviation.


# %% tags=["nbval-ignore-output"]
def follow(step, generator):
    """Means and standard deviations of a filter: 40 observations of the weight 2, then 80 steps of silence."""
    mean, covariance, beliefs = torch.zeros(1, 1), torch.ones(1, 1), []
    for t in range(120):
        mean, covariance = step(mean, covariance)
        if t < 40:
            x = torch.randn(1, 1, generator=generator)
            mean, covariance = update(mean, covariance, x, 2 * x + torch.randn(1, 1, generator=generator))
        beliefs.append((mean.item(), covariance.sqrt().item()))
    return torch.tensor(beliefs).T


one = torch.ones(1, 1)
tried = update(one, one, one, one), forget(one, 0.9, 1.0), drift(one, one, 0.9, 1.0)
ways = {
    "forgetting": lambda mean, covariance: (mean, forget(covariance, 0.95, 1.0)),
    "drift": lambda mean, covariance: drift(mean, covariance, 0.95**0.5, 1.0),
}
figure, axes = figures.panels(2, size=(4, 3))
for place, (name, step) in zip(axes, ways.items()):
    place.axhline(2, color=figures.EXACT)
    place.set_title(name)
    place.set_xlabel("step")
    if all(answer is not None for answer in tried):  # once they are written
        mean, std = follow(step, session.generator(device="cpu"))
        place.plot(mean, color=figures.LEARNED)
        place.fill_between(range(120), mean - std, mean + std, color=figures.LEARNED, alpha=0.2, linewidth=0)
alt = "Both find the weight in 40 steps; then forgetting stays there and widens, the drift falls towards 0."
figures.describe(figure, alt)

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# $(P^{-1} + F^\top F)^{-1} = P - P F^\top (I + F P F^\top)^{-1} F P$ by Woodbury, and $A^{-1} F^\top = P F^\top (I + F P F^\top)^{-1}$ is the push-through of 05.2 once more: there the covariance is $I/(b\lambda)$, and so a proximal step is one update of a filter that believes every direction equally unsure before each batch.
#
# Forgetting adds $Q = P' - P$ to the covariance before a batch. As a share of the covariance it is the more, the surer the belief is, and none at the prior. Only the covariance changes: with nothing new to see the filter keeps what it thought, and doubts it more and more. The drift, known as an Ornstein-Uhlenbeck process, adds $(1 - \gamma^2)(I/\beta - P)$. From a sure belief that is far more. With $\beta = 1$, $\gamma^2 = g = 0.95$ and $P = 0.01$ it is 0.05, against 0.0005. It also lets the mean go home to 0. Forgetting trusts old rows less. The drift says that the *weights* have moved, back to where weights are before any data. In lesson 06 that is a design decision.
#
# </details>

# %% [markdown]
# ## 05.6 · What did the solve do?
#
# Difficulty 3/5 · 15 minutes · Algorithm 1, with its solve left out
#
# Adam on the backbone and a proximal solve for $W$, against Adam on everything: on two tasks the loss is clearly lower. Is that what the *solve* does? Two things have changed at once. $W$ is solved for, and it no longer shares Adam's rate with the backbone. So here is a control: all as in Algorithm 1, in the same order, with a plain gradient step on $W$ in the place of the solve. Losses on fresh rows after 400 steps, with rates and strength chosen from a small grid for each.

# %% tags=["nbval-ignore-output"]
seeds, updates = session.pick(smoke=(1, 20), lesson=(3, 400))
tables = {}
for name in ("digits", "sines"):
    runs = [try_layers(name, session.generator(seed), updates) for seed in range(seeds)]
    tables[name] = {rule: torch.tensor([run[rule] for run in runs]) for rule in ("joint", "control", "solved")}
    for rule, losses in tables[name].items():
        print(f"{name}, {rule}: " + ", ".join(f"{loss:.5f}" for loss in losses.tolist()))

# %% [markdown]
# 1. `control`: its step on $W$. To first order in $1/\lambda$ it must be the proximal step of strength $\lambda$.
# 2. `share`: which share of the gain, from joint training to the solve, does the control have? Take it from the mean losses over seeds; losses come as tensors (seeds,). Where there is no gain it is `math.nan`.
# 3. `words`: for digits and for sines, was it the `"step"` (the control has the gain, so the solve was not needed for it) or the `"solve"`? `share(**tables["digits"])` is the number for digits.


# %% tags=["exercise"]
def control(features, targets, previous, strength):
    """The new W (p, k), from features (b, p) and targets (b, k)."""
    ### BEGIN SOLUTION
    gradient = features.T @ (features @ previous - targets) / len(features)
    return previous - gradient / strength
    ### END SOLUTION


def share(joint, control, solved):
    """A number, from losses (seeds,)."""
    ### BEGIN SOLUTION
    gain = joint.mean() - solved.mean()
    return (joint.mean() - control.mean()) / gain if gain > 0 else math.nan
    ### END SOLUTION


words = [  # of digits and sines
    ### BEGIN SOLUTION
    "step",
    "solve",
    ### END SOLUTION
]

# %% tags=["check"]
check("05.6", {"control": control, "share": share, "words": words})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# You met the control in 05.3: what is the proximal step to first order, for a large strength?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The whole gain is the mean of `joint` minus the mean of `solved`. How much of this way has the control gone? Take means over seeds before you divide.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# *Digits*: the best strength is 10, and no eigenvalue of $\frac1b F^\top F$ is as large. There the solve *is* nearly a gradient step. So the control has it all. (From three seeds we would read nothing into a share above 1.) What helped is that Adam's rate, which is right for the backbone, is a poor one for $W$. That is worth knowing, and it is no merit of a closed form.
#
# *Sines*: the best strength is 0.01, while the largest eigenvalue grows to about 20. A gradient step flies apart at rates above $2/20$, so the control must stay below, and a direction with the eigenvalue 0.02 then takes it hundreds of steps. The solve goes most of the way in every direction above 0.01 at once. No single rate can do that: the best we found bring the control to the loss of joint training.
#
# A rule to take along: when a method changes two things, run it with each of them alone. And tune the control as hard as the method, or it says nothing. With a rate of 1 on sines its loss is far above that of joint training, and the solve would look better than it is.
#
# </details>

# %% [markdown]
# ## 05.7 · The instrument
#
# Difficulty 3/5 · 15 minutes · instrumental variables, both stages in closed form
#
# A hidden cause $e$ moves the treatment $x$ and the outcome $y$. An instrument $z$ moves $x$, and has no other way to $y$.
#
# 1. `bias`: let $x = z + e$ and $y = a x + c\,e + \text{noise}$, with $z$, $e$ and the noise independent and of mean 0. Regress $y$ on $x$ with any number of rows. By how much does the slope miss $a$? Answer before you compute.
# 2. `two_stage`: features $\Phi$ of instruments and $\Psi$ of treatments come from the same rows; features $\Phi'$ of other instruments come with outcomes $Y$. Solve $V$ from $\Psi \approx \Phi V$, then $u$ from $Y \approx \Phi' V u$, each with its own ridge. The curve is then $f(x) = \psi(x)^\top u$.


# %% tags=["exercise"]
from companion.methods.last_layer import solve_last_layer


def bias(confounding, var_z, var_e):
    """Slope minus a, a number, from c and the variances of z and e."""
    ### BEGIN SOLUTION
    return confounding * var_e / (var_z + var_e)
    ### END SOLUTION


def two_stage(phi, psi, phi_of_others, outcomes, ridges):
    """u (q, k), from phi (m, p), psi (m, q), phi_of_others (n, p) and outcomes (n, k).

    ridges: of stage 1 and of stage 2, for means over rows as in `solve_last_layer`.
    """
    ### BEGIN SOLUTION
    first = solve_last_layer(phi, psi, ridges[0])
    return solve_last_layer(phi_of_others @ first, outcomes, ridges[1])
    ### END SOLUTION


# %% tags=["check"]
check("05.7", {"bias": bias, "two_stage": two_stage})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# The slope of a regression on one variable is $\operatorname{Cov}(x, y)/\operatorname{Var}(x)$. Which terms of $y$ go together with $x$?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `solve_last_layer(features, targets, ridge)` twice. The targets of stage 1 are features, those of the treatment. The features of stage 2 are what stage 1 predicts for the other rows.
#
# </details>

# %% [markdown]
# The same with curves: the outcome is $\sin(x)$ plus the hidden cause, and features are six waves and a constant.


# %% tags=["nbval-ignore-output"]
def waves(x):
    """Three sines, three cosines and a constant, (n, 7)."""
    angles = x * torch.tensor([0.5, 1.0, 1.5])
    return with_bias(torch.cat([angles.sin(), angles.cos()], dim=1))


law, generator = Confounded(), session.generator(device="cpu")
some, others = law.sample(4000, generator), law.sample(4000, generator)
of_z, of_others = (waves(rows.instrument[:, :1]) for rows in (some, others))
x = torch.linspace(-4, 4, 200)[:, None]
naive = solve_last_layer(waves(others.treatment), others.outcome, 1e-4)
fits = {"regression": (naive, figures.RIVAL)}
fits["two stages"] = (two_stage(of_z, waves(some.treatment), of_others, others.outcome, (1e-4, 1e-2)), figures.LEARNED)
figure, (axes,) = figures.panels(1, size=(6.5, 3.2))
axes.plot(x, law.structural(x), color=figures.EXACT, label="sin(x)")
for name, (u, colour) in fits.items():
    if isinstance(u, torch.Tensor):  # once it is written
        error = (waves(x) @ u - law.structural(x)).square().mean().item()
        print(f"{name}: squared error {error:.3f}")
        axes.plot(x, waves(x) @ u, color=colour, label=name)
axes.set_xlabel("treatment x")
axes.legend()
alt = "The regression is too low on the left and too high on the right of the sine; two stages are close to it."
figures.describe(figure, alt)

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# $\operatorname{Cov}(x, y) = a \operatorname{Var}(x) + c \operatorname{Var}(e)$, so the bias is $c \operatorname{Var}(e) / (\operatorname{Var}(z) + \operatorname{Var}(e))$. Rows do not enter: more data make a wrong slope certain. The bias is the confounding times the share of $x$ that is the hidden cause.
#
# Stage 1 keeps of $\psi(x)$ what $z$ explains, $\mathbb E[\psi(x) \mid z]$. The cause $e$ is independent of $z$, so it is not in there, and stage 2 is an honest regression of $\mathbb E[y \mid z] = \mathbb E[f(x) \mid z]$. Note the order: features first, then the mean. With $f(\mathbb E[x \mid z])$ instead, a curve would be fitted to smoothed inputs and come out too flat. The price is variance, since the instrument explains only a part.
#
# In deep feature regression $\phi$ and $\psi$ are networks, and both last layers are solved at every step. The first of them depends on $\psi$ through its *targets* and minimises another loss than the one that is trained: there the envelope theorem does not help, and the slope goes through the solve.
#
# </details>

# %% [markdown]
# ## What to read next
#
# - **Back to the lesson**: [its section on failures](../05_closed_form_last_layer.ipynb) shows where the closed form gives nothing.
# - **The method of 05.1 to 05.4 and 05.7**: *Closed-Form Last Layer Optimization* (2025), arXiv 2510.04606.
# - **The filter of 05.5**: Haykin, *Adaptive Filter Theory*, its chapters on recursive least squares; and lesson 06 of this book.
# - **Features for 05.7**: Xu et al. (2021), *Learning Deep Features in Instrumental Variable Regression*.
