# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Closed-form last layer: solve what can be solved
#
# With squared loss, the best last layer of a network is a formula. We have known that formula for two centuries, and yet we let gradient descent grope for it, step by step, together with everything else. What happens if we put it in?
#
# - **You will be able to** descend on a backbone whose last layer is always solved, say why no gradient goes through the solve, repair the solve when a batch is too small for it, and tell what the solve itself brought from what came with it.
# - **You need first** ridge regression (foundation [f4](f4_least_squares_with_a_memory.ipynb)), and what a gradient step is. Nothing from the other lessons.
# - **Minutes**: 35 to read, 1 to run, 105 for the exercises.
# - **Paper**: Galashov and others, *Closed-Form Last Layer Optimization*, 2025, [arXiv 2510.04606](https://arxiv.org/abs/2510.04606).

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import math
from statistics import median

import torch

from companion.foundations.linear import ridge
from companion.methods.last_layer import closed_form_loss, deep_iv, squared_loss, train_closed_form
from companion.teaching import Choice, begin, claim, explore
from companion.teaching.lessons import closed_form as lesson
from companion.teaching.lessons import closed_form_bench as bench
from companion.teaching.lessons import closed_form_views as views
from companion.teaching.widgets import live_recursive, live_valley

session = begin(PROFILE, SEED, DEVICE)
sines, digits = (lesson.task(name, SEED).to(session.device) for name in ("sines", "digits"))

# %% [markdown]
# ## The question: why walk where you can jump?
#
# Take a network of two numbers: one feature with one parameter, and one weight after it, $f(x) = w\cos(\theta x)$. Its squared loss is a landscape over $(\theta, w)$. For each $\theta$ the best $w$ is known,
#
# $$w^\star(\theta) = \frac{\sum_i \cos(\theta x_i)\,y_i}{\sum_i \cos^2(\theta x_i)},$$
#
# and these best weights form a **valley**. A descent on both parameters has to find the valley first, and then to follow it. A descent on $\theta$ alone, with $w$ solved, is in the valley from the start and never leaves it.
#
# Drag $\theta$ and see $w$ solved again. Then let both descents run, from here and from $\theta = 4$. Which one arrives first?

# %% tags=["widget"]
generator = torch.Generator().manual_seed(0)  # what the widgets show is the same for every SEED
x = 4 * torch.rand(60, generator=generator, dtype=torch.float64) - 2
y = 0.8 * torch.cos(3 * x) + 0.1 * torch.randn(60, generator=generator, dtype=torch.float64)
live_valley(
    x,
    y,
    title="Solve for w, and only θ is left to walk",
    alt="A map of the loss over theta and w, with the curve of the best w for each theta. Closed form starts on this curve and follows it to theta 3, where the loss is lowest. Joint descent starts far below the curve, climbs to it first and comes later; from theta 4 it falls into another valley and stays there.",
    note="Drag θ, on the map or by its slider: w is solved again at once. From θ = 4 the two ways part.",
    theta=1.8,
    weight=-1.2,
    learning_rate=0.5,
)

# %% [markdown]
# Do not trust one start. From $\theta = 1$ neither leaves the plateau at this rate. With a rate of 2 the joint descent does, since it begins outside the valley, and closed form does not. And on the right the floor of the valley goes up and down. Solving for $w$ takes one direction out of the problem; it does not make the rest convex.
#
# ## The envelope: no gradient through the solve
#
# Now a whole network. Its backbone gives features $\Phi_\theta$, one row for each of $n$ samples, $p$ columns; the last layer $W$ is linear. With a ridge $\beta$,
#
# $$\begin{aligned} \mathcal L(W, \theta) &= \frac1{2n}\,\|Y - \Phi_\theta W\|^2 + \frac\beta2\|W\|^2, \\ W^\star(\theta) &= \Big(\tfrac1n\Phi_\theta^\top\Phi_\theta + \beta I\Big)^{-1}\tfrac1n\Phi_\theta^\top Y. \end{aligned}$$
#
# What is left is a loss of the backbone alone, $\mathcal L^\star(\theta) = \mathcal L(W^\star(\theta), \theta)$. Its gradient has two parts: how $\theta$ changes the loss directly, and how it changes $W^\star$, which changes the loss. The second part is zero: $W^\star$ is where the loss is *flat* in $W$. So (Theorem 1 of the paper; economists call it the envelope theorem)
#
# $$\nabla \mathcal L^\star(\theta) = \frac{\partial \mathcal L}{\partial\theta}\,(W^\star(\theta), \theta).$$
#
# Solve for $W$, treat it as a constant, and call `backward`. There is no graph through the solve, and nothing is approximated. (Differentiating *through* the solve is variable projection, Golub and Pereyra 1973. It gives the same numbers for more work.)

# %% tags=["claim"] equation="Theorem 1"
rows = torch.randn(60, 15, generator=session.generator(1, "cpu"), dtype=torch.float64)
features, targets = rows[:, :12].clone().requires_grad_(), rows[:, 12:]
(envelope,) = torch.autograd.grad(closed_form_loss(features, targets, 0.1), features)
solved = ridge(features, targets, 60 * 0.1)  # this one keeps its graph
through = squared_loss(features, solved, targets) + 0.05 * solved.square().sum()
difference = (torch.autograd.grad(through, features)[0] - envelope).abs().max()
claim("the envelope gradient is autograd's through the solve, to ten digits", difference < 1e-10, difference)

# %% [markdown]
# ## All the data in every step
#
# A task with five outputs, each a sum of sines of a point in the plane, from 1,000 slightly noisy rows. The backbone is a perceptron with 48 features, and a column of ones for the bias: $p = 49$. First every step sees all rows. Both descents below are plain gradient descent, each with the best learning rate of a coarse grid. (Which rates are stable depends on the data, so SGD has its best one for each seed, in hindsight.)

# %% tags=["nbval-ignore-output"]
paths = {}
for method in ("SGD", "full solve, SGD"):
    rate, setting = views.settings("05_full", "constant", method, SEED)
    states = lesson.train_by(method, sines, SEED, 600, None, rate, setting, every=10)
    paths[method] = lesson.follow(states, sines)
    print(f"{method}: learning rate {rate:g}, test loss {paths[method][2][-1]:.2g} after 600 steps")

# %% [markdown]
# The same for five seeds, in steps and in seconds, and with Adam on the backbone. The learning rate is constant here, and the dashed line is where Adam ends. (A solve costs time: each step solves a system of $p \times p$.)

# %% tags=["hide-input"]
views.descent_figure("full", ("SGD", "full solve, SGD", "Adam", "full solve, Adam"))

# %% tags=["claim"] equation="the best last layer"
level = paths["SGD"][2][-1]
here = next(step for step, error in zip(paths["full solve, SGD"][0], paths["full solve, SGD"][2]) if error <= level)
steps = max(here, *views.reached("05_full", "constant", "full solve, SGD", "SGD"))
adam = [views.over("05_full", part, "full solve, Adam", "Adam") for part in ("constant", "cosine")]
claim(
    "five seeds, all rows in each step: closed form with SGD comes down to where SGD ends in at most a tenth of its 600 steps; with Adam it ends below half of Adam's loss, whether the rate is constant or falls",
    steps <= 60 and max(map(max, adam)) < 0.5,
    {"most steps": steps, "of Adam's loss, constant": max(adam[0]), "falling": max(adam[1])},
)

# %% [markdown]
# Look at the learning rates, too. Closed form bears one that is tens of times larger: what made SGD unstable, it seems, was mostly the last layer, which no longer walks. And look at the seconds: a step with its solve costs more, and that hardly shows.
#
# One warning. The best ridge here is tiny, and in *single precision* a solve with so small a ridge breaks down, and training with it. The full solves in our comparisons are in double precision; in your own code, say `solve_dtype=torch.float64`.
#
# ## Small batches: a solve that knows too little
#
# Now draw batches of $b$ rows. When $b < p$ a batch can be fitted exactly. So a solve for the batch alone fits its noise, forgets all other batches, and leaves no error from which the backbone could learn.
#
# The repair is a **proximal** step: stay near the previous $W$, as near as a strength $\lambda$ says,
#
# $$\begin{aligned} W_t &= \arg\min_W\ \frac1{2b}\|Y_B - \Phi_B W\|^2 + \frac\lambda2\|W - W_{t-1}\|^2 \\ &= \Big(\tfrac1b\Phi_B^\top\Phi_B + \lambda I\Big)^{-1}\Big(\tfrac1b\Phi_B^\top Y_B + \lambda W_{t-1}\Big). \end{aligned}$$
#
# Small $\lambda$: a solve of the batch. Large $\lambda$: a step of $-\tfrac1\lambda$ times the gradient, and $W$ hardly moves. Below the features stay as they are, 20 bumps on a line and a constant, so that you see the last layer alone. Play; then move strength and batch size. Predict first: which strength is best for larger batches?


# %% tags=["widget"]
def truth(x, shift=0.0):
    """Two waves, which may have drifted by a shift."""
    return torch.sin(2 * math.pi * (x + shift)) + 0.5 * torch.sin(6 * math.pi * (x + shift))


places, line = torch.rand(40, 32, generator=generator), torch.linspace(0, 1, 201)
noise = 0.3 * torch.randn(40, 32, generator=generator)
live_recursive(
    places,
    truth(places) + noise,
    truth(line),
    title="A proximal step: from over-fitting each batch to a frozen layer",
    alt="A wavy truth, four noisy points and the fit after them. With a small strength the fit runs through the four points and far from the truth elsewhere; with a large one it stays flat. The mean error against the strength is a valley; with batches of 32 its left side sinks.",
    note="Small λ: the fit runs through the batch and swings elsewhere. Large λ: it hardly moves. Try b = 32.",
    batch_size=4,
    strength=0.001,
)

# %% [markdown]
# (Larger batches forgive a weak strength; the best one hardly moves.) In **Algorithm 1** of the paper each batch serves twice: a step on the backbone with the *previous* $W$, then a solve, near that $W$, with the *new* features of the same batch. The order matters: had the solve come first, the batch would be fitted already and its gradient nearly gone. The price is a second forward pass.

# %% tags=["nbval-ignore-output"]
length = session.pick(smoke=60, lesson=900)


def show(mode, **setting):
    """Train in batches of 16 and print the last losses: of the batch before its step, and on new points."""
    common = {"batch_size": 16, "learning_rate": 3e-3, "generator": session.generator(2), "every": 20}
    states = train_closed_form(sines.fresh(SEED), sines.train, length, mode, **setting, **common)
    losses = [(state.loss.item(), sines.error_of(state.predict)) for state in states][-10:]
    print("{}: batch loss {:.2g}, test loss {:.2g}".format(mode, *map(median, zip(*losses))))


show("full", ridge=1e-3)
show("proximal", strength=1.0)

# %% tags=["claim"] equation="Algorithm 1"
gaps = views.over("05_16", "constant", "full solve, Adam", "proximal, Adam")
claim(
    "five seeds, 16 rows for 49 features: solving each batch by itself ends at ten times the loss of the proximal step or more",
    min(gaps) > 10,
    {"smallest ratio": min(gaps), "largest": max(gaps)},
)

# %% [markdown]
# ## Remember more: recursive least squares
#
# The proximal step remembers *where* $W$ was, not how sure it was of it: it holds on to all directions alike. **Recursive least squares** keeps a matrix $A$ of all it has seen, at first $b\lambda I$, and moves far only where it has seen little:
#
# $$\begin{aligned} A &\leftarrow g A + (1 - g)\,b\lambda I + \Phi_B^\top\Phi_B, \\ W &\leftarrow W + A^{-1}\Phi_B^\top(Y_B - \Phi_B W). \end{aligned}$$
#
# The factor $g$ **forgets**: with $g = 0$ it is the proximal step, with $g = 1$ it is ridge regression on everything so far. Here the truth drifts. How much should be forgotten?

# %% tags=["widget"]
shift = torch.linspace(0, 0.1, 40)[:, None]
live_recursive(
    places,
    truth(places, shift) + noise,
    truth(line, shift),
    title="Recursive least squares: how much to forget when the truth drifts",
    alt="A wavy truth that drifts to the left step by step, eight noisy points and three fits. The fit that forgets a little follows it; the fit of all points so far falls behind and its error grows; that of each batch alone is rough. The mean error against the forgetting is lowest between the ends.",
    note="g = 0 is the proximal step, g = 1 the fit of all points so far, which falls behind the drift.",
    batch_size=8,
    strength=0.01,
    forgetting=0.8,
)

# %% [markdown]
# And in the network of above:

# %% tags=["nbval-ignore-output"]
show("recursive", strength=0.1, forgetting=0.9)

# %% [markdown]
# You have just used a **Kalman filter**: $A^{-1}$ is its covariance, and forgetting adds the noise by which the weights are supposed to wander (exercise 5; lesson 06 builds on it). In a network the features move, too, and what $A$ remembers was seen with the features of its time. So we expect less of memory there than on the line.
#
# ## Rivals at equal cost
#
# The sines again, medians of five seeds: test loss times 10,000 at the end of 1,500 steps at batch 16, of 1,000 at batch 128 (Gauss–Newton has 600 and 200), and how soon each comes to where *Adam with a constant rate* ends. In bold what solves by the rules above. New points have no noise, so a loss may fall below that of the training targets' noise, the last row. The rivals:
#
# - **Adam, W at its own rate**: all layers walk; $W$ starts from a ridge solution and has a learning rate of its own.
# - **Adam, gradient step on W**: Algorithm 1 with the solve replaced by a plain gradient step. If this does as well, the solve was not what helped.
# - **Moving average** of the batches' ridge solutions; a **closed-form first layer** (Petersen et al. 2024); and exact **Gauss–Newton**, which linearises all layers at once.

# %% tags=["hide-input"]
views.sines_table("16")

# %% tags=["hide-input"]
views.sines_table("128")

# %% [markdown]
# With 128 rows for 49 features the solve knows enough. The proximal step with Adam ends well below Adam on every seed with a constant rate, comes to Adam's level in about half of the steps, and is ahead in the median when the rate falls. In the median the control stays far above: no single rate seems to suit all directions of $W$. Even a ridge of each batch alone is ahead of Adam, until the rate falls. Memory brings nothing beyond the proximal step.
#
# With 16 rows the lead melts. With a constant rate the proximal step is ahead of Adam on most seeds, but so is the control, now better, now worse. When the rate falls, Adam, memory and the proximal step end together in the median, and the control behind them.
#
# Lowest of all, with a constant rate, is Gauss–Newton, which solves for all layers. It comes to Adam's level in very few steps. But a step costs several of Adam's with 16 rows, and almost a hundred with 128: in seconds it is level there, and far behind here. Settings were chosen on two other seeds (with SGD again in hindsight, seed by seed); methods with two settings had more to choose from, and some took the end of their grid.
#
# ## Real data: digits as regression
#
# Classification, too, can be squared loss: one output for each class, target 1 for the right one. Handwritten digits, 1,200 to learn from, batches of 128 or 16.

# %%
rate, strength = views.settings("05_real", "digits 16", "proximal, Adam", SEED)
*_, state = lesson.train_by("proximal, Adam", digits, SEED, 600, 16, rate, strength, every=600)
views.missed_figure(lambda x: state.predict(x.to(session.device)).cpu(), SEED)

# %% tags=["hide-input"]
views.digits_table()

# %% tags=["claim"] equation="Algorithm 1"
ours = views.over("05_real", "digits 16", "proximal, Adam", "Adam")
control = views.over("05_real", "digits 16", "Adam, gradient step on W", "proximal, Adam")
claim(
    "five seeds, digits, batches of 16, constant rate: the proximal step ends below four fifths of Adam's loss on every seed, and so does the plain gradient step on W, at most a tenth above it",
    max(ours) < 0.8 and max(control) < 1.1,
    {"proximal over Adam, largest": max(ours), "gradient step over proximal, largest": max(control)},
)

# %% [markdown]
# So squared loss is a fair classifier, and the proximal step comes down much sooner than Adam on all layers. (When the rate falls, about half of its lead at batch 16 is gone.) A ridge of each batch of 16 takes a third of the images for others. **But look at the control.** The best strength here is large, and a proximal step of large strength *is* very nearly a gradient step of rate $1/\lambda$. That plain step, with its own rate and a careful start, does just as well, and even Adam gains most of it once $W$ has a rate of its own. On digits the lesson is not "solve"; it is "the last layer wants another learning rate than the rest". Counted in wrong images, a few of 597, the good methods cannot be told apart.
#
# And sometimes there is nothing to win. On the *diabetes* data (300 patients, ten measurements) Adam, SGD, the proximal step and a linear ridge regression on the raw inputs all end at the same loss, to a few per cent.
#
# ## A hidden cause: instrumental variables
#
# Those who take most of a drug are often the most ill, since it is the ill who take it. Regression would blame the drug. Let $x$ be the treatment, $y$ the outcome, and $e$ something unseen that moves both; here $y = \sin(x) + e + \text{noise}$ and $x = z_1 + e + \text{noise}$. An **instrument** $z$ moves $x$, knows nothing of $e$ and has no other way to $y$ (here $z_2$ moves nothing). So ask how $y$ changes with that part of $x$ which $z$ predicts. With features of both, that takes two regressions, one after the other (Xu et al. 2021),
#
# $$\begin{aligned} V &= \arg\min \|\psi(x) - [\phi(z), 1] V\|^2, \\ u &= \arg\min \|y - [[\phi(z), 1]V, 1]\,u\|^2, \\ \hat f(x) &= [\psi(x), 1]\,u , \end{aligned}$$
#
# and both have a linear last layer. So both are solved in each batch, by proximal steps, while $\phi$ descends on the first loss and $\psi$ on the second. (One gradient does go through a solve here: $V$ depends on $\psi$ through its *targets*, and minimises another loss than the one that is trained.)

# %%
first, second = lesson.confounded(SEED, bench.IV_ROWS)
steps = session.pick(smoke=50, lesson=bench.IV_STEPS)
common = {"batch_size": bench.IV_BATCH, "learning_rate": 3e-3, "cosine": True, "generator": session.generator(3, "cpu")}
*_, naive = train_closed_form(lesson.bounded(1), first[1:], steps, ridge=1e-4, **common)
phi, psi, outcomes = lesson.bounded(2), lesson.bounded(1), (second.instrument, second.outcome)
*_, found = deep_iv(phi, psi, first[:2], outcomes, steps, strengths=(0.03, 0.1), **common)
views.structure_figure({"regression": naive.predict, "two stages, closed form": found.predict}, first)

# %% tags=["hide-input"]
views.instruments_table()

# %% tags=["claim"]
of_regression, of_each_batch = (
    views.ratios(views.instrument_errors("deep, proximal"), views.instrument_errors(name))
    for name in ("regression on the treatment", "deep, ridge of each batch")
)
claim(
    "five seeds: with proximal stages the structural error is less than half of regression's, and less than that of stages solved for each batch alone",
    max(of_regression) < 0.5 and max(of_each_batch) < 1,
    {"of regression's, largest": max(of_regression), "of each batch alone, largest": max(of_each_batch)},
)

# %% [markdown]
# Regression is far off, since it follows the cloud. A ridge for each batch alone is better. The proximal stages come much nearer, and need no last fit to all rows (*refit*) at the end. But mind the row of **polynomials**. With one treatment that you can plot, two-stage least squares on a few powers is at least as good, in no time; deep features are for treatments and instruments that are images or long vectors. And all settings were chosen by the true error, which nobody knows outside of a toy. The last row is regression where $e$ does not reach $y$: an easier problem.
#
# ## From fields to fields: a neural operator
#
# A **Fourier neural operator** (Li et al. 2021) maps functions to functions. Ours learns Darcy flow: from where the ground is permeable to the pressure of water in it, $-\nabla\cdot(\text{permeability}\;\nabla\,\text{pressure}) = 1$. Its last layer is linear at *every grid point*. So a batch of 20 fields on a grid of 16 × 16 gives 5,120 rows for 33 unknowns: the solve is cheap and sure of itself.

# %%
flow = lesson.task("darcy", SEED).to(session.device)
rate, strength = views.settings("05_darcy", "constant", "proximal, Adam", SEED)
length = session.pick(smoke=20, lesson=400)
*_, operator = lesson.train_by("proximal, Adam", flow, SEED, length, 20, rate, strength, every=length)
views.flow_figure(operator.predict, flow)

# %% [markdown]
# The error below is relative, its length over that of the field, on 100 new fields, in per cent; medians of five seeds.

# %% tags=["hide-input"]
views.darcy_table()

# %% tags=["claim"] equation="Algorithm 1"
constant, cosine = (views.over("05_darcy", part, "proximal, Adam", "Adam") for part in ("constant", "cosine"))
claim(
    "five seeds, Darcy flow, 400 steps: the proximal step ends below Adam on every seed, with a constant rate and along a cosine",
    max(constant) < 1 and max(cosine) < 1,
    {"constant, largest ratio": max(constant), "cosine, largest ratio": max(cosine)},
)

# %% [markdown]
# A lower error after as many steps, with both schedules, and Adam's own error in about half of the steps. The second forward pass makes a step dearer, but not so much that the lead in seconds is lost. Here the solve is worth its name: in the median the plain gradient step on $W$ gets half to two thirds of the gain. (When the rate falls, Adam and the proximal step took the largest rates that they were offered.)
#
# ## Does it get stuck?
#
# Solving for $W$ leaves a loss that is not convex in $\theta$: the winding floor of the valley. It even has points where all features are zero, the gradient with them, and nothing ever moves. The paper's Theorem 4 says that in the limit of **infinite width**, with a kernel that is positive definite, gradient flow on $\mathcal L^\star$ reaches a global optimum all the same. We cannot show infinity, but we can widen a network and watch. One hidden layer, two periods of a sine, gradient descent in the same time for all widths, five starts.


# %% tags=["widget"]
def width(features):
    """Descents on the reduced loss from five starts, and where those of all widths end."""
    return views.width_figure(features)


explore(width, title="Wider and wider", features=Choice(list(bench.WIDTHS), 8, "Features"))

# %% [markdown]
# Two features get nowhere, whatever the start, and four not far. With eight, some starts wait on a plateau for most of the time. From sixteen on every start ends at about the same loss, and the curves draw nearer to each other. That is what one would hope from the theorem, and no more than a picture of it. The theorem belongs to the *neural tangent kernel* regime, where networks are so wide that their kernel stays. Here the rate grows with the width, and the kernel of the features moves at every width.
#
# ## Where it fails
#
# - *Losses without a formula.* With cross-entropy the best last layer has no closed form, and squared loss must serve.
# - *Batches much smaller than the features, with a small strength*: the solve learns the batch by heart, and training may blow up (exercise 4).
# - *A second knob.* The strength must be tuned along with the learning rate, and the best one depends on the batch size.
# - *Single precision with a tiny ridge*: see above.
# - *Small batches and a learning rate that falls*: on the sines Adam catches up, on digits halfway.
# - *Wide last layers.* A solve costs $p^3$, or $b^3$ if the batch is smaller: cheap at 256, not at 10,000.
# - *Where the last layer is not the difficulty*, as on diabetes, it brings nothing.
#
# With `PROFILE = "full"` the operator learns on a grid of 64 × 64, on a GPU.

# %% tags=["slow"]
if PROFILE == "full":
    fine = lesson.task("fine darcy", SEED).to(session.device)
    states = lesson.train_by("proximal, Adam", fine, SEED, 2000, 20, rate, strength, cosine=True, every=100)
    _, _, errors = lesson.follow(states, fine)
    print(f"relative error {errors[-1]:.4f}")

# %% [markdown]
# ## Common mistakes
#
# - *Differentiating through the solve* "to be exact". The envelope is exact.
# - *Another ridge in the solve than in the loss that is watched.* The gradient belongs to the loss with the solve's own ridge.
# - *No bias*: without a column of ones the solve has a harder problem than `nn.Linear`.
# - *Solving with old features.* Algorithm 1 solves after the backbone has moved; with the features of before, $W$ is a step late.
# - *Comparing with Adam at one learning rate for all layers*, and crediting the solve with what a second rate would have done.
# - *Counting steps only.* A step here has two forward passes and a solve.
#
# ## Exercises
#
# The notebook [student/05_closed_form_last_layer](student/05_closed_form_last_layer.ipynb) holds the exercises, checked as you go: the slope that needs no graph, the smaller of two systems, both ends of the strength, a strength that breaks training, the filter behind the recursion, what the solve did, and the instrument.
#
# ## What to read next
#
# - Galashov and others (2025), the paper of this lesson.
# - Golub and Pereyra (1973), *The differentiation of pseudo-inverses and nonlinear least squares problems whose variables separate*: variable projection.
# - Xu et al. (2021), *Learning deep features in instrumental variable regression*.
# - Li et al. (2021), *Fourier neural operator for parametric partial differential equations*.
# - Jacot, Gabriel and Hongler (2018), *Neural tangent kernel*.
# - Lesson 06, where the last layer of a classifier is tracked by a Kalman filter.
