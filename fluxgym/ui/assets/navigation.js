// The line at the top: the pages, the machine, and whether the app answers.

import { attribute, fill, h, put } from "./dom.js";
import * as store from "./browser_store.js";
import { route } from "./router.js";

const PAGES = { train: "Train", runs: "Runs" };

function show(links) {
  const { tab, slug } = route();
  if (slug) store.setViewed(slug);
  document.documentElement.dataset.fgTab = tab;
  const current = tab === "run" ? "runs" : tab;
  for (const [name, link] of Object.entries(links)) attribute(link, "aria-current", name === current ? "page" : null);
  document.dispatchEvent(new CustomEvent("fg:route", { detail: { tab, slug: slug ?? store.viewed() } }));
}

export function mount({ element }) {
  const links = Object.fromEntries(Object.entries(PAGES).map(([name, title]) => [name, h("a", { href: `#${name}` }, title)]));
  const machine = h("div", { class: "machine" });
  fill(
    element,
    h("header", { class: "top" }, h("div", { class: "wrap" },
      h("a", { class: "brand", href: "#train" }, "FluxGym"),
      h("nav", { class: "nav", "aria-label": "Main" }, Object.values(links)),
      machine)),
    h("p", { class: "fg-connection", role: "status" }, "Connection lost. Retrying; training continues."),
  );
  window.addEventListener("hashchange", () => show(links));
  document.addEventListener("fg:machine", (event) => put(machine, event.detail));
  show(links);
}
