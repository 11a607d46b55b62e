// The parts of a run in the banner, in the table of runs and on its page: status as shape, word and color; progress; facts; next step.

import { attribute, fill, h, put } from "./dom.js";
import { count, seconds, shortStamp, span, stamp } from "./clock.js";
import { address } from "./api.js";
import { dot, icon } from "./icons.js";

const LIVE = new Set(["running", "starting", "queued"]);
const COLORS = { bad: "queued" }; // shapes without a color of their own

/** Whether earlier settings of a run can be restored. */
export const canRestore = (session) => ["stopped", "failed"].includes(session.status) && !session.is_executing;
/** The folder's name if it differs from the LoRA's name. */
export const folderName = (session) => (session.lora_name === session.slug ? "" : session.slug);
export const isLive = (session) => LIVE.has(session.status);
export const statusDot = (session) => dot(session.shown.shape);

/**
 * The status in words; `moment` is a time that belongs to it, in seconds.
 * @param {import("./types.js").SessionRow} session
 * @param {number | null} moment
 */
export function statusWord(session, moment = null) {
  const { word: text, symbol: sign, shape } = session.shown;
  return h("span", { class: `st ${COLORS[shape] ?? shape}` }, h("span", { class: "vh" }, `${sign} `),
    h("span", { class: "fg-word" }, text), moment === null ? null : h("span", { title: stamp(moment) }, shortStamp(moment)));
}

const round = (number, digits) => (typeof number === "number" ? number.toFixed(digits) : null);
const whole = (number) => number.toLocaleString("en-US");

/** "320 / 960", "0 / 960" for a run that waits, "" if the steps are not known. */
export function stepsText(session) {
  const total = session.progress?.total_steps ?? session.total_steps;
  const step = session.progress?.step ?? 0;
  if (!total) return step ? whole(step) : "";
  return `${whole(step)} / ${whole(total)}`;
}

function speed(s_per_it) {
  return s_per_it >= 0.095 ? `${round(s_per_it, 2)} s/it` : `${round(1 / s_per_it, 1)} it/s`;
}

/** What a live run does besides training: "Preparing the images, 3 of 20". */
function activity(session) {
  if (!session.activity || session.activity === "Training") return "";
  const { item, num_items: total } = session.progress ?? {};
  return typeof item === "number" && typeof total === "number" ? `${session.activity}, ${item} of ${total}` : session.activity;
}

/** The figures of a live run as parts for showParts, in reading order. */
function figures(session) {
  const p = session.progress ?? {};
  const at = seconds(p.time);
  const parts = [];
  if (activity(session)) parts.push({ key: "fg-phase", text: activity(session) });
  if (typeof p.eta_s === "number" && at !== null) parts.push({ key: "fg-eta", at: at + p.eta_s, counts: "down" });
  if (p.epoch && p.epoch <= session.max_train_epochs) parts.push({ key: "fg-epoch", text: `epoch ${p.epoch} of ${session.max_train_epochs}` });
  if (typeof p.loss === "number") parts.push({ key: "fg-loss", text: `loss ${round(p.loss, 3)}` });
  if (typeof p.s_per_it === "number") parts.push({ key: "fg-speed", text: speed(p.s_per_it) });
  if (at !== null) parts.push({ key: "fg-updated", before: "updated ", at, notOnPhone: true });
  return parts;
}

function partElement(part) {
  const element = h("span", { class: part.notOnPhone ? "not-phone" : null, "data-key": part.key }, part.element);
  if (part.key.startsWith("fg-")) element.classList.add(part.key);
  if (part.at !== undefined) fill(element, part.before ?? "", h("span"));
  return element;
}

/** Show parts ({key, text} or {key, at, counts} or {key, element}) in an element with class dots; unchanged ones are left as they are. */
export function showParts(element, parts) {
  const kept = new Map([...element.children].map((child) => [child.dataset.key, child]));
  const wanted = parts.map((part) => {
    const child = kept.get(part.key) ?? partElement(part);
    if (part.at !== undefined) count(child.firstElementChild, part.at, part.counts);
    else if (part.text !== undefined) put(child, part.text);
    return child;
  });
  if (wanted.length !== element.children.length || wanted.some((child, index) => element.children[index] !== child)) fill(element, wanted);
}

/** Create an empty progress bar with its figures; showProgress fills it. */
export function progressLine() {
  return h("div", { class: "fg-progress" },
    h("div", { class: "prog" },
      h("div", { class: "bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, h("i")),
      h("span", { class: "small fg-steps" }, h("b"))),
    h("span", { class: "meta dots fg-figures" }));
}

/** Show a live run's progress, and `more` parts after it. */
export function showProgress(line, session, more = []) {
  const p = session.progress ?? {};
  const share = session.status === "completed" ? 1 : p.total_steps ? Math.min(1, (p.step ?? 0) / p.total_steps) : 0;
  const [prog, numbers] = line.children;
  const bar = prog.firstElementChild;
  attribute(bar, "aria-valuenow", Math.round(share * 100));
  attribute(bar, "aria-label", session.lora_name);
  const width = `${(share * 100).toFixed(1)}%`;
  if (bar.firstElementChild.style.width !== width) bar.firstElementChild.style.width = width;
  put(prog.querySelector("b"), stepsText(session));
  showParts(numbers, [...(isLive(session) ? figures(session) : []), ...more]);
}

/** A yes or no as the guide shows it: ✅ or ❌ for screen readers, a check mark or a dash for the eye. */
function yesOrNo(isYes) {
  return isYes ? [icon("check", "i yes"), h("span", { class: "vh" }, "✅ yes")]
    : [h("span", { class: "no" }, h("span", { "aria-hidden": "true" }, "–"), h("span", { class: "vh" }, "❌ no"))];
}

/** Checkpointing and monitoring. That no supervisor watches an ended run is not a fault, so short rows leave it out. */
function switches(session, { between = " ", isFull = false } = {}) {
  const parts = [{ key: `checkpointing ${session.checkpointing}`, element: [`Checkpointing${between}`, ...yesOrNo(session.checkpointing)] }];
  if (isFull || isLive(session)) parts.push({ key: `monitoring ${session.monitoring}`, element: [`Monitoring${between}`, ...yesOrNo(session.monitoring)] });
  return parts;
}

/** What the date of a run is the time of, in short: "Started 15:34". */
export function began(session) {
  return h("span", { title: stamp(session.started) }, `${session.began} ${shortStamp(session.started)}`);
}

/** Date, epochs, checkpointing and monitoring in short, as parts. */
export function shortFacts(session) {
  if (session.status === "unreadable") return [{ key: "fg-began", element: [began(session)] }];
  /** @type {{ key: string, text?: string, element?: Element[] }[]} */
  const parts = session.status === "queued" ? [] : [{ key: `${session.began} ${session.started}`, element: [began(session)] }];
  if (session.max_train_epochs && !session.progress?.epoch) {
    parts.push({ key: "fg-epochs", text: `${session.max_train_epochs} epoch${session.max_train_epochs === 1 ? "" : "s"}` });
  }
  const steps = stepsText(session);
  const total = steps.split(" / ").at(-1) ?? "";
  if (!isLive(session) && steps && !sentence(session).includes(total)) parts.push({ key: "fg-steps", text: `step ${steps.replace(" / ", " of ")}` });
  return [...parts, ...switches(session)];
}

/** "Started: 2025-01-25 14:30:22 (3 min ago)" */
function moment(name, at) {
  if (at === null) return null;
  const ago = h("span");
  count(ago, at);
  return h("span", {}, `${name}: ${stamp(at)} (`, ago, ")");
}

/** Date, end, epochs, checkpointing and monitoring in full, as elements; the user's guide shows them so. */
export function facts(session) {
  return [
    moment(session.began, seconds(session.started)),
    moment("Ended", seconds(session.ended)),
    session.max_train_epochs ? h("span", {}, `Epochs: ${session.max_train_epochs}`) : null,
    ...(session.status === "unreadable" ? [] : switches(session, { between: ": ", isFull: true }).map((part) => h("span", {}, part.element))),
    session.resume ? h("span", { class: "fg-resume" }, session.resume.help) : null,
  ].filter(Boolean);
}

/** One sentence about a run that does not train: why it ended, what it waits for, or what it reached. */
export function sentence(session) {
  if (session.origin === "copy") return session.parent ? `Copy of ${session.parent}` : "A copy";
  if (session.reason) return session.reason;
  const steps = stepsText(session);
  if (session.status === "starting") return "The trainer is being started.";
  if (session.status === "completed" && steps) return session.duration_s === null ? `${steps} steps trained` : `${steps} steps in ${span(session.duration_s)}`;
  if (session.status === "stopped" && steps) return `Stopped at step ${steps.replace(" / ", " of ")}`;
  return "";
}

/** The next step of a run besides Open, as {action, text, help}; null if there is none. */
export function nextStep(session) {
  const load = (text, help) => ({ action: "load", text, help });
  if (session.is_stopping) return { action: "kill", text: "Stop now…", help: "Ends the trainer at once" };
  if (session.status === "queued") return { action: "cancel", text: "Cancel", help: "Removes it from the queue; its settings and images stay" };
  if (isLive(session) || session.is_executing) return { action: "stop", text: "Stop…", help: "Asks first, and says what is saved" };
  if (session.status === "unreadable") return { action: "repair", text: "Repair", help: "Restores the settings from the run's history, or from its command and LoRA. The damaged file is kept" };
  if (session.resume) return { action: "resume", text: session.resume.label, help: session.resume.help };
  if (session.origin !== "trained" && !session.lora) return load("Start…", "Fills the form with its settings and images, to be started from there");
  if (session.lora && session.status !== "failed") return { action: "download", text: "Download", help: "The trained LoRA", href: address(session.lora) };
  if (session.status === "failed") return load("Retry…", "Fills the form with its settings; change what failed, then start it");
  return load("Start again…", "Fills the form with its settings and images; it has no checkpoint to resume from");
}

/**
 * The button of the next step. It keeps the slug and run id that it was created with, so that it acts on that run even after the list
 * has changed.
 */
export function stepButton(session, act) {
  const step = nextStep(session);
  const attributes = { class: "btn s", "data-action": step.action, title: step.help, "aria-label": `${step.text}: ${session.lora_name}` };
  if (step.href) return h("a", { ...attributes, href: step.href, download: "" }, icon("download"), step.text);
  return h("button", { ...attributes, type: "button", onclick: (event) => act(step.action, session, event.currentTarget) }, step.text);
}

/** The link that opens a run's page. */
export function openLink(session, act, attributes, text) {
  const open = (event) => {
    const isNewTab = event.ctrlKey || event.metaKey || event.shiftKey;
    if (!isNewTab) act("open", session);
  };
  return h("a", { href: `#run/${encodeURIComponent(session.slug)}`, onclick: open, ...attributes }, text);
}

/** The buttons of a run's row. */
export function buttons(session, act) {
  const open = openLink(session, act, { class: "btn s not-phone", "data-action": "open", "aria-label": `Open: ${session.lora_name}` }, "Open");
  return session.status === "unreadable" ? [stepButton(session, act)] : [open, stepButton(session, act)];
}

/** What a row's buttons depend on; they are created again only if it changes. */
export const buttonsKey = (session) => JSON.stringify([session.slug, session.run_id, nextStep(session)]);
