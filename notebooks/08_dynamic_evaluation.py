# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Dynamic evaluation
#
# A language model reads a text, and predicts each character before it sees it. Usually its weights stay as they are. What if it kept learning from what it reads? It would have two memories: the *context*, exact and short, and the *weights*, vague and long. Which one should remember what?
#
# - **You will be able to** let a language model learn from the text that it is tested on, without cheating; choose how much of it learns, and how fast; weigh context against weights at equal compute; and say what learning forgets.
# - **You need first** a softmax, gradient descent, roughly what a transformer does, and that one tests before one trains (foundation [f5](f5_learning_on_a_stream.ipynb)).
# - **Minutes**: 35 to read, 1 to run, 95 for the exercises.
# - **Paper**: Rannen-Triki and others, *Revisiting Dynamic Evaluation: Online Adaptation for Large Language Models*, 2024, [arXiv 2403.01518](https://arxiv.org/abs/2403.01518).

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import copy
import math
from functools import partial
from statistics import median

import torch

from companion.data.text import SYMBOLS, decode
from companion.methods.dynamic_evaluation import add_adapters, evaluate_stream, log_losses
from companion.teaching import begin, claim
from companion.teaching.lessons import dynamic_evaluation as lesson
from companion.teaching.lessons import dynamic_evaluation_views as views
from companion.teaching.lessons.readers import fresh, reader
from companion.teaching.widgets import live_attention, live_reader, live_reading

session = begin(PROFILE, SEED, DEVICE)

# %% [markdown]
# ## The question: what does a reader do where it has never been?
#
# Our reader is a transformer of two blocks and 112,609 weights. It was trained on 24 plays by Shakespeare, character by character, and on nothing else. (Five of them come with the package, one for each seed.) Now it is given a text that leads it away from home, and back: a scene it has not read, the same scene in the spelling of 1623, Python's documentation, Python code, documentation again, and the rest of the play. How many bits does it need for each character, with at least 64 before it in sight?
#
# Two copies read the same text. One stays as it is. The other learns: after every 16 characters it takes one step of Adam on what it has just failed to foresee.

# %%
part = session.pick(smoke=300, lesson=2500)
text = lesson.journey(SEED % 5, part)
setting = views.travelling("Adam")
live = {
    "static": lesson.read("static", {}, text, session),
    "learning": lesson.read("Adam", setting, text, session),
}
views.journey_figure(live, part)

# %% [markdown]
# Look closer. Above is the text as the static reader meets it, below as the learning one does. What is foreseen is pale, what surprises is red. It opens in the documentation. Read on: which words stop surprising, and after how many times? Then go to the plays, and watch the speakers' names.

# %% tags=["widget"]
marks = {place * part: views.SHORT[style] for place, style in enumerate(lesson.JOURNEY)}
live_reading(
    decode(text[lesson.CONTEXT :]),
    {name: reading.bits * math.log(2) for name, reading in live.items()},
    marks=marks,
    place=2 * part + part // 2,
    title="The same text, read twice",
    alt="Two panels show the same lines of the text, each character coloured by how much it surprised. In documentation and code the upper panel, of the reader that learns nothing, is red almost everywhere; the lower one is pale where words come again. Below, the loss of both along the whole text.",
    note="Both losses were noted before anything was learned from the character.",
)

# %% [markdown]
# ## The method, and its order
#
# A text $x_1,\dots,x_T$ comes in blocks of $s$ characters, the *stride*. The reader has weights $\theta$, and sees the $c$ characters before a block, the *context*.
#
# 1. **Predict** the block, and note its log-loss, $-\sum_i \log p_{\theta}(x_i \mid x_{<i})$.
# 2. **Learn** it: one step of an optimiser on the mean loss of the *new* characters.
#
# $$\theta_{j+1} = \mathrm{Opt}\Big(\theta_j,\ \nabla_{\theta}\,\tfrac1s\sum_{i\in\text{block }j} -\log p_{\theta_j}(x_i\mid x_{<i})\Big).$$
#
# The order is what makes it a *test*. Each character is scored by weights that have not seen it; so the sum of the losses, over $\log 2$, is the length in bits of a code that a receiver could read, and a fair comparison with any other reader. By hand it is a short loop (over whole blocks). The switch `cheat` learns first:


# %%
def read_by_hand(model, tokens, context, stride, lr, cheat=False):
    model, scores = copy.deepcopy(model), []
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for end in range(context + stride, len(tokens) + 1, stride):
        window = tokens[None, end - stride - context : end]
        new = lambda: log_losses(model(window[:, :-1]), window[:, 1:])[0, -stride:]  # noqa: B023, E731
        loss = new()
        if not cheat:
            scores.append(loss.detach())
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        if cheat:
            scores.append(new().detach())
    return torch.cat(scores) / math.log(2)


# %% [markdown]
# To see that nobody cheats, give a reader that knows nothing a text with nothing to learn: characters drawn at random, all 97 alike. No honest reader needs fewer than $\log_2 97\approx 6.6$ bits for each, but by chance.

# %% tags=["claim"] equation="the order of dynamic evaluation"
model = fresh("window", SEED)
noise = torch.randint(SYMBOLS, (1608,), generator=session.generator(1, "cpu"))
honest, cheating = (read_by_hand(model, noise, 8, 16, 0.01, cheat) for cheat in (False, True))
package = evaluate_stream(model, noise, 8, 16, partial(torch.optim.Adam, lr=0.01)).log_loss / math.log(2)
claim(
    "on random characters the honest reader stays above log2 97 bits, and learning before scoring ends below; the loop by hand is the package's",
    cheating.mean() < math.log2(SYMBOLS) < honest.mean() and (honest - package).abs().max() < 1e-4,
    {"honest": honest.mean(), "cheating": cheating.mean()},
)

# %% [markdown]
# The package has it as one call, for any model that turns numbers `(1, l)` into logits `(1, l, vocab)`; `HuggingFaceReader` makes one of a causal model from there:
#
# ```python
# reading = evaluate_stream(model, tokens, context=64, stride=16, optimizer=partial(torch.optim.Adam, lr=1e-3))
# for block in tqdm(reading): ...            # it yields blocks as it goes
# reading.log_loss, reading.flops, reading.model
# ```
#
# Now you. Here is a smaller reader, a perceptron over the last eight characters, and it learns *in this page*. Take a text, or type your own. How large may the rate get, before learning hurts? Is it the same for the plays and for code? What do more steps bring, a smaller stride?

# %% tags=["widget"]
live_reader(
    reader("window", session),
    views.samples(),
    title="Read it and learn it",
    alt="Bits per character along a text, grey for a reader that stays as it is, blue for one that learns. In code the blue line soon lies far below the grey one. With a large rate it lies above it in the plays.",
    note="Copy a paragraph twice into your own text, and watch the second time.",
)

# %% [markdown]
# ## Which rate?
#
# At home, in a play, there is little to learn: the names of these persons, their favourite words. A large rate writes noise over what the reader knew. Abroad, everything is new. Here is the loss against the rate for five styles, on the two passages of each by which all settings of this lesson are chosen; no result is reported on them.

# %% tags=["hide-input"]
views.rates_figure()

# %% tags=["claim"] equation="the online step"
abroad = [gain for style in ("docs", "code") for gain in views.gains(style, "Adam")]
typical = {views.SHORT[style]: median(views.gains(style, "Adam")) for style in ("docs", "code")}
home, rates = views.gains("plays", "Adam"), views.best_rates()
claim(
    "five seeds: abroad, in documentation and code, learning wins on every seed, more than 30 % in the median; at home it wins on every seed, less than 10 %, and at less than half the best rate for code",
    min(abroad + home) > 0 and min(typical.values()) > 0.3 and max(home) < 0.1 and rates["plays"] < rates["code"] / 2,
    typical | {"home at most": max(home), "rate at home": rates["plays"], "for code": rates["code"]},
)

# %% [markdown]
# So the rate says whether you expect to be at home or abroad. Between the plays, their old spelling and the Bible it hardly differs; Python wants four times as much. Whoever tunes it on the text itself has looked at the answers: choose it on another text of the same kind.
#
# ## Two memories
#
# Why should learning from a text be anything like reading it with a longer context? Take the smallest case. Pairs $(x_j, y_j)$ stand in the context, and the model is asked for $y$ at another $x$. One step of gradient descent on $\frac1{2n}\sum_j(y_j-w\cdot x_j)^2$ from $w=0$ gives
#
# $$\Delta w = \frac{\eta}{n}\sum_j y_j\,x_j ,\qquad \hat y = \Delta w\cdot x = \frac{\eta}{n}\sum_j y_j\,(x_j\cdot x).$$
#
# Read the last sum again: values $y_j$, weighed by keys $x_j$ times the query $x$. It is a layer of *linear attention*. One layer, one step ([von Oswald and others](https://arxiv.org/abs/2212.07677)); a second layer, working on what the first left unexplained, is the second step. Nothing is trained here: the matrices are written down. Drag the points, and add layers.

# %% tags=["widget"]
generator = torch.Generator().manual_seed(4)
xs = torch.linspace(-1.6, 1.6, 10, dtype=torch.float64) + 0.15 * torch.randn(
    10, generator=generator, dtype=torch.float64
)
ys = 0.7 * xs + 0.4 + 0.25 * torch.randn(10, generator=generator, dtype=torch.float64)
live_attention(
    torch.stack([xs, ys], 1),
    title="A layer that reads is a step that learns",
    alt="Points in the plane, the line of gradient descent after some steps, and circles, predicted by as many layers of linear attention: they lie on the line. With softmax attention they leave it.",
    note="The circles come from queries, keys and values alone. Attention takes the step in activations, dynamic evaluation takes it in weights: two memories of one reader.",
)

# %% [markdown]
# The same sum can be worked out in *activations*, anew for each query, from a context that is kept. Or it can be put into the *weights*, once, and the context forgotten. Real attention has a softmax, and real layers are deep; the likeness ends there, but the question stays: where should memory be?
#
# ## Rivals at equal cost
#
# A context costs. A window of $c+s-1$ characters is read for every $s$ new ones, and learning makes that about three times as much: the backward pass takes twice the operations of the forward one. (Adapters need fewer, since the gradients of frozen weights are left out.) So, for what it costs, is it better to look back further, or to learn?

# %% tags=["hide-input"]
views.frontier_figure()

# %% tags=["claim"] equation="the online step"
rows = {style: views.contexts()[style] for style in ("docs", "code")}
short, long = (
    {style: found[kind][context] for style, found in rows.items()}
    for kind, context in (("Adam", "4"), ("small", "112"))
)
apart = {style: [1 - a / b for a, b in zip(short[style]["bits"], long[style]["bits"])] for style in rows}
cost = short["docs"]["flops"] / long["docs"]["flops"]
claim(
    "five seeds, documentation and code: learning with a context of 4 is ahead of a static reader with 112 on every seed, by more than a quarter in the median, for less than half the cost",
    min(apart["docs"] + apart["code"]) > 0 and min(map(median, apart.values())) > 0.25 and cost < 0.5,
    {views.SHORT[style]: median(found) for style, found in apart.items()} | {"cost": cost},
)

# %% [markdown]
# But say what this shows. Abroad the static reader gains *next to nothing* by looking back further than 4 characters; so it is learning that wins, not a trade of one memory for the other. At home a longer context does help, by little. Our reader was trained on windows of 128; models that use long contexts well are harder rivals.
#
# Two more rivals are in the figure. A static reader need not read its window again and again: it can keep the keys and values of what it has read. The open marks show what it would cost then, a third of what learning costs with the shortest context. (A learner that kept them would use keys of older weights.) And a *larger* static reader, with three times the weights, costs with its window of 64 what learning costs with the small one. It is better than the small one at home, though not better than the small one that learns; abroad it is no better at all.
#
# *What should learn?* All weights; only the perceptrons inside the blocks; or adapters beside them, $W + BA$ with $B$ and $A$ of rank 4, and $W$ frozen (LoRA). Each with the best of nine rates:

# %% tags=["hide-input"]
views.gains_table(("SGD", "Adam", "MLP", "LoRA"), lesson.STYLES)

# %% tags=["claim"] equation="the online step"
adapters, styles = add_adapters(reader("small", session), rank=4), ("docs", "code")
kept = [part / whole for style in styles for part, whole in zip(views.gains(style, "LoRA"), views.gains(style, "Adam"))]
cost = views.rows_of("docs")["LoRA"]["flops"] / views.rows_of("docs")["Adam"]["flops"]
share = sum(each.numel() for each in adapters) / sum(each.numel() for each in reader("small", session).parameters())
claim(
    "five seeds, documentation and code: adapters with less than 5 % of the weights keep more than half of what all weights gain, on every seed, for less than two thirds of the cost",
    min(kept) > 0.5 and share < 0.05 and cost < 2 / 3,
    {"kept at least": min(kept), "share of the weights": share, "cost": cost},
)

# %% [markdown]
# And here are all readers, in all styles. *Decay* pulls back towards the start after every step; *reset* goes there every 64 blocks. *Krause's rule* is dynamic evaluation as it first was: gradients divided by their usual size, and a decay. The *cache* learns nothing at all: it keeps the reader's own hidden states, and lets those that resemble the present one vote for the character that followed them. Each has the best of nine settings by the two other passages, read by one of the five readers; some lie at an end of their grid. Medians of five seeds, with half of their range. (Each seed has its own passage, and passages differ: compare within a seed, as the claims do.)

# %% tags=["hide-input"]
views.styles_table()

# %% tags=["claim"] equation="the online step"
ahead = [gain for style in ("folio", "docs", "code") for gain in views.gains(style, "cache", "Adam")]
cost = views.rows_of("code")["cache"]["flops"] / views.rows_of("code")["Adam"]["flops"]
claim(
    "five seeds: in the old spelling, in documentation and in code, the cache is ahead of learning on every seed, at less than half the cost",
    min(ahead) > 0 and cost < 0.5,
    {"ahead at least": min(ahead), "cost": cost},
)

# %% [markdown]
# Read it from the top. *Learning pays in every style*, a little at home and a lot abroad. SGD does nearly as well as Adam, at a rate some thirty times as large. The perceptrons alone gain as much as all weights; adapters lose part of it everywhere, least at home. Krause's rule is the best of all at home, and behind in documentation. A pull to the start is worth next to nothing in these short texts. Resets keep about half of what was learned.
#
# Then the *cache*. It learns nothing and forgets nothing, at less than half the cost. In the old spelling, in documentation and in code it is ahead of everything that only learns. Such texts repeat themselves to the letter: a word that was seen once has a vote at once, while a gradient step, at a rate that does no harm, moves its probability by a little. In the Bible learning is ahead by little, on most seeds; at home they are level; and mostly, though not at home, the two *together* are the best. So memory in weights is not the only other memory, and here it is not the best one. (The paper's abstract names no such rival; its models are thousands of times as large, and its texts whole books. And mind what a cache needs: every state is kept, and asked for every character. Its cost grows with the text.)
#
# What if somebody had trained the reader on such texts *before*? Two other passages, 32,000 characters, with the best of six trainings:

# %% tags=["hide-input"]
views.fine_tuned_table()

# %% [markdown]
# Abroad, learning on the way is worth about as much as training before: ahead in code, a little behind in documentation, for a seventh of the operations. The two do not replace each other: a reader that was trained before gains by learning on, too. At home training on two plays more does harm: even the gentlest of the six wrote over what 24 plays had taught.
#
# *How often?* With a smaller stride there are more steps on the same text, each on fewer characters, and each costs a window. The best of five rates is in brackets:

# %% tags=["hide-input"]
views.strides_table()

# %% [markdown]
# Abroad more steps are better: from 64 characters a step down to 4 the loss falls by about a seventh, for seven times the cost. At home there is next to nothing to be had. And the rate goes with the stride: who takes fewer steps may take larger ones.
#
# ## Where it fails
#
# What is learned on the way is not free: it is written over something. Back to the journey at the top, longer now. How do the readers fare when they come home?

# %% tags=["hide-input"]
views.parts_table()

# %% tags=["claim"] equation="the online step"
parts = {kind: row["parts"] for kind, row in views.journeys().items()}
home_again = [learned[-1] / static[-1] for learned, static in zip(parts["Adam"], parts["static"])]
resets = [
    reset / learned for reset, learned in zip(views.journeys()["reset"]["bits"], views.journeys()["Adam"]["bits"])
]
claim(
    "five seeds: home again after documentation and code, the reader that learned needs more bits than the one that never did; and over the whole journey resets cost more than they save, on every seed",
    min(home_again) > 1 and min(resets) > 1,
    {"home again, against static": min(home_again), "resets, against none": min(resets)},
)

# %% [markdown]
# - *It forgets.* In the first part, at home, learning helps; in the last, at the same rate, it hurts: what was learned abroad is in the way. A pull to the start, or adapters, soften this by a third or so, and with the pull the whole journey costs fewer bits. Resets lose more abroad than they save at home.
# - *One setting for all.* The rate that is right abroad is wrong at home. Nor is the cache free of it: with the one weight that is best for the whole journey, it does harm in the first part.
# - *It believes what it reads.* A text that repeats a falsehood, or was written to be learned, changes the model. And a model that has read your letters has them in its weights: what is learned from one reader must not be shown to another.
# - *It is serial.* Block after block, each with its own weights: no batching over readers, unless all that differs is a small adapter.
# - *Its cost is in the backward pass:* three times the operations, and the memory of activations and of the optimiser.
# - *Bits are not answers.* The loss falls, since names, indentation and spelling are learned soon. That says little about whether the text was understood.
#
# ## Real data: one play, two spellings
#
# All texts here are real; but one pair is special. Seven plays come in modern spelling, and in that of the First Folio, the first edition of 1623: *haue* for *have*, *vnfold* for *unfold*. The same scenes, nearly the same words. How much of what the old spelling costs can be learned in 6,000 characters?

# %% tags=["hide-input"]
views.styles_table(("static", "Adam", "LoRA", "cache"), ("plays", "folio"))

# %% [markdown]
# Compare within each way of reading: the gap between the two columns is what the spelling costs. Learning closes about three tenths of the static reader's gap, a cache more than four tenths. The rest of what they gain in the old spelling they would gain in the modern one as well: names, and what this scene is about.
#
# With `PROFILE = "full"` a transformer of eleven million weights is trained on the plays first, in minutes on a GPU, and reads code.

# %% tags=["slow"]
if PROFILE == "full":
    print(views.large_run(session))

# %% [markdown]
# ## Common mistakes
#
# - *Learning before scoring*, or scoring a window whose characters were learned already: both count what was told.
# - *The mean over the whole window.* Old characters in the step are learned again and again; old characters in the *report* flatter: they were told before.
# - *Dropout left on.* It is an evaluation: `model.eval()`.
# - *Positions never trained.* A context longer than those of the training measures confusion, not memory.
# - *The rate from the test text.* Take another passage, and say which.
# - *Adam's first steps* have unit size, whatever the gradient: reset the optimiser when you reset the weights, or the old means push the new ones.
# - *Costs left out.* Three times the operations is a fair price only beside what else they could buy.
#
# ## Exercises
#
# The notebook [student/08_dynamic_evaluation](student/08_dynamic_evaluation.ipynb) holds the exercises, checked as you go: the price of learning, windows over a text, the loop in its order, readers that have seen the answers, the price in operations, and a rate that does not travel.
#
# ## What to read next
#
# - Rannen-Triki and others (2024), the paper of this lesson.
# - Krause and others (2018), *Dynamic evaluation of neural sequence models*, and its sequel for transformers (2019).
# - Grave, Joulin and Usunier (2017), *Improving neural language models with a continuous cache*: the rival that does not learn.
# - Hu and others (2021), *LoRA: low-rank adaptation of large language models*.
# - von Oswald and others (2023), *Transformers learn in-context by gradient descent*.
# - Sun and others (2024), *Learning to (learn at test time)*: layers whose hidden state is a model that learns.
