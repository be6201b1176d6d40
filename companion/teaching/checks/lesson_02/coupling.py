"""Exercise 02.3: the reflection coupling, Algorithm 4."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from companion.methods.speculative import reflection_coupling
from companion.teaching.checks.answers import (
    NotYet,
    StudentFunction,
    describe,
    expect,
    expect_close,
    expect_tensor,
    normal,
    read_function,
    uniform,
)
from companion.teaching.checks.framework import exercise


class Drafts(NamedTuple):
    """What a coupling is called with."""

    draft: Tensor
    draft_mean: Tensor
    target_mean: Tensor
    std: Tensor
    uniform: Tensor


class Couple:
    """The student's coupling, called with drafts and refused unless it answers with a pair."""

    def __init__(self, function: StudentFunction) -> None:
        self.function = function

    def __call__(self, drafts: Drafts) -> tuple[Tensor, Tensor]:
        answer = self.function(*drafts)
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise NotYet(f"Expected a pair, value and accepted; got {describe(answer)}.", "type")
        return tuple(answer)


@exercise(
    "02.3",
    "The reflection coupling",
    difficulty=4,
    minutes=15,
    equation="Algorithm 4",
    takeaway="Every draft leaves as an exact draw of the target, and no coupling keeps more of them: this is the line on which the whole sampler rests.",
)
def couple(answer: object) -> Couple:
    return Couple(read_function(answer, "couple(draft, draft_mean, target_mean, std, uniform)"))


def _drafts(
    generator: torch.Generator, n: int = 200, dim: int = 3, distance: float = 1.5, dtype: torch.dtype = torch.float64
) -> Drafts:
    """Drafts whose means miss by about `distance` standard deviations, another std in each row."""
    std = 0.3 + 2 * torch.rand(n, generator=generator, dtype=torch.float64)
    target_mean, direction = normal(generator, n, dim), torch.nn.functional.normalize(normal(generator, n, dim), dim=1)
    draft_mean = target_mean + uniform(generator, 0.8, 1.2) * distance * std[:, None] * direction
    draft = draft_mean + std[:, None] * normal(generator, n, dim)
    drawn = torch.rand(n, generator=generator, dtype=torch.float64)
    return Drafts(*(part.to(dtype) for part in (draft, draft_mean, target_mean, std, drawn)))


def _standard(drafts: Drafts) -> tuple[Tensor, Tensor]:
    """z and D, (n, d): the noise of the drafts, and how far their means miss, in standard deviations."""
    std = drafts.std[:, None]
    return (drafts.draft - drafts.draft_mean) / std, (drafts.draft_mean - drafts.target_mean) / std


def _is_rule(couple: Couple, generator: torch.Generator, rule: Callable[[Tensor, Tensor, Tensor], Tensor]) -> bool:
    """Whether the student accepts just as `rule(<z, D>, |D|^2, uniform)` does, on drafts where that is not right."""
    drafts = _drafts(generator, n=400)
    z, gap = _standard(drafts)
    along, square = (z * gap).sum(1), gap.square().sum(1)
    wrong, right = rule(along, square, drafts.uniform), drafts.uniform.log() <= -along - square / 2
    accepted = couple(drafts)[1]
    return bool((accepted == wrong).all() and (wrong != right).any())


@couple.requires(
    "one decision a row",
    "A draft is kept or rejected as a whole. With a decision for each coordinate the acceptances multiply, and in "
    "many dimensions next to nothing would be kept.",
)
def _(couple: Couple, generator: torch.Generator) -> None:
    drafts = _drafts(generator)
    _, accepted = couple(drafts)
    several = isinstance(accepted, torch.Tensor) and accepted.shape == drafts.draft.shape
    expect(not several, f"accepted has shape {tuple(drafts.draft.shape)}, one for each coordinate")


@couple.requires(
    "shapes", "Return the values, in shape and dtype of the drafts, and which rows kept their draft, a row of booleans."
)
def _(couple: Couple, generator: torch.Generator) -> None:
    for n, dim, dtype in ((7, 3, torch.float64), (5, 2, torch.float32)):
        value, accepted = couple(_drafts(generator, n, dim, dtype=dtype))
        expect_tensor(value, (n, dim), dtype, "value")
        fits = isinstance(accepted, torch.Tensor) and accepted.shape == (n,) and accepted.dtype == torch.bool
        expect(fits, f"Expected accepted to be a boolean tensor of shape ({n},); got {describe(accepted)}")


@couple.requires(
    "kept as drafted", "A draft that is kept leaves as it came: it is already a draw of both laws at once."
)
def _(couple: Couple, generator: torch.Generator) -> None:
    drafts = _drafts(generator)
    value, accepted = couple(drafts)
    expect_close(value[accepted], drafts.draft[accepted], 1e-9, "a coordinate of a kept draft")


@couple.requires(
    "std of each row",
    "Measured in other units, another one for each row, the same drafts must be kept. Divide both the noise and the "
    "gap of the means by the std of their row, `std[:, None]`.",
)
def _(couple: Couple, generator: torch.Generator) -> None:
    drafts = _drafts(generator, n=400)
    units = 0.2 + 5 * torch.rand(400, generator=generator, dtype=torch.float64)
    other = Drafts(*(units[:, None] * part for part in drafts[:3]), units * drafts.std, drafts.uniform)
    changed = (couple(drafts)[1] != couple(other)[1]).sum().item()
    expect(changed == 0, f"{changed} of 400 decisions change with the units")


@couple.requires(
    "sign of the cross term",
    "You keep the drafts that lie on the far side, away from the target, and reject those that lie nearer to it. z "
    "is measured from the draft's mean, so at z = -D the draft sits on the target's mean: there the ratio is "
    "exp(|D|^2/2), above 1, and the draft must be kept.",
)
def _(couple: Couple, generator: torch.Generator) -> None:
    expect(not _is_rule(couple, generator, lambda along, square, drawn: drawn.log() <= along - square / 2))


@couple.requires(
    "square of the gap",
    "The term in |D|^2 is not right: it must be -|D|^2/2. Write the exponents of the two densities at the draft, "
    "-|z + D|^2/2 and -|z|^2/2, and subtract.",
)
def _(couple: Couple, generator: torch.Generator) -> None:
    absent = _is_rule(couple, generator, lambda along, square, drawn: drawn.log() <= -along)
    expect(not absent, "you have no such term")
    whole = _is_rule(couple, generator, lambda along, square, drawn: drawn.log() <= -along - square)
    expect(not whole, "you have -|D|^2")


@couple.requires(
    "sum over dimensions",
    "You take the mean over the dimensions. The density of a vector is a product over its coordinates, so its "
    "logarithm is a sum: a mean keeps far too many drafts, the more the higher the dimension.",
)
def _(couple: Couple, generator: torch.Generator) -> None:
    expect(not _is_rule(couple, generator, lambda along, square, drawn: drawn.log() <= (-along - square / 2) / 3))


@couple.requires(
    "logarithm",
    "You compare `uniform` itself with a difference of logarithms. Take the logarithm of one or the exponential of "
    "the other.",
)
def _(couple: Couple, generator: torch.Generator) -> None:
    expect(not _is_rule(couple, generator, lambda along, square, drawn: drawn <= -along - square / 2))


@couple.requires(
    "acceptance",
    "A draft is kept where `uniform` is at most target density / draft density, both taken at the draft. Yours "
    "keeps others.",
)
def _(couple: Couple, generator: torch.Generator) -> None:
    for dim, distance in ((1, 0.5), (3, 1.5), (20, 2.5)):
        drafts = _drafts(generator, 400, dim, distance)
        _, accepted = couple(drafts)
        _, expected = reflection_coupling(*drafts)
        off = (accepted != expected).sum().item()
        kept, wanted = accepted.double().mean(), expected.double().mean()
        expect(off == 0, f"{off} of 400 decisions differ; you keep {kept:.2f}, expected {wanted:.2f}")


def _rejected(couple: Couple, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of rejected drafts in standard units: z, e, and the noise of the value about the target's and the draft's mean."""
    drafts = _drafts(generator, n=400, distance=2.0)
    value, accepted = couple(drafts)
    (z, gap), std = _standard(drafts), drafts.std[:, None]
    about_target, about_draft = (value - drafts.target_mean) / std, (value - drafts.draft_mean) / std
    e = torch.nn.functional.normalize(gap, dim=1)
    return tuple(part[~accepted] for part in (z, e, about_target, about_draft))


def _lengths_agree(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a.norm(dim=1), b.norm(dim=1))


@couple.requires(
    "no fresh draw",
    "Called twice with the same input, your coupling answers differently: it draws something. A fresh draw from the "
    "target after a rejection gives min(p, q) + (1 - share kept) q, which is not the target's law. Reflect the "
    "noise that the draft has.",
)
def _(couple: Couple, generator: torch.Generator) -> None:
    drafts = _drafts(generator)
    torch.manual_seed(0)  # whoever draws from the global stream must not get the same draw twice
    first = couple(drafts)[0]
    torch.manual_seed(1)
    expect_close(couple(drafts)[0], first, 1e-12, "at the second call, a coordinate")


@couple.requires(
    "around the target",
    "You reflect well, but add the result to the draft's mean: the value then has the draft's law with a dent. "
    "Reflected noise belongs to the target's mean.",
)
def _(couple: Couple, generator: torch.Generator) -> None:
    z, _, about_target, about_draft = _rejected(couple, generator)
    expect(not (_lengths_agree(about_draft, z) and not _lengths_agree(about_target, z)))


@couple.requires(
    "length kept",
    "A reflection keeps the length of the noise: (value - target_mean)/std is as long as z. If yours is shorter, "
    "you took the part along e away once, z - <e, z> e, which is its shadow on the plane. The mirror image lies "
    "twice as far: 2 <e, z> e.",
)
def _(couple: Couple, generator: torch.Generator) -> None:
    z, _, about_target, _ = _rejected(couple, generator)
    came, wanted = (noise.norm(dim=1).mean().item() for noise in (about_target, z))
    expect(_lengths_agree(about_target, z), f"the mean length is {came:.2f}, that of z is {wanted:.2f}")


@couple.requires(
    "along the gap",
    "The part of the noise along e must change its sign. Rejected drafts lie on the far side of the draft, where "
    "the target has enough already; their mirror images lie where it lacks some.",
)
def _(couple: Couple, generator: torch.Generator) -> None:
    z, e, about_target, _ = _rejected(couple, generator)
    expect_close((about_target * e).sum(1), -(z * e).sum(1), 1e-6, "the part along e")


@couple.requires(
    "across the gap",
    "The part of the noise across e must stay as it is: in those directions draft and target agree. Reflect in the "
    "plane across e, not every coordinate.",
)
def _(couple: Couple, generator: torch.Generator) -> None:
    z, e, about_target, _ = _rejected(couple, generator)
    across, expected = (noise - (noise * e).sum(1, keepdim=True) * e for noise in (about_target, z))
    expect_close(across, expected, 1e-6, "a coordinate of the part across e")


@couple.requires(
    "same means",
    "Where the two means agree every draft is right as it is, and e = D/|D| is 0/0. The first step of a frozen "
    "draft is just this case: divide by something that is not 0 there.",
)
def _(couple: Couple, generator: torch.Generator) -> None:
    drafts = _drafts(generator, n=50)
    agreeing = torch.arange(50) % 2 == 0
    drafts = drafts._replace(draft_mean=torch.where(agreeing[:, None], drafts.target_mean, drafts.draft_mean))
    value, accepted = couple(drafts)
    expect(value.isfinite().all(), "some values are not finite")
    expect(accepted[agreeing].all(), "some of these drafts are rejected")
    expect_close(value, reflection_coupling(*drafts)[0], 1e-6, "a coordinate")


@couple.requires(
    "many dimensions",
    "In thousands of dimensions both densities are 0 in floating point, and 0/0 decides nothing. Take the "
    "difference of their logarithms, in which the large |z|^2 cancels: -<z, D> - |D|^2/2.",
)
def _(couple: Couple, generator: torch.Generator) -> None:
    drafts = _drafts(generator, n=200, dim=4000)
    value, accepted = couple(drafts)
    expected = reflection_coupling(*drafts)
    off = (accepted != expected[1]).sum().item()
    expect(off == 0, f"{off} of 200 decisions differ")
    expect_close(value, expected[0], 1e-6, "a coordinate")
