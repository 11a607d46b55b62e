// The latest sample images of two runs side by side, by prompt, as a part of their comparison.

import { address } from "./api.js";
import { fill, h } from "./dom.js";
import { viewer } from "./viewer.js";

/** @import { ComparedSamples, SampleColumn } from "./types.js" */

/**
 * When a column's images were drawn: "Epoch 4, step 40".
 * @param {SampleColumn} column
 */
function when({ step, epoch }) {
  const parts = [epoch ? `epoch ${epoch}` : "", step === null ? "" : step === 0 ? "before the training" : `step ${step}`].filter(Boolean).join(", ");
  return parts.charAt(0).toUpperCase() + parts.slice(1);
}

/** The part of the comparison with the images. Returns {element, show(samples)}. */
export function comparedSamples() {
  const shown = viewer("run");
  const grid = h("div", { class: "matrix" });
  const element = h("div", { class: "body fg-compared-samples" }, h("h3", {}, "Latest samples"), h("div", { class: "matrix-scroll" }, grid));
  return {
    element,
    /**
     * Show the images of runs, which are called by the given names; hidden if there are none.
     * @param {ComparedSamples | undefined} samples
     * @param {{ slug: string }[]} runs
     * @param {string[]} names
     */
    show(samples, runs, names) {
      const prompts = samples?.prompts ?? [];
      const columns = (samples?.columns ?? []).map((column) => ({ ...column, label: names[runs.findIndex(({ slug }) => slug === column.key)] }));
      element.hidden = !columns.length;
      shown.update({ prompts, columns });
      grid.style.setProperty("--n", String(columns.length));
      const heads = columns.map((column) => h("div", { class: "h" }, h("b", {}, column.label), h("span", {}, when(column))));
      const rows = prompts.flatMap((prompt, row) => [
        h("div", { class: "p" }, prompt),
        ...columns.map((column, index) => {
          const url = column.images[row];
          if (!url) return h("div", { class: "pic wait" }, "No image");
          const open = () => (columns.every(({ images }) => images[row]) ? shown.open(columns.length - 1, row, columns.length > 1 ? 0 : null) : shown.open(index, row));
          return h("button", { type: "button", class: "pic", "aria-label": `${column.label}: ${prompt}`, onclick: open }, h("img", { src: address(url), alt: "", loading: "lazy" }));
        }),
      ]);
      fill(grid, h("div", { class: "h" }), heads, rows);
    },
  };
}
