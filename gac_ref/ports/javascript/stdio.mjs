// The port behind the JSON-lines protocol: node stdio.mjs

import { createInterface } from "node:readline";

import * as gac from "./controller.mjs";
import { coefficients, proxies, sequences } from "./proxies.mjs";

const BATCH_ARRAYS = { logprob: "logprob", response_mask: "responseMask", advantages: "advantages", ref_logprob: "refLogprob" };

let config = null;
let state = null;

// ---- values -----------------------------------------------------------------------------------

const READERS = {
  fp64: [8, (view, at) => view.getFloat64(at, true)],
  fp32: [4, (view, at) => view.getFloat32(at, true)],
  fp16: [2, (view, at) => half(view.getUint16(at, true))],
  bf16: [2, (view, at) => bfloat(view.getUint16(at, true))],
  int64: [8, (view, at) => Number(view.getBigInt64(at, true))],
  bool: [1, (view, at) => view.getUint8(at) !== 0],
};

/** The value of a half-precision number's bits. */
function half(bits) {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

/** The value of a bfloat16's bits: the upper half of a single-precision number. */
function bfloat(bits) {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, bits * 65536);
  return view.getFloat32(0);
}

const SPECIAL = { NaN, Infinity, "-Infinity": -Infinity };

/** A value of a request: a number, or {shape, values} for an array. */
function decode(value) {
  if (typeof value === "string") return value in SPECIAL ? SPECIAL[value] : value;
  if (value === null || typeof value !== "object") return value;
  if (value.values) return { shape: value.shape, values: value.values.map(decode) };
  const bytes = Buffer.from(value.data, "base64");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [size, read] = READERS[value.dtype];
  const count = value.shape.reduce((product, axis) => product * axis, 1);
  return { shape: value.shape, values: Array.from({ length: count }, (_, i) => read(view, i * size)) };
}

const number = (value) => (typeof value === "boolean" || Number.isFinite(value) ? value : String(value));

/** A value of a reply; arrays travel with the shape of the batch, [rows] or [rows, width]. */
function encode(value, rows, width) {
  if (typeof value !== "object") return number(value);
  const values = Array.from(value, number);
  if (typeof values[0] === "boolean") return { dtype: "bool", shape: [rows], values };
  const shape = values.length === rows * width && !Array.isArray(value) ? [rows, width] : [rows];
  return { dtype: "fp64", shape, values };
}

// ---- stages -----------------------------------------------------------------------------------

function batchOf(inputs) {
  const [rows, width] = inputs.logprob.shape;
  const batch = { rows, width, isExpert: inputs.is_expert.values, batchKl: inputs.batch_kl };
  for (const [theirs, ours] of Object.entries(BATCH_ARRAYS)) batch[ours] = inputs[theirs]?.values;
  batch.perSequence = inputs.advantages.shape.length === 1;
  return batch;
}

const stateOf = (inputs) =>
  Object.fromEntries(Object.keys(gac.init(config)).map((name) => [name, inputs[`previous_${name}`]]));

const STAGES = {
  coefficients: (x) => coefficients(config, batchOf(x)),
  sequences: (x) => sequences(config, batchOf(x), { c_s: x.c_s.values, c_r: x.c_r.values }),
  proxies: (x) => {
    const columns = ["tokens", "nll", "advantage", "disagreement"].map((name) => [name, x[name].values]);
    return proxies(config, { ...Object.fromEntries(columns), isExpert: x.is_expert.values });
  },
  statistics_ema: (x) => {
    const { state: next, ...outputs } = gac.statisticsEma(config, stateOf(x), x, x.step);
    const { count_s, count_r, count_delta, last_refresh } = next;
    return { ...outputs, count_s, count_r, count_delta, last_refresh };
  },
  alpha: (x) => gac.alpha(config, x.previous_alpha, x.kl),
  closed_form: (x) => gac.closedForm(config, x.sigma_s2, x.sigma_r2, x.delta_g2, x.alpha),
  weight_ema: (x) => gac.weightEma(config, x.previous_mu, x.previous_mu_ada, x.mu_raw, x.not_ready),
  prior_blend: (x) => gac.priorBlend(config, x.mu_ada, x.step),
  change_cap: (x) => gac.changeCap(config, x.mu_candidate, x.previous_mu),
  clip: (x) => gac.clip(config, x.mu_capped),
  step: (x) => gac.update(config, stateOf(x), batchOf(x), x.step).info,
  trajectory: (x) => {
    const after = gac.update(config, state, batchOf(x), x.step);
    state = after.state;
    return after.info;
  },
};

function run(stage, values) {
  if (stage === "transport") return values; // as it came, to the bit
  const inputs = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, decode(value)]));
  const [rows, width] = inputs.logprob?.shape ?? [inputs.is_expert?.values.length, 0];
  const outputs = Object.entries(STAGES[stage](inputs));
  return Object.fromEntries(outputs.map(([name, value]) => [name, encode(value, rows, width)]));
}

// ---- the protocol -----------------------------------------------------------------------------

const FORMATS = ["fp64", "fp32", "fp16", "bf16"];

const CALLS = {
  hello: () => ({
    ok: {
      protocol: 1,
      name: "gac javascript",
      version: "0.1.0",
      stages: ["transport", ...Object.keys(STAGES)],
      dtypes: FORMATS,
      devices: ["cpu"],
      precision: Object.fromEntries(FORMATS.map((name) => [name, { tokens: "fp64", scalars: "fp64" }])),
      accumulation: "sequential",
    },
  }),
  configure: (request) => {
    config = request.config;
    state = gac.init(config);
    return { ok: {} };
  },
  reset: () => {
    state = gac.init(config);
    return { ok: {} };
  },
  run: (request) =>
    request.stage === "transport" || request.stage in STAGES
      ? { ok: run(request.stage, request.inputs) }
      : { unsupported: `no stage ${request.stage}` },
  stop: () => ({ ok: {} }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let reply;
  try {
    reply = CALLS[request.call](request);
  } catch (error) {
    reply = { error: `${error.name}: ${error.message}` };
  }
  process.stdout.write(`${JSON.stringify({ id: request.id, ...reply })}\n`);
  if (request.call === "stop") break;
}
