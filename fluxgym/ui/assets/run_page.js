// A run's page: header or result, charts, samples, files, log, monitor, settings and history. Each request fetches only what changed.

import { attribute, fill, findAll, focusedIn, h, put } from "./dom.js";
import { errorOf, get, path, poll } from "./api.js";
import { checkpointsCard } from "./checkpoints.js";
import { question } from "./dialog.js";
import { loadIntoForm, newTraining } from "./load_run.js";
import { menu } from "./menu.js";
import { route } from "./router.js";
import { curveData, lossCard, rateCard } from "./run_charts.js";
import { adviceCard, causeCard } from "./run_ending.js";
import { runHeader } from "./run_header.js";
import { logCard } from "./run_log.js";
import { runResult } from "./run_result.js";
import { historyCard, monitorCard, settingsCard } from "./run_settings.js";
import { samplesCard } from "./samples.js";
import * as store from "./browser_store.js";
import { actions } from "./session_actions.js";
import { isLive, nextStep, stepButton } from "./session_row.js";

const LIVE_S = 1;
const ENDED_S = 4;
const OTHER_TAB_S = 5;

/** The state of a page: "live", "done", "ended" (before its last step) or "new" (a copy or an import that was not started). */
function stateOf({ session }) {
  if (isLive(session)) return "live";
  if (session.status === "completed") return "done";
  return session.origin !== "trained" && session.status === "stopped" ? "new" : "ended";
}

export function mount({ element }) {
  /** @type {string | null} */
  let slug = null;
  let seen = "";
  /** @type {any} the parts of the run as they were last sent */
  let known = {};
  /** @type {string | null} the LoRA file that the user chose, of a completed run */
  let chosen = null;
  const curve = curveData();

  const header = runHeader();
  const samples = samplesCard({ onchoose: choose });
  const result = runResult({ onopen: (column, prompt) => samples.open(column, prompt), ontrain: trainFurther, onedit: edit, onnew: newTraining });
  const cards = {
    cause: causeCard(), advice: adviceCard(), loss: lossCard(), rate: rateCard(), samples, log: logCard(),
    files: checkpointsCard({ onchoose: choose, onresume: resumeFrom }), settings: settingsCard({ onedit: edit }),
    monitor: monitorCard({ onrefresh: refresh }), history: historyCard({ onrestore: restore }),
  };
  const parts = Object.fromEntries(Object.entries(cards).map(([name, one]) => [name, one.element]));
  // Columns a, b, c and, under them, l; at 1800 px three of them stand side by side.
  const side = [parts.files, parts.rate, parts.settings, parts.monitor, parts.history];
  const layouts = {
    live: { class: "cols three runcols", a: [parts.loss], b: [parts.samples], c: side, l: [parts.log] },
    done: { class: "cols three done", h: [result.element], a: [parts.samples], b: [parts.loss, parts.log], c: side },
    ended: { class: "cols three failcols", a: [parts.cause], b: [parts.log, parts.loss, parts.samples], c: [parts.advice, ...side] },
    new: { class: "cols three failcols", a: [parts.cause], b: [parts.settings], c: [parts.advice, parts.files, parts.history] },
  };
  const columns = Object.fromEntries(["h", "a", "b", "c", "l"].map((name) => [name, h("div", { class: name === "h" ? "h" : `stack ${name}` })]));
  const grid = h("div");
  const body = h("div", { class: "fg-run stack", hidden: true }, header.element, grid);
  const missing = h("b", { hidden: true });
  const none = h("section", { class: "card empty fg-run-none", hidden: true }, missing,
    h("p", {}, h("a", { href: "#train" }, "Start a training"), " on the Train page, or open one of the ", h("a", { href: "#runs" }, "runs"), ", to see it here."));
  fill(element, none, body);

  function reset(next) {
    slug = next;
    seen = "";
    known = {};
    chosen = null;
    curve.clear();
    if (!slug) return;
    cards.log.reset(slug);
    cards.files.reset();
    header.element.querySelector(".fg-message")?.remove();
  }

  /** Put the cards into the columns of a state. */
  function arrange(state) {
    if (grid.dataset.state === state) return;
    grid.dataset.state = state;
    const layout = layouts[state];
    attribute(grid, "class", layout.class);
    const used = Object.keys(columns).filter((name) => layout[name]);
    for (const name of used) fill(columns[name], layout[name]);
    fill(grid, used.map((name) => columns[name]));
    header.element.hidden = state === "done";
  }

  function choose(name) {
    chosen = name;
    show({});
  }

  function edit() {
    return loadIntoForm(known.session);
  }

  async function refresh() {
    seen = "";
    await ask();
  }

  async function restore(version) {
    const answer = await act.more(known.session)("restore", { version });
    if (answer.value) await ask();
    return answer;
  }

  async function trainFurther() {
    const { session } = known;
    const epochs = session.max_train_epochs ?? 0;
    const answer = await question({
      title: `Train ${session.lora_name} further?`, yes: "Train further", field: { label: "Epochs in total", value: String(epochs + Math.max(1, Math.round(epochs / 4))) },
      text: `The run has trained ${epochs} epochs. It continues where it ended, and its LoRA file is replaced at the new end.`,
      check: async (value) => {
        if (!/^\d{1,6}$/.test(value.trim()) || Number(value) <= epochs) return `Enter a whole number greater than ${epochs}.`;
        return errorOf(await act.more(session)("resume", { epochs: Number(value) }));
      },
    });
    if (answer) act.done({});
  }

  async function resumeFrom(file) {
    const step = file.step === null ? file.name : `step ${file.step.toLocaleString("en-US")}`;
    const { session } = known;
    const answer = await question({
      title: `Resume ${session.lora_name} from ${step}?`, yes: `Resume from ${step}`,
      text: "The steps after it are trained again. Their LoRA files are replaced when the training reaches them.",
      check: async () => errorOf(await act.more(session)("resume", { checkpoint: file.checkpoint })),
    });
    if (answer) act.done({});
  }

  function editButton(name) {
    return h("button", { type: "button", class: name, "data-action": "edit", title: "Fills the form on the Train page with this run's settings and images", onclick: edit }, "Edit as new training");
  }

  /** The run's next step as a button; null where the page has a button of its own for it. */
  function stepOf(session, name) {
    if (["load", "download"].includes(nextStep(session).action)) return null;
    const button = stepButton(session, act);
    button.className = name;
    return button;
  }

  function showActions() {
    const { session } = known;
    const state = stateOf(known);
    const wanted = JSON.stringify([state, session.slug, session.run_id, nextStep(session), known.facts?.can_train_further]);
    if (body.dataset.wanted === wanted) return;
    body.dataset.wanted = wanted;
    const focused = focusedIn(body)?.dataset.action;
    const hasEnded = state === "ended" || state === "new";
    const step = stepOf(session, hasEnded ? "btn primary big wide" : "btn");
    const more = menu(() => known.session, (action, details) => act.more(known.session)(action, details), act.done);
    if (state === "done") result.setActions(known.facts?.can_train_further, more);
    else fill(header.actions, state === "live" ? [step, editButton("btn")] : null, more);
    const isEditable = hasEnded && session.status !== "unreadable";
    fill(cards.advice.actions, hasEnded ? step : null, isEditable ? editButton(step ? "btn wide" : "btn primary big wide") : null);
    if (focused) findAll(body, `[data-action="${focused}"]`)[0]?.focus();
  }

  /** Show the parts that changed. */
  function show(changed) {
    const state = stateOf(known);
    arrange(state);
    const files = known.files ?? { files: [], best: null, why: "" };
    if (!files.files.some((file) => file.name === chosen)) chosen = files.best;
    const step = files.files.find((file) => file.name === chosen)?.step ?? null;
    header.show(known);
    if (state === "done") result.show({ ...known, chosen });
    if ((state === "ended" || state === "new") && known.ending) {
      cards.cause.show(known);
      cards.advice.show(known);
    }
    attribute(cards.cause.element, "hidden", known.ending ? null : "");
    if (changed.curve || changed.session) {
      if (changed.curve) curve.add(changed.curve);
      cards.loss.show(curve, state === "live");
      cards.rate.show(curve);
    }
    samples.show({ ...changed, chosen: state === "done" ? step : null });
    cards.files.show({ ...changed, chosen });
    if (changed.log) cards.log.show(changed.log);
    cards.log.setLive(state === "live");
    if (changed.settings || changed.facts) cards.settings.show(changed);
    if (changed.monitor || changed.session) cards.monitor.show(changed);
    if (changed.history || changed.session) cards.history.show(changed);
    showActions();
  }

  function showNone(name) {
    attribute(none, "hidden", null);
    body.hidden = true;
    missing.hidden = !name;
    put(missing, name ? `There is no run “${name}”.` : "");
  }

  const ask = poll(async () => {
    const here = route();
    if (here.tab !== "run") return OTHER_TAB_S;
    const wanted = here.slug ?? store.viewed();
    if (wanted !== slug) reset(wanted);
    if (!slug) {
      showNone(null);
      return OTHER_TAB_S;
    }
    const { value: answer } = await get(path("runs", slug), { seen });
    if (answer?.is_missing && wanted === slug) {
      reset(null);
      showNone(here.slug);
      return ENDED_S;
    }
    if (answer && wanted === slug) {
      seen = answer.seen;
      const changed = Object.fromEntries(Object.entries(answer).filter(([name, value]) => value !== null && name !== "seen" && name !== "is_missing"));
      known = { ...known, ...changed };
      attribute(none, "hidden", "");
      attribute(body, "hidden", null);
      if (Object.keys(changed).length) show(changed);
    }
    return known.session && isLive(known.session) ? LIVE_S : ENDED_S;
  });
  const act = actions(ask);
  document.addEventListener("fg:route", ask);
  document.addEventListener("fg:changed", ask);
}
