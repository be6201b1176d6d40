"""The live widget of a network that is pruned in the browser: what it carries, what it refuses, and that the browser prunes,
counts and answers as torch does."""

import copy
import math
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from agree import assert_agree, normal, seeded
from torch import nn

from companion.foundations.residual import ExpandedResidualNet
from companion.methods.pruning import count_flops, prune_filters, reestimate_batch_norm
from companion.teaching.widgets import live_pruned
from companion.teaching.widgets.base import MOST_BYTES
from companion.teaching.widgets.pruned import CRITERIA, RATIOS

EXAMPLE = torch.zeros(1, 1, 16, 16)
CHOICES = (0.0, 0.25, 0.5, 0.8)
IMAGES = normal(3, 1, 16, 16, seed=1, dtype=torch.float32)
CALIBRATION = normal(150, 1, 16, 16, seed=2, dtype=torch.float32) * torch.linspace(0.5, 2, 150).view(-1, 1, 1, 1)
NAMES, CLASSES = ["a disc", "a ring", "a star"], ["A", "B", "C", "disc", "ring", "star"]


def model_of(seed=0, classes=6, **sizes):
    """A network whose batch norms do something, and whose weights are none that half precision holds."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ExpandedResidualNet(num_classes=classes, **{"width": 4} | sizes)
    generator = seeded(seed)
    for each in model.modules():
        if isinstance(each, nn.BatchNorm2d):
            for value, low, high in (
                (each.weight, 0.5, 1.5),
                (each.bias, -0.5, 0.5),
                (each.running_mean, -0.5, 0.5),
                (each.running_var, 0.2, 2.0),
            ):
                value.data.uniform_(low, high, generator=generator)
    return model.eval()


MODEL = model_of()


def pruned(model=MODEL, images=IMAGES, names=NAMES, **words):
    usual = {"calibration": CALIBRATION, "classes": CLASSES, "title": "t", "alt": "a", "ratios": CHOICES}
    return live_pruned(model, images, names, **usual | words)


@cache
def usual():
    return pruned()


def rounded(model):
    """The network with the weights that travel."""
    model = copy.deepcopy(model)
    for each in model.parameters():
        each.data = each.data.half().float()
    return model


def wanted(model, ratio, criterion="l2", old=False, seed=0):
    """The network that a widget's controls stand for, by the lesson's own functions."""
    smaller = prune_filters(rounded(model), ratio, criterion, EXAMPLE, seeded(seed))
    if not old and ratio > 0:
        reestimate_batch_norm(smaller, CALIBRATION, len(CALIBRATION))
    return smaller


def asked(model, images=IMAGES):
    with torch.no_grad():
        return copy.deepcopy(model).double()(images.double())


def given(widget, images=IMAGES, **more):
    """What travels, as lists."""
    return {
        "sizes": widget.sizes,
        "weights": np.frombuffer(widget.weights, "<u2").tolist(),
        "norms": [np.frombuffer(each, "<f4").tolist() for each in widget.norms],
        "orders": widget.orders,
        "ratios": widget.ratios,
        "images": images.flatten(1),
    } | more


ASK = """
const whole = f.readConvNet(given.sizes, f.readHalves(Uint16Array.from(given.weights)), Float32Array.from(given.norms[0]));
return given.cases.map(({ criterion, place, old, masked }) => {
  const kept = f.keptFilters(given.orders[criterion], given.ratios[place]), cut = f.cutConvNet(whole, kept);
  const norms = Float32Array.from(given.norms[1 + criterion * given.ratios.length + place]);
  const smaller = old ? cut : f.setNorms(cut, norms);
  const network = masked ? f.maskConvNet(whole, smaller, kept) : smaller;
  const answers = given.images.map((image) => f.askConvNet(network, Float64Array.from(image)));
  return { kept, logits: answers.map(({ logits }) => Array.from(logits)), flops: answers[0].flops,
    hidden: Array.from(answers[0].hidden.values), side: answers[0].hidden.side };
});
"""


def cases_of(ratios=CHOICES):
    """Every setting of the controls."""
    settings = product(range(2), range(len(ratios)), (False, True), (False, True))
    return [dict(zip(("criterion", "place", "old", "masked"), each)) for each in settings]


# --- what it carries --------------------------------------------------------------------------------------------------


def test_it_carries_its_network_its_pictures_and_its_settings():
    widget = pruned(note="n", ratio=0.25, criterion="random")
    assert (widget.kind, widget.title, widget.alt, widget.note) == ("pruned", "t", "a", "n")
    assert (widget.names, widget.classes) == (NAMES, CLASSES)
    assert torch.equal(torch.frombuffer(bytearray(widget.images), dtype=torch.float32), IMAGES.flatten())
    assert widget.ratios == list(CHOICES)
    assert widget.ratios[widget.ratio_index] == 0.25
    assert widget.criteria[widget.criterion_index] == "random"
    assert widget.sizes == {
        "side": 16,
        "stem": 4,
        "blocks": [
            {"hidden": 16, "outputs": 4, "stride": 1, "shortcut": False},
            {"hidden": 16, "outputs": 4, "stride": 1, "shortcut": False},
            {"hidden": 32, "outputs": 8, "stride": 2, "shortcut": True},
            {"hidden": 32, "outputs": 8, "stride": 1, "shortcut": False},
        ],
        "classes": 6,
    }


def test_it_begins_with_half_of_the_weakest_filters_cut():
    widget = pruned()
    assert widget.ratios[widget.ratio_index] == 0.5
    assert widget.criteria[widget.criterion_index] == "l2"


def test_weights_travel_in_half_precision():
    sent = np.frombuffer(usual().weights, "<f2")
    parameters = [
        each for name, each in MODEL.named_parameters() if "norm" not in name and not name.startswith("stem.1")
    ]
    assert len(sent) == sum(each.numel() for each in parameters)
    assert sorted(sent) == sorted(torch.cat([each.detach().flatten() for each in parameters]).half().tolist())


def test_batch_norms_travel_as_what_they_multiply_by_and_what_they_add():
    sent = torch.frombuffer(bytearray(usual().norms[0]), dtype=torch.float32)
    for norm in (each for each in rounded(MODEL).modules() if isinstance(each, nn.BatchNorm2d)):
        size = norm.num_features
        scale, shift, sent = sent[:size], sent[size : 2 * size], sent[2 * size :]
        values = normal(5, size, 3, 3, dtype=torch.float32)
        torch.testing.assert_close(scale.view(-1, 1, 1) * values + shift.view(-1, 1, 1), norm.eval()(values))
    assert len(sent) == 0


def test_filters_are_ordered_as_the_lesson_prunes_them():
    widget = pruned(generator=seeded(5))
    assert len(widget.orders) == len(CRITERIA) == 2
    for criterion, orders in zip(CRITERIA, widget.orders):
        for ratio in CHOICES:
            smaller = wanted(MODEL, ratio, criterion, seed=5)
            for block, small, order in zip(rounded(MODEL).blocks, smaller.blocks, orders):
                kept = sorted(order[: small.conv1.out_channels])
                assert torch.equal(block.conv1.weight[kept], small.conv1.weight)


def test_the_random_order_is_that_of_the_generator_and_the_same_without_one():
    largest, drawn = usual().orders
    assert pruned(generator=seeded(0)).orders == [largest, drawn]
    others = pruned(generator=seeded(1)).orders
    assert others[0] == largest
    assert others[1] != drawn


def test_statistics_do_not_depend_on_the_order_of_the_pictures():
    mixed = pruned(calibration=CALIBRATION[torch.randperm(150, generator=seeded(3))])
    for one, other in zip(usual().norms, mixed.norms):
        torch.testing.assert_close(*(torch.frombuffer(bytearray(each), dtype=torch.float32) for each in (one, other)))


def test_the_model_is_left_as_it_is_and_its_mode_and_dtype_do_not_matter():
    model = copy.deepcopy(MODEL).double().train()
    before = copy.deepcopy(model.state_dict())
    widget = pruned(model, IMAGES.double(), calibration=CALIBRATION.double())
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert (widget.weights, widget.norms, widget.images) == (usual().weights, usual().norms, usual().images)


def test_a_network_that_was_pruned_before_can_be_shown(front):
    once = prune_filters(MODEL, 0.3, example=EXAMPLE)
    cases = [{"criterion": 0, "place": 2, "old": True, "masked": False}]
    (got,) = front(ASK, **given(pruned(once), cases=cases))
    assert_agree(got["logits"], asked(wanted(once, 0.5, old=True)), 1e-5)


def test_the_network_of_the_lesson_is_small_enough():
    widget = pruned(
        ExpandedResidualNet(num_classes=68),
        calibration=IMAGES[:2],
        classes=[str(place) for place in range(68)],
        ratios=RATIOS,
    )
    carried = len(widget.weights) + len(widget.images) + sum(map(len, widget.norms))
    assert len(widget.norms) == 1 + 2 * len(RATIOS)
    assert carried < 0.6 * MOST_BYTES


# --- the browser prunes, counts and answers as torch does ---------------------------------------------------------------


def test_logits_are_torchs_for_every_setting(front):
    widget = usual()
    answers = set()
    for case, got in zip(cases_of(), front(ASK, **given(widget, cases=cases_of()))):
        network = wanted(MODEL, CHOICES[case["place"]], CRITERIA[case["criterion"]], case["old"])
        assert_agree(got["logits"], asked(network), 1e-5)
        answers.add(tuple(round(value, 3) for value in got["logits"][0]))
    assert len(answers) == 1 + 2 * 3 * 2, "at ratio 0 all are the same, elsewhere none, but for masks"


def test_a_mask_gives_the_same_answer_and_saves_nothing(front):
    got = front(ASK, **given(usual(), cases=cases_of()))
    whole = count_flops(MODEL, EXAMPLE)
    for cut, masked in zip(got[::2], got[1::2]):
        assert cut["logits"] == masked["logits"], "to the last bit"
        assert masked["flops"] == whole


def test_a_mask_is_torchs(front):
    """Zeros in the place of filters and of what their batch norms add, in a network as large as before."""
    widget = usual()
    cases = [{"criterion": 0, "place": 3, "old": old, "masked": True} for old in (False, True)]
    for case, got in zip(cases, front(ASK, **given(widget, cases=cases))):
        masked = rounded(MODEL)
        for block, kept in zip(masked.blocks, got["kept"]):
            gone = [place for place in range(block.conv1.out_channels) if place not in kept]
            for value in (block.conv1.weight, block.norm1.weight, block.norm1.bias):
                value.data[gone] = 0
        if not case["old"]:
            reestimate_batch_norm(masked, CALIBRATION, len(CALIBRATION))
        assert_agree(got["logits"], asked(masked), 1e-5)


def test_operations_are_counted_as_torch_counts_them(front):
    for case, got in zip(cases_of(), front(ASK, **given(usual(), cases=cases_of()))):
        if not case["masked"]:
            assert got["flops"] == count_flops(wanted(MODEL, CHOICES[case["place"]]), EXAMPLE)


def test_hidden_answers_are_those_of_the_first_block(front):
    cases = [
        {"criterion": 0, "place": 2, "old": old, "masked": masked} for old in (True, False) for masked in (False, True)
    ]
    for case, got in zip(cases, front(ASK, **given(usual(), cases=cases))):
        network = wanted(MODEL, 0.5, old=case["old"]).double()
        with torch.no_grad():
            block = network.blocks[0]
            hidden = block.norm1(block.conv1(network.stem(IMAGES[:1].double()))).relu()[0]
        if case["masked"]:
            hidden = torch.zeros(16, 8, 8, dtype=torch.float64).index_copy(0, torch.tensor(got["kept"][0]), hidden)
        assert got["side"] == 8
        assert_agree(got["hidden"], hidden, 1e-5)


@pytest.mark.parametrize(
    "sizes",
    [
        {"width": 3, "expansion": 3, "stages": 3, "blocks": 1},
        {"width": 1, "expansion": 5, "stages": 5, "blocks": 1},
        {"width": 5, "expansion": 1, "stages": 1, "blocks": 1},
    ],
)
def test_networks_of_other_sizes_are_read_too(front, sizes):
    model, ratios = model_of(seed=4, classes=3, **sizes), (0.0, 0.35, 0.5, 0.7)
    widget = pruned(model, classes=["A", "B", "C"], ratios=ratios)
    cases = [{"criterion": 1, "place": place, "old": False, "masked": place == 2} for place in range(4)]
    for case, got in zip(cases, front(ASK, **given(widget, cases=cases))):
        assert_agree(got["logits"], asked(wanted(model, ratios[case["place"]], "random")), 1e-5)


def test_the_largest_kind_of_network_agrees_too(front):
    model = model_of(classes=68, width=16)
    widget = pruned(model, classes=[str(place) for place in range(68)])
    cases = [{"criterion": 0, "place": place, "old": True, "masked": False} for place in (0, 2)]
    for case, got in zip(cases, front(ASK, **given(widget, cases=cases))):
        assert_agree(got["logits"], asked(wanted(model, CHOICES[case["place"]], old=True)), 1e-5)


def test_kept_filters_are_as_many_as_the_formula_says(front):
    """Python and the browser round the same products down: 10 * (1 - 0.9) is a little less than 1."""
    sizes, ratios = [10, 16, 64, 128, 7], [0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.75, 0.8]
    body = "return given.ratios.map((ratio) => f.keptFilters(given.orders, ratio));"
    orders = [torch.randperm(size, generator=seeded(size)).tolist() for size in sizes]
    for ratio, got in zip(ratios, front(body, ratios=ratios, orders=orders)):
        assert got == [sorted(order[: int(len(order) * (1 - ratio))]) for order in orders]


def test_halves_are_read_to_the_last_bit(front):
    bits = np.arange(2**16, dtype=np.uint16)
    numbers = bits.view(np.float16).astype(np.float64)
    finite = np.isfinite(numbers)
    got = front("return Array.from(f.readHalves(Uint16Array.from(given.bits)));", bits=bits[finite].tolist())
    assert got == numbers[finite].tolist()
    body = "return Array.from(f.readHalves(Uint16Array.from(given.bits))).map(String);"
    assert front(body, bits=[0x7C00, 0xFC00, 0x7E00]) == ["Infinity", "-Infinity", "NaN"]


# --- drawings ---------------------------------------------------------------------------------------------------------


def test_a_drawing_is_brought_to_the_scale_of_the_pictures(front):
    drawings = torch.rand(3, 256, generator=seeded(6), dtype=torch.float64)
    drawings[2] = 0
    scaled = (drawings - drawings.mean(1, keepdim=True)) / (drawings.std(1, keepdim=True) + 1e-3)
    assert_agree(front("return given.drawings.map(f.standardise);", drawings=drawings), scaled, 1e-12)
    assert not scaled[2].any(), "an empty pad is all zeros"


DRAW = """
const drawing = new Float64Array(given.side ** 2);
for (const [from, to] of given.strokes) f.drawStroke(drawing, given.side, from, to);
return Array.from(drawing);
"""


def inked(side, strokes, radius=0.8):
    """Full ink up to half a cell inside the pen's radius, none half a cell outside it, by many points of each stroke."""
    line = torch.arange(side, dtype=torch.float64) + 0.5
    ink = torch.zeros(side, side, dtype=torch.float64)
    for start, end in strokes:
        shares = torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None, None]
        x, y = (one + shares * (other - one) for one, other in zip(start, end))
        distance = torch.hypot(line - x, line[:, None] - y).amin(0)
        ink = torch.maximum(ink, (radius + 0.5 - distance).clamp(0, 1))
    return ink


@pytest.mark.parametrize(
    "strokes",
    [
        [[(3.5, 5.5), (3.5, 5.5)]],
        [[(2.2, 3.1), (12.7, 9.4)], [(12.0, 2.0), (2.5, 14.0)]],
        [[(-4.0, 8.0), (30.0, 8.3)]],
    ],
)
def test_a_stroke_leaves_ink_near_its_line(front, strokes):
    assert_agree(front(DRAW, side=16, strokes=strokes), inked(16, strokes), 1e-4)


# --- what it refuses --------------------------------------------------------------------------------------------------


def changed(value):
    model = copy.deepcopy(MODEL)
    model.blocks[1].conv2.weight.data[0, 0, 0, 0] = value
    return model


def blown():
    model = copy.deepcopy(MODEL)
    model.blocks[0].norm1.running_var[0] = math.inf
    return model


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"model": model_of(in_channels=3)}, "model is of 3 channels, but must be of one, for grey pictures"),
        ({"model": changed(math.nan)}, "model is not finite in some place, but must be made of numbers that half"),
        ({"model": changed(1e5)}, "model is not finite in some place, but must be made of numbers that half"),
        ({"model": blown()}, "model is not finite in some place, but must be made of numbers that half"),
        ({"model": model_of(width=24)}, r"model is of \d{6} bytes, but must be of at most 700000, with its batch norms"),
        ({"images": IMAGES[:1], "names": ["a"]}, "images is 1 pictures, but must be 2 to 12 pictures"),
        ({"images": IMAGES[:1].expand(13, 1, 16, 16)}, "images is 13 pictures, but must be 2 to 12 pictures"),
        ({"images": IMAGES.clone().fill_(math.nan)}, "images is not finite in some place, but must be finite numbers"),
        ({"calibration": IMAGES[:1]}, "calibration is 1 pictures, but must be at least 2 pictures"),
        ({"calibration": IMAGES / 0}, "calibration is not finite in some place, but must be finite numbers"),
        ({"names": NAMES[:2]}, "names is 2 texts, but must be 3, one for each of pictures"),
        ({"names": ["a", "b", " "]}, "each of names is ' ', but must be a text of 1 to 28 characters"),
        ({"names": ["a", "b", "c" * 29]}, "each of names is 'c+', but must be a text of 1 to 28 characters"),
        ({"classes": CLASSES[1:]}, "classes is 5 texts, but must be 6, one for each of the model's classes"),
        ({"classes": [*CLASSES[1:], ""]}, "each of classes is '', but must be a text of 1 to 14 characters"),
        ({"classes": [*CLASSES[1:], "c" * 15]}, "each of classes is 'c+', but must be a text of 1 to 14 characters"),
        ({"ratio": 0.3}, r"ratio is 0.3, but must be one of \(0.0, 0.25, 0.5, 0.8\)"),
        ({"ratios": (0.5,)}, "ratios is 1 numbers, but must be 2 to 16 numbers"),
        ({"ratios": tuple(place / 20 for place in range(17))}, "ratios is 17 numbers, but must be 2 to 16 numbers"),
        ({"ratios": (0.5, 1.0)}, r"each of ratios is 1.0, but must be a number in \[0, 1\)"),
        ({"ratios": (-0.1, 0.5)}, r"each of ratios is -0.1, but must be a number in \[0, 1\)"),
        ({"ratios": (0.5, 0.25)}, r"ratios is \(0.5, 0.25\), but must be numbers that rise"),
        ({"ratios": (0.5, 0.95)}, "each of ratios is 0.95, but must be small enough to leave a filter of the 16 in a block"),
        ({"title": " "}, "title is empty"),
        ({"alt": ""}, "alt is empty"),
    ],
)  # fmt: skip
def test_it_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        pruned(**words)
