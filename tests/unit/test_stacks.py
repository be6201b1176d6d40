"""Stacks of networks, and what every trainer of a stream must hold: a stack is its runs one by one, each batch is scored
before it is learned, draws come from the given generator alone.

Seeds are fixed, numbers are compared in double precision.
"""

import copy
import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from agree import close, normal, seeded
from torch import nn

from companion.foundations.stacks import StackedMLP, StreamTrainer, cross_entropy
from companion.methods.rivals.plasticity import (
    DormantReset,
    HardReset,
    L2Init,
    OnlineSGD,
    ShrinkAndPerturb,
    SpectralRegularisation,
)
from companion.methods.soft_reset import BayesianSoftReset, SoftReset

RUNS, CLASSES = 3, 4
SOFT = {"lr": [0.2, 0.5, 0.3], "drift_lr": [0.02, 0.1, 0.05], "posterior_scale": [0.5, 1.0, 0.8]}

# a kind, and settings of three runs; none of them draws noise that could differ between a stack and its runs
STACKS = {
    "SGD": (OnlineSGD, {"lr": [0.2, 0.5, 0.3]}),
    "SGD, 3 updates": (partial(OnlineSGD, updates=3), {"lr": [0.2, 0.5, 0.3]}),
    "L2-init": (L2Init, {"lr": [0.2, 0.5, 0.3], "strength": [0.5, 0.0, 0.1]}),
    "shrink": (partial(ShrinkAndPerturb, perturb=0), {"lr": [0.2, 0.5, 0.3], "shrink": [0.9, 1.0, 0.8]}),
    "spectral": (SpectralRegularisation, {"lr": [0.2, 0.5, 0.3], "strength": [0.05, 0.0, 0.1]}),
    **{
        f"soft reset by {per}": (partial(SoftReset, per=per, samples=0), SOFT)
        for per in ("model", "layer", "parameter")
    },
    "soft reset, K = 3": (partial(SoftReset, samples=0, drift_steps=3), SOFT),
    "soft reset, proximal": (partial(SoftReset, samples=0, update_steps=3), SOFT),
    "soft reset to zero": (partial(SoftReset, samples=0, center="zero"), SOFT),
}
each_stack = pytest.mark.parametrize(("kind", "settings"), STACKS.values(), ids=STACKS.keys())

# (model, **options) -> a trainer that learns fast
TRAINERS = {
    "SGD": partial(OnlineSGD, lr=0.5),
    "L2-init": partial(L2Init, lr=0.5, strength=1e-3),
    "shrink & perturb": partial(ShrinkAndPerturb, lr=0.5, shrink=0.999, perturb=0.01),
    "spectral": partial(SpectralRegularisation, lr=0.5, strength=1e-3),
    "dormant": partial(DormantReset, lr=0.5, threshold=0.1, period=3),
    "hard reset": partial(HardReset, lr=0.5),
    "soft reset": partial(SoftReset, lr=0.5, drift_lr=0.02),
    "soft reset, no noise": partial(SoftReset, lr=0.5, drift_lr=0.02, samples=0),
    "soft reset by parameter": partial(SoftReset, lr=0.5, drift_lr=1.0, per="parameter"),
    "soft reset, proximal": partial(SoftReset, lr=0.5, drift_lr=0.02, update_steps=3, drift_steps=2, samples=2),
    "Bayesian": partial(BayesianSoftReset, lr=0.2, drift_lr=0.005, posterior_scale=0.7),
}
each_trainer = pytest.mark.parametrize("make", TRAINERS.values(), ids=TRAINERS.keys())
RESUMING = {name: TRAINERS[name] for name in TRAINERS if "soft" in name or name == "Bayesian"}
each_resuming = pytest.mark.parametrize("make", RESUMING.values(), ids=RESUMING.keys())


def network(runs: int | None = None, seed: int = 0, dtype: torch.dtype = torch.float64, **sizes) -> StackedMLP:
    sizes = {"inputs": 3, "outputs": CLASSES, "width": 5, "depth": 2} | sizes
    return StackedMLP(runs, **sizes, generator=seeded(seed), dtype=dtype)


def batches_of(steps: int, runs: int | None = None, b: int = 6, dtype: torch.dtype = torch.float64):
    lead = () if runs is None else (runs,)
    draws = seeded(7)
    return [
        (
            torch.randn(*lead, b, 3, generator=draws, dtype=torch.float64).to(dtype),
            torch.randint(CLASSES, (*lead, b), generator=draws),
        )
        for _ in range(steps)
    ]


def of_run(run: int, *parts):
    """One row of each."""
    return tuple(part[run] for part in parts)


def single_of(stack: nn.Module, run: int) -> StackedMLP:
    single = network(layer_norm=stack.layer_norm)
    with torch.no_grad():
        for own, each in zip(single.parameters(), stack.parameters(), strict=True):
            own.copy_(each[run])
    return single


# --- the network --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("runs", [None, 1, 3])
def test_a_stack_has_a_leading_axis_in_each_parameter_and_in_what_it_gives(runs, depth):
    lead = () if runs is None else (runs,)
    model = StackedMLP(runs, 3, 4, width=5, depth=depth)
    widths = [3] + [5] * depth + [4]
    shapes = [(*lead, *shape) for inputs, outputs in pairwise(widths) for shape in ((outputs, inputs), (outputs,))]
    assert [tuple(each.shape) for each in model.parameters()] == shapes
    assert [name for name, _ in model.named_parameters()][:2] == ["layers.0.weight", "layers.0.bias"]
    activations = model.activations(torch.ones(*lead, 7, 3))
    assert [tuple(each.shape) for each in activations] == [(*lead, 7, width) for width in widths[1:]]
    assert torch.equal(activations[-1], model(torch.ones(*lead, 7, 3)))


def test_its_sizes_are_64_wide_and_2_deep_unless_told():
    assert [tuple(layer.weight.shape) for layer in StackedMLP(None, 3, 4).layers] == [(64, 3), (64, 64), (4, 64)]


@pytest.mark.parametrize("runs", [None, 2])
def test_weights_are_drawn_with_the_variance_that_keeps_a_relu_network_level(runs):
    """2 / fan-in, 1 / fan-in before the logits, and biases are 0; `reset_parameters` draws from the same law."""
    model = StackedMLP(runs, 50, 40, width=200, depth=2, generator=seeded(), dtype=torch.float64)
    first = [layer.weight.clone() for layer in model.layers]
    for layer in model.layers:
        layer.bias.data.fill_(1)
    model.reset_parameters(seeded(1))
    for weights in (first, [layer.weight for layer in model.layers]):
        for weight, variance in zip(weights, (2 / 50, 2 / 200, 1 / 200), strict=True):
            standard = weight.detach() / math.sqrt(variance)
            assert standard.mean().abs() < 5 / standard.numel() ** 0.5
            assert (standard.square().mean() - 1).abs() < 5 * (2 / standard.numel()) ** 0.5
    for before, layer in zip(first, model.layers, strict=True):
        assert not layer.bias.any()
        assert not bool((before == layer.weight).any())


@pytest.mark.parametrize("layer_norm", [False, True])
def test_an_ordinary_one_is_a_chain_of_linear_layers_and_relus(layer_norm):
    model = network(layer_norm=layer_norm)
    chain = []
    for layer in model.layers:
        layer.bias.data = normal(*layer.bias.shape, seed=3)
        linear = nn.Linear(*layer.weight.mT.shape).double()
        linear.weight.data, linear.bias.data = layer.weight.data, layer.bias.data
        normed = nn.LayerNorm(len(layer.bias), elementwise_affine=False) if layer_norm else nn.Identity()
        chain += [linear, normed, nn.ReLU()]
    x = normal(9, 3, seed=1)
    close(model(x), nn.Sequential(*chain[:-2])(x), 1e-14)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_runs_of_a_stack_do_not_meet(layer_norm):
    stack = network(RUNS, layer_norm=layer_norm)
    for layer in stack.layers:
        layer.bias.data = normal(*layer.bias.shape, seed=3)
    x, labels = batches_of(1, RUNS)[0]
    losses = cross_entropy(stack, (x, labels))
    assert losses.shape == (RUNS, 6)
    for run in range(RUNS):
        single = single_of(stack, run)
        close(stack(x)[run], single(x[run]), 1e-14)
        wanted = nn.functional.cross_entropy(single(x[run]), labels[run], reduction="none")
        close(losses[run], wanted, 1e-14)


def test_networks_repeat_with_their_generator_and_dtype():
    before = torch.random.get_rng_state()
    first, again, other = network(2, 5), network(2, 5), network(2, 6)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first.layers[0].weight, again.layers[0].weight)
    assert not torch.equal(first.layers[0].weight, other.layers[0].weight)
    for dtype in (torch.float32, torch.float64):
        assert {each.dtype for each in network(2, dtype=dtype).parameters()} == {dtype}
    torch.manual_seed(5)
    without = StackedMLP(2, 3, CLASSES, 5, dtype=torch.float64)
    assert torch.equal(without.layers[0].weight, first.layers[0].weight)


# --- one tensor for all parameters --------------------------------------------------------------------------------


def own_module() -> nn.Module:
    """Parameters of every number of axes, one of which does not learn."""
    model = nn.Module()
    model.matrix, model.vector = nn.Parameter(normal(2, 3)), nn.Parameter(normal(4, seed=1))
    model.still = nn.Parameter(normal(5, seed=2), requires_grad=False)
    model.number = nn.Parameter(normal(1, seed=3)[0])
    return model


@pytest.mark.parametrize(("model", "runs"), [(network(), None), (network(RUNS), RUNS), (own_module(), None)])
def test_parameters_are_views_of_theta(model, runs):
    before = {name: each.clone() for name, each in model.named_parameters()}
    trainer = OnlineSGD(model, 0.1, runs=runs)
    learning = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
    assert all(torch.equal(each, before[name]) for name, each in model.named_parameters())
    assert trainer.names == [name for name, _ in learning]
    assert trainer.theta.shape[-1] == sum(trainer.sizes)
    assert trainer.theta.numel() == sum(each.numel() for _, each in learning)
    assert not trainer.theta.requires_grad
    parts = trainer.split(trainer.theta)
    for (name, each), part in zip(learning, parts, strict=True):
        assert torch.equal(part.reshape(each.shape), before[name])
    trainer.theta.add_(1)
    for name, each in learning:
        assert torch.equal(each, before[name] + 1)
    with torch.no_grad():
        for _, each in learning:
            each.mul_(2)
    for (name, _), part in zip(learning, parts, strict=True):
        assert torch.equal(part.reshape(before[name].shape), 2 * (before[name] + 1))
    assert torch.equal(trainer.flat([each.detach() for _, each in learning]), trainer.theta)


def test_what_does_not_learn_stays():
    model = network()
    model.layers[0].weight.requires_grad_(False)
    still, moving = model.layers[0].weight.clone(), model.layers[1].weight.clone()
    trainer = SoftReset(model, 0.5, 0.1)
    for batch in batches_of(4):
        trainer.step(cross_entropy, batch)
    assert torch.equal(model.layers[0].weight, still)
    assert not torch.equal(model.layers[1].weight, moving)
    assert list(trainer.gammas) == ["layers.0", "layers.1", "layers.2"]


@pytest.mark.parametrize("runs", [None, RUNS])
def test_the_gradient_is_that_of_the_mean_loss_of_each_run(runs):
    model, batch = network(runs), batches_of(1, runs)[0]
    trainer = OnlineSGD(model, 0.1, runs=runs)
    found = trainer.gradient(cross_entropy, batch)
    loss = cross_entropy(model, batch).mean(-1).sum()
    wanted = torch.autograd.grad(loss, list(model.parameters()))
    for part, each in zip(trainer.split(found), wanted, strict=True):
        close(part.reshape(each.shape), each, 1e-14)
    assert all(each.grad is None for each in model.parameters())


# --- a stack is its runs, one by one ------------------------------------------------------------------------------


@each_stack
@pytest.mark.parametrize("layer_norm", [False, True])
def test_a_stack_is_its_runs_one_by_one(kind, settings, layer_norm):
    stack = network(RUNS, layer_norm=layer_norm)
    singles = [single_of(stack, run) for run in range(RUNS)]
    values = {name: torch.tensor(each, dtype=torch.float64) for name, each in settings.items()}
    whole = kind(stack, **values, runs=RUNS, generator=seeded())
    trainers = [
        kind(single, **{name: each[run] for name, each in settings.items()}) for run, single in enumerate(singles)
    ]
    if isinstance(whole, SpectralRegularisation):  # the same start of the power iteration
        for run, trainer in enumerate(trainers):
            trainer._right = [each[run].clone() for each in whole._right]
    start = whole.theta.clone()
    for x, labels in batches_of(8, RUNS):
        losses = whole.step(cross_entropy, (x, labels))
        assert losses.shape == (RUNS,)
        for run, trainer in enumerate(trainers):
            close(trainer.step(cross_entropy, of_run(run, x, labels)), losses[run], 1e-12)
            close(trainer.theta, whole.theta[run], 1e-12)
            if isinstance(whole, SoftReset):
                for name, gamma in trainer.gammas.items():
                    close(gamma, whole.gammas[name][run], 1e-12)
    assert bool(((whole.theta - start).abs().amax(-1) > 0.05).all())
    if isinstance(whole, SoftReset):
        assert min(gamma.min() for gamma in whole.gammas.values()) < 1


@each_stack
def test_one_setting_serves_all_runs(kind, settings):
    several = {name: torch.full((RUNS,), each[0], dtype=torch.float64) for name, each in settings.items()}
    found = []
    for values in ({name: each[0] for name, each in settings.items()}, several):
        trainer = kind(network(RUNS), **values, runs=RUNS, generator=seeded())
        for batch in batches_of(4, RUNS):
            trainer.step(cross_entropy, batch)
        found.append(trainer.theta)
    assert torch.equal(*found)


# --- score, then learn --------------------------------------------------------------------------------------------


@each_trainer
def test_a_step_gives_the_loss_of_the_model_as_it_was(make):
    trainer = make(network(RUNS), runs=RUNS, generator=seeded())
    for batch in batches_of(6, RUNS):
        before = copy.deepcopy(trainer.model)
        loss = trainer.step(cross_entropy, batch)
        assert not loss.requires_grad
        assert torch.equal(loss, cross_entropy(before, batch).detach().mean(-1))
        after = cross_entropy(trainer.model, batch).detach().mean(-1)
        assert bool((after != loss).all())


class Watching:
    """Cross-entropy that keeps what was predicted when it was asked for a score."""

    def __init__(self) -> None:
        self.logits = []

    def __call__(self, model, batch):
        if not torch.is_grad_enabled():
            self.logits.append(model(batch[0]))
        return cross_entropy(model, batch)


@each_trainer
def test_labels_do_not_change_what_is_predicted_for_them(make):
    found = []
    for shift in (0, 1):
        trainer, watching = make(network(RUNS), runs=RUNS, generator=seeded()), Watching()
        *past, (x, labels) = batches_of(5, RUNS)
        for batch in past:
            trainer.step(cross_entropy, batch)
        trainer.step(watching, (x, (labels + shift) % CLASSES))
        found.append((watching.logits, trainer.theta))
    (first, after), (other, otherwise) = found
    assert len(first) == len(other) == 1
    assert torch.equal(first[0], other[0])
    assert not torch.equal(after, otherwise)


def advantage(trainer: StreamTrainer, steps: int = 60, b: int = 8) -> tuple[float, float]:
    """Accuracy and loss on labels that are pure noise, on points that never come back, by how many standard errors they
    are better than those of somebody who knows nothing."""
    draws, watching, right, losses = seeded(11), Watching(), [], []
    for _ in range(steps):
        x = torch.randn(trainer.runs, b, 3, generator=draws, dtype=torch.float64)
        labels = torch.randint(CLASSES, (trainer.runs, b), generator=draws)
        losses.append(trainer.step(watching, (x, labels)))
        right.append((watching.logits[-1].argmax(-1) == labels).double().mean(-1))
    right, losses = torch.stack(right).mean(0), torch.stack(losses).mean(0)
    gain = right - 1 / CLASSES, math.log(CLASSES) - losses
    return tuple((each.mean() / (each.std() / len(each) ** 0.5)).item() for each in gain)


class Leaky(SoftReset):
    """Scores a batch after it has learned it."""

    def step(self, loss_fn, batch):
        self.learn(loss_fn, batch)
        return self.score(loss_fn, batch)


class LeakyDrift(SoftReset):
    """Scores a batch by weights that have drifted as its labels ask, before the gradient step."""

    def step(self, loss_fn, batch):
        lr, self.lr = self.lr, 0 * self.lr
        self.learn(loss_fn, batch)
        self.lr = lr
        score = self.score(loss_fn, batch)
        self.theta.sub_(self.lr * self.gradient(loss_fn, batch))
        return score


@each_trainer
def test_nobody_foresees_labels_that_are_pure_noise(make):
    accuracy, loss = advantage(make(network(20), runs=20, generator=seeded()))
    assert abs(accuracy) < 4
    assert loss < 4


@pytest.mark.parametrize(
    "leaky",
    [
        partial(Leaky, drift_lr=0.02),
        partial(Leaky, drift_lr=0.0),
        partial(LeakyDrift, drift_lr=3.0, per="parameter"),
        partial(LeakyDrift, drift_lr=10.0, per="parameter", samples=0),
    ],
    ids=["all", "gradient", "drift", "drift without noise"],
)
def test_who_scores_after_the_labels_were_used_is_caught(leaky):
    accuracy, _ = advantage(leaky(network(20), lr=0.5, runs=20, generator=seeded()))
    assert accuracy > 8


# --- draws, dtypes, saving ----------------------------------------------------------------------------------------


@each_trainer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_runs_repeat_with_their_generator_and_draw_from_no_other(make, dtype):
    def run(seed: int) -> StreamTrainer:
        trainer = make(network(RUNS, dtype=dtype), runs=RUNS, generator=seeded(seed))
        for batch in batches_of(6, RUNS, dtype=dtype):
            assert trainer.step(cross_entropy, batch).dtype == dtype
        return trainer

    before = torch.random.get_rng_state()
    first, again, other = run(0), run(0), run(1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first.theta, again.theta)
    assert first.theta.dtype == dtype
    draws = not torch.equal(first.generator.get_state(), seeded(0).get_state())
    assert draws == (not torch.equal(first.theta, other.theta))
    assert draws or type(first) in (OnlineSGD, L2Init, HardReset) or getattr(first, "samples", 1) == 0


@each_trainer
def test_single_precision_goes_the_same_way(make):
    trainers = []
    for dtype in (torch.float32, torch.float64):
        single = network().to(dtype)
        trainers.append(make(single))
        trainers[-1].noise = lambda like=trainers[-1].theta: normal(*like.shape, seed=4).to(like)
        if hasattr(trainers[-1], "_right"):
            trainers[-1]._right = [normal(*each.shape, seed=6).to(each) for each in trainers[-1]._right]
    for batch in batches_of(2):
        for trainer in trainers:
            trainer.step(cross_entropy, (batch[0].to(trainer.theta), batch[1]))
    torch.testing.assert_close(trainers[0].theta.double(), trainers[1].theta, rtol=1e-3, atol=1e-4)


@each_resuming
@pytest.mark.parametrize("runs", [None, RUNS])
def test_a_stream_resumes_bit_for_bit(make, runs):
    """From the model's own state and the trainer's, in a network that started elsewhere, with a generator elsewhere."""
    batches = batches_of(9, runs)
    through = make(network(runs), runs=runs, generator=seeded())
    losses = []
    for done, batch in enumerate(batches):
        if done == 4:
            saved = copy.deepcopy((through.model.state_dict(), through.state_dict()))
            alive = through.model.state_dict(), through.state_dict()
        losses.append(through.step(cross_entropy, batch))
    assert all(torch.equal(alive[1][name], value) for name, value in saved[1].items() if name != "kind")  # a copy
    resumed = make(network(runs, seed=8), runs=runs, generator=seeded(9))
    resumed.model.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    for batch, loss in zip(batches[4:], losses[4:], strict=True):
        assert torch.equal(resumed.step(cross_entropy, batch), loss)
        assert resumed.model is not through.model
    assert torch.equal(resumed.theta, through.theta)
    assert torch.equal(resumed.std, through.std)
    assert all(torch.equal(each, through.gammas[name]) for name, each in resumed.gammas.items())


def test_one_without_a_generator_resumes_too():
    through = SoftReset(network(), 0.5, 0.1, samples=0)
    state = through.state_dict()
    assert state["generator"] is None
    other = SoftReset(network(seed=4), 0.5, 0.1, samples=0)
    other.load_state_dict(state)
    other.model.load_state_dict(through.model.state_dict())
    for batch in batches_of(4):
        assert torch.equal(through.step(cross_entropy, batch), other.step(cross_entropy, batch))


@each_trainer
def test_every_trainer_learns_a_rule(make):
    """Labels that the points tell; the loss falls well below that of a guess."""
    draws, losses = seeded(), []
    trainer = make(network(RUNS, width=12), runs=RUNS, generator=draws)
    for _ in range(100):
        x = torch.randn(RUNS, 16, 3, generator=draws, dtype=torch.float64)
        losses.append(trainer.step(cross_entropy, (x, (x[..., 0] > 0).long() + 2 * (x[..., 1] > 0).long())))
    assert bool((torch.stack(losses)[-20:].mean(0) < 0.75 * math.log(CLASSES)).all())
