"""What the tests of this folder share: seeded numbers, small constants, and how near two results must be."""

import numpy as np
import torch


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


def eye(size: int) -> torch.Tensor:
    return torch.eye(size, dtype=torch.float64)


def last(states):
    """The last state of a run."""
    *_, final = states
    return final


def weights_of(module: torch.nn.Module) -> torch.Tensor:
    """All that a module's state holds, in one row."""
    return torch.cat([value.detach().flatten() for value in module.state_dict().values()])


def doubles(packed: bytes) -> torch.Tensor:
    """The numbers that a widget carries in double precision."""
    return torch.from_numpy(np.frombuffer(packed, "<f8").copy())


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def assert_agree(got: list, expected: torch.Tensor, tolerance: float = 1e-8) -> None:
    """The browser's numbers are torch's, whatever their lists look like."""
    got = torch.tensor(got, dtype=torch.float64).view(expected.shape)
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)
