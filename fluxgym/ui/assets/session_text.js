// What is said about a run: its steps, and one sentence.

import { duration } from "./clock.js";
import { whole } from "./text.js";

/** @import { SessionRow } from "./types.js" */

/**
 * The key of a run's row: another run under the same name gets another row.
 * @param {SessionRow} session
 */
export const rowKey = (session) => `${session.slug}/${session.run_id ?? ""}`;

/**
 * "320 / 960", "0 / 960" for a run that waits, "" if the steps are not known.
 * @param {SessionRow} session
 */
export function stepsText({ step, total_steps: total }, between = " / ") {
  if (!total) return step ? whole(step) : "";
  return `${whole(step ?? 0)}${between}${whole(total)}`;
}

/**
 * "step 320 of 960", "" if the steps are not known.
 * @param {SessionRow} session
 */
function stepText(session) {
  const text = stepsText(session, " of ");
  return text && `step ${text}`;
}

/**
 * The part of the steps that is done, from 0 to 1; null if the steps are not known.
 * @param {SessionRow} session
 */
export function shareOf(session) {
  const { step, total_steps: total } = session.progress;
  return total ? Math.min(1, (step ?? 0) / total) : null;
}

/**
 * One sentence about a run that does not train: why it ended, what it waits for, or what it reached.
 * @param {SessionRow} session
 */
export function sentence(session) {
  if (session.origin === "copy") return session.parent ? `Copy of ${session.parent_name}` : "A copy";
  if (session.reason) return session.reason;
  if (session.status === "starting") return "The trainer is being started.";
  const steps = stepsText(session);
  if (session.status === "stopped" && steps) return `Stopped at ${stepText(session)}`;
  if (session.status !== "completed" || !steps) return "";
  return session.duration_s === null ? `${steps} steps trained` : `${steps} steps in ${duration(session.duration_s)}`;
}

/**
 * "step 320 of 960" for a run that has ended, "" if its sentence says so already or the steps are not known.
 * @param {SessionRow} session
 */
export function endedAtStep(session) {
  if (session.is_live) return "";
  const isNamed = session.origin !== "copy" && (session.reason ? session.reason_names_step : sentence(session) !== "");
  return isNamed ? "" : stepText(session);
}
