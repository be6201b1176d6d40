// live_pruned: a small convolutional network that looks at a picture here, whole and pruned; the picture may be drawn by hand.

// --- companion.foundations.residual.ExpandedResidualNet, in evaluation -------------------------------------------------------

/** Numbers of half precision, as 16 bits each. */
export function readHalves(bits) {
  return Float64Array.from(bits, (half) => {
    const power = (half >> 10) & 31, digits = half & 1023, sign = half >> 15 ? -1 : 1;
    if (power === 31) return digits ? NaN : sign * Infinity;
    return sign * (power ? (1 + digits / 1024) * 2 ** (power - 15) : digits * 2 ** -24);
  });
}

/** A network from its weights, one after another, and its batch norms. Convolutions keep their inputs together: (outputs, inputs, k, k). */
export function readConvNet({ side, stem, blocks, classes }, weights, norms) {
  let at = 0, inputs = 1;
  const take = (count) => weights.subarray(at, (at += count));
  const layer = (from, outputs, kernel, stride = 1) =>
    ({ inputs: from, outputs, kernel, stride, weights: take(outputs * from * kernel * kernel), scale: null, shift: null });
  const net = { side, stem: layer(1, stem, 3), blocks: [] };
  inputs = stem;
  for (const { hidden, outputs, stride, shortcut } of blocks) {
    const [conv1, conv2] = [layer(inputs, hidden, 3, stride), layer(hidden, outputs, 3)];
    net.blocks.push({ conv1, conv2, shortcut: shortcut ? layer(inputs, outputs, 1, stride) : null });
    inputs = outputs;
  }
  net.head = { inputs, outputs: classes, weights: take(classes * inputs), bias: take(classes) };
  return setNorms(net, norms);
}

/** The same network with other batch norms: their scales and shifts, one norm after another. */
export function setNorms(net, norms) {
  let at = 0;
  const set = (layer) => {
    const [scale, shift] = [0, 1].map(() => norms.subarray(at, (at += layer.outputs)));
    return { ...layer, scale, shift };
  };
  return { ...net, stem: set(net.stem), blocks: net.blocks.map((block) => ({ ...block, conv1: set(block.conv1), conv2: set(block.conv2) })) };
}

/** What every place of a layer's window sees of the channels (`side` x `side` each): a row for each place, zeros beyond the edge. */
function windowsOf({ inputs, kernel, stride }, values, side, rows) {
  const far = kernel >> 1, end = Math.ceil(side / stride);
  let at = 0;
  for (let y = 0; y < end; y++) for (let x = 0; x < end; x++) {
    for (let channel = 0; channel < inputs; channel++) for (let down = -far; down <= far; down++) for (let across = -far; across <= far; across++) {
      const row = y * stride + down, column = x * stride + across;
      const isInside = row >= 0 && row < side && column >= 0 && column < side;
      rows[at++] = isInside ? values[(channel * side + row) * side + column] : 0;
    }
  }
  return end;
}

/** A convolution and its batch norm, if it has one: (outputs, end, end). Work space stays with the layer. */
function convolve(layer, values, side) {
  const { inputs, outputs, kernel, weights, scale, shift } = layer, size = inputs * kernel * kernel, most = Math.ceil(side / layer.stride) ** 2;
  layer.rows ??= new Float64Array(most * size);
  const { rows } = layer, end = windowsOf(layer, values, side, rows), out = new Float64Array(outputs * most);
  for (let output = 0; output < outputs; output += 2) { // two filters at two places at once: each number that is read serves twice
    const other = Math.min(outputs - 1, output + 1), a = output * size, b = other * size;
    for (let place = 0; place < most; place += 2) {
      const next = Math.min(most - 1, place + 1), x = place * size, y = next * size;
      let ax = 0, bx = 0, ay = 0, by = 0;
      for (let k = 0; k < size; k++) {
        const one = weights[a + k], two = weights[b + k], here = rows[x + k], there = rows[y + k];
        ax += one * here;
        bx += two * here;
        ay += one * there;
        by += two * there;
      }
      out[output * most + place] = ax;
      out[other * most + place] = bx;
      out[output * most + next] = ay;
      out[other * most + next] = by;
    }
  }
  if (scale) for (let at = 0; at < out.length; at++) {
    const output = Math.floor(at / most);
    out[at] = scale[output] * out[at] + shift[output];
  }
  return { values: out, side: end, flops: 2 * outputs * size * most };
}

function rectify(values) {
  for (let at = 0; at < values.length; at++) if (values[at] < 0) values[at] = 0;
  return values;
}

/** The largest of each two by two. */
function poolByTwo({ values, side }, channels) {
  const end = side >> 1, out = new Float64Array(channels * end * end);
  for (let channel = 0, at = 0; channel < channels; channel++) for (let y = 0; y < end; y++) for (let x = 0; x < end; x++, at++) {
    const from = (channel * side + 2 * y) * side + 2 * x;
    out[at] = Math.max(values[from], values[from + 1], values[from + side], values[from + side + 1]);
  }
  return { values: out, side: end };
}

/**
 * What a network says of a picture: the logits of its classes, what the first block's hidden filters answer (behind the ReLU),
 * and the operations that this took, as count_flops counts them.
 */
export function askConvNet(net, picture) {
  let flops = 0, hidden = null;
  const through = (layer, { values, side }) => {
    const done = convolve(layer, values, side);
    flops += done.flops;
    return done;
  };
  const first = through(net.stem, { values: picture, side: net.side });
  rectify(first.values);
  let now = poolByTwo(first, net.stem.outputs);
  for (const { conv1, conv2, shortcut } of net.blocks) {
    const inner = through(conv1, now);
    rectify(inner.values);
    hidden ??= inner;
    const sum = through(conv2, inner), past = shortcut ? through(shortcut, now) : now;
    for (let at = 0; at < sum.values.length; at++) sum.values[at] += past.values[at];
    rectify(sum.values);
    now = sum;
  }
  const { inputs, outputs, weights, bias } = net.head, places = now.side * now.side, logits = Float64Array.from(bias);
  for (let channel = 0; channel < inputs; channel++) {
    let mean = 0;
    for (let at = 0; at < places; at++) mean += now.values[channel * places + at] / places;
    for (let output = 0; output < outputs; output++) logits[output] += weights[output * inputs + channel] * mean;
  }
  return { logits, hidden: { values: hidden.values, side: hidden.side }, flops: flops + 2 * inputs * outputs };
}

// --- companion.methods.pruning.prune_filters --------------------------------------------------------------------------------

/** The filters of each block that a ratio leaves, in their old order, from the orders of strength. */
export function keptFilters(orders, ratio) {
  return orders.map((order) => order.slice(0, Math.floor(order.length * (1 - ratio))).sort((one, other) => one - other));
}

/** A really smaller network: of each block's hidden filters those that are kept, and of the next layer what reads them. */
export function cutConvNet(net, kept) {
  const blocks = net.blocks.map((block, place) => {
    const { conv1, conv2 } = block, stay = kept[place], size = conv1.inputs * conv1.kernel ** 2, area = conv2.kernel ** 2;
    const weights = new Float64Array(stay.length * size), readers = new Float64Array(conv2.outputs * stay.length * area);
    stay.forEach((filter, row) => {
      weights.set(conv1.weights.subarray(filter * size, (filter + 1) * size), row * size);
      for (let output = 0; output < conv2.outputs; output++) {
        const from = (output * conv2.inputs + filter) * area;
        readers.set(conv2.weights.subarray(from, from + area), (output * stay.length + row) * area);
      }
    });
    const [scale, shift] = [conv1.scale, conv1.shift].map((values) => Float64Array.from(stay, (filter) => values[filter]));
    return {
      ...block,
      conv1: { ...conv1, outputs: stay.length, weights, scale, shift, rows: undefined },
      conv2: { ...conv2, inputs: stay.length, weights: readers, rows: undefined },
    };
  });
  return { ...net, blocks };
}

/** As large as the whole network, with zeros in the place of each filter that is not kept: it says what the smaller one says. */
export function maskConvNet(net, smaller, kept) {
  const blocks = net.blocks.map((block, place) => {
    const { conv1, conv2 } = block, small = smaller.blocks[place], size = conv1.inputs * conv1.kernel ** 2;
    const [weights, scale, shift] = [size, 1, 1].map((each) => new Float64Array(conv1.outputs * each));
    kept[place].forEach((filter, row) => {
      weights.set(small.conv1.weights.subarray(row * size, (row + 1) * size), filter * size);
      scale[filter] = small.conv1.scale[row];
      shift[filter] = small.conv1.shift[row];
    });
    return { ...block, conv1: { ...conv1, weights, scale, shift, rows: undefined }, conv2: { ...small.conv2, inputs: conv2.inputs, weights: conv2.weights, rows: undefined } };
  });
  return { ...smaller, blocks };
}

// --- drawing ----------------------------------------------------------------------------------------------------------------

const PRUNED_BRUSH = 0.8; // radius of the pen, in cells of the pad

/** Brought to mean 0 and standard deviation 1, as companion.data.pictures brings its pictures. */
export function standardise(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const square = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
  return values.map((value) => (value - mean) / (Math.sqrt(square) + 1e-3));
}

/** Add a stroke between two points (in cells) to a drawing of `side` x `side` cells from 0 to 1. */
export function drawStroke(drawing, side, [x, y], [toX, toY]) {
  const dx = toX - x, dy = toY - y, square = dx * dx + dy * dy;
  for (let row = 0; row < side; row++) for (let column = 0; column < side; column++) {
    const px = column + 0.5 - x, py = row + 0.5 - y;
    const along = square > 0 ? Math.max(0, Math.min(1, (px * dx + py * dy) / square)) : 0;
    const ink = Math.max(0, Math.min(1, PRUNED_BRUSH + 0.5 - Math.hypot(px - along * dx, py - along * dy)));
    drawing[row * side + column] = Math.max(drawing[row * side + column], ink);
  }
}

// --- the picture ------------------------------------------------------------------------------------------------------

const PRUNED_TOP = 5; // classes on show
const PRUNED_ROUNDS = 9; // measurements, of which the shortest one counts: nothing else makes a network faster
const PRUNED_LEAST = 4; // milliseconds that one measurement takes at least
const PRUNED_PAUSE = 60; // milliseconds without a change before anything is measured
const PRUNED_WHICH = { l2: "weakest (L2)", random: "at random" };
const PRUNED_HOW = ["cut out", "masked"];
const PRUNED_STATISTICS = ["re-estimated", "as it was"];

/** A picture, and what the whole and the pruned network say of it; their operations and their time; the first block's answers. */
function renderPruned({ model, el }) {
  const card = makeCard(model, el);
  card.root.classList.add("lim-pruned");
  const [names, classes, orders, ratios, criteria, sizes] = ["names", "classes", "orders", "ratios", "criteria", "sizes"].map((name) => model.get(name));
  const { side } = sizes, area = side * side, all = typed(Float32Array, model.get("images"));
  const pictures = names.map((name, k) => ({ name, values: Float64Array.from(all.subarray(k * area, (k + 1) * area)) }));
  const norms = model.get("norms").map((bytes) => typed(Float32Array, bytes));
  const whole = readConvNet(sizes, readHalves(typed(Uint16Array, model.get("weights"))), norms[0]);
  const filters = sizes.blocks.reduce((sum, { hidden }) => sum + hidden, 0);
  const drawing = new Float64Array(area), own = { name: "your drawing", get values() { return standardise(drawing); } };
  const state = { picture: pictures[0], ratio: model.get("ratio_index"), criterion: model.get("criterion_index"), isMasked: false, isOld: false };
  const found = { full: null, less: null, kept: [], network: whole };

  /** The network that the controls ask for. */
  function prune() {
    found.kept = keptFilters(orders[state.criterion], ratios[state.ratio]);
    const cut = cutConvNet(whole, found.kept);
    const smaller = state.isOld ? cut : setNorms(cut, norms[1 + state.criterion * ratios.length + state.ratio]);
    found.network = state.isMasked ? maskConvNet(whole, smaller, found.kept) : smaller;
  }

  // --- answers ----------------------------------------------------------------------------------------------------------
  /** What a network says, with the milliseconds that it takes: asked again until at least `least` have passed, by any clock. */
  function timed(network, least) {
    const { values } = state.picture, began = performance.now();
    let answer, passed, times = 0;
    do {
      answer = askConvNet(network, values);
      times++;
      passed = performance.now() - began;
    } while (passed <= least);
    return { ...answer, milliseconds: passed / times };
  }

  /** With the classes' probabilities, and the places of the most probable ones. */
  function ask(network) {
    const answer = timed(network, 0), shares = softmaxOf(Array.from(answer.logits), 1);
    const order = shares.map((_, place) => place).sort((one, other) => shares[other] - shares[one]);
    return { ...answer, shares, top: order.slice(0, PRUNED_TOP) };
  }

  let clock = null;
  /** Once nothing changes any more, both networks are measured in turn, in short pieces. */
  function measure() {
    clearTimeout(clock);
    card.root.dataset.state = "running";
    const rounds = [];
    const once = () => {
      if (!card.root.isConnected) return;
      rounds.push([whole, found.network].map((network) => timed(network, PRUNED_LEAST).milliseconds));
      if (rounds.length < PRUNED_ROUNDS) { clock = setTimeout(once, 0); return; }
      showTimes(...[0, 1].map((which) => Math.min(...rounds.map((round) => round[which]))));
      card.root.dataset.state = "done";
    };
    clock = setTimeout(once, PRUNED_PAUSE);
  }

  const percent = (share) => `${(100 * share).toFixed(share >= 0.0995 || share === 0 ? 0 : 1)}\u202f%`;
  const chance = (share) => (share < 0.0005 ? "<0.1\u202f%" : percent(share));
  const said = ({ top, shares }) => top.map((place) => `${classes[place]} ${chance(shares[place])}`).join(", ");

  // --- the pad --------------------------------------------------------------------------------------------------------------
  const brush = element("canvas", { width: side, height: side });
  /** A picture on a small canvas, a pixel a cell: from black to white between its least and its largest number. */
  function paint(canvas, values) {
    const pen = canvas.getContext("2d"), image = pen.createImageData(side, side), low = Math.min(...values), high = Math.max(...values);
    values.forEach((value, at) => image.data.set([0, 1, 2].map(() => (high > low ? 255 * (value - low) / (high - low) : 0)).concat(255), 4 * at));
    pen.putImageData(image, 0, 0);
  }
  const pad = addScene(card, { caption: "Picture", alt: "", shape: 1, draw: (pen, colours, width, height) => {
    paint(brush, state.picture === own ? drawing : state.picture.values);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(brush, 0, 0, width, height);
  } });
  pad.canvas.classList.add("lim-drag");

  const group = uniqueId();
  /** A small picture to choose. */
  function addChoice(picture) {
    const input = element("input", { type: "radio", name: group, checked: picture === state.picture });
    const canvas = element("canvas", { width: side, height: side });
    input.setAttribute("aria-label", picture.name);
    input.addEventListener("change", () => choose(picture));
    const label = element("label", { title: picture.name }, input, canvas);
    return { picture, input, canvas, label };
  }
  const choices = [...pictures, own].map(addChoice), drawn = choices.at(-1);
  const list = element("fieldset", { className: "lim-choices" }, element("legend", { textContent: "Choose or draw" }), ...choices.map(({ label }) => label));
  for (const { picture, canvas } of choices) paint(canvas, picture.values);
  drawn.label.append(element("span", { textContent: "\u270e", ariaHidden: "true" }));

  // --- bars -------------------------------------------------------------------------------------------------------------
  /** The most probable classes of one answer; a mark shows what another one says of them. */
  function drawBars(pen, colours, width, height, answer, colour, other) {
    const step = height / PRUNED_TOP;
    answer.top.forEach((place, row) => {
      const share = answer.shares[place], base = row * step + 15, top = base + 5, tall = Math.max(4, step - 25);
      write(pen, chance(share), width, base, colours.ink, "right", row === 0 ? 650 : 400);
      write(pen, classes[place], 0, base, colours.ink, "left", row === 0 ? 650 : 400);
      pen.fillStyle = colours.line;
      pen.fillRect(0, top, width, tall);
      pen.fillStyle = colours[colour];
      pen.fillRect(0, top, width * share, tall);
      if (!other) return;
      const mark = Math.min(width - 1.5, Math.max(1.5, width * other.shares[place]));
      line(pen, [mark, top - 3, mark, top + tall + 3], colours.surface, 5);
      line(pen, [mark, top - 2, mark, top + tall + 2], colours.ink, 2.4);
    });
  }
  const bars = [
    addScene(card, { caption: "Whole", alt: "", shape: 1, draw: (pen, colours, width, height) => drawBars(pen, colours, width, height, found.full, "exact") }),
    addScene(card, { caption: "Pruned", alt: "", shape: 1, draw: (pen, colours, width, height) => drawBars(pen, colours, width, height, found.less, "learned", found.full) }),
  ];

  // --- the first block ------------------------------------------------------------------------------------------------------
  const { hidden } = sizes.blocks[0], [wide, narrow] = [16, 8].map((columns) => columns / Math.ceil(hidden / columns));
  /** Every filter's answer, on one scale: those that run in colour, the whole network's in grey where they are cut out. */
  const drawMaps = (pen, colours, width, height) => {
    const columns = Math.abs(width / height - wide) < Math.abs(width / height - narrow) ? 16 : 8, cell = width / columns, gap = 3;
    const { values, side: end } = found.full.hidden, places = end * end, most = values.reduce((high, value) => Math.max(high, value), 1e-9);
    const pixel = (cell - gap) / end;
    for (let filter = 0; filter < hidden; filter++) {
      const row = found.kept[0].indexOf(filter), runs = row >= 0 || state.isMasked, at = state.isMasked ? filter : row;
      const [from, answers] = runs ? [at * places, found.less.hidden.values] : [filter * places, values];
      const [left, top] = [filter % columns * cell + gap / 2, Math.floor(filter / columns) * cell + gap / 2];
      pen.fillStyle = runs ? colours.learned : colours.exact;
      for (let k = 0; k < places; k++) {
        if (answers[from + k] <= 0) continue;
        pen.globalAlpha = Math.min(1, answers[from + k] / most);
        pen.fillRect(left + k % end * pixel, top + Math.floor(k / end) * pixel, pixel, pixel);
      }
      pen.globalAlpha = 1;
      if (!runs) continue;
      pen.strokeStyle = row >= 0 ? colours.learned : colours.rival;
      pen.lineWidth = 1;
      pen.setLineDash(row >= 0 ? [] : [3, 2]);
      pen.strokeRect(left - 0.5, top - 0.5, cell - gap + 1, cell - gap + 1);
      pen.setLineDash([]);
    }
  };
  const maps = addScene(card, { caption: "First block\u2019s filters", alt: "", shape: wide, narrow, wide: true, draw: drawMaps });
  const scenes = [pad, ...bars, maps];

  // --- numbers --------------------------------------------------------------------------------------------------------
  const cells = [0, 1].map(() => [0, 1, 2].map(() => element("td")));
  const heads = ["whole", "pruned", "share"].map((textContent) => element("th", { textContent, scope: "col" }));
  const table = element("table", { className: "lim-table" }, element("thead", {}, element("tr", {}, element("td"), ...heads)),
    element("tbody", {}, ...["operations (MFLOP)", "time here, now (ms)"].map((textContent, row) => element("tr", {}, element("th", { textContent, scope: "row" }), ...cells[row]))));
  cells[1].forEach((cell) => cell.classList.add("lim-time"));
  const operations = (flops) => shortNumber(flops / 1e6), time = (value) => markText(Number(value.toPrecision(2)));

  function showTimes(full, less) {
    [time(full), time(less), percent(less / full)].forEach((text, k) => { cells[1][k].textContent = text; });
  }

  const counted = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
  function show() {
    const { full, less, kept } = found, left = kept.reduce((sum, each) => sum + each.length, 0), gone = filters - left;
    const firstGone = hidden - kept[0].length, share = percent(less.flops / full.flops), how = state.isMasked ? "masked" : "cut";
    [operations(full.flops), operations(less.flops), share].forEach((text, k) => { cells[0][k].textContent = text; });
    showTimes(full.milliseconds, less.milliseconds);
    const [one, other] = [full, less].map(({ top }) => classes[top[0]]);
    const verdict = one === other ? `Both say \u201c${one}\u201d.` : `The whole network says \u201c${one}\u201d, the pruned \u201c${other}\u201d.`;
    const cost = state.isMasked ? "are zeros, computed all the same: nothing is saved." : `are gone, ${share} of the operations left.`;
    card.note.textContent = `${gone ? `${gone} of ${filters} hidden filters ${cost}` : "Nothing is pruned."} ${verdict} ${model.get("note")}`;
    pad.value.textContent = state.picture.name;
    bars[0].value.textContent = counted(filters, "filter");
    bars[1].value.textContent = counted(state.isMasked ? filters : left, "filter");
    maps.value.textContent = firstGone ? `${firstGone} of ${hidden} ${how}` : `all ${hidden}`;
    pad.canvas.setAttribute("aria-label", `The picture on show: ${state.picture.name}.`);
    bars[0].canvas.setAttribute("aria-label", `The whole network says: ${said(full)}.`);
    bars[1].canvas.setAttribute("aria-label", `The pruned network says: ${said(less)}. ${model.get("alt")}`);
    maps.canvas.setAttribute("aria-label", `What each of the ${hidden} hidden filters of the first block answers to the picture; ${firstGone ? `${firstGone} of them are ${how}` : "all are there"}.`);
    for (const scene of scenes) scene.redraw();
    measure();
  }

  /** After a change of the picture both networks are asked, after one of the controls only the pruned one. */
  function look(isNew = true) {
    if (isNew) found.full = ask(whole);
    found.less = ask(found.network);
    show();
  }

  // --- controls -------------------------------------------------------------------------------------------------------
  const set = (name, value) => {
    state[name] = value;
    prune();
    look(false);
  };
  addSlider(card, { label: "Pruning ratio", min: 0, max: ratios.length - 1, step: 1, value: state.ratio, show: (place) => `${Number((100 * ratios[place]).toFixed(1))}\u202f%` },
    (place) => set("ratio", place));
  addSelect(card, { label: "Which go", options: criteria.map((name) => PRUNED_WHICH[name]), index: state.criterion }, (place) => set("criterion", place));
  addSelect(card, { label: "They are", options: PRUNED_HOW, index: 0 }, (place) => set("isMasked", place === 1));
  addSelect(card, { label: "Batch norm", options: PRUNED_STATISTICS, index: 0 }, (place) => set("isOld", place === 1));

  function choose(picture) {
    state.picture = picture;
    choices.find((each) => each.picture === picture).input.checked = true;
    look();
  }

  // --- a hand -----------------------------------------------------------------------------------------------------------
  let last = null, frame = null;
  /** The drawing so far is looked at once before the next picture of the screen, however many strokes there were. */
  function drawingChanged() {
    paint(drawn.canvas, drawing);
    drawn.label.classList.toggle("lim-drawn", drawing.some((ink) => ink > 0));
    frame ??= requestAnimationFrame(() => {
      frame = null;
      if (card.root.isConnected) choose(own);
    });
  }
  function stroke(event) {
    const box = pad.canvas.getBoundingClientRect();
    const to = [(event.clientX - box.left) / box.width * side, (event.clientY - box.top) / box.height * side];
    drawStroke(drawing, side, last ?? to, to);
    last = to;
  }
  pad.canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    if (state.picture !== own) drawing.fill(0);
    pad.canvas.setPointerCapture(event.pointerId);
    stroke(event);
    drawingChanged();
  });
  pad.canvas.addEventListener("pointermove", (event) => {
    if (last === null) return;
    for (const each of event.getCoalescedEvents?.() ?? []) stroke(each);
    stroke(event);
    drawingChanged();
  });
  pad.canvas.addEventListener("lostpointercapture", () => { last = null; });
  const clear = addButton(card, "Clear", () => {
    drawing.fill(0);
    drawingChanged();
  });

  // --- places -----------------------------------------------------------------------------------------------------------
  const [left, right] = setColumns(card, [[pad], bars]);
  left.append(element("div", { className: "lim-side" }, list, clear.parentElement));
  right.append(table);
  card.pictures.append(maps.canvas.parentElement);
  const key = makeKey([["what the whole network says", "lim-upright", "ink"], ["runs", "lim-square", "learned"], ["cut out", "lim-square", "exact"], ["masked: zeros", "lim-square lim-hollow", "rival"]]);
  card.pictures.append(key);
  prune();
  look();
  return () => {
    clearTimeout(clock);
    cancelAnimationFrame(frame);
    scenes.forEach((scene) => scene.stop());
  };
}
