"""Rivals of dynamic evaluation against loops written by hand: Krause's rule, gradients' squares, a cache of hidden states."""

import copy
import math
from functools import partial

import pytest
import torch
from agree import close, seeded
from torch import nn

from companion.foundations.language import Transformer, WindowMLP
from companion.methods.dynamic_evaluation import evaluate_stream, log_losses
from companion.methods.rivals.reading import KrauseRule, gradient_squares, hidden_states, neural_cache

SYMBOLS, CONTEXT, STRIDE = 7, 5, 4
TOKENS = torch.randint(SYMBOLS, (60,), generator=seeded(1))


def transformer(seed: int = 0) -> nn.Module:
    return Transformer(SYMBOLS, 8, 2, 2, seeded(seed)).double()


# --- Krause's rule ------------------------------------------------------------------------------------------------


def test_squares_are_the_mean_over_windows():
    model, count, window = transformer(), 6, 9
    found = gradient_squares(model, TOKENS, window, count, seeded(3))
    starts = torch.randint(len(TOKENS) - window, (count,), generator=seeded(3)).tolist()
    wanted = {name: torch.zeros_like(each) for name, each in model.named_parameters()}
    for start in starts:
        model.zero_grad()
        text = TOKENS[None, start : start + window + 1]
        log_losses(model(text[:, :-1]), text[:, 1:]).mean().backward()
        for name, each in model.named_parameters():
            wanted[name] += each.grad**2 / count
    assert found.keys() == wanted.keys()
    for name in found:
        close(found[name], wanted[name])


def test_squares_leave_no_gradient_and_skip_what_is_frozen():
    model = transformer()
    model.embed.requires_grad_(False)
    found = gradient_squares(model, TOKENS, 9, 2, seeded())
    assert "embed.weight" not in found
    assert all(each.grad is None for each in model.parameters())


def test_every_window_can_be_drawn():
    """The last one, too: a text of one window more than one window has two."""

    class Recorder(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.firsts = nn.Parameter(torch.zeros(SYMBOLS)), set()

        def forward(self, tokens):
            self.firsts.add(int(tokens[0, 0]))
            return self.weight.expand(*tokens.shape, SYMBOLS)

    model = Recorder()
    gradient_squares(model, torch.arange(SYMBOLS), SYMBOLS - 2, 30, seeded())
    assert model.firsts == {0, 1}


@pytest.mark.parametrize(("lr", "decay"), [(0.02, 0.0), (0.0, 0.3), (0.02, 0.3), (0.01, 2.0)])
def test_the_rule_by_hand(lr, decay):
    params = [
        nn.Parameter(torch.randn(3, 2, generator=seeded(), dtype=torch.float64)),
        nn.Parameter(torch.ones(2).double()),
    ]
    squares = [torch.rand(3, 2, generator=seeded(1), dtype=torch.float64), torch.tensor([0.04, 0.0]).double()]
    start = [each.detach().clone() for each in params]
    rule = KrauseRule(params, squares, lr, decay, eps=1e-2)
    roots = [each.sqrt() for each in squares]
    mean = torch.cat([each.flatten() for each in roots]).mean()
    now = [each.clone() for each in start]
    for step in range(3):
        gradients = [torch.randn(each.shape, generator=seeded(10 + step), dtype=torch.float64) for each in params]
        for each, gradient in zip(params, gradients):
            each.grad = gradient.clone()
        rule.step()
        for place, (gradient, root) in enumerate(zip(gradients, roots)):
            pull = torch.clamp(decay * root / mean, max=1) * (start[place] - now[place])
            now[place] = now[place] - lr * gradient / (root + 1e-2) + pull
        for each, wanted in zip(params, now):
            close(each.detach(), wanted)


def test_what_has_no_gradient_stays_and_a_closure_is_asked():
    still, moved = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    rule = KrauseRule([still, moved], [torch.ones(2)] * 2, 0.1)

    def closure():
        rule.zero_grad()
        loss = moved.square().sum()
        loss.backward()
        return loss

    assert rule.step(closure).item() == 2
    assert torch.equal(still, torch.ones(2))
    assert bool((moved < 1).all())


def test_the_rule_reads_a_stream_and_goes_on_after_a_stop():
    model = transformer()
    squares = list(gradient_squares(model, TOKENS, 9, 4, seeded()).values())
    make = partial(KrauseRule, squares=squares, lr=1e-3, decay=1e-2)
    whole = evaluate_stream(model, TOKENS, CONTEXT, STRIDE, make)
    part = evaluate_stream(model, TOKENS, CONTEXT, STRIDE, make)
    for _ in zip(range(5), part):
        pass
    resumed = evaluate_stream(model, TOKENS, CONTEXT, STRIDE, make, resume=part.state_dict())
    assert torch.equal(resumed.log_loss, whole.log_loss)
    assert not torch.equal(whole.log_loss, evaluate_stream(model, TOKENS, CONTEXT, STRIDE).log_loss)


# --- a cache ------------------------------------------------------------------------------------------------------


def by_hand(log_loss, hidden, targets, sharpness, mix, size):
    found = []
    for t in range(len(targets)):
        votes, total = 0.0, 0.0
        for i in range(0 if size is None else max(0, t - size), t):
            weight = math.exp(sharpness * float(hidden[t] @ hidden[i]) / hidden.shape[1])
            total += weight
            votes += weight * bool(targets[i] == targets[t])
        alone = math.exp(-log_loss[t])
        found.append(-math.log((1 - mix) * alone + mix * votes / total if total else alone))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("size", [None, 1, 7, 200])
@pytest.mark.parametrize(("sharpness", "mix"), [(0.0, 0.5), (5.0, 0.3), (5.0, 0.0)])
def test_a_cache_by_hand(size, sharpness, mix):
    hidden = torch.randn(40, 3, generator=seeded(), dtype=torch.float64)
    losses = torch.rand(40, generator=seeded(1), dtype=torch.float64) + 0.1
    targets = torch.randint(4, (40,), generator=seeded(2))
    close(
        neural_cache(losses, hidden, targets, sharpness, mix, size),
        by_hand(losses, hidden, targets, sharpness, mix, size),
    )


@pytest.mark.parametrize("size", [None, 100, 600])
def test_a_long_text_is_worked_out_in_pieces_that_fit_together(size):
    n = 1200
    hidden = torch.randn(n, 2, generator=seeded(), dtype=torch.float64)
    losses, targets = torch.ones(n, dtype=torch.float64), torch.randint(3, (n,), generator=seeded(2))
    found = neural_cache(losses, hidden, targets, 4.0, 0.5, size)
    for t in (1, 511, 512, 513, 1025, n - 1):
        start = 0 if size is None else max(0, t - size)
        part = neural_cache(losses[start : t + 1], hidden[start : t + 1], targets[start : t + 1], 4.0, 0.5)
        close(found[t], part[-1])


def test_nothing_that_comes_later_counts():
    hidden = torch.randn(30, 3, generator=seeded(), dtype=torch.float64)
    losses, targets = torch.ones(30, dtype=torch.float64), torch.randint(4, (30,), generator=seeded(2))
    changed = torch.cat([targets[:20], (targets[20:] + 1) % 4])
    one, other = (neural_cache(losses, hidden, each, 4.0, 0.5) for each in (targets, changed))
    assert torch.equal(one[:20], other[:20])
    assert not torch.equal(one[20:], other[20:])


def test_on_noise_a_cache_wins_nothing():
    n = 4000
    tokens = torch.randint(SYMBOLS, (n,), generator=seeded(4))
    model = WindowMLP(SYMBOLS, 3, 4, 8, seeded())
    seen = hidden_states(evaluate_stream(model, tokens, 3, 50), "hidden")
    mixed = neural_cache(*seen, 3.0, 0.5)
    assert mixed.mean() > math.log(SYMBOLS) - 3 * mixed.std() / n**0.5


def test_hidden_states_are_what_the_layer_put_out_for_each_target():
    model = transformer()
    seen = hidden_states(evaluate_stream(model, TOKENS, CONTEXT, STRIDE), "norm")
    assert torch.equal(seen.targets, TOKENS[CONTEXT:])
    assert torch.equal(seen.log_loss, evaluate_stream(model, TOKENS, CONTEXT, STRIDE).log_loss)
    assert seen.hidden.shape == (len(TOKENS) - CONTEXT, 8)
    again = log_losses(model.head(seen.hidden)[None], seen.targets[None])[0]
    close(again.detach(), seen.log_loss)
    assert not model.norm._forward_hooks


def test_hidden_states_of_a_learner_are_those_before_each_step():
    model, make = transformer(), partial(torch.optim.SGD, lr=0.3)
    seen = hidden_states(evaluate_stream(model, TOKENS, CONTEXT, STRIDE, make), "norm")
    still = hidden_states(evaluate_stream(copy.deepcopy(model), TOKENS, CONTEXT, STRIDE), "norm")
    close(seen.hidden[:STRIDE], still.hidden[:STRIDE])
    assert (seen.hidden[STRIDE:] - still.hidden[STRIDE:]).abs().max() > 1e-3
    assert not model.norm._forward_hooks


def test_a_cache_foresees_what_it_has_seen():
    tokens = torch.arange(SYMBOLS).repeat(20)
    model = transformer()
    seen = hidden_states(evaluate_stream(model, tokens, CONTEXT, STRIDE), "norm")
    assert neural_cache(*seen, 20.0, 0.9)[40:].mean() < 0.5 * seen.log_loss[40:].mean()
