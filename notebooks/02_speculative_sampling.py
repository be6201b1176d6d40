# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Speculative sampling: draft cheaply, verify in one batch, keep the exact law
#
# A good diffusion model is slow for a plain reason: its steps wait for each other. Speculative sampling lets a cheap guess walk ahead, asks the good model about all the guessed places at once, and keeps what the good model could have done itself. Nothing is approximated. Not one probability changes.
#
# - **You will be able to** couple two Gaussians so that one draw serves both as often as possible, run and count a speculative sampler, test a sampler's *steps* rather than its samples, and say when speculation does not pay.
# - **You need first** what a Gaussian and a conditional probability are, and the bridge of foundation [f2](f2_diffusion_in_two_dimensions.ipynb) or [lesson 01](01_distributional_diffusion.ipynb).
# - **Minutes**: 35 to read, 1 to run, 70 for the exercises.
# - **Paper**: De Bortoli, Galashov, Gretton and Doucet, *Accelerated Diffusion Models via Speculative Sampling*, ICML 2025, [arXiv 2501.05370](https://arxiv.org/abs/2501.05370).

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import torch

from companion.data import toy
from companion.foundations.diffusion import time_grid
from companion.methods.speculative import (
    acceptance_probability,
    reflection_coupling,
    speculate,
    speculative_sample,
    speculative_tokens,
)
from companion.teaching import Choice, Slider, begin, claim, explore, figures
from companion.teaching.lessons import distributional_diffusion as denoisers
from companion.teaching.lessons import speculative_sampling as lesson
from companion.teaching.lessons import speculative_views as views
from companion.teaching.lessons.wrong_couplings import wrong_couplings
from companion.teaching.widgets import live_coupling, live_speculation

session = begin(PROFILE, SEED, DEVICE)
law = toy.eight_gaussians().to(session.device)
generator = session.generator()

# %% [markdown]
# ## The question: can a guess be checked without changing a probability?
#
# Language models had the problem first. A large model writes one token at a time, and each token waits for the last. But judging ten tokens takes one call: put them in, read ten distributions off. So let a small *draft* model write ten tokens, and let the large *target* judge them in one go.
#
# When is a drafted token good enough? Say the draft gives token $x$ the probability $p(x)$ and the target $q(x)$. **Keep** it with probability $\min(1, q(x)/p(x))$. If it is not kept, **replace** it by a draw from what the draft left out, $(q - p)_+$, normalised (Leviathan et al. 2023; Chen et al. 2023). Then token $x$ comes out with probability
#
# $$\underbrace{\min\big(p(x), q(x)\big)}_{\text{kept}} + \underbrace{\big(q(x) - p(x)\big)_+}_{\text{replaced}} = q(x),$$
#
# exactly the target's, whatever the draft. (Leviathan et al. have the letters the other way round; ours are the paper's.) The share that is kept is the overlap of the two histograms. Drag the draft away from the target and watch: the green part shrinks, the orange part fills the gap, and the sum never moves.

# %% tags=["widget"]
count = session.pick(smoke=2000, lesson=20_000)


def tokens_of(shift, sharpness):
    """Left: target, draft and overlap. Right: the tokens that come out, stacked, always as high as the target's grey line."""
    target, draft = views.token_tables(shift, sharpness)
    pair = (table.expand(count, -1) for table in (target, draft))
    tokens, kept = speculative_tokens(*pair, generator=session.generator(1, "cpu"))
    figure, axes = figures.panels(2, size=(2.9, 2.8))
    views.histograms(axes, target, draft, tokens, kept)
    return figure


shift = Slider(-4, 4, 2, steps=9, label="Draft moved by")
explore(tokens_of, title="Two histograms", shift=shift, sharpness=Choice([0.3, 1], 1, "Draft's sharpness"))

# %% [markdown]
# ## The same for Gaussians: reflect
#
# A diffusion model's token is a *step*. From a point the target steps to $\mathcal N(m_q, \sigma^2 I)$, where $\sigma$ is set by the schedule and the mean needs the model. A draft steps with the same $\sigma$ to another mean, $m_p$. To draw from the leftover, $(q-p)_+$, would be awkward in many dimensions. The paper uses the **reflection coupling** (Algorithm 4) instead. Write the drafted point as $m_p + \sigma z$, and let $D = (m_p - m_q)/\sigma$ be the gap in standard deviations. Keep the draft with probability
#
# $$\min\Big(1, \exp\big(-\langle z, D\rangle - \tfrac12 |D|^2\big)\Big) ,$$
#
# which is again the ratio $q/p$ at that point. Otherwise *reflect* the noise, $z \mapsto z - 2\,\langle z, e\rangle\, e$ with $e = D/|D|$, and step from $m_q$ with that. Across $e$ nothing changes; along $e$ the draft's point is mirrored at the middle between the two means. By the symmetry of the Gaussian, the mirror image of what the draft has too much of is just what the target has too little of. So the result is an exact draw of the target (Proposition 3.1), with no second draw, and the share kept is the overlap of the two Gaussians:
#
# $$\Pr(\text{kept}) = 2\,\Phi(-|D|/2).$$
#
# No coupling whatever can keep more.

# %% tags=["widget"]
live_coupling(
    title="Drag the two means",
    alt="Two bell curves with their overlap shaded green. Drafts under the overlap are kept; the others are reflected. Below, the histogram of results fills the target's curve.",
    note="Move the draft's mean: the histogram stays under the target's curve.",
)

# %% [markdown]
# Does it hold in many dimensions, where nobody can look? All that matters is $|D|$, the gap over *all* dimensions together. Here the gap is the same in 1, 2 and 50 dimensions. The claim compares the share kept with the formula, and the mean and the variance of the results along the gap with the target's.

# %% tags=["claim"] equation="Proposition 3.1"
n, errors = session.pick(smoke=20_000, lesson=100_000), {}
for d in (1, 2, 50):
    gap = torch.full((1, d), 1.3 / d**0.5)
    noise = torch.randn(n, d, generator=generator, device=session.device)
    means = gap.to(noise).expand(n, d), torch.zeros_like(noise)
    uniform = torch.rand(n, generator=generator, device=session.device)
    value, kept = reflection_coupling(means[0] + noise, *means, 1.0, uniform)
    along = value @ gap[0].to(value) / 1.3
    share = kept.double().mean() - acceptance_probability(torch.tensor(1.3))
    errors[f"d={d}"] = max(abs(share), abs(along.mean()), abs(along.var() - 1)).item()
right = max(errors.values()) < 0.03
claim("acceptance is 2 Phi(-|D|/2), mean and variance are the target's", right, errors)

# %% [markdown]
# ## A window at a time
#
# Now chain the steps (Algorithm 3). From where it stands, a chain
#
# 1. **drafts** $L$ steps, the *window*, one after another, with the cheap draft;
# 2. **asks** the target about all drafted points in *one* batched call;
# 3. **couples** step by step: keeps drafts until the first that fails, replaces that one by its reflected point, throws the rest away, and goes on from there.
#
# Every point that stays, kept or reflected, is an exact draw of the target's step from the point before it. So the whole path has the target's law. And even a rejection makes progress, since the reflected point counts.
#
# Where does a cheap draft come from? The neatest answer needs no second model. The **frozen draft** (eq. 7) asks the target once, at the start of the window, and pretends that its answer stays the same. Here the answer is the predicted clean point, and the draft crosses the bridge of lesson 01 towards it. That first call is not lost: the first step of the window is then the target's own. If a window is kept to its end, the batch has already told us the answer there, and the next window needs no call of its own. So with a window of two or more, two calls gain at least two steps, and the sampler never needs more calls in a row than the slow one. We call a target call that others must wait for a **round**.

# %% tags=["widget"]
backdrop = law.sample(400, generator)
live_speculation(
    law,
    backdrop,
    title="One chain, round by round",
    alt="A chain walks from noise to one of eight modes. Blue drafts run ahead; kept ones turn green, the first that fails jumps to its orange mirror image. The staircase of steps against rounds rises far above the diagonal.",
    note="Press Next round to go slowly. Try a window of 2, then 16, and a churn near 0.",
)

# %% [markdown]
# The step of lesson 01 has a dial, the *churn*: how much fresh noise each step draws. At churn 1 it is DDPM. At churn 0 it is DDIM, a step without noise, and there is nothing to couple: two points that differ have no overlap. The package refuses it.
#
# In Python the sampler is a generator that yields its state after each round (`speculate`), or one call that returns the end (`speculative_sample`). Here is one window of it, caught on the way. Black is the path so far.

# %%
noise = torch.randn(60, 2, generator=session.generator(3), device=session.device)
walk = speculate(law.denoise, noise, time_grid(60), churn=0.4, generator=session.generator(4))
views.window_figure(walk)

# %% [markdown]
# One chain is an anecdote. In a batch each chain goes at its own pace: where one is rejected at its third draft, another keeps eight. They finish at different times, so each has its own count of rounds.

# %% tags=["claim"] equation="Algorithm 3"
steps, window = 100, 8
chains = 1000
noise = torch.randn(chains, 2, generator=generator, device=session.device)
run = speculative_sample(law.denoise, noise, time_grid(steps), window, generator=generator)
rounds = run.rounds.double()
average, worst = rounds.mean().item() / steps, rounds.max().item() / steps
work = run.evaluations / (chains * steps)
claim(
    "K = 100, window 8: under a quarter of the rounds, under half for the worst chain; more evaluations",
    average < 0.25 and worst < 0.5 and work > 1.05,
    {"rounds / K": average, "worst / K": worst, "evaluations / K": work},
)

# %% [markdown]
# The last number is the price. Drafts that are thrown away were evaluated, too. Speculation buys *time* with *work*: it helps where a batch of eight costs little more than one, as on a GPU that a single sample leaves half idle, and where someone waits for the sample.
#
# Rounds fall with the window. Their *share* of $K$ falls with $K$, too, for the finer the grid, the less the target's answer moves from one step to the next. The figure comes from five seeds (`python -m companion claims` makes it again).

# %% tags=["hide-input"]
views.rounds_figure()

# %% [markdown]
# ## Is it exact? Test the steps, not the samples
#
# How would you notice a bug? The obvious test compares the samples with those of the slow sampler. To see what it is worth, we put three mistakes in the place of the coupling:
#
# - *accept everything*, which is no verification at all;
# - *redraw after a rejection*: a fresh draw from the target, when the right complement of $\min(p,q)$ is $(q-p)_+$;
# - a *wrong sign* before $\langle z, D\rangle$.
#
# And we use two tests, at a level of one in a hundred and one in a thousand. The first is a permutation test on the energy distance between five hundred *samples* and as many of the slow sampler. The second looks at every *step*: the noise that would explain it, $(x_{k+1} - m_q(x_k))/\sigma_k$, must be standard normal. We take its part along the direction in which the target's answer has just moved. That direction is fixed before the step is drawn, so for an exact sampler the part is standard normal, and a sampler that leans on an old answer errs just there.

# %% tags=["claim"] equation="Algorithm 3"
grid, samples, by_steps, by_samples = time_grid(steps), 500, {}, {}
slow = speculative_sample(law.denoise, noise, grid, window=1, generator=generator).sample
for name, coupling in {"right": reflection_coupling, **wrong_couplings(generator)}.items():
    suspect = speculative_sample(law.denoise, noise, grid, window, generator=generator, coupling=coupling)
    by_steps[name] = lesson.step_p_value(law.denoise, suspect.path, grid)
    pair = suspect.sample[:samples], slow[:samples]
    by_samples[name] = lesson.sample_p_value(*pair, session.generator(2, "cpu"))
blind = min(by_samples.values()) > 0.01
caught = all((p < 1e-3) == (name != "right") for name, p in by_steps.items())
claim("a test of the final samples rejects none of the four samplers", blind, by_samples)
claim("a test of the steps rejects the three wrong ones, and not the right one", caught, by_steps)

# %% [markdown]
# Why is the first test so blind? The energy distance weighs the whole picture, and in the whole picture the modes are where they belong. What is wrong is their width, by a tenth or so, and a test that looks just there does find it. But you would have to know beforehand where to look, and on another problem it would be elsewhere. A test of the steps needs no such luck: whatever the problem, the noise of an exact sampler is standard normal. And it has more to look at, a hundred steps for each sample.
#
# If a sampler is said to be exact, test its transitions.
#
# ## Which draft?
#
# The frozen draft can freeze the predicted clean point, as ours does, or the *drift*, the direction of the last exact step (eq. 7 read literally for an Euler step). Or one trains a **small model**, here a perceptron with a tenth of the weights or fewer, on the same data. Below, trained targets on the eight Gaussians and on handwritten digits.

# %% tags=["hide-input"]
views.drafts_figure()

# %% [markdown]
# In the plane the small model needs the fewest rounds: a few hundred weights know nearly as much as the large network, and go on knowing it along the window. On the digits this small model disagrees with its target from the first step, while the frozen prediction starts from the target's own answer: with windows of usual size it needs no more rounds, and it never calls a second model. The frozen drift needs the most rounds on both. All three are exact: a bad draft costs time, never the law. (Five seeds; on points they are five trained targets, on digits one target and fresh noise.)
#
# Rounds are not seconds. Suppose a call on one point takes time 1, each further point of a batch adds a little, and a call of the draft model takes its own share. Move the two costs. When the batch is free, a long window is best; when points cost, a long window wastes them, and the best window is short. And move the cost of a draft call to a tenth of the target's: the small model, called once for each drafted step, loses to the draft that needs no calls.


# %% tags=["widget"]
def speed_up(point, draft):
    """Speed-up against the window for three drafts, each one's best window ringed; at the dashed line nothing is gained."""
    return views.speed_up_figure("eight_gaussians", point, draft)


explore(
    speed_up,
    title="Which window is fastest?",
    point=Choice([0, 0.01, 0.03, 0.1, 0.3], 0.03, "Cost of one more point"),
    draft=Choice([0, 0.02, 0.1, 0.3], 0.02, "Cost of a draft call"),
)

# %% [markdown]
# ## Rivals at equal cost
#
# What else could one do with the same number of rounds?
#
# - **Fewer steps.** DDIM or DDPM on a coarse grid; *tuned* means with the best of four grids and three churns for its number of steps, chosen on a seed of its own by the very number that the table shows last.
# - **Picard iteration** (Shih et al. 2023) also asks in parallel: it guesses a stretch of the path, corrects all of it at once, and moves on where the corrections are smaller than a tolerance, in standard deviations of the step. It uses the slow sampler's own noise and converges to the slow sampler's own path. Its window is 16.
#
# The law here has narrow modes, so that there is something to get wrong: the *width of the modes*, over the true one, tells a sampler that cuts corners. Medians over five seeds. The energy distance is unbiased, so it may come out below 0; the noise floor is its standard deviation between two samples of the data.

# %% tags=["hide-input"]
views.rivals_table("points")

# %% tags=["claim"] equation="Algorithm 3"
names = ("the slow sampler, 100 steps", "speculative, window 8", "DDIM, 20 steps")
slow_width, *fast = (views.rival_values("points", name, "width") for name in names)
apart = [[abs(a - b) for a, b in zip(widths, slow_width)] for widths in fast]
worst, best = max(apart[0]), min(apart[1])
claim(
    "five seeds: speculation keeps the width of the slow sampler's modes; 20 steps of DDIM do not",
    worst < 0.03 and best > 0.05,
    {"worst of speculation": worst, "best of DDIM": best},
)

# %% [markdown]
# Read the table with care. Speculation reproduces *the slow sampler*, flaws included: on a hundred even steps its modes are a sixth too narrow, and so are ours. Fewer even steps are further off, apart from DDIM with thirty, whose error happens to be of the same size. But a *tuned* grid of twenty steps comes closer to the data than the slow sampler itself, in the number it was tuned for, with far fewer evaluations. And Picard with a tolerance of a hundredth follows the slow path to the third digit, here in about as many rounds as ours, for twice the evaluations. (The energy distance hardly sees the width of a mode: judged by it alone, nearly all would pass.)
#
# So the honest advice is this. If all you want is good samples, tune a fast sampler first. If you want *the law* that a slow sampler has, because it was guided, certified or measured with that many steps, speculation is the way to have it sooner, with a proof in the place of a tolerance.
#
# ## Where it fails
#
# Acceptance depends on $|D|$, a sum over all dimensions. If the target's answer moves in every dimension from step to step, $|D|$ grows like $\sqrt d$.

# %% tags=["hide-input"]
views.limits_figure()

# %% [markdown]
# On the left, eight well-separated modes are kind: rounds rise slowly, and still reach half of the slow sampler's at the right end. One broad Gaussian moves in all dimensions, and its rounds climb towards those of the slow sampler. At $|D| = 18$, which has been reported for a latent image model with a quarter of a million dimensions, the formula above gives a chance that nobody will live to see. On the right, the churn: a little less noise than DDPM helps, since the path is smoother, but as the churn goes to 0 the noise that hides a small disagreement goes, too.
#
# Note what *acceptance* hides: with a frozen draft the first step of a window is always kept. An acceptance of one half means that nothing was gained at all.
#
# And along one path? Here are the steps of one batch, by their time and by the size of their noise, on three grids.

# %%
curves = {}
for count in (50, 100, 200):
    path = speculative_sample(law.denoise, noise, time_grid(count), window, generator=generator)
    curves[count] = path.accepted.double().mean(1).cpu()
views.kept_along_the_path(curves)

# %% [markdown]
# Drafts fail at the end. The steps are even in time, so near $t = 0$ each is a large part of what is left: the noise of a step becomes smaller than a mode is wide, and the target's answer follows the point about within its mode. A finer grid has smaller noise, but its answers move even less. (The teeth are windows that begin together: the first draft is always kept. The last step has no noise, and is kept by definition.)
#
# ## Real data: handwritten digits
#
# The target is lesson 01's standard denoiser of the 8×8 digits, 64 pixels, with a hundred steps. Nothing is trained here: the frozen draft works on any denoiser as it comes.

# %%
target = denoisers.digits_models(session).standard
pixels = torch.randn(session.pick(smoke=50, lesson=597), 64, generator=generator, device=session.device)
digits = speculative_sample(target, pixels, grid, window, generator=generator)

figure, (left, right) = figures.panels(2, size=(4.6, 2.9))
figures.image_grid(left, digits.sample[:40].view(-1, 1, 8, 8), columns=10, title="forty samples")
right.hist(digits.rounds.cpu(), bins=range(20, 50), color=figures.LEARNED)
right.set(xlabel="rounds of a chain, for 100 steps", ylabel="chains", yticks=[])
figures.describe(figure, "Forty digits, and a histogram of rounds for each chain, all far below one hundred.")

# %% tags=["claim"] equation="Algorithm 3"
share = digits.rounds.double().mean().item() / steps
work = digits.evaluations / len(pixels) / steps
claim(
    "digits: at most 2/5 of the rounds, for at most 9/5 of the evaluations",
    share < 0.4 and work < 1.8,
    {"rounds / K": share, "evaluations / K": work},
)

# %% [markdown]
# The rivals again, judged by lesson 01's kernel distance from held-out digits. Speculation is within noise of the slow sampler, as it must be. So is the tuned grid, with fewer evaluations. And Picard with a small tolerance is *faster* than speculation here, in rounds, and dearer in evaluations. Both are approximations that happen to be good on these digits; for speculation there is a proof.

# %% tags=["hide-input"]
views.rivals_table("digits")

# %% [markdown]
# The same on 32×32 fashion images runs with `PROFILE = "full"` on a GPU, on lesson 01's U-Net. Images go in as they are, `(n, C, H, W)`; the inner products run over all their pixels, in float64.

# %% tags=["slow"]
if PROFILE == "full":
    unet = denoisers.fashion_models(session).standard
    images = torch.randn(64, 1, 32, 32, generator=generator, device=session.device)
    fashion = speculative_sample(unet, images, time_grid(200), window, generator=generator, keep_path=False)
    figure, (axes,) = figures.panels(1, size=(6, 3))
    title = f"{fashion.rounds.double().mean():.0f} rounds for 200 steps, acceptance {fashion.acceptance:.2f}"
    figures.image_grid(axes, fashion.sample, columns=16, title=title)
    display(figure)

# %% [markdown]
# ## Common mistakes
#
# - *Drawing afresh after a rejection.* Reflect. A fresh draw from the target makes the law wrong, and an overall look at the samples will not tell you.
# - *The sign.* $z$ is the noise under the *draft*; the ratio is that of $z + D$ to $z$.
# - *A mean over dimensions instead of a sum.* It accepts nearly everything, and the steps are wrong.
# - *Dividing by a zero gap.* When both means agree, keep the draft; when $\sigma = 0$, in the last step, return the target's mean.
# - *Counting rounds of the batch.* The slowest chain is not the average one: count for each chain.
# - *Calling it fewer evaluations.* It is fewer that wait.
#
# ## Exercises
#
# The notebook [student/02_speculative_sampling](student/02_speculative_sampling.ipynb) holds the exercises, checked as you go: predict what is kept, replace a token, reflect a step, find the bug that samples hide, keep the books of a batch, and fit a window to a machine.
#
# ## What to read next
#
# - De Bortoli et al. (2025), the paper of this lesson; it also treats Langevin dynamics, whose steps couple in the same way.
# - Leviathan, Kalman and Matias (2023) and Chen et al. (2023): speculative sampling of tokens.
# - Shih et al. (2023), *Parallel sampling of diffusion models*: the Picard rival.
# - Jacob, O'Leary and Atchadé (2020), *Unbiased Markov chain Monte Carlo methods with couplings*: what else a reflection coupling is good for.
