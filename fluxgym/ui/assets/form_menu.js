// The head of step 1: when the draft was saved, and a menu with New training and the templates.

import { now, timeOfDay } from "./clock.js";
import { question } from "./dialog.js";
import { fill, h, put } from "./dom.js";
import { errorOf, get, path, remove as removing } from "./api.js";
import { draftState, send } from "./form.js";
import { newTraining } from "./load_run.js";
import { popupMenu } from "./popup.js";
import { askToReplace, REPLACES_TEMPLATE } from "./session_actions.js";

const UNSAVED_MS = 2000; // an answer takes less

/** @type {string[]} */
let templates = [];

/** Request the names of the templates. */
async function list() {
  const { value: answer } = await get("templates");
  if (answer) templates = answer.templates;
}

/** Save the form's settings as a template. */
async function save() {
  const done = await question({
    title: "Save these settings as a template", field: { label: "Name of the template", value: "" }, yes: "Save as template",
    text: "All settings except the LoRA’s name.",
    check: async (name) => (name.trim() ? "" : "Enter a name."),
  });
  if (!done) return;
  const name = done.value.trim();
  const isTaken = templates.includes(name);
  if (!isTaken || await askToReplace(name)) send("save_template", { name, agreed: isTaken ? [REPLACES_TEMPLATE] : [] });
}

/** A select of the templates, for a dialog. */
function choice() {
  return h("select", { class: "in", "aria-label": "Template" }, templates.map((name) => h("option", { value: name }, name)));
}

/** Fill the form with a template. */
async function apply() {
  const select = choice();
  if (await question({ title: "Apply a template", text: "The LoRA name and a trigger word that you entered do not change.", body: [select], yes: "Apply" })) send("apply_template", { name: select.value });
}

/** Delete a template. */
async function remove() {
  const select = choice();
  const check = async () => errorOf(await removing(path("templates", select.value)));
  if (await question({ title: "Delete a template", text: "Runs that were started with it are not changed. This cannot be undone.", body: [select], yes: "Delete", danger: true, check })) await list();
}

/** The items of the menu; those for templates only if there are some. */
function items() {
  const always = [{ text: "New training", onclick: newTraining }, { text: "Save as template…", onclick: save }];
  if (!templates.length) return always;
  return [always[0], { text: "Apply a template…", onclick: apply }, always[1], { text: "Delete a template…", danger: true, onclick: remove }];
}

/** @param {{ element: HTMLElement }} part */
export function mount({ element }) {
  const saved = h("span", { class: "small faint fg-draft" });
  fill(element, h("header", { class: "card-head" }, h("h1", { class: "vh" }, "Train a LoRA"),
    h("h2", { id: "fg-step-1" }, h("span", { class: "num", "aria-hidden": "true" }, "1"), h("span", { class: "vh" }, "Step 1: "), "LoRA"), saved, popupMenu({ label: "More for this form", items })));
  /** @type {number | undefined} */
  let timer;
  function showUnsaved() {
    timer = undefined;
    const { isSaved, isKept } = draftState();
    if (!isSaved) put(saved, isKept ? "Not saved yet; kept in this browser" : "Not saved yet; leave this tab open");
  }
  document.addEventListener("fg:edited", () => { timer ??= setTimeout(showUnsaved, UNSAVED_MS); }); // also while the user goes on typing
  document.addEventListener("fg:connection", showUnsaved);
  document.addEventListener("fg:answer", ({ detail }) => {
    const { isSaved, canBeFound } = draftState();
    if (!isSaved) return;
    clearTimeout(timer);
    timer = undefined;
    if (detail.draft === false || detail.started) put(saved, ""); // the form shows a run, or nothing
    else if (detail.kept) put(saved, canBeFound ? `Draft saved ${timeOfDay(now())}` : "Saved for this tab only; this browser keeps nothing");
  });
  document.addEventListener("fg:changed", list);
  list();
}
