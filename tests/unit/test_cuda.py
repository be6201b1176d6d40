"""The same numbers on a GPU as on the CPU: draws are made on the CPU and moved, so that only the arithmetic differs."""

import copy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from prunable_nets import NETS, net, some_pictures

from companion.data.labelled import four_classes, long_tailed
from companion.data.regression import Confounded, SineWaves
from companion.data.streams import digit_stream, moving_classes, permuted_digits, random_label_digits
from companion.data.streams.events import PredictionEvent, TaskKind
from companion.data.streams.mini import MiniStream
from companion.data.toy import eight_gaussians
from companion.foundations.conditional import ConditionalDenoiser, velocity_loss
from companion.foundations.diffusion import bridge_weights, sample, time_grid
from companion.foundations.distances import energy_distance, mmd2, rational_quadratic, rbf
from companion.foundations.fourier import FourierOperator1d, FourierOperator2d
from companion.foundations.language import Transformer, WindowMLP
from companion.foundations.linear import SINGULAR, RecursiveLeastSquares, require_solved, ridge, ridge_ex
from companion.foundations.networks import MLP, ResidualNet, TimeMLP, UNet
from companion.foundations.stacks import StackedMLP, cross_entropy
from companion.foundations.training import train
from companion.methods import nevis
from companion.methods.distributional import (
    DistributionalDenoiser,
    energy_score_loss,
    sample_distributional,
    train_distributional,
)
from companion.methods.dynamic_evaluation import add_adapters, evaluate_stream
from companion.methods.guidance import (
    GuidanceWeights,
    draw_times,
    guide,
    guided_step,
    learn_guidance,
    reward_loss,
    sample_guided,
    self_consistency_loss,
)
from companion.methods.kalman import KalmanHead, UnitFeatures, average_log_softmax, centred_one_hot, run_stream
from companion.methods.last_layer import (
    closed_form_loss,
    deep_iv,
    proximal_last_layer,
    solve_last_layer,
    train_closed_form,
)
from companion.methods.mmd_flow import (
    FeatureMLP,
    NoiseConditionalWitness,
    VarianceExploding,
    VariancePreserving,
    adaptive_flow,
    approximate_flow,
    best_bandwidth,
    gaussian_force,
    kale,
    kale_flow,
    mmd_flow,
    riesz,
    scaled_rbf,
    train_witness,
    witness_loss,
    witness_slope,
)
from companion.methods.nevis import (
    Recipe,
    body_of,
    dynamic,
    independent,
    knn_error,
    load_body,
    make,
    multitask,
    pretrained,
    previous,
    representation,
    run,
    task_error,
)
from companion.methods.pruning import accuracy_compute_curve, count_flops, prune_filters, reestimate_batch_norm
from companion.methods.rivals.picard import sample_picard
from companion.methods.rivals.plasticity import (
    DormantReset,
    HardReset,
    L2Init,
    OnlineSGD,
    ShrinkAndPerturb,
    SpectralRegularisation,
)
from companion.methods.rivals.reading import KrauseRule, gradient_squares, hidden_states, neural_cache
from companion.methods.rivals.task_streams import closed_form, soup
from companion.methods.rivals.transfer import distillation_loss, fit_probe, prune_channels, shrinking_loss
from companion.methods.soft_reset import BayesianSoftReset, SoftReset, drift
from companion.methods.speculative import (
    acceptance_probability,
    aimed_residuals,
    reflection_coupling,
    speculate,
    speculative_sample,
    speculative_tokens,
    transition_residuals,
)
from tests.loops import never_waiting, rounded_products

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

GPU = "cuda"


@pytest.fixture(autouse=True)
def full_precision():
    """By default a GPU may round the factors of a convolution to TF32, which is too coarse for these comparisons."""
    with rounded_products(False):
        yield


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


LABELS = torch.arange(60) % 4


def denoiser_of_classes(images: bool = False) -> ConditionalDenoiser:
    torch.manual_seed(0)
    network = UNet(1, noise_channels=4, width=8) if images else TimeMLP(2, 4, width=16, depth=1)
    return ConditionalDenoiser(network, 4, embedding=4)


def test_exact_answers_of_labelled_mixtures():
    law, x, t = four_classes(), torch.randn(60, 2, generator=seeded()), torch.linspace(0, 1, 60)
    there = law.to(GPU)
    assert there.classes.device.type == there.class_weights.device.type == GPU
    assert_same(there.conditional(x.to(GPU), t.to(GPU), LABELS.to(GPU)), law.conditional(x, t, LABELS))
    assert_same(there.unconditional(x.to(GPU), 0.5), law.unconditional(x, 0.5))
    assert_same(there.class_log_probs(x.to(GPU), 0.5).exp(), law.class_log_probs(x, 0.5).exp())
    assert_same(there.given(2).denoise(x.to(GPU), 0.5), law.given(2).denoise(x, 0.5))


def test_labelled_points_are_drawn_on_the_device_and_repeat_with_their_generator():
    law = four_classes(separation=10).to(GPU)
    points, labels = law.sample_labelled(2000, seeded(0, GPU))
    assert points.device.type == labels.device.type == GPU
    assert torch.equal(points, law.sample_labelled(2000, seeded(0, GPU))[0])
    assert torch.equal(law.class_log_probs(points).argmax(1), labels)
    kept = long_tailed(labels, 0.5, seeded(0, GPU))
    assert kept.device.type == GPU
    assert torch.bincount(labels[kept]).diff().max() < 0


@pytest.mark.parametrize("images", [False, True], ids=["points", "images"])
def test_denoisers_of_classes(images):
    model, there = denoiser_of_classes(images), denoiser_of_classes(images).to(GPU)
    x, t = torch.randn(60, *((1, 8, 8) if images else (2,)), generator=seeded()), torch.linspace(0, 1, 60)
    assert_same(
        there.conditional(x.to(GPU), t.to(GPU), LABELS.to(GPU)).detach(), model.conditional(x, t, LABELS).detach()
    )
    assert_same(there.unconditional(x.to(GPU), 0.5).detach(), model.unconditional(x, 0.5).detach())
    there.forget_classes()
    assert torch.equal(there.conditional(x.to(GPU), 0.5, LABELS.to(GPU)), there.unconditional(x.to(GPU), 0.5))
    loss = velocity_loss(there, x.to(GPU), LABELS.to(GPU), generator=seeded(0, GPU))
    loss.backward()
    assert loss.device.type == GPU
    assert loss.isfinite()


def test_guided_predictions_and_steps():
    law, x, weight = four_classes(), torch.randn(60, 2, generator=seeded()), torch.rand(60, generator=seeded(1))
    there, points, labels = law.to(GPU), x.to(GPU), LABELS.to(GPU)
    for one in (0.7, torch.tensor(0.7), weight):
        on_gpu = guide(points, -points, one.to(GPU) if torch.is_tensor(one) else one)
        assert_same(on_gpu, guide(x, -x, one))
    s, t = torch.full((60,), 0.3), torch.full((60,), 0.6)
    on_cpu = guided_step(law.conditional, law.unconditional, weight, x, LABELS, s, t)
    for times in ((s.to(GPU), t.to(GPU)), (0.3, 0.6)):
        assert_same(guided_step(there.conditional, there.unconditional, weight.to(GPU), points, labels, *times), on_cpu)


def test_learned_weights_and_their_gradient():
    torch.manual_seed(0)
    weights = GuidanceWeights(4)
    there, (s, t) = copy.deepcopy(weights).to(GPU), draw_times(60, 0.1, 0.005, torch.ones(1), seeded())
    assert_same(there(LABELS.to(GPU), s.to(GPU), t.to(GPU)).detach(), weights(LABELS, s, t).detach())
    assert_same(there(LABELS.to(GPU), 0.2, torch.tensor(0.6)).detach(), weights(LABELS, 0.2, 0.6).detach())
    for module, where in ((weights, "cpu"), (there, GPU)):
        module(LABELS.to(where), s.to(where), t.to(where)).sum().backward()
    for ours, theirs in zip(there.parameters(), weights.parameters(), strict=True):
        assert_same(ours.grad, theirs.grad)


@pytest.mark.parametrize("churn", [0.0, 0.5])
def test_losses_of_guidance_draw_on_the_device_and_repeat_with_their_generator(churn):
    """Noises differ between devices, so means over many points are compared; at weight 0 the law of both is one."""
    law, n = four_classes(), 20_000
    labels = torch.arange(n) % 4
    x0, (s, t) = law.sample_given(labels, seeded()), draw_times(n, 0.1, 0.005, torch.ones(1), seeded(1))
    values = {}
    for where in ("cpu", GPU):
        there, batch = law.to(where), [part.to(where) for part in (x0, labels, s, t)]
        model, schedule = (there.conditional, there.unconditional), lambda labels, s, t: 0.3 + 0.2 * s
        losses = [
            self_consistency_loss(*model, schedule, *batch, generator=seeded(2, where), churn=churn),
            reward_loss(*model, schedule, lambda x, c: x[:, 0].tanh(), *batch, seeded(2, where), churn=churn),
        ]
        assert {loss.device.type for loss in losses} == {where}
        again = self_consistency_loss(*model, schedule, *batch, generator=seeded(2, where), churn=churn)
        torch.testing.assert_close(again, losses[0])
        values[where] = torch.stack(losses).cpu()
    torch.testing.assert_close(values["cpu"], values[GPU], rtol=0, atol=0.03)


def test_guidance_is_learned_on_the_device_and_resumes_bit_for_bit():
    law = four_classes().to(GPU)
    data, labels = law.sample_labelled(200, seeded(0, GPU))

    def run(seed, resume=None):
        torch.manual_seed(0)
        options = {"reward": lambda x0, labels: x0[:, 0].tanh(), "reward_weight": 0.01, "batch_size": 16}
        return learn_guidance(
            law.conditional, law.unconditional, data, labels, 6, generator=seeded(seed, GPU), resume=resume, **options
        )

    states = [(state.loss, state.state_dict(), state.model) for state in run(0)]
    assert {parameter.device.type for parameter in states[-1][2].parameters()} == {GPU}
    rest = [state.loss for state in run(5, states[2][1])]
    assert torch.equal(torch.stack(rest), torch.stack([loss for loss, *_ in states[3:]]))


@pytest.mark.parametrize("on", ["cpu", GPU])
@pytest.mark.parametrize("weight", [0, 0.5, (0.5, 0.2, 0.8), "learned"], ids=str)
def test_guided_walks_stay_on_the_device_wherever_their_times_are(weight, on):
    law, x = four_classes(), torch.randn(60, 2, generator=seeded())
    there, grid = law.to(GPU), time_grid(10).to(on)
    torch.manual_seed(0)
    on_cpu = GuidanceWeights(4) if weight == "learned" else weight
    on_gpu = copy.deepcopy(on_cpu).to(GPU) if weight == "learned" else weight

    def walk(churn=0.0):
        points = x.to(GPU)
        labels, generator = LABELS.to(GPU), seeded(1, GPU)
        return list(
            sample_guided(there.conditional, there.unconditional, on_gpu, labels, points, grid, churn, generator)
        )

    expected = sample_guided(law.conditional, law.unconditional, on_cpu, LABELS, x, time_grid(10))
    for state, other in zip(walk(), expected, strict=True):
        assert_same(state, other)
        assert not state.requires_grad
    assert torch.equal(walk(0.7)[-1], walk(0.7)[-1])


def test_images_walk_guided_on_the_device():
    model = denoiser_of_classes(images=True).to(GPU).eval()
    x, weights = torch.randn(8, 1, 8, 8, generator=seeded()).to(GPU), GuidanceWeights(4).to(GPU)
    for state in sample_guided(model.conditional, model.unconditional, weights, LABELS[:8].to(GPU), x, time_grid(4)):
        assert state.device.type == GPU
        assert bool(state.isfinite().all())


def clouds_of_a_flow(dim: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(300, dim, generator=seeded()), 0.5 * torch.randn(400, dim, generator=seeded(1)) + 1


@pytest.mark.parametrize("dim", [2, 64])
@pytest.mark.parametrize(
    "kernel", [scaled_rbf(3.0), riesz(), rational_quadratic(2.0)], ids=["rbf", "riesz", "rational"]
)
def test_flows_of_a_kernel_walk_the_same_way(kernel, dim):
    z, target = clouds_of_a_flow(dim)
    assert_same(witness_slope(z.to(GPU), z.to(GPU), target.to(GPU), kernel), witness_slope(z, z, target, kernel))
    walks = zip(mmd_flow(z.to(GPU), target.to(GPU), kernel, 0.3, 4), mmd_flow(z, target, kernel, 0.3, 4), strict=True)
    for on_gpu, on_cpu in walks:
        assert_same(on_gpu, on_cpu)
    ends = [list(mmd_flow(z.to(GPU), target.to(GPU), kernel, 0.3, 4, 0.5, seeded(2, GPU)))[-1] for _ in range(2)]
    assert torch.equal(*ends)


def test_best_bandwidths_and_forces_of_tensors():
    length, std = torch.linspace(0, 5, 20), torch.tensor(0.3)
    assert_same(best_bandwidth(length.to(GPU), std.to(GPU), 2), best_bandwidth(length, std, 2))
    assert_same(gaussian_force(length.to(GPU), 0.3, std.to(GPU), 2), gaussian_force(length, 0.3, std, 2))


def witness_on_both(noising) -> tuple[NoiseConditionalWitness, NoiseConditionalWitness]:
    """One that remembers its data, and its copy on the device."""
    torch.manual_seed(0)
    witness = NoiseConditionalWitness(FeatureMLP(2, 8, 16), noising)
    witness.remember(clouds_of_a_flow()[1], seeded())
    return witness, copy.deepcopy(witness).to(GPU)


NOISINGS = pytest.mark.parametrize("noising", [VariancePreserving(), VarianceExploding()], ids=["vp", "ve"])


@NOISINGS
def test_features_and_remembered_means(noising):
    (witness, there), (_, data) = witness_on_both(noising), clouds_of_a_flow()
    levels = noising.levels(400).float()
    assert_same(there(data.to(GPU), levels.to(GPU)).detach(), witness(data, levels).detach())
    for level in levels[::100]:
        for on_gpu, on_cpu in zip(there.remembered(level.to(GPU)), witness.remembered(level), strict=True):
            assert_same(on_gpu, on_cpu)
        assert_same(there.mean_features(data.to(GPU), level.to(GPU)), witness.mean_features(data, level))
    there.remember(data.to(GPU), seeded(0, GPU))
    assert_same(there.clean_means, witness.clean_means)  # the noised ones have another noise there
    torch.testing.assert_close(there.noised_means.cpu(), witness.noised_means, rtol=0, atol=0.2)


@NOISINGS
@pytest.mark.parametrize("flow", [adaptive_flow, kale_flow])
@pytest.mark.parametrize("on", ["cpu", GPU])
def test_flows_of_a_witness_walk_the_same_way_wherever_their_levels_are(noising, flow, on):
    (witness, there), (z, data) = witness_on_both(noising), clouds_of_a_flow()
    levels = noising.levels(4)
    for source in (None, data):
        source_there = None if source is None else source.to(GPU)
        on_gpu = list(flow(there, z.to(GPU), levels.to(on), 0.1, 2, data=source_there))
        on_cpu = list(flow(witness, z, levels, 0.1, 2, data=source))
        assert len(on_gpu) == 9
        for state, other in zip(on_gpu, on_cpu, strict=True):
            assert state.device.type == GPU
            torch.testing.assert_close(state.cpu(), other, rtol=1e-3, atol=1e-3)


@NOISINGS
def test_independent_particles_walk_the_same_way(noising):
    (witness, there), (z, _) = witness_on_both(noising), clouds_of_a_flow()
    walks = zip(
        approximate_flow(there, z.to(GPU), noising.levels(6)),
        approximate_flow(witness, z, noising.levels(6)),
        strict=True,
    )
    for on_gpu, on_cpu in walks:
        assert on_gpu.device.type == GPU
        torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-3, atol=1e-3)


def test_kale():
    data, particles = torch.randn(300, 5, generator=seeded()) + 0.3, torch.randn(400, 5, generator=seeded(1))
    on_gpu, on_cpu = kale(data.to(GPU), particles.to(GPU), 0.5), kale(data, particles, 0.5)
    assert_same(on_gpu.value, on_cpu.value)
    torch.testing.assert_close(on_gpu.weights.cpu(), on_cpu.weights, rtol=1e-3, atol=1e-3)


@NOISINGS
def test_a_witness_is_trained_on_the_device_and_resumes_bit_for_bit(noising):
    data = clouds_of_a_flow()[1].to(GPU)

    def run(seed, resume=None):
        torch.manual_seed(0)
        witness = NoiseConditionalWitness(FeatureMLP(2, 8, 16), noising).to(GPU)
        return train_witness(witness, data, 6, batch_size=16, generator=seeded(seed, GPU), resume=resume)

    states = [(state.loss, state.state_dict(), state.model) for state in run(0)]
    witness = states[-1][2]
    assert {value.device.type for value in witness.state_dict().values()} == {GPU}
    assert witness.remembers
    rest = [state.loss for state in run(5, states[2][1])]
    assert torch.equal(torch.stack(rest), torch.stack([loss for loss, *_ in states[3:]]))
    clean, other = data[:64].view(2, 32, 2), data[64:128].view(2, 32, 2)
    losses = [
        witness_loss(witness, clean, other, noising.levels(2).to(data), generator=seeded(1, GPU)) for _ in range(2)
    ]
    assert torch.equal(*losses)
    assert losses[0].device.type == GPU


def rows_of_features(n: int = 40, p: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, targets and weights."""
    return tuple(torch.randn(*shape, generator=seeded(seed)) for seed, shape in enumerate([(n, p), (n, 2), (p, 2)]))


@pytest.mark.parametrize(("n", "p"), [(40, 6), (6, 40)])
def test_solved_last_layers(n, p):
    features, targets, weights = rows_of_features(n, p)
    there = [value.to(GPU) for value in (features, targets, weights)]
    found, status = ridge_ex(there[0], there[1], 0.5, there[2])
    assert_same(found, ridge(features, targets, 0.5, weights))
    assert status.device.type == GPU
    assert status == 0
    assert_same(solve_last_layer(*there[:2], 0.1), solve_last_layer(features, targets, 0.1))
    assert_same(proximal_last_layer(*there, 0.1), proximal_last_layer(features, targets, weights, 0.1))
    slopes = []
    for points, values in ((features, targets), there[:2]):
        loss = closed_form_loss(points.requires_grad_(), values, 0.1)
        slopes += torch.autograd.grad(loss, points)
    assert_same(slopes[1], slopes[0])


@pytest.mark.parametrize("spoil", [0.0, float("nan"), float("inf")], ids=str)
def test_what_cannot_be_solved_is_refused_there_too(spoil):
    features, targets, _ = (value.to(GPU) for value in rows_of_features())
    _, status = ridge_ex(spoil * features, targets, 0)
    assert status > 0
    for call in (lambda: require_solved(status), lambda: ridge(spoil * features, targets, 0)):
        with pytest.raises(torch.linalg.LinAlgError) as refusal:
            call()
        assert str(refusal.value) == SINGULAR


@pytest.mark.parametrize("forgetting", [0, 0.8, 1])
def test_recursive_least_squares(forgetting):
    features, targets, weights = rows_of_features()
    memories = [RecursiveLeastSquares(weights.to(device), 0.5, forgetting) for device in ("cpu", GPU)]
    for rows, values in zip(features.split(8), targets.split(8), strict=True):
        for memory in memories:
            memory.update(rows.to(memory.weights), values.to(memory.weights))
    assert_same(memories[1].weights, memories[0].weights)
    assert_same(memories[1].information, memories[0].information)


def backbone_of(inputs: int, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(MLP(inputs, 6, 16, 1), torch.nn.Tanh()).double()


def instrumental_rows(n: int = 60) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    z = torch.randn(n, 2, generator=seeded(), dtype=torch.float64)
    x = z.sum(1, keepdim=True) + torch.randn(n, 1, generator=seeded(1), dtype=torch.float64)
    return z, x, torch.sin(x)


def train_two_stages(device: str, steps: int = 6, seed: int = 0, **settings):
    z, x, y = (value.to(device) for value in instrumental_rows())
    phi, psi = backbone_of(2, seed).to(device), backbone_of(1, seed + 1).to(device)
    return deep_iv(phi, psi, (z, x), (z, y), steps, every=settings.pop("every", 1), **settings)


def train_one(device: str, steps: int = 6, seed: int = 0, **settings):
    z, x, _ = (value.to(device) for value in instrumental_rows())
    return train_closed_form(
        backbone_of(2, seed).to(device), (z, torch.sin(x)), steps, every=settings.pop("every", 1), **settings
    )


TRAINING = {
    "full": lambda *given, **settings: train_one(*given, ridge=1e-3, **settings),
    "proximal": lambda *given, **settings: train_one(*given, mode="proximal", **settings),
    "recursive": lambda *given, **settings: train_one(*given, mode="recursive", **settings),
    "in double precision": lambda *given, **settings: train_one(*given, solve_dtype=torch.float64, **settings),
    "two stages": train_two_stages,
    "two stages with ridges": lambda *given, **settings: train_two_stages(*given, proximal=False, **settings),
}
each_training = pytest.mark.parametrize("training", TRAINING.values(), ids=TRAINING.keys())


def shown(state) -> tuple[torch.Tensor, ...]:
    """Losses, last layer and backbone of a state, as they are now."""
    losses = state.losses if hasattr(state, "losses") else state.loss
    return losses, state.weights.clone(), *(value.clone() for value in state.backbone.state_dict().values())


@each_training
def test_last_layers_are_trained_the_same_way(training):
    for on_gpu, on_cpu in zip(map(shown, training(GPU)), map(shown, training("cpu")), strict=True):
        for value, other in zip(on_gpu, on_cpu, strict=True):
            assert_same(value, other)
    *_, state = training(GPU)
    inputs = instrumental_rows()[1 if hasattr(state, "losses") else 0].to(GPU)
    assert state.predict(inputs).device.type == GPU


@each_training
def test_training_of_last_layers_resumes_on_the_device_bit_for_bit(training):
    through, saved = [], None
    for state in training(GPU, batch_size=16, generator=seeded(0, GPU)):
        through.append(shown(state))
        if state.step == 3:
            saved = state.state_dict()
    rest = list(map(shown, training(GPU, seed=4, batch_size=16, generator=seeded(7, GPU), resume=saved)))
    assert len(rest) == 3
    for values, others in zip(rest, through[3:], strict=True):
        assert all(torch.equal(value, other) for value, other in zip(values, others, strict=True))


@each_training
def test_the_host_does_not_wait_between_two_states(training, monkeypatch):
    """All waiting but that for the status, once a state, would be an error here."""
    settings, solved, waits = {"batch_size": 16, "cosine": True}, require_solved, []

    def read(status):
        torch.cuda.set_sync_debug_mode("default")
        solved(status)
        waits.append(status)
        torch.cuda.set_sync_debug_mode("error")

    list(training(GPU, generator=seeded(0, GPU), **settings))  # what a first call sets up may wait
    monkeypatch.setattr("companion.methods.last_layer.require_solved", read)
    states = training(GPU, steps=20, generator=seeded(0, GPU), every=10, **settings)
    with never_waiting():
        for _ in states:
            pass
    assert len(waits) == 2


HEADS = {
    "covariance": {"dtype": torch.float64},
    "root": {"dtype": torch.float32},
    "root in double precision": {"dtype": torch.float64, "square_root": True},
}
each_head = pytest.mark.parametrize("settings", HEADS.values(), ids=HEADS)


def kalman_rows(blocks: int = 12, b: int = 4, m: int = 6, k: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Features and labels, block by block."""
    features = UnitFeatures()(torch.randn(blocks * b, m - 1, generator=seeded()))
    labels = (features @ torch.randn(m, k, generator=seeded(1))).argmax(1)
    return list(zip(features.split(b), labels.split(b), strict=True))


def kalman_head(device: str, **settings) -> KalmanHead:
    return KalmanHead(6, 3, gamma=0.99, learn_gamma=True, gamma_rate=1e-3, device=device, **settings)


@each_head
def test_the_kalman_filter(settings):
    """Update, prediction, and the average softmax with its slopes, for the same noise."""
    heads = [kalman_head(device, **settings) for device in ("cpu", GPU)]
    for step, (features, labels) in enumerate(kalman_rows()):
        found = []
        for head in heads:
            rows = features.to(head.mean.device)
            mean, variance = head.predict(rows)
            noise = torch.randn(8, *mean.shape, generator=seeded(step), dtype=mean.dtype).to(mean.device)
            table = average_log_softmax(mean, variance, head.log_alpha.exp(), noise)
            score = table.gather(1, labels.to(mean.device)[:, None])[:, 0]
            head.adapt(score)
            head.update(rows, centred_one_hot(labels.to(mean.device), 3, rows.dtype))
            found.append([mean, variance, score, head.gamma, head.alpha, head.mean, head.covariance, head.status])
        for on_cpu, on_gpu in zip(*found, strict=True):
            assert_same(on_gpu.detach().clone(), on_cpu.detach().clone())
    draws = [heads[1].log_prob(features.to(GPU), labels.to(GPU), seeded(2, GPU)) for _ in range(2)]
    assert torch.equal(*draws)
    assert draws[0].device.type == GPU


@each_head
def test_the_host_does_not_wait_in_a_step_of_the_kalman_filter(settings):
    head, generator = kalman_head(GPU, **settings), seeded(0, GPU)
    blocks = [(x.to(GPU), y.to(GPU), centred_one_hot(y, 3).to(GPU)) for x, y in kalman_rows()]

    def go(features, labels, targets):
        head.predict(features)
        head.adapt(head.log_prob(features, labels, generator))
        head.update(features, targets)

    go(*blocks[0])  # what a first call sets up may wait
    with never_waiting():
        for block in blocks:
            go(*block)
    assert head.status == 0


@pytest.mark.slow
@pytest.mark.parametrize(("gamma", "noise"), [(1, 1e-4), (0.999, 1e-6)], ids=["static", "drifting"])
def test_the_kalman_filter_keeps_a_covariance_for_100_000_steps_in_single_precision(gamma, noise):
    """Rows near a 3-dimensional subspace; the product of the root is judged in double precision."""
    head = KalmanHead(16, 1, 1.0, noise, gamma, dtype=torch.float32, device=GPU)
    draws, targets = seeded(0, GPU), torch.zeros(4, 1, device=GPU)
    plane = torch.randn(3, 16, generator=draws, device=GPU)
    for _ in range(10):
        flat = torch.randn(10_000, 4, 3, generator=draws, device=GPU) @ plane
        for features in flat + 1e-3 * torch.randn(10_000, 4, 16, generator=draws, device=GPU):
            head.update(features, targets)
        covariance = head.covariance
        assert (covariance - covariance.T).abs().max() < 1e-6
        root = head.belief.double()
        assert torch.linalg.eigvalsh(root @ root.T)[0] > 0
    assert head.status == 0


def test_a_stream_resumes_on_the_device_bit_for_bit():
    features, labels = (torch.cat(parts).to(GPU) for parts in zip(*kalman_rows(), strict=True))

    def run(seed: int, **resume):
        torch.manual_seed(seed)
        backbone = torch.nn.Sequential(torch.nn.Linear(6, 5), UnitFeatures()).to(GPU)
        walk = torch.optim.SGD(backbone.parameters(), lr=0.1, momentum=0.9)
        head, draws = kalman_head(GPU, dtype=torch.float32), seeded(seed, GPU)
        return run_stream(
            head, features, labels, batch_size=4, backbone=backbone, optimizer=walk, generator=draws, **resume
        )

    through, saved = [], None
    for state in run(0):
        through.append((state.log_prob, state.learner.mean.clone(), state.learner.belief.clone()))
        saved = state.state_dict() if state.step == 5 else saved
    rest = [
        (state.log_prob, state.learner.mean.clone(), state.learner.belief.clone()) for state in run(4, resume=saved)
    ]
    assert len(rest) == 7
    for values, others in zip(rest, through[5:], strict=True):
        assert all(torch.equal(value, other) for value, other in zip(values, others, strict=True))


@pytest.mark.parametrize("make", [moving_classes, digit_stream])
@pytest.mark.parametrize("drift", ["abrupt", "slow", "none"])
def test_drifting_streams_are_drawn_on_the_device_of_their_generator(make, drift):
    streams = [make(400, drift, segment=100, generator=seeded(0, GPU)) for _ in range(2)]
    assert streams[0].features.device.type == streams[0].labels.device.type == GPU
    assert torch.equal(streams[0].features, streams[1].features)
    assert torch.equal(streams[0].labels, streams[1].labels)
    assert streams[0].changes == make(400, drift, segment=100).changes


TASKS = {
    "random labels": lambda generator: random_label_digits(3, size=40, epochs=2, generator=generator),
    "permuted pixels": lambda generator: permuted_digits(3, size=80, cycle=2, generator=generator),
}


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS.keys())
def test_tasks_are_drawn_on_the_device_of_their_generator(make):
    streams = [make(seeded(0, GPU)) for _ in range(2)]
    assert streams[0].features.device.type == streams[0].labels.device.type == GPU
    assert torch.equal(streams[0].features, streams[1].features)
    assert torch.equal(streams[0].labels, streams[1].labels)
    assert streams[0].changes == make(seeded(0)).changes


# (model, **options) -> a trainer; three settings stand for as many runs
RATES = torch.tensor([0.2, 0.5, 0.3])
TRAINERS = {
    "SGD": lambda model, **options: OnlineSGD(model, RATES, updates=2, **options),
    "L2-init": lambda model, **options: L2Init(model, RATES, 1e-2, **options),
    "shrink & perturb": lambda model, **options: ShrinkAndPerturb(model, RATES, 0.99, 0.01, **options),
    "hard reset": lambda model, **options: HardReset(model, RATES, **options),
    "spectral": lambda model, **options: SpectralRegularisation(model, RATES, 1e-2, **options),
    "dormant": lambda model, **options: DormantReset(model, RATES, 0.1, 3, **options),
    "soft reset": lambda model, **options: SoftReset(model, RATES, 0.02, **options),
    "soft reset, no noise": lambda model, **options: SoftReset(model, RATES, 0.02, 0.7, samples=0, **options),
    "soft reset, one gamma": lambda model, **options: SoftReset(model, RATES, 0.01, 0.7, per="model", **options),
    "soft reset by parameter": lambda model, **options: SoftReset(model, RATES, 1, 0.7, per="parameter", **options),
    "soft reset, all steps": lambda model, **options: SoftReset(
        model, RATES, 0.01, 0.7, drift_steps=3, samples=2, update_steps=3, **options
    ),
    "Bayesian": lambda model, **options: BayesianSoftReset(model, RATES, 0.01, 0.7, **options),
}
each_stream_trainer = pytest.mark.parametrize("make", TRAINERS.values(), ids=TRAINERS.keys())


def task_batches(steps: int = 6, runs: int = 3, dtype: torch.dtype = torch.float64):
    draws = seeded()
    return [
        (
            torch.randn(runs, 8, 3, generator=draws, dtype=torch.float64).to(dtype),
            torch.randint(4, (runs, 8), generator=draws),
        )
        for _ in range(steps)
    ]


def stream_trainer(make, device: str, dtype: torch.dtype = torch.float64, seed: int = 0):
    """A trainer of the same stack on either device."""
    stack = StackedMLP(3, 3, 4, 8, generator=seeded(seed), dtype=dtype).to(device)
    return make(stack, runs=3, generator=seeded(seed, device))


@each_stream_trainer
def test_trainers_of_a_stream(make):
    """Loss, weights and gammas, for the same noise."""
    trainers = [stream_trainer(make, device) for device in ("cpu", GPU)]
    for trainer in trainers:
        draws = seeded(3)
        trainer.noise = lambda like=trainer.theta, draws=draws: torch.randn(
            like.shape, generator=draws, dtype=like.dtype
        ).to(like)
    if isinstance(trainers[0], SpectralRegularisation):
        trainers[1]._right = [each.to(GPU) for each in trainers[0]._right]
    kept = not isinstance(trainers[0], DormantReset)  # whose fresh weights are drawn on its own device
    for x, labels in task_batches(6 if kept else 2):
        losses = [
            trainer.step(cross_entropy, (x.to(trainer.theta), labels.to(trainer.theta.device))) for trainer in trainers
        ]
        assert_same(losses[1], losses[0])
        assert_same(trainers[1].theta.clone(), trainers[0].theta)
        if isinstance(trainers[0], SoftReset):
            for name, gamma in trainers[1].gammas.items():
                assert_same(gamma, trainers[0].gammas[name])
            assert_same(trainers[1].std, trainers[0].std)
    views = trainers[1].flat([each.detach() for each in trainers[1].model.parameters()])
    assert torch.equal(trainers[1].theta, views)


@each_stream_trainer
def test_the_host_does_not_wait_for_a_batch_of_a_stream(make):
    trainer = stream_trainer(make, GPU, torch.float32)
    batches = [(x.to(GPU), labels.to(GPU)) for x, labels in task_batches(dtype=torch.float32)]
    gamma = torch.full((3,), 0.5, device=GPU)
    for batch in batches[:3]:  # what a first call sets up may wait
        trainer.step(cross_entropy, batch)
    if isinstance(trainer, SoftReset):
        trainer.log_evidence(cross_entropy, batches[0], gamma)
    with never_waiting():
        for batch in batches:
            trainer.step(cross_entropy, batch)
            if isinstance(trainer, SoftReset):
                trainer.log_evidence(cross_entropy, batch, gamma)
            if isinstance(trainer, HardReset):
                trainer.boundary()
    assert trainer.theta.isfinite().all()


@pytest.mark.parametrize("name", [name for name in TRAINERS if "soft" in name or name == "Bayesian"])
def test_trainers_of_a_stream_resume_on_the_device_bit_for_bit(name):
    batches = [(x.to(GPU), labels.to(GPU)) for x, labels in task_batches()]
    through, other = (stream_trainer(TRAINERS[name], GPU, seed=seed) for seed in (0, 5))
    losses = []
    for done, batch in enumerate(batches):
        if done == 3:
            saved = copy.deepcopy((through.model.state_dict(), through.state_dict()))
        losses.append(through.step(cross_entropy, batch))
    other.model.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    for batch, loss in zip(batches[3:], losses[3:], strict=True):
        assert torch.equal(other.step(cross_entropy, batch), loss)
    assert torch.equal(other.theta, through.theta)


def test_the_drift_of_a_belief():
    parts = [torch.randn(50, generator=seeded(seed), dtype=torch.float64) for seed in range(2)]
    widths = [torch.rand(50, generator=seeded(seed), dtype=torch.float64) for seed in (2, 3)]
    gamma = torch.rand(50, generator=seeded(4), dtype=torch.float64)
    given = parts[0], widths[0], parts[1], widths[1], gamma
    there = [each.to(GPU) for each in given]
    for on_cpu, on_gpu in zip(drift(*given), drift(*there), strict=True):
        assert_same(on_gpu, on_cpu)
    for on_cpu, on_gpu in zip(drift(*given[:4], 0.3), drift(*there[:4], 0.3), strict=True):
        assert_same(on_gpu, on_cpu)


OPERATORS = {
    "on a line": (FourierOperator1d, (16,), 8),
    "on a line of odd length": (FourierOperator1d, (33,), 8),
    "on a square": (FourierOperator2d, (10, 12), 5),
    "on a square of odd sides": (FourierOperator2d, (15, 11), 5),
}
each_operator = pytest.mark.parametrize(("kind", "grid", "modes"), OPERATORS.values(), ids=OPERATORS.keys())


def both_operators(kind, modes: int, dtype: torch.dtype) -> list[torch.nn.Module]:
    """One on the CPU and its copy on the GPU."""
    torch.manual_seed(0)
    operator = kind(2, 6, width=8, modes=modes).to(dtype)
    return [operator, copy.deepcopy(operator).to(GPU)]


@each_operator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fourier_operators(kind, grid, modes, dtype):
    """Values, and gradients by the fields and by every weight, also by what a real field does not feel."""
    fields = torch.randn(3, *grid, 2, generator=seeded(), dtype=dtype)
    found = []
    for operator in both_operators(kind, modes, dtype):
        points = fields.to(operator.lift.weight).requires_grad_()
        features = operator(points)
        slopes = torch.autograd.grad(features.square().sum(), [points, *operator.parameters()])
        found.append([features.detach(), *slopes])
    for on_cpu, on_gpu in zip(*found, strict=True):
        assert on_gpu.dtype == dtype
        scale = on_cpu.abs().max()
        assert_same(on_gpu / scale.to(GPU), on_cpu / scale)


@each_operator
def test_the_last_layer_of_a_fourier_operator_is_solved_there(kind, grid, modes):
    fields = torch.randn(8, *grid, 2, generator=seeded(), dtype=torch.float64)
    targets, states = fields.cumsum(1) / grid[0], []
    for operator in both_operators(kind, modes, torch.float64):
        device = operator.lift.weight.device
        pair = fields.to(device), targets.to(device)
        *_, state = train_closed_form(operator, pair, 4, ridge=1e-3)
        states.append((state.loss, state.weights, state.predict(pair[0])))
    for on_cpu, on_gpu in zip(*states, strict=True):
        assert_same(on_gpu, on_cpu)


@pytest.mark.parametrize("law", [SineWaves(), Confounded()], ids=["sines", "confounded"])
def test_regression_data_are_drawn_on_the_device_of_their_generator(law):
    parts = law.sample(5000, seeded(0, GPU))
    assert all(part.device.type == GPU for part in parts)
    again = law.sample(5000, seeded(0, GPU))
    assert all(torch.equal(part, other) for part, other in zip(parts, again, strict=True))
    exact = law if isinstance(law, SineWaves) else law.structural
    inputs = parts[-2]
    assert_same(exact(inputs), exact(inputs.cpu()))
    torch.testing.assert_close((parts[-1] - exact(inputs)).mean().cpu(), torch.tensor(0.0), rtol=0, atol=0.08)


READERS = {
    "transformer": lambda: Transformer(11, 16, 2, 2, seeded()),
    "window": lambda: WindowMLP(11, 4, 6, 12, seeded()),
}
LEARNERS = {
    "static": {},
    "SGD": {"optimizer": partial(torch.optim.SGD, lr=0.1)},
    "Adam, decay and resets": {
        "optimizer": partial(torch.optim.Adam, lr=0.01), "decay": 0.01, "reset_every": 3, "reset_at": (20,)
    },
}  # fmt: skip


@pytest.mark.parametrize("make", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize("options", LEARNERS.values(), ids=LEARNERS.keys())
def test_reading_a_stream(make, options):
    """Losses, operations, and a reading that stops on one device and goes on there."""
    tokens = torch.randint(11, (60,), generator=seeded(1))
    readings = [evaluate_stream(make().double().to(device), tokens, 5, 4, **options) for device in ("cpu", GPU)]
    assert_same(readings[1].log_loss, readings[0].log_loss)
    assert readings[1].flops == readings[0].flops
    part = evaluate_stream(make().double().to(GPU), tokens.to(GPU), 5, 4, **options)
    next(iter(part))
    resumed = evaluate_stream(make().double().to(GPU), tokens, 5, 4, **options, resume=part.state_dict())
    assert_same(resumed.log_loss, readings[0].log_loss)


def test_adapters_are_drawn_on_the_device_of_their_generator():
    model = Transformer(11, 16, 2, 2, seeded()).to(GPU)
    for generator in (seeded(3, GPU), seeded(3), None):
        adapters = add_adapters(copy.deepcopy(model), 3, generator=generator)
        assert all(each.device.type == GPU for each in adapters)
    tokens = torch.randint(11, (60,), generator=seeded(1))
    learning = partial(torch.optim.Adam, lr=0.01)
    losses = [
        evaluate_stream(copy.deepcopy(model).to(device), tokens, 5, 4, learning, "lora", generator=seeded(3)).log_loss
        for device in ("cpu", GPU)
    ]
    torch.testing.assert_close(losses[1].cpu(), losses[0], rtol=0, atol=1e-3)


def test_rivals_of_reading():
    hidden = torch.randn(30, 6, generator=seeded(), dtype=torch.float64)
    losses, targets = torch.rand(30, generator=seeded(1), dtype=torch.float64), torch.arange(30) % 4
    cached = [
        neural_cache(losses.to(device), hidden.to(device), targets.to(device), 3.0, 0.3, 9) for device in ("cpu", GPU)
    ]
    assert_same(cached[1], cached[0])
    tokens, found = torch.randint(11, (60,), generator=seeded(1)), []
    for device in ("cpu", GPU):
        model = Transformer(11, 16, 2, 2, seeded()).double().to(device)
        squares = list(gradient_squares(model, tokens, 8, 5, seeded(2)).values())
        rule = partial(KrauseRule, squares=squares, lr=1e-3, decay=0.01)
        found.append(hidden_states(evaluate_stream(model, tokens, 5, 4, rule), "norm"))
    for on_cpu, on_gpu in zip(*found, strict=True):
        assert_same(on_gpu, on_cpu)


def both_nets(name: str, seed: int = 0) -> list[torch.nn.Module]:
    """One on the CPU and its copy on the GPU."""
    return [net(name, seed).to(device) for device in ("cpu", GPU)]


@pytest.mark.parametrize("criterion", ["l2", "l1", "random"])
@pytest.mark.parametrize("name", NETS)
def test_pruned_networks(name, criterion):
    """Kept filters, outputs, statistics and operations; random filters by a generator on the CPU."""
    images, found = some_pictures(), []
    for model in both_nets(name):
        there = images.to(next(model.parameters()).device)
        small = prune_filters(model, 0.5, criterion, there, seeded(3))
        assert all(each.device == there.device for each in small.state_dict().values())
        before = small(there).detach()
        reestimate_batch_norm(small, there, 3)
        operations = [count_flops(small, there, training) for training in (False, True)]
        found.append(([before, small(there).detach(), *small.state_dict().values()], operations))
    (on_cpu, counted), (on_gpu, counted_there) = found
    assert counted_there == counted
    for one, other in zip(on_gpu, on_cpu, strict=True):
        assert_same(one, other)


def test_random_filters_come_from_a_generator_there():
    _, model = both_nets("ours")
    images = some_pictures().to(GPU)
    found = [prune_filters(model, 0.5, "random", images, seeded(seed, GPU))(images) for seed in (0, 0)]
    assert torch.equal(*found)
    assert prune_filters(model, 0.5, "random")(images).isfinite().all()


@pytest.mark.parametrize("at", ["cpu", GPU], ids=["drawn on the CPU", "drawn there"])
def test_curves_of_accuracy(at):
    """Points, and a curve that stops on the GPU and goes on there."""
    labels, curves = torch.arange(12) % 3, []
    for model in both_nets("ours"):
        device = next(model.parameters()).device
        parts = [(some_pictures(12, seed=seed).to(device), labels.to(device)) for seed in (1, 2)]
        task = SimpleNamespace(name="few", train=parts[0], test=parts[1], num_classes=3)
        step = count_flops(model, parts[0][0], training=True)
        curves.append(partial(accuracy_compute_curve, model, [task, task], [step, 3.0 * step, 6.0 * step], batch=6))
    points = curves[1](generator=seeded(4, at))
    first = next(points)
    state = first.state_dict()
    rest, resumed = list(points), list(curves[1](generator=seeded(5, at), resume=state))
    for one, other in zip(rest, resumed, strict=True):
        assert (one.steps, one.spent) == (other.steps, other.spent)
        torch.testing.assert_close(one.loss, other.loss, rtol=1e-6, atol=1e-6)
    if at == "cpu":
        for one, other in zip([first, *rest], curves[0](generator=seeded(4)), strict=True):
            assert (one.steps, one.spent, one.place) == (other.steps, other.spent, other.place)
            torch.testing.assert_close(one.loss, other.loss, rtol=1e-4, atol=1e-5)


def test_rivals_of_pruning():
    images, labels, found = some_pictures(12), torch.arange(12) % 3, []
    for model, teacher in zip(both_nets("ours"), both_nets("ours", 1), strict=True):
        there = images.to(next(model.parameters()).device)
        penalty = shrinking_loss(model, 0.5, example=there)(model)
        loss = distillation_loss(model, teacher, there)
        slopes = torch.autograd.grad(penalty + loss, list(model.parameters()))
        narrow = prune_channels(model, 0.5)(there)
        probe, spent = fit_probe(model, there, labels.to(there.device), 3, 0.1, iterations=3)
        found.append(([penalty, loss, *slopes, narrow, probe(there).softmax(1)], spent))
    (on_cpu, counted), (on_gpu, counted_there) = found
    assert counted_there == counted
    for one, other in zip(on_gpu, on_cpu, strict=True):
        assert_same(one.detach(), other.detach())


def task_net(classes: int, device: str = "cpu") -> torch.nn.Module:
    return ResidualNet(1, classes, width=4, stages=2).double().to(device)


STREAM_LEARNERS = {
    "independent": lambda stream, device, recipe: independent(stream, partial(task_net, device=device), recipe),
    "previous": lambda stream, device, recipe: previous(stream, partial(task_net, device=device), recipe),
    "dynamic": lambda stream, device, recipe: dynamic(stream, partial(task_net, device=device), recipe, pictures=40),
    "multitask": lambda stream, device, recipe: multitask(stream, partial(task_net, device=device), recipe),
    "pretrained": lambda stream, device, recipe: pretrained(stream, make(task_net, 5, 1, 0).to(device), recipe),
    "soup": lambda stream, device, recipe: soup(stream, partial(task_net, device=device), recipe),
    "closed form": lambda stream, device, recipe: closed_form(
        stream, make(task_net, 5, 1, 0).to(device), recipe=recipe
    ),
}
each_stream_learner = pytest.mark.parametrize("make_learner", STREAM_LEARNERS.values(), ids=STREAM_LEARNERS)


def bodies_of(state: dict) -> list[torch.Tensor]:
    return state.get("bodies") or [state["body"]]


@each_stream_learner
def test_learners_of_a_task_stream(make_learner, monkeypatch):
    """States, answers and operations, with batches by a generator on the CPU; two trials a task."""
    drawn = nevis.generator_of
    monkeypatch.setattr(nevis, "generator_of", lambda *given: drawn(*given[:3], torch.device("cpu")))
    stream, recipe, found = MiniStream(num_tasks=2), Recipe(steps=3, batch=8, learning_rates=(0.05, 0.01)), []
    for device in ("cpu", GPU):
        learner = make_learner(stream, device, recipe)
        going = run(learner, stream)
        spent = [row.floating_point_operations for row in going]
        key = f"{stream.tasks[0].name}/test"
        answers = torch.cat([output for _, output in learner.predict(PredictionEvent(key), going.state)])
        assert answers.device.type == device
        assert {each.device.type for each in bodies_of(going.state)} == {"cpu"}
        found.append((spent, [answers.cpu(), *bodies_of(going.state), *(each.cpu() for each in going.state["heads"])]))
    (spent, on_cpu), (spent_there, on_gpu) = found
    assert spent_there == spent
    for one, other in zip(on_gpu, on_cpu, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@each_stream_learner
def test_a_task_stream_goes_on_on_the_device(make_learner, tmp_path):
    """With batches that are drawn there, and a file that was read again."""
    stream, recipe = MiniStream(num_tasks=2), Recipe(steps=3, batch=8)
    whole = run(make_learner(stream, GPU, recipe), stream)
    spent = [row.floating_point_operations for row in whole]
    next(run(make_learner(stream, GPU, recipe), stream, tmp_path / "run"))
    again = run(make_learner(stream, GPU, recipe), stream, tmp_path / "run")
    assert [row.floating_point_operations for row in again] == spent
    for one, other in zip(bodies_of(again.state), bodies_of(whole.state), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_scores_and_representations_of_a_task_stream():
    features, queries = (torch.randn(n, 4, generator=seeded(n), dtype=torch.float64) for n in (30, 12))
    labels, answers = torch.arange(30) % 3, torch.arange(12) % 3
    target, asked = (torch.nn.functional.one_hot(each, 3).double() for each in (labels, answers))
    for kind, of_voters, wanted in (
        (TaskKind.CLASSIFICATION, labels, answers),
        (TaskKind.MULTI_LABEL_CLASSIFICATION, target, asked),
    ):
        errors = [
            (
                knn_error(kind, features.to(on), of_voters.to(on), queries.to(on), wanted.to(on), 3),
                task_error(kind, queries[:, :3].to(on), wanted),
            )
            for on in ("cpu", GPU)
        ]
        assert errors[1] == pytest.approx(errors[0], abs=1e-12)
    model, images = make(task_net, 3, 0, 0), torch.randn(6, 1, 8, 8, generator=seeded(), dtype=torch.float64)
    there = make(partial(task_net, device=GPU), 3, 1, 0)
    load_body(there, body_of(model))
    for own_statistics in (True, False):
        assert_same(
            representation(there, images.to(GPU), own_statistics), representation(model, images, own_statistics)
        )
