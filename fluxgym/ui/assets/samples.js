// The samples of a run as prompts × steps. The columns of steps at which a LoRA file was saved choose that file once the run is completed.

import { now, span } from "./clock.js";
import { address } from "./api.js";
import { card } from "./card.js";
import { attribute, find, h, keyed, put } from "./dom.js";
import { lossText } from "./text.js";
import { viewer } from "./viewer.js";

/** @import { LoraFile, LoraFiles, SampleColumn, SampleMatrix, SessionRow } from "./types.js" */

/** @typedef {SampleColumn & { isNext?: true }} Column the next one has no images yet */
/** @typedef {{ key: string, kind: "corner" }} Corner */
/** @typedef {{ key: string, kind: "head", column: Column }} Head */
/** @typedef {{ key: string, kind: "prompt", prompt: string }} Prompt */
/** @typedef {{ key: string, kind: "image", column: Column, row: number, prompt: string }} ImageCell */
/** @typedef {Corner | Head | Prompt | ImageCell} Cell */

/**
 * The columns: those with images, then the next one, which is empty.
 * @param {SampleMatrix} matrix
 * @returns {Column[]}
 */
function columnsOf({ columns, upcoming }) {
  if (!upcoming || !columns.length) return columns;
  return [...columns, { key: "next", label: upcoming.label, step: null, epoch: null, images: [], isNext: true }];
}

/**
 * The cells of the grid, row by row.
 * @param {SampleMatrix} matrix
 */
function cellsOf(matrix) {
  const columns = columnsOf(matrix);
  /** @type {Cell[]} */
  const cells = [{ key: "corner", kind: "corner" }, ...columns.map((column) => /** @type {Head} */ ({ key: `h ${column.key}`, kind: "head", column }))];
  matrix.prompts.forEach((prompt, row) => {
    cells.push({ key: `p ${row}`, kind: "prompt", prompt });
    for (const column of columns) cells.push({ key: `${row} ${column.key} ${column.images[row] ?? ""}`, kind: "image", column, row, prompt });
  });
  return cells;
}

/**
 * What stands below the name of a column.
 * @param {Column} column
 * @param {LoraFile | null} file
 */
function below({ step, epoch, label }, file) {
  const parts = [];
  if (step === 0) parts.push("Base model");
  if (epoch && !label.startsWith("Epoch")) parts.push(`Epoch ${epoch}`);
  if (step && label.startsWith("Epoch")) parts.push(`Step ${step}`);
  if (typeof file?.val_loss === "number") parts.push(`Val. ${lossText(file.val_loss)}`);
  return parts.join("\n");
}

/**
 * When the next images are drawn: "in about 48 s", from the speed of the last steps; "" if that is not known.
 * @param {SampleMatrix} matrix
 * @param {SessionRow | null} session
 */
function waiting({ upcoming }, session) {
  const { time, step, s_per_it: speed } = session?.progress ?? {};
  if (!upcoming || upcoming.step === null || time === undefined || typeof speed !== "number" || typeof step !== "number") return "";
  const left = time + (upcoming.step - step) * speed - now();
  return left > 0 ? `in about ${span(left)}` : "soon";
}

/** @param {SessionRow | null} session */
const hasEndedEarly = (session) => session?.page_state === "ended" || session?.page_state === "new";

class Samples {
  /** @type {SampleMatrix} */
  matrix = { prompts: [], columns: [], upcoming: null, interval: "", empty: "" };
  /** @type {SessionRow | null} */
  session = null;
  /** @type {LoraFile[]} */
  files = [];
  /** @type {number | null} the step of the chosen file, once the run is completed */
  chosen = null;
  /** @type {string | null} the key of the column that was last scrolled into view */
  inView = null;

  /** @param {(name: string) => void} onchoose */
  constructor(onchoose) {
    this.onchoose = onchoose;
    this.viewer = viewer("step");
    this.title = h("span", {}, "Samples");
    this.note = h("span", { class: "small faint" });
    this.grid = h("div", { class: "matrix" });
    this.area = h("div", { class: "matrix-scroll" }, this.grid);
    this.empty = h("p", { class: "soft" });
    this.element = card("fg-h-samples", this.title, { tools: this.note }, h("div", { class: "body" }, this.area, this.empty));
  }

  /**
   * The LoRA file that was saved at a column's step, if files can be chosen.
   * @param {Column} column
   */
  fileOf(column) {
    if (this.session?.status !== "completed") return null;
    return this.files.find((file) => file.step !== null && file.step === column.step) ?? null;
  }

  /** @param {Cell} cell */
  make(cell) {
    if (cell.kind === "image") return this.image(cell);
    if (cell.kind === "prompt") return h("div", { class: "p" });
    if (cell.kind === "corner") return h("div", { class: "h" });
    const radio = h("input", { type: "radio", name: "fg-sample-file" });
    return h("div", { class: "h" }, h("label", { class: "check" }, radio, h("b")), h("span"));
  }

  /** @param {ImageCell} cell */
  image({ column, row, prompt }) {
    const url = column.images[row];
    if (!url) return h("div", { class: "pic wait" }, column.isNext ? "" : "No image");
    const open = () => this.open(this.matrix.columns.findIndex((one) => one.key === column.key), row);
    return h("button", { type: "button", class: "pic", "aria-label": `${column.label}: ${prompt}`, onclick: open }, h("img", { src: address(url), alt: "", loading: "lazy" }));
  }

  /**
   * @param {HTMLElement} element
   * @param {Cell} cell
   */
  update(element, cell) {
    if (cell.kind === "head") this.updateHead(element, cell.column);
    if (cell.kind === "prompt") put(element, cell.prompt);
    if (cell.kind === "image") element.classList.toggle("chosen", Boolean(this.fileOf(cell.column)) && cell.column.step === this.chosen);
  }

  /**
   * @param {HTMLElement} element
   * @param {Column} column
   */
  updateHead(element, column) {
    const file = this.fileOf(column);
    const radio = /** @type {HTMLInputElement} */ (find(element, "input"));
    radio.hidden = !file;
    radio.onchange = () => file && this.onchoose(file.name);
    radio.checked = Boolean(file) && column.step === this.chosen;
    find(element, "label").classList.toggle("plain", !file);
    put(find(element, "b"), column.label);
    put(find(element, ":scope > span"), column.isNext ? waiting(this.matrix, this.session) : below(column, file));
  }

  draw() {
    const { matrix, area, grid } = this;
    const count = String(columnsOf(matrix).length);
    const hasChoice = matrix.columns.filter((column) => this.fileOf(column)).length > 1;
    put(this.title, hasChoice ? "Choose another epoch" : "Samples");
    put(this.note, hasChoice ? "Download uses the chosen one" : matrix.interval);
    area.hidden = matrix.columns.length === 0;
    this.element.hidden = area.hidden && hasEndedEarly(this.session);
    this.empty.hidden = !area.hidden;
    put(this.empty, matrix.empty);
    if (grid.style.getPropertyValue("--n") !== count) grid.style.setProperty("--n", count);
    keyed(grid, matrix.columns.length ? cellsOf(matrix) : [], (cell) => cell.key, (cell) => this.make(cell), (element, cell) => this.update(element, cell));
    this.scroll();
  }

  /** Make a grid that is wider than its card a region that scrolls, and show its newest or chosen column once. */
  scroll() {
    const { area, grid } = this;
    const isWide = area.scrollWidth > area.clientWidth + 1;
    attribute(area, "tabindex", isWide ? 0 : null);
    attribute(area, "role", isWide ? "region" : null);
    attribute(area, "aria-label", isWide ? "Samples by step" : null);
    const columns = columnsOf(this.matrix);
    const wanted = this.chosen === null ? columns.at(-1) : columns.find((column) => column.step === this.chosen);
    if (!isWide || !wanted || wanted.key === this.inView) return;
    this.inView = wanted.key;
    const head = grid.querySelector(`[data-key="h ${wanted.key}"]`);
    if (head) area.scrollLeft += head.getBoundingClientRect().right - area.getBoundingClientRect().right + 8;
  }

  /**
   * Open the viewer at an image.
   * @param {number} column
   * @param {number} prompt
   */
  open(column, prompt) {
    this.viewer.open(column, prompt);
  }

  /** @param {{ session?: SessionRow | null, files?: LoraFiles | null, samples?: SampleMatrix | null, chosen?: number | null }} next */
  show(next) {
    if (next.session) this.session = next.session;
    if (next.files) this.files = next.files.files;
    if (next.samples) {
      this.matrix = next.samples;
      this.viewer.update(this.matrix);
    }
    if (next.chosen !== undefined) this.chosen = next.chosen;
    this.draw();
  }
}

/**
 * The card of the samples.
 * @param {{ onchoose: (name: string) => void }} on
 */
export const samplesCard = ({ onchoose }) => new Samples(onchoose);
