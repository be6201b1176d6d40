"""The live witness says in one sentence which argument has the wrong type."""

import pytest
import torch

from companion.methods.mmd_flow import FeatureMLP, NoiseConditionalWitness
from companion.teaching.widgets import live_witness


def remembering(network=None):
    witness = NoiseConditionalWitness(FeatureMLP(2, 4, 8) if network is None else network)
    witness.remember(cloud(20))
    return witness


def cloud(n):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0))


class Other(torch.nn.Linear):
    num_features = 2

    def forward(self, x, position):
        return super().forward(x)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"witness": FeatureMLP(2)}, "witness is a FeatureMLP, but must be a NoiseConditionalWitness"),
        ({"witness": remembering(Other(2, 2))}, "witness is over a Other, but must be over a FeatureMLP"),
        ({"starts": cloud(20)}, "starts is a Tensor, but must be a mapping of names to particles"),
        ({"starts": {"near": [[0.0, 0.0]]}}, "near is a list, but must be a torch.Tensor"),
        ({"data": [[0.0, 0.0]]}, "data is a list, but must be a torch.Tensor"),
        ({"step_choices": (0.1, "0.2")}, "each of step_choices is '0.2', but must be a number"),
        ({"levels": 2.5}, "levels is 2.5, but must be a whole number"),
        ({"position": None}, "position is None, but must be a number"),
        ({"limit": "wide"}, "limit is 'wide', but must be a number"),
        ({"title": None}, "title is a NoneType, but must be a text"),
        ({"alt": 3}, "alt is a int, but must be a text"),
    ],
)
def test_it_refuses_wrong_types(words, sentence):
    usual = {"witness": remembering(), "starts": {"noise": cloud(20)}, "data": cloud(30), "title": "t", "alt": "a"}
    with pytest.raises(TypeError, match=sentence):
        live_witness(**{**usual, **words})
