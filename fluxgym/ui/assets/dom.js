// Create and change elements. Text is set as a text node or an attribute, never as HTML, so user input is never parsed as markup.

/** @typedef {string | number | boolean | null | undefined | ((event: any) => unknown)} Attribute A value, or a listener for a name with "on". */
/** @typedef {Node | string | number | false | null | undefined} Child */

/**
 * Create an element: h("a", {href, class, onclick}, "text", child, ...). Attributes that are null or false are omitted.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, Attribute>} attributes
 * @param {(Child | Child[])[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...present(children));
  return element;
}

/**
 * The children that are there, as append() takes them.
 * @param {(Child | Child[])[]} children
 */
function present(children) {
  return children.flat().filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/**
 * Create an SVG element.
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | number>} attributes
 * @param {Node[]} children
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/**
 * Set an element's text if it differs, so that a selection in it is kept.
 * @param {Element} element
 * @param {string} text
 */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Set an attribute if it differs; remove it for null or false.
 * @param {Element} element
 * @param {string} name
 * @param {string | number | boolean | null | undefined} value
 */
export function attribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/**
 * Give `parent` one child per item, in order; children with the same key are reused.
 * @template T
 * @param {Element} parent
 * @param {Iterable<T>} items
 * @param {(item: T) => string | number} key
 * @param {(item: T) => HTMLElement} make
 * @param {(child: any, item: T) => void} update
 */
export function keyed(parent, items, key, make, update) {
  const kept = new Map([.../** @type {Iterable<HTMLElement>} */ (parent.children)].map((child) => [child.dataset.key, child]));
  let next = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = kept.get(name);
    kept.delete(name);
    if (!child) {
      child = make(item);
      child.dataset.key = name;
    }
    update(child, item);
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
  for (const child of kept.values()) child.remove();
}

/**
 * Replace the children of an element.
 * @param {Element} element
 * @param {(Child | Child[])[]} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
}

/**
 * The HTML elements below `parent` that a selector finds.
 * @param {ParentNode} parent
 * @param {string} selector
 */
export const findAll = (parent, selector) => /** @type {HTMLElement[]} */ ([...parent.querySelectorAll(selector)]);

/**
 * The element that has the focus, if it is inside of `parent`.
 * @param {Element} parent
 */
export function focusedIn(parent) {
  const active = document.activeElement;
  return active instanceof HTMLElement && parent.contains(active) ? active : null;
}

/**
 * The first HTML element below `parent` that a selector finds; there must be one.
 * @param {ParentNode} parent
 * @param {string} selector
 */
export const find = (parent, selector) => /** @type {HTMLElement} */ (parent.querySelector(selector));

/**
 * Draw an element again if what it shows has changed.
 * @param {HTMLElement} element
 * @param {unknown} state what it shows
 * @param {() => void} draw
 */
export function redraw(element, state, draw) {
  const shown = JSON.stringify(state);
  if (element.dataset.shown === shown) return;
  element.dataset.shown = shown;
  draw();
}

/**
 * Send an event to the other parts of the page (tools/lint/page.d.ts lists them).
 * @template {Extract<keyof DocumentEventMap, `fg:${string}`>} N
 * @param {N} name
 * @param {DocumentEventMap[N]["detail"]} [detail]
 */
export const emit = (name, detail) => document.dispatchEvent(new CustomEvent(name, { detail: detail ?? null }));
