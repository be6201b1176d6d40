# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How far apart are two clouds?
#
# A sampler gives you a cloud of points. The data are another cloud. Did the sampler get the *law* right, the distribution behind the points? Every lesson of this book answers with a distance between clouds, and each such number hides a choice, a bias and some noise.
#
# - **You will be able to** measure energy distance and MMD, tell a V-statistic from a U-statistic, choose a bandwidth, say what a proper score is, slice a distance, and never again quote a distance without its noise floor.
# - **You need first** what an expectation and a Gaussian are.
# - **Minutes**: 15 to read, 1 to run, 30 for the exercises.
# - **Needed by** [01](01_distributional_diffusion.ipynb), [03](03_learned_guidance.ipynb), [04](04_mmd_gradient_flow.ipynb), and by the foundations [f2](f2_diffusion_in_two_dimensions.ipynb) and [f3](f3_guidance.ipynb).

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import math

import torch

from companion.foundations.distances import energy_distance, noise_floor, pairwise_distance
from companion.foundations.exact_distances import exact_energy_distance, mean_distance
from companion.methods.rivals.sliced_energy import slice_constant
from companion.teaching import Choice, begin, claim, explore, figures
from companion.teaching.lessons import distances_views as views

session = begin(PROFILE, SEED, DEVICE)
generator = session.generator()
law, turned, opposite = (views.modes(4, degrees).to(session.device) for degrees in (0, 15, 45))

# %% [markdown]
# ## The question: which pair is one law?
#
# Three pairs of clouds. The grey one always comes from the same four Gaussians. The blue one comes from them, too, or from the four turned by some degrees. Mean and covariance are equal throughout, so no table of moments tells them apart.
#
# Here is an idea that does. If the laws agree, a point is on average as far from a stranger as from one of its own. If they differ, strangers are farther, taking both clouds together. The **energy distance** (Székely and Rizzo 2013) is by how much,
#
# $$D(p, q) = 2\,\mathbb E|X-Y| - \mathbb E|X-X'| - \mathbb E|Y-Y'|,$$
#
# with $X, X'$ drawn from $p$ and $Y, Y'$ from $q$, all independent. It behaves like the *square* of a distance, and is 0 only when the laws agree. For mixtures of Gaussians it has an exact value.

# %%
figure, axes = figures.panels(3, size=(2.8, 3.3))
for axis, other in zip(axes, (law, turned, opposite)):
    x, y = law.sample(150, generator), other.sample(150, generator)
    estimate, exact = energy_distance(x, y), exact_energy_distance(law, other)
    figures.scatter(axis, x, figures.EXACT, size=9, limit=3.3)
    figures.scatter(axis, y, size=9, limit=3.3, title=f"estimate {estimate:.3f}\nexact {exact:.3f}")
figures.describe(figure, "Four groups in grey, and in blue the same groups, then turned by 15 and by 45 degrees.")

# %% [markdown]
# On the left the truth is 0 and the estimate is not. In the middle the truth is not 0, but could you tell? To answer we must know how estimates err.
#
# ## Bias: the pairs of a point with itself
#
# The simplest estimate plugs the samples in: each expectation becomes a mean over *all* pairs. That is a **V-statistic**. Among the pairs within a cloud are those of a point with itself, at distance 0. They make the clouds look tighter than they are. So two clouds of $n$ points from *one* law come out apart, on average by exactly $2\,\mathbb E|X-X'|/n$.
#
# A **U-statistic** leaves those pairs out and divides by $n(n-1)$. Its expectation is the true distance for every $n$. The price: where the truth is 0 it must often fall below 0, or its mean could not be 0.

# %% tags=["claim"] equation="Székely and Rizzo 2013, energy distance"
repeats, spread = 300, 2 * mean_distance(law, law).item()


def plug_in(x, y):
    """The V-statistic: means over all pairs, a point with itself among them."""
    return 2 * pairwise_distance(x, y).mean() - pairwise_distance(x, x).mean() - pairwise_distance(y, y).mean()


both = plug_in, energy_distance
draws = {n: views.repeat(law, law, n, repeats, both, generator) for n in (8, 16, 32, 64)}
off = max(abs(v.mean().item() * n / spread - 1) for n, (v, _) in draws.items())
errors = max((u.mean().abs() / u.std()).item() * math.sqrt(repeats) for _, u in draws.values())
below = min((u < 0).double().mean().item() for _, u in draws.values())
found = {"V off by": off, "U, standard errors": errors, "share below 0": below}
text = "one law: the V-statistic averages c/n to 15 %; the U-statistic 0 to 4 standard errors, often below 0"
claim(text, off < 0.15 and errors < 4 and below > 0.3, found)
views.bias_figure(draws, spread)

# %% [markdown]
# A biased distance is worst when you compare two of them at different $n$: the larger sample wins by its size alone.
#
# ## The noise floor
#
# Without bias there is still noise. A measured distance means nothing by itself. Measure what it must be compared with: draw *two* clouds of the same law, many times, and take the spread of their distances. This is the **noise floor**. Compare at the same $n$ and with the same estimate.


# %%
def floor_at(n):
    """The spread of the energy distances of pairs of clouds of one law."""
    return noise_floor(lambda: law.sample(n, generator)).item()


by_size = {n: floor_at(n) for n in (50, session.pick(smoke=200, lesson=500))}
views.floor_figure(law, turned, by_size, session.pick(smoke=30, lesson=80), generator)

# %% [markdown]
# With few points the middle pair of the first figure is lost in noise. With many it stands clear. The same-law floor falls like $1/n$, while a small shift of the law enters the distance *squared*. So half the shift takes four times the points.
#
# ## MMD: choose how near is near
#
# Put a kernel in the place of the distance, $k(x, y) = e^{-|x-y|^2/2h^2}$ with **bandwidth** $h$, and turn the signs since a kernel is large for *near* points. This is the squared **maximum mean discrepancy** (Gretton et al. 2012, Lemma 6; eq. 3 is its U-statistic),
#
# $$\mathrm{MMD}^2 = \mathbb E\,k(X,X') + \mathbb E\,k(Y,Y') - 2\,\mathbb E\,k(X,Y).$$
#
# With $k = -|x-y|$ it is the energy distance again. Now move the bandwidth. On the left, orange shows how far the kernel of one point reaches. On the right is the squared MMD in units of its noise floor: exact in grey, of these clouds in blue. The grey band is two floors to either side, where chance alone mostly lands: inside it a distance tells you nothing. Look for the two ends. A tiny kernel meets no other point; a huge one sees every pair alike. Then set the turn to 0: the curve should be flat, and the blue dots say how flat noise is.

# %% tags=["widget"]
number, bandwidths = 150, (0.02, 0.06, 0.2, 0.5, 1.0, 3.0, 10.0)
floors = views.mmd_floors(law, number, bandwidths, session.pick(smoke=30, lesson=60), generator)


def see(bandwidth, turn):
    """Four groups and the same turned: only a bandwidth near the size of a group lifts the MMD out of its noise."""
    other = views.modes(4, turn).to(session.device)
    return views.bandwidth_figure(law, other, bandwidth, floors, number, session.generator(int(turn)))


turns = Choice([0, 15, 45], 45, "Turn, degrees")
explore(see, title="What a kernel sees", bandwidth=Choice(bandwidths, 0.5, "Bandwidth"), turn=turns)

# %% [markdown]
# The *median heuristic* sets $h$ to the median distance of two points (dotted). Here it is a poor choice: the median is the distance between groups, and what changed is finer. At the far end, a huge kernel can still compare means, and ours are equal: it has nothing left to see.

# %% tags=["claim"] equation="Gretton et al. 2012, eq. (3); Gretton et al. 2012, Lemma 6"
seen = views.in_floors(law, turned, floors)
ends, best = {h: seen[h] for h in (0.02, 3.0, 10.0)}, max(seen.values())
energy = exact_energy_distance(law, turned).item() / floor_at(number)
claim(
    "turned by 15 degrees: the best kernel sees 5 noise floors; too narrow, as wide as the median, or wider, under 2; "
    "the energy distance less than half of the best",
    best > 5 and max(ends.values()) < 2 and energy < best / 2,
    {"best": best, "energy distance": energy} | {f"h = {h:g}": value for h, value in ends.items()},
)

# %% [markdown]
# ## Scores: when you see one outcome only
#
# Often there is no second cloud: a forecast $p$ meets *one* outcome $y$. Give it a score $S(p, y)$, a loss. The score is **proper** if honesty is optimal: with outcomes from $q$, no forecast does better on average than $q$ itself. It is *strictly* proper if every other does worse (Gneiting and Raftery 2007). The **energy score** is
#
# $$S(p, y) = \mathbb E|X-y| - \tfrac12\,\mathbb E|X-X'|.$$
#
# Average it over $y$ from $q$, subtract what honesty scores, and what is left is $\tfrac12 D(p, q)$. So the energy distance is twice the *regret* of the energy score. Without its second term the score is not proper: it pays to report one point, however uncertain you are. In the figure outcomes come from $\mathcal N(0, I)$ and forecasts are $\mathcal N(0, s^2 I)$. **Look for** where each curve on the left is lowest.

# %%
views.scores_figure(session.pick(smoke=300, lesson=1500), generator)

# %% [markdown]
# ## Slices
#
# In many dimensions, or with many points, project both clouds onto a line, measure there, where sorting replaces the matrix of pairs, and average over directions. One direction may be blind. Their mean is not: for a uniform direction $u$, $|x|$ is $\mathbb E|\langle u, x\rangle|$ times a constant, and so the energy distance *is* its mean over slices times that constant, $\pi/2$ in the plane (Hertrich et al. 2024, Theorem 1). Few random directions add noise of their own.

# %% tags=["claim"] equation="Hertrich et al. 2024, Theorem 1"
flat, upright = (views.modes(2, degrees, std=0.5).to(session.device) for degrees in (0, 90))
x, y = flat.sample(300, generator), upright.sample(300, generator)
angles = math.pi * torch.arange(48, device=session.device) / 48
directions = torch.stack([angles.cos(), angles.sin()])
lines = torch.stack([energy_distance(x @ u[:, None], y @ u[:, None]) for u in directions.T])
ratio = (slice_constant(2) * lines.mean() / energy_distance(x, y)).item()
claim(
    "the mean over 48 slices times pi/2 is the distance in the plane, to 1 in 1000",
    abs(ratio - 1) < 1e-3,
    abs(ratio - 1),
)
views.slices_figure(angles, lines, flat, upright)

# %% [markdown]
# ## Where it fails
#
# **Dimensions.** Move one coordinate by one standard deviation and add coordinates that do not change. The same shift sinks towards the floor (the grey band is again two floors). Distances on raw pixels suffer from this, so lesson 01 judges digits by features instead.

# %%
dimensions = (1, 4, 16, 64, 256)
ratios = views.floors_by_dimension(dimensions, 50, session.pick(smoke=20, lesson=40), generator)
views.dimensions_figure(dimensions, ratios)

# %% [markdown]
# **Fine detail.** The energy distance needs no bandwidth, but it is ruled by the large distances: on our turned groups it saw fewer floors than a well-chosen kernel. **A small distance is no proof**: an estimate within the floor says that you could not tell the laws apart with this $n$, not that they agree.
#
# ## Common mistakes
#
# - **A mean over the whole matrix.** `.mean()` counts the diagonal: a V-statistic.
# - **The root of an unbiased estimate.** It may be negative, and a root is biased again. Keep the squared distance, and do not clip it at 0.
# - **A floor from another setting.** Other $n$, other bandwidth, other noise.
# - **The bandwidth that makes your method win.** Fix it before you look.
# - **Comparing MMDs of two bandwidths.** They are in different units; their floors are, too.
#
# ## Exercises
#
# Two: predict a bias, and measure a distance on a line by sorting. In [student/f1_distances](student/f1_distances.ipynb).
#
# ## What to read next
#
# - [Lesson 01](01_distributional_diffusion.ipynb) trains a network with the energy score; [lesson 04](04_mmd_gradient_flow.ipynb) moves points downhill on an MMD; [lesson 03](03_learned_guidance.ipynb) judges guidance by distances.
# - Székely and Rizzo (2013), *Energy statistics: A class of statistics based on distances*.
# - Gretton, Borgwardt, Rasch, Schölkopf and Smola (2012), *A Kernel Two-Sample Test*.
# - Gneiting and Raftery (2007), *Strictly Proper Scoring Rules, Prediction, and Estimation*.
