// The cards Loss and Learning rate of a run's page: raw, smoothed and validation loss, their values at the selected step, linear or log.

import { card } from "./card.js";
import { chart } from "./chart.js";
import { lastKnown, rangeOf, smooth, SMOOTHING } from "./curves.js";
import { h, put } from "./dom.js";
import { segmented } from "./segmented.js";
import { figure, lossText, whole } from "./text.js";

/** @import { Curve, Points, Values } from "./curves.js" */

const PEAKS = 0.98; // the part of the raw losses that the y axis shows

const key = (/** @type {string} */ name) => h("i", { class: `key ${name}`, "aria-hidden": "true" });

/**
 * "Step 1,200", "" for a step that does not exist.
 * @param {number | undefined} step
 */
const stepTitle = (step) => (step === undefined ? "" : `Step ${whole(step)}`);

/** The legend of the loss: the step and its values. Returns {element, show(step, texts), setValidated(isValidated)}. */
function lossLegend() {
  const step = h("span", { class: "strong" });
  const values = [h("b"), h("b"), h("b")];
  const validated = h("span", { hidden: true }, key("k2 dashed"), "validation ", values[2]);
  const element = h("div", { class: "legend" }, step, h("span", {}, key("raw"), "raw ", values[0]), h("span", {}, key(""), "smoothed ", values[1]), validated);
  return {
    element,
    /**
     * @param {number | undefined} at
     * @param {string[]} texts
     */
    show(at, texts) {
      put(step, stepTitle(at));
      texts.forEach((text, index) => put(values[index], text));
    },
    /** @param {boolean} isValidated */
    setValidated(isValidated) {
      validated.hidden = !isValidated;
    },
  };
}

/**
 * The slider of the smoothing.
 * @param {(weight: number) => void} onchange
 */
function smoothing(onchange) {
  const text = h("output", {}, SMOOTHING.toFixed(2));
  const slider = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: SMOOTHING, oninput: () => {
    put(text, Number(slider.value).toFixed(2));
    onchange(Number(slider.value));
  } });
  return h("label", { class: "line small soft" }, "Smoothing", slider, text);
}

/**
 * The losses as the chart takes them: [steps, raw, smoothed, validation].
 * @param {Points} training
 * @param {[number, number][]} validated
 * @param {number} weight of the smoothing
 * @returns {[number[], Values, Values, Values]}
 */
function lossData(training, validated, weight) {
  const steps = training.map(([at]) => at);
  const losses = training.map(([, [loss]]) => loss);
  const even = smooth(steps, losses, weight);
  const known = new Map(steps.map((at, index) => [at, index]));
  const validation = new Map(validated);
  const all = [...new Set([...steps, ...validation.keys()])].sort((a, b) => a - b);
  const of = (/** @type {number[]} */ list) => all.map((at) => list[known.get(at) ?? -1] ?? null);
  return [all, of(losses), of(even), all.map((at) => validation.get(at) ?? null)];
}

/**
 * The y axis: all smoothed and validation losses, and the raw ones without rare peaks.
 * @param {[number[], Values, Values, Values]} data
 * @param {boolean} isLog
 */
function lossRange([, rawLosses, smoothed, validation], isLog) {
  const known = (/** @type {Values} */ values) => values.filter((loss) => loss !== null).filter((loss) => !isLog || loss > 0);
  const raw = known(rawLosses).sort((a, b) => a - b);
  const ends = raw.length ? [raw[0], raw[Math.floor((raw.length - 1) * PEAKS)]] : [];
  return rangeOf([...known(smoothed), ...known(validation), ...ends], isLog);
}

class LossCard {
  /** @type {{ training: Points, validation: [number, number][] }} */
  points = { training: [], validation: [] };
  /** @type {[number[], Values, Values, Values]} */
  data = [[], [], [], []];
  weight = SMOOTHING;

  constructor() {
    this.legend = lossLegend();
    this.scale = segmented({ label: "Scale", choose: (name) => this.setScale(name) });
    this.scale.element.classList.add("s");
    this.plot = this.makePlot();
    this.empty = h("p", { class: "soft" });
    this.tools = h("div", { class: "line end" }, smoothing((weight) => { this.weight = weight; this.draw(); }), this.scale.element);
    this.body = h("div", { class: "stack tight", hidden: true }, this.legend.element, this.plot.element);
    this.element = card("fg-h-loss", "Loss", { tools: this.tools }, h("div", { class: "body" }, this.body, this.empty));
    this.setScale("linear");
  }

  makePlot() {
    const plot = chart({
      label: "Loss by step", range: (isLog) => lossRange(this.data, isLog),
      select: (index) => this.select(index), describe: (index) => this.describe(index),
      series: [{ token: "series-1", width: 1, alpha: 0.38 }, { token: "series-1" }, { token: "series-2", dash: [4, 3], points: true }],
    });
    plot.element.classList.add("tall");
    return plot;
  }

  /**
   * The raw, the smoothed and the validation loss as text.
   * @param {number} index
   */
  texts(index) {
    const [, ...lines] = this.data;
    return lines.map((values) => lossText(lastKnown(values, index)));
  }

  /** @param {number} index */
  describe(index) {
    const named = this.texts(index).map((text, line) => text && `${["raw", "smoothed", "validation"][line]} ${text}`);
    return `Step ${this.data[0][index]}: ${named.filter(Boolean).join(", ")}`;
  }

  /** @param {string} name */
  setScale(name) {
    this.scale.show([["linear", "Linear"], ["log", "Log"]], name);
    this.plot.setLog(name === "log");
  }

  /** @param {number | null} index */
  select(index) {
    const at = index ?? this.data[0].length - 1;
    this.legend.show(this.data[0][at], this.texts(at));
  }

  draw() {
    const { points, legend } = this;
    this.data = lossData(points.training, points.validation, this.weight);
    const isEmpty = this.data[0].length === 0;
    legend.setValidated(points.validation.length > 0);
    this.body.hidden = isEmpty;
    this.tools.hidden = isEmpty;
    this.empty.hidden = !isEmpty;
    this.plot.show(this.data);
    if (isEmpty) this.select(null);
  }

  /**
   * @param {Curve} curve
   * @param {boolean} isLive
   */
  show(curve, isLive) {
    this.points = { training: curve.training(), validation: curve.validation() };
    put(this.empty, isLive ? "The loss appears here with the first training steps." : "This run recorded no loss.");
    this.draw();
  }
}

/** The card of the loss. */
export const lossCard = () => new LossCard();

/** The card of the learning rate. Returns {element, show(curve)}. */
export function rateCard() {
  /** @type {[number[], number[]]} */
  let data = [[], []];
  const value = h("b");
  const step = h("span", { class: "strong" });
  const plot = chart({
    label: "Learning rate by step", series: [{ token: "series-1" }],
    range: () => [0, Math.max(...data[1], 1e-12) * 1.1],
    describe: (index) => `Step ${data[0][index]}: ${figure(data[1][index])}`,
    select: (index) => {
      const at = index ?? data[0].length - 1;
      put(step, stepTitle(data[0][at]));
      put(value, figure(data[1][at]));
    },
  });
  const element = card("fg-h-learning-rate", "Learning rate", { tools: h("div", { class: "legend end" }, step, h("span", {}, value)) }, h("div", { class: "body" }, plot.element));
  element.hidden = true;
  return {
    element,
    /** @param {Curve} curve */
    show(curve) {
      const points = curve.training().flatMap(([at, [, rate]]) => (rate === null ? [] : [{ at, rate }]));
      element.hidden = points.length === 0;
      data = [points.map(({ at }) => at), points.map(({ rate }) => rate)];
      plot.show(data);
    },
  };
}
