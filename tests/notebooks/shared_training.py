"""Trains small models in double precision, on as many processes as it is launched with: `shared_training.py FOLDER`.

Results lie in FOLDER/weights.pt, what the processes refused in FOLDER/refused.json.
"""

import json
import os
import sys
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from companion.data import images
from companion.data.toy import eight_gaussians
from companion.foundations.conditional import ConditionalDenoiser, velocity_loss
from companion.foundations.diffusion import time_grid
from companion.foundations.networks import TimeMLP
from companion.foundations.several_processes import share_rows
from companion.foundations.training import train
from companion.methods.distributional import DistributionalDenoiser, sample_distributional, train_distributional
from companion.methods.mmd_flow import FeatureMLP, NoiseConditionalWitness, train_witness
from companion.teaching.full_size import FullTraining, train_shared
from companion.teaching.lessons.distributional_diffusion import denoising
from companion.teaching.session import Session

RANK = int(os.environ.get("RANK", "0"))
POINTS = eight_gaussians().sample(500, torch.Generator().manual_seed(5)).double()


def seeded(seed: int = 0) -> torch.Generator:
    torch.manual_seed(seed)  # for the weights
    return torch.Generator().manual_seed(seed)


def denoiser_of_points() -> nn.Module:
    """31 points with 3 draws each: 93 rows, which two processes cannot share evenly."""
    generator = seeded()
    model = DistributionalDenoiser(TimeMLP(dim=2, noise_dim=2, width=16).double(), noise_shape=(2,))
    states = train_distributional(model, POINTS, 30, population=3, batch_size=31, generator=generator)
    with share_rows(model, model.network):
        for state in states:
            if state.step == 10 and RANK == 0:  # what one process does alone, without gradients, waits for nobody
                list(sample_distributional(state.averaged, POINTS[:5], time_grid(2).double()))
    return model


def witness() -> nn.Module:
    """A loss that compares rows with each other, and has second derivatives."""
    generator = seeded()
    model = NoiseConditionalWitness(FeatureMLP(dim=2, num_features=8, width=16)).double()
    with share_rows(model, model.network):
        list(train_witness(model, POINTS, 20, batch_size=9, generator=generator))
    return model


def penalised_classes() -> nn.Module:
    """Weights before the network, and a penalty that the loss takes of them and of the network's."""
    generator = seeded()
    model = ConditionalDenoiser(TimeMLP(dim=2, noise_dim=4, width=16), num_classes=3, embedding=4).double()
    labels = torch.arange(len(POINTS)) % 3

    def loss(model: ConditionalDenoiser) -> torch.Tensor:
        rows = torch.randint(len(POINTS), (32,), generator=generator)
        squares = torch.stack([each.square().sum() for each in model.parameters()]).sum()
        return velocity_loss(model, POINTS[rows], labels[rows], 0.2, generator) + 0.1 * squares

    with share_rows(model, model.network):
        list(train(model, loss, 20, generator=generator))
    return model


def unet(stop_after: int | None = None) -> nn.Module:
    """Lesson 01's small U-Net, saved by the first process and, after a stop, taken up again by a new model."""
    data = images.fashion("train").images.double()
    session = Session("smoke", 0, torch.device("cpu"))
    job = denoising("fashion", "distributional", data, session, 0, population=3, batch_size=3)
    model = job.model.double()
    start = lambda saved: islice(job.start(saved), stop_after)  # noqa: E731
    train_shared(FullTraining(model, model.network, start, job.recipe["steps"], Path("runs/unet.pt")), every=2)
    return model


def refused() -> list[str]:
    """What is said when processes have other weights or other batches than each other, and of models that cannot share."""
    torch.manual_seed(0)
    batch, model, unequal = torch.ones(4, 2), nn.Linear(2, 2), nn.Linear(2, 2)
    nn.init.constant_(unequal.weight, RANK)
    draws = DistributionalDenoiser(TimeMLP(dim=2, noise_dim=2), noise_shape=(2,))
    mean = nn.Sequential(nn.Flatten(0), nn.Linear(4, 1))
    mistakes = [
        (unequal, lambda: unequal(batch)),
        (model, lambda: model(batch + RANK)),
        (draws, lambda: draws(batch, torch.tensor(0.5), torch.Generator())),
        (mean, lambda: mean(batch)),
    ]
    said = []
    for module, call in mistakes:
        try:
            with share_rows(module):
                call()
        except ValueError as error:
            said.append(str(error))
    return said


def results() -> dict[str, dict]:
    """The weights after each training."""
    trained = {each.__name__: each().state_dict() for each in (denoiser_of_points, witness, penalised_classes)}
    unet(stop_after=3)  # saved after the second update; the third is lost
    return trained | {"unet": unet().state_dict()}


if __name__ == "__main__":
    from accelerate import Accelerator

    Accelerator(cpu=True)
    folder = Path(sys.argv[1])
    weights, said = results(), refused()
    if RANK == 0:
        torch.save(weights, folder / "weights.pt")
        (folder / "refused.json").write_text(json.dumps(said))
    torch.distributed.destroy_process_group()
