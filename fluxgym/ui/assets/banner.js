// "🔄 Active Training Sessions": one row per run, newest first, above every tab.

import { attribute, fill, h, keyed, put } from "./dom.js";
import { now } from "./clock.js";
import { address, errorOf, get, path, poll, post, upload } from "./api.js";
import { send } from "./form.js";
import { notice } from "./notices.js";
import { question } from "./dialog.js";
import { menu } from "./menu.js";
import * as store from "./browser_store.js";
import { go } from "./router.js";
import { buttons, facts, folderName, progressLine, showProgress, symbol, word } from "./session_row.js";

const TITLE = "🔄 Active Training Sessions";

function title(counts) {
  const parts = [];
  if (counts.running) parts.push(`${counts.running} running`);
  if (counts.waiting) parts.push(`${counts.waiting} waiting`);
  if (counts.earlier) parts.push(`${counts.earlier} earlier`);
  return parts.length ? `${TITLE} — ${parts.join(", ")}` : TITLE;
}

function makeRow() {
  return h("li", { class: "fg-row" },
    h("div", { class: "fg-row-text" },
      h("p", { class: "fg-row-head" },
        h("span", { class: "fg-symbol", "aria-hidden": "true" }), h("strong", { class: "fg-name" }), h("span", { class: "fg-word" }), h("span", { class: "fg-slug fg-small" })),
      progressLine(),
      h("p", { class: "fg-reason" }),
      h("p", { class: "fg-facts" })),
    h("div", { class: "fg-actions" }));
}

function showRow(row, session, act) {
  const shown = JSON.stringify(session);
  if (row.dataset.shown === shown) return;
  row.dataset.shown = shown;
  row.dataset.status = session.is_stopping ? "starting" : session.status;
  put(row.querySelector(".fg-symbol"), symbol(session));
  put(row.querySelector(".fg-name"), session.lora_name);
  attribute(row.querySelector(".fg-name"), "title", session.folder);
  put(row.querySelector(".fg-word"), word(session));
  put(row.querySelector(".fg-slug"), folderName(session));
  showProgress(row.querySelector(".fg-progress"), session);
  const reason = row.querySelector(".fg-reason");
  reason.hidden = !session.reason;
  put(reason, session.reason ?? "");
  const known = JSON.stringify([session.started, session.max_train_epochs, session.checkpointing, session.monitoring, session.status, session.ended, session.resume]);
  const list = row.querySelector(".fg-facts");
  if (list.dataset.known !== known) {
    list.dataset.known = known;
    fill(list, session.status === "unreadable" ? session.folder : facts(session));
  }
  const wanted = JSON.stringify([session.slug, session.run_id, session.status, session.is_stopping, session.resume, session.is_executing]);
  const actions = row.querySelector(".fg-actions");
  if (actions.dataset.wanted !== wanted) {
    actions.dataset.wanted = wanted;
    const focused = actions.contains(document.activeElement) ? document.activeElement.dataset.action : null;
    fill(actions, buttons(session, act), menu(session, act.more(session), act.done));
    if (focused) (actions.querySelector(`[data-action="${focused}"]`) ?? actions.querySelector("button"))?.focus();
  }
}

/** Return the function that sends a button's action to the app. Also used by the Run page. */
export function actions(ask) {
  async function act(action, session, button) {
    if (action === "open") {
      store.setViewed(session.slug);
      send("open", { slug: session.slug });
      go("run", session.slug);
      return;
    }
    button.disabled = true;
    const label = button.textContent;
    put(button, { resume: "Resuming…", repair: "Repairing…" }[action] ?? "Stopping…");
    const answer = await act.more(session)(action);
    button.disabled = false;
    put(button, label);
    if (answer.offline) notice(`Connection lost. It is not known whether ${session.lora_name} was changed.`);
    if (answer.error) {
      const row = button.closest(".fg-row, .fg-run-head");
      row?.querySelector(".fg-message")?.remove();
      row?.append(h("p", { class: "fg-message fg-bad", role: "alert" }, answer.error.message));
    }
    if (answer.value && action === "resume") go("run", session.slug);
    document.dispatchEvent(new CustomEvent("fg:changed"));
    ask();
  }
  act.more = (session) => (action, more = {}) => post(path("sessions", session.slug, action), { run_id: session.run_id, ...more });
  act.done = (result) => {
    document.dispatchEvent(new CustomEvent("fg:changed"));
    if (result.open) go("run", result.open);
  };
  return act;
}

/** The menu of the list: import, backup, forget old sessions. */
function listMenu(ask) {
  const file = h("input", { type: "file", accept: ".zip,.json", hidden: true, "aria-label": "An exported run or archive", onchange: importFile });
  async function importFile() {
    const [chosen] = file.files;
    file.value = "";
    if (!chosen) return;
    const answer = await upload(path("import", chosen.name), chosen);
    const slugs = answer.value?.slugs ?? [];
    if (!answer.value) await question({ title: "Not imported", text: answer.error?.message ?? `${chosen.name}: the connection was interrupted; import it again.` });
    else if (slugs.length === 1) go("run", slugs[0]);
    document.dispatchEvent(new CustomEvent("fg:changed"));
  }
  async function sweep() {
    await question({
      title: "Forget old sessions?", text: "Removes ended sessions that were started before that from the list. Their LoRAs and files stay.",
      field: { label: "Older than (days)", value: "30" }, yes: "Forget sessions",
      check: async (days) => {
        if (!/^\d{1,5}$/.test(days.trim())) return "Enter a whole number of days, such as 30.";
        return errorOf(await post("sweep", { days: Number(days) }));
      },
    });
    ask();
  }
  const item = (text, onclick) => h("button", { type: "button", role: "menuitem", onclick: () => { box.open = false; onclick(); } }, text);
  const box = h("details", { class: "fg-menu" },
    h("summary", { class: "fg-button", "aria-label": "More for all sessions", title: "More" }, "⋯"),
    h("div", { class: "fg-menu-items", role: "menu" }, item("Import…", () => file.click()),
      h("a", { role: "menuitem", href: address("states.tar.gz"), download: "", onclick: () => { box.open = false; } }, "Back up all states"),
      item("Forget old sessions…", sweep)));
  return [box, file];
}

export function mount({ element }) {
  let seen = "";
  let page = 0;
  let counts = { running: 0, waiting: 0, earlier: 0, shown: 0 };
  const hint = h("span", { class: "fg-small", hidden: true }, "none yet; each training that you start appears here");
  const summary = h("summary", {}, h("h2", {}, TITLE), hint);
  const list = h("ul", { class: "fg-rows" });
  const empty = h("p", { class: "fg-empty", hidden: true },
    h("strong", {}, "No active training sessions found"), " Each training that you start is listed here, with its progress, until you remove it.");
  const filter = h("input", { type: "search", placeholder: "Filter by name", "aria-label": "Filter the sessions by name", oninput: () => { page = 0; ask(); } });
  const refresh = h("button", { type: "button", class: "fg-button", onclick: refreshNow }, "Refresh Sessions");
  const before = h("button", { type: "button", class: "fg-button", onclick: () => { page -= 1; ask(); } }, "Newer");
  const after = h("button", { type: "button", class: "fg-button", onclick: () => { page += 1; ask(); } }, "Older");
  const where = h("span");
  const pager = h("p", { class: "fg-pager", hidden: true }, before, where, after);
  const banner = h("details", { class: "fg-card fg-sessions" }, summary,
    h("div", { class: "fg-sessions-tools" }, filter, refresh, ...listMenu(() => ask())), list, empty, pager);
  fill(element, banner);
  banner.addEventListener("toggle", () => banner.open && store.setListSeenAt(now()));

  async function refreshNow() {
    seen = "";
    refresh.disabled = true;
    await ask();
    setTimeout(() => { refresh.disabled = false; }, 300);
  }

  function show(answer) {
    counts = answer.counts;
    put(summary.firstElementChild, title(counts));
    hint.hidden = counts.running + counts.waiting + counts.earlier > 0;
    keyed(list, answer.rows, (row) => `${row.slug}/${row.run_id ?? ""}`, makeRow, (row, session) => showRow(row, session, act));
    empty.hidden = counts.shown > 0;
    if (filter.value && counts.shown === 0) put(empty.firstElementChild, "No session has this in its name.");
    else put(empty.firstElementChild, "No active training sessions found");
    filter.hidden = counts.running + counts.waiting + counts.earlier <= answer.page_size && !filter.value;
    pager.hidden = counts.shown <= answer.page_size;
    const last = Math.max(1, Math.ceil(counts.shown / answer.page_size));
    page = answer.page;
    put(where, `page ${page + 1} of ${last}`);
    before.disabled = page === 0;
    after.disabled = page + 1 >= last;
    document.dispatchEvent(new CustomEvent("fg:machine", { detail: answer.machine }));
    openIfNew(answer);
    if (banner.open) store.setListSeenAt(now()); // the user sees it now
  }

  let opened = false;
  function openIfNew(answer) {
    const isNew = counts.running + counts.waiting > 0 || answer.rows.some((row) => (row.ended ?? 0) > store.listSeenAt());
    if (!opened && isNew) banner.open = true;
    opened ||= isNew;
  }

  const ask = poll(async () => {
    const { value } = await get("sessions", { version: seen, page, filter: filter.value });
    if (value) {
      seen = value.version;
      show(value);
    }
    return counts.running + counts.waiting > 0 ? 2 : 5;
  });
  const act = actions(ask);
  document.addEventListener("fg:changed", ask);
}
