# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises: soft parameter reset
#
# Six exercises for [lesson 07](../07_soft_reset.ipynb), each checked as you go.
#
# - **You will practise** following the width of a belief through many drifts, writing the step of soft reset, and reading gamma off a gradient. Then: scoring a stream without a leak, finding out when a reset does harm, and measuring what is wrong with a network that has stopped learning.
# - **You need** the lesson, the chain rule, and variances of sums.
# - **Minutes**: 85 in all, 10 to 20 each. They build on each other in order, but each can be done alone.
# - **How**: put your answer in place of the dots, run the cell, then run its check. A check tries your answer on random inputs and names the first property that fails. Use it as often as you like. Two hints wait below each exercise.
#
# As in the lesson, `init_mean` $\theta_0$ and `init_std` $\sigma_0$ are the law of the start, $\gamma$ in $[0, 1]$ is the drift, and the belief about a weight has the standard deviation `std`. `posterior_scale` $s$ is the width of a belief over that of the start.

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import torch

from companion.data.streams import random_label_digits
from companion.methods.rivals.plasticity import OnlineSGD
from companion.methods.soft_reset import SoftReset, StackedMLP, cross_entropy
from companion.teaching import begin, check, figures
from companion.teaching.checks.lesson_07.harm import STREAMS, reset_gain, try_drift
from companion.teaching.checks.lesson_07.order import accuracy, score_on_noise
from companion.teaching.lessons.plasticity import follow

session = begin(PROFILE, SEED, DEVICE)

# %% [markdown]
# ## 07.1 · How wide after k drifts?
#
# Difficulty 2/5 · 10 minutes · the drift of the weights, an Ornstein-Uhlenbeck step
#
# Between two batches a weight drifts, $\theta \leftarrow \gamma\,\theta + (1 - \gamma)\,\theta_0 + \sqrt{1 - \gamma^2}\;\sigma_0\,\varepsilon$, with fresh standard normal noise $\varepsilon$ each time. No batch is learned.
#
# 1. `std_after`: the belief about a weight has the standard deviation `std`. Derive which it has after `k` drifts, without a loop. All arguments are numbers, `k` may be 0.
# 2. `mixed`: somebody takes an average with a fresh draw of the start instead, $\theta \leftarrow 0.9\,\theta + 0.1\,\theta_{\text{fresh}}$, batch after batch. At which share of $\sigma_0$ does the standard deviation of a weight settle? Guess before you compute.


# %% tags=["exercise"]
def std_after(std, init_std, gamma, k):
    """The standard deviation after k drifts, a number."""
    ### BEGIN SOLUTION
    left = gamma ** (2 * k)
    return (left * std**2 + (1 - left) * init_std**2) ** 0.5
    ### END SOLUTION


mixed = (
    ### BEGIN SOLUTION
    (0.1 / 1.9) ** 0.5
    ### END SOLUTION
)

# %% tags=["check"]
check("07.1", {"std_after": std_after, "mixed": mixed})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Variances of independent terms add up, and a factor $\gamma$ of a weight is $\gamma^2$ in its variance. What does one drift make of $\sigma_0^2 - \text{std}^2$?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Let $v$ be the variance of the belief. One drift: $v \leftarrow \gamma^2 v + (1 - \gamma^2)\,\sigma_0^2$, so that $\sigma_0^2 - v$ is multiplied by $\gamma^2$. For `mixed` solve $v = 0.9^2 v + 0.1^2 \sigma_0^2$.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# $\sigma_0^2 - v$ is multiplied by $\gamma^2$ each time, so after $k$ drifts $v = \gamma^{2k}\,\text{std}^2 + (1 - \gamma^{2k})\,\sigma_0^2$: as after one drift with $\gamma^k$. For $k \to \infty$ it is $\sigma_0^2$, wherever it began, and this is the only width that stays. Doubt comes fast. A weight that is known for sure gets 44 % of the start's standard deviation by one drift with $\gamma = 0.9$, while its mean goes a tenth of the way.
#
# The average settles at $v = \frac{0.01}{0.19}\sigma_0^2$, a width of 0.23 $\sigma_0$. Two independent draws partly cancel. Averaged with fresh draws again and again, the weights of a network shrink below those it was born with, and its signal dies away from layer to layer. The root in the drift prevents that.
#
# </details>

# %% [markdown]
# ## 07.2 · The step of soft reset
#
# Difficulty 2/5 · 15 minutes · the update of the paper's gradient form
#
# When $\gamma$ is chosen, a batch is learned from the drifted weights. Plain soft reset keeps the mean of the belief only, and supposes that the belief has the standard deviation $s\,\sigma_0$ before each drift, with $s \le 1$. The learning rate is `lr` times the variance of the drifted belief over the variance before the drift.
#
# 1. `drifted`: the weights after the drift. They are the mean of the drifted belief, without noise.
# 2. `rate`: the learning rate, a number.
# 3. `soft_step`: the weights after the drift and the gradient step. `gradient` is a function: it gives the gradient of the loss at the weights that you call it with.


# %% tags=["exercise"]
def drifted(theta, init_mean, gamma):
    """The weights after the drift, of the shape of theta."""
    ### BEGIN SOLUTION
    return gamma * theta + (1 - gamma) * init_mean
    ### END SOLUTION


def rate(lr, gamma, posterior_scale):
    """The learning rate after the drift, a number."""
    ### BEGIN SOLUTION
    return lr * (gamma**2 + (1 - gamma**2) / posterior_scale**2)
    ### END SOLUTION


def soft_step(theta, init_mean, gamma, lr, posterior_scale, gradient):
    """The weights after drift and gradient step, of the shape of theta."""
    ### BEGIN SOLUTION
    start = drifted(theta, init_mean, gamma)
    return start - rate(lr, gamma, posterior_scale) * gradient(start)
    ### END SOLUTION


# %% tags=["check"]
check("07.2", {"drifted": drifted, "rate": rate, "soft_step": soft_step})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# The mean of the drift is a point between $\theta_0$ ($\gamma = 0$) and $\theta$ ($\gamma = 1$). Its variance is that of 07.1 for $k = 1$, with $\text{std} = s\,\sigma_0$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The ratio is $\big(\gamma^2 s^2 \sigma_0^2 + (1 - \gamma^2)\,\sigma_0^2\big) / (s^2 \sigma_0^2)$. What must it be at $\gamma = 1$, and what at $\gamma = 0$?
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# $\sigma_0$ cancels, and the learning rate is $\text{lr}\,\big(\gamma^2 + (1 - \gamma^2)/s^2\big)$: `lr` at $\gamma = 1$, and $\text{lr}/s^2$ at $\gamma = 0$. The step minimises $\langle g, \theta \rangle + \frac{1}{2\,\text{lr}} \sum_j (\theta_j - \tilde\theta_j)^2\,\sigma_j^2/\tilde\sigma_j^2$. Here $g$ is the gradient at the drifted weights $\tilde\theta$, and $\sigma_j$ and $\tilde\sigma_j$ are the widths before and after the drift. A belief that is wide holds its mean less firmly.
#
# *Mind s.* With $s = 0.25$ a full drift makes the step 16 times as long. At a learning rate that is large already, it throws the network away. With $s = 1$ there is no rise.
#
# *Mind the order.* If you descend first and then drift, a share $1 - \gamma$ of what the batch has just taught is lost again.
#
# </details>

# %% [markdown]
# ## 07.3 · What a batch says of gamma
#
# Difficulty 4/5 · 20 minutes · the gradient of the predictive likelihood at gamma = 1
#
# Without noise $J$ is the log-probability that the drifted weights give to all labels of a batch. That is the summed loss $\ell_i$ of its $b$ rows with the sign changed,
#
# $$J(\gamma) = -\sum_{i=1}^{b} \ell_i\big(\gamma\,\theta + (1 - \gamma)\,\theta_0\big) .$$
#
# Each layer has one $\gamma$, which its weights and biases share. Autograd has given you the gradient of the *mean* loss at $\theta$, and no further pass is needed.
#
# 1. `gamma_slope`: the derivative of $J$ by the $\gamma$ of each layer, at $\gamma = 1$, as a list of numbers. Gradients, weights and starts are lists of layers, and a layer is a list of its tensors, such as a weight and a bias. `batch_size` is $b$; leave the tensors that come in as they are.
# 2. `next_gamma`: the $\gamma$ that a layer uses for this batch, one step of size `drift_lr` up the slope from 1, kept in $[0, 1]$.


# %% tags=["exercise"]
def gamma_slope(gradients, thetas, init_means, batch_size):
    """For each layer dJ/dgamma at gamma = 1, a list."""
    ### BEGIN SOLUTION
    slopes = []
    for layer in zip(gradients, thetas, init_means):
        slopes.append(-batch_size * sum(((theta - start) * grad).sum() for grad, theta, start in zip(*layer)))
    return slopes
    ### END SOLUTION


def next_gamma(slope, drift_lr):
    """The gamma of one layer, a number; slope is a number or a tensor ()."""
    ### BEGIN SOLUTION
    return min(1, max(0, 1 + drift_lr * slope))
    ### END SOLUTION


# %% tags=["check"]
check("07.3", {"gamma_slope": gamma_slope, "next_gamma": next_gamma})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# How does $\gamma\,\theta + (1 - \gamma)\,\theta_0$ change with $\gamma$? The chain rule wants an inner product with a gradient.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# $\mathrm dJ/\mathrm d\gamma = -\sum_j g_j\,(\theta_j - \theta_{0,j})$ over all numbers $j$ that share the $\gamma$, where $g$ is the gradient of the *summed* loss, $b$ times that of the mean.
#
# </details>

# %% [markdown]
# Here is your slope beside the likelihood itself. A network has learned 32 digits by heart. Then comes a batch of them with the same labels, and one with new labels.

# %%
generator = session.generator(device="cpu")
stream = random_label_digits(2, size=32, epochs=session.pick(smoke=2, lesson=40), generator=generator)
digits, change = stream.features.flatten(1) / 2, stream.changes[0]
trainer = SoftReset(StackedMLP(None, 64, 10, width=32, generator=generator), 0.3, 0.0, per="model", samples=0)
for rows in range(0, change, 16):
    trainer.learn(cross_entropy, (digits[rows : rows + 16], stream.labels[rows : rows + 16]))


# %%
def slope_of(batch):
    """Your slope, with one gamma for the whole network."""
    parts = trainer.split(trainer.gradient(cross_entropy, batch)), trainer.split(trainer.theta)
    return gamma_slope(*([list(each)] for each in parts), [list(trainer.split(trainer.init_mean))], 16)


figure, axes = figures.panels(2, size=(4, 3))
for place, first, title in zip(axes, (change - 16, change), ("same labels", "new labels")):
    batch = digits[first : first + 16], stream.labels[first : first + 16]
    gammas = torch.linspace(0.5, 1, 21)
    values = [trainer.log_evidence(cross_entropy, batch, gamma.item())[0].item() for gamma in gammas]
    place.plot(gammas, values, color=figures.EXACT, label="log-likelihood")
    if (found := slope_of(batch)) is not None:  # once it is written
        place.plot(gammas[-6:], values[-1] + float(found[0]) * (gammas[-6:] - 1), color=figures.LEARNED, label="slope")
    place.set_title(title)
    place.set_xlabel("gamma")
axes[0].legend()
alt = "With the same labels the likelihood is highest at gamma 1; with new ones it falls steeply towards 1."
figures.describe(figure, alt)

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# $\mathrm d/\mathrm d\gamma$ of the drifted weights is $\theta - \theta_0$, at every $\gamma$. So the slope is minus the inner product of $\theta - \theta_0$ with the gradient of the summed loss. It is negative, and $\gamma$ goes below 1, exactly when the way downhill has a part that leads back to the start. When a batch asks for weights still further from it, the slope is positive, and the clip leaves $\gamma$ at 1.
#
# *Sum or mean?* The likelihood of a batch is a product over its rows. With a mean $\gamma$ would move $b$ times less, which another `drift_lr` could make up for, but only for this batch size. The same holds for the size of a layer: a sum over more weights is larger. Noise adds a second term, by the width of the belief.
#
# </details>

# %% [markdown]
# ## 07.4 · The order of a step
#
# Difficulty 2/5 · 10 minutes · score, choose gamma, drift, descend
#
# The labels here are pure noise: drawn evenly from ten classes, for rows of which none comes twice. Two loops score such a stream. A trainer's step is in three parts: `trainer.choose(batch)` finds gamma and leaves the weights alone, `trainer.drift()` moves them by that gamma, and `trainer.descend(batch)` takes the gradient step. Each weight has a gamma of its own here. `accuracy(model, batch)` is the share of a batch that the network has right.


# %%
def learned_first(model, batches, trainer):
    scores = []
    for batch in batches:
        trainer.choose(batch)
        trainer.drift()
        trainer.descend(batch)
        scores.append(accuracy(model, batch))
    return scores


def drifted_first(model, batches, trainer):
    scores = []
    for batch in batches:
        trainer.choose(batch)
        trainer.drift()
        scores.append(accuracy(model, batch))
        trainer.descend(batch)
    return scores


# %% tags=["nbval-ignore-output"]
count = session.pick(smoke=10, lesson=150)
for loop in (learned_first, drifted_first):
    print(f"{loop.__name__}: {score_on_noise(loop, session.generator(device='cpu'), count):.3f} on pure noise")

# %% [markdown]
# 1. `honest`: which score, about, has a loop that leaks nothing? Say it before you run one.
# 2. `stream_scores`: that loop. It takes the network, the batches, each a pair `(x, labels)`, and the trainer. It returns one score for each batch, and learns every batch as soft reset does.

# %% tags=["exercise"]
honest = (
    ### BEGIN SOLUTION
    0.1
    ### END SOLUTION
)


def stream_scores(model, batches, trainer):
    """The share of right answers of each batch, a list or a tensor (n,)."""
    ### BEGIN SOLUTION
    scores = []
    for x, labels in batches:
        with torch.no_grad():
            scores.append((model(x).argmax(-1) == labels).float().mean())
        trainer.choose((x, labels))
        trainer.drift()
        trainer.descend((x, labels))
    return scores
    ### END SOLUTION


# %% tags=["check"]
check("07.4", {"honest": honest, "stream_scores": stream_scores})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Mark in each loop the first line after which something, gamma or the weights, depends on the labels of the batch. Which of the four things that happen to a batch leaves no such trace?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Nobody foresees noise, and ten answers are as likely as each other. For the loop, take `drifted_first` and move one line.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# An honest loop is right once in ten times, up to chance: with 150 batches of 16 rows about 0.006. The order is score, choose, drift, descend. Between `choose` and `drift` the score would be the same, for choosing moves no weight. It is the drift that carries the labels over. With a gamma for each weight there are more than a thousand of them, and they lead back just those weights that the batch would like to have back. That is not a gradient step, and yet it has learned.
#
# With one gamma a layer the same mistake is worth at most a hundredth or two on noise, which is easily overlooked. So look at the order of the lines, too. And mind that the best drift rate of many, chosen by the score on the stream that you report, is a leak that no such test shows.
#
# </details>

# %% [markdown]
# ## 07.5 · Break it: a reset too many
#
# Difficulty 2/5 · 15 minutes · the drift rate, and hard resets
#
# Here are five streams of the lesson, each with a learning rate. A network that is drawn anew at the beginning of each task, by a hard reset, is compared with one that never is. In `"still"`, too, where a new task brings nothing new. The score is the accuracy before learning, over the first five tasks, or eight of `"labels"`.
#
# - `"labels"`: the same digits with new random labels for each task, learning rate 1.2;
# - `"pixels"`: digits whose pixels are permuted anew for each task, learning rate 1.2;
# - `"slow pixels"`: the same with a learning rate of 0.1;
# - `"turns"`: two permutations take turns, learning rate 0.4;
# - `"still"`: one permutation for all tasks, learning rate 0.4.
#
# Then there is a toy for soft reset: 32 points with random labels of four classes, in batches of 8, learned by heart. After 100 batches they get new labels.


# %% tags=["nbval-ignore-output"]
def show(drift_lr):
    """gamma along the toy stream, and the accuracy before learning."""
    still, moved = session.pick(smoke=(20, 10), lesson=(100, 40))
    trial = try_drift(drift_lr, session.generator(device="cpu"), still, moved)
    figure, (axes,) = figures.panels(1, size=(6.5, 3))
    axes.plot(trial.accuracy, color=figures.EXACT, label="accuracy")
    axes.plot(trial.gamma, color=figures.LEARNED, label="mean gamma")
    axes.axvline(trial.change, color=figures.RIVAL, label="new labels", zorder=0)
    axes.set_title(f"drift_lr {drift_lr:g}")
    axes.set_xlabel("batches")
    figure.legend(loc="outside lower center", ncols=3)
    print(f"drift_lr {drift_lr:g}: gamma {trial.inside:.4f} before the change, {trial.at_change:.3f} at it")
    return figures.describe(figure, "gamma and accuracy along the batches; gamma falls at the new labels.")


show(drift_lr=0.03)

# %% [markdown]
# `resets` is a dictionary with three entries, `{"hurts": ..., "jumpy": ..., "careful": ...}`:
#
# 1. `hurts`: the set of the names of the streams on which the hard reset *lowers* the score. Write them down before you measure.
# 2. `jumpy`: a `drift_lr` with which soft reset resets although nothing changes: the mean gamma before the change is below 0.98.
# 3. `careful`: one that leaves gamma alone before the change, at 0.996 or more in the mean, and finds the change: gamma at its first batch is at most 0.9.
#
# The check draws other points and labels, so stay clear of the limits.

# %% tags=["exercise"]
resets = {
    ### BEGIN SOLUTION
    "hurts": {"slow pixels", "turns", "still"},
    "jumpy": 0.3,
    "careful": 0.008,
    ### END SOLUTION
}

# %% tags=["check"]
check("07.5", resets)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# A reset loses what was learned and mends what was broken. Is what was learned of use in the next task? Does its learning rate break a network within a few tasks? For the drift rates: 0.03 is neither careful nor jumpy.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Random labels share nothing with the next ones. Permuted digits are digits still, for the last layer. Call `show` with 0.003, 0.01, 0.1 and 0.5 in a cell of your own.
#
# </details>

# %% [markdown]
# When your answer is written down, measure.

# %% tags=["nbval-ignore-output"]
tasks = session.pick(smoke=2, lesson=None)
for name in STREAMS:
    kept, reset = reset_gain(name, session.seed, tasks)
    print(f"{name}: {kept:.2f} without resets, {reset:.2f} with one at each change")

# %% tags=["nbval-ignore-output"]
show(drift_lr=0.3)

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# *Still* and *turns*: what was learned is needed again, at once or two tasks later, and a reset throws it away. *Slow pixels*: new pixels need a new first layer, and what comes after it still fits digits. At a learning rate of 0.1 nothing is broken so soon. *Pixels* is the same stream at 1.2, and there a reset is a rescue. *Labels*: nothing carries over, and the network has lost its ability to learn.
#
# So "does a reset help?" has no answer without the learning rate. A comparison at one rate for all is decided by the choice of that rate, and this is why the lesson tunes each method.
#
# *Drift rates*: at 0.3 the noise of small batches alone resets the network again and again, and it never gets to know its points. `careful` has about a factor of four to live in. On *turns* a soft reset can go wrong as well, if its drift rate is large. It asks what explains the next batch better, the present weights or the way back to the start, and knows of no other place to go back to.
#
# </details>

# %% [markdown]
# ## 07.6 · Where has plasticity gone?
#
# Difficulty 3/5 · 15 minutes · effective rank (Roy and Vetterli, 2007)
#
# Two measures of a network on some rows.
#
# 1. `silent_share`: the share of its hidden neurons that are 0 for every row. `model.activations(x)` is a list with what each layer gives, hidden layers after their ReLU, logits last. Neurons of all hidden layers count alike; layers may differ in width.
# 2. `effective_rank`: of features $(n, m)$ with the singular values $d_1, d_2, \dots$,
#
# $$\exp\Big(-\sum_i p_i \log p_i\Big), \qquad p_i = d_i \Big/ \sum_j d_j , \qquad 0 \log 0 = 0 .$$


# %% tags=["exercise"]
def silent_share(model, x):
    """The share of silent hidden neurons of a perceptron on rows x, a number."""
    ### BEGIN SOLUTION
    silent = [(layer <= 0).all(dim=0) for layer in model.activations(x)[:-1]]
    return torch.cat(silent).float().mean().item()
    ### END SOLUTION


def effective_rank(features):
    """The effective rank of features (n, m), a number."""
    ### BEGIN SOLUTION
    values = torch.linalg.svdvals(features)
    shares = values / values.sum()
    return torch.special.entr(shares).sum().exp().item()
    ### END SOLUTION


# %% tags=["check"]
check("07.6", {"silent_share": silent_share, "effective_rank": effective_rank})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# For one layer $(n, m)$ you need a yes or no for each of its $m$ columns. Join those of all layers before you take a mean.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.linalg.svdvals` gives the singular values. `torch.special.entr(p)` is $-p \log p$, and 0 at 0, where `p * p.log()` is `nan`.
#
# </details>

# %% [markdown]
# Plain gradient descent and soft reset learn the same 32 digits under 20 random labellings, one after the other.

# %%
tasks = session.pick(smoke=2, lesson=20)
stream = random_label_digits(tasks, size=32, epochs=20, generator=session.generator(device="cpu"))
digits = stream.features.flatten(1) / 2


def age(make, inspect):
    """A network's accuracy in each task, and what `inspect(model)` gives before and after each."""
    model = StackedMLP(None, 64, 10, width=32, generator=session.generator(device="cpu"))
    batches, accuracies, seen = zip(digits.split(16), stream.labels.split(16)), [], [inspect(model)]
    for trace in follow(make(model), batches, 40 * tasks, every=40):
        accuracies.append(trace.accuracy[-40:].mean())
        seen.append(inspect(model))
    return accuracies, seen


# %%
@torch.no_grad()
def measures(model):
    return silent_share(model, digits[:32]), effective_rank(model.activations(digits[:32])[-2])


ways = {
    "plain": (lambda model: OnlineSGD(model, 0.8), figures.RIVAL),
    "soft reset": (lambda model: SoftReset(model, 0.8, 0.005, 0.9, samples=0), figures.LEARNED),
}
figure, axes = figures.panels(3, size=(3.2, 3))
for name, (make, colour) in ways.items():
    accuracies, seen = age(make, measures)
    axes[0].plot(accuracies, color=colour, label=name)
    if None not in seen[0]:  # once they are written
        for place, values in zip(axes[1:], zip(*seen)):
            place.plot(values, color=colour)
for place, title in zip(axes, ("accuracy before learning", "share of silent neurons", "effective rank")):
    place.set_title(title)
    place.set_xlabel("tasks")
axes[0].legend()
alt = "Under plain descent accuracy falls, silent neurons fill most of the network and the rank falls to near 1."
figures.describe(figure, alt)

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# A ReLU that is 0 for all rows has the slope 0 for all of them. No gradient reaches its incoming weights, nor its outgoing ones, as they are multiplied by 0. By gradient descent it can come back only if its inputs change: through the layer before it, or through new rows. A large learning rate pushes some neurons over the edge at each change of task, and they pile up. In the last hidden layer fewer and fewer directions are left, and what the last layer can say about 32 digits is a combination of those. With an effective rank near 1 it says nearly the same of all.
#
# Soft reset drifts towards weights with which most neurons were alive, and keeps both measures near where they began.
#
# *Not the whole story.* At a learning rate of 0.1 plain descent ends as badly on the lesson's longer stream, and half of its neurons are still alive then. Large weights, flat regions of the softmax and sharp curvature have been blamed, too. A low rank is a symptom: there are networks with a low rank that learn well.
#
# </details>

# %% [markdown]
# ## What to read next
#
# - **Back to the lesson**: [its section on failures](../07_soft_reset.ipynb) shows where soft reset gives nothing.
# - **The method**: Galashov et al., *Non-Stationary Learning of Neural Networks with Automatic Soft Parameter Reset*, NeurIPS 2024, arXiv 2411.04034.
# - **Silent neurons**: Sokar et al., *The Dormant Neuron Phenomenon in Deep Reinforcement Learning*, ICML 2023.
# - **Loss of plasticity**: Dohare et al., *Loss of plasticity in deep continual learning*, Nature 2024; Lyle et al., *Understanding plasticity in neural networks*, ICML 2023.
# - **Effective rank**: Roy and Vetterli, *The effective rank: a measure of effective dimensionality*, EUSIPCO 2007.
