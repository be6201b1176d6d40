"""The readers, texts and comparisons of lesson 08."""

import math

import pytest
import torch
from torch import nn

from companion.data.text import decode, encode, passages
from companion.foundations.language import Transformer
from companion.methods.dynamic_evaluation import evaluate_stream
from companion.teaching import results
from companion.teaching.lessons import dynamic_evaluation as lesson
from companion.teaching.lessons import dynamic_evaluation_bench as bench
from companion.teaching.lessons import dynamic_evaluation_views as views
from companion.teaching.lessons.dynamic_evaluation import JOURNEY, KINDS, SEEDS, STYLES, Reading
from companion.teaching.lessons.readers import reader

SESSION = bench.session_of(0)
FREE = {"static", "cache"}  # kinds that take no gradient


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return reader("small", SESSION)


def first(kind: str) -> dict[str, float]:
    return bench.settings_of(kind)[len(bench.settings_of(kind)) // 2]


# --- texts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [4, 64, 112])
def test_the_scored_characters_are_the_same_for_every_context(context):
    text = lesson.text_of("docs", 2, 300, context)
    assert len(text) == context + 300
    assert decode(text[context:]) == passages("docs", [2])[0][128:428]


def test_a_journey_takes_up_a_style_where_it_left_it():
    text = decode(lesson.journey(1, 50))
    plays, docs = passages("plays", [1])[0], passages("docs", [1])[0]
    assert len(text) == lesson.CONTEXT + 50 * len(JOURNEY)
    parts = [text[lesson.CONTEXT + 50 * place :][:50] for place in range(len(JOURNEY))]
    assert text.startswith(plays[: lesson.CONTEXT + 50])
    assert parts[-1] == plays[lesson.CONTEXT + 50 :][:50]
    assert [parts[place] for place, style in enumerate(JOURNEY) if style == "docs"] == [docs[:50], docs[50:100]]


def test_passages_of_seeds_and_of_tuning_are_apart():
    assert not set(SEEDS) & set(lesson.TUNING_PASSAGES)


# --- readings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_same_budget_and_reads_each_character_once(kind, model):
    settings = bench.settings_of(kind)
    assert len(settings) == (1 if kind == "static" else lesson.BUDGET)
    assert len({tuple(each.values()) for each in settings}) == len(settings)
    text = lesson.text_of("code", 5, 150)
    before = [value.clone() for value in model.parameters()]
    reading = lesson.read(kind, first(kind), text, SESSION, model=model)
    assert reading.bits.shape == (150,)
    assert bool(reading.bits.isfinite().all())
    assert all(torch.equal(value, kept) for value, kept in zip(model.parameters(), before))
    static = lesson.read("static", {}, text, SESSION, model=model)
    if kind not in FREE:
        assert 1.5 < reading.flops / static.flops < 3.3
    if "cache" not in kind:  # the first block is read before anything was learned; a cache votes within it
        torch.testing.assert_close(reading.bits[:16], static.bits[:16])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "static"])
def test_every_kind_remembers_what_comes_again(kind, model):
    """Python code, where the middle of each grid is of use to everyone."""
    text = lesson.text_of("code", 6, 1600)
    static = lesson.read("static", {}, text, SESSION, model=model).bits[800:].mean()
    assert lesson.read(kind, first(kind), text, SESSION, model=model).bits[800:].mean() < 0.95 * static


def test_bits_are_nats_over_log_2_and_the_seed_chooses_the_model(model):
    text = lesson.text_of("plays", 0, 100)
    plain = evaluate_stream(model, text, lesson.CONTEXT, lesson.STRIDE).log_loss / math.log(2)
    assert torch.equal(lesson.read("static", {}, text, SESSION).bits, plain)
    other = lesson.read("static", {}, text, bench.session_of(1)).bits
    assert not torch.equal(other, plain)


def test_a_cache_is_paid_by_its_states(model):
    flops = [
        lesson.read("cache", first("cache"), lesson.text_of("code", 5, n), SESSION, model=model).flops
        for n in (160, 320)
    ]
    assert flops[1] - flops[0] == pytest.approx(160 * 64)


def test_what_is_missing_or_unknown_is_said(model):
    text = lesson.text_of("plays", 0, 50)
    with pytest.raises(ValueError, match=r"kind is 'none', but must be one of static"):
        lesson.read("none", {}, text, SESSION)
    with pytest.raises(ValueError, match=r"setting is .*, but must be with lr and decay"):
        lesson.read("decay", {"lr": 1.0}, text, SESSION)


# --- comparisons --------------------------------------------------------------------------------------------------


def test_tuning_puts_the_best_first_and_drops_what_diverged(monkeypatch, model):
    def read(kind, setting, text, session, **options):
        rate = setting["lr"]
        return Reading(torch.full((3,), math.nan if rate > 0.1 else rate), 1.0, model)

    monkeypatch.setattr(bench, "read", read)
    rates = [setting["lr"] for setting, _ in bench.tune("SGD", [torch.zeros(3)], model)]
    assert rates == sorted(rate for rate in KINDS["SGD"].grid["lr"] if rate <= 0.1)


def test_a_comparison_tunes_on_its_own_passages(monkeypatch, model):
    read, kept = [], {}
    monkeypatch.setattr(bench, "STYLES", ("docs",))
    monkeypatch.setattr(bench, "KINDS", {kind: KINDS[kind] for kind in ("static", "Adam")})
    monkeypatch.setattr(bench, "text_of", lambda style, number, *length: read.append(number) or encode("ab" * 50))
    monkeypatch.setattr(results, "store", lambda name, data, sources, command: kept.update({name: data}))
    bench.compare_styles((0, 1))
    assert read == [*lesson.TUNING_PASSAGES, *[0, 1] * 2]
    row = kept["08_styles"]["rows"]["docs"]["Adam"]
    assert row["chosen"] == row["tried"][0][0]
    assert len(row["bits"]) == 2
    by_rate = {setting["lr"]: bits for setting, bits in row["tried"]}
    crossed = kept["08_styles"]["crossed"]
    assert crossed["docs"] == [by_rate[rate] for rate in crossed["rates"]]


def test_what_a_kept_window_costs_is_one_window_for_its_characters():
    """Products with each weight once, and attention to the whole window: 2 x 2 x 2 blocks x context x width."""
    weights = sum(each.numel() for name, each in reader("small", SESSION).named_parameters() if each.ndim == 2)
    products = 2 * (weights - 97 * 64)  # but the embedding, which is looked up
    assert bench.cached_flops("small", 50) == products + 2 * 2 * 2 * 50 * 64


def test_fine_tuning_learns_its_texts_and_leaves_the_reader(model):
    texts = [lesson.text_of("code", 5, 400)]
    before = bench.bits_of(model, texts)
    assert bench.bits_of(bench.tuned(0, texts, 10, 3e-3), texts) < 0.9 * before
    assert bench.bits_of(model, texts) == before
    one = bench.training_flops(1, batch=1)
    assert bench.training_flops(10, batch=8) == 80 * one
    window = evaluate_stream(Transformer(97), torch.zeros(81, dtype=torch.long), 1, 80).flops
    assert 2.8 < one / window < 3.2


def test_a_curve_is_of_hundreds():
    bits = torch.arange(400.0).view(2, 200)
    assert list(bench.curve(bits)) == [(49.5 + 249.5) / 2, (149.5 + 349.5) / 2]


def test_stored_comparisons_hold_every_kind_and_seed():
    stored = results.load("08_styles")
    assert stored["seeds"] == list(SEEDS)
    assert set(stored["rows"]) == set(STYLES)
    for rows in stored["rows"].values():
        assert set(rows) == set(KINDS)
        for kind, row in rows.items():
            assert len(row["bits"]) == len(SEEDS)
            assert row["chosen"] in bench.settings_of(kind)
            assert [row["chosen"], min(bits for _, bits in row["tried"])] == row["tried"][0]
    for rows in results.load("08_contexts")["rows"].values():
        assert all(len(row["bits"]) == len(SEEDS) for found in rows.values() for row in found.values())
        assert all(list(found) == [str(context) for context in bench.CONTEXTS] for found in rows.values())
    for rows in results.load("08_strides")["rows"].values():
        assert [int(stride) for stride in rows] == list(bench.STRIDES)
        assert all(len(row["tried"]) <= len(bench.RATES) for row in rows.values())
    for row in results.load("08_fine_tuned")["rows"].values():
        assert len(row["tried"]["training"]) == len(bench.FINE_TUNINGS)
        assert all(len(row[kind]["bits"]) == len(SEEDS) for kind in ("static", "Adam"))
    journeys = results.load("08_journeys")["rows"]
    assert set(journeys) == set(bench.TRAVELLERS)
    for row in journeys.values():
        assert len(row["curve"]) == len(JOURNEY) * lesson.PART // bench.STEPS
        means = [sum(parts) / len(parts) for parts in row["parts"]]
        assert means == pytest.approx(row["bits"], abs=1e-4)


@pytest.mark.parametrize("kind", ["static", "LoRA"])
def test_a_stored_reading_can_be_had_again(kind):
    reading = lesson.read(kind, views.chosen(kind, "docs"), lesson.text_of("docs", 1), bench.session_of(1))
    stored = views.rows_of("docs")[kind]
    assert reading.bits.mean().item() == pytest.approx(stored["bits"][1], abs=2e-2)
    assert reading.flops == pytest.approx(stored["flops"], rel=1e-4)


# --- views --------------------------------------------------------------------------------------------------------


def test_a_running_mean_by_hand():
    assert views.running_mean(torch.tensor([4.0, 2.0, 6.0, 0.0]), 2).tolist() == [4, 3, 4, 3]


def test_gains_are_parts_of_the_static_loss():
    rows = views.rows_of("code")
    gain = views.gains("code", "Adam")
    assert gain[2] == pytest.approx(1 - rows["Adam"]["bits"][2] / rows["static"]["bits"][2])
    assert views.gains("code", "static") == [0.0] * len(SEEDS)


def test_tables_have_their_rows():
    assert views.styles_table().data.count("\n") == len(KINDS) + 1
    assert views.styles_table(("static", "Adam"), ("plays", "folio")).data.count("\n") == 3
    assert views.gains_table(("SGD", "LoRA"), STYLES).data.count("\n") == 3
    assert views.strides_table().data.count("\n") == len(bench.STRIDES) + 1
    assert views.parts_table().data.count("\n") == len(bench.TRAVELLERS) + 1
    assert views.fine_tuned_table().data.count("\n") == 5


def test_figures_say_what_to_look_for(model):
    for figure in (views.rates_figure(), views.frontier_figure()):
        assert len(figure.alt) > 20
    readings = {name: Reading(torch.rand(60) + 1, 1.0, model) for name in ("static", "learning")}
    picture = views.journey_figure(readings, 10)
    assert len(picture.axes) == 2
    won = (readings["static"].bits - readings["learning"].bits).sum() / 1000
    assert picture.axes[1].lines[0].get_ydata()[-1] == pytest.approx(won.item(), rel=1e-4)


def test_samples_are_of_each_style():
    assert [len(text) for text in views.samples(50).values()] == [50] * len(STYLES)


@pytest.mark.slow
def test_the_large_run_of_the_full_profile_runs_small(monkeypatch, model):
    monkeypatch.setattr(views, "reader", lambda size, session: model)
    table = views.large_run(SESSION, length=400)
    assert table.count("\n") == 4
