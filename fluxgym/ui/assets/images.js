// Step 2: the card of the images: drop area, search and filter, one page of images, and the bar of those that are selected.

import { errorOf, get, path, post, remove as removing } from "./api.js";
import * as store from "./browser_store.js";
import { attribute, emit, fill, findAll, h, keyed, put } from "./dom.js";
import { send as sendForm, setSource, source } from "./form.js";
import { icon } from "./icons.js";
import { bulkBar, undoable } from "./image_bulk.js";
import { imageCard, moveByArrows, showImageCard } from "./image_card.js";
import { edit, postEdit, upload } from "./image_edits.js";
import { keepCaptionsOf, resumeCaptions } from "./captions.js";
import { notice } from "./notices.js";
import { popupMenu } from "./popup.js";
import { plural } from "./text.js";
import { chosen, dropped, sendFiles } from "./uploads.js";

/** @import { Answer } from "./api.js" */
/** @import { Found } from "./uploads.js" */
/** @import { ImageCounts, ImagePage, ImagesSetup } from "./types.js" */

/** @typedef {Pick<ImagePage, "count" | "captioned" | "no_trigger">} Counts */

const WIDE = matchMedia("(min-width: 1800px)");
const SEARCH_AFTER_MS = 200;
const TIPS = [
  ["What works well", "Sharp images of one subject, from several angles, with different backgrounds."],
  ["What to write", "A caption names what changes between images, not what you teach."],
  ["What happens to them", "They stay on this computer. Each one is scaled to the training’s size."],
];

/**
 * @template {string[]} T
 * @param {T} parts
 */
const draftPath = (...parts) => path("drafts", store.draft(), ...parts);

class Images {
  /** @type {HTMLElement} */
  count;
  /** @type {HTMLElement} */
  counts;
  /** @type {HTMLElement} */
  menu;
  /** @type {HTMLElement} */
  card;
  /** @type {HTMLElement} */
  dropText;
  /** @type {HTMLElement} */
  zone;
  /** @type {HTMLElement} */
  none;
  /** @type {HTMLElement} */
  progress;
  /** @type {HTMLElement} */
  errors;
  /** @type {HTMLElement} */
  toolLine;
  /** @type {HTMLElement} */
  grid;
  /** @type {HTMLElement} */
  nothing;
  /** @type {HTMLElement} */
  where;
  /** @type {HTMLElement} */
  pager;
  /** @type {HTMLElement} */
  advice;
  /** @type {HTMLInputElement} */
  input;
  /** @type {HTMLInputElement} */
  search;
  /** @type {HTMLButtonElement} */
  example;
  /** @type {HTMLButtonElement} */
  before;
  /** @type {HTMLButtonElement} */
  after;
  /** @type {HTMLSelectElement} */
  filter;
  /** @type {ImagePage | null} */
  page = null;
  /** @type {Set<string>} */
  selection = new Set();

  /**
   * @param {HTMLElement} element
   * @param {ImagesSetup} setup
   */
  constructor(element, setup) {
    this.setup = setup;
    this.offset = 0;
    this.trigger = "";
    this.listed = 0; // the number of the latest request, so that an older answer is not shown after a newer one
    this.bulk = bulkBar({ changed: () => this.changed(), selectAll: () => this.selectAll(), clear: () => this.clearSelection() });
    this.build(element);
    this.listen();
    this.list();
    this.sendCaptions();
  }

  /** Send captions that an earlier page of this browser could not, and show the result. */
  async sendCaptions() {
    if (await resumeCaptions()) await this.changed();
  }

  /**
   * Create the card.
   * @param {HTMLElement} element
   */
  build(element) {
    this.count = h("span", { class: "count" });
    this.counts = h("span", { class: "vh fg-counts", role: "status" });
    const menu = popupMenu({ label: "More for images", items: () => [{ text: "Remove all", danger: true, onclick: () => this.removeAll() }] });
    this.menu = menu;
    const title = h("h2", { id: "fg-step-2" }, h("span", { class: "num", "aria-hidden": "true" }, "2"), h("span", { class: "vh" }, "Step 2: "), "Images", this.count);
    this.card = h("section", { class: "card two-card fg-images-card", "aria-labelledby": "fg-step-2" }, h("header", {}, title, menu),
      h("div", { class: "body stack" }, this.counts, this.dropArea(), this.exampleLine(), this.progressLine(), this.tools(), this.bulk.element, this.gridArea(), this.tips()));
    fill(element, this.card);
  }

  dropArea() {
    this.input = h("input", { type: "file", multiple: true, accept: this.setup.file_types, class: "fg-file", id: "fg-file", "aria-label": "Add images and .txt captions",
      onchange: () => { this.upload(chosen(this.input.files)); this.input.value = ""; } });
    this.dropText = h("span", {});
    this.zone = h("div", { class: "drop fg-drop" }, this.input, icon("plus"), this.dropText);
    return this.zone;
  }

  exampleLine() {
    this.example = h("button", { type: "button", class: "link", id: "fg-example", onclick: () => this.useExample() }, "Use the 8 example cat photos");
    this.none = h("div", { class: "line fg-empty" }, h("span", { class: "soft" }, "No images at hand?"), this.example);
    return this.none;
  }

  progressLine() {
    this.progress = h("p", { class: "help fg-uploading", role: "status", hidden: true });
    this.errors = h("ul", { class: "help bad fg-errors", role: "alert" });
    return [this.progress, this.errors];
  }

  tools() {
    /** @type {number | undefined} */
    let timer;
    this.search = h("input", { type: "search", class: "in s", placeholder: "Search names and captions", "aria-label": "Search names and captions",
      oninput: () => { clearTimeout(timer); timer = setTimeout(() => this.first(), SEARCH_AFTER_MS); } });
    this.filter = h("select", { class: "in s", "aria-label": "Filter images", onchange: () => this.first() },
      h("option", { value: "" }), h("option", { value: "no_caption" }), h("option", { value: "no_trigger" }));
    this.toolLine = h("div", { class: "line" }, h("div", { class: "search grow" }, icon("search"), this.search), this.filter);
    return this.toolLine;
  }

  gridArea() {
    this.grid = h("ul", { class: "images fg-gallery", "aria-label": "Images. Escape in a caption leads to the image: Space selects it, Delete removes it, arrows move." });
    this.grid.addEventListener("keydown", (event) => moveByArrows(this.grid, event));
    this.nothing = h("p", { class: "soft fg-nothing", hidden: true }, "No image matches.");
    const turn = (/** @type {string} */ label, /** @type {string} */ name, /** @type {number} */ step) => h("button", { type: "button", class: "btn s icon", "aria-label": label, onclick: () => this.turn(step) }, icon(name));
    this.before = turn("Previous page", "left", -1);
    this.after = turn("Next page", "chev", 1);
    this.where = h("span", {});
    this.pager = h("div", { class: "pager fg-pager", hidden: true }, this.where, h("span", { class: "end line keep" }, this.before, this.after));
    return [this.grid, this.nothing, this.pager];
  }

  tips() {
    this.advice = h("div", { class: "fg-tips" }, TIPS.map(([title, text]) => h("div", {}, h("h3", {}, title), h("p", { class: "soft" }, text))));
    return this.advice;
  }

  listen() {
    for (const name of ["dragenter", "dragover"]) this.zone.addEventListener(name, (event) => { event.preventDefault(); this.zone.classList.add("fg-over"); });
    for (const name of ["dragleave", "drop"]) this.zone.addEventListener(name, () => this.zone.classList.remove("fg-over"));
    this.zone.addEventListener("drop", async (event) => { event.preventDefault(); if (event.dataTransfer) this.upload(await dropped(event.dataTransfer)); });
    for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
    WIDE.addEventListener("change", () => this.list());
    document.addEventListener("fg:images", () => { this.clearSelection(); this.first(); });
    document.addEventListener("fg:filter", (event) => { this.filter.value = event.detail; this.first(); this.card.scrollIntoView({ block: "start" }); });
    document.addEventListener("fg:example", () => this.useExample());
    document.addEventListener("fg:form", ({ detail }) => {
      const isOther = detail.trigger !== this.trigger || detail.images !== this.page?.count; // another tab may have changed the images
      this.trigger = detail.trigger;
      if (isOther) this.list();
    });
  }

  get size() {
    return WIDE.matches ? this.setup.wide_page_size : this.setup.page_size;
  }

  get query() {
    return { source: source(), search: this.search.value, filter: this.filter.value, trigger: this.trigger };
  }

  first() {
    this.offset = 0;
    return this.list();
  }

  /** @param {number} step 1 for the next page, -1 for the previous one */
  turn(step) {
    if ((step < 0 ? this.before : this.after).getAttribute("aria-disabled")) return;
    this.offset += step * this.size;
    this.list();
  }

  async list() {
    this.listed += 1;
    const number = this.listed;
    const { value: page } = await get(draftPath("images"), { ...this.query, offset: this.offset, limit: this.size });
    if (!page || number !== this.listed) return;
    if (page.source !== source()) { // an edit has copied the run's images meanwhile
      this.list();
      return;
    }
    if (this.offset >= page.shown && this.offset > 0) {
      this.offset = Math.floor(Math.max(0, page.shown - 1) / this.size) * this.size;
      await this.list();
      return;
    }
    this.show(page);
  }

  /** @param {ImagePage} page */
  show(page) {
    this.page = page;
    /** @type {import("./image_card.js").Grid} */
    const card = {
      trigger: () => this.trigger, isSelected: (name) => this.selection.has(name), remove: (name) => this.removeOne(name),
      selected: (name, isSelected) => { this.selection[isSelected ? "add" : "delete"](name); this.showSelection(); },
      saved: (counts) => { this.showCounts({ ...page, ...this.page, ...counts }); sendForm("images"); this.refreshCounts(); },
    };
    keyed(this.grid, page.items, (item) => `${source()}/${item.name}/${item.version}`, (item) => imageCard(item, card), (element, item) => showImageCard(element, item, card));
    this.showCounts(page);
    this.showSelection();
    this.nothing.hidden = page.count === 0 || page.shown > 0;
    this.pager.hidden = page.shown <= this.size;
    put(this.where, `${this.offset + 1}–${Math.min(page.shown, this.offset + this.size)} of ${page.shown}`);
    attribute(this.before, "aria-disabled", this.offset === 0 ? "true" : null);
    attribute(this.after, "aria-disabled", this.offset + this.size >= page.shown ? "true" : null);
  }

  /** @param {Counts} page */
  showCounts(page) {
    const { count, captioned, no_trigger: noTrigger } = page;
    const missing = count - captioned;
    const isEmpty = count === 0;
    put(this.count, isEmpty ? "" : String(count));
    put(this.counts, isEmpty ? "No images" : plural(count, "image") + (missing ? `, ${missing} without a caption` : ""));
    ["All", "No caption", "No trigger word"].forEach((text, index) => put(this.filter.options[index], `${text} ${[count, missing, noTrigger][index]}`));
    this.zone.classList.toggle("tall", isEmpty);
    const [strong, rest] = isEmpty ? ["Drop 8 to 30 images here", " or click to choose. Captions are .txt files: cat1.jpg and cat1.txt belong together."] : ["Drop images or .txt captions", " or click to choose"];
    if (this.dropText.textContent !== strong + rest) fill(this.dropText, h("b", {}, strong), rest);
    for (const part of [this.none, this.advice]) part.hidden = !isEmpty;
    for (const part of [this.toolLine, this.grid, this.menu]) part.hidden = isEmpty;
    document.documentElement.dataset.fgImages = isEmpty ? "none" : "some";
    emit("fg:counts", page);
  }

  /** Ask for the counts again after a caption was saved; the grid stays as it is. */
  async refreshCounts() {
    const { value: page } = await get(draftPath("images"), { ...this.query, limit: 1 });
    if (page && this.page && page.count === this.page.count) this.showCounts({ ...this.page, captioned: page.captioned, no_trigger: page.no_trigger });
  }

  showSelection() {
    const total = this.page?.shown ?? 0;
    this.bulk.show([...this.selection], total);
    for (const box of /** @type {HTMLInputElement[]} */ (findAll(this.grid, ".thumb input"))) {
      box.checked = this.selection.has(box.getAttribute("aria-label")?.replace(/^Select /, "") ?? "");
    }
  }

  async selectAll() {
    const { value } = await get(draftPath("names"), this.query);
    if (value) this.selection = new Set(value.names);
    this.showSelection();
  }

  clearSelection() {
    this.selection.clear();
    this.showSelection();
  }

  async changed(proposed = {}) {
    await this.list();
    const { value } = await get(draftPath("names"), { source: source() });
    if (value) {
      this.selection = new Set([...this.selection].filter((name) => value.names.includes(name)));
      keepCaptionsOf(value.names);
    }
    this.showSelection();
    sendForm("images", proposed);
  }

  /**
   * Show why an edit was refused. Returns true if it was not.
   * @param {Answer<unknown>} answer
   */
  accept(answer) {
    if (errorOf(answer)) this.showError(errorOf(answer));
    return Boolean(answer.value);
  }

  /** @param {string} sentence */
  showError(sentence) {
    this.errors.append(h("li", {}, sentence));
    notice(sentence);
  }

  /** @param {string} name */
  async removeOne(name) {
    const request = () => edit((query) => removing(draftPath("images", name), query));
    const sentence = await undoable(request, `${name} removed.`, () => this.changed());
    if (sentence) this.showError(sentence);
  }

  async removeAll() {
    const before = source();
    const count = this.page?.count ?? 0;
    const answer = await edit((query) => removing(draftPath("images"), query));
    if (!this.accept(answer) || !answer.value) return;
    const { undo: token } = answer.value;
    await this.changed();
    const undo = async () => {
      const undone = token ? await postEdit("undo", { token }) : null;
      if (!undone) setSource(before); // the run kept its images; the form only did not show them
      if (undone && errorOf(undone)) return errorOf(undone);
      await this.changed();
      return "";
    };
    notice(`${plural(count, "image")} removed.`, { undo });
  }

  async useExample() {
    this.example.disabled = true;
    fill(this.errors);
    put(this.example, "Adding the example photos…");
    const answer = await edit((query) => post(draftPath("example"), {}, query));
    if (this.accept(answer) && answer.value) await this.changed({ name: answer.value.name, trigger: answer.value.trigger });
    put(this.example, "Use the 8 example cat photos");
    this.example.disabled = false;
  }

  /** @param {Found[]} files */
  upload(files) {
    if (files.length) upload(() => this.send(files));
  }

  /** @param {Found[]} files */
  async send(files) {
    fill(this.errors);
    this.progress.hidden = false;
    const copied = await postEdit("copy");
    if (this.accept(copied)) {
      await sendFiles(files, { report: (done, all) => put(this.progress, `Uploading: ${done} of ${all}`), fail: (sentence) => this.showError(sentence) });
    }
    this.progress.hidden = true;
    if (copied.value) await this.changed();
  }
}

/** @param {{ element: HTMLElement, props: { value: ImagesSetup } }} part */
export function mount({ element, props }) {
  new Images(element, props.value);
}
