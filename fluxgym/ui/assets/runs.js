// The page #runs: the table of all runs with filter, sort, pages and selection. The server filters and sorts, so that it works for
// thousands of runs; a filter keeps the selection.

import { address, errorOf, get, poll, post } from "./api.js";
import { comparison } from "./compare.js";
import { exportLinks, question } from "./dialog.js";
import { emit, fill, h, put } from "./dom.js";
import { notice } from "./notices.js";
import { route } from "./router.js";
import { Selection, selectionBar } from "./runs_selection.js";
import { runsTable } from "./runs_table.js";
import { runsToolbar } from "./runs_toolbar.js";
import { actions, deleteRuns, forget, selection } from "./session_actions.js";
import { plural, whole } from "./text.js";

/** @import { Filter, RunsSetup, SessionPage, SessionRow, Sort } from "./types.js" */

/** @typedef {{ page: number, page_size: number, filter: string, status: Filter, model: string, sort: Sort, descending: boolean }} RunsQuery */

const LIVE_S = 2;
const IDLE_S = 5;

/**
 * Offer the files of several runs for download.
 * @param {SessionRow[]} sessions
 */
async function exportRuns(sessions) {
  const query = sessions.map(({ slug }) => `slug=${encodeURIComponent(slug)}`).join("&");
  const url = (/** @type {string} */ name) => address(`export/${name}?${query}`);
  const found = await post("selection/exported", selection(sessions));
  if (!found.value) {
    notice(errorOf(found));
    return;
  }
  const { slugs, refused } = found.value;
  const leftOut = refused.map(({ message }) => h("p", { class: "soft" }, message));
  await question({
    title: `Export ${plural(slugs.length, "run")}`, text: "One .zip with a folder per run. It contains no token and no path of a model.",
    body: [...leftOut, exportLinks([
      [url("settings.zip"), "Settings only"], [url("with-images.zip"), "Settings, images and captions"],
      [url("everything.zip"), "Settings, images, captions and the trained models"],
    ])],
  });
}

/**
 * Pages of the table. Returns {element, show(page)}.
 * @param {(step: number) => void} turn
 */
function pager(turn) {
  const before = h("button", { type: "button", class: "btn s", onclick: () => turn(-1) }, "Previous");
  const after = h("button", { type: "button", class: "btn s", onclick: () => turn(1) }, "Next");
  const where = h("span", {});
  const element = h("footer", { class: "pager" }, where, h("span", { class: "grow" }), before, after);
  return {
    element,
    /** @param {SessionPage} shown */
    show({ counts, page, page_size: size }) {
      const last = Math.min((page + 1) * size, counts.shown);
      element.hidden = counts.shown <= size;
      put(where, `${whole(page * size + 1)}–${whole(last)} of ${whole(counts.shown)}`);
      before.disabled = page === 0;
      after.disabled = last >= counts.shown;
    },
  };
}

class RunsPage {
  /**
   * @param {HTMLElement} element
   * @param {RunsSetup} setup
   */
  constructor(element, { import_types: importTypes, page_size: pageSize }) {
    /** @type {RunsQuery} */
    this.query = { page: 0, page_size: pageSize, filter: "", status: "", model: "", sort: "date", descending: true };
    /** @type {SessionPage | null} */
    this.shown = null;
    this.selection = new Selection();
    this.comparison = comparison();
    this.bar = this.makeBar();
    this.tools = runsToolbar(this.query, (changes) => this.change(changes), importTypes);
    this.act = actions(() => this.ask());
    this.table = this.makeTable();
    this.pager = pager((step) => this.change({ page: this.query.page + step }));
    this.empty = h("div", { class: "empty", hidden: true });
    this.slot = h("div", { class: "body fg-bulk-slot" }, this.bar.element);
    fill(element, h("section", { class: "card fg-runs-card", "aria-labelledby": "runs-h" }, this.tools.element, this.slot,
      h("div", { class: "scroll" }, this.table.element), this.empty, this.pager.element), this.comparison.element);
    this.ask = poll(() => this.update());
    document.addEventListener("fg:gone", ({ detail }) => { this.selection.remove(detail); this.show(); });
    document.addEventListener("fg:changed", this.ask);
    document.addEventListener("fg:route", this.ask);
  }

  makeBar() {
    return selectionBar({
      compare: () => this.comparison.show(this.selection.all),
      export: () => exportRuns(this.selection.all),
      forget: () => forget(this.selection.all),
      remove: () => deleteRuns(this.selection.all),
      clear: () => { this.selection.clear(); this.show(); },
    });
  }

  makeTable() {
    return runsTable({
      act: this.act,
      sort: (sort, descending) => this.change({ sort, descending }),
      isSelected: (session) => this.selection.has(session),
      select: (session, isSelected) => { this.selection.set([session], isSelected); this.show(); },
      selectAll: (isSelected) => { this.selection.set(this.shown?.rows ?? [], isSelected); this.show(); },
    });
  }

  /**
   * Change the query; a filter or another order starts at its first page.
   * @param {Partial<RunsQuery>} changes
   */
  change(changes) {
    Object.assign(this.query, { page: 0 }, changes);
    this.ask();
  }

  /** Request the rows if they changed, show them, and return the seconds until the next request. */
  async update() {
    if (route().tab !== "runs") return IDLE_S;
    const asked = JSON.stringify(this.query);
    const { value } = await get("sessions", { ...this.query, version: this.shown?.version ?? "" });
    if (asked !== JSON.stringify(this.query)) return 0; // the filter was changed meanwhile
    if (value) {
      this.shown = value;
      this.query.page = value.page;
    }
    this.show();
    const { running = 0, queued = 0 } = this.shown?.counts ?? {};
    return running + queued > 0 ? LIVE_S : IDLE_S;
  }

  show() {
    const { shown, query, selection } = this;
    if (!shown) return;
    selection.update(shown.rows);
    this.tools.show(shown);
    this.table.show(shown.rows, query);
    this.bar.show(selection.all, shown.rows);
    this.slot.hidden = this.bar.element.hidden === true;
    this.showEmpty(shown);
    this.pager.show(shown);
    emit("fg:runs");
  }

  /** @param {SessionPage} shown */
  showEmpty({ counts }) {
    this.empty.hidden = counts.shown > 0;
    this.table.element.hidden = counts.shown === 0;
    const { filter, status, model } = this.query;
    const [title, text] = filter || status || model ? ["No run matches.", "Change the filter to see others."] : ["No runs on the list", "Each training that you start is listed here, with its settings and results. “Removed runs…” in the menu of Active Training Sessions puts forgotten ones back."];
    if (!this.empty.hidden && this.empty.textContent !== title + text) fill(this.empty, h("b", {}, title), h("span", {}, text));
  }
}

/** @param {{ element: HTMLElement, props: { value: RunsSetup } }} part */
export function mount({ element, props }) {
  new RunsPage(element, props.value);
}
