// "🔄 Active Training Sessions", above every page: what runs, what waits and what needs attention in at most three rows; on request all
// sessions, newest first.

import { attribute, fill, h, keyed, put } from "./dom.js";
import { count, now } from "./clock.js";
import { address, get, poll } from "./api.js";
import { makeRow, showRow } from "./banner_row.js";
import { icon } from "./icons.js";
import { forgetOld, importInput } from "./list_actions.js";
import { popupMenu } from "./popup.js";
import { actions } from "./session_actions.js";
import * as store from "./browser_store.js";
import { go, route } from "./router.js";

export { actions };

const FOLDED = "folded";
const SHORT = "short"; // at most three rows
const ALL = "all";
const rowKey = (session) => `${session.slug}/${session.run_id ?? ""}`;

/** "1 running, 2 queued, 2 need attention" */
function summary({ running, queued, attention, total }) {
  const parts = [];
  if (running) parts.push(`${running} running`);
  if (queued) parts.push(`${queued} queued`);
  if (attention) parts.push(`${attention} need${attention === 1 ? "s" : ""} attention`);
  return parts.join(", ") || `${total} run${total === 1 ? "" : "s"}, none active`;
}

function moreText({ more, more_attention: attention }) {
  if (more !== attention) return `Show ${more} more`;
  return `Show ${more} more that need${more === 1 ? "s" : ""} attention`;
}

/** The rest of the queue, as a part of the row of its next run. */
function queueRest({ waiting, waiting_names: names }) {
  if (!waiting) return [];
  const text = `${waiting} more wait${waiting === 1 ? "s" : ""}: ${names.join(", ")}${waiting > names.length ? ", …" : ""}`;
  return [{ key: text, element: h("a", { href: "#runs" }, text) }];
}

/** Pages of the list of all sessions. */
function pager(turn) {
  const before = h("button", { type: "button", class: "btn s", onclick: () => turn(-1) }, "Newer");
  const after = h("button", { type: "button", class: "btn s", onclick: () => turn(1) }, "Older");
  const where = h("span");
  const element = h("span", { class: "pager" }, before, where, after);
  return {
    element,
    show({ page, page_size: size, counts }) {
      const last = Math.max(1, Math.ceil(counts.shown / size));
      element.hidden = last === 1;
      put(where, `Page ${page + 1} of ${last}`);
      before.disabled = page === 0;
      after.disabled = page + 1 >= last;
    },
  };
}

/** The banner's elements; `on` has the functions of its buttons. */
function build(on) {
  const title = h("button", { type: "button", class: "fg-title", "aria-expanded": "false", "aria-controls": "b-rows", onclick: on.title },
    icon("refresh"), h("span", { class: "vh" }, "🔄 "), h("span", {}, "Active Training Sessions"));
  const sum = h("p", { class: "soft grow sum" });
  const updated = h("span");
  const refresh = h("button", { type: "button", class: "btn s quiet not-phone", onclick: on.refresh }, "Refresh Sessions");
  const file = importInput();
  const more = popupMenu({ label: "More for all sessions", items: () => [
    { text: "Refresh Sessions", onclick: on.refresh }, { text: "Show all runs", onclick: () => go("runs") }, null,
    { text: "Back up all states", href: address("states.tar.gz"), download: true }, { text: "Import…", onclick: () => file.click() },
    { text: "Forget old sessions…", onclick: forgetOld },
  ] });
  const fold = h("button", { type: "button", class: "btn icon s quiet fg-fold-button", "aria-expanded": "false", "aria-controls": "b-rows", "aria-label": "Show sessions", onclick: on.fold }, icon("up"));
  const rows = h("ul", { id: "b-rows" });
  const showMore = h("button", { type: "button", class: "link", onclick: on.more });
  const allRuns = h("a", { href: "#runs" });
  const pages = pager(on.turn);
  const foot = h("footer", { class: "small", id: "b-foot" }, showMore, pages.element, allRuns);
  const tools = h("span", { class: "line keep fg-tools" }, h("span", { class: "small faint not-phone fg-updated-list" }, "Updated ", updated), refresh, more, fold, file);
  const element = h("section", { class: "card banner", "aria-labelledby": "b-h" },
    h("header", {}, h("h2", { id: "b-h", class: "line keep" }, title), sum, tools), rows, foot);
  return { element, title, sum, updated, refresh, fold, rows, showMore, allRuns, pages, foot, tools };
}

export function mount({ element }) {
  let view = FOLDED;
  let page = 0;
  let showsMore = false;
  let versions = {};
  let banner = null;
  let list = null;
  let wasOpened = false;

  const parts = build({
    title: () => setView(view === ALL ? SHORT : ALL),
    fold: () => setView(view === FOLDED ? SHORT : FOLDED),
    more: () => { showsMore = !showsMore; ask(); },
    turn: (step) => { page += step; ask(); },
    refresh: async () => {
      versions = {};
      parts.refresh.disabled = true;
      await ask();
      setTimeout(() => { parts.refresh.disabled = false; }, 300);
    },
  });
  fill(element, parts.element);

  function setView(next) {
    view = next;
    wasOpened = true;
    fill(parts.rows);
    if (next === ALL) {
      page = 0;
      list = null;
      versions = {};
      ask();
    }
    if (banner) show();
  }

  function showRows() {
    const here = openSlug();
    attribute(parts.rows, "class", view === ALL ? "fg-all" : null);
    const found = view === ALL ? list?.rows ?? [] : view === SHORT ? banner?.rows ?? [] : [];
    const nextInQueue = found.find((row) => row.status === "queued")?.slug;
    keyed(parts.rows, found, rowKey, (session) => makeRow(session, act), (row, session) => showRow(row, session, act, {
      isFull: view === ALL, hasBar: session.slug !== here,
      extra: view === SHORT && session.slug === nextInQueue ? queueRest(banner) : [],
    }));
  }

  function show() {
    const { total } = banner.counts;
    parts.element.classList.toggle("none", total === 0);
    if (total === 0) view = FOLDED;
    if (total === 0) fill(parts.sum, "No active training sessions found", h("span", { class: "not-phone" }, ". Each training that you start appears here."));
    else put(parts.sum, summary(banner.counts));
    parts.sum.classList.toggle("not-phone", total > 0);
    parts.tools.classList.toggle("fg-quiet", total === 0);
    attribute(parts.title, "aria-expanded", String(view === ALL));
    attribute(parts.fold, "aria-expanded", String(view !== FOLDED));
    attribute(parts.fold, "aria-label", view === FOLDED ? "Show sessions" : "Hide sessions");
    parts.fold.hidden = total === 0;
    showRows();
    parts.foot.hidden = view === FOLDED;
    parts.showMore.hidden = view !== SHORT || (!banner.more && !showsMore);
    put(parts.showMore, showsMore ? "Show fewer" : moreText(banner));
    put(parts.allRuns, `All ${total.toLocaleString("en-US")} run${total === 1 ? "" : "s"}`);
    parts.pages.element.hidden = view !== ALL;
    if (view === ALL && list) parts.pages.show(list);
    if (view !== FOLDED) store.setListSeenAt(now()); // the user sees it now
  }

  /** Open the banner once, if something runs or has ended since the user last saw it. */
  function openIfNew() {
    const isNew = banner.counts.running + banner.counts.queued > 0 || banner.last_end > store.listSeenAt();
    if (!wasOpened && isNew) {
      wasOpened = true;
      view = SHORT;
    }
  }

  const openSlug = () => (route().tab === "run" ? route().slug ?? store.viewed() ?? "" : "");

  async function askList() {
    if (view !== ALL) return;
    const { value } = await get("sessions", { page, version: list ? versions.list : "" });
    if (!value) return;
    list = value;
    page = value.page;
    versions.list = value.version;
  }

  const ask = poll(async () => {
    const open = openSlug();
    const answer = await get("banner", { open, seen: JSON.stringify(store.seenEnds()), all: showsMore, version: versions.banner });
    await askList();
    if (answer.value) {
      banner = answer.value;
      versions.banner = banner.version;
      if (banner.open_end) store.setSeenEnd(open, banner.open_end);
      openIfNew();
      document.dispatchEvent(new CustomEvent("fg:machine", { detail: banner.machine }));
      document.dispatchEvent(new CustomEvent("fg:running", { detail: banner.running }));
      document.dispatchEvent(new CustomEvent("fg:queue", { detail: banner }));
    }
    if (!answer.offline) count(parts.updated, now());
    if (banner) show();
    return banner && banner.counts.running + banner.counts.queued > 0 ? 2 : 5;
  });
  const act = actions(ask);
  document.addEventListener("fg:changed", ask);
  document.addEventListener("fg:route", ask);
}
