// What a reader can move: names, ranges, units, and how each is written in the address.

/** A slider's position is an integer; `value` and `position` translate. */
const linear = (low, high, count) => ({
  count,
  value: (position) => Number((low + ((high - low) * position) / count).toFixed(6)),
  position: (value) => Math.round(((value - low) / (high - low)) * count),
});

/** Decades above 0, and 0 itself at the left end where `zero` is set. */
const decades = (low, high, each, zero) => ({
  count: (high - low) * each + (zero ? 1 : 0),
  value(position) {
    if (zero && position === 0) return 0;
    return Number((10 ** (low + (position - (zero ? 1 : 0)) / each)).toPrecision(3));
  },
  position(value) {
    if (value <= 0) return 0;
    return Math.max(0, Math.round((Math.log10(value) - low) * each) + (zero ? 1 : 0));
  },
});

/** 1 - 10^-x: the memory of an EMA is read in decades. */
const memory = (digits, each) => ({
  count: digits * each,
  value: (position) => Number((1 - 10 ** (-position / each)).toFixed(6)),
  position: (value) => Math.round(-Math.log10(1 - Math.min(value, 1 - 10 ** -digits)) * each),
});

const percent = (value) => `${Number((100 * value).toPrecision(3))} %`;

export const SLIDERS = [
  {
    name: "sigma_s2", label: "SFT noise", symbol: "σ_s²", group: "statistics",
    unit: "nats²", scale: decades(-3, 2, 20, true), start: 0.2, low: 0, high: Infinity,
    help: "Variance of the demonstrations' losses. More of it pulls the estimate down, to RL.",
  },
  {
    name: "sigma_r2", label: "RL noise", symbol: "σ_r²", group: "statistics",
    unit: "advantage²", scale: decades(-3, 2, 20, true), start: 0.8, low: 0, high: Infinity,
    help: "Variance of the rollouts' advantages. More of it pulls the estimate up, to SFT.",
  },
  {
    name: "delta_g2", label: "Disagreement", symbol: "Δ²", group: "statistics",
    unit: "coefficient²", scale: decades(-3, 2, 20, true), start: 1, low: 0, high: Infinity,
    help: "How far apart the two gradients are. More of it pulls the estimate to alpha.",
  },
  {
    name: "spread", label: "Scatter", symbol: "", group: "statistics",
    unit: "", scale: linear(0, 1, 20), start: 0, low: 0, high: 1, shown: (v) => `± ${percent(v)}`,
    help: "How much each measured statistic varies from refresh to refresh, around its value.",
  },
  {
    name: "alpha", label: "Target", symbol: "α", group: "guards",
    unit: "", scale: linear(0, 1, 100), start: 0.5, low: 0, high: 1,
    help: "The share of the SFT gradient in the step that would be right without noise.",
  },
  {
    name: "ema_beta", label: "Memory", symbol: "β", group: "guards",
    unit: "", scale: memory(3, 50), start: 0.99, low: 0, high: 0.999999,
    shown: (v) => `${v} · ${Number((1 / (1 - v)).toPrecision(3))} steps`,
    help: "Of both moving averages: of the weight at every step, of the statistics at every tenth.",
  },
  {
    name: "blend_weight", label: "Trust in the estimate", symbol: "λ", group: "guards",
    unit: "", scale: linear(0, 1, 100), start: 0.5, low: 0, high: 1,
    help: "Share of the adaptive weight in the blend; the rest is the schedule's prior.",
  },
  {
    name: "mu_change_cap", label: "Change cap", symbol: "c", group: "guards",
    unit: "per step", scale: decades(-4, 0, 20, false), start: 0.01, low: 1e-9, high: 1,
    help: "The most that mu may move in one step.",
  },
];

export const SCENARIOS = {
  "steady": "Nothing changes",
  "rl-noise": "RL noise × 10, steps 500 to 900",
  "no-rollouts": "No rollouts, steps 500 to 900",
};
export const VARIANT_NAMES = ["documented", "released", "decoupled"];
export const STEPS = 1400;

export const DEFAULTS = {
  variant: "documented",
  scenario: "steady",
  step: STEPS - 1,
  ...Object.fromEntries(SLIDERS.map((slider) => [slider.name, slider.start])),
};

export const PRESETS = [
  { title: "As published", note: "the schedule decides", set: {} },
  { title: "No prior", note: "the estimate decides, slowly", set: { blend_weight: 1 } },
  {
    title: "Own memory", note: "one choice, 50 × the authority",
    set: { variant: "decoupled", scenario: "rl-noise", ema_beta: 0.9 },
  },
  {
    title: "Rollouts turn noisy", note: "and nothing happens",
    set: { scenario: "rl-noise", sigma_s2: 0.5, sigma_r2: 0.5 },
  },
  {
    title: "No rollouts", note: "what is missing is read as zero",
    set: { variant: "released", scenario: "no-rollouts", blend_weight: 1, ema_beta: 0.9 },
  },
  {
    title: "The cap holds", note: "a fast estimate, a slow weight",
    set: { scenario: "rl-noise", blend_weight: 1, ema_beta: 0, mu_change_cap: 0.002, spread: 0.5 },
  },
  {
    title: "Strong disagreement", note: "all roads lead to alpha",
    set: { delta_g2: 50.1, blend_weight: 1, ema_beta: 0.9, alpha: 0.3 },
  },
  {
    title: "Nothing to decide", note: "no noise, no disagreement",
    set: { sigma_s2: 0, sigma_r2: 0, delta_g2: 0, blend_weight: 1, ema_beta: 0.9, alpha: 0.7 },
  },
];

/** A slider's value with its unit, for the eye and for a screen reader. */
export function shown(slider, value) {
  if (slider.shown) return slider.shown(value);
  return slider.unit ? `${value} ${slider.unit}` : `${value}`;
}

/** Settings from the part of an address after "#"; what is not a setting is left at its default. */
export function parse(hash) {
  const settings = { ...DEFAULTS };
  for (const [name, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (name === "variant" && VARIANT_NAMES.includes(text)) settings.variant = text;
    if (name === "scenario" && text in SCENARIOS) settings.scenario = text;
    const number = text.trim() === "" ? NaN : Number(text);
    if (name === "step" && Number.isInteger(number) && number >= 0 && number < STEPS) {
      settings.step = number;
    }
    const slider = SLIDERS.find((candidate) => candidate.name === name);
    if (slider && Number.isFinite(number) && number >= slider.low && number <= slider.high) {
      settings[name] = number;
    }
  }
  return settings;
}

/** The shortest address of settings: only what differs from the defaults. */
export function format(settings) {
  const changed = Object.keys(DEFAULTS).filter((name) => settings[name] !== DEFAULTS[name]);
  return new URLSearchParams(changed.map((name) => [name, String(settings[name])])).toString();
}
