// The menu of a session, with the dialog of each action. `ask(action, more)` sends the action to the app.

import { stamp } from "./clock.js";
import { question } from "./dialog.js";
import { h, put } from "./dom.js";
import { address, errorOf, get, path } from "./api.js";
import { isLive } from "./session_row.js";

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

async function history(session, ask) {
  const { value: answer } = await get(path("sessions", session.slug, "history"));
  if (!answer) return null;
  const list = h("ol", { class: "fg-versions" }, answer.versions.map((version) => {
    const restore = h("button", { type: "button", class: "fg-button", disabled: isLive(session), onclick: async () => {
      const reply = await ask("restore", { version: version.id });
      put(restore, errorOf(reply) || "Restored");
      restore.disabled = true;
    } }, "Restore these settings");
    if (!version.changes.length) return h("li", {}, h("p", {}, h("strong", {}, stamp(version.kept_at)), " Same as the current settings."));
    return h("li", {}, h("p", {}, h("strong", {}, stamp(version.kept_at))), h("ul", {}, version.changes.map((change) => h("li", {}, change))), restore);
  }));
  await question({
    title: `Earlier settings of ${session.lora_name}`, body: [list],
    text: answer.versions.length ? "Saved at each resume, restore and replacement. Left: earlier value. Right: current value." : "No earlier versions yet. Each resume, restore and replacement saves one.",
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

async function forget(session, ask) {
  return question({
    title: `Forget ${session.lora_name}?`, text: `Removes it from this list. Its LoRA and all other files stay in ${session.folder}.`, yes: "Forget",
    check: async () => errorOf(await ask("forget")),
  });
}

async function remove(session, ask) {
  const { value: answer } = await get(path("sessions", session.slug, "contents"));
  if (!answer) return null;
  return question({
    title: `Delete ${session.lora_name} and its files?`, text: `${answer.sentence}: all of it is deleted permanently.`, yes: "Delete", danger: true,
    check: async () => errorOf(await ask("delete")),
  });
}

const ITEMS = [
  ["Next in line", (session) => session.status === "queued", (session, ask) => ask("next")],
  ["Duplicate…", (session) => session.status !== "unreadable", duplicate],
  ["History…", (session) => session.status !== "unreadable", history],
  ["Save as template…", (session) => session.status !== "unreadable", template],
  ["Export…", (session) => session.status !== "unreadable", exporting],
  ["Forget…", (session) => !isLive(session), forget],
  ["Delete…", (session) => !isLive(session), remove],
];

/** The menu of a session; `ask(action, more)` sends an action to the app, `done(result)` is called after it. */
export function menu(session, ask, done) {
  const items = ITEMS.filter(([, isAvailable]) => isAvailable(session)).map(([text, , act]) =>
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

// A click outside closes a menu.
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll(".fg-menu[open]")) if (!open.contains(event.target)) open.open = false;
});
