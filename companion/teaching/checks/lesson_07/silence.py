"""Exercise 07.6: two measures of what a network has left to learn with, silent neurons and the rank of its features."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from companion.methods.soft_reset import StackedMLP
from companion.teaching.checks.answers import (
    DOUBLE,
    StudentFunction,
    expect,
    expect_close,
    normal,
    read_function,
    read_number,
    read_parts,
    uniform,
)
from companion.teaching.checks.framework import exercise

SHARE, RANK = "silent_share(model, x)", "effective_rank(features)"
Activations = list[Tensor]


class Silence:
    """The student's two measures."""

    def __init__(self, share: StudentFunction, rank: StudentFunction) -> None:
        self._share, self._rank = share, rank

    def share(self, model: StackedMLP, x: Tensor) -> float:
        return read_number(self._share(model, x), SHARE)

    def rank(self, features: Tensor) -> float:
        return read_number(self._rank(features), RANK)

    def counts_like(self, formula: Callable[[Activations], Tensor], generator: torch.Generator) -> bool:
        """Whether the student's share is this formula of hidden activations and logits, on some networks."""
        for _ in range(4):
            model, x = network(generator)
            if abs(self.share(model, x) - float(formula(model.activations(x)))) > 1e-6:
                return False
        return True

    def ranks_like(self, formula: Callable[[Tensor], Tensor], generator: torch.Generator) -> bool:
        cases = [normal(generator, 9, m) for m in (3, 5, 12)]
        return all(math.isclose(self.rank(each), float(formula(each)), rel_tol=1e-6) for each in cases)


@exercise(
    "07.6",
    "Where has plasticity gone?",
    difficulty=3,
    minutes=15,
    equation="effective rank (Roy and Vetterli, 2007)",
    takeaway="A neuron that is 0 for every row has no gradient, and seldom comes back. As such neurons grow in number, the features span fewer directions, and there is less to learn with. A pull back to the start wakes them.",
)
def silence(answer: object) -> Silence:
    parts = read_parts(answer, ("silent_share", "effective_rank"))
    return Silence(read_function(parts["silent_share"], SHARE), read_function(parts["effective_rank"], RANK))


def network(
    generator: torch.Generator, widths: Sequence[int] = (10, 30), silent: Sequence[int] = (4, 3), rows: int = 12
) -> tuple[StackedMLP, Tensor]:
    """A perceptron with hidden layers of these widths, in each so many neurons that are silent for all rows, and rows.

    Besides, most neurons are 0 for some of the rows, one in each layer is so for all but one, and one gives 0.5 for all.
    """
    model = StackedMLP(None, 4, 3, width=1, depth=len(widths), generator=generator, dtype=DOUBLE)
    x, inputs = normal(generator, rows, 4), None
    with torch.no_grad():
        for place, (layer, width) in enumerate(zip(model.layers, (*widths, 3))):
            inputs = x if place == 0 else inputs
            layer.weight = nn.Parameter(normal(generator, width, inputs.shape[1]))
            layer.bias = nn.Parameter(torch.zeros(width, dtype=DOUBLE))
            before = (inputs @ layer.weight.mT).sort(0).values
            between = before[rows // 4 : rows // 4 + 2].mean(0)  # some rows below it, some above
            layer.bias.copy_(-between)
            if place < len(widths):
                count = silent[place]
                layer.bias[:count] = -before[-1, :count] - 0.1
                layer.bias[count] = -before[-2:, count].mean()
                layer.weight[count + 1], layer.bias[count + 1] = 0.0, 0.5
            else:
                layer.bias[0] = -before[-1, 0] - 0.1  # one logit below 0 for all rows: it is no hidden neuron
            inputs = (inputs @ layer.weight.mT + layer.bias).relu()
        order = [torch.randperm(width, generator=generator) for width in widths]
        for layer, after, places in zip(model.layers, list(model.layers)[1:], order):
            layer.weight.copy_(layer.weight[places])
            layer.bias.copy_(layer.bias[places])
            after.weight.copy_(after.weight[:, places])
    return model, x


def silent_of(layer: Tensor) -> Tensor:
    """Which neurons give 0 for all rows."""
    return (layer <= 0).all(0)


def share_of(layers: Activations) -> Tensor:
    """The share of silent neurons among all neurons of these layers."""
    return torch.cat([silent_of(each) for each in layers]).double().mean()


# Silent neurons


@silence.requires(
    "a share",
    "It is a number from 0 to 1: how many of the hidden neurons are silent, over how many there are.",
)
def _(silence: Silence, generator: torch.Generator) -> None:
    for silent, words in (((0, 0), "no neuron is silent"), ((5, 15), "half of the neurons are silent")):
        came = silence.share(*network(generator, silent=silent))
        expect(0 <= came <= 1, f"where {words} you give {came:.4g}")


@silence.requires(
    "silent neurons, not quiet rows",
    "A neuron is silent if it is 0 for *all* rows, axis 0: then no row gives it a gradient. One that is 0 for some rows only is at "
    "work, that is what a ReLU is for.",
)
def _(silence: Silence, generator: torch.Generator) -> None:
    for formula, words in (
        (lambda a: torch.cat([each.flatten() for each in a[:-1]]).eq(0).double().mean(), "yours is the share of zeros"),
        (
            lambda a: torch.cat([(each <= 0).any(0) for each in a[:-1]]).double().mean(),
            "in yours a single 0 is enough",
        ),
        (lambda a: torch.cat([(each <= 0).any(1) for each in a[:-1]]).double().mean(), "yours counts rows"),
        (lambda a: torch.zeros(()), "yours finds none: nothing is below 0 after a ReLU, and no row is 0 everywhere"),
        (lambda a: 1 - share_of(a[:-1]), "yours is the share of those that are not silent"),
    ):
        expect(not silence.counts_like(formula, generator), words)


@silence.requires(
    "the hidden ones",
    "All hidden layers count, and no other: the last of `model.activations(x)` are the logits, which have no ReLU.",
)
def _(silence: Silence, generator: torch.Generator) -> None:
    for formula, words in (
        (share_of, "yours takes the logits for neurons"),
        (lambda a: share_of(a[-1:]), "yours has the logits alone"),
        (lambda a: share_of(a[:1]), "yours has the first hidden layer alone"),
        (lambda a: share_of(a[-2:-1]), "yours has the last hidden layer alone"),
    ):
        expect(not silence.counts_like(formula, generator), words)


@silence.requires(
    "each neuron once",
    "A layer of 30 neurons counts three times as much as one of 10. Put the neurons of all layers together before you take the "
    "mean; a mean of the layers' shares is right only if they are equally wide.",
)
def _(silence: Silence, generator: torch.Generator) -> None:
    found = "yours is the mean of the layers' shares"
    expect(
        not silence.counts_like(lambda a: torch.stack([share_of([each]) for each in a[:-1]]).mean(), generator), found
    )


@silence.requires(
    "silent is silent",
    "Count as in the definition: 0 for every row that came, however small or large the activations of the others are. A neuron "
    "that is alive for a single row, with a tiny value, or with the same value for all, is not silent.",
)
def _(silence: Silence, generator: torch.Generator) -> None:
    for widths, silent, scale in (
        ((10, 30), (4, 3), 1.0),
        ((5,), (2,), 1e-6),
        ((7, 8, 9), (0, 2, 1), 1e3),
        ((4,), (0,), 1.0),
    ):
        model, x = network(generator, widths, silent)
        with torch.no_grad():
            for part in model.layers[0].parameters():
                part.mul_(scale)
            for layer in list(model.layers)[1:]:
                layer.bias.mul_(scale)
        came, expected = silence.share(model, x), share_of(model.activations(x)[:-1])
        count = round(expected.item() * sum(widths))
        words = f"with {count} silent neurons among {sum(widths)}, and activations scaled by {scale:g}, the share"
        expect_close(came, expected, 1e-6, words)


# Effective rank


def spectrum(features: Tensor) -> Tensor:
    """Singular values as shares of their sum."""
    values = torch.linalg.svdvals(features)
    return values / values.sum()


def entropy(shares: Tensor) -> Tensor:
    return -torch.special.xlogy(shares, shares).sum()


@silence.requires(
    "equal directions count one each",
    "If k singular values are equal and the others are 0, the features span k directions alike, and the effective rank is k: 1 if all "
    "rows are multiples of one. The entropy is log k then; take its exponential.",
)
def _(silence: Silence, generator: torch.Generator) -> None:
    for k, m in ((3, 6), (5, 5), (1, 4)):
        left, right = (torch.linalg.qr(normal(generator, size, size)).Q for size in (9, m))
        features = uniform(generator, 0.5, 2) * left[:, :k] @ right[:k]
        came = silence.rank(features)
        logs = (
            [(math.log(k), "the entropy"), (math.log2(k), "the entropy in bits")] if k > 1 else [(0.0, "the entropy")]
        )
        for wrong, words in [*logs, (math.exp(math.log2(k)), "the exponential of an entropy in bits")]:
            expect(
                abs(wrong - k) < 1e-9 or abs(came - wrong) > 1e-6, f"for {k} equal values yours is {came:.3g}, {words}"
            )
        expect_close(came, float(k), 1e-5, f"for {k} equal singular values the effective rank")


@silence.requires(
    "without a unit",
    "Features ten times as large span the same directions. Divide the singular values by their sum first, so that they are "
    "shares.",
)
def _(silence: Silence, generator: torch.Generator) -> None:
    for scale in (10.0, 0.01):
        features = normal(generator, 9, 5)
        came, unit = silence.rank(scale * features), silence.rank(features)
        expect_close(came, unit, 1e-5, f"with features {scale:g} times as large the effective rank")


@silence.requires(
    "weak directions count less",
    "Between 1 and the rank the effective rank goes smoothly: exp of the entropy of the singular values' shares. A threshold, or "
    "other powers of the singular values, are other measures.",
)
def _(silence: Silence, generator: torch.Generator) -> None:
    for formula, words in (
        (lambda f: torch.linalg.matrix_rank(f), "yours is the rank"),
        (lambda f: entropy(spectrum(f) ** 2 / (spectrum(f) ** 2).sum()).exp(), "yours squares the singular values"),
        (lambda f: 1 / (spectrum(f) ** 2 / (spectrum(f) ** 2).sum()).square().sum(), "yours is a participation ratio"),
        (lambda f: 1 / spectrum(f).square().sum(), "yours is a participation ratio"),
        (lambda f: entropy(spectrum(f - f.mean(0))).exp(), "yours takes the mean away first"),
        (lambda f: entropy(torch.linalg.svdvals(f).softmax(0)).exp(), "yours takes a softmax for the shares"),
    ):
        expect(not silence.ranks_like(formula, generator), words)
    for n, m in ((9, 5), (4, 12), (30, 3), (1, 6)):
        features = normal(generator, n, m)
        came = silence.rank(features)
        expected = entropy(spectrum(features)).exp()
        expect_close(came, expected, 1e-5, f"for features of shape ({n}, {m}) the effective rank")
