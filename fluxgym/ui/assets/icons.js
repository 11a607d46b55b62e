// Icons and status shapes from the sprite assets/icons.svg. They are decoration: the text beside them says the same.

import { address } from "./api.js";
import { svg } from "./dom.js";

/** @import { StatusWord } from "./types.js" */

/** Put the sprite into the page: an icon of another file is fetched again for each new part of the page, and missing until it has come. */
async function addSprite() {
  const answer = await fetch(address("assets/icons.svg"));
  if (!answer.ok) return;
  const sprite = document.importNode(new DOMParser().parseFromString(await answer.text(), "image/svg+xml").documentElement, true);
  for (const [name, value] of Object.entries({ class: "fg-sprite", "aria-hidden": "true", width: "0", height: "0" })) sprite.setAttribute(name, value);
  document.body.append(sprite);
}

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

addSprite();
