// The front page's picture: noise carried to data by an exact diffusion, once, for four seconds; a click
// plays it again. A decoration, hidden from screen readers, and still for readers who ask for stillness.
"use strict";
(() => {
  const lead = document.querySelector(".lim-lead");
  if (lead === null) return;
  const canvas = document.createElement("canvas");
  canvas.className = "lim-hero";
  canvas.setAttribute("aria-hidden", "true");
  lead.after(canvas);
  const POINTS = 420, SECONDS = 4, SPREAD = 0.045, ACROSS = 3.1;

  // Data: narrow Gaussians along a lemniscate, so the posterior mean of a noisy point has a closed form.
  const centres = Array.from({ length: 56 }, (_, place) => {
    const angle = 2 * Math.PI * place / 56, size = 2.3 / (1 + Math.sin(angle) ** 2);
    return [size * Math.cos(angle), size * Math.sin(angle) * Math.cos(angle)];
  });
  function mean(x, y, t) {
    const variance = ((1 - t) * SPREAD) ** 2 + t * t;
    const squares = centres.map(([a, b]) => ((x - (1 - t) * a) ** 2 + (y - (1 - t) * b) ** 2) / (2 * variance));
    const least = Math.min(...squares), gain = (1 - t) * SPREAD ** 2 / variance;
    let total = 0, across = 0, up = 0;
    centres.forEach(([a, b], place) => {
      const weight = Math.exp(least - squares[place]);
      total += weight;
      across += weight * (a + gain * (x - (1 - t) * a));
      up += weight * (b + gain * (y - (1 - t) * b));
    });
    return [across / total, up / total];
  }

  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  let points = [], time = 1, began = null, clock = 0;
  function walkTo(next) {
    const keep = next / time, clean = 1 - next - keep * (1 - time);
    points = points.map(([x, y]) => {
      const [a, b] = mean(x, y, time);
      return [keep * x + clean * a, keep * y + clean * b];
    });
    time = next;
  }

  function draw() {
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    const pen = canvas.getContext("2d"), scale = width * ratio / (2 * ACROSS), style = getComputedStyle(canvas);
    const colours = ["--lim-accent", "--lim-warm", "--lim-accent", "--lim-exact"].map((name) => style.getPropertyValue(name));
    pen.translate(canvas.width / 2, canvas.height / 2);
    pen.globalAlpha = 0.7;
    points.forEach(([x, y], place) => {
      pen.fillStyle = colours[place % colours.length];
      pen.beginPath();
      pen.arc(x * scale, -y * scale, 2.1 * ratio, 0, 2 * Math.PI);
      pen.fill();
    });
  }

  function frame(now) {
    began ??= now;
    const done = Math.min(1, (now - began) / 1000 / SECONDS);
    const next = Math.max(0.004, (1 - done) ** 1.6);
    if (next < time) walkTo(next);
    draw();
    if (done < 1) clock = requestAnimationFrame(frame);
  }
  function play() {
    cancelAnimationFrame(clock);
    points = Array.from({ length: POINTS }, () => [normal(), normal()]);
    [time, began] = [1, null];
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      for (let step = 1; step <= 60; step++) walkTo(Math.max(0.004, (1 - step / 60) ** 1.6));
      draw();
    } else {
      clock = requestAnimationFrame(frame);
    }
  }
  canvas.addEventListener("click", play);
  new ResizeObserver(draw).observe(canvas);
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  play();
})();
