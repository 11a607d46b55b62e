// The selected runs of the table, and the bar with what can be done with them.

import { attribute, h, put } from "./dom.js";
import { icon } from "./icons.js";
import { whole } from "./text.js";

/** @import { SessionRow } from "./types.js" */

/** The selected runs, by slug; they stay selected while a filter hides them. */
export class Selection {
  constructor() {
    /** @type {Map<string, SessionRow>} */
    this.runs = new Map();
  }

  /** @param {SessionRow} session */
  has(session) {
    return this.runs.has(session.slug);
  }

  /**
   * @param {SessionRow[]} sessions
   * @param {boolean} isSelected
   */
  set(sessions, isSelected) {
    for (const session of sessions) {
      if (isSelected) this.runs.set(session.slug, session);
      else this.runs.delete(session.slug);
    }
  }

  /**
   * Use the current rows of selected runs.
   * @param {SessionRow[]} rows
   */
  update(rows) {
    for (const row of rows) if (this.has(row)) this.runs.set(row.slug, row);
  }

  /** @param {string[]} slugs */
  remove(slugs) {
    for (const slug of slugs) this.runs.delete(slug);
  }

  clear() {
    this.runs.clear();
  }

  get all() {
    return [...this.runs.values()];
  }
}

/**
 * The bar of the selected runs. Returns {element, show(selected, rows)}.
 * @param {Record<"compare" | "export" | "forget" | "remove" | "clear", () => void>} on
 */
export function selectionBar(on) {
  const text = h("span", { class: "strong", role: "status" });
  const button = (/** @type {string} */ label, /** @type {() => void} */ onclick) => h("button", { type: "button", class: "btn s quiet", onclick }, label);
  const compare = button("Compare", () => { if (!compare.hasAttribute("aria-disabled")) on.compare(); });
  const forgetting = button("Forget", on.forget);
  const deleting = button("Delete…", on.remove);
  const clear = h("button", { type: "button", class: "btn s icon quiet", "data-clear": "", "aria-label": "Clear selection", onclick: on.clear }, icon("x"));
  const element = h("div", { class: "bulk", role: "region", "aria-label": "Selected runs", hidden: true }, text, h("span", { class: "grow" }), compare, button("Export…", on.export), forgetting, deleting, clear);
  return {
    element,
    /**
     * @param {SessionRow[]} selected
     * @param {SessionRow[]} rows those that the table shows
     */
    show(selected, rows) {
      const notShown = selected.filter((session) => !rows.some((row) => row.slug === session.slug)).length;
      element.hidden = selected.length === 0;
      put(text, `${whole(selected.length)} selected${notShown ? `, ${whole(notShown)} not shown` : ""}`);
      // not the attribute disabled, so that the reason can be read
      const reason = selected.length === 2 ? null : "Select two runs to compare them.";
      attribute(compare, "aria-disabled", reason && "true");
      attribute(compare, "aria-description", reason);
      attribute(compare, "title", reason);
      forgetting.hidden = deleting.hidden = selected.every((session) => session.is_live);
    },
  };
}
