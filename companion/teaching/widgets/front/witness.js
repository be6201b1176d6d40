// live_witness: a learned witness of the plane at any noise level, and particles that go down it.

// --- companion.methods.mmd_flow: a NoiseConditionalWitness over a FeatureMLP, its slopes by hand ----------------------

/**
 * A witness from its network's weights (each layer's matrix, then its bias: of the points, of the position, the hidden
 * ones, the head) and the mean features of its data, a row for each level that it remembers.
 */
export function makeWitness({ width, depth, features, waves }, noising, weights, means) {
  let offset = 0;
  const read = (inputs, outputs) => {
    const matrix = Float64Array.from(weights.subarray(offset, (offset += inputs * outputs)));
    const bias = Float64Array.from(weights.subarray(offset, (offset += outputs)));
    return { matrix, bias };
  };
  const fromX = read(2, width), fromPosition = read(2 * waves + 1, width);
  const hidden = Array.from({ length: depth }, () => read(width, width)), head = read(width, features);
  const turn = (matrix) => matrix.map((_, at) => matrix[(at % width) * width + Math.floor(at / width)]);
  for (const layer of hidden) layer.turned = turn(layer.matrix);
  return { width, features, waves, noising, fromX, fromPosition, hidden, head, means };
}

/** The level at a position from 0 (low) to 1 (high). */
export function levelAt({ explodes, low, high }, position) {
  const [from, to] = explodes ? [Math.log(low), Math.log(high)] : [Math.asin(low), Math.asin(high)];
  const at = from + (to - from) * position;
  return Math.min(high, Math.max(low, explodes ? Math.exp(at) : Math.sin(at)));
}

/** The inverse of levelAt. */
export function positionOf({ explodes, low, high }, level) {
  const inside = Math.min(high, Math.max(low, level));
  const [from, to] = explodes ? [Math.log(low), Math.log(high)] : [Math.asin(low), Math.asin(high)];
  return ((explodes ? Math.log(inside) : Math.asin(inside)) - from) / (to - from);
}

/** The length in which slopes are measured at a level. */
export const unitOf = ({ explodes }, level) => (explodes ? level * Math.SQRT2 : 1);

/** Work space for `count` points: their last hidden state and, where slopes are wanted, what each SiLU passes back. */
export function makeCloud({ width, hidden }, count, slopes = true) {
  const room = () => new Float64Array(count * width);
  return { count, state: room(), sums: room(), gates: slopes ? Array.from({ length: hidden.length + 1 }, room) : null };
}

/** Each row of `values` times a matrix: four outputs at a time, which is twice as fast as one by one. */
function multiply(matrix, values, width, out) {
  const whole = width - width % 4;
  for (let at = 0; at < values.length; at += width) {
    for (let o = 0; o < whole; o += 4) {
      const r = o * width, s = r + width, t = s + width, u = t + width;
      let a = 0, b = 0, c = 0, d = 0;
      for (let k = 0; k < width; k++) {
        const value = values[at + k];
        a += matrix[r + k] * value;
        b += matrix[s + k] * value;
        c += matrix[t + k] * value;
        d += matrix[u + k] * value;
      }
      out[at + o] = a;
      out[at + o + 1] = b;
      out[at + o + 2] = c;
      out[at + o + 3] = d;
    }
    for (let o = whole; o < width; o++) {
      let sum = 0;
      for (let k = 0; k < width; k++) sum += matrix[o * width + k] * values[at + k];
      out[at + o] = sum;
    }
  }
}

/** What a level fixes for all points: the first layer's share of the position, and what points are divided by. */
function atLevel({ width, waves, noising, fromX, fromPosition }, level) {
  const times = timeFeatures(positionOf(noising, level), waves);
  const added = Float64Array.from({ length: width }, (_, o) => {
    let sum = fromX.bias[o] + fromPosition.bias[o];
    for (let k = 0; k < times.length; k++) sum += fromPosition.matrix[o * times.length + k] * times[k];
    return sum;
  });
  const spread = noising.explodes ? Math.hypot(level, noising.data_std) : 1;
  return { level, added, spread, unit: unitOf(noising, level) };
}

/** The last hidden states of points (x, y pairs), and the gates for their slopes where the cloud keeps them. */
function forward({ width, fromX, hidden }, { added, spread }, points, { count, state, sums, gates }) {
  const pass = (sum, at, layer) => {
    const share = 1 / (1 + Math.exp(-sum));
    if (gates) gates[layer][at] = share * (1 + sum * (1 - share)); // the slope of SiLU
    return sum * share;
  };
  for (let i = 0; i < count; i++) {
    const x = points[2 * i] / spread, y = points[2 * i + 1] / spread;
    for (let o = 0, at = i * width; o < width; o++, at++) {
      state[at] = pass(added[o] + fromX.matrix[2 * o] * x + fromX.matrix[2 * o + 1] * y, at, 0);
    }
  }
  hidden.forEach(({ matrix, bias }, layer) => {
    multiply(matrix, state, width, sums);
    for (let at = 0, o = 0; at < state.length; at++, o = o + 1 === width ? 0 : o + 1) {
      state[at] += pass(sums[at] + bias[o], at, layer + 1);
    }
  });
}

/** The mean features of the data at a position, between the two remembered ones. */
function rememberedMean({ means, features }, position) {
  const cells = means.length / features - 1, place = position * cells;
  const below = Math.min(cells - 1, Math.max(0, Math.floor(place))), share = place - below;
  return (k) => {
    const at = below * features + k;
    return means[at] + share * (means[at + features] - means[at]);
  };
}

/**
 * The witness between particles and data at a level, f(x) = <phi(x), apart>, apart = mean phi(particles) - mean phi(data).
 * As the features are linear in the last hidden state, so is f: <state, pull> + constant. `gap` is MMD^2 = |apart|^2.
 */
export function observe(witness, particles, level, cloud) {
  const { width, features, noising, head } = witness, field = atLevel(witness, level);
  forward(witness, field, particles, cloud);
  const mean = new Float64Array(width), clean = rememberedMean(witness, positionOf(noising, level));
  for (let at = 0; at < cloud.state.length; at++) mean[at % width] += cloud.state[at] / cloud.count;
  Object.assign(field, { apart: new Float64Array(features), pull: new Float64Array(width), constant: 0, gap: 0 });
  for (let k = 0; k < features; k++) {
    let apart = head.bias[k] - clean(k);
    for (let o = 0; o < width; o++) apart += head.matrix[k * width + o] * mean[o];
    for (let o = 0; o < width; o++) field.pull[o] += head.matrix[k * width + o] * apart;
    field.apart[k] = apart;
    field.constant += head.bias[k] * apart;
    field.gap += apart * apart;
  }
  return field;
}

/** f at points (x, y pairs). */
export function witnessAt(witness, field, points, cloud, out) {
  const { width } = witness;
  forward(witness, field, points, cloud);
  for (let i = 0; i < cloud.count; i++) {
    let sum = field.constant;
    for (let o = 0; o < width; o++) sum += field.pull[o] * cloud.state[i * width + o];
    out[i] = sum;
  }
  return out;
}

/** grad f at the points that went forward last through `cloud`. */
export function slopesOf({ width, fromX, hidden }, { pull, spread }, { count, sums, gates, state }, out) {
  const back = state; // no longer needed: what reaches each state from behind takes its place
  for (let at = 0; at < back.length; at += width) back.set(pull, at);
  for (let layer = hidden.length - 1; layer >= 0; layer--) {
    const gate = gates[layer + 1];
    for (let at = 0; at < back.length; at++) gate[at] *= back[at];
    multiply(hidden[layer].turned, gate, width, sums);
    for (let at = 0; at < back.length; at++) back[at] += sums[at];
  }
  for (let i = 0; i < count; i++) {
    let x = 0, y = 0;
    for (let o = 0, at = i * width; o < width; o++, at++) {
      const through = gates[0][at] * back[at];
      x += through * fromX.matrix[2 * o];
      y += through * fromX.matrix[2 * o + 1];
    }
    out[2 * i] = x / spread;
    out[2 * i + 1] = y / spread;
  }
  return out;
}

/** One step of adaptive_flow at a level, in place; `slope` is as long as the particles. */
export function flowStep(witness, particles, level, length, cloud, slope) {
  const field = observe(witness, particles, level, cloud), way = length * field.unit ** 2;
  slopesOf(witness, field, cloud, slope);
  for (let i = 0; i < particles.length; i++) particles[i] -= way * slope[i];
}

// --- the picture ------------------------------------------------------------------------------------------------------

const NODES = 33, PIXELS = 160, ARROWS = 13; // to a side: where f is worked out, its colours, and the arrows
const FULL = 2; // a witness of this size has the full colour
const PLACES = 96; // of the level's slider: each of 25 levels is one of them
const STEP_SHOWN = 33; // milliseconds

/** The witness's field for the particles as they lie now; play lets them go down it. */
function renderWitness({ model, el }) {
  const card = makeCard(model, el);
  const limit = model.get("limit"), inner = model.get("inner_steps"), levels = model.get("levels");
  const noising = model.get("noising"), network = model.get("network"), total = levels * inner;
  const [weights, means] = [network.weights, model.get("means")].map((view) => typed(Float32Array, view));
  const witness = makeWitness(network, noising, weights, means);
  const starts = model.get("starts").map(({ name, points }) => ({ name, points: Float64Array.from(typed(Float32Array, points)) }));
  const reference = typed(Float32Array, model.get("reference")), within = meanDistance(reference, reference);
  const lengths = model.get("step_choices");
  const nearest = (position) => Math.round(PLACES * position) / PLACES;
  const state = {
    start: starts[0], isAdaptive: true, hand: nearest(model.get("position")), position: 1, done: 0,
    length: lengths[model.get("steps_index")],
  };
  let particles, before, shown, cloud, slope, part = 1, clock = null, pending = null, field = null;

  // --- what is drawn: f as colours with its line of zeros, arrows down it, the data and the particles -----------------
  card.root.classList.add("lim-witness");
  const grid = lattice(limit, NODES, 0), places = lattice(limit, ARROWS, 0.5);
  const gridCloud = makeCloud(witness, NODES ** 2, false), arrowCloud = makeCloud(witness, ARROWS ** 2);
  const values = new Float64Array(NODES ** 2), slopes = new Float64Array(2 * ARROWS ** 2);
  const picture = makeHeatMap(limit);

  const draw = (pen, colours, pixel) => {
    if (!field) return;
    picture.paint(pen, field.unit);
    pen.lineJoin = "round";
    pen.strokeStyle = colours.ink;
    pen.globalAlpha = 0.5;
    pen.lineWidth = 1.2 * pixel;
    pen.stroke(picture.zeros);
    drawArrows(pen, places, slopes, field.unit, 2 * limit / ARROWS, colours.ink, pixel);
    const isSmall = 2 * limit / pixel < 360;
    drawPoints(pen, reference, colours.ink, 0.22, isSmall ? 1.2 : 1.6, pixel);
    for (let i = 0; i < shown.length; i++) shown[i] = before[i] + part * (particles[i] - before[i]);
    drawPoints(pen, shown, colours.surface, 0.9, isSmall ? 2.7 : 3.5, pixel);
    drawPoints(pen, shown, colours.learned, 1, isSmall ? 1.9 : 2.5, pixel);
  };
  const plane = addPlane(card, { caption: "The witness f and the particles", alt: model.get("alt"), limit, draw });

  /** Work out everything that the picture shows of the witness, at the level of the slider. */
  function look() {
    field = observe(witness, particles, levelAt(noising, state.position), cloud);
    slopesOf(witness, field, cloud, slope);
    picture.set(witnessAt(witness, field, grid, gridCloud, values));
    forward(witness, field, places, arrowCloud);
    slopesOf(witness, field, arrowCloud, slopes);
    let speed = 0;
    for (let i = 0; i < slope.length; i += 2) speed += field.unit * Math.hypot(slope[i], slope[i + 1]) / (slope.length / 2);
    counts.level.textContent = levelText(state.position);
    counts.done.textContent = `${state.done} of ${total}`;
    counts.gap.textContent = field.gap.toPrecision(2);
    counts.speed.textContent = speed.toFixed(3);
    plane.redraw();
  }

  /** Look before the next picture, once, however often this is asked. */
  function lookSoon() {
    pending ??= requestAnimationFrame(() => { pending = null; look(); });
  }

  // --- motion ---------------------------------------------------------------------------------------------------------
  const scheduled = () => {
    if (!state.isAdaptive) return state.hand;
    return levels === 1 ? 1 : 1 - Math.min(levels - 1, Math.floor(state.done / inner)) / (levels - 1);
  };

  function toSchedule() {
    state.position = scheduled();
    level.set(PLACES * state.position);
  }

  function advance() {
    before.set(particles);
    flowStep(witness, particles, levelAt(noising, scheduled()), state.length, cloud, slope);
    state.done++;
  }

  function pause() {
    cancelAnimationFrame(clock);
    clock = null;
    part = 1;
    play.textContent = "Play";
    card.root.dataset.state = state.done === total ? "done" : "paused";
  }

  function finish() {
    pause();
    const distance = energyDistance(particles, reference, within).toFixed(3);
    card.note.textContent = `After ${total} steps the energy distance to the data is ${distance}; its noise floor is `
      + `${model.get("floor").toFixed(3)}. ${model.get("note")}`;
  }

  function toStart() {
    const { points } = state.start, count = points.length / 2;
    pause();
    [particles, before, shown, slope] = [points.slice(), points.slice(), points.slice(), points.slice()];
    cloud = makeCloud(witness, count);
    state.done = 0;
    card.root.dataset.state = "paused";
    card.note.textContent = model.get("note");
    toSchedule();
    lookSoon();
  }

  function run() {
    if (state.done === total) toStart();
    pause();
    play.textContent = "Pause";
    card.root.dataset.state = "running";
    const isStill = wantsStillness();
    let stepBegan = null;
    const tick = (now) => {
      if (!card.root.isConnected) return;
      if (isStill) { // no motion: as many steps as fit between two pictures, and only the end is shown
        for (const late = performance.now() + 25; state.done < total && performance.now() < late;) advance();
      } else if (state.done < total && (stepBegan === null || now - stepBegan >= STEP_SHOWN)) {
        // Where pictures come slowly, more than one step between two of them: a play takes as long everywhere.
        const due = stepBegan === null ? 1 : Math.min(8, Math.floor((now - stepBegan) / STEP_SHOWN));
        for (let step = 0; step < due && state.done < total; step++) advance();
        stepBegan = now;
        toSchedule();
        look();
      }
      part = isStill ? 1 : Math.min(1, (now - stepBegan) / STEP_SHOWN);
      if (state.done === total && part === 1) { toSchedule(); look(); finish(); return; }
      if (!isStill) plane.redraw();
      clock = requestAnimationFrame(tick);
    };
    clock = requestAnimationFrame(tick);
  }

  function restart() {
    toStart();
    run();
  }

  // --- controls -------------------------------------------------------------------------------------------------------
  const levelText = (position) => levelAt(noising, position).toFixed(3);
  const range = { min: 0, max: PLACES, step: 1, value: PLACES, show: (place) => levelText(place / PLACES) };
  const level = addSlider(card, { label: "Noise level", ...range }, (place) => {
    state.position = state.hand = place / PLACES;
    if (state.isAdaptive) pause(); // the hand takes it
    lookSoon();
  });
  addSelect(card, { label: "Levels of the flow", options: ["adaptive: from noisy to clean", "this level only"], index: 0 },
    (place) => { state.isAdaptive = place === 0; restart(); });
  if (starts.length > 1) {
    addSelect(card, { label: "Start", options: starts.map(({ name }) => name), index: 0 },
      (place) => { state.start = starts[place]; restart(); });
  }
  const choices = { min: 0, max: lengths.length - 1, step: 1, value: model.get("steps_index"), show: (place) => String(lengths[place]) };
  addSlider(card, { label: "Step length", ...choices }, (place) => { state.length = lengths[place]; restart(); });
  const play = addButton(card, "Play", () => (clock === null ? run() : pause()));
  addButton(card, "One step", () => {
    pause();
    if (state.done === total) toStart();
    advance();
    toSchedule();
    lookSoon();
    if (state.done === total) finish();
  });
  addButton(card, "Back to the start", toStart);

  // --- numbers and colours beside the picture -------------------------------------------------------------------------
  const words = (tag, texts, className = "") =>
    element(tag, { className }, ...texts.map((text) => element("span", { textContent: text })));
  const side = element("div", { className: "lim-side" });
  const { row, counts } = makeCounts({
    level: "noise level", done: "steps done", gap: "MMD\u00b2 at this level",
    speed: noising.explodes ? "mean slope at the particles, in units of the noise" : "mean slope at the particles",
  });
  const key = element("div", { className: "lim-key" });
  for (const [kind, text] of [["particle", "the particles"], ["datum", "the data"], ["zero", "where f is 0"],
    ["arrow", "the way down; full length: a slope of 1 or more"]]) {
    key.append(element("span", { textContent: text, className: `lim-${kind}` }));
  }
  side.append(row, element("p", { textContent: noising.explodes ? "The witness f, in units of the noise" : "The witness f" }),
    words("div", ["\u22122", "\u2212\u00bd", "0", "\u00bd", "2"], "lim-scale"),
    words("p", ["particles go here", "and away from here"], "lim-ends"), key);
  card.pictures.append(side);
  toStart();
  return () => { cancelAnimationFrame(clock); cancelAnimationFrame(pending); plane.stop(); };
}

/** The points of a square lattice over the window, row by row from below; `inset` in cells keeps it off the edge. */
function lattice(limit, side, inset) {
  const at = (place) => limit * (2 * (place + inset) / (side - 1 + 2 * inset) - 1);
  return Float64Array.from({ length: 2 * side * side }, (_, i) => at(i % 2 ? Math.floor(i / 2 / side) : (i >> 1) % side));
}

/** Colours of a field over the window from its values at NODES x NODES points, smooth between them. */
function makeHeatMap(limit) {
  const canvas = element("canvas", { width: PIXELS, height: PIXELS }), inner = canvas.getContext("2d");
  const image = inner.createImageData(PIXELS, PIXELS);
  const across = new Float64Array(NODES * PIXELS), fine = new Float64Array(PIXELS * PIXELS);
  // The cubic of Catmull and Rom through four nodes around each pixel.
  const taps = Array.from({ length: PIXELS }, (_, pixel) => {
    const at = (pixel + 0.5) / PIXELS * (NODES - 1), below = Math.min(NODES - 2, Math.floor(at)), t = at - below;
    const weights = [-t + 2 * t * t - t ** 3, 2 - 5 * t * t + 3 * t ** 3, t + 4 * t * t - 3 * t ** 3, t ** 3 - t * t];
    return [-1, 0, 1, 2].map((step, k) => [Math.min(NODES - 1, Math.max(0, below + step)), weights[k] / 2]);
  });
  const map = { zeros: new Path2D(), set, paint };

  function set(values) {
    taps.forEach((four, x) => {
      for (let y = 0; y < NODES; y++) {
        let sum = 0;
        for (const [node, weight] of four) sum += weight * values[y * NODES + node];
        across[y * PIXELS + x] = sum;
      }
    });
    taps.forEach((four, y) => {
      for (let x = 0; x < PIXELS; x++) {
        let sum = 0;
        for (const [node, weight] of four) sum += weight * across[node * PIXELS + x];
        fine[y * PIXELS + x] = sum;
      }
    });
    map.zeros = zeroLine(fine, limit);
  }

  /** Colours are of the root of the value, so that a field that fades can still be seen. */
  function paint(pen, unit) {
    const style = getComputedStyle(pen.canvas);
    const [low, middle, high] = ["heat-low", "surface", "heat-high"].map((name) => {
      const hex = parseInt(style.getPropertyValue(`--lim-${name}`).trim().slice(1), 16);
      return [hex >> 16, (hex >> 8) & 255, hex & 255];
    });
    for (let i = 0; i < fine.length; i++) {
      const share = Math.sqrt(Math.min(1, Math.abs(unit * fine[i]) / FULL)), end = fine[i] < 0 ? low : high;
      for (let k = 0; k < 3; k++) image.data[4 * i + k] = middle[k] + share * (end[k] - middle[k]);
      image.data[4 * i + 3] = 255;
    }
    inner.putImageData(image, 0, 0);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(canvas, -limit, -limit, 2 * limit, 2 * limit);
  }

  return map;
}

/** Where a field over the pixels of the window changes its sign: a segment across each square of four pixels, or two. */
function zeroLine(field, limit) {
  const path = new Path2D(), at = (pixel) => limit * (2 * (pixel + 0.5) / PIXELS - 1);
  const ends = [];
  const cross = (x, y, u, v) => {
    const a = field[y * PIXELS + x], b = field[v * PIXELS + u];
    if ((a < 0) !== (b < 0)) ends.push(at(x + (u - x) * a / (a - b)), at(y + (v - y) * a / (a - b)));
  };
  for (let y = 0; y + 1 < PIXELS; y++) {
    for (let x = 0; x + 1 < PIXELS; x++) {
      ends.length = 0;
      cross(x, y, x + 1, y);
      cross(x + 1, y, x + 1, y + 1);
      cross(x, y + 1, x + 1, y + 1);
      cross(x, y, x, y + 1);
      for (let i = 0; i + 3 < ends.length; i += 4) {
        path.moveTo(ends[i], ends[i + 1]);
        path.lineTo(ends[i + 2], ends[i + 3]);
      }
    }
  }
  return path;
}

/** Arrows down the slopes, at most `room` long, and none where the slope is too small for one. */
function drawArrows(pen, places, slopes, unit, room, colour, pixel) {
  pen.strokeStyle = colour;
  pen.globalAlpha = 0.55;
  pen.lineWidth = 1.2 * pixel;
  pen.beginPath();
  for (let i = 0; i < places.length; i += 2) {
    const steep = Math.hypot(slopes[i], slopes[i + 1]), length = 0.8 * room * Math.min(1, unit * steep);
    if (length < 2 * pixel) continue;
    const [dx, dy] = [-slopes[i] / steep * length, -slopes[i + 1] / steep * length];
    const [x, y] = [places[i] + dx / 2, places[i + 1] + dy / 2], barb = Math.min(0.35, 4 * pixel / length);
    pen.moveTo(x - dx, y - dy);
    pen.lineTo(x, y);
    pen.moveTo(x - barb * (dx + 0.7 * dy), y - barb * (dy - 0.7 * dx));
    pen.lineTo(x, y);
    pen.lineTo(x - barb * (dx - 0.7 * dy), y - barb * (dy + 0.7 * dx));
  }
  pen.stroke();
  pen.globalAlpha = 1;
}
