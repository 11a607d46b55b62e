// A chart by uPlot: whole steps on the x axis, a linear or a log y axis, colors from the tokens. The pointer or the arrow keys select a step.

import { onThemeChange, palette } from "./chart_colors.js";
import { logTicks, ticks } from "./chart_ticks.js";
import { attribute, h } from "./dom.js";
import { figure } from "./text.js";

/**
 * One line: the token of its color, and how it is drawn.
 * @typedef {{ token: string, width?: number, dash?: number[], alpha?: number, points?: boolean }} Series
 */

/** @typedef {(number | null)[][]} Data [steps, values of each line] */

/**
 * What a chart shows. `range(isLog)` returns the ends of the y axis; `select(index)` is called with the index of the selected step, or null;
 * `describe(index)` returns the values there as text.
 * @typedef {object} ChartOptions
 * @property {string} label
 * @property {Series[]} series
 * @property {(isLog: boolean) => [number, number]} range
 * @property {(index: number | null) => void} select
 * @property {(index: number) => string} describe
 */

const AXIS_HEIGHT = 28;
const AXIS_WIDTH = 48;
const BOTTOM = 2; // uPlot's numbers for the sides
const LEFT = 3;
const PAGE_STEPS = 20;
/** @type {Promise<any> | null} */
let loading = null;

/** uPlot, which is loaded with the first chart. */
function library() {
  loading ??= import(new URL("uPlot.esm.js", import.meta.url).href).then((module) => module.default).catch((error) => {
    loading = null;
    throw error;
  });
  return loading;
}

class Chart {
  /** @type {any} uPlot's object, once it is drawn */
  plot = null;
  isLog = false;
  isBusy = false;
  /** @type {Data} */
  data = [[]];
  /** @type {number | null} the index that the keyboard selected */
  selected = null;

  /** @param {ChartOptions} options */
  constructor(options) {
    this.options = options;
    this.element = h("div", { class: "uplot-box", role: "slider", tabindex: 0, "aria-label": options.label, "aria-orientation": "horizontal" });
    this.colors = palette(this.element);
    onThemeChange(() => {
      this.colors.forget();
      this.plot?.redraw(false);
    });
    new ResizeObserver(() => (this.plot ? this.resize() : this.draw())).observe(this.element);
    this.element.addEventListener("keydown", (event) => this.press(event));
    this.element.addEventListener("blur", () => this.mark(null));
  }

  get steps() {
    return /** @type {number[]} */ (this.data[0]);
  }

  get size() {
    return { width: this.element.clientWidth, height: this.element.clientHeight };
  }

  resize() {
    const { width, height } = this.size;
    if (width && (this.plot.width !== width || this.plot.height !== height)) this.plot.setSize(this.size);
  }

  /**
   * An axis at a side; `splits(low, high)` returns the positions of its labels.
   * @param {number} side
   * @param {(low: number, high: number) => number[]} splits
   */
  axis(side, splits) {
    const color = (/** @type {string} */ token) => () => this.colors.color(token);
    return {
      side, gap: 6, size: side === BOTTOM ? AXIS_HEIGHT : AXIS_WIDTH,
      splits: (/** @type {unknown} */ _, /** @type {number} */ __, /** @type {number} */ low, /** @type {number} */ high) => splits(low, high),
      filter: (/** @type {unknown} */ _, /** @type {number[]} */ values) => values,
      values: (/** @type {unknown} */ _, /** @type {number[]} */ values) => values.map((value) => figure(value)),
      stroke: color("soft"), font: `12px ${window.getComputedStyle(this.element).fontFamily}`,
      grid: { stroke: color("line"), width: 1 }, ticks: { show: false }, border: { show: side === BOTTOM, stroke: color("edge"), width: 1 },
    };
  }

  axes() {
    const { clientWidth: width, clientHeight: height } = this.element;
    return [
      this.axis(BOTTOM, (low, high) => ticks(low, high, Math.max(2, Math.min(9, Math.floor(width / 72))), 1)),
      this.axis(LEFT, (low, high) => (this.isLog ? logTicks(low, high) : ticks(low, high, Math.max(3, Math.floor(height / 50))))),
    ];
  }

  /**
   * A line as uPlot takes it. A single value is a point, because it makes no line.
   * @param {Series} series
   */
  line({ token, width = 2, dash, alpha = 1, points = false }) {
    const stroke = () => this.colors.color(token);
    const show = (/** @type {any} */ plot, /** @type {number} */ index) => points || plot.data[index].filter((/** @type {unknown} */ value) => typeof value === "number").length === 1;
    return { stroke, width, dash, alpha, spanGaps: true, points: { show, size: 9, width: 2, stroke, fill: () => this.colors.color("card") } };
  }

  plotOptions() {
    const { series, range } = this.options;
    return {
      ...this.size, padding: [8, 12, 0, 0], legend: { show: false }, axes: this.axes(), series: [{}, ...series.map((one) => this.line(one))],
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6, fill: (/** @type {unknown} */ _, /** @type {number} */ index) => this.colors.color(series[index - 1].token) } },
      scales: {
        x: { time: false, range: (/** @type {unknown} */ _, /** @type {unknown} */ __, /** @type {number | null} */ high) => [0, Math.max(1, high ?? 1)] },
        y: { distr: this.isLog ? 3 : 1, log: 10, range: () => range(this.isLog) },
      },
      hooks: { setCursor: [(/** @type {any} */ plot) => this.choose(plot.cursor.left >= 0 ? plot.cursor.idx ?? null : this.selected)] },
    };
  }

  /**
   * Report the selected step; without one, screen readers read the last.
   * @param {number | null} index
   */
  choose(index) {
    this.options.select(index);
    const { steps, element } = this;
    if (!steps.length) return;
    const at = index ?? steps.length - 1;
    attribute(element, "aria-valuemin", steps[0]);
    attribute(element, "aria-valuemax", steps.at(-1));
    attribute(element, "aria-valuenow", steps[at]);
    attribute(element, "aria-valuetext", this.options.describe(at));
  }

  /** Draw the chart if there is something to draw, and room for it. */
  async draw() {
    if (this.plot || this.isBusy || !this.steps.length || !this.element.clientWidth) return;
    this.isBusy = true;
    try {
      const UPlot = await library();
      this.plot = new UPlot(this.plotOptions(), this.data, this.element);
      this.choose(null);
    } catch {
      // The library did not arrive; the next data try again.
    } finally {
      this.isBusy = false;
    }
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const last = this.steps.length - 1;
    const at = this.selected ?? last;
    /** @type {Record<string, number | null>} */
    const keys = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - PAGE_STEPS, PageDown: at + PAGE_STEPS, Home: 0, End: last, Escape: null };
    const to = keys[event.key];
    if (to === undefined || !this.plot) return;
    event.preventDefault();
    this.mark(to === null ? null : Math.max(0, Math.min(last, to)));
  }

  /**
   * Put the cursor on the step that the keyboard selected.
   * @param {number | null} index
   */
  mark(index) {
    this.selected = index;
    if (!this.plot) return;
    const left = index === null ? -10 : this.plot.valToPos(this.steps[index], "x");
    this.plot.setCursor({ left, top: index === null ? -10 : 1 }, false);
    this.choose(index);
  }

  /** @param {Data} data */
  show(data) {
    this.data = data;
    if (this.selected !== null) this.selected = Math.min(this.selected, this.steps.length - 1);
    if (!this.plot) {
      this.draw();
      return;
    }
    this.plot.setData(data);
    if (this.selected === null && this.plot.cursor.left < 0) this.choose(null);
  }

  /** @param {boolean} isLog */
  setLog(isLog) {
    if (this.isLog === isLog) return;
    this.isLog = isLog;
    this.plot?.destroy();
    this.plot = null;
    this.draw();
  }
}

/**
 * Create a chart.
 * @param {ChartOptions} options
 */
export const chart = (options) => new Chart(options);
