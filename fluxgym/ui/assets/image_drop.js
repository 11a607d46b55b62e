// The upper part of step 2: the drop area, the example, what an upload is doing, and what was refused. Without images, advice on them.

import { fill, h, put } from "./dom.js";
import { icon } from "./icons.js";
import { chosen, dropped } from "./uploads.js";

/** @import { Found } from "./uploads.js" */

const TIPS = [
  ["What works well", "Sharp images of one subject, from several angles, with different backgrounds."],
  ["What to write", "Begin with the trigger word, then name what changes between the images."],
  ["What happens to them", "They stay on the machine where FluxGym runs. Each one is scaled to the training’s size."],
];

/**
 * The area that takes dropped files; a click opens the file dialog.
 * @param {{ fileTypes: string, onfiles: (files: Found[]) => unknown }} options
 */
export function dropArea({ fileTypes, onfiles }) {
  const input = h("input", { type: "file", multiple: true, accept: fileTypes, class: "fg-file", id: "fg-file", "aria-label": "Add images and .txt captions",
    onchange: () => { onfiles(chosen(input.files)); input.value = ""; } });
  const text = h("span", {});
  const zone = h("div", { class: "drop fg-drop" }, input, icon("plus"), text);
  for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, (event) => { event.preventDefault(); zone.classList.add("fg-over"); });
  for (const name of ["dragleave", "drop"]) zone.addEventListener(name, () => zone.classList.remove("fg-over"));
  zone.addEventListener("drop", async (event) => { event.preventDefault(); if (event.dataTransfer) onfiles(await dropped(event.dataTransfer)); });
  for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault()); // a missed drop must not replace the page
  return {
    element: zone,
    /** @param {boolean} isEmpty */
    show(isEmpty) {
      zone.classList.toggle("tall", isEmpty);
      const [strong, rest] = isEmpty
        ? ["Drop 8 to 30 images here", " or click to choose. Captions are .txt files: cat1.jpg and cat1.txt belong together."]
        : ["Drop images or .txt captions", " or click to choose"];
      if (text.textContent !== strong + rest) fill(text, h("b", {}, strong), rest);
    },
  };
}

/**
 * The line that offers the example photos.
 * @param {{ count: number, onuse: () => Promise<unknown> }} options
 */
export function exampleLine({ count, onuse }) {
  const text = `Use the ${count} example cat photos`;
  const button = h("button", { type: "button", class: "link", id: "fg-example", onclick: () => use() }, text);
  async function use() {
    button.disabled = true;
    put(button, "Adding the example photos…");
    await onuse();
    put(button, text);
    button.disabled = false;
  }
  return { element: h("div", { class: "line fg-empty" }, h("span", { class: "soft" }, "No images at hand?"), button), use };
}

/** How far an upload is, and what was refused. */
export function uploadState() {
  const progress = h("p", { class: "help fg-uploading", role: "status" });
  const errors = h("ul", { class: "help bad fg-errors", role: "alert" });
  return {
    progress,
    errors,
    /** @param {string} text "" if nothing is being uploaded */
    show(text) {
      put(progress, text);
    },
    /** @param {string} sentence */
    addError(sentence) {
      if (![...errors.children].some((item) => item.textContent === sentence)) errors.append(h("li", {}, sentence));
    },
    clearErrors: () => fill(errors),
  };
}

export const tips = () => h("div", { class: "fg-tips" }, TIPS.map(([title, text]) => h("div", {}, h("h3", {}, title), h("p", { class: "soft" }, text))));
