// The diffusion of companion.foundations, again, for points in the plane: tests hold it to torch's numbers.

/** Layers of a perceptron from its flat weights: each layer's matrix, then its bias. */
function readLayers(sizes, weights) {
  const layers = [];
  let offset = 0;
  for (let l = 0; l + 1 < sizes.length; l++) {
    const [inputs, outputs] = [sizes[l], sizes[l + 1]];
    const matrix = weights.subarray(offset, (offset += inputs * outputs));
    const bias = weights.subarray(offset, (offset += outputs));
    layers.push({ inputs, outputs, matrix, bias });
  }
  const widest = Math.max(...sizes);
  return { layers, work: [new Float32Array(widest), new Float32Array(widest)] };
}

/** A TimeMLP, with work space for `points`. */
export function makeNetwork({ sizes, noise, waves }, weights, points) {
  return { ...readLayers(sizes, weights), noise, waves, start: new Float32Array(sizes[1]), points };
}

/** What the layers from `from` on make of the values in the first work space; SiLU after each but the last. */
function throughLayers({ layers, work }, from) {
  let [values, next] = work;
  for (let l = from; l < layers.length; l++) {
    const { inputs, outputs, matrix, bias } = layers[l];
    const isLast = l === layers.length - 1;
    for (let o = 0; o < outputs; o++) {
      let sum = bias[o];
      const row = o * inputs;
      for (let k = 0; k < inputs; k++) sum += matrix[row + k] * values[k];
      next[o] = isLast ? sum : sum / (1 + Math.exp(-sum));
    }
    [values, next] = [next, values];
  }
  return values;
}

/** `t`, then sines and cosines of pi 2^(k/2) t, as networks.time_features. */
export function timeFeatures(t, waves) {
  const features = new Float64Array(2 * waves + 1);
  features[0] = t;
  for (let k = 0; k < waves; k++) {
    const angle = Math.fround(t * Math.PI * 2 ** (k / 2));
    features[1 + k] = Math.sin(angle);
    features[1 + waves + k] = Math.cos(angle);
  }
  return features;
}

/** What the first layer adds up for time t, the same for all points: its bias and the time's part, in `network.start`. */
function startAt(network, t) {
  const { start, layers: [first] } = network;
  const features = timeFeatures(t, network.waves);
  for (let o = 0; o < first.outputs; o++) {
    let sum = first.bias[o];
    const row = o * first.inputs + 2;
    for (let k = 0; k < features.length; k++) sum += first.matrix[row + k] * features[k];
    start[o] = sum;
  }
  return start;
}

/** The network's clean points for `x` (2n) at time t, written to `out`; `noise` is (n * network.noise). */
export function denoise(network, x, t, noise, out) {
  const { layers: [first], work: [values] } = network;
  const start = startAt(network, t), noiseAt = first.inputs - network.noise;
  for (let i = 0; 2 * i < x.length; i++) {
    const a = x[2 * i], b = x[2 * i + 1];
    for (let o = 0; o < first.outputs; o++) {
      const row = o * first.inputs;
      let sum = start[o] + first.matrix[row] * a + first.matrix[row + 1] * b;
      for (let k = 0; k < network.noise; k++) sum += first.matrix[row + noiseAt + k] * noise[i * network.noise + k];
      values[o] = sum / (1 + Math.exp(-sum));
    }
    const answer = throughLayers(network, 1);
    out[2 * i] = answer[0];
    out[2 * i + 1] = answer[1];
  }
  return out;
}

/** Weights of x_t and x0 in the mean of x_s, and its std: diffusion.bridge. */
export function bridge(t, s, churn) {
  const r01 = s / t, r11 = (1 - t) / (1 - s) * r01, e = churn ** 2;
  const correlation = e * r11 + 1 - e;
  return {
    noisy: r01 * correlation,
    clean: (1 - s) * (1 - e * r11 ** 2 - (1 - e) * r11),
    std: s * Math.sqrt(Math.max(0, 1 - correlation ** 2)),
  };
}

/** A seeded stream of standard normal numbers (mulberry32 and the polar method). */
export function normals(seed) {
  let state = seed >>> 0, spare = null;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z = (z + Math.imul(z ^ (z >>> 7), z | 61)) ^ z;
    return ((z ^ (z >>> 14)) >>> 0) / 4294967296;
  };
  const normal = () => {
    if (spare !== null) { const value = spare; spare = null; return value; }
    let a, b, square;
    do { a = 2 * uniform() - 1; b = 2 * uniform() - 1; square = a * a + b * b; } while (square >= 1 || square === 0);
    const scale = Math.sqrt(-2 * Math.log(square) / square);
    spare = b * scale;
    return a * scale;
  };
  const fill = (array) => { for (let i = 0; i < array.length; i++) array[i] = normal(); return array; };
  return { uniform, normal, fill };
}

/** One step of the sampler from time t down to s, in place. */
export function step(network, x, t, s, churn, random, work) {
  random.fill(work.noise);
  denoise(network, x, t, work.noise, work.clean);
  if (s <= 0) { x.set(work.clean); return x; }
  const { noisy, clean, std } = bridge(t, s, churn);
  for (let i = 0; i < x.length; i++) x[i] = noisy * x[i] + clean * work.clean[i] + (std > 0 ? std * random.normal() : 0);
  return x;
}

export function makeWork(network) {
  return { noise: new Float32Array(network.points * network.noise), clean: new Float32Array(2 * network.points) };
}

/** Mean distance between the points of two clouds in the plane; where both are one, of its pairs of different points. */
export function meanDistance(p, q) {
  let total = 0;
  for (let i = 0; i < p.length; i += 2) {
    for (let j = 0; j < q.length; j += 2) {
      const u = p[i] - q[j], v = p[i + 1] - q[j + 1];
      total += Math.sqrt(u * u + v * v);
    }
  }
  const n = p.length / 2, m = q.length / 2;
  return total / (n * (p === q ? m - 1 : m));
}

/**
 * Unbiased energy distance between two clouds in the plane: distances.energy_distance at beta = 1. `withinB`, the mean
 * distance within b, may be handed in where it is known.
 */
export function energyDistance(a, b, withinB = meanDistance(b, b)) {
  return 2 * meanDistance(a, b) - meanDistance(a, a) - withinB;
}

/** Weights, means and stds of x0 given x_t = (x, y) for a mixture: GaussianMixture.posterior. */
export function mixturePosterior({ means, stds, weights }, x, y, t) {
  const logs = [], parts = [];
  for (let k = 0; k < stds.length; k++) {
    const variance = stds[k] ** 2, noisy = (1 - t) ** 2 * variance + t * t;
    const dx = x - (1 - t) * means[2 * k], dy = y - (1 - t) * means[2 * k + 1];
    const gain = (1 - t) * variance / noisy;
    logs.push(Math.log(weights[k]) - Math.log(noisy) - (dx * dx + dy * dy) / (2 * noisy));
    parts.push({ x: means[2 * k] + gain * dx, y: means[2 * k + 1] + gain * dy, std: Math.sqrt(t * t * variance / noisy) });
  }
  const top = Math.max(...logs);
  const total = logs.reduce((sum, value) => sum + Math.exp(value - top), 0);
  return parts.map((part, k) => ({ ...part, weight: Math.exp(logs[k] - top) / total }));
}

// --- speculative sampling: companion.methods.speculative, one chain at a time; points are arrays of any length ------

/** Chance that a draft is kept, 2 Phi(-|D| / 2) = erfc(|D| / sqrt 8), by the error function's series of positive terms. */
export function acceptanceProbability(distance) {
  const x = Math.abs(distance) / Math.sqrt(8);
  if (x > 6) return 0; // below 1e-16
  let term = x, sum = x;
  for (let n = 1; term > 1e-17 * sum; n++) sum += (term *= 2 * x * x / (2 * n + 1));
  return Math.max(0, 1 - 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum);
}

/** speculative.reflection_coupling: a draft from N(draftMean, std^2 I) becomes an exact draw of N(targetMean, std^2 I). */
export function reflectionCoupling(draft, draftMean, targetMean, std, uniform) {
  if (std === 0) return { value: [...targetMean], kept: true };
  let along = 0, square = 0;
  for (let i = 0; i < draft.length; i++) {
    const gap = (draftMean[i] - targetMean[i]) / std;
    along += (draft[i] - draftMean[i]) / std * gap;
    square += gap * gap;
  }
  if (Math.log(uniform) <= -along - square / 2) return { value: [...draft], kept: true };
  const mirror = (y, i) => targetMean[i] + y - draftMean[i] - 2 * along / square * (draftMean[i] - targetMean[i]);
  return { value: draft.map(mirror), kept: false };
}

/** What a perfect denoiser predicts, GaussianMixture.denoise: the mean of mixturePosterior. */
export function posteriorMean(law, [x, y], t) {
  const mean = [0, 0];
  for (const part of mixturePosterior(law, x, y, t)) {
    mean[0] += part.weight * part.x;
    mean[1] += part.weight * part.y;
  }
  return mean;
}

/**
 * A chain before its first round. `answer` is the target's where the chain stands, null until it has been asked;
 * `kept` says of each step done whether it kept its draft.
 */
export function startChain(x) {
  return { position: 0, rounds: 0, evaluations: 0, answer: null, path: [x], kept: [], window: null };
}

/**
 * The chain after one call of the target: speculative.speculate with a frozen prediction, which also counts like this.
 * A chain that does not know the target's answer where it stands asks for it. Any other drafts a window with that
 * answer, asks about all drafts at once and goes on from the first one that was not kept.
 */
export function speculativeRound(chain, { target, steps, window, churn, random, couple = reflectionCoupling }) {
  const time = (index) => 1 - index / steps;
  const start = chain.position, x = chain.path.at(-1);
  if (chain.answer === null) {
    const answer = target(x, time(start));
    return { ...chain, answer, rounds: chain.rounds + 1, evaluations: chain.evaluations + 1, window: null };
  }
  const length = Math.min(window, steps - start);
  const bridges = Array.from({ length }, (_, ahead) => bridge(time(start + ahead), time(start + ahead + 1), churn));
  const mean = (ahead, y, x0) => y.map((value, i) => bridges[ahead].noisy * value + bridges[ahead].clean * x0[i]);

  const states = [x];
  for (let ahead = 0; ahead < length; ahead++) {
    states.push(mean(ahead, states[ahead], chain.answer).map((value) => value + bridges[ahead].std * random.normal()));
  }
  const uniforms = bridges.map(() => random.uniform());

  // One call about all drafts. The end of the window is among them: kept so far, the next draft can freeze its answer.
  const answers = [chain.answer];
  for (let ahead = 1; ahead <= length && start + ahead < steps; ahead++) {
    answers.push(target(states[ahead], time(start + ahead)));
  }
  const asked = answers.length - 1; // 0 at the last step alone, whose answer is known: then there is no call

  const values = [];
  let rejected = false;
  while (values.length < length && !rejected) {
    const ahead = values.length, from = states[ahead];
    const means = [mean(ahead, from, chain.answer), mean(ahead, from, answers[ahead])];
    const { value, kept } = couple(states[ahead + 1], ...means, bridges[ahead].std, uniforms[ahead]);
    values.push(value);
    rejected = !kept;
  }
  const moved = values.length;
  return {
    position: start + moved,
    rounds: chain.rounds + (asked > 0 ? 1 : 0),
    evaluations: chain.evaluations + asked,
    answer: rejected ? null : answers[moved] ?? null,
    path: [...chain.path, ...values],
    kept: [...chain.kept, ...values.map((_, ahead) => !(rejected && ahead === moved - 1))],
    window: { start, states, values, rejected },
  };
}

/** All states of a chain from its start at `x` to its end, round by round. */
export function speculativeChain(x, sampler) {
  const history = [startChain(x)];
  while (history.at(-1).position < sampler.steps) history.push(speculativeRound(history.at(-1), sampler));
  return history;
}

// --- guidance: companion.foundations.conditional and companion.methods.guidance --------------------------------------

/**
 * A ConditionalDenoiser from its network's weights and its embeddings, the last for no class. An embedding enters the
 * first layer in the place of noise and is one of a few: what each adds there is worked out once, in `added`.
 */
export function makeConditional(spec, weights, embeddings) {
  const network = makeNetwork(spec, weights, 0), first = network.layers[0], width = spec.noise;
  const added = Array.from({ length: embeddings.length / width }, (_, row) =>
    Float32Array.from({ length: first.outputs }, (_, o) => {
      let sum = 0;
      for (let k = 0; k < width; k++) {
        sum += first.matrix[(o + 1) * first.inputs - width + k] * embeddings[row * width + k];
      }
      return sum;
    }));
  return { network, added, classes: added.length - 1 };
}

/**
 * The clean points expected for `x` (2n) at time t, written to `out`: x - t velocity. `labels` holds each point's
 * class; null where none is told.
 */
export function expectClean({ network, added, classes }, x, t, labels, out) {
  const { layers: [first], work: [values] } = network;
  const start = startAt(network, t);
  for (let i = 0; 2 * i < x.length; i++) {
    const a = x[2 * i], b = x[2 * i + 1], own = added[labels ? labels[i] : classes];
    for (let o = 0; o < first.outputs; o++) {
      const row = o * first.inputs;
      const sum = start[o] + own[o] + first.matrix[row] * a + first.matrix[row + 1] * b;
      values[o] = sum / (1 + Math.exp(-sum));
    }
    const velocity = throughLayers(network, 1);
    out[2 * i] = a - t * velocity[0];
    out[2 * i + 1] = b - t * velocity[1];
  }
  return out;
}

/** A GuidanceWeights. */
export function makeWeights({ sizes, output }, weights) {
  return { ...readLayers(sizes, weights), output };
}

/** The learned weight of a class for a step from t down to s: which class, then s, then t with a sine and a cosine each. */
export function learnedWeight(weights, label, s, t) {
  const { work: [values], layers: [first] } = weights;
  const times = [...timeFeatures(s, 1), ...timeFeatures(t, 1)];
  values.fill(0, 0, first.inputs - times.length);
  values[label] = 1;
  values.set(times, first.inputs - times.length);
  const [raw] = throughLayers(weights, 0);
  return weights.output === "softplus" ? Math.max(raw, 0) + Math.log1p(Math.exp(-Math.abs(raw))) : Math.max(raw, 0);
}

/** A weight in a limited interval: `weight` where low <= t <= high, t the start of the step; 0 elsewhere. */
export const intervalWeight = ({ weight, low, high }, t) => (low <= t && t <= high ? weight : 0);

/**
 * One guided DDIM step from t down to s, in place: sample_guided without churn. `weights` holds one for each class;
 * where all are 0 the network is asked once instead of twice. `work` is two arrays as long as `x`.
 */
export function guidedStep(model, x, labels, weights, t, s, [told, untold]) {
  expectClean(model, x, t, labels, told);
  if (weights.some((weight) => weight !== 0)) {
    expectClean(model, x, t, null, untold);
    for (let i = 0; i < x.length; i++) told[i] += weights[labels[i >> 1]] * (told[i] - untold[i]);
  }
  const { noisy, clean } = bridge(t, s, 0); // at s = 0 the clean point itself
  for (let i = 0; i < x.length; i++) x[i] = noisy * x[i] + clean * told[i];
  return x;
}
