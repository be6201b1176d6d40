"""Every check of lesson 10 lets the solution pass, and each property catches a wrong answer that people give."""

import math
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from companion.classroom.light import read_source
from companion.data.streams.events import TaskKind
from companion.methods.nevis import (
    Recipe,
    Start,
    body_of,
    dynamic,
    fine_tuning,
    independent,
    knn_error,
    load_body,
    previous,
    representation,
    run,
    task_error,
)
from companion.methods.pruning import count_flops, head_of
from companion.teaching.checks import check, exercises
from companion.teaching.checks.lesson_10 import precision, votes
from companion.teaching.checks.lesson_10.bills import DEARER, SHARE, bill_of
from companion.teaching.checks.lesson_10.leaks import TASKS_NEEDED, honest_of, leaked_of
from companion.teaching.checks.lesson_10.searches import DEARER_FROM, SAVED, cost_of
from companion.teaching.checks.lesson_10.starts import (
    BUDGET,
    MARGIN,
    RECIPE,
    SEEDS,
    ShortStream,
    against_previous,
    error_of_previous,
    network,
    travel,
)
from companion.teaching.checks.lesson_10.votes import UNTRAINED, error_of, winner_of

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "exercises" / "10_nevis.py"


# 10.1


def bill(
    tasks,
    steps,
    batch,
    trials,
    calibration,
    training,
    forward,
    *,
    shown=min,
    seen=lambda calibration, pictures, steps: min(calibration, pictures),
    paid=(True, True, True),
    judged=lambda trials: trials > 1,
    once=1,
    over=sum,
):
    """The solution; other batches, statistics, trials or sums on request."""
    found = []
    for pictures, dev in tasks:
        parts = (
            steps * shown(batch, pictures) * training,
            seen(calibration, pictures, steps) * forward,
            dev * forward if judged(trials) else 0,
        )
        found.append(sum(part * (trials if each else 1) for part, each in zip(parts, paid)) * once)
    return over(found)


def bill_in_rows(tasks, steps, batch, trials, calibration, training, forward):
    """With torch."""
    pictures, dev = torch.tensor([list(each) for each in tasks]).T
    judged = dev * forward * int(trials > 1)
    one = steps * pictures.clamp(max=batch) * training + pictures.clamp(max=calibration) * forward + judged
    return (trials * one).sum()


def bill_trial_by_trial(tasks, steps, batch, trials, calibration, training, forward):
    """As a learner spends it."""
    spent = 0.0
    for pictures, dev in tasks:
        for _ in range(trials):
            for _ in range(steps):
                spent += (batch if pictures >= batch else pictures) * training
            spent += forward * sorted((calibration, pictures))[0]
            if trials != 1:
                spent += dev * forward
    return spent


def billed(bill=bill, share=128 / 848, dearer=3792 / 3008):
    return {"bill": bill, "share": share, "dearer": dearer}


def bills_with(**mistake):
    return billed(partial(bill, **mistake))


# 10.2


def search_cost(
    train,
    dev,
    stored,
    last,
    forward,
    width,
    pictures,
    *,
    candidates=lambda stored, last: 1 + (stored if last is None else min(stored, last)),
    limit=lambda train, dev, pictures: (train, dev) if pictures is None else (min(train, pictures), min(dev, pictures)),
    measured=None,
    passes=lambda shown, asked: shown + asked,
    pairs=lambda shown, asked: 2 * shown * asked,
    each=True,
    empty=True,
):
    """The solution; other candidates, pictures or distances on request."""
    if stored == 0 and empty:
        return 0
    shown, asked = limit(train, dev, pictures)
    left, right = (measured or limit)(train, dev, pictures)
    count = candidates(stored, last)
    return count * passes(shown, asked) * forward + (count if each else 1) * pairs(left, right) * width


def search_cost_in_a_loop(train, dev, stored, last, forward, width, pictures):
    most = math.inf if pictures is None else pictures
    newest = range(stored)[-last:] if last is not None else range(stored)
    spent = 0
    for _ in [*newest, "untrained"] if stored else []:
        shown, asked = (count if count < most else most for count in (train, dev))
        spent += shown * forward + asked * forward
        spent += sum(2 * width for _ in range(asked)) * shown
    return float(spent)


def searched(search_cost=search_cost, saved=42 / 11, dearer_from=3):
    return {"search_cost": search_cost, "saved": saved, "dearer_from": dearer_from}


def searches_with(**mistake):
    return searched(partial(search_cost, **mistake))


# 10.3


def vote_error(
    features,
    target,
    queries,
    answers,
    num_classes,
    *,
    neighbours=5,
    score=lambda queries, features: -torch.cdist(queries, features),
    decide=lambda classes, num_classes: nn.functional.one_hot(classes, num_classes).sum(1).argmax(1),
    told=lambda right: 1 - right.double().mean(),
    swap=lambda *parts: parts,
):
    """The solution; other neighbours, distances or decisions on request."""
    features, target, queries, answers = swap(features, target, queries, answers)
    nearest = score(queries, features).topk(min(neighbours, len(features))).indices
    return told(decide(target[nearest], num_classes) == answers)


def vote_error_of_the_package(features, target, queries, answers, num_classes):
    return knn_error(TaskKind.CLASSIFICATION, features, target, queries, answers, num_classes)


def vote_error_one_by_one(features, target, queries, answers, num_classes):
    """In plain Python, with squares, and numpy's bincount."""
    wrong = 0
    for query, answer in zip(queries, answers.tolist()):
        order = sorted(range(len(features)), key=lambda row: (features[row] - query).square().sum().item())
        counted = np.bincount(target[order[:5]].numpy(), minlength=num_classes)
        wrong += int(np.argmax(counted)) != answer
    return wrong / len(queries)


def winner(untrained, errors, *, newest=True, strict=True, none=-1):
    """The solution; other rules for equal errors on request."""
    best = min(errors, default=math.inf)
    places = [place for place, error in enumerate(errors) if error == best]
    if untrained < best or (untrained == best and not strict):
        return none
    return places[-1] if newest else places[0]


def winner_by_sorting(untrained, errors):
    candidates = [(error, -place, place) for place, error in enumerate(errors)] + [(untrained, 1, -1)]
    return min(candidates)[2]


def voted(vote_error=vote_error, winner=winner):
    return {"vote_error": vote_error, "winner": winner}


def votes_with(**mistake):
    return voted(partial(vote_error, **mistake))


def winners_with(**mistake):
    return voted(winner=partial(winner, **mistake))


def by_distance(features, target, queries, answers, num_classes):
    near = torch.cdist(queries, features).topk(min(5, len(features)), largest=False)
    voices = nn.functional.one_hot(target, num_classes)[near.indices] / near.values[..., None].clamp_min(1e-9)
    return (voices.sum(1).argmax(1) != answers).double().mean()


def nearest_of_equal(classes, num_classes):
    counted = nn.functional.one_hot(classes, num_classes).sum(1)
    most = counted.gather(1, classes) == counted.amax(1, keepdim=True)
    return classes.gather(1, most.int().argmax(1, keepdim=True))[:, 0]


# 10.4


def by_hand(scores, target):
    """A label's average precision."""
    total, recall = 0.0, 0.0
    for threshold in scores.unique().flip(0):
        shown = target[scores >= threshold]
        total += shown.mean().item() * (shown.sum() / target.sum() - recall).item()
        recall = shown.sum() / target.sum()
    return total


def map_error(scores, target, *, column=by_hand, empty=None, told=lambda mean: 1 - mean):
    """The solution; other precisions of a label, or of one without positives, on request."""
    found = [
        column(scores[:, place], target[:, place]) if target[:, place].sum() > 0 else empty
        for place in range(target.shape[1])
    ]
    found = [each for each in found if each is not None]
    return told(sum(found) / len(found))


def map_error_of_the_package(scores, target):
    return task_error(TaskKind.MULTI_LABEL_CLASSIFICATION, scores, target)


def map_error_in_matrices(scores, target):
    """For each positive the precision of all that score at least as high."""
    ahead = (scores[None] >= scores[:, None]).to(target)
    precision = torch.einsum("ijk,jk->ik", ahead, target) / ahead.sum(1)
    labels = target.sum(0) > 0
    return 1 - ((precision * target).sum(0)[labels] / target.sum(0)[labels]).mean()


def one_by_one(scores, target, bonus=lambda target: torch.zeros_like(target), descending=True, gains=True):
    """Pictures in the order of their scores, equal ones in that of a bonus, then of their rows."""
    order = np.lexsort((np.arange(len(scores)), -bonus(target).numpy(), -scores.numpy()))
    found = target[torch.from_numpy(order if descending else order[::-1].copy())]
    precision = found.cumsum(0) / torch.arange(1, len(found) + 1)
    return ((precision * found).sum() / found.sum()).item() if gains else precision.mean().item()


def roc(scores, target):
    ahead = scores[target > 0.5][:, None] > scores[target < 0.5][None]
    return ahead.double().mean().item()


def trapezoids(scores, target):
    found = target[scores.argsort(descending=True)]
    precision = torch.cat([torch.ones(1).to(found), found.cumsum(0) / torch.arange(1, len(found) + 1)])
    return torch.trapezoid(precision, torch.cat([torch.zeros(1).to(found), found.cumsum(0) / found.sum()])).item()


def interpolated(scores, target):
    found = target[scores.argsort(descending=True)]
    precision = found.cumsum(0) / torch.arange(1, len(found) + 1)
    best = torch.stack([precision[place:].max() for place in range(len(found))])
    return ((best * found).sum() / found.sum()).item()


def in_one_order(scores, target):
    return 1 - by_hand(scores.flatten(), target.flatten())


def by_picture(scores, target):
    return map_error(scores.T, target.T)


def by_positives(scores, target):
    labels = [place for place in range(target.shape[1]) if target[:, place].sum() > 0]
    weights = [target[:, place].sum().item() for place in labels]
    found = [by_hand(scores[:, place], target[:, place]) for place in labels]
    return 1 - sum(weight * each for weight, each in zip(weights, found)) / sum(weights)


def scored(map_error=map_error, same=0.75):
    return {"map_error": map_error, "same": same}


def scores_with(column=by_hand, **mistake):
    return scored(partial(map_error, column=column, **mistake))


# 10.5


def honest(tuning, test, last, chosen_by=lambda a, b, n: a, reported=lambda a, b, n: b[:, -n:], pick=torch.argmin):
    place = pick(chosen_by(tuning, test, last).mean(1)).item()
    return place, reported(tuning, test, last)[place].mean().item()


def leaked(tuning, test, last, chosen_by=lambda a, b, n: b[:, -n:], reported=lambda a, b, n: b[:, -n:]):
    return honest(tuning, test, last, chosen_by, reported)


def optimism(tuning, test, last):
    return honest(tuning, test, last)[1] - leaked(tuning, test, last)[1]


def honest_in_lists(tuning, test, last):
    means = [sum(row) / len(row) for row in tuning.tolist()]
    place = means.index(min(means))
    row = test.tolist()[place][-last:]
    return [place, sum(row) / last]


def leaked_in_lists(tuning, test, last):
    """Tensors come back."""
    best = test[:, test.shape[1] - last :].mean(dim=1).min(dim=0)
    return best.indices, best.values


def leaking(honest=honest, leaked=leaked, optimism=optimism, tasks_needed=32):
    return {"honest": honest, "leaked": leaked, "optimism": optimism, "tasks_needed": tasks_needed}


def honest_with(**mistake):
    return leaking(partial(honest, **mistake))


def leaked_with(**mistake):
    return leaking(leaked=partial(leaked, **mistake))


# 10.6


def vote_of(task, fresh, body, pictures=None):
    load_body(fresh, body)
    seen, asked = (representation(fresh, each[:pictures]) for each in (task.images, task.dev_images))
    return knn_error(task.kind, seen, task.target[:pictures], asked, task.dev_target[:pictures], task.num_classes)


def paid_for(task, fresh, candidates, pictures=None, dev=True):
    shown, asked = task.images[:pictures], task.dev_images[:pictures]
    passes = count_flops(fresh, shown) + dev * count_flops(fresh, asked)
    return candidates * (passes + 2 * len(shown) * len(asked) * head_of(fresh)[1].in_features)


def choose(task, bodies, fresh, *, pictures=None, metered=paid_for, best=min, use=lambda bodies, place: bodies[place]):
    """The solution; fewer pictures, another meter, or another use of the best on request."""
    if not bodies:
        return Start()
    errors = [vote_of(task, fresh, body, pictures) for body in bodies]
    place = max(place for place, error in enumerate(errors) if error == best(errors))
    return Start(use(bodies, place), place, metered(task, fresh, len(bodies), pictures))


def choose_with_the_untrained(task, bodies, fresh):
    """By the exercise before: the untrained network is asked, too."""
    if not bodies:
        return Start(body_of(fresh))
    own = body_of(fresh)
    untrained = vote_of(task, fresh, own)
    place = winner(untrained, [vote_of(task, fresh, body) for body in bodies])
    spent = paid_for(task, fresh, len(bodies) + 1)
    return Start(None, None, spent) if place < 0 else Start(bodies[place], place, spent)


def choose_metered_in_the_loop(task, bodies, fresh, distances=True):
    """Each candidate is metered where it is asked; without distances, if one likes."""
    errors, spent = [], 0
    for body in bodies:
        errors.append(vote_of(task, fresh, body))
        spent += count_flops(fresh, task.images) + count_flops(fresh, task.dev_images)
        spent += distances * 2 * len(task.images) * len(task.dev_images) * head_of(fresh)[1].in_features
    if not errors:
        return Start()
    place = max(place for place, error in enumerate(errors) if error == min(errors))
    return Start(bodies[place], place, spent)


def passes_alone(task, fresh, candidates, pictures=None):
    """Each pass metered once, as `count_flops` gives it, and no distances."""
    return candidates * (count_flops(fresh, task.images) + count_flops(fresh, task.dev_images))


def choose_by_middles(task, bodies, fresh):
    """The nearest class mean instead of neighbours, with the package's meter of passes."""
    if not bodies:
        return Start()
    errors, spent = [], 0
    for body in bodies:
        load_body(fresh, body)
        seen, asked = representation(fresh, task.images), representation(fresh, task.dev_images)
        middles = torch.stack([seen[task.target == each].mean(0) for each in task.target.unique()])
        guess = task.target.unique()[torch.cdist(asked, middles).argmin(1)]
        errors.append((guess != task.dev_target).float().mean().item())
        pictures = len(task.images) + len(task.dev_images)
        spent += count_flops(fresh, task.images[:1]) * pictures + 2 * middles.numel() * len(asked)
    return Start(bodies[errors.index(min(errors))].clone(), None, torch.tensor(float(spent)))


def last_body(task, bodies, fresh):
    return Start(bodies[-1], len(bodies) - 1) if bodies else Start()


def untrained_body(task, bodies, fresh):
    return Start(body_of(fresh))


def mean_in_place(task, bodies, fresh):
    if not bodies:
        return Start()
    total = bodies[-1]
    for body in bodies[-4:-1]:
        total += body
    return Start(total / len(bodies[-4:]))


class Peeking:
    """Votes with test pictures, or with another task's, of a stream that it knows."""

    def __init__(self, split, place=0):
        self.streams, self.split, self.place = [ShortStream(seed) for seed in SEEDS], split, place

    def __call__(self, task, bodies, fresh):
        if not bodies:
            return Start()
        name = f"{min(len(bodies) + self.place, 11):02d}"
        whole = self.streams[0].get_dataset_by_key(f"{name}/{self.split}").builder_fn.whole
        return choose(task._replace(dev_images=whole.image, dev_target=whole.label), bodies, fresh)


def trained_on_the_way(task, bodies, fresh, metered=True, steps=3):
    """Each candidate learns a little before it is judged, and the best goes on from there."""
    optimizer = torch.optim.SGD(fresh.parameters(), lr=0.1)
    best, found, spent = math.inf, None, 0.0
    for body in bodies or [body_of(fresh)]:
        load_body(fresh, body)
        for _ in range(steps):
            loss = nn.functional.cross_entropy(fresh(task.images), task.target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        spent += steps * count_flops(fresh, task.images, training=True)
        if loss.item() < best:
            best, found = loss.item(), body_of(fresh)
    return Start(found, None, 2 * spent if metered else 0)


def tried_first(task, bodies, fresh, steps=15):
    """Each candidate learns, the best by its loss is taken as it was before."""
    best, place, spent = math.inf, None, 0.0
    for number, body in enumerate(bodies):
        load_body(fresh, body)
        optimizer = torch.optim.SGD(fresh.parameters(), lr=0.1)
        for _ in range(steps):
            loss = nn.functional.cross_entropy(fresh(task.images), task.target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        spent += steps * count_flops(fresh, task.images, training=True)
        if loss.item() < best:
            best, place = loss.item(), number
    return Start(None if place is None else bodies[place], place, spent)


class FromElsewhere:
    """A body that this stream never had."""

    def __init__(self):
        self.kept = body_of(network(3))

    def __call__(self, task, bodies, fresh):
        return Start(self.kept)


def started(change):
    """A `choose` that gives something else than a right start, from the second task on."""
    return lambda task, bodies, fresh: change(bodies) if bodies else Start()


WRONG = [
    # 10.1
    ("10.1", "one picture a step", bills_with(shown=lambda batch, pictures: 1), "updates"),
    ("10.1", "all pictures in each step", bills_with(shown=lambda batch, pictures: pictures), "updates"),
    ("10.1", "backward on top", bills_with(shown=lambda batch, pictures: 3 * min(batch, pictures)), "updates"),
    (
        "10.1",
        "an epoch",
        billed(lambda tasks, s, b, t, c, up, f: sum(n * up + min(c, n) * f for n, _ in tasks)),
        "updates",
    ),
    (
        "10.1",
        "forward operations for an update",
        billed(lambda tasks, s, b, t, c, up, f: bill(tasks, s, b, t, c, f, f)),
        "updates",
    ),
    ("10.1", "batches larger than the task", bills_with(shown=lambda batch, pictures: batch), "small tasks"),
    ("10.1", "no statistics", bills_with(seen=lambda c, n, steps: 0), "statistics"),
    ("10.1", "statistics of all pictures", bills_with(seen=lambda c, n, steps: n), "statistics"),
    ("10.1", "statistics of pictures that are not there", bills_with(seen=lambda c, n, steps: c), "statistics"),
    ("10.1", "statistics in each step", bills_with(seen=lambda c, n, steps: steps * min(c, n)), "statistics"),
    ("10.1", "a single trial is judged", bills_with(judged=lambda trials: True), "statistics"),
    ("10.1", "the kept trial alone", bills_with(paid=(False, False, False)), "every trial"),
    ("10.1", "no judgement", bills_with(judged=lambda trials: False), "every trial"),
    ("10.1", "one judgement", bills_with(paid=(True, True, False)), "every trial"),
    ("10.1", "statistics once", bills_with(paid=(True, False, True)), "every trial"),
    ("10.1", "updates of one trial", bills_with(paid=(False, True, True)), "every trial"),
    ("10.1", "the mean of a task", bills_with(over=lambda found: sum(found) / len(found)), "the whole stream"),
    ("10.1", "the last task", bills_with(over=lambda found: found[-1]), "the whole stream"),
    ("10.1", "all like the first", bills_with(over=lambda found: found[0] * len(found)), "the whole stream"),
    ("10.1", "over the updates", billed(share=128 / 720), "the fixed price"),
    ("10.1", "training as dear as forward", billed(share=128 / 368), "the fixed price"),
    ("10.1", "in per cent", billed(share=15.1), "the fixed price"),
    ("10.1", "a rough share", billed(share=0.16), "the fixed price"),
    ("10.1", "equal bills", billed(dearer=1), "trials against steps"),
    ("10.1", "no development pictures in the ratio", billed(dearer=3392 / 3008), "trials against steps"),
    ("10.1", "the ratio upside down", billed(dearer=3008 / 3792), "trials against steps"),
    ("10.1", "a rough ratio", billed(dearer=1.3), "trials against steps"),
    # 10.2
    ("10.2", "training pictures alone", searches_with(passes=lambda shown, asked: shown), "both sets are shown"),
    ("10.2", "development pictures alone", searches_with(passes=lambda shown, asked: asked), "both sets are shown"),
    ("10.2", "each pair shown", searches_with(passes=lambda shown, asked: shown * asked), "both sets are shown"),
    ("10.2", "trained", searches_with(passes=lambda shown, asked: 3 * (shown + asked)), "both sets are shown"),
    ("10.2", "one network", searches_with(candidates=lambda stored, last: 1), "both sets are shown"),
    (
        "10.2",
        "without the untrained one",
        searches_with(candidates=lambda stored, last: stored if last is None else min(stored, last)),
        "the untrained, too",
    ),
    (
        "10.2",
        "one too many",
        searches_with(candidates=lambda stored, last: 2 + (stored if last is None else min(stored, last))),
        "the untrained, too",
    ),
    ("10.2", "no distances", searches_with(pairs=lambda shown, asked: 0), "distances"),
    ("10.2", "one operation", searches_with(pairs=lambda shown, asked: shown * asked), "distances"),
    ("10.2", "distances once", searches_with(each=False), "distances"),
    ("10.2", "a distance a picture", searches_with(pairs=lambda shown, asked: 2 * (shown + asked)), "distances"),
    ("10.2", "all with all", searches_with(pairs=lambda shown, asked: 2 * (shown + asked) ** 2), "distances"),
    ("10.2", "five distances", searches_with(pairs=lambda shown, asked: 10 * asked), "distances"),
    ("10.2", "no limit", searches_with(limit=lambda train, dev, pictures: (train, dev)), "at most so many"),
    (
        "10.2",
        "as many as the limit",
        searches_with(limit=lambda train, dev, pictures: (pictures or train, pictures or dev)),
        "both sets are shown",
    ),
    (
        "10.2",
        "development pictures without limit",
        searches_with(limit=lambda train, dev, pictures: (min(train, pictures or train), dev)),
        "at most so many",
    ),
    (
        "10.2",
        "distances without limit",
        searches_with(measured=lambda train, dev, pictures: (train, dev)),
        "at most so many",
    ),
    ("10.2", "all that are stored", searches_with(candidates=lambda stored, last: 1 + stored), "the newest only"),
    (
        "10.2",
        "the untrained one among the last",
        searches_with(candidates=lambda stored, last: stored + 1 if last is None else min(stored + 1, last)),
        "the newest only",
    ),
    ("10.2", "the untrained one is asked alone", searches_with(empty=False), "nothing to choose"),
    ("10.2", "upside down", searched(saved=11 / 42), "what a small search saves"),
    ("10.2", "without the untrained in the factor", searched(saved=4), "what a small search saves"),
    ("10.2", "300 development pictures", searched(saved=21 * 6 / 22), "what a small search saves"),
    ("10.2", "training pictures alone in the factor", searched(saved=63 / 11), "what a small search saves"),
    ("10.2", "candidates, not stored ones", searched(dearer_from=4), "dearer than training"),
    ("10.2", "one too early", searched(dearer_from=2), "dearer than training"),
    ("10.2", "one too late", searched(dearer_from=5), "dearer than training"),
    # 10.3
    ("10.3", "accuracy", votes_with(told=lambda right: right.double().mean()), "an error"),
    ("10.3", "a number of errors", votes_with(told=lambda right: (~right).sum()), "an error"),
    ("10.3", "dev votes", votes_with(swap=lambda a, b, c, d: (c, d, a, b)), "dev asks, train votes"),
    ("10.3", "train about itself", votes_with(swap=lambda a, b, c, d: (a, b, a, b)), "dev asks, train votes"),
    ("10.3", "dev about itself", votes_with(swap=lambda a, b, c, d: (c, d, c, d)), "dev asks, train votes"),
    (
        "10.3",
        "both vote",
        votes_with(swap=lambda a, b, c, d: (torch.cat([a, c]), torch.cat([b, d]), c, d)),
        "dev asks, train votes",
    ),
    ("10.3", "the nearest alone", votes_with(neighbours=1), "the five nearest"),
    ("10.3", "four", votes_with(neighbours=4), "the five nearest"),
    ("10.3", "six", votes_with(neighbours=6), "the five nearest"),
    ("10.3", "the inner product", votes_with(score=lambda queries, features: queries @ features.T), "the five nearest"),
    ("10.3", "the sum of differences", votes_with(score=lambda q, f: -torch.cdist(q, f, p=1)), "the five nearest"),
    ("10.3", "louder when near", voted(by_distance), "the five nearest"),
    (
        "10.3",
        "the nearest of equal votes",
        votes_with(decide=nearest_of_equal),
        "equal votes",
    ),
    (
        "10.3",
        "the last of equal votes",
        votes_with(decide=lambda classes, k: k - 1 - nn.functional.one_hot(classes, k).sum(1).flip(1).argmax(1)),
        "equal votes",
    ),
    (
        "10.3",
        "the only one of few pictures",
        voted(
            lambda f, t, q, a, k: (
                vote_error(f, t, q, a, k) if len(f) >= 5 else vote_error(f, t, q, a, k, neighbours=1) + 0.05
            )
        ),
        "few pictures",
    ),
    ("10.3", "the highest error", voted(winner=lambda untrained, errors: errors.index(max(errors))), "the best start"),
    ("10.3", "the error itself", voted(winner=lambda untrained, errors: min(errors)), "the best start"),
    ("10.3", "the newest whatever", voted(winner=lambda untrained, errors: len(errors) - 1), "the best start"),
    (
        "10.3",
        "from the newest",
        voted(winner=lambda untrained, errors: errors[::-1].index(min(errors))),
        "the best start",
    ),
    ("10.3", "the oldest of equal", winners_with(newest=False), "the newest of equals"),
    ("10.3", "untrained at equal errors", winners_with(strict=False), "untrained if better"),
    ("10.3", "never untrained", voted(winner=lambda untrained, errors: winner(1.0, errors)), "untrained if better"),
    (
        "10.3",
        "untrained at the end",
        voted(winner=lambda untrained, errors: winner(untrained, errors, none=len(errors))),
        "untrained if better",
    ),
    (
        "10.3",
        "0 at the first task",
        voted(winner=lambda untrained, errors: winner(untrained, errors) if errors else 0),
        "the first task",
    ),
    # 10.4
    ("10.4", "precision, not error", scores_with(told=lambda mean: mean), "a perfect order"),
    ("10.4", "lowest first", scores_with(lambda s, t: by_hand(-s, t)), "a perfect order"),
    ("10.4", "ROC", scores_with(roc), "precision at each gain"),
    ("10.4", "trapezoids", scores_with(trapezoids), "precision at each gain"),
    ("10.4", "interpolated", scores_with(interpolated), "precision at each gain"),
    ("10.4", "one order", scored(in_one_order), "each label alone"),
    ("10.4", "by picture", scored(by_picture), "each label alone"),
    ("10.4", "by positives", scored(by_positives), "each label alone"),
    ("10.4", "0 without positives", scores_with(empty=0.0), "labels without positives"),
    ("10.4", "1 without positives", scores_with(empty=1.0), "labels without positives"),
    ("10.4", "one by one", scores_with(one_by_one), "equal scores"),
    ("10.4", "positives first", scores_with(partial(one_by_one, bonus=lambda t: t)), "equal scores"),
    ("10.4", "positives last", scores_with(partial(one_by_one, bonus=lambda t: -t)), "equal scores"),
    ("10.4", "one half", scored(same=0.5), "what chance gets"),
    ("10.4", "the mean share", scored(same=0.25), "what chance gets"),
    ("10.4", "nothing", scored(same=1), "what chance gets"),
    # 10.5
    ("10.5", "the last tasks in the choice", honest_with(chosen_by=lambda a, b, n: b[:, -n:]), "the honest choice"),
    ("10.5", "the test stream in the choice", honest_with(chosen_by=lambda a, b, n: b), "the honest choice"),
    ("10.5", "early tasks in the choice", honest_with(chosen_by=lambda a, b, n: b[:, :-n]), "the honest choice"),
    ("10.5", "both streams", honest_with(chosen_by=lambda a, b, n: torch.cat([a, b], 1)), "the honest choice"),
    ("10.5", "the highest error", honest_with(pick=torch.argmax), "the honest choice"),
    ("10.5", "from 1", leaking(lambda *case: (honest(*case)[0] + 1, honest(*case)[1])), "the honest choice"),
    ("10.5", "the tuning error", honest_with(reported=lambda a, b, n: a), "the honest report"),
    ("10.5", "the whole stream", honest_with(reported=lambda a, b, n: b), "the honest report"),
    ("10.5", "the first tasks", honest_with(reported=lambda a, b, n: b[:, :n]), "the honest report"),
    ("10.5", "the last task alone", honest_with(reported=lambda a, b, n: b[:, -1:]), "the honest report"),
    ("10.5", "the lowest report", leaking(lambda *case: (honest(*case)[0], leaked(*case)[1])), "the honest report"),
    ("10.5", "no leak", leaking(leaked=honest), "the leaked choice"),
    ("10.5", "the whole stream leaks", leaked_with(chosen_by=lambda a, b, n: b), "the leaked choice"),
    ("10.5", "early tasks leak", leaked_with(chosen_by=lambda a, b, n: b[:, :-n]), "the leaked choice"),
    (
        "10.5",
        "the best rate of each task",
        leaking(leaked=lambda a, b, n: (leaked(a, b, n)[0], b[:, -n:].amin(0).mean())),
        "the leaked report",
    ),
    ("10.5", "the leaked rate on other tasks", leaked_with(reported=lambda a, b, n: a), "the leaked report"),
    (
        "10.5",
        "the last of equal rates",
        leaking(lambda a, b, n: (lambda p: (p, b[p, -n:].mean()))(len(a) - 1 - a.mean(1).flip(0).argmin().item())),
        "equal rates",
    ),
    ("10.5", "the other sign", leaking(optimism=lambda *case: -optimism(*case)), "too low, never too high"),
    ("10.5", "a share", leaking(optimism=lambda *case: optimism(*case) / leaked(*case)[1]), "too low, never too high"),
    (
        "10.5",
        "on different tasks",
        leaking(optimism=lambda a, b, n: a.mean(1).min() - leaked(a, b, n)[1]),
        "too low, never too high",
    ),
    ("10.5", "without pi", leaking(tasks_needed=100), "how many tasks"),
    ("10.5", "rounded down", leaking(tasks_needed=31), "how many tasks"),
    ("10.5", "without the square", leaking(tasks_needed=6), "how many tasks"),
    # 10.6
    ("10.6", "the body alone", started(lambda bodies: bodies[-1]), "a start"),
    ("10.6", "a pair", started(lambda bodies: (bodies[-1], len(bodies) - 1)), "a start"),
    ("10.6", "the place alone", started(lambda bodies: Start(len(bodies) - 1)), "a start"),
    ("10.6", "a place that is none", started(lambda bodies: Start(bodies[-1], len(bodies))), "a start"),
    ("10.6", "a matrix of bodies", started(torch.stack), "a start"),
    ("10.6", "half a body", started(lambda bodies: Start(bodies[-1][:100])), "a start"),
    ("10.6", "negative operations", started(lambda bodies: Start(bodies[-1], None, -1)), "a start"),
    ("10.6", "a mean in place", mean_in_place, "earlier networks untouched"),
    ("10.6", "a vote of the test pictures", Peeking("test"), "no peeking"),
    ("10.6", "a vote of the next task", Peeking("train", 1), "no peeking"),
    ("10.6", "trained on the way", trained_on_the_way, "networks that exist"),
    ("10.6", "trained on the way, in silence", partial(trained_on_the_way, metered=False), "networks that exist"),
    ("10.6", "from elsewhere", FromElsewhere(), "networks that exist"),
    (
        "10.6",
        "a sum for a mean",
        started(lambda bodies: Start(torch.stack(bodies).sum(0) + bodies[0])),
        "networks that exist",
    ),
    (
        "10.6",
        "with noise",
        started(lambda bodies: Start(bodies[-1] + 0.1 * torch.randn(len(bodies[-1])))),
        "networks that exist",
    ),
    ("10.6", "not finite", started(lambda bodies: Start(bodies[-1] / 0)), "networks that exist"),
    ("10.6", "no meter", partial(choose, metered=lambda *case: 0), "all is metered"),
    (
        "10.6",
        "one candidate metered",
        partial(choose, metered=lambda task, fresh, count, pictures: paid_for(task, fresh, 1)),
        "all is metered",
    ),
    (
        "10.6",
        "a picture metered",
        partial(choose, metered=lambda task, fresh, count, pictures: count * count_flops(fresh, task.images[:1])),
        "all is metered",
    ),
    (
        "10.6",
        "development pictures unmetered",
        partial(choose, metered=lambda task, fresh, count, pictures: count * count_flops(fresh, task.images)),
        "all is metered",
    ),
    ("10.6", "each candidate tried", tried_first, "within the budget"),
    ("10.6", "previous", last_body, "better than previous"),
    ("10.6", "independent", untrained_body, "better than previous"),
    ("10.6", "the worst by the vote", partial(choose, best=max), "better than previous"),
    ("10.6", "the first network", started(lambda bodies: Start(bodies[0], 0)), "better than previous"),
    (
        "10.6",
        "the mean of the last four",
        started(lambda bodies: Start(torch.stack(bodies[-4:]).mean(0))),
        "better than previous",
    ),
]

RIGHT = [
    ("10.1", billed()),
    ("10.1", billed(bill_in_rows, torch.tensor(SHARE), np.float64(DEARER))),
    ("10.1", billed(bill_trial_by_trial, 0.151, 1.26)),
    ("10.1", billed(share=0.15, dearer=1.25)),
    ("10.2", searched()),
    ("10.2", searched(search_cost_in_a_loop, 3.82, torch.tensor(3))),
    ("10.2", searched(cost_of, SAVED, 3.0)),
    ("10.2", searched(saved=3.8)),
    ("10.3", voted()),
    ("10.3", voted(vote_error_of_the_package, winner_by_sorting)),
    ("10.3", voted(vote_error_one_by_one, winner_of)),
    ("10.4", scored()),
    ("10.4", scored(map_error_of_the_package, torch.tensor(0.75))),
    ("10.4", scored(map_error_in_matrices)),
    ("10.5", leaking()),
    (
        "10.5",
        leaking(honest_in_lists, leaked_in_lists, lambda *case: honest(*case)[1] - leaked_in_lists(*case)[1], 32.0),
    ),
    ("10.5", leaking(honest_of, leaked_of)),
    ("10.6", choose),
    ("10.6", partial(choose, pictures=40)),
    ("10.6", choose_metered_in_the_loop),
    ("10.6", partial(choose_metered_in_the_loop, distances=False)),
    ("10.6", partial(choose, metered=passes_alone)),
    ("10.6", choose_with_the_untrained),
    ("10.6", choose_by_middles),
]
SHORT = [(name, answer) for name, answer in RIGHT if name != "10.6"]  # whose check draws its inputs


def test_there_are_six_exercises():
    assert [exercise.id for exercise in exercises("10")] == [f"10.{number}" for number in range(1, 7)]


DRAWN = SHORT  # right answers, on other draws too

STEADY = ("10.1", "10.2", "10.3", "10.4", "10.5")  # wrong answers to them get the same hint on other draws


def test_an_exception_in_an_answer_is_an_error():
    def divides(*case):
        return case[0] / 0 * missing

    for name, answer in (
        ("10.1", billed(divides)),
        ("10.2", searched(divides)),
        ("10.3", voted(divides)),
        ("10.4", scored(divides)),
        ("10.5", leaking(optimism=divides)),
        ("10.6", divides),
        ("10.6", lambda task, bodies, fresh: Start(bodies[-1])),
    ):
        verdict = check(name, answer)
        assert verdict.status == "error"
        assert len(verdict.message) < 600


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("10.1", billed(lambda *case: None)),
        ("10.1", billed(share=...)),
        ("10.2", searched(lambda *case: None)),
        ("10.2", searched(saved=...)),
        ("10.3", voted(lambda *case: None)),
        ("10.3", voted(winner=lambda *case: ...)),
        ("10.4", scored(lambda *case: None)),
        ("10.4", scored(same=...)),
        ("10.5", leaking(leaked=lambda *case: None)),
        ("10.5", leaking(tasks_needed=...)),
        ("10.6", lambda *case: None),
        ("10.6", ...),
    ],
)
def test_stubs_are_not_attempted(name, answer):
    assert check(name, answer).status == "not attempted"


# What the exercises say is so


@pytest.mark.parametrize("rates", [(0.1,), (0.05, 0.1, 0.2)])
def test_the_bill_is_what_the_learner_meters(rates):
    stream = ShortStream(3, tasks=4)
    recipe = Recipe(steps=3, batch=50, learning_rates=rates, calibration=45)
    made = run(independent(stream, network, recipe), stream)
    list(made)
    for place, spent in enumerate(made.state["training"]):
        data = {split: stream.get_dataset_by_key(f"{place:02d}/{split}") for split in ("train", "dev")}
        model = network(data["dev"].task_key.metadata.num_classes)
        image = torch.zeros(1, 1, 8, 8)
        sizes = [(data["train"].num_examples, data["dev"].num_examples)]
        passes = count_flops(model, image, training=True), count_flops(model, image)
        assert spent == bill_of(sizes, 3, 50, len(rates), 45, *passes)


def test_the_two_numbers_of_the_bill():
    assert bill_of([(500, 100)], 15, 16, 1, 128, 3, 1) * SHARE == pytest.approx(128)
    four, one = bill_of([(500, 100)], 15, 16, 4, 128, 3, 1), bill_of([(500, 100)], 60, 16, 1, 128, 3, 1)
    assert four / one == pytest.approx(DEARER)


@pytest.mark.parametrize(("last", "pictures"), [(20, 300), (2, 45), (None, None)])
def test_the_search_costs_what_the_learner_meters(last, pictures):
    stream = ShortStream(3, tasks=5)
    made = run(dynamic(stream, network, Recipe(steps=1), last=last, pictures=pictures), stream)
    list(made)
    for place, spent in enumerate(made.state["search"]):
        train, dev = (stream.get_dataset_by_key(f"{place:02d}/{split}") for split in ("train", "dev"))
        model = network(dev.task_key.metadata.num_classes)
        forward = count_flops(model, torch.zeros(1, 1, 8, 8))
        assert spent == cost_of(train.num_examples, dev.num_examples, place, last, forward, 8, pictures)


def test_the_two_numbers_of_the_search():
    lesson, small = (cost_of(500, 100, 60, last, 1, 0, pictures) for last, pictures in ((20, 300), (10, 100)))
    assert lesson / small == pytest.approx(SAVED)
    learning = bill_of([(200, 40)], 15, 16, 1, 128, 3, 1)
    dearer = [cost_of(200, 40, stored, 20, 1, 0, 300) > learning for stored in range(30)]
    assert dearer.index(True) == DEARER_FROM
    assert all(dearer[DEARER_FROM:])


@pytest.mark.parametrize("seed", range(5))
def test_the_vote_is_that_of_the_package(seed):
    case = votes._task(torch.Generator().manual_seed(seed))
    assert error_of(*case) == pytest.approx(knn_error(TaskKind.CLASSIFICATION, *case), abs=1e-12)


def test_the_winner_is_the_learners():
    """A dynamic learner that finds equal errors, and one whose untrained network is better."""
    features = [0.5, 0.25, 0.25, 0.75]
    assert winner_of(0.25, features) == 2
    assert winner_of(0.2, features) == UNTRAINED
    stream = ShortStream(0, tasks=8)
    made = run(dynamic(stream, network, RECIPE, last=None, pictures=None), stream)
    list(made)
    places = []

    def ask(task, bodies, fresh):
        own = body_of(fresh)
        errors = [vote_of(task, fresh, body) for body in bodies]
        places.append(winner_of(vote_of(task, fresh, own), errors))
        return Start(None if places[-1] < 0 else bodies[places[-1]])

    list(run(fine_tuning(stream, network, ask, RECIPE), stream))
    assert places == [-1 if source is None else source for source in made.state["sources"]]


@pytest.mark.parametrize("digits", [1, 6])
def test_the_precision_is_that_of_the_package(digits):
    generator = torch.Generator().manual_seed(digits)
    scores, target = precision._task(generator, 50, 4)
    scores, target = scores.round(decimals=digits), target * torch.tensor([1.0, 1.0, 0.0, 1.0]).double()
    package = task_error(TaskKind.MULTI_LABEL_CLASSIFICATION, scores, target)
    assert precision.error_of(scores, target) == pytest.approx(package, abs=1e-9)


def test_equal_scores_get_the_share_of_positives():
    target = torch.zeros(10, 2)
    target[:4, 0] = target[:1, 1] = 1.0
    package = task_error(TaskKind.MULTI_LABEL_CLASSIFICATION, torch.zeros(10, 2), target)
    assert package == pytest.approx(precision.SAME)


def test_the_leaked_report_is_too_low_by_what_is_said():
    generator = torch.Generator().manual_seed(0)
    test = 0.3 + 0.1 * torch.randn(4000, 2, TASKS_NEEDED, generator=generator)
    found = [leaked_of(table, table, TASKS_NEEDED)[1] for table in test]
    low = 0.3 - sum(found) / len(found)
    assert low == pytest.approx(0.1 / math.sqrt(math.pi * TASKS_NEEDED), abs=1e-3)
    assert 0.1 / math.sqrt(math.pi * TASKS_NEEDED) < 0.01 < 0.1 / math.sqrt(math.pi * (TASKS_NEEDED - 1))


def test_the_honest_report_is_not():
    generator = torch.Generator().manual_seed(0)
    tuning, test = (0.3 + 0.1 * torch.randn(4000, 2, 20, generator=generator) for _ in range(2))
    found = [honest_of(first, second, 8)[1] for first, second in zip(tuning, test)]
    assert sum(found) / len(found) == pytest.approx(0.3, abs=0.0025)


def test_no_two_tasks_in_a_row_ask_the_same():
    for seed in range(5):
        asked = ShortStream(seed).questions
        assert all(first != second for first, second in pairwise(asked))
        assert set(asked) == {0, 1, 2}


def test_the_short_stream_is_always_the_same_and_each_seed_another():
    first, again, other = (
        ShortStream(seed).get_dataset_by_key("03/train").builder_fn.whole.image for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_the_reference_is_the_learner_of_the_package():
    stream = ShortStream(0)
    errors = [row.error for row in run(previous(stream, network, RECIPE, 0), stream)]
    assert error_of_previous(0) == pytest.approx(sum(errors) / len(errors))


@pytest.mark.slow
@pytest.mark.parametrize("learner", [row[1] for row in RIGHT if row[0] == "10.6"])
def test_honest_learners_beat_previous_on_five_streams_and_on_each(learner):
    mine, theirs, search = zip(*(against_previous(learner, seed) for seed in range(5)))
    assert all(first < second for first, second in zip(mine, theirs))
    assert sum(theirs) / 5 - sum(mine) / 5 > MARGIN
    assert 0 < min(search) < max(search) < BUDGET


@pytest.mark.slow
def test_at_equal_operations_more_steps_win():
    """As the solution says: twice the steps cost about what training and search do, and err less."""
    patient, found = replace(RECIPE, steps=2 * RECIPE.steps), []
    for seed in SEEDS:
        stream = ShortStream(seed)
        made = [run(make(stream, network, patient, seed), stream) for make in (previous, independent)]
        last, untrained = (sum(row.error for row in each) / 12 for each in made)
        journey = travel(choose, seed)
        assert made[0].usage.floating_point_operations < 1.1 * (journey.training + journey.search)
        assert error_of_previous(seed, patient.steps) == pytest.approx(last)
        found.append((journey.error, last, untrained))
    searched, last, untrained = (sum(column) / len(SEEDS) for column in zip(*found))
    assert untrained + 0.01 < last < searched - 0.01


def test_a_learner_that_is_not_written_has_no_report():
    assert against_previous(lambda task, bodies, fresh: None, 0) is None


def test_the_numbers_of_the_prose_are_those_of_the_check():
    prose = NOTEBOOK.read_text(encoding="utf-8")
    assert f"at least {MARGIN} below that of `previous`" in prose
    assert BUDGET == 2
    assert "twice what all training costs" in prose
    (cell,) = (cell for cell in read_source(NOTEBOOK).cells if "dearer_from = (" in cell.source)
    scope = {"torch": torch, "math": math}
    exec(cell.source, scope)
    assert (scope["saved"], scope["dearer_from"]) == (SAVED, DEARER_FROM)
