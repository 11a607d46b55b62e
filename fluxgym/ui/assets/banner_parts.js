// The banner's elements: its head with the menu for all sessions, the rows, and the foot with the pages of the list.

import { address } from "./api.js";
import { refreshButton } from "./card.js";
import { h, put } from "./dom.js";
import { icon } from "./icons.js";
import { forgetOld, importInput, showRemoved } from "./list_actions.js";
import { popupMenu } from "./popup.js";
import { go } from "./router.js";

/** @import { SessionPage } from "./types.js" */

/**
 * What the banner's buttons do.
 * @typedef {object} BannerActions
 * @property {() => void} title
 * @property {() => void} fold
 * @property {() => void} more
 * @property {(step: number) => void} turn
 * @property {() => Promise<unknown>} refresh
 */

/** @typedef {ReturnType<typeof bannerParts>} BannerParts */

/**
 * Pages of the list of all sessions.
 * @param {(step: number) => void} turn
 */
function pager(turn) {
  const before = h("button", { type: "button", class: "btn s", onclick: () => turn(-1) }, "Newer");
  const after = h("button", { type: "button", class: "btn s", onclick: () => turn(1) }, "Older");
  const where = h("span");
  const element = h("span", { class: "pager" }, before, where, after);
  return {
    element,
    /** @param {SessionPage} list */
    show({ page, page_size: size, counts }) {
      const last = Math.max(1, Math.ceil(counts.shown / size));
      element.hidden = last === 1;
      put(where, `Page ${page + 1} of ${last}`);
      before.disabled = page === 0;
      after.disabled = page + 1 >= last;
    },
  };
}

/**
 * The menu for all sessions.
 * @param {() => Promise<unknown>} refresh
 * @param {HTMLInputElement} file
 */
function sessionsMenu(refresh, file) {
  return popupMenu({ label: "More for all sessions", items: () => [
    { text: "Refresh Sessions", onclick: refresh }, { text: "Show all runs", onclick: () => go("runs") }, null,
    { text: "Back up all states", href: address("states.tar.gz"), download: true }, { text: "Import…", onclick: () => file.click() },
    { text: "Forget old runs…", onclick: forgetOld }, { text: "Removed runs…", onclick: showRemoved },
  ] });
}

/**
 * Create the banner.
 * @param {BannerActions} on
 * @param {string} importTypes the types of files that can be imported
 */
export function bannerParts(on, importTypes) {
  const title = h("button", { type: "button", class: "fg-title", "aria-expanded": "false", "aria-controls": "b-rows", onclick: on.title },
    icon("refresh"), h("span", { class: "vh" }, "🔄 "), h("span", {}, "Active Training Sessions"));
  const sum = h("p", { class: "soft grow sum" });
  const updated = h("span");
  const file = importInput(importTypes);
  const fold = h("button", { type: "button", class: "btn icon s quiet fg-fold-button", "aria-expanded": "false", "aria-controls": "b-rows", "aria-label": "Show sessions", onclick: on.fold }, icon("up"));
  const rows = h("ul", { id: "b-rows" });
  const showMore = h("button", { type: "button", class: "link", onclick: on.more });
  const allRuns = h("a", { href: "#runs" });
  const pages = pager(on.turn);
  const foot = h("footer", { class: "small", id: "b-foot" }, showMore, pages.element, allRuns);
  const tools = h("span", { class: "line keep fg-tools" }, h("span", { class: "small faint not-phone fg-updated-list" }, "Updated ", updated),
    refreshButton("Refresh Sessions", on.refresh, "btn s quiet not-phone"), sessionsMenu(on.refresh, file), fold, file);
  const element = h("section", { class: "card banner", "aria-labelledby": "b-h" },
    h("header", {}, h("h2", { id: "b-h", class: "line keep" }, title), sum, tools), rows, foot);
  return { element, title, sum, updated, fold, rows, showMore, allRuns, pages, foot, tools };
}
