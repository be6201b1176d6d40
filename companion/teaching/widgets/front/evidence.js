// live_evidence: how probable a batch is after a drift, for a classifier with two weights.

// --- companion.teaching.widgets.evidence: turned_labels and evidence_curve -------------------------------------------------

/** 1 or -1 for each of `points` (x, y pairs): its side of the line of a task at `angle` degrees to the weights, wrong where `uniforms` are below `flips`. */
export function turnedLabels({ points, uniforms, weights }, { angle, flips }) {
  const direction = Math.atan2(weights[1], weights[0]) + angle * Math.PI / 180, [across, up] = [Math.cos(direction), Math.sin(direction)];
  return Float64Array.from(uniforms, (uniform, i) =>
    (points[2 * i] * across + points[2 * i + 1] * up >= 0 ? 1 : -1) * (uniform < flips ? -1 : 1));
}

/**
 * J(gamma), the log-probability of `labels` after a drift by gamma towards N(0, I), and its slope; by the standard normal
 * draws `noise` (x, y pairs). As many points count as there are labels.
 */
export function evidenceAt({ points, labels, noise, weights }, { scale, gamma }) {
  const draws = noise.length / 2, width = Math.sqrt(gamma * gamma * scale * scale + 1 - gamma * gamma), widening = gamma * (scale * scale - 1) / width;
  const logs = new Float64Array(draws), slopes = new Float64Array(draws);
  for (let m = 0; m < draws; m++) {
    const [a, b] = [noise[2 * m], noise[2 * m + 1]];
    const [u, v] = [gamma * weights[0] + width * a, gamma * weights[1] + width * b]; // theta'
    const [du, dv] = [weights[0] + widening * a, weights[1] + widening * b]; // d theta' / d gamma
    for (let i = 0; i < labels.length; i++) {
      const x = points[2 * i], y = points[2 * i + 1], margin = labels[i] * (u * x + v * y), small = Math.exp(-Math.abs(margin));
      logs[m] += Math.min(margin, 0) - Math.log1p(small);
      slopes[m] += labels[i] * (du * x + dv * y) * (margin > 0 ? small : 1) / (1 + small);
    }
  }
  const top = Math.max(...logs);
  let total = 0, slope = 0;
  for (let m = 0; m < draws; m++) {
    const share = Math.exp(logs[m] - top);
    total += share;
    slope += share * slopes[m];
  }
  return { value: top + Math.log(total / draws), slope: slope / total };
}

/** Gamma after one gradient step from 1. */
export const steppedGamma = (slope, rate) => Math.min(1, Math.max(0, 1 + rate * slope));

// --- the picture ------------------------------------------------------------------------------------------------------

const EVIDENCE_LINES = 16; // of the draws of a belief; the second half of the table is the first with the other sign
const EVIDENCE_MARKS = ["square", "circle"]; // of labels -1 and 1

/** The batch with the network's line and draws of its belief, before and after the drift; J over gamma with its slope at 1. */
function renderEvidence({ model, el }) {
  const card = makeCard(model, el);
  const [most, places, flipsPlaces, rates] = ["most", "places", "flips_places", "drift_lrs"].map((name) => model.get(name));
  const [points, uniforms, noise] = ["points", "uniforms", "noise"].map((name) => typed(Float64Array, model.get(name)));
  const world = { points, uniforms, noise, weights: model.get("weights") };
  const state = {
    angle: model.get("angle"), flips: model.get("flips_index") / flipsPlaces, rows: model.get("rows"),
    scale: model.get("scale_index") / places, rate: rates[model.get("drift_lrs_index")],
  };
  const furthest = Math.max(...points.map(Math.abs)), halfWidth = 1.12 * furthest;
  const margins = Array.from({ length: most }, (_, i) => world.weights[0] * points[2 * i] + world.weights[1] * points[2 * i + 1]);
  const found = {};

  function compute() {
    const labels = turnedLabels(world, state).subarray(0, state.rows), batch = { ...world, labels };
    const at = (gamma) => evidenceAt(batch, { scale: state.scale, gamma });
    const curve = Array.from({ length: places + 1 }, (_, k) => at(k / places).value), now = at(1);
    const gamma = steppedGamma(now.slope, state.rate), best = curve.lastIndexOf(Math.max(...curve)) / places;
    const wrong = labels.reduce((count, label, i) => count + (label * margins[i] < 0 ? 1 : 0), 0);
    const flipped = uniforms.subarray(0, state.rows).filter((uniform) => uniform < state.flips).length;
    Object.assign(found, { labels, curve, now, gamma, best, stepped: at(gamma).value, highest: Math.max(...curve), wrong, flipped });
  }

  // --- the plane --------------------------------------------------------------------------------------------------------
  card.root.classList.add("lim-evidence");
  const drawPlane = (pen, colours, size, height) => {
    const at = (x, y) => [size * (0.5 + x / (2 * halfWidth)), height * (0.5 - y / (2 * halfWidth))];
    const inks = classInks(pen.canvas), reach = 2 * halfWidth;
    /** The line that is at right angles to a direction, and an arrow along it. */
    const drawLine = ([u, v], colour, width, opacity, length = 0) => {
      const size = Math.hypot(u, v) || 1, [a, b] = [u / size, v / size];
      line(pen, [...at(-reach * b, reach * a), ...at(reach * b, -reach * a)], colour, width, opacity);
      if (!length) return;
      const [tip, tail] = [length, length - 0.11 * halfWidth], side = 0.055 * halfWidth;
      line(pen, [...at(0, 0), ...at(tip * a, tip * b)], colour, width, opacity);
      line(pen, [...at(tail * a - side * b, tail * b + side * a), ...at(tip * a, tip * b), ...at(tail * a + side * b, tail * b - side * a)], colour, width, opacity);
    };
    const spread = (gamma, colour, opacity) => {
      const width = Math.sqrt(gamma * gamma * state.scale ** 2 + 1 - gamma * gamma);
      for (let m = 0; m < EVIDENCE_LINES; m++) drawLine([0, 1].map((axis) => gamma * world.weights[axis] + width * noise[2 * m + axis]), colour, 1.2, opacity);
    };
    const turn = Math.atan2(world.weights[1], world.weights[0]) + state.angle * Math.PI / 180;
    if (found.gamma < 1) spread(found.gamma, colours.rival, 0.5);
    spread(1, colours.learned, 0.5);
    drawLine([Math.cos(turn), Math.sin(turn)], colours.exact, 6, 0.9, 0.66 * halfWidth);
    drawLine(world.weights, colours.learned, 2.6, 1, 0.46 * halfWidth);
    for (let i = state.rows; i < most; i++) drawPoints(pen, at(points[2 * i], points[2 * i + 1]), colours.soft, 0.5, 1.8, 1);
    found.labels.forEach((label, i) => {
      const place = at(points[2 * i], points[2 * i + 1]), kind = label > 0 ? 1 : 0;
      fillMarks(pen, EVIDENCE_MARKS[kind], place, colours.surface, 1, 8, -1);
      if (label * margins[i] < 0) outlineMark(pen, EVIDENCE_MARKS[kind], place, colours, inks[kind], 5, 1);
      else fillMarks(pen, EVIDENCE_MARKS[kind], place, inks[kind], 1, 6, -1);
    });
  };

  // --- J over gamma -----------------------------------------------------------------------------------------------------
  const across = [-0.03, 1.06];
  const drawCurve = (pen, colours, width, height) => {
    const { curve, now, gamma, best, stepped, highest } = found, lowest = Math.min(...curve), span = Math.max(2, highest - lowest);
    const plot = plotArea(width, height, across, [lowest - 0.12 * span, highest + 0.16 * span], { left: 48 });
    drawTicks(pen, plot, colours, { places: [0, 0.5, 1].map((tick) => [tick, String(tick)]), ends: ["\u2190 fresh draw", "no drift \u2192"] });
    write(pen, "\u03b3", (plot.left + plot.right) / 2, plot.base + 30, colours.soft, "center", 600);
    clipTo(pen, plot, 4, () => {
      const reach = 0.45;
      pen.setLineDash([6, 4]);
      line(pen, [...plot.at(1 - reach, now.value - reach * now.slope), ...plot.at(1.06, now.value + 0.06 * now.slope)], colours.rival, 2);
      pen.setLineDash([2, 4]);
      line(pen, [...plot.at(gamma, plot.up[0]), ...plot.at(gamma, stepped)], colours.rival, 1.6, 0.9);
      pen.setLineDash([]);
      line(pen, curve.flatMap((value, k) => plot.at(k / places, value)), colours.learned, 2.6);
    });
    ring(pen, plot.at(best, highest), 9, colours.third);
    drawBead(pen, colours, plot, plot.at(1, now.value), "learned");
    drawBead(pen, colours, plot, plot.at(gamma, stepped), "rival");
  };

  const alt = model.get("alt");
  const plane = addScene(card, { caption: "The batch", alt, shape: 1, draw: drawPlane });
  const sweep = addScene(card, { caption: "J(\u03b3), log-probability", alt: "", shape: 1.25, narrow: 1.3, draw: drawCurve });
  const scenes = [plane, sweep], columns = setColumns(card, [[plane], [sweep]]);
  columns[0].append(makeKey([["label \u22121", "lim-square", "class-0"], ["label 1", "lim-datum", "class-1"], ["hollow: the network says the other", "lim-ring", "soft"],
    ["the task's line", "lim-thick", "exact"], ["the network's", "lim-stroke", "learned"], ["draws of its belief", "lim-thin", "learned"], ["draws after the drift", "lim-thin", "rival"]]));
  columns[1].append(makeKey([["J(\u03b3)", "lim-stroke", "learned"], ["its slope at 1", "lim-dashed", "rival"], ["after one step of \u03b3", "lim-datum", "rival"], ["the best \u03b3", "lim-ring", "third"]]));

  // --- numbers --------------------------------------------------------------------------------------------------------
  const { row, counts } = makeCounts({ slope: "slope at \u03b3\u00a0=\u00a01", gamma: "\u03b3 after one step", best: "the best \u03b3", now: "J with no drift", stepped: "J after the step", highest: "J at the best\u00a0\u03b3" });
  columns[1].append(row);
  const hundredths = (value) => value.toFixed(2).replace("-", "\u2212");

  function update() {
    compute();
    const { now, gamma, best, stepped, highest, wrong, flipped } = found, rows = `${state.rows} row${state.rows > 1 ? "s" : ""}`;
    counts.slope.textContent = hundredths(now.slope);
    counts.gamma.textContent = hundredths(gamma);
    counts.best.textContent = hundredths(best);
    counts.now.textContent = hundredths(now.value);
    counts.stepped.textContent = hundredths(stepped);
    counts.highest.textContent = hundredths(highest);
    plane.value.textContent = `${wrong} of ${state.rows} against the network`;
    sweep.value.textContent = `slope at 1: ${hundredths(now.slope)}`;
    const wish = now.slope >= 0 ? "The slope at 1 is not negative: the batch asks for no drift, and \u03b3 stays at 1"
      : `The slope at 1 is negative: the batch asks for a drift, and one step takes \u03b3 to ${hundredths(gamma)}`;
    const task = state.angle ? `Task turned by ${state.angle}\u00b0` : "The same task";
    const labels = `${task}: ${rows}, ${flipped} wrong label${flipped === 1 ? "" : "s"}; the network contradicts ${wrong}.`;
    card.note.textContent = `${labels} ${wish}. ${model.get("note")}`;
    sweep.canvas.setAttribute("aria-label", `The log-probability of the batch against gamma: ${hundredths(found.curve[0])} at 0, ${hundredths(now.value)} at 1 with slope ${hundredths(now.slope)}, `
      + `highest ${hundredths(highest)} at ${hundredths(best)}; ${hundredths(stepped)} at ${hundredths(gamma)}, where one step leads.`);
    for (const scene of scenes) scene.redraw();
  }

  // --- controls -------------------------------------------------------------------------------------------------------
  const set = (name, value) => { state[name] = value; update(); };
  const share = (place) => hundredths(place / places);
  addSlider(card, { label: "Task turned by", min: 0, max: 180, step: 5, value: state.angle, show: (angle) => `${angle}\u00b0` }, (angle) => set("angle", angle));
  addSlider(card, { label: "Rows", min: 1, max: most, step: 1, value: state.rows }, (rows) => set("rows", rows));
  addSlider(card, { label: "Wrong labels", min: 0, max: model.get("most_flips_index"), step: 1, value: model.get("flips_index"), show: (place) => `${Math.round(100 * place / flipsPlaces)}\u202f%` },
    (place) => set("flips", place / flipsPlaces));
  addSlider(card, { label: "Width s", min: model.get("least_scale_index"), max: places, step: 1, value: model.get("scale_index"), show: share }, (place) => set("scale", place / places));
  addSlider(card, { label: "Step of \u03b3", min: 0, max: rates.length - 1, step: 1, value: model.get("drift_lrs_index"), show: (place) => String(rates[place]) },
    (place) => set("rate", rates[place]));
  update();
  return () => scenes.forEach((scene) => scene.stop());
}
