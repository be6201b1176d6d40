// live_forgetting: a function that drifts, followed point by point by a Kalman filter whose forgetting the reader sets.

// --- companion.teaching.widgets.forgetting.forgetting_path ----------------------------------------------------------------

/**
 * The filter over a stream of one point a step: log-densities of each `y` before it is absorbed, and before the first and
 * after each step the weights, and the means and variances of the function on a grid. `onGrid` may be empty.
 */
export function forgettingPath({ features, y, onGrid }, { gamma, weightVariance, noiseVariance }) {
  const steps = y.length, p = features.length / steps, grid = onGrid.length / p, delta = -2 * Math.log(gamma);
  const belief = kalmanPrior(p, 1, weightVariance), output = new Float64Array(1);
  const path = {
    logs: new Float64Array(steps), weights: new Float64Array((steps + 1) * p),
    means: new Float64Array((steps + 1) * grid), variances: new Float64Array((steps + 1) * grid),
  };
  const keep = (step) => {
    path.weights.set(belief.mean, step * p);
    for (let i = 0; i < grid; i++) {
      path.variances[step * grid + i] = Math.max(0, kalmanReading(belief, onGrid, i * p, output));
      path.means[step * grid + i] = output[0];
    }
  };
  keep(0);
  for (let step = 0; step < steps; step++) {
    const row = features.subarray(step * p, (step + 1) * p);
    kalmanDrift(belief, { delta, weightVariance });
    const variance = kalmanOutputs(belief, row, output) + noiseVariance, off = y[step] - output[0];
    path.logs[step] = -0.5 * (off * off / variance + Math.log(2 * Math.PI * variance));
    kalmanAbsorb(belief, row, y.subarray(step, step + 1), noiseVariance);
    keep(step + 1);
  }
  return path;
}

// --- the picture ------------------------------------------------------------------------------------------------------

const FORGETTING_PLAY = 10000; // milliseconds that a play takes, however many steps
const FORGETTING_TRAIL = 60; // points that are still seen; a point fades with its age

/** The truth of now, the belief and the last points; how far off it is and believes to be; what test-then-train says of each gamma. */
function renderForgetting({ model, el }) {
  const card = makeCard(model, el);
  const [steps, grid] = ["steps", "grid"].map((name) => model.get(name));
  const [x, y, truth] = ["x", "y", "truth"].map((name) => typed(Float64Array, model.get(name)));
  const bumps = { interval: model.get("interval"), bumps: model.get("bumps"), width: model.get("width") };
  const [low, high] = bumps.interval, gammas = model.get("gammas"), drifts = truth.length > grid;
  const variances = { weightVariance: model.get("weight_variance"), noiseVariance: model.get("noise_variance") };
  const places = Float64Array.from({ length: grid }, (_, i) => low + (high - low) * i / (grid - 1));
  const stream = { features: bumpFeatures(x, bumps), y, onGrid: bumpFeatures(places, bumps) };
  const state = { step: model.get("step"), place: model.get("gammas_index") };
  const scored = Math.floor(steps / 4) + 1; // the first step that counts: before, every filter has much to learn
  const count = steps - scored + 1;
  const truthAt = (step) => { const row = drifts ? Math.max(0, step - 1) : 0; return truth.subarray(row * grid, (row + 1) * grid); };
  const meanOf = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

  /** A path with its error, its belief and the share of the truth inside its band, at each step. */
  function follow(gamma) {
    const path = { ...forgettingPath(stream, { gamma, ...variances }), errors: [], beliefs: [], inside: [] };
    for (let step = 0; step <= steps; step++) {
      const exact = truthAt(step);
      let square = 0, variance = 0, inside = 0;
      for (let i = 0; i < grid; i++) {
        const off = path.means[step * grid + i] - exact[i], own = path.variances[step * grid + i];
        square += off * off;
        variance += own;
        if (off * off <= 4 * own) inside++;
      }
      path.errors.push(Math.sqrt(square / grid));
      path.beliefs.push(Math.sqrt(variance / grid));
      path.inside.push(inside / grid);
    }
    return path;
  }

  const followed = new Map(); // by place: a gamma that comes back needs no new filter
  const pathOf = (place) => {
    if (!followed.has(place)) followed.set(place, follow(gammas[place]));
    return followed.get(place);
  };
  const sweep = gammas.map((gamma) =>
    meanOf(forgettingPath({ ...stream, onGrid: new Float64Array(0) }, { gamma, ...variances }).logs.subarray(scored - 1)));
  const best = sweep.indexOf(Math.max(...sweep));

  /** Fill the area inside some points. */
  const shade = (pen, points, colour, opacity) => {
    pen.globalAlpha = opacity;
    pen.fillStyle = colour;
    pen.beginPath();
    for (const point of points) pen.lineTo(...point);
    pen.fill();
    pen.globalAlpha = 1;
  };

  // --- the belief -------------------------------------------------------------------------------------------------------
  card.root.classList.add("lim-forgetting");
  const start = pathOf(state.place), widest = 2.2 * Math.sqrt(Math.max(...start.variances.subarray(0, grid)));
  const [least, greatest] = [y, truth].reduce((ends, values) =>
    values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], ends), [Infinity, -Infinity]);
  const room = 0.12 * (greatest - least) || 1; // and more for a belief that has forgotten all, if that is not far beyond
  const bottom = Math.min(least - room, Math.max(-widest, least - 4 * room)), top = Math.max(greatest + room, Math.min(widest, greatest + 4 * room));
  const drawFit = (pen, colours, width, height) => {
    const plot = plotArea(width, height, [low, high], [bottom, top]), path = pathOf(state.place), { step } = state;
    const values = path.means.subarray(step * grid, (step + 1) * grid);
    const curve = (away) => Array.from(values, (value, i) => plot.at(places[i], value + away * Math.sqrt(path.variances[step * grid + i])));
    drawTicks(pen, plot, colours, { across: "x", up: "y" });
    clipTo(pen, plot, 8, () => {
      shade(pen, [...curve(2), ...curve(-2).reverse()], colours.learned, 0.2);
      for (const away of [2, -2]) line(pen, curve(away).flat(), colours.learned, 1, 0.55);
      line(pen, Array.from(truthAt(step)).flatMap((value, i) => plot.at(places[i], value)), colours.exact, 5, 0.75);
      line(pen, curve(0).flat(), colours.learned, 2.6);
      for (let age = Math.min(step, FORGETTING_TRAIL) - 1; age > 0; age--) {
        drawPoints(pen, plot.at(x[step - 1 - age], y[step - 1 - age]), colours.ink, 0.8 * (1 - age / FORGETTING_TRAIL), 3, 1);
      }
      if (step === 0) return;
      const newest = plot.at(x[step - 1], y[step - 1]);
      drawPoints(pen, newest, colours.surface, 1, 8, 1);
      ring(pen, newest, 7, colours.ink);
      drawPoints(pen, newest, colours.ink, 1, 4, 1);
    });
  };

  // --- its error and what it believes, step by step ----------------------------------------------------------------------
  const ends = [pathOf(0), pathOf(gammas.length - 1), start].flatMap(({ errors, beliefs }) => [...errors, ...beliefs]);
  const marks = Array.from({ length: 25 }, (_, k) => Number(`${k % 2 ? 3 : 1}e${Math.floor(k / 2) - 6}`)); // heights that have a name
  const heightOf = (value) => Math.log10(Math.max(value, 1e-9));
  const lowest = Math.max(0, marks.findLastIndex((mark) => mark <= Math.min(...ends)));
  const above = marks.findIndex((mark) => mark >= Math.max(...ends)), highest = Math.max(lowest + 1, above < 0 ? marks.length - 1 : above);
  const shown = marks.slice(lowest, highest + 1);
  const drawErrors = (pen, colours, width, height) => {
    const plot = logPlot(pen, colours, width, height, [0, steps], shown, { across: "step" });
    const { errors, beliefs } = pathOf(state.place), { step } = state;
    const at = (values) => values.map((value, k) => plot.at(k, heightOf(value)));
    const own = at(errors), believed = at(beliefs), worse = at(errors.map((error, k) => Math.max(error, beliefs[k])));
    clipTo(pen, plot, 8, () => {
      for (const [from, to, opacity] of [[step, steps + 1, 0.35], [0, step + 1, 1]]) { // what is still to come, and what has been
        shade(pen, [...worse.slice(from, to), ...believed.slice(from, to).reverse()], colours.rival, 0.35 * opacity);
        line(pen, own.slice(from, to).flat(), colours.ink, 1.8, opacity);
        pen.setLineDash([6, 4]);
        line(pen, believed.slice(from, to).flat(), colours.learned, 2.2, opacity);
        pen.setLineDash([]);
      }
    });
    pen.setLineDash([2, 4]);
    line(pen, [own[step][0], plot.top, own[step][0], plot.base], colours.ink, 1.2, 0.7);
    pen.setLineDash([]);
    drawBead(pen, colours, plot, believed[step], "learned");
    drawBead(pen, colours, plot, own[step], "ink");
  };

  // --- the log-density of the next point, for every gamma ------------------------------------------------------------------
  const poorest = Math.max(Math.min(...sweep), sweep[best] - 8), span = sweep[best] - poorest || 1;
  const texts = gammas.map(String), beside = Math.max(0.5, 0.035 * gammas.length); // room for the first and the last text
  const choicesAcross = [-beside, gammas.length - 1 + beside];
  const drawSweep = (pen, colours, width, height) => {
    const plot = plotArea(width, height, choicesAcross, [poorest - 0.08 * span, sweep[best] + 0.28 * span], { left: 48 });
    const heights = roundTicks(...plot.up, (plot.base - plot.top) / 26).map((tick) => [tick, String(tick).replace("-", "\u2212")]);
    drawTicks(pen, plot, colours, { places: namedPlaces(pen, plot, texts), heights, ends: ["\u2190 forgets fast", gammas.at(-1) === 1 ? "nothing \u2192" : "slowly \u2192"] });
    write(pen, "\u03b3", (plot.left + plot.right) / 2, plot.base + 30, colours.soft, "center", 600);
    const trace = sweep.map((score, place) => plot.at(place, score)), [across, up] = trace[best];
    clipTo(pen, plot, 8, () => {
      line(pen, trace.flat(), colours.learned, 2.2);
      drawPoints(pen, trace.flat(), colours.learned, 1, 3, 1);
    });
    ring(pen, trace[best], 9, colours.third);
    const text = `best: ${texts[best]}`, half = pen.measureText(text).width / 2 + 4; // in the font of the last writing
    write(pen, text, Math.min(Math.max(across, plot.left + half), plot.right - half), up - 14, colours.third, "center", 600);
    drawBead(pen, colours, plot, trace[state.place], "learned");
  };

  const alt = model.get("alt");
  const fit = addScene(card, { caption: "The belief after this point", alt, shape: 1, narrow: 1.2, draw: drawFit });
  const track = addScene(card, {
    caption: "Error and belief", shape: 1.75, narrow: 1.8, draw: drawErrors,
    alt: `The error of the mean and the standard deviation that the filter believes, at each step, on a logarithmic axis. ${alt}`,
  });
  const sweeps = addScene(card, { caption: "Test, then train", shape: 1.75, narrow: 1.8, draw: drawSweep, alt: "" });
  sweeps.value.textContent = "log-density, next point";
  const scenes = [fit, track, sweeps], columns = setColumns(card, [[fit], [track, sweeps]]);
  const tail = Math.min(FORGETTING_TRAIL, steps);
  columns[0].append(makeKey([["the truth now", "lim-thick", "exact"], ["the mean", "lim-stroke", "learned"], ["\u00b1 2 standard deviations", "lim-band", "learned"],
    [`the last ${tail} points`, "lim-datum", "ink"], ["the newest", "lim-newest", "ink"]]));
  track.canvas.parentElement.after(makeKey([["its error", "lim-stroke", "ink"], ["what it believes", "lim-dashed", "learned"], ["overconfident", "lim-band", "rival"]]));

  // --- numbers --------------------------------------------------------------------------------------------------------
  const { row, counts } = makeCounts({
    error: "error of the mean", belief: "what the filter believes", inside: "of the truth in the band", log: "log-density of this point",
  });
  card.pictures.after(row);

  const percent = (share) => `${Math.round(100 * share)}\u202f%`;
  function show(step) {
    state.step = step;
    slider.set(step);
    const path = pathOf(state.place);
    counts.error.textContent = shortNumber(path.errors[step]);
    counts.belief.textContent = shortNumber(path.beliefs[step]);
    counts.inside.textContent = percent(path.inside[step]);
    counts.log.textContent = step ? shortNumber(path.logs[step - 1]) : "\u2013";
    fit.value.textContent = `step ${step} of ${steps}`;
    track.value.textContent = `error ${shortNumber(path.errors[step] / path.beliefs[step])} \u00d7 believed`;
    for (const scene of scenes) scene.redraw();
  }

  function describe() {
    const path = pathOf(state.place), [error, belief, inside] = [path.errors, path.beliefs, path.inside].map((values) => meanOf(values.slice(scored)));
    const over = path.errors.filter((own, step) => step >= scored && path.beliefs[step] < own).length / count;
    const gain = state.place === best ? "the best of all here" : `${shortNumber(sweep[best])} at the best, \u03b3 = ${texts[best]}`;
    card.note.textContent = `Steps ${scored} to ${steps} with \u03b3 = ${texts[state.place]}: error ${shortNumber(error)}, believed ${shortNumber(belief)}; `
      + `${percent(inside)} of the truth in the band; overconfident in ${percent(over)} of the steps; `
      + `mean log-density ${shortNumber(sweep[state.place])}, ${gain}. ${model.get("note")}`;
    const named = [...new Set([0, best, gammas.length - 1])].map((place) => `${shortNumber(sweep[place])} at ${texts[place]}`);
    sweeps.canvas.setAttribute("aria-label", `The mean log-density of the next point in steps ${scored} to ${steps} against gamma: ${named.join(", ")}; `
      + `best at ${texts[best]}; now ${shortNumber(sweep[state.place])} at ${texts[state.place]}.`);
  }

  // --- controls -------------------------------------------------------------------------------------------------------
  function remember(place) {
    state.place = place;
    describe();
    player.rest();
  }

  const choices = { min: 0, max: gammas.length - 1, step: 1, value: state.place, show: (place) => texts[place] };
  const chooser = addSlider(card, { label: "Memory \u03b3", ...choices }, remember);
  const slider = addSlider(card, { label: "Step", min: 0, max: steps, step: 1, value: state.step }, (step) => player.rest(step));
  const player = addPlayer(card, { steps, span: FORGETTING_PLAY, first: state.step, show });
  slideAlong(track.canvas, { left: 48 }, [0, steps], steps, (step) => player.rest(step));
  slideAlong(sweeps.canvas, { left: 48 }, choicesAcross, gammas.length - 1, (place) => {
    chooser.set(place);
    remember(place);
  });
  describe();
  player.rest();
  return () => { player.stop(); scenes.forEach((scene) => scene.stop()); };
}

/** Which places along a plot can bear their texts, side by side: the first and the last, then nines alone, then the others. */
function namedPlaces(pen, plot, texts) {
  pen.font = "400 13px system-ui, -apple-system, \"Segoe UI\", Roboto, sans-serif"; // that of `write`
  const isNines = (place) => /^0\.9+$/.test(texts[place]);
  const order = [0, texts.length - 1, ...[...texts.keys()].sort((a, b) => isNines(b) - isNines(a))], taken = [];
  for (const place of order) {
    const [across] = plot.at(place, 0), half = pen.measureText(texts[place]).width / 2 + 5;
    if (taken.every((other) => Math.abs(across - other.across) >= half + other.half)) taken.push({ place, across, half });
  }
  return taken.map(({ place }) => [place, texts[place]]);
}
