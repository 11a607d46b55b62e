// Files that are dropped or chosen: found in folders, and sent one per request. The app decides under which name each one is stored.

import { path, upload as uploading } from "./api.js";
import * as store from "./browser_store.js";
import { source } from "./form.js";
import { edit } from "./image_edits.js";

const AT_ONCE = 2;

/** @import { Uploaded } from "./types.js" */

/** @typedef {{ file: File, folder: string }} Found */

const isCaption = (/** @type {string} */ name) => /\.txt$/i.test(name);
const stemOf = (/** @type {string} */ name) => name.replace(/\.[^.]*$/, "");

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
    const key = stem(found).toLowerCase();
    const round = seen.get(key) ?? 0;
    seen.set(key, round + 1);
    (rounds[round] ??= []).push(found);
  }
  return rounds;
}

/** One drop: sends its files, and knows under which names its images are stored, which their captions get too. */
class Drop {
  /** @type {Map<string, string>} */
  stored = new Map(); // stems by folder and stem in the drop; "" for an image that was refused
  done = 0;
  saved = 0;
  /** @type {Set<string>} */
  folders = new Set();
  /** @type {{ given: string, uploaded: Uploaded }[]} */
  unexpected = []; // what the user is told
  token = store.randomHex(8);

  /**
   * @param {number} all
   * @param {UploadReport} on
   */
  constructor(all, on) {
    this.all = all;
    this.on = on;
  }

  /** @param {Found} image */
  async sendImage({ file, folder }) {
    const own = `${folder}\n${stemOf(file.name)}`;
    const uploaded = await this.send(file, file.name);
    if (!this.stored.get(own)) this.stored.set(own, uploaded ? stemOf(uploaded.name) : "");
    if (uploaded) this.folders.add(folder.split("/").at(-2) ?? "");
  }

  /**
   * The stem of a caption's image in the drop, and the one that the caption gets: "" if its image was refused.
   * @param {Found} caption
   */
  stemsOf({ file, folder }) {
    const stems = [stemOf(file.name), stemOf(stemOf(file.name))]; // of cat.txt and cat.png.txt
    const given = stems.find((each) => this.stored.has(`${folder}\n${each}`)) ?? stems[0];
    return { given, stored: this.stored.get(`${folder}\n${given}`) ?? given };
  }

  /** @param {Found} caption */
  async sendCaption(caption) {
    const { file } = caption;
    const { given, stored } = this.stemsOf(caption);
    if (stored) await this.send(file, stored + file.name.slice(given.length));
    else this.count(`${file.name} was left out, because its image was refused.`);
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
  const drop = new Drop(files.length, on);
  on.report(0, files.length);
  for (const round of inRounds(images, ({ file }) => stemOf(file.name))) await forEach(round, (image) => drop.sendImage(image));
  for (const round of inRounds(captions, (caption) => drop.stemsOf(caption).stored)) await forEach(round, (caption) => drop.sendCaption(caption));
  return { saved: drop.saved, folders: [...drop.folders], unexpected: drop.unexpected };
}
