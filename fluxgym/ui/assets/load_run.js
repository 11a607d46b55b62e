// Replace what the form on the Train page holds: by the settings and images of a run, or by an empty form.

import { question } from "./dialog.js";
import { restored, send, source } from "./form.js";
import { notice } from "./notices.js";
import { go } from "./router.js";
import { unsavedChanges } from "./unsaved.js";

/** @import { FormAnswer, SessionRow } from "./types.js" */

/** Return the function that shows again what the form shows now, if nothing of it is unsaved. */
function undoOf() {
  const before = source();
  return () => { if (before) send("open", { slug: before, replace: true }); else send("fresh"); };
}

/**
 * Send an event that replaces the form's content, after a confirmation if the form has unsaved changes, and show the form.
 * @param {{ sentence: string, done: string }} texts what happens, and what has happened then
 * @param {FormAnswer["kind"]} kind of the event
 * @param {object} [details]
 */
async function replaceForm({ sentence, done }, kind, details = {}) {
  const lost = await unsavedChanges();
  if (lost === null) {
    notice("Connection lost. Try again when the page has reconnected.");
    return;
  }
  if (lost && !await question({ title: "Replace the form’s content?", text: `${sentence} This discards ${lost}.`, yes: "Replace" })) return;
  await restored; // the answer to an earlier event would replace it
  const undo = lost ? null : undoOf();
  send(kind, details);
  go("train");
  notice(done, { undo });
}

/**
 * Load a run into the form.
 * @param {SessionRow} session
 */
export function loadIntoForm(session) {
  const texts = { sentence: `The form is filled with the settings and images of ${session.name}.`, done: `The form now has the settings and images of ${session.name}.` };
  return replaceForm(texts, "open", { slug: session.slug, replace: true });
}

/** Empty the form for a new training. */
export const newTraining = () => replaceForm({ sentence: "The form is emptied. Existing runs are not changed.", done: "The form is emptied." }, "fresh");
