// Times as text. Ages and countdowns are computed from timestamps with the server's clock, once per second.

import { findAll } from "./dom.js";

let offset = 0; // server's clock minus this browser's clock, in seconds

/**
 * Synchronize with the server's clock.
 * @param {number | undefined} serverNow
 */
export function synchronize(serverNow) {
  if (typeof serverNow === "number") offset = serverNow - Date.now() / 1000;
}

export const now = () => Date.now() / 1000 + offset;

/**
 * "42 s", "3 min", "2 h 05 min", "5 d".
 * @param {number} seconds
 */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.round(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.round(whole / 86400)} d`;
}

/**
 * How long something took, to the second below an hour: "42 s", "22 min 39 s", "2 h 5 min".
 * @param {number} seconds
 */
export function duration(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/**
 * "2025-01-25 14:30:22" in the browser's time zone.
 * @param {number} seconds
 */
export function stamp(seconds) {
  const date = new Date(seconds * 1000);
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/**
 * "14:30" in the browser's time zone.
 * @param {number} seconds
 */
export const timeOfDay = (seconds) => stamp(seconds).slice(11, 16);

const DAY = new Intl.DateTimeFormat("en-US", { month: "short", day: "numeric" });
const DAY_AND_YEAR = new Intl.DateTimeFormat("en-US", { month: "short", day: "numeric", year: "numeric" });

/**
 * A moment as short as it is clear: "15:34" today, "Nov 25" this year, "Nov 25, 2024" before.
 * @param {number} seconds
 */
export function shortStamp(seconds) {
  const [date, today] = [new Date(seconds * 1000), new Date(now() * 1000)];
  if (date.toDateString() === today.toDateString()) return timeOfDay(seconds);
  return (date.getFullYear() === today.getFullYear() ? DAY : DAY_AND_YEAR).format(date);
}

/**
 * Seconds since the epoch for a number or an ISO 8601 time, null for anything else.
 * @param {number | string | null | undefined} value
 */
export function seconds(value) {
  if (typeof value === "number") return value;
  const parsed = Date.parse(value ?? "");
  return Number.isNaN(parsed) ? null : parsed / 1000;
}

/** @param {HTMLElement} element */
function textOf(element) {
  const at = Number(element.dataset.at);
  if (element.dataset.counts === "for") return span(now() - at);
  if (element.dataset.counts === "down") return at > now() ? `${span(at - now())} left` : "time left unknown"; // it takes longer than estimated
  return `${span(now() - at)} ago`;
}

/**
 * Make an element show the time since `at` ("ago"; "for" without the word), or until it ("down").
 * @param {HTMLElement} element
 * @param {number} at
 * @param {"ago" | "for" | "down"} counts
 */
export function count(element, at, counts = "ago") {
  element.dataset.at = String(at);
  element.dataset.counts = counts;
  element.classList.add("fg-clock");
  show(element);
}

/** @param {HTMLElement} element */
function show(element) {
  const text = textOf(element);
  if (element.textContent !== text) element.textContent = text;
}

setInterval(() => {
  if (!document.hidden) findAll(document, ".fg-clock").forEach(show);
}, 1000);
