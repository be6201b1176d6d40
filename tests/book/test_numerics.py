"""The numbers that the browser computes are torch's numbers."""

import math

import pytest
import torch
from scipy import stats

from companion.data import toy
from companion.foundations.conditional import ConditionalDenoiser
from companion.foundations.diffusion import bridge, time_grid
from companion.foundations.distances import energy_distance
from companion.foundations.networks import TimeMLP, time_features
from companion.methods.guidance import GuidanceWeights, sample_guided
from companion.methods.speculative import (
    acceptance_probability,
    aimed_residuals,
    reflection_coupling,
    speculative_sample,
    transition_residuals,
)
from companion.teaching import begin
from companion.teaching.lessons import distributional_diffusion as lesson
from companion.teaching.widgets import live_guidance, live_posterior, live_sampler, live_speculation
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


# --- speculative sampling ---------------------------------------------------------------------------------------------


def test_the_chance_that_a_draft_is_kept_agrees(front):
    distances = torch.cat([torch.linspace(-8, 8, 161, dtype=torch.float64), torch.tensor([30.0, 200.0])])
    got = front("return values[0].map(f.acceptanceProbability);", distances.tolist())
    expected = acceptance_probability(distances)
    torch.testing.assert_close(torch.tensor(got, dtype=torch.float64), expected, atol=1e-14, rtol=0)


@pytest.mark.parametrize("dim", [1, 2])
def test_the_reflection_coupling_agrees(front, dim):
    generator = torch.Generator().manual_seed(dim)
    noise, draft_mean, target_mean = torch.randn(3, 400, dim, generator=generator, dtype=torch.float64)
    std = torch.rand(400, generator=generator, dtype=torch.float64) + 0.2
    std[:5] = 0  # nothing to couple: the target's mean
    target_mean[5:10] = draft_mean[5:10]  # nothing to reject
    draft = draft_mean + std[:, None] * noise
    uniform = torch.rand(400, generator=generator, dtype=torch.float64)
    rows = [value.tolist() for value in (draft, draft_mean, target_mean, std, uniform)]
    got = front(
        "return values[0].map((_, row) => f.reflectionCoupling(...values.map((column) => column[row])));", *rows
    )
    value, kept = reflection_coupling(draft, draft_mean, target_mean, std, uniform)
    assert 50 < kept.sum() < 350, "both branches are tried"
    assert [row["kept"] for row in got] == kept.tolist()
    torch.testing.assert_close(
        torch.tensor([row["value"] for row in got], dtype=torch.float64), value, atol=1e-12, rtol=0
    )


def lawful():
    """The widget's law, as it travels, and in torch."""
    law = toy.eight_gaussians().to(torch.float64)
    return live_speculation(law, torch.zeros(2, 2), title="t", alt="a").law, law


@pytest.mark.parametrize("t", [0.02, 0.4, 1.0])
def test_the_exact_denoiser_agrees(front, t):
    sent, law = lawful()
    x = torch.randn(N, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    got = front(
        """const [law, points, t] = values;
        return points.map((point) => f.posteriorMean({ ...law, means: law.means.flat() }, point, t));""",
        sent, x.tolist(), t,
    )  # fmt: skip
    torch.testing.assert_close(torch.tensor(got, dtype=torch.float64), law.denoise(x, t), atol=1e-12, rtol=0)


CHAINS = """
const [{ means, ...law }, { n, coupling, ...settings }, noise, uniforms] = values;
const mixture = { ...law, means: means.flat() };
const couple = { right: f.reflectionCoupling, keepAll: (draft) => ({ value: draft, kept: true }) }[coupling];
const target = (point, t) => f.posteriorMean(mixture, point, t);
const random = noise ? { normal: () => noise.shift(), uniform: () => uniforms.shift() } : f.normals(1);
return Array.from({ length: n }, () => {
  const start = [random.normal(), random.normal()];
  const { path, rounds, evaluations, kept } = f.speculativeChain(start, { ...settings, target, random, couple }).at(-1);
  return { path, rounds, evaluations, kept };
});
"""


def run_chains(front, law, n, steps=50, window=8, churn=1.0, coupling="right", noise=None, uniforms=None):
    settings = {"n": n, "steps": steps, "window": window, "churn": churn, "coupling": coupling}
    return front(CHAINS, law, settings, noise, uniforms)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("steps", "window", "churn"), [(50, 8, 1.0), (50, 3, 0.4), (25, 1, 1.0), (12, 16, 1.0), (100, 12, 0.1)]
)
def test_a_chain_in_the_browser_is_the_chain_of_torch_when_both_have_the_same_noise(
    front, monkeypatch, steps, window, churn, seed
):
    """State by state, verdict by verdict, and counted alike: rounds and evaluations."""
    sent, law = lawful()
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(1, 2, generator=generator, dtype=torch.float64)
    noise, uniforms = start.flatten().tolist(), []

    def record(draw, into):
        def drawn(*args, **keywords):
            values = draw(*args, **keywords)
            into.extend(values.flatten().tolist())
            return values

        return drawn

    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn", record(torch.randn, noise))
        patch.setattr(torch, "rand", record(torch.rand, uniforms))
        run = speculative_sample(law.denoise, start, time_grid(steps), window, churn, generator=generator)

    (chain,) = run_chains(front, sent, 1, steps, window, churn, noise=noise, uniforms=uniforms)
    assert (chain["rounds"], chain["evaluations"]) == (run.rounds.item(), run.evaluations)
    assert chain["kept"] == run.accepted[:, 0].tolist()
    torch.testing.assert_close(torch.tensor(chain["path"], dtype=torch.float64), run.path[:, 0], atol=1e-9, rtol=0)


def test_chains_in_the_browser_need_as_many_rounds_as_those_of_torch_on_average(front):
    sent, law = lawful()
    chains = run_chains(front, sent, 1500)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(1500, 2, generator=generator, dtype=torch.float64)
    run = speculative_sample(law.denoise, start, time_grid(50), generator=generator)
    here = torch.tensor([chain["rounds"] for chain in chains], dtype=torch.float64)
    there = run.rounds.double()
    error = math.sqrt(here.var() / len(here) + there.var() / len(there))
    assert abs(here.mean() - there.mean()) < 4 * error


@pytest.mark.parametrize(("window", "churn"), [(1, 1.0), (2, 0.1), (3, 1.0), (16, 0.1)])
def test_a_chain_in_the_browser_never_needs_more_rounds_than_the_slow_sampler(front, window, churn):
    rounds = [chain["rounds"] for chain in run_chains(front, lawful()[0], 200, 25, window, churn)]
    assert max(rounds) <= 25
    assert window > 1 or set(rounds) == {25}


@pytest.mark.parametrize("residuals", [transition_residuals, aimed_residuals])
def test_every_step_in_the_browser_is_a_draw_of_the_slow_samplers(front, residuals):
    """The test has power: it rejects a coupling that keeps every draft."""
    sent, law = lawful()

    def p_value(coupling):
        chains = run_chains(front, sent, 1500, coupling=coupling)
        path = torch.tensor([chain["path"] for chain in chains], dtype=torch.float64).transpose(0, 1)
        return stats.kstest(residuals(law.denoise, path, time_grid(50)).flatten().numpy(), "norm").pvalue

    right, wrong = p_value("right"), p_value("keepAll")
    assert right > 0.01
    assert wrong < 1e-4


# --- guidance ---------------------------------------------------------------------------------------------------------


CLASSES = 4
LABELS = torch.arange(N) % CLASSES


def guided(output="softplus"):
    """A base whose classes differ, weights that do, and both as they travel: sizes and lists of numbers."""
    torch.manual_seed(0)
    model, weights = ConditionalDenoiser(TimeMLP(2, 8, depth=2), CLASSES), GuidanceWeights(CLASSES, output=output)
    with torch.no_grad():
        model.embedding.weight.mul_(2)
        for layer in list(weights.net)[::2]:  # as it starts, the weight hardly depends on class and times
            layer.weight.mul_(5)
        weights.net[-1].bias.fill_(-0.5)
    data, labels = torch.zeros(2 * N, 2), LABELS.repeat(2)
    (base,) = live_guidance({"it": (model, weights)}, data, labels, title="t", alt="a", points=N).networks
    numbers = [base["weights"], base["embeddings"], base["learned"].pop("weights")]
    numbers = [torch.frombuffer(bytearray(part), dtype=torch.float32).tolist() for part in numbers]
    sent = {key: base[key] for key in ("sizes", "noise", "waves", "learned")}
    return model.requires_grad_(False), weights.requires_grad_(False), (sent, *numbers)


GUIDED = """
const [spec, network, embeddings, perceptron, ...rest] = values;
const model = f.makeConditional(spec, floats(network), floats(embeddings));
const learned = f.makeWeights(spec.learned, floats(perceptron));
"""


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("t", [0.05, 0.5, 1.0])
def test_a_base_agrees_with_and_without_its_class(front, t, told):
    model, _, sent = guided()
    x = 1.5 * torch.randn(N, 2, generator=torch.Generator().manual_seed(1))
    expected = model.conditional(x, t, LABELS) if told else model.unconditional(x, t)
    got = front(
        GUIDED + "const [x, t, labels] = rest; return Array.from(f.expectClean(model, floats(x), t, labels, floats(x)));",
        *sent, x.flatten().tolist(), t, LABELS.tolist() if told else None,
    )  # fmt: skip
    torch.testing.assert_close(torch.tensor(got).view(N, 2), expected, atol=1e-5, rtol=1e-5)
    apart = model.conditional(x, t, LABELS) - model.unconditional(x, t)
    assert apart.abs().max() > 0.1 * t, "the class matters here"


@pytest.mark.parametrize("output", ["softplus", "relu"])
def test_the_learned_weight_agrees(front, output):
    _, weights, sent = guided(output)
    generator = torch.Generator().manual_seed(2)
    first, second = torch.rand(2, 200, generator=generator)
    s, t, labels = torch.minimum(first, second), torch.maximum(first, second), torch.arange(200) % CLASSES
    expected = weights(labels, s, t)
    got = front(
        GUIDED + "const [labels, s, t] = rest; return labels.map((c, i) => f.learnedWeight(learned, c, s[i], t[i]));",
        *sent, labels.tolist(), s.tolist(), t.tolist(),
    )  # fmt: skip
    torch.testing.assert_close(torch.tensor(got), expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.1, "it depends on class and times"
    assert (expected - weights(labels, t, s)).abs().max() > 0.01, "s and t are not to be swapped"
    assert output == "softplus" or 20 < (expected == 0).sum() < 180, "both sides of the relu are tried"


WALK = (
    GUIDED
    + """
const [start, labels, steps, fixed] = rest;
const x = floats(start), work = [floats(start), floats(start)];
const weightAt = (label, s, t) => fixed ? f.intervalWeight(fixed, t) : f.learnedWeight(learned, label, s, t);
for (let done = 0; done < steps; done++) {
  const t = (steps - done) / steps, s = (steps - done - 1) / steps;
  f.guidedStep(model, x, labels, [0, 1, 2, 3].map((label) => weightAt(label, s, t)), t, s, work);
}
return Array.from(x);
"""
)
FIXED = {
    "constant": (0.8, {"weight": 0.8, "low": 0, "high": 1}),
    "unguided": (0, {"weight": 0, "low": 0, "high": 1}),
    "interval": ((1.5, 0.22, 0.78), {"weight": 1.5, "low": 0.22, "high": 0.78}),
    "interval with its ends on the grid": ((1.5, 0.2, 0.75), {"weight": 1.5, "low": 0.2, "high": 0.75}),
}


def walk(front, sent, start, steps, fixed=None):
    got = front(WALK, *sent, start.flatten().tolist(), LABELS.tolist(), steps, fixed)
    return torch.tensor(got).view(N, 2)


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("schedule", [*FIXED, "learned"])
def test_guided_samples_of_the_browser_are_those_of_torch(front, schedule, steps):
    model, weights, sent = guided()
    start = torch.randn(N, 2, generator=torch.Generator().manual_seed(3))
    weight, fixed = FIXED.get(schedule, (weights, None))
    walked = sample_guided(model.conditional, model.unconditional, weight, LABELS, start, time_grid(steps))
    got = walk(front, sent, start, steps, fixed)
    torch.testing.assert_close(got, list(walked)[-1], atol=1e-5, rtol=1e-5)
    if schedule != "unguided":
        unguided = walk(front, sent, start, steps, FIXED["unguided"][1])
        assert (got - unguided).abs().max() > 0.01, "guidance moves the points by far more than the tolerance"


@pytest.mark.parametrize("steps", [5, 10, 20, 40, 100])
def test_an_interval_of_the_sliders_holds_its_own_ends(front, steps):
    """Times of the page are k / steps, each the number nearest to what a slider says: 0.3 is not 1 - 14 / 20."""
    inside = front(
        """const [steps] = values;
        return Array.from({ length: steps }, (_, k) => (k + 1) / steps).map((t) => {
          const end = Number(t.toFixed(3));
          return f.intervalWeight({ weight: 1, low: end, high: 2 }, t) + f.intervalWeight({ weight: 1, low: 0, high: end }, t);
        });""",
        steps,
    )
    assert inside == [2] * steps
