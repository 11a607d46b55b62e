// Fill the form on the Train page with the settings and images of a run.

import { question } from "./dialog.js";
import { send } from "./form.js";
import { notice } from "./notices.js";
import { go } from "./router.js";
import { unsavedChanges } from "./unsaved.js";

/** Load a run into the form, after a confirmation if the form has unsaved changes. */
export async function loadIntoForm(session) {
  const lost = await unsavedChanges();
  if (lost === null) {
    notice("Connection lost. Try again when the page has reconnected.");
    return;
  }
  const text = `The form is filled with the settings and images of ${session.lora_name}. This discards ${lost}.`;
  if (lost && !await question({ title: "Replace the form's content?", text, yes: "Replace" })) return;
  send("open", { slug: session.slug, replace: true });
  go("train");
}
