"""What lesson 05 shows beside its cells: descents, fields, and the stored comparisons. Changing a view makes no result stale."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from IPython.display import Markdown
from matplotlib.ticker import NullFormatter
from torch import Tensor

from companion.data import images
from companion.data.regression import Confounded, SineWaves
from companion.foundations.validation import Number
from companion.teaching import figures, results
from companion.teaching.lessons.closed_form import Task, task
from companion.teaching.lessons.closed_form_bench import WIDTH_STEPS

NAMES = {
    "full solve, SGD": "closed form, SGD",
    "full solve, Adam": "closed form, Adam",
    "through the solve, Adam": "through the solve, Adam",
    "first layer": "closed-form first layer, Adam",
}
ALONE = {"full solve, Adam": "ridge of each batch, Adam"}  # what a full solve is when a batch is not all of the data
OURS = ("full solve", "proximal", "recursive", "deep, proximal")
WIDTH_LINES = {"zero": "no network", "wide at the start": "infinitely wide, untrained"}
STEPS = (20, 50, 100, 200, 500, 1000)  # marked where they are reached
LINES = {
    "SGD": (figures.RIVAL, ":"),
    "Adam": (figures.RIVAL, "-"),
    "full solve, SGD": (figures.LEARNED, ":"),
    "full solve, Adam": (figures.LEARNED, "-"),
    "proximal, Adam": (figures.LEARNED, "-"),
    "recursive, Adam": (figures.THIRD, "-"),
    "Gauss-Newton": (figures.EXACT, "-"),
}


# --- numbers of the stored comparisons ----------------------------------------------------------------------------


def rows_of(result: str, part: str) -> dict[str, Any]:
    """The rows of one study, "constant" or "cosine" in most results."""
    return results.load(result)[part]["rows"]


def settings(result: str, part: str, method: str, seed: int) -> tuple[Number, Any]:
    """The learning rate and the setting that a method was given on a seed; for other seeds those of one of the five."""
    chosen = rows_of(result, part)[method]["chosen"]
    return tuple(chosen[seed % len(chosen)])


def finals(result: str, part: str, method: str) -> list[Number]:
    """The final error of each seed; infinite where training broke down."""
    return [float("inf") if value is None else value for value in rows_of(result, part)[method]["final"]]


def reached(result: str, part: str, method: str, goal: str) -> list[Number]:
    """For each seed the steps after which a method is as good as `goal` at its end; infinite if never."""
    values = rows_of(result, part)[method][f"steps to {goal}"]
    return [float("inf") if value is None else value for value in values]


def ratios(above: Sequence[Number], below: Sequence[Number]) -> list[float]:
    """Seed by seed, one over the other."""
    return [one / other for one, other in zip(above, below)]


def cost(result: str, part: str, method: str) -> Number:
    """CPU milliseconds of a step, measured beside the other methods of the study."""
    return results.load("05_costs")[f"{result}, {part}"][method]


def over(result: str, part: str, method: str, other: str) -> list[float]:
    """For each seed the final error of one method over that of another."""
    return ratios(finals(result, part, method), finals(result, part, other))


# --- the sines ----------------------------------------------------------------------------------------------------


def descent_figure(size: str, methods: Sequence[str], level: str = "Adam") -> figures.Picture:
    """Test loss against steps and against CPU seconds, medians and range of five seeds; dashed the level of one method."""
    rows = rows_of(f"05_{size}", "constant")
    figure, (left, right) = figures.panels(2, size=(4.3, 3.9), sharey=True)
    for method in methods:
        colour, style = LINES[method]
        if method == "full solve, Adam" and size != "full":
            colour = figures.FOURTH
        steps, _, middle, low, high = zip(*rows[method]["path"])
        seconds = [step * cost(f"05_{size}", "constant", method) / 1000 for step in steps]
        for axes, places in ((left, steps), (right, seconds)):
            axes.plot(places, middle, style, color=colour, label=shown(method, size))
            axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    for axes, words in ((left, "steps"), (right, "CPU seconds")):
        axes.axhline(median(finals(f"05_{size}", "constant", level)), color=figures.INK, linestyle="--", linewidth=1)
        axes.set(xscale="log", yscale="log", xlabel=words)
        axes.xaxis.set_minor_formatter(NullFormatter())
    left.set_xticks(STEPS, map(str, STEPS))
    left.set_xlim(rows["Adam"]["path"][0][0], rows["Adam"]["path"][-1][0])
    left.set_ylabel("test loss")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    alt = (
        "All curves fall. The blue ones of the closed form fall first and farthest, against steps and against seconds."
    )
    return figures.describe(figure, alt)


def sines_table(size: str) -> Markdown:
    """Medians over five seeds: loss at the end, how soon Adam's own is reached, and milliseconds a step; both schedules."""
    constant, cosine = (rows_of(f"05_{size}", schedule) for schedule in ("constant", "cosine"))
    lines = [
        "| | loss, constant | to Adam's: steps | seconds | loss, cosine | ms a step |",
        "|:--|--:|--:|--:|--:|--:|",
    ]
    order = sorted(constant, key=lambda method: -middle(constant[method]["final"]))
    for method in order:
        cells = [
            loss(constant[method]["final"]),
            *soon(constant[method], cost(f"05_{size}", "constant", method)),
            loss(cosine[method]["final"]) if method in cosine else "",
            f"{cost(f'05_{size}', 'constant', method):.2f}",
        ]
        lines.append(f"| {bold(method, size)} | " + " | ".join(cells) + " |")
    noise = loss([0.5 * SineWaves.outputs * SineWaves.noise**2])
    return Markdown("\n".join([*lines, f"| *noise in the targets* | {noise} | | | {noise} | |"]))


def middle(values: Sequence[Number | None]) -> Number:
    """The median, where None counts as infinite."""
    return median(float("inf") if value is None else value for value in values)


def loss(values: Sequence[Number | None]) -> str:
    """A median in units of 0.0001."""
    value = 1e4 * middle(values)
    return "diverges" if value == float("inf") else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def soon(row: dict[str, Any], milliseconds: Number) -> list[str]:
    """The median steps to Adam's level, and the seconds that they take; "never" where most seeds do not come there."""
    values = row.get("steps to Adam", [None])  # plain descent was not followed to it
    if sum(value is None for value in values) > len(values) // 2:
        return ["never", "never"]
    return [f"{middle(values):.0f}", f"{middle(values) * milliseconds / 1000:.2f}"]


def shown(method: str, size: str = "") -> str:
    """How a method is called in a study; at full batch a full solve is the closed form itself."""
    return NAMES.get(method, method) if size == "full" else ALONE.get(method, NAMES.get(method, method))


def bold(method: str, size: str = "") -> str:
    """The same, in bold where it is the method of the lesson."""
    name = shown(method, size)
    return f"**{name}**" if method.startswith(OURS) and name not in ALONE.values() else name


# --- digits and diabetes ------------------------------------------------------------------------------------------


def missed_figure(predict: Callable[[Tensor], Tensor], seed: int) -> figures.Picture:
    """The test digits of a seed that are taken for others."""
    inputs, targets = task("digits", seed).test
    missed = predict(inputs).argmax(1) != targets.argmax(1)
    pictures = images.digits("test", seed).images[missed]
    figure, (axes,) = figures.panels(1, size=(6.4, 1.4))
    title = f"{len(pictures)} of {len(inputs)} are taken for another digit"
    figures.image_grid(axes, pictures, max(1, min(12, len(pictures))), title)
    return figures.describe(figure, "Digits that are mistaken for others; most of them are hard for people, too.")


def digits_table() -> Markdown:
    """Medians over five seeds, batches of 128 and 16: loss at the end, steps and seconds to Adam's, wrong images in %."""
    lines = [
        "| | loss, 128 | to Adam's: steps | seconds | loss, 16 | to Adam's: steps | seconds | wrong, % |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|",
    ]
    large, small = (rows_of("05_real", f"digits {size}") for size in (128, 16))
    for method in sorted(large, key=lambda method: -middle(small[method]["final"])):
        cells = [loss(large[method]["final"]), *soon(large[method], cost("05_real", "digits 128", method))]
        cells.append(loss(small[method]["final"]))
        cells += soon(small[method], cost("05_real", "digits 16", method))
        lines.append(f"| {bold(method)} | " + " | ".join([*cells, per_cent(small[method]["score"])]) + " |")
    return Markdown("\n".join(lines))


def per_cent(shares: Sequence[Number | None]) -> str:
    return f"{100 * middle(shares):.1f}"


# --- a neural operator --------------------------------------------------------------------------------------------


def flow_figure(predict: Callable[[Tensor], Tensor], flow: Task) -> figures.Picture:
    """A test field with as much ground of one kind as of the other: its permeability, its pressure, and what was learned."""
    place = flow.test[0].mean((1, 2, 3)).abs().argmin()
    inputs, pressure = (part[place, None] for part in flow.test)
    figure, axes = figures.panels(3, size=(2.5, 2.7))
    fields = {"permeability": inputs, "pressure": pressure, "learned pressure": predict(inputs)}
    for axis, (name, field) in zip(axes, fields.items()):
        look = (
            {"cmap": "Greys", "vmin": -3, "vmax": 3} if name == "permeability" else {"vmin": 0, "vmax": pressure.max()}
        )
        axis.imshow(field[0, ..., 0].cpu().T, origin="lower", **look)
        axis.set(xticks=[], yticks=[], title=name)
        axis.spines[:].set_visible(False)
    alt = "Permeability in two greys, dark where water passes easily. The pressure is 0 at the edge and highest inside, where the ground is tight; the learned one can hardly be told from it."
    return figures.describe(figure, alt)


def darcy_table() -> Markdown:
    """Medians over five seeds: relative error in %, steps and seconds to Adam's own, milliseconds a step."""
    constant, cosine = (rows_of("05_darcy", name) for name in ("constant", "cosine"))
    lines = [
        "| | error, constant, % | to Adam's: steps | seconds | error, cosine, % | to Adam's: steps | seconds | ms a step |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for method in sorted(constant, key=lambda method: -middle(constant[method]["final"])):
        cells = []
        for rows in (constant, cosine):
            cells += [f"{100 * middle(rows[method]['final']):.2f}"]
            cells += soon(rows[method], cost("05_darcy", "constant", method))
        cells.append(f"{cost('05_darcy', 'constant', method):.1f}")
        lines.append(f"| {bold(method)} | " + " | ".join(cells) + " |")
    return Markdown("\n".join(lines))


# --- instrumental variables ---------------------------------------------------------------------------------------


def structure_figure(curves: dict[str, Callable[[Tensor], Tensor]], rows: Any) -> figures.Picture:
    """The rows as they come, the structural function in grey, and what was found."""
    x = torch.linspace(-4, 4, 200)[:, None]
    figure, (axes,) = figures.panels(1, size=(6.4, 3.6))
    axes.scatter(rows.treatment[:800], rows.outcome[:800], s=5, color=figures.INK, alpha=0.2, linewidths=0)
    axes.plot(x, Confounded().structural(x), color=figures.EXACT, linewidth=4, label="structural function")
    for (name, predict), colour in zip(curves.items(), (figures.RIVAL, figures.LEARNED)):
        axes.plot(x, predict(x), color=colour, label=name)
    axes.set(xlabel="treatment x", ylabel="outcome y", ylim=(-4, 4))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    alt = "The cloud of rows rises from left to right, and regression follows it. The closed-form stages follow the grey sine through it."
    return figures.describe(figure, alt)


def instruments_table() -> Markdown:
    """Medians and ranges over five seeds of the structural error, and CPU seconds."""
    stored = results.load("05_instruments")
    lines = ["| | error, median | least to most | CPU seconds |", "|:--|--:|--:|--:|"]
    zero = stored["zero"]
    entries = [("the function 0", zero, None)]
    entries += [(name, row["error"], row["seconds"]) for name, row in stored["rows"].items()]
    for name, errors, seconds in sorted(entries, key=lambda entry: -median(entry[1])):
        words = f"**{name}**" if name.startswith(OURS) else f"*{name}*" if name.startswith(("the", "nothing")) else name
        cost = "" if seconds is None else f"{seconds:.2f}"
        lines.append(f"| {words} | {median(errors):.3f} | {min(errors):.3f} to {max(errors):.3f} | {cost} |")
    return Markdown("\n".join(lines))


def instrument_errors(method: str) -> list[Number]:
    """The structural error of each seed."""
    return results.load("05_instruments")["rows"][method]["error"]


# --- width --------------------------------------------------------------------------------------------------------


def width_figure(width: Number) -> figures.Picture:
    """The reduced loss along gradient descent for one width, five starts; the other widths' medians in grey."""
    stored = results.load("05_widths")
    figure, (left, right) = figures.panels(2, size=(4.2, 3.4))
    steps = torch.linspace(0, WIDTH_STEPS, 21)
    for row in stored["rows"][str(width)]:
        left.plot(steps, row["loss"], color=figures.LEARNED, linewidth=1.3)
    for name, place in (("zero", "bottom"), ("wide at the start", "top")):
        left.axhline(stored[name], color=figures.EXACT, linestyle="--", linewidth=1.5)
        left.text(WIDTH_STEPS, stored[name], WIDTH_LINES[name], ha="right", va=place, fontsize=10)
    left.set(yscale="log", ylim=(0.008, 0.4), xlabel="step", ylabel="reduced loss", title=f"{width} features, 5 starts")
    ends = {each: [row["loss"][-1] for row in stored["rows"][str(each)]] for each in stored["widths"]}
    figures.band(right, stored["widths"], list(ends.values()), figures.EXACT, "ends")
    right.plot([width] * len(ends[width]), ends[width], "o", color=figures.LEARNED)
    right.set(xscale="log", yscale="log", ylim=(0.008, 0.4), xlabel="features", title="where descents end")
    right.set_xticks(stored["widths"], [str(each) for each in stored["widths"]])
    right.minorticks_off()
    return figure
