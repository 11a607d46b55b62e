// Step 3: what the training costs, what is wrong, Start, what passed, and what will run. The element is the form's Gradio element.

import { attribute, fill, h, keyed, put } from "./dom.js";
import { describeFields, goToField, setChoices, showFields } from "./fields.js";
import { connect } from "./form.js";
import { icon } from "./icons.js";
import { notice } from "./notices.js";
import { ahead } from "./queue.js";
import * as store from "./browser_store.js";
import { go } from "./router.js";
import { start, startAnswered, takenDialog } from "./start.js";

const MAX_LINK = 120; // a longer sentence stands only beside its field
const LEVELS = { ok: ["okc", "good", "Ready"], warning: ["alert", "warn", "Warning"], error: ["badc", "bad", "Error"] };

function symbol(level) {
  const [name, color, word] = LEVELS[level] ?? LEVELS.warning;
  return [icon(name, `i ${color}`), h("span", { class: "vh" }, `${word}: `)];
}

function line({ level, text, field, label }) {
  const [mark, word] = symbol(level);
  const short = text.length > MAX_LINK && label ? `${label}: see what is wrong` : text;
  const link = level === "error" && field;
  const content = link ? h("button", { type: "button", class: "link", onclick: () => goToField(field) }, short) : text;
  return h("li", { class: `fg-line-${level}` }, mark, h("span", {}, word, content));
}

/** Show lines in a list; unchanged ones stay. */
const showLines = (list, lines) => keyed(list, lines, (one) => JSON.stringify(one), line, () => {});

function codeSection(title, name) {
  const text = h("pre", { class: "log fg-code", tabindex: 0, "aria-label": title }, "");
  const copy = h("button", { type: "button", class: "btn s fg-copy", onclick: async () => {
    await navigator.clipboard?.writeText(text.textContent);
    put(copy, "Copied");
    setTimeout(() => put(copy, "Copy"), 1500);
  } }, "Copy");
  return { element: h("div", { class: "fg-code-box", "data-part": name }, h("div", { class: "line" }, h("h3", { class: "grow" }, title), copy), text), text };
}

function fold(summary, ...content) {
  return h("details", {}, h("summary", {}, icon("chev", "i chev"), summary), ...content);
}

/** What has to be done before Start: "Fix 1 setting", "Fix 2 things first". */
function toFix(errors, known) {
  const settings = errors.filter(({ field }) => field in known);
  const noun = settings.length === errors.length ? "setting" : "thing";
  return `Fix ${errors.length} ${noun}${errors.length === 1 ? "" : "s"}${noun === "thing" ? " first" : ""}`;
}

class TrainColumn {
  constructor(element, below, table) {
    this.table = table;
    this.errors = [];
    this.queue = { ahead: 0, sentence: "" };
    this.numImages = null;
    this.answer = null;
    this.steps = h("p", { class: "headline", id: "fg-expected-steps" });
    this.formula = h("p", { class: "soft", id: "fg-formula" });
    this.problems = h("ul", { class: "checks fg-lines fg-problems" });
    this.captions = h("div", { class: "note warn", hidden: true });
    this.message = h("p", { class: "help bad fg-message", role: "alert" });
    this.taken = takenDialog();
    fill(element, h("div", { class: "stack" }, h("div", {}, this.steps, this.formula), this.problems, this.captions, this.message), this.taken.element);
    this.why = h("p", { class: "small soft fg-why", id: "fg-why" });
    this.passedTitle = h("span", {});
    this.passed = h("ul", { class: "checks soft fg-lines" });
    this.passedFold = fold(this.passedTitle, this.passed);
    this.command = codeSection("Command", "command");
    this.toml = codeSection("dataset.toml", "toml");
    this.recipe = fold(h("span", { class: "fg-plain" }, "What will run"), this.command.element, this.toml.element);
    fill(below, h("div", { class: "stack" }, this.why, this.passedFold, this.recipe));
    this.bar = this.startBar();
  }

  startBar() {
    const bar = {
      title: h("p", { class: "strong" }), text: h("p", { class: "small soft cut" }),
      button: h("button", { type: "button", class: "btn primary big", onclick: () => start() }),
    };
    bar.element = h("div", { class: "startbar" }, h("div", {}, bar.title, bar.text), bar.button);
    document.getElementById("fg-train")?.append(bar.element);
    return bar;
  }

  /** Show an answer of the form. */
  show(answer) {
    this.answer = answer;
    const lines = answer.lines.map((one) => ({ ...one, label: this.table[one.field]?.label ?? "" }));
    this.errors = lines.filter(({ level }) => level === "error");
    const passed = lines.filter(({ level }) => level === "ok");
    showLines(this.problems, lines.filter(({ level }) => level !== "ok"));
    showLines(this.passed, passed);
    put(this.passedTitle, `${passed.length} ${passed.length === 1 ? "check" : "checks"} passed`);
    this.passedFold.hidden = !passed.length;
    put(this.message, answer.message ?? "");
    this.message.hidden = !answer.message;
    put(this.command.text, answer.command);
    put(this.toml.text, answer.toml);
    this.recipe.hidden = !answer.command;
    this.showCosts();
    this.showStart();
  }

  /** Show the expected steps, unless they count other images than step 2 shows. */
  showCosts() {
    const { steps, explain, images } = this.answer;
    const isCurrent = this.numImages === null || this.numImages === images;
    const known = typeof steps === "number" && isCurrent;
    put(this.steps, known ? `${steps.toLocaleString("en-US")} ${steps === 1 ? "step" : "steps"}` : "");
    this.steps.hidden = !known;
    put(this.formula, known ? explain : isCurrent ? "The number of steps appears here when there are images and nothing is wrong." : "Counting the images…");
  }

  /** Show what Start does, or what has to be fixed before. */
  showStart() {
    const label = this.queue.ahead ? `Start after ${this.queue.ahead} ${this.queue.ahead === 1 ? "run" : "runs"}` : "Start training";
    const isBlocked = this.errors.length > 0;
    const reason = isBlocked ? toFix(this.errors, this.table) : "";
    if (isBlocked) {
      const link = h("button", { type: "button", class: "link", onclick: () => goToField(this.errors[0].field) }, reason);
      if (this.why.textContent !== reason) fill(this.why, this.errors[0].field ? link : reason);
    } else put(this.why, this.queue.sentence);
    this.why.hidden = !this.why.textContent;
    const button = document.getElementById("start");
    if (button) setButton(button, label, isBlocked);
    setButton(this.bar.button, label, isBlocked);
    put(this.bar.title, isBlocked ? reason : this.steps.textContent);
    put(this.bar.text, isBlocked ? this.errors[0].text : this.queue.sentence || this.formula.textContent);
  }

  /** Show captions that are missing, as step 2 counts them. */
  showImages({ count, captioned, no_trigger: noTrigger }) {
    this.numImages = count;
    const missing = count - captioned;
    const trigger = this.answer?.trigger;
    const parts = [];
    if (missing && trigger) parts.push(`${missing} ${missing === 1 ? "image has" : "images have"} no caption and ${missing === 1 ? "trains" : "train"} on the trigger word alone.`);
    if (noTrigger) parts.push(`${noTrigger} ${noTrigger === 1 ? "caption lacks" : "captions lack"} the trigger word.`);
    const text = parts.join(" ");
    this.captions.hidden = !text;
    if (this.captions.dataset.text !== text) {
      this.captions.dataset.text = text;
      const show = (filter) => document.dispatchEvent(new CustomEvent("fg:filter", { detail: filter }));
      fill(this.captions, icon("alert"), h("p", {}, text, " ",
        h("button", { type: "button", class: "link", onclick: () => show(missing ? "no_caption" : "no_trigger") }, `Show ${missing || noTrigger}`)));
    }
    if (this.answer) this.showCosts();
  }
}

/** Set a button's text without replacing its nodes, which may be Gradio's, and whether it is blocked. */
function setButton(button, text, isBlocked) {
  const node = [...button.childNodes].find((child) => child.nodeType === 3 && child.data.trim());
  if (!node) button.append(text);
  else if (node.data !== text) node.data = text;
  attribute(button, "aria-disabled", isBlocked ? "true" : null);
  attribute(button, "aria-describedby", "fg-why");
}

export function mount({ element, trigger, props, watch }) {
  const { settings, choices, num_devices: numDevices } = props.value;
  setChoices(choices);
  describeFields(settings);
  const column = new TrainColumn(element, document.getElementById("fg-recipe"), settings);
  document.addEventListener("click", (event) => event.target instanceof Element && event.target.closest("#start") && start());
  document.addEventListener("fg:counts", (event) => column.showImages(event.detail));
  document.addEventListener("fg:answer", ({ detail }) => { if (detail.kind === "start" || detail.kind === "choose") startAnswered(); });
  document.addEventListener("fg:form", (event) => {
    const answer = event.detail;
    showFields(answer);
    column.show(answer);
    if (answer.taken) column.taken.ask(answer.taken);
    if (answer.pressed && !answer.started && column.errors.length) goToField(column.errors[0].field);
    if (answer.pressed && answer.message) notice(answer.message);
    if (answer.started) {
      store.setViewed(answer.started.slug);
      go("run", answer.started.slug);
      document.dispatchEvent(new CustomEvent("fg:changed"));
    }
  });
  document.addEventListener("fg:queue", (event) => {
    column.queue = ahead(event.detail, numDevices);
    if (column.answer) column.showStart();
  });
  connect({ trigger, props, watch });
}
