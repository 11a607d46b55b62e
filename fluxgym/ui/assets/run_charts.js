// The cards Loss and Learning rate of a run's page: raw, smoothed and validation loss, their values at the selected step, linear or log.

import { chart, shown } from "./chart.js";
import { h, put } from "./dom.js";
import { segmented } from "./segmented.js";

const SMOOTHING = 0.9;

/**
 * Exponential moving average with bias correction. The weight is per step, so that a curve of which only every n-th point is known is smoothed
 * as much as one with all points.
 */
export function smooth(steps, losses, weight) {
  let mean = 0;
  let total = 0;
  return losses.map((loss, index) => {
    const kept = weight ** (index ? steps[index] - steps[index - 1] : 1);
    mean = kept * mean + (1 - kept) * loss;
    total = kept * total + (1 - kept);
    return total ? mean / total : loss;
  });
}

/** @typedef {[number, [number, number | null]][]} Points step, [loss, learning rate] */
/** @typedef {(number | null)[]} Values */

/** The points of a run: the curve in pieces, as the answers bring it. */
export function curveData() {
  /** @type {Map<number, [number, number | null]>} step -> [loss, learning rate] */
  let training = new Map();
  /** @type {Map<number, number>} */
  let validation = new Map();
  /** @type {[number, [number, number | null]] | null} */
  let last = null;
  return {
    clear() {
      training = new Map();
      validation = new Map();
      last = null;
    },
    add(/** @type {import("./types.js").CurvePoints} */ curve) {
      if (curve.replace) this.clear();
      curve.points.forEach(([step, loss], index) => training.set(step, [loss, curve.rates[index]]));
      for (const [step, loss] of curve.validation) validation.set(step, loss);
      last = curve.last ? [curve.last[0], [curve.last[1], curve.last_rate]] : null;
    },
    /** @returns {Points} */
    training: () => [...training, ...(last ? [last] : [])],
    /** @returns {[number, number][]} */
    validation: () => [...validation],
  };
}

const key = (name) => h("i", { class: `key ${name}`, "aria-hidden": "true" });

function card(title, tools, body) {
  const id = `fg-h-${title.toLowerCase().replace(" ", "-")}`;
  return h("section", { class: "card", "aria-labelledby": id }, h("header", {}, h("h2", { id }, title), tools), h("div", { class: "body" }, body));
}

/** The last value at or before an index. */
function before(values, index) {
  for (let at = index; at >= 0; at -= 1) if (values[at] !== null && values[at] !== undefined) return values[at];
  return null;
}

export function lossCard() {
  /** @type {{ training: Points, validation: [number, number][] }} */
  let points = { training: [], validation: [] };
  /** @type {[number[], Values, Values, Values]} */
  let data = [[], [], [], []];
  let weight = SMOOTHING;
  const step = h("span", { class: "strong" });
  const values = [h("b"), h("b"), h("b")];
  const validated = h("span", { hidden: true }, key("k2 dashed"), "validation ", values[2]);
  const legend = h("div", { class: "legend" }, step, h("span", {}, key("raw"), "raw ", values[0]), h("span", {}, key(""), "smoothed ", values[1]), validated);
  const weightText = h("output", {}, SMOOTHING.toFixed(2));
  const slider = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: SMOOTHING, oninput: () => {
    weight = Number(slider.value);
    put(weightText, weight.toFixed(2));
    draw();
  } });
  const scale = segmented({ label: "Scale", choose: setScale });
  const plot = chart({
    label: "Loss by step", range, select, describe: (index) => `Step ${data[0][index]}: ${texts(index).filter(([, text]) => text).map((pair) => pair.join(" ")).join(", ")}`,
    series: [{ token: "series-1", width: 1, alpha: 0.38 }, { token: "series-1" }, { token: "series-2", dash: [4, 3], points: true }],
  });
  plot.element.classList.add("tall");
  const empty = h("p", { class: "soft" }, "The loss appears here with the first training steps.");
  const tools = h("div", { class: "line end" }, h("label", { class: "line small soft" }, "Smoothing", slider, weightText), scale.element);
  const body = h("div", { class: "stack tight", hidden: true }, legend, plot.element);
  const element = card("Loss", tools, [body, empty]);
  scale.element.classList.add("s");
  setScale("linear");

  function setScale(name) {
    scale.show([["linear", "Linear"], ["log", "Log"]], name);
    plot.setLog(name === "log");
  }

  /** The y axis: all smoothed and validation losses, and the raw ones without rare peaks. */
  function range(isLog) {
    const shownOnly = (/** @type {Values} */ values) => values.filter((loss) => loss !== null && loss !== undefined).filter((loss) => !isLog || loss > 0);
    const raw = shownOnly(data[1]).sort((a, b) => a - b);
    const others = shownOnly([...data[2], ...data[3]]);
    const all = [...others, raw[0], raw[Math.floor((raw.length - 1) * 0.98)]].filter((loss) => loss !== undefined);
    if (!all.length) return isLog ? [0.1, 1] : [0, 1];
    const [low, high] = [Math.min(...all), Math.max(...all)];
    if (isLog) return [low / 1.1, high * 1.1];
    const room = (high - low || Math.abs(high) || 1) * 0.05;
    return [low - room, high + room];
  }

  function texts(index) {
    return [["raw", shown(before(data[1], index))], ["smoothed", shown(before(data[2], index))], ["validation", shown(before(data[3], index))]];
  }

  function select(index) {
    const at = index ?? data[0].length - 1;
    put(step, at >= 0 ? `Step ${data[0][at].toLocaleString("en-US")}` : "");
    texts(at).forEach(([, text], number) => put(values[number], text));
  }

  function draw() {
    const steps = points.training.map(([at]) => at);
    const losses = points.training.map(([, [loss]]) => loss);
    const even = smooth(steps, losses, weight);
    const known = new Map(steps.map((at, index) => [at, index]));
    const validation = new Map(points.validation);
    const all = [...new Set([...steps, ...validation.keys()])].sort((a, b) => a - b);
    const of = (/** @type {number[]} */ list) => all.map((at) => list[known.get(at) ?? -1] ?? null);
    data = [all, of(losses), of(even), all.map((at) => validation.get(at) ?? null)];
    validated.hidden = validation.size === 0;
    body.hidden = all.length === 0;
    tools.hidden = all.length === 0;
    empty.hidden = all.length > 0;
    plot.show(data);
    if (!all.length) select(null);
  }

  return {
    element,
    show(curve, isLive) {
      points = { training: curve.training(), validation: curve.validation() };
      put(empty, isLive ? "The loss appears here with the first training steps." : "This run recorded no loss.");
      draw();
    },
  };
}

export function rateCard() {
  /** @type {[number[], number[]]} */
  let data = [[], []];
  const value = h("b");
  const step = h("span", { class: "strong" });
  const plot = chart({
    label: "Learning rate by step", series: [{ token: "series-1" }],
    range: () => [0, Math.max(...data[1], 1e-12) * 1.1],
    describe: (index) => `Step ${data[0][index]}: ${shown(data[1][index])}`,
    select: (index) => {
      const at = index ?? data[0].length - 1;
      put(step, at >= 0 ? `Step ${data[0][at].toLocaleString("en-US")}` : "");
      put(value, at >= 0 ? shown(data[1][at]) : "");
    },
  });
  const element = card("Learning rate", h("div", { class: "legend end" }, step, h("span", {}, value)), plot.element);
  element.hidden = true;
  return {
    element,
    show(curve) {
      const points = curve.training().flatMap(([at, [, rate]]) => (rate === null ? [] : [{ at, rate }]));
      element.hidden = points.length === 0;
      data = [points.map(({ at }) => at), points.map(({ rate }) => rate)];
      plot.show(data);
    },
  };
}
