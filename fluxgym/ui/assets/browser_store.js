// The state in localStorage: the draft's id, the last viewed run, the ends of runs that the user has seen, the theme, and the edited form
// until the app has saved it.

/** @param {string} key */
function read(key) {
  try {
    return localStorage.getItem(`fluxgym.${key}`);
  } catch {
    return null;
  }
}

/**
 * @param {string} key
 * @param {string | null} value
 */
function write(key, value) {
  try {
    if (value === null) localStorage.removeItem(`fluxgym.${key}`);
    else localStorage.setItem(`fluxgym.${key}`, value);
  } catch {
    // Without localStorage, the page opens with the newest run.
  }
}

function makeName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @type {string | null} */
let unsaved = null;

/** The id of this browser's draft: 32 hex digits, which only this browser knows. */
export function draft() {
  const known = read("draft") ?? unsaved;
  if (known && /^[0-9a-f]{32}$/.test(known)) return known;
  unsaved = makeName();
  write("draft", unsaved);
  return unsaved;
}

export const viewed = () => read("viewed");
/** @param {string | null} slug */
export const setViewed = (slug) => write("viewed", slug);
export const listSeenAt = () => Number(read("looked") ?? 0);
/** @param {number} at */
export const setListSeenAt = (at) => write("looked", String(at));

export const theme = () => read("theme");
/** @param {string | null} name */
export const setTheme = (name) => write("theme", name);

const MAX_SEEN = 100;

/**
 * The ends of runs that the user has seen: {slug: key}.
 * @returns {Record<string, string>}
 */
export function seenEnds() {
  try {
    return JSON.parse(read("seen-ends") ?? "{}") ?? {};
  } catch {
    return {};
  }
}

/**
 * Remember that the user has seen a run's latest end; the oldest of many are forgotten.
 * @param {string} slug
 * @param {string} key
 */
export function setSeenEnd(slug, key) {
  const { [slug]: known, ...others } = seenEnds();
  if (known !== key) write("seen-ends", JSON.stringify(Object.fromEntries([...Object.entries(others).slice(1 - MAX_SEEN), [slug, key]])));
}

/**
 * The edited form that the app has not saved yet, or null.
 * @returns {{ page: string, count: number, values: Record<string, string | boolean>, source: string } | null}
 */
export function unsent() {
  try {
    return JSON.parse(read("unsent") ?? "null");
  } catch {
    return null;
  }
}

/**
 * Save the form's values by field name until the app confirms edit number `count` of the page `id`.
 * @param {string} id
 * @param {number} count
 * @param {Record<string, string | boolean>} values
 * @param {string} source
 */
export const keepUnsent = (id, count, values, source) => write("unsent", JSON.stringify({ page: id, count, values, source }));

/**
 * Forget the saved values of a page if the app has confirmed as many edits.
 * @param {string} id
 * @param {number} count
 */
export function forgetUnsent(id, count) {
  const kept = unsent();
  if (kept?.page === id && kept.count <= count) write("unsent", null);
}
