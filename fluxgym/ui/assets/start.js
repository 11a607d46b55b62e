// Start: sends the form once all edits of the images and all captions are saved, and asks what to do with a name that is taken.

import { saveCaptions } from "./captions.js";
import { fill, h } from "./dom.js";
import { send } from "./form.js";
import { settled } from "./image_edits.js";
import { notice } from "./notices.js";

let isStarting = false;

/** @import { TakenName } from "./types.js" */

/**
 * Start with the form's settings; a second press waits for the first one's answer.
 * @param {{ if_exists?: string }} details what is done about a taken name
 */
export async function start(details = {}) {
  if (isStarting || document.documentElement.dataset.fgForm !== "known") return; // before the first answer nothing can be started
  isStarting = true;
  setTimeout(() => { isStarting = false; }, 15_000); // if no answer comes
  await settled();
  const refused = await saveCaptions();
  if (refused) {
    isStarting = false;
    notice(`Not started. ${refused}`);
    return;
  }
  send("start", details);
}

/** Allow the next press after an answer to the last one. */
export function startAnswered() {
  isStarting = false;
}

/** The dialog for a name that is taken; the focus is on Cancel. Returns {element, ask}. */
export function takenDialog() {
  const dialog = h("dialog", { class: "fg-choice", "aria-labelledby": "fg-choice-title" });
  /**
   * @param {string} value
   * @param {string | null} text
   * @param {string} help
   */
  const choice = (value, text, help) => text && h("button", {
    type: "button", class: "btn wide", "data-choice": value, onclick: () => { dialog.close(); start({ if_exists: value }); },
  }, h("span", {}, text), h("small", { class: "soft" }, help));
  /** @param {TakenName} taken */
  function ask(taken) {
    const cancel = h("button", { type: "button", class: "btn", onclick: () => dialog.close() }, "Cancel");
    fill(dialog, h("h2", { id: "fg-choice-title" }, taken.title), h("p", { class: "soft" }, taken.sentence),
      h("div", { class: "stack tight fg-choices" },
        choice("resume", taken.resume, "Continues the existing run with its own settings and images"),
        choice("new", taken.new, "Starts a new run; the existing run is not changed"),
        choice("replace", taken.replace, taken.replace_help)),
      h("div", { class: "line" }, cancel));
    dialog.showModal();
    cancel.focus();
  }
  return { element: dialog, ask };
}
