// Numbers and words as text, in American English.

const format = (/** @type {Intl.NumberFormatOptions} */ options) => new Intl.NumberFormat("en-US", options);
const WHOLE = format({ maximumFractionDigits: 0 });
const SIZES = {
  gigabyte: format({ style: "unit", unit: "gigabyte", minimumFractionDigits: 1, maximumFractionDigits: 1 }),
  megabyte: format({ style: "unit", unit: "megabyte", maximumFractionDigits: 0 }),
  kilobyte: format({ style: "unit", unit: "kilobyte", maximumFractionDigits: 0 }),
};
const LIST = new Intl.ListFormat("en-GB", { type: "conjunction" }); // as en-US, without a comma before "and"

/**
 * "1,200"
 * @param {number} number
 */
export const whole = (number) => WHOLE.format(number);

/**
 * The word for a number of things: "run" for 1, "runs" for all others.
 * @param {number} number
 * @param {string} one
 * @param {string} [many]
 */
export const word = (number, one, many = `${one}s`) => (number === 1 ? one : many);

/**
 * "1 run", "1,200 runs"
 * @param {number} number
 * @param {string} one
 * @param {string} [many]
 */
export const plural = (number, one, many) => `${whole(number)} ${word(number, one, many)}`;

/**
 * "a", "a and b", "a, b and c"
 * @param {string[]} names
 */
export const listed = (names) => LIST.format(names);

/**
 * A loss, with three digits after the point so that its width stays the same; a very small one as "4e-4"; "" for none.
 * @param {number | null | undefined} loss
 */
export function lossText(loss) {
  if (loss === null || loss === undefined) return "";
  return loss !== 0 && Math.abs(loss) < 0.001 ? figure(loss) : loss.toFixed(3);
}

/**
 * A number with a few significant digits, as an axis or a legend shows it: "0.214", "4e-4", "1,200"; "" for none.
 * @param {number | null | undefined} value
 */
export function figure(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  if (value !== 0 && Math.abs(value) < 0.001) return String(Number(value.toPrecision(digits)).toExponential()).replace("e-0", "e-");
  return Math.abs(value) >= 1000 ? whole(value) : String(Number(value.toPrecision(digits)));
}

/**
 * A speed as its value and unit, so that the value is above 1 for most: ["1.20", "s/it"], ["12.5", "it/s"].
 * @param {number} secondsPerStep
 * @returns {[string, string]}
 */
export const speed = (secondsPerStep) => (secondsPerStep >= 0.095 ? [secondsPerStep.toFixed(2), "s/it"] : [(1 / secondsPerStep).toFixed(1), "it/s"]);

/**
 * "1.2 GB", "17 MB", "3 kB"; 1 kB = 1,000 bytes.
 * @param {number} bytes
 */
export function sizeText(bytes) {
  if (bytes >= 1e9) return SIZES.gigabyte.format(bytes / 1e9);
  return bytes >= 1e6 ? SIZES.megabyte.format(bytes / 1e6) : SIZES.kilobyte.format(Math.max(1, bytes / 1e3));
}
