// live_wall: a stream of tasks as a wall of pictures in time, the current task, and how every learner has done so far.

// --- numbers ------------------------------------------------------------------------------------------------------------

/** Of each learner (`errors`, row by row, `tasks` numbers in a row), the mean of its errors up to each task. */
export function wallMeans(errors, tasks) {
  return Array.from({ length: errors.length / tasks }, (_, learner) => {
    let total = 0;
    return Float64Array.from({ length: tasks }, (_, place) => (total += errors[learner * tasks + place]) / (place + 1));
  });
}

/** How many tasks of each family there are up to a task. */
export function wallFamilies(familyOf, families, place) {
  const counts = Array(families).fill(0);
  for (const family of familyOf.slice(0, place + 1)) counts[family]++;
  return counts;
}

/** Those of the learners on show whose mean so far is the lowest; equal ones in their order. */
export function wallLowest(means, shown, place) {
  const least = Math.min(...shown.map((learner) => inParts(means[learner][place])));
  return shown.filter((learner) => inParts(means[learner][place]) === least);
}

/** The range of heights for the means so far: of the first few tasks, which tell little, what does not fit is left out. */
export function wallRange(means, shown, tasks) {
  const first = Math.min(tasks - 1, Math.ceil(tasks / 20)), values = shown.flatMap((learner) => Array.from(means[learner].slice(first)));
  const [low, high] = [Math.min(...values), Math.max(...values)], room = Math.max(0.02, 0.12 * (high - low));
  return [Math.max(0, low - room), Math.min(1, high + room)];
}

/**
 * Where the pictures of a wall of a width lie: in so few columns that it is not higher than `most`, or in as many as a finger
 * can still tell apart. `rows` have room below for the mark of a family, and on the left for a number.
 */
export function wallGrid(width, count, { least = 26, largest = 60, most = 350 } = {}) {
  const across = width - WALL_LEFT, fits = Math.max(1, Math.floor(across / least));
  let columns = Math.min(count, fits, Math.max(1, Math.ceil(across / largest)));
  const heightAt = (each) => Math.ceil(count / each) * (Math.min(largest, across / each) + WALL_STRIP);
  while (columns < Math.min(fits, count) && heightAt(columns) > most) columns++;
  const pitch = Math.min(largest, across / columns), rows = Math.ceil(count / columns);
  return { columns, rows, pitch, down: pitch + WALL_STRIP, height: Math.ceil(rows * (pitch + WALL_STRIP)) + 2 };
}

/** The upper left corner of a place of the wall. */
export const wallCorner = ({ columns, pitch, down }, place) => [WALL_LEFT + (place % columns) * pitch, 1 + Math.floor(place / columns) * down];

/** Which place of the wall lies at a point; null where there is none. */
export function wallPlaceAt({ columns, pitch, down }, count, x, y) {
  const column = Math.floor((x - WALL_LEFT) / pitch), place = Math.floor((y - 1) / down) * columns + column;
  return column >= 0 && column < columns && place >= 0 && place < count ? place : null;
}

// --- words --------------------------------------------------------------------------------------------------------------

/** Such as 1st, 12th, 23rd. */
export function wallOrdinal(count) {
  const ends = { 1: "st", 2: "nd", 3: "rd" };
  return `${count}${(Math.floor(count / 10) % 10 === 1 ? null : ends[count % 10]) ?? "th"}`;
}

const wallPoints = (difference) => (100 * difference).toFixed(1);
const wallPointsText = (difference) => {
  const text = wallPoints(difference);
  return Number(text) === 0 ? "less than 0.1 points" : `${text} ${text === "1.0" ? "point" : "points"}`;
};

/** By how many points one mean error is below a reference's, or above. */
export function wallAhead(mean, reference) {
  const text = wallPoints(Math.abs(reference - mean));
  if (Number(text) === 0) return "level";
  return `${text}\u00a0${mean < reference ? "ahead" : "behind"}`;
}

/** Where the stream is, and who has the lowest mean error so far. `reference` is one of the learners `shown`. */
export function wallSentence({ place, tasks, family, count, names, means, shown, reference }) {
  const met = count === 1 ? "a family met for the first time" : `the ${wallOrdinal(count)} of its family`;
  const at = (learner) => means[learner][place], name = (learner) => wayQuoted(names[learner]);
  const begin = `Task ${place + 1} of ${tasks}, ${family}: ${met}. So far `;
  const leaders = wallLowest(means, shown, place), [first] = leaders, error = shareText(at(first));
  if (shown.length === 1) return `${begin}${name(first)} has a mean error of ${error}.`;
  const rivals = shown.filter((learner) => !leaders.includes(learner)).sort((one, other) => at(one) - at(other));
  if (leaders.length === shown.length) return `${begin}all learners shown are level: mean error ${error}.`;
  const other = leaders.includes(reference) ? rivals[0] : reference, beside = `, ${wallPointsText(at(other) - at(first))} below ${name(other)}`;
  if (leaders.length > 1) {
    const rest = leaders.length - 2, both = rest ? `${leaders.slice(0, 2).map(name).join(", ")} and ${rest} more` : leaders.map(name).join(" and ");
    return `${begin}${both} share the lowest mean error, ${error}${beside}.`;
  }
  return `${begin}${name(first)}${first === reference ? ", the reference," : ""} has the lowest mean error, ${error}${beside}.`;
}

const wallCounted = (count, one, many) => `${count.toLocaleString("en-US")} ${count === 1 ? one : many}`;

/** What a task asks. */
export function wallTaskText(classes, train, isSeveral) {
  const asked = isSeveral ? `${classes} labels, several at once` : `${classes} classes, one label each`;
  return `${asked}; ${wallCounted(train, "training picture", "training pictures")}`;
}

// --- marks ----------------------------------------------------------------------------------------------------------------

const WALL_PACE = 300; // milliseconds from one task to the next in a play
const WALL_LEFT = 34, WALL_STRIP = 13; // pixels: beside a line for its first task's number, below a picture for its family's mark
const WALL_HUES = 5;
const WALL_PALE = 0.22; // opacity of what is not met yet
const WALL_SWATCH = [30, 14];
const WALL_SHORT = 7; // letters of a caption that fit in one line

/** Ten marks that differ in shape: four filled, the same four empty, a plus and a cross. */
function drawWallFamily(pen, family, [x, y], r, colour, opacity = 1) {
  pen.globalAlpha = opacity;
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 0.42 * r;
  pen.lineJoin = "miter";
  if (family < 8) {
    traceMarks(pen, CLASS_MARKS[family % 4], [x, y], family < 4 ? r : 0.86 * r, -1);
    pen[family < 4 ? "fill" : "stroke"]();
  } else {
    const [a, b] = family === 8 ? [1.15 * r, 0] : [0.85 * r, 0.85 * r];
    pen.lineWidth = 0.56 * r;
    pen.beginPath();
    for (const [dx, dy] of [[a, b], [-b, a]]) { pen.moveTo(x - dx, y - dy); pen.lineTo(x + dx, y + dy); }
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

/** A text with room for the highest of others, so that nothing moves when it changes. */
function wallRoom(tag, className) {
  const said = element("span"), node = element(tag, { className: `lim-roomy ${className}` }, said);
  let texts = [];
  /** Once more, for the width of now. */
  const measure = () => {
    const hidden = texts.map((textContent) => element("span", { textContent, className: "lim-room" }));
    node.style.minHeight = "";
    node.append(...hidden);
    node.style.minHeight = `${Math.ceil(node.getBoundingClientRect().height)}px`;
    for (const each of hidden) each.remove();
  };
  return { node, said, measure, reserve(all) { texts = [...new Set(all)]; measure(); } };
}

/** A canvas of fixed size in CSS pixels, cleared, and its pen. */
function wallPen(canvas, [width, height]) {
  const ratio = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  return pen;
}

// --- the picture ------------------------------------------------------------------------------------------------------

/** The stream as a wall; the current task's pictures; means so far against time; a list of all learners. */
function renderWall({ model, el }) {
  const card = makeCard(model, el);
  card.root.classList.add("lim-wall");
  const [tasks, families, familyOf, classes, train, several, captions, names] =
    ["tasks", "families", "family_of", "classes", "train", "several", "captions", "learners"].map((name) => model.get(name));
  const [count, high, wide] = model.get("shape"), last = tasks.length - 1, bytes = typed(Uint8Array, model.get("pictures"));
  const errors = typed(Float64Array, model.get("errors")), means = wallMeans(errors, tasks.length), reference = model.get("reference_index");
  const state = { place: model.get("place"), shown: new Set(model.get("shown")), lit: null, held: null };
  const shownLearners = () => names.map((_, learner) => learner).filter((learner) => state.shown.has(learner));
  const sofar = tasks.map((_, place) => wallFamilies(familyOf, families.length, place)), firsts = families.map((_, family) => familyOf.indexOf(family));
  let inks = {}, inksOf = null, range = [0, 1];

  /** The hues in the theme of now; what is drawn with them outside the scenes follows. */
  function readInks(canvas, colours) {
    if (inksOf === colours) return;
    const style = getComputedStyle(canvas);
    inks = { ink: colours.ink, soft: colours.soft };
    for (let k = 0; k < WALL_HUES; k++) inks[`wall-${k}`] = style.getPropertyValue(`--lim-wall-${k}`).trim();
    inksOf = colours;
    drawSwatches();
  }
  const familyInk = (family) => inks[`wall-${family % WALL_HUES}`];

  // --- pictures -----------------------------------------------------------------------------------------------------------
  /** Picture number `which` of a task, on a canvas of its size or `left` pixels from the left of a longer one. */
  const image = new ImageData(wide, high);
  function drawPicture(pen, place, which, left = 0) {
    const start = (place * count + which) * high * wide, { data } = image;
    for (let k = 0, at = 0; k < high * wide; k++, at += 4) {
      data[at] = data[at + 1] = data[at + 2] = bytes[start + k];
      data[at + 3] = 255;
    }
    pen.putImageData(image, left, 0);
  }
  // The first pictures side by side, with a gap, so that none shows at the edge of its neighbour.
  const thumbs = element("canvas", { width: tasks.length * (wide + 2), height: high }), thumbPen = thumbs.getContext("2d");
  tasks.forEach((_, place) => drawPicture(thumbPen, place, 0, place * (wide + 2)));

  // --- the wall -------------------------------------------------------------------------------------------------------------
  let grid = null;
  const litFamily = () => state.lit ?? state.held;

  function opacityOf(place) {
    const lit = litFamily(), isMet = place <= state.place;
    if (lit === null) return isMet ? 1 : WALL_PALE;
    return familyOf[place] === lit ? (isMet ? 1 : 0.5) : isMet ? 0.25 : 0.08;
  }

  function drawTask(pen, colours, place) {
    const [x, y] = wallCorner(grid, place), side = grid.pitch - 3, family = familyOf[place], opacity = opacityOf(place);
    const across = side * Math.min(1, wide / high), down = side * Math.min(1, high / wide), left = x + (side - across) / 2, top = y + 1 + (side - down) / 2;
    pen.globalAlpha = opacity;
    pen.drawImage(thumbs, place * (wide + 2), 0, wide, high, left, top, across, down);
    pen.globalAlpha = 1;
    if (familyOf[place] === litFamily()) {
      pen.strokeStyle = familyInk(family);
      pen.lineWidth = 2;
      pen.strokeRect(left - 0.5, top - 0.5, across + 1, down + 1);
    }
    drawWallFamily(pen, family, [x + side / 2, y + grid.pitch + 4], 4, familyInk(family), Math.max(opacity, 0.3));
  }

  /** A frame about the current picture and its mark, with an edge that keeps it apart from its neighbours. */
  function drawRing(pen, colours) {
    const [x, y] = wallCorner(grid, state.place);
    for (const [colour, width] of [[colours.surface, 6], [colours.ink, 3]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.strokeRect(x - 1.5, y - 0.5, grid.pitch, grid.down - 1);
    }
  }

  function drawWall(pen, colours, width, height) {
    readInks(pen.canvas, colours);
    if (width <= 2 * WALL_LEFT) return;
    if (!grid || grid.width !== width) for (const text of [sentence, heading, facts]) text.measure();
    grid = { ...wallGrid(width, tasks.length), width };
    if (grid.height !== height) { pen.canvas.style.height = `${grid.height}px`; return; } // and is drawn at once in its new size
    for (let row = 0; row < grid.rows; row++) {
      const place = row * grid.columns, [, y] = wallCorner(grid, place);
      write(pen, String(place + 1), WALL_LEFT - 7, y + grid.pitch / 2 + 4, place <= state.place ? colours.ink : colours.soft, "right");
    }
    tasks.forEach((_, place) => drawTask(pen, colours, place));
    drawRing(pen, colours);
  }

  const wall = addScene(card, { caption: "The stream, line by line", alt: "", shape: 2, wide: true, draw: drawWall });
  wall.canvas.classList.add("lim-bricks");

  const taskAt = (event) => {
    const box = wall.canvas.getBoundingClientRect();
    return grid && wallPlaceAt(grid, tasks.length, event.clientX - box.left, event.clientY - box.top);
  };
  const goThere = (event) => {
    const place = taskAt(event);
    if (place !== null && place !== state.place) rest(place);
  };
  wall.canvas.addEventListener("click", goThere);
  wall.canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return; // a finger scrolls the page
    if (event.buttons & 1) goThere(event);
    const place = taskAt(event);
    wall.canvas.title = place === null ? "" : `${place + 1}: ${tasks[place]}, ${families[familyOf[place]]}`;
    wall.canvas.style.cursor = place === null ? "" : "pointer";
  });

  // --- the families -----------------------------------------------------------------------------------------------------------
  const light = (family) => { if (state.lit !== family) { state.lit = family; wall.redraw(); } };
  const chips = families.map((name, family) => {
    const mark = element("canvas", { className: "lim-mark" }), counted = element("span", { className: "lim-sofar" });
    mark.setAttribute("aria-hidden", "true");
    counted.style.minWidth = `${String(sofar[last][family]).length}ch`;
    const chip = element("button", { type: "button", className: "lim-family" }, mark, element("span", { textContent: name }), counted);
    chip.setAttribute("aria-pressed", "false");
    chip.addEventListener("click", () => {
      state.held = state.held === family ? null : family;
      chips.forEach((each, k) => each.chip.setAttribute("aria-pressed", String(state.held === k)));
      state.lit = null;
      wall.redraw();
    });
    chip.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") light(family); });
    chip.addEventListener("focus", () => { if (chip.matches(":focus-visible")) light(family); });
    for (const each of ["pointerleave", "blur"]) chip.addEventListener(each, () => light(null));
    return { chip, mark, counted };
  });
  const legend = element("div", { className: "lim-families" }, element("span", { className: "lim-label", textContent: "Families so far" }), ...chips.map(({ chip }) => chip));
  legend.setAttribute("role", "group");
  legend.setAttribute("aria-label", "Families so far: press one to see its tasks");

  function fillLegend() {
    chips.forEach(({ chip, counted }, family) => {
      const here = sofar[state.place][family];
      counted.textContent = here;
      chip.classList.toggle("lim-absent", here === 0);
      chip.setAttribute("aria-label", `${families[family]}: ${here ? `${here} so far` : `not yet, enters at task ${firsts[family] + 1}`}`);
    });
  }

  // --- the current task ---------------------------------------------------------------------------------------------------------
  const heading = wallRoom("p", "lim-task"), facts = wallRoom("p", "lim-facts"), badge = element("canvas", { className: "lim-mark" });
  badge.setAttribute("aria-hidden", "true");
  const headingOf = (place) => `${tasks[place]} (${families[familyOf[place]]})`, factsOf = (place) => wallTaskText(classes[place], train[place], several[place]);
  heading.reserve(tasks.map((_, place) => headingOf(place)));
  facts.reserve(tasks.map((_, place) => factsOf(place)));
  const samples = Array.from({ length: count }, () => {
    const canvas = element("canvas", { className: "lim-canvas lim-sample", width: wide, height: high }), caption = element("span");
    canvas.setAttribute("aria-hidden", "true");
    return { pen: canvas.getContext("2d"), caption, node: element("div", {}, canvas, caption) };
  });
  const list = element("div", { className: "lim-samples" }, ...samples.map(({ node }) => node));
  const longest = Math.max(...captions.flat().map((caption) => caption.trim().length));
  list.classList.toggle("lim-bare", longest === 0);
  list.classList.toggle("lim-short", longest <= WALL_SHORT);
  list.setAttribute("role", "group");

  function fillTask() {
    const { place } = state, family = familyOf[place];
    heading.said.textContent = headingOf(place);
    facts.said.textContent = factsOf(place);
    samples.forEach(({ pen, caption }, which) => {
      drawPicture(pen, place, which);
      caption.textContent = caption.title = captions[place][which];
    });
    list.setAttribute("aria-label", `${wallCounted(count, "picture", "pictures")} of task ${place + 1}, ${families[family]}`);
    drawBadge();
  }

  function drawBadge() {
    if (inksOf) drawWallFamily(wallPen(badge, [14, 14]), familyOf[state.place], [7, 7], 5, familyInk(familyOf[state.place]));
  }

  // --- means so far -----------------------------------------------------------------------------------------------------------
  const others = names.map((_, learner) => learner).filter((learner) => learner !== reference);
  const looks = names.map((_, learner) => {
    if (learner === reference) return { colour: "ink", dash: [], mark: "disc", width: 2.6 };
    const k = others.indexOf(learner);
    return { colour: `wall-${k % WALL_HUES}`, dash: CURVES_DASHES[(k + Math.floor(k / WALL_HUES)) % CURVES_DASHES.length], mark: CLASS_MARKS[(k + 1) % CLASS_MARKS.length], width: 2 };
  });

  function drawMean(pen, plot, learner) {
    const { colour, dash, width } = looks[learner], points = Array.from(means[learner]).flatMap((mean, place) => plot.at(place + 1, mean));
    pen.setLineDash(dash);
    line(pen, points.slice(2 * state.place), inks[colour], width, WALL_PALE);
    line(pen, points.slice(0, 2 * state.place + 2), inks[colour], width);
    pen.setLineDash([]);
  }

  function drawMeans(pen, colours, width, height) {
    readInks(pen.canvas, colours);
    const plot = plotArea(width, height, [1, tasks.length], range, { left: CURVES_LEFT, above: 10 });
    const heights = roundTicks(...range, Math.max(2, (plot.base - plot.top) / 36)).map((tick) => [tick, `${markText(Number((100 * tick).toPrecision(6)))}\u202f%`]);
    const places = roundTicks(1, tasks.length, Math.max(2, (plot.right - plot.left) / 55)).filter(Number.isInteger).map((tick) => [tick, String(tick)]);
    for (const [at] of heights) line(pen, [plot.left, plot.at(1, at)[1], plot.right, plot.at(1, at)[1]], colours.line, 1);
    drawTicks(pen, plot, colours, { across: "tasks met", heights, places });
    const [now] = plot.at(state.place + 1, 0), inOrder = [...shownLearners().filter((learner) => learner !== reference), reference];
    line(pen, [now, plot.top - 4, now, plot.base], colours.ink, 1.2, 0.6);
    clipTo(pen, plot, 6, () => {
      for (const learner of inOrder) drawMean(pen, plot, learner);
      for (const learner of inOrder) {
        const point = plot.at(state.place + 1, means[learner][state.place]), { mark, colour } = looks[learner];
        fillMarks(pen, mark, point, colours.surface, 1, 6.6, -1);
        fillMarks(pen, mark, point, inks[colour], 1, 4.6, -1);
      }
    });
  }

  const plot = addScene(card, { caption: "Mean error so far", alt: "", shape: 1.6, narrow: 1.5, draw: drawMeans });

  // --- the list of learners ---------------------------------------------------------------------------------------------------
  const rows = names.map((name, learner) => {
    const input = element("input", { type: "checkbox", checked: state.shown.has(learner), disabled: learner === reference });
    input.addEventListener("change", () => {
      state.shown[input.checked ? "add" : "delete"](learner);
      refresh();
    });
    const swatch = element("canvas", { className: "lim-swatch" });
    swatch.setAttribute("aria-hidden", "true");
    const head = element("th", { scope: "row" }, element("label", { className: "lim-learner" }, input, swatch, element("span", { textContent: name })));
    const cells = [0, 1, 2].map(() => element("td"));
    return { row: element("tr", {}, head, ...cells), cells, swatch };
  });
  const heads = ["Learners", "this task", "so far", "ahead"].map((textContent) => element("th", { scope: "col", textContent }));
  const told = element("caption", { textContent: `Error on this task, its mean so far, and how many points that is ahead of ${wayQuoted(names[reference])} or behind` });
  const table = element("table", { className: "lim-table" }, told, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows.map(({ row }) => row)));

  function drawSwatches() {
    names.forEach((_, learner) => {
      const { colour, dash, mark, width } = looks[learner], pen = wallPen(rows[learner].swatch, WALL_SWATCH);
      pen.setLineDash(dash);
      line(pen, [0, 7, WALL_SWATCH[0], 7], inks[colour], width);
      fillMarks(pen, mark, [WALL_SWATCH[0] / 2, 7], inks[colour], 1, 4.2, -1);
    });
    chips.forEach(({ mark }, family) => drawWallFamily(wallPen(mark, [14, 14]), family, [7, 7], 5, familyInk(family)));
    drawBadge();
  }

  function fillTable() {
    const { place } = state, leaders = wallLowest(means, shownLearners(), place);
    rows.forEach(({ row, cells }, learner) => {
      const isShown = state.shown.has(learner), mean = means[learner][place], own = means[reference][place];
      const texts = [shareText(errors[learner * tasks.length + place]), shareText(mean), learner === reference ? "reference" : wallAhead(mean, own)];
      cells.forEach((cell, k) => { cell.textContent = isShown ? texts[k] : "\u2013"; });
      row.classList.toggle("lim-leader", leaders.includes(learner));
      row.classList.toggle("lim-off", !isShown);
    });
  }

  // --- words --------------------------------------------------------------------------------------------------------------
  const sentence = wallRoom("p", "lim-winner");
  sentence.said.setAttribute("role", "status");
  card.pictures.before(sentence.node);
  const sentenceAt = (place) => wallSentence({
    place, tasks: tasks.length, family: families[familyOf[place]], count: sofar[place][familyOf[place]],
    names, means, shown: shownLearners(), reference,
  });

  function wallInWords() {
    const entered = families.map((name, family) => [name, sofar[state.place][family]]), absent = entered.filter(([, here]) => !here).map(([name]) => name);
    const met = entered.filter(([, here]) => here).map(([name, here]) => `${name} ${here}`).join(", ");
    return `A wall of ${tasks.length} pictures, one for each task in time; ${state.place + 1} are met. Families so far: ${met}.`
      + `${absent.length ? ` Not yet: ${absent.join(", ")}.` : ""} ${model.get("alt")}`;
  }

  const meansInWords = () => `Mean error of tasks 1 to ${state.place + 1}: ${shownLearners().map((learner) => `${names[learner]} ${shareText(means[learner][state.place])}`).join(", ")}.`;

  // --- moves --------------------------------------------------------------------------------------------------------------
  function show(place, isRunning) {
    state.place = place;
    slider.set(place + 1);
    sentence.said.setAttribute("aria-live", isRunning ? "off" : "polite");
    sentence.said.textContent = sentenceAt(place);
    wall.value.textContent = `${place + 1} of ${tasks.length} met`;
    plot.value.textContent = place ? `tasks 1 to ${place + 1}` : "task 1";
    fillLegend();
    fillTask();
    fillTable();
    wall.redraw();
    plot.redraw();
    wall.canvas.setAttribute("aria-label", wallInWords());
    plot.canvas.setAttribute("aria-label", meansInWords());
  }

  /** What hangs on the learners on show, then the task. */
  function refresh() {
    range = wallRange(means, shownLearners(), tasks.length);
    sentence.reserve(tasks.map((_, place) => sentenceAt(place)));
    show(state.place, card.root.dataset.state === "running");
  }

  const slider = addSlider(card, { label: "Task", min: 1, max: tasks.length, step: 1, value: state.place + 1, show: (number) => `${number} of ${tasks.length}` }, (number) => rest(number - 1));
  // The player's steps are the numbers of tasks; it begins again from 0, which is shown as the first task.
  const player = addPlayer(card, { steps: tasks.length, span: WALL_PACE * tasks.length, first: state.place + 1, show: (step, isRunning) => show(Math.max(0, step - 1), isRunning), once: "Next" });
  function rest(place) { player.rest(place + 1); }

  card.pictures.append(
    element("div", { className: "lim-column lim-wide" }, wall.canvas.parentElement, legend),
    element("div", { className: "lim-column" }, element("div", { className: "lim-current" }, badge, heading.node), facts.node, list, plot.canvas.parentElement),
    element("div", { className: "lim-column" }, table));
  slideAlong(plot.canvas, { left: CURVES_LEFT }, [0, last], last, rest);
  card.note.textContent = model.get("note");
  refresh();
  rest(state.place);
  return () => { player.stop(); wall.stop(); plot.stop(); };
}
