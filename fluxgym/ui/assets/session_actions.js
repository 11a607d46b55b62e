// What the buttons and menus of runs do: requests to the app, with the question before what cannot be undone, and Undo after Forget.

import { errorOf, path, post } from "./api.js";
import { question } from "./dialog.js";
import { emit, h, put } from "./dom.js";
import { send } from "./form.js";
import { loadIntoForm } from "./load_run.js";
import { notice } from "./notices.js";
import { go } from "./router.js";
import { listed, plural, sizeText, word } from "./text.js";
import * as store from "./browser_store.js";

/** @import { ActionRequest, Contents, Refused, SessionRow, StepAction } from "./types.js" */

/** @typedef {ReturnType<typeof actions>} Act */

/** @param {SessionRow[]} sessions */
export const selection = (sessions) => ({ runs: sessions.map(({ slug, run_id }) => ({ slug, run_id })) });

/**
 * The runs that have ended, and those that are live.
 * @param {SessionRow[]} sessions
 */
const byEnd = (sessions) => [sessions.filter((session) => !session.is_live), sessions.filter((session) => session.is_live)];

/**
 * "my-cat", "my-cat and dog", "my-cat, dog and 3 more"
 * @param {SessionRow[]} sessions
 */
function namesOf(sessions) {
  const names = sessions.map((session) => session.name);
  return listed(names.length <= 3 ? names : [...names.slice(0, 2), `${names.length - 2} more`]);
}

/**
 * "4 LoRA files, 2 checkpoints, 12 samples and 14 images"; "" if the folders hold none of them.
 * @param {Contents} contents
 */
function contentsText(contents) {
  /** @type {[number, string][]} */
  const parts = [
    [contents.num_loras, "LoRA file"], [contents.num_checkpoints, "checkpoint"], [contents.num_samples, "sample"], [contents.num_images, "image"],
  ];
  return listed(parts.filter(([number]) => number).map(([number, noun]) => plural(number, noun)));
}

/**
 * The reasons of runs that were refused, each of which names its run; "" if there are none.
 * @param {Refused[]} refused
 */
const refusedText = (refused) => refused.map(({ message }) => message).join(" ");

/**
 * One sentence about selected runs that an action leaves out because they are live, "" if there are none.
 * @param {SessionRow[]} live
 */
function leftOutText(live) {
  const [subject, stop] = live.length === 1 ? [`${live[0].name} is`, "it has"] : [`${listed(live.map(({ name }) => name))} are`, "they have"];
  return live.length ? `${subject} not included, because ${stop} not ended.` : "";
}

/** @param {Refused[]} refused */
function reportRefused(refused) {
  if (refused.length) notice(refusedText(refused));
}

/**
 * Put forgotten runs back on the list. Returns a sentence if that failed.
 * @param {string[]} slugs
 */
async function undoForget(slugs) {
  const answer = await post("selection/undo-forget", { runs: slugs.map((slug) => ({ slug })) });
  emit("fg:changed");
  return answer.value ? refusedText(answer.value.refused) : errorOf(answer);
}

/**
 * Show that runs were forgotten, with Undo.
 * @param {string[]} slugs
 * @param {string} name
 */
export function noticeForgotten(slugs, name) {
  const number = slugs.length;
  if (number) notice(`${name} ${word(number, "is", "are")} forgotten. ${word(number, "Its", "Their")} files are kept.`, { undo: () => undoForget(slugs) });
}

/**
 * Take the runs that have ended off the list; their files stay. Returns the slugs that were forgotten.
 * @param {SessionRow[]} chosen
 */
export async function forget(chosen) {
  const [sessions, live] = byEnd(chosen);
  const answer = await post("selection/forget", selection(sessions));
  if (!answer.value) {
    notice(errorOf(answer));
    return [];
  }
  const { slugs, refused } = answer.value;
  noticeForgotten(slugs, namesOf(sessions.filter((session) => slugs.includes(session.slug))));
  if (live.length) notice(leftOutText(live));
  reportRefused(refused);
  emit("fg:gone", slugs);
  emit("fg:changed");
  return slugs;
}

/**
 * The question before runs are deleted: what is lost, named and counted, and which of the selected runs stay.
 * @param {SessionRow[]} sessions
 * @param {Contents} contents
 * @param {SessionRow[]} live
 */
function deleteQuestion(sessions, contents, live) {
  const size = sizeText(contents.num_bytes);
  const inside = contentsText(contents);
  const [title, folders] = sessions.length === 1 ? [`Delete ${sessions[0].name}?`, `the folder ${sessions[0].slug}`]
    : [`Delete ${sessions.length} runs?`, `the folders of ${listed(sessions.map(({ name }) => name))}`];
  const text = `Deletes ${folders}, ${plural(contents.num_files, "file")}, ${size}. ${inside ? `Includes ${inside}` : "No LoRA file is included"}. This cannot be undone.`;
  const stays = live.length ? [h("p", { class: "soft" }, leftOutText(live))] : [];
  return { title, text, body: stays, danger: true, yes: `Delete ${size}` };
}

/**
 * Delete the runs that have ended, after a question. Returns the slugs that were deleted.
 * @param {SessionRow[]} chosen
 */
export async function deleteRuns(chosen) {
  const [sessions, live] = byEnd(chosen);
  const found = await post("selection/contents", selection(sessions));
  if (!found.value) {
    notice(errorOf(found));
    return [];
  }
  /** @type {string[]} */
  let deleted = [];
  await question({ ...deleteQuestion(sessions, found.value, live), check: async () => {
    const answer = await post("selection/delete", selection(sessions));
    if (!answer.value) return errorOf(answer);
    deleted = answer.value.slugs;
    if (deleted.length) notice(`${namesOf(sessions.filter((session) => deleted.includes(session.slug)))} ${word(deleted.length, "is", "are")} deleted.`);
    reportRefused(answer.value.refused);
    return "";
  } });
  emit("fg:gone", deleted);
  emit("fg:changed");
  return deleted;
}

/**
 * Ask before a stop; other actions need no question.
 * @param {StepAction} action
 * @param {SessionRow} session
 */
async function confirmed(action, session) {
  if (action === "stop") return question({ title: `Stop ${session.name}?`, text: session.stop_text, yes: "Stop" });
  if (action === "kill") {
    return question({ title: `Stop ${session.name} now?`, text: session.stop_text, yes: "Stop now", danger: true });
  }
  return true;
}

/** @type {Partial<Record<StepAction, string>>} what a button says while its action is requested */
const BUSY = { resume: "Resuming…", start: "Starting…", repair: "Repairing…", cancel: "Canceling…", stop: "Stopping…", kill: "Stopping…" };

/** @type {Partial<Record<StepAction, string>>} what is not known of a run if its action got no answer */
const UNKNOWN = {
  resume: "was resumed", start: "was started", repair: "was repaired", cancel: "was taken out of the queue",
  stop: "was told to stop", kill: "was told to stop",
};

/**
 * Show a sentence in the row or head that a button belongs to, else as a notice.
 * @param {Element} button
 * @param {string} text
 */
function showError(button, text) {
  const row = button.closest("#fg-banner .row, .fg-run-head");
  row?.querySelector(".fg-message")?.remove();
  if (row) row.append(h("p", { class: "fg-message help bad", role: "alert" }, text));
  else notice(text);
}

/**
 * Send an action on a run; run_id refuses it if another run has taken the name.
 * @param {SessionRow} session
 * @param {string} action
 * @param {Omit<ActionRequest, "run_id">} [more]
 */
const request = (session, action, more = {}) => post(path("sessions", session.slug, action), { run_id: session.run_id, ...more });

/** @type {Record<string, { title: string, yes: string }>} the questions that the app's refusals are, by code */
const CONSENTS = {
  NamesCode: { title: "This training names code of its own", yes: "Run it" },
  TakesOver: { title: "This training ran on another machine", yes: "Take over" },
};

/** The code of the app's refusal to replace a template that the user did not agree to lose. */
export const REPLACES_TEMPLATE = "ReplacesTemplate";

/**
 * Ask before a template is replaced.
 * @param {string} name
 * @param {() => Promise<string>} [check] what is done then; returns an error or ""
 */
export const askToReplace = (name, check = async () => "") =>
  question({ title: `Replace the template ${name}?`, text: "There is a template of this name. If it is replaced, its settings are lost.", yes: "Replace", danger: true, check });

/**
 * Send an action, and send it again with the user's consent to what the app asks about; isDeclined is true if the user has refused that.
 * @param {SessionRow} session
 * @param {string} action
 * @param {Omit<ActionRequest, "run_id">} [more]
 */
async function requestWithConsent(session, action, more = {}) {
  const agreed = [...more.agreed ?? []];
  for (;;) {
    const answer = await request(session, action, { ...more, agreed });
    const code = answer.error?.code ?? "";
    const consent = CONSENTS[code];
    if (answer.value?.notice) notice(answer.value.notice);
    if (!answer.error || !consent || agreed.includes(code)) return { ...answer, isDeclined: false };
    if (!await question({ title: consent.title, text: answer.error.message, yes: consent.yes, danger: true })) return { ...answer, isDeclined: true };
    agreed.push(code);
  }
}

/**
 * Show that a run left the queue, with Undo.
 * @param {SessionRow} session
 */
function noticeCanceled(session) {
  const undo = async () => {
    const answer = await requestWithConsent(session, "requeue");
    emit("fg:changed");
    return answer.isDeclined ? "" : errorOf(answer);
  };
  notice(`${session.name} left the queue. Its settings and images are kept. Undo puts it at the end of the queue.`, { undo });
}

/**
 * Open a run's page, and show its settings in the form unless that holds unsaved changes.
 * @param {SessionRow} session
 */
function open(session) {
  store.setViewed(session.slug);
  send("open", { slug: session.slug });
  go("run", session.slug);
}

/**
 * Do an action of the app, with its button disabled and renamed meanwhile.
 * @param {StepAction} action
 * @param {SessionRow} session
 * @param {HTMLButtonElement} button
 */
async function press(action, session, button) {
  const label = button.textContent ?? "";
  const wasFocused = document.activeElement === button;
  button.disabled = true; // it loses the focus
  put(button, BUSY[action] ?? label);
  const answer = await requestWithConsent(session, action === "cancel" ? "stop" : action);
  button.disabled = false;
  put(button, label);
  if (wasFocused && document.activeElement === document.body) button.focus();
  if (answer.offline) notice(`Connection lost. It is not known whether ${session.name} ${UNKNOWN[action] ?? "was changed"}.`);
  if (answer.error && !answer.isDeclined) showError(button, answer.error.message);
  if (answer.value && action === "cancel") noticeCanceled(session);
  if (answer.value && (action === "resume" || action === "start")) go("run", session.slug);
  emit("fg:changed");
}

/**
 * Return the function that does a button's action; `ask` requests the changed state. act.request sends an action as it is; act.done is
 * called after one, with the slug of the run to open if there is one.
 * @param {() => unknown} ask
 */
export function actions(ask) {
  /**
   * @param {StepAction | "open"} action
   * @param {SessionRow} session
   * @param {HTMLButtonElement} [button]
   */
  async function act(action, session, button) {
    if (action === "open") open(session);
    else if (action === "load") await loadIntoForm(session);
    else if (button && await confirmed(action, session)) {
      await press(action, session, button);
      ask();
    }
  }
  act.request = requestWithConsent;
  act.done = (/** @type {string | null} */ slug = null) => {
    emit("fg:changed");
    if (slug) go("run", slug);
  };
  return act;
}
