// The pages stay hidden while their parts arrive, so that nothing moves under the eye or the finger: until the parts of the open page have
// their first answers, or for a few seconds.

import { route } from "./router.js";

/** @type {Record<string, (keyof DocumentEventMap)[]>} the events by which the parts of a page report their first answers */
const PARTS = { train: ["fg:queue", "fg:form"], runs: ["fg:queue", "fg:runs"], run: ["fg:queue", "fg:run-page"] };
const AT_MOST_MS = 3000;

/** Show the pages once the parts of the open one are there. */
export function showWhenComplete() {
  const arrived = new Set();
  const show = () => { document.documentElement.dataset.fgShown = ""; };
  const check = () => { if (PARTS[route().tab].every((name) => arrived.has(name))) show(); };
  for (const name of new Set(Object.values(PARTS).flat())) {
    document.addEventListener(name, () => { arrived.add(name); setTimeout(check); }, { once: true });
  }
  document.addEventListener("fg:route", check);
  setTimeout(show, AT_MOST_MS);
}
