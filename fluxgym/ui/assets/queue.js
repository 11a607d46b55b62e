// What is ahead of a training that would be started now, as the banner knows it.

/** The number of runs to wait for, and a sentence about them, from the banner's counts. */
export function ahead({ counts, running }, numDevices) {
  if (counts.running < numDevices && !counts.queued) return { ahead: 0, sentence: "" };
  const busy = counts.running === 1 && running ? `${running.lora_name} is training.` : `${counts.running} runs are training.`;
  const waiting = counts.queued ? ` ${counts.queued} more ${counts.queued === 1 ? "waits" : "wait"} before yours.` : "";
  return { ahead: counts.queued + (counts.running ? 1 : 0), sentence: (counts.running ? busy : "") + waiting };
}
