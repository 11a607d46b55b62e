// Below the settings: new training, and templates. The form's events transfer the settings of a template.

import { question } from "./dialog.js";
import { fill, h, put } from "./dom.js";
import { call, notice } from "./api.js";
import { unsavedChanges } from "./unsaved.js";

export function mount({ element, trigger, props, watch, server }) {
  const choice = h("select", { "aria-label": "Template" });
  const apply = h("button", { type: "button", class: "fg-button", onclick: () => trigger("apply", { name: choice.value }) }, "Apply");
  const save = h("button", { type: "button", class: "fg-button", onclick: saveTemplate, title: "Saves the form's settings, without the LoRA's name" }, "Save as template…");
  const remove = h("button", { type: "button", class: "fg-button", onclick: removeTemplate, "aria-label": "Delete this template" }, "Delete");
  const fresh = h("button", { type: "button", class: "fg-button", onclick: async () => {
    const lost = await unsavedChanges(server);
    const yes = lost !== null && (!lost || await question({ title: "Start with an empty form?", text: `This discards ${lost}. Existing runs are not changed.`, yes: "Clear form" }));
    if (yes) trigger("fresh");
  } }, "New training");
  const message = h("p", { class: "fg-small", role: "status" });
  const shown = h("span", { class: "fg-templates-choice" }, choice, apply, remove);
  fill(element, h("div", { class: "fg-templates" }, fresh, save, shown), message);

  async function list() {
    const answer = await call(server, "templates", {});
    if (!answer?.templates) return;
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
    if (done) trigger("keep", { name: done.value });
  }

  async function removeTemplate() {
    const name = choice.value;
    const check = async () => {
      const answer = await call(server, "forget_template", { name });
      return answer === undefined ? "The app does not respond; try again in a moment." : answer.error ?? "";
    };
    if (await question({ title: `Delete the template ${name}?`, text: "Runs that were started with it are not changed.", yes: "Delete", danger: true, check })) await list();
  }

  watch("value", () => {
    put(message, props.value?.message ?? "");
    if (props.value?.error) notice(props.value.error);
    list();
  });
  document.addEventListener("fg:changed", list);
  list();
}
