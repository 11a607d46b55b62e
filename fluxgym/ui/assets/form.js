// The server's reply to the form: errors below their fields, expected steps, checks, the command and dataset.toml, and the choice when a
// name is taken. The fields are Gradio components.

import { attribute, fill, h, put, svg } from "./dom.js";
import { notice } from "./api.js";
import * as store from "./browser_store.js";
import { go } from "./router.js";

// SVG paths in a viewBox of 16 by 16, because a font may lack the symbols.
const LEVELS = {
  ok: ["Ready", "M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13ZM5 8.2l2.1 2.1L11 6"],
  warning: ["Warning", "M8 2 1.5 13.5h13ZM8 6.5v3M8 11.4v.2"],
  error: ["Error", "M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13ZM5.5 5.5l5 5M10.5 5.5l-5 5"],
};

function symbol(level) {
  const [word, path] = LEVELS[level] ?? LEVELS.warning;
  return svg("svg", { class: "fg-symbol", viewBox: "0 0 16 16", role: "img", "aria-label": word }, svg("path", { d: path }));
}

function fieldElement(name) {
  return document.getElementById(`field-${name}`);
}

function showErrors(errors) {
  for (const old of document.querySelectorAll(".fg-error")) {
    if (errors[old.dataset.field] !== old.textContent) {
      fieldElement(old.dataset.field)?.querySelectorAll("input, textarea").forEach((input) => input.removeAttribute("aria-invalid"));
      old.remove();
    }
  }
  for (const [name, sentence] of Object.entries(errors)) {
    const field = fieldElement(name);
    if (!field || field.querySelector(".fg-error")) continue;
    field.append(h("p", { class: "fg-error fg-bad", "data-field": name, role: "alert" }, sentence));
    field.querySelectorAll("input, textarea").forEach((input) => input.setAttribute("aria-invalid", "true"));
  }
}

function scrollToError(errors) {
  const fields = [...document.querySelectorAll(".fg-field")]; // in document order
  const first = fields.find((field) => Object.keys(errors).some((name) => field === fieldElement(name)));
  if (!first) return;
  const folded = first.closest("#advanced")?.querySelector("button.label-wrap:not(.open)");
  folded?.click();
  setTimeout(() => {
    first.scrollIntoView({ block: "center", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    first.querySelector("input, textarea")?.focus({ preventScroll: true });
  }, folded ? 200 : 0);
}

/** Trigger "typed" for every change of a field (keys, paste, drop, dictation); Gradio's text boxes report printing keys only. */
function listen(trigger) {
  document.getElementById("fg-steps")?.addEventListener("input", (event) => {
    if (event.target.closest(".fg-field")) setTimeout(() => trigger("typed"));
  });
}

function explainFields(help) {
  for (const [name, sentence] of Object.entries(help)) {
    const field = fieldElement(name);
    if (field && field.title !== sentence) {
      field.title = sentence;
      field.querySelectorAll("input, textarea").forEach((input) => input.setAttribute("aria-description", sentence));
    }
  }
}

function codeSection(title, name) {
  const text = h("pre", { class: "fg-code", tabindex: 0 }, "");
  const copy = h("button", { type: "button", class: "fg-button fg-copy", onclick: async () => {
    await navigator.clipboard?.writeText(text.textContent);
    put(copy, "Copied");
    setTimeout(() => put(copy, "Copy"), 1500);
  } }, "Copy");
  return { element: h("details", { class: "fg-fold", "data-part": name }, h("summary", {}, title), h("div", { class: "fg-code-box" }, copy, text)), text };
}

export function mount({ element, trigger, props, watch }) {
  const steps = h("p", { class: "fg-steps-expected" }, h("strong", { id: "fg-expected-steps" }), h("span", { class: "fg-small" }));
  const lines = h("ul", { class: "fg-lines" });
  const message = h("p", { class: "fg-message", role: "alert" });
  const choice = h("div", { class: "fg-choice", role: "group" });
  const command = codeSection("The command that will run", "command");
  const toml = codeSection("dataset.toml", "toml");
  fill(element, steps, lines, message, choice);
  document.getElementById("fg-recipe")?.append(command.element, toml.element);

  function showChoice(taken) {
    choice.hidden = !taken;
    if (!taken) return fill(choice);
    const button = (value, text, help, kind = "") => h("button", {
      type: "button", class: `fg-button ${kind}`, "data-choice": value, title: help,
      onclick: () => { if (value) trigger("choose", { if_exists: value }); showChoice(null); },
    }, text);
    fill(choice, h("p", {}, taken.sentence),
      h("div", { class: "fg-actions" },
        taken.resume ? button("resume", taken.resume, "Continues the existing run with its own settings and images", "fg-strong") : null,
        button("new", taken.new, "Starts a new run; the existing run is not changed"),
        taken.replace ? button("replace", taken.replace, "Moves the existing run to outputs/.fluxgym/archive") : null,
        button("", "Cancel", "Starts nothing")));
    choice.querySelector("button")?.focus();
    choice.scrollIntoView({ block: "nearest" });
  }

  function show() {
    const value = props.value;
    if (!value || typeof value !== "object") return;
    explainFields(value.help ?? {});
    if (value.kept) store.forgetUnsent(value.kept);
    document.documentElement.dataset.fgDraft = value.draft ? "typed" : "none";
    showErrors(value.errors ?? {});
    const known = typeof value.steps === "number";
    put(steps.firstElementChild, known ? `${value.steps.toLocaleString()} steps` : "");
    put(steps.lastElementChild, value.explain ?? "");
    steps.hidden = !known && !value.explain;
    fill(lines, (value.lines ?? []).map((line) => h("li", { class: `fg-line-${line.level}` },
      symbol(line.level), h("span", {}, line.text))));
    put(message, value.message ?? "");
    attribute(message, "class", value.message ? "fg-message fg-bad" : "fg-message");
    put(command.text, value.command ?? "");
    put(toml.text, value.toml ?? "");
    command.element.hidden = !value.command;
    toml.element.hidden = !value.toml;
    showChoice(value.taken ?? null);
    if (value.pressed) {
      scrollToError(value.errors ?? {});
      const sentences = [...Object.values(value.errors ?? {}), ...(value.message ? [value.message] : [])];
      sentences.forEach(notice);
    }
    if (value.started) {
      store.setViewed(value.started.slug);
      go("run", value.started.slug);
      document.dispatchEvent(new CustomEvent("fg:changed"));
    }
    document.dispatchEvent(new CustomEvent("fg:form", { detail: value }));
  }
  watch("value", show);
  listen(trigger);
  show();
}
