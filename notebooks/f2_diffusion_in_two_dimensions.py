# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Diffusion in two dimensions: noise, the mean, and the way back
#
# Adding noise to data is easy. Taking it away again makes pictures. In the plane, with clusters that are Gaussian, every quantity on that way has a formula, so we can look at diffusion with no network in the room.
#
# - **You will be able to** read a score and a posterior mean, sample with any churn from DDIM to DDPM, predict what few steps cost and what a leaky schedule does, and join two densities with a stochastic interpolant.
# - **You need first** Gaussians, Bayes' rule and PyTorch's tensors. [f1](f1_distances.ipynb) helps: we measure with its energy distance.
# - **Minutes**: 20 to read, 1 to run, 25 for the exercises.
# - **Needed by** lessons [01](01_distributional_diffusion.ipynb), [02](02_speculative_sampling.ipynb), [03](03_learned_guidance.ipynb) and [04](04_mmd_gradient_flow.ipynb).

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import torch

from companion.data import toy
from companion.foundations.diffusion import sample, time_grid
from companion.foundations.distances import energy_distance, noise_floor
from companion.foundations.interpolants import MixtureInterpolant, transport
from companion.foundations.one_gaussian import leaky_mean
from companion.teaching import Choice, Slider, begin, claim, explore, particles
from companion.teaching.lessons import diffusion_views as views

session = begin(PROFILE, SEED, DEVICE)
law, pair = toy.eight_gaussians().to(session.device), toy.two_gaussians(3.0).to(session.device)
generator, number = session.generator(), session.pick(smoke=1000, lesson=1500)

# %% [markdown]
# ## The question: where did this noisy point come from?
#
# Mix a clean point $x_0$ with Gaussian noise,
#
# $$x_t = \alpha_t\,x_0 + \sigma_t\,\varepsilon, \qquad \varepsilon\sim\mathcal N(0, I), \qquad \alpha_t = 1-t, \quad \sigma_t = t .$$
#
# At $t=0$ it is data, at $t=1$ pure noise. Someone hands you $x_t$. Which $x_0$ was it? You cannot know, but Bayes' rule says how likely each cluster is, and within a cluster everything is Gaussian. So two answers are exact. The **posterior mean** $\mathbb E[x_0\mid x_t]$ is the average of all clean points that it may have been. The **score** $\nabla \log p_t(x_t)$ points to where noisy points are denser. They tell the same story (Tweedie's formula; Efron 2011):
#
# $$\nabla\log p_t(x) = \frac{\alpha_t\,\mathbb E[x_0\mid x_t = x] - x}{\sigma_t^2} .$$
#
# Grey is the noised law, blue the direction of the score. Each black point is joined to its posterior mean, the orange cross.

# %%
views.fields_figure(law, (0.1, 0.4, 0.6, 0.9), generator)

# %% [markdown]
# With little noise the arrows lead to the nearest cluster, and each cross is on its way there. With much noise they lead to the middle, and the crosses are *between* the clusters, where no data live. It is not wrong: an average need not be a possible answer. A network trained with squared error learns just this average.
#
# ## The way back: one family of samplers
#
# To step from $t$ down to $t'$, take the posterior mean for the clean point, read off the noise that it implies, $\hat\varepsilon = (x_t - \alpha_t\hat x_0)/\sigma_t$, and mix again at the level $t'$. Part of the noise may be fresh:
#
# $$x_{t'} = \alpha_{t'}\,\hat x_0 + \sigma_{t'}\big(\kappa\,\hat\varepsilon + \sqrt{1-\kappa^2}\;\varepsilon'\big), \qquad \kappa = 1 - e^2\Big(1 - \frac{\alpha_t\,\sigma_{t'}}{\alpha_{t'}\,\sigma_t}\Big).$$
#
# The **churn** $e$ is the dial. At 0 all noise is kept: DDIM (Song et al. 2021), a deterministic map from noise to data. At 1 it is DDPM (Ho et al. 2020). Whatever $e$, were $\hat x_0$ the true clean point, $x_{t'}$ would have the right law. One sampler, then, not two. Press play, and look at how the points *travel*: left they glide, right they jitter, and both arrive.

# %% tags=["widget"]
noise = torch.randn(400, 2, generator=generator, device=session.device)
walks = {f"churn {churn:g}": list(sample(law.denoise, noise, time_grid(40), churn, generator)) for churn in (0.0, 1.0)}
particles(
    walks,
    title="Two ways back from the same noise",
    alt="Two clouds go from one blob of noise to eight clusters; with churn 0 each point glides, with churn 1 it jitters.",
    labels=[f"t = {t:.2f}" for t in time_grid(40).tolist()],
    axis="Time",
    reference=law.sample(400, generator),
)

# %% [markdown]
# ## Why few steps fail
#
# The step treats the *average* as if it were the truth. For a tiny step this does no harm: it moves a little towards the average, and the next step asks again. A big step believes it for long. Set the steps to 1, then 2, then 4. Look for points between the clusters, and ask whether churn saves them.


# %% tags=["widget"]
def few_steps(steps, churn):
    """With one step all walks end in the middle; with two to four, points lie between clusters, whatever the churn."""
    return views.walks_figure(law, steps, churn, session.generator, points=500)


steps, churn = Choice([1, 2, 4, 8, 32], 2, "Steps"), Choice([0, 0.5, 1], 0, "Churn")
explore(few_steps, title="Few steps", steps=steps, churn=churn)

# %% [markdown]
# We measure with the energy distance in units of its **noise floor**: its standard deviation between two samples of one law.

# %% tags=["claim"] equation="Song et al. 2021, DDIM and its family"
fresh, floor = law.sample(number, generator), noise_floor(lambda: law.sample(number, generator)).item()


def floors(points):
    return energy_distance(points, fresh).item() / floor


def after(steps, churn):
    start = torch.randn(number, 2, generator=generator, device=session.device)
    return floors(list(sample(law.denoise, start, time_grid(steps), churn, generator))[-1])


far = {f"{steps} steps, churn {churn:g}": after(steps, churn) for steps in (2, 32) for churn in (0.0, 0.5, 1.0)}
values = list(far.values())
claim(
    "with every churn 2 steps miss the law by far and 32 steps reach it",
    min(values[:3]) > 20 > 8 > max(values[3:]),
    far,
)

# %% [markdown]
# ## Schedules: how steps should be spaced
#
# A schedule is two curves, $\alpha$ and $\sigma$, and the times at which we stop. Scaling $x_t$ turns one pair of curves into another with the same ratio $\sigma/\alpha$ (Kingma et al. 2021), so what matters is how the stops divide that ratio.
#
# For one Gaussian of width $s$ we can say how. Let $\tan\varphi_t = \sigma_t/(\alpha_t s)$, an angle from $0$ (data) to $90°$ (noise). Put the posterior mean of a Gaussian into the step at churn 0, and the width of the cloud, as a share of what it should be, is multiplied at each step by
#
# $$\cos(\varphi_t - \varphi_{t'}) .$$
#
# So $K$ steps shrink the cloud, and **equal angles** shrink it least, to $\cos(90°/K)^K$. For $s=1$ equal angles are the *cosine schedule* (Nichol and Dhariwal 2021). In the figure the grey lines are formulas, the marks come from the sampler.

# %%
views.width_figure(2.0, session.generator, points=session.pick(smoke=1000, lesson=5000))

# %% [markdown]
# One step leaves nothing, two at most half. Fresh noise makes it worse: a step that throws old noise away leans more on the guess, and the guess is an average.
#
# ## A leaky schedule shifts the mean
#
# Many schedules in use stop *before* pure noise. Stable Diffusion's ends at $\alpha_T \approx 0.07$: a last trace of signal. Let the data have mean $\mu$. Training sees noised data there, with mean $\alpha_T\mu$; sampling starts from noise with mean 0. Nobody tells the sampler, so it takes the missing mean for a fact. In pictures the mean is the brightness (Lin et al. 2024).
#
# By how much is the mean wrong? At churn 0 with small steps a point keeps its place, measured in widths of the cloud. Pure noise begins $\alpha_T\mu/\sqrt{\alpha_T^2s^2+\sigma_T^2}$ widths off, so it ends that many widths $s$ off:
#
# $$\text{shift} = -\,\mu\cos\varphi_T = -\,\mu\,\frac{\alpha_T\,s}{\sqrt{\alpha_T^2 s^2+\sigma_T^2}} .$$
#
# With churn it is less, since fresh noise forgets; [exercise f2.1](student/f2_diffusion_in_two_dimensions.ipynb) asks how much. Lower the last level. On the left the orange cross, the mean of the samples, leaves the white dot, that of the data, and moves towards the origin (+). It stays inside the black ring, which marks the formula's mean. On the right the law has eight modes, and those nearest to the origin get too many points.


# %% tags=["widget"]
def leak(last, churn):
    """As the last noise level falls below 1, the mean of the samples, a cross, slides from the data's mean to the origin."""
    return views.leak_figure(last, churn, session.generator, points=600)


last, fresh_noise = Slider(0.6, 1, 0.8, steps=5, label="Last noise level T"), Choice([0, 0.5, 1], 0, "Churn")
explore(leak, title="A leaky schedule", last=last, churn=fresh_noise)

# %% tags=["claim"]
one, _ = views.off_centre()
(mean, _), size = one.means[0].tolist(), session.pick(smoke=8000, lesson=20_000)
errors = {}
for start, e in ((0.7, 0.0), (0.7, 0.5), (0.7, 1.0), (1.0, 0.0)):
    found = views.leaky_samples(one, start, e, generator, size, steps=200)[:, 0].mean().item()
    errors[f"from {start:g}, churn {e:g}"] = abs(found - leaky_mean(mean, one.stds[0].item(), start, e)) / mean
wanted = 1 - leaky_mean(mean, one.stds[0].item(), 0.7) / mean
claim(
    "the leak moves the mean as the formula says, to a tenth of the shift; a full schedule does not",
    max(errors.values()) < wanted / 10,
    {"shift": wanted} | errors,
)

# %% [markdown]
# There are two cures: let the schedule end at pure noise (Lin et al. rescale theirs to do so), or start the sampler from *noised data*.
#
# ## From one density to another: a stochastic interpolant
#
# Must one end be noise? No. Take a draw $x_0$ of one law, an independent draw $x_1$ of another, and a latent noise $z$ (Albergo, Boffi and Vanden-Eijnden 2023):
#
# $$x(u) = (1-u)\,x_0 + u\,x_1 + \gamma(u)\,z, \qquad \gamma(u)^2 = a\,u(1-u).$$
#
# Points that follow the average velocity, $\dot X = \mathbb E[\dot x(u) \mid x(u) = X]$, have the law of $x(u)$ at every $u$ (their Theorem 6). This is the **probability flow**. It is the posterior mean again, of a velocity this time, and exact for mixtures: given the two components, all is Gaussian. Time runs the other way here, from 0 at the start to 1 at the data: with pure noise for $x_0$ and $a=0$ it *is* DDIM with tiny steps. Press play. Half way on the left, each of the sixteen pairs of clusters makes a clump. Two pairs of clumps nearly coincide, so look for fourteen. Latent noise melts them.

# %% tags=["widget"]
clouds = {f"latent {a:g}": MixtureInterpolant(pair, law, latent=a) for a in (0.0, 2.0)}
first, stops = pair.sample(600, generator), torch.linspace(0, 1, 51)
particles(
    {name: list(transport(flow.velocity, first, stops)) for name, flow in clouds.items()},
    title="Two clusters become eight",
    alt="Two clusters spread and become eight on a circle; without latent noise the cloud passes through fourteen clumps.",
    labels=[f"u = {u:.2f}" for u in stops.tolist()],
    axis="Time u",
    reference=law.sample(400, generator),
)

# %% tags=["claim"] equation="Albergo et al. 2023, Theorem 6"
away, stops = {}, torch.linspace(0, 1, session.pick(smoke=61, lesson=101))
for name, flow in clouds.items():
    path = list(transport(flow.velocity, pair.sample(number, generator), stops))
    own = noise_floor(lambda flow=flow: flow.sample(number, 0.5, generator)).item()
    half_way = energy_distance(path[len(path) // 2], flow.sample(number, 0.5, generator))
    away[f"{name}, half way"] = half_way.item() / own
    away[f"{name}, end"] = floors(path[-1])
claim("the exact velocity carries one law to the other, right half way and at the end", max(away.values()) < 8, away)

# %% [markdown]
# ## Where it fails: the exact score of the wrong law
#
# We never have the law, only examples. They are a mixture too, of very narrow Gaussians, and its exact score is known. Use it and the sampler returns the examples (black rings) one by one.

# %%
views.copies_figure(law, generator)

# %% [markdown]
# So perfect denoising of a finite set is perfect memory. What makes networks useful is that they *miss* this score, in a smooth way. And three more limits: near $t=0$ an error of the mean is an error $\alpha_t/\sigma_t^2$ times as large in the score, so learn the mean or the noise instead; an average of far modes stays an average however good the network; and the formulas for widths and shifts are a Gaussian's, a guide elsewhere.
#
# ## Common mistakes
#
# - *Starting a sampler from pure noise at a time that is not 1.* That is the leak.
# - *Weighing the clusters as in the data.* The posterior's weights depend on $x_t$.
# - *Taking churn for a cure.* It forgets errors of the start; it does not mend big steps.
# - *Adding $\sigma$'s.* Variances add.
#
# ## Exercises
#
# In [student/f2_diffusion_in_two_dimensions](student/f2_diffusion_in_two_dimensions.ipynb): predict what a leak does with and without fresh noise, and write the posterior mean of a mixture.
#
# ## What to read next
#
# - Song, Meng and Ermon (2021), *Denoising diffusion implicit models*: the family with churn.
# - Lin, Liu, Li and Yang (2024), *Common diffusion noise schedules and sample steps are flawed*, [arXiv 2305.08891](https://arxiv.org/abs/2305.08891).
# - Albergo, Boffi and Vanden-Eijnden (2023), *Stochastic interpolants*, [arXiv 2303.08797](https://arxiv.org/abs/2303.08797).
# - [Lesson 01](01_distributional_diffusion.ipynb): draw from the posterior instead of averaging, and take big steps.
