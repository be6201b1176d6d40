"""Dynamic evaluation against loops written out again: windows, targets, order, every way to learn, and what it costs.

A leak test feeds random tokens, of which nothing can be known: wrong evaluators and a wrong model are caught by the test that
honest ones pass. Seeds are fixed, numbers are compared in double precision.
"""

import copy
import io
import math
from collections import Counter
from functools import partial
from itertools import pairwise

import pytest
import torch
from agree import close, seeded
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from companion.foundations.language import Transformer, WindowMLP
from companion.methods.dynamic_evaluation import (
    Block,
    HuggingFaceReader,
    LowRank,
    add_adapters,
    evaluate_stream,
    learned_part,
    log_losses,
)

SYMBOLS, CONTEXT, STRIDE = 7, 5, 3
sgd = partial(torch.optim.SGD, lr=0.5)
adam = partial(torch.optim.Adam, lr=0.03)
OPTIMIZERS = {
    "SGD": sgd,
    "momentum": partial(torch.optim.SGD, lr=0.3, momentum=0.9),
    "Adam": adam,
    "AdamW": partial(torch.optim.AdamW, lr=0.03, weight_decay=0.1),
}
PARTS = {
    "all": ("all", {"embed.weight", "mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias", "head.weight", "head.bias"}),
    "mlp": ("mlp", {"mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias"}),
    "callable": (lambda name: name.endswith("bias"), {"mlp.0.bias", "mlp.2.bias", "head.bias"}),
}  # fmt: skip
WAYS = {**{name: part for name, (part, _) in PARTS.items()}, "lora": "lora"}
RETURNS = {
    "on and on": {},
    "decay": {"decay": 0.1},
    "reset": {"reset_every": 4},
    "documents": {"reset_at": [12, 13, 40]},
    "all of them": {"decay": 0.2, "reset_every": 3, "reset_at": [20]},
}
each_way = pytest.mark.parametrize("way", WAYS)
each_return = pytest.mark.parametrize("returns", RETURNS.values(), ids=RETURNS.keys())


class Conv1D(nn.Module):
    """A linear layer that keeps its weight the other way round, as some transformers do."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.nx, self.nf = inputs, outputs
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, outputs)), nn.Parameter(torch.randn(outputs))

    def forward(self, x):
        return x @ self.weight + self.bias


class Reader(nn.Module):
    """Predicts from the last token and the mean of all before: causal, quick, and no two windows give the same."""

    def __init__(self, symbols: int = SYMBOLS, width: int = 4, layer=nn.Linear) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.mlp = nn.Sequential(layer(width, 6), nn.Tanh(), layer(6, width))
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(width, symbols)

    def forward(self, tokens):
        x = self.embed(tokens)
        x = x + x.cumsum(1) / torch.arange(1, tokens.shape[1] + 1, device=x.device, dtype=x.dtype)[:, None]
        return self.head(self.dropout(x + self.mlp(x)))


class Table(nn.Module):
    """A row of logits for each last token; keeps what it is shown."""

    def __init__(self, symbols: int, start: torch.Tensor | None = None) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(symbols, symbols) if start is None else start)
        self.shown: list[torch.Tensor] = []
        self.before: list[torch.Tensor] = []

    def forward(self, tokens):
        self.shown.append(tokens.clone())
        self.before.append(self.logits.detach().clone())
        return self.logits[tokens]


def reader(seed: int = 0, **options) -> Reader:
    torch.manual_seed(seed)
    return Reader(**options).double()


def text_of(t: int = 60, symbols: int = SYMBOLS, seed: int = 0) -> torch.Tensor:
    """With something to learn: often the same few steps further."""
    draws = seeded(seed + 100)
    steps = torch.where(torch.rand(t, generator=draws) < 0.8, 2, torch.randint(symbols, (t,), generator=draws))
    return steps.cumsum(0) % symbols


def read(model=None, tokens=None, optimizer=None, way="all", *, context=CONTEXT, stride=STRIDE, **options):
    model = reader() if model is None else model
    tokens = text_of() if tokens is None else tokens
    if way == "lora":
        options.setdefault("generator", seeded(3))
    return evaluate_stream(model, tokens, context, stride, optimizer, WAYS.get(way, way), **options)


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(name == other and torch.equal(one, two) for (name, one), (other, two) in pairs)


# --- windows and targets ------------------------------------------------------------------------------------------

SIZES = [(60, 5, 3), (60, 1, 1), (61, 8, 8), (60, 16, 4), (60, 4, 16), (60, 59, 3), (60, 2, 100), (9, 3, 3)]
each_size = pytest.mark.parametrize(("t", "context", "stride"), SIZES)


@each_size
@pytest.mark.parametrize("model", [reader(), Transformer(SYMBOLS, 8, 2, 2, seeded()), WindowMLP(SYMBOLS)])
def test_without_an_optimizer_it_is_plain_evaluation_of_the_same_windows(model, t, context, stride):
    tokens, losses = text_of(t), []
    model.eval()
    for start in range(context, t, stride):
        window = tokens[start - context : start + stride]
        with torch.no_grad():
            logits = model(window[None, :-1])[:, context - 1 :]
        losses.append(cross_entropy(logits.transpose(1, 2), window[None, context:], reduction="none")[0])
    found = evaluate_stream(model, tokens, context, stride)
    assert torch.equal(found.log_loss, torch.cat(losses))
    assert torch.equal(found.targets, tokens[context:])
    assert found.model is model


@each_size
def test_a_block_that_ends_at_e_is_read_from_the_tokens_before_and_its_targets_are_its_own(t, context, stride):
    """The numbers of the text are places, and each entry of the table has a value of its own."""
    model = Table(t, torch.randn(t, t, generator=seeded(), dtype=torch.float64))
    blocks = list(evaluate_stream(model, torch.arange(t), context, stride))
    ends = [min(end, t) for end in range(context + stride, t + stride, stride)]
    sizes = [stride] * (len(ends) - 1) + [t - context - stride * (len(ends) - 1)]
    assert len(model.shown) == len(blocks) == len(ends)
    for end, size, shown, block in zip(ends, sizes, model.shown, blocks, strict=True):
        assert torch.equal(shown, torch.arange(end - size - context, end - 1)[None])
        assert (block.start, block.stop) == (end - size, end)
        log_probs = model.logits.detach().log_softmax(1)
        wanted = [-log_probs[place - 1, place].item() for place in range(end - size, end)]
        close(block.log_loss, torch.tensor(wanted, dtype=torch.float64), 1e-14)


@given(t=st.integers(2, 40), context=st.integers(1, 39), stride=st.integers(1, 50), learn=st.booleans())
def test_every_token_after_the_context_is_scored_once(t, context, stride, learn):
    if context >= t:
        return
    found = read(tokens=text_of(t), optimizer=sgd if learn else None, context=context, stride=stride)
    blocks = list(found)
    scored = Counter(place for start, stop, _ in blocks for place in range(start, stop))
    assert scored == Counter(range(context, t))
    assert len(found) == len(blocks) == math.ceil((t - context) / stride)
    assert {stop - start for start, stop, _ in blocks[:-1]} <= {stride}
    assert torch.equal(torch.cat([block.log_loss for block in blocks]), found.log_loss)
    assert (found.log_loss > 0).all()


def test_log_losses_are_minus_log_probabilities():
    logits = torch.randn(2, 3, 4, generator=seeded(), dtype=torch.float64) * 30
    targets = torch.tensor([[0, 3, 1], [2, 2, 0]])
    found = log_losses(logits, targets)
    for row in range(2):
        for place in range(3):
            own = logits[row, place]
            wanted = own.logsumexp(0) - own[targets[row, place]]
            close(found[row, place], wanted, 1e-12)
    assert log_losses(logits.float(), targets).dtype == torch.float32
    rough = logits.bfloat16()
    assert torch.equal(log_losses(rough, targets), log_losses(rough.float(), targets))


# --- learning -----------------------------------------------------------------------------------------------------


def by_hand(model, tokens, make, learned, assemble, *, decay=0.0, reset_every=None, reset_at=()):
    """Each block scored, then learned: log-losses, and all weights as they are at the end."""
    values = {name: value.detach().clone().requires_grad_() for name, value in learned.items()}
    start = {name: value.detach().clone() for name, value in learned.items()}
    optimizer, losses = make(list(values.values())), []
    beginnings = list(range(CONTEXT, len(tokens), STRIDE))
    due = {number for number in range(1, len(beginnings)) if reset_every and number % reset_every == 0}
    for place in reset_at:
        due |= {next((number for number, first in enumerate(beginnings) if first >= place), None)} - {0, None}
    for number, first in enumerate(beginnings):
        if number in due:
            for name, value in values.items():
                value.data = start[name].clone()
            optimizer = make(list(values.values()))
        window = tokens[first - CONTEXT : first + STRIDE]
        logits = functional_call(model, assemble(values), (window[None, :-1],))[0, CONTEXT - 1 :]
        loss = -logits.log_softmax(-1).gather(1, window[CONTEXT:, None])[:, 0]
        losses.append(loss.detach())
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        for name, value in values.items():
            value.data = value.data + decay * (start[name] - value.data)
    return torch.cat(losses), {name: value.detach() for name, value in assemble(values).items()}


@each_return
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
@pytest.mark.parametrize("part", PARTS)
def test_it_is_the_loop_written_out(part, make, returns):
    model, tokens = reader().eval(), text_of()
    frozen = weights_of(model)
    learned = {name: frozen[name] for name in PARTS[part][1]}
    losses, weights = by_hand(model, tokens, make, learned, lambda values: frozen | values, **returns)
    found = read(model, tokens, make, part, **returns)
    close(found.log_loss, losses)
    for name, value in found.model.state_dict().items():
        close(value, weights[name])
    assert not torch.allclose(found.log_loss, read(model, tokens).log_loss, atol=1e-3)


@each_return
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_adapters_are_the_loop_written_out_for_w_plus_up_times_down(make, returns):
    model, tokens, rank = reader().eval(), text_of(), 2
    frozen, draws, learned = weights_of(model), seeded(3), {}
    for name in ("mlp.0.weight", "mlp.2.weight"):
        outputs, inputs = frozen[name].shape
        learned[f"{name} down"] = (torch.randn(rank, inputs, generator=draws) / math.sqrt(inputs)).double()
        learned[f"{name} up"] = torch.zeros(outputs, rank, dtype=torch.float64)

    def merged(values):
        names = ("mlp.0.weight", "mlp.2.weight")
        return frozen | {name: frozen[name] + values[f"{name} up"] @ values[f"{name} down"] for name in names}

    losses, weights = by_hand(model, tokens, make, learned, merged, **returns)
    found = read(model, tokens, make, "lora", rank=rank, **returns)
    close(found.log_loss, losses)
    for name in ("mlp.0", "mlp.2"):
        adapter = found.model.get_submodule(name)
        close(adapter.layer.weight + adapter.up @ adapter.down, weights[f"{name}.weight"])
    assert not torch.allclose(found.log_loss, read(model, tokens).log_loss, atol=1e-4)


@each_way
def test_what_is_frozen_never_moves_and_the_rest_does(way):
    model = reader()
    before, found = weights_of(model), read(model, optimizer=adam, way=way)
    found.log_loss  # noqa: B018 (reads to the end)
    learned = {name for name, each in found.model.named_parameters() if each.requires_grad}
    if way == "lora":
        assert learned == {f"mlp.{place}.{part}" for place in (0, 2) for part in ("down", "up")}
    else:
        assert learned == PARTS[way][1]
    for name, value in found.model.state_dict().items():
        if name not in learned:
            assert torch.equal(value, before[name.replace(".layer.", ".")])
        elif way != "lora":
            assert not torch.equal(value, before[name])
    for name, each in found.model.named_parameters():
        assert (each.grad is not None) == (name in learned)


def test_what_the_caller_had_frozen_can_be_learned_and_a_callable_sees_every_name():
    model, names = reader().requires_grad_(False), []
    found = read(model, optimizer=sgd)
    assert all(each.requires_grad for each in found.model.parameters())
    learned_part(copy.deepcopy(model), lambda name: not names.append(name))
    assert set(names) == PARTS["all"][1]


@pytest.mark.parametrize("way", ["all", lambda name: name == "head.weight", lambda name: name == "embed.weight"])
def test_a_tied_weight_is_learned_once_under_either_name_and_stays_tied(way):
    model = reader()
    model.head.weight = model.embed.weight
    found = read(model, optimizer=sgd, way=way)
    found.log_loss  # noqa: B018
    assert found.model.head.weight is found.model.embed.weight
    assert not torch.equal(found.model.head.weight, model.head.weight)
    chosen = learned_part(copy.deepcopy(model), way)
    assert len(chosen) == len({id(each) for each in chosen}) == (6 if way == "all" else 1)


@each_way
@pytest.mark.parametrize("training", [True, False])
def test_the_given_model_is_as_it_was(way, training):
    model = reader().train(training)
    model.head.bias.requires_grad_(False)
    before, names = weights_of(model), [name for name, _ in model.named_modules()]
    asking = [each.requires_grad for each in model.parameters()]
    found = read(model, optimizer=adam, way=way, decay=0.1, reset_every=3)
    found.log_loss  # noqa: B018
    assert found.model is not model
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [name for name, _ in model.named_modules()] == names
    assert [each.requires_grad for each in model.parameters()] == asking
    assert all(each.grad is None for each in model.parameters())
    assert model.training == training


@each_way
def test_in_place_it_adapts_the_model_itself_to_the_same_end(way):
    model = reader()
    copied, owned = read(model, optimizer=adam, way=way), read(copy.deepcopy(model), optimizer=adam, way=way)
    own = read(model, optimizer=adam, way=way, in_place=True)
    assert own.model is model
    assert torch.equal(own.log_loss, copied.log_loss)
    assert torch.equal(own.log_loss, owned.log_loss)
    assert same_weights(model, copied.model)


def test_dropout_is_off():
    model = reader().train()
    assert torch.equal(read(model, optimizer=adam).log_loss, read(model.eval(), optimizer=adam).log_loss)
    static = read(model.train())
    assert torch.equal(static.log_loss, read(model.eval()).log_loss)


def test_it_learns_what_repeats():
    tokens = torch.arange(300) % SYMBOLS
    static = read(tokens=tokens).log_loss[-60:].mean()
    for way in ("all", "mlp", "lora"):
        assert read(tokens=tokens, optimizer=adam, way=way).log_loss[-60:].mean() < 0.5 * static


def test_a_caller_without_gradients_learns_the_same():
    wanted = read(optimizer=adam).log_loss
    with torch.no_grad():
        found = read(optimizer=adam)
        assert torch.equal(found.log_loss, wanted)
    static = read().log_loss
    with torch.inference_mode():
        assert torch.equal(read().log_loss, static)
    assert not static.requires_grad
    assert not wanted.requires_grad


# --- back to the start --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
@each_way
def test_between_resets_it_is_a_reading_of_its_own(way, make):
    """By the last digit: the weights are those of the start, and no moment of the optimiser is left."""
    tokens, every = text_of(), 4
    whole = read(tokens=tokens, optimizer=make, way=way, reset_every=every, decay=0.05)
    size = every * STRIDE
    for start in range(CONTEXT, len(tokens), size):
        part = tokens[start - CONTEXT : start + size]
        alone = read(tokens=part, optimizer=make, way=way, decay=0.05)
        assert torch.equal(whole.log_loss[start - CONTEXT :][:size], alone.log_loss)


@each_way
def test_between_documents_it_is_a_reading_of_its_own(way):
    """Blocks begin at 5, 8, 11, ...: a document begins with the first block that begins no earlier than it does."""
    tokens = text_of()
    whole = read(tokens=tokens, optimizer=adam, way=way, reset_at=[46, 20, 12, 21, 13, 0, 5, 1000])
    starts = [CONTEXT, 14, 20, 23, 47, len(tokens)]
    for start, stop in pairwise(starts):
        alone = read(tokens=tokens[start - CONTEXT : stop], optimizer=adam, way=way)
        assert torch.equal(whole.log_loss[start - CONTEXT : stop - CONTEXT], alone.log_loss)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_a_reset_gives_the_start_back_to_the_last_bit(decay):
    start = torch.randn(SYMBOLS, SYMBOLS, generator=seeded()) / 3  # thirds: no round numbers
    found = read(Table(SYMBOLS, start.clone()), optimizer=adam, reset_every=3, decay=decay)
    found.log_loss  # noqa: B018
    for number, before in enumerate(found.model.before):
        assert torch.equal(before, start) == (number % 3 == 0)


def test_decay_1_never_leaves_the_start_and_decay_0_does_nothing():
    assert torch.equal(read(optimizer=adam, decay=1).log_loss, read().log_loss)
    assert torch.equal(read(optimizer=adam, decay=0).log_loss, read(optimizer=adam).log_loss)


@pytest.mark.parametrize("decay", [0.01, 0.25, 0.9])
def test_decay_goes_that_part_of_the_way_back_after_each_step(decay):
    start, tokens, rate = torch.randn(3, 3, generator=seeded(), dtype=torch.float64), torch.tensor([0, 1, 2, 1]), 0.7
    found = evaluate_stream(Table(3, start), tokens, 1, 1, partial(torch.optim.SGD, lr=rate), decay=decay)
    found.log_loss  # noqa: B018
    theta = start
    for last, target in pairwise(tokens):
        slope = torch.zeros(3, 3, dtype=torch.float64)
        slope[last] = theta[last].softmax(0)
        slope[last, target] -= 1
        theta = theta - rate * slope
        theta = theta + decay * (start - theta)
    close(found.model.logits, theta, 1e-14)


# --- iterating and going on ---------------------------------------------------------------------------------------


def test_it_works_when_it_is_asked_and_once():
    model = Table(SYMBOLS)
    found = read(model, optimizer=sgd, in_place=True)
    assert model.shown == []
    steps = iter(found)
    first = next(steps)
    assert isinstance(first, Block)
    assert (first.start, first.stop) == (CONTEXT, CONTEXT + STRIDE)
    assert first.log_loss.shape == (STRIDE,)
    assert len(model.shown) == 1
    next(iter(found))  # another iterator goes on with the same reading
    assert len(model.shown) == 2
    losses = found.log_loss
    assert torch.equal(losses, read(Table(SYMBOLS), optimizer=sgd).log_loss)
    assert torch.equal(losses[:STRIDE], first.log_loss)
    assert len(model.shown) == len(found)
    assert list(steps) == list(found) == []
    assert torch.equal(found.log_loss, losses)
    assert found.flops == read(Table(SYMBOLS), optimizer=sgd).flops
    assert len(model.shown) == len(found)


@pytest.mark.parametrize("learned", [True, False])
def test_whoever_interrupts_it_and_goes_on_scores_no_block_after_it_was_learned(learned):
    class Interrupted(torch.optim.SGD):
        left = 4

        def step(self, closure=None):
            Interrupted.left -= 1
            if learned or Interrupted.left:
                super().step()
            if not Interrupted.left:
                raise KeyboardInterrupt

    wanted, found = read(optimizer=sgd).log_loss, read(optimizer=partial(Interrupted, lr=0.5))
    with pytest.raises(KeyboardInterrupt):
        found.log_loss  # noqa: B018
    losses = found.log_loss
    seen = 4 * STRIDE
    assert torch.equal(losses[:seen], wanted[:seen])
    assert torch.equal(losses, wanted) == learned
    assert (losses > 0).all()


def saved_and_loaded(state: dict) -> dict:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def stopped_after(blocks: int, **call):
    found = read(**call)
    for _, _ in zip(range(blocks), found):
        pass
    return found


@each_return
@each_way
def test_it_goes_on_bit_for_bit_from_a_file(way, returns):
    for make in (OPTIMIZERS["momentum"], adam):
        call = {"optimizer": make, "way": way, **returns}
        whole = read(**call)
        for blocks in (0, 3, 4, len(whole)):
            state = saved_and_loaded(stopped_after(blocks, **call).state_dict())
            again = read(**call, resume=state)
            assert len(list(again)) == len(whole) - blocks
            assert torch.equal(again.log_loss, whole.log_loss)
            assert again.flops == whole.flops
            assert same_weights(again.model, whole.model)


def test_a_reading_without_learning_goes_on_too():
    whole, model = read(), reader()
    state = saved_and_loaded(stopped_after(4, model=model).state_dict())
    again = read(model, resume=state)
    assert again.model is model
    assert len(list(again)) == len(whole) - 4
    assert torch.equal(again.log_loss, whole.log_loss)
    assert again.flops == whole.flops


@each_way
def test_a_state_is_a_copy_from_which_one_can_go_on_again_and_again(way):
    call = {"optimizer": adam, "way": way, "decay": 0.1, "reset_every": 7}
    whole = read(**call).log_loss
    found = stopped_after(5, **call)
    state = found.state_dict()
    kept = copy.deepcopy(state)
    found.log_loss  # noqa: B018 (goes on after it was saved)
    for _ in range(2):
        assert torch.equal(read(**call, resume=state).log_loss, whole)
    assert str(state) == str(kept)


@each_way
def test_it_goes_on_in_place_with_the_model_that_had_begun(way):
    model = reader()
    call = {"optimizer": adam, "way": way, "decay": 0.1}
    state = stopped_after(5, model=model, in_place=True, **call).state_dict()
    again = read(model, **call, in_place=True, resume=state)
    assert torch.equal(again.log_loss, read(**call).log_loss)


# --- what it costs ------------------------------------------------------------------------------------------------


class Linears(nn.Module):
    """Nothing but products of matrices, after the embedding."""

    def __init__(self, symbols: int = SYMBOLS, width: int = 5, hidden: int = 9) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.head = nn.Linear(width, symbols)

    def forward(self, tokens):
        return self.head(self.mlp(self.embed(tokens)))


def windows_of(t: int) -> list[int]:
    """Inputs of each block."""
    return [min(STRIDE, t - start) + CONTEXT - 1 for start in range(CONTEXT, t, STRIDE)]


@pytest.mark.parametrize("t", [CONTEXT + 4 * STRIDE, CONTEXT + 4 * STRIDE + 1, CONTEXT + 1])
def test_flops_are_twice_the_multiplications_counted_by_hand(t):
    first, second, head = 5 * 9, 9 * 5, 5 * SYMBOLS
    forward = first + second + head
    multiplications = {
        None: forward,
        "all": 3 * forward,  # each layer again for its weight, and for its input
        "mlp": forward + (head + second) + (second + first),  # slopes of the inputs down to the first; weights of two
        "biases": forward + head + second,
    }
    tokens = text_of(t)
    for part, each in multiplications.items():
        way = (lambda name: name.endswith("bias")) if part == "biases" else part or "all"
        found = evaluate_stream(Linears(), tokens, CONTEXT, STRIDE, None if part is None else sgd, way)
        assert found.flops == 2 * sum(windows_of(t)) * each
        assert found.flops == 2 * sum(windows_of(t)) * each  # asking costs nothing


def test_flops_of_adapters_are_twice_the_multiplications_counted_by_hand():
    tokens, rank, (first, second, head) = text_of(), 2, (5 * 9, 9 * 5, 5 * SYMBOLS)
    low = 2 * rank * (5 + 9)  # both adapters
    forward = first + second + head + low
    slopes = head + second + rank * (5 + 9) + rank * 9  # down to the first `up`, whose slope needs no more
    weights = low
    found = read(Linears(), tokens, sgd, "lora", rank=rank)
    assert found.flops == 2 * sum(windows_of(60)) * (forward + slopes + weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_flops_of_a_transformer_count_its_attention(dtype):
    """Two products forward, and five backward, where scores are worked out again."""
    depth, width, t, context, stride = 2, 8, 40, 12, 7
    model = Transformer(SYMBOLS, width, depth, 2, seeded()).to(dtype)
    linear = sum(each.numel() for name, each in model.named_parameters() if each.ndim == 2 and "embed" not in name)
    lengths = [min(stride, t - start) + context - 1 for start in range(context, t, stride)]
    static = evaluate_stream(model, text_of(t), context, stride).flops
    online = evaluate_stream(model, text_of(t), context, stride, sgd).flops
    attention = [depth * length**2 * width for length in lengths]
    assert static == 2 * linear * sum(lengths) + 2 * 2 * sum(attention)
    assert online == 3 * 2 * linear * sum(lengths) + 2 * (2 + 5) * sum(attention)


@pytest.mark.parametrize("model", [Linears(), WindowMLP(SYMBOLS), Transformer(SYMBOLS, 64, 2, 2, seeded())])
def test_learning_costs_three_times_as_much_as_reading(model):
    static, online = read(model).flops, read(model, optimizer=adam).flops
    assert 3 <= online / static < 3.03


def test_the_cost_per_token_is_that_of_the_window_over_the_stride():
    tokens = text_of(8 + 64)
    cost = {stride: evaluate_stream(Linears(), tokens, 8, stride).flops for stride in (1, 4, 8)}
    assert [cost[stride] * stride / (8 + stride - 1) for stride in (1, 4, 8)] == [cost[1] / 8] * 3


# --- the leak test ------------------------------------------------------------------------------------------------

VOCAB = 8


def knows_too_much(log_loss: torch.Tensor) -> bool:
    """Whether this is below log(VOCAB), the least for random tokens, by more than chance: 4 standard errors.

    The last digit of single precision is no knowledge either.
    """
    error = log_loss.std() / math.sqrt(len(log_loss))
    return bool(log_loss.mean() < math.log(VOCAB) - 4 * error - 1e-6)


def noise(seed: int, t: int = 2000) -> torch.Tensor:
    return torch.randint(VOCAB, (t,), generator=seeded(seed))


class Peeking(nn.Module):
    """Not causal: bets on the token that comes next in its window."""

    def __init__(self) -> None:
        super().__init__()
        self.bet = nn.Parameter(torch.tensor(1.0))

    def forward(self, tokens):
        after = torch.cat([tokens[:, 1:], tokens[:, :1]], 1)
        return self.bet * torch.eye(VOCAB)[after]


MODELS = {
    "table": lambda: Table(VOCAB),
    "reader": lambda: reader(symbols=VOCAB).float(),
    "transformer": lambda: Transformer(VOCAB, 8, 1, 2, seeded()),
    "window": lambda: WindowMLP(VOCAB, 4, 3, 8, seeded()),
}
LEARNING = {
    "reading": {},
    "slowly": {"optimizer": partial(torch.optim.SGD, lr=0.01)},
    "SGD": {"optimizer": partial(torch.optim.SGD, lr=0.5)},
    "Adam": {"optimizer": adam},
    "with resets": {"optimizer": adam, "reset_every": 5, "decay": 0.1},
}


@pytest.mark.parametrize("learning", LEARNING.values(), ids=LEARNING.keys())
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_of_random_tokens_nothing_is_known(model, learning):
    assert not knows_too_much(evaluate_stream(model(), noise(0, 1200), 4, 4, **learning).log_loss)


@pytest.mark.parametrize("way", ["mlp", "lora"])
def test_of_random_tokens_nothing_is_known_by_parts(way):
    found = evaluate_stream(MODELS["reader"](), noise(5), 4, 4, adam, way)
    assert not knows_too_much(found.log_loss)


def wrong_reading(mistake: str, tokens: torch.Tensor, rate: float) -> torch.Tensor:
    """What an evaluator would report that makes one of the well-known mistakes."""
    model, context, stride, losses = Table(VOCAB), 4, 4, []
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)

    def losses_of(window):
        targets = window[:-1] if mistake == "targets not shifted" else window[1:]
        return cross_entropy(model(window[None, :-1])[0], targets, reduction="none")

    for start in range(context, len(tokens) - stride + 1, stride):
        window = tokens[start - context : start + stride]
        before = losses_of(window)
        optimizer.zero_grad()
        before[-stride:].mean().backward()
        optimizer.step()
        after = losses_of(window).detach()
        losses.append(
            {
                "none": before[-stride:],
                "learns before it scores": after[-stride:],
                "mean of before and after": (before + after)[-stride:] / 2,
                "targets not shifted": before[-stride:],
                "old tokens are scored again": before,
            }[mistake].detach()
        )
    return torch.cat(losses)


@pytest.mark.parametrize(
    ("mistake", "rate"),
    [
        ("learns before it scores", 0.1),
        ("learns before it scores", 0.5),
        ("mean of before and after", 0.1),
        ("mean of before and after", 0.5),
        ("targets not shifted", 0.1),
        ("targets not shifted", 0.5),
        ("old tokens are scored again", 0.5),
    ],
)
def test_evaluators_that_leak_are_caught_by_the_same_test(mistake, rate):
    for seed in range(2):
        assert knows_too_much(wrong_reading(mistake, noise(seed), rate))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_same_loop_without_a_mistake_is_ours_and_is_not_caught(rate):
    for seed in range(2):
        losses = wrong_reading("none", noise(seed), rate)
        assert not knows_too_much(losses)
        ours = evaluate_stream(Table(VOCAB), noise(seed), 4, 4, partial(torch.optim.SGD, lr=rate))
        close(ours.log_loss[: len(losses)], losses, 1e-5)


def test_a_model_that_sees_its_targets_is_caught():
    assert knows_too_much(evaluate_stream(Peeking(), noise(0), 4, 4).log_loss)


# --- adapters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 3, 20])
@pytest.mark.parametrize("kind", [nn.Linear, Conv1D, partial(nn.Linear, bias=False)], ids=["linear", "conv", "no bias"])
def test_an_adapter_is_a_product_of_low_rank_beside_its_layer(kind, rank):
    torch.manual_seed(0)
    layer = kind(5, 8).double()
    adapter = LowRank(layer, rank, seeded(1))
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    assert torch.equal(adapter(x), layer(x))
    assert adapter.down.shape == (rank, 5)
    assert adapter.up.shape == (8, rank)
    assert not adapter.up.any()
    with torch.no_grad():
        adapter.up.copy_(torch.randn(8, rank))
    weight = layer.weight if isinstance(layer, nn.Linear) else layer.weight.T
    bias = 0 if layer.bias is None else layer.bias
    close(adapter(x), x @ (weight + adapter.up @ adapter.down).T + bias, 1e-12)
    assert adapter.weight is layer.weight
    assert adapter.bias is layer.bias


def test_adapters_start_from_their_law():
    down = LowRank(nn.Linear(50, 4), 400, seeded()).down
    assert down.mean().abs() < 4 * (50 * 20_000) ** -0.5
    assert down.std().item() == pytest.approx(50**-0.5, rel=0.03)


@pytest.mark.parametrize("layer", [nn.Linear, Conv1D])
def test_adapters_are_beside_the_linear_layers_of_mlps_and_change_nothing_yet(layer):
    model = reader(layer=layer).eval()
    before, tokens = model(text_of()[None]), text_of()[None]
    adapters = add_adapters(model, 2, generator=seeded())
    assert torch.equal(model(tokens), before)
    found = [name for name, each in model.named_modules() if isinstance(each, LowRank)]
    assert found == ["mlp.0", "mlp.2"]
    assert [tuple(each.shape) for each in adapters] == [(2, 4), (6, 2), (2, 6), (4, 2)]
    assert {each.dtype for each in adapters} == {torch.float64}
    assert all(each.requires_grad for each in model.parameters())


@pytest.mark.parametrize("name", ["mlp", "ffn", "feed_forward"])
def test_mlps_are_known_by_the_name_of_a_module(name):
    inner = nn.ModuleDict({name: nn.Linear(2, 2), f"{name}_norm": nn.Linear(2, 2), "attention": nn.Linear(2, 2)})
    outer = nn.ModuleDict({"blocks": nn.ModuleList([inner])})
    chosen = learned_part(outer, "mlp")
    assert chosen == [inner[name].weight, inner[name].bias]
    add_adapters(outer)
    assert [each for each in inner if isinstance(inner[each], LowRank)] == [name]


def test_adapters_may_go_elsewhere_and_those_that_are_there_are_kept():
    model = reader()
    model.encoder = nn.ModuleDict({"mlp": nn.ModuleDict({"fc": nn.Linear(3, 3), "act": nn.Tanh()})})
    first = add_adapters(model, 1, lambda name: name == "head", seeded())
    assert isinstance(model.head, LowRank)
    assert not any(isinstance(each, LowRank) for each in model.mlp)
    assert len(first) == 2
    deeper = add_adapters(model, 2)
    again = add_adapters(model, 3)
    assert len(deeper) == len(again) == 6
    assert all(one is two for one, two in zip(deeper, again))
    assert sum(isinstance(each, LowRank) for each in model.modules()) == 4


def test_adapters_come_from_the_generator_alone():
    adapters = {seed: add_adapters(reader(), generator=seeded(seed)) for seed in (0, 1)}
    again = add_adapters(reader(seed=5), generator=seeded(0))
    assert all(torch.equal(one, two) for one, two in zip(adapters[0], again))
    assert not torch.equal(adapters[0][0], adapters[1][0])
    assert not torch.equal(adapters[0][0][:, :4], adapters[0][2][:, :4])  # each has draws of its own
    before = torch.get_rng_state()
    read(optimizer=adam, way="lora").log_loss  # noqa: B018
    model, tokens = reader(), text_of()
    torch.manual_seed(7)
    plain = read(model, tokens, adam, "lora", generator=None).log_loss
    torch.manual_seed(7)
    assert torch.equal(read(model, tokens, adam, "lora", generator=None).log_loss, plain)
    torch.set_rng_state(before)


def test_reading_draws_nothing():
    model, tokens = reader(), text_of()
    before = torch.get_rng_state()
    for way in ("all", "lora"):
        losses = [read(model, tokens, adam, way, reset_every=2).log_loss for _ in range(2)]
        assert torch.equal(*losses)
    other = read(model, tokens, adam, "lora", generator=seeded(8)).log_loss
    assert not torch.equal(other, losses[0])
    assert torch.equal(torch.get_rng_state(), before)


# --- kinds of numbers, kinds of models ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@each_way
def test_a_model_keeps_its_dtype_and_losses_are_in_float32_at_least(way, dtype):
    call = {"tokens": torch.arange(150) % SYMBOLS, "way": way, "decay": 0.001, "reset_at": [100]}
    found = read(reader().to(dtype), optimizer=adam, **call)
    assert found.log_loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert {each.dtype for each in found.model.parameters()} == {dtype}
    exact, static = (read(optimizer=each, **call).log_loss for each in (adam, None))
    rough = 0.3 if dtype == torch.bfloat16 else 1e-12
    assert abs(found.log_loss.mean() - exact.mean()) <= rough * (static - exact).mean()


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.int8])
def test_tokens_may_be_any_whole_numbers(dtype):
    wanted, found = read(optimizer=adam), read(tokens=text_of().to(dtype), optimizer=adam)
    assert torch.equal(found.log_loss, wanted.log_loss)
    assert torch.equal(found.targets, wanted.targets)


def test_the_given_tokens_are_as_they_were():
    tokens = text_of()
    read(tokens=tokens, optimizer=adam).log_loss  # noqa: B018
    assert torch.equal(tokens, text_of())


def test_a_model_without_parameters_can_be_read_with():
    class Uniform(nn.Module):
        def forward(self, tokens):
            return torch.zeros(*tokens.shape, SYMBOLS)

    found = read(Uniform())
    close(found.log_loss, torch.full((60 - CONTEXT,), math.log(SYMBOLS)), 1e-6)
    assert found.flops == 0


def test_hugging_face_outputs_are_their_logits():
    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = reader()

        def forward(self, *, input_ids, use_cache):
            assert use_cache is False
            return type("Output", (), {"logits": self.inner(input_ids)})()

    for way in WAYS:
        if way != "callable":
            wrapped = read(HuggingFaceReader(Causal()), optimizer=adam, way=way)
            assert torch.equal(wrapped.log_loss, read(optimizer=adam, way=way).log_loss)


def test_a_hugging_face_model_is_read_and_learned_by_all_and_by_parts():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    settings = {"n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 64, "vocab_size": 97}
    config = transformers.GPT2Config(**settings, bos_token_id=None, eos_token_id=None)
    model = transformers.GPT2LMHeadModel(config).eval()
    tokens = torch.arange(400) * 7 % 97 % 13
    static = evaluate_stream(HuggingFaceReader(model), tokens, 16, 8)
    losses = []
    for start in range(16, 400, 8):
        window = tokens[None, start - 16 : start + 8]
        with torch.no_grad():
            logits = model(window[:, :-1]).logits[:, 15:]
        losses.append(cross_entropy(logits.transpose(1, 2), window[:, 16:], reduction="none")[0])
    close(static.log_loss, torch.cat(losses), 1e-6)
    before = weights_of(model)
    make = partial(torch.optim.Adam, lr=3e-3)
    for way, count in {"all": 28, "mlp": 8, "lora": 8}.items():
        reading = evaluate_stream(HuggingFaceReader(model), tokens, 16, 8, make, way, generator=seeded())
        learned = [name for name, each in reading.model.named_parameters() if each.requires_grad]
        assert len(learned) == count
        assert reading.log_loss[-80:].mean() < static.log_loss[-80:].mean() - 0.1
        assert 1.5 * static.flops < reading.flops < 3.1 * static.flops
        tied = reading.model.model
        assert tied.lm_head.weight is tied.transformer.wte.weight
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    too_long = evaluate_stream(HuggingFaceReader(model), tokens, 64, 8)
    with pytest.raises(ValueError, match="windows"):
        too_long.log_loss  # noqa: B018
