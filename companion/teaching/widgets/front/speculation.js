// live_coupling and live_speculation: speculative sampling on exact laws, recomputed as the reader moves.

const RESULTS = 2000; // draws whose law is shown

/** The reflection coupling on a line: drafts under the draft's density, kept in the overlap, reflected outside it. */
function renderCoupling({ model, el }) {
  const card = makeCard(model, el);
  const points = model.get("points"), reach = 4.2, furthest = 2;
  const state = { draft: model.get("draft_mean"), target: model.get("target_mean"), std: model.get("std") };
  const random = normals(1); // the same noise throughout, so that points glide when a slider moves
  const noise = random.fill(new Float64Array(RESULTS)), uniforms = Array.from(noise, () => random.uniform());
  const draws = []; // { draft, value, kept, height }: height is a share of the densities' common peak
  const density = (x, mean) => Math.exp(-0.5 * ((x - mean) / state.std) ** 2);

  const axis = (width) => (x) => (x + reach) / (2 * reach) * width;
  /** A filled or drawn curve over the axis; `heightAt` in shares of the peak. */
  const trace = (pen, width, base, tall, heightAt) => {
    pen.beginPath();
    for (let px = 0; px <= width; px += 2) pen.lineTo(px, base - tall * heightAt((px / width * 2 - 1) * reach));
  };
  const fill = (pen, width, base, colour, opacity) => {
    pen.lineTo(width, base);
    pen.lineTo(0, base);
    pen.globalAlpha = opacity;
    pen.fillStyle = colour;
    pen.fill();
    pen.globalAlpha = 1;
  };
  const drawAxis = (pen, colours, width, base) => {
    line(pen, [0, base, width, base], colours.soft, 1);
    for (let tick = -4; tick <= 4; tick++) {
      write(pen, String(tick).replace("-", "\u2212"), axis(width)(tick), base + 17, colours.soft, "center");
    }
  };

  const drawCoupling = (pen, colours, width, height) => {
    const at = axis(width), base = height - 26, tall = base - 30;
    const blue = (x) => density(x, state.draft), grey = (x) => density(x, state.target);
    trace(pen, width, base, tall, blue);
    fill(pen, width, base, colours.learned, 0.1);
    trace(pen, width, base, tall, (x) => Math.min(blue(x), grey(x)));
    fill(pen, width, base, colours.third, 0.22);
    const middle = at((state.draft + state.target) / 2);
    pen.setLineDash([4, 4]);
    line(pen, [middle, 16, middle, base], colours.soft, 1);
    pen.setLineDash([]);
    write(pen, "mirror", middle, 11, colours.soft, "center");
    for (const { draft, value, kept, height: share } of draws.slice(0, points)) {
      if (!kept) line(pen, [at(draft), base - tall * share, at(value), base - tall * share], colours.rival, 1, 0.45);
    }
    for (const [mean, colour] of [[state.target, colours.exact], [state.draft, colours.learned]]) {
      trace(pen, width, base, tall, (x) => density(x, mean));
      pen.strokeStyle = colour;
      pen.lineWidth = 2.5;
      pen.stroke();
    }
    const shown = draws.slice(0, points), place = (x, share) => [at(x), base - tall * share];
    const dots = (chosen, name, colour, opacity) =>
      drawPoints(pen, chosen.flatMap((draw) => place(draw[name], draw.height)), colour, opacity, 3.4, 1);
    dots(shown.filter((draw) => !draw.kept), "draft", colours.learned, 0.45);
    dots(shown.filter((draw) => !draw.kept), "value", colours.rival, 1);
    dots(shown.filter((draw) => draw.kept), "value", colours.third, 1);
    drawAxis(pen, colours, width, base);
    const draftIsLeft = state.draft <= state.target;
    for (const [name, colour, ink, isLeft] of [
      ["target", colours.exact, colours.soft, !draftIsLeft], ["draft", colours.learned, colours.learned, draftIsLeft],
    ]) {
      const x = at(state[name]);
      write(pen, name, x + (isLeft ? -12 : 12), base - tall - 4, ink, isLeft ? "right" : "left", 600);
      drawPoints(pen, [x, base], colours.surface, 1, 9, 1); // the handle
      drawPoints(pen, [x, base], colour, 1, 7, 1);
    }
  };

  const drawResults = (pen, colours, width, height) => {
    const at = axis(width), base = height - 26, tall = (base - 4) / 1.15, bin = 0.25, bins = 32;
    const counts = [new Float64Array(bins), new Float64Array(bins)]; // kept, reflected; bins of 1/4 std about the target's mean
    for (const { value, kept } of draws) {
      const place = Math.floor((value - state.target) / state.std / bin) + bins / 2;
      if (place >= 0 && place < bins) counts[kept ? 0 : 1][place]++;
    }
    const tallest = RESULTS * bin / Math.sqrt(2 * Math.PI); // what the target's peak would put into a bin
    for (let place = 0; place < bins; place++) {
      const from = at(state.target + (place - bins / 2) * bin * state.std) + 0.5;
      const across = at(bin * state.std) - at(0) - 1;
      let top = base;
      for (const [count, colour] of [[counts[0][place], colours.third], [counts[1][place], colours.rival]]) {
        const up = tall * count / tallest;
        pen.fillStyle = colour;
        pen.globalAlpha = 0.75;
        pen.fillRect(from, top - up, across, up);
        top -= up;
      }
    }
    pen.globalAlpha = 1;
    trace(pen, width, base, tall, (x) => density(x, state.target));
    pen.strokeStyle = colours.exact;
    pen.lineWidth = 2.5;
    pen.stroke();
    drawAxis(pen, colours, width, base);
  };

  const alt = model.get("alt");
  const coupling = addScene(card, { caption: "Keep or reflect", alt, shape: 2.9, narrow: 1.35, wide: true, draw: drawCoupling });
  const results = addScene(card, {
    caption: "What comes out", alt: `${RESULTS} results, kept and reflected, stacked under the target's density. ${alt}`,
    shape: 5.2, narrow: 2.4, wide: true, draw: drawResults,
  });
  coupling.canvas.classList.add("lim-slide");

  function update() {
    draws.length = 0;
    let sum = 0, squares = 0, count = 0;
    for (let i = 0; i < RESULTS; i++) {
      const draft = state.draft + state.std * noise[i];
      const { value: [value], kept } = reflectionCoupling([draft], [state.draft], [state.target], state.std, uniforms[i]);
      draws.push({ draft, value, kept, height: uniforms[i] * density(draft, state.draft) });
      sum += value;
      squares += value * value;
      count += kept ? 1 : 0;
    }
    coupling.redraw();
    results.redraw();
    const mean = sum / RESULTS, std = Math.sqrt(squares / RESULTS - mean * mean);
    results.value.textContent = `mean ${signed(mean)}, std ${std.toFixed(2)}`;
    const distance = Math.abs(state.draft - state.target) / state.std, exact = acceptanceProbability(distance);
    coupling.value.textContent = `overlap ${percent(exact)}`;
    card.note.textContent = `The means lie |D| = ${distance.toFixed(2)} standard deviations apart: 2 \u03a6(\u2212|D|/2) = `
      + `${percent(exact)} are kept, and of these ${RESULTS} drafts ${percent(count / RESULTS)} were. ${model.get("note")}`;
  }

  const sliders = {};
  for (const [name, label] of [["draft", "Draft\u2019s mean"], ["target", "Target\u2019s mean"]]) {
    const range = { min: -furthest, max: furthest, step: 0.02, value: state[name], show: signed };
    sliders[name] = addSlider(card, { label, ...range }, (value) => { state[name] = value; update(); });
  }
  const stds = { min: 0.2, max: 1.2, step: 0.02, value: state.std, show: (value) => value.toFixed(2) };
  addSlider(card, { label: "Standard deviation of both", ...stds }, (value) => { state.std = value; update(); });

  let held = null;
  const under = (event) => {
    const box = coupling.canvas.getBoundingClientRect();
    return ((event.clientX - box.left) / box.width * 2 - 1) * reach;
  };
  coupling.canvas.addEventListener("pointerdown", (event) => {
    const x = under(event);
    held = Math.abs(x - state.draft) <= Math.abs(x - state.target) ? "draft" : "target";
    coupling.canvas.setPointerCapture(event.pointerId);
  });
  coupling.canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    state[held] = Math.max(-furthest, Math.min(furthest, under(event)));
    sliders[held].set(state[held]);
    update();
  });
  coupling.canvas.addEventListener("lostpointercapture", () => { held = null; });
  addKey(card, [["the target", "exact"], ["the draft, and rejected drafts", "learned"], ["kept, in the overlap", "third"],
    ["reflected", "rival"]]);
  update();
  return () => { coupling.stop(); results.stop(); };
}

/** One chain of speculative sampling, round by round: its drafts and their verdict, its counts, its staircase. */
function renderSpeculation({ model, el }) {
  const card = makeCard(model, el);
  const limit = model.get("limit"), choices = model.get("step_choices"), windows = model.get("windows");
  const reference = typed(Float32Array, model.get("reference"));
  const [means, stds, weights] = ["means", "stds", "weights"].map((name) => model.get("law")[name]);
  const law = { means: means.flat(), stds, weights };
  const target = (point, t) => posteriorMean(law, point, t);
  const [stepsAt, windowAt] = [model.get("steps_index"), model.get("windows_index")];
  const state = { steps: choices[stepsAt], window: windows[windowAt], churn: model.get("churn"), seed: 1 };
  const whole = { x: 0, y: 0, half: limit };

  // The chain is computed at once and then shown: `round` of it, `part` of that round; one round more is the whole way.
  let history = [], views = [], usual = 0, round = 0, part = 1, clock = null;
  const rounds = () => history.length - 1;
  const isWhole = () => round > rounds();
  const runChain = (seed) => {
    const random = normals(seed);
    return speculativeChain([random.normal(), random.normal()], { ...state, target, random });
  };

  function compute() {
    history = runChain(state.seed);
    const lengths = Array.from({ length: 100 }, (_, other) => runChain(1000 + other).at(-1).rounds);
    usual = lengths.reduce((sum, value) => sum + value, 0) / lengths.length;
    views = [whole];
    for (const chain of history.slice(1)) views.push(chain.window ? viewOf(chain.window, limit) : views.at(-1));
    views.push(whole);
  }

  // --- what a moment of a round looks like: first the drafts appear, then all their verdicts at once ----------------
  const ramp = (from, to) => Math.max(0, Math.min(1, (part - from) / (to - from)));

  const drawChain = (pen, colours, width) => {
    const view = viewBetween(views[Math.max(0, round - 1)], views[round], ramp(0, 0.3));
    const place = ([x, y]) => [width / 2 * (1 + (x - view.x) / view.half), width / 2 * (1 - (y - view.y) / view.half)];
    const data = [];
    for (let i = 0; i < reference.length; i += 2) data.push(...place([reference[i], reference[i + 1]]));
    drawPoints(pen, data, colours.exact, 0.4, 1.7, 1);
    const now = isWhole() ? history.at(-1) : history[round], { window } = isWhole() ? { window: null } : now;
    const past = now.path.slice(0, window ? window.start + 1 : now.position + 1).map(place);
    line(pen, past.flat(), colours.ink, 1.2, isWhole() ? 0.4 : 0.3);
    for (const [kept, colour] of [[true, colours.third], [false, colours.rival]]) {
      drawPoints(pen, past.slice(1).filter((_, step) => now.kept[step] === kept).flat(), colour, 0.85, kept ? 2.2 : 3, 1);
    }
    let stands = past.at(-1);
    if (window) stands = drawWindow(pen, colours, window, place, history[round - 1].answer);
    ring(pen, stands, !window && !isWhole() && round > 0 ? 8 + 10 * (1 - ramp(0.2, 0.9)) : 8, colours.ink);
    pen.strokeStyle = colours.line;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.roundRect(0.5, 0.5, width - 1, width - 1, 8);
    pen.stroke();
    if (view.half < 0.8 * limit) drawMap(pen, colours, width, view, now);
  };

  /** Drafts, then their verdict; returns where the chain stands. */
  function drawWindow(pen, colours, { states, values, rejected }, place, answer) {
    const drafts = states.slice(1).map(place), results = values.map(place), from = place(states[0]);
    const drafted = Math.ceil(ramp(0.05, 0.45) * drafts.length), verdict = ramp(0.55, 0.8);
    const kept = rejected ? results.length - 1 : results.length;
    const frozen = place(answer);
    line(pen, [...from, ...frozen], colours.learned, 1, 0.35 * (1 - verdict));
    cross(pen, ...frozen, 5, colours.learned, 1);
    line(pen, [from, ...drafts.slice(0, Math.min(drafted, kept + 1))].flat(), colours.learned, 1.5, 0.7 - 0.5 * verdict);
    line(pen, drafts.slice(kept, drafted).flat(), verdict < 0.5 ? colours.learned : colours.exact, 1.5, 0.7 - 0.4 * verdict);
    if (verdict > 0) line(pen, [from, ...results.slice(0, kept)].flat(), colours.third, 2, verdict);
    drafts.slice(0, drafted).forEach((draft, ahead) => {
      if (verdict < 1 || ahead === kept) drawPoints(pen, draft, colours.learned, ahead < kept ? 1 : 1 - 0.55 * verdict, 4.5, 1);
      if (ahead < kept) drawPoints(pen, results[ahead], colours.third, verdict, 4.5, 1);
      else if (ahead > kept) drawPoints(pen, draft, colours.exact, 0.5 * verdict, 4.5, 1);
    });
    if (rejected && verdict > 0) {
      const [[x, y], [u, v]] = [drafts[kept], results[kept]], end = [x + verdict * (u - x), y + verdict * (v - y)];
      line(pen, [...(kept ? results[kept - 1] : from), ...end], colours.ink, 1.2, 0.5 * verdict);
      line(pen, [x, y, ...end], colours.rival, 2);
      drawPoints(pen, end, colours.rival, 1, 5.5, 1);
    }
    return verdict === 1 ? results.at(-1) : from;
  }

  /** Where the close-up lies in the whole plane: a small map in the corner. */
  function drawMap(pen, colours, width, view, now) {
    const size = Math.round(0.24 * width), left = width - size - 6, top = 6;
    const place = ([x, y]) => [left + size / 2 * (1 + x / limit), top + size / 2 * (1 - y / limit)];
    pen.save();
    pen.beginPath();
    pen.rect(left, top, size, size);
    pen.fillStyle = colours.surface;
    pen.fill();
    pen.clip();
    const data = [];
    const stride = 2 * Math.ceil(reference.length / 600);
    for (let i = 0; i < reference.length; i += stride) data.push(...place([reference[i], reference[i + 1]]));
    drawPoints(pen, data, colours.exact, 0.5, 1, 1);
    line(pen, now.path.slice(0, now.position + 1).map(place).flat(), colours.ink, 1, 0.3);
    pen.restore();
    const [x, y] = place([view.x, view.y]), side = Math.max(6, size * view.half / limit);
    pen.strokeStyle = colours.ink;
    pen.lineWidth = 2;
    pen.strokeRect(x - side / 2, y - side / 2, side, side);
    pen.strokeStyle = colours.line;
    pen.lineWidth = 1;
    pen.strokeRect(left, top, size, size);
  }

  const drawStairs = (pen, colours, width, height) => {
    const left = 34, base = height - 42, right = width - 14, top = 30, { steps } = state;
    const at = (rounds, done) => [left + (right - left) * rounds / steps, base - (base - top) * done / steps];
    line(pen, [...at(0, steps), ...at(0, 0), ...at(steps, 0)], colours.soft, 1);
    for (const tick of [0, steps / 2, steps]) {
      if (!Number.isInteger(tick)) continue;
      write(pen, String(tick), at(tick, 0)[0], base + 16, colours.soft, "center");
      write(pen, String(tick), left - 6, at(0, tick)[1] + 4, colours.soft, "right");
    }
    write(pen, "rounds of the target", (left + right) / 2, height - 8, colours.soft, "center");
    write(pen, "steps done", 2, 12, colours.soft, "left");
    line(pen, [...at(0, 0), ...at(steps, steps)], colours.exact, 2);
    pen.save();
    pen.translate(...at(0.68 * steps, 0.68 * steps));
    pen.rotate(-Math.atan2(base - top, right - left));
    write(pen, "slow sampler: a step a round", 0, 17, colours.soft, "center");
    pen.restore();
    const shown = history.slice(0, Math.min(counted(), rounds()) + 1), way = [], reflected = [];
    shown.forEach((chain, index) => {
      if (index) way.push(...at(chain.rounds, shown[index - 1].position));
      way.push(...at(chain.rounds, chain.position));
      if (chain.window?.rejected) reflected.push(...at(chain.rounds, chain.position));
    });
    line(pen, way, colours.third, 2.5);
    drawPoints(pen, reflected, colours.rival, 1, 4, 1);
    const last = shown.at(-1), [x, y] = at(last.rounds, last.position);
    if (last.position < steps) ring(pen, [x, y], 6, colours.ink);
    else if (steps > last.rounds) {
      pen.setLineDash([3, 4]);
      line(pen, [x, y, ...at(steps, steps)], colours.ink, 1.2, 0.7);
      pen.setLineDash([]);
      write(pen, `${steps - last.rounds} rounds saved`, (x + right) / 2, y - 7, colours.ink, "center", 600);
    }
  };

  const plane = addScene(card, { caption: "One chain", alt: model.get("alt"), shape: 1, draw: drawChain });
  const stairs = addScene(card, {
    caption: "Steps done against rounds", shape: 1, narrow: 1.3, draw: drawStairs,
    alt: "A staircase of steps done against rounds of the target, and the diagonal of a sampler that does one step a round.",
  });

  card.pictures.style.columnGap = "28px";

  // --- counts and words -----------------------------------------------------------------------------------------------
  const counts = element("div", { className: "lim-counts" });
  const addCount = (words, colour) => {
    const value = element("strong");
    value.style.color = `var(--lim-${colour})`;
    counts.append(element("div", {}, element("span", { textContent: words }), value));
    return value;
  };
  const stepsDone = addCount("steps done", "ink"), called = addCount("rounds of the target", "third");
  const waited = addCount("rounds of the slow sampler", "soft"), asked = addCount("evaluations in all", "ink");
  card.controls.after(counts);

  /** The last round whose verdict is on show. */
  function counted() {
    return Math.max(0, Math.min(rounds(), round) - (!isWhole() && part < 0.55 ? 1 : 0));
  }

  function show() {
    const { position, rounds: calls, evaluations } = history[counted()];
    stepsDone.textContent = `${position} of ${state.steps}`;
    called.textContent = calls;
    waited.textContent = position;
    asked.textContent = evaluations;
    plane.title.textContent = isWhole() ? "The whole way" : round === 0 ? "One chain" : `Round ${Math.max(1, history[round].rounds)}`;
    plane.value.textContent = describe();
    plane.redraw();
    stairs.redraw();
  }

  function describe() {
    if (isWhole()) {
      const { kept } = history.at(-1), good = kept.filter(Boolean).length;
      return `${good} steps kept, ${kept.length - good} reflected`;
    }
    if (round === 0) return "starts from noise";
    const { window, rounds: calls } = history[round];
    if (!window) return "asks the target where it stands";
    const drafts = window.states.length - 1, moved = window.values.length, dropped = drafts - moved;
    if (calls === history[round - 1].rounds) return "the last step needs no new call";
    if (part < 0.55) return `${drafts} drafted, one call for all`;
    if (!window.rejected) return drafts === 1 ? "1 drafted, 1 kept" : `${drafts} drafted, all kept`;
    return `${moved - 1} kept, 1 reflected` + (dropped ? `, ${dropped} dropped` : "");
  }

  // --- motion ---------------------------------------------------------------------------------------------------------
  const setState = (name) => {
    card.root.dataset.state = name;
    play.textContent = name === "running" ? "Pause" : "Play";
    plane.value.setAttribute("aria-live", name === "running" ? "off" : "polite");
  };

  function stop() {
    cancelAnimationFrame(clock);
    clock = null;
    setState(isWhole() ? "done" : "paused");
  }

  /** Go on to the end of round `last`, each round in `pace` milliseconds (one that only asks in half of that). */
  function run(last, pace) {
    cancelAnimationFrame(clock);
    setState("running");
    let before = null;
    const tick = (now) => {
      if (!card.root.isConnected) return;
      const passed = before === null ? 0 : Math.min(now - before, 100); // after a pause of the page, go on, do not jump
      before = now;
      const alone = isWhole() || !history[round].window;
      part = Math.min(1, part + passed / (alone ? 0.5 * pace : pace));
      if (part === 1 && round < last) { round++; part = 0; }
      show();
      if (part === 1) stop(); else clock = requestAnimationFrame(tick);
    };
    clock = requestAnimationFrame(tick);
  }

  function begin() {
    round = 0;
    part = 1;
  }

  function nextRound() {
    stop();
    if (part < 1 && !isWhole()) part = 1; // the first press while a round is on show finishes that one
    else {
      if (isWhole()) begin();
      round++;
      part = wantsStillness() ? 1 : 0;
    }
    if (part < 1) { run(round, 1300); return; }
    stop();
    show();
  }

  /** The whole chain at once, which is what a moving slider needs. */
  function showAll() {
    compute();
    round = rounds() + 1;
    part = 1;
    stop();
    show();
    card.note.textContent =
      `With these settings a hundred chains need ${usual.toFixed(1)} rounds on average for ${state.steps} steps. ${model.get("note")}`;
  }

  const pace = (seconds) => Math.min(1000, 1000 * seconds / rounds());
  const places = (list, index) => ({ min: 0, max: list.length - 1, step: 1, value: index, show: (place) => String(list[place]) });
  addSlider(card, { label: "Window: steps drafted at a time", ...places(windows, windowAt) },
    (place) => { state.window = windows[place]; showAll(); });
  const churns = { min: 0.1, max: 1, step: 0.05, value: state.churn, show: (value) => value.toFixed(2) };
  addSlider(card, { label: "Churn: fresh noise of a step", ...churns }, (value) => { state.churn = value; showAll(); });
  addSlider(card, { label: "Steps K", ...places(choices, stepsAt) },
    (place) => { state.steps = choices[place]; showAll(); });
  addButton(card, "Next round", nextRound);
  const play = addButton(card, "Play", () => {
    if (clock) { stop(); return; }
    if (isWhole()) begin();
    run(rounds() + 1, pace(15));
  });
  addButton(card, "New noise", () => {
    state.seed++;
    showAll();
    if (wantsStillness()) return;
    begin();
    run(rounds() + 1, pace(15));
  });
  addKey(card, [["the data, and what is dropped", "exact"], ["drafts; the cross is the answer they freeze", "learned"],
    ["kept", "third"], ["reflected", "rival"], ["the chain", "ink"]]);
  showAll();
  if (!wantsStillness()) { begin(); run(rounds() + 1, pace(4)); } // brief: it is there to say that this moves
  return () => { cancelAnimationFrame(clock); plane.stop(); stairs.stop(); };
}

/** The part of the plane that holds a window and what became of it; the whole plane unless that is much larger. */
function viewOf({ states, values }, limit) {
  const all = [...states, ...values];
  const [across, up] = [0, 1].map((side) => all.map((point) => point[side]));
  const [left, right, low, high] = [Math.min(...across), Math.max(...across), Math.min(...up), Math.max(...up)];
  const half = Math.max(0.04, 0.5 * 1.6 * Math.max(right - left, high - low));
  return half > 0.6 * limit ? { x: 0, y: 0, half: limit } : { x: (left + right) / 2, y: (low + high) / 2, half };
}

/** A view on the way from one to another; sizes change by equal ratios. */
function viewBetween(a, b, part) {
  const ease = part * part * (3 - 2 * part);
  return { x: a.x + ease * (b.x - a.x), y: a.y + ease * (b.y - a.y), half: a.half * (b.half / a.half) ** ease };
}

const signed = (value) => (Math.abs(value) < 0.005 ? "0.00" : value.toFixed(2).replace("-", "\u2212"));
const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** A line through (x, y) pairs. */
function line(pen, points, colour, width, opacity = 1) {
  pen.globalAlpha = opacity;
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.lineJoin = "round";
  pen.beginPath();
  for (let i = 0; i < points.length; i += 2) pen.lineTo(points[i], points[i + 1]);
  pen.stroke();
  pen.globalAlpha = 1;
}

function ring(pen, [x, y], radius, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 2;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.stroke();
}

function write(pen, text, x, y, colour, align, weight = 400) {
  pen.font = `${weight} 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif`;
  pen.fillStyle = colour;
  pen.textAlign = align;
  pen.fillText(text, x, y);
}
