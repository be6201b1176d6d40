// companion.methods.kalman.KalmanHead row by row, in float64: the weights of K outputs drift, one covariance serves them all.

/** The prior: mean (m x k) and covariance (m x m), row by row. */
export function kalmanPrior(m, k, weightVariance) {
  const covariance = new Float64Array(m * m);
  for (let i = 0; i < m; i++) covariance[i * m + i] = weightVariance;
  return { m, k, mean: new Float64Array(m * k), covariance, cross: new Float64Array(m) };
}

/** M <- gamma M, A <- gamma^2 A + (1 - gamma^2) weightVariance I, in place; delta = -2 log gamma. */
export function kalmanDrift({ m, mean, covariance }, { delta, weightVariance }) {
  const gamma = Math.exp(-delta / 2), kept = Math.exp(-delta), added = -Math.expm1(-delta) * weightVariance;
  for (let at = 0; at < mean.length; at++) mean[at] *= gamma;
  for (let at = 0; at < covariance.length; at++) covariance[at] *= kept;
  for (let i = 0; i < m; i++) covariance[i * m + i] += added;
}

/** M' phi into `outputs` (k), and phi' A phi, of the belief as it is; `row` is phi. */
export function kalmanOutputs({ m, k, mean, covariance, cross }, row, outputs) {
  let spread = 0;
  outputs.fill(0);
  for (let i = 0; i < m; i++) {
    let sum = 0;
    for (let j = 0; j < m; j++) sum += covariance[i * m + j] * row[j];
    cross[i] = sum;
    spread += row[i] * sum;
    for (let c = 0; c < k; c++) outputs[c] += mean[i * k + c] * row[i];
  }
  return spread;
}

/** The same for the row of `features` that starts at `from`, to read a belief only: half of its covariance is enough. */
export function kalmanReading({ m, k, mean, covariance }, features, from, outputs) {
  let spread = 0;
  outputs.fill(0);
  for (let i = 0; i < m; i++) {
    const own = features[from + i];
    let sum = 0.5 * covariance[i * m + i] * own; // half of it: the other half stands on the other side
    for (let j = 0; j < i; j++) sum += covariance[i * m + j] * features[from + j];
    spread += 2 * own * sum;
    for (let c = 0; c < k; c++) outputs[c] += mean[i * k + c] * own;
  }
  return spread;
}

/** Absorb one row and its `target` (k), in place. */
export function kalmanAbsorb(belief, row, target, noiseVariance) {
  const { m, k, mean, covariance, cross } = belief, outputs = new Float64Array(k);
  const innovation = kalmanOutputs(belief, row, outputs) + noiseVariance; // cross is A phi now
  for (let i = 0; i < m; i++) {
    const gain = cross[i] / innovation;
    for (let c = 0; c < k; c++) mean[i * k + c] += gain * (target[c] - outputs[c]);
    for (let j = 0; j < m; j++) covariance[i * m + j] -= gain * cross[j];
  }
}
