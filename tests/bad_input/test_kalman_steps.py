"""The Kalman filter keeps a covariance for 100,000 steps on the worst of rows.

It is bad input that must not be refused; and without the type-checking hook so many steps take a third of the time.
"""

import pytest
import torch

from companion.methods.kalman import KalmanHead
from tests.hard_rows import badly_conditioned, each_hard, least


@pytest.mark.slow
@each_hard
@pytest.mark.parametrize(
    ("dtype", "eras"), [(torch.float64, 100), (torch.float32, 20)], ids=["double", "single by its root"]
)
def test_it_is_a_covariance_after_many_thousand_steps(dtype, eras, gamma, noise):
    m, b = 16, 4
    head = KalmanHead(m, 1, 1.0, noise, gamma, dtype=dtype)
    plane = torch.randn(3, m, generator=torch.Generator().manual_seed(0), dtype=dtype)
    targets = torch.zeros(b, 1, dtype=dtype)
    for era in range(eras):
        for features in badly_conditioned(1000 * b, m, dtype, era + 1, plane).split(b):
            head.update(features, targets)
        assert least(head) > 0
        covariance = head.covariance
        assert (covariance - covariance.T).abs().max() <= 1e-13
        assert covariance.diagonal().max() <= 1 + 1e-5
    assert head.status == 0
    assert not head.mean.any()
