// The parts of a session in the list and on its page: status as symbol, word and color; progress; reason; buttons.

import { attribute, fill, h, put } from "./dom.js";
import { count, seconds, stamp } from "./clock.js";

const STATES = {
  running: ["🟢", "Running"],
  starting: ["🟡", "Starting"],
  queued: ["🟡", "Queued"],
  stopped: ["🔵", "Stopped"],
  completed: ["✅", "Completed"],
  failed: ["❌", "Failed"],
  unreadable: ["⚠️", "Cannot be read"],
};
const PHASES = {
  downloading: "Downloading", loading: "Loading the model", caching: "Preparing the images", training: "Training",
  sampling: "Generating samples", validating: "Validating", saving: "Saving", verifying: "Checking the LoRA", done: "Done",
};
const LIVE = new Set(["running", "starting", "queued"]);

export const symbol = (session) => (session.is_stopping ? "🟡" : STATES[session.status]?.[0] ?? "⚠️");
export const word = (session) => (session.is_stopping ? "Stopping" : STATES[session.status]?.[1] ?? session.status);
/** The folder's name if it differs from the LoRA's name. */
export const folderName = (session) => (session.lora_name === session.slug ? "" : session.slug);
export const isLive = (session) => LIVE.has(session.status);

const round = (number, digits) => (typeof number === "number" ? number.toFixed(digits) : null);

/** The texts of a session's progress as [class, text] pairs, in reading order. */
function figures(session) {
  const p = session.progress ?? {};
  const parts = [];
  if (session.status === "running" && !p.phase) parts.push(["fg-phase", "Loading the trainer"]);
  if (isLive(session) && p.phase) parts.push(["fg-phase", PHASES[p.phase] ?? p.phase]);
  if (p.total_steps) parts.push(["fg-steps", `step ${p.step ?? 0} of ${p.total_steps}`]);
  if (p.epoch && p.epoch <= session.max_train_epochs) parts.push(["fg-epoch", `epoch ${p.epoch}/${session.max_train_epochs}`]);
  if (typeof p.loss === "number") parts.push(["fg-loss", `loss ${round(p.loss, 3)}`]);
  if (isLive(session) && typeof p.s_per_it === "number") {
    parts.push(["fg-speed", p.s_per_it >= 0.095 ? `${round(p.s_per_it, 2)} s/it` : `${round(1 / p.s_per_it, 1)} it/s`]);
  }
  return parts;
}

function share(session) {
  const p = session.progress ?? {};
  if (session.status === "completed") return 1;
  return p.total_steps ? Math.min(1, (p.step ?? 0) / p.total_steps) : null;
}

/** Create an empty progress line; showProgress fills it. */
export function progressLine() {
  return h("div", { class: "fg-progress" },
    h("div", { class: "fg-bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, h("span")),
    h("div", { class: "fg-figures" }));
}

export function showProgress(line, session) {
  const part = share(session);
  const [bar, numbers] = line.children;
  line.hidden = part === null && !figures(session).length;
  bar.hidden = part === null || session.status === "unreadable";
  attribute(bar, "aria-valuenow", Math.round((part ?? 0) * 100));
  attribute(bar, "aria-label", `Progress of ${session.lora_name}`);
  bar.firstElementChild.style.width = `${(part ?? 0) * 100}%`;
  const texts = figures(session);
  if (isLive(session) && session.progress) {
    const p = session.progress;
    const at = seconds(p.time);
    if (typeof p.eta_s === "number" && at !== null) texts.push(["fg-eta", null, at + p.eta_s, "down"]);
    if (at !== null) texts.push(["fg-updated", null, at, "ago"]);
  }
  const kept = new Map([...numbers.children].map((span) => [span.dataset.key, span]));
  const wanted = texts.map(([name, text, at, direction]) => {
    const span = kept.get(name) ?? h("span", { class: name, "data-key": name });
    if (at === undefined) put(span, text);
    else {
      if (!span.firstElementChild) fill(span, direction === "ago" ? "updated " : "", h("span"));
      count(span.querySelector("span"), at, direction);
    }
    return span;
  });
  if (wanted.length !== numbers.children.length || wanted.some((span, index) => numbers.children[index] !== span)) fill(numbers, wanted);
}

/** "Started: 2025-01-25 14:30:22 (3 min ago)" */
function moment(word, at) {
  if (at === null) return null;
  const ago = h("span");
  count(ago, at);
  return h("span", {}, `${word}: ${stamp(at)} (`, ago, ")");
}

/** Start, end, epochs, checkpointing and monitoring. */
export function facts(session) {
  const tick = (on) => (on ? "✅" : "❌");
  return [
    moment(session.began ?? "Started", seconds(session.started)),
    moment("Ended", seconds(session.ended)),
    session.max_train_epochs ? h("span", {}, `Epochs: ${session.max_train_epochs}`) : null,
    h("span", {}, `Checkpointing: ${tick(session.checkpointing)}`),
    h("span", {}, `Monitoring: ${tick(session.monitoring)}`),
    session.resume ? h("span", { class: "fg-resume" }, session.resume.help) : null,
  ];
}

/**
 * The buttons of a session. Each keeps the slug and run id that it was created with, so that it acts on that run even after the list
 * has changed.
 */
export function buttons(session, act) {
  const button = (action, text, title, kind = "") =>
    h("button", {
      type: "button", class: `fg-button ${kind}`, "data-action": action, title, "aria-label": `${text}: ${session.lora_name}`,
      onclick: (event) => act(action, session, event.currentTarget),
    }, text);
  const list = [];
  if (session.status !== "unreadable") list.push(button("open", "Open", "Shows this run; a form without unsaved changes is filled with its settings"));
  if (session.status === "queued" && !session.is_stopping) list.push(button("stop", "Cancel", "Removes it from the queue"));
  else if ((isLive(session) || session.is_executing) && !session.is_stopping) list.push(button("stop", "Stop", "Finishes the current step, saves a checkpoint and stops. No progress is lost"));
  if (isLive(session) && session.is_stopping) list.push(button("kill", "Stop now", "Kills the trainer. The steps since the last checkpoint are lost", "fg-danger"));
  if (session.status === "unreadable") list.push(button("repair", "Repair", "Restores the settings from the run's history, or from its command and LoRA. The damaged file is kept", "fg-strong"));
  if (session.resume) list.push(button("resume", session.resume.label, session.resume.help ?? "", "fg-strong"));
  return list;
}
