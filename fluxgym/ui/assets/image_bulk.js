// The bar of selected images: add a text to their captions, replace one, remove the images. Each can be undone.

import { errorOf } from "./api.js";
import { question } from "./dialog.js";
import { h, put } from "./dom.js";
import { icon } from "./icons.js";
import { postEdit } from "./image_edits.js";
import { notice } from "./notices.js";
import { plural } from "./text.js";

const images = (/** @type {number} */ number) => plural(number, "image");
const captions = (/** @type {number} */ number) => plural(number, "caption");

/** @import { Answer } from "./api.js" */
/** @import { ImageCounts } from "./types.js" */

const labeled = (/** @type {string} */ text, /** @type {Element} */ control) => h("label", { class: "field" }, h("span", { class: "label" }, text), control);

/**
 * What Undo does for the token of an edit; null without one.
 * @param {string | undefined} token
 * @param {() => Promise<unknown>} changed shows the result
 */
export function undoOf(token, changed) {
  if (!token) return null;
  return async () => {
    const undone = await postEdit("undo", { token });
    if (undone.value) await changed();
    return errorOf(undone);
  };
}

/**
 * Send an edit, and offer to undo it. Returns a sentence if it was refused.
 * @param {() => Promise<Answer<ImageCounts>>} request
 * @param {string | ((counts: ImageCounts) => string)} sentence
 * @param {() => Promise<unknown>} changed shows the result
 */
export async function undoable(request, sentence, changed) {
  const answer = await request();
  if (!answer.value) return errorOf(answer);
  await changed();
  notice(typeof sentence === "function" ? sentence(answer.value) : sentence, { undo: undoOf(answer.value.undo, changed) });
  return "";
}

/**
 * The bar. Returns {element, show}.
 * @param {{ changed: () => Promise<unknown>, selectAll: () => unknown, clear: () => void }} grid
 */
export function bulkBar(grid) {
  /** @type {string[]} */
  let names = [];
  const number = h("span", { class: "strong" });
  const all = h("button", { type: "button", class: "btn s quiet", onclick: () => grid.selectAll() });
  const button = (/** @type {string} */ text, /** @type {() => unknown} */ onclick) => h("button", { type: "button", class: "btn s quiet", onclick }, text);

  async function addText() {
    const text = h("input", { type: "text", class: "in", autocomplete: "off" });
    const at = h("select", { class: "in" }, h("option", { value: "start" }, "At the start"), h("option", { value: "end" }, "At the end"));
    await question({
      title: `Add text to ${captions(names.length)}`, body: [labeled("Text", text), labeled("Where", at)], yes: "Add",
      check: () => undoable(() => postEdit("add-text", { names, text: text.value, at: at.value }), ({ changed }) => `Added to ${captions(changed ?? 0)}.`, grid.changed),
    });
  }

  async function replace() {
    const find = h("input", { type: "text", class: "in", autocomplete: "off" });
    const text = h("input", { type: "text", class: "in", autocomplete: "off" });
    await question({
      title: `Replace in ${captions(names.length)}`, body: [labeled("Find", find), labeled("Replace with", text)], yes: "Replace",
      check: () => undoable(() => postEdit("replace", { names, find: find.value, text: text.value }), ({ changed }) => `Changed ${captions(changed ?? 0)}.`, grid.changed),
    });
  }

  async function remove() {
    const sentence = await undoable(() => postEdit("remove", { names }), `${images(names.length)} removed.`, grid.changed);
    if (sentence) notice(sentence);
  }

  const element = h("div", { class: "bulk", role: "region", "aria-label": "Selected images", hidden: true },
    number, all, h("span", { class: "grow" }), button("Add text…", addText), button("Replace…", replace), button("Remove", remove),
    h("button", { type: "button", class: "btn s icon quiet", "data-clear": "", "aria-label": "Clear selection", onclick: () => grid.clear() }, icon("x")));

  return {
    element,
    /**
     * @param {string[]} selected
     * @param {number} total the number that can be selected
     */
    show(selected, total) {
      names = selected;
      element.hidden = !names.length;
      put(number, `${names.length} selected`);
      put(all, `Select all ${total}`);
      all.hidden = names.length >= total;
    },
  };
}
