// Files that are dropped or chosen: found in folders, given names, and sent one per request.

import { path, upload as uploading } from "./api.js";
import * as store from "./browser_store.js";

const AT_ONCE = 2;

const isCaption = (name) => /\.txt$/i.test(name);

/** The files of an input as {file, folder}. */
export const chosen = (files) => [...files].map((file) => ({ file, folder: "" }));

/** The files of a drop as {file, folder}, including those in dropped folders. */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return chosen(transfer.files);
  const files = [];
  for (const entry of entries) await walk(entry, files);
  return files;
}

async function walk(entry, files) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    files.push({ file, folder: entry.fullPath.slice(0, -entry.name.length) });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const one of some) await walk(one, files);
  }
}

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

/** Send files to the draft, images before captions; `report(done, all)` is called after each, `fail(sentence)` for one that was refused. */
export async function sendFiles(files, { report, fail }) {
  const queue = named(files);
  let done = 0;
  report(done, queue.length);
  const one = async ({ file, name }) => {
    const answer = await uploading(path("drafts", store.draft(), "images", name), file);
    if (answer.offline) fail(`${name}: the connection was interrupted; upload it again.`);
    else if (answer.error) fail(answer.error.message);
    done += 1;
    report(done, queue.length);
  };
  for (const part of [queue.filter(({ name }) => !isCaption(name)), queue.filter(({ name }) => isCaption(name))]) {
    const worker = async () => { for (let next = part.shift(); next; next = part.shift()) await one(next); };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  }
}
