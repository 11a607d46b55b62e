// Step 3: what the training costs, what is wrong, Start, what passed, and what will run. The element is the form's Gradio element.

import { copyText } from "./copy.js";
import { attribute, emit, fill, h, keyed, put } from "./dom.js";
import { describeFields, goToField, showFields } from "./fields.js";
import { connect } from "./form.js";
import { icon } from "./icons.js";
import { notice } from "./notices.js";
import { ahead } from "./queue.js";
import * as store from "./browser_store.js";
import { go } from "./router.js";
import { followConnection, start, startAnswered, takenDialog } from "./start.js";
import { plural } from "./text.js";

/** @import { Child } from "./dom.js" */
/** @import { FormShown, GradioPart } from "./form.js" */
/** @import { Ahead } from "./queue.js" */
/** @import { FormAnswer, FormLine, FormSetup, ImagePage } from "./types.js" */

/** @typedef {{ title: HTMLElement, text: HTMLElement, button: HTMLElement }} StartBar */

const MAX_LINK = 120; // a longer sentence is shown in full beside its field
const LEVELS = { ok: ["okc", "good", "Ready"], warning: ["alert", "warn", "Warning"], error: ["badc", "bad", "Error"] };

/**
 * Tell the style sheet the height of the column, which stays in view.
 * @param {HTMLElement} element in the column
 */
function reportHeight(element) {
  const column = /** @type {HTMLElement} */ (element.closest(".three"));
  new ResizeObserver(() => column.style.setProperty("--fg-column-height", `${column.offsetHeight}px`)).observe(column);
}

/** @param {FormLine["level"]} level */
function symbol(level) {
  const [name, color, title] = LEVELS[level] ?? LEVELS.warning;
  return [icon(name, `i ${color}`), h("span", { class: "vh" }, `${title}: `)];
}

/**
 * What a sentence says is wrong, without what to do about it: up to the first colon, semicolon or point if it is long.
 * @param {string} text
 */
const gist = (text) => (text.length > MAX_LINK ? text.replace(/[:;.] .*$/s, ".") : text);

/** @param {FormLine} result */
function line({ level, text, field, images, num_images: numImages }) {
  const [mark, title] = symbol(level);
  const isLink = level !== "ok" && field && !images;
  const content = isLink ? h("button", { type: "button", class: "link", onclick: () => goToField(field) }, level === "error" ? gist(text) : text) : text;
  const [what, press] = images === "unused_caption" ? ["Remove", () => emit("fg:remove-unused", numImages)] : [`Show ${numImages}`, () => emit("fg:filter", images)];
  const show = images ? h("button", { type: "button", class: "link", onclick: press }, what) : null;
  return h("li", { class: `fg-line-${level}` }, mark, h("span", {}, title, content, show && " ", show));
}

/**
 * Show lines in a list; unchanged ones stay.
 * @param {Element} list
 * @param {FormLine[]} lines
 */
const showLines = (list, lines) => keyed(list, lines, (one) => JSON.stringify(one), line, () => {});

/**
 * A text to read and copy. Returns {element, text}.
 * @param {string} title
 * @param {string} name
 */
function codeSection(title, name) {
  const text = h("pre", { class: "log fg-code", tabindex: 0, "aria-label": title }, "");
  const copy = h("button", { type: "button", class: "btn s fg-copy", onclick: () => copyText(text) }, "Copy");
  return { element: h("div", { class: "fg-code-box", "data-part": name }, h("div", { class: "line" }, h("h3", { class: "grow" }, title), copy), text), text };
}

/**
 * @param {Child} summary
 * @param {Child[]} content
 */
function fold(summary, ...content) {
  return h("details", {}, h("summary", {}, icon("chev", "i chev"), summary), ...content);
}

/**
 * What has to be done before Start: "Fix 1 setting", "Fix 2 things".
 * @param {FormLine[]} errors
 * @param {FormSetup["settings"]} known
 */
function toFix(errors, known) {
  const settings = errors.filter(({ field }) => field in known);
  return settings.length === errors.length ? `Fix ${plural(errors.length, "setting")}` : `Fix ${plural(errors.length, "thing")}`;
}

class TrainColumn {
  /** @type {FormLine[]} */
  errors = [];
  /** @type {Ahead} */
  queue = { ahead: 0, sentence: "" };
  /** @type {number | null} as step 2 counts them, null before it has */
  numImages = null;
  isUploading = false;
  /** @type {FormShown | null} */
  answer = null;

  /**
   * @param {HTMLElement} element
   * @param {HTMLElement} below the slot below Start
   * @param {FormSetup["settings"]} table
   */
  constructor(element, below, table) {
    this.table = table;
    this.steps = h("p", { class: "headline", id: "fg-expected-steps" });
    this.formula = h("p", { class: "soft", id: "fg-formula" });
    this.time = h("dd", { id: "fg-time" });
    this.timeNote = h("p", { class: "small soft" });
    this.times = h("div", {}, h("dl", { class: "kv" }, h("dt", {}, "Time"), this.time), this.timeNote);
    this.problems = h("ul", { class: "checks fg-lines fg-problems" });
    this.checking = h("p", { class: "soft", role: "status", hidden: true }, icon("clock"), " Images and settings are being checked…");
    this.message = h("p", { class: "help bad fg-message", role: "alert" });
    this.taken = takenDialog();
    fill(element, h("div", { class: "stack" }, h("div", {}, this.steps, this.formula), this.times, this.problems, this.checking, this.message), this.taken.element);
    this.why = h("p", { class: "small soft fg-why", id: "fg-why" });
    this.passedTitle = h("span", {});
    this.passed = h("ul", { class: "checks soft fg-lines" });
    this.passedFold = fold(this.passedTitle, this.passed);
    this.command = codeSection("Command", "command");
    this.toml = codeSection("dataset.toml", "toml");
    this.recipe = fold(h("span", { class: "fg-plain" }, "What will run"), this.command.element, this.toml.element);
    fill(below, h("div", { class: "stack" }, this.why, this.passedFold, this.recipe));
    this.bar = this.startBar();
    reportHeight(element);
    this.showLoading();
  }

  /** Until the first answer nothing is known, so nothing can be started. */
  showLoading() {
    for (const part of [this.times, this.recipe, this.passedFold]) part.hidden = true;
    put(this.why, "Loading…");
    setBlocked(this.bar.button, true);
    const button = document.getElementById("start");
    if (button) setBlocked(button, true);
  }

  /** The bar at the window's edge, in which a narrow page shows Start. */
  startBar() {
    const [title, text] = [h("p", { class: "strong" }), h("p", { class: "small soft cut" })];
    const button = h("button", { type: "button", class: "btn primary big", onclick: () => start() });
    document.getElementById("fg-train")?.append(h("div", { class: "startbar" }, h("div", {}, title, text), button));
    return { title, text, button };
  }

  /**
   * Show an answer of the form.
   * @param {FormShown} answer
   */
  show(answer) {
    this.answer = answer;
    put(this.message, answer.message ?? "");
    this.message.hidden = !answer.message;
    put(this.command.text, answer.command);
    put(this.toml.text, answer.toml);
    this.recipe.hidden = !answer.command;
    this.checking.hidden = !answer.checking;
    this.showChecks(answer);
  }

  /**
   * Whether an answer is about the images that step 2 shows: not while an upload, or the answer to it, is under way.
   * @param {FormShown} answer
   */
  isCurrent({ images }) {
    return !this.isUploading && (this.numImages === null || this.numImages === images);
  }

  /**
   * Show what the training costs, what is wrong, Start, and what passed; nothing about images that are not there any more.
   * @param {FormShown} answer
   */
  showChecks(answer) {
    const isCurrent = this.isCurrent(answer);
    const lines = answer.lines.filter(({ field }) => isCurrent || field !== "images");
    const passed = lines.filter(({ level }) => level === "ok");
    this.errors = lines.filter(({ level }) => level === "error");
    showLines(this.problems, lines.filter(({ level }) => level !== "ok"));
    showLines(this.passed, passed);
    put(this.passedTitle, `${plural(passed.length, "check")} passed`);
    this.passedFold.hidden = !passed.length;
    this.showCosts(answer);
    this.showStart();
  }

  /**
   * Show the expected steps and their time, unless they count other images than step 2 shows.
   * @param {FormShown} answer
   */
  showCosts(answer) {
    const { steps, explain, time, time_note: timeNote } = answer;
    const isCurrent = this.isCurrent(answer);
    const known = typeof steps === "number" && isCurrent;
    put(this.time, time || "not known yet");
    put(this.timeNote, timeNote ?? "");
    this.times.hidden = !known || !timeNote;
    put(this.steps, known ? plural(steps, "step") : "");
    this.steps.hidden = !known;
    put(this.formula, known ? explain : isCurrent ? "The number of steps appears here when there are images and nothing is wrong." : "Counting the images…");
  }

  /** Show what Start does, or what has to be fixed before. */
  showStart() {
    const label = this.queue.ahead ? `Start after ${plural(this.queue.ahead, "run")}` : "Start training";
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
    put(this.bar.title, isBlocked ? reason : [this.steps.textContent, this.answer?.time].filter(Boolean).join(" · "));
    put(this.bar.text, isBlocked ? this.errors[0].text : this.queue.sentence || (this.formula.textContent ?? ""));
  }

  /**
   * Show what is known about the number of images that step 2 counts.
   * @param {Pick<ImagePage, "count">} counts
   */
  showImages({ count }) {
    this.numImages = count;
    if (this.answer) this.showChecks(this.answer);
  }

  /** @param {boolean} isUploading */
  showUploading(isUploading) {
    this.isUploading = isUploading;
    if (this.answer) this.showChecks(this.answer);
  }
}

/**
 * Set a button's text without replacing its nodes, which may be Gradio's, and whether it is blocked.
 * @param {Element} button
 * @param {string} text
 * @param {boolean} isBlocked
 */
function setButton(button, text, isBlocked) {
  const node = [...button.childNodes].find((child) => child.nodeType === Node.TEXT_NODE && child.nodeValue?.trim());
  if (!node) button.append(text);
  else if (node.nodeValue !== text) node.nodeValue = text;
  setBlocked(button, isBlocked);
  attribute(button, "aria-describedby", "fg-why");
}

/**
 * @param {Element} button
 * @param {boolean} isBlocked
 */
const setBlocked = (button, isBlocked) => attribute(button, "aria-disabled", isBlocked ? "true" : null);

/**
 * Show what Start has done: the dialog for a taken name, the first error, or the page of the run that was started.
 * @param {TrainColumn} column
 * @param {FormAnswer} answer
 */
function showOutcome(column, { kind, taken, pressed, started, message }) {
  if (kind === "start") startAnswered();
  if (taken) column.taken.ask(taken);
  if (pressed && !started && column.errors.length) goToField(column.errors[0].field);
  if (pressed && message) notice(message);
  if (!started) return;
  store.setViewed(started.slug);
  go("run", started.slug);
  emit("fg:changed");
}

/** @param {GradioPart<FormSetup | FormAnswer>} part whose value is what the form knows from the start, then the latest answer */
export function mount({ element, trigger, props, watch }) {
  const { settings, num_devices: numDevices } = /** @type {FormSetup} */ (props.value);
  describeFields(settings);
  const column = new TrainColumn(element, /** @type {HTMLElement} */ (document.getElementById("fg-recipe")), settings);
  document.addEventListener("click", (event) => event.target instanceof Element && event.target.closest("#start") && start());
  followConnection();
  document.addEventListener("fg:counts", (event) => column.showImages(event.detail));
  document.addEventListener("fg:uploading", (event) => column.showUploading(event.detail));
  document.addEventListener("fg:answer", (event) => showOutcome(column, event.detail));
  document.addEventListener("fg:form", (event) => {
    const answer = event.detail;
    showFields(answer);
    column.show(answer);
    document.documentElement.dataset.fgForm = "known";
  });
  document.addEventListener("fg:queue", (event) => {
    column.queue = ahead(event.detail, numDevices);
    if (column.answer) column.showStart();
  });
  connect(/** @type {GradioPart<FormAnswer>} */ ({ element, trigger, props, watch }));
}
