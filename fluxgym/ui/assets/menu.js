// The menu of a run, with the dialog of each action. `ask(action, more)` sends the action to the app.

import { address, errorOf, get, path } from "./api.js";
import { stamp } from "./clock.js";
import { question } from "./dialog.js";
import { h, put } from "./dom.js";
import { loadIntoForm } from "./load_run.js";
import { notice } from "./notices.js";
import { popupMenu } from "./popup.js";
import { deleteRuns, forget } from "./session_actions.js";
import { canRestore, isLive, nextStep } from "./session_row.js";

async function next(session, ask) {
  const answer = await ask("next");
  notice(errorOf(answer) || `${session.lora_name} is next in line.`);
  return {};
}

async function duplicate(session, ask) {
  let slug = null;
  const done = await question({
    title: `Duplicate ${session.lora_name}`, text: "Copies settings, images and captions. The copy is not started.",
    field: { label: "Name of the copy", value: `${session.lora_name} 2` }, yes: "Duplicate",
    check: async (name) => {
      const answer = await ask("duplicate", { name });
      slug = answer.value?.slug;
      return errorOf(answer);
    },
  });
  return done && { open: slug };
}

function version(entry, session, ask) {
  if (!entry.changes.length) return h("li", {}, h("p", {}, h("strong", {}, stamp(entry.kept_at)), " Same as the current settings."));
  const restore = h("button", { type: "button", class: "btn s", disabled: !canRestore(session), onclick: async () => {
    const reply = await ask("restore", { version: entry.id });
    put(restore, errorOf(reply) || "Restored");
    restore.disabled = true;
  } }, "Restore these settings");
  return h("li", {}, h("p", {}, h("strong", {}, stamp(entry.kept_at))), h("ul", {}, entry.changes.map((change) => h("li", {}, change))), restore);
}

async function history(session, ask) {
  const answer = await get(path("sessions", session.slug, "history"));
  if (!answer.value) {
    notice(errorOf(answer));
    return null;
  }
  const { versions } = answer.value;
  await question({
    title: `Earlier settings of ${session.lora_name}`,
    text: versions.length ? "Saved at each resume, restore and replacement. Old → new." : "No earlier versions yet. Each resume, restore and replacement saves one.",
    body: [h("ol", { class: "fg-versions" }, versions.map((entry) => version(entry, session, ask)))],
  });
  return {};
}

async function exporting(session) {
  const link = (name, text) => h("li", {}, h("a", { href: address(`runs/${encodeURIComponent(session.slug)}/export/${name}`), download: "" }, text));
  await question({
    title: `Export ${session.lora_name}`, text: "None of these files contains a token or the path of a model.",
    body: [h("ul", { class: "fg-exports" },
      link("state.json", "Settings only (.json)"), link("with-images.zip", "Settings, images and captions (.zip)"),
      link("everything.zip", "Settings, images, captions and the trained model (.zip)"))],
  });
  return null;
}

async function template(session, ask) {
  return question({
    title: `Save the settings of ${session.lora_name} as a template`, text: "A template can be applied to the form on the Train page.",
    field: { label: "Name of the template", value: session.lora_name }, yes: "Save as template",
    check: async (name) => errorOf(await ask("template", { name })),
  });
}

const isReadable = (session) => session.status !== "unreadable";
const hasEnded = (session) => !isLive(session) && !session.is_executing;
/** @type {([string, (session: any) => boolean, (session: any, ask: any) => Promise<any>] | null)[]} */
const ITEMS = [
  ["Next in line", (session) => session.status === "queued", next],
  ["Edit as new training", (session) => isReadable(session) && nextStep(session).action !== "load", loadIntoForm],
  ["Duplicate…", isReadable, duplicate],
  ["History…", isReadable, history],
  ["Save as template…", isReadable, template],
  ["Export…", isReadable, exporting],
  null,
  ["Forget", hasEnded, (session) => forget([session])],
  ["Delete…", hasEnded, (session) => deleteRuns([session])],
];

/**
 * The menu of a run; `session` is the run or a function that returns it. `ask(action, more)` sends an action to the app, `done(result)` is
 * called after it.
 */
export function menu(session, ask, done) {
  const current = typeof session === "function" ? session : () => session;
  const items = () => {
    const found = ITEMS.filter((item) => !item || item[1](current())).map((item) => item && {
      text: item[0], danger: item[0] === "Delete…",
      onclick: async () => {
        const result = await item[2](current(), ask);
        if (result) done(result);
      },
    });
    return found.at(-1) ? found : found.slice(0, -1); // a live run has nothing below the line
  };
  return popupMenu({ label: `More for ${current().lora_name}`, items });
}
