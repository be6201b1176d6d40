const RENDERERS = {
  frames: renderFrames, particles: renderParticles, sampler: renderSampler, posterior: renderPosterior,
  coupling: renderCoupling, speculation: renderSpeculation, guidance: renderGuidance,
  witness: renderWitness, valley: renderValley, recursive: renderRecursive,
  forgetting: renderForgetting, stream: renderStream,
  drift: renderDrift, evidence: renderEvidence, plasticity: renderPlasticity,
  attention: renderAttention, reader: renderReader, reading: renderReading,
  curves: renderCurves, filters: renderFilters, pruned: renderPruned,
  wall: renderWall, frontier: renderFrontier, transfers: renderTransfers,
};

export default { render: ({ model, el }) => RENDERERS[model.get("kind")]({ model, el }) };
