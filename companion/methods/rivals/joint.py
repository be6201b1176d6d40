"""Rules for the last layer that lesson 05 compares the closed form with; `train_last_layer` trains with any of them.

- `JointLayer`: W is a parameter like all others. What everybody does.
- `GradientStep`: the proximal step with its solve left out. Same order, same second forward, and a gradient step on W.
  Where this does as well, the solve was not what helped.
- `ThroughSolve`: the full solve with its graph, differentiated by autograd. Variable projection (Golub and Pereyra,
  SIAM Journal on Numerical Analysis 1973). The envelope theorem says that the graph is for nothing.
- `MovingAverage`: an average of the batches' own ridge solutions. It lags behind the backbone.

>>> from functools import partial
>>> from companion.foundations.networks import MLP
>>> from companion.methods.last_layer import train_last_layer
>>> generator, _ = torch.Generator().manual_seed(0), torch.manual_seed(0)
>>> x = 4 * torch.rand(256, 1, generator=generator) - 2
>>> y = torch.sin(3 * x)
>>> backbone = nn.Sequential(MLP(1, 32, width=32, depth=1), nn.Tanh())
>>> for state in train_last_layer(backbone, (x, y), 300, partial(JointLayer, generator=generator)):
...     pass
>>> bool((state.predict(x) - y).square().mean() < 1e-2)
True
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from companion.foundations.linear import ridge_ex
from companion.foundations.validation import Number, require_in
from companion.methods.last_layer import FullSolve, LastLayer


class JointLayer(LastLayer):
    """W walks with the backbone, in the same optimizer.

    Args:
        weights, rows: as `LastLayer`; of `weights` the shape and dtype count, its values do not.
        rate_factor: what the learning rate is multiplied by for W; above 0.
        ridge: None starts W as `nn.Linear` does, uniformly within 1/sqrt(p); a number, above 0, starts it at the ridge
            solution for the first batch.
        generator: draws the start.

    Raises:
        TypeError, ValueError: a number out of range.
    """

    def __init__(
        self,
        weights: Float[Tensor, "p k"],
        rows: int,
        rate_factor: Number = 1.0,
        ridge: Number | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(weights, rows)
        require_in("rate_factor", rate_factor, "(0, inf)")
        if ridge is not None:
            require_in("ridge", ridge, "(0, inf)")
        self.rate_factor, self.ridge = rate_factor, ridge
        del self.weights
        bound = len(weights) ** -0.5
        self.walked = nn.Parameter(torch.empty_like(weights).uniform_(-bound, bound, generator=generator))

    @property
    def weights(self) -> Tensor:
        return self.walked.detach()

    @torch.no_grad()
    def first(self, features, targets):
        if self.ridge is not None:
            _solve_into(self, self.walked, features, targets, self.ridge)

    def before(self, features, targets):
        return self.walked


class GradientStep(LastLayer):
    """`ProximalStep` with a gradient step on W, of rate `rate`, in the place of its solve.

    To first order in `rate` it is the proximal step of strength 1/rate.

    Args:
        weights, rows: as `LastLayer`.
        rate: above 0.
        ridge: None takes the first gradient step from where W is, at 0; a number, above 0, starts W at the ridge solution
            for the first batch.

    Raises:
        TypeError, ValueError: a number out of range.
    """

    second_forward = True

    def __init__(
        self, weights: Float[Tensor, "p k"], rows: int, rate: Number = 0.1, ridge: Number | None = None
    ) -> None:
        super().__init__(weights, rows)
        require_in("rate", rate, "(0, inf)")
        if ridge is not None:
            require_in("ridge", ridge, "(0, inf)")
        self.rate, self.ridge = rate, ridge

    @torch.no_grad()
    def first(self, features, targets):
        if self.ridge is None:
            self.after(features, targets)
        else:
            _solve_into(self, self.weights, features, targets, self.ridge)

    @torch.no_grad()
    def after(self, features, targets):
        features, targets = features.to(self.weights), targets.to(self.weights)
        slope = features.T @ (features @ self.weights - targets) / len(features)
        self.weights.sub_(slope, alpha=self.rate)


class ThroughSolve(FullSolve):
    """`FullSolve` with its graph: the gradient also goes through the solve, where it meets nothing but rounding.

    The loss that is trained has no `ridge/2 |W|^2`, of which W would feel `ridge W`. We add that to what comes back to W:
    only with it is W where the loss is flat in W.

    Args:
        weights, rows: as `LastLayer`.
        ridge: not negative.

    Raises:
        TypeError, ValueError: a number out of range.
    """

    def __init__(self, weights: Float[Tensor, "p k"], rows: int, ridge: Number = 1e-5) -> None:
        require_in("ridge", ridge, "[0, inf)")
        super().__init__(weights, rows, ridge)

    def before(self, features, targets):
        weights, status = ridge_ex(features.to(self.weights), targets.to(self.weights), len(features) * self.ridge)
        solved = weights.detach()
        if weights.requires_grad:
            weights.register_hook(lambda slope: slope + self.ridge * solved)
        self.weights.copy_(solved)
        self.note(status)
        return weights.to(features)


class MovingAverage(LastLayer):
    """As `ProximalStep`, but W is an exponential average of the batches' own ridge solutions.

    Each of them was best for the backbone of its time, so that the average lags; and while the proximal step moves W only
    along features of the batch, the average moves all of it.

    Args:
        weights, rows: as `LastLayer`.
        ridge: of the batches' solutions, above 0.
        keep: what is kept of the average at each batch, in [0, 1); with 0 it is the last batch's solution.

    Raises:
        TypeError, ValueError: a number out of range.
    """

    second_forward = True

    def __init__(self, weights: Float[Tensor, "p k"], rows: int, ridge: Number = 1e-3, keep: Number = 0.95) -> None:
        super().__init__(weights, rows)
        require_in("ridge", ridge, "(0, inf)")
        require_in("keep", keep, "[0, 1)")
        self.ridge, self.keep = ridge, keep

    @torch.no_grad()
    def first(self, features, targets):
        _solve_into(self, self.weights, features, targets, self.ridge)

    @torch.no_grad()
    def after(self, features, targets):
        previous = self.weights.clone()
        _solve_into(self, self.weights, features, targets, self.ridge)
        self.weights.lerp_(previous, self.keep)


def _solve_into(layer: LastLayer, weights: Tensor, features: Tensor, targets: Tensor, ridge: Number) -> None:
    """Put the ridge solution for these rows into `weights` and note the solve's status."""
    solved, status = ridge_ex(features.to(weights), targets.to(weights), len(features) * ridge)
    weights.copy_(solved)
    layer.note(status)
