"""Other learners for a stream of tasks.

- `soup` starts each task from the mean of the last networks' weights: no search, and no store but those.
- `closed_form` asks one trained network for its representation and solves for a linear head: no training at all.

Sources: Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without
increasing inference time" (2022), arXiv 2203.05482, for means of weights; ridge regression for the head.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import one_hot

from companion.data.streams.events import TaskKind, TaskStream
from companion.foundations.linear import ridge
from companion.foundations.validation import Number, require, require_count, require_in
from companion.methods.nevis import (
    Learner,
    Meter,
    Network,
    Recipe,
    Start,
    State,
    TaskData,
    body_of,
    calibrate,
    fine_tuning,
    make,
    num_classes_of,
    predict_stored,
    representation,
    require_call,
    require_module,
    task_data,
    task_error,
    usage_of,
)


def soup(stream: TaskStream, network: Network, recipe: Recipe | None = None, seed: int = 0, last: int = 4) -> Learner:
    """Each task starts from the mean of the last networks' weights and statistics.

    Args:
        last: how many of the newest networks are in the mean.

    The other arguments and errors as `companion.methods.nevis.fine_tuning`; ValueError, too, for `last` below 1.

    Source: the uniform soup of Wortsman et al. (2022), section 2, of one network's descendants on different tasks
    instead of one task's runs.
    """
    require_count("last", last, 1)

    def choose(task: TaskData, bodies: list[Tensor], fresh: nn.Module) -> Start:
        return Start(torch.stack(bodies[-last:]).mean(0)) if bodies else Start()

    return fine_tuning(stream, network, choose, recipe, seed)


def closed_form(
    stream: TaskStream,
    model: nn.Module,
    penalties: Sequence[Number] = (1e-3, 1e-2, 1e-1),
    recipe: Recipe | None = None,
) -> Learner:
    """A trained network that stays as it is but for its batch norms' statistics, with a head by ridge regression on each
    task's centred targets.

    Each penalty is tried, the best on the development pictures is kept. Counted are the pictures' passes, the normal
    equations and their solutions; what the network's training cost is not in the count.

    Args:
        stream: whose data sets it asks for by their keys.
        model: any network of such pictures with a linear layer at its end; left as it is.
        penalties: in units of the number of pictures times the representation's variance.
        recipe: of which `calibration` counts.

    Raises:
        TypeError: no stream, no module or no recipe.
        ValueError: no penalty, or one that is not positive.
    """
    require_module(model)
    require_call(stream, model, recipe, 0)
    require(len(penalties) > 0, "penalties", "empty", "at least one number")
    for penalty in penalties:
        require_in("penalties", penalty, "(0, inf)")
    recipe, meter = recipe or Recipe(), Meter()

    def init() -> State:
        return {"names": [], "bodies": [], "heads": [], "training": []}

    def train(event, state, write_checkpoint, *, checkpoint_to_resume=None):
        own = make(model, num_classes_of(stream, event), 0, 0)
        task = task_data(stream, event, own)
        spent = calibrate(own, task, recipe, meter)
        features = representation(own, task.images, own_statistics=False)
        queries = representation(own, task.dev_images, own_statistics=False)
        spent += meter(own, task.images) + meter(own, task.dev_images)
        heads = [solved_head(features, task, penalty) for penalty in penalties]
        rows, width = features.shape
        spent += len(heads) * (2 * rows * width * (width + task.num_classes) + width**3 / 3)
        errors = [task_error(task.kind, queries @ head[:, :-1].T + head[:, -1], task.dev_target) for head in heads]
        best = heads[errors.index(min(errors))]
        new = {"names": task.name, "bodies": body_of(own), "heads": best, "training": spent}
        state = {name: [*values, new[name]] for name, values in state.items()}
        return state, usage_of(spent, [*state["heads"], *model.parameters()])

    return Learner(init, train, predict_stored(stream, model))


def solved_head(features: Float[Tensor, "n p"], task: TaskData, penalty: Number) -> Float[Tensor, "k p1"]:
    """Ridge regression of a task's targets, as a linear layer with its bias as a last column.

    Targets of classes are 0 and 1. Both sides are centred, so that the penalty leaves the bias free.

    Args:
        penalty: in units of n times the representation's variance.
    """
    target = one_hot(task.target, task.num_classes) if task.kind is TaskKind.CLASSIFICATION else task.target
    target = target.to(features)
    middle, mean = features.mean(0), target.mean(0)
    strength = float(penalty) * len(features) * (features - middle).square().mean().item()
    weights = ridge(features - middle, target - mean, strength)
    return torch.cat([weights.T, (mean - middle @ weights)[:, None]], dim=1)
