// From token arrays to the three proxies of a batch, in float64.
//
// A batch is {rows, width, logprob, responseMask, advantages, isExpert, refLogprob?, batchKl?}: flat
// arrays in row order, [rows * width], but for isExpert [rows]; advantages may also be [rows]. A
// configuration holds the fields of GACConfig under their own names.

const SPREAD_RATIO = 2 ** -40; // a stream with less spread than this share of its size has none

const sum = (values) => values.reduce((total, value) => total + value, 0);
const mean = (values) => sum(values) / values.length;

/** Population variance (ddof 0), from centred values. */
export function variance(values) {
  const centre = mean(values);
  return mean(values.map((value) => (value - centre) ** 2));
}

/** Variance after dropping int(n * ratio) values at each end; nothing is dropped when n < 4. */
export function trimmedVariance(values, ratio) {
  // Descending would do as well; what matters is that numbers are not sorted as text.
  const sorted = Float64Array.from(values).sort();
  const k = sorted.length < 4 ? 0 : Math.trunc(sorted.length * ratio);
  return variance(Array.from(sorted.subarray(k, sorted.length - k)));
}

/** CHORD's token weight p (1 - p). */
export function phi(logprob) {
  const p = Math.exp(logprob);
  return p * (1 - p);
}

/** The two coefficient streams of every position: -phi(p) or -1, and -A or 0 on expert rows. */
export function coefficients(config, batch) {
  const { rows, width, logprob, advantages, isExpert } = batch;
  const perToken = advantages.length === rows * width && !batch.perSequence;
  const sft = new Float64Array(rows * width);
  const rl = new Float64Array(rows * width);
  for (let i = 0; i < rows; i += 1) {
    for (let t = 0; t < width; t += 1) {
      const at = i * width + t;
      sft[at] = config.use_phi ? -phi(logprob[at]) : -1;
      rl[at] = isExpert[i] ? 0 : -advantages[perToken ? at : i];
    }
  }
  return { c_s: sft, c_r: rl };
}

/** Sum over the response tokens of one row; "multiply" lets what is masked poison it. */
function maskedSum(config, batch, row, value) {
  let total = 0;
  for (let at = row * batch.width; at < (row + 1) * batch.width; at += 1) {
    if (batch.responseMask[at]) total += value(at);
    else if (config.masking === "multiply") total += value(at) * 0;
  }
  return total;
}

const overCount = (config, total, count) =>
  count + config.mask_eps === 0 ? total : total / (count + config.mask_eps);

/** One number a sequence: token counts, mean NLL, mean advantage, mean squared disagreement. */
export function sequences(config, batch, streams = coefficients(config, batch)) {
  const rows = [...Array(batch.rows).keys()];
  const tokens = rows.map((row) => {
    let count = 0;
    for (let t = 0; t < batch.width; t += 1) count += batch.responseMask[row * batch.width + t] ? 1 : 0;
    return count;
  });
  const masked = (row, value) => maskedSum(config, batch, row, value);
  const meanOf = (row, value) => overCount(config, masked(row, value), tokens[row]);
  const compared = comparedRows(config, batch.isExpert);

  const normalised = config.coefficient_normalization === "zscore";
  const z = [streams.c_s, streams.c_r].map((stream) =>
    normalised
      ? standardise(config, stream, compared, tokens, masked)
      : { of: (at) => stream[at], constant: false },
  );
  const disagreement = new Array(batch.rows).fill(0);
  for (const row of compared) {
    disagreement[row] = meanOf(row, (at) => (z[0].of(at) - z[1].of(at)) ** 2);
  }
  return {
    tokens,
    nll: rows.map((row) => (batch.isExpert[row] ? meanOf(row, (at) => -batch.logprob[at]) : 0)),
    advantage: rows.map((row) => (batch.isExpert[row] ? 0 : meanOf(row, (at) => -streams.c_r[at]))),
    disagreement,
    sft_stream_constant: z[0].constant,
    rl_stream_constant: z[1].constant,
    kl: config.alpha_mode === "kl" ? batchKl(batch) : NaN,
  };
}

/** A stream less its mean over the response tokens of `rows`, over its spread (ddof 0). */
function standardise(config, stream, rows, tokens, masked) {
  const count = sum(rows.map((row) => tokens[row]));
  // Rows without a token have no spread; whether they count as rows at all is `missing_branch`.
  if (count === 0) return { of: () => 0, constant: measures(config, rows, tokens) };
  const centre = sum(rows.map((row) => masked(row, (at) => stream[at]))) / count;
  const square = sum(rows.map((row) => masked(row, (at) => (stream[at] - centre) ** 2)));
  const spread = Math.sqrt(square / count);
  if (spread <= SPREAD_RATIO * Math.hypot(centre, spread)) return { of: () => 0, constant: true };
  return { of: (at) => (stream[at] - centre) / spread, constant: false };
}

/** KL on the rollouts: as given, or the mean of exp(d) - d - 1 with d = ref - logprob. */
export function batchKl(batch) {
  let [total, count] = [0, 0];
  for (let at = 0; at < batch.rows * batch.width; at += 1) {
    if (!batch.responseMask[at] || batch.isExpert[Math.floor(at / batch.width)]) continue;
    count += 1;
    if (batch.refLogprob) {
      const d = batch.refLogprob[at] - batch.logprob[at];
      total += Math.expm1(d) - d;
    }
  }
  if (count === 0) return NaN;
  if (batch.batchKl !== undefined) return batch.batchKl;
  return batch.refLogprob ? total / count : NaN;
}

const comparedRows = (config, isExpert) =>
  [...isExpert.keys()].filter((row) => config.disagreement_rows === "all" || !isExpert[row]);

/** Whether rows measure anything; "zero" counts one without a token as one of value 0, as released. */
const measures = (config, rows, tokens) =>
  config.missing_branch === "zero" ? rows.length > 0 : rows.some((row) => tokens[row] > 0);

/** The three proxies, whether the batch measures each, and where the floor eps acted. */
export function proxies(config, { tokens, nll, advantage, disagreement, isExpert }) {
  const all = [...isExpert.keys()];
  const rows = {
    s: all.filter((row) => isExpert[row]),
    r: all.filter((row) => !isExpert[row]),
    delta: comparedRows(config, isExpert),
  };
  const has = Object.fromEntries(
    Object.entries(rows).map(([name, chosen]) => [name, measures(config, chosen, tokens)]),
  );
  const pick = (values, chosen) => chosen.map((row) => values[row]);
  const sigmaS2 = has.s ? trimmedVariance(pick(nll, rows.s), config.trim_ratio) : 0;
  const sigmaR2 = has.r ? variance(pick(advantage, rows.r)) : 0;
  return {
    proxy_sigma_s2: has.s ? Math.max(sigmaS2, config.eps) : 0,
    proxy_sigma_r2: has.r ? Math.max(sigmaR2, config.eps) : 0,
    proxy_delta_g2: has.delta ? mean(pick(disagreement, rows.delta)) : 0,
    has_s: has.s,
    has_r: has.r,
    has_delta: has.delta,
    sigma_s2_floored: has.s && sigmaS2 < config.eps,
    sigma_r2_floored: has.r && sigmaR2 < config.eps,
  };
}
