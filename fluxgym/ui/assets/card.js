// Parts that several cards share.

import { h } from "./dom.js";

/** @import { Child } from "./dom.js" */

const PAUSE_MS = 300; // so that the press is seen

/**
 * A card with a title, and tools at the right of it.
 * @param {string} id the id of the title
 * @param {Child | Child[]} title
 * @param {{ tools?: Child | Child[] }} [head]
 * @param {(Child | Child[])[]} parts
 */
export function card(id, title, { tools = null } = {}, ...parts) {
  return h("section", { class: "card", "aria-labelledby": id }, h("header", {}, h("h2", { id }, title), tools), ...parts);
}

/**
 * A button that asks for the newest state; it is disabled until that has come.
 * @param {string} text
 * @param {() => Promise<unknown>} refresh
 * @param {string} [className]
 */
export function refreshButton(text, refresh, className = "btn s") {
  const button = h("button", { type: "button", class: className, onclick: async () => {
    button.disabled = true;
    await refresh();
    setTimeout(() => { button.disabled = false; }, PAUSE_MS);
  } }, text);
  return button;
}
