// live_recursive: a last layer on fixed features that is solved batch by batch, with a proximal step or with forgetting.

// --- companion.foundations.linear.RecursiveLeastSquares -------------------------------------------------------------------

/** Gaussian bumps with even centres over an interval, then a one: a row for each of `x`. */
export function bumpFeatures(x, { interval: [low, high], bumps, width }) {
  const p = bumps + 1, rows = new Float64Array(x.length * p).fill(1);
  for (let i = 0; i < x.length; i++) {
    for (let k = 0; k < bumps; k++) {
      const away = (x[i] - low - (high - low) * k / (bumps - 1)) / width;
      rows[i * p + k] = Math.exp(-0.5 * away * away);
    }
  }
  return rows;
}

/** Solve a positive definite system (p x p, its lower half row by row) by Cholesky: `right` becomes the solution, `matrix` the factor. */
export function solveCholesky(matrix, right) {
  const p = right.length;
  for (let i = 0; i < p; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = matrix[i * p + j];
      for (let k = 0; k < j; k++) sum -= matrix[i * p + k] * matrix[j * p + k];
      matrix[i * p + j] = i === j ? Math.sqrt(sum) : sum / matrix[j * p + j];
    }
  }
  for (let i = 0; i < p; i++) {
    for (let k = 0; k < i; k++) right[i] -= matrix[i * p + k] * right[k];
    right[i] /= matrix[i * p + i];
  }
  for (let i = p - 1; i >= 0; i--) {
    for (let k = i + 1; k < p; k++) right[i] -= matrix[k * p + i] * right[k];
    right[i] /= matrix[i * p + i];
  }
  return right;
}

/**
 * W before the first batch and after each one, as rows: A <- g A + (1 - g) c I + F'F, W <- W + A^-1 F'(y - F W), c = b lambda.
 * `batches` holds the features, the values y, and how many steps of how many points; `isAlone` starts every batch from W = 0.
 */
export function recursiveWeights(batches, { batch, strength, forgetting, isAlone = false }) {
  const { features, y, steps, most } = batches, p = features.length / (steps * most), penalty = batch * strength;
  const squares = squaresOf(batches, batch);
  const weights = new Float64Array((steps + 1) * p), information = new Float64Array(p * p);
  for (let k = 0; k < p; k++) information[k * p + k] = penalty;
  for (let step = 0; step < steps; step++) {
    const before = isAlone ? new Float64Array(p) : weights.subarray(step * p, (step + 1) * p), right = new Float64Array(p);
    for (let at = 0, from = step * p * p; at < p * p; at++) information[at] = forgetting * information[at] + squares[from + at];
    for (let k = 0; k < p; k++) information[k * p + k] += (1 - forgetting) * penalty;
    for (let i = step * most; i < step * most + batch; i++) {
      const row = features.subarray(i * p, (i + 1) * p);
      const residual = y[i] - dot(row, before);
      for (let k = 0; k < p; k++) right[k] += row[k] * residual;
    }
    solveCholesky(information.slice(), right);
    for (let k = 0; k < p; k++) weights[(step + 1) * p + k] = before[k] + right[k];
  }
  return weights;
}

/** F'F of each step's first `batch` points, its lower half: the batches keep it, for many strengths and forgettings ask. */
function squaresOf(batches, batch) {
  if (batches.squares?.batch === batch) return batches.squares.values;
  const { features, steps, most } = batches, p = features.length / (steps * most), values = new Float64Array(steps * p * p);
  for (let step = 0; step < steps; step++) {
    for (let i = step * most; i < step * most + batch; i++) {
      for (let k = 0; k < p; k++) {
        for (let l = 0; l <= k; l++) values[(step * p + k) * p + l] += features[i * p + k] * features[i * p + l];
      }
    }
  }
  batches.squares = { batch, values };
  return values;
}

function dot(a, b) {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += a[k] * b[k];
  return sum;
}

// --- the picture ------------------------------------------------------------------------------------------------------

const RECURSIVE_PLAY = 4000; // milliseconds that a play takes, however many steps

/**
 * The truth, a batch, the fit after it, and how far off each fit is; scrub through the steps or let them run. A sweep shows
 * the mean error at every strength or, with a slider for it, at every forgetting.
 */
function renderRecursive({ model, el }) {
  const card = makeCard(model, el);
  const [steps, most, grid] = ["steps", "most", "grid"].map((name) => model.get(name));
  const [x, y, truth] = ["x", "y", "truth"].map((name) => typed(Float64Array, model.get(name)));
  const bumps = { interval: model.get("interval"), bumps: model.get("bumps"), width: model.get("width") };
  const [low, high] = bumps.interval, p = bumps.bumps + 1;
  const places = Float64Array.from({ length: grid }, (_, i) => low + (high - low) * i / (grid - 1));
  const onGrid = bumpFeatures(places, bumps), batches = { features: bumpFeatures(x, bumps), y, steps, most };
  const strengths = model.get("strengths"), drifts = truth.length > grid;
  const swept = model.get("forgets")
    ? { name: "forgetting", letter: "g", ends: ["\u2190 forgets all", "keeps all \u2192"], values: Array.from({ length: 21 }, (_, k) => k / 20) }
    : { name: "strength", letter: "\u03bb", ends: ["\u2190 over-fits", "frozen \u2192"], values: strengths };
  const state = {
    step: steps, batch: model.get("batch_size"), strength: strengths[model.get("strengths_index")],
    forgetting: model.get("forgetting"),
  };
  const truthAt = (step) => { const row = drifts ? Math.max(0, step - 1) : 0; return truth.subarray(row * grid, (row + 1) * grid); };
  const runs = [
    { name: "fit", colour: "learned", dash: [], width: 2.6 },
    { name: "alone", colour: "rival", dash: [7, 4], width: 1.8 },
    { name: "all", colour: "third", dash: [2, 3], width: 2 },
  ];
  const half = Math.floor(steps / 2) + 1; // the first step of the later half, when the start is forgotten
  let sweep;

  const rootMean = (values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
  const weightsOf = ({ weights }, step) => weights.subarray(step * p, (step + 1) * p);
  const valuesOf = (run, step) => Float64Array.from({ length: grid }, (_, i) => dot(onGrid.subarray(i * p, (i + 1) * p), weightsOf(run, step)));

  const errorAt = ({ weights }, step) => { // in one loop without arrays: it is what most of a redraw waits for
    const exact = truthAt(step);
    let sum = 0;
    for (let i = 0; i < grid; i++) {
      let off = -exact[i];
      for (let k = 0; k < p; k++) off += onGrid[i * p + k] * weights[step * p + k];
      sum += off * off;
    }
    return Math.sqrt(sum / grid);
  };
  const meanOf = (errors) => errors.reduce((sum, error) => sum + error, 0) / errors.length;

  function compute() {
    const kinds = { fit: {}, alone: { forgetting: 0, isAlone: true }, all: { forgetting: 1 } };
    for (const run of runs) {
      run.weights = recursiveWeights(batches, { ...state, ...kinds[run.name] });
      run.errors = Array.from({ length: steps + 1 }, (_, step) => errorAt(run, step));
      run.mean = meanOf(run.errors.slice(half));
    }
  }

  /** The mean error of the later half at each place of what is swept, all else as it is. */
  function computeSweep() {
    sweep = swept.values.map((value) => {
      const run = { weights: recursiveWeights(batches, { ...state, [swept.name]: value }) };
      return meanOf(Array.from({ length: steps + 1 - half }, (_, k) => errorAt(run, half + k)));
    });
  }

  // --- the fit --------------------------------------------------------------------------------------------------------
  card.root.classList.add("lim-recursive");
  const [floor, ceiling] = [y, truth].reduce(([least, greatest], values) =>
    values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [least, greatest]), [Infinity, -Infinity]);
  const margin = 0.12 * (ceiling - floor) || 1;
  const drawFit = (pen, colours, width, height) => {
    const plot = plotArea(width, height, [low, high], [floor - margin, ceiling + margin]);
    drawTicks(pen, plot, colours, { across: "x", up: "y" });
    const curve = (values) => Array.from(values).flatMap((value, i) => plot.at(places[i], value));
    clipTo(pen, plot, 8, () => {
      line(pen, curve(truthAt(state.step)), colours.exact, 5, 0.6);
      for (const run of [...runs].reverse()) {
        pen.setLineDash(run.dash);
        line(pen, curve(valuesOf(run, state.step)), colours[run.colour], run.width);
        pen.setLineDash([]);
      }
      if (state.step === 0) return;
      const first = (state.step - 1) * most;
      const points = Array.from({ length: most }, (_, i) => plot.at(x[first + i], y[first + i]));
      drawPoints(pen, points.slice(state.batch).flat(), colours.exact, 0.4, 2.5, 1);
      drawPoints(pen, points.slice(0, state.batch).flat(), colours.surface, 1, 5, 1);
      drawPoints(pen, points.slice(0, state.batch).flat(), colours.ink, 1, 3.6, 1);
    });
  };

  // --- its error, step by step, and on the mean for other strengths or forgettings ----------------------------------------
  const marks = Array.from({ length: 41 }, (_, k) => Number(`${k % 2 ? 3 : 1}e${Math.floor(k / 2) - 12}`)); // heights that have a name
  const below = (value) => marks.findLastIndex((mark) => mark <= value), above = (value) => marks.findIndex((mark) => mark >= value);
  const heightOf = (error) => Math.log10(Math.max(error, 1e-12));

  /** The heights that both plots show: what they hold, but from a hundredth of the first error to a hundred times it at the widest. */
  function markHeights() {
    const errors = [...runs.flatMap((run) => run.errors), ...sweep], start = Math.max(1e-9, Math.min(1e4, runs[0].errors[0]));
    const least = Math.max(below(start) - 4, Math.min(below(start) - 1, below(Math.max(1e-11, Math.min(...errors)))));
    const greatest = Math.min(above(start) + 4, Math.max(above(start), above(Math.min(1e7, Math.max(...errors)))));
    return marks.slice(least, greatest + 1);
  }

  const drawErrors = (pen, colours, width, height) => {
    const plot = logPlot(pen, colours, width, height, [0, steps], markHeights(), { across: "step" });
    clipTo(pen, plot, 8, () => {
      for (const run of [...runs].reverse()) {
        const trace = run.errors.map((error, step) => plot.at(step, heightOf(error)));
        const parts = [[trace.slice(state.step).flat(), 0.3], [trace.slice(0, state.step + 1).flat(), 1]];
        pen.setLineDash(run.dash);
        for (const [points, opacity] of parts) line(pen, points, colours[run.colour], run.width, opacity);
        pen.setLineDash([]);
      }
    });
    for (const run of [...runs].reverse()) drawBead(pen, colours, plot, plot.at(state.step, heightOf(run.errors[state.step])), run.colour);
  };
  const drawSweep = (pen, colours, width, height) => {
    const isStrength = swept.name === "strength", scale = isStrength ? Math.log10 : Number, values = swept.values.map(scale);
    const powers = isStrength ? strengths.filter((strength) => Number.isInteger(Math.log10(strength) / 2)) : [0, 0.5, 1];
    const across = [Math.min(...values), Math.max(...values)];
    const plot = logPlot(pen, colours, width, height, across, markHeights(), { places: powers.map((value) => [scale(value), markText(value)]), ends: swept.ends });
    write(pen, swept.letter, (plot.left + plot.right) / 2, plot.base + 30, colours.soft, "center", 600);
    const [run] = runs;
    clipTo(pen, plot, 8, () => {
      const trace = [...values.map((value, k) => [value, sweep[k]])].sort(([a], [b]) => a - b).map(([value, mean]) => plot.at(value, heightOf(mean)));
      line(pen, trace.flat(), colours[run.colour], run.width);
    });
    drawBead(pen, colours, plot, plot.at(scale(state[swept.name]), heightOf(run.mean)), run.colour);
  };

  const alt = model.get("alt");
  const fit = addScene(card, { caption: "The fit after this batch", alt, shape: 0.9, narrow: 1.3, draw: drawFit });
  const errors = addScene(card, {
    caption: "Error to the truth", shape: 2, narrow: 1.8, draw: drawErrors,
    alt: `The root mean square error to the truth after each step, on a logarithmic axis. ${alt}`,
  });
  const sweeps = addScene(card, {
    caption: `Mean error for each ${swept.letter}`, shape: 2, narrow: 1.8, draw: drawSweep, alt: "",
  });
  const scenes = [fit, errors, sweeps];
  errors.value.textContent = "root mean square";
  setColumns(card, [[fit], [errors, sweeps]]);

  // --- numbers --------------------------------------------------------------------------------------------------------
  const { row, counts } = makeCounts({
    fit: "error of this fit", alone: "error of this batch alone", all: "error of all points so far",
    batch: "this fit on the batch's points", moved: "change of W in this step",
  });
  card.pictures.after(makeKey([["the truth", "lim-thick", "exact"], ["the batch", "lim-datum", "ink"], ["this fit", "lim-stroke", "learned"],
    ["this batch alone", "lim-dashed", "rival"], ["all points so far", "lim-dotted", "third"]]), row);

  function show(step) {
    state.step = step;
    slider.set(step);
    const { batch } = state, [run] = runs, now = weightsOf(run, step);
    for (const { name, errors: own } of runs) counts[name].textContent = shortNumber(own[step]);
    const first = (step - 1) * most;
    const residuals = Array.from({ length: step ? batch : 0 }, (_, i) =>
      y[first + i] - dot(batches.features.subarray((first + i) * p, (first + i + 1) * p), now));
    counts.batch.textContent = step ? shortNumber(rootMean(residuals)) : "\u2013";
    const before = step ? weightsOf(run, step - 1) : now;
    counts.moved.textContent = step ? shortNumber(Math.hypot(...now.map((value, k) => value - before[k]))) : "\u2013";
    fit.value.textContent = `step ${step} of ${steps}`;
    for (const scene of scenes) scene.redraw();
  }

  function describe() {
    const [own, alone, all] = runs.map(({ mean }) => shortNumber(mean)), best = sweep.indexOf(Math.min(...sweep));
    card.note.textContent = `Mean error of steps ${half} to ${steps}: ${own}; of each batch alone ${alone}, of all points so far ${all}. `
      + model.get("note");
    const least = `least at ${swept.letter} = ${markText(swept.values[best])}`;
    sweeps.value.textContent = least;
    const ends = [0, sweep.length - 1].map((k) => `${shortNumber(sweep[k])} at ${markText(swept.values[k])}`);
    sweeps.canvas.setAttribute("aria-label", `The mean error of this fit in steps ${half} to ${steps} against the ${swept.name} `
      + `${swept.letter}: ${ends.join(" and ")}, ${least}: ${shortNumber(sweep[best])}.`);
  }

  // --- controls -------------------------------------------------------------------------------------------------------
  /** After a change of how it learns: everything anew, at the step on show. */
  function change(name, value) {
    state[name] = value;
    compute();
    if (name !== swept.name) computeSweep();
    describe();
    player.rest();
  }

  const slider = addSlider(card, { label: "Step", min: 0, max: steps, step: 1, value: steps }, (step) => player.rest(step));
  if (most > 1) {
    addSlider(card, { label: "Batch size b", min: 1, max: most, step: 1, value: state.batch }, (value) => change("batch", value));
  }
  const choices = { min: 0, max: strengths.length - 1, step: 1, value: model.get("strengths_index"), show: (place) => markText(strengths[place]) };
  addSlider(card, { label: "Strength \u03bb", ...choices }, (place) => change("strength", strengths[place]));
  if (model.get("forgets")) {
    const range = { min: 0, max: 1, step: 0.01, value: state.forgetting, show: (value) => value.toFixed(2) };
    const { input } = addSlider(card, { label: "Forgetting g", ...range }, (value) => change("forgetting", value));
    state.forgetting = Number(input.value); // its place
  }
  const player = addPlayer(card, { steps, span: RECURSIVE_PLAY, first: steps, show });
  compute();
  computeSweep();
  describe();
  player.rest();
  return () => { player.stop(); scenes.forEach((scene) => scene.stop()); };
}
