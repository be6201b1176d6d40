"""The live widget of a network that is pruned, as a reader moves it: what it says of a picture, drawn or given, is torch's."""

import copy
import re
from functools import cache

import pytest
import torch
from hands import (
    COLOURS,
    INKS,
    PUT,
    assert_fits,
    assert_follows_the_theme,
    assert_moves_on_a_phone,
    at_rest,
    choose,
    clashes,
    move_by_keyboard,
    press,
    put,
    redrawn,
    resize,
    set_theme,
    set_width,
    slider,
    state,
    tell_redraw_times,
)
from torch import nn

from companion.foundations.residual import ExpandedResidualNet
from companion.methods.pruning import count_flops, prune_filters, reestimate_batch_norm
from companion.teaching.widgets import live_pruned

EXAMPLE = torch.zeros(1, 1, 16, 16)
RATIOS = (0.0, 0.25, 0.5, 0.75)
GENERATOR = torch.Generator().manual_seed(1)
IMAGES = torch.randn(4, 1, 16, 16, generator=GENERATOR)
CALIBRATION = torch.randn(40, 1, 16, 16, generator=GENERATOR) * torch.linspace(0.5, 2, 40).view(-1, 1, 1, 1)
NAMES = ["letter A", "a disc", "texture 3", "a coat"]
CLASSES = ["A", "B", "7", "disc", "star", "texture 3", "coat", "trousers"]
RATIO, WHICH, HOW, STATISTICS = "Pruning ratio", "Which go", "They are", "Batch norm"

# A clock by which the measurements to come last so many milliseconds, one after another, and how many there were.
CLOCK = """(durations) => {
  let now = 0, asked = 0;
  window.measured = 0;
  performance.now = () => {
    if (asked++ % 2) { now += durations.length ? durations.shift() : 50; window.measured++; }
    return now;
  };
}"""

# What must not lie over each other, nor reach beyond the widget.
PLACED = ".lim-title, .lim-control > *, button, legend, figcaption > *, canvas, .lim-key span, th, td, .lim-note"


def model_of(seed=0, width=4):
    """A network whose batch norms do something, and that is sure of what it sees; half precision holds its weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ExpandedResidualNet(num_classes=len(CLASSES), width=width)
    generator = torch.Generator().manual_seed(seed)
    for each in model.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.weight.data.uniform_(0.5, 1.5, generator=generator)
            each.bias.data.uniform_(-0.5, 0.5, generator=generator)
            each.running_mean.uniform_(-0.5, 0.5, generator=generator)
            each.running_var.uniform_(0.2, 2, generator=generator)
    model.head.weight.data *= 4
    for each in model.parameters():
        each.data = each.data.half().float()
    return model.eval()


MODEL = model_of()


def pruned(**words):
    usual = {"calibration": CALIBRATION, "classes": CLASSES, "title": "t", "alt": "a", "note": "n", "ratios": RATIOS}
    return live_pruned(MODEL, IMAGES, NAMES, **usual | words)


@cache
def network(ratio, criterion="l2", old=False):
    """What the controls stand for."""
    smaller = prune_filters(MODEL, ratio, criterion, EXAMPLE, torch.Generator().manual_seed(0))
    if ratio > 0 and not old:
        reestimate_batch_norm(smaller, CALIBRATION, len(CALIBRATION))
    return smaller


def shares(model, image):
    with torch.no_grad():
        return copy.deepcopy(model).double()(image.double().view(1, 1, 16, 16))[0].softmax(0)


def pictures(widget):
    return widget.locator("canvas.lim-canvas").all()


def said(widget, which):
    """What a network says, from the words of its bars: classes and percentages."""
    label = pictures(widget)[1 + which].get_attribute("aria-label")
    start = f"The {('whole', 'pruned')[which]} network says: "
    assert label.startswith(start)
    return re.findall(r"([^,:]+) (<?[\d.]+)\u202f%[,.]", label.removeprefix(start))


def assert_says(widget, which, model, image):
    probabilities = shares(model, image)
    found = {name.strip(): text for name, text in said(widget, which)}
    assert len(found) == 5
    order = [probabilities[CLASSES.index(name)].item() for name in found]
    assert order == pytest.approx(probabilities.sort(descending=True).values[:5].tolist(), abs=5e-5)
    for share, text in zip(order, found.values()):
        if text == "<0.1":
            assert share < 0.00051
        else:
            assert float(text) == pytest.approx(100 * share, abs=0.51 if share > 0.099 else 0.051)


def rows(widget):
    return [row.locator("td").all_inner_texts() for row in widget.locator("tbody tr").all()]


def note(widget):
    return widget.locator(".lim-note").inner_text()


def assert_counts(widget, less, full=MODEL):
    flops = [count_flops(each, EXAMPLE) for each in (full, less)]
    one, other, share = rows(widget)[0]
    assert [float(one), float(other)] == pytest.approx([each / 1e6 for each in flops], abs=0.00051)
    assert share == f"{100 * flops[1] / flops[0]:.0f}\u202f%"


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_both_networks_say_what_torch_says_and_count_what_torch_counts(show):
    widget, problems = show(pruned())
    assert_says(widget, 0, MODEL, IMAGES[0])
    assert_says(widget, 1, network(0.5), IMAGES[0])
    answers = set()
    for place, ratio in enumerate(RATIOS):
        put(widget, RATIO, place)
        assert slider(widget, RATIO).get_attribute("aria-valuetext") == f"{100 * ratio:.0f}\u202f%"
        for which, criterion in enumerate(("l2", "random")):
            choose(widget, WHICH, which)
            for old in (False, True):
                choose(widget, STATISTICS, int(old))
                assert_says(widget, 1, network(ratio, criterion, old), IMAGES[0])
                assert_counts(widget, network(ratio, criterion, old))
                answers.add(tuple(said(widget, 1)))
    assert len(answers) == 1 + 3 * 4
    assert_says(widget, 0, MODEL, IMAGES[0])
    assert problems == []


def test_masked_filters_give_the_same_answer_and_save_nothing(show):
    widget, problems = show(pruned())
    for place, ratio in enumerate(RATIOS):
        put(widget, RATIO, place)
        choose(widget, HOW, "cut out")
        before, label = said(widget, 1), pictures(widget)[3].get_attribute("aria-label")
        assert_counts(widget, network(ratio))
        choose(widget, HOW, "masked")
        assert said(widget, 1) == before
        assert_counts(widget, MODEL)
        if ratio:
            gone = int(96 * ratio)
            assert note(widget).startswith(
                f"{gone} of 96 hidden filters are zeros, computed all the same: nothing is saved. "
            )
            assert pictures(widget)[3].get_attribute("aria-label") == label.replace("cut.", "masked.")
            assert widget.locator("figcaption span").nth(2).inner_text() == "96 filters"
    assert problems == []


def test_the_words_below_say_what_is_gone_and_whether_both_agree(show):
    widget, problems = show(pruned())
    verdicts = set()
    for place, ratio in enumerate(RATIOS):
        put(widget, RATIO, place)
        for picture, name in enumerate(NAMES):
            widget.get_by_role("radio", name=name).check()
            one, other = (CLASSES[shares(each, IMAGES[picture]).argmax()] for each in (MODEL, network(ratio)))
            verdict = f"Both say “{one}”." if one == other else f"The whole network says “{one}”, the pruned “{other}”."
            left = count_flops(network(ratio), EXAMPLE) / count_flops(MODEL, EXAMPLE)
            start = f"{int(96 * ratio)} of 96 hidden filters are gone, {100 * left:.0f}\u202f% of the operations left."
            assert note(widget) == f"{start if ratio else 'Nothing is pruned.'} {verdict} n"
            verdicts.add(one == other)
        assert widget.locator("figcaption span").nth(2).inner_text() == f"{96 - int(96 * ratio)} filters"
        gone = int(16 * ratio)
        assert widget.locator("figcaption span").last.inner_text() == (f"{gone} of 16 cut" if gone else "all 16")
    assert verdicts == {True, False}
    assert problems == []


def test_time_is_the_shortest_of_nine_measurements_of_each_network(show):
    widget, problems = show(pruned())
    state(widget, "done")
    whole, less = [30, 25, 20, 40, 28, 90, 31, 33, 21], [14, 12, 11, 13, 10, 9, 60, 11, 15]
    pairs = [each for pair in zip(whole, less) for each in pair]
    widget.page.evaluate(CLOCK, [7, *pairs])
    cell = "document.querySelectorAll('.lim-widget tbody td')[4].textContent"
    at_once = slider(widget, RATIO).evaluate(f"(input) => {{ ({PUT})(input, 3); return {cell}; }}")
    assert at_once == "7", "what its answer took"
    state(widget, "done")
    assert rows(widget)[1] == ["20", "9", "45\u202f%"]
    assert widget.page.evaluate("() => window.measured") == 1 + 18
    assert problems == []


def test_a_quick_network_is_asked_until_the_clock_has_moved_enough(show):
    widget, problems = show(pruned())
    state(widget, "done")
    widget.page.evaluate("() => { window.read = 0; performance.now = () => 0.5 * ++window.read; }")
    put(widget, RATIO, 1)
    state(widget, "done")
    assert rows(widget)[1] == ["0.5", "0.5", "100\u202f%"]
    assert widget.page.evaluate("() => window.read") == 2 + 18 * (1 + 9), "until 4.5 ms have passed, more than 4"
    assert problems == []


def test_a_coarse_clock_never_says_that_no_time_has_passed(show):
    widget, problems = show(pruned())
    state(widget, "done")
    widget.page.evaluate("() => { let read = 0; performance.now = () => Math.floor(++read / 4); }")
    assert (
        widget.evaluate(
            """(widget, put) => {
      const input = widget.querySelector("input"), cell = widget.querySelectorAll("tbody td")[4];
      return [3, 1, 2].map((value) => { (0, eval)(put)(input, value); return Number(cell.textContent) > 0; });
    }""",
            PUT,
        )
        == [True] * 3
    )
    assert problems == []


def test_a_change_while_it_measures_begins_anew(show):
    widget, problems = show(pruned())
    state(widget, "done")
    widget.page.evaluate(CLOCK, [])
    slider(widget, RATIO).evaluate(f"(input) => [3, 1, 2].forEach((value) => ({PUT})(input, value))")
    assert widget.get_attribute("data-state") == "running"
    state(widget, "done")
    assert widget.page.evaluate("() => window.measured") == 3 + 18
    assert_counts(widget, network(0.5))
    assert problems == []


# --- pictures to choose from ------------------------------------------------------------------------------------------


def test_pictures_are_chosen_with_the_mouse_or_the_arrow_keys(show):
    widget, problems = show(pruned())
    radios = widget.get_by_role("radio")
    assert [each.get_attribute("aria-label") for each in radios.all()] == [*NAMES, "your drawing"]
    assert widget.get_by_role("group", name="Choose or draw").count() == 1
    assert radios.nth(0).is_checked()
    radios.nth(0).focus()
    for picture in (1, 2, 3):
        widget.page.keyboard.press("ArrowRight")
        assert radios.nth(picture).is_checked()
        assert_says(widget, 0, MODEL, IMAGES[picture])
        assert_says(widget, 1, network(0.5), IMAGES[picture])
        assert pictures(widget)[0].get_attribute("aria-label") == f"The picture on show: {NAMES[picture]}."
        assert widget.locator("figcaption span").first.inner_text() == NAMES[picture]
    widget.page.keyboard.press("ArrowRight")
    assert pictures(widget)[0].get_attribute("aria-label") == "The picture on show: your drawing."
    assert_says(widget, 0, MODEL, torch.zeros(256))
    widget.locator("fieldset label").nth(1).click()
    assert_says(widget, 0, MODEL, IMAGES[1])
    assert problems == []


def test_the_pad_and_the_small_pictures_show_each_number_in_its_grey(show):
    widget, problems = show(pruned())
    for picture in (0, 2):
        widget.get_by_role("radio", name=NAMES[picture]).check()
        grey = IMAGES[picture, 0]
        wanted = 255 * (grey - grey.min()) / (grey.max() - grey.min())
        pad = pictures(widget)[0]
        side = pad.evaluate("(canvas) => canvas.clientWidth") / 16
        spots = [[(column + 0.5) * side, (row + 0.5) * side] for row in range(16) for column in range(16)]
        seen = torch.tensor(pad.evaluate(COLOURS, spots))
        assert (seen[:, 0].view(16, 16) - wanted).abs().max() <= 1.01
        assert (seen[:, 3] == 255).all()
        small = widget.locator("fieldset canvas").nth(picture)
        seen = small.evaluate("(canvas) => Array.from(canvas.getContext('2d').getImageData(0, 0, 16, 16).data)")
        assert (torch.tensor(seen).view(16, 16, 4)[..., 1] - wanted).abs().max() <= 1.01
    assert problems == []


# --- drawing ----------------------------------------------------------------------------------------------------------


def inked(strokes):
    """What the pen leaves: full ink to 0.3 cells from its line, none from 1.3 on."""
    line, ink = torch.arange(16, dtype=torch.float64) + 0.5, torch.zeros(16, 16, dtype=torch.float64)
    for start, end in strokes:
        part = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None, None]
        x, y = (one + part * (other - one) for one, other in zip(start, end))
        ink = torch.maximum(ink, (1.3 - torch.hypot(line - x, line[:, None] - y).amin(0)).clamp(0, 1))
    return ink


def standardised(ink):
    return (ink - ink.mean()) / (ink.std() + 1e-3)


def draw(widget, *points):
    """A stroke through some places, in cells of the pad."""
    pad = pictures(widget)[0]
    pad.scroll_into_view_if_needed()
    box, mouse = pad.bounding_box(), widget.page.mouse
    spots = [(round(box["x"] + x * box["width"] / 16), round(box["y"] + y * box["height"] / 16)) for x, y in points]
    mouse.move(*spots[0])
    mouse.down()
    for spot in spots[1:]:
        mouse.move(*spot)
    mouse.up()
    redrawn(widget)
    cells = [((x - box["x"]) * 16 / box["width"], (y - box["y"]) * 16 / box["height"]) for x, y in spots]
    return list(zip(cells, cells[1:] or cells))


def test_what_is_drawn_is_looked_at_by_both_networks(show):
    widget, problems = show(pruned())
    strokes = draw(widget, (3, 3), (12, 3), (5, 13))
    assert pictures(widget)[0].get_attribute("aria-label") == "The picture on show: your drawing."
    assert widget.get_by_role("radio", name="your drawing").is_checked()
    assert_says(widget, 0, MODEL, standardised(inked(strokes)))
    assert_says(widget, 1, network(0.5), standardised(inked(strokes)))
    pad = pictures(widget)[0]
    side = pad.evaluate("(canvas) => canvas.clientWidth") / 16
    spots = [[(column + 0.5) * side, (row + 0.5) * side] for row in range(16) for column in range(16)]
    seen = torch.tensor(pad.evaluate(COLOURS, spots))[:, 0].view(16, 16)
    assert (seen - 255 * inked(strokes)).abs().max() < 1.5, "what stands on the pad"
    strokes += draw(widget, (9, 9))
    assert_says(widget, 0, MODEL, standardised(inked(strokes)))
    put(widget, RATIO, 3)
    assert_says(widget, 1, network(0.75), standardised(inked(strokes)))
    assert problems == []


def test_a_drawing_is_kept_until_it_is_cleared_or_a_new_one_is_begun(show):
    widget, problems = show(pruned())
    first = draw(widget, (2, 2), (13, 13))
    widget.get_by_role("radio", name=NAMES[1]).check()
    widget.get_by_role("radio", name="your drawing").check()
    assert_says(widget, 0, MODEL, standardised(inked(first)))
    widget.get_by_role("radio", name=NAMES[1]).check()
    other = draw(widget, (2, 12), (13, 4))
    assert_says(widget, 0, MODEL, standardised(inked(other)))
    press(widget, "Clear")
    redrawn(widget)
    assert_says(widget, 0, MODEL, torch.zeros(256))
    assert widget.locator(".lim-drawn").count() == 0
    third = draw(widget, (4, 4), (4, 12))
    assert widget.locator(".lim-drawn").count() == 1
    assert_says(widget, 0, MODEL, standardised(inked(third)))
    assert problems == []


def test_only_a_pressed_pen_draws(show):
    widget, problems = show(pruned())
    pad = pictures(widget)[0]
    box, mouse = pad.bounding_box(), widget.page.mouse
    mouse.move(box["x"] + 20, box["y"] + 20)
    mouse.move(box["x"] + 90, box["y"] + 90)
    mouse.down(button="right")
    mouse.move(box["x"] + 40, box["y"] + 90)
    mouse.up(button="right")
    redrawn(widget)
    assert widget.get_by_role("radio", name=NAMES[0]).is_checked()
    strokes = draw(widget, (3, 3), (3, 9))
    mouse.move(box["x"] + 120, box["y"] + 120)
    redrawn(widget)
    assert_says(widget, 0, MODEL, standardised(inked(strokes)))
    assert problems == []


def test_many_strokes_between_two_pictures_of_the_screen_are_answered_once(show):
    widget, problems = show(pruned())
    answers = widget.evaluate("""async (widget) => {
      const [pad, bars] = widget.querySelectorAll("canvas.lim-canvas"), box = pad.getBoundingClientRect();
      pad.setPointerCapture = () => {};
      let answers = 0;
      new MutationObserver((list) => { answers += list.length; }).observe(bars, { attributeFilter: ["aria-label"] });
      const at = (name, share) => pad.dispatchEvent(new PointerEvent(name, { pointerType: "touch", clientX: box.left + share * box.width, clientY: box.top + 0.5 * box.height }));
      at("pointerdown", 0.1);
      for (let k = 1; k <= 60; k++) at("pointermove", 0.1 + 0.8 * k / 60);
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      return answers;
    }""")
    assert answers == 1
    assert_says(widget, 0, MODEL, standardised(inked([((1.6, 8), (14.4, 8))])))
    assert problems == []


def test_points_between_two_events_of_a_quick_pen_are_drawn_too(show):
    widget, problems = show(pruned())
    widget.evaluate("""(widget) => {
      const pad = widget.querySelector("canvas.lim-canvas"), box = pad.getBoundingClientRect();
      pad.setPointerCapture = () => {};
      const at = (name, x, y) => new PointerEvent(name, { clientX: box.left + x * box.width, clientY: box.top + y * box.height });
      pad.dispatchEvent(at("pointerdown", 0.25, 0.25));
      const last = at("pointermove", 0.75, 0.75);
      last.getCoalescedEvents = () => [at("pointermove", 0.75, 0.25), last];
      pad.dispatchEvent(last);
    }""")
    redrawn(widget)
    assert_says(widget, 0, MODEL, standardised(inked([((4, 4), (12, 4)), ((12, 4), (12, 12))])))
    assert problems == []


def test_a_finger_on_the_pad_draws_and_does_not_move_the_page(show):
    widget, problems = show(pruned())
    assert pictures(widget)[0].evaluate("(canvas) => getComputedStyle(canvas).touchAction") == "none"
    for canvas in pictures(widget)[1:]:
        assert canvas.evaluate("(canvas) => getComputedStyle(canvas).touchAction") == "pan-y"
    assert problems == []


# --- what is drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_bars_are_as_long_as_the_classes_are_probable(show, theme):
    widget, problems = show(pruned())
    set_theme(widget, theme)
    redrawn(widget)
    ink, line, grey, blue = widget.evaluate(INKS, ["ink", "line", "exact", "learned"])
    full = shares(MODEL, IMAGES[0])
    for which, (model, colour) in enumerate(((MODEL, grey), (network(0.5), blue))):
        canvas, own = pictures(widget)[1 + which], shares(model, IMAGES[0])
        width, height = canvas.evaluate("(canvas) => [canvas.clientWidth, canvas.clientHeight]")
        for row, place in enumerate(own.argsort(descending=True)[:5].tolist()):
            middle = row * height / 5 + 22
            end, mark = width * own[place].item(), width * full[place].item()
            spots = [(end - 2, colour), (end + 2, line)]
            if which:
                spots = [(x, hue) for x, hue in spots if abs(x - mark) > 4] + [(min(max(mark, 1.5), width - 1.5), ink)]
            spots = [(x, hue) for x, hue in spots if 0 < x < width]
            seen = canvas.evaluate(COLOURS, [[x, middle] for x, _ in spots])
            for found, (_, hue) in zip(seen, spots):
                assert max(abs(a - b) for a, b in zip(found[:3], hue)) < 12
    assert problems == []


@pytest.mark.parametrize(("width", "columns"), [(860, 16), (324, 8)])
def test_filters_that_run_answer_in_colour_and_those_that_are_cut_in_grey(show, width, columns):
    widget, problems = show(pruned())
    set_width(widget, width)
    choose(widget, STATISTICS, 1)
    redrawn(widget)
    blue, grey, orange = widget.evaluate(INKS, ["learned", "exact", "rival"])
    whole = MODEL.blocks[0]
    with torch.no_grad():
        hidden = whole.norm1(whole.conv1(MODEL.stem(IMAGES[:1]))).relu()[0]
    kept = set(whole.conv1.weight.flatten(1).norm(dim=1).topk(8).indices.tolist())
    canvas = pictures(widget)[3]
    cell = canvas.evaluate("(canvas) => canvas.clientWidth") / columns
    pixel, most = (cell - 3) / 8, hidden.max().item()
    for how in ("cut out", "masked"):
        choose(widget, HOW, how)
        redrawn(widget)
        for filter in range(16):
            left, top = filter % columns * cell + 1.5, filter // columns * cell + 1.5
            bright = hidden[filter].flatten().argmax().item()
            spot = [left + (bright % 8 + 0.5) * pixel, top + (bright // 8 + 0.5) * pixel]
            (*hue, opacity), (*edge, there) = canvas.evaluate(COLOURS, [spot, [left - 0.4, top + 1.2]])
            runs = filter in kept
            if runs or how == "cut out":
                assert opacity == pytest.approx(255 * hidden[filter].max().item() / most, abs=3)
                if opacity > 60:
                    assert max(abs(a - b) for a, b in zip(hue, blue if runs else grey)) < 12
            else:
                assert opacity == 0
            assert (there > 60) == (runs or how == "masked")
            if there > 60:
                assert max(abs(a - b) for a, b in zip(edge, blue if runs else orange)) < 12
    assert problems == []


# --- where it is read -------------------------------------------------------------------------------------------------


def test_each_control_moves_the_picture_from_the_keyboard_and_a_phone_is_wide_enough(show):
    widget, problems = show(pruned())
    assert widget.get_by_role("slider").count() == 1
    assert widget.get_by_role("combobox").count() == 3
    assert_moves_on_a_phone(widget)
    assert_fits(widget, 320)
    assert problems == []


@pytest.mark.parametrize(
    ("width", "window"), [(304, 320), (324, 340), (324, 1280), (600, 1280), (760, 1280), (860, 1280)]
)
def test_nothing_lies_over_another_thing_or_reaches_beyond_the_widget(show, width, window):
    """A column of the book or of Lab may be narrower than its window."""
    widget, problems = show(pruned())
    resize(widget, {"width": window, "height": 900})
    set_width(widget, width)
    for how in (0, 1):
        choose(widget, HOW, how)
        at_rest(widget)
        assert clashes(widget, PLACED) == []
    assert problems == []


def test_the_longest_names_and_the_most_pictures_fit(show):
    classes = [f"{letter} class, so it" for letter in "MWNOQGHD"]
    names = [f"{place}, a picture with its name" for place in range(12)]
    assert {len(name) for name in classes} == {14}
    images = IMAGES.repeat(3, 1, 1, 1)
    usual = {"calibration": CALIBRATION, "classes": classes, "title": "t", "alt": "a", "ratios": RATIOS}
    widget, problems = show(live_pruned(MODEL, images, [name[:28] for name in names], **usual))
    for width in (304, 324, 600, 860):
        set_width(widget, width)
        assert clashes(widget, PLACED) == []
    assert problems == []


@pytest.mark.parametrize("width", [324, 600, 860])
def test_it_is_equally_high_at_every_setting(show, width):
    widget, problems = show(pruned())
    set_width(widget, width)
    heights = set()
    for how in (0, 1):
        choose(widget, HOW, how)
        for place in range(len(RATIOS)):
            put(widget, RATIO, place)
            redrawn(widget)
            heights.add(widget.evaluate("(card) => card.offsetHeight"))
    assert len(heights) == 1
    assert problems == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_follows_the_theme(show, theme):
    widget, problems = show(pruned())
    redrawn(widget)
    assert_follows_the_theme(widget, theme)
    assert problems == []


def test_keys_that_move_it_do_not_reach_the_page(show):
    widget, problems = show(pruned())
    widget.page.evaluate("() => { window.heard = 0; document.addEventListener('keydown', () => window.heard++); }")
    move_by_keyboard(slider(widget, RATIO))
    widget.get_by_role("radio").first.press("ArrowRight")
    assert widget.page.evaluate("() => window.heard") == 0
    assert problems == []


def test_it_can_be_taken_away_while_it_measures_or_is_drawn_upon(show):
    widget, problems = show(pruned())
    put(widget, RATIO, 1)
    widget.page.evaluate("() => window.stop()")
    before = rows(widget)
    widget.page.evaluate("() => new Promise((done) => setTimeout(done, 400))")
    assert rows(widget) == before, "nothing is measured any more"
    assert widget.get_attribute("data-state") == "running"
    label = pictures(widget)[1].get_attribute("aria-label")
    widget.evaluate("""(widget) => {
      const pad = widget.querySelector("canvas.lim-canvas");
      pad.setPointerCapture = () => {};
      pad.dispatchEvent(new PointerEvent("pointerdown", { clientX: 60, clientY: 300 }));
      window.stop();
    }""")
    redrawn(widget)
    assert pictures(widget)[1].get_attribute("aria-label") == label, "nor looked at"
    put(widget, RATIO, 2)
    widget.page.evaluate("() => document.querySelector('.lim-widget').remove()")
    widget.page.evaluate("() => new Promise((done) => setTimeout(done, 200))")
    assert problems == []


def test_it_starts_as_it_was_made(show):
    widget, problems = show(pruned(ratio=0.25, criterion="random"))
    assert_says(widget, 1, network(0.25, "random"), IMAGES[0])
    assert widget.get_by_role("combobox", name=WHICH).evaluate("(list) => list.selectedOptions[0].text") == "at random"
    state(widget, "done")
    assert all(re.fullmatch(r"[\d.]+(\u202f%)?", text) for text in rows(widget)[1])
    assert "NaN" not in widget.inner_text()
    assert "undefined" not in widget.inner_text()
    assert problems == []


def test_how_long_a_redraw_takes_is_told(show):
    model = ExpandedResidualNet(num_classes=len(CLASSES))
    usual = {"calibration": CALIBRATION, "classes": CLASSES, "title": "t", "alt": "a", "ratios": RATIOS}
    widget, problems = show(live_pruned(model, IMAGES, NAMES, **usual))
    state(widget, "done")
    tell_redraw_times(slider(widget, RATIO), [0, 1, 2, 3] * 5)
    assert problems == []
