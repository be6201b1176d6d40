"""Denoisers that know a class: the exact ones of labelled mixtures, and networks with an embedding for each class.

Both answer the two questions that guidance compares: `conditional(x, t, labels)`, the clean point expected
given the noisy one and its class, and `unconditional(x, t)`, the same when the class is not told.

>>> law = LabelledMixture(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.1, 0.1]), torch.tensor([0, 1]))
>>> x = torch.zeros(1, 1)                        # half way between the classes
>>> law.conditional(x, 0.9, torch.tensor([1])).round(decimals=3), law.unconditional(x, 0.9)
(tensor([[1.]]), tensor([[0.]]))
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from companion.foundations.diffusion import Time, add_noise, as_time, expand_time, sigma
from companion.foundations.mixtures import GaussianMixture
from companion.foundations.validation import Number, require, require_batch, require_count, require_in, require_labels

Conditional: TypeAlias = Callable[[Tensor, Time, Tensor], Tensor]
Unconditional: TypeAlias = Callable[[Tensor, Time], Tensor]


class LabelledMixture(GaussianMixture):
    """A Gaussian mixture whose components belong to classes: exact answers with and without the label.

    Args:
        means: (k, d).
        stds: (k,), positive.
        classes: (k,) the class of each component, from 0 on, none left out.
        weights: (k,), non-negative; normalised here. Equal weights when None.

    Raises:
        TypeError, ValueError: as `GaussianMixture`; `classes` is no (k,) tensor of whole numbers, or leaves a class out.
    """

    def __init__(
        self,
        means: Float[Tensor, "k d"],
        stds: Float[Tensor, " k"],
        classes: Int[Tensor, " k"],
        weights: Float[Tensor, " k"] | None = None,
    ) -> None:
        super().__init__(means, stds, weights)
        require_labels("classes", classes, len(means))
        present = classes.unique().tolist()
        every = present == list(range(len(present)))
        require(every, "classes", present, "numbered 0, 1, 2 and so on, each with a component")
        self.classes, self.num_classes = classes.long().to(means.device), len(present)

    def to(self, *args, **kwargs) -> "LabelledMixture":
        """The same law on another device or in another dtype, as `Tensor.to`."""
        moved = super().to(*args, **kwargs)
        return LabelledMixture(moved.means, moved.stds, self.classes.to(moved.means.device), moved.weights)

    @property
    def class_weights(self) -> Float[Tensor, " classes"]:
        """How frequent each class is."""
        return self.weights.new_zeros(self.num_classes).index_add(0, self.classes, self.weights)

    def given(self, label: int) -> GaussianMixture:
        """The law of one class.

        Raises:
            TypeError: a label that is no whole number.
            ValueError: there is no such class.
        """
        require_count("label", label, 0)
        require(label < self.num_classes, "label", label, f"from 0 to {self.num_classes - 1}")
        own = self.classes == label
        return GaussianMixture(self.means[own], self.stds[own], self.weights[own])

    def sample_labelled(
        self, n: int, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n d"], Int[Tensor, " n"]]:
        """`n` points with their labels, the classes as frequent as they are."""
        require_count("n", n, 1)
        labels = torch.multinomial(self.class_weights, n, replacement=True, generator=generator)
        return self.sample_given(labels, generator), labels

    def sample_given(self, labels: Int[Tensor, " n"], generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """One point of each row's class."""
        require_labels("labels", labels, classes=self.num_classes)
        own = self.classes == labels[:, None]
        chosen = torch.multinomial(own * self.weights, 1, generator=generator)[:, 0]
        shape = len(labels), self.means.shape[1]
        noise = torch.randn(shape, generator=generator, dtype=self.means.dtype, device=self.means.device)
        return self.means[chosen] + self.stds[chosen, None] * noise

    def conditional(self, x: Float[Tensor, "n d"], t: Time, labels: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """The posterior mean `E[x0 | x_t = x, class]`, each row with its own label."""
        require_labels("labels", labels, len(x), self.num_classes)
        other = self.classes != labels[:, None]
        weights = self._joint_log_prob(x, t).masked_fill(other, -torch.inf).softmax(1)
        _, means, _ = self.posterior(x, t)
        return (weights[..., None] * means).sum(1)

    def unconditional(self, x: Float[Tensor, "n d"], t: Time) -> Float[Tensor, "n d"]:
        """The posterior mean `E[x0 | x_t = x]` over all classes, as frequent as they are."""
        return self.denoise(x, t)

    def class_log_probs(self, x: Float[Tensor, "n d"], t: Time = 0.0) -> Float[Tensor, "n classes"]:
        """`log p(class | x_t = x)`: what a perfect classifier of noisy points says."""
        joint = self._joint_log_prob(x, t)
        members = (joint.masked_fill(self.classes != label, -torch.inf) for label in range(self.num_classes))
        return torch.stack([member.logsumexp(1) for member in members], dim=1).log_softmax(1)


class ConditionalDenoiser(nn.Module):
    """A network with an embedding for each class and one more, the *null* class, for when the class is not told.

    The network predicts the velocity `noise - x0`; the clean point is `x_t - sigma(t) velocity`.

    Args:
        network: called as (x (n, *event), t, embedding) -> (n, *event), such as a `TimeMLP` or `UNet` with noise
            entries, which take the embedding in the place of noise.
        num_classes: C; labels run from 0 to C - 1.
        embedding: numbers in an embedding: the network's `noise_dim`, or its `noise_channels`.

    Raises:
        TypeError: `network` is no module.
        ValueError: fewer than one class or number.
    """

    def __init__(self, network: nn.Module, num_classes: int, embedding: int = 8) -> None:
        super().__init__()
        require(
            isinstance(network, nn.Module), "network", f"a {type(network).__name__}", "a torch.nn.Module", TypeError
        )
        require_count("num_classes", num_classes, 1)
        require_count("embedding", embedding, 1)
        self.network, self.num_classes = network, num_classes
        self.embedding = nn.Embedding(num_classes + 1, embedding)

    def velocity(self, x: Float[Tensor, "n *event"], t: Time, labels: Int[Tensor, " n"]) -> Float[Tensor, "n *event"]:
        """The expected `noise - x0` given the noisy points and their labels, `num_classes` for the null class."""
        planes = self.embedding(labels.long()).reshape(len(x), -1, *[1] * (x.ndim - 2))
        return self.network(x, t, planes.expand(-1, -1, *x.shape[2:]))

    def conditional(
        self, x: Float[Tensor, "n *event"], t: Time, labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n *event"]:
        """The clean points expected for `x` at time `t` and these labels (n,), from 0 to C - 1 (C: the null class)."""
        require_batch("x", x)
        require_labels("labels", labels, len(x), self.num_classes + 1)
        return x - expand_time(sigma(as_time(t, x)), x) * self.velocity(x, t, labels)

    def unconditional(self, x: Float[Tensor, "n *event"], t: Time) -> Float[Tensor, "n *event"]:
        """The clean points expected when no class is told."""
        require_batch("x", x)
        return self.conditional(x, t, torch.full((len(x),), self.num_classes, device=x.device))

    @torch.no_grad()
    def forget_classes(self) -> None:
        """Make every class's embedding the null one: the conditional answers become the unconditional ones."""
        self.embedding.weight.copy_(self.embedding.weight[-1:].expand_as(self.embedding.weight))


def velocity_loss(
    model: ConditionalDenoiser,
    x0: Float[Tensor, "n *event"],
    labels: Int[Tensor, " n"],
    drop: Number = 0.1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error of the velocity at uniform times, some labels replaced by the null class (Ho and Salimans 2022).

    Args:
        model: predicts `noise - x0`.
        x0, labels: clean points (n, *event) and their classes (n,).
        drop: chance that a row is shown without its label; 1 trains the unconditional answers alone.
        generator: draws times, noise and which labels are dropped, on the device of `x0`.

    Raises:
        TypeError: not a floating tensor, or labels that are not whole numbers.
        ValueError: shapes disagree, or a chance outside [0, 1].
    """
    require_batch("x0", x0)
    require_labels("labels", labels, len(x0))
    require_in("drop", drop, "[0, 1]")
    like = {"generator": generator, "dtype": x0.dtype, "device": x0.device}
    t, noise, dropped = torch.rand(len(x0), **like), torch.randn(x0.shape, **like), torch.rand(len(x0), **like)
    shown = labels.masked_fill(dropped < drop, model.num_classes)
    error = model.velocity(add_noise(x0, t, noise), t, shown) - (noise - x0)
    return error.square().flatten(1).sum(1).mean()
