"""Rows of lesson 10: scores against scikit-learn's, and what the search, a task's steps and saving a run cost."""

import functools
import math
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from companion.data.streams.events import TaskKind
from companion.data.streams.mini import MiniStream
from companion.foundations.residual import ExpandedResidualNet
from companion.methods.nevis import (
    Meter,
    Recipe,
    TaskData,
    average_precision,
    body_of,
    fit,
    knn_error,
    load_body,
    make,
    previous,
    representation,
    run,
)
from companion.methods.pruning import reestimate_batch_norm
from tests.benchmarks.measure import Result, Row, compare_times


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(num_classes: int = 5) -> nn.Module:
    """The lesson's network, untrained."""
    return ExpandedResidualNet(num_classes=num_classes, expansion=1).to(memory_format=torch.channels_last)


def task_of(train: int, dev: int, classes: int = 5) -> TaskData:
    """A task of noise: what it costs does not depend on its pictures."""
    images = torch.randn(train + dev, 1, 16, 16, generator=seeded(1))
    labels = torch.randint(classes, (train + dev,), generator=seeded(2))
    kind = TaskKind.CLASSIFICATION
    return TaskData("noise", kind, classes, images[:train], labels[:train], images[train:], labels[train:])


def compare_precision(n: int) -> Result:
    from sklearn.metrics import average_precision_score

    scores = (torch.randn(n, generator=seeded()) * 100).round()  # many are equal
    target = (torch.rand(n, generator=seeded(1)) < 0.3).float()
    ours, theirs = lambda: average_precision(scores, target), lambda: average_precision_score(target, scores)
    assert abs(ours() - theirs()) < 1e-9
    return compare_times(ours, theirs)


def compare_vote(n: int, m: int, width: int = 32, classes: int = 5) -> Result:
    """Both break a tie of votes for the first class."""
    from sklearn.neighbors import KNeighborsClassifier

    target, answers = (torch.randint(classes, (rows,), generator=seeded(rows)) for rows in (n, m))
    middles = 0.5 * torch.randn(classes, width, generator=seeded())
    features = middles[target] + torch.randn(n, width, generator=seeded(1))
    queries = middles[answers] + torch.randn(m, width, generator=seeded(2))

    def ours() -> float:
        return knn_error(TaskKind.CLASSIFICATION, features, target, queries, answers, classes)

    def theirs() -> float:
        model = KNeighborsClassifier(5, algorithm="brute").fit(features.numpy(), target.numpy())
        return 1 - model.score(queries.numpy(), answers.numpy())

    assert 0 < ours() < 1
    assert abs(ours() - theirs()) < 1e-9
    return compare_times(ours, theirs)


def compare_search(candidates: int, train: int, dev: int) -> Result:
    """A vote on each of so many stored bodies: written into one network, or each into a network made for it."""
    task = task_of(train, dev)
    bodies = [body_of(make(network, task.num_classes, 0, place)) for place in range(candidates)]

    def vote(model: nn.Module) -> float:
        seen, asked = representation(model, task.images), representation(model, task.dev_images)
        return knn_error(task.kind, seen, task.target, asked, task.dev_target, task.num_classes)

    def ours() -> list[float]:
        model, found = network(task.num_classes), []
        for body in bodies:
            load_body(model, body)
            found.append(vote(model))
        return found

    def naive() -> list[float]:
        """Networks with all their tensors in a dictionary, made and loaded one by one."""
        found = []
        for stored in states:
            model = network(task.num_classes)
            model.load_state_dict(stored)
            found.append(vote(model))
        return found

    states = []
    for body in bodies:
        model = network(task.num_classes)
        load_body(model, body)
        states.append({name: value.clone() for name, value in model.state_dict().items()})
    assert ours() == naive()
    return compare_times(ours, naive)


def compare_steps(steps: int, train: int) -> Result:
    """`fit`, with its meter, against the loop that one would write."""
    task, meter = task_of(train, 20), Meter()
    recipe = Recipe(steps=steps, batch=16, learning_rates=(0.05,))
    fresh = make(network, task.num_classes, 0, 0)
    start = {name: value.clone() for name, value in fresh.state_dict().items()}

    def begin() -> nn.Module:
        model = network(task.num_classes)
        model.load_state_dict(start)
        return model

    def ours() -> nn.Module:
        model = begin()
        fit(model, task, recipe, 0.05, seeded(), meter)
        return model

    def plain() -> nn.Module:
        model = begin().train()
        optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
        warm = max(1, round(steps / 10))

        def share(step: int) -> float:
            up = min(1.0, (step + 1) / warm)
            return up * (1 + math.cos(math.pi * step / steps)) / 2

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        for chosen in torch.randint(train, (steps, 16), generator=seeded()):
            optimizer.zero_grad()
            cross_entropy(model(task.images[chosen]), task.target[chosen], label_smoothing=0.1).backward()
            optimizer.step()
            scheduler.step()
        reestimate_batch_norm(model, task.images[:128], min(train, 128))
        return model

    for left, right in zip(ours().state_dict().values(), plain().state_dict().values(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-3)
    return compare_times(ours, plain)


def compare_saving(tasks: int, steps: int) -> Result:
    """A run that saves itself after each event against one beside which all networks are saved by torch."""
    stream, recipe = MiniStream(tasks, seed=1), Recipe(steps=steps, batch=16, learning_rates=(0.05,))
    stream.tasks  # noqa: B018 - they are made before anything is measured

    def learner():
        return previous(stream, network, recipe)

    def ours() -> list[float]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.pt"
            rows = list(run(learner(), stream, path))
            assert list(run(learner(), stream, path)) == rows
            return [row.error for row in rows]

    def plain() -> list[float]:
        errors, states = [], []
        with tempfile.TemporaryDirectory() as folder:
            made = run(learner(), stream)
            for row in made:
                errors.append(row.error)
                states.append(as_dictionary(made.state["bodies"][-1], made.state["heads"][-1]))
                for _ in range(2):  # after training, and after the prediction
                    torch.save(states, Path(folder) / "run.pt")
            assert len(torch.load(Path(folder) / "run.pt", weights_only=True)) == tasks
        return errors

    def as_dictionary(body: torch.Tensor, head: torch.Tensor) -> dict[str, torch.Tensor]:
        model = network(len(head))
        load_body(model, body)
        return model.state_dict() | {"head.weight": head[:, :-1], "head.bias": head[:, -1]}

    assert ours() == plain()
    return compare_times(ours, plain, repeats=3)


def rows() -> list[Row]:
    part = functools.partial
    body = "residual network of 30,000 weights"
    return [
        Row("nevis-precision", "average precision of 10,000 scores, many of them equal, time",
            "scikit-learn average_precision_score", part(compare_precision, 10_000), "ratio at most 1"),
        Row("nevis-vote", "vote of 5 neighbours, 300 voters, 200 questions, 32 features, time",
            "scikit-learn KNeighborsClassifier, brute force", part(compare_vote, 300, 200), "ratio at most 1"),
        Row("nevis-search", f"a vote on each of 20 stored bodies, 300 and 60 pictures, {body}, time",
            "a network made for each, with load_state_dict", part(compare_search, 20, 300, 60), "ratio at most 1"),
        Row("nevis-steps", f"`fit` of a task in 60 steps of 16 pictures, {body}, time",
            "a plain loop with torch's scheduler, the same weights", part(compare_steps, 60, 300), "about 1"),
        Row("nevis-save", f"10 tasks of 15 steps, saved after each event and read once, {body}, time",
            "a list of state_dicts, saved as often", part(compare_saving, 10, 15), "ratio at most 1"),
    ]  # fmt: skip
