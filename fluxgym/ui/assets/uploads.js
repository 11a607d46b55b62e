// Files that are dropped or chosen: found in folders, and sent one per request. The app decides under which name each one is stored.

import { path, upload as uploading } from "./api.js";
import * as store from "./browser_store.js";
import { source } from "./form.js";
import { edit } from "./image_edits.js";

const AT_ONCE = 2;
const FACE_NUMBERS = 4; // an image's name may end in the position of a face, which its caption's name may lack: me_1_2_3_4.png and me.txt

/** @import { Uploaded } from "./types.js" */

/** @typedef {{ file: File, folder: string }} Found */
/** @typedef {{ stem: string, stored: string }} Sent an image's stem in the drop, and the one under which it is stored, "" if it was refused */

const isCaption = (/** @type {string} */ name) => /\.txt$/i.test(name);
const stemOf = (/** @type {string} */ name) => name.replace(/\.[^.]*$/, "");
const normal = (/** @type {string} */ text) => text.normalize("NFC");
const folded = (/** @type {string} */ text) => normal(text).toLowerCase();
const withoutFace = (/** @type {string} */ stem) => stem.split("_").slice(0, -FACE_NUMBERS).join("_");

/**
 * The files of an input.
 * @param {Iterable<File> | null} files
 * @returns {Found[]}
 */
export const chosen = (files) => [...files ?? []].map((file) => ({ file, folder: "" }));

/**
 * The files of a drop, including those in dropped folders.
 * @param {DataTransfer} transfer
 */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry !== null && entry !== undefined);
  if (!entries.length) return chosen(transfer.files);
  /** @type {Found[]} */
  const files = [];
  for (const entry of entries) await walk(entry, files);
  return files;
}

/**
 * Find the files of a dropped file or folder.
 * @param {FileSystemEntry} entry
 * @param {Found[]} files
 */
async function walk(entry, files) {
  if (entry.isFile) {
    /** @type {File} */
    const file = await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject));
    files.push({ file, folder: entry.fullPath.slice(0, -entry.name.length) });
    return;
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const one of some) await walk(one, files);
  }
}

/** @param {Found[]} files */
const inOrder = (files) =>
  [...files].sort((a, b) => a.folder.localeCompare(b.folder) || a.file.name.localeCompare(b.file.name, undefined, { numeric: true }));

/**
 * Divide files into rounds. A round has each stem once, so that of equal ones the first is always sent first.
 * @param {Found[]} files
 * @param {(found: Found) => string} stem
 */
function inRounds(files, stem) {
  /** @type {Found[][]} */
  const rounds = [];
  /** @type {Map<string, number>} */
  const seen = new Map();
  for (const found of files) {
    const key = folded(stem(found));
    const round = seen.get(key) ?? 0;
    seen.set(key, round + 1);
    (rounds[round] ??= []).push(found);
  }
  return rounds;
}

/** One drop: sends its files, and knows under which names its images are stored, which their captions get too. */
class Drop {
  /** @type {Map<string, Sent>} */
  exact = new Map(); // images by folder and stem
  /** @type {Map<string, Sent>} */
  similar = new Map(); // the same, in whatever case
  /** @type {Map<string, Sent[]>} */
  faces = new Map(); // images with a face's position, by folder and stem without it
  done = 0;
  saved = 0;
  /** @type {Set<string>} */
  folders = new Set();
  /** @type {{ given: string, uploaded: Uploaded }[]} */
  unexpected = []; // what the user is told
  token = store.randomHex(8);

  /**
   * @param {Found[]} captions
   * @param {number} all
   * @param {UploadReport} on
   */
  constructor(captions, all, on) {
    this.captions = new Set(captions.map(({ file, folder }) => `${folder}\n${normal(stemOf(file.name))}`));
    this.all = all;
    this.on = on;
  }

  /** @param {Found} image */
  async sendImage({ file, folder }) {
    const uploaded = await this.send(file, file.name);
    this.remember(folder, { stem: normal(stemOf(file.name)), stored: uploaded ? stemOf(uploaded.name) : "" });
    if (uploaded) this.folders.add(folder.split("/").at(-2) ?? "");
  }

  /**
   * @param {string} folder
   * @param {Sent} image
   */
  remember(folder, image) {
    const before = this.exact.get(`${folder}\n${image.stem}`);
    if (before) {
      before.stored ||= image.stored;
      return;
    }
    this.exact.set(`${folder}\n${image.stem}`, image);
    const similar = `${folder}\n${folded(image.stem)}`;
    if (!this.similar.get(similar)?.stored) this.similar.set(similar, image);
    const face = withoutFace(image.stem);
    if (face) this.faces.set(`${folder}\n${folded(face)}`, [...this.faces.get(`${folder}\n${folded(face)}`) ?? [], image]);
  }

  /**
   * The image that a stem of a caption names, if any. In another case, it is one without a caption of its own in the drop.
   * @param {string} folder
   * @param {string} stem
   */
  imageOf(folder, stem) {
    const similar = this.similar.get(`${folder}\n${folded(stem)}`);
    return this.exact.get(`${folder}\n${normal(stem)}`) ?? (similar && !this.captions.has(`${folder}\n${similar.stem}`) ? similar : undefined);
  }

  /**
   * The names under which a caption is sent: one, several if images with a face's position got other names, none if its image was refused.
   * @param {Found} caption
   */
  namesOf({ file, folder }) {
    const stem = stemOf(file.name);
    const given = [stem, stemOf(stem)].find((each) => this.imageOf(folder, each)) ?? stem; // of cat.txt and cat.png.txt
    const image = this.imageOf(folder, given);
    const faces = (this.faces.get(`${folder}\n${folded(stem)}`) ?? []).filter((face) => !this.captions.has(`${folder}\n${face.stem}`));
    const renamed = faces.filter((face) => face.stored !== face.stem).map((face) => face.stored);
    const own = image ? image.stored : faces.length && renamed.length === faces.length ? "" : given;
    return [own && own + file.name.slice(given.length), ...renamed.map((each) => each && each + file.name.slice(stem.length))].filter(Boolean);
  }

  /** @param {Found} caption */
  async sendCaption(caption) {
    const { file } = caption;
    const names = this.namesOf(caption);
    this.all += Math.max(names.length - 1, 0);
    for (const name of names) await this.send(file, name);
    if (!names.length) this.count(`${file.name} was left out, because its image was refused.`);
  }

  /**
   * Send one file to the draft. The first one that is accepted also copies the images of the run that the form shows, so that it is an edit.
   * @param {File} file
   * @param {string} name
   */
  async send(file, name) {
    const where = path("drafts", store.draft(), "images", name);
    const query = { edit: this.token };
    const answer = await (source() ? edit((shown) => uploading(where, file, { ...query, ...shown })) : uploading(where, file, query));
    this.count(answer.offline ? `${name}: the connection was interrupted; upload it again.` : answer.error?.message);
    if (!answer.value) return null;
    this.saved += 1;
    if (answer.value.outcome !== "added") this.unexpected.push({ given: name, uploaded: answer.value });
    return answer.value;
  }

  /** @param {string | undefined} failure */
  count(failure) {
    if (failure) this.on.fail(failure);
    this.done += 1;
    this.on.report(this.done, this.all);
  }
}

/**
 * Call a function for each item, AT_ONCE of them at a time.
 * @template T
 * @param {T[]} items
 * @param {(item: T) => Promise<void>} action
 */
async function forEach(items, action) {
  const left = [...items];
  const worker = async () => { for (let next = left.shift(); next; next = left.shift()) await action(next); };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/**
 * Called after each file, and for each one that was refused.
 * @typedef {{ report: (done: number, all: number) => void, fail: (sentence: string) => void }} UploadReport
 */

/**
 * Send files to the draft, images before captions. Returns how many were accepted, the names of the folders that images were in, "" for none,
 * and what the user may not expect.
 * @param {Found[]} files
 * @param {UploadReport} on
 */
export async function sendFiles(files, on) {
  const [captions, images] = [true, false].map((kind) => inOrder(files).filter(({ file }) => isCaption(file.name) === kind));
  const drop = new Drop(captions, files.length, on);
  on.report(0, files.length);
  for (const round of inRounds(images, ({ file }) => stemOf(file.name))) await forEach(round, (image) => drop.sendImage(image));
  for (const round of inRounds(captions, (caption) => stemOf(stemOf(drop.namesOf(caption)[0] ?? "")))) await forEach(round, (caption) => drop.sendCaption(caption));
  return { saved: drop.saved, folders: [...drop.folders], unexpected: drop.unexpected };
}
