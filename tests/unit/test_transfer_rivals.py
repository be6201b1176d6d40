"""The other ways to move a network: channels against streams silenced by hand, the probe against scikit-learn, losses written out."""

import copy
import math

import pytest
import torch
from agree import close, normal, seeded
from hypothesis import given
from hypothesis import strategies as st
from prunable_nets import NETS, lively, net, others, silence, some_pictures, strongest
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn.functional import cross_entropy

from companion.foundations.networks import ResidualNet
from companion.foundations.residual import ExpandedResidualNet
from companion.methods.pruning import count_flops, prune_filters, reestimate_batch_norm
from companion.methods.rivals import transfer
from companion.methods.rivals.transfer import distillation_loss, fit_probe, prune_channels, shrinking_loss

# each: a network, and its streams: who writes to each, the norms behind, who reads it
RESIDUAL = {
    "ours": (
        lambda: ExpandedResidualNet(2, 3, width=4, stages=2, blocks=1, expansion=3),
        [
            (["stem.0", "blocks.0.conv2"], ["stem.1", "blocks.0.norm2"], ["blocks.0.conv1", "blocks.1.conv1", "blocks.1.shortcut"]),
            (["blocks.1.shortcut", "blocks.1.conv2"], ["blocks.1.norm2"], ["head"]),
        ],
    ),
    "one stage": (
        lambda: ExpandedResidualNet(2, 3, width=8, stages=1, blocks=2, expansion=2),
        [
            (
                ["stem.0", "blocks.0.conv2", "blocks.1.conv2"],
                ["stem.1", "blocks.0.norm2", "blocks.1.norm2"],
                ["blocks.0.conv1", "blocks.1.conv1", "head"],
            ),
        ],
    ),
    "three stages": (
        lambda: ResidualNet(2, 3, width=4, stages=3, blocks=2),
        [
            (
                ["stem.0", "blocks.0.conv2", "blocks.1.conv2"],
                ["stem.1", "blocks.0.norm2", "blocks.1.norm2"],
                ["blocks.0.conv1", "blocks.1.conv1", "blocks.2.conv1", "blocks.2.shortcut"],
            ),
            (
                ["blocks.2.shortcut", "blocks.2.conv2", "blocks.3.conv2"],
                ["blocks.2.norm2", "blocks.3.norm2"],
                ["blocks.3.conv1", "blocks.4.conv1", "blocks.4.shortcut"],
            ),
            (
                ["blocks.4.shortcut", "blocks.4.conv2", "blocks.5.conv2"],
                ["blocks.4.norm2", "blocks.5.norm2"],
                ["blocks.5.conv1", "head"],
            ),
        ],
    ),
}  # fmt: skip
each_residual = pytest.mark.parametrize("name", RESIDUAL)
each_net = pytest.mark.parametrize("name", NETS)


def residual(name: str) -> nn.Module:
    return lively(RESIDUAL[name][0]())


def out_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(images)


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(found: dict, wanted: dict) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


# --- channels of the residual stream ------------------------------------------------------------------------------


@each_residual
@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 0.7])
def test_a_network_with_fewer_channels_is_the_whole_one_with_the_weakest_silenced(name, ratio):
    """The norm of all that writes to a channel is its strength."""
    model, images = residual(name), some_pictures()
    small, silenced = prune_channels(model, ratio), copy.deepcopy(model)
    for writers, _, readers in RESIDUAL[name][1]:
        squares = sum(model.get_submodule(each).weight.square().sum((1, 2, 3)) for each in writers)
        kept = strongest(squares, ratio)
        dropped = others(kept, len(squares))
        for reader in readers:
            silence(silenced, reader, dropped)
    close(out_of(small, images), out_of(silenced, images))
    close(small.features(images).detach(), silenced.features(images).detach()[:, kept])  # in their order
    close(out_of(small.train(), images), out_of(silenced.train(), images))


@each_residual
def test_channels_to_which_nothing_is_written_are_not_missed(name):
    model, images = residual(name).float(), some_pictures().float()
    for writers, norms, _ in RESIDUAL[name][1]:
        channels = model.get_submodule(writers[0]).out_channels
        silent = torch.randperm(channels, generator=seeded(channels))[channels // 2 :]
        with torch.no_grad():
            for each in writers:
                model.get_submodule(each).weight[silent] = 0
            for each in norms:
                model.get_submodule(each).bias[silent] = 0
                model.get_submodule(each).running_mean[silent] = 0
    small = prune_channels(model, 0.5)
    torch.testing.assert_close(out_of(small, images), out_of(model, images), rtol=0, atol=1e-6)


@each_residual
def test_the_representation_shrinks_and_the_hidden_filters_stay(name):
    model, images = residual(name), some_pictures()
    small = prune_channels(model, 0.5)
    assert small.features(images).shape[1] == model.features(images).shape[1] // 2 == small.head.in_features
    for block, whole in zip(small.blocks, model.blocks, strict=True):
        assert block.conv1.out_channels == whole.conv1.out_channels
        assert block.conv1.in_channels == whole.conv1.in_channels // 2
        assert block.conv2.out_channels == block.norm2.num_features == whole.conv2.out_channels // 2
    for each in small.modules():
        if isinstance(each, nn.Conv2d):
            assert each.weight.shape[:2] == (each.out_channels, each.in_channels)
    fresh = RESIDUAL[name][0]().double()
    with pytest.raises(RuntimeError, match="size mismatch"):
        fresh.load_state_dict(small.state_dict())


@each_residual
def test_all_but_the_stem_costs_what_is_left_of_it(name):
    """Each convolution of a block and the head have one end in a stream; a shortcut has both."""
    model = residual(name)
    shortcuts = 0
    small = prune_channels(model, 0.5)
    side = 8 // (2 if isinstance(model, ExpandedResidualNet) else 1)
    for block in model.blocks:
        side //= block.conv1.stride[0]
        if isinstance(block.shortcut, nn.Conv2d):
            shortcuts += 2 * block.shortcut.weight.numel() * side**2
    assert count_flops(small, some_pictures(1)) == count_flops(model, some_pictures(1)) / 2 - shortcuts / 4


@each_residual
def test_pruning_channels_leaves_the_model_as_it_was(name):
    model = residual(name)
    for place, each in enumerate(model.modules()):
        each.training = place % 2 == 0
    before = state_of(model)
    small = prune_channels(model, 0.5)
    assert [each.training for each in small.modules()] == [each.training for each in model.modules()]
    assert {each.dtype for each in small.parameters()} == {torch.float64}
    with torch.no_grad():
        for each in (*small.parameters(), *small.buffers()):
            each.fill_(7)
    assert_same(model.state_dict(), before)


def test_filters_and_channels_can_go_together():
    model, images = residual("ours"), some_pictures()
    both = prune_channels(prune_filters(model, 0.5, example=images), 0.5)
    assert out_of(both, images).shape == (5, 3)
    assert [(each.conv1.in_channels, each.conv1.out_channels) for each in both.blocks] == [(2, 6), (2, 12)]


# --- a linear head on frozen features -----------------------------------------------------------------------------


def labelled(n: int = 30, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(n) % classes
    return some_pictures(n) + 2 * normal(classes, 2, 8, 8, seed=5)[labels], labels


@each_net
@pytest.mark.parametrize("penalty", [0.02, 1.0])
def test_the_probe_is_logistic_regression_on_the_features(name, penalty):
    """scikit-learn minimises C times the summed loss and half of the squared weights."""
    model, (images, labels) = net(name), labelled()
    probe, _ = fit_probe(model, images, labels, 3, penalty, iterations=300)
    told, features = copy.deepcopy(model), []  # as they are under the batch's own statistics
    last = [each for each in told.modules() if isinstance(each, nn.Linear)][-1]
    last.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0].clone()))
    reestimate_batch_norm(told, images, len(images))
    mean_square = features[0].square().mean().item()
    other = LogisticRegression(C=1 / (penalty * mean_square * len(labels)), tol=1e-10, max_iter=10000)
    other.fit(features[0].numpy(), labels.numpy())
    fitted = [each for each in probe.modules() if isinstance(each, nn.Linear)][-1]
    close(out_of(fitted, features[0]).softmax(1), torch.from_numpy(other.predict_proba(features[0].numpy())), 1e-4)
    close(fitted.weight.detach(), torch.from_numpy(other.coef_), 1e-3)


def test_the_penalty_is_in_units_of_the_features():
    """Features that are ten times as large have a tenth of the weights, and say the same."""
    images, labels = labelled()

    class Scaled(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.scale, self.head = scale, nn.Linear(128, 3).double()

        def forward(self, x):
            return self.head(self.scale * x.flatten(1))

    said = [out_of(fit_probe(Scaled(scale), images, labels, 3, 0.1, 300)[0], images) for scale in (1.0, 10.0)]
    close(said[0].softmax(1), said[1].softmax(1), 1e-3)


@each_net
def test_the_probe_leaves_the_body_but_for_its_norms(name):
    model, (images, labels) = net(name), labelled()
    for place, each in enumerate(model.modules()):
        each.training = place % 2 == 0
    before = state_of(model)
    probe, _ = fit_probe(model, images, labels, 3)
    assert_same(model.state_dict(), before)
    assert [each.training for each in probe.modules()] == [each.training for each in model.modules()]
    assert all(each.grad is None for each in (*probe.parameters(), *model.parameters()))
    wanted = copy.deepcopy(model)
    reestimate_batch_norm(wanted, images, len(images))
    head = [own for own, each in probe.named_modules() if isinstance(each, nn.Linear)][-1]
    body = {own: value for own, value in probe.state_dict().items() if not own.startswith(head + ".")}
    assert_same(body, {own: value for own, value in wanted.state_dict().items() if own in body})
    assert len(body) == len(before) - 2
    probe(images[:2])  # no hook is left behind
    assert not any(each._forward_pre_hooks for each in probe.modules())


@pytest.mark.parametrize("iterations", [1, 4, 20])
def test_the_probe_costs_one_pass_and_what_its_head_was_asked(iterations, monkeypatch):
    """Each time forward and the gradient of the weights: twice two for each of their products."""
    model, (images, labels), asked = net("ours"), labelled(), []

    def counted(*given):
        asked.append(1)
        return cross_entropy(*given)

    monkeypatch.setattr(transfer, "cross_entropy", counted)
    _, spent = fit_probe(model, images, labels, 3, iterations=iterations)
    once = count_flops(model, images)
    assert spent == once + len(asked) * 4 * 30 * 8 * 3
    assert iterations <= len(asked) <= 2 * iterations + 1


def test_the_probe_takes_labels_of_any_whole_numbers():
    model, (images, labels) = net("ours"), labelled()
    found = [out_of(fit_probe(model, images, each, 3)[0], images) for each in (labels, labels.int())]
    assert torch.equal(*found)


def test_the_probe_tells_the_classes_apart():
    model, (images, labels) = net("ours"), labelled()
    probe, _ = fit_probe(model, images, labels, 3, penalty=1e-4, iterations=200)
    assert (out_of(probe.eval(), images).argmax(1) == labels).double().mean() > 0.8
    loose, tight = (fit_probe(model, images, labels, 3, penalty)[0].head.weight.norm() for penalty in (0, 10))
    assert tight < 0.2 * loose


# --- pressing, then cutting ---------------------------------------------------------------------------------------


@each_net
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5])
def test_the_filters_that_would_go_are_pressed_and_no_others(name, ratio):
    model = net(name)
    penalty = shrinking_loss(model, ratio, 0.3, some_pictures())(model)
    penalty.backward()
    wanted = torch.zeros((), dtype=torch.float64)
    for own, each in model.named_parameters():
        layer = own.removesuffix(".weight")
        if layer not in NETS[name][1] or own.endswith("bias"):
            assert each.grad is None
            continue
        norms = each.detach().square().sum((1, 2, 3)).sqrt()
        kept = strongest(norms, ratio)
        dropped = others(kept, len(each))
        wanted += 0.3 * norms[dropped].sum()
        assert not each.grad[kept].any()
        close(each.grad[dropped], 0.3 * each.detach()[dropped] / norms[dropped, None, None, None])
    close(penalty.detach(), wanted)


@each_net
def test_what_was_pressed_to_nothing_is_what_is_cut(name):
    model, images = net(name), some_pictures()
    penalty = shrinking_loss(model, 0.5, example=images)
    pressed = copy.deepcopy(model)
    penalty(pressed).backward()
    for own, each in pressed.named_parameters():
        if each.grad is not None:
            moved = each.grad.flatten(1).any(1)
            with torch.no_grad():
                each[moved] = 0
            assert moved.sum() == len(each) - int(len(each) * 0.5), own
    assert penalty(pressed) == 0
    penalty(pressed).backward()
    assert all(each.grad is None or each.grad.isfinite().all() for each in pressed.parameters())
    assert_same(
        {own: value.shape for own, value in prune_filters(pressed, 0.5, example=images).state_dict().items()},
        {own: value.shape for own, value in prune_filters(model, 0.5, example=images).state_dict().items()},
    )
    found, wanted = prune_filters(pressed, 0.5, example=images), prune_filters(model, 0.5, example=images)
    close(out_of(found, images), out_of(wanted, images))


def test_the_same_filters_are_pressed_whatever_becomes_of_them():
    model, images = net("ours"), some_pictures()
    penalty, grown = shrinking_loss(model, 0.5, 1.0, images), copy.deepcopy(model)
    weight = grown.blocks[0].conv1.weight
    weak = others(strongest(weight.square().sum((1, 2, 3)), 0.5), len(weight))
    before = penalty(grown).item()
    with torch.no_grad():
        grown.blocks[0].conv1.weight[weak] *= 100
    gain = 99 * model.blocks[0].conv1.weight[weak].flatten(1).norm(dim=1).sum().item()
    assert math.isclose(penalty(grown).item(), before + gain)
    assert math.isclose(shrinking_loss(model, 0.5, example=images)(model).item(), 0.01 * before)


# --- distillation -------------------------------------------------------------------------------------------------


class Says(nn.Module):
    """Logits, whatever it is shown."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images):
        return self.logits


@given(st.integers(0, 10**6), st.floats(0.2, 20))
def test_distillation_is_the_divergence_of_softened_chances(seed, temperature):
    student, teacher = Says(normal(4, 5, seed=seed)), Says(3 * normal(4, 5, seed=seed + 1))
    loss = distillation_loss(student, teacher, some_pictures(4), temperature)
    loss.backward()
    wanted, rows = 0.0, zip(student.logits.tolist(), teacher.logits.tolist(), strict=True)
    for own, other in rows:
        chances = [torch.tensor(each, dtype=torch.float64).div(temperature).exp() for each in (own, other)]
        q, p = (each / each.sum() for each in chances)
        wanted += temperature**2 * (p * (p / q).log()).sum().item() / 4
    assert math.isclose(loss.item(), wanted, rel_tol=1e-8, abs_tol=1e-9)
    assert teacher.logits.grad is None
    slopes = temperature * ((student.logits / temperature).softmax(1) - (teacher.logits / temperature).softmax(1)) / 4
    close(student.logits.grad, slopes.detach())


def test_a_student_that_says_the_same_has_nothing_to_learn():
    teacher = net("ours")
    student = copy.deepcopy(teacher)
    loss = distillation_loss(student, teacher, some_pictures())
    loss.backward()
    assert abs(loss.item()) < 1e-12
    assert all(each.grad.abs().max() < 1e-9 for each in student.parameters())
    assert all(each.grad is None for each in teacher.parameters())


def test_the_temperature_is_two_and_a_teacher_is_asked_in_its_mode():
    student, teacher, images = net("ours", 1), net("ours", 2), some_pictures()
    before = state_of(teacher)
    loss = distillation_loss(student, teacher, images)
    assert_same(teacher.state_dict(), before)
    told = Says(out_of(teacher, images))
    close(loss, distillation_loss(student, told, images, 2.0))
    teacher.train()
    assert distillation_loss(student, teacher, images) != loss
    assert teacher.training
    assert teacher.stem[1].num_batches_tracked == 8


def test_a_student_comes_to_say_what_its_teacher_does():
    student, teacher, images = Says(torch.zeros(4, 3).double()), Says(normal(4, 3, seed=1)), some_pictures(4)
    learner = torch.optim.LBFGS(student.parameters(), max_iter=100, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure():
        learner.zero_grad()
        loss = distillation_loss(student, teacher, images, 3.0)
        loss.backward()
        return loss

    learner.step(closure)
    close(student.logits.softmax(1), teacher.logits.softmax(1), 1e-4)
