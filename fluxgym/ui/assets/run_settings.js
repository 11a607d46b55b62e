// The cards Settings, Monitor and History of a run's page.

import { card, refreshButton } from "./card.js";
import { fill, h, put } from "./dom.js";
import { historyList } from "./history.js";
import { word } from "./text.js";

/** @import { Restore } from "./history.js" */
/** @import { HistoryVersion, MonitorState, RunSummary, SessionRow, SettingRow } from "./types.js" */

/** @typedef {{ session?: SessionRow | null, settings?: SettingRow[] | null, facts?: RunSummary | null, monitor?: MonitorState | null, history?: HistoryVersion[] | null }} Changed */

/**
 * How many settings differ from the defaults, and from the run that this one is a copy of.
 * @param {SettingRow[]} rows
 * @param {{ model: string, parent_name: string }} facts
 */
function differences(rows, { model, parent_name: parent }) {
  const fromDefault = rows.filter((row) => row.default !== null).length;
  const fromParent = rows.filter((row) => row.parent !== null).length;
  const of = model ? ` of ${model}` : "";
  const first = fromDefault ? `${fromDefault} ${word(fromDefault, "differs", "differ")} from the defaults${of}.` : `All settings have the defaults${of}.`;
  return parent ? `${first} ${fromParent || "None"} ${word(fromParent, "differs", "differ")} from “${parent}”.` : first;
}

/**
 * The other values of a setting: "default 1e-4, my-cat: 2e-4"
 * @param {SettingRow} row
 * @param {string} parent
 */
function otherValues(row, parent) {
  const list = [];
  if (row.default !== null) list.push(`default ${row.default}`);
  if (row.parent !== null) list.push(`${parent}: ${row.parent}`);
  return list.join(", ");
}

/**
 * What differs from the model's defaults, and from the run that this one is a copy of; all settings unfold.
 * @param {{ onedit: () => unknown }} on
 */
export function settingsCard({ onedit }) {
  const sentence = h("p", { class: "small soft" });
  const changed = h("dl", { class: "kv three" });
  const all = h("dl", { class: "kv" });
  const summary = h("summary", { class: "link" });
  const fold = h("details", {}, summary, all);
  const edit = h("button", { type: "button", class: "link", onclick: onedit });
  const element = card("fg-h-settings", "Settings", {}, h("div", { class: "body stack" }, sentence, changed), h("footer", { class: "small stack tight" }, fold, h("div", {}, edit)));
  /** @type {SettingRow[]} */
  let rows = [];
  let facts = { model: "", parent_name: "" };
  return {
    element,
    /** @param {Changed} next */
    show(next) {
      if (next.settings) rows = next.settings;
      if (next.facts) facts = next.facts;
      if (next.session) put(edit, next.session.edit_text ?? "");
      if (!next.settings && !next.facts) return;
      const own = rows.filter((row) => row.default !== null || row.parent !== null);
      element.hidden = rows.length === 0;
      put(sentence, differences(rows, facts));
      fill(changed, own.flatMap((row) => [h("dt", {}, row.label), h("dd", {}, row.value), h("dd", { class: "was" }, otherValues(row, facts.parent_name))]));
      changed.hidden = own.length === 0;
      put(summary, `All ${rows.length} settings`);
      fill(all, rows.flatMap((row) => [h("dt", {}, row.label), h("dd", {}, row.value)]));
    },
  };
}

/**
 * @param {MonitorState} monitor
 * @param {{ isLive: boolean, isWaiting: boolean }} run
 */
function monitorText(monitor, { isLive, isWaiting }) {
  if (monitor.is_alive) return monitor.pid === null ? "A process watches this run. “Enable monitoring” is off, so lists do not show it." : `✅ Process ${monitor.pid} watches this run.`;
  if (isWaiting) return "The run waits in the queue, so no process watches it yet.";
  return isLive ? "❌ The process that watched this run has ended." : "The run has ended, so no process watches it.";
}

/**
 * The process that watches the run, and the last lines of monitor.log. A run that has ended needs none.
 * @param {{ onrefresh: () => Promise<unknown> }} on
 */
export function monitorCard({ onrefresh }) {
  const state = h("p", { class: "line", role: "status" });
  const lines = h("div", { class: "log", tabindex: 0, role: "log", "aria-live": "off", "aria-label": "The last lines of monitor.log" });
  const refresh = refreshButton("Refresh Monitor Status", onrefresh);
  const element = h("details", { class: "card fold" }, h("summary", {}, "Monitor"), h("div", { class: "body stack tight" }, h("div", { class: "line" }, state, h("span", { class: "end" }, refresh)), lines));
  /** @type {MonitorState} */
  let monitor = { is_alive: false, pid: null, lines: [] };
  let run = { isLive: false, isWaiting: false };
  element.addEventListener("toggle", () => { lines.scrollTop = lines.scrollHeight; });
  return {
    element,
    /** @param {Changed} next */
    show(next) {
      if (next.monitor) monitor = next.monitor;
      if (next.session) run = { isLive: next.session.is_live, isWaiting: next.session.status === "queued" };
      put(state, monitorText(monitor, run));
      put(lines, monitor.lines.join("\n"));
      lines.hidden = !monitor.lines.length;
      lines.scrollTop = lines.scrollHeight;
    },
  };
}

/**
 * The earlier settings, newest first.
 * @param {{ onrestore: Restore }} on
 */
export function historyCard({ onrestore }) {
  const list = historyList(onrestore);
  const element = card("fg-h-history", "History", {}, h("div", { class: "body" }, list.element));
  return {
    element,
    /** @param {Changed} next */
    show(next) {
      if (!next.history) return;
      element.hidden = next.history.length === 0;
      list.show(next.history);
    },
  };
}
