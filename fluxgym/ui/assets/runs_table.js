// The table of runs: one row per run with a check box, and column headings that sort.

import { attribute, fill, h, keyed, put } from "./dom.js";
import { count, seconds, span, stamp } from "./clock.js";
import { icon } from "./icons.js";
import { menu } from "./menu.js";
import { began, buttonsKey, folderName, openLink, sentence, statusDot, statusWord, stepButton, stepsText } from "./session_row.js";

/** @type {[string, string, string, boolean][]} Name, title, class, and whether the first click sorts downwards. */
const COLUMNS = [
  ["name", "Run", "", false], ["status", "Status", "", false], ["steps", "Steps", "r", true], ["loss", "Loss", "r", false],
  ["model", "Model", "", false], ["date", "Date", "", true], ["duration", "Duration", "r", true],
];

/** "GPU out of memory at step 41 of 960." as one short line below the status. */
function detail(session) {
  if (session.status === "running") return session.activity === "Training" ? "" : session.activity;
  if (session.status === "completed") return "";
  return sentence(session);
}

function timeLeft(session) {
  const at = seconds(session.progress?.time);
  const eta = session.progress?.eta_s;
  return session.status === "running" && typeof eta === "number" && at !== null ? at + eta : null;
}

function showStatus(cell, session) {
  const [line, small] = cell.children;
  const known = JSON.stringify(session.shown);
  if (line.dataset.known !== known) {
    line.dataset.known = known;
    fill(line, statusDot(session), ...statusWord(session).children);
    attribute(line, "class", statusWord(session).className);
  }
  const left = timeLeft(session);
  const text = detail(session);
  if (left !== null && !text) count(small, left, "down");
  else {
    small.classList.remove("fg-clock");
    put(small, text);
  }
  attribute(small, "title", text || null);
}

function showDuration(cell, session) {
  if (session.attempt_started !== null) count(cell.firstElementChild, session.attempt_started, "for");
  else {
    cell.firstElementChild.classList.remove("fg-clock");
    put(cell.firstElementChild, session.duration_s === null ? "" : span(session.duration_s));
  }
  attribute(cell, "title", session.attempt > 1 ? `Of attempt ${session.attempt} alone` : null);
}

function showDate(cell, session) {
  const known = `${session.began}/${session.started}/${stamp(session.started).slice(0, 10)}`;
  if (cell.dataset.known === known) return;
  cell.dataset.known = known;
  fill(cell, began(session));
}

function lossText(session) {
  const loss = session.progress?.loss;
  return typeof loss === "number" ? loss.toFixed(3) : "";
}

function makeRow(session, { act, select }) {
  const box = h("input", { type: "checkbox", onchange: () => select(row.session, box.checked) });
  /** @type {HTMLTableRowElement & { session?: any }} */
  const row = h("tr", {},
    h("td", { class: "m" }, box),
    h("td", { class: "m" }, openLink(session, act, { class: "name" }, session.lora_name), h("span", { class: "small faint fg-slug" })),
    h("td", { class: "m2" }, h("span", {}), h("span", { class: "small soft fg-detail" })),
    h("td", { class: "r nowrap" }), h("td", { class: "r" }), h("td", { class: "nowrap" }), h("td", { class: "nowrap" }),
    h("td", { class: "r nowrap" }, h("span")), h("td", { class: "m acts" }, h("span", { class: "fg-buttons" })));
  row.session = session;
  row.lastElementChild?.append(menu(() => row.session, (action, more) => act.more(row.session)(action, more), act.done));
  return row;
}

function showRow(row, session, { act, isSelected }) {
  const isChecked = isSelected(session);
  const box = row.querySelector("input");
  if (box.checked !== isChecked) box.checked = isChecked;
  row.classList.toggle("sel", isChecked);
  const shown = JSON.stringify(session);
  if (row.dataset.shown === shown) return;
  row.dataset.shown = shown;
  row.dataset.status = session.status;
  row.session = session;
  attribute(box, "aria-label", `Select ${session.lora_name}`);
  const [, name, status, steps, loss, model, date, duration, actions] = row.children;
  put(name.querySelector(".name"), session.lora_name);
  put(name.querySelector(".fg-slug"), folderName(session));
  showStatus(status, session);
  put(steps, stepsText(session));
  put(loss, lossText(session));
  put(model, session.model);
  showDate(date, session);
  showDuration(duration, session);
  const key = buttonsKey(session);
  if (actions.dataset.key !== key) {
    actions.dataset.key = key;
    fill(actions.firstElementChild, stepButton(session, act));
  }
}

/**
 * The table. `on` has act (session_actions.js), sort(column, descending), select(session, isSelected), selectAll(isSelected) and
 * isSelected(session). Returns {element, show}.
 */
export function runsTable(on) {
  const all = h("input", { type: "checkbox", "aria-label": "Select all runs of this page", onchange: () => on.selectAll(all.checked) });
  let sorted = { sort: "date", descending: true };
  const marks = COLUMNS.map(() => h("span"));
  const heads = COLUMNS.map(([name, title, className, first], index) => h("th", { class: className || null, scope: "col" },
    h("button", { type: "button", onclick: () => on.sort(name, sorted.sort === name ? !sorted.descending : first) }, title, marks[index])));
  const body = h("tbody");
  const element = h("table", { class: "list", id: "runs" },
    h("thead", {}, h("tr", {}, h("th", { class: "fg-check" }, all), heads, h("th", {}, h("span", { class: "vh" }, "Actions")))), body);

  function showSorted(query) {
    if (sorted.sort === query.sort && sorted.descending === query.descending && element.dataset.sorted) return;
    sorted = { sort: query.sort, descending: query.descending };
    element.dataset.sorted = query.sort;
    COLUMNS.forEach(([name], index) => {
      const isSorted = name === query.sort;
      attribute(heads[index], "aria-sort", isSorted ? (query.descending ? "descending" : "ascending") : null);
      fill(marks[index], isSorted ? icon(query.descending ? "down" : "up") : "");
    });
  }
  return {
    element,
    show(rows, query) {
      showSorted(query);
      keyed(body, rows, (row) => `${row.slug}/${row.run_id ?? ""}`, (session) => makeRow(session, on), (row, session) => showRow(row, session, on));
      const chosen = rows.filter(on.isSelected).length;
      all.checked = rows.length > 0 && chosen === rows.length;
      all.indeterminate = chosen > 0 && chosen < rows.length;
    },
  };
}
