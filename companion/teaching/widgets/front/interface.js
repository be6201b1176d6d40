// What every widget is made of: labelled native inputs, canvases that follow the theme, notes.

// JupyterLab reads this module once for each widget, so a counter would give two widgets of a page the same ids.
const uniqueId = () => `lim-${Math.random().toString(36).slice(2, 12)}`;

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** The frame of a widget: title, controls, a place for pictures, a note for numbers and one for errors. */
function makeCard(model, el) {
  if (!document.getElementById("lim-style")) {
    document.head.append(element("style", { id: "lim-style", textContent: CSS }));
  }
  const card = {
    root: element("div", { className: "lim-widget" }),
    controls: element("div", { className: "lim-controls" }),
    pictures: element("div", { className: "lim-panels" }),
    note: element("p", { className: "lim-note" }),
    error: element("p", { className: "lim-error" }),
  };
  const title = element("p", { className: "lim-title", textContent: model.get("title"), id: uniqueId() });
  card.root.setAttribute("role", "group");
  card.root.setAttribute("aria-labelledby", title.id);
  card.note.setAttribute("role", "status");
  card.error.setAttribute("role", "alert");
  card.root.append(title, card.controls, card.pictures, card.note, card.error);
  // JupyterLab listens for arrow keys and letters on the whole page; they belong to the inputs here.
  card.root.addEventListener("keydown", (event) => event.stopPropagation());
  el.append(card.root);
  return card;
}

function addLabelled(card, text, input) {
  input.id = uniqueId();
  const value = element("output");
  value.setAttribute("for", input.id);
  const label = element("label", { htmlFor: input.id }, element("span", { textContent: text }), value);
  card.controls.append(element("div", { className: "lim-control" }, label, input));
  return value;
}

/** A slider. `show` turns its number into words, which a screen reader hears instead of the number. */
function addSlider(card, { label, min, max, step, value, show = String }, onInput) {
  const input = element("input", { type: "range", min, max, step });
  input.value = value;
  const output = addLabelled(card, label, input);
  const write = () => {
    output.textContent = show(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
  };
  write();
  input.addEventListener("input", () => { write(); onInput(Number(input.value)); });
  return { input, write, set(next) { input.value = next; write(); } };
}

/** A drop-down list; the chosen place in `options` is reported. */
function addSelect(card, { label, options, index }, onInput) {
  const input = element("select");
  options.forEach((option, place) => input.append(element("option", { value: place, textContent: option })));
  input.value = index;
  addLabelled(card, label, input);
  input.addEventListener("change", () => onInput(Number(input.value)));
  return input;
}

function addButton(card, text, onClick) {
  let row = card.controls.querySelector(".lim-buttons");
  if (!row) card.controls.append((row = element("div", { className: "lim-buttons" })));
  const button = element("button", { type: "button", textContent: text });
  button.addEventListener("click", onClick);
  row.append(button);
  return button;
}

/** A row of numbers below their words, `texts` by name; gives the row and, by the same names, where the numbers go. */
function makeCounts(texts) {
  const row = element("div", { className: "lim-counts" }), counts = {};
  for (const [name, textContent] of Object.entries(texts)) {
    counts[name] = element("strong");
    row.append(element("div", {}, element("span", { textContent }), counts[name]));
  }
  return { row, counts };
}

/** A square canvas with a caption, drawn in the plane [-limit, limit]^2 and in the theme's colours. */
function addPlane(card, { caption, alt, limit, draw }) {
  const canvas = element("canvas", { className: "lim-canvas" });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", alt);
  const value = element("span");
  card.pictures.append(
    element("figure", { className: "lim-panel" },
      element("figcaption", {}, element("strong", { textContent: caption }), value), canvas));
  const plane = { canvas, value, limit, colours: {}, redraw };

  function redraw() {
    const ratio = window.devicePixelRatio || 1;
    const size = Math.max(1, Math.round(canvas.clientWidth * ratio));
    if (canvas.width !== size) canvas.width = canvas.height = size;
    const pen = canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, size, size);
    const scale = size / (2 * limit);
    pen.setTransform(scale, 0, 0, -scale, size / 2, size / 2);
    draw(pen, plane.colours, 1 / (scale / ratio));
  }
  plane.stop = onThemeOrSize(canvas, (colours) => { plane.colours = colours; redraw(); });
  return plane;
}

/** A canvas of any shape (width over height; `narrow` on a phone), drawn in CSS pixels from its upper left corner. */
function addScene(card, { caption, alt, shape, narrow = shape, wide = false, draw }) {
  const canvas = element("canvas", { className: "lim-canvas lim-scene" });
  canvas.style.setProperty("--shape", shape);
  canvas.style.setProperty("--narrow", narrow);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", alt);
  const title = element("strong", { textContent: caption }), value = element("span");
  card.pictures.append(
    element("figure", { className: wide ? "lim-panel lim-wide" : "lim-panel" },
      element("figcaption", {}, title, value), canvas));
  const scene = { canvas, title, value, colours: {}, redraw };

  function redraw() {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const [across, down] = [width, height].map((side) => Math.max(1, Math.round(side * ratio)));
    if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    draw(pen, scene.colours, width, height);
  }
  scene.stop = onThemeOrSize(canvas, (colours) => { scene.colours = colours; redraw(); });
  return scene;
}

/** Call `react(colours)` now and whenever the page's theme or the canvas' size changes. */
function onThemeOrSize(canvas, react) {
  const update = () => {
    const style = getComputedStyle(canvas);
    const names = ["ink", "soft", "line", "surface", "exact", "learned", "rival", "third"];
    react(Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--lim-${name}`).trim()])));
  };
  const themes = new MutationObserver(update);
  themes.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  themes.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
  const sizes = new ResizeObserver(update);
  sizes.observe(canvas);
  return () => { themes.disconnect(); sizes.disconnect(); };
}

/** Discs of `radius` pixels at (x, y) pairs; one path, so that thousands stay cheap. */
function drawPoints(pen, points, colour, opacity, radius, pixel) {
  pen.fillStyle = colour;
  pen.globalAlpha = opacity;
  const r = radius * pixel;
  pen.beginPath();
  for (let i = 0; i < points.length; i += 2) {
    pen.moveTo(points[i] + r, points[i + 1]);
    pen.arc(points[i], points[i + 1], r, 0, 2 * Math.PI);
  }
  pen.fill();
  pen.globalAlpha = 1;
}

function addKey(card, entries) {
  const key = element("div", { className: "lim-key" });
  for (const [text, colour] of entries) {
    const entry = element("span", { textContent: text });
    entry.style.setProperty("--dot", `var(--lim-${colour})`);
    key.append(entry);
  }
  card.pictures.after(key);
}

const wantsStillness = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Bytes of a trait as a typed array, whatever their alignment in the message they came in. */
function typed(Type, view) {
  return new Type(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}
