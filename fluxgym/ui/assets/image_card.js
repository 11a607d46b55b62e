// One image of step 2: its thumbnail, its checkbox, and its caption, which is saved while it is typed. The caption is the image's tab stop;
// Escape leads to the checkbox, from which arrows move to other images, Delete removes the image, and Enter leads back.

import { address, errorOf } from "./api.js";
import { keepCaption, onCaptionAnswer, saveCaption, unsavedCaption } from "./captions.js";
import { attribute, fill, find, findAll, h } from "./dom.js";
import { icon } from "./icons.js";

/** @import { ImageCounts, ImageItem } from "./types.js" */

/**
 * What the grid of images does for its cards.
 * @typedef {object} Grid
 * @property {() => string} trigger the trigger word
 * @property {(counts: ImageCounts) => void} saved called after a caption was saved
 * @property {(name: string) => boolean} isSelected
 * @property {(name: string, isSelected: boolean) => void} selected
 * @property {(name: string) => unknown} remove
 */

const SAVE_AFTER_MS = 400;

/**
 * Show what is missing in a caption, or how its saving goes.
 * @param {HTMLElement} line
 * @param {{ text: string, trigger: string, saving?: string }} caption
 */
function showState(line, { text, trigger, saving = "" }) {
  const word = trigger.trim().toLowerCase();
  const missing = !text.trim() ? "No caption" : word && !text.toLowerCase().includes(word) ? "No trigger word" : "";
  const shown = saving || missing;
  const isWarning = !saving && Boolean(missing);
  if (line.dataset.shown === shown) return;
  line.dataset.shown = shown;
  attribute(line, "class", `help fg-saved ${isWarning ? "warn" : ""}`);
  fill(line, isWarning ? icon("alert") : null, shown);
}

/** @typedef {HTMLTextAreaElement & { sent?: string, showState?: () => void }} CaptionField */

/**
 * The textarea of a caption, which saves itself.
 * @param {ImageItem} item
 * @param {HTMLElement} line
 * @param {Grid} card
 */
function captionField(item, line, { trigger, saved }) {
  /** @type {CaptionField} */
  const text = h("textarea", { class: "in cap", rows: 3, "aria-label": `Caption of ${item.name}`, spellcheck: "true" });
  /** @type {number | undefined} */
  let timer;
  let isKept = true;
  text.sent = item.caption;
  text.value = unsavedCaption(item.name) ?? item.caption;
  const show = (/** @type {string} */ saving) => showState(line, { text: text.value, trigger: trigger(), saving });
  text.showState = () => show(text.value === text.sent ? "" : line.dataset.shown ?? "");
  if (text.value !== text.sent) show("Not saved yet");
  onCaptionAnswer(item.name, (answer, caption) => {
    if (answer.value) {
      if (text.value === text.sent && unsavedCaption(item.name) === null) text.value = caption; // an earlier page's
      text.sent = caption;
      if (text.value === caption) show("Saved");
      setTimeout(() => text.value === text.sent && show(""), 2000);
      saved(answer.value);
    } else if (answer.offline) show(isKept ? "Not saved yet. This browser keeps it until the app is back." : "Not saved yet. Leave this tab open until the app is back.");
    else show(errorOf(answer));
  });
  function save() {
    clearTimeout(timer);
    if (unsavedCaption(item.name) === null) return;
    show("Saving…");
    saveCaption(item.name);
  }
  text.addEventListener("input", () => {
    clearTimeout(timer);
    isKept = keepCaption(item.name, text.value);
    show("Not saved yet");
    timer = setTimeout(save, SAVE_AFTER_MS);
  });
  text.addEventListener("blur", save);
  return text;
}

/**
 * Create an image's element.
 * @param {ImageItem} item
 * @param {Grid} card
 */
export function imageCard(item, card) {
  const line = h("span", { class: "help fg-saved", role: "status" });
  const text = captionField(item, line, card);
  const check = h("input", { type: "checkbox", tabindex: -1, "aria-label": `Select ${item.name}`, onchange: () => { card.selected(item.name, check.checked); } });
  const remove = h("button", { type: "button", class: "btn icon s fg-remove", tabindex: -1, "aria-label": `Remove ${item.name}`, title: `Remove ${item.name}`,
    onclick: () => card.remove(item.name) }, icon("x"));
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    check.focus();
  });
  check.addEventListener("keydown", (event) => {
    if (event.key === "Enter") text.focus();
    else if (event.key === "Delete") card.remove(item.name);
    else return;
    event.preventDefault();
  });
  return h("li", { class: "image fg-image" },
    h("div", { class: "thumb-box" },
      h("label", { class: "thumb" }, check, h("img", { src: address(item.thumb), alt: "", loading: "lazy", width: 160, height: 160 })), remove),
    h("span", { class: "small cut soft fg-filename", title: item.name }, item.name), text, line);
}

/**
 * Show an image again: what the server has, unless its caption is being edited.
 * @param {Element} element
 * @param {ImageItem} item
 * @param {Grid} card
 */
export function showImageCard(element, item, card) {
  const text = /** @type {CaptionField} */ (find(element, "textarea"));
  attribute(text, "placeholder", card.trigger() || "What the image shows");
  if (document.activeElement !== text && text.value === text.sent && text.sent !== item.caption) {
    text.value = item.caption;
    text.sent = item.caption;
  }
  const box = /** @type {HTMLInputElement} */ (find(element, "input"));
  box.checked = card.isSelected(item.name);
  text.showState?.();
}

/**
 * Move the focus between the checkboxes of a grid by arrows, Home and End.
 * @param {Element} grid
 * @param {KeyboardEvent} event
 */
export function moveByArrows(grid, event) {
  const all = findAll(grid, "input[type=checkbox]");
  const at = all.findIndex((box) => box === event.target);
  if (at < 0) return;
  const columns = Math.max(1, window.getComputedStyle(grid).gridTemplateColumns.split(" ").length);
  /** @type {Record<string, number>} */
  const keys = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns, Home: 0, End: all.length - 1 };
  const to = keys[event.key];
  if (to === undefined) return;
  event.preventDefault();
  all[Math.min(Math.max(0, to), all.length - 1)]?.focus();
}
