// A run of the controller on declared statistics. The controller is the JavaScript port, unchanged.

import { advance, init, refreshDue } from "./controller.mjs";
import { STEPS } from "./settings.mjs";
import { VARIANTS } from "./variants.mjs";

export const EVENT = [500, 900]; // steps of what a scenario changes
const RISE = 10; // of the RL noise in "rl-noise"
const SEED = 1;

/** Uniform numbers in [0, 1) from a 32-bit state (mulberry32): the same in every browser. */
export function uniforms(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** The configuration of a variant with the reader's values in it. */
export function configure(settings, variant = settings.variant) {
  const { alpha, ema_beta, blend_weight, mu_change_cap } = settings;
  return { ...VARIANTS[variant], alpha, ema_beta, blend_weight, mu_change_cap };
}

/** What the batch of one step would measure, before the floor: [sigma_s2, sigma_r2, delta_g2]. */
function measured(settings, step, draw) {
  const during = step >= EVENT[0] && step < EVENT[1];
  const rise = settings.scenario === "rl-noise" && during ? RISE : 1;
  const scattered = (value) => value * (1 + settings.spread * (2 * draw() - 1));
  return [
    scattered(settings.sigma_s2),
    scattered(settings.sigma_r2 * rise),
    scattered(settings.delta_g2),
  ];
}

/** The proxies of one step, as the estimator takes them. */
function proxiesOf(config, settings, step, draw) {
  const [s, r, delta] = measured(settings, step, draw);
  const alone = settings.scenario === "no-rollouts" && step >= EVENT[0] && step < EVENT[1];
  const hasDelta = !alone || config.disagreement_rows === "all";
  return {
    proxy_sigma_s2: Math.max(s, config.eps),
    proxy_sigma_r2: alone ? 0 : Math.max(r, config.eps),
    proxy_delta_g2: hasDelta ? delta : 0,
    has_s: true,
    has_r: !alone,
    has_delta: hasDelta,
    kl: NaN,
  };
}

/** Every step's intermediates, by the estimator's own names. */
export function simulate(settings, variant = settings.variant, steps = STEPS) {
  const config = configure(settings, variant);
  const draw = uniforms(SEED);
  let state = init(config);
  const infos = [];
  for (let step = 0; step < steps; step += 1) {
    const due = refreshDue(config, state, step);
    const advanced = advance(config, state, proxiesOf(config, settings, step, draw), step);
    state = advanced.state;
    infos.push({ ...advanced.info, mu_previous: infos.at(-1)?.mu ?? config.init_mu, due });
  }
  return { config, infos };
}

/** Exact risk of a weight; its minimum is the closed form. */
export function risk(mu, { sigma_s2: s, sigma_r2: r, delta_g2_capped: d, alpha }) {
  return (mu - alpha) ** 2 * d + mu ** 2 * s + (1 - mu) ** 2 * r;
}

/** Shares of prior and estimate in the weight that a steady run settles at. */
export function authority({ blend_weight: trust, ema_beta: beta, weight_ema: fed }) {
  if (fed !== "applied") return { prior: 1 - trust, estimate: trust };
  const rest = 1 - trust * beta;
  return { prior: (1 - trust) / rest, estimate: (trust * (1 - beta)) / rest };
}
