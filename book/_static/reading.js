// Small comforts: what is wide can be reached and scrolled from the keyboard, the focus stays, a printed page hides nothing.
"use strict";

function markWide() {
  for (const place of document.querySelectorAll("span.math, div.math, div.cell_output")) {
    const drawn = place.querySelector("mjx-container, img.lim-many-panels");
    const room = place.matches("span") ? place.parentElement.clientWidth : place.clientWidth;
    const wide = drawn !== null && Math.max(drawn.scrollWidth, drawn.offsetWidth) > room + 1;
    place.classList.toggle("lim-wide", wide);
    const what = place.matches(".math") ? "equation" : "figure";
    const marks = { tabindex: "0", role: "group", "aria-label": `${what}, scrolls sideways` };
    for (const [name, value] of Object.entries(marks)) {
      if (wide) place.setAttribute(name, value); else place.removeAttribute(name);
    }
  }
}

// Names and roles that the theme and the bibliography leave out or get wrong.
for (const fold of document.querySelectorAll("nav summary")) {
  const page = fold.closest("li")?.querySelector("a");
  fold.setAttribute("aria-label", `Pages under ${page?.textContent.trim() ?? "this one"}`);
}
for (const list of document.querySelectorAll(".citation-list[role=list]")) list.removeAttribute("role");

// Copying takes the focus from its button; whoever goes by keyboard goes on from there.
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.copybtn");
  if (button !== null) setTimeout(() => button.focus());
});

window.addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  markWide();
  window.addEventListener("resize", markWide);
});

window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((fold) => { fold.open = true; }));
