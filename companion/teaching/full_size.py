"""Train the networks that lessons use at `full`, on one GPU or on several.

On one GPU the lesson does this itself. On several, train first, in the folder of the notebooks, then run the lesson there:

    pip install -e ".[several]"
    cd notebooks
    accelerate launch --multi_gpu --num_processes 4 -m companion.teaching.full_size 01

The loops are those of the lessons; `companion.foundations.several_processes` shares their work. Every 500 updates the
first process saves under `runs/`, where the lesson looks; a call that finds a file there goes on from it, with as many
processes as it has. All updates are made but the last, which the lesson makes. `python -m companion.teaching.full_size 01`
does the same with one process and without accelerate.

Lesson 09's network has batch norm, which mixes rows, so it is trained on one GPU; lessons 05, 06, 07 and 10 train nothing
large at `full`.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from companion.data import images
from companion.foundations.several_processes import share_rows, world_size
from companion.foundations.training import TrainingState
from companion.foundations.validation import require_count
from companion.methods.mmd_flow import train_witness
from companion.teaching.lessons import deep_mmd, distributional_diffusion, guidance_bases, readers
from companion.teaching.progress import RUNS, load, save
from companion.teaching.session import Session, begin

Start = Callable[[dict[str, Any] | None], Iterator[TrainingState]]


@dataclass(frozen=True)
class FullTraining:
    """A long training of a lesson.

    Attributes:
        model: what is trained, in place.
        network: the part of it whose rows are shared.
        start: begins, or goes on from a saved state.
        steps: updates in all.
        path: where the lesson looks for a saved state.
    """

    model: nn.Module
    network: nn.Module
    start: Start
    steps: int
    path: Path


def denoisers(session: Session) -> Iterator[FullTraining]:
    """Lesson 01's U-Nets of the fashion images, standard and distributional; lesson 02 takes the standard one."""
    data = images.fashion("train").images.to(session.device)
    for kind in distributional_diffusion.LOSSES:
        job = distributional_diffusion.denoising("fashion", kind, data, session, session.seed)
        steps = job.recipe["steps"]
        path = RUNS / f"{job.name}-{steps}-seed{session.seed}.pt"
        yield FullTraining(job.model, job.model.network, job.start, steps, path)


def unconditional_base(session: Session) -> Iterator[FullTraining]:
    """Lesson 03's U-Net of the fashion images without their classes; the lesson tunes it by class."""
    recipe = dict(guidance_bases.FASHION)
    if session.profile == "smoke":
        recipe |= guidance_bases.SMOKE_FASHION
        recipe["pretraining"] = {"steps": recipe["updates"], "learning_rate": 0.001}
    model = guidance_bases.fresh("fashion", recipe["network"], session.seed).to(session.device)
    generator, steps = session.generator(1), recipe["pretraining"]["steps"]

    def start(resume: dict[str, Any] | None) -> Iterator[TrainingState]:
        return guidance_bases.pretrain(model, "fashion", recipe, generator, session.seed, resume)

    yield FullTraining(model, model.network, start, steps, RUNS / f"03-fashion-{steps}-seed{session.seed}.pt")


def witness(session: Session) -> Iterator[FullTraining]:
    """Lesson 04's witness of the fashion images. Its loss compares the rows of a batch with each other."""
    recipe = session.pick(smoke=deep_mmd.SMOKE_FASHION, lesson=deep_mmd.RECIPES["fashion"])
    settings = {key: value for key, value in recipe.items() if key != "network"}
    model = deep_mmd.fresh("fashion", session.seed, recipe["network"]).to(session.device)
    data = deep_mmd.training_set("fashion", session.seed, session.device)
    generator, steps = session.generator(1), recipe["steps"]

    def start(resume: dict[str, Any] | None) -> Iterator[TrainingState]:
        return train_witness(model, data, **settings, generator=generator, resume=resume)

    yield FullTraining(model, model.network, start, steps, RUNS / f"04-fashion-{steps}-seed{session.seed}.pt")


def reader(session: Session) -> Iterator[FullTraining]:
    """Lesson 08's transformer of eleven million weights; at `smoke` the small one, for a few updates."""
    size, changes = session.pick(smoke=("small", {"steps": 3, "batch": 4}), lesson=("full", {}))
    model = readers.fresh(size, session.seed, session.device)
    steps = (readers.RECIPES[size] | changes)["steps"]

    def start(resume: dict[str, Any] | None) -> Iterator[TrainingState]:
        return readers.training_of(model, size, session.seed, resume=resume, **changes)

    name = session.pick(smoke="smoke", lesson="full")
    yield FullTraining(model, model, start, steps, RUNS / f"08-{name}-seed{session.seed}.pt")


LESSONS = {"01": denoisers, "03": unconditional_base, "04": witness, "08": reader}


def train_shared(training: FullTraining, every: int = 500) -> None:
    """Make all updates but the last on all processes; the first one reads what was saved, and saves every `every` updates."""
    require_count("every", every, 1)
    first = world_size() == 1 or torch.distributed.get_rank() == 0
    saved = [load(training.path) if first else None]
    if world_size() > 1:
        torch.distributed.broadcast_object_list(saved)
    done, last = saved[0]["step"] if saved[0] else 0, training.steps - 1
    updates = islice(training.start(saved[0]), last - done)
    with share_rows(training.model, training.network):
        for state in tqdm(updates, training.path.stem, last, initial=done, disable=not first):
            if first and (state.step % every == 0 or state.step == last):
                save(state.state_dict(), training.path)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="companion.teaching.full_size", description=__doc__.split("\n")[0])
    parser.add_argument("lessons", nargs="+", choices=LESSONS, metavar="LESSON", help=", ".join(LESSONS))
    parser.add_argument("--seed", type=int, default=0, help="the lesson's SEED (0)")
    parser.add_argument("--every", type=int, default=500, help="updates between saves (500)")
    parser.add_argument("--smoke", action="store_true", help="a few updates of small networks, to try a machine")
    options = parser.parse_args(arguments)
    device, together = "auto", int(os.environ.get("WORLD_SIZE", "1")) > 1
    if together:
        from accelerate import Accelerator  # an extra: one process does without

        device = str(Accelerator(cpu=not torch.cuda.is_available()).device)
    session = begin("smoke" if options.smoke else "full", options.seed, device)
    for lesson in options.lessons:
        for training in LESSONS[lesson](session):
            train_shared(training, options.every)
    if together:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
