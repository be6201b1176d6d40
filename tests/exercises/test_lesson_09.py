"""Every check of lesson 09 lets the solution pass, and each property catches a wrong answer that people give."""

import copy
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from companion.classroom.light import read_source
from companion.foundations.networks import ResidualBlock
from companion.foundations.residual import ExpandedResidualNet
from companion.methods.pruning import count_flops, prune_filters, reestimate_batch_norm
from companion.teaching.checks import check, exercises
from companion.teaching.checks.lesson_09.budgets import OVERTAKES, Curve, accuracy_of, envelope_of, gain_of, updates_of
from companion.teaching.checks.lesson_09.cutting import CASES, Block, cut_of, respond, select, strongest, telling_block
from companion.teaching.checks.lesson_09.disguise import HIDDEN, WORSE, mean_damage, rescale, speaking_block
from companion.teaching.checks.lesson_09.masks import (
    LASTING,
    LOUD,
    SILENT,
    WAYS,
    WORK,
    compare,
    cut_block,
    flops_left,
    random_block,
)
from companion.teaching.checks.lesson_09.norms import NEEDED, statistics_of
from companion.teaching.checks.lesson_09.operations import LEFT, basic_of, bottleneck_of, cheaper_of, kept_of

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "exercises" / "09_compute_optimal_transfer.py"


# 09.1


def basic_flops(width, hidden, side, stride, ratio, *, kept=None, each=2, kernel=9, after=None, parts=(1, 1)):
    """The solution; other filters, operations, kernels or places on request."""
    left = kept(hidden, ratio) if kept else int(hidden * (1 - ratio))
    places = after(side, stride) if after else (side // stride) ** 2
    return each * kernel * places * width * (parts[0] * left + parts[1] * left)


def bottleneck_flops(
    width, hidden, side, stride, ratio, *, kept=None, each=2, middle=9, early=False, into=None, power=2
):
    left = kept(hidden, ratio) if kept else int(hidden * (1 - ratio))
    after = side // stride
    inner = middle * (into(width, hidden, left) if into else left) * left * after**2
    if power != 2:
        inner = middle * hidden**2 * (left / hidden) ** power * after**2
    return each * (width * left * (after if early else side) ** 2 + inner + left * width * after**2)


def basic_by_counting(width, hidden, side, stride, ratio):
    """With torch's own counter."""
    kept = math.floor(hidden * (1 - ratio))
    layers = nn.Conv2d(width, kept, 3, stride, 1, bias=False), nn.Conv2d(kept, width, 3, 1, 1, bias=False)
    return torch.tensor(count_flops(nn.Sequential(*layers), torch.zeros(1, width, side, side)))


def bottleneck_by_counting(width, hidden, side, stride, ratio):
    return count_flops(bottleneck(width, int((1 - ratio) * hidden), stride), torch.zeros(1, width, side, side))


def bottleneck(width, hidden, stride):
    return nn.Sequential(
        nn.Conv2d(width, hidden, 1), nn.Conv2d(hidden, hidden, 3, stride, 1), nn.Conv2d(hidden, width, 1)
    )


def counted(
    basic_flops=basic_flops,
    bottleneck_flops=bottleneck_flops,
    left=6.25 / 17,
    cheaper=lambda fixed, r: 1 / (fixed + (1 - fixed) * (1 - r)),
):
    return {"basic_flops": basic_flops, "bottleneck_flops": bottleneck_flops, "left": left, "cheaper": cheaper}


def basics(**mistake):
    return counted(partial(basic_flops, **mistake))


def necks(**mistake):
    return counted(bottleneck_flops=partial(bottleneck_flops, **mistake))


# 09.2


def cut(
    weight1, scale, shift, mean, variance, weight2, ratio, *, count=None, strengths=None, order=torch.sort, parts=None
):
    """The solution; other counts, strengths or orders, or other tensors by name, on request."""
    norms = strengths(weight1, scale, weight2) if strengths else weight1.flatten(1).norm(dim=1)
    left = count(len(weight1), ratio) if count else int(len(weight1) * (1 - ratio))
    kept = order(norms.argsort(descending=True)[:left])
    kept = kept if isinstance(kept, torch.Tensor) else kept.values
    whole = Block(weight1, scale, shift, mean, variance, weight2)
    small = select(whole, kept)
    for name, change in (parts or {}).items():
        small = small._replace(**{name: change(getattr(whole, name), kept)})
    return tuple(small)


def cut_by_modules(weight1, scale, shift, mean, variance, weight2, ratio):
    """With the package's own cut."""
    block = as_block(Block(weight1, scale, shift, mean, variance, weight2))
    kept = strongest(weight1.square().sum((1, 2, 3)), int(len(weight1) * (1 - ratio)))
    return as_tensors(cut_block(block, kept))


def cut_by_mask(weight1, scale, shift, mean, variance, weight2, ratio):
    """By a threshold, and as a list."""
    norms = weight1.square().sum((1, 2, 3)).sqrt()
    stay = norms >= norms.sort(descending=True).values[int(len(norms) * (1 - ratio)) - 1]
    return [part[stay] for part in (weight1, scale, shift, mean, variance)] + [weight2[:, stay]]


def as_block(block):
    """A `ResidualBlock` of these tensors; its second batch norm does nothing."""
    hidden, channels = block.weight1.shape[:2]
    module = ResidualBlock(channels, len(block.weight2), hidden).double().eval()
    values = zip(("weight", "bias", "running_mean", "running_var"), block[1:5])
    with torch.no_grad():
        module.conv1.weight.copy_(block.weight1)
        module.conv2.weight.copy_(block.weight2)
        for name, value in values:
            getattr(module.norm1, name).copy_(value)
    return module


def as_tensors(module):
    norm = module.norm1
    parts = module.conv1.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var, module.conv2.weight
    return Block(*(part.detach() for part in parts))


def compensated(whole, kept):
    """What is read is made as large as it was."""
    return whole[:, kept] * whole.norm() / whole[:, kept].norm()


def cut_in_place(weight1, scale, shift, mean, variance, weight2, ratio):
    found = cut(weight1, scale, shift, mean, variance, weight2, ratio)
    scale.zero_()
    return found


def cuts(count=None, strengths=None, order=torch.sort, **parts):
    return partial(cut, count=count, strengths=strengths, order=order, parts=parts)


def first(part, kept):
    return part[: len(kept)]


def mixed_in(whole, kept):
    """With a little of what the others read."""
    gone = [place for place in range(whole.shape[1]) if place not in kept.tolist()]
    return whole[:, kept] + 0.1 * whole[:, gone].mean(1, keepdim=True) if gone else whole[:, kept]


def cut_compensated(weight1, scale, shift, mean, variance, weight2, ratio):
    """The second convolution is made larger by what the first loses in norm."""
    *parts, last = cut(weight1, scale, shift, mean, variance, weight2, ratio)
    return (*parts, last * weight1.norm() / parts[0].norm())


# 09.3


@torch.no_grad()
def mask(block, kept, way="C"):
    WAYS[way](block, kept)
    return block


@torch.no_grad()
def mask_by_product(block, kept):
    """With a row of ones and zeros, everywhere."""
    row = torch.zeros(block.norm1.num_features, dtype=torch.float64)
    row[kept] = 1.0
    block.conv1.weight.mul_(row[:, None, None, None])
    block.conv2.weight.mul_(row[:, None, None])
    return block


@torch.no_grad()
def mask_in_a_new_block(block, kept):
    new = copy.deepcopy(block)
    for name in ("weight", "bias", "running_mean"):
        old, value = getattr(block.norm1, name), getattr(new.norm1, name)
        value.zero_()
        value[kept] = old[kept]
    return new


@torch.no_grad()
def mask_of_kept(block, kept):
    block.conv2.weight[:, kept] = 0
    return block


@torch.no_grad()
def mask_with_the_shift(block, kept):
    """Zero weights, and a shift that makes up for the running mean."""
    gone = torch.ones(block.norm1.num_features, dtype=torch.bool)
    gone[kept] = False
    norm = block.norm1
    block.conv1.weight[gone] = 0
    norm.bias[gone] = (norm.running_mean * norm.weight / (norm.running_var + norm.eps).sqrt())[gone]
    return block


@torch.no_grad()
def mask_with_the_mean(block, kept):
    """As B, and the running mean too."""
    mask(block, kept, "B")
    gone = torch.ones(block.norm1.num_features, dtype=torch.bool)
    gone[kept] = False
    block.norm1.running_mean[gone] = 0
    return block


def mask_outputs(block, kept):
    """Of the second batch norm's channels, too."""
    mask(block, kept)
    with torch.no_grad():
        block.norm2.weight[0] = 0
    return block


def masked(mask=mask, work=WORK, silent=("C", "D"), lasting=("C",)):
    sets = {"silent": silent, "lasting": lasting}
    return {"mask": mask, "work": dict(work)} | {
        name: set(value) if isinstance(value, tuple) else value for name, value in sets.items()
    }


def worked(**numbers):
    return masked(work=WORK | numbers)


# 09.4


def updates(budget, curve):
    return max(0, (budget - curve.overhead) // curve.step)


def reached(budget, curve, count=updates):
    made = count(budget, curve)
    return curve.accuracy[min(made, len(curve.accuracy)) - 1].item() if made > 0 else math.nan


def gain(budget, small, dense, reached=reached, combine=lambda a, b: a / b - 1):
    return combine(reached(budget, small), reached(budget, dense))


def envelope(budgets, curves, reached=reached):
    rows = torch.tensor([[1 - reached(budget, curve) for curve in curves] for budget in budgets])
    lowest = rows.nan_to_num(nan=math.inf).amin(1)
    return lowest.where(lowest < math.inf, math.nan)


def updates_in_a_loop(budget, curve):
    left, made = budget - curve.overhead, 0
    while left >= curve.step:
        left, made = left - curve.step, made + 1
    return made


def gain_as_told(budget, small, dense):
    """In words, and with torch's nan."""
    counts = [int((budget - each.overhead) / each.step) for each in (small, dense)]
    if budget < max(each.overhead + each.step for each in (small, dense)):
        return torch.tensor(math.nan)
    a, b = (each.accuracy[:count][-1] for each, count in zip((small, dense), counts))
    return (a - b) / b


def envelope_in_lists(budgets, curves):
    found = []
    for budget in budgets:
        errors = [1 - reached(budget, curve) for curve in curves if updates(budget, curve) > 0]
        found.append(min(errors, default=math.nan))
    return found


def at_equal_steps(budget, small, dense):
    made = min(updates(budget, small), updates(budget, dense))
    return (small.accuracy[made - 1] / dense.accuracy[made - 1] - 1).item() if made else math.nan


def reached_one_late(budget, curve):
    made = updates(budget, curve)
    return curve.accuracy[min(made, len(curve.accuracy) - 1)].item() if made else math.nan


def reached_best(budget, curve):
    made = updates(budget, curve)
    return curve.accuracy[:made].max().item() if made else math.nan


def reached_between(budget, curve):
    """Read off between the points."""
    points = np.arange(1, len(curve.accuracy) + 1) * curve.step + curve.overhead
    return float(np.interp(budget, points, curve.accuracy.numpy())) if budget >= points[0] else math.nan


def reached_from_nothing(budget, curve):
    """Below the first update the accuracy is chance."""
    return reached(budget, curve) if updates(budget, curve) else 0.1


def reached_from_the_end(budget, curve):
    """Place -1, where there are no updates."""
    return curve.accuracy[min(updates(budget, curve), len(curve.accuracy)) - 1].item()


def reached_within(budget, curve):
    """Nan beyond the end."""
    made = updates(budget, curve)
    return curve.accuracy[made - 1].item() if 0 < made <= len(curve.accuracy) else math.nan


def envelope_of_affordable(budgets, curves):
    """Nan wherever one of the networks cannot pay."""
    return torch.tensor([[1 - reached(budget, curve) for curve in curves] for budget in budgets]).amin(1)


def envelope_of_means(budgets, curves):
    return torch.tensor([[1 - reached(budget, curve) for curve in curves] for budget in budgets]).nanmean(1)


def envelope_of_worst(budgets, curves):
    rows = torch.tensor([[1 - reached(budget, curve) for curve in curves] for budget in budgets])
    worst = rows.nan_to_num(nan=-1.0).amax(1)
    return worst.where(worst >= 0, math.nan)


def envelope_falling(budgets, curves):
    """The best of all smaller budgets, too."""
    found = envelope(budgets, curves)
    lowest = found.nan_to_num(nan=math.inf).cummin(0).values
    return lowest.where(lowest < math.inf, math.nan)


def envelope_of_one(budgets, curves):
    """Nothing is nothing: an error of 1."""
    return envelope(budgets, curves).nan_to_num(nan=1.0)


def compared(updates=updates, gain=gain, envelope=envelope, overtakes=110):
    return {"updates": updates, "gain": gain, "envelope": envelope, "overtakes": overtakes}


def gains(combine):
    return compared(gain=partial(gain, combine=combine))


def reaching(reached):
    return compared(gain=partial(gain, reached=reached))


# 09.5


def rescaled(weight1, mean, variance, factors, powers=(1, 1, 2)):
    wide = factors[:, None, None, None]
    return weight1 * wide ** powers[0], mean * factors ** powers[1], variance * factors ** powers[2]


def rescaled_by_loop(weight1, mean, variance, factors):
    weights = torch.stack([factor * weight for factor, weight in zip(factors, weight1)])
    return [weights, torch.mul(mean, factors), (variance.sqrt() * factors).square()]


def rescaled_in_place(weight1, mean, variance, factors):
    weight1 *= factors[:, None, None, None]
    return weight1, mean * factors, variance * factors**2


def rescaled_inputs(weight1, mean, variance, factors):
    """A factor for each input, by mistake."""
    return weight1 * factors[: weight1.shape[1], None, None], mean * factors, variance * factors**2


def read_by(weight2):
    return weight2.transpose(0, 1).flatten(1).norm(dim=1)


def factors(weight1, scale, shift, mean, variance, weight2, power=-1.0, by="all"):
    """The solution; other powers or parts of the importance on request."""
    importance = {
        "all": scale.abs() * read_by(weight2),
        "read": read_by(weight2),
        "one": torch.ones_like(scale),
    }[by]
    return importance**power / weight1.flatten(1).norm(dim=1)


def factors_by_trial(weight1, scale, shift, mean, variance, weight2):
    """By what each filter alone changes on noise."""
    block = Block(weight1, scale, shift, mean, variance, weight2)
    images = torch.randn(4, weight1.shape[1], 6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    whole, found = respond(block, images, eps=0.0), []
    for place in range(len(scale)):
        others = torch.tensor([other for other in range(len(scale)) if other != place])
        found.append((respond(select(block, others), images, eps=0.0) - whole).square().mean().sqrt())
    return 1 / (torch.stack(found) * weight1.flatten(1).norm(dim=1))


def disguised(rescaled=rescaled, factors=factors, odds=lambda ratio: (ratio, 2 - ratio)):
    return {"rescaled": rescaled, "factors": factors, "odds": odds}


def scaled(*powers):
    return disguised(partial(rescaled, powers=powers))


def chosen(change):
    return disguised(factors=lambda *block: change(factors(*block), Block(*block)))


def oddly(kind=lambda r: r, unkind=lambda r: 2 - r):
    return disguised(odds=lambda ratio: (kind(ratio), unkind(ratio)))


# 09.6


def statistics(batches, mean=None, variance=None):
    """The solution; another mean or variance on request."""
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches])
    variances = torch.stack([batch.var((0, 2, 3)) for batch in batches])
    return mean(batches) if mean else means.mean(0), variance(batches) if variance else variances.mean(0)


def statistics_by_torch(batches):
    norm = nn.BatchNorm2d(batches[0].shape[1], momentum=None, dtype=batches[0].dtype)
    for batch in batches:
        norm(batch)
    return norm.running_mean, norm.running_var


def statistics_by_default(batches):
    norm = nn.BatchNorm2d(batches[0].shape[1], dtype=batches[0].dtype)
    for batch in batches:
        norm(batch)
    return norm.running_mean, norm.running_var


def statistics_one_by_one(batches):
    """A running mean, and sums by hand."""
    mean = variance = 0.0
    for place, batch in enumerate(batches, start=1):
        rows = batch.transpose(0, 1).flatten(1)
        centre = rows.sum(1) / rows.shape[1]
        spread = (rows - centre[:, None]).square().sum(1) / (rows.shape[1] - 1)
        mean, variance = mean + (centre - mean) / place, variance + (spread - variance) / place
    return [mean, variance]


def each(batches, name, **options):
    return torch.stack([getattr(batch, name)((0, 2, 3), **options) for batch in batches])


def stale(old, new, momentum, updates):
    left = (1 - momentum) ** updates
    return left * old + (1 - left) * new


def stale_in_a_loop(old, new, momentum, updates):
    for _ in range(updates):
        old = old + momentum * (new - old)
    return torch.tensor(old, dtype=torch.float64)


def renewed(statistics=statistics, stale=stale, needed=22, sorted_variance=1, mixed_variance=2):
    numbers = {"needed": needed, "sorted_variance": sorted_variance, "mixed_variance": mixed_variance}
    return {"statistics": statistics, "stale": stale} | numbers


def means(mean):
    return renewed(partial(statistics, mean=mean))


def variances(variance):
    return renewed(partial(statistics, variance=variance))


WRONG = [
    ("09.1", "products alone", basics(each=1), "a convolution"),
    ("09.1", "no kernel", basics(kernel=1), "a convolution"),
    ("09.1", "one side", basics(after=lambda s, n: s // n), "a convolution"),
    ("09.1", "one place", basics(after=lambda s, n: 1), "a convolution"),
    ("09.1", "no padding", basics(after=lambda s, n: (s // n - 2) ** 2), "a convolution"),
    ("09.1", "hidden to hidden", counted(lambda w, h, s, n, r: 18 * h * (w + h) * (s // n) ** 2), "a convolution"),
    ("09.1", "three layers of training", basics(each=6), "a convolution"),
    ("09.1", "no stride", basics(after=lambda s, n: s**2), "after the stride"),
    ("09.1", "stride in one direction", basics(after=lambda s, n: s * s // n), "after the stride"),
    (
        "09.1",
        "stride in one layer",
        counted(lambda w, h, s, n, r: 18 * w * int(h * (1 - r)) * (s**2 + (s // n) ** 2)),
        "after the stride",
    ),
    ("09.1", "a mask", basics(kept=lambda h, r: h), "once in each layer"),
    ("09.1", "squared", basics(kept=lambda h, r: h * (1 - r) ** 2), "once in each layer"),
    (
        "09.1",
        "inputs stay",
        counted(lambda w, h, s, n, r: 18 * w * (int(h * (1 - r)) + h) * (s // n) ** 2),
        "once in each layer",
    ),
    ("09.1", "what goes", basics(kept=lambda h, r: h - int(h * r) if r == 0 else int(h * r)), "once in each layer"),
    ("09.1", "rounded", basics(kept=lambda h, r: round(h * (1 - r))), "whole filters"),
    ("09.1", "rounded up", basics(kept=lambda h, r: math.ceil(h * (1 - r))), "whole filters"),
    ("09.1", "too few go", basics(kept=lambda h, r: h - int(h * r)), "whole filters"),
    ("09.1", "parts of filters", basics(kept=lambda h, r: h * (1 - r)), "whole filters"),
    ("09.1", "the first layer after the stride", necks(early=True), "three layers"),
    ("09.1", "1 x 1 in the middle", necks(middle=1), "three layers"),
    ("09.1", "from the width", necks(into=lambda w, h, k: w), "three layers"),
    ("09.1", "a bottleneck's products", necks(each=1), "three layers"),
    (
        "09.1",
        "a bottleneck without stride",
        counted(bottleneck_flops=lambda w, h, s, n, r: bottleneck_flops(w, h, s, 1, r)),
        "three layers",
    ),
    ("09.1", "the middle's inputs stay", necks(into=lambda w, h, k: h), "squared in the middle"),
    ("09.1", "all squared", necks(kept=lambda h, r: h * (1 - r) ** 2, power=1), "squared in the middle"),
    ("09.1", "a mask in the bottleneck", necks(kept=lambda h, r: h), "squared in the middle"),
    ("09.1", "rounded in the bottleneck", necks(kept=lambda h, r: round(h * (1 - r))), "squared in the middle"),
    ("09.1", "half", counted(left=0.5), "what is left"),
    ("09.1", "a quarter", counted(left=0.25), "what is left"),
    ("09.1", "what is gone", counted(left=1 - LEFT), "what is left"),
    ("09.1", "a narrow one", counted(left=3.25 / 11), "what is left"),
    ("09.1", "nothing fixed", counted(cheaper=lambda fixed, r: 1 / (1 - r)), "what nothing prunes"),
    ("09.1", "the price", counted(cheaper=lambda fixed, r: 1 / cheaper_of(fixed, r)), "what nothing prunes"),
    ("09.1", "gains added", counted(cheaper=lambda fixed, r: fixed + (1 - fixed) / (1 - r)), "what nothing prunes"),
    ("09.1", "on top", counted(cheaper=lambda fixed, r: 1 / (fixed + 1 - r)), "what nothing prunes"),
    ("09.1", "a word", counted(left="half"), "type"),
    ("09.1", "a number", counted(1.0), "type"),
    ("09.2", "five tensors", lambda *given: cut(*given)[:5], "six tensors"),
    ("09.2", "the places", lambda *given: given[0].flatten(1).norm(dim=1).argsort(), "six tensors"),
    ("09.2", "the second's outputs", cuts(weight2=lambda w, kept: w[kept[kept < len(w)]]), "six tensors"),
    ("09.2", "inputs of the first", cuts(weight1=lambda w, kept: w[kept][:, :2]), "six tensors"),
    (
        "09.2",
        "batch norm in one",
        lambda *given: (cut(*given)[0], *(torch.stack(cut(*given)[1:5]),) * 4, cut(*given)[5]),
        "six tensors",
    ),
    ("09.2", "rounded up", cuts(count=lambda h, r: math.ceil(h * (1 - r))), "how many stay"),
    ("09.2", "rounded", cuts(count=lambda h, r: round(h * (1 - r))), "how many stay"),
    ("09.2", "what goes stays", cuts(count=lambda h, r: int(h * r) or h), "how many stay"),
    ("09.2", "the batch norm stays", cuts(scale=lambda part, kept: part), "how many stay"),
    ("09.2", "statistics stay", cuts(mean=lambda part, kept: part, variance=lambda part, kept: part), "how many stay"),
    ("09.2", "inputs stay", cuts(weight2=lambda part, kept: part), "how many stay"),
    ("09.2", "the weakest", cuts(strengths=lambda w, s, v: -w.flatten(1).norm(dim=1)), "the strongest stay"),
    ("09.2", "L1", cuts(strengths=lambda w, s, v: w.abs().sum((1, 2, 3))), "the strongest stay"),
    ("09.2", "the largest weight", cuts(strengths=lambda w, s, v: w.abs().amax((1, 2, 3))), "the strongest stay"),
    ("09.2", "the sum", cuts(strengths=lambda w, s, v: w.sum((1, 2, 3))), "the strongest stay"),
    ("09.2", "the mean size", cuts(strengths=lambda w, s, v: w.abs().mean((1, 2, 3))), "the strongest stay"),
    ("09.2", "the scale", cuts(strengths=lambda w, s, v: s.abs()), "the strongest stay"),
    (
        "09.2",
        "the norm with the scale",
        cuts(strengths=lambda w, s, v: s * w.flatten(1).norm(dim=1)),
        "the strongest stay",
    ),
    ("09.2", "by its readers", cuts(strengths=lambda w, s, v: read_by(v)), "the strongest stay"),
    ("09.2", "the first", cuts(strengths=lambda w, s, v: -torch.arange(len(w)).double()), "the strongest stay"),
    ("09.2", "of unit length", cuts(weight1=lambda w, kept: w[kept] / w[kept].norm()), "the strongest stay"),
    ("09.2", "by strength", cuts(order=lambda kept: kept), "in their order"),
    ("09.2", "backwards", cuts(order=lambda kept: kept.sort(descending=True).values), "in their order"),
    ("09.2", "the first scales", cuts(scale=first), "batch norm follows"),
    ("09.2", "the first shifts", cuts(shift=first), "batch norm follows"),
    ("09.2", "the first statistics", cuts(mean=first, variance=first), "batch norm follows"),
    ("09.2", "new statistics", cuts(mean=lambda p, k: 0 * p[k], variance=lambda p, k: p[k] ** 0), "batch norm follows"),
    ("09.2", "a new batch norm", cuts(scale=lambda p, k: p[k] ** 0, shift=lambda p, k: 0 * p[k]), "batch norm follows"),
    ("09.2", "statistics by strength", cuts(variance=lambda p, k: p[k].sort().values), "batch norm follows"),
    ("09.2", "the first inputs", cuts(weight2=lambda w, kept: w[:, : len(kept)]), "dead filters"),
    ("09.2", "the last inputs", cuts(weight2=lambda w, kept: w[:, -len(kept) :]), "dead filters"),
    ("09.2", "as dropout does", cuts(weight2=lambda w, kept: w[:, kept] * w.shape[1] / len(kept)), "dead filters"),
    ("09.2", "the readers' norm", cuts(weight2=compensated), "dead filters"),
    ("09.2", "the others mixed in", cuts(weight2=mixed_in), "dead filters"),
    ("09.2", "made up for", cut_compensated, "nothing but cut"),
    ("09.2", "written over", cut_in_place, "inputs untouched"),
    ("09.2", "a word", "cut", "type"),
    ("09.3", "cut", masked(cut_block), "the same size"),
    ("09.3", "nothing at all", masked(lambda block, kept: block), "what the cut block says"),
    ("09.3", "the kept ones", masked(mask_of_kept), "what the cut block says"),
    ("09.3", "weights alone", masked(partial(mask, way="A")), "what the cut block says"),
    ("09.3", "the scale alone", masked(partial(mask, way="B")), "what the cut block says"),
    ("09.3", "scale and mean", masked(mask_with_the_mean), "what the cut block says"),
    ("09.3", "an output", masked(mask_outputs), "what the cut block says"),
    ("09.3", "the tensors", masked(lambda block, kept: block.conv1.weight), "the same size"),
    ("09.3", "a shift against the mean", masked(mask_with_the_shift), "in training, too"),
    ("09.3", "masks save", worked(masked=0.25), "what is counted"),
    ("09.3", "zeros save", worked(scattered=0.25), "what is counted"),
    ("09.3", "squared", worked(cut=0.0625), "what is counted"),
    ("09.3", "what goes", worked(cut=0.75), "what is counted"),
    ("09.3", "none is silent", masked(silent=()), "which are silent"),
    ("09.3", "weights trusted", masked(silent=("A", "C", "D")), "which are silent"),
    ("09.3", "the scale trusted", masked(silent=("B", "C", "D")), "which are silent"),
    ("09.3", "readers forgotten", masked(silent=("C",)), "which are silent"),
    ("09.3", "both last", masked(lasting=("C", "D")), "which last"),
    ("09.3", "readers last", masked(lasting=("D",)), "which last"),
    ("09.3", "none lasts", masked(lasting=()), "which last"),
    ("09.3", "a loud one lasts", masked(lasting=("A", "C")), "which last"),
    ("09.3", "another letter", masked(silent=("C", "E")), "type"),
    ("09.3", "a number of them", masked(lasting=1), "type"),
    ("09.3", "a word", worked(masked="none"), "type"),
    ("09.3", "a number", masked(0.25), "type"),
    ("09.4", "no overhead", compared(lambda b, c: b // c.step), "whole updates"),
    ("09.4", "parts", compared(lambda b, c: (b - c.overhead) / c.step), "whole updates"),
    ("09.4", "rounded up", compared(lambda b, c: -((c.overhead - b) // c.step)), "whole updates"),
    ("09.4", "rounded", compared(lambda b, c: round((b - c.overhead) / c.step)), "whole updates"),
    ("09.4", "overhead each time", compared(lambda b, c: b // (c.step + c.overhead)), "whole updates"),
    ("09.4", "one short", compared(lambda b, c: (b - c.overhead - 1) // c.step), "whole updates"),
    ("09.4", "to the end", compared(lambda b, c: min(updates(b, c), 9)), "whole updates"),
    ("09.4", "below none", compared(lambda b, c: (b - c.overhead) // c.step), "none is the least"),
    ("09.4", "one at least", compared(lambda b, c: max(1, updates(b, c))), "none is the least"),
    ("09.4", "a difference", gains(lambda a, b: a - b), "a relative gain"),
    ("09.4", "the other way", gains(lambda a, b: b / a - 1), "a relative gain"),
    ("09.4", "a ratio", gains(lambda a, b: a / b), "a relative gain"),
    ("09.4", "errors", gains(lambda a, b: (1 - b) / (1 - a) - 1), "a relative gain"),
    ("09.4", "the error's loss", gains(lambda a, b: (a - b) / (1 - b)), "a relative gain"),
    ("09.4", "per cent", gains(lambda a, b: 100 * (a / b - 1)), "a relative gain"),
    ("09.4", "a logarithm", gains(lambda a, b: math.log(a / b)), "a relative gain"),
    ("09.4", "equal steps", compared(gain=at_equal_steps), "at equal compute"),
    ("09.4", "one too late", reaching(reached_one_late), "at equal compute"),
    ("09.4", "the best so far", reaching(reached_best), "at equal compute"),
    ("09.4", "between points", reaching(reached_between), "at equal compute"),
    ("09.4", "the last point", reaching(lambda b, c: c.accuracy[-1].item()), "at equal compute"),
    ("09.4", "chance", reaching(reached_from_nothing), "nothing to compare"),
    ("09.4", "place -1", reaching(reached_from_the_end), "nothing to compare"),
    ("09.4", "no gain", compared(gain=lambda *case: np.nan_to_num(gain(*case))), "nothing to compare"),
    (
        "09.4",
        "the small one at chance",
        compared(gain=lambda b, s, d: gain(b, s, d) if updates(b, s) else -1.0),
        "nothing to compare",
    ),
    ("09.4", "nothing beyond the end", reaching(reached_within), "the end of a curve"),
    (
        "09.4",
        "beyond the end another place",
        reaching(lambda b, c: c.accuracy[updates(b, c) % 12 - 1].item() if updates(b, c) else math.nan),
        "the end of a curve",
    ),
    ("09.4", "accuracies", compared(envelope=lambda b, c: 1 - envelope(b, c)), "an error a budget"),
    ("09.4", "one error", compared(envelope=lambda b, c: envelope(b, c).nanmean()), "an error a budget"),
    ("09.4", "an error a curve", compared(envelope=lambda b, c: envelope(b, c)[:1]), "an error a budget"),
    ("09.4", "the highest", compared(envelope=envelope_of_worst), "the best at each"),
    ("09.4", "the mean", compared(envelope=envelope_of_means), "the best at each"),
    ("09.4", "the best of all", compared(envelope=envelope_of_affordable), "the best at each"),
    ("09.4", "never up", compared(envelope=envelope_falling), "an error a budget"),
    ("09.4", "all wrong", compared(envelope=envelope_of_one), "the best at each"),
    ("09.4", "the first network", compared(envelope=lambda b, c: envelope(b, c[:1])), "the best at each"),
    ("09.4", "the small one's updates", compared(overtakes=440), "where the dense one wins"),
    ("09.4", "at once", compared(overtakes=0), "where the dense one wins"),
    ("09.4", "never", compared(overtakes=1e9), "where the dense one wins"),
    ("09.4", "a word", compared(overtakes="late"), "type"),
    ("09.4", "a number", compared(3), "type"),
    ("09.5", "two tensors", disguised(lambda *given: rescaled(*given)[:2]), "three tensors"),
    ("09.5", "the weights stay", scaled(0, 1, 2), "three tensors"),
    ("09.5", "divided", scaled(-1, -1, -2), "three tensors"),
    ("09.5", "by inputs", disguised(rescaled_inputs), "three tensors"),
    ("09.5", "the mean stays", scaled(1, 0, 2), "the same function"),
    ("09.5", "the mean divided", scaled(1, -1, 2), "the same function"),
    ("09.5", "the mean squared", scaled(1, 2, 2), "the same function"),
    ("09.5", "the variance stays", scaled(1, 1, 0), "the same function"),
    ("09.5", "a standard deviation", scaled(1, 1, 1), "the same function"),
    ("09.5", "the variance divided", scaled(1, 1, -2), "the same function"),
    ("09.5", "statistics stay", scaled(1, 0, 0), "the same function"),
    ("09.5", "in place", disguised(rescaled_in_place), "inputs untouched"),
    ("09.5", "a sign", chosen(lambda found, block: -found), "positive factors"),
    ("09.5", "zeros", chosen(lambda found, block: found * (found < found.median())), "positive factors"),
    ("09.5", "logarithms", chosen(lambda found, block: found.log()), "positive factors"),
    ("09.5", "infinite", chosen(lambda found, block: found / 0), "positive factors"),
    ("09.5", "one number", chosen(lambda found, block: found.mean()), "positive factors"),
    ("09.5", "ones", chosen(lambda found, block: found**0), "other filters go"),
    ("09.5", "all alike", chosen(lambda found, block: torch.full_like(found, 7.0)), "other filters go"),
    ("09.5", "the norms' roots", chosen(lambda f, b: b.weight1.flatten(1).norm(dim=1) ** -0.5), "other filters go"),
    ("09.5", "equal norms", disguised(factors=partial(factors, by="one")), "random wins"),
    ("09.5", "the wrong way", disguised(factors=partial(factors, power=1.0)), "random wins"),
    ("09.5", "norms turned over", chosen(lambda f, b: b.weight1.flatten(1).norm(dim=1) ** -2), "random wins"),
    ("09.5", "the shift", chosen(lambda f, b: b.shift.abs() / b.weight1.flatten(1).norm(dim=1)), "random wins"),
    ("09.5", "what goes", oddly(kind=lambda r: r**2 / 2), "kind odds"),
    ("09.5", "over the whole", oddly(kind=lambda r: r**2), "kind odds"),
    ("09.5", "exchanged", oddly(lambda r: 2 - r, lambda r: r), "kind odds"),
    ("09.5", "the mean of the weakest", oddly(kind=lambda r: r / 2), "kind odds"),
    ("09.5", "the inverse", oddly(kind=lambda r: 1 / r), "kind odds"),
    ("09.5", "what goes unkindly", oddly(unkind=lambda r: (1 - (1 - r) ** 2) / 2), "unkind odds"),
    ("09.5", "over the whole, unkindly", oddly(unkind=lambda r: 1 - (1 - r) ** 2), "unkind odds"),
    ("09.5", "all is lost", oddly(unkind=lambda r: 1 / r), "unkind odds"),
    ("09.5", "worse and worse", oddly(unkind=lambda r: 1 + r), "unkind odds"),
    ("09.5", "what stays", oddly(unkind=lambda r: 1 - r), "unkind odds"),
    ("09.5", "always half as much again", oddly(unkind=lambda r: 1.5), "unkind odds"),
    ("09.5", "a single number", disguised(odds=lambda r: 2 - r), "kind odds"),
    ("09.5", "a number", disguised(1.0), "type"),
    ("09.6", "a mean a place", means(lambda b: torch.stack([x.mean(0) for x in b]).mean(0)), "a number a channel"),
    ("09.6", "all channels", means(lambda b: torch.stack([x.mean() for x in b]).mean()), "a number a channel"),
    ("09.6", "a row a batch", means(lambda b: each(b, "mean")), "a number a channel"),
    ("09.6", "one tensor", renewed(lambda b: torch.stack(statistics(b))[0]), "a number a channel"),
    ("09.6", "the sum over places", means(lambda b: 6 * each(b, "mean").mean(0)), "a number a channel"),
    ("09.6", "biased", variances(lambda b: each(b, "var", correction=0).mean(0)), "unbiased"),
    ("09.6", "standard deviations", variances(lambda b: each(b, "std").mean(0)), "unbiased"),
    ("09.6", "squares", variances(lambda b: each([x.square() for x in b], "mean").mean(0)), "unbiased"),
    (
        "09.6",
        "of the pictures' means",
        variances(lambda b: torch.stack([x.mean((2, 3)).var(0) for x in b]).mean(0)),
        "unbiased",
    ),
    (
        "09.6",
        "within each picture",
        variances(lambda b: torch.stack([x.var((2, 3)).mean(0) for x in b]).mean(0)),
        "unbiased",
    ),
    (
        "09.6",
        "at each place",
        variances(lambda b: torch.stack([x.var(0).mean((1, 2)) for x in b]).mean(0)),
        "unbiased",
    ),
    ("09.6", "by size", means(lambda b: torch.cat(b).mean((0, 2, 3))), "all batches alike"),
    ("09.6", "the last", means(lambda b: each(b, "mean")[-1]), "all batches alike"),
    ("09.6", "the first", means(lambda b: each(b, "mean")[0]), "all batches alike"),
    ("09.6", "no mean over batches", means(lambda b: each(b, "mean").sum(0)), "all batches alike"),
    ("09.6", "the middle one", means(lambda b: each(b, "mean").median(0).values), "all batches alike"),
    ("09.6", "momentum", renewed(statistics_by_default), "a number a channel"),
    ("09.6", "of all together", variances(lambda b: torch.cat(b).var((0, 2, 3))), "a mean of variances"),
    (
        "09.6",
        "by size, too",
        variances(lambda b: sum(len(x) * x.var((0, 2, 3)) for x in b) / sum(len(x) for x in b)),
        "a mean of variances",
    ),
    (
        "09.6",
        "standard deviations squared",
        variances(lambda b: each(b, "std").mean(0).square()),
        "a mean of variances",
    ),
    ("09.6", "the last variance", variances(lambda b: each(b, "var")[-1]), "a mean of variances"),
    (
        "09.6",
        "from the common mean",
        variances(
            lambda b: (
                torch.stack([_from(x, each(b, "mean").mean(0)) for x in b]).mean(0) if len(b) > 1 else each(b, "var")[0]
            )
        ),
        "a mean of variances",
    ),
    ("09.6", "momentum is the old", renewed(stale=lambda a, b, m, k: m**k * a + (1 - m**k) * b), "old ones fade"),
    ("09.6", "one update", renewed(stale=lambda a, b, m, k: (1 - m) * a + m * b), "old ones fade"),
    (
        "09.6",
        "the same amount",
        renewed(stale=lambda a, b, m, k: b + max(0, 1 - k * m) * (a - b)),
        "old ones fade",
    ),
    ("09.6", "exchanged", renewed(stale=lambda a, b, m, k: stale(b, a, m, k)), "old ones fade"),
    ("09.6", "added at the end", renewed(stale=lambda a, b, m, k: a * (1 - m) ** k + m * b), "old ones fade"),
    ("09.6", "one more", renewed(stale=lambda a, b, m, k: stale(a, b, m, k + 1)), "old ones fade"),
    ("09.6", "nine", renewed(needed=9), "how many updates"),
    ("09.6", "at once", renewed(needed=1), "how many updates"),
    ("09.6", "one short", renewed(needed=21), "how many updates"),
    ("09.6", "not rounded", renewed(needed=math.log(0.1) / math.log(0.9)), "how many updates"),
    ("09.6", "half", renewed(needed=7), "how many updates"),
    ("09.6", "sorted is mixed", renewed(sorted_variance=2), "sorted pictures"),
    ("09.6", "mixed is sorted", renewed(mixed_variance=1), "sorted pictures"),
    ("09.6", "the whole distance", renewed(mixed_variance=5), "sorted pictures"),
    ("09.6", "none within", renewed(sorted_variance=0), "sorted pictures"),
    ("09.6", "a word", renewed(needed="many"), "type"),
    ("09.6", "a number", renewed(1.0), "type"),
]


def _from(batch, centre):
    rows = batch - centre[:, None, None]
    return rows.square().sum((0, 2, 3)) / (rows[:, 0].numel() - 1)


RIGHT = [
    ("09.1", counted()),
    ("09.1", counted(basic_by_counting, bottleneck_by_counting, torch.tensor(0.37), cheaper_of)),
    ("09.1", counted(basic_of, bottleneck_of, 25 / 68, lambda fixed, r: np.float64(1 / (1 - r * (1 - fixed))))),
    ("09.2", cut),
    ("09.2", cut_by_modules),
    ("09.2", cut_by_mask),
    ("09.2", lambda *given: cut_of(Block(*given[:6]), given[6])),
    ("09.3", masked()),
    ("09.3", masked(partial(mask, way="D"), silent="c, d", lasting=["C"])),
    ("09.3", masked(mask_by_product, work={name: torch.tensor(value) for name, value in WORK.items()})),
    ("09.3", masked(mask_in_a_new_block, lasting="C")),
    ("09.4", compared()),
    ("09.4", compared(updates_in_a_loop, gain_as_told, envelope_in_lists, 110.0)),
    ("09.4", compared(updates_of, gain_of, envelope_of, torch.tensor(110))),
    ("09.5", disguised()),
    ("09.5", disguised(rescaled_by_loop, factors_by_trial, lambda r: torch.tensor([r, 2 - r], dtype=torch.float64))),
    ("09.5", disguised(factors=partial(factors, power=-2.0), odds=lambda r: [r, (1 - (1 - r) ** 2) / r])),
    ("09.5", disguised(factors=partial(factors, by="read"))),
    ("09.6", renewed()),
    ("09.6", renewed(statistics_by_torch, stale_in_a_loop, 22.0, torch.tensor(1.0), np.float64(2))),
    ("09.6", renewed(statistics_one_by_one)),
]


def test_there_are_six_exercises():
    assert [exercise.id for exercise in exercises("09")] == [f"09.{number}" for number in range(1, 7)]


DRAWN = RIGHT  # right answers, on other draws too

STEADY = ("09.1", "09.2", "09.3", "09.4", "09.5", "09.6")  # wrong answers to them get the same hint on other draws


def test_an_exception_in_an_answer_is_an_error():
    def divides(*case):
        return case[0] / 0 * missing

    for name, answer in (
        ("09.1", counted(divides)),
        ("09.2", divides),
        ("09.3", masked(divides)),
        ("09.4", compared(envelope=divides)),
        ("09.5", disguised(factors=divides)),
        ("09.6", renewed(stale=divides)),
    ):
        assert check(name, answer).status == "error"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("09.1", counted(lambda *case: None)),
        ("09.1", counted(left=...)),
        ("09.2", lambda *case: None),
        ("09.2", ...),
        ("09.3", masked(lambda *case: None)),
        ("09.3", worked(cut=...)),
        ("09.3", masked(silent={...})),
        ("09.4", compared(gain=lambda *case: ...)),
        ("09.4", compared(overtakes=...)),
        ("09.5", disguised(odds=lambda *case: None)),
        ("09.6", renewed(lambda *case: None)),
        ("09.6", renewed(needed=...)),
    ],
)
def test_stubs_are_not_attempted(name, answer):
    assert check(name, answer).status == "not attempted"


# What the exercises say is so


@pytest.mark.parametrize(
    ("width", "hidden", "side", "stride", "ratio"),
    [(6, 16, 8, 1, 0.5), (5, 11, 6, 2, 0.75), (8, 32, 4, 1, 0.9), (3, 4, 6, 3, 0.0)],
)
def test_operations_are_as_counted(width, hidden, side, stride, ratio):
    case = width, hidden, side, stride, ratio
    assert basic_of(*case) == basic_by_counting(*case)
    stem = nn.Conv2d(1, width, 1)
    whole = nn.Sequential(stem, *bottleneck(width, hidden, stride))
    image = torch.zeros(1, 1, side, side)
    pruned = prune_filters(whole, ratio, example=image)
    assert bottleneck_of(*case) == count_flops(pruned, image) - count_flops(stem, image)
    assert pruned[1].out_channels == kept_of(hidden, ratio)


def test_a_bottleneck_at_one_half_keeps_37_per_cent():
    assert bottleneck_of(256, 64, 4, 1, 0.5) / bottleneck_of(256, 64, 4, 1, 0) == LEFT
    assert round(LEFT, 2) == 0.37


def test_a_tenth_that_is_fixed_leaves_5_of_10():
    assert round(cheaper_of(0.1, 0.9), 1) == 5.3
    assert cheaper_of(0.1, 1 - 1e-9) == pytest.approx(10, rel=1e-6)


def test_the_lessons_network_gets_cheaper_as_the_formula_says():
    net, image = ExpandedResidualNet(), torch.zeros(1, 1, 16, 16)
    whole, half, small = (count_flops(prune_filters(net, r, example=image), image) for r in (0, 0.5, 0.75))
    assert whole / small == pytest.approx(cheaper_of((2 * half - whole) / whole, 0.75), rel=1e-9)
    assert count_flops(net, image, training=True) / whole == pytest.approx(3, abs=0.02)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.75, 0.9])
def test_the_cut_is_that_of_the_package(ratio):
    torch.manual_seed(0)
    net, image = ExpandedResidualNet(), torch.zeros(1, 1, 16, 16)
    small = prune_filters(net, ratio, example=image)
    for before, after in zip(net.blocks, small.blocks):
        for mine, theirs in zip(cut(*as_tensors(before), ratio), as_tensors(after)):
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("hidden", "ratio"), [case for case in CASES if case[1] > 0])
def test_the_blocks_of_the_check_tell_criteria_apart(hidden, ratio, seed):
    block = telling_block(torch.Generator().manual_seed(seed), hidden)
    flat, count = block.weight1.flatten(1), int(hidden * (1 - ratio))
    norms = flat.norm(dim=1)
    right = set(strongest(norms, count).tolist())
    found = [norms * block.scale, block.scale, read_by(block.weight2), -norms]
    for others in (*found, flat.abs().sum(1) if count > 3 else flat.abs().amax(1)):
        assert set(strongest(others, count).tolist()) != right


def test_a_block_answers_as_its_tensors_do():
    generator = torch.Generator().manual_seed(0)
    block, images = telling_block(generator, 9, 5, 5), torch.randn(2, 5, 6, 6, generator=generator).double()
    module = as_block(block)
    inner = module.norm1(module.conv1(images)).relu()
    torch.testing.assert_close(module.conv2(inner), respond(block, images))


def test_what_a_counter_finds_after_each_kind_of_pruning():
    generator = torch.Generator().manual_seed(0)
    assert {kind: flops_left(kind, generator=generator) for kind in WORK} == WORK


@pytest.mark.parametrize("seed", range(4))
def test_silent_ways_are_silent_and_one_lasts(seed):
    for way in WAYS:
        gaps = [compare(way, torch.Generator().manual_seed(seed), steps) for steps in (0, 1, 5)]
        assert (gaps[0] < 1e-10) == (way in SILENT)
        assert (max(gaps) < 1e-10) == (way in LASTING)
        assert gaps[1] > 1e-3 or way in LASTING
    assert SILENT | set(LOUD) == set(WAYS)


def test_a_mask_of_scale_and_shift_does_not_last_behind_a_smooth_activation():
    block, kept = random_block(torch.Generator().manual_seed(0)), torch.tensor([0, 3])
    WAYS["C"](block, kept)
    images = torch.randn(4, 4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for activation, moves in ((torch.relu, False), (nn.functional.gelu, True)):
        block.zero_grad()
        block.conv2(activation(block.norm1(block.conv1(images)))).square().sum().backward()
        assert bool((block.norm1.bias.grad[1:3] != 0).any()) == moves


def test_a_masked_filter_leaves_its_shift():
    block, kept = random_block(torch.Generator().manual_seed(0)), torch.tensor([1, 2])
    WAYS["A"](block, kept)
    norm = block.norm1
    said = norm(block.conv1(torch.randn(1, 4, 6, 6, dtype=torch.float64)))[0, 0]
    expected = norm.bias[0] - norm.running_mean[0] * norm.weight[0] / (norm.running_var[0] + norm.eps).sqrt()
    torch.testing.assert_close(said, expected.expand(6, 6))


def test_the_dense_network_overtakes_at_110():
    def dense(budget):
        return 0.1 + 0.8 / (1 + budget / 10)

    def small(budget):
        return 0.15 + 0.75 / (1 + 4 * budget / 10)

    assert dense(OVERTAKES) == pytest.approx(small(OVERTAKES), rel=1e-12)
    assert all(dense(b) > small(b) for b in range(1, OVERTAKES))
    assert all(dense(b) < small(b) for b in range(OVERTAKES + 1, 1000))
    assert all(dense(k) < small(k / 4) for k in range(1, 1000))  # after equally many updates


def test_the_envelope_of_the_figure_changes_hands_there():
    made = torch.arange(1.0, 2001)
    curves = Curve(0.9 - 0.8 / (1 + made / 10), 4, 1), Curve(0.85 - 0.75 / (1 + made / 10), 1, 1)
    ahead = [min(curves, key=lambda curve: 1 - accuracy_of(4 * b + 1, curve)) is curves[0] for b in range(1, 300)]
    assert abs(ahead.index(True) + 1 - OVERTAKES) <= 1
    assert all(ahead[OVERTAKES + 1 :])


def test_accuracy_and_error_gain_differently():
    assert gain_of(1, Curve(torch.tensor([0.4]), 1, 0), Curve(torch.tensor([0.2]), 1, 0)) == pytest.approx(1.0)
    assert 1 - envelope_of([1], [Curve(torch.tensor([0.4]), 1, 0)]).item() / (1 - 0.2) == pytest.approx(0.25)


def test_a_factor_changes_nothing_in_training_either():
    generator = torch.Generator().manual_seed(0)
    block = speaking_block(generator)
    scaled = rescale(block, torch.rand(HIDDEN, generator=generator, dtype=torch.float64) + 0.5)
    images = torch.randn(4, 3, 6, 6, generator=generator, dtype=torch.float64)
    said = []
    for each in (block, scaled):
        norm = nn.BatchNorm2d(HIDDEN, eps=1e-12, dtype=torch.float64)
        said.append(norm(nn.functional.conv2d(images, each.weight1)))
    torch.testing.assert_close(*said)


def test_a_filters_gradient_before_a_batch_norm_is_at_right_angles_to_it():
    block = random_block(torch.Generator().manual_seed(0)).train()
    block.norm1.eps = 1e-12
    images = torch.randn(4, 4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    block(images).square().sum().backward()
    weight, gradient = (each.flatten(1) for each in (block.conv1.weight.detach(), block.conv1.weight.grad))
    sizes = weight.norm(dim=1) * gradient.norm(dim=1)
    assert bool(((weight * gradient).sum(1).abs() < 1e-9 * sizes).all())
    assert bool((sizes > 0).all())


@pytest.mark.parametrize("seed", range(4))
def test_the_disguise_makes_the_control_win_with_margin(seed):
    for find, low, high in (
        (factors, WORSE + 0.15, 3.0),
        (partial(factors, by="one"), 0.4, WORSE - 0.05),
        (partial(factors, power=1.0), 0.0, 0.4),
    ):
        by_norm, at_random = mean_damage(find, torch.Generator().manual_seed(seed))
        assert low < by_norm / at_random < high


def test_the_odds_are_those_of_many_filters():
    shares = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    for ratio in (0.25, 0.5, 0.9):
        gone = int(ratio * len(shares))
        drawn = ratio * shares.sum()
        assert shares[:gone].sum() / drawn == pytest.approx(ratio, rel=1e-6)
        assert shares[-gone:].sum() / drawn == pytest.approx(2 - ratio, rel=1e-6)
    assert disguised()["odds"](0.9) == (0.9, 1.1)


def test_the_more_goes_the_less_it_matters_which():
    lost = [mean_damage(factors, torch.Generator().manual_seed(0), ratio) for ratio in (0.25, 0.5, 0.75, 0.9)]
    over = [norm / drawn for norm, drawn in lost]
    assert over == sorted(over, reverse=True)
    assert over[-1] < 1.2


def test_the_statistics_are_those_of_the_package():
    images = torch.randn(11, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    norm = nn.BatchNorm2d(3, dtype=torch.float64)
    reestimate_batch_norm(norm, images, batch=4)
    mean, variance = statistics_of(list(images.split(4)))
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)


def test_a_running_mean_fades_as_torch_does():
    norm, batch = nn.BatchNorm2d(1, momentum=0.1, dtype=torch.float64), torch.full((2, 1, 1, 2), 3.0).double()
    norm.running_mean.fill_(5.0)
    for updates in range(1, 25):
        norm(batch)
        assert norm.running_mean.item() == pytest.approx(stale(5.0, 3.0, 0.1, updates), rel=1e-12)
        assert ((norm.running_mean.item() - 3) / 2 <= 0.1) == (updates >= NEEDED)


def test_sorted_batches_miss_the_distance_of_the_classes():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(400, 1, 5, 5, generator=generator).double() + centre for centre in (-1, 1))
    alone = statistics_of([first, second])[1].item()
    mixed = statistics_of([torch.cat([first[:200], second[:200]]), torch.cat([first[200:], second[200:]])])[1].item()
    assert alone == pytest.approx(1, abs=0.05)
    assert mixed == pytest.approx(2, abs=0.05)


def test_cut_channels_of_the_package_cut_the_block_of_the_check():
    block, kept = random_block(torch.Generator().manual_seed(0)), torch.tensor([1, 4])
    small = cut_block(block, kept)
    assert torch.equal(small.conv1.weight, block.conv1.weight[kept])
    assert torch.equal(small.conv2.weight, block.conv2.weight[:, kept])
    assert small.norm1.num_features == 2
    assert block.norm1.num_features == 8  # left as it was


def test_the_ways_are_those_that_the_notebook_names():
    prose = NOTEBOOK.read_text(encoding="utf-8")
    assert list(WAYS) == list("ABCD")
    assert all(f"**{way}**" in prose for way in WAYS)
    (cell,) = (cell for cell in read_source(NOTEBOOK).cells if "lasting = {" in cell.source)
    scope = {"torch": torch}
    exec(cell.source, scope)
    assert (scope["silent"], scope["lasting"], scope["work"]) == (SILENT, LASTING, WORK)
