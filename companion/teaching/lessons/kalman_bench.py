"""Lesson 06's comparisons over five seeds.

`compare_abrupt()`, `compare_slow()` and `compare_none()` make the stored results "06_abrupt", "06_slow" and "06_none": every kind
of learner on one stream of digits, with the setting of its grid that had the lowest mean log-loss on two seeds of their own
(data, backbone and draws). "gamma fixed, in hindsight" has on each reported seed the best of the eight settings that were
best there. `compare_together()` makes
"06_together", where each kind has one setting for all three streams. `compare_backbone()` and `compare_flights()` make
"06_backbone" and "06_flights".
"""

import copy
import functools
from collections.abc import Sequence
from statistics import mean
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm.auto import tqdm

from companion.data.streams import Drift, digit_stream, flight_days
from companion.foundations.networks import MLP
from companion.foundations.online import run_stream
from companion.foundations.validation import Number
from companion.methods.kalman import UnitFeatures
from companion.teaching import results
from companion.teaching.lessons import kalman_streams
from companion.teaching.lessons.kalman_streams import (
    BLOCK,
    KINDS,
    SEEDS,
    SEGMENT,
    TUNING_SEEDS,
    Trace,
    digit_rows,
    flight_rows,
    follow,
    run,
)

SOURCES = (*kalman_streams.SOURCES, "companion.foundations.networks", __name__)
COMMAND = "python -m companion claims kalman_bench"
HINDSIGHT = "gamma fixed, in hindsight"
LIKELY = 8  # settings of which hindsight may choose
POINTS = 60  # of a stored curve
STREAMS: tuple[Drift, ...] = ("abrupt", "slow", "none")


# --- digits: every kind on one stream -----------------------------------------------------------------------------


def compare_abrupt(seeds: Sequence[int] = SEEDS) -> None:
    """Digits that get other names every 300 rows: "06_abrupt"."""
    compare("abrupt", seeds)


def compare_slow(seeds: Sequence[int] = SEEDS) -> None:
    """Digits that turn, once in all: "06_slow"."""
    compare("slow", seeds)


def compare_none(seeds: Sequence[int] = SEEDS) -> None:
    """Digits as they are: "06_none"."""
    compare("none", seeds)


def compare(drift: Drift, seeds: Sequence[int]) -> None:
    rows: dict[str, Any] = {}
    for kind, sort in tqdm(KINDS.items(), desc=drift):
        tried = [
            (setting, [run(kind, setting, digit_rows(drift, seed), seed).loss for seed in TUNING_SEEDS])
            for setting in sort.settings
        ]
        chosen = min(tried, key=lambda each: mean(each[1]))[0]
        traces = [run(kind, chosen, digit_rows(drift, seed), seed) for seed in seeds]
        rows[kind] = {"chosen": chosen, "tried": tried} | summary(traces, drift)
        if kind == "gamma fixed":
            likely = sorted(tried, key=lambda each: mean(each[1]))[:LIKELY]
            rows[HINDSIGHT] = in_hindsight(kind, [setting for setting, _ in likely], drift, seeds)
    results.store(f"06_{drift}", {"seeds": seeds, "rows": rows}, SOURCES, COMMAND)


def in_hindsight(kind: str, settings: Sequence[Any], drift: Drift, seeds: Sequence[int]) -> dict[str, Any]:
    """The best of the settings for each reported seed: nobody could have had it."""
    best = []
    for seed in seeds:
        traces = {setting: run(kind, setting, digit_rows(drift, seed), seed) for setting in settings}
        best.append(min(traces.items(), key=lambda each: each[1].loss))
    return {"chosen": [setting for setting, _ in best]} | summary([trace for _, trace in best], drift)


def summary(traces: Sequence[Trace], drift: Drift) -> dict[str, Any]:
    """Losses and accuracies of all seeds, and curves: the mean loss so far and, after changes, loss and gamma by age."""
    losses = torch.stack([-trace.log_prob.double() for trace in traces])
    found: dict[str, Any] = {
        "loss": [trace.loss for trace in traces],
        "accuracy": [trace.accuracy for trace in traces],
        "curve": thinned(losses.mean(0).cumsum(0)),
    }
    if drift == "abrupt":
        found["loss by age"] = by_age(losses)
    if len(traces[0].gamma):
        gammas = torch.stack([trace.gamma for trace in traces])
        found["gamma"] = thinned(gammas[0])
        if drift == "abrupt":
            found["gamma by age"] = by_age(gammas)
            after = gammas.unflatten(1, (-1, SEGMENT))[:, 1:]
            found["forgotten early"] = (1 - after[:, :, :50]).mean((1, 2)).tolist()
            found["forgotten late"] = (1 - after[:, :, -100:]).mean((1, 2)).tolist()
    return found


def thinned(values: Float[Tensor, " n"]) -> list[float]:
    """At evenly spread places, the last one included."""
    places = torch.linspace(0, len(values) - 1, POINTS).round().long()
    return values[places].tolist()


def by_age(values: Float[Tensor, "seeds n"]) -> list[float]:
    """Means over seeds and all segments but the first, for each five rows since the change."""
    return values.double().unflatten(1, (-1, SEGMENT))[:, 1:].mean((0, 1)).unflatten(0, (-1, 5)).mean(1).tolist()


def compare_together(seeds: Sequence[int] = SEEDS) -> None:
    """One setting for all three streams, the best on average on the tuning seeds: "06_together"."""
    stored = {drift: results.load(f"06_{drift}")["rows"] for drift in STREAMS}
    rows = {}
    for kind in tqdm(KINDS, desc="together"):
        tried = {
            setting: mean(mean(stored[drift][kind]["tried"][place][1]) for drift in STREAMS)
            for place, setting in enumerate(KINDS[kind].settings)
        }
        chosen = min(tried, key=tried.__getitem__)
        traces = {drift: [run(kind, chosen, digit_rows(drift, seed), seed) for seed in seeds] for drift in STREAMS}
        rows[kind] = {
            "chosen": chosen,
            "loss": {drift: [trace.loss for trace in traces[drift]] for drift in STREAMS},
            "accuracy": {drift: [trace.accuracy for trace in traces[drift]] for drift in STREAMS},
        }
    results.store("06_together", {"seeds": seeds, "rows": rows}, SOURCES, COMMAND)


# --- a backbone that learns, too ----------------------------------------------------------------------------------

FINE_BLOCK = 10
BACKBONE_RATES = (0.0, 0.003, 0.01, 0.03, 0.1)
HEADS = {
    "Kalman": kalman_streams.pairs((1e-4, 1e-3, 1e-2), (1e-4, 3e-4, 1e-3, 3e-3)),  # rate of delta, noise variance
    "SGD": ((3.0, 0, 1), (10.0, 0, 1), (30.0, 0, 1)),  # learning rate, no replay
}


@functools.cache
def pretrained(seed: int) -> nn.Module:
    """A perceptron for upright digits, without its last layer, its features scaled to unit norm."""
    stream = digit_stream(20_000, "none", generator=torch.Generator().manual_seed(500 + seed))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = nn.Sequential(nn.Flatten(), MLP(64, 64, 64, 1), nn.ReLU(), UnitFeatures())
        head = nn.Linear(65, 10, bias=False)
    optimizer = torch.optim.Adam([*backbone.parameters(), *head.parameters()], lr=3e-3)
    for x, y in zip(stream.features.split(100), stream.labels.split(100)):
        loss = nn.functional.cross_entropy(10 * head(backbone(x)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return backbone


def on_moving_features(head: str, setting: tuple[Number, ...], rate: Number, seed: int) -> Trace:
    """A head on the turning digits, in blocks, whose backbone takes SGD steps of this rate; 0 leaves it frozen."""
    stream = digit_stream(3000, "slow", generator=torch.Generator().manual_seed(seed))
    backbone = copy.deepcopy(pretrained(seed))
    kind = "gamma learned" if head == "Kalman" else "online SGD"
    learner = KINDS[kind].make(setting, 65, 10, seed)
    generator = torch.Generator().manual_seed(2000 + seed)
    if rate == 0:
        with torch.no_grad():
            stream = stream._replace(features=backbone(stream.features))
        parts = {}
    else:
        parts = {"backbone": backbone, "optimizer": torch.optim.SGD(backbone.parameters(), lr=rate)}
    rows = (learner, stream.features, stream.labels)
    return follow(run_stream(*rows, batch_size=FINE_BLOCK, generator=generator, **parts))


def compare_backbone(seeds: Sequence[int] = SEEDS) -> None:
    """Turning digits on features trained on upright ones, frozen or fine-tuned in blocks of ten: "06_backbone"."""
    data: dict[str, Any] = {"seeds": seeds, "rows": {}}
    for head, settings in HEADS.items():
        tried = {
            (setting, rate): mean(on_moving_features(head, setting, rate, seed).loss for seed in TUNING_SEEDS)
            for rate in tqdm(BACKBONE_RATES, desc=head)
            for setting in settings
        }
        for name, rates in {"frozen": (0.0,), "fine-tuned": BACKBONE_RATES[1:]}.items():
            setting, rate = min((key for key in tried if key[1] in rates), key=tried.__getitem__)
            traces = [on_moving_features(head, setting, rate, seed) for seed in seeds]
            data["rows"][f"{head}, {name}"] = {
                "chosen": [*setting, rate],
                "loss": [trace.loss for trace in traces],
                "accuracy": [trace.accuracy for trace in traces],
            }
    results.store("06_backbone", data, SOURCES, COMMAND)


# --- flights ------------------------------------------------------------------------------------------------------

TUNED_UNTIL = 10_000  # rows, to about the end of March: settings are chosen on them, the rest is reported
FLIGHT_NOISES = (0.003, 0.01, 0.03, 0.1, 0.3)
FLIGHT_SETTINGS: dict[str, tuple[tuple[Any, ...], ...]] = {
    "gamma = 1": kalman_streams.pairs((1.0,), FLIGHT_NOISES),
    "gamma learned": kalman_streams.pairs((1e-6, 3e-6, 1e-5, 3e-5), FLIGHT_NOISES),
    "gamma fixed": kalman_streams.pairs((0.9999, 0.9997, 0.999, 0.997), FLIGHT_NOISES),
    "online SGD": tuple((rate, 0, 1) for rate in (0.3, 1.0, 3.0)),
    "SGD with replay": tuple((rate, 80, memory) for rate in (1.0, 3.0, 10.0) for memory in (300, 1000, 3000)),
    "FTRL": kalman_streams.pairs((0.3, 1.0, 3.0), (0.0, 0.01)),
    "forgetful ridge": kalman_streams.pairs((1.0, 10.0, 100.0), (0.95, 0.98, 0.99, 0.995)),
    "reset by a detector": tuple(
        (*each, noise)
        for each in (*kalman_streams.pairs(("ADWIN",), (0.002, 0.05)), ("Page-Hinkley", 20), ("Page-Hinkley", 50))
        for noise in (0.1, 1.0)
    ),
}


def compare_flights() -> None:
    """Late departures from New York, in blocks of ten: settings from the first 10,000, the rest reported: "06_flights".

    The noise is that of days: the standard error of the mean difference of a day's loss to that of gamma learned.
    """
    days = flight_days()[TUNED_UNTIL:]
    rows: dict[str, Any] = {}
    losses: dict[str, Tensor] = {}
    for kind, settings in tqdm(FLIGHT_SETTINGS.items(), desc="flights"):
        traces = {setting: run(kind, setting, flight_rows(), 0, BLOCK) for setting in settings}
        early = {setting: trace.log_prob[:TUNED_UNTIL].mean().item() for setting, trace in traces.items()}
        chosen = {kind: max(early, key=early.__getitem__)}
        if kind == "gamma fixed":
            chosen[HINDSIGHT] = max(traces, key=lambda each, traces=traces: traces[each].log_prob[TUNED_UNTIL:].mean())
        for name, setting in chosen.items():
            trace = traces[setting]
            losses[name] = -trace.log_prob[TUNED_UNTIL:].double()
            rows[name] = {
                "chosen": setting,
                "loss": losses[name].mean().item(),
                "accuracy": trace.correct[TUNED_UNTIL:].double().mean().item(),
            }
            if kind == "gamma learned":
                rows[name]["gamma"] = thinned(trace.gamma)
    for name, row in rows.items():
        apart = by_day(losses[name] - losses["gamma learned"], days)
        row["apart"], row["error"] = apart.mean().item(), (apart.std() / len(apart) ** 0.5).item()
    share = kalman_streams.flight_rows().labels[TUNED_UNTIL:].double().mean().item()
    results.store("06_flights", {"late": share, "rows": rows}, SOURCES, COMMAND)


def by_day(values: Float[Tensor, " n"], days: Tensor) -> Float[Tensor, " d"]:
    """The mean of each day."""
    day = days - days.min()
    sums, counts = torch.zeros(2, int(day.max()) + 1, dtype=values.dtype)
    sums.index_add_(0, day, values)
    counts.index_add_(0, day, torch.ones_like(values))
    return (sums / counts)[counts > 0]
