// What is ahead of a training that would be started now.

import { get, poll } from "./api.js";

/** Watch the queue; `show({ahead, sentence})` gets the number of runs to wait for, and a sentence about them. */
export function watchQueue(numDevices, show) {
  let version = "";
  const now = poll(async () => {
    const { value } = await get("sessions", { version });
    if (value) {
      version = value.version;
      show(ahead(value, numDevices));
    }
    return 5;
  });
  document.addEventListener("fg:changed", now);
}

function ahead({ counts, rows }, numDevices) {
  if (counts.running < numDevices && !counts.waiting) return { ahead: 0, sentence: "" };
  const busy = rows.filter((row) => row.status === "running" || row.status === "starting").map((row) => row.lora_name);
  const running = busy.length === 1 && counts.running === 1 ? `${busy[0]} is training.` : `${counts.running} runs are training.`;
  const waiting = counts.waiting ? ` ${counts.waiting} more ${counts.waiting === 1 ? "waits" : "wait"} before yours.` : "";
  return { ahead: counts.waiting + (counts.running ? 1 : 0), sentence: (counts.running ? running : "") + waiting };
}
