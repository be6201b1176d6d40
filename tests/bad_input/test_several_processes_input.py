"""What `share_rows` refuses before it starts; what it refuses on several processes is in tests/notebooks."""

import pytest
from torch import nn

from companion.foundations.several_processes import share_rows

LINE = nn.Linear(1, 1)


@pytest.mark.parametrize(
    ("model", "network", "error", "sentence"),
    [
        ("model", None, TypeError, "model is a str, but must be a torch.nn.Module."),
        (LINE, "network", TypeError, "network is a str, but must be a torch.nn.Module."),
        (LINE, nn.Linear(1, 1), ValueError, "network is another module, but must be model or a part of it."),
        (
            nn.Sequential(LINE, nn.BatchNorm1d(1)),
            None,
            ValueError,
            "network is with a BatchNorm1d, but must be without batch norm and without dropout.",
        ),
        (
            nn.Sequential(LINE, nn.Dropout()),
            None,
            ValueError,
            "network is with a Dropout, but must be without batch norm and without dropout.",
        ),
    ],
)
def test_share_rows_refuses(model, network, error, sentence):
    with pytest.raises(error) as refusal, share_rows(model, network):
        pass
    assert str(refusal.value) == sentence
