# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Distributional diffusion: learn the whole posterior, take big steps
#
# A diffusion model turns noise into data a little at a time, because at each step it knows only the *mean* of what the clean point may be. This lesson teaches a model the whole *distribution* instead, and then takes big steps.
#
# - **You will be able to** say why few sampling steps fail, score a distribution by its draws alone, train a denoiser that draws, and judge a fast sampler against its rivals at equal cost.
# - **You need first** what a neural network and a Gaussian are, and to have seen that a diffusion model denoises (foundation [f2](f2_diffusion_in_two_dimensions.ipynb)) and how two clouds are compared ([f1](f1_distances.ipynb)). Bayes' rule helps.
# - **Minutes**: 35 to read, 2 to run, 70 for the exercises.
# - **Paper**: De Bortoli, Galashov, Guntupalli, Zhou, Murphy, Gretton and Doucet, *Distributional Diffusion Models with Scoring Rules*, ICML 2025, [arXiv 2502.02483](https://arxiv.org/abs/2502.02483).

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
from itertools import islice

import torch

from companion.data import toy
from companion.foundations.diffusion import sample, time_grid
from companion.foundations.distances import energy_distance, noise_floor
from companion.methods.distributional import energy_score_loss, expected_score, sample_distributional
from companion.teaching import Choice, Slider, begin, claim, explore, figures, live_posterior, live_sampler
from companion.teaching.lessons import distributional_diffusion as lesson
from companion.teaching.lessons import distributional_views as views

session = begin(PROFILE, SEED, DEVICE)
law = toy.eight_gaussians().to(session.device)
generator = session.generator()

# %% [markdown]
# ## The question: why do a few big steps fail?
#
# Noise a clean point $x_0$ to time $t$ by mixing it with Gaussian noise,
#
# $$x_t = (1-t)\,x_0 + t\,\varepsilon, \qquad \varepsilon \sim \mathcal N(0, I),$$
#
# so that $t=0$ is data and $t=1$ is noise (eq. 3 of the paper). A sampler walks back. At each step it takes the point $x_t$, guesses the clean point, and crosses a Gaussian *bridge* to an earlier time $s$ as if the guess were true (eq. 4). The guess of a standard denoiser is the posterior mean, $\mathbb E[x_0 \mid x_t]$.
#
# For tiny steps the mean is all one needs. For a big step it is not. Here is a law simple enough that its posterior is known exactly: eight Gaussians on a circle. No network is involved yet, so nothing below is a failure of training. The top row feeds the sampler the *exact mean*; the bottom row feeds it an *exact draw* from the posterior.

# %%
noise = torch.randn(1500, 2, generator=generator, device=session.device)


def exact_draw(x, t):
    return law.sample_posterior(x, t, generator)


figure, axes = figures.panels(4, 2, size=(2.3, 2.4))
for row, (denoiser, colour) in enumerate([(law.denoise, figures.RIVAL), (exact_draw, figures.LEARNED)]):
    for axis, steps in zip(axes[4 * row :], (1, 2, 4, 16)):
        *_, points = sample(denoiser, noise, time_grid(steps), churn=1.0, generator=generator)
        figures.scatter(axis, points, colour, size=3, limit=2.7, title=f"steps: {steps}" if row == 0 else None)
axes[0].set_ylabel("exact mean"), axes[4].set_ylabel("exact draws")
figures.describe(figure, "With the exact mean one step gives a dot; exact draws show eight modes from one step on.")

# %% [markdown]
# One step from pure noise: the mean of eight modes is the middle of the circle, where no data live, so the whole top left panel is a single dot. Two steps are not enough to recover. The bottom row is right from the first panel on, and stays right.
#
# That is no accident. If $x_0$ is drawn from its posterior given $x_t$, then the pair $(x_0, x_t)$ has exactly the joint law that noising would have given. Crossing the bridge from such a pair gives $x_s$ with exactly its noised law. So the argument starts again at $s$, and the law is right on *any* grid of times, and for any amount of fresh noise (the *churn*: 0 is DDIM, 1 is DDPM).
#
# How do we see it in a number? With the **energy distance** between two clouds,
#
# $$D(p, q) = 2\,\mathbb E|X-Y| - \mathbb E|X-X'| - \mathbb E|Y-Y'|,$$
#
# which is 0 only when the two laws agree. Two samples of the *same* law do not give exactly 0; how far they stray is the **noise floor**, and a difference below it means nothing.

# %% tags=["claim"] equation="Algorithm 2"
number = session.pick(smoke=1000, lesson=4000)
fresh = law.sample(number, generator)
floor = noise_floor(lambda: law.sample(number, generator)).item()


def distance_after(denoiser, steps, churn):
    start = torch.randn(number, 2, generator=generator, device=session.device)
    *_, points = sample(denoiser, start, time_grid(steps), churn, generator)
    return energy_distance(points, fresh).item()


draws = [distance_after(exact_draw, steps, churn) for steps in (1, 2, 4) for churn in (0.0, 0.5, 1.0)]
floors = {"draws, worst of nine": max(draws) / floor, "mean, 2 steps": distance_after(law.denoise, 2, 1.0) / floor}
kept, lost = floors["draws, worst of nine"] < 6, floors["mean, 2 steps"] > 20
claim(
    "exact draws keep the law at 1, 2 and 4 steps; the exact mean at 2 steps is 20 floors away", kept and lost, floors
)

# %% [markdown]
# ## A score for a whole distribution
#
# We cannot compare a model's law with the true posterior while training: for each noisy point we see just *one* clean point, the one it was made from. Forecasters know this problem. It rains or it does not, once; still one can grade a forecast so that honesty pays on average. Such a grade is a **proper scoring rule**. Distributional diffusion uses the **energy score** (eq. 12 and 15), here as a loss on $m$ draws $\hat x_1, \dots, \hat x_m$ of the model:
#
# $$\frac1m \sum_j |x_0 - \hat x_j|^\beta \;-\; \frac{\lambda}{2\,m(m-1)} \sum_{j \ne j'} |\hat x_j - \hat x_{j'}|^\beta .$$
#
# The first term pulls every draw towards the truth. The second rewards draws that differ from one another. With $\lambda = 1$ and $0 < \beta < 2$ the expected loss is smallest for the true law and for nothing else. With $\lambda = 0$ and $\beta = 2$ only the first term is left, and it is the squared error that trains a standard denoiser. One line of code serves both.
#
# The second term is a *U-statistic*: no draw is paired with itself. So its expectation does not depend on $m$. More draws cost more and make the loss less noisy; they do not change what is learned.

# %% tags=["claim"] equation="eq. (12) and (15)"
n = session.pick(smoke=20_000, lesson=100_000)
truth = torch.randn(n, 2, generator=generator, device=session.device)


def score_of(spread, m, beta=1.0):
    model = spread * torch.randn(m, n, 2, generator=generator, device=session.device)
    return energy_score_loss(model, truth, beta).item()


exact = expected_score(torch.tensor(0.7)).item()
errors = {m: abs(score_of(0.7, m) / exact - 1) for m in (2, 4, 16)}
claim("the score is unbiased in m: 2, 4 and 16 draws give its exact value to 3 %", max(errors.values()) < 0.03, errors)
flat = [score_of(spread, 8, beta=2.0) for spread in (0.0, 0.5, 1.0, 1.5)]
change = max(flat) / min(flat) - 1
claim("at beta = 2 the score is blind to the spread: from 0 to 1.5 it changes by under 5 %", change < 0.05, change)

# %% [markdown]
# Move the two dials. On the left is the exact expected loss of a Gaussian model with standard deviation $s$ when the truth is a standard Gaussian, and where it is smallest. On the right a cloud of 120 draws is free to take any shape, and descends the same loss to fit a truth with two modes (grey).
#
# At $\lambda = 1$ the cloud covers both modes. Turn $\lambda$ down: each mode shrinks, then the cloud crowds towards the median. This is what "sharper samples" bought by a small $\lambda$ really are. Then turn $\beta$ up to 2 at $\lambda = 1$: the curve goes flat. A score that cannot see the spread cannot teach it.

# %% tags=["widget"]
two = toy.two_gaussians().sample(200, session.generator(1, "cpu"))


def dials(lam, beta):
    """Left: loss against the model's spread. Right: the best free cloud, in blue, over a truth with two modes, in grey."""
    figure, (left, right) = figures.panels(2, size=(2.8, 2.9))
    views.loss_against_spread(left, lam, beta)
    figures.scatter(right, two, figures.EXACT, limit=2)
    figures.scatter(right, views.best_cloud(two, lam, beta), size=9, opacity=0.8, limit=2, title="best cloud")
    return figure


lam, beta = Slider(0, 1, 1, steps=5, label="Repulsion λ"), Choice([0.5, 1, 1.5, 2], 1, "Exponent β")
explore(dials, title="What the two dials do", lam=lam, beta=beta)

# %% [markdown]
# ## A denoiser that draws
#
# How does a network return a draw? By taking noise as an input: $\hat x_0 = g_\theta(t, x_t, \xi)$ with $\xi \sim \mathcal N(0, I)$. Ask twice with the same $x_t$ and different $\xi$, and get two draws. Training (Algorithm 1) noises a batch of data to random times, asks for $m = 8$ draws of each clean point and scores them. Both denoisers below are perceptrons with three layers of 64; one has eight more inputs, for the noise.
#
# The loop is a generator: it yields its state after every step, so a cell may stop it, plot it, or show a progress bar. Here are its first steps, live.

# %%
job = lesson.denoising("eight_gaussians", "distributional", law, session, SEED)
first = islice(job.start(), session.pick(smoke=20, lesson=400))
curve = [state.loss for state in first]

figure, (axes,) = figures.panels(1, size=(6.5, 2.6))
axes.plot(torch.stack(curve).cpu(), color=figures.LEARNED, linewidth=1)
axes.set(xlabel="step", ylabel="energy score loss")
figures.describe(figure, "The loss of the first training steps falls from about one and levels off.")

# %% [markdown]
# The loss falls and then hovers: its smallest value is not 0 but half the spread of the posterior, which no model can remove. Do not read quality off this curve. Compare *draws*. The cell below loads both denoisers after their whole training (the recipe is in `companion.teaching.lessons.distributional_diffusion`; `python -m companion checkpoints` runs it again) and lays draws over the exact posterior at one noisy point, at four times.

# %%
standard, distributional = lesson.models("eight_gaussians", session)
figure, axes = figures.panels(4, size=(2.3, 2.5))
for axis, t in zip(axes, (0.1, 0.4, 0.6, 0.9)):
    point = torch.tensor([[0.7 - 0.4 * t, 0.4 - 0.2 * t]], device=session.device).expand(500, 2)
    figures.scatter(axis, law.sample_posterior(point, t, generator), figures.EXACT, size=14, title=f"t = {t}")
    figures.scatter(axis, distributional(point, t, generator), size=3)
    figures.scatter(axis, standard(point[:1], t), figures.RIVAL, size=60, opacity=1)
    figures.scatter(axis, point[:1], figures.INK, size=20, opacity=1)
figures.describe(figure, "The network's draws lie over the exact posterior; the mean stands between the modes.")

# %% [markdown]
# Grey is the exact posterior, blue the network's draws, orange the standard denoiser's one answer, black the noisy point. Early (small $t$) the noisy point already says which mode it came from, and mean and draws agree. Late, many modes are possible; the draws go to the modes while the mean stays in the empty middle. The weights of both networks travel with the next figure and run in the page, so drag the noisy point and see where each would send it.

# %% tags=["widget"]
backdrop = law.sample(400, generator)
live_posterior(
    distributional,
    standard,
    law,
    backdrop,
    title="Drag the noisy point",
    alt="Eight modes on a circle. Blue draws land on the modes that the exact posterior, grey discs, holds likely; the orange cross stands between them.",
    note="Move t towards 0: one mode is left, and the cross joins the draws.",
)

# %% [markdown]
# ## Big steps
#
# Sampling (Algorithm 2) is the sampler from the top of the lesson with the network in the place of the exact draw. Top row: the standard denoiser. Bottom row: the distributional one.

# %%
figure, axes = figures.panels(6, 2, size=(1.6, 1.7))
for row, (model, colour) in enumerate([(standard, figures.RIVAL), (distributional, figures.LEARNED)]):
    for axis, steps in zip(axes[6 * row :], (1, 2, 4, 8, 16, 64)):
        *_, points = sample_distributional(model, noise, time_grid(steps), churn=1.0, generator=generator)
        figures.scatter(axis, points, colour, size=2, limit=2.7, title=steps if row == 0 else None)
figures.describe(figure, "At 1, 2 and 4 steps the standard denoiser blurs the modes; the distributional one does not.")

# %% [markdown]
# Now you. Set the steps to 1, then 2, then 64, and the churn from 0 to 1. Both panels start from the same noise and make the same number of network calls.

# %% tags=["widget"]
live_sampler(
    {"standard denoiser": standard, "distributional denoiser": distributional},
    backdrop,
    title="Sample in the page",
    alt="Points walk from noise to eight modes on a circle; with few steps the standard denoiser leaves points between the modes.",
    note="Energy distance to 400 data points. With so few points a few hundredths are noise.",
    steps=2,
)

# %% [markdown]
# The same with numbers, on two data sets: the eight Gaussians, and a checkerboard, which has edges and no exact posterior. Each denoiser is judged at equal *steps*, with its better churn of 0 and 1.


# %% tags=["claim"] equation="Algorithm 1; Algorithm 2"
def nearest(model, data, steps):
    """Energy distance from fresh data after `steps` steps, with the better churn of 0 and 1."""
    start = torch.randn(number, 2, generator=generator, device=session.device)
    ends = [list(sample_distributional(model, start, time_grid(steps), churn, generator))[-1] for churn in (0.0, 1.0)]
    return min(energy_distance(points, data.sample(number, generator)).item() for points in ends)


ratios = {}
for name in lesson.LAWS:
    pair, data = lesson.models(name, session), lesson.law(name, session.device)
    for steps in (1, 2):
        rival, ours = (nearest(model, data, steps) for model in pair)
        ratios[f"{name} {steps}"] = ours / rival
claim(
    "at 1 and 2 steps the distributional denoiser is at most 1/5 as far from the data",
    max(ratios.values()) < 0.2,
    ratios,
)

# %% [markdown]
# ## Rivals at equal cost
#
# Equal steps is not equal cost. A population of $m = 8$ draws makes each training step dearer. So the figure below, made from five seeds by `python -m companion claims`, adds what an honest table needs: a standard denoiser trained for as many seconds as the distributional one, and the other known ways to few steps, each tuned on a seed of its own.
#
# - **DDIM** and **DDPM**: the standard denoiser with churn 0 and 1.
# - **Analytic variance**: DDPM whose steps are widened by the posterior's mean squared error (Bao et al. 2022; Nichol and Dhariwal 2021 learn it). It knows how *wide* the posterior is, not its shape.
# - **Progressive distillation** (Salimans and Ho 2022) and a **consistency model** (Song et al. 2023): students of a trained standard denoiser. They need a teacher, and its training is part of their cost.
# - **Denoising diffusion GAN** (Xiao et al. 2022): it also draws from the posterior, but learns by a game between two networks.

# %% tags=["hide-input"]
views.few_steps_figure()

# %% tags=["hide-input"]
views.few_steps_table()

# %% tags=["claim"] equation="Algorithm 1; Algorithm 2"
worst = max(views.gains(rival="standard, equal cost", steps=(1, 2)))
claim(
    "five seeds, two laws, equal training time, 1 and 2 steps: at most 1/20 as far from the data", worst < 0.05, worst
)

# %% [markdown]
# Read the figure from the left. At one step a method that knows only the mean is lost, and training it longer changes nothing, since no training turns a mean into a distribution. The analytic variance helps a great deal, because a blob of the right width beats a dot, but a blob is not eight modes. Distillation and the consistency model are the real rivals: their teacher shows them where each noise point should land, so one step is enough, and there they tie with the distributional denoiser for somewhat less training in all. From two steps on it is ahead of them. What they need is a teacher, and care: the consistency model gets *worse* with many steps. Our GAN, tuned over rates and penalties like the others, stays behind.
#
# Towards the right the curves meet. With many small steps the mean is enough, and a standard denoiser trained as long is as good as any. If you can afford the steps, you do not need this method.
#
# ## Where it fails
#
# A network is a continuous function of its noise $\xi$. To send some $\xi$ to one mode and some to the next it must send a few *between* them. So at one step some points stray. More steps mend this, because at a smaller $t$ few modes are left to choose from.


# %%
def stray(model, steps):
    """Share of samples further than four standard deviations from every mode."""
    start = torch.randn(number, 2, generator=generator, device=session.device)
    *_, points = sample_distributional(model, start, time_grid(steps), generator=generator)
    return (torch.cdist(points, law.means).amin(1) > 4 * law.stds[0]).double().mean().item()


grid, pair = (1, 2, 4, 8, 16), {"standard": standard, "distributional": distributional}
views.strays(grid, {kind: [stray(model, steps) for steps in grid] for kind, model in pair.items()})

# %% [markdown]
# Three more limits. **Cost**: each training step asks the network for eight draws, so it costs more than a standard step, and the population cannot be smaller than two. **The dial $\lambda$**: a small value gives cleaner-looking samples and a quality measure that rewards clean looks will like it, while the spread within each mode is lost. **Noise inside**: even at churn 0 the sampler is random, since $\xi$ is. There is no deterministic map from noise to data to invert, as DDIM has.
#
# ## Real data: handwritten digits
#
# The digits have 64 pixels. Both denoisers are perceptrons again, trained alike. We judge them by a **kernel distance** on the features of a small classifier: an unbiased squared MMD (the idea of the kernel inception distance, Bińkowski et al. 2018) between samples and digits that neither denoiser has seen. The noise floor comes from real digits against real digits.

# %%
judge = lesson.judge("digits", session)
pair = lesson.digits_models(session)._asdict()


def write_digits(kind, steps, count=597):
    start = torch.randn(count, 64, generator=session.generator(5), device=session.device)
    *_, sheets = sample_distributional(pair[kind], start, time_grid(steps), generator=session.generator(6))
    return sheets


# %% tags=["widget"]
def sheet(kind, steps):
    """Forty digits: with few steps the standard denoiser's are grey averages, the distributional one's are strokes."""
    figure, (axes,) = figures.panels(1, size=(6, 3.9))
    figures.image_grid(axes, write_digits(kind, steps, 40).view(-1, 1, 8, 8), columns=10)
    return figure


kinds = Choice(["standard", "distributional"], "distributional", "Denoiser")
explore(sheet, title="Digits from noise", kind=kinds, steps=Choice([1, 2, 4, 8, 16], 2, "Steps"))

# %% tags=["claim"] equation="Algorithm 1; Algorithm 2"
far = {(kind, steps): judge(write_digits(kind, steps)) for kind in pair for steps in (1, 2)}
ratio = {steps: far["distributional", steps] / far["standard", steps] for steps in (1, 2)}
claim("digits at 1 and 2 steps: at most half as far as the standard denoiser", max(ratio.values()) < 0.5, ratio)

# %% [markdown]
# With `PROFILE = "full"` on a GPU the same recipe trains a U-Net on 32×32 fashion images, the noise $\xi$ entering as one more channel. It saves its state as it goes, and goes on from there if it is stopped.

# %% tags=["slow"]
if PROFILE == "full":
    judge = lesson.judge("fashion", session)
    for name, model in lesson.fashion_models(session)._asdict().items():
        start = torch.randn(1000, 1, 32, 32, generator=session.generator(7), device=session.device)
        *_, sheets = sample_distributional(model, start, time_grid(4), generator=session.generator(8))
        figure, (axes,) = figures.panels(1, size=(6, 3))
        figures.image_grid(axes, sheets[:64], columns=16, title=f"{name}, 4 steps, distance {judge(sheets):.3f}")
        display(figure)

# %% [markdown]
# ## Common mistakes
#
# - *Pairing a draw with itself in the second term.* The mean over all $m^2$ pairs, zeros included, pushes draws apart too weakly, by a factor $(m-1)/m$: a hidden $\lambda < 1$.
# - *A gradient of the distance at 0.* Where two draws coincide $|x|$ has no gradient and automatic differentiation returns `nan`. Make the gradient 0 there; do not add a constant, which shifts the value when $\beta$ is small.
# - *Leaving out $t = 1$ in training.* One-step sampling asks the network only about $t = 1$.
# - *Comparing at equal steps only.* Say what training cost, and what a teacher cost.
# - *Reading a distance without its noise floor.*
#
# ## Exercises
#
# The notebook [student/01_distributional_diffusion](student/01_distributional_diffusion.ipynb) holds the exercises, checked as you go: derive a spread, write the score without a loop, break it, cross the bridge, choose a schedule, and predict what perfect draws do.
#
# ## What to read next
#
# - De Bortoli et al. (2025), the paper of this lesson.
# - Gneiting and Raftery (2007), *Strictly proper scoring rules, prediction, and estimation*: where the energy score comes from.
# - Shen and Meinshausen (2024), *Engression*: the same score for regression, where it extrapolates.
# - Song, Meng and Ermon (2021), *Denoising diffusion implicit models*: the bridge and its churn.
