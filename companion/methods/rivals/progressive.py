"""Progressive distillation: a student learns to do in one DDIM step what its teacher does in two, again and again.

Source: Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", ICLR 2022
(arXiv 2202.00512), Algorithm 2 with the DDIM step of this suite's schedule.

>>> from companion.data.toy import eight_gaussians
>>> from companion.foundations.diffusion import sample, time_grid
>>> from companion.foundations.networks import TimeMLP
>>> law, generator = eight_gaussians(), torch.Generator().manual_seed(0)
>>> student = TimeMLP(dim=2)
>>> for state in distil(student, law.denoise, law, student_steps=2, steps=10, generator=generator):
...     pass
>>> noise = torch.randn(100, 2, generator=generator)
>>> *_, points = sample(student, noise, time_grid(2))
>>> points.shape
torch.Size([100, 2])
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from companion.foundations.diffusion import Denoiser, add_noise, alpha, bridge, expand_time, sigma
from companion.foundations.training import Data, TrainingState, draw_batch, train
from companion.foundations.validation import Number, require_count


@torch.no_grad()
def two_step_target(
    teacher: Denoiser, x: Float[Tensor, "n *event"], index: Float[Tensor, " n"], student_steps: int
) -> Float[Tensor, "n *event"]:
    """The clean point with which one DDIM step lands where two steps of the teacher do (Algorithm 2).

        target = (z'' - (sigma'' / sigma) z) / (alpha'' - (sigma'' / sigma) alpha)

    Args:
        teacher: a denoiser, (x, t (n,)) -> (n, *event).
        x: z above, noisy points at time `index / student_steps`.
        index: whole numbers from 1 to `student_steps`, one for each row.
        student_steps: of the student's grid; the teacher's has twice as many.
    """
    t, middle, end = index / student_steps, (index - 0.5) / student_steps, (index - 1) / student_steps
    halfway, _ = bridge(x, teacher(x, t), t, middle)
    landed, _ = bridge(halfway, teacher(halfway, middle), middle, end)
    ratio = sigma(end) / sigma(t)
    weight = alpha(end) - ratio * alpha(t)
    return (landed - expand_time(ratio, x) * x) / expand_time(weight, x)


def distil(
    student: nn.Module,
    teacher: Denoiser,
    data: Data,
    student_steps: int,
    steps: int,
    batch_size: int = 256,
    learning_rate: Number = 2e-3,
    generator: torch.Generator | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[TrainingState]:
    """One round: train `student` to take `student_steps` DDIM steps like twice as many of the teacher.

    The loss is weighted by `max(alpha^2 / sigma^2, 1)`, the paper's truncated signal-to-noise ratio.

    Args:
        student: a network (x, t) -> clean point; start it from the teacher's weights.
        teacher: the denoiser of the round before. It is only called.
        data: a tensor, a law or a callable.
        student_steps: of the student.
        steps: updates, each of three network calls and one backward pass.
        batch_size, learning_rate, generator, resume: as `train_distributional`.

    Raises:
        ValueError: a count below 1, or as `training.train`. Raised at the call.
    """
    require_count("student_steps", student_steps, 1)
    require_count("batch_size", batch_size, 1)

    def loss(student: nn.Module) -> Tensor:
        x0 = draw_batch(data, batch_size, generator)
        index = torch.randint(1, student_steps + 1, (batch_size,), generator=generator, device=x0.device).to(x0.dtype)
        t = index / student_steps
        x = add_noise(x0, t, torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device))
        error = (student(x, t) - two_step_target(teacher, x, index, student_steps)).square().flatten(1).sum(1)
        return ((alpha(t) / sigma(t)).square().clamp_min(1) * error).mean()

    return train(student, loss, steps, learning_rate, generator=generator, resume=resume)
