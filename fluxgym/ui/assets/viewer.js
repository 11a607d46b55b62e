// The sample viewer: a dialog with one image, or two side by side. Left and Right change the column (a step, or a run), Up and Down the prompt.

import { address } from "./api.js";
import { attribute, fill, h, put, redraw } from "./dom.js";
import { icon } from "./icons.js";

/** @typedef {Pick<import("./types.js").SampleMatrix, "prompts" | "columns">} Matrix */

/** @type {Record<string, [number, number]>} */
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @typedef {[number, number]} Position column and prompt of an image in the matrix */

/**
 * What the viewer changes in its dialog.
 * @param {string} column what a column is: "step" or "run"
 */
function viewerParts(column) {
  return {
    title: h("p", { class: "strong grow cut", role: "status" }),
    frames: h("div", { class: "frames" }),
    keys: h("span", { class: "small faint grow not-phone" }),
    compare: h("button", { type: "button", class: "btn s", "aria-pressed": "false" }, "Compare two"),
    download: h("a", { class: "btn s", download: "" }, icon("download"), "Download"),
    close: h("button", { type: "button", class: "btn s icon quiet", "aria-label": "Close" }, icon("x")),
    previous: h("button", { type: "button", class: "btn s icon", "aria-label": `Previous ${column}` }, icon("left")),
    next: h("button", { type: "button", class: "btn s icon", "aria-label": `Next ${column}` }, icon("chev")),
  };
}

/**
 * The dialog with its parts.
 * @param {ReturnType<typeof viewerParts>} parts
 */
function viewerDialog({ title, frames, keys, compare, download, close, previous, next }) {
  return h("dialog", { class: "viewer", "aria-label": "Sample viewer" },
    h("div", { class: "line keep viewer-top" }, title, compare, download, close), frames,
    h("div", { class: "line keep viewer-foot" }, keys, previous, next));
}

class Viewer {
  /** @type {Matrix} */
  matrix = { prompts: [], columns: [] };
  /** @type {Position} */
  at = [0, 0];
  /** @type {number | null} the column on the left, while two are compared */
  compared = null;

  /** @param {string} column */
  constructor(column) {
    this.column = column;
    this.parts = viewerParts(column);
    this.box = viewerDialog(this.parts);
    const { box, parts } = this;
    parts.compare.onclick = () => this.toggle();
    parts.close.onclick = () => box.close();
    parts.previous.onclick = () => this.move([-1, 0]);
    parts.next.onclick = () => this.move([1, 0]);
    box.onkeydown = (event) => this.press(event);
    box.onclick = (event) => { if (event.target === box) box.close(); };
    (document.getElementById("fg-app") ?? document.body).append(box);
  }

  /** @param {Position} position */
  image([column, prompt]) {
    return this.matrix.columns[column]?.images[prompt] ?? null;
  }

  /**
   * The nearest position with an image in a direction, or null.
   * @param {[number, number]} direction
   * @returns {Position | null}
   */
  step([right, down]) {
    const { matrix: { columns, prompts }, at: [column, prompt] } = this;
    for (let c = column + right, p = prompt + down; c in columns && p in prompts; c += right, p += down) if (c !== this.compared && this.image([c, p])) return [c, p];
    return null;
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const direction = KEYS[event.key];
    if (!direction) return;
    event.preventDefault();
    this.move(direction);
  }

  /** @param {[number, number]} direction */
  move(direction) {
    const to = this.step(direction);
    if (!to) return;
    this.at = to;
    this.show();
  }

  /** Compare with the step before, which then stays; the arrows change the image on the right. */
  toggle() {
    this.compared = this.compared === null ? (this.step([-1, 0]) ?? this.step([1, 0]) ?? this.at)[0] : null;
    this.show();
  }

  /**
   * One image with its name.
   * @param {number} column
   * @param {boolean} moves whether the arrows change it, while two are compared
   */
  frame(column, moves) {
    const { matrix, at: [, prompt], compared } = this;
    const { label } = matrix.columns[column];
    const url = this.image([column, prompt]);
    const text = `${label}: ${matrix.prompts[prompt]}`;
    return h("figure", {}, url ? h("img", { src: address(url), alt: text }) : h("p", { class: "pic wait" }, "No image"), compared === null ? null : h("figcaption", { class: "small" }, label, moves && matrix.columns.length > 2 ? h("span", { class: "faint" }, " · the arrows change this one") : null));
  }

  show() {
    const { parts, box, matrix, at, compared } = this;
    const columns = compared === null ? [at[0]] : [compared, at[0]];
    const prompt = matrix.prompts[at[1]];
    redraw(parts.frames, [columns.map((column) => this.image([column, at[1]])), prompt], () => fill(parts.frames, columns.map((column, index) => this.frame(column, index === 1))));
    box.classList.toggle("two", compared !== null);
    attribute(parts.compare, "aria-pressed", String(compared !== null));
    put(parts.title, `${columns.map((column) => matrix.columns[column].label).join(" and ")}: ${prompt}`);
    attribute(parts.download, "href", address(this.image(at) ?? ""));
    attribute(parts.download, "title", `Download the image of ${matrix.columns[at[0]].label}`);
    const [canGoBack, canGoOn] = [this.step([-1, 0]), this.step([1, 0])].map(Boolean);
    parts.previous.disabled = !canGoBack;
    parts.next.disabled = !canGoOn;
    parts.previous.hidden = parts.next.hidden = compared !== null && columns.length === matrix.columns.length;
    put(parts.keys, `${parts.next.hidden ? "" : `← → ${this.column} · `}↑ ↓ prompt · Esc closes`);
    parts.compare.hidden = matrix.columns.length < 2;
  }

  /**
   * Open the viewer at an image, beside the one of another column if that is given.
   * @param {number} column
   * @param {number} prompt
   * @param {number | null} [compared]
   */
  open(column, prompt, compared = null) {
    this.at = [column, prompt];
    this.compared = compared;
    this.show();
    this.box.showModal();
    this.parts.close.focus();
  }

  /**
   * Show changed samples; the viewer stays at its image, or closes if that is gone.
   * @param {Matrix} changed
   */
  update(changed) {
    const { matrix: { columns }, at: [shown, prompt], compared, box } = this;
    const keys = [columns[shown]?.key, columns[compared ?? -1]?.key];
    this.matrix = changed;
    if (!box.open) return;
    const [column, left] = keys.map((key) => changed.columns.findIndex((one) => one.key === key));
    if (column < 0 || !changed.columns[column].images[prompt]) {
      box.close();
      return;
    }
    this.at = [column, prompt];
    this.compared = compared === null || left < 0 ? null : left;
    this.show();
  }
}

/** Create the viewer; open(column, prompt) and update(matrix) take the positions of an image in the matrix, whose columns are steps or runs. */
export const viewer = (/** @type {"step" | "run"} */ column) => new Viewer(column);
