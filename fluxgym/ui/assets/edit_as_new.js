// "Edit as new training" and "New training": replace the form's content, after a question if that would discard something.

import { question } from "./dialog.js";
import { send } from "./form.js";
import { unsavedChanges } from "./unsaved.js";

/** Send an event that replaces the form's content, and show the form. */
async function replaceForm(sentence, kind, details) {
  const lost = await unsavedChanges();
  if (lost === null) return;
  if (lost && !await question({ title: "Replace the form's content?", text: `${sentence} This discards ${lost}.`, yes: "Replace" })) return;
  send(kind, details);
  location.hash = "#train";
}

/** Fill the form with a run's settings and images. */
export const editAsNew = (slug) => replaceForm("The form is filled with this run's settings and images.", "open", { slug, replace: true });

/** Empty the form. */
export const newTraining = () => replaceForm("The form is emptied.", "fresh", {});
