// live_filters: which filters of a network a pruning ratio cuts, and what is left of its operations, layer by layer.

// --- companion.methods.pruning: prune_filters and count_flops ---------------------------------------------------------

/** Of so many filters, those that a ratio leaves. */
export const filtersLeft = (filters, ratio) => Math.floor(filters * (1 - ratio));

/** 1 for each of the `count` strongest, 0 for the others; of equal ones the earlier stay. */
export function strongestFilters(strengths, count) {
  const mask = new Uint8Array(strengths.length);
  for (const place of filtersByStrength(strengths).slice(0, count)) mask[place] = 1;
  return mask;
}

/** Their places, the strongest first. */
const filtersByStrength = (strengths) => Array.from(strengths.keys()).sort((one, other) => strengths[other] - strengths[one]);

/** Inputs and outputs of a layer when its block has so many hidden filters left. */
export function layerChannels({ part, inputs, outputs }, left) {
  return { inputs: part === "conv2" ? left : inputs, outputs: part === "conv1" ? left : outputs };
}

/** Operations of each layer for one picture, two for each product; `left` has the hidden filters of each block. */
export function flopsByLayer(layers, left) {
  return layers.map((layer) => {
    const { inputs, outputs } = layerChannels(layer, left[layer.block]);
    return 2 * layer.kernel * inputs * outputs * layer.sides.reduce((places, side) => places * side, 1);
  });
}

// --- accuracies that were measured --------------------------------------------------------------------------------------

/**
 * An accuracy at a ratio: { mean, low, high } where it was measured, only the `mean` on the straight line between two such
 * places, nothing beyond them.
 */
export function accuracyAt(ratios, spreads, ratio) {
  const place = ratios.findIndex((each) => each >= ratio - 1e-9);
  if (place < 0) return null;
  if (Math.abs(ratios[place] - ratio) < 1e-9) {
    const [mean, low, high] = spreads[place];
    return { mean, low, high };
  }
  if (place === 0) return null;
  const part = (ratio - ratios[place - 1]) / (ratios[place] - ratios[place - 1]);
  return { mean: spreads[place - 1][0] + part * (spreads[place][0] - spreads[place - 1][0]) };
}

// --- the picture ------------------------------------------------------------------------------------------------------

const FILTER_UNITS = [[1e9, "GFLOP"], [1e6, "MFLOP"], [1e3, "kFLOP"], [1, "FLOP"]];
const FILTER_CURVE = 400; // places of the curve of operations between ratio 0 and 1
const FILTER_CRITERIA = { l2: "largest L2 norm", l1: "largest L1 norm", random: "random ones" };
const FILTER_ORDERS = { strength: "by norm", network: "the network\u2019s" };
const FILTER_MEASURES = { kept: ["statistics kept", "rival"], estimated: ["re-estimated", "learned"], tuned: ["after tuning", "third"] };
const FILTER_AXIS = { left: 50 };

/** Where a block lies in the picture of the network: the box of its filters, and its two ways from and to the stream. */
function filterBlocks(width, height, blocks, isUpright) {
  return Array.from({ length: blocks }, (_, place) => {
    if (isUpright) {
      const pitch = (height - 58) / blocks, top = 48 + place * pitch, bottom = top + pitch - 30;
      return { left: 86, right: width - 1, top, bottom, ways: [top + 7, bottom - 7] };
    }
    const pitch = (width - 112) / blocks, left = 64 + place * pitch, right = left + pitch - 20;
    return { left, right, top: 76, bottom: height - 24, ways: [left + 12, right - 12] };
  });
}

/** The network as its stream and the hidden filters of each block; operations by layer and by ratio; accuracies. */
function renderFilters({ model, el }) {
  const card = makeCard(model, el);
  const [names, layers, hidden, shares, criteria, orders, ratios] = ["names", "layers", "hidden", "shares", "criteria", "orders", "ratios"].map((name) => model.get(name));
  const total = hidden.reduce((sum, each) => sum + each, 0), all = typed(Float64Array, model.get("strengths"));
  const measured = model.get("left"), alt = model.get("alt"), firsts = hidden.map((_, block) => hidden.slice(0, block).reduce((sum, each) => sum + each, 0));
  const state = {
    network: model.get("names_index"), ratio: ratios[model.get("ratios_index")],
    criterion: criteria[model.get("criteria_index")], order: orders[model.get("orders_index")],
  };
  const sumOf = (values) => values.reduce((sum, each) => sum + each, 0);
  const dense = flopsByLayer(layers, hidden), whole = sumOf(dense), weights = model.get("weights");
  const [unit, unitName] = FILTER_UNITS.find(([size]) => whole >= size) ?? FILTER_UNITS.at(-1);
  const inUnit = (flops) => shortNumber(flops / unit), counted = (number) => number.toLocaleString("en-US");
  const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}\u202f%`, ratioText = (ratio) => markText(Number(ratio.toPrecision(3)));
  const found = {};

  /** The strengths of one block's filters by a criterion, in the network on show. */
  function strengthsOf(criterion, block) {
    const start = (state.network * criteria.length + criteria.indexOf(criterion)) * total + firsts[block];
    return all.subarray(start, start + hidden[block]);
  }
  const leftAt = (ratio) => hidden.map((filters) => filtersLeft(filters, ratio));

  function compute() {
    const shown = state.criterion === "random" ? "l2" : state.criterion, left = leftAt(state.ratio);
    const blocks = hidden.map((_, block) => {
      const strengths = strengthsOf(state.criterion, block), mask = strongestFilters(strengths, left[block]), norms = strengthsOf(shown, block);
      const order = state.order === "strength" ? filtersByStrength(norms) : Array.from(norms.keys());
      return { mask, norms, order, cut: state.criterion === shown ? cutBetween(norms, mask) : null };
    });
    const squares = hidden.map((_, block) => strengthsOf("l2", block).map((norm) => norm * norm)), flops = flopsByLayer(layers, left);
    const kept = squares.map((own, block) => own.filter((_, place) => blocks[block].mask[place]));
    const most = Math.max(...blocks.map(({ norms }) => Math.max(...norms))), ofSquares = sumOf(kept.map(sumOf)) / sumOf(squares.map(sumOf));
    const rest = weights - sumOf(hidden.map((filters, block) => (filters - left[block]) * shares[block]));
    Object.assign(found, { shown, left, blocks, flops, most, ofSquares, now: sumOf(flops), rest });
  }

  /** Half-way between the weakest filter that stays and the strongest that goes; nothing where none goes. */
  function cutBetween(norms, mask) {
    if (mask.every(Boolean)) return null;
    const [low, high] = [0, 1].map((isKept) => norms.filter((_, place) => mask[place] === isKept));
    return (Math.max(...low) + Math.min(...high)) / 2;
  }

  // --- the network ------------------------------------------------------------------------------------------------------
  card.root.classList.add("lim-filters");
  card.root.classList.toggle("lim-many", hidden.length > 4);
  card.root.style.setProperty("--blocks", hidden.length);
  const layerOf = (block, part) => layers.find((layer) => layer.block === block && layer.part === part);
  const widest = Math.max(...layers.filter(({ part }) => part === "conv2").map(({ outputs }) => outputs));

  /** A block's filters as bars: blue those that stay, pale and hatched those that go, a line between them. */
  function drawBars(pen, colours, { left, right, top, bottom }, { mask, norms, order, cut }) {
    const step = (right - left) / order.length, gap = step > 4 ? 1 : 0, high = (norm) => (bottom - top - 4) * (found.most > 0 ? norm / found.most : 0);
    const trace = (isKept) => {
      pen.beginPath();
      order.forEach((place, k) => { if (mask[place] === isKept) pen.rect(left + k * step, bottom - high(norms[place]), step - gap, high(norms[place])); });
    };
    trace(1);
    pen.fillStyle = colours.learned;
    pen.fill();
    pen.save();
    trace(0);
    pen.fillStyle = colours.exact;
    pen.globalAlpha = 0.3;
    pen.fill();
    pen.clip();
    for (let x = left - (bottom - top); x < right; x += 5) line(pen, [x, bottom, x + bottom - top, top], colours.soft, 1, 0.7);
    pen.restore();
    if (cut !== null) {
      pen.setLineDash([5, 3]);
      line(pen, [left, bottom - high(cut), right, bottom - high(cut)], colours.rival, 1.6);
      pen.setLineDash([]);
    }
    pen.strokeStyle = colours.soft;
    pen.lineWidth = 1;
    pen.strokeRect(left, top, right - left, bottom - top);
  }

  const drawNetwork = (pen, colours, width, height) => {
    const isUpright = getComputedStyle(pen.canvas).getPropertyValue("--upright").trim() === "1", stream = isUpright ? 22 : 36;
    const boxes = filterBlocks(width, height, hidden.length, isUpright), along = isUpright ? height : width;
    const thick = (channels) => Math.max(3, 13 * channels / widest), way = (from, to) => (isUpright ? [stream, from, stream, to] : [from, stream, to, stream]);
    const tag = (text, place) => {
      const [x, y] = isUpright ? [stream, place] : [place, stream];
      pen.fillStyle = colours.surface;
      pen.strokeStyle = colours.soft;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.rect(x - 21, y - 11, 42, 22);
      pen.fill();
      pen.stroke();
      write(pen, text, x, y + 4.5, colours.ink, "center");
    };
    const isTight = !isUpright && boxes[0].right - boxes[0].left < 135;
    let from = 20;
    boxes.forEach(({ ways }, block) => { // the stream changes its width in shortcuts alone
      const turn = (ways[0] + ways[1]) / 2;
      if (!layerOf(block, "shortcut")) return;
      line(pen, way(from, turn), colours.exact, thick(layerOf(block, "conv1").inputs));
      from = turn;
    });
    line(pen, way(from, along - 20), colours.exact, thick(layerOf(hidden.length - 1, "conv2").outputs));
    boxes.forEach((box, block) => {
      const { ways, left, right, top, bottom } = box, conv2 = layerOf(block, "conv2"), shortcut = layerOf(block, "shortcut"), title = `${isTight ? "" : "block "}${block + 1}: ${found.left[block]} of ${hidden[block]}`;
      [layerOf(block, "conv1").inputs, conv2.outputs].forEach((channels, k) => {
        const arm = isUpright ? [stream, ways[k], left, ways[k]] : [ways[k], stream, ways[k], top];
        line(pen, arm, colours.exact, thick(channels));
      });
      const size = [conv2.outputs, ...conv2.sides].join("\u2009\u00d7\u2009"), joint = isUpright ? [stream, ways[1]] : [ways[1], stream];
      drawPoints(pen, joint, colours.surface, 1, 9, 1);
      ring(pen, joint, 8, colours.soft);
      write(pen, "+", joint[0], joint[1] + 4.5, colours.ink, "center", 600);
      pen.fillStyle = colours.surface;
      pen.fillRect(left, top, right - left, bottom - top);
      drawBars(pen, colours, box, found.blocks[block]);
      if (shortcut) tag("1\u00d71", (ways[0] + ways[1]) / 2);
      if (isUpright) {
        write(pen, title, left, top - 6, colours.ink, "left", 600);
        write(pen, size, right, top - 6, colours.soft, "right");
        write(pen, "conv1", left - 5, ways[0] + 19, colours.soft, "right");
        write(pen, "conv2", left - 5, ways[1] - 10, colours.soft, "right");
      } else {
        write(pen, title, (left + right) / 2, bottom + 18, colours.ink, "center", 600);
        write(pen, size, (left + right) / 2, 16, colours.soft, "center");
        write(pen, "conv1", ways[0] + 11, top - (isTight ? 18 : 12), colours.soft, "left");
        write(pen, "conv2", ways[1] - 11, top - (isTight ? 4 : 12), colours.soft, "right");
      }
    });
    tag("stem", isUpright ? 14 : 23);
    tag("head", along - (isUpright ? 14 : 23));
  };

  // --- the curves -------------------------------------------------------------------------------------------------------
  const hundreds = [0, 0.5, 1].map((tick) => [tick, `${100 * tick}\u202f%`]), fifths = [0, 0.25, 0.5, 0.75, 1].map((tick) => [tick, String(tick)]);
  const curveEnd = Array.from({ length: FILTER_CURVE }, (_, k) => k / FILTER_CURVE).findLast((ratio) => leftAt(ratio).every(Boolean));
  const curve = Array.from({ length: FILTER_CURVE }, (_, k) => k / FILTER_CURVE).filter((ratio) => ratio <= curveEnd)
    .map((ratio) => [ratio, sumOf(flopsByLayer(layers, leftAt(ratio))) / whole]);

  /** The area of a curve against the ratio, with a line at the ratio on show. */
  function ratioPlot(pen, colours, width, height) {
    const plot = plotArea(width, height, [0, 1], [0, 1.04], FILTER_AXIS);
    for (const [tick] of hundreds.slice(1)) line(pen, [plot.left, plot.at(0, tick)[1], plot.right, plot.at(0, tick)[1]], colours.line, 1);
    drawTicks(pen, plot, colours, { across: "ratio r", places: fifths, heights: hundreds });
    pen.setLineDash([2, 4]);
    line(pen, [...plot.at(state.ratio, 0), ...plot.at(state.ratio, 1.04)], colours.soft, 1.6);
    pen.setLineDash([]);
    return plot;
  }

  const drawFlops = (pen, colours, width, height) => {
    const plot = ratioPlot(pen, colours, width, height);
    line(pen, [...plot.at(0, 1), ...plot.at(1, 0)], colours.exact, 6, 0.6);
    line(pen, curve.flatMap(([ratio, share]) => plot.at(ratio, share)), colours.learned, 2);
    drawBead(pen, colours, plot, plot.at(state.ratio, found.now / whole), "learned");
  };

  /** What was measured for the network and criterion on show: [measure, its colour, its spreads]. */
  function rowsOnShow() {
    const row = measured[state.network]?.[state.criterion];
    return { ratios: row?.ratios ?? [], rows: Object.entries(FILTER_MEASURES).filter(([measure]) => row?.[measure]).map(([measure, [, colour]]) => [measure, colour, row[measure]]) };
  }

  const drawAccuracy = (pen, colours, width, height) => {
    const plot = ratioPlot(pen, colours, width, height), { ratios: places, rows } = rowsOnShow();
    if (!rows.length) write(pen, "not measured", (plot.left + plot.right) / 2, (plot.top + plot.base) / 2, colours.soft, "center");
    for (const [measure, colour, spreads] of rows) {
      const points = (side) => places.map((ratio, k) => plot.at(ratio, spreads[k][side]));
      pen.beginPath();
      for (const point of [...points(1), ...points(2).reverse()]) pen.lineTo(...point);
      pen.fillStyle = colours[colour];
      pen.globalAlpha = 0.2;
      pen.fill();
      pen.globalAlpha = 1;
      pen.setLineDash(measure === "kept" ? [6, 4] : []);
      line(pen, points(0).flat(), colours[colour], 2.2);
      pen.setLineDash([]);
      drawPoints(pen, points(0).flat(), colours[colour], 1, 3, 1);
    }
    for (const [, colour, spreads] of rows) {
      const here = accuracyAt(places, spreads, state.ratio);
      if (here) drawBead(pen, colours, plot, plot.at(state.ratio, here.mean), colour);
    }
  };

  // --- places -----------------------------------------------------------------------------------------------------------
  const network = addScene(card, { caption: "Hidden filters", alt, shape: 4, wide: true, draw: drawNetwork });
  const key = makeKey([["kept", "lim-kept", "learned"], ["cut", "lim-cut", "soft"], ["the limit", "lim-dashed", "rival"], ["residual stream: nothing is cut", "lim-thick", "exact"]]);
  card.pictures.append(key);
  const body = element("tbody");
  const largest = Math.max(...dense);
  const rows = layers.map(({ part, block }, k) => {
    const fill = element("div"), bar = element("div", { className: "lim-flops" }, fill), cells = ["td", "td"].map((tag) => element(tag));
    bar.style.width = `${100 * dense[k] / largest}%`;
    bar.setAttribute("aria-hidden", "true");
    body.append(element("tr", {}, element("th", { scope: "row", textContent: block < 0 ? part : `block ${block + 1}, ${part}` }), cells[0], element("td", { className: "lim-bars" }, bar), cells[1]));
    return { fill, channels: cells[0], flops: cells[1] };
  });
  const heads = ["layer", "channels", "", unitName].map((textContent) => element(textContent ? "th" : "td", { textContent, ...(textContent && { scope: "col" }) }));
  const table = element("table", { className: "lim-table" }, element("caption", { textContent: "FLOPs, each layer" }), element("thead", {}, element("tr", {}, ...heads)), body);
  card.pictures.append(element("div", { className: "lim-column lim-layers" }, table, makeKey([["before", "lim-before", "soft"], ["after", "lim-kept", "learned"]])));
  const flopsScene = addScene(card, { caption: "FLOPs in all", alt: "", shape: 1.3, draw: drawFlops });
  const accuracyScene = measured.length ? addScene(card, { caption: "Accuracy", alt: "", shape: 1.3, draw: drawAccuracy }) : null;
  const scenes = [network, flopsScene, accuracyScene].filter(Boolean), columns = setColumns(card, scenes.slice(1).map((scene) => [scene]));
  columns[0].append(makeKey([["counted", "lim-stroke", "learned"], ["1 \u2212 r", "lim-thick", "exact"]]));
  const accuracies = element("tbody"), told = {};
  for (const [measure, [textContent, colour]] of Object.entries(FILTER_MEASURES)) {
    if (!measured.some((rows) => Object.values(rows).some((row) => row[measure]))) continue;
    const label = element("th", { scope: "row", textContent, className: measure === "kept" ? "lim-run lim-run-dashed" : "lim-run" }), cells = ["td", "td"].map((tag) => element(tag));
    label.style.setProperty("--dot", `var(--lim-${colour})`);
    accuracies.append(element("tr", {}, label, ...cells));
    told[measure] = cells;
  }
  if (accuracyScene) columns[1].append(element("table", { className: "lim-table" }, element("thead", {}, element("tr", {}, element("td"), ...["mean", "seeds"].map((textContent) => element("th", { scope: "col", textContent })))), accuracies));
  const { row: numbers, counts } = makeCounts({ flops: `${unitName}, one picture forward`, share: "of the FLOPs", weights: "weights" });
  card.controls.after(numbers);

  // --- numbers --------------------------------------------------------------------------------------------------------
  const arrow = " \u2192 ";

  function tellLayers() {
    layers.forEach((layer, k) => {
      const { fill, channels, flops } = rows[k], { inputs, outputs } = layerChannels(layer, found.left[layer.block]);
      const mark = (number, before) => element(number === before ? "span" : "strong", { textContent: String(number) });
      channels.replaceChildren(mark(inputs, layer.inputs), arrow, mark(outputs, layer.outputs));
      fill.style.width = `${100 * found.flops[k] / dense[k]}%`;
      flops.textContent = inUnit(found.flops[k]);
    });
  }

  /** Gives the accuracies in words. */
  function tellAccuracies() {
    const { ratios: places, rows } = rowsOnShow(), words = [];
    let how = "not measured";
    for (const [measure, [mean, range]] of Object.entries(told)) {
      const spreads = rows.find(([own]) => own === measure)?.[2], here = spreads ? accuracyAt(places, spreads, state.ratio) : null;
      const isMeasured = here?.low !== undefined;
      mean.textContent = here ? `${isMeasured ? "" : "\u2248\u202f"}${percent(here.mean)}` : "\u2013";
      const ends = isMeasured ? [here.low, here.high].map((end) => percent(end, 0)) : ["\u2013"];
      range.textContent = ends[0] === ends.at(-1) ? ends[0] : `${ends[0].slice(0, -2)}\u2013${ends[1]}`;
      if (here) how = isMeasured ? "measured" : "interpolated";
      if (here) words.push(`${FILTER_MEASURES[measure][0]}: ${mean.textContent}${isMeasured ? `, seeds ${range.textContent}` : ""}`);
    }
    accuracyScene.value.textContent = how;
    return words.length ? `${how}: ${words.join("; ")}.` : "not measured.";
  }

  function update() {
    compute();
    const { left, now, rest, ofSquares, shown, most } = found, share = percent(now / whole);
    counts.flops.textContent = `${inUnit(whole)}${arrow}${inUnit(now)}`;
    counts.share.textContent = share;
    counts.weights.textContent = `${counted(weights)}${arrow}${counted(rest)}`;
    tellLayers();
    network.value.textContent = `${shown === "l1" ? "L1" : "L2"} norm, 0 to ${shortNumber(most)}`;
    flopsScene.value.textContent = `${share} at r = ${ratioText(state.ratio)}`;
    const filters = hidden.map((all, block) => `${left[block]} of ${all}`).join(", ");
    const named = names.length > 1 ? `${names[state.network]}: ` : "";
    network.canvas.setAttribute("aria-label", `${named}at ratio ${ratioText(state.ratio)} the blocks keep ${filters} hidden filters, ${FILTER_CRITERIA[state.criterion]}; the residual stream keeps its width. ${alt}`);
    flopsScene.canvas.setAttribute("aria-label", `FLOPs against the ratio. At ${ratioText(state.ratio)}: ${inUnit(now)} of ${inUnit(whole)} ${unitName}, ${share}; by 1 \u2212 r: ${percent(1 - state.ratio)}. ${alt}`);
    if (accuracyScene) accuracyScene.canvas.setAttribute("aria-label", `Accuracy against the ratio. At ${ratioText(state.ratio)}, ${tellAccuracies()} ${alt}`);
    const stay = `${named}${sumOf(left)} of ${total} hidden filters stay`, squares = Number.isFinite(ofSquares) ? `, with ${percent(ofSquares)} of the squared norm of all` : "";
    card.note.textContent = `${stay}${squares}. ${model.get("note")}`.trim();
    for (const scene of scenes) scene.redraw();
    card.root.dataset.state = "done";
  }

  // --- controls -------------------------------------------------------------------------------------------------------
  const change = (changes) => { Object.assign(state, changes); update(); };
  const slider = addSlider(card, { label: "Pruning ratio r", min: 0, max: ratios.length - 1, step: 1, value: model.get("ratios_index"), show: (place) => ratioText(ratios[place]) },
    (place) => change({ ratio: ratios[place] }));
  if (names.length > 1) addSelect(card, { label: "Network", options: names, index: state.network }, (place) => change({ network: place }));
  addSelect(card, { label: "Filters kept", options: criteria.map((each) => FILTER_CRITERIA[each]), index: model.get("criteria_index") }, (place) => change({ criterion: criteria[place] }));
  addSelect(card, { label: "Order", options: orders.map((each) => FILTER_ORDERS[each]), index: model.get("orders_index") }, (place) => change({ order: orders[place] }));
  for (const { canvas } of scenes.slice(1)) {
    slideAlong(canvas, FILTER_AXIS, [0, FILTER_CURVE], FILTER_CURVE, (at) => {
      const far = ratios.map((ratio) => Math.abs(ratio - at / FILTER_CURVE)), place = far.indexOf(Math.min(...far));
      slider.set(place);
      change({ ratio: ratios[place] });
    });
  }
  update();
  return () => scenes.forEach((scene) => scene.stop());
}
