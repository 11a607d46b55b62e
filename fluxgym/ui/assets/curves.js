// Curves of numbers by step: the points of a run, smoothing, the last known value, and the range of an axis.

/** @import { CurvePoints } from "./types.js" */

/** @typedef {[number, [number, number | null]][]} Points step, [loss, learning rate] */
/** @typedef {(number | null)[]} Values one per step; null where none is known */

export const SMOOTHING = 0.9;
const ROUNDING = 1e-9;

/**
 * Exponential moving average with bias correction. The weight is per step, so that a curve of which only every n-th point is known is smoothed
 * as much as one with all points.
 * @param {number[]} steps
 * @param {number[]} losses
 * @param {number} weight
 */
export function smooth(steps, losses, weight) {
  let mean = 0;
  let total = 0;
  return losses.map((loss, index) => {
    const kept = weight ** (index ? steps[index] - steps[index - 1] : 1);
    mean = kept * mean + (1 - kept) * loss;
    total = kept * total + (1 - kept);
    return total ? mean / total : loss;
  });
}

/**
 * The last known value at or before an index, null if there is none.
 * @param {Values} values
 * @param {number} index
 */
export function lastKnown(values, index) {
  for (let at = index; at >= 0; at -= 1) if (values[at] !== null && values[at] !== undefined) return values[at];
  return null;
}

/**
 * The range of an axis that shows all values with a little room.
 * @param {number[]} values
 * @returns {[number, number]}
 */
export function rangeOf(values, isLog = false) {
  if (!values.length) return isLog ? [0.1, 1] : [0, 1];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (isLog) return [low / 1.1, high * 1.1];
  const size = Math.max(Math.abs(low), Math.abs(high));
  const span = high - low > size * ROUNDING ? high - low : size || 1; // two roundings of one value are one value
  const room = span * 0.05;
  return [low - room, high + room];
}

/** The points of a run: the curve in pieces, as the answers bring it. */
export function curveData() {
  /** @type {Map<number, [number, number | null]>} step -> [loss, learning rate] */
  let training = new Map();
  /** @type {Map<number, number>} */
  let validation = new Map();
  /** @type {[number, [number, number | null]] | null} */
  let last = null;
  return {
    clear() {
      training = new Map();
      validation = new Map();
      last = null;
    },
    add(/** @type {CurvePoints} */ curve) {
      if (curve.replace) this.clear();
      curve.points.forEach(([step, loss], index) => training.set(step, [loss, curve.rates[index]]));
      for (const [step, loss] of curve.validation) validation.set(step, loss);
      last = curve.last ? [curve.last[0], [curve.last[1], curve.last_rate]] : null;
    },
    /** @returns {Points} */
    training: () => [...training, ...(last ? [last] : [])],
    /** @returns {[number, number][]} */
    validation: () => [...validation],
  };
}

/** @typedef {ReturnType<typeof curveData>} Curve */
