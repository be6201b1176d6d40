// live_plasticity: small networks that learn one task after the other by several methods, trained in the browser.

function renderPlasticity({ model, el }) {
  makeCard(model, el);
}
