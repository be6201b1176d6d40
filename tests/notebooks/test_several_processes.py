"""Training on two processes gives the weights of training on one, whatever the loss, and through accelerate."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import shared_training
import torch
from subjects import ROOT

from companion.teaching import full_size
from companion.teaching.lessons import deep_mmd, distributional_diffusion, guidance_bases, readers
from companion.teaching.session import Session

# Two processes add in another order; nothing else may differ. Where a gradient is rounding alone, as of a bias before a
# group norm, Adam divides it by 1e-8: in double precision that is still small.
DOUBLE, SINGLE = 1e-9, 1e-5
BEGIN = {
    "01": (distributional_diffusion, distributional_diffusion.fashion_models),
    "03": (guidance_bases, lambda session: guidance_bases.base("fashion", "short", session)),
    "04": (deep_mmd, lambda session: deep_mmd.witness("fashion", session)),
    "08": (readers, lambda session: readers.reader("full", session)),
}


def launch(*arguments: str, folder: Path) -> None:
    """Two processes on this machine, started by accelerate."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "HF_HOME": str(folder / "hf"),  # no settings of the user
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }
    options = ["--multi_gpu", "--num_processes=2", "--num_machines=1", "--main_process_port=0"]
    options += ["--mixed_precision=no", "--dynamo_backend=no"]
    command = [sys.executable, "-m", "accelerate.commands.launch", *options, *arguments]
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr


def largest_difference(left: dict, right: dict) -> float:
    assert left.keys() == right.keys()
    return max((left[name] - right[name]).abs().max().item() for name in left if left[name].is_floating_point())


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes left their results."""
    folder = tmp_path_factory.mktemp("two")
    launch(str(Path(shared_training.__file__)), str(folder), folder=folder)
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one process did."""
    folder = tmp_path_factory.mktemp("one")
    with contextlib.chdir(folder):
        torch.save(shared_training.results(), "weights.pt")
    return folder


@pytest.mark.slow
def test_two_processes_train_the_weights_of_one(one, two):
    alone, together = (torch.load(folder / "weights.pt", weights_only=True) for folder in (one, two))
    assert alone.keys() == together.keys()
    for name, weights in alone.items():
        assert largest_difference(weights, together[name]) < DOUBLE, name


@pytest.mark.slow
def test_what_two_processes_save_is_what_one_saves(one, two):
    alone, together = (torch.load(folder / "runs" / "unet.pt", weights_only=True) for folder in (one, two))
    assert alone["step"] == together["step"] == 4  # of five: the lesson makes the last
    assert torch.equal(alone["generator"], together["generator"])
    for part in ("model", "averaged"):
        assert largest_difference(alone[part], together[part]) < DOUBLE


@pytest.mark.slow
def test_processes_that_disagree_and_networks_that_cannot_share_are_refused(two):
    weights, batch, draws, rows = json.loads((two / "refused.json").read_text())
    assert weights.startswith("model is not the same on all processes")
    assert batch.startswith("batch is not the same on all processes")
    assert draws.startswith("network is given a torch.Generator")
    assert rows.startswith("what network returns is of shape (1,)")


@pytest.mark.slow
def test_the_command_leaves_what_the_lesson_looks_for(tmp_path, monkeypatch):
    """In single precision, on lesson 04's witness, where no gradient is rounding alone."""
    launch("-m", "companion.teaching.full_size", "04", "--smoke", folder=tmp_path)
    monkeypatch.chdir(tmp_path)
    session = Session("smoke", 0, torch.device("cpu"))
    (training,) = full_size.witness(session)
    together = torch.load(training.path, weights_only=True)
    training.path.unlink()
    full_size.main(["04", "--smoke"])
    alone = torch.load(training.path, weights_only=True)
    assert largest_difference(together["model"], alone["model"]) < SINGLE
    assert together["step"] == deep_mmd.SMOKE_FASHION["steps"] - 1


class Asked(Exception):
    """Where a lesson looks for a saved state, and how it starts."""


def asked(states, path, every):
    raise Asked(states, path)


@pytest.mark.parametrize(("lesson", "profile"), [("01", "full"), ("03", "full"), ("04", "full"), ("08", "full"),
                                                 ("01", "smoke"), ("03", "smoke"), ("04", "smoke")])  # fmt: skip
def test_a_training_is_the_one_that_its_lesson_goes_on_with(lesson, profile, monkeypatch):
    module, begin = BEGIN[lesson]
    session = Session(profile, 3, torch.device("cpu"))
    monkeypatch.setattr(module, "resumable", asked)
    with pytest.raises(Asked) as found:
        begin(session)
    states, path = found.value.args
    training = next(full_size.LESSONS[lesson](session))
    assert training.path == path
    if profile == "smoke":
        assert torch.equal(next(training.start(None)).loss, next(states(None)).loss)
