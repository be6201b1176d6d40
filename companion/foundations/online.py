"""Learning on a stream, test then train: each row is predicted before it is learned, so its score is honest.

What learns is an `OnlineLearner`; `run_stream` takes it through a stream of features and labels and yields a state after
each block of rows. Every row is scored by the learner as it was before it saw that row's label.

>>> class Frequencies(OnlineLearner):
...     def __init__(self, num_classes):
...         super().__init__()
...         self.register_buffer("counts", torch.ones(num_classes))
...     def log_probabilities(self, features, generator=None):
...         return (self.counts / self.counts.sum()).log().expand(len(features), -1)
...     def update(self, features, targets):
...         self.counts += torch.nn.functional.one_hot(targets.argmax(1), len(self.counts)).sum(0)
>>> features, labels = torch.ones(50, 1), torch.ones(50, dtype=torch.long)
>>> for state in run_stream(Frequencies(2), features, labels, num_classes=2):
...     pass
>>> state.rows, round(state.log_prob.exp().item(), 2)
(50, 0.98)
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from companion.foundations.linear import require_solved
from companion.foundations.validation import require, require_count, require_floating, require_labels, require_resume


class OnlineLearner(nn.Module, ABC):
    """A classifier that learns from a stream, in three calls for each block of rows, in this order:

        log_prob = learner.log_probabilities(features).gather(1, labels[:, None])[:, 0]     # the score of the block
        learner.adapt(log_prob)                                                            # descend on that score
        learner.update(features, targets)                                                  # absorb the block

    Most need one of the last two only: what learns by a gradient overrides `descend`, what solves overrides `update`.
    """

    @abstractmethod
    def log_probabilities(
        self, features: Float[Tensor, "b m"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "b K"]:
        """Log-probability of each class, differentiable in the features and in what is learned by a gradient."""

    def adapt(self, log_prob: Float[Tensor, " b"]) -> None:
        """One step uphill on the mean of a block's log-probabilities; gradients also reach whatever made the features."""
        if log_prob.requires_grad:
            log_prob.mean().neg().backward()
            with torch.no_grad():
                self.descend()
            self.zero_grad(set_to_none=True)

    def descend(self) -> None:
        """Move own parameters along the gradients that `adapt` has left in them, of the mean loss of a block."""

    def update(self, features: Float[Tensor, "b m"], targets: Float[Tensor, "b K"]) -> None:
        """Absorb a block; `targets` are centred one-hot rows, so `targets.argmax(1)` are the labels."""


def centred_one_hot(
    labels: Int[Tensor, " b"], num_classes: int, dtype: torch.dtype | None = None
) -> Float[Tensor, "b K"]:
    """Rows `e_label - 1/K`: what a linear model is taught instead of a class.

    Raises:
        TypeError, ValueError: labels that are not (b,) whole numbers below `num_classes`.
    """
    require_count("num_classes", num_classes, 2)
    require_labels("labels", labels, classes=num_classes)
    one_hot = nn.functional.one_hot(labels.long(), num_classes)
    return one_hot.to(dtype or torch.get_default_dtype()) - 1 / num_classes


@dataclass
class StreamState:
    """One moment of a stream.

    Attributes:
        step: blocks taken so far, counted from 1.
        rows: rows taken so far.
        log_prob: of the labels of the rows since the state before, each scored before it was learned (r,).
        correct: whether the class of the highest probability was the label (r,).
        learner: what learns.
        backbone: what makes its features, or None.
    """

    step: int
    rows: int
    log_prob: Float[Tensor, " r"]
    correct: Bool[Tensor, " r"]
    learner: OnlineLearner
    backbone: nn.Module | None
    _resumable: Callable[[], dict[str, Any]]

    def state_dict(self) -> dict[str, Any]:
        """Everything that `resume` needs to go on as if the stream had never stopped."""
        return self._resumable()


def run_stream(
    learner: OnlineLearner,
    features: Float[Tensor, "n ..."],
    labels: Int[Tensor, " n"],
    *,
    num_classes: int | None = None,
    batch_size: int = 1,
    backbone: nn.Module | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    every: int = 1,
    generator: torch.Generator | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[StreamState]:
    """Take a learner through a stream, test then train.

    For each block of rows: score it; descend on that score, with the learner's own parameters and, if there is one, with
    the backbone; then absorb the block, by the features of the backbone as it is now (a second forward pass).

    Args:
        learner: changed in place.
        features: of the rows, in the order of time (n, m); what the backbone takes (n, ...) if there is one.
        labels: (n,) whole numbers from 0.
        num_classes: K; `learner.num_classes` unless given.
        batch_size: rows of a block; the last block may be shorter.
        backbone: makes features from its input and is fine-tuned; changed in place.
        optimizer: of the backbone's parameters.
        every: how many blocks apart states are yielded; the last block always yields one.
        generator: of what the learner draws.
        resume: a `StreamState.state_dict()`; give the same stream again.

    Raises:
        TypeError, ValueError: bad arguments, raised at the call.
        torch.linalg.LinAlgError: a learner could not solve its system; raised when the next state is due.
    """
    require(isinstance(learner, OnlineLearner), "learner", f"a {type(learner).__name__}", "an OnlineLearner", TypeError)
    require_floating("features", features)
    rows = features.ndim >= 2 and len(features) > 0
    require(rows, "features", f"of shape {tuple(features.shape)}", "of shape (n, ...) with at least one row")
    num_classes = getattr(learner, "num_classes", None) if num_classes is None else num_classes
    require(num_classes is not None, "num_classes", "None", "given for a learner that has no num_classes")
    require_count("num_classes", num_classes, 2)
    require_labels("labels", labels, len(features), num_classes)
    require_count("batch_size", batch_size, 1)
    require_count("every", every, 1)
    module = backbone is None or isinstance(backbone, nn.Module)
    require(module, "backbone", f"a {type(backbone).__name__}", "a torch.nn.Module or None", TypeError)
    both = (backbone is None) == (optimizer is None)
    require(both, "optimizer", "None" if optimizer is None else "given", "given exactly when a backbone is")
    parts = {"learner": learner, "backbone": backbone, "optimizer": optimizer}
    parts = {name: part for name, part in parts.items() if part is not None}
    require_resume(resume, {*parts, "step", "generator"}, -(-len(features) // batch_size), generator)
    return _run_stream(parts, features, labels, num_classes, batch_size, every, generator, resume)


def _run_stream(parts, features, labels, num_classes, batch_size, every, generator, resume):
    learner, backbone, optimizer = (parts.get(name) for name in ("learner", "backbone", "optimizer"))
    done = 0
    if resume:
        done = resume["step"]
        for name, part in parts.items():
            part.load_state_dict(resume[name])
        if generator is not None:
            generator.set_state(resume["generator"].cpu())

    def resumable() -> dict[str, Any]:
        saved = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
        return saved | {"step": step, "generator": None if generator is None else generator.get_state()}

    scores, hits = [], []
    columns, targets = labels.long()[:, None], centred_one_hot(labels, num_classes, features.dtype)
    blocks = range(done * batch_size, len(features), batch_size)
    last = done + len(blocks)
    for step, start in enumerate(blocks, done + 1):
        block = slice(start, start + batch_size)
        x, y = features[block], columns[block]
        rows = x if backbone is None else backbone(x)
        log_probabilities = learner.log_probabilities(rows, generator)
        log_prob = log_probabilities.gather(1, y)[:, 0]
        scores.append(log_prob.detach())
        hits.append(log_probabilities.detach().argmax(1) == y[:, 0])
        learner.adapt(log_prob)
        if backbone is not None:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                rows = backbone(x)
        learner.update(rows.detach(), targets[block].to(rows.dtype))
        if step % every == 0 or step == last:
            if hasattr(learner, "status"):
                require_solved(learner.status)
            yield StreamState(step, start + len(x), torch.cat(scores), torch.cat(hits), learner, backbone, resumable)
            scores, hits = [], []
