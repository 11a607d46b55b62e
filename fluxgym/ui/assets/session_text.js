// What is said about a run: its state, its steps, one sentence, and its next step.

import { address } from "./api.js";
import { span } from "./clock.js";
import { whole } from "./text.js";

/** @import { SessionRow } from "./types.js" */

/** @typedef {{ action: string, text: string, help: string, href?: string }} NextStep */

const LIVE = new Set(["running", "starting", "queued"]);

/**
 * Return true if the run trains, starts or waits.
 * @param {SessionRow} session
 */
export const isLive = (session) => LIVE.has(session.status);

/**
 * Return true if earlier settings of the run can be restored.
 * @param {SessionRow} session
 */
export const canRestore = (session) => ["stopped", "failed"].includes(session.status) && !session.is_executing;

/**
 * The folder's name if it differs from the LoRA's name.
 * @param {SessionRow} session
 */
export const folderName = (session) => (session.lora_name === session.slug ? "" : session.slug);

/**
 * The key of a run's row: another run under the same name gets another row.
 * @param {SessionRow} session
 */
export const rowKey = (session) => `${session.slug}/${session.run_id ?? ""}`;

/**
 * "320 / 960", "0 / 960" for a run that waits, "" if the steps are not known.
 * @param {SessionRow} session
 */
export function stepsText(session) {
  const total = session.progress?.total_steps ?? session.total_steps;
  const step = session.progress?.step ?? 0;
  if (!total) return step ? whole(step) : "";
  return `${whole(step)} / ${whole(total)}`;
}

/**
 * The part of the steps that is done, from 0 to 1; null if the steps are not known.
 * @param {SessionRow} session
 */
export function shareOf(session) {
  const { step, total_steps: total } = session.progress ?? {};
  return total ? Math.min(1, (step ?? 0) / total) : null;
}

/**
 * What a live run does besides training: "Preparing the images, 3 of 20"; "" while it trains.
 * @param {SessionRow} session
 */
export function activity(session) {
  if (!session.activity || session.activity === "Training") return "";
  const { item, num_items: total } = session.progress ?? {};
  return typeof item === "number" && typeof total === "number" ? `${session.activity}, ${item} of ${total}` : session.activity;
}

/**
 * One sentence about a run that does not train: why it ended, what it waits for, or what it reached.
 * @param {SessionRow} session
 */
export function sentence(session) {
  if (session.origin === "copy") return session.parent ? `Copy of ${session.parent}` : "A copy";
  if (session.reason) return session.reason;
  const steps = stepsText(session);
  if (session.status === "starting") return "The trainer is being started.";
  if (session.status === "completed" && steps) return session.duration_s === null ? `${steps} steps trained` : `${steps} steps in ${span(session.duration_s)}`;
  if (session.status === "stopped" && steps) return `Stopped at step ${steps.replace(" / ", " of ")}`;
  return "";
}

/**
 * The next step of a run besides Open.
 * @param {SessionRow} session
 * @returns {NextStep}
 */
export function nextStep(session) {
  const load = (/** @type {string} */ text, /** @type {string} */ help) => ({ action: "load", text, help });
  if (session.is_stopping) return { action: "kill", text: "Stop now…", help: "Ends the trainer at once" };
  if (session.status === "queued") return { action: "cancel", text: "Cancel", help: "Removes it from the queue; its settings and images stay" };
  if (isLive(session) || session.is_executing) return { action: "stop", text: "Stop…", help: "Asks first, and says what is saved" };
  if (session.status === "unreadable") return { action: "repair", text: "Repair", help: "Restores the settings from the run’s history, or from its command and LoRA. The damaged file is kept" };
  if (session.resume) return { action: "resume", text: session.resume.label, help: session.resume.help };
  if (session.origin !== "trained" && !session.lora) return load("Start…", "Fills the form with its settings and images, to be started from there");
  if (session.lora && session.status !== "failed") return { action: "download", text: "Download", help: "The trained LoRA", href: address(session.lora) };
  if (session.status === "failed") return load("Retry…", "Fills the form with its settings; change what failed, then start it");
  return load("Start again…", "Fills the form with its settings and images; it has no checkpoint to resume from");
}
