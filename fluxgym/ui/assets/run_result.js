// A completed run: its best sample, how long it took, Download, the trigger word, and what to do next. Another epoch is one click away.

import { address } from "./api.js";
import { duration } from "./clock.js";
import { copyButton } from "./copy.js";
import { attribute, fill, h, put, redraw } from "./dom.js";
import { icon } from "./icons.js";
import { statusLine } from "./run_header.js";
import { lossText, plural } from "./text.js";

/** @import { LoraFile, LoraFiles, RunSummary, SampleMatrix, SessionRow } from "./types.js" */

/** @typedef {{ session: SessionRow, facts: RunSummary | null, files: LoraFiles, samples: SampleMatrix }} Result the parts of the run */

/**
 * The column of samples for a LoRA file: of its step, else the latest one before it; null if there is none.
 * @param {SampleMatrix} matrix
 * @param {LoraFile | null} file
 */
function columnFor(matrix, file) {
  const drawn = matrix.columns.map((column, index) => ({ column, index })).filter(({ column }) => column.images.some(Boolean));
  const { step = null } = file ?? {};
  return (step === null ? drawn : drawn.filter(({ column }) => column.step !== null && column.step <= step)).at(-1) ?? null;
}

/** @param {LoraFile} file */
function nameOf(file) {
  if (file.epoch !== null) return `epoch ${file.epoch}`;
  return file.step === null ? (file.is_final ? "the trained model" : "") : `step ${file.step}`;
}

/**
 * How long the run took, its check, and which file is offered.
 * @param {Result} run
 * @param {LoraFile | null} file
 */
function sentenceOf({ session, facts, files }, file) {
  const steps = session.progress.step;
  const took = facts?.trained_s ? `Trained in ${duration(facts.trained_s)}` : "Trained";
  const what = [steps ? plural(steps, "step") : "", facts?.num_images ? `on ${plural(facts.num_images, "image")}` : ""].filter(Boolean).join(" ");
  const loss = file && file.val_loss !== null ? `, validation loss ${lossText(file.val_loss)}` : "";
  const which = file && file.name !== files.best ? `You chose ${nameOf(file)}${loss}.` : files.why;
  const checked = file?.is_final ? "The file was loaded and checked." : ""; // of all files, the supervisor verifies this one
  return [what ? `${took}: ${what}.` : `${took}.`, session.reason || checked, which].filter(Boolean).join(" ");
}

/** The trigger word with a button that copies it. Returns {element, show(trigger)}. */
function triggerLine() {
  const trigger = h("b", { class: "mono" });
  const use = h("span", { class: "small soft" });
  const element = h("div", { class: "stack tight" }, h("p", { class: "strong" }, "Use it with the trigger word"),
    h("div", { class: "line" }, h("span", { class: "trigger" }, trigger, copyButton("Copy the trigger word", trigger)), use));
  return {
    element,
    /** @param {RunSummary | null} facts */
    show(facts) {
      put(trigger, facts?.trigger ?? "");
      put(use, facts?.use ?? "");
      element.hidden = !facts?.trigger;
    },
  };
}

/**
 * The sample of a file, which opens the viewer. Returns {element, show(samples, file)}.
 * @param {(column: number, prompt: number) => void} onopen
 */
function sampleFigure(onopen) {
  /** @type {[number, number] | null} column and prompt */
  let at = null;
  const image = h("img", { alt: "" });
  const button = h("button", { type: "button", class: "pic", onclick: () => at && onopen(...at) }, image);
  const none = h("div", { class: "pic wait" });
  const caption = h("p", { class: "small soft" });
  return {
    element: h("figure", { class: "stack tight" }, button, none, h("figcaption", {}, caption)),
    /**
     * @param {SampleMatrix} samples
     * @param {LoraFile | null} file
     */
    show(samples, file) {
      const found = columnFor(samples, file);
      const row = found ? found.column.images.findIndex(Boolean) : -1;
      const url = found?.column.images[row];
      button.hidden = !url;
      none.hidden = Boolean(url);
      put(none, samples.columns.length ? "No sample was drawn before this file was saved." : samples.empty);
      at = found && url ? [found.index, row] : null;
      if (!found || !url) {
        put(caption, "");
        return;
      }
      attribute(image, "src", address(url));
      const text = `${found.column.label}: ${samples.prompts[row]}`;
      attribute(button, "aria-label", `Sample. ${text}`);
      put(caption, file?.step === found.column.step ? text : `${text} (the last sample before this file)`);
    },
  };
}

/** Download, with the file's name and size, and where it is on the app's machine. Returns {element, show(file)}. */
function downloadLine() {
  const link = h("a", { class: "btn primary big" }, icon("download"), "Download LoRA");
  const about = h("span", { class: "small soft" });
  const path = h("code", {});
  const where = h("p", { class: "fg-path small soft" }, h("span", {}, "On the machine of the app: ", path), copyButton("Copy the path", path));
  return {
    element: h("div", { class: "stack tight" }, h("div", { class: "line fg-download" }, link, about), where),
    /** @param {LoraFile | null} file */
    show(file) {
      link.hidden = !file;
      where.hidden = !file;
      if (!file) {
        put(about, "The LoRA file is not in the run’s folder any more.");
        return;
      }
      attribute(link, "href", address(file.url));
      attribute(link, "download", file.name);
      put(path, file.path);
      put(about, [file.name, [file.size, nameOf(file)].filter(Boolean).join(", ")].join("\n"));
    },
  };
}

/**
 * @param {string} action
 * @param {string} text
 * @param {string} help
 * @param {() => unknown} onclick
 */
function actionButton(action, text, help, onclick) {
  return h("button", { type: "button", class: "btn", "data-action": action, title: help, onclick }, text);
}

/**
 * The card. Returns {element, show, setActions}.
 * @param {{ onopen: (column: number, prompt: number) => void, ontrain: () => unknown, onnew: () => unknown }} on
 */
export function runResult({ onopen, ontrain, onnew }) {
  const sample = sampleFigure(onopen);
  const status = h("p");
  const title = h("h1", { id: "fg-h-done", class: "fg-name" });
  const sentence = h("p", { class: "soft" });
  const download = downloadLine();
  const trigger = triggerLine();
  const actions = h("div", { class: "line acts result-acts" });
  const element = h("section", { class: "card fg-run-head", "aria-labelledby": "fg-h-done" }, h("div", { class: "hero" }, sample.element,
    h("div", { class: "stack hero-text" }, h("div", { class: "stack tight" }, h("p", { class: "small" }, h("a", { href: "#runs" }, "Runs")), status, title, sentence),
      download.element, trigger.element, actions)));
  return {
    element,
    /**
     * @param {Result} run
     * @param {LoraFile | null} file the chosen one
     */
    show(run, file) {
      const { session, facts, samples } = run;
      redraw(status, [session.status, session.ended], () => fill(status, statusLine(session)));
      attribute(element, "data-status", session.status);
      put(title, `${session.name} is ready`);
      put(sentence, sentenceOf(run, file));
      sample.show(samples, file);
      download.show(file);
      trigger.show(facts);
    },
    /**
     * Train further, the button that fills the form, New training and the menu.
     * @param {boolean} canTrainFurther
     * @param {Element} edit
     * @param {Element} menu
     */
    setActions(canTrainFurther, edit, menu) {
      fill(actions, canTrainFurther ? actionButton("further", "Train further…", "Continues this run with more epochs", ontrain) : null, edit,
        actionButton("new", "New training", "Empties the form on the Train page", onnew), menu);
    },
  };
}
