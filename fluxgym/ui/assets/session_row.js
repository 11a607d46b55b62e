// The parts of a run in the banner, in the table of runs and on its page: status as shape, word and color; progress; facts; next step.

import { address } from "./api.js";
import { attribute, fill, find, h, put } from "./dom.js";
import { count, duration, seconds, shortStamp, stamp } from "./clock.js";
import { dot, icon } from "./icons.js";
import { endedAtStep, rowKey, shareOf, stepsText } from "./session_text.js";
import { lossText, plural, speed } from "./text.js";

/** @import { Attribute, Child } from "./dom.js" */
/** @import { Act } from "./session_actions.js" */
/** @import { SessionRow } from "./types.js" */

/**
 * A part of a line: a text, an element, or a time that counts.
 * @typedef {{ key: string, text?: string, element?: Child | Child[], at?: number, counts?: "ago" | "for" | "down", before?: string, notOnPhone?: boolean }} Part
 */

/** @type {Record<string, string>} shapes without a color of their own */
const COLORS = { bad: "queued" };

/**
 * The shape of a run's status.
 * @param {SessionRow} session
 */
export const statusDot = (session) => dot(session.shown.shape);

/**
 * The status in words; `moment` is a time that belongs to it, in seconds.
 * @param {SessionRow} session
 * @param {number | null} moment
 */
export function statusWord(session, moment = null) {
  const { word: text, symbol: sign, shape } = session.shown;
  return h("span", { class: `st ${COLORS[shape] ?? shape}` }, h("span", { class: "vh" }, `${sign} `),
    h("span", { class: "fg-word" }, text), moment === null ? null : h("span", { title: stamp(moment) }, shortStamp(moment)));
}

/**
 * When a training run will end, in seconds since the epoch; null if that is not known, or if it stops before.
 * @param {SessionRow} session
 */
export function endsAt(session) {
  if (session.is_stopping) return null;
  const at = seconds(session.progress.time);
  const left = session.progress.eta_s;
  return typeof left === "number" && at !== null ? at + left : null;
}

/**
 * The figures of a live run, in reading order.
 * @param {SessionRow} session
 */
function figures(session) {
  const p = session.progress;
  const at = seconds(p.time);
  /** @type {Part[]} */
  const parts = [];
  if (session.activity) parts.push({ key: "fg-phase", text: session.activity });
  const end = endsAt(session);
  if (end !== null) parts.push({ key: "fg-eta", at: end, counts: "down" });
  if (session.is_stopping) return parts; // no further step is trained
  if (p.epoch && p.epoch <= (session.max_train_epochs ?? 0)) parts.push({ key: "fg-epoch", text: `epoch ${p.epoch} of ${session.max_train_epochs}` });
  if (typeof p.loss === "number") parts.push({ key: "fg-loss", text: `loss ${lossText(p.loss)}` });
  if (typeof p.s_per_it === "number") parts.push({ key: "fg-speed", text: speed(p.s_per_it).join(" ") });
  if (at !== null) parts.push({ key: "fg-updated", before: "updated ", at, notOnPhone: true });
  return parts;
}

/** @param {Part} part */
function partElement(part) {
  const element = h("span", { class: part.notOnPhone ? "not-phone" : null, "data-key": part.key }, part.element);
  if (part.key.startsWith("fg-")) element.classList.add(part.key);
  if (part.at !== undefined) fill(element, part.before ?? "", h("span"));
  return element;
}

/**
 * Show parts in an element with class dots; unchanged ones are left as they are.
 * @param {Element} element
 * @param {Part[]} parts
 */
export function showParts(element, parts) {
  const children = /** @type {HTMLElement[]} */ ([...element.children]);
  const kept = new Map(children.map((child) => [child.dataset.key, child]));
  const wanted = parts.map((part) => {
    const child = kept.get(part.key) ?? partElement(part);
    if (part.at !== undefined) count(find(child, "span"), part.at, part.counts);
    else if (part.text !== undefined) put(child, part.text);
    return child;
  });
  if (wanted.length !== children.length || wanted.some((child, index) => children[index] !== child)) fill(element, wanted);
}

/** Create an empty progress bar with its figures; showProgress fills it. */
export function progressLine() {
  return h("div", { class: "fg-progress" },
    h("div", { class: "prog" },
      h("div", { class: "bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, h("i")),
      h("span", { class: "small fg-steps" }, h("b"))),
    h("span", { class: "meta dots fg-figures" }));
}

/**
 * Set the width of a bar to a share from 0 to 1, with its value for screen readers.
 * @param {HTMLElement} bar
 * @param {number} share
 */
export function setBar(bar, share) {
  const percent = Math.round(share * 1000) / 10;
  attribute(bar, "aria-valuenow", percent);
  const inner = find(bar, "i");
  if (inner.style.width !== `${percent}%`) inner.style.width = `${percent}%`;
}

/**
 * Show a live run's progress, and `more` parts after it.
 * @param {Element} line
 * @param {SessionRow} session
 * @param {Part[]} more
 */
export function showProgress(line, session, more = []) {
  const bar = find(line, ".bar");
  setBar(bar, session.status === "completed" ? 1 : shareOf(session) ?? 0);
  attribute(bar, "aria-label", session.name);
  put(find(line, ".fg-steps b"), stepsText(session));
  showParts(find(line, ".fg-figures"), [...(session.is_live ? figures(session) : []), ...more]);
}

/**
 * A yes or no as the guide shows it: ✅ or ❌ for screen readers, a check mark or a dash for the eye.
 * @param {boolean} isYes
 */
function yesOrNo(isYes) {
  return isYes ? [icon("check", "i yes"), h("span", { class: "vh" }, "✅ yes")]
    : [h("span", { class: "no" }, h("span", { "aria-hidden": "true" }, "–"), h("span", { class: "vh" }, "❌ no"))];
}

/**
 * Checkpointing and monitoring. That no supervisor watches a run that has ended or waits is not a fault, so short rows leave it out.
 * @param {SessionRow} session
 */
function switches(session, { between = " ", isFull = false } = {}) {
  const parts = [{ key: `checkpointing ${session.checkpointing}`, element: [`Checkpointing${between}`, ...yesOrNo(session.checkpointing)] }];
  if (isFull || (session.is_live && session.status !== "queued")) parts.push({ key: `monitoring ${session.monitoring}`, element: [`Monitoring${between}`, ...yesOrNo(session.monitoring)] });
  return parts;
}

/**
 * What the date of a run is the time of, in short: "Started 15:34".
 * @param {SessionRow} session
 */
export const began = (session) => h("span", { title: stamp(session.started) }, `${session.began} ${shortStamp(session.started)}`);

/**
 * Date, epochs, steps, checkpointing and monitoring in short.
 * @param {SessionRow} session
 */
export function shortFacts(session) {
  if (session.status === "unreadable") return [{ key: "fg-began", element: [began(session)] }];
  /** @type {Part[]} */
  const parts = session.status === "queued" ? [] : [{ key: `${session.began} ${session.started}`, element: [began(session)] }];
  if (session.max_train_epochs && !session.progress.epoch) parts.push({ key: "fg-epochs", text: plural(session.max_train_epochs, "epoch") });
  const steps = endedAtStep(session);
  if (steps) parts.push({ key: "fg-steps", text: steps });
  return [...parts, ...switches(session)];
}

/**
 * "Started: 2025-01-25 14:30:22 (3 min ago)"
 * @param {string} name
 * @param {number | null} at
 */
function moment(name, at) {
  if (at === null) return null;
  const ago = h("span");
  count(ago, at);
  return h("span", {}, `${name}: ${stamp(at)} (`, ago, ")");
}

/**
 * Date, end, epochs, checkpointing and monitoring in full; the user's guide shows them so.
 * @param {SessionRow} session
 */
export function facts(session) {
  return [
    moment(session.began, seconds(session.started)),
    moment("Ended", seconds(session.ended)),
    session.max_train_epochs ? h("span", {}, `Epochs: ${session.max_train_epochs}`) : null,
    ...(session.status === "unreadable" ? [] : switches(session, { between: ": ", isFull: true }).map((part) => h("span", {}, part.element))),
    session.next_step.action === "resume" ? h("span", { class: "fg-resume" }, session.next_step.help) : null,
  ].filter((part) => part !== null);
}

/**
 * Show how long a run has trained or trains.
 * @param {HTMLElement} element
 * @param {SessionRow} session
 */
export function showDuration(element, session) {
  if (session.duration_from !== null) {
    count(element, session.duration_from, "for");
    return;
  }
  element.classList.remove("fg-clock");
  put(element, session.duration_s === null ? "" : duration(session.duration_s));
}

/**
 * The button of the next step. It acts on the run that it was created for, even after the list has changed.
 * @param {() => SessionRow | null} current returns the run as it is now
 * @param {SessionRow} session
 * @param {Act} act
 */
export function stepButton(current, session, act) {
  const latest = () => {
    const now = current();
    return now && rowKey(now) === rowKey(session) ? now : session;
  };
  const step = session.next_step;
  const attributes = { class: "btn s", "data-action": step.action, title: step.help, "aria-label": `${step.text}: ${session.name}` };
  if (step.href) return h("a", { ...attributes, href: address(step.href), download: "" }, icon("download"), step.text);
  return h("button", { ...attributes, type: "button", onclick: (event) => act(step.action, latest(), event.currentTarget) }, step.text);
}

/**
 * The link that opens a run's page.
 * @param {SessionRow} session
 * @param {Act} act
 * @param {Record<string, Attribute>} attributes
 * @param {string} text
 */
export function openLink(session, act, attributes, text) {
  const open = (/** @type {MouseEvent} */ event) => {
    const isNewTab = event.ctrlKey || event.metaKey || event.shiftKey;
    if (!isNewTab) act("open", session);
  };
  return h("a", { href: `#run/${encodeURIComponent(session.slug)}`, onclick: open, ...attributes }, text);
}

/**
 * The buttons of a run's row.
 * @param {() => SessionRow} current
 * @param {SessionRow} session
 * @param {Act} act
 */
export function buttons(current, session, act) {
  const open = openLink(session, act, { class: "btn s not-phone", "data-action": "open", "aria-label": `Open: ${session.name}` }, "Open");
  return session.status === "unreadable" ? [stepButton(current, session, act)] : [open, stepButton(current, session, act)];
}

/**
 * What a row's buttons depend on; they are created again only if it changes.
 * @param {SessionRow} session
 */
export const buttonsKey = (session) => [session.slug, session.run_id, session.next_step];
