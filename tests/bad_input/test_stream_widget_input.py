"""The live widget of a labelled stream says in one sentence which argument has the wrong type."""

import pytest
import torch

from companion.data.streams import Stream, moving_classes
from companion.teaching.widgets import live_stream
from companion.teaching.widgets.stream import plane_bumps

STREAM = moving_classes(20, "none", generator=torch.Generator().manual_seed(0))
POINTS, LABELS, _ = STREAM


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"streams": [STREAM]}, "streams is a list, but must be a dict of names and streams"),
        ({"streams": {1: STREAM}}, "a stream's name is 1, but must be a text"),
        ({"streams": {"s": (POINTS, LABELS)}}, r"streams\['s'\] is a tuple, but must be a companion.data.streams.Stream"),
        ({"streams": {"s": Stream(POINTS.numpy(), LABELS)}}, r"streams\['s'\].features is a ndarray, but must be a torch"),
        ({"streams": {"s": Stream(POINTS.long(), LABELS)}}, r"streams\['s'\].features is a tensor of torch.int64"),
        ({"streams": {"s": Stream(POINTS, LABELS.double())}}, r"streams\['s'\].labels is a tensor of torch.float64"),
        ({"streams": {"s": Stream(POINTS, LABELS, (2.5,))}}, r"each of streams\['s'\].changes is 2.5, but must be a whole"),
        ({"noise": [[0.0, 1.0]]}, "noise is a list, but must be a torch.Tensor"),
        ({"noise": torch.zeros(4, 3, dtype=torch.int64)}, "noise is a tensor of torch.int64, but must be a tensor of a floating"),
        ({"half_width": "3"}, "half_width is '3', but must be a number"),
        ({"side": 6.0}, "side is 6.0, but must be a whole number"),
        ({"width": "narrow"}, "width is 'narrow', but must be a number"),
        ({"weight_variance": None}, "weight_variance is None, but must be a number"),
        ({"noise_variance": True}, "noise_variance is True, but must be a number"),
        ({"alpha": "5"}, "alpha is '5', but must be a number"),
        ({"alpha_rate": None}, "alpha_rate is None, but must be a number"),
        ({"gamma_rates": (1e-4, "1")}, "each of gamma_rates is '1', but must be a number"),
        ({"gammas": (0.99, None)}, "each of gammas is None, but must be a number"),
        ({"learned": 1}, "learned is 1, but must be True or False"),
        ({"title": None}, "title is a NoneType, but must be a text"),
        ({"alt": 3}, "alt is a int, but must be a text"),
    ],
)  # fmt: skip
def test_it_refuses_wrong_types(words, sentence):
    usual = {"streams": {"s": STREAM}, "noise": torch.zeros(4, 3), "title": "t", "alt": "a"}
    usual |= words
    with pytest.raises(TypeError, match=sentence):
        live_stream(usual.pop("streams"), usual.pop("noise"), **usual)


def test_bumps_refuse_wrong_points():
    with pytest.raises(TypeError, match="points is a list, but must be a torch.Tensor"):
        plane_bumps([[0.0, 1.0]])
    with pytest.raises(ValueError, match=r"points is of shape \(3,\), but must be points in the plane, \(..., 2\)"):
        plane_bumps(torch.zeros(3))
