// The state in the browser's storage: the draft's id, the last viewed run, the ends of runs that the user has seen, the theme, and the edited form
// and captions until the app has saved them.

/** @param {string} key */
function read(key) {
  try {
    return localStorage.getItem(`fluxgym.${key}`);
  } catch {
    return null;
  }
}

/**
 * Write a value, or remove it; returns whether the browser took it, which it does not if localStorage is blocked or full.
 * @param {string} key
 * @param {string | null} value
 */
function write(key, value) {
  try {
    if (value === null) localStorage.removeItem(`fluxgym.${key}`);
    else localStorage.setItem(`fluxgym.${key}`, value);
    return true;
  } catch {
    return false;
  }
}

/**
 * A random name of hexadecimal digits, two per byte.
 * @param {number} numBytes
 */
export function randomHex(numBytes) {
  return [...crypto.getRandomValues(new Uint8Array(numBytes))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @type {string | null} */
let unsaved = null;

/** The id of this browser's draft: 32 hex digits, which only this browser knows. */
export function draft() {
  const known = read("draft") ?? unsaved;
  if (known && /^[0-9a-f]{32}$/.test(known)) return known;
  unsaved = randomHex(16);
  write("draft", unsaved);
  return unsaved;
}

/** Whether this browser finds its draft again after a reload. */
export const canFindDraft = () => read("draft") === draft();

export const viewed = () => read("viewed");
/** @param {string | null} slug */
export const setViewed = (slug) => write("viewed", slug);
export const listSeenAt = () => Number(read("looked") ?? 0);
/** @param {number} at */
export const setListSeenAt = (at) => write("looked", String(at));

/** Whether the user has emptied the form, and nothing was typed or added since. */
export const isBlank = () => read("blank") !== null;
/** @param {boolean} isEmpty */
export const setBlank = (isEmpty) => { if (isEmpty !== isBlank()) write("blank", isEmpty ? "1" : null); };

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
 * @returns {{ page: string, count: number, values: Record<string, string | boolean>, source: string, model: string, edited_at: number } | null}
 */
export function unsent() {
  try {
    return JSON.parse(read("unsent") ?? "null");
  } catch {
    return null;
  }
}

/**
 * Save the form's values by field name until the app confirms edit number `count` of a page; returns whether the browser took them.
 * @param {NonNullable<ReturnType<typeof unsent>>} form
 */
export const keepUnsent = (form) => write("unsent", JSON.stringify(form));

/**
 * Forget the saved values of a page if the app has confirmed as many edits.
 * @param {string} id
 * @param {number} count
 */
export function forgetUnsent(id, count) {
  const kept = unsent();
  if (kept?.page === id && kept.count <= count) write("unsent", null);
}

/**
 * The captions that the app has not saved yet, by the image's name.
 * @returns {Record<string, { caption: string, source: string }>}
 */
export function captions() {
  try {
    return JSON.parse(read("captions") ?? "{}") ?? {};
  } catch {
    return {};
  }
}

/**
 * Save an image's caption until the app has it; returns whether the browser took it.
 * @param {string} name
 * @param {{ caption: string, source: string }} caption
 */
export const keepCaption = (name, caption) => write("captions", JSON.stringify({ ...captions(), [name]: caption }));

/**
 * Forget an image's saved caption, unless another tab has saved a different one.
 * @param {string} name
 * @param {string} caption
 */
export function forgetCaption(name, caption) {
  const { [name]: known, ...others } = captions();
  if (known?.caption === caption) write("captions", Object.keys(others).length ? JSON.stringify(others) : null);
}

/**
 * Remember in this tab that the page is loaded again for a version of the app; returns false if it was already, or if the tab remembers nothing.
 * @param {string} version
 */
export function claimReload(version) {
  try {
    const isNew = sessionStorage.getItem("fluxgym.reloaded") !== version;
    sessionStorage.setItem("fluxgym.reloaded", version);
    return isNew;
  } catch {
    return false;
  }
}
