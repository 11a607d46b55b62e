// Copying a text of the page to the clipboard.

import { h } from "./dom.js";
import { icon } from "./icons.js";
import { notice } from "./notices.js";

/**
 * Copy the text of an element, or select it where the browser does not allow that, as on a page without HTTPS.
 * @param {Element} element
 */
export async function copyText(element) {
  try {
    await navigator.clipboard.writeText(element.textContent ?? "");
    notice("Copied.");
  } catch {
    window.getSelection()?.selectAllChildren(element);
    notice("The browser does not allow copying here. The text is selected; press Ctrl+C.");
  }
}

/**
 * A button that copies the text of an element.
 * @param {string} label
 * @param {Element} element
 */
export function copyButton(label, element) {
  return h("button", { type: "button", class: "btn s icon quiet", "aria-label": label, title: label, onclick: () => copyText(element) }, icon("copy"));
}
