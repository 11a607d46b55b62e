// What this browser remembers: its draft's name, the run it looked at last, and the form as typed until the app has it.

function read(key) {
  try {
    return localStorage.getItem(`fluxgym.${key}`);
  } catch {
    return null;
  }
}

function write(key, value) {
  try {
    if (value === null) localStorage.removeItem(`fluxgym.${key}`);
    else localStorage.setItem(`fluxgym.${key}`, value);
  } catch {
    // A browser that keeps nothing still works; it just starts from the newest run.
  }
}

function makeName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

let unkept = null;

/** The name of this browser's draft: 32 hex digits, known to this browser alone. */
export function draft() {
  const known = read("draft") ?? unkept;
  if (known && /^[0-9a-f]{32}$/.test(known)) return known;
  unkept = makeName();
  write("draft", unkept);
  return unkept;
}

export const viewed = () => read("viewed");
export const look = (slug) => write("viewed", slug);
export const lastLook = () => Number(read("looked") ?? 0);
export const looked = (at) => write("looked", String(at));

/** The form as typed; null once the app has it. */
export function unsent() {
  try {
    return JSON.parse(read("unsent") ?? "null");
  } catch {
    return null;
  }
}

/** Keep the form, its values by the fields' names, until the app confirms that it has stored it; returns the id of that confirmation. */
export function keepUnsent(values, source) {
  const name = `${Date.now()}-${Math.random()}`;
  write("unsent", JSON.stringify({ name, values, source }));
  return name;
}

export const forgetUnsent = (name) => unsent()?.name === name && write("unsent", null);
