// A chart by uPlot: whole steps on the x axis, a linear or a log y axis, colors from the tokens. The pointer or the arrow keys select a step.

import { address } from "./api.js";
import { attribute, h } from "./dom.js";

const AXIS_HEIGHT = 28;
const AXIS_WIDTH = 48;
let loading = null;

/** uPlot, which is loaded with the first chart. */
function library() {
  loading ??= import(address("assets/uPlot.esm.js")).then((module) => module.default).catch((error) => {
    loading = null;
    throw error;
  });
  return loading;
}

/** Multiples of 1, 2 or 5 times a power of ten in a range, about `wanted` of them and no closer than `least`. */
function ticks(low, high, wanted, least = 0) {
  const raw = Math.max((high - low) / wanted || 1, least);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) ?? 10) * power;
  const list = [];
  for (let at = Math.ceil(low / step - 1e-6) * step; at <= high + step / 1e6; at += step) list.push(Number(at.toPrecision(6)));
  return list;
}

/** 1, 2 and 5 times each power of ten in a range; closer ones if that gives fewer than three. */
function logTicks(low, high) {
  const list = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
    for (const factor of [1, 2, 5]) if (factor * power >= low && factor * power <= high) list.push(Number((factor * power).toPrecision(6)));
  }
  return list.length < 3 ? ticks(low, high, 4) : list;
}

/** A value as an axis or a legend shows it: "0.214", "4e-4", "1,200". */
export function shown(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  if (value !== 0 && Math.abs(value) < 0.001) return String(Number(value.toPrecision(digits)).toExponential()).replace("e-0", "e-");
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(digits)));
}

const redraws = new Set();

/** Call the charts when the theme changes: the system's, or a class on <html> or <body>. */
function watchTheme() {
  const changed = () => redraws.forEach((redraw) => redraw());
  const observer = new MutationObserver(changed);
  for (const element of [document.documentElement, document.body]) observer.observe(element, { attributeFilter: ["class", "data-theme", "style"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}

/** The colors of tokens as the canvas needs them; read again after forget(). */
function palette(parent) {
  const probe = h("span", { hidden: true });
  parent.append(probe);
  const known = new Map();
  return {
    forget: () => known.clear(),
    color(token) {
      if (!known.has(token)) {
        probe.style.color = `var(--fg-${token})`;
        known.set(token, window.getComputedStyle(probe).color);
      }
      return known.get(token);
    },
  };
}

/**
 * Create a chart. `series` are {token, width, dash, alpha, points}; `range(log)` returns [low, high] of the y axis; `select(index)` is called with
 * the index of the selected step, or null; `describe(index)` returns its values as text. Returns {element, show(data), setLog(isLog)} with
 * data as [steps, values, ...].
 */
export function chart({ label, series, range, select, describe }) {
  const element = h("div", { class: "uplot-box", role: "slider", tabindex: 0, "aria-label": label, "aria-orientation": "horizontal" });
  const colors = palette(element);
  let plot = null;
  let isLog = false;
  let isBusy = false;
  let data = [[]];
  let selected = null; // by the keyboard

  if (!redraws.size) watchTheme();
  redraws.add(() => {
    colors.forget();
    plot?.redraw(false);
  });
  new ResizeObserver(() => (plot ? resize() : draw())).observe(element);

  const size = () => ({ width: element.clientWidth, height: element.clientHeight });

  function resize() {
    if (element.clientWidth && (plot.width !== element.clientWidth || plot.height !== element.clientHeight)) plot.setSize(size());
  }

  function axis(side, splits, gap) {
    return {
      side, splits, gap, ...(side === 2 ? { size: AXIS_HEIGHT } : { size: AXIS_WIDTH }),
      filter: (_, values) => values, values: (_, values) => values.map((value) => shown(value)),
      stroke: () => colors.color("soft"), font: `12px ${window.getComputedStyle(element).fontFamily}`,
      grid: { stroke: () => colors.color("line"), width: 1 }, ticks: { show: false }, border: { show: side === 2, stroke: () => colors.color("edge"), width: 1 },
    };
  }

  function options() {
    return {
      ...size(), padding: [8, 12, 0, 0], legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6, fill: (_, index) => colors.color(series[index - 1].token) } },
      scales: {
        x: { time: false, range: (_, __, high) => [0, Math.max(1, high ?? 1)] },
        y: { distr: isLog ? 3 : 1, log: 10, range: () => range(isLog) },
      },
      axes: [
        axis(2, (_, __, low, high) => ticks(low, high, Math.max(2, Math.min(9, Math.floor(element.clientWidth / 72))), 1), 6),
        axis(3, (_, __, low, high) => (isLog ? logTicks(low, high) : ticks(low, high, Math.max(3, Math.floor(element.clientHeight / 50)))), 6),
      ],
      series: [{}, ...series.map((one) => ({
        stroke: () => colors.color(one.token), width: one.width ?? 2, dash: one.dash, alpha: one.alpha ?? 1, spanGaps: true,
        points: { show: Boolean(one.points), size: 9, width: 2, stroke: () => colors.color(one.token), fill: () => colors.color("card") },
      }))],
      hooks: { setCursor: [(u) => choose(u.cursor.left >= 0 ? u.cursor.idx ?? null : selected)] },
    };
  }

  function choose(index) {
    select(index);
    const steps = data[0];
    if (!steps.length) return;
    const at = index ?? steps.length - 1;
    attribute(element, "aria-valuemin", steps[0]);
    attribute(element, "aria-valuemax", steps.at(-1));
    attribute(element, "aria-valuenow", steps[at]);
    attribute(element, "aria-valuetext", describe(at));
  }

  /** Draw the chart if there is something to draw, and room for it. */
  async function draw() {
    if (plot || isBusy || !data[0].length || !element.clientWidth) return;
    isBusy = true;
    try {
      const UPlot = await library();
      plot = new UPlot(options(), data, element);
      choose(null);
    } catch {
      // The library did not arrive; the next data try again.
    } finally {
      isBusy = false;
    }
  }

  element.addEventListener("keydown", (event) => {
    const last = data[0].length - 1;
    const at = selected ?? last;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 20, PageDown: at + 20, Home: 0, End: last, Escape: null }[event.key];
    if (to === undefined || !plot) return;
    event.preventDefault();
    selected = to === null ? null : Math.max(0, Math.min(last, to));
    mark();
  });
  element.addEventListener("blur", () => {
    selected = null;
    if (plot) mark();
  });

  /** Put the cursor on the step that the keyboard selected. */
  function mark() {
    const left = selected === null ? -10 : plot.valToPos(data[0][selected], "x");
    plot.setCursor({ left, top: selected === null ? -10 : 1 }, false);
    choose(selected);
  }

  return {
    element,
    show(next) {
      data = next;
      if (selected !== null) selected = Math.min(selected, data[0].length - 1);
      if (plot) {
        plot.setData(data);
        if (selected === null && plot.cursor.left < 0) choose(null);
      } else draw();
    },
    setLog(next) {
      if (isLog === next) return;
      isLog = next;
      plot?.destroy();
      plot = null;
      draw();
    },
  };
}
