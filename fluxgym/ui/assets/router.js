// The line at the top: Train and Run, this machine, and whether the app answers. Where one is stands in the address (#train, #run/my-cat).

import { attribute, fill, h, put } from "./dom.js";
import * as memory from "./browser_store.js";

const TABS = { train: "Train", run: "Run" };

/** Where the address says one is: {tab, slug}. */
export function route() {
  const [tab, slug] = location.hash.replace(/^#/, "").split("/");
  return { tab: tab in TABS ? tab : "train", slug: slug ? decodeURIComponent(slug) : null };
}

/** Go to a tab, and on Run to one run. */
export function go(tab, slug = null) {
  const hash = slug ? `#${tab}/${encodeURIComponent(slug)}` : `#${tab}`;
  if (location.hash !== hash) location.hash = hash;
}

function show(links) {
  const { tab, slug } = route();
  if (slug) memory.look(slug);
  document.documentElement.dataset.fgTab = tab;
  for (const [name, link] of Object.entries(links)) attribute(link, "aria-current", name === tab ? "page" : null);
  const run = slug ?? memory.viewed();
  attribute(links.run, "href", run ? `#run/${encodeURIComponent(run)}` : "#run");
  document.dispatchEvent(new CustomEvent("fg:route", { detail: { tab, slug: slug ?? memory.viewed() } }));
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
    h("p", { class: "fg-silence", role: "status" }, "The app does not answer just now. The page asks again by itself; trainings go on without it."),
  );
  window.addEventListener("hashchange", () => show(links));
  document.addEventListener("fg:machine", (event) => put(machine, event.detail));
  show(links);
}
