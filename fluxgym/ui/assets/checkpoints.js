// The LoRA files of a run: epoch, step, validation loss and download; a completed run's files can be chosen, a stopped one's resumed from.

import { address } from "./api.js";
import { attribute, fill, h, keyed, put } from "./dom.js";
import { icon } from "./icons.js";
import { isLive } from "./session_row.js";

const FIRST_ROWS = 6;
const number = (value) => (value === null ? "–" : value.toLocaleString("en-US"));

export function checkpointsCard({ onchoose, onresume }) {
  let files = [];
  let chosen = null;
  let isChoice = false;
  let isUnfolded = false;
  const count = h("span", { class: "small faint" });
  const head = h("tr", {}, h("th", { class: "choose" }, h("span", { class: "vh" }, "Chosen")), h("th", {}, "Epoch"), h("th", { class: "r" }, "Step"), h("th", { class: "r val" }, "Validation"),
    h("th", {}, h("span", { class: "vh" }, "Actions")));
  const body = h("tbody");
  const table = h("table", { class: "checkpoints" }, h("thead", {}, head), body);
  const more = h("button", { type: "button", class: "link", onclick: () => { isUnfolded = true; show(); } });
  const foot = h("footer", { class: "small" }, more);
  const empty = h("p", { class: "body soft" }, "The LoRA files appear here as they are saved.");
  const element = h("section", { class: "card", "aria-labelledby": "fg-h-files" },
    h("header", {}, h("h2", { id: "fg-h-files" }, "Checkpoints"), count), h("div", { class: "scroll" }, table), foot, empty);

  function row(file) {
    const radio = h("input", { type: "radio", name: "fg-file", "aria-label": file.name, onchange: () => onchoose(file.name) });
    return h("tr", {}, h("td", { class: "choose" }, radio), h("td", {}), h("td", { class: "r" }), h("td", { class: "r val" }), h("td", { class: "acts" }));
  }

  function update(line, file) {
    const [choice, epoch, step, validation, actions] = line.children;
    choice.firstElementChild.checked = file.name === chosen;
    line.classList.toggle("sel", isChoice && file.name === chosen);
    const known = JSON.stringify(file);
    if (line.dataset.known === known) return;
    line.dataset.known = known;
    fill(epoch, h("b", {}, file.epoch === null && file.is_final ? "" : number(file.epoch)), file.is_final ? h("span", { class: "faint" }, " final") : null);
    put(step, number(file.step));
    put(validation, file.val_loss === null ? "–" : file.val_loss.toFixed(3));
    fill(actions,
      file.checkpoint ? h("button", { type: "button", class: "btn s quiet", onclick: () => onresume(file) }, "Resume from here…") : null,
      h("a", { class: "btn s", href: address(file.url), download: file.name, title: file.name, "aria-label": `Download ${file.name}, ${file.size}` }, icon("download"), h("span", {}, file.size)));
  }

  function show() {
    const shown = isUnfolded ? files : files.filter((file, index) => index < FIRST_ROWS || file.name === chosen);
    table.classList.toggle("no-choice", !isChoice);
    table.classList.toggle("no-val", files.every((file) => file.val_loss === null));
    keyed(body, shown, (file) => file.name, row, update);
    attribute(table, "hidden", files.length ? null : "");
    empty.hidden = files.length > 0;
    foot.hidden = shown.length === files.length;
    put(more, `Show ${files.length - shown.length} more`);
    put(count, files.length > 1 ? `${files.length} files` : "");
  }

  return {
    element,
    reset() {
      isUnfolded = false;
    },
    show(next) {
      if (next.files) files = next.files.files;
      if (next.chosen !== undefined) chosen = next.chosen;
      if (next.session) {
        isChoice = next.session.status === "completed";
        put(empty, isLive(next.session) ? "The LoRA files appear here as they are saved." : "This run has no LoRA file.");
      }
      show();
    },
  };
}
