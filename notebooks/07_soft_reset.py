# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Soft parameter reset
#
# Networks that keep learning stop being able to learn. Start anew, and you can learn again, but all that you knew is gone. Is there something between the two: to go *part of the way* back to the start? How far? And who says when?
#
# - **You will be able to** see a network lose its plasticity, and say what it has become; draw weights back towards their start by a step that leaves the law of the start alone; let the next batch decide how far; and compare with rivals that were tuned as carefully.
# - **You need first** gradient descent, a softmax, what a Gaussian is, and what is lost on a stream (foundation [f5](f5_learning_on_a_stream.ipynb)). Lesson 06 helps: it drifts a last layer in the same way.
# - **Minutes**: 35 to read, 1 to run, 85 for the exercises.
# - **Paper**: Galashov and others, *Non-Stationary Learning of Neural Networks with Automatic Soft Parameter Reset*, NeurIPS 2024, [arXiv 2411.04034](https://arxiv.org/abs/2411.04034).

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"
drift_lr = None  # of soft reset, to sweep over; None: the tuned one

# %% tags=["setup"]
import torch
from torch.func import functional_call

from companion.methods.soft_reset import SoftReset, StackedMLP, cross_entropy, drift
from companion.teaching import begin, claim
from companion.teaching.lessons import plasticity as lesson
from companion.teaching.lessons import plasticity_views as views
from companion.teaching.records import record
from companion.teaching.widgets import live_drift, live_evidence, live_plasticity

session = begin(PROFILE, SEED, DEVICE)

# %% [markdown]
# ## The question: why does it stop learning?
#
# Take 160 handwritten digits and give each a label at random. A network can learn them by heart. Now give them *new* random labels, and again, sixty times. Every task is as hard as the first, and nothing in one helps in the next. A perceptron (64-64-64-10) sees each digit 15 times per task, in batches of 16. It is asked for its answer **before** it learns a batch: that is how everything here is scored.
#
# How well does it do in the sixtieth task, compared with the first? And compared with a network that is drawn anew whenever a task begins?

# %%
tasks = session.pick(smoke=4, lesson=60)
live = {
    kind: lesson.run(kind, [views.chosen(kind)], "labels", [SEED], tasks=tasks) for kind in ("online SGD", "hard reset")
}
views.tasks_figure(live, tasks)

# %% tags=["claim"]
late, fresh = (views.values("labels", kind, "late") for kind in ("online SGD", "hard reset"))
claim(
    "five seeds: in the last ten of 60 tasks SGD, at its tuned rate, has less than half the accuracy of a network drawn anew for each task",
    max(a / b for a, b in zip(late, fresh)) < 0.5,
    {"SGD at most": max(late), "drawn anew at least": min(fresh)},
)

# %% [markdown]
# It is not that it remembers too much: the tasks have nothing in common, and a network that remembers nothing does better. It has **lost its plasticity**. Watch it happen in a smaller network, trained here in front of you: 32 points with eight numbers each, four classes, new random labels in every task. Press *Play*. Then choose a lower rate: does SGD keep its plasticity? At what price?

# %% tags=["widget"]
live_plasticity(
    *views.small_tasks(),
    title="Who can still learn?",
    alt="Accuracy of each of thirty tasks. Plain gradient descent falls towards guessing; the hard reset, L2-init and soft reset stay where they began. Below, gamma of each layer: it drops where a task begins.",
    note="Every batch is scored before it is learned. Only the hard reset is told where a task begins.",
)

# %% [markdown]
# What has the network of digits become, after sixty tasks? Three things are often named. Neurons that are *silent* for every input pass no gradient on. The features of the last hidden layer may have *collapsed* into few directions. And the weights have *grown*, so that a step of the same size changes less.

# %% tags=["hide-input", "nbval-ignore-output"]
settings = {kind: views.chosen(kind) for kind in ("L2-init", "soft reset")}
if drift_lr is not None:
    settings["soft reset"] = settings["soft reset"] | {"drift_lr": drift_lr}
live |= {kind: lesson.run(kind, [each], "labels", [SEED], tasks=tasks) for kind, each in settings.items()}
record("accuracy of soft reset in the last ten tasks", live["soft reset"].by_task(tasks)[-10:].mean())
rows = lesson.stream("labels", SEED, tasks).features[-160:]
views.inside_table({kind: trace.trainer for kind, trace in live.items()}, rows)

# %% [markdown]
# Here it is the first two. Many of SGD's neurons are silent for every digit, and the features that are left span few directions, or none. Its weights have hardly grown. The other three networks have learned the same sixty tasks, and show nothing of the kind. All of them have been pulled back towards their start: at once, all the time, or when it was asked for.
#
# ## Going back, a part of the way
#
# Let $\theta$ be the weights, and $\mathcal N(\mu_0, \sigma_0^2)$ the law that they were drawn from, each by itself. The paper lets them **drift** towards that law between two batches, by an Ornstein–Uhlenbeck step:
#
# $$\theta' \mid \theta \sim \mathcal N\big(\gamma\,\theta + (1-\gamma)\,\mu_0,\ (1-\gamma^2)\,\sigma_0^2\big), \qquad 0\le\gamma\le1 .$$
#
# With $\gamma=1$ nothing happens. With $\gamma=0$ the weights are drawn anew: a hard reset. In between is a *soft* one. If we believe that $\theta\sim\mathcal N(\mu,\sigma^2)$, then after the drift we believe
#
# $$\tilde\mu = \gamma\mu + (1-\gamma)\mu_0,\qquad \tilde\sigma^2 = \gamma^2\sigma^2 + (1-\gamma^2)\sigma_0^2 .$$
#
# Start with $\gamma$ at 1 and move it down. Then press *Drift* many times: where does the cloud end, and what does it do there?

# %% tags=["widget"]
live_drift(
    title="One drift, many drifts: towards the start, and no farther",
    alt="In the plane of two weights the law of the start is a grey ellipse around 0, the belief about the network a small blue ellipse beside it. A smaller gamma moves the dashed orange ellipse, the belief after one more drift, nearer to the grey one and makes it wider. After many drifts the cloud of particles lies in the grey ellipse and stays there.",
    note="Nothing is learned between these drifts; on a stream each batch draws the belief together again.",
)

# %% tags=["claim"] equation="the Ornstein–Uhlenbeck drift"
belief = tuple(torch.rand(5, generator=session.generator(1, "cpu"), dtype=torch.float64) + 0.1 for _ in range(2))
start = tuple(torch.rand(5, generator=session.generator(2, "cpu"), dtype=torch.float64) + 0.1 for _ in range(2))
still = drift(*start, *start, 0.7)
twice, once = drift(*drift(*belief, *start, 0.8), *start, 0.5), drift(*belief, *start, 0.4)
apart = max((a - b).abs().max() for a, b in zip((*still, *twice), (*start, *once)))
claim(
    "the law of the start stays as it is under a drift, and two drifts are one by the product of their gammas, to ten digits",
    apart < 1e-10,
    apart,
)

# %% [markdown]
# The drift does two things. It brings the weights nearer to where they could learn. And it makes us *less certain* of them. Who is less certain should listen more to the next batch: that will give a larger learning rate.
#
# ## How far? Ask the next batch
#
# A new batch $B$ arrives, $n$ rows with their labels. How probable are these labels, if the weights have drifted by $\gamma$ before?
#
# $$J(\gamma) = \log \int p(B\mid\theta)\; \mathcal N(\theta;\ \tilde\mu(\gamma), \tilde\sigma^2(\gamma))\, d\theta .$$
#
# If the batch is from the present task, the weights as they are explain it best: $J$ is highest at $\gamma=1$. If it is from a new task, weights that have forgotten explain it better. Here is the smallest case, a classifier with two weights. Turn the new task against the old one, and look at the *slope* of $J$ at $\gamma = 1$: it is all that the method uses.

# %% tags=["widget"]
points = torch.randn(24, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
live_evidence(
    points,
    title="Does the next batch want the weights to go back?",
    alt="To the left a batch of labelled points, the task's grey line and the network's blue line with draws of its belief. To the right the log-probability of the batch against gamma. For the same task the curve rises up to gamma = 1; the more the task is turned, and the more rows show it, the steeper it falls towards 1 and the nearer to 0 its top lies.",
    note="Set the angle to 0: gamma stays at 1. Then make a few labels wrong, and the same task asks for a small drift.",
)

# %% [markdown]
# So: start each batch at $\gamma=1$, take one gradient step, and stay within $[0, 1]$,
#
# $$\gamma \leftarrow \mathrm{clip}\Big(1 + \eta\, \frac{dJ}{d\gamma}\Big|_{\gamma=1},\ 0,\ 1\Big).$$
#
# For a network the integral is estimated by draws $\theta' = \tilde\mu + \tilde\sigma\varepsilon$, often by one alone. Then $dJ/d\gamma$ needs no backward pass of its own: it is the gradient of the parameters, multiplied with how they move as $\gamma$ does, and summed. Without noise that is
#
# $$\frac{dJ}{d\gamma}\Big|_{\gamma=1} = -\,\nabla_\theta\Big(\sum_i \ell_i\Big)\cdot(\theta-\mu_0).$$
#
# Read it aloud: $\gamma$ leaves 1 when *descent on the new batch points towards the start*. There can be one $\gamma$ for the whole network, one for each layer, or one for each weight; each sums over its own part. By hand, for one layer, and then as the package has it:

# %% tags=["claim"] equation="the predictive likelihood"
generator = session.generator(3, "cpu")
model = StackedMLP(None, 4, 3, width=8, generator=generator, dtype=torch.float64)
trainer = SoftReset(model, lr=0.1, drift_lr=0.01, posterior_scale=0.5, init_scale=0.3, per="model", generator=generator)
trainer.theta += 0.5 * trainer.noise()  # as if it had learned something
x = torch.randn(16, 4, generator=generator, dtype=torch.float64)
labels = torch.randint(3, (16,), generator=generator)
state = generator.get_state()
_, slope = trainer.log_evidence(cross_entropy, (x, labels), gamma=0.9)

generator.set_state(state)  # the same noise again
noise = trainer.noise()
gamma = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
mean, std = drift(trainer.theta, trainer.std, trainer.init_mean, trainer.init_std, gamma)
weights = dict(zip(trainer.names, trainer.split(mean + std * noise)))
weights = {name: part.view(dict(model.named_parameters())[name].shape) for name, part in weights.items()}
loss = cross_entropy(lambda rows: functional_call(model, weights, (rows,)), (x, labels)).sum()
(exact,) = torch.autograd.grad(-loss, gamma)
claim(
    "the slope by the parameters' own gradient is the derivative through the drifted network, to ten digits",
    (slope - exact).abs() < 1e-10 * exact.abs(),
    slope,
)

# %% [markdown]
# ## One step, and its order
#
# 1. **Score** the batch with the weights as they are.
# 2. **Gamma** from the batch, by the *summed* log-likelihood.
# 3. **Drift**: $\tilde\theta = \gamma\theta + (1-\gamma)\mu_0$.
# 4. **Gradient** step from there, on the *mean* loss, with the rate $\alpha\,\tilde\sigma^2/\sigma^2$.
#
# In practice the width of the belief is not learned, but assumed: $\sigma = s\,\sigma_0$ with $s\le1$. Then the rate is
#
# $$\alpha(\gamma) = \alpha\,\Big(\gamma^2 + \frac{1-\gamma^2}{s^2}\Big),$$
#
# which is $\alpha$ while nothing drifts, and up to $\alpha/s^2$ after a full reset. The order is the honest one: labels choose $\gamma$, so whoever scores a batch *after* that has seen the answers. In code it is one call, and works for any model:
#
# ```python
# trainer = SoftReset(model, lr=0.5, drift_lr=0.002)
# for batch in stream:
#     loss = trainer.step(loss_fn, batch)      # of the batch before it was learned; loss_fn(model, batch) -> (n,)
# ```
#
# Here is $\gamma$ for the digits, one for each layer, over four tasks. The grey lines are where the labels change; nobody tells the network.

# %%
views.gamma_figure(live["soft reset"], steps=150, tasks=min(4, tasks - 1))

# %% tags=["claim"] equation="drift estimation"
inside, change = (views.values("labels", "soft reset", f"gamma {when}") for when in ("inside", "at a change"))
found = views.values("labels", "soft reset", "changes found")
claim(
    "five seeds: gamma finds the changes unaided: its mean over layers is above 0.99 inside tasks and below 0.95 in the first batch of a new one",
    min(inside) > 0.99 and max(change) < 0.95,
    {"inside at least": min(inside), "at a change at most": max(change), "changes found": min(found)},
)

# %% [markdown]
# ## Variations
#
# - *How many $\gamma$?* One for the network, one for each layer, one for each weight.
# - *Without noise.* The belief is taken for a point. Then only its mean moves, and $\gamma$ follows the last formula above.
# - *Proximal.* Instead of one gradient step, a few on $\mathcal L(\theta) + \frac{1}{2\alpha}\sum_i (\theta_i-\tilde\theta_i)^2\,\sigma_i^2/\tilde\sigma_i^2$: learn the batch, and stay near the drifted weights, by their width. We take steps of $1, \frac12, \frac13$; each is then the mean of the gradients met so far.
# - *Bayesian.* Each weight has a width of its own, learned by the gradient through $\mu+\sigma\varepsilon$, and held near the drifted belief by their divergence.
#
# All are one argument away: `per`, `samples`, `update_steps`, `BayesianSoftReset`. Which layers go back, and for how long? The mean over five seeds, on the stream above and on a second one, where each task shows digits with their pixels *permuted* in another way:

# %% tags=["hide-input"]
views.by_age_figure()

# %% [markdown]
# All layers go back, the last a little farther than the others. On random labels it lasts for ten batches, one pass over the 160 digits: each digit surprises once. With permuted pixels it is a smaller step, and over sooner: much of what the network knows still serves.
#
# ## Rivals at equal cost
#
# All networks are the same perceptron, and see the same batches. The rivals are plain gradient descent with something added:
#
# - **Hard reset**: everything drawn anew, at the true changes. It alone is told of them.
# - **L2-init**: a pull, $\lambda(\theta-\theta_0)$, in every step. It is the nearest relative: a drift that never rests.
# - **Shrink & perturb**: in each step the weights shrink a little, and get a little noise.
# - **Dormant neurons**: hidden neurons that are silent on a batch are drawn anew, every 15 batches.
# - **Spectral**: a penalty holds the largest singular value of each layer near 1.
# - **Layer norm** is no way to learn, but another network: hidden layers are normalised before their ReLU.
#
# *Equal budgets.* Each row has the best of 72 settings: 24 drawn from wide ranges, then twice 24 nearer to the best so far; judged by two other seeds on the first 20 tasks. *Equal cost*: soft reset takes two gradients for each batch, one for $\gamma$ and one to learn. A rival in that group takes two steps on each batch. Medians of five seeds, with half of their range.

# %% tags=["hide-input"]
views.rivals_table()

# %% tags=["hide-input"]
views.curves_figure()

# %% tags=["claim"] equation="the soft reset update"
rivals = ("online SGD", "hard reset", "shrink & perturb")
least = {kind: min(views.ahead("labels", "soft reset", kind)) for kind in rivals}
claim(
    "five seeds, random labels: soft reset is ahead of SGD, of a hard reset at the true changes, and of shrink and perturb, on every seed",
    min(least.values()) > 0,
    least,
)

# %% tags=["claim"] equation="the soft reset update"
one, two = (views.ahead("labels", "soft reset", kind) for kind in ("L2-init", "L2-init, 2 steps"))
four = views.ahead("labels", "soft reset, proximal", "L2-init, 4 steps")
claim(
    "five seeds, random labels: soft reset is ahead of L2-init on every seed, but behind L2-init with two steps a batch, which cost the same; at four gradients the two are within 0.03",
    min(one) > 0 and max(two) < 0 and max(map(abs, four)) < 0.03,
    {"ahead of one step": min(one), "behind two": -max(two), "apart at four": max(map(abs, four))},
)

# %% [markdown]
# On **random labels** soft reset keeps the network able to learn, and beats the paper's rivals by far, also the hard reset that is told when. After a change it keeps what still serves, and it starts from weights that have learned before. But read the other rows, too.
#
# - *L2-init* with one step is behind. Give it the second gradient that soft reset spends on $\gamma$, and it is ahead.
# - The *spectral* penalty is ahead with a single gradient, and so, by little, is drawing *dormant neurons* anew. Both mend what the table of silent neurons showed; neither asks whether something has changed. The paper does not compare with them.
# - *Layer norm* alone comes far at first, then loses its plasticity as well. (It was tuned on 20 tasks, and looked safe there.) Together with soft reset, or with L2-init, it helps both.
# - Several $\gamma$ are not better than one. One for each weight is worse: the evidence of 16 digits for a single weight is mostly noise.
# - The best noise is next to none: what counts here is the *way back*, not the width. The row without any should then be the same method. It is behind by a few points, since its search ended at other settings. So take that as the noise of the *search*, and rows within it for level.
# - The *rise* of the learning rate: the best $s$ of the plain row is near 1, so it hardly uses it. The proximal row does.
# - The *Bayesian* form, with two more settings to tune, is level with the plain one.
#
# On **permuted pixels** it is a tie: soft reset, L2-init and shrink & perturb cannot be told apart. There is less to win. SGD is a little behind, and the hard reset is *last*: something is kept from one permutation to the next, and it throws that away. Here each digit is seen once, so a second step on the same batch is worth far more than any $\gamma$. At two gradients and at four, L2-init is ahead.
#
# How sharp is the optimum? Both soft reset and L2-init have one setting that decides between keeping and losing what was learned. Here each is moved away from its best:

# %% tags=["hide-input"]
views.rates_figure()

# %% [markdown]
# And where no reset is needed? The settings of the permuted stream meet two streams that they were not tuned for: one permutation that stays, and two that take turns.

# %% tags=["hide-input"]
views.elsewhere_table()

# %% [markdown]
# This is what asking is good for. The hard reset throws everything away at each "change". L2-init, which pulls all the time, pays a little on both streams. Soft reset is level with SGD: where nothing asks for it, it rests. But look at the rows with layer norm where permutations take turns. There the tuned $\eta$ was five times as large, and soft reset forgets what is asked for again one task later.
#
# ## Where it fails
#
# - *The old comes back.* A reset cannot know that. With a large $\eta$ it throws away what the next task but one will need, as in the table above.
# - *A surprise is not a change.* Mislabelled rows, an odd batch, a class not seen for a while: all make the labels improbable, and $\gamma$ falls. The smaller the batch, the more often.
# - *Its step is delicate.* $\eta$ multiplies a sum over the rows of a batch and over all weights of a layer: another batch size, another width, another $\eta$. Too large, and the network is reset within tasks.
# - *One batch decides.* There is no memory of earlier evidence: a slow change, each step of it too small to be seen, is followed by the gradient alone.
# - *It resets to where it was drawn.* A pretrained network has its start elsewhere; then $\mu_0$ should be the pretrained weights.
# - *Optimisers with memory.* Adam's running means belong to weights that have since been moved. The paper's form is plain gradient descent.
# - *Cost.* A second backward pass for each batch.
#
# ## Real data: will this flight leave late?
#
# The flights of lesson 06: 41,066 departures of 2013 in the order of their schedule, ten by ten. A perceptron with two hidden layers predicts whether they leave late. Nobody planted a change here. Settings are from the first 10,000 flights; the table is about the rest.

# %% tags=["hide-input"]
views.flights_table()

# %% tags=["hide-input"]
views.flights_figure()

# %% [markdown]
# Nothing to win. SGD, L2-init, shrink & perturb and soft reset cannot be told apart, layer norm is ahead by little, and in lesson 06 a linear model did as well. In one year of flights no plasticity is lost, and there is no clean break. Tuning chose a small $\eta$, and $\gamma$ stays next to 1 all year. So soft reset does no harm where it is not needed, *if its step was tuned for that*; and it took twice the gradients to find nothing. (The best rates lie near the lower end of their range.)
#
# With `PROFILE = "full"` networks of 1,024 neurons in each layer learn 1,200 Fashion images by heart, again and again, on a GPU. If it is stopped, it goes on after the last finished task.

# %% tags=["slow"]
if PROFILE == "full":
    print(views.large_run(session.device, SEED))

# %% [markdown]
# ## Common mistakes
#
# - *Scoring after $\gamma$.* The labels chose it. Score first.
# - *The mean where the sum belongs.* $\gamma$ takes the log-likelihood of the whole batch, a sum; the gradient step takes the mean loss. Mix them, and $\eta$ is off by the batch size.
# - *$\gamma$ carried over to the next batch.* It starts at 1 each time.
# - *A small $s$ with a large rate.* After a reset the rate is $\alpha/s^2$: with $s = 0.25$ sixteen times $\alpha$.
# - *A width of 0.* Biases often start at 0, but $\sigma_0$ must not be, nor $s\sigma_0$: the noise's derivative divides by it.
# - *Tuning on a short stream.* Plasticity is lost slowly. A setting that is best on 20 tasks need not be on 60.
# - *Comparing tuned with untuned.* After the first 24 settings, on the seeds of the search, soft reset is ahead of the spectral penalty and of the dormant neurons; after 72 it is behind both. Count the settings, and the gradients.
#
# ## Exercises
#
# The notebook [student/07_soft_reset](student/07_soft_reset.ipynb) holds the exercises, checked as you go: how wide a belief gets, the step itself, what a batch says of $\gamma$, the order of a step, a reset too many, and where plasticity has gone.
#
# ## What to read next
#
# - Galashov and others (2024), the paper of this lesson.
# - Dohare and others (2024), *Loss of plasticity in deep continual learning*: how far it goes, and continual backpropagation.
# - Kumar and others (2023), *Maintaining plasticity in continual learning via regenerative regularization*: L2-init.
# - Lyle and others (2023), *Understanding plasticity in neural networks*: what it is not.
# - Sokar and others (2023), *The dormant neuron phenomenon in deep reinforcement learning*.
# - Lewandowski and others (2025), *Learning continually by spectral regularization*.
# - Lesson 08, where a language model learns from what it reads.
