// Start: sends the form once all edits of the images and all captions are saved, and asks what to do with a name that is taken.

import { beforeReload, isReachable } from "./api.js";
import { saveCaptions } from "./captions.js";
import { fill, h } from "./dom.js";
import { send } from "./form.js";
import { settled } from "./image_edits.js";
import { notice } from "./notices.js";

const NOT_REACHABLE = "The app does not answer. Nothing was started; press Start again when it is back.";
const ANSWER_MS = 15_000;

/** The press that is not answered yet: whether there is one, and whether it was sent. */
const press = { isPending: false, isSent: false, timer: /** @type {number | undefined} */ (undefined) };

/** @import { TakenName } from "./types.js" */

/**
 * Start with the form's settings; a second press waits for the first one's answer.
 * @param {{ if_exists?: string }} details what is done about a taken name
 */
export const start = (details = {}) => beforeReload(pressed(details));

/** @param {{ if_exists?: string }} details */
async function pressed(details) {
  if (press.isPending || document.documentElement.dataset.fgForm !== "known") return; // before the first answer nothing can be started
  if (!isReachable()) {
    notice(NOT_REACHABLE);
    return;
  }
  press.isPending = true;
  press.timer = setTimeout(startAnswered, ANSWER_MS); // if no answer comes
  await settled();
  const refused = await saveCaptions();
  if (refused || !isReachable()) {
    startAnswered();
    notice(isReachable() ? `Not started. ${refused}` : NOT_REACHABLE);
    return;
  }
  press.isSent = true;
  send("start", details);
}

/** When the connection is lost or a press gets no answer, say what is known of the press; allow the next one. */
export function followConnection() {
  document.addEventListener("fg:connection", ({ detail: isConnected }) => {
    if (isConnected) startAnswered();
    else if (press.isSent) notice("The connection was lost before the app answered to Start. When it is back, the list of runs shows whether the training was started.");
  });
  document.addEventListener("fg:unanswered", ({ detail: { kind, sentence } }) => {
    if (kind !== "start") return;
    startAnswered();
    if (isReachable()) notice(sentence);
  });
}

/** Allow the next press after an answer to the last one. */
export function startAnswered() {
  clearTimeout(press.timer);
  press.isPending = false;
  press.isSent = false;
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
