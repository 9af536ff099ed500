// SVG by hand: elements, scales, axes and paths. Colours and strokes are the style sheet's.

const NAMESPACE = "http://www.w3.org/2000/svg"; // a name, never requested

export function node(name, attributes = {}, ...children) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export const scale = ([low, high], [from, to]) => (value) =>
  from + ((value - low) / (high - low || 1)) * (to - from);

/** A path through points; more points than pixels are thinned, the last one is kept. */
export function path(points, width) {
  const every = Math.max(1, Math.floor(points.length / (2 * width)));
  const kept = points.filter((_, i) => i % every === 0 || i === points.length - 1);
  return kept.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

/** A frame to draw in: its size, its two scales, axes with ticks, and the SVG itself. */
export function frame(host, { height, top = 12, x, y, xTicks, yTicks, xLabel, yText = String, label }) {
  const width = Math.max(280, Math.round(host.clientWidth));
  const box = { left: 38, right: width - 20, top, bottom: height - 36 };
  const at = { x: scale(x, [box.left, box.right]), y: scale(y, [box.bottom, box.top]) };
  const svg = node("svg", {
    viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label,
  });
  for (const tick of yTicks) {
    svg.append(
      node("line", { class: "gx-grid", x1: box.left, x2: box.right, y1: at.y(tick), y2: at.y(tick) }),
      node("text", { class: "gx-tick", x: box.left - 6, y: at.y(tick) + 4, "text-anchor": "end" },
        yText(tick)),
    );
  }
  for (const tick of xTicks) {
    svg.append(
      node("line", { class: "gx-axis", x1: at.x(tick), x2: at.x(tick), y1: box.bottom, y2: box.bottom + 4 }),
      node("text", { class: "gx-tick", x: at.x(tick), y: box.bottom + 17, "text-anchor": "middle" },
        String(tick)),
    );
  }
  svg.append(
    node("line", { class: "gx-axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    node("text", { class: "gx-label", x: box.right, y: height - 3, "text-anchor": "end" }, xLabel),
  );
  host.replaceChildren(svg);
  return { svg, at, box, width };
}
