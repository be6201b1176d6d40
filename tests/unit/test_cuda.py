"""The same numbers on a GPU as on the CPU: draws are made on the CPU and moved, so that only the arithmetic differs."""

import copy

import pytest
import torch

from companion.data.toy import eight_gaussians
from companion.foundations.diffusion import sample, time_grid
from companion.foundations.distances import energy_distance, mmd2, rational_quadratic, rbf
from companion.foundations.networks import TimeMLP, UNet
from companion.foundations.training import train
from companion.methods.distributional import (
    DistributionalDenoiser,
    energy_score_loss,
    sample_distributional,
    train_distributional,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

GPU = "cuda"


def seeded(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def assert_same(on_gpu, on_cpu):
    assert on_gpu.device.type == GPU
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [2, 64])
@pytest.mark.parametrize("distance", [energy_distance, lambda x, y: energy_distance(x, y, 0.5)], ids=["1", "0.5"])
def test_energy_distance_and_its_gradient(distance, dim):
    x, y = torch.randn(3000, dim, generator=seeded()), 1.2 * torch.randn(2000, dim, generator=seeded(1))
    results = []
    for device in ("cpu", GPU):
        points = x.to(device).requires_grad_()
        value = distance(points, y.to(device))
        results.append((value.detach(), torch.autograd.grad(value, points)[0]))
    for on_cpu, on_gpu in zip(*results, strict=True):
        assert_same(on_gpu, on_cpu)


@pytest.mark.parametrize("kernel", [rbf(1.0), rational_quadratic()], ids=["rbf", "rational_quadratic"])
def test_mmd(kernel):
    x, y = torch.randn(500, 2, generator=seeded()), 1.2 * torch.randn(400, 2, generator=seeded(1))
    assert_same(mmd2(x.to(GPU), y.to(GPU), kernel), mmd2(x, y, kernel))


def test_energy_score_loss_and_its_gradient():
    predictions, target = torch.randn(8, 64, 3, generator=seeded()), torch.randn(64, 3, generator=seeded(1))
    results = []
    for device in ("cpu", GPU):
        draws = predictions.to(device).requires_grad_()
        value = energy_score_loss(draws, target.to(device), 0.5, 0.9)
        results.append((value.detach(), torch.autograd.grad(value, draws)[0]))
    for on_cpu, on_gpu in zip(*results, strict=True):
        assert_same(on_gpu, on_cpu)


def test_exact_answers_of_mixtures():
    law, x = eight_gaussians(), torch.randn(50, 2, generator=seeded())
    for name in ("log_prob", "score", "denoise"):
        assert_same(getattr(law.to(GPU), name)(x.to(GPU), 0.5), getattr(law, name)(x, 0.5))
    assert law.to(GPU).sample_posterior(x.to(GPU), 0.5, seeded(0, GPU)).device.type == GPU


def test_sampling_walks_the_same_way():
    law, x = eight_gaussians(), torch.randn(50, 2, generator=seeded())
    walks = zip(sample(law.denoise, x, time_grid(5)), sample(law.to(GPU).denoise, x.to(GPU), time_grid(5)), strict=True)
    for on_cpu, on_gpu in walks:
        assert_same(on_gpu, on_cpu)


def test_sampling_with_churn_draws_on_the_device():
    model = DistributionalDenoiser(TimeMLP(dim=2, noise_dim=2), (2,)).to(GPU)
    x = torch.randn(50, 2, generator=seeded()).to(GPU)

    def end():
        *_, points = sample_distributional(model, x, time_grid(4), generator=seeded(1, GPU))
        return points

    assert end().device.type == GPU
    assert torch.equal(end(), end())


def test_a_training_step_moves_the_weights_alike():
    """Batch, times and noises are fixed, so that both devices see the same numbers."""
    torch.manual_seed(0)
    model = DistributionalDenoiser(TimeMLP(dim=2, noise_dim=2, width=16, depth=1), (2,))
    x0, noise = torch.randn(32, 2, generator=seeded()), torch.randn(4, 32, 2, generator=seeded(1))

    def step(device):
        def loss(model):
            draws = torch.stack([model(x0.to(device), 0.5, noise=one.to(device)) for one in noise])
            return energy_score_loss(draws, x0.to(device))

        return next(train(copy.deepcopy(model).to(device), loss, 3))

    on_cpu, on_gpu = step("cpu"), step(GPU)
    assert_same(on_gpu.loss, on_cpu.loss)
    for ours, theirs in zip(on_gpu.model.parameters(), on_cpu.model.parameters(), strict=True):
        assert_same(ours.detach(), theirs.detach())


def test_training_on_the_gpu_resumes_bit_identically():
    images = torch.randn(16, 1, 8, 8, generator=seeded()).to(GPU)

    def run(seed, resume=None):
        torch.manual_seed(0)
        model = DistributionalDenoiser(TimeMLP(dim=2, noise_dim=2), (2,)).to(GPU)
        generator = seeded(seed, GPU)
        return train_distributional(model, eight_gaussians().to(GPU), 6, generator=generator, resume=resume)

    states = [(state.loss, state.state_dict()) for state in run(0)]
    rest = [state.loss for state in run(5, states[2][1])]
    assert torch.equal(torch.stack(rest), torch.stack([loss for loss, _ in states[3:]]))
    unet = DistributionalDenoiser(UNet(noise_channels=1, width=8), (1, 8, 8)).to(GPU)
    *_, state = train_distributional(unet, images, 2, population=2, batch_size=4, generator=seeded(0, GPU))
    assert state.loss.isfinite()
