// A run that ended before its last step: the cause, the evidence, and what to do. Also a copy that was not started yet.

import { card } from "./card.js";
import { fill, h, keyed, put, redraw } from "./dom.js";
import { dot } from "./icons.js";

/** @import { RunOutcome, SessionRow } from "./types.js" */

/** @typedef {{ ending: RunOutcome, session: SessionRow }} Ended */

/** Why it ended, and the lines of the log that show it. Returns {element, show}. */
export function causeCard() {
  const shape = h("span");
  const title = h("span");
  const reason = h("p", { class: "fg-reason" });
  const exit = h("p", { class: "soft small" });
  const lines = h("div", { class: "log evidence", tabindex: 0, "aria-label": "Evidence in the log" });
  const proof = h("div", {}, h("h3", {}, "Evidence"), exit, lines);
  const element = card("fg-h-cause", [shape, title], {}, h("div", { class: "body stack" }, reason, proof));
  return {
    element,
    /** @param {Ended} run */
    show({ ending, session }) {
      redraw(shape, session.shown.shape, () => fill(shape, dot(session.shown.shape)));
      put(title, ending.title);
      put(reason, ending.reason);
      reason.hidden = !ending.reason;
      put(exit, ending.exit);
      exit.hidden = !ending.exit;
      put(lines, ending.evidence.join("\n"));
      lines.hidden = !ending.evidence.length;
      proof.hidden = !ending.exit && !ending.evidence.length;
    },
  };
}

/** What to do next; `actions` has the buttons. Returns {element, actions, show}. */
export function adviceCard() {
  const lines = h("ul", { class: "stack tight advice" });
  const actions = h("div", { class: "stack tight" });
  const help = h("p", { class: "small soft" });
  const element = card("fg-h-advice", "What to do", {}, h("div", { class: "body stack" }, lines, actions, help));
  return {
    element,
    actions,
    /** @param {Ended} run */
    show({ ending, session }) {
      keyed(lines, ending.advice, (line) => line, (line) => h("li", {}, line), () => {});
      lines.hidden = !ending.advice.length;
      const { action, help: text } = session.next_step;
      help.hidden = action !== "resume";
      put(help, help.hidden ? "" : text);
    },
  };
}
