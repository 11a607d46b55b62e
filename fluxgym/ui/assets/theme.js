// The theme: the system's, light or dark. It is kept in the browser and set as a class of <body>, which Gradio's own styles follow too.

import * as store from "./browser_store.js";

/** @type {Record<string, string>} */
export const THEMES = { system: "System", light: "Light", dark: "Dark" };
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

const ofAddress = new URLSearchParams(location.search).get("__theme"); // Gradio's own parameter

/** The chosen theme, a key of THEMES; that of the address (?__theme=dark) until the user chooses one. */
export const theme = () => [store.theme(), ofAddress].find((name) => name && Object.hasOwn(THEMES, name)) ?? "system";

function apply() {
  const chosen = theme();
  const isDark = chosen === "dark" || (chosen === "system" && systemIsDark.matches);
  for (const element of [document.documentElement, document.body]) {
    element.classList.toggle("dark", isDark);
    element.classList.toggle("light", !isDark);
  }
}

/**
 * Choose a theme and keep it in this browser.
 * @param {string} name a key of THEMES
 */
export function setTheme(name) {
  store.setTheme(name);
  apply();
}

/** Apply the chosen theme, and again whenever the system's changes. */
export function startTheme() {
  apply();
  systemIsDark.addEventListener("change", apply);
}
