// The table of runs: one row per run with a check box, and column headings that sort.

import { attribute, fill, find, h, keyed, put, redraw } from "./dom.js";
import { count, stamp } from "./clock.js";
import { icon } from "./icons.js";
import { menu } from "./menu.js";
import { began, buttonsKey, endsAt, openLink, showDuration, statusDot, statusWord, stepButton } from "./session_row.js";
import { rowKey, sentence, stepsText } from "./session_text.js";
import { lossText } from "./text.js";

/** @import { Act } from "./session_actions.js" */
/** @import { SessionRow, Sort } from "./types.js" */

/** @typedef {HTMLTableRowElement & { session: SessionRow }} Row */
/** @typedef {{ sort: Sort, descending: boolean }} Order */

/**
 * What the table does: `select` is called for a row's check box, `selectAll` for the one above them.
 * @typedef {object} TableActions
 * @property {Act} act
 * @property {(sort: Sort, descending: boolean) => void} sort
 * @property {(session: SessionRow) => boolean} isSelected
 * @property {(session: SessionRow, isSelected: boolean) => void} select
 * @property {(isSelected: boolean) => void} selectAll
 */

/** @type {[Sort, string, string, boolean][]} Name, title, class, and whether the first click sorts downwards. */
const COLUMNS = [
  ["name", "Run", "", false], ["status", "Status", "", false], ["steps", "Steps", "r fg-at-step", true], ["loss", "Loss", "r extra", false],
  ["model", "Model", "extra", false], ["date", "Date", "", true], ["duration", "Duration", "r extra", true],
];

/**
 * "GPU out of memory at step 41 of 960." as one short line below the status.
 * @param {SessionRow} session
 */
function detail(session) {
  if (session.status === "running") return session.activity;
  return session.status === "completed" ? "" : sentence(session);
}

/**
 * @param {Element} cell
 * @param {SessionRow} session
 */
function showStatus(cell, session) {
  const [line, small] = /** @type {Iterable<HTMLElement>} */ (cell.children);
  redraw(line, session.shown, () => {
    const word = statusWord(session);
    attribute(line, "class", word.className);
    fill(line, statusDot(session), ...word.children);
  });
  const end = session.status === "running" ? endsAt(session) : null;
  const text = detail(session);
  if (end !== null && !text) count(small, end, "down");
  else {
    small.classList.remove("fg-clock");
    put(small, text);
  }
  attribute(small, "title", text || null);
}

/**
 * @param {SessionRow} session
 * @param {TableActions} on
 */
function makeRow(session, { act, select }) {
  const box = h("input", { type: "checkbox", onchange: () => { select(row.session, box.checked); } });
  const element = h("tr", {},
    h("td", { class: "m" }, box),
    h("td", { class: "m" }, openLink(session, act, { class: "name" }, session.name), h("span", { class: "small faint fg-slug" })),
    h("td", { class: "m2" }, h("span", {}), h("span", { class: "small soft fg-detail" })),
    h("td", { class: "r nowrap fg-at-step" }), h("td", { class: "r extra" }), h("td", { class: "nowrap extra" }), h("td", { class: "nowrap" }, h("span", {})),
    h("td", { class: "r nowrap extra" }, h("span")), h("td", { class: "m acts" }, h("span", { class: "fg-buttons" })));
  const row = Object.assign(element, { session });
  row.lastElementChild?.append(menu(() => row.session, act));
  return row;
}

/**
 * @param {Row} row
 * @param {SessionRow} session
 * @param {Act} act
 */
function showCells(row, session, act) {
  row.dataset.status = session.status;
  row.session = session;
  const [box, name, status, steps, loss, model, date, duration, actions] = row.children;
  attribute(find(box, "input"), "aria-label", `Select ${session.name}`);
  put(find(name, ".name"), session.name);
  put(find(name, ".fg-slug"), session.folder_name);
  showStatus(status, session);
  put(steps, stepsText(session));
  put(loss, typeof session.progress.loss === "number" ? lossText(session.progress.loss) : "");
  put(model, session.model);
  const when = find(date, "span");
  redraw(when, [session.began, session.started, stamp(session.started).slice(0, 10)], () => fill(when, began(session)));
  showDuration(find(duration, "span"), session);
  attribute(duration, "title", session.attempt > 1 ? `All ${session.attempt} attempts together` : null);
  const slot = find(actions, ".fg-buttons");
  redraw(slot, buttonsKey(session), () => fill(slot, stepButton(() => row.session, session, act)));
}

/**
 * @param {Row} row
 * @param {SessionRow} session
 * @param {TableActions} on
 */
function showRow(row, session, { act, isSelected }) {
  const box = /** @type {HTMLInputElement} */ (find(row, "input"));
  box.checked = isSelected(session);
  row.classList.toggle("sel", box.checked);
  redraw(row, session, () => showCells(row, session, act));
}

/**
 * The headings, which sort. Returns {elements, show(order)}.
 * @param {TableActions["sort"]} sort
 */
function headings(sort) {
  /** @type {Order | null} */
  let shown = null;
  const marks = COLUMNS.map(() => h("span"));
  const elements = COLUMNS.map(([name, title, className, first], index) => h("th", { class: className || null, scope: "col" },
    h("button", { type: "button", onclick: () => sort(name, shown?.sort === name ? !shown.descending : first) }, title, marks[index])));
  return {
    elements,
    /** @param {Order} order */
    show({ sort: by, descending }) {
      if (shown?.sort === by && shown.descending === descending) return;
      shown = { sort: by, descending };
      COLUMNS.forEach(([name], index) => {
        const isSorted = name === by;
        attribute(elements[index], "aria-sort", isSorted ? (descending ? "descending" : "ascending") : null);
        fill(marks[index], isSorted ? icon(descending ? "down" : "up") : "");
      });
    },
  };
}

/**
 * The table. Returns {element, show}.
 * @param {TableActions} on
 */
export function runsTable(on) {
  const all = h("input", { type: "checkbox", "aria-label": "Select all runs of this page", onchange: () => { on.selectAll(all.checked); } });
  const heads = headings(on.sort);
  const body = h("tbody");
  const element = h("table", { class: "list", id: "runs" },
    h("thead", {}, h("tr", {}, h("th", { class: "fg-check" }, all), heads.elements, h("th", {}, h("span", { class: "vh" }, "Actions")))), body);
  return {
    element,
    /**
     * Show the rows of a page.
     * @param {SessionRow[]} rows
     * @param {Order} order
     */
    show(rows, order) {
      heads.show(order);
      keyed(body, rows, rowKey, (session) => makeRow(session, on), (row, session) => showRow(row, session, on));
      const chosen = rows.filter(on.isSelected).length;
      all.checked = rows.length > 0 && chosen === rows.length;
      all.indeterminate = chosen > 0 && chosen < rows.length;
    },
  };
}
