// Requests to the app. Reports a lost connection, retries on its own, and polls only while the page is visible.

import { fill, h } from "./dom.js";

let silent = false;
const waiting = new Set();

function heard(answered) {
  if (answered !== silent) return;
  silent = !answered;
  document.documentElement.classList.toggle("fg-silent", silent);
  if (!silent) for (const wake of waiting) wake();
}

/** Call a server function; returns its answer, {error} with a sentence, or undefined when the app does not answer. */
export async function call(server, name, data = {}) {
  let answer;
  try {
    answer = await server[name](data);
  } catch {
    heard(false);
    return undefined;
  }
  heard(answer !== undefined); // Gradio's client turns a broken connection into undefined
  if (answer && answer.error) notice(answer.error);
  return answer;
}

/** The address of something below the app's own root, whatever proxy stands in front. */
export function address(path) {
  const root = new URL(window.gradio_config?.root ?? ".", location.href).pathname.replace(/\/$/, "");
  return `${root}/fluxgym/${path}`;
}

/** Ask again and again while the page is visible; `ask` returns the seconds until the next time. Returns a function that asks at once. */
export function keepAsking(ask) {
  let timer = null;
  let busy = false;
  let again = false;
  async function turn() {
    clearTimeout(timer);
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    let pause = 3;
    try {
      pause = await ask();
    } finally {
      busy = false;
      if (again) {
        again = false;
        pause = 0;
      }
      if (!document.hidden) timer = setTimeout(turn, (silent ? 2 : pause) * 1000);
    }
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : turn()));
  waiting.add(turn);
  turn();
  return turn;
}

const notices = [];

/** Keep a sentence in the page's log of notices. */
export function notice(sentence) {
  notices.unshift({ at: new Date().toLocaleTimeString(), sentence });
  notices.length = Math.min(notices.length, 50);
  const log = document.getElementById("fg-notices");
  if (!log) return;
  log.hidden = false;
  log.querySelector("summary").textContent = `Notices (${notices.length})`;
  fill(log.querySelector("ul"), notices.map((entry) => h("li", {}, h("time", {}, entry.at), ` ${entry.sentence}`)));
}
