// The lower part of step 2: search and filter, one page of images, and the buttons to the other pages.

import { attribute, findAll, h, keyed, put } from "./dom.js";
import { source } from "./form.js";
import { icon } from "./icons.js";
import { imageCard, moveByArrows, showImageCard } from "./image_card.js";

/** @import { Grid } from "./image_card.js" */
/** @import { ImagePage } from "./types.js" */

const SEARCH_AFTER_MS = 200;

/** @typedef {Pick<ImagePage, "count" | "captioned" | "no_trigger">} Counts */

/**
 * The search field and the filter.
 * @param {{ onchange: () => unknown }} options
 */
export function imageSearch({ onchange }) {
  /** @type {number | undefined} */
  let timer;
  const search = h("input", { type: "search", class: "in s", placeholder: "Search", "aria-label": "Search names and captions",
    oninput: () => { clearTimeout(timer); timer = setTimeout(onchange, SEARCH_AFTER_MS); } });
  const filter = h("select", { class: "in s", "aria-label": "Filter images", onchange },
    h("option", { value: "" }), h("option", { value: "no_caption" }), h("option", { value: "no_trigger" }));
  return {
    element: h("div", { class: "line" }, h("div", { class: "search grow" }, icon("search"), search), filter),
    get query() {
      return { search: search.value, filter: filter.value };
    },
    /** @param {string} name of the filter, "" for all images; the search is cleared */
    setFilter(name) {
      search.value = "";
      filter.value = name;
      clearTimeout(timer);
      onchange();
    },
    /** @param {Counts} counts */
    show({ count, captioned, no_trigger: noTrigger }) {
      ["All", "No caption", "No trigger word"].forEach((text, index) => put(filter.options[index], `${text} ${[count, count - captioned, noTrigger][index]}`));
    },
  };
}

/**
 * The page of images. `card` is what its images need.
 * @param {{ card: Grid, onturn: (step: number) => unknown, onall: () => unknown }} options onturn is called with 1 for the next page and -1 for
 *   the previous one, onall to show all images
 */
export function imageGrid({ card, onturn, onall }) {
  const grid = h("ul", { class: "images fg-gallery", tabindex: -1, "aria-label": "Images. Escape in a caption leads to the image: Space selects it, Delete removes it, arrows move." });
  grid.addEventListener("keydown", (event) => moveByArrows(grid, event));
  const all = h("button", { type: "button", class: "link", onclick: onall });
  const nothing = h("p", { class: "soft fg-nothing", hidden: true }, "No image matches. ", all);
  const turn = (/** @type {string} */ label, /** @type {string} */ name, /** @type {number} */ step) => {
    const button = h("button", { type: "button", class: "btn s icon", "aria-label": label, onclick: () => { if (!button.getAttribute("aria-disabled")) onturn(step); } }, icon(name));
    return button;
  };
  const before = turn("Previous page", "left", -1);
  const after = turn("Next page", "chev", 1);
  const where = h("span", {});
  const pager = h("div", { class: "pager fg-pager", hidden: true }, where, h("span", { class: "end line keep" }, before, after));
  return {
    element: grid,
    elements: [grid, nothing, pager],
    /**
     * @param {ImagePage} page
     * @param {{ offset: number, size: number }} part
     */
    show({ items, count, shown }, { offset, size }) {
      keyed(grid, items, (item) => `${source()}/${item.name}/${item.version}`, (item) => imageCard(item, card), (element, item) => showImageCard(element, item, card));
      nothing.hidden = count === 0 || shown > 0;
      put(all, count === 1 ? "Show the image" : `Show all ${count}`);
      pager.hidden = shown <= size;
      put(where, `${offset + 1}–${Math.min(shown, offset + size)} of ${shown}`);
      attribute(before, "aria-disabled", offset === 0 ? "true" : null);
      attribute(after, "aria-disabled", offset + size >= shown ? "true" : null);
    },
    showSelection() {
      for (const box of /** @type {HTMLInputElement[]} */ (findAll(grid, ".thumb input"))) {
        box.checked = card.isSelected(box.getAttribute("aria-label")?.replace(/^Select /, "") ?? "");
      }
    },
  };
}
