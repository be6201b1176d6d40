"""Sessions, claims and figures: small things that every lesson leans on."""

import pytest
import torch

from companion.teaching import begin, claim, claims, figures


def test_a_claim_prints_its_sentence_and_three_digits(capsys):
    claim("a third is small", True, torch.tensor(1 / 3))
    claim("two numbers", True, {"left": 0.00012345, "right": 7})
    assert capsys.readouterr().out == "✓ a third is small [0.333]\n✓ two numbers [left: 0.000123, right: 7]\n"


def test_a_false_claim_fails(capsys):
    with pytest.raises(claims.ClaimFailed, match="✗ the moon is green"):
        claim("the moon is green", torch.tensor(False), 3.0)
    assert capsys.readouterr().out == ""


def test_streams_of_a_session_repeat_and_differ():
    session = begin("smoke", seed=3, device="cpu")
    first, again, other = (torch.randn(4, generator=session.generator(offset)) for offset in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, torch.randn(4, generator=begin("smoke", 4, "cpu").generator()))


def test_full_falls_back_to_lesson():
    assert begin("full", 0, "cpu").pick(smoke=1, lesson=2) == 2
    assert begin("smoke", 0, "cpu").pick(smoke=1, lesson=2, full=3) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(("quick", 0, "cpu"), "PROFILE"), (("smoke", -1, "cpu"), "SEED"), (("smoke", 0, "abacus"), "DEVICE")],
)
def test_a_bad_parameters_cell_is_refused(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        begin(*words)


def test_curves_below_the_noise_floor_stay_in_the_figure():
    figure, (axes,) = figures.panels(1)
    figures.against_steps(axes, {"ours": {1: [0.1, 0.2, 0.3], 2: [-0.1, 0.001, 0.002]}}, floor=0.01)
    (line, _) = axes.lines
    assert list(line.get_ydata()) == [0.2, 0.001]
    assert figure.axes == [axes]


def test_a_sheet_of_images_has_one_row_for_each_eight():
    figure, (axes,) = figures.panels(1)
    figures.image_grid(axes, torch.zeros(20, 1, 8, 8), columns=8)
    assert axes.images[0].get_array().shape == (2 * 9 - 1, 8 * 9 - 1)
    assert figure.axes == [axes]


def test_a_figure_shows_itself_with_its_words():
    figure, _ = figures.panels(1, size=(2, 1))
    data, metadata = figures.describe(figure, "nothing to see")._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert data["text/plain"] == "nothing to see"
    assert metadata["image/png"] == {"width": 220, "height": 110, "alt": "nothing to see"}
