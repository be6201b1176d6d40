# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises: speculative sampling
#
# Six exercises for [lesson 02](../02_speculative_sampling.ipynb), each checked as you go.
#
# - **You will practise** predicting what is kept, replacing a rejected token or step, finding a bug that samples hide, keeping the books of a batch, and fitting a window to a machine.
# - **You need** the lesson, the density of a Gaussian, and PyTorch's broadcasting.
# - **Minutes**: 70 in all, 10 to 15 each. They build on each other in order, but each can be done alone.
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
from companion.methods.speculative import speculate, speculative_sample
from companion.teaching import Choice, begin, check, explore, figures
from companion.teaching.checks.lesson_02.suspects import suspect
from companion.teaching.lessons.speculative_sampling import sample_p_value

session = begin(PROFILE, SEED, DEVICE)

# %% [markdown]
# ## 02.1 · Predict what is kept
#
# Difficulty 2/5 · 10 minutes · Proposition 3.1
#
# A draft comes from $p = \mathcal N(m_p, \sigma^2 I)$, the target's step is $q = \mathcal N(m_q, \sigma^2 I)$. A coupling turns the draft into a draw of $q$, and keeps it unchanged as often as it can. The best possible share is the overlap of the two densities,
#
# $$\Pr(\text{kept}) = \int \min(p(x), q(x))\, dx .$$
#
# Now a good draft: in each of 400 dimensions its mean misses by a tenth of $\sigma$, which in a picture nobody would see. What share of its drafts is kept? Guess first: nearly all, a half, a third, next to none? Then write the share for any gap and any number of dimensions.


# %% tags=["exercise"]
def share_kept(gap, dimensions):
    """Share kept when each of `dimensions` means misses by `gap` stds: a number."""
    ### BEGIN SOLUTION
    distance = abs(gap) * math.sqrt(dimensions)
    return math.erfc(distance / 2 / math.sqrt(2))
    ### END SOLUTION


# %% tags=["check"]
check("02.1", share_kept)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# One dimension first. Draw both densities: they cross half way between the means, and the overlap is two tails. With $\Phi(-a)$, the part of a standard normal below $-a$, you may use $2\,\Phi(-a) =$ `math.erfc(a / math.sqrt(2))`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Both clouds are round, so you may turn the axes. Let the first one point from one mean to the other: in all the other dimensions the laws agree. How long is the way from mean to mean, in units of $\sigma$?
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# Turned, the problem has one dimension, with means $|D| = |m_p - m_q|/\sigma$ apart. The smaller density is that of the mean further away, so each side adds a tail that begins at $|D|/2$: the share is $2\,\Phi(-|D|/2)$. Here $|D| = 0.1\sqrt{400} = 2$, and it is 0.32: a third, though each coordinate alone would keep 0.96. At 40,000 dimensions $|D| = 20$, and nothing is kept.
#
# *Why no coupling keeps more.* Let $X \sim p$ be the draft and $Y \sim q$ the value, coupled in any way. Split space into $A$, where $p \le q$, and the rest. Then $\Pr(X = Y) = \Pr(X = Y \in A) + \Pr(X = Y \notin A) \le \Pr(X \in A) + \Pr(Y \notin A) = \int_A p + \int_{A^c} q = \int \min(p, q)$, which is 1 minus the total variation distance.
#
# </details>

# %% [markdown]
# ## 02.2 · What replaces a rejected token
#
# Difficulty 2/5 · 10 minutes · the ancestor, Leviathan et al. (2023), Algorithm 1
#
# Language models speculate with tokens. A small model drafts a token $x$ with probability $p(x)$, the large one, the target, would have drawn it with probability $q(x)$. (Their paper has the letters the other way round.) The draft is kept with probability $\min(1, q(x)/p(x))$. So kept drafts bring the token $x$ with probability $\min(p(x), q(x))$, and with the probability that is left over the draft is rejected. From which probabilities must its replacement be drawn, so that what comes out has *exactly* the law $q$?
#
# Answer for a batch of rows. In some rows the two models may agree on every token. There nothing is rejected, and any probabilities will do; `nan` will not.


# %% tags=["exercise"]
def replacement(target_probs, draft_probs):
    """Probabilities (n, v) of what replaces a rejection, from q and p (n, v)."""
    ### BEGIN SOLUTION
    missing = (target_probs - draft_probs).clamp_min(0)
    total = missing.sum(dim=1, keepdim=True)
    return torch.where(total > 0, missing / total, target_probs)
    ### END SOLUTION


# %% tags=["check"]
check("02.2", replacement)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Subtract from the target's law what the kept drafts bring already. What is left for each token?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# $q - \min(p, q) = \max(q - p, 0)$. Summed over the tokens of a row, that is the row's share of rejections.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# Kept drafts bring $\min(p, q)$, replacements must bring the rest, $\max(q - p, 0)$. That rest sums to $1 - \sum_x \min(p, q)$, which is just how often a replacement is needed. So normalise it, and $\min(p, q) + \max(q - p, 0) = q$.
#
# A redraw from $q$ itself is the tempting mistake. It gives $\min(p, q) + (1 - \text{share})\,q$: too much of what the draft likes, because a token that was kept is brought again by replacements of others. The same mistake will return with Gaussians in 02.4. There the rest cannot be tabulated, but a mirror draws from it.
#
# </details>

# %% [markdown]
# ## 02.3 · The reflection coupling
#
# Difficulty 4/5 · 15 minutes · Algorithm 4
#
# Now the drafts are Gaussian steps, one in each row. With $z = (\text{draft} - m_p)/\sigma$ and $D = (m_p - m_q)/\sigma$:
#
# - the draft is kept where $\text{uniform} \le \dfrac{\mathcal N(z + D;\, 0, I)}{\mathcal N(z;\, 0, I)}$,
# - otherwise $z$ is reflected in the plane through 0 at right angles to $e = D/|D|$, and the value is $m_q$ plus $\sigma$ times the mirror image.
#
# Write it, for any number of dimensions. In the lesson's sampler some rows have $m_p = m_q$.


# %% tags=["exercise"]
def couple(draft, draft_mean, target_mean, std, uniform):
    """Value (n, d) and accepted (n,), booleans; std and uniform are (n,)."""
    ### BEGIN SOLUTION
    z = (draft - draft_mean) / std[:, None]
    gap = (draft_mean - target_mean) / std[:, None]
    along, square = (z * gap).sum(dim=1), gap.square().sum(dim=1)
    accepted = uniform.log() <= -along - square / 2
    twice = 2 * along / torch.where(square > 0, square, 1)
    mirrored = target_mean + std[:, None] * (z - twice[:, None] * gap)
    return torch.where(accepted[:, None], draft, mirrored), accepted
    ### END SOLUTION


# %% tags=["check"]
check("02.3", couple)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# In many dimensions both densities underflow, so work with logarithms. The constants and $|z|^2$ cancel: $-\tfrac12|z + D|^2 + \tfrac12|z|^2 = -\langle z, D\rangle - \tfrac12|D|^2$, one number for each row.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The mirror image of $z$ is $z - 2\langle z, e\rangle\, e$. You need no root: $\langle z, e\rangle\, e = \langle z, D\rangle\, D / |D|^2$. Where $|D|^2 = 0$ divide by 1 instead, since every such draft is kept.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# Only the part of the noise along $e$ matters: the rest is copied in both cases, and it is $\mathcal N(0, I)$ as it should be. Let $u$ be that part, with density $\varphi(u)$ before the decision. Measured from the target's mean, a kept draft sits at $v = u + |D|$; kept drafts have density $\min(\varphi(v - |D|), \varphi(v))$ there. A rejected $u$ has density $\max(\varphi(u) - \varphi(u + |D|), 0)$, and the mirror sends it to $v = -u$. Since $\varphi$ is symmetric, reflected drafts have density $\max(\varphi(v) - \varphi(v - |D|), 0)$. The sum is $\varphi(v)$, the target.
#
# This is 02.2 once more: the rejected drafts have just the *shape* of what is missing, on the wrong side. A mirror replaces the draw from $\max(q - p, 0)$, costs nothing, and needs no model. The package has it as `companion.methods.speculative.reflection_coupling`.
#
# </details>

# %% [markdown]
# ## 02.4 · The bug that samples hide
#
# Difficulty 3/5 · 15 minutes · Algorithm 3
#
# Three speculative samplers, A, B and C, walk to eight Gaussians in 100 steps. One of them is exact. The other two verify their drafts wrongly. First the obvious test, of their samples against those of the slow sampler: a p-value below 0.05 would be a little suspicious (it comes by chance once in twenty tests, from an exact sampler, too).

# %%
chains, generator = session.pick(smoke=200, lesson=2000), session.generator()
law = toy.eight_gaussians().to(device=session.device, dtype=torch.float64)
noise = torch.randn(chains, 2, generator=generator, device=session.device).double()
*_, slow = sample(law.denoise, noise, time_grid(100), churn=1.0, generator=generator)

figure, axes = figures.panels(4, size=(2.5, 2.7))
figures.scatter(axes[0], slow, figures.EXACT, size=2, title="slow sampler")
walks = {}
for axis, name in zip(axes[1:], "ABC"):
    walks[name] = suspect(name, chains, generator)
    samples = walks[name].path[-1]
    p = sample_p_value(samples, slow, generator, permutations=199)
    title = f"sampler {name}: p = {p:.2f}"
    figures.scatter(axis, samples, figures.LEARNED, size=2, title=title)
alt = "Samples of A, B and C beside the slow sampler's: all show the same modes."
figures.describe(figure, alt)

# %% [markdown]
# Nothing here would convict any of the three. But a walk holds more than its end: `path` has all states, $(K + 1, n, d)$; `means`, $(K, n, d)$, and `stds`, $(K,)$, are what the target wanted. An exact sampler draws `path[k + 1]` from the Gaussian with mean `means[k]` and standard deviation `stds[k]`. Where `stds[k]` is 0 the step has no noise and proves nothing; a walk need not contain such a step.
#
# Write a test that can tell, as a p-value: near 0 if the sampler cannot be exact, and honest otherwise, below 0.05 for one exact sampler in twenty. The same walk must always get the same value. Run the cell below the exercise to hear its verdict on the three suspects. Then write the letters of the wrong ones, such as `"B"`.


# %% tags=["exercise"]
def p_value(path, means, stds):
    """How often an exact sampler looks at least as bad as this: from 0 to 1."""
    ### BEGIN SOLUTION
    noisy = stds > 0
    residuals = (path[1:] - means)[noisy] / stds[noisy][:, None, None]
    excess = residuals.square().mean() - 1
    z = excess * math.sqrt(residuals.numel() / 2)
    return math.erfc(abs(z) / math.sqrt(2))
    ### END SOLUTION


wrong = (
    ### BEGIN SOLUTION
    "AC"
    ### END SOLUTION
)

# %% tags=["nbval-ignore-output"]
for name, walk in walks.items():
    print(f"sampler {name}: p-value {p_value(*walk)}")

# %% tags=["check"]
check("02.4", {"p_value": p_value, "wrong": wrong})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Whatever happened before a step, the residual `(path[k + 1] - means[k]) / stds[k]` of an exact sampler is standard normal. So *all* residuals of all chains can be pooled. One step has no noise.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Their mean will tell you nothing, since drafts miss in all directions. But the mean of $N$ squares should be 1, with standard deviation $\sqrt{2/N}$. It may be too large or too small. (Or compare the whole histogram with $\mathcal N(0, 1)$: Kolmogorov and Smirnov's test does.)
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# C keeps every draft: its residuals are too wide by the draft's error, $\mathbb E|r|^2 = d + |D|^2$. A draws afresh after a rejection, as in 02.2: it removes drafts from the far side and puts too few back there, so for small $|D|$ its residuals are too *narrow*. The energy distance between the samples hardly shows either. Later steps pull a state that is a little off back towards the data, and all that is left are modes of a slightly wrong width. A test that looks just there would see it, if somebody knew to look there. A test of the steps need not know: it sees the error once for each step, whatever the data.
#
# And what does yours miss? The mean of squares is one number: near $|D| = 1.2$ the sampler that redraws leaves it almost right, and then only the shape of the histogram tells. A histogram in turn is blind to residuals that depend on each other, as when a noise is used twice. The sharpest test looks where the error must be: along the direction in which the draft missed.
#
# </details>

# %% [markdown]
# ## 02.5 · How far did each chain come?
#
# Difficulty 2/5 · 10 minutes · Algorithm 3
#
# A batch of $n$ chains has drafted a window, and every draft was compared with the target. `kept[j, i]` says whether draft $j$ of chain $i$ would be kept, and `lengths[i]` how many drafts chain $i$ made. Near its end a chain drafts fewer than there are rows: the entries `kept[j, i]` with `j >= lengths[i]` mean nothing.
#
# A chain goes on to its first draft that is not kept, whose place the reflected point takes. How many steps does each chain gain? For example, *kept, kept, missed, kept* gains 3. No Python loop over chains.


# %% tags=["exercise"]
def steps_gained(kept, lengths):
    """Steps gained (n,), whole numbers, from kept (L, n), booleans, and lengths (n,), 1 to L."""
    ### BEGIN SOLUTION
    drafted = torch.arange(len(kept), device=kept.device)[:, None] < lengths
    unbroken = (kept & drafted).long().cumprod(dim=0).sum(dim=0)
    return torch.minimum(unbroken + 1, lengths)
    ### END SOLUTION


# %% tags=["check"]
check("02.5", steps_gained)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# A product of ones and zeros along the window stays 1 up to the first 0. `cumprod` gives all these products at once, for all chains.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The sum of those products counts the kept drafts before the first miss. Add 1 for the reflected point. When does that give more than `lengths`, and what should it be then?
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# With $k$ kept drafts before the first miss a chain gains $k + 1$ steps: the reflected point is an exact draw of the target, so that step is done. Without a miss there is nothing to reflect, and $k + 1$ is one more than the chain drafted; the minimum takes it back. Drafts after a miss start from a point where the chain never was, and are lost. So each round gains at least one step, and the chains of a batch drift apart: each needs its own position, and its own count of rounds.
#
# </details>

# %% [markdown]
# ## 02.6 · A window for each machine
#
# Difficulty 1/5 · 10 minutes · Algorithm 3 and eq. (7)
#
# A long window waits seldom, but loses many drafts. The figure shows one chain with a frozen draft: each row is one round, one call of the target. In an empty row it only asks the target about the point where it stands, because its last window was not kept to the end. Which part of the work is in vain, and how does it grow with the window?

# %% tags=["widget"]
many = session.pick(smoke=50, lesson=400)
start = torch.randn(many, 2, generator=session.generator(1), device=session.device)
target = toy.eight_gaussians().to(session.device)


def rounds_of_a_chain(window):
    """One chain's rounds as rows: a longer window has fewer, with more lost drafts."""
    figure, (axes,) = figures.panels(1, size=(7.5, 4.2))
    colours = figures.THIRD, figures.RIVAL, "#d9d9d9"
    times, generator = time_grid(100), session.generator(7)
    states = speculate(target.denoise, start[:1], times, window, generator=generator)
    for rows, state in enumerate(states):
        if state.window is not None:
            part = state.window
            at, moved, drafted = int(part.start), int(part.moved), int(part.lengths)
            rejected = int(part.rejected)
            lengths = (moved - rejected, rejected, drafted - moved)
            left = (at, at + moved - rejected, at + moved)
            axes.barh([rows] * 3, lengths, left=left, color=colours, height=0.75)
    for label, colour in zip(("kept", "reflected", "lost"), colours):
        axes.barh(0, 0, color=colour, label=label)
    title = f"window {window}: {int(state.rounds)} rounds, {state.evaluations} points"
    axes.set_title(title)
    axes.set(xlabel="step", ylabel="round", xlim=(0, 101), ylim=(55, 0.5))
    axes.legend(loc="lower left")
    return figure


lengths = Choice([2, 4, 6, 8, 12, 16, 24, 32, 64], default=8, label="Window")
explore(rounds_of_a_chain, title="What a window wins and loses", window=lengths)

# %% [markdown]
# A call with one point takes time 1, and every further point of the same call adds the cost $c$. So a chain takes $\text{rounds} + c\,(\text{points} - \text{rounds})$, and the slow sampler 100. Three machines:
#
# 1. an accelerator with much room to spare, $c = 0.04$,
# 2. one that is almost full, $c = 0.2$,
# 3. a processor that is full already, $c = 1$.
#
# Choose a window from 1 to 64 for each, within 5 per cent of the best time. `time_taken(window, cost)` measures a choice of yours, as the check does with other noise. Before you search: guess the third.


# %%
def time_taken(window, cost):
    """Mean time of a chain, in calls with one point."""
    times, generator = time_grid(100), session.generator(3)
    run = speculative_sample(target.denoise, start, times, window, generator=generator)
    rounds, points = run.rounds.double().mean().item(), run.evaluations / len(start)
    return rounds + cost * (points - rounds)


# %% tags=["exercise"]
windows = [
    ### BEGIN SOLUTION
    20,
    10,
    1,
    ### END SOLUTION
]

# %% tags=["check"]
check("02.6", windows)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# `for window in (1, 2, 4, 8, 16, 32, 64): print(window, time_taken(window, 0.2))`. Then look more closely around the best.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# With $c = 1$ the rounds cancel from the formula. What is left is the number of points, and lost drafts only add to it.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# From window 1 on, each further draft saves waiting as long as it is likely to be kept; behind a probable miss it only costs. Beyond about 32 there are hardly fewer rounds to be had here, so 64 is slower even where points are cheap. With $c = 0.2$ a draft must earn its fifth of a call, and about 10 is best. With $c = 1$ nothing can be won, because the points in all never fall below the slow sampler's 100: speculation buys time with work. The optimum is flat: a window half as long again loses little, one of the wrong order loses much.
#
# </details>

# %% [markdown]
# ## What to read next
#
# - **Back to the lesson**: [its section on failures](../02_speculative_sampling.ipynb) shows how 02.1 bites in high dimension.
# - **The method of 02.3 and 02.4**: De Bortoli, Galashov, Gretton and Doucet (2025), *Accelerated diffusion models via speculative sampling*.
# - **The ancestor of 02.2**: Leviathan, Kalman and Matias (2023), *Fast inference from transformers via speculative decoding*.
# - **Couplings by reflection, and what else they are good for**: Jacob, O'Leary and Atchadé (2020), *Unbiased Markov chain Monte Carlo methods with couplings*.
