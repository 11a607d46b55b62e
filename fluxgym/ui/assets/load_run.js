// Replace what the form on the Train page holds: by the settings and images of a run, or by an empty form.

import { question } from "./dialog.js";
import { restored, send } from "./form.js";
import { notice } from "./notices.js";
import { go } from "./router.js";
import { unsavedChanges } from "./unsaved.js";

/** @import { FormAnswer, SessionRow } from "./types.js" */

/**
 * Send an event that replaces the form's content, after a confirmation if the form has unsaved changes, and show the form.
 * @param {string} sentence what happens
 * @param {FormAnswer["kind"]} kind of the event
 * @param {object} [details]
 */
async function replaceForm(sentence, kind, details = {}) {
  const lost = await unsavedChanges();
  if (lost === null) {
    notice("Connection lost. Try again when the page has reconnected.");
    return;
  }
  if (lost && !await question({ title: "Replace the form’s content?", text: `${sentence} This discards ${lost}.`, yes: "Replace" })) return;
  await restored; // the answer to an earlier event would replace it
  send(kind, details);
  go("train");
}

/**
 * Load a run into the form.
 * @param {SessionRow} session
 */
export function loadIntoForm(session) {
  return replaceForm(`The form is filled with the settings and images of ${session.name}.`, "open", { slug: session.slug, replace: true });
}

/** Empty the form for a new training. */
export const newTraining = () => replaceForm("The form is emptied. Existing runs are not changed.", "fresh");
