"""The part of each lesson that only the profile `full` runs, on the CPU at a tiny size; and that it goes on after a stop.

The cells are those of the notebooks. What they call is made small: recipes and data from outside, and the few large numbers
that a cell says itself (`SMALLER`) in its code.
"""

import ast
import copy
import os
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch

from companion.data import images
from companion.teaching import checkpoints, progress
from companion.teaching.curriculum import LESSONS
from companion.teaching.lessons import (
    closed_form,
    deep_mmd,
    distributional_diffusion,
    dynamic_evaluation_views,
    guidance_bases,
    kalman_views,
    learned_guidance,
    plasticity_views,
    pretrained,
    readers,
    task_stream_views,
    transfer_views,
)
from companion.teaching.session import Session

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
SESSION = Session("full", 0, CPU)
LARGE = {"06": (kalman_views, "large_stream"), "07": (plasticity_views, "large_run")}
LARGE |= {"10": (task_stream_views, "large_run")}
# What a cell says itself, and what stands in its place: numbers of images, of steps, and of steps between two looks.
SMALLER = {"01": {1000: 64}, "02": {64: 16, 200: 6}, "03": {50: 4}, "04": {50: 3}, "05": {2000: 4, 100: 2}}
EARLIER = {"window": 4, "rate": 1e-2, "strength": 0.1}  # what earlier cells have defined


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Everything that the ten cells call, made small; files go to an empty folder."""
    monkeypatch.chdir(tmp_path)
    few = {split: images.LabelledImages(*(part[:40] for part in images.fashion(split))) for split in ("train", "test")}
    monkeypatch.setattr(images, "fashion", few.__getitem__)
    unet = {"width": 4, "levels": 2}
    tables = [  # (where a recipe stands, its name, what changes)
        (vars(distributional_diffusion), "FASHION", {"network": unet, "steps": 6, "batch_size": 4}),
        (
            vars(guidance_bases),
            "FASHION",
            {
                "network": unet | {"noise_channels": 2},
                "batch_size": 4,
                "pretraining": {"steps": 6, "learning_rate": 1e-3},
                "fine_tuning": {"short": 2, "long": 2, "learning_rate": 1e-3},
            },
        ),
        (distributional_diffusion.FEATURES, "fashion", {"network": {"width": 2}, "steps": 2, "batch_size": 4}),
        (deep_mmd.RECIPES, "fashion", {"network": {"num_features": 4, "width": 4}, "steps": 6, "batch_size": 4}),
        (readers.RECIPES, "full", {"network": {"width": 8, "depth": 1}, "steps": 6, "batch": 1, "window": 4}),
        (pretrained.RECIPES, "full", {"network": {"width": 2, "stages": 2}, "steps": 6, "batch": 12}),
    ]
    for table, name, changes in tables:
        monkeypatch.setitem(table, name, table[name] | changes)
    monkeypatch.setattr(learned_guidance, "UPDATES", 2)
    fine = partial(closed_form._darcy, size=8, fields=20, width=4, modes=4)
    monkeypatch.setitem(closed_form.TASKS, "fine darcy", fine)
    monkeypatch.setattr(transfer_views, "tasks_of", lambda seed, of=transfer_views.tasks_of: of(seed)[:1])
    sizes = {
        kalman_views: {"rows": 200, "features": 15},
        plasticity_views: {"tasks": 3, "images": 40, "epochs": 2},
        dynamic_evaluation_views: {"length": 400},
        transfer_views: {"ratios": (0.0, 0.5)},
        task_stream_views: {"tasks": 2, "steps": 2, "width": 4},
    }
    for module, size in sizes.items():
        name = "large_stream" if module is kalman_views else "large_run"
        monkeypatch.setattr(module, name, partial(getattr(module, name), **size))


def full_cell(number: str) -> tuple[list[ast.stmt], ast.If]:
    """A lesson's imports, and its part for the profile `full`."""
    source = (ROOT / "notebooks" / f"{LESSONS[number].stem}.py").read_text(encoding="utf-8")
    body = ast.parse(source).body
    (found,) = [each for each in body if isinstance(each, ast.If) and ast.unparse(each.test) == "PROFILE == 'full'"]
    return [each for each in body if isinstance(each, ast.Import | ast.ImportFrom)], found


@pytest.mark.slow
@pytest.mark.parametrize("number", [one for one in LESSONS if one.isdecimal()])
def test_the_full_part_of_a_lesson_runs(number, monkeypatch, capsys):
    shown = []
    names = {
        "PROFILE": "full",
        "SEED": 0,
        "session": SESSION,
        "generator": SESSION.generator(1),
        "display": shown.append,
    }
    imports, part = full_cell(number)
    smaller = SMALLER.get(number, {})
    found = {each.value: each for each in ast.walk(part) if isinstance(each, ast.Constant) and each.value in smaller}
    assert found.keys() == smaller.keys()
    for value, constant in found.items():
        constant.value = smaller[value]
    code = compile(ast.Module([*imports, part], []), LESSONS[number].stem, "exec")
    exec(code, names | EARLIER)
    plt.close("all")
    assert shown or capsys.readouterr().out.strip()


@pytest.mark.parametrize("number", ["01", "02", "03"])
def test_the_first_lessons_train_a_unet_on_images(number):
    asked = ast.unparse(full_cell(number)[1])
    assert "fashion_models(session)" in asked or "base('fashion'" in asked


@pytest.mark.parametrize("number", ["06", "07", "10"])
def test_the_lessons_of_streams_follow_a_larger_one(number):
    module, name = LARGE[number]
    assert f"views.{name}(" in ast.unparse(full_cell(number)[1])
    assert isinstance(getattr(module, name), partial)  # which this file has made small


# --- going on after a stop ------------------------------------------------------------------------------------


class Stopped(Exception):
    """In place of a kill."""


TRAININGS = {
    "01": lambda: distributional_diffusion.fashion_models(SESSION).distributional,
    "03": lambda: guidance_bases.base("fashion", "short", SESSION),
    "04": lambda: deep_mmd.witness("fashion", SESSION),
    "08": lambda: readers.reader("full", SESSION),
    "09": lambda: pretrained.pretrained("full", SESSION),
}
MODULES = {"01": distributional_diffusion, "03": guidance_bases, "04": deep_mmd, "08": readers, "09": pretrained}


def stopping(states, *_):
    """`checkpoints.run`, killed at the fifth state, when the second and the fourth have been saved."""
    for number, _ in enumerate(states, 1):
        if number == 5:
            raise Stopped


@pytest.mark.slow
@pytest.mark.parametrize("number", TRAININGS)
def test_a_training_goes_on_where_it_was_stopped(number, monkeypatch, tmp_path):
    module, train = MODULES[number], TRAININGS[number]
    monkeypatch.setattr(module, "resumable", lambda start, path, every: checkpoints.resumable(start, path, 2))
    whole = train().state_dict()
    (tmp_path / "runs").rename(tmp_path / "other")
    with monkeypatch.context() as patch:
        for place in (module, checkpoints):
            patch.setattr(place, "run", stopping)
        with pytest.raises(Stopped):
            train()
    (path,) = (tmp_path / "runs").glob(f"{number}-*")
    assert torch.load(path, weights_only=True)["step"] == 4
    steps = []
    with monkeypatch.context() as patch:

        def counting(states, *_):
            steps.extend(getattr(state, "step", 0) for state in states)

        for place in (module, checkpoints):
            patch.setattr(place, "run", counting)
        resumed = train().state_dict()
    assert steps[:2] == [5, 6]
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name


def table_of(text: Any) -> list[str]:
    """A run's table without the last column, which tells times."""
    if isinstance(text, tuple):
        return [f"{text[1]:.12f}"]
    return [line.rsplit("|", 2)[0] for line in text.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "saves"), [("06", 1), ("07", 2), ("07", 4), ("10", 3), ("10", 7)])
def test_a_stream_goes_on_where_it_was_stopped(number, saves, monkeypatch, tmp_path):
    """The process is killed after so many saves; what it had written then is there."""
    module, name = LARGE[number]
    follow, where = getattr(module, name), (CPU, 0) if number != "10" else (SESSION,)
    if number == "06":  # states are 500 blocks apart
        stream = kalman_views.run_stream
        monkeypatch.setattr(kalman_views, "run_stream", lambda *given, **more: stream(*given, **more | {"every": 3}))
    whole = follow(*where)
    assert not list((tmp_path / "runs").glob("*"))
    writes = []

    def replace(unfinished, path, of=os.replace):
        of(unfinished, path)
        writes.append(path)
        if len(writes) == saves:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", replace)
        with pytest.raises(Stopped):
            follow(*where)
    assert list((tmp_path / "runs").glob(f"{number}-*"))
    assert table_of(follow(*where)) == table_of(whole)
    assert not list((tmp_path / "runs").glob("*"))


@pytest.mark.slow
def test_the_networks_of_a_stopped_stream_are_those_of_a_whole_one(monkeypatch):
    """The table of lesson 07 rounds; its weights and its draws do not."""
    saves = []

    def save(done, path, of=progress.save):
        of(done, path)
        saves.append(copy.deepcopy(done))
        if len(saves) == stop:
            raise Stopped

    monkeypatch.setattr(progress, "save", save)
    stop = None
    plasticity_views.large_run(CPU, 0)
    whole, stop = saves.pop(), 4
    saves.clear()
    with pytest.raises(Stopped):
        plasticity_views.large_run(CPU, 0)
    plasticity_views.large_run(CPU, 0)
    for kind, kept in whole.items():
        for name, weights in kept["model"].items():
            assert torch.equal(saves[-1][kind]["model"][name], weights), (kind, name)
        assert torch.equal(saves[-1][kind]["generator"], kept["generator"]), kind
