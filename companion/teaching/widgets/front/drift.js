// live_drift: the Ornstein-Uhlenbeck drift of a belief about two weights, towards the law of their start.

// --- companion.methods.soft_reset.drift and companion.teaching.widgets.drift.drift_path -----------------------------------

/** A Gaussian belief {mean, std}, two numbers each, after one drift by gamma towards `start`. */
export function driftBelief({ mean, std }, start, gamma) {
  const kept = gamma * gamma;
  return {
    mean: mean.map((value, i) => gamma * value + (1 - gamma) * start.mean[i]),
    std: std.map((value, i) => Math.sqrt(kept * value * value + (1 - kept) * start.std[i] ** 2)),
  };
}

/**
 * The beliefs before the first and after each of some drifts, and where the particles (x, y pairs) are after the last.
 * `noise` holds standard normal numbers: of the particles' places at first, then of each of their drifts.
 */
export function driftPath({ weights, start, noise, particles }, { scale, gammas }) {
  const beliefs = [{ mean: weights, std: start.std.map((std) => scale * std) }], size = 2 * particles;
  const cloud = Float64Array.from({ length: size }, (_, at) => weights[at % 2] + beliefs[0].std[at % 2] * noise[at]);
  gammas.forEach((gamma, k) => {
    const rest = Math.sqrt(1 - gamma * gamma), from = (k + 1) * size;
    beliefs.push(driftBelief(beliefs[k], start, gamma));
    for (let at = 0; at < size; at++) {
      cloud[at] = gamma * cloud[at] + (1 - gamma) * start.mean[at % 2] + rest * start.std[at % 2] * noise[from + at];
    }
  });
  return { beliefs, cloud };
}

/** Of a belief that has kept gamma in all its drifts: its width over the start's, and by what its learning rate has risen. */
export function driftWidth(gamma, scale) {
  const square = gamma * gamma * scale * scale + 1 - gamma * gamma;
  return { width: Math.sqrt(square), rise: square / (scale * scale) };
}

/** The standard deviation of a cloud along each axis, over that of the start. */
export function cloudWidths(cloud, { std }) {
  const n = cloud.length / 2;
  return std.map((own, axis) => {
    let mean = 0, square = 0;
    for (let at = axis; at < cloud.length; at += 2) mean += cloud[at] / n;
    for (let at = axis; at < cloud.length; at += 2) square += (cloud[at] - mean) ** 2;
    return Math.sqrt(square / (n - 1)) / own;
  });
}

// --- the picture ------------------------------------------------------------------------------------------------------

const DRIFT_PACE = 180; // milliseconds from one drift of a play to the next

/** The law of the start, the belief of now with its particles, and the next belief; what the next drift leaves, for every gamma. */
function renderDrift({ model, el }) {
  const card = makeCard(model, el);
  const [particles, drifts, places] = ["particles", "drifts", "places"].map((name) => model.get(name));
  const start = { mean: model.get("init_mean"), std: model.get("init_std") }, weights = model.get("weights");
  const world = { weights, start, noise: typed(Float32Array, model.get("noise")), particles };
  const state = { gammas: [], gamma: model.get("gamma_index") / places, scale: model.get("scale_index") / places };
  let path, next;

  function compute() {
    path = driftPath(world, state);
    next = driftBelief(path.beliefs.at(-1), start, state.gamma);
  }
  const kept = () => state.gammas.reduce((product, gamma) => product * gamma, 1); // by all drifts so far, as by one

  // --- the plane --------------------------------------------------------------------------------------------------------
  card.root.classList.add("lim-drift");
  const limits = [0, 1].map((axis) => { // room for both laws, at any width
    const room = 2.35 * start.std[axis], [a, b] = [start.mean[axis], weights[axis]];
    return [Math.min(a, b) - room, Math.max(a, b) + room];
  });

  /** A plot of both limits in which a unit is as long across as up. */
  function planePlot(width, height) {
    const { left, right, top, base } = plotArea(width, height, [0, 1], [0, 1]), sides = [right - left, base - top];
    const unit = Math.min(...limits.map(([low, high], axis) => sides[axis] / (high - low)));
    const ends = limits.map(([low, high], axis) => [-1, 1].map((side) => (low + high) / 2 + side * sides[axis] / unit / 2));
    return { ...plotArea(width, height, ...ends), unit };
  }

  /** The ellipse of some standard deviations of a belief, as a path. */
  function trace(pen, { at, unit }, { mean, std }, deviations) {
    pen.beginPath();
    pen.ellipse(...at(...mean), ...std.map((own) => deviations * own * unit), 0, 0, 2 * Math.PI);
  }
  function outline(pen, plot, belief, colour, width, dash) {
    for (const deviations of [1, 2]) {
      trace(pen, plot, belief, deviations);
      pen.setLineDash(dash);
      pen.strokeStyle = colour;
      pen.lineWidth = deviations === 2 ? width : 0.6 * width;
      pen.stroke();
      pen.setLineDash([]);
    }
  }

  const drawPlane = (pen, colours, width, height) => {
    const plot = planePlot(width, height), now = path.beliefs.at(-1), law = { mean: start.mean, std: start.std };
    drawTicks(pen, plot, colours, { across: "weight 1", up: "" });
    clipTo(pen, plot, 0, () => {
      for (const deviations of [2, 1]) {
        trace(pen, plot, law, deviations);
        pen.globalAlpha = 0.2;
        pen.fillStyle = colours.exact;
        pen.fill();
        pen.globalAlpha = 1;
      }
      outline(pen, plot, law, colours.exact, 1.6, []);
      drawPoints(pen, Array.from({ length: particles }, (_, i) => plot.at(path.cloud[2 * i], path.cloud[2 * i + 1])).flat(), colours.learned, 0.65, 2.2, 1);
      outline(pen, plot, now, colours.learned, 2.6, []);
      outline(pen, plot, next, colours.rival, 2.6, [6, 4]);
      drawCross(pen, plot.at(...start.mean), 5, colours.surface, 5, 1);
      drawCross(pen, plot.at(...start.mean), 5, colours.soft, 2.4, 1);
      line(pen, [...plot.at(...now.mean), ...plot.at(...next.mean)], colours.rival, 2.4);
      line(pen, path.beliefs.flatMap(({ mean }) => plot.at(...mean)), colours.learned, 2); // the way so far
      for (const { mean } of path.beliefs.slice(0, -1)) ring(pen, plot.at(...mean), 3, colours.learned);
      drawBead(pen, colours, plot, plot.at(...now.mean), "learned");
      drawBead(pen, colours, plot, plot.at(...next.mean), "rival");
    });
    write(pen, "weight 2", plot.left + 6, plot.top + 8, colours.soft, "left", 600);
  };

  // --- what the next drift leaves, for every gamma --------------------------------------------------------------------------
  const drawNext = (pen, colours, width, height) => {
    const plot = plotArea(width, height, [0, 1], [0, 1.08]), already = kept();
    drawTicks(pen, plot, colours, { heights: [0, 0.5, 1].map((tick) => [tick, String(tick)]), ends: ["\u2190 fresh draw", "no drift \u2192"] });
    write(pen, "\u03b3", (plot.left + plot.right) / 2, plot.base + 30, colours.soft, "center", 600);
    const curve = (value) => Array.from({ length: places + 1 }, (_, k) => plot.at(k / places, value(already * k / places))).flat();
    line(pen, [...plot.at(0, 1), ...plot.at(1, 1)], colours.line, 1);
    line(pen, curve((left) => left), colours.ink, 2.2);
    pen.setLineDash([7, 4]);
    line(pen, curve((left) => driftWidth(left, state.scale).width), colours.third, 2.4);
    pen.setLineDash([2, 4]);
    const [across] = plot.at(state.gamma, 0), left = already * state.gamma;
    line(pen, [across, plot.top, across, plot.base], colours.rival, 1.6, 0.9);
    pen.setLineDash([]);
    drawBead(pen, colours, plot, plot.at(state.gamma, left), "ink");
    drawBead(pen, colours, plot, plot.at(state.gamma, driftWidth(left, state.scale).width), "third");
  };

  const alt = model.get("alt");
  const plane = addScene(card, { caption: "Two weights", alt, shape: 1.08, narrow: 1, draw: drawPlane });
  const sweep = addScene(card, { caption: "What one more drift leaves", alt: "", shape: 1.7, narrow: 1.8, draw: drawNext });
  const scenes = [plane, sweep], columns = setColumns(card, [[plane], [sweep]]);
  columns[0].append(makeKey([["law of the start", "lim-region", "exact"], ["belief now", "lim-stroke", "learned"], ["its particles", "lim-datum", "learned"],
    ["next: after one more drift", "lim-dashed", "rival"]]));
  columns[1].append(makeKey([["distance left to the start", "lim-stroke", "ink"], ["width / start's", "lim-dashed", "third"]]));

  // --- numbers --------------------------------------------------------------------------------------------------------
  const head = element("tr", {}, element("td"), ...[["now", "learned"], ["next", "rival"], ["start", "exact"]].map(([textContent, colour]) => {
    const cell = element("th", { textContent, scope: "col", className: "lim-disc" });
    cell.style.setProperty("--dot", `var(--lim-${colour})`);
    return cell;
  }));
  const body = element("tbody", {}, ...["distance left", "width / start's", "learning rate", "particles' width"].map((textContent) =>
    element("tr", {}, element("th", { textContent, scope: "row" }), element("td"), element("td"), element("td"))));
  columns[1].append(element("table", { className: "lim-table" }, element("thead", {}, head), body));

  const percent = (share) => `${Math.round(100 * share)}\u202f%`, times = (factor) => `\u00d7\u202f${shortNumber(factor)}`;
  const hundredths = (value) => value.toFixed(2);
  function show(step) {
    if (step < state.gammas.length) state.gammas = [];
    while (state.gammas.length < step) state.gammas.push(state.gamma);
    compute();
    const lefts = [kept(), kept() * state.gamma, 0], widths = lefts.map((left) => driftWidth(left, state.scale));
    const [one, other] = cloudWidths(path.cloud, start), root = Math.sqrt((one * one + other * other) / 2);
    const rows = [lefts.map(percent), widths.map(({ width }) => hundredths(width)), widths.map(({ rise }) => times(rise)), [hundredths(root), "", ""]];
    rows.forEach((texts, row) => texts.forEach((text, column) => { body.rows[row].cells[column + 1].textContent = text; }));
    const counted = `${step} drift${step > 1 ? "s" : ""}`;
    plane.value.textContent = step ? `${counted} so far` : "before any drift";
    sweep.value.textContent = `\u03b3 = ${hundredths(state.gamma)}`;
    const before = step ? `${counted}, together like one by \u03b3 = ${shortNumber(lefts[0])}, have left ` : "Before any drift: ";
    card.note.textContent = `${before}${percent(lefts[0])} of the distance and a belief ${hundredths(widths[0].width)} times as wide as the law of the start `
      + `(along the two weights the particles measure ${hundredths(one)} and ${hundredths(other)}). ${model.get("note")}`;
    sweep.canvas.setAttribute("aria-label", `Distance to the start and width of the belief after one more drift, against gamma. At gamma ${hundredths(state.gamma)}: `
      + `${percent(lefts[1])} of the distance, ${hundredths(widths[1].width)} times the start's width. ${alt}`);
    for (const scene of scenes) scene.redraw();
  }

  // --- controls -------------------------------------------------------------------------------------------------------
  const along = { max: places, step: 1, show: (place) => hundredths(place / places) };
  const chooser = addSlider(card, { label: "Drift \u03b3", min: 0, value: model.get("gamma_index"), ...along }, setGamma);
  addSlider(card, { label: "Width s", min: model.get("least_scale_index"), value: model.get("scale_index"), ...along }, (place) => {
    state.scale = place / places;
    show(player.step);
  });
  function setGamma(place) {
    state.gamma = place / places;
    show(player.step);
  }
  const player = addPlayer(card, { steps: drifts, span: drifts * DRIFT_PACE, first: 0, show, once: "Drift once" });
  addButton(card, "Reset", () => player.rest(0));
  slideAlong(sweep.canvas, { left: 40 }, [0, places], places, (place) => {
    chooser.set(place);
    setGamma(place);
  });
  player.rest();
  return () => { player.stop(); scenes.forEach((scene) => scene.stop()); };
}
