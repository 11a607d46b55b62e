// What is ahead of a training that would be started now, as the banner knows it.

import { plural, word } from "./text.js";

/** @import { Banner } from "./types.js" */

/** @typedef {{ ahead: number, sentence: string }} Ahead the number of runs to wait for, and a sentence about them */

/**
 * What is ahead, from the banner's counts.
 * @param {Banner} banner
 * @param {number} numDevices
 * @returns {Ahead}
 */
export function ahead({ counts, running }, numDevices) {
  if (counts.running < numDevices && !counts.queued) return { ahead: 0, sentence: "" };
  const busy = counts.running === 1 && running ? `${running.name} is training.` : `${plural(counts.running, "run")} are training.`;
  const waiting = counts.queued ? `${counts.running ? `${counts.queued} more` : plural(counts.queued, "run")} ${word(counts.queued, "waits", "wait")} before yours.` : "";
  return { ahead: counts.queued + (counts.running ? 1 : 0), sentence: [counts.running ? busy : "", waiting].filter(Boolean).join(" ") };
}
