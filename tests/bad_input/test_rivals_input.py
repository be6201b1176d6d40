"""The rivals refuse bad input in one sentence that names the argument, what came and what is allowed."""

import pytest
import torch

from companion.data.toy import eight_gaussians
from companion.foundations.diffusion import time_grid
from companion.foundations.networks import TimeMLP
from companion.methods.distributional import DistributionalDenoiser
from companion.methods.rivals.analytic_variance import denoising_errors, sample_analytic
from companion.methods.rivals.consistency import ConsistencyModel, distil_consistency, sample_consistency
from companion.methods.rivals.gan import Critic, GanPair, train_gan
from companion.methods.rivals.progressive import distil

LAW = eight_gaussians()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: denoising_errors(LAW.denoise, LAW, time_grid(2), n=0), "n is 0, but must be at least 1"),
        (lambda: denoising_errors(LAW.denoise, LAW, torch.ones(1)), "times is of shape"),
        (
            lambda: sample_analytic(LAW.denoise, torch.zeros(3, 2), time_grid(2), torch.ones(3)),
            r"errors is of shape \(3,\), but must be of shape \(2,\), one for each step",
        ),
        (
            lambda: distil(TimeMLP(2), LAW.denoise, LAW, student_steps=0, steps=10),
            "student_steps is 0, but must be at least 1",
        ),
        (
            lambda: distil_consistency(ConsistencyModel(TimeMLP(2)), LAW.denoise, LAW, steps=10, intervals=0),
            "intervals is 0, but must be at least 1",
        ),
        (
            lambda: train_gan(
                GanPair(DistributionalDenoiser(TimeMLP(2, noise_dim=2), (2,)), Critic(2)),
                LAW, time_grid(2), steps=10, penalty=-1.0,
            ),
            "penalty is -1.0, but must be at least 0",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_refused_at_the_call(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_integer_points_are_refused_by_name():
    with pytest.raises(TypeError, match=r"x is a tensor of torch\.int64"):
        sample_consistency(LAW.denoise, torch.zeros(3, 2, dtype=torch.int64), time_grid(2))
