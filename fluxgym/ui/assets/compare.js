// Two runs side by side: the smoothed loss of both, their settings and results, and their latest samples.

import { errorOf, get } from "./api.js";
import { chart } from "./chart.js";
import { comparedSamples } from "./compare_samples.js";
import { lastKnown, rangeOf, smooth, SMOOTHING } from "./curves.js";
import { fill, h, put } from "./dom.js";
import { listed, lossText, whole } from "./text.js";

/** @import { ComparedRun, Comparison, SessionRow } from "./types.js" */

const LINES = [{ token: "series-1" }, { token: "series-3", dash: [5, 3] }];
const KEYS = ["key", "key k3"];

/**
 * The path of a comparison: the slugs are in the query twice, which URLSearchParams of an object cannot do.
 * @param {SessionRow[]} sessions
 */
const where = (sessions) => `compare?${sessions.map(({ slug }) => `slug=${encodeURIComponent(slug)}`).join("&")}`;
const key = (/** @type {number} */ index) => h("i", { class: KEYS[index] });

/**
 * The smoothed curves of runs as [steps, values of the first run, values of the second]; null where a run has no point.
 * @param {ComparedRun[]} runs
 * @returns {[number[], ...(number | null)[][]]}
 */
function curves(runs) {
  const smoothed = runs.map(({ points }) => {
    const steps = points.map(([step]) => step);
    const values = smooth(steps, points.map(([, loss]) => loss), SMOOTHING);
    return new Map(steps.map((step, index) => [step, values[index]]));
  });
  const steps = [...new Set(smoothed.flatMap((values) => [...values.keys()]))].sort((a, b) => a - b);
  return [steps, ...smoothed.map((values) => steps.map((step) => values.get(step) ?? null))];
}

/** The chart of both losses with its legend, and the sentence about a run without any. Returns {element, missing, show(runs)}. */
function lossChart() {
  /** @type {[number[], ...(number | null)[][]]} */
  let data = [[], [], []];
  let names = ["", ""];
  const step = h("span", { class: "strong" }, "Smoothed loss");
  const labels = [h("span"), h("span")];
  const values = [h("b"), h("b")];
  const text = (/** @type {number} */ index, /** @type {number} */ at) => lossText(lastKnown(data[index + 1], at));
  const plot = chart({
    label: "Smoothed loss of both runs by step", series: LINES,
    range: () => rangeOf(data.slice(1).flat().filter((value) => value !== null)),
    describe: (at) => `Step ${data[0][at]}: ${names.map((name, index) => `${name} ${text(index, at)}`).join(", ")}`,
    select: (at) => {
      put(step, at === null ? "Smoothed loss" : `Smoothed loss at step ${whole(data[0][at] ?? 0)}`);
      values.forEach((value, index) => put(value, text(index, at ?? data[0].length - 1)));
    },
  });
  plot.element.classList.add("tall");
  const missing = h("p", { class: "body soft fg-no-loss", hidden: true });
  const element = h("div", { class: "body stack tight" }, h("div", { class: "legend" }, step, labels.map((label, index) => h("span", {}, key(index), label, " ", values[index]))), plot.element);
  return {
    element,
    missing,
    /** @param {ComparedRun[]} runs */
    show(runs) {
      data = curves(runs);
      names = distinctNames(runs);
      labels.forEach((label, index) => put(label, names[index]));
      const without = names.filter((_, index) => !runs[index].points.length);
      put(missing, without.length ? `No loss is known of ${listed(without)}${without.length === runs.length ? ", so there is no chart" : ""}.` : "");
      missing.hidden = !without.length;
      element.hidden = data[0].length === 0;
      plot.show(data);
    },
  };
}

/**
 * The names of the runs, or of their folders if two runs have the same name, because a folder was renamed by hand.
 * @param {{ slug: string, name: string }[]} runs
 */
const distinctNames = (runs) => runs.map(new Set(runs.map((run) => run.name)).size === runs.length ? (run) => run.name : (run) => run.slug);

/**
 * @param {Comparison} comparison
 * @param {boolean} onlyDifferences
 */
function settingsTable(comparison, onlyDifferences) {
  const rows = comparison.settings.filter((row) => !onlyDifferences || row.differs);
  const body = rows.map((row) => h("tr", {}, h("td", {}, row.label), row.values.map((value) => h("td", { class: row.differs && !onlyDifferences ? "strong" : null }, value || "–"))));
  if (!rows.length) body.push(h("tr", {}, h("td", { colspan: 3, class: "soft" }, "Nothing differs.")));
  const heads = distinctNames(comparison.runs).map((name, index) => h("th", { scope: "col" }, h("span", { class: "line keep" }, key(index), name)));
  return h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Setting"), heads)), h("tbody", {}, body));
}

/** The card of a comparison. Returns {element, show(sessions)}. */
export function comparison() {
  /** @type {Comparison | null} */
  let found = null;
  /** @type {SessionRow[]} */
  let compared = [];
  const title = h("h2", { id: "fg-compare-title", tabindex: -1 });
  const only = h("input", { type: "checkbox", role: "switch", checked: true, onchange: () => { draw(); } });
  const close = h("button", { type: "button", class: "btn s quiet", onclick: () => { element.hidden = true; } }, "Close");
  const losses = lossChart();
  const samples = comparedSamples();
  const settings = h("div", { class: "scroll" });
  const problem = h("p", { class: "help bad body", role: "alert", hidden: true });
  const content = h("div", { class: "cmp" }, losses.element, settings);
  const element = h("section", { class: "card", id: "fg-compare", "aria-labelledby": "fg-compare-title", hidden: true },
    h("header", {}, title, h("label", { class: "check switch" }, only, "Differences only"), close), problem, losses.missing, content, samples.element);
  function draw() {
    if (found) fill(settings, settingsTable(found, only.checked));
  }
  /** Request the comparison and show it. Returns the answer. */
  async function load() {
    const answer = /** @type {import("./api.js").Answer<Comparison>} */ (await get(where(compared)));
    found = answer.value ?? null;
    if (found) losses.show(found.runs);
    samples.show(found?.samples, compared, distinctNames(compared));
    content.hidden = !found;
    content.classList.toggle("fg-without-chart", losses.element.hidden === true);
    draw();
    return answer;
  }
  document.addEventListener("fg:changed", async () => {
    if (element.hidden) return;
    const answer = await load();
    if (answer.error) element.hidden = true; // a run was forgotten or deleted, and so is what was shown of it
  });
  return {
    element,
    /** @param {SessionRow[]} sessions */
    async show(sessions) {
      compared = sessions;
      const answer = await load();
      element.hidden = false;
      put(title, `Compare ${listed(distinctNames(sessions))}`);
      put(problem, errorOf(answer));
      problem.hidden = Boolean(found);
      title.focus();
    },
  };
}
