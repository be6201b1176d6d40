# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Start here
#
# **Learning in Motion** teaches ten recent methods of machine learning by letting you move them. This page takes ten minutes. It shows the four things that every lesson is made of: a figure that moves, a claim that can fail, an exercise that answers, and code that you can take away. Then it shows the way: which lesson needs which, and three routes through them.
#
# In JupyterLab, run the cells from top to bottom: *Run → Run All Cells*, or `Shift+Enter` one at a time. Reading this in a browser, as a page of the book? Everything that moves still moves.

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import torch

from companion import readiness
from companion.data import toy
from companion.foundations.diffusion import sample, time_grid
from companion.foundations.distances import energy_distance, noise_floor
from companion.teaching import Choice, Slider, begin, check, claim, curriculum, explore, figures, particles

session = begin(PROFILE, SEED, DEVICE)
generator = session.generator()

# %% [markdown]
# ## 1. A figure that moves
#
# Run the cells down to here, then press **Play**, or drag the slider. Noise becomes data: each point is carried by a *diffusion model*, here an exact one, so nothing was trained. Left, forty small steps. Right, what happens when there is time for only three: many points end between the clusters, where no data live. Lesson 01 is about mending that, lesson 02 about waiting less for many small steps.

# %% tags=["widget"]
law = toy.eight_gaussians().to(session.device)
noise = torch.randn(400, 2, generator=generator, device=session.device)
small = torch.stack(list(sample(law.denoise, noise, time_grid(40))))
big = torch.stack(list(sample(law.denoise, noise, time_grid(3))))
between = torch.linspace(0, 3, 41).tolist()
big = torch.stack([torch.lerp(big[int(at)], big[min(int(at) + 1, 3)], at % 1) for at in between])

particles(
    {"40 steps": small, "3 steps": big},
    title="From noise to data",
    alt="Points walk from a round cloud of noise to eight clusters on a circle. With three steps many stop between the clusters.",
    labels=[f"t = {1 - at / 3:.2f}" for at in between],
    axis="Time",
    reference=law.sample(400, generator),
)

# %% [markdown]
# ## 2. Your own slider
#
# `explore` turns any function that returns a matplotlib figure into one with sliders. Change the function and run the cell again.


# %% tags=["widget"]
def noised(t):
    """The eight clusters melt into one round cloud as the time goes from 0 to 1."""
    figure, (axes,) = figures.panels(1, size=(3.6, 3.6))
    points = law.sample(600, session.generator(2))
    figures.scatter(axes, points, figures.EXACT, limit=3.5)
    figures.scatter(axes, (1 - t) * points + t * torch.randn(points.shape, generator=session.generator(3)), limit=3.5)
    return figure


explore(noised, title="Noise, a little at a time", t=Slider(0, 1, 0.3, steps=11, label="Time t"))

# %% [markdown]
# ## 3. A claim that can fail
#
# A lesson does not ask you to believe it. It prints each thing it claims, with the number, and the cell fails if the claim is false. Change the 2 below to a 20: the samples become good, so the claim becomes false and the cell fails.

# %% tags=["claim"]
steps = 2
start = torch.randn(2000, 2, generator=generator, device=session.device)
*_, samples = sample(law.denoise, start, time_grid(steps))
floor = noise_floor(lambda: law.sample(2000, generator))
away = energy_distance(samples, law.sample(2000, generator)) / floor
claim(
    "samples differ from the data by more than ten times what two samples of the data differ by chance", away > 10, away
)

# %% [markdown]
# ## 4. An exercise that answers
#
# Each lesson has a notebook of exercises (in `notebooks/student/`). A check never says just "wrong": it says which property fails and why that matters. Exercise 01.1 asks for the best spread $s$ of a model whose loss weighs one of its two terms by $\lambda = 1/2$. Here somebody guesses $s = \lambda$, on purpose.

# %% tags=["check"]
check("01.1", 0.5)

# %% [markdown]
# ## 5. Code to take away
#
# The package behind the lessons works on your own tensors, on any device, with nothing of Jupyter installed:
#
# ```python
# from companion.methods.distributional import DistributionalDenoiser, sample_distributional, train_distributional
# ```
#
# ## Is this machine ready?

# %%
print("\n".join(readiness.missing()) or "This machine has all that the lessons need.")

# %% [markdown]
# Nothing is fetched from the network after this, and no lesson takes longer than two minutes to run.
#
# ## The map
#
# Which lesson needs which? Five short *foundations* (left) carry the ten methods (right). A box that no line leads to needs no other lesson. What it takes for granted besides Python, least squares and what a neural network is (Gaussians for f2 and f4, convolutions for 09 and 10) stands at its top. Choose a route, and see what it takes in and what it leaves out.

# %% tags=["widget"]
routes = Choice([curriculum.EVERYTHING, *curriculum.ROUTES], curriculum.EVERYTHING, "Route")
explore(curriculum.map_figure, title="Which lesson needs which", route=routes)

# %% [markdown]
# | lesson | you will see | first | minutes |
# |---|---|---|---|
# | **Foundations** | | | |
# | f1 [Distances](f1_distances.ipynb) | how far apart two clouds are, and when that is chance | – | 15 + 30 |
# | f2 [Diffusion in two dimensions](f2_diffusion_in_two_dimensions.ipynb) | noise that becomes data, with nothing learned | (f1) | 20 + 25 |
# | f3 [Guidance](f3_guidance.ipynb) | a sharper class, and what it is not | f1, f2 | 15 + 25 |
# | f4 [Least squares with a memory](f4_least_squares_with_a_memory.ipynb) | ridge, recursive least squares and Kalman, as one | – | 20 + 25 |
# | f5 [Learning on a stream](f5_learning_on_a_stream.ipynb) | what to test when the data never stop | – | 20 + 25 |
# | **When samples move** | | | |
# | 01 [Distributional diffusion](01_distributional_diffusion.ipynb) | a denoiser that draws, and so can take big steps | f1, f2 | 35 + 70 |
# | 02 [Speculative sampling](02_speculative_sampling.ipynb) | cheap drafts, checked together, that leave every probability as it was | f2 (01) | 35 + 70 |
# | 03 [Learned guidance](03_learned_guidance.ipynb) | a guidance knob that turns itself, for each class and each step | f3, 01 | 35 + 80 |
# | 04 [Deep MMD gradient flow](04_mmd_gradient_flow.ipynb) | particles that go downhill to the data, on a slope learned from noise | f1, f2 (01) | 35 + 90 |
# | **When data move** | | | |
# | 05 [Closed-form last layer](05_closed_form_last_layer.ipynb) | a network whose last layer is never walked to, but solved | f4 | 35 + 105 |
# | 06 [Kalman filter for online classification](06_kalman_online.ipynb) | a classifier that finds out how fast to forget | f4, f5 (05) | 35 + 90 |
# | 07 [Soft parameter reset](07_soft_reset.ipynb) | a network that goes back towards its start, as far as the next batch asks | f5 (06) | 35 + 85 |
# | 08 [Dynamic evaluation](08_dynamic_evaluation.ipynb) | a language model that learns the text it is tested on, without cheating | f5 | 35 + 95 |
# | **When tasks move** | | | |
# | 09 [Compute-optimal transfer](09_compute_optimal_transfer.ipynb) | a network that throws most of itself away, and is ahead for it | – | 35 + 105 |
# | 10 [NEVIS](10_nevis.ipynb) | a hundred tasks, one after another, and the bill for each | (f5, 09) | 40 + 105 |
#
# *First* is what to do before; what helps stands in brackets. *Minutes*: reading + exercises; running a lesson takes one more.
#
# ### Seminar, 90 minutes
#
# | when | lessons | what |
# |---|---|---|
# | 0–20 | [f2](f2_diffusion_in_two_dimensions.ipynb) | the question: noise becomes data; why few steps fail (f1 at home, before) |
# | 20–70 | [01](01_distributional_diffusion.ipynb) | the answer of one paper, widget by widget: predict first, then move |
# | 70–90 | [01](01_distributional_diffusion.ipynb) | exercise 01.1 in pairs, and where the method fails |
#
# ### Reading group, one week
#
# | when | lessons | what |
# |---|---|---|
# | Monday | [f1](f1_distances.ipynb), [f2](f2_diffusion_in_two_dimensions.ipynb) | both foundations, at home; bring one question each |
# | Tuesday | [01](01_distributional_diffusion.ipynb) | the lesson, then exercises 01.1 and 01.3 |
# | Wednesday | [02](02_speculative_sampling.ipynb) | the lesson; what would a wrong verifier change? |
# | Thursday | [f3](f3_guidance.ipynb), [03](03_learned_guidance.ipynb) | what guidance samples, and who turns the knob |
# | Friday | [04](04_mmd_gradient_flow.ipynb) | a fourth way to the same data: particles that go downhill; which of the four would you use, and for what? |
#
# ### Course, twelve weeks
#
# | when | lessons | what |
# |---|---|---|
# | Week 1 | [f1](f1_distances.ipynb), [f2](f2_diffusion_in_two_dimensions.ipynb) | distances and diffusion; the machine is ready |
# | Week 2 | [01](01_distributional_diffusion.ipynb) | draws in place of means |
# | Week 3 | [02](02_speculative_sampling.ipynb) | drafts and a verifier |
# | Week 4 | [f3](f3_guidance.ipynb), [03](03_learned_guidance.ipynb) | guidance, exact and learned |
# | Week 5 | [04](04_mmd_gradient_flow.ipynb) | flows down a distance |
# | Week 6 | [f4](f4_least_squares_with_a_memory.ipynb), [05](05_closed_form_last_layer.ipynb) | what can be solved need not be learned |
# | Week 7 | [f5](f5_learning_on_a_stream.ipynb), [06](06_kalman_online.ipynb) | streams, and a filter that forgets |
# | Week 8 | [07](07_soft_reset.ipynb) | networks that lose and regain the ability to learn |
# | Week 9 | [08](08_dynamic_evaluation.ipynb) | language models that go on learning |
# | Week 10 | [09](09_compute_optimal_transfer.ipynb) | smaller networks from larger ones |
# | Week 11 | [10](10_nevis.ipynb) | a hundred tasks, and the bill |
# | Week 12 | – | projects: one claim of a lesson, on data of your own |
#
# A reading group can take another part in its week: *When data move*, say, after f4 and f5. The [instructor's pages](../book/how-to-teach.md) have a plan for each lesson.
#
# ## When something goes wrong
#
# - *A cell says `ClaimFailed`*: you changed something, or found a bug. Run *Kernel → Restart Kernel and Run All Cells* to see which.
# - *A figure is missing, or does not move*: run its cell, or all from the top. Notebooks are stored without pictures; the pages of the book have them.
# - *JupyterLab asks whether to save*, though nothing was changed: either answer is right.
# - *Anything else*: `.venv/bin/python -m companion doctor`, in a terminal, says what is wrong and what mends it.
