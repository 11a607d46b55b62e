// The LoRA files of a run: epoch, step, validation loss and download; a completed run's files can be chosen, a stopped one's resumed from.

import { address } from "./api.js";
import { card } from "./card.js";
import { attribute, fill, find, h, keyed, put, redraw } from "./dom.js";
import { icon } from "./icons.js";
import { lossText, plural, whole } from "./text.js";

/** @import { LoraFile, LoraFiles, SessionRow } from "./types.js" */

/** @typedef {{ onchoose: (name: string) => void, onresume: (file: LoraFile) => void }} CheckpointActions */

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

class Checkpoints {
  /** @type {LoraFile[]} */
  files = [];
  /** @type {string | null} */
  chosen = null;
  isChoice = false;
  isUnfolded = false;

  /** @param {CheckpointActions} on */
  constructor(on) {
    this.on = on;
    this.count = h("span", { class: "small faint" });
    this.more = h("button", { type: "button", class: "link", onclick: () => { this.isUnfolded = true; this.draw(); } });
    this.foot = h("footer", { class: "small" }, this.more);
    this.empty = h("p", { class: "body soft" });
    const { table, body } = filesTable();
    this.table = table;
    this.body = body;
    this.element = card("fg-h-files", "LoRA files", { tools: this.count }, h("div", { class: "scroll" }, table), this.foot, this.empty);
  }

  /**
   * @param {HTMLElement} row
   * @param {LoraFile} file
   */
  update(row, file) {
    const radio = /** @type {HTMLInputElement} */ (find(row, "input"));
    radio.checked = file.name === this.chosen;
    row.classList.toggle("sel", this.isChoice && file.name === this.chosen);
    redraw(row, file, () => showFile(row, file, this.on.onresume));
  }

  draw() {
    const { files, table, foot, on } = this;
    const shown = this.isUnfolded ? files : files.filter((file, index) => index < FIRST_ROWS || file.name === this.chosen);
    table.classList.toggle("no-choice", !this.isChoice);
    table.classList.toggle("no-val", files.every((file) => file.val_loss === null));
    keyed(this.body, shown, (file) => file.name, (file) => makeRow(file, on.onchoose), (row, file) => this.update(row, file));
    attribute(table, "hidden", files.length ? null : "");
    this.empty.hidden = files.length > 0;
    foot.hidden = shown.length === files.length;
    put(this.more, `Show ${files.length - shown.length} more`);
    put(this.count, files.length > 1 ? plural(files.length, "file") : "");
  }

  /** Fold the list for another run. */
  reset() {
    this.isUnfolded = false;
  }

  /** @param {{ files?: LoraFiles | null, chosen?: string | null, session?: SessionRow | null }} next */
  show({ files, chosen, session }) {
    if (files) this.files = files.files;
    if (chosen !== undefined) this.chosen = chosen;
    if (session) {
      this.isChoice = session.status === "completed";
      put(this.empty, session.is_live ? "The LoRA files appear here as they are saved." : "This run has no LoRA file.");
    }
    this.draw();
  }
}

/**
 * The card of the LoRA files.
 * @param {CheckpointActions} on
 */
export const checkpointsCard = (on) => new Checkpoints(on);
