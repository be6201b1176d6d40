# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Learned guidance: let the weight depend on the class and the two times
#
# Everyone who samples images from a diffusion model turns one knob, the guidance weight, by hand. What does the knob do to the distribution? And could the model turn it by itself, for each class and each moment?
#
# - **You will be able to** say what a guidance weight repairs and what it breaks, learn the weight from data for a model that you cannot retrain, tell guidance from sampling a powered density, and judge a guided sampler by more than its looks.
# - **You need first** from [lesson 01](01_distributional_diffusion.ipynb) the bridge and its DDIM step, the energy distance and the energy score; from foundation [f3](f3_guidance.ipynb) what guidance does.
# - **Minutes**: 35 to read, 1 to run, 80 for the exercises.
# - **Paper**: Galashov, Pokle, Doucet, Gretton, Delbracio and De Bortoli, *Learn to Guide Your Diffusion Model*, ICLR 2026, [arXiv 2510.00815](https://arxiv.org/abs/2510.00815).

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
from functools import cache

import torch

from companion.foundations.diffusion import time_grid
from companion.methods.guidance import learn_guidance, sample_guided
from companion.teaching import Choice, Slider, begin, claim, explore, figures
from companion.teaching.lessons import guidance_bases as bases
from companion.teaching.lessons import guidance_bench as bench
from companion.teaching.lessons import guidance_views as views
from companion.teaching.lessons import learned_guidance as lesson
from companion.teaching.widgets import live_guidance

session = begin(PROFILE, SEED, DEVICE)
law = bases.long_tailed_law().to(session.device)
points, labels = bases.data_of("points", session)
short, long = (bases.base("points", stage, session) for stage in bases.STAGES)
judge, few, tiny = (lesson.exam(law, SEED, n) for n in (1000, 250, 120))

# %% [markdown]
# ## The question: what does the knob do?
#
# A conditional diffusion model predicts the clean point twice: $x_c$, told the class, and $x_u$, not told. Classifier-free guidance (Ho and Salimans 2022) goes on in the direction from the second to the first,
#
# $$\hat x(w) = x_c + w\,(x_c - x_u), \qquad w \ge 0,$$
#
# and takes its step with that. Here $w = 0$ is the unguided model; libraries often call $1 + w$ the scale. Pictures become crisper and more like their class, and less varied. The usual story is that one samples a *sharpened* law. The paper's story is another: the model is imperfect, and guidance **corrects** it.
#
# To tell the stories apart we need a model without errors. Our data have four classes of two Gaussians each, so the exact predictions are known. Beside it stands a network that is imperfect in a natural way. It first learned all points without their classes; then each class started from that common answer, and a *short* fine-tuning on a thousand labelled points took it part of the way. More than half of these points are of class 0, and only one in fourteen is of class 3.


# %% tags=["widget"]
def knob(w):
    """Samples of the exact model and of the network at weight w; contours hold nine tenths of each class."""
    figure, axes = figures.panels(2, size=(3.4, 3.6))
    for axis, model, name in zip(axes, (law, short), ("exact model", "network, tuned briefly")):
        samples = few.sample(model, w)
        views.contours(axis, law)
        views.by_class(axis, samples, few.labels, f"{name}\ndistance {few(samples):.3f}")
    return figure


explore(knob, title="Turn the knob", w=Slider(0, 3, 0.0, steps=13, label="Weight w"))

# %% [markdown]
# The distance in the titles is ours throughout: the energy distance between the samples of a class and fresh data of that class, averaged over classes. Its *noise floor* is the spread between two samples of the data themselves. Unless we say otherwise, samplers start from the same noise and take twenty steps of DDIM. On the left every turn of the knob makes things worse: the classes shrink and move outwards, and the rarer ones lose most of one of their two modes. On the right it first repairs the rare classes, then ruins them all.
#
# The same for more bases, over five seeds of training (`python -m companion claims` makes the stored results again).

# %% tags=["hide-input"]
views.curves_figure()

# %% tags=["claim"]
curve = {f"w={w}": judge.of(law, w) for w in (0.0, 0.1, 0.3, 1.0)}
exact, *guided = curve.values()
claim(
    "with the exact model no weight is best, and each larger one is worse",
    exact < 0.003 and guided == sorted(guided) and exact < guided[0],
    curve,
)

# %% [markdown]
# Read the orange curve, too. It is an ordinary network, trained from scratch with classes and stopped early. It is far from perfect, and no weight helps it. So *imperfect* is not enough.
#
# ## What guidance can repair
#
# Guidance moves a prediction along one direction, $x_c - x_u$. Here it is for class 3, below, at three times of the exact model.

# %%
views.push_figure(law, law, (0.3, 0.6, 0.9), label=3)

# %% [markdown]
# So it can repair errors *along that direction*, and no others. Suppose the network went only a share $a$ of the way from the unconditional prediction to the right one, $x_c = x_u + a\,(x^\star - x_u)$. Then $1 + w = 1/a$ makes it right, exactly. That is what short fine-tuning from an unconditional start leaves behind, and $a$ is small for classes that were rarely seen. The errors of the young network from scratch point anywhere.
#
# Make the exact model go part of the way yourself. *Blur* is $1 - a$. The dotted line is the weight that repairs it.


# %% tags=["widget"]
@cache
def distances(blur, steps):
    return [tiny.of(lesson.Blurred(law, blur), w, steps) for w in (0, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5)]


def imperfection(blur, steps):
    """Distance against the weight for a model that stops part of the way, with few steps or many."""
    return views.valley((0, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5), distances(blur, steps), blur)


blurs = Choice([0, 0.15, 0.3, 0.45, 0.6], 0.3, "Blur")
explore(imperfection, title="When does a weight help?", blur=blurs, steps=Choice([5, 10, 20, 40], 20, "Steps"))

# %% [markdown]
# With no blur and many steps the best weight is 0. As the blur grows, so does the best weight.
#
# ## Learn the weight
#
# One number for all classes is a poor repair when each class is at another $a$. So let the weight be a function $\omega(c, s, t)$ of the class and of *both* times of a step, and learn it. The network stays frozen; $\omega$ is a perceptron with about fourteen hundred weights.
#
# What should it be good at? A guided step from $t$ to $s$ should land where noising the data to $s$ does. Per clean point $x_0$, that is a comparison of two clouds:
#
# - *noised*: $m$ points $x^k_s$, noised from $x_0$ directly;
# - *pushed*: $m$ other points, noised to $t$ **with noise of their own**, then pushed to $s$ by the guided step, $\tilde x^j_s(\omega)$.
#
# The **self-consistency loss** (eqs. 19 to 22) is lesson 01's energy score between the two,
#
# $$\mathbb E\bigg[\frac1{m^2}\sum_{j,k}\big|\tilde x^j_s - x^k_s\big|^\beta - \frac{\lambda}{2m(m-1)}\sum_{j\neq k}\big|\tilde x^j_s - \tilde x^k_s\big|^\beta\bigg],$$
#
# averaged over data and over pairs of times at least a tenth apart. We take $\beta = \lambda = 1$ and $m = 4$. The paper keeps $\omega$ from being negative with a ReLU. Where some classes want no weight, a ReLU can die for all of them, so ours is a softplus.

# %%
model, stream = (short.conditional, short.unconditional), session.generator(30)
*_, state = learn_guidance(*model, points, labels, steps=lesson.UPDATES, generator=stream)
learned = state.model.requires_grad_(False)
views.weights_figure(learned, ["class 0 (frequent)", "class 1", "class 2", "class 3 (rare)"])

# %% [markdown]
# That took about a second. Nobody told it which class is rare; it found out that steps of class 3 fall short. Along time the large weight of class 3 changes by a factor of two or so; the small ones change more, but stay small.
#
# Now sample with it. The networks run in the page: move the constant weight and the interval and try to beat the learned weight on the right. Then let the base be the one that was fine-tuned to the end.

# %% tags=["widget"]
learned_long = lesson.learned_weights(long, (points, labels), session)
fresh = torch.arange(4, device=session.device).repeat_interleave(300)
live_guidance(
    {"fine-tuned briefly": (short, learned), "fine-tuned to the end": (long, learned_long)},
    law.sample_given(fresh, session.generator(2)),
    fresh,
    title="Three schedules from the same noise",
    alt="Three clouds of four classes. With a constant weight or an interval the rare class is too wide or the others too narrow; the learned weight comes nearest for all four together.",
    note="A limited interval guides only between two times.",
)

# %% [markdown]
# Is it better than a knob? The rivals are eleven constants and thirty-seven *limited intervals* (Kynkäänniemi et al. 2024), which guide only between two times. We give them every advantage: their best setting is chosen on the very samples that judge them.

# %% tags=["claim"] equation="eq. (19) to (22)"
rivals = [
    min(pair) for pair in zip(*(views.bench_values("short", name) for name in ("constant weight", "limited interval")))
]
ratios = [rival / ours for rival, ours in zip(rivals, views.bench_values("short", "learned weight"))]
here = {"here": judge.of(short, learned), "here, w=0": judge.of(short, 0.0)}
claim(
    "five seeds: the best constant or interval is at least one and a half times as far from the data as the learned",
    min(ratios) > 1.5 and here["here"] < 0.7 * here["here, w=0"],
    {"smallest ratio": min(ratios), **here},
)

# %% tags=["claim"] equation="eq. (19) to (22)"
largest, unguided = max(views.largest_weights("long")), views.bench_values("long", "unguided")
moved = [abs(a / b - 1) for a, b in zip(views.bench_values("long", "learned weight"), unguided)]
best = max(views.bench_values("long", "constant weight", "setting"))
claim(
    "five seeds, fine-tuned to the end: no constant helps, and the learned weights are near 0",
    best == 0 and largest < 0.1 and max(moved) < 0.05,
    {"best constant": best, "largest weight": largest, "largest change of the distance": max(moved)},
)

# %% [markdown]
# The second claim matters as much as the first. The learned weight knows when to leave a model alone.
#
# ## Independent noise
#
# Why must the two clouds not share their noise? With *one* noise for both, the DDIM step makes the square loss a plain regression: $|\hat x(w) - x_0|^2$ times a number. Its best weight is $\mathbb E\langle x_0 - x_c, d\rangle / \mathbb E|d|^2$ with $d = x_c - x_u$, and that is 0 whenever $x_c$ is the exact mean, *whatever becomes of the samples*. With independent noise the loss looks at where steps land.
#
# The test is the exact model, with weights that may be negative, in a few large steps. DDIM's large steps make every class too narrow, though no prediction is wrong.

# %% tags=["hide-input"]
views.losses_figure()

# %% tags=["claim"] equation="eq. (19) to (22)"
relative = {name: views.over_unguided(name, steps=5) for name in bench.LOSSES}
ours, *others = relative.values()
claim(
    "five seeds, exact model, 5 steps: only independent noise with the energy score comes nearer to the data",
    max(ours) < 0.9 and min(map(min, others)) > 0.97,
    {name: max(ratios) if ratios is ours else min(ratios) for name, ratios in relative.items()},
)

# %% [markdown]
# Self-consistency finds weights that are mostly a little below 0, and with three or five steps it beats even the best signed constant. They are not made to the measure of the steps: at twenty, shorter than any that it was trained on, they can end further from the data than no guidance, though all distances are tiny by then. The regression stays close to the unguided model, and always a little worse: it cannot see a law. The plain square with independent noise is worse than both. It over-guides, for even on an exact model the best weight common to all classes, these as frequent as in the data, is $s(1-t)/(t-s)$, whatever the law (exercise 5). On the briefly tuned base, at the right, shared noise does as well as self-consistency, and on the other nearly: there the error is one of the *prediction*, which regression sees too. So shared noise repairs predictions; independent noise, *with the repulsion*, can repair laws.
#
# ## Rewards, until they are gamed
#
# Sometimes more is wanted than the data's law: a reward $R(x, c)$. Then one subtracts $\gamma_R\,\mathbb E\,R$ of the predicted clean point from the loss. What should come out? The ideal is a **tilted** law, $p(x\,|\,c)\,e^{\gamma R}$, and in the plane we can compute it. (The two gammas are not the same number; do not put them on one axis.) So we let classes overlap, reward the exact model, and compare its samples with the tilted law *that earns as much*. There are two rewards: *like its class*, $R = \log p(c\,|\,x)$, whose tilted law is the powered density $p(x|c)^{1+\gamma}/p(x)^\gamma$; and *far out*, $R = \tanh |x|$.


# %% tags=["widget"]
crowded = lesson.overlapping_law()
strengths = Choice([0, 0.03, 0.05, 0.08, 0.12, 0.3], 0.08, "Reward weight")
frames = views.rewarded_figures(crowded, bench.rewards(crowded), strengths.values, session)


def rewarded(reward, gamma_r):
    """Samples of the exact model with weights learned for a reward; contours: the tilted law that earns as much."""
    return frames[reward, gamma_r]


explore(rewarded, title="Followed, or gamed?", reward=Choice(list(bench.STRENGTHS), label="Reward"), gamma_r=strengths)

# %% [markdown]
# *Like its class*: small rewards do nothing, then the response is almost a switch. But the samples stay near the tilted law wherever they end, and for high rewards nearer than a constant weight brings them. *Far out*: the tilted law spreads along the rim of its class. The samples cannot: they move out in the one direction that they have, and gather in a narrow bundle as far out, which earns as much. The rest of the class is forgotten. The reward is **gamed**.

# %% tags=["hide-input"]
views.reward_figure()

# %% tags=["claim"] equation="loss with a reward"
ratios = views.over_constant("like its class", 0.12)
followed, gamed = (
    views.reward_values(reward, 0.3 if reward == "far out" else 0.12, "from_tilted") for reward in bench.STRENGTHS
)
claim(
    "five seeds: a high reward for the class is earned nearer to its tilted law than by a constant; the far-out one is gamed",
    max(ratios) < 0.8 and min(gamed) > 10 * max(followed),
    {"distance over the constant's": max(ratios), "distance, like its class": max(followed), "far out": min(gamed)},
)

# %% [markdown]
# The first reward is a lucky one: $x_c - x_u$ is the very direction in which it grows. Reward instead *lying to the right*, whatever the class. The class on the left would have to move against its own direction; its weight stays 0 and its reward where it was. The top and bottom classes gain a little and are ruined for it.

# %% tags=["hide-input"]
views.half_table()

# %% [markdown]
# Guidance has one direction. It is no general sampler of rewards.
#
# ## Rivals at equal cost, or with their cost beside them: the guidance bench
#
# One base (fine-tuned briefly), one metric, the same start and the same twenty steps of one sampler for all; what a rival adds of noise or Langevin steps is its own. Every rival has its best setting of a grid, chosen on the points that judge it. *Evaluations* counts what the base is asked for one sample; calls of a classifier or a judge come on top.
#
# - **Classifier guidance** (Dhariwal and Nichol 2021): the gradient of a classifier of noisy points, trained on the same thousand.
# - **Adaptive guidance** (Castillo et al. 2025): a constant, dropped once the two predictions agree.
# - **Feedback** (Papalampidi et al. 2025): at each step try several weights, keep the one that a trained judge of noisy samples likes best.
# - **Resampling** (Liu et al. 2024): no guidance, but a particle filter that keeps particles by an estimated ratio of data to model.
# - **Predictor-corrector** (Bradley and Nakkiran 2025): unguided steps, with Langevin steps on the powered density between them.
# - **Constant for each class**, found on the test points; and *training on* the base, for who may.

# %% tags=["hide-input"]
views.bench_table("short")

# %% [markdown]
# The nearest stand at the bottom; read it from there. If you may touch the base, train it: a few hundred updates more do better than any guidance. If you can spend a few seconds on a network that tells samples from data, resampling with its ratio is better still, here in two dimensions, at one evaluation a step; but particles of a class must be drawn together, and many are copies. Feedback, with a judge that has seen guided samples, is somewhat nearer too on four of five seeds, for five times the training and a judge's answer on every candidate. Classifier guidance with a well-chosen weight is on a par with ours.
#
# And note the row *constant for each class*. It is as good as the learned weight: **most of the gain is the class, little is the times**. What learning saves is the search, one dial for each class, which nobody can do by eye for a thousand classes or for captions.
#
# ## Where it fails
#
# - *Errors that do not lie along $x_c - x_u$*: the network from scratch, above. Its learned weight is near 0, which is right, and no help.
# - *The loss looks at one step, the reader at the sample.* Weights that depend on $c, s, t$ alone cannot be right for each $x_t$, and the loss errs on the low side. In a trial of ours that is not stored here, with three labels in ten wrong, a constant beat it.
# - *It repairs what its distance sees*, as the digits show.
#
# ## Real data: handwritten digits by class
#
# Again a network that learned all training digits without their classes, then was fine-tuned briefly on labelled ones, each class three tenths rarer than the one before. Its weights are learned in about a second, on rows of 64 pixels.

# %%
base, data = bases.base("digits", "short", session), bases.data_of("digits", session)
weights = lesson.learned_weights(base, data, session)
wanted = torch.arange(10, device=session.device).repeat_interleave(4)
noise = torch.randn(len(wanted), 64, generator=session.generator(5), device=session.device)
figure, axes = figures.panels(3, size=(3.4, 1.9))
for axis, name, weight in zip(axes, ("unguided", "w = 1", "learned"), (0.0, 1.0, weights)):
    *_, digits = sample_guided(base.conditional, base.unconditional, weight, wanted, noise, time_grid(20))
    order = torch.arange(40).view(10, 4).T.flatten()
    figures.image_grid(axis, digits[order].view(-1, 1, 8, 8), columns=10, title=name)
figures.describe(figure, "Digits 0 to 9, four of each: blurred and sometimes another digit unguided, bold at w = 1.")

# %% [markdown]
# Which is best? It depends on whom you ask. *In pixels*, where the loss lives, small constants help a little, and the learned weight about as much or more. *In the features of a classifier*, as image papers measure, a bold constant is far nearer to real digits, and more of its digits are read as what was asked for. Numbers at the ends of the curves are the constants, and the reward's weights.

# %% tags=["hide-input"]
views.digits_figure()

# %% tags=["claim"] equation="eq. (19) to (22)"
pixels, features = (views.over_best_constant(name) for name in ("pixels", "features"))
claim(
    "digits, five seeds: in pixels no constant is clearly nearer than the learned weight; in features a constant is",
    max(pixels) < 1.05 and min(features) > 1.2,
    {"learned over best constant, pixels": max(pixels), "features": min(features)},
)

# %% [markdown]
# So without a reward we do not see here what the paper reports on ImageNet, where the learned weight has the better FID. The loss lives in pixels, and does in pixels what it promises; features are another judge. But give it the reward $\log p(c\,|\,x)$ of a small classifier (not the judge): the blue curve, a median over seeds, reaches every feature distance of the constants at a smaller cost in pixels.
#
# With `PROFILE = "full"` the same runs on 32×32 fashion images by category, on a GPU.

# %% tags=["slow"]
if PROFILE == "full":
    unet, clothes = bases.base("fashion", "short", session), bases.data_of("fashion", session)
    fitted = lesson.learned_weights(unet, clothes, session, batch_size=40)
    wanted = torch.arange(10, device=session.device).repeat(4)
    noise = torch.randn(len(wanted), 1, 32, 32, generator=session.generator(5), device=session.device)
    figure, axes = figures.panels(2, size=(4.5, 2.4))
    for axis, name, weight in zip(axes, ("unguided", "learned"), (0.0, fitted)):
        *_, clothing = sample_guided(unet.conditional, unet.unconditional, weight, wanted, noise, time_grid(50))
        figures.image_grid(axis, clothing, columns=10, title=name)
    display(figure)

# %% [markdown]
# ## Common mistakes
#
# - *Sharing the noise* between pushed and noised points: it trains, and it learns a regression.
# - *Calling guidance a sampler of $p(x|c)^{1+w}/p(x)^w$.* It is not (exercise 3). The predictor-corrector of the bench aims at it.
# - *A ReLU at the end of $\omega$*: it can die. Start above 0, or use a softplus.
# - *Counting $w$ from 1.* A library's scale 2 is our weight 1.
# - *Judging a schedule with other noise than its rival's*: common noise, a noise floor, fresh data.
# - *Guiding a good model.* Look at $\omega$ first: if it is near 0, there is nothing to repair along that direction.
#
# ## Exercises
#
# The notebook [student/03_learned_guidance](student/03_learned_guidance.ipynb) holds the exercises, checked as you go: find the weight that repairs, guide a batch and count its cost, compute what guidance samples, write the score, share the noise, and game a reward.
#
# ## What to read next
#
# - Galashov et al. (2025), the paper of this lesson.
# - Ho and Salimans (2022), *Classifier-free diffusion guidance*.
# - Kynkäänniemi et al. (2024), *Applying guidance in a limited interval improves sample and distribution quality in diffusion models*.
# - Bradley and Nakkiran (2025), *Classifier-free guidance is a predictor-corrector*.
# - Karras et al. (2024), *Guiding a diffusion model with a bad version of itself*: another direction than $x_c - x_u$.
