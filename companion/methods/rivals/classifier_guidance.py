"""Classifier guidance: a classifier of noisy points says which way its class lies, and the sampler leans there.

By Bayes' rule `score(x | c) = score(x) + grad log p(c | x)`; a weight in front of the gradient sharpens the class. In
terms of the clean point (Tweedie's formula, `score = (alpha x0 - x) / sigma^2`) the guided prediction is

    x0 + weight sigma^2 / alpha grad_x log p(label | x_t)

At t = 1 that is 0/0: pure noise tells no class, and the gradient falls with alpha. The classifier is asked no closer
to it than `CLOSEST`, and should fall as it ought to: `TimeClassifier` does, since it sees alpha x.

Source: Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", NeurIPS 2021 (arXiv 2105.05233),
Section 4.2 and Algorithm 2, which is DDIM's; here with any churn. Their classifiers see images and share the U-Net's
first half; ours is a perceptron of points.

>>> from companion.data.labelled import four_classes
>>> from companion.foundations.diffusion import time_grid
>>> law, generator = four_classes(), torch.Generator().manual_seed(0)
>>> data, labels = law.sample_labelled(1000, generator)
>>> for state in train_classifier(data, labels, steps=10, generator=generator):
...     pass
>>> def unconditional(x, t, labels):
...     return law.unconditional(x, t)
>>> noise = torch.randn(1000, 2, generator=generator)
>>> *_, points = sample_classifier_guided(unconditional, state.model, 1.0, labels, noise, time_grid(20))
>>> points.shape
torch.Size([1000, 2])
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from companion.foundations.conditional import Conditional
from companion.foundations.diffusion import Time, add_noise, alpha, as_time, as_times, expand_time, sample, sigma
from companion.foundations.networks import MLP, time_features
from companion.foundations.training import TrainingState, draw_batch, train
from companion.foundations.validation import (
    Number,
    require,
    require_batch,
    require_callable,
    require_count,
    require_in,
    require_labels,
    require_like,
)

LogProbs: TypeAlias = Callable[[Tensor, Time], Tensor]

CLOSEST = 1e-3  # to pure noise that a classifier is asked: there its gradient is divided by alpha


class TimeClassifier(nn.Module):
    """Classifier of noisy points: (x (n, dim), t) -> log p(class | x_t), (n, num_classes).

    It sees alpha(t) x and the time. At t = 1 its answer cannot depend on x, as it should not.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, dim: int, num_classes: int, width: int = 64, depth: int = 3, waves: int = 6) -> None:
        super().__init__()
        self.dim, self.num_classes, self.waves = dim, num_classes, waves
        self.net = MLP(dim + 2 * waves + 1, num_classes, width, depth)

    def forward(self, x: Float[Tensor, "n dim"], t: Time) -> Float[Tensor, "n classes"]:
        require(x.ndim == 2 and x.shape[1] == self.dim, "x", f"of shape {tuple(x.shape)}", f"of shape (n, {self.dim})")
        t = as_time(t, x)
        time = time_features(t.reshape(-1), self.waves).expand(len(x), -1)
        return self.net(torch.cat([expand_time(alpha(t), x) * x, time], dim=1)).log_softmax(1)


def train_classifier(
    data: Float[Tensor, "rows *event"],
    labels: Int[Tensor, " rows"],
    steps: int,
    classifier: nn.Module | None = None,
    batch_size: int = 256,
    learning_rate: Number = 2e-3,
    generator: torch.Generator | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[TrainingState]:
    """Train a classifier of noisy points by cross entropy at uniform times, the classes as frequent as in the data.

    Args:
        data, labels: clean points (rows, *event) and their classes (rows,), from 0 on, none left out.
        steps: updates, each of one call.
        classifier: (x, t) -> log probabilities (n, classes); a `TimeClassifier` of points (rows, dim) when None.
        batch_size, learning_rate, resume: as elsewhere.
        generator: draws rows, times and noise, on the device of `data`.

    Yields:
        A `TrainingState` for each update.

    Raises:
        TypeError: `data` is not a floating tensor, or labels are not whole numbers.
        ValueError: shapes disagree, a class without points, a count below 1, or as `training.train`. At the call.
    """
    require_batch("data", data)
    require_labels("labels", labels, len(data))
    present = labels.unique().tolist()
    require(present == list(range(len(present))), "labels", present, "0, 1, 2 and so on, each class with a point")
    require_count("batch_size", batch_size, 1)
    if classifier is None:
        require(
            data.ndim == 2, "data", f"of shape {tuple(data.shape)}", "points (rows, dim), or come with a classifier"
        )
        classifier = TimeClassifier(data.shape[1], len(present)).to(data)
    rows = torch.arange(len(data), device=data.device)

    def loss(classifier: nn.Module) -> Tensor:
        chosen = draw_batch(rows, batch_size, generator)
        like = {"generator": generator, "dtype": data.dtype, "device": data.device}
        t = torch.rand(batch_size, **like)
        x = add_noise(data[chosen], t, torch.randn(batch_size, *data.shape[1:], **like))
        return nn.functional.nll_loss(classifier(x, t), labels[chosen].long())

    return train(classifier, loss, steps, learning_rate, generator=generator, resume=resume)


def sample_classifier_guided(
    conditional: Conditional,
    log_probs: LogProbs,
    weight: Number,
    labels: Int[Tensor, " n"],
    x: Float[Tensor, "n *event"],
    times: Float[Tensor, " times"],
    churn: Number = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "n *event"]]:
    """Walk `x` down `times`, each clean point moved along the classifier's gradient; yields every state.

    A step costs one call of the model and one call of the classifier with its gradient.

    Args:
        conditional: callable (x, t, labels) -> (n, *event), the prediction of x0; called without gradients. With an
            unconditional model behind it (its labels not looked at) and the perfect classifier, weight 1 gives the
            classes' own laws; behind a conditional model the weight counts from there.
        log_probs: callable (x, t) -> log p(class | x_t), (n, classes), differentiable in x.
        weight: a number, 0 for none.
        labels: the classes wanted (n,).
        x, times, churn, generator: as `diffusion.sample`.

    Raises:
        TypeError: `x` is no floating tensor, labels are not whole numbers, or a callable is none.
        ValueError: a weight that is not finite, churn or times out of range; while it walks, answers of another shape.
    """
    require_callable("conditional", conditional, "a callable (x, t, labels) -> x0")
    require_callable("log_probs", log_probs, "a callable (x, t) -> (n, classes)")
    require_in("weight", weight, "(-inf, inf)")
    require_batch("x", x)
    require_labels("labels", labels, len(x))

    @torch.no_grad()
    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        x0, near = conditional(x, t, labels), t.clamp(max=1 - CLOSEST)
        require_like("conditional(x, t, labels)", x0, "x", x)
        return x0 + weight * sigma(near) ** 2 / alpha(near) * class_gradient(log_probs, x, near, labels)

    return sample(denoiser, x, as_times(times), churn, generator)


def class_gradient(
    log_probs: LogProbs, x: Float[Tensor, "n *event"], t: Time, labels: Int[Tensor, " n"]
) -> Float[Tensor, "n *event"]:
    """Gradient of `log p(label | x_t)` with respect to x, each row with its own label.

    Raises:
        ValueError: `log_probs` gives no (n, classes), or a label is none of its classes (read on a CPU alone: on a
            GPU that would wait).
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        answer = log_probs(x, t)
        fits = answer.ndim == 2 and len(answer) == len(x)
        require(fits, "log_probs(x, t)", f"of shape {tuple(answer.shape)}", f"of shape ({len(x)}, classes)")
        if labels.device.type == "cpu":
            inside = bool(((labels >= 0) & (labels < answer.shape[1])).all())
            require(inside, "labels", "outside in some row", f"from 0 to {answer.shape[1] - 1}")
        return torch.autograd.grad(answer.gather(1, labels[:, None].long()).sum(), x)[0]
