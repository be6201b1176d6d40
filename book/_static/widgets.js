// The widget host: it gives each widget of a page a model made of its stored state, so that the book needs
// no kernel, no widget manager and no network. A classic script, and the widgets' module comes as text
// (limModules, written at the build) through a Blob: over file:// a browser refuses module files.
"use strict";
(() => {
  const modules = new Map();
  const load = (id) => {
    if (!modules.has(id)) modules.set(id, import(URL.createObjectURL(new Blob([limModules[id]], { type: "text/javascript" }))));
    return modules.get(id);
  };

  /** The stored traits, with each buffer back at its place as a DataView. */
  function readState({ state, buffers = [] }) {
    for (const { path, data } of buffers) {
      const place = path.slice(0, -1).reduce((inner, key) => inner[key], state);
      place[path.at(-1)] = new DataView(Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)).buffer);
    }
    return state;
  }

  /** What anywidget promises a front end, without a kernel behind it: a message sent goes nowhere. */
  const makeModel = (state) => ({
    get: (name) => state[name], set: (name, value) => { state[name] = value; },
    on() {}, off() {}, save_changes() {}, send() {},
  });

  /** How tall a widget will be, roughly, so that little moves when it appears. */
  function reserve({ kind, size, controls = [] }, width) {
    const inner = Math.min(width, 860) - 34;
    const rows = Math.ceil(controls.length / Math.max(1, Math.floor(inner / 190)));
    if (kind === "frames") return 64 + 64 * rows + inner * size[1] / size[0];
    if (kind === "coupling") return inner < 560 ? 630 : 660;
    if (kind === "guidance") return inner < 560 ? 494 + 1.67 * inner : 317 + 0.63 * inner;
    if (kind === "speculation") return inner < 560 ? 620 + inner : 280 + inner / 2;
    if (kind === "valley") return inner < 511 ? (inner < 348 ? 610 : 500) + 1.91 * inner : 445 + 0.37 * inner;
    if (kind === "recursive") return inner < 511 ? (inner < 348 ? 710 : 545) + 1.88 * inner : 340 + 0.555 * inner;
    if (kind === "forgetting") return inner < 511 ? (inner < 400 ? 650 : 520) + 1.94 * inner : 490 + 0.31 * inner;
    if (kind === "stream") return inner < 511 ? (inner < 320 ? 1030 : 960) + 1.2 * inner : 720;
    if (kind === "drift") return inner < 511 ? (inner < 300 ? 690 : 640) + 1.56 * inner : 252 + 0.515 * inner;
    if (kind === "evidence") return inner < 511 ? (inner < 300 ? 745 : 705) + 1.77 * inner : (inner < 720 ? 358 : 302) + 0.5 * inner;
    if (kind === "plasticity") return inner < 511 ? 935 + 1.06 * inner : 675;
    if (kind === "attention") return inner < 511 ? 1000 + 0.8 * inner : Math.max(705, 490 + 0.32 * inner);
    if (kind === "reader") return inner < 351 ? (inner < 290 ? 950 : 870) + 0.667 * inner : (inner < 431 ? 855 : inner < 540 ? 670 : 590) + 0.333 * inner;
    if (kind === "reading") return inner < 511 ? (inner < 340 ? 1075 : 960) : inner < 720 ? 900 : 805;
    if (kind === "curves") return inner < 300 ? 1790 : inner < 370 ? 1690 : inner < 480 ? 1560 : inner < 540 ? 1350 : inner < 720 ? 1215 : 2180 - 1.67 * inner;
    if (kind === "filters") return inner < 540 ? (inner < 450 ? 1412 + 1.04 * inner : 1400 + 0.91 * inner) : inner < 740 ? 680 + 0.57 * inner : 780;
    if (kind === "pruned") return inner < 511 ? 1110 + 0.5 * inner : inner < 720 ? 815 + 0.185 * inner : 520 + 0.255 * inner;
    if (kind === "witness") return inner < 560 ? 690 + Math.min(inner, 380) : 250 + Math.min(480, inner - 214);
    return 150 + Math.min(inner, 420);
  }

  async function show(place, stored) {
    place.dataset.state = "loading";
    try {
      const { default: widget } = await load(stored.module);
      await widget.render({ model: makeModel(readState(stored)), el: place });
      place.dataset.state = "shown";
    } catch (error) {
      place.dataset.state = "failed";
      place.textContent = `This widget could not start in your browser (${error.message}).`;
      console.error(error);
    }
    place.style.minHeight = "";
  }

  const states = JSON.parse(document.querySelector('script[type="application/vnd.jupyter.widget-state+json"]').textContent).state;
  const waiting = new Map();
  const watcher = new IntersectionObserver((entries) => entries.forEach((entry) => entry.isIntersecting && start(entry.target)),
    { rootMargin: "300px" });
  function start(place) {
    const stored = waiting.get(place);
    watcher.unobserve(place);
    waiting.delete(place);
    if (stored) show(place, stored);
  }
  for (const view of document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]')) {
    const place = Object.assign(document.createElement("div"), { className: "lim-host" });
    waiting.set(place, states[JSON.parse(view.textContent).model_id]);
    view.replaceWith(place);
  }
  // All widths are read before any height is set: the page is laid out once, not for each widget.
  const heights = [...waiting].map(([place, stored]) => [place, reserve(stored.state, place.clientWidth)]);
  for (const [place, height] of heights) {
    place.style.minHeight = `${height}px`;
    watcher.observe(place);
  }
  window.addEventListener("beforeprint", () => [...waiting.keys()].forEach(start));
})();
