"""Learned guidance against exact answers: the guided prediction, both losses by hand, what is learned, and the walks.

The model is an exact labelled mixture wherever a right answer is wanted. Seeds are fixed; an estimate may be four
standard errors off, a law that is right has a p-value above `CHANCE`.
"""

import itertools
import math
from dataclasses import dataclass, field

import pytest
import torch
from agree import normal, seeded
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from companion.data.labelled import LONG_TAIL, four_classes
from companion.foundations.conditional import ConditionalDenoiser
from companion.foundations.diffusion import bridge, sample, time_grid
from companion.foundations.distances import energy_distance
from companion.foundations.networks import TimeMLP, UNet
from companion.foundations.training import TrainingState
from companion.methods.guidance import (
    GuidanceWeights,
    aware,
    draw_times,
    guide,
    guided_step,
    learn_guidance,
    reward_loss,
    sample_guided,
    self_consistency_loss,
)

CHANCE = 1e-3
LAW = four_classes().to(torch.float64)
MODEL = LAW.conditional, LAW.unconditional
GRID = time_grid(20)


def in_turn(n: int) -> torch.Tensor:
    """Labels 0, 1, 2, 3, 0, 1 and so on."""
    return torch.arange(n) % 4


def clean_points(n: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    labels = in_turn(n)
    return LAW.sample_given(labels, seeded(seed)), labels


def everywhere(value):
    """A schedule of one weight, a number or a () tensor, for every class and time."""
    return lambda labels, s, t: torch.as_tensor(value, dtype=torch.float64).expand(len(labels))


def as_images(event: tuple[int, ...]):
    """The exact model, for points that come in another shape."""
    conditional = lambda x, t, labels: LAW.conditional(x.flatten(1), t, labels).unflatten(1, event)  # noqa: E731
    return conditional, lambda x, t: LAW.unconditional(x.flatten(1), t).unflatten(1, event)


def network(seed: int = 0, dtype: torch.dtype = torch.float32) -> ConditionalDenoiser:
    torch.manual_seed(seed)
    return ConditionalDenoiser(TimeMLP(2, 8, width=16, depth=1), 4).to(dtype)


def weights(seed: int = 0, classes: int = 4, **options) -> GuidanceWeights:
    """With a last layer large enough that classes and times matter from the start."""
    torch.manual_seed(seed)
    module = GuidanceWeights(classes, **options)
    with torch.no_grad():
        module.net[-1].weight.mul_(10)
    return module


@dataclass
class Spy:
    """A callable that writes down what it was asked, and whether gradients were on."""

    inner: object
    asked: list[tuple] = field(default_factory=list)
    gradients: list[bool] = field(default_factory=list)

    def __call__(self, *asked):
        self.asked.append(asked)
        self.gradients.append(torch.is_grad_enabled())
        return self.inner(*asked)


# --- the guided prediction ------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [(2,), (1, 3, 3)], ids=str)
def test_weight_0_is_the_conditional_prediction_minus_1_the_other_and_1_as_far_again(event):
    x_c, x_u = normal(5, *event), normal(5, *event, seed=1)
    for zero in (0, 0.0, torch.tensor(0.0), torch.zeros(5)):
        assert torch.equal(guide(x_c, x_u, zero), x_c)
    for minus in (-1, -1.0, torch.tensor(-1.0), -torch.ones(5)):
        torch.testing.assert_close(guide(x_c, x_u, minus), x_u)
    torch.testing.assert_close(guide(x_c, x_u, 1), 2 * x_c - x_u)


@pytest.mark.parametrize("event", [(2,), (5,), (1, 3, 3), (5, 5, 5)], ids=str)
def test_each_row_has_its_own_weight_over_all_of_its_event(event):
    x_c, x_u, weight = normal(5, *event), normal(5, *event, seed=1), normal(5, seed=2)
    guided = guide(x_c, x_u, weight)
    assert guided.shape == x_c.shape
    for row in range(5):
        alone = x_c[row] + weight[row].item() * (x_c[row] - x_u[row])
        torch.testing.assert_close(guided[row], alone)
        torch.testing.assert_close(guide(x_c, x_u, weight[row])[row], alone)
        torch.testing.assert_close(guide(x_c, x_u, weight[row].item())[row], alone)


@given(a=st.floats(-5, 5), b=st.floats(-5, 5), weight=st.floats(-3, 9), seed=st.integers(0, 99))
def test_guiding_is_linear_in_the_predictions_and_affine_in_the_weight(a, b, weight, seed):
    first, second, third, fourth = (normal(3, 2, seed=4 * seed + part) for part in range(4))
    together = guide(a * first + b * third, a * second + b * fourth, weight)
    torch.testing.assert_close(together, a * guide(first, second, weight) + b * guide(third, fourth, weight))
    both = guide(first, second, a) + guide(first, second, b)
    torch.testing.assert_close(guide(first, second, a + b), both - first)
    torch.testing.assert_close(guide(first, first, weight), first)


def test_the_predictions_precision_stays_and_gradients_reach_all_three():
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        x_c, x_u = normal(4, 2, dtype=torch.float32).to(dtype), torch.zeros(4, 2, dtype=dtype)
        for weight in (0.5, torch.tensor(0.5), torch.full((4,), 0.5), torch.full((4,), 0.5, dtype=torch.float64)):
            assert guide(x_c, x_u, weight).dtype == dtype
    parts = [part.requires_grad_() for part in (normal(4, 2), normal(4, 2, seed=1), normal(4, seed=2))]
    assert torch.autograd.gradcheck(guide, parts)


# --- the learned weight ---------------------------------------------------------------------------------------


def test_a_weight_is_what_the_perceptron_makes_of_the_class_and_of_both_times():
    module, labels = weights().double(), torch.tensor([2, 0, 3])
    s, t = torch.tensor([0.1, 0.2, 0.3]).double(), torch.tensor([0.5, 0.9, 0.31]).double()
    rows = []
    for label, *times in zip(labels.tolist(), s.tolist(), t.tolist(), strict=True):
        row = [float(label == other) for other in range(4)]
        for time in times:
            row += [time, math.sin(math.pi * time), math.cos(math.pi * time)]
        rows.append(row)
    raw = module.net(torch.tensor(rows, dtype=torch.float64))[:, 0]
    torch.testing.assert_close(module(labels, s, t), (1 + raw.exp()).log())


@pytest.mark.parametrize("output", ["softplus", "relu", "signed"])
@pytest.mark.parametrize("start", [0.01, 0.5, 1, 20])
def test_at_the_beginning_the_weight_is_about_the_same_for_every_class_and_time(start, output):
    torch.manual_seed(0)
    module, (s, t) = (
        GuidanceWeights(4, start=start, output=output),
        draw_times(400, 0.1, 0.005, torch.ones(1), seeded()),
    )
    assert (module(in_turn(400), s, t) - start).abs().max() < 0.03
    module.net[-1].weight.data.zero_()
    torch.testing.assert_close(module(in_turn(400), s, t), torch.full((400,), float(start)), rtol=1e-5, atol=0)


@pytest.mark.parametrize("start", [1e-6, 200, 1000])
def test_the_start_may_be_tiny_or_large(start):
    module = GuidanceWeights(2, start=start)
    module.net[-1].weight.data.zero_()
    torch.testing.assert_close(module(in_turn(2), 0.1, 0.9), torch.full((2,), float(start)))


@pytest.mark.parametrize("output", ["softplus", "relu", "signed"])
def test_no_weight_is_negative_unless_it_may_be_and_only_a_relu_can_be_0_without_a_gradient(output):
    module, (s, t) = weights(output=output), draw_times(4000, 0.1, 0.005, torch.ones(1), seeded())
    with torch.no_grad():
        module.net[-1].weight.mul_(30)
        module.net[-1].bias.sub_(module.net(torch.zeros(1, 10))[0])
    value = module(in_turn(4000), s, t)
    assert value.max() > 0.5
    assert bool((value < -0.5).any()) == (output == "signed")
    assert bool((value == 0).any()) == (output == "relu")
    assert output == "signed" or value.min() >= 0
    with torch.no_grad():
        module.net[-1].bias.fill_(-50)
    module(in_turn(4000), s, t).sum().backward()
    assert (module.net[-1].bias.grad == 0) == (output == "relu")


def test_the_class_and_each_of_the_two_times_matter():
    module, labels = weights(), in_turn(1)
    first = module(labels, 0.2, 0.6)
    for other in (module(labels + 1, 0.2, 0.6), module(labels, 0.3, 0.6), module(labels, 0.2, 0.7)):
        assert (other - first).abs() > 1e-4
    assert (module(labels, 0.6, 0.2) - first).abs() > 1e-4
    assert (module(labels, 0.3, 0.7) - first).abs() > 1e-4  # not the difference alone


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_time_may_be_a_number_a_tensor_of_no_axis_or_one_for_each_row(dtype):
    module, labels = weights().to(dtype), torch.tensor([3, 1, 0, 0])
    expected = module(labels, 0.25, 0.75)
    assert expected.shape == (4,)
    assert expected.dtype == dtype
    for precision in (torch.float32, torch.float64):
        s, t = (torch.tensor(time, dtype=precision) for time in (0.25, 0.75))
        for times in ((s, t), (0.25, t), (s.expand(4), t), (s.expand(4), t.expand(4)), (s.expand(4), 0.75)):
            torch.testing.assert_close(module(labels, *times), expected)
    for kind in (torch.int32, torch.int16, torch.int8):
        assert torch.equal(module(labels.to(kind), 0.25, 0.75), expected)
    for row in range(4):
        torch.testing.assert_close(module(labels[row : row + 1], 0.25, 0.75), expected[row : row + 1])
    assert module(labels, 0, 1).shape == (4,)


def test_a_module_in_half_precision_answers_in_it():
    module = weights().to(torch.bfloat16)
    value = module(in_turn(4), torch.tensor(0.2), torch.tensor(0.7))
    assert value.dtype == torch.bfloat16
    torch.testing.assert_close(value.float(), weights()(in_turn(4), 0.2, 0.7), rtol=0.1, atol=0.05)


# --- one guided step ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("churn", [0.0, 0.4, 1.0])
def test_a_guided_step_is_the_bridge_to_the_guided_prediction(churn):
    x, labels, weight = normal(6, 2), in_turn(6), normal(6, seed=1)
    s, t = torch.linspace(0.1, 0.4, 6).double(), torch.linspace(0.9, 0.5, 6).double()
    noise = normal(6, 2, seed=3)
    pushed = guided_step(*MODEL, weight, x, labels, s, t, churn, seeded(3))
    assert pushed.shape == (6, 2)
    for row in range(6):
        one, s_, t_ = slice(row, row + 1), s[row].item(), t[row].item()
        x_c, x_u = LAW.conditional(x[one], t_, labels[one]), LAW.unconditional(x[one], t_)
        mean, std = bridge(x[one], x_c + weight[row] * (x_c - x_u), t_, s_, churn)
        torch.testing.assert_close(pushed[one], mean + std * noise[one])


def test_a_step_takes_one_weight_and_one_pair_of_times_for_all_rows_too():
    x, labels = normal(6, 2), in_turn(6)
    expected = guided_step(*MODEL, torch.full((6,), 0.7), x, labels, torch.full((6,), 0.2), torch.full((6,), 0.6))
    for s, t in ((0.2, 0.6), (torch.tensor(0.2), torch.tensor(0.6))):
        torch.testing.assert_close(guided_step(*MODEL, 0.7, x, labels, s, t), expected)


def test_gradients_of_a_step_reach_its_weight_alone():
    model, x, weight = network(), normal(6, 2, dtype=torch.float32), torch.full((6,), 0.7, requires_grad=True)
    conditional, unconditional = Spy(model.conditional), Spy(model.unconditional)
    guided_step(conditional, unconditional, weight, x, in_turn(6), 0.2, 0.6).sum().backward()
    assert conditional.gradients == unconditional.gradients == [False]
    assert bool((weight.grad != 0).all())
    assert all(parameter.grad is None for parameter in model.parameters())


# --- the loss: by hand ----------------------------------------------------------------------------------------


def by_hand(model, schedule, x0, labels, s, t, population, beta, lam, generator, churn):
    """Particle by particle. The noises come as the loss draws them: those of x_s, of x_t, and of the churn."""
    conditional, unconditional = model
    draws = [torch.randn(len(x0) * population, *x0.shape[1:], generator=generator, dtype=x0.dtype) for _ in range(2)]
    if churn > 0:
        draws.append(torch.randn(draws[0].shape, generator=generator, dtype=x0.dtype))
    total, weight = 0.0, schedule(labels, s, t)
    for row in range(len(x0)):
        noised, pushed = [], []
        for particle in range(population):
            which = row * population + particle
            point, own, s_, t_ = x0[row : row + 1], labels[row : row + 1], s[row].item(), t[row].item()
            noised.append((1 - s_) * point + s_ * draws[0][which])
            x_t = (1 - t_) * point + t_ * draws[1][which]
            x_c, x_u = conditional(x_t, t_, own), unconditional(x_t, t_)
            clean = x_c + weight[row] * (x_c - x_u)
            if churn == 0:
                pushed.append(s_ / t_ * x_t + (1 - s_ / t_) * clean)
            else:
                mean, std = bridge(x_t, clean, t_, s_, churn)
                pushed.append(mean + std * draws[2][which])
        m = population
        attraction = sum((a - b).norm() ** beta for a in pushed for b in noised) / m**2
        pairs = [(pushed[j] - pushed[k]).norm() ** beta for j in range(m) for k in range(m) if j != k]
        repulsion = sum(pairs) / (2 * m * (m - 1)) if lam > 0 else 0.0
        total = total + attraction - lam * repulsion
    return total / len(x0)


@pytest.mark.parametrize("churn", [0.0, 0.7])
@pytest.mark.parametrize(
    ("population", "beta", "lam"),
    [(4, 1.0, 1.0), (2, 1.0, 1.0), (3, 0.5, 0.3), (2, 1.7, 1), (3, 2, 0.5), (3, 2, 0), (1, 1.0, 0.0), (5, 1.3, 0.0)],
)
@pytest.mark.parametrize("event", [(2,), (1, 2, 1)], ids=str)
def test_the_loss_and_its_gradient_are_those_of_a_double_loop(event, population, beta, lam, churn):
    x0, labels = clean_points(5)
    s, t = draw_times(5, 0.1, 0.005, x0, seeded(2))
    results, x0 = [], x0.unflatten(1, event)
    for loss in (
        lambda *rest: self_consistency_loss(*as_images(event), *rest[:-1], churn=rest[-1]),
        lambda *rest: by_hand(as_images(event), *rest),
    ):
        level = torch.tensor([0.3, 0.1, 0.8, 2.0], dtype=torch.float64, requires_grad=True)
        schedule = lambda labels, s, t, level=level: level[labels] * (1 + s + 2 * t)  # noqa: E731
        value = loss(schedule, x0, labels, s, t, population, beta, lam, seeded(3), churn)
        results.append((value.detach(), torch.autograd.grad(value, level)[0]))
    torch.testing.assert_close(*results)
    assert bool((results[0][1] != 0).all())


def test_without_repulsion_and_with_the_square_it_is_a_regression_of_one_particle_on_the_other():
    x0, labels = clean_points(50)
    s, t = draw_times(50, 0.1, 0.005, x0, seeded(2))
    noise, generator = seeded(3), seeded(3)
    x_s, x_t = (
        (1 - time)[:, None] * x0 + time[:, None] * torch.randn(50, 2, generator=noise, dtype=torch.float64)
        for time in (s, t)
    )
    clean = guide(LAW.conditional(x_t, t, labels), LAW.unconditional(x_t, t), 0.4)
    expected = (bridge(x_t, clean, t, s)[0] - x_s).square().sum(1).mean()
    loss = self_consistency_loss(*MODEL, everywhere(0.4), x0, labels, s, t, 1, 2, 0, generator)
    torch.testing.assert_close(loss, expected)


def test_by_default_there_are_four_particles_beta_and_lam_are_1_and_steps_are_ddims():
    x0, labels = clean_points(20)
    s, t = draw_times(20, 0.1, 0.005, x0, seeded(2))
    batch = (*MODEL, everywhere(0.4), x0, labels, s, t)
    explicit = self_consistency_loss(*batch, population=4, beta=1.0, lam=1.0, generator=seeded(3), churn=0.0)
    assert torch.equal(self_consistency_loss(*batch, generator=seeded(3)), explicit)


@pytest.mark.parametrize("churn", [0.0, 1.0])
@pytest.mark.parametrize("beta", [1.0, 1.5])
def test_its_mean_does_not_depend_on_the_population(beta, churn):
    """With 1/m^2 for the pairs of pushed particles too, the two means would lie many standard errors apart."""
    means, errors = [], []
    x0, labels = clean_points(400)
    s, t = draw_times(400, 0.1, 0.005, x0, seeded(2))
    for population, repeats in ((2, 60), (8, 20)):
        batch = (*MODEL, everywhere(0.5), x0, labels, s, t, population, beta, 1.0)
        values = torch.stack([self_consistency_loss(*batch, seeded(k), churn=churn) for k in range(repeats)])
        means.append(values.mean().item())
        errors.append(values.std().item() / repeats**0.5)
    error = math.hypot(*errors)
    assert abs(means[0] - means[1]) < 4 * error
    assert error < 0.02 * means[0]


def test_the_model_is_asked_once_about_all_particles_without_gradients_and_the_weight_once_about_the_points():
    model, x0, labels = network(dtype=torch.float64), *clean_points(6)
    s, t = draw_times(6, 0.1, 0.005, x0, seeded(2))
    conditional, unconditional, schedule = Spy(model.conditional), Spy(model.unconditional), Spy(weights().double())
    self_consistency_loss(conditional, unconditional, schedule, x0, labels, s, t, 3, generator=seeded())
    assert conditional.gradients == unconditional.gradients == [False]
    x, times, classes = conditional.asked[0]
    assert x.shape == (18, 2)
    assert torch.equal(times, t.repeat_interleave(3))
    assert torch.equal(classes, labels.repeat_interleave(3))
    assert torch.equal(unconditional.asked[0][0], x)
    assert torch.equal(unconditional.asked[0][1], times)
    assert schedule.gradients == [True]
    assert len(schedule.asked) == 1
    assert all(map(torch.equal, schedule.asked[0], (labels, s, t)))


@pytest.mark.parametrize("output", ["softplus", "relu", "signed"])
def test_gradients_reach_every_part_of_the_weights_and_none_of_the_model(output):
    model, schedule, (x0, labels) = network(), weights(output=output), clean_points(40)
    x0 = x0.float()
    batch = x0, labels, *draw_times(40, 0.1, 0.005, x0, seeded(2))
    self_consistency_loss(model.conditional, model.unconditional, schedule, *batch, generator=seeded()).backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in schedule.parameters())


def test_where_both_predictions_agree_the_weight_does_not_matter():
    model, (x0, labels) = network(dtype=torch.float64), clean_points(40)
    model.forget_classes()
    schedule, times = weights().double(), draw_times(40, 0.1, 0.005, x0, seeded(2))
    loss = self_consistency_loss(
        model.conditional, model.unconditional, schedule, x0, labels, *times, generator=seeded()
    )
    loss.backward()
    assert loss > 0.1
    assert all(bool((parameter.grad == 0).all()) for parameter in schedule.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_loss_works_in_every_precision_and_on_images(dtype):
    torch.manual_seed(0)
    model = ConditionalDenoiser(UNet(3, noise_channels=4, width=8), 4, embedding=4).to(dtype)
    x0 = normal(4, 3, 8, 8).to(dtype)
    times = draw_times(4, 0.1, 0.005, x0, seeded(2))
    labels = in_turn(4).int()
    loss = self_consistency_loss(model.conditional, model.unconditional, weights(), x0, labels, *times)
    loss.backward()
    assert loss.isfinite()


def test_particles_close_to_each_other_and_far_from_the_origin_keep_their_distances_in_single_precision():
    """At s = 0.001 they lie about 0.001 apart; distances by products of matrices would be off by more than that."""
    x0, labels, losses = normal(20, 2) + 100, in_turn(20), []
    for dtype in (torch.float32, torch.float64):
        points = x0.to(dtype).repeat_interleave(4, dim=0)
        model = (lambda x, t, labels, points=points: points), (lambda x, t, points=points: points)
        times = torch.full((20,), 0.001, dtype=dtype), torch.full((20,), 0.2, dtype=dtype)
        batches = [
            self_consistency_loss(*model, everywhere(0.5), x0.to(dtype), labels, *times, generator=seeded(seed))
            for seed in range(20)
        ]
        losses.append(torch.stack(batches).mean().double())
    torch.testing.assert_close(*losses, rtol=0.1, atol=0)


# --- the loss: its minimum ------------------------------------------------------------------------------------


def minimiser(loss) -> float:
    """Of a function of the weight that is quadratic, exactly, from three of its values."""
    below, middle, above = (loss(weight).item() for weight in (-1.0, 0.0, 1.0))
    return (below - above) / (2 * (below - 2 * middle + above))


@pytest.mark.parametrize(("s", "t"), [(0.1, 0.3), (0.3, 0.6), (0.5, 0.8)])
def test_with_noises_of_their_own_a_regression_over_guides_an_exact_model_and_with_one_noise_it_does_not(s, t):
    """The best weight is -E<r, d> / (c0 E|d|^2), where d = x_c - x_u, c0 = 1 - s / t and r = s noise + c0 (x_c - x0).

    An exact x_c is right on average, whatever d, so that only -s E<noise, d> is left, which by Stein's lemma is
    -s t times the mean divergence of d. With one noise for both particles, r = c0 (x_c - x0), and nothing is left.
    """
    n = 40_000
    x0, labels = clean_points(n)
    times = torch.full((n,), s, dtype=torch.float64), torch.full((n,), t, dtype=torch.float64)

    def loss(weight):
        return self_consistency_loss(*MODEL, everywhere(weight), x0, labels, *times, 1, 2.0, 0.0, seeded(5))

    noise, clean_step = normal(n, 2, seed=77), 1 - s / t
    x_t = ((1 - t) * x0 + t * noise).requires_grad_()
    x_c = LAW.conditional(x_t, t, labels)
    d = x_c - LAW.unconditional(x_t, t)
    slopes = [torch.autograd.grad(d[:, axis].sum(), x_t, retain_graph=True)[0][:, axis] for axis in (0, 1)]
    x_t, x_c, d, square = x_t.detach(), x_c.detach(), d.detach(), d.detach().square().sum(1).mean()
    predicted = -((s * noise + clean_step * (x_c - x0)) * d).sum(1).mean() / (clean_step * square)
    stein = -s * t * torch.stack(slopes).sum(0).mean() / (clean_step * square)

    def with_one_noise(weight):
        pushed = s / t * x_t + clean_step * guide(x_c, x_c - d, weight)
        return (pushed - ((1 - s) * x0 + s * noise)).square().sum(1).mean()

    best = minimiser(loss)
    assert best > 0.25
    assert best == pytest.approx(predicted.item(), abs=0.02)
    assert best == pytest.approx(stein.item(), abs=0.02)
    assert abs(minimiser(with_one_noise)) < 0.01


def test_the_energy_loss_of_an_exact_model_is_smallest_near_weight_0():
    x0, labels = clean_points(8000)
    times = draw_times(8000, 0.1, 0.005, x0, seeded(2))
    grid = (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0)
    values = [self_consistency_loss(*MODEL, everywhere(w), x0, labels, *times, generator=seeded(3)) for w in grid]
    assert grid[torch.stack(values).argmin()] == 0
    assert values[-1] > 1.5 * values[3]


# --- the reward -----------------------------------------------------------------------------------------------


def beyond(level: float):
    """A reward with a slope everywhere: how far a point lies along its class's own direction."""
    angle = torch.arange(4, dtype=torch.float64) * math.pi / 2
    along = torch.stack([angle.cos(), angle.sin()], dim=1)
    return lambda x0, labels: ((x0 * along[labels]).sum(1) - level).tanh()


@pytest.mark.parametrize("churn", [0.0, 0.6])
def test_the_reward_loss_is_minus_the_mean_reward_of_two_guided_steps_with_gradients_through_both(churn):
    x0, labels = clean_points(12)
    s, t = draw_times(12, 0.1, 0.005, x0, seeded(2))
    first, second = (torch.full((4,), w, dtype=torch.float64, requires_grad=True) for w in (0.4, 0.9))

    def schedule(labels, s, t):
        return torch.where(s < t, first[labels], second[labels]) * (1 + s + 2 * t)

    spy = Spy(schedule)
    loss = reward_loss(*MODEL, spy, beyond(1.0), x0, labels, s, t, seeded(3), churn=churn)
    noise = seeded(3)
    x_t = (1 - t)[:, None] * x0 + t[:, None] * torch.randn(12, 2, generator=noise, dtype=torch.float64)
    x_c, x_u = LAW.conditional(x_t, t, labels), LAW.unconditional(x_t, t)
    mean, std = bridge(x_t, x_c + schedule(labels, s, t)[:, None] * (x_c - x_u), t, s, churn)
    x_s = mean
    if churn > 0:
        x_s = mean + std[:, None] * torch.randn(12, 2, generator=noise, dtype=torch.float64)
    x_c, x_u = LAW.conditional(x_s, s, labels), LAW.unconditional(x_s, s)
    clean = x_c + (second[labels] * (1 + 3 * s))[:, None] * (x_c - x_u)
    expected = -beyond(1.0)(clean, labels).mean()

    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(value, (first, second)) for value in (loss, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert bool((ours != 0).all())
    first_call, second_call = spy.asked
    assert all(map(torch.equal, first_call, (labels, s, t)))
    assert all(map(torch.equal, second_call, (labels, s, s)))


def test_a_reward_for_going_outwards_raises_the_weight_and_one_for_going_inwards_lowers_it():
    x0, labels = clean_points(400)
    times = draw_times(400, 0.1, 0.005, x0, seeded(2))
    for sign in (1, -1):
        weight = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        reward = lambda x0, labels, sign=sign: sign * beyond(1.0)(x0, labels)  # noqa: E731
        reward_loss(*MODEL, everywhere(weight), reward, x0, labels, *times, seeded(3)).backward()
        assert sign * weight.grad < -0.01


# --- learning -------------------------------------------------------------------------------------------------

DATA, LABELS = four_classes(frequencies=LONG_TAIL).sample_labelled(300, seeded(1))
SINGLE = four_classes()
EXACT = SINGLE.conditional, SINGLE.unconditional


def learn(steps: int = 4, seed: int = 0, data=DATA, labels=LABELS, model=EXACT, **options):
    torch.manual_seed(seed)
    options = {"batch_size": 8, "generator": seeded(seed)} | options
    return learn_guidance(*model, data, labels, steps, **options)


def test_it_yields_a_training_state_for_each_update_and_trains_the_weights_it_was_given():
    module = weights()
    before = [parameter.clone() for parameter in module.parameters()]
    states = list(learn(weights=module))
    assert [state.step for state in states] == [1, 2, 3, 4]
    assert all(isinstance(state, TrainingState) and state.model is module for state in states)
    assert all(not torch.equal(now, then) for now, then in zip(module.parameters(), before, strict=True))
    own = next(learn()).model
    assert isinstance(own, GuidanceWeights)
    assert own.num_classes == 4
    assert next(learn(labels=LABELS.clamp(max=1))).model.num_classes == 2


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    ends = []
    for seed in (0, 0, 1):
        *_, state = learn(seed=seed, weights=weights())
        ends.append(torch.cat([parameter.detach().flatten() for parameter in state.model.parameters()]))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


@pytest.mark.parametrize("reward_weight", [0.0, 0.1])
def test_it_resumes_bit_for_bit(reward_weight):
    options = {"reward": lambda x0, labels: x0[:, 0].tanh(), "reward_weight": reward_weight, "churn": 0.3}
    states = [(state.loss, state.state_dict()) for state in learn(6, **options)]
    *_, whole = learn(6, **options)
    *rest, last = learn(6, seed=5, resume=states[2][1], **options)
    assert [state.loss for state in (*rest, last)] == [loss for loss, _ in states[3:]]
    for ours, theirs in zip(last.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_model_does_not_move():
    model = network()
    before = [parameter.clone() for parameter in model.parameters()]
    for _ in learn(model=(model.conditional, model.unconditional)):
        pass
    assert all(torch.equal(now, then) for now, then in zip(model.parameters(), before, strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_first_update_is_adams_at_its_rate():
    for rate, options in ((3e-3, {}), (0.05, {"learning_rate": 0.05})):
        module = weights()
        before = module.net[-1].bias.item()
        next(learn(weights=module, **options))
        assert abs(module.net[-1].bias.item() - before) == pytest.approx(rate, rel=1e-3)


@dataclass
class Batches:
    """A loss that keeps the batches and the settings it was called with."""

    kept: list = field(default_factory=list)
    settings: dict = field(default_factory=dict)

    def __call__(self, conditional, unconditional, schedule, x0, labels, s, t, **settings):
        self.kept.append((x0, labels, s, t))
        self.settings = settings
        self.model = conditional, unconditional
        return schedule(labels, s, t).mean()


@pytest.mark.parametrize(("batch_size", "each"), [(1, 1), (8, 2), (10, 3), (128, 32)])
def test_batches_hold_all_classes_equally_often_each_point_with_its_label(batch_size, each):
    batches = Batches()
    for _ in learn(batch_size=batch_size, loss=batches):
        pass
    rows = {tuple(point): label for point, label in zip(DATA.tolist(), LABELS.tolist(), strict=True)}
    assert len(batches.kept) == 4
    for x0, labels, _, _ in batches.kept:
        assert torch.bincount(labels).tolist() == [each] * 4
        assert [rows[tuple(point)] for point in x0.tolist()] == labels.tolist()


def test_in_the_long_run_every_point_of_a_class_is_drawn():
    batches = Batches()
    for _ in learn(60, batch_size=128, loss=batches):
        pass
    drawn = torch.cat([x0 for x0, *_ in batches.kept])
    assert len(drawn.unique(dim=0)) > 0.98 * len(DATA)


def test_the_model_sees_as_many_points_as_a_batch_has_particles():
    seen = Spy(SINGLE.conditional)
    for _ in learn(2, batch_size=20, population=3, model=(seen, SINGLE.unconditional)):
        pass
    assert [len(x) for x, *_ in seen.asked] == [60, 60]


def test_the_loss_gets_the_model_its_settings_and_the_generator():
    batches, generator = Batches(), seeded()
    for _ in learn(loss=batches, generator=generator, population=7, beta=1.3, lam=0.2, churn=0.4):
        pass
    assert batches.settings == {"population": 7, "beta": 1.3, "lam": 0.2, "churn": 0.4, "generator": generator}
    assert batches.model == EXACT
    for _ in learn(loss=batches, generator=generator):
        pass
    assert batches.settings == {"population": 4, "beta": 1.0, "lam": 1.0, "churn": 0.0, "generator": generator}


def test_times_keep_their_gap_and_their_margin():
    for options, gap, margin in (({}, 0.1, 0.005), ({"gap": 0.3, "margin": 0.2}, 0.3, 0.2)):
        batches = Batches()
        for _ in learn(20, batch_size=128, loss=batches, **options):
            pass
        s, t = (torch.cat([batch[part] for batch in batches.kept]) for part in (2, 3))
        assert s.dtype == t.dtype == DATA.dtype
        assert margin <= s.min() < margin + 0.01
        assert gap - 1e-6 <= (t - s).min() < gap + 0.01
        assert 0.99 - margin < t.max() <= 1 - margin + 1e-6


def test_the_reward_comes_on_top_with_its_weight_on_the_same_batch_and_only_when_wanted():
    batches, reward = Batches(), Spy(lambda x0, labels: x0[:, 0].tanh())
    for reward_weight in (0.0, 0.3):
        reward.asked.clear()
        module, generator = weights(), seeded(4)
        state = next(
            learn(
                loss=batches, weights=module, reward=reward, reward_weight=reward_weight, generator=generator, churn=0.5
            )
        )
        assert len(reward.asked) == (reward_weight > 0)
    again = seeded(4)
    for label in range(4):
        torch.randint(int((label == LABELS).sum()), (2,), generator=again)
    draw_times(8, 0.1, 0.005, DATA, again)
    batch, untouched = batches.kept[-1], weights()
    expected = untouched(*batch[1:]).mean()
    expected = expected + 0.3 * reward_loss(*EXACT, untouched, reward.inner, *batch, again, churn=0.5)
    torch.testing.assert_close(state.loss, expected.detach())


def test_a_reward_leaves_no_gradients_in_a_frozen_model():
    model = network().requires_grad_(False)
    for _ in learn(1, model=(model.conditional, model.unconditional), reward=beyond(1.0), reward_weight=1.0):
        pass
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_own_weights_have_the_precision_of_the_data(dtype):
    model = network(dtype=dtype)
    *_, state = learn(2, data=DATA.to(dtype), model=(model.conditional, model.unconditional))
    assert {parameter.dtype for parameter in state.model.parameters()} == {dtype}
    assert state.loss.isfinite()
    *_, state = learn(2, data=DATA.to(dtype), model=(model.conditional, model.unconditional), weights=weights())
    assert state.loss.isfinite()


def test_images_are_learned_on_as_the_points_they_flatten_to():
    flat = [state.loss for state in learn(3, data=DATA.double(), model=MODEL, weights=weights().double())]
    images = learn(
        3, data=DATA.double().unflatten(1, (1, 1, 2)), model=as_images((1, 1, 2)), weights=weights().double()
    )
    assert [state.loss for state in images] == flat


def test_labels_may_be_of_any_signed_kind():
    ends = [[state.loss for state in learn(2, labels=LABELS.to(kind))] for kind in (torch.int64, torch.int32)]
    assert ends[0] == ends[1]


def test_everything_is_drawn_from_the_generator_fresh_weights_too():
    ends = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        *_, state = learn_guidance(*EXACT, DATA, LABELS, 2, generator=seeded())
        assert torch.equal(torch.get_rng_state(), before)
        ends.append(torch.cat([parameter.detach().flatten() for parameter in state.model.parameters()]))
    assert torch.equal(*ends)
    first, other = (next(learn_guidance(*EXACT, DATA, LABELS, 2, generator=seeded(seed))).model for seed in (0, 1))
    assert not torch.equal(first.net[0].weight, other.net[0].weight)


# --- learning: a model with a known answer --------------------------------------------------------------------

MISSING = torch.tensor([0.0, 0.25, 0.45, 0.6])


def short_of_its_class(x, t, labels):
    """The exact prediction, pulled back to the unconditional one by a share k of the class: w = k / (1 - k) undoes it."""
    share = MISSING[labels][:, None]
    return (1 - share) * SINGLE.conditional(x, t, labels) + share * SINGLE.unconditional(x, t)


def class_mean_distance(weight, conditional=short_of_its_class, n: int = 500) -> float:
    """Mean over the classes of the energy distance to fresh points of the class; the same noise for every weight."""
    wanted, noise = in_turn(4 * n), normal(4 * n, 2, seed=8, dtype=torch.float32)
    *_, points = sample_guided(conditional, SINGLE.unconditional, weight, wanted, noise, GRID)
    fresh = [SINGLE.given(label).sample(2 * n, seeded(20 + label)) for label in range(4)]
    return sum(energy_distance(points[wanted == c], fresh[c]).item() for c in range(4)) / 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_it_recovers_what_each_class_is_short_of_and_beats_every_constant(seed):
    """Measured: .002 learned, .001 with the right weights, .024 with the best constant, .068 unguided."""
    data, labels = SINGLE.sample_labelled(1000, seeded(2))
    *_, state = learn(400, seed, data, labels, (short_of_its_class, SINGLE.unconditional), batch_size=128)
    s, t = draw_times(500, 0.1, 0.005, DATA, seeded(3))
    with torch.no_grad():
        found = torch.stack([state.model(torch.full((500,), label), s, t).mean() for label in range(4)])
    right = MISSING / (1 - MISSING)
    assert bool((found.diff() > 0.1).all())
    assert (found - right).abs().max() < 0.25
    learned = class_mean_distance(state.model)
    constants = [class_mean_distance(w) for w in (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)]
    assert learned < min(constants) / 4
    assert class_mean_distance(lambda labels, s, t: right[labels]) < learned + 0.002


@pytest.mark.slow
def test_of_an_exact_model_the_learned_weights_do_not_harm():
    data, labels = SINGLE.sample_labelled(1000, seeded(2))
    *_, state = learn(400, data=data, labels=labels, batch_size=128)
    s, t = draw_times(500, 0.1, 0.005, DATA, seeded(3))
    with torch.no_grad():
        assert state.model(in_turn(500), s, t).mean() < 0.1
    unguided, learned, half = (class_mean_distance(w, SINGLE.conditional) for w in (0, state.model, 0.5))
    assert learned < unguided + 0.003
    assert half > 5 * max(learned, 0.003)


# --- pairs of times -------------------------------------------------------------------------------------------


@given(gap=st.floats(0.01, 0.9), margin=st.floats(0.001, 0.45), seed=st.integers(0, 99))
def test_pairs_of_times_keep_their_distance_from_each_other_and_from_the_ends(gap, margin, seed):
    gap = min(gap, 0.999 - 2 * margin)
    s, t = draw_times(200, gap, margin, torch.ones(1, dtype=torch.float64), seeded(seed))
    assert s.min() >= margin
    assert (t - s).min() >= gap - 1e-12
    assert t.max() <= 1 - margin + 1e-12


@pytest.mark.parametrize(("gap", "margin"), [(0.1, 0.005), (0.3, 0.1), (0.01, 0.3)])
def test_s_is_uniform_where_it_may_be_and_so_is_what_is_added_to_the_gap(gap, margin):
    s, t = draw_times(20_000, gap, margin, torch.ones(1, dtype=torch.float64), seeded())
    first = (s - margin) / (1 - 2 * margin - gap)
    second = (t - s - gap) / (1 - margin - gap - s)
    for share in (first, second, (first + second) % 1):
        assert kstest(share.numpy(), "uniform").pvalue > CHANCE


def test_times_have_the_kind_of_what_they_are_for_and_repeat_with_their_generator():
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        like = torch.ones(1, 3, dtype=dtype)
        first, again, other = (draw_times(5, 0.1, 0.005, like, seeded(seed)) for seed in (0, 0, 1))
        assert first[0].shape == first[1].shape == (5,)
        assert first[0].dtype == first[1].dtype == dtype
        assert torch.equal(first[1], again[1])
        assert not torch.equal(first[1], other[1])


# --- guided walks ---------------------------------------------------------------------------------------------

START, WANTED = normal(40, 2, seed=4), in_turn(40)


def walk(weight, times=GRID, churn=0.0, seed=1, x=START, labels=WANTED, model=MODEL):
    return torch.stack(list(sample_guided(*model, weight, labels, x, times, churn, seeded(seed))))


@pytest.mark.parametrize("churn", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("weight", [0, 0.0, -1, 0.7, 3])
def test_a_constant_is_a_callable_that_returns_it_and_the_plain_sampler_with_a_guided_denoiser(weight, churn):
    def guided(x, t):
        x_c, x_u = LAW.conditional(x, t, WANTED), LAW.unconditional(x, t)
        return (1 + weight) * x_c - weight * x_u

    path = walk(weight, churn=churn)
    assert path.shape == (21, 40, 2)
    torch.testing.assert_close(path, walk(everywhere(weight), churn=churn))
    torch.testing.assert_close(path, torch.stack(list(sample(guided, START, GRID, churn, seeded(1)))))
    torch.testing.assert_close(path, walk((weight, 0, 1), churn=churn), rtol=0, atol=0)


def test_a_learned_weight_is_used_at_the_start_and_end_of_each_step():
    times, module = torch.tensor([1.0, 0.7, 0.55, 0.1, 0.0], dtype=torch.float64), Spy(weights().double())
    path = walk(module, times)
    x = START
    for step, (t, s) in enumerate(itertools.pairwise(times)):
        asked = module.asked[step]
        assert torch.equal(asked[0], WANTED)
        assert torch.equal(asked[1], s)
        assert torch.equal(asked[2], t)
        clean = guide(LAW.conditional(x, t, WANTED), LAW.unconditional(x, t), module.inner(WANTED, s, t))
        x = bridge(x, clean, t, s)[0]
        torch.testing.assert_close(path[step + 1], x)
        x = path[step + 1]
    assert len(module.asked) == 4


def test_an_interval_guides_the_steps_that_start_in_it_both_ends_included():
    times, asked = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0], dtype=torch.float64), Spy(LAW.unconditional)
    for low, high, guided in (
        (0.25, 0.75, [0.75, 0.5, 0.25]),
        (0.26, 0.74, [0.5]),
        (0.0, 0.25, [0.25]),
        (0, 0.24, []),
        (0.75, 1, [1.0, 0.75]),
        (0.3, 0.4, []),
    ):
        asked.asked.clear()
        path = walk((2.0, low, high), times, model=(LAW.conditional, asked))
        assert [t.item() for _, t in asked.asked] == guided
        by_callable = walk(lambda labels, s, t, low=low, high=high: 2.0 * ((low <= t) & (t <= high)).expand(40), times)
        torch.testing.assert_close(path, by_callable)


def guided_steps(low: float, high: float, times: torch.Tensor) -> int:
    asked = Spy(LAW.unconditional)
    walk((2.0, low, high), times, model=(LAW.conditional, asked))
    return len(asked.asked)


def test_an_end_of_the_interval_that_a_grid_meets_up_to_rounding_is_included():
    """A grid's 0.3 is 0.30000000000000004."""
    assert guided_steps(0, 0.3, time_grid(10)) == 3
    assert guided_steps(0.31, 0.39, time_grid(10)) == 0
    assert guided_steps(0.55, 1, time_grid(20)) == 10


@pytest.mark.parametrize(
    ("low", "high", "steps", "dtype", "guided"),
    [(1 / 3, 1, 3, torch.float64, 3), (0, 2 / 3, 3, torch.float64, 2), (0, 0.3, 10, torch.float32, 3)],
)
def test_so_is_one_that_has_no_short_decimal_or_meets_a_grid_in_single_precision(low, high, steps, dtype, guided):
    assert guided_steps(low, high, time_grid(steps).to(dtype)) == guided


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_an_interval_is_read_from_the_grid_not_from_what_the_points_precision_makes_of_it(dtype):
    """0.9 is 0.8984375 in bfloat16 and 0.8999999762 in single precision."""
    asked = Spy(network(dtype=dtype).unconditional)
    walk((2.0, 0.9, 1.0), time_grid(10), x=START.to(dtype), model=(network(dtype=dtype).conditional, asked))
    assert len(asked.asked) == 2


@pytest.mark.parametrize(
    ("weight", "calls"),
    [(0, 0), (0.0, 0), (-0.0, 0), (0.5, 20), (-1, 20), ((0.5, 0.4, 0.72), 7), ((0, 0, 1), 0), (everywhere(0.0), 20)],
)
def test_the_unconditional_model_is_asked_only_where_the_weight_is_not_known_to_be_0(weight, calls):
    conditional, unconditional = Spy(LAW.conditional), Spy(LAW.unconditional)
    walk(weight, model=(conditional, unconditional))
    assert len(conditional.asked) == 20
    assert len(unconditional.asked) == calls
    assert all(torch.equal(labels, WANTED) for _, _, labels in conditional.asked)


def test_weight_0_is_the_walk_of_the_conditional_model_alone():
    alone = sample(lambda x, t: LAW.conditional(x, t, WANTED), START, GRID)
    assert torch.equal(walk(0.0), torch.stack(list(alone)))


def test_each_row_walks_to_its_own_class_and_does_not_see_the_others():
    labels = torch.tensor([3, 0, 0, 2, 1]).repeat(8)
    path = walk(0.5, labels=labels)
    assert torch.equal(LAW.class_log_probs(path[-1]).argmax(1), labels)
    alone = walk(0.5, labels=labels[3:5], x=START[3:5])
    torch.testing.assert_close(alone, path[:, 3:5])
    assert torch.equal(walk(0.5, labels=labels.int()), path)


def test_walks_with_churn_repeat_with_their_generator_and_leave_the_global_seed_alone():
    before = torch.get_rng_state()
    for weight in (0, 0.5, everywhere(0.5)):
        first, again, other = (walk(weight, churn=0.8, seed=seed) for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_gradients_are_tracked_and_the_callers_setting_is_untouched():
    model, x = network(), START.float().requires_grad_()
    conditional, module = Spy(model.conditional), weights()
    for weight in (0.5, module):
        states = sample_guided(conditional, model.unconditional, weight, WANTED, x, GRID)
        assert next(states) is x
        for state in states:
            assert torch.is_grad_enabled()
            assert not state.requires_grad
    assert not any(conditional.gradients)
    with torch.no_grad():
        for _ in sample_guided(conditional, model.unconditional, 0.5, WANTED, x, GRID):
            assert not torch.is_grad_enabled()


def test_nothing_is_asked_before_it_is_needed_and_the_start_is_not_changed():
    conditional, x = Spy(LAW.conditional), START.clone()
    states = sample_guided(conditional, LAW.unconditional, 0.5, WANTED, x, GRID)
    next(states)
    assert conditional.asked == []
    next(states)
    assert len(conditional.asked) == 1
    for _ in states:
        pass
    assert torch.equal(x, START)


@pytest.mark.parametrize("weight", [0.5, (0.5, 0.2, 0.8), "learned"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_points_and_images_keep_their_precision(dtype, weight):
    torch.manual_seed(0)
    weight = weights() if weight == "learned" else weight
    unet = ConditionalDenoiser(UNet(1, noise_channels=4, width=8), 4, embedding=4).to(dtype)
    for model, x in ((network(dtype=dtype), START), (unet, normal(40, 1, 8, 8))):
        states = sample_guided(model.conditional, model.unconditional, weight, WANTED, x.to(dtype), time_grid(4))
        for state in states:
            assert state.dtype == dtype
            assert state.shape == x.shape
            assert bool(state.isfinite().all())


def test_images_walk_as_the_points_they_flatten_to():
    for weight in (0.5, weights().double()):
        flat = walk(weight, churn=0.5)
        images = walk(weight, churn=0.5, x=START.unflatten(1, (2, 1, 1)), model=as_images((2, 1, 1)))
        assert torch.equal(images.flatten(2), flat)


def test_times_may_come_as_a_list_and_need_not_reach_the_ends():
    path = walk(0.5, torch.tensor([0.9, 0.5, 0.1]))
    assert torch.equal(
        path, torch.stack(list(sample_guided(*MODEL, 0.5, WANTED, START, torch.tensor([0.9, 0.5, 0.1]))))
    )
    assert path.shape == (3, 40, 2)


def test_a_walk_of_2000_steps_is_no_deeper_than_one_of_two():
    asked = Spy(lambda x, t, labels: x / 2)
    *_, end = sample_guided(asked, lambda x, t: 0 * x, everywhere(0.5), WANTED, START, time_grid(2000))
    assert len(asked.asked) == 2000
    assert bool(end.isfinite().all())


def test_an_exact_model_without_guidance_reaches_the_data_and_with_guidance_it_does_not():
    n, grid = 1000, time_grid(60)
    wanted, noise = in_turn(4 * n), normal(4 * n, 2, seed=8)
    fresh = [LAW.given(label).sample(n, seeded(20 + label)) for label in range(4)]
    floor = [energy_distance(LAW.given(c).sample(n, seeded(40 + c)), fresh[c]).item() for c in range(4)]
    means = []
    for weight in (0.0, 0.3, 1.0):
        *_, points = sample_guided(*MODEL, weight, wanted, noise, grid)
        means.append(sum(energy_distance(points[wanted == c], fresh[c]).item() for c in range(4)) / 4)
    assert means[0] < sum(floor) / 4 + 0.003
    assert means[1] > 0.01
    assert means[2] > 4 * means[1]


# --- denoisers that are told where their step ends ------------------------------------------------------------


def test_an_aware_denoiser_is_told_the_end_of_each_step_and_its_entries():
    times, asked = torch.tensor([1.0, 0.6, 0.2, 0.0], dtype=torch.float64), []

    def denoiser(x, s, t, *values):
        asked.append((s.item(), t.item(), *values))
        assert s.dtype == t.dtype == x.dtype == torch.float32
        return x / 2

    for _ in sample(aware(denoiser, times.float()), START.float(), times):
        pass
    assert [round(s, 6) for s, *_ in asked] == [0.6, 0.2, 0.0]
    assert [round(t, 6) for _, t in asked] == [1.0, 0.6, 0.2]
    asked.clear()
    for _ in sample(aware(denoiser, times.float(), [7, 8, 9], ["a", "b", "c"]), START.float(), times):
        pass
    assert [entry[2:] for entry in asked] == [(7, "a"), (8, "b"), (9, "c")]
    with pytest.raises(ValueError, match="shorter|longer"):
        aware(denoiser, times, [7, 8])


def test_an_aware_denoiser_does_not_let_a_longer_walk_end_in_silence():
    states = sample(aware(lambda x, s, t: x / 2, time_grid(3)), START, time_grid(4))
    assert len(list(itertools.islice(states, 4))) == 4
    with pytest.raises(ValueError, match="times is of 3 steps"):
        next(states)
