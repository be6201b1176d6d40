"""Verifications that look right and are not, for lesson 02 and its exercises.

>>> sorted(wrong_couplings(torch.Generator()))
['accept everything', 'redraw after a rejection', 'wrong sign']
"""

import torch

from companion.foundations.diffusion import expand_time
from companion.methods.speculative import Coupling, reflection_coupling


def wrong_couplings(generator: torch.Generator) -> dict[str, Coupling]:
    """Three ways to get the verification wrong, each called as `reflection_coupling`.

    Accept everything; on a rejection draw afresh from the target instead of reflecting; the wrong sign before
    the inner product.
    """

    def accept_all(draft, draft_mean, target_mean, std, uniform):
        never_reject = torch.zeros_like(uniform)  # log 0 is below any ratio
        return reflection_coupling(draft, draft_mean, target_mean, std, never_reject)

    def redraw(draft, draft_mean, target_mean, std, uniform):
        value, accepted = reflection_coupling(draft, draft_mean, target_mean, std, uniform)
        noise = torch.randn(draft.shape, generator=generator, dtype=draft.dtype, device=draft.device)
        fresh = target_mean + expand_time(std, draft) * noise
        return torch.where(expand_time(accepted, draft), value, fresh), accepted

    def wrong_sign(draft, draft_mean, target_mean, std, uniform):
        # the ratio of a draft mirrored at its mean has <z, D> in the place of -<z, D>
        mirrored = 2 * draft_mean - draft
        _, accepted = reflection_coupling(mirrored, draft_mean, target_mean, std, uniform)
        keep_or_not = torch.where(accepted, 0.0, torch.inf)  # below any ratio, or above
        return reflection_coupling(draft, draft_mean, target_mean, std, keep_or_not)

    return {"accept everything": accept_all, "redraw after a rejection": redraw, "wrong sign": wrong_sign}
