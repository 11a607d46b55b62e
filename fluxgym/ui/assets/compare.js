// Two runs side by side: their settings and results, and the smoothed loss of both.

import { errorOf, get } from "./api.js";
import { fill, h, put } from "./dom.js";

/** The address of a comparison: the slugs are in the query twice, which URLSearchParams of an object cannot do. */
const where = (sessions) => `compare?${sessions.map(({ slug }) => `slug=${encodeURIComponent(slug)}`).join("&")}`;

function table(comparison, onlyDifferences) {
  const rows = comparison.settings.filter((row) => !onlyDifferences || row.differs);
  const body = rows.map((row) => h("tr", {}, h("td", {}, row.label), row.values.map((value) => h("td", { class: row.differs && !onlyDifferences ? "strong" : null }, value || "–"))));
  if (!rows.length) body.push(h("tr", {}, h("td", { colspan: 3, class: "soft" }, "Nothing differs.")));
  return h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "Setting"), comparison.runs.map((run) => h("th", {}, run.lora_name)))), h("tbody", {}, body));
}

/** The card of a comparison. Returns {element, show(sessions), hide()}. */
export function comparison() {
  const title = h("h2", { id: "fg-compare-title", tabindex: -1 });
  const only = h("input", { type: "checkbox", role: "switch", checked: true, onchange: () => draw() });
  const close = h("button", { type: "button", class: "btn s quiet", onclick: () => { element.hidden = true; } }, "Close");
  const content = h("div", { class: "scroll" });
  const element = h("section", { class: "card", id: "fg-compare", "aria-labelledby": "fg-compare-title", hidden: true },
    h("header", {}, title, h("label", { class: "check switch" }, only, "Differences only"), close), content);
  let shown = null;
  const draw = () => shown && fill(content, table(shown, only.checked));
  return {
    element,
    hide() { element.hidden = true; },
    async show(sessions) {
      const answer = await get(where(sessions));
      element.hidden = false;
      shown = answer.value ?? null;
      put(title, `Compare ${sessions.map((session) => session.lora_name).join(" and ")}`);
      if (shown) draw();
      else fill(content, h("p", { class: "help bad body", role: "alert" }, errorOf(answer)));
      title.focus();
    },
  };
}
