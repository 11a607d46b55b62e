// The current page is the URL's fragment: #train, #runs, #run/my-cat.

import * as store from "./browser_store.js";

const TABS = ["train", "runs", "run"];

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
 * Open a page; of run, a run.
 * @param {string} tab
 * @param {string | null} slug
 */
export function go(tab, slug = null) {
  const hash = slug ? `#${tab}/${encodeURIComponent(slug)}` : `#${tab}`;
  if (location.hash !== hash) location.hash = hash;
}
