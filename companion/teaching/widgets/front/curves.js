// live_curves: accuracy against compute for several ways, the best of them at every budget, and all in their order at one budget.

/**
 * Of each way at each budget, the mean over the seeds, the lowest and the highest, and all of them; null where the way cannot
 * learn anything yet. Of one task, by its place, or of the mean of all where that is null.
 */
export function summariseWays(accuracy, { firsts, seeds, tasks, budgets }, task = null) {
  const chosen = task === null ? Array.from({ length: tasks }, (_, k) => k) : [task];
  return firsts.map((first, way) => Array.from({ length: budgets }, (_, place) => {
    if (place < first) return null;
    const values = Array.from({ length: seeds }, (_, seed) =>
      chosen.reduce((total, k) => total + accuracy[((way * seeds + seed) * tasks + k) * budgets + place], 0) / chosen.length);
    return { mean: values.reduce((total, value) => total + value, 0) / seeds, low: Math.min(...values), high: Math.max(...values), values };
  }));
}

const inParts = (share) => Math.round(1e9 * share); // equal shares stay equal, however they were added up

/** Some ways at a budget, the best first; those that cannot learn yet at the end. Equal ones keep their order. */
export function rankWays(summaries, shown, place) {
  const worth = (way) => (summaries[way][place] ? inParts(summaries[way][place].mean) : -1);
  return [...shown].sort((one, other) => worth(other) - worth(one));
}

/** Those of the ranked ways that share the first place. */
export function leadersOf(summaries, ranked, place) {
  const best = summaries[ranked[0]][place];
  return best ? ranked.filter((way) => summaries[way][place] && inParts(summaries[way][place].mean) === inParts(best.mean)) : [];
}

/** How much more accurate than a reference, as a share of that; null where there is nothing to compare with. */
export const gainOver = (mean, reference) => (reference > 0 ? mean / reference - 1 : null);

/** In how many seeds the first of the ranked ways is better than all the others; null where it has no rival or there is one seed. */
export function seedsWon(summaries, ranked, place) {
  const [first, ...rivals] = ranked.map((way) => summaries[way][place]).filter(Boolean);
  if (!first || !rivals.length || first.values.length < 2) return null;
  return first.values.filter((value, seed) => rivals.every(({ values }) => inParts(value) > inParts(values[seed]))).length;
}

/** Round numbers on a logarithmic axis, at most `most` of them where the ends are far apart. */
export function logTicks(low, high, most) {
  let ticks = [];
  for (const digits of [[1, 2, 5], [1, 3], [1]]) {
    ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const digit of digits) ticks.push(Number(`${digit}e${power}`));
    }
    ticks = ticks.filter((tick) => tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9));
    if (ticks.length <= most) break;
  }
  if (ticks.length < 2) return roundTicks(low, high, 3);
  const gap = Math.ceil(ticks.length / most);
  return ticks.filter((_, k) => k % gap === 0);
}

/** The lowest end of a logarithmic axis of errors: round, below each error that is not 0, from a thousandth to a half. */
export function lowestError(summaries) {
  const errors = summaries.flat().filter(Boolean).map(({ high }) => 1 - high).filter((error) => inParts(error) > 0);
  const least = Math.max(0.001, Math.min(0.5, ...errors)), power = 10 ** Math.floor(Math.log10(least) + 1e-9);
  const digit = [5, 2, 1].find((each) => each * power <= least * (1 + 1e-9)) ?? 1;
  return Number((digit * power).toPrecision(6));
}

// --- words --------------------------------------------------------------------------------------------------------------

const CURVES_UNIT = 1e9;
const budgetText = (budget) => `${markText(Number((budget / CURVES_UNIT).toPrecision(3)))}\u00a0GFLOP`;
const shareText = (share) => `${(100 * share).toFixed(1)}\u202f%`;

/** A gain with its sign, in percent. */
export function gainText(gain) {
  if (gain === null) return "\u2013";
  const percent = 100 * gain;
  if (percent > 9999) return ">9999\u202f%";
  const text = Math.abs(percent) < 99.95 ? percent.toFixed(1) : percent.toFixed(0);
  if (Number(text) === 0) return "\u00b10\u202f%";
  return `${percent > 0 ? "+" : ""}${text.replace("-", "\u2212")}\u202f%`;
}

const wayQuoted = (name) => `\u2018${name}\u2019`;
/** What a way lacks where it cannot learn. */
const lackText = ({ isTuned }) => (isTuned ? "cannot afford one update" : "cannot afford its head");

/** The one who wins at a budget, in a sentence. `reference` is one of the ranked ways; `ways` have a name and `isTuned`. */
export function winnerText(ways, summaries, ranked, reference, place, budget) {
  const at = (way) => summaries[way][place], name = (way) => wayQuoted(ways[way].name), begin = `At ${budgetText(budget)}, `;
  const leaders = leadersOf(summaries, ranked, place), [first] = leaders, own = at(reference);
  if (!leaders.length) return `${begin}none of the ways shown can afford to learn anything.`;
  const right = `${shareText(at(first).mean)} right`, over = (way) => (at(way).mean > 0 ? `, ${gainText(gainOver(at(first).mean, at(way).mean))} over ${name(way)}` : `, and ${name(way)} nothing`);
  if (ranked.length === 1) return `${begin}${name(first)} has ${right}.`;
  const won = seedsWon(summaries, ranked, place), seeds = at(first).values.length;
  const wins = won === null ? "wins" : `wins (best in ${won} of ${seeds} seeds)`;
  const beside = own ? over(reference) : `; ${name(reference)} ${lackText(ways[reference])}`;
  if (leaders.length > 1) {
    const rest = leaders.length - 2, others = rest ? ` and ${rest} more` : "";
    const both = rest ? leaders.slice(0, 2).map(name).join(", ") : leaders.map(name).join(" and ");
    return `${begin}${both}${others} are level: ${right}${leaders.includes(reference) ? "" : beside}.`;
  }
  if (first !== reference) return `${begin}${name(first)} ${wins}: ${right}${beside}.`;
  return `${begin}${name(first)}, the reference, ${wins}: ${right}${at(ranked[1]) ? over(ranked[1]) : "; no other way shown can afford to learn anything"}.`;
}

// --- the picture ------------------------------------------------------------------------------------------------------

const CURVES_PACE = 1000; // milliseconds from one budget to the next in a play
const CURVES_LEFT = 54; // pixels for the heights' names
const CURVES_HUES = 6;
const CURVES_DASHES = [[], [9, 4], [2.5, 3], [10, 3, 2.5, 3], [5, 3]];
const CURVES_PLACES = 1000; // that a drag along the plot tells apart

/** Lines of all ways that are on show, who wins at the budget, and a list of all at that budget. */
function renderCurves({ model, el }) {
  const card = makeCard(model, el);
  card.root.classList.add("lim-curves");
  const [names, groups, tasks, budgets, steps, firsts, seeds] =
    ["names", "groups", "tasks", "budgets", "steps", "firsts", "seeds"].map((name) => model.get(name));
  const accuracy = typed(Float64Array, model.get("accuracy")), last = budgets.length - 1;
  const size = { firsts, seeds, budgets: budgets.length, tasks: accuracy.length / (names.length * seeds * budgets.length) };
  const reference = model.get("reference_index");
  const state = { place: model.get("budget_index"), task: null, shownAs: model.get("shown_as_index"), across: model.get("across_index"), shown: new Set(model.get("shown")), lit: null };
  if (model.get("task_index")) state.task = model.get("task_index") - 1;

  // --- the ways ---------------------------------------------------------------------------------------------------------
  const hues = [...new Set(groups.filter((_, way) => way !== reference))], seen = groups.map(() => 0); // ways of each group so far
  const ways = names.map((name, way) => {
    const isTuned = steps[way].some(Boolean), colour = way === reference ? "ink" : `way-${hues.indexOf(groups[way])}`;
    const k = way === reference ? 0 : seen[groups[way]]++;
    return { name, isTuned, colour, dash: CURVES_DASHES[k % CURVES_DASHES.length], mark: CLASS_MARKS[k % CLASS_MARKS.length], width: way === reference ? 3 : 2, swatches: [] };
  });
  let summaries, floor, ranked = [], inks = {}, inksOf = null;
  const shownWays = () => names.map((_, way) => way).filter((way) => state.shown.has(way));
  const bestAt = (place) => shownWays().reduce((best, way) => Math.max(best, summaries[way][place]?.mean ?? -1), -1);
  const taskName = () => (state.task === null ? (size.tasks > 1 ? `mean of ${size.tasks} tasks` : tasks[0] ?? "") : tasks[state.task]);

  /** A piece of a way's line with its mark, as the picture has it. */
  function addSwatch(way) {
    const swatch = element("canvas", { className: "lim-swatch" });
    swatch.setAttribute("aria-hidden", "true");
    ways[way].swatches.push(swatch);
    return swatch;
  }

  function drawSwatches() {
    const ratio = window.devicePixelRatio || 1;
    for (const way of ways) {
      for (const swatch of way.swatches) {
        [swatch.width, swatch.height] = [36 * ratio, 14 * ratio];
        const pen = swatch.getContext("2d");
        pen.scale(ratio, ratio);
        pen.setLineDash(way.dash);
        line(pen, [0, 7, 36, 7], inks[way.colour], way.width);
        fillMarks(pen, way.mark, [18, 7], inks[way.colour], 1, 4.2, -1);
      }
    }
  }

  /** The hues of the groups in the theme of now. */
  function readInks(canvas, colours) {
    const style = getComputedStyle(canvas);
    inks = { ink: colours.ink };
    for (let k = 0; k < CURVES_HUES; k++) inks[`way-${k}`] = style.getPropertyValue(`--lim-way-${k}`).trim();
    inksOf = colours;
    drawSwatches();
  }

  // --- the axes -----------------------------------------------------------------------------------------------------------
  const [isLogError, isError] = [() => state.shownAs === 2, () => state.shownAs > 0], isLogAcross = () => state.across === 0;
  const heightOf = (share) => (isLogError() ? Math.log10(Math.max(floor, 1 - share)) : isError() ? 1 - share : share);
  const placeOf = (budget) => (isLogAcross() ? Math.log10(budget / CURVES_UNIT) : budget / CURVES_UNIT);

  function rangeAcross() {
    const [low, high] = [placeOf(budgets[0]), placeOf(budgets[last])];
    return isLogAcross() ? [low - 0.03 * (high - low), high + 0.03 * (high - low)] : [0, 1.03 * high];
  }

  function drawAxes(pen, colours, width, height) {
    const up = isLogError() ? [Math.log10(floor), 0] : [0, 1], plot = plotArea(width, height, rangeAcross(), up, { left: CURVES_LEFT, above: 10 });
    const percent = (share) => `${markText(Number((100 * share).toPrecision(6)))}\u202f%`;
    const marks = isLogError() ? logTicks(floor, 1, (plot.base - plot.top) / 24) : roundTicks(0, 1, 5), isCut = summaries.flat().some((each) => each && 1 - each.high < floor - 1e-9);
    const heights = marks.map((mark) => [isLogError() ? Math.log10(mark) : mark, `${isLogError() && isCut && mark === floor ? "\u2264" : ""}${percent(mark)}`]);
    for (const [at] of heights) line(pen, [plot.left, plot.at(0, at)[1], plot.right, plot.at(0, at)[1]], colours.line, 1);
    const most = (plot.right - plot.left) / 36;
    const ticks = isLogAcross() ? logTicks(budgets[0] / CURVES_UNIT, budgets[last] / CURVES_UNIT, most) : roundTicks(0, budgets[last] / CURVES_UNIT, most / 2);
    drawTicks(pen, plot, colours, { across: "training compute, GFLOP", heights, places: ticks.map((tick) => [isLogAcross() ? Math.log10(tick) : tick, markText(tick)]) });
    return plot;
  }

  // --- the lines ----------------------------------------------------------------------------------------------------------
  const pointsOf = (plot, heights) => heights.flatMap((share, place) => (share === null ? [] : plot.at(placeOf(budgets[place]), heightOf(share))));

  function drawBest(pen, plot, colours) {
    const best = budgets.map((_, place) => bestAt(place)).map((share) => (share < 0 ? null : share));
    pen.lineCap = "round";
    line(pen, pointsOf(plot, best), colours.ink, 11, 0.2);
    pen.lineCap = "butt";
  }

  function drawBand(pen, plot, way) {
    const [low, high] = ["low", "high"].map((end) => pointsOf(plot, summaries[way].map((each) => each && each[end])));
    pen.fillStyle = inks[ways[way].colour];
    pen.globalAlpha = state.lit === null ? 0.1 : state.lit === way ? 0.3 : 0.03;
    pen.beginPath();
    for (let i = 0; i < low.length; i += 2) pen.lineTo(low[i], low[i + 1]);
    for (let i = high.length - 2; i >= 0; i -= 2) pen.lineTo(high[i], high[i + 1]);
    pen.fill();
    pen.globalAlpha = 1;
  }

  function drawWay(pen, plot, way) {
    const { colour, dash, mark, width } = ways[way], points = pointsOf(plot, summaries[way].map((each) => each && each.mean));
    const opacity = state.lit === null || state.lit === way ? 1 : 0.25;
    pen.setLineDash(dash);
    line(pen, points, inks[colour], width, opacity);
    pen.setLineDash([]);
    fillMarks(pen, mark, points, inks[colour], opacity, 3.4, -1);
  }

  function drawAtBudget(pen, plot, colours) {
    const leaders = leadersOf(summaries, ranked, state.place);
    for (const way of [...ranked].reverse()) {
      const here = summaries[way][state.place];
      if (!here) continue;
      const point = plot.at(placeOf(budgets[state.place]), heightOf(here.mean)), { mark, colour } = ways[way];
      fillMarks(pen, mark, point, colours.surface, 1, 7.2, -1);
      fillMarks(pen, mark, point, inks[colour], 1, 5, -1);
      if (leaders.includes(way)) ring(pen, point, 10, colours.ink);
    }
  }

  function draw(pen, colours, width, height) {
    if (inksOf !== colours) readInks(pen.canvas, colours);
    const plot = drawAxes(pen, colours, width, height), [now] = plot.at(placeOf(budgets[state.place]), 0);
    const inOrder = [...shownWays().filter((way) => way !== reference), reference];
    drawBest(pen, plot, colours);
    for (const way of inOrder) drawBand(pen, plot, way);
    line(pen, [now, plot.top - 4, now, plot.base], colours.ink, 1.4, 0.8);
    for (const way of inOrder) drawWay(pen, plot, way);
    drawAtBudget(pen, plot, colours);
  }

  const scene = addScene(card, { caption: "", alt: "", shape: 1.25, narrow: 1.05, draw });

  // --- which are shown ------------------------------------------------------------------------------------------------------
  /** One way stands out while something that names it is pointed at, or has the keyboard. */
  function lightUp(node, way) {
    const light = (lit) => { if (state.lit !== lit) { state.lit = lit; scene.redraw(); } };
    node.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse" && state.shown.has(way)) light(way); });
    node.addEventListener("focusin", (event) => { if (state.shown.has(way) && event.target.matches(":focus-visible")) light(way); });
    for (const name of ["pointerleave", "focusout"]) node.addEventListener(name, () => light(null));
  }

  const chips = names.map((name, way) => {
    const input = element("input", { type: "checkbox", checked: state.shown.has(way), disabled: way === reference });
    input.addEventListener("change", () => {
      state.shown[input.checked ? "add" : "delete"](way);
      state.lit = null;
      refresh();
    });
    const chip = element("label", { className: "lim-way" }, input, addSwatch(way), element("span", { textContent: way === reference ? `${name} (reference)` : name }));
    lightUp(chip, way);
    return chip;
  });
  const key = makeKey([["best of the ways shown", "lim-best", "ink"], [`lowest to highest of ${seeds} seeds`, "lim-band", "soft"]].slice(0, seeds > 1 ? 2 : 1));
  const choice = element("fieldset", { className: "lim-ways" }, element("legend", { textContent: "Ways shown" }), element("div", { className: "lim-choices" }, ...chips));

  // --- the list at the budget -----------------------------------------------------------------------------------------------
  const rows = names.map((name, way) => {
    const bar = element("span", { className: "lim-bar" });
    bar.style.setProperty("--dot", way === reference ? "var(--lim-ink)" : `var(--lim-${ways[way].colour})`);
    const head = element("th", { scope: "row" }, element("span", { className: "lim-named" }, addSwatch(way), element("span", { textContent: name })), bar);
    const row = element("tr", {}, head, ...[0, 1, 2].map(() => element("td"))), lack = element("td", { colSpan: 3, className: "lim-lack", textContent: lackText(ways[way]) });
    if (way === reference) row.cells[3].className = "lim-self";
    lightUp(row, way);
    return { row, head, bar, cells: [...row.cells].slice(1), lack };
  });
  const body = element("tbody"), heads = ["way", "right", "updates", "gain"].map((textContent) => element("th", { scope: "col", textContent }));
  const table = element("table", { className: "lim-table" }, element("thead", {}, element("tr", {}, ...heads)), body);

  function fillRow(way) {
    const { row, head, bar, cells, lack } = rows[way], here = summaries[way][state.place], own = summaries[reference][state.place];
    if (row.contains(lack) !== !here) row.replaceChildren(head, ...(here ? cells : [lack]));
    bar.style.setProperty("--share", here ? here.mean : 0);
    bar.style.setProperty("--reference", own ? own.mean : -1);
    if (!here) return;
    const count = steps[way][state.place], gain = own ? gainText(gainOver(here.mean, own.mean)) : "\u2013";
    [shareText(here.mean), count ? String(count) : "none", way === reference ? "reference" : gain].forEach((text, k) => { cells[k].textContent = text; });
  }

  function fillTable() {
    const leaders = leadersOf(summaries, ranked, state.place);
    for (const way of ranked) {
      fillRow(way);
      rows[way].row.classList.toggle("lim-leader", leaders.includes(way));
    }
    const order = ranked.map((way) => rows[way].row);
    if (order.some((row, k) => body.rows[k] !== row) || body.rows.length !== order.length) body.replaceChildren(...order);
    table.setAttribute("aria-label", `All ways shown at ${budgetText(budgets[state.place])}, the best first; gain over ${wayQuoted(names[reference])}`);
  }

  // --- words --------------------------------------------------------------------------------------------------------------
  const sentence = element("p", { className: "lim-winner" }), said = element("span");
  said.setAttribute("role", "status");
  card.pictures.before(sentence);
  const sentenceAt = (place) => winnerText(ways, summaries, rankWays(summaries, shownWays(), place), reference, place, budgets[place]);

  /** Room for the longest sentence of all budgets, so that nothing moves while the budget does. */
  function makeRoom() {
    const hidden = budgets.map((_, place) => element("span", { textContent: sentenceAt(place), className: "lim-room" }));
    for (const each of hidden) each.setAttribute("aria-hidden", "true");
    sentence.replaceChildren(said, ...hidden);
  }

  /** Who is the best of the ways shown, from budget to budget. */
  function bestInWords() {
    const runs = [];
    budgets.forEach((budget, place) => {
      const [leader] = leadersOf(summaries, rankWays(summaries, shownWays(), place), place), name = leader === undefined ? "none" : wayQuoted(names[leader]);
      if (runs.at(-1)?.name === name) runs.at(-1).to = budget;
      else runs.push({ name, from: budget, to: budget });
    });
    return runs.map(({ name, from, to }) => `${name} ${from === to ? `at ${budgetText(from)}` : `from ${budgetText(from)} to ${budgetText(to)}`}`).join(", ");
  }

  function pictureInWords() {
    const part = (share) => shareText(isError() ? 1 - share : share);
    const here = ranked.map((way) => {
      const at = summaries[way][state.place];
      return `${names[way]} ${at ? `${part(at.mean)} (${part(isError() ? at.high : at.low)} to ${part(isError() ? at.low : at.high)})` : lackText(ways[way])}`;
    });
    return `${scene.title.textContent}${taskName() ? `, ${taskName()}` : ""}, mean and range of ${seeds} seeds. At ${budgetText(budgets[state.place])}: ${here.join("; ")}. `
      + `Best of those shown: ${bestInWords()}. ${model.get("alt")}`;
  }

  function show(place) {
    state.place = place;
    slider.set(place);
    ranked = rankWays(summaries, shownWays(), place);
    said.textContent = sentenceAt(place);
    fillTable();
    scene.redraw();
    scene.canvas.setAttribute("aria-label", pictureInWords());
  }

  /** Everything that does not hang on the budget, then the budget. */
  function refresh() {
    summaries = summariseWays(accuracy, size, state.task);
    floor = lowestError(summaries);
    scene.title.textContent = isError() ? "Error against compute" : "Accuracy against compute";
    scene.value.textContent = taskName();
    makeRoom();
    show(state.place);
  }

  // --- controls -------------------------------------------------------------------------------------------------------------
  const slider = addSlider(card, { label: "Budget", min: 0, max: last, step: 1, value: state.place, show: (place) => budgetText(budgets[place]) }, (place) => player.rest(place));
  if (tasks.length > 1) {
    addSelect(card, { label: "Task", options: ["mean of all", ...tasks], index: state.task === null ? 0 : state.task + 1 }, (index) => {
      state.task = index ? index - 1 : null;
      refresh();
    });
  }
  addSelect(card, { label: "Shown", options: ["accuracy", "error", "error (log)"], index: state.shownAs }, (index) => { state.shownAs = index; refresh(); });
  addSelect(card, { label: "Compute axis", options: ["logarithmic", "linear"], index: state.across }, (index) => { state.across = index; refresh(); });
  const player = addPlayer(card, { steps: last, span: CURVES_PACE * last, first: state.place, show, once: "Next" });

  card.pictures.append(element("div", { className: "lim-column" }, scene.canvas.parentElement, key), choice, element("div", { className: "lim-column" }, table));
  slideAlong(scene.canvas, { left: CURVES_LEFT }, [0, CURVES_PLACES], CURVES_PLACES, (at) => {
    const [low, high] = rangeAcross(), wanted = low + (high - low) * at / CURVES_PLACES;
    const gaps = budgets.map((budget) => Math.abs(placeOf(budget) - wanted)), nearest = gaps.indexOf(Math.min(...gaps));
    if (nearest !== state.place) player.rest(nearest);
  });
  card.note.textContent = model.get("note");
  refresh();
  player.rest();
  return () => { player.stop(); scene.stop(); };
}
