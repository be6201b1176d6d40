"""What a step of lesson 09's networks takes, measured side by side: `compare_costs()` makes the stored result "09_costs"."""

import time
from statistics import median

import torch
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from companion.methods.pruning import SGD, count_flops, prune_filters, with_head
from companion.teaching import results
from companion.teaching.lessons import compute_optimal_transfer
from companion.teaching.lessons.compute_optimal_transfer import EXAMPLE
from companion.teaching.lessons.pretrained import fresh

SOURCES = (*compute_optimal_transfer.SOURCES, __name__)
COMMAND = "python -m companion claims transfer_costs"
RATIOS, BATCH = (0.0, 0.5, 0.75, 0.9), 32
REPEATS, STEPS = 9, 20


def compare_costs(repeats: int = REPEATS) -> None:
    """Operations of a step on 32 pictures, and its CPU milliseconds on one thread, for each ratio."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    images = torch.randn(BATCH, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(BATCH) % 10
    models = {ratio: with_head(prune_filters(fresh("strong", 0), ratio, example=EXAMPLE), 10) for ratio in RATIOS}
    flops = {ratio: count_flops(model, images, training=True) for ratio, model in models.items()}
    measured: dict[float, list[float]] = {ratio: [] for ratio in RATIOS}
    for _ in tqdm(range(repeats), desc="costs"):
        for ratio, model in models.items():
            optimizer = SGD(model.train().parameters())
            began = time.process_time()
            for _ in range(STEPS):
                optimizer.zero_grad()
                cross_entropy(model(images), labels).backward()
                optimizer.step()
            measured[ratio].append(1000 * (time.process_time() - began) / STEPS)
    torch.set_num_threads(threads)
    rows = {ratio: {"flops": flops[ratio], "milliseconds": median(values)} for ratio, values in measured.items()}
    results.store("09_costs", rows, SOURCES, COMMAND)
