// The form: sends its events, and shows their answers: errors below their fields, expected steps, checks, the command and dataset.toml, and
// the choice when a name is taken. The fields are Gradio components; their values change only by typing and by APPLY_PATCH (form.py).

import { attribute, fill, h, put, svg } from "./dom.js";
import * as store from "./browser_store.js";
import { settled } from "./images.js";
import { notice } from "./notices.js";
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

const state = { request: 0, shown: 0, source: "", model: "", trigger: null };

/** The slug of the run whose images the form shows, "" for the draft's own. */
export const source = () => state.source;

/** Show the images of another source, which an edit of the images has changed. */
export function setSource(next) {
  state.source = next;
}

/** Send an event of the form; only the last of several edits counts (`input`), every other event is answered (`select`). */
export function send(kind, details = {}) {
  state.request += 1;
  const event = { request: state.request, kind, draft: store.draft(), source: state.source, model: state.model, ...details };
  state.trigger?.(kind === "typed" ? "input" : "select", event);
}

/** A field was edited: "typed", or "model" for the base model. Waits until Gradio has the new value. */
export function edited(kind = "typed") {
  setTimeout(() => send(kind));
}

/** Save the values of all fields in the browser until the app confirms the request that carries them. */
export function saveUnsent(values) {
  store.keepUnsent(state.request, values, state.source);
}

/** Send an edit for every change of a field (keys, paste, drop, dictation); Gradio's text boxes report printing keys only. */
function listen() {
  document.addEventListener("click", (event) => event.target.closest("#start") && start());
  document.getElementById("fg-train")?.addEventListener("input", (event) => {
    if (event.target.closest(".fg-field")) edited();
  });
  document.addEventListener("fg:connection", (event) => event.detail && store.unsent() && edited());
}

let isStarting = false;

/** Start with the form's settings once all edits of the images are saved; a second press waits for the first one's answer. */
async function start(details = {}) {
  if (isStarting) return;
  isStarting = true;
  setTimeout(() => { isStarting = false; }, 15_000); // if no answer comes
  await settled();
  send(details.if_exists ? "choose" : "start", details);
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
      onclick: () => { if (value) start({ if_exists: value }); showChoice(null); },
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
    if (!value?.request || value.request <= state.shown) return; // a later event was answered already
    if (value.kind === "start" || value.kind === "choose") isStarting = false;
    if (value.kept) store.forgetUnsent(value.kept);
    const [sent, next] = value.source;
    if (state.source === sent && (sent !== next || value.reload_images)) {
      state.source = next;
      document.dispatchEvent(new CustomEvent("fg:images", { detail: next }));
    }
    if (value.model !== undefined) state.model = value.model;
    if (value.notice) notice(value.notice);
    if (!value.errors) { // an event that says nothing about the form
      if (value.message) notice(value.message);
      return;
    }
    state.shown = value.request;
    explainFields(value.help ?? {});
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
      if (value.message) notice(value.message);
    }
    if (value.started) {
      store.setViewed(value.started.slug);
      go("run", value.started.slug);
      document.dispatchEvent(new CustomEvent("fg:changed"));
    }
    document.dispatchEvent(new CustomEvent("fg:form", { detail: value }));
  }
  watch("value", show);
  state.trigger = trigger;
  listen();
  send("restore", { viewed: store.viewed() ?? "", unsent: JSON.stringify(store.unsent()) });
}
