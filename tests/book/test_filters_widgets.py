"""The live widget of pruned filters as a reader moves it: what it shows is what `prune_filters` and `count_flops` make of the network."""

import re

import pytest
import torch
from hands import (
    COLOURS,
    INKS,
    assert_fits,
    assert_follows_the_theme,
    assert_moves_on_a_phone,
    choose,
    clashes,
    numbers,
    put,
    redrawn,
    resize,
    set_theme,
    set_width,
    slider,
    tell_redraw_times,
)

from companion.foundations.residual import ExpandedResidualNet
from companion.methods.pruning import count_flops, prune_filters
from companion.teaching.widgets import live_filters
from companion.teaching.widgets.filters import CRITERIA, RATIOS
from tests.browser import PICTURE

EXAMPLE = torch.zeros(1, 1, 16, 16)


def network(seed=0, **sizes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ExpandedResidualNet(1, 7, **{"width": 4, "expansion": 8, "blocks": 1} | sizes)
    for block in model.blocks:
        block.conv1.weight.data *= torch.rand(
            len(block.conv1.weight), 1, 1, 1, generator=torch.Generator().manual_seed(seed + 9)
        )
        block.norm1.bias.data = torch.arange(
            len(block.norm1.bias), dtype=torch.float32
        )  # a filter's place, to find it by
    return model


MODELS = {"strong penalty": network(0), "weak penalty": network(1)}
MEASURED = (0.0, 0.25, 0.5, 0.75, 0.9)
KEPT = [[0.9 - 0.1 * k - 0.02 * seed for seed in range(3)] for k in range(5)]
ESTIMATED = [[0.95 - 0.05 * k - 0.01 * seed for seed in range(3)] for k in range(5)]
ROWS = {str(ratio): {"kept": kept, "estimated": own} for ratio, kept, own in zip(MEASURED, KEPT, ESTIMATED)}
LEFT = {"strong penalty": {"l2": ROWS}}
LABELS = ["statistics kept", "re-estimated"]

# The texts of a table's rows.
TABLE = "(table) => [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent))"

# Width of each bar of a layer, and of what is filled.
BARS = """(widget) => [...widget.querySelectorAll(".lim-flops")].map((bar) =>
  [bar.getBoundingClientRect().width, bar.firstChild.getBoundingClientRect().width, bar.parentElement.clientWidth])"""

# What must not lie over each other, nor reach beyond the widget.
PLACED = ".lim-title, .lim-control, .lim-counts div, .lim-key, figcaption > *, canvas, caption, th, td, .lim-note"


def filters(models=MODELS, **words):
    return live_filters(models, EXAMPLE, **{"title": "t", "alt": "a", "note": "n", "ratio": 0.75, "left": LEFT} | words)


def short(value):
    return pytest.approx(value, rel=0.006)


def cut(name, ratio, criterion="l2"):
    return prune_filters(MODELS[name], ratio, criterion, EXAMPLE, torch.Generator().manual_seed(0))


def kept_places(model):
    return [block.norm1.bias.int().tolist() for block in model.blocks]


def set_ratio(widget, ratio):
    put(widget, "Pruning ratio", RATIOS.index(ratio))


def count(widget, name):
    return widget.locator(".lim-counts div", has_text=name).locator("strong").inner_text()


def assert_shows(widget, name, ratio, criterion="l2"):
    """Totals, layers, words and bars are those of the pruned network."""
    model, small = MODELS[name], cut(name, ratio, criterion)
    before, after = (count_flops(each, EXAMPLE) for each in (model, small))
    sizes = [sum(weight.numel() for weight in each.parameters()) for each in (model, small)]
    assert numbers(count(widget, "kFLOP, one picture forward").split(" → ")) == [
        short(before / 1e3),
        short(after / 1e3),
    ]
    share = 100 * after / before
    assert numbers([count(widget, "of the FLOPs")]) == [pytest.approx(share, abs=0.051)]
    assert count(widget, "weights") == " → ".join(f"{size:,}" for size in sizes)
    assert_layers(widget, model, small)
    kept = kept_places(small)
    words = ", ".join(f"{len(own)} of {block.conv1.out_channels}" for own, block in zip(kept, model.blocks))
    label, flops = (widget.locator("canvas").nth(k).get_attribute("aria-label") for k in (0, 1))
    chosen = {"l2": "largest L2 norm", "l1": "largest L1 norm", "random": "random ones"}[criterion]
    assert (
        label
        == f"{name}: at ratio {ratio:g} the blocks keep {words} hidden filters, {chosen}; the residual stream keeps its width. a"
    )
    said = numbers(re.findall(r"[\d.]+\d|\d", flops.removeprefix("FLOPs against the ratio. ").replace("1 − r", "")))
    assert said[:3] == [ratio, short(after / 1e3), short(before / 1e3)]
    assert said[3:] == pytest.approx([share, 100 * (1 - ratio)], abs=0.051)
    squares = [block.conv1.weight.detach().flatten(1).norm(dim=1).square() for block in model.blocks]
    stays = sum(own[places].sum().item() for own, places in zip(squares, kept)) / sum(
        own.sum().item() for own in squares
    )
    note = widget.locator(".lim-note").inner_text()
    found = re.fullmatch(
        rf"{name}: (\d+) of (\d+) hidden filters stay, with ([\d.]+)\u202f% of the squared norm of all\. n", note
    )
    assert [int(found[1]), int(found[2])] == [sum(map(len, kept)), sum(map(len, squares))]
    assert float(found[3]) == pytest.approx(100 * stays, abs=0.051)
    assert not re.search("NaN|undefined|null|Infinity", widget.inner_text() + label + flops)


def assert_layers(widget, model, small):
    rows = widget.locator(".lim-layers table").evaluate(TABLE)
    assert rows[0] == ["layer", "channels", "", "kFLOP"]
    wanted = flops_of(model), flops_of(small)
    assert [row[0] for row in rows[1:]] == list(wanted[0])
    assert [row[1] for row in rows[1:]] == [f"{a} → {b}" for a, b, _ in wanted[1].values()]
    before, after = ([flops for _, _, flops in each.values()] for each in wanted)
    assert numbers([row[3] for row in rows[1:]]) == [short(flops / 1e3) for flops in after]
    for (outline, filled, room), whole, rest in zip(widget.evaluate(BARS), before, after):
        assert outline == pytest.approx(max(3, (room - 8) * whole / max(before)), abs=0.6)
        assert filled == pytest.approx((outline - 2) * rest / whole, abs=0.6)


def flops_of(model):
    """Channels and operations of each layer by its name, each counted alone at the size that it meets."""
    met, hooks = {}, []
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            part = path.split(".")
            name = f"block {int(part[1]) + 1}, {part[2]}" if part[0] == "blocks" else part[0]
            hooks.append(
                module.register_forward_pre_hook(
                    lambda module, inputs, name=name: met.update({name: (module, torch.zeros(inputs[0].shape))})
                )
            )
    with torch.no_grad():
        model.eval()(EXAMPLE)
    for hook in hooks:
        hook.remove()
    return {
        name: (module.weight.shape[1], len(module.weight), count_flops(module, inputs))
        for name, (module, inputs) in met.items()
    }


def accuracies(widget):
    """Its caption, and its rows: label, mean, seeds."""
    rows = widget.locator("table").last.evaluate(TABLE)[1:]
    return widget.locator("figcaption span").last.inner_text(), rows


# --- what is shown ------------------------------------------------------------------------------------------------------


def test_what_is_shown_is_the_pruned_network_at_every_choice(show):
    widget, problems = show(filters())
    assert_shows(widget, "strong penalty", 0.75)
    for ratio in (0.0, 0.05, 0.5, 0.95):
        set_ratio(widget, ratio)
        assert_shows(widget, "strong penalty", ratio)
    choose(widget, "Network", "weak penalty")
    for place, criterion in enumerate(CRITERIA):
        choose(widget, "Filters kept", place)
        assert_shows(widget, "weak penalty", 0.95, criterion)
        set_ratio(widget, 0.35)
        assert_shows(widget, "weak penalty", 0.35, criterion)
        set_ratio(widget, 0.95)
    choose(widget, "Order", 1)
    assert_shows(widget, "weak penalty", 0.95, "random")
    assert widget.get_attribute("data-state") == "done"
    assert problems == []


def test_it_starts_as_it_was_told(show):
    widget, problems = show(filters(network="weak penalty", ratio=0.4, criterion="l1", order="network"))
    assert_shows(widget, "weak penalty", 0.4, "l1")
    assert slider(widget, "Pruning ratio").get_attribute("aria-valuetext") == "0.4"
    chosen = [
        each.evaluate("(list) => list.selectedOptions[0].textContent") for each in widget.get_by_role("combobox").all()
    ]
    assert chosen == ["weak penalty", "largest L1 norm", "the network’s"]
    assert problems == []


def test_the_caption_tells_the_scale_of_the_bars(show):
    widget, problems = show(filters())
    for place, p in enumerate((2, 1, 2)):
        choose(widget, "Filters kept", place)
        most = max(
            block.conv1.weight.flatten(1).norm(p, dim=1).max().item() for block in MODELS["strong penalty"].blocks
        )
        said = re.fullmatch(rf"L{p} norm, 0 to (.+)", widget.locator("figcaption span").first.inner_text())
        assert numbers([said[1]]) == [short(most)]
    assert problems == []


def bar_places(widget, ratio, criterion, order, is_upright):
    """For each filter of each block: is it kept, and the middle of its bar, half-way up."""
    canvas = widget.locator("canvas").first
    width, height = canvas.evaluate("(canvas) => [canvas.clientWidth, canvas.clientHeight]")
    model = MODELS["strong penalty"]
    norms = [
        block.conv1.weight.detach().flatten(1).norm(1 if criterion == "l1" else 2, dim=1) for block in model.blocks
    ]
    most, found = max(own.max().item() for own in norms), []
    for block, (own, kept) in enumerate(zip(norms, kept_places(cut("strong penalty", ratio, criterion)))):
        if is_upright:
            pitch = (height - 58) / len(norms)
            left, right, top = 86, width - 1, 48 + block * pitch
            bottom = top + pitch - 30
        else:
            pitch = (width - 112) / len(norms)
            left, top, bottom = 64 + block * pitch, 76, height - 24
            right = left + pitch - 20
        places = own.argsort(descending=True, stable=True).tolist() if order == "strength" else list(range(len(own)))
        for k, place in enumerate(places):
            high = (bottom - top - 4) * own[place].item() / most
            x = left + (k + 0.45) * (right - left) / len(places)
            found.append((place in kept, x, bottom - high / 2, bottom - high - 3, high))
    return found


@pytest.mark.parametrize(("width", "is_upright"), [(860, False), (324, True)])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_bar_is_blue_where_its_filter_stays_and_as_high_as_its_norm(show, width, is_upright, theme):
    widget, problems = show(filters())
    set_theme(widget, theme)
    set_width(widget, width)
    for criterion, order, ratio in (
        ("l2", "strength", 0.75),
        ("l1", "network", 0.5),
        ("random", "strength", 0.3),
        ("l2", "network", 0.0),
    ):
        choose(widget, "Filters kept", CRITERIA.index(criterion))
        choose(widget, "Order", ["strength", "network"].index(order))
        set_ratio(widget, ratio)
        redrawn(widget)
        bars = [bar for bar in bar_places(widget, ratio, criterion, order, is_upright) if bar[-1] > 12]
        assert len(bars) > 60
        blue = torch.tensor(widget.evaluate(INKS, ["learned"])[0], dtype=torch.float64)
        inside, above = (
            torch.tensor(
                widget.locator("canvas").first.evaluate(COLOURS, [[bar[1], bar[at]] for bar in bars]),
                dtype=torch.float64,
            )
            for at in (2, 3)
        )
        is_blue = ((inside[:, :3] - blue).abs().amax(1) < 25) & (inside[:, 3] > 240)
        stays = torch.tensor([bar[0] for bar in bars])
        agreeing = (is_blue == stays).double().mean().item()
        assert agreeing > 0.97  # a limit may cross the middle of a bar
        filled = ((above[:, :3] - blue).abs().amax(1) < 25) & (above[:, 3] > 240)
        assert filled.double().mean().item() < 0.02 if order == "strength" else True
        assert bool((inside[~stays][:, 3] > 50).all()), "what goes is pale, not gone"
    assert problems == []


def test_the_limit_lies_between_what_stays_and_what_goes(show):
    widget, problems = show(filters(ratio=0.5, order="network"))
    orange = widget.evaluate(INKS, ["rival"])[0]
    find = """(canvas, orange) => {
      const ratio = canvas.width / canvas.clientWidth, { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height), rows = new Map();
      for (let at = 0; at < data.length; at += 4) {
        if (data[at + 3] < 200 || !orange.every((part, k) => Math.abs(part - data[at + k]) < 40)) continue;
        const x = at / 4 % canvas.width, half = x < canvas.width / 2 ? 0 : 1, key = `${half} ${Math.floor(at / 4 / canvas.width)}`;
        rows.set(key, (rows.get(key) ?? 0) + 1);
      }
      return [0, 1].map((half) => {
        const own = [...rows].filter(([key]) => key.startsWith(half)).sort((one, other) => other[1] - one[1]);
        return own.length ? Number(own[0][0].split(" ")[1]) / ratio : null;
      });
    }"""
    canvas = widget.locator("canvas").first
    height = canvas.evaluate("(canvas) => canvas.clientHeight")
    norms = [block.conv1.weight.detach().flatten(1).norm(dim=1) for block in MODELS["strong penalty"].blocks]
    most = max(own.max().item() for own in norms)
    for own, seen, kept in zip(norms, canvas.evaluate(find, orange), kept_places(cut("strong penalty", 0.5))):
        limit = (
            own.sort(descending=True).values[len(kept) - 1] + own.sort(descending=True).values[len(kept)]
        ).item() / 2
        assert seen == pytest.approx(height - 24 - (height - 104) * limit / most, abs=1.6)
    for criterion, ratio in (("random", 0.5), ("l2", 0.0)):
        choose(widget, "Filters kept", CRITERIA.index(criterion))
        set_ratio(widget, ratio)
        redrawn(widget)
        assert canvas.evaluate(find, orange) == [None, None]
    assert problems == []


def test_the_stream_is_as_wide_at_every_ratio(show):
    """The picture changes in the boxes of the blocks and the words below them only."""
    widget, problems = show(filters(ratio=0.0))
    canvas = widget.locator("canvas").first
    strip = "(canvas) => Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, Math.round(75 * canvas.width / canvas.clientWidth)).data)"
    before, picture = canvas.evaluate(strip), widget.evaluate(PICTURE)
    assert any(before)
    set_ratio(widget, 0.95)
    assert canvas.evaluate(strip) == before
    assert widget.evaluate(PICTURE) != picture
    assert problems == []


# --- curves -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_curve_of_operations_is_exact(show, theme):
    widget, problems = show(filters(ratio=0.0))
    set_theme(widget, theme)
    redrawn(widget)
    canvas = widget.locator("canvas").nth(1)
    width, height = canvas.evaluate("(canvas) => [canvas.clientWidth, canvas.clientHeight]")
    left, right, top, base = 50, width - 10, 8, height - 34
    whole = count_flops(MODELS["strong penalty"], EXAMPLE)
    ratios = [k / 40 + 0.0125 for k in range(2, 38)]
    shares = [count_flops(cut("strong penalty", ratio), EXAMPLE) / whole for ratio in ratios]
    spots = [
        [left + (right - left) * ratio, base - (base - top) * share / 1.04] for ratio, share in zip(ratios, shares)
    ]
    seen = torch.tensor(canvas.evaluate(COLOURS, spots), dtype=torch.float64)[:, :3]
    blue = torch.tensor(widget.evaluate(INKS, ["learned"])[0], dtype=torch.float64)
    assert ((seen - blue).abs().amax(1) < 70).double().mean().item() > 0.85  # it is a staircase
    assert problems == []


def test_both_curves_can_be_dragged(show):
    widget, problems = show(filters())
    for place in (1, 2):
        canvas = widget.locator("canvas").nth(place)
        canvas.scroll_into_view_if_needed()
        box, mouse = canvas.bounding_box(), widget.page.mouse
        left, right = box["x"] + 50, box["x"] + box["width"] - 10
        mouse.move(left + 0.27 * (right - left), box["y"] + 60)
        mouse.down()
        assert slider(widget, "Pruning ratio").get_attribute("aria-valuetext") == "0.25", "the nearest"
        assert_shows(widget, "strong penalty", 0.25)
        mouse.move(right + 30, box["y"] + 60)
        mouse.up()
        assert_shows(widget, "strong penalty", 0.95)
        mouse.move(left, box["y"] + 60)
        assert_shows(widget, "strong penalty", 0.95)
    assert problems == []


def test_a_drag_finds_the_nearest_of_ratios_that_are_not_even(show):
    widget, problems = show(filters(ratios=(0.0, 0.1, 0.75, 0.9), ratio=0.9))
    canvas = widget.locator("canvas").nth(1)
    canvas.scroll_into_view_if_needed()
    box, mouse = canvas.bounding_box(), widget.page.mouse
    left, right = box["x"] + 50, box["x"] + box["width"] - 10
    for share, told in ((0.41, "0.1"), (0.44, "0.75"), (0.84, "0.9"), (0.02, "0")):
        mouse.move(left + share * (right - left), box["y"] + 60)
        mouse.down()
        mouse.up()
        assert slider(widget, "Pruning ratio").get_attribute("aria-valuetext") == told
    assert problems == []


# --- accuracies ---------------------------------------------------------------------------------------------------------


def test_accuracies_are_told_where_they_were_measured(show):
    widget, problems = show(filters())
    for k, ratio in enumerate(MEASURED):
        set_ratio(widget, ratio)
        how, rows = accuracies(widget)
        assert how == "measured"
        assert [row[0] for row in rows] == LABELS
        for (_, mean, seeds), values in zip(rows, (KEPT[k], ESTIMATED[k])):
            assert numbers([mean]) == [pytest.approx(100 * sum(values) / 3, abs=0.051)]
            low, high = (float(each) for each in seeds.removesuffix("\u202f%").split("–"))
            assert [low, high] == pytest.approx([100 * min(values), 100 * max(values)], abs=0.51)
        label = widget.locator("canvas").last.get_attribute("aria-label")
        words = "; ".join(f"{name}: {mean}, seeds {seeds}" for name, mean, seeds in rows)
        assert label == f"Accuracy against the ratio. At {ratio:g}, measured: {words}. a"
    assert problems == []


def test_between_two_measured_ratios_only_the_line_is_told_and_nothing_beyond(show):
    widget, problems = show(filters())
    set_ratio(widget, 0.6)
    how, rows = accuracies(widget)
    assert how == "interpolated"
    for (_, mean, seeds), values in zip(rows, (KEPT, ESTIMATED)):
        low, high = (sum(values[k]) / 3 for k in (2, 3))
        assert mean.startswith("≈\u202f")
        assert numbers([mean.removeprefix("≈\u202f")]) == [pytest.approx(100 * (low + 0.4 * (high - low)), abs=0.051)]
        assert seeds == "–"
    assert "interpolated: statistics kept: ≈" in widget.locator("canvas").last.get_attribute("aria-label")
    set_ratio(widget, 0.95)
    assert accuracies(widget) == ("not measured", [[label, "–", "–"] for label in LABELS])
    assert (
        widget.locator("canvas").last.get_attribute("aria-label")
        == "Accuracy against the ratio. At 0.95, not measured. a"
    )
    assert problems == []


@pytest.mark.parametrize(("name", "option"), [("Network", "weak penalty"), ("Filters kept", "largest L1 norm")])
def test_a_choice_for_which_nothing_was_measured_says_so(show, name, option):
    widget, problems = show(filters())
    choose(widget, name, option)
    assert accuracies(widget) == ("not measured", [[label, "–", "–"] for label in LABELS])
    assert widget.evaluate(PICTURE) != "blank"
    assert problems == []


def test_accuracies_after_tuning_have_a_row_of_their_own(show):
    rows = {ratio: {"kept": [0.25], "estimated": [0.5], "tuned": [0.75, 0.85]} for ratio in (0.5, 0.75)}
    widget, problems = show(filters(left={"weak penalty": {"l2": rows}, "strong penalty": {"l2": ROWS}}))
    assert [row[0] for row in accuracies(widget)[1]] == [*LABELS, "after tuning"]
    assert accuracies(widget)[1][2][1:] == ["–", "–"], "not for this network"
    choose(widget, "Network", "weak penalty")
    assert accuracies(widget)[1][2][1:] == ["80.0\u202f%", "75–85\u202f%"]
    assert problems == []


def test_one_seed_has_no_range(show):
    rows = {0.75: {"kept": [0.301], "estimated": [0.302, 0.304]}}
    widget, problems = show(filters(left={"strong penalty": {"l2": rows}}))
    assert [row[1:] for row in accuracies(widget)[1]] == [["30.1\u202f%", "30\u202f%"], ["30.3\u202f%", "30\u202f%"]]
    assert problems == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_accuracies_are_drawn_where_they_are(show, theme):
    widget, problems = show(filters(ratio=0.95))
    set_theme(widget, theme)
    redrawn(widget)
    canvas = widget.locator("canvas").last
    width, height = canvas.evaluate("(canvas) => [canvas.clientWidth, canvas.clientHeight]")
    for values, name in ((KEPT, "rival"), (ESTIMATED, "learned")):
        spots = [
            [50 + (width - 60) * ratio, height - 34 - (height - 42) * sum(own) / 3 / 1.04]
            for ratio, own in zip(MEASURED, values)
        ]
        seen = torch.tensor(canvas.evaluate(COLOURS, spots[1:]), dtype=torch.float64)[:, :3]
        assert ((seen - torch.tensor(widget.evaluate(INKS, [name])[0])).abs() < 25).all()
    assert problems == []


def test_without_accuracies_there_is_no_plot_of_them(show):
    widget, problems = show(filters(left=None))
    assert widget.locator("canvas").count() == 2
    assert "Accuracy" not in widget.inner_text()
    assert_shows(widget, "strong penalty", 0.75)
    assert problems == []


# --- where it is read -------------------------------------------------------------------------------------------------


def test_one_network_needs_no_list(show):
    widget, problems = show(filters({"strong penalty": MODELS["strong penalty"]}))
    assert widget.get_by_role("combobox").count() == 2
    assert widget.locator(".lim-note").inner_text().startswith("24 of 96 hidden filters stay")
    assert widget.locator("canvas").first.get_attribute("aria-label").startswith("at ratio 0.75")
    assert problems == []


def test_a_network_whose_filters_are_all_zero_is_shown(show):
    model = network()
    for block in model.blocks:
        block.conv1.weight.data.zero_()
    widget, problems = show(filters({"a": model}, left=None))
    assert widget.locator(".lim-note").inner_text() == "24 of 96 hidden filters stay. n"
    assert not re.search("NaN|undefined|Infinity", widget.inner_text())
    assert widget.evaluate(PICTURE) != "blank"
    assert problems == []


def test_each_control_moves_the_picture_from_the_keyboard_and_a_phone_is_wide_enough(show):
    widget, problems = show(filters())
    assert widget.get_by_role("slider").count() == 1
    assert widget.get_by_role("combobox").count() == 3
    assert_moves_on_a_phone(widget)
    assert_fits(widget, 320)
    assert problems == []


@pytest.mark.parametrize(
    ("width", "window"), [(304, 320), (324, 340), (324, 1280), (450, 1280), (600, 1280), (860, 1280)]
)
def test_nothing_lies_over_another_thing_or_reaches_beyond_the_widget(show, width, window):
    """A column of the book or of Lab may be narrower than its window."""
    widget, problems = show(filters({name: network(seed, blocks=2) for seed, name in enumerate(MODELS)}))
    resize(widget, {"width": window, "height": 900})
    set_width(widget, width)
    for ratio in (0.0, 0.6):
        set_ratio(widget, ratio)
        redrawn(widget)
        assert clashes(widget, PLACED) == []
    assert problems == []


@pytest.mark.parametrize("width", [324, 600, 860])
def test_it_is_equally_high_at_every_ratio(show, width):
    widget, problems = show(filters())
    set_width(widget, width)
    heights = set()
    for place in range(len(RATIOS)):
        put(widget, "Pruning ratio", place)
        heights.add(widget.evaluate("(card) => card.offsetHeight - card.querySelector('.lim-note').offsetHeight"))
    assert len(heights) == 1
    assert problems == []


@pytest.mark.parametrize("blocks", [1, 3])
def test_two_blocks_lie_side_by_side_and_six_below_each_other(show, blocks):
    models = {"strong penalty": network(0, blocks=blocks)}
    widget, problems = show(filters(models))
    set_width(widget, 860)
    width, height = widget.locator("canvas").first.evaluate("(canvas) => [canvas.clientWidth, canvas.clientHeight]")
    assert (height > 0.6 * width) == (blocks == 3)
    assert clashes(widget, PLACED) == []
    assert problems == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_follows_the_theme(show, theme):
    widget, problems = show(filters())
    assert_follows_the_theme(widget, theme)
    assert problems == []


def test_it_can_be_taken_away(show):
    widget, problems = show(filters())
    widget.page.evaluate("() => window.stop()")
    before = widget.evaluate(PICTURE)
    set_theme(widget, "dark")
    redrawn(widget)
    assert widget.evaluate(PICTURE) == before, "it follows the theme no more"
    assert problems == []


def test_how_long_a_redraw_takes_is_told(show):
    models = {name: network(seed, width=16, blocks=2, expansion=4) for seed, name in enumerate(MODELS)}
    widget, problems = show(filters(models))
    for control, values in (
        (slider(widget, "Pruning ratio"), list(range(20))),
        (widget.get_by_role("combobox").first, [1, 0, 1]),
    ):
        tell_redraw_times(control, values)
    assert problems == []
