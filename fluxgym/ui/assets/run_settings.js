// The cards Settings, Monitor and History of a run's page.

import { stamp } from "./clock.js";
import { errorOf } from "./api.js";
import { fill, h, keyed, put } from "./dom.js";
import { canRestore, isLive as isLiveRun } from "./session_row.js";

function card(id, title, ...parts) {
  return h("section", { class: "card", "aria-labelledby": id }, h("header", {}, h("h2", { id }, title)), ...parts);
}

/** What differs from the model's defaults, and from the run that this one is a copy of; all settings unfold. */
export function settingsCard({ onedit }) {
  const sentence = h("p", { class: "small soft" });
  const changed = h("dl", { class: "kv three" });
  const all = h("dl", { class: "kv" });
  const summary = h("summary", { class: "link" });
  const fold = h("details", {}, summary, all);
  const edit = h("button", { type: "button", class: "link", onclick: onedit }, "Edit as new training");
  const element = card("fg-h-settings", "Settings", h("div", { class: "body stack" }, sentence, changed), h("footer", { class: "small stack tight" }, fold, h("div", {}, edit)));
  let rows = [];
  let facts = { model: "", parent: "" };

  function others(row) {
    const list = [];
    if (row.default !== null) list.push(`default ${row.default}`);
    if (row.parent !== null) list.push(`${facts.parent}: ${row.parent}`);
    return list.join(", ");
  }

  function about() {
    const fromDefault = rows.filter((row) => row.default !== null).length;
    const fromParent = rows.filter((row) => row.parent !== null).length;
    const model = facts.model ? ` of ${facts.model}` : "";
    const first = fromDefault ? `${fromDefault} ${fromDefault === 1 ? "differs" : "differ"} from the defaults${model}.` : `All settings have the defaults${model}.`;
    return facts.parent ? `${first} ${fromParent || "None"} ${fromParent === 1 ? "differs" : "differ"} from ${facts.parent}.` : first;
  }

  return {
    element,
    show(next) {
      if (next.settings) rows = next.settings;
      if (next.facts) facts = next.facts;
      const own = rows.filter((row) => row.default !== null || row.parent !== null);
      element.hidden = rows.length === 0;
      put(sentence, about());
      fill(changed, own.flatMap((row) => [h("dt", {}, row.label), h("dd", {}, row.value), h("dd", { class: "was" }, others(row))]));
      changed.hidden = own.length === 0;
      put(summary, `All ${rows.length} settings`);
      fill(all, rows.flatMap((row) => [h("dt", {}, row.label), h("dd", {}, row.value)]));
    },
  };
}

/** Whether a process watches the run, and the last lines of monitor.log. A run that has ended needs none. */
export function monitorCard({ onrefresh }) {
  const state = h("p", { class: "line", role: "status" });
  const lines = h("div", { class: "log", tabindex: 0, role: "log", "aria-live": "off", "aria-label": "The last lines of monitor.log" });
  const refresh = h("button", { type: "button", class: "btn s", onclick: async () => {
    refresh.disabled = true;
    await onrefresh();
    setTimeout(() => { refresh.disabled = false; }, 300);
  } }, "Refresh Monitor Status");
  const element = h("details", { class: "card fold" }, h("summary", {}, "Monitor"), h("div", { class: "body stack tight" }, h("div", { class: "line" }, state, h("span", { class: "end" }, refresh)), lines));
  let monitor = { is_alive: false, pid: null, lines: [] };
  let isLive = false;

  function sentence() {
    if (monitor.is_alive) return monitor.pid === null ? "✅ A process watches this run." : `✅ Process ${monitor.pid} watches this run.`;
    return isLive ? "❌ No process watches this run. Starting the app or any training starts one." : "The run has ended, so no process watches it.";
  }

  return {
    element,
    show(next) {
      if (next.monitor) monitor = next.monitor;
      if (next.session) isLive = isLiveRun(next.session);
      put(state, sentence());
      put(lines, monitor.lines.join("\n"));
      lines.hidden = !monitor.lines.length;
    },
  };
}

/** The earlier settings, newest first. */
export function historyCard({ onrestore }) {
  const list = h("ol", { class: "stack versions" });
  const element = card("fg-h-history", "History", h("div", { class: "body" }, list));
  let versions = [];
  let isLocked = true;

  function version(one) {
    const message = h("p", { class: "small bad", role: "alert", hidden: true });
    const restore = h("button", { type: "button", class: "btn s", onclick: async () => {
      restore.disabled = true;
      put(message, errorOf(await onrestore(one.id)));
      message.hidden = !message.textContent;
      restore.disabled = false;
    } }, "Restore these settings");
    return h("li", { class: "stack tight" }, h("p", { class: "small" }, h("b", {}, stamp(one.kept_at))), h("ul", { class: "small mono" }), restore, message);
  }

  function update(item, one) {
    const [, changes, restore] = item.children;
    const known = JSON.stringify(one.changes);
    if (changes.dataset.known !== known) {
      changes.dataset.known = known;
      fill(changes, one.changes.length ? one.changes.map((change) => h("li", {}, change)) : h("li", {}, "Same as the current settings."));
    }
    restore.hidden = isLocked || !one.changes.length;
  }

  return {
    element,
    show(next) {
      if (next.history) versions = next.history;
      if (next.session) isLocked = !canRestore(next.session);
      element.hidden = versions.length === 0;
      keyed(list, versions, (one) => one.id, version, update);
    },
  };
}
