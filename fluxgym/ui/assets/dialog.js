// A question in the middle of the page: a sentence, maybe a field, and buttons named by what they do. Escape means no.

import { fill, h, put } from "./dom.js";

let box = null;

function dialog() {
  if (!box) {
    box = h("dialog", { class: "fg-dialog fg-card" });
    (document.getElementById("fg-app") ?? document.body).append(box);
  }
  return box;
}

/**
 * Ask; resolves to {value} when the button `yes` was pressed, to null otherwise. `field` is {label, value}; `body` are elements to show;
 * `check` returns a sentence when the answer cannot be taken yet, or a promise of one, and the question stays.
 */
export function question({ title, text = "", field = null, body = [], yes = "", danger = false, check = async () => "" }) {
  const asked = dialog();
  return new Promise((resolve) => {
    const input = field ? h("input", { type: "text", id: "fg-dialog-field", value: field.value ?? "", autocomplete: "off" }) : null;
    const complaint = h("p", { class: "fg-bad", role: "alert" });
    const agree = yes ? h("button", { type: "submit", class: `fg-button ${danger ? "fg-danger" : "fg-strong"}` }, yes) : null;
    const form = h("form", { method: "dialog", onsubmit: async (event) => {
      event.preventDefault();
      if (agree) agree.disabled = true;
      const sentence = await check(input?.value ?? "");
      if (agree) agree.disabled = false;
      put(complaint, sentence ?? "");
      if (!sentence) end({ value: input?.value ?? "" });
    } },
    h("h2", { id: "fg-dialog-title" }, title), text ? h("p", {}, text) : null, ...body,
    input ? h("label", { for: "fg-dialog-field" }, field.label, input) : null, complaint,
    h("div", { class: "fg-actions" }, agree, h("button", { type: "button", class: "fg-button", onclick: () => end(null) }, yes ? "Cancel" : "Close")));
    const end = (answer) => {
      asked.onclose = null;
      asked.close();
      resolve(answer);
    };
    asked.setAttribute("aria-labelledby", "fg-dialog-title");
    asked.onclose = () => resolve(null);
    fill(asked, form);
    asked.showModal();
    (input ?? agree ?? form.querySelector("button")).focus();
    input?.select();
  });
}
