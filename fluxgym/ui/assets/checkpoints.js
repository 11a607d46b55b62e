// The LoRA files of a run: epoch, step, validation loss and download; a completed run's files can be chosen, a stopped one's resumed from.

import { address } from "./api.js";
import { card } from "./card.js";
import { attribute, fill, find, h, keyed, put, redraw } from "./dom.js";
import { icon } from "./icons.js";
import { lossText, plural, whole } from "./text.js";

/** @import { LoraFile, LoraFiles, SessionRow } from "./types.js" */

const FIRST_ROWS = 6;
const known = (/** @type {number | null} */ value) => (value === null ? "–" : whole(value));

/**
 * The table with its head. Returns {table, body}.
 */
function filesTable() {
  const head = h("tr", {}, h("th", { class: "choose" }, h("span", { class: "vh" }, "Chosen")), h("th", {}, "Epoch"), h("th", { class: "r" }, "Step"), h("th", { class: "r val" }, "Validation"),
    h("th", {}, h("span", { class: "vh" }, "Actions")));
  const body = h("tbody");
  return { table: h("table", { class: "checkpoints" }, h("thead", {}, head), body), body };
}

/**
 * A file's row; its radio button chooses it.
 * @param {LoraFile} file
 * @param {(name: string) => void} onchoose
 */
function makeRow(file, onchoose) {
  const radio = h("input", { type: "radio", name: "fg-file", "aria-label": file.name, onchange: () => onchoose(file.name) });
  return h("tr", {}, h("td", { class: "choose" }, radio), h("td", {}), h("td", { class: "r" }), h("td", { class: "r val" }), h("td", { class: "acts" }));
}

/**
 * @param {HTMLElement} row
 * @param {LoraFile} file
 * @param {(file: LoraFile) => void} onresume
 */
function showFile(row, file, onresume) {
  const [, epoch, step, validation, actions] = row.children;
  fill(epoch, h("b", {}, file.epoch === null && file.is_final ? "" : known(file.epoch)), file.is_final ? h("span", { class: "faint" }, " final") : null);
  put(step, known(file.step));
  put(validation, file.val_loss === null ? "–" : lossText(file.val_loss));
  fill(actions,
    file.checkpoint ? h("button", { type: "button", class: "btn s quiet", onclick: () => onresume(file) }, "Resume from here…") : null,
    h("a", { class: "btn s", href: address(file.url), download: file.name, title: file.name, "aria-label": `Download ${file.name}, ${file.size}` }, icon("download"), h("span", {}, file.size)));
}

/**
 * The card. Returns {element, reset, show}.
 * @param {{ onchoose: (name: string) => void, onresume: (file: LoraFile) => void }} on
 */
export function checkpointsCard({ onchoose, onresume }) {
  /** @type {LoraFile[]} */
  let files = [];
  /** @type {string | null} */
  let chosen = null;
  let isChoice = false;
  let isUnfolded = false;
  const count = h("span", { class: "small faint" });
  const { table, body } = filesTable();
  const more = h("button", { type: "button", class: "link", onclick: () => { isUnfolded = true; show(); } });
  const foot = h("footer", { class: "small" }, more);
  const empty = h("p", { class: "body soft" });
  const element = card("fg-h-files", "Checkpoints", { tools: count }, h("div", { class: "scroll" }, table), foot, empty);

  /**
   * @param {HTMLElement} row
   * @param {LoraFile} file
   */
  function update(row, file) {
    const radio = /** @type {HTMLInputElement} */ (find(row, "input"));
    radio.checked = file.name === chosen;
    row.classList.toggle("sel", isChoice && file.name === chosen);
    redraw(row, file, () => showFile(row, file, onresume));
  }

  function show() {
    const shown = isUnfolded ? files : files.filter((file, index) => index < FIRST_ROWS || file.name === chosen);
    table.classList.toggle("no-choice", !isChoice);
    table.classList.toggle("no-val", files.every((file) => file.val_loss === null));
    keyed(body, shown, (file) => file.name, (file) => makeRow(file, onchoose), update);
    attribute(table, "hidden", files.length ? null : "");
    empty.hidden = files.length > 0;
    foot.hidden = shown.length === files.length;
    put(more, `Show ${files.length - shown.length} more`);
    put(count, files.length > 1 ? plural(files.length, "file") : "");
  }

  return {
    element,
    reset() {
      isUnfolded = false;
    },
    /** @param {{ files?: LoraFiles | null, chosen?: string | null, session?: SessionRow | null }} next */
    show(next) {
      if (next.files) files = next.files.files;
      if (next.chosen !== undefined) chosen = next.chosen;
      if (next.session) {
        isChoice = next.session.status === "completed";
        put(empty, next.session.is_live ? "The LoRA files appear here as they are saved." : "This run has no LoRA file.");
      }
      show();
    },
  };
}
