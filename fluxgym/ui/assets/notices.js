// Toasts: short messages at the edge of the page, some with Undo. They stay 8 seconds, or as long as the pointer or the focus is in them.

import { fill, h } from "./dom.js";

const SHOWN_MS = 8000;
/** @type {HTMLElement | null} */
let list = null;

/**
 * Show a sentence; `undo` is called if the user presses Undo in time.
 * @param {string} sentence
 * @param {{ undo?: (() => unknown) | null }} [options]
 */
export function notice(sentence, { undo = null } = {}) {
  if (!list) return;
  const toast = h("div", { class: "toast" }, h("span", {}, sentence),
    undo ? h("button", { type: "button", class: "btn s", onclick: () => { toast.remove(); undo(); } }, "Undo") : null);
  let timer = setTimeout(close, SHOWN_MS);
  function close() {
    if (toast.matches(":hover, :focus-within")) timer = setTimeout(close, SHOWN_MS / 4);
    else toast.remove();
  }
  toast.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    clearTimeout(timer);
    toast.remove();
  });
  list.append(toast);
}

export function mount({ element }) {
  list = h("div", { class: "toasts", role: "status", "aria-live": "polite" });
  fill(element, list);
}
