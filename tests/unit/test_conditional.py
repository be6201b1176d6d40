"""Denoisers that know a class: the exact ones against the mixtures of single classes, the networks against themselves."""

import pytest
import torch
from agree import normal, seeded
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import nn

from companion.data.labelled import LONG_TAIL, four_classes
from companion.foundations.conditional import ConditionalDenoiser, LabelledMixture, velocity_loss
from companion.foundations.diffusion import add_noise
from companion.foundations.mixtures import GaussianMixture
from companion.foundations.networks import TimeMLP, UNet

CHANCE = 1e-3


def random_law(seed: int = 0, d: int = 2) -> LabelledMixture:
    """Three classes of one, two and three components, in no order."""

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    generator = seeded(seed)
    classes = torch.tensor([2, 0, 1, 2, 1, 2])
    return LabelledMixture(4 * uniform(6, d) - 2, 0.1 + uniform(6), classes, 0.1 + uniform(6))


# --- exact answers --------------------------------------------------------------------------------------------


@given(t=st.floats(0.0, 1.0), seed=st.integers(0, 99), d=st.integers(1, 3))
def test_with_the_label_it_is_the_denoiser_of_the_class_alone(t, seed, d):
    law, x = random_law(seed, d), 2 * normal(7, d, seed=seed)
    labels = torch.tensor([0, 1, 2, 2, 1, 0, 1])
    rows = [law.given(label).denoise(x[row : row + 1], t) for row, label in enumerate(labels.tolist())]
    expected = torch.cat(rows)
    torch.testing.assert_close(law.conditional(x, t, labels), expected)
    torch.testing.assert_close(law.conditional(x, torch.full((7,), t, dtype=torch.float64), labels), expected)
    assert torch.equal(law.conditional(x, torch.tensor(t, dtype=torch.float64), labels), law.conditional(x, t, labels))


@given(t=st.floats(0.01, 1.0), seed=st.integers(0, 99))
def test_without_it_the_classes_answers_are_averaged_by_how_likely_each_is(t, seed):
    """The law of total expectation."""
    law, x = random_law(seed), 2 * normal(7, 2, seed=seed)
    answers = torch.stack([law.conditional(x, t, torch.full((7,), label)) for label in range(3)], dim=1)
    shares = law.class_log_probs(x, t).exp()
    torch.testing.assert_close(law.unconditional(x, t), (shares[..., None] * answers).sum(1))
    plain = GaussianMixture(law.means, law.stds, law.weights)
    torch.testing.assert_close(law.unconditional(x, t), plain.denoise(x, t))


@given(t=st.floats(0.0, 1.0), seed=st.integers(0, 99))
def test_a_class_is_as_likely_as_its_share_of_the_density(t, seed):
    law, x = random_law(seed), 2 * normal(7, 2, seed=seed)
    log_probs = law.class_log_probs(x, t)
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(7, dtype=torch.float64))
    for label in range(3):
        joint = law.class_weights[label].log() + law.given(label).log_prob(x, t)
        torch.testing.assert_close(log_probs[:, label], joint - law.log_prob(x, t))


def test_by_default_the_classifier_looks_at_clean_points():
    law, x = random_law(), normal(7, 2)
    assert torch.equal(law.class_log_probs(x), law.class_log_probs(x, 0.0))
    assert not torch.equal(law.class_log_probs(x), law.class_log_probs(x, 0.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("t", [0.0, 1e-4, 0.01, 0.5, 1.0])
def test_far_from_its_class_a_point_is_still_answered_with_a_number(t, dtype):
    """Where every density underflows: a thousand standard deviations away and more."""
    law = four_classes(std=0.01).to(dtype)
    x = torch.tensor([[1.2, 0.6], [-1.2, 0.6], [50.0, -70.0], [-1e3, 1e3]], dtype=dtype).repeat(4, 1)
    labels = torch.arange(4).repeat_interleave(4)
    answers = law.conditional(x, t, labels)
    assert bool(answers.isfinite().all())
    for label in range(4):
        own = labels == label
        torch.testing.assert_close(answers[own], law.given(label).denoise(x[own], t))
    log_probs = law.class_log_probs(x, t)
    assert not bool(log_probs.isnan().any())
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(16, dtype=dtype))


def test_at_time_0_the_point_itself_is_the_answer_and_at_1_the_mean_of_the_class():
    law, x, labels = random_law(), normal(3, 2), torch.arange(3)
    torch.testing.assert_close(law.conditional(x, 0.0, labels), x)
    means = torch.stack([law.given(label).weights @ law.given(label).means for label in range(3)])
    torch.testing.assert_close(law.conditional(x, 1.0, labels), means)


def test_the_law_of_a_class_has_its_components_and_the_classes_their_weights():
    stds, weights = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([1.0, 4.0, 2.0, 3.0])
    law = LabelledMixture(torch.arange(8.0).reshape(4, 2), stds, torch.tensor([1, 0, 1, 1]), weights)
    assert law.num_classes == 2
    torch.testing.assert_close(law.class_weights, torch.tensor([0.4, 0.6]))
    own = law.given(1)
    assert own.means.tolist() == [[0.0, 1.0], [4.0, 5.0], [6.0, 7.0]]
    assert own.stds.tolist() == pytest.approx([0.1, 0.3, 0.4])
    assert own.weights.tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert law.given(0).means.tolist() == [[2.0, 3.0]]


def test_it_moves_to_another_precision_with_its_classes():
    law, x, labels = random_law(), normal(3, 2), torch.arange(3)
    single = law.to(torch.float32)
    assert isinstance(single, LabelledMixture)
    assert single.conditional(x.float(), 0.5, labels).dtype == single.class_weights.dtype == torch.float32
    torch.testing.assert_close(single.conditional(x.float(), 0.5, labels), law.conditional(x, 0.5, labels).float())
    torch.testing.assert_close(single.weights.double(), law.weights, rtol=1e-6, atol=0)
    assert torch.equal(single.classes, law.classes)


# --- exact samples --------------------------------------------------------------------------------------------


def test_classes_come_as_often_as_they_are_frequent():
    law, n = random_law(), 50_000
    points, labels = law.sample_labelled(n, seeded())
    assert points.shape == (n, 2)
    assert points.dtype == torch.float64
    counts = torch.bincount(labels, minlength=3)
    assert chisquare(counts.numpy(), (n * law.class_weights).numpy()).pvalue > CHANCE


def test_points_have_the_law_of_the_class_of_their_row():
    law, labels = random_law(), torch.arange(3).repeat(20_000)
    for points in (law.sample_given(labels, seeded()), law.sample_given(labels.int(), seeded())):
        for label in range(3):
            own, drawn = law.given(label), points[labels == label]
            mean = own.weights @ own.means
            second = own.weights @ (own.means**2 + own.stds[:, None] ** 2)
            for power, expected in ((drawn, mean), (drawn**2, second)):
                assert ((power.mean(0) - expected).abs() < 4 * power.std(0) / len(drawn) ** 0.5).all()


def test_labels_belong_to_their_points():
    law = four_classes(separation=10)
    points, labels = law.sample_labelled(2000, seeded())
    assert torch.equal(law.class_log_probs(points).argmax(1), labels)
    wanted = torch.tensor([3, 0, 0, 2, 1]).repeat(50)
    assert torch.equal(law.class_log_probs(law.sample_given(wanted, seeded())).argmax(1), wanted)


def test_samples_repeat_with_their_generator_and_leave_the_global_seed_alone():
    law, before = random_law(), torch.get_rng_state()
    first, again, other = (law.sample_labelled(50, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(torch.get_rng_state(), before)


# --- networks -------------------------------------------------------------------------------------------------

EVENTS = {"points": (2,), "images": (3, 8, 8)}


def network(kind: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> ConditionalDenoiser:
    torch.manual_seed(seed)
    inner = TimeMLP(2, 5, width=16, depth=1) if kind == "points" else UNet(3, noise_channels=5, width=8)
    return ConditionalDenoiser(inner, 4, embedding=5).to(dtype)


@pytest.mark.parametrize("kind", EVENTS)
def test_the_network_gets_the_embedding_of_each_rows_class_in_the_place_of_noise(kind):
    model, x, labels = network(kind), normal(6, *EVENTS[kind]), torch.tensor([0, 3, 4, 1, 1, 2])
    velocity = model.velocity(x, 0.3, labels)
    for row, label in enumerate(labels.tolist()):
        embedding = model.embedding.weight[label].reshape(1, 5, *[1] * (x.ndim - 2)).expand(1, 5, *x.shape[2:])
        torch.testing.assert_close(velocity[row : row + 1], model.network(x[row : row + 1], 0.3, embedding))
    assert (velocity[3] - model.velocity(x, 0.3, labels.clamp(max=0))[3]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", EVENTS)
def test_the_clean_point_is_the_noisy_one_without_its_share_of_the_velocity(kind):
    model, x, labels = network(kind), normal(4, *EVENTS[kind]), torch.tensor([0, 3, 1, 2])
    assert torch.equal(model.conditional(x, 0.0, labels), x)
    torch.testing.assert_close(model.conditional(x, 1, labels), x - model.velocity(x, 1, labels))
    times = torch.tensor([0.0, 0.3, 0.7, 1.0], dtype=torch.float64)
    together = model.conditional(x, times, labels)
    for row, t in enumerate(times.tolist()):
        one = slice(row, row + 1)
        alone = x[one] - t * model.velocity(x[one], t, labels[one])
        torch.testing.assert_close(together[one], alone)
        torch.testing.assert_close(model.conditional(x[one], times[row], labels[one]), alone)


def test_the_right_velocity_gives_the_clean_point_back():
    class Told(nn.Module):
        def forward(self, x, t, embedding):
            return noise - x0

    x0, noise, labels = normal(5, 2), normal(5, 2, seed=1), torch.arange(5)
    model, t = ConditionalDenoiser(Told(), 4), torch.rand(5, generator=seeded(), dtype=torch.float64)
    torch.testing.assert_close(model.conditional(add_noise(x0, t, noise), t, labels), x0)


@pytest.mark.parametrize("kind", EVENTS)
def test_the_null_class_is_the_answer_without_a_label(kind):
    model, x = network(kind), normal(4, *EVENTS[kind])
    for t in (0.4, torch.tensor(0.4), torch.linspace(0, 1, 4)):
        unconditional = model.unconditional(x, t)
        assert torch.equal(unconditional, model.conditional(x, t, torch.full((4,), 4)))
        for label in range(4):
            assert not torch.equal(unconditional, model.conditional(x, t, torch.full((4,), label)))


@pytest.mark.parametrize("kind", EVENTS)
def test_when_classes_are_forgotten_every_label_answers_as_none_does_and_none_as_before(kind):
    model, x = network(kind), normal(4, *EVENTS[kind])
    before, weight = model.unconditional(x, 0.4), model.embedding.weight
    model.forget_classes()
    assert model.embedding.weight is weight
    assert weight.requires_grad
    assert torch.equal(model.unconditional(x, 0.4), before)
    for label in range(4):
        assert torch.equal(model.conditional(x, 0.4, torch.full((4,), label)), before)


def test_a_class_forgotten_can_be_learned_again():
    model, x0, labels = network("points"), normal(32, 2), torch.arange(32) % 4
    model.forget_classes()
    velocity_loss(model, x0, labels, 0.0, seeded()).backward()
    rows = model.embedding.weight.grad.abs().sum(1)
    assert bool((rows[:4] > 0).all())
    assert rows[4] == 0


@pytest.mark.parametrize("kind", EVENTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_networks_work_in_every_precision_with_labels_of_either_kind(kind, dtype):
    model, x = network(kind, dtype), normal(4, *EVENTS[kind]).to(dtype)
    for t in (0.5, torch.tensor(0.5), torch.tensor(0.5, dtype=torch.float64), torch.full((4,), 0.5)):
        answer = model.conditional(x, t, torch.arange(4))
        assert answer.dtype == model.unconditional(x, t).dtype == dtype
        assert answer.shape == x.shape
        assert torch.equal(answer, model.conditional(x, t, torch.arange(4).int()))
    assert velocity_loss(model, x, torch.arange(4), generator=seeded()).isfinite()


# --- the loss -------------------------------------------------------------------------------------------------


class Recorder(nn.Module):
    """A network that answers `answer` to everything, and keeps what it was shown."""

    def __init__(self, answer: float = 0.0) -> None:
        super().__init__()
        self.answer, self.shown = answer, []

    def forward(self, x, t, embedding):
        self.shown.append((x, t, embedding))
        return torch.full_like(x, self.answer)


def recorded(answer: float = 0.0) -> ConditionalDenoiser:
    """Embeddings of one number, which is the label."""
    model = ConditionalDenoiser(Recorder(answer), 4, embedding=1)
    with torch.no_grad():
        model.embedding.weight.copy_(torch.arange(5)[:, None])
    return model


@pytest.mark.parametrize("event", [(2,), (3, 2, 2)], ids=str)
def test_it_is_the_squared_error_of_the_velocity_at_the_noisy_point_summed_over_the_event(event):
    model, x0, labels, replay = recorded(0.3), normal(6, *event), torch.arange(6) % 4, seeded(7)
    loss = velocity_loss(model, x0, labels, 0.5, seeded(7))
    t = torch.rand(6, generator=replay, dtype=torch.float64)
    noise = torch.randn(6, *event, generator=replay, dtype=torch.float64)
    torch.testing.assert_close(loss.item(), (0.3 - (noise - x0)).square().sum().item() / 6)
    x, times, embedding = model.network.shown[0]
    assert torch.equal(times, t)
    torch.testing.assert_close(x, add_noise(x0, t, noise))
    shown = embedding.flatten(1)[:, 0]
    assert bool(((shown == labels) | (shown == 4)).all())


def test_its_mean_over_noise_is_the_law_of_noise_minus_the_point():
    """A network that always answers 0 is wrong by E|noise - x0|^2 = d + |x0|^2."""
    x0, labels = normal(4000, 3), torch.arange(4000) % 4
    losses = torch.stack([velocity_loss(recorded(), x0, labels, generator=seeded(seed)) for seed in range(40)])
    expected = 3 + x0.square().sum(1).mean()
    assert (losses.mean() - expected).abs() < 4 * losses.std() / 40**0.5


def test_times_are_uniform_and_the_noise_is_normal():
    model, n = recorded(), 20_000
    velocity_loss(model, torch.zeros(n, 2, dtype=torch.float64), torch.zeros(n).long(), 0.5, seeded())
    x, t, embedding = model.network.shown[0]
    noise, dropped = x / t[:, None], embedding[:, 0] == 4
    assert (t.mean() - 0.5).abs() < 4 * (1 / 12 / n) ** 0.5
    assert (t.square().mean() - 1 / 3).abs() < 4 * (4 / 45 / n) ** 0.5
    assert (noise.mean(0).abs() < 4 / n**0.5).all()
    assert ((noise.square().mean(0) - 1).abs() < 4 * (2 / n) ** 0.5).all()
    for other in (t, noise[:, 0]):  # what is dropped has nothing to do with when and where
        assert torch.corrcoef(torch.stack([dropped.double(), other]))[0, 1].abs() < 4 / n**0.5


@pytest.mark.parametrize("drop", [0, 0.0, 0.1, 0.7, 1, 1.0])
def test_as_many_labels_are_dropped_as_asked_and_the_others_are_shown(drop):
    model, n = recorded(), 20_000
    labels = torch.arange(n) % 4
    before = labels.clone()
    velocity_loss(model, torch.zeros(n, 2), labels, drop, seeded())
    shown = model.network.shown[0][2][:, 0]
    dropped = shown == 4
    assert abs(dropped.double().mean().item() - drop) <= 4 * (drop * (1 - drop) / n) ** 0.5
    assert torch.equal(shown[~dropped].long(), labels[~dropped])
    assert torch.equal(labels, before)


def test_by_default_a_tenth_is_dropped():
    model, x0, labels = network("points"), normal(200, 2), torch.arange(200) % 4
    losses = [velocity_loss(model, x0, labels, generator=seeded()), velocity_loss(model, x0, labels, 0.1, seeded())]
    assert torch.equal(*losses)
    assert not torch.equal(losses[0], velocity_loss(model, x0, labels, 0.3, seeded()))


def test_it_is_smallest_for_the_exact_velocity():
    """Of predictions x - t (velocity + shift), the exact one's loss is lowest, with the label and without."""
    law = four_classes(frequencies=LONG_TAIL).to(torch.float64)

    class Exact(nn.Module):
        def __init__(self, shift: float) -> None:
            super().__init__()
            self.shift = shift

        def forward(self, x, t, embedding):
            labels = embedding[:, 0].round().long()
            clean = torch.where((labels == 4)[:, None], law.unconditional(x, t), law.conditional(x, t, labels % 4))
            return (x - clean) / t[:, None] + self.shift

    x0, labels = law.sample_labelled(20_000, seeded())
    for drop in (0, 0.5, 1):
        values = []
        for shift in (-0.1, 0.0, 0.1):
            model = ConditionalDenoiser(Exact(shift), 4, embedding=1)
            with torch.no_grad():
                model.embedding.weight.copy_(torch.arange(5)[:, None])
            values.append(velocity_loss(model.double(), x0, labels, drop, seeded(1)).item())
        assert values[1] < min(values[0], values[2])


def test_the_loss_repeats_with_its_generator_and_leaves_the_global_seed_alone():
    model, x0, labels = network("images"), normal(4, 3, 8, 8), torch.arange(4)
    before = torch.get_rng_state()
    first, again, other = (velocity_loss(model, x0, labels, generator=seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
