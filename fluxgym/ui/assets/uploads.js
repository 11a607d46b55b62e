// Files that are dropped or chosen: found in folders, given names, and sent one per request.

import { path, upload as uploading } from "./api.js";
import * as store from "./browser_store.js";
import { source } from "./form.js";
import { edit } from "./image_edits.js";

const AT_ONCE = 2;

/** @typedef {{ file: File, folder: string }} Found */

const isCaption = (/** @type {string} */ name) => /\.txt$/i.test(name);

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

/**
 * The files as {file, folder, name}, sorted. If several folders contain the same name, later images get a number, and each caption gets the name of
 * the image in its folder.
 * @param {Found[]} files
 */
function named(files) {
  const sorted = [...files].sort((a, b) => a.folder.localeCompare(b.folder) || a.file.name.localeCompare(b.file.name, undefined, { numeric: true }));
  const stemOf = (/** @type {string} */ name) => name.replace(/\.[^.]*$/, "");
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
    return { file, folder, name: (stems.get(`${folder}\n${stem}`) ?? stem) + file.name.slice(stem.length) };
  });
}

/**
 * Send one file to the draft. The first one that is accepted also copies the images of the run that the form shows, so that it is an edit.
 * @param {{ file: File, name: string }} one
 */
function sendOne({ file, name }) {
  const where = path("drafts", store.draft(), "images", name);
  return source() ? edit((query) => uploading(where, file, query)) : uploading(where, file);
}

/**
 * Send files to the draft, images before captions. Returns how many were saved, and the names of the folders that images were in, "" for none.
 * @param {Found[]} files
 * @param {{ report: (done: number, all: number) => void, fail: (sentence: string) => void }} on report is called after each file, fail for one
 *   that was refused
 */
export async function sendFiles(files, { report, fail }) {
  const queue = named(files);
  let done = 0;
  let saved = 0;
  /** @type {Set<string>} */
  const folders = new Set();
  report(done, queue.length);
  const one = async (/** @type {{ file: File, folder: string, name: string }} */ next) => {
    const answer = await sendOne(next);
    if (answer.offline) fail(`${next.name}: the connection was interrupted; upload it again.`);
    else if (answer.error) fail(answer.error.message);
    else {
      saved += 1;
      if (!isCaption(next.name)) folders.add(next.folder.split("/").at(-2) ?? "");
    }
    done += 1;
    report(done, queue.length);
  };
  for (const part of [queue.filter(({ name }) => !isCaption(name)), queue.filter(({ name }) => isCaption(name))]) {
    const worker = async () => { for (let next = part.shift(); next; next = part.shift()) await one(next); };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  }
  return { saved, folders: [...folders] };
}
