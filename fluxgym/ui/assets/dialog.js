// A modal dialog: a question with Cancel, or a text with Close. Escape cancels; the focus is on Cancel, or in the field if there is one,
// and returns to where it was. A question that comes up while another one is answered stands above it.

import { h, put } from "./dom.js";

let asked = 0; // questions so far, for ids

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {string} [text]
 * @property {{ label: string, value?: string } | null} [field]
 * @property {Element[]} [body]
 * @property {string} [yes]
 * @property {boolean} [danger]
 * @property {(value: string) => Promise<string | null | undefined>} [check]
 */

/**
 * Show the dialog; resolves to {value} after the button `yes`, to null otherwise. `field` is {label, value}; `body` are elements to show;
 * `check(value)` returns an error, or a promise of one, with which the dialog stays open, or "".
 * @param {Question} question
 * @returns {Promise<{ value: string } | null>}
 */
export function question({ title, text = "", field = null, body = [], yes = "", danger = false, check = async () => "" }) {
  asked += 1;
  const [titleId, fieldId] = [`fg-dialog-title-${asked}`, `fg-dialog-field-${asked}`];
  const element = h("dialog", { class: "fg-dialog", "aria-labelledby": titleId });
  return new Promise((resolve) => {
    const input = field ? h("input", { type: "text", class: "in", id: fieldId, value: field.value ?? "", autocomplete: "off" }) : null;
    const errorLine = h("p", { class: "help bad fg-bad", role: "alert" });
    const agree = yes ? h("button", { type: "submit", class: `btn ${danger ? "danger" : "primary"}` }, yes) : null;
    const cancel = h("button", { type: "button", class: "btn", onclick: () => end(null) }, yes ? "Cancel" : "Close");
    const form = h("form", { method: "dialog", class: "stack tight", onsubmit: async (event) => {
      event.preventDefault();
      if (agree) agree.disabled = true;
      const sentence = await check(input?.value ?? "");
      if (agree) agree.disabled = false;
      put(errorLine, sentence ?? "");
      if (sentence) (input ?? cancel).focus();
      else end({ value: input?.value ?? "" });
    } },
    h("h2", { id: titleId }, title), text ? h("p", { class: "soft" }, text) : null, ...body,
    input ? h("div", { class: "field" }, h("label", { for: fieldId }, field?.label), input) : null, errorLine,
    h("div", { class: "line" }, cancel, agree));
    const end = (/** @type {{ value: string } | null} */ answer) => {
      element.close(); // returns the focus
      element.remove();
      resolve(answer);
    };
    element.addEventListener("close", () => end(null)); // by Escape; after a button this changes nothing
    element.append(form);
    (document.getElementById("fg-app") ?? document.body).append(element);
    element.showModal();
    (input ?? (danger ? null : /** @type {HTMLElement | null} */ (form.querySelector(".field input"))) ?? cancel).focus();
    input?.select();
  });
}

/** Close every dialog as Escape does; the questions are answered with null. */
export function closeDialogs() {
  for (const element of document.querySelectorAll("dialog")) element.close();
}

/**
 * A list of downloads for a dialog.
 * @param {[string, string][]} links URL and text of each
 */
export const exportLinks = (links) => h("ul", { class: "fg-exports" }, links.map(([url, text]) => h("li", {}, h("a", { href: url, download: "" }, text))));
