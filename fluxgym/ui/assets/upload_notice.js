// What the page says after an upload: files that are there already, images that got another name, and captions that were replaced.

import { plural } from "./text.js";

/** @import { Uploaded } from "./types.js" */

/** @typedef {{ given: string, uploaded: Uploaded }} Unexpected */

const MAX_NAMED = 3;

/**
 * The first names, and how many more there are.
 * @param {string[]} names
 */
const some = (names) => names.slice(0, MAX_NAMED).join(", ") + (names.length > MAX_NAMED ? ` and ${names.length - MAX_NAMED} more` : "");

/** @param {Unexpected[]} files */
function presentText(files) {
  if (files.length !== 1) return files.length ? `${plural(files.length, "file")} are already there.` : "";
  const [{ given, uploaded: { name } }] = files;
  return given === name ? `${name} is already there.` : `${given} is already there, as ${name}.`;
}

/** @param {Unexpected[]} files */
function renamedText(files) {
  const names = some(files.map(({ given, uploaded }) => `${given} as ${uploaded.name}`));
  if (files.length === 1) return `${files[0].given} was added as ${files[0].uploaded.name}, because another image has its name.`;
  return files.length ? `${plural(files.length, "image")} were added under new names, because other images have theirs: ${names}.` : "";
}

/** @param {Unexpected[]} files */
function replacedText(files) {
  const names = some(files.map(({ uploaded }) => uploaded.name));
  if (files.length === 1) return `The caption ${names} was replaced.`;
  return files.length ? `${plural(files.length, "caption")} were replaced: ${names}.` : "";
}

/**
 * The sentences about what the user may not expect of an upload, "" if there is nothing, and the token with which it is undone, "" if nothing is.
 * @param {Unexpected[]} unexpected
 */
export function uploadNotice(unexpected) {
  const of = (/** @type {Uploaded["outcome"]} */ outcome) => unexpected.filter(({ uploaded }) => uploaded.outcome === outcome);
  const sentences = [presentText(of("present")), renamedText(of("renamed")), replacedText(of("replaced"))];
  return { text: sentences.filter(Boolean).join(" "), undo: unexpected.find(({ uploaded }) => uploaded.undo)?.uploaded.undo ?? "" };
}
