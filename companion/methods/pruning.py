"""Compute-optimal transfer: prune a pretrained network before it is fine-tuned.

Every convolution whose filters only feed other convolutions, as the hidden ones of a residual block do, loses its
weakest filters, and what reads them loses those inputs; no data are needed. Blocks keep their width and the
representation its size, so that the rest of the network still fits. A pruned network starts a little worse and its
steps are cheaper: `accuracy_compute_curve` shows what that is worth at equal compute.

>>> from companion.foundations.residual import ExpandedResidualNet
>>> model = ExpandedResidualNet()
>>> small = prune_filters(model, ratio=0.75, example=torch.zeros(1, 1, 16, 16))
>>> small.blocks[0].conv1, small.head.in_features == model.head.in_features
(Conv2d(16, 16, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False), True)
>>> image = torch.zeros(1, 1, 16, 16)
>>> print(f"{count_flops(small, image) / count_flops(model, image):.2f} of the operations")
0.26 of the operations

Source: Caccia, Galashov, Douillard, Rannen-Triki, Rao, Paganini, Charlin, Ranzato, Pascanu, "Towards Compute-Optimal
Transfer Learning" (2023), arXiv 2304.13164.
"""

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from companion.foundations.validation import (
    Number,
    require,
    require_batch,
    require_callable,
    require_count,
    require_floating,
    require_in,
    require_labels,
)

Criterion: TypeAlias = Literal["l2", "l1", "random"] | Callable[[Tensor], Tensor]
MakeOptimizer: TypeAlias = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
SGD: MakeOptimizer = partial(torch.optim.SGD, lr=0.03, momentum=0.9, nesterov=True)
SAVED = {"call", "place", "number", "steps", "model", "optimizer", "generator"}

# Functions that treat each channel by itself and send it to the same place.
CHANNELWISE = {
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "tanh", "sigmoid"),
    *("hardtanh", "hardswish", "hardsigmoid", "clamp", "dropout", "dropout2d", "feature_dropout", "pad", "interpolate"),
    *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "clone", "contiguous", "to"),
}


@runtime_checkable
class Task(Protocol):
    """What a network is moved to: labelled pictures to learn from and others to be judged by; `companion.data.pictures` has some.

    Attributes:
        name: for the points of a curve.
        train, test: each (images (n, c, h, w), labels (n,)).
        num_classes: labels are 0 to num_classes - 1.
    """

    name: str
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    num_classes: int


# --- pruning ------------------------------------------------------------------------------------------------------


def prune_filters(
    model: nn.Module,
    ratio: Number,
    criterion: Criterion = "l2",
    example: Float[Tensor, "n c h w"] | None = None,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """A smaller copy of `model`: every prunable convolution keeps its `int(h * (1 - ratio))` strongest filters of `h`.

    Kept filters keep their order and their batch norm's scale, shift and statistics. Prunable is what
    `prunable_filters` names; nothing else changes its size.

    Args:
        model: any network that runs on the example; left as it is.
        ratio: of the filters of each such convolution that go, in [0, 1).
        criterion: what a filter's strength is: the norm of its weights, "l2" or "l1"; "random", a number from
            `generator`; or a callable from the weights (h, c, kh, kw) to strengths (h,).
        example: a batch of pictures that the model takes; by default one of zeros, 32 x 32.
        generator: for "random".

    Returns:
        the copy, on the same device, of the same dtype and mode, with parameters of its own.

    Raises:
        TypeError: the model is no module, the ratio no number, or the criterion cannot be called.
        ValueError: a ratio outside [0, 1) or one that would leave a convolution empty, an unknown criterion, no
            prunable convolution, or strengths of another shape.

    Source: the paper's zero-shot structured pruning of convolutional filters.
    """
    require_in("ratio", ratio, "[0, 1)")
    named = isinstance(criterion, str)
    require(
        not named or criterion in ("l2", "l1", "random"),
        "criterion",
        repr(criterion),
        '"l2", "l1", "random" or a callable',
    )
    if not named:
        require_callable("criterion", criterion, "a callable from weights (h, c, kh, kw) to strengths (h,)")
    model, groups = _traced(model, example)
    ordered = [strongest_first(_strengths(group.conv.weight.detach(), criterion, generator)) for group in groups]
    kept = [order[: filters_kept(len(order), ratio)].sort().values for order in ordered]
    for group, places in zip(groups, kept):
        _keep(group, places)
    return model


def filters_kept(filters: int, ratio: Number) -> int:
    """`int(filters * (1 - ratio))`, as floating point has it: a ratio of .9 leaves 1 of 20.

    Raises:
        ValueError: none would be left.
    """
    kept = int(filters * (1 - ratio))
    require(kept > 0, "ratio", ratio, f"small enough to leave one of {filters} channels")
    return kept


def strongest_first(strengths: Float[Tensor, " h"]) -> Int[Tensor, " h"]:
    """Places of the filters by their strength; of two that are equal, the earlier comes first."""
    return strengths.argsort(descending=True, stable=True)


def prunable_filters(model: nn.Module, example: Float[Tensor, "n c h w"] | None = None) -> dict[str, int]:
    """The convolutions that `prune_filters` would prune, by their names in `model`, each with its number of filters.

    These are the convolutions whose every reader, behind batch norms, activations, pooling and depthwise convolutions,
    is another convolution. Left out are those that see the pictures themselves, those whose output is added to another,
    multiplied, concatenated or flattened, those that are used twice, and those whose weights are made anew at each
    call: so a residual stream and the representation keep their size.

    Raises:
        TypeError: the model is no module.
        ValueError: there is none.
    """
    return {group.name: group.conv.out_channels for group in _traced(model, example)[1]}


@dataclass
class _Group:
    """A convolution whose filters can go, with all that has to follow: same channels in between, inputs of the readers."""

    name: str
    conv: nn.Conv2d
    between: list[nn.Module]
    readers: list[nn.Conv2d]


@dataclass
class _Call:
    """One function call of a forward pass, with the convolution or batch norm whose weights it used."""

    name: str
    module: nn.Module | None
    inputs: list[Tensor]
    outputs: list[Tensor]


class _Recorder(TorchFunctionMode):
    """Notes every call of a forward pass that makes tensors from tensors, in their order."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.owners: dict[int, nn.Module] = {}
        for each in model.modules():
            if isinstance(each, nn.Conv2d | nn.BatchNorm2d):
                own = each._parameters.get("weight")  # None for weights that are made anew at each call
                own = each._buffers.get("running_mean") if own is None and isinstance(each, nn.BatchNorm2d) else own
                if own is not None:
                    self.owners[id(own)] = each
        self.calls: list[_Call] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        inputs, outputs = _tensors((args, kwargs)), _tensors(result)
        if inputs and outputs:
            name = getattr(func, "__name__", "").strip("_")
            if name == "pad" and len(args) > 1 and len(args[1]) > 4:
                name = "pad of channels"
            module = next((self.owners[id(each)] for each in inputs if id(each) in self.owners), None)
            self.calls.append(_Call(name, module, inputs, outputs))
        return result


def _tensors(value: Any) -> list[Tensor]:
    """The tensors in nested containers."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for each in value for tensor in _tensors(each)]
    return [value] if isinstance(value, Tensor) else []


def _traced(model: nn.Module, example: Tensor | None) -> tuple[nn.Module, list[_Group]]:
    """A copy of the model and its prunable convolutions."""
    require(isinstance(model, nn.Module), "model", f"a {type(model).__name__}", "a torch.nn.Module", TypeError)
    model = copy.deepcopy(model)
    first = next((each for each in model.modules() if isinstance(each, nn.Conv2d)), None)
    require(first is not None, "model", "without a convolution", "a network with prunable convolutions")
    if example is None:
        example = first.weight.new_zeros(1, first.in_channels, 32, 32)
    require_floating("example", example)
    modes = {each: each.training for each in model.modules()}
    model.eval()
    with torch.no_grad(), _Recorder(model) as recorder:
        results = _tensors(model(example))
    for each, mode in modes.items():
        each.training = mode
    names = {each: name for name, each in model.named_modules()}
    groups = list(_groups(recorder.calls, example, results, names))
    require(
        bool(groups),
        "model",
        "without a convolution that feeds only convolutions",
        "a network with prunable convolutions",
    )
    return model, groups


def _groups(
    calls: list[_Call], example: Tensor, results: list[Tensor], names: dict[nn.Module, str]
) -> Iterator[_Group]:
    uses = Counter(call.module for call in calls if call.module is not None)
    pictures = {id(example)}  # and what is made of it before the first convolution
    for place, call in enumerate(calls):
        sees_pictures = any(id(each) in pictures for each in call.inputs)
        if call.name != "conv2d":
            if sees_pictures:
                pictures.update(id(each) for each in call.outputs)
        elif not sees_pictures and call.module is not None and call.module.groups == 1:
            group = _Group(names[call.module], call.module, [], [])
            fed = _follow(calls, place, results, group)
            if fed and all(uses[each] == 1 for each in (group.conv, *group.between, *group.readers)):
                yield group


def _follow(calls: list[_Call], start: int, results: list[Tensor], group: _Group) -> bool:
    """Whether the output of a convolution ends in convolutions only; fills the group on the way."""
    waiting, visited = [start], set()
    while waiting:
        made = waiting.pop()
        tensor = calls[made].outputs[0]
        if any(tensor is each for each in results):
            return False
        for place in range(made + 1, len(calls)):
            call = calls[place]
            if place in visited or not any(tensor is each for each in call.inputs):
                continue
            visited.add(place)
            if _reads(call, tensor):
                group.readers.append(call.module)
            elif _passes_on(call, tensor):
                waiting.append(place)
                if call.module is not None:
                    group.between.append(call.module)
            else:
                return False
    return bool(group.readers)


def _reads(call: _Call, tensor: Tensor) -> bool:
    is_conv = call.name == "conv2d" and call.module is not None
    return is_conv and call.inputs[0] is tensor and call.module.groups == 1


def _passes_on(call: _Call, tensor: Tensor) -> bool:
    """Whether a call keeps each channel by itself and in its place."""
    if call.name == "batch_norm":
        return call.module is not None
    if call.name == "conv2d":
        return call.module is not None and call.module.groups == call.module.in_channels == call.module.out_channels
    return call.name in CHANNELWISE and len(call.inputs) == 1 and call.outputs[0].shape[:2] == tensor.shape[:2]


def _strengths(weight: Tensor, criterion: Criterion, generator: torch.Generator | None) -> Float[Tensor, " h"]:
    if criterion == "random":
        device = "cpu" if generator is None else generator.device
        return torch.rand(len(weight), generator=generator, device=device).to(weight.device)
    if isinstance(criterion, str):
        return weight.flatten(1).norm(p=int(criterion[1]), dim=1)
    strengths = criterion(weight)
    fits = isinstance(strengths, Tensor) and strengths.shape == weight.shape[:1]
    came = f"of shape {tuple(strengths.shape)}" if isinstance(strengths, Tensor) else f"a {type(strengths).__name__}"
    require(fits, "criterion(weights)", came, f"a tensor of shape {tuple(weight.shape[:1])}")
    return strengths


def _keep(group: _Group, kept: Int[Tensor, " k"]) -> None:
    """Cut a convolution down to some of its filters, and what follows it to those channels."""
    for module in (group.conv, *group.between):
        cut_channels(module, kept)
    for reader in group.readers:
        cut_channels(reader, kept, inputs=True)


def cut_channels(module: nn.Module, kept: Int[Tensor, " k"], inputs: bool = False) -> None:
    """Cut a layer down, in place, to some of its output channels, or of its inputs.

    Args:
        module: a convolution, a batch norm or a linear layer; a depthwise convolution loses both together.
        kept: places of the channels that stay.
        inputs: cut its inputs and leave its outputs.
    """
    axis = 1 if inputs else 0
    for name in ("weight",) if inputs else ("weight", "bias", "running_mean", "running_var"):
        value = getattr(module, name, None)
        if value is not None:
            smaller = value.detach().index_select(axis, kept)
            is_parameter = isinstance(value, nn.Parameter)
            setattr(module, name, nn.Parameter(smaller, requires_grad=value.requires_grad) if is_parameter else smaller)
    if isinstance(module, nn.BatchNorm2d):
        module.num_features = len(kept)
    elif isinstance(module, nn.Linear):
        setattr(module, "in_features" if inputs else "out_features", len(kept))
    elif module.groups > 1:
        module.in_channels = module.out_channels = module.groups = len(kept)
    else:
        setattr(module, "in_channels" if inputs else "out_channels", len(kept))


# --- operations ---------------------------------------------------------------------------------------------------


def count_flops(model: nn.Module, example: Float[Tensor, "n *event"], training: bool = False) -> int:
    """Floating-point operations of one pass over a batch: two for each product of a matrix product or a convolution.

    Counted by `torch.utils.flop_counter`; elementwise work, norms and pooling count nothing, nor does attention on a
    CPU. A copy of the model is run on the example.

    Args:
        model: any network that gives a tensor.
        example: the batch.
        training: forward and backward in training mode, gradients for the parameters that want them; else forward only.

    Raises:
        TypeError: the model is no module, or the example no floating tensor.
    """
    require(isinstance(model, nn.Module), "model", f"a {type(model).__name__}", "a torch.nn.Module", TypeError)
    require_floating("example", example)
    model = copy.deepcopy(model).train(training)
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _backward_flops})
    devices = [example.device] if example.is_cuda else []
    with torch.random.fork_rng(devices), torch.set_grad_enabled(training), counter:
        output = model(example.detach())
        if output.requires_grad:
            output.sum().backward()
    return counter.get_total_flops()


def _backward_flops(
    gradient, inputs, weight, bias, stride, padding, dilation, transposed, output_padding, groups, wanted, **_
):
    """The gradient of a convolution's inputs and that of its weights cost as much as its forward pass, each if it is wanted.

    torch's own formula takes a depthwise convolution's weights for those of a full one.
    """
    side = inputs if transposed else gradient
    return 2 * math.prod(weight) * side[0] * math.prod(side[2:]) * sum(wanted[:2])


def reestimate_batch_norm(model: nn.Module, images: Float[Tensor, "n c h w"], batch: int = 128) -> None:
    """Set the statistics of every batch norm to those of some images: means over batches of means and variances.

    A pruned network's statistics are those of the whole one, and a network that was trained for a few steps has hardly
    left its old ones: in evaluation mode both mislead.

    Args:
        model: changed in place; its mode stays.
        images: without labels; in random order, if they come in more than one batch.
        batch: images of a batch; the last may have fewer.

    Raises:
        TypeError: the model is no module, or the images are no floating tensor.
        ValueError: no images, or a batch below 1.
    """
    require(isinstance(model, nn.Module), "model", f"a {type(model).__name__}", "a torch.nn.Module", TypeError)
    require_batch("images", images)
    require_count("batch", batch, 1)
    norms = [each for each in model.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    momenta, modes = [each.momentum for each in norms], {each: each.training for each in model.modules()}
    model.eval()
    for each in norms:
        each.reset_running_stats()
        each.momentum = None  # a plain mean over all batches
        each.train()
    try:
        with torch.no_grad():
            for part in images.split(batch):
                model(part)
    finally:
        for each, momentum in zip(norms, momenta):
            each.momentum = momentum
        for each, mode in modes.items():
            each.training = mode


# --- accuracy against compute -------------------------------------------------------------------------------------


@dataclass
class CurvePoint:
    """How good a network is after some training compute.

    Attributes:
        task: its name.
        place: its place among the tasks, from 0.
        budget: operations that were allowed.
        spent: operations that were used, at most the budget.
        steps: updates made with them.
        accuracy: on the task's test pictures.
        loss: mean cross-entropy there, in nats.
    """

    task: str
    place: int
    budget: Number
    spent: int
    steps: int
    accuracy: float
    loss: float
    _resumable: Callable[[], dict[str, Any]] = dict

    def state_dict(self) -> dict[str, Any]:
        """Everything that `accuracy_compute_curve(..., resume=...)` needs to go on with the next point.

        Raises:
            ValueError: the network has learned on since this point.
        """
        return self._resumable()


def accuracy_compute_curve(
    model: nn.Module,
    tasks: Sequence[Task],
    budgets: Sequence[Number],
    optimizer: MakeOptimizer = SGD,
    batch: int = 32,
    calibration: int = 32,
    new_head: bool = True,
    generator: torch.Generator | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[CurvePoint]:
    """Fine-tune a copy of the model on each task, and judge it whenever a budget of operations is used up.

    The copy gets a new head, all zeros, in place of the model's last linear layer. An update is one step on a batch
    drawn without replacement. Before each judgement the batch norms' statistics are taken from the task's training
    pictures; a point's compute is that of its updates and of that pass. Networks of different sizes are judged at the
    same compute, not at the same number of updates: where a budget is too small for one update, the untrained copy is judged.

    Args:
        model: any network of images with a linear layer at its end; left as it is.
        tasks: each with a name, train and test pictures, and a number of classes.
        budgets: operations, as `count_flops` counts them, rising.
        optimizer: makes one from parameters.
        batch: pictures of an update; all, where a task has fewer.
        calibration: at most so many training pictures for the batch norms' statistics.
        new_head: or go on with the head that the model has.
        generator: draws the batches, on the tasks' device.
        resume: the `state_dict()` of a point; with a generator, and a model that draws nothing itself, what comes after
            it is the same as if nothing had stopped.

    Yields:
        a point for each budget of each task, task by task.

    Raises:
        TypeError: the model is no module, the optimizer cannot be called, or budgets are no numbers.
        ValueError: a model without a linear layer, no tasks, budgets that do not rise, a batch below 1, pictures and
            labels that do not go together, or a state of another call.

    Source: the paper's comparison, with the budgets of its section on compute-optimal transfer.
    """
    require(isinstance(model, nn.Module), "model", f"a {type(model).__name__}", "a torch.nn.Module", TypeError)
    _, head = head_of(model)
    require_callable("optimizer", optimizer, "a callable from parameters to an optimizer")
    require_count("batch", batch, 1)
    require_count("calibration", calibration, 1)
    require(len(tasks) > 0, "tasks", "empty", "at least one")
    require(len(budgets) > 0, "budgets", "empty", "at least one number")
    for budget in budgets:
        require_in("budgets", budget, "(0, inf)")
    rising = all(low < high for low, high in pairwise(budgets))
    require(rising, "budgets", list(budgets), "rising")
    for task in tasks:
        require(
            isinstance(task, Task),
            "each of tasks",
            f"a {type(task).__name__}",
            "a task, with train and test",
            TypeError,
        )
        require_count(f"tasks[{task.name!r}].num_classes", task.num_classes, 2)
        fits = new_head or head.out_features >= task.num_classes
        require(
            fits, "model", f"with a head of {head.out_features} classes", f"with one of at least {task.num_classes}"
        )
        for part, (images, labels) in {"train": task.train, "test": task.test}.items():
            require_batch(f"tasks[{task.name!r}].{part}[0]", images)
            require_labels(f"tasks[{task.name!r}].{part}[1]", labels, len(images), task.num_classes)
    names, allowed = [task.name for task in tasks], [float(budget) for budget in budgets]
    call = [names, allowed, int(batch), int(calibration), bool(new_head)]
    if resume is not None:
        whole = isinstance(resume, dict) and resume.keys() == SAVED
        require(whole, "resume", f"a {type(resume).__name__} without all it needs", "a CurvePoint.state_dict()")
        require(resume["call"] == call, "resume", "of a call with other tasks or settings", "of a call with the same")
        both = (resume["generator"] is None) == (generator is None)
        require(both, "generator", repr(generator), "given exactly when it was given before the resume")
    return _curve(model, tasks, budgets, optimizer, batch, calibration, new_head, generator, resume, call)


def _curve(model, tasks, budgets, optimizer, batch, calibration, new_head, generator, resume, call):
    start, now = 0, {}
    if resume is not None:
        start = resume["place"]
        if generator is not None:
            generator.set_state(resume["generator"].cpu())
    for place in range(start, len(tasks)):
        task, first = tasks[place], 0
        started = with_head(model, task.num_classes) if new_head else copy.deepcopy(model)
        run = _FineTuning(started, task, optimizer, batch, calibration, generator)
        if resume is not None and place == start:
            run.load_state_dict(resume)
            first = resume["number"] + 1
        for number in range(first, len(budgets)):
            run.learn(budgets[number])
            accuracy, loss = run.judge()

            def resumable(place=place, number=number, run=run) -> dict[str, Any]:
                own = now["at"] == (place, number)  # else the model, or the generator, has gone on
                require(own, "state_dict()", "asked after later points", "asked before the next is drawn")
                return run.state_dict() | {"call": call, "place": place, "number": number}

            now["at"], spent = (place, number), run.spent()
            yield CurvePoint(task.name, place, budgets[number], spent, run.steps, accuracy, loss, resumable)


class _FineTuning:
    """A network that learns one task, in place."""

    def __init__(self, model, task, optimizer, batch, calibration, generator) -> None:
        self.task, self.batch, self.generator = task, batch, generator
        self.model = model.train()
        self.optimizer = optimizer(self.model.parameters())
        images = task.train[0]
        places = torch.linspace(0, len(images) - 1, min(calibration, len(images))).long()  # of every class, if sorted
        self.seen = images[places.to(images.device)]
        self.judging = count_flops(self.model, self.seen[:1]) * len(self.seen)
        self.each_step = count_flops(self.model, images[:batch], training=True)
        self.steps = 0

    def learn(self, budget: Number) -> None:
        images, labels = self.task.train[0], self.task.train[1].long()
        drawn = "cpu" if self.generator is None else self.generator.device
        while (self.steps + 1) * self.each_step + self.judging <= budget:
            rows = torch.randperm(len(images), generator=self.generator, device=drawn)[: self.batch].to(images.device)
            loss = cross_entropy(self.model(images[rows]), labels[rows])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.steps += 1

    def spent(self) -> int:
        return self.steps * self.each_step + self.judging if self.steps else 0

    def judge(self) -> tuple[float, float]:
        """Accuracy and mean loss on the test pictures."""
        images, labels = self.task.test[0], self.task.test[1].long()
        if self.steps:
            reestimate_batch_norm(self.model, self.seen, len(self.seen))
        self.model.eval()
        with torch.no_grad():
            logits = torch.cat([self.model(part) for part in images.split(256)])
        self.model.train()
        right = (logits.argmax(1) == labels).double().mean()
        return right.item(), cross_entropy(logits, labels).item()

    def state_dict(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "model": copy.deepcopy(self.model.state_dict()),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "generator": None if self.generator is None else self.generator.get_state(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.steps = saved["steps"]
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(copy.deepcopy(saved["optimizer"]))  # or the saved one would be written to


def with_head(model: nn.Module, num_classes: int) -> nn.Module:
    """A copy of the model with a new head, all zeros, in place of its last linear layer.

    Raises:
        ValueError: the model has no linear layer, or fewer than two classes.
    """
    require_count("num_classes", num_classes, 2)
    model = copy.deepcopy(model)
    name, head = head_of(model)
    fresh = nn.Linear(head.in_features, num_classes).to(head.weight).train(head.training)
    nn.init.zeros_(fresh.weight)
    nn.init.zeros_(fresh.bias)
    if not name:
        return fresh
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, fresh)
    return model


def head_of(model: nn.Module) -> tuple[str, nn.Linear]:
    """The linear layer of a model that was registered last, with its name.

    Raises:
        TypeError: the model is no module.
        ValueError: there is none.
    """
    require(isinstance(model, nn.Module), "model", f"a {type(model).__name__}", "a torch.nn.Module", TypeError)
    linear = [(name, each) for name, each in model.named_modules() if isinstance(each, nn.Linear)]
    require(bool(linear), "model", "without a linear layer", "a network that ends in one")
    return linear[-1]
