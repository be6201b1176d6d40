// live_plasticity: small networks that learn one task after the other by several methods, trained in the browser.

// --- companion.teaching.widgets.plasticity: plasticity_path ------------------------------------------------------------------

/**
 * What all methods share: points (n rows), labels (tasks x n), the order of rows (tasks x passes x n), a network of `sizes` for
 * each task in `weights`, and the work space of one pass through a network.
 */
export function makeTasks({ sizes, points, labels, order, weights, passes, batch }) {
  const n = points.length / sizes[0], tasks = labels.length / n, taskSteps = passes * n / batch, numbers = weights.length / tasks;
  const [values, slopes] = [0, 1].map(() => sizes.map((size) => new Float64Array(n * size))); // before and after each layer
  return { sizes, points, labels, order, weights, batch, n, tasks, taskSteps, steps: tasks * taskSteps, numbers, values, slopes, wanted: new Uint8Array(n) };
}

/** The points and labels of a step into the work space; of all points in their own order, where there is no step. */
function showPoints({ points, labels, order, batch, n, taskSteps, values: [inputs], wanted }, task, step = null) {
  const count = step === null ? n : batch, size = points.length / n;
  for (let i = 0; i < count; i++) {
    const row = step === null ? i : order[step * batch + i];
    for (let k = 0; k < size; k++) inputs[i * size + k] = points[row * size + k];
    wanted[i] = labels[task * n + row];
  }
  return count;
}

/** What each layer makes of the first `count` rows: ReLU after each but the last. */
function forwardRows({ values }, layers, count) {
  for (let l = 0; l < layers.length; l++) {
    const { inputs, outputs, matrix, bias } = layers[l], from = values[l], to = values[l + 1], isLast = l === layers.length - 1;
    for (let i = 0; i < count; i++) {
      for (let o = 0; o < outputs; o++) {
        let sum = bias[o];
        for (let k = 0, w = o * inputs, at = i * inputs; k < inputs; k++) sum += matrix[w++] * from[at++];
        to[i * outputs + o] = isLast || !(sum < 0) ? sum : 0;
      }
    }
  }
}

/** The gradient of the mean cross-entropy of the first `count` rows, after `forwardRows`, into the layers of `gradient`. */
function backwardRows({ values, slopes, wanted }, layers, gradient, count) {
  const last = layers.length, logits = values[last], k = layers[last - 1].outputs;
  for (let i = 0; i < count; i++) { // softmax minus one-hot, over the number of rows
    let top = -Infinity, total = 0;
    for (let c = 0; c < k; c++) top = Math.max(top, logits[i * k + c]);
    for (let c = 0; c < k; c++) total += slopes[last][i * k + c] = Math.exp(logits[i * k + c] - top);
    for (let c = 0; c < k; c++) slopes[last][i * k + c] = (slopes[last][i * k + c] / total - (c === wanted[i] ? 1 : 0)) / count;
  }
  for (let l = last - 1; l >= 0; l--) {
    const { inputs, outputs, matrix } = layers[l], { matrix: onMatrix, bias: onBias } = gradient[l];
    const from = values[l], own = slopes[l + 1], back = slopes[l];
    onMatrix.fill(0);
    onBias.fill(0);
    back.fill(0, 0, count * inputs);
    for (let i = 0; i < count; i++) {
      for (let o = 0; o < outputs; o++) {
        const slope = own[i * outputs + o];
        if (slope === 0) continue;
        onBias[o] += slope;
        for (let j = 0, w = o * inputs, at = i * inputs; j < inputs; j++, w++, at++) {
          onMatrix[w] += slope * from[at];
          back[at] += slope * matrix[w];
        }
      }
    }
    if (l > 0) for (let at = 0; at < count * inputs; at++) if (!(from[at] > 0)) back[at] = 0;
  }
}

/** Whether the largest logit of row i is that of its label. */
function isKnown({ sizes, values, wanted }, i) {
  const k = sizes.at(-1), logits = values[sizes.length - 1];
  let best = 0;
  for (let c = 1; c < k; c++) if (logits[i * k + c] > logits[i * k + best]) best = c;
  return best === wanted[i];
}

/**
 * One method before its first step. `hits` counts the labels that were right before they were learned, up to each step;
 * `gammas` holds one for each layer of each step; `kept` the weights at the start of each task.
 */
export function startRun(world, way, { lr, driftRate, strength, posteriorScale }) {
  const { sizes, steps, numbers, weights } = world;
  const start = Float64Array.from(weights.subarray(0, numbers)), theta = start.slice(), gradient = new Float64Array(numbers);
  const [layers, slopes] = [theta, gradient].map((values) => readLayers(sizes, values).layers);
  let end = 0;
  const ends = layers.map(({ matrix, bias }) => (end += matrix.length + bias.length));
  return {
    world, way, lr, driftRate, strength, posteriorScale, start, theta, gradient, layers, slopes, ends, step: 0, done: 0, kept: [],
    hits: new Int32Array(steps + 1), gammas: new Float64Array(steps * layers.length).fill(1), lowest: 1,
  };
}

/**
 * gamma of each layer: one step uphill from 1 on the summed log-likelihood of the batch, by the slope of its mean loss; then
 * the weights go back to theirs at the start. Says whether any of them moved.
 */
function driftBack({ world, driftRate, start, theta, gradient, ends, gammas, step }) {
  let at = 0, isMoved = false;
  ends.forEach((end, l) => {
    const first = at;
    let slope = 0;
    for (; at < end; at++) slope -= gradient[at] * (theta[at] - start[at]);
    const gamma = Math.min(1, Math.max(0, 1 + driftRate * world.batch * slope));
    gammas[step * ends.length + l] = gamma;
    if (gamma === 1) return;
    isMoved = true;
    for (at = first; at < end; at++) theta[at] = gamma * theta[at] + (1 - gamma) * start[at];
  });
  return isMoved;
}

/** Score the next batch, then learn it. */
export function learnBatch(run) {
  const { world, way, lr, theta, start, gradient, layers, slopes, ends, gammas, step } = run, { taskSteps, numbers, weights } = world;
  const task = Math.floor(step / taskSteps);
  if (step % taskSteps === 0) {
    run.kept[task] ??= theta.slice();
    if (way === "hard reset") theta.set(weights.subarray(task * numbers, (task + 1) * numbers));
  }
  const count = showPoints(world, task, step);
  forwardRows(world, layers, count);
  let right = 0;
  for (let i = 0; i < count; i++) if (isKnown(world, i)) right++;
  run.hits[step + 1] = run.hits[step] + right;
  backwardRows(world, layers, slopes, count);
  if (way === "soft reset" && driftBack(run)) {
    forwardRows(world, layers, count);
    backwardRows(world, layers, slopes, count);
  }
  const strength = way === "L2-init" ? run.strength : 0;
  let at = 0;
  ends.forEach((end, l) => {
    const gamma = gammas[step * ends.length + l], rate = lr * (gamma ** 2 + (1 - gamma ** 2) / run.posteriorScale ** 2);
    run.lowest = Math.min(run.lowest, gamma);
    for (; at < end; at++) theta[at] -= rate * (gradient[at] + strength * (theta[at] - start[at]));
  });
  run.step = step + 1;
  run.done = Math.max(run.done, run.step);
}

/** Bring the weights to where they were after `step` steps, at most as many as are done, by going on from a task's start. */
export function seekRun(run, step) {
  const { taskSteps } = run.world, task = Math.min(Math.floor(step / taskSteps), run.kept.length - 1);
  if (run.step > step || run.step < task * taskSteps) {
    run.theta.set(run.kept[task]);
    run.step = task * taskSteps;
  }
  while (run.step < step) learnBatch(run);
}

/** Of all points under a task's labels, which are known by now; and the share of hidden neurons that are 0 for all of them. */
export function lookAtAll({ world, layers }, task) {
  const count = showPoints(world, task);
  forwardRows(world, layers, count);
  const known = Array.from({ length: count }, (_, i) => isKnown(world, i));
  let silent = 0, neurons = 0;
  for (let l = 1; l < layers.length; l++) {
    const width = world.sizes[l], values = world.values[l];
    neurons += width;
    for (let j = 0; j < width; j++) {
      let isSilent = true;
      for (let i = 0; i < count; i++) if (values[i * width + j] !== 0) isSilent = false;
      if (isSilent) silent++;
    }
  }
  return { known, silent: silent / neurons };
}

// --- the picture ------------------------------------------------------------------------------------------------------

const PLASTICITY_PLAY = 20000; // milliseconds that a play takes, however many steps
const PLASTICITY_SLICE = 12; // milliseconds of learning between two pictures
const PLASTICITY_CHUNK = 10; // steps between two looks at the clock
const PLASTICITY_TASKS = 3; // whose gammas are seen
const PLASTICITY_CELLS = 8; // points side by side
const GAMMA_BOTTOMS = [0.9, 0.6, 0]; // of the axis: the first that all gammas are above

/** The accuracy of each task for four methods; soft reset's gammas over the last tasks; which points two of them know by now. */
function renderPlasticity({ model, el }) {
  const card = makeCard(model, el);
  card.root.classList.add("lim-plasticity");
  const world = makeTasks({
    sizes: model.get("sizes"), passes: model.get("passes"), batch: model.get("batch"), points: typed(Float64Array, model.get("points")),
    labels: typed(Uint8Array, model.get("labels")), order: typed(Uint8Array, model.get("order")), weights: typed(Float32Array, model.get("weights")),
  });
  const { n, tasks, taskSteps, steps, batch, sizes } = world, classes = sizes.at(-1), depth = sizes.length - 1;
  const letters = Array.from("ABCD").slice(0, classes);
  const [rates, drifts, strengths] = ["lrs", "drift_lrs", "strengths"].map((name) => model.get(name));
  const settings = {
    lr: rates[model.get("lrs_index")], driftRate: drifts[model.get("drift_lrs_index")],
    strength: strengths[model.get("strengths_index")], posteriorScale: model.get("posterior_scale"),
  };

  // --- the runs -----------------------------------------------------------------------------------------------------------
  const ways = [
    { way: "soft reset", text: "soft reset", mark: "solid", colour: "learned", dash: [], width: 2.8, uses: ["driftRate"] },
    { way: "L2-init", text: "L2-init", mark: "dashed", colour: "third", dash: [8, 4], width: 2, uses: ["strength"] },
    { way: "hard reset", text: "hard reset (told)", mark: "mixed", colour: "exact", dash: [9, 3, 2, 3], width: 2, uses: [] },
    { way: "SGD", text: "SGD", mark: "dotted", colour: "rival", dash: [2.5, 3], width: 2.6, uses: [] },
  ];
  const [soft, , , plain] = ways;
  const runs = new Map(); // those of settings that were seen before are kept
  const doneByAll = () => Math.min(...ways.map(({ run }) => run.done));

  function setRuns() {
    for (const each of ways) {
      const key = [each.way, settings.lr, ...each.uses.map((name) => settings[name])].join();
      if (!runs.has(key)) runs.set(key, startRun(world, each.way, settings));
      each.run = runs.get(key);
    }
  }

  /** Learn for a while, each time by the method that is farthest behind. */
  function learn() {
    for (const late = performance.now() + PLASTICITY_SLICE; doneByAll() < steps && performance.now() < late;) {
      const { run } = ways.reduce((least, each) => (each.run.done < least.run.done ? each : least));
      seekRun(run, run.done);
      for (let k = 0; k < PLASTICITY_CHUNK && run.done < steps; k++) learnBatch(run);
    }
  }

  let clock = null, isPlaying = false;
  /** A slice of learning, and another with the next picture, until all is learned. */
  function keepLearning(isFirst) {
    learn();
    clock = null;
    if (doneByAll() === steps) {
      describe();
      if (isPlaying) show(player.step, true);
      else player.rest();
      return;
    }
    clock = requestAnimationFrame(() => keepLearning(false));
    if (isFirst || !wantsStillness()) show(player.step, isPlaying);
    card.root.dataset.state = "running";
  }

  // --- accuracy -----------------------------------------------------------------------------------------------------------
  const share = (run, from, to) => (run.hits[to] - run.hits[from]) / ((to - from) * batch);
  const ofTask = (run, task) => share(run, task * taskSteps, (task + 1) * taskSteps);

  const drawAccuracy = (pen, colours, width, height) => {
    const plot = plotArea(width, height, [0, tasks], [0, 1], { left: 40, above: 10 });
    drawTicks(pen, plot, colours, { across: "task" });
    const [, guess] = plot.at(0, 1 / classes), [now] = plot.at(state.at / taskSteps, 0);
    pen.setLineDash([2, 4]);
    line(pen, [plot.left, guess, plot.right, guess], colours.ink, 1.2, 0.6);
    line(pen, [now, plot.top, now, plot.base], colours.ink, 1.2, 0.7);
    pen.setLineDash([]);
    write(pen, "guessing", plot.left + 8, guess + 15, colours.soft, "left");
    for (const { run, colour, dash, width: thick } of [...ways].reverse()) {
      const [over, all] = [state.at, run.done].map((step) => Math.floor(step / taskSteps));
      const points = Array.from({ length: all }, (_, task) => plot.at(task + 0.5, ofTask(run, task))).flat();
      pen.setLineDash(dash);
      line(pen, points.slice(Math.max(0, 2 * over - 2)), colours[colour], thick, 0.2);
      line(pen, points.slice(0, 2 * over), colours[colour], thick);
      pen.setLineDash([]);
      if (over) drawBead(pen, colours, plot, points.slice(2 * over - 2, 2 * over), colour);
    }
  };

  // --- gamma --------------------------------------------------------------------------------------------------------------
  const drawGammas = (pen, colours, width, height) => {
    const { at } = state, { run } = soft, span = Math.min(tasks, PLASTICITY_TASKS) * taskSteps, first = Math.max(0, at - span);
    const bottom = GAMMA_BOTTOMS.find((value) => run.lowest >= value) ?? 0;
    const room = (height - 34) / depth; // of a layer: its name, then its bars
    for (let l = 0; l < depth; l++) {
      const place = { left: 40, above: room * l + 18, below: height - room * (l + 1) + 2 };
      const plot = plotArea(width - 10, height, [first, first + span], [bottom, 1], place);
      const xAt = (step) => plot.at(step, 0)[0], yAt = (gamma) => plot.at(0, gamma)[1];
      for (let change = Math.ceil(Math.max(1, first) / taskSteps) * taskSteps; change <= Math.min(steps - 1, first + span); change += taskSteps) {
        line(pen, [xAt(change), plot.top, xAt(change), plot.base], colours.exact, 1.4, 0.9);
      }
      pen.fillStyle = colours.learned;
      for (let step = first; step < Math.min(run.done, first + span); step++) {
        pen.globalAlpha = step < at ? 1 : 0.25;
        pen.fillRect(xAt(step), plot.top, Math.max(1.2, xAt(step + 1) - xAt(step)), yAt(run.gammas[step * depth + l]) - plot.top);
      }
      pen.globalAlpha = 1;
      const words = { heights: [[bottom, String(bottom)], [1, "1"]], ...(l < depth - 1 ? { places: [] } : { across: "step" }) };
      drawTicks(pen, plot, colours, words);
      write(pen, l < depth - 1 ? `layer ${l + 1}` : "last layer", plot.right, plot.top - 5, colours.soft, "right");
    }
  };

  // --- the points -----------------------------------------------------------------------------------------------------------
  const rows = Math.ceil(n / PLASTICITY_CELLS);

  const drawCells = (pen, colours, width, height) => {
    const column = width / (2 * PLASTICITY_CELLS + 1), cell = Math.min(column, (height - 23) / rows);
    const inks = classInks(pen.canvas), inset = Math.max(1, 0.07 * cell), side = cell - 2 * inset;
    [soft, plain].forEach(({ text, colour, known }, half) => {
      const left = half * (PLASTICITY_CELLS + 1) * column;
      write(pen, `${text}: ${known.filter(Boolean).length} of ${n}`, left + inset, 13, colours[colour], "left", 650);
      known.forEach((isRight, i) => {
        const label = world.labels[state.task * n + i];
        const x = left + (i % PLASTICITY_CELLS) * cell + inset, y = 22 + Math.floor(i / PLASTICITY_CELLS) * cell + inset;
        if (isRight) {
          pen.fillStyle = inks[label];
          pen.fillRect(x, y, side, side);
        } else {
          pen.strokeStyle = inks[label];
          pen.lineWidth = 1.5;
          pen.strokeRect(x + 1, y + 1, side - 2, side - 2);
        }
        write(pen, letters[label], x + side / 2, y + side / 2 + 4.5, isRight ? colours.surface : inks[label], "center", 650);
      });
    });
  };

  const alt = model.get("alt");
  const accuracy = addScene(card, { caption: "Accuracy of each task", alt, shape: 1.5, narrow: 1.25, draw: drawAccuracy });
  const gammas = addScene(card, {
    caption: "\u03b3 of soft reset", shape: 1.65, narrow: 1.35, draw: drawGammas,
    alt: `Gamma of each layer in the last ${PLASTICITY_TASKS} tasks, as bars that hang from 1; upright lines where a task begins. ${alt}`,
  });
  const cells = addScene(card, {
    caption: "Points and labels", shape: 17 / (rows + 1.1), narrow: 17 / (rows + 1.6), draw: drawCells,
    alt: `The ${n} points of the task by label, for soft reset and for SGD: filled where the network knows the label by now, an outline where not. ${alt}`,
  });
  const scenes = [accuracy, gammas, cells], columns = setColumns(card, [[accuracy], [gammas, cells]]);
  columns[1].append(makeKey([["known by now", "lim-swatch", "soft"], ["not known", "lim-hollow", "soft"], ["a task begins", "lim-upright", "exact"]]));

  // --- numbers --------------------------------------------------------------------------------------------------------
  const head = element("tr", {}, ...["in %", "accuracy so far", "last 5 tasks", "silent neurons"].map((textContent) => element("th", { textContent, scope: "col" })));
  const body = element("tbody", {}, ...ways.map((each) => {
    const name = element("th", { scope: "row", className: `lim-run-${each.mark}`, textContent: each.text });
    name.style.setProperty("--dot", `var(--lim-${each.colour})`);
    return (each.row = element("tr", {}, name, element("td"), element("td"), element("td")));
  }));
  columns[0].append(element("table", { className: "lim-table" }, element("thead", {}, head), body));

  const state = { at: 0, task: 0 };
  function show(step, playing) {
    isPlaying = playing;
    state.at = Math.min(step, doneByAll()); // the rest is still being learned
    state.task = Math.min(tasks - 1, Math.floor(state.at / taskSteps));
    slider.set(step);
    const { at, task } = state, over = Math.floor(at / taskSteps);
    for (const each of ways) {
      seekRun(each.run, at);
      const { known, silent } = lookAtAll(each.run, task);
      each.known = known;
      const recent = over ? share(each.run, Math.max(0, over - 5) * taskSteps, over * taskSteps) : null;
      [at ? share(each.run, 0, at) : null, recent, silent].forEach((part, place) => {
        each.row.cells[place + 1].textContent = part === null ? "\u2013" : (100 * part).toFixed(1);
      });
    }
    accuracy.value.textContent = `step ${at} of ${steps}`;
    const own = at ? Array.from(soft.run.gammas.subarray((at - 1) * depth, at * depth), (gamma) => gamma.toFixed(3)) : [];
    gammas.value.textContent = own.length ? `now ${own.join(", ")}` : "";
    cells.value.textContent = at === steps ? "at the end" : `task ${task + 1}, step ${at % taskSteps} of ${taskSteps}`;
    for (const scene of scenes) scene.redraw();
  }

  function describe() {
    const sums = [0, 0], counts = [0, 0];
    for (let step = taskSteps; step < steps; step++) { // not the first task: nothing was learned before it
      const place = step % taskSteps === 0 ? 0 : step % taskSteps >= taskSteps / 2 ? 1 : null;
      if (place === null) continue;
      for (let l = 0; l < depth; l++) sums[place] += soft.run.gammas[step * depth + l];
      counts[place] += depth;
    }
    const [change, inside] = sums.map((total, place) => (total / counts[place]).toFixed(3));
    card.note.textContent = (tasks > 1 ? `Mean \u03b3: ${change} on the first batch of a task, ${inside} in the second half of one. ` : "") + model.get("note");
  }

  // --- controls -------------------------------------------------------------------------------------------------------
  /** Another setting: what it touches is learned anew, and the play stops. */
  function change(changes) {
    cancelAnimationFrame(clock);
    Object.assign(settings, changes);
    setRuns();
    card.note.textContent = "Learning \u2026";
    player.rest();
    keepLearning(true);
  }

  function addChoices(label, values, index, name, zero) {
    const range = { min: 0, max: values.length - 1, step: 1, value: index, show: (place) => (values[place] === 0 ? zero : markText(values[place])) };
    addSlider(card, { label, ...range }, (place) => change({ [name]: values[place] }));
  }
  addChoices("Learning rate", rates, model.get("lrs_index"), "lr", "0");
  addChoices("Drift rate, soft reset", drifts, model.get("drift_lrs_index"), "driftRate", "0: SGD");
  addChoices("L2-init strength", strengths, model.get("strengths_index"), "strength", "0: SGD");
  const slider = addSlider(card, { label: "Step", min: 0, max: steps, step: 1, value: steps }, (step) => player.rest(step));
  const player = addPlayer(card, { steps, span: PLASTICITY_PLAY, first: steps, show });
  addButton(card, "Start again", () => player.rest(0));
  slideAlong(accuracy.canvas, { left: 40 }, [0, steps], steps, (step) => player.rest(step));
  change({});
  return () => { cancelAnimationFrame(clock); player.stop(); scenes.forEach((scene) => scene.stop()); };
}
