// The page: controls, and what is redrawn when one moves.

import { authority, simulate } from "./run.mjs";
import {
  DEFAULTS, PRESETS, SCENARIOS, SLIDERS, STEPS, VARIANT_NAMES, format, parse, shown,
} from "./settings.mjs";
import { drawRisk, drawRun } from "./views.mjs";
import { percent, sentence, weight } from "./words.mjs";

const VARIANT_NOTES = {
  documented: "as the paper says",
  released: "as the public code does",
  decoupled: "the weight EMA feeds itself",
};
const ROWS = [
  ["sigma_s2", "smoothed SFT noise"], ["sigma_r2", "smoothed RL noise"],
  ["delta_g2_capped", "smoothed disagreement"], ["mu_raw", "estimate, the closed form"],
  ["mu_ada", "after the weight EMA"], ["prior", "prior of the schedule"],
  ["mu_candidate", "after the blend"], ["mu_capped", "after the change cap"],
  ["mu", "applied"],
];

const root = document.getElementById("gac-explorer");
const find = (name) => root.querySelector(`[data-gx="${name}"]`);

/** An element with attributes; a property where the key begins with a dot. */
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith(".")) made[key.slice(1)] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

let settings = parse(location.hash);
const inputs = new Map(); // of the sliders: name -> {slider, range, output}

function buildSlider(slider) {
  const id = `gx-${slider.name}`;
  const range = element("input", {
    type: "range", id, min: 0, max: slider.scale.count, step: 1, "aria-describedby": `${id}-help`,
  });
  const output = element("output", { for: id });
  range.addEventListener("input", () => {
    change({ [slider.name]: slider.scale.value(range.valueAsNumber) });
  });
  inputs.set(slider.name, { slider, range, output });
  const symbol = slider.symbol ? [" ", element("span", { class: "gx-symbol" }, slider.symbol)] : [];
  find(slider.group).append(element("div", { class: "gx-slider", title: slider.help },
    element("label", { for: id }, slider.label, ...symbol), output, range,
    element("span", { id: `${id}-help`, class: "gx-hidden" }, slider.help)));
}

function buildChoices() {
  for (const name of VARIANT_NAMES) {
    const radio = element("input", { type: "radio", name: "gx-variant", value: name });
    radio.addEventListener("change", () => change({ variant: name }));
    find("variants").append(element("label", {}, radio,
      element("span", {}, element("b", {}, name), element("small", {}, VARIANT_NOTES[name]))));
  }
  for (const [name, text] of Object.entries(SCENARIOS)) {
    find("scenario").append(element("option", { value: name }, text));
  }
  find("scenario").addEventListener("change", (event) => change({ scenario: event.target.value }));
  PRESETS.forEach((preset) => {
    const button = element("button", { type: "button" },
      element("b", {}, preset.title), element("small", {}, preset.note));
    button.addEventListener("click", () => change({ ...DEFAULTS, ...preset.set }));
    find("presets").append(button);
  });
  const step = find("step");
  step.max = STEPS - 1;
  step.addEventListener("input", () => change({ step: step.valueAsNumber }));
}

/** Show the settings in the controls, without moving the focus. */
function showSettings() {
  for (const { slider, range, output } of inputs.values()) {
    range.value = slider.scale.position(settings[slider.name]);
    output.textContent = shown(slider, settings[slider.name]);
    range.setAttribute("aria-valuetext", output.textContent);
  }
  root.querySelector(`input[value="${settings.variant}"]`).checked = true;
  find("scenario").value = settings.scenario;
  find("step").value = settings.step;
  find("step-value").textContent = `step ${settings.step}`;
  find("step").setAttribute("aria-valuetext", `step ${settings.step}`);
  const same = ({ set }) => format({ ...DEFAULTS, ...set, step: settings.step }) === format(settings);
  [...find("presets").children].forEach((button, i) => {
    button.setAttribute("aria-pressed", same(PRESETS[i]));
  });
}

function showShares(config) {
  const { prior, estimate } = authority(config);
  find("share-prior").style.flexGrow = prior;
  find("share-estimate").style.flexGrow = estimate;
  find("share-prior-value").textContent = `prior ${percent(prior)}`;
  find("share-estimate-value").textContent = `estimate ${percent(estimate)}`;
}

function showStep(config, info) {
  const said = sentence(config, info, settings.step);
  find("lead").textContent = said.lead;
  find("rest").textContent = said.rest;
  find("mu").textContent = weight(info.mu);
  find("rows").replaceChildren(...ROWS.map(([name, text]) => element("tr", {},
    element("th", { scope: "row" }, text), element("td", {}, element("code", {}, name)),
    element("td", {}, Number(info[name].toPrecision(6)).toString()))));
}

let drawn = 0;
function draw() {
  drawn = 0;
  const run = simulate(settings);
  const others = VARIANT_NAMES.filter((name) => name !== settings.variant)
    .map((name) => simulate(settings, name));
  const info = run.infos[settings.step];
  showSettings();
  showShares(run.config);
  showStep(run.config, info);
  drawRun(find("run"), run, others, settings);
  find("regret").textContent = drawRisk(find("risk"), info);
  root.dataset.mu = run.infos.at(-1).mu;
  root.dataset.muHere = info.mu;
  root.dataset.muRawHere = info.mu_raw;
  root.run = run;
  root.dataset.state = "ready";
}

/** Redraw once a frame, however many events came in between. */
function change(changes) {
  settings = { ...settings, ...changes };
  const address = format(settings);
  history.replaceState(null, "", address ? `#${address}` : location.pathname + location.search);
  drawn ||= requestAnimationFrame(draw);
}

SLIDERS.forEach(buildSlider);
buildChoices();
find("wait").remove();
find("app").hidden = false;
addEventListener("hashchange", () => change(parse(location.hash)));
let width = 0;
new ResizeObserver(([entry]) => {
  if (Math.round(entry.contentRect.width) === width) return;
  width = Math.round(entry.contentRect.width);
  drawn ||= requestAnimationFrame(draw);
}).observe(root);
draw();
