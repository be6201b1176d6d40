// live_evidence: how probable a batch is after a drift, for a classifier with two weights.

function renderEvidence({ model, el }) {
  makeCard(model, el);
}
