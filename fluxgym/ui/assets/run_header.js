// The header of a run's page: name, status, facts, progress, figures and actions. A completed run has the result card instead.

import { attribute, fill, find, h, keyed, put, redraw } from "./dom.js";
import { count, duration, now, seconds, shortStamp, span, stamp } from "./clock.js";
import { dot } from "./icons.js";
import { endsAt, setBar, statusWord } from "./session_row.js";
import { shareOf } from "./session_text.js";
import { lossText, plural, speed, whole } from "./text.js";

/** @import { RunSummary, SessionRow } from "./types.js" */

/** @typedef {{ title: string, value: string, about?: string, updated?: number | null }} Figure `updated` is shown in place of the text `about`. */

/** @type {Record<string, string>} the color of the bar by status */
const BAR_COLORS = { running: "running", starting: "running", queued: "none", stopped: "stopped", failed: "failed", completed: "running" };

/**
 * The status as shape, symbol for screen readers, and word; with the time of an end.
 * @param {SessionRow} session
 */
export function statusLine(session) {
  const hasEnded = session.ended !== null && session.origin === "trained" && !session.is_live;
  const line = statusWord(session, hasEnded ? session.ended : null);
  line.prepend(dot(session.shown.shape));
  return line;
}

/**
 * "FLUX.1 dev · trigger word sks cat · 14 images · started 15:34, queued 15:25"
 * @param {SessionRow} session
 * @param {RunSummary} about
 */
function facts(session, about) {
  const times = `${session.began.toLowerCase()} ${shortStamp(session.started)}`;
  const waited = about.queued_at === null || session.status === "queued" ? "" : `, queued ${shortStamp(about.queued_at)}`;
  const took = session.is_live ? null : about.trained_s;
  return [
    about.model ? h("span", {}, about.model) : null,
    about.trigger ? h("span", {}, "trigger word ", h("code", {}, about.trigger)) : null,
    about.num_images ? h("span", {}, plural(about.num_images, "image")) : null,
    h("span", { title: stamp(session.started) }, times + waited),
    took === null ? null : h("span", {}, `ran ${duration(took)}`),
    about.parent ? h("span", {}, "from ", h("a", { href: `#run/${encodeURIComponent(about.parent)}` }, about.parent_name)) : null,
    session.name === session.slug ? null : h("span", { class: "fg-folder" }, "folder ", h("code", {}, session.slug)),
  ];
}

/**
 * The figures that are known.
 * @param {SessionRow} session
 */
function figures(session) {
  const p = session.progress;
  const live = session.is_live;
  /** @type {Figure[]} */
  const list = [];
  if (typeof p.step === "number") list.push({ title: "Step", value: whole(p.step), about: p.total_steps ? `of ${whole(p.total_steps)}` : "" });
  const epochs = session.max_train_epochs;
  if (p.epoch) list.push({ title: "Epoch", value: String(p.epoch), about: epochs && p.epoch <= epochs ? `of ${epochs}` : "" });
  const at = seconds(p.time);
  const end = endsAt(session);
  if (live && end !== null && end > now()) list.push({ title: "Time left", value: span(end - now()), about: `ends about ${shortStamp(end)}` });
  if (live && !session.is_stopping && typeof p.s_per_it === "number") {
    const [value, unit] = speed(p.s_per_it);
    list.push({ title: "Speed", value, about: unit });
  }
  if (typeof p.loss === "number") list.push({ title: live ? "Loss" : "Last loss", value: lossText(p.loss) });
  if (live && session.status !== "queued") list.push({ title: "Monitoring", value: session.monitoring ? "On" : "Off", updated: at });
  return list;
}

const figureElement = () => h("div", {}, h("dt"), h("dd", {}, h("span"), " ", h("small")));

/**
 * @param {Element} item
 * @param {Figure} figure
 */
function updateFigure(item, { title, value, about = "", updated = null }) {
  put(find(item, "dt"), title);
  put(find(item, "dd > span"), value);
  const small = find(item, "small");
  if (updated === null) {
    put(small, about);
    return;
  }
  if (!small.firstElementChild) fill(small, "updated ", h("span"));
  count(find(small, "span"), updated);
}

/** The progress bar. Returns {element, show(session)}. */
function headerBar() {
  const element = h("div", { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, h("i"));
  return {
    element,
    /** @param {SessionRow} session */
    show(session) {
      const share = shareOf(session);
      element.hidden = share === null;
      if (share === null) return;
      const { step, total_steps: total } = session.progress;
      attribute(element, "class", `bar big ${BAR_COLORS[session.status] ?? "none"}`);
      attribute(element, "aria-label", `${step ?? 0} of ${total} steps`);
      setBar(element, share);
    },
  };
}

/** The header; `actions` has the buttons. Returns {element, actions, show}. */
export function runHeader() {
  const name = h("h1", { class: "fg-name" });
  const status = h("span");
  const doing = h("span", { class: "soft" });
  const about = h("p", { class: "soft dots" });
  const reason = h("p", { class: "soft fg-reason" });
  const actions = h("div", { class: "line acts" });
  const bar = headerBar();
  const stats = h("dl", { class: "stats" });
  const element = h("section", { class: "card run-head fg-run-head" }, h("div", { class: "body" },
    h("div", { class: "line run-top" }, h("div", { class: "grow" }, h("p", { class: "small" }, h("a", { href: "#runs" }, "Runs")), h("div", { class: "line run-name" }, name, status, doing), about, reason), actions),
    bar.element, stats));
  return {
    element,
    actions,
    /** @param {{ session: SessionRow, facts?: RunSummary | null }} run */
    show({ session, facts: known }) {
      put(name, session.name);
      attribute(element, "aria-label", session.name);
      attribute(element, "data-status", session.status);
      redraw(status, [session.shown, session.ended], () => fill(status, statusLine(session)));
      put(doing, session.status === "running" ? session.activity : "");
      if (known) redraw(about, [known, session.began, session.started, session.is_live, new Date().getDate()], () => fill(about, facts(session, known)));
      const text = session.is_live ? session.reason : "";
      reason.hidden = !text;
      put(reason, text);
      bar.show(session);
      keyed(stats, session.status === "unreadable" ? [] : figures(session), ({ title }) => title, figureElement, updateFigure);
    },
  };
}
