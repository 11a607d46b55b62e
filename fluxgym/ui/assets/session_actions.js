// What the buttons and menus of runs do: requests to the app, with the question before what cannot be undone, and Undo after Forget.

import { errorOf, path, post } from "./api.js";
import { question } from "./dialog.js";
import { h, put } from "./dom.js";
import { send } from "./form.js";
import { loadIntoForm } from "./load_run.js";
import { notice } from "./notices.js";
import { go } from "./router.js";
import * as store from "./browser_store.js";

const changed = () => document.dispatchEvent(new CustomEvent("fg:changed"));
const plural = (number, one, many = `${one}s`) => `${number.toLocaleString("en-US")} ${number === 1 ? one : many}`;
const selection = (sessions) => ({ runs: sessions.map(({ slug, run_id }) => ({ slug, run_id })) });

/** "my-cat", "my-cat and dog", "my-cat, dog and 3 more" */
function namesOf(sessions) {
  const names = sessions.map((session) => session.lora_name);
  if (names.length === 1) return names[0];
  if (names.length <= 3) return `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  return `${names.slice(0, 2).join(", ")} and ${names.length - 2} more`;
}

/** "1.2 GB", "17 MB", "3 kB" */
function sizeText(bytes) {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  return bytes >= 1e6 ? `${Math.round(bytes / 1e6)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} kB`;
}

/** "4 LoRA files, 2 checkpoints, 12 samples and 14 images"; "" if the folders hold none of them. */
function contentsText(contents) {
  const parts = [
    contents.num_loras && plural(contents.num_loras, "LoRA file"), contents.num_checkpoints && plural(contents.num_checkpoints, "checkpoint"),
    contents.num_samples && plural(contents.num_samples, "sample"), contents.num_images && plural(contents.num_images, "image"),
  ].filter(Boolean);
  return parts.length > 1 ? `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}` : parts[0] ?? "";
}

/** Say which runs were refused, and why. */
function reportRefused(refused) {
  if (refused.length) notice(refused.length === 1 ? refused[0].message : `${plural(refused.length, "run")} could not be changed. ${refused[0].message}`);
}

async function undoForget(slugs) {
  const answer = await post("selection/undo-forget", { runs: slugs.map((slug) => ({ slug })) });
  if (answer.value) reportRefused(answer.value.refused);
  else notice(errorOf(answer));
  changed();
}

/** Say that runs were forgotten, with Undo. */
export function noticeForgotten(slugs, name) {
  if (slugs.length) notice(`${name} ${slugs.length === 1 ? "is" : "are"} forgotten. ${slugs.length === 1 ? "Its" : "Their"} files are kept.`, { undo: () => undoForget(slugs) });
}

/** Take runs off the list; their files stay. Returns the slugs that were forgotten. */
export async function forget(sessions) {
  const answer = await post("selection/forget", selection(sessions));
  if (!answer.value) {
    notice(errorOf(answer));
    return [];
  }
  const { slugs, refused } = answer.value;
  noticeForgotten(slugs, slugs.length === 1 ? namesOf(sessions.filter((session) => session.slug === slugs[0])) : plural(slugs.length, "run"));
  reportRefused(refused);
  changed();
  return slugs;
}

/** Delete runs after a question that counts what is lost. Returns the slugs that were deleted. */
export async function deleteRuns(sessions) {
  const found = await post("selection/contents", selection(sessions));
  if (!found.value) {
    notice(errorOf(found));
    return [];
  }
  const size = sizeText(found.value.num_bytes);
  const inside = contentsText(found.value);
  let deleted = [];
  await question({
    title: sessions.length === 1 ? `Delete ${sessions[0].lora_name}?` : `Delete ${sessions.length} runs?`, danger: true, yes: `Delete ${size}`,
    text: `${sessions.length === 1 ? "Deletes the run's folder" : `Deletes the folders of ${namesOf(sessions)}`}, ${plural(found.value.num_files, "file")}, ${size}. `
      + `${inside ? `Includes ${inside}` : "No LoRA file is included"}. This cannot be undone.`,
    check: async () => {
      const answer = await post("selection/delete", selection(sessions));
      if (!answer.value) return errorOf(answer);
      deleted = answer.value.slugs;
      reportRefused(answer.value.refused);
      return "";
    },
  });
  changed();
  return deleted;
}

/** What a stop does now. Before the first step of an attempt there is nothing to save. */
function stopText(session) {
  const { step, phase } = session.progress ?? {};
  const trains = ["training", "sampling", "validating", "saving"].includes(phase);
  if (phase === "verifying") return "The training is done and the LoRA is being checked. Without the check it is not known whether the file is complete; it can be checked later.";
  if (trains && step) return `The trainer finishes the current step, saves a checkpoint and ends. You can resume it from there. It is at step ${step.toLocaleString("en-US")}.`;
  if (step) return "It has not trained since it was resumed. It ends now and keeps its checkpoints.";
  return "Nothing has been trained yet, so nothing is saved. Its settings and images are kept.";
}

async function confirmed(action, session) {
  if (action === "stop") return question({ title: `Stop ${session.lora_name}?`, text: stopText(session), yes: "Stop" });
  if (action === "kill") {
    return question({ title: `Stop ${session.lora_name} now?`, text: "Ends the trainer at once. The steps since the last checkpoint are lost.", yes: "Stop now", danger: true });
  }
  return true;
}

const BUSY = { resume: "Resuming…", repair: "Repairing…", cancel: "Canceling…", stop: "Stopping…", kill: "Stopping…" };

/** Show a sentence in the row or head that a button belongs to, else as a notice. */
function showError(button, text) {
  const row = button?.closest("#fg-banner .row, .fg-run-head");
  row?.querySelector(".fg-message")?.remove();
  if (row) row.append(h("p", { class: "fg-message help bad", role: "alert" }, text));
  else notice(text);
}

/** Return the function that does a button's action; `ask` requests the changed state. act.more(session) sends an action as it is. */
export function actions(ask) {
  const request = (session, action, more = {}) => post(path("sessions", session.slug, action), { run_id: session.run_id, ...more });

  async function act(action, session, button) {
    if (action === "open") {
      store.setViewed(session.slug);
      send("open", { slug: session.slug });
      go("run", session.slug);
      return;
    }
    if (action === "load") {
      await loadIntoForm(session);
      return;
    }
    if (!await confirmed(action, session)) return;
    const label = button.textContent;
    button.disabled = true;
    put(button, BUSY[action] ?? label);
    const answer = await request(session, action === "cancel" ? "stop" : action);
    button.disabled = false;
    put(button, label);
    if (answer.offline) notice(`Connection lost. It is not known whether ${session.lora_name} was changed.`);
    if (answer.error) showError(button, answer.error.message);
    if (answer.value && action === "cancel") notice(`${session.lora_name} left the queue. Its settings and images are kept.`);
    if (answer.value && action === "resume") go("run", session.slug);
    changed();
    ask();
  }
  act.more = (session) => (action, more = {}) => request(session, action, more);
  act.done = (result) => {
    changed();
    if (result.open) go("run", result.open);
  };
  return act;
}
