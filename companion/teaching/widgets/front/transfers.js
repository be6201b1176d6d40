// live_transfers: which earlier task's network each task of a stream started from, as a graph in time.

/** The places from a task back to the first of its chain: its own, its source's, the source's source's, ... */
export function transferChain(sources, place) {
  const chain = [place];
  while (sources[chain.at(-1)] >= 0) chain.push(sources[chain.at(-1)]);
  return chain;
}

/** The tasks up to `now` whose chains go through a task, in time, that task aside. */
export function transferDescendants(sources, place, now) {
  const kin = new Set([place]);
  for (let task = place + 1; task <= now; task++) if (kin.has(sources[task])) kin.add(task);
  return [...kin].slice(1);
}

/** Whether a task started from its own family, from another, or from none. */
export const transferKind = (sources, families, task) =>
  (sources[task] < 0 ? "none" : families[sources[task]] === families[task] ? "own" : "other");

/** How many of the tasks up to `now` started from their own family, from another, or from none; and as shares of all. */
export function transferShares(sources, families, now) {
  const counts = { own: 0, other: 0, none: 0 }, total = now + 1;
  for (let task = 0; task <= now; task++) counts[transferKind(sources, families, task)]++;
  return { total, counts, shares: Object.fromEntries(Object.entries(counts).map(([kind, count]) => [kind, count / total])) };
}

/** Tasks up to `now` by the family of their source (rows; the last is of those without) and their own (columns). */
export function transferMatrix(sources, families, size, now) {
  const matrix = Array.from({ length: size + 1 }, () => new Array(size).fill(0));
  for (let task = 0; task <= now; task++) matrix[sources[task] < 0 ? size : families[sources[task]]][families[task]]++;
  return matrix;
}

/** The roots up to `now`, each a task without a source, and how many tasks are in the tree of each, itself included. */
export function transferRoots(sources, now) {
  const trees = new Map(), rootOf = [];
  for (let task = 0; task <= now; task++) {
    rootOf.push(sources[task] < 0 ? task : rootOf[sources[task]]);
    trees.set(rootOf[task], (trees.get(rootOf[task]) ?? 0) + 1);
  }
  return [...trees].map(([root, tasks]) => ({ root, tasks }));
}

/** The task from which most others started, the earliest of several, with its children and all descendants; null where none did. */
export function transferFavourite(sources, now) {
  const counts = new Array(now + 1).fill(0);
  for (let task = 0; task <= now; task++) if (sources[task] >= 0) counts[sources[task]]++;
  const children = Math.max(...counts), place = counts.indexOf(children);
  return children ? { place, children, descendants: transferDescendants(sources, place, now).length } : null;
}

/** A chain in at most `most` parts, at least 3: places, and how many are left out before the last where it is too long. */
export function transferParts(chain, most) {
  if (chain.length <= most) return chain.map((place) => ({ place }));
  const first = chain.slice(0, most - 2).map((place) => ({ place }));
  return [...first, { skipped: chain.length - most + 1 }, { place: chain.at(-1) }];
}

// --- words --------------------------------------------------------------------------------------------------------------

const transfersCount = (count, one) => `${count || "no"}\u00a0${one}${count === 1 ? "" : "s"}`;

/** Where a task's network came from, its error, and what came of it up to `now`. */
export function transferTaskText({ names, families, familyNames, sources, errors, references, start }, place, now) {
  const chain = transferChain(sources, place), [, source] = chain, root = wayQuoted(names[chain.at(-1)]);
  const kin = transferKind(sources, families, place) === "own" ? "its own family" : `another family (${familyNames[families[source]]})`;
  const back = chain.length > 2 ? `; its chain goes ${chain.length - 1} steps back to ${root}` : "";
  const begin = source === undefined ? `${wayQuoted(names[place])} started ${start}.`
    : `${wayQuoted(names[place])} started from ${wayQuoted(names[source])}, of ${kin}${back}${back ? "," : ";"} ${back ? "which" : "that one"} started ${start}.`;
  const against = Number.isNaN(references[place]) ? "" : `, without transfer ${shareText(references[place])}`;
  const later = transferDescendants(sources, place, now), children = later.filter((task) => sources[task] === place).length;
  const after = now === place ? "" : ` So far ${transfersCount(later.length, "later task")} descend${later.length === 1 ? "s" : ""} from it${later.length ? `, ${children} directly` : ""}.`;
  return `${begin} Its error is ${shareText(errors[place])}${against}.${after}`;
}

/** How the tasks up to `now` started. */
export function transferCountText({ families, sources, start }, now) {
  const { total, counts } = transferShares(sources, families, now);
  return `Of ${transfersCount(total, "task")} so far, ${counts.own} started from their own family, ${counts.other} from another, ${counts.none} ${start}.`;
}

const transferFavouriteText = (names, favourite) => (favourite === null ? "none yet"
  : `${wayQuoted(names[favourite.place])}: ${favourite.children} directly, ${transfersCount(favourite.descendants, "descendant")}`);

// --- the picture ------------------------------------------------------------------------------------------------------

const TRANSFERS_PACE = 180; // milliseconds from one task to the next in a play
const TRANSFERS_REACH = 18; // pixels around a mark within which it is meant
const TRANSFERS_SIDE = 14; // pixels of the smallest picture that stands for a task
const [TRANSFERS_PART, TRANSFERS_LINK] = [72, 14]; // pixels from a part of the chain to the next, and those between them
const TRANSFERS_SLACK = " 000 000"; // letters more than the longest text, as lines break where words end
const TRANSFERS_SHOWN = ["all", "the chain of this task", "only between families"];
const TRANSFERS_KINDS = {
  own: { colour: "learned", dash: [], mark: "disc", text: "from its own family" },
  other: { colour: "rival", dash: [4, 3], mark: "diamond", text: "from another family" },
  none: { colour: "ink", dash: [], mark: "ring" },
};

/** Where tasks and rows of families lie on the canvas. */
function transfersPlot(width, height, tasks, rows) {
  const left = width < 480 ? 104 : 110, right = width - 10, top = 8, base = height - 36;
  const pitch = (right - left) / tasks, row = (base - 6 - top) / rows;
  return { left, right, top, base, pitch, row, at: (place, family) => [left + pitch * (place + 0.5), top + row * (family + 0.6)] };
}

/** A text that is cut where it would be wider than some pixels. */
function writeWithin(pen, text, x, y, colour, most, weight) {
  let shown = text;
  pen.font = `${weight} 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif`;
  while (pen.measureText(shown).width > most) shown = `${shown.replace("\u2026", "").slice(0, -1)}\u2026`;
  write(pen, shown, x, y, colour, "left", weight);
}

function traceTransfer(pen, [x, y], [toX, toY], row) {
  const across = toX - x, down = toY - y;
  pen.beginPath();
  pen.moveTo(x, y);
  if (down === 0) {
    const up = 1.33 * Math.min(0.58 * row, 5 + 0.16 * across);
    pen.bezierCurveTo(x + 0.1 * across, y - up, toX - 0.1 * across, y - up, toX, toY);
  } else pen.bezierCurveTo(x + 0.3 * across, y + 0.1 * down, toX - 0.3 * across, toY - 0.1 * down, toX, toY);
}

function strokeTransfer(pen, colours, kind, width, opacity) {
  const { colour, dash } = TRANSFERS_KINDS[kind];
  pen.strokeStyle = colours[colour];
  pen.lineWidth = width;
  pen.globalAlpha = opacity;
  pen.setLineDash(dash.map((length) => length * Math.max(1, width / 2)));
  pen.stroke();
  pen.setLineDash([]);
  pen.globalAlpha = 1;
}

/** A task's mark says how it started. */
function drawTransferMark(pen, colours, kind, point, radius, opacity) {
  const { colour, mark } = TRANSFERS_KINDS[kind];
  drawPoints(pen, point, colours.surface, 1, radius + 1.2, 1);
  if (mark !== "ring") { fillMarks(pen, mark, point, colours[colour], opacity, radius, -1); return; }
  pen.globalAlpha = opacity;
  ring(pen, point, radius - 0.6, colours[colour]);
  pen.globalAlpha = 1;
}

/** Pictures of tasks, each on a canvas of its own size. */
function transferThumbnails(bytes, shapes) {
  let from = 0;
  return shapes.map(([height, width]) => {
    const canvas = element("canvas", { width, height }), pen = canvas.getContext("2d"), image = pen.createImageData(width, height);
    for (let i = 0; i < width * height; i++) image.data.set([bytes[from + i], bytes[from + i], bytes[from + i], 255], 4 * i);
    pen.putImageData(image, 0, 0);
    from += width * height;
    return canvas;
  });
}

/** How the task before a part of a chain started: from that part. */
function linkTo(shown, k, chain, kinds) {
  if (shown[k].start) return "none";
  return kinds[shown[k - 1].skipped ? chain.at(-2) : shown[k - 1].place];
}

/** The parts of a task's chain side by side, `go(place)` where one is pressed: a picture, a name and an error each. */
function makeTransferChain(thumbnails, { names, go }) {
  const list = element("ol", { className: "lim-chain", ariaLabel: "The chain of the task" });
  let parts = [];
  list.classList.toggle("lim-plain", !thumbnails.length);

  function addPart() {
    const picture = element("canvas"), name = element("span", { className: "lim-of" }), error = element("span");
    const button = element("button", { type: "button" }, picture, error, name), item = element("li", {}, button), part = { item, button, picture, name, error, place: null };
    picture.hidden = !thumbnails.length;
    button.addEventListener("click", () => {
      go(part.place);
      parts[0].button.focus(); // where that task now stands
    });
    list.append(item);
    return part;
  }

  /** The last part says how the chain starts. */
  function fill(chain, errors, kinds, start, room) {
    if (parts.length !== room) { list.replaceChildren(); parts = Array.from({ length: room }, addPart); }
    list.style.setProperty("--parts", room);
    const shown = [...transferParts(chain, room - 1), { start }];
    parts.forEach((part, k) => {
      const what = shown[k], { item, button, picture, name, error } = part;
      item.className = what === undefined ? "lim-off" : "";
      if (what === undefined) return;
      part.place = what.place ?? null;
      button.disabled = part.place === null;
      item.dataset.link = k === 0 ? "" : linkTo(shown, k, chain, kinds);
      const texts = part.place !== null ? [names[part.place], shareText(errors[part.place])] : what.skipped ? [`${what.skipped} more`, "\u00a0"] : [start, "\u00a0"];
      [name.textContent, error.textContent] = texts;
      item.classList.toggle("lim-empty", part.place === null);
      if (!thumbnails.length) return;
      const from = part.place === null ? null : thumbnails[part.place];
      [picture.width, picture.height] = from ? [from.width, from.height] : [1, 1];
      if (from) picture.getContext("2d").drawImage(from, 0, 0);
    });
  }
  return { list, fill };
}

/** A table of counts: the source's family down, the task's across. */
function makeTransferMatrix(families) {
  const heads = families.map((name) => element("th", { scope: "col" }, element("span", { textContent: name, title: name })));
  const rows = [...families, ""].map((name) => {
    const head = element("th", { scope: "row", textContent: name, title: name }), cells = families.map(() => element("td"));
    return { head, cells, row: element("tr", {}, head, ...cells) };
  });
  const table = element("table", { className: "lim-table" },
    element("caption", {}, element("strong", { textContent: "Tasks by family" }), " \u2013 of the source: down; of the task: across"),
    element("thead", {}, element("tr", {}, element("td"), ...heads)), element("tbody", {}, ...rows.map(({ row }) => row)));

  function fill(matrix, start, [from, to]) {
    const most = Math.max(1, ...matrix.flat());
    rows.at(-1).head.textContent = start;
    matrix.forEach((counts, i) => counts.forEach((count, k) => {
      const cell = rows[i].cells[k], hue = i === families.length ? "ink" : i === k ? "learned" : "rival";
      cell.textContent = count || "\u00b7";
      cell.style.background = count ? `color-mix(in srgb, var(--lim-${hue}) ${Math.round(12 + (hue === "ink" ? 20 : 38) * count / most)}%, transparent)` : "";
      cell.className = i === from && k === to ? "lim-here" : count ? "" : "lim-nought";
    }));
  }
  return { table, fill };
}

/** The graph up to a task, that task's chain, and the counts so far. */
function renderTransfers({ model, el }) {
  const card = makeCard(model, el);
  card.root.classList.add("lim-transfers");
  const [names, familyNames, families, learners, starts, allSources] = ["names", "families", "family_of", "learners", "starts", "sources"].map((name) => model.get(name));
  const [allErrors, allReferences] = ["errors", "references"].map((name) => typed(Float64Array, model.get(name)));
  const n = names.length, last = n - 1, thumbnails = transferThumbnails(typed(Uint8Array, model.get("thumbnails")), model.get("shapes"));
  const sets = learners.map((_, k) => ({
    names, families, familyNames, start: starts[k], sources: allSources[k],
    errors: allErrors.subarray(k * n, (k + 1) * n), references: allReferences.subarray(k * n, (k + 1) * n),
  }));
  const state = { now: model.get("place"), held: null, learner: model.get("learner_index"), shown: 0 };
  let kinds, chain = [], chainSet = new Set(), later = new Set(), filled = "", place = state.now;
  card.root.style.setProperty("--rows", familyNames.length);

  // --- the picture --------------------------------------------------------------------------------------------------------
  const isLit = (task) => chainSet.has(task) || later.has(task);
  const isDrawn = (task) => kinds[task] !== "none" && (state.shown === 0 || (state.shown === 1 ? isLit(task) : kinds[task] === "other"));
  const isMarked = (task) => state.shown !== 1 || isLit(task);

  /** Pixels of the pictures that stand for tasks; 0 where marks do, as there is no room. */
  function pictureSide({ pitch, row }) {
    const before = new Map(), gaps = [];
    families.forEach((family, task) => {
      if (before.has(family)) gaps.push(task - before.get(family));
      before.set(family, task);
    });
    const side = Math.floor(Math.min(pitch * Math.min(n, ...gaps) - 4, 0.72 * row, 26));
    return thumbnails.length && side >= TRANSFERS_SIDE ? side : 0;
  }

  function drawRows(pen, plot, colours) {
    familyNames.forEach((name, family) => {
      const first = families.indexOf(family), [x, y] = plot.at(first, family), hasEntered = first <= state.now;
      line(pen, [x, y, plot.right, y], colours.line, 1, hasEntered ? 1 : 0.5);
      writeWithin(pen, name, 0, y + 4, hasEntered ? colours.ink : colours.soft, plot.left - 8, 400);
    });
    for (let task = 0; task < n; task++) if (task > state.now || !isMarked(task)) drawPoints(pen, plot.at(task, families[task]), colours.soft, 0.4, 1.3, 1);
  }

  function drawAxis(pen, plot, colours) {
    line(pen, [plot.left, plot.base, plot.right, plot.base], colours.soft, 1);
    for (const tick of roundTicks(1, n, Math.max(3, (plot.right - plot.left) / 60)).filter((each) => Number.isInteger(each) && each > 0)) {
      const [x] = plot.at(tick - 1, 0);
      line(pen, [x, plot.base, x, plot.base + 4], colours.soft, 1);
      write(pen, String(tick), x, plot.base + 17, colours.soft, "center");
    }
    write(pen, "task in the stream", plot.right, plot.base + 31, colours.soft, "right", 600);
    const [x] = plot.at(state.now, 0);
    line(pen, [x, plot.top - 4, x, plot.base], colours.ink, 1.2, 0.6);
  }

  function drawTask(pen, plot, colours, task, side) {
    const point = plot.at(task, families[task]), opacity = isLit(task) ? 1 : 0.5;
    if (!side) {
      drawTransferMark(pen, colours, kinds[task], point, (isLit(task) ? 1.25 : 1) * Math.max(2.6, Math.min(4.5, 0.55 * plot.pitch)), opacity);
      return;
    }
    const [x, y] = point.map((each) => each - side / 2), { colour, dash } = TRANSFERS_KINDS[kinds[task]];
    pen.fillStyle = colours.surface;
    pen.fillRect(x - 2, y - 2, side + 4, side + 4);
    pen.globalAlpha = opacity;
    pen.imageSmoothingEnabled = false;
    pen.drawImage(thumbnails[task], x, y, side, side);
    pen.strokeStyle = colours[colour];
    pen.lineWidth = 2;
    pen.setLineDash(dash);
    pen.strokeRect(x - 1, y - 1, side + 2, side + 2);
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  }

  function draw(pen, colours, width, height) {
    const plot = transfersPlot(width, height, n, familyNames.length), side = pictureSide(plot), { sources } = sets[state.learner];
    const past = Array.from({ length: state.now + 1 }, (_, task) => task), inOrder = [[false, false], [true, false], [true, true]];
    const layers = inOrder.map(([lit, inChain]) => past.filter((task) => isLit(task) === lit && chainSet.has(task) === inChain));
    drawRows(pen, plot, colours);
    drawAxis(pen, plot, colours);
    layers.forEach((tasks, layer) => {
      for (const task of tasks.filter(isDrawn)) {
        traceTransfer(pen, plot.at(sources[task], families[sources[task]]), plot.at(task, families[task]), plot.row);
        strokeTransfer(pen, colours, kinds[task], [1, 1.6, 3.2][layer], [0.3, 0.95, 1][layer]);
      }
    });
    for (const tasks of layers) for (const task of tasks.filter(isMarked)) drawTask(pen, plot, colours, task, side);
    const here = plot.at(place, families[place]);
    for (const more of state.held === null ? [0] : [0, 4]) { // a task that one stays with has two rings
      if (side) {
        pen.strokeStyle = colours.ink;
        pen.lineWidth = 2;
        pen.strokeRect(here[0] - side / 2 - 4 - more, here[1] - side / 2 - 4 - more, side + 8 + 2 * more, side + 8 + 2 * more);
      } else ring(pen, here, 8.5 + more, colours.ink);
    }
    drawSwatches(colours);
    fillChain(width);
  }

  const swatches = Object.keys(TRANSFERS_KINDS).map((kind) => ({ kind, canvas: element("canvas", { className: "lim-swatch", ariaHidden: "true" }) }));

  function drawSwatches(colours) {
    const ratio = window.devicePixelRatio || 1;
    for (const { kind, canvas } of swatches) {
      [canvas.width, canvas.height] = [34 * ratio, 14 * ratio];
      const pen = canvas.getContext("2d");
      pen.scale(ratio, ratio);
      if (kind !== "none") { pen.beginPath(); pen.moveTo(0, 7); pen.lineTo(26, 7); strokeTransfer(pen, colours, kind, 2, 1); }
      drawTransferMark(pen, colours, kind, [28, 7], 4.5, 1);
    }
  }

  const scene = addScene(card, { caption: "Who started from whom", alt: "", shape: 2.4, wide: true, draw });

  /** The task whose mark is nearest to a pointer, or null. */
  function taskAt(event) {
    const box = scene.canvas.getBoundingClientRect(), plot = transfersPlot(box.width, box.height, n, familyNames.length);
    let nearest = null, least = TRANSFERS_REACH;
    for (let task = 0; task < n; task++) {
      const [x, y] = plot.at(task, families[task]), far = Math.hypot(event.clientX - box.left - x, event.clientY - box.top - y);
      if (far < least) [nearest, least] = [task, far];
    }
    return nearest;
  }

  /** To look at a task: the time stays where it has come by, and goes on to it where it has not. */
  function goTo(task) {
    state.held = task <= state.now ? task : null;
    player.rest(Math.max(task, state.now));
  }

  scene.canvas.addEventListener("click", (event) => { const task = taskAt(event); if (task !== null) goTo(task); });
  scene.canvas.addEventListener("pointermove", (event) => {
    const task = taskAt(event);
    scene.canvas.style.cursor = task === null ? "" : "pointer";
    scene.canvas.title = task === null ? "" : names[task];
  });

  // --- words, the chain and the counts ------------------------------------------------------------------------------------
  const sentence = element("p", { className: "lim-said" }), said = element("span"), [ofTask, ofAll] = [element("strong"), element("span")];
  said.setAttribute("role", "status");
  said.append(ofTask, " ", ofAll);
  card.pictures.before(sentence);
  const favourite = element("p", { className: "lim-favourite" }), favoured = element("span");

  const hidden = (text) => {
    const node = element("span", { className: "lim-room", textContent: text + TRANSFERS_SLACK });
    node.setAttribute("aria-hidden", "true");
    return node;
  };

  /** Room for the longest text of all tasks and learners, so that nothing moves. */
  function makeRoom() {
    const longest = (texts) => texts.reduce((one, other) => (other.length > one.length ? other : one));
    const tasks = sets.flatMap((set) => names.map((_, task) => transferTaskText(set, task, last)));
    const counts = sets.flatMap((set) => names.map((_, task) => transferCountText(set, task)));
    const room = hidden("");
    room.replaceChildren(element("strong", { textContent: `${longest(tasks)} ` }), longest(counts) + TRANSFERS_SLACK);
    sentence.replaceChildren(said, room);
    const most = { place: names.indexOf(longest(names)), children: last, descendants: last };
    favourite.replaceChildren(favoured, hidden(`Most started from: ${transferFavouriteText(names, most)}`));
  }

  const chainParts = makeTransferChain(thumbnails, { names, go: (task) => goTo(task) });
  const matrix = makeTransferMatrix(familyNames), hasReference = sets.some(({ references }) => references.some((each) => !Number.isNaN(each)));
  const own = makeCounts({ error: "error of this task", ...(hasReference ? { reference: "without transfer" } : {}) });
  const { row, counts } = makeCounts({ own: "from own family", other: "from another family", none: "", tree: "in the largest tree" });
  const noneWords = counts.none.previousSibling;

  function fillChain(width) {
    const room = Math.max(4, Math.min(9, Math.floor((width + TRANSFERS_LINK) / TRANSFERS_PART))), wanted = `${room} ${state.learner} ${place}`;
    if (wanted === filled) return;
    filled = wanted;
    chainParts.fill(chain, sets[state.learner].errors, kinds, sets[state.learner].start, room);
  }

  function fillCounts() {
    const { sources, errors, references, start } = sets[state.learner], { counts: each, shares, total } = transferShares(sources, families, state.now);
    const text = (count, share) => `${count} (${Math.round(100 * share)}\u202f%)`, tree = Math.max(...transferRoots(sources, state.now).map(({ tasks }) => tasks));
    for (const kind of ["own", "other", "none"]) counts[kind].textContent = text(each[kind], shares[kind]);
    noneWords.textContent = `${start} (roots)`;
    counts.tree.textContent = text(tree, tree / total);
    own.counts.error.textContent = shareText(errors[place]);
    if (hasReference) own.counts.reference.textContent = Number.isNaN(references[place]) ? "\u2013" : shareText(references[place]);
    favoured.textContent = `Most started from: ${transferFavouriteText(names, transferFavourite(sources, state.now))}`;
    const source = sources[place];
    matrix.fill(transferMatrix(sources, families, familyNames.length, state.now), start, [source < 0 ? familyNames.length : families[source], families[place]]);
  }

  function show(now) {
    const set = sets[state.learner];
    state.now = now;
    place = Math.min(state.held ?? now, now);
    chain = transferChain(set.sources, place);
    chainSet = new Set(chain);
    later = new Set(transferDescendants(set.sources, place, now));
    kinds = names.map((_, task) => transferKind(set.sources, families, task));
    slider.set(now);
    hold.checked = state.held !== null;
    holdWords.textContent = state.held === null ? "Stay with this task" : `Stay with ${wayQuoted(names[state.held])}`;
    scene.value.textContent = `${now + 1} of ${n}`;
    ofTask.textContent = transferTaskText(set, place, now);
    ofAll.textContent = transferCountText(set, now);
    noneKey.textContent = set.start;
    fillCounts();
    scene.redraw();
    scene.canvas.setAttribute("aria-label", `A graph in time, ${learners[state.learner]}. ${said.textContent} ${model.get("alt")}`);
  }

  // --- controls -------------------------------------------------------------------------------------------------------------
  const slider = addSlider(card, { label: "Task", min: 0, max: last, step: 1, value: state.now, show: (task) => names[task] }, (task) => player.rest(task));
  if (learners.length > 1) addSelect(card, { label: "Learner", options: learners, index: state.learner }, (index) => { state.learner = index; show(state.now); });
  addSelect(card, { label: "Show", options: TRANSFERS_SHOWN, index: 0 }, (index) => { state.shown = index; show(state.now); });
  const player = addPlayer(card, { steps: last, span: TRANSFERS_PACE * last, first: state.now, show, once: "Next" });
  const hold = element("input", { type: "checkbox" }), holdWords = element("span");
  hold.addEventListener("change", () => { state.held = hold.checked ? place : null; show(state.now); });
  card.controls.append(element("label", { className: "lim-hold" }, hold, holdWords));

  // --- together -------------------------------------------------------------------------------------------------------------
  const noneKey = element("span"), words = { own: TRANSFERS_KINDS.own.text, other: TRANSFERS_KINDS.other.text };
  const key = element("div", { className: "lim-key" },
    ...swatches.map(({ kind, canvas }) => element("div", {}, canvas, kind === "none" ? noneKey : element("span", { textContent: words[kind] }))),
    element("div", { textContent: "thick: the chain of the task; thin: its descendants; pale: the others" }));
  const heading = (textContent) => element("p", { className: "lim-heading", textContent });
  const left = element("div", { className: "lim-column" }, heading("This task"), own.row, heading("All tasks so far"), row, favourite);
  scene.canvas.parentElement.append(key);
  card.pictures.append(element("div", { className: "lim-strip" }, heading("Its chain: a task and, to its right, the one whose network it started from"), chainParts.list), left, matrix.table);
  card.note.textContent = model.get("note");
  makeRoom();
  player.rest();
  return () => { player.stop(); scene.stop(); };
}
