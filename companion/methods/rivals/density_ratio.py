"""How many times denser are the data than the model's samples, at a noisy point? A discriminator knows.

A network that tells noised data from noised samples of the model, shown equally often, has the logit
`log p_t(x | class) - log q_t(x | class)`, p the data and q the model. It can judge where guided steps land
(`feedback_guidance`; then the samples must include guided ones) and weigh particles (`guidance_resampling`).

Source: Kim, Kim, Kwon, Kang and Moon, "Refining Generative Process with Discriminator Guidance in Score-based
Diffusion Models", ICML 2023 (arXiv 2211.17091), who add the logit's gradient to the score. Simplified: a
perceptron of points with a one-hot class, uniform times and no weighting of them.

>>> from companion.data.labelled import four_classes
>>> data, samples, generator = four_classes(), four_classes(std=0.4), torch.Generator().manual_seed(0)
>>> pairs = *data.sample_labelled(1000, generator), *samples.sample_labelled(1000, generator)
>>> for state in train_density_ratio(*pairs, steps=10, generator=generator):
...     pass
>>> state.model(torch.zeros(4, 2), 0.1, torch.arange(4)).shape
torch.Size([4])
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from companion.foundations.diffusion import Time, add_noise, as_time
from companion.foundations.networks import MLP, time_features
from companion.foundations.training import TrainingState, draw_batch, train
from companion.foundations.validation import (
    Number,
    require,
    require_batch,
    require_count,
    require_labels,
    require_same_event,
)


class DensityRatio(nn.Module):
    """Log ratio of noised data to noised samples: (x (n, dim), t, labels (n,)) -> (n,), a small perceptron.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, dim: int, num_classes: int, width: int = 64, depth: int = 3, waves: int = 6) -> None:
        super().__init__()
        require_count("num_classes", num_classes, 1)
        self.dim, self.num_classes, self.waves = dim, num_classes, waves
        self.net = MLP(dim + 2 * waves + 1 + num_classes, 1, width, depth)

    def forward(self, x: Float[Tensor, "n dim"], t: Time, labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        require(x.ndim == 2 and x.shape[1] == self.dim, "x", f"of shape {tuple(x.shape)}", f"of shape (n, {self.dim})")
        require_labels("labels", labels, len(x))
        if labels.device.type == "cpu":  # elsewhere reading them would wait for the queue
            inside = bool(((labels >= 0) & (labels < self.num_classes)).all())
            require(inside, "labels", "outside in some row", f"from 0 to {self.num_classes - 1}")
        time = time_features(as_time(t, x).reshape(-1), self.waves).expand(len(x), -1)
        which = nn.functional.one_hot(labels.long(), self.num_classes).to(x)
        return self.net(torch.cat([x, time, which], dim=1))[:, 0]


def train_density_ratio(
    data: Float[Tensor, "rows *event"],
    data_labels: Int[Tensor, " rows"],
    samples: Float[Tensor, "drawn *event"],
    sample_labels: Int[Tensor, " drawn"],
    steps: int,
    ratio: nn.Module | None = None,
    batch_size: int = 256,
    learning_rate: Number = 2e-3,
    generator: torch.Generator | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[TrainingState]:
    """Train a network to tell noised data from noised samples, by logistic loss at uniform times.

    Batches hold all classes equally often, as many data as samples. Few data are soon known by heart, and the ratio is
    then too large at them: train for few updates, or take more data.

    Args:
        data, data_labels: clean points (rows, *event) and their classes (rows,).
        samples, sample_labels: the model's, likewise, every class of the data among them and no other.
        steps: updates, each of one call on twice the batch.
        ratio: (x, t (n,), labels (n,)) -> logits (n,); a `DensityRatio` of points (rows, dim) when None.
        batch_size: data of a batch, about: it is the same for every class.
        learning_rate, resume: as elsewhere.
        generator: draws rows, times and noise, on the device of `data`.

    Yields:
        A `TrainingState` for each update; `state.model(x, t, labels)` is the log ratio.

    Raises:
        TypeError: points that are no floating tensors of one dtype, or labels that are not whole numbers.
        ValueError: shapes disagree, a class without data or without samples, a count below 1, or as
            `training.train`. At the call.
    """
    require_batch("data", data)
    require_batch("samples", samples)
    require_same_event("data", data, "samples", samples)
    require_labels("data_labels", data_labels, len(data))
    require_labels("sample_labels", sample_labels, len(samples))
    present, drawn = data_labels.unique().tolist(), sample_labels.unique().tolist()
    every = present == list(range(len(present)))
    require(every, "data_labels", present, "0, 1, 2 and so on, each class with a point")
    require(drawn == present, "sample_labels", drawn, f"of the classes of the data, {present}")
    require_count("batch_size", batch_size, 1)
    if ratio is None:
        require(data.ndim == 2, "data", f"of shape {tuple(data.shape)}", "points (rows, dim), or come with a network")
        ratio = DensityRatio(data.shape[1], len(present)).to(data)
    own = [(data_labels == label).nonzero()[:, 0] for label in present]
    others = [(sample_labels == label).nonzero()[:, 0] for label in present]
    each = -(-batch_size // len(present))
    labels = torch.arange(len(present), device=data.device).repeat_interleave(each).repeat(2)
    is_data = (torch.arange(len(labels), device=data.device) < len(labels) // 2).to(data)

    def loss(ratio: nn.Module) -> Tensor:
        true = data[torch.cat([draw_batch(rows, each, generator) for rows in own])]
        false = samples[torch.cat([draw_batch(rows, each, generator) for rows in others])]
        x0, like = torch.cat([true, false]), {"generator": generator, "dtype": data.dtype, "device": data.device}
        t = torch.rand(len(true), **like).repeat(2)
        x = add_noise(x0, t, torch.randn(x0.shape, **like))
        return nn.functional.binary_cross_entropy_with_logits(ratio(x, t, labels), is_data)

    return train(ratio, loss, steps, learning_rate, generator=generator, resume=resume)
