"""Networks: what goes in, what comes out, and that every part of the input and every weight matters."""

import pytest
import torch
from agree import seeded

from companion.foundations.networks import MLP, ResidualBlock, ResidualNet, TimeMLP, UNet, time_features


def every_weight_matters(model: torch.nn.Module, output: torch.Tensor) -> bool:
    output.square().sum().backward()
    return all(parameter.grad is not None and (parameter.grad != 0).any() for parameter in model.parameters())


def test_a_perceptron_has_the_asked_layers():
    shapes = [tuple(layer.weight.shape) for layer in MLP(3, 2, width=8, depth=2) if isinstance(layer, torch.nn.Linear)]
    assert shapes == [(8, 3), (8, 8), (2, 8)]


def test_time_features_are_the_time_with_its_sines_and_cosines():
    t = torch.tensor([0.0, 0.5])
    features = time_features(t, waves=3)
    frequency = torch.pi * torch.tensor([1.0, 2**0.5, 2.0])
    expected = torch.cat([t[:, None], (t[:, None] * frequency).sin(), (t[:, None] * frequency).cos()], dim=1)
    torch.testing.assert_close(features, expected)


@pytest.mark.parametrize("noise_dim", [0, 3])
def test_a_point_denoiser_uses_point_time_and_noise(noise_dim):
    torch.manual_seed(0)
    model, x = TimeMLP(dim=2, noise_dim=noise_dim), torch.randn(5, 2, generator=seeded())
    noise = torch.randn(5, noise_dim, generator=seeded(1)) if noise_dim else None
    output = model(x, 0.5, noise)
    assert output.shape == (5, 2)
    assert not torch.equal(output, model(x, 0.6, noise))
    assert not torch.equal(output, model(x + 1, 0.5, noise))
    if noise_dim:
        assert not torch.equal(output, model(x, 0.5, noise + 1))
    assert every_weight_matters(model, output)


@pytest.mark.parametrize("network", [TimeMLP(dim=2), UNet(channels=1, width=8)], ids=["TimeMLP", "UNet"])
def test_one_time_for_all_equals_that_time_for_each_row(network):
    x = (
        torch.randn(4, 2, generator=seeded())
        if isinstance(network, TimeMLP)
        else torch.randn(4, 1, 8, 8, generator=seeded())
    )
    torch.testing.assert_close(network(x, 0.3), network(x, torch.full((4,), 0.3)))
    torch.testing.assert_close(network(x, 0.3), network(x, torch.tensor(0.3)))
    mixed = network(x, torch.tensor([0.1, 0.3, 0.5, 1.0]))
    torch.testing.assert_close(mixed[1], network(x, 0.3)[1])


@pytest.mark.parametrize(
    ("channels", "noise_channels", "width", "levels", "size"), [(1, 0, 8, 2, 8), (3, 2, 12, 3, 16), (1, 1, 4, 1, 7)]
)
def test_an_image_denoiser_keeps_the_size_and_uses_image_time_and_noise(channels, noise_channels, width, levels, size):
    torch.manual_seed(0)
    model = UNet(channels, noise_channels, width, levels)
    x = torch.randn(2, channels, size, size, generator=seeded())
    noise = torch.randn(2, noise_channels, size, size, generator=seeded(1)) if noise_channels else None
    output = model(x, 0.5, noise)
    assert output.shape == x.shape
    assert not torch.equal(output, model(x, 0.6, noise))
    if noise_channels:
        assert not torch.equal(output, model(x, 0.5, -noise))
    assert every_weight_matters(model, output)


def test_every_pixel_of_the_coarsest_level_sees_far():
    """A pixel changes when another, half the picture away, does."""
    torch.manual_seed(0)
    model, x = UNet(channels=1, width=8, levels=3), torch.zeros(1, 1, 16, 16)
    moved = x.clone()
    moved[..., 0, 0] = 5.0
    assert (model(moved, 0.5) - model(x, 0.5))[0, 0, 8, 8] != 0


def test_a_classifier_reads_its_features_with_a_linear_head():
    torch.manual_seed(0)
    model, x = (
        ResidualNet(in_channels=3, num_classes=7, width=8, stages=2),
        torch.randn(4, 3, 16, 16, generator=seeded()),
    )
    features = model.features(x)
    assert features.shape == (4, 16)
    logits = model(x)
    assert logits.shape == (4, 7)
    model.eval()
    torch.testing.assert_close(model(x), model.head(model.features(x)))
    assert every_weight_matters(model, logits)


@pytest.mark.parametrize(("channels", "outputs", "stride"), [(4, 4, 1), (4, 8, 2)])
def test_pruning_hidden_channels_keeps_the_blocks_size(channels, outputs, stride):
    """A hidden channel whose outgoing weights are 0 can be cut out, and the block computes the same."""
    torch.manual_seed(0)
    block = ResidualBlock(channels, outputs, stride=stride).eval()
    kept = list(range(outputs - 2))
    with torch.no_grad():
        block.conv2.weight[:, outputs - 2 :] = 0
    pruned = ResidualBlock(channels, outputs, hidden=len(kept), stride=stride).eval()
    state = block.state_dict()
    for name in state:
        if name.startswith(("conv1", "norm1")) and state[name].ndim:
            state[name] = state[name][kept]
    state["conv2.weight"] = state["conv2.weight"][:, kept]
    pruned.load_state_dict(state)
    x = torch.randn(2, channels, 8, 8, generator=seeded())
    torch.testing.assert_close(pruned(x), block(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_networks_run_in_the_dtype_of_their_weights(dtype):
    x = torch.randn(2, 1, 8, 8, dtype=dtype)
    assert UNet(width=8).to(dtype)(x, 0.5).dtype == dtype
    assert ResidualNet(width=8).to(dtype)(x).dtype == dtype
    assert TimeMLP(dim=3).to(dtype)(torch.randn(2, 3, dtype=dtype), 0.5).dtype == dtype
