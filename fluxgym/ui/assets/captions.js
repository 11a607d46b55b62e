// Captions that are typed and not on disk yet: kept in this browser until the app has confirmed them, sent again when it is back, and known
// to Start.

import { errorOf, get, patch, path } from "./api.js";
import * as store from "./browser_store.js";
import { restored, source } from "./form.js";
import { edit } from "./image_edits.js";
import { notice } from "./notices.js";

/** @import { Answer } from "./api.js" */
/** @import { ImageCounts } from "./types.js" */

/** @typedef {{ caption: string, source: string, error: string }} Waiting A caption of an image of a source; error is why the app refused it. */
/** @typedef {(answer: Answer<ImageCounts>, caption: string) => void} Listener */

/** @type {Map<string, Waiting>} */
const waiting = new Map();
/** @type {Map<string, Listener>} */
const listeners = new Map();

/**
 * The caption of an image that the app does not have yet, null if there is none.
 * @param {string} name
 */
export function unsavedCaption(name) {
  const one = waiting.get(name);
  return one && (one.source === source() || source() === "") ? one.caption : null; // an edit has copied the run's images meanwhile
}

/**
 * Call `listener` with each answer about an image's caption.
 * @param {string} name
 * @param {Listener} listener
 */
export const onCaptionAnswer = (name, listener) => listeners.set(name, listener);

/**
 * Keep a caption until the app has it; returns whether the browser would still have it after a reload.
 * @param {string} name
 * @param {string} caption
 */
export function keepCaption(name, caption) {
  waiting.set(name, { caption, source: source(), error: "" });
  return store.keepCaption(name, { caption, source: source() });
}

/** @param {string} name */
function forget(name) {
  const one = waiting.get(name);
  waiting.delete(name);
  if (one) store.forgetCaption(name, one.caption);
}

/**
 * Drop the captions of images that the user has removed: all but those of `names`.
 * @param {string[]} names
 */
export function keepCaptionsOf(names) {
  for (const name of [...waiting.keys()]) if (!names.includes(name)) forget(name);
}

/**
 * Drop a caption that the app refuses if its image is gone; the text is shown once more.
 * @param {string} name
 * @param {Waiting} waiting
 */
async function forgetIfGone(name, { caption, source: of }) {
  const { value } = await get(path("drafts", store.draft(), "names"), { source: of });
  if (!value || value.names.includes(name)) return;
  notice(`The image ${name} is not here any more. Its caption was “${caption}”.`);
  forget(name);
}

/**
 * Send an image's caption if the app does not have it yet.
 * @param {string} name
 */
export async function saveCaption(name) {
  const one = waiting.get(name);
  if (!one) return;
  const { caption } = one;
  const answer = await edit((query) => patch(path("drafts", store.draft(), "images", name), { caption }, query), one.source);
  const now = waiting.get(name);
  if (now?.caption === caption) { // else another text was typed meanwhile, and is sent after it
    if (answer.value) forget(name);
    else now.error = answer.offline ? "" : errorOf(answer);
    if (now.error) await forgetIfGone(name, now);
  }
  listeners.get(name)?.(answer, caption);
}

/** Send all captions that the app does not have yet; returns a sentence that names those that it did not take, "" if there are none. */
export async function saveCaptions() {
  await Promise.all([...waiting.keys()].map(saveCaption));
  const names = [...waiting.keys()];
  if (!names.length) return "";
  const reason = [...waiting.values()].map(({ error }) => error).find(Boolean) || "The app does not answer.";
  return `${names.length === 1 ? "The caption of" : "The captions of"} ${names.slice(0, 3).join(", ")}${names.length > 3 ? ` and ${names.length - 3} more` : ""} ${
    names.length === 1 ? "is" : "are"} not saved. ${reason}`;
}

/** Send what an earlier page of this browser could not, and everything again whenever the app is back; returns whether anything was left. */
export async function resumeCaptions() {
  document.addEventListener("fg:connection", ({ detail: isConnected }) => { if (isConnected) saveCaptions(); });
  document.addEventListener("fg:answer", ({ detail }) => { if (detail.kind === "fresh") keepCaptionsOf([]); });
  await restored;
  const kept = Object.entries(store.captions());
  for (const [name, one] of kept) if (!waiting.has(name)) waiting.set(name, { ...one, error: "" });
  await saveCaptions();
  return kept.length > 0;
}
