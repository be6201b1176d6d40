"""Live widgets of speculative sampling: its coupling in one dimension, and one chain round by round.

Neither needs a network: the law's exact denoiser runs in the browser, and so do coupling and sampler.
"""

import traitlets
from torch import Tensor

from companion.foundations.mixtures import GaussianMixture
from companion.foundations.validation import Number, require, require_count, require_in
from companion.teaching.widgets.base import MOST_BYTES, Widget, as_points, float_bytes, plane_mixture, require_words

MOST_SHOWN = 400  # drafts of the coupling: more would hide the two densities


class LiveCoupling(Widget):
    """The widget that `live_coupling` makes."""

    draft_mean = traitlets.Float().tag(sync=True)
    target_mean = traitlets.Float().tag(sync=True)
    std = traitlets.Float().tag(sync=True)
    points = traitlets.Int().tag(sync=True)


class LiveSpeculation(Widget):
    """The widget that `live_speculation` makes."""

    law = traitlets.Dict().tag(sync=True)
    reference = traitlets.Bytes().tag(sync=True)
    step_choices = traitlets.List(traitlets.Int()).tag(sync=True)
    steps_index = traitlets.Int().tag(sync=True)
    windows = traitlets.List(traitlets.Int()).tag(sync=True)
    windows_index = traitlets.Int().tag(sync=True)
    churn = traitlets.Float().tag(sync=True)
    limit = traitlets.Float().tag(sync=True)


def live_coupling(
    *,
    title: str,
    alt: str,
    note: str = "",
    draft_mean: Number = -0.6,
    target_mean: Number = 0.6,
    std: Number = 0.7,
    points: int = 60,
) -> LiveCoupling:
    """The reflection coupling of two Gaussians on a line: drag them, see what is kept, what is mirrored and what results.

    Drafts are scattered evenly under the draft's density. Those in the overlap are kept; the others are mirrored
    half way between the means, where they fill what the overlap leaves of the target. Below, 2,000 results.

    Args:
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        draft_mean, target_mean: at the start, from -2 to 2.
        std: of both Gaussians at the start, from 0.2 to 1.2.
        points: drafts shown, 1 to 400.

    Raises:
        TypeError: a mean or std is no number, or points is no whole number.
        ValueError: one of them outside its range, or an empty title or alt.
    """
    require_words(title, alt)
    require_in("draft_mean", draft_mean, "[-2, 2]")
    require_in("target_mean", target_mean, "[-2, 2]")
    require_in("std", std, "[0.2, 1.2]")
    require_count("points", points, 1)
    require(points <= MOST_SHOWN, "points", points, f"at most {MOST_SHOWN}, or they hide the densities")
    return LiveCoupling(
        kind="coupling", title=title, alt=alt, note=note,
        draft_mean=float(draft_mean), target_mean=float(target_mean), std=float(std), points=points,
    )  # fmt: skip


def live_speculation(
    law: GaussianMixture,
    data: Tensor,
    *,
    title: str,
    alt: str,
    note: str = "",
    steps: int = 50,
    window: int = 8,
    churn: Number = 1.0,
    step_choices: tuple[int, ...] = (25, 50, 100),
    windows: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16),
    limit: Number = 3.0,
) -> LiveSpeculation:
    """One chain of speculative sampling, round by round, with the law's exact denoiser as the target.

    The sampler is `companion.methods.speculative.speculate` with a frozen prediction, in the browser: window, churn
    and steps are the reader's. Beside the chain stand its counts, and the staircase of steps done against rounds.

    Args:
        law: a mixture in the plane; its posterior mean is the target.
        data: points (m, 2), drawn behind in grey.
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        steps, window: at the start, one of `step_choices` and one of `windows`.
        churn: at the start, 0.1 to 1.
        step_choices, windows: of the sliders, whole numbers, at least 2 steps.
        limit: half-width of the plane shown.

    Raises:
        TypeError: law is no GaussianMixture, data no tensor, churn or limit no number, a choice no whole number.
        ValueError: law or data not in the plane, steps or window not among the choices, churn or limit out of range,
            more than 0.7 MB of data, or an empty title or alt.
    """
    require_words(title, alt)
    mixture = plane_mixture(law)
    for argument, choices, least in (("step_choices", step_choices, 2), ("windows", windows, 1)):
        for choice in choices:
            require_count(f"each of {argument}", choice, least)
    require(steps in step_choices, "steps", steps, f"one of {tuple(step_choices)}")
    require(window in windows, "window", window, f"one of {tuple(windows)}")
    require_in("churn", churn, "[0.1, 1]", ": the less fresh noise, the fewer drafts can be kept")
    require_in("limit", limit, "(0, inf)")
    reference = float_bytes(as_points(data, "data"))
    require(len(reference) <= MOST_BYTES, "data", f"{len(reference)} bytes", f"at most {MOST_BYTES}: fewer points")
    return LiveSpeculation(
        kind="speculation", title=title, alt=alt, note=note, law=mixture, reference=reference,
        step_choices=list(step_choices), steps_index=step_choices.index(steps),
        windows=list(windows), windows_index=windows.index(window), churn=float(churn), limit=float(limit),
    )  # fmt: skip
