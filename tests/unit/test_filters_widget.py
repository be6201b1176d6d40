"""The live widget of pruned filters: what it carries, what it refuses, and that the browser prunes and counts as torch does."""

import copy
from math import inf, nan

import pytest
import torch
from agree import doubles, seeded

from companion.foundations.networks import ResidualNet
from companion.foundations.residual import ExpandedResidualNet
from companion.methods.pruning import count_flops, prunable_filters, prune_filters
from companion.teaching.widgets import live_filters
from companion.teaching.widgets.filters import CRITERIA, RATIOS, describe_layers, filter_strengths

EXAMPLE = torch.zeros(1, 2, 12, 10)


def network(seed=0, **sizes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ExpandedResidualNet(2, 7, **{"width": 5, "blocks": 1, "expansion": 8} | sizes)


MODELS = {"strong": network(0), "weak": network(1)}
HIDDEN = [40, 80]


def filters(models=MODELS, example=EXAMPLE, **words):
    return live_filters(models, example, **{"title": "t", "alt": "a", **words})


def row(*ratios, **measures):
    """Accuracies at some ratios, each with what is measured there."""
    return {ratio: dict(measures) for ratio in ratios}


# --- what it carries --------------------------------------------------------------------------------------------------


def test_it_carries_its_settings():
    widget = filters(note="n", network="weak", ratio=0.9, criterion="l1", order="network")
    assert (widget.kind, widget.title, widget.alt, widget.note) == ("filters", "t", "a", "n")
    assert (widget.names, widget.names_index) == (["strong", "weak"], 1)
    assert widget.ratios == list(RATIOS) == [k / 20 for k in range(20)]
    assert widget.ratios[widget.ratios_index] == 0.9
    assert (widget.criteria, widget.criteria_index) == (["l2", "l1", "random"], 1)
    assert (widget.orders, widget.orders_index) == (["strength", "network"], 1)
    assert widget.left == []


def test_at_the_start_half_of_the_first_networks_filters_go_the_weakest_by_l2():
    widget = filters()
    assert (widget.names_index, widget.ratios[widget.ratios_index]) == (0, 0.5)
    assert (widget.criteria[widget.criteria_index], widget.orders[widget.orders_index]) == ("l2", "strength")
    chosen = filters(ratios=(0, 0.3, 0.6), ratio=0.6)
    assert (chosen.ratios, chosen.ratios_index) == ([0.0, 0.3, 0.6], 2)


def test_strengths_travel_exactly_by_network_criterion_and_block():
    strengths = doubles(filters().strengths).view(2, 3, sum(HIDDEN))
    for own, model in zip(strengths, MODELS.values()):
        weights = [block.conv1.weight.detach() for block in model.blocks]
        for norms, p in zip(own, (2, 1)):
            assert norms.tolist() == torch.cat([each.flatten(1).norm(p, dim=1) for each in weights]).tolist()
        drawn = seeded(0)
        assert own[2].tolist() == torch.cat([torch.rand(count, generator=drawn) for count in HIDDEN]).tolist()


def test_a_generator_stays_as_it_was():
    generator = seeded(5)
    torch.rand(3, generator=generator)
    before = generator.get_state()
    strengths = doubles(filters(generator=generator).strengths).view(2, 3, -1)
    assert torch.equal(generator.get_state(), before)
    assert (
        strengths[0, 2].tolist()
        == torch.rand(40, generator=generator).tolist() + torch.rand(80, generator=generator).tolist()
    )
    assert strengths[1, 2].tolist() == strengths[0, 2].tolist()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_strengths_of_any_dtype_travel_as_they_are(dtype):
    model = network().to(dtype)
    widget = filters({"a": model}, EXAMPLE.to(dtype))
    norms = model.blocks[0].conv1.weight.detach().flatten(1).norm(dim=1)
    assert doubles(widget.strengths)[:40].tolist() == norms.double().tolist()


def test_layers_are_those_of_a_forward_pass():
    widget = filters()
    assert [(each["block"], each["part"]) for each in widget.layers] == [
        (-1, "stem"), (0, "conv1"), (0, "conv2"), (1, "conv1"), (1, "conv2"), (1, "shortcut"), (-1, "head"),
    ]  # fmt: skip
    assert [(each["inputs"], each["outputs"], each["kernel"], each["sides"]) for each in widget.layers] == [
        (2, 5, 9, [12, 10]), (5, 40, 9, [6, 5]), (40, 5, 9, [6, 5]),
        (5, 80, 9, [3, 3]), (80, 10, 9, [3, 3]), (5, 10, 1, [3, 3]), (10, 7, 1, [1, 1]),
    ]  # fmt: skip
    assert widget.hidden == HIDDEN == list(prunable_filters(MODELS["strong"], EXAMPLE).values())


def test_a_network_stays_as_it_was():
    model = network().train()
    before = copy.deepcopy(model.state_dict())
    filters({"a": model})
    assert model.training
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert not any(each._forward_hooks for each in model.modules())


def test_what_was_measured_travels_as_mean_lowest_and_highest():
    rows = {"0.5": {"kept": [0.2, 0.4, 0.3], "estimated": (0.5,)}, "0.0": {"kept": [1, 0], "estimated": [0.75, 0.25]}}
    widget = filters(left={"weak": {"l1": rows}})
    assert widget.left[0] == {}
    assert list(widget.left[1]) == ["l1"]
    found = widget.left[1]["l1"]
    assert list(found) == ["ratios", "kept", "estimated"]
    assert found["ratios"] == [0.0, 0.5], "rising, whatever their order was"
    assert found["kept"][0] == [0.5, 0.0, 1.0]
    assert found["kept"][1] == pytest.approx([0.3, 0.2, 0.4])
    assert found["estimated"] == [[0.5, 0.25, 0.75], [0.5, 0.5, 0.5]]


def test_accuracies_after_tuning_are_carried_where_they_are_given():
    rows = row(0, 0.75, kept=[0.5], estimated=[0.5], tuned=[0.25, 0.75])
    widget = filters(left={"strong": {"random": rows}})
    assert widget.left[0]["random"]["tuned"] == [[0.5, 0.25, 0.75]] * 2


def test_the_largest_widget_stays_small():
    model = network(width=4, blocks=3, expansion=64)
    assert max(block.conv1.out_channels for block in model.blocks) == 512
    measured = {
        criterion: row(*[k / 40 for k in range(40)], kept=[1 / 3] * 9, estimated=[1 / 3] * 9, tuned=[1 / 3] * 9)
        for criterion in CRITERIA
    }
    models = {f"n{k}": model for k in range(4)}
    widget = filters(models, left=dict.fromkeys(models, measured))
    assert 4 * len(widget.strengths) / 3 + len(str(widget.left)) + len(str(widget.layers)) < 500_000


# --- the browser prunes and counts as torch does --------------------------------------------------------------------------

PRUNE = """
const starts = given.hidden.map((_, block) => given.hidden.slice(0, block).reduce((sum, each) => sum + each, 0));
return given.ratios.map((ratio) => {
  const left = given.hidden.map((filters) => f.filtersLeft(filters, ratio));
  const masks = left.map((count, block) => f.strongestFilters(floats(given.strengths).subarray(starts[block], starts[block] + given.hidden[block]), count));
  const weights = given.weights - given.hidden.reduce((sum, filters, block) => sum + (filters - left[block]) * given.shares[block], 0);
  return { left, masks, weights, flops: f.flopsByLayer(given.layers, left) };
});
"""


def pruned_in_the_browser(front, widget, criterion):
    strengths = doubles(widget.strengths).view(len(widget.names), 3, -1)[0, CRITERIA.index(criterion)]
    given = {name: getattr(widget, name) for name in ("hidden", "layers", "ratios", "weights", "shares")}
    return front(PRUNE, strengths=strengths, **given)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_filters_operations_and_weights_are_those_of_the_pruned_network_at_every_ratio(front, criterion):
    """Which filters stay is read off a mark that each filter carries in its batch norm."""
    model = network()
    for block in model.blocks:
        block.norm1.bias.data = torch.arange(len(block.norm1.bias), dtype=torch.float32)
    widget = filters({"a": model}, generator=seeded(3))
    for ratio, found in zip(RATIOS, pruned_in_the_browser(front, widget, criterion)):
        small = prune_filters(model, ratio, criterion, EXAMPLE, seeded(3))
        kept = [block.norm1.bias.int().tolist() for block in small.blocks]
        assert found["left"] == [len(each) for each in kept]
        assert [[place for place, stays in enumerate(mask) if stays] for mask in found["masks"]] == kept
        assert sum(found["flops"]) == count_flops(small, EXAMPLE)
        assert found["weights"] == sum(each.numel() for each in small.parameters())


@pytest.mark.parametrize(
    "model",
    [
        ResidualNet(2, 3, width=6, stages=1, blocks=3),
        ResidualNet(2, 3, width=4, stages=3),
        ExpandedResidualNet(2, 3, width=3, stages=1, expansion=2),
    ],
)
@pytest.mark.parametrize("sides", [(8, 8), (9, 13)])
def test_operations_are_exact_for_other_sizes(front, model, sides):
    example = torch.zeros(1, 2, *sides)
    widget = live_filters({"a": model}, example, title="t", alt="a", ratios=(0, 0.3, 0.5), ratio=0)
    for ratio, found in zip(widget.ratios, pruned_in_the_browser(front, widget, "l2")):
        small = prune_filters(model, ratio, example=example)
        assert sum(found["flops"]) == count_flops(small, example)
        assert found["weights"] == sum(each.numel() for each in small.parameters())


def test_batch_norms_without_weights_count_none(front):
    model = network()
    model.blocks[0].norm1 = torch.nn.BatchNorm2d(40, affine=False)
    for ratio, found in zip(RATIOS, pruned_in_the_browser(front, filters({"a": model}), "l2")):
        assert found["weights"] == sum(
            each.numel() for each in prune_filters(model, ratio, example=EXAMPLE).parameters()
        )


def test_of_equal_filters_the_earlier_stay(front):
    body = "return given.counts.map((count) => f.strongestFilters(floats(given.strengths), count));"
    strengths = [1, 2, 2, 0, 2, 1, 3]
    masks = front(body, strengths=strengths, counts=[1, 2, 3, 4, 5, 6])
    for count, mask in enumerate(masks, start=1):
        order = torch.tensor(strengths).argsort(descending=True, stable=True)[:count]
        assert [place for place, stays in enumerate(mask) if stays] == order.sort().values.tolist()


def test_filters_are_left_as_python_counts_them(front):
    """1 - 0.9 is a little below a tenth, in both."""
    counts, ratios = [10, 20, 64, 100, 128, 512], [*RATIOS, 0.1 + 0.2, 1 / 3, 0.99]
    got = front(
        "return given.counts.map((count) => given.ratios.map((ratio) => f.filtersLeft(count, ratio)));",
        counts=counts,
        ratios=ratios,
    )
    assert got == [[int(count * (1 - ratio)) for ratio in ratios] for count in counts]
    assert got[0][RATIOS.index(0.9)] == 0


ACCURACY = "return given.at.map((ratio) => f.accuracyAt(given.ratios, given.spreads, ratio));"


def test_an_accuracy_is_told_where_it_was_measured_and_only_the_line_between(front):
    ratios, spreads = [0.25, 0.5, 0.9], [[0.8, 0.7, 0.9], [0.6, 0.5, 0.7], [0.2, 0.1, 0.3]]
    at = [0.2, 0.25, 0.3, 0.5, 0.7, 0.9, 0.95]
    below, first, near, second, middle, last, beyond = front(ACCURACY, ratios=ratios, spreads=spreads, at=at)
    assert below is None
    assert beyond is None
    assert [first, second, last] == [dict(zip(("mean", "low", "high"), spread)) for spread in spreads]
    assert list(near) == list(middle) == ["mean"]
    assert [near["mean"], middle["mean"]] == pytest.approx([0.76, 0.4])
    assert front(ACCURACY, ratios=[], spreads=[], at=[0.5]) == [None]


# --- what it refuses --------------------------------------------------------------------------------------------------


def changed(value):
    model = network()
    model.head.bias.data[0] = value
    return {"models": {"a": model}}


def accuracies(value):
    return {"left": {"strong": {"l2": {0.5: {"kept": value, "estimated": [0.5]}}}}}


FINE = {"kept": [0.5], "estimated": [0.5]}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"models": {}}, "models is 0 networks, but must be 1 to 4 networks"),
        ({"models": {str(k): MODELS["weak"] for k in range(5)}}, "models is 5 networks, but must be 1 to 4 networks"),
        ({"models": {" ": MODELS["weak"]}}, "each name of models is ' ', but must be a text of 1 to 28 characters"),
        ({"models": {"n" * 29: MODELS["weak"]}}, "each name of models is 'n+', but must be a text of 1 to 28 characters"),
        ({"models": {"a": network(blocks=4)}}, r"models\['a'\] is of 8 blocks, but must be of at most 6 blocks"),
        ({"models": {"a": network(width=4, expansion=65)}}, "each of models is of 520, but must be of at most 512 hidden filters"),
        ({"models": {"a": MODELS["weak"], "b": network(width=6)}}, r"models\['b'\] is of other sizes, but must be of the same sizes as 'a'"),
        (changed(nan), r"models\['a'\] is not finite in some place, but must be made of finite numbers"),
        (changed(-inf), r"models\['a'\] is not finite in some place"),
        ({"network": "Weak"}, "network is 'Weak', but must be 'strong' or 'weak'"),
        ({"ratio": 0.52}, r"ratio is 0\.52, but must be one of \(0\.0, 0\.05,"),
        ({"ratios": (0.5,)}, "ratios is 1 numbers, but must be 2 to 40 numbers"),
        ({"ratios": tuple(k / 41 for k in range(41))}, "ratios is 41 numbers, but must be 2 to 40 numbers"),
        ({"ratios": (0.5, 0.25)}, r"ratios is \(0\.5, 0\.25\), but must be numbers that rise"),
        ({"ratios": (0.5, 1)}, r"each of ratios is 1, but must be a number in \[0, 1\)"),
        ({"ratios": (-0.1, 0.5)}, r"each of ratios is -0\.1, but must be a number in \[0, 1\)"),
        ({"ratios": (0.5, 0.98)}, r"each of ratios is 0\.98, but must be small enough to leave a filter of the 40 in each block"),
        ({"left": {"Weak": {}}}, "each key of left is 'Weak', but must be 'strong' or 'weak'"),
        ({"left": {"weak": {"l3": {}}}}, r"each key of left\['weak'\] is 'l3', but must be 'l2' or 'l1' or 'random'"),
        ({"left": {"weak": {"l2": {}}}}, r"left\['weak'\]\['l2'\] is 0 ratios, but must be 1 to 40 ratios"),
        ({"left": {"weak": {"l2": {k / 41: FINE for k in range(41)}}}}, "is 41 ratios, but must be 1 to 40 ratios"),
        ({"left": {"weak": {"l2": {1: FINE}}}}, r"each ratio of left\['weak'\]\['l2'\] is 1, but must be a number in \[0, 1\)"),
        ({"left": {"weak": {"l2": {0.5: FINE, "0.50": FINE}}}}, "is with 2 keys for 1 ratios, but must be one for each ratio"),
        ({"left": {"weak": {"l2": {0.5: FINE | {"best": [1]}}}}}, r"each key of left\['weak'\]\['l2'\]\[0\.5\] is 'best', but must be 'kept' or"),
        ({"left": {"weak": {"l2": {0: FINE, 0.5: {"kept": [0.5]}}}}}, "is without 'estimated' somewhere, but must be given at every ratio"),
        ({"left": {"weak": {"l2": {0: FINE, 0.5: FINE | {"tuned": [1]}}}}}, "is without 'tuned' somewhere, but must be given at every ratio or at none"),
        (accuracies([]), r"left\['strong'\]\['l2'\]\[0\.5\]\['kept'\] is empty, but must be a list of numbers"),
        (accuracies([0.5, 1.1]), r"each of left\['strong'\]\['l2'\]\[0\.5\]\['kept'\] is 1\.1, but must be a number in \[0, 1\]"),
        (accuracies([nan]), r"is nan, but must be a number in \[0, 1\]"),
        ({"title": ""}, "title is empty"),
        ({"alt": " "}, "alt is empty"),
    ],
)  # fmt: skip
def test_the_widget_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        filters(**words)


def test_the_fewest_and_the_most_are_shown():
    widget = filters(ratios=(0, 0.975), ratio=0.975)
    assert widget.ratios == [0.0, 0.975]
    assert len(filters({str(k): network(blocks=3) for k in range(4)}).hidden) == 6
    assert filters({"n" * 28: network()}).names == ["n" * 28]


def test_layers_and_strengths_can_be_asked_for_alone():
    assert describe_layers(MODELS["weak"], EXAMPLE) == filters().layers
    assert filter_strengths(MODELS["weak"]).shape == (3, sum(HIDDEN))
