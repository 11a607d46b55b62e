// The form's events and their answers. The fields are Gradio components; their values change only by typing and by APPLY_PATCH (form.py).
// An answer about the form is passed on as the event fg:form, to which the parts beside the fields listen.

import * as store from "./browser_store.js";
import { notice } from "./notices.js";

const state = { request: 0, shown: 0, source: "", model: "", trigger: null };

/** The slug of the run whose images the form shows, "" for the draft's own. */
export const source = () => state.source;

/** Show the images of another source, which an edit of the images has changed. */
export function setSource(next) {
  state.source = next;
}

/** Send an event of the form; only the last of several edits counts (`input`), every other event is answered (`select`). */
export function send(kind, details = {}) {
  state.request += 1;
  const event = { request: state.request, kind, draft: store.draft(), source: state.source, model: state.model, ...details };
  state.trigger?.(kind === "typed" ? "input" : "select", event);
}

/** A field was edited: "typed", or "model" for the base model. Waits until Gradio has the new value. */
export function edited(kind = "typed") {
  setTimeout(() => send(kind));
}

/** Save the values of all fields in the browser until the app confirms the request that carries them. */
export function saveUnsent(values) {
  store.keepUnsent(state.request, values, state.source);
}

function showImagesOf([sent, next], mustReload) {
  if (state.source !== sent || (sent === next && !mustReload)) return;
  state.source = next;
  document.dispatchEvent(new CustomEvent("fg:images", { detail: next }));
}

function receive(answer) {
  if (!answer?.request || answer.request <= state.shown) return; // a later event was answered already
  if (answer.kept) store.forgetUnsent(answer.kept);
  showImagesOf(answer.source, answer.reload_images);
  if (answer.model !== undefined) state.model = answer.model;
  if (answer.notice) notice(answer.notice);
  if (!answer.errors) { // an event that says nothing about the form
    if (answer.message) notice(answer.message);
    return;
  }
  state.shown = answer.request;
  document.documentElement.dataset.fgDraft = answer.draft ? "typed" : "none";
  document.dispatchEvent(new CustomEvent("fg:form", { detail: answer }));
}

/** Send an edit for every change of a field (keys, paste, drop, dictation); Gradio's text boxes report printing keys only. */
function listen() {
  document.getElementById("fg-train")?.addEventListener("input", (event) => {
    if (event.target.closest(".fg-field")) edited();
  });
  document.addEventListener("fg:connection", (event) => event.detail && store.unsent() && edited());
}

/** Connect the form to its Gradio element, and ask for what it held last. */
export function connect({ trigger, props, watch }) {
  watch("value", () => receive(props.value));
  state.trigger = trigger;
  listen();
  send("restore", { viewed: store.viewed() ?? "", unsent: JSON.stringify(store.unsent()) });
}
