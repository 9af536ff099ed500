// One sentence on what happens, and numbers as a reader wants them.

import { authority } from "./run.mjs";

export const weight = (value) => value.toFixed(3);

export function percent(share) {
  const value = 100 * share;
  if (value === 0 || value === 100) return `${value} %`;
  if (value > 99.95) return "over 99.9 %";
  if (value < 0.05) return "under 0.1 %";
  return `${value.toFixed(value > 10 && value < 90 ? 0 : 1)} %`;
}

/** A relative excess, as a percentage or, where that would be long, as a factor. */
export function excess(share) {
  if (share < 1) return percent(share);
  return share < 100 ? `${Math.round(100 * share)} %` : `${Number(share.toPrecision(2))} times the least`;
}

const STOPS = [
  ["mu_clipped", (info, config) =>
    info.mu >= config.mu_max ? `the upper bound ${config.mu_max}` : `the lower bound ${config.mu_min}`],
  ["change_capped", (info, config) => `the change cap of ${config.mu_change_cap} per step`],
];

/** Who decides, in one sentence: `lead` to be read first, `rest` after it. */
export function sentence(config, info, step) {
  const { prior, estimate } = authority(config);
  const gap = `The estimate asks for ${weight(info.mu_raw)}; mu is ${weight(info.mu)}.`;
  if (info.flat_risk) {
    const answer = config.flat_risk === "alpha" ? `alpha, ${config.alpha}` : weight(info.mu_raw);
    return {
      lead: "There is nothing to decide: without noise or disagreement every weight is as good.",
      rest: `This variant then asks for ${answer}; mu is ${weight(info.mu)}.`,
    };
  }
  const stop = STOPS.find(([flag]) => info[flag]);
  if (stop) {
    return { lead: `At step ${step}, ${stop[1](info, config)} decides.`, rest: gap };
  }
  if (prior === 0) {
    const memory = Number((1 / (1 - config.ema_beta)).toPrecision(2));
    const pace = config.ema_beta === 0 ? "at once" : `over about ${memory} steps`;
    return { lead: `There is no prior in the blend: the estimate decides alone, ${pace}.`, rest: gap };
  }
  const [name, share] = prior >= estimate ? ["prior", prior] : ["noise-aware estimate", estimate];
  const [other, left] = prior >= estimate ? ["estimate", estimate] : ["prior", prior];
  return {
    lead: `The ${name} decides ${percent(share)} of where mu settles, the ${other} ${percent(left)}.`,
    rest: gap,
  };
}
