// The Run page: one session with its progress, loss curve, sample images, log and files. Each request fetches only what changed.

import { actions } from "./banner.js";
import { attribute, fill, h, keyed, put } from "./dom.js";
import { address, get, path, poll } from "./api.js";
import { send } from "./form.js";
import { curve } from "./loss_chart.js";
import { question } from "./dialog.js";
import { unsavedChanges } from "./unsaved.js";
import { menu } from "./menu.js";
import { route } from "./router.js";
import * as store from "./browser_store.js";
import { buttons, facts, isLive, folderName, progressLine, showProgress, symbol, word } from "./session_row.js";

const LOG_KEPT = 200_000;

function lightbox() {
  const image = h("img", { alt: "" });
  const words = h("p", { class: "fg-small" });
  const box = h("dialog", { class: "fg-lightbox", onclick: () => box.close() }, image, words, h("button", { type: "button", autofocus: true }, "Close"));
  document.body.append(box);
  return (url, text) => {
    image.src = url;
    image.alt = text;
    put(words, text);
    box.showModal();
  };
}

/** The log as one text; a carriage return overwrites its line, as in a terminal. */
function logView() {
  const text = h("pre", { class: "fg-code fg-log", tabindex: 0, "aria-label": "The last lines of training.log" });
  let content = "";
  return {
    element: text,
    reset() { content = ""; put(text, ""); },
    show(part) {
      const atEnd = text.scrollHeight - text.scrollTop - text.clientHeight < 24;
      content = ((part.replace ? "" : content) + part.text).slice(-LOG_KEPT);
      const lines = content.split("\n").map((line) => line.replace(/\r+$/, "").split("\r").at(-1));
      put(text, lines.join("\n").replace(/\n+$/, "\n"));
      if (atEnd || part.replace) text.scrollTop = text.scrollHeight;
    },
  };
}

export function mount({ element }) {
  let slug = null;
  let seen = "";
  let points = new Map(); // step -> loss, in the order of steps
  let last = null; // the latest point, if the thinned curve omits it
  let session = null;
  const enlarge = lightbox();

  const head = h("div", { class: "fg-run-head fg-card" },
    h("div", { class: "fg-row-text" },
      h("h2", { class: "fg-row-head" }, h("span", { class: "fg-symbol", "aria-hidden": "true" }), h("span", { class: "fg-name" }), h("span", { class: "fg-word" }), h("span", { class: "fg-slug fg-small" })),
      progressLine(), h("p", { class: "fg-reason" }), h("p", { class: "fg-facts" })),
    h("div", { class: "fg-actions" }));
  const chart = curve();
  const samples = h("div", { class: "fg-samples" });
  const noSamples = h("p", { class: "fg-empty" }, "Sample images appear here if the form has sample prompts and an interval in steps.");
  const log = logView();
  const noLog = h("p", { class: "fg-empty" }, "The trainer's output appears here.");
  const files = h("ul", { class: "fg-files" });
  const noFiles = h("p", { class: "fg-empty" }, "The LoRA files appear here as they are saved.");
  const monitorState = h("p", { class: "fg-monitor-state", role: "status" });
  const monitorLog = h("pre", { class: "fg-code", tabindex: 0, "aria-label": "The last lines of monitor.log" });
  const refresh = h("button", { type: "button", class: "fg-button", onclick: async () => {
    refresh.disabled = true;
    seen = "";
    await ask();
    setTimeout(() => { refresh.disabled = false; }, 300);
  } }, "Refresh Monitor Status");
  const settings = h("dl", { class: "fg-settings" });
  const missing = h("strong", { hidden: true });
  const none = h("p", { class: "fg-card fg-empty fg-run-none" }, missing, "Press ", h("a", { href: "#train" }, "Start training"), " on the Train page, or Open on a session above, to see a run here.");
  const part = (title, ...children) => h("section", { class: "fg-card" }, h("h3", {}, title), ...children);
  const body = h("div", { class: "fg-run" }, head,
    h("div", { class: "fg-run-parts" },
      h("div", {}, part("Loss", chart.element), part("Samples", samples, noSamples)),
      h("div", {}, part("LoRA files", files, noFiles), part("Log", log.element, noLog),
        h("details", { class: "fg-card fg-fold" }, h("summary", {}, "Monitor"), h("div", { class: "fg-monitor" }, monitorState, refresh), monitorLog),
        h("details", { class: "fg-card fg-fold" }, h("summary", {}, "Settings"), settings))));
  fill(element, none, body);

  function reset() {
    seen = "";
    points = new Map();
    last = null;
    session = null;
    chart.show([], 0);
    log.reset();
    log.element.hidden = true;
    noLog.hidden = false;
    fill(samples);
    fill(files);
    fill(settings);
    put(monitorLog, "");
    head.querySelector(".fg-message")?.remove();
  }

  function showHead() {
    put(head.querySelector(".fg-symbol"), symbol(session));
    put(head.querySelector(".fg-name"), session.lora_name);
    put(head.querySelector(".fg-word"), word(session));
    put(head.querySelector(".fg-slug"), folderName(session));
    head.dataset.status = session.is_stopping ? "starting" : session.status;
    showProgress(head.querySelector(".fg-progress"), session);
    const reason = head.querySelector(".fg-reason");
    reason.hidden = !session.reason;
    put(reason, session.reason ?? "");
    const known = JSON.stringify([session.started, session.max_train_epochs, session.checkpointing, session.monitoring, session.ended, session.resume]);
    const list = head.querySelector(".fg-facts");
    if (list.dataset.known !== known) {
      list.dataset.known = known;
      fill(list, facts(session));
    }
    const wanted = JSON.stringify([session.slug, session.run_id, session.status, session.is_stopping, session.resume, session.is_executing]);
    const slot = head.querySelector(".fg-actions");
    if (slot.dataset.wanted !== wanted) {
      slot.dataset.wanted = wanted;
      fill(slot, buttons(session, act).filter((button) => button.dataset.action !== "open"),
        h("button", { type: "button", class: "fg-button", title: "Fills the form on the Train page with this run's settings",
          onclick: toForm }, "Load into form"),
        menu(session, act.more(session), act.done));
    }
  }

  /** Fill the form with this run's settings, after a confirmation if the form has unsaved changes. */
  async function toForm() {
    const lost = await unsavedChanges();
    if (lost === null) return;
    const text = `The form is filled with this run's settings and images. This discards ${lost}.`;
    if (lost && !await question({ title: "Replace the form's content?", text, yes: "Replace" })) return;
    send("open", { slug, replace: true });
    location.hash = "#train";
  }

  function showSamples(grid) {
    noSamples.hidden = grid.length > 0;
    samples.classList.toggle("fg-single", grid.every((row) => row.images.length === 1));
    keyed(samples, grid, (row) => row.label, (row) => h("div", { class: "fg-sample-row" }, h("p", { class: "fg-small" }, row.label), h("ul", {})),
      (line, row) => keyed(line.querySelector("ul"), row.images, (image) => image.url, (image) => {
        const url = address(image.url);
        const text = `${row.label} · ${image.prompt}`;
        return h("li", {}, h("button", { type: "button", title: text, onclick: () => enlarge(url, text) }, h("img", { src: url, alt: text, loading: "lazy" })),
          h("p", { class: "fg-small fg-prompt" }, image.prompt));
      }, () => {}));
  }

  function showFiles(list) {
    noFiles.hidden = list.length > 0;
    keyed(files, list, (file) => file.url, (file) => h("li", {}, h("a", { href: address(file.url), download: file.name }, file.name), h("span", { class: "fg-small" })),
      (line, file) => put(line.lastElementChild, ` ${file.size}${file.note ? ` · ${file.note}` : ""}`));
  }

  function show(answer) {
    if (answer.session) {
      session = answer.session;
      showHead();
    }
    if (answer.curve) {
      if (answer.curve.replace) points = new Map();
      for (const [step, loss] of answer.curve.points) points.set(step, loss);
      last = answer.curve.last;
    }
    if (answer.curve || answer.session) chart.show([...points, ...(last ? [last] : [])], session?.progress?.total_steps ?? 0);
    if (answer.samples) showSamples(answer.samples);
    if (answer.log) {
      log.show(answer.log);
      noLog.hidden = Boolean(log.element.textContent);
      log.element.hidden = !log.element.textContent;
    }
    if (answer.monitor) {
      put(monitorState, answer.monitor.is_alive ? `Monitoring: ✅ process ${answer.monitor.pid} monitors this run` : "Monitoring: ❌ no process monitors this run");
      put(monitorLog, answer.monitor.lines.join("\n"));
      monitorLog.hidden = !answer.monitor.lines.length;
    }
    if (answer.files) showFiles(answer.files);
    if (answer.settings) fill(settings, answer.settings.flatMap((row) => [h("dt", {}, row.label), h("dd", {}, row.default === null ? row.value : `${row.value} (default ${row.default})`)]));
  }

  const ask = poll(async () => {
    const here = route();
    if (here.tab !== "run") return 5;
    const wanted = here.slug ?? store.viewed();
    if (wanted !== slug) {
      slug = wanted;
      reset();
    }
    if (!slug) {
      attribute(none, "hidden", null);
      body.hidden = true;
      return 5;
    }
    const { value: answer } = await get(path("runs", slug), { seen });
    if (answer && wanted === slug) {
      attribute(none, "hidden", answer.is_missing ? null : "");
      missing.hidden = !here.slug;
      put(missing, `The run “${here.slug ?? ""}” does not exist any more. `);
      body.hidden = Boolean(answer.is_missing);
      if (answer.is_missing) {
        seen = "";
        return 3;
      }
      seen = answer.seen;
      show(answer);
    }
    return session && isLive(session) ? 1 : 4;
  });
  const act = actions(ask);
  document.addEventListener("fg:route", ask);
  document.addEventListener("fg:changed", ask);
}
