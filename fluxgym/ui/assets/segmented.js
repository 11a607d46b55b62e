// A segmented control: one of its buttons is pressed; Left and Right move within it, and it is one tab stop.

import { attribute, h, keyed, put } from "./dom.js";

/** @type {Record<string, number>} */
const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

/**
 * The control. Returns {element, show}.
 * @param {{ label: string, choose: (value: string) => void }} options `choose` is called with the chosen value
 */
export function segmented({ label, choose }) {
  const element = h("div", { class: "seg", role: "group", "aria-label": label });
  const buttons = () => /** @type {HTMLButtonElement[]} */ ([...element.children]);
  const pressed = () => buttons().findIndex((button) => button.getAttribute("aria-pressed") === "true");

  /**
   * @param {[string, string][]} choices value and text of each button
   * @param {string} value the pressed one
   */
  function show(choices, value) {
    keyed(element, choices, ([name]) => name, () => h("button", { type: "button" }), (button, [name, text]) => {
      put(button, text);
      attribute(button, "aria-pressed", String(name === value));
      attribute(button, "tabindex", name === value ? 0 : -1);
    });
  }
  element.addEventListener("click", (event) => {
    const button = /** @type {Element} */ (event.target).closest("button");
    if (button) choose(button.dataset.key ?? "");
  });
  element.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    const all = buttons();
    const next = all.at((pressed() + step) % all.length) ?? all[0];
    next.focus();
    choose(next.dataset.key ?? "");
  });
  return { element, show };
}
