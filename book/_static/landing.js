// The front page: its widget, the thumbnails on its cards, and the names of its routes' chips. For readers who ask for
// stillness nothing moves by itself; what moves when they ask stops.
"use strict";
(() => {
  const wantsStillness = matchMedia("(prefers-reduced-motion: reduce)");
  const times = (count, make) => Array.from({ length: count }, (_, place) => make(place));

  /** Pairs of standard normal numbers, the same for a state (Park and Miller's generator). */
  function normalPairs(count, state) {
    const uniform = () => (state = state * 48271 % 2147483647) / 2147483647;
    return times(count, () => {
      const radius = Math.sqrt(-2 * Math.log(uniform())), angle = 2 * Math.PI * uniform();
      return [radius * Math.cos(angle), radius * Math.sin(angle)];
    });
  }

  /** The pen of a canvas that is empty and as sharp as the screen. */
  function emptied(canvas) {
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((length) => Math.round(length * (devicePixelRatio || 1)));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    return context;
  }

  // -- the widget below the title --

  /** Noise carried to data along a lemniscate by an exact diffusion, with nothing learned. One slider scrubs through time,
      another says in how many steps of DDIM. All positions are computed beforehand, from noise that never changes, so that
      every way back is the way there. */
  function showStage() {
    const POINTS = 420, FRAMES = 60, SECONDS = 4, ACROSS = 3.3, CENTRES = 56, SPREAD = 0.045, STEPS = [1, 2, 4, 8, 16, 60];

    // -- the diffusion --

    // Data: narrow Gaussians along a lemniscate, so the posterior mean of a noisy point has a closed form.
    function alongCurve(number) {
      const places = new Float64Array(2 * number);
      for (let place = 0; place < number; place++) {
        const angle = 2 * Math.PI * place / number, across = 2.3 * Math.cos(angle) / (1 + Math.sin(angle) ** 2);
        places.set([across, across * Math.sin(angle)], 2 * place);
      }
      return places;
    }
    const centres = alongCurve(CENTRES), curve = alongCurve(4 * CENTRES);

    const noise = Float32Array.from(normalPairs(2 * POINTS, 20260), ([first]) => first), size = noise.length;

    const timeAt = (done) => (1 - done) ** 1.6; // 1 is noise, 0 is data

    /** Into `clean`: the mean of the data given each point at time t, where x_t = (1 - t) x_0 + t noise. */
    function predict(points, t, clean) {
      const alpha = 1 - t, variance = (alpha * SPREAD) ** 2 + t * t, gain = alpha * SPREAD ** 2 / variance;
      const squares = new Float64Array(CENTRES);
      for (let i = 0; i < size; i += 2) {
        let least = Infinity, total = 0, across = 0, up = 0;
        for (let c = 0; c < CENTRES; c++) {
          const dx = points[i] - alpha * centres[2 * c], dy = points[i + 1] - alpha * centres[2 * c + 1];
          squares[c] = (dx * dx + dy * dy) / (2 * variance);
          if (squares[c] < least) least = squares[c];
        }
        for (let c = 0; c < CENTRES; c++) {
          const weight = Math.exp(least - squares[c]); // of this centre, given the point
          total += weight;
          across += weight * centres[2 * c];
          up += weight * centres[2 * c + 1];
        }
        clean[i] = (1 - gain * alpha) * across / total + gain * points[i];
        clean[i + 1] = (1 - gain * alpha) * up / total + gain * points[i + 1];
      }
    }

    /** Positions at all frames, one frame after another. A step of DDIM from t to s is x_s = x_0 + (s / t) (x_t - x_0),
        with the prediction made at t for x_0; so within a step a point goes straight towards its prediction. */
    function walk(steps) {
      const paths = new Float32Array((FRAMES + 1) * size), clean = new Float64Array(size), points = Float64Array.from(noise);
      paths.set(noise);
      let frame = 1;
      for (let step = 1; step <= steps; step++) {
        const t = timeAt((step - 1) / steps);
        predict(points, t, clean);
        const go = (s, target, at) => { for (let i = 0; i < size; i++) target[at + i] = clean[i] + s / t * (points[i] - clean[i]); };
        for (; frame * steps <= step * FRAMES; frame++) go(timeAt(frame / FRAMES), paths, frame * size);
        go(timeAt(step / steps), points, 0);
      }
      return paths;
    }

    // -- what is on the page --

    const element = (tag, properties = {}, ...children) => {
      const node = Object.assign(document.createElement(tag), properties);
      node.append(...children);
      return node;
    };
    const canvas = element("canvas", { className: "lim-canvas" });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "A round cloud of points turns into a figure eight as time goes from 1, noise, to 0, data. "
      + "With few steps the points stay near its middle; with one step all of them end in one place.");
    const button = element("button", { type: "button", textContent: "Play" });
    const controls = element("div", { className: "lim-controls" }, button);
    const caption = element("figcaption", { innerHTML: "Exact diffusion, nothing learned. <strong>Time</strong> carries noise to data "
      + "(the grey line) and back; <strong>Steps</strong> says in how many steps. With few the points do not get there." });
    const figure = element("figure", { className: "lim-stage" }, canvas, controls, caption);

    /** A labelled slider; `say` puts its number into words, which a screen reader hears instead of the number. */
    function addSlider(name, max, value, say, onInput) {
      const input = element("input", { type: "range", id: `lim-${name.toLowerCase()}`, min: 0, max, step: 1, value });
      const words = element("span");
      words.setAttribute("aria-hidden", "true");
      const write = () => {
        words.textContent = say(Number(input.value));
        input.setAttribute("aria-valuetext", words.textContent);
      };
      input.addEventListener("input", () => { write(); onInput(Number(input.value)); });
      controls.append(element("div", {}, element("label", { htmlFor: input.id, textContent: name }), words, input));
      write();
      return (next) => { input.value = next; write(); };
    }

    let paths = walk(STEPS.at(-1)), at = wantsStillness.matches ? FRAMES : 0, clock = 0;
    const lobes = [[], []]; // a point's colour: the half of the figure where it ends in sixty steps
    for (let i = 0; i < size; i += 2) lobes[paths[FRAMES * size + i] > 0 ? 0 : 1].push(i);
    const setTime = addSlider("Time", FRAMES, at, (frame) => `t = ${timeAt(frame / FRAMES).toFixed(2)}`, (frame) => {
      at = frame;
      pause();
      draw();
    });
    addSlider("Steps", STEPS.length - 1, STEPS.length - 1, (place) => String(STEPS[place]), (place) => {
      paths = walk(STEPS[place]);
      draw();
    });
    button.addEventListener("click", () => (figure.dataset.state === "running" ? pause() : play()));
    document.querySelector(".lim-lead").before(figure);
    figure.positions = () => paths; // for the tests

    function draw() {
      const pen = emptied(canvas), { width, height } = canvas, style = getComputedStyle(canvas);
      const scale = width / (2 * ACROSS), pixel = (devicePixelRatio || 1) / scale;
      pen.setTransform(scale, 0, 0, -scale, width / 2, height / 2);
      pen.beginPath();
      for (let i = 0; i < curve.length; i += 2) pen.lineTo(curve[i], curve[i + 1]);
      pen.closePath();
      Object.assign(pen, { strokeStyle: style.getPropertyValue("--lim-exact"), lineWidth: 2 * pixel, globalAlpha: 0.5 });
      pen.stroke();
      const before = Math.floor(at) * size, after = Math.ceil(at) * size, share = at % 1, radius = (canvas.clientWidth > 500 ? 2.6 : 1.8) * pixel;
      lobes.forEach((members, lobe) => {
        pen.beginPath();
        for (const i of members) {
          const x = paths[before + i] * (1 - share) + paths[after + i] * share;
          const y = paths[before + i + 1] * (1 - share) + paths[after + i + 1] * share;
          pen.moveTo(x + radius, y);
          pen.arc(x, y, radius, 0, 2 * Math.PI);
        }
        Object.assign(pen, { fillStyle: style.getPropertyValue(lobe ? "--lim-warm" : "--lim-accent"), globalAlpha: 0.8 });
        pen.fill();
      });
    }

    function play() {
      const from = at >= FRAMES ? 0 : at;
      let began = null;
      const tick = (now) => {
        began ??= now;
        at = Math.min(FRAMES, from + (now - began) / 1000 / SECONDS * FRAMES);
        setTime(at);
        draw();
        if (at < FRAMES) clock = requestAnimationFrame(tick); else pause();
      };
      clock = requestAnimationFrame(tick);
      button.textContent = "Pause";
      figure.dataset.state = "running";
    }

    function pause() {
      cancelAnimationFrame(clock);
      button.textContent = "Play";
      figure.dataset.state = at < FRAMES ? "paused" : "done";
    }

    new ResizeObserver(draw).observe(canvas);
    new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    wantsStillness.addEventListener("change", () => { if (wantsStillness.matches) pause(); });
    if (wantsStillness.matches) pause(); else play();
  }

  // -- the thumbnails --

  /** Each shows the idea of its lesson in motion, drawn from a phase between 0 and 1. It plays once when most of it is in
      view, and for as long as its card is hovered or focused. They are decorations, hidden from screen readers. */
  function showThumbnails() {
    const SECONDS = 5, WIDTH = 160, REST = 0.72; // the phase of a thumbnail that stands still
    const SEEN = 0.6; // the share of a thumbnail, or of the window, that must show before it plays by itself

    // -- tools --

    const mix = (from, to, share) => from + (to - from) * share;

    /** The share of the way from one phase to another, with a soft start and end. */
    const part = (phase, from, to) => {
      const share = Math.min(1, Math.max(0, (phase - from) / (to - from)));
      return share * share * (3 - 2 * share);
    };

    const normals = (count, seed) => normalPairs(count, 1000003 * seed); // small states would begin with much the same

    /** A pen for a field of 160 by 70, in the theme's colours: exact (grey), accent (blue), warm (orange), good (green). */
    const makePen = (context, inks) => ({
      dot(x, y, radius, ink, opacity = 1) {
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        Object.assign(context, { fillStyle: inks[ink], globalAlpha: opacity });
        context.fill();
      },
      ring(x, y, radius, ink, opacity = 1) {
        this.line(times(33, (k) => [x + radius * Math.cos(k * Math.PI / 16), y + radius * Math.sin(k * Math.PI / 16)]), ink, opacity, 0.8);
      },
      line(points, ink, opacity = 1, width = 1, dash = []) {
        context.beginPath();
        points.forEach(([x, y]) => context.lineTo(x, y));
        Object.assign(context, { strokeStyle: inks[ink], globalAlpha: opacity, lineWidth: width });
        context.setLineDash(dash);
        context.stroke();
      },
      area(points, ink, opacity = 1) {
        context.beginPath();
        points.forEach(([x, y]) => context.lineTo(x, y));
        Object.assign(context, { fillStyle: inks[ink], globalAlpha: opacity });
        context.fill();
      },
      bar(x, y, width, height, ink, opacity = 1) {
        Object.assign(context, { fillStyle: inks[ink], globalAlpha: opacity });
        context.fillRect(x, y, width, height);
      },
    });

    // -- the sketches, by a lesson's id: each prepares its numbers and returns what draws a phase --

    const sketches = {
      /** Two clouds drift apart and meet; below, their distance and its noise floor. */
      f1() {
        const left = normals(40, 1), right = normals(40, 2);
        return (pen, phase) => {
          const gap = 26 * (1 - Math.cos(2 * Math.PI * phase)) / 2;
          left.forEach(([x, y]) => pen.dot(80 - gap + 9 * x, 28 + 9 * y, 1.3, "exact", 0.8));
          right.forEach(([x, y]) => pen.dot(80 + gap + 9 * x, 28 + 9 * y, 1.3, "accent", 0.8));
          pen.bar(14, 60, 4 + 125 * (gap / 26) ** 2, 4, "accent");
          pen.line([[28, 56], [28, 68]], "exact", 1, 1.2, [2, 2]);
        };
      },

      /** Noise becomes data in one dimension, time going right: exact paths of DDIM to two narrow modes. */
      f2() {
        const predict = (x, t) => { // the posterior mean, for modes at -1.2 and 1.2
          const alpha = 1 - t, variance = (0.12 * alpha) ** 2 + t * t, gain = alpha * 0.0144 / variance;
          const mode = 1.2 * Math.tanh(1.2 * alpha * x / variance);
          return mode + gain * (x - alpha * mode);
        };
        const paths = normals(26, 3).map(([start]) => {
          let x = start;
          return times(41, (k) => {
            const point = [12 + 3.4 * k, 35 - 17 * x], t = 1 - k / 40, clean = predict(x, t);
            x = clean + (1 - (k + 1) / 40) / t * (x - clean);
            return point;
          });
        });
        return (pen, phase) => {
          const last = Math.round(40 * part(phase, 0, 0.7));
          for (const sign of [-1, 1]) pen.line([[151, 35 + 20.4 * sign - 4], [151, 35 + 20.4 * sign + 4]], "exact", 1, 2);
          for (const path of paths) {
            pen.line(path.slice(0, last + 1), "accent", 0.4, 0.8);
            pen.dot(...path[last], 1.5, "accent");
          }
        };
      },

      /** A weight grows: the guided class leaves the law that was asked for, away from the other class. */
      f3() {
        const own = normals(45, 4), other = normals(45, 5), guided = normals(45, 6);
        return (pen, phase) => {
          const weight = Math.sin(Math.PI * phase) ** 2;
          other.forEach(([x, y]) => pen.dot(58 + 10 * x, 28 + 9 * y, 1.2, "exact", 0.35));
          own.forEach(([x, y]) => pen.dot(92 + 10 * x, 28 + 9 * y, 1.2, "exact", 0.9));
          guided.forEach(([x, y]) => pen.dot(92 + 28 * weight + mix(10, 4, weight) * x, 28 + mix(9, 5, weight) * y, 1.4, "accent", 0.9));
          pen.line([[30, 62], [130, 62]], "exact", 0.8);
          pen.dot(30 + 100 * weight, 62, 3, "accent");
        };
      },

      /** A belief about two weights: each row makes its ring narrower along the row's features. */
      f4() {
        const rows = normals(10, 7), truth = [0.8, -0.5], rings = [];
        let [a, b, c] = [1, 0, 1], mean = [0, 0]; // the covariance [[a, b], [b, c]] and the mean
        const note = () => { // two standard deviations, by a Cholesky factor
          const [l, m] = [Math.sqrt(a), b / Math.sqrt(a)], n = Math.sqrt(c - m * m);
          rings.push(times(49, (k) => [Math.cos(k * Math.PI / 24), Math.sin(k * Math.PI / 24)])
            .map(([u, v]) => [80 + 16 * (mean[0] + 2 * l * u), 35 + 16 * (mean[1] + 2 * (m * u + n * v))]));
        };
        note();
        for (const [x, y] of rows) {
          const reach = [a * x + b * y, b * x + c * y], total = 1.2 + x * reach[0] + y * reach[1];
          const surprise = (truth[0] - mean[0]) * x + (truth[1] - mean[1]) * y;
          mean = [mean[0] + reach[0] * surprise / total, mean[1] + reach[1] * surprise / total];
          [a, b, c] = [a - reach[0] ** 2 / total, b - reach[0] * reach[1] / total, c - reach[1] ** 2 / total];
          note();
        }
        return (pen, phase) => {
          const at = Math.min(9.99, 10 * phase), row = Math.floor(at), [x, y] = rows[row], share = part(at - row, 0.2, 0.8);
          const size = 26 / Math.hypot(x, y);
          pen.line(rings[0], "exact", 0.8, 0.8, [2, 2]);
          pen.line([[80 - size * x, 35 - size * y], [80 + size * x, 35 + size * y]], "warm", 0.8);
          const ring = rings[row].map(([u, v], k) => [mix(u, rings[row + 1][k][0], share), mix(v, rings[row + 1][k][1], share)]);
          pen.area(ring, "accent", 0.2);
          pen.line(ring, "accent");
          pen.dot(80 + 16 * truth[0], 35 + 16 * truth[1], 2, "exact");
        };
      },

      /** On a stream the truth wanders and jumps; the learner predicts each row, then learns from it. */
      f5() {
        const draws = normals(60, 8), truth = (k) => 30 + 9 * Math.sin(k / 9) + (k > 34 ? 18 : 0);
        let guess = 30;
        const rows = draws.map(([noise], k) => {
          const row = { x: 8 + 2.45 * k, seen: truth(k) + 3 * noise, guess };
          guess += 0.22 * (row.seen - guess);
          return row;
        });
        return (pen, phase) => {
          const past = rows.slice(0, 1 + Math.floor(59 * phase));
          pen.line(past.map(({ x }, k) => [x, truth(k)]), "exact", 0.7, 1.4);
          past.forEach(({ x, seen }) => pen.dot(x, seen, 1, "exact"));
          pen.line(past.map((row) => [row.x, row.guess]), "accent", 1, 1.4);
          pen.dot(past.at(-1).x, past.at(-1).guess, 2.2, "accent");
        };
      },

      /** One step from noise. Left, each point goes to the mean of its posterior; right, to a draw from it. */
      "01"() {
        const noise = normals(80, 9), spread = normals(80, 10);
        return (pen, phase) => {
          const gone = part(phase, 0.1, 0.6);
          for (const [middle, ink] of [[42, "warm"], [118, "accent"]]) {
            const mode = (place) => [middle + 25 * Math.cos(place * Math.PI / 4), 35 + 25 * Math.sin(place * Math.PI / 4)];
            times(8, (place) => pen.ring(...mode(place), 4.5, "exact"));
            noise.forEach(([x, y], place) => {
              const [a, b] = ink === "warm" ? [middle, 35] : mode(place).map((at, side) => at + 1.7 * spread[place][side]);
              pen.dot(mix(middle + 12 * x, a, gone), mix(35 + 12 * y, b, gone), 1.4, ink, 0.8);
            });
          }
        };
      },

      /** Four steps are drafted and checked at once; those before the first that fails are kept, and that one is mended. */
      "02"() {
        const path = times(18, (k) => [9 + 8.4 * k, 35 + 13 * Math.sin(0.7 * k) + 6 * Math.cos(1.9 * k)]);
        const rounds = [[0, 3], [4, 1], [6, 4], [10, 2], [13, 3]]; // where each starts, and how many drafts it keeps
        return (pen, phase) => {
          const round = Math.floor(5 * phase), now = 5 * phase - round, [start, kept] = rounds[round];
          const checked = part(now, 0.45, 0.55), mended = part(now, 0.75, 0.95);
          pen.line(path.slice(0, start + 1), "good");
          path.slice(0, start + 1).forEach((point) => pen.dot(...point, 1.9, "good"));
          for (let ahead = 1; ahead <= 4; ahead++) {
            const [x, y] = path[start + ahead], drafted = part(now, 0.08 * ahead, 0.08 * ahead + 0.08);
            const isNext = ahead === kept + 1, off = ahead <= kept ? 0 : (y > 35 ? -9 : 9) * (isNext ? 1 - mended : 1);
            pen.ring(x, y + off, 2, "accent", drafted * (1 - checked));
            if (ahead <= kept) pen.dot(x, y, 2, "good", checked);
            if (isNext) pen.dot(x, y + off, 2.4, "warm", checked);
          }
        };
      },

      /** One knob for three classes leaves some short of their law and sends others past it; then each finds its own. */
      "03"() {
        const cloud = normals(26, 11), classes = [["accent", 0.5, 0.75], ["warm", 2.6, 0.5], ["good", 4.7, 0.35]];
        return (pen, phase) => {
          classes.forEach(([ink, angle, share], place) => {
            const scale = mix(mix(1, 2.2, part(phase, 0, 0.4)), 1 / share, part(phase, 0.45, 0.7)); // 1 + weight
            const reach = share * scale, spread = 4.2 / Math.max(1, reach) ** 1.5;
            const [x, y] = [36 * Math.cos(angle), 21 * Math.sin(angle)];
            pen.ring(54 + x, 35 + y, 9, "exact");
            cloud.forEach(([u, v]) => pen.dot(54 + reach * x + spread * u, 35 + reach * y + spread * v, 1.2, ink, 0.8));
            const knob = 118 + 14 * place;
            pen.line([[knob, 12], [knob, 58]], "exact", 0.8);
            pen.dot(knob, 56 - 21 * (scale - 1), 3, ink);
          });
        };
      },

      /** Particles go down the witness (orange where there are too many, blue where they lack); its kernel narrows. */
      "04"() {
        const centres = [[34, 20], [82, 50], [128, 20]], frames = [];
        const data = normals(36, 12).map(([x, y], place) => [centres[place % 3][0] + 3 * x, centres[place % 3][1] + 3 * y]);
        let particles = normals(36, 13).map(([x, y]) => [80 + 22 * x, 35 + 10 * y]);
        const witness = (cloud, width) => (x, y) => { // its value and its slope times the width squared
          let [value, across, up] = [0, 0, 0];
          for (const [sign, points] of [[1, cloud], [-1, data]]) {
            for (const [a, b] of points) {
              const kernel = sign / 36 * Math.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * width * width));
              value += kernel;
              across -= kernel * (x - a);
              up -= kernel * (y - b);
            }
          }
          return [value, across, up];
        };
        for (let step = 0; step <= 50; step++) {
          const seen = witness(particles, 45 * (5 / 45) ** Math.min(1, step / 40));
          frames.push({ particles, seen });
          particles = particles.map(([x, y]) => {
            const [, across, up] = seen(x, y);
            return [x - 4 * across, y - 4 * up];
          });
        }
        return (pen, phase) => {
          const { particles: now, seen } = frames[Math.round(50 * part(phase, 0.1, 1.3))];
          const heat = times(448, (cell) => [cell % 32 * 5, Math.floor(cell / 32) * 5]).map(([x, y]) => [x, y, seen(x + 2.5, y + 2.5)[0]]);
          const most = Math.max(...heat.map(([, , value]) => Math.abs(value)));
          for (const [x, y, value] of heat) pen.bar(x, y, 5, 5, value > 0 ? "warm" : "accent", 0.3 * Math.abs(value) / most);
          data.forEach((point) => pen.dot(...point, 1.1, "exact"));
          now.forEach((point) => pen.dot(...point, 1.6, "accent"));
        };
      },

      /** A valley of best last weights. Solved, the blue path is in it at once and slides; descent on both zigzags, and at a
          larger rate would leave it. */
      "05"() {
        const floor = (at) => 38 + 15 * Math.sin(6 * at - 1.2), slope = (at) => 90 * Math.cos(6 * at - 1.2);
        const place = ([at, height]) => [8 + 150 * at, height], start = [0.06, 10];
        let [joint, solved] = [[start], [start, [start[0], floor(start[0])]]];
        for (let step = 0; step < 44; step++) {
          const [at, height] = joint.at(-1), above = height - floor(at), [on] = solved.at(-1);
          joint.push([at + 0.05 * (2e-4 * above * slope(at) - 0.6 * (at - 0.86)), height - 1.86 * above]);
          if (step < 43) solved.push([on - 0.1 * (on - 0.86), floor(on - 0.1 * (on - 0.86))]);
        }
        [joint, solved] = [joint.map(place), solved.map(place)];
        return (pen, phase) => {
          for (const off of [0, 6, -6, 13, -13]) {
            pen.line(times(51, (k) => place([k / 50, floor(k / 50) + off])), "exact", off ? 5 / (Math.abs(off) + 10) : 0.9, off ? 0.7 : 1.4);
          }
          const now = 1 + Math.floor(43 * part(phase, 0.02, 0.9));
          for (const [path, ink] of [[joint, "warm"], [solved, "accent"]]) {
            pen.line(path.slice(0, now + 1), ink, 0.9, 1.2);
            pen.dot(...path[now], 2.6, ink);
          }
          const [x, y] = solved[now];
          pen.line([[x, y - 9], [x, y + 9]], "accent", 0.6, 1, [1.5, 1.5]); // the direction that is solved
        };
      },

      /** The world turns and then jumps. A filter tracks the border of two classes; its doubt grows when it is surprised. */
      "06"() {
        const draws = normals(72, 14), truth = (k) => 0.4 + 0.012 * k + (k > 46 ? 1.2 : 0);
        let [angle, variance, drift] = [0.2, 0.3, 0.002];
        const beliefs = draws.map(([noise], k) => {
          const seen = truth(k) + 0.35 * noise, surprise = (seen - angle) ** 2 / (variance + drift + 0.12);
          drift = Math.min(0.1, Math.max(0.0005, drift * Math.exp(0.3 * Math.min(4, surprise - 1))));
          variance += drift;
          const gain = variance / (variance + 0.12);
          angle += gain * (seen - angle);
          variance *= 1 - gain;
          return [angle, 2 * Math.sqrt(variance)];
        });
        const along = (turn, far) => [80 + far * Math.cos(turn), 35 + far * Math.sin(turn)];
        return (pen, phase) => {
          const now = Math.floor(71.99 * phase), [turn, band] = beliefs[now];
          for (const far of [95, -95]) pen.area([[80, 35], along(turn - band, far), along(turn + band, far)], "accent", 0.2);
          pen.line([along(truth(now), -95), along(truth(now), 95)], "exact", 0.9, 1.2, [3, 2]);
          pen.line([along(turn, -95), along(turn, 95)], "accent", 1, 1.4);
          for (let k = Math.max(0, now - 26); k <= now; k++) {
            const side = k % 2 ? 1 : -1, [x, y] = along(truth(k), 20 * draws[k][1]), far = side * (12 + 3 * draws[k][0]);
            pen.dot(x - far * Math.sin(truth(k)), y + far * Math.cos(truth(k)), 1.7, side > 0 ? "warm" : "good", 1 - (now - k) / 27);
          }
        };
      },

      /** Weights leave the ring where they were drawn and learn a task; when the task changes they drift part of the way back. */
      "07"() {
        const weights = normals(34, 15), goals = [[138, 18], [22, 22], [120, 58]];
        return (pen, phase) => {
          const task = Math.floor(3 * phase), now = 3 * phase - task, [from, to] = [goals[(task + 2) % 3], goals[task]];
          const drifted = part(now, 0, 0.25), learned = part(now, 0.35, 0.95), spread = mix(mix(2, 6, drifted), 2, learned);
          const left = [80, 35].map((start, side) => mix(from[side], start, 0.65 * drifted));
          const [x, y] = left.map((at, side) => mix(at, to[side], learned));
          pen.line([from, left, [x, y]], "exact", 0.6, 0.9);
          pen.ring(80, 35, 13, "exact");
          pen.dot(80, 35, 1.2, "exact");
          goals.forEach((goal, place) => pen.ring(...goal, 6, "warm", place === task ? 1 : 0.25));
          weights.forEach(([u, v]) => pen.dot(x + spread * u, y + spread * v, 1.4, learned > 0 ? "accent" : "good", 0.85));
          times(3, (place) => pen.bar(50 + 21 * place, 66, 18, 2, place === task ? "warm" : "exact", place === task ? 1 : 0.4));
        };
      },

      /** A text runs by and changes. The loss of the reader that learns falls, jumps and falls; the other's stays high. */
      "08"() {
        const noise = normals(97, 16), at = (k) => 8 + 1.5 * k, isNew = (k) => k > 48;
        const still = (k) => (isNew(k) ? 0.85 : 0.65) + 0.04 * noise[k][0];
        const learning = (k) => (isNew(k) ? 0.28 + 0.57 * Math.exp((49 - k) / 10) : 0.22 + 0.43 * Math.exp(-k / 10)) + 0.03 * noise[k][1];
        return (pen, phase) => {
          const now = Math.floor(96.99 * phase), read = times(now + 1, (k) => k);
          pen.line(read.map((k) => [at(k), 46 - 42 * still(k)]), "warm", 0.9, 1.2);
          pen.line(read.map((k) => [at(k), 46 - 42 * learning(k)]), "accent", 1, 1.6);
          times(97, (k) => { // the text, word by word: orange where the learning reader was surprised
            if (k % 6 === 5 || (k % 6 === 2 && isNew(k))) return;
            pen.bar(at(k), isNew(k) ? 53 : 55, 1.5, isNew(k) ? 9 : 5, k <= now ? "warm" : "exact", k <= now ? learning(k) : 0.25);
          });
          pen.line([[at(now), 6], [at(now), 66]], "exact", 0.7, 0.8, [2, 2]);
        };
      },

      /** A network loses its weakest filters, and so gets more steps from the same compute: its curve rises earlier;
          with much compute the whole network catches up. */
      "09"() {
        const column = (x, count) => times(count, (k) => [x, 35 + 58 / count * (k - (count - 1) / 2)]);
        const [inputs, hidden, outputs] = [column(12, 4), column(34, 9), column(56, 4)], isCut = (k) => k % 2 === 1 || k === 4;
        const rise = (compute, pace, best) => [80 + 72 * compute, 62 - 52 * best * (1 - Math.exp(-compute / pace))];
        return (pen, phase) => {
          const cut = part(phase, 0.08, 0.35), spent = Math.min(1, Math.max(0, (phase - 0.35) / 0.55));
          hidden.forEach((filter, k) => {
            const left = isCut(k) ? 1 - cut : 1;
            [...inputs, ...outputs].forEach((end) => pen.line([end, filter], "exact", 0.5 * left, 0.6));
            pen.dot(...filter, 2.3, isCut(k) ? "warm" : "accent", Math.max(0.12, left));
          });
          [...inputs, ...outputs].forEach((unit) => pen.dot(...unit, 1.9, "exact"));
          pen.line([[80, 6], [80, 62], [154, 62]], "exact", 0.9);
          for (const [ink, pace, best] of [["warm", 0.4, 0.95], ["accent", 0.18, 0.84]]) {
            const curve = times(41, (k) => rise(spent * k / 40, pace, best));
            pen.line(curve, ink, 1, 1.6);
            pen.dot(...curve[40], 2.2, ink);
          }
        };
      },

      /** Task after task: the error above, the compute below, and an arc from the earlier network that each one started from. */
      "10"() {
        const families = [0, 1, 0, 2, 1, 0, 2, 3, 1, 0, 3, 2, 0, 1];
        const tasks = families.map((family, k) => {
          const met = families.slice(0, k).filter((other) => other === family).length;
          return { x: 15 + 10 * k, from: families.lastIndexOf(family, k - 1), error: 24 * 0.78 ** met + 3 * (k % 2), compute: met ? 7 + 2 * (k % 3) : 17 };
        });
        return (pen, phase) => {
          const seen = 0.5 + 14.5 * phase;
          pen.line([[8, 44], [152, 44]], "exact", 0.8);
          tasks.forEach(({ x, from, error, compute }, k) => {
            const grown = part(seen - k, 0, 1);
            pen.bar(x - 3, 43 - error * grown, 6, error * grown, "accent", 0.85);
            pen.bar(x - 3, 45, 6, compute * grown, "warm", 0.85);
            if (k === 0 || from < 0 || grown === 0) return;
            const start = tasks[from].x, arc = times(17, (u) => [mix(start, x, u / 16), 14 - 40 * u / 16 * (1 - u / 16)]);
            pen.line(arc, "good", seen - k < 1.5 ? 1 : 0.25, 1.1);
            pen.dot(x, 14, 1.4, "good", seen - k < 1.5 ? 1 : 0.25);
          });
        };
      },
    };

    // -- what moves them --

    const thumbnails = new Map(); // by canvas
    let inks = {}, clock = null, before = null;

    function readInks() {
      const style = getComputedStyle(document.documentElement);
      inks = Object.fromEntries(["exact", "accent", "warm", "good"].map((name) => [name, style.getPropertyValue(`--lim-${name}`).trim()]));
    }

    function draw({ canvas, sketch, clock: seconds }) {
      const context = emptied(canvas), scale = canvas.width / WIDTH;
      context.setTransform(scale, 0, 0, scale, 0, 0);
      sketch(makePen(context, inks), seconds / SECONDS % 1);
    }

    const isHeld = (one) => one.isHovered || one.isFocused;

    /** Whether a thumbnail plays: pointed at, or in view for its first whole round. */
    const isPlaying = (one) => !wantsStillness.matches && (isHeld(one) ? one.isInView : one.isShown && one.clock < one.until);

    function tick(now) {
      const passed = Math.min(100, Math.max(0, now - (before ?? now))) / 1000; // at most 0.1 s after another tab was in front
      before = now;
      clock = null;
      for (const one of thumbnails.values()) {
        if (!isPlaying(one)) continue;
        one.clock += passed;
        if (!isHeld(one)) one.clock = Math.min(one.clock, one.until);
        draw(one);
      }
      wake();
    }

    /** Asks for the next picture if anything plays, and says on each canvas whether it does. */
    function wake() {
      const all = [...thumbnails.values()];
      for (const one of all) {
        const state = isPlaying(one) ? "running" : "still";
        if (one.canvas.dataset.state !== state) one.canvas.dataset.state = state;
      }
      if (!all.some(isPlaying)) before = null; // time that passes now is nobody's
      else if (clock === null) clock = requestAnimationFrame(tick);
    }

    const views = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting, intersectionRatio, intersectionRect } of entries) {
        const one = thumbnails.get(target);
        one.isInView = isIntersecting;
        one.isShown = intersectionRatio >= SEEN || intersectionRect.height >= SEEN * innerHeight;
        if (isIntersecting) draw(one);
      }
      wake();
    }, { threshold: times(7, (tenths) => tenths / 10) }); // small ones for a window lower than a thumbnail
    const redraw = () => thumbnails.forEach((one) => one.isInView && draw(one));
    const sizes = new ResizeObserver(redraw);

    for (const link of document.querySelectorAll(".lim-card > a.sd-stretched-link")) {
      const make = sketches[link.getAttribute("href").split("/").at(-1).split("_")[0]];
      if (make === undefined) continue;
      const canvas = Object.assign(document.createElement("canvas"), { className: "lim-canvas lim-thumbnail" }), card = link.parentElement;
      canvas.setAttribute("aria-hidden", "true");
      const one = { canvas, sketch: make(), clock: REST * SECONDS, until: (REST + 1) * SECONDS, isInView: false, isShown: false, isHovered: false, isFocused: false };
      const note = (event, change) => card.addEventListener(event, () => { Object.assign(one, change); wake(); });
      note("pointerenter", { isHovered: true });
      note("pointerleave", { isHovered: false });
      note("focusin", { isFocused: true });
      note("focusout", { isFocused: false });
      thumbnails.set(canvas, one);
      card.prepend(canvas);
      views.observe(canvas);
      sizes.observe(canvas);
    }
    readInks();
    new MutationObserver(() => { readInks(); redraw(); }).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    wantsStillness.addEventListener("change", wake);
    window.addEventListener("beforeprint", () => thumbnails.forEach(draw));
  }

  // -- the routes --

  /** A chip of a route says a lesson's number; its name, to be heard and in its tooltip, is the title of the lesson's card. */
  function nameRoutes() {
    const cards = [...document.querySelectorAll(".lim-card > a.sd-stretched-link")];
    const titles = new Map(cards.map((link) => [link.href, link.parentElement.querySelector(".sd-card-title").textContent.trim()]));
    for (const list of document.querySelectorAll(".lim-card-route ol")) list.setAttribute("role", "list"); // Safari drops it with the bullets
    for (const link of document.querySelectorAll(".lim-card-route li a")) {
      link.title = titles.get(link.href);
      link.setAttribute("aria-label", link.title);
    }
  }

  showStage();
  showThumbnails();
  nameRoutes();
})();
