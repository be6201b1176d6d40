# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises: learned guidance
#
# Six exercises for [lesson 03](../03_learned_guidance.ipynb), each checked as you go.
#
# - **You will practise** finding the weight that repairs, guiding a batch and counting its cost, computing what guidance samples, writing the score that weights are learned from, breaking it, and gaming a reward.
# - **You need** the lesson, the density of a Gaussian, and PyTorch's broadcasting.
# - **Minutes**: 80 in all, 10 to 20 each. They build on each other in order, but each can be done alone.
# - **How**: put your answer in place of the dots, run the cell, then run its check. A check tries your answer on random inputs and names the first property that fails. Use it as often as you like. Two hints wait below each exercise.

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import torch

from companion.data.labelled import four_classes
from companion.foundations.diffusion import add_noise, bridge, time_grid
from companion.methods.guidance import sample_guided, self_consistency_loss
from companion.teaching import Slider, begin, check, explore, figures
from companion.teaching.checks.lesson_03.rewards import sure_of_the_class, try_reward

session = begin(PROFILE, SEED, DEVICE)

# %% [markdown]
# ## 03.1 · The weight that repairs
#
# Difficulty 2/5 · 10 minutes · Appendix C.1
#
# A model was fine-tuned to know classes and stopped early. Its conditional prediction has gone only a share $a$ of the way from the unconditional one to the right one,
#
# $$x_c = x_u + a\,(x^\star - x_u) .$$
#
# Which weight $w$ makes the guided prediction $x_c + w\,(x_c - x_u)$ right? Write it for the shares 0.9, 0.5 and 0.25, on paper first.
#
# No real model errs so neatly. But data can always be asked: of all constant weights, which one makes the mean of $|x_0 - (x_c + w\,d)|^2$ least, $d = x_c - x_u$? Write it as a function. Before you run it, ask yourself what it gives when $x_c$ is the exact mean of $x_0$ given $x_t$ and the class; the check tries that, too.

# %% tags=["exercise"]
repairs = [
    ### BEGIN SOLUTION
    1 / 9,
    1,
    3,
    ### END SOLUTION
]


def best_weight(x0, x_c, x_u):
    """The constant weight of least squares, a number, from points (n, *event)."""
    ### BEGIN SOLUTION
    d = x_c - x_u
    return ((x0 - x_c) * d).sum() / d.square().sum()
    ### END SOLUTION


# %% tags=["check"]
check("03.1", {"repairs": repairs, "best_weight": best_weight})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Measure the guided prediction from $x_u$: it has gone $(1 + w)\,a$ of the way.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The mean square is a parabola in $w$. Its derivative is $-2\,\mathbb E\langle x_0 - x_c - w\,d,\, d\rangle$. Where is it 0?
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# $(1 + w)\,a = 1$ gives $w = 1/a - 1$: a ninth, 1, and 3. The less a prediction has learned, the more it must be exaggerated: one that has gone a quarter of its way wants three times its own step on top.
#
# In general $w^\star = \mathbb E\langle x_0 - x_c, d\rangle / \mathbb E|d|^2$, a regression of what is still missing on the direction that guidance knows. Errors across $d$ stay. If $x_c$ is the exact mean, then given $x_t$ and the class $x_0 - x_c$ has mean 0, while $d$ is fixed. So the mean in the numerator is 0, and so is the weight. This regression is a way to *see* what guidance is for. Why the paper does not learn from it is the matter of 03.5.
#
# </details>

# %% [markdown]
# ## 03.2 · The guided prediction and its price
#
# Difficulty 2/5 · 10 minutes · the ancestor, Ho and Salimans (2022)
#
# Three small functions for a whole batch.
#
# 1. `guided`: the guided prediction. Every row has a weight of its own, and rows may be points or images.
# 2. `limited`: a limited interval as a function of time, the weight $w$ where $\text{low} \le t \le \text{high}$ and 0 elsewhere, for a time in each row.
# 3. `evaluations`: what a walk down `times` costs with such an interval, in calls of the model on the batch. A call is one question, with the class or without it, and a sampler asks no question whose answer it does not need.


# %% tags=["exercise"]
def guided(x_c, x_u, weight):
    """Guided predictions (n, *event), from weights (n,)."""
    ### BEGIN SOLUTION
    weight = weight.reshape(-1, *[1] * (x_c.ndim - 1))
    return x_c + weight * (x_c - x_u)
    ### END SOLUTION


def limited(t, weight, low, high):
    """Weights (n,) at times t (n,); weight, low and high are numbers."""
    ### BEGIN SOLUTION
    return weight * ((low <= t) & (t <= high)).to(t.dtype)
    ### END SOLUTION


def evaluations(times, weight, low, high):
    """Calls of the model in a walk down times (K + 1,): a number."""
    ### BEGIN SOLUTION
    starts = times[:-1]
    return len(starts) + int((limited(starts, weight, low, high) != 0).sum())
    ### END SOLUTION


# %% tags=["check"]
check("03.2", {"guided": guided, "limited": limited, "evaluations": evaluations})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Broadcasting aligns axes from the last one. A weight of shape $(n, 1, 1, 1)$ belongs to the rows of $(n, \text{channels}, \text{height}, \text{width})$; how many axes of length 1 does a point need?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# A step goes from `times[i]` to `times[i + 1]`, and the model is asked at its start. When can the unconditional answer be spared?
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# $K$ steps ask $K$ times for $x_c$, and once more for $x_u$ wherever the weight is not 0. A constant weight doubles the price of sampling. That is the largest cost of guidance, and in comparisons it is easily forgotten: a sampler without guidance could take twice as many steps for it. A learned weight can be 0 in some rows only, and then the second call is made all the same.
#
# </details>

# %% [markdown]
# ## 03.3 · Not the powered density
#
# Difficulty 3/5 · 15 minutes · Bradley and Nakkiran (2025), section 3
#
# Guided scores are the scores of $p_t(x|c)^{1+w} / p_t(x)^w$ at *each* time. So guidance samples that powered density of the data, one often reads. Does it? Take one dimension, a class $p(x|c) = \mathcal N(m, v_c)$, and all data, $p(x) = \mathcal N(0, v_u)$ with $v_u > v_c$. Here everything can be computed, without any samples.
#
# 1. `powered`: mean and variance of the density proportional to $p(x|c)^{1+w} / p(x)^w$.
# 2. `sampled`: mean and variance of what the guided sampler (DDIM) makes of $\mathcal N(0, 1)$ on its way down `times`. With $a = 1 - t$, the posterior mean of a Gaussian $\mathcal N(m, v)$ is $m + \frac{a v}{a^2 v + t^2}\,(x_t - a m)$, and a step to $s$ gives
# $$x_s = \tfrac{s}{t}\, x_t + \big(1 - s - (1 - t)\tfrac{s}{t}\big)\,(\text{guided prediction}) .$$
# 3. `narrower`: which of the two has the smaller variance? Guess before you compute.


# %% tags=["exercise"]
def powered(mean, v_c, v_u, weight):
    """Mean and variance of the powered density, two numbers."""
    ### BEGIN SOLUTION
    precision = (1 + weight) / v_c - weight / v_u
    return (1 + weight) * mean / v_c / precision, 1 / precision
    ### END SOLUTION


def sampled(mean, v_c, v_u, weight, times):
    """Mean and variance at the end of the guided walk, two numbers."""
    ### BEGIN SOLUTION
    centre, std = 0.0, 1.0
    for i in range(len(times) - 1):
        t, s = times[i], times[i + 1]
        a, clean = 1 - t, 1 - s - (1 - t) * s / t
        gain_c, gain_u = (a * v / (a**2 * v + t**2) for v in (v_c, v_u))
        slope = (1 + weight) * gain_c - weight * gain_u
        offset = (1 + weight) * (1 - gain_c * a) * mean
        centre = s / t * centre + clean * (slope * centre + offset)
        std = (s / t + clean * slope) * std
    return centre, std**2
    ### END SOLUTION


narrower = (  # "powered" or "sampled"
    ### BEGIN SOLUTION
    "sampled"
    ### END SOLUTION
)

# %% tags=["check"]
check("03.3", {"powered": powered, "sampled": sampled, "narrower": narrower})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# A Gaussian's logarithm is $-(x - m)^2 / (2v)$. Add up what stands before $x^2$ and before $x$, then complete the square.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The guided prediction is linear, $k\,x_t + h$, so a step is, too. What does $x \mapsto k x + h$ do to a mean, and to a standard deviation? To find a mistake, put weight 0 and many short steps: the end must be $m$ and $v_c$.
#
# </details>

# %% [markdown]
# Now see both, with samples: guided ones, and the powered density, normalised on a grid.

# %%
m, v_c, v_u, w = 1.0, 0.5, 1.0, 1.0


def gaussian(mean, variance):
    """Its exact predictions, called with a class or without."""

    def predict(x, t, labels=None):
        a = 1 - t
        return mean + a * variance / (a**2 * variance + t**2) * (x - a * mean)

    return predict


n = session.pick(smoke=500, lesson=20_000)
noise = torch.randn(n, 1, generator=session.generator(), device=session.device)
classes = torch.zeros(n, dtype=torch.long, device=session.device)
model = gaussian(m, v_c), gaussian(0.0, v_u)
*_, ends = sample_guided(*model, w, classes, noise, time_grid(100))

grid = torch.linspace(-1.5, 4, 400)
class_log, all_log = -((grid - m) ** 2) / (2 * v_c), -(grid**2) / (2 * v_u)
figure, (axes,) = figures.panels(1, size=(6.5, 3))
_ = axes.hist(ends[:, 0].tolist(), bins=60, density=True, color=figures.LEARNED)
for log, style in ((class_log, ":"), ((1 + w) * class_log - w * all_log, "-")):
    density = log.exp() / torch.trapezoid(log.exp(), grid)
    axes.plot(grid, density, style, color=figures.EXACT)
axes.set_title("class (dotted), powered density (line), guided samples (bars)")
alt = "The bars of the guided samples stand further right and closer than the line."
figures.describe(figure, alt)

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# Powers multiply logarithms, so precisions add: $1/v = (1 + w)/v_c - w/v_u$. The sampler does something else. In the limit of short steps the guided equation integrates to $v = v_c\,(v_c/v_u)^w$: not precisions but their *logarithms* are combined. With $r = v_c/v_u$ the two are $v_c / (1 + w(1 - r))$ and $v_c\,r^w$, and since $-\log r \ge 1 - r \ge \log(1 + w(1 - r))/w$ the second is never wider. The means differ, too: the sampler goes further out. Coarse steps narrow the law once more.
#
# Why? The powered density of the *noised* laws is not the noised powered density. A walk that takes its score from the first at every time passes through laws that no noising makes, and its end has no simple formula beyond the Gaussian. So a weight cannot be read as a power, and must be judged by the samples.
#
# </details>

# %% [markdown]
# ## 03.4 · The self-consistency score
#
# Difficulty 3/5 · 15 minutes · eq. (19) to (22)
#
# For one clean point, $m$ particles $\tilde x_j$ were noised to $t$ and pushed to $s$ by the guided step, and $m$ particles $x_k$ were noised to $s$ directly. The score of the point is
#
# $$\frac{1}{m^2}\sum_{j,k} |\tilde x_j - x_k|^\beta \;-\; \frac{\lambda}{2\,m\,(m-1)} \sum_{j \ne k} |\tilde x_j - \tilde x_k|^\beta ,$$
#
# and the loss is its mean over $n$ clean points. Write it. Its gradient will train a network, so it must be finite, for every $\beta$ between 0 and 2.


# %% tags=["exercise"]
def score(pushed, noised, beta, lam):
    """The loss from particles (n, m, d): a tensor with one number, in their dtype."""
    ### BEGIN SOLUTION
    m = pushed.shape[1]
    cross = torch.cdist(pushed, noised).pow(beta).mean()
    apart = ~torch.eye(m, dtype=torch.bool, device=pushed.device)
    pairs = torch.cdist(pushed, pushed)[:, apart].pow(beta)
    return cross - lam / 2 * pairs.mean()
    ### END SOLUTION


# %% tags=["check"]
check("03.4", score)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# All differences at once: `pushed[:, :, None] - noised[:, None]` has shape $(n, m, m, d)$. Or `torch.cdist`, which treats the first axis as a batch. The first axis must stay apart.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The root has an infinite slope at 0, and a particle is at distance 0 from itself. Choose the pairs $j \ne k$ with a mask before the root or the power: $m(m-1)$ of them are left, and you may take their mean.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# At $\lambda = 1$ its expectation is half an energy distance between the two laws, plus a constant that no weight changes. This is so for *every* $m \ge 2$: each mean runs over pairs of different, independent particles, so it is unbiased. The cross term pairs particles of two clouds, and there $j = k$ is a pair like any other. In the repulsion it would be a particle and itself. With $m^2$ in the denominator the repulsion shrinks by the factor $(m-1)/m$: at $m = 4$ a quarter of it is lost. The score would then favour clouds that are too narrow, which is just what guidance offers.
#
# </details>

# %% [markdown]
# ## 03.5 · Break it: one noise for both
#
# Difficulty 4/5 · 20 minutes · eq. (19) to (22) at β = 2, λ = 0
#
# Why so much ado, with two noises and a repulsion? Drop the repulsion, set $\beta = 2$, and the score is a plain square, $|\tilde x_s(w) - x_s|^2$. Drop the second noise as well, and it has little variance. Here are three losses of an *exact* model, whose right weight is 0, against a constant weight: the plain square with one noise, the plain square with two, and the score of 03.4. Where is each least, and what happens as the step becomes short?

# %% tags=["widget"]
law, points = four_classes().to(session.device), session.pick(smoke=200, lesson=1500)
x0, labels = law.sample_labelled(points, session.generator(2))
model = law.conditional, law.unconditional


def losses(w, t, s=0.4):
    """The plain square with one noise and with two, and the score, for one weight."""
    generator = session.generator(3)
    noises = torch.randn(2, *x0.shape, generator=generator, device=x0.device)
    x_t = add_noise(x0, t, noises[0])
    x_c, x_u = law.conditional(x_t, t, labels), law.unconditional(x_t, t)
    pushed = bridge(x_t, x_c + w * (x_c - x_u), t, s)[0]
    squares = [(pushed - add_noise(x0, s, noise)).square().mean() for noise in noises]
    batch = x0, labels, torch.full_like(x0[:, 0], s), torch.full_like(x0[:, 0], t)
    constant, generator = lambda labels, s, t: torch.full_like(s, w), session.generator(4)
    score = self_consistency_loss(*model, constant, *batch, generator=generator)
    return [value.item() for value in (*squares, score)]


def three_losses(t):
    """Losses of exact predictions: with two noises the square wants a weight above 0, the larger the shorter the step."""
    tried, (figure, (axes,)) = torch.linspace(-0.5, 3, 29), figures.panels(1, size=(6.5, 3.2))
    curves = torch.tensor([losses(w, t) for w in tried.tolist()]).T
    names = "square, one noise", "square, two noises", "score"
    for curve, name, colour in zip(curves, names, (figures.RIVAL, figures.THIRD, figures.LEARNED)):
        curve = (curve - curve.min()) / (curve.max() - curve.min())
        axes.plot(tried, curve, "-o", color=colour, label=name, markevery=[curve.argmin()])
    axes.set(xlabel="constant weight", yticks=[], ylabel="loss, scaled")
    axes.set_title(f"a step from t = {t:.1f} to s = 0.4")
    axes.legend(loc="upper center")
    return figure


start = Slider(0.5, 0.9, default=0.6, steps=5, label="The step starts at t")
explore(three_losses, title="Three losses of an exact model", t=start)

# %% [markdown]
# With two noises the square says that an exact model needs guidance, and the more the shorter the step. First find the weight at which the plain square is least, for any model. Clean points are noised to $x_s = (1-s)\,x_0 + s\,\varepsilon_s$ and $x_t = (1-t)\,x_0 + t\,\varepsilon_t$. The predictions $x_c$ and $x_u$ are made at $x_t$, which the DDIM step of 03.3 pushes to $\tilde x_s(w)$. One weight for all rows makes the mean of $|\tilde x_s(w) - x_s|^2$ least. Try it with `noise_s = noise_t`, and with two noises.
#
# Then the riddle: for an exact model and two noises that weight is a simple function of $s$ and $t$, *the same for every law*. Which one?


# %% tags=["exercise"]
def best_constant(x0, x_c, x_u, noise_s, noise_t, s, t):
    """The weight of least square, a number; points are (n, d), s < t numbers."""
    ### BEGIN SOLUTION
    clean = 1 - s - (1 - t) * s / t
    x_s, x_t = (1 - s) * x0 + s * noise_s, (1 - t) * x0 + t * noise_t
    residual = x_s - s / t * x_t - clean * x_c
    moved = clean * (x_c - x_u)
    return (residual * moved).sum() / moved.square().sum()
    ### END SOLUTION


def independent(s, t):
    """That weight for an exact model and independent noises: a number."""
    ### BEGIN SOLUTION
    return s * (1 - t) / (t - s)
    ### END SOLUTION


# %% tags=["check"]
check("03.5", {"best_constant": best_constant, "independent": independent})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Let $d = x_c - x_u$, and let $c = 1 - s - (1-t)\frac st$ be the factor of the prediction in the step. The square is a parabola in $w$. With the residual $r = x_s - \tilde x_s(0)$, and $c\,w\,d$ what the weight adds to the pushed particle, it is least at $\langle r, c\,d\rangle / |c\,d|^2$, sums over all rows. In $r$ the noises appear as $s\,(\varepsilon_s - \varepsilon_t)$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Exact predictions: of $r$ only $-s\,\varepsilon_t$ is correlated with $d$. Stein says $\mathbb E\langle \varepsilon_t, d\rangle = t\,\mathbb E[\operatorname{div} d]$. The derivative of a posterior mean is $\frac{1-t}{t^2}$ times the posterior covariance, and by the law of total variance $\mathbb E \operatorname{tr} \operatorname{Cov}_u - \mathbb E \operatorname{tr} \operatorname{Cov}_c = \mathbb E|d|^2$. And $c = (t - s)/t$.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# With one noise $r = c\,(x_0 - x_c)$, and what is left is the regression of 03.1. An exact model gets 0, and a model that is a share of its way gets its repair. But a regression looks at one prediction at a time, and never at the law of where particles land: what samples need beyond a good mean, it cannot see.
#
# With two noises, $\mathbb E\langle r, c\,d\rangle = -s\,c\;t\,\mathbb E[\operatorname{div} d] = s\,c\,\frac{1-t}{t}\,\mathbb E|d|^2$. Divided by $c^2\,\mathbb E|d|^2$ this is $\frac{s\,(1-t)}{t\,c} = \frac{s\,(1-t)}{t-s}$: at $s = 0.4$, $t = 0.6$ a weight of 0.8, and without limit as steps become short. The reason is plain: a particle pushed by DDIM keeps its old noise, the noised one has another, and a square punishes both for being spread. It is least where the pushed particle is as near to a *mean* as $d$ can bring it, and $d$ brings it nearer, since guidance narrows. The repulsion pays the spread back.
#
# The score of 03.4 is least near 0 for long steps and a little below it for short ones, by too little for the figure's grid. It asks of each clean point alone what an exact model promises only for all of them together. Weights that cannot be negative then learn nearly 0.
#
# </details>

# %% [markdown]
# ## 03.6 · A reward that is gamed
#
# Difficulty 3/5 · 10 minutes · the reward loss
#
# Weights can be learned from a reward as well. The hope: samples of class $c$ follow the class's law tilted by the reward, $p(x|c)\,e^{\gamma R(x, c)}$ with some $\gamma > 0$. Such samples have more reward and forget nothing else. The first try is a reward that keeps this promise, how sure a perfect classifier is of the class. The classes overlap here, and the model is exact.

# %% tags=["nbval-ignore-output"]
size = session.pick(smoke=(100, 20), lesson=(500, 150))


def show(reward):
    """Guided samples of the four classes beside the tilted law of equal reward."""
    trial = try_reward(reward, session.generator(device="cpu"), *size)
    print(f"mean reward {trial.before:.3f} -> {trial.after:.3f}")
    print(f"energy distance to the tilted law: {trial.distance:.3f}")
    figure, (left, right) = figures.panels(2, size=(3.2, 3.2))
    options = {"size": 2, "limit": 3}
    figures.scatter(left, trial.tilted, figures.EXACT, title="tilted law", **options)
    figures.scatter(right, trial.guided, figures.LEARNED, title="learned", **options)
    figures.describe(figure, "Guided samples beside draws of the tilted law.")


show(sure_of_the_class)

# %% [markdown]
# Now a reward that breaks it. Invent $R(x_0, c)$ from 0 to 1, with a slope. The learned weights must raise its mean by at least 0.1. And the samples must end at an energy distance of at least 0.06 from the law tilted to the *same* mean reward. `show(reward)` tries it, as the check does with other noise. The centres of classes 0, 1, 2 and 3 lie at 0.72 from the middle: to the right, above, to the left and below, in this order.


# %% tags=["exercise"]
def reward(x0, labels):
    """Rewards (n,) of points (n, 2) and their classes (n,)."""
    ### BEGIN SOLUTION
    return torch.sigmoid((x0.norm(dim=1) - 1.3) / 0.2)
    ### END SOLUTION


# %% tags=["check"]
check("03.6", reward)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Guidance can only move a sample along $x_c - x_u$. Which way is that for each class, and what does a sample there have too much of when it goes too far?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Far from the middle is a cheap sign of belonging to one class and not to the others. A sigmoid of the distance from the middle is a smooth reward for it.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# The direction $x_c - x_u$ is the gradient of $\log p(c|x_t)$, times a positive number. So the reward $p(c|x)$ is the one that guidance serves honestly. Any reward that merely goes along with it, such as the distance from the middle, is raised by the same motion. The tilted law spreads each class along its whole outer rim. The guided samples gather in the middle of theirs, as far as they can get from the other classes. The reward is earned, and most of the class is forgotten. And a reward that asks for another direction, half a plane or one side of a class, gets no weight at all where $x_c - x_u$ points the wrong way.
#
# The number to watch is never the reward alone. It rises in both cases.
#
# </details>

# %% [markdown]
# ## What to read next
#
# - **Back to the lesson**: [its section on failures](../03_learned_guidance.ipynb) shows where a weight cannot help.
# - **The method of 03.4 to 03.6**: Galashov, Pokle, Doucet, Gretton, Delbracio and De Bortoli (2025), *Learn to Guide Your Diffusion Model*.
# - **The ancestor of 03.2**: Ho and Salimans (2022), *Classifier-Free Diffusion Guidance*.
# - **What guidance samples, if not the powered density**: Bradley and Nakkiran (2025), *Classifier-Free Guidance is a Predictor-Corrector*.
