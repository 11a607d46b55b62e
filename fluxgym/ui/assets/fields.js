// Around the form's fields: help, the trainer's flag, notes and errors below them, and how to get to one.

import { attribute, emit, fill, findAll, h, put, redraw } from "./dom.js";

/** @import { Detail, FieldText, FormLine } from "./types.js" */

/** @typedef {Record<string, FieldText>} Table the rows of the settings table by name */

/** @type {(table: Table) => void} */
let resolveTable = () => {};

/**
 * The settings table, once the page has it.
 * @type {Promise<Table>}
 */
export const settingsTable = new Promise((resolve) => { resolveTable = resolve; });

/** @param {string} name */
export const fieldElement = (name) => document.getElementById(`field-${name}`);

/** @param {Element} field */
const inputs = (field) => findAll(field, "input, textarea");

const PATCHED_WITHIN_MS = 1000;

/**
 * Select the text of the focused field again if an answer replaces it while all of it is selected, so that the next key replaces it too.
 * @param {Record<string, unknown[]>} patch [value sent, new value] by field name
 */
export function keepSelection(patch) {
  const input = /** @type {HTMLInputElement} */ (document.activeElement);
  if (typeof input?.selectionStart !== "number") return;
  const change = patch[input.closest(".fg-field")?.id.replace(/^field-/, "") ?? ""];
  if (!change || !input.value || input.selectionStart !== 0 || input.selectionEnd !== input.value.length) return;
  const value = String(change[1] ?? "");
  const until = performance.now() + PATCHED_WITHIN_MS;
  let isTyped = false;
  input.addEventListener("keydown", () => { isTyped = true; }, { once: true });
  const check = () => {
    if (isTyped || document.activeElement !== input) return;
    if (input.value === value) input.select();
    else if (performance.now() < until) requestAnimationFrame(check);
  };
  check();
}

/**
 * Add help and flag below a field; those of Advanced stand there always, the form's flag is shown on hover and focus.
 * @param {Element} field
 * @param {FieldText} row
 */
function describe(field, row) {
  const help = h("p", { class: "help", id: `${field.id}-help` }, row.help);
  const note = h("p", { class: "help fg-note", id: `${field.id}-note`, hidden: true });
  const flag = row.section
    ? h("p", { class: "help", id: `${field.id}-flag` }, row.flag ? h("code", {}, row.flag) : null, h("span", { class: "fg-default" }))
    : row.flag && h("span", { class: "flag", id: `${field.id}-flag` }, row.flag);
  field.append(help, note, flag || "");
  for (const input of inputs(field)) {
    attribute(input, "aria-describedby", `${field.id}-error ${field.id}-details ${field.id}-warning ${field.id}-note ${field.id}-help ${field.id}-flag`);
    attribute(input, "autocomplete", "off");
  }
}

/**
 * Describe all fields as soon as Gradio has made them, and correct their keys.
 * @param {Table} table
 */
export function describeFields(table) {
  closeListsOnTab();
  const open = new Set(Object.keys(table));
  function turn() {
    for (const name of open) {
      const field = fieldElement(name);
      if (!field || !inputs(field).length) continue;
      describe(field, table[name]);
      open.delete(name);
    }
    if (open.size) requestAnimationFrame(turn);
    else resolveTable(table);
  }
  turn();
}

const FOCUS_KEYS = ["Tab", "Shift", "Control", "Alt", "Meta"];

/**
 * Keep Tab, alone or with others, from Gradio's dropdowns. They act on a key only after the focus has moved, and open their list for any key
 * but Escape, so that it would stay open over what is below it.
 */
function closeListsOnTab() {
  document.addEventListener("keydown", (event) => {
    if (FOCUS_KEYS.includes(event.key) && event.target instanceof Element && event.target.matches(".fg-field [role=combobox]")) event.stopPropagation();
  }, { capture: true });
}

/**
 * @param {Element} field
 * @param {string} sentence "" removes the error
 */
function showError(field, sentence) {
  const old = field.querySelector(".fg-error");
  if (!sentence) old?.remove();
  else if (old) put(old, sentence);
  else field.append(h("p", { class: "help bad fg-error", id: `${field.id}-error`, role: "alert" }, sentence));
  for (const input of inputs(field)) attribute(input, "aria-invalid", sentence ? "true" : null);
}

/** @param {Detail} detail */
const detailItem = ({ text, address }) => h("li", {}, text, address ? " " : null,
  address ? h("a", { href: address, target: "_blank", rel: "noreferrer" }, address.replace(/^https:\/\//, "")) : null);

/**
 * Show the list that belongs to a field's error below it, such as the files that a model lacks.
 * @param {Element} field
 * @param {Detail[]} details
 */
function showDetails(field, details) {
  const [old] = findAll(field, ".fg-details");
  if (!details.length) old?.remove();
  else {
    const list = old ?? h("ul", { class: "help fg-details", id: `${field.id}-details` });
    redraw(list, details, () => fill(list, ...details.map(detailItem)));
    if (!old) field.append(list);
  }
}

/**
 * @param {Element} field
 * @param {string[]} sentences
 */
function showWarnings(field, sentences) {
  const old = field.querySelector(".fg-warning");
  const text = sentences.join(" ");
  if (!text) old?.remove();
  else if (old) put(old, text);
  else field.append(h("p", { class: "help warn fg-warning", id: `${field.id}-warning` }, text));
}

/**
 * Show what is known below each field: an error with its list, warnings, or a note.
 * @param {{ errors: Record<string, string>, details: Record<string, Detail[]>, notes: Record<string, string>, lines: FormLine[] }} answer
 */
export function showFields({ errors, details, notes, lines }) {
  const warnings = lines.filter(({ level }) => level === "warning");
  for (const field of findAll(document, "#fg-train .fg-field")) {
    const name = field.id.replace(/^field-/, "");
    showError(field, errors[name] ?? "");
    showDetails(field, (errors[name] && details[name]) || []);
    showWarnings(field, warnings.filter((line) => line.field === name).map(({ text }) => text));
    const [note] = findAll(field, ".fg-note");
    const help = document.getElementById(`${field.id}-help`);
    if (!note || !help) continue;
    put(note, notes[name] ?? "");
    note.hidden = !notes[name];
    if (notes[name]) help.hidden = true; // the note says more than the help
  }
}

/**
 * Scroll to a field, or to the images, and focus it; Advanced unfolds if the field is there.
 * @param {string} name
 */
export function goToField(name) {
  if (name === "images") {
    const list = /** @type {HTMLElement | null} */ (document.querySelector(".fg-gallery:not([hidden])"));
    goTo(list ?? document.getElementById("fg-images"), list ?? document.getElementById("fg-file"));
    return;
  }
  const field = fieldElement(name);
  if (!field) return;
  if (field.closest("#advanced")) emit("fg:reveal", name);
  goTo(field, inputs(field)[0]);
}

/**
 * @param {Element | null} element
 * @param {HTMLElement | null} control
 */
function goTo(element, control) {
  element?.scrollIntoView({ block: "center", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  control?.focus({ preventScroll: true });
}
