// live_reading: a text coloured by how well each character was predicted, above by a reader that learns nothing, below by one that does.

// --- companion.teaching.widgets.reading: mean_bits ------------------------------------------------------------------------

/** Sums of the losses (whole steps, one for each character) before each place, and of all of them at the end. */
export function sumLosses(losses) {
  const sums = new Float64Array(losses.length + 1);
  for (let at = 0; at < losses.length; at++) sums[at + 1] = sums[at] + losses[at];
  return sums;
}

/** Mean bits over the characters up to a place, itself included: over all of them or the last `span`. */
export function meanBits(sums, steps, place, span = Infinity) {
  const first = Math.max(0, place + 1 - span);
  return (sums[place + 1] - sums[first]) / (steps * (place + 1 - first));
}

/** What share of the bits of one reader another saves, negative where it needs more; null where there is nothing to save. */
export const savedShare = (before, after) => (before > 0 ? 1 - after / before : null);

// --- lines and pages ----------------------------------------------------------------------------------------------------

/**
 * Where each line begins, and the end of the text. A line ends after a line break and those that follow it at once (empty
 * lines need no room), or after the last space that keeps it within `columns` (but not after a mere indent), or where it is full.
 */
export function wrapLines(text, columns) {
  const starts = [0];
  for (let start = 0; start < text.length;) {
    const full = start + columns, broken = text.indexOf("\n", start);
    let end = broken < 0 ? text.length : broken + 1;
    if (end <= full) while (end < full && text[end] === "\n") end++;
    else {
      const last = text.lastIndexOf(" ", full - 1);
      end = last > start && text.slice(start, last).trim() ? last + 1 : full;
    }
    starts.push((start = end));
  }
  return starts;
}

/** The line that a place is in. */
export function lineOf(starts, place) {
  let low = 0, high = starts.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle] <= place) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** The first line of the page with a line: a new page begins with the last `kept` lines of the one before it. */
export function pageTop(line, lines, rows, kept) {
  const turn = rows - kept;
  return Math.max(0, Math.min(lines - rows, Math.floor((line - kept) / turn) * turn));
}

// --- colours --------------------------------------------------------------------------------------------------------------

const READING_CONTRAST = 4.5;

/** The relative luminance of a colour [red, green, blue] from 0 to 255, as contrast is defined by. */
function luminance(colour) {
  const [red, green, blue] = colour.map((part) => (part <= 10.31475 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

export function contrastOf(one, other) {
  const [dark, light] = [one, other].map(luminance).sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

const readHex = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));

/**
 * The background of each loss, from 0 to `last` steps and beyond, between evenly spaced colours (as #rrggbb), and the first
 * of some inks that can be read on it; white or black always can.
 */
export function surpriseColours(stops, ink, last) {
  const ends = stops.map(readHex), inks = [ink, "#ffffff", "#000000"], fills = [], texts = [];
  for (let loss = 0; loss <= last; loss++) {
    const at = loss * (ends.length - 1) / last, from = Math.min(ends.length - 2, Math.floor(at));
    const fill = ends[from].map((low, k) => Math.round(low + (at - from) * (ends[from + 1][k] - low)));
    fills.push(`rgb(${fill.join()})`);
    texts.push(inks.find((each) => contrastOf(readHex(each), fill) >= READING_CONTRAST));
  }
  return { fills, texts };
}

// --- words --------------------------------------------------------------------------------------------------------------

/** A probability in percent, from the bits that a character cost; the ends of the scale stand for all beyond them. */
export function chanceText(loss, steps) {
  const percent = 100 * 2 ** (-loss / steps);
  if (loss === 0) return `>${Math.floor(100 * 2 ** (-0.5 / steps))}\u202f%`;
  if (loss === 255) return `<${Number((100 * 2 ** (-254.5 / steps)).toPrecision(1))}\u202f%`;
  return `${percent >= 9.95 ? Math.round(percent) : percent.toPrecision(2)}\u202f%`;
}

/** A character in words, or with the sign of a line break that the panels have. */
const characterText = (letter) => (letter === " " ? "space" : `\u201c${letter === "\n" ? "\u21b5" : letter}\u201d`);

/** Cut a name so that it fits; nothing where not even three letters do. */
function shorten(pen, name, room) {
  let text = name;
  for (let kept = name.length; pen.measureText(text).width > room; text = `${name.slice(0, kept)}\u2026`) if (--kept < 3) return "";
  return text;
}

// --- the picture ------------------------------------------------------------------------------------------------------

const READING_PACE = 160; // characters that a play reads in a second
const READING_ROWS = 7; // lines of a panel
const READING_KEPT = 2; // of them, those that were on the page before
const READING_PAD = 6; // pixels around the text
const READING_FULL = 8; // bits that have the last colour
const READING_FIRST = 50; // characters before the curve begins: a mean over fewer says little
const READING_FONT = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace';

/** The text twice, coloured by what each character cost; the mean loss over the whole text; bits and probabilities in numbers. */
function renderReading({ model, el }) {
  const card = makeCard(model, el);
  card.root.classList.add("lim-reading");
  const [text, names, steps, span] = ["text", "names", "steps", "span"].map((name) => model.get(name)), size = text.length;
  const bytes = typed(Uint8Array, model.get("losses"));
  const readers = names.map((name, row) => {
    const losses = bytes.subarray(row * size, (row + 1) * size);
    return { name, losses, sums: sumLosses(losses) };
  });
  const upper = readers[model.get("static_index")], others = readers.filter((reader) => reader !== upper);
  const markNames = model.get("mark_names"), marks = model.get("mark_places").map((place, k) => ({ place, name: markNames[k] }));
  const state = { place: model.get("place"), lower: readers[model.get("shown_index")], hover: null, isTouched: false };
  const recent = (reader, place) => meanBits(reader.sums, steps, place, span);

  // --- the text -----------------------------------------------------------------------------------------------------------
  /** The colours of losses in the theme of now. */
  function paletteOf(canvas) {
    const style = getComputedStyle(canvas);
    const [ink, ...stops] = ["ink", ...[0, 1, 2, 3, 4].map((k) => `surprise-${k}`)].map((name) => style.getPropertyValue(`--lim-${name}`).trim());
    return surpriseColours(stops, ink, READING_FULL * steps);
  }

  let page = { columns: 0 };
  /** Where the text stands on the canvas, and which of its lines are on show. */
  function setPage(pen, width, height) {
    const em = parseFloat(getComputedStyle(pen.canvas).fontSize);
    pen.font = `${em}px ${READING_FONT}`;
    const cell = pen.measureText("0".repeat(64)).width / 64, row = (height - 2 * READING_PAD) / READING_ROWS;
    const columns = Math.max(8, Math.floor((width - 2 * READING_PAD) / cell));
    const starts = columns === page.columns ? page.starts : wrapLines(text, columns), lines = starts.length - 1;
    const top = pageTop(lineOf(starts, state.place), lines, READING_ROWS, READING_KEPT);
    page = { columns, starts, em, cell, row, top, bottom: Math.min(lines, top + READING_ROWS) };
  }

  /** A place's cell, [left, top, right, bottom], if it is on show. */
  function cellAt(place) {
    const { starts, cell, row, top, bottom } = page, line = lineOf(starts, place);
    if (line < top || line >= bottom) return null;
    const x = READING_PAD + (place - starts[line]) * cell, y = READING_PAD + (line - top) * row;
    return [x, y, x + cell, y + row];
  }

  /** The sign of a line break, thinner than a letter. */
  function drawBreak(pen, x, y, { cell, em }, colour) {
    const [left, right, low, high] = [x + 1.5, x + cell - 1.5, y + 0.1 * em, y - 0.25 * em];
    line(pen, [right, high, right, low, left, low], colour, 1);
    line(pen, [left + 2.5, low - 2.5, left, low, left + 2.5, low + 2.5], colour, 1);
  }

  function drawText(pen, colours, width, height, { fills, texts }, losses) {
    const full = fills.length - 1;
    const ratio = window.devicePixelRatio || 1, whole = (value) => Math.round(value * ratio) / ratio;
    setPage(pen, width, height);
    const { starts, em, cell, row, top, bottom } = page, { place } = state;
    pen.fillStyle = fills[0];
    pen.fillRect(0, 0, width, height);
    pen.textAlign = "left";
    for (let l = top; l < bottom; l++) {
      const y = READING_PAD + (l - top) * row, base = y + row / 2 + 0.34 * em, words = new Map();
      for (let at = starts[l]; at < starts[l + 1]; at++) {
        const x = READING_PAD + (at - starts[l]) * cell, isRead = at <= place, loss = Math.min(full, losses[at]);
        if (isRead && loss > 0) {
          pen.fillStyle = fills[loss];
          pen.fillRect(whole(x), whole(y), whole(x + cell) - whole(x), whole(y + row) - whole(y));
        }
        const ink = isRead ? texts[loss] : colours.soft;
        if (text[at] === "\n") drawBreak(pen, x, y + row / 2, page, ink);
        else if (text[at] !== " ") words.set(ink, (words.get(ink) ?? "").padEnd(at - starts[l]) + text[at]);
      }
      for (const [ink, letters] of words) { // each ink of a line at once: all letters are equally wide
        pen.fillStyle = ink;
        pen.fillText(letters, READING_PAD, base);
      }
    }
    for (const mark of marks) drawEdge(pen, cellAt(mark.place), colours);
    if (state.hover !== null) drawFrame(pen, cellAt(state.hover), colours.learned);
    drawFrame(pen, cellAt(place), colours.ink);
  }

  /** A panel of the text as one reader saw it; its colours are found again when the theme changes. */
  function addPanel(readerOf) {
    let palette, of = null;
    const draw = (pen, colours, width, height) => {
      if (of !== colours) [palette, of] = [paletteOf(pen.canvas), colours];
      drawText(pen, colours, width, height, palette, readerOf().losses);
    };
    return { readerOf, scene: addScene(card, { caption: readerOf().name, alt: "", shape: 3, wide: true, draw }) };
  }

  function drawEdge(pen, cell, colours) {
    if (cell) line(pen, [cell[0] - 1, cell[1], cell[0] - 1, cell[3]], colours.ink, 2);
  }
  function drawFrame(pen, cell, colour) {
    if (!cell) return;
    pen.strokeStyle = colour;
    pen.lineWidth = 2;
    pen.strokeRect(cell[0] - 1, cell[1] - 0.5, cell[2] - cell[0] + 2, cell[3] - cell[1] + 1);
  }

  // --- the curve ----------------------------------------------------------------------------------------------------------
  const begin = Math.min(READING_FIRST, size) - 1;
  let ceiling = 1;
  for (const reader of readers) for (let place = begin; place < size; place++) ceiling = Math.max(ceiling, recent(reader, place));

  const drawCurve = (pen, colours, width, height) => {
    const plot = plotArea(width, height, [0, size - 1], [0, 1.05 * ceiling], { left: 40, above: 22 }), { place } = state;
    drawTicks(pen, plot, colours, { across: "character", heights: roundTicks(...plot.up, 4).map((tick) => [tick, String(tick)]) });
    marks.forEach((mark, k) => {
      const [x] = plot.at(mark.place, 0), [next] = k + 1 < marks.length ? plot.at(marks[k + 1].place, 0) : [width];
      if (mark.place > 0) line(pen, [x, 4, x, plot.base], colours.exact, 1.4, 0.8);
      write(pen, "", 0, 0, colours.soft, "left"); // its font is what is measured
      write(pen, shorten(pen, mark.name, next - x - 12), x + (mark.place > 0 ? 5 : 0), 14, colours.soft, "left");
    });
    const left = Math.floor(plot.at(begin, 0)[0]), count = Math.max(1, Math.ceil(plot.right - left)); // a point each pixel
    const places = [...new Set(Array.from({ length: count + 1 }, (_, k) => Math.round(begin + (size - 1 - begin) * k / count)))];
    const over = places.filter((each) => each < place), rest = places.filter((each) => each > place);
    if (place >= begin) over.push(place);
    if (place >= begin) rest.unshift(place);
    const trace = (reader, along) => along.flatMap((each) => plot.at(each, recent(reader, each)));
    const ways = [[upper, "rival", [6, 3]], [state.lower, "learned", []]].map(([reader, colour, dash]) => ({ reader, colour, dash, done: trace(reader, over) }));
    if (over.length > 1) { // what is saved
      pen.fillStyle = colours.learned;
      pen.globalAlpha = 0.18;
      pen.beginPath();
      for (let i = 0; i < ways[0].done.length; i += 2) pen.lineTo(ways[0].done[i], ways[0].done[i + 1]);
      for (let i = ways[1].done.length - 2; i >= 0; i -= 2) pen.lineTo(ways[1].done[i], ways[1].done[i + 1]);
      pen.fill();
      pen.globalAlpha = 1;
    }
    for (const { reader, colour, dash, done } of ways) {
      pen.setLineDash(dash);
      line(pen, trace(reader, rest), colours[colour], 1.8, 0.4);
      line(pen, done, colours[colour], 2.2);
      pen.setLineDash([]);
    }
    const [now] = plot.at(place, 0);
    line(pen, [now, plot.top - 4, now, plot.base], colours.ink, 1.4, 0.8);
    if (place >= begin) for (const { colour, done } of ways) drawBead(pen, colours, plot, done.slice(-2), colour);
  };

  const panels = [() => upper, () => state.lower].map(addPanel), looks = [["rival", "lim-run-dashed"], ["learned", "lim-run-solid"]];
  /** The line that a reader has in the curve, before its name. */
  function setLine(node, [colour, className]) {
    node.classList.add("lim-run", className);
    node.style.setProperty("--dot", `var(--lim-${colour})`);
  }
  panels.forEach(({ scene }, k) => setLine(scene.title, looks[k]));
  const scale = element("div", { className: "lim-surprise" }, ...["0", "2", "4", "6", "8+"].map((textContent) => element("span", { textContent })));
  scale.setAttribute("aria-hidden", "true");
  const legend = element("div", { className: "lim-surprises" }, element("span", { textContent: "foreseen" }), scale, element("span", { textContent: "surprise, in bits" }));
  card.pictures.append(legend);
  const curve = addScene(card, { caption: `Bits per character, mean of the last ${span}`, alt: "", shape: 3, draw: drawCurve });
  const scenes = [...panels.map(({ scene }) => scene), curve];

  // --- numbers --------------------------------------------------------------------------------------------------------
  const heads = [0, 1, 2].map(() => element("th", { scope: "col" }));
  looks.forEach((look, k) => setLine(heads[k], look));
  const rows = ["Mean bits so far", `in the last ${span}`, ""].map((textContent) =>
    element("tr", {}, element("th", { scope: "row", textContent }), ...heads.map(() => element("td"))));
  card.pictures.append(element("table", { className: "lim-table" },
    element("thead", {}, element("tr", {}, element("td"), ...heads)), element("tbody", {}, ...rows)));
  const sign = element("span", { className: "lim-letter" });
  rows[2].cells[0].append("Probability of ", sign);
  heads[0].textContent = upper.name;
  heads[2].textContent = "gain";

  const fill = (row, texts) => texts.forEach((each, k) => { row.cells[k + 1].textContent = each; });
  const both = () => [upper, state.lower];
  const shareText = (share) => (share === null ? "\u2013" : `${(100 * share).toFixed(Math.abs(share) < 0.9995 ? 1 : 0).replace("-", "\u2212")}\u202f%`);
  const bitsText = (pair) => [...pair.map((bits) => bits.toFixed(2)), shareText(savedShare(...pair))];
  const wholePlace = (place) => `${place + 1} of ${size}`;

  /** The probabilities of the character under the pointer, or else of that at the place. */
  function showCharacter() {
    const at = state.hover ?? state.place, losses = both().map((reader) => reader.losses[at]);
    sign.textContent = characterText(text[at]);
    const isExact = losses.every((loss) => loss > 0 && loss < 255), factor = 2 ** ((losses[0] - losses[1]) / steps);
    fill(rows[2], [...losses.map((loss) => chanceText(loss, steps)), isExact ? `\u00d7\u202f${markText(Number(factor.toPrecision(2)))}` : ""]);
  }

  function show(place) {
    const isLeft = state.isTouched && place !== state.place; // a finger points at nothing once the place has moved
    state.place = place;
    slider.set(place);
    const author = marks.findLast((mark) => mark.place <= place)?.name ?? "";
    heads[1].textContent = state.lower.name;
    panels[0].scene.value.textContent = author;
    panels[1].scene.title.textContent = state.lower.name;
    const sofar = bitsText(both().map((reader) => meanBits(reader.sums, steps, place)));
    const now = bitsText(both().map((reader) => recent(reader, place)));
    fill(rows[0], sofar);
    fill(rows[1], now);
    for (const scene of scenes) scene.redraw();
    if (state.hover !== null && (isLeft || state.hover > place || !cellAt(state.hover))) {
      state.hover = null;
      for (const { scene } of panels) scene.redraw();
    }
    showCharacter();
    const first = page.starts[page.top];
    for (const { scene, readerOf } of panels) {
      const mean = meanBits(readerOf().sums, steps, place, place + 1 - first).toFixed(2);
      scene.canvas.setAttribute("aria-label", `As ${readerOf().name} read it: characters ${first + 1} to ${wholePlace(place)}, at ${mean} bits each. ${model.get("alt")}`);
    }
    curve.canvas.setAttribute("aria-label", `Mean loss of the last ${span} characters, along the text. At character ${wholePlace(place)}: `
      + `${upper.name} ${now[0]}, ${state.lower.name} ${now[1]} bits per character. Over all so far: ${sofar[0]} and ${sofar[1]}, a gain of ${sofar[2]}. ${model.get("alt")}`);
  }

  // --- the pointer ----------------------------------------------------------------------------------------------------------
  function point(place) {
    if (place === state.hover) return;
    state.hover = place;
    for (const { scene } of panels) scene.redraw();
    showCharacter();
  }
  /** The place under the pointer, if it has been read. */
  function placeUnder(event) {
    const box = event.currentTarget.getBoundingClientRect(), { starts, cell, row, top, bottom } = page;
    const column = Math.floor((event.clientX - box.left - READING_PAD) / cell), at = top + Math.floor((event.clientY - box.top - READING_PAD) / row);
    if (column < 0 || at < top || at >= bottom) return null;
    const place = starts[at] + column;
    return place < starts[at + 1] && place <= state.place ? place : null;
  }
  for (const { scene: { canvas } } of panels) {
    for (const name of ["pointermove", "pointerdown"]) {
      canvas.addEventListener(name, (event) => {
        state.isTouched = event.pointerType !== "mouse";
        point(placeUnder(event));
      });
    }
    canvas.addEventListener("pointerleave", (event) => { if (!state.isTouched) point(null); }); // a finger leaves when it is lifted
  }

  // --- controls -------------------------------------------------------------------------------------------------------
  const slider = addSlider(card, { label: "Place", min: 0, max: size - 1, step: 1, value: state.place, show: wholePlace }, (place) => player.rest(place));
  if (others.length > 1) {
    addSelect(card, { label: "Lower panel", options: others.map(({ name }) => name), index: others.indexOf(state.lower) }, (index) => {
      state.lower = others[index];
      show(player.step);
    });
  }
  card.note.textContent = model.get("note");
  const player = addPlayer(card, { steps: size - 1, span: 1000 * (size - 1) / READING_PACE, first: state.place, show });
  slideAlong(curve.canvas, { left: 40 }, [0, size - 1], size - 1, (place) => player.rest(place));
  player.rest();
  return () => { player.stop(); scenes.forEach((scene) => scene.stop()); };
}
