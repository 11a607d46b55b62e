// Requests to the app. Reports a lost connection, retries on its own, and polls only while the page is visible.

import { fill, h } from "./dom.js";

let isOffline = false;
const pollers = new Set();

function setConnected(isConnected) {
  if (isConnected !== isOffline) return;
  isOffline = !isConnected;
  document.documentElement.classList.toggle("fg-offline", isOffline);
  if (!isOffline) for (const pollNow of pollers) pollNow();
}

/** Call a server function; returns its reply, {error} with a sentence, or undefined if the app does not respond. */
export async function call(server, name, data = {}) {
  let reply;
  try {
    reply = await server[name](data);
  } catch {
    setConnected(false);
    return undefined;
  }
  setConnected(reply !== undefined); // Gradio's client returns undefined for a broken connection
  if (reply && reply.error) notice(reply.error);
  return reply;
}

/** The URL of a path below /fluxgym/, with the root path of a proxy. */
export function address(path) {
  const root = new URL(window.gradio_config?.root ?? ".", location.href).pathname.replace(/\/$/, "");
  return `${root}/fluxgym/${path}`;
}

/** Call `request` repeatedly while the page is visible; it returns the seconds until the next call. Returns a function that calls it now. */
export function poll(request) {
  let timer = null;
  let busy = false;
  let isRequested = false;
  async function turn() {
    clearTimeout(timer);
    if (busy) {
      isRequested = true;
      return;
    }
    busy = true;
    let pause = 3;
    try {
      pause = await request();
    } finally {
      busy = false;
      if (isRequested) {
        isRequested = false;
        pause = 0;
      }
      if (!document.hidden) timer = setTimeout(turn, (isOffline ? 2 : pause) * 1000);
    }
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : turn()));
  pollers.add(turn);
  turn();
  return turn;
}

const notices = [];

/** Add a sentence to the page's list of notices. */
export function notice(sentence) {
  notices.unshift({ at: new Date().toLocaleTimeString(), sentence });
  notices.length = Math.min(notices.length, 50);
  const log = document.getElementById("fg-notices");
  if (!log) return;
  log.hidden = false;
  log.querySelector("summary").textContent = `Notices (${notices.length})`;
  fill(log.querySelector("ul"), notices.map((entry) => h("li", {}, h("time", {}, entry.at), ` ${entry.sentence}`)));
}
