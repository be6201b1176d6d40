// live_sampler and live_posterior: small networks whose weights travel with the page, run as the reader moves.

function readNetworks(model, points) {
  return model.get("networks").map((network) => ({
    ...network, network: makeNetwork(network, typed(Float32Array, network.weights), points),
  }));
}

/** Sample with each network, one step a picture; any slider starts it afresh from the same noise. */
function renderSampler({ model, el }) {
  const card = makeCard(model, el);
  const points = model.get("points"), limit = model.get("limit"), choices = model.get("step_choices");
  const reference = typed(Float32Array, model.get("reference"));
  const state = { steps: choices[model.get("steps_index")], churn: model.get("churn"), seed: 1 };
  let clock = null;

  const runs = readNetworks(model, points).map((entry) => {
    const run = { ...entry, work: makeWork(entry.network), x: new Float32Array(2 * points), before: new Float32Array(2 * points), part: 1 };
    const shown = new Float32Array(2 * points);
    const draw = (pen, colours, pixel) => {
      drawPoints(pen, reference, colours.exact, 0.3, 1.5, pixel);
      for (let i = 0; i < shown.length; i++) shown[i] = run.before[i] + run.part * (run.x[i] - run.before[i]);
      drawPoints(pen, shown, colours[entry.colour], 0.8, 2, pixel);
    };
    run.plane = addPlane(card, { caption: entry.name, alt: `${entry.name}: ${model.get("alt")}`, limit, draw });
    return run;
  });

  function restart() {
    cancelAnimationFrame(clock);
    const start = normals(state.seed).fill(new Float32Array(2 * points));
    for (const run of runs) {
      run.x.set(start);
      run.before.set(start);
      run.part = 1;
      run.random = normals(state.seed + 7919);
      run.plane.value.textContent = "";
    }
    card.note.textContent = "";
    card.root.dataset.state = "running";
    const pause = wantsStillness() ? 0 : Math.max(0, 1200 / state.steps); // milliseconds for each step to be seen
    let done = 0, stepBegan = null;
    const tick = (now) => {
      if (!card.root.isConnected) return;
      if (stepBegan === null || now - stepBegan >= pause) {
        if (done === state.steps) { runs.forEach((run) => { run.part = 1; run.plane.redraw(); }); finish(); return; }
        for (const run of runs) {
          run.before.set(run.x);
          step(run.network, run.x, 1 - done / state.steps, 1 - (done + 1) / state.steps, state.churn, run.random, run.work);
        }
        done++;
        stepBegan = now;
      }
      const part = pause ? Math.min(1, (now - stepBegan) / (0.8 * pause)) : 1;
      for (const run of runs) { run.part = part; run.plane.redraw(); }
      clock = requestAnimationFrame(tick);
    };
    clock = requestAnimationFrame(tick);
  }

  function finish() {
    card.root.dataset.state = "done";
    for (const run of runs) run.plane.value.textContent = `distance ${energyDistance(run.x, reference).toFixed(3)}`;
    card.note.textContent = `${state.steps} ${state.steps === 1 ? "call" : "calls"} of each network for ${points} points. ${model.get("note")}`;
  }

  const places = { min: 0, max: choices.length - 1, step: 1, value: model.get("steps_index"), show: (place) => String(choices[place]) };
  addSlider(card, { label: "Steps", ...places }, (place) => { state.steps = choices[place]; restart(); });
  const churns = { min: 0, max: 1, step: 0.05, value: state.churn, show: (value) => value.toFixed(2) };
  addSlider(card, { label: "Churn (0 DDIM, 1 DDPM)", ...churns }, (value) => { state.churn = value; restart(); });
  addButton(card, "Run again", restart);
  addButton(card, "New noise", () => { state.seed++; restart(); });
  addKey(card, [["the data", "exact"], ...runs.map((run) => [run.name, run.colour])]);
  restart();
  return () => { cancelAnimationFrame(clock); runs.forEach((run) => run.plane.stop()); };
}

/** Where may the clean point be, given this noisy one? Exact posterior, its mean, and draws of the network. */
function renderPosterior({ model, el }) {
  const card = makeCard(model, el);
  const points = model.get("points"), limit = model.get("limit");
  const reference = typed(Float32Array, model.get("reference"));
  const [means, stds, weights] = ["means", "stds", "weights"].map((name) => model.get("law")[name]);
  const law = { means: means.flat(), stds, weights };
  const [distributional, standard] = readNetworks(model, points);
  const noise = normals(11).fill(new Float32Array(points * distributional.network.noise));
  const state = { x: model.get("at")[0], y: model.get("at")[1], t: model.get("t") };
  const input = new Float32Array(2 * points), draws = new Float32Array(2 * points);
  const single = new Float32Array(2), mean = new Float32Array(2);
  let posterior = [];

  const draw = (pen, colours, pixel) => {
    drawPoints(pen, reference, colours.exact, 0.22, 1.4, pixel);
    for (const part of posterior) {
      if (part.weight < 0.004) continue;
      pen.globalAlpha = 0.12 + 0.5 * part.weight;
      pen.fillStyle = colours.exact;
      pen.beginPath();
      pen.arc(part.x, part.y, 2 * part.std, 0, 2 * Math.PI);
      pen.fill();
      pen.globalAlpha = 1;
    }
    drawPoints(pen, draws, colours.learned, 0.6, 1.8, pixel);
    cross(pen, mean[0], mean[1], 7, colours.rival, pixel);
    pen.strokeStyle = colours.ink;
    pen.lineWidth = 2 * pixel;
    pen.beginPath();
    pen.arc(state.x, state.y, 8 * pixel, 0, 2 * Math.PI);
    pen.stroke();
  };
  const plane = addPlane(card, { caption: "Where may the clean point be?", alt: model.get("alt"), limit, draw });
  plane.canvas.classList.add("lim-drag");
  card.pictures.style.maxWidth = "460px";
  card.pictures.style.margin = "0 auto";

  function update() {
    for (let i = 0; i < input.length; i += 2) { input[i] = state.x; input[i + 1] = state.y; }
    denoise(distributional.network, input, state.t, noise, draws);
    single.set([state.x, state.y]);
    denoise(standard.network, single, state.t, noise, mean);
    posterior = mixturePosterior(law, state.x, state.y, state.t);
    plane.redraw();
    const likely = posterior.filter((part) => part.weight > 0.05).length;
    card.note.textContent = `${likely} ${likely === 1 ? "mode holds" : "modes hold"} more than one twentieth of the exact posterior. ${model.get("note")}`;
  }

  const at = (label, name) => addSlider(card,
    { label, min: -limit, max: limit, step: 0.05, value: state[name], show: (value) => value.toFixed(2) },
    (value) => { state[name] = value; update(); });
  const time = { min: 0.05, max: 1, step: 0.05, value: state.t, show: (value) => value.toFixed(2) };
  addSlider(card, { label: "Time t (0 data, 1 noise)", ...time }, (value) => { state.t = value; update(); });
  const across = at("Noisy point, across", "x"), up = at("Noisy point, up", "y");

  const drag = (event) => {
    const box = plane.canvas.getBoundingClientRect();
    const clip = (value) => Math.max(-limit, Math.min(limit, value));
    state.x = clip(((event.clientX - box.left) / box.width * 2 - 1) * limit);
    state.y = clip((1 - (event.clientY - box.top) / box.height * 2) * limit);
    across.set(state.x);
    up.set(state.y);
    update();
  };
  plane.canvas.addEventListener("pointerdown", (event) => { plane.canvas.setPointerCapture(event.pointerId); drag(event); });
  plane.canvas.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
  addKey(card, [["exact posterior, and the data", "exact"], ["draws of the distributional denoiser", "learned"],
    ["the standard denoiser's one answer", "rival"], ["the noisy point: drag it", "ink"]]);
  update();
  return () => plane.stop();
}

function cross(pen, x, y, size, colour, pixel) {
  const r = size * pixel;
  pen.strokeStyle = colour;
  pen.lineWidth = 3.5 * pixel;
  pen.beginPath();
  pen.moveTo(x - r, y - r); pen.lineTo(x + r, y + r);
  pen.moveTo(x - r, y + r); pen.lineTo(x + r, y - r);
  pen.stroke();
}
