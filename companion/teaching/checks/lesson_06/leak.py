"""Exercise 06.6: loops that score a stream, and what they may have seen of it.

>>> def uniform_guess(head, features, labels, generator):
...     return -torch.ones(len(labels)).log() - math.log(2)
>>> round(score_on_noise(uniform_guess, torch.Generator().manual_seed(0)), 3)
-0.693
"""

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from companion.methods.kalman import KalmanHead, centred_one_hot, run_stream
from companion.teaching.checks.answers import (
    DOUBLE,
    StudentFunction,
    expect,
    expect_close,
    expect_tensor,
    normal,
    read_function,
    read_parts,
    read_words,
)
from companion.teaching.checks.framework import exercise

PREQUENTIAL = "prequential(head, features, labels, generator)"
Loop: TypeAlias = Callable[[KalmanHead, Tensor, Tensor, torch.Generator], Tensor]
WORDS = ("label", "later", "nothing")
TRUTH = ("label", "nothing", "later", "label")
LOOK = (
    "see which comes first, the score or the update",
    "see what has been done with a row's label when its score is taken",
    "see whose mean and deviation are in each row",
    "see which label `adapt` has used when the score is taken",
)


# Three tests of a loop


def score_on_noise(loop: Loop, generator: torch.Generator, rows: int = 200) -> float:
    """The mean log-probability that a loop gives to labels of two classes which are drawn without regard to anything."""
    features = torch.nn.functional.normalize(normal(generator, rows, 10), dim=1)
    labels = torch.randint(2, (rows,), generator=generator)
    return loop(head(10, 2), features, labels, generator).mean().item()


def total_probability(loop: Loop, generator: torch.Generator, row: int = 20) -> float:
    """What a loop gives to all labels that a row might have had, in sum: it runs once for each of three labels."""
    features, labels = moving(generator, row + 2)
    seed = int(torch.randint(2**31, (), generator=generator))
    given = []
    for label in range(3):
        labels[row] = label
        given.append(loop(head(), features, labels, torch.Generator().manual_seed(seed))[row].exp().item())
    return sum(given)


def moved_by_later_rows(loop: Loop, generator: torch.Generator, row: int = 20) -> float:
    """By how much the scores before a row change, at most, when that row and all later ones are others."""
    features, labels = moving(generator, 2 * row)
    other, others = features.clone(), labels.clone()
    other[row:] = 3 * features[row:].flip(0) + 1
    others[row:] = (labels[row:] + 1) % 3
    seed = int(torch.randint(2**31, (), generator=generator))
    pairs = ((features, labels), (other, others))
    scores = [loop(head(), *rows, torch.Generator().manual_seed(seed))[:row] for rows in pairs]
    return (scores[0] - scores[1]).abs().max().item()


def one_by_one(learner: KalmanHead, features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Each row (1, m) with its label (1,) and its centred one-hot target (1, K), as a block of one."""
    targets = centred_one_hot(labels, learner.num_classes, features.dtype)
    return zip(features[:, None], labels[:, None], targets[:, None])


def head(m: int = 4, num_classes: int = 3, learns: bool = True) -> KalmanHead:
    """A fresh filter; what `adapt` can move, it moves fast."""
    rates = {"gamma_rate": 1e-3, "alpha_rate": 0.05} if learns else {"alpha_rate": 0.0}
    return KalmanHead(m, num_classes, gamma=0.99, learn_gamma=learns, samples=8, **rates)


def moving(generator: torch.Generator, n: int, m: int = 4) -> tuple[Float[Tensor, "n m"], Tensor]:
    """Features, and labels of three classes that follow from them, by a rule which turns into another half-way."""
    features, rules = normal(generator, n, m), normal(generator, 2, m, 3)
    turned = (torch.arange(n) >= n // 2).long()
    return features, torch.einsum("nm,nmk->nk", features, rules[turned]).argmax(1)


# The check


class Scoring:
    """The student's words about four loops, and a loop of their own."""

    def __init__(self, words: tuple[str, ...], prequential: StudentFunction) -> None:
        self.words, self._prequential = words, prequential

    def scores(self, learner: KalmanHead, features: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        value = self._prequential(learner, features, labels, generator)
        return expect_tensor(value, (len(labels),), DOUBLE, PREQUENTIAL).detach()


@exercise(
    "06.6",
    "Find the leak",
    difficulty=3,
    minutes=20,
    equation="test-then-train: predict, adapt, drift, absorb",
    takeaway="Score, adapt, update, in this order, and the score of a row is made of earlier rows alone. Noise unmasks a crude leak; a fine one shows only when you ask for every label that might have come, or change what comes later.",
)
def scoring(answer: object) -> Scoring:
    parts = read_parts(answer, ("words", "prequential"))
    return Scoring(read_words(parts["words"], 4, WORDS), read_function(parts["prequential"], PREQUENTIAL))


@scoring.requires(
    "who saw what",
    "Follow one row through the loop. What has already been computed with its label, or with rows that come later, when its "
    "score is taken?",
)
def _(scoring: Scoring, generator: torch.Generator) -> None:
    saw = {"label": "the row's label", "later": "later rows", "nothing": "nothing that it should not"}
    for place, word, truth, look in zip("ABCD", scoring.words, TRUTH, LOOK, strict=True):
        expect(word == truth, f"loop {place} saw {saw[word]}, you say; {look}")


@scoring.requires(
    "a score a row",
    "Return one log-probability for each row, (n,), in the dtype of the features: that of the label which came.",
)
def _(scoring: Scoring, generator: torch.Generator) -> None:
    for n in (2, 5):
        features, labels = moving(generator, n)
        scores = scoring.scores(head(), features, labels, generator)
        most = scores.max().item()
        expect(most <= 0, f"a score is {most:.3g}, and a log-probability is at most 0")


@scoring.requires(
    "no luck on noise",
    "Labels drawn without regard to anything cannot be foreseen, and nobody's mean score on them stays above -log 2 for long. "
    "Yours does: a label is absorbed before it is scored.",
)
def _(scoring: Scoring, generator: torch.Generator) -> None:
    came = score_on_noise(scoring.scores, generator)
    expect(came < -math.log(2) + 0.02, f"on two classes of noise your mean score is {came:.3f}, and -log 2 is -0.693")


@scoring.requires(
    "shares of one",
    "Run the loop once for each label that a row might have had: as nobody knows the label, the probabilities must sum to 1, and "
    "yours do not. The label has moved something, be it gamma or alpha alone, before its own score was taken.",
)
def _(scoring: Scoring, generator: torch.Generator) -> None:
    for row in (0, 7, 20):
        came = total_probability(scoring.scores, generator, row)
        expect_close(came, 1.0, 1e-9, f"at row {row} the sum over three labels")


@scoring.requires(
    "nothing from later",
    "Other rows later on must leave the earlier scores as they are. Means over the whole stream, or a pass before the pass, look "
    "ahead, even where no label is used.",
)
def _(scoring: Scoring, generator: torch.Generator) -> None:
    moved = moved_by_later_rows(scoring.scores, generator)
    expect(moved < 1e-9, f"with other rows from row 20 on, an earlier score changes by {moved:.3g}")


@scoring.requires(
    "each row is learned",
    "Another label of a row must change how the rows after it are scored, and does not. After each score the row has to be "
    "absorbed: `head.update(features, targets)`, one row at a time.",
)
def _(scoring: Scoring, generator: torch.Generator) -> None:
    features, labels = moving(generator, 12)
    others = labels.clone()
    others[4] = (labels[4] + 1) % 3
    scores = [scoring.scores(head(learns=False), features, each, _seeded()) for each in (labels, others)]
    moved = (scores[0] - scores[1])[5:].abs().min().item()
    expect(moved > 1e-9, "with another label at row 4, some later score stays exactly as it was")


@scoring.requires(
    "it adapts",
    "gamma and alpha stay where they were. After the score comes `head.adapt(log_prob)`, with the log-probability as "
    "`head.log_prob` gave it: detached or turned into a number, it has no slope.",
)
def _(scoring: Scoring, generator: torch.Generator) -> None:
    features, labels = moving(generator, 30)
    learner = head()
    before = learner.gamma, learner.alpha
    scoring.scores(learner, features, labels, _seeded())
    for name, old, new in zip(("gamma", "alpha"), before, (learner.gamma, learner.alpha)):
        expect(old != new, f"after 30 rows {name} is still {old.item():.4g}")


@scoring.requires(
    "as run_stream does",
    "It is honest, and it is not the order of the lesson: score, adapt on that score, then update, so that the drift before a row "
    "is absorbed has the gamma that this row has just corrected. `run_stream` with the same seed scores otherwise.",
)
def _(scoring: Scoring, generator: torch.Generator) -> None:
    features, labels = moving(generator, 40)
    came = scoring.scores(head(), features, labels, _seeded())
    for steps, words in (
        (("score", "update", "adapt"), "you adapt after the update"),
        (("score", "draw", "adapt", "update"), "you draw a second time for `adapt`; the score's own draws will do"),
    ):
        other = in_order(head(), features, labels, _seeded(), steps)
        expect(not torch.allclose(came, other, rtol=1e-9), words)
    states = run_stream(head(), features, labels, generator=_seeded())
    expect_close(came, torch.cat([state.log_prob for state in states]), 1e-9, "a score")


def in_order(
    learner: KalmanHead, features: Tensor, labels: Tensor, generator: torch.Generator, steps: tuple[str, ...]
) -> Tensor:
    """Scores of a loop over rows with these steps for each: "score", "draw" (again, for `adapt`), "adapt", "update"."""
    scores = []
    for row, label, target in one_by_one(learner, features, labels):
        for step in steps:
            if step in ("score", "draw"):
                log_prob = learner.log_prob(row, label, generator)
            if step == "score":
                scores.append(log_prob.detach())
            elif step == "adapt":
                learner.adapt(log_prob)
            elif step == "update":
                learner.update(row, target)
    return torch.cat(scores)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(60_006)
