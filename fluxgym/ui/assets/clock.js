// Times as people read them. Ages and countdowns are counted here from timestamps, by the server's clock, once a second.

let ahead = 0; // seconds that the server's clock is ahead of this browser's

/** Learn the server's clock from an answer that carries it. */
export function learn(serverNow) {
  if (typeof serverNow === "number") ahead = serverNow - Date.now() / 1000;
}

export const now = () => Date.now() / 1000 + ahead;

/** "42 s", "3 min", "2 h 05 min", "5 d". */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.round(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.round(whole / 86400)} d`;
}

/** "2025-01-25 14:30:22" in the browser's time zone, as the guide shows it. */
export function stamp(seconds) {
  const date = new Date(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Seconds since the epoch of what the server sent: a number, or an ISO time. */
export function seconds(value) {
  if (typeof value === "number") return value;
  const parsed = Date.parse(value ?? "");
  return Number.isNaN(parsed) ? null : parsed / 1000;
}

function words(element) {
  const at = Number(element.dataset.at);
  if (element.dataset.counts === "down") return `${span(at - now())} left`;
  return `${span(now() - at)} ago`;
}

/** Let an element count: "ago" since a moment, or "down" to one. */
export function count(element, at, counts = "ago") {
  element.dataset.at = String(at);
  element.dataset.counts = counts;
  element.classList.add("fg-clock");
  show(element);
}

function show(element) {
  const text = words(element);
  if (element.textContent !== text) element.textContent = text;
}

setInterval(() => {
  if (!document.hidden) document.querySelectorAll(".fg-clock").forEach(show);
}, 1000);
