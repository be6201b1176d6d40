"""Lesson 09's comparisons over five seeds. A seed is a network, trained from it, with eight tasks of its own.

`compare_upstream()` makes the stored result "09_upstream": what is left of a network on the classes that it learned,
before it is tuned to anything, by criterion and ratio; and the settings of the ways that go on with pretraining.
`compare_curves()` makes "09_curves": every way's accuracy at every budget, with the setting that is best at that budget
on three other tasks.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from companion.methods.pruning import count_flops, prune_filters, reestimate_batch_norm
from companion.teaching import results
from companion.teaching.lessons import compute_optimal_transfer
from companion.teaching.lessons.compute_optimal_transfer import (
    BUDGETS,
    EXAMPLE,
    KINDS,
    SEEDS,
    TARGETS,
    TUNING_TARGETS,
    UPSTREAM,
    Setting,
    best_curve,
    curve,
    cut,
    settings_of,
    start,
    tasks_of,
    upstream_flops,
)
from companion.teaching.lessons.pretrained import SHIPPED_SEEDS, mixed_batch, pretrained
from companion.teaching.session import Session

SOURCES = (*compute_optimal_transfer.SOURCES, __name__)
COMMAND = "python -m companion claims transfer_bench"
CRITERIA = ("l2", "l1", "random")
SHARES_CUT = (0.0, 0.25, 0.5, 0.75, 0.9)
JUDGED, SEEN = 2000, 512  # pictures of the classes that were learned: to judge by, for the batch norms' statistics
TUNING_SEED = 90  # of the tasks by which settings are chosen
TUNING_BUDGETS = BUDGETS[:6]


def session_of(seed: int) -> Session:
    """A session at `lesson` size on the CPU."""
    return Session("lesson", seed, torch.device("cpu"))


# --- what is left before tuning -----------------------------------------------------------------------------------


def compare_upstream(seeds: Sequence[int] = SEEDS) -> None:
    """Accuracy on held-out pictures of the 68 classes: "09_upstream".

    "rows" has for each network and criterion, by ratio and seed, the accuracy with the batch norms' statistics that
    were cut with the filters and with those of 512 pictures; "norms" the filters' norms of seed 0, layer by layer,
    sorted; "tried" for each way that goes on with pretraining all settings with their accuracy, by other pictures, the
    best first.
    """
    judged = mixed_batch(JUDGED, "test", torch.Generator().manual_seed(31))
    rows: dict[str, Any] = {}
    norms: dict[str, Any] = {}
    for network, shipped in SHIPPED_SEEDS.items():
        rows[network] = {criterion: {} for criterion in CRITERIA}
        norms[network] = filter_norms(pretrained(network, session_of(0)))
        for criterion in CRITERIA:
            for ratio in tqdm(SHARES_CUT, desc=f"{network}, {criterion}"):
                found = [left_of(network, seed, criterion, ratio, judged) for seed in seeds if seed in shipped]
                kept, estimated = zip(*found)
                rows[network][criterion][ratio] = {"kept": kept, "estimated": estimated}
    tried = {how: tune_upstream(how) for how in UPSTREAM}
    data = {"seeds": seeds, "rows": rows, "norms": norms, "tried": tried}
    results.store("09_upstream", data, SOURCES, COMMAND)


def left_of(
    network: str, seed: int, criterion: str, ratio: float, judged: tuple[Tensor, Tensor]
) -> tuple[float, float]:
    """Accuracy after pruning, with the statistics that were kept and with new ones."""
    session = session_of(seed)
    model = prune_filters(pretrained(network, session), ratio, criterion, EXAMPLE, session.generator(11, "cpu"))
    kept = accuracy(model, *judged)
    reestimate_batch_norm(model, mixed_batch(SEEN, "train", session.generator(13, "cpu"))[0], SEEN)
    return kept, accuracy(model, *judged)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of right answers, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        return (model(images).argmax(1) == labels).double().mean().item()


def filter_norms(model: nn.Module) -> list[list[float]]:
    """The norms of each block's hidden filters, the largest first."""
    return [
        block.conv1.weight.detach().flatten(1).norm(dim=1).sort(descending=True).values.tolist()
        for block in model.blocks
    ]


def tune_upstream(how: str, ratio: float = 0.75) -> list[tuple[Setting, float]]:
    """All settings of a way that goes on with pretraining, with the accuracy they come to on other held-out pictures."""
    judged = mixed_batch(JUDGED, "test", torch.Generator().manual_seed(32))
    tried = []
    for setting in tqdm(UPSTREAM[how], desc=how):
        model = cut(pretrained("strong", session_of(0)), how, ratio, session_of(0), setting)
        reestimate_batch_norm(model, mixed_batch(SEEN, "train", torch.Generator().manual_seed(33))[0], SEEN)
        tried.append((setting, accuracy(model, *judged)))
    return sorted(tried, key=lambda each: -each[1])


# --- accuracy against compute -------------------------------------------------------------------------------------


def compare_curves(seeds: Sequence[int] = SEEDS) -> None:
    """Every way's accuracy by seed, task and budget: "09_curves"."""
    tried = results.load("09_upstream")["tried"]
    rows = {kind: row_of(kind, tried, seeds) for kind in tqdm(KINDS, desc="ways")}
    store_curves(rows, seeds)


def store_curves(rows: dict[str, Any], seeds: Sequence[int] = SEEDS) -> None:
    """Write "09_curves"."""
    data = {"seeds": seeds, "targets": TARGETS, "budgets": BUDGETS, "rows": rows}
    results.store("09_curves", data, SOURCES, COMMAND)


def row_of(kind: str, tried: dict[str, Any], seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """One way: for each budget the best of its settings there on the tuning tasks, all of those, and what it comes to.

    "accuracy" and "loss" have an entry for each seed, task and budget; "chosen", "steps" and "spent" one for each
    budget.
    """
    chosen_upstream = tried[KINDS[kind].cut][0][0] if KINDS[kind].cut in UPSTREAM else None
    model = start(kind, session_of(0), chosen_upstream)
    flops = {
        "picture": count_flops(model, EXAMPLE, training=KINDS[kind].tuned),
        "upstream": upstream_flops(kind, model),
    }
    judged = tune(kind, model)
    chosen = choose(judged)
    found = []
    for seed in seeds:
        model = start(kind, session_of(seed), chosen_upstream)
        found.append(best_curve(kind, chosen, model, tasks_of(seed), session_of(seed)))
    table = {
        name: [[[getattr(each, name) for each in row] for row in points] for points in found]
        for name in ("accuracy", "loss")
    }
    first = found[0][0]
    costs = {"steps": [each.steps for each in first], "spent": [each.spent for each in first]}
    return {"chosen": chosen, "tried": judged, "flops": flops} | costs | table


def tune(kind: str, model: nn.Module) -> list[tuple[Setting, list[float]]]:
    """All settings of a kind, with their mean accuracy over the tuning tasks at each tuning budget."""
    tasks, tried = tasks_of(TUNING_SEED, TUNING_TARGETS), []
    for setting in settings_of(kind):
        points = list(curve(kind, setting, model, tasks, session_of(0), TUNING_BUDGETS))
        by_budget = [points[place :: len(TUNING_BUDGETS)] for place in range(len(TUNING_BUDGETS))]
        tried.append((setting, [sum(each.accuracy for each in row) / len(row) for row in by_budget]))
    return tried


def choose(tried: Sequence[tuple[Setting, Sequence[float]]]) -> list[Setting]:
    """The best setting for each budget; those beyond the last at which settings were tried have its choice."""
    places = [min(place, len(TUNING_BUDGETS) - 1) for place in range(len(BUDGETS))]
    return [max(tried, key=lambda each: each[1][place])[0] for place in places]
