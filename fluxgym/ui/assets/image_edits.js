// The order of edits of the images: one at a time, because the first may copy a run's images into the draft, which changes the source for
// the next. Start waits until all are saved.

import { beforeReload, post, path } from "./api.js";
import * as store from "./browser_store.js";
import { setSource, source } from "./form.js";

/** @import { Answer } from "./api.js" */

/** @type {Promise<unknown>} */
let edits = Promise.resolve();
/** @type {Promise<unknown>} */
let uploads = Promise.resolve();

/**
 * Send an edit of a source's images, the form's unless it is named, after those before it; `request(query)` returns an answer of api.js.
 * @template T
 * @param {(query: { source: string }) => Promise<Answer<T>>} request
 * @param {string | null} of
 * @returns {Promise<Answer<T>>}
 */
export function edit(request, of = null) {
  const done = edits.then(async () => {
    const edited = of ?? source();
    const answer = await request({ source: edited });
    if (answer.value && edited === source()) setSource(/** @type {T & { source: string }} */ (answer.value).source);
    return answer;
  });
  edits = done.then(() => {}, () => {});
  return beforeReload(done);
}

/**
 * Run an upload after those before it.
 * @param {() => Promise<unknown>} run
 */
export function upload(run) {
  const done = uploads.then(run);
  uploads = done.catch(() => {});
  return beforeReload(done);
}

/** Wait until all uploads and edits of the images are saved. */
export async function settled() {
  await uploads;
  await edits;
}

/**
 * Post to a route of the draft, as an edit.
 * @param {"add-text" | "replace" | "remove" | "remove-unused" | "undo"} route
 * @param {object} [body]
 */
export const postEdit = (route, body = {}) => edit((query) => post(path("drafts", store.draft(), route), body, query));
