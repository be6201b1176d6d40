// explore: a matplotlib figure over a grid of slider values.
// Without a kernel the nearest stored frame is shown. With one, the exact frame is asked for: one request
// is on its way at a time and the next asks for the newest values, so no queue of stale frames builds up.

function renderFrames({ model, el }) {
  const card = makeCard(model, el);
  const controls = model.get("controls");
  const frames = new Map();
  model.get("frames").forEach((bytes, place) => { if (bytes.byteLength) frames.set(place, bytes); });
  const image = element("img", { className: "lim-frame", alt: model.get("alt"), decoding: "sync" });
  [image.width, image.height] = model.get("size");
  image.style.maxWidth = `${1.2 * image.width}px`; // a small figure stays small and sharp
  card.pictures.className = "";
  card.pictures.append(image);

  const positions = controls.map((control) => control.index); // places on the grid; fractions once a kernel answers
  let alive = false, waiting = false, asked = null, address = null, exact = null;

  const places = () => positions.map(Math.round);
  const frameAt = (grid) => grid.reduce((place, at, axis) => place * controls[axis].values.length + at, 0);

  function show(bytes) {
    const next = URL.createObjectURL(new Blob([bytes], { type: "image/webp" }));
    image.src = next;
    if (address) URL.revokeObjectURL(address);
    address = next;
  }

  function showNearest() {
    const wanted = places();
    const distance = (place) => {
      let total = 0;
      for (let axis = controls.length - 1; axis >= 0; axis--) {
        const length = controls[axis].values.length;
        total += Math.abs((place % length) - wanted[axis]) / length;
        place = Math.floor(place / length);
      }
      return total;
    };
    const here = frameAt(wanted);
    const best = frames.has(here) ? here : [...frames.keys()].sort((a, b) => distance(a) - distance(b))[0];
    if (best !== undefined && best !== exact) { exact = best; show(frames.get(best)); }
  }

  function ask() {
    const key = positions.join();
    if (!alive || waiting || key === asked) return;
    if (positions.every(Number.isInteger) && frames.has(frameAt(positions))) return;
    waiting = true;
    asked = key;
    model.send({ type: "draw", positions: [...positions] });
  }

  function askForMissing() { // while nobody moves anything, fill the grid
    if (!alive || waiting || !card.root.isConnected) return;
    const total = controls.reduce((product, control) => product * control.values.length, 1);
    for (let place = 0; place < total; place++) {
      if (!frames.has(place)) { waiting = true; model.send({ type: "fill", place }); return; }
    }
  }

  function onMessage(message, buffers) {
    if (message.type === "alive") {
      alive = true;
      sliders.forEach(({ slider, control }) => { if (control.continuous) slider.input.step = 0.1; });
      askForMissing();
      return;
    }
    waiting = false;
    card.error.textContent = message.type === "error" ? message.text : "";
    if (message.type === "frame" && message.place !== null) frames.set(message.place, buffers[0]);
    if (message.type === "frame" && message.positions && message.positions.join() === positions.join()) {
      exact = null;
      show(buffers[0]);
    }
    ask();
    if (message.type === "frame" && !waiting) setTimeout(askForMissing, 150);
  }

  const sliders = [];
  controls.forEach((control, axis) => {
    const moved = (at) => { positions[axis] = at; showNearest(); ask(); };
    if (control.kind === "select") {
      addSelect(card, { label: control.label, options: control.texts, index: control.index }, moved);
      return;
    }
    const show = (at) => (Number.isInteger(at) ? control.texts[at] : between(control, at));
    const last = control.values.length - 1;
    const slider = addSlider(card, { label: control.label, min: 0, max: last, step: 1, value: control.index, show }, moved);
    sliders.push({ slider, control });
  });
  showNearest();
  card.note.textContent = model.get("note");
  model.on("msg:custom", onMessage);
  model.send({ type: "hello" });
  return () => model.off("msg:custom", onMessage);
}

/** The number a slider stands for between two stored places, linear or geometric as the grid is. */
function between(control, at) {
  const low = control.values[Math.floor(at)], high = control.values[Math.ceil(at)], part = at - Math.floor(at);
  const value = control.logarithmic ? low * (high / low) ** part : low + part * (high - low);
  return String(Number(value.toPrecision(3)));
}
