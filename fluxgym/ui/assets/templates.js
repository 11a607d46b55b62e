// Below the settings: a new training, and templates: settings under a name, applied to the form or kept from it. The form's own events carry the settings.

import { question } from "./dialog.js";
import { fill, h, put } from "./dom.js";
import { call, notice } from "./api.js";
import { heldIn } from "./unsaved.js";

export function mount({ element, trigger, props, watch, server }) {
  const choice = h("select", { "aria-label": "Template" });
  const apply = h("button", { type: "button", class: "fg-button", onclick: () => trigger("apply", { name: choice.value }) }, "Apply");
  const keep = h("button", { type: "button", class: "fg-button", onclick: keepThis, title: "Keeps what the form holds, without the LoRA's name" }, "Keep as template…");
  const remove = h("button", { type: "button", class: "fg-button", onclick: removeThis, "aria-label": "Delete this template" }, "Delete");
  const fresh = h("button", { type: "button", class: "fg-button", onclick: async () => {
    const lost = await heldIn(server);
    const yes = lost !== null && (!lost || await question({ title: "Begin a new training?", text: `The form is emptied: ${lost} will be gone. Runs keep theirs.`, yes: "Empty the form" }));
    if (yes) trigger("fresh");
  } }, "New training");
  const said = h("p", { class: "fg-small", role: "status" });
  const shown = h("span", { class: "fg-templates-choice" }, choice, apply, remove);
  fill(element, h("div", { class: "fg-templates" }, fresh, keep, shown), said);

  async function list() {
    const answer = await call(server, "templates", {});
    if (!answer?.templates) return;
    const before = choice.value;
    fill(choice, answer.templates.map((name) => h("option", { value: name }, name)));
    if (answer.templates.includes(before)) choice.value = before;
    shown.hidden = answer.templates.length === 0;
  }

  async function keepThis() {
    const done = await question({
      title: "Keep these settings as a template", field: { label: "Name of the template", value: choice.value }, yes: "Keep as template",
      text: "Everything in Step 1 but the LoRA's name. A template of the same name is replaced.",
      check: async (name) => (name.trim() ? "" : "Type a name for it."),
    });
    if (done) trigger("keep", { name: done.value });
  }

  async function removeThis() {
    const name = choice.value;
    const check = async () => {
      const answer = await call(server, "forget_template", { name });
      return answer === undefined ? "The app does not answer; try again in a moment." : answer.error ?? "";
    };
    if (await question({ title: `Delete the template ${name}?`, text: "Runs that were started with it stay as they are.", yes: "Delete", danger: true, check })) await list();
  }

  watch("value", () => {
    put(said, props.value?.said ?? "");
    if (props.value?.error) notice(props.value.error);
    list();
  });
  document.addEventListener("fg:changed", list);
  list();
}
