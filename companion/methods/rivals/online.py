"""Learners for `run_stream` that lesson 06 compares the Kalman filter with.

- `SoftmaxSGD`: softmax regression by gradient steps, with rows of a memory replayed beside each block if wanted.
- `SoftmaxFTRL`: the same loss, follow the regularised leader (FTRL-Proximal with a rate per weight; H. B. McMahan and
  others, "Ad click prediction: a view from the trenches", KDD 2013, algorithm 1, without the L1 part).
- `ForgetfulRidge`: recursive least squares with a fixed forgetting, and a softmax that learns its scale.
- `ExtendedKalman`: a Kalman filter over all weights of a network, linearised at each block, with the softmax's own noise
  (after P. Chang, G. Duran-Martin, A. Shestopaloff, M. Jones, K. Murphy, "Low-rank extended Kalman filtering for online
  learning of neural networks from streaming data", CoLLAs 2023; ours keeps the whole covariance, so d weights cost O(d^2)).
- `ResetOnDrift`: any learner with `reset`, and a drift detector that says when.

>>> from companion.data.streams import moving_classes
>>> from companion.foundations.online import run_stream
>>> stream = moving_classes(400, "none", generator=torch.Generator().manual_seed(0))
>>> for state in run_stream(SoftmaxSGD(2, 3, 1.0), stream.features, stream.labels, every=400):
...     pass
>>> bool(state.correct.double().mean() > 0.9)
True
"""

import copy
import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from companion.foundations.linear import RecursiveLeastSquares, predict
from companion.foundations.online import OnlineLearner
from companion.foundations.validation import Number, require, require_callable, require_count, require_in
from companion.methods.kalman import KalmanHead


class _Softmax(OnlineLearner):
    """Softmax regression whose W (m, K) starts at 0."""

    def __init__(
        self, num_features: int, num_classes: int, dtype: torch.dtype, device: torch.device | str | None
    ) -> None:
        super().__init__()
        _require_sizes(num_features, num_classes)
        self.num_classes = num_classes
        self.weights = nn.Parameter(torch.zeros(num_features, num_classes, dtype=dtype, device=device))

    def log_probabilities(self, features, generator=None):
        return torch.log_softmax(features.to(self.weights) @ self.weights, -1)


class SoftmaxSGD(_Softmax):
    """Softmax regression, `softmax(W' phi)`, one step of plain gradient descent per block.

    Args:
        num_features, num_classes: m and K; W starts at 0.
        learning_rate: of the mean loss of the block, and the replayed rows if there are any.
        replay: rows of the memory that are learned again beside each block.
        memory: how many of the latest rows are kept to replay from.
        generator: draws the replayed rows; on the device of the weights.
        dtype, device: of the weights.

    Raises:
        TypeError, ValueError: a number out of range.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        learning_rate: Number,
        *,
        replay: int = 0,
        memory: int = 300,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(num_features, num_classes, dtype, device)
        require_in("learning_rate", learning_rate, "(0, inf)")
        require_count("replay", replay, 0)
        require_count("memory", memory, 1)
        self.learning_rate, self.replay, self.generator, self.seen = learning_rate, replay, generator, 0
        self.register_buffer("kept", torch.zeros(memory if replay else 0, num_features, dtype=dtype, device=device))
        self.register_buffer("labels", torch.zeros(memory if replay else 0, dtype=torch.long, device=device))

    def adapt(self, log_prob):
        filled = min(self.seen, len(self.kept))
        if self.replay and filled:
            rows = torch.randint(filled, (self.replay,), generator=self.generator, device=self.kept.device)
            again = self.log_probabilities(self.kept[rows]).gather(1, self.labels[rows, None])[:, 0]
            log_prob = torch.cat([log_prob, again])
        super().adapt(log_prob)

    def descend(self):
        self.weights.sub_(self.weights.grad, alpha=self.learning_rate)

    @torch.no_grad()
    def update(self, features, targets):
        if not self.replay:
            return
        latest = slice(-len(self.kept), None)  # of a block longer than the memory
        places = (self.seen + torch.arange(len(features), device=self.kept.device))[latest] % len(self.kept)
        self.kept[places], self.labels[places] = features[latest].to(self.kept), targets[latest].argmax(1)
        self.seen += len(features)

    def get_extra_state(self) -> dict[str, Any]:
        """What has been seen, and the generator: a resumed run goes on bit by bit."""
        return {"seen": self.seen, "generator": self.generator and self.generator.get_state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up what `get_extra_state` gave."""
        self.seen = state["seen"]
        if self.generator is not None:
            self.generator.set_state(state["generator"])


class SoftmaxFTRL(_Softmax):
    """Softmax regression by FTRL-Proximal: each weight minimises all its gradients so far, linearised, plus a quadratic.

        w = -z / ((1 + sqrt(n)) / rate + l2),   n = sum of squared gradients,  z = sum of gradients - sigma w

    Args:
        num_features, num_classes: m and K; W starts at 0.
        rate: of learning.
        l2: pulls towards 0.
        dtype, device: of the weights.

    Raises:
        TypeError, ValueError: a number out of range.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        rate: Number,
        l2: Number = 0.0,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(num_features, num_classes, dtype, device)
        require_in("rate", rate, "(0, inf)")
        require_in("l2", l2, "[0, inf)")
        self.rate, self.l2 = rate, l2
        self.register_buffer("z", torch.zeros_like(self.weights))
        self.register_buffer("n", torch.zeros_like(self.weights))

    def descend(self):
        gradient, before = self.weights.grad, self.n.sqrt()
        self.n.addcmul_(gradient, gradient)
        sigma = (self.n.sqrt() - before) / self.rate
        self.z.add_(gradient - sigma * self.weights)
        self.weights.copy_(-self.z / ((1 + self.n.sqrt()) / self.rate + self.l2))


class ForgetfulRidge(OnlineLearner):
    """`RecursiveLeastSquares` on centred one-hot targets, predicting `softmax(alpha W' phi)` with alpha learned.

    The Kalman filter without its uncertainty: rows fade exponentially, and the prediction takes W for certain.

    Args:
        num_features, num_classes: m and K; W starts at 0.
        penalty: weight of the prior, counted in rows.
        forgetting: what a row's weight is multiplied by with every later block, in [0, 1].
        alpha: scale of the softmax at the start.
        alpha_rate: of gradient steps on log alpha.
        dtype, device: of the weights.

    Raises:
        TypeError, ValueError: a number out of range.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        penalty: Number,
        forgetting: Number,
        *,
        alpha: Number = 5.0,
        alpha_rate: Number = 1e-2,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        _require_sizes(num_features, num_classes)
        require_in("alpha", alpha, "(0, inf)")
        require_in("alpha_rate", alpha_rate, "[0, inf)")
        self.num_classes, self.alpha_rate = num_classes, alpha_rate
        zeros = torch.zeros(num_features, num_classes, dtype=dtype, device=device)
        self.memory = RecursiveLeastSquares(zeros, penalty, forgetting)
        self.log_alpha = nn.Parameter(torch.tensor(math.log(alpha), dtype=dtype, device=device))
        self.register_buffer("status", torch.zeros((), dtype=torch.int32, device=device))

    def log_probabilities(self, features, generator=None):
        return torch.log_softmax(self.log_alpha.exp() * predict(features.to(self.log_alpha), self.memory.weights), -1)

    def descend(self):
        self.log_alpha.sub_(self.log_alpha.grad, alpha=self.alpha_rate)

    def update(self, features, targets):
        status = self.memory.update_ex(features.to(self.log_alpha), targets.to(self.log_alpha))
        torch.maximum(self.status, status, out=self.status)


class ExtendedKalman(OnlineLearner):
    """A Kalman filter over all d weights of a network that gives logits, linearised at the mean for each block.

        w_n | w_{n-1} ~ N(w_0 + gamma (w_{n-1} - w_0), (1 - gamma^2) weight_variance I)
        one-hot label ~ (softmax(p), diag(p) - p p'),  with H the Jacobian of the probabilities

    Args:
        network: (b, m) -> (b, K); its weights are the start w_0 and are not changed.
        num_classes: K.
        weight_variance: of the prior around w_0.
        gamma: as of `KalmanHead`, fixed.
        jitter: added to the variances of the labels, whose covariance is singular.

    Raises:
        TypeError, ValueError: no network, or a number out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        weight_variance: Number = 1.0,
        gamma: Number = 1.0,
        jitter: Number = 1e-2,
    ) -> None:
        super().__init__()
        require(
            isinstance(network, nn.Module), "network", f"a {type(network).__name__}", "a torch.nn.Module", TypeError
        )
        _require_sizes(1, num_classes)
        require_in("weight_variance", weight_variance, "(0, inf)")
        require_in("gamma", gamma, "[0, 1]")
        require_in("jitter", jitter, "(0, inf)")
        self.num_classes, self.weight_variance, self.gamma, self.jitter = num_classes, weight_variance, gamma, jitter
        self.shapes = {name: part.shape for name, part in network.named_parameters()}
        self.network = copy.deepcopy(network).requires_grad_(False)
        flat = torch.cat([part.detach().flatten() for part in network.parameters()])
        self.register_buffer("start", flat.clone())
        self.register_buffer("mean", flat)
        self.register_buffer("covariance", weight_variance * torch.eye(len(flat), dtype=flat.dtype, device=flat.device))
        self.register_buffer("status", torch.zeros((), dtype=torch.int32, device=flat.device))

    def log_probabilities(self, features, generator=None):
        return torch.log_softmax(self._logits(self._drifted(), features), -1)

    @torch.no_grad()
    def update(self, features, targets):
        self.mean.copy_(self._drifted())
        self.covariance.mul_(self.gamma**2).diagonal().add_((1 - self.gamma**2) * self.weight_variance)
        jacobian = torch.func.jacrev(lambda flat: self._logits(flat, features).softmax(-1))(self.mean)
        probabilities = self._logits(self.mean, features).softmax(-1)
        jacobian = jacobian.flatten(0, 1)  # (b K, d)
        noise = torch.block_diag(*(p.diag() - torch.outer(p, p) for p in probabilities))
        cross = jacobian @ self.covariance
        innovation = cross @ jacobian.T + noise
        innovation.diagonal().add_(self.jitter)
        factor, status = torch.linalg.cholesky_ex(innovation)
        torch.maximum(self.status, status, out=self.status)
        residual = (targets.to(self.mean) + 1 / self.num_classes - probabilities).flatten()
        whitened = torch.linalg.solve_triangular(factor, cross, upper=False)
        solved = torch.linalg.solve_triangular(factor, residual[:, None], upper=False)[:, 0]
        self.mean.add_(whitened.T @ solved)
        self.covariance.addmm_(whitened.T, whitened, alpha=-1)

    def _drifted(self) -> Float[Tensor, " d"]:
        return self.start + self.gamma * (self.mean - self.start)

    def _logits(self, flat: Float[Tensor, " d"], features: Float[Tensor, "b m"]) -> Float[Tensor, "b K"]:
        parts = flat.split([shape.numel() for shape in self.shapes.values()])
        weights = {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts)}
        return torch.func.functional_call(self.network, weights, features.to(flat))


class Detector(Protocol):
    """What `river.drift` calls a drift detector: it is given the errors one by one and says when they have changed."""

    drift_detected: bool

    def update(self, x: float) -> Any: ...


class ResetOnDrift(OnlineLearner):
    """A `KalmanHead` that starts anew when a detector says that its errors have changed.

    Each row's error is 0 or 1, by the most probable class before the block was absorbed. Detectors live in Python, so this
    waits for the device once per block.

    Args:
        head: what learns, with gamma = 1 for example.
        detector: makes a fresh detector; called again at each alarm.

    Raises:
        TypeError: a head that is none, or a detector that cannot be called.
    """

    def __init__(self, head: KalmanHead, detector: Callable[[], Detector]) -> None:
        super().__init__()
        require(isinstance(head, KalmanHead), "head", f"a {type(head).__name__}", "a KalmanHead", TypeError)
        require_callable("detector", detector, "a callable () -> detector, such as river.drift.ADWIN")
        self.head, self.fresh, self.detector = head, detector, detector()
        self.num_classes, self.alarms = head.num_classes, []
        self.blocks = 0

    @property
    def status(self) -> Tensor:
        return self.head.status

    def log_probabilities(self, features, generator=None):
        return self.head.log_probabilities(features, generator)

    def descend(self):
        self.head.descend()

    @torch.no_grad()
    def update(self, features, targets):
        wrong = self.head.predict(features)[0].argmax(1) != targets.argmax(1)
        alarm = False
        for error in wrong.tolist():
            self.detector.update(float(error))
            alarm = alarm or self.detector.drift_detected
        if alarm:
            self.alarms.append(self.blocks)
            self.head.reset()
            self.detector = self.fresh()
        self.head.update(features, targets)
        self.blocks += 1

    def get_extra_state(self) -> dict[str, Any]:
        """The detector, the alarms so far and the blocks seen."""
        return copy.deepcopy({"detector": self.detector, "alarms": self.alarms, "blocks": self.blocks})

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up what `get_extra_state` gave."""
        for name, value in copy.deepcopy(state).items():
            setattr(self, name, value)


def _require_sizes(num_features: int, num_classes: int) -> None:
    require_count("num_features", num_features, 1)
    require_count("num_classes", num_classes, 2)
