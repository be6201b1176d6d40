"""What lesson 04 shows beside its cells: forces, fields, and the stored comparisons. Changing a view makes no result stale."""

from collections.abc import Sequence
from statistics import median

import torch
from IPython.display import Markdown
from matplotlib.colors import LinearSegmentedColormap
from torch import Tensor

from companion.foundations.validation import Number
from companion.methods.mmd_flow import (
    NoiseConditionalWitness,
    best_bandwidth,
    gaussian_force,
    scaled_rbf,
    witness_slope,
)
from companion.teaching import figures, results
from companion.teaching.lessons.deep_mmd import Judge

STARTS = {"noise": "noise", "wide noise": "wide noise", "one side": "far to one side"}
HIDDEN = {
    "fixed bandwidth": ("fixed bandwidth", figures.RIVAL, "s"),
    "energy": ("energy kernel", figures.THIRD, "D"),
    "adaptive": ("learned, adaptive", figures.LEARNED, "o"),
}
ENDS = {"diffusion": ("diffusion model", "^"), "variational KL critic": ("variational KL critic", "v")}
ORANGE_BLUE = LinearSegmentedColormap.from_list("witness", [figures.LEARNED, "#f7f7f7", figures.RIVAL])
LEVELS = {
    "adaptive": ("adaptive", figures.LEARNED),
    "single level": ("best single level", figures.RIVAL),
    "independent particles": ("independent particles", figures.THIRD),
}


# --- forces -------------------------------------------------------------------------------------------------------


def force_figure(distance: Number, std: Number = 0.3, dimension: int = 2) -> figures.Picture:
    """Left: two Gaussians and the best bandwidth as a ring. Right: the force against the bandwidth."""
    figure, (left, right) = figures.panels(2, size=(3.6, 3.3))
    generator = torch.Generator().manual_seed(0)
    clouds = std * torch.randn(2, 200, 2, generator=generator)
    clouds[1, :, 0] += distance
    best = best_bandwidth(distance, std, dimension)
    for cloud, colour in zip(clouds, (figures.EXACT, figures.LEARNED)):
        figures.scatter(left, cloud, colour, limit=None)
    left.add_patch(figures.ring((distance, 0), best, figures.RIVAL))
    left.set(xlim=(-2.5, 5.5), ylim=(-4, 4), title=f"distance {distance:g}")
    bandwidths = torch.linspace(0.01, 4, 400)
    force = gaussian_force(distance, std, bandwidths, dimension)
    right.plot(bandwidths, force / force.max(), color=figures.LEARNED)
    right.axvline(best, color=figures.RIVAL, linestyle="--")
    right.set(xlabel="bandwidth", ylabel="force, relative to its largest", title=f"best bandwidth {best:.3g}")
    return figure


def fields_figure(
    particles: Tensor, target: Tensor, bandwidths: Sequence[Number], limit: Number = 3.2
) -> figures.Picture:
    """Where fixed kernels push: arrows of one length, dark where the force is strong among the panel's arrows."""
    figure, axes = figures.panels(len(bandwidths), size=(3.2, 3.4))
    side = torch.linspace(-limit, limit, 17)
    grid = torch.cartesian_prod(side, side)
    for axis, bandwidth in zip(axes, bandwidths):
        slope = -witness_slope(grid, particles, target, scaled_rbf(bandwidth))
        length = slope.norm(dim=1, keepdim=True)
        figures.scatter(axis, target, figures.EXACT, limit=limit)
        figures.scatter(axis, particles, figures.LEARNED, limit=limit)
        shade = (length / length.max()).sqrt().clamp_min(0.05)[:, 0]
        axis.quiver(*grid.T, *(slope / length.clamp_min(1e-12)).T, color=figures.INK, alpha=shade, width=0.006)
        axis.set_title(f"bandwidth {bandwidth:g}\nlargest force {length.max():.2g}")
    alt = "Narrow kernel: force near the groups only. Wide kernel: arrows everywhere, outwards, blind to the groups."
    return figures.describe(figure, alt)


@torch.no_grad()
def witness_figure(
    witness: NoiseConditionalWitness, particles: Tensor, target: Tensor, levels: Sequence[Number], limit: Number = 3.2
) -> figures.Picture:
    """The learned witness of a cloud at several noise levels, over the data; particles would go from orange to blue."""
    figure, axes = figures.panels(len(levels), size=(3.1, 3.6))
    side = torch.linspace(-limit, limit, 80)
    grid = torch.cartesian_prod(side, side).to(particles)
    for axis, level in zip(axes, levels):
        level = torch.tensor(float(level)).to(particles)
        gap = witness.mean_features(particles, level) - witness.remembered(level)[0]
        values = (witness(grid, level) @ gap).view(80, 80).cpu()
        values = values - values.median()
        most = values.abs().quantile(0.98).item()
        axis.imshow(
            values.T, origin="lower", extent=(-limit, limit, -limit, limit), cmap=ORANGE_BLUE, vmin=-most, vmax=most
        )
        figures.scatter(axis, target, figures.INK, size=3, opacity=0.35, limit=limit)
        axis.set_title(f"level {level:.2g}")
    alt = "Orange in the middle and far outside; eight blue hollows, one at each Gaussian, darkest at the lowest level."
    return figures.describe(figure, alt)


# --- every kernel from every start --------------------------------------------------------------------------------


def starts_table() -> Markdown:
    """Medians over five seeds of the distance at the end, for every kernel and start."""
    stored = results.load("04_starts")
    head = "| bandwidth | " + " | ".join(f"from {words}" for words in STARTS.values()) + " |"
    lines = [head, "|:--|" + "--:|" * len(STARTS)]
    before = {place: median(row[place] for row in stored["start"]) for place in STARTS}
    lines.append("| *at the start* | " + " | ".join(f"{before[place]:.3f}" for place in STARTS) + " |")
    rows = sorted(stored["rows"].items(), key=lambda item: ("noise" not in item[0], item[0] in ("annealed", "energy")))
    for name, row in rows:
        shown = f"**{name}**" if name == "annealed" else name
        lines.append(f"| {shown} | " + " | ".join(f"{median(row[place]):.3f}" for place in STARTS) + " |")
    lines.append(f"| *noise floor* | {stored['floor']:.3f} |" + " |" * (len(STARTS) - 1))
    return Markdown("\n".join(lines))


def worst_start(name: str) -> list[float]:
    """For each seed the distance from the start that suits a kernel least."""
    return [max(values) for values in zip(*results.load("04_starts")["rows"][name].values())]


def fixed_bandwidths() -> list[str]:
    """The names of the fixed bandwidths in the table, those with injected noise included."""
    return [name for name in results.load("04_starts")["rows"] if name not in ("annealed", "energy")]


# --- the hidden plane ---------------------------------------------------------------------------------------------


def planes_figure(clouds: dict[str, Tensor], judge: Judge) -> figures.Picture:
    """Clouds of 64 dimensions, seen in the plane that matters."""
    figure, axes = figures.panels(len(clouds), size=(2.7, 3.2))
    for axis, (name, cloud) in zip(axes, clouds.items()):
        colour = figures.EXACT if name == "fresh data" else figures.LEARNED if "learned" in name else figures.RIVAL
        title = f"{name}\ndistance {judge.distance(cloud):.3f}\nratio {judge.ratio(cloud):.2f}"
        figures.scatter(axis, judge.hidden.plane(cloud), colour, limit=3.2, title=title)
    alt = "Fresh data: eight groups. Learned: a ring, its groups not apart. Kernel: a filled disc, as wide as the ring."
    return figures.describe(figure, alt)


def hidden_figure() -> figures.Picture:
    """Distance in the hidden plane against the nearest-train ratio, along flows and where others end; five seeds."""
    stored = results.load("04_hidden")
    floor = stored["floor"]
    figure, (axes,) = figures.panels(1, size=(8.2, 4.4))
    for method, (label, colour, mark) in HIDDEN.items():
        for row in stored["rows"][method]:
            path = {step: (ratio, max(distance, floor)) for step, distance, ratio in row["path"]}
            axes.plot(*zip(*path.values()), color=colour, linewidth=1, alpha=0.6)
            axes.plot(*zip(*(path[step] for step in (100, 300) if step in path)), mark, color=colour, markersize=6)
        axes.plot([], [], mark, linestyle="-", color=colour, markersize=6, label=label)
    for method, (label, mark) in ENDS.items():
        ends = [(row["ratio"], max(row["distance"], floor)) for row in stored["rows"][method]]
        axes.plot(*zip(*ends), mark, color=figures.FOURTH, markersize=6, fillstyle="none", label=label)
    axes.axhline(floor, color=figures.INK, linestyle=":", linewidth=1.5, label="noise floor")
    axes.axvline(1, color=figures.EXACT, linewidth=1)
    axes.set(yscale="log", ylabel="distance in the hidden plane")
    axes.set_xlabel("nearest-train ratio (1: like new data, 0: copies)")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    alt = "All flows fall from the top right. The learned one stays at ratio 1; the fixed bandwidth drifts to the left as it falls."
    return figures.describe(figure, alt)


def hidden_table() -> Markdown:
    """Medians over five seeds in the hidden plane: 1000 times the distance, nearest-train ratio, CPU seconds."""
    return _table(results.load("04_hidden"), ("distance", "ratio"))


def hidden_values(method: str, name: str = "distance") -> list[float]:
    """One value for each seed of the stored comparison in the hidden plane."""
    return [row[name] for row in results.load("04_hidden")["rows"][method]]


# --- digits -------------------------------------------------------------------------------------------------------


def levels_figure() -> figures.Picture:
    """The witness of the digits from near and far: all its levels, or the best single one; by pixels and by features."""
    stored = results.load("04_digits")
    figure, (left, right) = figures.panels(2, size=(4.3, 3.7))
    for method, (label, colour) in LEVELS.items():
        for axis, name in ((left, "distance"), (right, "best_classifier")):
            rows = [[row[name] for row in stored["from"][method][f"{d:g}"]] for d in stored["distances"]]
            figures.band(axis, stored["distances"], rows, colour, label)
    for axis, floor, title in ((left, "floor", "pixels"), (right, "classifier_floor", "a classifier's features")):
        axis.axhline(stored[floor], color=figures.INK, linestyle=":", linewidth=1.5)
        axis.set(xscale="log", yscale="log", title=f"distance in {title}", xlabel="how far the start is")
        axis.set_xticks(stored["distances"], [f"{d:g}" for d in stored["distances"]])
        axis.minorticks_off()
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    alt = "In pixels the best single level rises with the start; the adaptive flow is lowest from 5, and they cross between 2 and 5. In features all three fall, the single level mostly lowest."
    return figures.describe(figure, alt)


def over_adaptive(distance: Number) -> list[float]:
    """For each seed the best single level's distance over that of the adaptive flow."""
    rows = results.load("04_digits")["from"]
    pairs = zip(rows["single level"][f"{distance:g}"], rows["adaptive"][f"{distance:g}"])
    return [single["distance"] / adaptive["distance"] for single, adaptive in pairs]


def digits_table() -> Markdown:
    """Medians over five seeds on digits, far start: 1000 times two distances, ratio, two shares in %, CPU seconds."""
    names = ("distance", "classifier", "ratio", "copies", "coverage")
    return _table(results.load("04_digits"), names)


def digits_values(method: str, name: str = "distance") -> list[float]:
    """One value for each seed of the stored comparison on digits."""
    return [row[name] for row in results.load("04_digits")["rows"][method]]


COLUMNS = {
    "distance": ("distance", 1000, ".0f"),
    "classifier": ("in features", 1000, ".1f"),
    "ratio": ("ratio", 1, ".2f"),
    "copies": ("copies", 100, ".0f"),
    "coverage": ("cover", 100, ".0f"),
    "training": ("train", 1, ".1f"),
    "sampling": ("sample", 1, ".2f"),
}
WITNESS = ("adaptive", "KALE", "single level", "independent particles")


def _table(stored: dict, names: Sequence[str]) -> Markdown:
    columns = [*names, "training", "sampling"]
    lines = ["| | " + " | ".join(COLUMNS[name][0] for name in columns) + " |", "|:--|" + "--:|" * len(columns)]
    for method, rows in sorted(stored["rows"].items(), key=lambda item: -median(row["distance"] for row in item[1])):
        cells = []
        for name in columns:
            _, factor, form = COLUMNS[name]
            value = factor * median(row[name] for row in rows)
            if name == "training" and method in WITNESS:
                value = stored["training"]
            cells.append("" if value == 0 and name in ("training", "sampling") else format(value, form))
        lines.append(f"| {f'**{method}**' if method == 'adaptive' else method} | " + " | ".join(cells) + " |")
    floors = {"distance": stored["floor"], "classifier": stored.get("classifier_floor")}
    cells = [f"{1000 * floors[name]:.1f}" if floors.get(name) else "" for name in columns]
    return Markdown("\n".join([*lines, "| *noise floor* | " + " | ".join(cells) + " |"]))
