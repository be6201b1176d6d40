"""Soft parameter reset against exact answers: the drift of a Gaussian, the evidence of a linear model in closed form, and
every step written out again, with gamma's gradient by autograd.

Seeds are fixed, numbers are compared in double precision. What is said to be learned is so for each of several seeds.
"""

import copy
import math
from collections.abc import Mapping

import pytest
import torch
from agree import close, normal, seeded
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import nn

from companion.foundations.stacks import StackedMLP, cross_entropy
from companion.methods.rivals.plasticity import OnlineSGD
from companion.methods.soft_reset import BayesianSoftReset, SoftReset, drift, initial_std, learning_rate_rise

DOUBLE = {"dtype": torch.float64}
CHANCE = 1e-3
GRANULARITIES = ("model", "layer", "parameter")
each_granularity = pytest.mark.parametrize("per", GRANULARITIES)
between = st.floats(0, 1)


# --- the drift of a belief ----------------------------------------------------------------------------------------


def belief(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean and std, of now and of the start."""
    now, then = normal(*shape, seed=seed), normal(*shape, seed=seed + 1)
    return now, 0.1 + normal(*shape, seed=seed + 2).abs(), then, 0.1 + normal(*shape, seed=seed + 3).abs()


@given(gamma=between)
def test_the_law_of_the_start_does_not_move(gamma):
    _, _, mean, std = belief(5)
    found = drift(mean, std, mean, std, gamma)
    close(found[0], mean, 1e-14)
    close(found[1], std, 1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gamma_1_does_nothing_exactly_and_gamma_0_is_a_fresh_draw(dtype):
    mean, std, init_mean, init_std = (each.to(dtype) for each in belief(400))
    for one, zero in ((1, 0), (1.0, 0.0), (torch.ones(400, dtype=dtype), torch.zeros(400, dtype=dtype))):
        kept, fresh = (drift(mean, std, init_mean, init_std, gamma) for gamma in (one, zero))
        assert torch.equal(kept[0], mean)
        assert torch.equal(kept[1], std)
        assert torch.equal(fresh[0], init_mean)
        assert torch.equal(fresh[1], init_std)
        assert {each.dtype for each in (*kept, *fresh)} == {dtype}


@given(first=between, second=between)
def test_two_drifts_are_one_by_the_product(first, second):
    """exp(-(s + t)) = exp(-s) exp(-t): gamma is memory kept over some time."""
    mean, std, *start = belief(5)
    twice = drift(*drift(mean, std, *start, first), *start, second)
    once = drift(mean, std, *start, first * second)
    for one, two in zip(once, twice, strict=True):
        close(one, two, 1e-12)


def test_many_small_drifts_lead_to_the_start():
    mean, std, *start = belief(5)
    for _ in range(400):
        mean, std = drift(mean, std, *start, 0.9)
    close(mean, start[0])
    close(std, start[1])


@pytest.mark.parametrize("gamma", [0, 0.3, 0.9, 1])
def test_it_is_the_law_of_weights_that_move_by_the_transition(gamma):
    draws, n = seeded(), 20_000
    mean, std, init_mean, init_std = 1.5, 0.4, -0.5, 0.9
    weights = mean + std * torch.randn(n, generator=draws, **DOUBLE)
    steps = math.sqrt(1 - gamma**2) * init_std * torch.randn(n, generator=draws, **DOUBLE)
    moved = gamma * weights + (1 - gamma) * init_mean + steps
    given = (torch.tensor(each, **DOUBLE) for each in (mean, std, init_mean, init_std))
    found = drift(*given, gamma)
    assert kstest(moved.numpy(), "norm", args=tuple(each.item() for each in found)).pvalue > CHANCE


def test_each_weight_may_have_its_own_gamma_and_everything_broadcasts():
    mean, std, init_mean, init_std = belief(4)
    gamma = torch.tensor([0, 0.2, 0.7, 1], **DOUBLE)
    together = drift(mean, std, init_mean, init_std, gamma)
    for place in range(4):
        alone = drift(*(each[place] for each in (mean, std, init_mean, init_std)), gamma[place])
        for whole, part in zip(together, alone, strict=True):
            close(whole[place], part, 1e-14)
    table = drift(mean, std[:1], init_mean[0], init_std, gamma[:3, None])
    assert [each.shape for each in table] == [(3, 4), (3, 4)]
    for row in range(3):
        wanted = drift(mean, std[:1].expand(4), init_mean[:1].expand(4), init_std, gamma[row].item())
        for whole, part in zip(table, wanted, strict=True):
            close(whole[row], part, 1e-14)
    wide = drift(mean, std[:, None], mean, std[:, None], 0.5)  # only std has the axis
    assert [each.shape for each in wide] == [(4, 4), (4, 4)]


@given(gamma=between, scale=st.floats(0.1, 1))
def test_the_learning_rate_rises_as_the_variance_does(gamma, scale):
    mean, _, init_mean, init_std = belief(4)
    _, std = drift(mean, scale * init_std, init_mean, init_std, gamma)
    rise = learning_rate_rise(torch.tensor(gamma, **DOUBLE), scale)
    close(rise.expand(4), (std / (scale * init_std)).square(), 1e-12)


def test_it_does_not_rise_without_a_drift_and_most_after_a_full_one():
    gamma = torch.tensor([1, 0.5, 0], **DOUBLE)
    close(learning_rate_rise(gamma, 0.5), torch.tensor([1, 3.25, 4], **DOUBLE), 0)
    close(learning_rate_rise(gamma, 1), torch.ones(3, **DOUBLE), 0)
    scales = torch.tensor([[1.0], [0.5]], **DOUBLE)
    close(learning_rate_rise(gamma, scales)[:, 2], torch.tensor([1, 4], **DOUBLE), 0)


# --- the width of the initialisation ------------------------------------------------------------------------------


def test_the_width_of_a_weight_is_judged_by_its_size_and_that_of_a_bias_by_its_fan_in():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 8, 3), nn.Flatten(), nn.LayerNorm(50), nn.Linear(50, 40)).double()
    found = initial_std(model)
    assert list(found) == ["0.weight", "0.bias", "2.weight", "2.bias", "3.weight", "3.bias"]
    wanted = {
        "0.weight": model[0].weight.square().mean().sqrt().item(),
        "0.bias": (2 * 3 * 3) ** -0.5,
        "2.weight": 50**-0.5,
        "2.bias": 50**-0.5,
        "3.weight": model[3].weight.square().mean().sqrt().item(),
        "3.bias": 50**-0.5,
    }
    for name, each in model.named_parameters():
        assert found[name].shape == (1,) * each.ndim
        assert not found[name].requires_grad
        assert found[name].dtype == torch.float64
        assert found[name].item() == pytest.approx(wanted[name], rel=1e-14)
    # torch draws weights from U(-1 / sqrt(fan-in), 1 / sqrt(fan-in))
    assert found["3.weight"].item() == pytest.approx((3 * 50) ** -0.5, rel=0.05)
    assert found["0.weight"].item() == pytest.approx((3 * 18) ** -0.5, rel=0.15)


def test_a_weight_that_starts_at_0_has_the_width_of_its_fan_in():
    model = nn.Linear(16, 3)
    nn.init.zeros_(model.weight)
    assert {name: each.item() for name, each in initial_std(model).items()} == {"weight": 0.25, "bias": 0.25}


def test_each_run_of_a_stack_is_judged_by_itself():
    stack = StackedMLP(3, 4, 2, 5, 1, generator=seeded(), **DOUBLE)
    with torch.no_grad():
        stack.layers[0].weight[1] *= 10
        stack.layers[1].weight[2] = 0
    found = initial_std(stack, 3)
    assert [each.shape for each in found.values()] == [(3, 1, 1), (3, 1)] * 2
    for run in range(3):
        single = StackedMLP(None, 4, 2, 5, 1, **DOUBLE)
        for own, each in zip(single.parameters(), stack.parameters(), strict=True):
            own.data.copy_(each[run])
        for name, std in initial_std(single).items():
            close(found[name][run], std, 1e-14)
    assert found["layers.1.weight"][2].item() == 5**-0.5


def test_stacked_networks_are_judged_to_have_the_law_they_were_drawn_from():
    found = initial_std(StackedMLP(None, 64, 10, 64, generator=seeded()))
    for name, variance in {"layers.0.weight": 2 / 64, "layers.1.weight": 2 / 64, "layers.2.weight": 1 / 64}.items():
        assert found[name].item() == pytest.approx(variance**0.5, rel=0.1)


# --- what is tested: a small network that was moved from its start ------------------------------------------------


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()


def batch_of(b: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return normal(b, 3, seed=seed + 50), torch.randint(4, (b,), generator=seeded(seed + 60))


def moved(kind=SoftReset, distance: float = 0.4, seed: int = 4, **settings):
    """A trainer whose weights are no longer at their start."""
    trainer = kind(network(), **{"lr": 0.3, "drift_lr": 0.02, "generator": seeded(1), **settings})
    trainer.theta.add_(distance * normal(len(trainer.theta), seed=seed))
    return trainer


def noises_of(trainer, count: int) -> list[torch.Tensor]:
    """What the trainer will draw next."""
    draws = torch.Generator()
    draws.set_state(trainer.generator.get_state())
    return [torch.randn(len(trainer.theta), generator=draws, **DOUBLE) for _ in range(count)]


class At(nn.Module):
    """A module with other parameters, through which slopes can flow."""

    def __init__(self, model: nn.Module, values: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.called, self.values = [model], values  # in a list: not a part of this one

    def forward(self, x):
        return torch.func.functional_call(self.called[0], self.values, (x,))


def losses_at(trainer, theta: torch.Tensor, batch, loss_fn=cross_entropy) -> torch.Tensor:
    """Of the examples of a batch, with slopes by theta."""
    parts = zip(trainer.model.named_parameters(), theta.split(trainer.sizes), strict=True)
    return loss_fn(At(trainer.model, {name: part.view(each.shape) for (name, each), part in parts}), batch)


def groups_of(trainer) -> torch.Tensor:
    """For each number of theta the place of its gamma."""
    count = len(trainer.theta)
    if trainer.per == "parameter":
        return torch.arange(count)
    if trainer.per == "model":
        return torch.zeros(count, dtype=torch.long)
    owners = [name.split(".")[0] for name in trainer.names]
    places = [sorted(set(owners)).index(owner) for owner in owners]
    return torch.tensor(places).repeat_interleave(torch.tensor(trainer.sizes))


def evidence(trainer, batch, gamma: torch.Tensor, noises, std=None, loss_fn=cross_entropy) -> torch.Tensor:
    """J, with a gamma for each number of theta; no noises: the mean alone."""
    std = trainer.posterior_scale * trainer.init_std if std is None else std
    mean = gamma * trainer.theta + (1 - gamma) * trainer.init_mean
    width = (gamma**2 * std**2 + (1 - gamma**2) * trainer.init_std**2).sqrt()
    draws = [mean + width * noise for noise in noises] or [mean]
    log_probs = [-losses_at(trainer, each, batch, loss_fn).sum() for each in draws]
    return torch.stack(log_probs).logsumexp(0) - math.log(len(draws))


def gammas_by_hand(trainer, batch, noises, std=None, loss_fn=cross_entropy) -> torch.Tensor:
    """One for each group, by gradient steps from 1 with autograd."""
    groups = groups_of(trainer)
    gamma = torch.ones(int(groups.max()) + 1, **DOUBLE)
    for _ in range(trainer.drift_steps):
        gamma.requires_grad_()
        (slope,) = torch.autograd.grad(evidence(trainer, batch, gamma[groups], noises, std, loss_fn), gamma)
        gamma = (gamma.detach() + trainer.drift_lr * slope).clamp(0, 1)
    return gamma


def slope_at(trainer, theta: torch.Tensor, batch, loss_fn=cross_entropy) -> torch.Tensor:
    """Of the mean loss."""
    theta = theta.detach().requires_grad_()
    return torch.autograd.grad(losses_at(trainer, theta, batch, loss_fn).mean(), theta)[0]


def chosen(trainer) -> torch.Tensor:
    """The gammas in one row."""
    return torch.cat([gamma.flatten() for gamma in trainer.gammas.values()])


# --- the evidence -------------------------------------------------------------------------------------------------


@each_granularity
@pytest.mark.parametrize("gamma", [1, 0.7, 0.0])
@pytest.mark.parametrize("samples", [0, 1, 3])
@pytest.mark.parametrize("scale", [0.4, 1.0])
def test_the_evidence_and_its_slope_are_those_of_autograd_with_the_same_noise(per, gamma, samples, scale):
    trainer = moved(per=per, samples=samples, posterior_scale=scale, init_scale=0.5)
    batch, noises = batch_of(), noises_of(trainer, samples)
    value, slope = trainer.log_evidence(cross_entropy, batch, gamma)
    one = torch.tensor(float(gamma), **DOUBLE, requires_grad=True)
    wanted = evidence(trainer, batch, one, noises)
    close(value, wanted.detach(), 1e-12)
    close(slope, torch.autograd.grad(wanted, one)[0], 1e-11)
    assert slope.abs() > 1e-2
    assert not value.requires_grad
    assert not slope.requires_grad


@pytest.mark.parametrize("samples", [0, 2])
def test_looking_at_the_evidence_leaves_the_model_as_it_is(samples):
    trainer = moved(samples=samples)
    before = copy.deepcopy((trainer.model.state_dict(), trainer.gammas, trainer.std))
    for gamma in (1, 0.5, 0):
        trainer.log_evidence(cross_entropy, batch_of(), gamma)
    assert all(torch.equal(each, before[0][name]) for name, each in trainer.model.state_dict().items())
    assert all(torch.equal(each, before[1][name]) for name, each in trainer.gammas.items())
    assert torch.equal(trainer.std, before[2])
    assert all(each.grad is None for each in trainer.model.parameters())


class Line(nn.Module):
    """A stack of linear models of two inputs, in the same place."""

    def __init__(self, runs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.5, -1.0]], **DOUBLE).repeat(runs, 1, 1))
        self.bias = nn.Parameter(torch.tensor([0.3], **DOUBLE).repeat(runs, 1))

    def forward(self, x):
        return (x @ self.weight.mT + self.bias.unsqueeze(-2)).squeeze(-1)


NOISE = 0.5


def gaussian(model, batch):
    """Minus the log-density of each target under a normal law around what the model gives."""
    x, targets = batch
    return 0.5 * ((targets - model(x)).square() / NOISE + math.log(2 * math.pi * NOISE))


@pytest.mark.parametrize("gamma", [1, 0.8, 0.3, 0])
def test_the_evidence_of_a_linear_model_is_a_gaussian_marginal(gamma):
    """y ~ N(X mean', X std'^2 X' + noise): 100,000 draws give its log and its slope, by the formula of the first step."""
    runs, samples = 5_000, 20
    trainer = SoftReset(
        Line(runs),
        0.1,
        0.1,
        0.6,
        0.8,
        samples=samples,
        init_std={"weight": torch.tensor(0.7, **DOUBLE), "bias": torch.tensor(0.5, **DOUBLE)},
        runs=runs,
        generator=seeded(),
    )
    trainer.theta.add_(torch.tensor([0.6, 0.2, -0.4], **DOUBLE))
    x, targets = normal(4, 2, seed=1), normal(4, seed=2)
    values, slopes = trainer.log_evidence(gaussian, (x.expand(runs, 4, 2), targets.expand(runs, 4)), gamma)
    weights = values.softmax(0)
    value, slope = values.logsumexp(0) - math.log(runs), (weights * slopes).sum()

    now, start = torch.tensor([1.1, -0.8, -0.1], **DOUBLE), torch.tensor([0.5, -1.0, 0.3], **DOUBLE)
    init_std = 0.8 * torch.tensor([0.7, 0.7, 0.5], **DOUBLE)
    std = 0.6 * init_std
    close(trainer.theta[0], now, 1e-14)
    inputs = torch.cat([x, torch.ones(4, 1, **DOUBLE)], 1)
    mean = (gamma * now + (1 - gamma) * start).requires_grad_()
    variance = (gamma**2 * std**2 + (1 - gamma**2) * init_std**2).requires_grad_()
    covariance = inputs @ variance.diag() @ inputs.T + NOISE * torch.eye(4, **DOUBLE)
    exact = torch.distributions.MultivariateNormal(inputs @ mean, covariance).log_prob(targets)
    by_mean, by_variance = torch.autograd.grad(exact, (mean, variance))
    wanted = by_mean @ (now - start) + 2 * gamma * by_variance @ (std**2 - init_std**2)

    relative = values.softmax(0) * runs  # exp(J) of each run over that of all
    error = relative.std().item() / runs**0.5
    assert error < 0.02
    assert abs((value - exact).item()) < 5 * error
    spread = (relative * (slopes - slope)).std().item() / runs**0.5
    assert spread < 0.1
    assert abs((slope - wanted).item()) < 5 * spread


def test_with_a_narrow_belief_gamma_leaves_1_where_descent_leads_to_the_start():
    """To first order dJ/dgamma = -(gradient of the summed loss) . (theta - start)."""
    for seed in range(6):
        narrow, without = (moved(seed=seed, samples=samples, init_scale=1e-6) for samples in (4, 0))
        batch = batch_of(seed=seed)
        way = narrow.theta - narrow.init_mean
        wanted = -len(batch[0]) * slope_at(narrow, narrow.theta, batch) @ way
        close(without.log_evidence(cross_entropy, batch, 1)[1], wanted, 1e-12)
        close(narrow.log_evidence(cross_entropy, batch, 1)[1], wanted, 1e-4)


def test_width_alone_moves_gamma_too():
    """At the start, where the way back has no length, a wider belief may explain a batch better; s = 1 has no wider one."""
    for scale, moves in ((0.3, True), (1.0, False)):
        trainer = moved(distance=0, posterior_scale=scale, init_scale=1.0, samples=5)
        _, slope = trainer.log_evidence(cross_entropy, batch_of(), 1)
        assert (slope.abs() > 1e-3) == moves


# --- a step -------------------------------------------------------------------------------------------------------


@each_granularity
@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_without_a_drift_it_is_gradient_descent_exactly(per, samples, scale):
    ours = SoftReset(network(), 0.3, 0, scale, per=per, samples=samples, generator=seeded())
    plain, library = OnlineSGD(network(), 0.3), network()
    optimizer = torch.optim.SGD(library.parameters(), lr=0.3)
    for seed in range(8):
        batch = batch_of(seed=seed)
        assert torch.equal(ours.step(cross_entropy, batch), plain.step(cross_entropy, batch))
        optimizer.zero_grad()
        cross_entropy(library, batch).mean().backward()
        optimizer.step()
        assert torch.equal(ours.theta, plain.theta)
        close(ours.theta, nn.utils.parameters_to_vector(library.parameters()).detach(), 1e-15)
        assert bool((chosen(ours) == 1).all())


def test_one_step_in_full():
    """K = 1, no noise, one gamma: score, gamma, drift, gradient."""
    trainer, batch = moved(per="model", samples=0, posterior_scale=0.5, drift_lr=0.01), batch_of()
    theta, start = trainer.theta.clone(), trainer.init_mean.clone()
    summed = 6 * slope_at(trainer, theta, batch)
    gamma = 1 - 0.01 * (summed @ (theta - start))
    assert 0.5 < gamma < 0.99
    drifted = gamma * theta + (1 - gamma) * start
    rate = 0.3 * (gamma**2 + (1 - gamma**2) / 0.25)
    loss = trainer.step(cross_entropy, batch)
    close(loss, losses_at(trainer, theta, batch).mean().detach(), 1e-14)
    close(trainer.gammas["model"], gamma, 1e-13)
    close(trainer.theta, drifted - rate * slope_at(trainer, drifted, batch), 1e-13)


def test_one_step_in_full_with_noise():
    """K = 1, M = 1, a gamma for each layer, each by the slopes of its own weights and biases."""
    trainer, batch = moved(posterior_scale=0.5, init_scale=0.3, drift_lr=0.02), batch_of()
    theta, start, init_std = trainer.theta.clone(), trainer.init_mean.clone(), trainer.init_std.clone()
    (noise,) = noises_of(trainer, 1)
    summed = 6 * slope_at(trainer, theta + 0.5 * init_std * noise, batch)
    changes = -summed * (theta - start + (0.25 - 1) / 0.5 * init_std * noise)
    gammas = [1 + 0.02 * part.sum() for part in changes.split([20, 24])]
    assert all(0 < gamma < 1 for gamma in gammas)
    trainer.step(cross_entropy, batch)
    assert list(trainer.gammas) == ["0", "2"]
    for gamma, found in zip(gammas, trainer.gammas.values(), strict=True):
        close(found, gamma, 1e-13)
    gamma = torch.cat([each.expand(size) for each, size in zip(gammas, (20, 24), strict=True)])
    drifted = gamma * theta + (1 - gamma) * start
    rate = 0.3 * (gamma**2 + (1 - gamma**2) / 0.25)
    close(trainer.theta, drifted - rate * slope_at(trainer, drifted, batch), 1e-13)


@each_granularity
@pytest.mark.parametrize("center", ["initial", "zero"])
@pytest.mark.parametrize(("samples", "drift_steps"), [(0, 1), (0, 3), (1, 3), (3, 1), (3, 2)])
@pytest.mark.parametrize("update_steps", [1, 3])
def test_every_step_by_hand(per, center, samples, drift_steps, update_steps):
    """K steps of gamma with the same noise; a proximal update goes from theta' by the mean of the gradients it has met."""
    size = {"model": 0.005, "layer": 0.005, "parameter": 0.2}[per]
    settings = {"samples": samples, "drift_steps": drift_steps, "update_steps": update_steps, "center": center}
    trainer = moved(per=per, drift_lr=size, posterior_scale=0.6, init_scale=0.2, **settings)
    assert bool(trainer.init_mean.any()) == (center == "initial")
    seen = []
    for seed in range(3):
        batch, theta, noises = batch_of(seed=seed), trainer.theta.clone(), noises_of(trainer, samples)
        groups, gamma = groups_of(trainer), gammas_by_hand(trainer, batch, noises)
        spread = gamma[groups]
        drifted = spread * theta + (1 - spread) * trainer.init_mean
        rate = 0.3 * (spread**2 + (1 - spread**2) / 0.36)
        point, met = drifted, []
        for _ in range(update_steps):
            met.append(slope_at(trainer, point, batch))
            point = drifted - rate * torch.stack(met).mean(0)
        trainer.step(cross_entropy, batch)
        close(chosen(trainer), gamma, 1e-11)
        close(trainer.theta, point, 1e-11)
        seen.append(gamma)
    seen = torch.cat(seen)
    assert bool(((seen > 0) & (seen < 1)).any())


def test_a_proximal_update_goes_to_where_the_gradient_and_the_way_back_balance():
    """Many steps end where theta' - rate * (mean gradient) stays: near the minimum of L + (theta - theta')^2 / (2 rate)."""
    trainer, batch = moved(drift_lr=0, samples=0, update_steps=400), batch_of()
    start = trainer.theta.clone()
    trainer.learn(cross_entropy, batch)
    end = slope_at(trainer, trainer.theta, batch) + (trainer.theta - start) / 0.3
    begin = slope_at(trainer, start, batch)
    assert end.norm() < 0.01 * begin.norm()


def test_gamma_is_kept_from_0_to_1_and_starts_at_1_for_each_batch():
    trainer = moved(per="parameter", drift_lr=1e9, samples=0, lr=0, posterior_scale=0.5)
    present, start = trainer.theta.clone(), trainer.init_mean
    trainer.step(cross_entropy, batch_of())
    gamma = chosen(trainer)
    assert set(gamma.unique().tolist()) == {0, 1}
    assert torch.equal(trainer.theta, torch.where(gamma == 1, present, start))

    def silent(model, batch):
        return 0 * cross_entropy(model, batch)

    after = trainer.theta.clone()
    trainer.step(silent, batch_of())  # no slope: nothing asks for a drift
    assert bool((chosen(trainer) == 1).all())
    assert torch.equal(trainer.theta, after)


def test_a_full_reset_leads_to_the_center_exactly():
    for center in ("initial", "zero"):
        trainer = moved(per="model", drift_lr=1e9, samples=0, lr=0, center=center)
        wanted = nn.utils.parameters_to_vector(network().parameters()).detach() * (center == "initial")
        trainer.step(cross_entropy, batch_of())
        assert trainer.gammas["model"] == 0
        assert torch.equal(trainer.theta, wanted)


def test_gamma_goes_by_the_summed_loss_and_the_gradient_by_the_mean():
    """Each example twice: gamma moves twice as far, a gradient step as far as before."""
    x, labels = batch_of()
    twice = x.repeat(2, 1), labels.repeat(2)
    away = []
    for batch in ((x, labels), twice):
        trainer = moved(per="model", samples=0, drift_lr=0.002)
        trainer.step(cross_entropy, batch)
        away.append(1 - trainer.gammas["model"])
    assert 0 < away[0] < 0.3
    close(away[1], 2 * away[0], 1e-11)
    ends = []
    for batch in ((x, labels), twice):
        trainer = moved(drift_lr=0, samples=0)
        trainer.step(cross_entropy, batch)
        ends.append(trainer.theta)
    close(*ends, 1e-14)


# --- which gamma serves whom --------------------------------------------------------------------------------------


def test_what_shares_a_gamma():
    model, layer, parameter = (moved(per=per) for per in GRANULARITIES)
    for trainer in (model, layer, parameter):
        assert bool((chosen(trainer) == 1).all())
        trainer.step(cross_entropy, batch_of())
    assert {name: each.shape for name, each in model.gammas.items()} == {"model": ()}
    assert {name: each.shape for name, each in layer.gammas.items()} == {"0": (), "2": ()}
    shapes = {name: each.shape for name, each in network().named_parameters()}
    assert {name: each.shape for name, each in parameter.gammas.items()} == shapes


@pytest.mark.parametrize(("per", "count"), [("model", 1), ("layer", 3), ("parameter", 80)])
def test_each_run_of_a_stack_has_its_own_gammas(per, count):
    stack = StackedMLP(3, 3, 5, 5, generator=seeded(), **DOUBLE)
    trainer = SoftReset(stack, 0.1, 0.1, per=per, runs=3, generator=seeded())
    trainer.step(cross_entropy, (normal(3, 6, 3), torch.randint(5, (3, 6), generator=seeded())))
    found = trainer.gammas
    assert sum(each[0].numel() for each in found.values()) == count
    shapes = {name: each.shape for name, each in stack.named_parameters()}
    names = {"model": {"model": (3,)}, "layer": {f"layers.{place}": (3,) for place in range(3)}, "parameter": shapes}
    assert {name: each.shape for name, each in found.items()} == names[per]


def test_layers_are_modules_that_own_parameters_however_deep():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    model = nn.ModuleDict({"body": inner, "head": nn.Linear(3, 2)})
    model.scale = nn.Parameter(torch.ones(()))
    trainer = SoftReset(model, 0.1, 0.1, 0.5, samples=0)
    trainer.theta.add_(normal(len(trainer.theta), dtype=torch.float32))

    def loss_fn(model, batch):
        return model.scale * (model["head"](model["body"](batch)).square().sum(-1))

    trainer.step(loss_fn, normal(4, 3, dtype=torch.float32))
    assert list(trainer.gammas) == [".", "body.0", "body.1", "head"]
    assert min(trainer.gammas.values()) < 1
    alone = SoftReset(nn.Linear(2, 3), 0.1, 0.1)
    assert list(alone.gammas) == ["."]


@pytest.mark.parametrize("samples", [0, 1, 3])
def test_slopes_of_shared_gammas_are_sums_of_those_they_stand_for(samples):
    """A small step of gamma shows its slope, where that is negative; the evidence has that of all together."""
    size, found = 1e-6, {}
    for per in GRANULARITIES:
        trainer = moved(per=per, drift_lr=size, samples=samples, lr=0)
        found[per] = trainer.log_evidence(cross_entropy, batch_of(), 1)[1]
    close(found["layer"], found["model"], 1e-12)
    close(found["parameter"], found["model"], 1e-12)
    steps = {}
    for per in ("model", "layer"):
        trainer = moved(per=per, drift_lr=size, samples=samples, lr=0)
        trainer.step(cross_entropy, batch_of())
        steps[per] = (chosen(trainer) - 1) / size
    assert bool((steps["layer"] < 0).all())
    close(steps["layer"].sum(), steps["model"][0], 1e-7)


# --- the width of the start ---------------------------------------------------------------------------------------


def test_the_belief_has_the_width_of_the_start_scaled_and_narrowed():
    trainer = moved(posterior_scale=0.5, init_scale=0.2)
    widths = initial_std(network())
    wanted = torch.cat([widths[name].expand_as(each).flatten() for name, each in network().named_parameters()])
    close(trainer.init_std, 0.2 * wanted, 1e-14)
    close(trainer.std, 0.1 * wanted, 1e-14)
    trainer.step(cross_entropy, batch_of())
    close(trainer.std, 0.1 * wanted, 1e-14)


def test_widths_can_be_given():
    model = network()
    given: Mapping[str, torch.Tensor] = {
        "0.weight": torch.tensor(2.0),
        "0.bias": torch.arange(1.0, 6),
        "2.weight": torch.arange(1.0, 5)[:, None],
        "2.bias": torch.tensor([3.0]),
    }
    trainer = SoftReset(model, 0.1, 0.1, init_scale=0.5, init_std=given)
    first, bias, second, last = trainer.init_std.split([15, 5, 20, 4])
    assert trainer.init_std.dtype == torch.float64
    close(first, torch.ones(15, **DOUBLE), 0)
    close(bias, torch.arange(1, 6, **DOUBLE) / 2, 0)
    close(second, torch.arange(1, 5, **DOUBLE).repeat_interleave(5) / 2, 0)
    close(last, torch.full((4,), 1.5, **DOUBLE), 0)


# --- a belief about each weight -----------------------------------------------------------------------------------


def bayesian_by_hand(trainer, batch, gamma_noises, update_noises, loss_fn=cross_entropy):
    """One batch, with the divergence from torch and its slopes by autograd; gives mean and std."""
    groups = groups_of(trainer)
    gamma = gammas_by_hand(trainer, batch, gamma_noises, trainer.std, loss_fn)[groups]
    start = (gamma * trainer.theta + (1 - gamma) * trainer.init_mean).detach()
    width = (gamma**2 * trainer.std**2 + (1 - gamma**2) * trainer.init_std**2).sqrt()
    drifted = torch.distributions.Normal(start, width)
    mean, log_std = start.clone(), width.log()
    unit = (trainer.posterior_scale * trainer.init_std).square()
    for noise in update_noises:
        mean.requires_grad_()
        log_std.requires_grad_()
        divergence = torch.distributions.kl_divergence(torch.distributions.Normal(mean, log_std.exp()), drifted).sum()
        loss = losses_at(trainer, mean + log_std.exp() * noise, batch, loss_fn).mean()
        by_mean, by_log_std = torch.autograd.grad(loss + trainer.temperature * divergence, (mean, log_std))
        mean = mean.detach() - trainer.lr * width**2 / unit * by_mean
        log_std = log_std.detach() - trainer.std_lr * by_log_std
    return mean, log_std.exp()


@each_granularity
@pytest.mark.parametrize("update_steps", [1, 3])
@pytest.mark.parametrize(("temperature", "std_lr"), [(0, 0), (1e-3, 0), (0, 0.5), (1e-3, 0.5)])
def test_every_step_of_a_belief_by_hand(per, update_steps, temperature, std_lr):
    """Batch after batch: widths that were learned are those that drift next."""
    settings = {"temperature": temperature, "std_lr": std_lr, "update_steps": update_steps}
    size = {"model": 0.005, "layer": 0.005, "parameter": 0.2}[per]
    trainer = moved(BayesianSoftReset, per=per, drift_lr=size, posterior_scale=0.6, init_scale=0.5, **settings)
    seen = []
    for seed in range(4):
        batch = batch_of(seed=seed)
        noises = noises_of(trainer, 1 + update_steps)
        mean, std = bayesian_by_hand(trainer, batch, noises[:1], noises[1:])
        trainer.step(cross_entropy, batch)
        close(trainer.theta, mean, 1e-10)
        close(trainer.std, std, 1e-10)
        seen.append(chosen(trainer))
    seen = torch.cat(seen)
    assert bool(((seen > 0) & (seen < 1)).any())
    assert bool((trainer.std > 0).all())


def test_one_step_of_a_belief_without_divergence_in_full():
    """At gamma = 1, temperature 0 and fixed widths: gradient descent by the gradient at one draw of the belief."""
    trainer, batch = moved(BayesianSoftReset, drift_lr=0, temperature=0, std_lr=0, init_scale=0.3), batch_of()
    theta, (_, noise) = trainer.theta.clone(), noises_of(trainer, 2)
    trainer.step(cross_entropy, batch)
    close(trainer.theta, theta - 0.3 * slope_at(trainer, theta + trainer.init_std * noise, batch), 1e-13)
    close(trainer.std, trainer.init_std, 1e-14)


def test_it_scores_by_the_means():
    trainer, batch = moved(BayesianSoftReset, init_scale=2.0), batch_of()
    for _ in range(3):
        wanted = losses_at(trainer, trainer.theta.clone(), batch).mean()
        assert torch.equal(trainer.step(cross_entropy, batch), wanted.detach())


def test_the_divergence_holds_the_widths_where_the_drift_left_them():
    ends = []
    for temperature in (0, 0.1, 1):
        trainer = moved(
            BayesianSoftReset, drift_lr=0, init_scale=1.0, std_lr=0.3, update_steps=15, temperature=temperature
        )
        trainer.step(cross_entropy, batch_of())
        ends.append((trainer.std / trainer.init_std).log().norm())
    assert ends[0] > 1.5 * ends[1] > 1.5 * 1.5 * ends[2]


def test_widths_shrink_where_the_labels_need_a_weight_and_stay_positive():
    """A linear model with one input that is always 0: nothing is learned about its weight."""
    torch.manual_seed(0)
    model = nn.Linear(2, 3).double()
    trainer = BayesianSoftReset(
        model, 0.2, 0, init_scale=1.0, std_lr=0.3, temperature=0.01, update_steps=2, generator=seeded()
    )
    for seed in range(150):
        x = normal(16, 2, seed=seed) * torch.tensor([3, 0], **DOUBLE)
        trainer.step(cross_entropy, (x, (x[:, 0] > 0).long()))
        assert bool((trainer.std > 0).all())
    ratio = (trainer.std / trainer.init_std)[:6].view(3, 2).log()
    assert bool((ratio[:, 0] < -0.1).all())
    close(ratio[:, 1], torch.zeros(3, **DOUBLE), 1e-10)


def test_a_strong_divergence_is_not_overshot():
    """Its quadratic part alone would throw the mean beyond the drifted one, and further at each step."""
    trainer = moved(BayesianSoftReset, drift_lr=0, init_scale=0.01, temperature=1e3, std_lr=0, update_steps=40)
    theta, batch = trainer.theta.clone(), batch_of()
    last = noises_of(trainer, 41)[-1]
    trainer.step(cross_entropy, batch)
    assert (trainer.theta - theta).norm() < 2 * 0.3 * slope_at(trainer, theta, batch).norm()
    assert not torch.equal(trainer.theta, theta)
    assert last.norm() > 0


def test_a_belief_without_width_takes_the_steps_of_soft_reset():
    """Widths far below the distances that matter; std at its start."""
    settings = {"posterior_scale": 0.6, "init_scale": 1e-6, "samples": 0, "drift_lr": 0.005}
    plain = moved(**settings)
    belief = moved(BayesianSoftReset, temperature=0, std_lr=0, **settings)
    batch = batch_of()
    for trainer in (plain, belief):
        trainer.step(cross_entropy, batch)
    assert chosen(plain).min() < 0.99
    close(chosen(belief), chosen(plain), 1e-12)
    close(belief.theta, plain.theta, 1e-5)


def test_runs_of_a_stack_of_beliefs_do_not_meet():
    """A batch of one run changes nothing in the others."""
    ends = []
    for shift in (0, 1):
        stack = StackedMLP(3, 3, 4, 5, generator=seeded(), **DOUBLE)
        trainer = BayesianSoftReset(stack, 0.3, 0.02, 0.6, runs=3, generator=seeded())
        for seed in range(4):
            x, labels = normal(3, 6, 3, seed=seed), torch.randint(4, (3, 6), generator=seeded(seed))
            labels[1] = (labels[1] + shift) % 4
            trainer.step(cross_entropy, (x, labels))
        ends.append((trainer.theta, trainer.std))
    for one, other in zip(*ends, strict=True):
        assert torch.equal(one[::2], other[::2])
        assert not torch.equal(one[1], other[1])


# --- what it is for -----------------------------------------------------------------------------------------------


def tasks_of(runs: int, tasks: int, points: int = 32, epochs: int = 20, b: int = 8):
    """(task, whether it begins, x, labels): the same points under new random labels, each task in new orders."""
    draws = seeded(5)
    x = torch.randn(runs, points, 8, generator=draws)
    for task in range(tasks):
        labels = torch.randint(4, (runs, points), generator=draws)
        for epoch in range(epochs):
            order = torch.randperm(points, generator=draws)
            for part, rows in enumerate(order.split(b)):
                yield task, epoch == part == 0, x[:, rows], labels[:, rows]


@pytest.mark.slow
def test_it_keeps_a_network_able_to_learn_and_finds_the_boundaries():
    """Labels by heart, 20 times: gradient descent learns ever less, soft reset as much as at first, for each of 3 seeds."""
    runs, tasks = 3, 20
    models = [StackedMLP(runs, 8, 4, 24, generator=seeded(2)) for _ in range(2)]
    plain = OnlineSGD(models[0], 0.3, runs=runs)
    soft = SoftReset(models[1], 0.3, 0.005, runs=runs, generator=seeded(3))
    right = torch.zeros(2, tasks, runs)
    at, inside = [], []
    for task, begins, x, labels in tasks_of(runs, tasks):
        for place, trainer in enumerate((plain, soft)):
            with torch.no_grad():
                right[place, task] += (trainer.model(x).argmax(-1) == labels).float().mean(-1) / 80
            trainer.learn(cross_entropy, (x, labels))
        if task:
            (at if begins else inside).append(torch.stack(list(soft.gammas.values())).mean(0))
    (plain_first, soft_first), (plain_last, soft_last) = right[:, :3].mean(1), right[:, -5:].mean(1)
    assert bool((plain_last < plain_first - 0.15).all())
    assert bool((soft_last > soft_first - 0.05).all())
    assert bool((soft_last > plain_last + 0.15).all())
    assert bool((torch.stack(at).mean(0) < torch.stack(inside).mean(0) - 0.02).all())


def test_a_state_holds_the_law_of_the_start_and_the_widths_as_copies():
    trainer = moved(BayesianSoftReset)
    trainer.step(cross_entropy, batch_of())
    state = trainer.state_dict()
    assert set(state) == {"kind", "init_mean", "init_std", "std", "generator"}
    kept = copy.deepcopy(state)
    assert all(torch.equal(state[name], getattr(trainer, name)) for name in ("init_mean", "init_std", "std"))
    trainer.step(cross_entropy, batch_of(seed=1))
    assert all(torch.equal(state[name], each) for name, each in kept.items() if name != "kind")
    assert not torch.equal(trainer.std, state["std"])
    trainer.load_state_dict(trainer.state_dict() | {"init_mean": torch.zeros_like(trainer.theta)})
    assert not trainer.init_mean.any()
    assert torch.equal(state["init_mean"], kept["init_mean"])  # another state in the trainer leaves this one alone


# --- what must not go wrong silently ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SoftReset, BayesianSoftReset])
def test_a_copy_goes_on_alone_and_alike(kind):
    trainer = moved(kind, generator=seeded())
    trainer.step(cross_entropy, batch_of())
    twin = copy.deepcopy(trainer)
    assert all(a is b for a, b in zip(twin.parameters, twin.model.parameters(), strict=True))
    before = trainer.theta.clone()
    losses = [twin.step(cross_entropy, batch_of(seed=seed)) for seed in range(3)]
    assert torch.equal(trainer.theta, before)
    assert losses == [trainer.step(cross_entropy, batch_of(seed=seed)) for seed in range(3)]
    assert torch.equal(twin.theta, trainer.theta)
    assert torch.equal(twin.theta, twin.flat(list(twin.model.parameters())))


def test_a_rate_of_0_moves_nothing_however_many_updates():
    trainer = moved(lr=0, drift_lr=0, update_steps=3)
    before = trainer.theta.clone()
    trainer.step(cross_entropy, batch_of())
    assert torch.equal(trainer.theta, before)


@pytest.mark.parametrize("kind", [SoftReset, BayesianSoftReset])
@pytest.mark.parametrize("call", ["learn", "log_evidence"])
@pytest.mark.parametrize("at", [1, 2])
def test_a_loss_that_fails_leaves_the_model_as_it_was(kind, call, at):
    trainer, calls = moved(kind, generator=seeded(), update_steps=2), []
    before, std = trainer.theta.clone(), trainer.std.clone()

    def failing(model, batch):
        calls.append(1)
        if len(calls) == at:
            raise RuntimeError("no more memory")
        return cross_entropy(model, batch)

    if call == "log_evidence" and at == 2:
        trainer.samples = 2
    with pytest.raises(RuntimeError, match="no more memory"):
        getattr(trainer, call)(failing, batch_of(), *([0.7] if call == "log_evidence" else []))
    assert torch.equal(trainer.theta, before)
    assert torch.equal(trainer.std, std)


def test_a_layer_may_be_called_model():
    """It is not taken for the root, whose parameters come first."""
    model = nn.Module()
    model.scale = nn.Parameter(torch.ones(()))
    model.first, model.model = nn.Linear(3, 3), nn.Linear(3, 2)
    trainer = SoftReset(model, 0.1, 0.01, 0.5, samples=0)
    trainer.theta.add_(normal(len(trainer.theta), dtype=torch.float32))

    def loss_fn(model, batch):
        return model.scale * model.model(model.first(batch)).square().sum(-1)

    x = normal(4, 3, dtype=torch.float32)
    gradients = torch.autograd.grad(-loss_fn(model, x).sum(), trainer.parameters)
    ways = [each.detach() - start for each, start in zip(trainer.parameters, starts(trainer))]
    slopes = [float((gradient * way).sum()) for gradient, way in zip(gradients, ways)]
    trainer.step(loss_fn, x)
    wanted = {".": slopes[0], "first": slopes[1] + slopes[2], "model": slopes[3] + slopes[4]}
    assert list(trainer.gammas) == list(wanted)
    for name, slope in wanted.items():
        assert float(trainer.gammas[name]) == pytest.approx(min(1.0, max(0.0, 1 + 0.01 * slope)), abs=1e-5)


def starts(trainer: SoftReset) -> list[torch.Tensor]:
    parts = zip(trainer.split(trainer.init_mean), trainer.parameters)
    return [part.view(each.shape) for part, each in parts]
