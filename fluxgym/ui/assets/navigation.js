// The frame of the page: skip link, brand, pages, the line about the machine, the theme, and whether the app answers.

import { closeDialogs } from "./dialog.js";
import { attribute, emit, fill, h, redraw, svg } from "./dom.js";
import { showWhenComplete } from "./first_view.js";
import { popupMenu } from "./popup.js";
import { keepScroll, route } from "./router.js";
import { shareOf } from "./session_text.js";
import * as store from "./browser_store.js";
import { setTheme, startTheme, theme, THEMES } from "./theme.js";

/** @import { Banner, LastEnd, RunningNow, SessionRow } from "./types.js" */

/** @type {Record<string, string>} */
const PAGES = { train: "Train", runs: "Runs" };
/** @type {Record<string, string>} */
const CONTENT = { train: "fg-train", runs: "fg-runs", run: "fg-run-page" };

function brand() {
  const mark = svg("svg", { viewBox: "0 0 22 22", "aria-hidden": "true" },
    svg("rect", { width: 22, height: 22, rx: 6, fill: "var(--fg-ink)" }),
    svg("path", { d: "M6 16V6.5h7.5M6 11h6", stroke: "var(--fg-card)", "stroke-width": 2.2, fill: "none", "stroke-linecap": "round" }),
    svg("circle", { cx: 15.5, cy: 15, r: 1.7, fill: "var(--fg-card)" }));
  return h("a", { class: "brand", href: "#train" }, mark, "FluxGym");
}

/** Move the focus to the content of the open page, so that the keyboard and screen readers go on there. Returns the content. */
function focusContent() {
  const { tab, slug } = route();
  const content = document.getElementById(CONTENT[tab]);
  if (!content) return null;
  for (const [name, value] of Object.entries({ tabindex: "-1", role: "region", "aria-label": slug ?? PAGES[tab] ?? "Run" })) content.setAttribute(name, value);
  content.focus({ preventScroll: true });
  return content;
}

/** The link that skips the navigation and the banner; the URL's fragment is the page, so the script moves the focus. */
function skipLink() {
  return h("a", { class: "skip", href: "#", onclick: (event) => {
    event.preventDefault();
    focusContent()?.scrollIntoView();
  } }, "Skip to content");
}

function themeMenu() {
  return popupMenu({ label: "Theme", symbol: "theme", items: () => Object.entries(THEMES).map(([name, title]) => (
    { text: title, checked: name === theme(), onclick: () => setTheme(name) })) });
}

/**
 * Show the machine: the processor always, memory and disk where there is room.
 * @param {HTMLElement} element
 * @param {string[]} machine
 */
function showMachine(element, [processor, ...more]) {
  redraw(element, [processor, more], () => fill(element, h("span", {}, h("b", {}, processor)), more.map((text) => h("span", { class: "opt" }, text))));
}

/**
 * "33%" while a run trains, null otherwise.
 * @param {SessionRow} session
 */
function percentOf(session) {
  const share = session.status === "running" ? shareOf(session) : null;
  return share === null ? null : `${Math.floor(100 * share)}%`;
}

/**
 * The title of the browser's tab. On a run's page it says how that run stands; elsewhere "33% · my-cat" while a run trains, and then
 * "Completed · my-cat" until the user goes to another page; else the name of the page.
 */
class TabTitle {
  /** @type {RunningNow | null} */
  running = null;
  /** @type {LastEnd | null} how the run ended that the title named before */
  news = null;
  /** @type {SessionRow | null} the run whose page is open */
  open = null;

  constructor() {
    document.addEventListener("fg:queue", ({ detail }) => this.receive(detail));
    document.addEventListener("fg:run", ({ detail }) => {
      this.open = detail;
      this.show();
    });
    document.addEventListener("fg:route", () => {
      this.open = null; // until its page has it
      this.news = null;
      this.show();
    });
  }

  /** @param {Banner} banner */
  receive({ running, last_end: ended }) {
    if (this.running && this.running.slug !== running?.slug && this.running.slug === ended?.slug) this.news = ended;
    this.running = running;
    this.show();
  }

  /** How far the run is, or how it stands, and its name; null if there is nothing to say. */
  get parts() {
    const { open, running, news } = this;
    if (open) return [percentOf(open) ?? open.shown.word, open.name];
    if (running) return [running.percent === null ? null : `${running.percent}%`, running.name];
    if (news) return [news.word, news.name];
    return route().tab === "train" ? null : ["Runs"]; // also a run’s page while no run is known
  }

  show() {
    const { parts } = this;
    const title = parts ? `${parts.filter(Boolean).join(" · ")} — FluxGym` : "FluxGym";
    if (document.title !== title) document.title = title;
  }
}

/**
 * Show the page that the URL names.
 * @param {Record<string, Element>} links
 */
function showPage(links) {
  const { tab, slug } = route();
  if (slug) store.setViewed(slug);
  document.documentElement.dataset.fgTab = tab;
  const current = tab === "run" ? "runs" : tab;
  for (const [name, link] of Object.entries(links)) attribute(link, "aria-current", name === current ? "page" : null);
  emit("fg:route", { tab, slug: slug ?? store.viewed() });
}

/** @param {{ element: HTMLElement }} part */
export function mount({ element }) {
  startTheme();
  showWhenComplete();
  const links = Object.fromEntries(Object.entries(PAGES).map(([name, title]) => [name, h("a", { href: `#${name}` }, title)]));
  const machine = h("span", { class: "line keep fg-machine-line" });
  fill(
    element,
    skipLink(),
    h("header", { class: "top" }, h("div", { class: "wrap" }, brand(), h("nav", { class: "nav", "aria-label": "Main" }, Object.values(links)),
      h("div", { class: "machine" }, machine, themeMenu()))),
    h("p", { class: "fg-connection", role: "status" }, "Connection lost. Retrying. A running training does not depend on this page."),
  );
  history.scrollRestoration = "manual"; // keepScroll does it
  window.addEventListener("hashchange", ({ oldURL }) => {
    closeDialogs(); // they belong to the page that is left
    keepScroll(new URL(oldURL).hash, () => showPage(links));
    if (document.activeElement === document.body || !document.activeElement?.checkVisibility()) focusContent(); // its button is hidden now
  });
  document.addEventListener("fg:machine", (event) => showMachine(machine, event.detail));
  new TabTitle();
  showPage(links);
}
