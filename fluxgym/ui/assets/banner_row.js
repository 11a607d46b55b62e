// One row of the banner: status, name, progress or one sentence, facts, and the next step.

import { attribute, fill, find, findAll, focusedIn, h, put, redraw } from "./dom.js";
import { seconds } from "./clock.js";
import { menu } from "./menu.js";
import { buttons, buttonsKey, facts, openLink, progressLine, shortFacts, showParts, showProgress, statusDot, statusWord } from "./session_row.js";
import { sentence } from "./session_text.js";

/** @import { Act } from "./session_actions.js" */
/** @import { Part } from "./session_row.js" */
/** @import { SessionRow } from "./types.js" */

/** @typedef {HTMLElement & { session: SessionRow }} Row */

/**
 * The time shown beside the status: since when a run waits, when it failed.
 * @param {SessionRow} session
 */
function momentOf(session) {
  if (session.status === "queued" && !session.is_stopping) return seconds(session.started);
  return session.status === "failed" ? seconds(session.ended) : null;
}

/**
 * Create a run's row; showRow fills it.
 * @param {SessionRow} session
 * @param {Act} act
 */
export function makeRow(session, act) {
  const acts = h("div", { class: "acts" }, h("span", { class: "fg-buttons" }));
  const element = h("li", { class: "row", "data-status": session.status }, h("span", { class: "fg-dot" }),
    h("div", { class: "who" }, openLink(session, act, { class: "name cut" }, session.name), h("span", { class: "fg-status" }), h("span", { class: "small faint fg-slug" })),
    h("div", { class: "what" }), acts);
  const row = Object.assign(element, { session });
  acts.append(menu(() => row.session, act));
  return row;
}

/**
 * @param {Row} row
 * @param {SessionRow} session
 */
function showWho(row, session) {
  const moment = momentOf(session);
  const status = find(row, ".fg-status");
  redraw(status, [session.shown, moment], () => {
    fill(find(row, ".fg-dot"), statusDot(session));
    fill(status, statusWord(session, moment));
  });
  const name = find(row, ".name");
  put(name, session.name);
  attribute(name, "title", session.folder);
  put(find(row, ".fg-slug"), session.folder_name);
}

/**
 * The lines of a run that does not train: a sentence, and the facts in short or in full.
 * @param {HTMLElement} what
 * @param {SessionRow} session
 * @param {{ isFull: boolean, extra: Part[] }} options
 */
function showSentence(what, session, { isFull, extra }) {
  if (!what.querySelector(".fg-reason")) fill(what, h("p", { class: "fg-reason" }), h("span", { class: "meta dots" }));
  const [reason, meta] = findAll(what, ":scope > *");
  const text = sentence(session);
  put(reason, text);
  attribute(reason, "class", isFull ? "fg-reason" : "fg-reason cut");
  attribute(reason, "title", text || null);
  if (isFull) showFacts(meta, session);
  else showParts(meta, [...extra, ...shortFacts(session)]);
}

/**
 * @param {HTMLElement} meta
 * @param {SessionRow} session
 */
function showFacts(meta, session) {
  const { began, started, ended, max_train_epochs: epochs, checkpointing, monitoring, status, next_step: step } = session;
  redraw(meta, [began, started, ended, epochs, checkpointing, monitoring, status, step], () => fill(meta, facts(session)));
}

/**
 * The lines of a run that trains: its progress, and the facts in short or in full.
 * @param {HTMLElement} what
 * @param {SessionRow} session
 * @param {{ isFull: boolean, extra: Part[] }} options
 */
function showTraining(what, session, { isFull, extra }) {
  if (!what.querySelector(".fg-progress")) fill(what, progressLine(), isFull ? h("span", { class: "meta dots fg-facts" }) : "");
  showProgress(find(what, ".fg-progress"), session, isFull ? [] : [...extra, ...shortFacts(session).map((part) => ({ ...part, notOnPhone: true }))]);
  if (isFull) showFacts(find(what, ".fg-facts"), session);
}

/**
 * @param {Row} row
 * @param {SessionRow} session
 * @param {Act} act
 */
function showButtons(row, session, act) {
  const slot = find(row, ".fg-buttons");
  redraw(slot, buttonsKey(session), () => {
    const focused = focusedIn(slot)?.dataset.action;
    fill(slot, buttons(() => row.session, session, act));
    if (focused) (findAll(slot, `[data-action="${focused}"]`)[0] ?? findAll(slot, "button, a")[0])?.focus();
  });
}

/**
 * Show a run in its row. `isFull` shows the facts as in the user's guide, `extra` are further parts.
 * @param {Row} row
 * @param {SessionRow} session
 * @param {Act} act
 * @param {{ isFull?: boolean, extra?: Part[] }} [options]
 */
export function showRow(row, session, act, { isFull = false, extra = [] } = {}) {
  redraw(row, [session, extra.map((part) => part.key)], () => {
    row.dataset.status = session.status;
    row.session = session;
    showWho(row, session);
    const show = session.status === "running" ? showTraining : showSentence;
    show(find(row, ".what"), session, { isFull, extra });
    showButtons(row, session, act);
    if (session.is_live) row.querySelector(".fg-message")?.remove();
  });
}
