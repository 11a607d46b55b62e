// The current page is the URL's fragment: #train, #runs, #run/my-cat.

import * as store from "./browser_store.js";

const TABS = ["train", "runs", "run"];
/** @type {Map<string, number>} how far each page was scrolled when it was left, by fragment */
const scrolled = new Map();

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a "%" that was typed by hand
  }
}

/** The current page from the URL: {tab, slug}. */
export function route() {
  const [tab, slug] = location.hash.replace(/^#/, "").split("/");
  return { tab: TABS.includes(tab) ? tab : "train", slug: slug ? decoded(slug) : null };
}

/** The slug of the run whose page is open: the URL's, else the last viewed one; null on other pages. */
export function openRun() {
  const { tab, slug } = route();
  return tab === "run" ? slug ?? store.viewed() : null;
}

/**
 * Remember how far the page that is left was scrolled, and scroll the open one to where it was left.
 * @param {string} left the fragment of the page that is left
 * @param {() => void} show shows the open page
 */
export function keepScroll(left, show) {
  scrolled.set(left, window.scrollY);
  show();
  window.scrollTo({ top: scrolled.get(location.hash) ?? 0, behavior: "instant" });
}

/**
 * Open a page at its top; of run, a run.
 * @param {string} tab
 * @param {string | null} slug
 */
export function go(tab, slug = null) {
  const hash = slug ? `#${tab}/${encodeURIComponent(slug)}` : `#${tab}`;
  if (location.hash === hash) return;
  scrolled.delete(hash);
  location.hash = hash;
}
