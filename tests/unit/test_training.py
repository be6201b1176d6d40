"""The training loop: a generator of states that can be watched, stopped and resumed."""

import copy
import io

import pytest
import torch
from agree import seeded

from companion.data.toy import TwoMoons
from companion.foundations.training import draw_batch, train


def line(seed: int = 0) -> torch.nn.Linear:
    torch.manual_seed(seed)
    return torch.nn.Linear(2, 1)


def noisy_regression(generator):
    def loss(model):
        x = torch.randn(16, 2, generator=generator)
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    return loss


def test_it_yields_one_state_for_each_step_with_its_loss():
    model, generator = line(), seeded()
    states = list(train(model, noisy_regression(generator), 7, generator=generator))
    assert [state.step for state in states] == [1, 2, 3, 4, 5, 6, 7]
    assert all(state.model is model and state.loss.ndim == 0 and not state.loss.requires_grad for state in states)


def test_it_is_lazy_and_may_be_left_early():
    model = line()
    start = copy.deepcopy(model.state_dict())
    training = train(model, noisy_regression(seeded()), 100)
    assert torch.equal(model.weight, start["weight"])
    next(training)
    stopped_at = model.weight.clone()
    training.close()
    assert torch.equal(model.weight, stopped_at)
    assert not torch.equal(stopped_at, start["weight"])


def test_it_learns_a_line():
    model, generator = line(), seeded()
    for _ in train(model, noisy_regression(generator), 300, learning_rate=0.1):
        pass
    torch.testing.assert_close(model.weight, torch.ones(1, 2), atol=1e-2, rtol=0)


def test_updates_are_adam_with_a_cosine_schedule_and_a_warmed_up_average():
    """The same numbers from PyTorch's optimiser and the formulas for rate and average, written out."""
    steps, rate, decay = 6, 0.05, 0.8
    model, generator = line(), seeded()
    states = train(model, noisy_regression(generator), steps, rate, decay, generator)

    twin, twin_generator = line(), seeded()
    average = [parameter.detach().clone() for parameter in twin.parameters()]
    optimizer = torch.optim.Adam(twin.parameters())
    loss = noisy_regression(twin_generator)
    for state in states:
        k = state.step
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 + torch.tensor(torch.pi * (k - 1) / steps).cos().item()) / 2
        optimizer.zero_grad()
        loss(twin).backward()
        optimizer.step()
        keep = min(decay, k / (k + 10))
        average = [keep * a + (1 - keep) * p.detach() for a, p in zip(average, twin.parameters(), strict=True)]
        for ours, expected in zip(state.averaged.parameters(), average, strict=True):
            torch.testing.assert_close(ours, expected)
        if k < steps:
            for ours, expected in zip(model.parameters(), twin.parameters(), strict=True):
                torch.testing.assert_close(ours, expected)


def test_the_last_states_model_holds_the_averaged_weights_and_is_in_eval_mode():
    model = line()
    for state in train(model, noisy_regression(seeded()), 5):
        assert model.training is (state.step < 5)
    for ours, averaged in zip(model.parameters(), state.averaged.parameters(), strict=True):
        assert torch.equal(ours, averaged)


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_a_resumed_run_is_bit_identical_to_an_uninterrupted_one_even_through_a_file(stop):
    whole, generator = line(), seeded()
    losses = [state.loss for state in train(whole, noisy_regression(generator), 10, generator=generator)]

    generator = seeded()
    for state in train(line(), noisy_regression(generator), 10, generator=generator):
        if state.step == stop:
            file = io.BytesIO()
            torch.save(state.state_dict(), file)
            break
    file.seek(0)
    resumed, generator = line(seed=8), seeded(8)
    saved = torch.load(file, weights_only=True)
    rest = list(train(resumed, noisy_regression(generator), 10, generator=generator, resume=saved))
    assert [state.step for state in rest] == list(range(stop + 1, 11))
    assert torch.equal(torch.stack([state.loss for state in rest]), torch.stack(losses[stop:]))
    assert torch.equal(resumed.weight, whole.weight)
    assert torch.equal(resumed.bias, whole.bias)


def test_a_saved_state_does_not_change_when_training_goes_on():
    generator = seeded()
    training = train(line(), noisy_regression(generator), 10, generator=generator)
    saved = next(training).state_dict()
    kept = copy.deepcopy(saved)
    next(training), next(training)
    assert saved["step"] == kept["step"] == 1
    assert torch.equal(saved["model"]["weight"], kept["model"]["weight"])
    assert torch.equal(saved["optimizer"]["state"][0]["exp_avg"], kept["optimizer"]["state"][0]["exp_avg"])
    assert torch.equal(saved["generator"], kept["generator"])


def test_running_statistics_of_normalisation_layers_travel_to_the_average():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
    for state in train(model, noisy_regression(seeded()), 5):
        torch.testing.assert_close(state.averaged[1].running_mean, model[1].running_mean)
    assert (model[1].running_mean != 0).any()


def test_batches_come_from_a_tensor_a_law_or_a_callable():
    rows = torch.arange(10.0)[:, None]
    batch = draw_batch(rows, 2000, seeded())
    assert batch.unique().tolist() == rows[:, 0].tolist()  # with replacement, every row
    assert batch.mean().item() == pytest.approx(4.5, abs=0.3)
    law = TwoMoons()
    assert torch.equal(draw_batch(law, 5, seeded()), law.sample(5, seeded()))
    assert torch.equal(draw_batch(lambda n, generator: law.sample(n, generator), 5, seeded()), law.sample(5, seeded()))
