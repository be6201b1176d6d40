"""Pruning against networks whose dropped filters are silenced by hand, operations against formulas, curves against a loop written out again.

A pruned network must say what the whole one says when the readers of the dropped filters hear nothing of them: that
catches a filter, a norm's number or an input that was cut in the wrong place. Numbers are compared in double precision.
"""

import copy
import io
import math
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from agree import close, normal, seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from prunable_nets import (
    NETS,
    Bottleneck,
    PreActivation,
    lively,
    net,
    others,
    silence,
    some_pictures,
    strongest,
)
from torch import nn
from torch.nn import functional
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrizations

from companion.foundations.residual import ExpandedResidualNet
from companion.methods.pruning import (
    SGD,
    Task,
    accuracy_compute_curve,
    count_flops,
    cut_channels,
    filters_kept,
    head_of,
    prunable_filters,
    prune_filters,
    reestimate_batch_norm,
    with_head,
)

each_net = pytest.mark.parametrize("name", NETS)
NORMS = {"l2": lambda weight: weight.square().sum((1, 2, 3)).sqrt(), "l1": lambda weight: weight.abs().sum((1, 2, 3))}
CRITERIA = {**NORMS, "the first weight": lambda weight: weight[:, 0, 0, 0]}


def snapshot(model: nn.Module) -> dict:
    """All that pruning a copy must leave as it is."""
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "modes": [each.training for each in model.modules()],
        "wanted": [each.requires_grad for each in model.parameters()],
        "momenta": [getattr(each, "momentum", 0) for each in model.modules()],
        "gradients": [None if each.grad is None else each.grad.clone() for each in model.parameters()],
    }


def assert_as_it_was(model: nn.Module, before: dict) -> None:
    torch.testing.assert_close(snapshot(model), before, rtol=0, atol=0)


def out_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(images)


def mixed_modes(model: nn.Module) -> nn.Module:
    for place, each in enumerate(model.modules()):
        each.training = place % 3 == 0
    return model


# --- which filters ------------------------------------------------------------------------------------------------


@each_net
def test_what_can_be_pruned_is_what_only_convolutions_read(name):
    model = net(name)
    found = prunable_filters(model, some_pictures())
    assert found == {each: model.get_submodule(each).out_channels for each in NETS[name][1]}


class Wired(nn.Module):
    """stem -> good -> inner -> (what is between) -> after: `good` can always be pruned, `inner` if what is between allows it."""

    def __init__(self, between, out=lambda y, h: y, extra=None) -> None:
        super().__init__()
        self.stem, self.good = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 1)
        self.inner, self.after = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 3, 1)
        self.between, self.out, self.extra = between, out, extra

    def forward(self, x):
        h = self.inner(self.good(self.stem(x)))
        return self.out(self.after(self.between(self, h)), h)


class Bare(nn.Module):
    """A convolution without a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6, 6, 1, 1))

    def forward(self, h):
        return functional.conv2d(h, self.weight)


KEPT_APART = {
    "nothing": lambda wired, h: h,
    "relu": lambda wired, h: h.relu(),
    "relu in place": lambda wired, h: h.relu_(),
    "functional relu in place": lambda wired, h: functional.relu(h, inplace=True),
    "relu6": lambda wired, h: functional.relu6(h),
    "leaky_relu": lambda wired, h: functional.leaky_relu(h, 0.2),
    "elu": lambda wired, h: functional.elu(h),
    "selu": lambda wired, h: functional.selu(h),
    "celu": lambda wired, h: functional.celu(h),
    "gelu": lambda wired, h: functional.gelu(h),
    "silu": lambda wired, h: functional.silu(h, inplace=True),
    "mish": lambda wired, h: functional.mish(h),
    "softplus": lambda wired, h: functional.softplus(h),
    "tanh": lambda wired, h: h.tanh(),
    "sigmoid": lambda wired, h: torch.sigmoid(h),
    "hardtanh": lambda wired, h: functional.hardtanh(h),
    "hardswish": lambda wired, h: functional.hardswish(h),
    "hardsigmoid": lambda wired, h: functional.hardsigmoid(h),
    "clamp": lambda wired, h: h.clamp(-1, 2),
    "dropout": lambda wired, h: functional.dropout(h, 0.5, wired.training),
    "dropout2d": lambda wired, h: functional.dropout2d(h, 0.5, wired.training),
    "feature_dropout": lambda wired, h: torch.feature_dropout(h, 0.5, wired.training),
    "pad": lambda wired, h: functional.pad(h, (1, 2, 0, 1), value=1.0),
    "interpolate": lambda wired, h: functional.interpolate(h, scale_factor=2.0),
    "max_pool2d": lambda wired, h: functional.max_pool2d(h, 2),
    "avg_pool2d": lambda wired, h: functional.avg_pool2d(h, 2),
    "adaptive_avg_pool2d": lambda wired, h: functional.adaptive_avg_pool2d(h, 3),
    "adaptive_max_pool2d": lambda wired, h: functional.adaptive_max_pool2d(h, 3),
    "copies": lambda wired, h: h.clone().contiguous().to(torch.float64),
    "batch norm": nn.BatchNorm2d(6),
    "batch norm without scale": nn.BatchNorm2d(6, affine=False),
    "batch norm without statistics": nn.BatchNorm2d(6, track_running_stats=False),
    "depthwise": nn.Conv2d(6, 6, 3, groups=6),
    "a chain": nn.Sequential(nn.ReLU6(), nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6), nn.MaxPool2d(2), nn.Identity()),
}  # fmt: skip


def wired(between, **options) -> Wired:
    """With a module between or a function of the network and the hidden tensor."""
    if not isinstance(between, nn.Module):
        return lively(Wired(between, **options))
    return lively(Wired(lambda wired, h: wired.extra(h), extra=copy.deepcopy(between), **options))


@pytest.mark.parametrize("between", KEPT_APART.values(), ids=KEPT_APART)
def test_filters_can_go_behind_what_treats_each_channel_by_itself(between):
    model, images = wired(between), some_pictures(channels=1)
    assert prunable_filters(model, images) == {"good": 6, "inner": 6}
    small, silenced = prune_filters(model, 0.5, "l2", images), copy.deepcopy(model)
    for name, reader in {"good": "inner", "inner": "after"}.items():
        kept = strongest(NORMS["l2"](model.get_submodule(name).weight), 0.5)
        silence(silenced, reader, others(kept, 6))
    close(out_of(small, images), out_of(silenced, images))


def twice(module: nn.Module) -> nn.Module:
    return nn.Sequential(module, module)


MIXED = {
    "added to itself": lambda wired, h: h + h,
    "added in place": lambda wired, h: h.add_(h.detach()),
    "multiplied": lambda wired, h: h * h.sigmoid(),
    "scaled": lambda wired, h: 2 * h,
    "concatenated": lambda wired, h: torch.cat([h, h.relu()], dim=1)[:, :6],
    "cut": lambda wired, h: h[:, :6],
    "turned": lambda wired, h: h.flip(1),
    "rolled by padding": lambda wired, h: functional.pad(h, (0, 0, 0, 0, 1, -1)),
    "rolled by padding, by name": lambda wired, h: functional.pad(input=h, pad=(0, 0, 0, 0, 1, -1)),
    "softmax over channels": lambda wired, h: h.softmax(1),
    "compared": lambda wired, h: h.clamp(max=h.mean((2, 3), keepdim=True)),
    "bounded for each channel": lambda wired, h: h.clamp(max=torch.ones(6, 1, 1, dtype=h.dtype)),
    "group norm": nn.GroupNorm(2, 6),
    "instance norm": nn.InstanceNorm2d(6, affine=True),
    "grouped": nn.Conv2d(6, 6, 1, groups=2),
    "transposed": nn.ConvTranspose2d(6, 6, 1),
    "one of two norms that are one": twice(nn.BatchNorm2d(6)),
    "one convolution twice": twice(nn.Conv2d(6, 6, 1)),
    "read by made weights": lambda wired, h: functional.conv2d(h, torch.ones(6, 6, 1, 1, dtype=h.dtype)),
    "read by weights of no layer": Bare(),
    "flattened": lambda wired, h: h.flatten(1).view_as(h),
    "detached": lambda wired, h: h.detach(),
    "a slope for each channel": nn.PReLU(6),
    "a parametrised reader": parametrizations.weight_norm(nn.Conv2d(6, 6, 1)),
}  # fmt: skip


@pytest.mark.parametrize("between", MIXED.values(), ids=MIXED)
def test_filters_stay_behind_what_mixes_channels(between):
    assert prunable_filters(wired(between), some_pictures(channels=1)) == {"good": 6}


def test_filters_stay_whose_weights_are_used_twice():
    """By one layer, or by two that share them; with them goes what they read."""
    used_again = wired(lambda wired, h: functional.conv2d(h, wired.inner.weight, padding=1))
    shared = wired(nn.Conv2d(6, 6, 3, padding=1))
    shared.extra.weight = shared.inner.weight
    for model in (used_again, shared):
        with pytest.raises(ValueError, match="without a convolution that feeds only convolutions"):
            prunable_filters(model, some_pictures(channels=1))


OUTPUTS = {
    "in a tuple": lambda y, h: (y, h),
    "in a dictionary": lambda y, h: {"y": y, "inner": [h]},
    "together": lambda y, h: y.sum() + h.sum(),
}


@pytest.mark.parametrize("out", OUTPUTS.values(), ids=OUTPUTS)
def test_filters_stay_that_are_an_output_too(out):
    assert prunable_filters(wired(nn.ReLU(), out=out), some_pictures(channels=1)) == {"good": 6}


def test_an_output_in_place_behind_an_activation_stays_too():
    """The activation in place makes the output of the convolution itself the one that is returned."""
    model = wired(nn.ReLU(inplace=True), out=lambda y, h: (y, h))
    assert prunable_filters(model, some_pictures(channels=1)) == {"good": 6}


FIRST = {
    "the pictures": lambda x: x,
    "the pictures in a range": lambda x: (x - 0.5) / 0.5,
    "smaller pictures": lambda x: functional.avg_pool2d(x, 2),
    "the pictures twice": lambda x: torch.cat([x, x], dim=1)[:, :1],
}


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_what_sees_the_pictures_stays(first):
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.second, self.third = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 2, 1)

        def forward(self, x):
            return self.third(self.second(self.stem(first(x))))

    assert prunable_filters(Two(), torch.zeros(1, 1, 8, 8)) == {"second": 6}


def test_several_readers_are_all_cut():
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inner = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 8, 1)
            self.left, self.right = nn.Conv2d(8, 3, 1), nn.Conv2d(8, 3, 3, padding=1)

        def forward(self, x):
            h = self.inner(self.stem(x))
            return self.left(h.relu()) + self.right(h)

    model, images = lively(Forked()), some_pictures()
    small, silenced = prune_filters(model, 0.75, example=images), copy.deepcopy(model)
    dropped = others(strongest(NORMS["l2"](model.inner.weight), 0.75), 8)
    silence(silenced, "left", dropped)
    silence(silenced, "right", dropped)
    assert small.left.in_channels == small.right.in_channels == 2
    close(out_of(small, images), out_of(silenced, images))


def test_one_reader_that_mixes_saves_them_all():
    model = wired(lambda wired, h: h.relu(), out=lambda y, h: y + h.mean())
    assert prunable_filters(model, some_pictures(channels=1)) == {"good": 6}


PARAMETRISED = {
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
}


@pytest.mark.parametrize("parametrise", PARAMETRISED.values(), ids=PARAMETRISED)
def test_convolutions_whose_weights_are_made_anew_stay_with_all_that_feeds_them(parametrise):
    """Many of them, as the weights of one may come to lie where those of another were."""
    layers = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(12)]
    for each in layers[3:]:
        parametrise(each)
    model = nn.Sequential(nn.Conv2d(2, 4, 1), *layers).eval()
    assert prunable_filters(model, torch.zeros(1, 2, 8, 8)) == {"1": 4, "2": 4}
    small = prune_filters(model, 0.5, example=torch.zeros(1, 2, 8, 8))
    assert out_of(small, torch.zeros(1, 2, 8, 8)).shape == (1, 4, 8, 8)


def test_a_convolution_that_the_forward_pass_leaves_out_stays():
    model = wired(nn.ReLU())
    model.idle = nn.Conv2d(6, 6, 1)
    assert prunable_filters(model, some_pictures(channels=1)) == {"good": 6, "inner": 6}


def test_a_convolution_that_nobody_reads_stays():
    model = wired(lambda wired, h: (wired.extra(h), h)[1])
    model.extra = nn.Conv2d(6, 5, 1).double()
    assert prunable_filters(model, some_pictures(channels=1)) == {"good": 6, "inner": 6}


def test_the_example_is_32_by_32_if_none_is_given():
    class Asked(Bottleneck):
        def forward(self, x):
            self.seen.append((tuple(x.shape), x.dtype, x.abs().max().item(), self.training, torch.is_grad_enabled()))
            return super().forward(x)

    model = Asked().double()
    model.seen = seen = []
    model.__deepcopy__ = lambda memo: model  # so that the list is the same
    prunable_filters(model)
    assert seen == [((1, 2, 32, 32), torch.float64, 0.0, False, False)]
    assert model.training


# --- pruning ------------------------------------------------------------------------------------------------------


@each_net
@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 0.75])
def test_a_pruned_network_is_the_whole_one_with_the_weakest_filters_silenced(name, criterion, ratio):
    """In evaluation and in training: each channel's statistics are its own. Strengths are those of the whole filters."""
    model, images = net(name), some_pictures()
    given = criterion if criterion in NORMS else CRITERIA[criterion]
    small, silenced = prune_filters(model, ratio, given, images), copy.deepcopy(model)
    for each, (_, reader) in NETS[name][1].items():
        weight = model.get_submodule(each).weight
        kept = strongest(CRITERIA[criterion](weight), ratio)
        assert small.get_submodule(each).out_channels == len(kept)
        silence(silenced, reader, others(kept, len(weight)))
    close(out_of(small, images), out_of(silenced, images))
    close(out_of(learning(small), images), out_of(learning(silenced), images))


def learning(model: nn.Module) -> nn.Module:
    """In training mode but for dropout, which draws."""
    for each in model.train().modules():
        each.train(not isinstance(each, nn.modules.dropout._DropoutNd))
    return model


@each_net
@pytest.mark.parametrize("ratio", [0.3, 0.75])
def test_filters_that_say_nothing_change_nothing(name, ratio):
    """Weights, bias and the norms' shift and mean zero: what goes was silent."""
    model, images = net(name).float(), some_pictures().float()
    for place, (each, (behind, _)) in enumerate(NETS[name][1].items()):
        count = model.get_submodule(each).out_channels
        silent = torch.randperm(count, generator=seeded(place))[int(count * (1 - ratio)) :]
        with torch.no_grad():
            for part in (each, *behind):
                module = model.get_submodule(part)
                for own in ("weight", "bias", "running_mean"):
                    keeps = own == "weight" and part != each
                    if getattr(module, own, None) is not None and not keeps:
                        getattr(module, own)[silent] = 0
    small = prune_filters(model, ratio, example=images)
    assert sum(map(torch.numel, small.parameters())) < sum(map(torch.numel, model.parameters()))
    torch.testing.assert_close(out_of(small, images), out_of(model, images), rtol=0, atol=1e-6)


@given(st.integers(1, 200), st.floats(0, 0.999))
def test_int_of_h_times_one_less_ratio_filters_stay_or_none_go(filters, ratio):
    kept = int(filters * (1 - ratio))
    if kept > 0:
        assert filters_kept(filters, ratio) == kept
    else:
        with pytest.raises(ValueError, match="ratio"):
            filters_kept(filters, ratio)


@pytest.mark.parametrize(
    ("filters", "ratio", "kept"), [(1, 0, 1), (7, 0.5, 3), (20, 0.9, 1), (64, 0.9, 6), (3, 1 / 3, 2), (9, 0.999, 0)]
)
def test_a_convolution_and_its_reader_have_as_many(filters, ratio, kept):
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, filters, 1), nn.Conv2d(filters, 1, 1))
    if kept == 0:
        with pytest.raises(ValueError, match="ratio"):
            prune_filters(model, ratio)
        return
    small = prune_filters(model, ratio)
    assert (small[0].out_channels, small[1].out_channels, small[2].in_channels, small[2].out_channels) == (
        1,
        kept,
        kept,
        1,
    )
    assert small[1].weight.shape == (kept, 1, 1, 1)
    assert small[1].bias.shape == (kept,)
    assert small[2].weight.shape == (1, kept, 1, 1)


@each_net
def test_everything_that_stays_keeps_its_numbers_and_its_order(name):
    """Norms with their scale, shift, mean and variance; what is not pruned, whole."""
    model = net(name)
    small, whole = prune_filters(model, 0.5, example=some_pictures()), model.state_dict()
    found, rows, columns = small.state_dict(), {}, {}
    for each, (behind, reader) in NETS[name][1].items():
        kept = strongest(NORMS["l2"](model.get_submodule(each).weight), 0.5)
        rows |= dict.fromkeys((each, *behind), kept)
        columns[reader] = kept
    assert found.keys() == whole.keys()
    for own, value in whole.items():
        module, _, part = own.rpartition(".")
        if module in rows and value.ndim > 0:
            value = value[rows[module]]
        if module in columns and part == "weight":
            value = value[:, columns[module]]
        torch.testing.assert_close(found[own], value, rtol=0, atol=0)
    for each in small.modules():
        if isinstance(each, nn.BatchNorm2d):
            assert each.num_features == len(each.running_mean)
        if isinstance(each, nn.Conv2d):
            assert each.weight.shape[:2] == (each.out_channels, each.in_channels // each.groups)


def test_the_block_and_the_representation_keep_their_width():
    model = ExpandedResidualNet(1, 7, width=8, expansion=3)
    small = prune_filters(model, 0.75, example=torch.zeros(1, 1, 16, 16))
    assert [each.conv1.in_channels for each in small.blocks] == [each.conv1.in_channels for each in model.blocks]
    assert [each.conv2.out_channels for each in small.blocks] == [each.conv2.out_channels for each in model.blocks]
    assert small.features(torch.zeros(3, 1, 16, 16)).shape == (3, 16)
    small.head.load_state_dict(model.head.state_dict())


@each_net
def test_the_whole_network_and_the_example_are_left_as_they_were(name):
    model, images = mixed_modes(net(name)), some_pictures()
    for place, each in enumerate(model.parameters()):
        each.requires_grad_(place % 2 == 0)
        each.grad = torch.ones_like(each)
    before, pictures = snapshot(model), images.clone()
    small = prune_filters(model, 0.5, example=images)
    prunable_filters(model, images)
    assert_as_it_was(model, before)
    assert torch.equal(images, pictures)
    assert type(small) is type(model)
    assert snapshot(small)["modes"] == before["modes"]
    assert snapshot(small)["wanted"] == before["wanted"]
    assert {each.dtype for each in small.parameters()} == {torch.float64}
    with torch.no_grad():
        for each in (*small.parameters(), *small.buffers()):
            each.fill_(7)
    assert_as_it_was(model, before)


@each_net
def test_a_pruned_network_learns(name):
    small = prune_filters(net(name), 0.5, example=some_pictures()).train()
    cross_entropy(small(some_pictures()), torch.arange(5) % 3).backward()
    gradients = [each.grad for each in small.parameters()]
    assert all(each is not None and each.isfinite().all() for each in gradients)
    assert all(each.is_leaf and isinstance(each, nn.Parameter) for each in small.parameters())


def test_a_network_can_be_pruned_again_and_stored():
    model, images = net("bottleneck"), some_pictures()
    small = prune_filters(prune_filters(model, 0.5, example=images), 0.5, example=images)
    assert prunable_filters(small, images) == {"conv1": 2, "conv2": 2}
    other = Bottleneck(hidden=2).double().eval()
    other.load_state_dict(small.state_dict())
    close(out_of(other, images), out_of(small, images), 0)


def test_of_filters_that_are_as_strong_the_first_stay():
    model = lively(PreActivation())
    with torch.no_grad():
        model.conv1.weight.fill_(0.5)
    small = prune_filters(model, 0.5, example=some_pictures())
    assert torch.equal(small.norm2.running_mean, model.norm2.running_mean[:4])


def test_a_criterion_sees_the_weights_of_the_whole_filters():
    seen = []

    def last(weight):
        seen.append(weight.clone())
        return torch.arange(len(weight), dtype=weight.dtype)

    model = net("bottleneck")
    small = prune_filters(model, 0.5, last, some_pictures())
    assert [tuple(each.shape) for each in seen] == [(8, 6, 1, 1), (8, 8, 3, 3)]
    assert torch.equal(seen[1], model.conv2.weight)
    assert not any(each.requires_grad for each in seen)
    assert torch.equal(small.norm2.running_mean, model.norm2.running_mean[4:])


def drawn(seed: int | None, model: nn.Module) -> list[int]:
    generator = None if seed is None else seeded(seed)
    small = prune_filters(model, 0.5, "random", torch.zeros(1, 2, 4, 4).double(), generator)
    return [model.norm2.running_mean.tolist().index(value) for value in small.norm2.running_mean.tolist()]


def test_random_filters_come_from_the_generator():
    model = lively(PreActivation())
    torch.manual_seed(0)
    before = torch.get_rng_state()
    found = [drawn(seed, model) for seed in range(40)]
    assert torch.equal(torch.get_rng_state(), before)
    assert found[:3] == [drawn(seed, model) for seed in range(3)]
    assert all(each == sorted(each) and len(each) == 4 for each in found)
    times = torch.bincount(torch.tensor(found).flatten(), minlength=8)
    assert ((times - 20).abs() < 13).all()  # four standard deviations
    globally = drawn(None, model), drawn(None, model)
    torch.set_rng_state(before)
    assert (drawn(None, model), drawn(None, model)) == globally


def test_each_layer_draws_anew():
    model = lively(Bottleneck(hidden=32))
    small = prune_filters(model, 0.5, "random", some_pictures(), seeded())
    kept = [
        {own.running_mean.tolist().index(value) for value in cut.running_mean.tolist()}
        for own, cut in ((model.norm1, small.norm1), (model.norm2, small.norm2))
    ]
    assert kept[0] != kept[1]


def test_layers_are_cut_in_place():
    kept, conv, linear = torch.tensor([0, 3]), nn.Conv2d(5, 4, 3), nn.Linear(5, 4)
    depthwise, norm = nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4)
    whole = [copy.deepcopy(each.state_dict()) for each in (conv, linear, depthwise, norm)]
    for each in (conv, linear, depthwise, norm):
        cut_channels(each, kept)
    for each, before in zip((conv, linear, depthwise, norm), whole, strict=True):
        for name, value in each.state_dict().items():
            assert torch.equal(value, before[name][kept] if value.ndim else before[name])
    assert (conv.in_channels, conv.out_channels, linear.in_features, linear.out_features) == (5, 2, 5, 2)
    assert (depthwise.groups, depthwise.in_channels, depthwise.out_channels, norm.num_features) == (2, 2, 2, 2)
    cut_channels(conv, torch.tensor([1, 2, 4]), inputs=True)
    cut_channels(linear, torch.tensor([1, 2, 4]), inputs=True)
    assert torch.equal(conv.weight, whole[0]["weight"][kept][:, [1, 2, 4]])
    assert torch.equal(linear.weight, whole[1]["weight"][kept][:, [1, 2, 4]])
    assert torch.equal(linear.bias, whole[1]["bias"][kept])
    assert (conv.in_channels, conv.out_channels, linear.in_features, linear.out_features) == (3, 2, 3, 2)


# --- operations ---------------------------------------------------------------------------------------------------


def conv_flops(layer: nn.Conv2d, side: int) -> int:
    """Two for each product of a pass, for an output of side x side."""
    return 2 * math.prod(layer.kernel_size) * layer.in_channels // layer.groups * layer.out_channels * side**2


def by_hand(model: nn.Module, side: int, training: bool) -> int:
    """Of one picture: each layer's output side is told by a hook; in training the first convolution wants no gradient of its input."""
    found = []

    def note(layer, inputs, output):
        forward = conv_flops(layer, output.shape[-1]) if isinstance(layer, nn.Conv2d) else 2 * layer.weight.numel()
        found.append(forward * ((3 if found else 2) if training else 1))

    model = copy.deepcopy(model)
    for each in model.modules():
        if isinstance(each, nn.Conv2d | nn.Linear):
            each.register_forward_hook(note)
    out_of(model, some_pictures(1, side))
    return sum(found)


@each_net
@pytest.mark.parametrize("training", [False, True], ids=["forward", "training"])
@pytest.mark.parametrize("ratio", [0, 0.5])
def test_operations_are_two_for_each_product(name, training, ratio):
    model = prune_filters(net(name), ratio, example=some_pictures())
    for n, side in ((1, 8), (5, 8), (2, 12)):
        assert count_flops(model, some_pictures(n, side), training) == n * by_hand(model, side, training)


def test_a_linear_layer_and_a_strided_convolution_by_hand():
    assert count_flops(nn.Linear(5, 3), torch.zeros(4, 5)) == 2 * 4 * 5 * 3
    assert count_flops(nn.Linear(5, 3), torch.zeros(4, 5), training=True) == 2 * 2 * 4 * 5 * 3
    strided = nn.Conv2d(3, 6, (3, 5), stride=2, padding=(1, 2), groups=3)
    assert count_flops(strided, torch.zeros(2, 3, 8, 8)) == 2 * 2 * 6 * 15 * 16
    assert count_flops(strided, torch.zeros(2, 3, 8, 8), training=True) == 2 * 2 * 2 * 6 * 15 * 16
    upward = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2))
    first, second = 2 * 3 * 4 * 64, 2 * 64 * 4 * 3 * 4
    assert count_flops(upward, torch.zeros(1, 3, 8, 8)) == first + second
    assert count_flops(upward, torch.zeros(1, 3, 8, 8), training=True) == 2 * first + 3 * second


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("training", [False, True], ids=["forward", "training"])
def test_a_basic_block_scales_as_what_is_left(ratio, training):
    images, model = some_pictures(2), net("ours")
    small, bare = prune_filters(model, ratio, example=images), copy.deepcopy(model)
    for block in bare.blocks:  # without the block's two convolutions
        cut_channels(block.conv1, torch.arange(0))
        cut_channels(block.norm1, torch.arange(0))
        cut_channels(block.conv2, torch.arange(0), inputs=True)
        block.forward = block.shortcut.forward
    rest, whole = count_flops(bare, images, training), count_flops(model, images, training)
    assert count_flops(small, images, training) - rest == (1 - ratio) * (whole - rest)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_a_bottleneck_scales_as_its_three_convolutions_do(ratio):
    images, left = some_pictures(1), 1 - ratio
    small = prune_filters(net("bottleneck"), ratio, example=images)
    stem, head, square = 2 * 9 * 2 * 6 * 64, 2 * 6 * 3, 2 * 64
    outer, inner = square * 6 * 8, square * 9 * 8 * 8
    assert count_flops(small, images) == stem + left * outer + left**2 * inner + left * outer + head
    assert count_flops(small, images, True) == 2 * stem + 3 * (2 * left * outer + left**2 * inner + head)


@pytest.mark.parametrize("training", [False, True], ids=["forward", "training"])
def test_an_inverted_bottleneck_scales_as_what_is_left(training):
    images, left = some_pictures(1), 0.5
    small, times = prune_filters(net("mobile"), 0.5, example=images), 3 if training else 1
    stem, head = 2 * 9 * 2 * 4 * 64, 2 * 4 * 3
    block = 2 * 64 * (4 * 10 + 9 * 10 + 10 * 4)
    assert count_flops(small, images, training) == (2 if training else 1) * stem + times * (left * block + head)


def test_parameters_that_want_no_gradient_cost_none():
    """A frozen body: forward everywhere, and the gradient of the head's weights, not of its inputs."""
    model, images = net("ours"), some_pictures(3)
    model.requires_grad_(False)
    forward = count_flops(model, images)
    assert count_flops(model, images, training=True) == forward
    model.head.requires_grad_(True)
    assert count_flops(model, images, training=True) == forward + 2 * 3 * model.head.weight.numel()


@pytest.mark.parametrize("mode", [False, True])
def test_training_is_counted_in_training_mode(mode):
    class Deeper(nn.Module):
        """Half of it is asked in training only."""

        def __init__(self) -> None:
            super().__init__()
            self.always, self.learning = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.learning(self.always(x)) if self.training else self.always(x)

    model = Deeper().train(mode)
    assert count_flops(model, torch.zeros(1, 4)) == 32
    assert count_flops(model, torch.zeros(1, 4), training=True) == 2 * 32 + 3 * 32


@each_net
@pytest.mark.parametrize("training", [False, True], ids=["forward", "training"])
def test_counting_changes_nothing(name, training):
    model, images = mixed_modes(net(name)), some_pictures().requires_grad_()
    before, state = snapshot(model), torch.get_rng_state()
    asked = count_flops(model, images, training)
    assert asked == count_flops(model, images.detach(), training)
    assert images.grad is None
    assert torch.equal(torch.get_rng_state(), state)
    assert_as_it_was(model, before)


# --- statistics of batch norms ------------------------------------------------------------------------------------


def heard(model: nn.Module, images: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Mean and variance of what each norm hears in a pass in which all norms use the batch's own."""
    model, found = copy.deepcopy(model).eval(), {}

    def note(name, norm, inputs):
        axes = [axis for axis in range(inputs[0].ndim) if axis != 1]
        found[name] = inputs[0].mean(axes), inputs[0].var(axes)

    for name, each in model.named_modules():
        if isinstance(each, nn.modules.batchnorm._BatchNorm):
            each.train()
            each.register_forward_pre_hook(partial(note, name))
    out_of(model, images)
    return found


@each_net
@pytest.mark.parametrize("sizes", [[9], [4, 4, 1], [5, 4], [3, 3, 3]], ids=str)
def test_reestimated_statistics_are_those_of_the_images(name, sizes):
    """Of all at once, or the plain mean over batches, the last of which may be smaller."""
    model, images = mixed_modes(net(name)), some_pictures(9)
    before = snapshot(model)
    parts = [heard(model, part) for part in images.split(sizes)]
    reestimate_batch_norm(model, images, sizes[0])
    for each in parts[0]:
        norm = model.get_submodule(each)
        close(norm.running_mean, torch.stack([part[each][0] for part in parts]).mean(0))
        close(norm.running_var, torch.stack([part[each][1] for part in parts]).mean(0))
        assert norm.num_batches_tracked == len(sizes)
        norm.load_state_dict({own: before["state"][f"{each}.{own}"] for own in norm.state_dict()})
    assert_as_it_was(model, before)


def test_at_most_128_images_make_a_batch():
    model, images = nn.Sequential(nn.BatchNorm2d(2)).double(), some_pictures(200, 1)
    reestimate_batch_norm(model, images)
    wanted = (images[:128].mean((0, 2, 3)) + images[128:].mean((0, 2, 3))) / 2
    close(model[0].running_mean, wanted)


def test_other_norms_and_odd_ones_are_met():
    """What is dropped in training is not dropped here."""
    flat = nn.Sequential(
        nn.Flatten(), nn.Dropout(0.9), nn.BatchNorm1d(8, momentum=None), nn.BatchNorm1d(8, 0.1, 0.3, track_running_stats=False)
    )  # fmt: skip
    model, images = flat.double(), some_pictures(6, 2)
    reestimate_batch_norm(model, images)
    close(model[2].running_mean, images.flatten(1).mean(0))
    close(model[2].running_var, images.flatten(1).var(0))
    assert model[3].running_mean is None
    assert (model[2].momentum, model[3].momentum) == (None, 0.3)
    assert all(each.training for each in model)


def test_a_network_that_cannot_read_the_images_keeps_its_momentum_and_mode():
    model = mixed_modes(net("ours"))
    before = snapshot(model)
    with pytest.raises(ValueError, match="x is of shape"):
        reestimate_batch_norm(model, some_pictures(channels=3))
    after = snapshot(model)
    assert (after["momenta"], after["modes"]) == (before["momenta"], before["modes"])


# --- curves -------------------------------------------------------------------------------------------------------


class Small(NamedTuple):
    name: str
    train: tuple
    test: tuple
    num_classes: int


def few(classes: int = 3, labels: int = 4, held_out: int = 5, seed: int = 0, name: str = "few", side: int = 6) -> Small:
    """Each class has its own mean picture."""
    means = normal(classes, 2, side, side, seed=seed)

    def split(each: int, seed: int) -> tuple:
        targets = torch.arange(classes).repeat_interleave(each)
        return means[targets] + normal(len(targets), 2, side, side, seed=seed), targets

    return Small(name, split(labels, seed + 1), split(held_out, seed + 2), classes)


MODEL = lively(
    nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Conv2d(3, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ),
    seed=3,
)
six_by_six = partial(some_pictures, side=6)
FORWARD, STEP = count_flops(MODEL, six_by_six(1)), count_flops(MODEL, six_by_six(6), training=True)
BUDGETS = [10.0, 12 * FORWARD + STEP, 12 * FORWARD + 3.7 * STEP, 12 * FORWARD + 8 * STEP]
STEPS = [0, 1, 3, 8]
curve = partial(accuracy_compute_curve, batch=6)


def again(model, task, steps, batch, calibration, generator, optimizer=SGD, new_head=True) -> list[tuple[float, float]]:
    """The points, written out once more."""
    model = copy.deepcopy(model).train()
    if new_head:
        model[-1] = nn.Linear(4, task.num_classes).double()
        model[-1].weight.data.zero_()
        model[-1].bias.data.zero_()
    learner, done, points = optimizer(model.parameters()), 0, []
    (images, labels), (asked, answers) = task.train, task.test
    few = min(calibration, len(images))
    spread = images[[int(place * (len(images) - 1) / max(few - 1, 1)) for place in range(few)]]
    for wanted in steps:
        while done < wanted:
            rows = torch.randperm(len(images), generator=generator)[:batch]
            loss = cross_entropy(model(images[rows]), labels[rows])
            learner.zero_grad()
            loss.backward()
            learner.step()
            done += 1
        judged = copy.deepcopy(model)
        if done:
            for norm, (mean, variance) in heard(judged, spread).items():
                judged.get_submodule(norm).running_mean.copy_(mean)
                judged.get_submodule(norm).running_var.copy_(variance)
        logits = out_of(judged.eval(), asked)
        chances = logits.log_softmax(1)[range(len(answers)), answers]
        points.append(((logits.argmax(1) == answers).double().mean().item(), -chances.mean().item()))
    return points


def numbers(points) -> list[tuple]:
    return [(each.task, each.place, each.budget, each.spent, each.steps, each.accuracy, each.loss) for each in points]


@pytest.mark.parametrize("calibration", [32, 7, 1])
@pytest.mark.parametrize("new_head", [True, False], ids=["new head", "own head"])
def test_a_curve_is_the_loop_written_out(calibration, new_head):
    tasks = [few(), few(seed=10, labels=5, name="more")]
    budgets = [FORWARD * min(calibration, 15) + STEP * (updates + 0.5) for updates in (1, 2, 5)]
    generator, plain = seeded(4), seeded(4)
    points = list(curve(MODEL, tasks, budgets, calibration=calibration, new_head=new_head, generator=generator))
    assert [(each.task, each.place) for each in points] == [("few", 0)] * 3 + [("more", 1)] * 3
    for place, task in enumerate(tasks):
        own = points[3 * place : 3 * place + 3]
        steps = [each.steps for each in own]
        wanted = again(MODEL, task, steps, 6, calibration, plain, new_head=new_head)
        close(torch.tensor([[each.accuracy, each.loss] for each in own]), torch.tensor(wanted))


def test_as_many_updates_are_made_as_the_budget_affords():
    points = list(curve(MODEL, [few()], BUDGETS, generator=seeded()))
    assert [each.steps for each in points] == STEPS
    for each, budget in zip(points, BUDGETS, strict=True):
        assert each.budget == budget
        assert each.spent == (each.steps * STEP + 12 * FORWARD if each.steps else 0)
        assert each.spent <= budget < (each.steps + 1) * STEP + 12 * FORWARD


@settings(max_examples=10)
@given(st.lists(st.floats(0.01, 6), min_size=1, max_size=3, unique=True).map(sorted))
def test_no_budget_is_passed_and_none_is_left_that_a_step_would_fit(parts):
    budgets = [part * STEP for part in parts]
    for each in curve(MODEL, [few()], budgets, calibration=2, generator=seeded()):
        assert each.spent <= each.budget
        assert (each.steps + 1) * STEP + 2 * FORWARD > each.budget


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_budget_that_is_met_exactly_is_used(count):
    (point,) = curve(MODEL, [few()], [12 * FORWARD + count * STEP], generator=seeded())
    assert point.spent == point.budget
    assert point.steps == count


def test_without_budget_for_one_update_the_untrained_copy_is_judged():
    task = few()
    (point,) = curve(MODEL, [task], [12 * FORWARD + STEP - 1])
    assert (point.steps, point.spent, point.accuracy) == (0, 0, 1 / 3)
    assert math.isclose(point.loss, math.log(3))
    (point,) = curve(MODEL, [task], [1.0], new_head=False)
    logits = out_of(MODEL, task.test[0])
    assert math.isclose(point.loss, cross_entropy(logits, task.test[1]).item())
    assert point.accuracy == (logits.argmax(1) == task.test[1]).double().mean().item()


def test_where_a_task_has_fewer_pictures_than_a_batch_all_are_a_batch():
    task = few(labels=1)
    step = count_flops(MODEL, task.train[0], training=True)
    (point,) = curve(MODEL, [task], [3 * FORWARD + 4 * step], batch=32)
    assert (point.steps, point.spent) == (4, 3 * FORWARD + 4 * step)
    wanted = again(MODEL, task, [4], 32, 32, None)  # the order of a whole batch does not matter
    close(torch.tensor([[point.accuracy, point.loss]]), torch.tensor(wanted), 1e-8)


def test_one_training_picture_is_enough():
    task = few(classes=2)._replace(train=(six_by_six(1), torch.zeros(1, dtype=torch.long)))
    (point,) = curve(MODEL, [task], [FORWARD + 6.5 * count_flops(MODEL, six_by_six(1), training=True)])
    assert point.steps == 6
    assert math.isfinite(point.loss)


def test_a_smaller_network_makes_more_updates_of_the_same_budget():
    small = prune_filters(MODEL, 0.75, example=six_by_six())
    points = [next(curve(each, [few()], [BUDGETS[-1]], generator=seeded())) for each in (MODEL, small)]
    step, forward = count_flops(small, six_by_six(6), training=True), count_flops(small, six_by_six(1))
    assert points[0].steps == 8
    assert points[1].steps == (BUDGETS[-1] - 12 * forward) // step > 8


def test_each_task_begins_with_the_given_model_and_leaves_it():
    model = mixed_modes(copy.deepcopy(MODEL))
    before = snapshot(model)
    tasks = [few(), few(name="same")]
    points = list(curve(model, tasks, BUDGETS, optimizer=torch.optim.AdamW, generator=seeded()))
    assert_as_it_was(model, before)
    (alone,) = curve(model, tasks[1:], BUDGETS[:1])
    assert (points[4].loss, points[4].accuracy) == (alone.loss, alone.accuracy)


def test_the_optimizer_is_the_one_that_was_asked_for():
    steps, task = [1, 3, 8], few()
    maker = partial(torch.optim.Adam, lr=0.02)
    points = list(curve(MODEL, [task], BUDGETS[1:], optimizer=maker, generator=seeded(1)))
    wanted = again(MODEL, task, steps, 6, 32, seeded(1), maker)
    close(torch.tensor([[each.accuracy, each.loss] for each in points]), torch.tensor(wanted))
    assert (
        SGD([nn.Parameter(torch.zeros(1))]).defaults | {"lr": 0.03, "momentum": 0.9, "nesterov": True}
        == SGD([nn.Parameter(torch.zeros(1))]).defaults
    )


def test_a_frozen_body_is_cheaper_and_stays():
    model = copy.deepcopy(MODEL).requires_grad_(False)
    (point,) = curve(model, [few()], BUDGETS[-1:], generator=seeded())
    step = 6 * (FORWARD + 2 * MODEL[-1].weight.numel())
    assert point.steps == (BUDGETS[-1] - 12 * FORWARD) // step
    assert point.spent == point.steps * step + 12 * FORWARD


def test_it_learns():
    first, last = curve(MODEL, [few(classes=2, labels=6)], [1.0, 12 * FORWARD + 60 * STEP], generator=seeded())
    assert (first.accuracy, first.loss) == (0.5, pytest.approx(math.log(2)))
    assert last.loss < 0.8 * first.loss
    assert last.accuracy > 0.6


def test_accuracy_and_loss_are_of_all_test_pictures():
    """More than are asked at once, in parts of different lengths."""
    task = few(held_out=100)
    (point,) = curve(MODEL, [task], [1.0], new_head=False)
    logits = out_of(MODEL, task.test[0])
    assert math.isclose(point.loss, cross_entropy(logits, task.test[1]).item(), rel_tol=1e-12)
    assert point.accuracy == (logits.argmax(1) == task.test[1]).double().mean().item()


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_labels_may_be_any_whole_numbers(dtype):
    task = few()
    other = task._replace(train=(task.train[0], task.train[1].to(dtype)), test=(task.test[0], task.test[1].to(dtype)))
    found = [numbers(curve(MODEL, [each], BUDGETS[:2], generator=seeded())) for each in (task, other)]
    assert found[0] == found[1]


def test_a_task_is_anything_with_its_four_parts():
    assert isinstance(few(), Task)
    assert not isinstance((1, 2, 3, 4), Task)


MAKERS = {
    "SGD": SGD,
    "Adam": partial(torch.optim.Adam, lr=0.01),
    "plain": partial(torch.optim.SGD, lr=0.1),
}


def stored(state: dict) -> dict:
    """What comes back from a file that holds nothing but numbers and tensors."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_a_curve_goes_on_bit_for_bit_from_each_point(maker):
    """Also a second time from the same state, and from a file: going on must not write into what was saved."""
    tasks, options = [few(), few(seed=5, name="other", labels=5)], {"budgets": BUDGETS[1:3], "optimizer": maker}
    points, states = [], []
    for point in curve(MODEL, tasks, **options, generator=seeded(7)):
        points.append(point)
        states.append(point.state_dict())
    for place, state in enumerate(states):
        for saved in (state, state, stored(state)):
            found = numbers(curve(MODEL, tasks, **options, generator=seeded(99), resume=saved))
            assert found == numbers(points)[place + 1 :]


def test_a_resumed_point_can_be_stored_again():
    tasks, states = [few()], []
    whole = curve(MODEL, tasks, BUDGETS, generator=seeded(7))
    states.append(next(whole).state_dict())
    wanted = numbers(whole)
    for number in range(3):
        point = next(curve(MODEL, tasks, BUDGETS, generator=seeded(8), resume=states[-1]))
        assert numbers([point]) == wanted[number : number + 1]
        states.append(point.state_dict())
    assert states[-1]["number"] == 3


def test_a_whole_batch_without_generator_can_be_resumed():
    task = few(labels=1)
    options = {"budgets": [k * STEP for k in (1, 2, 4)], "batch": 3}
    points = curve(MODEL, [task], **options)
    state = next(points).state_dict()
    wanted, found = list(points), list(curve(MODEL, [task], **options, resume=state))
    assert state["generator"] is None
    for one, other in zip(wanted, found, strict=True):
        assert (one.steps, one.spent) == (other.steps, other.spent)
        assert math.isclose(one.loss, other.loss, rel_tol=1e-9)


def test_a_state_is_of_its_own_point_or_refused():
    """Once the next point is drawn, the network has learned on."""
    points = list(curve(MODEL, [few(), few(name="other")], BUDGETS[:2], generator=seeded()))
    for each in points[:-1]:
        with pytest.raises(ValueError, match="next"):
            each.state_dict()
    assert points[-1].state_dict()["number"] == 1


def test_the_saved_state_is_a_copy():
    points = curve(MODEL, [few()], BUDGETS[1:], generator=seeded(7))
    state = next(points).state_dict()
    kept = copy.deepcopy(state)
    list(points)
    torch.testing.assert_close(state["model"], kept["model"], rtol=0, atol=0)
    torch.testing.assert_close(state["optimizer"], kept["optimizer"], rtol=0, atol=0)
    assert torch.equal(state["generator"], kept["generator"])


def test_budgets_may_come_from_an_array_and_their_state_is_plain():
    points = curve(MODEL, [few()], list(np.array(BUDGETS)), generator=seeded())
    state = next(points).state_dict()
    loaded = stored(state)
    wanted = numbers(points)
    assert numbers(curve(MODEL, [few()], list(np.array(BUDGETS)), generator=seeded(1), resume=loaded)) == wanted
    assert numbers(curve(MODEL, [few()], BUDGETS, generator=seeded(1), resume=loaded)) == wanted


# --- heads --------------------------------------------------------------------------------------------------------


@each_net
def test_a_new_head_is_all_zeros_and_the_rest_a_copy(name):
    model = net(name)
    before = snapshot(model)
    found, (own, head) = with_head(model, 7), head_of(model)
    assert_as_it_was(model, before)
    fresh = found.get_submodule(own)
    assert (fresh.in_features, fresh.out_features) == (head.in_features, 7)
    assert not fresh.weight.any()
    assert not fresh.bias.any()
    assert fresh.weight.dtype == torch.float64
    assert snapshot(found)["modes"] == before["modes"]
    assert torch.equal(out_of(found, some_pictures()), torch.zeros(5, 7, dtype=torch.float64))
    for key, value in found.state_dict().items():
        if not key.startswith(own):
            assert torch.equal(value, before["state"][key])
    with torch.no_grad():
        for each in found.parameters():
            each.fill_(7)
    assert_as_it_was(model, before)


def test_the_head_is_the_last_linear_layer():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ModuleDict({"last": nn.Linear(5, 6)}), nn.ReLU())
    name, head = head_of(model)
    assert name == "2.last"
    assert head is model[2]["last"]
    assert with_head(model, 3)[1].weight.any()


def test_a_linear_layer_alone_is_a_head():
    fresh = with_head(nn.Linear(4, 2), 3)
    assert out_of(fresh, torch.ones(5, 4)).shape == (5, 3)
    assert not fresh.weight.any()
    assert head_of(nn.Linear(4, 2))[0] == ""
