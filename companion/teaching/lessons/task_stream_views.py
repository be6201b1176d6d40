"""What lesson 10 shows beside its cells: the stream, and the stored comparison. Changing a view makes no result stale."""

import time
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from statistics import mean, median
from typing import Any

import torch
from IPython.display import Markdown
from jaxtyping import UInt8
from torch import Tensor

from companion.data.streams.events import TaskKind
from companion.data.streams.mini import FAMILIES, MiniStream
from companion.foundations.residual import ExpandedResidualNet
from companion.methods.nevis import Recipe, dynamic, independent, previous, run, search_operations, whole_of
from companion.teaching import figures, progress, results
from companion.teaching.lessons.task_stream import KINDS, SEEDS, TASKS, learner_of
from companion.teaching.lessons.task_stream_bench import NO_RATE, PLAN, name_of, steps_of
from companion.teaching.results import percent
from companion.teaching.session import Session

GIGA = 1e9
PARTS = {"whole stream": (0, TASKS), "first half": (0, TASKS // 2), "second half": (TASKS // 2, TASKS)}
STYLES = {
    "independent": (figures.EXACT, "s-"),
    "previous": (figures.RIVAL, "^--"),
    "dynamic": (figures.LEARNED, "o-"),
    "dynamic_few": ("#56b4e9", "o:"),
    "soup": (figures.THIRD, "v-."),
    "multitask": (figures.FOURTH, "D-"),
    "pretrained": (figures.INK, "*-"),
}


# --- the stream ---------------------------------------------------------------------------------------------------


@cache
def stream_of(seed: int, tasks: int = TASKS) -> MiniStream:
    """The stream of a seed, made once."""
    return MiniStream(tasks, seed)


def test_pictures(seed: int, place: int, count: int) -> tuple[UInt8[Tensor, "m h w"], list[str]]:
    """Some test pictures of a task as grey levels, with what is to be said of them."""
    stream = stream_of(seed)
    batch = whole_of(stream.get_dataset_by_key(f"{stream.tasks[place].name}/test"))
    grey = ((batch.image[:count, 0] / 2.5).clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
    if batch.label is not None:
        return grey, [f"class {label}" for label in batch.label[:count].tolist()]
    told = [[str(label) for label, has in enumerate(row) if has] for row in batch.multi_label_one_hot[:count]]
    return grey, [" ".join(row) if row else "none" for row in told]


def wall_tasks(seed: int, count: int = 9) -> list[dict[str, Any]]:
    """The tasks of a stream for `live_wall`."""
    stream, tasks = stream_of(seed), []
    for place, (key, family) in enumerate(zip(stream.tasks, stream.families)):
        pictures, captions = test_pictures(seed, place, count)
        tasks.append(
            {
                "name": key.name,
                "family": family,
                "classes": key.metadata.num_classes,
                "train": stream.get_dataset_by_key(f"{key.name}/train").num_examples,
                "labels": key.kind is TaskKind.MULTI_LABEL_CLASSIFICATION,
                "pictures": pictures,
                "captions": captions,
            }
        )
    return tasks


def wall_figure(seed: int, each: int = 24) -> figures.Picture:
    """A row of pictures for each family, from its tasks in time."""
    stream, rows = stream_of(seed), []
    for family in FAMILIES:
        places = [place for place in range(TASKS) if stream.families[place] == family]
        shown = [test_pictures(seed, place, each)[0] for place in places[:6]]
        rows += [torch.stack([shown[k % len(shown)][k // len(shown)] for k in range(each)])]
    sheet = torch.cat(rows)[:, None].float() / 127.5 - 1
    figure, (axes,) = figures.panels(1, size=(8.6, 3.4))
    figures.image_grid(axes, -sheet, each)
    axes.set_yticks([17 * row + 8 for row in range(len(FAMILIES))], FAMILIES)
    alt = "Small grey pictures, a row for each family: handwritten digits, crops of photographs, gratings, shapes, printed glyphs, faces and what is none, clothes, discs to be counted, and shapes with several labels."
    return figures.describe(figure, alt)


# --- the stored comparison ----------------------------------------------------------------------------------------


@cache
def runs() -> dict[str, list[dict[str, Any]]]:
    """The stored runs by budget."""
    return {budget: results.load(name_of(budget)) for budget in PLAN}


@cache
def families_of(seed: int) -> tuple[str, ...]:
    """The families of a stream's tasks, in time."""
    return MiniStream(TASKS, seed).families


def rates() -> dict[str, dict[str, float]]:
    """Each learner's learning rate by number of steps."""
    return {steps: results.load(f"10_rates_{steps}")["chosen"] for steps in dict.fromkeys(map(steps_of, PLAN))}


def runs_of(kind: str, budget: str) -> list[dict[str, Any]]:
    """A learner's runs at a budget, one a seed; none where it was not run."""
    return [each for each in runs()[budget] if each["kind"] == kind]


def errors(kind: str, budget: str, part: str = "whole stream", family: str | None = None) -> list[float]:
    """For each seed the mean error over a part of the stream, of all tasks or those of a family."""
    first, end = PARTS[part]
    found = []
    for each in runs_of(kind, budget):
        families = families_of(each["seed"])
        places = [place for place in range(first, end) if family in (None, families[place])]
        found.append(mean(each["errors"][place] for place in places))
    return found


def operations(kind: str, budget: str) -> tuple[float, float]:
    """GFLOP of training and of search on the whole stream, medians over seeds."""
    found = runs_of(kind, budget)
    return median(each["training"] for each in found) / GIGA, median(each["search"] for each in found) / GIGA


def ahead(kind: str, base: str, budget: str | tuple[str, str], part: str = "whole stream") -> list[float]:
    """For each seed how much lower the error is than another learner's, as a share of that; at a budget, or at one each."""
    own, others = (budget, budget) if isinstance(budget, str) else budget
    return [1 - one / other for one, other in zip(errors(kind, own, part), errors(base, others, part))]


def budget_table(kinds: Sequence[str], shown: Sequence[str] | None = None) -> Markdown:
    """Mean errors at each budget, whole and by halves, with the operations of training and of search."""
    lines = [
        "| steps a task | learner | error, % | first half | second half | GFLOP, training | search |",
        "|--:|:--|--:|--:|--:|--:|--:|",
    ]
    for budget in shown or PLAN:
        for kind in kinds:
            if runs_of(kind, budget):
                cells = [percent(errors(kind, budget, part)) for part in PARTS]
                training, search = operations(kind, budget)
                searched = f"{search:,.0f}" if search else "–"
                lines.append(f"| {budget} | {KINDS[kind].label} | {' | '.join(cells)} | {training:,.0f} | {searched} |")
    return Markdown("\n".join(lines))


def family_table(kinds: Sequence[str], budget: str, families: Sequence[str] = FAMILIES) -> Markdown:
    """Mean error in percent by family, medians over seeds."""
    lines = ["| | " + " | ".join(KINDS[kind].label for kind in kinds) + " |", "|:--|" + "--:|" * len(kinds)]
    for family in families:
        cells = [f"{100 * median(errors(kind, budget, family=family)):.0f}" for kind in kinds]
        lines.append(f"| {family} | {' | '.join(cells)} |")
    return Markdown("\n".join(lines))


def rates_table() -> Markdown:
    """The learning rate of each learner at each number of steps."""
    chosen = rates()
    lines = ["| learner | " + " | ".join(f"{steps} steps" for steps in chosen) + " |", "|:--|" + "--:|" * len(chosen)]
    for kind in chosen[next(iter(chosen))]:
        cells = [f"{row[kind]:g}" if kind in row else "–" for row in chosen.values()]
        lines.append(f"| {KINDS[kind].label} | {' | '.join(cells)} |")
    return Markdown("\n".join(lines))


def along_figure(kinds: Sequence[str], budget: str) -> figures.Picture:
    """Mean error so far against the tasks, and against the operations so far, search and all; medians over seeds."""
    figure, (left, right) = figures.panels(2, size=(4.3, 3.5), sharey=True)
    for kind in kinds:
        colour, line = STYLES[kind]
        rows = runs_of(kind, budget)
        so_far = [[sum_ / (place + 1) for place, sum_ in enumerate(accumulate(row["errors"]))] for row in rows]
        spent = [list(accumulate(map(sum, zip(row["trained"], row["searched"])))) for row in rows]
        error, cost = ([median(column) for column in zip(*each)] for each in (so_far, spent))
        style = {"color": colour, "markevery": 18, "markersize": 5}
        left.plot(range(1, TASKS + 1), error, line, **style, label=KINDS[kind].label)
        right.plot(cost, error, line, **style, label=KINDS[kind].label)
    left.set(xlabel="tasks", ylabel="mean error so far", xlim=(5, TASKS))
    right.set(xlabel="GFLOP so far, search counted", xscale="log")
    for axes in (left, right):
        axes.grid(True)
    right.legend(loc="upper left", bbox_to_anchor=(1, 1))
    alt = "Mean error so far. Against tasks the learners that start from earlier networks draw away from the independent one as the stream goes on; against operations, search counted, the dynamic one moves to the right of all others."
    return figures.describe(figure, alt)


def same_family(kind: str, budget: str) -> list[float]:
    """For each seed the share of starts from an earlier task's network that were from the task's own family."""
    shares = []
    for each in runs_of(kind, budget):
        families = families_of(each["seed"])
        pairs = [(families[place], families[source]) for place, source in enumerate(each["sources"]) if source >= 0]
        shares.append(mean(one == other for one, other in pairs))
    return shares


def by_chance(kind: str, budget: str, last: int = 20) -> list[float]:
    """That share if the source were drawn evenly from the candidates that the learner had."""
    shares = []
    for each in runs_of(kind, budget):
        families = families_of(each["seed"])
        found = []
        for place, source in enumerate(each["sources"]):
            if source >= 0:
                candidates = families[max(0, place - last) : place]
                found.append(candidates.count(families[place]) / len(candidates))
        shares.append(mean(found))
    return shares


# --- for the widgets ----------------------------------------------------------------------------------------------


def learners(kinds: Sequence[str], budget: str, seed: int) -> dict[str, list[float]]:
    """Errors by task of one seed's runs, for `live_wall`."""
    found = {KINDS[kind].label: runs_of(kind, budget) for kind in kinds}
    return {label: rows[SEEDS.index(seed % len(SEEDS))]["errors"] for label, rows in found.items()}


def points() -> dict[str, list[dict[str, Any]]]:
    """All learners at all budgets, for `live_frontier`."""
    found: dict[str, list[dict[str, Any]]] = {}
    for kind, way in KINDS.items():
        for budget in PLAN:
            if runs_of(kind, budget):
                training, search = operations(kind, budget)
                parts = {part: errors(kind, budget, part) for part in PARTS}
                point = {"budget": budget, "errors": parts, "training": training * GIGA, "search": search * GIGA}
                found.setdefault(way.label, []).append(point)
    return found


def transfer_tasks(seed: int) -> list[dict[str, Any]]:
    """The tasks of a stream for `live_transfers`."""
    stream = stream_of(seed)
    return [
        {"name": key.name, "family": family, "thumbnail": test_pictures(seed, place, 1)[0][0]}
        for place, (key, family) in enumerate(zip(stream.tasks, stream.families))
    ]


def transfers(kinds: Sequence[str], budget: str, seed: int) -> dict[str, dict[str, list]]:
    """Sources and errors of one seed's runs, for `live_transfers`."""
    place = SEEDS.index(seed % len(SEEDS))
    reference = runs_of("independent", budget)[place]["errors"]
    found = {kind: runs_of(kind, budget)[place] for kind in kinds}
    return {
        KINDS[kind].label: {"sources": row["sources"], "errors": row["errors"], "reference": reference}
        for kind, row in found.items()
    }


# --- live ---------------------------------------------------------------------------------------------------------


def live_table(kinds: Sequence[str], session: Session, tasks: int, budget: str = "15") -> Markdown:
    """The first tasks of the session's stream, run now: mean error and operations; and the stored errors beside."""
    stream, chosen = stream_of(session.seed, tasks), rates()[steps_of(budget)]
    lines = [
        f"| learner | error on {tasks} tasks, now, % | stored | GFLOP, training | search |",
        "|:--|--:|--:|--:|--:|",
    ]
    for kind in kinds:
        rate = chosen.get(KINDS[kind].tuned_as, NO_RATE)
        made = run(learner_of(kind, stream, budget, rate, session.seed), stream)
        now = mean(row.error for row in made)
        searched = search_operations(made.state)
        before = mean(runs_of(kind, budget)[SEEDS.index(session.seed % len(SEEDS))]["errors"][:tasks])
        costs = [made.usage.floating_point_operations - searched, searched]
        cells = [f"{100 * now:.1f}", f"{100 * before:.1f}", *(f"{cost / GIGA:.1f}" for cost in costs)]
        lines.append(f"| {KINDS[kind].label} | {' | '.join(cells)} |")
    return Markdown("\n".join(lines))


# --- at GPU size --------------------------------------------------------------------------------------------------


def large_run(session: Session, tasks: int = TASKS, steps: int = 1000, width: int = 64) -> str:
    """A network four times as wide, at 1,000 steps a task, on the session's device.

    Saved under `runs/` after each task; if it is stopped, it goes on from there. Seconds are those of this call.
    """

    def network(num_classes: int) -> torch.nn.Module:
        return ExpandedResidualNet(num_classes=num_classes, width=width, expansion=1).to(session.device)

    stream = stream_of(session.seed, tasks)
    paths = []
    lines = ["| learner | error, % | TFLOP, training | search | seconds |", "|:--|--:|--:|--:|--:|"]
    for make, rate in ((independent, 0.05), (previous, 0.0125), (dynamic, 0.025)):
        began = time.perf_counter()
        recipe = Recipe(steps, batch=64, learning_rates=(rate,))
        paths.append(progress.RUNS / f"10-{make.__name__}-{tasks}-{steps}-{width}-seed{session.seed}.pt")
        made = run(make(stream, network, recipe, session.seed), stream, paths[-1])
        error = mean(row.error for row in made)
        searched = search_operations(made.state) / 1e12
        training = made.usage.floating_point_operations / 1e12 - searched
        seconds = time.perf_counter() - began
        lines.append(f"| {make.__name__} | {100 * error:.1f} | {training:.1f} | {searched:.1f} | {seconds:.0f} |")
    for path in paths:
        path.unlink(missing_ok=True)
    return "\n".join(lines)
