// live_drift: the Ornstein-Uhlenbeck drift of a belief about two weights, towards the law of their start.

function renderDrift({ model, el }) {
  makeCard(model, el);
}
