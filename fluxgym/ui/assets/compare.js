// Two runs side by side: the smoothed loss of both, and their settings and results.

import { errorOf, get } from "./api.js";
import { chart, shown } from "./chart.js";
import { fill, h, put } from "./dom.js";
import { smooth } from "./run_charts.js";

const SMOOTHING = 0.9;
const LINES = [{ token: "series-1" }, { token: "series-3", dash: [5, 3] }];
const KEYS = ["key", "key k3"];

/** The address of a comparison: the slugs are in the query twice, which URLSearchParams of an object cannot do. */
const where = (sessions) => `compare?${sessions.map(({ slug }) => `slug=${encodeURIComponent(slug)}`).join("&")}`;
const key = (index) => h("i", { class: KEYS[index] });

/** The smoothed curves of runs as [steps, values of the first run, values of the second]; null where a run has no point. */
function curves(runs) {
  const smoothed = runs.map(({ points }) => {
    const steps = points.map(([step]) => step);
    const values = smooth(steps, points.map(([, loss]) => loss), SMOOTHING);
    return new Map(steps.map((step, index) => [step, values[index]]));
  });
  const steps = [...new Set(smoothed.flatMap((values) => [...values.keys()]))].sort((a, b) => a - b);
  return [steps, ...smoothed.map((values) => steps.map((step) => values.get(step) ?? null))];
}

/** The last known value at or before an index. */
function upTo(values, index) {
  for (let at = index; at >= 0; at -= 1) if (values[at] !== null) return values[at];
  return null;
}

/** The y axis: all values with a little room. */
function yRange(data) {
  const all = data.slice(1).flat().filter((value) => value !== null);
  if (!all.length) return [0, 1];
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const room = (high - low || Math.abs(high) || 1) * 0.05;
  return [low - room, high + room];
}

/** The chart of both losses with its legend. Returns {element, show(runs)}. */
function lossChart() {
  /** @type {(number | null)[][]} */
  let data = [[], [], []];
  let names = ["", ""];
  const step = h("span", { class: "strong" }, "Smoothed loss");
  const labels = [h("span"), h("span")];
  const values = [h("b"), h("b")];
  const text = (index, at) => shown(upTo(data[index + 1], at));
  const plot = chart({
    label: "Smoothed loss of both runs by step", series: LINES, range: () => yRange(data),
    describe: (at) => `Step ${data[0][at]}: ${names.map((name, index) => `${name} ${text(index, at)}`).join(", ")}`,
    select: (at) => {
      put(step, at === null ? "Smoothed loss" : `Smoothed loss at step ${(data[0][at] ?? 0).toLocaleString("en-US")}`);
      values.forEach((value, index) => put(value, text(index, at ?? data[0].length - 1)));
    },
  });
  plot.element.classList.add("tall");
  const element = h("div", { class: "body stack tight" }, h("div", { class: "legend" }, step, labels.map((label, index) => h("span", {}, key(index), label, " ", values[index]))), plot.element);
  return {
    element,
    show(runs) {
      data = curves(runs);
      names = runs.map((run) => run.lora_name);
      labels.forEach((label, index) => put(label, names[index]));
      element.hidden = data[0].length === 0;
      plot.show(data);
    },
  };
}

function settingsTable(comparison, onlyDifferences) {
  const rows = comparison.settings.filter((row) => !onlyDifferences || row.differs);
  const body = rows.map((row) => h("tr", {}, h("td", {}, row.label), row.values.map((value) => h("td", { class: row.differs && !onlyDifferences ? "strong" : null }, value || "–"))));
  if (!rows.length) body.push(h("tr", {}, h("td", { colspan: 3, class: "soft" }, "Nothing differs.")));
  const heads = comparison.runs.map((run, index) => h("th", { scope: "col" }, h("span", { class: "line keep" }, key(index), run.lora_name)));
  return h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Setting"), heads)), h("tbody", {}, body));
}

/** The card of a comparison. Returns {element, show(sessions)}. */
export function comparison() {
  /** @type {import("./types.js").Comparison | null} */
  let found = null;
  const title = h("h2", { id: "fg-compare-title", tabindex: -1 });
  const only = h("input", { type: "checkbox", role: "switch", checked: true, onchange: () => draw() });
  const close = h("button", { type: "button", class: "btn s quiet", onclick: () => { element.hidden = true; } }, "Close");
  const losses = lossChart();
  const settings = h("div", { class: "scroll" });
  const problem = h("p", { class: "help bad body", role: "alert", hidden: true });
  const content = h("div", { class: "cmp" }, losses.element, settings);
  const element = h("section", { class: "card", id: "fg-compare", "aria-labelledby": "fg-compare-title", hidden: true },
    h("header", {}, title, h("label", { class: "check switch" }, only, "Differences only"), close), problem, content);
  const draw = () => found && fill(settings, settingsTable(found, only.checked));
  return {
    element,
    async show(sessions) {
      const answer = /** @type {import("./api.js").Answer<import("./types.js").Comparison>} */ (await get(where(sessions)));
      found = answer.value ?? null;
      element.hidden = false;
      put(title, `Compare ${sessions.map((session) => session.lora_name).join(" and ")}`);
      put(problem, errorOf(answer));
      problem.hidden = Boolean(found);
      content.hidden = !found;
      if (found) losses.show(found.runs);
      content.classList.toggle("fg-without-chart", Boolean(losses.element.hidden));
      draw();
      title.focus();
    },
  };
}
