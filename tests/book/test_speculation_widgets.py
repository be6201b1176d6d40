"""The widgets of speculative sampling as a reader moves them: what they count, and what a hand can drag."""

import base64
import re
from itertools import pairwise

import pytest
import torch

from companion.data import toy
from companion.methods.speculative import acceptance_probability
from companion.teaching.widgets import live_coupling, live_speculation
from companion.teaching.widgets.base import front_end

SHOW = """async ([text, state]) => {
  const front = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  if (state.reference) {
    state.reference = new DataView(Uint8Array.from(atob(state.reference), (letter) => letter.charCodeAt(0)).buffer);
  }
  window.stop = front.default.render({ model: { get: (name) => state[name] }, el: document.body });
}"""


@pytest.fixture
def show(browser):
    """Render a widget in an empty page; returns its element and what went wrong."""
    contexts = []

    def render(widget, still=True):
        contexts.append(browser.new_context(reduced_motion="reduce" if still else "no-preference"))
        page, problems = contexts[-1].new_page(), []
        page.on("pageerror", lambda error: problems.append(str(error)))
        state = {name: getattr(widget, name) for name in widget.keys if not name.startswith("_")}
        state = {
            name: value for name, value in state.items() if isinstance(value, bytes | str | int | float | list | dict)
        }
        if "reference" in state:
            state["reference"] = base64.b64encode(state["reference"]).decode()
        page.evaluate(SHOW, [front_end(), state])
        return page.locator(".lim-widget"), problems

    yield render
    for context in contexts:
        context.close()


def chain(**words):
    law = toy.eight_gaussians()
    return live_speculation(law, law.sample(20), title="t", alt="a", **words)


def counts(widget) -> dict[str, str]:
    """What the widget counts, by its words."""
    values = [text.strip() for text in widget.locator(".lim-counts strong").all_inner_texts()]
    return dict(zip(widget.locator(".lim-counts span").all_inner_texts(), values, strict=True))


def test_where_stillness_is_wanted_the_whole_chain_is_there_at_once(show):
    widget, problems = show(chain())
    assert widget.get_attribute("data-state") == "done"
    assert counts(widget)["steps done"] == "50 of 50"
    assert int(counts(widget)["rounds of the target"]) < 50
    assert problems == []


def test_next_round_goes_one_round_at_a_time_and_counts_each_call(show):
    widget, problems = show(chain(steps=25, window=4))
    total = counts(widget)
    button = widget.get_by_role("button", name="Next round")
    seen = []
    while not seen or seen[-1]["steps done"] != "25 of 25":
        button.click()
        seen.append(counts(widget))
        assert len(seen) <= 26, "a chain needs no more rounds than steps, and one free last step"
    done = [int(count["steps done"].split()[0]) for count in seen]
    rounds = [int(count["rounds of the target"]) for count in seen]
    assert done[0] == 0 < done[1], "the first round only asks, the second moves"
    assert all(0 <= after - before <= 4 for before, after in pairwise(done)), "a window at most"
    assert all(after - before == 1 for before, after in pairwise(rounds[:-1])), "a call each"
    assert rounds[-1] - rounds[-2] in (0, 1), "the last step alone needs no call"
    assert [count["rounds of the slow sampler"] for count in seen] == [str(count) for count in done]
    assert seen[-1] == total
    assert problems == []


def test_it_plays_by_itself_and_comes_to_rest_and_pause_stops_it(show):
    widget, problems = show(chain(steps=25), still=False)
    assert widget.get_attribute("data-state") == "running"
    widget.locator("xpath=self::*[@data-state='done']").wait_for()
    widget.get_by_role("button", name="Play").click()
    widget.get_by_role("button", name="Pause").click()
    assert widget.get_attribute("data-state") == "paused"
    widget.page.evaluate("() => window.stop()")
    assert problems == []


def test_the_bump_under_the_hand_moves_with_it_and_the_overlap_follows(show):
    widget, problems = show(live_coupling(title="t", alt="a", draft_mean=-1, target_mean=1, std=0.5))
    box = widget.locator("canvas").first.bounding_box()
    draft, target = widget.locator("input").nth(0), widget.locator("input").nth(1)

    def at(mean):
        return box["x"] + box["width"] * (0.5 + mean / 8.4), box["y"] + box["height"] / 2

    mouse = widget.page.mouse
    mouse.move(*at(0.9))
    mouse.down()
    mouse.move(*at(0.2), steps=4)
    mouse.up()
    mouse.move(*at(1.5))  # the hand is off: nothing follows
    assert (draft.input_value(), float(target.input_value())) == ("-1", pytest.approx(0.2, abs=0.03))
    share = float(re.search(r"overlap ([\d.]+) %", widget.locator("figcaption").first.inner_text())[1]) / 100
    distance = torch.tensor((1 + float(target.input_value())) / 0.5, dtype=torch.float64)
    assert share == pytest.approx(acceptance_probability(distance).item(), abs=0.01)
    assert problems == []
