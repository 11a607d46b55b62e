// The header of a run's page: name, status, facts, progress, figures and actions. A completed run has the result card instead.

import { attribute, fill, findAll, h, keyed, put } from "./dom.js";
import { count, now, seconds, shortStamp, span, stamp } from "./clock.js";
import { dot } from "./icons.js";
import { shown } from "./chart.js";
import { folderName, isLive, statusWord } from "./session_row.js";

/** "22 min 39 s", "2 h 5 min". */
export function duration(secondsTotal) {
  const whole = Math.round(secondsTotal);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** The status as shape, symbol for screen readers, and word; with the time of an end. */
export function statusLine(session) {
  const hasEnded = session.ended !== null && session.origin === "trained" && !isLive(session);
  const line = statusWord(session, hasEnded ? session.ended : null);
  line.prepend(dot(session.shown.shape));
  return line;
}

export const plural = (number, word) => `${number.toLocaleString("en-US")} ${word}${number === 1 ? "" : "s"}`;

/** "FLUX.1 dev · trigger word sks cat · 14 images · started 15:34, queued 15:25" */
export function facts(session, about) {
  const isOwnStart = about.began_at !== null && session.status !== "queued";
  const times = isOwnStart ? `started ${shortStamp(about.began_at)}` : `${session.began.toLowerCase()} ${shortStamp(session.started)}`;
  const waited = about.queued_at === null ? "" : `, queued ${shortStamp(about.queued_at)}`;
  const isEnded = !isLive(session) && about.trained_s !== null;
  return [
    about.model ? h("span", {}, about.model) : null,
    about.trigger ? h("span", {}, "trigger word ", h("code", {}, about.trigger)) : null,
    about.num_images ? h("span", {}, plural(about.num_images, "image")) : null,
    h("span", { title: stamp(isOwnStart ? about.began_at : session.started) }, times + waited),
    isEnded ? h("span", {}, `ran ${duration(about.trained_s)}`) : null,
    about.parent ? h("span", {}, "from ", h("a", { href: `#run/${encodeURIComponent(about.parent)}` }, about.parent)) : null,
    folderName(session) ? h("span", {}, "folder ", h("code", {}, session.slug)) : null,
  ];
}

/**
 * The figures that are known: [title, value, small text, time of an update in place of the text].
 * @returns {[string, string, string, (number | null)?][]}
 */
function figures(session) {
  const p = session.progress ?? {};
  const live = isLive(session);
  /** @type {[string, string, string, (number | null)?][]} */
  const list = [];
  if (typeof p.step === "number") list.push(["Step", p.step.toLocaleString("en-US"), p.total_steps ? `of ${p.total_steps.toLocaleString("en-US")}` : ""]);
  const epochs = session.max_train_epochs;
  if (p.epoch) list.push(["Epoch", String(p.epoch), epochs && p.epoch <= epochs ? `of ${epochs}` : ""]);
  const at = seconds(p.time);
  if (live && typeof p.eta_s === "number" && at !== null && p.eta_s > 0) list.push(["Time left", span(Math.max(0, at + p.eta_s - now())), `ends about ${shortStamp(at + p.eta_s)}`]);
  if (live && typeof p.s_per_it === "number") list.push(p.s_per_it >= 0.095 ? ["Speed", p.s_per_it.toFixed(2), "s/it"] : ["Speed", (1 / p.s_per_it).toFixed(1), "it/s"]);
  if (typeof p.loss === "number") list.push([live ? "Loss" : "Last loss", shown(p.loss), ""]);
  if (live) list.push(["Monitoring", session.monitoring ? "On" : "Off", "", at]);
  return list;
}

function figure() {
  return h("div", {}, h("dt"), h("dd", {}, h("span"), " ", h("small")));
}

/**
 * @param {Element} item
 * @param {[string, string, string, (number | null)?]} figure
 */
function updateFigure(item, [title, value, small, at]) {
  const [term, description] = item.children;
  const [number, about] = description.children;
  put(term, title);
  put(number, value);
  if (typeof at === "number") {
    if (!about.firstElementChild) fill(about, "updated ", h("span"));
    count(findAll(about, "span")[0], at);
  } else put(about, small);
}

/** What a live run is doing, where its word does not say it: "Generating samples". */
function activity(session) {
  if (session.status !== "running") return "";
  return session.activity && session.activity !== "Training" ? session.activity : "";
}

export function runHeader() {
  const name = h("h1", { class: "fg-name" });
  const status = h("span");
  const doing = h("span", { class: "soft" });
  const about = h("p", { class: "soft dots" });
  const reason = h("p", { class: "soft fg-reason" });
  const actions = h("div", { class: "line acts" });
  const fillBar = h("i");
  const bar = h("div", { class: "bar big", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, fillBar);
  const stats = h("dl", { class: "stats" });
  const element = h("section", { class: "card run-head fg-run-head" }, h("div", { class: "body" },
    h("div", { class: "line run-top" }, h("div", { class: "grow" }, h("p", { class: "small" }, h("a", { href: "#runs" }, "Runs")), h("div", { class: "line run-name" }, name, status, doing), about, reason), actions),
    bar, stats));
  const shape = { running: "running", starting: "running", queued: "none", stopped: "stopped", failed: "failed", completed: "running" };

  function showBar(session) {
    const p = session.progress ?? {};
    const share = p.total_steps ? Math.min(1, (p.step ?? 0) / p.total_steps) : null;
    bar.hidden = share === null;
    if (share === null) return;
    attribute(bar, "class", `bar big ${shape[session.status] ?? "none"}`);
    attribute(bar, "aria-label", `${p.step ?? 0} of ${p.total_steps} steps`);
    attribute(bar, "aria-valuenow", Math.round(share * 1000) / 10);
    const width = `${Math.round(share * 1000) / 10}%`;
    if (fillBar.style.width !== width) fillBar.style.width = width;
  }

  return {
    element,
    actions,
    show({ session, facts: known }) {
      put(name, session.lora_name);
      attribute(element, "aria-label", session.lora_name);
      attribute(element, "data-status", session.status);
      const line = JSON.stringify([session.shown, session.ended]);
      if (status.dataset.known !== line) {
        status.dataset.known = line;
        fill(status, statusLine(session));
      }
      put(doing, activity(session));
      const parts = JSON.stringify([known, session.began, session.started, isLive(session), new Date().getDate()]);
      if (about.dataset.known !== parts && known) {
        about.dataset.known = parts;
        fill(about, facts(session, known));
      }
      const isShown = Boolean(session.reason) && isLive(session);
      reason.hidden = !isShown;
      put(reason, isShown ? session.reason : "");
      showBar(session);
      keyed(stats, session.status === "unreadable" ? [] : figures(session), ([title]) => title, figure, updateFigure);
    },
  };
}
