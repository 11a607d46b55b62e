// A button that opens a menu in the top layer, after the WAI-ARIA menu button: Enter, Space and arrows open it; arrows, Home and End move;
// Escape closes it and returns the focus; Tab closes it.

import { attribute, fill, findAll, h } from "./dom.js";
import { icon } from "./icons.js";

/** @type {Close | null} */
let openMenu = null; // at most one is open: the function that closes it
/** @type {HTMLElement | null} */
let openButton = null; // its button

/**
 * One item: a button with onclick, or a link with href; `checked` makes it a radio item, `danger` red.
 * @typedef {{ text: string, onclick?: () => unknown, href?: string, download?: boolean, checked?: boolean, danger?: boolean }} MenuItem
 */

/** @typedef {(options?: { refocus?: boolean }) => void} Close */

/**
 * @param {MenuItem | null} item null is a line between items
 * @param {Close} close
 */
function itemElement(item, close) {
  if (!item) return h("hr");
  const isRadio = item.checked !== undefined;
  const attributes = {
    role: isRadio ? "menuitemradio" : "menuitem", tabindex: -1, class: item.danger ? "bad" : null, "data-action": item.text,
    "aria-checked": isRadio ? String(item.checked) : null,
    onclick: () => { close({ refocus: true }); item.onclick?.(); },
  };
  const content = [isRadio ? icon("check") : null, item.text];
  if (item.href) return h("a", { ...attributes, href: item.href, download: item.download ? "" : null }, content);
  return h("button", { ...attributes, type: "button" }, content);
}

/**
 * Position a list below its button, above it where there is no room, and inside the window.
 * @param {HTMLElement} list
 * @param {HTMLElement} button
 */
function position(list, button) {
  const at = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = list;
  const below = at.bottom + 4;
  const top = below + height > window.innerHeight - 8 ? Math.max(8, at.top - 4 - height) : below;
  const left = Math.min(Math.max(8, at.right - width), window.innerWidth - width - 8);
  Object.assign(list.style, { position: "fixed", inset: "auto", margin: "0", top: `${top}px`, left: `${Math.max(8, left)}px` });
}

/**
 * Move the focus within the open menu.
 * @param {HTMLElement} list
 * @param {KeyboardEvent} event
 */
function move(list, event) {
  const items = findAll(list, "[role^=menuitem]");
  const at = items.findIndex((item) => item === document.activeElement);
  /** @type {Record<string, number>} */
  const keys = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 };
  const to = keys[event.key];
  if (to === undefined) return;
  event.preventDefault();
  items.at(to % items.length)?.focus();
}

/**
 * The button with its menu; `items()` returns the items when it is opened.
 * @param {{ label: string, items: () => (MenuItem | null)[], symbol?: string, className?: string }} options
 */
export function popupMenu({ label, items, symbol = "more", className = "btn icon s quiet" }) {
  const button = h("button", { type: "button", class: className, "aria-haspopup": "menu", "aria-expanded": "false", "aria-label": label }, icon(symbol));
  const list = h("span", { role: "menu", "aria-label": label, popover: "manual" });
  const box = h("span", { class: "menu" }, button, list);

  function close({ refocus = false } = {}) {
    if (openMenu !== close) return;
    openMenu = null;
    list.hidePopover();
    attribute(button, "aria-expanded", "false");
    if (refocus) button.focus();
  }
  /** @param {number} index of the item that gets the focus */
  function open(index) {
    openMenu?.();
    fill(list, items().map((item) => itemElement(item, close)));
    list.showPopover();
    position(list, button);
    attribute(button, "aria-expanded", "true");
    [openMenu, openButton] = [close, button];
    findAll(list, "[role^=menuitem]").at(index)?.focus();
  }
  button.addEventListener("click", () => (openMenu === close ? close({ refocus: true }) : open(0)));
  button.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    open(event.key === "ArrowDown" ? 0 : -1);
  });
  list.addEventListener("keydown", (event) => {
    move(list, event);
    if (event.key === "Escape") {
      event.stopPropagation();
      close({ refocus: true });
    }
    if (event.key === "Tab") close({ refocus: true });
  });
  return box;
}

const closeIf = (/** @type {() => unknown} */ isOutside) => openMenu && isOutside() && openMenu();
document.addEventListener("pointerdown", (event) => closeIf(() => !(event.target instanceof Element && event.target.closest(".menu"))));
// The menu does not move with its button, so it closes if that scrolls; other parts of the page, such as a log, may scroll.
window.addEventListener("scroll", (event) => closeIf(() => event.target instanceof Node && event.target.contains(openButton)), { capture: true, passive: true });
for (const change of ["resize", "hashchange"]) window.addEventListener(change, () => closeIf(() => true));
