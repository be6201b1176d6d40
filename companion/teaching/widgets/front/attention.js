// live_attention: layers of linear self-attention and steps of gradient descent, on points that can be moved.

// --- companion.teaching.widgets.attention: gradient_line, attention_tokens, softmax_tokens, longest_step -----------------

/** [slope, intercept] before the first step of gradient descent on the squared loss, from 0, and after each. */
export function gradientLines({ x, y }, { step, layers }) {
  const lines = [[0, 0]];
  for (let layer = 0; layer < layers; layer++) {
    const [slope, intercept] = lines[layer], change = [0, 0];
    x.forEach((place, i) => {
      const residual = y[i] - slope * place - intercept;
      change[0] += residual * place;
      change[1] += residual;
    });
    lines.push([slope + step / x.length * change[0], intercept + step / x.length * change[1]]);
  }
  return lines;
}

const diagonal = (...values) => values.map((value, row) => values.map((_, column) => (row === column ? value : 0)));
const applied = (matrix, vector) => matrix.map((row) => dot(row, vector));

/** One layer of self-attention to the first `context` of the tokens; with the softmax where there is a temperature. */
export function attend(tokens, context, { query, key, value, projection }, temperature = null) {
  const seen = tokens.slice(0, context), keys = seen.map((token) => applied(key, token)), values = seen.map((token) => applied(value, token));
  return tokens.map((token) => {
    const own = applied(query, token), products = keys.map((other) => dot(other, own));
    const shares = temperature === null ? products : softmaxOf(products, temperature);
    const read = token.map((_, row) => shares.reduce((total, share, i) => total + share * values[i][row], 0));
    const change = applied(projection, read);
    return token.map((number, row) => number + change[row]);
  });
}

function softmaxOf(scores, temperature) {
  const top = Math.max(...scores), powers = scores.map((score) => Math.exp((score - top) / temperature));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

/** Tokens (x, 1, y), the context's and then the queries' with y = 0. */
const firstTokens = ({ x, y, queries }) => [...x.map((place, i) => [place, 1, y[i]]), ...queries.map((place) => [place, 1, 0])];

/** The layer that is a step of gradient descent when `scale` is step / N: it looks at (x, 1) and takes minus y. */
const attentionLayer = (scale) => ({ query: diagonal(1, 1, 0), key: diagonal(1, 1, 0), value: diagonal(0, 0, -1), projection: diagonal(scale, scale, scale) });

/** The tokens before the first layer of linear attention and after each. */
export function attentionTokens(data, { step, layers }) {
  const states = [firstTokens(data)], layer = attentionLayer(step / data.x.length);
  while (states.length <= layers) states.push(attend(states.at(-1), data.x.length, layer));
  return states;
}

/** The tokens before and after one layer with the softmax. */
export function softmaxTokens(data, temperature) {
  const tokens = firstTokens(data);
  return [tokens, attend(tokens, data.x.length, attentionLayer(1), temperature)];
}

/** 1/(2N) sum of the squares of residuals. */
export const halfMeanSquare = (residuals) => 0.5 * residuals.reduce((total, value) => total + value * value, 0) / residuals.length;

/** The residuals of a line. */
export const lineResiduals = ({ x, y }, [slope, intercept]) => y.map((value, i) => value - slope * x[i] - intercept);

/** The line of least squares; a level one where all x are the same. */
export function leastSquaresLine({ x, y }) {
  const mean = (values) => values.reduce((total, value) => total + value, 0) / values.length;
  const [across, up] = [mean(x), mean(y)], square = mean(x.map((value) => (value - across) ** 2));
  const slope = square > 1e-12 ? mean(x.map((value, i) => (value - across) * (y[i] - up))) / square : 0;
  return [slope, up - slope * across];
}

/** The step at which gradient descent stops to converge: 2 over the largest eigenvalue of the mean of (x, 1)(x, 1)'. */
export function longestStep(x) {
  const [square, mean] = [2, 1].map((power) => x.reduce((total, value) => total + value ** power, 0) / x.length);
  return 2 / ((square + 1) / 2 + Math.hypot((square - 1) / 2, mean));
}

// --- the picture ------------------------------------------------------------------------------------------------------

const ATTENTION_REACH = 26; // pixels from a point at which a hand takes it
const ATTENTION_KINDS = ["linear", "softmax"];
const ATTENTION_CURVE = 80; // places at which the softmax' mean is drawn

/** Points with the line of gradient descent and the predictions of attention; the loss after each step of both. */
function renderAttention({ model, el }) {
  const card = makeCard(model, el);
  const given = typed(Float64Array, model.get("points")), n = given.length / 2;
  const [most, unit, temperatures, queries] = ["most_layers", "step_unit", "temperatures", "queries"].map((name) => model.get(name));
  const limits = [model.get("across"), model.get("up")], moves = model.get("moves"), axes = ["x", "y"];
  const data = { queries }, finely = Array.from({ length: ATTENTION_CURVE + 1 }, (_, k) => limits[0][0] + (limits[0][1] - limits[0][0]) * k / ATTENTION_CURVE);
  const state = {
    chosen: 0, step: unit * model.get("step_index"), layers: model.get("layers"),
    isSoftmax: model.get("attention") === "softmax", temperature: temperatures[model.get("temperatures_index")],
  };
  const found = {};
  const putBack = () => { for (const [axis, name] of axes.entries()) data[name] = Array.from({ length: n }, (_, i) => given[2 * i + axis]); };

  function compute() {
    const lines = gradientLines(data, { step: state.step, layers: most }), best = leastSquaresLine(data);
    const states = state.isSoftmax ? softmaxTokens(data, state.temperature) : attentionTokens(data, { step: state.step, layers: most });
    const layer = state.isSoftmax ? 1 : state.layers, line = lines[state.layers], held = states[layer].map((token) => token[2]);
    const predictions = held.slice(n).map((value) => -value); // minus the y of a query's token
    Object.assign(found, {
      lines, line, best, layer, residuals: held.slice(0, n), predictions,
      difference: Math.max(...predictions.map((value, i) => Math.abs(value - line[0] * queries[i] - line[1]))),
      descent: lines.map((each) => halfMeanSquare(lineResiduals(data, each))),
      attention: states.map((tokens) => halfMeanSquare(tokens.slice(0, n).map((token) => token[2]))),
      least: halfMeanSquare(lineResiduals(data, best)), longest: longestStep(data.x),
    });
    if (state.isSoftmax) found.curve = softmaxTokens({ ...data, queries: finely }, state.temperature)[1].slice(n).map((token) => -token[2]);
  }

  // --- the plane --------------------------------------------------------------------------------------------------------
  card.root.classList.add("lim-attention");
  const planePlot = (width, height) => plotArea(width, height, ...limits);
  const drawPlane = (pen, colours, width, height) => {
    const plot = planePlot(width, height), far = 3 * height;
    const place = (x, y) => { const [across, down] = plot.at(x, y); return [across, Math.max(-far, Math.min(far, down))]; }; // a canvas loses its way among huge numbers
    const draw = ([slope, intercept], colour, thickness, opacity) => {
      const [low, high] = limits[0];
      line(pen, Array.from({ length: 41 }, (_, k) => low + (high - low) * k / 40).flatMap((x) => place(x, slope * x + intercept)), colour, thickness, opacity);
    };
    drawTicks(pen, plot, colours, { across: "x", up: "y" });
    clipTo(pen, plot, 0, () => {
      for (const each of found.lines.slice(0, state.layers)) draw(each, colours.learned, 1.2, 0.28);
      pen.setLineDash([6, 4]);
      draw(found.best, colours.exact, 2, 1);
      pen.setLineDash([]);
      for (let i = 0; i < n; i++) line(pen, [...place(data.x[i], data.y[i]), ...place(data.x[i], data.y[i] - found.residuals[i])], colours.rival, 1.4, 0.75);
      draw(found.line, colours.learned, 3, 1);
      const circles = found.predictions.map((value, i) => place(queries[i], value));
      if (state.isSoftmax) line(pen, found.curve.flatMap((value, k) => place(finely[k], value)), colours.rival, 1.6);
      drawPoints(pen, circles.flat(), colours.surface, 1, 4.5, 1);
      for (const circle of circles) ring(pen, circle, 4.5, colours.rival);
      const points = Array.from({ length: n }, (_, i) => plot.at(data.x[i], data.y[i]));
      drawPoints(pen, points.flat(), colours.surface, 1, 6.5, 1);
      drawPoints(pen, points.flat(), colours.ink, 1, 5, 1);
      ring(pen, points[state.chosen], 9, colours.ink);
    });
  };

  // --- the loss ---------------------------------------------------------------------------------------------------------
  const marks = Array.from({ length: 81 }, (_, k) => Number(`${k % 2 ? 3 : 1}e${Math.floor(k / 2) - 20}`)); // heights that have a name

  /** From a hundred-thousandth of the first loss to ten thousand times it, at the widest. */
  function lossMarks() {
    const start = Math.max(1e-9, found.descent[0]), all = [...found.descent, ...found.attention, found.least];
    const low = Math.max(1e-5 * start, Math.min(start, ...all)), high = Math.min(1e4 * start, Math.max(start, ...all));
    const first = marks.findLastIndex((mark) => mark <= 0.97 * low), last = marks.findIndex((mark) => mark >= 1.03 * high);
    return marks.slice(first, last + 1);
  }

  const drawLoss = (pen, colours, width, height) => {
    const heights = lossMarks(), plot = logPlot(pen, colours, width, height, [0, most], heights, { across: state.isSoftmax ? "steps" : "layers = steps" });
    const at = (layer, loss) => plot.at(layer, Math.log10(Math.max(1e-3 * heights[0], Math.min(1e3 * heights.at(-1), loss))));
    clipTo(pen, plot, 6, () => {
      pen.setLineDash([6, 4]);
      line(pen, [...at(0, found.least), ...at(most, found.least)], colours.exact, 2);
      pen.setLineDash([2, 4]);
      line(pen, [plot.at(state.layers, 0)[0], plot.top, plot.at(state.layers, 0)[0], plot.base], colours.soft, 1.4);
      pen.setLineDash([]);
    });
    const trace = found.descent.map((loss, layer) => at(layer, loss)), circles = found.attention.slice(0, found.layer + 1).map((loss, layer) => at(layer, loss));
    const shown = circles.filter(([, down]) => down >= plot.top && down <= plot.base);
    clipTo(pen, plot, 6, () => {
      line(pen, trace.slice(state.layers).flat(), colours.learned, 2.6, 0.3);
      line(pen, trace.slice(0, state.layers + 1).flat(), colours.learned, 2.6);
    });
    drawBead(pen, colours, plot, trace[state.layers], "learned");
    drawPoints(pen, shown.flat(), colours.surface, 1, 4.5, 1);
    for (const circle of shown) ring(pen, circle, 4.5, colours.rival);
  };

  const alt = model.get("alt");
  const plane = addScene(card, { caption: "The context", alt, shape: 0.92, narrow: 1.05, draw: drawPlane });
  const losses = addScene(card, { caption: "Loss in context", alt: "", shape: 1.3, narrow: 1.6, draw: drawLoss });
  const scenes = [plane, losses], columns = setColumns(card, [[plane], [losses]]);
  const key = makeKey([["the context: drag its points", "lim-datum", "ink"], ["gradient descent: steps in weights", "lim-stroke", "learned"],
    ["", "lim-ring", "rival"], ["what a point\u2019s token still holds", "lim-upright", "rival"], ["least squares", "lim-dashed", "exact"]]);
  columns[0].after(key);

  // --- numbers --------------------------------------------------------------------------------------------------------
  const { row, counts } = makeCounts({ difference: "largest difference of circles and line", least: "least loss of any line", descent: "loss of gradient descent", attention: "loss in attention\u2019s tokens" });
  columns[1].append(row);
  const counted = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
  const digits = Math.max(0, -Math.floor(Math.log10(unit) + 1e-9)), inDigits = (value) => value.toFixed(digits);

  function update() {
    compute();
    const { line: [slope, intercept], layer, difference, longest } = found, steps = counted(state.layers, "step"), isLong = state.step > longest;
    const numbers = { difference, least: found.least, descent: found.descent[state.layers], attention: found.attention[layer] };
    for (const [name, value] of Object.entries(numbers)) counts[name].textContent = shortNumber(value);
    const sign = intercept < 0 ? "\u2212" : "+";
    plane.value.textContent = `line: y = ${shortNumber(slope)} x ${sign} ${shortNumber(Math.abs(intercept))}`;
    losses.value.textContent = `after ${steps}`;
    const edge = isLong ? `The step is above ${shortNumber(longest)}, where gradient descent on these points diverges` : `Steps below ${shortNumber(longest)} converge`;
    const same = `${counted(layer, "layer")} of linear attention and ${steps} of gradient descent predict the same: they differ by at most ${shortNumber(difference)}. ${edge}${isLong ? ", and attention with it" : ""}.`;
    const other = `One layer with the softmax predicts a weighted mean of the points\u2019 y. That is no step of gradient descent: the circles leave the line, by up to ${shortNumber(difference)}. ${edge}.`;
    const words = state.isSoftmax ? other : same;
    card.note.textContent = `${words} ${model.get("note")}`;
    plane.canvas.setAttribute("aria-label", `${alt} Point ${state.chosen + 1} of ${n} is at x ${shortNumber(data.x[state.chosen])}, y ${shortNumber(data.y[state.chosen])}. ${words}`);
    losses.canvas.setAttribute("aria-label", `The loss against the steps, on a logarithmic axis: ${shortNumber(found.descent[0])} at first; after ${steps} of gradient descent ${shortNumber(numbers.descent)}, `
      + `in attention\u2019s tokens after ${counted(layer, "layer")} ${shortNumber(numbers.attention)}; the least of any line ${shortNumber(found.least)}.`);
    for (const scene of scenes) scene.redraw();
  }

  // --- controls -------------------------------------------------------------------------------------------------------
  const set = (name, value) => { state[name] = value; update(); };
  addSelect(card, { label: "Attention", options: ATTENTION_KINDS, index: Number(state.isSoftmax) }, (place) => {
    state.isSoftmax = ATTENTION_KINDS[place] === "softmax";
    fit();
    update();
  });
  const layers = addSlider(card, { label: "Layers = steps", min: 0, max: most, step: 1, value: state.layers }, (value) => set("layers", value));
  const step = addSlider(card, { label: "Step size \u03b7", min: 0, max: model.get("step_places"), step: 1, value: model.get("step_index"), show: (place) => inDigits(unit * place) },
    (place) => set("step", unit * place));
  const warmth = addSlider(card, { label: "Temperature", min: 0, max: temperatures.length - 1, step: 1, value: model.get("temperatures_index"), show: (place) => markText(temperatures[place]) },
    (place) => set("temperature", temperatures[place]));
  const chooser = addSlider(card, { label: "Point", min: 1, max: n, step: 1, value: 1, show: (place) => `${place} of ${n}` }, (place) => choose(place - 1));
  const places = axes.map((name, axis) => {
    const [min, max] = limits[axis], decimals = Math.max(0, -Math.floor(Math.log10(moves[axis]) + 1e-9));
    return addSlider(card, { label: `Its ${name}`, min, max, step: moves[axis], value: min, show: (value) => value.toFixed(decimals).replace("-", "\u2212") },
      (value) => { data[name][state.chosen] = value; update(); });
  });
  addButton(card, "Reset points", () => { putBack(); choose(state.chosen); });
  step.input.parentElement.classList.add("lim-step");

  /** The controls that the chosen kind of layer has. */
  function fit() {
    card.root.classList.toggle("lim-softmax", state.isSoftmax);
    warmth.input.parentElement.hidden = !state.isSoftmax;
    key.children[2].textContent = state.isSoftmax ? "softmax attention: a weighted mean" : "linear attention: steps in activations";
    layers.input.labels[0].firstChild.textContent = state.isSoftmax ? "Steps" : "Layers = steps";
  }

  function choose(point) {
    state.chosen = point;
    chooser.set(point + 1);
    axes.forEach((name, axis) => places[axis].set(data[name][point]));
    update();
  }

  // --- a hand -----------------------------------------------------------------------------------------------------------
  /** Of a pointer or a finger: where it is in the plane, and the point under it, if any. */
  function under({ clientX, clientY }) {
    const box = plane.canvas.getBoundingClientRect(), [across, down] = [clientX - box.left, clientY - box.top];
    const plot = planePlot(plane.canvas.clientWidth, plane.canvas.clientHeight), shares = [(across - plot.left) / (plot.right - plot.left), (plot.base - down) / (plot.base - plot.top)];
    const far = data.x.map((x, i) => { const [a, b] = plot.at(x, data.y[i]); return Math.hypot(a - across, b - down); }), least = Math.min(...far);
    const at = shares.map((share, axis) => { const [low, high] = limits[axis]; return Math.max(low, Math.min(high, low + share * (high - low))); });
    return { at, point: least <= ATTENTION_REACH ? far.indexOf(least) : null };
  }
  let held = null;
  plane.canvas.addEventListener("pointerdown", (event) => {
    held = under(event).point;
    if (held === null) return;
    plane.canvas.setPointerCapture(event.pointerId);
    choose(held);
  });
  plane.canvas.addEventListener("pointermove", (event) => {
    const { at, point } = under(event);
    plane.canvas.style.cursor = held !== null ? "grabbing" : point !== null ? "grab" : "";
    if (held === null) return;
    [data.x[held], data.y[held]] = at;
    choose(held);
  });
  plane.canvas.addEventListener("lostpointercapture", () => { held = null; });
  // a finger on a point moves it; elsewhere it moves the page
  plane.canvas.addEventListener("touchstart", (event) => { if (under(event.touches[0]).point !== null) event.preventDefault(); }, { passive: false });
  slideAlong(losses.canvas, { left: 48 }, [0, most], most, (layer) => {
    layers.set(layer);
    set("layers", layer);
  });

  putBack();
  fit();
  choose(0);
  return () => scenes.forEach((scene) => scene.stop());
}
