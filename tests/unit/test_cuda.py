"""The same numbers on a GPU as on the CPU: draws are made on the CPU and moved, so that only the arithmetic differs."""

import copy

import pytest
import torch

from companion.data.toy import eight_gaussians
from companion.foundations.diffusion import bridge_weights, sample, time_grid
from companion.foundations.distances import energy_distance, mmd2, rational_quadratic, rbf
from companion.foundations.networks import TimeMLP, UNet
from companion.foundations.training import train
from companion.methods.distributional import (
    DistributionalDenoiser,
    energy_score_loss,
    sample_distributional,
    train_distributional,
)
from companion.methods.rivals.picard import sample_picard
from companion.methods.speculative import (
    acceptance_probability,
    aimed_residuals,
    reflection_coupling,
    speculate,
    speculative_sample,
    speculative_tokens,
    transition_residuals,
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


def test_coupling_keeps_the_same_rows_and_lands_on_the_same_values():
    draft, draft_mean, target_mean = (torch.randn(400, 3, 4, 4, generator=seeded(s)) for s in range(3))
    target_mean = draft_mean + 0.2 * target_mean
    std, uniform = torch.rand(400, generator=seeded(3)), torch.rand(400, generator=seeded(4), dtype=torch.float64)
    std[:5] = 0.0
    draft = draft_mean + std[:, None, None, None] * draft
    on_cpu = reflection_coupling(draft, draft_mean, target_mean, std, uniform)
    on_gpu = reflection_coupling(*(part.to(GPU) for part in (draft, draft_mean, target_mean, std, uniform)))
    assert 50 < on_cpu[1].sum() < 350
    assert torch.equal(on_gpu[1].cpu(), on_cpu[1])
    assert_same(on_gpu[0], on_cpu[0])
    for one in (0.7, torch.tensor(0.7), torch.tensor(0.7, device=GPU)):
        value, accepted = reflection_coupling(
            *(part.to(GPU) for part in (draft, draft_mean, target_mean)), one, uniform.to(GPU)
        )
        assert value.device.type == accepted.device.type == GPU


def test_acceptance_probability_and_bridge_weights():
    t, s = torch.linspace(1, 0.1, 10), torch.linspace(0.9, 0, 10)
    assert_same(acceptance_probability(5 * t.to(GPU)), acceptance_probability(5 * t))
    for on_gpu, on_cpu in zip(bridge_weights(t.to(GPU), s.to(GPU), 0.7), bridge_weights(t, s, 0.7), strict=True):
        assert_same(on_gpu, on_cpu)


def test_tokens_are_drawn_on_the_device_with_the_targets_law():
    target, draft = (torch.tensor(probs, device=GPU) for probs in ([0.6, 0.3, 0.1], [0.2, 0.3, 0.5]))
    rows = (target.expand(100_000, 3), draft.expand(100_000, 3))
    tokens, accepted = speculative_tokens(*rows, generator=seeded(0, GPU))
    assert tokens.device.type == accepted.device.type == GPU
    assert torch.equal(tokens, speculative_tokens(*rows, generator=seeded(0, GPU))[0])
    shares = torch.bincount(tokens, minlength=3) / 100_000
    torch.testing.assert_close(shares, target, rtol=0, atol=4 * 0.5 / 100_000**0.5)
    assert abs(accepted.float().mean().item() - 0.6) < 4 * 0.5 / 100_000**0.5
    given = torch.zeros(100_000, dtype=torch.long, device=GPU)
    assert bool(speculative_tokens(*rows, given, seeded(0, GPU))[1].all())


def too_far(x, t):
    """A draft model that is neither right nor useless, on the device of its points."""
    return 0.9 * eight_gaussians().to(x.device).denoise(x, t) + 0.1


@pytest.mark.parametrize(
    "options",
    [{}, {"freeze": "drift"}, {"draft": too_far}, {"churn": 0.5}, {"window": 1}, {"keep_path": False}],
    ids=["frozen prediction", "frozen drift", "draft model", "churn 0.5", "window 1", "no path"],
)
def test_speculative_sampling_stays_on_the_device_and_repeats_with_its_generator(options):
    law, grid = eight_gaussians().to(GPU), time_grid(20)
    x = torch.randn(500, 2, generator=seeded()).to(GPU)
    asked = []

    def denoiser(points, t):
        asked.append(len(points))
        assert points.device.type == t.device.type == GPU
        return law.denoise(points, t)

    def run():
        return speculative_sample(denoiser, x, grid, generator=seeded(1, GPU), **options)

    first = run()
    assert first.rounds.max().item() == len(asked)
    assert first.evaluations == sum(asked)
    assert first.rounds.max() <= 20
    again = run()
    assert torch.equal(first.sample, again.sample)
    assert torch.equal(first.accepted, again.accepted)
    for part in (first.sample, first.rounds, first.draft_rounds, first.accepted):
        assert part.device.type == GPU
    assert 0 < first.acceptance <= 1
    if first.path is not None:
        assert first.path.device.type == GPU
        assert torch.equal(first.path[-1], first.sample)
        torch.testing.assert_close(first.sample, law.denoise(first.path[-2], grid[-2]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("on", ["cpu", GPU])
def test_speculative_paths_are_exact_on_the_device_wherever_their_times_are(on):
    law, grid = eight_gaussians().to(GPU), time_grid(20).to(on)
    x = torch.randn(2000, 2, generator=seeded()).to(GPU)
    run = speculative_sample(law.denoise, x, grid, generator=seeded(1, GPU))
    assert run.acceptance < 0.98
    for residuals in (transition_residuals, aimed_residuals):
        noise = residuals(law.denoise, run.path, grid)
        assert noise.device.type == GPU
        error = noise.numel() ** -0.5
        assert noise.mean().abs() < 4 * error
        assert (noise.std() - 1).abs() < 4 * error
        on_cpu = residuals(eight_gaussians().denoise, run.path.cpu(), grid.cpu())
        torch.testing.assert_close(noise.cpu(), on_cpu, rtol=1e-3, atol=5e-3)  # differences of near points over std


def test_images_are_sampled_speculatively_on_the_device():
    torch.manual_seed(0)
    unet, draft = (UNet(width=8).to(GPU).eval() for _ in range(2))
    x = torch.randn(4, 1, 8, 8, generator=seeded()).to(GPU)
    for options in ({}, {"draft": draft}):
        run = speculative_sample(unet, x, time_grid(6), window=3, generator=seeded(1, GPU), **options)
        assert run.sample.device.type == GPU
        assert bool(run.path.isfinite().all())
        assert run.rounds.max() <= 6


def test_the_counts_of_a_speculative_state_stay_on_the_cpu_and_its_points_on_the_device():
    law, x = eight_gaussians().to(GPU), torch.randn(50, 2, generator=seeded()).to(GPU)
    for state in speculate(law.denoise, x, time_grid(10), generator=seeded(1, GPU)):
        assert state.x.device.type == state.path.device.type == GPU
        for count in (state.position, state.rounds, state.draft_rounds, state.accepted):
            assert count.device.type == "cpu"
    assert state.position.tolist() == [10] * 50


@pytest.mark.parametrize("tolerance", [0.0, 0.1])
def test_picard_iteration_stays_on_the_device_and_converges_to_the_slow_path(tolerance):
    law, x = eight_gaussians().to(GPU, torch.float64), torch.randn(100, 2, generator=seeded()).double().to(GPU)

    def run(tolerance, window=8):
        return sample_picard(law.denoise, x, time_grid(20), window, tolerance, generator=seeded(1, GPU))

    found, slow = run(tolerance), run(0.0, window=1)  # a window of one is the slow sampler
    assert found.sample.device.type == found.rounds.device.type == GPU
    assert found.rounds.max() <= 20
    assert slow.rounds.tolist() == [20] * 100
    if tolerance == 0:
        torch.testing.assert_close(found.sample, slow.sample)
