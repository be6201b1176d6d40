// live_reader: a small language model that reads a text as it is, and learns it as it reads, both in the browser.

// --- companion.methods.dynamic_evaluation: evaluate_stream, for a WindowMLP in double precision ------------------------------

const ADAM = { first: 0.9, second: 0.999, eps: 1e-8 }; // torch's defaults
const LEARNING_COST = 3; // FLOPs with the backward pass, of those without

/** companion.data.text: encode. Line breaks and printable ASCII are 1 to 96, any other character is 0. */
export function readerTokens(text) {
  return Uint8Array.from(text, (letter) => {
    const code = letter.codePointAt(0);
    return letter === "\n" ? 1 : code >= 32 && code < 127 ? code - 30 : 0;
  });
}

/** The other way round. */
export const readerText = (tokens) =>
  Array.from(tokens, (token) => (token > 1 ? String.fromCharCode(token + 30) : token === 1 ? "\n" : "\ufffd")).join("");

/** A reader with its numbers (embeddings, then the layers), and the work space of one character. */
export function makeReader({ symbols, order, embedding, width, context }, numbers) {
  const theta = Float64Array.from(numbers), inputs = order * embedding;
  const room = (length) => new Float64Array(length);
  return {
    symbols, order, embedding, context, sizes: [inputs, width, symbols], theta,
    values: [room(inputs), room(width), room(symbols)], slopes: [room(inputs), room(width), room(symbols)],
  };
}

/** Views of embeddings and layers in a row of numbers. */
function readerParts({ symbols, embedding, sizes }, theta) {
  return { embed: theta.subarray(0, symbols * embedding), layers: readLayers(sizes, theta.subarray(symbols * embedding)).layers };
}

/** Bias and weights of output `o` of a layer against its inputs. Four sums side by side are faster than one. */
function readerSum({ inputs, matrix, bias }, values, o) {
  let a = bias[o], b = 0, c = 0, d = 0, k = 0, w = o * inputs;
  for (; k + 3 < inputs; k += 4, w += 4) {
    a += matrix[w] * values[k];
    b += matrix[w + 1] * values[k + 1];
    c += matrix[w + 2] * values[k + 2];
    d += matrix[w + 3] * values[k + 3];
  }
  for (; k < inputs; k++) a += matrix[w++] * values[k];
  return a + b + c + d;
}

/** Logits of the token at `place` into the work space, from the tokens before it; before the token `first` there are zeros. */
function readerLogits({ order, embedding, values: [seen, hidden, logits] }, { embed, layers: [below, above] }, tokens, first, place) {
  for (let k = 0, at = 0; k < order; k++) {
    const from = place - order + k;
    for (let e = 0; e < embedding; e++, at++) seen[at] = from < first ? 0 : embed[tokens[from] * embedding + e];
  }
  for (let o = 0; o < below.outputs; o++) hidden[o] = Math.tanh(readerSum(below, seen, o));
  for (let o = 0; o < above.outputs; o++) logits[o] = readerSum(above, hidden, o);
}

/** -log p of a token in nats from the logits in the work space; the chances of all tokens into `chances`. */
function readerLoss({ values: [, , logits] }, token, chances) {
  let top = -Infinity, total = 0;
  for (let c = 0; c < logits.length; c++) top = Math.max(top, logits[c]);
  for (let c = 0; c < logits.length; c++) total += chances[c] = Math.exp(logits[c] - top);
  for (let c = 0; c < logits.length; c++) chances[c] /= total;
  return Math.log(total) + top - logits[token];
}

/** Add to `gradient` that of one token's log-loss over `count`, after `readerLogits` and `readerLoss` left them in the work space. */
function readerSlopes({ order, embedding, values: [seen, hidden], slopes: [onSeen, onHidden, chances] }, { layers: [below, above] }, gradient, tokens, first, place, count) {
  const { embed, layers: [onBelow, onAbove] } = gradient;
  onHidden.fill(0);
  for (let o = 0, w = 0; o < above.outputs; o++) { // softmax minus one-hot
    const slope = (chances[o] - (o === tokens[place] ? 1 : 0)) / count;
    onAbove.bias[o] += slope;
    for (let k = 0; k < above.inputs; k++, w++) {
      onAbove.matrix[w] += slope * hidden[k];
      onHidden[k] += slope * above.matrix[w];
    }
  }
  onSeen.fill(0);
  for (let o = 0, w = 0; o < below.outputs; o++) {
    const slope = onHidden[o] * (1 - hidden[o] ** 2);
    onBelow.bias[o] += slope;
    for (let k = 0; k < below.inputs; k++, w++) {
      onBelow.matrix[w] += slope * seen[k];
      onSeen[k] += slope * below.matrix[w];
    }
  }
  for (let k = 0, at = 0; k < order; k++) {
    const from = place - order + k;
    if (from < first) at += embedding;
    else for (let e = 0; e < embedding; e++, at++) embed[tokens[from] * embedding + e] += onSeen[at];
  }
}

/** A text before it is read. `base` has the losses without learning, which no setting changes, as far as they are `known`. */
export function startText(reader, tokens) {
  const count = Math.max(0, tokens.length - reader.context);
  return { reader, tokens, count, base: new Float64Array(count), known: 0 };
}

/**
 * A text before it is read and learned. `scored` counts the tokens whose loss is noted, `done` those that are learned, too,
 * `steps` the blocks, and `inputs` the tokens that the model was shown.
 */
export function startReading(text, { optimizer, lr, stride }) {
  const { reader, count } = text, theta = reader.theta.slice(), gradient = new Float64Array(theta.length);
  return {
    text, optimizer, lr, stride, theta, gradient, parts: readerParts(reader, theta), onParts: readerParts(reader, gradient),
    still: readerParts(reader, reader.theta), moments: optimizer === "Adam" ? [new Float64Array(theta.length), new Float64Array(theta.length)] : [],
    loss: new Float64Array(count), scored: 0, done: 0, steps: 0, inputs: 0,
  };
}

/** One step of torch.optim.SGD or torch.optim.Adam. */
function stepReader({ optimizer, lr, theta, gradient, moments: [first, second], steps }) {
  if (optimizer === "SGD") {
    for (let i = 0; i < theta.length; i++) theta[i] -= lr * gradient[i];
    return;
  }
  const length = lr / (1 - ADAM.first ** steps), spread = Math.sqrt(1 - ADAM.second ** steps);
  for (let i = 0; i < theta.length; i++) {
    const slope = gradient[i];
    first[i] += (1 - ADAM.first) * (slope - first[i]);
    second[i] = ADAM.second * second[i] + (1 - ADAM.second) * slope * slope;
    theta[i] -= length * first[i] / (Math.sqrt(second[i]) / spread + ADAM.eps);
  }
}

/** Score the next token; where it ends a block, learn the block. */
export function readToken(run) {
  const { text, stride, parts, onParts, still, scored, loss } = run, { reader, tokens, count } = text, { context } = reader;
  const start = scored - scored % stride, stop = Math.min(start + stride, count), place = context + scored; // the block, from the context on
  const chances = reader.slopes[2];
  if (text.known === scored) {
    readerLogits(reader, still, tokens, start, place);
    text.base[text.known++] = readerLoss(reader, tokens[place], chances);
  }
  readerLogits(reader, parts, tokens, start, place);
  loss[scored] = readerLoss(reader, tokens[place], chances);
  readerSlopes(reader, parts, onParts, tokens, start, place, stop - start);
  run.scored = scored + 1;
  if (run.scored < stop) return;
  run.steps++;
  stepReader(run);
  run.gradient.fill(0);
  run.done = stop;
  run.inputs += context + stop - start - 1;
}

/** FLOPs so far, of those that reading as much in one piece takes without learning: for learning, and for what was read again. */
export function readerCost({ text, inputs, done }) {
  const again = inputs / (text.reader.context + done - 1);
  return { again, all: LEARNING_COST * again };
}

/** `count` tokens that a reader with these numbers writes after a text, each drawn from what it expects. */
export function writeOn(reader, theta, tokens, count, random) {
  const parts = readerParts(reader, theta), chances = reader.slopes[2], written = [...tokens.slice(-reader.context)], from = written.length;
  while (written.length < from + count) {
    readerLogits(reader, parts, written, Math.max(0, written.length - reader.context), written.length);
    readerLoss(reader, 0, chances);
    let left = random.uniform(), token = 0;
    while (token < chances.length - 1 && !((left -= chances[token]) < 0)) token++;
    written.push(token);
  }
  return written.slice(from);
}

// --- the picture ------------------------------------------------------------------------------------------------------

const READER_PACE = 0.45; // milliseconds at least from one character to the next
const READER_SLICE = 9; // milliseconds of learning between two pictures
const READER_CHUNK = 8; // characters between two looks at the clock
const READER_CEILINGS = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20]; // bits per character
const READER_FEWEST = 16; // characters whose mean is drawn
const READER_WRITTEN = 120, READER_BEFORE = 30; // characters of a continuation, and of the text in front of it
const READER_SEED = 3;

/** The log-loss of a text along it, with and without learning, coloured between; and how each of the two would go on. */
function renderReader({ model, el }) {
  const card = makeCard(model, el);
  card.root.classList.add("lim-reader");
  const reader = makeReader(model.get("sizes"), typed(Float32Array, model.get("weights")));
  const names = model.get("names"), [optimizers, rates, strides] = ["optimizers", "lrs", "strides"].map((name) => model.get(name));
  const longest = model.get("longest"), ownPlace = names.length, texts = [...model.get("texts"), model.get("own")];
  const settings = {
    optimizer: optimizers[model.get("optimizers_index")], lr: rates[model.get("lrs_index")], stride: strides[model.get("strides_index")],
  };
  const state = { text: null, run: null, clock: null };

  // --- the curves -----------------------------------------------------------------------------------------------------
  const span = () => Math.max(25, Math.round(state.text.count / 20)); // characters whose mean is drawn
  const ofBits = (nats) => (Number.isFinite(nats) ? nats / Math.LN2 : Infinity);

  /** After each character, the mean of the last `span` of them, in bits. */
  function trailing(losses, done) {
    const last = span(), means = new Float64Array(done);
    for (let k = 0, sum = 0; k < done; k++) {
      sum += losses[k] - (k >= last ? losses[k - last] : 0);
      means[k] = ofBits(sum / Math.min(k + 1, last));
    }
    return means;
  }

  const draw = (pen, colours, width, height) => {
    const { text: { base, tokens, count }, run: { loss, done } } = state, { context } = reader;
    const [still, learned] = [base, loss].map((losses) => trailing(losses, done));
    const first = Math.min(READER_FEWEST, count) - 1; // a mean of fewer is no measure
    const highest = Math.max(...[still, learned].map((means) => means.subarray(first).reduce((high, mean) => Math.max(high, mean), 0)));
    const ceiling = READER_CEILINGS.find((each) => each >= highest) ?? READER_CEILINGS.at(-1);
    const plot = plotArea(width - 12, height, [0, Math.max(tokens.length, context + 1)], [0, ceiling], { left: 28 });
    const heights = roundTicks(0, ceiling, 7).filter(Number.isInteger).map((tick) => [tick, String(tick)]);
    for (const [tick] of heights.slice(1)) line(pen, [plot.left, plot.at(0, tick)[1], plot.right, plot.at(0, tick)[1]], colours.line, 1);
    const pointsOf = (means) => Array.from(means.subarray(first), (mean, k) => plot.at(context + first + k + 1, Math.min(mean, 2 * ceiling)));
    const [grey, colour] = [still, learned].map(pointsOf);
    clipTo(pen, plot, 0, () => {
      [[Math.max, colours.learned], [Math.min, colours.rival]].forEach(([choose, fill]) => { // y grows downwards
        pen.beginPath();
        grey.forEach(([x, y]) => pen.lineTo(x, y));
        for (let k = grey.length - 1; k >= 0; k--) pen.lineTo(grey[k][0], choose(grey[k][1], colour[k][1]));
        pen.fillStyle = fill;
        pen.globalAlpha = 0.3;
        pen.fill();
        pen.globalAlpha = 1;
      });
      line(pen, grey.flat(), colours.exact, 2.2);
      line(pen, colour.flat(), colours.learned, 2.6);
    });
    drawTicks(pen, plot, colours, { across: "character", heights });
    write(pen, `mean of ${span()} characters`, plot.left, plot.base + 30, colours.soft, "left");
    if (grey.length) [[grey, "exact"], [colour, "learned"]].forEach(([points, name]) => drawBead(pen, colours, plot, points.at(-1), name));
  };

  const scene = addScene(card, { caption: "Bits per character", alt: model.get("alt"), shape: 3, narrow: 1.5, wide: true, draw });
  card.pictures.after(makeKey([["static", "lim-stroke", "exact"], ["learning", "lim-stroke", "learned"],
    ["won", "lim-won", "learned"], ["lost", "lim-won", "rival"]]));

  // --- numbers, and what would be written -------------------------------------------------------------------------------
  const { row, counts } = makeCounts({
    base: "static, bits", own: "learning, bits", gain: "gain", steps: "gradient steps", cost: "FLOPs of static",
  });
  counts.own.parentElement.classList.add("lim-own");
  const writers = [["static", "exact"], ["learning", "learned"]].map(([name, colour]) => {
    const before = element("span", { className: "lim-before" }), after = element("span");
    const words = element("div", {}, element("strong", { textContent: name }), element("p", {}, before, after));
    words.style.setProperty("--dot", `var(--lim-${colour})`);
    return { before, after, words };
  });
  const writing = element("div", { className: "lim-writing" }, element("span", { textContent: "How each would go on from here" }), ...writers.map(({ words }) => words));
  card.note.before(row, writing);

  const inFew = (value, digits) => (Math.abs(value) < 1e4 ? value.toFixed(digits).replace("-", "\u2212") : shortNumber(value));

  /** The numbers so far. Gives what they say, in words. */
  function tell() {
    const { text, run } = state, { done, steps } = run;
    const [base, own] = [text.base, run.loss].map((losses) => ofBits(losses.subarray(0, done).reduce((sum, loss) => sum + loss, 0) / done));
    const gain = 100 * (1 - own / base), cost = readerCost(run);
    const shown = done ? {
      base: inFew(base, 2), own: inFew(own, 2), gain: Number.isFinite(gain) ? `${inFew(gain, 1)}\u202f%` : "\u2212\u221e",
      steps: String(steps), cost: `${cost.all.toFixed(1)} \u00d7`,
    } : {};
    for (const [name, place] of Object.entries(counts)) place.textContent = shown[name] ?? "\u2013";
    row.classList.toggle("lim-loses", done > 0 && !(own <= base));
    scene.value.textContent = text.count ? `${reader.context + done} of ${text.tokens.length} characters` : "";
    if (!done) return "";
    return `After ${reader.context + done} characters: static ${shown.base}, learning ${shown.own} bits per character, a gain of ${shown.gain} in ${steps} steps.`;
  }

  function goOn() {
    const { text: { tokens }, run } = state, read = tokens.subarray(0, Math.min(tokens.length, reader.context + run.done));
    [reader.theta, run.theta].forEach((theta, k) => {
      const { before, after } = writers[k];
      before.textContent = readerText(read.subarray(-READER_BEFORE)).split("\n").at(-1);
      after.textContent = read.length ? readerText(writeOn(reader, theta, read, READER_WRITTEN, normals(READER_SEED))) : "";
    });
  }

  // --- running --------------------------------------------------------------------------------------------------------
  const isOver = () => state.run.done === state.text.count;

  /** Come to rest, with everything that takes a moment: what each would write, and the numbers in words. */
  function rest() {
    cancelAnimationFrame(state.clock);
    state.clock = null;
    runButton.textContent = "Run";
    const { text, run } = state;
    const words = tell();
    goOn();
    scene.redraw();
    scene.canvas.setAttribute("aria-label", `${model.get("alt")} ${words}`.trim());
    const { again } = readerCost(run);
    card.note.textContent = (text.count ? run.done ? `FLOPs, against static in one pass: ${LEARNING_COST} \u00d7 for learning, ${again.toFixed(2)} \u00d7 for context that each block reads again. ` : ""
      : `Type more than ${reader.context} characters. `) + model.get("note");
    card.root.dataset.state = isOver() ? "done" : "paused";
  }

  function play() {
    if (isOver()) startAgain();
    if (isOver()) { rest(); return; } // there is nothing to read
    const { run, text: { count } } = state, from = run.scored, isStill = wantsStillness();
    let began = null;
    card.root.dataset.state = "running";
    runButton.textContent = "Pause";
    const tick = (now) => {
      if (!card.root.isConnected) return;
      if (isOver()) { rest(); return; } // in a frame of its own
      began ??= now;
      const wanted = isStill ? count : Math.min(count, from + Math.ceil((now - began) / READER_PACE));
      for (const late = performance.now() + READER_SLICE; run.scored < wanted && performance.now() < late;) {
        for (let k = 0; k < READER_CHUNK && run.scored < wanted; k++) readToken(run);
      }
      if (!isStill) { tell(); scene.redraw(); }
      state.clock = requestAnimationFrame(tick);
    };
    state.clock = requestAnimationFrame(tick);
  }

  /** Nothing of the text is read, and what the model has learned is forgotten. */
  function startAgain() {
    cancelAnimationFrame(state.clock);
    state.run = startReading(state.text, settings);
    tell();
    scene.redraw();
  }

  function setText(place) {
    state.text = startText(reader, readerTokens(texts[place]));
    const { length } = state.text.tokens;
    size.textContent = `${length} of ${longest}`;
  }

  // --- controls -------------------------------------------------------------------------------------------------------
  const change = (changes) => { Object.assign(settings, changes); startAgain(); play(); };
  const list = addSelect(card, { label: "Text", options: [...names, "your own"], index: 0 }, (place) => {
    area.value = texts[place];
    setText(place);
    change({});
  });
  addSelect(card, { label: "Optimiser", options: optimizers, index: model.get("optimizers_index") }, (place) => change({ optimizer: optimizers[place] }));
  const choices = (values, name) => ({ min: 0, max: values.length - 1, step: 1, value: model.get(`${name}_index`), show: (place) => markText(values[place]) });
  addSlider(card, { label: "Learning rate", ...choices(rates, "lrs") }, (place) => change({ lr: rates[place] }));
  addSlider(card, { label: "Stride", ...choices(strides, "strides") }, (place) => change({ stride: strides[place] }));

  const area = element("textarea", { rows: 3, maxLength: longest, spellcheck: false, value: texts[0], placeholder: "Type or paste a text." });
  const size = addLabelled(card, "The text: edit or type", area);
  size.setAttribute("aria-live", "off");
  area.parentElement.classList.add("lim-typed");
  for (const kind of ["keyup", "keypress", "copy", "cut", "paste"]) area.addEventListener(kind, (event) => event.stopPropagation());
  area.addEventListener("input", () => {
    list.value = ownPlace;
    texts[ownPlace] = area.value;
    setText(ownPlace);
    change({});
  });

  const runButton = addButton(card, "Run", () => (card.root.dataset.state === "running" ? rest() : play()));
  addButton(card, "One block", () => {
    if (isOver()) startAgain();
    const { run } = state, { steps } = run;
    while (run.steps === steps && !isOver()) readToken(run);
    rest();
  });
  addButton(card, "Start again", () => { startAgain(); rest(); });
  setText(0);
  startAgain();
  goOn();
  play();
  return () => { cancelAnimationFrame(state.clock); scene.stop(); };
}
