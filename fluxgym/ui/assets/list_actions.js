// Actions on the whole list of runs: import, forgetting old ones, and putting removed ones back.

import { errorOf, get, path, post, upload } from "./api.js";
import { question } from "./dialog.js";
import { stamp } from "./clock.js";
import { emit, h, put } from "./dom.js";
import { notice } from "./notices.js";
import { go } from "./router.js";
import { noticeForgotten } from "./session_actions.js";
import { plural, whole } from "./text.js";

/** @import { RemovedItem, SweepPreview } from "./types.js" */

/**
 * A hidden file input that imports the chosen file; call its click().
 * @param {string} accept the types of files, from the app
 */
export function importInput(accept) {
  const file = h("input", { type: "file", accept, hidden: true, "aria-label": "An exported run or archive", onchange: async () => {
    const [chosen] = file.files ?? [];
    file.value = "";
    if (chosen) await importFile(chosen);
  } });
  return file;
}

/** @param {File} chosen */
async function importFile(chosen) {
  const answer = await upload(path("import", chosen.name), chosen);
  const slugs = answer.value?.slugs ?? [];
  if (!answer.value) await question({ title: "Not imported", text: answer.error?.message ?? `${chosen.name}: the connection was interrupted; import it again.` });
  else if (slugs.length === 1) go("run", slugs[0]);
  else notice(`${plural(slugs.length, "run")} are imported.`);
  emit("fg:changed");
}

/**
 * A removed run with the button that puts it back.
 * @param {RemovedItem} run
 */
function removedItem({ id, name, removal, removed_at: at, num_loras: loras }) {
  const problem = h("p", { class: "small bad", role: "alert", hidden: true });
  const button = h("button", { type: "button", class: "btn s", "aria-label": `Put back ${name}`, onclick: async () => {
    button.disabled = true;
    const answer = await post(path("removed", id), {});
    button.disabled = Boolean(answer.value);
    put(button, answer.value ? `On the list as ${answer.value.slug}` : "Put back");
    put(problem, errorOf(answer));
    problem.hidden = !problem.textContent;
    emit("fg:changed");
  } }, "Put back");
  const about = [`${removal}${at ? ` ${stamp(at).slice(0, 16)}` : ""}`, loras ? plural(loras, "LoRA file") : ""].filter(Boolean).join(", ");
  return h("li", { class: "stack tight" }, h("div", { class: "line" }, h("span", { class: "grow" }, h("b", {}, name), " ", h("span", { class: "small soft" }, about)), button), problem);
}

/** Show the runs that were forgotten or replaced; each can be put back. */
export async function showRemoved() {
  const answer = await get("removed");
  if (!answer.value) {
    notice(errorOf(answer));
    return;
  }
  const { runs } = answer.value;
  await question({
    title: "Removed runs",
    text: runs.length ? "These runs were forgotten or replaced. All their files are kept." : "No run was forgotten or replaced. Deleted runs are gone.",
    body: [h("ul", { class: "stack fg-removed" }, runs.map(removedItem))],
  });
}

/** @param {SweepPreview} preview */
function previewText({ count, names }) {
  const more = count > names.length ? ` and ${whole(count - names.length)} more` : "";
  return `${names.join(", ")}${more}. They leave the list; their LoRAs and all other files stay.`;
}

/** Ask for an age. Returns the days and the runs that are that old, null after Cancel. */
async function askForAge() {
  let preview = /** @type {SweepPreview | null} */ (null);
  const asked = await question({
    title: "Forget old runs", text: "Ended runs that were started more than this many days ago leave the list. Their LoRAs and files stay.",
    field: { label: "Older than (days)", value: "30" }, yes: "Continue",
    check: async (days) => {
      if (!/^\d{1,5}$/.test(days.trim())) return "Enter a whole number of days, such as 30.";
      const answer = await get("sweep", { days: Number(days) });
      preview = answer.value ?? null;
      return errorOf(answer) || (preview?.count ? "" : "No ended run is that old.");
    },
  });
  return asked && preview && { days: Number(asked.value), preview };
}

/** Ask for an age, then forget the ended runs that were started before, after a question that counts them. */
export async function forgetOld() {
  const age = await askForAge();
  if (!age) return;
  const runs = plural(age.preview.count, "run");
  if (!await question({ title: `Forget ${runs}?`, text: previewText(age.preview), yes: `Forget ${runs}` })) return;
  const answer = await post("sweep", { days: age.days });
  if (answer.value) noticeForgotten(answer.value.slugs, plural(answer.value.slugs.length, "run"));
  else notice(errorOf(answer));
  emit("fg:changed");
}
