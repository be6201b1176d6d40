// What several live widgets share: plots with axes, a key of lines, numbers in few digits, and the buttons of a play.

/** The area of a plot inside a scene, and `at`, which places (x, y) in it. */
function plotArea(width, height, [low, high], [bottom, ceiling], { left = 40, below = 34, above = 8 } = {}) {
  const right = width - 10, base = height - below;
  const at = (x, y) => [left + (right - left) * (x - low) / (high - low), base - (base - above) * (y - bottom) / (ceiling - bottom)];
  return { left, right, top: above, base, at, across: [low, high], up: [bottom, ceiling] };
}

/** Keep what is drawn inside the area of a plot, or `margin` pixels beyond it. */
function clipTo(pen, { left, right, top, base }, margin, drawAll) {
  pen.save();
  pen.beginPath();
  pen.rect(left, top - margin, right - left + margin, base - top + margin);
  pen.clip();
  drawAll();
  pen.restore();
}

/** Round numbers in a range, about `count` of them. */
function roundTicks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((digit) => digit * power >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) ticks.push(Number((k * step).toPrecision(12)));
  return ticks;
}

/**
 * The left and lower edge of a plot, with round numbers, or the [place, text] given below (`places`) and on the left
 * (`heights`), with names, or below with what the two ends mean.
 */
function drawTicks(pen, plot, colours, { across = "", up = "", places = null, heights = null, ends = null }) {
  const { left, right, top, base, at } = plot, minus = (value) => String(value).replace("-", "\u2212");
  heights ??= roundTicks(...plot.up, Math.max(2, (base - top) / 40)).map((tick) => [tick, minus(tick)]);
  places ??= roundTicks(...plot.across, Math.max(3, (right - left) / 55)).map((tick) => [tick, minus(tick)]);
  line(pen, [left, top, left, base, right, base], colours.soft, 1);
  for (const [tick, text] of places) {
    const [x] = at(tick, 0);
    line(pen, [x, base, x, base + 4], colours.soft, 1);
    write(pen, text, x, base + 17, colours.soft, "center");
  }
  for (const [tick, text] of heights) {
    const [, y] = at(0, tick);
    line(pen, [left - 4, y, left, y], colours.soft, 1);
    write(pen, text, left - 7, y + 4, colours.soft, "right");
  }
  if (ends) [["left", left], ["right", right]].forEach(([side, x], k) => write(pen, ends[k], x, base + 30, colours.soft, side));
  if (across) write(pen, across, right, base + 30, colours.soft, "right", 600);
  if (up) write(pen, up, left - 34, top + 6, colours.soft, "left", 600);
}

/** Three digits; two with a power of ten where a number is very small or large. */
function shortNumber(value) {
  if (!Number.isFinite(value)) return "\u221e";
  const size = Math.abs(value);
  if (size > 0 && (size < 1e-3 || size >= 1e4)) return inPowers(value.toExponential(1));
  return value.toFixed(size ? Math.max(0, Math.min(4, 2 - Math.floor(Math.log10(size)))) : 0).replace("-", "\u2212");
}

/** A number such as 3e-5 as it is written by hand. */
function inPowers(text) {
  const [digits, power] = text.split("e"), small = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079";
  const raised = power.replace("+", "").replace("-", "\u207b").replace(/\d/g, (digit) => small[digit]);
  return `${digits === "1" ? "" : `${digits}\u00b7`}10${raised}`.replace("-", "\u2212");
}

/** A number of few digits, in powers of ten where it is very small or large. */
const markText = (value) => (value === 0 || (value >= 1e-3 && value < 1e4) ? String(value) : inPowers(value.toExponential()));

/** A key for lines and marks: [text, class of its mark, colour]. */
function makeKey(entries) {
  const key = element("div", { className: "lim-key lim-lines" });
  for (const [textContent, className, colour] of entries) {
    const entry = element("span", { textContent, className });
    entry.style.setProperty("--dot", `var(--lim-${colour})`);
    key.append(entry);
  }
  return key;
}

/** The pictures in columns, each a list of scenes from top to bottom. */
function setColumns(card, lists) {
  const columns = lists.map((scenes) =>
    element("div", { className: "lim-column" }, ...scenes.map(({ canvas }) => canvas.parentElement)));
  card.pictures.append(...columns);
  return columns;
}

/**
 * Buttons that go through `steps` in `span` milliseconds, however slowly pictures come. `show(step, isRunning)` draws one;
 * the player's `rest(step)` stops, at another step if one is given. `once` is on the button of a single step.
 */
function addPlayer(card, { steps, span, first, show, once = "One step" }) {
  const player = { step: first, rest, stop: () => cancelAnimationFrame(clock) };
  let clock = null;
  const play = addButton(card, "Play", () => (clock === null ? run() : rest()));
  addButton(card, once, () => rest(player.step === steps ? 1 : player.step + 1));

  function go(step, isRunning) {
    player.step = step;
    play.textContent = isRunning ? "Pause" : "Play";
    card.root.dataset.state = isRunning ? "running" : step === steps ? "done" : "paused";
    show(step, isRunning);
  }

  function rest(step = player.step) {
    cancelAnimationFrame(clock);
    clock = null;
    go(step, false);
  }

  function run() {
    if (wantsStillness()) { rest(steps); return; }
    const from = player.step === steps ? 0 : player.step;
    let began = null;
    const tick = (now) => {
      if (!card.root.isConnected) return;
      began ??= now;
      const step = Math.min(steps, from + Math.floor((now - began) * steps / span));
      if (step === steps) { rest(steps); return; }
      if (step !== player.step) go(step, true);
      clock = requestAnimationFrame(tick);
    };
    go(from, true);
    clock = requestAnimationFrame(tick);
  }

  return player;
}

/** A plot over `across` with a line at each of the heights `shown`, on a logarithmic axis; where there is no room for all, whole powers keep their names. */
function logPlot(pen, colours, width, height, across, shown, words) {
  const plot = plotArea(width, height, across, [shown[0], shown.at(-1)].map(Math.log10), { left: 48 });
  const isTight = (plot.base - plot.top) / shown.length < 18, heights = shown.map((mark) => [Math.log10(mark), markText(mark)]);
  for (const [up] of heights) line(pen, [plot.left, plot.at(0, up)[1], plot.right, plot.at(0, up)[1]], colours.line, 1);
  drawTicks(pen, plot, colours, { ...words, heights: heights.filter(([up]) => !isTight || Number.isInteger(up)) });
  return plot;
}

/** A disc with an edge for the place on show: whole on the edges of the plot and absent beyond them. */
function drawBead(pen, colours, { top, base }, place, colour) {
  if (place[1] < top || place[1] > base) return;
  drawPoints(pen, place, colours.surface, 1, 6, 1);
  drawPoints(pen, place, colours[colour], 1, 4.5, 1);
}

/**
 * Drag along a plot that lies `left` and `right` pixels inside a canvas and shows `low` to `high`: `react` hears the nearest
 * whole place from 0 to `last`.
 */
function slideAlong(canvas, { left, right = 10 }, [low, high], last, react) {
  let held = null;
  const follow = (event) => {
    if (held === null) return;
    const box = canvas.getBoundingClientRect(), share = (event.clientX - box.left - left) / (box.width - right - left);
    const place = Math.min(last, Math.max(0, Math.round(low + (high - low) * share)));
    if (place !== held) react((held = place));
  };
  canvas.classList.add("lim-slide");
  canvas.addEventListener("pointerdown", (event) => {
    held = -1;
    canvas.setPointerCapture(event.pointerId);
    follow(event);
  });
  canvas.addEventListener("pointermove", follow);
  canvas.addEventListener("lostpointercapture", () => { held = null; });
}
