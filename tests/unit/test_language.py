"""The language models of lesson 08: what they compute by formula, that they see the past alone, and how far back.

Seeds are fixed. Angles are worked out in single precision, whatever the model's dtype.
"""

import math

import pytest
import torch
from agree import close, seeded
from torch import nn

from companion.foundations.language import LONGEST_WAVE, Transformer, WindowMLP, rotate

SYMBOLS, T = 11, 9
MODELS = {
    "transformer": lambda: Transformer(SYMBOLS, 16, 2, 2, seeded()),
    "one block, one head": lambda: Transformer(SYMBOLS, 6, 1, 1, seeded()),
    "window": lambda: WindowMLP(SYMBOLS, 4, 3, 10, seeded()),
    "window of one": lambda: WindowMLP(SYMBOLS, 1, 3, 10, seeded()),
}
each_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())


def loud(model: nn.Module) -> nn.Module:
    """With weights so large that every part of it matters, in double precision."""
    with torch.no_grad():
        for name, each in model.named_parameters():
            each.copy_(torch.randn(each.shape, generator=seeded(len(name))) * (0.6 if each.ndim == 2 else 0.3))
    return model.double()


def text(n: int = 2, t: int = T, seed: int = 0) -> torch.Tensor:
    return torch.randint(SYMBOLS, (n, t), generator=seeded(seed))


def reach(model: nn.Module, t: int = T) -> torch.Tensor:
    """(t, t): whether the logits at a place change with the symbol at another."""
    tokens = text(1, t)
    plain, seen = model(tokens), torch.zeros(t, t, dtype=torch.bool)
    for place in range(t):
        other = tokens.clone()
        other[0, place] = (other[0, place] + 1) % SYMBOLS
        seen[:, place] = ((model(other) - plain).abs() > 1e-9).any(-1)[0]
    return seen


# --- both ---------------------------------------------------------------------------------------------------------


@each_model
def test_logits_of_the_next_symbol_for_each_place(make):
    model = make()
    found = model(text(3, 5))
    assert found.shape == (3, 5, SYMBOLS)
    assert found.dtype == torch.float32
    assert found.isfinite().all()


@each_model
@pytest.mark.parametrize("t", [1, 2, T])
def test_no_place_sees_what_comes_later(make, t):
    """To the last bit where the past is the same, and the slopes of later embeddings are 0."""
    model = loud(make())
    assert not reach(model, t).triu(1).any()
    assert reach(model, t).diagonal().all()
    given = []
    hook = model.embed.register_forward_hook(
        lambda module, inputs, output: given.append(output) or output.retain_grad()
    )
    for place in range(t):
        model(text(1, t))[0, place].sum().backward()
        slopes = given.pop().grad[0].abs().sum(-1)
        assert not slopes[place + 1 :].any()
        assert slopes[place] > 0
    hook.remove()


@each_model
def test_a_beginning_alone_gives_what_it_gave_in_the_whole(make):
    model = loud(make())
    whole = model(text())
    for t in range(1, T):
        close(model(text()[:, :t]), whole[:, :t], 1e-12)


@each_model
def test_each_row_is_read_by_itself(make):
    model = loud(make())
    together = model(text(3))
    for row in range(3):
        close(model(text(3)[row : row + 1])[0], together[row], 1e-12)


@each_model
def test_weights_come_from_the_generator_alone(make):
    torch.manual_seed(1)
    one = make()
    torch.manual_seed(2)
    two = make()
    for first, second in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(first, second)
    other = type(one)(SYMBOLS, generator=seeded(1))
    again = type(one)(SYMBOLS, generator=seeded(2))
    assert not torch.equal(other.embed.weight, again.embed.weight)


@pytest.mark.parametrize(
    ("model", "std"), [(Transformer(200, 64, 2, 4, seeded()), 0.02), (WindowMLP(200, generator=seeded()), 0.1)]
)
def test_weights_start_from_their_law_and_biases_from_0(model, std):
    for name, each in model.named_parameters():
        if "norm" in name:
            assert torch.equal(each, torch.ones_like(each) if name.endswith("weight") else torch.zeros_like(each))
        elif name.endswith("bias"):
            assert not each.any()
        else:
            assert each.std().item() == pytest.approx(std, rel=0.05)
            assert each.mean().abs() < 5 * std / math.sqrt(each.numel())


@each_model
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(make, dtype):
    model = make()
    found = model.to(dtype)(text())
    assert found.dtype == dtype
    wanted = make()(text())
    torch.testing.assert_close(found.float(), wanted, rtol=0, atol=1e-6 if dtype == torch.float64 else 0.02)


@each_model
def test_it_learns_what_repeats(make):
    model, tokens = make(), (torch.arange(40) * 3 % SYMBOLS)[None]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        logits = model(tokens[:, :-1])
        loss = nn.functional.cross_entropy(logits[0], tokens[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2 < math.log(SYMBOLS)


# --- transformer --------------------------------------------------------------------------------------------------


def turn_of(t: int, channels: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    waves = torch.tensor([LONGEST_WAVE ** -(k / channels) for k in range(channels)], dtype=dtype)
    angle = torch.arange(t, dtype=dtype)[:, None] * waves
    return torch.stack([torch.cat([angle.cos()] * 2, 1), torch.cat([angle.sin()] * 2, 1)])


def test_a_rotation_turns_pairs_of_channels_as_complex_numbers():
    x = torch.randn(2, 3, T, 8, generator=seeded(), dtype=torch.float64)
    turn = turn_of(T, 4)
    pairs = torch.complex(x[..., :4], x[..., 4:]) * torch.complex(turn[0, :, :4], turn[1, :, :4])
    close(rotate(x, turn), torch.cat([pairs.real, pairs.imag], -1), 1e-12)
    close(rotate(x, turn).square().sum(-1), x.square().sum(-1), 1e-12)
    assert torch.equal(rotate(x, turn)[:, :, 0], x[:, :, 0])


def test_a_rotated_query_and_key_meet_by_their_distance_alone():
    query, key = torch.randn(2, 1, 1, 1, 8, generator=seeded(), dtype=torch.float64)
    turn = turn_of(T, 4)
    scores = rotate(query.expand(1, 1, T, 8), turn)[0, 0] @ rotate(key.expand(1, 1, T, 8), turn)[0, 0].T
    for distance in range(1 - T, T):
        line = scores.diagonal(distance)
        close(line, line[:1].expand_as(line), 1e-12)
    assert len({round(line.item(), 6) for line in (scores.diagonal(distance)[0] for distance in range(1 - T, T))}) > T


def block_calls(model: Transformer, tokens: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What each block is given."""
    calls = []
    hooks = [
        block.register_forward_pre_hook(lambda module, inputs: calls.append(tuple(each.detach() for each in inputs)))
        for block in model.blocks
    ]
    model(tokens)
    for hook in hooks:
        hook.remove()
    return calls


def test_attention_of_the_model_depends_on_distances_only():
    """Moved to later places, the same inputs give the same outputs; at other distances they do not."""
    model = loud(Transformer(SYMBOLS, 16, 2, 2, seeded()))
    (_, turn), *_ = block_calls(model, text(1, 30))
    x = torch.randn(2, T, 16, generator=seeded(), dtype=torch.float64)
    block = model.blocks[0]
    near = block(x, turn[:, :T])
    close(block(x, turn[:, 20 : 20 + T]), near, 1e-5)
    assert (block(x, turn[:, : 2 * T : 2]) - near).abs().max() > 1e-2


def test_the_model_turns_by_waves_from_2_pi_upwards():
    model = Transformer(SYMBOLS, 32, 2, 2, seeded())
    calls = block_calls(model, text(1, 40))
    assert len(calls) == 2
    for _, turn in calls:
        close(turn, turn_of(40, 8, torch.float32), 1e-5)


def test_places_matter_though_they_have_no_embedding():
    model = loud(Transformer(SYMBOLS, 16, 1, 2, seeded()))
    tokens = torch.tensor([[1, 2, 3, 4, 5]])
    mixed = torch.tensor([[3, 1, 4, 2, 5]])
    assert (model(tokens) - model(mixed))[0, -1].abs().max() > 1e-2


def norm(x: torch.Tensor, layer: nn.LayerNorm) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return layer.weight * centred / (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt() + layer.bias


def test_the_transformer_is_its_formula():
    width, heads = 12, 3
    model = loud(Transformer(SYMBOLS, width, 2, heads, seeded()))
    tokens, turn = text(2), turn_of(T, width // heads // 2)
    x = model.embed.weight[tokens]
    for block in model.blocks:
        parts = norm(x, block.norm1) @ block.attention.weight.T + block.attention.bias
        query, key, value = (part.unflatten(-1, (heads, -1)) for part in parts.split(width, -1))
        read = torch.zeros(2, T, heads, width // heads, dtype=torch.float64)
        for head in range(heads):
            turned_query, turned_key = (rotate(each[:, None, :, head], turn)[:, 0] for each in (query, key))
            for place in range(T):
                score = turned_key[:, : place + 1] @ turned_query[:, place, :, None] / math.sqrt(width // heads)
                read[:, place, head] = (score.softmax(1) * value[:, : place + 1, head]).sum(1)
        x = x + read.flatten(2) @ block.mix.weight.T + block.mix.bias
        hidden = norm(x, block.norm2) @ block.mlp[0].weight.T + block.mlp[0].bias
        hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
        x = x + hidden @ block.mlp[2].weight.T + block.mlp[2].bias
    close(model(tokens), norm(x, model.norm) @ model.head.weight.T + model.head.bias, 1e-5)


# --- window -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 4, 8, 20])
def test_the_window_looks_back_exactly_so_many_symbols(order):
    found = reach(loud(WindowMLP(SYMBOLS, order, 3, 10, seeded())))
    places = torch.arange(T)
    distance = places[:, None] - places
    assert torch.equal(found, (distance >= 0) & (distance < order))


def test_the_window_is_its_formula_with_zeros_before_the_text():
    order, embedding = 4, 3
    model, tokens = loud(WindowMLP(SYMBOLS, order, embedding, 10, seeded())), text(2)
    for row in range(2):
        for place in range(T):
            seen = torch.zeros(order, embedding, dtype=torch.float64)
            for back in range(order):
                if place - back >= 0:
                    seen[order - 1 - back] = model.embed.weight[tokens[row, place - back]]
            hidden = (model.hidden.weight @ seen.flatten() + model.hidden.bias).tanh()
            close(model(tokens)[row, place], model.head.weight @ hidden + model.head.bias, 1e-12)


def test_the_window_knows_no_places():
    model = loud(WindowMLP(SYMBOLS, 4, 3, 10, seeded()))
    tokens = text(1, 20)
    close(model(tokens)[:, 10:], model(tokens[:, 6:])[:, 4:], 1e-12)
