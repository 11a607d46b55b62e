// "⋯" beside a session: what is done now and then, each with the question it needs. Asks the app through `ask(action, more)`.

import { stamp } from "./clock.js";
import { question } from "./dialog.js";
import { h, put } from "./dom.js";
import { address } from "./api.js";
import { isLive } from "./session_row.js";

/** Run one action; the dialog stays open with the app's sentence when it refuses. */
const taken = (answer) => (answer === undefined ? "The app does not answer; try again in a moment." : answer.error ?? "");

async function duplicate(session, ask) {
  let slug = null;
  const done = await question({
    title: `Duplicate ${session.lora_name}`, text: "Settings, images and captions are copied; nothing is started.",
    field: { label: "Name of the copy", value: `${session.lora_name} 2` }, yes: "Duplicate",
    check: async (name) => {
      const answer = await ask("duplicate", { name });
      slug = answer?.slug;
      return taken(answer);
    },
  });
  return done && { open: slug };
}

async function history(session, ask) {
  const answer = await ask("history");
  if (!answer || answer.error) return null;
  const list = h("ol", { class: "fg-versions" }, answer.versions.map((version) => {
    const restore = h("button", { type: "button", class: "fg-button", disabled: isLive(session), onclick: async () => {
      const told = await ask("restore", { id: version.id });
      put(restore, taken(told) || "Restored");
      restore.disabled = true;
    } }, "Restore these settings");
    if (!version.changes.length) return h("li", {}, h("p", {}, h("strong", {}, stamp(version.kept_at)), " The same settings as now."));
    return h("li", {}, h("p", {}, h("strong", {}, stamp(version.kept_at))), h("ul", {}, version.changes.map((change) => h("li", {}, change))), restore);
  }));
  await question({
    title: `Earlier settings of ${session.lora_name}`, body: [list],
    text: answer.versions.length ? "Kept at each resume, restore and replacement. Left: then. Right: now." : "No earlier versions yet. Each resume, restore and replacement keeps what was.",
  });
  return {};
}

async function exporting(session) {
  const link = (name, text) => h("li", {}, h("a", { href: address(`runs/${encodeURIComponent(session.slug)}/export/${name}`), download: "" }, text));
  await question({
    title: `Export ${session.lora_name}`, text: "None of these holds a token or a path of this machine's models.",
    body: [h("ul", { class: "fg-exports" },
      link("state.json", "Settings only (.json)"), link("with-images.zip", "Settings, images and captions (.zip)"),
      link("everything.zip", "Settings, images, captions and the trained model (.zip)"))],
  });
  return null;
}

async function template(session, ask) {
  return question({
    title: `Keep the settings of ${session.lora_name} as a template`, text: "A template can be applied to the form on the Train page.",
    field: { label: "Name of the template", value: session.lora_name }, yes: "Keep as template",
    check: async (name) => taken(await ask("template", { name })),
  });
}

async function forget(session, ask) {
  return question({
    title: `Forget ${session.lora_name}?`, text: `It goes off this list. Its model and all other files stay in ${session.folder}.`, yes: "Forget",
    check: async () => taken(await ask("forget")),
  });
}

async function remove(session, ask) {
  const answer = await ask("contents");
  if (!answer || answer.error) return null;
  return question({
    title: `Delete ${session.lora_name} and its files?`, text: `${answer.sentence}: all of it will be gone for good.`, yes: "Delete", danger: true,
    check: async () => taken(await ask("delete")),
  });
}

const ITEMS = [
  ["Next in line", (session) => session.next, (session, ask) => ask("next")],
  ["Duplicate…", (session) => session.status !== "unreadable", duplicate],
  ["History…", (session) => session.status !== "unreadable", history],
  ["Keep as template…", (session) => session.status !== "unreadable", template],
  ["Export…", (session) => session.status !== "unreadable", exporting],
  ["Forget…", (session) => !isLive(session), forget],
  ["Delete…", (session) => !isLive(session), remove],
];

/** The menu of a session; `ask(action, more)` asks the app, `done(result)` is told when something was done. */
export function menu(session, ask, done) {
  const items = ITEMS.filter(([, fits]) => fits(session)).map(([text, , act]) =>
    h("button", { type: "button", role: "menuitem", "data-action": text, onclick: async () => {
      box.open = false;
      const result = await act(session, ask);
      if (result) done(result);
    } }, text));
  const box = h("details", { class: "fg-menu" },
    h("summary", { class: "fg-button", "aria-label": `More for ${session.lora_name}`, title: "More" }, "⋯"),
    h("div", { class: "fg-menu-items", role: "menu" }, items));
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && box.open) {
      box.open = false;
      box.firstElementChild.focus();
    }
  });
  return box;
}

// A menu closes when one clicks elsewhere.
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll(".fg-menu[open]")) if (!open.contains(event.target)) open.open = false;
});
