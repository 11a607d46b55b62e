// The positions of an axis's labels.

const MAX_TICKS = 50;

/**
 * Multiples of 1, 2 or 5 times a power of ten in a range, about `wanted` of them and no closer than `least`.
 * @param {number} low
 * @param {number} high
 * @param {number} wanted
 */
export function ticks(low, high, wanted, least = 0) {
  const raw = Math.max((high - low) / wanted || 1, least);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) ?? 10) * power;
  const list = [];
  const first = Math.ceil(low / step - 1e-6);
  const count = Math.min(MAX_TICKS, Math.floor(high / step + 1e-6) - first + 1); // a step that is lost in rounding would never reach the end
  for (let index = 0; index < count; index++) list.push(Number(((first + index) * step).toPrecision(6)));
  return list;
}

/**
 * 1, 2 and 5 times each power of ten in a range; closer ones if that gives fewer than three.
 * @param {number} low
 * @param {number} high
 */
export function logTicks(low, high) {
  const list = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power > 0 && power <= high; power *= 10) {
    for (const factor of [1, 2, 5]) if (factor * power >= low && factor * power <= high) list.push(Number((factor * power).toPrecision(6)));
  }
  return list.length < 3 ? ticks(low, high, 4) : list;
}
