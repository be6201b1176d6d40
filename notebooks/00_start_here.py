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
# **Learning in Motion** teaches ten recent methods of machine learning by letting you move them. This page takes five minutes and shows the four things that every lesson is made of: a figure that moves, a claim that can fail, an exercise that answers, and code that you can take away.
#
# In JupyterLab, run the cells from top to bottom: *Run → Run All Cells*, or `Shift+Enter` one at a time. Reading this in a browser, as a page of the book? Everything that moves still moves.

# %% tags=["parameters"]
PROFILE = "lesson"
SEED = 0
DEVICE = "auto"

# %% tags=["setup"]
import torch

from companion.data import toy
from companion.foundations.diffusion import sample, time_grid
from companion.foundations.distances import energy_distance, noise_floor
from companion.teaching import Slider, begin, check, claim, explore, figures, particles

session = begin(PROFILE, SEED, DEVICE)
generator = session.generator()

# %% [markdown]
# ## 1. A figure that moves
#
# Press **Play**, or drag the slider. Noise becomes data: each point is carried by a *diffusion model*, here an exact one, so nothing was trained. Left, forty small steps. Right, what happens when there is time for only three: many points end between the clusters, where no data live. Lesson 01 is about mending that, lesson 02 about waiting less for many small steps.

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
# A lesson does not ask you to believe it. It prints each thing it claims, with the number, and the cell fails if the claim is false. Change the 2 below to a 20 and see.

# %% tags=["claim"]
steps = 2
start = torch.randn(2000, 2, generator=generator, device=session.device)
*_, samples = sample(law.denoise, start, time_grid(steps))
floor = noise_floor(lambda: law.sample(2000, generator))
away = energy_distance(samples, law.sample(2000, generator)) / floor
claim("two samples of the data differ by chance; these samples differ from the data 10 times as much", away > 10, away)

# %% [markdown]
# ## 4. An exercise that answers
#
# Each lesson has a notebook of exercises (in `notebooks/student/`). A check never says just "wrong": it says which property fails and why that matters. Here is a wrong answer to the first exercise of lesson 01, on purpose.

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
# ## The lessons
#
# | | lesson | you will see | minutes |
# |---|---|---|---|
# | **When samples move** | 01 [Distributional diffusion](01_distributional_diffusion.ipynb) | a denoiser that draws, and so can take big steps | 35 |
# | | 02 [Speculative sampling](02_speculative_sampling.ipynb) | cheap drafts, checked together, that leave every probability as it was | 35 |
# | | 03 [Learned guidance](03_learned_guidance.ipynb) | a guidance knob that turns itself, for each class and each step | 35 |
# | | 04 [Deep MMD gradient flow](04_mmd_gradient_flow.ipynb) | particles that go downhill to the data, on a slope learned from noise | 35 |
# | **When data move** | 05 [Closed-form last layer](05_closed_form_last_layer.ipynb) | a network whose last layer is never walked to, but solved | 35 |
# | | 06 [Kalman filter for online classification](06_kalman_online.ipynb) | a classifier that finds out how fast to forget | 35 |
# | | 07 [Soft parameter reset](07_soft_reset.ipynb) | a network that goes back towards its start, as far as the next batch asks | 35 |
# | | 08 [Dynamic evaluation](08_dynamic_evaluation.ipynb) | a language model that learns the text it is tested on, without cheating | 35 |
# | **When tasks move** | 09 [Compute-optimal transfer](09_compute_optimal_transfer.ipynb) | a network that throws most of itself away, and is ahead for it | 35 |
# | | 10 [NEVIS](10_nevis.ipynb) | a hundred tasks, one after another, and the bill for each | 40 |
#
# ## When something goes wrong
#
# - *A cell says `ClaimFailed`*: you changed something, or found a bug. Run *Kernel → Restart Kernel and Run All Cells* to see which.
# - *A figure does not move*: run its cell again; a figure without a running kernel shows only its stored pictures.
# - *Anything else*: `make help` in a terminal lists what the project can do.
