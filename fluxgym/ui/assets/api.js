// Requests to the app. Reports a lost connection, retries on its own, and polls only while the page is visible.

import { synchronize } from "./clock.js";

let isOffline = false;
const pollers = new Set();

function setConnected(isConnected) {
  if (isConnected !== isOffline) return;
  isOffline = !isConnected;
  document.documentElement.classList.toggle("fg-offline", isOffline);
  document.dispatchEvent(new CustomEvent("fg:connection", { detail: isConnected }));
  if (isConnected) for (const pollNow of pollers) pollNow();
}

/** The URL of a path below /fluxgym/, with the root path of a proxy. */
export function address(path) {
  const root = new URL(window.gradio_config?.root ?? ".", location.href).pathname.replace(/\/$/, "");
  return `${root}/fluxgym/${path}`;
}

/** A path of encoded parts: path("sessions", slug, "stop"). */
export const path = (...parts) => parts.map(encodeURIComponent).join("/");

/**
 * Send a request below /fluxgym/. Returns {value}, {error: {message, field, code}}, {unchanged: true} for 204, or {offline: true} if the app
 * does not answer. `query` and `body` are plain objects; a Blob as body is sent as it is.
 */
export async function request(method, where, { query = {}, body = undefined } = {}) {
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== null && value !== undefined));
  const url = address(where) + (search.size ? `?${search}` : "");
  const isFile = body instanceof Blob;
  const options = { method, body: isFile || body === undefined ? body : JSON.stringify(body) };
  if (body !== undefined && !isFile) options.headers = { "Content-Type": "application/json" };
  let response;
  try {
    response = await fetch(url, options);
  } catch {
    if (!isFile) setConnected(false); // an upload can fail for other reasons
    return { offline: true };
  }
  setConnected(true);
  synchronize(Number(response.headers.get("FluxGym-Time")) || undefined);
  if (response.status === 204) return { unchanged: true };
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return { value: answer };
  return { error: answer?.error ?? { message: sentenceFor(response.status), field: null, code: "" } };
}

function sentenceFor(status) {
  if (status === 401) return "The page needs the token again; reload it.";
  return `The app could not answer (HTTP ${status}). Its terminal says why.`;
}

export const get = (where, query = {}) => request("GET", `api/${where}`, { query });
export const post = (where, body = {}, query = {}) => request("POST", `api/${where}`, { body, query });
export const patch = (where, body = {}, query = {}) => request("PATCH", `api/${where}`, { body, query });
export const remove = (where, query = {}) => request("DELETE", `api/${where}`, { query });
export const upload = (where, file) => request("PUT", where, { body: file });

/** The sentence about an answer that is not a value, "" for one that is. */
export function errorOf(answer) {
  if (answer.offline) return "Connection lost. Try again when the page has reconnected.";
  return answer.error?.message ?? "";
}

let config = null;

/** The names, labels and limits of the server. */
export function clientConfig() {
  config ??= get("config").then((answer) => {
    if (answer.value) return answer.value;
    config = null;
    return new Promise((resolve) => setTimeout(() => resolve(clientConfig()), 1000));
  });
  return config;
}

/** Call `turn` repeatedly while the page is visible; it returns the seconds until the next call. Returns a function that calls it now. */
export function poll(turn) {
  let timer = null;
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
