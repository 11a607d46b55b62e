// Below the settings: new training, and templates. The form's events transfer the settings of a template.

import { question } from "./dialog.js";
import { fill, h } from "./dom.js";
import { errorOf, get, path, remove as removing } from "./api.js";
import { send } from "./form.js";
import { unsavedChanges } from "./unsaved.js";

export function mount({ element }) {
  const choice = h("select", { "aria-label": "Template" });
  const apply = h("button", { type: "button", class: "fg-button", onclick: () => send("apply", { name: choice.value }) }, "Apply");
  const save = h("button", { type: "button", class: "fg-button", onclick: saveTemplate, title: "Saves the form's settings, without the LoRA's name" }, "Save as template…");
  const remove = h("button", { type: "button", class: "fg-button", onclick: removeTemplate, "aria-label": "Delete this template" }, "Delete");
  const fresh = h("button", { type: "button", class: "fg-button", onclick: async () => {
    const lost = await unsavedChanges();
    const yes = lost !== null && (!lost || await question({ title: "Start with an empty form?", text: `This discards ${lost}. Existing runs are not changed.`, yes: "Clear form" }));
    if (yes) send("fresh");
  } }, "New training");
  const shown = h("span", { class: "fg-templates-choice" }, choice, apply, remove);
  fill(element, h("div", { class: "fg-templates" }, fresh, save, shown));

  async function list() {
    const { value: answer } = await get("templates");
    if (!answer) return;
    const before = choice.value;
    fill(choice, answer.templates.map((name) => h("option", { value: name }, name)));
    if (answer.templates.includes(before)) choice.value = before;
    shown.hidden = answer.templates.length === 0;
  }

  async function saveTemplate() {
    const done = await question({
      title: "Save these settings as a template", field: { label: "Name of the template", value: choice.value }, yes: "Save as template",
      text: "All settings of Step 1 except the LoRA's name. A template with the same name is replaced.",
      check: async (name) => (name.trim() ? "" : "Enter a name."),
    });
    if (done) send("keep", { name: done.value });
  }

  async function removeTemplate() {
    const name = choice.value;
    const check = async () => errorOf(await removing(path("templates", name)));
    if (await question({ title: `Delete the template ${name}?`, text: "Runs that were started with it are not changed.", yes: "Delete", danger: true, check })) await list();
  }

  document.addEventListener("fg:form", (event) => event.detail.kind === "keep" && list());
  document.addEventListener("fg:changed", list);
  list();
}
