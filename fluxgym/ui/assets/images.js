// Step 2: images and their captions. Each dropped file is one upload; a caption is saved when typing pauses.

import { attribute, fill, h, keyed, put } from "./dom.js";
import { address, errorOf, get, patch, path, post, remove as removing, upload as uploading } from "./api.js";
import { question } from "./dialog.js";
import * as store from "./browser_store.js";
import { send as sendForm, setSource, source } from "./form.js";
import { notice } from "./notices.js";

const PAGE = 24;
const AT_ONCE = 2;
const TYPES = ".png,.jpg,.jpeg,.webp,.bmp,.txt";

/** The files of a drop as {file, folder}, including those in dropped folders. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return chosen(transfer.files);
  const files = [];
  async function walk(entry) {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      files.push({ file, folder: entry.fullPath.slice(0, -entry.name.length) });
    } else {
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
        if (!some.length) break;
        for (const one of some) await walk(one);
      }
    }
  }
  for (const entry of entries) await walk(entry);
  return files;
}

const chosen = (files) => [...files].map((file) => ({ file, folder: "" }));
const isCaption = (name) => /\.txt$/i.test(name);

/**
 * The files as {file, name}, sorted. If several folders contain the same name, later images get a number, and each caption gets the name of
 * the image in its folder.
 */
function named(files) {
  const sorted = [...files].sort((a, b) => a.folder.localeCompare(b.folder) || a.file.name.localeCompare(b.file.name, undefined, { numeric: true }));
  const stemOf = (name) => name.replace(/\.[^.]*$/, "");
  const given = new Set(files.map(({ file }) => stemOf(file.name)));
  const taken = new Set();
  const stems = new Map();
  for (const { file, folder } of sorted) {
    const stem = stemOf(file.name);
    const own = `${folder}\n${stem}`;
    if (isCaption(file.name) || stems.has(own)) continue;
    let free = stem;
    for (let number = 2; taken.has(free); number += 1) free = given.has(`${stem}-${number}`) ? free : `${stem}-${number}`;
    taken.add(free);
    stems.set(own, free);
  }
  return sorted.map(({ file, folder }) => {
    const stem = stemOf(file.name);
    return { file, name: (stems.get(`${folder}\n${stem}`) ?? stem) + file.name.slice(stem.length) };
  });
}

let settle = async () => {};

/** Wait until all uploads and edits of the images are saved. */
export const settled = () => settle();

export function mount({ element }) {
  let offset = 0;
  let total = 0;
  let hint = "";
  const draft = store.draft();
  const images = path("drafts", draft, "images");

  const input = h("input", { type: "file", multiple: true, accept: TYPES, class: "fg-file", id: "fg-file", onchange: () => { upload(chosen(input.files)); input.value = ""; } });
  const zone = h("div", { class: "fg-drop" },
    input,
    h("label", { for: "fg-file" }, h("strong", {}, "Drop images and .txt captions here"), h("span", {}, " or click to choose them")),
    h("p", { class: "fg-small" }, "A caption file has its image's name: cat1.png and cat1.txt."));
  const example = h("button", { type: "button", class: "fg-button", id: "fg-example", onclick: useExample }, "Use the example photos");
  const none = h("button", { type: "button", class: "fg-button", onclick: removeAll }, "Remove all");
  const counts = h("p", { class: "fg-counts", role: "status" });
  const progress = h("p", { class: "fg-uploading", role: "status", hidden: true });
  const errors = h("ul", { class: "fg-errors fg-bad", role: "alert" });
  const grid = h("ul", { class: "fg-gallery" });
  const empty = h("p", { class: "fg-empty" }, "Your images appear here, each with its caption to edit. 8 to 30 of them are a good start.");
  const before = h("button", { type: "button", class: "fg-button", onclick: () => { offset -= PAGE; list(); } }, "Back");
  const after = h("button", { type: "button", class: "fg-button", onclick: () => { offset += PAGE; list(); } }, "Next");
  const where = h("span");
  const pager = h("p", { class: "fg-pager", hidden: true }, before, where, after);
  fill(element, zone, h("div", { class: "fg-images-tools" }, example, counts, none), progress, errors, grid, empty, pager);

  const showError = (sentence) => { errors.append(h("li", {}, sentence)); notice(sentence); };

  // Edits are sent one at a time: the first may copy a run's images into the draft, which changes the source for the next.
  let edits = Promise.resolve();
  function edit(send) {
    const done = edits.then(async () => {
      const answer = await send({ source: source() });
      if (answer.value) setSource(answer.value.source);
      return answer;
    });
    edits = done.catch(() => {});
    return done;
  }
  let uploads = Promise.resolve();
  settle = async () => {
    await uploads;
    await edits;
  };

  function accept(answer) {
    if (errorOf(answer)) errors.append(h("li", {}, errorOf(answer)));
    return Boolean(answer.value);
  }

  async function list() {
    offset = Math.max(0, offset);
    const { value: answer } = await get(images, { source: source(), offset, limit: PAGE });
    if (!answer) return;
    if (offset >= answer.count && offset > 0) {
      offset = Math.floor(Math.max(0, answer.count - 1) / PAGE) * PAGE;
      return list();
    }
    total = answer.count;
    keyed(grid, answer.items, (item) => `${source()}/${item.name}/${item.version}`, card, showCard);
    empty.hidden = total > 0;
    example.hidden = total > 0;
    none.hidden = total === 0;
    showCounts(answer);
    pager.hidden = total <= PAGE;
    put(where, `${offset + 1} to ${Math.min(total, offset + PAGE)} of ${total}`);
    before.disabled = offset === 0;
    after.disabled = offset + PAGE >= total;
  }

  function showCounts({ count, captioned }) {
    put(counts, count ? `${count} image${count === 1 ? "" : "s"}, ${captioned} with a caption` : "");
  }

  function card(item) {
    const saved = h("span", { class: "fg-small fg-saved", role: "status" });
    const text = h("textarea", { rows: 2, "aria-label": `Caption of ${item.name}`, spellcheck: "true" });
    text.value = item.caption ?? "";
    let timer = null;
    let sent = text.value;
    async function save() {
      clearTimeout(timer);
      if (text.value === sent) return;
      const wanted = text.value;
      put(saved, "Saving…");
      const answer = await edit((query) => patch(`${images}/${path(item.name)}`, { caption: wanted }, query));
      if (answer.value) {
        sent = wanted;
        put(saved, "Saved");
        showCounts(answer.value);
        sendForm("images");
      } else {
        put(saved, answer.offline ? "Not saved yet. Trying again." : errorOf(answer));
        if (answer.offline) timer = setTimeout(save, 3000);
      }
    }
    text.addEventListener("input", () => { clearTimeout(timer); put(saved, ""); timer = setTimeout(save, 400); });
    text.addEventListener("blur", save);
    const remove = h("button", { type: "button", class: "fg-remove", title: `Remove ${item.name} from the dataset`, "aria-label": `Remove ${item.name}`, onclick: async () => {
      remove.disabled = true;
      if (accept(await edit((query) => removing(`${images}/${path(item.name)}`, query)))) await changed();
      remove.disabled = false;
    } }, "×");
    const view = h("img", { src: address(item.thumb), alt: item.name, loading: "lazy", width: 160, height: 160 });
    return h("li", { class: "fg-image" },
      h("div", { class: "fg-thumb" }, view, remove),
      h("p", { class: "fg-small fg-filename", title: item.name }, item.name),
      text, saved);
  }

  function showCard(cardElement, item) {
    const text = cardElement.querySelector("textarea");
    attribute(text, "placeholder", hint || "what the image shows");
    if (item.caption !== undefined && document.activeElement !== text && !cardElement.querySelector(".fg-saved").textContent) text.value = item.caption;
  }

  async function changed(proposed = {}) {
    await list();
    sendForm("images", proposed);
  }

  async function removeAll() {
    const text = source() ? "The run keeps its own images." : "Your original files are not deleted. Captions that you wrote here are deleted.";
    const title = total === 1 ? "Remove the image from the form?" : `Remove all ${total} images from the form?`;
    if (await question({ title, text, yes: "Remove all" }) && accept(await edit((query) => removing(images, query)))) await changed();
  }

  async function useExample() {
    example.disabled = true;
    fill(errors);
    put(example, "Adding the example photos…");
    const answer = await edit((query) => post(path("drafts", draft, "example"), {}, query));
    if (accept(answer)) await changed({ name: answer.value.name, trigger: answer.value.trigger });
    put(example, "Use the example photos");
    example.disabled = false;
  }

  function upload(files) {
    const done = uploads.then(() => send(files));
    uploads = done.catch(() => {});
    return done;
  }

  async function send(files) {
    if (!files.length) return;
    fill(errors);
    const queue = named(files);
    const all = queue.length;
    let done = 0;
    progress.hidden = false;
    const report = () => put(progress, `Uploading: ${done} of ${all}`);
    report();
    if (!accept(await edit((query) => post(path("drafts", draft, "copy"), {}, query)))) {
      progress.hidden = true;
      return;
    }
    const one = async ({ file, name }) => {
      const answer = await uploading(path("drafts", draft, "images", name), file);
      if (answer.offline) showError(`${name}: the connection was interrupted; upload it again.`);
      else if (answer.error) showError(answer.error.message);
      done += 1;
      report();
    };
    const worker = async (part) => { while (part.length) await one(part.shift()); };
    const captions = queue.filter(({ name }) => isCaption(name));
    const images = queue.filter(({ name }) => !isCaption(name));
    await Promise.all(Array.from({ length: AT_ONCE }, () => worker(images)));
    await Promise.all(Array.from({ length: AT_ONCE }, () => worker(captions)));
    progress.hidden = true;
    await changed();
  }

  for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, (event) => { event.preventDefault(); zone.classList.add("fg-over"); });
  for (const name of ["dragleave", "drop"]) zone.addEventListener(name, () => zone.classList.remove("fg-over"));
  zone.addEventListener("drop", async (event) => { event.preventDefault(); upload(await dropped(event.dataTransfer)); });
  for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());

  document.addEventListener("fg:images", () => {
    offset = 0;
    list();
  });
  document.addEventListener("fg:form", (event) => {
    hint = event.detail.trigger ?? "";
    grid.querySelectorAll("textarea").forEach((text) => attribute(text, "placeholder", hint || "what the image shows"));
  });
  list();
}
