// Toasts: short messages at the edge of the page, some with Undo. They stay 8 seconds, or as long as the pointer or the focus is in them, or
// until Undo has succeeded.

import { fill, h, put } from "./dom.js";

const SHOWN_MS = 8000;
/** @type {HTMLElement | null} */
let list = null;

/**
 * What Undo does: nothing or "" if it succeeded, else a sentence that says why it did not.
 * @typedef {() => Promise<string | void> | void} Undo
 */

/**
 * Remove a toast after a while, but not while the pointer or the focus is in it.
 * @param {HTMLElement} toast
 */
function expiry(toast) {
  /** @type {number | undefined} */
  let timer;
  const stop = () => clearTimeout(timer);
  const restart = (after = SHOWN_MS) => {
    stop();
    timer = setTimeout(() => (toast.matches(":hover, :focus-within") ? restart(SHOWN_MS / 4) : toast.remove()), after);
  };
  return { stop, restart };
}

/**
 * The button Undo. The toast stays until the action is undone; if that fails, the toast says why and Undo can be pressed again.
 * @param {HTMLElement} toast
 * @param {HTMLElement} text
 * @param {Undo} undo
 * @param {ReturnType<typeof expiry>} closing
 */
function undoButton(toast, text, undo, closing) {
  const button = h("button", { type: "button", class: "btn s", onclick: async () => {
    closing.stop();
    button.disabled = true;
    let problem = "The page made a mistake. Try again.";
    try {
      problem = (await undo()) ?? "";
    } finally {
      button.disabled = false;
      if (problem) put(text, `Not undone. ${problem}`);
      else toast.remove();
      closing.restart();
    }
  } }, "Undo");
  return button;
}

/**
 * Show a sentence, with Undo if there is something to undo.
 * @param {string} sentence
 * @param {{ undo?: Undo | null }} [options]
 */
export function notice(sentence, { undo = null } = {}) {
  if (!list) return;
  const text = h("span", {}, sentence);
  const toast = h("div", { class: "toast" }, text);
  const closing = expiry(toast);
  if (undo) toast.append(undoButton(toast, text, undo, closing));
  toast.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    closing.stop();
    toast.remove();
  });
  list.append(toast);
  closing.restart();
}

/** @param {{ element: HTMLElement }} part */
export function mount({ element }) {
  list = h("div", { class: "toasts", role: "status", "aria-live": "polite" });
  fill(element, list);
}
