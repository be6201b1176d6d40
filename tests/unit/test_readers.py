"""The models of lesson 08: the same seed gives the same weights, training learns, and what ships is what was trained."""

import json
import warnings

import pytest
import torch

from companion.data.text import SYMBOLS, encode, learned, passages
from companion.foundations.language import Transformer, WindowMLP
from companion.methods.dynamic_evaluation import evaluate_stream
from companion.teaching import checkpoints
from companion.teaching.checkpoints import checkpoint_path, is_current, load_checkpoint, read_checkpoint
from companion.teaching.lessons import readers
from companion.teaching.session import Session

CPU = torch.device("cpu")
SIZES = ("small", "large", "window", "full")
SHIPPED = [(size, seed) for size, seeds in readers.SHIPPED_SEEDS.items() for seed in seeds]
each_shipped = pytest.mark.parametrize(("size", "seed"), SHIPPED)
TINY = {"steps": 6, "batch": 2, "window": 12}
BANDS = {"small": (1.4, 1.8), "large": (1.3, 1.75), "window": (1.7, 2.1)}  # nats a character of plays not learned


def nats(model, piece: str, t: int = 3000, context: int = 64) -> float:
    """A character, in blocks of 64."""
    return evaluate_stream(model, encode(piece)[:t], context, 64).log_loss.mean().item()


# --- recipes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_the_same_seed_gives_the_same_weights(size):
    torch.manual_seed(1)
    first = readers.fresh(size, 3)
    torch.manual_seed(2)
    again, other = readers.fresh(size, 3, CPU), readers.fresh(size, 4)
    assert first.state_dict().keys() == again.state_dict().keys()
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.embed.weight, other.embed.weight)


def test_sizes_are_what_they_are_called():
    assert readers.RECIPES.keys() == set(SIZES)
    count = {size: sum(each.numel() for each in readers.fresh(size, 0).parameters()) for size in SIZES}
    assert count["window"] < count["small"] < count["large"] < count["full"]
    assert count["small"] < 120_000
    for size in SIZES:
        model = readers.fresh(size, 0)
        assert isinstance(model, WindowMLP if size == "window" else Transformer)
        assert model(torch.zeros(1, 3, dtype=torch.long)).shape == (1, 3, SYMBOLS)
    assert readers.fresh("window", 0).order == 8


def test_recipes_can_be_stored_and_name_all_that_training_needs():
    for recipe in readers.RECIPES.values():
        assert json.loads(json.dumps(recipe)) == recipe
        assert recipe.keys() == {"network", "steps", "batch", "window", "learning_rate"}
    assert set(readers.SOURCES) >= {"companion.data.text", "companion.foundations.language", readers.__name__}


# --- training -----------------------------------------------------------------------------------------------------


def losses_of(size: str, seed: int, changes: dict, weights: int = 0) -> list[float]:
    states = readers.training_of(readers.fresh(size, weights), size, seed, **changes)
    return [state.loss.item() for state in states]


@pytest.mark.parametrize("size", ["small", "window"])
def test_training_is_settled_by_its_seed(size):
    first = losses_of(size, 0, TINY)
    assert len(first) == TINY["steps"]
    assert losses_of(size, 0, TINY) == first
    assert losses_of(size, 1, TINY)[0] != first[0]  # other windows of the text


def test_training_reads_windows_of_the_plays_and_is_asked_for_the_next_character():
    shown = []

    class Watched(WindowMLP):
        def forward(self, tokens):
            shown.append(tokens)
            return super().forward(tokens)

    model, whole = Watched(SYMBOLS, generator=torch.Generator().manual_seed(0)), encode(learned())
    draws = torch.Generator().manual_seed(1000)
    first = next(readers.training_of(model, "window", 0, steps=3, batch=4, window=20))
    starts = torch.randint(len(whole) - 20, (4,), generator=draws)
    windows = torch.stack([whole[start : start + 21] for start in starts])
    assert torch.equal(shown[0], windows[:, :-1])
    logits = readers.fresh("window", 0)(windows[:, :-1])
    wanted = -logits.log_softmax(-1).gather(2, windows[:, 1:, None]).mean()
    torch.testing.assert_close(first.loss, wanted)


def test_training_goes_on_where_it_was_saved():
    model = readers.fresh("window", 0)
    for whole in readers.training_of(model, "window", 0, **TINY):
        if whole.step == 3:
            saved = whole.state_dict()
    again = readers.fresh("window", 5)
    steps = [state.step for state in readers.training_of(again, "window", 0, resume=saved, **TINY)]
    assert steps == [4, 5, 6]
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.slow
def test_some_seconds_of_training_learn_the_plays():
    """More than how common each character is (about 3.1 nats), less than what ships; and of plays rather than of code."""
    model, piece = readers.fresh("small", 0), passages("plays", [2])[0]
    untrained = nats(model, piece)
    assert untrained == pytest.approx(torch.tensor(SYMBOLS).log().item(), abs=0.1)
    for _ in readers.training_of(model, "small", 0, steps=300, batch=8, window=64):
        pass
    trained = nats(model.eval(), piece)
    assert 2.2 < trained < 2.6
    assert nats(model, passages("code", [2])[0]) > trained + 1


# --- what ships ---------------------------------------------------------------------------------------------------


@each_shipped
def test_checkpoints_are_there_small_and_current(size, seed):
    path = checkpoint_path(f"08-{size}", seed)
    assert path.exists()
    assert path.stat().st_size <= 2_000_000
    assert is_current(path)
    weights, made = read_checkpoint(path)
    assert made["recipe"] == readers.RECIPES[size]
    assert made["sources"] == sorted(readers.SOURCES)
    start = readers.fresh(size, seed).state_dict()
    assert weights.keys() == start.keys()
    for name, value in weights.items():
        assert value.shape == start[name].shape
        assert value.isfinite().all()
        assert not torch.equal(value, start[name])


def test_nothing_else_ships():
    stored = {path.name for path in checkpoints.FILES.glob("08-*.safetensors")}
    assert stored == {f"08-{size}-seed{seed}.safetensors" for size, seed in SHIPPED}


@each_shipped
def test_checkpoints_know_the_language_of_plays_that_they_have_not_read(size, seed):
    model = load_checkpoint(
        checkpoint_path(f"08-{size}", seed), readers.fresh(size, 0), readers.RECIPES[size], readers.SOURCES
    )
    plays = [nats(model, piece) for piece in passages("plays", [0, 3])]
    low, high = BANDS[size]
    assert all(low < each < high for each in plays)
    for style in ("folio", "docs", "code"):  # genealogies of the Bible are no harder than a play
        assert nats(model, passages(style, [0])[0]) > max(plays)


def test_checkpoints_of_other_seeds_are_other_models():
    first = [
        read_checkpoint(checkpoint_path("08-small", seed))[0]["embed.weight"] for seed in readers.SHIPPED_SEEDS["small"]
    ]
    for number, one in enumerate(first):
        assert not any(torch.equal(one, other) for other in first[:number])


@pytest.mark.parametrize(
    ("size", "seed", "shipped"), [("small", 3, 3), ("small", 7, 2), ("large", 4, 0), ("window", 2, 0)]
)
def test_a_session_gets_what_ships_and_nothing_is_trained(size, seed, shipped, monkeypatch):
    def refuse(*_arguments, **_settings):
        raise AssertionError("a shipped checkpoint was trained again")

    monkeypatch.setattr(checkpoints, "run", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = readers.reader(size, Session("lesson", seed, CPU))
    weights, _ = read_checkpoint(checkpoint_path(f"08-{size}", shipped))
    assert not model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])


def test_the_full_model_is_trained_and_saved_as_it_goes(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    small = {"network": {"width": 8, "depth": 1}, "steps": 1001, "batch": 1, "window": 2, "learning_rate": 1e-3}
    monkeypatch.setitem(readers.RECIPES, "full", small)
    model = readers.reader("full", Session("full", 2, CPU))
    start = readers.fresh("full", 2)
    assert not model.training
    assert not torch.equal(model.embed.weight, start.embed.weight)
    saved = torch.load(tmp_path / "runs" / "08-full-seed2.pt", weights_only=True)
    assert saved["step"] == 1000
