// The head of the table of runs: filters by name, status and model, Import, and New training.

import { h, keyed, put } from "./dom.js";
import { icon } from "./icons.js";
import { importInput } from "./list_actions.js";
import { newTraining } from "./load_run.js";
import { segmented } from "./segmented.js";
import { whole } from "./text.js";

/** @import { RunsQuery } from "./runs.js" */
/** @import { Filter, SessionPage } from "./types.js" */

/** @type {[Filter, string, "total" | Exclude<Filter, "">][]} value, title and count of each status */
const STATUSES = [
  ["", "All", "total"], ["running", "Running", "running"], ["queued", "Queued", "queued"], ["failed", "Failed", "failed"],
  ["stopped", "Stopped", "stopped"], ["completed", "Completed", "completed"], ["unstarted", "Not started", "unstarted"],
  ["imported", "Imported", "imported"],
];

/**
 * Returns {element, show(page)}.
 * @param {RunsQuery} query the current one
 * @param {(changes: Partial<RunsQuery>) => void} change
 * @param {string} importTypes the types of files that can be imported
 */
export function runsToolbar(query, change, importTypes) {
  const name = h("input", { class: "in s", type: "search", placeholder: "Filter by name", "aria-label": "Filter by name", oninput: () => { change({ filter: name.value }); } });
  const status = segmented({ label: "Status", choose: (value) => change({ status: /** @type {Filter} */ (value) }) });
  const model = h("select", { class: "in s end", "aria-label": "Model", onchange: () => { change({ model: model.value }); } });
  const file = importInput(importTypes);
  const element = h("header", { class: "tools" },
    h("h1", { class: "vh", id: "runs-h" }, "All runs"),
    h("div", { class: "search" }, icon("search"), name), status.element, model,
    h("button", { type: "button", class: "btn s", onclick: () => file.click() }, "Import…"), file,
    h("button", { type: "button", class: "btn s primary", onclick: () => newTraining() }, "New training"));
  return {
    element,
    /** @param {SessionPage} shown */
    show({ counts, models }) {
      const offered = STATUSES.filter(([value]) => (value !== "unstarted" && value !== "imported") || counts[value] || query.status === value);
      status.show(offered.map(([value, text, count]) => [value, `${text} ${whole(counts[count])}`]), query.status);
      const choices = [{ id: "", title: "All models" }, ...models];
      keyed(model, choices, (choice) => choice.id, (choice) => h("option", { value: choice.id }), (option, choice) => put(option, choice.title));
      model.hidden = models.length < 2 && !query.model;
      if (model.value !== query.model) model.value = query.model;
    },
  };
}
