# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Guidance of an exact model: not the density you asked for
#
# Image generators have a knob, the *guidance weight*, that makes samples look more like the class you asked for. Many texts name the distribution that the guided sampler draws from. Here every density is known, so we can check, and it draws from another one.
#
# - **You will be able to** derive classifier and classifier-free guidance from Bayes' rule, write down the sharpened density, show that the guided sampler misses it, and say why.
# - **You need first** Bayes' rule, Gaussians, from [f2](f2_diffusion_in_two_dimensions.ipynb) how a diffusion model turns noise into data, and from [f1](f1_distances.ipynb) the energy distance.
# - **Minutes**: 15 to read, 1 to run, 25 for the exercises.
# - **Needed by**: [03](03_learned_guidance.ipynb), which asks what the weight is good for when the model is *not* exact.

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import torch

from companion.data.labelled import four_classes
from companion.foundations.diffusion import time_grid
from companion.foundations.distances import energy_distance, noise_floor
from companion.methods.guidance import sample_guided
from companion.methods.rivals.classifier_guidance import sample_classifier_guided
from companion.teaching import Choice, Slider, begin, claim, explore
from companion.teaching.lessons import exact_guidance_views as views

session = begin(PROFILE, SEED, DEVICE)
law = four_classes(separation=0.8, std=0.3)

# %% [markdown]
# ## The question: what do you get when you ask for more of a class?
#
# Noise a clean point to time $t$: $x_t = (1-t)\,x_0 + t\,\varepsilon$, so $t = 0$ is data and $t = 1$ is noise. Write $p_t$ for the density of $x_t$. A sampler walks from noise to data along the **score** $\nabla \log p_t(x)$, the direction in which the density grows. To sample a class $c$ it needs the score of the class. Bayes' rule says $p_t(x|c) \propto p_t(x)\,p_t(c|x)$. Take logarithms and the gradient in $x$, and the constant is gone:
#
# $$\nabla \log p_t(x|c) = \nabla \log p_t(x) + \nabla \log p_t(c|x).$$
#
# So a model of *all* data and a classifier of *noisy* points give a sampler of each class. Our law has four classes of two Gaussians each, and its scores are closed forms. At one time, asked for the class on the right:

# %%
views.bayes_figure(law, label=0, t=0.4)

# %% [markdown]
# **Classifier guidance** (Dhariwal and Nichol 2021) makes the classifier's arrows longer, by a factor $1 + w$, so that the classifier becomes *surer* of the samples. **Classifier-free guidance** (Ho and Salimans 2022) has no classifier. It replaces the arrows by a difference of two scores, which is the same thing by the equation above:
#
# $$\nabla\log p_t(x) + (1+w)\,\nabla\log p_t(c|x) \;=\; \nabla\log p_t(x|c) + w\,\big(\nabla\log p_t(x|c) - \nabla\log p_t(x)\big).$$
#
# At $w = 0$ both give the class's own score. In code the model predicts the clean point, $(x + \sigma_t^2\,\text{score})/\alpha_t$ with $\alpha_t = 1-t$ and $\sigma_t = t$: call it $x_c$ given the class and $x_u$ without. The scores enter with the factors $1+w$ and $-w$, which add up to 1, so the same formula holds for predictions: `guide(x_c, x_u, w)` is $x_c + w\,(x_c - x_u)$. Let us walk the same noise down both ways.

# %% tags=["claim"] equation="Dhariwal and Nichol 2021, Algorithm 2"
exact = law.to(session.device, torch.float64)
labels = torch.arange(400, device=session.device) % 4
noise = torch.randn(400, 2, generator=session.generator(), device=session.device).double()
times = time_grid(50, start=0.99)  # at t = 1 a gradient of 0 would be divided by alpha = 0; both walks leak alike


def everything(x, t, labels):
    return exact.unconditional(x, t)


gaps = {}
for w in (0, 1, 3):
    *_, free = sample_guided(exact.conditional, exact.unconditional, w, labels, noise, times)
    *_, led = sample_classifier_guided(everything, exact.class_log_probs, 1 + w, labels, noise, times)
    gaps[f"largest gap, w = {w}"] = (free - led).abs().max().item()
claim("with exact models both kinds of guidance end at the same points, to rounding", max(gaps.values()) < 1e-9, gaps)

# %% [markdown]
# ## What should come out: the sharpened density
#
# At *every* time the guided score is the score of $p_t(x)\,p_t(c|x)^{1+w}$. At $t = 0$ that is the **sharpened** (or tilted, or powered) **density**
#
# $$q(x) \;\propto\; p(x)\,p(c|x)^{1+w} \;\propto\; \frac{p(x|c)^{1+w}}{p(x)^{w}}.$$
#
# It keeps the class where the class is certain and removes what might belong to another. It is natural to believe that the guided sampler draws from $q$. On a line, with one Gaussian for each of two classes, we need not believe. We work $q$ out on a grid. And we know the sampler's law without drawing anything: on a line its steps stretch and squeeze the starting noise without folding it, so a change of variables gives the density of its end points.

# %%
line = views.line_law(distance=2.0, std=0.5)
views.line_figure(line, weights=(0, 1, 3))

# %% [markdown]
# *Mass astray* is the share that must be moved to make a curve cover the grey area (total variation): first for the guided sampler, then for the dashed curve. At $w = 0$ the sampler is right. With a weight it goes too far out and is too narrow. The dashed curve is the control: the *same* sampler with the same steps, given the score of the *noised* $q$, arrives. So the steps are innocent and the score is guilty.
#
# ## Why: the power of a mean
#
# To arrive at $q$, a sampler needs at each time the score of $q$ after noising. Bayes' rule gives that density, up to a constant:
#
# $$\text{sharpened, then noised:}\quad p_t(x)\;\mathbb E\big[\,p(c|x_0)^{1+w} \,\big|\, x_t = x\big].$$
#
# Guidance follows another. The classifier of noisy points is itself a mean, $p_t(c|x) = \mathbb E[p(c|x_0)\,|\,x_t = x]$, so
#
# $$\text{noised, then sharpened:}\quad p_t(x)\;\mathbb E\big[\,p(c|x_0) \,\big|\, x_t = x\big]^{1+w}.$$
#
# A mean of powers is not the power of a mean. They agree for $w = 0$, at $t = 0$ where $x_0$ is known, and at $t = 1$ where the noise says nothing. In between, guidance punishes doubt that comes from the *noise* as if it were doubt about the clean point, and pushes even those who were safely on their way (Bradley and Nakkiran 2025; Chidambaram et al. 2024).
#
# Start at the right end of the slider, $t = 1$, and move towards 0. **Look for** three curves that begin as one. In the middle the orange one leaves the grey area, and at $t = 0$ it is back. But the blue sampler has followed it outwards, and does not return.

# %% tags=["widget"]
walks = {w: views.guided_walk(line, w) for w in (0, 1, 3)}


def midway(w, t):
    """Three densities at one time: together at t = 1; at t = 0 the sampler's, in blue, stands apart from the grey one."""
    return views.midway_figure(line, walks[w], w, t)


weight, time = Choice(list(walks), 1, "Weight w"), Choice([0, 0.2, 0.4, 0.6, 0.8, 1], 0.6, "Time t")
explore(midway, title="Two orders of noising and sharpening", w=weight, t=time)

# %% [markdown]
# ## In the plane: is it the steps?
#
# Back to four classes. Grey points are drawn from the sharpened densities, blue ones come from the guided sampler; contours hold half and nine tenths of the sharpened densities. **Look for** what sharpening does on the left (it clears the borders between classes, then little changes) and what guidance does on the right.

# %% tags=["widget"]
targets = views.tilts(law)


def beside(w):
    """Grey draws fill the contours at every weight; the blue guided samples leave them outwards and crowd together."""
    return views.beside_figure(law, targets, w, session)


explore(beside, title="Sharpened or guided?", w=Slider(0, 3, 1.0, steps=7, label="Weight w"))

# %% [markdown]
# Now in numbers. The energy distance is 0 only for equal laws, and its *noise floor* says how far two samples of one law stray; measured once, at $w = 1$, it is our unit. Could eight times the steps close the gap, or the fresh noise of DDPM (churn 1) in place of DDIM?

# %% tags=["claim"] equation="Bradley and Nakkiran 2025, section 3"
n, target = session.pick(smoke=600, lesson=1000), views.tilts(law, cells=200)[0]
generator, first = session.generator(1, "cpu"), torch.zeros(n, dtype=torch.long)
start = torch.randn(n, 2, generator=generator)
floor = noise_floor(lambda: target.sample(n, 1.0, generator)).item()


def floors_away(w, steps, churn=0.0):
    model = law.conditional, law.unconditional
    *_, ends = sample_guided(*model, w, first, start, time_grid(steps), churn, generator)
    return energy_distance(ends, target.sample(n, w, generator)).item() / floor


few, many, fresh = floors_away(1.0, 20), floors_away(1.0, 160), floors_away(1.0, 160, churn=1.0)
off = {"w = 0": floors_away(0.0, 160), "w = 1": few, "many steps": many, "many steps, DDPM": fresh}
missed = min(few, many) > 10 and many > 0.6 * few and few > fresh > 3
claim(
    "next to nothing without a weight; with one, far off at 20 as at 160 steps; DDPM comes nearer and stays off",
    off["w = 0"] < 4 and missed,
    off,
)

# %% [markdown]
# Eight times the steps changed little, and on the line the same steps arrived with the right score: they are not to blame. DDPM comes nearer, since its fresh noise lets points settle towards the densities it follows, but it does not arrive either. That the two samplers disagree already shows that at most one of them could be right.
#
# ## What does happen
#
# Two things: samples **move outward**, away from the other classes, and they **crowd together**: they lose more diversity than sharpening asks for. (The left ends of the curves show how far chance and finite steps alone take them apart.)

# %% tags=["claim"]
weights = (0, 0.5, 1, 2, 3)
rows = views.what_happens(law, weights, session, session.pick(smoke=400, lesson=2500))
display(views.what_happens_figure(weights, rows))
guided, sharp = rows["guided"], rows["sharpened"]
steady = guided["out"] == sorted(guided["out"]) and guided["spread"] == sorted(guided["spread"], reverse=True)
ratios = {name: guided[name][-1] / sharp[name][-1] for name in ("out", "spread")}
claim(
    "each larger weight sends samples further out and closer together, beyond the sharpened density",
    steady and ratios["out"] > 1.15 and ratios["spread"] < 0.85,
    {f"{name} at w = 3, guided over sharpened": value for name, value in ratios.items()},
)

# %% [markdown]
# ## Where it fails, and what is left of guidance
#
# - *The sharpened density is a story about the score, not about the samples.* Do not read $w$ as an exponent.
# - *An exact model wants no weight.* If you want the class, $w = 0$ is right. Real models are not exact, and there a weight can **repair**; [lesson 03](03_learned_guidance.ipynb) learns how much.
# - *If you do want $q$,* take many Langevin steps at each time (small moves along the score, each with fresh noise), or weight the samples. Bradley and Nakkiran show that guidance with DDPM, in the limit of short steps, is a DDIM step for the class and then *one* Langevin step towards a density sharpened twice as much: too few to settle, and with another weight.
# - *Our densities are toys.* For pictures nobody can draw the grey area, so there the failure stays unseen, and outward and narrow looks crisp.
#
# ## Common mistakes
#
# - *Blaming the steps.* The gap stays when steps shrink.
# - *Counting from another zero.* Our $w = 0$ is no guidance; libraries often call $1 + w$ the scale.
# - *A classifier of clean points.* The gradient must be that of $\log p_t(c|x_t)$, the classifier of *noisy* points.
# - *Comparing with the class.* Guided samples differ from the class because they should. The fair target is the sharpened density.
#
# ## Exercises
#
# The notebook [student/f3_guidance](student/f3_guidance.ipynb) holds two, checked as you go: noise and sharpen three boxes by hand, in both orders; and write the guided prediction from a classifier.
#
# ## What to read next
#
# - Dhariwal and Nichol (2021), *Diffusion models beat GANs on image synthesis*, arXiv 2105.05233.
# - Ho and Salimans (2022), *Classifier-free diffusion guidance*, arXiv 2207.12598.
# - Bradley and Nakkiran (2025), *Classifier-free guidance is a predictor-corrector*, arXiv 2408.09000.
# - Chidambaram et al. (2024), *What does guidance do? A fine-grained analysis in a simple setting*, arXiv 2409.13074.
# - [Lesson 03](03_learned_guidance.ipynb), *Learned guidance*.
