// particles: clouds in motion, stored as 16-bit positions, played between their frames.

function renderParticles({ model, el }) {
  const card = makeCard(model, el);
  const limit = model.get("limit");
  const unpack = (view) => Float32Array.from(typed(Uint16Array, view), (value) => (value / 65535 * 2 - 1) * limit);
  const clouds = model.get("clouds").map((cloud) => ({ ...cloud, paths: unpack(cloud.paths) }));
  const reference = unpack(model.get("reference"));
  const labels = model.get("labels");
  const last = labels.length - 1;
  let at = model.get("start"), clock = null;

  const planes = clouds.map((cloud) => {
    const size = 2 * cloud.count;
    const shown = new Float32Array(size);
    const draw = (pen, colours, pixel) => {
      drawPoints(pen, reference, colours.exact, 0.35, 1.6, pixel);
      const before = Math.floor(at) * size, after = Math.ceil(at) * size, part = at - Math.floor(at);
      for (let i = 0; i < size; i++) {
        shown[i] = cloud.paths[before + i] * (1 - part) + cloud.paths[after + i] * part;
      }
      drawPoints(pen, shown, colours[cloud.colour], 0.75, 2, pixel);
    };
    return addPlane(card, { caption: cloud.name, alt: `${cloud.name}: ${model.get("alt")}`, limit, draw });
  });

  function go(next) {
    at = Math.min(last, next);
    planes.forEach((plane) => plane.redraw());
  }

  const show = (value) => labels[Math.round(value)];
  const slider = addSlider(card, { label: model.get("axis"), min: 0, max: last, step: last > 20 ? 1 : 0.1, value: at, show },
    (value) => { pause(); go(value); });
  const button = addButton(card, "Play", () => (clock === null ? play() : pause()));

  function play() {
    button.textContent = "Pause";
    const from = at >= last ? 0 : at, seconds = model.get("seconds");
    let began = null;
    const tick = (now) => {
      if (clock === null || !card.root.isConnected) return;
      began ??= now;
      go(from + (now - began) / 1000 / seconds * last);
      slider.set(at);
      if (at < last) clock = requestAnimationFrame(tick); else pause();
    };
    clock = requestAnimationFrame(tick);
  }

  function pause() {
    cancelAnimationFrame(clock);
    clock = null;
    button.textContent = "Play";
  }

  if (reference.length) addKey(card, [["the data", "exact"]]);
  card.note.textContent = model.get("note");
  if (model.get("autoplay") && !wantsStillness()) play();
  return () => { pause(); planes.forEach((plane) => plane.stop()); };
}
