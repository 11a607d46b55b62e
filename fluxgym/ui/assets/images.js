// Step 2: the card of the images. It lists one page of them, keeps which are selected, and sends edits and uploads.

import { errorOf, get, path, post, remove as removing } from "./api.js";
import * as store from "./browser_store.js";
import { keepCaptionsOf, resumeCaptions } from "./captions.js";
import { emit, fill, h, put } from "./dom.js";
import { send as sendForm, setSource, source } from "./form.js";
import { bulkBar, undoable, undoOf } from "./image_bulk.js";
import { dropArea, exampleLine, tips, uploadState } from "./image_drop.js";
import { edit, postEdit, upload } from "./image_edits.js";
import { imageGrid, imageSearch } from "./image_list.js";
import { notice } from "./notices.js";
import { popupMenu } from "./popup.js";
import { plural } from "./text.js";
import { uploadNotice } from "./upload_notice.js";
import { sendFiles } from "./uploads.js";

/** @import { Answer } from "./api.js" */
/** @import { Counts } from "./image_list.js" */
/** @import { Found } from "./uploads.js" */
/** @import { ImageCounts, ImagePage, ImagesSetup } from "./types.js" */

const WIDE = matchMedia("(min-width: 1800px)");

/**
 * @template {string[]} T
 * @param {T} parts
 */
const draftPath = (...parts) => path("drafts", store.draft(), ...parts);

class Images {
  /** @type {ImagePage | null} */
  page = null;
  /** @type {Set<string>} */
  selection = new Set();
  offset = 0;
  trigger = "";
  listed = 0; // the number of the latest request, so that an older answer is not shown after a newer one

  /**
   * @param {HTMLElement} element
   * @param {ImagesSetup} setup
   */
  constructor(element, setup) {
    this.setup = setup;
    this.count = h("span", { class: "count" });
    this.counts = h("span", { class: "vh fg-counts", role: "status" });
    this.menu = popupMenu({ label: "More for images", items: () => [{ text: "Remove all", danger: true, onclick: () => this.removeAll() }] });
    this.drop = dropArea({ fileTypes: setup.file_types, onfiles: (files) => { if (files.length) upload(() => this.send(files)); } });
    this.example = exampleLine({ count: setup.num_example, onuse: () => this.addExample() });
    this.uploading = uploadState();
    this.search = imageSearch({ onchange: () => this.first() });
    this.bulk = bulkBar({ changed: () => this.changed(), selectAll: () => this.selectAll(), clear: () => this.clearSelection() });
    this.grid = imageGrid({ card: this.cardActions(), onturn: (step) => this.turn(step), onall: () => this.search.setFilter("") });
    this.tips = tips();
    this.card = this.build();
    fill(element, this.card);
    this.listen();
    this.list();
    this.sendCaptions();
  }

  /** Send captions that an earlier page of this browser could not, and show the result. */
  async sendCaptions() {
    if (await resumeCaptions()) await this.changed();
  }

  build() {
    const title = h("h2", { id: "fg-step-2" }, h("span", { class: "num", "aria-hidden": "true" }, "2"), h("span", { class: "vh" }, "Step 2: "), "Images", this.count);
    return h("section", { class: "card two-card fg-images-card", "aria-labelledby": "fg-step-2" }, h("header", {}, title, this.uploading.progress, this.menu), // nothing below moves while files are sent
      h("div", { class: "body stack" }, this.counts, this.drop.element, this.example.element, this.uploading.errors,
        this.search.element, this.bulk.element, this.grid.elements, this.tips));
  }

  /**
   * What the images of the grid need.
   * @returns {import("./image_card.js").Grid}
   */
  cardActions() {
    return {
      trigger: () => this.trigger, isSelected: (name) => this.selection.has(name), remove: (name) => this.removeOne(name),
      selected: (name, isSelected) => { this.selection[isSelected ? "add" : "delete"](name); this.showSelection(); },
      saved: (counts) => {
        if (this.page) this.showCounts({ ...this.page, ...counts });
        sendForm("images");
        this.refreshCounts();
      },
    };
  }

  listen() {
    WIDE.addEventListener("change", () => this.list());
    document.addEventListener("fg:images", () => { this.clearSelection(); this.search.setFilter(""); }); // which lists them
    document.addEventListener("fg:filter", (event) => { this.search.setFilter(event.detail); this.card.scrollIntoView({ block: "start" }); });
    document.addEventListener("fg:remove-unused", (event) => this.removeUnused(event.detail));
    this.grid.element.addEventListener("focusout", () => setTimeout(() => this.applyFilter()));
    document.addEventListener("fg:example", () => this.example.use());
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
    return { source: source(), ...this.search.query, trigger: this.trigger };
  }

  first() {
    this.offset = 0;
    return this.list();
  }

  /** @param {number} step 1 for the next page, -1 for the previous one */
  turn(step) {
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
    this.grid.show(page, { offset: this.offset, size: this.size });
    this.showCounts(page);
    this.showSelection();
  }

  /** @param {Counts} counts */
  showCounts(counts) {
    const { count, captioned } = counts;
    const isEmpty = count === 0;
    put(this.count, isEmpty ? "" : String(count));
    put(this.counts, isEmpty ? "No images" : plural(count, "image") + (captioned < count ? `, ${count - captioned} without a caption` : ""));
    this.search.show(counts);
    this.drop.show(isEmpty);
    for (const part of [this.example.element, this.tips]) part.hidden = !isEmpty;
    for (const part of [this.search.element, this.grid.element, this.menu]) part.hidden = isEmpty;
    document.documentElement.dataset.fgImages = isEmpty ? "none" : "some";
    emit("fg:counts", counts);
  }

  /** Ask for the counts again after a caption was saved; the grid stays as it is. */
  async refreshCounts() {
    const { value: page } = await get(draftPath("images"), { ...this.query, limit: 1 });
    if (page && this.page && page.count === this.page.count) this.showCounts({ ...this.page, captioned: page.captioned, no_trigger: page.no_trigger });
    this.applyFilter();
  }

  /** List the images that the filter leaves after edits of captions, but not while one is edited, so that it stays where it is. */
  applyFilter() {
    if (this.search.query.filter && !this.grid.element.contains(document.activeElement)) this.list();
  }

  showSelection() {
    this.bulk.show([...this.selection], this.page?.shown ?? 0);
    this.grid.showSelection();
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
    this.uploading.addError(sentence);
    notice(sentence);
  }

  /** @param {string} name */
  async removeOne(name) {
    const request = () => edit((query) => removing(draftPath("images", name), query));
    const sentence = await undoable(request, `${name} removed.`, () => this.changed());
    if (sentence) this.showError(sentence);
  }

  /** @param {number} count of caption files that belong to no image */
  async removeUnused(count) {
    const sentence = await undoable(() => postEdit("remove-unused"), `${plural(count, "caption file")} removed.`, () => this.changed());
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

  async addExample() {
    this.uploading.clearErrors();
    const answer = await edit((query) => post(draftPath("example"), {}, query));
    if (this.accept(answer) && answer.value) await this.changed({ name: answer.value.name, trigger: answer.value.trigger });
  }

  /** @param {Found[]} files */
  async send(files) {
    this.uploading.clearErrors();
    this.uploading.show("Uploading");
    emit("fg:uploading", true);
    const isFirst = !this.page?.count;
    const { saved, folders, unexpected } = await sendFiles(files, { report: (done, all) => this.uploading.show(`Uploading: ${done} of ${all}`), fail: (sentence) => this.showError(sentence) });
    this.uploading.show("");
    if (saved) await this.changed(isFirst ? { folders } : {}); // the names of kohya's folders say how often their images are used
    const { text, undo } = uploadNotice(unexpected);
    if (text) notice(text, { undo: undoOf(undo, () => this.changed()) });
    emit("fg:uploading", false);
  }
}

/** @param {{ element: HTMLElement, props: { value: ImagesSetup } }} part */
export function mount({ element, props }) {
  new Images(element, props.value);
}
