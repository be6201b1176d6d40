# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Kalman filter for online classification
#
# A model that learns as it goes must also forget: what was true last month may be wrong today. But how fast? Forget too slowly and the past holds you back. Forget too fast and you never know anything well. Can a model find the right speed *while it is being tested*?
#
# - **You will be able to** track a last layer with a Kalman filter, score a model on a stream without fooling yourself, let it learn how much to forget, and say when a steady forgetting is the wrong thing to do.
# - **You need first** ridge regression and the Kalman filter of foundation [f4](f4_least_squares_with_a_memory.ipynb); what a stream is ([f5](f5_learning_on_a_stream.ipynb)). Lesson 05 helps: its recursive least squares is this filter without drift.
# - **Minutes**: 35 to read, 1 to run, 90 for the exercises.
# - **Paper**: Titsias and others, *Kalman Filter for Online Classification of Non-Stationary Data*, ICLR 2024, [arXiv 2306.08448](https://arxiv.org/abs/2306.08448).

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import numpy as np
import torch
from filterpy.kalman import KalmanFilter

from companion.foundations.linear import ridge
from companion.methods.kalman import KalmanHead, centred_one_hot
from companion.teaching import Choice, begin, claim, explore
from companion.teaching.lessons import kalman_streams as lesson
from companion.teaching.lessons import kalman_views as views
from companion.teaching.widgets import live_forgetting, live_stream

session = begin(PROFILE, SEED, DEVICE)

# %% [markdown]
# ## The question: how fast should a model forget?
#
# A curve drifts, then jumps. You see one noisy point at a time. A **filter** keeps a belief about the curve: the blue line and a band of two standard deviations. Between two points it forgets a little, as much as $\gamma$ says; with $\gamma = 1$ it forgets nothing.
#
# Start with $\gamma = 1$ just after the jump. How wrong is the filter, and how wrong does it *think* it is? Then move $\gamma$. And before you look at the panel below: how would you choose $\gamma$, if you never saw the grey curve?

# %% tags=["widget"]
generator = torch.Generator().manual_seed(0)  # what the widgets show is the same for every SEED
live_forgetting(
    *views.wandering_curve(generator),
    title="How much of the past should the filter keep?",
    alt="A curve that drifts and then jumps, the filter's mean with a band of two standard deviations, and the last points. With gamma = 1 the band is thin and far from the curve after the jump; with a small gamma it is wide and the mean falls back to 0 where no point came lately.",
    note="Try γ = 0.5, then the one that test-then-train calls best, and play.",
    bumps=16,
    weight_variance=0.5,
    noise_variance=0.09,
    gamma=1.0,
    step=165,
)

# %% [markdown]
# One panel needs no grey curve. Before each point is used, ask the filter how probable that point is; *then* let it learn. The mean of these log-probabilities can be known by anybody who has only the stream, and it is highest near the $\gamma$ that tracks best. **Test, then train**: that is how everything in this lesson is scored.
#
# ## The model: weights that wander
#
# Let $\phi_n\in\mathbb R^m$ be the features of row $n$, and $W_n$ ($m\times K$) the last layer, a column for each class. Let $w_n$ be one of its columns. The paper supposes that the weights **wander**, but not away: each step shrinks them by $\gamma$ and adds just enough noise to keep their variance,
#
# $$w_n \mid w_{n-1} \sim \mathcal N\big(\gamma\, w_{n-1},\ (1-\gamma^2)\,\sigma_w^2 I\big), \qquad w_0\sim\mathcal N(0, \sigma_w^2 I).$$
#
# This is an *Ornstein–Uhlenbeck* step. If all beliefs are Gaussian, with mean $M$ and covariance $A$, everything is exact, and it is a **Kalman filter**. *Predict*, *then update* with the target $y_n$, of noise $\sigma^2$:
#
# $$\begin{aligned} M^- &= \gamma M, & A^- &= \gamma^2 A + (1-\gamma^2)\,\sigma_w^2 I, \\ G &= \frac{A^-\phi}{\sigma^2 + \phi^\top A^-\phi}, & M &= M^- + G\,(y - M^{-\top}\phi)^\top, \\ && A &= A^- - G\,\phi^\top A^- . \end{aligned}$$
#
# With $\gamma=1$ it is ridge regression on all rows so far, one row at a time. The targets do not enter $A$: so *all classes share one covariance*, and a row costs $O(m^2 + mK)$. A *block* of rows can be absorbed at once, with one drift before it; $\gamma$ then counts blocks. Let us hold it against ridge regression, and for $\gamma < 1$ against the filter of another package.

# %% tags=["claim"] equation="the parameter drift; the Kalman update"
rows = torch.randn(40, 12, generator=session.generator(1, "cpu"), dtype=torch.float64)
features, targets = rows[:, :8], rows[:, 8:]
static, drifting = (KalmanHead(8, 4, noise_variance=0.3, gamma=gamma) for gamma in (1.0, 0.9))
reference = KalmanFilter(dim_x=8, dim_z=5)
reference.x, reference.P, reference.F = np.zeros((8, 4)), np.eye(8), 0.9 * np.eye(8)
reference.Q, reference.R = (1 - 0.9**2) * np.eye(8), 0.3 * np.eye(5)
for x, y in zip(features.split(5), targets.split(5)):  # in blocks of five: one drift, then all five at once
    for head in (static, drifting):
        head.update(x, y)
    reference.predict()
    reference.update(y.numpy(), H=x.numpy())
apart = (static.mean - ridge(features, targets, 0.3)).abs().max()
other = max(abs(reference.x - drifting.mean.numpy()).max(), abs(reference.P - drifting.covariance.numpy()).max())
claim(
    "gamma = 1 is ridge regression, and gamma = 0.9 is filterpy's Kalman filter, to ten digits",
    max(apart, other) < 1e-10,
    {"from ridge": apart, "from filterpy": other},
)

# %% [markdown]
# How long does it remember? What has been learned is $\sigma_w^2 I - A$, and each step leaves $\gamma^2$ of it. With $\gamma = 0.99$ half is gone after 35 rows, *in all $m$ directions*, also in those that the new rows do not ask about. That is why sensible values look like 0.9995.
#
# ## Classes: the softmax comes back for the prediction
#
# A class is no Gaussian number. The paper uses a Gaussian only where it must: for the *update*, where a class becomes a centred one-hot row, $1 - \frac1K$ at the class and $-\frac1K$ elsewhere. The *prediction* keeps the softmax. By the belief, the $K$ outputs are $f\sim\mathcal N(M^{-\top}\phi,\ v I)$ with $v = \phi^\top A^-\phi$, and the probability of a class is their **average softmax**, over some draws:
#
# $$p(y = c) = \mathbb E_f\ \mathrm{softmax}(\alpha f)_c .$$
#
# A scale $\alpha$ is needed, since outputs near 0 and 1 make a very flat softmax. Here are 1,500 digits of a stream, each predicted before it was learned; see what that is in code: two calls.

# %%
stream = lesson.digit_rows("abrupt", SEED)
x, labels = stream.features[: 5 * lesson.SEGMENT], stream.labels[: 5 * lesson.SEGMENT]
targets = centred_one_hot(labels, 10)
head, beliefs = KalmanHead(100, 10, weight_variance=0.1, noise_variance=0.001, gamma=0.9997), []
for row, target in zip(x.split(1), targets.split(1)):
    beliefs.append(head.predict(row))  # test,
    head.update(row, target)  # then train
means, variances = (torch.cat(part) for part in zip(*beliefs))


# %% tags=["widget"]
def calibration(alpha):
    """Does it happen as often as it says?"""
    return views.calibration_figure(means, variances, labels, alpha)


alphas = [1.0, 2.0, 4.0, 7.0, 10.0, 15.0, 25.0, 50.0, 100.0]
explore(
    calibration,
    title="How sharp should the softmax be?",
    alt="Left, the share of right answers against the probability given: above the diagonal for a small alpha, near it at 7, below it for a large one. Right, the log-loss against alpha: a valley near 7; beyond it the curve that takes W for certain climbs faster.",
    alpha=Choice(alphas, 2.0, "α"),
)

# %% [markdown]
# Small $\alpha$: it is more often right than it says. Large $\alpha$: it is all but certain, and wrong too often. In between the points lie near the diagonal, and there the **log-loss**, minus the mean log-probability of the labels, is lowest. So $\alpha$ is *learned*, by a gradient step on the log-probability of each label after it has been scored.
#
# Now compare the curves on the right. At the best $\alpha$ the average softmax is about as good as one that takes $W$ for certain: a filter that knows little has a mean near 0, and that is flat by itself. Where $\alpha$ is too large, the average costs less, since the variance $v$ flattens what is not known. How much it flattens hangs on the prior: we chose $\sigma_w^2 = 0.1$, so that by the prior the outputs have about the variance of the targets. The variance has another use, which comes next.
#
# ## Learn to forget
#
# And so is $\gamma$. The score of row $n$ depends on $\gamma$ through the predict step just made. Write $\gamma = e^{-\delta/2}$, hold $M_{n-1}$ and $A_{n-1}$ fixed, and step uphill:
#
# $$\delta \leftarrow \max\Big(0,\ \delta + \rho\,\frac{\partial}{\partial\delta}\log p(y_n \mid \text{past})\Big).$$
#
# When the world changes, the label surprises a filter that was sure. A larger $v$ would have been less surprised, so $\delta$ grows. When nothing changes, $\delta$ sinks to 0. The order matters: score; step on $\delta$ and $\alpha$; then predict and update with the new $\gamma$. In code, for one row, that is all of it:
#
# ```python
# log_prob = head.log_prob(features, labels)
# head.adapt(log_prob)
# head.update(features, targets)
# ```
#
# Three classes in the plane, on 36 bumps and a constant. Choose a stream, play, and watch its memory, $1/(1-\gamma)$ rows, when classes change places. Then set $\gamma$ by hand: can you beat it?

# %% tags=["widget"]
live_stream(
    views.plane_streams(),
    views.even_draws(3),
    title="How fast should it forget? It finds out while it is tested",
    alt="Left, the plane in the colours of three classes where the filter is sure of one and pale where it is not, with the last forty points and the next one in a ring with the class it is predicted to have. Right, above, the memory that the learned gamma gives: it falls from endless to about a hundred rows when the classes change places, and grows back. Below, the log-loss of the last forty rows: after a change it jumps for every gamma, falls back within some fifty rows where gamma is learned or well chosen, and stays near guessing or above for gamma = 1.",
    note="Each row is predicted before its label is told; then it is learned. Watch the colours pale when the labels no longer agree with them.",
)

# %% [markdown]
# Now digits: 3,000 images, one by one, seen through 99 frozen random features and a constant. (They are drawn with replacement from 1,797, so an image may come twice; and the mean image is subtracted, as if it were known beforehand.) Every 300 rows **the digits get new names**: what was called 3 may be called 7. Nobody tells the learner.

# %%
length = session.pick(smoke=2 * lesson.SEGMENT, lesson=lesson.ROWS)
part = stream._replace(features=stream.features[:length], labels=stream.labels[:length])
learned = lesson.run("gamma learned", views.chosen("gamma learned", "abrupt"), part, SEED)
kept = lesson.run("gamma = 1", views.chosen("gamma = 1", "abrupt"), part, SEED)
views.gamma_figure(learned, kept, [change for change in stream.changes if change < length])

# %% tags=["claim"] equation="learning the forgetting"
early, late = (views.values("abrupt", "gamma learned", f"forgotten {when}") for when in ("early", "late"))
claim(
    "five seeds: in the 50 rows after a change of names the filter forgets at least four times as fast as in the last 100 before the next",
    min(a / b for a, b in zip(early, late)) > 4,
    {"1 - gamma early": min(early), "late": max(late)},
)

# %% [markdown]
# ## Rivals at equal cost
#
# Three streams of digits: **abrupt** (new names every 300 rows), **slow** (the images turn, once around in 3,000 rows), **none**. This is the slow one, every hundredth image:

# %% tags=["hide-input"]
views.turning_figure(SEED)

# %% [markdown]
# All learners see the same features, row by row, and each had its settings tuned for each stream on two other seeds, from grids of 4 to 40. Medians of five seeds of the mean log-loss (a guess has $\log 10$), with the share of right answers, and what a row costs.
#
# - **Online SGD** and **FTRL** (*follow the regularised leader*, with a rate for each weight) descend on the softmax loss; **with replay**, each step also takes eight of the latest rows again.
# - **Ridge with fixed forgetting** is lesson 05's recursive least squares: old rows fade, and $W$ is taken for certain.
# - **Reset by a detector**: the filter with $\gamma=1$ starts anew when a drift detector sees its errors rise (ADWIN or Page–Hinkley of the package *river*).
# - The **extended Kalman filter** keeps the softmax in the update, too. It needs one covariance for all $mK$ weights.
# - ***In hindsight*** is no rival: for each seed the best of the eight constants that did best in tuning, known only afterwards. Here it is nearly always the tuned constant.

# %% tags=["hide-input"]
views.streams_table()

# %% [markdown]
# The same in time. Lower is better; where a line falls, it gains on SGD.

# %% tags=["hide-input"]
views.curves_figure()

# %% tags=["claim"] equation="learning the forgetting"
pairs = [(drift, other) for drift in ("abrupt", "slow") for other in ("gamma = 1", "online SGD")]
ratios = [max(views.over(drift, "gamma learned", other)) for drift, other in pairs]
more = [min(views.more_right(drift, "gamma learned", other)) for drift, other in pairs]
claim(
    "five seeds, abrupt and slow: learned forgetting has a lower log-loss and more right answers than gamma = 1 and than tuned SGD, on every seed",
    max(ratios) < 1 and min(more) > 0,
    {"largest ratio of losses": max(ratios), "least gain in right answers": min(more)},
)

# %% tags=["claim"] equation="learning the forgetting"
hindsight = [ratio for drift in ("abrupt", "slow") for ratio in views.over(drift, "gamma learned", views.HINDSIGHT)]
static = views.over("none", "gamma learned", "gamma = 1")
claim(
    "five seeds: where the world moves, learned forgetting is within a fifth of the best constant of hindsight; where it does not, and the rate was tuned for that, within a fifth of not forgetting",
    max(hindsight) < 1.2 and max(static) < 1.2,
    {"over hindsight, largest": max(hindsight), "over gamma = 1": max(static)},
)

# %% [markdown]
# On both streams that move, descent is far behind, with replay or without. Learned forgetting comes near the best constant of hindsight. Where nothing moves it costs a little, *if its rate was tuned for that*; with the one rate of the next table it costs two fifths more. But **it is not the best row**.
#
# - On the abrupt stream every change is a clean break, and *starting anew* when a detector says so is ahead by far. On the slow one there is no such moment, and it is behind.
# - *Ridge with fixed forgetting* is a little ahead on both. It forgets differently: rows fade, so every direction keeps the same share of what was known. The drift adds the same variance in all 100 directions, needed or not. That may be why; we did not test it. Against our filter with a fixed $\gamma$ the lead is smaller, and on the abrupt stream next to nothing.
# - The *extended filter* keeps the softmax in the update, with a fixed $\gamma$. Against our filter with a fixed $\gamma$ it is level on the abrupt stream and behind on the slow one; where nothing moves it is more often right, but not clearly lower in loss. Its covariance has $(mK)^2$ entries, a hundred times as many. (The table shows a smaller factor: at this size most of a row's time goes into the calls.)
#
# (On the abrupt stream the best $\gamma$ of the filters that forget, and the best rate $\rho$, lie at the end of their grids: a little more may be left there.)
#
# Tuning for each stream is a luxury: it means that you know what will happen. So once more with **one setting for all three**, the best on average on the tuning seeds.

# %% tags=["hide-input"]
views.together_table()

# %% [markdown]
# Here one would hope to see learning pay off. It pays where nothing moves: there the learned $\gamma$ is ahead of the one constant on every seed. On the two streams that move it is a little behind, and on average they are level. The ridge is ahead where names change, and behind on the other two. A constant near the middle loses little, since the loss is flat near its best value. The filter that a detector resets is ahead of all, mostly by its lead on the abrupt stream. The paper's own margins over a fixed $\gamma$ are small, too. What learning offers is to start without knowing the speed, on a stream that you see only once; but its own rate $\rho$, and $\sigma^2$, were tuned here like all the rest.
#
# ## Features that move
#
# The filter needs features of fixed scale, and nothing more. If they come from a network, the same log-probability trains the network, too: one gradient step per block on the backbone, then the filter absorbs the block by the *new* features. What $A$ remembers was seen with older ones, and no correction is made, so the steps must be small. Here are the turning digits again, in blocks of ten, with a perceptron that was trained on upright ones, the same images before they turn. *Kalman* is the filter with $\gamma$ learned.

# %% tags=["hide-input"]
views.backbone_table()

# %% tags=["claim"]
gain = [a / b for a, b in zip(*(views.backbone_losses(f"Kalman, {name}") for name in ("fine-tuned", "frozen")))]
claim(
    "five seeds, turning digits: fine-tuning the backbone lowers the filter's log-loss on every seed",
    max(gain) < 1,
    {"largest ratio": max(gain)},
)

# %% [markdown]
# SGD gains even more, and stays behind. But mind the first table: even fine-tuned, these 65 features do worse than the 100 random ones, which were learned row by row. Features that fit upright digits need not fit turned ones.
#
# ## Real data: will this flight leave late?
#
# Nobody made this drift. 41,066 departures from New York in 2013, in the order of their schedule; late means more than 15 minutes. Known before: hour and weekday, airport, carrier, distance and the weather, as numbers standardised by the first 2,000 flights. Flights are predicted ten by ten (about two hours of our sample), then all ten are told. Settings are from the first 10,000, until the dotted line.

# %%
flights = lesson.flight_rows()
length = session.pick(smoke=12_000, lesson=len(flights.labels))
year = flights._replace(features=flights.features[:length], labels=flights.labels[:length])
learned = lesson.run("gamma learned", views.flight_setting("gamma learned"), year, SEED, lesson.BLOCK)
views.flights_figure(learned, year.labels)

# %% tags=["hide-input"]
views.flights_table()

# %% tags=["claim"] equation="learning the forgetting"
ahead, error = views.flights_apart("gamma = 1")
claim(
    "flights: learned forgetting is ahead of gamma = 1 by more than three standard errors between days",
    ahead > 3 * error,
    {"log-loss": ahead, "standard error": error},
)

# %% [markdown]
# Learned forgetting is clearly ahead of not forgetting, and level with FTRL and with the ridge, to within the noise of days. But mind the last row: **plain online SGD**, with one rate chosen on the first three months, is ahead of the learned filter, and as good as the best constant of hindsight. Look at what hindsight chose: a tenth of our noise variance. So it was not $\gamma$ that was wrong, but $\sigma^2$, which the first three months had set too large. SGD has no such number. Before you reach for a filter, tune the simplest thing.
#
# And see what $\gamma$ does: it takes some seven weeks to find a level, and stays near it. It does not follow the share of late flights. Whether there was a break we cannot say: at so small a rate $\gamma$ could not have answered to it.
#
# ## Where it fails
#
# - *One number for everything.* $\gamma$ forgets in all directions alike: what has changed, and what has not.
# - *The prior decides what is added.* $(1-\gamma^2)\sigma_w^2$ of variance goes in along every feature, whatever the data say about its scale. Where rows fade instead, every direction loses the same *share* of what is known of it; on our two moving streams of digits that does a little better.
# - *A clean break* is better met by starting anew, if a detector sees it.
# - *Learning $\gamma$ takes steps of its own.* After a change it needs some tens of rows to react, and when nothing changes, a surprising row still makes it forget a little.
# - *Squared loss in disguise.* The update takes a class for a number. The extended filter does not; here that only made it right more often where nothing moves, at $K^2$ times the memory.
# - *Many features.* A row costs $m^2$; a block of $b$ rows costs $bm^2 + b^2m$. With 10,000 features the covariance alone takes 800 MB.
# - *Single precision.* With $\gamma=1$ and features that are almost dependent the covariance loses its positivity in float32. In float32 `KalmanHead` therefore keeps a square root instead, which cannot, and which costs a QR decomposition per drift.
#
# With `PROFILE = "full"` the stream has 100,000 rows and 1,024 features, in blocks of 32, on a GPU. If it is stopped, it goes on from the last saved block.

# %% tags=["slow"]
if PROFILE == "full":
    rows, loss = views.large_stream(session.device, SEED)
    print(f"{rows:.0f} rows a second, log-loss {loss:.3f}")

# %% [markdown]
# ## Common mistakes
#
# - *Training before testing*, if only by standardising with the statistics of the whole stream.
# - *Tuning by accuracy.* It hardly sees overconfidence; log-loss does, and is what $\gamma$ and $\alpha$ climb.
# - *$\gamma = 0.99$, because it looks close to 1.* It forgets half in 35 rows, in all directions.
# - *A sigmoid for $\gamma$ with a large step.* Learn $\delta$ with a small $\rho$, and keep it at 0 or above.
# - *Fresh draws for each term of the gradient.* Mean and spread of $f$ must be moved with the same draws.
# - *Features without a scale.* $\sigma_w^2$ is in their units.
# - *Differentiating through the past.* $M_{n-1}$ and $A_{n-1}$ are constants here.
#
# ## Exercises
#
# The notebook [student/06_kalman_online](student/06_kalman_online.ipynb) holds the exercises, checked as you go: how long a filter remembers, the predict step, the block update, learning to forget, an overconfident filter, and a loop that leaks.
#
# ## What to read next
#
# - Titsias and others (2024), the paper of this lesson.
# - Kalman (1960), *A new approach to linear filtering and prediction problems*: ten pages that went to the moon.
# - Chang and others (2023), *Low-rank extended Kalman filtering for online learning of neural networks from streaming data*.
# - Bifet and Gavaldà (2007), *Learning from time-changing data with adaptive windowing*: the detector ADWIN.
# - McMahan and others (2013), *Ad click prediction: a view from the trenches*: FTRL, and what streams are like outside.
# - Lesson 07, where the whole network, not its last layer, is drawn back to its start.
