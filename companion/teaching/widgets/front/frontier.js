// live_frontier: error against operations of learners at several budgets, with the search counted or not, and the frontier.

/**
 * All points of the learners, for one part of the stream. `share` of the search is counted: 0 or 1, or between them while the
 * points move. `errors` go by learner, budget, part and seed.
 */
export function frontierPoints({ budgets, training, search, errors, parts, seeds }, part, share) {
  let count = 0;
  return budgets.flatMap((own, learner) => own.map((budget, place) => {
    const begin = (count++ * parts.length + part) * seeds, values = Array.from(errors.subarray(begin, begin + seeds));
    return {
      learner, budget, values, training: training[learner][place], search: search[learner][place],
      operations: training[learner][place] + share * search[learner][place],
      mean: values.reduce((total, value) => total + value, 0) / seeds, low: Math.min(...values), high: Math.max(...values),
    };
  }));
}

/** Those of the points that a limit on the operations leaves. */
export const frontierWithin = (points, limit) => points.filter(({ operations }) => operations <= limit * (1 + 1e-9));

/** Those of the points that no other one equals or beats in both, error and operations, and beats in one; by operations. */
export function frontierOf(points) {
  const inOrder = [...points].sort((one, other) => one.operations - other.operations || inParts(one.mean) - inParts(other.mean));
  const found = [];
  for (const point of inOrder) {
    const last = found.at(-1), gap = last ? inParts(point.mean) - inParts(last.mean) : -1;
    if (gap < 0 || (gap === 0 && point.operations === last.operations)) found.push(point);
  }
  return found;
}

/** Of each learner, the one of its points with the lowest error, the cheaper one of equal ones; null where it has none. */
export function frontierBest(points, learners) {
  const best = Array.from({ length: learners }, () => null);
  for (const point of points) {
    const held = best[point.learner], gap = held ? inParts(point.mean) - inParts(held.mean) : -1;
    if (gap < 0 || (gap === 0 && point.operations < held.operations)) best[point.learner] = point;
  }
  return best;
}

/** Some learners by the error of their best points, the lowest first, those without a point last; equal ones keep their order. */
export function frontierRanked(best, shown) {
  const worth = (learner) => (best[learner] ? inParts(best[learner].mean) : Infinity);
  return [...shown].sort((one, other) => (worth(one) === worth(other) ? 0 : worth(one) - worth(other)));
}

/** The limit at a place of its slider: equal ratios from the lowest number of operations to the highest, and none at the last place. */
export const frontierLimit = ([low, high], place, last) => (place >= last ? Infinity : low * (high / low) ** (place / last));

/** The ends of an axis of errors: round, around the errors of all seeds of some points, inside [0, 1]. */
export function frontierHeights(points) {
  if (!points.length) return [0, 1];
  let [low, high] = [Math.min(...points.map((point) => point.low)), Math.max(...points.map((point) => point.high))];
  if (high - low < 0.02) [low, high] = [Math.max(0, low - 0.01), Math.min(1, high + 0.01)];
  const [one, other] = roundTicks(low, high, 5), step = other - one;
  const [bottom, ceiling] = [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step];
  return [Math.max(0, bottom), Math.min(1, ceiling)].map((end) => Number(end.toPrecision(9)));
}

/** In how many seeds the first of two points has the lower error. */
export const frontierWon = (one, other) => one.values.filter((value, seed) => inParts(value) < inParts(other.values[seed])).length;

// --- words --------------------------------------------------------------------------------------------------------------

/** Operations in GFLOP, three digits of them, without the unit. */
export function gflopText(operations) {
  const value = Number((operations / 1e9).toPrecision(3));
  if (value !== 0 && (value < 1e-3 || value >= 1e6)) return inPowers(value.toExponential());
  return String(value).replace(/^\d{4,}$/, (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ","));
}

/** How far one error is ahead of another, in points of percent, with its sign. */
export function aheadText(own, reference) {
  const text = (100 * (reference - own)).toFixed(1);
  return Number(text) === 0 ? "\u00b10" : `${text.startsWith("-") ? "" : "+"}${text.replace("-", "\u2212")}`;
}

const inGflop = (operations) => `${gflopText(operations)}\u00a0GFLOP`;
const limitText = (limit) => (limit === Infinity ? "Without a limit, " : `Within ${inGflop(limit)}, `);

/** One point's error beside another's: how far below or above, and in how many of the seeds it is lower. */
function besideText(one, other, name) {
  const gap = inParts(other.mean) - inParts(one.mean), size = (100 * Math.abs(other.mean - one.mean)).toFixed(1);
  const far = Number(size) ? `${size} points` : "less than 0.1 points", seeds = one.values.length;
  const said = gap ? `${far} ${gap > 0 ? "below" : "above"} ${name}` : `level with ${name}`;
  return `${said}${seeds > 1 ? `, lower in ${frontierWon(one, other)} of ${seeds} seeds` : ""}`;
}

/** Who has the lowest error, in a sentence: `best` points of all learners, those on show ranked, the one they are compared with. */
export function lowestText(names, best, ranked, reference, limit) {
  if (!ranked.length) return "No learner is shown.";
  const begin = limitText(limit), name = (learner) => wayQuoted(names[learner]), top = best[ranked[0]];
  if (!top) return `${begin}none of the learners shown is affordable.`;
  const leaders = ranked.filter((learner) => best[learner] && inParts(best[learner].mean) === inParts(top.mean));
  const [first, second] = leaders, error = shareText(top.mean), rest = leaders.length - 2;
  if (rest >= 0) return `${begin}${name(first)}${rest ? `, ${name(second)} and ${rest} more` : ` and ${name(second)}`} share the lowest error, ${error}.`;
  if (first !== reference) {
    const own = best[reference];
    return `${begin}${name(first)} has the lowest error, ${error}${own ? `: ${besideText(top, own, name(reference))}` : `; ${name(reference)} is not affordable`}.`;
  }
  const rival = best[ranked[1]];
  if (ranked.length === 1) return `${begin}${name(first)} has an error of ${error}.`;
  return `${begin}${name(first)}, the reference, has the lowest error, ${error}${rival ? `: ${besideText(top, rival, name(rival.learner))}` : "; no other learner shown is affordable"}.`;
}

/** How the places of a learner on the frontier change, as a verb and what follows it. */
function changeOf(before, after) {
  if (before && !after) return ["leave", "the frontier"];
  if (after < before) return ["keep", `${after} of ${before} places on the frontier`];
  return ["stay", `${after ? "on" : "off"} the frontier`];
}

/**
 * What counting the search changes, in a sentence: of the learner that loses most by it. `without` and `counted` are the same
 * points on show with the search left out and counted; `isCounted` says which of the two is seen now.
 */
export function searchText(names, without, counted, limit, isCounted) {
  if (!without.some(({ search }) => search > 0)) return without.length ? "None of the learners shown searches." : "";
  const [before, after] = [without, counted].map((points) => frontierOf(frontierWithin(points, limit)));
  const held = new Set(after.map((point) => counted.indexOf(point))), best = frontierBest(frontierWithin(without, limit), names.length);
  const moves = best.filter((point) => point && without.some(({ learner, search }) => learner === point.learner && search > 0)).map((point) => {
    const own = before.filter(({ learner }) => learner === point.learner), lost = own.filter((each) => !held.has(without.indexOf(each)));
    const [places, kept] = [own.length, after.filter(({ learner }) => learner === point.learner).length];
    const at = frontierBest(lost, names.length)[point.learner] ?? point;
    return { at, places, kept, leaves: places > 0 && kept === 0, ratio: at.search / at.training };
  });
  if (!moves.length) return "With the search left out, too, none of the learners shown that search is affordable.";
  const [lead, ...others] = moves.sort((one, other) => other.leaves - one.leaves || (other.places - other.kept) - (one.places - one.kept) || other.ratio - one.ratio);
  const { at, places, kept } = lead, [verb, rest] = changeOf(places, kept), total = at.training + at.search;
  const moved = `${wayQuoted(names[at.learner])} (budget ${at.budget})`, span = `from ${gflopText(at.training)} to ${inGflop(total)}${total > limit * (1 + 1e-9) ? ", beyond the limit" : ""}`;
  const too = lead.leaves ? others.filter(({ leaves }) => leaves) : [], who = too.length === 1 ? wayQuoted(names[too[0].at.learner]) : `${too.length} more`;
  const said = isCounted ? `Counting the search moves ${moved} ${span}: it ${verb}s ${rest}.` : `If the search is counted, ${moved} moves ${span}: it ${verb}s ${rest}.`;
  return too.length ? `${said} So ${too.length === 1 ? "does" : "do"} ${who}.` : said;
}

// --- the picture ------------------------------------------------------------------------------------------------------

const FRONTIER_PLACES = 100; // of the limit
const FRONTIER_MOVE = 700; // milliseconds that points move for when the search gets counted
const FRONTIER_LEFT = 54; // pixels for the heights' names
const FRONTIER_HUES = 6;
const FRONTIER_REACH = 14; // pixels from a point to the pointer

/** The points of the learners on show, their frontier, a limit on the operations, and a list of who does best within it. */
function renderFrontier({ model, el }) {
  const card = makeCard(model, el);
  card.root.classList.add("lim-frontier");
  const data = Object.fromEntries(["budgets", "training", "search", "parts", "seeds"].map((name) => [name, model.get(name)]));
  data.errors = typed(Float64Array, model.get("errors"));
  const names = model.get("names"), reference = model.get("reference_index"), { parts, seeds } = data, last = FRONTIER_PLACES;
  const state = { counted: model.get("counted"), share: Number(model.get("counted")), part: 0, place: last, shown: new Set(model.get("shown")), lit: null };
  const alike = parts.map((_, part) => [0, 1].map((share) => frontierPoints(data, part, share))); // by part, then with the search left out and counted
  const ends = [Math.min(...data.training.flat()), Math.max(...alike[0][1].map(({ operations }) => operations))];
  const limitAt = (place) => frontierLimit(ends, place, last);
  let best = [], ranked = [], heights = [0, 1], onFrontier = [], spots = [], inks = {}, inksOf = null, clock = null;

  // --- the learners -----------------------------------------------------------------------------------------------------
  const others = names.map((_, learner) => learner).filter((learner) => learner !== reference);
  const learners = names.map((name, learner) => {
    const k = others.indexOf(learner);
    if (k < 0) return { name, colour: "ink", mark: CLASS_MARKS[0], dash: [], width: 2.6, swatches: [] };
    const turn = Math.floor(k / FRONTIER_HUES);
    return { name, colour: `learner-${k % FRONTIER_HUES}`, mark: CLASS_MARKS[(k + turn + 1) % CLASS_MARKS.length], dash: CURVES_DASHES[(k + turn) % CURVES_DASHES.length], width: 1.7, swatches: [] };
  });
  const ofShown = (points) => points.filter(({ learner }) => state.shown.has(learner));
  const shownLearners = () => names.map((_, learner) => learner).filter((learner) => state.shown.has(learner));
  const partName = () => (parts.length > 1 ? parts[state.part] : "");

  /** A mark on the surface's colour: full, or an outline. */
  function drawMark(pen, { mark, colour }, point, isFull, opacity, radius, surface) {
    fillMarks(pen, mark, point, surface, 1, radius + 1.6, -1);
    if (isFull) { fillMarks(pen, mark, point, inks[colour], opacity, radius, -1); return; }
    traceMarks(pen, mark, point, radius - 0.7, -1);
    pen.globalAlpha = opacity;
    [pen.strokeStyle, pen.lineWidth] = [inks[colour], 1.7];
    pen.stroke();
    pen.globalAlpha = 1;
  }

  /** A piece of a learner's line with its mark, full or not. */
  function addSwatch(learner) {
    const canvas = element("canvas", { className: "lim-swatch" }), swatch = { canvas, isFull: true };
    canvas.setAttribute("aria-hidden", "true");
    learners[learner].swatches.push(swatch);
    return swatch;
  }

  function drawSwatches() {
    const ratio = window.devicePixelRatio || 1;
    for (const each of learners) {
      for (const { canvas, isFull } of each.swatches) {
        [canvas.width, canvas.height] = [36 * ratio, 14 * ratio];
        const pen = canvas.getContext("2d");
        pen.scale(ratio, ratio);
        pen.setLineDash(each.dash);
        line(pen, [0, 7, 36, 7], inks[each.colour], each.width);
        pen.setLineDash([]);
        drawMark(pen, each, [18, 7], isFull, 1, 4.4, inks.surface);
      }
    }
  }

  function readInks(canvas, colours) {
    const style = getComputedStyle(canvas);
    inks = { ink: colours.ink, surface: colours.surface };
    for (let k = 0; k < FRONTIER_HUES; k++) inks[`learner-${k}`] = style.getPropertyValue(`--lim-learner-${k}`).trim();
    inksOf = colours;
    drawSwatches();
  }

  // --- drawing ----------------------------------------------------------------------------------------------------------
  const acrossOf = (operations) => Math.log10(operations / 1e9);
  function rangeAcross() {
    const [low, high] = ends.map(acrossOf), beyond = high - low < 0.1 ? 0.3 : 0.04 * (high - low);
    return [low - beyond, high + beyond];
  }

  function drawAxes(pen, colours, width, height) {
    const plot = plotArea(width, height, rangeAcross(), heights, { left: FRONTIER_LEFT, above: 12 });
    const up = roundTicks(...heights, 5).map((tick) => [tick, `${Number((100 * tick).toPrecision(4))}\u202f%`]);
    for (const [tick] of up) line(pen, [plot.left, plot.at(0, tick)[1], plot.right, plot.at(0, tick)[1]], colours.line, 1);
    const fits = (tick) => plot.at(Math.log10(tick), 0)[0] < plot.right - 12;  // a number at the edge would be cut off
    const ticks = logTicks(...rangeAcross().map((end) => 10 ** end), (plot.right - plot.left) / 54).filter(fits);
    drawTicks(pen, plot, colours, { across: "operations on the whole stream, GFLOP", heights: up, places: ticks.map((tick) => [Math.log10(tick), gflopText(1e9 * tick)]) });
    return plot;
  }

  /** A pale staircase from the cheapest point of the frontier to the limit; what lies above it is beaten. */
  function drawStairs(pen, plot, colours, end) {
    if (!onFrontier.length) return;
    const stairs = [], [[start]] = onFrontier.map((point) => plot.at(acrossOf(point.operations), point.mean));
    let height = plot.top;
    for (const point of onFrontier) {
      const [x, y] = plot.at(acrossOf(point.operations), point.mean);
      stairs.push(x, height, x, y);
      height = y;
    }
    stairs.push(end, height);
    pen.fillStyle = colours.ink;
    pen.globalAlpha = 0.045;
    pen.beginPath();
    for (let i = 0; i < stairs.length; i += 2) pen.lineTo(stairs[i], stairs[i + 1]);
    pen.lineTo(end, plot.top);
    pen.lineTo(start, plot.top);
    pen.fill();
    line(pen, stairs, colours.ink, 9, 0.2);
  }

  const isFaint = (learner) => state.lit !== null && state.lit !== learner;

  /** A line through a learner's own frontier, or its marks, those on the frontier or the others; what is beyond the limit is faint. */
  function drawLearner(pen, plot, colours, learner, limit, what) {
    const each = learners[learner], own = spots.filter(({ point }) => point.learner === learner), places = new Map(own.map(({ at, point }) => [point, at]));
    const opacityOf = (point, faint) => (point.operations <= limit * (1 + 1e-9) ? 1 : faint) * (isFaint(learner) ? 0.2 : 1);
    if (what === "line") {
      const path = frontierOf([...places.keys()]);
      pen.setLineDash(each.dash);
      for (let k = 1; k < path.length; k++) line(pen, path.slice(k - 1, k + 1).flatMap((point) => places.get(point)), inks[each.colour], each.width, 0.75 * opacityOf(path[k], 0.25));
      pen.setLineDash([]);
      return;
    }
    const isFull = what === "full";
    for (const { at, point } of own.filter((one) => onFrontier.includes(one.point) === isFull)) {
      const opacity = opacityOf(point, 0.3), [low, high] = [point.low, point.high].map((error) => plot.at(0, error)[1]);
      if (high !== low) line(pen, [at[0], low, at[0], high], inks[each.colour], 1.4, 0.65 * opacity);
      drawMark(pen, each, at, isFull, opacity, isFull ? 5.6 : 4.8, colours.surface);
    }
  }

  /** The budgets of the learner that stands out, beside its points: above them, or below where another one is written. */
  function writeBudgets(pen, plot, colours) {
    const written = [];
    for (const { at: [x, y], point } of spots) {
      if (point.learner !== state.lit) continue;
      const isLeft = x > plot.right - 60, above = Math.max(plot.top + 10, y - 8);
      const isTaken = (height) => written.some(([across, down]) => Math.abs(across - x) < 60 && Math.abs(down - height) < 15);
      const height = [above, Math.min(plot.base - 4, y + 17), above - 16].find((each) => !isTaken(each)) ?? above;
      written.push([x, height]);
      write(pen, point.budget, x + (isLeft ? -9 : 9), height, colours.ink, isLeft ? "right" : "left", 600);
    }
  }

  function draw(pen, colours, width, height) {
    if (inksOf !== colours) readInks(pen.canvas, colours);
    const plot = drawAxes(pen, colours, width, height), limit = limitAt(state.place);
    const moving = ofShown(state.share === 0 || state.share === 1 ? alike[state.part][state.share] : frontierPoints(data, state.part, state.share));
    const end = limit === Infinity ? plot.right : plot.at(acrossOf(limit), 0)[0];
    onFrontier = frontierOf(frontierWithin(moving, limit));
    spots = moving.map((point) => ({ point, at: plot.at(acrossOf(point.operations), point.mean) }));
    write(pen, "\u2199 better", plot.left + 8, plot.base - 9, colours.soft, "left");
    drawStairs(pen, plot, colours, end);
    if (limit !== Infinity) line(pen, [end, plot.top - 4, end, plot.base], colours.ink, 1.4, 0.8);
    const lit = shownLearners().filter((each) => each === state.lit), inOrder = [...shownLearners().filter((each) => each !== state.lit), ...lit];
    const drawAll = (chosen, ...parts) => parts.forEach((what) => chosen.forEach((learner) => drawLearner(pen, plot, colours, learner, limit, what)));
    drawAll(inOrder, "line", "hollow", "full");
    drawAll(lit, "hollow", "full");
    writeBudgets(pen, plot, colours);
  }

  const scene = addScene(card, { caption: "Error against operations", alt: "", shape: 1.35, narrow: 1.05, draw });

  // --- which are shown ----------------------------------------------------------------------------------------------------
  function light(lit, point = null) {
    scene.value.textContent = point ? `${shareText(point.mean)}, ${inGflop(point.operations)}: ${names[point.learner]}, ${point.budget}` : partName();
    if (state.lit !== lit) { state.lit = lit; scene.redraw(); }
  }

  function lightUp(node, learner) {
    node.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse" && state.shown.has(learner)) light(learner); });
    node.addEventListener("focusin", (event) => { if (state.shown.has(learner) && event.target.matches(":focus-visible")) light(learner); });
    for (const name of ["pointerleave", "focusout"]) node.addEventListener(name, () => light(null));
  }

  const chips = names.map((name, learner) => {
    const input = element("input", { type: "checkbox", checked: state.shown.has(learner) });
    input.addEventListener("change", () => {
      state.shown[input.checked ? "add" : "delete"](learner);
      state.lit = null;
      refresh();
    });
    const chip = element("label", { className: "lim-way" }, input, addSwatch(learner).canvas, element("span", { textContent: learner === reference ? `${name} (reference)` : name }));
    lightUp(chip, learner);
    return chip;
  });
  const choice = element("fieldset", { className: "lim-ways" }, element("legend", { textContent: "Learners shown" }), element("div", { className: "lim-choices" }, ...chips));
  const key = makeKey([
    ["the frontier", "lim-stairs", "ink"], ["on it", "lim-full", "ink"], ["beaten by another point", "lim-empty", "ink"], ["a learner\u2019s own frontier", "lim-own", "ink"],
    ...(seeds > 1 ? [[`lowest to highest of ${seeds} seeds`, "lim-span", "ink"]] : []),
  ]);

  // --- the list within the limit --------------------------------------------------------------------------------------------
  const twoLines = (texts = []) => ["lim-cell", "lim-cell lim-under"].map((className, k) => element("span", { className, textContent: texts[k] ?? "" }));
  const columns = ["lim-cost", "lim-error-of", "lim-ahead"];
  const rows = names.map((name, learner) => {
    const swatch = addSwatch(learner), under = element("span", { className: "lim-under lim-narrow" });
    const head = element("th", { scope: "row" }, element("span", { className: "lim-named" }, swatch.canvas, element("span", { textContent: name })), under);
    const budget = element("td", { className: "lim-budget" }), lack = element("td", { colSpan: 3, className: "lim-lack", textContent: "not affordable" });
    const [cost, error, ahead] = columns.map((className) => element("td", { className }, ...twoLines()));
    const row = element("tr", {}, head, budget, cost, error, ahead);
    lightUp(row, learner);
    return { row, head, under, swatch, budget, lack, cells: [cost, error, ahead], lines: [cost, error, ahead].map((cell) => [...cell.children]) };
  });
  const texts = [["GFLOP"], ["error", seeds > 1 ? "\u00b1 half range" : ""], ["ahead", seeds > 1 ? "points, seeds" : "points"]];
  const heads = columns.map((className, k) => element("th", { scope: "col", className }, ...twoLines(texts[k]))), costHead = heads[0].lastChild, body = element("tbody");
  heads.unshift(element("th", { scope: "col", textContent: "learner" }), element("th", { scope: "col", className: "lim-budget", textContent: "budget" }));
  const table = element("table", { className: "lim-table" }, element("thead", {}, element("tr", {}, ...heads)), body);

  function fillRow(learner, found) {
    const { row, head, under, swatch, budget, lack, cells, lines } = rows[learner], here = best[learner], own = best[reference];
    if (row.contains(lack) !== !here) row.replaceChildren(head, budget, ...(here ? cells : [lack]));
    swatch.isFull = here !== null && found.includes(here);
    under.textContent = here ? `budget ${here.budget}` : "\u00a0";
    budget.textContent = here ? here.budget : "";
    if (!here) return;
    const parted = state.counted ? `${gflopText(here.training)} + ${gflopText(here.search)}` : `${gflopText(here.training)} (+ ${gflopText(here.search)})`;
    const written = [[gflopText(here.operations), parted], [shareText(here.mean), seeds > 1 ? `\u00b1 ${(50 * (here.high - here.low)).toFixed(1)}` : ""]];
    if (learner === reference) written.push(["reference", ""]);
    else written.push(own ? [aheadText(here.mean, own.mean), seeds > 1 ? `in ${frontierWon(here, own)} of ${seeds}` : ""] : ["\u2013", ""]);
    written.forEach((each, k) => each.forEach((text, j) => { lines[k][j].textContent = text; }));
    lines[2][0].classList.toggle("lim-self", learner === reference);
  }

  function fillTable(limit) {
    const found = frontierOf(frontierWithin(ofShown(alike[state.part][Number(state.counted)]), limit));
    for (const learner of ranked) fillRow(learner, found);
    costHead.textContent = state.counted ? "training + search" : "training (+ search)";
    const order = ranked.map((learner) => rows[learner].row);
    if (order.some((row, k) => body.rows[k] !== row) || body.rows.length !== order.length) body.replaceChildren(...order);
    table.setAttribute("aria-label", `${limitText(limit)}each learner shown at the budget of its lowest error, the best first; search ${state.counted ? "counted" : "not counted"}; ahead of ${wayQuoted(names[reference])}`);
    return found;
  }

  // --- words --------------------------------------------------------------------------------------------------------------
  const sentences = [element("p", { className: "lim-winner" }), element("p", { className: "lim-winner lim-second" })];
  const said = sentences.map((sentence) => {
    const spoken = element("span");
    spoken.setAttribute("role", "status");
    sentence.append(spoken);
    card.pictures.before(sentence);
    return spoken;
  });

  /** Room for the longest sentences that the learners on show could get, so that nothing moves while the reader does. */
  function makeRoom() {
    const longest = (texts) => texts.reduce((held, text) => (text.length > held.length ? text : held), "");
    const chosen = shownLearners(), name = longest(chosen.map((learner) => names[learner])), own = names[reference];
    const places = Array.from({ length: last }, (_, place) => limitText(limitAt(place))), begin = longest(places);
    const won = seeds > 1 ? `, lower in ${seeds} of ${seeds} seeds` : "", gap = "has the lowest error, 10.0\u202f%: less than 0.1 points below";
    const lowest = [`${begin}${wayQuoted(name)} ${gap} ${wayQuoted(own)}${won}.`];
    if (state.shown.has(reference)) lowest.push(`${begin}${wayQuoted(own)}, the reference, ${gap} ${wayQuoted(name)}${won}.`);
    const searchers = chosen.filter((learner) => data.search[learner].some(Boolean)), budget = longest(searchers.flatMap((learner) => data.budgets[learner]));
    const [who, next] = searchers.map((learner) => wayQuoted(names[learner])).sort((one, other) => other.length - one.length), cost = longest(places.map((text) => text.slice(7, -2)));
    const moved = `If the search is counted, ${who} (budget ${budget}) moves from ${cost.replace("\u00a0GFLOP", "")} to ${cost}, beyond the limit`;
    const search = who ? [`${moved}: it keeps 2 of 3 places on the frontier.`, `${moved}: it leaves the frontier. So does ${next}.`].slice(0, next ? 2 : 1) : [];
    [lowest, search].forEach((texts, k) => {
      const hidden = texts.map((textContent) => element("span", { textContent, className: "lim-room" }));
      for (const each of hidden) each.setAttribute("aria-hidden", "true");
      sentences[k].replaceChildren(said[k], ...hidden);
    });
  }

  function pictureInWords(found) {
    const told = found.map((point) => `${wayQuoted(names[point.learner])} at ${point.budget} (${inGflop(point.operations)}, ${shareText(point.mean)})`).join(", ");
    return `Error against operations${partName() ? `, ${partName()}` : ""}, search ${state.counted ? "counted" : "not counted"}. `
      + `The frontier, from the cheapest: ${told || "no point"}. ${said[0].textContent} ${said[1].textContent} ${model.get("alt")}`;
  }

  function show() {
    const limit = limitAt(state.place), pair = alike[state.part];
    best = frontierBest(frontierWithin(pair[Number(state.counted)], limit), names.length);
    ranked = frontierRanked(best, shownLearners());
    const texts = [lowestText(names, best, ranked, reference, limit), searchText(names, ...pair.map(ofShown), limit, state.counted)];
    texts.forEach((text, k) => { if (said[k].textContent !== text) said[k].textContent = text; });
    const found = fillTable(limit);
    scene.redraw();
    drawSwatches();
    scene.canvas.setAttribute("aria-label", pictureInWords(found));
  }

  /** Everything that hangs on which learners are on show, then the rest. */
  function refresh() {
    heights = frontierHeights(alike.flatMap(([points]) => ofShown(points)));
    makeRoom();
    show();
  }

  // --- controls -------------------------------------------------------------------------------------------------------------
  /** Move the points to where the search puts them: at once, or in a short while. */
  function move() {
    cancelAnimationFrame(clock);
    const from = state.share, to = Number(state.counted);
    let began = null;
    const settle = () => { state.share = to; card.root.dataset.state = "done"; show(); };
    if (wantsStillness()) { settle(); return; }
    card.root.dataset.state = "running";
    show();
    const tick = (now) => {
      if (!card.root.isConnected) return;
      began ??= now;
      const part = Math.min(1, (now - began) / FRONTIER_MOVE), eased = part * part * (3 - 2 * part);
      if (part === 1) { settle(); return; }
      state.share = from + (to - from) * eased;
      scene.redraw();
      clock = requestAnimationFrame(tick);
    };
    clock = requestAnimationFrame(tick);
  }

  const count = element("input", { type: "checkbox", checked: state.counted });
  count.addEventListener("change", () => { state.counted = count.checked; move(); });
  card.controls.append(element("label", { className: "lim-check" }, count, element("span", { textContent: "Count the search" })));
  if (parts.length > 1) addSelect(card, { label: "Part of the stream", options: parts, index: 0 }, (index) => { state.part = index; light(null); show(); });
  const showLimit = (place) => (place >= last ? "no limit" : gflopText(limitAt(place)));
  const slider = addSlider(card, { label: "At most (GFLOP)", min: 0, max: last, step: 1, value: last, show: showLimit }, (place) => { state.place = place; show(); });

  card.pictures.append(element("div", { className: "lim-column" }, scene.canvas.parentElement, key), choice, table);
  slideAlong(scene.canvas, { left: FRONTIER_LEFT }, [0, CURVES_PLACES], CURVES_PLACES, (at) => {
    const [low, high] = rangeAcross(), [first, most] = ends.map(acrossOf), share = (low + (high - low) * at / CURVES_PLACES - first) / (most - first || 1);
    const place = Math.min(last, Math.max(0, Math.round(last * share)));
    if (place === state.place) return;
    slider.set(place);
    state.place = place;
    show();
  });
  scene.canvas.addEventListener("pointermove", (event) => {
    if (event.buttons || event.pointerType !== "mouse") return;
    const gaps = spots.map(({ at: [x, y] }) => Math.hypot(x - event.offsetX, y - event.offsetY)), nearest = gaps.indexOf(Math.min(...gaps));
    if (gaps[nearest] <= FRONTIER_REACH) light(spots[nearest].point.learner, spots[nearest].point);
    else light(null);
  });
  scene.canvas.addEventListener("pointerleave", () => light(null));
  card.note.textContent = model.get("note");
  card.root.dataset.state = "done";
  light(null);
  refresh();
  return () => { cancelAnimationFrame(clock); scene.stop(); };
}
