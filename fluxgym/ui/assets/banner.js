// "🔄 Active Training Sessions", above every page: what runs, what waits and what needs attention in at most three rows; on request all
// sessions, newest first.

import { attribute, emit, fill, h, keyed, put } from "./dom.js";
import { count, now } from "./clock.js";
import { get, poll } from "./api.js";
import { bannerParts } from "./banner_parts.js";
import { makeRow, showRow } from "./banner_row.js";
import { actions } from "./session_actions.js";
import { rowKey } from "./session_text.js";
import { plural, word } from "./text.js";
import * as store from "./browser_store.js";
import { openRun } from "./router.js";

/** @import { Banner, BannerCounts, RunsSetup, SessionPage, SessionRow } from "./types.js" */

const FOLDED = "folded";
const SHORT = "short"; // at most three rows
const ALL = "all";
const LIVE_S = 2;
const IDLE_S = 5;

/**
 * "1 running, 2 queued, 2 need attention"
 * @param {BannerCounts} counts
 */
function summary({ running, queued, attention, total }) {
  const parts = [];
  if (running) parts.push(`${running} running`);
  if (queued) parts.push(`${queued} queued`);
  if (attention) parts.push(`${attention} ${word(attention, "needs", "need")} attention`);
  return parts.join(", ") || `${plural(total, "run")}, none active`;
}

/** @param {Banner} banner */
function moreText({ more, more_attention: attention }) {
  return more === attention ? `Show ${more} more that ${word(more, "needs", "need")} attention` : `Show ${more} more`;
}

/**
 * The rest of the queue, as a part of the row of its next run.
 * @param {Banner} banner
 */
function queueRest({ waiting, waiting_names: names }) {
  if (!waiting) return [];
  const text = `${waiting} more ${word(waiting, "waits", "wait")}: ${names.join(", ")}${waiting > names.length ? ", …" : ""}`;
  return [{ key: text, element: h("a", { href: "#runs" }, text) }];
}

/**
 * Request the banner, without the open run.
 * @param {{ all: boolean, version?: string }} query
 */
async function requestBanner(query) {
  const open = openRun() ?? "";
  return { open, answer: await get("banner", { open, seen: JSON.stringify(store.seenEnds()), ...query }) };
}

/** @type {ReturnType<typeof requestBanner> | null} sent before Gradio has made the page's elements, which takes longer than the answer */
let first = requestBanner({ all: false });

class SessionsBanner {
  /**
   * @param {HTMLElement} element
   * @param {string} importTypes
   */
  constructor(element, importTypes) {
    this.view = FOLDED;
    this.page = 0;
    this.showsMore = false;
    this.wasOpened = false;
    /** @type {Banner | null} */
    this.banner = null;
    /** @type {SessionPage | null} */
    this.list = null;
    this.parts = bannerParts({
      title: () => this.setView(this.shownView === ALL ? SHORT : ALL),
      fold: () => this.setView(this.shownView === FOLDED ? SHORT : FOLDED),
      more: () => { this.showsMore = !this.showsMore; this.ask(); },
      turn: (step) => { this.page += step; this.ask(); },
      refresh: () => this.refresh(),
    }, importTypes);
    fill(element, this.parts.element);
    this.ask = poll(() => this.update());
    this.act = actions(this.ask);
    document.addEventListener("fg:changed", this.ask);
    document.addEventListener("fg:route", this.ask);
  }

  /** The view; without a run there is nothing to unfold. */
  get shownView() {
    return this.banner?.counts.total ? this.view : FOLDED;
  }

  /** Request everything again. */
  refresh() {
    this.banner = this.banner && { ...this.banner, version: "" };
    this.list = null;
    return this.ask();
  }

  /** @param {string} view */
  setView(view) {
    this.view = view;
    this.wasOpened = true;
    fill(this.parts.rows);
    if (view === ALL) {
      this.page = 0;
      this.list = null;
      this.ask();
    }
    this.show();
  }

  /** Open the banner once, if something runs or has ended since the user last saw it. */
  openIfNew(/** @type {Banner} */ { counts, last_end: lastEnd }) {
    const isNew = counts.running + counts.queued > 0 || (lastEnd?.at ?? 0) > store.listSeenAt();
    if (this.wasOpened || !isNew) return;
    this.wasOpened = true;
    this.view = SHORT;
  }

  /** Request what changed, show it, and return the seconds until the next request. */
  async update() {
    const { open, answer } = await (first ?? requestBanner({ all: this.showsMore, version: this.banner?.version }));
    first = null;
    await this.updateList();
    if (answer.value) this.receive(answer.value, open);
    if (!answer.offline) count(this.parts.updated, now());
    this.show();
    const { running = 0, queued = 0 } = this.banner?.counts ?? {};
    return running + queued > 0 ? LIVE_S : IDLE_S;
  }

  async updateList() {
    if (this.view !== ALL) return;
    const { value } = await get("sessions", { page: this.page, version: this.list?.version ?? "" });
    if (!value) return;
    this.list = value;
    this.page = value.page;
  }

  /**
   * Keep a new banner, and pass on what other parts of the page show.
   * @param {Banner} banner
   * @param {string} open the run whose page is open
   */
  receive(banner, open) {
    this.banner = banner;
    if (banner.open_end) store.setSeenEnd(open, banner.open_end);
    this.openIfNew(banner);
    emit("fg:machine", banner.machine);
    emit("fg:queue", banner);
  }

  show() {
    if (!this.banner) return;
    this.showHead(this.banner);
    this.showRows(this.banner);
    this.showFoot(this.banner);
    if (this.shownView !== FOLDED) store.setListSeenAt(now()); // the user sees it now
  }

  /** @param {Banner} banner */
  showHead({ counts }) {
    const { element, sum, tools, title, fold } = this.parts;
    const isEmpty = counts.total === 0;
    element.classList.toggle("none", isEmpty);
    if (!isEmpty) put(sum, summary(counts));
    else if (!sum.childElementCount) fill(sum, "No active training sessions found", h("span", { class: "not-phone" }, ". Each training that you start appears here."));
    sum.classList.toggle("not-phone", !isEmpty);
    tools.classList.toggle("fg-quiet", isEmpty);
    attribute(title, "aria-expanded", String(this.shownView === ALL));
    attribute(fold, "aria-expanded", String(this.shownView !== FOLDED));
    attribute(fold, "aria-label", this.shownView === FOLDED ? "Show sessions" : "Hide sessions");
    fold.hidden = isEmpty;
  }

  /** @param {Banner} banner */
  showRows(banner) {
    const here = openRun();
    attribute(this.parts.rows, "class", this.shownView === ALL ? "fg-all" : null);
    /** @type {SessionRow[]} */
    const listed = { [ALL]: this.list?.rows ?? [], [SHORT]: banner.rows, [FOLDED]: [] }[this.shownView] ?? [];
    const found = listed.filter((session) => session.slug !== here); // its page shows it
    const nextInQueue = found.find((row) => row.status === "queued")?.slug;
    keyed(this.parts.rows, found, rowKey, (session) => makeRow(session, this.act), (row, session) => showRow(row, session, this.act, {
      isFull: this.shownView === ALL,
      extra: this.shownView === SHORT && session.slug === nextInQueue ? queueRest(banner) : [],
    }));
  }

  /** @param {Banner} banner */
  showFoot(banner) {
    const { foot, showMore, allRuns, pages } = this.parts;
    foot.hidden = this.shownView === FOLDED;
    showMore.hidden = this.shownView !== SHORT || (!banner.more && !this.showsMore);
    put(showMore, this.showsMore ? "Show fewer" : moreText(banner));
    put(allRuns, banner.counts.total === 1 ? "1 run" : `All ${plural(banner.counts.total, "run")}`);
    pages.element.hidden = this.shownView !== ALL;
    if (this.shownView === ALL && this.list) pages.show(this.list);
  }
}

/** @param {{ element: HTMLElement, props: { value: RunsSetup } }} part */
export function mount({ element, props }) {
  new SessionsBanner(element, props.value.import_types);
}
