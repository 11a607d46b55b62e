// The samples of a run as prompts × steps. The columns of steps at which a LoRA file was saved choose that file once the run is completed.

import { now, span } from "./clock.js";
import { address } from "./api.js";
import { attribute, h, keyed, put } from "./dom.js";
import { viewer } from "./viewer.js";

export function samplesCard({ onchoose }) {
  /** @type {any} */
  let matrix = { prompts: [], columns: [], upcoming: null, interval: "", empty: "" };
  /** @type {any} */
  let session = null;
  /** @type {any} */
  let files = { files: [] };
  /** @type {number | null} */
  let chosen = null; // the step of the chosen file, once the run is completed
  /** @type {string | null} */
  let inView = null; // the key of the column that was last scrolled into view
  const look = viewer();
  const title = h("h2", { id: "fg-h-samples" }, "Samples");
  const note = h("span", { class: "small faint" });
  const grid = h("div", { class: "matrix" });
  const area = h("div", { class: "matrix-scroll" }, grid);
  const empty = h("p", { class: "soft" });
  const element = h("section", { class: "card", "aria-labelledby": "fg-h-samples" }, h("header", {}, title, note), h("div", { class: "body" }, area, empty));

  const fileOf = (column) => (session?.status === "completed" ? files.files.find((file) => file.step !== null && file.step === column.step) : null);

  /** The columns: those with images, then the next one, which is empty. */
  function columns() {
    const next = matrix.upcoming && matrix.columns.length ? [{ key: "next", label: matrix.upcoming.label, images: [], isNext: true }] : [];
    return [...matrix.columns, ...next];
  }

  function cells() {
    /** @type {any[]} */
    const list = [{ key: "corner", kind: "corner" }, ...columns().map((column, index) => ({ key: `h ${column.key}`, kind: "head", column, index }))];
    matrix.prompts.forEach((prompt, row) => {
      list.push({ key: `p ${row}`, kind: "prompt", prompt });
      columns().forEach((column, index) => list.push({ key: `${row} ${column.key} ${column.images[row] ?? ""}`, kind: "image", column, index, row, prompt }));
    });
    return list;
  }

  function head() {
    const radio = h("input", { type: "radio", name: "fg-sample-file" });
    return h("div", { class: "h" }, h("label", { class: "check" }, radio, h("b")), h("span"));
  }

  function updateHead(cell, { column }) {
    const file = fileOf(column);
    const [label, about] = cell.children;
    const [radio, name] = label.children;
    radio.hidden = !file;
    label.classList.toggle("plain", !file);
    radio.onchange = () => onchoose(file.name);
    radio.checked = Boolean(file) && column.step === chosen;
    put(name, column.label);
    put(about, below(column, file));
  }

  function below(column, file) {
    if (column.isNext) return waiting();
    const parts = [];
    if (column.step === 0) parts.push("Base model");
    if (column.epoch && !column.label.startsWith("Epoch")) parts.push(`Epoch ${column.epoch}`);
    if (column.step && column.label.startsWith("Epoch")) parts.push(`Step ${column.step}`);
    if (typeof file?.val_loss === "number") parts.push(`Val. ${file.val_loss.toFixed(3)}`);
    return parts.join("\n");
  }

  /** "in about 48 s", from the speed of the last steps. */
  function waiting() {
    const { time, step, s_per_it: speed } = session?.progress ?? {};
    if (matrix.upcoming?.step === null || typeof speed !== "number" || typeof step !== "number") return "";
    const left = time + (matrix.upcoming.step - step) * speed - now();
    return left > 0 ? `in about ${span(left)}` : "soon";
  }

  function image({ column, row, prompt }) {
    const url = column.images[row];
    if (!url) return h("div", { class: "pic wait" }, column.isNext ? "" : "No image");
    const text = `${column.label}: ${prompt}`;
    return h("button", { type: "button", class: "pic", "aria-label": text, onclick: () => look.open(matrix.columns.findIndex((one) => one.key === column.key), row) },
      h("img", { src: address(url), alt: "", loading: "lazy" }));
  }

  const make = { corner: () => h("div", { class: "h" }), head, prompt: ({ prompt }) => h("div", { class: "p" }, prompt), image };

  function update(cell, item) {
    if (item.kind === "head") updateHead(cell, item);
    if (item.kind === "prompt") put(cell, item.prompt);
    if (item.kind === "image") cell.classList.toggle("chosen", Boolean(fileOf(item.column)) && item.column.step === chosen);
  }

  function show() {
    const all = columns();
    const hasChoice = matrix.columns.filter(fileOf).length > 1;
    put(title, hasChoice ? "Choose another epoch" : "Samples");
    put(note, hasChoice ? "Download uses the chosen one" : matrix.interval);
    area.hidden = matrix.columns.length === 0;
    element.hidden = area.hidden && ["stopped", "failed", "unreadable"].includes(session?.status);
    empty.hidden = matrix.columns.length > 0;
    put(empty, matrix.empty);
    if (grid.style.getPropertyValue("--n") !== String(all.length)) grid.style.setProperty("--n", String(all.length));
    keyed(grid, matrix.columns.length ? cells() : [], (item) => item.key, (item) => make[item.kind](item), update);
    const isWide = area.scrollWidth > area.clientWidth + 1;
    attribute(area, "tabindex", isWide ? 0 : null);
    attribute(area, "role", isWide ? "region" : null);
    attribute(area, "aria-label", isWide ? "Samples by step" : null);
    const newest = chosen === null ? all.at(-1)?.key : all.find((column) => column.step === chosen)?.key;
    if (isWide && newest !== inView) {
      inView = newest;
      const head = grid.querySelector(`[data-key="h ${newest}"]`);
      if (head) area.scrollLeft += head.getBoundingClientRect().right - area.getBoundingClientRect().right + 8;
    }
  }

  return {
    element,
    open: (column, prompt) => look.open(column, prompt),
    show(next) {
      if (next.session) session = next.session;
      if (next.files) files = next.files;
      if (next.samples) {
        matrix = next.samples;
        look.update(matrix);
      }
      if (next.chosen !== undefined) chosen = next.chosen;
      show();
    },
  };
}
