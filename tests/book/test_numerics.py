"""The numbers that the browser computes are torch's numbers."""

import math

import pytest
import torch

from companion.data import toy
from companion.foundations.diffusion import bridge
from companion.foundations.distances import energy_distance
from companion.foundations.networks import TimeMLP, time_features
from companion.teaching import begin
from companion.teaching.lessons import distributional_diffusion as lesson
from companion.teaching.widgets import live_posterior, live_sampler
from companion.teaching.widgets.base import float_bytes, front_end

N = 64


@pytest.fixture(scope="module")
def front(browser):
    """A page with the front end's module as `window.front`, and `call`: run JavaScript with it on some arguments."""
    page = browser.new_page()
    page.goto("about:blank")
    page.evaluate(
        """async (text) => {
            window.front = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
            window.floats = (list) => Float32Array.from(list);
        }""",
        front_end(),
    )
    yield lambda body, *values: page.evaluate(f"(values) => {{ const f = window.front; {body} }}", list(values))
    page.close()


def shipped_pairs():
    session = begin("lesson", 0, "cpu")
    return [pytest.param(model, id=f"{law}-{kind}") for law in lesson.LAWS
            for kind, model in zip(("standard", "distributional"), lesson.models(law, session))]  # fmt: skip


RUN = """
const [spec, weights, x, t, noise] = values;
const network = f.makeNetwork(spec, floats(weights), x.length / 2);
return Array.from(f.denoise(network, floats(x), t, floats(noise), new Float32Array(x.length)));
"""


@pytest.mark.parametrize("model", shipped_pairs())
@pytest.mark.parametrize("t", [0.05, 0.5, 1.0])
def test_the_shipped_networks_agree_to_a_hundred_thousandth(front, model, t):
    widget = live_sampler({"it": model}, torch.zeros(2, 2), title="t", alt="a")
    (spec,) = widget.networks
    generator = torch.Generator().manual_seed(0)
    x = 1.5 * torch.randn(N, 2, generator=generator)
    noise = torch.randn(N, spec["noise"], generator=generator)
    with torch.no_grad():
        expected = model.network(x, t, noise if spec["noise"] else None)
    weights = torch.frombuffer(bytearray(spec["weights"]), dtype=torch.float32)
    assert float_bytes(weights) == spec["weights"]
    layout = {key: spec[key] for key in ("sizes", "noise", "waves")}
    got = front(RUN, layout, weights.tolist(), x.flatten().tolist(), t, noise.flatten().tolist())
    torch.testing.assert_close(torch.tensor(got).view(N, 2), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_time_features_agree(front, t):
    got = front("return Array.from(f.timeFeatures(values[0], 6));", t)
    torch.testing.assert_close(
        torch.tensor(got, dtype=torch.float32), time_features(torch.tensor([t]))[0], atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(("t", "s", "churn"), [(1.0, 0.5, 0.0), (1.0, 0.75, 1.0), (0.6, 0.1, 0.4)])
def test_the_bridge_agrees(front, t, s, churn):
    got = front("return f.bridge(...values);", t, s, churn)
    one = torch.ones(1, 1, dtype=torch.float64)
    noisy, std = bridge(one, 0 * one, t, s, churn)
    clean, _ = bridge(0 * one, one, t, s, churn)
    expected = {"noisy": noisy.item(), "clean": clean.item(), "std": std.item()}
    assert got == pytest.approx(expected, abs=1e-12)


def test_the_energy_distance_agrees(front):
    x, y = torch.randn(40, 2, dtype=torch.float64), torch.randn(50, 2, dtype=torch.float64) + 0.5
    got = front("return f.energyDistance(...values);", x.flatten().tolist(), y.flatten().tolist())
    assert got == pytest.approx(energy_distance(x, y).item(), abs=1e-12)


def test_the_exact_posterior_agrees(front):
    law = toy.eight_gaussians().to(torch.float64)
    network = TimeMLP(2)
    widget = live_posterior(network, network, law, torch.zeros(2, 2), title="t", alt="a")
    parts = front(
        "const [law, ...at] = values; return f.mixturePosterior({ ...law, means: law.means.flat() }, ...at);",
        widget.law, 0.4, -0.2, 0.6,
    )  # fmt: skip
    weights, means, stds = law.posterior(torch.tensor([[0.4, -0.2]], dtype=torch.float64), 0.6)
    got = torch.tensor([[part[name] for name in ("weight", "x", "y", "std")] for part in parts], dtype=torch.float64)
    expected = torch.cat([weights[0, :, None], means[0], stds[:, None]], dim=1)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-9)


def test_random_numbers_in_the_browser_are_standard_normal_and_repeat(front):
    draw = "return Array.from(f.normals(values[0]).fill(new Float64Array(20000)));"
    first, again, other = front(draw, 5), front(draw, 5), front(draw, 6)
    assert first == again
    assert first != other
    values = torch.tensor(first)
    assert abs(values.mean().item()) < 5 / math.sqrt(len(first))
    assert abs(values.var().item() - 1) < 5 * math.sqrt(2 / len(first))
    assert abs((values**4).mean().item() - 3) < 0.4


def test_one_step_of_the_sampler_in_the_browser_crosses_the_bridge_to_the_networks_clean_point(front):
    torch.manual_seed(0)
    network = TimeMLP(2)
    (spec,) = live_sampler({"it": network}, torch.zeros(2, 2), title="t", alt="a").networks
    weights = torch.frombuffer(bytearray(spec["weights"]), dtype=torch.float32).tolist()
    x = torch.randn(N, 2)
    got = front(
        """const [spec, weights, x, t, s] = values;
        const network = f.makeNetwork(spec, floats(weights), x.length / 2);
        return Array.from(f.step(network, floats(x), t, s, 0, f.normals(1), f.makeWork(network)));""",
        {key: spec[key] for key in ("sizes", "noise", "waves")}, weights, x.flatten().tolist(), 0.7, 0.4,
    )  # fmt: skip
    with torch.no_grad():
        expected, _ = bridge(x, network(x, 0.7), 0.7, 0.4)
    torch.testing.assert_close(torch.tensor(got).view(N, 2), expected, atol=1e-5, rtol=1e-5)
