# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Least squares with a memory
#
# You have fitted a line to a thousand rows. One more row comes. Must you fit again? And if the truth has moved since the first row, which rows should still count?
#
# - **You will be able to** read ridge regression as a Gaussian belief, absorb a row without solving again, recognise a Kalman filter in that, and say what two ways to forget do in a direction about which nothing new is heard.
# - **You need first** least squares, Gaussian vectors and what a covariance is.
# - **Minutes**: 20 to read, 1 to run, 25 for the exercises.
# - **Needed by**: lessons [05](05_closed_form_last_layer.ipynb), whose last layer is solved batch after batch, and [06](06_kalman_online.ipynb), which learns how much to forget.

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import torch

from companion.foundations.linear import RecursiveLeastSquares, predict, ridge
from companion.methods.kalman import KalmanHead
from companion.teaching import Choice, begin, claim, explore
from companion.teaching.lessons import memory_views as views

session = begin(PROFILE, SEED, DEVICE)
generator = session.generator()
exact = {"dtype": torch.float64, "device": session.device}

# %% [markdown]
# ## The question: what is worth keeping?
#
# Suppose the weights $w\in\mathbb R^p$ were drawn from a **prior** $\mathcal N(0, \sigma_w^2 I)$, and that a row has features $\phi\in\mathbb R^p$ and a target $y = \phi^\top w$ plus Gaussian noise of variance $\sigma^2$. Stack the rows into $\Phi$ and $y$. By Bayes' rule, what you know of $w$ is again Gaussian (Bishop 2006, chapter 3), with covariance $A$ and mean $M$:
#
# $$A^{-1} = \frac{1}{\sigma_w^2} I + \frac{1}{\sigma^2}\,\Phi^\top\Phi, \qquad M = \frac{1}{\sigma^2}\, A\,\Phi^\top y = \Big(\Phi^\top\Phi + \frac{\sigma^2}{\sigma_w^2} I\Big)^{-1}\Phi^\top y .$$
#
# The mean is **ridge regression**, with the penalty $\sigma^2/\sigma_w^2$. The covariance says what ridge alone does not: how sure you may be, in each direction. So the answer to the question is two things, $M$ and $A$. All the rows may go.
#
# Below, the belief about two weights: the blue ring, at two standard deviations. The dashed ring is the prior, the grey dot the truth, and black arrows are the directions of the first rows' features. A row tells you something *along* its arrow, and nothing across it.

# %%
rows = torch.randn(30, 2, generator=generator, **exact)
truth = torch.randn(2, generator=generator, **exact)
noise = views.NOISE**0.5 * torch.randn(30, 1, generator=generator, **exact)
views.posterior_figure(rows, rows @ truth[:, None] + noise, truth)

# %% [markdown]
# ## One row more, without solving again
#
# Look at $A^{-1}$, the **information**: a row only adds $\phi\phi^\top/\sigma^2$ to it, a matrix of rank one. **Woodbury's identity** says what that does to the inverse (for one row it is Sherman and Morrison's formula):
#
# $$\Big(A^{-1} + \frac{1}{\sigma^2}\,\phi\phi^\top\Big)^{-1} = A - G\,\phi^\top A, \qquad G = \frac{A\phi}{\sigma^2 + \phi^\top A\,\phi}, \qquad M \leftarrow M + G\,(y - \phi^\top M) .$$
#
# No system is solved; we divide by a *number*. A row costs $O(p^2)$, where a new solve would cost $O(p^3)$. The **gain** $G$ turns the *surprise* $y - \phi^\top M$ into a step: large where the doubt $A\phi$ is large against the noise. With several targets, $y$ and $M$ get a column for each, and all share $A$.


# %%
def absorb(mean, covariance, feature, target, noise_variance):
    """One row (1, p) and its targets (1, k): the new mean (p, k) and covariance (p, p)."""
    reach = covariance @ feature.T  # A phi
    gain = reach / (noise_variance + feature @ reach)
    return mean + gain @ (target - feature @ mean), covariance - gain @ reach.T


# %% [markdown]
# For a block of $b$ rows, $G$ becomes $A\Phi^\top(\Phi A\Phi^\top + \sigma^2 I)^{-1}$, with a system of $b\times b$. And this is **recursive least squares**.
#
# It is also a **Kalman filter** (Kalman 1960). That filter tracks a hidden state $w_n = F w_{n-1} + \text{noise of covariance } Q$. It *predicts*, $M^- = FM$ and $A^- = FAF^\top + Q$ (the minus marks the belief just before a row), and then *updates* with just the formulas above. Our weights stand still: $F = I$, $Q = 0$. So its prediction does nothing, and its update is ridge regression.
#
# One algebra, then, under three names. In double precision the numbers should agree to rounding error, whether rows come at once, in blocks or one by one.

# %% tags=["claim"] equation="Haykin 2002, recursive least squares"
features, targets = torch.randn(60, 11, generator=generator, **exact).split([8, 3], dim=1)
whole = ridge(features, targets, 0.3)  # all rows, one solve
mean, covariance = torch.zeros(8, 3, **exact), torch.eye(8, **exact)
recursive = RecursiveLeastSquares(mean, penalty=0.3)
kalman = KalmanHead(8, 3, weight_variance=1.0, noise_variance=0.3, device=session.device)
for row, target in zip(features.split(1), targets.split(1)):
    mean, covariance = absorb(mean, covariance, row, target, 0.3)
for block, values in zip(features.split(7), targets.split(7)):
    recursive.update(block, values), kalman.update(block, values)
beliefs = (covariance, 0.3 * recursive.information.inverse())  # it counts information in rows: sigma^2 / A
apart = {
    "predictions": max((predict(features, m - whole)).abs().max() for m in (mean, recursive.weights, kalman.mean)),
    "covariances": max((kalman.covariance - other).abs().max() for other in beliefs),
}
claim(
    "ridge, rank-one updates, recursive least squares and the Kalman filter agree to ten digits",
    max(apart.values()) < 1e-10,
    apart,
)

# %% [markdown]
# ## Forgetting: here they part
#
# Such a filter never forgets: $A$ only shrinks, and soon a row hardly moves the mean. If the truth moves, doubt must grow again between rows. There are two schools, and a mixture of them.
#
# **Exponential forgetting** (Haykin 2002) lets old rows fade, and the prior with them. Each step multiplies the information by $g<1$, and the mean stays:
#
# $$A^- = \tfrac1g A = A + \big(\tfrac1g - 1\big)A, \qquad M^- = M .$$
#
# It adds noise in proportion to the variance *that is left*. **An Ornstein–Uhlenbeck drift** says instead that the weights wander, and are pulled back to where the prior has them:
#
# $$A^- = \gamma^2 A + (1-\gamma^2)\,\sigma_w^2 I = A + (1-\gamma^2)\big(\sigma_w^2 I - A\big), \qquad M^- = \gamma M .$$
#
# It adds noise in proportion to what *has been learned*, $\sigma_w^2 I - A$, and nothing once you are back at the prior. The mixture lets the rows fade *but not the prior*, $g A^{-1} + (1-g) I/\sigma_w^2$. That is a **leak**; our `RecursiveLeastSquares`, and the `ForgetfulRidge` of lesson 06, have it.

# %%
kept = 0.8  # g, and gamma squared
variance = torch.linspace(0.001, 1.6, 81, dtype=torch.float64)
after = {
    "exponential": variance / kept,
    "with a leak": 1 / (kept / variance + (1 - kept)),
    "OU drift": kept * variance + (1 - kept),
}
views.added_figure(variance, {way: values - variance for way, values in after.items()})

# %% [markdown]
# Where does each curve cross zero? Read the height as a speed. Under exponential forgetting doubt grows like a population with nothing to stop it; with the leak, like one with limited food. The drift closes the same *share* of its distance to the prior in every step, even from certainty.
#
# ## A direction falls silent
#
# If every direction keeps being asked, new rows hold the growth in check. Now let the second feature be zero for a while. The truth wanders on: it is itself an Ornstein–Uhlenbeck walk about 0, so here the drift's assumption holds and that of exponential forgetting does not. (Later we move it.) Given weight 1, exponential forgetting multiplies the variance of the silent weight by $1/g$ with every row, whatever the rows say: after $n$ rows by $g^{-n}$, without bound. Engineers call this **wind-up**. The drift can doubt no more than the prior did.

# %%
memories = session.pick(smoke=[7, 12, 50], lesson=[4, 7, 12, 25, 50, 100])
silent = views.wandering_stream(160, 400, generator, silence=(50, 130))
tracks = {(way, memory): views.follow(silent, way, memory) for way in views.WAYS for memory in memories}
views.ellipses_figure(silent, {way: tracks[way, 12] for way in views.WAYS})

# %% [markdown]
# All three have $g = \gamma^2 = 1 - 1/12$. In width, which is still being asked, each keeps its size. (The drift's is larger: it adds most where most is known.) In height they part.
#
# Now choose a way and a memory. Look at the shaded stretch: how wide is the band, is the grey truth in it, and where does the mean go? Then look just after it: which one lets the first row decide almost alone? (In the shade an exponential mean may still move a little: the belief about weight 2 hangs together with that about weight 1.)


# %% tags=["widget"]
def silence(way, memory):
    """In the shade the exponential band bursts at a short memory; the drift's stops at the prior's width, its mean at 0."""
    return views.silence_figure(silent, tracks[way, memory], way)


explore(
    silence,
    title="What does a filter believe while it hears nothing?",
    note="At a long memory the exponential band stays thin, and the truth walks out of it.",
    way=Choice(list(views.WAYS), label="Way to forget"),
    memory=Choice(memories, 12, "Memory, rows"),
)

# %% [markdown]
# Is that doubt honest? At a memory of 12 rows, compare it with the mean squared error over many targets that share these rows, and whose truth wanders about 0, where the prior has it.

# %% tags=["claim"]
ratios = {}
for way in ("exponential", "OU drift"):
    doubt, error = views.doubt_and_error(silent, tracks[way, 12])
    ratios[way] = doubt / error
claim(
    "with the truth where the prior has it, exponential forgetting ends the silence doubting more than four times as much as it is wrong; the drift is right about itself to within a half",
    ratios["exponential"] > 4 and 1 / 2 < ratios["OU drift"] < 3 / 2,
    ratios,
)

# %% [markdown]
# ## Which one tracks better?
#
# A band is not an error. So compare the means with the truth, each way at each memory, in three worlds: every direction is asked; one falls silent; one falls silent *and* the truth wanders about a place far from the prior.

# %%
busy = views.wandering_stream(160, 400, generator)
worlds = ("every direction asked", "one silent", "silent, far from 0")
errors = {world: {way: {} for way in views.WAYS} for world in worlds}
for way, memory in tracks:
    lively = views.tracking_error(busy, views.follow(busy, way, memory))
    for world, value in zip(worlds, (lively[0], *views.tracking_error(silent, tracks[way, memory]))):
        errors[world][way][memory] = value
views.tracking_figure(errors)

# %% tags=["claim"]
best = {way: min(errors["one silent"][way], key=errors["one silent"][way].get) for way in views.WAYS}
near, far = (
    errors[world]["OU drift"][best["OU drift"]] / errors[world]["exponential"][best["exponential"]]
    for world in worlds[1:]
)
claim(
    "one direction silent, each at its best memory: the drift has the lower error; far from the prior, at these memories, more than twice that of exponential forgetting",
    near < 1 and far > 2,
    {"near": near, "far": far},
)

# %% [markdown]
# Where every direction is asked, the best memories track about equally well (their *counts* differ: equal shares are not equal speeds). In silence the drift gains, because here it is *true*: the weights do return to where the prior has them. Move the truth away, and the drift returns to the wrong place, while exponential forgetting has no opinion about places. (A longer memory mends some of that, and tracks worse where the prior is right.)
#
# ## Where it fails
#
# - *Wind-up*: a direction without rows, or with faint ones, and exponential forgetting. The leak bounds it at the prior.
# - *A prior in the wrong place*: the drift forgets towards it. Put it where the weights live, or centre the targets.
# - *Many directions, few rows*: one $g$ or $\gamma$ serves all, and a memory short enough for the weight that moves is too short for those that stand still.
# - *Jumps*: all three forget steadily. A change that comes at once is followed late.
# - *Single precision*: $A - G\phi^\top A$ is a difference of nearly equal numbers, and may lose its positivity (lesson 06 keeps a square root).
#
# ## Common mistakes
#
# - *Reading the belief at the wrong moment.* Just after a row it is about now; to predict the next row, forget first.
# - *$\gamma$ where $\gamma^2$ belongs.* The mean shrinks by $\gamma$, the covariance by its square.
# - *Reading $g$ alone.* About $1/(1-g)$ *steps* are remembered: in blocks of ten, ten times as many rows.
# - *Inverting $A$ in every step.* It costs $O(p^3)$, for what a product gives.
#
# ## Exercises
#
# [student/f4_least_squares_with_a_memory](student/f4_least_squares_with_a_memory.ipynb) holds two, checked as you go: what a silence does, in four numbers; and how to take a row *back*, for a memory with a sharp edge.
#
# ## What to read next
#
# - Lesson [06](06_kalman_online.ipynb): the drift on a stream of classes, with $\gamma$ learned.
# - Bishop (2006), *Pattern Recognition and Machine Learning*, chapter 3.
# - Haykin (2002), *Adaptive Filter Theory*, on recursive least squares and its relation to Kalman's filter.
# - Shin and Lee (2020), [arXiv 2004.03910](https://arxiv.org/abs/2004.03910), on wind-up and its cures.
# - Kalman (1960), *A new approach to linear filtering and prediction problems*.
