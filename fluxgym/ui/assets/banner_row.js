// One row of the banner: status, name, progress or one sentence, facts, and the next step.

import { attribute, fill, findAll, focusedIn, h, put } from "./dom.js";
import { seconds } from "./clock.js";
import { menu } from "./menu.js";
import { buttons, buttonsKey, facts, folderName, isLive, openLink, progressLine, sentence, shortFacts, showParts, showProgress, statusDot, statusWord } from "./session_row.js";

/** The time that stands beside the status: since when a run waits, when it failed. */
function momentOf(session) {
  if (session.status === "queued" && !session.is_stopping) return seconds(session.started);
  return session.status === "failed" ? seconds(session.ended) : null;
}

export function makeRow(session, act) {
  const acts = h("div", { class: "acts" }, h("span", { class: "fg-buttons" }));
  /** @type {HTMLElement & { session?: any }} */
  const row = h("li", { class: "row", "data-status": session.status }, h("span", { class: "fg-dot" }),
    h("div", { class: "who" }, openLink(session, act, { class: "name cut" }, session.lora_name), h("span", { class: "fg-status" }), h("span", { class: "small faint fg-slug" })),
    h("div", { class: "what" }), acts);
  row.session = session;
  acts.append(menu(() => row.session, (action, more) => act.more(row.session)(action, more), act.done));
  return row;
}

function showWho(row, session) {
  const moment = momentOf(session);
  const known = JSON.stringify([session.shown, moment]);
  if (row.dataset.known !== known) {
    row.dataset.known = known;
    fill(row.querySelector(".fg-dot"), statusDot(session));
    fill(row.querySelector(".fg-status"), statusWord(session, moment));
  }
  const name = row.querySelector(".name");
  put(name, session.lora_name);
  attribute(name, "title", session.folder);
  put(row.querySelector(".fg-slug"), folderName(session));
}

/** The lines of a run that does not train: a sentence, and the facts in short or in full. */
function showSentence(what, session, { isFull, extra }) {
  if (!what.querySelector(".fg-reason")) fill(what, h("p", { class: "fg-reason" }), h("span", { class: "meta dots" }));
  const [reason, meta] = what.children;
  const text = sentence(session);
  put(reason, text);
  attribute(reason, "class", isFull ? "fg-reason" : "fg-reason cut");
  attribute(reason, "title", text || null);
  if (isFull) showFacts(meta, session);
  else showParts(meta, [...extra, ...shortFacts(session)]);
}

function showFacts(meta, session) {
  const known = JSON.stringify([session.began, session.started, session.ended, session.max_train_epochs, session.checkpointing, session.monitoring, session.status, session.resume]);
  if (meta.dataset.known === known) return;
  meta.dataset.known = known;
  fill(meta, facts(session));
}

function showTraining(what, session, { isFull, extra }) {
  if (!what.querySelector(".fg-progress")) fill(what, progressLine(), isFull ? h("span", { class: "meta dots" }) : "");
  showProgress(what.firstElementChild, session, isFull ? [] : [...extra, ...shortFacts(session).map((part) => ({ ...part, notOnPhone: true }))]);
  if (isFull) showFacts(what.lastElementChild, session);
}

/**
 * Show a run in its row. `isFull` shows the facts as in the user's guide, `extra` are further parts, `hasBar` is false where the page shows its
 * bar already.
 * @param {any} row
 * @param {import("./types.js").SessionRow} session
 * @param {any} act
 * @param {{ isFull?: boolean, extra?: { key: string, element: Element }[], hasBar?: boolean }} [options]
 */
export function showRow(row, session, act, { isFull = false, extra = [], hasBar = true } = {}) {
  const shown = JSON.stringify([session, extra.map((part) => part.key), hasBar]);
  if (row.dataset.shown === shown) return;
  row.dataset.shown = shown;
  row.dataset.status = session.status;
  row.session = session;
  showWho(row, session);
  const what = row.querySelector(".what");
  if (session.status === "running" && hasBar) showTraining(what, session, { isFull, extra });
  else showSentence(what, session, { isFull, extra });
  const key = buttonsKey(session);
  const slot = row.querySelector(".fg-buttons");
  if (slot.dataset.key !== key) {
    slot.dataset.key = key;
    const focused = focusedIn(slot)?.dataset.action;
    fill(slot, buttons(session, act));
    if (focused) (findAll(slot, `[data-action="${focused}"]`)[0] ?? findAll(slot, "button, a")[0])?.focus();
  }
  if (isLive(session)) row.querySelector(".fg-message")?.remove();
}
