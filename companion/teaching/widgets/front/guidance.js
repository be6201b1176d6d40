// live_guidance: one start, sampled with a constant weight, the same in a limited interval, and the learned weight.

const CLASS_MARKS = ["disc", "square", "triangle", "diamond"];
const MOST_WEIGHT = 3;

/** Three ways to choose the weight, side by side; any control starts all of them afresh from the same noise. */
function renderGuidance({ model, el }) {
  const card = makeCard(model, el);
  const points = model.get("points"), limit = model.get("limit"), choices = model.get("step_choices");
  const bases = model.get("networks").map((base) => ({
    name: base.name,
    denoiser: makeConditional(base, typed(Float32Array, base.weights), typed(Float32Array, base.embeddings)),
    learned: makeWeights(base.learned, typed(Float32Array, base.learned.weights)),
  }));
  const { classes } = bases[0].denoiser, each = Array.from({ length: classes }, (_, label) => label);
  const labels = Uint8Array.from({ length: points }, (_, i) => i % classes);
  const reference = typed(Float32Array, model.get("reference"));
  const clouds = splitByClass(reference, typed(Uint8Array, model.get("labels")), classes);
  const withins = clouds.map((cloud) => meanDistance(cloud, cloud));
  const homes = clouds.map((cloud) => [0, 1].map((side) => 2 * sum(cloud.filter((_, i) => i % 2 === side)) / cloud.length));
  const work = [new Float32Array(2 * points), new Float32Array(2 * points)];
  const [low, high] = model.get("interval");
  const state = {
    base: bases[0], weight: model.get("weight"), low, high, steps: choices[model.get("steps_index")], seed: 1, done: 0,
  };
  const time = (done) => (state.steps - done) / state.steps;
  let clock = null;

  // --- the three samplers ---------------------------------------------------------------------------------------------
  card.root.classList.add("lim-guidance");
  const runs = [
    ["Constant weight", () => state.weight],
    ["Limited interval", (label, s, t) => intervalWeight(state, t)],
    ["Learned weight", (label, s, t) => learnedWeight(state.base.learned, label, s, t)],
  ].map(([name, weightAt]) => {
    const run = { weightAt, weights: [], x: new Float32Array(2 * points), before: new Float32Array(2 * points), part: 1 };
    const shown = new Float32Array(2 * points);
    const draw = (pen, colours, pixel) => {
      const isSmall = 2 * limit / pixel < 220, inks = classInks(pen.canvas);
      drawPoints(pen, reference, colours.exact, 0.3, isSmall ? 1 : 1.4, pixel);
      for (let i = 0; i < shown.length; i++) shown[i] = run.before[i] + run.part * (run.x[i] - run.before[i]);
      splitByClass(shown, labels, classes).forEach((cloud, label) => {
        fillMarks(pen, CLASS_MARKS[label], cloud, inks[label], 0.8, (isSmall ? 1.9 : 2.5) * pixel, 1);
      });
      homes.forEach((home, label) => {
        outlineMark(pen, CLASS_MARKS[label], home, colours, inks[label], (isSmall ? 5 : 7) * pixel, pixel);
      });
    };
    run.plane = addPlane(card, { caption: name, alt: `${name}: ${model.get("alt")}`, limit, draw });
    return run;
  });
  const learned = runs.at(-1);

  const key = element("div", { className: "lim-key lim-marks" });
  const keyed = (text, className, colour) => {
    const entry = element("span", { textContent: text, className });
    entry.style.setProperty("--dot", `var(--lim-${colour})`);
    key.append(entry);
  };
  each.forEach((label) => keyed(`class ${label}`, `lim-mark-${label}`, `class-${label}`));
  keyed("the data; outlined: the mean of a class", "lim-data", "exact");
  card.pictures.append(key);

  // --- the weights they use -------------------------------------------------------------------------------------------
  const drawWeights = (pen, colours, width, height) => {
    const left = 34, right = width - 12, base = height - 40, top = 10, inks = classInks(pen.canvas);
    const most = Math.max(MOST_WEIGHT, Math.ceil(Math.max(...learned.weights.flat())));
    const at = (t, weight) => [left + (right - left) * t, base - (base - top) * weight / most];
    const [from, ceiling] = at(state.low, state.weight), [to] = at(state.high, 0);
    pen.fillStyle = colours.exact;
    pen.globalAlpha = 0.28;
    pen.fillRect(from, ceiling, to - from, base - ceiling);
    pen.globalAlpha = 1;
    pen.setLineDash([6, 4]);
    line(pen, [...at(0, state.weight), ...at(1, state.weight)], colours.soft, 2);
    pen.setLineDash([]);
    line(pen, [...at(0, most), ...at(0, 0), ...at(1, 0)], colours.soft, 1);
    for (let weight = 0; weight <= most; weight += Math.ceil(most / 4)) {
      write(pen, String(weight), left - 7, at(0, weight)[1] + 4, colours.soft, "right");
    }
    for (const t of [0, 0.25, 0.5, 0.75, 1]) write(pen, String(t), at(t, 0)[0], base + 16, colours.soft, "center");
    write(pen, "t, where the step starts: 0 data, 1 noise", (left + right) / 2, height - 6, colours.soft, "center");
    for (const label of each) {
      const places = learned.weights.flatMap((weights, step) => at(time(step), weights[label]));
      line(pen, places, inks[label], 1.5, 0.7);
      const marked = places.filter((_, place) => ((place >> 1) - label) % classes === 0); // in turn: lines may lie on each other
      fillMarks(pen, CLASS_MARKS[label], marked, inks[label], 1, state.steps > 50 ? 2.6 : 3.6, -1);
    }
    if (state.done < state.steps) line(pen, [...at(time(state.done), most), ...at(time(state.done), 0)], colours.ink, 1.5, 0.6);
  };
  const scene = addScene(card, {
    caption: "The weight of each step", alt: "", shape: 3.4, narrow: 1.5, wide: true, draw: drawWeights,
  });
  scene.value.textContent = "marks: learned; dashed: constant; shaded: interval";

  /** All weights of all steps: they depend on class and times alone, so they are known before the first step. */
  function weigh() {
    for (const run of runs) {
      run.weights = Array.from({ length: state.steps }, (_, step) =>
        each.map((label) => run.weightAt(label, time(step + 1), time(step))));
    }
    const spans = each.map((label) => {
      const own = learned.weights.map((weights) => weights[label]);
      return `class ${label} from ${Math.min(...own).toFixed(2)} to ${Math.max(...own).toFixed(2)}`;
    });
    scene.canvas.setAttribute("aria-label", `Weights against the time t at which a step starts. Learned: ${spans.join(", ")}. `
      + `Constant: ${state.weight.toFixed(2)}. Interval: the same for t from ${state.low.toFixed(2)} to ${state.high.toFixed(2)}.`);
  }

  const showTime = () => runs.forEach((run) => { run.plane.value.textContent = `at t = ${time(state.done).toFixed(2)}`; });

  // --- motion ---------------------------------------------------------------------------------------------------------
  function restart() {
    cancelAnimationFrame(clock);
    weigh();
    const start = normals(state.seed).fill(new Float32Array(2 * points));
    for (const run of runs) {
      run.x.set(start);
      run.before.set(start);
      run.part = 1;
    }
    card.note.textContent = "";
    card.root.dataset.state = "running";
    state.done = 0;
    scene.redraw();
    showTime();
    const pause = wantsStillness() ? 0 : Math.max(0, 1600 / state.steps); // milliseconds for each step to be seen
    let stepBegan = null;
    const tick = (now) => {
      if (!card.root.isConnected) return;
      if (stepBegan === null || now - stepBegan >= pause) {
        if (state.done === state.steps) { finish(); return; }
        for (const run of runs) {
          run.before.set(run.x);
          guidedStep(state.base.denoiser, run.x, labels, run.weights[state.done], time(state.done), time(state.done + 1), work);
        }
        state.done++;
        stepBegan = now;
        scene.redraw();
        showTime();
      }
      const part = pause ? Math.min(1, (now - stepBegan) / (0.8 * pause)) : 1;
      for (const run of runs) { run.part = part; run.plane.redraw(); }
      clock = requestAnimationFrame(tick);
    };
    clock = requestAnimationFrame(tick);
  }

  function finish() {
    card.root.dataset.state = "done";
    for (const run of runs) {
      run.part = 1;
      run.plane.redraw();
      run.plane.value.textContent = `distance ${classMeanDistance(run.x).toFixed(3)}`;
    }
    const calls = runs.map((run) => sum(run.weights.map((weights) => (weights.some((weight) => weight !== 0) ? 2 : 1))));
    card.note.textContent = `Class-mean energy distance to the data; its noise floor is ${model.get("floor").toFixed(3)}. `
      + `Calls of the network in ${state.steps} steps: ${calls[0]}, ${calls[1]} and ${calls[2]}. ${model.get("note")}`;
  }

  function classMeanDistance(x) {
    const distances = splitByClass(x, labels, classes).map((cloud, label) => energyDistance(cloud, clouds[label], withins[label]));
    return sum(distances) / classes;
  }

  // --- controls -------------------------------------------------------------------------------------------------------
  if (bases.length > 1) {
    addSelect(card, { label: "Base", options: bases.map((base) => base.name), index: 0 },
      (place) => { state.base = bases[place]; restart(); });
  }
  const show = (value) => value.toFixed(2), fine = { step: 0.05, show };
  const places = { min: 0, max: choices.length - 1, step: 1, value: model.get("steps_index"), show: (place) => String(choices[place]) };
  const weight = addSlider(card, { label: "Weight by hand", min: 0, max: MOST_WEIGHT, value: state.weight, ...fine },
    (value) => { state.weight = value; restart(); });
  addSlider(card, { label: "Steps", ...places }, (place) => { state.steps = choices[place]; restart(); });
  // Neither end passes the other: it pushes it on.
  const ends = {
    low: addSlider(card, { label: "Interval: lowest t", min: 0, max: 0.95, value: low, ...fine }, (value) => {
      state.low = value;
      if (state.high <= value) ends.high.set((state.high = Number((value + 0.05).toFixed(2))));
      restart();
    }),
    high: addSlider(card, { label: "Interval: highest t", min: 0.05, max: 1, value: high, ...fine }, (value) => {
      state.high = value;
      if (state.low >= value) ends.low.set((state.low = Number((value - 0.05).toFixed(2))));
      restart();
    }),
  };
  [state.weight, state.low, state.high] = [weight, ends.low, ends.high].map(({ input }) => Number(input.value)); // to their places
  addButton(card, "Run again", restart);
  addButton(card, "New noise", () => { state.seed++; restart(); });
  restart();
  return () => { cancelAnimationFrame(clock); runs.forEach((run) => run.plane.stop()); scene.stop(); };
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

/** Points (x, y pairs) by class, in their order. */
function splitByClass(points, labels, classes) {
  const clouds = Array.from({ length: classes }, () => []);
  labels.forEach((label, i) => clouds[label].push(points[2 * i], points[2 * i + 1]));
  return clouds;
}

/** The classes' colours in the theme of now. */
function classInks(canvas) {
  const style = getComputedStyle(canvas);
  return CLASS_MARKS.map((_, label) => style.getPropertyValue(`--lim-class-${label}`).trim());
}

/** The outlines of marks at (x, y) pairs, about as large as a disc of radius `r`; `up` is 1 where y grows upwards, else -1. */
function traceMarks(pen, mark, points, r, up) {
  const corners = {
    square: [[-0.88, -0.88], [0.88, -0.88], [0.88, 0.88], [-0.88, 0.88]],
    triangle: [[0, 1.3], [1.15, -0.75], [-1.15, -0.75]],
    diamond: [[0, 1.35], [1.1, 0], [0, -1.35], [-1.1, 0]],
  }[mark];
  pen.beginPath();
  for (let i = 0; i < points.length; i += 2) {
    const x = points[i], y = points[i + 1];
    if (corners) corners.forEach(([a, b], place) => pen[place ? "lineTo" : "moveTo"](x + r * a, y + r * up * b));
    else { pen.moveTo(x + r, y); pen.arc(x, y, r, 0, 2 * Math.PI); }
    pen.closePath();
  }
}

function fillMarks(pen, mark, points, colour, opacity, r, up) {
  traceMarks(pen, mark, points, r, up);
  pen.fillStyle = colour;
  pen.globalAlpha = opacity;
  pen.fill();
  pen.globalAlpha = 1;
}

/** One empty mark, with an edge of the background's colour that keeps it apart from what it lies on. */
function outlineMark(pen, mark, point, colours, colour, r, pixel) {
  traceMarks(pen, mark, point, r, 1);
  for (const [ink, width] of [[colours.surface, 6], [colour, 2.5]]) {
    pen.strokeStyle = ink;
    pen.lineWidth = width * pixel;
    pen.stroke();
  }
}
