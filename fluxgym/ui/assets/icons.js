// Icons and status shapes from the sprite icons.svg, which is in the page (page.py). They are decoration: the text beside them says the same.

import { svg } from "./dom.js";

/** @import { StatusWord } from "./types.js" */

/**
 * @param {string} className
 * @param {string} id
 */
function use(className, id) {
  return svg("svg", { class: className, "aria-hidden": "true" }, svg("use", { href: `#${id}` }));
}

/**
 * An icon of the sprite: icon("more").
 * @param {string} name
 */
export const icon = (name, className = "i") => use(className, `i-${name}`);

/**
 * The shape of a status.
 * @param {StatusWord["shape"]} shape
 */
export const dot = (shape) => use("dot", `d-${shape}`);
