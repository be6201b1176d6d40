"""Other ways to move a pretrained network to a task with little compute.

- `prune_channels` cuts the residual stream itself, the representation with it: the paper's other structured pruning.
- `fit_probe` leaves the network as it is and learns a linear head on what it says: the cheapest of all.
- `shrinking_loss` presses the filters that are to go towards zero before they are cut (regularise, then prune).
- `distillation_loss` teaches a small network what the large one says on pictures without labels.

The last two need the pictures of pretraining, and computation there, before the first task is met.

Sources: Caccia et al., "Towards Compute-Optimal Transfer Learning" (2023), arXiv 2304.13164, for channel pruning;
Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015), arXiv 1503.02531; Feng et al., "DReSS:
Data-driven Regularized Structured Streamlining for Large Language Models" (2025), arXiv 2501.17905, for pressing before
cutting.
"""

import copy
import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from companion.foundations.networks import ResidualNet
from companion.foundations.validation import (
    Number,
    require,
    require_batch,
    require_callable,
    require_count,
    require_in,
    require_labels,
)
from companion.methods.pruning import (
    count_flops,
    cut_channels,
    filters_kept,
    head_of,
    prunable_filters,
    reestimate_batch_norm,
    strongest_first,
    with_head,
)


def prune_channels(model: ResidualNet, ratio: Number) -> ResidualNet:
    """A smaller copy: every residual stream keeps its `int(c * (1 - ratio))` strongest channels of `c`.

    A channel's strength is the norm of all filters that write to it. Hidden filters stay; the representation shrinks.

    Args:
        model: left as it is.
        ratio: of the channels of each stream that go, in [0, 1).

    Raises:
        TypeError: the model is no `ResidualNet`, or the ratio no number.
        ValueError: a ratio outside [0, 1), or one that would leave a stream empty.
    """
    require(isinstance(model, ResidualNet), "model", f"a {type(model).__name__}", "a ResidualNet", TypeError)
    require_in("ratio", ratio, "[0, 1)")
    model = copy.deepcopy(model)
    streams, stays = _streams(model), []
    for writers, _, _ in streams:  # all are chosen before any is cut
        squares = torch.stack([each.weight.detach().flatten(1).square().sum(1) for each in writers]).sum(0)
        stays.append(strongest_first(squares)[: filters_kept(len(squares), ratio)].sort().values)
    for (writers, norms, readers), stay in zip(streams, stays):
        for module in (*writers, *norms):
            cut_channels(module, stay)
        for module in readers:
            cut_channels(module, stay, inputs=True)
    return model


def _streams(model: ResidualNet) -> list[tuple[list[nn.Module], list[nn.Module], list[nn.Module]]]:
    """What writes to each residual stream, the norms between, and what reads it."""
    streams = [([model.stem[0]], [model.stem[1]], [])]
    for block in model.blocks:
        streams[-1][2].append(block.conv1)
        if isinstance(block.shortcut, nn.Conv2d):
            streams[-1][2].append(block.shortcut)
            streams.append(([block.shortcut], [], []))
        streams[-1][0].append(block.conv2)
        streams[-1][1].append(block.norm2)
    streams[-1][2].append(model.head)
    return streams


def fit_probe(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, " n"],
    num_classes: int,
    penalty: Number = 1e-2,
    iterations: int = 50,
) -> tuple[nn.Module, int]:
    """A copy of the model with a fitted head, and the operations that took.

    The pictures pass once, as one batch that also sets the batch norms' statistics; the head is logistic regression on
    what comes out, by L-BFGS.

    Args:
        model: any network of images with a linear layer at its end.
        images, labels: to learn from.
        num_classes: labels are 0 to num_classes - 1.
        penalty: on the squared weights of the head, in units of the features' mean square; half of it counts, as in
            ridge regression.
        iterations: of L-BFGS, at most.

    Raises:
        TypeError, ValueError: pictures and labels that do not go together, a penalty below 0, a model without a linear
            layer.
    """
    require_batch("images", images)
    require_count("num_classes", num_classes, 2)
    require_labels("labels", labels, len(images), num_classes)
    require_count("iterations", iterations, 1)
    require_in("penalty", penalty, "[0, inf)")
    model = with_head(model, num_classes)
    _, head = head_of(model)
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    reestimate_batch_norm(model, images, len(images))
    hook.remove()
    features = seen[0]
    weight = penalty * features.square().mean()
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=iterations, line_search_fn="strong_wolfe")
    asked = 0

    def closure() -> Tensor:
        nonlocal asked
        asked += 1
        optimizer.zero_grad()
        loss = cross_entropy(head(features), labels.long()) + weight / 2 * head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    head.zero_grad(set_to_none=True)
    once = count_flops(model, images[:1]) * len(images)
    return model, once + asked * count_flops(head, features, training=True)


def shrinking_loss(
    model: nn.Module, ratio: Number, strength: Number = 1e-2, example: Float[Tensor, "n c h w"] | None = None
) -> Callable[[nn.Module], Float[Tensor, ""]]:
    """A penalty that presses the filters which `prune_filters(model, ratio)` would drop now, whatever becomes of them later.

    Args:
        model: as it is before it is pressed.
        ratio: of the filters that will go, in [0, 1).
        strength: of the penalty on each such filter's norm.
        example: as for `prune_filters`.

    Returns:
        model -> strength times the sum of those norms, to be added to its loss.

    Raises:
        TypeError, ValueError: as `prune_filters`; a strength that is not positive.
    """
    require_in("ratio", ratio, "[0, 1)")
    require_in("strength", strength, "(0, inf)")
    going: dict[str, Tensor] = {}
    for name, filters in prunable_filters(model, example).items():
        norms = model.get_submodule(name).weight.detach().flatten(1).norm(dim=1)
        going[name] = strongest_first(norms)[filters_kept(filters, ratio) :]

    def penalty(model: nn.Module) -> Float[Tensor, ""]:
        norms = [model.get_submodule(name).weight[rows].flatten(1).norm(dim=1).sum() for name, rows in going.items()]
        return strength * torch.stack(norms).sum()

    return penalty


def distillation_loss(
    student: nn.Module, teacher: nn.Module, images: Float[Tensor, "n c h w"], temperature: Number = 2.0
) -> Float[Tensor, ""]:
    """How far a student's classes are from a teacher's on pictures without labels: T^2 KL(teacher || student) at temperature T, in nats.

    Args:
        student: it learns.
        teacher: it does not, and is asked in the mode it is in.
        images: a batch.
        temperature: that both logits are divided by.

    Raises:
        TypeError: a network that cannot be called, or images that are no floating tensor.
        ValueError: a temperature that is not positive, or networks with different classes.

    Source: Hinton, Vinyals and Dean (2015), section 2.
    """
    require_callable("student", student, "a network of images")
    require_callable("teacher", teacher, "a network of images")
    require_batch("images", images)
    require_in("temperature", temperature, "(0, inf)")
    with torch.no_grad():
        wanted = (teacher(images) / temperature).log_softmax(1)
    told = (student(images) / temperature).log_softmax(1)
    same = wanted.shape == told.shape
    require(same, "teacher", f"with logits {tuple(wanted.shape)}", f"with {tuple(told.shape)}, as the student")
    return math.pow(temperature, 2) * kl_div(told, wanted, reduction="batchmean", log_target=True)
