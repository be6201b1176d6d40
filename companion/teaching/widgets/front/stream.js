// live_stream: labelled points in the plane, one by one; a Kalman filter over a last layer classifies each before it learns it.

// --- companion.teaching.widgets.stream: plane_bumps and stream_path ---------------------------------------------------------

/** Gaussian bumps on an even grid over a square around 0, then a one: a row for each of `points` (x, y pairs). */
export function planeBumps(points, { halfWidth, side, width }) {
  const n = points.length / 2, m = side * side + 1, rows = new Float64Array(n * m).fill(1);
  const centre = (k) => 2 * halfWidth * k / (side - 1) - halfWidth;
  for (let i = 0; i < n; i++) {
    for (let a = 0; a < side; a++) {
      for (let b = 0; b < side; b++) {
        const u = (points[2 * i] - centre(a)) / width, v = (points[2 * i + 1] - centre(b)) / width;
        rows[i * m + a * side + b] = Math.exp(-0.5 * (u * u + v * v));
      }
    }
  }
  return rows;
}

/**
 * Softmax of `alpha` (outputs + root noise) for each draw of `noise` (s x k), into `shares` (s x k); where `logs` (s) is
 * given, the logarithm of that of `label` into it: a share itself could round to 0.
 */
function sampleShares(outputs, root, alpha, noise, shares, label = 0, logs = null) {
  const k = outputs.length;
  for (let from = 0; from < noise.length; from += k) {
    let top = -Infinity, total = 0;
    for (let c = 0; c < k; c++) {
      shares[from + c] = alpha * (outputs[c] + root * noise[from + c]);
      top = Math.max(top, shares[from + c]);
    }
    const own = shares[from + label] - top;
    for (let c = 0; c < k; c++) total += shares[from + c] = Math.exp(shares[from + c] - top);
    for (let c = 0; c < k; c++) shares[from + c] /= total;
    if (logs) logs[from / k] = own - Math.log(total);
  }
}

/** The average softmax, into `chances` (k). */
function averageShares(shares, chances) {
  const k = chances.length;
  chances.fill(0);
  for (let at = 0; at < shares.length; at++) chances[at % k] += shares[at] * k / shares.length;
}

const SMALLEST = 2.2250738585072014e-308; // variance: a root has no slope at 0

/** A drift by `delta`, then row t with its centred one-hot target, in place. */
function learnRow(belief, { features, labels }, t, delta, { weightVariance, noiseVariance }) {
  const { m, k } = belief, target = Float64Array.from({ length: k }, (_, c) => (c === labels[t] ? 1 : 0) - 1 / k);
  kalmanDrift(belief, { delta, weightVariance });
  kalmanAbsorb(belief, features.subarray(t * m, (t + 1) * m), target, noiseVariance);
}

/**
 * KalmanHead through `stream` (features, labels), row by row: each is scored, then delta and log alpha go one step uphill on
 * its log-probability (at the rates `rate` and `alphaRate`, 0 for a constant), then it is absorbed. Of each row: the
 * log-probability, the predicted class and its chance; delta and alpha after it. Every `every` rows the belief is kept.
 */
export function streamPath(stream, noise, { delta, rate, alpha, alphaRate, weightVariance, noiseVariance }, every = 0) {
  const { features, labels, classes: k } = stream, n = labels.length, m = features.length / n, draws = noise.length / k;
  const belief = kalmanPrior(m, k, weightVariance), outputs = new Float64Array(k);
  const shares = new Float64Array(noise.length), chances = new Float64Array(k), logs = new Float64Array(draws);
  const [logProb, deltas, alphas, chance] = Array.from({ length: 4 }, () => new Float64Array(n));
  const path = { logProb, deltas, alphas, chance, predicted: new Uint8Array(n), kept: [], belief, start: { delta, alpha } };
  let logAlpha = Math.log(alpha);
  for (let t = 0; t < n; t++) {
    if (every && t % every === 0) path.kept.push({ mean: belief.mean.slice(), covariance: belief.covariance.slice() });
    const row = features.subarray(t * m, (t + 1) * m), label = labels[t];
    const spread = kalmanOutputs(belief, row, outputs), prior = weightVariance * dot(row, row);
    const gamma = Math.exp(-delta / 2), kept = Math.exp(-delta), scale = Math.exp(logAlpha);
    const root = Math.sqrt(Math.max(SMALLEST, kept * spread - Math.expm1(-delta) * prior));
    const still = outputs.slice(); // before the drift
    for (let c = 0; c < k; c++) outputs[c] *= gamma;
    sampleShares(outputs, root, scale, noise, shares, label, logs);
    averageShares(shares, chances);
    path.predicted[t] = chances.indexOf(Math.max(...chances));
    chance[t] = chances[path.predicted[t]];

    const top = Math.max(...logs);
    let total = 0;
    for (let s = 0; s < draws; s++) total += Math.exp(logs[s] - top);
    logProb[t] = top + Math.log(total / draws);

    if (rate > 0 || alphaRate > 0) { // f_s = gamma mu + sqrt(v) eps_s, v = gamma^2 spread + (1 - gamma^2) prior
      let slope = 0, alphaSlope = 0;
      for (let s = 0; s < draws; s++) {
        const weight = scale * Math.exp(logs[s] - top) / total;
        for (let c = 0; c < k; c++) {
          const pull = weight * ((c === label ? 1 : 0) - shares[s * k + c]); // of f_s[c] on the log-probability
          alphaSlope += pull * (outputs[c] + root * noise[s * k + c]);
          slope += pull * (-gamma / 2 * still[c] + kept * (prior - spread) / (2 * root) * noise[s * k + c]);
        }
      }
      if (rate > 0) delta = Math.max(0, delta + rate * slope);
      logAlpha += alphaRate * alphaSlope;
    }
    deltas[t] = delta;
    alphas[t] = Math.exp(logAlpha);
    learnRow(belief, stream, t, delta, { weightVariance, noiseVariance });
  }
  return path;
}

/** The belief before row t of a path whose beliefs were kept `every` so many rows, by going on from one of them. */
export function replay(stream, path, variances, every) {
  const { features, labels, classes } = stream;
  const belief = kalmanPrior(features.length / labels.length, classes, variances.weightVariance);
  let at = -1;
  return (t) => {
    const place = Math.min(Math.floor(t / every), path.kept.length - 1);
    if (at > t || at < place * every) {
      belief.mean.set(path.kept[place].mean);
      belief.covariance.set(path.kept[place].covariance);
      at = place * every;
    }
    for (; at < t; at++) {
      learnRow(belief, stream, at, path.deltas[at], variances);
    }
    return belief;
  };
}

/** Class probabilities (k each) of the rows of `features`, by a belief that drifts once more by `delta`; `lengths` holds their |phi|^2. */
export function chancesOn({ features, lengths }, belief, { delta, alpha, weightVariance }, noise) {
  const { m, k } = belief, n = features.length / m, gamma = Math.exp(-delta / 2), kept = Math.exp(-delta), added = -Math.expm1(-delta) * weightVariance;
  const outputs = new Float64Array(k), shares = new Float64Array(noise.length), chances = new Float64Array(n * k);
  for (let i = 0, row = 0; i < n; i++, row += m) {
    const spread = kalmanReading(belief, features, row, outputs);
    for (let c = 0; c < k; c++) outputs[c] *= gamma;
    sampleShares(outputs, Math.sqrt(Math.max(0, kept * spread + added * lengths[i])), alpha, noise, shares);
    averageShares(shares, chances.subarray(i * k, (i + 1) * k));
  }
  return chances;
}

// --- the picture ------------------------------------------------------------------------------------------------------

const STREAM_PACE = 25; // milliseconds for a row in a play
const STREAM_TRAIL = 40; // points that are still seen, and rows of the running mean
const STREAM_KEPT = 10; // rows between two beliefs that are kept
const STREAM_CELLS = 40; // of the map, to a side
const MOST_MEMORY = 1e5; // rows; whatever is above is drawn there, as endless

/** The class probabilities of now and the last points; the memory that gamma gives; the running log-loss of several gammas. */
function renderStream({ model, el }) {
  const card = makeCard(model, el);
  const [n, classes, halfWidth, side, width] = ["rows", "classes", "half_width", "side", "width"].map((name) => model.get(name));
  const noise = typed(Float64Array, model.get("noise")), gammas = model.get("gammas"), rates = model.get("gamma_rates");
  const settings = {
    alpha: model.get("alpha"), alphaRate: model.get("alpha_rate"),
    weightVariance: model.get("weight_variance"), noiseVariance: model.get("noise_variance"),
  };
  const bumps = { halfWidth, side, width }, letters = Array.from("ABCD").slice(0, classes);
  const streams = model.get("streams").map(({ name, points, labels, changes }) => {
    const places = typed(Float64Array, points);
    return { name, points: places, labels: typed(Uint8Array, labels), changes, classes, features: planeBumps(places, bumps), constants: null };
  });
  const state = {
    stream: streams[0], isLearned: model.get("learned"), step: n,
    rate: rates[model.get("gamma_rates_index")], place: model.get("gammas_index"),
  };
  const follow = (delta, rate, every) => {
    const path = streamPath(state.stream, noise, { ...settings, delta, rate }, every), { labels } = state.stream;
    path.isRight = path.predicted.map((label, t) => (label === labels[t] ? 1 : 0));
    path.recent = new Float64Array(n);
    path.losses = [0]; // summed, and so are the hits
    path.hits = [0];
    for (let t = 0; t < n; t++) {
      path.losses.push(path.losses[t] - path.logProb[t]);
      path.hits.push(path.hits[t] + path.isRight[t]);
      const first = Math.max(0, t + 1 - STREAM_TRAIL);
      path.recent[t] = (path.losses[t + 1] - path.losses[first]) / (t + 1 - first);
    }
    path.loss = path.losses[n] / n;
    return path;
  };
  const deltaOf = (gamma) => (gamma === 1 ? 0 : -2 * Math.log(gamma)); // no -0, whose memory would be negative
  const gammaText = (gamma) => (gamma === 1 ? "1" : String(Number(gamma.toPrecision(Math.max(2, Math.ceil(1 - Math.log10(1 - gamma)))))));
  const memoryOf = (delta) => Math.min(MOST_MEMORY, -1 / Math.expm1(-delta / 2)); // 1 / (1 - gamma)

  // --- the filters --------------------------------------------------------------------------------------------------------
  card.root.classList.add("lim-stream");
  const runs = [
    { name: "learned", colour: "learned", dash: [], width: 2.6 },
    { name: "hand", colour: "rival", dash: [2, 3], width: 2.4 },
    { name: "best", colour: "third", dash: [8, 4], width: 2 },
    { name: "static", colour: "exact", dash: [], width: 2.2 },
  ];
  const [learned, hand, best, still] = runs;
  const ownRun = () => (state.isLearned ? learned : hand); // whose belief is on show
  const shownRuns = () => runs.filter((run) => run !== hand || !state.isLearned);
  let beliefAt;

  function compute() {
    const { stream } = state;
    stream.constants ??= gammas.map((gamma) => follow(deltaOf(gamma), 0, 0));
    stream.still ??= gammas.includes(1) ? stream.constants[gammas.indexOf(1)] : follow(0, 0, 0);
    const least = stream.constants.reduce((found, { loss }, place) => (loss < stream.constants[found].loss ? place : found), 0);
    Object.assign(still, { path: stream.still, text: "\u03b3 = 1, never forgets" });
    Object.assign(best, { path: stream.constants[least], gamma: gammas[least], text: `\u03b3 = ${gammas[least]}, best in hindsight` });
    if (stream.learned?.rate !== state.rate) stream.learned = { rate: state.rate, path: follow(0, state.rate, STREAM_KEPT) };
    Object.assign(learned, { path: stream.learned.path, text: "\u03b3 learned" });
    const byHand = state.isLearned ? stream.constants[state.place] : follow(deltaOf(gammas[state.place]), 0, STREAM_KEPT); // with beliefs to show
    Object.assign(hand, { path: byHand, text: `\u03b3 = ${gammas[state.place]}, by hand` });
    beliefAt = replay(stream, ownRun().path, settings, STREAM_KEPT);
  }

  // --- the plane ----------------------------------------------------------------------------------------------------------
  const cells = new Float64Array(2 * STREAM_CELLS ** 2).map((_, at) => {
    const place = at % 2 ? STREAM_CELLS - 1 - Math.floor(at / 2 / STREAM_CELLS) : Math.floor(at / 2) % STREAM_CELLS;
    return halfWidth * (2 * (place + 0.5) / STREAM_CELLS - 1);
  });
  const grid = { features: planeBumps(cells, bumps) };
  const m = side * side + 1;
  grid.lengths = Float64Array.from({ length: STREAM_CELLS ** 2 }, (_, i) => {
    const row = grid.features.subarray(i * m, (i + 1) * m);
    return dot(row, row);
  });
  const map = element("canvas", { width: STREAM_CELLS, height: STREAM_CELLS });
  const inksOf = (hexes) => hexes.map((hex) => [16, 8, 0].map((shift) => (parseInt(hex.slice(1), 16) >> shift) & 255));

  /** One pixel for a cell: the classes' colours by their probabilities, the background where these are even. */
  function paintMap(chances, background, inks) {
    const inner = map.getContext("2d"), image = inner.createImageData(STREAM_CELLS, STREAM_CELLS);
    for (let i = 0; i < STREAM_CELLS ** 2; i++) {
      let unsure = 0;
      for (let c = 0; c < classes; c++) {
        const chance = chances[i * classes + c];
        if (chance > 0) unsure -= chance * Math.log(chance) / Math.log(classes);
      }
      const share = 0.62 * Math.max(0, 1 - unsure) ** 0.75;
      for (let j = 0; j < 3; j++) {
        let mixed = 0;
        for (let c = 0; c < classes; c++) mixed += chances[i * classes + c] * inks[c][j];
        image.data[4 * i + j] = background[j] + share * (mixed - background[j]);
      }
      image.data[4 * i + 3] = 255;
    }
    inner.putImageData(image, 0, 0);
  }

  const drawPlane = (pen, colours, size, height) => {
    if (!colours.surface) return; // not yet in the page
    const { step, stream } = state, { path } = ownRun(), inks = classInks(pen.canvas);
    const now = step ? { delta: path.deltas[step - 1], alpha: path.alphas[step - 1] } : path.start;
    const chances = chancesOn(grid, beliefAt(step), { ...now, weightVariance: settings.weightVariance }, noise);
    const [background, ...colour] = inksOf([colours.surface, ...inks]);
    paintMap(chances, background, colour);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(map, 0, 0, size, height);
    const at = (t) => [0, 1].map((axis) => { // on the edge if it lies beyond
      const share = Math.min(0.985, Math.max(0.015, 0.5 + stream.points[2 * t + axis] / (2 * halfWidth)));
      return axis ? height * (1 - share) : size * share;
    });
    for (let t = Math.max(0, step - STREAM_TRAIL); t < step; t++) {
      const opacity = 1 - 0.85 * (step - 1 - t) / STREAM_TRAIL;
      if (path.isRight[t]) {
        drawPoints(pen, at(t), colours.surface, opacity, 5, 1);
        drawPoints(pen, at(t), inks[stream.labels[t]], opacity, 4, 1);
      } else {
        drawCross(pen, at(t), 5.5, colours.surface, 6, opacity);
        drawCross(pen, at(t), 5.5, inks[stream.labels[t]], 3, opacity);
      }
    }
    if (step === n) return;
    const [x, y] = at(step), held = [Math.min(size - 15, Math.max(15, x)), Math.min(height - 15, Math.max(15, y))];
    drawPoints(pen, held, colours.surface, 1, 14, 1);
    pen.lineWidth = 3.5;
    pen.strokeStyle = inks[path.predicted[step]];
    pen.beginPath();
    pen.arc(...held, 11, 0, 2 * Math.PI);
    pen.stroke();
    write(pen, letters[path.predicted[step]], held[0], held[1] + 4.5, colours.ink, "center", 700);
  };

  // --- over time ----------------------------------------------------------------------------------------------------------
  /** The area of both plots: room on the left for heights, on the right for half of the last row's number. */
  const timePlot = (width, height, up) => plotArea(width - 6, height, [0, n], up, { left: 48, above: 10 });

  /** What both plots share: where the stream changes, the row on show, and curves that are faint from there on. */
  function drawOverTime(pen, colours, plot, curveOf) {
    const { step, stream } = state, xAt = (t) => plot.at(t, 0)[0];
    for (const change of stream.changes) line(pen, [xAt(change), plot.top, xAt(change), plot.base], colours.exact, 1, 0.8);
    clipTo(pen, plot, 4, () => {
      for (const run of [...shownRuns()].reverse()) {
        const curve = curveOf(run), cut = 2 * curve.findIndex(([t]) => t > step);
        const points = curve.flatMap(([t, value]) => plot.at(t, value));
        const parts = cut < 0 ? [[points, 1]] : [[points.slice(Math.max(0, cut - 2)), 0.3], [points.slice(0, cut), 1]];
        pen.setLineDash(run.dash);
        for (const [part, opacity] of parts) line(pen, part, colours[run.colour], run.width, opacity);
        pen.setLineDash([]);
      }
    });
    pen.setLineDash([2, 4]);
    line(pen, [xAt(step), plot.top, xAt(step), plot.base], colours.ink, 1.2, 0.7);
    pen.setLineDash([]);
  }

  const heightOf = (delta) => Math.log10(memoryOf(delta));
  const drawMemory = (pen, colours, width, height) => {
    const shortest = Math.min(...gammas.map((gamma) => memoryOf(deltaOf(gamma))), ...learned.path.deltas.map(memoryOf));
    const bottom = Math.min(2, Math.floor(Math.log10(Math.max(1, shortest)) + 1e-9)), top = Math.log10(MOST_MEMORY);
    const plot = timePlot(width, height, [bottom, top]);
    const heights = [];
    for (let power = bottom; power < top; power++) heights.push([power, markText(10 ** power)]);
    for (const [power] of [...heights, [top]]) line(pen, [plot.left, plot.at(0, power)[1], plot.right, plot.at(0, power)[1]], colours.line, 1);
    drawTicks(pen, plot, colours, { across: "row", heights: [...heights, [top, "\u221e"]] });
    drawOverTime(pen, colours, plot, (run) => {
      const { deltas, start } = run.path, now = [start.delta, ...deltas].map(heightOf);
      return now.map((value, t) => [t, value]);
    });
    if (state.step > 0) drawBead(pen, colours, plot, plot.at(state.step, heightOf(ownRun().path.deltas[state.step - 1])), ownRun().colour);
  };

  const drawLoss = (pen, colours, width, height) => {
    const highest = Math.max(Math.log(classes), ...shownRuns().flatMap(({ path }) => Array.from(path.recent)));
    const plot = timePlot(width, height, [0, Math.min(4, 1.05 * highest)]);
    drawTicks(pen, plot, colours, { across: "row", heights: roundTicks(...plot.up, 4).map((tick) => [tick, String(tick)]) });
    const [, guess] = plot.at(0, Math.log(classes));
    line(pen, [plot.left, guess, plot.right, guess], colours.soft, 1, 0.5);
    write(pen, "guessing", plot.left + 24, guess - 5, colours.soft, "left");
    drawOverTime(pen, colours, plot, ({ path }) => Array.from(path.recent, (loss, t) => [t + 1, loss]));
    if (state.step > 0) drawBead(pen, colours, plot, plot.at(state.step, ownRun().path.recent[state.step - 1]), ownRun().colour);
  };

  const alt = model.get("alt");
  const plane = addScene(card, { caption: "", alt, shape: 1, draw: drawPlane });
  const memory = addScene(card, {
    caption: "Memory, in rows", shape: 2.35, narrow: 1.9, draw: drawMemory,
    alt: `The memory 1 / (1 \u2212 gamma) after each row, on a logarithmic axis; upright lines where the stream changes. ${alt}`,
  });
  const losses = addScene(card, {
    caption: `Log-loss, last ${STREAM_TRAIL}`, shape: 2.35, narrow: 1.9, draw: drawLoss,
    alt: `The mean log-loss of the last ${STREAM_TRAIL} rows, each scored before it was learned. ${alt}`,
  });
  const scenes = [plane, memory, losses], columns = setColumns(card, [[plane], [memory, losses]]);
  columns[0].append(makeKey([...letters.map((letter, label) => [`class ${letter}`, "lim-swatch", `class-${label}`]),
    ["predicted right", "lim-datum", "ink"], ["predicted wrong", "lim-wrong", "ink"], ["the next point, as predicted", "lim-ring", "ink"]]));

  // --- numbers --------------------------------------------------------------------------------------------------------
  const head = element("tr", {}, ...["", "log-loss", "accuracy"].map((textContent) => element("th", { textContent, scope: "col" })));
  const body = element("tbody", {}, ...runs.map((run) => {
    const name = element("th", { scope: "row", className: `lim-run-${run.name}` });
    name.style.setProperty("--dot", `var(--lim-${run.colour})`);
    return Object.assign(run, { row: element("tr", {}, name, element("td"), element("td")) }).row;
  }));
  columns[1].append(element("table", { className: "lim-table" }, element("thead", {}, head), body));

  const percent = (share) => `${(100 * share).toFixed(1)}\u202f%`;
  function show(step) {
    state.step = step;
    slider.set(step);
    const { labels } = state.stream, { path } = ownRun();
    for (const { path: own, row, text } of runs) {
      const texts = [text, ...(step ? [shortNumber(own.losses[step] / step), percent(own.hits[step] / step)] : ["\u2013", "\u2013"])];
      texts.forEach((textContent, place) => { row.cells[place].textContent = textContent; });
    }
    hand.row.hidden = state.isLearned;
    head.cells[0].textContent = step ? `rows 1\u2013${step}` : "no row yet";
    plane.title.textContent = step === n ? `After row ${n}` : `Row ${step + 1}`;
    plane.value.textContent = step === n ? "no more to come"
      : `says ${letters[path.predicted[step]]} at ${percent(path.chance[step])}, is ${letters[labels[step]]}`;
    const delta = step ? path.deltas[step - 1] : path.start.delta, how = state.isLearned ? "learned" : "by hand";
    memory.value.textContent = `${how}: \u03b3 = ${gammaText(Math.exp(-delta / 2))}`;
    losses.value.textContent = step ? `${how}: ${shortNumber(path.recent[step - 1])}` : "";
    for (const scene of scenes) scene.redraw();
  }

  function describe() {
    const [own, byHand, least, never] = runs.map(({ path }) => shortNumber(path.loss));
    card.note.textContent = `Mean log-loss of all ${n} rows: ${own} with \u03b3 learned, `
      + (state.isLearned ? "" : `${byHand} with \u03b3 = ${gammas[state.place]} by hand, `)
      + `${never} with \u03b3 = 1; of ${gammas.length} constants the best, known only afterwards, is ${best.gamma} with ${least}. `
      + model.get("note");
  }

  // --- controls -------------------------------------------------------------------------------------------------------
  /** After a change of what is learned or how: everything anew, at the row on show. */
  function change(changes) {
    Object.assign(state, changes);
    rate.input.parentElement.hidden = !state.isLearned;
    gamma.input.parentElement.hidden = state.isLearned;
    compute();
    describe();
    player.rest();
  }

  addSelect(card, { label: "Stream", options: streams.map(({ name }) => name), index: 0 }, (index) => change({ stream: streams[index] }));
  const ways = { label: "Forgetting", options: ["learned", "by hand"], index: state.isLearned ? 0 : 1 };
  addSelect(card, ways, (index) => change({ isLearned: index === 0 }));
  const rateRange = { min: 0, max: rates.length - 1, step: 1, value: model.get("gamma_rates_index"), show: (place) => markText(rates[place]) };
  const rate = addSlider(card, { label: "Rate \u03c1", ...rateRange }, (place) => change({ rate: rates[place] }));
  const gammaRange = { min: 0, max: gammas.length - 1, step: 1, value: state.place, show: (place) => String(gammas[place]) };
  const gamma = addSlider(card, { label: "\u03b3 by hand", ...gammaRange }, (place) => change({ place }));
  const slider = addSlider(card, { label: "Row", min: 0, max: n, step: 1, value: n }, (step) => player.rest(step));
  const player = addPlayer(card, { steps: n, span: STREAM_PACE * n, first: n, show });
  for (const { canvas } of [memory, losses]) slideAlong(canvas, { left: 48, right: 16 }, [0, n], n, (step) => player.rest(step));
  change({});
  return () => { player.stop(); scenes.forEach((scene) => scene.stop()); };
}

/** Two strokes through a place. */
function drawCross(pen, [x, y], r, colour, width, opacity) {
  pen.lineCap = "round";
  line(pen, [x - r, y - r, x + r, y + r], colour, width, opacity);
  line(pen, [x - r, y + r, x + r, y - r], colour, width, opacity);
  pen.lineCap = "butt";
}
