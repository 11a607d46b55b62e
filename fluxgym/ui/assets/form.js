// What the form answers: a sentence beside the field that it is about, the expected steps, the checks before Start, the command and the
// TOML to read, and the choice when a name is taken. The fields themselves are Gradio's.

import { attribute, fill, h, put, svg } from "./dom.js";
import { notice } from "./api.js";
import * as memory from "./browser_store.js";
import { go } from "./router.js";

// Drawn, not written: a font may lack the symbols. Each is a path on a field of 16 by 16.
const LEVELS = {
  ok: ["Ready", "M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13ZM5 8.2l2.1 2.1L11 6"],
  warning: ["Mind", "M8 2 1.5 13.5h13ZM8 6.5v3M8 11.4v.2"],
  error: ["Missing", "M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13ZM5.5 5.5l5 5M10.5 5.5l-5 5"],
};

function symbol(level) {
  const [word, path] = LEVELS[level] ?? LEVELS.warning;
  return svg("svg", { class: "fg-symbol", viewBox: "0 0 16 16", role: "img", "aria-label": word }, svg("path", { d: path }));
}

function box(name) {
  return document.getElementById(`field-${name}`);
}

function complain(errors) {
  for (const old of document.querySelectorAll(".fg-complaint")) {
    if (errors[old.dataset.field] !== old.textContent) {
      box(old.dataset.field)?.querySelectorAll("input, textarea").forEach((input) => input.removeAttribute("aria-invalid"));
      old.remove();
    }
  }
  for (const [name, sentence] of Object.entries(errors)) {
    const field = box(name);
    if (!field || field.querySelector(".fg-complaint")) continue;
    field.append(h("p", { class: "fg-complaint fg-bad", "data-field": name, role: "alert" }, sentence));
    field.querySelectorAll("input, textarea").forEach((input) => input.setAttribute("aria-invalid", "true"));
  }
}

function bringIntoView(errors) {
  const first = Object.keys(errors).map(box).find(Boolean);
  if (!first) return;
  const folded = first.closest("#advanced")?.querySelector("button.label-wrap:not(.open)");
  folded?.click();
  setTimeout(() => {
    first.scrollIntoView({ block: "center", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    first.querySelector("input, textarea")?.focus({ preventScroll: true });
  }, folded ? 200 : 0);
}

/** Tell of every way to change a field: keys, paste, drop, dictation. Gradio's text boxes tell of printing keys alone. */
function listen(trigger) {
  document.getElementById("fg-steps")?.addEventListener("input", (event) => {
    if (event.target.closest(".fg-field")) setTimeout(() => trigger("typed"));
  });
}

function explainFields(help) {
  for (const [name, sentence] of Object.entries(help)) {
    const field = box(name);
    if (field && field.title !== sentence) {
      field.title = sentence;
      field.querySelectorAll("input, textarea").forEach((input) => input.setAttribute("aria-description", sentence));
    }
  }
}

function folded(title, name) {
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
  const said = h("p", { class: "fg-said", role: "alert" });
  const choice = h("div", { class: "fg-choice", role: "group" });
  const command = folded("The command that will run", "command");
  const toml = folded("dataset.toml", "toml");
  fill(element, steps, lines, said, choice);
  document.getElementById("fg-recipe")?.append(command.element, toml.element);

  function offer(taken) {
    choice.hidden = !taken;
    if (!taken) return fill(choice);
    const button = (value, text, help, kind = "") => h("button", {
      type: "button", class: `fg-button ${kind}`, "data-choice": value, title: help,
      onclick: () => { if (value) trigger("choose", { if_exists: value }); offer(null); },
    }, text);
    fill(choice, h("p", {}, taken.sentence),
      h("div", { class: "fg-actions" },
        taken.resume ? button("resume", taken.resume, "Goes on with the run that is there, with its own settings and images", "fg-strong") : null,
        button("new", taken.new, "Starts beside it; nothing of the other run is touched"),
        taken.replace ? button("replace", taken.replace, "The run that is there is moved to outputs/.fluxgym/archive and kept") : null,
        button("", "Cancel", "Leaves everything as it is")));
    choice.querySelector("button")?.focus();
    choice.scrollIntoView({ block: "nearest" });
  }

  function show() {
    const value = props.value;
    if (!value || typeof value !== "object") return;
    explainFields(value.help ?? {});
    if (value.kept) memory.forgetUnsent(value.kept);
    document.documentElement.dataset.fgDraft = value.draft ? "typed" : "none";
    complain(value.errors ?? {});
    const known = typeof value.steps === "number";
    put(steps.firstElementChild, known ? `${value.steps.toLocaleString()} steps` : "");
    put(steps.lastElementChild, value.explain ?? "");
    steps.hidden = !known && !value.explain;
    fill(lines, (value.lines ?? []).map((line) => h("li", { class: `fg-line-${line.level}` },
      symbol(line.level), h("span", {}, line.text))));
    put(said, value.said ?? "");
    attribute(said, "class", value.said ? "fg-said fg-bad" : "fg-said");
    put(command.text, value.command ?? "");
    put(toml.text, value.toml ?? "");
    command.element.hidden = !value.command;
    toml.element.hidden = !value.toml;
    offer(value.taken ?? null);
    if (value.pressed) {
      bringIntoView(value.errors ?? {});
      const sentences = [...Object.values(value.errors ?? {}), ...(value.said ? [value.said] : [])];
      sentences.forEach(notice);
    }
    if (value.started) {
      memory.look(value.started.slug);
      go("run", value.started.slug);
      document.dispatchEvent(new CustomEvent("fg:changed"));
    }
    document.dispatchEvent(new CustomEvent("fg:form", { detail: value }));
  }
  watch("value", show);
  listen(trigger);
  show();
}
