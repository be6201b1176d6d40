"""Lesson 03's comparisons over seeds: the guidance bench, three losses, rewards, and digits.

`compare()`, `compare_losses()`, `compare_rewards()` and `compare_digits()` make the stored results "03_bench", "03_losses",
"03_rewards" and "03_digits". Every rival gets its best setting of a grid *on the very points that judge it*, which
favours it; the learned weight gets no search. All samplers of a seed start from the same noise and take 20 steps of DDIM,
but for resampling, whose churn is part of its grid. Evaluations are counted, rows of either model for each sample.
Seconds are CPU seconds of training, none for what needs no training.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import mean
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from companion.data import images
from companion.foundations.conditional import ConditionalDenoiser, LabelledMixture, velocity_loss
from companion.foundations.diffusion import Time, time_grid
from companion.foundations.networks import MLP
from companion.foundations.training import draw_batch, train
from companion.methods.guidance import Reward, sample_guided
from companion.methods.rivals import (
    adaptive_guidance,
    classifier_guidance,
    density_ratio,
    feedback_guidance,
    guidance_resampling,
    predictor_corrector,
)
from companion.methods.rivals.adaptive_guidance import sample_adaptive
from companion.methods.rivals.classifier_guidance import TimeClassifier, sample_classifier_guided, train_classifier
from companion.methods.rivals.density_ratio import DensityRatio, train_density_ratio
from companion.methods.rivals.feedback_guidance import sample_feedback
from companion.methods.rivals.guidance_resampling import sample_resampled
from companion.methods.rivals.predictor_corrector import sample_predictor_corrector
from companion.teaching import results
from companion.teaching.lessons import distributional_diffusion as judges
from companion.teaching.lessons import guidance_bases, learned_guidance
from companion.teaching.lessons.guidance_bases import base, fine_tune, long_tailed_law, training_of, training_set
from companion.teaching.lessons.learned_guidance import (
    STEPS,
    Exam,
    Model,
    TiltedLaw,
    against_tilt,
    alignment,
    constant_by_class,
    exam,
    far_out,
    floor,
    learned_weights,
    overlapping_law,
    right_half,
    shared_noise_loss,
)
from companion.teaching.session import Session

RIVALS = (
    adaptive_guidance,
    classifier_guidance,
    density_ratio,
    feedback_guidance,
    guidance_resampling,
    predictor_corrector,
)
SOURCES = (*learned_guidance.SOURCES, *RIVALS, __name__)
COMMAND = "python -m companion claims guidance_bench"
SEEDS = (0, 1, 2, 3, 4)

CONSTANTS = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.4, 2.0, 3.0)
HEIGHTS = (0.2, 0.4, 0.8, 1.2, 2.0, 3.0)
ENDS = ((0.0, 0.5), (0.0, 0.8), (0.2, 0.8), (0.3, 1.0), (0.5, 1.0), (0.7, 1.0))
INTERVALS = ((0.0, 0.0, 1.0), *((height, *ends) for height, ends in itertools.product(HEIGHTS, ENDS)))
THRESHOLDS = (0.95, 0.99, 0.999)
CORRECTIONS = (1, 3)
CANDIDATES = ((0.0, 0.25, 0.5, 1.0), (0.0, 0.5, 1.0, 2.0), (0.0, 1.0, 3.0))
CHURNS = (0.0, 0.25, 0.5, 1.0)
CLASSIFYING, JUDGING = 1000, 3000  # updates of the classifier, and of the networks that tell data from samples
MORE = 400  # updates of the base itself, instead of learning weights for it
SCRATCH = 300  # updates of the ordinary young network, which never saw the points without their classes


class Counted:
    """A model that counts the rows it was asked about."""

    def __init__(self, model: Model) -> None:
        self.model, self.rows = model, 0

    def conditional(self, x: Tensor, t: Time, labels: Tensor) -> Tensor:
        self.rows += len(x)
        return self.model.conditional(x, t, labels)

    def unconditional(self, x: Tensor, t: Time) -> Tensor:
        self.rows += len(x)
        return self.model.unconditional(x, t)


def compare(seeds: tuple[int, ...] = SEEDS, n: int = 1000) -> None:
    """The guidance bench, stored as "03_bench"."""
    law = long_tailed_law()
    data: dict[str, Any] = {"seeds": seeds, "constants": CONSTANTS, "intervals": INTERVALS, "floor": floor(law, n)}
    data["rows"], data["weights"] = {}, {}
    data["curves"] = {name: [] for name in ("exact", "short", "long", "scratch")}
    for seed in tqdm(seeds, desc="bench"):
        session, judge = Session("lesson", seed, torch.device("cpu")), exam(law, seed, n)
        points = training_set("points", seed)
        for stage in guidance_bases.STAGES:
            model = base("points", stage, session)
            rows = dict(_schedules(model, points, judge, session))
            if stage == "short":
                rows |= dict(_rivals(model, points, judge, session))
                rows["the base itself, trained on"] = _trained_on(points, judge, seed)
            data["curves"][stage].append(rows["constant weight"].pop("curve"))
            data["weights"].setdefault(stage, []).append(rows["learned weight"].pop("weights"))
            for method, row in rows.items():
                data["rows"].setdefault(stage, {}).setdefault(method, []).append(row)
        for name, model in (("exact", law), ("scratch", _from_scratch(points, seed))):
            data["curves"][name].append([judge.of(model, weight) for weight in CONSTANTS])
    results.store("03_bench", data, SOURCES, COMMAND)


def _schedules(model, points, judge, session) -> Iterator[tuple[str, dict[str, Any]]]:
    """Constants, intervals, the learned weight, and the best constant for each class."""
    by_class = torch.stack([judge.by_class(judge.sample(model, weight)) for weight in CONSTANTS])
    constants, best = by_class.mean(1), by_class.argmin(0)
    yield "unguided", {"distance": constants[0].item(), "evaluations": STEPS, "seconds": 0.0, "setting": 0.0}
    row = {"distance": constants.min().item(), "evaluations": 2 * STEPS, "seconds": 0.0}
    setting = CONSTANTS[int(constants.argmin())]
    yield "constant weight", row | {"setting": setting, "curve": constants.tolist()}
    yield "limited interval", {"seconds": 0.0} | _best(model, judge, INTERVALS, judge.sample)
    chosen = torch.tensor(CONSTANTS)[best]
    row = {"distance": judge.of(model, constant_by_class(chosen)), "evaluations": 2 * STEPS, "seconds": 0.0}
    yield "constant for each class", row | {"setting": chosen.tolist()}
    began = time.process_time()
    weights = learned_weights(model, points, session)
    seconds = time.process_time() - began
    row = {"distance": judge.of(model, weights), "evaluations": 2 * STEPS, "seconds": seconds, "setting": "none"}
    along = time_grid(STEPS)
    every = torch.arange(len(judge.references))
    table = [weights(every, s, t).tolist() for t, s in itertools.pairwise(along.tolist())]
    yield "learned weight", row | {"weights": table}


def _rivals(model, points, judge, session) -> Iterator[tuple[str, dict[str, Any]]]:
    """What else moves samples towards their class; the first two train nothing of their own."""
    labels, start, times = judge.labels, judge.start, time_grid(STEPS)

    def walk(sampler: Callable, *arguments: Any, **settings: Any) -> Tensor:
        *_, last = sampler(*arguments, labels, start, times, generator=torch.Generator().manual_seed(7), **settings)
        return last

    pairs = tuple(itertools.product(CONSTANTS[1:], THRESHOLDS))
    row = {"seconds": 0.0} | _best(
        model, judge, pairs,
        lambda counted, setting: walk(
            sample_adaptive, counted.conditional, counted.unconditional, setting[0], threshold=setting[1]
        ),
    )  # fmt: skip
    yield "adaptive guidance", row
    row = {"seconds": 0.0} | _best(
        model, judge, tuple(itertools.product(CONSTANTS, CORRECTIONS)),
        lambda counted, setting: walk(
            sample_predictor_corrector, counted.conditional, counted.unconditional, setting[0], corrections=setting[1]
        ),
    )  # fmt: skip
    yield "predictor-corrector", row

    new = _network(TimeClassifier)
    states = train_classifier(*points, CLASSIFYING, new, generator=session.generator(31))
    row = {"seconds": _seconds(states)} | _best(
        model, judge, CONSTANTS,
        lambda counted, weight: walk(sample_classifier_guided, counted.conditional, new, weight),
    )  # fmt: skip
    yield "classifier guidance", row

    judged, seconds = _judge_of_samples(model, points, session, highest=2.0)
    row = {"seconds": seconds} | _best(
        model, judge, CANDIDATES,
        lambda counted, some: walk(sample_feedback, counted.conditional, counted.unconditional, judged, some),
    )  # fmt: skip
    yield "feedback", row

    ratio, seconds = _judge_of_samples(model, points, session, highest=0.0)
    row = {"seconds": seconds} | _best(
        model, judge, CHURNS,
        lambda counted, churn: walk(sample_resampled, counted.conditional, ratio, churn=churn),
    )  # fmt: skip
    yield "resampling", row


def _judge_of_samples(model: Model, points: tuple[Tensor, Tensor], session: Session, highest: float):
    """A network that tells data from the model's samples, and the CPU seconds that it took to make.

    The samples' constant weights are drawn from 0 to `highest`: a judge of guided steps must have seen such samples.
    """
    began = time.process_time()
    generator = session.generator(32)
    labels = torch.arange(4).repeat_interleave(1000)
    weights = highest * torch.rand(len(labels), generator=generator)
    start = torch.randn(len(labels), 2, generator=generator)
    walk = sample_guided(
        model.conditional, model.unconditional, lambda labels, s, t: weights, labels, start, time_grid(STEPS)
    )
    *_, samples = walk
    new = _network(DensityRatio)
    _seconds(train_density_ratio(*points, samples, labels, JUDGING, new, generator=generator))
    return new, time.process_time() - began


def _best(model: Model, judge: Exam, settings: Iterable, sampler: Callable) -> dict[str, Any]:
    """The setting whose samples are nearest to the data, and what a sample costs with it."""
    tried = []
    for setting in settings:
        counted = Counted(model)
        distance = judge(sampler(counted, setting))
        tried.append((distance, counted.rows / len(judge.labels), setting))
    distance, evaluations, setting = min(tried, key=lambda entry: entry[0])
    return {"distance": distance, "evaluations": evaluations, "setting": setting}


def _network(kind: type) -> torch.nn.Module:
    """A fresh network of points in the plane with four classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(2, 4)


def _seconds(states: Iterable) -> float:
    """Exhaust a training; the CPU seconds that it took."""
    began = time.process_time()
    deque(states, maxlen=0)
    return time.process_time() - began


def _trained_on(points: tuple[Tensor, Tensor], judge: Exam, seed: int) -> dict[str, Any]:
    """The short base, fine-tuned for `MORE` more updates: for who may touch the base."""
    model = guidance_bases.fresh("points", guidance_bases.POINTS["network"], seed)
    for _ in training_of(model, "points", "short", seed):
        pass
    recipe, generator = guidance_bases.POINTS, torch.Generator().manual_seed(2000 + seed)
    began = time.process_time()
    for _ in fine_tune(model, *points, MORE, recipe["fine_tuning"]["learning_rate"], recipe["batch_size"], generator):
        pass
    seconds = time.process_time() - began
    return {"distance": judge.of(model, 0.0), "evaluations": STEPS, "seconds": seconds, "setting": f"{MORE} updates"}


def _from_scratch(points: tuple[Tensor, Tensor], seed: int) -> ConditionalDenoiser:
    """An ordinary young network: classes from the beginning, a tenth of them dropped, stopped early."""
    model, generator = (
        guidance_bases.fresh("points", guidance_bases.POINTS["network"], seed),
        torch.Generator().manual_seed(3000 + seed),
    )
    rows = torch.arange(len(points[0]))

    def loss(model: ConditionalDenoiser) -> Tensor:
        chosen = draw_batch(rows, 256, generator)
        return velocity_loss(model, points[0][chosen], points[1][chosen], 0.1, generator)

    for _ in train(model, loss, SCRATCH, 0.002, generator=generator):
        pass
    return model.requires_grad_(False)


# --- losses -------------------------------------------------------------------------------------------------------

LOSSES: dict[str, dict[str, Any]] = {
    "self-consistency": {},
    "square, shared noise": {"loss": shared_noise_loss},
    "square, independent noise": {"beta": 2.0, "lam": 0.0},
}
FEW = (3, 5, 10, 20)


def compare_losses(seeds: tuple[int, ...] = SEEDS, n: int = 1000) -> None:
    """What each loss teaches, stored as "03_losses".

    "exact": weights that may be negative, learned for the exact model, by number of sampling steps; "signed constants" are
    the best of a grid from -0.4 to 0.2. "short" and "long": the usual weights for both bases, 20 steps.
    """
    law = long_tailed_law()
    constants = [round(-0.4 + 0.05 * place, 2) for place in range(13)]
    data: dict[str, Any] = {"seeds": seeds, "steps": FEW, "exact": {}, "short": {}, "long": {}, "floor": floor(law, n)}
    for seed in tqdm(seeds, desc="losses"):
        session, judge = Session("lesson", seed, torch.device("cpu")), exam(law, seed, n)
        fresh = law.sample_labelled(4000, torch.Generator().manual_seed(9000 + seed))
        learned = {"unguided": 0.0}
        learned |= {name: learned_weights(law, fresh, session, "signed", **kind) for name, kind in LOSSES.items()}
        for name, weight in learned.items():
            data["exact"].setdefault(name, []).append([judge.of(law, weight, steps) for steps in FEW])
        best = [min(judge.of(law, weight, steps) for weight in constants) for steps in FEW]
        data["exact"].setdefault("best signed constant", []).append(best)
        for stage in guidance_bases.STAGES:
            model, points = base("points", stage, session), training_set("points", seed)
            data[stage].setdefault("unguided", []).append(judge.of(model, 0.0))
            for name, kind in LOSSES.items():
                distance = judge.of(model, learned_weights(model, points, session, **kind))
                data[stage].setdefault(name, []).append(distance)
    results.store("03_losses", data, SOURCES, COMMAND)


# --- rewards ------------------------------------------------------------------------------------------------------

STRENGTHS = {
    "like its class": (0.0, 0.02, 0.04, 0.05, 0.06, 0.08, 0.12, 0.2, 0.5, 1.0),
    "far out": (0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3, 1.0),
}
HELD = (0.0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.5, 4.0, 6.0)
HALF = (0.0, 1.0, 4.0)


def rewards(law: LabelledMixture) -> dict[str, Reward]:
    """The two rewards that are followed to their tilted laws."""
    return {"like its class": alignment(law), "far out": far_out}


def rewarded_weights(reward: Reward, reward_weight: float, session: Session) -> learned_guidance.GuidanceWeights:
    """Weights learned for the exact model of the overlapping classes, with a reward."""
    law = overlapping_law().to(session.device)
    fresh = law.sample_labelled(4000, torch.Generator(session.device).manual_seed(8000 + session.seed))
    return learned_weights(law, fresh, session, reward=reward, reward_weight=reward_weight, beta=1.5)


def compare_rewards(seeds: tuple[int, ...] = SEEDS, n: int = 800, steps: int = 40) -> None:
    """Reward against the exactly tilted laws of equal reward, stored as "03_rewards"; means over classes.

    "half": a reward for lying to the right, each class by itself.
    """
    law = overlapping_law()
    data: dict[str, Any] = {"seeds": seeds, "strengths": STRENGTHS, "constants": HELD, "half": HALF, "rows": {}}
    for seed in tqdm(seeds, desc="rewards"):
        session, judge = Session("lesson", seed, torch.device("cpu")), exam(law, seed, n)
        held = [judge.sample(law, weight, steps) for weight in HELD]

        def earned(reward: Reward, strengths: Sequence[float], judge: Exam = judge, session: Session = session):
            return [judge.sample(law, rewarded_weights(reward, strength, session), steps) for strength in strengths]

        for name, reward in rewards(law).items():
            tilts = [TiltedLaw(law, label, reward) for label in range(law.num_classes)]
            for kind, clouds in (("constant weight", held), ("learned weight", earned(reward, STRENGTHS[name]))):
                rows = [_means(against_tilt(tilts, points, judge.labels)) for points in clouds]
                data["rows"].setdefault(name, {}).setdefault(kind, []).append(rows)
        sides = [TiltedLaw(law, label, right_half) for label in range(law.num_classes)]
        rows = [against_tilt(sides, points, judge.labels) for points in earned(right_half, HALF)]
        data["rows"].setdefault("half", []).append(rows)
    results.store("03_rewards", data, SOURCES, COMMAND)


def _means(rows: dict[str, list[float]]) -> dict[str, float]:
    return {name: mean(values) for name, values in rows.items()}


# --- digits -------------------------------------------------------------------------------------------------------

DIGIT_CONSTANTS = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.4)
DIGIT_REWARDS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)


class DigitExams:
    """Pixels and features: two exams of the same digits, and the judge's own reading of them."""

    def __init__(self, session: Session, seed: int = 0, n: int = 100) -> None:
        classifier = judges.judge("digits", Session("lesson", 0, session.device)).classifier
        held_out, labels = images.digits("test")
        self.classifier, rows = classifier, held_out.flatten(1).to(session.device)
        wanted = torch.arange(10, device=session.device).repeat_interleave(n)
        generator = torch.Generator(session.device).manual_seed(5000 + seed)
        start = torch.randn(len(wanted), 64, generator=generator, device=session.device)
        own = [rows[labels.to(session.device) == label] for label in range(10)]
        self.pixels = Exam(wanted, start, own)
        self.features = Exam(wanted, start, [self._features(some) for some in own], self._features)

    @torch.no_grad()
    def _features(self, rows: Float[Tensor, "n 64"]) -> Float[Tensor, "n p"]:
        return self.classifier.features(rows.reshape(-1, 1, 8, 8).clamp(-1, 1))

    @torch.no_grad()
    def __call__(self, points: Float[Tensor, "n 64"]) -> dict[str, float]:
        """Both distances, and the share of digits that the judge's classifier reads as the class asked for."""
        read = self.classifier.head(self._features(points)).argmax(1)
        right = (read == self.pixels.labels).double().mean().item()
        return {"pixels": self.pixels(points), "features": self.features(points), "read": right}

    def sample(self, model: Model, weight: Any) -> Float[Tensor, "n 64"]:
        return self.pixels.sample(model, weight)


def digit_reward(points: tuple[Float[Tensor, "n 64"], Int[Tensor, " n"]], session: Session) -> Reward:
    """The reward `log p(class | x)` of a small classifier of the labelled training digits; the judge is another one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(session.seed)
        network = MLP(64, 10, width=64, depth=2).to(session.device)
    generator, (pixels, labels) = session.generator(33), points
    rows = torch.arange(len(pixels), device=pixels.device)

    def loss(network: MLP) -> Tensor:
        chosen = draw_batch(rows, 128, generator)
        blurred = pixels[chosen] + 0.4 * torch.randn(pixels[chosen].shape, generator=generator, device=pixels.device)
        return torch.nn.functional.cross_entropy(network(blurred), labels[chosen])

    for _ in train(network, loss, session.pick(smoke=20, lesson=400), generator=generator):
        pass
    network.requires_grad_(False)
    return lambda x0, labels: network(x0).log_softmax(1).gather(1, labels[:, None])[:, 0]


def compare_digits(seeds: Sequence[int] = SEEDS) -> None:
    """Digits by class: constants, the learned weight and rewards, judged in pixels and in features; "03_digits"."""
    data: dict[str, Any] = {"seeds": seeds, "constants": DIGIT_CONSTANTS, "rewards": DIGIT_REWARDS}
    data |= {"constant": [], "learned": [], "floor": _digit_floor()}
    for seed in tqdm(seeds, desc="digits"):
        session = Session("lesson", seed, torch.device("cpu"))
        exams, points = DigitExams(session, seed), training_set("digits", seed)
        model = guidance_bases.fresh("digits", guidance_bases.DIGITS["network"], seed)
        for _ in training_of(model, "digits", "short", seed):
            pass
        model.requires_grad_(False)
        data["constant"].append([exams(exams.sample(model, weight)) for weight in DIGIT_CONSTANTS])
        reward, rows = digit_reward(points, session), []
        for strength in DIGIT_REWARDS:
            weights = learned_weights(model, points, session, reward=reward, reward_weight=strength)
            rows.append(exams(exams.sample(model, weights)))
        data["learned"].append(rows)
    results.store("03_digits", data, SOURCES, COMMAND)


def _digit_floor(repeats: int = 20) -> dict[str, float]:
    """Standard deviation of both distances between real digits: the training split, as many of each class as are held out."""
    exams, (pictures, labels) = DigitExams(Session("lesson", 0, torch.device("cpu"))), images.digits("train")
    generator, found = torch.Generator().manual_seed(4000), {"pixels": [], "features": []}
    for _ in range(repeats):
        drawn = []
        for label, own in enumerate(exams.pixels.references):
            rows = pictures.flatten(1)[labels == label]
            drawn.append(rows[torch.randperm(len(rows), generator=generator)[: len(own)]])
        wanted = torch.repeat_interleave(torch.arange(10), torch.tensor([len(own) for own in drawn]))
        for name, judge in (("pixels", exams.pixels), ("features", exams.features)):
            found[name].append(Exam(wanted, judge.start, judge.references, judge.view)(torch.cat(drawn)))
    return {name: torch.tensor(values).std().item() for name, values in found.items()}
