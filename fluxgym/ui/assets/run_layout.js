// Which cards a run's page shows in which column, by the run's state.

import { attribute, fill, h } from "./dom.js";

/** @import { PageState } from "./types.js" */

/** @typedef {"result" | "cause" | "advice" | "loss" | "rate" | "samples" | "log" | "files" | "settings" | "monitor" | "history"} CardName */
/** @typedef {{ class: string } & Partial<Record<"h" | "a" | "b" | "c" | "l", CardName[]>>} Layout cards by column */

/** @type {CardName[]} */
const SIDE = ["files", "rate", "settings", "monitor", "history"];
/** @type {Record<PageState, Layout>} Columns a, b, c, h above and l under them; at 1800 px three of them stand side by side. */
const LAYOUTS = {
  live: { class: "cols three runcols", a: ["loss"], b: ["samples"], c: SIDE, l: ["log"] },
  done: { class: "cols three done", h: ["result"], a: ["samples"], b: ["loss", "log"], c: SIDE },
  ended: { class: "cols three failcols", a: ["cause", "log"], b: ["loss", "samples"], c: ["advice", ...SIDE] },
  new: { class: "cols three failcols", a: ["cause"], b: ["settings"], c: ["advice", "files", "history"] },
};

/**
 * The grid of cards. Returns {element, arrange(state)}.
 * @param {Record<CardName, { element: Element }>} cards
 */
export function runGrid(cards) {
  const element = h("div");
  const columns = { h: h("div", { class: "h" }), a: h("div", { class: "stack a" }), b: h("div", { class: "stack b" }), c: h("div", { class: "stack c" }), l: h("div", { class: "stack l" }) };
  return {
    element,
    /** @param {PageState} state */
    arrange(state) {
      if (element.dataset.state === state) return;
      element.dataset.state = state;
      const { class: className, ...layout } = LAYOUTS[state];
      attribute(element, "class", className);
      const used = /** @type {(keyof typeof columns)[]} */ (Object.keys(columns).filter((name) => name in layout));
      for (const name of used) fill(columns[name], (layout[name] ?? []).map((card) => cards[card].element));
      fill(element, used.map((name) => columns[name]));
    },
  };
}
