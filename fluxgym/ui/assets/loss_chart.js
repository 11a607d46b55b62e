// The loss curve as SVG: raw losses faint, smoothed losses strong.

import { fill, h, put, svg } from "./dom.js";

const NARROWEST = 240;
const HEIGHT = 220;
const EDGE = { left: 48, right: 12, top: 12, bottom: 28 };

/** Exponential moving average with bias correction. */
function smooth(losses, weight) {
  let mean = 0;
  return losses.map((loss, index) => {
    mean = weight * mean + (1 - weight) * loss;
    return mean / (1 - weight ** (index + 1));
  });
}

/** About `wanted` tick values in a range, at multiples of 1, 2 or 5 times a power of ten. */
function ticks(low, high, wanted) {
  const raw = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= raw) * power;
  const list = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) list.push(Number(at.toPrecision(6)));
  return list;
}

function path(points) {
  return points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

/** Create the chart; returns {element, show(points, totalSteps)} with points as [step, loss]. */
export function curve() {
  const chart = svg("svg", { class: "fg-curve", role: "img", height: HEIGHT });
  const reading = h("p", { class: "fg-small fg-reading" });
  const empty = h("p", { class: "fg-empty" }, "The loss appears here with the first training steps.");
  const element = h("div", { class: "fg-curve-box" }, chart, reading, empty);

  let latest = [[], 0];
  new ResizeObserver(() => show(...latest)).observe(element);

  function show(points, totalSteps) {
    latest = [points, totalSteps];
    empty.hidden = points.length > 0;
    chart.style.display = points.length ? "" : "none";
    if (!points.length) {
      put(reading, "");
      return;
    }
    const width = Math.max(NARROWEST, element.clientWidth);
    chart.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const steps = points.map(([step]) => step);
    const losses = points.map(([, loss]) => loss);
    const even = smooth(losses, points.length > 200 ? 0.95 : 0.85);
    const sorted = [...losses].sort((a, b) => a - b);
    const high = Math.max(sorted[Math.floor((sorted.length - 1) * 0.98)], ...even) * 1.05 || 1;
    const low = Math.min(sorted[0], ...even) * 0.95;
    const last = Math.max(totalSteps || 0, steps[steps.length - 1], 1);
    const x = (step) => EDGE.left + (step / last) * (width - EDGE.left - EDGE.right);
    const y = (loss) => HEIGHT - EDGE.bottom - ((Math.min(loss, high) - low) / (high - low || 1)) * (HEIGHT - EDGE.top - EDGE.bottom);
    const grid = ticks(low, high, 4).map((at) => svg("g", { class: "fg-tick" },
      svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(at), y2: y(at) }),
      svg("text", { x: EDGE.left - 8, y: y(at) + 4, "text-anchor": "end" }, String(at))));
    const foot = ticks(0, last, Math.max(4, Math.min(8, Math.floor(width / 90)))).map((at) => svg("text", { x: x(at), y: HEIGHT - 8, "text-anchor": "middle", class: "fg-tick-text" }, String(at)));
    fill(chart, svg("title", {}, "Loss by step"), grid, foot,
      svg("path", { d: path(steps.map((step, index) => [x(step), y(losses[index])])), class: "fg-raw" }),
      svg("path", { d: path(steps.map((step, index) => [x(step), y(even[index])])), class: "fg-smooth" }));
    put(reading, `loss ${losses.at(-1).toFixed(4)} at step ${steps.at(-1)}, smoothed ${even.at(-1).toFixed(4)}`);
  }
  return { element, show };
}
