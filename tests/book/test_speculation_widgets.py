"""The widgets of speculative sampling as a reader moves them: what they count, and what a hand can drag."""

import re
from itertools import pairwise

import pytest
import torch
from hands import press, state

from companion.data import toy
from companion.methods.speculative import acceptance_probability
from companion.teaching.widgets import live_coupling, live_speculation


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
    seen = []
    while not seen or seen[-1]["steps done"] != "25 of 25":
        press(widget, "Next round")
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
    state(widget, "done")
    press(widget, "Play")
    press(widget, "Pause")
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
