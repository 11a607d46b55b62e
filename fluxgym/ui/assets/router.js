// The navigation: Train, Run, the machine, and the connection. The URL's fragment is the current page (#train, #run/my-cat).

import { attribute, fill, h, put } from "./dom.js";
import * as store from "./browser_store.js";

const TABS = { train: "Train", run: "Run" };

/** The current page from the URL: {tab, slug}. */
export function route() {
  const [tab, slug] = location.hash.replace(/^#/, "").split("/");
  return { tab: tab in TABS ? tab : "train", slug: slug ? decodeURIComponent(slug) : null };
}

/** Open a tab; on Run, a run. */
export function go(tab, slug = null) {
  const hash = slug ? `#${tab}/${encodeURIComponent(slug)}` : `#${tab}`;
  if (location.hash !== hash) location.hash = hash;
}

function show(links) {
  const { tab, slug } = route();
  if (slug) store.setViewed(slug);
  document.documentElement.dataset.fgTab = tab;
  for (const [name, link] of Object.entries(links)) attribute(link, "aria-current", name === tab ? "page" : null);
  const run = slug ?? store.viewed();
  attribute(links.run, "href", run ? `#run/${encodeURIComponent(run)}` : "#run");
  document.dispatchEvent(new CustomEvent("fg:route", { detail: { tab, slug: slug ?? store.viewed() } }));
}

export function mount({ element }) {
  const links = Object.fromEntries(Object.entries(TABS).map(([name, title]) => [name, h("a", { href: `#${name}` }, title)]));
  const machine = h("span", { class: "fg-machine" });
  fill(
    element,
    h("header", { class: "fg-nav" },
      h("a", { class: "fg-brand", href: "#train" }, "FluxGym"),
      h("nav", { "aria-label": "Pages" }, Object.values(links)),
      machine),
    h("p", { class: "fg-connection", role: "status" }, "The app does not respond. The page reconnects automatically. Trainings continue."),
  );
  window.addEventListener("hashchange", () => show(links));
  document.addEventListener("fg:machine", (event) => put(machine, event.detail));
  show(links);
}
