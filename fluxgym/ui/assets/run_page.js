// A run's page: header or result, charts, samples, files, log, monitor, settings and history. Each request fetches only what changed.

import { attribute, emit, fill, findAll, focusedIn, h, put, redraw } from "./dom.js";
import { get, path, poll } from "./api.js";
import { checkpointsCard } from "./checkpoints.js";
import { curveData } from "./curves.js";
import { loadIntoForm, newTraining } from "./load_run.js";
import { menu } from "./menu.js";
import { go, openRun, route } from "./router.js";
import { lossCard, rateCard } from "./run_charts.js";
import { adviceCard, causeCard } from "./run_ending.js";
import { runHeader } from "./run_header.js";
import { runGrid } from "./run_layout.js";
import { logCard } from "./run_log.js";
import { runResult } from "./run_result.js";
import { resumeFrom, trainFurther } from "./run_resume.js";
import { historyCard, monitorCard, settingsCard } from "./run_settings.js";
import { samplesCard } from "./samples.js";
import { actions } from "./session_actions.js";
import { stepButton } from "./session_row.js";

/** @import { PageState, RunChanges, SessionRow } from "./types.js" */

/** @typedef {Omit<RunChanges, "seen" | "is_missing">} Parts the parts of a run; null if they did not change or are not known */

const LIVE_S = 1;
const ENDED_S = 4;
const OTHER_TAB_S = 5;
/** @type {Parts} */
const NOTHING = { session: null, facts: null, samples: null, files: null, settings: null, history: null, monitor: null, ending: null, log: null, curve: null };
const NO_FILES = { files: [], best: null, why: "" };
const NO_SAMPLES = { prompts: [], columns: [], upcoming: null, interval: "", empty: "" };

/** What the page shows without a run. Returns {element, show(name)}; `name` is that of a run that does not exist. */
function noRun() {
  const missing = h("b", { hidden: true });
  const element = h("section", { class: "card empty fg-run-none", hidden: true }, missing,
    h("p", {}, h("a", { href: "#train" }, "Start a training"), " on the Train page, or open one of the ", h("a", { href: "#runs" }, "runs"), ", to see it here."));
  return {
    element,
    /** @param {string | null} name */
    show(name) {
      element.hidden = false;
      missing.hidden = !name;
      put(missing, name ? `There is no run “${name}”.` : "");
    },
  };
}

class RunPage {
  /** @type {string | null} */
  slug = null;
  seen = "";
  /** @type {Parts} the parts as they were last sent */
  known = NOTHING;
  /** @type {string | null} the LoRA file that the user chose, of a completed run */
  chosen = null;
  curve = curveData();

  /** @param {HTMLElement} element */
  constructor(element) {
    this.act = actions(() => this.ask());
    this.header = runHeader();
    this.cards = this.makeCards();
    this.grid = runGrid(this.cards);
    this.body = h("div", { class: "fg-run stack", hidden: true }, this.header.element, this.grid.element);
    this.none = noRun();
    fill(element, this.none.element, this.body);
    this.ask = poll(() => this.update());
    document.addEventListener("fg:route", this.ask);
    document.addEventListener("fg:gone", ({ detail }) => { if (route().tab === "run" && detail.includes(route().slug ?? "")) go("runs"); });
    document.addEventListener("fg:changed", this.ask);
  }

  makeCards() {
    const samples = samplesCard({ onchoose: (name) => this.choose(name) });
    return {
      samples, cause: causeCard(), advice: adviceCard(), loss: lossCard(), rate: rateCard(), log: logCard(),
      result: runResult({
        onopen: (column, prompt) => samples.open(column, prompt), ontrain: () => trainFurther(this.session, this.act), onnew: newTraining,
      }),
      files: checkpointsCard({ onchoose: (name) => this.choose(name), onresume: (file) => resumeFrom(this.session, this.act, file) }),
      settings: settingsCard({ onedit: () => loadIntoForm(this.session) }),
      monitor: monitorCard({ onrefresh: () => this.refresh() }),
      history: historyCard({ onrestore: (version) => this.restore(version) }),
    };
  }

  /** The run as it is known; the cards that act on it are only shown with one. */
  get session() {
    return /** @type {SessionRow} */ (this.known.session);
  }

  /**
   * Begin with another run.
   * @param {string | null} slug
   */
  reset(slug) {
    this.slug = slug;
    this.seen = "";
    this.known = NOTHING;
    this.chosen = null;
    this.curve.clear();
    if (!slug) return;
    this.cards.log.reset(slug);
    this.cards.files.reset();
    this.header.element.querySelector(".fg-message")?.remove();
  }

  /** @param {string} name */
  choose(name) {
    this.chosen = name;
    this.show(NOTHING);
  }

  /** Request all parts again. */
  refresh() {
    this.seen = "";
    return this.ask();
  }

  /** @param {string} version */
  async restore(version) {
    const answer = await this.act.request(this.session, "restore", { version });
    if (answer.value) await this.ask();
    return answer;
  }

  /** Request what changed, show it, and return the seconds until the next request. */
  async update() {
    if (route().tab !== "run") return OTHER_TAB_S;
    const wanted = openRun();
    if (wanted !== this.slug) this.reset(wanted);
    if (!wanted) {
      this.showNone(null);
      emit("fg:run-page");
      return OTHER_TAB_S;
    }
    const { value: answer } = await get(path("runs", wanted), { seen: this.seen });
    if (answer && wanted === this.slug) this.receive(answer);
    if (answer) emit("fg:run-page");
    return this.known.session?.is_live ? LIVE_S : ENDED_S;
  }

  /** @param {RunChanges} answer */
  receive({ seen, is_missing: isMissing, ...changed }) {
    if (isMissing) {
      this.reset(null);
      this.showNone(route().slug);
      return;
    }
    this.seen = seen;
    const parts = Object.entries(changed).filter(([, part]) => part !== null);
    this.known = { ...this.known, ...Object.fromEntries(parts) };
    attribute(this.none.element, "hidden", "");
    attribute(this.body, "hidden", null);
    if (parts.length) this.show(changed);
    if (openRun() === this.slug) emit("fg:run", this.session);
  }

  /** @param {string | null} name of a run that does not exist */
  showNone(name) {
    this.body.hidden = true;
    this.none.show(name);
  }

  /**
   * Show the parts that changed.
   * @param {Parts} changed
   */
  show(changed) {
    const { known, session, header } = this;
    const state = session.page_state;
    this.grid.arrange(state);
    header.element.hidden = state === "done";
    header.show({ session, facts: known.facts });
    this.showFiles(changed, state);
    this.showEnding();
    this.showCurves(changed, state);
    this.showLog(changed, state);
    const { settings, monitor, history } = this.cards;
    if (changed.settings || changed.facts || changed.session) settings.show(changed);
    if (changed.monitor || changed.session) monitor.show(changed);
    if (changed.history) history.show(changed);
    this.showActions(state);
  }

  /**
   * The LoRA files, the samples that belong to them, and the result with the chosen one.
   * @param {Parts} changed
   * @param {PageState} state
   */
  showFiles(changed, state) {
    const { known, session, cards } = this;
    const files = known.files ?? NO_FILES;
    if (!files.files.some((file) => file.name === this.chosen)) this.chosen = files.best;
    const file = files.files.find((one) => one.name === this.chosen) ?? null;
    if (state === "done") cards.result.show({ session, facts: known.facts, files, samples: known.samples ?? NO_SAMPLES }, file);
    cards.samples.show({ ...changed, chosen: state === "done" ? file?.step ?? null : null });
    cards.files.show({ ...changed, chosen: this.chosen });
  }

  /** Why the run ended, and what to do. */
  showEnding() {
    const { known: { ending }, session, cards } = this;
    attribute(cards.cause.element, "hidden", ending ? null : "");
    if (!ending) return;
    cards.cause.show({ ending, session });
    cards.advice.show({ ending, session });
  }

  /**
   * @param {Parts} changed
   * @param {PageState} state
   */
  showCurves(changed, state) {
    if (changed.curve) this.curve.add(changed.curve);
    if (!changed.curve && !changed.session) return;
    this.cards.loss.show(this.curve, state === "live");
    this.cards.rate.show(this.curve);
  }

  /**
   * @param {Parts} changed
   * @param {PageState} state
   */
  showLog(changed, state) {
    if (changed.log) this.cards.log.show(changed.log);
    this.cards.log.setLive(state === "live");
  }

  /**
   * The buttons, which are created again only if they change; the focus stays on the same action.
   * @param {PageState} state
   */
  showActions(state) {
    const { session, known, body } = this;
    const canTrainFurther = known.facts?.can_train_further ?? false;
    redraw(body, [state, session.slug, session.run_id, session.next_step, canTrainFurther], () => {
      const focused = focusedIn(body)?.dataset.action;
      this.fillActions(state, canTrainFurther);
      if (focused) findAll(body, `[data-action="${focused}"]`)[0]?.focus();
    });
  }

  /**
   * @param {PageState} state
   * @param {boolean} canTrainFurther
   */
  fillActions(state, canTrainFurther) {
    const { session, header, cards } = this;
    const hasEnded = state === "ended" || state === "new";
    const step = this.stepOf(session, hasEnded ? "btn primary big wide" : "btn");
    const more = menu(() => this.session, this.act);
    if (state === "done") cards.result.setActions(canTrainFurther, this.editButton("btn"), more);
    else fill(header.actions, state === "live" ? [step, this.editButton("btn")] : null, more);
    const isEditable = hasEnded && session.edit_text !== null;
    fill(cards.advice.actions, hasEnded ? step : null, isEditable ? this.editButton(step ? "btn wide" : "btn primary big wide") : null);
  }

  /**
   * The run's next step as a button; null where the page has a button of its own for it.
   * @param {SessionRow} session
   * @param {string} className
   */
  stepOf(session, className) {
    const { action } = session.next_step;
    if (action === "load" || action === "download") return null;
    const button = stepButton(() => this.known.session, session, this.act);
    button.className = className;
    return button;
  }

  /** @param {string} className */
  editButton(className) {
    return h("button", { type: "button", class: className, "data-action": "edit", title: "Fills the form on the Train page with this run’s settings and images",
      onclick: () => loadIntoForm(this.session) }, this.session.edit_text);
  }
}

/** @param {{ element: HTMLElement }} part */
export function mount({ element }) {
  new RunPage(element);
}
