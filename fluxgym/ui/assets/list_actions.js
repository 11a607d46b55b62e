// Actions on the whole list of runs: import, and forgetting old sessions.

import { errorOf, get, path, post, upload } from "./api.js";
import { question } from "./dialog.js";
import { h } from "./dom.js";
import { notice } from "./notices.js";
import { go } from "./router.js";
import { noticeForgotten } from "./session_actions.js";

const changed = () => document.dispatchEvent(new CustomEvent("fg:changed"));

/** A hidden file input that imports the chosen file; call its click(). */
export function importInput() {
  const file = h("input", { type: "file", accept: ".zip,.json", hidden: true, "aria-label": "An exported run or archive", onchange: async () => {
    const [chosen] = file.files ?? [];
    file.value = "";
    if (chosen) await importFile(chosen);
  } });
  return file;
}

async function importFile(chosen) {
  const answer = await upload(path("import", chosen.name), chosen);
  const slugs = answer.value?.slugs ?? [];
  if (!answer.value) await question({ title: "Not imported", text: answer.error?.message ?? `${chosen.name}: the connection was interrupted; import it again.` });
  else if (slugs.length === 1) go("run", slugs[0]);
  else notice(`${slugs.length} runs are imported.`);
  changed();
}

const sessions = (count) => `${count.toLocaleString("en-US")} session${count === 1 ? "" : "s"}`;

function previewText({ count, names }) {
  const more = count > names.length ? ` and ${count - names.length} more` : "";
  return `${names.join(", ")}${more}. They leave the list; their LoRAs and all other files stay.`;
}

/** Ask for an age, then forget the ended sessions that were started before, after a question that counts them. */
export async function forgetOld() {
  let preview = /** @type {import("./types.js").SweepPreview | null} */ (null);
  const asked = await question({
    title: "Forget old sessions", text: "Ended sessions that were started more than this many days ago leave the list. Their LoRAs and files stay.",
    field: { label: "Older than (days)", value: "30" }, yes: "Continue",
    check: async (days) => {
      if (!/^\d{1,5}$/.test(days.trim())) return "Enter a whole number of days, such as 30.";
      const answer = await get("sweep", { days: Number(days) });
      preview = answer.value ?? null;
      return errorOf(answer) || (preview?.count ? "" : "No ended session is that old.");
    },
  });
  if (!asked || !preview) return;
  const title = `Forget ${sessions(preview.count)}?`;
  if (!await question({ title, text: previewText(preview), yes: `Forget ${sessions(preview.count)}` })) return;
  const answer = await post("sweep", { days: Number(asked.value) });
  if (answer.value) noticeForgotten(answer.value.slugs, sessions(answer.value.slugs.length));
  else notice(errorOf(answer));
  changed();
}
