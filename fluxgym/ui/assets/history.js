// The earlier settings of a run, newest first, each with what replaced it and a button that restores it.

import { stamp } from "./clock.js";
import { errorOf } from "./api.js";
import { fill, find, h, keyed, put, redraw } from "./dom.js";
import { whole } from "./text.js";

/** @import { Answer } from "./api.js" */
/** @import { HistoryVersion } from "./types.js" */

/** @typedef {(version: string) => Promise<Answer<unknown>>} Restore */

const RESTORE = "Restore the old settings";

/**
 * The button of a version, and why it could not be restored.
 * @param {string} id
 * @param {Restore} onrestore
 */
function restoring(id, onrestore) {
  const message = h("p", { class: "small bad", role: "alert", hidden: true });
  const button = h("button", { type: "button", class: "btn s", onclick: async () => {
    button.disabled = true;
    const answer = await onrestore(id);
    put(message, errorOf(answer));
    message.hidden = !message.textContent;
    put(button, answer.value ? "Restored" : RESTORE);
    button.disabled = Boolean(answer.value);
  } }, RESTORE);
  return [button, message];
}

/**
 * The list. Returns {element, show(versions)}.
 * @param {Restore} onrestore
 */
export function historyList(onrestore) {
  const element = h("ol", { class: "stack versions" });
  const make = (/** @type {HistoryVersion} */ { kept_at: at }) => h("li", { class: "stack tight" },
    h("p", { class: "small" }, h("b", {}, stamp(at))), h("ul", { class: "small" }), h("div", { class: "stack tight" }));

  return {
    element,
    /** @param {HistoryVersion[]} versions */
    show(versions) {
      keyed(element, versions, (version) => version.id, make, (item, { id, changes, resumed_after: step, can_restore: canRestore }) => {
        const list = find(item, "ul");
        const actions = find(item, "div");
        redraw(list, changes, () => {
          const lines = changes.map(({ label, before, after }) => h("li", {}, h("span", { class: "soft" }, `${label}: `), `${before} → ${after}`));
          fill(list, lines.length ? lines : h("li", {}, step === null ? "No setting was changed." : `Resumed after step ${whole(step)}. No setting was changed.`));
          fill(actions, restoring(id, onrestore));
        });
        actions.hidden = !canRestore;
      });
    },
  };
}
