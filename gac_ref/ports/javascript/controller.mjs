// The controller: each stage a pure function, and their order written once, in `advance`.

import { batchKl, coefficients, proxies, sequences } from "./proxies.mjs";

const ERROR_CLIP = 0.2; // of the relative KL error

const clipTo = (value, low, high) => Math.min(Math.max(value, low), high);
const ema = (previous, value, beta) => beta * previous + (1 - beta) * value;

/** The state before the first step. */
export function init(config) {
  return {
    mu: config.init_mu,
    mu_ada: config.init_mu,
    alpha: config.alpha,
    sigma_s2: 0,
    sigma_r2: 0,
    delta_g2: 0,
    count_s: 0,
    count_r: 0,
    count_delta: 0,
    last_refresh: -1,
  };
}

/** Whether the statistics take this step's batch in. */
export const refreshDue = (config, state, step) =>
  state.last_refresh < 0 || step - state.last_refresh >= config.mu_update_freq;

/** The statistics EMA, seeded by the first value; a missing branch is held, or fed 0. */
export function statisticsEma(config, state, fresh, step) {
  const next = { ...state };
  if (refreshDue(config, state, step)) {
    for (const [name, branch] of [["sigma_s2", "s"], ["sigma_r2", "r"], ["delta_g2", "delta"]]) {
      const present = fresh[`has_${branch}`];
      if (!present && config.missing_branch === "hold") continue;
      const value = present ? Math.max(fresh[`proxy_${name}`], name === "delta_g2" ? 0 : -Infinity) : 0;
      next[name] = state[`count_${branch}`] === 0 ? value : ema(state[name], value, config.ema_beta);
      next[`count_${branch}`] += 1;
    }
    next.last_refresh = step;
  }
  const notReady = !(next.count_s && next.count_r && next.count_delta);
  return {
    state: next,
    sigma_s2: next.count_s ? next.sigma_s2 : 1,
    sigma_r2: next.count_r ? next.sigma_r2 : 1,
    delta_g2: next.count_delta ? next.delta_g2 : 0,
    not_ready: notReady,
  };
}

/** Static, or multiplied by 1 + gain * clip(KL / target - 1); held where the KL is unknown. */
export function alpha(config, previous, kl) {
  if (config.alpha_mode === "static" || Number.isNaN(kl)) return { alpha: previous, alpha_clipped: false };
  const error = clipTo(kl / config.kl_target - 1, -ERROR_CLIP, ERROR_CLIP);
  const proposed = previous * (1 + config.kl_gain * error);
  const value = clipTo(proposed, config.alpha_min, config.alpha_max);
  return { alpha: value, alpha_clipped: proposed < config.alpha_min || proposed > config.alpha_max };
}

/** (alpha D2 + s2_r) / (D2 + s2_s + s2_r), after the cap of the disagreement. */
export function closedForm(config, s, r, delta, target) {
  const limit = config.delta_g2_cap_ratio * (s + r + config.eps);
  const capped = config.delta_g2_cap_ratio > 0 && delta > limit;
  const d = capped ? limit : delta;
  const flat = Math.max(s, r, d) <= 2 * config.eps;
  const top = target * d + r;
  let raw;
  if (config.flat_risk === "zero") {
    const bottom = d + s + r + config.eps;
    raw = bottom === 0 ? top : top / bottom;
  } else {
    raw = flat ? target : top / (d + s + r);
  }
  return { delta_g2_capped: d, mu_raw: raw, disagreement_capped: capped, flat_risk: flat };
}

/** The weight EMA and its clip; unmoved where there is no estimate yet and that is held. */
export function weightEma(config, mu, muAda, muRaw, notReady) {
  const previous = config.weight_ema === "internal" ? muAda : mu;
  let value = config.weight_ema === "off" ? muRaw : ema(previous, muRaw, config.ema_beta);
  if (notReady && config.unseen_statistic === "hold") value = previous;
  return {
    mu_ada: clipTo(value, config.mu_min, config.mu_max),
    mu_ada_clipped: value < config.mu_min || value > config.mu_max,
  };
}

/** The schedule prior: 0 to peak over the warm-up, cosine to valley, then valley; NaN without. */
export function priorAt(config, step) {
  if (config.prior === "none") return NaN;
  const { prior_warmup: warmup, prior_decay: decay, prior_peak: peak, prior_valley: valley } = config;
  if (step < warmup) return (step / Math.max(1, warmup)) * peak;
  if (step >= warmup + decay) return valley;
  const progress = (step - warmup) / Math.max(1, decay);
  return valley + (peak - valley) * (0.5 * (1 + Math.cos(Math.PI * progress)));
}

/** (1 - lambda) prior + lambda mu_ada. */
export function priorBlend(config, muAda, step) {
  const prior = priorAt(config, step);
  const blended = (1 - config.blend_weight) * prior + config.blend_weight * muAda;
  return { prior, mu_candidate: config.prior === "none" ? muAda : blended };
}

/** At most `mu_change_cap` away from the weight applied last. */
export function changeCap(config, candidate, mu) {
  const change = candidate - mu;
  const acted = Math.abs(change) > config.mu_change_cap;
  return { mu_capped: acted ? mu + Math.sign(change) * config.mu_change_cap : candidate, change_capped: acted };
}

/** The bounds of mu. */
export function clip(config, value) {
  return {
    mu: clipTo(value, config.mu_min, config.mu_max),
    mu_clipped: value < config.mu_min || value > config.mu_max,
  };
}

/** One step from a batch: the new state, and every intermediate by its name. */
export function update(config, state, batch, step) {
  if (!refreshDue(config, state, step)) {
    const kl = config.alpha_mode === "kl" ? batchKl(batch) : NaN;
    return advance(config, state, { kl }, step);
  }
  const streams = coefficients(config, batch);
  const perSequence = sequences(config, batch, streams);
  const fresh = proxies(config, { ...perSequence, isExpert: batch.isExpert });
  return advance(config, state, { ...streams, ...perSequence, ...fresh }, step);
}

/** One step from proxies (`proxy_*`, `has_*`, `kl`), which are read only where a refresh is due. */
export function advance(config, state, fresh, step) {
  const target = alpha(config, state.alpha, fresh.kl);
  const { state: next, ...smoothed } = statisticsEma(config, state, fresh, step);
  const form = closedForm(config, smoothed.sigma_s2, smoothed.sigma_r2, smoothed.delta_g2, target.alpha);
  const held = smoothed.not_ready && config.unseen_statistic === "hold";
  if (held) form.mu_raw = config.weight_ema === "internal" ? state.mu_ada : state.mu;
  const smooth = weightEma(config, state.mu, state.mu_ada, form.mu_raw, smoothed.not_ready);
  const blend = priorBlend(config, smooth.mu_ada, step);
  const capped = changeCap(config, blend.mu_candidate, state.mu);
  const applied = clip(config, capped.mu_capped);
  const { count_s, count_r, count_delta, last_refresh } = next;
  return {
    state: { ...next, mu: applied.mu, mu_ada: smooth.mu_ada, alpha: target.alpha },
    info: {
      ...fresh, ...target, ...smoothed, count_s, count_r, count_delta, last_refresh,
      ...form, ...smooth, ...blend, ...capped, ...applied,
    },
  };
}
