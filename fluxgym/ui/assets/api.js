// Requests to the app. Reports a lost connection, retries on its own, and polls only while the page is visible.

import { claimReload } from "./browser_store.js";
import { synchronize } from "./clock.js";
import { emit } from "./dom.js";

/** @import { DeleteAnswer, ErrorText, GetAnswer, PatchAnswer, PostAnswer, PutAnswer } from "./types.js" */

/**
 * What a request gives: a value, an error as a sentence, unchanged for 204, or offline if the app does not answer.
 * @template T
 * @typedef {{ value?: T, error?: ErrorText, unchanged?: true, offline?: true }} Answer
 */

/** @typedef {Record<string, string | number | boolean | null | undefined>} Query */

/**
 * @template {string[]} T
 * @typedef {T extends [infer First extends string, ...infer Rest extends string[]] ? Rest extends [] ? First : `${First}/${Joined<Rest>}` : string} Joined
 */

let isOffline = false;
/** @type {Set<() => void>} */
const pollers = new Set();

/** Return true unless the latest request got no answer. */
export const isReachable = () => !isOffline;

/**
 * Report that the app answers, or does not.
 * @param {boolean} isConnected
 */
export function setConnected(isConnected) {
  if (isConnected !== isOffline) return;
  isOffline = !isConnected;
  document.documentElement.classList.toggle("fg-offline", isOffline);
  emit("fg:connection", isConnected);
  if (isConnected) for (const pollNow of pollers) pollNow();
}

/**
 * The URL of a path below /fluxgym/, with the root path of a proxy.
 * @param {string} path
 */
export function address(path) {
  const root = new URL(window.gradio_config?.root ?? ".", location.href).pathname.replace(/\/$/, "");
  return `${root}/fluxgym/${path}`;
}

/**
 * A path of encoded parts: path("sessions", slug, "stop").
 * @template {string[]} T
 * @param {T} parts
 */
export const path = (...parts) => /** @type {Joined<T>} */ (parts.map(encodeURIComponent).join("/"));

/**
 * Send a request below /fluxgym/. `query` and `body` are plain objects; a Blob as body is sent as it is.
 * @param {string} method
 * @param {string} where
 * @param {{ query?: Query, body?: object }} [content]
 * @returns {Promise<Answer<any>>}
 */
export async function request(method, where, { query = {}, body = undefined } = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== null && value !== undefined) search.set(name, String(value));
  const url = address(where) + (search.size ? `?${search}` : "");
  const isFile = body instanceof Blob;
  /** @type {RequestInit} */
  const options = { method, body: isFile || body === undefined ? body : JSON.stringify(body) };
  if (body !== undefined && !isFile) options.headers = { "Content-Type": "application/json" };
  let response;
  try {
    response = await fetch(url, options);
  } catch {
    if (!isFile) setConnected(false); // an upload can fail for other reasons
    return { offline: true };
  }
  if (isOtherVersion(response)) return { offline: true };
  setConnected(true);
  synchronize(Number(response.headers.get("FluxGym-Time")) || undefined);
  if (response.status === 204) return { unchanged: true };
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return { value: answer };
  const isOwn = answer?.error && response.status !== 401;
  return { error: isOwn ? answer.error : { message: sentenceFor(response.status), field: null, code: "" } };
}

const VERSION_HEADER = "FluxGym-Page";
const OWN_VERSION = new URL(import.meta.url).pathname.split("/").at(-2); // of the folder of the page's scripts

/** What has to end before the page is loaded again by itself. @type {Set<Promise<unknown>>} */
const unfinished = new Set();
let isReloadDue = false;

/**
 * Do not load the page again by itself until a promise has ended, such as that of an upload.
 * @template T
 * @param {Promise<T>} work
 */
export function beforeReload(work) {
  const ended = () => {
    unfinished.delete(work);
    setTimeout(() => { if (isReloadDue) reload(); }); // what follows from it may have begun by then
  };
  unfinished.add(work);
  work.then(ended, ended);
  return work;
}

function reload() {
  if (unfinished.size) return false;
  setConnected(false);
  location.reload();
  return true;
}

/**
 * Return true if an app of another version has answered and the page is loaded again. It is, once per version, when no upload or edit is
 * under way; it counts as not connected then.
 * @param {Response} response
 */
function isOtherVersion(response) {
  const version = response.headers.get(VERSION_HEADER);
  if (!version || version === OWN_VERSION || !claimReload(version)) return false;
  isReloadDue = true;
  return reload();
}

/**
 * The sentence about an HTTP status that is not an answer of the app's own.
 * @param {number} status
 */
export function sentenceFor(status) {
  if (status === 401) return "The page needs the token again; reload it.";
  if (status === 413) return "The proxy in front of FluxGym does not take a file of this size. Raise its limit (nginx: client_max_body_size), or send a smaller file.";
  if ([502, 503, 504].includes(status)) return `The proxy in front of FluxGym got no answer from it (HTTP ${status}). Try again; if it stays, FluxGym’s terminal says why.`;
  return `The app could not answer (HTTP ${status}). Its terminal says why.`;
}

/**
 * @template {string} P
 * @param {P} where
 * @param {Query} [query]
 * @returns {Promise<Answer<GetAnswer<`api/${P}`>>>}
 */
export const get = (where, query = {}) => request("GET", `api/${where}`, { query });

/**
 * @template {string} P
 * @param {P} where
 * @param {object} [body]
 * @param {Query} [query]
 * @returns {Promise<Answer<PostAnswer<`api/${P}`>>>}
 */
export const post = (where, body = {}, query = {}) => request("POST", `api/${where}`, { body, query });

/**
 * @template {string} P
 * @param {P} where
 * @param {object} [body]
 * @param {Query} [query]
 * @returns {Promise<Answer<PatchAnswer<`api/${P}`>>>}
 */
export const patch = (where, body = {}, query = {}) => request("PATCH", `api/${where}`, { body, query });

/**
 * @template {string} P
 * @param {P} where
 * @param {Query} [query]
 * @returns {Promise<Answer<DeleteAnswer<`api/${P}`>>>}
 */
export const remove = (where, query = {}) => request("DELETE", `api/${where}`, { query });

/**
 * @template {string} P
 * @param {P} where
 * @param {Blob} file
 * @param {Query} [query]
 * @returns {Promise<Answer<PutAnswer<P>>>}
 */
export const upload = (where, file, query = {}) => request("PUT", where, { body: file, query });

/**
 * The sentence about an answer that is not a value, with what belongs to it, such as missing files; "" for one that is.
 * @param {Answer<any>} answer
 */
export function errorOf(answer) {
  if (answer.offline) return "Connection lost. Try again when the page has reconnected.";
  const { message = "", details = [] } = answer.error ?? {};
  return [message, details.map((each) => `${each.text} ${each.address}`.trim()).join("; ")].filter(Boolean).join(" ");
}

/**
 * Call `turn` repeatedly while the page is visible; it returns the seconds until the next call. Returns a function that calls it now.
 * @param {() => Promise<number>} turn
 */
export function poll(turn) {
  /** @type {number | undefined} */
  let timer;
  let busy = false;
  let isRequested = false;
  async function next() {
    clearTimeout(timer);
    if (busy) {
      isRequested = true;
      return;
    }
    busy = true;
    let pause = 3;
    try {
      pause = await turn();
    } finally {
      busy = false;
      if (isRequested) {
        isRequested = false;
        pause = 0;
      }
      if (!document.hidden) timer = setTimeout(next, (isOffline ? 2 : pause) * 1000);
    }
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : next()));
  pollers.add(next);
  next();
  return next;
}
