// live_valley: the loss of w cos(theta x) over (theta, w), its valley w*(theta), and two descents that start on one theta.

// --- companion.teaching.widgets.valley.valley_paths ------------------------------------------------------------------

/** Means over the data (x, y) that the loss needs at one theta; the derivatives are in theta. */
export function momentsAt({ x, y }, theta) {
  let cross = 0, square = 0, crossSlope = 0, squareSlope = 0;
  for (let i = 0; i < x.length; i++) {
    const cos = Math.cos(theta * x[i]), slope = -x[i] * Math.sin(theta * x[i]);
    cross += y[i] * cos / x.length;
    square += cos * cos / x.length;
    crossSlope += y[i] * slope / x.length;
    squareSlope += 2 * cos * slope / x.length;
  }
  return { cross, square, crossSlope, squareSlope };
}

/** The best w for one theta. */
export function solveWeight(data, theta) {
  const { cross, square } = momentsAt(data, theta);
  return cross / (square + data.ridge);
}

/** mean (y - w cos(theta x))^2 / 2 + ridge/2 w^2, from the moments of theta. */
const lossFrom = ({ cross, square }, { energy, ridge }, w) => 0.5 * energy - w * cross + 0.5 * w * w * (square + ridge);

/** Its derivative in theta at fixed w. */
const slopeFrom = ({ crossSlope, squareSlope }, w) => -w * crossSlope + 0.5 * w * w * squareSlope;

/** Data with what never changes: the mean of y^2, and the ridge. */
export function makeValley(x, y, ridge) {
  return { x, y, ridge, energy: y.reduce((sum, value) => sum + value * value, 0) / y.length };
}

/** Joint descent and closed form from one theta: for each the thetas, the weights and the losses, the start included. */
export function valleyPaths(data, { theta, weight, rate, steps }) {
  const descend = (isClosed) => {
    const path = { thetas: [theta], weights: [], losses: [] };
    for (let step = 0, w = weight; step <= steps; step++) {
      const at = path.thetas[step], moments = momentsAt(data, at);
      if (isClosed) w = moments.cross / (moments.square + data.ridge);
      path.weights.push(w);
      path.losses.push(lossFrom(moments, data, w));
      if (step === steps) break;
      path.thetas.push(at - rate * slopeFrom(moments, w));
      if (!isClosed) w -= rate * (w * (moments.square + data.ridge) - moments.cross);
    }
    return path;
  };
  return { joint: descend(false), closed: descend(true) };
}

// --- the picture ------------------------------------------------------------------------------------------------------

const BANDS = 16; // of equal loss in the map
const VALLEY_PLAY = 3500; // milliseconds that a play takes, however many steps
const VALLEY_CURVE = 800; // places along theta at which the valley is drawn

/** Drag theta along the valley; play lets joint descent and closed form run from there. */
function renderValley({ model, el }) {
  const card = makeCard(model, el);
  const data = makeValley(...["x", "y"].map((name) => typed(Float64Array, model.get(name))), model.get("ridge"));
  const [low, high] = model.get("thetas"), [bottom, top] = model.get("weights"), weight = model.get("weight");
  const places = model.get("places"), rates = model.get("rates"), steps = model.get("steps");
  const thetaAt = (place) => low + (high - low) * place / places;
  const state = { theta: thetaAt(model.get("theta_index")), rate: rates[model.get("rates_index")], done: 0 };
  let paths;

  const curve = Array.from({ length: VALLEY_CURVE + 1 }, (_, place) => {
    const theta = low + (high - low) * place / VALLEY_CURVE, w = solveWeight(data, theta);
    return { theta, w, loss: lossFrom(momentsAt(data, theta), data, w) };
  });
  const basins = basinsOf(curve.map(({ loss }) => loss));
  const lowest = curve[basins.lowest], tallest = Math.max(0.5 * data.energy, ...curve.map(({ loss }) => loss));

  card.root.classList.add("lim-valley");
  const runs = [
    { name: "closed", text: "closed form", colour: "learned", isDisc: true, dash: [] },
    { name: "joint", text: "joint descent", colour: "rival", isDisc: false, dash: [7, 4] },
  ];
  const mark = (pen, { isDisc, colour }, [x, y], r, colours) => {
    pen.beginPath();
    if (isDisc) pen.arc(x, y, r, 0, 2 * Math.PI); else pen.rect(x - 1.1 * r, y - 1.1 * r, 2.2 * r, 2.2 * r); // seen behind it
    pen.fillStyle = colours[colour];
    pen.strokeStyle = colours.surface;
    pen.lineWidth = 2;
    pen.stroke();
    pen.fill();
  };
  /** Both runs up to now: a line, a dot at each step, a ring at the first and a mark at the last, not above `edge`; `at` places one. */
  const drawRuns = (pen, colours, at, edge = -Infinity) => {
    const held = ([x, y]) => [x, Math.max(y, edge)];
    for (const run of [...runs].reverse()) {
      const path = paths[run.name], shown = lastFinite(path, state.done);
      const way = Array.from({ length: shown + 1 }, (_, step) => at(path, step));
      line(pen, way.flat(), colours.surface, 4, 0.8);
      line(pen, way.flat(), colours[run.colour], 1.6);
      for (const point of way.slice(1)) drawPoints(pen, point, colours[run.colour], 1, 2, 1);
    }
    for (const run of [...runs].reverse()) {
      const path = paths[run.name], start = held(at(path, 0));
      ring(pen, start, 6.5, colours.surface);
      ring(pen, start, 5, colours[run.colour]);
      mark(pen, run, held(at(path, lastFinite(path, state.done))), 6.5, colours);
    }
  };
  const here = (pen, { at, base, top: ceiling }, colours) => {
    const [x] = at(state.theta, 0);
    pen.setLineDash([2, 4]);
    line(pen, [x, ceiling, x, base], colours.ink, 1.2, 0.7);
    pen.setLineDash([]);
  };

  const field = makeLossMap(data, [low, high], [bottom, top]);
  const drawMap = (pen, colours, width, height) => {
    const plot = plotArea(width, height, [low, high], [bottom, top], { left: 40, below: 22 });
    field.paint(pen, plot, colours);
    clipTo(pen, plot, 0, () => {
      here(pen, plot, colours);
      line(pen, curve.flatMap(({ theta, w }) => plot.at(theta, w)), colours.ink, 1.6, 0.85);
      drawRuns(pen, colours, (path, step) => plot.at(path.thetas[step], path.weights[step]));
    });
    drawTicks(pen, plot, colours, { up: "w" });
  };
  const drawReduced = (pen, colours, width, height) => {
    const plot = plotArea(width, height, [low, high], [0, 1.15 * tallest], { left: 40 });
    drawTicks(pen, plot, colours, { across: "\u03b8" });
    clipTo(pen, plot, 0, () => {
      here(pen, plot, colours);
      line(pen, curve.flatMap(({ theta, loss }) => plot.at(theta, loss)), colours.ink, 1.8, 0.85);
      drawRuns(pen, colours, (path, step) => plot.at(path.thetas[step], path.losses[step]), plot.top + 9);
    });
  };

  const [from, to] = [Math.min(...data.x), Math.max(...data.x)], reach = 1.35 * Math.max(...data.y.map(Math.abs), 0.1);
  const drawFit = (pen, colours, width, height) => {
    const room = 0.03 * (to - from) || 1;
    const plot = plotArea(width, height, [from - room, to + room], [-reach, reach], { left: 40 });
    drawTicks(pen, plot, colours, { across: "x", up: "y" });
    clipTo(pen, plot, 0, () => {
      drawPoints(pen, Array.from(data.x).flatMap((x, i) => plot.at(x, data.y[i])), colours.exact, 0.8, 3, 1);
      for (const run of runs) { // the dashed one above the other: the other is seen between its dashes
        const path = paths[run.name], step = state.done;
        if (lastFinite(path, step) < step || Math.abs(path.thetas[step]) * (to - from) > 200) continue; // no line but stripes
        const values = Array.from({ length: 301 }, (_, i) => from + (to - from) * i / 300).flatMap((x) =>
          plot.at(x, path.weights[step] * Math.cos(path.thetas[step] * x)));
        pen.setLineDash(run.dash);
        line(pen, values, colours[run.colour], 2.2);
        pen.setLineDash([]);
      }
    });
  };

  const alt = model.get("alt");
  const map = addScene(card, { caption: "The loss over \u03b8 and w", alt, shape: 1.35, narrow: 1.3, draw: drawMap });
  const reduced = addScene(card, {
    caption: "The loss with w solved: L*(\u03b8)", shape: 2.2, narrow: 2.1, draw: drawReduced,
    alt: `The loss with w solved, against \u03b8, and where both descents are. ${alt}`,
  });
  const fit = addScene(card, {
    caption: "The data and both fits", shape: 1.35, narrow: 1.5, draw: drawFit, alt: `The data and w cos(\u03b8 x) of both descents. ${alt}`,
  });
  const scenes = [map, reduced, fit], columns = setColumns(card, [[map, reduced], [fit]]);

  // --- numbers --------------------------------------------------------------------------------------------------------
  const head = element("tr", {}, element("td"), ...runs.map(({ text, colour, isDisc }) => {
    const cell = element("th", { textContent: text, scope: "col", className: isDisc ? "lim-disc" : "lim-box" });
    cell.style.setProperty("--dot", `var(--lim-${colour})`);
    return cell;
  }));
  const body = element("tbody", {}, ...["\u03b8", "w", "loss", "valley"].map((textContent) =>
    element("tr", {}, element("th", { textContent, scope: "row" }), ...runs.map(() => element("td")))));
  columns[1].append(element("table", { className: "lim-table" }, element("thead", {}, head), body), makeKey([
    ["w solved: w*(\u03b8) and L*(\u03b8)", "lim-stroke", "ink"], ["loss, low to high", "lim-shade", "ink"],
    ["where a descent starts", "lim-ring", "soft"], ["the data", "lim-datum", "exact"]]));

  /** In which valley of L* a path's theta lies. */
  function valleyOf(path, step) {
    const [theta, w] = [path.thetas[step], path.weights[step]];
    if (lastFinite(path, step) < step) return "diverged";
    if (theta < low || theta > high || w < bottom || w > top) return "outside";
    return basins.isLowest(Math.round((theta - low) / (high - low) * VALLEY_CURVE)) ? "lowest" : "local";
  }

  function show(done, isRunning) {
    state.done = done;
    runs.forEach(({ name }, column) => {
      const { thetas, weights, losses } = paths[name];
      const texts = [...[thetas[done], weights[done]].map((value) => (Math.abs(value) < 1e4 ? signed(value) : shortNumber(Infinity))),
        shortNumber(losses[done] < 1e8 ? losses[done] : Infinity), valleyOf(paths[name], done)];
      texts.forEach((text, row) => { body.rows[row].cells[column + 1].textContent = text; });
    });
    map.value.textContent = `step ${done} of ${steps}`;
    card.note.textContent = done === steps && !isRunning ? summary() : model.get("note");
    for (const scene of scenes) scene.redraw();
  }

  function summary() {
    const [closed, joint] = ["closed", "joint"].map((name) => {
      const { losses } = paths[name], place = valleyOf(paths[name], steps);
      if (place === "diverged") return "diverged";
      const end = losses[steps], reached = losses.findLastIndex((loss) => Math.abs(loss - end) > 0.01 * (tallest - lowest.loss)) + 1;
      const where = place === "outside" ? "outside the window" : `in ${place === "lowest" ? "the lowest" : "a local"} valley`;
      return `ends ${where}, loss ${shortNumber(end)} (${reached < steps ? `reached at step ${reached}` : "not at rest"})`;
    });
    return `After ${steps} steps closed form ${closed}; joint descent ${joint}. The lowest loss of the window is `
      + `${shortNumber(lowest.loss)}, at \u03b8 = ${signed(lowest.theta)}. ${model.get("note")}`;
  }

  const compute = () => { paths = valleyPaths(data, { ...state, weight, steps }); };

  /** To another start: on the valley, or with both ways drawn to their end if they were on show. */
  function moveTo(theta) {
    state.theta = theta;
    compute();
    player.rest(state.done > 0 ? steps : 0);
  }

  // --- controls -------------------------------------------------------------------------------------------------------
  const range = { min: 0, max: places, step: 1, value: model.get("theta_index"), show: (place) => signed(thetaAt(place)) };
  const slider = addSlider(card, { label: "\u03b8 at the start", ...range }, (place) => moveTo(thetaAt(place)));
  const choices = { min: 0, max: rates.length - 1, step: 1, value: model.get("rates_index"), show: (place) => String(rates[place]) };
  addSlider(card, { label: "Learning rate of both", ...choices }, (place) => {
    state.rate = rates[place];
    compute();
    player.rest(steps);
  });
  const player = addPlayer(card, { steps, span: VALLEY_PLAY, first: 0, show });
  addButton(card, "Back to the start", () => player.rest(0));
  for (const { canvas } of [map, reduced]) {
    slideAlong(canvas, { left: 40 }, [0, places], places, (place) => {
      slider.set(place);
      moveTo(thetaAt(place));
    });
  }
  compute();
  player.rest();
  return () => { player.stop(); scenes.forEach((scene) => scene.stop()); };
}

/** The last step up to `done` at which a path is still of a size that can be drawn. */
function lastFinite({ thetas, weights }, done) {
  const isFine = (step) => Math.abs(thetas[step]) < 1e4 && Math.abs(weights[step]) < 1e4;
  let step = 0;
  while (step < done && isFine(step + 1)) step++;
  return step;
}

/** Which minimum each place of a curve runs down to, and whether that is the lowest of all, but for a hundredth. */
function basinsOf(losses) {
  const lowest = losses.indexOf(Math.min(...losses)), range = Math.max(...losses) - losses[lowest];
  const isLowest = (place) => {
    for (;;) {
      const next = [place - 1, place + 1].reduce((best, other) => (losses[other] < losses[best] ? other : best), place);
      if (next === place) return losses[place] - losses[lowest] <= 0.01 * range;
      place = next;
    }
  };
  return { lowest, isLowest };
}

/** Bands of equal loss over a window of (theta, w), painted once for each size and theme. */
function makeLossMap(data, [low, high], [bottom, top]) {
  const canvas = element("canvas");
  let painted = "";

  function compute(width, height, colours) {
    [canvas.width, canvas.height] = [width, height];
    const inner = canvas.getContext("2d"), image = inner.createImageData(width, height);
    const losses = new Float64Array(width * height);
    for (let px = 0; px < width; px++) {
      const moments = momentsAt(data, low + (high - low) * (px + 0.5) / width);
      for (let py = 0; py < height; py++) {
        losses[py * width + px] = lossFrom(moments, data, top - (top - bottom) * (py + 0.5) / height);
      }
    }
    let least = Infinity, most = 0;
    for (const loss of losses) { least = Math.min(least, loss); most = Math.max(most, loss); }
    const [surface, ink] = ["surface", "ink"].map((name) => {
      const hex = parseInt(colours[name].slice(1), 16);
      return [hex >> 16, (hex >> 8) & 255, hex & 255];
    });
    for (let i = 0; i < losses.length; i++) {
      const band = Math.floor(BANDS * ((losses[i] - least) / (most - least)) ** 0.5), share = 0.45 * Math.min(1, band / (BANDS - 1));
      for (let k = 0; k < 3; k++) image.data[4 * i + k] = surface[k] + share * (ink[k] - surface[k]);
      image.data[4 * i + 3] = 255;
    }
    inner.putImageData(image, 0, 0);
  }

  return {
    paint(pen, { left, right, top: ceiling, base }, colours) {
      if (!colours.surface) return; // not yet in the page
      const ratio = window.devicePixelRatio || 1;
      const [width, height] = [right - left, base - ceiling].map((side) => Math.max(1, Math.round(side * ratio)));
      const wanted = [width, height, colours.surface, colours.ink].join();
      if (wanted !== painted) compute(width, height, colours);
      painted = wanted;
      pen.drawImage(canvas, left, ceiling, right - left, base - ceiling);
    },
  };
}
