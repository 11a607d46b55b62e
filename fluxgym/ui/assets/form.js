// The form's events and their answers. The fields are Gradio components; their values change only by typing and by APPLY_PATCH (form.py).
// An answer about the form is passed on as the event fg:form, to which the parts beside the fields listen.

import { beforeReload, isReachable } from "./api.js";
import * as store from "./browser_store.js";
import { now } from "./clock.js";
import { emit } from "./dom.js";
import { keepSelection } from "./fields.js";
import "./form_patch.js";
import "./form_requests.js";
import { notice } from "./notices.js";

/** @import { Unanswered } from "./form_requests.js" */
/** @import { FormAnswer } from "./types.js" */

/** @typedef {"errors" | "details" | "notes" | "lines" | "changed" | "trigger" | "images" | "explain" | "command" | "toml"} FormPart what describes the form */
/** @typedef {FormAnswer & { [name in FormPart]: NonNullable<FormAnswer[name]> }} FormShown an answer that describes the form */
/**
 * What Gradio passes to the script of an element.
 * @template T
 * @typedef {{ element: HTMLElement, trigger: (event: string, data: object) => void, props: { value: T }, watch: (name: string, changed: () => void) => void }} GradioPart
 */

/** @type {{ request: number, first: number, shown: number, source: string, model: string, editedAt: number, trigger: ((event: string, data: object) => void) | null }} */
const state = { request: 0, first: 1, shown: 0, source: "", model: "", editedAt: 0, trigger: null };

/** The slug of the run whose images the form shows, "" for the draft's own. */
export const source = () => state.source;

/** @type {() => void} */
let resolveRestored = () => {};

/** Resolved when the form shows what it held last. */
export const restored = new Promise((resolve) => { resolveRestored = () => resolve(null); });

/**
 * Show the images of another source, which an edit of the images has changed.
 * @param {string} next
 */
export function setSource(next) {
  state.source = next;
}

// Edits are sent one at a time; while one is not answered, the next waits, and takes all later ones with it. count is the number of edits so
// far, confirmed how many of them the app has saved, and sent how many there were when a request was sent.
/** @type {{ count: number, confirmed: number, sent: Map<number, number>, inFlight: number, next: FormAnswer["kind"], timer: number | undefined }} */
const edits = { count: 0, confirmed: 0, sent: new Map(), inFlight: 0, next: "", timer: undefined };
const ANSWER_MS = 10_000;
const CHOSEN_MS = 100; // until Gradio shows a value that came with an answer
const RESTORE_AGAIN_MS = 2000;
const PAGE = String(Math.random()); // tells this tab's edits from those of others

// Some checks take seconds, so they are asked for when nothing was typed for a moment, and once at a time. isDue is whether the
// form that is shown has settings that were not checked yet.
/** @type {{ isDue: boolean, inFlight: number, timer: number | undefined }} */
const check = { isDue: false, inFlight: 0, timer: undefined };
const CHECK_AFTER_MS = 600;

function scheduleCheck() {
  clearTimeout(check.timer);
  if (!check.isDue || check.inFlight || !isReachable()) return;
  check.timer = setTimeout(() => {
    if (edits.inFlight || edits.next) return; // the answer to these schedules it again
    send("check");
    check.inFlight = state.request;
  }, CHECK_AFTER_MS);
}

/**
 * Send an event of the form.
 * @param {FormAnswer["kind"]} kind
 * @param {object} details
 */
export function send(kind, details = {}) {
  if (kind !== "check" && kind !== "restore") store.setBlank(kind === "fresh");
  state.request += 1;
  edits.sent.set(state.request, edits.count);
  const order = { page: PAGE, edited_at: state.editedAt, sent_at: now() }; // the app drops content that is older than what it has
  const form = { request: state.request, kind, draft: store.draft(), source: state.source, model: state.model, ...order, ...details };
  state.trigger?.("select", { form });
  beforeReload(new Promise((resolve) => { unanswered.set(state.request, resolve); setTimeout(resolve, ANSWER_MS); }));
}

/** @type {Map<number, (value: null) => void>} what to call when a request is answered, or will not be */
const unanswered = new Map();

/** @param {number} request */
function endRequest(request) {
  unanswered.get(request)?.(null);
  unanswered.delete(request);
}

/**
 * A field was edited: "typed", or "model" for the base model. Waits until Gradio has the new value.
 * @param {"typed" | "model"} kind
 */
export function edited(kind = "typed") {
  edits.count += 1;
  clearTimeout(check.timer);
  state.editedAt = now();
  if (edits.next !== "model") edits.next = kind;
  setTimeout(() => {
    state.trigger?.("input", {}); // saves it in the browser
    sendEdit();
  });
}

function sendEdit() {
  if (!edits.next || edits.inFlight || !isReachable()) return;
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

let isKept = true; // whether the browser has taken the latest edit

/**
 * Save the values of all fields in the browser until the app confirms a request that carries them.
 * @param {string[]} names
 * @param {(string | boolean)[]} present the values in the order of the names
 */
export function saveUnsentOf(names, present) {
  store.setBlank(false);
  if (edits.count <= edits.confirmed) return;
  const values = Object.fromEntries(names.map((name, index) => [name, present[index]]));
  isKept = store.keepUnsent({ page: PAGE, count: edits.count, values, source: state.source, model: state.model, edited_at: state.editedAt });
  emit("fg:edited");
}

/** What is true of the draft: whether the app has everything, and whether this browser would find what is missing after a reload. */
export const draftState = () => ({ isSaved: edits.confirmed >= edits.count, isKept, canBeFound: store.canFindDraft() });

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

/**
 * Pass on an answer. What an event has done counts also if a later event was answered before it; what the answer says about the form does not.
 * @param {FormAnswer | null} answer
 */
function receive(answer) {
  if (!answer?.request) return;
  endRequest(answer.request);
  if (answer.patch) keepSelection(answer.patch);
  if (answer.kept) confirm(answer.kept);
  editAnswered(answer.request);
  if (answer.request === check.inFlight) check.inFlight = 0;
  showImagesOf(answer.source, answer.reload_images ?? false);
  if (answer.notice) notice(answer.notice, { undo: answer.kind === "apply_template" ? () => putBack(answer.patch) : null });
  if (!isAboutForm(answer)) {
    if (answer.message) notice(answer.message);
    emit("fg:changed");
  } else if (answer.request > state.shown) showForm(answer);
  if (answer.started) send("check"); // what was true before the run was there may not be any more, such as that the name is free
  if (answer.request === state.first) {
    resolveRestored();
    if (store.unsent()) edited(); // it was typed while the app was down
  }
  scheduleCheck();
  emit("fg:answer", answer);
}

/**
 * Put back what fields had before an answer.
 * @param {FormAnswer["patch"]} patch of the answer
 */
export const putBack = (patch) => send("put_back", { values: Object.fromEntries(Object.entries(patch).map(([name, [sent]]) => [name, sent ?? ""])) });

/** @param {FormShown} answer the latest one about the form */
function showForm(answer) {
  state.shown = answer.request;
  if (typeof answer.model === "string") state.model = answer.model;
  if (typeof answer.draft === "boolean") document.documentElement.dataset.fgDraft = answer.draft ? "typed" : "none";
  check.isDue = answer.checking ?? false;
  emit("fg:form", answer);
}

/** Send an edit for every change of a field (keys, paste, drop, dictation); Gradio's text boxes report printing keys only. */
function listen() {
  document.getElementById("fg-train")?.addEventListener("input", (event) => {
    const input = /** @type {HTMLInputElement} */ (event.target);
    if (!input.closest(".fg-field")) return;
    edited();
  });
  document.addEventListener("fg:patched", ({ detail: request }) => setTimeout(() => {
    if (state.request > request) edited(); // what was sent since may be without the change, and the answer to it would show the form without it
  }, CHOSEN_MS));
  document.addEventListener("fg:uploading", () => store.setBlank(false));
  document.addEventListener("fg:unanswered", ({ detail }) => notAnswered(detail));
  document.addEventListener("fg:connection", (event) => {
    if (!event.detail) return;
    check.inFlight = 0; // no answer comes from an app that was restarted
    for (const proposed of images.unsent.splice(0)) send("images", proposed);
    if (edits.confirmed < edits.count) sendAgain();
    scheduleCheck();
  });
}

// What edits of the images propose for the form, while the app has not answered to it.
const images = { unsent: /** @type {object[]} */ ([]) };

/**
 * An event got no answer. Edits are sent again when the app is back, and so is what the page sends by itself; for all others, show why.
 * @param {Unanswered} event
 */
function notAnswered({ request, kind, sentence, name, trigger, folders }) {
  endRequest(request);
  if (request === state.first) setTimeout(restore, RESTORE_AGAIN_MS);
  else if (kind === "images") images.unsent.push({ name, trigger, folders });
  else if (!["typed", "model", "check", "start"].includes(kind)) notice(sentence);
  if (kind === "model") edits.next = "model";
  if (request === edits.inFlight && !isReachable()) edits.inFlight = 0;
  if (request === check.inFlight) check.inFlight = 0;
}

/**
 * Connect the form to its Gradio element, and ask for what it held last.
 * @param {Pick<GradioPart<FormAnswer | null>, "trigger" | "props" | "watch">} part
 */
export function connect({ trigger, props, watch }) {
  watch("value", () => receive(props.value));
  state.trigger = trigger;
  listen();
  restore();
}

/** Ask for what the form held last. */
function restore() {
  state.first = state.request + 1;
  if (store.isBlank() && !store.unsent()) send("fresh"); // there is no draft of an emptied form, and another run would be shown
  else send("restore", { viewed: store.viewed() ?? "", unsent: JSON.stringify(store.unsent()) });
}
