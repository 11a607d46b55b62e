// The sample viewer: a dialog with one image, or two side by side. Left and Right change the step, Up and Down the prompt.

import { address } from "./api.js";
import { attribute, fill, h, put, redraw } from "./dom.js";
import { icon } from "./icons.js";

/** @typedef {Pick<import("./types.js").SampleMatrix, "prompts" | "columns">} Matrix */

/** @type {Record<string, [number, number]>} */
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Create the viewer; returns {open(column, prompt), update(matrix)} with the positions of an image in the matrix. */
export function viewer() {
  /** @type {Matrix} */
  let matrix = { prompts: [], columns: [] };
  /** @type {[number, number]} column, prompt */
  let at = [0, 0];
  /** @type {number | null} the column on the left, while two are compared */
  let compared = null;

  const title = h("p", { class: "strong grow cut", role: "status" });
  const frames = h("div", { class: "frames" });
  const compare = h("button", { type: "button", class: "btn s", "aria-pressed": "false", onclick: toggle }, "Compare two");
  const download = h("a", { class: "btn s", download: "" }, icon("download"), "Download");
  const close = h("button", { type: "button", class: "btn s icon quiet", "aria-label": "Close", onclick: () => { box.close(); } }, icon("x"));
  const previous = h("button", { type: "button", class: "btn s icon", "aria-label": "Previous step", onclick: () => move(-1, 0) }, icon("left"));
  const next = h("button", { type: "button", class: "btn s icon", "aria-label": "Next step", onclick: () => move(1, 0) }, icon("chev"));
  const box = h("dialog", { class: "viewer", "aria-label": "Sample viewer", onkeydown: press, onclick: (event) => { if (event.target === box) box.close(); } },
    h("div", { class: "line keep viewer-top" }, title, compare, download, close), frames,
    h("div", { class: "line keep viewer-foot" }, h("span", { class: "small faint grow not-phone" }, "← → step · ↑ ↓ prompt · Esc closes"), previous, next));
  (document.getElementById("fg-app") ?? document.body).append(box);

  const image = (/** @type {[number, number]} */ [column, prompt]) => matrix.columns[column]?.images[prompt] ?? null;

  /**
   * The nearest position with an image in a direction, or null.
   * @param {[number, number]} from
   * @param {[number, number]} direction
   * @returns {[number, number] | null}
   */
  function step([column, prompt], [right, down]) {
    for (let c = column + right, p = prompt + down; c in matrix.columns && p in matrix.prompts; c += right, p += down) if (image([c, p])) return [c, p];
    return null;
  }

  /** @param {KeyboardEvent} event */
  function press(event) {
    const direction = KEYS[event.key];
    if (!direction) return;
    event.preventDefault();
    move(...direction);
  }

  /**
   * @param {number} right
   * @param {number} down
   */
  function move(right, down) {
    const to = step(at, [right, down]);
    if (!to) return;
    at = to;
    show();
  }

  /** Compare with the step before, which then stays; the arrows change the image on the right. */
  function toggle() {
    compared = compared === null ? (step(at, [-1, 0]) ?? step(at, [1, 0]) ?? at)[0] : null;
    show();
  }

  /**
   * One image with its name.
   * @param {number} column
   */
  function frame(column) {
    const { label } = matrix.columns[column];
    const url = image([column, at[1]]);
    const text = `${label}: ${matrix.prompts[at[1]]}`;
    return h("figure", {}, url ? h("img", { src: address(url), alt: text }) : h("p", { class: "pic wait" }, "No image"), compared === null ? null : h("figcaption", { class: "small" }, label));
  }

  function show() {
    const columns = compared === null ? [at[0]] : [compared, at[0]];
    const shown = [columns.map((column) => image([column, at[1]])), matrix.prompts[at[1]]];
    redraw(frames, shown, () => fill(frames, columns.map(frame)));
    box.classList.toggle("two", compared !== null);
    compare.setAttribute("aria-pressed", String(compared !== null));
    put(title, `${columns.map((column) => matrix.columns[column].label).join(" and ")}: ${matrix.prompts[at[1]]}`);
    attribute(download, "href", address(image(at) ?? ""));
    previous.disabled = !step(at, [-1, 0]);
    next.disabled = !step(at, [1, 0]);
    compare.hidden = matrix.columns.length < 2;
  }

  return {
    /**
     * Open the viewer at an image.
     * @param {number} column
     * @param {number} prompt
     */
    open(column, prompt) {
      at = [column, prompt];
      compared = null;
      show();
      box.showModal();
      close.focus();
    },
    /**
     * Show changed samples; the viewer stays at its image, or closes if that is gone.
     * @param {Matrix} changed
     */
    update(changed) {
      const keys = [matrix.columns[at[0]]?.key, matrix.columns[compared ?? -1]?.key];
      matrix = changed;
      if (!box.open) return;
      const [column, left] = keys.map((key) => matrix.columns.findIndex((one) => one.key === key));
      if (column < 0 || !matrix.columns[column].images[at[1]]) {
        box.close();
        return;
      }
      at = [column, at[1]];
      compared = compared === null || left < 0 ? null : left;
      show();
    },
  };
}
