// The page #runs: the table of all runs with filter, sort, pages and selection. The server filters and sorts, so that it works for
// thousands of runs; a filter keeps the selection.

import { address, get, poll } from "./api.js";
import { comparison } from "./compare.js";
import { question } from "./dialog.js";
import { fill, h, keyed, put } from "./dom.js";
import { icon } from "./icons.js";
import { importInput } from "./list_actions.js";
import { route } from "./router.js";
import { runsTable } from "./runs_table.js";
import { segmented } from "./segmented.js";
import { actions, deleteRuns, forget } from "./session_actions.js";
import { isLive } from "./session_row.js";

const PAGE_SIZE = 25;
const STATUSES = [["", "All", "total"], ["running", "Running", "running"], ["queued", "Queued", "queued"], ["failed", "Failed", "failed"], ["stopped", "Stopped", "stopped"], ["completed", "Completed", "completed"]];
const whole = (number) => number.toLocaleString("en-US");

/** The selected runs, by slug; they stay selected while a filter hides them. */
class Selection {
  constructor() {
    this.runs = new Map();
  }

  has(session) {
    return this.runs.has(session.slug);
  }

  set(session, isSelected) {
    if (isSelected) this.runs.set(session.slug, session);
    else this.runs.delete(session.slug);
  }

  /** Use the current rows of selected runs. */
  update(rows) {
    for (const row of rows) if (this.has(row)) this.runs.set(row.slug, row);
  }

  remove(slugs) {
    for (const slug of slugs) this.runs.delete(slug);
  }

  get all() {
    return [...this.runs.values()];
  }
}

async function exportRuns(sessions) {
  const query = sessions.map(({ slug }) => `slug=${encodeURIComponent(slug)}`).join("&");
  const link = (name, text) => h("li", {}, h("a", { href: address(`export/${name}?${query}`), download: "" }, text));
  await question({
    title: `Export ${sessions.length} runs`, text: "One .zip with a folder per run. It contains no token and no path of a model.",
    body: [h("ul", { class: "fg-exports" }, link("settings.zip", "Settings only"), link("with-images.zip", "Settings, images and captions"),
      link("everything.zip", "Settings, images, captions and the trained models"))],
  });
}

/** The bar of the selected runs. */
function selectionBar(selection, on) {
  const text = h("span", { class: "strong", role: "status" });
  const button = (label, onclick) => h("button", { type: "button", class: "btn s quiet", onclick }, label);
  const compare = button("Compare", on.compare);
  const forgetting = button("Forget", on.forget);
  const deleting = button("Delete…", on.remove);
  const clear = h("button", { type: "button", class: "btn s icon quiet", "data-clear": "", "aria-label": "Clear selection", onclick: on.clear }, icon("x"));
  const element = h("div", { class: "bulk", role: "region", "aria-label": "Selected runs", hidden: true }, text, h("span", { class: "grow" }), compare, button("Export…", on.export), forgetting, deleting, clear);
  return {
    element,
    show(rows) {
      const { all } = selection;
      const notShown = all.filter((session) => !rows.some((row) => row.slug === session.slug)).length;
      element.hidden = all.length === 0;
      put(text, `${whole(all.length)} selected${notShown ? `, ${whole(notShown)} not shown` : ""}`);
      compare.hidden = all.length !== 2;
      forgetting.hidden = deleting.hidden = all.every(isLive);
    },
  };
}

/** The filters, Import and New training. */
function toolbar(query, on) {
  const name = h("input", { class: "in s", type: "search", placeholder: "Filter by name", "aria-label": "Filter by name", oninput: () => on.filter({ filter: name.value }) });
  const status = segmented({ label: "Status", choose: (value) => on.filter({ status: value }) });
  const model = h("select", { class: "in s end", "aria-label": "Model", onchange: () => on.filter({ model: model.value }) });
  const file = importInput();
  const element = h("header", { class: "tools" },
    h("h1", { class: "vh", id: "runs-h" }, "All runs"),
    h("div", { class: "search" }, icon("search"), name), status.element, model,
    h("button", { type: "button", class: "btn s", onclick: () => file.click() }, "Import…"), file,
    h("a", { class: "btn s primary", href: "#train" }, "New training"));
  return {
    element,
    show({ counts, models }) {
      status.show(STATUSES.map(([value, text, count]) => [value, `${text} ${whole(counts[count])}`]), query.status);
      const choices = [{ id: "", title: "All models" }, ...models];
      keyed(model, choices, (choice) => choice.id, (choice) => h("option", { value: choice.id }), (option, choice) => put(option, choice.title));
      model.hidden = models.length < 2 && !query.model;
      if (model.value !== query.model) model.value = query.model;
    },
  };
}

export function mount({ element }) {
  const query = { page: 0, page_size: PAGE_SIZE, filter: "", status: "", model: "", sort: "date", descending: true };
  const selection = new Selection();
  let version = "";
  let shown = null;

  const change = (changes) => {
    Object.assign(query, { page: 0 }, changes);
    ask();
  };
  const removeFrom = async (action) => {
    selection.remove(await action(selection.all.filter((session) => !isLive(session))));
    refresh();
  };
  const compared = comparison();
  const bar = selectionBar(selection, {
    compare: () => compared.show(selection.all),
    export: () => exportRuns(selection.all),
    forget: () => removeFrom(forget),
    remove: () => removeFrom(deleteRuns),
    clear: () => { selection.remove(selection.all.map(({ slug }) => slug)); refresh(); },
  });
  const tools = toolbar(query, { filter: change });
  const act = actions(() => ask());
  const table = runsTable({
    act,
    sort: (sort, descending) => change({ sort, descending }),
    isSelected: (session) => selection.has(session),
    select: (session, isSelected) => { selection.set(session, isSelected); refresh(); },
    selectAll: (isSelected) => { for (const row of shown.rows) selection.set(row, isSelected); refresh(); },
  });
  const before = h("button", { type: "button", class: "btn s", onclick: () => change({ page: query.page - 1 }) }, "Previous");
  const after = h("button", { type: "button", class: "btn s", onclick: () => change({ page: query.page + 1 }) }, "Next");
  const where = h("span", {});
  const pager = h("footer", { class: "pager" }, where, h("span", { class: "grow" }), before, after);
  const empty = h("div", { class: "empty", hidden: true });
  const card = h("section", { class: "card fg-runs-card", "aria-labelledby": "runs-h" }, tools.element,
    h("div", { class: "body fg-bulk-slot" }, bar.element), h("div", { class: "scroll" }, table.element), empty, pager);
  fill(element, card, compared.element);

  function showEmpty({ counts }) {
    empty.hidden = counts.shown > 0;
    table.element.hidden = counts.shown === 0;
    const sentences = counts.total ? ["No run matches.", "Change the filter to see others."] : ["No runs yet", "Each training that you start is listed here, with its settings and results."];
    if (!empty.hidden && empty.textContent !== sentences.join("")) fill(empty, h("b", {}, sentences[0]), h("span", {}, sentences[1]));
  }

  function showPager({ counts, page, page_size: size }) {
    const last = Math.min((page + 1) * size, counts.shown);
    pager.hidden = counts.shown <= size;
    put(where, `${whole(page * size + 1)}–${whole(last)} of ${whole(counts.shown)}`);
    before.disabled = page === 0;
    after.disabled = last >= counts.shown;
  }

  function refresh() {
    if (!shown) return;
    selection.update(shown.rows);
    query.page = shown.page;
    tools.show(shown);
    table.show(shown.rows, query);
    bar.show(shown.rows);
    bar.element.parentElement?.toggleAttribute("hidden", Boolean(bar.element.hidden));
    showEmpty(shown);
    showPager(shown);
  }

  const ask = poll(async () => {
    if (route().tab !== "runs") return 5;
    const asked = JSON.stringify(query);
    const { value } = await get("sessions", { ...query, version });
    if (asked !== JSON.stringify(query)) return 0; // the filter was changed meanwhile
    if (value) {
      shown = value;
      version = value.version;
    }
    refresh();
    return shown && shown.counts.running + shown.counts.queued > 0 ? 2 : 5;
  });
  document.addEventListener("fg:changed", () => ask());
  document.addEventListener("fg:route", () => ask());
}
