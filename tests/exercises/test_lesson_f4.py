"""Every check of foundation f4 lets the solution pass, and each property catches a wrong answer that people give."""

import math

import torch

from companion.foundations.linear import ridge
from companion.teaching.checks import check
from companion.teaching.checks.lesson_f4.release import absorbed

# f4.1


def silence(settled=0.1, faded=0.01 * 0.9**-20, drifted=1 - 0.9**20 * 0.99, passed=43.7):
    return {"settled": settled, "faded": faded, "drifted": drifted, "passed": passed}


# f4.2


def release(mean, covariance, feature, target, noise_variance, out=1.0, of_mean=-1.0, inside=-1.0, noise=lambda s: s):
    """The solution, with other signs and another noise on request."""
    reach = covariance @ feature.T
    gain = reach / (noise(noise_variance) + inside * feature @ reach)
    return mean + of_mean * gain @ (target - feature @ mean), covariance + out * gain @ reach.T


def releasing(**mistake):
    return lambda *row: release(*row, **mistake)


def release_by_negative_noise(mean, covariance, feature, target, noise_variance):
    return absorbed(mean, covariance, feature, target, -noise_variance)


def release_by_vectors(mean, covariance, feature, target, noise_variance):
    phi = feature[0]
    reach = covariance.mv(phi)
    step = reach / (noise_variance - phi.dot(reach))
    return [mean - torch.outer(step, target[0] - phi @ mean), covariance + torch.outer(step, reach)]


def release_by_information(mean, covariance, feature, target, noise_variance):
    before = torch.linalg.inv(covariance)
    information = before - feature.T @ feature / noise_variance
    after = torch.linalg.inv(information)
    return after @ (before @ mean - feature.T @ target / noise_variance), after


def release_by_solve(mean, covariance, feature, target, noise_variance):
    left = torch.eye(len(mean), dtype=mean.dtype) - covariance @ feature.T @ feature / noise_variance
    after = torch.linalg.solve(left, covariance)
    return mean - after @ feature.T @ (target - feature @ mean) / noise_variance, after


def release_in_place(mean, covariance, feature, target, noise_variance):
    after, doubt = release(mean, covariance, feature, target, noise_variance)
    mean.copy_(after)
    return mean, doubt


def release_along_phi(mean, covariance, feature, target, noise_variance):
    """The mean moves along the feature, by as much as one weight would."""
    size = (feature @ feature.T).item()
    spread = (feature @ covariance @ feature.T).item()
    step = feature.T * spread / size / (noise_variance - spread)
    doubt = release(mean, covariance, feature, target, noise_variance)[1]
    return mean - step @ (target - feature @ mean), doubt


def release_variances(mean, covariance, feature, target, noise_variance):
    after, doubt = release(mean, covariance, feature, target, noise_variance)
    return after, doubt.diagonal().diag()


def release_by_an_old_gain(mean, covariance, feature, target, noise_variance):
    """With the gain by which the row came in."""
    doubt = release(mean, covariance, feature, target, noise_variance)[1]
    return mean - covariance @ feature.T / noise_variance @ (target - feature @ mean), doubt


def release_targets(mean, covariance, feature, target, noise_variance):
    doubt = release(mean, covariance, feature, target, noise_variance)[1]
    return mean - doubt @ feature.T / noise_variance @ target, doubt


WRONG = [
    ("f4.1", "the information", silence(settled=10), "rows remembered"),
    ("f4.1", "before the row", silence(settled=0.1 / 0.9), "rows remembered"),
    ("f4.1", "no variance left", silence(settled=0), "rows remembered"),
    ("f4.1", "the share", silence(settled=0.9), "rows remembered"),
    ("f4.1", "surer in silence", silence(faded=0.01 * 0.9**20), "doubt grows"),
    ("f4.1", "as it was", silence(faded=0.01), "doubt grows"),
    ("f4.1", "a sum", silence(faded=0.01 * (1 + 20 / 9)), "a power, not a sum"),
    ("f4.1", "twice the power", silence(faded=0.01 * 0.9**-40), "a power, not a sum"),
    ("f4.1", "one step too few", silence(faded=0.01 * 0.9**-19), "a power, not a sum"),
    ("f4.1", "noise upon noise", silence(drifted=0.01 + 20 * 0.1), "back to the prior"),
    ("f4.1", "shrunk", silence(drifted=0.01 * 0.9**20), "back to the prior"),
    ("f4.1", "arrived", silence(drifted=1), "back to the prior"),
    ("f4.1", "gamma for its square", silence(drifted=1 - 0.9**40 * 0.99), "what has been learned"),
    ("f4.1", "what is left for what it is", silence(drifted=0.9**20 * 0.99), "what has been learned"),
    ("f4.1", "the same as fading", silence(drifted=0.01 * 0.9**-20), "what has been learned"),
    ("f4.1", "a sign", silence(passed=-43.7), "past the prior"),
    ("f4.1", "two logarithms", silence(passed=-2 / math.log(0.9)), "past the prior"),
    ("f4.1", "never", silence(passed=1e6), "past the prior"),
    ("f4.1", "linear", silence(passed=99 * 9), "past the prior"),
    ("f4.1", "a word", silence(passed="never"), "type"),
    ("f4.1", "a list", [0.1, 0.08, 0.88, 44], "type"),
    ("f4.2", "the mean alone", lambda *row: release(*row)[0], "two things"),
    (
        "f4.2",
        "variances alone",
        lambda *row: (release(*row)[0], release(*row)[1].diagonal()),
        "a mean and a covariance",
    ),
    ("f4.2", "double", lambda *row: tuple(part.double() for part in release(*row)), "a mean and a covariance"),
    ("f4.2", "absorbed once more", absorbed, "doubt comes back"),
    ("f4.2", "the mean only", lambda *row: (release(*row)[0], row[1]), "doubt comes back"),
    ("f4.2", "a minus outside", releasing(out=-1.0), "doubt comes back"),
    ("f4.2", "the old denominator", releasing(inside=1.0), "how much doubt"),
    ("f4.2", "no denominator", releasing(inside=0.0), "how much doubt"),
    ("f4.2", "noise squared", releasing(noise=lambda s: s**2 + 1), "how much doubt"),
    ("f4.2", "the mean stays", releasing(of_mean=0.0), "the mean goes back"),
    ("f4.2", "towards the target", releasing(of_mean=1.0), "the mean goes back"),
    ("f4.2", "the old gain", release_by_an_old_gain, "the mean goes back"),
    ("f4.2", "targets for surprise", release_targets, "the mean goes back"),
    ("f4.2", "along phi", release_along_phi, "in every direction"),
    ("f4.2", "no correlations", release_variances, "in every direction"),
    ("f4.2", "two inverses", release_by_information, "no large system"),
    ("f4.2", "a solve", release_by_solve, "no large system"),
    ("f4.2", "in place", release_in_place, "inputs untouched"),
    ("f4.2", "a number", 0.5, "type"),
]

RIGHT = [
    ("f4.1", silence()),
    ("f4.1", silence(settled=torch.tensor(0.1), faded=0.0823, drifted=0.88, passed=44)),
    ("f4.2", release),
    ("f4.2", release_by_negative_noise),
    ("f4.2", release_by_vectors),
]


def test_stubs_are_not_attempted():
    assert check("f4.1", ...).status == "not attempted"
    assert check("f4.2", lambda *row: ...).status == "not attempted"


def test_an_exception_in_an_answer_is_an_error():
    assert check("f4.2", lambda *row: row[0] @ row[0]).status == "error"


def test_released_rows_leave_the_ridge_of_the_others_in_any_order():
    generator = torch.Generator().manual_seed(0)
    features, targets = torch.randn(12, 7, generator=generator, dtype=torch.float64).split([4, 3], dim=1)
    mean, covariance = torch.zeros(4, 3, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    for row in range(12):
        mean, covariance = absorbed(mean, covariance, features[row, None], targets[row, None], 0.3)
    for row in (5, 0, 9):
        mean, covariance = release(mean, covariance, features[row, None], targets[row, None], 0.3)
    rest = [row for row in range(12) if row not in (5, 0, 9)]
    assert torch.allclose(mean, ridge(features[rest], targets[rest], 0.3), atol=1e-10)


def test_the_numbers_of_the_silence_are_those_of_the_steps():
    settled = faded = drifted = 0.01
    for _ in range(200):
        settled = 1 / (0.9 / settled + 1)
    for _ in range(20):
        faded, drifted = faded / 0.9, 0.9 * drifted + 0.1
    assert check("f4.1", silence(settled, faded, drifted)).status == "right"
