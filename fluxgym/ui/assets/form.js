// The form's events and their answers. The fields are Gradio components; their values change only by typing and by APPLY_PATCH (form.py).
// An answer about the form is passed on as the event fg:form, to which the parts beside the fields listen.

import * as store from "./browser_store.js";
import { emit } from "./dom.js";
import { notice } from "./notices.js";

/** @import { FormAnswer } from "./types.js" */

/** @typedef {"errors" | "notes" | "lines" | "changed" | "trigger" | "images" | "explain" | "command" | "toml"} FormPart what describes the form */
/** @typedef {FormAnswer & { [name in FormPart]: NonNullable<FormAnswer[name]> }} FormShown an answer that describes the form */
/**
 * What Gradio passes to the script of an element.
 * @template T
 * @typedef {{ element: HTMLElement, trigger: (event: string, data: object) => void, props: { value: T }, watch: (name: string, changed: () => void) => void }} GradioPart
 */

/** @type {{ request: number, shown: number, source: string, model: string, trigger: ((event: string, data: object) => void) | null }} */
const state = { request: 0, shown: 0, source: "", model: "", trigger: null };

/** The slug of the run whose images the form shows, "" for the draft's own. */
export const source = () => state.source;

/**
 * Show the images of another source, which an edit of the images has changed.
 * @param {string} next
 */
export function setSource(next) {
  state.source = next;
}

// Edits are sent one at a time; while one is not answered, the next waits, and takes all later ones with it. count is the number of edits so
// far, confirmed how many of them the app has saved, and sent how many there were when a request was sent.
/** @type {{ count: number, confirmed: number, sent: Map<number, number>, inFlight: number, next: string, timer: number | undefined }} */
const edits = { count: 0, confirmed: 0, sent: new Map(), inFlight: 0, next: "", timer: undefined };
const ANSWER_MS = 10_000;
const PAGE = String(Math.random()); // tells this tab's edits from those of others

/**
 * Send an event of the form.
 * @param {string} kind
 * @param {object} details
 */
export function send(kind, details = {}) {
  state.request += 1;
  edits.sent.set(state.request, edits.count);
  state.trigger?.("select", { request: state.request, kind, draft: store.draft(), source: state.source, model: state.model, ...details });
}

/** A field was edited: "typed", or "model" for the base model. Waits until Gradio has the new value. */
export function edited(kind = "typed") {
  edits.count += 1;
  if (edits.next !== "model") edits.next = kind;
  setTimeout(() => {
    state.trigger?.("input", {}); // saves it in the browser
    sendEdit();
  });
}

function sendEdit() {
  if (!edits.next || edits.inFlight) return;
  send(edits.next);
  edits.next = "";
  edits.inFlight = state.request;
  edits.timer = setTimeout(sendAgain, ANSWER_MS);
}

/** Send what the app has not confirmed again, when an answer does not come. */
function sendAgain() {
  clearTimeout(edits.timer);
  edits.inFlight = 0;
  edits.next ||= "typed";
  sendEdit();
}

/** @param {number} request */
function editAnswered(request) {
  if (request !== edits.inFlight) return;
  clearTimeout(edits.timer);
  edits.inFlight = 0;
  sendEdit();
}

/** @type {Record<string, string | boolean> | null} */
let known = null; // the fields' latest values

/**
 * Save the values of all fields in the browser until the app confirms a request that carries them.
 * @param {Record<string, string | boolean>} values
 */
export function saveUnsent(values) {
  known = values;
  if (edits.count > edits.confirmed) store.keepUnsent(PAGE, edits.count, values, state.source);
}

/**
 * Save what was typed into a field: while the app is down, Gradio passes nothing on, and it reloads the page when the app is back.
 * @param {HTMLInputElement} input
 */
function saveField(input) {
  const name = input.closest(".fg-field")?.id.replace(/^field-/, "") ?? "";
  if (known && input.getAttribute("role") !== "combobox") saveUnsent({ ...known, [name]: input.type === "checkbox" ? input.checked : input.value });
}

/** @param {number} request */
function confirm(request) {
  edits.confirmed = Math.max(edits.confirmed, edits.sent.get(request) ?? 0);
  store.forgetUnsent(PAGE, edits.confirmed);
}

/**
 * @param {[string, string]} source that was sent, and the new one
 * @param {boolean} mustReload
 */
function showImagesOf([sent, next], mustReload) {
  if (state.source !== sent || (sent === next && !mustReload)) return;
  state.source = next;
  emit("fg:images", next);
}

/**
 * Return true if an answer describes the form.
 * @param {FormAnswer} answer
 * @returns {answer is FormShown}
 */
const isAboutForm = (answer) => Boolean(answer.errors);

/** @param {FormAnswer | null} answer */
function receive(answer) {
  if (!answer?.request) return;
  if (answer.kept) confirm(answer.kept);
  editAnswered(answer.request);
  if (answer.request <= state.shown) return; // a later event was answered already
  showImagesOf(answer.source, answer.reload_images ?? false);
  if (typeof answer.model === "string") state.model = answer.model;
  if (answer.notice) notice(answer.notice);
  if (!isAboutForm(answer)) { // an event that says nothing about the form
    if (answer.message) notice(answer.message);
    emit("fg:changed");
    return;
  }
  state.shown = answer.request;
  document.documentElement.dataset.fgDraft = answer.draft ? "typed" : "none";
  emit("fg:form", answer);
  if (answer.kind === "restore" && store.unsent()) edited(); // it was typed while the app was down
}

/** Send an edit for every change of a field (keys, paste, drop, dictation); Gradio's text boxes report printing keys only. */
function listen() {
  document.getElementById("fg-train")?.addEventListener("input", (event) => {
    const input = /** @type {HTMLInputElement} */ (event.target);
    if (!input.closest(".fg-field")) return;
    edited();
    saveField(input);
  });
  document.addEventListener("fg:connection", (event) => event.detail && store.unsent() && sendAgain());
}

/**
 * Connect the form to its Gradio element, and ask for what it held last.
 * @param {Pick<GradioPart<FormAnswer | null>, "trigger" | "props" | "watch">} part
 */
export function connect({ trigger, props, watch }) {
  watch("value", () => receive(props.value));
  state.trigger = trigger;
  listen();
  send("restore", { viewed: store.viewed() ?? "", unsent: JSON.stringify(store.unsent()) });
}
