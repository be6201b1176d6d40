// Small comforts: wide equations can be reached and scrolled from the keyboard, and a printed page hides nothing.
"use strict";

function markWide() {
  for (const place of document.querySelectorAll("span.math, div.math")) {
    const drawn = place.querySelector("mjx-container");
    const wide = drawn !== null && Math.max(drawn.scrollWidth, drawn.offsetWidth) > place.parentElement.clientWidth + 1;
    place.classList.toggle("lim-wide", wide);
    const marks = { tabindex: "0", role: "group", "aria-label": "equation, scrolls sideways" };
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

window.addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  markWide();
  window.addEventListener("resize", markWide);
});

window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((fold) => { fold.open = true; }));
