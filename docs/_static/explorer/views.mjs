// The two pictures: mu over the run, and the risk at the step that is looked at.

import { frame, node, path } from "./chart.mjs";
import { EVENT, risk } from "./run.mjs";
import { STEPS } from "./settings.mjs";
import { excess, weight } from "./words.mjs";

const FIFTHS = [0, 0.2, 0.4, 0.6, 0.8, 1];
const CURVE_POINTS = 160;
const NEXT_TO_NOTHING = 1e-5; // of the largest risk: less than a pixel

/** mu, the prior and the raw estimate over the steps; faint, what the other variants do. */
export function drawRun(host, { config, infos }, others, settings) {
  const { svg, at, box, width } = frame(host, {
    height: 300, x: [0, STEPS], y: [0, 1], yTicks: FIFTHS,
    xTicks: width0(host) < 480 ? [0, 700, 1400] : [0, 200, 400, 600, 800, 1000, 1200, 1400],
    xLabel: "training step",
    label: `The weight mu over ${STEPS} steps; it ends at ${weight(infos.at(-1).mu)}.`,
  });
  if (settings.scenario !== "steady") {
    svg.append(node("rect", {
      class: "gx-event", x: at.x(EVENT[0]), width: at.x(EVENT[1]) - at.x(EVENT[0]),
      y: box.top, height: box.bottom - box.top,
    }));
  }
  for (const bound of [config.mu_min, config.mu_max]) {
    svg.append(node("line", {
      class: "gx-bound", x1: box.left, x2: box.right, y1: at.y(bound), y2: at.y(bound),
    }));
  }
  const line = (of, name) => svg.append(node("path", {
    class: name, d: path(of.map((value, step) => [at.x(step), at.y(value)]), width),
  }));
  for (const other of others) line(other.infos.map((info) => info.mu), "gx-line gx-other");
  line(infos.map((info) => info.prior), "gx-line gx-prior");
  line(infos.map((info) => Math.min(1, Math.max(0, info.mu_raw))), "gx-line gx-raw");
  line(infos.map((info) => info.mu), "gx-line gx-mu");
  drawStops(svg, at, box, infos);
  const here = infos[settings.step];
  svg.append(
    node("line", { class: "gx-cursor", x1: at.x(settings.step), x2: at.x(settings.step), y1: box.top, y2: box.bottom }),
    node("circle", { class: "gx-dot", cx: at.x(settings.step), cy: at.y(here.mu), r: 5 }),
  );
}

const width0 = (host) => host.clientWidth;

/** A mark under the axis for each step in which the cap or a bound stopped mu. */
function drawStops(svg, at, box, infos) {
  infos.forEach((info, step) => {
    if (!info.change_capped && !info.mu_clipped) return;
    svg.append(node("line", {
      class: "gx-stop", x1: at.x(step), x2: at.x(step), y1: box.bottom - 7, y2: box.bottom,
    }));
  });
}

/** The parabola of the smoothed statistics, its minimum, and where mu stands on it. */
export function drawRisk(host, info) {
  const mus = Array.from({ length: CURVE_POINTS + 1 }, (_, i) => i / CURVE_POINTS);
  const values = mus.map((mu) => risk(mu, info));
  const top = Math.max(...values) || 1;
  const digits = (value) => Number(value.toPrecision(2)).toString();
  const { svg, at, box, width } = frame(host, {
    height: 300, top: 44, x: [0, 1], y: [0, top], xTicks: FIFTHS, yTicks: [0, top / 2, top],
    yText: digits, xLabel: "weight mu: 0 pure RL, 1 pure SFT",
    label: `The risk of every weight: least at ${weight(info.mu_raw)}, mu is ${weight(info.mu)}.`,
  });
  const least = Math.min(1, Math.max(0, info.mu_raw));
  const [best, here] = [risk(least, info), risk(info.mu, info)];
  svg.append(
    node("rect", {
      class: "gx-regret", x: at.x(Math.min(least, info.mu)), y: at.y(here),
      width: Math.abs(at.x(least) - at.x(info.mu)), height: Math.max(0, at.y(best) - at.y(here)),
    }),
    node("path", { class: "gx-line gx-curve", d: path(mus.map((mu, i) => [at.x(mu), at.y(values[i])]), width) }),
    node("line", { class: "gx-raw gx-line", x1: at.x(least), x2: at.x(least), y1: at.y(best), y2: box.bottom }),
    node("circle", { class: "gx-least", cx: at.x(least), cy: at.y(best), r: 5 }),
    node("circle", { class: "gx-dot", cx: at.x(info.mu), cy: at.y(here), r: 5 }),
  );
  const noise = info.sigma_s2 + info.sigma_r2;
  mark(svg, at, box, info.alpha, "α");
  if (noise > 0) mark(svg, at, box, info.sigma_r2 / noise, "noise alone");
  if (here - best <= NEXT_TO_NOTHING * top) return "mu stands at the least risk.";
  const above = best > 0 ? excess((here - best) / best) : digits(here - best);
  return `At mu = ${weight(info.mu)} the risk is ${above} above the least.`;
}

/** A weight with a name, at the top of the picture. */
function mark(svg, at, box, mu, text) {
  const x = at.x(mu);
  const y = box.top - (text === "α" ? 26 : 8); // two rows: they may stand close together
  const anchor = mu > 0.8 ? "end" : mu < 0.2 ? "start" : "middle";
  svg.append(
    node("line", { class: "gx-mark", x1: x, x2: x, y1: y + 4, y2: box.bottom }),
    node("text", { class: "gx-name", x, y, "text-anchor": anchor }, text),
  );
}
