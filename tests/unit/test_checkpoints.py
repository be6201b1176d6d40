"""A checkpoint that fits is loaded; anything else is trained, and says why if it should have fitted."""

import warnings

import pytest
import torch
from torch import nn

from companion.foundations.training import train
from companion.teaching import checkpoints
from companion.teaching.checkpoints import (
    CheckpointError,
    checkpoint_path,
    load_checkpoint,
    load_or_train,
    resumable,
    save_checkpoint,
)

RECIPE = {"steps": 20, "learning_rate": 0.1}
SOURCES = ["companion.foundations.training"]
X = torch.linspace(-1, 1, 20)[:, None]


def fresh_model() -> nn.Module:
    model = nn.Linear(1, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return model


def fit_line(model: nn.Module, generator: torch.Generator | None = None, resume=None, steps: int = 20):
    def loss(model):
        noise = 0 if generator is None else torch.randn(X.shape, generator=generator)
        return (model(X) - 3 * X - noise).square().mean()

    return train(model, loss, steps, learning_rate=0.1, generator=generator, resume=resume)


def obtain(folder, seed: int = 0, recipe=RECIPE, sources=SOURCES) -> tuple[nn.Module, bool, list[str]]:
    """The model, whether it was trained, and what was said."""
    model, started = fresh_model(), []

    def states():
        started.append(True)
        return fit_line(model)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = load_or_train("line", model, states, recipe, sources, seed, folder)
    return found, bool(started), [str(warning.message) for warning in caught]


@pytest.fixture
def folder(tmp_path):
    """A folder with one good checkpoint whose weights no training would give."""
    model = fresh_model()
    nn.init.constant_(model.weight, 7.0)
    save_checkpoint(checkpoint_path("line", 0, tmp_path), model, RECIPE, SOURCES)
    return tmp_path


def test_a_fitting_checkpoint_is_loaded_and_nothing_is_trained(folder):
    model, trained, said = obtain(folder)
    assert model.weight.item() == 7.0
    assert not model.training
    assert not trained
    assert said == []


def test_another_seed_is_trained_without_a_word_and_nothing_is_written(folder):
    before = sorted(path.name for path in folder.iterdir())
    model, trained, said = obtain(folder, seed=3)
    assert trained
    assert said == []
    assert not model.training
    assert model.weight.item() == pytest.approx(2.0, abs=1)  # on its way from 0 to 3
    assert sorted(path.name for path in folder.iterdir()) == before


def truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


def flip_a_weight(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x40
    path.write_bytes(bytes(content))


def fill_with_rubbish(path):
    path.write_bytes(b"not a checkpoint at all, but long enough to look at")


def empty(path):
    path.write_bytes(b"")


def strip_metadata(path):
    from safetensors.torch import load_file, save_file

    save_file(load_file(path), path)


@pytest.mark.parametrize("damage", [truncate, flip_a_weight, fill_with_rubbish, empty, strip_metadata])
def test_a_damaged_checkpoint_says_so_in_one_sentence_and_is_trained(folder, damage):
    damage(checkpoint_path("line", 0, folder))
    model, trained, said = obtain(folder)
    assert trained
    assert model.weight.item() != 7.0
    assert len(said) == 1
    assert "corrupt" in said[0]
    assert said[0].endswith("so the model is trained again.")
    assert said[0].startswith("Checkpoint line-seed0.safetensors is")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"recipe": RECIPE | {"steps": 30}}, "settings"),
        ({"sources": ["companion.foundations.diffusion"]}, "code"),
    ],
)
def test_a_stale_checkpoint_says_why_and_is_trained(folder, change, word):
    _, trained, said = obtain(folder, **change)
    assert trained
    assert len(said) == 1
    assert "stale" in said[0]
    assert word in said[0]


def test_a_checkpoint_of_another_network_is_stale(folder):
    with pytest.raises(CheckpointError, match="another network"):
        load_checkpoint(checkpoint_path("line", 0, folder), nn.Linear(2, 1), RECIPE, SOURCES)


def test_a_damaged_checkpoint_leaves_the_model_untouched(folder):
    path, model = checkpoint_path("line", 0, folder), fresh_model()
    flip_a_weight(path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path, model, RECIPE, SOURCES)
    assert model.weight.item() == 0.0


def test_saving_twice_gives_the_same_bytes(folder, tmp_path):
    path = checkpoint_path("line", 0, folder)
    before = path.read_bytes()
    model = fresh_model()
    nn.init.constant_(model.weight, 7.0)
    save_checkpoint(path, model, RECIPE, SOURCES)
    assert path.read_bytes() == before


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    straight = fresh_model()
    losses = [state.loss.item() for state in fit_line(straight, torch.Generator().manual_seed(1))]

    path, seen = tmp_path / "run.pt", []
    for stop_after in (7, 12, None):  # killed twice, each time a few steps after a save
        model = fresh_model()

        def start(resume, model=model):
            return fit_line(model, torch.Generator().manual_seed(99 if resume else 1), resume)

        states = resumable(start, path, every=3)
        for state in states:
            seen.append((state.step, state.loss.item()))
            if state.step == stop_after:
                states.close()
                break
    assert [step for step, _ in seen] == [*range(1, 8), *range(7, 13), *range(10, 21)]
    assert all(loss == losses[step - 1] for step, loss in seen)
    assert torch.equal(model.weight, straight.weight)
    assert torch.equal(model.bias, straight.bias)


def test_a_finished_run_can_be_started_again(tmp_path):
    for _ in range(2):
        model = fresh_model()
        steps = [
            s.step for s in resumable(lambda resume, m=model: fit_line(m, resume=resume), tmp_path / "r.pt", every=5)
        ]
    assert steps == [16, 17, 18, 19, 20]


def test_a_kill_during_a_save_keeps_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    states = resumable(lambda resume: fit_line(fresh_model(), resume=resume), path, every=3)
    for state in states:
        if state.step == 5:
            break
    good = path.read_bytes()

    def half_written(saved, target):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(KeyboardInterrupt):
        for _ in states:
            pass
    assert path.read_bytes() == good


def test_every_must_be_a_positive_whole_number(tmp_path):
    with pytest.raises(ValueError, match="every is 0, but must be at least 1"):
        resumable(lambda resume: iter(()), tmp_path / "run.pt", every=0)


@pytest.mark.parametrize("path", sorted(checkpoints.FILES.glob("*.safetensors")), ids=lambda path: path.stem)
def test_every_shipped_checkpoint_is_current_and_small(path):
    _, made = checkpoints.read_checkpoint(path)
    assert (made["recipe"] | made["recipe"].get("pretraining", {}))["steps"] > 0
    assert checkpoints.is_current(path)
    most = {"08": 2_000_000, "09": 350_000}  # language models, and networks of pictures in half precision
    assert path.stat().st_size <= most.get(path.stem[:2], 300_000)
