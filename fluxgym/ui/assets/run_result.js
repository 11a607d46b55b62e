// A completed run: its best sample, how long it took, Download, the trigger word, and what to do next. Another epoch is one click away.

import { address } from "./api.js";
import { attribute, fill, h, put } from "./dom.js";
import { icon } from "./icons.js";
import { notice } from "./notices.js";
import { duration, plural, statusLine } from "./run_header.js";

/** The column of samples for a LoRA file: of its step, else the latest one before it; null if there is none. */
function columnFor(matrix, file) {
  const drawn = matrix.columns.map((column, index) => ({ column, index })).filter(({ column }) => column.images.some(Boolean));
  if (!file || file.step === null) return drawn.at(-1) ?? null;
  return drawn.filter(({ column }) => column.step !== null && column.step <= file.step).at(-1) ?? null;
}

function nameOf(file) {
  if (file.epoch !== null) return `epoch ${file.epoch}`;
  return file.step === null ? (file.is_final ? "the trained model" : "") : `step ${file.step}`;
}

export function runResult({ onopen, ontrain, onedit, onnew }) {
  /** @type {any} the parts of the run: session, facts, files, samples */
  let state = { session: null, facts: null, files: { files: [], best: null, why: "" }, samples: { columns: [], prompts: [] } };
  /** @type {string | null} the name of the LoRA file that is offered */
  let chosen = null;
  /** @type {[number, number] | null} column and prompt */
  let shownSample = null;
  const image = h("img", { alt: "" });
  const sample = h("button", { type: "button", class: "pic", onclick: () => shownSample && onopen(...shownSample) }, image);
  const noSample = h("div", { class: "pic wait" });
  const caption = h("p", { class: "small soft" });
  const status = h("p");
  const title = h("h1", { id: "fg-h-done", class: "fg-name" });
  const sentence = h("p", { class: "soft" });
  const download = h("a", { class: "btn primary big" }, icon("download"), "Download LoRA");
  const file = h("span", { class: "small soft" });
  const trigger = h("b", { class: "mono" });
  const copy = h("button", { type: "button", class: "btn s icon quiet", "aria-label": "Copy the trigger word", onclick: copyTrigger }, icon("copy"));
  const use = h("div", { class: "stack tight" }, h("p", { class: "strong" }, "Use it with the trigger word"),
    h("div", { class: "line" }, h("span", { class: "trigger" }, trigger, copy), h("span", { class: "small soft" }, "Works in ComfyUI, Forge, and diffusers.")));
  const actions = h("div", { class: "line acts result-acts" });
  const element = h("section", { class: "card fg-run-head", "aria-labelledby": "fg-h-done" }, h("div", { class: "hero" },
    h("figure", { class: "stack tight" }, sample, noSample, h("figcaption", {}, caption)),
    h("div", { class: "stack hero-text" }, h("div", { class: "stack tight" }, h("p", { class: "small" }, h("a", { href: "#runs" }, "Runs")), status, title, sentence),
      h("div", { class: "line" }, download, file), use, actions)));

  async function copyTrigger() {
    try {
      await navigator.clipboard.writeText(trigger.textContent);
      notice("Copied.");
    } catch {
      window.getSelection()?.selectAllChildren(trigger);
      notice("The browser does not allow copying here. The trigger word is selected; press Ctrl+C.");
    }
  }

  function about() {
    const { session, facts, files } = state;
    const steps = session.progress?.step;
    const took = facts?.trained_s ? `Trained in ${duration(facts.trained_s)}` : "Trained";
    const what = [steps ? plural(steps, "step") : "", facts?.num_images ? `on ${plural(facts.num_images, "image")}` : ""].filter(Boolean).join(" ");
    const first = what ? `${took}: ${what}.` : `${took}.`;
    const picked = files.files.find((one) => one.name === chosen);
    const other = picked && picked.name !== files.best ? `You chose ${nameOf(picked)}${picked.val_loss === null ? "" : `, validation loss ${picked.val_loss.toFixed(3)}`}.` : files.why;
    return [first, session.reason || "The file was loaded and checked.", other].filter(Boolean).join(" ");
  }

  function showSample(picked) {
    const found = columnFor(state.samples, picked);
    const row = found ? found.column.images.findIndex(Boolean) : -1;
    const url = row >= 0 ? found.column.images[row] : null;
    sample.hidden = !url;
    noSample.hidden = Boolean(url);
    put(noSample, state.samples.columns.length ? "No sample was drawn before this file was saved." : state.samples.empty ?? "");
    shownSample = url ? [found.index, row] : null;
    if (!url) return put(caption, "");
    if (image.getAttribute("src") !== address(url)) image.src = address(url);
    const isExact = picked?.step === found.column.step;
    const text = `${found.column.label}: ${state.samples.prompts[row]}`;
    attribute(sample, "aria-label", `Sample. ${text}`);
    return put(caption, isExact ? text : `${text} (the last sample before this file)`);
  }

  function showFile(picked) {
    download.hidden = !picked;
    if (!picked) return put(file, "The LoRA file is not in the run's folder any more.");
    attribute(download, "href", address(picked.url));
    attribute(download, "download", picked.name);
    return put(file, [picked.name, [picked.size, nameOf(picked)].filter(Boolean).join(", ")].join("\n"));
  }

  return {
    element,
    actions,
    /** The parts that changed, and the name of the chosen file. */
    show(next) {
      state = { ...state, ...Object.fromEntries(Object.entries(next).filter(([, value]) => value)) };
      chosen = next.chosen ?? chosen;
      if (!state.session) return;
      const known = JSON.stringify([state.session.status, state.session.ended]);
      if (status.dataset.known !== known) {
        status.dataset.known = known;
        fill(status, statusLine(state.session));
      }
      attribute(element, "data-status", state.session.status);
      put(title, `${state.session.lora_name} is ready`);
      put(sentence, about());
      const picked = state.files.files.find((one) => one.name === chosen) ?? null;
      showSample(picked);
      showFile(picked);
      put(trigger, state.facts?.trigger ?? "");
      use.hidden = !state.facts?.trigger;
    },
    /** Train further, Edit as new training, New training and the menu. */
    setActions(canTrainFurther, ...buttons) {
      const button = (action, text, title, onclick) => h("button", { type: "button", class: "btn", "data-action": action, title, onclick }, text);
      fill(actions, canTrainFurther ? button("further", "Train further…", "Continues this run with more epochs", ontrain) : null,
        button("edit", "Edit as new training", "Fills the form on the Train page with this run's settings and images", onedit),
        button("new", "New training", "Empties the form on the Train page", onnew), buttons);
    },
  };
}
