# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises: compute-optimal transfer
#
# Six exercises for [lesson 09](../09_compute_optimal_transfer.ipynb), each checked as you go.
#
# - **You will practise** saying what pruning saves before you measure it, and cutting a block without losing a number. You will tell a mask from a cut, compare networks at the same compute, build a network whose norms lie, and mend statistics that lag behind.
# - **You need** the lesson, convolutions, and what a batch norm does in training and in evaluation.
# - **Minutes**: 105 in all, 15 or 20 each. They build on each other in order, but each can be done alone.
# - **How**: put your answer in place of the dots, run the cell, then run its check. A check tries your answer on random inputs and names the first property that fails. Use it as often as you like. Two hints wait below each exercise.
#
# As in the lesson, the *hidden* filters of a residual block are those between its convolutions, and $r$ is the ratio of them that goes: of $h$ filters `int(h * (1 - r))` stay. The block's *width*, what it takes from the residual stream and puts back, never changes.

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import math

import torch

from companion.foundations.residual import ExpandedResidualNet
from companion.methods.pruning import count_flops, prune_filters
from companion.teaching import begin, check, figures
from companion.teaching.checks.lesson_09.budgets import Curve
from companion.teaching.checks.lesson_09.disguise import mean_damage, speaking_block
from companion.teaching.checks.lesson_09.masks import compare

session = begin(PROFILE, SEED, DEVICE)
net, image = ExpandedResidualNet(), torch.zeros(1, 1, 16, 16)

# %% [markdown]
# ## 09.1 · What pruning saves
#
# Difficulty 2/5 · 15 minutes · the cost of a block without a share of its hidden filters
#
# Floating point operations (FLOPs) of a forward pass of one picture, two for each product with its sum. Batch norms, activations and shortcuts count nothing. A picture comes in with `side` × `side` places; `side` is a multiple of `stride`, and padding lets a convolution with stride 1 put out as many places as it takes. `hidden` is the number of filters before pruning.
#
# 1. `basic_flops`: a basic block has two 3 × 3 convolutions, from `width` to the hidden filters, with the stride, and back to `width`.
# 2. `bottleneck_flops`: a bottleneck, as ResNet-50 has, has a 1 × 1 convolution from `width` to hidden, a 3 × 3 from hidden to hidden with the stride, and a 1 × 1 back to `width`.
# 3. `left`: which share of a bottleneck's operations is left at $r = 0.5$, with stride 1 and a width four times as large as `hidden`? Guess before you compute.
# 4. `cheaper`: the share `fixed` of a whole network's operations is in layers that nothing prunes. The rest falls as $1 - r$. How many updates does the price of one buy now?


# %% tags=["exercise"]
def basic_flops(width, hidden, side, stride, ratio):
    """FLOPs of a pruned basic block, a number."""
    ### BEGIN SOLUTION
    kept, places = int(hidden * (1 - ratio)), (side // stride) ** 2
    return 2 * 9 * places * (width * kept + kept * width)
    ### END SOLUTION


def bottleneck_flops(width, hidden, side, stride, ratio):
    """FLOPs of a pruned bottleneck, a number."""
    ### BEGIN SOLUTION
    kept, places = int(hidden * (1 - ratio)), (side // stride) ** 2
    return 2 * (width * kept * side**2 + 9 * kept**2 * places + kept * width * places)
    ### END SOLUTION


left = (
    ### BEGIN SOLUTION
    (4 / 2 + 9 / 4 + 4 / 2) / 17
    ### END SOLUTION
)


def cheaper(fixed, ratio):
    """How many updates one used to cost, a number."""
    ### BEGIN SOLUTION
    return 1 / (fixed + (1 - fixed) * (1 - ratio))
    ### END SOLUTION


# %% tags=["check"]
check(
    "09.1",
    {"basic_flops": basic_flops, "bottleneck_flops": bottleneck_flops, "left": left, "cheaper": cheaper},
)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# At one place of its output a filter multiplies all inputs under its kernel. How many inputs, filters and places does each layer have, and which get smaller?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# A layer takes $2 k^2 c_\text{in} c_\text{out}$ operations at each place of its output: `side**2` places before the stride, `(side // stride)**2` in the layer that has it and after. Hidden filters are outputs of the first layer, inputs of the last, and both in the middle of a bottleneck. For `cheaper` add up what the two parts cost now.
#
# </details>

# %% [markdown]
# Your last formula beside a counter, for the lesson's untrained network. Fixed are its stem, its head and a shortcut that changes the width. At 0.9 rounding down saves a little more.

# %%
whole, half = count_flops(net, image), count_flops(prune_filters(net, 0.5, example=image), image)
fixed = (2 * half - whole) / whole
for ratio in (0.5, 0.75, 0.9):
    small = count_flops(prune_filters(net, ratio, example=image), image)
    print(f"ratio {ratio}: counted {whole / small:.2f} x cheaper; yours {cheaper(fixed, ratio)}")

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# In $2 k^2 c_\text{in} c_\text{out}$ the hidden filters stand once for each side of a layer that is hidden. A basic block has its hidden filters between *two* layers, each with one pruned side: $1 - r$. A bottleneck's middle layer is pruned on both: $(1 - r)^2$. With 4, 9 and 4 parts of $h^2$, the ratio 0.5 leaves 2 + 2.25 + 2 of 17, which is 0.37.
#
# *Nothing is squared for free.* Channel pruning, which cuts the residual stream as well, would have the square everywhere, and loses representation for it.
#
# *The limit.* With a tenth fixed, no ratio makes updates more than ten times cheaper: Amdahl's law. At $r = 0.9$ it is 5.3 times.
#
# </details>

# %% [markdown]
# ## 09.2 · Cut a block right
#
# Difficulty 3/5 · 20 minutes · structured pruning of convolutional filters, zero-shot
#
# A block's first convolution has the weights `weight1` $(h, c, k, k)$, its batch norm `scale`, `shift`, running `mean` and running `variance`, each $(h,)$, and its second convolution `weight2` $(o, h, k, k)$. There are no biases. Prune the share `ratio` of the hidden filters: those with the largest L2 norm of their weights in `weight1` stay, in their order. Return all six tensors of the small block, in the order of the arguments, with nothing rescaled.


# %% tags=["exercise"]
def cut(weight1, scale, shift, mean, variance, weight2, ratio):
    """The six tensors of the pruned block."""
    ### BEGIN SOLUTION
    count = int(len(weight1) * (1 - ratio))
    norms = weight1.flatten(1).norm(dim=1)
    kept = norms.argsort(descending=True)[:count].sort().values
    return weight1[kept], scale[kept], shift[kept], mean[kept], variance[kept], weight2[:, kept]
    ### END SOLUTION


# %% tags=["check"]
check("09.2", cut)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# The places of the filters that stay are all you need. On which axis of each tensor do the hidden filters lie?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `weight1.flatten(1).norm(dim=1)` are the norms, `argsort(descending=True)[:count].sort().values` the places in order. Five tensors take `[kept]`, and `weight2` takes `[:, kept]`.
#
# </details>

# %% [markdown]
# Your cut of the first block of the lesson's network, beside what `prune_filters` makes of it.

# %% tags=["nbval-ignore-output"]
block = net.blocks[0]
small = prune_filters(net, 0.75, example=image).blocks[0]
names = ("conv1.weight", "norm1.weight", "norm1.bias", "norm1.running_mean", "norm1.running_var", "conv2.weight")
parts = cut(*(block.state_dict()[name] for name in names), 0.75)
if parts is not None:  # once it is written
    for name, part in zip(names, parts):
        print(name, tuple(part.shape), torch.equal(part, small.state_dict()[name]))

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# A filter's weights make a channel, the batch norm's four numbers shift and stretch it, and one slice of `weight2` reads it. If these six go together, the block computes what it did, without that channel's part of the sum.
#
# *What people forget* is the running mean and variance. They are buffers, not parameters, so a loop over `parameters()` misses them. A new batch norm runs without complaint, and is wrong in evaluation mode.
#
# *Order.* Sorted by strength, the block would be right as well, if all six tensors were sorted alike. One forgotten tensor would ruin it silently.
#
# *Dead filters* are the test to keep: if only those go that say nothing, no output may change.
#
# </details>

# %% [markdown]
# ## 09.3 · Why a mask saves nothing
#
# Difficulty 3/5 · 15 minutes · structured pruning, against masks and single weights
#
# Here `block` is a `ResidualBlock` with `conv1`, `norm1`, a ReLU, `conv2`, `norm2` and a shortcut.
#
# 1. `mask`: set numbers of `block` to zero, in place, so that it answers as if only the hidden filters in `kept` were there, in evaluation mode and in training mode. `kept` is a tensor of their places. Return the block. Its tensors stay as large as they were.
# 2. `work`: a block with 16 channels in and out and 64 hidden filters is pruned by 75 % in three ways. "masked": the weakest filters are set to zero. "cut": they are cut. "scattered": the smallest 75 % of all *single* weights are set to zero, and then each filter that is all zeros is cut. Which share of its operations does a counter find after each? Answer with a dictionary of these three words and their shares.
#
# Here are four ways of silencing the filters that go. Set to zero **A** their weights in `conv1`; **B** their scale in `norm1`; **C** their scale and their shift; **D** the inputs of `conv2` that read them.
#
# 3. `silent`: after which of them does a trained block, in evaluation mode, answer as the cut one does?
# 4. `lasting`: after which does it still, when both blocks have taken some steps of gradient descent?
#
# Answer both with sets of letters, such as `{"A", "B"}`. Think first, then use the cell below your answer.


# %% tags=["exercise"]
def mask(block, kept):
    """The block itself, with all other hidden filters silenced."""
    ### BEGIN SOLUTION
    gone = torch.ones(block.norm1.num_features, dtype=torch.bool)
    gone[kept] = False
    with torch.no_grad():
        block.norm1.weight[gone] = 0
        block.norm1.bias[gone] = 0
    return block
    ### END SOLUTION


work = {
    ### BEGIN SOLUTION
    "masked": 1,
    "cut": 0.25,
    "scattered": 1,
    ### END SOLUTION
}
silent = {
    ### BEGIN SOLUTION
    "C",
    "D",
    ### END SOLUTION
}
lasting = {
    ### BEGIN SOLUTION
    "C",
    ### END SOLUTION
}

# %% tags=["nbval-ignore-output"]
for way in "ABCD":
    gaps = [compare(way, session.generator(device="cpu"), steps) for steps in (0, 1, 5)]
    print(f"{way}: largest difference to the cut block, after 0, 1 and 5 steps:", *(f"{gap:.2g}" for gap in gaps))

# %% tags=["check"]
check("09.3", {"mask": mask, "work": work, "silent": silent, "lasting": lasting})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Follow a channel that is zero everywhere through the batch norm. What comes out, in evaluation mode and in training? And does a counter look at numbers before it multiplies them?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# A batch norm makes `(x - mean) * scale / std + shift`. To silence it, scale and shift must both be zero, or nobody may read it. `gone = torch.ones(h, dtype=torch.bool); gone[kept] = False` are the others. A gradient is a product: ask of each number set to zero what it is multiplied with.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# *A* leaves the channel at `shift - mean * scale / std`, a constant that speaks wherever it is above 0. With *B* the shift still speaks. *C* ends in a ReLU of 0, and *D* lets nobody listen.
#
# *In training* the zeros of *D* grow back: the gradient of a weight in `conv2` is what it reads times what the loss wants, and neither is zero. *C* lasts, for at 0 a ReLU has no slope in torch, so nothing gets back to scale, shift or weights.
#
# *Work.* A masked filter is computed and then multiplied by zero. Of scattered zeros, with 144 weights a filter, some weight always survives.
#
# </details>

# %% [markdown]
# ## 09.4 · At equal compute
#
# Difficulty 3/5 · 20 minutes · accuracy against compute, and its lower envelope
#
# A `Curve` has three attributes. `accuracy` $(n,)$ is a network's test accuracy after 1, 2, …, n updates. `step` is what an update costs, in operations. `overhead` is what the pass for the batch norms' statistics costs: paid once for each budget, before the network is judged, and only if there are updates. Budgets, steps and overheads are whole numbers.
#
# 1. `updates`: how many whole updates does a budget pay?
# 2. `gain`: by which share is the `small` network more accurate than the `dense` one at this budget, each after the updates that it can pay? Beyond its end a curve stays as it is. If one of the two cannot pay an update, return `math.nan`.
# 3. `envelope`: for each budget the lowest *error*, 1 − accuracy, among the curves; `math.nan` where none can pay an update. A row $(m,)$.
# 4. `overtakes`: the dense network has the error $0.1 + 0.8/(1 + k/10)$ after $k$ updates, a small one $0.15 + 0.75/(1 + k/10)$ at a quarter of the price. At which budget, in dense updates, does the dense one overtake? Leave out overheads and let $k$ be any number.


# %% tags=["exercise"]
def updates(budget, curve):
    """How many, a whole number."""
    ### BEGIN SOLUTION
    return max(0, (budget - curve.overhead) // curve.step)
    ### END SOLUTION


def reached(budget, curve):
    """The accuracy at a budget, or nan; write it, if it helps with the next two."""
    ### BEGIN SOLUTION
    count = updates(budget, curve)
    return curve.accuracy[min(count, len(curve.accuracy)) - 1].item() if count else math.nan
    ### END SOLUTION


def gain(budget, small, dense):
    """The relative gain in accuracy, a number."""
    ### BEGIN SOLUTION
    return reached(budget, small) / reached(budget, dense) - 1
    ### END SOLUTION


def envelope(budgets, curves):
    """The lowest error at each budget, (m,)."""
    ### BEGIN SOLUTION
    rows = torch.tensor([[1 - reached(budget, curve) for curve in curves] for budget in budgets])
    lowest = rows.nan_to_num(nan=math.inf).amin(1)
    return lowest.where(lowest < math.inf, math.nan)
    ### END SOLUTION


overtakes = (
    ### BEGIN SOLUTION
    110
    ### END SOLUTION
)

# %% tags=["check"]
check("09.4", {"updates": updates, "gain": gain, "envelope": envelope, "overtakes": overtakes})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Take the overhead off first, and divide by the step. After k updates the accuracy is in place k − 1, so what would place −1 be? For the envelope make a table, budgets by curves.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `//` rounds down, and `max(0, ...)` holds it at 0. With nan for what cannot be paid, the gain is nan by itself; in the table replace nan by infinity before the minimum. For `overtakes` write both errors at a budget $B$: $k = B$ and $k = 4B$.
#
# </details>

# %% [markdown]
# The two networks of `overtakes`, with your envelope behind them.

# %% tags=["nbval-ignore-output"]
made = torch.arange(1.0, 2001)
dense = Curve(0.9 - 0.8 / (1 + made / 10), step=4, overhead=1)
small = Curve(0.85 - 0.75 / (1 + made / 10), step=1, overhead=1)
spent = [int(2 ** (power / 4)) for power in range(4, session.pick(smoke=20, lesson=44))]
figure, (axes,) = figures.panels(1, size=(6, 3))
rows = {"envelope": ([dense, small], "0.7", 6), "dense": ([dense], figures.RIVAL, 1.5)}
for name, (curves, colour, width) in (rows | {"small": ([small], figures.LEARNED, 1.5)}).items():
    errors = envelope(spent, curves)
    if errors is not None:  # once it is written
        axes.semilogx([budget / 4 for budget in spent], errors, color=colour, linewidth=width, label=name)
axes.set_xlabel("budget in dense updates")
axes.set_ylabel("error")
if axes.lines:
    figure.legend(loc="outside lower center", ncols=3)
figures.describe(
    figure, "The small network's error is lower up to about a hundred dense updates, the dense one's after."
)

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# From $0.8\,(1 + 0.4 B) - 0.75\,(1 + 0.1 B) = 0.05\,(1 + 0.1 B)(1 + 0.4 B)$ follows $0.22\,B = 0.002\,B^2$, so $B = 110$. The small network ends 0.05 worse, yet it is better for over a hundred dense updates.
#
# *Equal steps* would show the dense network ahead from the first update on.
#
# *Where the dense network cannot move* there is no ratio. Whoever extends the dense curve to the left, or puts chance there, can make the gain as large as one likes.
#
# *The envelope flatters.* It picks the best of many noisy curves by the test pictures; average over tasks before you take it.
#
# *In accuracy or in error?* From 0.2 to 0.4 the accuracy gains 100 %, and the error loses 25 %. Say which.
#
# </details>

# %% [markdown]
# ## 09.5 · Make the controls win
#
# Difficulty 4/5 · 20 minutes · weight magnitude as the criterion, and random pruning as its control
#
# Behind the first convolution of a block stands a batch norm. So multiply a filter's weights by a number above 0, correct the statistics, and the block computes exactly the same. (The batch norm's `eps` is 0 here.) But the filter's norm has changed.
#
# 1. `rescaled`: the new `weight1`, `mean` and `variance` when each filter's weights are multiplied by its entry in `factors` $(h,)$, and the block must compute the same in evaluation mode.
# 2. `factors`: choose such numbers from a block's six tensors, in the notation of 09.2, so that pruning half of the filters by their L2 norm loses at least 1.4 times as much as pruning at random, in the mean over many random blocks. Loss is the mean squared change of what the second convolution puts out, over its mean square. (From here on `factors` is also a function's name.)
# 3. `odds`: how bad can it get? Let the filters' contributions to the output be spread evenly between 0 and 1, with many filters, and let what is lost be the sum of what goes. Return two numbers, what pruning the share `ratio` loses over what random pruning loses in the mean: first if the norm is kind, so that the weakest go, then if it is unkind, and the strongest go.


# %% tags=["exercise"]
def rescaled(weight1, mean, variance, factors):
    """The three tensors, after each filter's weights are multiplied by its factor."""
    ### BEGIN SOLUTION
    return weight1 * factors[:, None, None, None], mean * factors, variance * factors**2
    ### END SOLUTION


def factors(weight1, scale, shift, mean, variance, weight2):
    """Factors above 0 that make the norm mislead, (h,)."""
    ### BEGIN SOLUTION
    norms = weight1.flatten(1).norm(dim=1)
    read = weight2.transpose(0, 1).flatten(1).norm(dim=1)
    return 1 / (norms * scale.abs() * read)
    ### END SOLUTION


def odds(ratio):
    """Kind and unkind pruning over random pruning, two numbers."""
    ### BEGIN SOLUTION
    return ratio, 2 - ratio
    ### END SOLUTION


# %% tags=["check"]
check("09.5", {"rescaled": rescaled, "factors": factors, "odds": odds})

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# How do the mean and the variance of a list of numbers change when all are multiplied by $a$? And what, apart from its own weights, decides how much of a channel arrives in the output?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# After the batch norm a channel is about as large as its `scale`, and `weight2[:, j]` reads it. Give the filters with a large product a small norm. For `odds`: the weakest part $r$ has the sum $\int_0^r x\,dx$, the strongest $\int_{1-r}^1 x\,dx$, and random filters $r \int_0^1 x\,dx$.
#
# </details>

# %% [markdown]
# What is lost over what random pruning loses, for random blocks as they are, and in your disguise.

# %% tags=["nbval-ignore-output"]
figure, (axes,) = figures.panels(1, size=(6, 3))
ratios = session.pick(smoke=(0.5,), lesson=(0.25, 0.5, 0.75, 0.9))
disguises = {"as they are": (lambda *block: torch.ones_like(block[1]), figures.EXACT)}
for name, (find, colour) in (disguises | {"disguised": (factors, figures.RIVAL)}).items():
    if find(*speaking_block(session.generator(device="cpu"))) is not None:  # once it is written
        lost = [mean_damage(find, session.generator(device="cpu"), ratio) for ratio in ratios]
        axes.plot(ratios, [norm / drawn for norm, drawn in lost], "o-", color=colour, label=name)
axes.axhline(1, color="0.5", linewidth=0.8, label="random")
axes.set_xlabel("ratio")
axes.set_ylabel("lost, over random")
figure.legend(loc="outside lower center", ncols=3)
figures.describe(figure, "Disguised blocks lose more than random pruning does, least so at the highest ratio.")

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# The batch norm divides by what the factor multiplied. So a norm in front of it can be anything, and the criterion sees a number that the function does not.
#
# *Then why does it ever help?* Because training made the norms. In front of a batch norm the gradient of a filter's weights is at right angles to them, so every step of plain gradient descent makes the filter longer, and a penalty on the weights makes all shorter by the same share. After long training a filter is long if gradients have reached it, and one that nobody reads fades. With little penalty none fades, and the norms stay much alike.
#
# *The odds* are $r$ and $2 - r$. With half of the filters gone the unkind norm loses 1.5 times as much as chance does; with nine in ten gone only 1.1 times. Where most must go, it matters little which: look at the random control before you praise a criterion.
#
# </details>

# %% [markdown]
# ## 09.6 · Statistics that lag behind
#
# Difficulty 2/5 · 15 minutes · re-estimation of the batch norms' statistics
#
# 1. `statistics`: `batches` is a list of what comes into a batch norm, each $(n_i, c, h, w)$ with an $n_i$ of its own. Return mean and variance $(c,)$ as a batch norm collects them in one pass with `momentum=None`: plain means, over the batches, of each batch's mean and unbiased variance.
# 2. `stale`: there is no re-estimation. A running mean starts at `old`. Each update of the network leaves 1 − `momentum` of it and adds `momentum` times the batch's mean, which is always `new`. What is it after `updates` updates?
# 3. `needed`: with torch's momentum of 0.1, after how many updates is at most a tenth of the old mean left?
# 4. `sorted_variance` and `mixed_variance`: a channel has the mean −1 in pictures of one class and 1 in those of the other, and the variance 1 in each. Which variance does `statistics` give with many large batches, if each holds a single class, and if each holds both, half and half?


# %% tags=["exercise"]
def statistics(batches):
    """Mean and variance of each channel, two tensors (c,)."""
    ### BEGIN SOLUTION
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches])
    variances = torch.stack([batch.var((0, 2, 3)) for batch in batches])
    return means.mean(0), variances.mean(0)
    ### END SOLUTION


def stale(old, new, momentum, updates):
    """The running mean, a number."""
    ### BEGIN SOLUTION
    left = (1 - momentum) ** updates
    return left * old + (1 - left) * new
    ### END SOLUTION


needed = (
    ### BEGIN SOLUTION
    math.ceil(math.log(0.1) / math.log(0.9))
    ### END SOLUTION
)
sorted_variance = (
    ### BEGIN SOLUTION
    1
    ### END SOLUTION
)
mixed_variance = (
    ### BEGIN SOLUTION
    2
    ### END SOLUTION
)

# %% tags=["check"]
check(
    "09.6",
    {
        "statistics": statistics,
        "stale": stale,
        "needed": needed,
        "sorted_variance": sorted_variance,
        "mixed_variance": mixed_variance,
    },
)

# %% [markdown] tags=["hint"]
# <details><summary>Hint 1</summary>
#
# Which axes of a batch belong together for a channel? How much of the old mean is left after one update, after two? And what is a variance measured from, in each batch?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `batch.mean((0, 2, 3))` and `batch.var((0, 2, 3))`, which is unbiased, then `torch.stack(...).mean(0)`. After $k$ updates $(1 - m)^k$ of the old is left. The variance of a mixture is the mean of the variances plus the variance of the means.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Why this is right</summary>
#
# *A mean over batches* lets a small last batch count as much as the others. With one batch for all pictures, as the lesson's curves take it, none of this matters.
#
# *22 updates* pass before nine tenths of a running mean are the task's own. At the budgets of the lesson's left end there are fewer. So without re-estimation one would judge a network by old statistics, and a pruned network would suffer more than a whole one, since its sums changed all at once.
#
# *Sorted pictures.* In batches of one class the mean moves with the class and the variance within is 1. The squared distance of the means from their middle, 1, is lost. In evaluation mode such a channel would then be too large by a factor of $\sqrt 2$. So take pictures of all classes.
#
# </details>

# %% [markdown]
# ## What to read next
#
# - **Back to the lesson**: [its section on failures](../09_compute_optimal_transfer.ipynb) shows where pruning before fine-tuning does not pay.
# - **The method**: Caccia et al., *Towards Compute-Optimal Transfer Learning*, arXiv 2304.13164.
# - **Filters by their norm**: Li et al., *Pruning Filters for Efficient ConvNets*, ICLR 2017, arXiv 1608.08710.
# - **Batch norm and lengths**: van Laarhoven, *L2 Regularization versus Batch and Weight Normalization*, arXiv 1706.05350.
# - **Pruned or trained anew**: Liu et al., *Rethinking the Value of Network Pruning*, ICLR 2019, arXiv 1810.05270.
