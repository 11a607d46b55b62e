// The colors of the tokens as a canvas needs them, and what redraws the charts when the theme changes.

import { h } from "./dom.js";

/** @type {Set<() => void>} */
const redraws = new Set();

/**
 * Call a function when the theme changes: the system's, or a class on <html> or <body>.
 * @param {() => void} redraw
 */
export function onThemeChange(redraw) {
  if (!redraws.size) watchTheme();
  redraws.add(redraw);
}

function watchTheme() {
  const changed = () => redraws.forEach((redraw) => redraw());
  const observer = new MutationObserver(changed);
  for (const element of [document.documentElement, document.body]) observer.observe(element, { attributeFilter: ["class", "data-theme", "style"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}

/**
 * The colors of tokens; read again after forget().
 * @param {Element} parent an element inside of #fg-app
 */
export function palette(parent) {
  const probe = h("span", { hidden: true });
  parent.append(probe);
  /** @type {Map<string, string>} */
  const known = new Map();
  return {
    forget: () => known.clear(),
    /** @param {string} token */
    color(token) {
      const found = known.get(token);
      if (found) return found;
      probe.style.color = `var(--fg-${token})`;
      const color = window.getComputedStyle(probe).color;
      known.set(token, color);
      return color;
    },
  };
}
