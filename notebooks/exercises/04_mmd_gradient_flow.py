# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises: deep MMD gradient flow
#
# Six exercises for [lesson 04](../04_mmd_gradient_flow.ipynb), each checked as you go.
#
# - **You will practise** deriving the best bandwidth, writing the slope of a witness without autograd and breaking a fixed kernel. Then estimating MMD² from sums, saying what the gradient penalty is for, and finding copies.
# - **You need** the lesson, derivatives of exponentials, and PyTorch's broadcasting.
# - **Minutes**: 90 in all, 10 to 20 each. They build on each other in order, but each can be done alone.
# - **How**: put your answer in place of the dots, run the cell, then run its check. A check tries your answer on random inputs and names the first property that fails. Use it as often as you like. Two hints wait below each exercise.

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import math

import torch

from companion.data.hidden_plane import HiddenPlane
from companion.foundations.distances import energy_distance
from companion.teaching import begin, check, figures
from companion.teaching.checks.lesson_04.copies import three_clouds
from companion.teaching.checks.lesson_04.starts import try_flow
from companion.teaching.checks.lesson_04.units import try_penalty

session = begin(PROFILE, SEED, DEVICE)

# %% [markdown]
# ## 04.1 · The best bandwidth
#
# Difficulty 3/5 · 15 minutes · the adaptive bandwidth of two Gaussians
#
# Particles are $\mathcal N(0, s^2 I)$ and data $\mathcal N(\mu, s^2 I)$ in $d$ dimensions, at the distance $r = |\mu|$. The kernel is *normalised*, $k_a(x, y) = a^{-d} \exp(-|x - y|^2 / (2 a^2))$ with the bandwidth $a$, the lesson's $h$. How large a bandwidth makes the force $|\nabla_\mu \mathrm{MMD}^2|$ largest?
#
# 1. `best`: that bandwidth, as a function of $r$, $s$ and $d$. It is 0 where every narrower kernel is stronger.
# 2. `blind`: the distance $r$ up to which it is 0.


# %% tags=["exercise"]
def best(distance, std, dimension):
    """The bandwidth of the largest force: a number."""
    ### BEGIN SOLUTION
    return math.sqrt(max(0.0, distance**2 / (dimension + 2) - 2 * std**2))
    ### END SOLUTION


def blind(std, dimension):
    """The distance up to which that bandwidth is 0: a number."""
    ### BEGIN SOLUTION
    return math.sqrt(2 * (dimension + 2)) * std
    ### END SOLUTION


# %% tags=["check"]
check("04.1", {"best": best, "blind": blind})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Only $\mathbb E\,k(X, Y)$ depends on $\mu$. The difference of a particle and a data point is $\mathcal N(-\mu, 2 s^2 I)$. A kernel is a Gaussian, too, and the mean of one Gaussian under another adds variances: $\mathbb E\,k(X, Y) = v^{-d/2} \exp(-r^2 / (2 v))$ with $v = a^2 + 2 s^2$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The slope by $r$ has the size $r\,v^{-d/2 - 1} \exp(-r^2 / (2 v))$, times 2. Take its logarithm, and set the derivative by $v$ to 0. Then go back from $v$ to $a$, and mind where there is no root.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# $-(d/2 + 1)/v + r^2/(2 v^2) = 0$ gives $v = r^2/(d + 2)$, so $a^2 = r^2/(d + 2) - 2 s^2$. The best kernel is as wide as the way that is left, about $r/\sqrt{d + 2}$ far away, and becomes narrow as the particles come nearer. No single $a$ can do that.
#
# Below $r = \sqrt{2 (d + 2)}\,s$ the square is negative: the Gaussians alone have more spread than the kernel should have, and all that is left is to narrow it. In many dimensions this is most of the way, since two draws of *one* Gaussian are $\sqrt{2 d}\,s$ apart.
#
# Without $a^{-d}$ another bandwidth is best, $r/\sqrt 2$ for points, in any dimension. A statement about the best bandwidth must say how the kernel is scaled.
#
# </details>

# %% [markdown]
# ## 04.2 · The slope of the witness
#
# Difficulty 2/5 · 15 minutes · the witness of Arbel et al. (2019)
#
# The witness of particles $z_1, \dots, z_n$ and data $y_1, \dots, y_m$ is
#
# $$f(x) = \frac1n \sum_i k(z_i, x) - \frac1m \sum_j k(y_j, x), \qquad k(z, x) = \exp\!\big(-|x - z|^2 / (2 h^2)\big) .$$
#
# The flow moves every particle by minus a step times $\nabla f$. Write $\nabla f$ at given points, in closed form, without autograd.


# %% tags=["exercise"]
def slope(points, particles, data, bandwidth):
    """Slopes (b, d) of the witness of particles (n, d) and data (m, d), at points (b, d)."""

    ### BEGIN SOLUTION
    def pull(cloud):
        difference = cloud - points[:, None]
        weight = (-difference.square().sum(-1) / (2 * bandwidth**2)).exp()
        return (weight[..., None] * difference).mean(1) / bandwidth**2

    return pull(particles) - pull(data)
    ### END SOLUTION


# %% tags=["check"]
check("04.2", slope)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# By $x$, the derivative of $-|x - z|^2 / (2 h^2)$ is $(z - x)/h^2$: towards $z$. So $\nabla_x k(z, x) = k(z, x)\,(z - x)/h^2$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `cloud - points[:, None]` holds all differences, $(b, n, d)$. Kernels are $(b, n)$ and want one axis more before they are multiplied with differences. The mean goes over the axis of the cloud.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# Each term is a difference of points, weighted with the kernel. Going *down* $f$, a particle is drawn to the data and pushed off by the other particles, and both forces fade as $r\,e^{-r^2/(2h^2)}$: largest at a distance of one bandwidth, and at six of them less than a millionth of that.
#
# The differences $(b, n, d)$ are not needed. With the weights $W$ as a matrix, the sum is `W @ cloud - W.sum(1, keepdim=True) * points`, which is what mean shift computes: the flow is a mean shift to the data minus one to the particles. The package takes the slope by autograd after all, in blocks, so that any kernel will do.
#
# </details>

# %% [markdown]
# ## 04.3 · Break it: one bandwidth for all starts
#
# Difficulty 2/5 · 15 minutes · the flow of a fixed kernel
#
# Data are the eight Gaussians at radius 2. Particles start around the point $(\text{distance}, 0)$, with a standard deviation of 0.5, and make 100 steps. The kernel is $h^2 \exp(-|x - y|^2 / (2 h^2))$, so that a step of 1 is right for any bandwidth $h$. Of the two bandwidths here, 2 serves both starts, it seems.


# %% tags=["nbval-ignore-output"]
def show(starts, bandwidths):
    """Flows from each start under each bandwidth; a pair is annealed from wide to narrow."""
    points = session.pick(smoke=50, lesson=200)
    shape = {"size": (2.6, 2.8), "sharex": "row", "sharey": "row"}
    figure, axes = figures.panels(len(bandwidths), len(starts), **shape)
    cases = [(start, bandwidth) for start in starts for bandwidth in bandwidths]
    for place, (start, bandwidth) in zip(axes, cases):
        trial = try_flow(start, bandwidth, session.generator(), points)
        figures.scatter(place, trial.data, figures.EXACT, limit=None)
        figures.scatter(place, trial.end, figures.LEARNED, limit=None)
        name = f"{bandwidth[0]} to {bandwidth[1]}" if isinstance(bandwidth, tuple) else bandwidth
        place.set_title(f"from {start}, h = {name}")
        print(f"from {start}, h = {name}: energy distance {trial.before:.2f} -> {trial.after:.3f}")
    alt = "Particles after the flow, in blue, over the data, in grey: a row for each start."
    return figures.describe(figure, alt)


show(starts=(0, 2), bandwidths=(1, 2))

# %% [markdown]
# Find two starts and two bandwidths such that
#
# - from the *near* start the *narrow* kernel arrives (energy distance to the data at most 0.005), while the *wide* one stays blurred (at least 0.02);
# - from the *far* start the *wide* kernel gets there, blurred as it is (at most 0.1), while the *narrow* one stalls and keeps at least 75 % of the energy distance it started with.
#
# Give four numbers under the keys `"near"`, `"far"`, `"narrow"` and `"wide"`. Starts go from 0 to 12, bandwidths from 0.05 to 16. The estimate has no bias against fresh data; particles that sit on these very data get a value below 0.

# %% tags=["exercise"]
choice = {
    ### BEGIN SOLUTION
    "near": 0,
    "far": 8,
    "narrow": 0.5,
    "wide": 8,
    ### END SOLUTION
}

# %% tags=["check"]
check("04.3", choice)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# The force between points at the distance $r$ is $r\,e^{-r^2/(2h^2)}$. Which $h$ feels nothing at 8 but does at 2? The nearest Gaussian of the ring is at the distance minus 2.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# A kernel smooths whatever it sees with its own width. Neighbours on the ring are 1.5 apart. Try `show(starts=(0, 6), bandwidths=(0.1, 0.5, 2, 8))` in a cell of your own, and look for one that is good above and bad below, and one the other way round.
#
# </details>

# %% [markdown]
# Now your own choice, and a third way beside it: from wide to narrow, by equal factors, in the same 100 steps.

# %% tags=["nbval-ignore-output"]
chosen = [choice.get(name, ...) if isinstance(choice, dict) else ... for name in ("near", "far", "narrow", "wide")]
show(chosen[:2], (*chosen[2:], (chosen[3], chosen[2]))) if ... not in chosen else None

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# *Narrow, from far*: at $r = 6$ and $h = 0.5$ the force is $6\,e^{-72}$. The particles feel only each other, spread a little, and stay. *Wide, from near*: seen with $h = 8$, eight Gaussians at radius 2 and one smooth blob of the same mean and spread are nearly the same cloud. In waves, a kernel weighs a detail of length $\ell$ with $e^{-h^2 (2\pi/\ell)^2/2}$, for $\ell = 1.5$ and $h = 8$ with $e^{-560}$. Twenty times as many steps hardly help: at such a weight there is no force.
#
# A bandwidth between them serves starts between them, such as the two above, and none serves all. The schedule does: wide while the way is long, narrow at its end. It needs no knowledge of where the start is, only of the longest way to expect. This is what the noise level is in the paper, a dial from far to near, with a kernel that is learned at each of its places.
#
# </details>

# %% [markdown]
# ## 04.4 · MMD² from sums
#
# Difficulty 3/5 · 15 minutes · MMD in the objective of the witness
#
# The learned kernel is linear in features, $k(x, y) = \langle \phi(x), \phi(y) \rangle$. Features of $n$ clean points and $m$ noised ones are given. The unbiased estimate is
#
# $$\mathrm{MMD}_u^2 = \frac{1}{n (n - 1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{m (m - 1)} \sum_{i \ne j} k(\tilde x_i, \tilde x_j) - \frac{2}{n m} \sum_{i, j} k(x_i, \tilde x_j) .$$
#
# Write it without a matrix of pairs: with $p$ features the cost must grow like $n p$, not like $n^2$. Features are learned from the result, so gradients must flow through it to both inputs.


# %% tags=["exercise"]
def squared_mmd(clean, noised):
    """The unbiased estimate, from features (n, p) and (m, p): a tensor without axes."""

    ### BEGIN SOLUTION
    def within(features):
        pairs = features.sum(0).square().sum() - features.square().sum()
        return pairs / (len(features) * (len(features) - 1))

    return within(clean) + within(noised) - 2 * clean.mean(0) @ noised.mean(0)
    ### END SOLUTION


# %% tags=["check"]
check("04.4", squared_mmd)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Inner products are linear in each place: $\sum_{i, j} \langle \phi_i, \phi_j \rangle = |\sum_i \phi_i|^2$, with $i = j$ in it.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The terms $i = j$ are $\sum_i |\phi_i|^2$. Take them off, then divide by the number of pairs that are left. The cross term has nothing to take off.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# With the sums $S$ and $\tilde S$ the three means are $(|S|^2 - \sum_i |\phi_i|^2) / (n (n - 1))$, the same for the noised ones, and $\langle S, \tilde S\rangle / (n m)$. A term for each point is all it takes, and the witness needs no more than means either: that is why nothing of the data has to be kept for sampling.
#
# Simpler is $|S/n - \tilde S/m|^2$, the square of the difference of means. It keeps the pairs of a point with itself, which add the variances of the features, $\operatorname{tr}\operatorname{Cov}/n + \operatorname{tr}\operatorname{Cov}/m$. Maximised, it can be raised by features that are nothing but noise. The unbiased one has mean 0 for them, so it is often below 0, and should be.
#
# </details>

# %% [markdown]
# ## 04.5 · Turn off the penalty
#
# Difficulty 4/5 · 20 minutes · the gradient penalty of the objective
#
# The loss of the witness has three terms: minus $\mathrm{MMD}^2$, a penalty on slopes $|\nabla f|$ above 1, and a small shrinkage, the mean of $|\phi|^2$. What if there is no penalty? Here is a witness of eight Gaussians, trained with it and without, and the flow from $\mathcal N(0, I)$ with steps of 0.1. The last number is a repair: at each level the step is divided by the median slope at the particles.

# %% tags=["nbval-ignore-output"]
few, updates = session.pick(smoke=(10, 20), lesson=(200, 400))
points = session.pick(smoke=100, lesson=1000)
for penalty, count in ((1.0, updates), (0.0, few), (0.0, updates)):
    trial = try_penalty(penalty, session.generator(), count, points)
    print(f"penalty {penalty:.0f}, {count} updates: median slope {trial.slope:.2g}, ", end="")
    print(f"distance {trial.before:.3f} -> {trial.after:.3f}, repaired {trial.repaired:.3f}")

# %% [markdown]
# Without it slopes are beyond a million, and grow with every update. A step of 0.1 sends the particles out of what numbers can hold (`nan`). Explain it, and write the repair.
#
# 1. `degrees`: multiply all features by $c$. By which power of $c$ are $\mathrm{MMD}^2$, the penalty for large $c$, and the shrinkage multiplied?
# 2. `best_scale`: a witness has the value `mmd2` $> 0$ and slopes $g_i$ at $n$ points. Which factor $c > 0$ of its features makes $-\mathrm{MMD}^2 + \text{penalty} \cdot \frac1n \sum_i (g_i - 1)^2$ least? This is the paper's penalty, on both sides of 1, and no shrinkage. Give `math.inf` if there is no best one.
# 3. `median_slope`: the median length of $\nabla_x \langle \phi(x), w \rangle$ over given points, the number by which the repair divides.


# %% tags=["exercise"]
degrees = [
    ### BEGIN SOLUTION
    2,
    4,
    2,
    ### END SOLUTION
]


def best_scale(mmd2, slopes, penalty):
    """The best factor of the features, a number; slopes (n,) are lengths."""
    ### BEGIN SOLUTION
    if penalty == 0:
        return math.inf
    first, second = slopes.mean(), slopes.square().mean()
    return ((mmd2 / (2 * penalty) + first) / second).sqrt()
    ### END SOLUTION


def median_slope(features, points, direction):
    """A number; features: callable (n, d) -> (n, p), points (n, d), direction w (p,)."""
    ### BEGIN SOLUTION
    points = points.detach().requires_grad_()
    values = features(points) @ direction
    (slopes,) = torch.autograd.grad(values.sum(), points)
    return slopes.norm(dim=1).median()
    ### END SOLUTION


# %% tags=["check"]
check("04.5", {"degrees": degrees, "best_scale": best_scale, "median_slope": median_slope})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# A kernel is a product of two features. So what happens to $f = \langle \phi, \text{mean difference of } \phi \rangle$, to its slope, and to the square of its slope?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# With $\sigma = c^2$ the loss is $-\sigma\,\mathrm{MMD}^2 + \text{penalty} \cdot \text{mean}\,(\sigma g_i - 1)^2$, a parabola in $\sigma$. And for `median_slope`: each row of the gradient of the *sum* of values is the slope at one point.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# $\mathrm{MMD}^2$ and shrinkage are both of degree 2, the penalty is of degree 4. So without penalty the loss is $c^2$ times a number. As soon as that number is negative, which is when the clouds can be told apart by more than the shrinkage costs, the larger features are, the better: there is no best witness. Training just follows its optimiser outwards, and the length of a slope says how long you trained.
#
# With penalty, $\sigma = c^2 = \frac{\mathrm{MMD}^2 / (2\,\text{penalty}) + \bar g}{\overline{g^2}}$. For equal slopes that makes them $1 + \mathrm{MMD}^2 / (2\,\text{penalty} \cdot g)$: not 1 but somewhat longer, as $\mathrm{MMD}^2$ pulls. A weaker penalty has longer slopes, and its weight is part of the unit.
#
# Does the repair make the penalty needless? It brings the particles back, and they go the right way, but they end several times further from the data than with the penalty. We have not isolated why. One likely reason: the penalty does more than to set one factor. It acts at each point between data and noise, and so it also keeps the *shape* of the witness gentle where particles will pass.
#
# </details>

# %% [markdown]
# ## 04.6 · Which cloud was copied?
#
# Difficulty 2/5 · 10 minutes · the nearest-train ratio
#
# Three clouds in 64 dimensions, and what they should look like: eight Gaussians in a hidden plane, noise elsewhere. The signal distance is the energy distance in that plane to fresh points. One cloud was made from the training points, one is new, and one has never seen the data.

# %%
training, fresh, clouds = three_clouds(session.generator(device="cpu"))
plane = HiddenPlane(64).plane
figure, axes = figures.panels(3, size=(2.6, 2.9))
for place, (name, cloud) in zip(axes, clouds.items()):
    distance = max(0.0, energy_distance(plane(cloud), plane(fresh)).item())
    title = f"{name}: signal distance {distance:.2f}"
    figures.scatter(place, plane(cloud), limit=4, title=title)
alt = "Three clouds in the hidden plane: two with eight groups, one with a single blob."
figures.describe(figure, alt)

# %% [markdown]
# A and B cannot be told apart like this. Write the *nearest-train ratio*: the median, over the points of a cloud, of the distance to the nearest training point, divided by the same median for fresh data. Then say of A, B and C whether it is `"new"`, `"copied"` or `"elsewhere"`. `ratio(clouds["A"], training, fresh)` is the number for A.


# %% tags=["exercise"]
def ratio(points, training, fresh):
    """A number, from clouds (n, d), (m, d) and (k, d)."""

    ### BEGIN SOLUTION
    def typical(cloud):
        return torch.cdist(cloud, training).amin(1).median()

    return typical(points) / typical(fresh)
    ### END SOLUTION


words = [  # of A, B and C
    ### BEGIN SOLUTION
    "copied",
    "new",
    "elsewhere",
    ### END SOLUTION
]

# %% tags=["check"]
check("04.6", {"ratio": ratio, "words": words})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# `torch.cdist(a, b)` holds the distance of each row of `a` to each row of `b`. Over which axis goes the minimum, if each *particle* shall find its nearest training point?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Print the three ratios. One is far below 1. The other two agree, and for them you need the signal distance above.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# A is training points, each coordinate moved by about 0.1: a ratio below 0.1. Its signal distance is as good as that of B, fresh draws, since copies of good data are good data to every test that compares laws. C is $\mathcal N(0, I)$, where the flows start, and its ratio is 1, too: it is as far from the training points as fresh data are, and in the wrong place. So a flow should be drawn with *both* numbers, signal distance against nearest-train ratio.
#
# The median hides what fewer than half of the particles do: with 40 % of exact copies among fresh points the ratio is still above 0.9. Whoever fears a few copies counts particles whose own distance is far below that of fresh data.
#
# </details>

# %% [markdown]
# ## What to read next
#
# - **Back to the lesson**: [its section on failures](../04_mmd_gradient_flow.ipynb) shows where learned levels give nothing, and what beats them.
# - **The method of 04.1, 04.4 and 04.5**: Galashov, De Bortoli and Gretton (2025), *Deep MMD Gradient Flow without Adversarial Training*.
# - **The flow of 04.2 and 04.3**: Arbel, Korba, Salim and Gretton (2019), *Maximum Mean Discrepancy Gradient Flow*.
