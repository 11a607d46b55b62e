// How the form's fields change after an answer. APPLY_PATCH in form.py calls it by its global name.

import { emit } from "./dom.js";

/** @import { FormAnswer } from "./types.js" */

/** @param {unknown} value */
const comparable = (value) => JSON.stringify(value === "" || value === undefined ? null : value);

/**
 * The updates of Gradio's components after an answer: a field changes only if it still has the value that was sent. It must stay synchronous:
 * otherwise a keystroke could come between reading and writing.
 * @param {string[]} names
 * @param {Pick<FormAnswer, "patch" | "request"> | null} answer
 * @param {unknown[]} present the fields' values in the order of the names
 */
function patched(names, answer, present) {
  if (answer && Object.keys(answer.patch ?? {}).length) emit("fg:patched", answer.request);
  return present.map((value, index) => {
    const change = answer?.patch?.[names[index]];
    return change && comparable(value) === comparable(change[0]) ? { __type__: "update", value: change[1] } : { __type__: "update" };
  });
}

Object.assign(globalThis, { fluxgymForm: { patched } });
