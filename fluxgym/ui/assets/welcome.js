// The card of the first visit: the example fills in the three steps. It is there while there are neither runs nor images.

import { emit, fill, h } from "./dom.js";

/** @import { ImagesSetup } from "./types.js" */

/** @param {{ element: HTMLElement, props: { value: ImagesSetup } }} part */
export function mount({ element, props }) {
  const start = h("button", { type: "button", class: "btn primary", onclick: () => emit("fg:example") }, "Fill in the example");
  const card = h("section", { class: "card fg-welcome", "aria-labelledby": "fg-welcome-title", hidden: true }, h("div", { class: "body line" },
    h("div", { class: "grow" }, h("h2", { id: "fg-welcome-title" }, "Start with the example"),
      h("p", { class: "soft" }, `The example fills in the three steps: ${props.value.num_example} cat photos with captions, a name and a trigger word. Nothing is downloaded.`)), start));
  fill(element, card);
  let [numRuns, numImages] = [1, 1]; // not known yet
  const show = () => { card.hidden = numRuns + numImages > 0; };
  document.addEventListener("fg:counts", (event) => { numImages = event.detail.count; show(); });
  document.addEventListener("fg:queue", (event) => { numRuns = event.detail.counts.total; show(); });
}
