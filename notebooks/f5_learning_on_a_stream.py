# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Learning on a stream
#
# Data often come one row at a time, and do not wait. A model predicts a row, is told the answer, learns, and meets the next. Meanwhile the world may change. How do we score such a model fairly? How fast should it learn? And can it become unable to learn at all?
#
# - **You will be able to** score a learner test-then-train, say what its regret is and against whom, tell kinds of drift apart, choose a step size for a drift, see a network lose its plasticity, and say what a reset buys and costs.
# - **You need first** least squares, gradient descent, variances of sums, and what a neural network is.
# - **Minutes**: 20 to read, 1 to run, 25 for the exercises.
# - **Needed by** lessons [06](06_kalman_online.ipynb), [07](07_soft_reset.ipynb), [08](08_dynamic_evaluation.ipynb) and [10](10_nevis.ipynb).

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import torch

from companion.foundations.online import run_stream
from companion.foundations.tracking import best_rate, regret, track, tracking_error
from companion.methods.rivals.online import SoftmaxSGD
from companion.teaching import Choice, begin, claim, explore, figures
from companion.teaching.lessons import learning_stream_views as views

session = begin(PROFILE, SEED, DEVICE)

# %% [markdown]
# ## Test, then train
#
# On a stream there is no test set. There is something better: every row is new *once*. So predict it first, keep the score, and only then learn from it. This is **prequential** evaluation (Dawid 1984), or *test-then-train*. Nothing is ever tested after it was learned from, and no row is wasted.
#
# Does the order matter so much? Let the labels be coin flips. There is nothing to learn. We score each row twice: before the learner has seen its label, and just after.

# %%
generator = session.generator(device="cpu")
rows, coins = torch.randn(400, 30, generator=generator), torch.randint(2, (400,), generator=generator)
before, after = [], []
for row, coin, state in zip(rows, coins, run_stream(SoftmaxSGD(30, 2, 1.0), rows, coins)):
    before.append(state.correct)  # scored by the learner as it was
    after.append(state.learner.log_probabilities(row[None]).argmax(1) == coin)
figure, (axes,) = figures.panels(1, size=(6.4, 2.6))
for scores, colour, name in ((after, figures.RIVAL, "train, then test"), (before, figures.LEARNED, "test, then train")):
    axes.plot(*views.window_means(torch.cat(scores), 60), color=colour, label=name)
axes.axhline(0.5, color=figures.EXACT, label="exact: a coin")
axes.set(xlabel="row", ylabel="share right", ylim=(0, 1.05))
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
figures.describe(figure, "Scored after learning nearly all rows are right; scored before, half of them, as it must be.")

# %% [markdown]
# Train first, and a learner that knows nothing looks brilliant. It has merely copied the answer.
#
# ## Kinds of drift
#
# The law of a row is that of its input $x$ and of its label given the input, $P(x)\,P(y\mid x)$. Either may change. If $P(y\mid x)$ does, old answers become *wrong*: a drift of the **labels** (often *concept drift*; not *label shift*, a change of $P(y)$). If only $P(x)$ does, old answers stay right but are asked for in new places: a drift of the **inputs** (*covariate shift*). Each can be **sudden** or **gradual**; a sudden drift of the inputs is not drawn.
#
# Below, one learner stops after the first rows (dotted line) and the other never does. Which drifts hurt the one that stopped? In the last column the rule, a bent curve, never changes.

# %%
views.drift_figure(SEED, n=session.pick(smoke=300, lesson=900))

# %% [markdown]
# All three hurt it. In the last column a straight line fits the curve only near the points it was taught on, so even a fixed rule must be learned again. A model able to hold the *whole* rule would not suffer, had it seen those places.
#
# ## Regret: compared with whom?
#
# Is an error of 3 bad? That depends on what was possible. **Regret** subtracts the loss of a comparator, chosen *in hindsight*, with all answers known. For losses $\ell_t$ and predictions $p_t$ (Cesa-Bianchi and Lugosi 2006, ch. 1 and 2),
#
# $$R_T = \sum_{t=1}^T \ell_t(p_t) \;-\; \min_{p} \sum_{t=1}^T \ell_t(p).$$
#
# Take the smallest case, which we keep for a while: predict a number $y_t$, with $\ell_t(p) = (y_t-p)^2$. The best fixed $p$ is the mean of all the $y_t$. Regret against one fixed prediction is called **static**. On a stream without drift, with noise of variance $r$, the running mean has expected static regret $r\,(1 + \sum_{t<T} 1/t)$ when its first guess is the true mean: about $r\log T$, a price per row that goes to nothing.
#
# With drift the best *fixed* prediction is a weak opponent. So compare with the best one **for each segment** as well. Here the mean switches between two values; the learner steps by a rate $a$ towards each answer:
#
# $$p_{t+1} = p_t + a\,(y_t - p_t).$$
#
# This is a gradient step on $\frac12(y_t-p)^2$. Expanded, $y_{t-k}$ counts in $p_{t+1}$ with weight $a(1-a)^k$: each row multiplies the weight of the older ones by $1-a$, so about $1/a$ rows are remembered.

# %%
rates = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8]
switching, changes = views.switching_mean(1000, 50, 40, generator=generator)
static = [regret(switching, track(switching, a)).mean().item() / 1000 for a in rates]
segments = [regret(switching, track(switching, a), changes).mean().item() / 1000 for a in rates]
views.regret_figure(rates, static, segments, session.pick(smoke=100, lesson=1000), generator)

# %% tags=["claim"] equation="Cesa-Bianchi and Lugosi 2006, regret"
values = {"one for all": min(static), "one per segment": min(segments)}
claim(
    "where the mean switches, the best rate has negative regret against one fixed prediction and positive against one per segment",
    min(static) < -0.3 and min(segments) > 0.1,
    values,
)

# %% [markdown]
# **Static regret can be negative.** That is no bug: whoever moves can beat whoever stands still. So always say who the comparator is.
#
# ## How fast? An exact answer
#
# Both ends of the right panel are bad. A small rate *lags*; a large one chases *noise*. In one case we can solve the dilemma. Let the mean $\mu_t$ wander, by independent steps of variance $q$, and let $y_t$ be $\mu_t$ plus noise of variance $r$. The error $\mu_t - p_t$ is first shrunk by $1-a$, then gets the new step and a share $a$ of the noise. So its variance $V$ settles where $V = (1-a)^2 V + q + a^2 r$:
#
# $$V(a) = \underbrace{\frac{q}{a(2-a)}}_{\text{lag}} + \underbrace{\frac{a\,r}{2-a}}_{\text{noise}}, \qquad a^\star = \frac{2}{1+\sqrt{1+4r/q}} .$$
#
# The best rate $a^\star$ is the settled gain of a *Kalman filter* (Kalman 1960; Muth 1960): here plain gradient descent, with the right rate, ends up as good as the best filter. For slow drift $a^\star\approx\sqrt{q/r}$. Grey is $V$, exact; blue is gradient descent on streams.

# %%
steps = [0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9]
runs = session.pick(smoke=40, lesson=60)
errors = {q: views.measured_errors(steps, q, generator, runs=runs) for q in (0.001, 0.03, 1.0)}
views.rates_figure(steps, errors)

# %% tags=["claim"] equation="Muth 1960, the best constant rate"
ratios = [found / tracking_error(a, q) for q, row in errors.items() for a, found in zip(steps, row) if a >= 0.04]
off = max(abs(ratio - 1) for ratio in ratios)
lost = max(tracking_error(steps[row.index(min(row))], q) / tracking_error(best_rate(q), q) for q, row in errors.items())
claim(
    "gradient descent has the exact tracking error, and its best measured rate is as good as the Kalman gain, both within a fifth",
    off < 0.2 and lost < 1.2,
    {"off by a share of": off, "best measured over best exact": lost},
)

# %% [markdown]
# Now turn both. Start with the drift at 0: a smaller rate is better in the end, but slower to get there. Then let the mean wander faster, and find for each drift the rate whose grey curve settles on the dashed line. Look at the upper panel too: does the prediction come late, or does it tremble?

# %% tags=["widget"]
rate = Choice([0.02, 0.1, 0.3, 0.6, 1.0], 0.1, "Rate a")
drift = Choice([0.0, 0.1, 0.3, 1.0], 0.3, "Drift: √q, one step of the mean")
explore(views.tracker_figure, title="Lag or noise?", alt=views.TRACKER_ALT, rate=rate, drift=drift)

# %% [markdown]
# ## Loss of plasticity, and what a reset is
#
# A tracker can always move. A *network* may lose that. Small ReLU networks learn 16 points with random labels by heart. Then the labels are drawn again, for the same points: a new task, as hard as the first. A network that has learned task after task learns the later ones **worse than a freshly drawn one**. This is **loss of plasticity** (Dohare and others 2024; Lyle and others 2023).
#
# Each task shows its points eight times, four at a time. A batch is scored just before its step, and the curves average all eight passes. So from the second pass on the rows are no longer new: the score says how *fast* a network learns by heart, not how well it predicts.
#
# A **reset** changes the weights without looking at data, so that learning works again. Here are three kinds, and doing nothing: `theta` are the weights as they are, `start` as they were first drawn, `fresh` a new draw. The factors are ours.

# %%
resets = {
    "nothing": lambda theta, start, fresh: theta,
    "hard reset": lambda theta, start, fresh: fresh,
    "shrink and perturb": lambda theta, start, fresh: 0.7 * theta + 0.5 * fresh,
    "towards the start": lambda theta, start, fresh: 0.5 * theta + 0.5 * start,
}
tasks = session.pick(smoke=20, lesson=30)
draws = session.generator(5, "cpu")
changed = {"all labels drawn again": 1.0, "a quarter drawn again": 0.25}
found = {name: views.task_after_task(resets, share, draws, tasks=tasks, lr=0.2) for name, share in changed.items()}
views.tasks_figure(found)

# %% [markdown]
# Left, all labels are drawn again each time: whoever was never reset sinks towards guessing (dotted), and many of its neurons are silent for every point, so no gradient passes through them (right; see Sokar and others 2023). Each reset helps. In the middle most of what was known still holds. There the hard reset is the *lowest* curve: it throws away what was known. That is the **cost of a reset**. The two softer ones (Ash and Adams 2020, in another setting; Kumar and others 2023 pull at every step) keep a part of both. Each curve is the mean of five networks, with their range.

# %% tags=["claim"]
whole, quarter = found.values()
others = [way for way in resets if way != "hard reset"]
gains = {
    "least gain of a reset, all": min((whole.late(way) - whole.late("nothing")).mean() for way in list(resets)[1:]),
    "least loss by the hard one, a quarter": min(
        (quarter.late(way) - quarter.late("hard reset")).mean() for way in others
    ),
}
claim(
    "on the last tasks every reset helps where all labels are drawn again; where a quarter are, a hard reset is the worst of all",
    min(gains.values()) > 0.08,
    gains,
)

# %% [markdown]
# ## Where it fails
#
# - *The best rate needs $q$ and $r$*, and they change as well. Lesson 06 learns its forgetting from the stream.
# - *After a jump no constant rate is right*: it should be large for a moment, then small.
# - *A reset needs a moment and an amount.* Ours are told when tasks begin. Lesson 07 asks the next batch instead.
# - *Our networks are tiny and their rate is high.* At a lower rate plasticity fades more slowly, and each task is learned more slowly as well.
#
# ## Common mistakes
#
# - Scoring a batch after learning it, or choosing a rate by the same stream's end and reporting its beginning.
# - Reporting regret without its comparator.
# - Calling every fall in accuracy *forgetting*. Forgetting is about the old; plasticity is about the new.
# - Thinking an input drift harmless because the rule stays.
#
# ## Exercises
#
# Derive a best rate, and write tracker and regret yourself: [student/f5_learning_on_a_stream](student/f5_learning_on_a_stream.ipynb).
#
# ## What to read next
#
# - Lesson [06](06_kalman_online.ipynb) for the filter, [07](07_soft_reset.ipynb) for soft resets, [08](08_dynamic_evaluation.ipynb) for a language model on a stream, [10](10_nevis.ipynb) for a stream of tasks.
# - Dawid (1984), *Statistical theory: the prequential approach*.
# - Cesa-Bianchi and Lugosi (2006), *Prediction, Learning, and Games*.
# - Dohare and others (2024), *Loss of plasticity in deep continual learning*. All that is cited here stands in the book's [references](../book/references.md).
