"""The live widget of attention as a reader moves it: numbers and pictures are those of gradient descent and of attention in torch."""

import re

import pytest
import torch
from hands import (
    assert_fits,
    assert_follows_the_theme,
    assert_moves_on_a_phone,
    choose,
    counts,
    numbers,
    press,
    put,
    redrawn,
    resize,
    set_theme,
    slider,
    tell_redraw_times,
)

from companion.teaching.widgets import live_attention
from companion.teaching.widgets.attention import attention_tokens, gradient_line, longest_step, softmax_tokens
from tests.browser import PICTURE

GENERATOR = torch.Generator().manual_seed(0)
X = torch.linspace(-2, 2, 10, dtype=torch.float64) + 0.1 * torch.randn(10, generator=GENERATOR, dtype=torch.float64)
Y = 0.8 * X + 0.6 + 0.4 * torch.randn(10, generator=GENERATOR, dtype=torch.float64)
POINTS = torch.stack([X, Y], dim=1)

# From now on, note each path that is drawn: its canvas, how, and through where; a disc or circle by its middle and radius.
NOTE_PATHS = """() => {
  window.paths = [];
  const pen = CanvasRenderingContext2D.prototype, own = {};
  for (const name of ["beginPath", "lineTo", "arc", "stroke", "fill"]) {
    own[name] = pen[name];
    pen[name] = function (...where) {
      if (name === "beginPath") this.noted = [];
      else if (name === "stroke" || name === "fill") {
        const canvas = [...document.querySelectorAll("canvas")].indexOf(this.canvas);
        window.paths.push({ canvas, how: name, width: Math.round(100 * this.lineWidth) / 100, dashes: this.getLineDash().length, opacity: this.globalAlpha, where: this.noted });
      } else this.noted.push(where.slice(0, name === "arc" ? 3 : 2));
      return own[name].apply(this, where);
    };
  }
}"""


def attending(points=POINTS, **words):
    return live_attention(points, **{"title": "t", "alt": "a", "note": "n", **words})


class Plane:
    """Where the numbers of the left plot are in the window."""

    def __init__(self, widget, made):
        canvas = widget.locator("canvas").first
        self.box = canvas.bounding_box()
        self.size = canvas.evaluate("(canvas) => [canvas.clientWidth, canvas.clientHeight]")
        self.limits = made.across, made.up

    def sides(self):
        width, height = self.size
        return (40, width - 10), (height - 34, 8)

    def inside(self, x, y):
        """In the canvas, in pixels from its upper left corner."""
        shares = [(v - low) / (high - low) for v, (low, high) in zip((x, y), self.limits)]
        return [start + share * (end - start) for share, (start, end) in zip(shares, self.sides())]

    def at(self, x, y):
        """In the window."""
        across, down = self.inside(x, y)
        return self.box["x"] + across, self.box["y"] + down

    def numbers(self, across, down):
        """What `inside` came from."""
        shares = [(v - start) / (end - start) for v, (start, end) in zip((across, down), self.sides())]
        return [low + share * (high - low) for share, (low, high) in zip(shares, self.limits)]


def half_mean_square(values):
    return 0.5 * values.square().mean().item()


def assert_counts(widget, made, x=X, y=Y, *, layers, step=None, temperature=None, moved=False):
    """The numbers in the widget are torch's: to three digits, or two where they are very large, as they are written."""
    step = made.step_unit * made.step_index if step is None else step
    queries = torch.tensor(made.queries, dtype=torch.float64)
    slope, intercept = gradient_line(x, y, step, layers)
    softens = temperature is not None
    tokens = (
        softmax_tokens(x, y, queries, temperature)[1] if softens else attention_tokens(x, y, queries, step, layers)[-1]
    )
    inputs = torch.stack([x, torch.ones_like(x)], dim=1)
    best = inputs @ torch.linalg.lstsq(inputs, y[:, None], driver="gelsd").solution
    difference, least, descent, attention = counts(widget)
    wide = {"rel": 0.06 if max(descent, attention) >= 1e4 else 6e-3, "abs": 2e-2 if moved else 1e-12}
    assert least == pytest.approx(half_mean_square(y - best[:, 0]), **wide)
    assert descent == pytest.approx(half_mean_square(y - slope * x - intercept), **wide)
    assert attention == pytest.approx(half_mean_square(tokens[: len(x), 2]), **wide)
    note = widget.locator(".lim-note").inner_text()
    assert note.endswith(" n")
    if softens:
        wanted = (-tokens[len(x) :, 2] - slope * queries - intercept).abs().max().item()
        assert difference == pytest.approx(wanted, **wide)
        assert "no step of gradient descent" in note
    else:
        assert difference <= 1e-13 * max(1, descent)
        assert (
            f"{layers} layer{'s' * (layers != 1)} of linear attention and {layers} step{'s' * (layers != 1)} of" in note
        )
    return slope.item(), intercept.item()


def said_line(widget):
    """Slope and intercept as they stand above the plane."""
    text = widget.locator("figcaption span").first.inner_text()
    slope, sign, intercept = re.fullmatch(r"line: y = (\S+) x ([+−]) (\S+)", text).groups()
    slope, intercept = numbers([slope, intercept])
    return slope, intercept if sign == "+" else -intercept


# --- the numbers ------------------------------------------------------------------------------------------------------


def test_the_numbers_are_torchs_at_each_layer_and_step(show):
    made = attending(layers=3)
    widget, problems = show(made)
    assert_counts(widget, made, layers=3)
    for layers in (0, 1, 2, 20):
        put(widget, "Layers", layers)
        line = assert_counts(widget, made, layers=layers)
        assert said_line(widget) == pytest.approx(line, abs=6e-3)
    for place in (0, 1, made.step_places // 2, made.step_places):
        put(widget, "Step size", place)
        assert_counts(widget, made, layers=20, step=place * made.step_unit)
    assert problems == []


def test_the_numbers_are_torchs_with_the_softmax_and_back(show):
    made = attending(layers=4, temperature=0.5)
    widget, problems = show(made)
    assert slider(widget, "Temperature").count() == 0
    choose(widget, "Attention", "softmax")
    assert_counts(widget, made, layers=4, temperature=0.5)
    for place in (0, 10, 20):
        put(widget, "Temperature", place)
        assert_counts(widget, made, layers=4, temperature=made.temperatures[place])
    put(widget, "Steps", 9)
    assert_counts(widget, made, layers=9, temperature=100)
    assert counts(widget)[0] > 0.3, "the circles leave the line"
    choose(widget, "Attention", "linear")
    assert_counts(widget, made, layers=9)
    assert problems == []


def test_it_can_start_with_the_softmax(show):
    made = attending(layers=4, attention="softmax", temperature=2, step=0.1)
    widget, problems = show(made)
    assert_counts(widget, made, layers=4, temperature=2)
    assert slider(widget, "Step size").get_attribute("aria-valuetext") == "0.10"
    assert widget.get_by_role("combobox", name="Attention").input_value() == "1"
    assert problems == []


def test_it_says_where_gradient_descent_diverges(show):
    made = attending(layers=20)
    widget, problems = show(made)
    longest = longest_step(X)
    note = widget.locator(".lim-note")
    assert numbers(re.findall(r"Steps below (\S+) converge", note.inner_text())) == pytest.approx([longest], rel=6e-3)
    place = int(longest / made.step_unit)
    put(widget, "Step size", place)
    assert "diverges" not in note.inner_text()
    put(widget, "Step size", place + 1)
    assert numbers(re.findall(r"is above (\S+), where", note.inner_text())) == pytest.approx([longest], rel=6e-3)
    assert "diverges, and attention with it." in note.inner_text()
    put(widget, "Step size", made.step_places)
    _, _, descent, _ = counts(widget)
    put(widget, "Layers", 0)
    assert descent > 100 * counts(widget)[2]
    assert problems == []


@pytest.mark.parametrize("attention", ["linear", "softmax"])
def test_the_pictures_are_told_in_words(show, attention):
    made = attending(layers=5, attention=attention, temperature=1)
    widget, problems = show(made)
    difference, least, descent, own = counts(widget)
    plane, losses = (canvas.get_attribute("aria-label") for canvas in widget.locator("canvas").all())
    said = numbers(
        re.findall(
            r"at first; after 5 steps of gradient descent (\S+), .* after \d layers? (\S+); .* line (\S+)\.", losses
        )[0]
    )
    assert said == [descent, own, least]
    assert ("after 1 layer " if attention == "softmax" else "after 5 layers ") in losses
    assert numbers(re.findall(r"axis: (\S+) at first", losses)) == pytest.approx([half_mean_square(Y)], rel=6e-3)
    assert plane.startswith("a Point 1 of 10 is at x ")
    at = numbers(re.findall(r"at x (\S+), y (\S+)\. ", plane)[0])
    assert at == pytest.approx(POINTS[0].tolist(), rel=6e-3)
    assert difference in numbers(re.findall(r"(?:at most|up to) (\S+)\.", plane))
    assert problems == []


# --- the pictures -----------------------------------------------------------------------------------------------------


def drawn(widget, place=4):
    """What is drawn at the next redraw, by canvas."""
    widget.page.evaluate(NOTE_PATHS)
    put(widget, "Point", place)
    return widget.page.evaluate("() => window.paths")


def discs(paths, canvas, how, radius):
    """Middles of the discs or circles of one size."""
    arcs = [arc for path in paths if path["canvas"] == canvas and path["how"] == how for arc in path["where"]]
    return [arc[:2] for arc in arcs if len(arc) == 3 and arc[2] == radius]


@pytest.mark.parametrize("attention", ["linear", "softmax"])
@pytest.mark.parametrize("width", [1280, 390])
def test_points_lines_circles_and_residuals_are_drawn_where_they_are(show, attention, width):
    made = attending(layers=3, attention=attention, temperature=0.5)
    widget, problems = show(made)
    resize(widget, {"width": width, "height": 800})
    plane, paths = Plane(widget, made), drawn(widget)
    softens, queries = attention == "softmax", torch.tensor(made.queries, dtype=torch.float64)
    step = made.step_unit * made.step_index
    tokens = softmax_tokens(X, Y, queries, 0.5)[-1] if softens else attention_tokens(X, Y, queries, step, 3)[-1]

    points = torch.tensor([plane.numbers(*disc) for disc in discs(paths, 0, "fill", 5)], dtype=torch.float64)
    torch.testing.assert_close(points, POINTS, rtol=0, atol=1e-6)
    (chosen,) = discs(paths, 0, "stroke", 9)
    assert plane.numbers(*chosen) == pytest.approx(POINTS[3].tolist(), abs=1e-6)
    circles = torch.tensor([plane.numbers(*circle) for circle in discs(paths, 0, "stroke", 4.5)], dtype=torch.float64)
    wanted = torch.stack([queries, -tokens[10:, 2]], dim=1)
    torch.testing.assert_close(circles, wanted, rtol=0, atol=1e-6)

    own = [path for path in paths if path["canvas"] == 0 and path["how"] == "stroke"]
    lines = [[plane.numbers(*point) for point in path["where"]] for path in own if len(path["where"]) == 41]
    thick = [path["width"] for path in own if len(path["where"]) == 41]
    assert thick == [1.2, 1.2, 1.2, 2, 3]
    inputs = torch.stack([X, torch.ones_like(X)], dim=1)
    best = torch.linalg.lstsq(inputs, Y[:, None]).solution[:, 0]
    for drawn_line, (slope, intercept) in zip(
        lines, [*(gradient_line(X, Y, step, k) for k in range(3)), best, gradient_line(X, Y, step, 3)]
    ):
        for x, y in drawn_line:
            assert y == pytest.approx((slope * x + intercept).item(), abs=1e-6)
    assert [path["dashes"] for path in own if len(path["where"]) == 41] == [0, 0, 0, 2, 0]

    ends = [[plane.numbers(*end) for end in path["where"]] for path in own if path["width"] == 1.4]
    assert len(ends) == 10
    for ((x, y), (below, held)), point, token in zip(ends, POINTS, tokens):
        assert (x, y) == pytest.approx(tuple(point.tolist()), abs=1e-6)
        assert below == pytest.approx(x)
        assert y - held == pytest.approx(token[2].item(), abs=1e-6)
    curves = [path for path in own if len(path["where"]) == 81]
    assert len(curves) == int(softens)
    for curve in curves:
        x, y = torch.tensor([plane.numbers(*point) for point in curve["where"]], dtype=torch.float64).T
        torch.testing.assert_close(y, -softmax_tokens(X, Y, x, 0.5)[-1, 10:, 2], rtol=0, atol=1e-5)
    assert problems == []


@pytest.mark.parametrize("attention", ["linear", "softmax"])
def test_the_loss_is_drawn_for_each_step_and_its_circles_lie_on_the_line(show, attention):
    made = attending(layers=6, attention=attention, temperature=2)
    widget, problems = show(made)
    paths, step = [path for path in drawn(widget) if path["canvas"] == 1], made.step_unit * made.step_index
    queries = torch.tensor(made.queries, dtype=torch.float64)
    box = widget.locator("canvas").last.bounding_box()
    layer = (box["width"] - 58) / 20
    traces = [path["where"] for path in paths if path["width"] == 2.6]
    later, sooner = traces
    assert [len(later), len(sooner)] == [15, 7]
    assert sooner[-1] == later[0]
    whole = [*sooner, *later[1:]]
    assert [across for across, _ in whole] == pytest.approx([48 + layer * k for k in range(21)])
    losses = [
        half_mean_square(Y - gradient_line(X, Y, step, k) @ torch.stack([X, torch.ones_like(X)])) for k in range(21)
    ]
    logs = torch.tensor(losses).log10().double()
    downs = torch.tensor([down for _, down in whole], dtype=torch.float64)
    scale = (downs[1] - downs[0]) / (logs[1] - logs[0])  # pixels for a factor of ten
    torch.testing.assert_close(downs, downs[0] + scale * (logs - logs[0]), rtol=0, atol=1e-3)
    assert scale < -20

    circles = discs(paths, 1, "stroke", 4.5)
    if attention == "linear":
        assert torch.tensor(circles).flatten().tolist() == pytest.approx(
            torch.tensor(sooner).flatten().tolist(), abs=1e-3
        )
    else:
        after = torch.tensor(half_mean_square(softmax_tokens(X, Y, queries, 2)[1, :10, 2])).log10()
        assert circles[0] == pytest.approx(sooner[0])
        assert circles[1] == pytest.approx([48 + layer, (downs[0] + scale * (after - logs[0])).item()], abs=1e-3)
        assert len(circles) == 2
    (dashed,) = [path["where"] for path in paths if path["dashes"] and path["width"] == 2]
    least = torch.tensor(
        half_mean_square(Y - gradient_line(X, Y, 0.9 * longest_step(X), 4000) @ torch.stack([X, torch.ones_like(X)]))
    )
    assert [down for _, down in dashed] == pytest.approx(
        [(downs[0] + scale * (least.log10() - logs[0])).item()] * 2, abs=1e-3
    )
    assert problems == []


# --- a hand and keys --------------------------------------------------------------------------------------------------


def test_a_point_can_be_dragged_and_stays_in_the_plane(show):
    made = attending(layers=4)
    widget, problems = show(made)
    plane, mouse = Plane(widget, made), widget.page.mouse
    mouse.move(*plane.at(*POINTS[6].tolist()))
    mouse.down()
    assert slider(widget, "Point").get_attribute("aria-valuetext") == "7 of 10"
    mouse.move(*plane.at(0.3, -0.4), steps=4)
    x, y = X.clone(), Y.clone()
    x[6], y[6] = 0.3, -0.4
    assert_counts(widget, made, x, y, layers=4, moved=True)
    assert float(slider(widget, "Its x").input_value()) == pytest.approx(0.3, abs=2 * made.moves[0])
    assert float(slider(widget, "Its y").input_value()) == pytest.approx(-0.4, abs=2 * made.moves[1])
    mouse.move(*plane.at(50, 50), steps=3)
    x[6], y[6] = made.across[1], made.up[1]
    assert_counts(widget, made, x, y, layers=4, moved=True)
    mouse.up()
    before = widget.evaluate(PICTURE)
    mouse.move(*plane.at(0, 0), steps=3)  # the hand is off: nothing follows
    redrawn(widget)
    assert widget.evaluate(PICTURE) == before
    press(widget, "Reset points")
    assert_counts(widget, made, layers=4)
    assert slider(widget, "Point").input_value() == "7"
    assert problems == []


def test_a_hand_far_from_every_point_takes_none(show):
    made = attending()
    widget, problems = show(made)
    plane, mouse, before = Plane(widget, made), widget.page.mouse, widget.evaluate(PICTURE)
    mouse.move(*plane.at(made.across[1], made.up[0]))
    mouse.down()
    mouse.move(*plane.at(*POINTS[2].tolist()), steps=3)
    mouse.up()
    assert widget.evaluate(PICTURE) == before
    assert slider(widget, "Point").input_value() == "1"
    assert problems == []


def test_a_finger_moves_a_point_and_elsewhere_the_page(show):
    made = attending()
    widget, problems = show(made)
    page = widget.page
    resize(widget, {"width": 390, "height": 500})
    widget.locator("canvas").first.scroll_into_view_if_needed()
    fingers = page.context.new_cdp_session(page)
    fingers.send("Emulation.setTouchEmulationEnabled", {"enabled": True})

    def swipe(start, down):
        for kind, moved in [("touchStart", 0), *(("touchMove", down * k / 5) for k in range(1, 6)), ("touchEnd", None)]:
            touches = [] if moved is None else [{"x": start[0], "y": start[1] + moved}]
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
        page.wait_for_timeout(150)

    at, plane = page.evaluate("window.scrollY"), Plane(widget, made)
    swipe(plane.at(*POINTS[6].tolist()), -60)
    assert page.evaluate("window.scrollY") == at
    assert slider(widget, "Point").input_value() == "7"
    x, y = X.clone(), Y.clone()
    _, y[6] = plane.numbers(*(side + by for side, by in zip(plane.inside(*POINTS[6].tolist()), (0, -60))))
    assert_counts(widget, made, x, y, layers=1, moved=True)
    swipe(plane.at(made.across[0] + 0.2, made.up[1] - 0.2), -60)
    assert page.evaluate("window.scrollY") > at
    assert_counts(widget, made, x, y, layers=1, moved=True)
    assert problems == []


def test_a_point_is_moved_from_the_keyboard(show):
    made = attending(layers=2)
    widget, problems = show(made)
    slider(widget, "Point").press("End")
    assert slider(widget, "Point").get_attribute("aria-valuetext") == "10 of 10"
    assert float(slider(widget, "Its x").input_value()) == pytest.approx(X[9].item(), abs=made.moves[0])
    x, y = X.clone(), Y.clone()
    slider(widget, "Its x").press("ArrowLeft")
    x[9] = float(slider(widget, "Its x").input_value())
    assert X[9].item() - 1.6 * made.moves[0] < x[9] < X[9]
    assert_counts(widget, made, x, y, layers=2)
    slider(widget, "Its y").press("Home")
    y[9] = made.up[0]
    assert_counts(widget, made, x, y, layers=2)
    slider(widget, "Point").press("Home")
    slider(widget, "Its y").press("End")
    y[0] = made.up[1]
    assert_counts(widget, made, x, y, layers=2)
    press(widget, "Reset points")
    assert_counts(widget, made, layers=2)
    assert float(slider(widget, "Its y").input_value()) == pytest.approx(Y[0].item(), abs=made.moves[1])
    assert problems == []


def test_points_drawn_out_make_a_step_too_long(show):
    made = attending(step=0.9 * longest_step(X))
    widget, problems = show(made)
    note = widget.locator(".lim-note")
    assert "converge." in note.inner_text()
    for point in (5, 6):
        put(widget, "Point", point)
        slider(widget, "Its x").press("End")
    assert "diverges" in note.inner_text()
    assert problems == []


def test_all_points_at_one_place_are_no_trouble(show):
    made = attending(layers=20)
    widget, problems = show(made)
    for point in range(1, 11):
        put(widget, "Point", point)
        slider(widget, "Its x").press("End")
        slider(widget, "Its y").press("End")
    x, y = torch.full((10,), made.across[1]).double(), torch.full((10,), made.up[1]).double()
    assert_counts(widget, made, x, y, layers=20)
    assert counts(widget)[1] == pytest.approx(0, abs=1e-12)
    put(widget, "Layers", 0)
    redrawn(widget)
    assert widget.evaluate(PICTURE) != "blank"
    assert problems == []


def test_the_plot_of_the_loss_can_be_dragged(show):
    made = attending()
    widget, problems = show(made)
    box, mouse = widget.locator("canvas").last.bounding_box(), widget.page.mouse

    def at(layer):
        return box["x"] + 48 + (box["width"] - 58) * layer / 20, box["y"] + box["height"] / 2

    mouse.move(*at(7.2))
    mouse.down()
    assert slider(widget, "Layers").input_value() == "7"
    assert_counts(widget, made, layers=7)
    mouse.move(*at(30), steps=3)
    mouse.up()
    assert slider(widget, "Layers").input_value() == "20", "no farther than its end"
    assert_counts(widget, made, layers=20)
    assert widget.locator("figcaption span").last.inner_text() == "after 20 steps"
    assert problems == []


# --- all of it --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["linear", "softmax"])
def test_each_control_moves_the_picture_from_the_keyboard_and_a_phone_is_wide_enough(show, attention):
    widget, problems = show(attending(attention=attention))
    assert_moves_on_a_phone(widget)
    assert_fits(widget, 320)
    assert problems == []


@pytest.mark.parametrize("n", [8, 16])
def test_as_few_and_as_many_points_as_are_allowed_are_drawn(show, n):
    points = 3 * torch.randn(n, 2, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    made = attending(points, layers=8)
    widget, problems = show(made)
    assert_counts(widget, made, *points.T, layers=8)
    assert slider(widget, "Point").get_attribute("max") == str(n)
    assert problems == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_follows_the_theme(show, theme):
    widget, problems = show(attending())
    assert_follows_the_theme(widget, theme)
    assert problems == []


def test_it_can_be_taken_away(show):
    widget, problems = show(attending())
    widget.page.evaluate("() => { window.stop(); document.querySelector('.lim-widget').remove(); }")
    set_theme(widget, "dark")
    widget.page.evaluate("() => new Promise((done) => setTimeout(done, 100))")
    assert problems == []


def test_how_long_a_redraw_takes_is_told(show):
    for attention in ("linear", "softmax"):
        widget, problems = show(attending(attention=attention))
        for control in widget.get_by_role("slider").all():
            low, high, step = (float(control.get_attribute(end)) for end in ("min", "max", "step"))
            tell_redraw_times(control, [low + step * k for k in range(int((high - low) / step) + 1)])
        assert problems == []
