// The menu of a run, with the dialog of each action.

import { address, errorOf, get, path } from "./api.js";
import { exportLinks, question } from "./dialog.js";
import { h } from "./dom.js";
import { historyList } from "./history.js";
import { loadIntoForm } from "./load_run.js";
import { notice } from "./notices.js";
import { popupMenu } from "./popup.js";
import { askToReplace, deleteRuns, forget, REPLACES_TEMPLATE } from "./session_actions.js";
import { listed, word } from "./text.js";

/** @import { Act } from "./session_actions.js" */
/** @import { MenuItem, SessionRow } from "./types.js" */

/** @typedef {{ name: MenuItem, text: (session: SessionRow) => string, run: (session: SessionRow, act: Act) => Promise<unknown>, danger?: true }} Item */

/**
 * Let a queued run be the next one.
 * @param {SessionRow} session
 * @param {Act} act
 */
async function next(session, act) {
  notice(errorOf(await act.request(session, "next")) || `${session.name} is next in line.`);
  act.done();
}

/**
 * Copy a run's settings and images, and open the copy.
 * @param {SessionRow} session
 * @param {Act} act
 */
async function duplicate(session, act) {
  /** @type {string | null} */
  let slug = null;
  const free = await get(path("sessions", session.slug, "copy-name"));
  if (!free.value) {
    notice(errorOf(free));
    return;
  }
  const done = await question({
    title: `Duplicate ${session.name}`, text: "Copies settings, images and captions. The copy is not started.",
    field: { label: "Name of the copy", value: free.value.name }, yes: "Duplicate",
    check: async (name) => {
      const answer = await act.request(session, "duplicate", { name });
      slug = answer.value?.slug ?? null;
      return errorOf(answer);
    },
  });
  if (done) act.done(slug);
}

/**
 * Show the earlier settings of a run.
 * @param {SessionRow} session
 * @param {Act} act
 */
async function history(session, act) {
  const answer = await get(path("sessions", session.slug, "history"));
  if (!answer.value) {
    notice(errorOf(answer));
    return;
  }
  const { versions, unreadable } = answer.value;
  const leftOut = unreadable.length ? [h("p", { class: "soft" }, `${listed(unreadable)} cannot be read and ${word(unreadable.length, "is", "are")} not shown.`)] : [];
  const list = historyList((version) => act.request(session, "restore", { version }));
  list.show(versions);
  await question({
    title: `Earlier settings of ${session.name}`,
    text: versions.length ? "What each resume, restore and replacement changed. Old → new." : "No earlier versions yet. Each resume, restore and replacement saves one.",
    body: [...leftOut, list.element],
  });
  act.done();
}

/**
 * Offer a run's files for download.
 * @param {SessionRow} session
 */
async function exporting(session) {
  const url = (/** @type {string} */ name) => address(`${path("runs", session.slug, "export", name)}`);
  await question({
    title: `Export ${session.name}`, text: "None of these files contains a token or the path of a model.",
    body: [exportLinks([
      [url("state.json"), "Settings only (.json)"], [url("with-images.zip"), "Settings, images and captions (.zip)"],
      [url("everything.zip"), "Settings, images, captions and the trained model (.zip)"],
    ])],
  });
}

/**
 * Save a run's settings as a template.
 * @param {SessionRow} session
 * @param {Act} act
 */
async function template(session, act) {
  let isTaken = false;
  const done = await question({
    title: `Save the settings of ${session.name} as a template`, text: "A template can be applied to the form on the Train page.",
    field: { label: "Name of the template", value: session.lora_name }, yes: "Save as template",
    check: async (name) => {
      const answer = await act.request(session, "template", { name });
      isTaken = answer.error?.code === REPLACES_TEMPLATE;
      return isTaken ? "" : errorOf(answer);
    },
  });
  if (!done) return;
  const replace = async () => errorOf(await act.request(session, "template", { name: done.value, agreed: [REPLACES_TEMPLATE] }));
  if (!isTaken || await askToReplace(done.value, replace)) act.done();
}

/** @type {(Item | null)[]} null is a line */
const ITEMS = [
  { name: "next", text: () => "Next in line", run: next },
  { name: "edit", text: (session) => session.edit_text ?? "", run: loadIntoForm },
  { name: "duplicate", text: () => "Duplicate…", run: duplicate },
  { name: "history", text: () => "History…", run: history },
  { name: "template", text: () => "Save as template…", run: template },
  { name: "export", text: () => "Export…", run: exporting },
  null,
  { name: "forget", text: () => "Forget", run: (session) => forget([session]) },
  { name: "delete", text: () => "Delete…", run: (session) => deleteRuns([session]), danger: true },
];

/**
 * The menu of a run.
 * @param {() => SessionRow} current returns the run as it is now
 * @param {Act} act
 */
export function menu(current, act) {
  const items = () => {
    const offered = ITEMS.filter((item) => !item || current().menu.includes(item.name));
    const found = offered.map((item) => item && { text: item.text(current()), danger: item.danger, onclick: () => item.run(current(), act) });
    return found.at(-1) ? found : found.slice(0, -1); // a live run has nothing below the line
  };
  return popupMenu({ label: `More for ${current().name}`, items });
}
